//! Pipes that never block this program.
use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};

use nix::libc;

/// The end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipeEnd {
    /// The end to read from.
    Read,
    /// The end to write to.
    Write,
}

/// Opens a pipe again, as non-blocking. `file` itself stays blocking, because other programs may
/// share its open file description. `None`: `file` is not a pipe, or can't be opened. A regular
/// file is never opened again, because its offset would begin anew.
pub fn reopen_nonblocking(file: &File, end: PipeEnd) -> Option<File> {
    if !file.metadata().ok()?.file_type().is_fifo() {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut options = OpenOptions::new();
    match end {
        PipeEnd::Read => options.read(true),
        PipeEnd::Write => options.write(true),
    };
    options.custom_flags(libc::O_NONBLOCK).open(path).ok()
}
