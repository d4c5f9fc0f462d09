//! Our own beacon: what it contains, and when it is broadcast.
use crate::base::event::output::Output;
use crate::base::interface::Interface;
use crate::base::name::Room;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::topology::LINKS_MAX;
use crate::wire::beacon::{BEACON_ROOMS_MAX, Beacon, BeaconKind, room_hash};

/// Milliseconds between our first beacons. An interface that appears later has first beacons of its
/// own, with the same intervals.
const STARTUP_INTERVALS_MS: [u64; 6] = [250, 500, 1_000, 2_000, 3_000, 4_000];
/// A startup interval but the first is at least this many milliseconds times the number of
/// discovered peers. The first beacon may be lost, whoever is there.
const STARTUP_INTERVAL_PER_PEER_MS: u64 = 40;
/// Milliseconds between beacons while no peer is linked.
const UNLINKED_INTERVAL_MS: u64 = 5_000;
/// Milliseconds between beacons while a peer is linked.
const LINKED_INTERVAL_MS: u64 = 10_000;
/// Milliseconds that each discovered peer adds to the shortest beacon interval. Applies if more
/// than [`LINKS_MAX`] peers are discovered. All programs of a large LAN together then send about 18
/// beacons a second. Of up to 200 programs, each is heard within 15 s, so that nobody pings. Pings
/// on the links of 200 programs would be 300 a second.
const INTERVAL_PER_PEER_MS: u64 = 75;
/// Longest time from a failed dial to our next beacon, in milliseconds. The peer may dial us when
/// it receives the beacon.
const FAILED_DIAL_DELAY_MS: u64 = 2_000;

/// Shortest beacon interval, in milliseconds. Returns 0 for up to [`LINKS_MAX`] discovered peers.
/// Above that number, the interval grows with each peer.
pub fn min_interval_ms(discovered_peers: usize) -> u64 {
    match discovered_peers {
        few if few <= LINKS_MAX => 0,
        many => INTERVAL_PER_PEER_MS * many as u64,
    }
}

/// The first beacons on an interface that has appeared while others were in use.
struct InterfaceStart {
    /// The index of the interface.
    interface: u32,
    next_at: Time,
    /// Number of beacons sent on this interface alone.
    step: usize,
}

/// Decides when to send our beacons. The intervals start short and grow.
pub struct BeaconSchedule {
    is_enabled: bool,
    /// The interfaces that have appeared lately. They get short intervals of their own, so that
    /// their coming causes no traffic elsewhere.
    starts: Vec<InterfaceStart>,
    /// When to send the next beacon. `None` until the first interface appears.
    next_at: Option<Time>,
    last_sent_at: Time,
    /// Number of beacons sent in this run.
    sent_count: u64,
    /// Number of beacons sent on all interfaces since the whole schedule began.
    startup_step: usize,
}

impl BeaconSchedule {
    /// A schedule that sends no beacon before [`BeaconSchedule::handle_interfaces`]. If
    /// `is_enabled` is false, no beacon is ever sent.
    pub fn new(is_enabled: bool) -> BeaconSchedule {
        BeaconSchedule {
            is_enabled,
            starts: Vec::new(),
            next_at: None,
            last_sent_at: Time(0),
            sent_count: 0,
            startup_step: 0,
        }
    }

    /// Makes a beacon due now on each interface that has appeared or changed, and begins with the
    /// short intervals there: nobody on its network has received our beacon. If no interface stays
    /// as it was, the whole schedule begins again.
    pub fn handle_interfaces(&mut self, now: Time, old: &[Interface], new: &[Interface]) {
        if !self.is_enabled {
            return;
        }
        let is_usable = |start: &InterfaceStart| new.iter().any(|i| i.index == start.interface);
        self.starts.retain(is_usable);
        let appeared = new.iter().filter(|interface| !old.contains(interface));
        if new.iter().any(|interface| old.contains(interface)) {
            for Interface { index, .. } in appeared {
                self.starts.retain(|start| start.interface != *index);
                self.starts.push(InterfaceStart {
                    interface: *index,
                    next_at: now,
                    step: 0,
                });
            }
        } else if appeared.count() > 0 {
            self.starts.clear();
            self.startup_step = 0;
            self.next_at = Some(now);
        }
    }

    /// Makes a beacon due soon, after a dial has failed. The peer that we cannot reach may be able
    /// to reach us. The beacons are still as far apart as while no peer is linked.
    pub fn dial_failed(&mut self, ctx: &mut Context) {
        if self.is_enabled {
            let soon = ctx.now.time + ctx.jitter(FAILED_DIAL_DELAY_MS);
            let soon = soon.max(self.last_sent_at + unlinked_interval_ms(ctx));
            self.next_at = Some(self.next_at.map_or(soon, |at| at.min(soon)));
        }
    }

    /// When to send the next beacon.
    pub fn deadline(&self) -> Option<Time> {
        let starts = self.starts.iter().map(|start| start.next_at);
        let next = self.next_at.into_iter().chain(starts).min();
        next.filter(|_| self.is_enabled)
    }

