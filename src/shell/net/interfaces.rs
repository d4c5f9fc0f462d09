//! Lists the usable network interfaces, and reports when that list may have changed.
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use mio::event::Source;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::ifaddrs::{self, getifaddrs};
use nix::libc;
use nix::net::if_::{InterfaceFlags, if_nametoindex};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, SockaddrStorage, bind,
    recv, socket,
};

use crate::base::interface::{Interface, InterfaceAddress, OnLinkRoute};
use crate::base::table::SortedMap;

/// Maximum number of interfaces used at a time. `importance` decides which ones are left out.
pub const INTERFACES_MAX: usize = 64;
/// Maximum number of addresses used per interface.
pub const ADDRESSES_PER_INTERFACE_MAX: usize = 32;

/// Maximum number of on-link routes used per interface.
const ON_LINK_ROUTES_PER_INTERFACE_MAX: usize = 32;
/// Maximum number of bytes of the routing table that are read.
const ROUTES_MAX_BYTES: u64 = 256 * 1024;
/// `RTF_UP`, `RTF_GATEWAY` and `RTF_REJECT` of the kernel's routing table (route(8)).
const ROUTE_UP_FLAG: u32 = 0x1;
const ROUTE_GATEWAY_FLAG: u32 = 0x2;
const ROUTE_REJECT_FLAG: u32 = 0x200;

/// Maximum number of reports removed in one call of [`NetlinkSocket::drain`].
const REPORTS_PER_DRAIN_MAX: usize = 128;
/// Address flags `IFA_F_DADFAILED` and `IFA_F_TENTATIVE`: duplicate address detection has failed,
/// or still runs. Nothing can be sent from an address with one of these flags.
const UNUSABLE_FLAGS: u32 = 0x08 | 0x40;
/// `IFA_F_OPTIMISTIC`: the address is usable although it is tentative (RFC 4429).
const OPTIMISTIC_FLAG: u32 = 0x04;

/// The interfaces that can be used now.
pub struct UsableInterfaces {
    /// The interfaces to use, at most [`INTERFACES_MAX`], in order of their indices.
    pub list: Vec<Interface>,
    /// Number of further usable interfaces.
    pub left_out: usize,
}

/// Lists the interfaces in `allowed_names` that are usable now. An empty `allowed_names` means all
/// interfaces. A usable interface is up, has carrier, and has an address that can send. It is
/// loopback, or supports multicast or broadcast.
///
/// If `allowed_names` is empty, loopback is listed only when no other interface is usable. Two
/// programs on a machine without a network can then find each other.
///
/// # Errors
/// The kernel does not return the list.
pub fn list_usable(allowed_names: &[String]) -> io::Result<UsableInterfaces> {
    let tentative = tentative_addresses();
    let mut usable: SortedMap<u32, Interface> = SortedMap::new();
    for entry in getifaddrs()? {
        // For an IPv4 address getifaddrs returns its label: `eth0:1` is an address of `eth0`.
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let is_named = allowed_names.iter().any(|allowed| allowed == name);
        if !(is_named || allowed_names.is_empty()) || !is_usable(entry.flags) {
            continue;
        }
        let Some(address) = address_with_prefix(&entry) else {
            continue;
        };
        if matches!(address.ip, IpAddr::V6(v6) if tentative.contains(&(v6, name.to_owned()))) {
            continue;
        }
        // The interface may have been removed since getifaddrs listed it.
        let Ok(index) = if_nametoindex(name) else {
            continue;
        };
        let interface = usable.get_or_insert_with(index, || Interface {
            index,
            name: name.to_owned(),
            addresses: Vec::new(),
            on_link_routes: Vec::new(),
            is_loopback: entry.flags.contains(InterfaceFlags::IFF_LOOPBACK),
        });
        if interface.addresses.len() < ADDRESSES_PER_INTERFACE_MAX
            && !interface.addresses.contains(&address)
        {
            interface.addresses.push(address);
        }
    }
    if allowed_names.is_empty() && usable.values().any(|interface| !interface.is_loopback) {
        usable.retain(|_, interface| !interface.is_loopback);
    }
    let left_out = usable.len().saturating_sub(INTERFACES_MAX);
    if left_out > 0 {
        let order = usable.values().rev();
        let order: SortedMap<_, u32> = order
            .enumerate()
            .map(|(at, interface)| ((importance(interface), at), interface.index))
            .collect();
        for index in order.values().take(left_out) {
            usable.remove(index);
        }
    }
    let mut list: Vec<Interface> = usable.into_values().collect();
    add_on_link_routes(&mut list);
    Ok(UsableInterfaces { list, left_out })
}

