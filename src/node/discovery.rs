//! Whom to dial, and when; and when to call out ourselves.
use std::net::{IpAddr, SocketAddr};

use super::handshakes::Handshakes;
use super::hub::Hub;
use super::links;
use crate::base::event::{Found, Interface, Output, Peer, PeerState, PeerView, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::Table;
use crate::base::time::{Tenths, Time};
use crate::wire::beacon::{Beacon, Kind};

/// Beacons in quick succession after the start and when an interface appears: milliseconds from each to the next.
const QUICK: [u64; 6] = [250, 500, 1_000, 2_000, 3_000, 4_000];
/// Between beacons while nobody is linked, in milliseconds.
const ALONE: u64 = 5_000;
/// Between beacons when linked.
const LINKED: u64 = 10_000;
/// Milliseconds of a beacon's interval for each link: all programs of a LAN together send about five beacons a second at most.
const PER_LINK: u64 = 200;
/// Beacons missed after which a sighting is forgotten.
const MISSED: u64 = 3;
/// Longest interval believed of a beacon, in milliseconds.
const INTERVAL_MAX: u64 = 120_000;
/// How long after its first beacon a peer is expected to be linked, in milliseconds.
const COMING_FOR: u64 = 2_000;
const SIGHTINGS_MAX: usize = 1024;
/// Sightings from one source address.
const SOURCE_SHARE: usize = 128;
/// Addresses kept of one peer.
const ADDRESSES_MAX: usize = 4;
const GIVEN_MAX: usize = 64;
/// Dials a second, and at once.
const DIALS: u64 = 20;
const BACKOFF_MIN: u64 = 1_000;
const BACKOFF_MAX: u64 = 64_000;
/// A link that stood this long was a good one, in milliseconds.
const STOOD: u64 = 5_000;
/// Milliseconds after which a sighted peer whose link ended is dialed again.
const REDIAL: u64 = 200;

/// An address and how it went with it.
struct Place {
    address: SocketAddr,
    failures: u32,
    next_try: Time,
}

impl Place {
    fn new(address: SocketAddr) -> Place {
        Place {
            address,
            failures: 0,
            next_try: Time(0),
        }
    }

    fn failed(&mut self, hub: &mut Hub) {
        let wait = (BACKOFF_MIN << self.failures.min(6)).min(BACKOFF_MAX);
        self.failures += 1;
        self.next_try = hub.now.time + hub.jitter(wait);
    }
}

/// A peer that was heard of.
struct Sighting {
    peer: Peer,
    run: u64,
    places: Vec<Place>,
    first: Time,
    heard: Time,
    interval: u64,
    source: IpAddr,
    /// The stream, and to which address.
    dialing: Option<(StreamId, SocketAddr)>,
}

impl Sighting {
    fn fresh(&self, now: Time) -> bool {
        now.since(self.heard) <= MISSED * self.interval
    }
}

/// An address given by hand.
struct Given {
    place: Place,
    dialing: Option<StreamId>,
    peer: Option<PeerId>,
    /// It is our own.
    own: bool,
}

pub struct Discovery {
    beacons: bool,
    sightings: Table<PeerId, Sighting>,
    given: Vec<Given>,
    next_beacon: Time,
    step: usize,
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
            next_beacon: Time(u64::MAX),
            step: 0,
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
                if self
                    .sightings
                    .get(&beacon.peer)
                    .is_some_and(|s| s.run == beacon.run && s.source == source.ip())
                {
                    self.sightings.remove(&beacon.peer);
                }
            }
            Kind::Discover => {
                links::sign_of_life(hub, &beacon.peer, beacon.run);
                let mut address = source;
                address.set_port(beacon.port);
                self.sighted(hub, &beacon, source.ip(), address);
                self.try_peer(hub, handshakes, beacon.peer);
            }
        }
    }

    fn sighted(&mut self, hub: &mut Hub, beacon: &Beacon, source: IpAddr, address: SocketAddr) {
        let now = hub.now.time;
        let peer = Peer {
            id: beacon.peer,
            nick: beacon.nick.clone(),
        };
        let interval = beacon.interval.clamp(100, INTERVAL_MAX);
        if !self.sightings.contains_key(&peer.id) {
            self.sightings
                .retain(|id, s| s.fresh(now) || hub.linked.contains_key(id));
            let share = self
                .sightings
                .values()
                .filter(|s| s.source == source)
                .count();
            if self.sightings.len() >= SIGHTINGS_MAX || share >= SOURCE_SHARE {
                hub.counters.beacons_over_bound += 1;
                return;
            }
            hub.news = now;
        }
        let sighting = self.sightings.get_or_insert_with(peer.id, || Sighting {
            peer: peer.clone(),
            run: beacon.run,
            places: Vec::new(),
            first: now,
            heard: now,
            interval,
            source,
            dialing: None,
        });
        if sighting.run != beacon.run {
            (sighting.run, sighting.first) = (beacon.run, now);
            sighting.places.clear();
        }
        (
            sighting.peer,
            sighting.heard,
            sighting.interval,
            sighting.source,
        ) = (peer, now, interval, source);
        if !sighting.places.iter().any(|place| place.address == address) {
            if sighting.places.len() >= ADDRESSES_MAX {
                sighting.places.remove(0);
            }
            sighting.places.push(Place::new(address));
        }
    }

    /// A finder, or a person, named an address.
    pub fn sighting(&mut self, hub: &mut Hub, address: SocketAddr, peer: Option<PeerId>) {
        if self.given.len() < GIVEN_MAX
            && !self
                .given
                .iter()
                .any(|given| given.place.address == address)
        {
            self.given.push(Given {
                place: Place::new(address),
                dialing: None,
                peer,
                own: false,
            });
            hub.news = hub.now.time;
        }
    }

    fn allowed(&mut self, hub: &Hub, handshakes: &Handshakes) -> bool {
        let refill = hub.now.time.since(self.counted) * DIALS / 1_000;
        if refill > 0 {
            self.dials = (self.dials + refill).min(DIALS);
            self.counted = hub.now.time;
        }
        self.dials > 0 && handshakes.has_room()
    }

    fn dial(
        &mut self,
        hub: &mut Hub,
        handshakes: &mut Handshakes,
        address: SocketAddr,
    ) -> StreamId {
        self.dials -= 1;
        self.dialed += 1;
        let stream = StreamId::dialed(self.dialed);
        handshakes.dial(hub, stream, address);
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
            || !sighting.fresh(now)
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
        let stream = self.dial(hub, handshakes, address);
        if let Some(sighting) = self.sightings.get_mut(&peer) {
            sighting.dialing = Some((stream, address));
        }
    }

    /// A link stands.
    pub fn up(&mut self, hub: &mut Hub, stream: StreamId) {
        let Some(link) = hub.links.get(&stream) else {
            return;
        };
        let peer = link.peer.id;
        for given in self
            .given
            .iter_mut()
            .filter(|given| given.dialing == Some(stream))
        {
            (given.dialing, given.peer) = (None, Some(peer));
        }
        self.ended(stream);
    }

    fn ended(&mut self, stream: StreamId) {
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
        self.ended(stream);
        // We cannot reach it; perhaps it can reach us.
        if unheard && self.beacons {
            let soon = hub.now.time + hub.jitter(2_000);
            self.next_beacon = self.next_beacon.min(soon);
        }
    }

    /// The peer's program said goodbye: there is nobody to dial.
    pub fn left(&mut self, peer: &PeerId) {
        self.sightings.remove(peer);
    }

    /// A link ended that stood since then. One that did not stand long counts as a failed dial, so that what ends links at once is not tried without end.
    pub fn down(&mut self, hub: &mut Hub, peer: &PeerId, since: Time) {
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
            let interval = self.interval(hub);
            self.next_beacon = now + interval;
            self.step += 1;
            self.call(hub, Kind::Discover, interval);
        }
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
            if allowed && waits(given, hub) && given.place.next_try <= now {
                let stream = self.dial(hub, handshakes, self.given[i].place.address);
                self.given[i].dialing = Some(stream);
            }
        }
    }

    fn interval(&self, hub: &Hub) -> u64 {
        match QUICK.get(self.step) {
            Some(quick) => *quick,
            None if hub.linked.is_empty() => ALONE,
            None => LINKED.max(PER_LINK * hub.linked.len() as u64),
        }
    }

    fn call(&self, hub: &mut Hub, kind: Kind, interval: u64) {
        let beacon = Beacon {
            kind,
            peer: hub.id(),
            nick: hub.nick.clone(),
            port: hub.port,
            run: hub.run,
            interval,
            timestamp: hub.now.wall,
        };
        let nonce = hub.random_bytes();
        let bytes = beacon.bytes(&hub.network, hub.beacon_key.as_ref(), &nonce);
        hub.put(Output::Beacon { bytes });
    }

    /// Sighted peers that are not linked, and when each is to be dialed.
    fn due<'a>(&'a self, hub: &'a Hub) -> impl Iterator<Item = (PeerId, Time)> + 'a {
        let open = self.sightings.iter().filter(|(peer, s)| {
            s.dialing.is_none()
                && s.fresh(hub.now.time)
                && hub.link_to(peer).is_none_or(|link| link.run != s.run)
        });
        open.filter_map(|(peer, s)| {
            Some((*peer, s.places.iter().map(|place| place.next_try).min()?))
        })
    }

    /// Somebody may yet be linked: sighted and not failed, or given and not tried.
    pub fn coming(&self, hub: &Hub) -> bool {
        let untried = |s: &Sighting| {
            // What was not linked in this time is perhaps nobody: forged beacons must not keep anyone waiting.
            s.first + COMING_FOR > hub.now.time && s.places.iter().any(|place| place.failures == 0)
        };
        self.sightings
            .iter()
            .any(|(peer, s)| untried(s) && !hub.linked.contains_key(peer) && *peer != hub.id())
            || self
                .given
                .iter()
                .any(|given| waits(given, hub) && given.place.failures == 0)
    }

    pub fn deadline(&self, hub: &Hub, handshakes: &Handshakes) -> Option<Time> {
        let beacon = self
            .beacons
            .then_some(self.next_beacon)
            .filter(|at| at.0 != u64::MAX);
        if !handshakes.has_room() {
            return beacon;
        }
        // Out of dials: not before there is one again.
        let earliest = if self.dials == 0 {
            self.counted + 1_000 / DIALS
        } else {
            Time(0)
        };
        let dials = self.due(hub).map(|(_, at)| at);
        let given = self
            .given
            .iter()
            .filter(|given| waits(given, hub))
            .map(|given| given.place.next_try);
        dials
            .chain(given)
            .map(|at| at.max(earliest))
            .chain(beacon)
            .min()
    }

    /// Withdraws the beacon.
    pub fn leave(&mut self, hub: &mut Hub) {
        if self.beacons {
            self.call(hub, Kind::Leave, 0);
        }
        self.beacons = false;
        self.sightings.clear();
        self.given.clear();
    }

    /// Who is out there, linked or not.
    pub fn view(&self, hub: &Hub) -> Vec<PeerView> {
        let mut rows: Vec<PeerView> = Vec::new();
        for (stream, link) in &hub.links {
            let given = self
                .given
                .iter()
                .any(|given| given.peer == Some(link.peer.id));
            let found = match self.sightings.contains_key(&link.peer.id) {
                true => Found::Multicast,
                false if given || stream.is_dialed() => Found::Given,
                false => Found::Incoming,
            };
            rows.push(PeerView {
                peer: link.peer.clone(),
                address: Some(link.address),
                found,
                via: None,
                state: PeerState::Linked,
                rtt: link.rtt.map(|ms| Tenths(ms.saturating_mul(10))),
                rooms: link.rooms.iter().cloned().collect(),
            });
        }
        let reached = self.reached(hub);
        for (id, sighting) in self.sightings.iter().filter(|(id, _)| {
            !hub.linked.contains_key(id) && **id != hub.id() && !reached.contains_key(id)
        }) {
            let state = if sighting.fresh(hub.now.time) {
                PeerState::Known
            } else {
                PeerState::Gone
            };
            let address = sighting.places.last().map(|place| place.address);
            let peer = Peer {
                id: *id,
                nick: sighting.peer.nick.clone(),
            };
            rows.push(PeerView {
                peer,
                address,
                found: Found::Multicast,
                via: None,
                state,
                rtt: None,
                rooms: Vec::new(),
            });
        }
        rows.extend(reached.into_values());
        rows
    }

    /// Who is there through others, by the nearest of them.
    fn reached(&self, hub: &Hub) -> Table<PeerId, PeerView> {
        let mut nearest: Table<PeerId, (u8, PeerView)> = Table::new();
        for link in hub.links.values() {
            for (room, there) in link.reach.iter() {
                for (id, reach) in there.iter().filter(|(id, _)| !hub.linked.contains_key(id)) {
                    let fresh = || PeerView {
                        peer: Peer {
                            id: *id,
                            nick: reach.nick.clone(),
                        },
                        address: None,
                        found: Found::Neighbour,
                        via: Some(link.peer.clone()),
                        state: PeerState::Known,
                        rtt: None,
                        rooms: Vec::new(),
                    };
                    let (hops, view) = nearest.get_or_insert_with(*id, || (reach.hops, fresh()));
                    if reach.hops < *hops {
                        (*hops, view.via) = (reach.hops, Some(link.peer.clone()));
                    }
                    if !view.rooms.contains(room) {
                        view.rooms.push(room.clone());
                    }
                }
            }
        }
        nearest
            .into_iter()
            .map(|(id, (_, view))| (id, view))
            .collect()
    }
}

fn waits(given: &Given, hub: &Hub) -> bool {
    given.dialing.is_none()
        && !given.own
        && given
            .peer
            .is_none_or(|peer| !hub.linked.contains_key(&peer))
}
