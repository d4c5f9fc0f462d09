//! Forged beacons: from outside the network, goodbyes in the name of others, and floods for the table
//! of bounds.
use std::net::SocketAddr;

use p2pchat::wire::beacon::{Beacon, BeaconKind};

use super::made_up::{
    encode, forged_beacon, linked_pair, made_up_beacon, made_up_peer, silent_source,
};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::open_stream;

/// A beacon counts only if its source lies in a subnet of the interface on which it came.
#[test]
fn a_beacon_from_outside_the_subnet_is_ignored() {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let beacon = forged_beacon(made_up_peer(1), 1, 9999);
    let outside = [
        (1, [192, 0, 2, 1]),
        (1, [10, 1, 0, 1]),
        // Alice has no second interface.
        (2, [10, 0, 0, 9]),
    ];
    for (interface, ip) in outside {
        let source = SocketAddr::from((ip, 40_000));
        lan.inject_datagram(alice, interface, source, &beacon);
    }
    lan.run_for(100);
    assert_eq!(lan.node(alice).heard_peer_count(), 0);
    assert_eq!(lan.network.dial_count, 0);
    lan.inject_datagram(alice, 1, silent_source(1), &beacon);
    lan.run_for(100);
    assert_eq!(lan.node(alice).heard_peer_count(), 1);
    assert_eq!(lan.network.dial_count, 1);
}

/// A goodbye makes us forget a peer only if it comes from the host and the run that we heard last.
#[test]
fn only_the_host_of_a_run_can_say_goodbye_for_it() {
    let mut lan = Lan::new(2);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let (peer, source) = (made_up_peer(1), silent_source(1));
    lan.inject_datagram(alice, 1, source, &forged_beacon(peer, 1, 9999));
    lan.run_for(100);
    let mut heard_after = |peer, run, source| {
        let goodbye = Beacon {
            kind: BeaconKind::Leave,
            ..made_up_beacon(peer, run, 9999)
        };
        lan.inject_datagram(alice, 1, source, &encode(&goodbye));
        lan.run_for(100);
        lan.node(alice).heard_peer_count()
    };
    assert_eq!(heard_after(peer, 1, silent_source(2)), 1, "another host");
    assert_eq!(heard_after(peer, 2, source), 1, "another run");
    assert_eq!(heard_after(made_up_peer(2), 1, source), 1, "another peer");
    assert_eq!(heard_after(peer, 1, source), 0);
}

/// A peer that is known from an earlier run needs no place among the unproven peers of its host, and
/// is not ignored with them.
#[test]
fn a_known_peer_is_found_on_a_host_of_made_up_peers() {
    let (mut lan, alice, bob) = linked_pair(3, "bob");
    lan.kill(alice);
    lan.kill(bob);
    // Only alice can dial.
    lan.peers[alice].beacons_enabled = false;
    lan.start(alice);
    let source = SocketAddr::new(lan.address(bob).ip(), 40_000);
    for n in 0..200 {
        let beacon = forged_beacon(made_up_peer(n), 1, 9_998);
        lan.inject_datagram(alice, 1, source, &beacon);
    }
    lan.run_for(10);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 1_000);
}

/// Sends alice beacons of made-up peers, 20 every ms. Returns the LAN and alice.
fn under_beacons(seed: u64, peers: u64, source: fn(n: u64) -> SocketAddr) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for n in 0..peers {
        let source = source(n);
        let beacon = forged_beacon(made_up_peer(n), 1, source.port());
        lan.inject_datagram(alice, 1, source, &beacon);
        if n % 20 == 19 {
            lan.run_for(1);
        }
    }
    lan.run_for(10);
    (lan, alice)
}

/// A port of alice's own host on which nothing listens, so that a dial fails at once.
fn closed_port(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], 20_000 + n as u16))
}

/// The peers that alice has heard.
fn heard_peers(seed: u64, peers: u64, source: fn(n: u64) -> SocketAddr) -> u64 {
    let (lan, alice) = under_beacons(seed, peers, source);
    lan.node(alice).heard_peer_count() as u64
}

/// Peers that alice has heard, from one host.
pub fn heard_peers_of_a_host(seed: u64) -> u64 {
    heard_peers(seed, 200, |_| silent_source(1))
}

/// Peers that alice has heard, from her own host.
pub fn heard_peers_of_the_own_host(seed: u64) -> u64 {
    heard_peers(seed, 2_000, closed_port)
}

/// Peers that alice has heard, from 200 hosts.
pub fn heard_peers_of_many_hosts(seed: u64) -> u64 {
    heard_peers(seed, 4_000, |n| silent_source(n % 200))
}

/// Hosts that alice ignores, after 72 hosts in turn sent beacons of 16 made-up peers each.
pub fn ignored_hosts(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    let hosts: Vec<PeerIndex> = (0..72).map(|n| lan.add_peer(&format!("host{n}"))).collect();
    lan.start(alice);
    let beacon_of = |lan: &mut Lan, host: PeerIndex, peer: u64| {
        let source = SocketAddr::new(lan.address(host).ip(), 40_000);
        let beacon = forged_beacon(made_up_peer(peer), 1, 9_998);
        lan.inject_datagram(alice, 1, source, &beacon);
    };
    for (n, host) in (0..).zip(&hosts) {
        for peer in 0..16 {
            beacon_of(&mut lan, *host, 16 * n + peer);
        }
        // The dials of the 16 peers, which all fail at once.
        lan.run_for(800);
    }
    assert_eq!(lan.node(alice).heard_peer_count(), 0);
    for (n, host) in (10_000..).zip(&hosts) {
        beacon_of(&mut lan, *host, n);
    }
    lan.run_for(10);
    (hosts.len() - lan.node(alice).heard_peer_count()) as u64
}

