//! Parses texts that name a peer to dial: connection codes (`ID@ADDRESS[,ADDRESS…],=CHECK`) and the
//! other values of `--peer`.
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::base::domain;
use crate::base::identity::{Hash, PeerId};
use crate::base::text::rfc4648::BASE32_NOPAD;

/// Default TCP port of a peer, and default UDP port of the beacon.
pub const DEFAULT_PORT: u16 = 9999;
/// Maximum number of addresses in one connection code.
pub const ADDRESSES_MAX: usize = 8;
/// What stands before the check sum of a connection code.
const CHECK_PREFIX: &str = ",=";
/// Number of characters of a check sum: 20 bits.
const CHECK_CHARS: usize = 4;
/// Longest host name, in bytes (RFC 1035, 2.3.4).
const HOST_MAX_BYTES: usize = 253;

/// Why an address given by the user is invalid. The displayed text completes a sentence that begins
/// with "the address …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointError {
    /// The text contains no address.
    Empty,
    /// The text is an id, as `p2pchat whoami` prints it on a host without a network.
    MissingAddress,
    /// The text before the `@` is no id.
    InvalidId,
    /// The host is neither a host name nor an IP address.
    InvalidHost,
    /// The port is not a number from 1 to 65535.
    InvalidPort,
    /// The brackets do not enclose an IPv6 address.
    InvalidBrackets,
    /// The text contains more than [`ADDRESSES_MAX`] addresses.
    TooManyAddresses,
    /// The check sum is not that of the text before it.
    WrongCheck,
    /// The text does not begin with `ID@`. Connection codes and lists of several addresses need an
    /// id.
    MissingId,
}

impl fmt::Display for EndpointError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EndpointError::Empty => write!(f, "is empty"),
            EndpointError::MissingAddress => {
                write!(
                    f,
                    "is an id without an address: add it as ID@HOST, or copy the code when that \
                     peer has a network"
                )?;
                match cfg!(feature = "dht") {
                    true => write!(f, "; with --dht on both sides it is found without"),
                    false => Ok(()),
                }
            }
            EndpointError::InvalidId => write!(
                f,
                "has no id of {} characters a–z and 2–7 before its @: see `p2pchat whoami`",
                PeerId::TEXT_BYTES
            ),
            EndpointError::InvalidHost => write!(f, "has no host name or IP address"),
            EndpointError::InvalidPort => write!(f, "has a port that is not 1 to 65535"),
            EndpointError::InvalidBrackets => {
                write!(f, "has brackets, but is not [IPv6] or [IPv6]:port")
            }
            EndpointError::TooManyAddresses => {
                write!(f, "has more than {ADDRESSES_MAX} addresses")
            }
            EndpointError::WrongCheck => {
                write!(f, "has a typing error, or is not the whole code")
            }
            EndpointError::MissingId => {
                write!(f, "has several addresses, but no id and @ before them")
            }
        }
    }
}

/// A connection code: the id of a peer, and addresses where it may listen, with a check sum. Users
/// copy it as one text, or dictate it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionCode {
    /// The key expected at each address.
    pub id: PeerId,
    /// At most [`ADDRESSES_MAX`] addresses. A parsed code contains at least one.
    pub addresses: Vec<SocketAddr>,
}

impl ConnectionCode {
    /// Creates a code with the first [`ADDRESSES_MAX`] distinct addresses that other hosts can
    /// dial.
    pub fn new(id: PeerId, addresses: &[SocketAddr]) -> ConnectionCode {
        let mut routable: Vec<SocketAddr> = Vec::new();
        for address in addresses {
            // Drops the IPv6 zone, which has no meaning on another host.
            let address = SocketAddr::new(address.ip(), address.port());
            if is_routable(&address)
                && !routable.contains(&address)
                && routable.len() < ADDRESSES_MAX
            {
                routable.push(address);
            }
        }
        ConnectionCode {
            id,
            addresses: routable,
        }
    }
}

/// Whether other hosts may be able to dial this address.
pub fn is_routable(address: &SocketAddr) -> bool {
    let local = matches!(address.ip(), IpAddr::V6(ip) if ip.is_unicast_link_local());
    is_dialable(address) && !local
}

/// Whether a host may listen at this address.
pub fn is_dialable(address: &SocketAddr) -> bool {
    let ip = address.ip();
    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast()
}

impl fmt::Display for ConnectionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.id.to_string();
        for (i, address) in self.addresses.iter().enumerate() {
            text.push(if i == 0 { '@' } else { ',' });
            text += &address.to_string();
        }
        // Without an address there is nothing to dial: this is a plain id.
        if !self.addresses.is_empty() {
            let check = check_sum(&text);
            text = text + CHECK_PREFIX + &check;
        }
        f.write_str(&text)
    }
}

