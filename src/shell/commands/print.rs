//! Writes a command's output to stdout, and turns the result into an exit status.
use std::io::{self, ErrorKind};
use std::os::fd::AsFd as _;

use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::stdio::output_writer;

/// Prints `text` and returns the command's exit status.
///
/// # Errors
/// Exit status 1: stdout cannot be written, for a reason other than a closed pipe.
pub fn print_text(text: &str) -> Result<ExitStatus, Failure> {
    stdout_exit_status(write_stdout(text.as_bytes()))
}

/// Writes `bytes` to stdout, at the speed of its reader.
///
/// # Errors
/// Stdout cannot be written.
pub fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    output_writer::write_all(io::stdout().as_fd(), bytes)
}

/// Converts the result of the last write into an exit status. The status is 0 after a success. It
/// is 141 if the reader has closed the pipe, as in `p2pchat history | head`.
///
/// # Errors
/// Exit status 1: the write failed for another reason.
pub fn stdout_exit_status(result: io::Result<()>) -> Result<ExitStatus, Failure> {
    match result {
        Ok(()) => Ok(ExitStatus::Success),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitStatus::StdoutClosed),
        Err(error) => Err(Failure::io("stdout cannot be written", &error)),
    }
}
