//! One link that stands: whom it leads to, its cipher, and what waits to be written.
use std::net::SocketAddr;

use ed25519_dalek::VerifyingKey;

use crate::base::event::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::wire::frame::{self, Kind, Reader};
use crate::wire::noise::Session;

/// Bytes that may wait on a link whose socket takes no more. Batches never wait here; a peer that makes more than this of answers necessary is cut off.
const PENDING_MAX: usize = 256 * 1024;

/// A member of a room that can be reached through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    pub nick: Nick,
    pub run: u64,
    /// Links to it from the one whom this link leads to.
    pub hops: u8,
    /// From then on it counts: news of somebody who was just lost may be old.
    pub from: Time,
}

pub struct Link {
    pub peer: Peer,
    /// The peer's key, ready to verify with.
    pub key: VerifyingKey,
    /// Of the peer's program.
    pub run: u64,
    /// Milliseconds by which the peer's program is older than ours.
    pub lead: i64,
    /// A program that comes and goes unannounced.
    pub passing: bool,
    pub address: SocketAddr,
    /// When its handshake began: what changed here since then, the hello may not have said.
    pub begun: Time,
    pub since: Time,
    /// When there was last a sign of life.
    pub heard: Time,
    /// When it last got a receipt.
    pub receipted: Option<Time>,
    /// A ping that has no answer yet.
    pub ping: Option<(u64, Time)>,
    /// Milliseconds of the last ping's way there and back.
    pub rtt: Option<u64>,
    /// The peer's rooms, as marks.
    pub marks: Set<String>,
    /// The rooms shared with it.
    pub rooms: Set<Room>,
    /// Whom it can reach in each shared room.
    pub reach: Table<Room, Table<PeerId, Reach>>,
    /// Rooms of which it was answered at once what others' lines are held.
    pub answered: Set<Room>,
    /// When it was last offered a log of somebody else.
    pub offered: Option<Time>,
    /// The socket takes no more for now.
    pub clogged: bool,
    pub session: Box<Session>,
    pub frames: Reader,
    pub pending: Vec<u8>,
}

impl Link {
    /// Is what is said to this target for this peer?
    pub fn shares(&self, target: &Target) -> bool {
        match target {
            Target::Room(room) => self.rooms.contains(room),
            Target::Peer(reader) => self.peer.id == *reader,
        }
    }

    pub fn queue(&mut self, kind: Kind, payload: &[u8]) {
        frame::write(kind, payload, &mut self.pending);
    }

    /// Too much waits: the peer asks, and does not read the answers.
    pub fn overflows(&self) -> bool {
        self.clogged && self.pending.len() > PENDING_MAX
    }

    /// What waits, sealed. `None` if nothing does, or the cipher is used up.
    pub fn seal(&mut self) -> Option<Vec<u8>> {
        if self.pending.is_empty() {
            return None;
        }
        let plain = std::mem::take(&mut self.pending);
        let mut sealed = Vec::with_capacity(plain.len() + 64);
        self.session.seal(&plain, &mut sealed).ok()?;
        Some(sealed)
    }
}
