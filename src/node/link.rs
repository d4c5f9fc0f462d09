//! An established link: the peer at its other end, its encrypted channel, and what is known of
//! both.
use std::net::SocketAddr;

use ed25519_dalek::VerifyingKey;

use crate::base::batch::LogId;
use crate::base::event::{Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::wire::channel::Channel;
use crate::wire::frame::{self, FrameKind};

/// Most bytes that wait on a blocked link. Only messages wait, batches stay in the store; a peer
/// that causes more answers than it reads loses its link.
const SEND_BUFFER_MAX_BYTES: usize = 256 * 1024;

/// A member of a room that is reachable through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The name that the neighbour passes on.
    pub nick: Nick,
    /// The member's run.
    pub run: u64,
    /// Links from the neighbour to the member, at least 1.
    pub hops: u8,
    /// Ignored before this time: the end of a hold-down, in which news of a lost member may be old.
    pub valid_from: Time,
}

impl Route {
    /// Its hold-down, if it had one, has passed.
    pub fn is_valid(&self, now: Time) -> bool {
        self.valid_from <= now
    }
}

/// A ping that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub struct PendingPing {
    /// The answer must repeat it.
    pub nonce: u64,
    /// When it was sent.
    pub sent_at: Time,
}

/// An established, authenticated link to one peer.
pub struct Link {
    /// Its key, proven by the handshake, and the name that it claims.
    pub peer: Peer,
    /// The peer's key, decoded once for all verifications.
    pub verifying_key: VerifyingKey,
    /// The random number of the peer's process.
    pub run: u64,
    /// Milliseconds by which the peer's process is older than ours; negative if it is younger.
    pub start_offset_ms: i64,
    /// The peer's program leaves by itself soon.
    pub transient: bool,
    /// Where the peer can be dialed: its address with the port on which it listens.
    pub address: SocketAddr,
    /// When its handshake began. The hello may lack what changed since: see
    /// [`Link::has_missed_change`].
    pub handshake_started_at: Time,
    /// When the handshake was finished.
    pub established_at: Time,
    /// When bytes of the link, or a beacon of the peer's run, last arrived.
    pub last_activity: Time,
    /// When an acknowledgement was last sent on it.
    pub last_receipt_sent: Option<Time>,
    /// The ping that has no answer yet.
    pub pending_ping: Option<PendingPing>,
    /// Round-trip time in milliseconds, by the last ping.
    pub rtt_ms: Option<u64>,
    /// The peer's rooms, hashed with the handshake: see
    /// [`room_hash`](crate::wire::message::room_hash).
    pub room_hashes: SortedSet<String>,
    /// The rooms in which both sides are.
    pub shared_rooms: SortedSet<Room>,
    /// The members of each shared room that the peer can reach.
    pub routes: SortedMap<Room, SortedMap<PeerId, Route>>,
    /// Rooms in which the first digest that differs was answered.
    pub digest_answered: SortedSet<Room>,
    /// When a log of another author was last offered on it.
    pub last_offer_sent: Option<Time>,
    /// Its socket takes no more bytes for now.
    pub is_blocked: bool,
    /// Cipher and framing.
    pub channel: Channel,
    /// Frames not encrypted yet.
    pub send_buffer: Vec<u8>,
}

impl Link {
    /// Whether lines to this target are for the peer.
    pub fn is_recipient_of(&self, target: &Target) -> bool {
        match target {
            Target::Room(room) => self.shared_rooms.contains(room),
            Target::Peer(recipient) => self.peer.id == *recipient,
        }
    }

    /// Our rooms or our name changed at that time, perhaps after the hello was sent.
    pub fn has_missed_change(&self, changed_at: Time) -> bool {
        self.handshake_started_at <= changed_at
    }

    /// Appends a frame to the send buffer.
    pub fn queue_frame(&mut self, kind: FrameKind, payload: &[u8]) {
        frame::write_frame(kind, payload, &mut self.send_buffer);
    }

    /// More than 256 KiB wait on a blocked link: the peer sends requests and does not read answers.
    pub fn has_overflowed(&self) -> bool {
        self.is_blocked && self.send_buffer.len() > SEND_BUFFER_MAX_BYTES
    }

    /// Encrypts and empties the send buffer. `None` if it is empty, or the cipher is used up.
    pub fn seal_send_buffer(&mut self) -> Option<Vec<u8>> {
        if self.send_buffer.is_empty() {
            return None;
        }
        let frames = std::mem::take(&mut self.send_buffer);
        let mut sealed = Vec::with_capacity(frames.len() + 64);
        self.channel.seal(&frames, &mut sealed).ok()?;
        Some(sealed)
    }
}

/// One log over one link: the key of everything that replication keeps per link and log. Sorted by
/// link first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkLog {
    /// The link.
    pub stream: StreamId,
    /// The log.
    pub log: LogId,
}

impl LinkLog {
    /// The key of this log over this link.
    pub fn new(stream: StreamId, log: &LogId) -> LinkLog {
        LinkLog {
            stream,
            log: log.clone(),
        }
    }
}
