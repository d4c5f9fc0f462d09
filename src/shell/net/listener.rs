//! The listening socket, non-blocking.
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::base::time::Time;
use crate::shell::net::stream_limit::StreamLimit;
use crate::shell::os::descriptors::{ACCEPT_RETRY_MS, lacks_descriptors};

/// Maximum number of connections that wait in the kernel to be accepted.
const LISTEN_BACKLOG: i32 = 128;

/// Listens on one port of all addresses.
pub struct Listener {
    socket: TcpListener,
    /// When to accept connections that may wait. The poll does not repeat its report. `None`: none
    /// waits.
    accept_at: Option<Time>,
    /// The largest segment of the streams that are accepted. `None`: the path decides.
    segment_limit: Option<u32>,
}

/// What [`Listener::accept`] found.
pub enum Acceptance {
    /// This connection from a peer, at this address.
    Connection(TcpStream, SocketAddr),
    /// A connection that is over already. Others may wait behind it.
    Ended,
    /// No connection waits.
    None,
}

impl Listener {
    /// Listens on `port` of all IPv6 and IPv4 addresses. Port 0 means any free port. The poll
    /// reports the listener under `token`.
    ///
    /// # Errors
    /// `AddrInUse`: the port is taken. Any other error: the system does not provide the socket.
    pub fn open(port: u16, registry: &Registry, token: Token) -> io::Result<Listener> {
        let mut socket = TcpListener::from_std(bind(port)?.into());
        registry.register(&mut socket, token, Interest::READABLE)?;
        Ok(Listener {
            socket,
            accept_at: None,
            segment_limit: None,
        })
    }

    /// The port that we listen on.
    ///
    /// # Errors
    /// The kernel does not know the listener's address.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.socket.local_addr()?.port())
    }

    /// Records that the poll has reported the listener.
    pub fn mark_waiting(&mut self) {
        self.accept_at = Some(Time::default());
    }

    /// When to accept connections that may wait. `None`: none waits.
    pub fn accept_at(&self) -> Option<Time> {
        self.accept_at
    }

    /// Accepts a waiting connection.
    ///
    /// One for which no descriptor is left is accepted and closed. Otherwise its peer would wait
    /// for an answer, and the listener would report no further connection (epoll(7)). Without a
    /// descriptor, accept(2) does not say whether one waits.
    pub fn accept(&mut self, limit: &mut StreamLimit, now: Time) -> Acceptance {
        let error = match self.socket.accept() {
            Ok((socket, address)) => {
                return Acceptance::Connection(socket, unmap_ipv4(address));
            }
            Err(error) if lacks_descriptors(&error) => {
                match limit.refuse_by(|| self.socket.accept().map(drop)) {
                    Ok(()) => return Acceptance::Ended,
                    Err(error) => error,
                }
            }
            Err(error) => error,
        };
        self.accept_at = match error.kind() {
            // This peer gave up. The connections behind it must not wait.
            ErrorKind::Interrupted | ErrorKind::ConnectionAborted => return Acceptance::Ended,
            ErrorKind::WouldBlock => None,
            // No descriptor or no memory is left: one may still wait.
            _ => Some(now + ACCEPT_RETRY_MS),
        };
        Acceptance::None
    }

    /// Limits the segments of the streams that are accepted from now on. An accepted socket is too
    /// late for a limit.
    pub fn limit_segments(&mut self, limit: Option<u32>) {
        if limit != self.segment_limit {
            self.segment_limit = limit;
            // 0 lifts the limit (tcp(7), TCP_MAXSEG).
            let _ = SockRef::from(&self.socket).set_tcp_mss(limit.unwrap_or(0));
        }
    }
}

/// Opens an IPv6 socket that also accepts IPv4. If the kernel has no IPv6, opens an IPv4 socket.
fn bind(port: u16) -> io::Result<Socket> {
    let open = |domain: Domain, address: SocketAddr| -> io::Result<Socket> {
        let socket = Socket::new(
            domain,
            Type::STREAM.nonblocking().cloexec(),
            Some(Protocol::TCP),
        )?;
        if domain == Domain::IPV6 {
            socket.set_only_v6(false)?;
        }
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(LISTEN_BACKLOG)?;
        Ok(socket)
    };
    match open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        result => result,
    }
}

/// Turns an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2) into the IPv4 address.
pub fn unmap_ipv4(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}
