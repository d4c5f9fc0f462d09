//! The line editor: takes keys, returns lines.
use std::collections::VecDeque;

use termion::event::Key;
use unicode_width::UnicodeWidthChar;

use crate::base::lines::LINE_MAX_BYTES;
use crate::ui::sanitize::replace_control;

/// Maximum number of typed lines in the history.
const HISTORY_MAX: usize = 100;

/// The effect of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EditOutcome {
    /// The line is still being edited. Its text or its cursor may have changed.
    Edited,
    /// Enter was pressed. The line is not empty and has at most [`LINE_MAX_BYTES`] bytes.
    Line(String),
    /// Ctrl-C on an empty line.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfInput,
    /// The key had no effect, for example because the line is full.
    Rejected,
}

/// The part of the line that fits the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibleLine {
    /// The visible text. Control characters are replaced.
    pub text: String,
    /// Width of the text, in columns.
    pub width: usize,
    /// Number of columns between the start of the text and the cursor.
    pub cursor: usize,
}

/// The line being edited, its cursor, and the history of typed lines.
#[derive(Debug, Default)]
pub struct LineEditor {
    line: Vec<char>,
    cursor: usize,
    /// Length of the line in bytes of UTF-8.
    line_bytes: usize,
    /// Index of the first character that the screen shows.
    first_visible: usize,
    history: VecDeque<Vec<char>>,
    /// Index of the history line that is shown. `None`: a new line is edited.
    history_index: Option<usize>,
    /// The unfinished new line, saved while a history line is shown.
    draft: Vec<char>,
}

fn char_width(c: char) -> usize {
    // A TAB is shown as a symbol of fixed width, because the width of a TAB varies.
    UnicodeWidthChar::width(display_char(c)).unwrap_or(1)
}

fn display_char(c: char) -> char {
    if c == '\t' {
        '\u{2409}'
    } else {
        replace_control(c)
    }
}

impl LineEditor {
    /// Is the line empty?
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    /// Applies a key to the line.
    pub fn handle_key(&mut self, key: Key) -> EditOutcome {
        match key {
            Key::Char('\n') => return self.enter(),
            Key::Char(c) => return self.insert(c),
            Key::Ctrl('c') if self.line.is_empty() => return EditOutcome::Interrupt,
            Key::Ctrl('c') => self.replace(Vec::new()),
            Key::Ctrl('d') if self.line.is_empty() => return EditOutcome::EndOfInput,
            Key::Delete | Key::Ctrl('d') => self.remove(self.cursor, self.next_char()),
            Key::Backspace | Key::Ctrl('h') => self.remove(self.previous_char(), self.cursor),
            Key::Left | Key::Ctrl('b') => self.cursor = self.previous_char(),
            Key::Right | Key::Ctrl('f') => self.cursor = self.next_char(),
            Key::CtrlLeft | Key::AltLeft | Key::Alt('b') => {
                self.cursor = self.previous_word_start()
            }
            Key::CtrlRight | Key::AltRight | Key::Alt('f') => self.cursor = self.next_word_end(),
            Key::Home | Key::Ctrl('a') => self.cursor = 0,
            Key::End | Key::Ctrl('e') => self.cursor = self.line.len(),
            Key::Ctrl('u') => self.remove(0, self.cursor),
            Key::Ctrl('k') => self.remove(self.cursor, self.line.len()),
            Key::Ctrl('w') => self.remove(self.previous_word_start(), self.cursor),
            Key::Up | Key::Ctrl('p') => return self.history_previous(),
            Key::Down | Key::Ctrl('n') => return self.history_next(),
            _ => {}
        }
        EditOutcome::Edited
    }

    /// The part of the line that contains the cursor and fits `width` columns. A `width` below 2
    /// counts as 2.
    pub fn visible_line(&mut self, width: usize) -> VisibleLine {
        let width = width.max(2);
        if self.cursor <= self.first_visible {
            // Scrolls by half the width, so that text before the cursor stays visible.
            self.first_visible = self.cursor.saturating_sub(width / 2);
        }
        // The cursor needs a column even at the end of the line.
        let mut after = 1;
        for c in self.line.iter().skip(self.cursor) {
            if after > width {
                break;
            }
            after += char_width(*c);
        }
        let mut before = 0;
        let mut first = self.cursor;
        while first > 0 {
            let more = self.line.get(first - 1).map_or(0, |c| char_width(*c));
            // Text before the cursor that was visible stays visible. Earlier text is shown only if
            // the text after the cursor still fits.
            let right = if first > self.first_visible { 1 } else { after };
            if before + more + right > width {
                break;
            }
            before += more;
            first -= 1;
        }
        self.first_visible = first;
        let mut view = VisibleLine {
            cursor: before,
            ..VisibleLine::default()
        };
        for c in self.line.iter().skip(first) {
            if view.width + char_width(*c) > width {
                break;
            }
            view.width += char_width(*c);
            view.text.push(display_char(*c));
        }
        view
    }

