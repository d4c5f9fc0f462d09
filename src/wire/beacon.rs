//! The datagram by which a program is found. Unsigned: it leads to a dial, and only the handshake proves who is there.
use chacha20poly1305::aead::Aead;
use chacha20poly1305::{Key, KeyInit, XChaCha20Poly1305, XNonce};
use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use serde::{Deserialize, Serialize};

use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::{Nick, Room};
use crate::base::time::Wall;

/// Longest beacon, in bytes; longer datagrams are foreign.
pub const BEACON_MAX: usize = 1200;
/// Most rooms that one names: with the longest name, and sealed, they still fit.
pub const ROOMS_NAMED: usize = 40;
const NONCE: usize = 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Here I am.
    Discover,
    /// I am gone: withdraws the sighting, never a link.
    Leave,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Beacon {
    pub kind: Kind,
    pub peer: PeerId,
    pub nick: Nick,
    /// Where the program listens, at the address the datagram comes from.
    pub port: u16,
    pub run: u64,
    /// Milliseconds to the next one.
    pub interval: u64,
    pub timestamp: Wall,
    /// A program that comes and goes unannounced.
    pub passing: bool,
    /// The sender's rooms, see [`room_mark`]; at most [`ROOMS_NAMED`].
    pub rooms: Vec<u32>,
    /// It is in more rooms than these, or does not say in which.
    pub more: bool,
}

/// How a room is named in a beacon: 32 bits of a hash, other ones in each run. Who knows the room's name sees who may be in it; only the link tells for sure.
pub fn room_mark(network: &NetworkTag, run: u64, room: &Room) -> u32 {
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
struct Clear {
    #[serde(rename = "type")]
    kind: Kind,
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
    #[serde(default = "yes")]
    more: bool,
    #[serde(default)]
    passing: bool,
}

fn yes() -> bool {
    true
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    #[serde(rename = "type")]
    kind: String,
    network: String,
    sealed: String,
}

impl Beacon {
    /// `key`: of a closed network, in which everything but the tag is sealed under `nonce`, 24 fresh random bytes.
    pub fn bytes(
        &self,
        network: &NetworkTag,
        key: Option<&[u8; 32]>,
        nonce: &[u8; NONCE],
    ) -> Vec<u8> {
        let clear = Clear {
            kind: self.kind,
            peer_id: self.peer,
            username: self.nick.to_string(),
            port: self.port,
            timestamp: self.timestamp.to_string(),
            network: network.to_string(),
            run: format!("{:016x}", self.run),
            interval: self.interval,
            rooms: self
                .rooms
                .iter()
                .map(|room| format!("{room:08x}"))
                .collect(),
            more: self.more,
            passing: self.passing,
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
        let sealed = Sealed {
            kind: "sealed".into(),
            network: HEXLOWER.encode(&network.0),
            sealed: BASE64URL_NOPAD.encode(&sealed),
        };
        serde_json::to_vec(&sealed).unwrap_or_default()
    }

    /// `None`: foreign, forged, or of another network.
    pub fn parse(bytes: &[u8], network: &NetworkTag, key: Option<&[u8; 32]>) -> Option<Beacon> {
        if bytes.len() > BEACON_MAX {
            return None;
        }
        let clear: Clear = match key {
            None => serde_json::from_slice(bytes).ok()?,
            Some(key) => {
                let outer: Sealed = serde_json::from_slice(bytes).ok()?;
                if outer.kind != "sealed" || outer.network != network.to_string() {
                    return None;
                }
                let sealed = BASE64URL_NOPAD.decode(outer.sealed.as_bytes()).ok()?;
                let (nonce, sealed) = sealed.split_at_checked(NONCE)?;
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
            nick: Nick::foreign(&clear.username),
            port: clear.port,
            run: u64::from_str_radix(&clear.run, 16).ok()?,
            interval: clear.interval,
            timestamp: Wall::parse(&clear.timestamp).unwrap_or_default(),
            passing: clear.passing,
            rooms: marks(&clear.rooms),
            more: clear.more,
        })
    }
}

fn marks(hex: &str) -> Vec<u32> {
    let bytes = HEXLOWER.decode(hex.as_bytes()).unwrap_or_default();
    let (marks, _) = bytes.as_chunks::<4>();
    let named = marks.iter().take(ROOMS_NAMED);
    named.map(|mark| u32::from_be_bytes(*mark)).collect()
}
