//! The value of `--scan`: which addresses to try.
use std::ffi::OsStr;
use std::fmt;
use std::net::Ipv4Addr;

use crate::shell::config::failure::quote_truncated;
use crate::wire::code::DEFAULT_PORT;

/// Shortest network prefix that may be scanned, in bits: 65 536 addresses take 22 minutes.
const SCAN_PREFIX_MIN_BITS: u8 = 16;

/// Addresses to try, and the TCP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanTarget {
    /// The subnet, by its first address and the length of its prefix in bits. `None`: the subnets
    /// of our interfaces.
    pub subnet: Option<(Ipv4Addr, u8)>,
    /// The port.
    pub port: u16,
}

impl ScanTarget {
    /// Parses `own`, or a subnet as `10.0.0.0/24`, each perhaps with `:PORT`.
    ///
    /// # Errors
    /// The value is neither, or the subnet is too large. The sentence says so.
    pub fn parse(value: &OsStr) -> Result<ScanTarget, String> {
        let text = value.to_str().unwrap_or_default();
        let (subnet, port) = match text.split_once(':') {
            Some((subnet, port)) => (subnet, port.parse().ok().filter(|port| *port != 0)),
            None => (text, Some(DEFAULT_PORT)),
        };
        let parsed = match subnet {
            "own" => Some(None),
            _ => parse_subnet(subnet).map(Some),
        };
        let shown = quote_truncated(&value.to_string_lossy());
        match (parsed, port) {
            (Some(Some((_, bits))), _) if bits < SCAN_PREFIX_MIN_BITS => Err(format!(
                "{shown} is too large: at most a /{SCAN_PREFIX_MIN_BITS} is scanned"
            )),
            (Some(subnet), Some(port)) => Ok(ScanTarget { subnet, port }),
            _ => Err(format!(
                "{shown} is neither `own` nor a subnet, as 10.0.0.0/24 or 10.0.0.0/24:9999"
            )),
        }
    }
}

impl fmt::Display for ScanTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subnet {
            Some((address, bits)) => write!(f, "{address}/{bits}:{}", self.port),
            None => write!(f, "own:{}", self.port),
        }
    }
}

fn parse_subnet(text: &str) -> Option<(Ipv4Addr, u8)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits): (Ipv4Addr, u8) = (address.parse().ok()?, bits.parse().ok()?);
    (bits <= 32).then(|| (first_address(address, bits), bits))
}

/// The first address of the subnet with this prefix to which an address belongs.
pub fn first_address(address: Ipv4Addr, prefix_bits: u8) -> Ipv4Addr {
    let host_bits = 32_u32.saturating_sub(prefix_bits.into());
    let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
    Ipv4Addr::from(u32::from(address) & mask)
}
