//! The text of chat lines.
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::lines::{SplitLines, count_line_ends, split_lines};
use crate::base::text::control_chars::has_control_in_lines;

/// The text of consecutive lines of one batch.
#[derive(Clone, Debug)]
pub enum ChatText {
    /// Each line ends with `\n`.
    Lines(String),
    /// All lines of a batch for which [`Batch::is_plain`] is true. Those of a pour are thus not
    /// copied before they are rendered.
    Plain(Arc<Batch>),
}

impl ChatText {
    /// The lines in order, without `\n`.
    pub fn lines(&self) -> SplitLines<'_> {
        match self {
            ChatText::Lines(text) => split_lines(text),
            ChatText::Plain(batch) => batch.plain_lines(),
        }
    }

    /// Number of lines.
    pub fn count(&self) -> u64 {
        match self {
            ChatText::Lines(text) => count_line_ends(text.as_bytes()),
            ChatText::Plain(batch) => batch.count,
        }
    }

    /// Are there no lines?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of bytes, about: of the text, or of the whole batch.
    pub fn len(&self) -> usize {
        match self {
            ChatText::Lines(text) => text.len(),
            ChatText::Plain(batch) => batch.as_bytes().len(),
        }
    }

    /// May a line have a control character?
    pub fn has_control(&self) -> bool {
        match self {
            ChatText::Lines(text) => has_control_in_lines(text),
            ChatText::Plain(_) => false,
        }
    }
}

/// All readable lines of a batch, each with its `\n`.
pub fn copy_lines(batch: &Batch) -> String {
    let mut text = String::with_capacity(batch.as_bytes().len());
    batch.for_each_line(|line| {
        text.push_str(line);
        text.push('\n');
    });
    text
}

impl From<String> for ChatText {
    fn from(text: String) -> ChatText {
        ChatText::Lines(text)
    }
}

impl PartialEq for ChatText {
    fn eq(&self, other: &ChatText) -> bool {
        self.lines().eq(other.lines())
    }
}

impl Eq for ChatText {}
