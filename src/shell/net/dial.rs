//! Begins TCP connections.
use std::io;
use std::net::SocketAddr;

use mio::net::TcpStream;
use nix::libc;
use socket2::{Domain, Protocol, Socket, Type};

/// Begins to connect to `address`. `device`: the name of the interface to use. `None`: the routes
/// of the host decide. `segment_limit`: the largest size of a segment in both directions.
///
/// # Errors
/// The system refuses the socket, or no route leads to the address.
pub fn connect(
    address: SocketAddr,
    device: Option<&str>,
    segment_limit: Option<u32>,
) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    if let Some(name) = device {
        // Linux before 5.7 refuses this without a privilege, and an interface may be gone. Then the
        // routes decide.
        let _ = socket.bind_device(Some(name.as_bytes()));
    }
    if let Some(limit) = segment_limit {
        socket.set_tcp_mss(limit)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        started => started?,
    }
    Ok(TcpStream::from_std(socket.into()))
}
