//! Hostile peers: they complete the handshake, keep the protocol or nearly, and mean harm.
use std::net::SocketAddr;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{ByeReason, HaveEntry, Message, format_incarnation, receipt};

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{PeerIndex, lines};
use crate::support::scripted_peer::{
    ScriptedPeer, general_have, have_entry, open_stream, open_stream_from, range_of_one_line,
};

/// A hundred silent streams from others leave room for our own dials.
#[test]
fn idle_streams_do_not_keep_us_from_dialing() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[bob].beacons_enabled = false;
    lan.start(alice);
    lan.start(bob);
    for n in 0..100 {
        open_stream(&mut lan, alice, n);
    }
    let bobs = lan.address(bob);
    lan.add_static_peer(alice, bobs);
    lan.run_until_linked(alice, bob, 100);
}

/// All neighbours have link-local addresses of one IPv6 subnet. A flood of streams from one of them
/// ends none of another's.
#[test]
fn streams_of_one_link_local_neighbour_close_its_own_only() {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let neighbour = |n| SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, n], 5000));
    let bobs = open_stream_from(&mut lan, alice, 1, neighbour(1));
    for n in 2..200 {
        open_stream_from(&mut lan, alice, n, neighbour(2));
    }
    assert!(!lan.closed_external_streams.contains(&(alice, bobs)));
}

/// A send does not wait for an incoming stream that never shakes hands.
#[test]
fn a_send_ignores_idle_incoming_streams() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    open_stream(&mut lan, alice, 1);
    lan.say(alice, "hello");
    lan.finish(alice, None);
    lan.run_until("it is settled", 100, |lan| lan.peers[alice].is_settled());
}

/// A send waits more than 1 s for a static peer that may still answer, and less than 2.5 s for
/// one that does not.
#[test]
fn a_send_waits_a_bounded_time_for_an_unanswered_dial() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    lan.add_static_peer(alice, SocketAddr::from(([10, 0, 9, 9], 9999)));
    lan.say(alice, "hello");
    lan.finish(alice, None);
    lan.run_for(1_000);
    assert!(
        !lan.peers[alice].is_settled(),
        "the address may still answer"
    );
    lan.run_until("it is settled", 1_500, |lan| lan.peers[alice].is_settled());
}

/// `--peer ID@HOST` admits only that key: another peer at the address is reported once and gets
/// no link, and the right one is found at its own address.
#[test]
fn a_wrong_key_at_a_static_peer_is_reported_and_not_linked() {
    let mut lan = Lan::new(4);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    for who in [alice, bob, carol] {
        lan.peers[who].beacons_enabled = false;
        lan.start(who);
    }
    let (bobs, carols) = (lan.address(bob), lan.address(carol));
    // Of the addresses in a peer code, some may belong to others.
    let id = lan.id(carol);
    lan.add_candidate(alice, bobs, Some(id));
    lan.add_candidate(alice, carols, Some(id));
    lan.run_until_linked(alice, carol, 100);
    let known = &lan.peers[alice].known_peers;
    assert!(known.iter().any(|known| known.id == id && known.is_bound()));
    lan.run_for(10_000);
    assert_eq!(lan.peers[alice].error_count("key"), 0);
    lan.stop(carol);
    lan.run_for(200_000);
    assert_eq!(lan.peers[alice].error_count("key"), 1, "once");
    assert!(!lan.are_linked(alice, bob));
    assert!(
        lan.peers[bob].notices_of_run().count() == 0,
        "bob saw nobody"
    );
    lan.start(carol);
    lan.run_until_linked(alice, carol, REDIAL_MS);
}

/// Announces another name.
fn rename(lan: &mut Lan, liar: &mut ScriptedPeer, name: &str) {
    let username = name.into();
    liar.send(lan, &Message::Profile { username });
}

/// How often another key for a known name was reported.
fn key_mismatches(lan: &Lan, who: PeerIndex) -> usize {
    let other = |n: &&Notice| matches!(n, Notice::KeyMismatch { .. });
    lan.peers[who].notices_of_run().filter(other).count()
}

