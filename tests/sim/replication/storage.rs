//! Storage: full, slow, failing and damaged disks, at the author and at the reader.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::name::{Room, Target};
use p2pchat::base::request_id::RequestId;
use p2pchat::base::text::line_form::LineForm;

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines, numbered_lines};

/// While the author's disk is full nothing is accepted or sent, the error is shown once, and
/// afterwards every line goes out in order.
#[test]
fn a_full_disk_at_the_author_loses_no_line() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_for(500);
        lan.say(alice, "before");
        lan.run_for(seed);
        lan.peers[alice].disk.full = true;
        lan.say_all(alice, None, &numbered_lines("full", 1, 6000));
        lan.say(alice, "and one");
        assert!(
            !lan.peers[alice]
                .node
                .as_ref()
                .is_some_and(|n| n.can_accept())
        );
        lan.run_for(12_000);
        assert_eq!(lan.peers[alice].error_count("store"), 1, "reported once");
        assert_eq!(lan.peers[bob].received(), ["before"]);
        lan.peers[alice].disk.full = false;
        lan.run_for(12_000);
        let mut all = vec!["before".to_owned()];
        all.extend(numbered_lines("full", 1, 6000));
        all.push("and one".into());
        assert_eq!(lan.peers[bob].received(), all);
        lan.check_lines();
        lan.check_links();
    }
}

/// While lines wait for a full disk, the attempts to store them end no link. A second after the disk
/// has room again, they are stored and sent.
#[test]
fn attempts_to_store_end_no_link() {
    let mut lan = Lan::new(22);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 5_000);
    lan.peers[alice].disk.full = true;
    lan.say(alice, "one");
    // The first attempt was to be sent at once, and costs the link.
    lan.run_until_linked(alice, bob, 5_000);
    let dials = lan.network.dial_count;
    lan.say(alice, "two");
    lan.run_for(20_000);
    assert_eq!(lan.network.dial_count, dials, "no link was made anew");
    lan.peers[alice].disk.full = false;
    lan.run_for(1_100);
    assert_eq!(lan.peers[bob].received(), ["one", "two"]);
    lan.check_lines();
}

/// Lines of a client's request keep its id while the disk is full. The id reaches no peer.
#[test]
fn the_id_of_a_request_waits_with_its_lines() {
    let mut lan = Lan::new(21);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    lan.peers[alice].disk.full = true;
    let (room, ids) = (Room::general(), ["1", "\"b-2\""]);
    for id in ids {
        lan.invariants
            .record_said(alice, &room, &[format!("line of {id}")]);
        let publish = Command::Publish {
            target: Target::Room(room.clone()),
            lines: lines(&[&format!("line of {id}")]),
            form: LineForm::Text,
            request: RequestId::parse(id),
        };
        lan.feed(alice, Input::Command(publish));
    }
    lan.run_for(1_000);
    lan.peers[alice].disk.full = false;
    lan.run_for(12_000);
    assert_eq!(
        lan.peers[bob].received(),
        ids.map(|id| format!("line of {id}"))
    );
    let requests = |who: PeerIndex| {
        let entries = lan.peers[who].disk.entries();
        let requests = entries.map(|entry| entry.batch.request.clone());
        requests.collect::<Vec<_>>()
    };
    assert_eq!(requests(alice), ids.map(RequestId::parse));
    assert_eq!(requests(bob), [None, None]);
    lan.check_lines();
}

/// A reader whose disk is full acknowledges nothing, and gets every line once there is space,
/// without a gap.
#[test]
fn a_full_disk_at_the_reader_loses_no_line() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_for(500);
        lan.say(alice, "before");
        lan.run_for(seed);
        lan.peers[bob].disk.full = true;
        for n in 1..=120 {
            if n == 60 {
                lan.peers[bob].disk.full = false;
            }
            lan.say(alice, &format!("line {n}"));
            lan.run_for(200);
        }
        lan.run_for(12_000);
        let mut all = vec!["before".to_owned()];
        all.extend(numbered_lines("line", 1, 120));
        assert_eq!(lan.peers[bob].received(), all);
        assert_eq!(lan.peers[bob].gap_count(), 0, "no line was missing");
        lan.check_lines();
    }
}

