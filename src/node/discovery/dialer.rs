//! Decides which candidates to dial, and when.
use std::net::SocketAddr;

use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::interface::{FoundVia, Interface};
use crate::base::name::Room;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::connection::handshake::Handshakes;
use crate::node::connection::liveness;
use crate::node::connection::liveness::{ClosedLink, HandshakeFailure, LinkEnd, LinkEvent};
use crate::node::connection::pending_handshake::DialTarget;
use crate::node::context::Context;
use crate::node::discovery::address_book::AddressBook;
use crate::node::discovery::backoff::{BACKOFF_MAX_MS, BACKOFF_MIN_MS};
use crate::node::discovery::beacon::BeaconSchedule;
use crate::node::discovery::candidates::{BeaconOrder, DiscoveredPeer};
use crate::node::discovery::dial_limiter::DialLimiter;
use crate::node::discovery::dials::{Dial, Dials, is_occupied};
use crate::node::discovery::discovered_peers::DiscoveredPeers;
use crate::node::discovery::new_peer_burst::{EarliestDial, NewPeerBurst};
use crate::node::discovery::other_programs::OtherPrograms;
use crate::node::discovery::static_peers::StaticPeers;
use crate::node::discovery::topology_updater;
use crate::node::discovery::topology_updater::TopologyUpdater;
use crate::node::timer::{Deadlines, Timer};
use crate::node::topology::LINKS_MAX;
use crate::wire::beacon::{Beacon, BeaconKind};

/// Milliseconds after which a link counts as stable. A stable link shows that its address is good.
const STABLE_LINK_MS: u64 = 5_000;
/// Milliseconds from the end of a stable link to the next dial of a discovered peer.
const REDIAL_DELAY_MS: u64 = 200;

/// Keeps the discovered and static peers, and dials them.
pub struct Dialer {
    beacons: BeaconSchedule,
    discovered: DiscoveredPeers,
    dials: Dials,
    static_peers: StaticPeers,
    address_book: AddressBook,
    joined_rooms: Vec<Room>,
    topology_updater: TopologyUpdater,
    /// When to dial next. Recomputed at the end of a turn if `is_next_dial_stale`.
    next_dial: Option<Time>,
    is_next_dial_stale: bool,
    dial_limiter: DialLimiter,
    new_peer_burst: NewPeerBurst,
    other_programs: OtherPrograms,
}

impl Dialer {
    /// A dialer that knows the addresses of earlier runs only. If `beacons_enabled` is false, the
    /// dialer sends no beacons. It still dials the peers whose beacons arrive.
    pub fn new(ctx: &mut Context, beacons_enabled: bool, addresses: &str) -> Dialer {
        Dialer {
            beacons: BeaconSchedule::new(beacons_enabled),
            discovered: DiscoveredPeers::default(),
            dials: Dials::default(),
            static_peers: StaticPeers::default(),
            address_book: AddressBook::restore(ctx, addresses),
            joined_rooms: Vec::new(),
            topology_updater: TopologyUpdater::default(),
            next_dial: None,
            is_next_dial_stale: true,
            dial_limiter: DialLimiter::default(),
            new_peer_burst: NewPeerBurst::default(),
            other_programs: OtherPrograms::default(),
        }
    }

    /// Replaces the list of usable interfaces. Beacons are due on the new ones.
    pub fn handle_interfaces(&mut self, ctx: &mut Context, interfaces: Vec<Interface>) {
        self.beacons
            .handle_interfaces(ctx.now.time, &ctx.interfaces, &interfaces);
        ctx.interfaces = interfaces;
        self.static_peers.forget_own_addresses();
    }