/// A peer that tries a thousand names, or a thousand keys with a name each, does not push known
/// names out: taking one is still reported, once.
#[test]
fn many_names_do_not_evict_a_bound_name() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    for n in 0..1_100 {
        rename(&mut lan, &mut liar, &format!("name-{n}"));
    }
    assert!(
        lan.peers[alice].known_peers.len() < 20,
        "few names of one key"
    );
    assert_eq!(key_mismatches(&lan, alice), 0);
    for _ in 0..2 {
        rename(&mut lan, &mut liar, "bob");
        assert_eq!(key_mismatches(&lan, alice), 1, "once");
        rename(&mut lan, &mut liar, "harmless");
    }
    // A thousand keys, each with a name of its own.
    for n in 2..1_200 {
        let mut other = ScriptedPeer::handshake(&mut lan, alice, n);
        let Message::Hello(mut hello) = other.hello() else {
            panic!("a hello");
        };
        hello.username = format!("mallory-{n}");
        other.send(&mut lan, &Message::Hello(hello));
        let reason = ByeReason::Leave;
        other.send(&mut lan, &Message::Bye { reason });
    }
    assert!(lan.peers[alice].known_peers.len() < 1_100);
    let mut last = ScriptedPeer::connect(&mut lan, alice, 2_000);
    let before = key_mismatches(&lan, alice);
    rename(&mut lan, &mut last, "bob");
    assert_eq!(key_mismatches(&lan, alice), before + 1);
}

/// More invented names than a run records do not switch off the warning: whoever takes the name of
/// a peer that came after them is still reported.
#[test]
fn many_names_do_not_end_the_warnings() {
    let mut lan = Lan::new(13);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    for n in 2..1_200 {
        let mut other = ScriptedPeer::connect(&mut lan, alice, n);
        rename(&mut lan, &mut other, &format!("mallory-{n}"));
        let reason = ByeReason::Leave;
        other.send(&mut lan, &Message::Bye { reason });
    }
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    lan.stop(bob);
    lan.run_for(1_000);
    for n in 2_000..2_100 {
        let mut other = ScriptedPeer::connect(&mut lan, alice, n);
        rename(&mut lan, &mut other, &format!("mallory-{n}"));
        let reason = ByeReason::Leave;
        other.send(&mut lan, &Message::Bye { reason });
    }
    let mut impostor = ScriptedPeer::connect(&mut lan, alice, 3_000);
    let before = key_mismatches(&lan, alice);
    rename(&mut lan, &mut impostor, "bob");
    assert_eq!(key_mismatches(&lan, alice), before + 1);
    assert!(lan.peers[alice].known_peers.len() < 1_100);
}

/// A peer that cycles through the names of others causes at most 8 warnings, then is shown
/// without a name.
#[test]
fn a_peer_that_takes_many_names_gets_a_placeholder() {
    let mut lan = Lan::new(6);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for n in 0..20 {
        let mut other = ScriptedPeer::connect(&mut lan, alice, n);
        rename(&mut lan, &mut other, &format!("friend-{n}"));
    }
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 100);
    let before = key_mismatches(&lan, alice);
    let cycle = |lan: &mut Lan, liar: &mut ScriptedPeer| {
        (0..20).for_each(|n| rename(lan, liar, &format!("friend-{n}")));
    };
    cycle(&mut lan, &mut liar);
    let last = lan.peers[alice].notices_of_run().last();
    let Some(Notice::Renamed { peer, .. }) = last else {
        panic!("{last:?}");
    };
    assert_eq!(
        peer.nick,
        Nick::new_or_placeholder(""),
        "it bears none of the names"
    );
    (0..50).for_each(|_| cycle(&mut lan, &mut liar));
    assert!(key_mismatches(&lan, alice) - before <= 8);
}

/// So is one that only visits, and types under each of these names.
#[test]
fn a_visitor_that_takes_many_names_gets_a_placeholder() {
    let mut lan = Lan::new(7);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for n in 0..20 {
        let mut other = ScriptedPeer::connect(&mut lan, alice, n);
        rename(&mut lan, &mut other, &format!("friend-{n}"));
    }
    let mut visitor = ScriptedPeer::handshake(&mut lan, alice, 100);
    let Message::Hello(mut hello) = visitor.hello() else {
        panic!("no hello");
    };
    (hello.passing, hello.ephemeral) = (true, true);
    visitor.send(&mut lan, &Message::Hello(hello));
    for n in 0..20 {
        rename(&mut lan, &mut visitor, &format!("friend-{n}"));
        let target = "#general".to_owned();
        visitor.send(&mut lan, &Message::Typing { target });
    }
    let id = visitor.identity.id();
    lan.feed(alice, Input::Command(Command::Peers));
    let Some(Notice::Peers(rows)) = lan.peers[alice].notices_of_run().last() else {
        panic!("no peers");
    };
    let shown = rows.iter().find(|row| row.peer.id == id);
    let shown = shown.map(|row| row.peer.nick.clone());
    assert_eq!(shown, Some(Nick::new_or_placeholder("")));
}

