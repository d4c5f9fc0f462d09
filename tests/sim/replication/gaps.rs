//! Gaps: lines that no reachable peer had, and that turn up later.
use std::sync::Arc;

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::Hash;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::range::{GAPS_MAX, LogRange};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Message, WantEntry, format_incarnation};

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{PeerIndex, WALL_START_MS, numbered_lines};
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// Dora said nine lines and is gone. Bob, who is not running, stores lines 1 to 3; ann has
/// evicted all below 7, and carol stores all.
fn peers_with_gap(seed: u64) -> (Lan, [PeerIndex; 4], LogId) {
    let mut lan = Lan::new(seed);
    let peers = lan.add_peers(["ann", "bob", "carol", "dora"]);
    let [ann, bob, _, dora] = peers;
    lan.start_all(peers);
    lan.run_for(500);
    let log = say(&mut lan, dora, 1, 3);
    lan.stop(bob);
    say(&mut lan, dora, 4, 9);
    lan.stop(dora);
    evict(&mut lan, ann, &log, 7);
    (lan, peers, log)
}

/// Says `line from` to `line to`; returns the log.
fn say(lan: &mut Lan, who: PeerIndex, from: u64, to: u64) -> LogId {
    for text in numbered_lines("line", from, to) {
        lan.say(who, &text);
        lan.run_for(50);
    }
    lan.first_log(who)
}

/// Drops the lines of a log below `low`, for want of space.
fn evict(lan: &mut Lan, who: PeerIndex, log: &LogId, low: u64) {
    lan.peers[who].disk.evict(log, low);
    let log = log.clone();
    lan.feed(who, Input::Evicted { log, low });
}

/// The range that a node holds of a log, checked against its disk.
fn checked_range(lan: &Lan, who: PeerIndex, log: &LogId) -> LogRange {
    let known = node_range(lan, who, log);
    let ranges = lan.peers[who].disk.ranges(&Room::general());
    let stored = ranges.into_iter().find(|range| range.log == *log);
    let stored = stored.expect("a range");
    assert_eq!((known.low, &known.gaps), (stored.low, &stored.gaps));
    known
}

/// The first line of every batch shown, and whether it was marked late.
fn shown_lines(lan: &Lan, who: PeerIndex) -> Vec<(u64, bool)> {
    let chats = lan.peers[who]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Chat(chat) => Some((chat.batch.sequence, chat.local.late)),
            _ => None,
        });
    chats.collect()
}

/// What can't be had is a gap, and a gap is filled when a peer with the lines appears: shown
/// late, once each, with no batch twice.
#[test]
fn a_gap_is_filled_when_its_lines_turn_up() {
    for seed in 0..10 {
        let (mut lan, [ann, bob, carol, _], log) = peers_with_gap(seed);
        lan.cut(bob, carol);
        lan.stop(carol);
        lan.start(bob);
        lan.run_for(2_000);
        assert_eq!(lan.peers[bob].received(), numbered_lines("line", 7, 9));
        assert_eq!(lan.peers[bob].gap_count(), 1);
        assert_eq!(checked_range(&lan, bob, &log).low, 7);
        lan.start(carol);
        lan.heal();
        lan.run_until("the gap is filled", 10_000, |lan| {
            checked_range(lan, bob, &log).low == 1
        });
        let lines: Vec<(u64, bool)> = [7, 8, 9, 4, 5, 6].map(|n| (n, true)).to_vec();
        assert_eq!(shown_lines(&lan, bob), lines);
        assert_eq!(
            checked_range(&lan, bob, &log),
            checked_range(&lan, carol, &log)
        );
        let counters = lan.node(bob).counters();
        assert_eq!(
            (
                counters.healed_lines,
                counters.duplicate_batches,
                counters.unwanted_batches
            ),
            (3, 0, 0)
        );
        // Ann does not fetch the lines that she evicted.
        lan.run_for(5_000);
        assert_eq!(checked_range(&lan, ann, &log).low, 7);
    }
}

