//! Floods of streams, for the table of bounds: what strangers may cost before a link stands, whom
//! they keep out, and whom they delay.
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use p2pchat::base::event::input::Input;
use p2pchat::base::identity::Identity;
use p2pchat::wire::message::Message;
use p2pchat::wire::noise::{Handshake, Role, StaticKey};

use super::made_up::{forged_beacon, linked_pair, made_up_peer, silent_source};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, open_stream_from};

/// The longest wait for a flooded `send`.
const SEND_LIMIT_MS: u64 = 20_000;

/// Alice runs, with no other peer.
fn alone(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    (lan, alice)
}

/// Sends the plaintext up to 1000 times, until the stream is closed. Returns how often it was
/// accepted.
fn send_until_closed(lan: &mut Lan, who: PeerIndex, peer: &mut ScriptedPeer, plain: &[u8]) -> u64 {
    let times = (0..1_000).take_while(|_| {
        peer.send_plaintext(lan, plain);
        !lan.has_closed(who, peer.stream)
    });
    times.count() as u64
}

/// The most frames without payload that the deferred streams of one peer keep at one time.
pub fn frames_of_deferred_streams(seed: u64) -> u64 {
    let (mut lan, alice) = alone(seed);
    let _linked = ScriptedPeer::connect(&mut lan, alice, 1);
    // The same key, and another stream and run.
    let second_run = |lan: &mut Lan, n: u64| {
        let mut second = ScriptedPeer::handshake(lan, alice, 1 + (n << 16));
        let Message::Hello(mut hello) = second.hello() else {
            panic!("a hello");
        };
        hello.run += 1;
        second.send(lan, &Message::Hello(hello));
        second
    };
    let mut peers: Vec<ScriptedPeer> = (1..=8).map(|n| second_run(&mut lan, n)).collect();
    let frames = [1, 0, 0, 0, 0].repeat(100);
    let (mut sent, mut most) = (0, 0);
    while sent < 2_000 && !peers.is_empty() {
        for peer in &mut peers {
            peer.send_plaintext(&mut lan, &frames);
        }
        sent += 100;
        peers.retain(|peer| !lan.has_closed(alice, peer.stream));
        most = most.max(sent * peers.len() as u64);
    }
    most
}

/// The bytes that a stream gets in before its hello is complete.
pub fn bytes_before_the_hello(seed: u64) -> u64 {
    let (mut lan, alice) = alone(seed);
    let mut mallory = ScriptedPeer::handshake(&mut lan, alice, 1);
    mallory.send_plaintext(&mut lan, &[1, 0, 8, 0, 0]);
    100 * send_until_closed(&mut lan, alice, &mut mallory, &[b' '; 100])
}

/// The first bytes of a valid handshake.
fn first_message() -> Vec<u8> {
    let secret = Identity::from_seed(&[9; 32]).noise_secret();
    let mut bytes = Vec::new();
    let begun = Handshake::new(
        Role::Initiator,
        &StaticKey::new(&secret),
        None,
        [1; 32],
        &mut bytes,
    );
    assert!(begun.is_ok());
    bytes
}

/// Begins a handshake from this address, and never finishes it.
fn begin_handshake(lan: &mut Lan, who: PeerIndex, n: u64, address: SocketAddr, bytes: &[u8]) {
    let stream = open_stream_from(lan, who, n, address);
    lan.feed(who, Input::Bytes { stream, bytes });
}

/// Milliseconds until bob is linked, who dials alice, and at most 200. Meanwhile `per_ms` further
/// handshakes begin every ms, from the addresses that `address` returns.
fn ms_until_admitted(
    seed: u64,
    was_linked: bool,
    per_ms: u64,
    address: fn(u64) -> SocketAddr,
) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    for who in [alice, bob] {
        lan.peers[who].beacons_enabled = false;
    }
    let alices = lan.address(alice);
    lan.start(alice);
    if was_linked {
        lan.start(bob);
        lan.add_static_peer(bob, alices);
        lan.run_until_linked(alice, bob, 100);
        lan.kill(bob);
        lan.run_for(100);
    }
    let bytes = first_message();
    for n in 0..64 {
        begin_handshake(&mut lan, alice, n, address(n), &bytes);
    }
    lan.run_for(1);
    lan.start(bob);
    lan.add_static_peer(bob, alices);
    let calls = (0..200).take_while(|call| {
        for n in 0..per_ms {
            let n = 64 + call * per_ms + n;
            begin_handshake(&mut lan, alice, n, address(n), &bytes);
        }
        lan.run_for(1);
        !lan.are_linked(alice, bob)
    });
    calls.count() as u64
}

/// One of 1000 IPv4 addresses.
fn one_of_many_addresses(n: u64) -> SocketAddr {
    let n = (n % 1000) as u16;
    SocketAddr::from(([10, 9, (n >> 8) as u8, n as u8], 5000))
}

/// Bob was never linked.
pub fn link_among_many_addresses(seed: u64) -> u64 {
    ms_until_admitted(seed, false, 2, one_of_many_addresses)
}

/// Bob was linked before.
pub fn relink_among_many_addresses(seed: u64) -> u64 {
    ms_until_admitted(seed, true, 70, one_of_many_addresses)
}

/// Each handshake comes from another IPv6 address of one host.
pub fn link_among_ipv6_addresses(seed: u64) -> u64 {
    ms_until_admitted(seed, false, 70, |n| {
        let address = Ipv6Addr::from_bits((0x2001_0db8 << 96) + u128::from(n));
        (IpAddr::V6(address), 5000).into()
    })
}

/// Milliseconds until alice's line counts as delivered, while `flood` is called every 4 ms.
fn ms_until_settled(seed: u64, flood: impl Fn(&mut Lan, PeerIndex, u64)) -> u64 {
    let (mut lan, alice, _) = linked_pair(seed, "bob");
    flood(&mut lan, alice, 0);
    lan.say(alice, "hello");
    lan.finish(alice, None);
    let started_at = lan.now_ms;
    let calls = (1..SEND_LIMIT_MS / 4).take_while(|n| {
        flood(&mut lan, alice, *n);
        lan.run_for(4);
        !lan.peers[alice].is_settled()
    });
    calls.count();
    lan.now_ms - started_at
}

/// The flood opens a stream without bytes every 4 ms.
pub fn settle_among_bare_streams(seed: u64) -> u64 {
    ms_until_settled(seed, |lan, alice, n| {
        open_stream_from(lan, alice, n, silent_source(n % 50));
    })
}

/// The flood begins a handshake every 100 ms, and finishes none.
pub fn settle_among_begun_handshakes(seed: u64) -> u64 {
    let bytes = first_message();
    ms_until_settled(seed, |lan, alice, n| {
        if n % 25 == 0 {
            begin_handshake(lan, alice, n, silent_source(n % 50), &bytes);
        }
    })
}

/// The flood sends a beacon of another made-up peer every second.
pub fn settle_among_forged_beacons(seed: u64) -> u64 {
    ms_until_settled(seed, |lan, alice, n| {
        if n % 250 == 0 {
            let beacon = forged_beacon(made_up_peer(n), n, 9999);
            lan.inject_datagram(alice, 1, silent_source(n % 50), &beacon);
        }
    })
}