    fn insert(&mut self, c: char) -> EditOutcome {
        if c.is_control() && c != '\t' {
            return EditOutcome::Rejected;
        }
        if self.line_bytes + c.len_utf8() > LINE_MAX_BYTES {
            return EditOutcome::Rejected;
        }
        self.line_bytes += c.len_utf8();
        self.line.insert(self.cursor, c);
        self.cursor += 1;
        EditOutcome::Edited
    }

    fn enter(&mut self) -> EditOutcome {
        if self.line.is_empty() {
            return EditOutcome::Edited;
        }
        let line = std::mem::take(&mut self.line);
        let text = line.iter().collect();
        if self.history.back() != Some(&line) {
            self.history.push_back(line);
        }
        if self.history.len() > HISTORY_MAX {
            self.history.pop_front();
        }
        self.replace(Vec::new());
        EditOutcome::Line(text)
    }

    /// Replaces the text of the line and moves the cursor to its end. No history line is shown
    /// afterwards: `history_index` becomes `None`.
    fn replace(&mut self, line: Vec<char>) {
        self.line_bytes = line.iter().map(|c| c.len_utf8()).sum();
        self.cursor = line.len();
        self.first_visible = 0;
        self.line = line;
        self.history_index = None;
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.line_bytes -= self.line.drain(from..to).map(char::len_utf8).sum::<usize>();
        self.cursor = from;
    }

    fn history_previous(&mut self) -> EditOutcome {
        let index = match self.history_index {
            None => self.history.len().checked_sub(1),
            Some(at) => at.checked_sub(1),
        };
        let Some((index, line)) = index.and_then(|i| Some((i, self.history.get(i)?.clone())))
        else {
            return EditOutcome::Rejected;
        };
        if self.history_index.is_none() {
            self.draft = std::mem::take(&mut self.line);
        }
        self.replace(line);
        self.history_index = Some(index);
        EditOutcome::Edited
    }

    fn history_next(&mut self) -> EditOutcome {
        let Some(at) = self.history_index else {
            return EditOutcome::Rejected;
        };
        match self.history.get(at + 1).cloned() {
            Some(line) => {
                self.replace(line);
                self.history_index = Some(at + 1);
            }
            None => {
                let draft = std::mem::take(&mut self.draft);
                self.replace(draft);
            }
        }
        EditOutcome::Edited
    }

    /// Index of the character left of the cursor. A combining character counts as a part of the
    /// character that it modifies.
    fn previous_char(&self) -> usize {
        let is_base = |c: &char| char_width(*c) > 0;
        let before = self.line.get(..self.cursor).unwrap_or_default();
        before.iter().rposition(is_base).unwrap_or(0)
    }

    /// Index of the character that follows the character at the cursor. A combining character
    /// counts as a part of the character that it modifies.
    fn next_char(&self) -> usize {
        let after = self.line.get(self.cursor + 1..).unwrap_or_default();
        let is_base = |c: &char| char_width(*c) > 0;
        match after.iter().position(is_base) {
            Some(next) => self.cursor + 1 + next,
            None => self.line.len(),
        }
    }

    /// Index of the start of the last word before the cursor. The cursor may be inside this word.
    fn previous_word_start(&self) -> usize {
        let before = self.line.get(..self.cursor).unwrap_or_default();
        let end = before
            .iter()
            .rposition(|c| !c.is_whitespace())
            .map_or(0, |i| i + 1);
        let word = before.get(..end).unwrap_or_default();
        word.iter()
            .rposition(|c| c.is_whitespace())
            .map_or(0, |i| i + 1)
    }

    /// Index just after the next word. If the cursor is inside a word, that word counts as the
    /// next.
    fn next_word_end(&self) -> usize {
        let after = self.line.get(self.cursor..).unwrap_or_default();
        let start = after.iter().position(|c| !c.is_whitespace()).unwrap_or(0);
        let word = after.get(start..).unwrap_or_default();
        let length = word
            .iter()
            .position(|c| c.is_whitespace())
            .unwrap_or(word.len());
        self.cursor + start + length
    }
}
