//! Introductions of peers that do not exist, at addresses of others.
use std::net::{IpAddr, SocketAddr};

use p2pchat::base::identity::PeerId;
use p2pchat::wire::message::{ByeReason, Hello, Message};

use super::made_up::{linked_pair, made_up_peer};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

/// An address of a host that answers no dial.
pub fn silent_host(n: u64) -> SocketAddr {
    SocketAddr::from(([10, 0, 60 + (n >> 8) as u8, n as u8], 9999))
}

/// Introduces each of these peers at its address.
pub fn introduce(lan: &mut Lan, liar: &mut ScriptedPeer, peers: &[(PeerId, SocketAddr)]) {
    for some in peers.chunks(64) {
        let codes = some.iter().map(|(id, address)| format!("{id}@{address}"));
        let peers = codes.collect();
        liar.send(lan, &Message::Peers { peers });
    }
}

/// Alice, who sends no beacons, linked with peers that come from these hosts.
pub fn alice_and_liars(seed: u64, count: u64) -> (Lan, PeerIndex, Vec<ScriptedPeer>) {
    let mut lan = Lan::new(seed);
    let [alice] = lan.add_peers(["alice"]);
    lan.peers[alice].beacons_enabled = false;
    lan.start(alice);
    let liars = (0..count).map(|n| liar_from(&mut lan, alice, n, [10, 0, 50, n as u8]));
    let liars = liars.collect();
    (lan, alice, liars)
}

/// A peer that is linked with alice, from this host.
fn liar_from(lan: &mut Lan, alice: PeerIndex, n: u64, host: [u8; 4]) -> ScriptedPeer {
    let identity = ScriptedPeer::identity(n);
    let address = SocketAddr::from((host, 5000));
    let mut liar = ScriptedPeer::handshake_from(lan, alice, n, identity, address);
    if let Message::Hello(hello) = liar.hello() {
        // It does not listen, so nobody dials it. It is in no room, so nobody waits for it.
        let (port, rooms) = (0, Vec::new());
        let hello = Message::Hello(Hello {
            port,
            rooms,
            ..hello
        });
        liar.send(lan, &hello);
    }
    liar
}

/// Number of different hosts that were dialed so far.
fn hosts_dialed(lan: &Lan) -> u64 {
    lan.network.dials_of_host.len() as u64
}

/// Dials while a peer introduces others all the time.
pub fn dials_in_a_minute(seed: u64) -> u64 {
    let (mut lan, _, mut liars) = alice_and_liars(seed, 1);
    for round in 0..60 {
        let made_up = (0..167).map(|n| (made_up_peer(round * 167 + n), silent_host(n)));
        introduce(&mut lan, &mut liars[0], &made_up.collect::<Vec<_>>());
        lan.run_for(1_000);
    }
    assert!(lan.network.dial_count > 30);
    lan.network.dial_count
}

/// Dials of a host whose ports many peers introduce.
pub fn dials_of_a_victim(seed: u64) -> u64 {
    let (mut lan, _, mut liars) = alice_and_liars(seed, 10);
    let victim = IpAddr::from([10, 0, 99, 1]);
    for (number, liar) in (0..).zip(&mut liars) {
        let port = |n: u64| SocketAddr::new(victim, 1 + n as u16);
        let made_up = (0..200).map(|n| (made_up_peer(number * 200 + n), port(n)));
        introduce(&mut lan, liar, &made_up.collect::<Vec<_>>());
    }
    lan.run_for(59_000);
    lan.network.dials_of_host[&victim]
}

/// Hosts that are dialed because one peer introduced others there.
pub fn hosts_of_a_source(seed: u64) -> u64 {
    let (mut lan, alice, mut liars) = alice_and_liars(seed, 1);
    // Another key of the same host counts as the same source.
    liars.push(liar_from(&mut lan, alice, 100, [10, 0, 50, 0]));
    for (number, liar) in (0..).zip(&mut liars) {
        let made_up = (0..125).map(|n| number * 125 + n);
        let made_up = made_up.map(|n| (made_up_peer(n), silent_host(n)));
        introduce(&mut lan, liar, &made_up.collect::<Vec<_>>());
    }
    lan.run_for(100_000);
    hosts_dialed(&lan)
}

