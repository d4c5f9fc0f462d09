//! Incomplete logs: a peer that lacks lines acknowledges those that it stores, and says so. The
//! author counts its lines as delivered only when the peer stores all of them.
use std::ops::RangeInclusive;
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::missing_lines::Delivery;
use p2pchat::base::name::Room;
use p2pchat::base::range::{BACKFILL_LINES, GAPS_MAX, LogRange};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Have, HaveEntry, Message, WantEntry, format_incarnation};

use crate::support::lan::{Lan, REDIAL_MS, chain};
use crate::support::peer::{PeerIndex, numbered_lines};
use crate::support::relay::{Relay, author_and_reader, delivered_count};
use crate::support::scripted_peer::{ScriptedPeer, have_entry};

/// The author's lines `line 1` to `line count`, as the relay received them.
fn take_lines(lan: &mut Lan, relay: &mut Relay, count: u64) -> Vec<Batch> {
    let texts = numbered_lines("line", 1, count).into_iter();
    texts.map(|text| relay.take_line(lan, &text)).collect()
}

/// An author, a reader and a relay between them, and the author's first lines.
fn relayed_lines(seed: u64, count: u64) -> (Lan, [PeerIndex; 2], Relay, Vec<Batch>) {
    let (mut lan, [alice, bob, _]) = author_and_reader(seed);
    let mut relay = Relay::connect(&mut lan, 1, alice, bob);
    let lines = take_lines(&mut lan, &mut relay, count);
    (lan, [alice, bob], relay, lines)
}

/// The range that a node has of a log.
fn range(lan: &Lan, who: PeerIndex, log: &LogId) -> LogRange {
    let ranges = lan.node(who).frontier(&(&Room::general()).into());
    let range = ranges.into_iter().find(|range| range.log == *log);
    Arc::unwrap_or_clone(range.expect("a range"))
}

/// The same range on the disk.
fn stored_range(lan: &Lan, who: PeerIndex, log: &LogId) -> LogRange {
    let ranges = lan.peers[who].disk.ranges(&Room::general()).into_iter();
    let mut ranges = ranges.filter(|range| range.log == *log);
    ranges.next().expect("a range")
}

/// A relay that drops a line of the middle or the beginning cannot make the author believe that the
/// reader has it. The reader shows a gap. When it gets the line, the author learns it at once.
#[test]
fn a_dropped_line_is_delivered_when_it_arrives() {
    for dropped in [1, 2] {
        let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(1, 3);
        for n in (1..dropped).chain(dropped + 1..=3) {
            relay.reconnect(&mut lan, 10 + n);
            relay.forward_without_earlier(&mut lan, &lines[n as usize - 1]);
        }
        relay.forward_receipts(&mut lan);
        lan.finish(alice, Some(1));
        lan.run_for(5_000);
        assert_eq!(lan.peers[bob].gap_count(), 1, "line {dropped}");
        assert_eq!(range(&lan, bob, &lines[0].log).complete_from(), dropped + 1);
        assert_eq!(delivered_count(&lan, alice, bob), 0, "line {dropped}");
        assert!(!lan.peers[alice].is_settled(), "bob lacks line {dropped}");
        let line = &lines[dropped as usize - 1];
        let requested = relay.fill_gaps(&mut lan, &lines[2], &[line]);
        assert_eq!(requested, [dropped]);
        assert!(lan.peers[alice].is_settled(), "bob has line {dropped}");
        let mut received = lan.peers[bob].received();
        received.sort();
        assert_eq!(received, numbered_lines("line", 1, 3));
    }
}

/// A line that is missing below lines that count as delivered is noticed too.
#[test]
fn a_later_dropped_line_is_not_delivered() {
    let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(2, 3);
    // The author counts a receipt only for its head.
    assert_eq!(delivered_count(&lan, alice, bob), 0);
    relay.forward_without_earlier(&mut lan, &lines[0]);
    relay.reconnect(&mut lan, 5);
    relay.forward_without_earlier(&mut lan, &lines[2]);
    relay.forward_receipts(&mut lan);
    let four = relay.take_line(&mut lan, "line 4");
    relay.forward_without_earlier(&mut lan, &four);
    relay.forward_receipts(&mut lan);
    assert_eq!(lan.peers[bob].received(), ["line 1", "line 3", "line 4"]);
    assert_eq!(delivered_count(&lan, alice, bob), 0);
    relay.fill_gaps(&mut lan, &four, &[&lines[1]]);
    assert_eq!(delivered_count(&lan, alice, bob), 1);
}

