//! Static peers: the addresses of the endpoints from `--peer`, and the peer expected at each
//! address.
use std::net::SocketAddr;

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::node::connection::liveness::HandshakeFailure;
use crate::node::connection::pending_handshake::DialTarget;
use crate::node::context::Context;
use crate::node::discovery::backoff;
use crate::node::discovery::backoff::{BACKOFF_MAX_MS, Backoff};
use crate::node::discovery::candidates::Candidate;
use crate::node::discovery::exchange::is_global;
use crate::wire::message::ByeReason;

/// The peer expected at a static address.
#[derive(Clone, Copy)]
enum ExpectedPeer {
    /// No peer is known at the address yet.
    Any,
    /// The peer that answered last. A link to another peer is accepted as well.
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

/// An address of a static endpoint.
pub struct StaticPeer {
    /// The endpoint: host and port, as the user gave them.
    endpoint: String,
    /// The address, and when it may be dialed.
    pub candidate: Candidate,
    /// The dial under way.
    pub dialing: Option<StreamId>,
    expected: ExpectedPeer,
    mismatch: Mismatch,
    /// The address is our own. It is never dialed again.
    pub is_self: bool,
    /// The user was told that the endpoint does not answer.
    is_reported: bool,
}

impl StaticPeer {
    /// The target of a dial to the address.
    pub fn target(&self) -> DialTarget {
        DialTarget {
            address: self.candidate.address,
            interface: None,
            expected_peer: self.pinned_peer(),
            is_expected: true,
        }
    }

    /// Whether the address needs a dial. The dial may still have to wait for its backoff. No dial
    /// is needed for our own address, for an address being dialed, or if the expected peer is
    /// linked.
    pub fn needs_dial(&self, ctx: &Context) -> bool {
        let is_linked = |peer: &PeerId| ctx.stream_by_peer.contains_key(peer);
        self.dialing.is_none() && !self.is_self && !self.peer().as_ref().is_some_and(is_linked)
    }

    /// Whether the last dial to this address has failed, and its peer is not linked at another.
    fn is_unreachable(&self, ctx: &Context) -> bool {
        let is_linked = |peer: &PeerId| ctx.stream_by_peer.contains_key(peer);
        self.candidate.backoff.has_failed() && !self.peer().as_ref().is_some_and(is_linked)
    }

    /// Ends the backoff. What the next dials find is reported to the user, even if the same was
    /// reported before.
    fn retry_now(&mut self) {
        self.candidate.backoff = Backoff::new(Time(0));
        (self.mismatch, self.is_reported) = (Mismatch::None, false);
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

    /// How the address was found: the user gave it, or only the id of its peer.
    pub fn found_via(&self) -> FoundVia {
        match self.endpoint.starts_with('@') {
            true => FoundVia::Dht,
            false => FoundVia::Static,
        }
    }

    /// Whether it is an error that another peer answers at this address. If the address was looked
    /// up, it need not be: a private address of a peer elsewhere may be that of our neighbour.
    fn is_mismatch_an_error(&self) -> bool {
        self.found_via() != FoundVia::Dht || is_global(self.candidate.address.ip())
    }

    /// Records that the dial to this address became a link to this peer.
    pub fn link_up(&mut self, peer: PeerId) {
        self.dialing = None;
        if self.pinned_peer().is_none() {
            self.expected = ExpectedPeer::LastSeen(peer);
        }
    }
}

/// The addresses of all static endpoints.
#[derive(Default)]
pub struct StaticPeers(Vec<StaticPeer>);

impl StaticPeers {
    /// All addresses.
    pub fn iter(&self) -> impl Iterator<Item = &StaticPeer> {
        self.0.iter()
    }

    /// The addresses at which this peer is expected, to be changed.
    pub fn of_peer_mut(&mut self, peer: PeerId) -> impl Iterator<Item = &mut StaticPeer> {
        let all = self.0.iter_mut();
        all.filter(move |static_peer| static_peer.peer() == Some(peer))
    }

    /// Whether the user pinned this peer at any address.
    pub fn is_pinned(&self, peer: PeerId) -> bool {
        let mut all = self.0.iter();
        all.any(|static_peer| static_peer.pinned_peer() == Some(peer))
    }

    /// Whether a peer at one of the addresses is likely to be linked soon. A peer whose dials have
    /// failed does not count.
    pub fn is_expecting_link(&self, ctx: &Context) -> bool {
        let mut all = self.0.iter();
        all.any(|known| known.needs_dial(ctx) && !known.candidate.backoff.has_failed())
    }

    /// Forgets which addresses are our own. An address that was ours may be another host's now.
    pub fn forget_own_addresses(&mut self) {
        for static_peer in &mut self.0 {
            static_peer.is_self = false;
        }
    }

    /// Forgets all addresses.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The target of a dial to the address with this index.
    pub fn target(&self, index: usize) -> DialTarget {
        self.0[index].target()
    }

    /// Records that the dial to the address with this index has started.
    pub fn start_dial(&mut self, index: usize, stream: StreamId) {
        self.0[index].dialing = Some(stream);
    }

    /// Records that the dial on this stream has ended.
    pub fn clear_dial(&mut self, stream: StreamId) {
        for static_peer in &mut self.0 {
            static_peer.dialing.take_if(|dialed| *dialed == stream);
        }
    }

    /// The address whose dial is due first, by its index, and when.
    pub fn next_dial(&self, ctx: &Context) -> Option<(usize, Time)> {
        let peers = self.0.iter().enumerate();
        let undialed = peers.filter(|(_, static_peer)| static_peer.needs_dial(ctx));
        let times = undialed.map(|(index, known)| (index, known.candidate.backoff.next_attempt()));
        times.min_by_key(|(_, at)| *at)
    }

