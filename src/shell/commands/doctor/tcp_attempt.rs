//! Tries to connect to a TCP port, and says what came of it.
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use nix::libc;

/// Longest time for one attempt.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Connects, and closes the connection at once.
///
/// # Errors
/// Why there is no connection, in words.
pub fn try_connect(address: SocketAddr) -> Result<(), String> {
    let connected = TcpStream::connect_timeout(&address, TIMEOUT);
    connected.map(drop).map_err(|error| explain(&error))
}

/// Why there is no connection, in words.
pub fn explain(error: &io::Error) -> String {
    let seconds = TIMEOUT.as_secs();
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => {
            format!("no answer within {seconds} s: a firewall, or the host is off")
        }
        ErrorKind::ConnectionRefused => "refused: nothing listens there".to_owned(),
        ErrorKind::ConnectionReset => "reset: a firewall, or another program".to_owned(),
        _ if error.raw_os_error() == Some(libc::EHOSTUNREACH) => {
            "no such host: it is off, or its network is another one".to_owned()
        }
        _ => error.to_string(),
    }
}