/// Bob stores alice's line 1 and is not running. She has said lines 2 to 9 since and evicted all
/// below 6.
fn pair_with_evicted_lines(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    lan.say(alice, "line 1");
    lan.run_for(500);
    lan.stop(bob);
    for text in numbered_lines("line", 2, 9) {
        lan.say(alice, &text);
    }
    let log: LogId = lan.first_log(alice);
    lan.peers[alice].disk.evict(&log, 6);
    lan.feed(alice, Input::Evicted { log, low: 6 });
    (lan, bob)
}

/// Lines that their only holder evicted are shown as one gap, and the lines behind it arrive.
#[test]
fn evicted_lines_are_a_gap() {
    let (mut lan, bob) = pair_with_evicted_lines(3);
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("line", 6, 9));
    assert_eq!(lan.peers[bob].gap_count(), 1);
}

/// Lines that the author believes to hold and cannot read from disk become one gap, not a stalled
/// log.
#[test]
fn unreadable_lines_are_a_gap() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    lan.say(alice, "line 1");
    lan.run_for(500);
    lan.stop(bob);
    for text in numbered_lines("line", 2, 9) {
        lan.say(alice, &text);
    }
    let log: LogId = lan.first_log(alice);
    // No eviction is reported: the lines have become unreadable on disk.
    lan.peers[alice].disk.evict(&log, 6);
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("line", 6, 9));
    assert_eq!(lan.peers[bob].gap_count(), 1);
    lan.say(alice, "line 10");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), numbered_lines("line", 6, 10));
}

/// A line that was news when its save failed is still shown after the link was renewed, and older
/// ones are not.
#[test]
fn a_full_disk_and_a_new_link_keep_news_news() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.say(alice, "old");
    lan.run_for(2_000);
    lan.peers[bob].disk.full = true;
    lan.start(bob);
    lan.run_for(2_000);
    lan.say(alice, "news");
    lan.run_for(2_000);
    lan.cut(alice, bob);
    lan.run_for(20_000);
    lan.peers[bob].disk.full = false;
    lan.heal();
    lan.run_for(20_000);
    assert_eq!(lan.peers[bob].received(), ["news"]);
    lan.check_lines();
}

/// A store that lost lines since the clean end is noticed at start; numbers of lost lines are not
/// used again.
#[test]
fn a_store_changed_after_a_clean_end_starts_an_incarnation() {
    let mut lan = Lan::new(6);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    for text in numbered_lines("line", 1, 5) {
        lan.say(alice, &text);
    }
    lan.stop(alice);
    lan.peers[alice].disk.cut_tail(2);
    lan.invariants
        .record_lost_tail(alice, &lan.peers[alice].disk);
    lan.start(alice);
    lan.say(alice, "line 4, said differently");
    let ranges = lan.peers[alice].disk.ranges(&Room::general());
    let mut heads: Vec<u64> = ranges.iter().map(|range| range.high).collect();
    heads.sort_unstable();
    assert_eq!(heads, [1, 3]);
}

/// Lines that wait for a full disk are dropped, and reported, when their room is left; later
/// lines do not bring them back.
#[test]
fn unsaved_lines_are_dropped_with_their_room() {
    let mut lan = Lan::new(7);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    lan.say(alice, "line 1");
    lan.peers[alice].disk.full = true;
    lan.say(alice, "line 2");
    lan.part(alice, "general");
    lan.peers[alice].disk.full = false;
    lan.run_for(20_000);
    lan.join(alice, "general");
    lan.say(alice, "line 2, said again");
    let ranges = lan.peers[alice].disk.ranges(&Room::general());
    assert_eq!((ranges.len(), ranges[0].high), (1, 2));
}

