//! A network in memory. Datagrams and bytes arrive in the order in which they were sent. A stream
//! with too many unread bytes accepts no more, like a full socket.
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use p2pchat::{Input, Interface, InterfaceAddress, StreamId};

/// The TCP port on which every host listens.
pub const PORT: u16 = 9999;
/// A stream is blocked while its reader has not read more than this many bytes.
pub const SOCKET_BUFFER_BYTES: usize = 64 * 1024;
/// Index of the only interface of each host.
const INTERFACE_INDEX: u32 = 1;

/// A host's number. The first host is 0.
pub type HostIndex = usize;

/// What arrives at a host.
pub enum Arrival {
    /// A beacon of another host.
    Datagram { source: SocketAddr, bytes: Vec<u8> },
    /// Something happened to a stream of the host.
    Stream(StreamId, StreamEvent),
}

/// What happens to a stream.
pub enum StreamEvent {
    Accepted(SocketAddr),
    Connected,
    Bytes(Vec<u8>),
    Writable,
    Closed,
}

/// One end of an open stream.
struct Socket {
    /// The other end.
    remote: (HostIndex, StreamId),
    /// Bytes written here that the other end has not read.
    unread_bytes: usize,
    is_blocked: bool,
}

/// The streams of all hosts, and what is on its way to them.
#[derive(Default)]
pub struct Network {
    host_count: usize,
    accepted_count: u64,
    sockets: BTreeMap<(HostIndex, StreamId), Socket>,
    arrivals: VecDeque<(HostIndex, Arrival)>,
    /// The largest number of unread bytes that any stream has had.
    pub max_unread_bytes: usize,
}

fn address(host: HostIndex) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(10, 0, 0, host as u8 + 1), PORT))
}

/// The interfaces of a host, for [`Input::InterfacesChanged`].
pub fn interfaces(host: HostIndex) -> Vec<Interface> {
    vec![Interface {
        index: INTERFACE_INDEX,
        name: "eth0".to_owned(),
        addresses: vec![InterfaceAddress {
            ip: address(host).ip(),
            prefix_bits: 24,
        }],
        on_link_routes: Vec::new(),
        is_loopback: false,
    }]
}

impl Arrival {
    /// Passes the arrival to `handle` as an input of the core.
    pub fn with_input(self, handle: impl FnOnce(Input<'_>)) {
        let (stream, event) = match self {
            Arrival::Datagram { source, bytes } => {
                return handle(Input::Datagram {
                    interface: INTERFACE_INDEX,
                    source,
                    bytes: &bytes,
                });
            }
            Arrival::Stream(stream, event) => (stream, event),
        };
        match event {
            StreamEvent::Accepted(address) => handle(Input::Accepted { stream, address }),
            StreamEvent::Connected => handle(Input::Connected { stream }),
            StreamEvent::Bytes(bytes) => handle(Input::Bytes {
                stream,
                bytes: &bytes,
            }),
            StreamEvent::Writable => handle(Input::Writable { stream }),
            StreamEvent::Closed => handle(Input::Closed { stream }),
        }
    }
}

impl Network {
    /// Connects one more host to the network.
    pub fn add_host(&mut self) -> HostIndex {
        self.host_count += 1;
        self.host_count - 1
    }

    /// Sends a datagram to all other hosts.
    pub fn broadcast(&mut self, from: HostIndex, bytes: &[u8]) {
        for to in (0..self.host_count).filter(|to| *to != from) {
            let (source, bytes) = (address(from), bytes.to_vec());
            let datagram = Arrival::Datagram { source, bytes };
            self.arrivals.push_back((to, datagram));
        }
    }

    /// Opens a stream to the host with this address. Returns false if there is none.
    pub fn dial(&mut self, from: HostIndex, dialed: StreamId, to: SocketAddr) -> bool {
        let Some(listener) = (0..self.host_count).find(|host| address(*host) == to) else {
            return false;
        };
        self.accepted_count += 1;
        let accepted = StreamId::accepted(self.accepted_count);
        self.open_socket((from, dialed), (listener, accepted));
        self.open_socket((listener, accepted), (from, dialed));
        let event = StreamEvent::Accepted(address(from));
        self.push_event((listener, accepted), event);
        self.push_event((from, dialed), StreamEvent::Connected);
        true
    }

    fn open_socket(&mut self, own: (HostIndex, StreamId), remote: (HostIndex, StreamId)) {
        let socket = Socket {
            remote,
            unread_bytes: 0,
            is_blocked: false,
        };
        self.sockets.insert(own, socket);
    }

    /// Writes all bytes to a stream. Returns whether the stream is blocked now.
    pub fn write(&mut self, from: HostIndex, stream: StreamId, bytes: Vec<u8>) -> bool {
        let Some(socket) = self.sockets.get_mut(&(from, stream)) else {
            return false;
        };
        socket.unread_bytes += bytes.len();
        socket.is_blocked = socket.unread_bytes > SOCKET_BUFFER_BYTES;
        self.max_unread_bytes = self.max_unread_bytes.max(socket.unread_bytes);
        let (is_blocked, remote) = (socket.is_blocked, socket.remote);
        self.push_event(remote, StreamEvent::Bytes(bytes));
        is_blocked
    }

    /// Closes a stream. The reader gets the bytes written before, then the end.
    pub fn close(&mut self, host: HostIndex, stream: StreamId) {
        if let Some(socket) = self.sockets.remove(&(host, stream)) {
            self.push_event(socket.remote, StreamEvent::Closed);
        }
    }

    /// Closes all streams of a host, as a kernel does when a program ends.
    pub fn close_all(&mut self, host: HostIndex) {
        let streams = self.sockets.keys().filter(|(owner, _)| *owner == host);
        for (_, stream) in streams.copied().collect::<Vec<_>>() {
            self.close(host, stream);
        }
    }

    /// The next arrival, with its host. `None`: nothing is on its way. What arrives for a stream
    /// that its host has closed is dropped.
    pub fn next_arrival(&mut self) -> Option<(HostIndex, Arrival)> {
        loop {
            let (host, arrival) = self.arrivals.pop_front()?;
            let Arrival::Stream(stream, event) = &arrival else {
                return Some((host, arrival));
            };
            let own = (host, *stream);
            let Some(remote) = self.sockets.get(&own).map(|socket| socket.remote) else {
                continue;
            };
            match event {
                StreamEvent::Bytes(bytes) => self.mark_read(remote, bytes.len()),
                StreamEvent::Closed => drop(self.sockets.remove(&own)),
                _ => {}
            }
            return Some((host, arrival));
        }
    }

    /// Records that the reader has read bytes which this end wrote.
    fn mark_read(&mut self, writer: (HostIndex, StreamId), byte_count: usize) {
        let Some(socket) = self.sockets.get_mut(&writer) else {
            return;
        };
        socket.unread_bytes -= byte_count;
        if socket.is_blocked && socket.unread_bytes == 0 {
            socket.is_blocked = false;
            self.push_event(writer, StreamEvent::Writable);
        }
    }

    fn push_event(&mut self, (host, stream): (HostIndex, StreamId), event: StreamEvent) {
        self.arrivals
            .push_back((host, Arrival::Stream(stream, event)));
    }
}
