//! Hostile bytes: what no conforming peer would send, before and inside the cipher. It ends a
//! link and nothing else.
use std::net::SocketAddr;

use p2pchat::base::batch::batch::{Batch, MAX_SAFE_INTEGER};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::{Hash, Identity, NetworkTag};
use p2pchat::base::name::Room;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{ByeReason, Have, HaveEntry, Message, format_incarnation};
use p2pchat::wire::noise::{Handshake, Role, StaticKey};

use crate::batches;
use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines};
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry, open_stream};

/// Links of this node.
fn link_count(lan: &Lan, who: PeerIndex) -> usize {
    lan.peers[who]
        .node
        .as_ref()
        .map_or(0, |node| node.link_count())
}

/// Alice runs, with no other peer.
fn running_alone(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    (lan, alice)
}

/// The scripted peer speaks the real protocol: its line is stored and acknowledged. Otherwise the
/// tests below would pass for the wrong reason.
#[test]
fn a_conforming_scripted_peer_is_accepted() {
    let (mut lan, alice) = running_alone(1);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    assert_eq!(link_count(&lan, alice), 1);
    let batch = mallory.batch(1, None, "good day");
    mallory.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    assert_eq!(lan.peers[alice].received(), ["good day"]);
    let mut messages = mallory.receive_messages(&mut lan).into_iter();
    let acknowledged = |m: Message| match m {
        Message::Have(have) => have
            .logs
            .iter()
            .any(|l| l.high == 1 && l.hash == batch.hash),
        _ => false,
    };
    assert!(messages.any(acknowledged), "an acknowledgement");
}

/// At most 64 streams wait for a handshake, 5 s each; a real peer gets through while 200 silent
/// ones are open.
#[test]
fn idle_streams_do_not_keep_peers_out() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.run_for(300);
    for n in 0..200 {
        open_stream(&mut lan, alice, n);
    }
    assert_eq!(
        lan.peers[alice]
            .node
            .as_ref()
            .map(|n| n.pending_handshake_count()),
        Some(64)
    );
    lan.start(bob);
    lan.run_until_linked(alice, bob, 1_500);
    lan.run_for(6_000);
    assert_eq!(
        lan.peers[alice]
            .node
            .as_ref()
            .map(|n| n.pending_handshake_count()),
        Some(0),
        "5 s each"
    );
}

/// 64 links, and 16 more for transient peers; a peer beyond that gets `bye` with the reason
/// `full` before any hello.
#[test]
fn the_number_of_links_is_bounded() {
    let (mut lan, alice) = running_alone(13);
    for n in 0..600 {
        ScriptedPeer::connect(&mut lan, alice, n);
    }
    assert_eq!(link_count(&lan, alice), 64);
    // Transient peers have a reserve. A refused peer gets no hello, so that it is never shown as
    // joined and left.
    for n in 600..640 {
        let mut sender = ScriptedPeer::handshake(&mut lan, alice, n);
        let Message::Hello(mut hello) = sender.hello() else {
            panic!("a hello");
        };
        hello.passing = true;
        sender.send(&mut lan, &Message::Hello(hello));
    }
    assert_eq!(link_count(&lan, alice), 80);
    let mut last = ScriptedPeer::connect(&mut lan, alice, 700);
    let messages = last.receive_messages(&mut lan);
    assert!(matches!(&messages[..], [Message::Bye { reason }] if *reason == ByeReason::Full));
}

/// Bytes that are no handshake close their stream at once and do not panic.
#[test]
fn garbage_before_the_handshake_closes_the_stream() {
    let (mut lan, alice) = running_alone(3);
    for (n, garbage) in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"P2\x02\x01",
        b"P2\x01\x00",
        b"P2\x03\x00",
        b"P3\x02\x00",
        b"P2\x02\x00\xff\xff0000",
        &[0; 70_000],
    ]
    .iter()
    .enumerate()
    {
        let stream = open_stream(&mut lan, alice, n as u64);
        lan.feed(
            alice,
            Input::Bytes {
                stream,
                bytes: garbage,
            },
        );
        assert!(lan.has_closed(alice, stream), "garbage {n}");
    }
    let counters = lan.node(alice).counters();
    assert_eq!(
        (counters.failed_handshakes, counters.other_versions),
        (7, 2)
    );
}