    /// Replaces the addresses of an endpoint. An address that stays keeps its backoff and its peer.
    /// A new one takes over the backoff of the endpoint, because a name may stand for other
    /// addresses each time. A peer named by the user is pinned. Only another pin replaces a pin,
    /// and the address is then dialed anew, as are all addresses if `is_requested`. Returns whether
    /// an address is to be dialed.
    pub fn set_addresses(
        &mut self,
        endpoint: &str,
        addresses: &[SocketAddr],
        pinned: Option<PeerId>,
        is_requested: bool,
    ) -> bool {
        let static_peers = &mut self.0;
        if is_requested {
            for known in static_peers.iter_mut().filter(|it| it.endpoint == endpoint) {
                known.retry_now();
            }
        }
        let mut same = static_peers
            .iter()
            .filter(|known| known.endpoint == endpoint);
        let is_reported = same.clone().any(|known| known.is_reported);
        let failed = same.find(|known| known.candidate.backoff.has_failed());
        let backoff = failed.map_or(Backoff::new(Time(0)), |known| known.candidate.backoff);
        static_peers.retain(|known| {
            known.endpoint != endpoint || addresses.contains(&known.candidate.address)
        });
        let mut has_added = false;
        for address in addresses {
            let expected = pinned.map_or(ExpectedPeer::Any, ExpectedPeer::Pinned);
            let known = static_peers
                .iter_mut()
                .find(|known| known.endpoint == endpoint && known.candidate.address == *address);
            if let Some(known) = known {
                if pinned.is_some() && known.pinned_peer() != pinned {
                    // What a dial under way finds says nothing about the new pin.
                    (known.expected, known.dialing) = (expected, None);
                    known.retry_now();
                    has_added = true;
                }
            } else {
                let mut candidate = Candidate::new(*address, Time(0));
                candidate.backoff = backoff;
                static_peers.push(StaticPeer {
                    endpoint: endpoint.to_owned(),
                    candidate,
                    dialing: None,
                    expected,
                    mismatch: Mismatch::None,
                    is_self: false,
                    is_reported,
                });
                has_added = true;
            }
        }
        has_added || is_requested
    }

    /// Records which peer answered the dial to a static address.
    pub fn record_answer(&mut self, stream: StreamId, peer: PeerId) {
        for static_peer in &mut self.0 {
            if static_peer.dialing == Some(stream) {
                static_peer.link_up(peer);
            }
        }
    }

    /// Records that the dial to a static address became no link. Warns the user if another peer
    /// answered, or if nobody does.
    pub fn record_failure(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        failure: HandshakeFailure,
    ) {
        for static_peer in &mut self.0 {
            if static_peer.dialing == Some(stream) {
                let expected = static_peer.peer();
                let backoff = &mut static_peer.candidate.backoff;
                backoff.record_failure(ctx, BACKOFF_MAX_MS);
                if failure.is_ban_by(expected) {
                    backoff.delay_until(backoff::after_ban(ctx));
                }
                static_peer.is_self |= failure == HandshakeFailure::OwnProgram;
            }
        }
        self.report_mismatches(ctx);
        self.resolve_unreachable(ctx, stream, failure);
    }

    /// Has the endpoint of a failed dial resolved again, if the dials to all of its addresses have
    /// failed: its name may stand for another address now. Tells the user once that it does not
    /// answer, or refuses us.
    fn resolve_unreachable(
        &mut self,
        ctx: &mut Context,
        failed: StreamId,
        failure: HandshakeFailure,
    ) {
        let static_peers = &mut self.0;
        let dialed = static_peers
            .iter()
            .find(|static_peer| static_peer.dialing == Some(failed) && !static_peer.is_self);
        let Some(endpoint) = dialed.map(|static_peer| static_peer.endpoint.clone()) else {
            return;
        };
        let mut same = static_peers
            .iter_mut()
            .filter(|static_peer| static_peer.endpoint == endpoint);
        if !same.all(|static_peer| static_peer.is_unreachable(ctx)) {
            return;
        }
        let mut is_reported = true;
        for static_peer in static_peers {
            if static_peer.endpoint == endpoint {
                is_reported &= std::mem::replace(&mut static_peer.is_reported, true);
            }
        }
        if !is_reported {
            let what = match failure {
                HandshakeFailure::Refused(_, ByeReason::Banned) => "wants no link with this key",
                _ => "does not answer",
            };
            let content = format!("--peer {endpoint} {what}: it is tried again");
            let code = ErrorCode::Unreachable;
            ctx.notify(Notice::Error { code, content });
        }
        ctx.emit(Output::Resolve { endpoint });
    }

    /// Records that this peer answered a dial, although another peer is pinned at the address.
    /// Where that is no error, the address is just unreachable.
    pub fn record_mismatch(&mut self, stream: StreamId, peer: Peer) {
        for static_peer in &mut self.0 {
            if static_peer.dialing == Some(stream)
                && !matches!(static_peer.mismatch, Mismatch::Reported)
                && static_peer.is_mismatch_an_error()
            {
                static_peer.mismatch = Mismatch::Seen(peer.clone());
            }
        }
    }

    /// Warns the user of each address where a peer other than the pinned peer answered. Gives no
    /// warning while the pinned peer is linked. The warning waits until the dials to all addresses
    /// of the pinned peer have failed. Until then, one of these addresses may still lead to that
    /// peer.
    fn report_mismatches(&mut self, ctx: &mut Context) {
        let static_peers = &mut self.0;
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
                let content = format!(
                    "WARNING: {address} IS NOT ~{short}: {peer} answers there; check --peer"
                );
                let code = ErrorCode::WrongKey;
                ctx.notify(Notice::Error { code, content });
                static_peers[i].mismatch = Mismatch::Reported;
            }
        }
    }
}
