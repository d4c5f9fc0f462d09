//! Starts helper threads, all through one function. A generic function would be compiled once per
//! closure and enlarge the binary.
use std::io;
use std::thread::Builder;

/// Stack of a helper thread, in bytes. The kernel allocates only the pages in use.
const STACK_BYTES: usize = 512 * 1024;

/// Runs `work` in a detached thread named `name`.
///
/// # Errors
/// The system can't start another thread.
#[inline(never)]
pub fn spawn_helper(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let builder = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(work).map(drop)
}
