//! The beacon's sockets: what is said to everybody on every interface, by IPv4 multicast, IPv6 multicast and directed broadcast.
//!
//! Each usable interface has two listening sockets, one bound to the IPv4 group and one to [`GROUP_V6`]; each network's broadcast
//! address has one more. All share the port. So the kernel sorts datagrams by the way they came, and nothing meant for another
//! service of the box reaches us. All is set up again from the list of interfaces whenever that changed.
//!
//! Kernel facts that this file stands on, each held by `tests/datagrams.rs`:
//! - `SO_REUSEADDR` lets any number of programs of a box hear each datagram; `SO_REUSEPORT` would give them to the wrong sockets.
//! - A socket bound to a group hears what *any* program joined on any interface, unless `IP_MULTICAST_ALL` is off.
//! - A socket may be in 20 IPv4 groups at most, so each interface has its own.
//! - Binding to a link-local IPv6 group takes a scope, and then the socket hears that interface alone.
//! - Where a datagram leaves is said with each one (`IP_PKTINFO`, scope): there may be no route, or a wrong one.
//! - `lo` carries IPv4 multicast, asked by index, though it has no flag that says so; IPv6 multicast it does not carry.
//! - Own datagrams come back while they are being sent, before `send` returns.
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use nix::sys::socket::{
    ControlMessage, ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, SockaddrLike,
    SockaddrStorage, recvmsg, sendmsg, setsockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use crate::base::event::Interface;
use crate::base::table::SortedSet;
use crate::shell::net::interfaces::{INTERFACES_MAX, broadcast_address};

/// The IPv6 group: link-local and transient (RFC 4291, 2.7), `7032:7063` is "p2pc". The port is that of the IPv4 group.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x7032, 0x7063);
/// Longest datagram taken in, in bytes: the buffer to give to [`Datagrams::receive`]. Longer ones are dropped and counted.
pub const DATAGRAM_MAX_BYTES: usize = 1500;
/// Most sockets listening at a time, and so the tokens to set aside.
pub const LISTENERS_MAX: usize = 4 * INTERFACES_MAX;

/// About a hundred beacons, each of which the kernel charges with about 1 KiB.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// Most datagrams passed over in one [`Datagrams::receive`].
const RECEIVE_READS_MAX: usize = 64;
/// The sending sockets listen to nobody.
const SENDER_RECEIVE_BUFFER_BYTES: usize = 1;

/// A datagram that came in: the first `length` bytes of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedDatagram {
    /// Index of the interface that it came in on.
    pub interface_index: u32,
    /// An IPv6 source has the interface as its scope.
    pub source: SocketAddr,
    pub length: usize,
}

/// What went by, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MulticastCounters {
    pub sent: u64,
    /// No route, firewall, buffers full: the other ways remain, and the next beacon.
    pub send_failures: u64,
    pub received: u64,
    /// Longer than [`DATAGRAM_MAX`], or than the buffer.
    pub oversized: u64,
    /// On an interface that is not used, or without a source that could be answered.
    pub ignored: u64,
    /// Sockets that could not be opened, or broke.
    pub socket_failures: u64,
}

/// What one socket listens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ListenTarget {
    GroupV4 { interface: u32 },
    GroupV6 { interface: u32 },
    Broadcast(Ipv4Addr),
}

struct Listener {
    target: ListenTarget,
    socket: Socket,
    /// The poll told of it, and it was not read to its end since.
    is_readable: bool,
}

/// The sockets of the beacon. Nothing here fails: what cannot be had is counted, and tried again at the next [`Datagrams::update`].
pub struct Multicast {
    group: Option<SocketAddrV4>,
    tokens: Range<usize>,
    /// By token.
    listeners: Vec<Option<Listener>>,
    /// Whose turn it is to be read.
    next_listener: usize,
    sender_v4: Option<Socket>,
    sender_v6: Option<Socket>,
    interfaces: Vec<Interface>,
    control_buffer: Vec<u8>,
    counters: MulticastCounters,
}

