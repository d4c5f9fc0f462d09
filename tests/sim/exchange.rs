//! Peer exchange: one `--peer` is enough to join a mesh, and no introduction is believed.
use std::net::SocketAddr;

use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::peer::{PeerInfo, PeerState};
use p2pchat::base::identity::PeerId;
use p2pchat::base::interface::FoundVia;
use p2pchat::wire::code::ConnectionCode;
use p2pchat::wire::message::Message;

use crate::hostile::made_up::made_up_peer;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

/// Peers without beacons, of which all but the first get the address of the first.
fn star(lan: &mut Lan, count: usize) -> Vec<PeerIndex> {
    let peers: Vec<PeerIndex> = (0..count).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    for who in &peers {
        lan.peers[*who].beacons_enabled = false;
    }
    peers
}

/// Starts these peers one after the other, each some time later, and gives them the hub's address.
fn join(lan: &mut Lan, peers: &[PeerIndex], hub: PeerIndex) {
    let address = lan.address(hub);
    for who in peers {
        lan.start(*who);
        lan.add_static_peer(*who, address);
        let pause_ms = lan.random(4_000);
        lan.run_for(pause_ms);
    }
}

fn rows(lan: &mut Lan, who: PeerIndex) -> Vec<PeerInfo> {
    lan.feed(who, Input::Command(Command::Peers));
    match lan.peers[who].notices.pop() {
        Some((_, _, Notice::Peers(rows))) => rows,
        _ => Vec::new(),
    }
}

fn are_all_linked(lan: &mut Lan, peers: &[PeerIndex]) -> bool {
    peers
        .iter()
        .all(|who| lan.linked_peers(*who).len() == peers.len() - 1)
}

/// Runs until each of these peers is linked with all others.
fn run_until_meshed(lan: &mut Lan, peers: &[PeerIndex], within_ms: u64) {
    let end = lan.now_ms + within_ms;
    while !are_all_linked(lan, peers) {
        assert!(lan.now_ms < end, "no full mesh within {within_ms} ms");
        lan.run_for(100);
    }
}

/// All know the hub only. All are linked soon, in whatever order they came, and go on without it.
#[test]
fn a_star_becomes_a_full_mesh_that_needs_no_hub() {
    for seed in 0..8 {
        let mut lan = Lan::new(seed);
        let mut peers = star(&mut lan, 8);
        let hub = peers[0];
        // The hub may be the last to start.
        let position = lan.random(8) as usize;
        peers.swap(0, position);
        join(&mut lan, &peers, hub);
        run_until_meshed(&mut lan, &peers, 20_000);
        lan.check_links();
        match seed % 2 {
            0 => lan.kill(hub),
            _ => lan.stop(hub),
        }
        lan.run_for(5_000);
        peers.retain(|who| *who != hub);
        let [author, others @ ..] = &peers[..] else {
            panic!("no peers");
        };
        lan.say(*author, "without a hub");
        lan.run_for(100);
        for who in others {
            assert_eq!(lan.peers[*who].received(), ["without a hub"], "seed {seed}");
        }
        let mut rows = rows(&mut lan, *author);
        rows.retain(|row| row.state != PeerState::Gone);
        let found = rows.into_iter().map(|row| row.found_via);
        let expected = [FoundVia::Exchange, FoundVia::Incoming];
        assert!(found.clone().all(|found| expected.contains(&found)));
    }
}

/// The addresses at which this peer introduces the other one.
fn introduced_at(received: &[Message], other: PeerId) -> Vec<SocketAddr> {
    let codes = received.iter().flat_map(|message| match message {
        Message::Peers { peers } => peers.clone(),
        _ => Vec::new(),
    });
    let codes = codes.flat_map(|code| code.parse::<ConnectionCode>());
    let of_other = codes.filter(|code| code.id == other);
    of_other.flat_map(|code| code.addresses).collect()
}