/// A peer that stores only the beginning of a gap, its middle or its end fills that part. The rest
/// stays a gap, until a peer that stores it appears. Each line is stored and shown once.
#[test]
fn the_part_of_a_gap_that_a_peer_stores_is_filled() {
    const PARTS: [(u64, u64); 3] = [(4, 5), (6, 8), (9, 11)];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut lan = Lan::new(9);
        let [bob, dora, eve, p0, p1, p2] = lan.add_peers(["bob", "dora", "eve", "p0", "p1", "p2"]);
        lan.start_all([bob, dora, eve, p0, p1, p2]);
        lan.run_for(500);
        let log = say(&mut lan, dora, 1, 3);
        lan.stop(bob);
        for (who, (from, to)) in [p0, p1, p2].into_iter().zip(PARTS) {
            say(&mut lan, dora, from, to);
            lan.stop(who);
            lan.peers[who].disk.evict(&log, from);
        }
        say(&mut lan, dora, 12, 12);
        lan.stop(dora);
        evict(&mut lan, eve, &log, 12);
        lan.start(bob);
        lan.run_until("bob has the last line", 5_000, |lan| {
            checked_range(lan, bob, &log).high == 12
        });
        let mut missing: Vec<u64> = (4..=11).collect();
        for part in order {
            let who = [p0, p1, p2][part];
            [p0, p1, p2, eve]
                .iter()
                .for_each(|other| lan.cut(who, *other));
            lan.start(who);
            lan.run_for(REDIAL_MS);
            missing.retain(|n| !(PARTS[part].0..=PARTS[part].1).contains(n));
            let gaps = checked_range(&lan, bob, &log).gaps.into_iter();
            let found: Vec<u64> = gaps.flat_map(|gap| gap.from..=gap.to).collect();
            assert_eq!(found, missing, "{order:?}, after {part}");
        }
        let mut shown = shown_lines(&lan, bob);
        shown.sort();
        assert!(shown.into_iter().eq((4..=12).map(|n| (n, true))));
        assert_eq!(lan.node(bob).counters().healed_lines, 8);
        lan.heal();
        lan.run_for(REDIAL_MS);
        lan.check_lines();
    }
}

/// A gap is known as one after a restart, and filled later. Lines that fill it are offered to a
/// peer that has the log from there on.
#[test]
fn a_gap_is_filled_after_a_restart() {
    for seed in 0..5 {
        let (mut lan, [ann, bob, carol, dora], log) = peers_with_gap(seed);
        let eve = lan.add_peer("eve");
        lan.start(eve);
        lan.stop(eve);
        for other in [bob, ann, dora] {
            lan.cut(carol, other);
        }
        for other in [carol, ann, dora] {
            lan.cut(eve, other);
        }
        lan.start(bob);
        lan.run_until("bob has the rest", 5_000, |lan| {
            checked_range(lan, bob, &log).high == 9
        });
        lan.start(eve);
        lan.run_for(3_000);
        // Eve fetched from where bob's lines begin: older lines exist, and are no gap.
        assert_eq!(checked_range(&lan, eve, &log).low, 7);
        lan.stop(bob);
        lan.start(bob);
        lan.run_for(3_000);
        assert_eq!(checked_range(&lan, bob, &log).low, 7);
        lan.heal();
        for other in [ann, eve] {
            lan.cut(carol, other);
        }
        lan.run_until("the gap is filled", 20_000, |lan| {
            checked_range(lan, bob, &log).low == 1
        });
        // Fay's directory is older than the lines: she fetches all of them, in order.
        let fay = lan.add_peer("fay");
        for other in [ann, carol, dora, eve] {
            lan.cut(fay, other);
        }
        lan.join(fay, "other");
        lan.start(fay);
        lan.run_until("fay has it", 10_000, |lan| {
            lan.peers[fay]
                .disk
                .ranges(&Room::general())
                .iter()
                .any(|r| r.low == 1 && r.high == 9)
        });
    }
}

