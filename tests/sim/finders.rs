//! What finders find leads to links, also without an id, and nothing of it is believed.
use std::net::SocketAddr;

use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::PeerId;
use p2pchat::base::interface::FoundVia;
use p2pchat::wire::code::ConnectionCode;

use crate::hostile::made_up::made_up_peer;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// Reports that the finder found these addresses.
pub fn find(
    lan: &mut Lan,
    who: PeerIndex,
    via: FoundVia,
    peer: Option<PeerId>,
    addresses: &[SocketAddr],
) {
    let addresses = addresses.to_vec();
    lan.feed(
        who,
        Input::PeerFound {
            via,
            peer,
            addresses,
        },
    );
}

/// Peers on hosts of their own that run and send no beacons.
pub fn quiet_peers<const N: usize>(lan: &mut Lan, names: [&str; N]) -> [PeerIndex; N] {
    let peers = lan.add_peers(names);
    for who in peers {
        lan.peers[who].beacons_enabled = false;
        lan.start(who);
    }
    peers
}

fn found_via(lan: &mut Lan, who: PeerIndex) -> Vec<FoundVia> {
    lan.feed(who, Input::Command(Command::Peers));
    match lan.peers[who].notices.pop() {
        Some((_, _, Notice::Peers(rows))) => rows.into_iter().map(|row| row.found_via).collect(),
        _ => Vec::new(),
    }
}

/// Bob is dialed soon, with and without his id. The row of `peers` says how he was found.
#[test]
fn a_found_peer_is_linked() {
    let finders = [
        FoundVia::Mdns,
        FoundVia::Scan,
        FoundVia::Dht,
        FoundVia::Grenache,
    ];
    for via in finders {
        for is_named in [true, false] {
            let mut lan = Lan::new(1);
            let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
            let (id, address) = (lan.id(bob), lan.address(bob));
            find(&mut lan, alice, via, is_named.then_some(id), &[address]);
            lan.run_until_linked(alice, bob, 500);
            assert_eq!(found_via(&mut lan, alice), [via]);
            assert_eq!(found_via(&mut lan, bob), [FoundVia::Incoming]);
        }
    }
}

/// An id that was looked up is dialed as an endpoint of the user: only its peer may answer, and its
/// row says that the DHT found it. Another peer at a private address of it is no error: bob may be
/// elsewhere, and carol our neighbour.
#[test]
fn a_peer_that_was_looked_up_is_pinned() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = quiet_peers(&mut lan, ["alice", "bob", "carol"]);
    let (id, own, others) = (lan.id(bob), lan.address(bob), lan.address(carol));
    let looked_up = |address| Input::EndpointResolved {
        endpoint: format!("@{id}"),
        addresses: vec![address],
        peer: Some(id),
        is_requested: true,
    };
    lan.endpoints
        .insert(format!("@{id}"), (vec![others], Some(id)));
    lan.feed(alice, looked_up(others));
    lan.run_for(2_000);
    let codes: Vec<ErrorCode> = lan.peers[alice]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Error { code, .. } => Some(*code),
            _ => None,
        })
        .collect();
    assert_eq!(codes, [ErrorCode::Unreachable]);
    assert!(found_via(&mut lan, alice).is_empty());
    lan.feed(alice, looked_up(own));
    lan.run_until_linked(alice, bob, 500);
    assert_eq!(found_via(&mut lan, alice), [FoundVia::Dht]);
}

/// An address that led to a link is dialed in the next run, too.
#[test]
fn a_found_peer_is_remembered() {
    let mut lan = Lan::new(1);
    let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
    let address = lan.address(bob);
    find(&mut lan, alice, FoundVia::Scan, None, &[address]);
    lan.run_until_linked(alice, bob, 500);
    lan.stop(alice);
    let code = ConnectionCode::new(lan.id(bob), &[address]).to_string();
    assert_eq!(lan.peers[alice].addresses, code + "\n");
    lan.start(alice);
    lan.run_until_linked(alice, bob, 2_500);
    assert_eq!(found_via(&mut lan, alice), [FoundVia::Remembered]);
}

/// A program that leaves soon uses finders, too.
#[test]
fn a_transient_peer_dials_what_is_found() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[alice].transient = true;
    for who in [alice, bob] {
        lan.peers[who].beacons_enabled = false;
        lan.start(who);
    }
    let (id, address) = (lan.id(bob), lan.address(bob));
    find(&mut lan, alice, FoundVia::Mdns, Some(id), &[address]);
    lan.run_until_linked(alice, bob, 500);
}

