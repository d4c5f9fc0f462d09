//! Direct messages: alice writes to bob, carol carries.
use p2pchat::base::event::{Command, Input, Notice};
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, Room, Target};

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, numbered_lines};

fn meet(lan: &mut Lan, a: PeerIndex, b: PeerIndex) {
    lan.run_until_linked(a, b, 70_000);
}

fn start(lan: &mut Lan, people: &[PeerIndex]) {
    people.iter().for_each(|who| lan.start(*who));
}

/// How far bob was seen, by alice, to hold what she said to him.
fn acked_sequence(lan: &Lan, who: PeerIndex, reader: PeerId) -> u64 {
    let shown = lan.peers[who]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Delivered {
                log,
                sequence,
                peer,
            } if log.target == Target::Peer(reader) => {
                assert_eq!(peer.id, reader, "a receipt of somebody else");
                Some(*sequence)
            }
            _ => None,
        });
    shown.max().unwrap_or(0)
}

/// How often anything was told to be delivered.
fn delivered_count(lan: &Lan, who: PeerIndex) -> usize {
    let delivered = |notice: &&Notice| matches!(notice, Notice::Delivered { .. });
    lan.peers[who].notices_of_run().filter(delivered).count()
}

fn carried_lines(lan: &Lan, who: PeerIndex) -> u64 {
    let ranges = lan.peers[who].disk.ranges_in(&FolderName::carried());
    ranges.iter().map(|range| range.high + 1 - range.low).sum()
}

#[test]
fn it_arrives_once_is_receipted_and_nobody_else_sees_it() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    // No room is shared: a direct message needs none.
    lan.peers[bob].startup_rooms = vec![Room::new("ops").expect("a room")];
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.send_direct(alice, "@bob", "psst");
    lan.send_direct(alice, "@bob", "and");
    lan.run_for(50);
    lan.send_direct(bob, "alice", "yes?");
    lan.run_for(50);
    assert_eq!(lan.peers[bob].received(), ["psst", "and"]);
    assert_eq!(lan.peers[alice].received(), ["yes?"]);
    assert!(lan.peers[carol].received().is_empty());
    assert_eq!(carried_lines(&lan, carol), 0, "the reader is here");
    let id = lan.id(bob);
    assert_eq!(acked_sequence(&lan, alice, id), 2);
    lan.check_lines();
}

#[test]
fn it_comes_through_a_carrier_when_its_author_is_gone() {
    let mut lan = Lan::new(2);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    lan.stop(bob);
    lan.run_for(1_000);
    for text in numbered_lines("psst", 1, 5) {
        lan.send_direct(alice, "@bob", &text);
    }
    lan.run_for(1_000);
    assert_eq!(carried_lines(&lan, carol), 5);
    assert!(
        lan.peers[carol].received().is_empty(),
        "who carries reads nothing"
    );
    let reads = |lan: &Lan| {
        let mut texts = 0;
        let entries = lan.peers[carol].disk.entries();
        entries.for_each(|entry| entry.batch.for_each_line(|_| texts += 1));
        texts
    };
    assert_eq!(reads(&lan), 0);
    let id = lan.id(bob);
    assert_eq!(
        acked_sequence(&lan, alice, id),
        0,
        "a carrier's copy is not the reader's"
    );
    lan.stop(alice);
    lan.run_for(60_000);
    lan.stop(carol);
    lan.start(carol);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 5));
    // The author comes back with all of it, and is told; nothing is shown again.
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 5));
    lan.send_direct(alice, "@bob", "psst 6");
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 6));
    assert_eq!(acked_sequence(&lan, alice, id), 6);
    lan.check_lines();
}

