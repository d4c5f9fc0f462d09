//! Carriers: peers that store sealed direct messages for an absent recipient.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Hash, NetworkTag};
use p2pchat::base::name::{FolderName, Target};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{ByeReason, Have, Message};

use crate::support::lan::{Lan, REDIAL_MS, chain};
use crate::support::peer::{PeerIndex, lines, numbered_lines};
use crate::support::scripted_peer::{ScriptedPeer, have_entry};

/// A direct message to an absent recipient is sealed to a carrier, which reads and acknowledges
/// nothing itself, and arrives once when author and recipient never meet.
#[test]
fn a_carrier_delivers_for_an_author_that_is_gone() {
    let mut lan = Lan::new(2);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.stop(bob);
    lan.run_for(1_000);
    for text in numbered_lines("psst", 1, 5) {
        lan.send_direct(alice, "@bob", &text);
    }
    lan.run_for(1_000);
    assert_eq!(lan.peers[carol].carried_line_count(), 5);
    assert!(
        lan.peers[carol].received().is_empty(),
        "a carrier shows nothing"
    );
    let reads = |lan: &Lan| {
        let mut texts = 0;
        let entries = lan.peers[carol].disk.entries();
        entries.for_each(|entry| entry.batch.for_each_line(|_| texts += 1));
        texts
    };
    assert_eq!(reads(&lan), 0);
    let id = lan.id(bob);
    assert_eq!(
        lan.peers[alice].acked_sequence(id),
        0,
        "a carrier's copy is no receipt"
    );
    lan.stop(alice);
    lan.run_for(60_000);
    lan.stop(carol);
    lan.start(carol);
    lan.start(bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 5));
    // The author returns with the whole log and gets the receipt; nothing is shown again.
    lan.start(alice);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 5));
    lan.send_direct(alice, "@bob", "psst 6");
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 6));
    assert_eq!(lan.peers[alice].acked_sequence(id), 6);
    lan.check_lines();
}

/// Two peers without a path to each other exchange direct messages and receipts through a common
/// neighbour within half a second, and once only when the path is back.
#[test]
fn a_neighbour_forwards_direct_messages_at_once() {
    let mut lan = Lan::new(3);
    let [alice, carol, bob] = lan.add_peers(["alice", "carol", "bob"]);
    lan.start_all([alice, carol, bob]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(carol, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.cut(alice, bob);
    lan.run_until("the link is gone on both sides", 60_000, |lan| {
        [alice, bob]
            .iter()
            .all(|who| lan.node(*who).link_count() == 1)
    });
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(500);
    lan.send_direct(bob, "@alice", "yes?");
    lan.run_for(500);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    assert_eq!(lan.peers[alice].received(), ["yes?"]);
    let id = lan.id(bob);
    assert_eq!(
        lan.peers[alice].acked_sequence(id),
        1,
        "the forwarded receipt of the recipient"
    );
    lan.heal();
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    lan.check_lines();
}

/// Three peers carry a message to an absent recipient. Then a relay comes that is linked with the
/// recipient. It gets the message as well, and delivers it, whether or not the carriers
/// also reach the recipient through it.
#[test]
fn a_peer_that_is_linked_with_the_recipient_carries_in_addition() {
    for (seed, has_one_way) in (0..8).flat_map(|seed| [(seed, false), (seed, true)]) {
        let mut lan = Lan::new(seed);
        let [alice, frank, relay] = lan.add_peers(["alice", "frank", "relay"]);
        lan.start_all([alice, frank]);
        lan.run_until_linked(alice, frank, REDIAL_MS);
        lan.stop(frank);
        let carriers = lan.add_peers(["bob", "carol", "dave"]);
        lan.start_all(carriers);
        for other in carriers.into_iter().chain([alice]) {
            lan.cut(other, frank);
            if has_one_way && other != alice {
                lan.cut(other, relay);
            }
        }
        lan.run_for(20_000);
        lan.send_direct(alice, "@frank", "psst");
        lan.run_for(1_000);
        lan.start_all([frank, relay]);
        lan.run_until_linked(frank, relay, REDIAL_MS);
        lan.run_until_linked(alice, relay, REDIAL_MS);
        lan.run_for(2_000);
        assert_eq!(lan.peers[frank].received(), ["psst"], "seed {seed}");
    }
}

/// Carriers are bounded: three peers store at most 1000 lines each for an absent recipient. The
/// rest comes from the author.
#[test]
fn at_most_three_peers_carry_a_thousand_lines_each() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    let others = lan.add_peers(["c1", "c2", "c3", "c4", "c5"]);
    lan.start(alice);
    lan.start(bob);
    lan.start_all(others);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    for who in others {
        lan.run_until_linked(alice, who, REDIAL_MS);
    }
    lan.stop(bob);
    lan.run_for(1_000);
    for text in numbered_lines("psst", 1, 1_500) {
        lan.send_direct(alice, "@bob", &text);
        lan.run_for(1);
    }
    lan.run_for(2_000);
    let carried = others.map(|who| lan.peers[who].carried_line_count());
    assert_eq!(carried.iter().filter(|n| **n > 0).count(), 3, "{carried:?}");
    assert!(
        carried.iter().all(|n| [0, 1_000].contains(n)),
        "{carried:?}"
    );
    // The author delivers the lines beyond the carriers' bound.
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(5_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 1_500));
    lan.check_lines();
}