    /// Broadcasts the beacons that are due.
    pub fn handle_timeout(&mut self, ctx: &mut Context, rooms: &[Room], discovered_peers: usize) {
        if self.is_enabled {
            self.send_on_all(ctx, rooms, discovered_peers);
            self.send_on_starting(ctx, rooms, discovered_peers);
        }
    }

    /// Sends a beacon on each interface that appeared lately and where one is due. After the last
    /// of them, the beacons on all interfaces suffice.
    fn send_on_starting(&mut self, ctx: &mut Context, rooms: &[Room], discovered_peers: usize) {
        let now = ctx.now.time;
        let shortest = min_interval_ms(discovered_peers);
        let mut due = Vec::new();
        for start in self.starts.iter_mut().filter(|start| start.next_at <= now) {
            let is_last = start.step + 1 == STARTUP_INTERVALS_MS.len();
            let interval = match is_last {
                // The next beacon is one on all interfaces.
                true => longest_interval_ms(ctx),
                false => startup_interval_ms(ctx, start.step, discovered_peers),
            };
            let interval = interval.max(shortest);
            start.step += 1;
            start.next_at = now + interval.saturating_sub(shortest) + ctx.jitter(shortest);
            due.push((start.interface, interval));
        }
        self.starts
            .retain(|start| start.step < STARTUP_INTERVALS_MS.len());
        for (interface, interval) in due {
            self.broadcast(ctx, rooms, BeaconKind::Discover, interval, Some(interface));
        }
    }

    /// Sends a beacon on all interfaces if one is due.
    fn send_on_all(&mut self, ctx: &mut Context, rooms: &[Room], discovered_peers: usize) {
        let now = ctx.now.time;
        if self.next_at.is_none_or(|at| at > now) {
            return;
        }
        let min_interval = min_interval_ms(discovered_peers);
        if self.startup_step > 0 && now < self.last_sent_at + min_interval / 2 {
            // Many peers were discovered after `next_at` was set, so the interval is now too
            // short.
            self.next_at = Some(self.last_sent_at + ctx.jitter(min_interval));
            return;
        }
        let interval = self.interval_ms(ctx, discovered_peers).max(min_interval);
        let delay = interval.saturating_sub(min_interval) + ctx.jitter(min_interval);
        (self.last_sent_at, self.next_at) = (now, Some(now + delay));
        self.startup_step += 1;
        self.broadcast(ctx, rooms, BeaconKind::Discover, interval, None);
    }

    fn interval_ms(&self, ctx: &Context, discovered_peers: usize) -> u64 {
        match STARTUP_INTERVALS_MS.get(self.startup_step) {
            Some(_) => startup_interval_ms(ctx, self.startup_step, discovered_peers),
            None if ctx.stream_by_peer.is_empty() => unlinked_interval_ms(ctx),
            None => longest_interval_ms(ctx),
        }
    }

    /// Broadcasts that this program leaves. No further beacon is sent.
    pub fn withdraw(&mut self, ctx: &mut Context, rooms: &[Room]) {
        if std::mem::take(&mut self.is_enabled) {
            self.broadcast(ctx, rooms, BeaconKind::Leave, 0, None);
        }
    }

    /// Broadcasts our beacon on this interface, or on all. `Discover` advertises the joined rooms
    /// and the milliseconds to the next beacon. `Leave` says that this program ends.
    fn broadcast(
        &mut self,
        ctx: &mut Context,
        joined: &[Room],
        kind: BeaconKind,
        interval_ms: u64,
        interface: Option<u32>,
    ) {
        self.sent_count += 1;
        let rooms = joined.iter();
        let rooms = rooms.map(|room| room_hash(&ctx.network, ctx.run, room));
        let beacon = Beacon {
            kind,
            peer: ctx.own_id(),
            nick: ctx.nick.clone(),
            port: ctx.port,
            run: ctx.run,
            counter: self.sent_count,
            interval_ms,
            transient: ctx.transient,
            room_hashes: rooms.take(BEACON_ROOMS_MAX).collect(),
            has_more_rooms: joined.len() > BEACON_ROOMS_MAX,
        };
        let random = ctx.random_bytes();
        let bytes = beacon.encode(&ctx.network, ctx.beacon_key.as_ref(), &random);
        ctx.emit(Output::SendBeacon { interface, bytes });
    }
}

/// Longest time between two beacons, in milliseconds, unless many peers are discovered.
fn longest_interval_ms(ctx: &Context) -> u64 {
    ctx.timing.interval_ms.unwrap_or(LINKED_INTERVAL_MS)
}

/// The same while no peer is linked.
fn unlinked_interval_ms(ctx: &Context) -> u64 {
    longest_interval_ms(ctx) * UNLINKED_INTERVAL_MS / LINKED_INTERVAL_MS
}

/// Milliseconds from the beacon of this startup step to the next one.
fn startup_interval_ms(ctx: &Context, step: usize, discovered_peers: usize) -> u64 {
    let interval = STARTUP_INTERVALS_MS.get(step).copied().unwrap_or_default();
    let in_crowd = match step {
        0 => 0,
        _ => STARTUP_INTERVAL_PER_PEER_MS * discovered_peers as u64,
    };
    interval.max(in_crowd).min(longest_interval_ms(ctx))
}