impl Multicast {
    /// Without a group there will be no sockets, and nothing is heard or said. `tokens`, ideally [`LISTENERS_MAX`] of them, are
    /// the ones under which sockets are registered; where they end, no more sockets are opened.
    pub fn new(group: Option<SocketAddrV4>, tokens: Range<usize>) -> Multicast {
        Multicast {
            group,
            tokens,
            listeners: Vec::new(),
            next_listener: 0,
            sender_v4: None,
            sender_v6: None,
            interfaces: Vec::new(),
            control_buffer: nix::cmsg_space!(libc::in_pktinfo),
            counters: MulticastCounters::default(),
        }
    }

    pub fn counters(&self) -> MulticastCounters {
        self.counters
    }

    /// Is this token one of ours? Then call [`Datagrams::ready`] with it.
    pub fn owns_token(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    /// Takes the interfaces that are usable now, the first [`INTERFACES_MAX`] of them: listens on new ones, and no more on those
    /// that went. Gives the number of sockets that should be there and could not be had: if not 0, call it again in a while,
    /// as an address may be too new.
    pub fn set_interfaces(&mut self, registry: &Registry, interfaces: &[Interface]) -> usize {
        let Some(group) = self.group else { return 0 };
        self.interfaces = interfaces.iter().take(INTERFACES_MAX).cloned().collect();
        let wanted = listen_targets(&self.interfaces);
        for slot in &mut self.listeners {
            if slot.as_ref().is_some_and(|l| !wanted.contains(&l.target)) {
                *slot = None;
            }
        }
        let mut missing = 0;
        for ear in wanted {
            if self.listeners.iter().flatten().any(|l| l.target == ear) {
                continue;
            }
            if self.add_listener(registry, group, ear).is_err() {
                self.counters.socket_failures += 1;
                missing += 1;
            }
        }
        missing
    }

    fn add_listener(
        &mut self,
        registry: &Registry,
        group: SocketAddrV4,
        ear: ListenTarget,
    ) -> io::Result<()> {
        let free = self.listeners.iter().position(Option::is_none);
        let at = free.unwrap_or(self.listeners.len());
        if at >= self.tokens.len().min(LISTENERS_MAX) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let socket = open_listener(group, ear)?;
        // Edge-triggered, as everything of this poll; a closed socket leaves it by itself.
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(self.tokens.start + at),
            Interest::READABLE,
        )?;
        let listener = Some(Listener {
            target: ear,
            socket,
            is_readable: true,
        });
        // No more slots than are used: each turn looks at all of them.
        match self.listeners.get_mut(at) {
            Some(slot) => *slot = listener,
            None => self.listeners.push(listener),
        }
        Ok(())
    }

    /// The poll told of this token: [`Datagrams::receive`] will look there.
    pub fn mark_readable(&mut self, token: Token) {
        let at = token.0.checked_sub(self.tokens.start);
        if let Some(Some(listener)) = at.and_then(|at| self.listeners.get_mut(at)) {
            listener.is_readable = true;
        }
    }

    /// Does [`Datagrams::receive`] have something to look at? Ask before sleeping if it was not called to its end.
    pub fn has_readable(&self) -> bool {
        self.listeners.iter().flatten().any(|l| l.is_readable)
    }

