//! One unfinished handshake and its stages.
use std::cell::OnceCell;
use std::net::{IpAddr, SocketAddr};

use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::author_clocks::SentClocks;
use crate::node::connection::duplicate_identity::DeferredHandshake;
use crate::node::link::{HearsUs, LeftRooms, Link};
use crate::node::profile_state::LinkProfile;
use crate::node::standing::source_of;
use crate::wire::channel::Channel;
use crate::wire::message::Hello;
use crate::wire::noise::Handshake;

/// Milliseconds that a dial may take. The handshake after the dial may take the same time.
pub(super) const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;

/// How long we expect a link from a new peer or a new handshake, in milliseconds. Most links are up
/// within a few milliseconds. `send` waits for expected links, so this time must be short.
pub const LINK_EXPECTED_MS: u64 = 2_000;
/// An address, and optionally the only peer that may answer there.
#[derive(Clone, Copy)]
pub struct DialTarget {
    /// The address to dial. On an accepted stream, the address of the other side.
    pub address: SocketAddr,
    /// The index of the interface over which to dial. `None`: the routes of the host decide.
    pub interface: Option<u32>,
    /// The only peer accepted, or `None` to accept any peer.
    pub expected_peer: Option<PeerId>,
    /// Whether a link is likely. Nobody waits for dials of addresses that no beacon and no user
    /// has named.
    pub is_expected: bool,
}

pub(super) enum HandshakeStage {
    /// The TCP connection is not established yet.
    Dialing,
    /// The Noise handshake is under way.
    Noise {
        handshake: Handshake,
        /// True if we dialed, or if the other side has sent a valid first message.
        has_valid_start: bool,
    },
    /// The Noise handshake has proven both keys. The peer's hello has not arrived yet.
    AwaitingHello {
        channel: Channel,
        is_hello_sent: bool,
    },
    /// Another run of the peer is linked. The handshake waits until a ping shows whether that run
    /// is alive.
    Deferred(DeferredHandshake),
}

pub(super) struct PendingHandshake {
    pub(super) stage: HandshakeStage,
    pub(super) target: DialTarget,
    pub(super) started_at: Time,
    /// When the handshake times out. At this time a [`HandshakeStage::Deferred`] handshake replaces
    /// the link to the peer's other run, or is closed.
    pub(super) deadline: Time,
}

impl PendingHandshake {
    /// Where the stream comes from or leads to.
    pub(super) fn source(&self) -> IpAddr {
        source_of(self.target.address.ip())
    }

    /// Whether the handshake is likely to become a link soon. An accepted stream counts only after
    /// a valid first message.
    pub(super) fn is_expected(&self, now: Time) -> bool {
        let is_new = self.started_at + LINK_EXPECTED_MS > now;
        self.target.is_expected && self.has_valid_start() && is_new
    }

    /// Whether it may become a link. A dial that nobody has accepted is no handshake yet.
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.stage, HandshakeStage::Dialing) && self.has_valid_start()
    }

    /// Whether we dialed, or the other side has sent a valid first message.
    fn has_valid_start(&self) -> bool {
        match self.stage {
            HandshakeStage::Noise {
                has_valid_start, ..
            } => has_valid_start,
            _ => true,
        }
    }

    /// Whether the other side dialed, and has sent nothing yet.
    pub(super) fn is_at_start(&self) -> bool {
        match &self.stage {
            HandshakeStage::Noise {
                handshake,
                has_valid_start,
            } => !has_valid_start && !handshake.has_begun(),
            _ => false,
        }
    }

    /// Turns the handshake into a link to the sender of this hello. Returns `None` before the keys
    /// are proven.
    pub(super) fn into_link(self, stream: StreamId, hello: Hello, now: Time) -> Option<Link> {
        let (HandshakeStage::AwaitingHello { channel, .. }
        | HandshakeStage::Deferred(DeferredHandshake { channel, .. })) = self.stage
        else {
            return None;
        };
        let mut address = self.target.address;
        if !stream.is_dialed() {
            address.set_port(hello.port);
        }
        Some(Link {
            peer: Peer {
                id: hello.sender,
                nick: Nick::new_or_placeholder(&hello.username),
            },
            verifying_key: OnceCell::new(),
            run: hello.run,
            transient: hello.passing,
            is_ephemeral: hello.ephemeral,
            understands_members_digests: hello.members_digests,
            address,
            dialed_address: stream.is_dialed().then_some(address),
            mapped: None,
            handshake_started_at: self.started_at,
            established_at: now,
            away: None,
            hears_us: HearsUs::default(),
            profile: LinkProfile::default(),
            last_activity: now,
            pending_ping: None,
            probes_left: 0,
            rtt_ms: None,
            room_hashes: hello.rooms.into_iter().collect(),
            shared_rooms: SortedSet::new(),
            left_rooms: LeftRooms::default(),
            routes: SortedMap::new(),
            members_digests_sent: SortedSet::new(),
            members_requested: SortedMap::new(),
            clocks_sent: SentClocks::default(),
            introduced_until: Time(0),
            last_offer_sent: None,
            is_blocked: false,
            channel,
            send_buffer: Vec::new(),
        })
    }
}
