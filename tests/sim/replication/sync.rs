//! `sync`: what is complete is exchanged in both directions, and what cannot come is not awaited.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::missing_lines::SyncState;
use p2pchat::base::name::Room;
use p2pchat::base::range::LogRange;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::Message;

use crate::support::lan::{Lan, chain};
use crate::support::peer::{PeerIndex, numbered_lines};
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// Longer than a link and the exchange of some thousand lines take.
const SYNC_MS: u64 = 20_000;

fn start_sync(lan: &mut Lan, who: PeerIndex) {
    lan.feed(who, Input::Command(Command::Sync));
}

fn state(lan: &Lan, who: PeerIndex) -> SyncState {
    lan.node(who).sync_state()
}

/// Runs until everything is exchanged with this many linked peers.
fn run_until_synced(lan: &mut Lan, who: PeerIndex, links: u64) {
    lan.run_until("all is exchanged", SYNC_MS, |lan| {
        let state = state(lan, who);
        state.is_complete && state.linked_peers == links
    });
}

/// The author's name, incarnation and head of each log that this peer's disk stores.
fn heads(lan: &Lan, who: PeerIndex) -> Vec<(String, u64, u64)> {
    let ranges = lan.peers[who].disk.ranges(&Room::general());
    let head = |range: LogRange| {
        let log = &range.log;
        (log.author.to_string(), log.incarnation, range.high)
    };
    let mut heads: Vec<_> = ranges.into_iter().map(head).collect();
    heads.sort();
    heads
}

/// Alice and bob meet again. Each has said lines while the other one was away, and bob holds lines
/// of carol, who is gone. `count`: how many lines each of them said.
fn reunion(seed: u64, count: u64) -> (Lan, [PeerIndex; 2]) {
    let mut lan = Lan::new(seed);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(500);
    lan.stop(alice);
    lan.say_all(carol, None, &numbered_lines("carol", 1, count));
    lan.say_all(bob, None, &numbered_lines("bob", 1, count));
    lan.run_for(2_000);
    lan.stop(carol);
    lan.stop(bob);
    lan.start(alice);
    lan.say_all(alice, None, &numbered_lines("alice", 1, count));
    lan.run_for(100);
    lan.stop(alice);
    (lan, [alice, bob])
}

/// At the first moment when all counts as exchanged, both disks hold the same.
#[test]
fn what_is_complete_is_on_both_disks() {
    for seed in 0..20 {
        for first in [0, 1] {
            let (mut lan, peers) = reunion(seed, 1 + 997 * (seed % 3));
            lan.network.conditions.stream_delay_max_ms = 40 * (seed % 4);
            lan.start(peers[first]);
            start_sync(&mut lan, peers[first]);
            lan.run_for(seed * 50);
            lan.start(peers[1 - first]);
            run_until_synced(&mut lan, peers[first], 1);
            let held = peers.map(|peer| heads(&lan, peer));
            assert_eq!(held[0], held[1], "seed {seed}");
            assert!(held[0].len() >= 3, "{held:?}");
        }
    }
}

/// A program that has been linked for long learns of the lines that are on the way.
#[test]
fn lines_on_the_way_are_awaited() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, 3_000);
        lan.run_for(3_000);
        lan.say_all(bob, None, &numbered_lines("bob", 1, 2_000));
        lan.say_all(alice, None, &numbered_lines("alice", 1, 2_000));
        start_sync(&mut lan, alice);
        assert!(!state(&lan, alice).is_complete, "the peer is asked first");
        run_until_synced(&mut lan, alice, 1);
        assert_eq!(heads(&lan, alice), heads(&lan, bob), "seed {seed}");
    }
}

/// Without anybody, nothing is left to exchange. A peer that comes is behind, and so is one that
/// does not answer.
#[test]
fn a_silent_peer_is_behind() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.run_for(3_000);
    start_sync(&mut lan, alice);
    run_until_synced(&mut lan, alice, 0);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 3_000);
    lan.freeze(bob);
    lan.run_for(3_000);
    let behind = state(&lan, alice);
    assert!(!behind.is_complete);
    assert_eq!((behind.linked_peers, behind.behind_peers), (1, 1));
    assert_eq!(behind.behind[0].id, lan.id(bob));
    lan.thaw(bob);
    run_until_synced(&mut lan, alice, 1);
}

