//! Relays: members of a room that are linked only through others get every line of each other.
use p2pchat::base::batch::LogId;
use p2pchat::base::event::Input;
use p2pchat::base::name::Room;

use crate::support::lan::{Lan, REDIAL_MS, chain};
use crate::support::peer::{PeerIndex, numbered_lines};

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