/// A gap's lines are judged by themselves: they are shown as news although the line behind them
/// seems older, because the author's wall clock was set before it brought that line.
#[test]
fn a_gap_in_front_of_history_is_shown_as_news() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [ann, bob, dora] = lan.add_peers(["ann", "bob", "dora"]);
        lan.peers[dora].wall_skew_ms = -WALL_START_MS;
        lan.start_all([ann, bob, dora]);
        lan.run_for(500);
        let log = say(&mut lan, dora, 1, 1);
        lan.stop(bob);
        say(&mut lan, dora, 2, 3);
        lan.stop(dora);
        lan.cut(ann, bob);
        lan.cut(ann, dora);
        lan.peers[dora].wall_skew_ms = 0;
        lan.start(dora);
        evict(&mut lan, dora, &log, 3);
        lan.start(bob);
        lan.run_until("bob has the last line", 5_000, |lan| {
            checked_range(lan, bob, &log).high == 3
        });
        assert_eq!(shown_lines(&lan, bob), []);
        lan.heal();
        lan.cut(ann, dora);
        lan.run_until("the gap is filled", 90_000, |lan| {
            checked_range(lan, bob, &log).gaps.is_empty()
        });
        assert_eq!(shown_lines(&lan, bob), [(2, true)], "seed {seed}");
        lan.check_lines();
    }
}

/// A peer with the same gap that reaches only us gets the lines that filled ours.
#[test]
fn lines_that_fill_a_gap_are_forwarded() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [ann, bob, carol, dora, eve] = lan.add_peers(["ann", "bob", "carol", "dora", "eve"]);
        lan.start_all([ann, bob, carol, dora, eve]);
        lan.run_for(500);
        let log = say(&mut lan, dora, 1, 3);
        lan.stop(ann);
        lan.stop(bob);
        say(&mut lan, dora, 4, 9);
        lan.stop(dora);
        lan.stop(carol);
        evict(&mut lan, eve, &log, 7);
        lan.start(ann);
        lan.start(bob);
        lan.run_for(3_000);
        for who in [ann, bob] {
            assert_eq!(checked_range(&lan, who, &log).gaps.len(), 1);
        }
        lan.stop(eve);
        lan.cut(carol, ann);
        lan.start(carol);
        lan.run_until("both gaps are filled", 20_000, |lan| {
            [ann, bob]
                .iter()
                .all(|who| checked_range(lan, *who, &log).low == 1)
        });
        for who in [ann, bob] {
            assert!(checked_range(&lan, who, &log).gaps.is_empty());
            let counters = lan.node(who).counters();
            assert_eq!((counters.healed_lines, counters.duplicate_batches), (3, 0));
        }
    }
}

/// Saves that fail while a gap is being filled delay it; afterwards each missing line is stored
/// and shown once.
#[test]
fn a_full_disk_only_delays_filling_a_gap() {
    for seed in 0..10 {
        let (mut lan, [_, bob, carol, _], log) = peers_with_gap(seed);
        lan.cut(bob, carol);
        lan.start(bob);
        lan.run_for(2_000);
        assert_eq!(checked_range(&lan, bob, &log).low, 7);
        lan.peers[bob].disk.full = true;
        lan.heal();
        lan.run_until_linked(bob, carol, 90_000);
        lan.run_for(8_000);
        lan.peers[bob].disk.full = false;
        if seed % 2 == 0 {
            lan.peers[bob].disk.failed_saves_per_mille = 500;
            lan.run_for(20_000);
            lan.peers[bob].disk.failed_saves_per_mille = 0;
        }
        lan.run_until("the gap is filled", 30_000, |lan| {
            checked_range(lan, bob, &log).low == 1
        });
        let mut received = lan.peers[bob].received();
        received.sort();
        assert_eq!(received, numbered_lines("line", 4, 9), "seed {seed}");
    }
}

