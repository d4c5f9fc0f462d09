//! Peers that were heard of: where, when, in which rooms, and how dials to them went.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::{Peer, StreamId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Room;
use crate::base::table::Table;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::wire::beacon::{Beacon, room_mark};

/// Beacons missed after which a sighting is forgotten.
const MISSED: u64 = 3;
/// Longest interval believed of a beacon, in milliseconds.
const INTERVAL_MAX: u64 = 180_000;
/// How long after its first beacon a peer is expected to be linked, in milliseconds.
const COMING_FOR: u64 = 2_000;
const SIGHTINGS_MAX: usize = 2048;
/// Sightings from one source address.
const SOURCE_SHARE: usize = 512;
/// Addresses kept of one peer.
const ADDRESSES_MAX: usize = 4;
pub const BACKOFF_MIN: u64 = 1_000;
const BACKOFF_MAX: u64 = 64_000;
/// Milliseconds of a beacon's interval for each peer heard of, where there are more than a full mesh takes: all programs of a LAN together
/// send about eight beacons a second.
pub const PER_PEER: u64 = 160;

/// An address and how it went with it.
pub struct Place {
    pub address: SocketAddr,
    pub failures: u32,
    pub next_try: Time,
}

impl Place {
    pub fn new(address: SocketAddr, next_try: Time) -> Place {
        Place {
            address,
            failures: 0,
            next_try,
        }
    }

    /// It may be dialed: it was not tried in vain, or long ago.
    fn hopeful(&self, now: Time) -> bool {
        self.failures == 0 || self.next_try <= now
    }

    pub fn failed(&mut self, hub: &mut Hub) {
        let wait = (BACKOFF_MIN << self.failures.min(6)).min(BACKOFF_MAX);
        self.failures += 1;
        self.next_try = hub.now.time + hub.jitter(wait);
    }
}

/// A peer that was heard of.
pub struct Sighting {
    pub peer: Peer,
    pub run: u64,
    pub passing: bool,
    pub places: Vec<Place>,
    first: Time,
    heard: Time,
    interval: u64,
    source: IpAddr,
    /// The stream, and to which address.
    pub dialing: Option<(StreamId, SocketAddr)>,
    marks: Vec<u32>,
    more: bool,
    /// Our rooms in which it is: as its beacon says, or as a link showed.
    pub rooms: Vec<Room>,
}

impl Sighting {
    pub fn new(beacon: &Beacon, source: IpAddr, now: Time) -> Sighting {
        let peer = Peer {
            id: beacon.peer,
            nick: beacon.nick.clone(),
        };
        Sighting {
            peer,
            run: beacon.run,
            passing: beacon.passing,
            places: Vec::new(),
            first: now,
            heard: now,
            interval: 0,
            source,
            dialing: None,
            marks: Vec::new(),
            more: false,
            rooms: Vec::new(),
        }
    }

    /// What it says of itself now. `wait`: of an address that is new, this long before it is dialed. `true`: it may be in other rooms than before.
    pub fn hear(&mut self, beacon: &Beacon, address: SocketAddr, now: Time, wait: u64) -> bool {
        let other_run = self.run != beacon.run;
        if other_run {
            (self.run, self.first) = (beacon.run, now);
            self.places.clear();
        }
        let said = (&self.marks, self.more) != (&beacon.rooms, beacon.more);
        if said {
            (self.marks, self.more) = (beacon.rooms.clone(), beacon.more);
        }
        self.peer.nick = beacon.nick.clone();
        self.passing = beacon.passing;
        (self.heard, self.source) = (now, address.ip());
        self.interval = beacon.interval.clamp(100, INTERVAL_MAX);
        if !self.places.iter().any(|place| place.address == address) {
            if self.places.len() >= ADDRESSES_MAX {
                self.places.remove(0);
            }
            self.places.push(Place::new(address, now + wait));
        }
        other_run || said
    }

    /// In which of our rooms its beacon says that it may be.
    pub fn compare(&mut self, network: &NetworkTag, joined: &[Room]) {
        let named =
            |room: &&Room| self.more || self.marks.contains(&room_mark(network, self.run, room));
        self.rooms = joined.iter().filter(named).cloned().collect();
    }

    /// `pace`: milliseconds between the beacons of one program, as we see the LAN.
    pub fn fresh(&self, now: Time, pace: u64) -> bool {
        now.since(self.heard) <= MISSED * self.interval.max(pace)
    }

    /// Nothing speaks against a dial.
    pub fn hopeful(&self, now: Time) -> bool {
        self.dialing.is_some() || self.places.iter().any(|place| place.hopeful(now))
    }

    /// It was not tried in vain, and not for long.
    pub fn coming(&self, now: Time) -> bool {
        // What was not linked in this time is perhaps nobody: forged beacons must not keep anyone waiting.
        self.first + COMING_FOR > now && self.places.iter().any(|place| place.failures == 0)
    }

    /// It came with this run's beacon from there.
    pub fn sent(&self, beacon: &Beacon, source: IpAddr) -> bool {
        self.run == beacon.run && self.source == source
    }
}

/// Is there a place in the table for one more, from this source?
pub fn has_room(table: &Table<PeerId, Sighting>, source: IpAddr) -> bool {
    let share = table.values().filter(|s| s.source == source).count();
    table.len() < SIGHTINGS_MAX && share < SOURCE_SHARE
}