/// Dials in a second, which all fail at once.
pub fn dials_in_a_second(seed: u64) -> u64 {
    let (mut lan, _) = under_beacons(seed, 400, closed_port);
    lan.run_for(970);
    lan.network.dial_count
}

/// Dials under way to one host that answers none.
pub fn dials_of_a_silent_host(seed: u64) -> u64 {
    let (lan, alice) = under_beacons(seed, 20, |_| silent_source(1));
    lan.node(alice).pending_handshake_count() as u64
}

/// Beacons of eight peers with smaller ids, all at once.
fn smaller_ids_in_a_burst() -> (Lan, PeerIndex, Vec<u64>) {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let smaller = (0..100).filter(|n| made_up_peer(*n) < lan.id(alice));
    let smaller: Vec<u64> = smaller.take(8).collect();
    for n in &smaller {
        let beacon = forged_beacon(made_up_peer(*n), 1, 9999);
        lan.inject_datagram(alice, 1, silent_source(*n), &beacon);
    }
    (lan, alice, smaller)
}

/// Of several new peers, those with smaller ids are awaited for a moment: they dial us.
#[test]
fn the_larger_id_does_not_dial_a_burst_at_once() {
    let (mut lan, alice, smaller) = smaller_ids_in_a_burst();
    lan.run_for(50);
    assert_eq!(lan.network.dial_count, 4);
    // Nor at another address, from which the last beacon comes as well.
    let beacon = forged_beacon(made_up_peer(smaller[7]), 1, 9999);
    lan.inject_datagram(alice, 1, silent_source(smaller[7] + 100), &beacon);
    lan.run_for(40);
    assert_eq!(lan.network.dial_count, 4);
    lan.run_for(20);
    assert_eq!(lan.network.dial_count, 8);
}

/// While others connect, the smaller ids may still be among them. Strangers who only connect delay
/// the dials by 1 s at most.
#[test]
fn the_larger_id_yields_while_others_connect() {
    let (mut lan, alice, _) = smaller_ids_in_a_burst();
    for n in 0..19 {
        lan.run_for(50);
        open_stream(&mut lan, alice, n);
    }
    assert_eq!(lan.network.dial_count, 4);
    for n in 19..22 {
        lan.run_for(50);
        open_stream(&mut lan, alice, n);
    }
    assert_eq!(lan.network.dial_count, 8);
}

/// The same, if they connect no more.
#[test]
fn the_larger_id_dials_when_others_connect_no_more() {
    let (mut lan, alice, _) = smaller_ids_in_a_burst();
    for n in 0..6 {
        lan.run_for(50);
        open_stream(&mut lan, alice, n);
    }
    lan.run_for(90);
    assert_eq!(lan.network.dial_count, 4);
    lan.run_for(20);
    assert_eq!(lan.network.dial_count, 8);
}

/// Beacons that are refused, because their host has sent too many, make no burst.
#[test]
fn refused_beacons_delay_no_dial() {
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut smaller = (0..).filter(|n| made_up_peer(*n) < lan.id(alice));
    let newcomer = smaller.next().expect("a smaller id");
    for n in 1_000..2_000 {
        let beacon = forged_beacon(made_up_peer(n), 1, 9999);
        lan.inject_datagram(alice, 1, silent_source(1), &beacon);
    }
    lan.run_for(3_000);
    let dials = lan.network.dial_count;
    let beacon = forged_beacon(made_up_peer(newcomer), 1, 9999);
    lan.inject_datagram(alice, 1, silent_source(2), &beacon);
    lan.run_for(10);
    assert_eq!(lan.network.dial_count, dials + 1);
}

/// Dials under way to 30 programs of our own host that answer none.
pub fn dials_of_our_own_host(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for n in 0..30 {
        let source = closed_port(n);
        lan.external_listeners.insert(source, Vec::new());
        let beacon = forged_beacon(made_up_peer(n), 1, source.port());
        lan.inject_datagram(alice, 1, source, &beacon);
    }
    lan.run_for(400);
    lan.node(alice).pending_handshake_count() as u64
}

/// Dials under way to 60 hosts that answer none.
pub fn dials_of_silent_hosts(seed: u64) -> u64 {
    let (mut lan, alice) = under_beacons(seed, 60, silent_source);
    lan.run_for(10_000);
    lan.node(alice).pending_handshake_count() as u64
}

/// Seconds until a peer is forgotten whose beacon claims a long interval, and at most 2000.
pub fn seconds_until_forgotten(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let beacon = Beacon {
        interval_ms: 1_000_000_000,
        ..made_up_beacon(made_up_peer(1), 1, 9999)
    };
    lan.inject_datagram(alice, 1, silent_source(1), &encode(&beacon));
    let seconds = (0..2_000).take_while(|_| {
        lan.run_for(1_000);
        lan.node(alice).heard_peer_count() > 0
    });
    seconds.count() as u64
}
