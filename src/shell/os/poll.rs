//! The poll, in which the main thread waits for events. Helper threads end the wait with a waker.
use std::io;
use std::os::fd::AsRawFd as _;
use std::sync::Arc;

use mio::unix::SourceFd;
use mio::{Interest, Poll, Registry, Token, Waker};
use nix::libc;
use nix::sys::stat::fstat;
use socket2::SockRef;

/// Token of the waker that [`create_poll`] registers.
pub const WAKE_TOKEN: Token = Token(0);
/// Token under which [`Signals`](crate::shell::os::signals::Signals) are registered.
pub const SIGNALS_TOKEN: Token = Token(1);

/// Token under which a pipe at stdin is registered.
pub const STDIN_TOKEN: Token = Token(6);
/// Token under which [`watch_stdout`] reports that the reader of stdout is gone.
pub const STDOUT_TOKEN: Token = Token(5);

/// Watches stdout if it is a pipe or a Unix socket. When its reader is gone, the poll reports an
/// error or a hang-up with [`STDOUT_TOKEN`] (`POLLERR` and `POLLHUP` of poll(2)). Without the
/// event, the program would notice only when it prints its next line. Errors of other sockets do
/// not mean that the reader is gone.
pub fn watch_stdout(registry: &Registry) {
    let stdout = io::stdout();
    let is_pipe = fstat(&stdout).is_ok_and(|stat| stat.st_mode & libc::S_IFMT == libc::S_IFIFO);
    let is_unix_socket = || {
        let address = SockRef::from(&stdout).local_addr();
        address.is_ok_and(|address| address.is_unix())
    };
    if is_pipe || is_unix_socket() {
        // The kernel reports errors for every interest. Interest in room to write would wake the
        // program after each write.
        let fd = stdout.as_raw_fd();
        let _ = registry.register(&mut SourceFd(&fd), STDOUT_TOKEN, Interest::PRIORITY);
    }
}

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
