//! Claims of a linked peer that cost us something: requests for evidence, acknowledgements of no
//! line, forks and logs without end.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::{Hash, NetworkTag, PeerId};
use p2pchat::base::name::{FolderName, Room, Target};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Have, HaveEntry, Message, WantEntry, format_incarnation};
use p2pchat::wire::sealed;

use crate::support::lan::Lan;
use crate::support::peer::lines;
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

fn send_batch(lan: &mut Lan, peer: &mut ScriptedPeer, batch: &Batch) {
    peer.send_frame(lan, FrameKind::Batch, batch.as_bytes());
}

fn send_entry(lan: &mut Lan, peer: &mut ScriptedPeer, entry: HaveEntry) {
    peer.send(lan, &Message::Have(general_have(vec![entry])));
}

/// The first lines of the node's requests since the last call.
fn requested_lines(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<u64> {
    let messages = peer.receive_messages(lan).into_iter();
    let wants = messages.filter_map(|message| match message {
        Message::Want { logs, .. } => Some(logs),
        _ => None,
    });
    wants.flatten().map(|want| want.from).collect()
}

/// A peer that has evicted the batch which may prove a fork can no longer send it. Its later lines
/// are requested all the same.
#[test]
fn an_evicted_proof_does_not_block_a_log() {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
    let first = bob.batch(1, None, "one");
    send_batch(&mut lan, &mut bob, &first);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    let have = |lines, hash| have_entry(bob.identity.id(), 7, lines, hash);
    send_entry(&mut lan, &mut carol, have(1..=1, Hash([3; 32])));
    assert_eq!(requested_lines(&mut lan, &mut carol), [1], "the proof");
    send_entry(&mut lan, &mut carol, have(2..=3, Hash([4; 32])));
    lan.run_for(2_000);
    assert_eq!(requested_lines(&mut lan, &mut carol), [0, 2]);
}

/// Nobody stores line 0. An acknowledgement of it does not make us compare lines, nor renew our
/// numbers.
#[test]
fn an_acknowledgement_of_line_0_is_ignored() {
    let mut lan = Lan::new(2);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for text in ["one", "two"] {
        lan.say(alice, text);
    }
    let own = lan.peers[alice].disk.ranges(&Room::general()).remove(0).log;
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    let entry = have_entry(own.author, own.incarnation, 0..=0, Hash([3; 32]));
    send_entry(&mut lan, &mut liar, entry);
    let want = WantEntry {
        sender: own.author,
        incarnation: format_incarnation(own.incarnation),
        from: 1,
        to: 0,
    };
    let (target, logs) = ("#general".to_owned(), vec![want]);
    liar.send(&mut lan, &Message::Want { target, logs });
    lan.run_for(1_000);
    assert_eq!(lan.peers[alice].error_count("incarnation"), 0);
}

/// A batch of one line that begins a log of the peer.
fn first_batch(peer: &ScriptedPeer, log: LogId, lamport: u64, text: &str) -> Batch {
    let lines = lines(&[text]);
    let draft = UnsignedBatch {
        log,
        lamport,
        ..peer.unsigned_batch(1, None, &lines)
    };
    Batch::sign(&peer.identity, &NetworkTag::OPEN, draft)
}

/// A batch of these lines of a direct log of the peer, signed by `signer`.
fn direct_batch(
    peer: &ScriptedPeer,
    signer: &ScriptedPeer,
    log: &LogId,
    previous: Option<&Batch>,
    texts: &[&str],
) -> Batch {
    let lines = lines(texts);
    let sequence = previous.map_or(1, |previous| previous.last_sequence() + 1);
    let sealed = sealed::seal([5; 32], &NetworkTag::OPEN, log, sequence, &lines);
    let draft = UnsignedBatch {
        log: log.clone(),
        lamport: 100 * sequence + log.incarnation,
        sealed: sealed.as_deref(),
        ..peer.unsigned_batch(sequence, previous.map(|previous| previous.hash), &lines)
    };
    Batch::sign(&signer.identity, &NetworkTag::OPEN, draft)
}

/// A peer that forks log after log is reported a bounded number of times.
#[test]
fn reports_of_forks_are_bounded() {
    let mut lan = Lan::new(3);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    for incarnation in 1..=300 {
        for text in ["one", "other"] {
            let log = LogId {
                incarnation,
                ..liar.log()
            };
            let batch = first_batch(&liar, log, incarnation, text);
            send_batch(&mut lan, &mut liar, &batch);
        }
    }
    assert_eq!(lan.peers[alice].error_count("fork"), 256);
}

/// A direct log of the peer.
fn direct_log(peer: &ScriptedPeer, recipient: PeerId, incarnation: u64) -> LogId {
    LogId {
        target: Target::Peer(recipient),
        author: peer.identity.id(),
        incarnation,
    }
}

/// A read mark ends with its log: when an evicted log comes back, none of its lines is read.
#[test]
fn a_read_mark_ends_with_its_log() {
    let mut lan = Lan::new(4);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
    let log = direct_log(&bob, lan.id(alice), 1);
    let read_marks = |lan: &mut Lan, bob: &mut ScriptedPeer| -> Vec<u64> {
        lan.run_for(1_000);
        let entries = bob.receive_messages(lan).into_iter();
        let entries = entries.filter_map(|message| match message {
            Message::Have(have) => Some(have.logs),
            _ => None,
        });
        let of_log = |entry: &HaveEntry| entry.incarnation == format_incarnation(1);
        let entries = entries.flatten().filter(of_log);
        entries.map(|entry| entry.read).collect()
    };
    let first = direct_batch(&bob, &bob, &log, None, &["psst"]);
    send_batch(&mut lan, &mut bob, &first);
    let mark = Command::MarkRead {
        log: log.clone(),
        sequence: 1,
    };
    lan.feed(alice, Input::Command(mark));
    assert_eq!(read_marks(&mut lan, &mut bob).last(), Some(&1));
    // Newer logs evict this one.
    for incarnation in 2..=65 {
        let log = direct_log(&bob, lan.id(alice), incarnation);
        let batch = direct_batch(&bob, &bob, &log, None, &["psst"]);
        send_batch(&mut lan, &mut bob, &batch);
    }
    let stored = lan.node(alice).frontier(&FolderName::direct());
    assert!(stored.iter().all(|range| range.log != log), "it is evicted");
    read_marks(&mut lan, &mut bob);
    let second = direct_batch(&bob, &bob, &log, Some(&first), &["again"]);
    let have = Have {
        target: log.target.to_string(),
        logs: vec![have_entry(log.author, 1, 2..=2, second.hash)],
        ..Have::default()
    };
    bob.send(&mut lan, &Message::Have(have));
    send_batch(&mut lan, &mut bob, &second);
    assert_eq!(read_marks(&mut lan, &mut bob), [0]);
}

/// Before its signature is verified, a batch costs little: one that a full carrier would drop ends
/// the link if it is forged.
#[test]
fn a_full_carrier_verifies_before_it_counts() {
    let mut lan = Lan::new(5);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
    let carol = ScriptedPeer::connect(&mut lan, alice, 3);
    let log = direct_log(&bob, ScriptedPeer::identity(2).id(), 1);
    let first = direct_batch(&bob, &bob, &log, None, &["psst"; 1_000]);
    send_batch(&mut lan, &mut bob, &first);
    assert_eq!(lan.peers[alice].carried_line_count(), 1_000);
    let signed = direct_batch(&bob, &bob, &log, Some(&first), &["psst"]);
    let forged = direct_batch(&bob, &carol, &log, Some(&first), &["psst"]);
    send_batch(&mut lan, &mut bob, &signed);
    assert_eq!(lan.peers[alice].carried_line_count(), 1_000, "it is full");
    assert!(!lan.has_closed(alice, bob.stream));
    send_batch(&mut lan, &mut bob, &forged);
    assert!(lan.has_closed(alice, bob.stream));
}
