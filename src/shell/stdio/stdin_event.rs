//! What a reader of stdin returns.
use std::io;

use termion::event::Key;

use crate::shell::stdio::line_splitter::LineBlock;

/// What was read from stdin.
#[derive(Debug)]
pub enum StdinEvent {
    /// The lines that one read completed.
    Lines(LineBlock),
    /// A key that was pressed at a terminal in raw mode.
    Key(Key),
    /// stdin cannot be read any further. [`StdinEvent::End`] follows.
    Failed(io::Error),
    /// The end of stdin. This is the last event.
    End,
}
