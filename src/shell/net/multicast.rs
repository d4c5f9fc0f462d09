//! Sockets for beacons. Each beacon goes out on every interface by IPv4 multicast, IPv6 multicast
//! and directed broadcast.
//!
//! Each usable interface has two listening sockets, one bound to the IPv4 group and one bound to
//! [`GROUP_V6`]. Each broadcast address has a listening socket of its own. All sockets use the
//! same port. The kernel sorts datagrams by destination, so datagrams for other services do not
//! reach us. [`Multicast::set_interfaces`] adapts the sockets when the interfaces change.
//!
//! This file depends on these facts about the kernel, each checked by `tests/shell/multicast.rs`:
//! - `SO_REUSEADDR` lets any number of programs on a machine receive each datagram.
//!   `SO_REUSEPORT` would deliver it to the wrong sockets.
//! - By default a socket bound to a group receives datagrams from every interface on which *any*
//!   program joined the group. Turning `IP_MULTICAST_ALL` off prevents this.
//! - A socket can join at most 20 IPv4 groups, so each interface has its own socket.
//! - Binding to a link-local IPv6 group requires an interface as the scope. The socket then
//!   receives only from the interface that is its scope.
//! - Each datagram names its outgoing interface (`IP_PKTINFO` or scope), because a route may be
//!   missing or wrong.
//! - `lo` carries IPv4 multicast if a socket joins by index, although `lo` lacks the multicast
//!   flag. `lo` carries no IPv6 multicast.
//! - Copies of our own datagrams arrive at our listeners before `send` returns.
use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::ops::Range;
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::sockopt::Ipv4PacketInfo;
use nix::sys::socket::{SockaddrIn6, setsockopt};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use crate::base::identity::PeerId;
use crate::base::interface::{Interface, InterfaceAddress};
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::shell::net::datagram::{
    RawDatagram, control_buffer, receive_datagram, send_datagram, send_datagram_v4,
};
use crate::shell::net::interfaces::{INTERFACES_MAX, addresses_v4, broadcast_address};

/// The IPv6 multicast group: link-local and transient (RFC 4291, 2.7). `7032:7063` is "p2pc" in
/// ASCII. The port is the IPv4 group's port.
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff12, 0, 0, 0, 0, 0, 0x7032, 0x7063);
/// Longest accepted datagram, in bytes. The buffer for [`Multicast::receive`] has this size. Longer
/// datagrams are dropped and counted.
pub const DATAGRAM_MAX_BYTES: usize = 1500;
/// Maximum number of listening sockets. Each socket needs one token of the poll.
pub const LISTENERS_MAX: usize = 4 * INTERFACES_MAX;

/// Receive buffer of a listener, in bytes. Linux doubles this value (socket(7)), and charges about
/// 1 KiB for each beacon. The buffer thus holds about a hundred beacons.
const RECEIVE_BUFFER_BYTES: usize = 64 * 1024;
/// How long datagrams may wait in the kernel while beacons of more peers arrive than a full mesh
/// may have, in milliseconds. Those peers send 18 beacons a second together, each as several
/// datagrams, and each datagram would wake the program. A newcomer still hears from somebody soon,
/// as programs do not rest in step: see [`rest_ms`].
const REST_MAX_MS: u64 = 1_500;
/// Maximum number of reads in a turn. Reads of empty sockets and of dropped datagrams count as
/// well. A flood of datagrams thus does not delay the links.
const READS_PER_TURN_MAX: usize = 64;
/// Receive buffer of the sending sockets, in bytes. Nothing is read from these sockets, so the
/// value is as small as possible. The kernel raises it to its own minimum.
const SENDER_RECEIVE_BUFFER_BYTES: usize = 1;

/// How a beacon reaches others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BeaconMethod {
    /// IPv4 multicast.
    MulticastV4,
    /// Directed IPv4 broadcast.
    Broadcast,
    /// IPv6 multicast from a link-local address.
    MulticastV6,
}