/// Own lines that return from a peer while the disk is full are stored later, not republished:
/// one log, five lines.
#[test]
fn own_lines_returning_to_a_full_disk_are_not_republished() {
    let mut lan = Lan::new(8);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    for text in numbered_lines("line", 1, 5) {
        lan.say(alice, &text);
        lan.run_for(20);
    }
    lan.kill(alice);
    lan.peers[alice].disk.cut_tail(3);
    lan.invariants
        .record_lost_tail(alice, &lan.peers[alice].disk);
    lan.peers[alice].disk.full = true;
    lan.start(alice);
    lan.run_for(8_000);
    lan.peers[alice].disk.full = false;
    lan.run_for(20_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("line", 1, 5));
    let ranges = lan.peers[alice].disk.ranges(&Room::general());
    assert_eq!((ranges.len(), ranges[0].high), (1, 5));
}

/// Reads that take 12 s and saves that fail at random delay lines and lose none; neither looks
/// like a gap or a fork.
#[test]
fn slow_and_failing_disks_lose_no_line() {
    for seed in 0..6 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(500);
        lan.say(alice, "line 1");
        lan.run_for(500);
        lan.stop(bob);
        let long = |n: u64| format!("line {n} {}", "x".repeat(9_000));
        for n in 2..=40 {
            lan.say(alice, &long(n));
        }
        lan.run_for(500);
        lan.peers[alice].disk.read_delay_max_ms = 12_000;
        lan.peers[carol].disk.read_delay_max_ms = 12_000;
        lan.peers[bob].disk.failed_saves_per_mille = 200;
        lan.start(bob);
        lan.run_for(60_000);
        lan.peers[bob].disk.failed_saves_per_mille = 0;
        lan.run_for(180_000);
        let received = lan.peers[bob].received();
        assert_eq!(
            received,
            (2..=40).map(long).collect::<Vec<_>>(),
            "seed {seed}"
        );
        assert_eq!(lan.peers[bob].gap_count(), 0, "seed {seed}");
        assert_eq!(
            lan.peers[alice].error_count("incarnation"),
            0,
            "seed {seed}"
        );
    }
}

/// When the save above a gap fails, the frontier still names the lines below it; nothing is
/// forgotten.
#[test]
fn a_failed_save_above_a_gap_keeps_the_lines_below() {
    let (mut lan, bob) = pair_with_evicted_lines(9);
    lan.peers[bob].disk.full = true;
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].error_count("store"), 1);
    let node = lan.node(bob);
    let ranges: Vec<(u64, u64)> = node
        .frontier(&(&Room::general()).into())
        .iter()
        .map(|range| (range.low, range.high))
        .collect();
    assert_eq!(ranges, [(1, 1)]);
    lan.peers[bob].disk.full = false;
    lan.run_for(10_000);
    assert_eq!(lan.peers[bob].disk.ranges(&Room::general())[0].high, 9);
}

/// The retention floor keeps the own lines of this run that no peer holds yet, and no others.
#[test]
fn unacknowledged_lines_are_not_evicted() {
    let mut lan = Lan::new(8);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.say(alice, "one");
    lan.say(alice, "two");
    let log = lan.first_log(alice);
    let floor = |lan: &Lan| {
        lan.peers[alice]
            .node
            .as_ref()
            .map(|n| n.retention_floor(&log))
    };
    assert_eq!(floor(&lan), Some(1));
    lan.start(bob);
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].received(), ["one", "two"]);
    assert_eq!(floor(&lan), Some(3));
    lan.stop(bob);
    lan.run_for(500);
    lan.say(alice, "three");
    assert_eq!(floor(&lan), Some(3), "bob stores lines 1 and 2");
    lan.stop(alice);
    lan.start(alice);
    assert_eq!(
        floor(&lan),
        Some(u64::MAX),
        "this run has published nothing"
    );
}