/// A log in #general.
fn room_log(author: PeerId, incarnation: u64) -> LogId {
    LogId {
        target: Target::Room(Room::general()),
        author,
        incarnation,
    }
}

/// The logs of #general that the node holds.
fn frontier(lan: &Lan, who: PeerIndex) -> Vec<LogRange> {
    let node = lan.node(who);
    let ranges = node.frontier(&FolderName::from(&Room::general()));
    ranges.into_iter().map(Arc::unwrap_or_clone).collect()
}

/// Publishes the first line of a log of the scripted peer.
pub fn begin_log(lan: &mut Lan, liar: &mut ScriptedPeer, incarnation: u64, lamport: u64) {
    let text = lines(&[&format!("log {incarnation}")]);
    let draft = UnsignedBatch {
        log: room_log(liar.identity.id(), incarnation),
        lamport,
        ..liar.unsigned_batch(1, None, &text)
    };
    let batch = Batch::sign(&liar.identity, &NetworkTag::OPEN, draft);
    liar.send_frame(lan, FrameKind::Batch, batch.as_bytes());
}

/// Logs of one author in a room are bounded: the 64 newest are kept, older ones do not come back,
/// and other authors lose nothing.
#[test]
fn the_64_newest_logs_of_an_author_are_kept() {
    let mut lan = Lan::new(7);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 2);
    for n in 1..=100 {
        begin_log(&mut lan, &mut liar, n, n);
    }
    assert_eq!(frontier(&lan, alice).len(), 64);
    assert_eq!(lan.peers[alice].received().len(), 100);
    // Forgotten logs do not come back.
    for n in 1..=36 {
        begin_log(&mut lan, &mut liar, n, n);
    }
    assert_eq!(lan.peers[alice].received().len(), 100);
    assert_eq!(lan.peers[alice].error_count("logs"), 1);
    begin_log(&mut lan, &mut bob, 1, 1);
    assert_eq!(frontier(&lan, alice).len(), 65);
    // Each forgotten line is shown as a gap, once.
    assert_eq!(gaps(&lan, alice), (1..=36).collect::<Vec<u64>>());
}

