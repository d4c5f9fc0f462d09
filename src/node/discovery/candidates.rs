//! Discovered peers: the candidate addresses of each, its rooms, and how dials to it went.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::{Peer, StreamId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Room;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::connection::pending_handshake::LINK_EXPECTED_MS;
use crate::node::discovery::backoff::Backoff;
use crate::wire::beacon::{Beacon, room_hash};

/// Beacons missed after which a peer counts as gone.
const MISSED_BEACONS_MAX: u64 = 3;
/// Shortest interval accepted from a beacon, in milliseconds.
const BEACON_INTERVAL_MIN_MS: u64 = 100;
/// Longest interval accepted from a beacon, in milliseconds.
const BEACON_INTERVAL_MAX_MS: u64 = 180_000;
/// Most discovered peers.
const DISCOVERED_PEERS_MAX: usize = 2048;
/// Most discovered peers from one source address.
const PEERS_PER_SOURCE_MAX: usize = 512;
/// Most candidate addresses of one peer; a new one replaces the oldest.
const CANDIDATES_PER_PEER_MAX: usize = 4;

/// An address to dial.
pub struct Candidate {
    /// Where to dial.
    pub address: SocketAddr,
    /// When to dial it.
    pub backoff: Backoff,
}

impl Candidate {
    /// An address that was never dialed.
    pub fn new(address: SocketAddr, next_attempt: Time) -> Candidate {
        Candidate {
            address,
            backoff: Backoff::new(next_attempt),
        }
    }
}

/// A dial under way.
#[derive(Clone, Copy)]
pub struct PendingDial {
    /// The stream being connected.
    pub stream: StreamId,
    /// The candidate address dialed.
    pub address: SocketAddr,
}

/// A peer whose beacon was received.
pub struct DiscoveredPeer {
    /// Its key, and the name of its last beacon.
    pub peer: Peer,
    /// Its program's run; a new run forgets the addresses of the old one.
    pub run: u64,
    /// A program that leaves by itself soon.
    pub transient: bool,
    /// Where it may be dialed, the newest last; at most four.
    pub candidates: Vec<Candidate>,
    /// When the first beacon of this run arrived.
    first_seen: Time,
    last_seen: Time,
    beacon_interval_ms: u64,
    /// The source address of its last beacon.
    source: IpAddr,
    /// The dial under way.
    pub dialing: Option<PendingDial>,
    room_hashes: Vec<u32>,
    has_more_rooms: bool,
    /// Our rooms in which the peer is, by its beacon or by its link.
    pub rooms: Vec<Room>,
}

impl DiscoveredPeer {
    /// A peer without candidates; [`DiscoveredPeer::apply_beacon`] adds the first.
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

    /// Takes over what a beacon says. A new address is first dialed after `delay_ms`. Returns
    /// whether the peer may be in other rooms than before: see [`DiscoveredPeer::match_rooms`].
    pub fn apply_beacon(
        &mut self,
        beacon: &Beacon,
        address: SocketAddr,
        now: Time,
        delay_ms: u64,
    ) -> bool {
        let is_new_run = self.run != beacon.run;
        if is_new_run {
            (self.run, self.first_seen) = (beacon.run, now);
            self.candidates.clear();
        }
        let have_rooms_changed = (&self.room_hashes, self.has_more_rooms)
            != (&beacon.room_hashes, beacon.has_more_rooms);
        if have_rooms_changed {
            (self.room_hashes, self.has_more_rooms) =
                (beacon.room_hashes.clone(), beacon.has_more_rooms);
        }
        self.peer.nick = beacon.nick.clone();
        self.transient = beacon.transient;
        (self.last_seen, self.source) = (now, address.ip());
        self.beacon_interval_ms = beacon
            .interval_ms
            .clamp(BEACON_INTERVAL_MIN_MS, BEACON_INTERVAL_MAX_MS);
        if !self.candidates.iter().any(|known| known.address == address) {
            if self.candidates.len() >= CANDIDATES_PER_PEER_MAX {
                self.candidates.remove(0);
            }
            self.candidates
                .push(Candidate::new(address, now + delay_ms));
        }
        is_new_run || have_rooms_changed
    }

    /// Derives from the beacon's hashes in which of our joined rooms the peer may be. A beacon that
    /// could not name all its rooms may mean any.
    pub fn match_rooms(&mut self, network: &NetworkTag, joined: &[Room]) {
        let is_named = |room: &&Room| {
            self.has_more_rooms
                || self
                    .room_hashes
                    .contains(&room_hash(network, self.run, room))
        };
        self.rooms = joined.iter().filter(is_named).cloned().collect();
    }

    /// It has missed at most three beacons. `min_interval_ms`: the shortest interval between the
    /// beacons of one program, given the size of the LAN as we see it.
    pub fn is_fresh(&self, now: Time, min_interval_ms: u64) -> bool {
        now.ms_since(self.last_seen)
            <= MISSED_BEACONS_MAX * self.beacon_interval_ms.max(min_interval_ms)
    }

    /// It is being dialed, or one of its candidates may be.
    pub fn is_dialable(&self, now: Time) -> bool {
        self.dialing.is_some() || self.candidates.iter().any(|c| c.backoff.is_dialable(now))
    }

    /// A link to it may stand in a moment: it is new, and a candidate has not failed yet. Bounded
    /// in time, as forged beacons must not make `send` wait.
    pub fn is_expected(&self, now: Time) -> bool {
        self.first_seen + LINK_EXPECTED_MS > now
            && self.candidates.iter().any(|c| !c.backoff.has_failed())
    }

    /// Its last beacon had this run and this source address.
    pub fn is_same_source(&self, beacon: &Beacon, source: IpAddr) -> bool {
        self.run == beacon.run && self.source == source
    }
}

/// Whether the table has a place for one more peer from this source address.
pub fn can_accept(table: &SortedMap<PeerId, DiscoveredPeer>, source: IpAddr) -> bool {
    let from_source = table.values().filter(|peer| peer.source == source).count();
    table.len() < DISCOVERED_PEERS_MAX && from_source < PEERS_PER_SOURCE_MAX
}