    /// Handles a datagram. A `Discover` beacon adds its sender's address as a candidate. A `Leave`
    /// beacon makes us forget its sender. A datagram of another network is counted and ignored, and
    /// so is one whose source is not on the link.
    pub fn handle_datagram(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        interface: u32,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        let Some(beacon) = Beacon::parse(bytes, &ctx.network, ctx.beacon_key.as_ref()) else {
            return self.other_programs.record(ctx, interface, source, bytes);
        };
        let is_own = beacon.peer == ctx.own_id() && beacon.run == ctx.run;
        if is_own || ctx.acquaintances.is_banned(&beacon.peer) {
            return;
        }
        if !ctx.is_on_link(interface, source.ip()) {
            return ctx.counters.foreign_datagrams += 1;
        }
        match beacon.kind {
            BeaconKind::Leave => {
                let discovered = self.discovered.get(&beacon.peer);
                if discovered.is_some_and(|known| known.is_same_source(&beacon, source.ip())) {
                    self.discovered.remove(&beacon.peer);
                    self.handle_book_change(true);
                }
            }
            BeaconKind::Discover => {
                let mut address = source;
                address.set_port(beacon.port);
                if self.record_beacon(ctx, &beacon, address, interface) {
                    liveness::record_activity(ctx, &beacon.peer, beacon.run);
                    self.dial_discovered(ctx, handshakes, beacon.peer);
                }
            }
        }
    }

    /// Records the peer, its address and its rooms. Returns false if the beacon is ignored, because
    /// a bound is reached or the beacon is replayed.
    fn record_beacon(
        &mut self,
        ctx: &mut Context,
        beacon: &Beacon,
        address: SocketAddr,
        interface: u32,
    ) -> bool {
        let (now, peer, source) = (ctx.now.time, beacon.peer, address.ip());
        let is_new = self.discovered.get(&peer).is_none();
        let mut earliest_dial = EarliestDial::default();
        if is_new {
            if self.new_peer_burst.drain(now) {
                self.discovered.expire(ctx);
            }
            let discovered = DiscoveredPeer::new(beacon, source, now);
            if !self.discovered.insert(ctx, discovered) {
                ctx.counters.beacons_over_bound += 1;
                return false;
            }
            // A known peer that comes for one line again is no member of a growing mesh.
            if !beacon.transient || !self.discovered.is_proven(ctx, &peer) {
                earliest_dial = self.new_peer_burst.add(ctx, &peer);
            }
            ctx.last_peer_event = now;
        }
        let is_linked = ctx.stream_by_peer.contains_key(&peer);
        let Some(discovered) = self.discovered.get_mut(&peer) else {
            return false;
        };
        if is_new {
            discovered.earliest_dial = earliest_dial;
        }
        let order = match ctx.beacon_key {
            Some(_) => discovered.record_counter(beacon),
            None => BeaconOrder::Unknown,
        };
        if order == BeaconOrder::Replayed {
            ctx.counters.foreign_datagrams += 1;
            return false;
        }
        if !is_linked && discovered.run != beacon.run {
            discovered.restart(address, now);
        }
        // The rooms of a linked peer are proven.
        if discovered.apply_beacon(beacon, address, order, now) && !is_linked {
            discovered.match_rooms(&ctx.network, &self.joined_rooms);
        }
        discovered.set_interface(address, interface);
        if ctx.topology.is_partial_mesh() {
            topology_updater::add_discovered(ctx, discovered);
        } else if is_new && self.discovered.count() > LINKS_MAX {
            self.update_topology(ctx);
        }
        let is_linked = ctx.link_to(&peer).map(|link| link.run) == Some(beacon.run);
        self.is_next_dial_stale |= !is_linked && ctx.topology.is_wanted(&peer);
        true
    }

    fn update_topology(&mut self, ctx: &mut Context) {
        self.is_next_dial_stale = true;
        self.discovered.expire(ctx);
        self.topology_updater.update(
            ctx,
            &self.discovered,
            &self.static_peers,
            &self.address_book,
        );
    }

    /// Records the peers that a linked peer introduces.
    pub fn handle_introductions(&mut self, ctx: &mut Context, stream: StreamId, codes: &[String]) {
        let is_changed = !ctx.transient && self.address_book.introduce(ctx, stream, codes);
        self.handle_book_change(is_changed);
    }