/// Of two gaps, both must be filled.
#[test]
fn a_line_is_delivered_when_the_last_gap_is_filled() {
    let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(3, 5);
    for n in [1, 3, 5] {
        relay.reconnect(&mut lan, 10 + n);
        relay.forward_without_earlier(&mut lan, &lines[n as usize - 1]);
    }
    assert_eq!(lan.peers[bob].gap_count(), 2);
    relay.fill_gaps(&mut lan, &lines[4], &[&lines[1]]);
    assert_eq!(range(&lan, bob, &lines[0].log).complete_from(), 5);
    assert_eq!(delivered_count(&lan, alice, bob), 0);
    relay.reconnect(&mut lan, 20);
    relay.fill_gaps(&mut lan, &lines[4], &[&lines[3]]);
    assert_eq!(delivered_count(&lan, alice, bob), 1);
}

/// A forgotten gap is never filled, and never counts as filled.
#[test]
fn lines_above_a_forgotten_gap_are_not_delivered() {
    let count = 2 * (GAPS_MAX as u64 + 2);
    let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(4, count);
    for n in (1..=count).filter(|n| n % 2 == 0) {
        relay.reconnect(&mut lan, 10 + n);
        relay.forward_without_earlier(&mut lan, &lines[n as usize - 1]);
    }
    assert_eq!(lan.peers[bob].gap_count(), GAPS_MAX + 2);
    relay.reconnect(&mut lan, 40);
    let last = &lines[count as usize - 1];
    let missing: Vec<&Batch> = lines.iter().step_by(2).collect();
    let requested = relay.fill_gaps(&mut lan, last, &missing);
    assert_eq!(requested.len(), GAPS_MAX);
    let known = range(&lan, bob, &last.log);
    assert_eq!((known.complete_from(), known.gaps.len()), (4, 0));
    assert_eq!(known, stored_range(&lan, bob, &last.log));
    assert_eq!(delivered_count(&lan, alice, bob), 0);
}

/// A line that an earlier run lost for good does not prevent the delivery of this run's lines.
#[test]
fn a_lost_line_of_an_earlier_run_does_not_count() {
    let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(5, 3);
    for n in [1, 3] {
        relay.reconnect(&mut lan, 10 + n);
        relay.forward_without_earlier(&mut lan, &lines[n as usize - 1]);
    }
    lan.stop(alice);
    lan.start(alice);
    relay.meet_next_run(&mut lan, 7);
    relay.request(&mut lan, &lines[0].log, 4);
    lan.finish(alice, Some(1));
    let four = relay.take_line(&mut lan, "line 4");
    assert_eq!(four.sequence, 4);
    relay.forward_without_earlier(&mut lan, &four);
    relay.forward_receipts(&mut lan);
    assert_eq!(delivered_count(&lan, alice, bob), 1);
    assert!(lan.peers[alice].is_settled());
}

/// The reader remembers a gap across a restart, however its run ended.
#[test]
fn a_gap_before_a_restart_is_not_delivered_after_it() {
    for (dropped, is_clean) in [(1, false), (1, true), (2, false), (2, true)] {
        let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(6, 3);
        for n in (1..dropped).chain(dropped + 1..=3) {
            relay.reconnect(&mut lan, 10 + n);
            relay.forward_without_earlier(&mut lan, &lines[n as usize - 1]);
        }
        match is_clean {
            true => lan.stop(bob),
            false => lan.kill(bob),
        }
        lan.start(bob);
        relay.to_reader = ScriptedPeer::connect(&mut lan, bob, 20);
        let four = relay.take_line(&mut lan, "line 4");
        relay.forward_without_earlier(&mut lan, &four);
        relay.forward_receipts(&mut lan);
        assert_eq!(range(&lan, bob, &four.log).complete_from(), dropped + 1);
        assert_eq!(delivered_count(&lan, alice, bob), 0);
        let line = &lines[dropped as usize - 1];
        relay.fill_gaps(&mut lan, &four, &[line]);
        assert_eq!(range(&lan, bob, &four.log).complete_from(), 1);
        assert_eq!(delivered_count(&lan, alice, bob), 1);
    }
}

