//! All TCP streams to peers, and the listener, non-blocking.
//!
//! If a socket does not accept all bytes, its stream keeps the rest and sends it once the socket
//! is writable.
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::SockRef;

use crate::base::event::stream_id::StreamId;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::shell::net::dial::connect;
use crate::shell::net::interfaces::is_own_address;
use crate::shell::net::keepalive::set_timeouts;
use crate::shell::net::listener::{Acceptance, Listener, unmap_ipv4};
use crate::shell::net::path_mtu::{LargestWrite, PathMtu};
use crate::shell::net::read_budget::ReadBudget;
use crate::shell::net::stream_limit::StreamLimit;
use crate::shell::os::descriptors::lacks_descriptors;

/// Maximum number of connections accepted in a turn. A flood of connections therefore delays
/// neither the streams nor the handshake of a peer among them.
const ACCEPTS_PER_TURN_MAX: usize = 32;
/// How many bytes of a stream wait in the kernel to be sent, at most. A line waits behind them,
/// whatever room it is for. Without this bound, Linux queues up to 4 MiB.
const UNSENT_MAX_BYTES: u32 = 64 * 1024;
/// The kernel's buffer for received bytes of a stream, where a line waits as well. Without this
/// bound, it grows up to 6 MiB. On a path of 100 ms, 1 MiB a second still arrives.
const RECEIVE_BUFFER_BYTES: usize = 128 * 1024;

/// State of a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The dial is not finished.
    Connecting,
    /// Both sides can send.
    Open,
    /// The core has closed the stream, but the stream still has unsent bytes. Received bytes are
    /// dropped.
    Closing,
    /// A write has failed. What has arrived is still read, and nothing more is written.
    Failed,
}

struct StreamEntry {
    socket: TcpStream,
    /// The address of the other side.
    remote: IpAddr,
    phase: Phase,
    largest_write: LargestWrite,
    /// Whether the kernel has ended the stream, because the other side acknowledged nothing.
    has_timed_out: bool,
    /// Whether the poll has reported an error, or that the peer sends no more bytes. The poll does
    /// not repeat such a report, so this flag remembers it.
    is_read_closed: bool,
    /// Bytes that the socket has not accepted yet.
    unsent: Vec<u8>,
    /// How many bytes the last read returned.
    last_read_bytes: usize,
}

impl StreamEntry {
    fn note_error(&mut self, error: &io::Error) {
        self.has_timed_out |= error.kind() == ErrorKind::TimedOut;
        if self.phase == Phase::Open {
            self.phase = Phase::Failed;
        }
    }
}

/// A change of a stream's state, for the core.
#[derive(Debug, PartialEq, Eq)]
pub enum StreamEvent {
    /// A peer connected to us, from this address.
    Accepted(StreamId, SocketAddr),
    /// A stream that we dialed is open.
    Connected(StreamId),
    /// A stream that was blocked has sent all its bytes. The stream is no longer blocked.
    Writable(StreamId),
    /// A stream that we dialed could not be opened. Its id is no longer in use. An open stream that
    /// ends is reported by [`TcpStreams::read`] instead.
    Closed(StreamId),
}

/// Whether the core may write more to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// The bytes are sent, or queued behind unsent bytes. A write to a stream that is not open any
    /// more also returns `Accepted`.
    Accepted,
    /// The socket accepted only a part of the bytes. The stream is blocked until
    /// [`StreamEvent::Writable`], or after a failed write until the next read reports its end.
    Blocked,
}

/// The listener and all streams, each under its [`StreamId`].
pub struct TcpStreams {
    listener: Listener,
    limit: StreamLimit,
    streams: SortedMap<StreamId, StreamEntry>,
    /// Streams to read: each may have received bytes, or may have ended. The stream whose last read
    /// returned the fewest bytes comes first, so that a line waits for no bulk transfer.
    readable: SortedSet<(usize, StreamId)>,
    read_budget: ReadBudget,
    accepted_count: u64,
    /// How long a silent peer counts as here. `None`: the default.
    patience: Option<Duration>,
    first_token: usize,
    path_mtu: PathMtu,
}

