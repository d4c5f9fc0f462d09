//! Work: what one small message costs does not depend on how many logs exist, and what costs more is
//! done seldom.
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::{Hash, PeerId};
use p2pchat::base::name::{FolderName, Room, Target};
use p2pchat::base::range::LogRanges;
use p2pchat::wire::frame::{self, FrameKind};
use p2pchat::wire::message::{Have, HaveEntry, LOGS_PER_MESSAGE_MAX, Message};

use super::messages::alice_and_mallory;
use super::presence::{advertise, run_for_a_minute};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry, range_of_one_line};

/// Number of logs in a table with many.
const MANY_LOGS: u64 = 16_000;
/// Number of logs in a table with few.
const FEW_LOGS: u64 = 100;
/// Most logs that the peer offers beforehand.
const OFFERS_BEFORE_MAX: u64 = 1_500;
/// How many times as much a message may cost with many logs. The work is the same, but processors
/// read large tables more slowly.
const RATIO_MAX: u128 = 6;
/// Number of messages of which the time is measured.
const MESSAGES: u64 = 300;

/// A small message, and the logs on which its cost must not depend.
struct SmallMessage {
    name: &'static str,
    /// The folder of the logs.
    folder: fn() -> FolderName,
    /// The target of the logs. `own`: the id of the node.
    target: fn(own: PeerId) -> Target,
    /// The message with this number.
    message: fn(peer: &ScriptedPeer, n: u64) -> Have,
}

const MESSAGES_AND_LOGS: &[SmallMessage] = &[
    SmallMessage {
        name: "a digest of a full room",
        folder: || FolderName::from(&Room::general()),
        target: |_| Target::Room(Room::general()),
        message: |_, n| Have {
            target: "#general".into(),
            digest: Some(format!("{n}")),
            ..Have::default()
        },
    },
    SmallMessage {
        name: "a query in a full room",
        folder: || FolderName::from(&Room::general()),
        target: |_| Target::Room(Room::general()),
        message: |_, _| Have {
            target: "#general".into(),
            digest: Some(String::new()),
            ..Have::default()
        },
    },
    SmallMessage {
        name: "an offer beside many others",
        folder: || FolderName::from(&Room::general()),
        target: |_| Target::Room(Room::general()),
        message: |_, _| Have {
            target: "#general".into(),
            logs: vec![offer(made_up(0))],
            ..Have::default()
        },
    },
    SmallMessage {
        name: "an author's offer of letters, beside many to us",
        folder: FolderName::direct,
        target: Target::Peer,
        message: |peer, n| Have {
            target: Target::Peer(made_up(n)).to_string(),
            logs: vec![offer(peer.identity.id())],
            ..Have::default()
        },
    },
];

/// The id of an author that does not exist.
pub fn made_up(n: u64) -> PeerId {
    let mut id = [7; 32];
    id[..8].copy_from_slice(&n.to_be_bytes());
    PeerId(id)
}

fn offer(author: PeerId) -> HaveEntry {
    have_entry(author, 1, 1..=5, Hash([3; 32]))
}

/// The author of the stored log with this number.
pub fn stored_author(n: u64) -> PeerId {
    made_up(1 << 40 | n)
}

/// A node that stores one line of each of many logs to a target, in a folder. The log with number
/// `n` has the incarnation `n`.
pub fn with_logs(
    seed: u64,
    count: u64,
    folder: FolderName,
    target: fn(own: PeerId) -> Target,
) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].startup_rooms.clear();
    lan.start(alice);
    let target = target(lan.id(alice));
    let ranges = (0..count).map(|n| {
        range_of_one_line(
            LogId {
                target: target.clone(),
                author: stored_author(n),
                incarnation: n,
            },
            Hash([3; 32]),
            1 + n,
        )
    });
    lan.peers[alice].disk.create_folder(&Room::general());
    let general = FolderName::from(&Room::general());
    let mut folders = vec![(folder.clone(), ranges.collect())];
    if folder != general {
        folders.push((general, LogRanges::default()));
    }
    for (folder, ranges) in folders {
        let existed = true;
        lan.feed(
            alice,
            Input::FolderOpened {
                folder,
                ranges,
                existed,
            },
        );
    }
    (lan, alice)
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("a clock");
    Duration::from(time)
}

