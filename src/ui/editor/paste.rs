//! Text that is pasted: a terminal marks its beginning and its end (bracketed paste), so that no
//! pasted line end counts as Enter.
use std::collections::VecDeque;

use termion::event::Key;

/// Maximum length of a pasted text in bytes. The rest is cut off.
pub const PASTE_MAX_BYTES: usize = 256 << 10;

/// A pasted text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paste {
    /// The text as it came from the terminal.
    pub text: String,
    /// Whether the text was longer than [`PASTE_MAX_BYTES`].
    pub is_cut: bool,
}

impl Paste {
    /// The lines of the text, without control characters except TAB, and without the empty lines
    /// at the end. At least one.
    pub fn lines(&self) -> Vec<String> {
        let text = self.text.replace("\r\n", "\n").replace('\r', "\n");
        let lines = text.trim_end_matches('\n').split('\n');
        let is_text = |c: &char| !c.is_control() || *c == '\t';
        lines
            .map(|line| line.chars().filter(is_text).collect())
            .collect()
    }
}

/// Several pasted lines, for which the user is asked what to do.
#[derive(Debug)]
pub struct PasteQuestion {
    /// The lines. The text around the cursor is a part of the first and the last one.
    pub lines: VecDeque<String>,
    /// Whether all lines can be said as text. False after typed text, which may be the beginning
    /// of a command: the lines after the first would not go where it goes.
    pub can_say_all: bool,
    /// Whether the pasted text was cut.
    pub is_cut: bool,
}

/// The answer to a [`PasteQuestion`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasteAnswer {
    /// Say each line as text, also one that begins with `/`.
    SayAll,
    /// Say all lines as one message.
    SayBlock,
    /// Edit one line after the other, each until Enter.
    Edit,
    /// Drop the pasted lines.
    Cancel,
}

impl PasteQuestion {
    /// The question.
    pub fn prompt(&self) -> String {
        let say = match self.can_say_all {
            true => "(s)ay all, in one (b)lock, ",
            false => "",
        };
        let cut = if self.is_cut { ", cut at 256 KiB" } else { "" };
        let count = self.lines.len();
        format!("{count} lines pasted{cut}: {say}(e)dit each, (c)ancel? ")
    }

    /// The answer that a key gives. `None`: this key is no answer.
    pub fn answer(&self, key: Key) -> Option<PasteAnswer> {
        match key {
            Key::Char('s' | 'S') if self.can_say_all => Some(PasteAnswer::SayAll),
            Key::Char('b' | 'B') if self.can_say_all => Some(PasteAnswer::SayBlock),
            Key::Char('e' | 'E') => Some(PasteAnswer::Edit),
            Key::Char('c' | 'C') | Key::Ctrl('c' | 'g') | Key::Esc => Some(PasteAnswer::Cancel),
            _ => None,
        }
    }
}
