//! One link that stands: whom it leads to, its cipher, and what waits to be written.
use std::net::SocketAddr;

use ed25519_dalek::VerifyingKey;

use crate::base::event::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::wire::frame::{self, FrameDecoder, FrameKind};
use crate::wire::noise::Transport;

/// Bytes that may wait on a link whose socket takes no more. Batches never wait here; a peer that makes more than this of answers necessary is cut off.
const SEND_BUFFER_MAX_BYTES: usize = 256 * 1024;

/// A member of a room that can be reached through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub nick: Nick,
    pub run: u64,
    /// Links to it from the one whom this link leads to.
    pub hops: u8,
    /// From then on it counts: news of somebody who was just lost may be old.
    pub valid_from: Time,
}

pub struct Link {
    pub peer: Peer,
    /// The peer's key, ready to verify with.
    pub verifying_key: VerifyingKey,
    /// Of the peer's program.
    pub run: u64,
    /// Milliseconds by which the peer's program is older than ours.
    pub start_offset_ms: i64,
    /// A program that comes and goes unannounced.
    pub transient: bool,
    pub address: SocketAddr,
    /// When its handshake began: what changed here since then, the hello may not have said.
    pub handshake_started_at: Time,
    pub established_at: Time,
    /// When there was last a sign of life.
    pub last_activity: Time,
    /// When it last got a receipt.
    pub last_receipt_sent: Option<Time>,
    /// A ping that has no answer yet.
    pub pending_ping: Option<(u64, Time)>,
    /// Milliseconds of the last ping's way there and back.
    pub rtt_ms: Option<u64>,
    /// The peer's rooms, as marks.
    pub room_hashes: SortedSet<String>,
    /// The rooms shared with it.
    pub shared_rooms: SortedSet<Room>,
    /// Whom it can reach in each shared room.
    pub routes: SortedMap<Room, SortedMap<PeerId, Route>>,
    /// Rooms of which it was answered at once what others' lines are held.
    pub digest_answered: SortedSet<Room>,
    /// When it was last offered a log of somebody else.
    pub last_offer_sent: Option<Time>,
    /// The socket takes no more for now.
    pub is_blocked: bool,
    pub transport: Box<Transport>,
    pub frame_decoder: FrameDecoder,
    pub send_buffer: Vec<u8>,
}

impl Link {
    /// Is what is said to this target for this peer?
    pub fn is_recipient_of(&self, target: &Target) -> bool {
        match target {
            Target::Room(room) => self.shared_rooms.contains(room),
            Target::Peer(reader) => self.peer.id == *reader,
        }
    }

    pub fn queue_frame(&mut self, kind: FrameKind, payload: &[u8]) {
        frame::write_frame(kind, payload, &mut self.send_buffer);
    }

    /// Too much waits: the peer asks, and does not read the answers.
    pub fn has_overflowed(&self) -> bool {
        self.is_blocked && self.send_buffer.len() > SEND_BUFFER_MAX_BYTES
    }

    /// What waits, sealed. `None` if nothing does, or the cipher is used up.
    pub fn seal_send_buffer(&mut self) -> Option<Vec<u8>> {
        if self.send_buffer.is_empty() {
            return None;
        }
        let plain = std::mem::take(&mut self.send_buffer);
        let mut sealed = Vec::with_capacity(plain.len() + 64);
        self.transport.seal(&plain, &mut sealed).ok()?;
        Some(sealed)
    }
}
