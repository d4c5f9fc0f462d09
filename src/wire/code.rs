//! Connection codes (`ID@ADDRESS[,ADDRESS…]`), and whatever else names a peer to dial.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::base::identity::PeerId;

/// Where a peer listens if nothing else is said.
pub const DEFAULT_PORT: u16 = 9999;
/// Most addresses of one code.
pub const ADDRESSES_MAX: usize = 8;
/// Longest host name, in bytes (RFC 1035).
const HOST_MAX_BYTES: usize = 253;

/// Why a text names no peer to dial; shown as a sentence's end: "the address …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    Empty,
    InvalidId,
    InvalidHost,
    InvalidPort,
    InvalidBrackets,
    TooManyAddresses,
    /// Several addresses, but no id to tell that one peer is behind them all.
    MissingId,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::Empty => write!(f, "is empty"),
            EndpointError::InvalidId => write!(
                f,
                "has before its @ no id of 52 characters a–z and 2–7, as `p2pchat whoami` shows it"
            ),
            EndpointError::InvalidHost => write!(f, "has no host name or IP address"),
            EndpointError::InvalidPort => write!(f, "has a port that is not 1 to 65535"),
            EndpointError::InvalidBrackets => {
                write!(
                    f,
                    "has brackets that are not those of [IPv6] or [IPv6]:port"
                )
            }
            EndpointError::TooManyAddresses => {
                write!(f, "holds more than {ADDRESSES_MAX} addresses")
            }
            EndpointError::MissingId => write!(f, "holds several addresses, but no id before an @"),
        }
    }
}

/// Who a peer is and where it may be found, as one text to be pasted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCode {
    pub id: PeerId,
    /// 1 to [`ADDRESSES_MAX`] in a code that was read; perhaps none in one that was made.
    pub addresses: Vec<SocketAddr>,
}

impl ConnectionCode {
    /// Of the addresses those that mean something on another box, each once, and no more than [`ADDRESSES_MAX`].
    pub fn new(id: PeerId, addresses: &[SocketAddr]) -> ConnectionCode {
        let mut kept: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            // A zone means something on this box only.
            let address = SocketAddr::new(address.ip(), address.port());
            if is_routable(&address) && !kept.contains(&address) && kept.len() < ADDRESSES_MAX {
                kept.push(address);
            }
        }
        ConnectionCode {
            id,
            addresses: kept,
        }
    }
}

fn is_routable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    let local = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !local
}

impl fmt::Display for ConnectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        for (i, address) in self.addresses.iter().enumerate() {
            write!(f, "{}{address}", if i == 0 { '@' } else { ',' })?;
        }
        Ok(())
    }
}

impl FromStr for ConnectionCode {
    type Err = EndpointError;
    /// Addresses only, each with its port: nothing to be looked up.
    fn from_str(text: &str) -> Result<ConnectionCode, EndpointError> {
        let (id, list) = text
            .trim()
            .split_once('@')
            .ok_or(EndpointError::MissingId)?;
        let id = id.parse().map_err(|_| EndpointError::InvalidId)?;
        let mut addresses = Vec::new();
        for part in split_addresses(list)? {
            let address: SocketAddr = part.parse().map_err(|_| EndpointError::InvalidHost)?;
            if address.port() == 0 {
                return Err(EndpointError::InvalidPort);
            }
            addresses.push(address);
        }
        Ok(ConnectionCode { id, addresses })
    }
}

/// One place where a peer may be: a name to be looked up, or a literal address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Who is expected there, if that was said.
    pub peer: Option<PeerId>,
    /// A host name, or an IP address without brackets, a zone (`%eth0`) included.
    pub host: String,
    pub port: u16,
}

/// What `--peer` takes: `HOST[:PORT]`, `ID@HOST[:PORT]`, or a code; a HOST is a name, an IPv4 address, or an IPv6
/// address, in brackets if a port follows. 1 to [`ADDRESSES_MAX`] places.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, EndpointError> {
    let (peer, list) = match text.trim().split_once('@') {
        Some((id, list)) => (
            Some(id.parse().map_err(|_| EndpointError::InvalidId)?),
            list,
        ),
        None => (None, text.trim()),
    };
    let mut places = Vec::new();
    for part in split_addresses(list)? {
        let (host, port) = parse_host_port(part)?;
        places.push(Endpoint {
            peer,
            host: host.to_owned(),
            port,
        });
    }
    if peer.is_none() && places.len() > 1 {
        return Err(EndpointError::MissingId);
    }
    Ok(places)
}

fn split_addresses(list: &str) -> Result<std::str::Split<'_, char>, EndpointError> {
    if list.is_empty() {
        Err(EndpointError::Empty)
    } else if list.split(',').nth(ADDRESSES_MAX).is_some() {
        Err(EndpointError::TooManyAddresses)
    } else {
        Ok(list.split(','))
    }
}

fn parse_host_port(text: &str) -> Result<(&str, u16), EndpointError> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or(EndpointError::InvalidBrackets)?;
        if !is_ipv6(host) {
            return Err(EndpointError::InvalidBrackets);
        }
        return match rest.strip_prefix(':') {
            Some(digits) => Ok((host, parse_port(digits)?)),
            None if rest.is_empty() => Ok((host, DEFAULT_PORT)),
            None => Err(EndpointError::InvalidBrackets),
        };
    }
    if is_ipv6(text) {
        return Ok((text, DEFAULT_PORT));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, parse_port(digits)?),
        None => (text, DEFAULT_PORT),
    };
    if is_host(host) {
        Ok((host, port))
    } else {
        Err(EndpointError::InvalidHost)
    }
}

fn parse_port(digits: &str) -> Result<u16, EndpointError> {
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(EndpointError::InvalidPort);
    }
    match digits.parse() {
        Ok(0) | Err(_) => Err(EndpointError::InvalidPort),
        Ok(port) => Ok(port),
    }
}

/// With a zone or without.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "-"));
    let named = !zone.is_empty() && zone.bytes().all(|b| b.is_ascii_graphic());
    named && address.parse::<Ipv6Addr>().is_ok()
}

/// A name that a resolver may be asked for, or an IPv4 address in its usual form.
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-')
    };
    // Resolvers take `1.2` or `300` for IPv4 addresses of an older spelling, which nobody means.
    let numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if numeric {
        return text.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= HOST_MAX_BYTES && name.split('.').all(label)
}