impl TcpStreams {
    /// Listens on `port` of all IPv6 and IPv4 addresses. Port 0 means any free port. The poll
    /// reports the listener under `listener_token`. The tokens of streams are `first_token` or
    /// higher.
    ///
    /// # Errors
    /// `AddrInUse`: the port is taken. Any other error: the system does not provide the socket.
    pub fn listen(
        port: u16,
        registry: &Registry,
        listener_token: Token,
        first_token: usize,
    ) -> io::Result<TcpStreams> {
        Ok(TcpStreams {
            listener: Listener::open(port, registry, listener_token)?,
            limit: StreamLimit::default(),
            streams: SortedMap::new(),
            readable: SortedSet::new(),
            read_budget: ReadBudget::default(),
            accepted_count: 0,
            patience: None,
            first_token,
            path_mtu: PathMtu::default(),
        })
    }

    /// The port that we listen on.
    ///
    /// # Errors
    /// The kernel does not know the listener's address.
    pub fn port(&self) -> io::Result<u16> {
        self.listener.port()
    }

    fn token(&self, stream: StreamId) -> Token {
        Token(self.first_token.saturating_add(stream.0 as usize))
    }

    /// Records that the poll has reported the listener.
    pub fn mark_waiting(&mut self) {
        self.listener.mark_waiting();
    }

    /// When to accept connections that may wait. `None`: none waits.
    pub fn accept_at(&self) -> Option<Time> {
        self.listener.accept_at()
    }

    /// Whether connections may wait to be accepted now.
    pub fn has_waiting(&self, now: Time) -> bool {
        self.accept_at().is_some_and(|at| at <= now)
    }

    /// Accepts waiting connections, at most `ACCEPTS_PER_TURN_MAX`. Calls `can_accept_on` with
    /// the local address of each connection. If `can_accept_on` returns false, the connection is
    /// closed.
    pub fn accept(
        &mut self,
        registry: &Registry,
        now: Time,
        can_accept_on: impl Fn(SocketAddr) -> bool,
        changes: &mut Vec<StreamEvent>,
    ) {
        for _ in 0..ACCEPTS_PER_TURN_MAX {
            let (socket, address) = match self.listener.accept(&mut self.limit, now) {
                Acceptance::Connection(socket, address) => (socket, address),
                Acceptance::Ended => continue,
                Acceptance::None => return,
            };
            let own = socket.local_addr();
            let is_allowed = own.is_ok_and(|own| can_accept_on(unmap_ipv4(own)));
            if self.limit.is_reached(self.streams.len()) || !is_allowed {
                continue;
            }
            self.accepted_count += 1;
            let stream = StreamId::accepted(self.accepted_count);
            let inserted = self.insert(registry, stream, socket, address.ip(), Phase::Open);
            if inserted.is_ok() {
                self.read_budget.record_opened(Instant::now());
                changes.push(StreamEvent::Accepted(stream, address));
            }
        }
    }

    /// Whether to tell the user that no descriptor was left for a connection. True once in a run.
    pub fn take_shortage(&mut self) -> bool {
        self.limit.take_shortage()
    }

    /// Begins to connect to `address`, over the interface with the name `device`. `None`: the
    /// routes decide. If the dial fails at once, appends [`StreamEvent::Closed`] to `changes`. If
    /// the dial fails later, [`TcpStreams::handle_event`] appends that event.
    pub fn dial(
        &mut self,
        registry: &Registry,
        stream: StreamId,
        address: SocketAddr,
        device: Option<&str>,
        changes: &mut Vec<StreamEvent>,
    ) {
        if self.limit.is_reached(self.streams.len()) {
            return changes.push(StreamEvent::Closed(stream));
        }
        let remote = address.ip();
        let limit = self.path_mtu.segment_limit(remote, Instant::now());
        let started = connect(address, device, limit)
            .and_then(|socket| self.insert(registry, stream, socket, remote, Phase::Connecting));
        if let Err(error) = started {
            if lacks_descriptors(&error) {
                self.limit.note_shortage();
            }
            changes.push(StreamEvent::Closed(stream));
        }
    }