/// Direct lines that the author has evicted and a carrier still stores reach the recipient, in
/// whatever order the two come.
#[test]
fn a_carrier_fills_a_gap_in_direct_messages() {
    let mut gaps = 0;
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(2_000);
        let tell = |lan: &mut Lan, from, to| {
            for text in numbered_lines("psst", from, to) {
                lan.send_direct(alice, "@bob", &text);
                lan.run_for(100);
            }
        };
        tell(&mut lan, 1, 3);
        lan.stop(bob);
        tell(&mut lan, 4, 6);
        lan.stop(carol);
        tell(&mut lan, 7, 9);
        let log = lan.peers[alice].disk.ranges_in(&FolderName::direct())[0]
            .log
            .clone();
        evict(&mut lan, alice, &log, 7);
        if seed % 2 == 0 {
            lan.start(carol);
            lan.run_for(1_000);
        }
        lan.start(bob);
        lan.run_for(2_000);
        gaps += lan.peers[bob].gap_count();
        if seed % 2 == 1 {
            assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 7, 9));
            lan.kill(bob);
            lan.start(bob);
            lan.start(carol);
        }
        lan.run_until("the gap is filled", 40_000, |lan| {
            let ranges = lan.peers[bob].disk.ranges_in(&FolderName::direct());
            ranges[0].low == 1 && ranges[0].high == 9
        });
        let mut texts = Vec::new();
        let entries = lan.peers[bob].disk.entries();
        entries.for_each(|entry| {
            entry
                .batch
                .for_each_line(|line| texts.push(line.to_owned()))
        });
        texts.sort();
        assert_eq!(texts, numbered_lines("psst", 1, 9), "seed {seed}");
        lan.check_lines();
    }
    assert!(gaps >= 10, "{gaps} of 20");
}

/// A claim to hold the lines of a log from `low` to 9.
fn have_message(log: &LogId, low: u64, hash: Hash) -> Message {
    Message::Have(general_have(vec![have_entry(
        log.author,
        log.incarnation,
        low..=9,
        hash,
    )]))
}

