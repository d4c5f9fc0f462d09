//! Floods of what a node remembers, for the table of bounds: how much of it is still remembered
//! afterwards.
use std::net::SocketAddr;

use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::Output;
use p2pchat::base::identity::Identity;
use p2pchat::base::name::{FolderName, Room, Target};
use p2pchat::wire::beacon::Beacon;
use p2pchat::wire::message::{
    ByeReason, LOGS_PER_MESSAGE_MAX, Message, WantEntry, format_incarnation,
};

use super::made_up::{made_up_beacon, made_up_identity, made_up_peer, silent_source};
use super::messages::{alice_and_mallory, forward_receipt};
use super::presence::advertise;
use super::work::{stored_author, with_logs};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, open_stream_from};

/// Beacons that alice recognizes as replayed. An insider of her closed network has sent beacons of
/// 100 runs of one peer, and sends an older beacon of each run.
pub fn remembered_runs_of_a_peer(seed: u64) -> u64 {
    const SECRET: [u8; 32] = [1; 32];
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].psk = Some(SECRET);
    lan.start(alice);
    let network = lan.peers[alice].network_tag();
    let mut send = |run: u64, counter: u64| {
        let beacon = Beacon {
            counter,
            ..made_up_beacon(made_up_peer(1), run, 9999)
        };
        let bytes = beacon.encode(&network, Some(&SECRET), &[run as u8; 24]);
        lan.inject_datagram(alice, 1, silent_source(1), &bytes);
        lan.run_for(10);
    };
    (0..100).for_each(|run| send(run, 2));
    // The newest run first: a run that was forgotten is remembered again.
    (0..100).rev().for_each(|run| send(run, 1));
    assert_eq!(lan.node(alice).heard_peer_count(), 1);
    lan.node(alice).counters().foreign_datagrams
}

/// Of the first 100 keys that claimed the name of another, those whose claim alice remembers. 1100
/// have claimed it in turn.
pub fn remembered_claims(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let claims = |lan: &mut Lan, keys: u64| {
        let mut reported = 0;
        for n in 0..keys {
            let before = mismatches(lan, alice);
            let mut peer = ScriptedPeer::connect(lan, alice, n);
            let reason = ByeReason::Leave;
            peer.send(lan, &Message::Bye { reason });
            reported += mismatches(lan, alice) - before;
        }
        reported
    };
    // The first key is nobody's impostor.
    assert_eq!(claims(&mut lan, 1_100), 1_099);
    100 - claims(&mut lan, 100)
}

/// How often alice was told that another key claims a known name.
fn mismatches(lan: &Lan, alice: PeerIndex) -> u64 {
    let notices = lan.peers[alice].notices_of_run();
    let mismatches = notices.filter(|notice| matches!(notice, Notice::KeyMismatch { .. }));
    mismatches.count() as u64
}

/// Peers that count as holding a line of alice's. Three neighbours advertise 1400 members each, and
/// forward their receipts.
pub fn acknowledging_peers(seed: u64) -> u64 {
    const MEMBERS: u64 = 1_400;
    let (mut lan, alice, first) = alice_and_mallory(seed);
    // The LAN checks each notice, and these holders store nothing.
    lan.peers[alice].executes =
        |o| !matches!(o, Output::Notice(it) if matches!(**it, Notice::Delivered { .. }));
    lan.say(alice, "hello");
    let own = lan.peers[alice].disk.ranges(&Room::general()).remove(0);
    let mut neighbours = vec![first];
    neighbours.extend((2..4).map(|n| ScriptedPeer::connect(&mut lan, alice, n)));
    for (first, neighbour) in (0..).step_by(MEMBERS as usize).zip(&mut neighbours) {
        advertise(&mut lan, neighbour, first, MEMBERS, true);
        for holder in (first..first + MEMBERS).map(made_up_identity) {
            forward_receipt(&mut lan, neighbour, &own, &holder);
        }
    }
    lan.node(alice).delivery(None).acked_peers
}

/// Notices about other programs with alice's key, of which 100 connect.
pub fn reported_duplicates(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    lan.invariants.allows_duplicate_identity = true;
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for run in 0..100 {
        let own = Identity::from_seed(&lan.peers[alice].identity_seed);
        let address = silent_source(1);
        let mut clone = ScriptedPeer::handshake_from(&mut lan, alice, run, own, address);
        let Message::Hello(mut hello) = clone.hello() else {
            panic!("a hello");
        };
        hello.run = run;
        clone.send(&mut lan, &Message::Hello(hello));
    }
    lan.peers[alice].duplicate_identity_count() as u64
}

/// The most logs that alice reads at once, whose disk is slow. Mallory requests 1536 logs.
pub fn logs_of_a_read(seed: u64) -> u64 {
    let folder = FolderName::from(&Room::general());
    let (mut lan, alice) = with_logs(seed, 1_536, folder, |_| Target::Room(Room::general()));
    lan.peers[alice].disk.read_delay_max_ms = 5_000;
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let logs: Vec<u64> = (0..1_536).collect();
    for logs in logs.chunks(LOGS_PER_MESSAGE_MAX) {
        let wants = logs.iter().map(|n| WantEntry {
            sender: stored_author(*n),
            incarnation: format_incarnation(*n),
            from: 1,
            to: 0,
        });
        let (target, logs) = (Room::general().to_string(), wants.collect());
        mallory.send(&mut lan, &Message::Want { target, logs });
    }
    lan.run_for(20_000);
    lan.peers[alice].most_logs_of_a_load
}

/// Of 300 addresses from which peers were linked in turn, those whose handshakes alice keeps longer
/// than those of strangers.
pub fn remembered_addresses(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let linked = |n: u64| SocketAddr::from(([10, 1, (n >> 8) as u8, n as u8], 5000));
    let stranger = |n: u64| SocketAddr::from(([10, 2, (n >> 8) as u8, n as u8], 5000));
    for n in 0..300 {
        let identity = ScriptedPeer::identity(n);
        let mut peer = ScriptedPeer::handshake_from(&mut lan, alice, n, identity, linked(n));
        let hello = peer.hello();
        peer.send(&mut lan, &hello);
        let reason = ByeReason::Leave;
        peer.send(&mut lan, &Message::Bye { reason });
    }
    let mut remembered = 0;
    for group in 0..10 {
        // The addresses come first, so 30 of the 60 strangers end the handshakes of those forgotten.
        let first = 300 + group * 100;
        let addresses = (0..30).map(|n| (first + n, linked(group * 30 + n)));
        let strangers = (30..94).map(|n| (first + n, stranger(first + n)));
        let streams = addresses.chain(strangers);
        let streams: Vec<_> = streams
            .map(|(n, address)| open_stream_from(&mut lan, alice, n, address))
            .collect();
        let kept = streams.iter().take(30);
        remembered += kept
            .filter(|stream| !lan.has_closed(alice, **stream))
            .count() as u64;
        // Their time passes before the next group.
        lan.run_for(10_000);
    }
    remembered
}