/// A received datagram. Its content is the first `length` bytes of the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceivedDatagram {
    /// Index of the interface that received the datagram.
    pub interface_index: u32,
    /// How the datagram was sent.
    pub method: BeaconMethod,
    /// Address of the sender. The scope of an IPv6 address is the interface.
    pub source: SocketAddr,
    /// Length of the datagram in bytes.
    pub length: usize,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MulticastCounters {
    /// Datagrams that the kernel accepted for sending.
    pub sent: u64,
    /// Datagrams that the kernel refused to send: no route, a firewall, or a full buffer. One
    /// beacon consists of several datagrams, so other datagrams may still arrive.
    pub send_failures: u64,
    /// Datagrams returned to the caller.
    pub received: u64,
    /// Datagrams dropped because they were too long. The limit is [`DATAGRAM_MAX_BYTES`], or the
    /// size of the caller's buffer if that is smaller.
    pub oversized: u64,
    /// Datagrams dropped for one of two reasons: we do not use their interface, or nobody can
    /// answer their source address.
    pub ignored: u64,
    /// Failed attempts to open a socket, and read errors.
    pub socket_failures: u64,
}

/// The destination address of the datagrams that a listener receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ListenTarget {
    GroupV4 { interface: u32 },
    GroupV6 { interface: u32 },
    Broadcast(Ipv4Addr),
}

impl ListenTarget {
    fn method(self) -> BeaconMethod {
        match self {
            ListenTarget::GroupV4 { .. } => BeaconMethod::MulticastV4,
            ListenTarget::GroupV6 { .. } => BeaconMethod::MulticastV6,
            ListenTarget::Broadcast(_) => BeaconMethod::Broadcast,
        }
    }
}

struct Listener {
    target: ListenTarget,
    socket: Socket,
    /// Whether the socket may hold datagrams. A read clears this flag when it finds no datagram or
    /// fails.
    is_readable: bool,
}

/// All sockets for beacons. Failures are counted, not returned as errors. If a socket cannot be
/// opened, the next [`Multicast::set_interfaces`] tries again.
pub struct Multicast {
    group: Option<SocketAddrV4>,
    tokens: Range<usize>,
    /// The listener with the token `t` is at index `t - tokens.start`. `None`: that token is free.
    listeners: Vec<Option<Listener>>,
    /// Index of the listener to read next. The listeners take turns, so that a flood on one of them
    /// does not block the others.
    next_listener: usize,
    /// The number of further reads in this turn.
    reads_left: usize,
    /// Until when the poll reports no datagrams.
    rests_until: Option<Time>,
    sender_v4: Option<Socket>,
    sender_v6: Option<Socket>,
    interfaces: Vec<Interface>,
    control_buffer: Vec<u8>,
    counters: MulticastCounters,
}

/// How long the sockets of this program rest, in milliseconds: between half of `REST_MAX_MS` and
/// all of it. Each program has a time of its own. With the same time, all that a datagram wakes
/// would rest together, and later wake together.
pub fn rest_ms(own: &PeerId) -> u64 {
    let part = u64::from(u16::from_be_bytes([own.0[0], own.0[1]]));
    REST_MAX_MS / 2 + REST_MAX_MS * part / (2 * u64::from(u16::MAX))
}

impl Multicast {
    /// Creates a `Multicast` without open sockets. If `group` is `None`, no socket is ever opened.
    /// `tokens`: the tokens of the poll for the listeners. Each listener needs one, so callers pass
    /// [`LISTENERS_MAX`] tokens.
    pub fn new(group: Option<SocketAddrV4>, tokens: Range<usize>) -> Multicast {
        Multicast {
            group,
            tokens,
            listeners: Vec::new(),
            next_listener: 0,
            reads_left: 0,
            rests_until: None,
            sender_v4: None,
            sender_v6: None,
            interfaces: Vec::new(),
            control_buffer: control_buffer(),
            counters: MulticastCounters::default(),
        }
    }

    /// The counters since the start.
    pub fn counters(&self) -> MulticastCounters {
        self.counters
    }

