//! The poll, in which the main thread waits for events. Helper threads end the wait with a waker.
use std::io;
use std::sync::Arc;

use mio::{Poll, Token, Waker};

/// Token of the waker that [`create_poll`] registers.
pub const WAKE_TOKEN: Token = Token(0);
/// Token under which [`Signals`](crate::shell::os::signals::Signals) are registered.
pub const SIGNALS_TOKEN: Token = Token(1);

/// Creates the poll, and the waker that helper threads share.
///
/// # Errors
/// The system has no file descriptor left.
pub fn create_poll() -> io::Result<(Poll, Arc<Waker>)> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), WAKE_TOKEN)?);
    Ok((poll, waker))
}

/// Wakes the thread that waits in the poll.
pub fn wake(waker: &Waker) {
    // Waking fails only after the poll has been closed, at the end of the program.
    let _ = waker.wake();
}
