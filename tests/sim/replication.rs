//! How lines travel: live, after an absence, to a newcomer, to a slow reader, and out of a crash.
use p2pchat::base::event::{Command, Input, Notice};
use p2pchat::base::name::Room;

use crate::support::lan::Lan;
use crate::support::peer::{Who, numbered};

fn meet(lan: &mut Lan, a: Who, b: Who) {
    lan.run_until("they are linked", 70_000, |lan| lan.linked(a, b));
}

#[test]
fn a_line_arrives_once_and_is_receipted() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    for who in [alice, bob, carol] {
        lan.start(who);
    }
    lan.run_for(500);
    lan.say(alice, "hello");
    lan.run_for(20);
    for who in [bob, carol] {
        assert_eq!(lan.people[who].heard(), ["hello"]);
    }
    let delivered = |n: &&Notice| matches!(n, Notice::Delivered { sequence: 1, .. });
    assert_eq!(lan.people[alice].shown().filter(delivered).count(), 2);
    lan.check_lines();
}

#[test]
fn a_send_that_needs_more_than_there_are_waits_asleep() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(3_000);
    lan.say(alice, "hello");
    let need = Some(2);
    lan.feed(
        alice,
        Input::Command(Command::Finish {
            required_peers: need,
        }),
    );
    // The simulator counts how often a program wakes.
    lan.run_for(10_000);
    let settled = |n: &Notice| matches!(n, Notice::Settled);
    assert!(!lan.people[alice].shown().any(settled));
}

#[test]
fn a_send_settles_when_it_is_held() {
    for (seed, need) in [(0, None), (1, Some(2)), (2, Some(1)), (3, Some(0))] {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
        lan.people[alice].passing = true;
        lan.start(bob);
        lan.start(carol);
        lan.run_for(5_000);
        lan.start(alice);
        lan.say(alice, "hello");
        lan.feed(
            alice,
            Input::Command(Command::Finish {
                required_peers: need,
            }),
        );
        let settled = |lan: &mut Lan| {
            lan.people[alice]
                .shown()
                .any(|n| matches!(n, Notice::Settled))
        };
        let took = lan.run_until("it is settled", 1_000, settled);
        assert!(took < 40, "{took} ms");
        let holders = [bob, carol]
            .iter()
            .filter(|w| !lan.people[**w].heard().is_empty())
            .count();
        assert!(
            holders as u64 >= need.unwrap_or(2),
            "{holders} hold it, {need:?} were asked for"
        );
        lan.stop(alice);
        lan.run_for(1_000);
        assert_eq!(
            lan.people[bob].joined(lan.id(alice)),
            0,
            "send comes and goes unannounced"
        );
    }
}

#[test]
fn who_was_away_gets_what_it_missed() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.say(alice, "one");
    lan.run_for(100);
    lan.stop(bob);
    for text in numbered("missed", 1, 1500) {
        lan.say(alice, &text);
    }
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(lan.people[bob].heard(), numbered("missed", 1, 1500));
    let late =
        |n: &Notice| matches!(n, Notice::Chat(chat) if chat.local.late && !chat.local.backfill);
    assert!(lan.people[bob].shown().any(late));
    lan.check_lines();
}

#[test]
fn a_newcomer_gets_the_newest_thousand_silently() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    for text in numbered("old", 1, 3000) {
        lan.say(alice, &text);
    }
    lan.run_for(1_000);
    lan.start(bob);
    meet(&mut lan, alice, bob);
    lan.run_for(1_000);
    lan.say(alice, "news");
    lan.run_for(100);
    assert_eq!(lan.people[bob].heard(), ["news"]);
    let ranges = lan.people[bob].disk.ranges(&Room::general());
    assert_eq!((ranges[0].low, ranges[0].high), (2001, 3001));
    assert_eq!(
        lan.people[bob]
            .disk
            .entries()
            .filter(|e| e.local.backfill)
            .count(),
        1000
    );
    assert_eq!(lan.people[bob].gaps(), 0);
}

#[test]
fn an_elder_gets_every_line_of_the_run() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(bob);
        lan.run_for(700);
        lan.start(alice);
        lan.say_all(alice, None, &numbered("piped", 1, 5000));
        meet(&mut lan, alice, bob);
        lan.run_for(3_000);
        assert_eq!(lan.people[bob].heard(), numbered("piped", 1, 5000));
        let late = |n: &Notice| matches!(n, Notice::Chat(chat) if chat.local.late);
        assert!(lan.people[bob].shown().any(late));
        lan.check_lines();
    }
}