/// A peer that a gateway maps to another port says so, and is introduced there: also to those that
/// heard of it before. It can name no other host.
#[test]
fn a_mapped_port_is_introduced() {
    let mut lan = Lan::new(1);
    let [bob] = lan.add_peers(["bob"]);
    lan.peers[bob].beacons_enabled = false;
    lan.start(bob);
    let mut alice = ScriptedPeer::connect(&mut lan, bob, 1);
    let mut carol = ScriptedPeer::connect(&mut lan, bob, 2);
    let alices_id = ScriptedPeer::identity(1).id();
    lan.run_for(5_000);
    let received = carol.receive_messages(&mut lan);
    let [at] = introduced_at(&received, alices_id)[..] else {
        panic!("{received:?}")
    };
    let mapped = SocketAddr::new(at.ip(), 10_000);
    let elsewhere = SocketAddr::from(([10, 0, 99, 1], 10_001));
    for address in [elsewhere, mapped, elsewhere] {
        let peers = vec![format!("{alices_id}@{address}")];
        alice.send(&mut lan, &Message::Peers { peers });
    }
    lan.run_for(5_000);
    let received = carol.receive_messages(&mut lan);
    assert_eq!(introduced_at(&received, alices_id), [mapped, at]);
    // A peer that says so again and again causes no more introductions.
    for port in 10_001..10_050 {
        let peers = vec![format!("{alices_id}@{}:{port}", at.ip())];
        alice.send(&mut lan, &Message::Peers { peers });
        lan.run_for(2_000);
    }
    let received = carol.receive_messages(&mut lan);
    assert_eq!(introduced_at(&received, alices_id), []);
}

/// A program tells all peers where a gateway maps its port, unless it is the port they expect.
#[test]
fn a_program_tells_its_mapped_port() {
    for (port, told) in [(9999, 0), (10_000, 1)] {
        let mut lan = Lan::new(2);
        let [alice] = lan.add_peers(["alice"]);
        lan.start(alice);
        let mapped = SocketAddr::from(([11, 0, 0, 1], port));
        let mut bob = ScriptedPeer::connect(&mut lan, alice, 1);
        lan.feed(alice, Input::PortMapped(Some(mapped)));
        let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
        lan.run_for(100);
        let id = lan.id(alice);
        for peer in [&mut bob, &mut carol] {
            let received = peer.receive_messages(&mut lan);
            assert_eq!(introduced_at(&received, id), vec![mapped; told]);
        }
        // Nor do they keep the address of a gateway that got another one.
        let moved = SocketAddr::from(([11, 0, 0, 2], port));
        lan.feed(alice, Input::PortMapped(Some(moved)));
        lan.run_for(100);
        for peer in [&mut bob, &mut carol] {
            let received = peer.receive_messages(&mut lan);
            assert_eq!(introduced_at(&received, id), vec![moved; told]);
        }
        // A mapping that is lost is not told any more.
        lan.feed(alice, Input::PortMapped(None));
        let mut dave = ScriptedPeer::connect(&mut lan, alice, 3);
        lan.run_for(100);
        let received = dave.receive_messages(&mut lan);
        assert_eq!(introduced_at(&received, id), []);
    }
}

/// A path between two introduced peers breaks for a minute, and nobody else is left.
#[test]
fn introduced_peers_link_again_without_the_hub() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let peers = star(&mut lan, 3);
        join(&mut lan, &peers, peers[0]);
        run_until_meshed(&mut lan, &peers, 10_000);
        lan.stop(peers[0]);
        lan.run_for(10_000);
        lan.cut(peers[1], peers[2]);
        lan.run_for(60_000);
        assert!(!lan.are_linked(peers[1], peers[2]));
        lan.heal();
        lan.run_until_linked(peers[1], peers[2], 70_000);
    }
}

/// Two meshes become one when one of their members gets the address of another.
#[test]
fn two_meshes_become_one() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let peers = star(&mut lan, 8);
        let (left, right) = peers.split_at(4);
        join(&mut lan, left, left[0]);
        join(&mut lan, right, right[0]);
        run_until_meshed(&mut lan, left, 20_000);
        run_until_meshed(&mut lan, right, 20_000);
        let address = lan.address(right[3]);
        lan.add_static_peer(left[2], address);
        run_until_meshed(&mut lan, &peers, 40_000);
        lan.check_links();
    }
}

/// Where beacons work, nobody is introduced and nobody dials more.
#[test]
fn beacons_leave_nothing_to_introduce() {
    let mut lan = Lan::new(1);
    let peers: Vec<PeerIndex> = (0..20).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    lan.start_all(peers.clone());
    run_until_meshed(&mut lan, &peers, 5_000);
    lan.run_for(900);
    let bytes = |lan: &Lan| lan.peers.iter().map(|peer| peer.bytes_sent).sum::<u64>();
    let (dials, sent) = (lan.network.dial_count, bytes(&lan));
    lan.run_for(10_000);
    assert_eq!(lan.network.dial_count, dials);
    assert_eq!(bytes(&lan), sent, "bytes in a quiet mesh");
    let found = rows(&mut lan, peers[0]);
    assert!(found.iter().all(|row| row.found_via == FoundVia::Multicast));
}

