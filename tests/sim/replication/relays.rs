//! Relays: members of a room that are linked only through others get every line of each other,
//! soon after the last fault.
use std::panic::{AssertUnwindSafe, catch_unwind};

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::input::Input;
use p2pchat::base::name::Room;

use crate::support::lan::{Lan, REDIAL_MS, chain};
use crate::support::network::Conditions;
use crate::support::peer::{PeerIndex, numbered_lines};

/// Longest time, after all neighbours are linked, until every member stores and shows each line.
/// An offer waits up to a second at each of four hops, and a stalled source is replaced meanwhile.
const SETTLE_MS: u64 = 10_000;
/// Number of events between the start of the peers and the last fault.
const STEPS: usize = 25;

/// The peers of one run, and the pairs of them with a path to each other.
struct Relays {
    lan: Lan,
    peers: Vec<PeerIndex>,
    neighbours: Vec<(PeerIndex, PeerIndex)>,
    said: u64,
}

impl Relays {
    /// Draws a chain or a ring of three to six peers, their disks and the network. No peer runs.
    fn draw(seed: u64) -> Relays {
        let mut lan = Lan::new(seed);
        lan.clocks_are_right = true;
        let names = ["ann", "bob", "cid", "dan", "eve", "fay"];
        let count = 3 + lan.random(4) as usize;
        let is_ring = lan.chance(400);
        let peers: Vec<PeerIndex> = names[..count].iter().map(|n| lan.add_peer(n)).collect();
        let mut neighbours = Vec::new();
        for (i, a) in peers.iter().enumerate() {
            for (j, b) in peers.iter().enumerate().skip(i + 1) {
                match j == i + 1 || is_ring && (i, j) == (0, count - 1) {
                    true => neighbours.push((*a, *b)),
                    false => lan.remove_path(*a, *b),
                }
            }
        }
        for who in &peers {
            lan.peers[*who].disk.read_delay_max_ms = [0, 20, 500][lan.random(3) as usize];
        }
        let delay_max_ms = [1, 20, 300][lan.random(3) as usize];
        lan.network.conditions = Conditions {
            datagram_delay_max_ms: delay_max_ms,
            stream_delay_max_ms: delay_max_ms,
            socket_buffer_bytes: [2_000, 200_000][lan.random(2) as usize],
            dial_delay_max_ms: delay_max_ms,
            ..Conditions::default()
        };
        let said = 0;
        Relays {
            lan,
            peers,
            neighbours,
            said,
        }
    }

    /// A random peer says one line, or a burst of lines in one command or in many.
    fn talk(&mut self) {
        let who = self.peers[self.lan.random(self.peers.len() as u64) as usize];
        let count = [1, 1, 30, 300][self.lan.random(4) as usize];
        let lines = numbered_lines("line", self.said, self.said + count - 1);
        self.said += count;
        match self.lan.chance(500) {
            true => self.lan.say_all(who, None, &lines),
            false => lines.iter().for_each(|line| self.lan.say(who, line)),
        }
    }

    /// Lets one random thing happen.
    fn step(&mut self) {
        let Relays {
            lan,
            peers,
            neighbours,
            ..
        } = self;
        let who = peers[lan.random(peers.len() as u64) as usize];
        match lan.random(10) {
            0 if lan.is_running(who) => lan.kill(who),
            1 if lan.is_running(who) => lan.stop(who),
            2 if lan.is_running(who) => {
                let ms = lan.random(3_000);
                lan.freeze_for(who, ms);
            }
            3 => {
                let (a, b) = neighbours[lan.random(neighbours.len() as u64) as usize];
                lan.cut(a, b);
            }
            4 => lan.heal(),
            5 => {
                let open: Vec<u64> = lan.network.connections.keys().copied().collect();
                if !open.is_empty() {
                    let number = open[lan.random(open.len() as u64) as usize];
                    lan.reset_connection(number);
                }
            }
            _ if !lan.is_running(who) => lan.start(who),
            _ => self.talk(),
        }
    }

    /// Ends all faults, waits until all neighbours are linked, and checks that each member soon
    /// stores and shows all lines.
    fn settle(&mut self) {
        let lan = &mut self.lan;
        lan.heal();
        for who in self.peers.clone() {
            lan.thaw(who);
            if !lan.is_running(who) {
                lan.start(who);
            }
        }
        let neighbours = self.neighbours.clone();
        lan.run_until("all neighbours are linked", REDIAL_MS, |lan| {
            neighbours.iter().all(|(a, b)| lan.are_linked(*a, *b))
        });
        for who in self.peers.clone() {
            let text = format!("from {}", self.lan.peers[who].name);
            self.lan.say(who, &text);
            self.talk();
            let wait = self.lan.random(30);
            self.lan.run_for(wait);
        }
        self.lan.run_for(SETTLE_MS);
        self.lan.check_lines();
        self.lan.check_histories();
        self.check_last_lines_shown();
        self.check_receipts();
    }

