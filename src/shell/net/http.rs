//! HTTP as UPnP and Grenache need it: one request on a connection, and a bounded answer until a
//! deadline.
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::wire::http::{ANSWER_MAX_BYTES, HttpAnswer};

/// Longest wait for a connection. Meanwhile, the thread does not look whether the program ends.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_000);
/// Longest wait for bytes. In between, the thread looks whether the program ends.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Why there is no answer.
#[derive(Debug)]
pub enum HttpFailure {
    /// The other side does not answer, or not within the bounds.
    Failed(io::Error),
    /// The program ends.
    Stopped,
}

/// Sends a request to a host, and returns the answer. No redirection is followed: it could lead to
/// another host.
///
/// # Errors
/// [`HttpFailure::Failed`]: until the deadline there is no answer of at most [`ANSWER_MAX_BYTES`].
/// [`HttpFailure::Stopped`].
pub fn exchange(
    address: SocketAddr,
    request: &[u8],
    deadline: Instant,
    is_stopped: &dyn Fn() -> bool,
) -> Result<HttpAnswer, HttpFailure> {
    let failed = HttpFailure::Failed;
    let wait = time_left(deadline, is_stopped)?.min(CONNECT_TIMEOUT);
    let mut stream = TcpStream::connect_timeout(&address, wait).map_err(failed)?;
    let wait = time_left(deadline, is_stopped)?.min(CONNECT_TIMEOUT);
    stream.set_write_timeout(Some(wait)).map_err(failed)?;
    stream.write_all(request).map_err(failed)?;
    let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
    loop {
        let wait = time_left(deadline, is_stopped)?.min(WAIT_MAX);
        stream.set_read_timeout(Some(wait)).map_err(failed)?;
        match stream.read(&mut buffer) {
            Ok(0) => return HttpAnswer::parse(&bytes).ok_or_else(not_http),
            Ok(n) => bytes.extend_from_slice(buffer.get(..n).unwrap_or_default()),
            Err(error)
                if matches!(
                    error.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(failed(error)),
        }
        if bytes.len() > ANSWER_MAX_BYTES {
            return Err(not_http());
        }
        if let Some(answer) = HttpAnswer::parse(&bytes).filter(HttpAnswer::is_whole) {
            return Ok(answer);
        }
    }
}

/// The failure of an answer that is too long, or none of HTTP.
fn not_http() -> HttpFailure {
    HttpFailure::Failed(ErrorKind::InvalidData.into())
}

/// The time to the deadline, which is not zero.
fn time_left(deadline: Instant, is_stopped: &dyn Fn() -> bool) -> Result<Duration, HttpFailure> {
    if is_stopped() {
        return Err(HttpFailure::Stopped);
    }
    let left = deadline.saturating_duration_since(Instant::now());
    match left.is_zero() {
        true => Err(HttpFailure::Failed(ErrorKind::TimedOut.into())),
        false => Ok(left),
    }
}