/// Why an interface is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnusedReason {
    /// Nobody has switched it on.
    Down,
    /// It has no cable, or no WLAN.
    NoCarrier,
    /// It supports neither multicast nor broadcast.
    PointToPoint,
    /// It has no address that can send.
    NoAddress,
    /// The user chose others with `--interface`, or there are too many.
    NotChosen,
}

/// Lists the other interfaces of this host except loopback, at most [`INTERFACES_MAX`], and why
/// they are not in `usable`.
///
/// # Errors
/// The kernel does not return the list.
pub fn list_unused(
    usable: &[Interface],
    allowed_names: &[String],
) -> io::Result<Vec<(String, UnusedReason)>> {
    let mut unused: SortedMap<String, UnusedReason> = SortedMap::new();
    for entry in getifaddrs()? {
        let name = entry.interface_name.split(':').next().unwrap_or_default();
        let has = |flag| entry.flags.contains(flag);
        let is_known = usable.iter().any(|it| it.name == name) || unused.contains_key(name);
        if is_known || has(InterfaceFlags::IFF_LOOPBACK) || unused.len() >= INTERFACES_MAX {
            continue;
        }
        let is_chosen = allowed_names.is_empty() || allowed_names.iter().any(|it| it == name);
        let reason = match () {
            () if !is_chosen => UnusedReason::NotChosen,
            () if !has(InterfaceFlags::IFF_UP) => UnusedReason::Down,
            () if !has(InterfaceFlags::IFF_RUNNING) => UnusedReason::NoCarrier,
            () if !is_usable(entry.flags) => UnusedReason::PointToPoint,
            () => UnusedReason::NoAddress,
        };
        unused.insert(name.to_owned(), reason);
    }
    Ok(unused.into_iter().collect())
}

/// How much an interface matters if there are too many. Its neighbours can be on another network
/// only if it is no port of a bridge, and more probably if it is a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Importance {
    BridgePort,
    Virtual,
    Card,
}

/// See [`Importance`]. Of equal interfaces, those with the lowest indices are used.
fn importance(interface: &Interface) -> Importance {
    let sysfs = |file| Path::new("/sys/class/net").join(&interface.name).join(file);
    match (sysfs("brport").exists(), sysfs("device").exists()) {
        (true, _) => Importance::BridgePort,
        (false, true) => Importance::Card,
        (false, false) => Importance::Virtual,
    }
}

/// Adds the IPv4 on-link routes of the main routing table to their interfaces. IPv6 needs none,
/// because beacons come from link-local addresses.
fn add_on_link_routes(interfaces: &mut [Interface]) {
    let mut table = String::new();
    let file = File::open("/proc/thread-self/net/route");
    // A router may have a million routes. The first error ends the table.
    let _ = file.and_then(|file| file.take(ROUTES_MAX_BYTES).read_to_string(&mut table));
    for (name, route) in table.lines().filter_map(parse_on_link_route) {
        if let Some(interface) = interfaces.iter_mut().find(|i| i.name == name)
            && interface.on_link_routes.len() < ON_LINK_ROUTES_PER_INTERFACE_MAX
        {
            interface.on_link_routes.push(route);
        }
    }
}

/// Parses a row `NAME DESTINATION GATEWAY FLAGS REFERENCES USES METRIC MASK …`. The addresses are
/// hexadecimal, in the byte order of this machine. Returns the interface name and the route.
/// `None`: the route leads through a gateway, is a default route, or the row is malformed.
fn parse_on_link_route(row: &str) -> Option<(&str, OnLinkRoute)> {
    let mut fields = row.split_ascii_whitespace();
    let name = fields.next()?;
    let address = |hex: &str| {
        let bits = u32::from_str_radix(hex, 16).ok()?;
        Some(Ipv4Addr::from(bits.to_ne_bytes()))
    };
    let destination = address(fields.next()?)?;
    let flags = u32::from_str_radix(fields.nth(1)?, 16).ok()?;
    let mask = address(fields.nth(3)?)?;
    let is_on_link =
        flags & (ROUTE_UP_FLAG | ROUTE_GATEWAY_FLAG | ROUTE_REJECT_FLAG) == ROUTE_UP_FLAG;
    let prefix_bits = u8::try_from(mask.to_bits().leading_ones()).ok()?;
    (is_on_link && prefix_bits > 0).then_some((
        name,
        OnLinkRoute {
            destination,
            prefix_bits,
        },
    ))
}