/// A link begins with a hello that names the key of the handshake and a bounded number of rooms;
/// anything else ends it.
#[test]
fn the_first_message_must_be_a_valid_hello() {
    let (mut lan, alice) = running_alone(4);
    let mut early = ScriptedPeer::handshake(&mut lan, alice, 1);
    early.send(&mut lan, &Message::Ping { nonce: 1 });
    let mut liar = ScriptedPeer::handshake(&mut lan, alice, 2);
    let Message::Hello(mut hello) = liar.hello() else {
        panic!("a hello");
    };
    hello.sender = Identity::from_seed(&[99; 32]).id();
    liar.send(&mut lan, &Message::Hello(hello));
    let mut crowd = ScriptedPeer::handshake(&mut lan, alice, 3);
    let Message::Hello(mut hello) = crowd.hello() else {
        panic!("a hello");
    };
    hello.rooms = (0..100).map(|n| n.to_string()).collect();
    crowd.send(&mut lan, &Message::Hello(hello));
    for peer in [early, liar, crowd] {
        assert!(lan.has_closed(alice, peer.stream));
    }
    assert_eq!(link_count(&lan, alice), 0);
}

/// An oversized frame, a batch whose text was changed after signing, and a batch that is no batch
/// each end the link; nothing is shown.
#[test]
fn malformed_frames_end_the_link() {
    let (mut lan, alice) = running_alone(5);
    let mut huge = ScriptedPeer::connect(&mut lan, alice, 1);
    huge.send_plaintext(&mut lan, &[2, 0xff, 0xff, 0xff, 0xff]);
    let mut forger = ScriptedPeer::connect(&mut lan, alice, 2);
    let mut bytes = forger.batch(1, None, "I owe you 1").as_bytes().to_vec();
    let at = bytes
        .windows(11)
        .position(|w| w == b"I owe you 1")
        .expect("the text");
    bytes[at + 10] = b'9';
    forger.send_frame(&mut lan, FrameKind::Batch, &bytes);
    let mut noise = ScriptedPeer::connect(&mut lan, alice, 3);
    noise.send_frame(&mut lan, FrameKind::Batch, b"{}");
    for peer in [huge, forger, noise] {
        assert!(lan.has_closed(alice, peer.stream));
    }
    assert_eq!(link_count(&lan, alice), 0);
    assert!(lan.peers[alice].received().is_empty());
}

/// A batch of another author that was not requested from this peer is neither stored nor shown,
/// though its signature is valid.
#[test]
fn an_unrequested_batch_of_another_author_is_rejected() {
    let (mut lan, alice) = running_alone(6);
    let bob = ScriptedPeer::connect(&mut lan, alice, 1);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 2);
    mallory.send_frame(
        &mut lan,
        FrameKind::Batch,
        bob.batch(1, None, "as bob").as_bytes(),
    );
    assert!(lan.peers[alice].received().is_empty());
    assert_eq!(lan.peers[alice].disk.entries().count(), 0);
}

/// A second batch with a used number, and what is chained to it, is kept out and reported.
#[test]
fn a_fork_is_rejected_and_reported() {
    let (mut lan, alice) = running_alone(7);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let one = mallory.batch(1, None, "one");
    let two = mallory.batch(2, Some(one.hash), "two");
    let other = mallory.batch(2, Some(one.hash), "another two");
    let three = mallory.batch(3, Some(other.hash), "three, behind another two");
    for batch in [&one, &two, &other, &three] {
        mallory.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    }
    assert_eq!(lan.peers[alice].received(), ["one", "two"]);
    assert!(lan.peers[alice].error_count("fork") >= 1);
}

