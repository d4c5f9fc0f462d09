//! A short check of the promises, a few seconds in a debug build: `cargo test --test sim smoke::`.
use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::name::{FolderName, Room};

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{PeerIndex, numbered_lines};
use crate::support::scripted_peer::{ScriptedPeer, open_stream};
use crate::swarm;

/// Alice and bob run and are linked.
fn linked_pair(seed: u64) -> (Lan, PeerIndex, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 1_000);
    (lan, alice, bob)
}

/// Zero set-up: without configuration a line arrives once, and its author learns that it is
/// stored.
#[test]
fn two_boxes_find_each_other_and_a_line_is_acknowledged() {
    let (mut lan, alice, bob) = linked_pair(1);
    lan.say(alice, "hello");
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["hello"]);
    assert_eq!(lan.peers[alice].delivered_count(), 1);
    lan.check_links();
    lan.check_lines();
}

/// Lines said on both sides of a partition reach the other side once it heals, in one order.
#[test]
fn a_partition_heals_and_both_histories_are_equal() {
    let (mut lan, alice, bob) = linked_pair(2);
    lan.cut(alice, bob);
    lan.run_for(20_000);
    assert!(!lan.are_linked(alice, bob));
    for n in 1..=20 {
        lan.say(alice, &format!("from alice {n}"));
        lan.say(bob, &format!("from bob {n}"));
        lan.run_for(10);
    }
    lan.heal();
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(2_000);
    assert_eq!(
        lan.peers[alice].received(),
        numbered_lines("from bob", 1, 20)
    );
    assert_eq!(
        lan.peers[bob].received(),
        numbered_lines("from alice", 1, 20)
    );
    let histories = [alice, bob].map(|who| lan.history(who, &Room::general()));
    assert_eq!(histories[0].len(), 40);
    assert_eq!(histories[0], histories[1]);
}

/// A clean end continues its log, a killed program begins a new one; no line is lost or doubled.
#[test]
fn a_restart_loses_and_doubles_no_line() {
    let (mut lan, alice, bob) = linked_pair(3);
    for (n, clean) in [true, false, true].into_iter().enumerate() {
        lan.say_all(
            alice,
            None,
            &numbered_lines(&format!("run {n} line"), 1, 30),
        );
        match clean {
            true => lan.stop(alice),
            false => lan.kill(alice),
        }
        lan.run_for(100);
        lan.start(alice);
        lan.run_until_linked(alice, bob, 5_000);
    }
    lan.run_for(1_000);
    let said: Vec<String> = (0..3)
        .flat_map(|n| numbered_lines(&format!("run {n} line"), 1, 30))
        .collect();
    assert_eq!(lan.peers[bob].received(), said);
    assert_eq!(lan.peers[alice].disk.ranges(&Room::general()).len(), 2);
    lan.check_lines();
    lan.check_histories();
}

/// A direct message survives the end of its author's program: a carrier delivers it.
#[test]
fn a_carrier_brings_a_direct_message_to_an_absent_recipient() {
    let (mut lan, alice, bob) = linked_pair(4);
    let carol = lan.add_peer("carol");
    lan.start(carol);
    lan.run_until("carol is linked", 2_000, |lan| lan.are_linked(alice, carol));
    lan.stop(bob);
    lan.run_for(1_000);
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(2_000);
    lan.stop(alice);
    assert_eq!(
        lan.peers[carol]
            .disk
            .ranges_in(&FolderName::carried())
            .len(),
        1
    );
    lan.start(bob);
    lan.run_until("bob has it", 10_000, |lan| {
        lan.peers[bob].received() == ["psst"]
    });
    assert!(lan.peers[carol].received().is_empty());
    lan.check_lines();
}

/// Foreign bytes end the stream they came on, before and inside the cipher; other links go on.
#[test]
fn hostile_bytes_end_their_own_stream_only() {
    let (mut lan, alice, bob) = linked_pair(5);
    let feed = |lan: &mut Lan, stream: StreamId, bytes: &[u8]| {
        lan.feed(alice, Input::Bytes { stream, bytes });
    };
    let garbage = open_stream(&mut lan, alice, 1);
    feed(&mut lan, garbage, &[0xff; 4_000]);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 2);
    mallory.send_plaintext(&mut lan, &[0xff; 4_000]);
    lan.run_for(1_000);
    assert!(lan.has_closed(alice, garbage));
    assert!(lan.has_closed(alice, mallory.stream));
    lan.say(alice, "still here");
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["still here"]);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 0);
}

/// Random faults, then quiescence: nothing wrong on the way, everything right at the end.
#[test]
fn five_seeds_of_random_faults_keep_all_invariants() {
    for seed in 1_000..1_005 {
        swarm::run(seed, None);
    }
}
