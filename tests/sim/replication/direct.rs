//! Direct messages between two peers: recipients by name, delivery, receipts and read receipts.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::presence::typing::TypingTarget;
use p2pchat::wire::message::Message;

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

/// A direct message needs no shared room, arrives once and is acknowledged; a bystander neither
/// shows nor carries it while the recipient is linked.
#[test]
fn a_direct_message_is_delivered_once_and_only_to_its_recipient() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    // Alice and bob share no room: a direct message needs none.
    lan.peers[bob].startup_rooms = vec![Room::new("ops").expect("a room")];
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.send_direct(alice, "@bob", "psst");
    lan.send_direct(alice, "@bob", "and");
    lan.run_for(50);
    lan.send_direct(bob, "alice", "yes?");
    lan.run_for(50);
    assert_eq!(lan.peers[bob].received(), ["psst", "and"]);
    assert_eq!(lan.peers[alice].received(), ["yes?"]);
    assert!(lan.peers[carol].received().is_empty());
    assert_eq!(
        lan.peers[carol].carried_line_count(),
        0,
        "the recipient is linked"
    );
    let id = lan.id(bob);
    assert_eq!(lan.peers[alice].acked_sequence(id), 2);
    lan.check_lines();
}

/// A direct message stored for an absent recipient is sent by the author's next run, after a
/// clean end under the same incarnation, after a kill beside a new one.
#[test]
fn an_undelivered_direct_message_is_sent_by_the_next_run() {
    for clean in [true, false] {
        let mut lan = Lan::new(5);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.stop(bob);
        lan.run_for(100);
        lan.send_direct(alice, "@bob", "psst");
        lan.run_for(100);
        match clean {
            true => lan.stop(alice),
            false => lan.kill(alice),
        }
        lan.start(alice);
        lan.start(bob);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(100);
        lan.send_direct(alice, "@bob", "more");
        lan.run_for(100);
        assert_eq!(lan.peers[bob].received(), ["psst", "more"]);
        let incarnations = lan.peers[bob].disk.ranges_in(&FolderName::direct()).len();
        assert_eq!(incarnations, if clean { 1 } else { 2 });
        lan.check_lines();
    }
}

/// Alice's program stands still while a direct message waits for its recipient, who comes meanwhile.
/// What arrived before the time-out counts, whatever else is handled first.
#[test]
fn a_recipient_that_came_while_the_program_stood_still_is_found() {
    let mut lan = Lan::new(6);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
    lan.send_direct_within(alice, "@bob", "psst", 1_000);
    lan.freeze(alice);
    lan.run_for(2_000);
    bob.send(&mut lan, &Message::Ping { nonce: 1 });
    let username = "bob".into();
    bob.send(&mut lan, &Message::Profile { username });
    lan.thaw(alice);
    lan.run_for(10);
    assert_eq!(lan.peers[alice].error_count("target"), 0);
    assert!(
        !lan.peers[alice]
            .disk
            .ranges_in(&FolderName::direct())
            .is_empty()
    );
}

/// `send` to a name that nobody bears yet waits for it, and settles once the recipient stores the
/// line; other peers do not count.
#[test]
fn a_direct_send_settles_when_the_recipient_holds_it() {
    let mut lan = Lan::new(6);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.peers[alice].transient = true;
    lan.start(carol);
    lan.run_for(3_000);
    lan.start(alice);
    // Nobody with this name is known yet.
    lan.send_direct_within(alice, "@bob", "psst", 10_000);
    lan.run_for(2_000);
    assert_eq!(lan.peers[carol].carried_line_count(), 0);
    lan.start(bob);
    let holds = |lan: &mut Lan| lan.peers[bob].received() == ["psst"];
    lan.run_until("bob has it", 1_000, holds);
    lan.finish(alice, None);
    lan.run_for(20);
    assert!(lan.peers[alice].is_settled());
    let delivery = lan.peers[alice]
        .node
        .as_ref()
        .map(|node| node.delivery(None));
    assert_eq!(
        delivery.map(|d| (d.linked_peers, d.acked_peers, d.is_settled)),
        Some((1, 1, true))
    );
}

