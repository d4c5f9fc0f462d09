//! What a program announces by multicast DNS: its service type, its instance, and the properties of
//! its TXT record.
use crate::base::domain;
use crate::base::event::peer::Peer;
use crate::base::hex;
use crate::base::identity::{Hash, PeerId};

/// The service type (RFC 6763), with its domain.
pub const SERVICE_TYPE: &str = "_p2pchat._tcp.local.";
/// The property with the id of the peer, in the open network.
pub const ID_KEY: &str = "id";
/// The property with the salt and the proof of a closed network.
pub const NETWORK_KEY: &str = "net";
/// Maximum number of bytes of an instance, which is a DNS label (RFC 1035).
const INSTANCE_MAX_BYTES: usize = 63;

/// Who announces a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcer {
    /// A program of our network that names its peer.
    Peer(PeerId),
    /// A program that may belong to our network, and names no peer.
    Unnamed,
    /// A program of another network, or none that we know.
    Foreign,
}

/// The one property of our TXT record. In the open network, it names the peer. In a closed one,
/// whose key for beacons is given, it shows only to members that the program is one. An outsider
/// cannot tell that two salts belong to one program, or to one network.
pub fn property(own: PeerId, beacon_key: Option<&[u8; 32]>, salt: u64) -> (&'static str, String) {
    match beacon_key {
        None => (ID_KEY, own.to_string()),
        Some(key) => {
            let text = hex::format(salt) + &hex::format(proof(key, salt));
            (NETWORK_KEY, text)
        }
    }
}

/// The instance of our service. In the open network, it is our name, and the beginning of our id.
/// In a closed one, it is a random number of this run.
pub fn instance(own: &Peer, is_closed: bool, salt: u64) -> String {
    if is_closed {
        return hex::format(salt);
    }
    let end = format!("~{}", own.id.short());
    let mut instance = own.nick.to_string();
    while instance.len() + end.len() > INSTANCE_MAX_BYTES {
        instance.pop();
    }
    instance + &end
}

/// Reads the properties of a TXT record. `beacon_key` is the key of our network, if it is closed.
pub fn announcer(
    id: Option<&[u8]>,
    network: Option<&[u8]>,
    beacon_key: Option<&[u8; 32]>,
) -> Announcer {
    match (network, id, beacon_key) {
        (None, None, _) => Announcer::Unnamed,
        (None, Some(id), None) => {
            let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
            id.map_or(Announcer::Foreign, Announcer::Peer)
        }
        (Some(network), _, Some(key)) if is_proven(network, key) => Announcer::Unnamed,
        _ => Announcer::Foreign,
    }
}

fn is_proven(network: &[u8], key: &[u8; 32]) -> bool {
    let numbers = std::str::from_utf8(network).ok().and_then(|text| {
        let (salt, proof) = text.split_at_checked(text.len() / 2)?;
        Some((hex::parse(salt)?, hex::parse(proof)?))
    });
    numbers.is_some_and(|(salt, claimed)| proof(key, salt) == claimed)
}

/// The first 8 bytes of a hash over the key and the salt.
fn proof(key: &[u8; 32], salt: u64) -> u64 {
    let hash = Hash::of(&[domain::MDNS_PROOF, key, &salt.to_be_bytes()]);
    hash.0
        .iter()
        .take(8)
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}
