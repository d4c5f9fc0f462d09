//! A recipient whose directory lost direct messages, and whose link leads to a neighbour of their
//! author only. The author knows that the messages were delivered; they come again all the same.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::input::Input;
use p2pchat::base::name::FolderName;

use crate::support::lan::{Lan, REDIAL_MS, chain};
use crate::support::peer::{PeerIndex, numbered_lines};

/// Longest time until lost lines are back, without a gap request.
const SETTLE_MS: u64 = 5_000;

/// Alice sends bob these lines, one by one.
fn send_lines(lan: &mut Lan, alice: PeerIndex, from: u64, to: u64) {
    for text in numbered_lines("psst", from, to) {
        lan.send_direct(alice, "@bob", &text);
        lan.run_for(100);
    }
    lan.run_for(1_000);
}

/// Bob's directory is replaced by its backup, and his program starts again.
fn restore(lan: &mut Lan, bob: PeerIndex) {
    lan.stop(bob);
    lan.run_for(1_000);
    lan.restore(bob);
    lan.start(bob);
}

/// Carol forgets what she carries, as it is delivered and alice is away. Both run again.
fn end_carrying(lan: &mut Lan, alice: PeerIndex, carol: PeerIndex) {
    lan.stop(alice);
    lan.stop(carol);
    lan.start(carol);
    lan.run_for(10_000);
    lan.start(alice);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_for(5_000);
    let ranges = lan.node(carol).frontier(&FolderName::carried());
    assert!(ranges.is_empty(), "{ranges:?}");
}

/// Number of alice's lines that bob's disk stores.
fn stored(lan: &Lan, bob: PeerIndex) -> u64 {
    let ranges = lan.peers[bob].disk.ranges_in(&FolderName::direct());
    let lines = ranges.iter().map(|range| {
        let missing = range.gaps.iter().map(|gap| gap.to + 1 - gap.from);
        range.high - missing.sum::<u64>()
    });
    lines.sum()
}

