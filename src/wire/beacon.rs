//! The datagram by which a program is found. Unsigned: it leads to a dial, and only the handshake proves who is there.
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::{Nick, Room};
use crate::base::time::WallTime;

/// Longest beacon, in bytes; longer datagrams are foreign.
pub const BEACON_MAX_BYTES: usize = 1200;
/// Most rooms that one names: with the longest name, and sealed, they still fit.
pub const BEACON_ROOMS_MAX: usize = 40;
const NONCE_BYTES: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BeaconKind {
    /// Here I am.
    Discover,
    /// I am gone: withdraws the sighting, never a link.
    Leave,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Beacon {
    pub kind: BeaconKind,
    pub peer: PeerId,
    pub nick: Nick,
    /// Where the program listens, at the address the datagram comes from.
    pub port: u16,
    pub run: u64,
    /// Milliseconds to the next one.
    pub interval_ms: u64,
    pub timestamp: WallTime,
    /// A program that comes and goes unannounced.
    pub transient: bool,
    /// The sender's rooms, see [`room_mark`]; at most [`ROOMS_NAMED`].
    pub room_hashes: Vec<u32>,
    /// It is in more rooms than these, or does not say in which.
    pub has_more_rooms: bool,
}

/// How a room is named in a beacon: 32 bits of a hash, other ones in each run. Who knows the room's name sees who may be in it; only the link tells for sure.
pub fn room_hash(network: &NetworkTag, run: u64, room: &Room) -> u32 {
    let room = room.as_str().as_bytes();
    let Hash(hash) = Hash::of(&[
        b"p2pchat beacon room\0",
        &network.0,
        &run.to_be_bytes(),
        room,
    ]);
    u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]])
}

#[derive(Serialize, Deserialize)]
struct BeaconFields {
    #[serde(rename = "type")]
    kind: BeaconKind,
    peer_id: PeerId,
    username: String,
    port: u16,
    timestamp: String,
    #[serde(default)]
    network: String,
    run: String,
    interval: u64,
    /// Eight hex digits each.
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
    network: String,
    sealed: String,
}

impl Beacon {
    /// `key`: of a closed network, in which everything but the tag is sealed under `nonce`, 24 fresh random bytes.
    pub fn encode(
        &self,
        network: &NetworkTag,
        key: Option<&[u8; 32]>,
        nonce: &[u8; NONCE_BYTES],
    ) -> Vec<u8> {
        let clear = BeaconFields {
            kind: self.kind,
            peer_id: self.peer,
            username: self.nick.to_string(),
            port: self.port,
            timestamp: self.timestamp.to_string(),
            network: network.to_string(),
            run: format!("{:016x}", self.run),
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
        let mut sealed = nonce.to_vec();
        sealed.extend(
            cipher
                .encrypt(XNonce::from_slice(nonce), &clear[..])
                .unwrap_or_default(),
        );
        let sealed = SealedBeacon {
            kind: "sealed".into(),
            network: HEXLOWER.encode(&network.0),
            sealed: BASE64URL_NOPAD.encode(&sealed),
        };
        serde_json::to_vec(&sealed).unwrap_or_default()
    }

    /// `None`: foreign, forged, or of another network.
    pub fn parse(bytes: &[u8], network: &NetworkTag, key: Option<&[u8; 32]>) -> Option<Beacon> {
        if bytes.len() > BEACON_MAX_BYTES {
            return None;
        }
        let clear: BeaconFields = match key {
            None => serde_json::from_slice(bytes).ok()?,
            Some(key) => {
                let outer: SealedBeacon = serde_json::from_slice(bytes).ok()?;
                if outer.kind != "sealed" || outer.network != network.to_string() {
                    return None;
                }
                let sealed = BASE64URL_NOPAD.decode(outer.sealed.as_bytes()).ok()?;
                let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES)?;
                let cipher = XChaCha20Poly1305::new(Key::from_slice(key));
                serde_json::from_slice(&cipher.decrypt(XNonce::from_slice(nonce), sealed).ok()?)
                    .ok()?
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
            run: u64::from_str_radix(&clear.run, 16).ok()?,
            interval_ms: clear.interval,
            timestamp: WallTime::parse(&clear.timestamp).unwrap_or_default(),
            transient: clear.passing,
            room_hashes: parse_room_hashes(&clear.rooms),
            has_more_rooms: clear.more,
        })
    }
}

fn parse_room_hashes(hex: &str) -> Vec<u32> {
    let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap_or_default();
    let (marks, _) = bytes.as_chunks::<4>();
    let named = marks.iter().take(BEACON_ROOMS_MAX);
    named.map(|mark| u32::from_be_bytes(*mark)).collect()
}
