//! TCP: the listening socket and all peer streams, non-blocking.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use crate::base::event::StreamId;
use crate::base::table::{SortedMap, SortedSet};

/// Most streams at a time; further ones are closed as they come.
const STREAMS_MAX: usize = 512;
/// What is read of one stream before the others have their turn, in bytes.
pub const READ_BUDGET_BYTES: usize = 64 * 1024;
/// A dead path is known within 15 s: an idle link is probed after 5 s of silence and every 2 s, and given up when 9 s have passed
/// since the last sign of life. What is written in that silence stops the probes (Linux, tcp_timer.c) and has 9 s of its own.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(5);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(9);

struct StreamEntry {
    socket: TcpStream,
    is_connecting: bool,
    /// The other side will send no more.
    is_read_closed: bool,
    /// What the socket did not take.
    unsent: Vec<u8>,
    /// The core is done with it: it ends when the rest has gone out.
    is_closing: bool,
}

/// What became of a stream, for the core.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamEvent {
    Accepted(StreamId, SocketAddr),
    Connected(StreamId),
    Writable(StreamId),
    Closed(StreamId),
}

pub struct TcpStreams {
    listener: TcpListener,
    streams: SortedMap<StreamId, StreamEntry>,
    /// Streams that may have bytes to read.
    readable: SortedSet<StreamId>,
    accepted_count: u64,
    first_token: usize,
}

impl TcpStreams {
    /// Listens on `port` of all addresses, IPv6 and IPv4. Streams get tokens from `first_token` on; the listener has `listener_token`.
    ///
    /// # Errors
    /// The port is taken, or no socket is to be had.
    pub fn listen(
        port: u16,
        registry: &Registry,
        listener_token: Token,
        first_token: usize,
    ) -> io::Result<TcpStreams> {
        let socket = bind_listener(port)?;
        let mut listener = TcpListener::from_std(socket.into());
        registry.register(&mut listener, listener_token, Interest::READABLE)?;
        Ok(TcpStreams {
            listener,
            streams: SortedMap::new(),
            readable: SortedSet::new(),
            accepted_count: 0,
            first_token,
        })
    }

