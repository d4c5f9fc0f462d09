//! Discovered peers: the addresses and rooms of each peer, and the dials to it.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::peer::Peer;
use crate::base::identity::NetworkTag;
use crate::base::name::Room;
use crate::base::time::Time;
use crate::node::connection::pending_handshake::LINK_EXPECTED_MS;
use crate::node::context::Context;
use crate::node::discovery::backoff;
use crate::node::discovery::backoff::Backoff;
use crate::node::discovery::new_peer_burst::EarliestDial;
use crate::wire::beacon::{Beacon, room_hash};

/// Number of beacon intervals for which a peer may be silent. A peer that is silent for longer
/// counts as gone.
const MISSED_BEACONS_MAX: u64 = 3;
/// Shortest beacon interval that is believed, in milliseconds. If a peer states a shorter interval,
/// this value is used.
const BEACON_INTERVAL_MIN_MS: u64 = 100;
/// Longest beacon interval that is believed, in milliseconds. If a peer states a longer interval,
/// this value is used.
const BEACON_INTERVAL_MAX_MS: u64 = 180_000;
/// Milliseconds between two restarts of a peer that end the backoff of its address. Anybody can
/// forge a beacon with a new run.
const RESTART_INTERVAL_MS: u64 = 5_000;
/// Maximum number of candidate addresses of one peer. A new address replaces one whose dial failed,
/// or one that beacons no longer name.
const CANDIDATES_PER_PEER_MAX: usize = 4;

/// Maximum number of runs of one peer whose beacons are counted. A further run replaces the one
/// whose beacon is the oldest.
const RUNS_PER_PEER_MAX: usize = 8;

/// How a beacon relates to earlier beacons of the same peer. Only the seal of a closed network
/// makes the counter of a beacon trustworthy. In the open network, no beacon is
/// [`BeaconOrder::Newest`] or [`BeaconOrder::Replayed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BeaconOrder {
    /// The newest beacon of a known run.
    Newest,
    /// The first beacon of an unknown run, which may be an old one, or a copy of the newest beacon
    /// that came on another path.
    Unknown,
    /// A newer beacon of the same run came before.
    Replayed,
}

/// An address where a peer may be reached.
pub struct Candidate {
    /// The address to dial.
    pub address: SocketAddr,
    /// When the address may be dialed.
    pub backoff: Backoff,
    /// The index of the interface on which a beacon last named the address.
    interface: Option<u32>,
    /// A dial has reached the peer here.
    is_reached: bool,
    /// When a beacon last named the address.
    announced_at: Time,
}

impl Candidate {
    /// An address that was never dialed. The first dial is due at `next_attempt`.
    pub fn new(address: SocketAddr, next_attempt: Time) -> Candidate {
        Candidate {
            address,
            backoff: Backoff::new(next_attempt),
            interface: None,
            is_reached: false,
            announced_at: next_attempt,
        }
    }
}

/// A peer whose beacon was received.
pub struct DiscoveredPeer {
    /// The peer's key, and the name in its last beacon.
    pub peer: Peer,
    /// The run of the peer's program, as the last beacon claims.
    pub run: u64,
    /// The runs of the peer with the counters of their newest beacons, the latest last. Empty in
    /// the open network.
    counters: Vec<(u64, u64)>,
    /// A handshake has proven the peer's key while the peer was discovered.
    pub is_proven: bool,
    /// The peer's program leaves by itself soon.
    pub transient: bool,
    /// The addresses at which the peer may be dialed, at most four.
    pub candidates: Vec<Candidate>,
    /// When the first beacon arrived, or later the first beacon after a restart.
    first_seen: Time,
    /// When it may be dialed, as a new peer of a burst.
    pub earliest_dial: EarliestDial,
    /// When a new run last ended the backoff of an address.
    restarted_at: Option<Time>,
    /// The peer has proved its key, but all its links or all of ours were taken.
    pub is_full: bool,
    /// The run that refused us because its user has banned us, and until when it is not dialed.
    ban: Option<(u64, Time)>,
    last_seen: Time,
    beacon_interval_ms: u64,
    /// The source address of the peer's last beacon.
    source: IpAddr,
    room_hashes: Vec<u32>,
    has_more_rooms: bool,
    /// The rooms that we share with the peer. If the peer is linked, the link proves them.
    /// Otherwise the peer's beacon claims them.
    pub rooms: Vec<Room>,
}

