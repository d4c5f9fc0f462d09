//! HTTP as UPnP needs it: one request on a connection, and a bounded answer until a deadline.
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::shell::net::nat::mapping::NoMapping;
use crate::wire::upnp::{ANSWER_MAX_BYTES, GatewayUrl, HttpAnswer};

/// Longest wait for a connection. Meanwhile, the thread does not look whether the program ends.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Longest wait for bytes. In between, the thread looks whether the program ends.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Sends a request to the host of this URL, and returns the answer. No redirection is followed: it
/// could lead to another host.
///
/// # Errors
/// [`NoMapping::Silent`]: until the deadline there is no answer of at most [`ANSWER_MAX_BYTES`].
/// [`NoMapping::Stopped`].
pub fn exchange(
    url: &GatewayUrl,
    request: &str,
    deadline: Instant,
    is_stopped: &dyn Fn() -> bool,
) -> Result<HttpAnswer, NoMapping> {
    let silent = |_| NoMapping::Silent;
    let wait = time_left(deadline, is_stopped)?.min(CONNECT_TIMEOUT);
    let address = SocketAddr::V4(url.address());
    let mut stream = TcpStream::connect_timeout(&address, wait).map_err(silent)?;
    let wait = time_left(deadline, is_stopped)?.min(CONNECT_TIMEOUT);
    stream.set_write_timeout(Some(wait)).map_err(silent)?;
    stream.write_all(request.as_bytes()).map_err(silent)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let wait = time_left(deadline, is_stopped)?.min(WAIT_MAX);
        stream.set_read_timeout(Some(wait)).map_err(silent)?;
        match stream.read(&mut buffer) {
            Ok(0) => return HttpAnswer::parse(&bytes).ok_or(NoMapping::Silent),
            Ok(n) => bytes.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(_) => return Err(NoMapping::Silent),
        }
        if bytes.len() > ANSWER_MAX_BYTES {
            return Err(NoMapping::Silent);
        }
        if let Some(answer) = HttpAnswer::parse(&bytes).filter(HttpAnswer::is_whole) {
            return Ok(answer);
        }
    }
}

/// The time to the deadline, which is not zero.
fn time_left(deadline: Instant, is_stopped: &dyn Fn() -> bool) -> Result<Duration, NoMapping> {
    if is_stopped() {
        return Err(NoMapping::Stopped);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(NoMapping::Silent),
        false => Ok(left),
    }
}
