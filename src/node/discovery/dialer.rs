//! Whom to dial, and when; and when to call out ourselves.
use std::net::SocketAddr;

use crate::base::event::{FoundVia, Interface, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::connection::handshake::Handshakes;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::context::Context;
use crate::node::discovery::beacon;
use crate::node::discovery::candidates::{
    BACKOFF_MIN_MS, BEACON_INTERVAL_PER_PEER_MS, DiscoveredPeer, can_accept,
};
use crate::node::discovery::static_peers;
use crate::node::discovery::static_peers::StaticPeer;
use crate::node::topology::LINKS_MAX;
use crate::wire::beacon::{Beacon, BeaconKind};
use crate::wire::message::ByeReason;

/// Beacons in quick succession after the start and when an interface appears: milliseconds from each to the next.
const STARTUP_BEACON_INTERVALS_MS: [u64; 6] = [250, 500, 1_000, 2_000, 3_000, 4_000];
/// Between beacons while nobody is linked, in milliseconds.
const UNLINKED_BEACON_INTERVAL_MS: u64 = 5_000;
/// Between beacons when linked.
const LINKED_BEACON_INTERVAL_MS: u64 = 10_000;
/// Dials a second, and at once.
const DIALS_PER_SECOND_MAX: u64 = 20;
/// A link that stood this long was a good one, in milliseconds.
const STABLE_LINK_MS: u64 = 5_000;
/// Milliseconds after which a sighted peer whose link ended is dialed again.
const REDIAL_DELAY_MS: u64 = 200;
/// Of peers that are heard of for the first time, one in so many milliseconds, and so many at once, are dialed at once; the others wait until it is known
/// whether there are too many for a full mesh: those after the second number longer.
const NEW_PEER_BURST: (u64, u64, u64) = (50, 8, 24);
/// How long those of a burst wait, in milliseconds.
const NEW_PEER_DIAL_DELAY_MS: (u64, u64) = (100, 500);
/// Milliseconds of a beacon's interval for each peer heard of, in the quick succession after the start.
const STARTUP_INTERVAL_PER_PEER_MS: u64 = 20;
/// Milliseconds after which it is looked over whom to keep, when something changed, and when nothing did.
const TOPOLOGY_UPDATE_MS: (u64, u64) = (1_000, 5_000);
/// Links up to which those that nobody wants may stay.
const PRUNE_ABOVE_LINKS: usize = 48;
/// How long a link must have been unwanted before it is ended, in milliseconds.
const PRUNE_AFTER_MS: u64 = 30_000;

pub struct Dialer {
    beacons_enabled: bool,
    discovered: SortedMap<PeerId, DiscoveredPeer>,
    static_peers: Vec<StaticPeer>,
    /// The rooms that we are in.
    joined_rooms: Vec<Room>,
    next_beacon: Time,
    /// When the last one was sent.
    last_beacon: Time,
    startup_step: usize,
    /// How many peers were heard of for the first time lately, and when that was last counted down.
    new_peer_burst: (Time, u64),
    /// When it was last looked over whom to keep, and whether something changed since.
    topology_updated_at: Time,
    is_topology_stale: bool,
    /// Links that we made and do not want any more, and since when.
    unwanted_since: SortedMap<PeerId, Time>,
    /// When to dial next, if nothing happens; looked for anew at the end of a turn in which something did.
    next_dial: Option<Time>,
    is_next_dial_stale: bool,
    dial_tokens: u64,
    /// When the dials still allowed were last counted.
    tokens_refilled_at: Time,
    dials_started: u64,
}

impl Dialer {
    pub fn new(beacons: bool) -> Dialer {
        Dialer {
            beacons_enabled: beacons,
            discovered: SortedMap::new(),
            static_peers: Vec::new(),
            joined_rooms: Vec::new(),
            next_beacon: Time(u64::MAX),
            last_beacon: Time(0),
            startup_step: 0,
            new_peer_burst: (Time(0), 0),
            topology_updated_at: Time(0),
            is_topology_stale: false,
            unwanted_since: SortedMap::new(),
            next_dial: None,
            is_next_dial_stale: false,
            dial_tokens: DIALS_PER_SECOND_MAX,
            tokens_refilled_at: Time(0),
            dials_started: 0,
        }
    }

    /// Interfaces came, went or changed: call out anew where somebody new could hear it.
    pub fn handle_interfaces(&mut self, ctx: &mut Context, interfaces: Vec<Interface>) {
        let appeared = interfaces.iter().any(|new| !ctx.interfaces.contains(new));
        ctx.interfaces = interfaces;
        if appeared && self.beacons_enabled {
            self.startup_step = 0;
            self.next_beacon = ctx.now.time;
        }
    }

    pub fn handle_datagram(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        interface: u32,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        let Some(beacon) = Beacon::parse(bytes, &ctx.network, ctx.beacon_key.as_ref()) else {
            ctx.counters.foreign_datagrams += 1;
            return;
        };
        if beacon.peer == ctx.own_id() && beacon.run == ctx.run {
            return;
        }
        if !ctx.is_in_subnet(interface, source.ip()) {
            ctx.counters.foreign_datagrams += 1;
            return;
        }
        match beacon.kind {
            BeaconKind::Leave => {
                let sighting = self.discovered.get(&beacon.peer);
                if sighting.is_some_and(|s| s.is_same_source(&beacon, source.ip())) {
                    self.forget_peer(&beacon.peer);
                }
            }
            BeaconKind::Discover => {
                liveness::record_activity(ctx, &beacon.peer, beacon.run);
                let mut address = source;
                address.set_port(beacon.port);
                self.record_beacon(ctx, &beacon, address);
                self.dial_discovered(ctx, handshakes, beacon.peer);
            }
        }
    }

    fn record_beacon(&mut self, ctx: &mut Context, beacon: &Beacon, address: SocketAddr) {
        let (now, peer, source) = (ctx.now.time, beacon.peer, address.ip());
        let mut wait = 0;
        let new = !self.discovered.contains_key(&peer);
        if new {
            let gone = now.ms_since(self.new_peer_burst.0) / NEW_PEER_BURST.0;
            if gone > 0 {
                self.new_peer_burst = (now, self.new_peer_burst.1.saturating_sub(gone));
                self.expire_discovered(ctx);
            }
            self.new_peer_burst.1 += 1;
            if self.new_peer_burst.1 > NEW_PEER_BURST.1 {
                let long = self.new_peer_burst.1 > NEW_PEER_BURST.2;
                wait = ctx.jitter(if long {
                    NEW_PEER_DIAL_DELAY_MS.1
                } else {
                    NEW_PEER_DIAL_DELAY_MS.0
                });
                // One of the two is first, and spares both a second handshake.
                wait += if ctx.own_id() > peer {
                    NEW_PEER_DIAL_DELAY_MS.0
                } else {
                    0
                };
            }
            if !can_accept(&self.discovered, source) {
                ctx.counters.beacons_over_bound += 1;
                return;
            }
            ctx.last_peer_event = now;
        }
        let sighting = self
            .discovered
            .get_or_insert_with(peer, || DiscoveredPeer::new(beacon, source, now));
        if sighting.apply_beacon(beacon, address, now, wait) {
            sighting.match_rooms(&ctx.network, &self.joined_rooms);
        }
        if ctx.topology.is_partial_mesh() {
            // A neighbour is dialed before the next look.
            for room in sighting.rooms.iter().filter(|_| sighting.is_dialable(now)) {
                let (own, topology) = (ctx.own_id(), &mut ctx.topology);
                if match beacon.transient {
                    true => topology.is_neighbour(&own, room, &peer),
                    false => topology.add_member(&own, room, &peer),
                } {
                    topology.add_wanted(peer);
                }
            }
        } else if new && self.discovered.len() > LINKS_MAX {
            self.update_topology(ctx);
        }
        let linked = ctx.link_to(&peer).map(|link| link.run) == Some(beacon.run);
        self.is_next_dial_stale |= !linked && ctx.topology.is_wanted(&peer);
    }

    /// Forgets whom nobody heard any more.
    fn expire_discovered(&mut self, ctx: &Context) {
        let (now, pace) = (ctx.now.time, self.min_beacon_interval_ms());
        self.discovered
            .retain(|id, s| s.is_fresh(now, pace) || ctx.stream_by_peer.contains_key(id));
    }

    /// Milliseconds between the beacons of one program, when there are more than a full mesh takes; 0: no more.
    fn min_beacon_interval_ms(&self) -> u64 {
        match self.discovered.len() {
            few if few <= LINKS_MAX => 0,
            many => BEACON_INTERVAL_PER_PEER_MS * many as u64,
        }
    }

    /// A finder, or a person, named an address.
    pub fn handle_candidate(
        &mut self,
        ctx: &mut Context,
        address: SocketAddr,
        peer: Option<PeerId>,
        found: FoundVia,
    ) {
        if static_peers::add(&mut self.static_peers, address, peer, found) {
            ctx.last_peer_event = ctx.now.time;
            self.is_next_dial_stale = true;
        }
    }

    fn can_dial(&mut self, ctx: &Context, handshakes: &Handshakes) -> bool {
        let refill = ctx.now.time.ms_since(self.tokens_refilled_at) * DIALS_PER_SECOND_MAX / 1_000;
        if refill > 0 {
            self.dial_tokens = (self.dial_tokens + refill).min(DIALS_PER_SECOND_MAX);
            self.tokens_refilled_at = ctx.now.time;
        }
        self.dial_tokens > 0 && handshakes.can_accept(true)
    }

    fn dial(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        address: SocketAddr,
        meant: Option<PeerId>,
    ) -> StreamId {
        self.is_next_dial_stale = true;
        self.dial_tokens -= 1;
        self.dials_started += 1;
        let stream = StreamId::dialed(self.dials_started);
        handshakes.dial(ctx, stream, address, meant);
        stream
    }

    /// Dials a sighted peer if it is not linked, not being dialed, and one of its addresses is due.
    fn dial_discovered(&mut self, ctx: &mut Context, handshakes: &mut Handshakes, peer: PeerId) {
        let now = ctx.now.time;
        let allowed = self.can_dial(ctx, handshakes);
        let Some(sighting) = self.discovered.get(&peer) else {
            return;
        };
        if sighting.dialing.is_some()
            || ctx
                .link_to(&peer)
                .is_some_and(|link| link.run == sighting.run)
            || !sighting.is_fresh(now, self.min_beacon_interval_ms())
            || !ctx.topology.is_wanted(&peer)
            || !allowed
        {
            return;
        }
        let Some(address) = sighting
            .candidates
            .iter()
            .find(|place| place.next_attempt <= now)
            .map(|place| place.address)
        else {
            return;
        };
        let stream = self.dial(ctx, handshakes, address, None);
        if let Some(sighting) = self.discovered.get_mut(&peer) {
            sighting.dialing = Some((stream, address));
        }
    }

    /// A link stands. `true`: the user named this peer with an address.
    pub fn link_up(&mut self, stream: StreamId, peer: PeerId) -> bool {
        for given in self
            .static_peers
            .iter_mut()
            .filter(|given| given.dialing == Some(stream))
        {
            (given.dialing, given.peer) = (None, Some(peer));
        }
        self.clear_dial(stream);
        self.static_peers
            .iter()
            .any(|given| given.pinned_peer() == Some(peer))
    }

    /// Another peer than the user named answered a dial.
    pub fn handle_unexpected_peer(&mut self, stream: StreamId, peer: Peer) {
        static_peers::record_mismatch(&mut self.static_peers, stream, peer);
    }

    fn clear_dial(&mut self, stream: StreamId) {
        self.is_next_dial_stale = true;
        self.discovered
            .values_mut()
            .filter(|s| s.dialing.is_some_and(|(dialed, _)| dialed == stream))
            .for_each(|s| s.dialing = None);
        self.static_peers
            .iter_mut()
            .filter(|g| g.dialing == Some(stream))
            .for_each(|g| g.dialing = None);
    }

    /// A dial, or its handshake, came to nothing. `own`: it reached ourselves.
    pub fn handle_dial_failed(&mut self, ctx: &mut Context, stream: StreamId, own: bool) {
        let mut unheard = false;
        for sighting in self.discovered.values_mut() {
            let Some((_, address)) = sighting.dialing.filter(|(dialed, _)| *dialed == stream)
            else {
                continue;
            };
            for place in sighting
                .candidates
                .iter_mut()
                .filter(|p| p.address == address)
            {
                place.record_failure(ctx);
            }
            unheard = !ctx.stream_by_peer.contains_key(&sighting.peer.id);
        }
        for given in self
            .static_peers
            .iter_mut()
            .filter(|g| g.dialing == Some(stream))
        {
            given.candidate.record_failure(ctx);
            given.is_self |= own;
        }
        static_peers::report_mismatches(&mut self.static_peers, ctx);
        self.clear_dial(stream);
        // We cannot reach it; perhaps it can reach us.
        self.is_topology_stale = true;
        if unheard && self.beacons_enabled {
            let soon = ctx.now.time + ctx.jitter(2_000);
            self.next_beacon = self.next_beacon.min(soon);
        }
    }

    /// The peer's program said goodbye: there is nobody to dial.
    pub fn forget_peer(&mut self, peer: &PeerId) {
        self.discovered.remove(peer);
        (self.is_topology_stale, self.is_next_dial_stale) = (true, true);
    }

    /// A link ended that stood since then. One that did not stand long counts as a failed dial, so that what ends links at once is not tried without end.
    pub fn link_down(&mut self, ctx: &mut Context, peer: &PeerId, since: Time) {
        (self.is_topology_stale, self.is_next_dial_stale) = (true, true);
        let stood = ctx.now.time.ms_since(since) >= STABLE_LINK_MS;
        let sighted = self.discovered.get_mut(peer).into_iter();
        let sighted = sighted.flat_map(|s| {
            s.candidates
                .iter_mut()
                .map(|place| (place, REDIAL_DELAY_MS))
        });
        let given = self
            .static_peers
            .iter_mut()
            .filter(|g| g.peer == Some(*peer));
        let given = given.map(|given| (&mut given.candidate, BACKOFF_MIN_MS));
        for (place, wait) in sighted.chain(given) {
            if stood {
                (place.failures, place.next_attempt) = (0, ctx.now.time + ctx.jitter(wait));
            } else {
                place.record_failure(ctx);
            }
        }
    }

    pub fn handle_timeout(&mut self, ctx: &mut Context, handshakes: &mut Handshakes) {
        let now = ctx.now.time;
        if self.beacons_enabled && self.next_beacon <= now {
            let pace = self.min_beacon_interval_ms();
            if self.startup_step > 0 && now < self.last_beacon + pace / 2 {
                // Many were heard since it was set.
                self.next_beacon = self.last_beacon + ctx.jitter(pace);
            } else {
                let interval = self.beacon_interval_ms(ctx).max(pace);
                let wait = interval.saturating_sub(pace) + ctx.jitter(pace);
                (self.last_beacon, self.next_beacon) = (now, now + wait);
                self.startup_step += 1;
                beacon::broadcast(ctx, &self.joined_rooms, BeaconKind::Discover, interval);
            }
        }
        if self.next_topology_update(ctx).is_some_and(|at| at <= now) {
            self.update_topology(ctx);
        }
        if self.is_next_dial_stale || self.next_dial.is_some_and(|at| at <= now) {
            self.is_next_dial_stale = true;
            self.dial_due(ctx, handshakes);
        }
    }

    fn dial_due(&mut self, ctx: &mut Context, handshakes: &mut Handshakes) {
        let now = ctx.now.time;
        let due: Vec<PeerId> = self
            .dial_times(ctx)
            .filter(|(_, at)| *at <= now)
            .map(|(peer, _)| peer)
            .collect();
        for peer in due {
            self.dial_discovered(ctx, handshakes, peer);
        }
        for i in 0..self.static_peers.len() {
            let allowed = self.can_dial(ctx, handshakes);
            let given = &self.static_peers[i];
            if allowed && given.needs_dial(ctx) && given.candidate.next_attempt <= now {
                let (address, meant) = (given.candidate.address, given.pinned_peer());
                let stream = self.dial(ctx, handshakes, address, meant);
                self.static_peers[i].dialing = Some(stream);
            }
        }
    }

    fn beacon_interval_ms(&self, ctx: &Context) -> u64 {
        match STARTUP_BEACON_INTERVALS_MS.get(self.startup_step) {
            Some(quick) => {
                (*quick).max(STARTUP_INTERVAL_PER_PEER_MS * self.discovered.len() as u64)
            }
            None if ctx.stream_by_peer.is_empty() => UNLINKED_BEACON_INTERVAL_MS,
            None => LINKED_BEACON_INTERVAL_MS,
        }
    }

    /// Those that were heard of and may be dialed: all, or when there are too many those that are wanted.
    fn eligible<'a>(
        &'a self,
        ctx: &'a Context,
    ) -> impl Iterator<Item = (&'a PeerId, &'a DiscoveredPeer)> {
        let all = if ctx.topology.is_partial_mesh() {
            0
        } else {
            usize::MAX
        };
        let wanted = ctx.topology.wanted().iter();
        wanted
            .filter_map(|peer| Some((peer, self.discovered.get(peer)?)))
            .chain(self.discovered.iter().take(all))
    }

    /// Sighted peers that are not linked, and when each is to be dialed.
    fn dial_times<'a>(&'a self, ctx: &'a Context) -> impl Iterator<Item = (PeerId, Time)> + 'a {
        let pace = self.min_beacon_interval_ms();
        let open = self.eligible(ctx).filter(move |(peer, s)| {
            s.dialing.is_none()
                && s.is_fresh(ctx.now.time, pace)
                && ctx.link_to(peer).is_none_or(|link| link.run != s.run)
        });
        open.filter_map(|(peer, s)| {
            Some((
                *peer,
                s.candidates.iter().map(|place| place.next_attempt).min()?,
            ))
        })
    }

    /// Somebody may yet be linked: sighted and not failed, or given and not tried.
    pub fn is_expecting_link(&self, ctx: &Context) -> bool {
        let now = ctx.now.time;
        self.eligible(ctx).any(|(peer, s)| {
            s.is_expected(now) && !ctx.stream_by_peer.contains_key(peer) && *peer != ctx.own_id()
        }) || self
            .static_peers
            .iter()
            .any(|given| given.needs_dial(ctx) && given.candidate.failures == 0)
    }

    /// We joined a room, or left one.
    pub fn set_joined_rooms(&mut self, ctx: &Context, rooms: &[Room]) {
        self.joined_rooms = rooms.to_vec();
        for sighting in self.discovered.values_mut() {
            sighting.match_rooms(&ctx.network, rooms);
        }
        self.is_topology_stale = true;
    }

    /// A link shows which rooms its peer is in.
    pub fn update_peer_rooms(&mut self, ctx: &Context, stream: StreamId) {
        if let Some(link) = ctx.links.get(&stream)
            && let Some(sighting) = self.discovered.get_mut(&link.peer.id)
        {
            let rooms: Vec<Room> = link.shared_rooms.iter().cloned().collect();
            self.is_topology_stale |= sighting.rooms != rooms;
            sighting.rooms = rooms;
        }
    }

    /// When to look over whom to keep.
    fn next_topology_update(&self, ctx: &Context) -> Option<Time> {
        let wait = if self.is_topology_stale {
            TOPOLOGY_UPDATE_MS.0
        } else {
            TOPOLOGY_UPDATE_MS.1
        };
        ctx.topology
            .is_partial_mesh()
            .then_some(self.topology_updated_at + wait)
    }

    /// Looks over whom to keep.
    fn update_topology(&mut self, ctx: &mut Context) {
        let (own, now) = (ctx.own_id(), ctx.now.time);
        (
            self.topology_updated_at,
            self.is_topology_stale,
            self.is_next_dial_stale,
        ) = (now, false, true);
        self.expire_discovered(ctx);
        let unlinked = |peer: &PeerId| *peer != own && !ctx.stream_by_peer.contains_key(peer);
        let heard = self.discovered.values();
        let heard = heard.filter(|s| unlinked(&s.peer.id) && s.is_dialable(now));
        let links = ctx.links.values().filter(|link| !link.transient);
        let known = heard.clone().filter(|s| !s.transient).count() + links.clone().count();
        if !ctx.topology.reset(known) {
            return self.unwanted_since.clear();
        }
        let topology = &mut ctx.topology;
        for link in links {
            for room in &link.shared_rooms {
                topology.add_member(&own, room, &link.peer.id);
            }
        }
        for sighting in heard.clone().filter(|s| !s.transient) {
            for room in &sighting.rooms {
                topology.add_member(&own, room, &sighting.peer.id);
            }
        }
        for given in &self.static_peers {
            given
                .peer
                .into_iter()
                .for_each(|peer| topology.add_wanted(peer));
        }
        topology.select_neighbours();
        // Who comes and goes is not a neighbour to rely on: it is linked beside the others.
        for sighting in heard.filter(|s| s.transient) {
            let peer = sighting.peer.id;
            if sighting
                .rooms
                .iter()
                .any(|room| topology.is_neighbour(&own, room, &peer))
            {
                topology.add_wanted(peer);
            }
        }
    }

    /// Links that we made and have not wanted for long, if there are more than a few: the other side makes its own, if it wants one.
    pub fn prune_links(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        let now = ctx.now.time;
        if !ctx.topology.is_partial_mesh() || self.topology_updated_at != now {
            return;
        }
        let spare = ctx.links.iter().filter(|(stream, link)| {
            stream.is_dialed() && !link.transient && !ctx.topology.is_wanted(&link.peer.id)
        });
        let spare: SortedMap<PeerId, StreamId> =
            spare.map(|(s, link)| (link.peer.id, *s)).collect();
        self.unwanted_since
            .retain(|peer, _| spare.contains_key(peer));
        for peer in spare.keys() {
            self.unwanted_since.get_or_insert_with(*peer, || now);
        }
        let most = ctx.links.len().saturating_sub(PRUNE_ABOVE_LINKS);
        let long = self
            .unwanted_since
            .iter()
            .filter(|(_, at)| **at + PRUNE_AFTER_MS <= now);
        for (peer, _) in long.take(most) {
            if let Some(stream) = spare.get(peer) {
                liveness::close(ctx, *stream, ByeReason::Full, events);
            }
        }
    }

    pub fn deadline(&self, ctx: &Context, handshakes: &Handshakes) -> Option<Time> {
        let beacon = self
            .beacons_enabled
            .then_some(self.next_beacon)
            .filter(|at| at.0 != u64::MAX);
        if !handshakes.can_accept(true) {
            return beacon
                .into_iter()
                .chain(self.next_topology_update(ctx))
                .min();
        }
        // Out of dials: not before there is one again.
        let earliest = if self.dial_tokens == 0 {
            self.tokens_refilled_at + 1_000 / DIALS_PER_SECOND_MAX
        } else {
            Time(0)
        };
        let dial = self.next_dial.map(|at| at.max(earliest));
        let deadlines = dial.into_iter().chain(beacon);
        deadlines.chain(self.next_topology_update(ctx)).min()
    }

    /// At a turn's end: when to dial next, if something happened by which that may have changed.
    pub fn end_turn(&mut self, ctx: &Context) {
        if std::mem::take(&mut self.is_next_dial_stale) {
            let given = self
                .static_peers
                .iter()
                .filter(|given| given.needs_dial(ctx));
            let given = given.map(|given| given.candidate.next_attempt);
            self.next_dial = given.chain(self.dial_times(ctx).map(|(_, at)| at)).min();
        }
    }

    /// Withdraws the beacon.
    pub fn withdraw_beacon(&mut self, ctx: &mut Context) {
        if self.beacons_enabled {
            beacon::broadcast(ctx, &self.joined_rooms, BeaconKind::Leave, 0);
        }
        self.beacons_enabled = false;
        self.discovered.clear();
        self.static_peers.clear();
    }

    /// Peers that were heard of, and whether each still is.
    pub fn discovered_peers(&self, ctx: &Context) -> Vec<(&DiscoveredPeer, bool)> {
        let fresh = |s: &DiscoveredPeer| s.is_fresh(ctx.now.time, self.min_beacon_interval_ms());
        self.discovered.values().map(|s| (s, fresh(s))).collect()
    }

    /// How the peer of this link was found.
    pub fn found_via(&self, stream: StreamId, peer: &PeerId) -> FoundVia {
        let given = self
            .static_peers
            .iter()
            .any(|given| given.peer == Some(*peer));
        match (
            self.discovered.contains_key(peer),
            given || stream.is_dialed(),
        ) {
            (true, _) => FoundVia::Multicast,
            (false, true) => FoundVia::Static,
            (false, false) => FoundVia::Incoming,
        }
    }
}