/// Returns the names in `names` for which this machine has no interface. An interface that is down
/// still exists, so its name is not returned.
pub fn missing_names(names: &[String]) -> impl Iterator<Item = &String> {
    let missing = |name: &&String| if_nametoindex(name.as_str()).is_err();
    names.iter().filter(missing)
}

/// Whether this host has the address, on any interface. In doubt, returns true.
pub fn is_own_address(mut address: SocketAddr) -> bool {
    address.set_port(0);
    match UdpSocket::bind(address) {
        // ENODEV: the interface of a link-local address is gone.
        Err(error) => {
            let is_gone = [libc::EADDRNOTAVAIL, libc::ENODEV].map(Some);
            !is_gone.contains(&error.raw_os_error())
        }
        Ok(_) => true,
    }
}

fn is_usable(flags: InterfaceFlags) -> bool {
    flags.contains(InterfaceFlags::IFF_UP | InterfaceFlags::IFF_RUNNING)
        && flags.intersects(
            InterfaceFlags::IFF_MULTICAST
                | InterfaceFlags::IFF_BROADCAST
                | InterfaceFlags::IFF_LOOPBACK,
        )
}

fn address_with_prefix(entry: &ifaddrs::InterfaceAddress) -> Option<InterfaceAddress> {
    let ip = unicast_ip(entry.address.as_ref()?)?;
    let prefix_bits = match (ip, entry.netmask.as_ref().and_then(socket_ip)) {
        (IpAddr::V4(_), Some(IpAddr::V4(mask))) => mask.to_bits().leading_ones(),
        (IpAddr::V6(_), Some(IpAddr::V6(mask))) => mask.to_bits().leading_ones(),
        (IpAddr::V4(_), _) => 32,
        (IpAddr::V6(_), _) => 128,
    };
    Some(InterfaceAddress {
        ip,
        prefix_bits: u8::try_from(prefix_bits).ok()?,
    })
}

fn unicast_ip(address: &SockaddrStorage) -> Option<IpAddr> {
    let ip = socket_ip(address)?;
    (!ip.is_unspecified() && !ip.is_multicast()).then_some(ip)
}

fn socket_ip(address: &SockaddrStorage) -> Option<IpAddr> {
    match (address.as_sockaddr_in(), address.as_sockaddr_in6()) {
        (Some(v4), _) => Some(IpAddr::V4(v4.ip())),
        (_, Some(v6)) => Some(IpAddr::V6(v6.ip())),
        _ => None,
    }
}

/// Returns the IPv6 addresses that cannot send, each with the name of its interface. An address
/// cannot send while duplicate address detection (RFC 4862) runs, or after it has failed.
/// `getifaddrs` also lists these addresses, but without their flags.
fn tentative_addresses() -> Vec<(Ipv6Addr, String)> {
    // Reads the network namespace of this thread, because tests run threads in several
    // namespaces.
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(parse_tentative_row).collect()
}

/// Parses a row `ADDRESS INDEX PREFIX SCOPE FLAGS NAME`. All numbers are hexadecimal, and the
/// address has 32 digits. Returns the address and the interface name only if the address cannot
/// send. `None`: the address can send, or the row is malformed.
fn parse_tentative_row(row: &str) -> Option<(Ipv6Addr, String)> {
    let mut fields = row.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let name = fields.next()?.to_owned();
    (flags & UNUSABLE_FLAGS != 0 && flags & OPTIMISTIC_FLAG == 0)
        .then_some((Ipv6Addr::from_bits(address), name))
}

/// The broadcast address of the network that contains `address` (RFC 919). `prefix` is the length
/// of the network's prefix in bits. `None`: `prefix` is not from 1 to 30, so there is no broadcast
/// address.
pub fn broadcast_address(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let host = match prefix {
        1..=30 => u32::MAX >> prefix,
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(address.to_bits() | host))
}

/// The IPv4 addresses of an interface, each with the length of its network prefix in bits.
pub fn addresses_v4(interface: &Interface) -> impl Iterator<Item = (Ipv4Addr, u8)> {
    interface
        .addresses
        .iter()
        .filter_map(|address| match address.ip {
            IpAddr::V4(v4) => Some((v4, address.prefix_bits)),
            IpAddr::V6(_) => None,
        })
}

