//! Batches that the chain of hashes proves and whose own signature is false. The chain does not
//! cover signatures, so an author can send such batches.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_layout::Proof;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::name::Target;

use crate::batches::{self, falsified};
use crate::support::lan::{Lan, chain};
use crate::support::peer::{PeerIndex, lines};
use crate::support::relay::{Relay, author_and_reader};
use crate::support::scripted_peer::ScriptedPeer;

/// Mallory is linked with alice, and has signed these lines, one a batch.
fn mallory_says(seed: u64, texts: &[&str]) -> (Lan, PeerIndex, ScriptedPeer, Vec<Batch>) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    lan.run_for(500);
    let mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let batches = said(&mallory, texts);
    (lan, alice, mallory, batches)
}

fn said(author: &ScriptedPeer, texts: &[&str]) -> Vec<Batch> {
    let mut batches: Vec<Batch> = Vec::new();
    for (text, sequence) in texts.iter().zip(1..) {
        let previous = batches.last().map(|batch| batch.hash);
        batches.push(author.batch(sequence, previous, text));
    }
    batches
}

fn stored(lan: &Lan, who: PeerIndex, log: &LogId) -> Vec<(u64, Proof)> {
    let entries = lan.peers[who].disk.entries();
    let of_log = entries.filter(|entry| entry.batch.log == *log);
    of_log
        .map(|entry| (entry.batch.sequence, entry.batch.proof))
        .collect()
}

/// Of consecutive batches in one turn, only the last signature is verified. The store marks the
/// others.
#[test]
fn the_last_signature_proves_the_batches_before() {
    for false_one in [None, Some(0), Some(1)] {
        let (mut lan, alice, mut mallory, mut batches) = mallory_says(1, &["one", "two", "three"]);
        if let Some(at) = false_one {
            batches[at] = falsified(&batches[at]);
        }
        mallory.send_batches(&mut lan, &[&batches[0], &batches[1], &batches[2]]);
        assert!(!lan.has_closed(alice, mallory.stream), "{false_one:?}");
        assert_eq!(lan.peers[alice].received(), ["one", "two", "three"]);
        assert_eq!(
            stored(&lan, alice, &mallory.log()),
            [(1, Proof::Chain), (2, Proof::Chain), (3, Proof::Signature)]
        );
    }
}

/// A false last signature proves nothing: the batches count up to the first false one, as if each
/// had come alone.
#[test]
fn a_false_last_signature_leaves_the_good_batches() {
    for (false_ones, good) in [(vec![2], 2), (vec![1, 2], 1), (vec![0, 2], 0)] {
        let (mut lan, alice, mut mallory, mut batches) = mallory_says(2, &["one", "two", "three"]);
        for at in &false_ones {
            batches[*at] = falsified(&batches[*at]);
        }
        mallory.send_batches(&mut lan, &[&batches[0], &batches[1], &batches[2]]);
        assert!(lan.has_closed(alice, mallory.stream));
        assert_eq!(lan.peers[alice].received().len(), good, "{false_ones:?}");
        let all_signed = |(_, proof): &(u64, Proof)| *proof == Proof::Signature;
        let stored = stored(&lan, alice, &mallory.log());
        assert!(stored.len() == good && stored.iter().all(all_signed));
    }
}

/// A batch whose content is withheld is not stored. So it proves none before it, which would then
/// be the head of the log.
#[test]
fn a_withheld_batch_proves_nothing() {
    let (mut lan, alice, mut mallory, batches) = mallory_says(3, &["one", "two", "three"]);
    let withheld = batches::withheld(&batches[2]);
    let withheld = Batch::parse(withheld, &NetworkTag::OPEN).expect("a batch");
    assert_eq!(withheld.hash, batches[2].hash);
    mallory.send_batches(&mut lan, &[&batches[0], &falsified(&batches[1]), &withheld]);
    assert!(lan.has_closed(alice, mallory.stream));
    assert_eq!(lan.peers[alice].received(), ["one"]);
}

/// Bob gets lines from mallory in one turn, who has falsified a signature. He serves the others to
/// carol, and not this one, which would cost him the link.
#[test]
fn a_false_signature_is_not_passed_on() {
    let (mut lan, bob, mut mallory, batches) = mallory_says(4, &["one", "two", "three", "four"]);
    let altered = falsified(&batches[1]);
    let sent = [&batches[0], &altered, &batches[2], &batches[3]];
    mallory.send_batches(&mut lan, &sent);
    assert_eq!(lan.peers[bob].received(), ["one", "two", "three", "four"]);
    let log = mallory.log();
    assert_eq!(stored(&lan, bob, &log)[1], (2, Proof::Chain));

    let carol = lan.add_peer("carol");
    lan.start(carol);
    lan.run_for(5_000);
    assert_eq!(lan.linked_peers(carol), [lan.id(bob)]);
    let stored_of = |lan: &Lan, who| -> Vec<u64> {
        let stored = stored(lan, who, &log).into_iter();
        stored.map(|(sequence, _)| sequence).collect()
    };
    assert_eq!(stored_of(&lan, carol), [1, 3, 4]);
    assert_eq!(lan.peers[bob].gap_count(), 1);
}