    /// Records the addresses that a finder found.
    pub fn handle_found(
        &mut self,
        ctx: &mut Context,
        via: FoundVia,
        peer: Option<PeerId>,
        addresses: &[SocketAddr],
    ) {
        let is_changed = self.address_book.record_found(ctx, via, peer, addresses);
        self.handle_book_change(is_changed);
    }

    fn handle_book_change(&mut self, is_changed: bool) {
        if is_changed {
            self.topology_updater.mark_stale();
            self.is_next_dial_stale = true;
        }
    }

    /// Replaces the addresses of a static endpoint. If the user has just named it, it is dialed at
    /// once.
    pub fn handle_endpoint(
        &mut self,
        ctx: &mut Context,
        endpoint: &str,
        addresses: &[SocketAddr],
        peer: Option<PeerId>,
        is_requested: bool,
    ) {
        let known = &mut self.static_peers;
        if known.set_addresses(endpoint, addresses, peer, is_requested) {
            ctx.last_peer_event = ctx.now.time;
            self.is_next_dial_stale = true;
        }
    }

    fn can_dial(&mut self, ctx: &Context, handshakes: &Handshakes) -> bool {
        self.dial_limiter.can_dial(ctx.now.time) && handshakes.can_accept(true)
    }

    fn dial(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        target: DialTarget,
    ) -> StreamId {
        self.is_next_dial_stale = true;
        self.dial_limiter.record();
        let stream = ctx.next_dialed_stream();
        handshakes.dial(ctx, stream, target);
        stream
    }

    /// Dials a discovered peer if one of its candidates is due. Skips a peer that is linked, not
    /// wanted, or gone.
    fn dial_discovered(&mut self, ctx: &mut Context, handshakes: &mut Handshakes, peer: PeerId) {
        let now = ctx.now.time;
        let can_dial = self.can_dial(ctx, handshakes) && ctx.topology.is_wanted(&peer);
        let discovered = self.discovered.get(&peer).filter(|_| can_dial);
        let next = discovered.and_then(|discovered| self.next_dial(ctx, &peer, discovered));
        let Some((address, _)) = next.filter(|(_, at)| *at <= now) else {
            return;
        };
        let target = DialTarget {
            address,
            interface: discovered.and_then(|discovered| discovered.interface_for(ctx, address)),
            expected_peer: None,
            is_expected: true,
        };
        let dial = Dial {
            peer,
            address,
            is_proven: self.discovered.is_proven(ctx, &peer),
            started_at: now,
        };
        let stream = self.dial(ctx, handshakes, target);
        self.dials.insert(stream, dial);
    }

    /// The next address of a discovered peer to dial, and when. `None` if the peer is linked or
    /// gone, or while too many unproven peers are being dialed.
    fn next_dial(
        &self,
        ctx: &Context,
        peer: &PeerId,
        discovered: &DiscoveredPeer,
    ) -> Option<(SocketAddr, Time)> {
        let is_linked = ctx.link_to(peer).map(|link| link.run) == Some(discovered.run);
        let min_interval_ms = self.discovered.min_beacon_interval_ms();
        if is_linked || !discovered.is_fresh(ctx.now.time, min_interval_ms) {
            return None;
        }
        let is_proven = self.discovered.is_proven(ctx, peer);
        let (address, at) = discovered.next_dial(|address| {
            is_occupied(ctx, peer, address)
                || self.dials.is_dialing(peer, address)
                || !is_proven && !self.dials.can_dial_unproven(ctx, address.ip())
        })?;
        let at = at.max(self.new_peer_burst.dial_at(&discovered.earliest_dial));
        Some((address, at.max(self.dials.next_address_at(peer))))
    }