/// More lines than a carrier keeps for one recipient pass a neighbour, as bob takes them.
#[test]
fn many_lines_pass_a_neighbour() {
    let (mut lan, [alice, _, bob]) = chain(24, ["alice", "carol", "bob"]);
    for text in numbered_lines("psst", 1, 2_500) {
        lan.send_direct(alice, "@bob", &text);
    }
    lan.run_for(20_000);
    assert_eq!(lan.peers[bob].received().len(), 2_500);
    lan.check_lines();
}

/// A stranger's 1000 letters to bob, in 4 batches of a log.
fn send_letters(lan: &mut Lan, stranger: &mut ScriptedPeer, to: PeerIndex, incarnation: u64) {
    let (mut previous, mut sequence) = (None, 1);
    for _ in 0..4 {
        let text = lines(&["x"; 250]);
        let draft = UnsignedBatch {
            log: LogId {
                target: Target::Peer(lan.id(to)),
                author: stranger.identity.id(),
                incarnation,
            },
            sealed: Some("AAAA"),
            ..stranger.unsigned_batch(sequence, previous, &text)
        };
        let batch = Batch::sign(&stranger.identity, &NetworkTag::OPEN, draft);
        stranger.send_frame(lan, FrameKind::Batch, batch.as_bytes());
        (previous, sequence) = (Some(batch.hash), sequence + 250);
    }
}

/// Number of lines that a node carries.
fn carried_lines(lan: &Lan, who: PeerIndex) -> u64 {
    let ranges = lan.node(who).frontier(&FolderName::carried());
    ranges.iter().map(|range| range.high + 1 - range.low).sum()
}

/// A stranger's letters fill the place at a carrier, and give way to those of others. They take no
/// place of others afterwards.
#[test]
fn letters_of_a_stranger_take_no_place_of_others() {
    let mut lan = Lan::new(12);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.stop(bob);
    lan.run_for(1_000);
    let mut stranger = ScriptedPeer::connect(&mut lan, carol, 1);
    send_letters(&mut lan, &mut stranger, bob, 1);
    assert_eq!(carried_lines(&lan, carol), 1_000);
    for text in numbered_lines("psst", 1, 5) {
        lan.send_direct(alice, "@bob", &text);
    }
    lan.run_for(1_000);
    assert_eq!(carried_lines(&lan, carol), 5);
    for incarnation in 2..5 {
        send_letters(&mut lan, &mut stranger, bob, incarnation);
    }
    lan.run_for(1_000);
    assert!((5..1_250).contains(&carried_lines(&lan, carol)));
    lan.stop(alice);
    lan.start(bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("psst", 1, 5));
}