    /// Every author has the receipts of all others.
    fn check_receipts(&self) {
        for who in &self.peers {
            let delivery = self.lan.node(*who).delivery(None);
            let name = &self.lan.peers[*who].name;
            assert!(!delivery.has_undelivered, "{name}: {delivery:?}");
        }
    }

    /// Every peer has shown the last lines of all others, which were said after its reader began.
    fn check_last_lines_shown(&self) {
        for (reader, author) in self.peers.iter().flat_map(|reader| {
            let others = self.peers.iter().filter(move |author| *author != reader);
            others.map(move |author| (reader, author))
        }) {
            let (reader, author) = (&self.lan.peers[*reader], &self.lan.peers[*author]);
            let last = format!("from {}", author.name);
            let shown = reader
                .received()
                .iter()
                .filter(|line| **line == last)
                .count();
            assert_eq!(shown, 1, "lines {last} shown by {}", reader.name);
        }
    }
}

/// Runs a seed.
fn run(seed: u64) {
    let mut relays = Relays::draw(seed);
    for who in relays.peers.clone() {
        relays.lan.start(who);
        let wait = [0, 30, 3_000][relays.lan.random(3) as usize];
        let wait = relays.lan.random(wait + 1);
        relays.talk();
        relays.lan.run_for(wait);
    }
    for _ in 0..STEPS {
        relays.step();
        let wait = [0, 30, 300, 3_000][relays.lan.random(4) as usize];
        let wait = relays.lan.random(wait + 1);
        relays.lan.run_for(wait);
    }
    relays.settle();
}

/// Chains and rings with random faults and talk: once all neighbours are linked, every member soon
/// stores each line, and shows what was said since it began. A failing seed is printed with the
/// command that replays it.
#[test]
fn chains_and_rings_deliver_soon_after_the_last_fault() {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let seeds = match number("P2PCHAT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("P2PCHAT_SEEDS").unwrap_or(20),
    };
    let failed: Vec<u64> = seeds
        .filter(|seed| {
            let failed = catch_unwind(AssertUnwindSafe(|| run(*seed))).is_err();
            if failed {
                println!("replay: P2PCHAT_SEED={seed} cargo test --test sim relays");
            }
            failed
        })
        .collect();
    assert!(failed.is_empty(), "failing seeds: {failed:?}");
}

/// Drops the lines of a log below `low`, for want of space.
fn evict(lan: &mut Lan, who: PeerIndex, log: &LogId, low: u64) {
    lan.peers[who].disk.evict(log, low);
    let log = log.clone();
    lan.feed(who, Input::Evicted { log, low });
}

/// Sequence of the last line of this log that the peer stores; 0 if none.
fn stored_high(lan: &Lan, who: PeerIndex, log: &LogId) -> u64 {
    let mut ranges = lan.peers[who].disk.ranges(&Room::general()).into_iter();
    ranges
        .find(|range| range.log == *log)
        .map_or(0, |range| range.high)
}

/// A relay that evicts offered lines before they are requested still sends the others.
#[test]
fn a_relay_sends_what_it_still_stores() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.remove_path(alice, carol);
        lan.start_all([alice, bob]);
        lan.run_for(1_000);
        lines_one_by_one(&mut lan, alice, 1, 20);
        lan.run_for(1_000);
        lan.start(carol);
        // Carol requests nothing for 300 ms, because alice may soon be linked too.
        lan.run_until_linked(bob, carol, 1_000);
        lan.run_for(50);
        let log = lan.first_log(alice);
        assert_eq!(stored_high(&lan, carol, &log), 0, "seed {seed}");
        evict(&mut lan, bob, &log, 11);
        lan.run_until("carol stores the others", 2_000, |lan| {
            stored_high(lan, carol, &log) == 20
        });
    }
}

/// A log goes on behind a relay that has a gap in it.
#[test]
fn a_log_with_a_gap_passes_a_relay() {
    for seed in 0..5 {
        let (mut lan, [alice, bob, carol]) = chain(seed, ["alice", "bob", "carol"]);
        lines_one_by_one(&mut lan, alice, 1, 10);
        lan.run_for(3_000);
        let log = lan.first_log(alice);
        assert_eq!(stored_high(&lan, carol, &log), 10, "seed {seed}");
        lan.cut(alice, bob);
        lan.run_for(30_000);
        lines_one_by_one(&mut lan, alice, 11, 20);
        evict(&mut lan, alice, &log, 16);
        lan.heal();
        lan.cut(alice, carol);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_until("carol stores the lines above the gap", 3_000, |lan| {
            stored_high(lan, carol, &log) == 20
        });
        assert_eq!(lan.peers[carol].gap_count(), 1, "seed {seed}");
        lan.say(alice, "live");
        lan.run_for(100);
        assert_eq!(stored_high(&lan, carol, &log), 21, "seed {seed}");
    }
}

/// Says `line from` to `line to`, each in a batch of its own.
fn lines_one_by_one(lan: &mut Lan, who: PeerIndex, from: u64, to: u64) {
    let lines = numbered_lines("line", from, to);
    lines.iter().for_each(|line| lan.say(who, line));
}
