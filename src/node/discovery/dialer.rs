//! Whom to dial, and when; and when to call out ourselves.
use std::net::SocketAddr;

use crate::base::event::{Found, Interface, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::table::Table;
use crate::base::time::Time;
use crate::node::connection::handshake::Handshakes;
use crate::node::connection::liveness;
use crate::node::connection::liveness::Event;
use crate::node::context::Hub;
use crate::node::discovery::beacon;
use crate::node::discovery::candidates::{BACKOFF_MIN, PER_PEER, Sighting, has_room};
use crate::node::discovery::static_peers;
use crate::node::discovery::static_peers::Given;
use crate::node::topology::LINKS_MAX;
use crate::wire::beacon::{Beacon, Kind};

/// Beacons in quick succession after the start and when an interface appears: milliseconds from each to the next.
const QUICK: [u64; 6] = [250, 500, 1_000, 2_000, 3_000, 4_000];
/// Between beacons while nobody is linked, in milliseconds.
const ALONE: u64 = 5_000;
/// Between beacons when linked.
const LINKED: u64 = 10_000;
/// Dials a second, and at once.
const DIALS: u64 = 20;
/// A link that stood this long was a good one, in milliseconds.
const STOOD: u64 = 5_000;
/// Milliseconds after which a sighted peer whose link ended is dialed again.
const REDIAL: u64 = 200;
/// Of peers that are heard of for the first time, one in so many milliseconds, and so many at once, are dialed at once; the others wait until it is known
/// whether there are too many for a full mesh: those after the second number longer.
const BURST: (u64, u64, u64) = (50, 8, 24);
/// How long those of a burst wait, in milliseconds.
const BURST_WAIT: (u64, u64) = (100, 500);
/// Milliseconds of a beacon's interval for each peer heard of, in the quick succession after the start.
const QUICK_PER_PEER: u64 = 20;
/// Milliseconds after which it is looked over whom to keep, when something changed, and when nothing did.
const SURVEY: (u64, u64) = (1_000, 5_000);
/// Links up to which those that nobody wants may stay.
const KEPT: usize = 48;
/// How long a link must have been unwanted before it is ended, in milliseconds.
const UNWANTED: u64 = 30_000;

pub struct Discovery {
    beacons: bool,
    sightings: Table<PeerId, Sighting>,
    given: Vec<Given>,
    /// The rooms that we are in.
    joined: Vec<Room>,
    next_beacon: Time,
    /// When the last one was sent.
    called: Time,
    step: usize,
    /// How many peers were heard of for the first time lately, and when that was last counted down.
    burst: (Time, u64),
    /// When it was last looked over whom to keep, and whether something changed since.
    surveyed: Time,
    changed: bool,
    /// Links that we made and do not want any more, and since when.
    unwanted: Table<PeerId, Time>,
    /// When to dial next, if nothing happens; looked for anew at the end of a turn in which something did.
    next_dial: Option<Time>,
    stirred: bool,
    dials: u64,
    /// When the dials still allowed were last counted.
    counted: Time,
    dialed: u64,
}

impl Discovery {
    pub fn new(beacons: bool) -> Discovery {
        Discovery {
            beacons,
            sightings: Table::new(),
            given: Vec::new(),
            joined: Vec::new(),
            next_beacon: Time(u64::MAX),
            called: Time(0),
            step: 0,
            burst: (Time(0), 0),
            surveyed: Time(0),
            changed: false,
            unwanted: Table::new(),
            next_dial: None,
            stirred: false,
            dials: DIALS,
            counted: Time(0),
            dialed: 0,
        }
    }

    /// Interfaces came, went or changed: call out anew where somebody new could hear it.
    pub fn interfaces(&mut self, hub: &mut Hub, interfaces: Vec<Interface>) {
        let appeared = interfaces.iter().any(|new| !hub.interfaces.contains(new));
        hub.interfaces = interfaces;
        if appeared && self.beacons {
            self.step = 0;
            self.next_beacon = hub.now.time;
        }
    }

    pub fn datagram(
        &mut self,
        hub: &mut Hub,
        handshakes: &mut Handshakes,
        interface: u32,
        source: SocketAddr,
        bytes: &[u8],
    ) {
        let Some(beacon) = Beacon::parse(bytes, &hub.network, hub.beacon_key.as_ref()) else {
            hub.counters.foreign_datagrams += 1;
            return;
        };
        if beacon.peer == hub.id() && beacon.run == hub.run {
            return;
        }
        if !hub.on_network(interface, source.ip()) {
            hub.counters.foreign_datagrams += 1;
            return;
        }
        match beacon.kind {
            Kind::Leave => {
                let sighting = self.sightings.get(&beacon.peer);
                if sighting.is_some_and(|s| s.sent(&beacon, source.ip())) {
                    self.left(&beacon.peer);
                }
            }
            Kind::Discover => {
                liveness::sign_of_life(hub, &beacon.peer, beacon.run);
                let mut address = source;
                address.set_port(beacon.port);
                self.sighted(hub, &beacon, address);
                self.try_peer(hub, handshakes, beacon.peer);
            }
        }
    }

    fn sighted(&mut self, hub: &mut Hub, beacon: &Beacon, address: SocketAddr) {
        let (now, peer, source) = (hub.now.time, beacon.peer, address.ip());
        let mut wait = 0;
        let new = !self.sightings.contains_key(&peer);
        if new {
            let gone = now.since(self.burst.0) / BURST.0;
            if gone > 0 {
                self.burst = (now, self.burst.1.saturating_sub(gone));
                self.sweep(hub);
            }
            self.burst.1 += 1;
            if self.burst.1 > BURST.1 {
                let long = self.burst.1 > BURST.2;
                wait = hub.jitter(if long { BURST_WAIT.1 } else { BURST_WAIT.0 });
                // One of the two is first, and spares both a second handshake.
                wait += if hub.id() > peer { BURST_WAIT.0 } else { 0 };
            }
            if !has_room(&self.sightings, source) {
                hub.counters.beacons_over_bound += 1;
                return;
            }
            hub.news = now;
        }
        let sighting = self
            .sightings
            .get_or_insert_with(peer, || Sighting::new(beacon, source, now));
        if sighting.hear(beacon, address, now, wait) {
            sighting.compare(&hub.network, &self.joined);
        }
        if hub.topology.many() {
            // A neighbour is dialed before the next look.
            for room in sighting.rooms.iter().filter(|_| sighting.hopeful(now)) {
                let (own, topology) = (hub.id(), &mut hub.topology);
                if match beacon.passing {
                    true => topology.fits(&own, room, &peer),
                    false => topology.add(&own, room, &peer),
                } {
                    topology.want(peer);
                }
            }
        } else if new && self.sightings.len() > LINKS_MAX {
            self.survey(hub);
        }
        let linked = hub.link_to(&peer).map(|link| link.run) == Some(beacon.run);
        self.stirred |= !linked && hub.topology.wants(&peer);
    }

    /// Forgets whom nobody heard any more.
    fn sweep(&mut self, hub: &Hub) {
        let (now, pace) = (hub.now.time, self.pace());
        self.sightings
            .retain(|id, s| s.fresh(now, pace) || hub.linked.contains_key(id));
    }

    /// Milliseconds between the beacons of one program, when there are more than a full mesh takes; 0: no more.
    fn pace(&self) -> u64 {
        match self.sightings.len() {
            few if few <= LINKS_MAX => 0,
            many => PER_PEER * many as u64,
        }
    }

    /// A finder, or a person, named an address.
    pub fn sighting(
        &mut self,
        hub: &mut Hub,
        address: SocketAddr,
        peer: Option<PeerId>,
        found: Found,
    ) {
        if static_peers::add(&mut self.given, address, peer, found) {
            hub.news = hub.now.time;
            self.stirred = true;
        }
    }

    fn allowed(&mut self, hub: &Hub, handshakes: &Handshakes) -> bool {
        let refill = hub.now.time.since(self.counted) * DIALS / 1_000;
        if refill > 0 {
            self.dials = (self.dials + refill).min(DIALS);
            self.counted = hub.now.time;
        }
        self.dials > 0 && handshakes.has_room(true)
    }

    fn dial(
        &mut self,
        hub: &mut Hub,
        handshakes: &mut Handshakes,
        address: SocketAddr,
        meant: Option<PeerId>,
    ) -> StreamId {
        self.stirred = true;
        self.dials -= 1;
        self.dialed += 1;
        let stream = StreamId::dialed(self.dialed);
        handshakes.dial(hub, stream, address, meant);
        stream
    }

    /// Dials a sighted peer if it is not linked, not being dialed, and one of its addresses is due.
    fn try_peer(&mut self, hub: &mut Hub, handshakes: &mut Handshakes, peer: PeerId) {
        let now = hub.now.time;
        let allowed = self.allowed(hub, handshakes);
        let Some(sighting) = self.sightings.get(&peer) else {
            return;
        };
        if sighting.dialing.is_some()
            || hub
                .link_to(&peer)
                .is_some_and(|link| link.run == sighting.run)
            || !sighting.fresh(now, self.pace())
            || !hub.topology.wants(&peer)
            || !allowed
        {
            return;
        }
        let Some(address) = sighting
            .places
            .iter()
            .find(|place| place.next_try <= now)
            .map(|place| place.address)
        else {
            return;
        };
        let stream = self.dial(hub, handshakes, address, None);
        if let Some(sighting) = self.sightings.get_mut(&peer) {
            sighting.dialing = Some((stream, address));
        }
    }

    /// A link stands. `true`: the user named this peer with an address.
    pub fn up(&mut self, stream: StreamId, peer: PeerId) -> bool {
        for given in self
            .given
            .iter_mut()
            .filter(|given| given.dialing == Some(stream))
        {
            (given.dialing, given.peer) = (None, Some(peer));
        }
        self.ended(stream);
        self.given.iter().any(|given| given.meant() == Some(peer))
    }

    /// Another peer than the user named answered a dial.
    pub fn other(&mut self, stream: StreamId, peer: Peer) {
        static_peers::other(&mut self.given, stream, peer);
    }

    fn ended(&mut self, stream: StreamId) {
        self.stirred = true;
        self.sightings
            .values_mut()
            .filter(|s| s.dialing.is_some_and(|(dialed, _)| dialed == stream))
            .for_each(|s| s.dialing = None);
        self.given
            .iter_mut()
            .filter(|g| g.dialing == Some(stream))
            .for_each(|g| g.dialing = None);
    }

    /// A dial, or its handshake, came to nothing. `own`: it reached ourselves.
    pub fn failed(&mut self, hub: &mut Hub, stream: StreamId, own: bool) {
        let mut unheard = false;
        for sighting in self.sightings.values_mut() {
            let Some((_, address)) = sighting.dialing.filter(|(dialed, _)| *dialed == stream)
            else {
                continue;
            };
            for place in sighting.places.iter_mut().filter(|p| p.address == address) {
                place.failed(hub);
            }
            unheard = !hub.linked.contains_key(&sighting.peer.id);
        }
        for given in self.given.iter_mut().filter(|g| g.dialing == Some(stream)) {
            given.place.failed(hub);
            given.own |= own;
        }
        static_peers::tell(&mut self.given, hub);
        self.ended(stream);
        // We cannot reach it; perhaps it can reach us.
        self.changed = true;
        if unheard && self.beacons {
            let soon = hub.now.time + hub.jitter(2_000);
            self.next_beacon = self.next_beacon.min(soon);
        }
    }

    /// The peer's program said goodbye: there is nobody to dial.
    pub fn left(&mut self, peer: &PeerId) {
        self.sightings.remove(peer);
        (self.changed, self.stirred) = (true, true);
    }

    /// A link ended that stood since then. One that did not stand long counts as a failed dial, so that what ends links at once is not tried without end.
    pub fn down(&mut self, hub: &mut Hub, peer: &PeerId, since: Time) {
        (self.changed, self.stirred) = (true, true);
        let stood = hub.now.time.since(since) >= STOOD;
        let sighted = self.sightings.get_mut(peer).into_iter();
        let sighted = sighted.flat_map(|s| s.places.iter_mut().map(|place| (place, REDIAL)));
        let given = self.given.iter_mut().filter(|g| g.peer == Some(*peer));
        let given = given.map(|given| (&mut given.place, BACKOFF_MIN));
        for (place, wait) in sighted.chain(given) {
            if stood {
                (place.failures, place.next_try) = (0, hub.now.time + hub.jitter(wait));
            } else {
                place.failed(hub);
            }
        }
    }

    pub fn wake(&mut self, hub: &mut Hub, handshakes: &mut Handshakes) {
        let now = hub.now.time;
        if self.beacons && self.next_beacon <= now {
            let pace = self.pace();
            if self.step > 0 && now < self.called + pace / 2 {
                // Many were heard since it was set.
                self.next_beacon = self.called + hub.jitter(pace);
            } else {
                let interval = self.interval(hub).max(pace);
                let wait = interval.saturating_sub(pace) + hub.jitter(pace);
                (self.called, self.next_beacon) = (now, now + wait);
                self.step += 1;
                beacon::call(hub, &self.joined, Kind::Discover, interval);
            }
        }
        if self.next_survey(hub).is_some_and(|at| at <= now) {
            self.survey(hub);
        }
        if self.stirred || self.next_dial.is_some_and(|at| at <= now) {
            self.stirred = true;
            self.dial_due(hub, handshakes);
        }
    }

    fn dial_due(&mut self, hub: &mut Hub, handshakes: &mut Handshakes) {
        let now = hub.now.time;
        let due: Vec<PeerId> = self
            .due(hub)
            .filter(|(_, at)| *at <= now)
            .map(|(peer, _)| peer)
            .collect();
        for peer in due {
            self.try_peer(hub, handshakes, peer);
        }
        for i in 0..self.given.len() {
            let allowed = self.allowed(hub, handshakes);
            let given = &self.given[i];
            if allowed && given.waits(hub) && given.place.next_try <= now {
                let (address, meant) = (given.place.address, given.meant());
                let stream = self.dial(hub, handshakes, address, meant);
                self.given[i].dialing = Some(stream);
            }
        }
    }

    fn interval(&self, hub: &Hub) -> u64 {
        match QUICK.get(self.step) {
            Some(quick) => (*quick).max(QUICK_PER_PEER * self.sightings.len() as u64),
            None if hub.linked.is_empty() => ALONE,
            None => LINKED,
        }
    }

    /// Those that were heard of and may be dialed: all, or when there are too many those that are wanted.
    fn eligible<'a>(&'a self, hub: &'a Hub) -> impl Iterator<Item = (&'a PeerId, &'a Sighting)> {
        let all = if hub.topology.many() { 0 } else { usize::MAX };
        let wanted = hub.topology.wanted().iter();
        wanted
            .filter_map(|peer| Some((peer, self.sightings.get(peer)?)))
            .chain(self.sightings.iter().take(all))
    }

    /// Sighted peers that are not linked, and when each is to be dialed.
    fn due<'a>(&'a self, hub: &'a Hub) -> impl Iterator<Item = (PeerId, Time)> + 'a {
        let pace = self.pace();
        let open = self.eligible(hub).filter(move |(peer, s)| {
            s.dialing.is_none()
                && s.fresh(hub.now.time, pace)
                && hub.link_to(peer).is_none_or(|link| link.run != s.run)
        });
        open.filter_map(|(peer, s)| {
            Some((*peer, s.places.iter().map(|place| place.next_try).min()?))
        })
    }

    /// Somebody may yet be linked: sighted and not failed, or given and not tried.
    pub fn coming(&self, hub: &Hub) -> bool {
        let now = hub.now.time;
        self.eligible(hub)
            .any(|(peer, s)| s.coming(now) && !hub.linked.contains_key(peer) && *peer != hub.id())
            || self
                .given
                .iter()
                .any(|given| given.waits(hub) && given.place.failures == 0)
    }

    /// We joined a room, or left one.
    pub fn rooms(&mut self, hub: &Hub, rooms: &[Room]) {
        self.joined = rooms.to_vec();
        for sighting in self.sightings.values_mut() {
            sighting.compare(&hub.network, rooms);
        }
        self.changed = true;
    }

    /// A link shows which rooms its peer is in.
    pub fn learn(&mut self, hub: &Hub, stream: StreamId) {
        if let Some(link) = hub.links.get(&stream)
            && let Some(sighting) = self.sightings.get_mut(&link.peer.id)
        {
            let rooms: Vec<Room> = link.rooms.iter().cloned().collect();
            self.changed |= sighting.rooms != rooms;
            sighting.rooms = rooms;
        }
    }

    /// When to look over whom to keep.
    fn next_survey(&self, hub: &Hub) -> Option<Time> {
        let wait = if self.changed { SURVEY.0 } else { SURVEY.1 };
        hub.topology.many().then_some(self.surveyed + wait)
    }

    /// Looks over whom to keep.
    fn survey(&mut self, hub: &mut Hub) {
        let (own, now) = (hub.id(), hub.now.time);
        (self.surveyed, self.changed, self.stirred) = (now, false, true);
        self.sweep(hub);
        let unlinked = |peer: &PeerId| *peer != own && !hub.linked.contains_key(peer);
        let heard = self.sightings.values();
        let heard = heard.filter(|s| unlinked(&s.peer.id) && s.hopeful(now));
        let links = hub.links.values().filter(|link| !link.passing);
        let known = heard.clone().filter(|s| !s.passing).count() + links.clone().count();
        if !hub.topology.count(known) {
            return self.unwanted.clear();
        }
        let topology = &mut hub.topology;
        for link in links {
            for room in &link.rooms {
                topology.add(&own, room, &link.peer.id);
            }
        }
        for sighting in heard.clone().filter(|s| !s.passing) {
            for room in &sighting.rooms {
                topology.add(&own, room, &sighting.peer.id);
            }
        }
        for given in &self.given {
            given.peer.into_iter().for_each(|peer| topology.want(peer));
        }
        topology.settle();
        // Who comes and goes is not a neighbour to rely on: it is linked beside the others.
        for sighting in heard.filter(|s| s.passing) {
            let peer = sighting.peer.id;
            if sighting
                .rooms
                .iter()
                .any(|room| topology.fits(&own, room, &peer))
            {
                topology.want(peer);
            }
        }
    }

    /// Links that we made and have not wanted for long, if there are more than a few: the other side makes its own, if it wants one.
    pub fn prune(&mut self, hub: &mut Hub, events: &mut Vec<Event>) {
        let now = hub.now.time;
        if !hub.topology.many() || self.surveyed != now {
            return;
        }
        let spare = hub.links.iter().filter(|(stream, link)| {
            stream.is_dialed() && !link.passing && !hub.topology.wants(&link.peer.id)
        });
        let spare: Table<PeerId, StreamId> = spare.map(|(s, link)| (link.peer.id, *s)).collect();
        self.unwanted.retain(|peer, _| spare.contains_key(peer));
        for peer in spare.keys() {
            self.unwanted.get_or_insert_with(*peer, || now);
        }
        let most = hub.links.len().saturating_sub(KEPT);
        let long = self
            .unwanted
            .iter()
            .filter(|(_, at)| **at + UNWANTED <= now);
        for (peer, _) in long.take(most) {
            if let Some(stream) = spare.get(peer) {
                liveness::close(hub, *stream, "full", events);
            }
        }
    }

    pub fn deadline(&self, hub: &Hub, handshakes: &Handshakes) -> Option<Time> {
        let beacon = self
            .beacons
            .then_some(self.next_beacon)
            .filter(|at| at.0 != u64::MAX);
        if !handshakes.has_room(true) {
            return beacon.into_iter().chain(self.next_survey(hub)).min();
        }
        // Out of dials: not before there is one again.
        let earliest = if self.dials == 0 {
            self.counted + 1_000 / DIALS
        } else {
            Time(0)
        };
        let dial = self.next_dial.map(|at| at.max(earliest));
        let deadlines = dial.into_iter().chain(beacon);
        deadlines.chain(self.next_survey(hub)).min()
    }

    /// At a turn's end: when to dial next, if something happened by which that may have changed.
    pub fn end_turn(&mut self, hub: &Hub) {
        if std::mem::take(&mut self.stirred) {
            let given = self.given.iter().filter(|given| given.waits(hub));
            let given = given.map(|given| given.place.next_try);
            self.next_dial = given.chain(self.due(hub).map(|(_, at)| at)).min();
        }
    }

    /// Withdraws the beacon.
    pub fn leave(&mut self, hub: &mut Hub) {
        if self.beacons {
            beacon::call(hub, &self.joined, Kind::Leave, 0);
        }
        self.beacons = false;
        self.sightings.clear();
        self.given.clear();
    }

    /// Peers that were heard of, and whether each still is.
    pub fn heard(&self, hub: &Hub) -> Vec<(&Sighting, bool)> {
        let fresh = |s: &Sighting| s.fresh(hub.now.time, self.pace());
        self.sightings.values().map(|s| (s, fresh(s))).collect()
    }

    /// How the peer of this link was found.
    pub fn found(&self, stream: StreamId, peer: &PeerId) -> Found {
        let given = self.given.iter().any(|given| given.peer == Some(*peer));
        match (
            self.sightings.contains_key(peer),
            given || stream.is_dialed(),
        ) {
            (true, _) => Found::Multicast,
            (false, true) => Found::Given,
            (false, false) => Found::Incoming,
        }
    }
}