    /// The next datagram of the ready sockets, in turn, into `buffer`; `None`: all are read to their end, unless
    /// [`Datagrams::pending`] says otherwise. A flood has no end, so callers take a limited number a turn.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<ReceivedDatagram> {
        let count = self.listeners.len();
        let mut reads = RECEIVE_READS_MAX;
        let mut asleep = 0;
        while asleep < count && reads > 0 {
            let at = self.next_listener;
            let Some(Some(listener)) = self
                .listeners
                .get_mut(at)
                .filter(|slot| is_slot_readable(slot))
            else {
                self.next_listener = (at + 1) % count;
                asleep += 1;
                continue;
            };
            asleep = 0;
            reads -= 1;
            let ear = listener.target;
            match receive_datagram(&listener.socket, buffer, &mut self.control_buffer) {
                Ok(raw) => {
                    if let Some(received) = self.filter_datagram(ear, raw) {
                        self.next_listener = (at + 1) % count;
                        return Some(received);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => listener.is_readable = false,
                // Read once, an error is cleared; whatever comes next makes the socket ready again.
                Err(_) => {
                    listener.is_readable = false;
                    self.counters.socket_failures += 1;
                }
            }
        }
        None
    }

    fn filter_datagram(&mut self, ear: ListenTarget, raw: RawDatagram) -> Option<ReceivedDatagram> {
        let interface = match ear {
            ListenTarget::GroupV4 { interface } | ListenTarget::GroupV6 { interface } => interface,
            // Two interfaces of one network share the broadcast address.
            ListenTarget::Broadcast(_) => raw.interface,
        };
        if raw.is_truncated || raw.length > DATAGRAM_MAX_BYTES {
            self.counters.oversized += 1;
            return None;
        }
        let used = self.interfaces.iter().any(|i| i.index == interface);
        let Some(source) = raw
            .source
            .filter(|source| used && source.port() != 0 && !source.ip().is_unspecified())
        else {
            self.counters.ignored += 1;
            return None;
        };
        self.counters.received += 1;
        Some(ReceivedDatagram {
            interface_index: interface,
            source,
            length: raw.length,
        })
    }

    /// Says it to both groups and as broadcast, on every interface. Gives the number of datagrams that left.
    ///
    /// The own copies are there when it returns: call [`Datagrams::receive`] right away, and they cost no wake-up.
    pub fn send(&mut self, bytes: &[u8]) -> usize {
        let Some(group) = self.group else { return 0 };
        let before = self.counters.sent;
        for interface in std::mem::take(&mut self.interfaces) {
            self.send_on(&interface, group, bytes);
            self.interfaces.push(interface);
        }
        for listener in self.listeners.iter_mut().flatten() {
            listener.is_readable = true;
        }
        usize::try_from(self.counters.sent - before).unwrap_or(usize::MAX)
    }

    fn send_on(&mut self, interface: &Interface, group: SocketAddrV4, bytes: &[u8]) {
        if let Some(source) = addresses_v4(interface).next() {
            let to = *group.ip();
            let done = self.send_v4(interface.index, source.0, to, group.port(), bytes);
            self.count_send(done);
        }
        let mut said = SortedSet::new();
        for (source, broadcast) in broadcast_addresses(interface) {
            if said.insert(broadcast) {
                let done = self.send_v4(interface.index, source, broadcast, group.port(), bytes);
                self.count_send(done);
            }
        }
        if has_link_local(interface) {
            let done = self.send_v6(interface.index, group.port(), bytes);
            self.count_send(done);
        }
    }

    fn count_send(&mut self, done: io::Result<()>) {
        match done {
            Ok(()) => self.counters.sent += 1,
            Err(_) => self.counters.send_failures += 1,
        }
    }

    fn send_v4(
        &mut self,
        interface: u32,
        from: Ipv4Addr,
        to: Ipv4Addr,
        port: u16,
        bytes: &[u8],
    ) -> io::Result<()> {
        let socket = match &mut self.sender_v4 {
            Some(socket) => socket,
            none => none.insert(open_sender_v4()?),
        };
        let way = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
            ipi_spec_dst: in_addr(from),
            ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
        };
        let to = SockaddrIn::from(SocketAddrV4::new(to, port));
        send_datagram(socket, bytes, &[ControlMessage::Ipv4PacketInfo(&way)], &to)
    }

    fn send_v6(&mut self, interface: u32, port: u16, bytes: &[u8]) -> io::Result<()> {
        let socket = match &mut self.sender_v6 {
            Some(socket) => socket,
            none => none.insert(open_sender_v6()?),
        };
        let to = SockaddrIn6::from(SocketAddrV6::new(GROUP_V6, port, 0, interface));
        send_datagram(socket, bytes, &[], &to)
    }
}

fn is_slot_readable(slot: &Option<Listener>) -> bool {
    slot.as_ref().is_some_and(|listener| listener.is_readable)
}

fn listen_targets(interfaces: &[Interface]) -> SortedSet<ListenTarget> {
    let mut wanted = SortedSet::new();
    for interface in interfaces {
        let index = interface.index;
        if addresses_v4(interface).next().is_some() {
            wanted.insert(ListenTarget::GroupV4 { interface: index });
        }
        if has_link_local(interface) {
            wanted.insert(ListenTarget::GroupV6 { interface: index });
        }
        wanted.extend(
            broadcast_addresses(interface).map(|(_, broadcast)| ListenTarget::Broadcast(broadcast)),
        );
    }
    wanted
}

