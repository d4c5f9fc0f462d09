//! Floods that lead us to dial, for the table of bounds: how often an address is dialed, and how
//! long a link takes meanwhile.
use std::net::SocketAddr;

use super::made_up::{forged_beacon, linked_pair, made_up_peer, silent_source};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// Sends a datagram to this peer, from another peer's host.
fn inject_from(lan: &mut Lan, to: PeerIndex, from: PeerIndex, bytes: &[u8]) {
    let source = SocketAddr::new(lan.address(from).ip(), 40_000);
    lan.inject_datagram(to, 1, source, bytes);
}

/// Dials after a program with another key has started at the address of a linked peer.
pub fn dials_of_a_reused_address(seed: u64) -> u64 {
    let (mut lan, alice, bob) = linked_pair(seed, "bob");
    let (host, port) = (lan.peers[bob].host, lan.peers[bob].port);
    let other = lan.add_peer_on("other", host);
    lan.peers[other].port = port;
    lan.kill(bob);
    lan.run_for(200);
    let before = lan.network.dial_count;
    lan.start(other);
    lan.run_until_linked(alice, other, 1_000);
    lan.run_for(24_000);
    assert_eq!(lan.peers[alice].joined_count(lan.id(other)), 1);
    assert_eq!(lan.peers[alice].left_count(lan.id(other)), 0);
    lan.network.dial_count - before
}

/// Dials while beacons of made-up peers name the address of a linked peer.
pub fn dials_of_a_claimed_address(seed: u64, with_new_runs: bool) -> u64 {
    let (mut lan, alice, carol) = linked_pair(seed, "carol");
    let before = lan.network.dial_count;
    for round in 0..50 {
        for n in 0..6 {
            let run = if with_new_runs { round } else { 0 };
            let beacon = forged_beacon(made_up_peer(n), run, lan.peers[carol].port);
            inject_from(&mut lan, alice, carol, &beacon);
        }
        lan.run_for(500);
    }
    assert_eq!(lan.peers[alice].joined_count(lan.id(carol)), 1);
    assert_eq!(lan.peers[alice].left_count(lan.id(carol)), 0);
    lan.network.dial_count - before
}

/// Dials while forged beacons in the name of a linked peer claim new runs.
pub fn dials_of_a_linked_peer(seed: u64) -> u64 {
    let (mut lan, alice, carol) = linked_pair(seed, "carol");
    let before = lan.network.dial_count;
    for run in 0..250 {
        let beacon = forged_beacon(lan.id(carol), run, lan.peers[carol].port);
        inject_from(&mut lan, alice, carol, &beacon);
        lan.run_for(100);
    }
    assert_eq!(lan.peers[alice].joined_count(lan.id(carol)), 1);
    assert_eq!(lan.peers[alice].left_count(lan.id(carol)), 0);
    lan.network.dial_count - before
}

/// Milliseconds until alice and bob link, and the dials to the flooding host in 60 s.
pub fn under_made_up_peers(seed: u64) -> (u64, u64) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    let flood = |lan: &mut Lan| {
        for who in [alice, bob] {
            if !lan.is_running(who) {
                continue;
            }
            for n in 0..512 {
                let beacon = forged_beacon(made_up_peer(n), n, 9999);
                lan.inject_datagram(who, 1, silent_source(1), &beacon);
            }
        }
        lan.run_for(500);
    };
    lan.start(alice);
    for _ in 0..3 {
        flood(&mut lan);
    }
    lan.start(bob);
    let started_at = lan.now_ms;
    while !lan.are_linked(alice, bob) && lan.now_ms < started_at + 30_000 {
        flood(&mut lan);
    }
    let took = lan.now_ms - started_at;
    lan.stop(bob);
    let before = lan.network.dial_count;
    for _ in 0..30 {
        flood(&mut lan);
        lan.run_for(1_500);
    }
    (took, lan.network.dial_count - before)
}

/// Milliseconds until alice links with bob, while forged beacons name other addresses for him.
pub fn link_among_false_addresses(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    // Only alice can dial.
    lan.peers[alice].beacons_enabled = false;
    lan.start(alice);
    let beacon = forged_beacon(lan.id(bob), 1, 9999);
    for n in 0..3 {
        lan.inject_datagram(alice, 1, silent_source(n), &beacon);
    }
    lan.run_for(10);
    lan.start(bob);
    ms_until_linked(&mut lan, alice, bob, |lan, n| {
        lan.inject_datagram(alice, 1, silent_source(n % 3), &beacon)
    })
}

/// Calls `flood` every 2 ms, with the number of the call, until both peers are linked. Returns the
/// milliseconds that took, at most 60 s.
fn ms_until_linked(
    lan: &mut Lan,
    a: PeerIndex,
    b: PeerIndex,
    mut flood: impl FnMut(&mut Lan, u64),
) -> u64 {
    let calls = (0..30_000).take_while(|n| {
        flood(lan, *n);
        lan.run_for(2);
        !lan.are_linked(a, b)
    });
    2 * calls.count() as u64
}

/// Milliseconds until alice links with bob, while an outsider replays his sealed beacons.
pub fn link_among_replayed_beacons(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    for who in [alice, bob] {
        lan.peers[who].psk = Some([1; 32]);
    }
    // Only alice can dial.
    lan.peers[alice].beacons_enabled = false;
    let mut recorded = Vec::new();
    let record = |lan: &Lan, recorded: &mut Vec<Vec<u8>>| {
        if recorded.last() != Some(&lan.last_beacon) {
            recorded.push(lan.last_beacon.clone());
        }
    };
    for run in 0..3 {
        lan.start(bob);
        for _ in 0..100 {
            lan.run_for(100);
            record(&lan, &mut recorded);
        }
        if run < 2 {
            lan.kill(bob);
        }
    }
    lan.start(alice);
    ms_until_linked(&mut lan, alice, bob, |lan, n| {
        record(lan, &mut recorded);
        let beacon = &recorded[lan.random(recorded.len() as u64) as usize];
        lan.inject_datagram(alice, 1, silent_source(n % 50), beacon);
    })
}
