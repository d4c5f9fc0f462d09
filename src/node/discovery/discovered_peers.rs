//! The table of discovered peers. Beacons prove nothing, so the table bounds what one host can
//! claim. Peers that once proved their key have precedence.
use std::net::{IpAddr, SocketAddr};

use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::connection::liveness::HandshakeFailure;
use crate::node::context::Context;
use crate::node::discovery::backoff;
use crate::node::discovery::beacon;
use crate::node::discovery::candidates::DiscoveredPeer;
use crate::wire::message::ByeReason;

/// Maximum number of discovered peers.
const DISCOVERED_PEERS_MAX: usize = 2048;
/// Maximum number of unproven peers from one source address. The value is below
/// [`LINKS_MAX`](crate::node::topology::LINKS_MAX), so one host cannot end the full mesh of others.
const UNPROVEN_PER_SOURCE_MAX: usize = 32;
/// Maximum number of unproven peers from an address of our own host.
const UNPROVEN_ON_OWN_HOST_MAX: usize = 512;
/// Number of unproven peers from one source whose dials have failed. At this number, the source
/// counts as one that makes up peers.
const FAILED_PER_SOURCE_MAX: usize = 16;
/// Milliseconds for which unproven peers of a source are ignored after that.
const IGNORE_SOURCE_MS: u64 = 60_000;
/// Maximum number of ignored sources. A further one replaces the one whose time ends first.
const IGNORED_SOURCES_MAX: usize = 64;

/// The peers whose beacons were received.
#[derive(Default)]
pub struct DiscoveredPeers {
    peers: SortedMap<PeerId, DiscoveredPeer>,
    /// The sources whose unproven peers are ignored, in the order of `until`. At most
    /// [`IGNORED_SOURCES_MAX`].
    ignored_sources: Vec<IgnoredSource>,
}

struct IgnoredSource {
    source: IpAddr,
    until: Time,
}

impl DiscoveredPeers {
    /// All discovered peers, sorted by id.
    pub fn iter(&self) -> impl Iterator<Item = (&PeerId, &DiscoveredPeer)> + Clone {
        self.peers.iter()
    }

