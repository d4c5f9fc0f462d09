//! Order of incarnations: lines of one author are shown in the order they were said, also when a
//! crash began a new incarnation.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Message, WantEntry, format_incarnation};

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{PeerIndex, numbered_lines};
use crate::support::scripted_peer::ScriptedPeer;

/// The own lines that this peer stored, in order.
fn own_lines(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let peer = &lan.peers[who];
    let own = |log: &LogId| log.author == peer.id;
    let mut lines = Vec::new();
    for entry in peer.disk.entries().filter(|e| own(&e.batch.log)) {
        entry
            .batch
            .for_each_line(|line| lines.push(line.to_owned()));
    }
    lines
}

/// The author says 2000 lines and is killed before the reader has all of them.
fn die_during_bulk(lan: &mut Lan, author: PeerIndex, reader: PeerIndex) {
    for n in 0..20 {
        let texts = numbered_lines(&format!("bulk {n} {}", "x".repeat(200)), 1, 100);
        lan.say_all(author, None, &texts);
        let wait = lan.random(2);
        lan.run_for(wait);
        if n == 5 {
            lan.peers[reader].stopped_reading = true;
        }
    }
    lan.kill(author);
    let held = lan.peers[reader].disk.ranges(&Room::general());
    let held = held.iter().map(|range| range.high).max().unwrap_or(0);
    assert!(held < 2000);
}

/// Bob, then alice, linked over sockets with small buffers.
fn linked_pair(seed: u64) -> (Lan, PeerIndex, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.network.conditions.socket_buffer_bytes = 10_000;
    lan.start(bob);
    lan.run_for(1_000);
    lan.start(alice);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    (lan, alice, bob)
}

#[track_caller]
/// The reader has shown all lines of the author, in the order they were said.
fn check_order(lan: &mut Lan, seed: u64, author: PeerIndex, reader: PeerIndex) {
    lan.run_for(20_000);
    lan.check_lines();
    let (said, received) = (own_lines(lan, author), lan.peers[reader].received());
    assert_eq!(received.len(), said.len(), "seed {seed}");
    let at = received
        .iter()
        .zip(&said)
        .position(|(received, said)| received != said);
    assert_eq!(at, None, "seed {seed}: out of order from this line on");
}

/// Lines are shown in the order they were said: after a crash of the author, a reader that was
/// frozen gets the rest of the old incarnation before the new one.
#[test]
fn a_frozen_reader_gets_the_old_incarnation_first() {
    for seed in 0..20 {
        let (mut lan, alice, bob) = linked_pair(seed);
        die_during_bulk(&mut lan, alice, bob);
        lan.freeze(bob);
        lan.start(alice);
        for n in 0..10 {
            lan.say_all(alice, None, &numbered_lines(&format!("again {n}"), 1, 100));
            let wait = lan.random(300);
            lan.run_for(wait);
        }
        lan.thaw(bob);
        let wait = lan.random(20);
        lan.run_for(wait);
        lan.say_all(alice, None, &numbered_lines("more", 1, 100));
        check_order(&mut lan, seed, alice, bob);
    }
}

/// Lines said the moment a link stands are held back until the reader has requested and got the
/// rest of the old incarnation.
#[test]
fn new_lines_wait_for_the_rest_of_the_old_incarnation() {
    for seed in 0..40 {
        let (mut lan, alice, bob) = linked_pair(seed);
        lan.network.conditions.stream_delay_max_ms = 5;
        die_during_bulk(&mut lan, alice, bob);
        lan.thaw(bob);
        lan.start(alice);
        if seed % 2 == 0 {
            let linked = |lan: &mut Lan| {
                let node = lan.peers[alice].node.as_ref();
                node.is_some_and(|node| node.link_count() > 0)
            };
            lan.run_until("the link stands", 70_000, linked);
        } else {
            let wait = lan.random(60);
            lan.run_for(wait);
        }
        for n in 0..30 {
            lan.say(alice, &format!("again {n}"));
            let wait = lan.random(2);
            lan.run_for(wait);
        }
        check_order(&mut lan, seed, alice, bob);
    }
}

/// Four incarnations fetched from a neighbour, with their author gone, arrive in the order they
/// were said.
#[test]
fn a_neighbour_sends_incarnations_in_order() {
    for seed in 0..10 {
        let (mut lan, alice, bob) = linked_pair(seed);
        let carol = lan.add_peer("carol");
        lan.start(carol);
        lan.say(alice, "first");
        lan.run_for(2_000);
        lan.stop(bob);
        for n in 0..4 {
            lan.say_all(alice, None, &numbered_lines(&format!("run {n}"), 1, 1000));
            lan.run_for(2_000);
            lan.kill(alice);
            lan.start(alice);
            lan.run_for(1_000);
        }
        let all = own_lines(&lan, alice);
        lan.stop(alice);
        lan.start(bob);
        lan.run_for(20_000);
        let received = lan.peers[bob].received();
        assert_eq!(received.len() + 1, all.len(), "seed {seed}");
        assert!(received == all[1..], "seed {seed}: out of order");
    }
}

