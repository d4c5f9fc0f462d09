//! stdin, as blocks of lines or as keys.
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

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

/// Duplicates the descriptor of stdin. `io::stdin` would copy every byte through its buffer, and
/// another thread may hold the lock of that buffer.
pub fn duplicate_stdin() -> io::Result<File> {
    Ok(File::from(io::stdin().as_fd().try_clone_to_owned()?))
}