    /// All discovered peers, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut DiscoveredPeer> {
        self.peers.values_mut()
    }

    /// The entry of this peer.
    pub fn get(&self, peer: &PeerId) -> Option<&DiscoveredPeer> {
        self.peers.get(peer)
    }

    /// The entry of this peer, to be changed.
    pub fn get_mut(&mut self, peer: &PeerId) -> Option<&mut DiscoveredPeer> {
        self.peers.get_mut(peer)
    }

    /// Number of discovered peers.
    pub fn count(&self) -> usize {
        self.peers.len()
    }

    /// Whether a handshake has proven the key of this peer: since its first beacon, or the peer is
    /// known from an earlier link.
    pub fn is_proven(&self, ctx: &Context, peer: &PeerId) -> bool {
        let discovered = self.peers.get(peer);
        discovered.is_some_and(|peer| peer.is_proven) || is_known(ctx, peer)
    }

    /// Records that a handshake has proven the key of this peer.
    pub fn record_proof(&mut self, peer: &PeerId) {
        if let Some(discovered) = self.peers.get_mut(peer) {
            discovered.is_proven = true;
        }
    }

    /// Adds a peer, unless a bound is reached. A proven peer is always added, if necessary in place
    /// of an unproven one.
    pub fn insert(&mut self, ctx: &Context, mut discovered: DiscoveredPeer) -> bool {
        let (peer, source) = (discovered.peer.id, discovered.source());
        discovered.is_proven = is_known(ctx, &peer);
        if !discovered.is_proven && !self.can_accept_unproven(ctx, source) {
            return false;
        }
        if self.peers.len() >= DISCOVERED_PEERS_MAX {
            let unproven = self.peers.keys().find(|id| !self.is_proven(ctx, id));
            let Some(unproven) = unproven.copied() else {
                return false;
            };
            self.peers.remove(&unproven);
        }
        self.peers.insert(peer, discovered);
        true
    }

    fn can_accept_unproven(&self, ctx: &Context, source: IpAddr) -> bool {
        let most = match ctx.is_own_address(source) {
            true => UNPROVEN_ON_OWN_HOST_MAX,
            false => UNPROVEN_PER_SOURCE_MAX,
        };
        let mut ignored = self.ignored_sources.iter();
        !ignored.any(|ignored| ignored.source == source && ignored.until > ctx.now.time)
            && self.peers.len() < DISCOVERED_PEERS_MAX
            && self.unproven_from(ctx, source).count() < most
    }

    fn unproven_from(
        &self,
        ctx: &Context,
        source: IpAddr,
    ) -> impl Iterator<Item = &DiscoveredPeer> {
        let of_source = self
            .peers
            .values()
            .filter(move |peer| peer.source() == source);
        of_source.filter(|peer| !self.is_proven(ctx, &peer.peer.id))
    }

    /// Records why a dial to a peer ended in a refusal. Returns whether all its links or all of
    /// ours are taken. It is then one more of those that may be too many for a full mesh.
    pub fn record_refusal(
        &mut self,
        ctx: &mut Context,
        peer: &PeerId,
        failure: HandshakeFailure,
    ) -> bool {
        let Some(discovered) = self.peers.get_mut(peer) else {
            return false;
        };
        if failure.is_ban_by(Some(*peer)) {
            discovered.record_ban(ctx);
        }
        let is_full = failure.is_refusal(ByeReason::Full, Some(*peer));
        discovered.is_full |= is_full;
        is_full
    }

    /// Counts a failed dial of this address. A source of many unproven peers whose dials have
    /// failed is ignored for a minute, and its unproven peers are forgotten. Our own host is no
    /// such source: many programs may run there, and refuse links that they have no place for.
    pub fn record_failure(&mut self, ctx: &mut Context, peer: &PeerId, address: SocketAddr) {
        let longest_ms = backoff::discovered_max_ms(self.peers.len());
        let Some(discovered) = self.peers.get_mut(peer) else {
            return;
        };
        discovered.record_failure(ctx, address, longest_ms);
        let source = discovered.source();
        if ctx.is_own_address(source) {
            return;
        }
        let failed = self
            .unproven_from(ctx, source)
            .filter(|peer| peer.has_only_failed());
        if failed.count() >= FAILED_PER_SOURCE_MAX {
            self.ignore_source(ctx, source);
        }
    }

    fn ignore_source(&mut self, ctx: &Context, source: IpAddr) {
        self.ignored_sources
            .retain(|ignored| ignored.source != source);
        if self.ignored_sources.len() >= IGNORED_SOURCES_MAX {
            self.ignored_sources.remove(0);
        }
        let until = ctx.now.time + IGNORE_SOURCE_MS;
        self.ignored_sources.push(IgnoredSource { source, until });
        self.peers
            .retain(|id, peer| peer.is_proven || is_known(ctx, id) || peer.source() != source);
    }

    /// Forgets this peer.
    pub fn remove(&mut self, peer: &PeerId) {
        self.peers.remove(peer);
    }

    /// Forgets all peers.
    pub fn clear(&mut self) {
        self.peers.clear();
    }

    /// Forgets unlinked peers whose beacons no longer arrive.
    pub fn expire(&mut self, ctx: &Context) {
        let (now, min_interval_ms) = (ctx.now.time, self.min_beacon_interval_ms());
        self.peers.retain(|id, peer| {
            peer.is_fresh(now, min_interval_ms) || ctx.stream_by_peer.contains_key(id)
        });
    }

    /// Shortest beacon interval for the number of discovered peers, in milliseconds.
    pub fn min_beacon_interval_ms(&self) -> u64 {
        beacon::min_interval_ms(self.peers.len())
    }
}

/// Whether the peer is linked, or was linked in this or an earlier run and has a place among the
/// known peers.
fn is_known(ctx: &Context, peer: &PeerId) -> bool {
    ctx.stream_by_peer.contains_key(peer) || ctx.acquaintances.is_known(peer)
}