/// Hosts that are dialed because many peers introduced others there.
pub fn hosts_of_many_sources(seed: u64) -> u64 {
    let (mut lan, _, mut liars) = alice_and_liars(seed, 12);
    for (number, liar) in (0..).zip(&mut liars) {
        let made_up = (0..32).map(|n| number * 32 + n);
        let made_up = made_up.map(|n| (made_up_peer(n), silent_host(n)));
        introduce(&mut lan, liar, &made_up.collect::<Vec<_>>());
    }
    lan.run_for(400_000);
    hosts_dialed(&lan)
}

/// Hosts that are dialed because some peers introduced bob there.
fn hosts_of_bob(seed: u64, count: u64) -> u64 {
    let (mut lan, _, mut liars) = alice_and_liars(seed, count);
    for n in 0..30 {
        for (number, liar) in (0..).zip(&mut liars) {
            let hosts = (0..8).map(|m| silent_host(8 * (30 * number + n) + m).to_string());
            let hosts: Vec<String> = hosts.collect();
            let peers = vec![format!("{}@{}", made_up_peer(0), hosts.join(","))];
            liar.send(&mut lan, &Message::Peers { peers });
        }
    }
    lan.run_for(60_000);
    hosts_dialed(&lan)
}

/// Hosts that are dialed because one peer introduced bob there.
pub fn hosts_of_a_peer_and_a_source(seed: u64) -> u64 {
    hosts_of_bob(seed, 1)
}

/// Hosts that are dialed because three peers introduced bob there.
pub fn hosts_of_a_peer(seed: u64) -> u64 {
    hosts_of_bob(seed, 3)
}

/// Dials because of the last peer of a long message.
pub fn dials_of_a_long_message(seed: u64) -> u64 {
    let (mut lan, alice, mut liars) = alice_and_liars(seed, 1);
    let own = format!("{}@10.0.61.1:9999", lan.id(alice));
    let mut peers = vec![own; 64];
    peers.push(format!("{}@{}", made_up_peer(0), silent_host(0)));
    liars[0].send(&mut lan, &Message::Peers { peers });
    lan.run_for(10_000);
    lan.network.dial_count
}

/// Dials of an address that was introduced once.
pub fn dials_of_a_silent_address(seed: u64) -> u64 {
    let (mut lan, _, mut liars) = alice_and_liars(seed, 1);
    introduce(
        &mut lan,
        &mut liars[0],
        &[(made_up_peer(0), silent_host(0))],
    );
    lan.run_for(3_600_000);
    assert!(lan.network.dial_count > 1);
    lan.network.dial_count
}

/// Milliseconds until a line is settled with bob, while introduced addresses are dialed.
pub fn settle_among_introductions(seed: u64) -> u64 {
    let (mut lan, alice, _) = linked_pair(seed, "bob");
    let mut liar = liar_from(&mut lan, alice, 1, [10, 0, 50, 1]);
    let made_up = (0..32).map(|n| (made_up_peer(n), silent_host(n)));
    introduce(&mut lan, &mut liar, &made_up.collect::<Vec<_>>());
    lan.run_for(1_000);
    assert!(lan.network.dial_count > 1, "no dial is under way");
    lan.say(alice, "a line");
    lan.finish(alice, None);
    lan.run_until("the line is settled", 10_000, |lan| {
        lan.peers[alice].is_settled()
    })
}

/// Nothing is dialed that means another host, or none, to the one who introduces it.
#[test]
fn no_introduction_leads_to_ourselves_or_astray() {
    let refused = [
        "0.0.0.0:9999",
        "127.0.0.1:22",
        "[::ffff:127.0.0.1]:22",
        "[::1]:22",
        "[::]:9999",
        "224.0.0.1:9999",
        "255.255.255.255:9999",
        "[ff02::1]:9999",
        "169.254.1.1:9999",
        "[fe80::1]:9999",
        "10.0.61.1:0",
        "0.1.2.3:9999",
        "240.0.0.1:9999",
        "no address",
        "box.example:9999",
    ];
    let (mut lan, alice, mut liars) = alice_and_liars(1, 1);
    let own = (lan.address(alice), lan.id(alice));
    let mut peers = vec![
        format!("{}@{}", made_up_peer(99), own.0),
        format!("{}@{}", own.1, silent_host(1)),
        format!("{}@", made_up_peer(98)),
        String::new(),
        "@@@".to_owned(),
    ];
    for (n, address) in (0..).zip(refused) {
        peers.push(format!("{}@{address}", made_up_peer(n)));
    }
    liars[0].send(&mut lan, &Message::Peers { peers });
    // A peer of the internet knows no host of our site.
    let mut stranger = liar_from(&mut lan, alice, 7, [203, 0, 113, 5]);
    let own_site = (made_up_peer(97), silent_host(2));
    introduce(&mut lan, &mut stranger, &[own_site]);
    for address in ["100.64.0.1:9999", "198.19.0.1:9999", "[fec0::1]:9999"] {
        let address = address.parse().expect("an address");
        introduce(&mut lan, &mut stranger, &[(made_up_peer(96), address)]);
    }
    // A peer of another link knows no link-local address of ours.
    let mut neighbour = liar_from(&mut lan, alice, 8, [169, 254, 7, 7]);
    let other_link = SocketAddr::from(([169, 254, 1, 1], 9999));
    introduce(&mut lan, &mut neighbour, &[(made_up_peer(95), other_link)]);
    lan.run_for(5_000);
    assert_eq!(lan.network.dials_of_host, Default::default());
    assert!(lan.is_running(alice));
    // The same address is dialed when a peer of the site introduces it.
    introduce(&mut lan, &mut liars[0], &[own_site]);
    lan.run_for(1_000);
    assert_eq!(lan.network.dial_count, 1);
}