#[test]
fn a_neighbour_hands_it_on_at_once() {
    let mut lan = Lan::new(3);
    let [alice, carol, bob] = lan.add_peers(["alice", "carol", "bob"]);
    start(&mut lan, &[alice, carol, bob]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, carol, bob);
    meet(&mut lan, alice, carol);
    lan.cut(alice, bob);
    lan.run_until("the link is gone", 60_000, |lan| {
        !lan.are_linked(alice, bob)
    });
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(500);
    lan.send_direct(bob, "@alice", "yes?");
    lan.run_for(500);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    assert_eq!(lan.peers[alice].received(), ["yes?"]);
    let id = lan.id(bob);
    assert_eq!(
        acked_sequence(&lan, alice, id),
        1,
        "the reader's own word, handed on"
    );
    lan.heal();
    meet(&mut lan, alice, bob);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    lan.check_lines();
}

#[test]
fn at_most_three_carry_and_a_thousand_lines() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    let others = lan.add_peers(["c1", "c2", "c3", "c4", "c5"]);
    lan.start(alice);
    lan.start(bob);
    start(&mut lan, &others);
    meet(&mut lan, alice, bob);
    for who in others {
        meet(&mut lan, alice, who);
    }
    lan.stop(bob);
    lan.run_for(1_000);
    for text in numbered_lines("psst", 1, 1_500) {
        lan.send_direct(alice, "@bob", &text);
        lan.run_for(1);
    }
    lan.run_for(2_000);
    let held = others.map(|who| carried_lines(&lan, who));
    assert_eq!(held.iter().filter(|n| **n > 0).count(), 3, "{held:?}");
    assert!(held.iter().all(|n| [0, 1_000].contains(n)), "{held:?}");
    // What they could not take, the author has.
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.run_for(5_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 1_500));
    lan.check_lines();
}

#[test]
fn what_the_reader_has_is_not_carried() {
    let mut lan = Lan::new(10);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    for text in numbered_lines("psst", 1, 20) {
        lan.send_direct(alice, "@bob", &text);
    }
    lan.run_for(3_000);
    lan.stop(bob);
    // What was seen in an earlier run counts too.
    lan.stop(alice);
    lan.start(alice);
    meet(&mut lan, alice, carol);
    lan.send_direct(alice, "@bob", "psst 21");
    lan.run_for(3_000);
    assert_eq!(carried_lines(&lan, carol), 1);
    lan.stop(alice);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(3_000);
    assert_eq!(lan.peers[bob].received(), ["psst 21"], "in this run");
    lan.check_lines();
}

#[test]
fn it_is_carried_for_seven_days_of_running() {
    const DAY: u64 = 24 * 3_600_000;
    for (days, arrives) in [(6, true), (8, false)] {
        let mut lan = Lan::new(11);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        // Days of silence are no work for the simulator.
        lan.peers[carol].beacons_enabled = false;
        start(&mut lan, &[alice, bob, carol]);
        meet(&mut lan, alice, bob);
        meet(&mut lan, alice, carol);
        lan.stop(bob);
        lan.run_for(1_000);
        lan.send_direct(alice, "@bob", "psst");
        lan.run_for(2_000);
        assert_eq!(carried_lines(&lan, carol), 1);
        lan.stop(alice);
        // Days of the carrier's own clock, over all its runs, whatever the wall clock says; away does not count.
        lan.run_for(days * DAY / 2);
        lan.stop(carol);
        lan.run_for(10 * DAY);
        lan.start(carol);
        lan.run_for(days * DAY / 2);
        lan.kill(carol);
        lan.start(carol);
        lan.run_for(2_000);
        lan.start(bob);
        meet(&mut lan, bob, carol);
        lan.run_for(2_000);
        let heard = lan.peers[bob].received();
        assert_eq!(heard == ["psst"], arrives, "{days} days: {heard:?}");
        lan.check_lines();
    }
}

#[test]
fn what_waits_for_its_reader_goes_out_with_the_next_run() {
    for clean in [true, false] {
        let mut lan = Lan::new(5);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        meet(&mut lan, alice, bob);
        lan.stop(bob);
        lan.run_for(100);
        lan.send_direct(alice, "@bob", "psst");
        lan.run_for(100);
        match clean {
            true => lan.stop(alice),
            false => lan.kill(alice),
        }
        lan.start(alice);
        lan.start(bob);
        meet(&mut lan, alice, bob);
        lan.run_for(100);
        lan.send_direct(alice, "@bob", "more");
        lan.run_for(100);
        assert_eq!(lan.peers[bob].received(), ["psst", "more"]);
        let incarnations = lan.peers[bob].disk.ranges_in(&FolderName::direct()).len();
        assert_eq!(incarnations, if clean { 1 } else { 2 });
        lan.check_lines();
    }
}

