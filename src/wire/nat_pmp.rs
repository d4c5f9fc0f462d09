//! The NAT Port Mapping Protocol (RFC 6886): datagrams to and from the default gateway.
use std::net::Ipv4Addr;

/// The version in each datagram.
const VERSION: u8 = 0;
const OP_ADDRESS: u8 = 0;
const OP_MAP_TCP: u8 = 2;
/// The bit that an answer adds to the opcode.
const RESPONSE_BIT: u8 = 0x80;

/// Asks for the external address of the gateway (RFC 6886, 3.2).
pub const ADDRESS_REQUEST: [u8; 2] = [VERSION, OP_ADDRESS];

/// Asks to map a TCP port (RFC 6886, 3.3). A lifetime of 0 seconds, with the external port 0,
/// deletes the mapping.
pub fn map_request(internal_port: u16, external_port: u16, lifetime_s: u32) -> [u8; 12] {
    let mut request = [0; 12];
    request[..2].copy_from_slice(&[VERSION, OP_MAP_TCP]);
    request[4..6].copy_from_slice(&internal_port.to_be_bytes());
    request[6..8].copy_from_slice(&external_port.to_be_bytes());
    request[8..].copy_from_slice(&lifetime_s.to_be_bytes());
    request
}

/// An answer of the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NatPmpAnswer {
    /// The external address.
    Address(Ipv4Addr),
    /// A mapping.
    Mapping {
        /// Our port.
        internal_port: u16,
        /// The port at the gateway.
        external_port: u16,
        /// Seconds for which the mapping lasts.
        lifetime_s: u32,
        /// Seconds since the gateway lost its mappings.
        epoch_s: u32,
    },
    /// The gateway refuses a request, with a code of RFC 6886, 3.5.
    Refused(u16),
}

/// Parses a datagram. `None`: it is no answer to one of our requests.
pub fn parse(bytes: &[u8]) -> Option<NatPmpAnswer> {
    let (head, rest) = bytes.split_first_chunk::<8>()?;
    let [version, opcode, code @ .., e0, e1, e2, e3] = *head;
    let is_known = matches!(
        opcode.checked_sub(RESPONSE_BIT),
        Some(OP_ADDRESS | OP_MAP_TCP)
    );
    if version != VERSION || !is_known {
        return None;
    }
    match u16::from_be_bytes(code) {
        0 => {}
        code => return Some(NatPmpAnswer::Refused(code)),
    }
    if opcode == RESPONSE_BIT | OP_ADDRESS {
        let address = Ipv4Addr::from(*rest.first_chunk::<4>()?);
        return Some(NatPmpAnswer::Address(address));
    }
    let [i0, i1, x0, x1, lifetime @ ..] = *rest.first_chunk::<8>()?;
    Some(NatPmpAnswer::Mapping {
        internal_port: u16::from_be_bytes([i0, i1]),
        external_port: u16::from_be_bytes([x0, x1]),
        lifetime_s: u32::from_be_bytes(lifetime),
        epoch_s: u32::from_be_bytes([e0, e1, e2, e3]),
    })
}
