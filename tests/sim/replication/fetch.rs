//! Fetching a log from a neighbour when its author is gone, slow or out of reach.
use std::ops::Range;

use p2pchat::base::batch::batch::Batch;
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::Hash;
use p2pchat::node::replication::progress::progress::OFFERS_PER_LINK_MAX;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX, Message, WantEntry};

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, numbered_lines};
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// Lines whose author died while a peer was away are fetched from another member of the room.
#[test]
fn lines_of_a_dead_author_come_from_a_neighbour() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(5_000);
        lan.say(alice, "before");
        lan.run_for(50);
        lan.stop(carol);
        lan.say_all(alice, None, &numbered_lines("line", 1, 30));
        lan.run_for(100);
        lan.kill(alice);
        lan.start(carol);
        lan.run_until("carol has all", 5_000, |lan| {
            lan.peers[carol].received().len() == 30
        });
        lan.run_for(1_000);
        lan.check_lines();
    }
}

/// A line that reached a single peer before its author died reaches all: peers compare what they
/// hold also about logs of absent authors.
#[test]
fn a_line_that_reached_one_peer_reaches_all() {
    let mut lan = Lan::new(3);
    let peers = lan.add_peers(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = peers;
    lan.start_all(peers);
    lan.run_for(5_000);
    // The last line reaches bob only.
    lan.peers[carol].stopped_reading = true;
    lan.peers[dave].stopped_reading = true;
    lan.say(alice, "last");
    lan.run_for(20);
    lan.kill(alice);
    lan.run_for(20);
    lan.thaw(carol);
    lan.thaw(dave);
    assert_eq!(lan.peers[bob].received(), ["last"]);
    lan.run_until("all have it", 70_000, |lan| {
        [carol, dave]
            .iter()
            .all(|who| lan.peers[*who].received() == ["last"])
    });
    lan.run_for(1_000);
    lan.check_lines();
}

/// A newcomer has requested the last lines of an author who is writing fast. A further offer, with
/// more lines, comes before the first requested line. The request stays: a later one would skip the
/// lines between both, and show them as a gap.
#[test]
fn a_further_offer_skips_no_line_of_a_newcomer() {
    let mut lan = Lan::new(8);
    let bob = lan.add_peer("bob");
    lan.start(bob);
    let mut alice = ScriptedPeer::connect(&mut lan, bob, 1);
    let log = alice.log();
    let mut offer = |lan: &mut Lan, low: u64, high: u64| {
        let entry = have_entry(
            log.author,
            log.incarnation,
            low..=high,
            Hash([high as u8; 32]),
        );
        alice.send(lan, &Message::Have(general_have(vec![entry])));
        lan.run_for(100);
        let messages = alice.receive_messages(lan).into_iter();
        let wants = messages.filter_map(|message| match message {
            Message::Want { logs, .. } => Some(logs),
            _ => None,
        });
        wants.flatten().map(|want| want.from).collect::<Vec<u64>>()
    };
    assert_eq!(offer(&mut lan, 1, 1_302), [303]);
    assert_eq!(offer(&mut lan, 1, 2_419), [0; 0]);
    // Lines that the author no longer stores will not come.
    assert_eq!(offer(&mut lan, 400, 2_419), [1_420]);
}

/// When the neighbour that a log is fetched from stops getting it, another that is ahead takes
/// over within 4 s.
#[test]
fn a_stalled_source_is_replaced() {
    let mut lan = Lan::new(5);
    let peers = lan.add_peers(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = peers;
    lan.cut(alice, dave);
    lan.start_all(peers);
    lan.run_for(5_000);
    lan.say(alice, "one");
    lan.run_until("dave has it", 3_000, |lan| {
        lan.peers[dave].received().len() == 1
    });
    // Whichever neighbour brought the lines loses its path to alice; the other keeps it.
    for first in [bob, carol] {
        lan.heal();
        lan.run_for(70_000);
        lan.cut(alice, dave);
        lan.run_for(30_000);
        lan.cut(alice, first);
        let before = lan.peers[dave].received().len();
        lan.say(alice, "more");
        lan.run_until("dave has it", 4_000, |lan| {
            lan.peers[dave].received().len() == before + 1
        });
    }
    lan.heal();
    lan.run_for(70_000);
    lan.check_lines();
}

/// With all links direct, no batch arrives twice or unrequested: each log comes from its author
/// alone.
#[test]
fn a_full_mesh_fetches_nothing_twice() {
    let mut lan = Lan::new(6);
    let peers = lan.add_peers(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"]);
    lan.start_all(peers);
    lan.run_for(5_000);
    for round in 0..20 {
        for who in peers {
            lan.say_all(
                who,
                None,
                &numbered_lines("line", round * 10, round * 10 + 4),
            );
            lan.run_for(7);
        }
    }
    lan.run_for(5_000);
    lan.check_lines();
    let counters = peers.map(|who| lan.node(who).counters());
    let twice: u64 = counters
        .iter()
        .map(|c| c.duplicate_batches + c.unwanted_batches)
        .sum();
    assert_eq!(twice, 0);
}

/// A neighbour that helps out for a slow author and lacks the newest lines does not end the
/// fetch: the author brings the rest.
#[test]
fn the_author_completes_a_log_fetched_from_a_neighbour() {
    for seed in 0..8 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(5_000);
        lan.stop(carol);
        lan.say_all(alice, None, &numbered_lines("both", 1, 50));
        lan.run_for(1_000);
        lan.remove_path(alice, bob);
        lan.run_for(20_000);
        lan.say_all(alice, None, &numbered_lines("alice alone", 1, 10));
        // Bob becomes the source, because alice's disk is slow.
        lan.peers[alice].disk.read_delay_max_ms = 20_000;
        lan.start(carol);
        lan.run_for(60_000);
        assert_eq!(lan.peers[carol].received().len(), 60, "seed {seed}");
        lan.check_lines();
    }
}

/// A reader with the first two of ten lines, whose author is gone. The first neighbour brought
/// these lines and is the source of the rest.
fn reader_of_two_lines() -> (Lan, PeerIndex, Vec<Batch>, ScriptedPeer) {
    let mut lan = Lan::new(7);
    let ann = lan.add_peer("ann");
    lan.start(ann);
    let author = ScriptedPeer::connect(&mut lan, ann, 5);
    let mut batches: Vec<Batch> = Vec::new();
    for sequence in 1..=10 {
        let previous = batches.last().map(|batch| batch.hash);
        batches.push(author.batch(sequence, previous, "line"));
    }
    let stream = author.stream;
    lan.feed(ann, Input::Closed { stream });
    let mut source = ScriptedPeer::connect(&mut lan, ann, 6);
    offer(&mut lan, &mut source, &batches, 1);
    assert_eq!(requests(&mut lan, &mut source), [1]);
    for batch in &batches[..2] {
        source.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    }
    (lan, ann, batches, source)
}

/// Offers the lines from `low` on.
fn offer(lan: &mut Lan, peer: &mut ScriptedPeer, batches: &[Batch], low: u64) {
    let head = batches.last().expect("a batch");
    let lines = low..=head.last_sequence();
    let entry = have_entry(head.log.author, head.log.incarnation, lines, head.hash);
    peer.send(lan, &Message::Have(general_have(vec![entry])));
}

/// The first lines of the requests that a neighbour received since the last call. 0: a cancelled
/// request.
fn requests(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<u64> {
    let messages = peer.receive_messages(lan).into_iter();
    let wants = messages.filter_map(|message| match message {
        Message::Want { logs, .. } => Some(logs),
        _ => None,
    });
    let is_live = |want: &WantEntry| want.to == 0;
    wants
        .flatten()
        .filter(is_live)
        .map(|want| want.from)
        .collect()
}

/// When the source has evicted our next line, a neighbour that offers the line replaces it at
/// once. No line is left behind.
#[test]
fn a_source_that_evicted_our_next_line_is_replaced() {
    let (mut lan, ann, batches, mut source) = reader_of_two_lines();
    let mut other = ScriptedPeer::connect(&mut lan, ann, 7);
    offer(&mut lan, &mut other, &batches, 1);
    assert!(requests(&mut lan, &mut other).is_empty());
    offer(&mut lan, &mut source, &batches, 8);
    assert_eq!(requests(&mut lan, &mut source), [0]);
    assert_eq!(requests(&mut lan, &mut other), [3]);
    for batch in &batches[2..] {
        other.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    }
    assert_eq!(lan.peers[ann].gap_count(), 0);
}

/// If nobody offers our next line, the lines that the source still stores are requested.
#[test]
fn lines_that_nobody_offers_are_left_behind() {
    let (mut lan, ann, batches, mut source) = reader_of_two_lines();
    let mut other = ScriptedPeer::connect(&mut lan, ann, 7);
    offer(&mut lan, &mut other, &batches, 9);
    offer(&mut lan, &mut source, &batches, 8);
    assert_eq!(requests(&mut lan, &mut source), [8]);
    assert!(requests(&mut lan, &mut other).is_empty());
}

/// Of two neighbours, the one that offers our next line replaces a stalled source, even if the
/// other one offers later lines.
#[test]
fn a_neighbour_with_our_next_line_is_preferred() {
    let (mut lan, ann, batches, _source) = reader_of_two_lines();
    let mut ahead = ScriptedPeer::connect(&mut lan, ann, 7);
    offer(&mut lan, &mut ahead, &batches, 8);
    let mut complete = ScriptedPeer::connect(&mut lan, ann, 8);
    offer(&mut lan, &mut complete, &batches[..9], 1);
    lan.run_for(320);
    assert!(requests(&mut lan, &mut ahead).is_empty());
    assert_eq!(requests(&mut lan, &mut complete), [3]);
}

/// A source that has evicted all lines says so. Later lines are requested from it, and earlier ones
/// from any neighbour that offers them.
#[test]
fn a_source_without_lines_sends_later_ones() {
    let (mut lan, ann, batches, mut source) = reader_of_two_lines();
    offer(&mut lan, &mut source, &batches[..9], 10);
    assert_eq!(requests(&mut lan, &mut source), [10]);
    let mut other = ScriptedPeer::connect(&mut lan, ann, 7);
    offer(&mut lan, &mut other, &batches[..9], 1);
    lan.run_for(320);
    assert_eq!(requests(&mut lan, &mut other), [3]);
    assert_eq!(requests(&mut lan, &mut source), [0]);
}

/// An author whose lines were not requested while the store failed has not stalled: once the store
/// works, they come from the author, although a neighbour offers them too.
#[test]
fn an_author_is_not_blamed_for_a_failed_store() {
    let mut lan = Lan::new(9);
    let ann = lan.add_peer("ann");
    lan.start(ann);
    lan.peers[ann].disk.full = true;
    lan.say(ann, "shows that the store fails");
    let mut author = ScriptedPeer::connect(&mut lan, ann, 5);
    let batches = [author.batch(1, None, "line")];
    offer(&mut lan, &mut author, &batches, 1);
    let mut neighbour = ScriptedPeer::connect(&mut lan, ann, 6);
    offer(&mut lan, &mut neighbour, &batches, 1);
    lan.run_for(3_000);
    assert!(requests(&mut lan, &mut author).is_empty());
    lan.peers[ann].disk.full = false;
    lan.run_for(1_100);
    assert_eq!(requests(&mut lan, &mut author), [1]);
    assert!(requests(&mut lan, &mut neighbour).is_empty());
}

/// Offers beyond the bound of a link are ignored, and asked for again.
#[test]
fn ignored_offers_are_asked_for_again() {
    const LOGS: u64 = OFFERS_PER_LINK_MAX as u64 + 2;
    let mut lan = Lan::new(8);
    let ann = lan.add_peer("ann");
    lan.start(ann);
    let author = ScriptedPeer::identity(5).id();
    let offers = |logs: Range<u64>, low: u64| {
        let entry = |incarnation| HaveEntry {
            low,
            ..have_entry(author, incarnation, 1..=1, Hash([3; 32]))
        };
        Message::Have(general_have(logs.map(entry).collect()))
    };
    let is_query = |message: &Message| match message {
        Message::Have(have) => have.target == "#general" && have.digest.as_deref() == Some(""),
        _ => false,
    };
    let mut peer = ScriptedPeer::connect(&mut lan, ann, 6);
    peer.receive(&mut lan);
    for first in (1..=LOGS).step_by(LOGS_PER_MESSAGE_MAX) {
        let end = (first + LOGS_PER_MESSAGE_MAX as u64).min(LOGS + 1);
        peer.send(&mut lan, &offers(first..end, 1));
    }
    let messages = peer.receive_messages(&mut lan);
    assert_eq!(messages.iter().filter(|it| is_query(it)).count(), 1);
    // The peer has evicted two of the logs, so their offers end.
    peer.send(&mut lan, &offers(1..3, 2));
    assert_eq!(requests(&mut lan, &mut peer), [2, 2]);
    peer.send(&mut lan, &offers(LOGS - 1..LOGS + 1, 1));
    assert_eq!(requests(&mut lan, &mut peer), [1, 1]);
    lan.run_for(60_000);
    let messages = peer.receive_messages(&mut lan);
    assert!(!messages.iter().any(is_query), "all offers fit");
}