/// Bob is restored to a directory with the first `kept` of 9 lines, which came through carol. She
/// still carries the lines, or has forgotten them because alice was away.
fn lines_come_again_through_a_neighbour(kept: u64, is_carried: bool) {
    let (mut lan, [alice, carol, bob]) = chain(21, ["alice", "carol", "bob"]);
    send_lines(&mut lan, alice, 1, kept);
    lan.back_up(bob);
    send_lines(&mut lan, alice, kept + 1, 9);
    let id = lan.id(bob);
    assert_eq!(lan.peers[alice].acked_sequence(id), 9);
    if !is_carried {
        end_carrying(&mut lan, alice, carol);
    }
    restore(&mut lan, bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(SETTLE_MS);
    let lost = numbered_lines("psst", kept + 1, 9);
    assert_eq!(lan.peers[bob].received(), lost, "{kept} kept");
    assert_eq!(lan.peers[bob].gap_count(), 0, "{kept} kept");
    send_lines(&mut lan, alice, 10, 10);
    assert_eq!(lan.peers[alice].acked_sequence(id), 10);
    lan.check_lines();
}

/// Also when the copy knows nothing of the log.
#[test]
fn lines_of_a_restored_recipient_come_again_through_a_neighbour() {
    for (kept, is_carried) in [(0, false), (4, false), (8, false), (0, true), (4, true)] {
        lines_come_again_through_a_neighbour(kept, is_carried);
    }
}

/// The neighbour carries only the newest lines, since alice and bob were linked before. Bob is
/// restored to a directory that lacks earlier ones, too: he gets all, in order and without a gap.
#[test]
fn a_neighbour_that_carries_only_the_newest_lines_brings_the_others() {
    let mut lan = Lan::new(22);
    let [alice, carol, bob] = lan.add_peers(["alice", "carol", "bob"]);
    lan.start_all([alice, carol, bob]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    send_lines(&mut lan, alice, 1, 3);
    lan.back_up(bob);
    send_lines(&mut lan, alice, 4, 6);
    lan.cut(alice, bob);
    lan.run_until("the link is gone", 60_000, |lan| {
        !lan.are_linked(alice, bob)
    });
    send_lines(&mut lan, alice, 7, 9);
    assert_eq!(lan.peers[carol].carried_line_count(), 3);
    restore(&mut lan, bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(SETTLE_MS);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 4, 9));
    assert_eq!(lan.peers[bob].gap_count(), 0);
    lan.check_lines();
}

/// Bob's disk loses lines in the middle of the log while his program runs. They come back from
/// alice, through carol.
#[test]
fn a_gap_in_direct_messages_is_filled_through_a_neighbour() {
    let (mut lan, [alice, carol, bob]) = chain(23, ["alice", "carol", "bob"]);
    send_lines(&mut lan, alice, 1, 9);
    end_carrying(&mut lan, alice, carol);
    let log = direct_log(&lan, bob);
    let lost = lan.peers[bob].disk.lose(&log, 4..=6, true);
    lan.feed(bob, Input::LinesLost(lost));
    assert_eq!(stored(&lan, bob), 6);
    lan.run_until("the lines are back", 60_000, |lan| stored(lan, bob) == 9);
    lan.check_lines();
}

/// The log of the direct messages that bob stores.
fn direct_log(lan: &Lan, bob: PeerIndex) -> LogId {
    let mut entries = lan.peers[bob].disk.entries();
    let direct = entries.find(|entry| entry.batch.log.target.recipient().is_some());
    direct.expect("a direct message").batch.log.clone()
}

/// Sequences of alice's lines that this disk does not store, of those that hers does.
fn missing(lan: &Lan, alice: PeerIndex, bob: PeerIndex) -> Vec<(u64, u64)> {
    let (id, to) = (lan.id(alice), lan.id(bob));
    let written = lan.peers[alice].disk.entries().filter(|entry| {
        let log = &entry.batch.log;
        log.author == id && log.target.recipient() == Some(to)
    });
    let lines = written.flat_map(|entry| {
        let batch = &entry.batch;
        (batch.sequence..=batch.last_sequence()).map(|line| (&batch.log, line))
    });
    let missing = lines.filter(|(log, line)| lan.peers[bob].disk.find(log, *line).is_none());
    missing.map(|(log, line)| (log.incarnation, line)).collect()
}

/// Alice and bob write to each other while programs end, paths break and bob is restored. At the
/// end, only carol, or carol and dave, lead from one to the other.
fn run_with_faults(seed: u64) {
    let mut lan = Lan::new(seed);
    let [alice, carol, bob, dave] = lan.add_peers(["alice", "carol", "bob", "dave"]);
    lan.cut(alice, bob);
    let others = match lan.chance(500) {
        true => vec![alice, carol, bob, dave],
        false => vec![alice, carol, bob],
    };
    lan.start_all(others.clone());
    lan.run_for(3_000);
    for step in 0..40 {
        let who = others[lan.random(others.len() as u64) as usize];
        match lan.random(12) {
            0 if lan.is_running(who) => lan.kill(who),
            1 if lan.is_running(who) => lan.stop(who),
            2 => lan.heal(),
            3 => lan.cut(alice, bob),
            4 => lan.cut(alice, carol),
            5 => lan.back_up(bob),
            6 if !lan.is_running(bob) => lan.restore(bob),
            7 if lan.is_running(bob) => {
                lan.send_direct_within(bob, "@alice", &format!("back {step}"), 1_000);
            }
            _ if !lan.is_running(who) => lan.start(who),
            _ if lan.is_running(alice) => {
                let count = [1, 3, 30][lan.random(3) as usize];
                for n in 0..count {
                    lan.send_direct_within(alice, "@bob", &format!("psst {step} {n}"), 1_000);
                }
            }
            _ => {}
        }
        let wait = [10, 500, 5_000][lan.random(3) as usize];
        let wait = lan.random(wait) + 1;
        lan.run_for(wait);
    }
    lan.heal();
    lan.cut(alice, bob);
    for who in others {
        if !lan.is_running(who) {
            lan.start(who);
        }
    }
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_until_linked(carol, bob, REDIAL_MS);
    lan.run_for(100_000);
    assert_eq!(missing(&lan, alice, bob), [], "seed {seed}");
    lan.check_lines();
}

#[test]
fn direct_messages_survive_faults_and_restores_behind_a_neighbour() {
    let seeds = std::env::var("P2PCHAT_SEEDS").ok();
    let seeds = seeds.and_then(|it| it.parse().ok()).unwrap_or(15);
    for seed in 0..seeds {
        run_with_faults(seed);
    }
}