/// A claim to hold more of our log, or other lines of it, makes us request the lines, and changes
/// nothing else. A batch under our signature proves it: the incarnation changes, once.
#[test]
fn only_a_signed_batch_changes_the_incarnation() {
    // Another first line, and lines that alice has not published.
    for high in [1, 50] {
        let (mut lan, alice) = running_alone(8);
        lan.say(alice, "one");
        let log = lan.first_log(alice);
        let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
        let entry = have_entry(log.author, log.incarnation, 1..=high, Hash([3; 32]));
        let claim = Message::Have(general_have(vec![entry]));
        mallory.send(&mut lan, &claim);
        lan.run_for(1_000);
        let mut messages = mallory.receive_messages(&mut lan).into_iter();
        assert!(messages.any(|message| matches!(message, Message::Want { .. })));
        lan.say(alice, "two");
        assert_eq!(lan.peers[alice].error_count("incarnation"), 0);
        assert_eq!(lan.peers[alice].disk.ranges(&Room::general()).len(), 1);
    }

    // Another peer holds a second line that alice signed.
    let mut lan = Lan::new(9);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    lan.say(alice, "one");
    let log = lan.first_log(alice);
    let range = lan.peers[alice].disk.ranges(&Room::general()).remove(0);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    let text = lines(&["two"]);
    let draft = UnsignedBatch {
        log: log.clone(),
        lamport: range.lamport + 1,
        ..carol.unsigned_batch(2, Some(range.hash), &text)
    };
    let identity = Identity::from_seed(&lan.peers[alice].identity_seed);
    let batch = Batch::sign(&identity, &NetworkTag::OPEN, draft);
    let entry = have_entry(log.author, log.incarnation, 1..=2, batch.hash);
    carol.send(&mut lan, &Message::Have(general_have(vec![entry])));
    assert_eq!(lan.peers[alice].error_count("incarnation"), 0);
    carol.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    assert_eq!(lan.peers[alice].error_count("incarnation"), 1);
    lan.say(alice, "three");
    let ranges = lan.peers[alice].disk.ranges(&Room::general());
    assert_eq!(ranges.len(), 2);
    assert!(
        ranges
            .iter()
            .any(|range| range.log == log && range.high == 2)
    );
}

/// The store keeps one batch a line: correctly signed JSON with a line break between fields is no
/// batch.
#[test]
fn a_batch_with_a_line_break_is_rejected() {
    let (mut lan, alice) = running_alone(16);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    // Valid JSON, correctly signed by its author.
    let said = mallory.batch(1, None, "one");
    let parts = batches::parts(&said);
    let signed = |mallory: &ScriptedPeer, header: &str| {
        batches::signed(&mallory.identity, header, &parts.content, &parts.salt).into_bytes()
    };
    assert_eq!(signed(&mallory, &parts.header), said.as_bytes());
    let header = parts.header.replacen(",\"target\"", ",\n\"target\"", 1);
    let bytes = signed(&mallory, &header);
    mallory.send_frame(&mut lan, FrameKind::Batch, &bytes);
    assert_eq!(lan.peers[alice].disk.entries().count(), 0);
    assert_eq!(link_count(&lan, alice), 0, "an invalid batch ends the link");
}

/// A line whose logical clock is near 2^53 is shown, and moves our clock by a bounded step only:
/// it cannot use up the numbers of later lines.
#[test]
fn a_lamport_clock_far_ahead_is_followed_in_bounded_steps() {
    let mut lan = Lan::new(17);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.say(alice, "before");
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let text = lines(&["far"]);
    let draft = UnsignedBatch {
        lamport: MAX_SAFE_INTEGER - 4096,
        ..mallory.unsigned_batch(1, None, &text)
    };
    let far = Batch::sign(&mallory.identity, &NetworkTag::OPEN, draft);
    mallory.send_frame(&mut lan, FrameKind::Batch, far.as_bytes());
    assert_eq!(lan.peers[alice].received(), ["far"]);
    lan.stop(alice);
    lan.start(alice);
    lan.start(bob);
    lan.say(alice, "after");
    lan.run_until("bob has it", 5_000, |lan| {
        lan.peers[bob].received().contains(&"after".to_owned())
    });
    let bobs = lan.node(bob).counters();
    assert_eq!(bobs.broken_links, 0);
    let clock = lan.peers[alice].disk.ranges(&Room::general());
    let own = lan.id(alice);
    let own = clock.iter().find(|range| range.log.author == own);
    assert!(
        own.is_some_and(|range| range.lamport < (1 << 52) + (1 << 22)),
        "{own:?}"
    );
}