impl DiscoveredPeer {
    /// A discovered peer without candidates. [`DiscoveredPeer::apply_beacon`] adds the first
    /// candidate.
    pub fn new(beacon: &Beacon, source: IpAddr, now: Time) -> DiscoveredPeer {
        let peer = Peer {
            id: beacon.peer,
            nick: beacon.nick.clone(),
        };
        DiscoveredPeer {
            peer,
            run: beacon.run,
            counters: Vec::new(),
            is_proven: false,
            transient: beacon.transient,
            candidates: Vec::new(),
            first_seen: now,
            earliest_dial: EarliestDial::default(),
            restarted_at: None,
            is_full: false,
            ban: None,
            last_seen: now,
            beacon_interval_ms: 0,
            source,
            room_hashes: Vec::new(),
            has_more_rooms: false,
            rooms: Vec::new(),
        }
    }

    /// Ends the backoff of an address where a new run of the peer appeared. Does nothing more than
    /// once in 5 s.
    pub fn restart(&mut self, address: SocketAddr, now: Time) {
        if self
            .restarted_at
            .is_some_and(|at| at + RESTART_INTERVAL_MS > now)
        {
            return;
        }
        (self.restarted_at, self.first_seen) = (Some(now), now);
        self.earliest_dial = EarliestDial::default();
        for candidate in &mut self.candidates {
            if candidate.address == address {
                candidate.backoff.retry_at(now);
            }
        }
    }

    /// Compares the counter of a sealed beacon with those before, and records the counter.
    pub fn record_counter(&mut self, beacon: &Beacon) -> BeaconOrder {
        let known = self.counters.iter().position(|(run, _)| *run == beacon.run);
        let order = match known.map(|at| self.counters.remove(at)) {
            Some((_, newest)) if beacon.counter < newest => {
                self.counters.push((beacon.run, newest));
                return BeaconOrder::Replayed;
            }
            Some((_, newest)) if beacon.counter > newest => BeaconOrder::Newest,
            _ => BeaconOrder::Unknown,
        };
        if self.counters.len() >= RUNS_PER_PEER_MAX {
            self.counters.remove(0);
        }
        self.counters.push((beacon.run, beacon.counter));
        order
    }

    /// Takes over the contents of a beacon. A new address becomes a candidate. Returns whether the
    /// peer's rooms may have changed. The caller must then call [`DiscoveredPeer::match_rooms`].
    pub fn apply_beacon(
        &mut self,
        beacon: &Beacon,
        address: SocketAddr,
        order: BeaconOrder,
        now: Time,
    ) -> bool {
        let is_new_run = std::mem::replace(&mut self.run, beacon.run) != beacon.run;
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
        self.add_candidate(address, order, now);
        is_new_run || have_rooms_changed
    }

    /// Adds an address. At the bound, an address that failed or is outdated makes room. An address
    /// that may still answer makes room for the newest sealed beacon only. A flood of false
    /// addresses therefore cannot push out the true one.
    fn add_candidate(&mut self, address: SocketAddr, order: BeaconOrder, now: Time) {
        let mut known = self.candidates.iter_mut();
        if let Some(known) = known.find(|known| known.address == address) {
            known.announced_at = now;
            return;
        }
        if self.candidates.len() >= CANDIDATES_PER_PEER_MAX {
            let announced_within_ms = MISSED_BEACONS_MAX * self.beacon_interval_ms;
            let may_answer = |known: &Candidate| {
                known.is_reached
                    || !known.backoff.has_failed()
                        && known.announced_at + announced_within_ms >= now
            };
            let candidates = self.candidates.iter().enumerate();
            let replaced =
                candidates.min_by_key(|(_, known)| (may_answer(known), known.announced_at));
            match replaced {
                Some((at, known)) if !may_answer(known) || order == BeaconOrder::Newest => {
                    self.candidates.remove(at);
                }
                _ => return,
            }
        }
        self.candidates.push(Candidate::new(address, now));
    }

    /// Records on which interface a beacon has named this address.
    pub fn set_interface(&mut self, address: SocketAddr, interface: u32) {
        for candidate in &mut self.candidates {
            if candidate.address == address {
                candidate.interface = Some(interface);
            }
        }
    }