/// A relay cannot hide a gap from the author: the receipt is signed.
#[test]
fn a_receipt_with_another_first_line_does_not_count() {
    let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(7, 2);
    relay.forward_without_earlier(&mut lan, &lines[1]);
    let mut receipts = 0;
    for message in relay.to_reader.receive_messages(&mut lan) {
        let all = |entry| HaveEntry {
            complete_from: 1,
            ..entry
        };
        receipts += usize::from(relay.forward_receipts_of(&mut lan, &message, all));
    }
    assert!(receipts > 0);
    assert_eq!(delivered_count(&lan, alice, bob), 0);
}

/// Drops the lines of a log below `low`, for want of space.
fn evict(lan: &mut Lan, who: PeerIndex, log: &LogId, low: u64) {
    lan.peers[who].disk.evict(log, low);
    let log = log.clone();
    lan.feed(who, Input::Evicted { log, low });
}

/// An honest relay has evicted lines before they reached the reader. They are delivered when the
/// author meets the reader.
#[test]
fn lines_that_a_relay_evicted_are_delivered_by_their_author() {
    for said_before in [0, 2] {
        let (mut lan, [alice, carol, bob]) = chain(8, ["alice", "carol", "bob"]);
        lan.say_all(alice, None, &numbered_lines("early", 1, said_before));
        lan.run_for(2_000);
        lan.cut(carol, bob);
        lan.run_until("carol is alone with alice", 30_000, |lan| {
            !lan.are_linked(carol, bob)
        });
        for text in numbered_lines("line", 1, 3) {
            lan.say(alice, &text);
            lan.run_for(100);
        }
        let log = lan.first_log(alice);
        evict(&mut lan, carol, &log, said_before + 3);
        lan.heal();
        lan.cut(alice, bob);
        lan.run_until_linked(carol, bob, REDIAL_MS);
        lan.run_for(3_000);
        lan.finish(alice, Some(2));
        assert_eq!(lan.peers[bob].gap_count(), 1, "{said_before}");
        assert!(!lan.peers[alice].is_settled());
        // Carol received all lines. That her store has evicted some does not matter.
        assert_eq!(
            delivered_count(&lan, alice, bob),
            said_before.min(1) as usize
        );
        lan.heal();
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(1_000);
        assert!(lan.peers[alice].is_settled());
        assert!(range(&lan, bob, &log).gaps.is_empty());
    }
}

/// Another peer that fills a gap tells the author nothing, so the reader's receipt goes to its
/// source as well.
#[test]
fn a_receipt_for_a_filled_gap_goes_towards_the_author() {
    let (mut lan, [alice, carol, bob]) = chain(9, ["alice", "carol", "bob"]);
    let dora = lan.add_peer("dora");
    for other in [alice, carol, bob] {
        lan.cut(dora, other);
    }
    lan.start(dora);
    lan.cut(carol, bob);
    lan.run_until("carol is alone with alice", 30_000, |lan| {
        !lan.are_linked(carol, bob)
    });
    lan.say(alice, "line 1");
    // Dora gets the line, and then meets bob only.
    lan.heal();
    lan.cut(alice, bob);
    lan.cut(carol, bob);
    lan.cut(dora, bob);
    lan.run_until("dora has the line", 30_000, |lan| {
        lan.peers[dora].received() == ["line 1"]
    });
    for other in [alice, carol] {
        lan.cut(dora, other);
    }
    lan.run_until("dora is alone", 30_000, |lan| {
        lan.linked_peers(dora).is_empty()
    });
    lan.say(alice, "line 2");
    lan.run_for(1_000);
    let log = lan.first_log(alice);
    evict(&mut lan, carol, &log, 2);
    lan.heal();
    for (a, b) in [(alice, bob), (dora, alice), (dora, carol), (dora, bob)] {
        lan.cut(a, b);
    }
    lan.run_until("bob has a gap", 30_000, |lan| {
        lan.peers[bob].gap_count() == 1
    });
    lan.run_for(1_000);
    assert_eq!(delivered_count(&lan, alice, bob), 0);
    lan.heal();
    for (a, b) in [(alice, bob), (dora, alice), (dora, carol)] {
        lan.cut(a, b);
    }
    lan.run_until("the line is delivered", 60_000, |lan| {
        delivered_count(lan, alice, bob) > 0
    });
}

/// How far an author's lines of a log are delivered, as far as two other peers are concerned.
fn delivery_of(lan: &Lan, who: PeerIndex, log: &LogId, lines: RangeInclusive<u64>) -> Delivery {
    lan.node(who).delivery_of(&[(log, lines)], Some(2))
}