#[test]
fn a_send_settles_when_its_reader_holds_it() {
    let mut lan = Lan::new(6);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.peers[alice].transient = true;
    lan.start(carol);
    lan.run_for(3_000);
    lan.start(alice);
    // Nobody of this name is known yet.
    lan.send_direct_within(alice, "@bob", "psst", 10_000);
    lan.run_for(2_000);
    assert_eq!(carried_lines(&lan, carol), 0);
    lan.start(bob);
    let holds = |lan: &mut Lan| lan.peers[bob].received() == ["psst"];
    lan.run_until("bob has it", 1_000, holds);
    lan.finish(alice, None);
    lan.run_for(20);
    assert!(lan.peers[alice].is_settled());
    let delivery = lan.peers[alice].node.as_ref().map(|node| node.delivery());
    assert_eq!(
        delivery.map(|d| (d.linked_peers, d.acked_peers, d.is_settled)),
        Some((1, 1, true))
    );
}

#[test]
fn a_carrier_is_not_who_a_send_waits_for() {
    let mut lan = Lan::new(7);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.stop(bob);
    lan.run_for(100);
    lan.send_direct_within(alice, "@bob", "psst", 10_000);
    lan.finish(alice, None);
    lan.run_for(5_000);
    assert_eq!(carried_lines(&lan, carol), 1);
    assert!(!lan.peers[alice].is_settled());
}

#[test]
fn an_unknown_or_ambiguous_name_is_refused() {
    let mut lan = Lan::new(8);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "bob"]);
    lan.start(alice);
    lan.send_direct(alice, "@bob", "nobody");
    assert_eq!(lan.peers[alice].error_count("target"), 1);
    lan.send_direct_within(alice, "@nobody", "nobody", 500);
    lan.run_for(499);
    assert_eq!(lan.peers[alice].error_count("target"), 1);
    lan.run_for(2);
    assert_eq!(lan.peers[alice].error_count("target"), 2);
    lan.start(bob);
    lan.start(carol);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.send_direct(alice, "@bob", "which?");
    lan.send_direct_within(alice, "@bob", "which?", 5_000);
    lan.run_for(1_100);
    assert_eq!(lan.peers[alice].error_count("target"), 4);
    let ranges = lan.peers[alice].disk.ranges_in(&FolderName::direct());
    assert!(ranges.is_empty(), "nothing is stored");
    let short = lan.id(carol).short();
    lan.send_direct(alice, &format!("@bob~{short}"), "you");
    let id = lan.id(bob);
    lan.send_direct(alice, &format!("@{id}"), "and you");
    lan.run_for(100);
    assert_eq!(lan.peers[carol].received(), ["you"]);
    assert_eq!(lan.peers[bob].received(), ["and you"]);
    lan.check_lines();
}

#[test]
fn a_name_whose_bound_key_changed_is_refused() {
    let mut lan = Lan::new(9);
    let [alice, bob, mallory] = lan.add_peers(["alice", "bob", "bob"]);
    lan.start(alice);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(100);
    lan.stop(bob);
    lan.stop(alice);
    lan.start(mallory);
    lan.start(alice);
    lan.send_direct_within(alice, "@bob", "secret", 10_000);
    lan.run_for(1_500);
    assert_eq!(lan.peers[alice].error_count("bound"), 1, "loudly");
    assert_eq!(lan.peers[alice].error_count("key"), 1);
    assert!(lan.peers[mallory].received().is_empty());
    assert_eq!(carried_lines(&lan, mallory), 0, "nothing is stored");
    // With the key that is meant there, the name means it.
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.send_direct(alice, "@bob", "secret");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["secret"]);
    assert!(lan.peers[mallory].received().is_empty());
    lan.check_lines();
}