/// `have` entries with impossible numbers cause no request and no overflow.
#[test]
fn out_of_range_have_entries_are_ignored() {
    let (mut lan, alice) = running_alone(18);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let other = Identity::from_seed(&[9; 32]).id();
    for (sender, low, high, complete_from) in [
        (mallory.identity.id(), 1, u64::MAX, 1),
        (other, 0, u64::MAX, 1),
        (other, 7, 6, 1),
        (mallory.identity.id(), 1, 6, 0),
        (mallory.identity.id(), 1, 6, 8),
        (mallory.identity.id(), 1, 6, u64::MAX),
    ] {
        let entry = HaveEntry {
            sender,
            incarnation: format_incarnation(7),
            low,
            high,
            hash: Hash([3; 32]),
            complete_from,
            read: 0,
            holder: None,
            signature: None,
        };
        let have = Message::Have(general_have(vec![entry]));
        mallory.send(&mut lan, &have);
    }
    lan.run_for(1_000);
    let messages = mallory.receive_messages(&mut lan).into_iter();
    let requested = messages.filter(|message| matches!(message, Message::Want { .. }));
    assert_eq!(requested.count(), 0);
}

/// Messages queue for a peer that offers logs and does not read; at the bound its link ends.
#[test]
fn a_peer_that_never_reads_is_closed() {
    let (mut lan, alice) = running_alone(9);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    for round in 0..300 {
        let logs = (0..256)
            .map(|n| have_entry(mallory.identity.id(), round * 256 + n, 1..=5, Hash([3; 32])));
        let have = Message::Have(general_have(logs.collect()));
        mallory.send(&mut lan, &have);
        if round == 0 {
            let stream = mallory.stream;
            lan.feed(alice, Input::Blocked { stream });
        }
    }
    assert!(
        lan.has_closed(alice, mallory.stream),
        "a peer that does not read is closed"
    );
    assert_eq!(lan.node(alice).counters().overflowed_links, 1);
}

/// A copy of `model` with a few random insertions, deletions and changes.
fn mutate(lan: &mut Lan, model: &[u8]) -> Vec<u8> {
    let mut bytes = model.to_vec();
    for _ in 0..=lan.random(4) {
        let at = lan.random(bytes.len() as u64 + 1) as usize;
        let byte = lan.random(256) as u8;
        match lan.random(4) {
            0 => bytes.insert(at, byte),
            1 => bytes.truncate(at),
            2 if at < bytes.len() => bytes[at] = byte,
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => bytes.push(byte),
        }
    }
    bytes
}

/// Foreign bytes never panic: mutated beacons are ignored, and the real one is still found.
#[test]
fn random_datagrams_do_no_harm() {
    let mut lan = Lan::new(10);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[bob].beacons_enabled = false;
    lan.start(alice);
    let beacon = lan.last_beacon.clone();
    lan.start(bob);
    let source = SocketAddr::from(([10, 0, 0, 1], 40_000));
    for _ in 0..4_000 {
        let bytes = mutate(&mut lan, &beacon);
        let interface = 1;
        lan.feed(
            bob,
            Input::Datagram {
                interface,
                source,
                bytes: &bytes,
            },
        );
        lan.run_for(1);
    }
    let wrong = mutate(&mut lan, &[7; 3000]);
    lan.feed(
        bob,
        Input::Datagram {
            interface: 9,
            source,
            bytes: &wrong,
        },
    );
    lan.run_until_linked(alice, bob, 90_000);
}

/// Foreign bytes never panic: mutated handshakes, in pieces of any size, end their stream and
/// form no link.
#[test]
fn random_handshakes_do_no_harm() {
    let (mut lan, alice) = running_alone(11);
    let identity = Identity::from_seed(&[9; 32]);
    for n in 0..1_000 {
        let stream = open_stream(&mut lan, alice, n);
        let mut model = Vec::new();
        Handshake::new(
            Role::Initiator,
            &StaticKey::new(&identity.noise_secret()),
            None,
            [1; 32],
            &mut model,
        )
        .expect("a handshake");
        let bytes = mutate(&mut lan, &model);
        for piece in bytes.chunks(1 + n as usize % 50) {
            lan.feed(
                alice,
                Input::Bytes {
                    stream,
                    bytes: piece,
                },
            );
        }
        lan.run_for(20);
    }
    assert_eq!(link_count(&lan, alice), 0);
}

