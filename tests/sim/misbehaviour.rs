//! What keys are proved to have done wrong, and what follows.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::{Hash, NetworkTag, PeerId};
use p2pchat::base::trust::misbehaviour::Misbehaviour;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Member, Members, Message, WantEntry};

use super::hostile::messages::alice_and_mallory;
use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines};
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry, source_address};

fn counts(lan: &Lan, who: PeerIndex, of: PeerId) -> Misbehaviour {
    lan.node(who).misbehaviour(&of)
}

/// Sends a batch whose signature does not verify.
fn send_forged(lan: &mut Lan, peer: &mut ScriptedPeer, batch: &Batch) {
    let text = String::from_utf8(batch.as_bytes().to_vec()).expect("JSON");
    let forged = text.replace("forged", "FORGED");
    peer.send_frame(lan, FrameKind::Batch, forged.as_bytes());
}

/// A forged line counts for who sent it over its link, and not for the one who is said to have
/// written it.
#[test]
fn a_forged_line_counts_for_who_sent_it() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(1);
    let batch = mallory.batch(1, None, "forged");
    send_forged(&mut lan, &mut mallory, &batch);
    lan.run_for(100);
    let expected = Misbehaviour {
        violations: 1,
        ..Misbehaviour::default()
    };
    assert_eq!(counts(&lan, alice, mallory.identity.id()), expected);
}

/// Floods count once a minute: names that change all the time.
#[test]
fn a_flood_of_names_counts_once_a_minute() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(2);
    for round in 1..=2 {
        for n in 0..50 {
            let username = format!("mallory{n}");
            mallory.send(&mut lan, &Message::Profile { username });
        }
        let mut peers = [mallory];
        super::hostile::presence::run_for_a_minute(&mut lan, &mut peers);
        [mallory] = peers;
        assert_eq!(counts(&lan, alice, mallory.identity.id()).floods, round);
    }
}

/// Who is shown under many names by others has not done so itself.
#[test]
fn names_that_others_advertise_do_not_count() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(6);
    let bob = ScriptedPeer::identity(2).id();
    for n in 0..50 {
        let here = vec![Member {
            peer: bob,
            username: format!("bob{n}"),
            run: 5,
            hops: 1,
            via: None,
            await_ms: None,
        }];
        let members = Members {
            target: "#general".to_owned(),
            here,
            gone: Vec::new(),
        };
        mallory.send(&mut lan, &Message::Members(members));
    }
    let mut linked = ScriptedPeer::connect(&mut lan, alice, 2);
    let username = "bob".to_owned();
    linked.send(&mut lan, &Message::Profile { username });
    let mut peers = [mallory, linked];
    super::hostile::presence::run_for_a_minute(&mut lan, &mut peers);
    let flaps = |notice: &&Notice| matches!(notice, Notice::Flapped { peer, .. } if peer.id == bob);
    assert_eq!(lan.peers[alice].notices_of_run().filter(flaps).count(), 1);
    assert_eq!(counts(&lan, alice, bob), Misbehaviour::default());
}

/// A link whose peer reads too slowly ends. Others may have caused what it does not read, so this
/// counts for nothing.
#[test]
fn slow_reading_does_not_count() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(7);
    let stream = mallory.stream;
    lan.feed(alice, Input::Blocked { stream });
    for nonce in 0..20_000 {
        if !lan.has_closed(alice, stream) {
            mallory.send(&mut lan, &Message::Ping { nonce });
        }
    }
    assert_eq!(lan.node(alice).counters().overflowed_links, 1);
    let id = mallory.identity.id();
    assert_eq!(counts(&lan, alice, id), Misbehaviour::default());
}

/// Two signed lines under one number are a fork of their author, also if another one brings them.
#[test]
fn a_fork_counts_for_its_author() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(3);
    let first = mallory.batch(1, None, "this");
    let second = mallory.batch(1, None, "that");
    for batch in [first, second] {
        mallory.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        lan.run_for(100);
    }
    assert_eq!(counts(&lan, alice, mallory.identity.id()).forks, 1);
    assert_eq!(lan.peers[alice].error_count("fork"), 1);
}