/// Each finding comes again and again. A linked peer is not dialed for that, except once at an
/// address at which nobody is named.
#[test]
fn findings_of_a_linked_peer_cause_one_dial() {
    let mut lan = Lan::new(1);
    let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
    let (address, alices) = (lan.address(bob), lan.address(alice));
    find(&mut lan, bob, FoundVia::Mdns, None, &[alices]);
    lan.run_until_linked(alice, bob, 500);
    for _ in 0..50 {
        find(&mut lan, alice, FoundVia::Mdns, None, &[address]);
        find(&mut lan, bob, FoundVia::Mdns, None, &[alices]);
        lan.run_for(2_000);
    }
    assert_eq!(lan.network.dial_count, 2);
    // The address is known with its peer now, so bob is found again when the link has failed.
    let id = lan.id(bob);
    find(&mut lan, alice, FoundVia::Mdns, Some(id), &[address]);
    lan.run_for(2_000);
    assert_eq!(lan.network.dial_count, 2);
    lan.cut(alice, bob);
    lan.run_for(60_000);
    assert!(!lan.are_linked(alice, bob));
    lan.heal();
    lan.run_until_linked(alice, bob, 70_000);
}

/// Our own address is recognised: by its port on an address of ours, by our id, or when our own
/// program answers.
#[test]
fn our_own_address_is_not_dialed() {
    let mut lan = Lan::new(1);
    let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
    let (id, own, bobs) = (lan.id(alice), lan.address(alice), lan.address(bob));
    let loopback = SocketAddr::from(([127, 0, 0, 1], own.port()));
    find(&mut lan, alice, FoundVia::Mdns, None, &[own, loopback]);
    find(&mut lan, alice, FoundVia::Mdns, Some(id), &[bobs]);
    lan.run_for(10_000);
    assert_eq!(lan.network.dial_count, 0);
}

/// Nobody has these addresses, or the finder cannot know them.
#[test]
fn impossible_addresses_are_not_dialed() {
    let mut lan = Lan::new(1);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    let impossible = [
        "0.0.0.0:9999",
        "[::]:9999",
        "224.0.0.1:9999",
        "255.255.255.255:9999",
        "[ff02::1]:9999",
        "10.0.61.1:0",
        "0.1.2.3:9999",
        "240.0.0.1:9999",
    ];
    let far = ["203.0.113.5:9999", "[2001:db8::1]:9999"];
    // Multicast DNS is of the link alone. The services of its hosts have low ports.
    let elsewhere = [
        "192.168.7.7:9999",
        "100.64.0.1:9999",
        "[fd00::7]:9999",
        "10.0.61.1:22",
        "10.0.61.1:1023",
    ];
    let other_links = elsewhere.map(|text| text.parse::<SocketAddr>().expect("an address"));
    for address in other_links {
        find(&mut lan, alice, FoundVia::Mdns, None, &[address]);
    }
    let parse = |text: &str| [text.parse::<SocketAddr>().expect("an address")];
    for address in impossible.map(parse) {
        for via in [FoundVia::Mdns, FoundVia::Dht] {
            find(&mut lan, alice, via, None, &address);
        }
    }
    for address in far.map(parse) {
        find(&mut lan, alice, FoundVia::Mdns, None, &address);
    }
    lan.run_for(10_000);
    assert_eq!(lan.network.dials_of_host, Default::default());
    for address in far.map(parse) {
        find(&mut lan, alice, FoundVia::Dht, None, &address);
    }
    lan.run_for(10_000);
    assert_eq!(lan.network.dials_of_host.len(), 2);
}

/// Who answers at a found address has a link by it only with the named key, or if none is named.
#[test]
fn a_found_address_is_not_believed() {
    let mut lan = Lan::new(1);
    let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
    let address = lan.address(bob);
    let lie = Some(made_up_peer(0));
    find(&mut lan, alice, FoundVia::Dht, lie, &[address]);
    lan.run_for(600_000);
    assert!((1..=6).contains(&lan.network.dial_count));
    assert!(!lan.are_linked(alice, bob));
    // The lie does not keep bob from being found.
    find(&mut lan, alice, FoundVia::Dht, lie, &[address]);
    find(&mut lan, alice, FoundVia::Mdns, None, &[address]);
    lan.run_until_linked(alice, bob, 2_000);
}