impl FromStr for ConnectionCode {
    type Err = EndpointError;
    /// Accepts only IP addresses with ports, because a host name would have to be resolved first.
    fn from_str(text: &str) -> Result<ConnectionCode, EndpointError> {
        let (id, list) = strip_check_sum(text.trim())?
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

/// A host and port to dial, or a peer whose addresses must be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The key expected at the host, if the user gave one.
    pub peer: Option<PeerId>,
    /// A host name to resolve, or an IP address without brackets. An IPv6 address may have a zone
    /// (`%eth0`). Empty: only the id is known.
    pub host: String,
    /// The TCP port, at least 1. 0 without a host.
    pub port: u16,
}

impl Endpoint {
    /// The peer, if nothing else is known. Its addresses must be looked up.
    pub fn peer_without_host(&self) -> Option<PeerId> {
        self.peer.filter(|_| self.host.is_empty())
    }
}

/// Shows host and port, or the id without them, as in `--peer`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer_without_host() {
            Some(peer) => write!(f, "@{peer}"),
            None if self.host.contains(':') => write!(f, "[{}]:{}", self.host, self.port),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

/// Parses the value of `--peer`: `@ID` or `ID`, or what [`parse_endpoints`] accepts.
///
/// # Errors
/// The first rule that the text breaks.
pub fn parse_peer(text: &str) -> Result<Vec<Endpoint>, EndpointError> {
    let id = text.trim();
    let is_marked = id.starts_with('@');
    match id.strip_prefix('@').unwrap_or(id).parse() {
        Ok(peer) => Ok(vec![Endpoint {
            peer: Some(peer),
            host: String::new(),
            port: 0,
        }]),
        Err(_) if is_marked => Err(EndpointError::InvalidId),
        Err(_) => parse_endpoints(text),
    }
}

/// Parses `HOST[:PORT]`, `ID@HOST[:PORT]` or a connection code. `HOST` is a host name, an IPv4
/// address or an IPv6 address. An IPv6 address needs brackets if a port follows. Returns 1 to
/// [`ADDRESSES_MAX`] endpoints.
///
/// # Errors
/// The first rule that the text breaks.
pub fn parse_endpoints(text: &str) -> Result<Vec<Endpoint>, EndpointError> {
    let text = strip_check_sum(text.trim())?;
    let (peer, list) = match text.split_once('@') {
        Some(("", id)) if id.parse::<PeerId>().is_ok() => {
            return Err(EndpointError::MissingAddress);
        }
        Some((id, list)) => (
            Some(id.parse().map_err(|_| EndpointError::InvalidId)?),
            list,
        ),
        // A host name could look like an id, but none does.
        None if text.parse::<PeerId>().is_ok() => return Err(EndpointError::MissingAddress),
        None => (None, text),
    };
    let mut endpoints = Vec::new();
    for part in split_addresses(list)? {
        let (host, port) = parse_host_port(part)?;
        endpoints.push(Endpoint {
            peer,
            host: host.to_owned(),
            port,
        });
    }
    if peer.is_none() && endpoints.len() > 1 {
        return Err(EndpointError::MissingId);
    }
    Ok(endpoints)
}

/// The check sum of the text before it: the beginning of its SHA-256, in base32.
fn check_sum(text: &str) -> String {
    let hash = Hash::of(&[domain::CODE, text.as_bytes()]);
    let mut check = BASE32_NOPAD.encode(&hash.0);
    check.truncate(CHECK_CHARS);
    check
}

/// Removes the check sum, if there is one.
///
/// # Errors
/// [`EndpointError::WrongCheck`].
fn strip_check_sum(text: &str) -> Result<&str, EndpointError> {
    match text.split_once(CHECK_PREFIX) {
        Some((text, check)) if check_sum(text) == check => Ok(text),
        Some(_) => Err(EndpointError::WrongCheck),
        None => Ok(text),
    }
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

/// Is the text an IPv6 address, with or without a zone?
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "-"));
    // These would end the address where it is written in brackets, behind an id, or in a list.
    let is_plain = |b: u8| b.is_ascii_graphic() && !b"[]@,".contains(&b);
    let named = !zone.is_empty() && zone.bytes().all(is_plain);
    named && address.parse::<Ipv6Addr>().is_ok()
}

/// Is the text a host name that a resolver accepts, or an IPv4 address of four decimal numbers?
fn is_host(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let plain = label
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        plain && (1..=63).contains(&label.len()) && !label.starts_with('-')
    };
    // Resolvers interpret texts such as `1.2` and `300` as IPv4 addresses, see inet_aton(3).
    let is_numeric = name
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if is_numeric {
        return text.parse::<Ipv4Addr>().is_ok();
    }
    name.len() <= HOST_MAX_BYTES && name.split('.').all(is_label)
}