/// Four peers of alice, of whom the first one has misbehaved and is linked again.
fn alice_and_four(seed: u64) -> (Lan, PeerIndex, Vec<ScriptedPeer>) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let batch = mallory.batch(1, None, "forged");
    send_forged(&mut lan, &mut mallory, &batch);
    let identity = ScriptedPeer::identity(1);
    let mut again = ScriptedPeer::handshake_from(&mut lan, alice, 9, identity, source_address());
    let hello = again.hello();
    again.send(&mut lan, &hello);
    let mut peers = vec![again];
    peers.extend((2..=4).map(|n| ScriptedPeer::connect(&mut lan, alice, n)));
    lan.run_for(100);
    assert_eq!(counts(&lan, alice, mallory.identity.id()).violations, 1);
    (lan, alice, peers)
}

/// Three carriers get a direct message for somebody who is away: those who have not misbehaved,
/// whoever the recipient is.
#[test]
fn who_misbehaved_is_the_last_carrier() {
    let (mut lan, alice, mut peers) = alice_and_four(4);
    for recipient in 20..28 {
        let recipient = ScriptedPeer::identity(recipient).id();
        lan.send_direct(alice, &format!("@{recipient}"), "psst");
        lan.run_for(1_000);
        let batches = peers.iter_mut().map(|peer| {
            let frames = peer.receive(&mut lan).into_iter();
            let offers = frames.filter(|frame| {
                let text = String::from_utf8_lossy(&frame.payload);
                text.contains(&recipient.to_string())
            });
            offers.count()
        });
        let is_carrier: Vec<bool> = batches.map(|count| count > 0).collect();
        assert_eq!(is_carrier, [false, true, true, true]);
    }
}

/// A log whose source stalls is requested from a neighbour that has not misbehaved, though another
/// one offers more of it.
#[test]
fn who_misbehaved_is_the_last_source() {
    let (mut lan, _, mut peers) = alice_and_four(5);
    let author = ScriptedPeer::identity(50).id();
    let offer = |high| {
        let entry = have_entry(author, 7, 1..=high, Hash([3; 32]));
        Message::Have(general_have(vec![entry]))
    };
    let is_requested = |lan: &mut Lan, peer: &mut ScriptedPeer| {
        let messages = peer.receive_messages(lan).into_iter();
        let wants = messages.flat_map(|message| match message {
            Message::Want { logs, .. } => logs,
            _ => Vec::new(),
        });
        let is_request = |want: &WantEntry| want.sender == author && want.from > 0;
        wants.into_iter().any(|want| is_request(&want))
    };
    let [mallory, carol, source, ..] = &mut peers[..] else {
        panic!("four peers");
    };
    source.send(&mut lan, &offer(1));
    assert!(is_requested(&mut lan, source));
    mallory.send(&mut lan, &offer(9));
    carol.send(&mut lan, &offer(2));
    lan.run_for(400);
    assert!(!is_requested(&mut lan, mallory));
    assert!(is_requested(&mut lan, carol));
    // As nobody else answers, it is asked at last.
    lan.run_for(5_000);
    assert!(is_requested(&mut lan, mallory));
}

/// But an offer that leaves no gap is taken before one that does, whoever makes it.
#[test]
fn no_gap_is_made_to_avoid_who_misbehaved() {
    let (mut lan, _, mut peers) = alice_and_four(8);
    let author = ScriptedPeer::identity(50);
    let [mallory, carol, source, ..] = &mut peers[..] else {
        panic!("four peers");
    };
    let lines = lines(&["one"]);
    let draft = source.unsigned_batch(1, None, &lines);
    let log = LogId {
        author: author.id(),
        ..source.log()
    };
    let batch = Batch::sign(&author, &NetworkTag::OPEN, UnsignedBatch { log, ..draft });
    let offer = |range| {
        let entry = have_entry(author.id(), 7, range, Hash([3; 32]));
        Message::Have(general_have(vec![entry]))
    };
    source.send(&mut lan, &offer(1..=2));
    source.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    carol.send(&mut lan, &offer(5..=9));
    mallory.send(&mut lan, &offer(1..=9));
    lan.run_for(400);
    let is_requested = |lan: &mut Lan, peer: &mut ScriptedPeer| {
        let mut messages = peer.receive_messages(lan).into_iter();
        messages.any(|message| matches!(message, Message::Want { .. }))
    };
    assert!(is_requested(&mut lan, mallory));
    assert!(!is_requested(&mut lan, carol));
}