/// A socket that reports changes of interfaces and addresses (rtnetlink(7)). The program needs no
/// privilege for this socket, and the poll can wait for it. The reports are not parsed: call
/// [`list_usable`] after a report.
pub struct NetlinkSocket {
    socket: OwnedFd,
}

impl NetlinkSocket {
    /// Subscribes to changes of interfaces and addresses.
    ///
    /// # Errors
    /// The kernel refuses netlink, as in some containers. Call [`list_usable`] periodically
    /// instead.
    pub fn open() -> io::Result<NetlinkSocket> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        let groups = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;
        bind(
            socket.as_raw_fd(),
            &NetlinkAddr::new(0, groups.cast_unsigned()),
        )?;
        Ok(NetlinkSocket { socket })
    }

    /// Removes the pending reports, at most `REPORTS_PER_DRAIN_MAX` of them. Call this before
    /// [`list_usable`]. Returns whether more reports may be pending. Then call both again soon, as
    /// the poll repeats no report.
    pub fn drain(&mut self) -> bool {
        // The rest of a report is cut off.
        let mut report = [0; 1];
        for _ in 0..REPORTS_PER_DRAIN_MAX {
            match recv(self.socket.as_raw_fd(), &mut report, MsgFlags::MSG_DONTWAIT) {
                // ENOBUFS: the socket's buffer was full, so reports were lost.
                Ok(_) | Err(Errno::ENOBUFS | Errno::EINTR) => {}
                Err(_) => return false,
            }
        }
        true
    }
}

impl Source for NetlinkSocket {
    fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).register(registry, token, interests)
    }

    fn reregister(
        &mut self,
        registry: &Registry,
        token: Token,
        interests: Interest,
    ) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).reregister(registry, token, interests)
    }

    fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        SourceFd(&self.socket.as_raw_fd()).deregister(registry)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{broadcast_address, parse_on_link_route, parse_tentative_row};

    #[test]
    fn broadcast_of_a_network() {
        let of = |prefix| broadcast_address(Ipv4Addr::new(10, 77, 1, 9), prefix);
        assert_eq!(of(24), Some(Ipv4Addr::new(10, 77, 1, 255)));
        assert_eq!(of(30), Some(Ipv4Addr::new(10, 77, 1, 11)));
        assert_eq!(of(8), Some(Ipv4Addr::new(10, 255, 255, 255)));
        assert_eq!([of(31), of(32), of(0), of(77)], [None; 4]);
    }

    #[test]
    fn on_link_routes_are_known() {
        let hex = |ip: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(ip));
        let row = |flags, mask| {
            let (destination, mask) = (hex([10, 99, 0, 2]), hex(mask));
            format!("ppp0\t{destination}\t00000000\t{flags}\t0\t0\t0\t{mask}\t0\t0\t0 ")
        };
        let parsed = |row: &str| {
            parse_on_link_route(row).map(|(name, route)| {
                (
                    name.to_owned(),
                    route.destination.to_string(),
                    route.prefix_bits,
                )
            })
        };
        let host = ("ppp0".to_owned(), "10.99.0.2".to_owned(), 32);
        assert_eq!(parsed(&row("0005", [255; 4])), Some(host));
        assert_eq!(
            parsed(&row("0001", [255, 255, 255, 0])).map(|r| r.2),
            Some(24)
        );
        // Through a gateway, refused, down, and a default route.
        for (flags, mask) in [("0003", [255; 4]), ("0205", [255; 4]), ("0004", [255; 4])] {
            assert_eq!(parsed(&row(flags, mask)), None);
        }
        assert_eq!(parsed(&row("0001", [0; 4])), None);
        assert_eq!(parsed("Iface Destination Gateway Flags"), None);
    }

    #[test]
    fn tentative_addresses_are_known() {
        let row = |flags| format!("fe80000000000000000000000000a0b1 02 40 20 {flags}     eth0");
        let found = parse_tentative_row(&row("40")).map(|(ip, name)| (ip.to_string(), name));
        assert_eq!(found, Some(("fe80::a0b1".into(), "eth0".into())));
        assert_eq!(parse_tentative_row(&row("80")), None);
        assert_eq!(parse_tentative_row(&row("44")), None);
        assert_eq!(parse_tentative_row("nonsense"), None);
    }
}