/// A carrier is full, and its author has too many logs for a further old one. The batch of that log
/// is refused, and costs no letter of another author its place.
#[test]
fn a_refused_letter_takes_no_place_of_others() {
    let mut lan = Lan::new(12);
    let [carol, bob] = lan.add_peers(["carol", "bob"]);
    lan.start(carol);
    let mut mallory = ScriptedPeer::connect(&mut lan, carol, 1);
    let mut dave = ScriptedPeer::connect(&mut lan, carol, 2);
    let text = lines(&["x"]);
    let mut bring = |lan: &mut Lan, incarnation, lamport| {
        let draft = UnsignedBatch {
            log: LogId {
                target: Target::Peer(lan.id(bob)),
                author: mallory.identity.id(),
                incarnation,
            },
            lamport,
            sealed: Some("AAAA"),
            ..mallory.unsigned_batch(1, None, &text)
        };
        let batch = Batch::sign(&mallory.identity, &NetworkTag::OPEN, draft);
        mallory.send_frame(lan, FrameKind::Batch, batch.as_bytes());
    };
    for incarnation in 1..=64 {
        bring(&mut lan, incarnation, 2);
    }
    send_letters(&mut lan, &mut dave, bob, 1);
    let reason = ByeReason::Leave;
    dave.send(&mut lan, &Message::Bye { reason });
    assert_eq!(carried_lines(&lan, carol), 1_064);
    bring(&mut lan, 65, 1);
    assert_eq!(carried_lines(&lan, carol), 1_064);
    bring(&mut lan, 66, 3);
    assert_eq!(carried_lines(&lan, carol), 64);
}

