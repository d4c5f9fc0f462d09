//! Lists the interfaces that can be used, and reports when that list may have changed.
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, OwnedFd};

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

use crate::base::event::{Interface, InterfaceAddress};
use crate::base::table::SortedMap;

/// Most interfaces used at a time, the lowest indices first.
pub const INTERFACES_MAX: usize = 64;
/// Most addresses used per interface.
pub const ADDRESSES_PER_INTERFACE_MAX: usize = 32;

/// Most messages read in one [`NetlinkSocket::drain`].
const MESSAGES_PER_DRAIN_MAX: usize = 4096;
/// `IFA_F_DADFAILED` and `IFA_F_TENTATIVE`: nothing can be sent from the address, or not yet.
const UNUSABLE_FLAGS: u32 = 0x08 | 0x40;
/// `IFA_F_OPTIMISTIC`: the address can be used although it is tentative (RFC 4429).
const OPTIMISTIC_FLAG: u32 = 0x04;

/// Lists the interfaces that can be used now, by index: up and with carrier, with at least one
/// address, able to multicast or broadcast. If `allowed_names` is not empty, only those. Loopback
/// is listed if it is named, or if no other interface is usable, so that two programs on a box
/// without a network find each other.
///
/// # Errors
/// The kernel refuses the list.
pub fn list_usable(allowed_names: &[String]) -> io::Result<Vec<Interface>> {
    let tentative = tentative_addresses();
    let mut usable: SortedMap<u32, Interface> = SortedMap::new();
    for entry in getifaddrs()? {
        // getifaddrs names the label of an IPv4 address: `eth0:1` is an address of `eth0`.
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
        // The interface may have gone since getifaddrs listed it.
        let Ok(index) = if_nametoindex(name) else {
            continue;
        };
        let interface = usable.get_or_insert_with(index, || Interface {
            index,
            name: name.to_owned(),
            addresses: Vec::new(),
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
    Ok(usable.into_values().take(INTERFACES_MAX).collect())
}

/// The names among these that no interface of this box has, be it up or down.
pub fn missing_names(names: &[String]) -> impl Iterator<Item = &String> {
    let missing = |name: &&String| if_nametoindex(name.as_str()).is_err();
    names.iter().filter(missing)
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

/// IPv6 addresses under duplicate address detection (RFC 4862), each with its interface: nothing
/// can be sent from them yet, and `getifaddrs` does not tell. When the detection ends, netlink
/// reports a change, so the next list has them.
fn tentative_addresses() -> Vec<(Ipv6Addr, String)> {
    // Of this thread's network namespace, as tests give their threads several.
    let table = fs::read_to_string("/proc/thread-self/net/if_inet6").unwrap_or_default();
    table.lines().filter_map(parse_tentative_row).collect()
}

/// Parses a row `ADDRESS INDEX PREFIX SCOPE FLAGS NAME`, all numbers in hex; the address has 32
/// digits.
fn parse_tentative_row(row: &str) -> Option<(Ipv6Addr, String)> {
    let mut fields = row.split_ascii_whitespace();
    let address = u128::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;
    let name = fields.next()?.to_owned();
    (flags & UNUSABLE_FLAGS != 0 && flags & OPTIMISTIC_FLAG == 0)
        .then_some((Ipv6Addr::from_bits(address), name))
}

/// The directed broadcast address of a network (RFC 919); prefixes of 0, 31 and more bits have
/// none.
pub fn broadcast_address(address: Ipv4Addr, prefix: u8) -> Option<Ipv4Addr> {
    let host = match prefix {
        1..=30 => u32::MAX >> prefix,
        _ => return None,
    };
    Some(Ipv4Addr::from_bits(address.to_bits() | host))
}

/// Receives the kernel's notices that an interface or an address changed (rtnetlink(7), no
/// privilege needed). A [`Source`] for the poll. What changed is not parsed: call
/// [`list_usable`].
pub struct NetlinkSocket {
    socket: OwnedFd,
}

impl NetlinkSocket {
    /// Subscribes to changes of links and addresses.
    ///
    /// # Errors
    /// Netlink is refused, as in some containers: call [`list_usable`] periodically instead.
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

    /// Reads all notices. True: something changed. Changes come in bursts, so wait a moment
    /// before [`list_usable`].
    pub fn drain(&mut self) -> bool {
        let mut changed = false;
        let mut message = [0; 4096];
        for _ in 0..MESSAGES_PER_DRAIN_MAX {
            match recv(
                self.socket.as_raw_fd(),
                &mut message,
                MsgFlags::MSG_DONTWAIT,
            ) {
                Ok(_) => changed = true,
                // Notices were lost, as the socket was full.
                Err(Errno::ENOBUFS) => changed = true,
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        changed
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

    use super::{broadcast_address, parse_tentative_row};

    #[test]
    fn broadcast_of_a_network() {
        let of = |prefix| broadcast_address(Ipv4Addr::new(10, 77, 1, 9), prefix);
        assert_eq!(of(24), Some(Ipv4Addr::new(10, 77, 1, 255)));
        assert_eq!(of(30), Some(Ipv4Addr::new(10, 77, 1, 11)));
        assert_eq!(of(8), Some(Ipv4Addr::new(10, 255, 255, 255)));
        assert_eq!([of(31), of(32), of(0), of(77)], [None; 4]);
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
