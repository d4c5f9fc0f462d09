//! Helper threads, all started in one place of the program: each kind of closure would bring its own copy of what starts a thread.
use std::io;
use std::thread::Builder;

/// Stack of a helper thread, in bytes; it is taken only as far as it is used.
const STACK_BYTES: usize = 512 * 1024;

/// # Errors
/// No thread can be had.
#[inline(never)]
pub fn spawn_helper(name: &str, work: Box<dyn FnOnce() + Send>) -> io::Result<()> {
    let builder = Builder::new().name(name.to_owned()).stack_size(STACK_BYTES);
    builder.spawn(work).map(drop)
}