/// Only an author can send a chain: a relay that falsifies a signature loses its link, as if each
/// line had come alone. What bob acknowledges can be served. From another source the rest comes.
#[test]
fn a_relay_sends_no_chain() {
    let (mut lan, [alice, bob, _]) = author_and_reader(4);
    let mut relay = Relay::connect(&mut lan, 1, alice, bob);
    let lines = ["one", "two", "three"];
    let batches: Vec<Batch> = lines.map(|text| relay.take_line(&mut lan, text)).into();
    relay.offer(&mut lan, 1..=3, &batches[2]);
    lan.run_for(1_000);
    let altered = falsified(&batches[1]);
    relay
        .to_reader
        .send_batches(&mut lan, &[&batches[0], &altered, &batches[2]]);
    assert!(lan.has_closed(bob, relay.to_reader.stream));
    assert_eq!(lan.peers[bob].received(), ["one"]);
    let log = batches[0].log.clone();
    assert_eq!(stored(&lan, bob, &log), [(1, Proof::Signature)]);
    relay.reconnect(&mut lan, 2);
    relay.offer(&mut lan, 1..=3, &batches[2]);
    lan.run_for(1_000);
    relay
        .to_reader
        .send_batches(&mut lan, &[&batches[1], &batches[2]]);
    assert_eq!(lan.peers[bob].received(), lines);
}

/// A log that others get live is verified batch by batch: each is passed on at once.
#[test]
fn a_forwarded_log_is_verified_batch_by_batch() {
    let (mut lan, [alice, bob, carol]) = chain(6, ["alice", "bob", "carol"]);
    let mut mallory = ScriptedPeer::connect(&mut lan, bob, 1);
    let batches = said(&mallory, &["one", "two", "three", "four"]);
    mallory.send_batches(&mut lan, &[&batches[0]]);
    lan.run_for(2_000);
    assert_eq!(lan.peers[carol].received(), ["one"]);
    mallory.send_batches(
        &mut lan,
        &[&batches[1], &falsified(&batches[2]), &batches[3]],
    );
    assert!(lan.has_closed(bob, mallory.stream));
    lan.run_for(2_000);
    for who in [alice, bob, carol] {
        assert_eq!(lan.peers[who].received(), ["one", "two"]);
    }
}

/// A chain is no evidence of a fork: the contradicting batch must be signed itself.
#[test]
fn a_chain_does_not_prove_a_fork() {
    for is_signed in [false, true] {
        let (mut lan, alice, mut mallory, batches) = mallory_says(7, &["one", "two"]);
        mallory.send_batches(&mut lan, &[&batches[0], &batches[1]]);
        let other = mallory.batch(2, Some(batches[0].hash), "other");
        let last = mallory.batch(3, Some(other.hash), "last");
        let other = if is_signed { other } else { falsified(&other) };
        mallory.send_batches(&mut lan, &[&other, &last]);
        let forks = usize::from(is_signed);
        assert_eq!(lan.peers[alice].error_count("fork"), forks);
        assert_eq!(lan.has_closed(alice, mallory.stream), !is_signed);
        assert_eq!(lan.peers[alice].received(), ["one", "two"]);
    }
}

/// Direct messages are verified one by one: a carrier may have room for some of them only, and the
/// last one that it takes would be unverified.
#[test]
fn direct_messages_are_verified_one_by_one() {
    let (mut lan, alice, mut mallory, _) = mallory_says(9, &[]);
    let log = LogId {
        target: Target::Peer(lan.id(alice)),
        ..mallory.log()
    };
    let text = lines(&["psst"]);
    let mut batches: Vec<Batch> = Vec::new();
    for sequence in 1..=3 {
        let previous = batches.last().map(|batch| batch.hash);
        let mut draft = mallory.unsigned_batch(sequence, previous, &text);
        draft.log = log.clone();
        draft.sealed = Some("AAAA");
        batches.push(Batch::sign(&mallory.identity, &NetworkTag::OPEN, draft));
    }
    mallory.send_batches(&mut lan, &[&batches[0], &batches[1], &batches[2]]);
    let signed = [1, 2, 3].map(|sequence| (sequence, Proof::Signature));
    assert_eq!(stored(&lan, alice, &log), signed);
}

/// A store in memory can set no batch aside, so each signature is verified.
#[test]
fn an_ephemeral_peer_verifies_each_signature() {
    let mut lan = Lan::new(8);
    let alice = lan.add_peer("alice");
    lan.peers[alice].is_ephemeral = true;
    lan.start(alice);
    lan.run_for(500);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let batches = said(&mallory, &["one", "two", "three"]);
    mallory.send_batches(
        &mut lan,
        &[&batches[0], &falsified(&batches[1]), &batches[2]],
    );
    assert!(lan.has_closed(alice, mallory.stream));
    assert_eq!(lan.peers[alice].received(), ["one"]);
}
