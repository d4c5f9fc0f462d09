//! Replication: lines reach a peer live, after an absence, on first contact, through a full
//! socket, and after a crash of their author.
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::name::Room;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::Message;

use crate::batches;
use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{lines, numbered_lines};
use crate::support::scripted_peer::ScriptedPeer;

/// Nothing is lost, nothing arrives twice: a line reaches each member within 20 ms, and each
/// acknowledges it.
#[test]
fn a_line_arrives_once_and_is_acknowledged() {
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

/// Lines said during a clean restart of a known peer are shown by its next run, marked late and
/// not backfill.
#[test]
fn a_peer_that_was_away_gets_the_missed_lines() {
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

/// First contact fetches the newest 1000 lines of a log as backfill: stored, not shown, and no
/// gap.
#[test]
fn a_newcomer_gets_1000_lines_of_backfill() {
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

/// Lines that a program published since its start, before a link stood, are news to a peer that
/// was running: a piped file arrives whole.
#[test]
fn lines_said_before_the_link_are_shown_to_an_older_program() {
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

/// A peer that reads nothing for three minutes delays no other, keeps its link and later gets
/// every line from the store.
#[test]
fn a_slow_reader_blocks_nobody() {
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
        "a slow peer keeps its link"
    );
    lan.thaw(slow);
    lan.run_for(30_000);
    assert_eq!(lan.peers[slow].received(), texts);
    lan.check_lines();
}

/// A peer that acknowledges nothing gets 1024 batches of a log, and no more.
#[test]
fn unacknowledged_batches_are_bounded() {
    let mut lan = Lan::new(10);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
    for n in 1..=1_100 {
        lan.say(alice, &format!("line {n}"));
    }
    lan.run_for(1_000);
    let frames = bob.receive(&mut lan).into_iter();
    let batches = frames.filter(|frame| frame.kind == FrameKind::Batch);
    assert_eq!(batches.count(), 1_024);
}

/// Half of these batches are acknowledged at once, so that their sender does not wait. Fewer ones
/// wait for the interval of acknowledgements.
#[test]
fn half_a_window_is_acknowledged_at_once() {
    for (count, at_once) in [(511, 0), (512, 1)] {
        let mut lan = Lan::new(11);
        let alice = lan.add_peer("alice");
        lan.start(alice);
        let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
        let mut batches = vec![bob.batch(1, None, "first")];
        bob.send_batches(&mut lan, &[&batches[0]]);
        bob.receive_messages(&mut lan);
        for sequence in 2..=count + 1 {
            let previous = batches.last().map(|batch| batch.hash);
            batches.push(bob.batch(sequence, previous, "line"));
        }
        let rest: Vec<&Batch> = batches.iter().skip(1).collect();
        bob.send_batches(&mut lan, &rest);
        let messages = bob.receive_messages(&mut lan).into_iter();
        let acks = messages.filter(|message| matches!(message, Message::Have(_)));
        assert_eq!(acks.count(), at_once, "{count}");
    }
}

/// Lines that grow sixfold as JSON still fit the limits of a batch: a blocked link carries them
/// whole and is not closed.
#[test]
fn escaped_lines_pass_a_full_socket_buffer() {
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
    assert_eq!(
        lan.peers[alice].left_count(lan.id(bob)),
        0,
        "the link stayed up"
    );
}

/// Killed after any output, a program has lost no line that it stored, and goes on in a new
/// incarnation.
#[test]
fn a_crash_during_bulk_loses_no_stored_line() {
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

/// After a clean end the next run continues its log: three runs, one incarnation.
#[test]
fn a_clean_end_continues_the_same_log() {
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

/// An author that loses its last seconds of disk gets them back from its peers and uses no number
/// twice.
#[test]
fn a_power_cut_reuses_no_sequence() {
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

/// With all links direct and uneven delays, at most 1 % of the batches arrive twice, also when a
/// peer returns from an absence.
#[test]
fn a_full_mesh_sends_at_most_one_percent_twice() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let peers = lan.add_peers(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"]);
        lan.network.conditions.stream_delay_max_ms = 1 + seed * 20;
        for who in peers {
            lan.start(who);
            let wait = lan.random(300);
            lan.run_for(wait);
        }
        lan.run_for(2_000);
        for n in 0..400 {
            let who = peers[lan.random(8) as usize];
            lan.say(who, &format!("line {n}"));
            let wait = lan.random(40);
            lan.run_for(wait);
        }
        // A peer that was away fetches each log from its author.
        lan.stop(peers[0]);
        for n in 0..100 {
            lan.say(peers[1 + n % 7], &format!("more {n}"));
            lan.run_for(5);
        }
        lan.start(peers[0]);
        lan.run_for(10_000);
        lan.check_lines();
        lan.check_histories();
        let batches: usize = peers
            .iter()
            .map(|w| lan.peers[*w].disk.entries().count())
            .sum();
        let counters = peers.map(|w| lan.peers[w].node.as_ref().map(|node| node.counters()));
        let doubled: u64 = counters.iter().flatten().map(|c| c.duplicate_batches).sum();
        assert!(batches >= 8 * 500, "{batches} batches");
        assert!(doubled * 100 <= batches as u64, "{doubled} of {batches}");
    }
}

/// A batch whose content is withheld is verified, and counts as lines that its sender lacks, even
/// if the sender is the author.
#[test]
fn a_withheld_batch_is_passed_over() {
    let mut lan = Lan::new(31);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let first = mallory.batch(1, None, "one");
    let text = lines(&["two", "three", "four"]);
    let draft = mallory.unsigned_batch(2, Some(first.hash), &text);
    let second = Batch::sign(&mallory.identity, &NetworkTag::OPEN, draft);
    let third = mallory.batch(5, Some(second.hash), "five");
    let withheld = batches::withheld(&second);
    for bytes in [first.as_bytes(), &withheld, third.as_bytes()] {
        mallory.send_frame(&mut lan, FrameKind::Batch, bytes);
        lan.run_for(2_000);
    }
    lan.start(carol);
    lan.run_for(2_000);
    for who in [alice, bob, carol] {
        let entries: Vec<u64> = lan.peers[who]
            .disk
            .entries()
            .map(|entry| entry.batch.sequence)
            .collect();
        let expected: &[u64] = if who == carol { &[5] } else { &[1, 5] };
        assert_eq!(entries, expected);
    }
    assert_eq!(lan.peers[bob].received(), ["one", "five"]);
    assert_eq!(lan.peers[alice].gap_count(), 1);
    assert_eq!(lan.peers[bob].gap_count(), 1);
    // A change of what is signed ends the link.
    let mut forged = batches::withheld(&mallory.batch(6, Some(third.hash), "six"));
    let at = forged
        .windows(12)
        .position(|w| w == b"content_hash")
        .expect("a hash")
        + 15;
    forged[at] = if forged[at] == b'0' { b'1' } else { b'0' };
    mallory.send_frame(&mut lan, FrameKind::Batch, &forged);
    assert!(lan.has_closed(alice, mallory.stream));
}
