//! Keeps the topology up to date. Selects the peers to link with, and closes links that are no
//! longer needed.
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::context::Context;
use crate::node::discovery::address_book::AddressBook;
use crate::node::discovery::candidates::DiscoveredPeer;
use crate::node::discovery::discovered_peers::DiscoveredPeers;
use crate::node::discovery::static_peers::StaticPeers;
use crate::node::topology::FULL_MESH_RESUME_PEERS;
use crate::wire::message::ByeReason;

/// Milliseconds between topology updates if a peer or its rooms have changed.
const UPDATE_AFTER_CHANGE_MS: u64 = 1_000;
/// Milliseconds between topology updates if no peer and no room has changed.
const UPDATE_INTERVAL_MS: u64 = 5_000;
/// Milliseconds for which a link must be unwanted before it is closed.
const PRUNE_AFTER_MS: u64 = 30_000;

/// Schedules topology updates and closes unwanted links.
#[derive(Default)]
pub struct TopologyUpdater {
    updated_at: Time,
    /// A peer or its rooms changed since the last update.
    is_stale: bool,
    /// When each unwanted link became unwanted. The key is the peer of the link. Contains only
    /// links that we dialed.
    unwanted_since: SortedMap<PeerId, Time>,
}

impl TopologyUpdater {
    /// Records that a peer or its rooms changed, so that the next update comes soon.
    pub fn mark_stale(&mut self) {
        self.is_stale = true;
    }

    /// When to update the topology. `None` in a full mesh, which needs no updates.
    pub fn deadline(&self, ctx: &Context) -> Option<Time> {
        let delay = match self.is_stale {
            true => UPDATE_AFTER_CHANGE_MS,
            false => UPDATE_INTERVAL_MS,
        };
        ctx.topology
            .is_partial_mesh()
            .then_some(self.updated_at + delay)
    }

    /// Selects the wanted peers from the linked, discovered, introduced and static peers.
    pub fn update(
        &mut self,
        ctx: &mut Context,
        discovered: &DiscoveredPeers,
        static_peers: &StaticPeers,
        address_book: &AddressBook,
    ) {
        let (own, now) = (ctx.own_id(), ctx.now.time);
        (self.updated_at, self.is_stale) = (now, false);
        let is_unlinked = |peer: &PeerId| *peer != own && !ctx.stream_by_peer.contains_key(peer);
        let dialable = discovered.iter().map(|(_, peer)| peer);
        let is_there = |peer: &DiscoveredPeer| peer.is_dialable(now) || peer.is_full;
        let dialable = dialable.filter(|peer| is_unlinked(&peer.peer.id) && is_there(peer));
        let links = ctx.links.values().filter(|link| !link.transient);
        let known = dialable.clone().filter(|peer| !peer.transient).count() + links.clone().count();
        if !ctx.topology.reset(known) {
            return self.unwanted_since.clear();
        }
        let introduced: Vec<PeerId> = address_book.dialable(ctx).copied().collect();
        let topology = &mut ctx.topology;
        for link in links {
            for room in &link.shared_rooms {
                topology.add_member(&own, room, &link.peer.id);
            }
        }
        for peer in dialable.clone().filter(|peer| !peer.transient) {
            for room in &peer.rooms {
                topology.add_member(&own, room, &peer.peer.id);
            }
        }
        // Only routes tell in which rooms an introduced peer is.
        for link in ctx.links.values() {
            for (room, routes) in &link.routes {
                for peer in introduced.iter().filter(|peer| routes.contains_key(*peer)) {
                    topology.add_member(&own, room, peer);
                }
            }
        }
        for static_peer in static_peers.iter() {
            if let Some(peer) = static_peer.peer() {
                topology.add_wanted(peer);
            }
        }
        topology.select_neighbours();
        // A transient peer leaves soon, so it is no member of the rings. It is linked in addition
        // if it would be a neighbour.
        for peer in dialable.filter(|peer| peer.transient) {
            let id = peer.peer.id;
            if peer
                .rooms
                .iter()
                .any(|room| topology.is_neighbour(&own, room, &id))
            {
                topology.add_wanted(id);
            }
        }
    }

    /// Closes links that we dialed and that were unwanted for 30 s. At least
    /// [`FULL_MESH_RESUME_PEERS`] links stay. Links that the other side dialed also stay, as only
    /// that side prunes them.
    pub fn prune_links(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        let now = ctx.now.time;
        if !ctx.topology.is_partial_mesh() || self.updated_at != now {
            return;
        }
        let unwanted = ctx.links.iter().filter(|(stream, link)| {
            stream.is_dialed() && !link.transient && !ctx.topology.is_wanted(&link.peer.id)
        });
        let unwanted: SortedMap<PeerId, StreamId> = unwanted
            .map(|(stream, link)| (link.peer.id, *stream))
            .collect();
        self.unwanted_since
            .retain(|peer, _| unwanted.contains_key(peer));
        for peer in unwanted.keys() {
            self.unwanted_since.get_or_insert_with(*peer, || now);
        }
        let prunable = ctx.links.len().saturating_sub(FULL_MESH_RESUME_PEERS);
        let expired = self
            .unwanted_since
            .iter()
            .filter(|(_, since)| **since + PRUNE_AFTER_MS <= now);
        for (peer, _) in expired.take(prunable) {
            if let Some(stream) = unwanted.get(peer) {
                liveness::close(ctx, *stream, ByeReason::Full, events);
            }
        }
    }
}

/// Adds a discovered peer to the topology when its beacon arrives. A neighbour is then dialed
/// without waiting for the next update.
pub fn add_discovered(ctx: &mut Context, discovered: &DiscoveredPeer) {
    let (own, now, peer) = (ctx.own_id(), ctx.now.time, discovered.peer.id);
    if !discovered.is_dialable(now) {
        return;
    }
    for room in &discovered.rooms {
        let is_neighbour = match discovered.transient {
            true => ctx.topology.is_neighbour(&own, room, &peer),
            false => ctx.topology.add_member(&own, room, &peer),
        };
        if is_neighbour {
            ctx.topology.add_wanted(peer);
        }
    }
}