    /// Records that a link was established. If a beacon led to the address of another peer, that
    /// beacon's address counts as a failed dial. Returns whether the user pinned this peer at any
    /// address with `--peer`.
    pub fn link_up(&mut self, ctx: &mut Context, stream: StreamId, peer: PeerId) -> bool {
        self.static_peers.record_answer(stream, peer);
        let link = ctx.links.get(&stream);
        let is_transient = link.is_some_and(|link| link.transient);
        if let Some(link) = link {
            self.address_book.link_up(ctx, stream, link);
        }
        self.discovered.record_proof(&peer);
        let dial = self.clear_dial(stream);
        if is_transient && dial.is_some_and(|dial| dial.peer == peer) {
            self.dial_limiter.record_transient(ctx.now.time);
        }
        match (dial, self.discovered.get_mut(&peer)) {
            (Some(dial), Some(discovered)) if dial.peer == peer => {
                discovered.record_reached(dial.address)
            }
            (Some(dial), _) if dial.peer != peer => {
                self.discovered
                    .record_failure(ctx, &dial.peer, dial.address)
            }
            _ => {}
        }
        self.static_peers.is_pinned(peer)
    }

    /// Records that this peer answered a dial, although the user named another peer for the
    /// address.
    pub fn handle_unexpected_peer(&mut self, stream: StreamId, peer: Peer) {
        self.static_peers.record_mismatch(stream, peer);
    }

    fn clear_dial(&mut self, stream: StreamId) -> Option<Dial> {
        self.is_next_dial_stale = true;
        self.static_peers.clear_dial(stream);
        self.dials.remove(stream)
    }

    /// Records that a dial or its handshake became no link.
    pub fn handle_dial_failed(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        failure: HandshakeFailure,
    ) {
        if let HandshakeFailure::AlreadyLinked(peer) = failure {
            self.static_peers.record_answer(stream, peer);
        }
        self.static_peers.record_failure(ctx, stream, failure);
        self.address_book.handle_dial_failed(ctx, stream, failure);
        self.topology_updater.mark_stale();
        if let Some(dial) = self.clear_dial(stream) {
            self.discovered
                .record_failure(ctx, &dial.peer, dial.address);
            let is_full = self.discovered.record_refusal(ctx, &dial.peer, failure);
            if is_full && self.discovered.count() > LINKS_MAX {
                self.update_topology(ctx);
            }
            if !ctx.stream_by_peer.contains_key(&dial.peer) {
                self.beacons.dial_failed(ctx);
            }
        }
    }

    /// Records that somebody has connected to us.
    pub fn record_accepted(&mut self, now: Time) {
        self.new_peer_burst.record_accepted(now);
    }

    /// Forgets where banned peers are.
    pub fn forget_banned(&mut self, ctx: &Context) {
        let banned = ctx.acquaintances.banned();
        banned.iter().for_each(|it| self.discovered.remove(it));
        self.address_book.forget_banned(ctx);
        self.handle_book_change(true);
    }

    /// Records that a link ended. After a stable link, the peer is dialed again soon. A shorter
    /// link counts as a failed dial of all the peer's addresses. Otherwise we would constantly dial
    /// a peer that closes each link at once. A peer that said goodbye is dialed after its next
    /// beacon, or late by the address book.
    pub fn link_down(&mut self, ctx: &mut Context, link: &ClosedLink) {
        let peer = &link.peer;
        // The beacon of a later run may have overtaken a goodbye, which does not concern that run.
        let is_left = |it: &DiscoveredPeer| link.end == LinkEnd::Left && it.run == link.run;
        if self.discovered.get(peer).is_some_and(is_left) {
            self.discovered.remove(peer);
        }
        self.topology_updater.mark_stale();
        self.is_next_dial_stale = true;
        let was_stable = ctx.now.time.ms_since(link.established_at) >= STABLE_LINK_MS;
        self.address_book.link_down(ctx, link, was_stable);
        let discovered = self.discovered.get_mut(peer).into_iter();
        let discovered = discovered.filter(|it| link.end != LinkEnd::Left || it.run == link.run);
        let discovered = discovered.flat_map(|peer| {
            let candidates = peer.candidates.iter_mut();
            candidates.map(|candidate| (candidate, REDIAL_DELAY_MS))
        });
        let static_peers = self.static_peers.of_peer_mut(*peer);
        let static_peers =
            static_peers.map(|static_peer| (&mut static_peer.candidate, BACKOFF_MIN_MS));
        for (candidate, delay_ms) in discovered.chain(static_peers) {
            if was_stable {
                candidate.backoff.reset(ctx, delay_ms);
            } else {
                candidate.backoff.record_failure(ctx, BACKOFF_MAX_MS);
            }
        }
    }