/// Only lines the recipient lacks are given to carriers; what it acknowledged in an earlier run
/// of the author counts.
#[test]
fn delivered_direct_messages_are_not_carried() {
    let mut lan = Lan::new(10);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    for text in numbered_lines("psst", 1, 20) {
        lan.send_direct(alice, "@bob", &text);
    }
    lan.run_for(3_000);
    lan.stop(bob);
    // A receipt from an earlier run counts too.
    lan.stop(alice);
    lan.start(alice);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.send_direct(alice, "@bob", "psst 21");
    lan.run_for(3_000);
    assert_eq!(lan.peers[carol].carried_line_count(), 1);
    lan.stop(alice);
    lan.start(bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(3_000);
    assert_eq!(lan.peers[bob].received(), ["psst 21"], "in this run");
    lan.check_lines();
}

/// A carrier drops lines after 7 days of its own running time, summed over runs; neither wall
/// time nor days switched off count.
#[test]
fn a_carrier_keeps_lines_for_seven_days_of_running_time() {
    const DAY_MS: u64 = 24 * 3_600_000;
    for (days, arrives) in [(6, true), (8, false)] {
        let mut lan = Lan::new(11);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        // Without beacons, days pass quickly in the simulator.
        lan.peers[carol].beacons_enabled = false;
        lan.start_all([alice, bob, carol]);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_until_linked(alice, carol, REDIAL_MS);
        lan.stop(bob);
        lan.run_for(1_000);
        lan.send_direct(alice, "@bob", "psst");
        lan.run_for(2_000);
        assert_eq!(lan.peers[carol].carried_line_count(), 1);
        lan.stop(alice);
        // The ten days during which the carrier does not run do not count.
        lan.run_for(days * DAY_MS / 2);
        lan.stop(carol);
        lan.run_for(10 * DAY_MS);
        lan.start(carol);
        lan.run_for(days * DAY_MS / 2);
        lan.kill(carol);
        lan.start(carol);
        lan.run_for(2_000);
        lan.start(bob);
        lan.run_until_linked(bob, carol, REDIAL_MS);
        lan.run_for(2_000);
        let received = lan.peers[bob].received();
        assert_eq!(received == ["psst"], arrives, "{days} days: {received:?}");
        lan.check_lines();
    }
}

/// Alice and carol run, and carol carries a line of alice for bob, who does not run.
fn with_carried_line(seed: u64) -> (Lan, [PeerIndex; 3]) {
    let mut lan = Lan::new(seed);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    let [alice, bob, carol] = peers;
    // Without beacons, days pass quickly in the simulator.
    lan.peers[carol].beacons_enabled = false;
    lan.start_all(peers);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.stop(bob);
    lan.run_for(1_000);
    lan.send_direct(alice, "@bob", "psst");
    lan.run_until("the line is carried", 2_000, |lan| {
        lan.peers[carol].carried_line_count() == 1
    });
    (lan, peers)
}

/// A carrier keeps no record of a log that is delivered. Otherwise each one would be saved for
/// ever, also in later runs that find the lines on the disk.
#[test]
fn a_carrier_forgets_a_delivered_log() {
    let (mut lan, [alice, bob, carol]) = with_carried_line(15);
    lan.run_for(2_000);
    assert!(!lan.peers[carol].receipts.is_empty());
    lan.stop(alice);
    lan.start(bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(5_000);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    assert_eq!(lan.peers[carol].receipts, "");
    lan.kill(carol);
    lan.start(carol);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(5_000);
    assert_eq!(lan.peers[carol].receipts, "");
    lan.check_lines();
}

/// A carrier that is killed before it has saved how long it carries a line counts anew, and drops
/// the line in time.
#[test]
fn a_killed_carrier_drops_its_lines_in_time() {
    const DAY_MS: u64 = 24 * 3_600_000;
    for (days, arrives) in [(6, true), (8, false)] {
        let (mut lan, [alice, bob, carol]) = with_carried_line(16);
        lan.kill(carol);
        assert_eq!(lan.peers[carol].receipts, "");
        lan.stop(alice);
        lan.start(carol);
        lan.run_for(days * DAY_MS);
        lan.start(bob);
        lan.run_until_linked(bob, carol, REDIAL_MS);
        lan.run_for(2_000);
        let received = lan.peers[bob].received();
        assert_eq!(received == ["psst"], arrives, "{days} days: {received:?}");
        lan.check_lines();
    }
}

/// Exit status 0 means that the recipient holds the line: a carrier that stores it does not
/// settle the send.
#[test]
fn a_carrier_does_not_settle_a_send() {
    let mut lan = Lan::new(7);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.stop(bob);
    lan.run_for(100);
    lan.send_direct_within(alice, "@bob", "psst", 10_000);
    lan.finish(alice, None);
    lan.run_for(5_000);
    assert_eq!(lan.peers[carol].carried_line_count(), 1);
    assert!(!lan.peers[alice].is_settled());
}

/// A receipt that arrives after the author's run has ended is reported by the next run, once.
#[test]
fn a_carried_receipt_is_reported_by_one_later_run() {
    let mut lan = Lan::new(13);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.stop(bob);
    lan.run_for(100);
    lan.send_direct(alice, "@bob", "psst");
    lan.run_for(1_000);
    lan.stop(alice);
    lan.start(bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["psst"]);
    let id = lan.id(bob);
    // The run that gets the receipt reports it, and later runs do not.
    lan.start(alice);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(2_000);
    assert_eq!(
        (
            lan.peers[alice].acked_sequence(id),
            lan.peers[alice].delivered_count()
        ),
        (1, 1)
    );
    lan.stop(bob);
    lan.start(bob);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(2_000);
    assert_eq!(lan.peers[alice].delivered_count(), 1);
    lan.stop(alice);
    lan.start(alice);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(2_000);
    assert_eq!(lan.peers[alice].delivered_count(), 0);
    lan.check_lines();
}

/// The receipt of a carried line comes back through the neighbour when the author returns, `away`
/// milliseconds after the recipient did.
fn receipt_through_a_neighbour(away: u64) {
    let mut lan = Lan::new(14);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.cut(alice, bob);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(2_000);
    lan.send_direct(alice, "@bob", "one");
    lan.run_for(2_000);
    let id = lan.id(bob);
    assert_eq!(lan.peers[alice].acked_sequence(id), 1);
    lan.stop(bob);
    lan.run_for(2_000);
    lan.send_direct(alice, "@bob", "two");
    lan.run_for(1_000);
    assert_eq!(lan.peers[alice].acked_sequence(id), 1);
    lan.stop(alice);
    lan.start(bob);
    lan.run_until_linked(bob, carol, REDIAL_MS);
    lan.run_for(away);
    assert_eq!(lan.peers[bob].received(), ["two"], "in this run");
    lan.start(alice);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    lan.run_for(5_000);
    assert_eq!(lan.peers[alice].acked_sequence(id), 2);
    lan.check_lines();
}

/// A signed receipt comes back through the neighbour, while it still carries the line and after
/// it has dropped it.
#[test]
fn a_receipt_crosses_a_neighbour_to_a_later_run() {
    // While the neighbour still carries the line, and after it has dropped it.
    for away in [300, 5_000] {
        receipt_through_a_neighbour(away);
    }
}

/// Claims are not facts: a recipient that names another hash than the carrier's stores other lines,
/// so the carrier keeps its own.
#[test]
fn a_receipt_for_other_lines_ends_no_carrying() {
    let mut lan = Lan::new(12);
    let [alice, carol] = lan.add_peers(["alice", "carol"]);
    lan.start_all([alice, carol]);
    lan.run_until_linked(alice, carol, REDIAL_MS);
    let bob = ScriptedPeer::identity(1).id();
    lan.send_direct(alice, &format!("@{bob}"), "psst");
    lan.run_for(1_000);
    assert_eq!(lan.peers[carol].carried_line_count(), 1);
    let log = lan.peers[carol]
        .disk
        .entries()
        .next()
        .map(|entry| entry.batch.log.clone());
    let log = log.expect("the carried log");
    let mut recipient = ScriptedPeer::connect(&mut lan, carol, 1);
    let have = Have {
        target: format!("@{bob}"),
        logs: vec![have_entry(
            log.author,
            log.incarnation,
            1..=1,
            Hash([3; 32]),
        )],
        ..Have::default()
    };
    recipient.send(&mut lan, &Message::Have(have));
    lan.run_for(5_000);
    let receipt = format!("{bob} {} {:016x} 1 ", log.author, log.incarnation);
    assert!(
        !lan.peers[carol].receipts.contains(&receipt),
        "{}",
        lan.peers[carol].receipts
    );
}

/// A letter of `author` to somebody who is not there.
fn letter(author: &ScriptedPeer) -> Batch {
    let text = lines(&["psst"]);
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Peer(ScriptedPeer::identity(9).id()),
            author: author.identity.id(),
            incarnation: 7,
        },
        sealed: Some("AAAA"),
        ..author.unsigned_batch(1, None, &text)
    };
    Batch::sign(&author.identity, &NetworkTag::OPEN, draft)
}

