//! When the kernel ends a stream whose path fails.
use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

/// Time without traffic after which the kernel begins to probe a stream. If no probe is answered,
/// the stream ends [`TCP_USER_TIMEOUT`] later. An idle stream whose path fails thus ends within
/// 15 s.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
/// Time between two keepalive probes.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
/// Number of unanswered probes after which a stream ends. This number has no effect on kernels that
/// apply [`TCP_USER_TIMEOUT`] to probes too.
const KEEPALIVE_PROBES: u32 = 3;
/// Longest time that sent bytes or probes may stay unacknowledged. After that time the stream ends
/// (RFC 5482). A write during the probes stops the probes and restarts this timeout (Linux,
/// tcp_timer.c).
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(9);

/// Sets the timeouts of a stream. `patience`: how long a silent peer counts as here, if the user
/// has said so. The core then ends the stream at that time, and the kernel not before.
///
/// # Errors
/// The system refuses an option.
pub fn set_timeouts(socket: &SockRef<'_>, patience: Option<Duration>) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(patience.unwrap_or(KEEPALIVE_IDLE))
        .with_interval(KEEPALIVE_INTERVAL)
        .with_retries(KEEPALIVE_PROBES);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(patience.unwrap_or(TCP_USER_TIMEOUT)))
}