#[test]
fn a_slow_reader_holds_up_nobody() {
    let mut lan = Lan::new(4);
    let [alice, slow, bob] = lan.people(["alice", "slow", "bob"]);
    for who in [alice, slow, bob] {
        lan.start(who);
    }
    lan.run_for(500);
    lan.people[slow].deaf = true;
    let texts: Vec<String> = (1..=20_000)
        .map(|n| format!("line {n} {}", "x".repeat(50)))
        .collect();
    for part in texts.chunks(100) {
        lan.say_all(alice, None, part);
        lan.run_for(1);
    }
    lan.run_for(200);
    assert_eq!(lan.people[bob].heard().len(), 20_000, "bob does not wait");
    lan.run_for(180_000);
    assert_eq!(
        lan.people[alice].left(lan.id(slow)),
        0,
        "not cut off for being slow"
    );
    lan.thaw(slow);
    lan.run_for(30_000);
    assert_eq!(lan.people[slow].heard(), texts);
    lan.check_lines();
}

#[test]
fn lines_of_control_characters_pass_a_clog() {
    let mut lan = Lan::new(14);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.air.weather.buffer = 10_000;
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    let texts: Vec<String> = (0..64).map(|_| "\u{1}".repeat(16_000)).collect();
    for part in texts.chunks(8) {
        lan.say_all(alice, None, part);
        lan.run_for(3);
    }
    lan.run_for(60_000);
    assert_eq!(lan.people[bob].heard(), texts);
    assert_eq!(lan.people[alice].left(lan.id(bob)), 0, "the link held");
}

#[test]
fn a_crash_amid_bulk_loses_nothing_that_was_stored() {
    for seed in 0..40 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        meet(&mut lan, alice, bob);
        let after = lan.random(200);
        lan.people[alice].dies_after = Some(after);
        for n in 0..20 {
            lan.say_all(alice, None, &numbered(&format!("bulk {n}"), 1, 500));
            let wait = lan.random(3);
            lan.run_for(wait);
        }
        lan.people[alice].dies_after = None;
        if lan.is_up(alice) {
            lan.kill(alice);
        }
        lan.start(alice);
        lan.say(alice, "back");
        lan.run_for(5_000);
        lan.check_lines();
        let stored: u64 = lan.people[alice]
            .disk
            .entries()
            .map(|e| e.batch.count)
            .sum();
        assert_eq!(lan.people[bob].heard().len() as u64, stored);
        let logs = lan.people[alice].disk.ranges(&Room::general()).len();
        assert_eq!(logs, if stored == 1 { 1 } else { 2 }, "a new incarnation");
    }
}

#[test]
fn a_clean_end_goes_on_with_the_same_numbers() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(bob);
    for text in ["one", "two", "three"] {
        lan.start(alice);
        lan.say(alice, text);
        lan.run_for(1_000);
        lan.stop(alice);
        lan.run_for(1_000);
    }
    assert_eq!(lan.people[bob].heard(), ["one", "two", "three"]);
    assert_eq!(lan.people[alice].disk.ranges(&Room::general()).len(), 1);
}

#[test]
fn a_power_cut_at_the_author_doubles_no_number() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        meet(&mut lan, alice, bob);
        lan.run_for(seed * 400);
        for text in numbered("line", 1, 20) {
            lan.say(alice, &text);
            lan.run_for(100);
        }
        lan.power_off(alice);
        lan.run_for(1_000);
        lan.start(alice);
        lan.say(alice, "back");
        lan.run_for(20_000);
        let mut all = numbered("line", 1, 20);
        all.push("back".into());
        assert_eq!(lan.people[bob].heard(), all);
        assert_eq!(lan.people[alice].errors("incarnation"), 0);
        lan.check_lines();
    }
}

#[test]
fn an_old_copy_of_the_directory_goes_on_under_new_numbers() {
    for (seed, more) in [(6, 1), (7, 10)] {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        lan.say(alice, "one");
        lan.run_for(1_000);
        lan.stop(alice);
        let (disk, resume) = (
            lan.people[alice].disk.clone(),
            lan.people[alice].resume.clone(),
        );
        lan.start(alice);
        for text in numbered("lost", 1, 5) {
            lan.say(alice, &text);
        }
        lan.run_for(1_000);
        lan.stop(alice);
        // The backup comes back.
        (lan.people[alice].disk, lan.people[alice].resume) = (disk, resume);
        lan.checks.restored(alice, &lan.people[alice].disk);
        lan.cut(alice, bob);
        lan.start(alice);
        for text in numbered("again", 1, more) {
            lan.say(alice, &text);
        }
        lan.run_for(1_000);
        lan.heal();
        lan.checks
            .said(alice, &Room::general(), &numbered("again", 1, more));
        meet(&mut lan, alice, bob);
        lan.run_for(1_000);
        assert_eq!(lan.people[alice].errors("incarnation"), 1, "noticed once");
        lan.say(alice, "new numbers");
        lan.run_for(1_000);
        assert_eq!(
            lan.people[bob].heard().last().map(String::as_str),
            Some("new numbers")
        );
        assert_eq!(
            lan.people[bob]
                .heard()
                .iter()
                .filter(|l| l.starts_with("lost"))
                .count(),
            5
        );
    }
}