/// CPU time of the messages, on a link that has done all that its beginning costs.
fn cost(count: u64, kind: &SmallMessage) -> Duration {
    let (mut lan, alice) = with_logs(1, count, (kind.folder)(), kind.target);
    let mut peer = ScriptedPeer::connect(&mut lan, alice, 1);
    let first = Message::Have((kind.message)(&peer, 0));
    peer.send(&mut lan, &first);
    let offered: Vec<HaveEntry> = (0..count.min(OFFERS_BEFORE_MAX))
        .map(|n| offer(made_up(1 << 50 | n)))
        .collect();
    for offers in offered.chunks(LOGS_PER_MESSAGE_MAX) {
        let offers = Message::Have(general_have(offers.to_vec()));
        peer.send(&mut lan, &offers);
    }
    lan.run_for(2_000);
    let messages: Vec<Message> = (1..=MESSAGES)
        .map(|n| Message::Have((kind.message)(&peer, n)))
        .collect();
    let begun_at = cpu_time();
    for message in &messages {
        peer.send(&mut lan, message);
    }
    cpu_time() - begun_at
}

/// The answer to a digest offers thousands of old logs, at a bounded rate. A new line of another
/// author is offered before them.
#[test]
fn a_new_line_is_offered_before_old_logs() {
    let room = FolderName::from(&Room::general());
    let (mut lan, alice) = with_logs(1, 3_000, room, |_| Target::Room(Room::general()));
    let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
    let mut offered = Vec::new();
    for _ in 0..2 {
        let digest = Some(String::new());
        let query = Have {
            digest,
            ..general_have(Vec::new())
        };
        bob.send(&mut lan, &Message::Have(query));
        lan.run_for(6_000);
        offered.push(bob.receive_messages(&mut lan).len());
    }
    assert!(offered[1] < offered[0], "the rate is bounded: {offered:?}");
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    let batch = carol.batch(1, None, "new");
    carol.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    lan.run_for(1_200);
    let is_offer = |message: &Message| match message {
        Message::Have(have) => {
            let mut authors = have.logs.iter().map(|entry| &entry.sender);
            authors.any(|author| *author == carol.identity.id())
        }
        _ => false,
    };
    assert!(bob.receive_messages(&mut lan).iter().any(is_offer));
}

/// With 160 times as many logs, a small message costs at most a few times as much. Without the
/// bounds on its work it costs about 100 times as much.
#[test]
fn a_small_message_costs_the_same_however_many_logs_exist() {
    let mut broken = Vec::new();
    for kind in MESSAGES_AND_LOGS {
        // Several tries, since other programs share the processor's caches.
        let ratios = (0..3).map(|_| {
            let few = cost(FEW_LOGS, kind).as_micros().max(1);
            let many = cost(MANY_LOGS, kind).as_micros();
            println!("{}: {few} µs, {many} µs", kind.name);
            many / few
        });
        let least = ratios.min().unwrap_or(0);
        if least >= RATIO_MAX {
            broken.push(format!("{}: {least} times as much", kind.name));
        }
    }
    assert!(broken.is_empty(), "{broken:?}");
}

/// CPU time of one input with many offers and then so many empty messages.
fn cost_of_empty_messages(count: usize) -> Duration {
    let (mut lan, _, mut mallory) = alice_and_mallory(1);
    lan.run_for(2_000);
    let offers: Vec<HaveEntry> = (0..2 * LOGS_PER_MESSAGE_MAX as u64)
        .map(|n| offer(made_up(1 << 50 | n)))
        .collect();
    let offers = offers.chunks(LOGS_PER_MESSAGE_MAX).map(<[_]>::to_vec);
    let empty = std::iter::repeat_n(Vec::new(), count);
    let mut plain = Vec::new();
    for entries in offers.chain(empty) {
        let message = Message::Have(general_have(entries)).encode();
        frame::write_frame(FrameKind::Message, &message, &mut plain);
    }
    let begun_at = cpu_time();
    mallory.send_plaintext(&mut lan, &plain);
    cpu_time() - begun_at
}