/// What this run says in a room is awaited from members behind a neighbour as well.
#[test]
fn members_behind_a_neighbour_count() {
    let (mut lan, [alice, _, carol]) = chain(4, ["alice", "bob", "carol"]);
    lan.freeze(carol);
    lan.say(alice, "hello");
    start_sync(&mut lan, alice);
    lan.run_for(2_500);
    let behind = state(&lan, alice);
    assert!(!behind.is_complete);
    assert_eq!(behind.behind[0].id, lan.id(carol), "{behind:?}");
    lan.thaw(carol);
    run_until_synced(&mut lan, alice, 1);
    assert_eq!(lan.peers[carol].received(), ["hello"]);
}

/// Lines that nobody holds any more are not awaited.
#[test]
fn a_gap_that_nobody_fills_is_not_awaited() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    for text in numbered_lines("line", 1, 3) {
        lan.say(bob, &text);
        lan.run_for(50);
    }
    lan.stop(alice);
    for text in numbered_lines("line", 4, 9) {
        lan.say(bob, &text);
        lan.run_for(50);
    }
    let log = lan.first_log(bob);
    lan.peers[bob].disk.evict(&log, 7);
    lan.feed(bob, Input::Evicted { log, low: 7 });
    lan.start(alice);
    start_sync(&mut lan, alice);
    run_until_synced(&mut lan, alice, 1);
    assert_eq!(heads(&lan, alice), heads(&lan, bob));
}

/// Announced lines are awaited until the peer that claims to hold them is gone.
#[test]
fn announced_lines_are_awaited_while_their_peer_is_linked() {
    let mut lan = Lan::new(6);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    lan.run_for(3_000);
    start_sync(&mut lan, alice);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    for _ in 0..5 {
        lan.run_for(10);
        for message in mallory.receive_messages(&mut lan) {
            if let Message::Ping { nonce } = message {
                let pong = Message::Pong { nonce };
                mallory.send(&mut lan, &pong);
            }
        }
    }
    run_until_synced(&mut lan, alice, 1);
    let batch = mallory.batch(1, None, "first");
    let entry = have_entry(mallory.identity.id(), 7, 1..=2, batch.hash);
    let have = general_have(vec![entry]);
    mallory.send(&mut lan, &Message::Have(have));
    mallory.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    lan.run_for(2_000);
    assert_eq!(state(&lan, alice).behind_peers, 1, "line 2 is announced");
    let stream = mallory.stream;
    lan.feed(alice, Input::Closed { stream });
    run_until_synced(&mut lan, alice, 0);
}

/// A peer offers another author's lines only when our digest has reached it. However slow it is,
/// that is awaited.
#[test]
fn offers_that_answer_a_digest_are_awaited() {
    for seed in 0..60 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start(alice);
        lan.run_for(100);
        lan.stop(alice);
        lan.start_all([bob, carol]);
        lan.run_until_linked(bob, carol, 3_000);
        lan.say(carol, "hello");
        lan.run_for(500);
        lan.stop(carol);
        lan.network.conditions.stream_delay_max_ms = 60;
        lan.start(alice);
        start_sync(&mut lan, alice);
        run_until_synced(&mut lan, alice, 1);
        assert_eq!(heads(&lan, alice).len(), 1, "seed {seed}");
    }
}

/// While a program that ends soon asks us something, a `sync` that is done stays. One that stays
/// itself is not waited for, and neither is a silent one.
#[test]
fn a_transient_peer_is_waited_for_until_it_is_silent() {
    for is_transient in [false, true] {
        let mut lan = Lan::new(4);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.peers[bob].transient = is_transient;
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, 3_000);
        let lingers = |lan: &Lan| lan.node(alice).sync_lingers_until().is_some();
        assert_eq!(lingers(&lan), is_transient);
        // Its first beacons follow each other closely.
        lan.run_until("it is silent", 20_000, |lan| !lingers(lan));
        start_sync(&mut lan, bob);
        lan.run_for(100);
        assert_eq!(lingers(&lan), is_transient, "it asks");
        lan.stop(bob);
        lan.run_for(100);
        assert!(!lingers(&lan), "it has left");
    }
}