/// A reader frozen while the author crashed, came back and left gets both incarnations in order
/// from a neighbour.
#[test]
fn a_frozen_reader_gets_both_incarnations_from_a_neighbour() {
    for seed in 0..20 {
        let (mut lan, alice, bob) = linked_pair(seed);
        let carol = lan.add_peer("carol");
        lan.start(carol);
        lan.say(alice, "first");
        lan.run_for(2_000);
        lan.peers[bob].stopped_reading = true;
        for n in 0..10 {
            lan.say_all(alice, None, &numbered_lines(&format!("bulk {n}"), 1, 300));
            lan.run_for(20);
        }
        lan.freeze(bob);
        lan.kill(alice);
        lan.start(alice);
        for n in 0..10 {
            lan.say_all(alice, None, &numbered_lines(&format!("again {n}"), 1, 300));
            let wait = lan.random(300);
            lan.run_for(wait);
        }
        let linked = |lan: &mut Lan| lan.are_linked(alice, carol);
        lan.run_until("carol has it", 10_000, linked);
        lan.run_for(1_000);
        lan.stop(alice);
        let wait = lan.random(2_000);
        lan.run_for(wait);
        lan.thaw(bob);
        lan.run_for(20_000);
        let (said, received) = (own_lines(&lan, alice), lan.peers[bob].received());
        assert_eq!(received.len(), said.len(), "seed {seed}");
        assert!(received == said, "seed {seed}: out of order");
    }
}

/// Direct messages are shown in the order they were said, also across a crash of their author.
#[test]
fn direct_messages_keep_their_order_across_a_crash() {
    for seed in 0..20 {
        let (mut lan, alice, bob) = linked_pair(seed);
        lan.network.conditions.stream_delay_max_ms = 5;
        lan.peers[bob].stopped_reading = true;
        for n in 0..400 {
            lan.send_direct(alice, "bob", &format!("bulk {n} {}", "x".repeat(200)));
        }
        lan.run_for(10);
        lan.kill(alice);
        let direct = lan.peers[bob].disk.ranges_in(&FolderName::direct());
        assert!(direct.iter().all(|range| range.high < 400));
        lan.thaw(bob);
        lan.start(alice);
        let linked = |lan: &mut Lan| {
            let node = lan.peers[alice].node.as_ref();
            node.is_some_and(|node| node.link_count() > 0)
        };
        lan.run_until("the link stands", 70_000, linked);
        for n in 0..30 {
            lan.send_direct(alice, "bob", &format!("again {n}"));
            let wait = lan.random(2);
            lan.run_for(wait);
        }
        lan.run_for(20_000);
        let received = lan.peers[bob].received();
        let number = |line: &String| {
            let mut words = line.split(' ');
            let base = u64::from(words.next() == Some("again")) * 1_000;
            words
                .next()
                .map_or(0, |n| base + n.parse::<u64>().expect("a number"))
        };
        let numbers: Vec<u64> = received.iter().map(number).collect();
        assert_eq!(numbers.len(), 430, "seed {seed}");
        assert!(numbers.is_sorted(), "seed {seed}: {numbers:?}");
    }
}

/// With nothing missing of the old incarnation, the first line of the new one arrives within 10
/// ms.
#[test]
fn a_new_incarnation_is_not_delayed_when_nothing_is_missing() {
    for seed in 0..20 {
        let (mut lan, alice, bob) = linked_pair(seed);
        lan.say(alice, "before");
        lan.run_for(1_000);
        lan.kill(alice);
        lan.start(alice);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        let wait = lan.random(3);
        lan.run_for(wait);
        lan.say(alice, "after");
        lan.run_until("it arrives", 10, |lan| {
            lan.peers[bob].received().ends_with(&["after".to_owned()])
        });
    }
}

/// A reader that declines the old incarnation, or never requests it, is sent the new one: at
/// once, or after a time limit.
#[test]
fn a_reader_that_wants_no_old_lines_gets_the_new_ones() {
    for declines in [true, false] {
        let mut lan = Lan::new(1);
        let [alice] = lan.add_peers(["alice"]);
        lan.start(alice);
        lan.say(alice, "old");
        lan.run_for(100);
        let old = lan.peers[alice].disk.ranges(&Room::general());
        lan.kill(alice);
        lan.start(alice);
        lan.run_for(1_000);
        let mut reader = ScriptedPeer::connect(&mut lan, alice, 1);
        lan.say(alice, "new");
        let batches = |lan: &mut Lan, reader: &mut ScriptedPeer| {
            let frames = reader.receive(lan);
            let batches = frames.iter().filter(|f| matches!(f.kind, FrameKind::Batch));
            batches.count()
        };
        assert_eq!(
            batches(&mut lan, &mut reader),
            0,
            "the reader may still request the old log"
        );
        if declines {
            let want = WantEntry {
                sender: lan.id(alice),
                incarnation: format_incarnation(old[0].log.incarnation),
                from: 0,
                to: 0,
            };
            let (target, logs) = ("#general".into(), vec![want]);
            reader.send(&mut lan, &Message::Want { target, logs });
        } else {
            lan.run_for(6_000);
            reader.send(&mut lan, &Message::Pong { nonce: 0 });
        }
        lan.run_for(10);
        assert_eq!(batches(&mut lan, &mut reader), 1);
        lan.say(alice, "newer");
        assert_eq!(batches(&mut lan, &mut reader), 1);
    }
}

/// An old incarnation whose rest cannot be read from disk any more does not hold back the new
/// one.
#[test]
fn evicted_lines_do_not_block_the_new_incarnation() {
    for seed in 0..10 {
        let (mut lan, alice, bob) = linked_pair(seed);
        die_during_bulk(&mut lan, alice, bob);
        lan.freeze(bob);
        lan.start(alice);
        let texts = numbered_lines("again", 1, 300);
        lan.say_all(alice, None, &texts);
        // No eviction is reported: the lines have become unreadable on disk.
        let old = lan.peers[alice].disk.ranges(&Room::general());
        let old = old.into_iter().find(|range| range.high == 2_000);
        let log = old.expect("the old log").log;
        lan.peers[alice].disk.evict(&log, 1_990 + 20 * (seed % 2));
        lan.thaw(bob);
        lan.run_for(20_000);
        let received = lan.peers[bob].received();
        assert!(
            received.ends_with(&texts),
            "seed {seed}: {:?}",
            received.last()
        );
    }
}
