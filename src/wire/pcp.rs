//! The Port Control Protocol (RFC 6887): its request for a mapping, and the answer.
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The UDP port of a gateway that speaks PCP or NAT-PMP.
pub const GATEWAY_PORT: u16 = 5351;
/// The version in each datagram.
const VERSION: u8 = 2;
/// The version of NAT-PMP, in which an older gateway answers.
const NAT_PMP_VERSION: u8 = 0;
const OP_MAP: u8 = 1;
/// The bit that an answer adds to the opcode.
const RESPONSE_BIT: u8 = 0x80;
/// The code by which a gateway refuses the version.
const UNSUPPORTED_VERSION: u8 = 1;
/// The protocol number of TCP.
const TCP: u8 = 6;
/// Bytes of a request for a mapping, and of its answer (RFC 6887, 7 and 11.1).
const MAP_BYTES: usize = 60;
/// Longest datagram of the protocol (RFC 6887, 7).
pub const PCP_MAX_BYTES: usize = 1100;

/// Asks the gateway to map a TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcpMapRequest {
    /// A random number, the same in all requests for this mapping.
    pub nonce: [u8; 12],
    /// Our address, from which the request is sent.
    pub client: IpAddr,
    /// Our port.
    pub internal_port: u16,
    /// The external address that we would like. Port or address may be unspecified.
    pub suggested: SocketAddr,
    /// Seconds. 0 deletes the mapping.
    pub lifetime_s: u32,
}

impl PcpMapRequest {
    /// Encodes the request.
    pub fn encode(&self) -> [u8; MAP_BYTES] {
        let mut request = [0; MAP_BYTES];
        request[..2].copy_from_slice(&[VERSION, OP_MAP]);
        request[4..8].copy_from_slice(&self.lifetime_s.to_be_bytes());
        request[8..24].copy_from_slice(&to_octets(self.client));
        request[24..36].copy_from_slice(&self.nonce);
        request[36] = TCP;
        request[40..42].copy_from_slice(&self.internal_port.to_be_bytes());
        request[42..44].copy_from_slice(&self.suggested.port().to_be_bytes());
        request[44..].copy_from_slice(&to_octets(self.suggested.ip()));
        request
    }
}

/// An answer of the gateway to a [`PcpMapRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcpAnswer {
    /// The mapping exists.
    Mapped {
        /// Where others reach our port.
        external: SocketAddr,
        /// Seconds for which the mapping lasts.
        lifetime_s: u32,
        /// Seconds since the gateway lost its mappings.
        epoch_s: u32,
    },
    /// The gateway refuses the request, with a code of RFC 6887, 7.4.
    Refused(u8),
    /// The gateway does not speak PCP, but perhaps NAT-PMP.
    UnsupportedVersion,
}

impl PcpAnswer {
    /// Parses a datagram. `None`: it is no answer to this request.
    pub fn parse(bytes: &[u8], request: &PcpMapRequest) -> Option<PcpAnswer> {
        let [version, opcode, _, code, rest @ ..] = bytes else {
            return None;
        };
        let is_answer = *opcode == RESPONSE_BIT | OP_MAP && bytes.len() <= PCP_MAX_BYTES;
        if *version == NAT_PMP_VERSION && opcode & RESPONSE_BIT != 0 && *code == UNSUPPORTED_VERSION
        {
            return Some(PcpAnswer::UnsupportedVersion);
        }
        if *version != VERSION || !is_answer {
            return None;
        }
        if *code == UNSUPPORTED_VERSION {
            return Some(PcpAnswer::UnsupportedVersion);
        }
        let (lifetime, rest) = rest.split_first_chunk::<4>()?;
        let (epoch, rest) = rest.split_first_chunk::<4>()?;
        let (nonce, rest) = rest.get(12..)?.split_first_chunk::<12>()?;
        let ([protocol, _, _, _, i0, i1, x0, x1], rest) = rest.split_first_chunk::<8>()?;
        let external = Ipv6Addr::from(*rest.first_chunk::<16>()?);
        let is_ours = *nonce == request.nonce
            && *protocol == TCP
            && u16::from_be_bytes([*i0, *i1]) == request.internal_port;
        if !is_ours {
            return None;
        }
        if *code != 0 {
            return Some(PcpAnswer::Refused(*code));
        }
        let port = u16::from_be_bytes([*x0, *x1]);
        Some(PcpAnswer::Mapped {
            external: SocketAddr::new(IpAddr::V6(external).to_canonical(), port),
            lifetime_s: u32::from_be_bytes(*lifetime),
            epoch_s: u32::from_be_bytes(*epoch),
        })
    }
}

/// An address in 16 bytes; an IPv4 address as an IPv4-mapped IPv6 address (RFC 6887, 5).
fn to_octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}