    /// Sets how long a silent peer counts as here on later streams. `None`: the default.
    pub fn set_patience(&mut self, patience_ms: Option<u64>) {
        self.patience = patience_ms.map(Duration::from_millis);
    }

    fn insert(
        &mut self,
        registry: &Registry,
        stream: StreamId,
        mut socket: TcpStream,
        remote: IpAddr,
        phase: Phase,
    ) -> io::Result<()> {
        let options = SockRef::from(&socket);
        options.set_tcp_nodelay(true)?;
        set_timeouts(&options, self.patience)?;
        // A system that refuses one of these keeps more waiting, and nothing else changes.
        let _ = options.set_tcp_notsent_lowat(UNSENT_MAX_BYTES);
        let _ = options.set_recv_buffer_size(RECEIVE_BUFFER_BYTES);
        registry.register(
            &mut socket,
            self.token(stream),
            Interest::READABLE | Interest::WRITABLE,
        )?;
        self.streams.insert(
            stream,
            StreamEntry {
                socket,
                remote,
                phase,
                largest_write: LargestWrite::default(),
                has_timed_out: false,
                is_read_closed: false,
                unsent: Vec::new(),
                last_read_bytes: 0,
            },
        );
        Ok(())
    }

    /// Handles a poll event of a stream. Call this for every event whose token belongs to no other
    /// socket.
    pub fn handle_event(&mut self, event: &Event, changes: &mut Vec<StreamEvent>) {
        let stream = StreamId(event.token().0.saturating_sub(self.first_token) as u64);
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        if entry.phase == Phase::Connecting {
            match is_connected(&entry.socket) {
                Ok(true) => {
                    entry.phase = Phase::Open;
                    self.read_budget.record_opened(Instant::now());
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
        let can_flush = event.is_writable() && !entry.unsent.is_empty();
        entry.is_read_closed |= event.is_read_closed() || event.is_error();
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.readable.insert((entry.last_read_bytes, stream));
        }
        if can_flush {
            self.flush(stream, changes);
        }
    }

    fn flush(&mut self, stream: StreamId, changes: &mut Vec<StreamEvent>) {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return;
        };
        let unsent = std::mem::take(&mut entry.unsent);
        match write_available(&mut entry.socket, &unsent) {
            Ok(n) if n == unsent.len() && entry.phase == Phase::Closing => {
                self.streams.remove(&stream);
            }
            Ok(n) if n == unsent.len() => changes.push(StreamEvent::Writable(stream)),
            Ok(n) => entry.unsent = unsent[n..].to_vec(),
            // The next read reports the end of the stream to the core.
            Err(error) => {
                entry.note_error(&error);
                self.readable.insert((entry.last_read_bytes, stream));
            }
        }
    }

    /// Whether a stream may have bytes to read.
    pub fn has_readable(&self) -> bool {
        !self.readable.is_empty()
    }

    /// Returns the streams to read in this turn, in order. Empties the set of readable streams.
    pub fn take_readable(&mut self) -> Vec<StreamId> {
        let readable = std::mem::take(&mut self.readable);
        readable.iter().map(|(_, stream)| *stream).collect()
    }

    /// Maximum number of bytes to read from this stream in a turn.
    pub fn read_budget(&self, stream: StreamId) -> usize {
        let entry = self.streams.get(&stream);
        let last_read_bytes = entry.map_or(0, |entry| entry.last_read_bytes);
        self.read_budget.bytes(last_read_bytes, Instant::now())
    }

    /// Reads once into `buffer`. Returns the number of bytes that the core must handle. 0: no bytes
    /// have arrived, or the core has closed the stream.
    ///
    /// # Errors
    /// The stream has ended and is removed. The error does not tell the cause.
    pub fn read(&mut self, stream: StreamId, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return Ok(0);
        };
        let is_closing = entry.phase == Phase::Closing;
        loop {
            match entry.socket.read(buffer) {
                Ok(0) => break,
                Ok(n) => {
                    entry.last_read_bytes = n;
                    self.read_budget.record_read(stream, Instant::now());
                    // A short read emptied the socket. Later bytes cause a new event (epoll(7)),
                    // but an end that was already reported does not.
                    if n == buffer.len() || entry.is_read_closed {
                        self.readable.insert((entry.last_read_bytes, stream));
                    }
                    return Ok(if is_closing { 0 } else { n });
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if error.kind() == ErrorKind::WouldBlock && entry.phase != Phase::Failed =>
                {
                    return Ok(0);
                }
                Err(error) => {
                    entry.note_error(&error);
                    break;
                }
            }
        }
        self.remove_ended(stream);
        if is_closing {
            Ok(0)
        } else {
            Err(ErrorKind::ConnectionAborted.into())
        }
    }

    /// Writes `bytes`. Keeps the bytes that the socket does not accept now, and sends them later.
    pub fn write(&mut self, stream: StreamId, bytes: &[u8]) -> WriteOutcome {
        let Some(entry) = self.streams.get_mut(&stream) else {
            return WriteOutcome::Accepted;
        };
        if entry.phase == Phase::Failed {
            return WriteOutcome::Blocked;
        }
        entry.largest_write.record(bytes.len(), Instant::now());
        if !entry.unsent.is_empty() {
            entry.unsent.extend_from_slice(bytes);
            return WriteOutcome::Accepted;
        }
        match write_available(&mut entry.socket, bytes) {
            Ok(n) if n == bytes.len() => WriteOutcome::Accepted,
            Ok(n) => {
                entry.unsent = bytes[n..].to_vec();
                WriteOutcome::Blocked
            }
            Err(error) => {
                entry.note_error(&error);
                self.readable.insert((entry.last_read_bytes, stream));
                WriteOutcome::Blocked
            }
        }
    }

    fn remove_ended(&mut self, stream: StreamId) {
        let Some(entry) = self.streams.remove(&stream) else {
            return;
        };
        let (largest, has_timed_out) = (&entry.largest_write, entry.has_timed_out);
        self.path_mtu
            .record_end(entry.remote, largest, has_timed_out, Instant::now());
    }

    /// Limits the segments of the streams that are accepted from now on. Called at the end of each
    /// turn. Returns an address to which large packets get lost, if the user does not know of it
    /// yet.
    pub fn update_segment_limit(&mut self) -> Option<IpAddr> {
        let limit = self.path_mtu.smallest_limit(Instant::now());
        self.listener.limit_segments(limit);
        self.path_mtu.take_unreported()
    }

    /// Ends the stream once its unsent bytes are sent.
    pub fn close(&mut self, stream: StreamId) {
        if let Some(entry) = self.streams.get_mut(&stream) {
            if entry.unsent.is_empty() || entry.phase == Phase::Connecting {
                self.streams.remove(&stream);
            } else {
                entry.phase = Phase::Closing;
            }
        }
    }

    /// Ends the streams whose local address this host has lost, as nothing can reach them. Returns
    /// those that the core has not closed.
    pub fn end_addressless(&mut self) -> Vec<StreamId> {
        let mut ended = Vec::new();
        self.streams.retain(|stream, entry| {
            let local = entry.socket.local_addr();
            let is_reachable = local.map_or(true, |local| is_own_address(unmap_ipv4(local)));
            if !is_reachable && entry.phase != Phase::Closing {
                ended.push(*stream);
            }
            is_reachable
        });
        ended
    }

    /// Ends the stream at once. Its unsent bytes are lost.
    pub fn abort(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Whether any stream has unsent bytes.
    pub fn has_unsent(&self) -> bool {
        self.streams.values().any(|entry| !entry.unsent.is_empty())
    }
}

/// Whether a dial has succeeded. False: the dial is not finished.
///
/// # Errors
/// The dial has failed.
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

/// Writes until the socket accepts no more. Returns the number of bytes written.
fn write_available(socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut written = 0;
    while written < bytes.len() {
        match socket.write(&bytes[written..]) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(n) => written += n,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(written)
}
