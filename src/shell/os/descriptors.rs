//! File descriptors, of which a process may have only a limited number.
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};

use nix::errno::Errno;

/// Opens a descriptor that only reserves a place. Closing it makes room for another descriptor.
///
/// # Errors
/// No descriptor is left.
pub fn reserve_descriptor() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// How many of `wanted` descriptors can be opened now. Inherited descriptors also count towards the
/// process's limit (`RLIMIT_NOFILE`).
pub fn count_available(wanted: usize) -> usize {
    let opened: Vec<OwnedFd> = (0..wanted)
        .map_while(|_| reserve_descriptor().ok())
        .collect();
    opened.len()
}

/// Whether an error means that no descriptor is left, in this process or on this machine.
pub fn is_shortage(error: &io::Error) -> bool {
    let number = error.raw_os_error().map(Errno::from_raw);
    matches!(number, Some(Errno::EMFILE | Errno::ENFILE))
}
