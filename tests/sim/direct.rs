//! Direct messages: alice writes to bob, carol carries.
use p2pchat::base::event::{Command, Input, Notice};
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, Room, Target};

use crate::support::lan::Lan;
use crate::support::peer::{Who, numbered};

fn meet(lan: &mut Lan, a: Who, b: Who) {
    lan.run_until("they are linked", 70_000, |lan| lan.linked(a, b));
}

fn start(lan: &mut Lan, people: &[Who]) {
    people.iter().for_each(|who| lan.start(*who));
}

/// How far bob was seen, by alice, to hold what she said to him.
fn receipted(lan: &Lan, who: Who, reader: PeerId) -> u64 {
    let shown = lan.people[who].shown().filter_map(|notice| match notice {
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
fn receipts(lan: &Lan, who: Who) -> usize {
    let delivered = |notice: &&Notice| matches!(notice, Notice::Delivered { .. });
    lan.people[who].shown().filter(delivered).count()
}

fn carried(lan: &Lan, who: Who) -> u64 {
    let ranges = lan.people[who].disk.ranges_in(&FolderName::carried());
    ranges.iter().map(|range| range.high + 1 - range.low).sum()
}

#[test]
fn it_arrives_once_is_receipted_and_nobody_else_sees_it() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    // No room is shared: a direct message needs none.
    lan.people[bob].rooms = vec![Room::new("ops").expect("a room")];
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.tell(alice, "@bob", "psst");
    lan.tell(alice, "@bob", "and");
    lan.run_for(50);
    lan.tell(bob, "alice", "yes?");
    lan.run_for(50);
    assert_eq!(lan.people[bob].heard(), ["psst", "and"]);
    assert_eq!(lan.people[alice].heard(), ["yes?"]);
    assert!(lan.people[carol].heard().is_empty());
    assert_eq!(carried(&lan, carol), 0, "the reader is here");
    let id = lan.id(bob);
    assert_eq!(receipted(&lan, alice, id), 2);
    lan.check_lines();
}

#[test]
fn it_comes_through_a_carrier_when_its_author_is_gone() {
    let mut lan = Lan::new(2);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    lan.stop(bob);
    lan.run_for(1_000);
    for text in numbered("psst", 1, 5) {
        lan.tell(alice, "@bob", &text);
    }
    lan.run_for(1_000);
    assert_eq!(carried(&lan, carol), 5);
    assert!(
        lan.people[carol].heard().is_empty(),
        "who carries reads nothing"
    );
    let reads = |lan: &Lan| {
        let mut texts = 0;
        let entries = lan.people[carol].disk.entries();
        entries.for_each(|entry| entry.batch.for_each_line(|_| texts += 1));
        texts
    };
    assert_eq!(reads(&lan), 0);
    let id = lan.id(bob);
    assert_eq!(
        receipted(&lan, alice, id),
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
    assert_eq!(lan.people[bob].heard(), numbered("psst", 1, 5));
    // The author comes back with all of it, and is told; nothing is shown again.
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(1_000);
    assert_eq!(lan.people[bob].heard(), numbered("psst", 1, 5));
    lan.tell(alice, "@bob", "psst 6");
    lan.run_for(1_000);
    assert_eq!(lan.people[bob].heard(), numbered("psst", 1, 6));
    assert_eq!(receipted(&lan, alice, id), 6);
    lan.check_lines();
}

#[test]
fn a_neighbour_hands_it_on_at_once() {
    let mut lan = Lan::new(3);
    let [alice, carol, bob] = lan.people(["alice", "carol", "bob"]);
    start(&mut lan, &[alice, carol, bob]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, carol, bob);
    meet(&mut lan, alice, carol);
    lan.cut(alice, bob);
    lan.run_until("the link is gone", 60_000, |lan| !lan.linked(alice, bob));
    lan.tell(alice, "@bob", "psst");
    lan.run_for(500);
    lan.tell(bob, "@alice", "yes?");
    lan.run_for(500);
    assert_eq!(lan.people[bob].heard(), ["psst"]);
    assert_eq!(lan.people[alice].heard(), ["yes?"]);
    let id = lan.id(bob);
    assert_eq!(
        receipted(&lan, alice, id),
        1,
        "the reader's own word, handed on"
    );
    lan.heal();
    meet(&mut lan, alice, bob);
    lan.run_for(1_000);
    assert_eq!(lan.people[bob].heard(), ["psst"]);
    lan.check_lines();
}

#[test]
fn at_most_three_carry_and_a_thousand_lines() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.people(["alice", "bob"]);
    let others = lan.people(["c1", "c2", "c3", "c4", "c5"]);
    lan.start(alice);
    lan.start(bob);
    start(&mut lan, &others);
    meet(&mut lan, alice, bob);
    for who in others {
        meet(&mut lan, alice, who);
    }
    lan.stop(bob);
    lan.run_for(1_000);
    for text in numbered("psst", 1, 1_500) {
        lan.tell(alice, "@bob", &text);
        lan.run_for(1);
    }
    lan.run_for(2_000);
    let held = others.map(|who| carried(&lan, who));
    assert_eq!(held.iter().filter(|n| **n > 0).count(), 3, "{held:?}");
    assert!(held.iter().all(|n| [0, 1_000].contains(n)), "{held:?}");
    // What they could not take, the author has.
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.run_for(5_000);
    assert_eq!(lan.people[bob].heard(), numbered("psst", 1, 1_500));
    lan.check_lines();
}

#[test]
fn what_the_reader_has_is_not_carried() {
    let mut lan = Lan::new(10);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    for text in numbered("psst", 1, 20) {
        lan.tell(alice, "@bob", &text);
    }
    lan.run_for(3_000);
    lan.stop(bob);
    // What was seen in an earlier run counts too.
    lan.stop(alice);
    lan.start(alice);
    meet(&mut lan, alice, carol);
    lan.tell(alice, "@bob", "psst 21");
    lan.run_for(3_000);
    assert_eq!(carried(&lan, carol), 1);
    lan.stop(alice);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(3_000);
    assert_eq!(lan.people[bob].heard(), ["psst 21"], "in this run");
    lan.check_lines();
}

#[test]
fn it_is_carried_for_seven_days_of_running() {
    const DAY: u64 = 24 * 3_600_000;
    for (days, arrives) in [(6, true), (8, false)] {
        let mut lan = Lan::new(11);
        let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
        // Days of silence are no work for the simulator.
        lan.people[carol].beacons = false;
        start(&mut lan, &[alice, bob, carol]);
        meet(&mut lan, alice, bob);
        meet(&mut lan, alice, carol);
        lan.stop(bob);
        lan.run_for(1_000);
        lan.tell(alice, "@bob", "psst");
        lan.run_for(2_000);
        assert_eq!(carried(&lan, carol), 1);
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
        let heard = lan.people[bob].heard();
        assert_eq!(heard == ["psst"], arrives, "{days} days: {heard:?}");
        lan.check_lines();
    }
}

#[test]
fn what_waits_for_its_reader_goes_out_with_the_next_run() {
    for clean in [true, false] {
        let mut lan = Lan::new(5);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        meet(&mut lan, alice, bob);
        lan.stop(bob);
        lan.run_for(100);
        lan.tell(alice, "@bob", "psst");
        lan.run_for(100);
        match clean {
            true => lan.stop(alice),
            false => lan.kill(alice),
        }
        lan.start(alice);
        lan.start(bob);
        meet(&mut lan, alice, bob);
        lan.run_for(100);
        lan.tell(alice, "@bob", "more");
        lan.run_for(100);
        assert_eq!(lan.people[bob].heard(), ["psst", "more"]);
        let incarnations = lan.people[bob].disk.ranges_in(&FolderName::direct()).len();
        assert_eq!(incarnations, if clean { 1 } else { 2 });
        lan.check_lines();
    }
}

#[test]
fn a_send_settles_when_its_reader_holds_it() {
    let mut lan = Lan::new(6);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    lan.people[alice].passing = true;
    lan.start(carol);
    lan.run_for(3_000);
    lan.start(alice);
    // Nobody of this name is known yet.
    lan.tell_within(alice, "@bob", "psst", 10_000);
    lan.run_for(2_000);
    assert_eq!(carried(&lan, carol), 0);
    lan.start(bob);
    let holds = |lan: &mut Lan| lan.people[bob].heard() == ["psst"];
    lan.run_until("bob has it", 1_000, holds);
    lan.feed(
        alice,
        Input::Command(Command::Finish {
            required_peers: None,
        }),
    );
    lan.run_for(20);
    let settled = |n: &Notice| matches!(n, Notice::Settled);
    assert!(lan.people[alice].shown().any(settled));
    let delivery = lan.people[alice].node.as_ref().map(|node| node.delivery());
    assert_eq!(
        delivery.map(|d| (d.linked_peers, d.acked_peers, d.is_settled)),
        Some((1, 1, true))
    );
}

#[test]
fn a_carrier_is_not_who_a_send_waits_for() {
    let mut lan = Lan::new(7);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.stop(bob);
    lan.run_for(100);
    lan.tell_within(alice, "@bob", "psst", 10_000);
    lan.feed(
        alice,
        Input::Command(Command::Finish {
            required_peers: None,
        }),
    );
    lan.run_for(5_000);
    assert_eq!(carried(&lan, carol), 1);
    let settled = |n: &Notice| matches!(n, Notice::Settled);
    assert!(!lan.people[alice].shown().any(settled));
}

#[test]
fn an_unknown_or_ambiguous_name_is_refused() {
    let mut lan = Lan::new(8);
    let [alice, bob, carol] = lan.people(["alice", "bob", "bob"]);
    lan.start(alice);
    lan.tell(alice, "@bob", "nobody");
    assert_eq!(lan.people[alice].errors("target"), 1);
    lan.tell_within(alice, "@nobody", "nobody", 500);
    lan.run_for(499);
    assert_eq!(lan.people[alice].errors("target"), 1);
    lan.run_for(2);
    assert_eq!(lan.people[alice].errors("target"), 2);
    lan.start(bob);
    lan.start(carol);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.tell(alice, "@bob", "which?");
    lan.tell_within(alice, "@bob", "which?", 5_000);
    lan.run_for(1_100);
    assert_eq!(lan.people[alice].errors("target"), 4);
    let ranges = lan.people[alice].disk.ranges_in(&FolderName::direct());
    assert!(ranges.is_empty(), "nothing is stored");
    let short = lan.id(carol).short();
    lan.tell(alice, &format!("@bob~{short}"), "you");
    let id = lan.id(bob);
    lan.tell(alice, &format!("@{id}"), "and you");
    lan.run_for(100);
    assert_eq!(lan.people[carol].heard(), ["you"]);
    assert_eq!(lan.people[bob].heard(), ["and you"]);
    lan.check_lines();
}

#[test]
fn a_name_whose_bound_key_changed_is_refused() {
    let mut lan = Lan::new(9);
    let [alice, bob, mallory] = lan.people(["alice", "bob", "bob"]);
    lan.start(alice);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.tell(alice, "@bob", "psst");
    lan.run_for(100);
    lan.stop(bob);
    lan.stop(alice);
    lan.start(mallory);
    lan.start(alice);
    lan.tell_within(alice, "@bob", "secret", 10_000);
    lan.run_for(1_500);
    assert_eq!(lan.people[alice].errors("bound"), 1, "loudly");
    assert_eq!(lan.people[alice].errors("key"), 1);
    assert!(lan.people[mallory].heard().is_empty());
    assert_eq!(carried(&lan, mallory), 0, "nothing is stored");
    // With the key that is meant there, the name means it.
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.tell(alice, "@bob", "secret");
    lan.run_for(100);
    assert_eq!(lan.people[bob].heard(), ["secret"]);
    assert!(lan.people[mallory].heard().is_empty());
    lan.check_lines();
}

/// Up to which line of each author's this one was told that it was read.
fn read(lan: &Lan, who: Who) -> Vec<u64> {
    let shown = lan.people[who].shown().filter_map(|notice| match notice {
        Notice::Read { sequence, .. } => Some(*sequence),
        _ => None,
    });
    shown.collect()
}

#[test]
fn who_reads_it_on_a_terminal_says_so_to_its_author_alone() {
    let mut lan = Lan::new(41);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    meet(&mut lan, bob, carol);
    lan.tell(alice, "@bob", "one");
    lan.tell(alice, "@bob", "two");
    lan.say(alice, "to all");
    lan.run_for(1_000);
    let logs: Vec<_> = lan.people[bob].disk.ranges_in(&FolderName::direct());
    let log = logs[0].log.clone();
    let shown = |lan: &mut Lan, sequence| {
        let log = log.clone();
        lan.feed(bob, Input::Command(Command::MarkRead { log, sequence }));
        lan.run_for(1_000);
    };
    assert_eq!(read(&lan, alice), [0; 0]);
    shown(&mut lan, 1);
    shown(&mut lan, 2);
    shown(&mut lan, 1);
    // Nothing that it does not hold.
    shown(&mut lan, 7);
    assert_eq!(read(&lan, alice), [1, 2]);

    // What was read while she was away she is told when she is back.
    lan.stop(alice);
    lan.start(alice);
    lan.run_until("she is told", 70_000, |lan| read(lan, alice) == [2]);
    assert_eq!(read(&lan, carol), [0; 0]);
}

#[test]
fn one_who_is_there_is_spoken_to_in_half_of_the_time() {
    let mut lan = Lan::new(12);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    lan.start(alice);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    // Somebody is about to be linked all the while, and could be another of that name.
    lan.air.weather.slow_dial = 100_000;
    lan.start(carol);
    lan.run_for(100);
    lan.tell_within(alice, "@bob", "psst", 500);
    lan.run_for(200);
    assert!(lan.people[bob].heard().is_empty(), "others may come");
    lan.run_for(100);
    assert_eq!(lan.people[bob].heard(), ["psst"]);
    lan.check_lines();
}

#[test]
fn its_receipt_comes_to_a_later_run() {
    let mut lan = Lan::new(13);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, bob);
    meet(&mut lan, alice, carol);
    lan.stop(bob);
    lan.run_for(100);
    lan.tell(alice, "@bob", "psst");
    lan.run_for(1_000);
    lan.stop(alice);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(1_000);
    assert_eq!(lan.people[bob].heard(), ["psst"]);
    let id = lan.id(bob);
    // The run that hears of it says so, and no other one.
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(2_000);
    assert_eq!((receipted(&lan, alice, id), receipts(&lan, alice)), (1, 1));
    lan.stop(bob);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.run_for(2_000);
    assert_eq!(receipts(&lan, alice), 1);
    lan.stop(alice);
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(2_000);
    assert_eq!(receipts(&lan, alice), 0);
    lan.check_lines();
}

/// `away`: how long the author still is when the reader has it, in milliseconds.
fn receipt_through_the_one_between(away: u64) {
    let mut lan = Lan::new(14);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    lan.cut(alice, bob);
    start(&mut lan, &[alice, bob, carol]);
    meet(&mut lan, alice, carol);
    meet(&mut lan, bob, carol);
    lan.run_for(2_000);
    lan.tell(alice, "@bob", "one");
    lan.run_for(2_000);
    let id = lan.id(bob);
    assert_eq!(receipted(&lan, alice, id), 1);
    lan.stop(bob);
    lan.run_for(2_000);
    lan.tell(alice, "@bob", "two");
    lan.run_for(1_000);
    assert_eq!(receipted(&lan, alice, id), 1);
    lan.stop(alice);
    lan.start(bob);
    meet(&mut lan, bob, carol);
    lan.run_for(away);
    assert_eq!(lan.people[bob].heard(), ["two"], "in this run");
    lan.start(alice);
    meet(&mut lan, alice, carol);
    lan.run_for(5_000);
    assert_eq!(receipted(&lan, alice, id), 2);
    lan.check_lines();
}

#[test]
fn its_receipt_comes_through_the_one_between_to_a_later_run() {
    // While it is still carried, and when it is not any more.
    for away in [300, 5_000] {
        receipt_through_the_one_between(away);
    }
}