/// The first lines that the node requests of the peer's logs since the last call, with the logs'
/// incarnations. Line 0: it requests the log no longer.
fn requested_lines(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<(String, u64)> {
    let messages = peer.receive_messages(lan).into_iter();
    let wants = messages.filter_map(|message| match message {
        Message::Want { logs, .. } => Some(logs),
        _ => None,
    });
    let wants = wants.flatten();
    wants.map(|want| (want.incarnation, want.from)).collect()
}

/// A log that is forgotten for room is requested no longer. Its author offers the next lines, and
/// they are requested anew: otherwise they would be no continuation of anything.
#[test]
fn a_forgotten_log_is_requested_anew() {
    let mut lan = Lan::new(14);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    let first = liar.batch(1, None, "one");
    let log = format_incarnation(first.log.incarnation);
    let mut range = range_of_one_line(liar.log(), first.hash, 1);
    send_have(&mut lan, &mut liar, &range);
    assert_eq!(requested_lines(&mut lan, &mut liar), [(log.clone(), 1)]);
    liar.send_frame(&mut lan, FrameKind::Batch, first.as_bytes());
    for n in 101..=164 {
        begin_log(&mut lan, &mut liar, n, n);
    }
    let stored = frontier(&lan, alice);
    assert!(stored.iter().all(|range| range.log != liar.log()));
    assert_eq!(requested_lines(&mut lan, &mut liar), [(log.clone(), 0)]);
    let text = lines(&["two"]);
    let draft = UnsignedBatch {
        lamport: 1_000,
        ..liar.unsigned_batch(2, Some(first.hash), &text)
    };
    let second = Batch::sign(&liar.identity, &NetworkTag::OPEN, draft);
    (range.low, range.high, range.hash) = (2, 2, second.hash);
    send_have(&mut lan, &mut liar, &range);
    assert_eq!(requested_lines(&mut lan, &mut liar), [(log, 2)]);
    liar.send_frame(&mut lan, FrameKind::Batch, second.as_bytes());
    let received = lan.peers[alice].received();
    assert_eq!(received.last().map(String::as_str), Some("two"));
}

/// The incarnations of the logs of which line 1 was shown as a gap.
fn gaps(lan: &Lan, who: PeerIndex) -> Vec<u64> {
    let gap = |notice: &Notice| match notice {
        Notice::Gap {
            incarnation,
            from: 1,
            to: 1,
            ..
        } => Some(*incarnation),
        _ => None,
    };
    lan.peers[who].notices_of_run().filter_map(gap).collect()
}

/// A room at the bound of its log table, filled by one author or by many, still accepts and shows
/// a line of a new author.
#[test]
fn a_full_log_table_still_accepts_new_lines() {
    for many in [false, true] {
        let mut lan = Lan::new(8);
        let alice = lan.add_peer("alice");
        lan.peers[alice].startup_rooms.clear();
        lan.start(alice);
        let ranges = (0..20_000u64).map(|n| {
            let mut id = [9; 32];
            if many {
                id[..8].copy_from_slice(&n.to_be_bytes());
            }
            range_of_one_line(room_log(PeerId(id), n), Hash([3; 32]), 1 + n)
        });
        let opened = Input::FolderOpened {
            folder: FolderName::from(&Room::general()),
            ranges: ranges.collect(),
            existed: true,
        };
        lan.peers[alice].disk.create_folder(&Room::general());
        lan.open_reader(alice, &Room::general());
        lan.feed(alice, opened);
        let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
        begin_log(&mut lan, &mut bob, 1, 1);
        assert_eq!(lan.peers[alice].received(), ["log 1"]);
        assert_eq!(frontier(&lan, alice).len(), 20_000);
        assert_eq!(lan.peers[alice].error_count("logs"), 1);
        // The oldest log of those who count least is gone, and shown as a gap.
        assert_eq!(gaps(&lan, alice), [0]);
    }
}

/// Exit statuses are truthful: five thousand receipts signed by invented keys do not settle a
/// send, nor displace the true receipt.
#[test]
fn receipts_of_unseen_keys_do_not_count() {
    let mut lan = Lan::new(9);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[alice].transient = true;
    lan.start(alice);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    lan.say(alice, "hello");
    let need = Some(3);
    lan.finish(alice, need);
    let own = frontier(&lan, alice).remove(0);
    for n in 0..5_000u32 {
        let mut seed = [77; 32];
        seed[..4].copy_from_slice(&n.to_be_bytes());
        let holder = Identity::from_seed(&seed);
        let signed = receipt(&NetworkTag::OPEN, &own.log, 1, own.high, &own.hash);
        let signature = BASE64URL_NOPAD.encode(&holder.sign(&signed.0));
        let entry = HaveEntry {
            sender: own.log.author,
            incarnation: format_incarnation(own.log.incarnation),
            low: 1,
            high: own.high,
            hash: own.hash,
            complete_from: 1,
            read: 0,
            holder: Some(holder.id()),
            signature: Some(signature),
        };
        let have = Message::Have(general_have(vec![entry]));
        liar.send(&mut lan, &have);
    }
    assert!(!lan.peers[alice].is_settled(), "no peer holds the line");
    lan.start(bob);
    lan.run_for(1_000);
    let delivered =
        |n: &&Notice| matches!(n, Notice::Delivered { peer, .. } if peer.id == lan.id(bob));
    assert_eq!(
        lan.peers[alice].notices_of_run().filter(delivered).count(),
        1
    );
}

/// The scripted peer claims to hold this range.
fn send_have(lan: &mut Lan, holder: &mut ScriptedPeer, range: &LogRange) {
    let entry = have_entry(
        range.log.author,
        range.log.incarnation,
        range.low..=range.high,
        range.hash,
    );
    let have = Message::Have(general_have(vec![entry]));
    holder.send(lan, &have);
}

/// Claims are not facts: a foreign hash in a `have` accuses nobody; the batch is requested, and
/// only one signed by the author is reported as a fork.
#[test]
fn a_fork_is_reported_only_on_proof() {
    let mut lan = Lan::new(10);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    lan.say(bob, "hello");
    lan.run_for(50);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    let mut range = frontier(&lan, alice).remove(0);
    assert_eq!(range.log.author, lan.id(bob));
    range.hash = Hash([3; 32]);
    send_have(&mut lan, &mut liar, &range);
    send_have(&mut lan, &mut liar, &range);
    assert_eq!(lan.peers[alice].error_count("fork"), 0);

    // The liar has signed two batches with one number; the peer that holds the other one sends it
    // on request.
    let (one, other) = (liar.batch(1, None, "one"), liar.batch(1, None, "other"));
    liar.send_frame(&mut lan, FrameKind::Batch, one.as_bytes());
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    let range = range_of_one_line(liar.log(), other.hash, 1);
    send_have(&mut lan, &mut carol, &range);
    let mut messages = carol.receive_messages(&mut lan).into_iter();
    let requested = |m: Message| matches!(m, Message::Want { logs, .. } if logs[0].from == 1);
    assert!(messages.any(requested), "the other batch is requested");
    carol.send_frame(&mut lan, FrameKind::Batch, other.as_bytes());
    assert_eq!(lan.peers[alice].error_count("fork"), 1);
    // A batch with a wrong signature ends the link.
    let Some(at) = other.as_bytes().windows(5).position(|w| w == b"other") else {
        panic!("the text");
    };
    let mut forged = other.as_bytes().to_vec();
    forged[at] = b'O';
    let mut range = frontier(&lan, alice).remove(0);
    range.hash = Hash([4; 32]);
    let mut dave = ScriptedPeer::connect(&mut lan, alice, 3);
    send_have(&mut lan, &mut dave, &range);
    dave.send_frame(&mut lan, FrameKind::Batch, &forged);
    assert_eq!(lan.peers[alice].error_count("fork"), 1);
}

/// A `bye` that falsely reports a duplicate identity is shown once with its sender, and costs one
/// change of incarnation at most.
#[test]
fn a_false_duplicate_report_is_attributed() {
    let mut lan = Lan::new(11);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.invariants.allows_duplicate_identity = true;
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    lan.say(alice, "one");
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    for n in 0..10 {
        let reason = ByeReason::DuplicateIdentity;
        liar.send(&mut lan, &Message::Bye { reason });
        lan.say(alice, &format!("line {n}"));
    }
    let reports = lan.peers[alice].notices_of_run().filter_map(|n| match n {
        Notice::DuplicateIdentity {
            address,
            reported_by: by,
        } => Some((*address, by.clone().map(|by| by.id))),
        _ => None,
    });
    let reports: Vec<_> = reports.collect();
    assert_eq!(reports, [(None, Some(liar.identity.id()))]);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received().len(), 11);
    let own = lan.id(alice);
    let own = frontier(&lan, bob)
        .into_iter()
        .filter(|r| r.log.author == own);
    assert!(own.count() <= 2, "the incarnation changes once");
}

/// Twenty thousand offered logs that never come do not keep another peer's offer from being
/// requested and stored.
#[test]
fn bogus_offers_do_not_block_real_ones() {
    let mut lan = Lan::new(12);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut liar = ScriptedPeer::connect(&mut lan, alice, 1);
    for n in 0..80u64 {
        let logs = (0..256).map(|i| {
            have_entry(
                Identity::from_seed(&[9; 32]).id(),
                n * 256 + i,
                1..=5,
                Hash([3; 32]),
            )
        });
        let have = Message::Have(general_have(logs.collect()));
        liar.send(&mut lan, &have);
    }
    lan.run_for(2_000);
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 2);
    let carol = Identity::from_seed(&[8; 32]);
    let text = lines(&["hello"]);
    let draft = UnsignedBatch {
        log: room_log(carol.id(), 7),
        ..bob.unsigned_batch(1, None, &text)
    };
    let batch = Batch::sign(&carol, &NetworkTag::OPEN, draft);
    let range = range_of_one_line(room_log(carol.id(), 7), batch.hash, 1);
    send_have(&mut lan, &mut bob, &range);
    bob.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    assert_eq!(
        frontier(&lan, alice),
        [range],
        "the offer is requested and stored"
    );
}
