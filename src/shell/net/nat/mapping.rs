//! A mapping, or why there is none: what all protocols result in.
use std::net::{Ipv4Addr, SocketAddr};

/// How long a mapping shall last, in seconds: two hours. A gateway that outlives us then forgets
/// it.
pub const LIFETIME_S: u32 = 7_200;

/// A mapping that the gateway made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Where others reach our port.
    pub external: SocketAddr,
    /// For how long, in seconds: at most [`LIFETIME_S`].
    pub lifetime_s: u32,
    /// The protocol, for the user.
    pub protocol: &'static str,
    /// Seconds since the gateway lost its mappings.
    pub epoch_s: u32,
}

/// Why there is no mapping.
#[derive(Debug, PartialEq, Eq)]
pub enum NoMapping {
    /// The gateway does not answer.
    Silent,
    /// The gateway refuses, with the code of its protocol.
    Refused(&'static str, u16),
    /// The gateway answered with an address that nobody can dial.
    Useless,
    /// The gateway is itself behind a NAT: it has this address.
    Nested(Ipv4Addr),
    /// Our address is a public one.
    Public,
    /// The program ends.
    Stopped,
}
