//! An established link: the peer at the other end, the encrypted channel, and the state of both.
use std::cell::OnceCell;
use std::net::SocketAddr;

use ed25519_dalek::VerifyingKey;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::presence::away::AwayText;
use crate::base::rate_limiter::RateLimiter;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::author_clocks::SentClocks;
use crate::node::profile_state::LinkProfile;
use crate::wire::channel::Channel;
use crate::wire::frame::{self, FrameKind};

/// Maximum number of bytes in the send buffer of a blocked link. More bytes mean that the peer
/// requests answers without reading them. The link is then closed.
const SEND_BUFFER_MAX_BYTES: usize = 256 * 1024;
/// How many times in a row a peer may enter rooms again that it has left on this link. Each time
/// costs us a list of members and logs.
const ROOM_REENTRIES_MAX: u64 = 16;
/// Milliseconds after which a peer may enter rooms again once more.
const ROOM_REENTRY_INTERVAL_MS: u64 = 2_000;

/// How a member of a room is reachable through a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The member's name, as the neighbour advertised it.
    pub nick: Nick,
    /// The member's run.
    pub run: u64,
    /// Number of links from the neighbour to the member, at least 1.
    pub hops: u8,
    /// The route is ignored before this time, the end of the member's hold-down.
    pub valid_from: Time,
}

impl Route {
    /// Whether the member's hold-down has passed, or the member had none.
    pub fn is_valid(&self, now: Time) -> bool {
        self.valid_from <= now
    }
}

/// A ping that has no answer yet.
#[derive(Clone, Copy, Debug)]
pub struct PendingPing {
    /// The number that the answer must repeat.
    pub nonce: u64,
    /// When the ping was sent.
    pub sent_at: Time,
}

/// Whether a peer hears our beacons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HearsUs {
    /// We have not asked.
    #[default]
    NotAsked,
    /// The peer has not answered. Earlier versions never do.
    Asked,
    /// The last one arrived this many milliseconds before the peer answered.
    Yes(u64),
    /// It knows none.
    No,
}

/// The joined rooms that a peer has left on a link, and how often it has entered such rooms again.
pub struct LeftRooms {
    rooms: SortedSet<Room>,
    reentries: RateLimiter,
}

impl Default for LeftRooms {
    fn default() -> LeftRooms {
        LeftRooms {
            rooms: SortedSet::new(),
            reentries: RateLimiter::new(ROOM_REENTRY_INTERVAL_MS),
        }
    }
}

impl LeftRooms {
    /// The rooms.
    pub fn iter(&self) -> impl Iterator<Item = &Room> {
        self.rooms.iter()
    }

    /// Replaces the rooms by `left`. `present`: the rooms in which the peer now is. Returns
    /// `false`, without any effect, if the peer enters rooms again too often.
    pub fn update(&mut self, now: Time, left: SortedSet<Room>, present: &SortedSet<Room>) -> bool {
        if self.rooms.iter().any(|room| present.contains(room)) {
            self.reentries.drain(now);
            if self.reentries.level() >= ROOM_REENTRIES_MAX {
                return false;
            }
            self.reentries.add();
        }
        self.rooms = left;
        true
    }
}

