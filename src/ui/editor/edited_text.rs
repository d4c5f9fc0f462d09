//! The text of the edited line and the cursor in it, measured in columns of a terminal.
use unicode_width::UnicodeWidthChar;

use crate::base::lines::LINE_MAX_BYTES;
use crate::ui::sanitize::replace_control;

/// The narrowest screen on which marks show where the line is cut.
const MARKED_WIDTH_MIN: usize = 6;
/// The mark of text that the left edge cuts off.
const LEFT_MARK: char = '<';
/// The mark of text that the right edge cuts off.
const RIGHT_MARK: char = '>';
const ZERO_WIDTH_JOINER: char = '\u{200d}';
/// Asks for the picture of a character, which takes two columns (UTS #51).
const EMOJI_SELECTOR: char = '\u{fe0f}';

/// The part of the line that fits the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisibleLine {
    /// The visible text, with marks where it is cut. Control characters are replaced.
    pub text: String,
    /// Number of bytes of the text before the cursor.
    pub cursor_byte: usize,
    /// Width of the text, in columns.
    pub width: usize,
    /// Number of columns between the start of the text and the cursor.
    pub cursor: usize,
}

/// A text of at most [`LINE_MAX_BYTES`] bytes without line ends, and a cursor between its
/// characters. The cursor moves by grapheme clusters: marks, parts of a joined emoji, and the
/// letters of a flag belong to the character before them.
#[derive(Debug, Default)]
pub struct EditedText {
    chars: Vec<char>,
    cursor: usize,
    /// Length of the text in bytes of UTF-8.
    bytes: usize,
    /// Index of the first character that the screen shows.
    first_visible: usize,
}

/// Where a movement leads. The start and the end of a movement bound what a deletion removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Movement {
    /// To the start of the line.
    LineStart,
    /// To the end of the line.
    LineEnd,
    /// One character to the left.
    Left,
    /// One character to the right.
    Right,
    /// To the start of the last word before the cursor. The cursor may be inside this word.
    WordStart,
    /// Just after the next word. If the cursor is inside a word, that word counts as the next.
    WordEnd,
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

fn is_flag_letter(c: char) -> bool {
    matches!(c, '\u{1f1e6}'..='\u{1f1ff}')
}

impl EditedText {
    /// Is the text empty?
    pub fn is_empty(&self) -> bool {
        self.chars.is_empty()
    }

    /// The whole text.
    pub fn text(&self) -> String {
        self.chars.iter().collect()
    }

    /// The text before the cursor.
    pub fn before_cursor(&self) -> String {
        self.chars.iter().take(self.cursor).collect()
    }

    /// The text after the cursor.
    pub fn after_cursor(&self) -> String {
        self.chars.iter().skip(self.cursor).collect()
    }

    /// Replaces the text by the beginning of `text` that fits. The cursor moves to the end.
    pub fn replace(&mut self, text: &str) {
        *self = EditedText::default();
        self.insert(text);
    }

    /// Moves the cursor before this many characters of the text.
    pub fn set_cursor(&mut self, chars: usize) {
        self.cursor = chars.min(self.chars.len());
        self.leave_cluster();
    }

    /// Inserts a text at the cursor, without its control characters except TAB. Returns false if
    /// anything was left out: control characters, or the part that does not fit.
    pub fn insert(&mut self, text: &str) -> bool {
        let room = LINE_MAX_BYTES.saturating_sub(self.bytes);
        let (mut inserted, mut bytes, mut is_whole) = (Vec::new(), 0, true);
        for c in text.chars() {
            if c.is_control() && c != '\t' {
                is_whole = false;
                continue;
            }
            if bytes + c.len_utf8() > room {
                is_whole = false;
                break;
            }
            bytes += c.len_utf8();
            inserted.push(c);
        }
        self.bytes += bytes;
        let end = self.cursor + inserted.len();
        self.chars.splice(self.cursor..self.cursor, inserted);
        self.cursor = end;
        self.leave_cluster();
        is_whole
    }

    /// Moves the cursor.
    pub fn move_cursor(&mut self, movement: Movement) {
        self.cursor = self.target(movement);
    }

    /// Removes and returns the text between the cursor and where the movement leads.
    pub fn remove(&mut self, movement: Movement) -> String {
        let target = self.target(movement);
        let (from, to) = (target.min(self.cursor), target.max(self.cursor));
        let removed: String = self.chars.drain(from..to).collect();
        self.bytes -= removed.len();
        self.cursor = from;
        self.leave_cluster();
        removed
    }

    /// Removes this many characters before the cursor.
    pub fn remove_before(&mut self, chars: usize) {
        let from = self.cursor.saturating_sub(chars);
        let removed = self.chars.drain(from..self.cursor);
        self.bytes -= removed.map(char::len_utf8).sum::<usize>();
        self.cursor = from;
        self.leave_cluster();
    }

    fn target(&self, movement: Movement) -> usize {
        match movement {
            Movement::LineStart => 0,
            Movement::LineEnd => self.chars.len(),
            Movement::Left => (0..self.cursor)
                .rev()
                .find(|at| self.begins_cluster(*at))
                .unwrap_or(0),
            Movement::Right => self.cluster_end(self.cursor),
            Movement::WordStart => self.word_start(),
            Movement::WordEnd => self.word_end(),
        }
    }

