//! The beacon: the datagram by which peers discover each other. Beacons are unsigned. A receiver
//! dials the sender, and only the handshake proves the sender's key.
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};

use crate::base::domain;
use crate::base::hex;
use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::{Nick, Room};
use crate::base::text::rfc4648::{BASE64URL_NOPAD, HEXLOWER};
use crate::wire::message::parse_json;

/// Longest beacon, in bytes. Such a beacon fits into one Ethernet frame. Longer datagrams are
/// ignored.
pub const BEACON_MAX_BYTES: usize = 1200;
/// Maximum number of rooms in one beacon. A sealed beacon with this many rooms and the longest
/// name still fits into [`BEACON_MAX_BYTES`].
pub const BEACON_ROOMS_MAX: usize = 40;
const NONCE_BYTES: usize = 24;

/// What a beacon announces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BeaconKind {
    /// The sender accepts connections and is in the listed rooms.
    Discover,
    /// The sender's program ends. Receivers forget the sender's address. They keep established
    /// links, because anybody can forge a beacon.
    Leave,
}

/// The content of a beacon.
#[derive(Clone, Debug, PartialEq)]
pub struct Beacon {
    /// What the beacon announces.
    pub kind: BeaconKind,
    /// The key that the sender claims.
    pub peer: PeerId,
    /// The name that the sender claims.
    pub nick: Nick,
    /// The TCP port on which the sender listens. The IP address is the source address of the
    /// datagram.
    pub port: u16,
    /// A random number that identifies the sender's process.
    pub run: u64,
    /// The number of the beacon in its run, from 1. In a closed network, a receiver can tell a
    /// replayed beacon by it.
    pub counter: u64,
    /// Milliseconds until the sender's next beacon.
    pub interval_ms: u64,
    /// Is the sender a transient peer?
    pub transient: bool,
    /// One [`room_hash`] for each listed room. At most [`BEACON_ROOMS_MAX`].
    pub room_hashes: Vec<u32>,
    /// Is the sender in more rooms than the beacon lists?
    pub has_more_rooms: bool,
}

/// A 32-bit hash of a room, for beacons. It is different in each run of the sender. A receiver
/// computes the hashes of its own rooms, and compares them with those in the beacon. A match is
/// only a hint, because beacons are unsigned and short hashes can coincide.
pub fn room_hash(network: &NetworkTag, run: u64, room: &Room) -> u32 {
    let room = room.as_str().as_bytes();
    let Hash(hash) = Hash::of(&[domain::BEACON_ROOM, &network.0, &run.to_be_bytes(), room]);
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

#[derive(Serialize, Deserialize)]
struct BeaconFields {
    #[serde(rename = "type")]
    kind: BeaconKind,
    peer_id: PeerId,
    username: String,
    port: u16,
    #[serde(default)]
    network: String,
    run: String,
    #[serde(default)]
    counter: u64,
    interval: u64,
    /// The concatenated room hashes, eight hex digits each.
    #[serde(default)]
    rooms: String,
    #[serde(default = "default_true")]
    more: bool,
    #[serde(default)]
    passing: bool,
}

fn default_true() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
struct SealedBeacon {
    #[serde(rename = "type")]
    kind: String,
    sealed: String,
}

impl Beacon {
    /// Encodes the beacon as JSON. In a closed network, `key` is the beacon key. Everything is then
    /// encrypted (XChaCha20-Poly1305), so an observer cannot tell one box or network from another.
    ///
    /// The nonce is a hash of `random`, 24 random bytes, and of the content. Two machines cloned
    /// while they run repeat their random bytes, but no nonce for different contents.
    pub fn encode(
        &self,
        network: &NetworkTag,
        key: Option<&[u8; 32]>,
        random: &[u8; NONCE_BYTES],
    ) -> Vec<u8> {
        let clear = BeaconFields {
            kind: self.kind,
            peer_id: self.peer,
            username: self.nick.to_string(),
            port: self.port,
            network: network.to_string(),
            run: hex::format(self.run),
            counter: self.counter,
            interval: self.interval_ms,
            rooms: self
                .room_hashes
                .iter()
                .map(|room| format!("{room:08x}"))
                .collect(),
            more: self.has_more_rooms,
            passing: self.transient,
        };
        let clear = serde_json::to_vec(&clear).unwrap_or_default();
        let Some(key) = key else { return clear };
        let cipher = XChaCha20Poly1305::new(Key::from_slice(key));
        let Hash(nonce) = Hash::of(&[domain::BEACON_NONCE, random, &clear]);
        let nonce = &nonce[..NONCE_BYTES];
        let mut sealed = nonce.to_vec();
        sealed.extend(
            cipher
                .encrypt(XNonce::from_slice(nonce), &clear[..])
                .unwrap_or_default(),
        );
        let sealed = SealedBeacon {
            kind: "sealed".into(),
            sealed: BASE64URL_NOPAD.encode(&sealed),
        };
        serde_json::to_vec(&sealed).unwrap_or_default()
    }

    /// Parses a datagram. Returns `None` if it is no beacon, belongs to another network, or was
    /// not encrypted with `key`. An invalid room list counts as absent, because it is only a hint.
    pub fn parse(bytes: &[u8], network: &NetworkTag, key: Option<&[u8; 32]>) -> Option<Beacon> {
        if bytes.len() > BEACON_MAX_BYTES {
            return None;
        }
        let clear: BeaconFields = match key {
            None => parse_json(bytes)?,
            Some(key) => {
                let outer: SealedBeacon = parse_json(bytes)?;
                if outer.kind != "sealed" {
                    return None;
                }
                let sealed = BASE64URL_NOPAD.decode(outer.sealed.as_bytes())?;
                let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
                let cipher = XChaCha20Poly1305::new(Key::from_slice(key));
                parse_json(&cipher.decrypt(XNonce::from_slice(nonce), sealed).ok()?)?
            }
        };
        if clear.network != network.to_string() || clear.port == 0 {
            return None;
        }
        Some(Beacon {
            kind: clear.kind,
            peer: clear.peer_id,
            nick: Nick::new_or_placeholder(&clear.username),
            port: clear.port,
            run: hex::parse(&clear.run)?,
            counter: clear.counter,
            interval_ms: clear.interval,
            transient: clear.passing,
            room_hashes: parse_room_hashes(&clear.rooms),
            has_more_rooms: clear.more,
        })
    }
}

fn parse_room_hashes(hex: &str) -> Vec<u32> {
    let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap_or_default();
    let (hashes, _) = bytes.as_chunks::<4>();
    let hashes = hashes.iter().take(BEACON_ROOMS_MAX);
    hashes.map(|hash| u32::from_be_bytes(*hash)).collect()
}
