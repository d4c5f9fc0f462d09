//! Writes a command's whole output to stdout, and derives the exit status from how that went.
use std::io::{self, ErrorKind, Write};

use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;

/// Prints `text`, gives the exit status of the command.
///
/// # Errors
/// 1: stdout fails in another way than being closed by its reader.
pub fn print_text(text: &str) -> Result<ExitStatus, Failure> {
    stdout_exit_status(write_stdout(text.as_bytes()))
}

/// Writes and flushes.
///
/// # Errors
/// Those of stdout.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

/// The exit status after the last write: 0, or 141 when the reader of stdout is gone, as in
/// `p2pchat history | head`.
///
/// # Errors
/// 1: any other failure.
pub fn stdout_exit_status(result: io::Result<()>) -> Result<ExitStatus, Failure> {
    match result {
        Ok(()) => Ok(ExitStatus::Success),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitStatus::StdoutClosed),
        Err(error) => Err(Failure::io("stdout cannot be written", &error)),
    }
}
