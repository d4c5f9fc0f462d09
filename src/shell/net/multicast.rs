//! The sockets for beacons, which go out on every interface by IPv4 multicast, IPv6 multicast and
//! directed broadcast.
//!
//! Each usable interface has two listening sockets, one bound to the IPv4 group and one to
//! [`GROUP_V6`]; each broadcast address has one more. All share one port. So the kernel sorts
//! datagrams by destination, and none for another service reaches us.
//! [`Multicast::set_interfaces`] adapts the sockets to each change of the interfaces.
//!
//! Kernel facts that this file depends on, each checked by `tests/shell/multicast.rs`:
//! - `SO_REUSEADDR` lets any number of programs on a box receive each datagram; `SO_REUSEPORT`
//!   would give it to the wrong sockets.
//! - A socket bound to a group receives what *any* program joined on any interface, unless
//!   `IP_MULTICAST_ALL` is off.
//! - A socket can join 20 IPv4 groups at most, so each interface has its own.
//! - Binding to a link-local IPv6 group takes a scope; then the socket receives from that
//!   interface alone.
//! - Each datagram names the interface that it leaves by (`IP_PKTINFO`, scope), as a route may be
//!   missing or wrong.
//! - `lo` carries IPv4 multicast if joined by index, although it lacks the flag; it carries no
//!   IPv6 multicast.
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

use crate::base::event::{Interface, InterfaceAddress};
use crate::base::table::SortedSet;
use crate::shell::net::interfaces::{INTERFACES_MAX, broadcast_address};

/// The IPv6 group: link-local and transient (RFC 4291, 2.7); `7032:7063` is "p2pc". The port is
/// that of the IPv4 group.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x7032, 0x7063);
/// Longest datagram received, in bytes, and the size of the buffer for [`Multicast::receive`].
/// Longer ones are dropped and counted.
pub const DATAGRAM_MAX_BYTES: usize = 1500;
/// Most listening sockets, and so the number of tokens that they need.
pub const LISTENERS_MAX: usize = 4 * INTERFACES_MAX;

/// Receive buffer of a listener: about a hundred beacons, of which each counts as about 1 KiB in
/// the kernel.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// Most datagrams read in one [`Multicast::receive`], which drops those that it cannot use.
const RECEIVE_READS_MAX: usize = 64;
/// Receive buffer of the sending sockets, which receive nothing; the kernel raises it to its
/// minimum.
const SENDER_RECEIVE_BUFFER_BYTES: usize = 1;

/// A received datagram: the first `length` bytes of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedDatagram {
    /// Index of the interface that received it.
    pub interface_index: u32,
    /// The sender. An IPv6 address has the interface as its scope.
    pub source: SocketAddr,
    /// Its length in bytes.
    pub length: usize,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MulticastCounters {
    /// Datagrams that the kernel accepted.
    pub sent: u64,
    /// Datagrams that it refused: no route, a firewall, a full buffer. Other datagrams of the
    /// beacon, and the next one, may pass.
    pub send_failures: u64,
    /// Datagrams given to the caller.
    pub received: u64,
    /// Datagrams longer than [`DATAGRAM_MAX_BYTES`] or than the buffer.
    pub oversized: u64,
    /// Datagrams from an interface that is not used, or from a source that cannot be answered.
    pub ignored: u64,
    /// Sockets that could not be opened, and read errors.
    pub socket_failures: u64,
}

/// The destination of the datagrams that a listener receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ListenTarget {
    GroupV4 { interface: u32 },
    GroupV6 { interface: u32 },
    Broadcast(Ipv4Addr),
}

struct Listener {
    target: ListenTarget,
    socket: Socket,
    /// Set by an event of the poll, cleared when the socket is read empty.
    is_readable: bool,
}

/// The sockets for beacons. No method fails: a socket that cannot be opened is counted, and tried
/// again by the next [`Multicast::set_interfaces`].
pub struct Multicast {
    group: Option<SocketAddrV4>,
    tokens: Range<usize>,
    /// By token, less the first token; `None`: free.
    listeners: Vec<Option<Listener>>,
    /// Index of the listener to read next, so that a flood on one does not starve the others.
    next_listener: usize,
    sender_v4: Option<Socket>,
    sender_v6: Option<Socket>,
    interfaces: Vec<Interface>,
    control_buffer: Vec<u8>,
    counters: MulticastCounters,
}