    /// Sends the beacon, updates the topology and dials candidates, each if it is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context, handshakes: &mut Handshakes) {
        let now = ctx.now.time;
        self.beacons
            .handle_timeout(ctx, &self.joined_rooms, self.discovered.count());
        if self
            .topology_updater
            .deadline(ctx)
            .is_some_and(|at| at <= now)
        {
            self.update_topology(ctx);
        }
        self.address_book.handle_timeout(ctx);
        if self.is_next_dial_stale || self.next_dial.is_some_and(|at| at <= now) {
            self.is_next_dial_stale = true;
            self.dial_due(ctx, handshakes);
        }
    }

    /// Dials the peers that are due, the proven ones first.
    fn dial_due(&mut self, ctx: &mut Context, handshakes: &mut Handshakes) {
        let now = ctx.now.time;
        let due = self.dial_times(ctx).filter(|(_, at)| *at <= now);
        let due: SortedSet<_> = due
            .map(|(peer, at)| (!self.discovered.is_proven(ctx, &peer), at, peer))
            .collect();
        for (_, _, peer) in due.iter() {
            self.dial_discovered(ctx, handshakes, *peer);
        }
        while let Some((index, at)) = self.static_peers.next_dial(ctx)
            && at <= now
            && self.can_dial(ctx, handshakes)
        {
            let stream = self.dial(ctx, handshakes, self.static_peers.target(index));
            self.static_peers.start_dial(index, stream);
        }
        while let Some((index, at)) = self.next_book_dial(ctx)
            && at <= now
            && self.can_dial(ctx, handshakes)
        {
            let stream = self.dial(ctx, handshakes, self.address_book.target(index));
            self.address_book.start_dial(index, stream, now);
        }
    }

    /// The next dial of the address book. Beacons tell better than the book where a peer is.
    fn next_book_dial(&self, ctx: &Context) -> Option<(usize, Time)> {
        self.address_book
            .next_dial(ctx, |peer| self.discovered.get(peer).is_some())
    }

    /// The discovered peers to which we want a link. In a full mesh, these are all discovered
    /// peers. In a partial mesh, these are the discovered peers that the topology wants.
    fn eligible<'a>(
        &'a self,
        ctx: &'a Context,
    ) -> impl Iterator<Item = (&'a PeerId, &'a DiscoveredPeer)> {
        let full_mesh_peers = if ctx.topology.is_partial_mesh() {
            0
        } else {
            usize::MAX
        };
        let wanted = ctx.topology.wanted().iter();
        wanted
            .filter_map(|peer| Some((peer, self.discovered.get(peer)?)))
            .chain(self.discovered.iter().take(full_mesh_peers))
    }

    /// The discovered peers to dial, each with the time of its next dial.
    fn dial_times<'a>(&'a self, ctx: &'a Context) -> impl Iterator<Item = (PeerId, Time)> + 'a {
        self.eligible(ctx).filter_map(|(peer, discovered)| {
            let (_, at) = self.next_dial(ctx, peer, discovered)?;
            Some((*peer, at))
        })
    }

    /// Whether a peer at an address given by the user is likely to be linked soon.
    pub fn is_expecting_static_peer(&self, ctx: &Context) -> bool {
        self.static_peers.is_expecting_link(ctx)
    }

    /// Whether a discovered peer is likely to be linked soon. A peer whose dials have failed does
    /// not count.
    pub fn is_expecting_discovered_peer(&self, ctx: &Context) -> bool {
        let now = ctx.now.time;
        self.eligible(ctx).any(|(peer, discovered)| {
            discovered.is_expected(now)
                && !ctx.stream_by_peer.contains_key(peer)
                && *peer != ctx.own_id()
        })
    }

    /// Replaces the list of joined rooms, and determines anew which rooms each discovered peer
    /// shares with us.
    pub fn set_joined_rooms(&mut self, ctx: &Context, rooms: &[Room]) {
        self.joined_rooms = rooms.to_vec();
        for discovered in self.discovered.values_mut() {
            discovered.match_rooms(&ctx.network, rooms);
        }
        self.topology_updater.mark_stale();
    }

    /// Sets the rooms of a discovered peer to the shared rooms of its link. These replace the rooms
    /// that its beacon claimed.
    pub fn update_peer_rooms(&mut self, ctx: &Context, stream: StreamId) {
        if let Some(link) = ctx.links.get(&stream)
            && let Some(discovered) = self.discovered.get_mut(&link.peer.id)
        {
            let rooms: Vec<Room> = link.shared_rooms.iter().cloned().collect();
            if discovered.rooms != rooms {
                discovered.rooms = rooms;
                self.topology_updater.mark_stale();
            }
        }
    }

    /// Closes links that the partial mesh no longer needs. Does nothing unless the topology was
    /// updated in this turn.
    pub fn prune_links(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        self.topology_updater.prune_links(ctx, events);
    }

    /// Adds the times at which to send a beacon, update the topology and dial.
    pub fn state_deadlines(
        &self,
        ctx: &Context,
        handshakes: &Handshakes,
        deadlines: &mut Deadlines,
    ) {
        deadlines.add_some(Timer::Beacon, self.beacons.deadline());
        deadlines.add_some(Timer::SaveAddresses, self.address_book.deadline());
        deadlines.add_some(Timer::UpdateTopology, self.topology_updater.deadline(ctx));
        if let Some(at) = self.next_dial
            && handshakes.can_accept(true)
        {
            let allowed_at = self.dial_limiter.next_at();
            deadlines.add(Timer::Dial, at.max(allowed_at.unwrap_or_default()));
        }
    }

    /// Called at the end of each turn. Computes the time of the next dial, if the turn may have
    /// changed that time.
    pub fn end_turn(&mut self, ctx: &Context) {
        if std::mem::take(&mut self.is_next_dial_stale) {
            let given = self.static_peers.next_dial(ctx);
            let times = [given, self.next_book_dial(ctx)].into_iter().flatten();
            let discovered_times = self.dial_times(ctx).map(|(_, at)| at);
            self.next_dial = times.map(|(_, at)| at).chain(discovered_times).min();
        }
    }

    /// Withdraws the beacon and forgets all candidates, as this program leaves.
    pub fn withdraw_beacon(&mut self, ctx: &mut Context) {
        self.beacons.withdraw(ctx, &self.joined_rooms);
        self.discovered.clear();
        self.static_peers.clear();
        self.address_book.finish(ctx);
    }

    /// The peers whose beacons were received.
    pub fn discovered(&self) -> &DiscoveredPeers {
        &self.discovered
    }

    /// All discovered peers. The `bool` of each peer says whether its beacons still arrive.
    pub fn discovered_peers(&self, ctx: &Context) -> Vec<(&DiscoveredPeer, bool)> {
        let min_interval_ms = self.discovered.min_beacon_interval_ms();
        let is_fresh = |peer: &DiscoveredPeer| peer.is_fresh(ctx.now.time, min_interval_ms);
        let discovered = self.discovered.iter();
        discovered.map(|(_, peer)| (peer, is_fresh(peer))).collect()
    }

    /// How the peer of this link was found.
    pub fn found_via(&self, stream: StreamId, peer: &PeerId) -> FoundVia {
        let mut static_peers = self.static_peers.iter();
        let static_peer = static_peers.find(|static_peer| static_peer.peer() == Some(*peer));
        let is_discovered = self.discovered.get(peer).is_some();
        match stream.is_dialed() {
            _ if is_discovered => FoundVia::Multicast,
            _ if let Some(static_peer) = static_peer => static_peer.found_via(),
            true => self
                .address_book
                .found_via(peer)
                .unwrap_or(FoundVia::Static),
            false => FoundVia::Incoming,
        }
    }
}