/// A program that leaves soon neither introduces nor dials, and nobody is introduced to it.
#[test]
fn transient_peers_are_left_out() {
    let mut lan = Lan::new(1);
    let peers = star(&mut lan, 4);
    lan.peers[peers[3]].transient = true;
    join(&mut lan, &peers, peers[0]);
    lan.run_for(20_000);
    run_until_meshed_without(&mut lan, &peers);
}

fn run_until_meshed_without(lan: &mut Lan, peers: &[PeerIndex]) {
    let hub = lan.id(peers[0]);
    assert_eq!(lan.linked_peers(peers[3]), [hub]);
    assert_eq!(lan.linked_peers(peers[1]).len(), 2);
}

/// The hub is gone for good. The others find each other again by the addresses of their last run,
/// though they come back one after the other. Who had dialed only the hub waits until the others
/// dial it again: backoffs double, so that is at most as long as it was away.
#[test]
fn remembered_addresses_replace_the_hub() {
    for seed in 0..6 {
        let mut lan = Lan::new(seed);
        let mut peers = star(&mut lan, 6);
        let hub = peers[0];
        join(&mut lan, &peers, hub);
        run_until_meshed(&mut lan, &peers, 20_000);
        // What a killed program remembers is at most 10 s old.
        lan.run_for(10_000);
        for who in &peers {
            match lan.chance(500) {
                true => lan.kill(*who),
                false => lan.stop(*who),
            }
        }
        peers.retain(|who| *who != hub);
        let position = lan.random(5) as usize;
        peers.swap(0, position);
        let end_ms = lan.now_ms;
        for who in &peers {
            let pause_ms = lan.random(60_000);
            lan.run_for(pause_ms);
            lan.start(*who);
        }
        // Of 400 seeds, the longest took 28.7 s.
        let away_ms = lan.now_ms - end_ms;
        run_until_meshed(&mut lan, &peers, away_ms.clamp(10_000, 40_000));
        lan.check_links();
        // Of two peers, only the one that had dialed remembers. If its dial comes later than an
        // introduction, that leads to the link.
        let rows: Vec<_> = peers.iter().flat_map(|who| rows(&mut lan, *who)).collect();
        let count = |found| rows.iter().filter(|row| row.found_via == found).count();
        let by_beacon_or_hub = count(FoundVia::Multicast) + count(FoundVia::Static);
        assert_eq!(by_beacon_or_hub, 0);
        assert!(count(FoundVia::Remembered) >= peers.len() - 1);
    }
}

/// The text that names these peers, each at a host that answers no dial.
fn silent_addresses(count: u64) -> String {
    let codes = (0..count).map(|n| {
        let host = [10, 0, 60 + (n >> 8) as u8, n as u8];
        format!("{}@{}\n", made_up_peer(n), SocketAddr::from((host, 9999)))
    });
    codes.collect()
}

/// Peers that are found by beacons are linked before a remembered address is dialed. Absent ones are
/// dialed slowly, seldom, and not in vain for a delivery.
#[test]
fn remembered_addresses_cause_no_storm() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[alice].addresses = silent_addresses(64);
    lan.start_all([alice, bob]);
    lan.run_until_linked(alice, bob, 100);
    let dials = lan.network.dial_count;
    assert!(lan.network.dials_of_host.len() == 1);
    lan.run_for(2_500);
    assert!((4..=10).contains(&(lan.network.dial_count - dials)));
    lan.say(alice, "a line");
    lan.finish(alice, None);
    lan.run_until("settled", 50, |lan| lan.peers[alice].is_settled());
    lan.run_for(60_000);
    assert!(lan.network.dial_count - dials <= 80);
    // The backoff of each is 17 minutes at last.
    lan.run_for(6 * 3_600_000);
    let before = lan.network.dial_count;
    lan.run_for(3_600_000);
    let in_an_hour = lan.network.dial_count - before;
    assert!((64 * 3..=64 * 8).contains(&in_an_hour), "{in_an_hour}");
    // Bob displaces the address that was linked last: each host has one, and what lasts stays.
    lan.stop(alice);
    let bobs = ConnectionCode::new(lan.id(bob), &[lan.address(bob)]).to_string();
    let saved: Vec<&str> = lan.peers[alice].addresses.lines().collect();
    assert_eq!((saved.len(), saved[0]), (64, bobs.as_str()));
    let text = &lan.peers[alice].addresses;
    assert!(text.contains(&made_up_peer(63).to_string()));
    assert!(!text.contains(&made_up_peer(0).to_string()));
}

