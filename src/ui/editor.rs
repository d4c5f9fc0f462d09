//! The line being typed: keys in, lines out.
use std::collections::VecDeque;

use termion::event::Key;
use unicode_width::UnicodeWidthChar;

use super::text::shown;
use crate::base::lines::LINE_MAX;

/// Most lines kept to go back to.
const HISTORY_MAX: usize = 100;

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// At most the line changed.
    Edited,
    /// Enter: a line, never empty, at most [`LINE_MAX`] bytes.
    Line(String),
    /// Ctrl-C on an empty line.
    Interrupt,
    /// Ctrl-D on an empty line.
    EndOfInput,
    /// The line takes no more, or the key has nothing to act on.
    Refused,
}

/// The part of the line that fits the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Fit to show.
    pub text: String,
    /// Columns that the text takes.
    pub width: usize,
    /// Columns before the cursor.
    pub cursor: usize,
}

/// One line, its cursor, and the lines before it.
#[derive(Debug, Default)]
pub struct Editor {
    line: Vec<char>,
    cursor: usize,
    /// Of the line, in UTF-8.
    bytes: usize,
    /// First character on the screen.
    first: usize,
    history: VecDeque<Vec<char>>,
    /// Index into the history while going through it.
    at: Option<usize>,
    /// What was being typed when going through the history began.
    draft: Vec<char>,
}

fn columns(c: char) -> usize {
    // A TAB is shown as its picture: a line that is edited must have the width it seems to have.
    UnicodeWidthChar::width(picture(c)).unwrap_or(1)
}

fn picture(c: char) -> char {
    if c == '\t' { '\u{2409}' } else { shown(c) }
}

impl Editor {
    pub fn is_empty(&self) -> bool {
        self.line.is_empty()
    }

    pub fn key(&mut self, key: Key) -> Outcome {
        match key {
            Key::Char('\n') => return self.enter(),
            Key::Char(c) => return self.insert(c),
            Key::Ctrl('c') if self.line.is_empty() => return Outcome::Interrupt,
            Key::Ctrl('c') => self.replace(Vec::new()),
            Key::Ctrl('d') if self.line.is_empty() => return Outcome::EndOfInput,
            Key::Delete | Key::Ctrl('d') => self.remove(self.cursor, self.right()),
            Key::Backspace | Key::Ctrl('h') => self.remove(self.left(), self.cursor),
            Key::Left | Key::Ctrl('b') => self.cursor = self.left(),
            Key::Right | Key::Ctrl('f') => self.cursor = self.right(),
            Key::CtrlLeft | Key::AltLeft | Key::Alt('b') => self.cursor = self.word(),
            Key::CtrlRight | Key::AltRight | Key::Alt('f') => self.cursor = self.next_word(),
            Key::Home | Key::Ctrl('a') => self.cursor = 0,
            Key::End | Key::Ctrl('e') => self.cursor = self.line.len(),
            Key::Ctrl('u') => self.remove(0, self.cursor),
            Key::Ctrl('k') => self.remove(self.cursor, self.line.len()),
            Key::Ctrl('w') => self.remove(self.word(), self.cursor),
            Key::Up | Key::Ctrl('p') => return self.older(),
            Key::Down | Key::Ctrl('n') => return self.newer(),
            _ => {}
        }
        Outcome::Edited
    }

    /// What of the line is seen in so many columns; the cursor is always within.
    pub fn view(&mut self, width: usize) -> View {
        let width = width.max(2);
        if self.cursor <= self.first {
            // Some of what stands before the cursor is to be seen, too.
            self.first = self.cursor.saturating_sub(width / 2);
        }
        // The cursor takes a column even behind the end.
        let mut after = 1;
        for c in self.line.iter().skip(self.cursor) {
            if after > width {
                break;
            }
            after += columns(*c);
        }
        let mut before = 0;
        let mut first = self.cursor;
        while first > 0 {
            let more = self.line.get(first - 1).map_or(0, |c| columns(*c));
            // What stood on the screen stays; what did not comes only if it pushes nothing out.
            let right = if first > self.first { 1 } else { after };
            if before + more + right > width {
                break;
            }
            before += more;
            first -= 1;
        }
        self.first = first;
        let mut view = View {
            cursor: before,
            ..View::default()
        };
        for c in self.line.iter().skip(first) {
            if view.width + columns(*c) > width {
                break;
            }
            view.width += columns(*c);
            view.text.push(picture(*c));
        }
        view
    }

    fn insert(&mut self, c: char) -> Outcome {
        if c.is_control() && c != '\t' {
            return Outcome::Refused;
        }
        if self.bytes + c.len_utf8() > LINE_MAX {
            return Outcome::Refused;
        }
        self.bytes += c.len_utf8();
        self.line.insert(self.cursor, c);
        self.cursor += 1;
        Outcome::Edited
    }

    fn enter(&mut self) -> Outcome {
        if self.line.is_empty() {
            return Outcome::Edited;
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
        Outcome::Line(text)
    }

    /// Puts another line in this one's place, the cursor at its end; going through the history is over.
    fn replace(&mut self, line: Vec<char>) {
        self.bytes = line.iter().map(|c| c.len_utf8()).sum();
        self.cursor = line.len();
        self.first = 0;
        self.line = line;
        self.at = None;
    }

    fn remove(&mut self, from: usize, to: usize) {
        self.bytes -= self.line.drain(from..to).map(char::len_utf8).sum::<usize>();
        self.cursor = from;
    }

    fn older(&mut self) -> Outcome {
        let index = match self.at {
            None => self.history.len().checked_sub(1),
            Some(at) => at.checked_sub(1),
        };
        let Some((index, line)) = index.and_then(|i| Some((i, self.history.get(i)?.clone())))
        else {
            return Outcome::Refused;
        };
        if self.at.is_none() {
            self.draft = std::mem::take(&mut self.line);
        }
        self.replace(line);
        self.at = Some(index);
        Outcome::Edited
    }

    fn newer(&mut self) -> Outcome {
        let Some(at) = self.at else {
            return Outcome::Refused;
        };
        match self.history.get(at + 1).cloned() {
            Some(line) => {
                self.replace(line);
                self.at = Some(at + 1);
            }
            None => {
                let draft = std::mem::take(&mut self.draft);
                self.replace(draft);
            }
        }
        Outcome::Edited
    }

    /// Before the character left of the cursor and all that is drawn over it.
    fn left(&self) -> usize {
        let base = |c: &char| columns(*c) > 0;
        let before = self.line.get(..self.cursor).unwrap_or_default();
        before.iter().rposition(base).unwrap_or(0)
    }

    fn right(&self) -> usize {
        let after = self.line.get(self.cursor + 1..).unwrap_or_default();
        let base = |c: &char| columns(*c) > 0;
        match after.iter().position(base) {
            Some(next) => self.cursor + 1 + next,
            None => self.line.len(),
        }
    }

    /// The beginning of the word at or before the cursor.
    fn word(&self) -> usize {
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

    /// The end of the word at or behind the cursor.
    fn next_word(&self) -> usize {
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
