//! Starts helper threads. All go through one function that is not inlined: a generic spawn would be
//! compiled once for each closure and grow the binary.
use std::io;
use std::thread::Builder;

/// Stack of a helper thread, in bytes. The kernel backs only the pages that are touched.
const STACK_BYTES: usize = 512 * 1024;

/// Runs `work` in a detached thread of this name.
///
/// # Errors
/// The system can't start another thread.
#[inline(never)]
pub fn spawn_helper(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let builder = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(work).map(drop)
}