    /// Whether the character at this index begins a grapheme cluster. A subset of the rules of
    /// UAX #29, which needs no tables: what has no width, and what follows a joiner, belongs to the
    /// character before it.
    fn begins_cluster(&self, at: usize) -> bool {
        let (Some(c), Some(before)) = (self.chars.get(at), self.chars.get(..at)) else {
            return true;
        };
        let is_skin_tone = matches!(c, '\u{1f3fb}'..='\u{1f3ff}');
        let is_flag_end = is_flag_letter(*c) && {
            let letters = before.iter().rev().take_while(|c| is_flag_letter(**c));
            letters.count() % 2 == 1
        };
        let is_joined = before.last() == Some(&ZERO_WIDTH_JOINER);
        at == 0 || !(char_width(*c) == 0 || is_skin_tone || is_flag_end || is_joined)
    }

    /// Moves the cursor out of a cluster. An insertion or a removal may have joined what was apart.
    fn leave_cluster(&mut self) {
        if !self.begins_cluster(self.cursor) {
            self.cursor = self.cluster_end(self.cursor);
        }
    }

    /// Index after the grapheme cluster at this index.
    fn cluster_end(&self, at: usize) -> usize {
        let len = self.chars.len();
        (at + 1..len)
            .find(|next| self.begins_cluster(*next))
            .unwrap_or(len)
    }

    /// The most columns that a terminal needs for these characters. Terminals disagree about joined
    /// emoji: some show one picture, some show the parts.
    fn width(&self, from: usize, to: usize) -> usize {
        let chars = self.chars.get(from..to).unwrap_or_default();
        let widths = chars.iter().map(|c| char_width(*c)).sum::<usize>();
        let is_selected = |pair: &[char]| match pair {
            [base, selector] => *selector == EMOJI_SELECTOR && char_width(*base) == 1,
            _ => false,
        };
        widths + chars.windows(2).filter(|pair| is_selected(pair)).count()
    }

    fn word_start(&self) -> usize {
        let before = self.chars.get(..self.cursor).unwrap_or_default();
        let end = before.iter().rposition(|c| !c.is_whitespace());
        let word = before.get(..end.map_or(0, |i| i + 1)).unwrap_or_default();
        let blank = word.iter().rposition(|c| c.is_whitespace());
        blank.map_or(0, |i| i + 1)
    }

    fn word_end(&self) -> usize {
        let after = self.chars.get(self.cursor..).unwrap_or_default();
        let start = after.iter().position(|c| !c.is_whitespace()).unwrap_or(0);
        let word = after.get(start..).unwrap_or_default();
        let length = word.iter().position(|c| c.is_whitespace());
        self.cursor + start + length.unwrap_or(word.len())
    }

    /// The part of the line that contains the cursor and fits `width` columns. A `width` below 2
    /// counts as 2.
    pub fn visible_line(&mut self, width: usize) -> VisibleLine {
        let width = width.max(2);
        // The cursor needs a column even at the end of the line.
        let is_cut = self.width(0, self.chars.len()) + 1 > width;
        let has_marks = is_cut && width >= MARKED_WIDTH_MIN;
        let inner_width = if has_marks { width - 2 } else { width };
        self.scroll(inner_width);

        let mut view = VisibleLine::default();
        if has_marks && self.first_visible > 0 {
            view.text.push(LEFT_MARK);
            view.width = 1;
        }
        let (mut at, limit) = (self.first_visible, view.width + inner_width);
        while at < self.chars.len() {
            let end = self.cluster_end(at);
            let cluster_width = self.width(at, end);
            if view.width + cluster_width > limit {
                break;
            }
            if at == self.cursor {
                (view.cursor_byte, view.cursor) = (view.text.len(), view.width);
            }
            view.width += cluster_width;
            let cluster = self.chars.get(at..end).unwrap_or_default();
            view.text.extend(cluster.iter().map(|c| display_char(*c)));
            at = end;
        }
        if at <= self.cursor {
            (view.cursor_byte, view.cursor) = (view.text.len(), view.width);
        }
        if has_marks && at < self.chars.len() {
            view.text.push(RIGHT_MARK);
            view.width += 1;
        }
        view
    }

    /// Sets [`EditedText::first_visible`] so that the cursor is among the next `width` columns.
    fn scroll(&mut self, width: usize) {
        if self.cursor <= self.first_visible {
            // Scrolls by half the width, so that text before the cursor stays visible.
            self.first_visible = self.cursor.saturating_sub(width / 2);
        }
        let mut after = 1;
        let mut at = self.cursor;
        while at < self.chars.len() && after <= width {
            let end = self.cluster_end(at);
            after += self.width(at, end);
            at = end;
        }
        let (mut before, mut first) = (0, self.cursor);
        while first > 0 {
            let mut starts = (0..first).rev();
            let start = starts.find(|at| self.begins_cluster(*at)).unwrap_or(0);
            let more = self.width(start, first);
            // Text before the cursor that was visible stays visible. Earlier text is shown only if
            // the text after the cursor still fits.
            let right = if first > self.first_visible { 1 } else { after };
            if before + more + right > width {
                break;
            }
            before += more;
            first = start;
        }
        self.first_visible = first;
    }
}