/// Offers and sends a letter over the link of `from`.
fn bring_letter(lan: &mut Lan, from: &mut ScriptedPeer, letter: &Batch) {
    let log = &letter.log;
    let have = Have {
        target: log.target.to_string(),
        logs: vec![have_entry(log.author, log.incarnation, 1..=1, letter.hash)],
        ..Have::default()
    };
    from.send(lan, &Message::Have(have));
    from.send_frame(lan, FrameKind::Batch, letter.as_bytes());
    lan.run_for(1_000);
}

/// Letters to others are taken from their author alone. Nobody can have a carrier filled with
/// letters of somebody else.
#[test]
fn a_letter_is_carried_for_its_author_only() {
    let mut lan = Lan::new(13);
    let carol = lan.add_peer("carol");
    lan.start(carol);
    let mut author = ScriptedPeer::connect(&mut lan, carol, 1);
    let mut relay = ScriptedPeer::connect(&mut lan, carol, 2);
    let letter = letter(&author);
    bring_letter(&mut lan, &mut relay, &letter);
    assert_eq!(lan.peers[carol].carried_line_count(), 0);
    bring_letter(&mut lan, &mut author, &letter);
    assert_eq!(lan.peers[carol].carried_line_count(), 1);
}

/// A program that leaves by itself soon carries no letters, not even those that their author brings.
#[test]
fn a_transient_program_carries_no_letters() {
    let mut lan = Lan::new(14);
    let carol = lan.add_peer("carol");
    lan.peers[carol].transient = true;
    lan.start(carol);
    let mut author = ScriptedPeer::connect(&mut lan, carol, 1);
    let letter = letter(&author);
    bring_letter(&mut lan, &mut author, &letter);
    assert_eq!(lan.peers[carol].carried_line_count(), 0);
}