/// Foreign bytes never panic: mutated messages and batches inside the cipher end their link at
/// most, and the node stays able to publish.
#[test]
fn random_encrypted_messages_do_no_harm() {
    let (mut lan, alice) = running_alone(12);
    lan.say(alice, "a line");
    let own = lan.peers[alice].disk.ranges(&Room::general())[0].clone();
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let mut broken = 0;
    for n in 0..3_000 {
        if lan.has_closed(alice, mallory.stream) {
            broken += 1;
            mallory = ScriptedPeer::connect(&mut lan, alice, 1 + broken % 100);
            lan.closed_external_streams.remove(&(alice, mallory.stream));
        }
        let entry = format!(
            "{{\"type\":\"have\",\"target\":\"#general\",\"logs\":[\
             {{\"sender\":\"{}\",\"incarnation\":\"{:016x}\",\"high\":{n},\"hash\":\"{}\"}}]}}",
            own.log.author, own.log.incarnation, own.hash
        );
        let want = format!(
            "{{\"type\":\"want\",\"target\":\"#general\",\"logs\":[\
             {{\"sender\":\"{}\",\"incarnation\":\"{:016x}\",\"from\":{n}}}]}}",
            own.log.author, own.log.incarnation
        );
        let hello = mallory.hello().encode();
        let batch = mallory.batch(1 + n % 7, (n % 7 > 0).then_some(own.hash), "x");
        let (kind, model) = match lan.random(4) {
            0 => (FrameKind::Message, entry.as_bytes()),
            1 => (FrameKind::Message, want.as_bytes()),
            2 => (FrameKind::Message, &hello[..]),
            _ => (FrameKind::Batch, batch.as_bytes()),
        };
        let bytes = match lan.chance(700) {
            true => mutate(&mut lan, model),
            false => model.to_vec(),
        };
        mallory.send_frame(&mut lan, kind, &bytes);
        lan.run_for(10);
    }
    lan.say(alice, "still here");
    assert!(lan.peers[alice].disk.entries().count() >= 3);
}

/// A digest that never matches is answered at most once in five seconds: each answer reads all logs
/// of the room. The last digest is answered, too.
#[test]
fn full_digests_are_answered_every_five_seconds() {
    let (mut lan, alice) = running_alone(15);
    let mut author = ScriptedPeer::connect(&mut lan, alice, 1);
    let batch = author.batch(1, None, "good day");
    author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    lan.run_for(2_000);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 2);
    let ask = Message::Have(Have {
        target: "#general".into(),
        digest: Some("another".into()),
        ..Have::default()
    });
    let answers = |lan: &mut Lan, mallory: &mut ScriptedPeer| {
        let messages = mallory.receive_messages(lan).into_iter();
        let answers = |message: &Message| match message {
            Message::Have(have) => have.logs.iter().any(|log| log.hash == batch.hash),
            _ => false,
        };
        messages.filter(answers).count()
    };
    mallory.send(&mut lan, &ask);
    assert_eq!(answers(&mut lan, &mut mallory), 1, "at once");
    for _ in 0..600 {
        mallory.send(&mut lan, &ask);
        lan.run_for(10);
    }
    assert_eq!(answers(&mut lan, &mut mallory), 1, "in 6 s");
    lan.run_for(5_000);
    assert!(answers(&mut lan, &mut mallory) > 0, "afterwards");
}

/// A digest that is longer than any digest is ignored. Kept until it is answered, it would take
/// memory.
#[test]
fn a_digest_that_is_too_long_is_ignored() {
    let (mut lan, alice) = running_alone(16);
    let mut author = ScriptedPeer::connect(&mut lan, alice, 1);
    let batch = author.batch(1, None, "good day");
    author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    lan.run_for(2_000);
    for (length, is_answered) in [(32, true), (33, false)] {
        let mut mallory = ScriptedPeer::connect(&mut lan, alice, length);
        mallory.receive_messages(&mut lan);
        let ask = Message::Have(Have {
            target: "#general".into(),
            digest: Some("x".repeat(length as usize)),
            ..Have::default()
        });
        mallory.send(&mut lan, &ask);
        let messages = mallory.receive_messages(&mut lan).into_iter();
        let is_offer = |message: &Message| match message {
            Message::Have(have) => have.logs.iter().any(|log| log.hash == batch.hash),
            _ => false,
        };
        assert_eq!(
            messages.filter(is_offer).count() > 0,
            is_answered,
            "{length}"
        );
    }
}