#[test]
fn what_is_said_during_a_cut_is_news_to_a_newcomer_too() {
    let mut lan = Lan::new(20);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(bob);
    lan.run_for(2_000);
    // Bob's program is the older one, and has said nothing yet.
    lan.start(alice);
    meet(&mut lan, alice, bob);
    lan.run_for(500);
    lan.cut(alice, bob);
    for text in numbered("during", 1, 3) {
        lan.say(bob, &text);
    }
    lan.run_for(20_000);
    lan.heal();
    lan.run_for(20_000);
    assert_eq!(lan.people[alice].heard(), numbered("during", 1, 3));
}

#[test]
fn a_full_mesh_sends_nothing_twice() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let people = lan.people(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"]);
        lan.air.weather.stream = 1 + seed * 20;
        for who in people {
            lan.start(who);
            let wait = lan.random(300);
            lan.run_for(wait);
        }
        lan.run_for(2_000);
        for n in 0..400 {
            let who = people[lan.random(8) as usize];
            lan.say(who, &format!("line {n}"));
            let wait = lan.random(40);
            lan.run_for(wait);
        }
        // One that was away gets it from its authors.
        lan.stop(people[0]);
        for n in 0..100 {
            lan.say(people[1 + n % 7], &format!("more {n}"));
            lan.run_for(5);
        }
        lan.start(people[0]);
        lan.run_for(10_000);
        lan.check_lines();
        lan.check_transcripts();
        let batches: usize = people
            .iter()
            .map(|w| lan.people[*w].disk.entries().count())
            .sum();
        let counters = people.map(|w| lan.people[w].node.as_ref().map(|node| node.counters()));
        let doubled: u64 = counters.iter().flatten().map(|c| c.duplicate_batches).sum();
        assert!(batches >= 8 * 500, "{batches} batches");
        assert!(doubled * 100 <= batches as u64, "{doubled} of {batches}");
    }
}

/// What a peer says to hold comes while more is on its way to it: the one does not pass for a receipt of a part of the other.
#[test]
fn an_old_copy_that_speaks_as_it_meets_goes_on_under_new_numbers() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        lan.run_for(1_000);
        lan.stop(alice);
        lan.back_up(alice);
        lan.start(alice);
        meet(&mut lan, alice, bob);
        lan.say(alice, "lost");
        lan.run_for(1_000);
        lan.stop(alice);
        lan.restore(alice);
        lan.start(alice);
        let id = lan.id(bob);
        lan.run_until("alice sees bob", 70_000, |lan| {
            lan.people[alice].joined(id) > 0
        });
        lan.say_all(alice, None, &numbered("new", 1, 3));
        lan.run_for(10_000);
        let heard = lan.people[bob].heard();
        assert_eq!(heard, ["lost", "new 1", "new 2", "new 3"], "seed {seed}");
    }
}

#[test]
fn each_line_must_have_somebody_who_holds_it() {
    let ops = Room::new("ops").expect("a room");
    for part in [false, true] {
        let mut lan = Lan::new(31);
        let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_until("they are linked", 5_000, |lan| lan.linked(alice, bob));
        lan.join(alice, "#ops");
        lan.say_in(alice, "#general", "to all");
        lan.say_in(alice, "#ops", "to nobody yet");
        if part {
            lan.part(alice, "#ops");
        }
        lan.feed(
            alice,
            Input::Command(Command::Finish {
                required_peers: None,
            }),
        );
        lan.run_for(10_000);
        let delivery = |lan: &Lan| {
            let node = lan.people[alice].node.as_ref().expect("up");
            let delivery = node.delivery();
            (delivery.acked_peers, delivery.is_settled)
        };
        assert_eq!(delivery(&lan), (0, false), "bob holds one of both");
        if part {
            continue;
        }
        lan.people[carol].rooms.push(ops.clone());
        lan.start(carol);
        lan.run_until("carol holds all", 5_000, |lan| delivery(lan).1);
        lan.part(alice, "#ops");
        assert_eq!(delivery(&lan), (1, true), "carol still holds it");
    }
}