/// Up to which line of each author's this one was told that it was read.
fn read_sequences(lan: &Lan, who: PeerIndex) -> Vec<u64> {
    let shown = lan.peers[who]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Read { sequence, .. } => Some(*sequence),
            _ => None,
        });
    shown.collect()
}

#[test]
fn who_reads_it_on_a_terminal_says_so_to_its_author_alone() {
    let mut lan = Lan::new(41);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    meet(&mut lan, bob, carol);
    lan.send_direct(alice, "@bob", "one");
    lan.send_direct(alice, "@bob", "two");
    lan.say(alice, "to all");
    lan.run_for(1_000);
    let logs: Vec<_> = lan.peers[bob].disk.ranges_in(&FolderName::direct());
    let log = logs[0].log.clone();
    let shown = |lan: &mut Lan, sequence| {
        let log = log.clone();
        lan.feed(bob, Input::Command(Command::MarkRead { log, sequence }));
        lan.run_for(1_000);
    };
    assert_eq!(read_sequences(&lan, alice), [0; 0]);
    shown(&mut lan, 1);
    shown(&mut lan, 2);
    shown(&mut lan, 1);
    // Nothing that it does not hold.
    shown(&mut lan, 7);
    assert_eq!(read_sequences(&lan, alice), [1, 2]);

    // What was read while she was away she is told when she is back.
    lan.stop(alice);
    lan.start(alice);
    lan.run_until("she is told", 70_000, |lan| {
        read_sequences(lan, alice) == [2]
    });
    assert_eq!(read_sequences(&lan, carol), [0; 0]);
}

#[test]
fn one_who_is_there_is_spoken_to_in_half_of_the_time() {
    let mut lan = Lan::new(12);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start(alice);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    // Somebody is about to be linked all the while, and could be another of that name.
    lan.network.conditions.dial_delay_max_ms = 100_000;
    lan.start(carol);
    lan.run_for(100);
    lan.send_direct_within(alice, "@bob", "psst", 500);
    lan.run_for(200);
    assert!(lan.peers[bob].received().is_empty(), "others may come");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    lan.check_lines();
}

#[test]
fn its_receipt_comes_to_a_later_run() {
    let mut lan = Lan::new(13);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.stop(bob);
    lan.run_for(100);
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(1_000);
    lan.stop(alice);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    let id = lan.id(bob);
    // The run that hears of it says so, and no other one.
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(2_000);
    assert_eq!(
        (
            acked_sequence(&lan, alice, id),
            delivered_count(&lan, alice)
        ),
        (1, 1)
    );
    lan.stop(bob);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.run_for(2_000);
    assert_eq!(delivered_count(&lan, alice), 1);
    lan.stop(alice);
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(2_000);
    assert_eq!(delivered_count(&lan, alice), 0);
    lan.check_lines();
}

/// `away`: how long the author still is when the reader has it, in milliseconds.
fn receipt_through_the_one_between(away: u64) {
    let mut lan = Lan::new(14);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.cut(alice, bob);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, carol);
    meet(&mut lan, bob, carol);
    lan.run_for(2_000);
    lan.send_direct(alice, "@bob", "one");
    lan.run_for(2_000);
    let id = lan.id(bob);
    assert_eq!(acked_sequence(&lan, alice, id), 1);
    lan.stop(bob);
    lan.run_for(2_000);
    lan.send_direct(alice, "@bob", "two");
    lan.run_for(1_000);
    assert_eq!(acked_sequence(&lan, alice, id), 1);
    lan.stop(alice);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(away);
    assert_eq!(lan.peers[bob].received(), ["two"], "in this run");
    lan.start(alice);
    meet(&mut lan, alice, carol);
    lan.run_for(5_000);
    assert_eq!(acked_sequence(&lan, alice, id), 2);
    lan.check_lines();
}

#[test]
fn its_receipt_comes_through_the_one_between_to_a_later_run() {
    // While it is still carried, and when it is not any more.
    for away in [300, 5_000] {
        receipt_through_the_one_between(away);
    }
}