/// Who restarts among peers that beacons find dials none of them because of the file.
#[test]
fn beacons_outrank_remembered_addresses() {
    let mut lan = Lan::new(1);
    let peers: Vec<PeerIndex> = (0..6).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    lan.start_all(peers.clone());
    run_until_meshed(&mut lan, &peers, 1_000);
    lan.run_for(20_000);
    assert_eq!(lan.peers[peers[0]].addresses.lines().count(), 5);
    lan.stop(peers[0]);
    lan.start(peers[0]);
    run_until_meshed(&mut lan, &peers, 500);
    let dials = lan.network.dial_count;
    lan.run_for(30_000);
    assert_eq!(lan.network.dial_count, dials);
    let found = rows(&mut lan, peers[0]);
    assert!(found.iter().all(|row| row.found_via == FoundVia::Multicast));
}

/// Only peers that have a key for a later run are remembered. Nothing in the text is believed.
#[test]
fn a_hostile_text_is_tolerated() {
    let mut lan = Lan::new(1);
    let peers = star(&mut lan, 4);
    let [alice, bob, carol, dave] = peers[..] else {
        panic!("four peers");
    };
    lan.peers[carol].is_ephemeral = true;
    lan.peers[dave].transient = true;
    let own = format!("{}@10.0.70.1:9999\n", lan.id(alice));
    let junk = [
        "@",
        "x@y:1",
        "\u{0}",
        "[::1]:5",
        "=".repeat(100_000).as_str(),
    ]
    .join("\n");
    let lie = lan.address(bob);
    let twice = format!("{}@{lie}\n", made_up_peer(999)).repeat(2);
    lan.peers[alice].addresses = format!("{own}{junk}\n{twice}") + &silent_addresses(10_000);
    join(&mut lan, &[alice, bob, carol, dave], bob);
    lan.run_for(600_000);
    assert!(lan.is_running(alice));
    assert!(lan.network.dials_of_host.len() <= 64 + 2);
    assert!(
        !lan.network
            .dials_of_host
            .contains_key(&[10, 0, 70, 1].into())
    );
    let saved = &lan.peers[alice].addresses;
    let first = ConnectionCode::new(lan.id(bob), &[lie]).to_string();
    assert_eq!(saved.lines().next(), Some(first.as_str()));
    assert!(saved.lines().count() <= 64, "{saved}");
    for absent in [carol, dave, alice] {
        assert!(!saved.contains(&lan.id(absent).to_string()));
    }
}

/// A program that leaves soon dials the peers of its last run at once, the latest first.
#[test]
fn transient_peers_dial_remembered_addresses_at_once() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let peers = star(&mut lan, 2);
        let [alice, bob] = peers[..] else {
            panic!("two peers");
        };
        lan.start(bob);
        let bobs = format!("{}@{}\n", lan.id(bob), lan.address(bob));
        lan.peers[alice].addresses = bobs + &silent_addresses(63);
        lan.peers[alice].transient = true;
        lan.start(alice);
        lan.run_until_linked(alice, bob, 250);
    }
}

/// The text of a clean end begins with the peer that was linked last, though it was linked before.
#[test]
fn a_clean_end_saves_the_order_of_links() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob]);
    lan.run_until_linked(alice, bob, 1_000);
    lan.start(carol);
    lan.run_for(20_000);
    let first = |lan: &Lan, who| {
        let line = lan.peers[alice].addresses.lines().next();
        line.is_some_and(|line| line.starts_with(&lan.id(who).to_string()))
    };
    assert!(first(&lan, carol));
    lan.stop(bob);
    lan.start(bob);
    lan.run_for(20_000);
    assert!(first(&lan, carol));
    lan.stop(alice);
    assert!(first(&lan, bob));
}

/// Where a peer that dialed us listens is only its word. Nothing of it is kept.
#[test]
fn a_peer_that_only_dialed_is_not_remembered() {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let _bob = ScriptedPeer::connect(&mut lan, alice, 1);
    lan.run_for(15_000);
    lan.stop(alice);
    assert_eq!(lan.peers[alice].addresses, "");
}