/// The requests for a bounded range, as for a gap, that a scripted peer received.
fn received_wants(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<WantEntry> {
    let messages = peer.receive_messages(lan).into_iter();
    let wants = messages.filter_map(|message| match message {
        Message::Want { logs, .. } => Some(logs),
        _ => None,
    });
    wants.flatten().filter(|want| want.to > 0).collect()
}

/// A peer that claims a gap's lines and never sends them is asked once, and blocks no honest
/// source.
#[test]
fn a_peer_that_cannot_fill_a_gap_is_asked_once() {
    let (mut lan, [_, bob, carol, _], log) = peers_with_gap(3);
    lan.cut(bob, carol);
    lan.start(bob);
    lan.run_for(2_000);
    let hash = checked_range(&lan, bob, &log).hash;
    let mut liar = ScriptedPeer::connect(&mut lan, bob, 5);
    for _ in 0..50 {
        liar.send(&mut lan, &have_message(&log, 1, hash));
        lan.run_for(300);
    }
    let requested = received_wants(&mut lan, &mut liar);
    assert_eq!(requested.len(), 1);
    assert_eq!((requested[0].from, requested[0].to), (4, 6));
    assert_eq!(checked_range(&lan, bob, &log).low, 7);
    lan.heal();
    let mut other = ScriptedPeer::connect(&mut lan, bob, 6);
    other.send(&mut lan, &have_message(&log, 1, hash));
    lan.run_until("the gap is filled", 90_000, |lan| {
        checked_range(lan, bob, &log).low == 1
    });
}

/// An author that makes gap after gap causes one request for a full digest, not one each: the
/// answer is as long as the whole frontier. At most `GAPS_MAX` gaps are kept.
#[test]
fn many_gaps_cause_one_digest_request() {
    let (mut lan, [_, bob, _, _], _) = peers_with_gap(5);
    lan.start(bob);
    lan.run_for(2_000);
    let mut mallory = ScriptedPeer::connect(&mut lan, bob, 5);
    let mut other = ScriptedPeer::connect(&mut lan, bob, 6);
    other.receive(&mut lan);
    let mut before = mallory.batch(1, None, "line");
    mallory.send_frame(&mut lan, FrameKind::Batch, before.as_bytes());
    for i in 1..20 {
        let missing = mallory.batch(i * 2, Some(before.hash), "line");
        before = mallory.batch(i * 2 + 1, Some(missing.hash), "line");
        let Message::Have(mut have) =
            have_message(&mallory.log(), before.last_sequence(), before.hash)
        else {
            unreachable!()
        };
        have.logs[0].high = before.last_sequence();
        mallory.send(&mut lan, &Message::Have(have));
        mallory.send_frame(&mut lan, FrameKind::Batch, before.as_bytes());
        lan.run_for(100);
    }
    assert_eq!(lan.peers[bob].gap_count(), 19);
    let range = checked_range(&lan, bob, &mallory.log());
    assert_eq!((range.low, range.gaps.len()), (39, GAPS_MAX));
    let messages = other.receive_messages(&mut lan).into_iter();
    let requests = messages.filter(|message| match message {
        Message::Have(have) => have.digest.as_deref() == Some(""),
        _ => false,
    });
    assert_eq!(requests.count(), 1);
}

/// Lines that do not chain to the lines around a gap are rejected and reported; their source is
/// not asked again, and unrequested lines do not fill a gap.
#[test]
fn a_fork_does_not_fill_a_gap() {
    let (mut lan, [_, bob, _, _], _) = peers_with_gap(4);
    lan.start(bob);
    lan.run_for(2_000);
    let mut mallory = ScriptedPeer::connect(&mut lan, bob, 5);
    let one = mallory.batch(1, None, "one");
    let two = mallory.batch(2, Some(one.hash), "two");
    let three = mallory.batch(3, Some(two.hash), "three");
    let other = mallory.batch(2, Some(one.hash), "another two");
    let log = mallory.log();
    let have = |low: u64, high: &p2pchat::base::batch::batch::Batch| {
        let Message::Have(mut have) = have_message(&log, low, high.hash) else {
            unreachable!()
        };
        have.logs[0].high = high.last_sequence();
        Message::Have(have)
    };
    mallory.send_frame(&mut lan, FrameKind::Batch, one.as_bytes());
    mallory.send(&mut lan, &have(3, &three));
    mallory.send_frame(&mut lan, FrameKind::Batch, three.as_bytes());
    assert_eq!(checked_range(&lan, bob, &log).gaps.len(), 1);
    // An unrequested batch does not fill a gap.
    mallory.send_frame(&mut lan, FrameKind::Batch, two.as_bytes());
    assert_eq!(checked_range(&lan, bob, &log).gaps.len(), 1);
    mallory.send(&mut lan, &have(1, &three));
    assert_eq!(received_wants(&mut lan, &mut mallory).len(), 1);
    mallory.send_frame(&mut lan, FrameKind::Batch, other.as_bytes());
    assert_eq!(lan.peers[bob].error_count("fork"), 1);
    // A source that sent a fork is not asked again.
    mallory.send_frame(&mut lan, FrameKind::Batch, two.as_bytes());
    mallory.send(&mut lan, &have(1, &three));
    assert_eq!(received_wants(&mut lan, &mut mallory).len(), 0);
    let node = lan.node(bob);
    let known = node.frontier(&(&Room::general()).into());
    let known = known.iter().find(|range| range.log == log).expect("it");
    assert_eq!((known.low, known.high, known.gaps.len()), (3, 3, 1));
}

/// Under random stops, cuts, full disks and evictions, a gap whose lines some reachable peer
/// holds is filled in the end.
#[test]
fn random_faults_leave_no_gap_that_a_peer_can_fill() {
    let (mut gaps_max, mut filled) = (0, 0);
    for seed in 0..60 {
        let mut lan = Lan::new(seed);
        let peers = lan.add_peers(["ann", "bob", "carol", "dora"]);
        let [ann, bob, carol, dora] = peers;
        lan.start_all(peers);
        lan.run_for(1_000);
        let log = say(&mut lan, dora, 1, 1);
        for step in 0..60 {
            let who = [ann, bob][lan.random(2) as usize];
            let other = [ann, bob, dora, carol][lan.random(4) as usize];
            match lan.random(11) {
                0 if lan.is_running(who) => lan.stop(who),
                1 if lan.is_running(who) => lan.kill(who),
                0..=3 if !lan.is_running(who) => lan.start(who),
                4 if who != other => lan.cut(who, other),
                9 => lan.cut(who, carol),
                10 => {
                    let high = node_range(&lan, dora, &log).high;
                    evict(&mut lan, dora, &log, high);
                }
                5 if lan.chance(300) => lan.heal(),
                6 if lan.is_running(who) => {
                    let range = node_range(&lan, who, &log);
                    let low = range.low + lan.random(range.high - range.low + 1);
                    evict(&mut lan, who, &log, low);
                }
                7 => lan.peers[who].disk.full = lan.random(2) == 0,
                8 => lan.peers[who].disk.read_delay_max_ms = lan.random(500),
                _ => {}
            }
            lan.say(dora, &format!("line {}", step + 2));
            let wait = lan.random(3_000);
            lan.run_for(wait);
            for who in [ann, bob].into_iter().filter(|who| lan.is_running(*who)) {
                gaps_max = gaps_max.max(node_range(&lan, who, &log).gaps.len());
            }
        }
        for who in [ann, bob] {
            (
                lan.peers[who].disk.full,
                lan.peers[who].disk.read_delay_max_ms,
            ) = (false, 0);
            if !lan.is_running(who) {
                lan.start(who);
            }
        }
        lan.heal();
        lan.run_for(120_000);
        assert_eq!(checked_range(&lan, carol, &log).low, 1);
        for who in [ann, bob] {
            let range = checked_range(&lan, who, &log);
            assert_eq!((range.high, &range.gaps), (61, &Vec::new()), "seed {seed}");
            let node = lan.node(who);
            filled += node.counters().healed_lines;
        }
    }
    assert!(
        gaps_max > 1 && filled > 0,
        "{gaps_max} gaps, {filled} lines"
    );
}

/// The range that a node holds of a log.
fn node_range(lan: &Lan, who: PeerIndex, log: &LogId) -> LogRange {
    let node = lan.node(who);
    let ranges = node.frontier(&(&Room::general()).into());
    let range = ranges.into_iter().find(|range| range.log == *log);
    Arc::unwrap_or_clone(range.expect("a range"))
}

/// Requests in 4 minutes to a peer that offers the lines of a gap each second, and does not send
/// them. `withdraws`: whether it says after each request that it does not store them.
fn requests_to_a_slow_peer(seed: u64, withdraws: bool) -> usize {
    let (mut lan, [_, bob, carol, _], log) = peers_with_gap(seed);
    lan.cut(bob, carol);
    lan.start(bob);
    lan.run_for(2_000);
    let hash = checked_range(&lan, bob, &log).hash;
    let mut slow = ScriptedPeer::connect(&mut lan, bob, 5);
    let (mut requested, mut withdrawn_until) = (0, 0);
    for second in 0..240 {
        let low = if second < withdrawn_until { 7 } else { 1 };
        slow.send(&mut lan, &have_message(&log, low, hash));
        lan.run_for(1_000);
        let wants = received_wants(&mut lan, &mut slow).len();
        requested += wants;
        if withdraws && wants > 0 {
            withdrawn_until = second + 10;
        }
        assert!(requested <= 1 + (second + 5) / 30, "after {second} s");
        assert!(second < 60 || requested >= 2, "after {second} s");
    }
    requested
}

/// A peer that was too slow is asked again after the next query, a bounded number of times. A
/// carrier that withdraws the offer of an author is not blamed.
#[test]
fn a_slow_peer_is_asked_again() {
    assert_eq!(requests_to_a_slow_peer(6, false), 4);
    assert!(requests_to_a_slow_peer(6, true) > 5);
}

/// A peer that has evicted a whole log answers a request with a range without lines.
#[test]
fn a_peer_without_lines_says_so() {
    let (mut lan, [ann, ..], log) = peers_with_gap(7);
    let mut reader = ScriptedPeer::connect(&mut lan, ann, 5);
    evict(&mut lan, ann, &log, 10);
    reader.receive(&mut lan);
    let want = WantEntry {
        sender: log.author,
        incarnation: format_incarnation(log.incarnation),
        from: 8,
        to: 0,
    };
    let (target, logs) = ("#general".to_owned(), vec![want]);
    reader.send(&mut lan, &Message::Want { target, logs });
    let answers = reader.receive_messages(&mut lan).into_iter();
    let answers = answers.filter_map(|message| match message {
        Message::Have(have) => Some(have.logs),
        _ => None,
    });
    let answers: Vec<(u64, u64)> = answers.flatten().map(|it| (it.low, it.high)).collect();
    assert_eq!(answers, [(10, 9)]);
}