/// A newcomer requests the newest lines only. It never stores the older ones, so a send that
/// contains them is not delivered to it. A later send is, also behind another peer.
#[test]
fn a_newcomer_delays_only_sends_that_began_before_its_first_line() {
    for is_behind_carol in [false, true] {
        let mut lan = Lan::new(10);
        let [alice, carol, bob] = lan.add_peers(["alice", "carol", "bob"]);
        if is_behind_carol {
            lan.cut(alice, bob);
        }
        lan.start_all([alice, carol]);
        lan.run_until_linked(alice, carol, 5_000);
        let count = BACKFILL_LINES + 500;
        for text in numbered_lines("old", 1, count) {
            lan.say(alice, &text);
        }
        lan.run_for(20_000);
        lan.start(bob);
        lan.run_until_linked(carol, bob, 5_000);
        lan.run_for(5_000);
        let log = lan.first_log(alice);
        let known = range(&lan, bob, &log);
        assert_eq!((known.low, known.complete_from()), (501, 501));
        assert_eq!(lan.peers[bob].gap_count(), 0);
        lan.finish(alice, Some(2));
        lan.say(alice, "news");
        lan.run_for(2_000);
        assert!(!lan.peers[alice].is_settled());
        assert!(lan.node(alice).delivery(None).has_undelivered);
        for (first, is_delivered) in [(500, false), (501, true), (count + 1, true)] {
            let delivery = delivery_of(&lan, alice, &log, first..=count + 1);
            assert_eq!(delivery.is_settled, is_delivered, "{first}");
            assert_eq!(delivery.has_undelivered, !is_delivered, "{first}");
        }
    }
}

/// The store need not keep the lines that a newcomer did not request, although no peer has them.
#[test]
fn lines_that_no_peer_requests_are_not_kept() {
    let mut lan = Lan::new(13);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    let count = BACKFILL_LINES + 500;
    for text in numbered_lines("old", 1, count) {
        lan.say(alice, &text);
    }
    lan.run_for(20_000);
    let log = lan.first_log(alice);
    assert_eq!(lan.node(alice).retention_floor(&log), 1);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 5_000);
    lan.run_for(2_000);
    assert_eq!(range(&lan, bob, &log).complete_from(), 501);
    assert_eq!(lan.node(alice).retention_floor(&log), count + 1);
}

/// Lines of an earlier run that are awaited are delivered only together, whatever this run has
/// published before.
#[test]
fn awaited_lines_of_an_earlier_run_are_delivered_together() {
    for (publishes_first, first, is_delivered) in [
        (false, 2, false),
        (false, 3, true),
        (true, 2, false),
        (true, 3, true),
    ] {
        let (mut lan, [alice, bob], mut relay, lines) = relayed_lines(14, 3);
        for n in [1, 3] {
            relay.reconnect(&mut lan, 10 + n);
            relay.forward_without_earlier(&mut lan, &lines[n as usize - 1]);
        }
        lan.stop(alice);
        lan.start(alice);
        relay.meet_next_run(&mut lan, 7);
        let log = lines[0].log.clone();
        relay.request(&mut lan, &log, 4);
        let await_lines = Input::Command(Command::AwaitDelivery {
            log: log.clone(),
            first,
            sequence: 3,
        });
        let four = match publishes_first {
            true => {
                let four = relay.take_line(&mut lan, "line 4");
                lan.feed(alice, await_lines);
                four
            }
            false => {
                lan.feed(alice, await_lines);
                relay.take_line(&mut lan, "line 4")
            }
        };
        lan.finish(alice, Some(1));
        relay.forward_without_earlier(&mut lan, &four);
        relay.forward_receipts(&mut lan);
        let case = format!("{publishes_first} {first}");
        assert_eq!(lan.peers[alice].is_settled(), is_delivered, "{case}");
        // Another session that only sent the last line does not wait.
        let last = lan.node(alice).delivery_of(&[(&log, 4..=4)], Some(1));
        assert!(last.is_settled, "{case}");
        if !is_delivered {
            relay.fill_gaps(&mut lan, &four, &[&lines[1]]);
            assert!(lan.peers[alice].is_settled(), "{case}");
            assert_eq!(range(&lan, bob, &log).complete_from(), 1);
        }
    }
}