/// Truthful errors: a name that no peer or more than one bears is an error, at once or when the
/// time allowed has passed, and nothing is stored. `name~abcd` and `@id` select one.
#[test]
fn an_unknown_or_ambiguous_recipient_is_refused() {
    let mut lan = Lan::new(8);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "bob"]);
    lan.start(alice);
    lan.send_direct(alice, "@bob", "nobody");
    assert_eq!(lan.peers[alice].error_count("target"), 1);
    lan.send_direct_within(alice, "@nobody", "nobody", 500);
    lan.run_for(499);
    assert_eq!(lan.peers[alice].error_count("target"), 1);
    lan.run_for(2);
    assert_eq!(lan.peers[alice].error_count("target"), 2);
    lan.start(bob);
    lan.start(carol);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.send_direct(alice, "@bob", "which?");
    lan.send_direct_within(alice, "@bob", "which?", 5_000);
    lan.run_for(1_100);
    assert_eq!(lan.peers[alice].error_count("target"), 4);
    let ranges = lan.peers[alice].disk.ranges_in(&FolderName::direct());
    assert!(ranges.is_empty(), "nothing is stored");
    let short = lan.id(carol).short();
    lan.send_direct(alice, &format!("@bob~{short}"), "you");
    let id = lan.id(bob);
    lan.send_direct(alice, &format!("@{id}"), "and you");
    lan.run_for(100);
    assert_eq!(lan.peers[carol].received(), ["you"]);
    assert_eq!(lan.peers[bob].received(), ["and you"]);
    lan.check_lines();
}

/// Nobody speaks for you: a direct message to a bound name is never sealed for, or sent to,
/// another key that uses the name.
#[test]
fn a_recipient_whose_bound_key_changed_is_refused() {
    let mut lan = Lan::new(9);
    let [alice, bob, mallory] = lan.add_peers(["alice", "bob", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(100);
    lan.stop(bob);
    lan.stop(alice);
    lan.start(mallory);
    lan.start(alice);
    lan.send_direct_within(alice, "@bob", "secret", 10_000);
    lan.run_for(1_500);
    let loudly = |n: &&Notice| matches!(n, Notice::KeyMismatch { is_bound: true, .. });
    let warnings = lan.peers[alice].notices_of_run().filter(loudly).count();
    assert_eq!(warnings, 1);
    assert_eq!(lan.peers[alice].error_count("key"), 1);
    assert!(lan.peers[mallory].received().is_empty());
    assert_eq!(
        lan.peers[mallory].carried_line_count(),
        0,
        "nothing is stored"
    );
    // A short id proves nothing. The whole id is the key, and binds no second key to the name.
    let id = lan.id(mallory);
    lan.send_direct(alice, &format!("@bob~{}", id.short()), "secret");
    assert_eq!(lan.peers[alice].error_count("key"), 2);
    assert!(lan.peers[mallory].received().is_empty());
    lan.send_direct(alice, &format!("@{id}"), "to the key");
    lan.run_for(100);
    assert_eq!(lan.peers[mallory].received(), ["to the key"]);
    let bound = lan.peers[alice].known_peers.iter();
    let bound = bound.filter(|it| it.is_bound()).map(|it| it.id);
    assert_eq!(bound.collect::<Vec<_>>(), [lan.id(bob)]);
    // Once the bound key is present, the name selects it.
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.send_direct(alice, "@bob", "secret");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["secret"]);
    assert_eq!(lan.peers[mallory].received(), ["to the key"]);
    lan.check_lines();
}

/// A program that comes to look, such as `peers --ephemeral`, has another key each time. Under the
/// name of somebody else it is an impostor only once it says something, or types.
#[test]
fn a_visitor_is_no_impostor_until_it_speaks() {
    for types in [false, true] {
        let mut lan = Lan::new(16);
        let [alice, bob, visitor] = lan.add_peers(["alice", "bob", "bob"]);
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.send_direct(alice, "@bob", "psst");
        lan.run_for(100);
        let peer = &mut lan.peers[visitor];
        (peer.transient, peer.is_ephemeral) = (true, true);
        lan.start(visitor);
        lan.run_until_linked(alice, visitor, REDIAL_MS);
        lan.run_for(5_000);
        assert_eq!(key_mismatches(&lan, alice), 0);
        if types {
            let target = TypingTarget::Room(Room::general());
            lan.feed(visitor, Input::Command(Command::Type(target)));
        } else {
            lan.say(visitor, "it is me, bob");
        }
        lan.run_for(100);
        assert_eq!(key_mismatches(&lan, alice), 1, "types: {types}");
    }
}

/// How often another key for a known name was reported in the present run.
fn key_mismatches(lan: &Lan, who: PeerIndex) -> usize {
    let other = |n: &&Notice| matches!(n, Notice::KeyMismatch { .. });
    lan.peers[who].notices_of_run().filter(other).count()
}

/// The key of an ephemeral peer never comes back. So its name is neither recorded nor bound, and
/// means the next program that uses it.
#[test]
fn the_name_of_an_ephemeral_peer_is_not_kept() {
    let mut lan = Lan::new(14);
    let [alice, first, second] = lan.add_peers(["alice", "bob", "bob"]);
    lan.start(alice);
    for (bob, text) in [(first, "one"), (second, "two")] {
        lan.peers[bob].is_ephemeral = true;
        lan.start(bob);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.send_direct(alice, "@bob", text);
        lan.run_for(100);
        assert_eq!(lan.peers[bob].received(), [text]);
        assert_eq!(lan.peers[alice].known_peers, []);
        lan.stop(bob);
        lan.run_for(2_000);
    }
    assert_eq!(key_mismatches(&lan, alice), 0);
    // The name of somebody else is still his.
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.send_direct(alice, "@bob", "three");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["three"]);
    lan.start(second);
    lan.run_until_linked(alice, second, REDIAL_MS);
    assert_eq!(key_mismatches(&lan, alice), 1);
    lan.send_direct(alice, "@bob", "four");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["three", "four"]);
}