/// Whoever answers at an introduced address has no link by that, if its key is another one. The
/// address fails, and nobody is told.
#[test]
fn an_introduced_address_is_not_believed() {
    let (mut lan, alice, mut liars) = alice_and_liars(1, 1);
    let bob = lan.add_peer("bob");
    lan.peers[bob].beacons_enabled = false;
    lan.start(bob);
    let lie = (made_up_peer(0), lan.address(bob));
    introduce(&mut lan, &mut liars[0], &[lie]);
    lan.run_for(600_000);
    assert!((1..=6).contains(&lan.network.dial_count));
    assert!(!lan.are_linked(alice, bob));
    assert_eq!(lan.peers[bob].joined_count(lan.id(alice)), 0);
    assert_eq!(lan.peers[alice].error_count("wrong-key"), 0);
}

/// A peer that introduces made-up peers all the time delays honest introductions by a minute at
/// most.
#[test]
fn honest_introductions_get_their_turn() {
    let (mut lan, alice, mut liars) = alice_and_liars(1, 1);
    let [hub, bob] = lan.add_peers(["hub", "bob"]);
    for who in [hub, bob] {
        lan.peers[who].beacons_enabled = false;
        lan.start(who);
    }
    let hubs = lan.address(hub);
    lan.add_static_peer(alice, hubs);
    let mut flood = |lan: &mut Lan| {
        let base = lan.now_ms * 100;
        let made_up = (0..64).map(|n| (made_up_peer(base + n), silent_host(n)));
        introduce(lan, &mut liars[0], &made_up.collect::<Vec<_>>());
        lan.run_for(1_000);
    };
    (0..30).for_each(|_| flood(&mut lan));
    lan.add_static_peer(bob, hubs);
    // Only alice can dial.
    lan.peers[bob].executes = |output| {
        let hub = SocketAddr::from(([10, 0, 0, 2], 9999));
        !matches!(output, p2pchat::base::event::output::Output::Dial { address, .. } if *address != hub)
    };
    let since = lan.now_ms;
    while !lan.are_linked(alice, bob) {
        assert!(lan.now_ms - since < 60_000, "bob is not dialed");
        flood(&mut lan);
    }
}

/// Addresses of hosts that are off outlast 100 keys that one host invents, and any number of keys
/// at addresses that mean nothing in a later run. The address of a linked peer outlasts all.
#[test]
fn invented_keys_oust_no_remembered_address() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        let code = |n| format!("{}@{}\n", made_up_peer(n), silent_host(n));
        let remembered: Vec<String> = (0..63).map(code).collect();
        lan.peers[alice].addresses = remembered.concat();
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, 1_000);
        let host = |n: u64| match n % 3 {
            0 => IpAddr::from([10, 0, 50, 1]),
            1 => IpAddr::from([0xfe80, 0, 0, 0, 0, 0, 1, n as u16]),
            _ => IpAddr::from([127, 0, 1, n as u8]),
        };
        for n in 0..300 {
            let identity = ScriptedPeer::identity(n);
            let address = SocketAddr::new(host(n), 5000);
            let mut liar = ScriptedPeer::handshake_from(&mut lan, alice, n, identity, address);
            let hello = liar.hello();
            liar.send(&mut lan, &hello);
            let reason = ByeReason::Leave;
            liar.send(&mut lan, &Message::Bye { reason });
        }
        lan.run_for(11_000);
        let saved = &lan.peers[alice].addresses;
        let is_saved = |id: PeerId| saved.contains(&id.to_string());
        let kept = (0..63).filter(|n| is_saved(made_up_peer(*n))).count();
        assert!(kept >= 62, "{kept}");
        assert!(!saved.contains("@127."), "{saved}");
        assert_eq!(
            saved.lines().count(),
            64,
            "a link-local address takes a place"
        );
        assert!(is_saved(lan.id(bob)));
    }
}