/// A message considers only the offers that have changed since the one before it, and not all that
/// this turn has changed. Else ten times as many messages would take eight times as long.
#[test]
fn an_offer_is_considered_once_in_a_turn() {
    let ratios = (0..3).map(|_| {
        let few = cost_of_empty_messages(70).as_micros().max(1);
        let many = cost_of_empty_messages(700).as_micros();
        println!("{few} µs, {many} µs");
        many / few
    });
    assert!(ratios.min().unwrap_or(0) < 4);
}

/// CPU time of pings, in microseconds.
fn cost_of_pings(lan: &mut Lan, peer: &mut ScriptedPeer) -> u128 {
    let begun_at = cpu_time();
    for nonce in 0..MESSAGES {
        peer.send(lan, &Message::Ping { nonce });
    }
    (cpu_time() - begun_at).as_micros().max(1)
}

/// A peer whose presence was shown is forgotten a minute after it left. If 20 000 were remembered,
/// each message would cost about 30 times as much.
#[test]
fn peers_that_left_cost_nothing() {
    const ROUNDS: u64 = 20;
    const MEMBERS: u64 = 1_000;
    let (mut lan, _, mut mallory) = alice_and_mallory(1);
    lan.run_for(2_000);
    let before = cost_of_pings(&mut lan, &mut mallory);
    for first in (0..ROUNDS).map(|round| round * MEMBERS) {
        advertise(&mut lan, &mut mallory, first, MEMBERS, true);
        advertise(&mut lan, &mut mallory, first, MEMBERS, false);
        run_for_a_minute(&mut lan, std::slice::from_mut(&mut mallory));
    }
    advertise(&mut lan, &mut mallory, ROUNDS * MEMBERS, 1, true);
    lan.run_for(2_000);
    let costs = (0..3).map(|_| cost_of_pings(&mut lan, &mut mallory));
    let after = costs.min().unwrap_or(0);
    println!("{before} µs, {after} µs");
    assert!(after < RATIO_MAX * before, "{before} µs, {after} µs");
}

/// The `have` messages with which the node has answered since the last call.
fn received_haves(lan: &mut Lan, peer: &mut ScriptedPeer) -> usize {
    let messages = peer.receive_messages(lan).into_iter();
    messages.filter(|it| matches!(it, Message::Have(_))).count()
}

/// The peer leaves #general and enters it again, so many times in one turn.
fn reenter(lan: &mut Lan, peer: &mut ScriptedPeer, times: usize) {
    let Message::Hello(hello) = peer.hello() else {
        unreachable!("a hello");
    };
    let mut plain = Vec::new();
    for rooms in [Vec::new(), hello.rooms]
        .into_iter()
        .cycle()
        .take(2 * times)
    {
        let message = Message::Rooms { rooms }.encode();
        frame::write_frame(FrameKind::Message, &message, &mut plain);
    }
    peer.send_plaintext(lan, &plain);
}

/// A peer that leaves and enters a room again and again gets few lists of logs, and loses its link.
/// One that does so now and then gets a list each time.
#[test]
fn a_room_is_entered_again_a_few_times_only() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(1);
    lan.run_for(1_000);
    received_haves(&mut lan, &mut mallory);
    reenter(&mut lan, &mut mallory, 16);
    assert_eq!(received_haves(&mut lan, &mut mallory), 16);
    for _ in 0..2 {
        lan.run_for(2_000);
        reenter(&mut lan, &mut mallory, 1);
        assert_eq!(received_haves(&mut lan, &mut mallory), 1);
    }
    assert_eq!(lan.node(alice).link_count(), 1);
    reenter(&mut lan, &mut mallory, 600);
    assert_eq!(received_haves(&mut lan, &mut mallory), 0);
    assert_eq!(lan.node(alice).link_count(), 0);
    // The next link begins anew.
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    lan.run_for(1_000);
    received_haves(&mut lan, &mut mallory);
    reenter(&mut lan, &mut mallory, 600);
    assert_eq!(received_haves(&mut lan, &mut mallory), 16);
    assert_eq!(lan.node(alice).link_count(), 0);
}
