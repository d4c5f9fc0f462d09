//! File descriptors, of which a process may have only a limited number.
use std::os::fd::{AsFd as _, OwnedFd};
use std::{fs, io};

use nix::errno::Errno;
use nix::sys::resource::{Resource, getrlimit};

/// How long a listener waits after a failed accept, in milliseconds. A descriptor may be free then.
pub const ACCEPT_RETRY_MS: u64 = 500;

/// Opens a descriptor that only reserves a place. Closing it makes room for another descriptor.
///
/// # Errors
/// No descriptor is left.
pub fn reserve_descriptor() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// How many descriptors can be opened now, at most `wanted`. Inherited descriptors also count
/// towards the process's limit (`RLIMIT_NOFILE`). Without `/proc`, none counts as open.
pub fn count_available(wanted: usize) -> usize {
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let open = fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    limit.saturating_sub(open).min(wanted)
}

/// Whether an error means that no descriptor is left, in this process or on this machine.
pub fn lacks_descriptors(error: &io::Error) -> bool {
    matches!(number(error), Some(Errno::EMFILE | Errno::ENFILE))
}

/// Whether an error means that descriptors or memory are short for now. It says nothing about the
/// file, and a later attempt may succeed.
pub fn is_shortage(error: &io::Error) -> bool {
    lacks_descriptors(error) || matches!(number(error), Some(Errno::ENOMEM | Errno::ENOBUFS))
}

fn number(error: &io::Error) -> Option<Errno> {
    error.raw_os_error().map(Errno::from_raw)
}