/// Two keys with one name are reported once, by the first run that has somebody to tell. A later
/// run finds both in the file.
#[test]
fn a_name_clash_is_reported_once_and_remembered() {
    for is_bound in [false, true] {
        let mut lan = Lan::new(15);
        let [alice, bob, other] = lan.add_peers(["alice", "bob", "bob"]);
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        if is_bound {
            lan.send_direct(alice, "@bob", "psst");
            lan.run_for(100);
        }
        lan.stop(bob);
        lan.start(other);
        for (is_transient, reports) in [(true, 0), (false, 1), (false, 0), (true, 0)] {
            lan.stop(alice);
            lan.peers[alice].transient = is_transient;
            lan.start(alice);
            lan.run_until_linked(alice, other, REDIAL_MS);
            lan.run_for(1_000);
            assert_eq!(key_mismatches(&lan, alice), reports);
            assert_eq!(lan.peers[alice].error_count("bound"), 0);
        }
        assert_eq!(
            lan.peers[alice].known_peers.len(),
            if is_bound { 3 } else { 2 }
        );
        // The name is meant.
        lan.send_direct_within(alice, "@bob", "secret", 2_000);
        lan.run_for(3_000);
        let code = if is_bound { "key" } else { "target" };
        assert_eq!(lan.peers[alice].error_count(code), 1);
    }
}

/// The lines up to which this peer's direct messages were reported as read, in order.
fn read_sequences(lan: &Lan, who: PeerIndex) -> Vec<u64> {
    let shown = lan.peers[who]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Read { sequence, .. } => Some(*sequence),
            _ => None,
        });
    shown.collect()
}

/// Marking a direct message as read notifies its author, now or when it is back, and nobody else;
/// never twice, backwards or beyond the stored lines.
#[test]
fn a_read_receipt_reaches_the_author_alone() {
    let mut lan = Lan::new(41);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.send_direct(alice, "@bob", "one");
    lan.send_direct(alice, "@bob", "two");
    lan.say(alice, "to all");
    lan.run_for(1_000);
    let logs: Vec<_> = lan.peers[bob].disk.ranges_in(&FolderName::direct());
    let log = logs[0].log.clone();
    let shown = |lan: &mut Lan, sequence| {
        let log = log.clone();
        lan.feed(bob, Input::Command(Command::MarkRead { log, sequence }));
        lan.run_for(1_000);
    };
    assert_eq!(read_sequences(&lan, alice), [0; 0]);
    shown(&mut lan, 1);
    shown(&mut lan, 2);
    shown(&mut lan, 1);
    // A line that bob does not store cannot be marked.
    shown(&mut lan, 7);
    assert_eq!(read_sequences(&lan, alice), [1, 2]);

    // Lines read while alice is away are reported once she is back.
    lan.stop(alice);
    lan.start(alice);
    lan.run_until("the read receipt arrives", 70_000, |lan| {
        read_sequences(lan, alice) == [2]
    });
    assert_eq!(read_sequences(&lan, carol), [0; 0]);
}

/// While a handshake is pending, another peer with the recipient's name might appear; a direct
/// send waits for it for half of its time, then goes to the one linked.
#[test]
fn an_unfinished_dial_delays_a_direct_send_by_half_its_time() {
    let mut lan = Lan::new(12);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    // Carol's dial stays pending, and she could turn out to be another bob.
    lan.network.conditions.dial_delay_max_ms = 100_000;
    lan.start(carol);
    lan.run_for(100);
    lan.send_direct_within(alice, "@bob", "psst", 500);
    lan.run_for(200);
    assert!(
        lan.peers[bob].received().is_empty(),
        "another bob may appear"
    );
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    lan.check_lines();
}
