//! How lines travel: live, after an absence, to a newcomer, to a slow reader, and out of a crash.
use p2pchat::base::event::Notice;
use p2pchat::base::name::Room;

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::numbered_lines;

#[test]
fn a_line_arrives_once_and_is_receipted() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(500);
    lan.say(alice, "hello");
    lan.run_for(20);
    for who in [bob, carol] {
        assert_eq!(lan.peers[who].received(), ["hello"]);
    }
    let delivered = |n: &&Notice| matches!(n, Notice::Delivered { sequence: 1, .. });
    assert_eq!(
        lan.peers[alice].notices_of_run().filter(delivered).count(),
        2
    );
    lan.check_lines();
}

#[test]
fn who_was_away_gets_what_it_missed() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.say(alice, "one");
    lan.run_for(100);
    lan.stop(bob);
    for text in numbered_lines("missed", 1, 1500) {
        lan.say(alice, &text);
    }
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("missed", 1, 1500));
    let late =
        |n: &Notice| matches!(n, Notice::Chat(chat) if chat.local.late && !chat.local.backfill);
    assert!(lan.peers[bob].notices_of_run().any(late));
    lan.check_lines();
}

#[test]
fn a_newcomer_gets_the_newest_thousand_silently() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    for text in numbered_lines("old", 1, 3000) {
        lan.say(alice, &text);
    }
    lan.run_for(1_000);
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(1_000);
    lan.say(alice, "news");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["news"]);
    let ranges = lan.peers[bob].disk.ranges(&Room::general());
    assert_eq!((ranges[0].low, ranges[0].high), (2001, 3001));
    assert_eq!(
        lan.peers[bob]
            .disk
            .entries()
            .filter(|e| e.local.backfill)
            .count(),
        1000
    );
    assert_eq!(lan.peers[bob].gap_count(), 0);
}

#[test]
fn an_elder_gets_every_line_of_the_run() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.run_for(700);
        lan.start(alice);
        lan.say_all(alice, None, &numbered_lines("piped", 1, 5000));
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(3_000);
        assert_eq!(lan.peers[bob].received(), numbered_lines("piped", 1, 5000));
        let late = |n: &Notice| matches!(n, Notice::Chat(chat) if chat.local.late);
        assert!(lan.peers[bob].notices_of_run().any(late));
        lan.check_lines();
    }
}

#[test]
fn a_slow_reader_holds_up_nobody() {
    let mut lan = Lan::new(4);
    let [alice, slow, bob] = lan.add_peers(["alice", "slow", "bob"]);
    lan.start_all([alice, slow, bob]);
    lan.run_for(500);
    lan.peers[slow].stopped_reading = true;
    let texts: Vec<String> = (1..=20_000)
        .map(|n| format!("line {n} {}", "x".repeat(50)))
        .collect();
    for part in texts.chunks(100) {
        lan.say_all(alice, None, part);
        lan.run_for(1);
    }
    lan.run_for(200);
    assert_eq!(lan.peers[bob].received().len(), 20_000, "bob does not wait");
    lan.run_for(180_000);
    assert_eq!(
        lan.peers[alice].left_count(lan.id(slow)),
        0,
        "not cut off for being slow"
    );
    lan.thaw(slow);
    lan.run_for(30_000);
    assert_eq!(lan.peers[slow].received(), texts);
    lan.check_lines();
}

#[test]
fn lines_of_control_characters_pass_a_clog() {
    let mut lan = Lan::new(14);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.network.conditions.socket_buffer_bytes = 10_000;
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    let texts: Vec<String> = (0..64).map(|_| "\u{1}".repeat(16_000)).collect();
    for part in texts.chunks(8) {
        lan.say_all(alice, None, part);
        lan.run_for(3);
    }
    lan.run_for(60_000);
    assert_eq!(lan.peers[bob].received(), texts);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 0, "the link held");
}

#[test]
fn a_crash_amid_bulk_loses_nothing_that_was_stored() {
    for seed in 0..40 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        let after = lan.random(200);
        lan.peers[alice].dies_after_outputs = Some(after);
        for n in 0..20 {
            lan.say_all(alice, None, &numbered_lines(&format!("bulk {n}"), 1, 500));
            let wait = lan.random(3);
            lan.run_for(wait);
        }
        lan.peers[alice].dies_after_outputs = None;
        if lan.is_running(alice) {
            lan.kill(alice);
        }
        lan.start(alice);
        lan.say(alice, "back");
        lan.run_for(5_000);
        lan.check_lines();
        let stored: u64 = lan.peers[alice].disk.entries().map(|e| e.batch.count).sum();
        assert_eq!(lan.peers[bob].received().len() as u64, stored);
        let logs = lan.peers[alice].disk.ranges(&Room::general()).len();
        assert_eq!(logs, if stored == 1 { 1 } else { 2 }, "a new incarnation");
    }
}

#[test]
fn a_clean_end_goes_on_with_the_same_numbers() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(bob);
    for text in ["one", "two", "three"] {
        lan.start(alice);
        lan.say(alice, text);
        lan.run_for(1_000);
        lan.stop(alice);
        lan.run_for(1_000);
    }
    assert_eq!(lan.peers[bob].received(), ["one", "two", "three"]);
    assert_eq!(lan.peers[alice].disk.ranges(&Room::general()).len(), 1);
}

#[test]
fn a_power_cut_at_the_author_doubles_no_number() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(seed * 400);
        for text in numbered_lines("line", 1, 20) {
            lan.say(alice, &text);
            lan.run_for(100);
        }
        lan.power_off(alice);
        lan.run_for(1_000);
        lan.start(alice);
        lan.say(alice, "back");
        lan.run_for(20_000);
        let mut all = numbered_lines("line", 1, 20);
        all.push("back".into());
        assert_eq!(lan.peers[bob].received(), all);
        assert_eq!(lan.peers[alice].error_count("incarnation"), 0);
        lan.check_lines();
    }
}

#[test]
fn a_full_mesh_sends_nothing_twice() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let people = lan.add_peers(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"]);
        lan.network.conditions.stream_delay_max_ms = 1 + seed * 20;
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
        lan.check_histories();
        let batches: usize = people
            .iter()
            .map(|w| lan.peers[*w].disk.entries().count())
            .sum();
        let counters = people.map(|w| lan.peers[w].node.as_ref().map(|node| node.counters()));
        let doubled: u64 = counters.iter().flatten().map(|c| c.duplicate_batches).sum();
        assert!(batches >= 8 * 500, "{batches} batches");
        assert!(doubled * 100 <= batches as u64, "{doubled} of {batches}");
    }
}