    /// # Errors
    /// The socket is gone.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    fn token(&self, stream: StreamId) -> Token {
        Token(self.first_token.saturating_add(stream.0 as usize))
    }

    /// Takes in everybody who dialed. `welcome` tells whether we want to be spoken to at this own address.
    pub fn accept(
        &mut self,
        registry: &Registry,
        welcome: impl Fn(SocketAddr) -> bool,
        changes: &mut Vec<StreamEvent>,
    ) {
        loop {
            match self.listener.accept() {
                Ok((socket, address)) => {
                    let wanted = socket
                        .local_addr()
                        .is_ok_and(|own| welcome(unmap_ipv4(own)));
                    if self.streams.len() >= STREAMS_MAX || !wanted {
                        continue;
                    }
                    self.accepted_count += 1;
                    let stream = StreamId::accepted(self.accepted_count);
                    if self.insert(registry, stream, socket, false).is_ok() {
                        changes.push(StreamEvent::Accepted(stream, unmap_ipv4(address)));
                    }
                }
                // Whoever gave up before we came does not hide those behind.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::Interrupted | ErrorKind::ConnectionAborted
                    ) => {}
                // Nobody is left, or there are no more files: no reason to end.
                Err(_) => return,
            }
        }
    }

    /// Begins to connect; a failure is a change like a later one.
    pub fn dial(
        &mut self,
        registry: &Registry,
        stream: StreamId,
        address: SocketAddr,
        changes: &mut Vec<StreamEvent>,
    ) {
        let begun = TcpStream::connect(address)
            .and_then(|socket| self.insert(registry, stream, socket, true));
        if begun.is_err() {
            changes.push(StreamEvent::Closed(stream));
        }
    }

    fn insert(
        &mut self,
        registry: &Registry,
        stream: StreamId,
        mut socket: TcpStream,
        connecting: bool,
    ) -> io::Result<()> {
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        let keepalive = TcpKeepalive::new()
            .with_time(KEEPALIVE_IDLE)
            .with_interval(KEEPALIVE_INTERVAL)
            .with_retries(3);
        options.set_tcp_keepalive(&keepalive)?;
        options.set_tcp_user_timeout(Some(TCP_USER_TIMEOUT))?;
        registry.register(
            &mut socket,
            self.token(stream),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.streams.insert(
            stream,
            StreamEntry {
                socket,
                is_connecting: connecting,
                is_read_closed: false,
                unsent: Vec::new(),
                is_closing: false,
            },
        );
        Ok(())
    }

    /// What the poll said of a stream.
    pub fn handle_event(&mut self, event: &Event, changes: &mut Vec<StreamEvent>) {
        let stream = StreamId(event.token().0.saturating_sub(self.first_token) as u64);
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if entry.is_connecting {
            match is_connected(&entry.socket) {
                Ok(true) => {
                    entry.is_connecting = false;
                    changes.push(StreamEvent::Connected(stream));
                }
                Ok(false) => return,
                Err(_) => {
                    self.streams.remove(&stream);
                    changes.push(StreamEvent::Closed(stream));
                    return;
                }
            }
        }
        let drains = event.is_writable() && !entry.unsent.is_empty();
        entry.is_read_closed |= event.is_read_closed() || event.is_error();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable.insert(stream);
        }
        if drains {
            self.flush(stream, changes);
        }
    }

    fn flush(&mut self, stream: StreamId, changes: &mut Vec<StreamEvent>) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        let rest = std::mem::take(&mut entry.unsent);
        match write_available(&mut entry.socket, &rest) {
            Ok(n) if n == rest.len() && entry.is_closing => {
                self.streams.remove(&stream);
            }
            Ok(n) if n == rest.len() => changes.push(StreamEvent::Writable(stream)),
            Ok(n) => entry.unsent = rest[n..].to_vec(),
            // The read side says how it ended.
            Err(_) => {
                self.readable.insert(stream);
            }
        }
    }

    /// Something may be there to read.
    pub fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Streams to read from in this turn.
    pub fn take_readable(&mut self) -> SortedSet<StreamId> {
        std::mem::take(&mut self.readable)
    }

    /// Reads once. 0: nothing there now.
    ///
    /// # Errors
    /// The stream has ended, and is gone from the table.
    pub fn read(&mut self, stream: StreamId, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Ok(0);
        };
        let closing = entry.is_closing;
        loop {
            match entry.socket.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    // A short read took all there was: what comes later is an event of its own (epoll(7)), but for an end already told.
                    if n == buffer.len() || entry.is_read_closed {
                        self.readable.insert(stream);
                    }
                    return Ok(if closing { 0 } else { n });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        self.streams.remove(&stream);
        if closing {
            Ok(0)
        } else {
            Err(ErrorKind::ConnectionAborted.into())
        }
    }

    /// Writes; what the socket does not take is kept. `true`: it is clogged from now on.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> bool {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return false;
        };
        if !entry.unsent.is_empty() {
            entry.unsent.extend_from_slice(bytes);
            return false;
        }
        match write_available(&mut entry.socket, bytes) {
            Ok(n) if n == bytes.len() => false,
            Ok(n) => {
                entry.unsent = bytes[n..].to_vec();
                true
            }
            Err(_) => {
                self.readable.insert(stream);
                false
            }
        }
    }

    /// Ends the stream once its rest has gone out.
    pub fn close(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            if entry.unsent.is_empty() || entry.is_connecting {
                self.streams.remove(&stream);
            } else {
                entry.is_closing = true;
            }
        }
    }

    /// Ends the stream now.
    pub fn abort(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Something still waits to go out.
    pub fn has_unsent(&self) -> bool {
        self.streams.values().any(|entry| !entry.unsent.is_empty())
    }
}

fn bind_listener(port: u16) -> io::Result<Socket> {
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
        socket.listen(128)?;
        Ok(socket)
    };
    match open(Domain::IPV6, (Ipv6Addr::UNSPECIFIED, port).into()) {
        Err(error) if error.kind() != ErrorKind::AddrInUse => {
            open(Domain::IPV4, (Ipv4Addr::UNSPECIFIED, port).into())
        }
        done => done,
    }
}

/// An IPv4 address as itself, not as IPv6 wraps it.
fn unmap_ipv4(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => (v4, v6.port()).into(),
            None => address,
        },
        SocketAddr::V4(_) => address,
    }
}

/// Whether a dial stands by now.
fn is_connected(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// How much of the bytes the socket took.
fn write_available(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut at = 0;
    while at < bytes.len() {
        match socket.write(&bytes[at..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => at += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(at)
}