fn addresses_v4(interface: &Interface) -> impl Iterator<Item = (Ipv4Addr, u8)> {
    interface
        .addresses
        .iter()
        .filter_map(|(ip, prefix)| match ip {
            IpAddr::V4(v4) => Some((*v4, *prefix)),
            IpAddr::V6(_) => None,
        })
}

/// The own address and the broadcast address of each IPv4 network. Not on loopback, where multicast always works.
fn broadcast_addresses(interface: &Interface) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    addresses_v4(interface)
        .filter(|_| !interface.is_loopback)
        .filter_map(|(own, prefix)| Some((own, broadcast_address(own, prefix)?)))
}

fn has_link_local(interface: &Interface) -> bool {
    let link_local =
        |(ip, _): &(IpAddr, u8)| matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    interface.addresses.iter().any(link_local)
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

fn open_listener(group: SocketAddrV4, ear: ListenTarget) -> io::Result<Socket> {
    let domain = match ear {
        ListenTarget::GroupV6 { .. } => Domain::IPV6,
        ListenTarget::GroupV4 { .. } | ListenTarget::Broadcast(_) => Domain::IPV4,
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    match ear {
        ListenTarget::GroupV4 { interface } => {
            socket.set_multicast_all_v4(false)?;
            socket.bind(&SockAddr::from(group))?;
            socket.join_multicast_v4_n(group.ip(), &InterfaceIndexOrAddress::Index(interface))?;
        }
        ListenTarget::GroupV6 { interface } => {
            socket.set_only_v6(true)?;
            let scoped = SocketAddrV6::new(GROUP_V6, group.port(), 0, interface);
            socket.bind(&SockAddr::from(scoped))?;
            socket.join_multicast_v6(&GROUP_V6, interface)?;
        }
        ListenTarget::Broadcast(address) => {
            setsockopt(&socket, Ipv4PacketInfo, &true)?;
            socket.bind(&SockAddr::from(SocketAddrV4::new(address, group.port())))?;
        }
    }
    Ok(socket)
}

fn open_sender_v4() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(SENDER_RECEIVE_BUFFER_BYTES)?;
    socket.set_broadcast(true)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(1)?;
    Ok(socket)
}

fn open_sender_v6() -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV6, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_only_v6(true)?;
    socket.set_recv_buffer_size(SENDER_RECEIVE_BUFFER_BYTES)?;
    socket.set_multicast_loop_v6(true)?;
    socket.set_multicast_hops_v6(1)?;
    Ok(socket)
}

fn send_datagram<A: SockaddrLike>(
    socket: &Socket,
    bytes: &[u8],
    control: &[ControlMessage],
    to: &A,
) -> io::Result<()> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    let parts = [IoSlice::new(bytes)];
    loop {
        match sendmsg(socket.as_raw_fd(), &parts, control, flags, Some(to)) {
            Err(Errno::EINTR) => {}
            done => return Ok(done.map(drop)?),
        }
    }
}

/// A datagram as the kernel hands it out.
struct RawDatagram {
    length: usize,
    is_truncated: bool,
    /// 0 if the socket was not asked to tell.
    interface: u32,
    source: Option<SocketAddr>,
}

fn receive_datagram(
    socket: &Socket,
    buffer: &mut [u8],
    control: &mut [u8],
) -> nix::Result<RawDatagram> {
    let mut parts = [IoSliceMut::new(buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut parts,
        Some(control),
        MsgFlags::MSG_DONTWAIT,
    )?;
    let mut interface = 0;
    for part in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::Ipv4PacketInfo(info) = part {
            interface = u32::try_from(info.ipi_ifindex).unwrap_or(0);
        }
    }
    let source = message.address.as_ref().and_then(|address| {
        let v4 = address.as_sockaddr_in().map(|v4| SocketAddr::from(*v4));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| SocketAddr::from(*v6)))
    });
    Ok(RawDatagram {
        length: message.bytes,
        is_truncated: message.flags.contains(MsgFlags::MSG_TRUNC),
        interface,
        source,
    })
}