    /// The interface over which to dial this address: the one on which a beacon last named it. The
    /// routes of the host may name another one in the same subnet, even one without a cable.
    ///
    /// `None` for an address of our own, and for an IPv6 address, which names its interface. `None`
    /// as well for every other attempt after a failure: beacons may cross an interface that
    /// connections do not cross.
    pub fn interface_for(&self, ctx: &Context, address: SocketAddr) -> Option<u32> {
        let mut candidates = self.candidates.iter();
        let candidate = candidates.find(|candidate| candidate.address == address)?;
        let is_bound = candidate.backoff.failures() % 2 == 0
            && address.is_ipv4()
            && !ctx.is_own_address(address.ip());
        candidate.interface.filter(|_| is_bound)
    }

    /// Sets [`DiscoveredPeer::rooms`] to the joined rooms whose hashes the last beacon lists. If
    /// the peer has more rooms than its beacon can list, sets all joined rooms, as each may be
    /// shared.
    pub fn match_rooms(&mut self, network: &NetworkTag, joined: &[Room]) {
        let is_named = |room: &&Room| {
            self.has_more_rooms
                || self
                    .room_hashes
                    .contains(&room_hash(network, self.run, room))
        };
        self.rooms = joined.iter().filter(is_named).cloned().collect();
    }

    /// When the peer's last beacon arrived.
    pub fn last_seen(&self) -> Time {
        self.last_seen
    }

    /// Whether the peer's last beacon is at most three beacon intervals old. Uses the interval that
    /// the beacon stated, or `min_interval_ms` if that is longer.
    pub fn is_fresh(&self, now: Time, min_interval_ms: u64) -> bool {
        now.ms_since(self.last_seen)
            <= MISSED_BEACONS_MAX * self.beacon_interval_ms.max(min_interval_ms)
    }

    /// Whether one of the peer's candidates may be dialed.
    pub fn is_dialable(&self, now: Time) -> bool {
        self.banned_until() <= now && self.candidates.iter().any(|c| c.backoff.is_dialable(now))
    }

    /// Until when the present run is not dialed at any address, because its user has banned us.
    fn banned_until(&self) -> Time {
        let ban = self.ban.filter(|(run, _)| *run == self.run);
        ban.map_or(Time(0), |(_, until)| until)
    }

    /// Records that the peer has proved its key and refused us, because its user has banned us.
    pub fn record_ban(&mut self, ctx: &mut Context) {
        self.ban = Some((self.run, backoff::after_ban(ctx)));
    }

    /// The source address of the peer's last beacon.
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Records that a dial reached the peer at this address, and at no other.
    pub fn record_reached(&mut self, address: SocketAddr) {
        self.is_full = false;
        for candidate in &mut self.candidates {
            candidate.is_reached = candidate.address == address;
        }
    }

    /// Counts a failed dial of this address. Its backoff is at most `longest_ms`.
    pub fn record_failure(&mut self, ctx: &mut Context, address: SocketAddr, longest_ms: u64) {
        for candidate in &mut self.candidates {
            if candidate.address == address {
                candidate.backoff.record_failure(ctx, longest_ms);
            }
        }
    }

    /// Whether the last dial of each address failed.
    pub fn has_only_failed(&self) -> bool {
        self.candidates.iter().all(|c| c.backoff.has_failed())
    }

    /// The next address to dial, and when: the candidate whose dial is due first. Leaves out
    /// addresses for which `is_excluded` is true.
    pub fn next_dial(
        &self,
        is_excluded: impl Fn(SocketAddr) -> bool,
    ) -> Option<(SocketAddr, Time)> {
        let candidates = self.candidates.iter();
        let free = candidates.filter(|candidate| !is_excluded(candidate.address));
        let next = free.min_by_key(|candidate| candidate.backoff.next_attempt())?;
        let at = next.backoff.next_attempt().max(self.banned_until());
        Some((next.address, at))
    }

    /// Whether the peer is likely to be linked soon. At least one of its addresses must have no
    /// failed dial. Its first beacon must have arrived less than [`LINK_EXPECTED_MS`] ago. Forged
    /// beacons can therefore not delay `send` for long.
    pub fn is_expected(&self, now: Time) -> bool {
        self.first_seen + LINK_EXPECTED_MS > now
            && self.candidates.iter().any(|c| !c.backoff.has_failed())
    }

    /// Whether this beacon has the same run and source address as the peer's last beacon.
    pub fn is_same_source(&self, beacon: &Beacon, source: IpAddr) -> bool {
        self.run == beacon.run && self.source == source
    }
}
