//! Static peers: addresses from `--peer`, and the peer expected at each address.
use std::net::SocketAddr;

use crate::base::error_code::ErrorCode;
use crate::base::event::{FoundVia, Notice, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::candidates::Candidate;

/// Maximum number of static peers. Further addresses are ignored.
const STATIC_PEERS_MAX: usize = 64;

/// The peer expected at a static address.
#[derive(Clone, Copy)]
enum ExpectedPeer {
    /// No peer is known at the address yet.
    Any,
    /// The peer that answered last. Until a peer answers, this is the peer with which the address
    /// was added. A link to another peer is accepted as well.
    LastSeen(PeerId),
    /// The user named this peer. A link to any other peer is refused.
    Pinned(PeerId),
}

/// Whether a peer other than the pinned peer answered at an address, and whether the user was
/// warned.
enum Mismatch {
    None,
    /// This peer answered, and is not the pinned peer. The user is not warned yet.
    Seen(Peer),
    /// The user was warned. The warning is not repeated for this address.
    Reported,
}

/// An address that did not come from a beacon, such as one given with `--peer`.
pub struct StaticPeer {
    /// The address, and when it may be dialed.
    pub candidate: Candidate,
    /// The dial under way.
    pub dialing: Option<StreamId>,
    expected: ExpectedPeer,
    mismatch: Mismatch,
    /// The address is our own. It is never dialed again.
    pub is_self: bool,
}

impl StaticPeer {
    /// Whether the address needs a dial. The dial may still have to wait for its backoff. No dial
    /// is needed for our own address, for an address being dialed, or if the expected peer is
    /// linked.
    pub fn needs_dial(&self, ctx: &Context) -> bool {
        let is_linked = |peer: &PeerId| ctx.stream_by_peer.contains_key(peer);
        self.dialing.is_none() && !self.is_self && !self.peer().as_ref().is_some_and(is_linked)
    }

    /// The peer expected at this address, if one is known.
    pub fn peer(&self) -> Option<PeerId> {
        match self.expected {
            ExpectedPeer::Any => None,
            ExpectedPeer::LastSeen(peer) | ExpectedPeer::Pinned(peer) => Some(peer),
        }
    }

    /// The only peer that the user accepts at this address, if the user named one.
    pub fn pinned_peer(&self) -> Option<PeerId> {
        match self.expected {
            ExpectedPeer::Pinned(peer) => Some(peer),
            _ => None,
        }
    }

    /// Records that the dial to this address became a link to this peer.
    pub fn link_up(&mut self, peer: PeerId) {
        self.dialing = None;
        if self.pinned_peer().is_none() {
            self.expected = ExpectedPeer::LastSeen(peer);
        }
    }
}

/// Adds an address, unless it is known or the list is full. Returns whether the address was added.
/// A peer named by the user is pinned, even at a known address. A pin is never replaced.
pub fn add(
    static_peers: &mut Vec<StaticPeer>,
    address: SocketAddr,
    peer: Option<PeerId>,
    found_via: FoundVia,
) -> bool {
    let expected = match peer {
        Some(peer) if found_via == FoundVia::Static => ExpectedPeer::Pinned(peer),
        Some(peer) => ExpectedPeer::LastSeen(peer),
        None => ExpectedPeer::Any,
    };
    let known = static_peers
        .iter_mut()
        .find(|known| known.candidate.address == address);
    if let Some(known) = known {
        if matches!(expected, ExpectedPeer::Pinned(_)) && known.pinned_peer().is_none() {
            known.expected = expected;
        }
        return false;
    }
    let has_place = static_peers.len() < STATIC_PEERS_MAX;
    if has_place {
        static_peers.push(StaticPeer {
            candidate: Candidate::new(address, Time(0)),
            dialing: None,
            expected,
            mismatch: Mismatch::None,
            is_self: false,
        });
    }
    has_place
}

/// Records that this peer answered a dial, although another peer is pinned at the address.
pub fn record_mismatch(static_peers: &mut [StaticPeer], stream: StreamId, peer: Peer) {
    for static_peer in static_peers {
        if static_peer.dialing == Some(stream)
            && !matches!(static_peer.mismatch, Mismatch::Reported)
        {
            static_peer.mismatch = Mismatch::Seen(peer.clone());
        }
    }
}

/// Warns the user of each address where a peer other than the pinned peer answered. Gives no
/// warning while the pinned peer is linked. The warning waits until the dials to all addresses of
/// the pinned peer have failed. Until then, one of these addresses may still lead to that peer.
pub fn report_mismatches(static_peers: &mut [StaticPeer], ctx: &mut Context) {
    for i in 0..static_peers.len() {
        let Some(pinned) = static_peers[i]
            .pinned_peer()
            .filter(|id| !ctx.stream_by_peer.contains_key(id))
        else {
            continue;
        };
        let mut same = static_peers
            .iter()
            .filter(|other| other.pinned_peer() == Some(pinned));
        if same.any(|other| !other.candidate.backoff.has_failed()) {
            continue;
        }
        if let Mismatch::Seen(peer) = &static_peers[i].mismatch {
            let (address, short) = (static_peers[i].candidate.address, pinned.short());
            let content =
                format!("WARNING: {address} IS NOT ~{short}: {peer} answers there; check --peer");
            let code = ErrorCode::WrongKey;
            ctx.notify(Notice::Error { code, content });
            static_peers[i].mismatch = Mismatch::Reported;
        }
    }
}