/// An established, authenticated link to one peer.
pub struct Link {
    /// The peer's key, proven by the handshake, and the name that the peer claims.
    pub peer: Peer,
    /// The peer's key, decoded by the first verification for all: many peers never say anything.
    /// It can be decoded, as the handshake has done so.
    pub verifying_key: OnceCell<Option<VerifyingKey>>,
    /// The peer's run.
    pub run: u64,
    /// The peer's program leaves by itself soon.
    pub transient: bool,
    /// The peer says that its key ends with its program (`--ephemeral`).
    pub is_ephemeral: bool,
    /// The peer understands
    /// [`Message::MembersDigest`](crate::wire::message::Message::MembersDigest).
    pub understands_members_digests: bool,
    /// Why the peer's user is away. `None`: it is not, as far as the peer has said.
    pub away: Option<AwayText>,
    /// The address at which the peer can be dialed, with the port on which the peer listens.
    pub address: SocketAddr,
    /// The address at which our last dial reached the peer. `None` if only the peer dialed. The
    /// port of [`Link::address`] may then be false.
    pub dialed_address: Option<SocketAddr>,
    /// The address that a gateway maps to the peer, as it says, and when it first said so.
    pub mapped: Option<(SocketAddr, Time)>,
    /// When the handshake began. If our name or rooms changed since then, our hello may lack the
    /// change.
    pub handshake_started_at: Time,
    /// When the handshake was finished.
    pub established_at: Time,
    /// When bytes of the link, or a beacon of the peer's run, last arrived.
    pub last_activity: Time,
    /// The ping that has no answer yet.
    pub pending_ping: Option<PendingPing>,
    /// How many pings the peer must still answer before we know what it holds: see
    /// [`liveness::probe_all`](crate::node::connection::liveness::probe_all).
    pub probes_left: u8,
    /// Round-trip time of the last answered ping, in milliseconds.
    pub rtt_ms: Option<u64>,
    /// Whether the peer hears our beacons.
    pub hears_us: HearsUs,
    /// What the link has brought and sent of profiles.
    pub profile: LinkProfile,
    /// The peer's rooms, as hashes keyed with the handshake: see
    /// [`room_hash`](crate::wire::message::room_hash).
    pub room_hashes: SortedSet<String>,
    /// The rooms that both this program and the peer have joined.
    pub shared_rooms: SortedSet<Room>,
    /// The rooms that the peer has left on this link.
    pub left_rooms: LeftRooms,
    /// The members of each shared room that the peer can reach.
    pub routes: SortedMap<Room, SortedMap<PeerId, Route>>,
    /// The rooms of which the peer may request our linked members: we have sent their digest since
    /// its last request.
    pub members_digests_sent: SortedSet<Room>,
    /// When we requested the peer's linked members of a room. The next `members` answers.
    pub members_requested: SortedMap<Room, Time>,
    /// The clocks of authors that were sent on the link.
    pub clocks_sent: SentClocks,
    /// Peers that were linked before this time have been introduced on the link.
    pub introduced_until: Time,
    /// When a changed log was last offered on the link.
    pub last_offer_sent: Option<Time>,
    /// The socket accepts no more bytes for now.
    pub is_blocked: bool,
    /// Encrypts sent frames. Decrypts received bytes and splits them into frames.
    pub channel: Channel,
    /// Frames that are not encrypted yet.
    pub send_buffer: Vec<u8>,
}

impl Link {
    /// Whether the peer signed this batch.
    pub fn has_signed(&self, batch: &Batch) -> bool {
        let key = self
            .verifying_key
            .get_or_init(|| self.peer.id.verifying_key());
        key.as_ref().is_some_and(|key| batch.verify(key))
    }

    /// Whether the peer should receive lines to this target.
    pub fn is_recipient_of(&self, target: &Target) -> bool {
        match target {
            Target::Room(room) => self.shared_rooms.contains(room),
            Target::Peer(recipient) => self.peer.id == *recipient,
        }
    }

    /// Whether lines to this target are sent to the peer. A send-only peer gets no lines of rooms.
    pub fn receives(&self, target: &Target) -> bool {
        self.is_recipient_of(target) && (target.room().is_none() || !self.is_send_only())
    }

    /// Whether nobody will ever read lines of rooms at the peer: its program leaves by itself soon,
    /// and stores nothing for a later run.
    pub fn is_send_only(&self) -> bool {
        self.transient && self.is_ephemeral
    }

    /// Whether our hello may lack a change of our rooms or name that happened at `changed_at`.
    pub fn has_missed_change(&self, changed_at: Time) -> bool {
        self.handshake_started_at <= changed_at
    }

    /// Appends a frame to the send buffer.
    pub fn queue_frame(&mut self, kind: FrameKind, payload: &[u8]) {
        frame::write_frame(kind, payload, &mut self.send_buffer);
    }

    /// Whether the link is blocked and its send buffer holds more than 256 KiB. The peer then
    /// requests answers without reading them.
    pub fn has_overflowed(&self) -> bool {
        self.is_blocked && self.send_buffer.len() > SEND_BUFFER_MAX_BYTES
    }

    /// Encrypts the send buffer and empties it. Returns `None` if the buffer is empty or the
    /// encryption fails.
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

/// Identifies one log on one link. Replication uses it as the key of its tables. Sorted by link,
/// then by log.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkLog {
    /// The stream of the link.
    pub stream: StreamId,
    /// The log.
    pub log: LogId,
}

impl LinkLog {
    /// The key for this log on this link.
    pub fn new(stream: StreamId, log: &LogId) -> LinkLog {
        LinkLog {
            stream,
            log: log.clone(),
        }
    }
}
