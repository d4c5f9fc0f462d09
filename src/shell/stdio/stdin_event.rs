//! What a reader of stdin returns.
use std::io;

use crate::shell::stdio::line_splitter::LineBlock;
use crate::ui::editor::keys::TerminalInput;

/// What was read from stdin.
#[derive(Debug)]
pub enum StdinEvent {
    /// The lines that one read completed.
    Lines(LineBlock),
    /// A key was pressed, or a text pasted, at a terminal in raw mode.
    Typed(TerminalInput),
    /// stdin cannot be read any further. [`StdinEvent::End`] follows.
    Failed(io::Error),
    /// The end of stdin. This is the last event.
    End,
}