    /// Adds the counters of beacons to /stats, as those of a finder. None without a group.
    pub fn add_stats(&self, counters: &mut Vec<(Cow<'static, str>, u64)>) {
        let counts = [
            ("multicast_sent", self.counters.sent),
            ("multicast_refused", self.counters.send_failures),
            ("multicast_received", self.counters.received),
        ];
        if self.group.is_some() {
            counters.extend(counts.map(|(name, count)| (Cow::Borrowed(name), count)));
        }
    }

    /// The name of the used interface with this index.
    pub fn interface_name(&self, index: u32) -> Option<&str> {
        let mut interfaces = self.interfaces.iter();
        let used = interfaces.find(|interface| interface.index == index)?;
        Some(&used.name)
    }

    /// Whether `token` is one of the tokens for listeners. If so, call [`Multicast::mark_readable`]
    /// after its event.
    pub fn owns_token(&self, token: Token) -> bool {
        self.tokens.contains(&token.0)
    }

    /// Uses the first [`INTERFACES_MAX`] of `interfaces`. Opens the listeners that these interfaces
    /// need, and closes all other listeners.
    ///
    /// Returns the number of listeners that could not be opened. If the number is not 0, call again
    /// later: an address may be too new to be bound.
    pub fn set_interfaces(&mut self, registry: &Registry, interfaces: &[Interface]) -> usize {
        let Some(group) = self.group else { return 0 };
        self.end_rest(registry);
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
        // mio reports readiness only once (edge-triggered), so `is_readable` remembers it.
        // Closing the socket removes it from the poll.
        register(registry, &socket, Token(self.tokens.start + at))?;
        let listener = Some(Listener {
            target,
            socket,
            is_readable: true,
        });
        // Each turn scans all slots. Reusing free slots keeps their number small.
        match self.listeners.get_mut(at) {
            Some(slot) => *slot = listener,
            None => self.listeners.push(listener),
        }
        Ok(())
    }

    /// Records a poll event for `token`. The next [`Multicast::receive`] may then read its
    /// listener.
    pub fn mark_readable(&mut self, token: Token) {
        let at = token.0.checked_sub(self.tokens.start);
        if let Some(Some(listener)) = at.and_then(|at| self.listeners.get_mut(at)) {
            listener.is_readable = true;
        }
    }

    /// Whether [`Multicast::receive`] has sockets to read. If so, the event loop must not sleep.
    pub fn has_readable(&self) -> bool {
        self.rests_until.is_none() && self.listeners.iter().flatten().any(|l| l.is_readable)
    }

    /// Stops the poll from reporting datagrams until this time. They wait in the kernel.
    pub fn rest(&mut self, registry: &Registry, until: Time) {
        for listener in self.listeners.iter().flatten() {
            // An error leaves the listener in the poll, which costs wake-ups only.
            let _ = registry.deregister(&mut SourceFd(&listener.socket.as_raw_fd()));
        }
        self.rests_until = Some(until);
    }

    /// When to call [`Multicast::end_rest`].
    pub fn rests_until(&self) -> Option<Time> {
        self.rests_until
    }

    /// Lets the poll report datagrams again. Those that came meanwhile can be read now.
    pub fn end_rest(&mut self, registry: &Registry) {
        if self.rests_until.take().is_none() {
            return;
        }
        for (at, slot) in self.listeners.iter_mut().enumerate() {
            if let Some(listener) = slot {
                let _ = register(registry, &listener.socket, Token(self.tokens.start + at));
                listener.is_readable = true;
            }
        }
    }

    /// Allows [`Multicast::receive`] another 64 reads.
    pub fn begin_turn(&mut self) {
        self.reads_left = READS_PER_TURN_MAX;
    }

    /// Reads the next datagram into `buffer`. The readable sockets take turns. One call may read
    /// several times, because it skips empty sockets and datagrams that must be dropped.
    ///
    /// `None`: the sockets rest, all of them are empty, or this turn has made 64 reads. Then
    /// [`Multicast::has_readable`] may still be true.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Option<ReceivedDatagram> {
        if self.rests_until.is_some() {
            return None;
        }
        let count = self.listeners.len();
        let mut idle_listeners = 0;
        while idle_listeners < count && self.reads_left > 0 {
            let at = self.next_listener;
            self.next_listener = (at + 1) % count;
            let Some(Some(listener)) = self
                .listeners
                .get_mut(at)
                .filter(|slot| is_slot_readable(slot))
            else {
                idle_listeners += 1;
                continue;
            };
            idle_listeners = 0;
            self.reads_left -= 1;
            let target = listener.target;
            match receive_datagram(&listener.socket, buffer, &mut self.control_buffer) {
                Ok(raw) => {
                    if let Some(received) = self.filter_datagram(target, raw) {
                        return Some(received);
                    }
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => listener.is_readable = false,
                // Reading the error clears it. The next datagram makes the socket readable again.
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
            // Two interfaces on one network share the broadcast address. Only the datagram tells
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
            method: target.method(),
            source,
            length: raw.length,
        })
    }

    /// Sends `bytes` on the interface with this index, or on every interface: to the IPv4 group, to
    /// the IPv6 group and to the broadcast addresses. Returns the number of datagrams sent.
    ///
    /// The kernel delivers copies of these datagrams to our listeners before this call returns.
    /// This call therefore marks all listeners readable. The event loop then reads the copies
    /// without a wake-up.
    pub fn send(&mut self, only: Option<u32>, bytes: &[u8]) -> usize {
        self.send_and_report(only, bytes, |_, _, _| {})
    }

    /// [`Multicast::send`], which reports the result of each datagram, with the index of its
    /// interface.
    pub fn send_and_report(
        &mut self,
        only: Option<u32>,
        bytes: &[u8],
        mut report: impl FnMut(u32, BeaconMethod, &io::Result<()>),
    ) -> usize {
        let Some(group) = self.group else { return 0 };
        let before = self.counters.sent;
        for interface in std::mem::take(&mut self.interfaces) {
            if only.is_none_or(|index| index == interface.index) {
                self.send_on(&interface, group, bytes, |method, result| {
                    report(interface.index, method, result);
                });
            }
            self.interfaces.push(interface);
        }
        for listener in self.listeners.iter_mut().flatten() {
            listener.is_readable = true;
        }
        usize::try_from(self.counters.sent - before).unwrap_or(usize::MAX)
    }

    fn send_on(
        &mut self,
        interface: &Interface,
        group: SocketAddrV4,
        bytes: &[u8],
        mut report: impl FnMut(BeaconMethod, &io::Result<()>),
    ) {
        if let Some(source) = addresses_v4(interface).next() {
            let to = *group.ip();
            let result = self.send_v4(interface.index, source.0, to, group.port(), bytes);
            report(BeaconMethod::MulticastV4, &result);
            self.count_send(&result);
        }
        let mut sent_to = SortedSet::new();
        for (source, broadcast) in broadcast_addresses(interface) {
            if sent_to.insert(broadcast) {
                let result = self.send_v4(interface.index, source, broadcast, group.port(), bytes);
                report(BeaconMethod::Broadcast, &result);
                self.count_send(&result);
            }
        }
        if has_link_local(interface) {
            let result = self.send_v6(interface.index, group.port(), bytes);
            report(BeaconMethod::MulticastV6, &result);
            self.count_send(&result);
        }
    }

    fn count_send(&mut self, result: &io::Result<()>) {
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
        send_datagram_v4(socket, interface, from, SocketAddrV4::new(to, port), bytes)
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

fn register(registry: &Registry, socket: &Socket, token: Token) -> io::Result<()> {
    let descriptor = socket.as_raw_fd();
    registry.register(&mut SourceFd(&descriptor), token, Interest::READABLE)
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

/// Returns two addresses for each IPv4 network of an interface: our address, then the broadcast
/// address. Empty for loopback, where multicast always works.
fn broadcast_addresses(interface: &Interface) -> impl Iterator<Item = (Ipv4Addr, Ipv4Addr)> {
    addresses_v4(interface)
        .filter(|_| !interface.is_loopback)
        .filter_map(|(own, prefix)| Some((own, broadcast_address(own, prefix)?)))
}

fn has_link_local(interface: &Interface) -> bool {
    let link_local = |address: &InterfaceAddress| matches!(address.ip, IpAddr::V6(v6) if v6.is_unicast_link_local());
    interface.addresses.iter().any(link_local)
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