/// A peer, and the address at which it listens. It dials nobody.
fn listener(lan: &mut Lan) -> (PeerIndex, SocketAddr) {
    let bob = lan.add_peer("bob");
    lan.peers[bob].beacons_enabled = false;
    lan.start(bob);
    (bob, lan.address(bob))
}

/// Made-up peers at a host delay the dials of a peer there, by the limit for a host only.
#[test]
fn made_up_peers_at_a_host_do_not_starve_its_peer() {
    let (mut lan, alice, mut liars) = alice_and_liars(1, 2);
    let (bob, address) = listener(&mut lan);
    let port = |n: u64| SocketAddr::new(address.ip(), 1 + n as u16);
    let made_up: Vec<_> = (0..32).map(|n| (made_up_peer(n), port(n))).collect();
    introduce(&mut lan, &mut liars[0], &made_up);
    lan.run_for(2_000);
    let honest = (lan.id(bob), address);
    introduce(&mut lan, &mut liars[1], &[honest]);
    let since = lan.now_ms;
    while !lan.are_linked(alice, bob) {
        assert!(lan.now_ms - since < 600_000, "bob is not dialed");
        introduce(&mut lan, &mut liars[0], &made_up);
        lan.run_for(1_000);
    }
}

/// False addresses of a peer give way to another one of it.
#[test]
fn false_addresses_do_not_shut_out_a_peer() {
    for count in [1, 2] {
        let (mut lan, alice, mut liars) = alice_and_liars(1, 2);
        let (bob, address) = listener(&mut lan);
        let id = lan.id(bob);
        let lie = |lan: &mut Lan, liars: &mut [ScriptedPeer]| {
            for (n, liar) in (0..).zip(&mut liars[..count]) {
                let lies = (0..4).map(|m| (id, silent_host(10 * n + m)));
                introduce(lan, liar, &lies.collect::<Vec<_>>());
            }
        };
        for _ in 0..20 {
            lie(&mut lan, &mut liars);
            lan.run_for(1_000);
        }
        let mut honest = liar_from(&mut lan, alice, 50, [10, 0, 50, 9]);
        introduce(&mut lan, &mut honest, &[(id, address)]);
        let since = lan.now_ms;
        while !lan.are_linked(alice, bob) {
            assert!(lan.now_ms - since < 60_000, "bob is not dialed: {count}");
            lie(&mut lan, &mut liars);
            lan.run_for(1_000);
        }
    }
}

/// The introductions of one more source are dialed, though others have filled the book.
#[test]
fn a_full_book_takes_introductions_of_another_source() {
    let (mut lan, alice, mut liars) = alice_and_liars(1, 9);
    let (bob, address) = listener(&mut lan);
    for (number, liar) in (0..8).zip(&mut liars) {
        let made_up = (0..32).map(|n| number * 32 + n);
        let made_up = made_up.map(|n| (made_up_peer(n), silent_host(n)));
        introduce(&mut lan, liar, &made_up.collect::<Vec<_>>());
    }
    let honest = (lan.id(bob), address);
    introduce(&mut lan, &mut liars[8], &[honest]);
    lan.run_until_linked(alice, bob, 600_000);
}

/// The book leaves the last links of a full mesh to peers that find us. Introductions alone would
/// otherwise fill them everywhere, and newcomers would be refused.
#[test]
fn the_book_takes_no_last_link() {
    for (count, dials) in [(47, 1), (48, 0)] {
        let (mut lan, _, mut liars) = alice_and_liars(1, count);
        introduce(
            &mut lan,
            &mut liars[0],
            &[(made_up_peer(0), silent_host(0))],
        );
        lan.run_for(2_000);
        assert_eq!(lan.network.dial_count, dials, "{count} links");
    }
}