/// A newcomer that cannot get lines which it wanted shows no gap, because they are history to it.
/// They do not count as delivered either.
#[test]
fn missing_history_is_no_gap_and_not_delivered() {
    let (mut lan, [alice, carol, bob]) = {
        let mut lan = Lan::new(11);
        let peers = lan.add_peers(["alice", "carol", "bob"]);
        (lan, peers)
    };
    lan.remove_path(alice, bob);
    lan.start_all([alice, carol]);
    lan.run_until_linked(alice, carol, 5_000);
    for text in numbered_lines("old", 1, 5) {
        lan.say(alice, &text);
    }
    lan.run_for(20_000);
    let log = lan.first_log(alice);
    evict(&mut lan, carol, &log, 3);
    lan.start(bob);
    lan.run_until_linked(carol, bob, 5_000);
    lan.run_for(2_000);
    for is_restarted in [false, true] {
        if is_restarted {
            lan.kill(bob);
            lan.start(bob);
            lan.run_until_linked(carol, bob, REDIAL_MS);
        }
        lan.say(alice, "news");
        lan.run_for(2_000);
        let known = range(&lan, bob, &log);
        assert_eq!((known.low, known.complete_from()), (3, 3));
        assert_eq!(known, stored_range(&lan, bob, &log));
        assert_eq!(lan.peers[bob].gap_count(), 0);
        assert_eq!(delivered_count(&lan, alice, bob), 0);
    }
}

/// A carrier that loses a direct message cannot make the author believe that the recipient has it.
/// The author delivers it when the two meet.
#[test]
fn a_direct_message_that_a_carrier_lost_is_delivered_by_its_author() {
    let mut lan = Lan::new(12);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.cut(alice, bob);
    lan.start_all([alice, bob]);
    let to_bob = format!("@{}", lan.id(bob));
    let mut to_alice = ScriptedPeer::connect(&mut lan, alice, 1);
    let mut carrier = ScriptedPeer::connect(&mut lan, bob, 1);
    for text in numbered_lines("psst", 1, 3) {
        lan.send_direct(alice, &to_bob, &text);
    }
    let log = lan
        .node(alice)
        .frontier(&p2pchat::base::name::FolderName::direct())[0]
        .log
        .clone();
    let want = WantEntry {
        sender: log.author,
        incarnation: format_incarnation(log.incarnation),
        from: 1,
        to: 0,
    };
    let target = to_bob.clone();
    let logs = vec![want];
    to_alice.send(&mut lan, &Message::Want { target, logs });
    let frames = to_alice.receive(&mut lan).into_iter();
    let batches = frames.filter(|frame| frame.kind == FrameKind::Batch);
    let batches: Vec<Batch> = batches
        .map(|frame| Batch::parse(frame.payload.to_vec(), &NetworkTag::OPEN).expect("a batch"))
        .collect();
    assert_eq!(batches.len(), 3);
    let have = |entry: HaveEntry| {
        Message::Have(Have {
            target: to_bob.clone(),
            logs: vec![entry],
            digest: None,
        })
    };
    for (n, batch) in [(1, &batches[0]), (2, &batches[2])] {
        let mut carrier_of_line = ScriptedPeer::connect(&mut lan, bob, 10 + n);
        let lines = batch.sequence..=batch.sequence;
        let entry = have_entry(log.author, log.incarnation, lines, batch.hash);
        carrier_of_line.send(&mut lan, &have(entry));
        lan.run_for(1_000);
        carrier_of_line.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        lan.run_for(1_000);
        std::mem::swap(&mut carrier, &mut carrier_of_line);
        lan.feed(
            bob,
            Input::Closed {
                stream: carrier_of_line.stream,
            },
        );
    }
    assert_eq!(lan.peers[bob].received(), ["psst 1", "psst 3"]);
    assert_eq!(lan.peers[bob].gap_count(), 1);
    let receipts = carrier.receive_messages(&mut lan).into_iter();
    let receipts = receipts.filter_map(|message| match message {
        Message::Have(have) => Some(have.logs),
        _ => None,
    });
    let receipts = receipts.flatten().filter(|entry| entry.signature.is_some());
    let receipts: Vec<HaveEntry> = receipts.collect();
    assert!(!receipts.is_empty());
    for entry in receipts {
        assert_eq!(entry.complete_from, 3);
        let holder = Some(lan.id(bob));
        to_alice.send(&mut lan, &have(HaveEntry { holder, ..entry }));
    }
    assert_eq!(lan.peers[alice].acked_sequence(lan.id(bob)), 0);
    lan.heal();
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(1_000);
    assert_eq!(lan.peers[alice].acked_sequence(lan.id(bob)), 3);
    let mut received = lan.peers[bob].received();
    received.sort();
    assert_eq!(received, numbered_lines("psst", 1, 3));
}