impl Multicast {
    /// Without a group no socket is opened, and nothing is sent or received. The listeners are
    /// registered under `tokens`, of which there should be [`LISTENERS_MAX`]; with fewer tokens,
    /// fewer listeners are opened.
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

    /// The counters since the start.
    pub fn counters(&self) -> MulticastCounters {
        self.counters
    }

    /// Whether [`Multicast::mark_readable`] is to be called for events with this token.
    pub fn owns_token(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    /// Sets the interfaces to use, the first [`INTERFACES_MAX`] of `interfaces`: opens the
    /// listeners that are missing, and closes those of other interfaces. Gives the number of
    /// listeners that could not be opened. If it is not 0, call again later: an address may be
    /// too new to be bound.
    pub fn set_interfaces(&mut self, registry: &Registry, interfaces: &[Interface]) -> usize {
        let Some(group) = self.group else { return 0 };
        self.interfaces = interfaces.iter().take(INTERFACES_MAX).cloned().collect();
        let targets = listen_targets(&self.interfaces);
        for slot in &mut self.listeners {
            if slot.as_ref().is_some_and(|l| !targets.contains(&l.target)) {
                *slot = None;
            }
        }
        let mut missing = 0;
        for target in targets {
            if self.listeners.iter().flatten().any(|l| l.target == target) {
                continue;
            }
            if self.add_listener(registry, group, target).is_err() {
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
        target: ListenTarget,
    ) -> io::Result<()> {
        let free = self.listeners.iter().position(Option::is_none);
        let at = free.unwrap_or(self.listeners.len());
        if at >= self.tokens.len().min(LISTENERS_MAX) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        let socket = open_listener(group, target)?;
        // mio is edge-triggered. A closed socket leaves the poll by itself.
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            Token(self.tokens.start + at),
            Interest::READABLE,
        )?;
        let listener = Some(Listener {
            target,
            socket,
            is_readable: true,
        });
        // Each turn looks at every slot, so there are no more than were used at a time.
        match self.listeners.get_mut(at) {
            Some(slot) => *slot = listener,
            None => self.listeners.push(listener),
        }
        Ok(())
    }

    /// The poll reported an event for this token: [`Multicast::receive`] will read that socket.
    pub fn mark_readable(&mut self, token: Token) {
        let at = token.0.checked_sub(self.tokens.start);
        if let Some(Some(listener)) = at.and_then(|at| self.listeners.get_mut(at)) {
            listener.is_readable = true;
        }
    }

    /// Whether [`Multicast::receive`] has sockets to read. If so, the loop must not sleep.
    pub fn has_readable(&self) -> bool {
        self.listeners.iter().flatten().any(|l| l.is_readable)
    }

    /// Reads the next datagram into `buffer`, from the readable sockets in turn. `None`: all are
    /// empty, or the read limit is reached; [`Multicast::has_readable`] tells which. A flood does
    /// not end, so callers limit their calls.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<ReceivedDatagram> {
        let count = self.listeners.len();
        let mut reads_left = RECEIVE_READS_MAX;
        let mut idle_listeners = 0;
        while idle_listeners < count && reads_left > 0 {
            let at = self.next_listener;
            let Some(Some(listener)) = self
                .listeners
                .get_mut(at)
                .filter(|slot| is_slot_readable(slot))
            else {
                self.next_listener = (at + 1) % count;
                idle_listeners += 1;
                continue;
            };
            idle_listeners = 0;
            reads_left -= 1;
            let target = listener.target;
            match receive_datagram(&listener.socket, buffer, &mut self.control_buffer) {
                Ok(raw) => {
                    if let Some(received) = self.filter_datagram(target, raw) {
                        self.next_listener = (at + 1) % count;
                        return Some(received);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => listener.is_readable = false,
                // Reading an error clears it, and the next datagram makes the socket readable
                // again.
                Err(_) => {
                    listener.is_readable = false;
                    self.counters.socket_failures += 1;
                }
            }
        }
        None
    }

    fn filter_datagram(
        &mut self,
        target: ListenTarget,
        raw: RawDatagram,
    ) -> Option<ReceivedDatagram> {
        let interface = match target {
            ListenTarget::GroupV4 { interface } | ListenTarget::GroupV6 { interface } => interface,
            // Two interfaces of one network share the broadcast address, so the datagram tells
            // which one received it.
            ListenTarget::Broadcast(_) => raw.interface,
        };
        if raw.is_truncated || raw.length > DATAGRAM_MAX_BYTES {
            self.counters.oversized += 1;
            return None;
        }
        let is_used = self.interfaces.iter().any(|i| i.index == interface);
        let Some(source) = raw
            .source
            .filter(|source| is_used && source.port() != 0 && !source.ip().is_unspecified())
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

    /// Sends `bytes` to both groups and as broadcast, on every interface. Gives the number of
    /// datagrams sent.
    ///
    /// Our own copies have arrived when it returns. All listeners are marked readable, so that
    /// reading the copies costs no wake-up.
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
            let result = self.send_v4(interface.index, source.0, to, group.port(), bytes);
            self.count_send(result);
        }
        let mut sent_to = SortedSet::new();
        for (source, broadcast) in broadcast_addresses(interface) {
            if sent_to.insert(broadcast) {
                let result = self.send_v4(interface.index, source, broadcast, group.port(), bytes);
                self.count_send(result);
            }
        }
        if has_link_local(interface) {
            let result = self.send_v6(interface.index, group.port(), bytes);
            self.count_send(result);
        }
    }

    fn count_send(&mut self, result: io::Result<()>) {
        match result {
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
            closed => closed.insert(open_sender_v4()?),
        };
        let packet_info = libc::in_pktinfo {
            ipi_ifindex: i32::try_from(interface).map_err(|_| io::ErrorKind::InvalidInput)?,
            ipi_spec_dst: in_addr(from),
            ipi_addr: in_addr(Ipv4Addr::UNSPECIFIED),
        };
        let to = SockaddrIn::from(SocketAddrV4::new(to, port));
        send_datagram(
            socket,
            bytes,
            &[ControlMessage::Ipv4PacketInfo(&packet_info)],
            &to,
        )
    }

    fn send_v6(&mut self, interface: u32, port: u16, bytes: &[u8]) -> io::Result<()> {
        let socket = match &mut self.sender_v6 {
            Some(socket) => socket,
            closed => closed.insert(open_sender_v6()?),
        };
        let to = SockaddrIn6::from(SocketAddrV6::new(GROUP_V6, port, 0, interface));
        send_datagram(socket, bytes, &[], &to)
    }
}

fn is_slot_readable(slot: &Option<Listener>) -> bool {
    slot.as_ref().is_some_and(|listener| listener.is_readable)
}

fn listen_targets(interfaces: &[Interface]) -> SortedSet<ListenTarget> {
    let mut targets = SortedSet::new();
    for interface in interfaces {
        let index = interface.index;
        if addresses_v4(interface).next().is_some() {
            targets.insert(ListenTarget::GroupV4 { interface: index });
        }
        if has_link_local(interface) {
            targets.insert(ListenTarget::GroupV6 { interface: index });
        }
        targets.extend(
            broadcast_addresses(interface).map(|(_, broadcast)| ListenTarget::Broadcast(broadcast)),
        );
    }
    targets
}

fn addresses_v4(interface: &Interface) -> impl Iterator<Item = (Ipv4Addr, u8)> {
    interface
        .addresses
        .iter()
        .filter_map(|address| match address.ip {
            IpAddr::V4(v4) => Some((v4, address.prefix_bits)),
            IpAddr::V6(_) => None,
        })
}

/// The own address and the broadcast address of each IPv4 network; none of loopback, where
/// multicast always works.
fn broadcast_addresses(interface: &Interface) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    addresses_v4(interface)
        .filter(|_| !interface.is_loopback)
        .filter_map(|(own, prefix)| Some((own, broadcast_address(own, prefix)?)))
}

fn has_link_local(interface: &Interface) -> bool {
    let link_local = |address: &InterfaceAddress| matches!(address.ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    interface.addresses.iter().any(link_local)
}

fn in_addr(ip: Ipv4Addr) -> libc::in_addr {
    libc::in_addr {
        s_addr: u32::from_ne_bytes(ip.octets()),
    }
}

fn open_listener(group: SocketAddrV4, target: ListenTarget) -> io::Result<Socket> {
    let domain = match target {
        ListenTarget::GroupV6 { .. } => Domain::IPV6,
        ListenTarget::GroupV4 { .. } | ListenTarget::Broadcast(_) => Domain::IPV4,
    };
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
    match target {
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
            result => return Ok(result.map(drop)?),
        }
    }
}

/// A datagram as the kernel returned it.
struct RawDatagram {
    length: usize,
    is_truncated: bool,
    /// Interface that received it; 0 if the socket does not report it (`IP_PKTINFO`).
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
