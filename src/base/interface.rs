//! Network interfaces, their addresses, and how the addresses of peers are found.
use std::net::{IpAddr, Ipv4Addr};

/// An address of a network interface, with the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of the network prefix in bits: 0–32 for IPv4, 0–128 for IPv6.
    pub prefix_bits: u8,
}

/// A route to addresses that are reached without a gateway. A point-to-point interface has one to
/// the other end, and a host with a /32 address has one to its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnLinkRoute {
    /// An address of the destination network.
    pub destination: Ipv4Addr,
    /// Length of the network prefix in bits, 1–32.
    pub prefix_bits: u8,
}

/// A usable network interface: up, with at least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The index assigned by the kernel.
    pub index: u32,
    /// The name, such as `eth0`.
    pub name: String,
    /// The addresses of the interface, at least one.
    pub addresses: Vec<InterfaceAddress>,
    /// The on-link routes over the interface, in the order of the kernel's table.
    pub on_link_routes: Vec<OnLinkRoute>,
    /// Is this the loopback interface?
    pub is_loopback: bool,
}

impl Interface {
    /// Whether a neighbour on the interface may have this address. The address must lie in a subnet
    /// of the interface, or in the destination of an on-link route.
    pub fn is_on_link(&self, address: IpAddr) -> bool {
        let is_in_subnet =
            |own: &InterfaceAddress| is_same_subnet(own.ip, address, own.prefix_bits);
        let is_routed = |route: &OnLinkRoute| {
            is_same_subnet(route.destination.into(), address, route.prefix_bits)
        };
        self.addresses.iter().any(is_in_subnet) || self.on_link_routes.iter().any(is_routed)
    }
}

fn is_same_subnet(a: IpAddr, b: IpAddr, prefix: u8) -> bool {
    match (a, b) {
        (IpAddr::V4(a), IpAddr::V4(b)) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(prefix.min(32)))
                .unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(b)) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(prefix.min(128)))
                .unwrap_or(0);
            a.to_bits() & mask == b.to_bits() & mask
        }
        _ => false,
    }
}

/// How the address of a peer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundVia {
    /// A beacon of the peer arrived by multicast or broadcast.
    Multicast,
    /// The user gave the address with `--peer`.
    Static,
    /// The peer dialed this program.
    Incoming,
    /// A linked peer advertised a route to the peer.
    Neighbour,
    /// A linked peer introduced the address.
    Exchange,
    /// The peer was linked at the address in an earlier run.
    Remembered,
    /// The peer announced the address by mDNS.
    Mdns,
    /// A scan of a subnet found an open port.
    Scan,
    /// The peer published the address in the DHT.
    Dht,
    /// A Grape named the address.
    Grenache,
    /// It is a guest, found by LSNP.
    Lsnp,
    /// It is a guest, found by a beacon of p2pchat in Go.
    GoP2pchat,
}

impl FoundVia {
    /// The word for this value in the output of `p2pchat peers`.
    pub fn as_str(self) -> &'static str {
        match self {
            FoundVia::Multicast => "multicast",
            FoundVia::Static => "given",
            FoundVia::Incoming => "incoming",
            FoundVia::Neighbour => "neighbour",
            FoundVia::Exchange => "exchange",
            FoundVia::Remembered => "remembered",
            FoundVia::Mdns => "mdns",
            FoundVia::Scan => "scan",
            FoundVia::Dht => "dht",
            FoundVia::Grenache => "grenache",
            FoundVia::Lsnp => "lsnp",
            FoundVia::GoP2pchat => "go",
        }
    }
}
