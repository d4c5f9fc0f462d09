//! Peers that were heard of: where, when, in which rooms, and how dials to them went.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::{Peer, StreamId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Room;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::beacon::{Beacon, room_hash};

/// Beacons missed after which a sighting is forgotten.
const MISSED_BEACONS_MAX: u64 = 3;
/// Longest interval believed of a beacon, in milliseconds.
const BEACON_INTERVAL_MAX_MS: u64 = 180_000;
/// How long after its first beacon a peer is expected to be linked, in milliseconds.
const LINK_EXPECTED_MS: u64 = 2_000;
const DISCOVERED_PEERS_MAX: usize = 2048;
/// Sightings from one source address.
const PEERS_PER_SOURCE_MAX: usize = 512;
/// Addresses kept of one peer.
const CANDIDATES_PER_PEER_MAX: usize = 4;
pub const BACKOFF_MIN_MS: u64 = 1_000;
const BACKOFF_MAX_MS: u64 = 64_000;
/// Milliseconds of a beacon's interval for each peer heard of, where there are more than a full mesh takes: all programs of a LAN together
/// send about eight beacons a second.
pub const BEACON_INTERVAL_PER_PEER_MS: u64 = 160;

/// An address and how it went with it.
pub struct Candidate {
    pub address: SocketAddr,
    pub failures: u32,
    pub next_attempt: Time,
}

impl Candidate {
    pub fn new(address: SocketAddr, next_try: Time) -> Candidate {
        Candidate {
            address,
            failures: 0,
            next_attempt: next_try,
        }
    }

    /// It may be dialed: it was not tried in vain, or long ago.
    fn is_dialable(&self, now: Time) -> bool {
        self.failures == 0 || self.next_attempt <= now
    }

    pub fn record_failure(&mut self, ctx: &mut Context) {
        let wait = (BACKOFF_MIN_MS << self.failures.min(6)).min(BACKOFF_MAX_MS);
        self.failures += 1;
        self.next_attempt = ctx.now.time + ctx.jitter(wait);
    }
}

/// A peer that was heard of.
pub struct DiscoveredPeer {
    pub peer: Peer,
    pub run: u64,
    pub transient: bool,
    pub candidates: Vec<Candidate>,
    first_seen: Time,
    last_seen: Time,
    beacon_interval_ms: u64,
    source: IpAddr,
    /// The stream, and to which address.
    pub dialing: Option<(StreamId, SocketAddr)>,
    room_hashes: Vec<u32>,
    has_more_rooms: bool,
    /// Our rooms in which it is: as its beacon says, or as a link showed.
    pub rooms: Vec<Room>,
}

impl DiscoveredPeer {
    pub fn new(beacon: &Beacon, source: IpAddr, now: Time) -> DiscoveredPeer {
        let peer = Peer {
            id: beacon.peer,
            nick: beacon.nick.clone(),
        };
        DiscoveredPeer {
            peer,
            run: beacon.run,
            transient: beacon.transient,
            candidates: Vec::new(),
            first_seen: now,
            last_seen: now,
            beacon_interval_ms: 0,
            source,
            dialing: None,
            room_hashes: Vec::new(),
            has_more_rooms: false,
            rooms: Vec::new(),
        }
    }

    /// What it says of itself now. `wait`: of an address that is new, this long before it is dialed. `true`: it may be in other rooms than before.
    pub fn apply_beacon(
        &mut self,
        beacon: &Beacon,
        address: SocketAddr,
        now: Time,
        wait: u64,
    ) -> bool {
        let other_run = self.run != beacon.run;
        if other_run {
            (self.run, self.first_seen) = (beacon.run, now);
            self.candidates.clear();
        }
        let said = (&self.room_hashes, self.has_more_rooms)
            != (&beacon.room_hashes, beacon.has_more_rooms);
        if said {
            (self.room_hashes, self.has_more_rooms) =
                (beacon.room_hashes.clone(), beacon.has_more_rooms);
        }
        self.peer.nick = beacon.nick.clone();
        self.transient = beacon.transient;
        (self.last_seen, self.source) = (now, address.ip());
        self.beacon_interval_ms = beacon.interval_ms.clamp(100, BEACON_INTERVAL_MAX_MS);
        if !self.candidates.iter().any(|place| place.address == address) {
            if self.candidates.len() >= CANDIDATES_PER_PEER_MAX {
                self.candidates.remove(0);
            }
            self.candidates.push(Candidate::new(address, now + wait));
        }
        other_run || said
    }

    /// In which of our rooms its beacon says that it may be.
    pub fn match_rooms(&mut self, network: &NetworkTag, joined: &[Room]) {
        let named = |room: &&Room| {
            self.has_more_rooms
                || self
                    .room_hashes
                    .contains(&room_hash(network, self.run, room))
        };
        self.rooms = joined.iter().filter(named).cloned().collect();
    }

    /// `pace`: milliseconds between the beacons of one program, as we see the LAN.
    pub fn is_fresh(&self, now: Time, pace: u64) -> bool {
        now.ms_since(self.last_seen) <= MISSED_BEACONS_MAX * self.beacon_interval_ms.max(pace)
    }

    /// Nothing speaks against a dial.
    pub fn is_dialable(&self, now: Time) -> bool {
        self.dialing.is_some() || self.candidates.iter().any(|place| place.is_dialable(now))
    }

    /// It was not tried in vain, and not for long.
    pub fn is_expected(&self, now: Time) -> bool {
        // What was not linked in this time is perhaps nobody: forged beacons must not keep anyone waiting.
        self.first_seen + LINK_EXPECTED_MS > now
            && self.candidates.iter().any(|place| place.failures == 0)
    }

    /// It came with this run's beacon from there.
    pub fn is_same_source(&self, beacon: &Beacon, source: IpAddr) -> bool {
        self.run == beacon.run && self.source == source
    }
}

/// Is there a place in the table for one more, from this source?
pub fn can_accept(table: &SortedMap<PeerId, DiscoveredPeer>, source: IpAddr) -> bool {
    let share = table.values().filter(|s| s.source == source).count();
    table.len() < DISCOVERED_PEERS_MAX && share < PEERS_PER_SOURCE_MAX
}
