//! Network interfaces, and their addresses.
use std::net::IpAddr;

/// An address of a network interface, with the length of its network prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of the network prefix in bits: 0–32 for IPv4, 0–128 for IPv6.
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
    /// Is this the loopback interface?
    pub is_loopback: bool,
}
