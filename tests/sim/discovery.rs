//! Discovery: which peers are found, which addresses are dialed, and how soon a link stands.
use std::net::SocketAddr;

use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::Output;

use crate::support::lan::{Lan, REDIAL_MS};

/// Zero set-up on bad networks: with 70 % of datagrams lost, two peers still link within a
/// minute.
#[test]
fn lost_beacons_delay_discovery_only() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.network.conditions.datagram_loss_per_mille = 700;
        lan.start(alice);
        lan.start(bob);
        lan.run_until_linked(alice, bob, 60_000);
    }
}

/// A program started before its network links within 50 ms of the interface appearing, however
/// long it waited.
#[test]
fn a_peer_started_offline_links_once_plugged_in() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.set_plugged(alice, false);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(100_000);
    assert!(!lan.are_linked(alice, bob));
    lan.set_plugged(alice, true);
    lan.run_until_linked(alice, bob, 50);
}

/// A pulled cable is reported within 15 s; once plugged in again the interface change itself
/// triggers the new link.
#[test]
fn a_replugged_cable_relinks_within_a_second() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 100);
    lan.set_plugged(bob, false);
    lan.run_until("gone", 15_000, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
    });
    lan.run_for(120_000);
    lan.set_plugged(bob, true);
    lan.run_until_linked(alice, bob, 1_000);
}

/// `--peer` alone suffices: the address is redialed with backoff until somebody listens, and
/// quickly after a restart of that peer.
#[test]
fn a_static_peer_is_dialed_without_beacons() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[alice].beacons_enabled = false;
    lan.peers[bob].beacons_enabled = false;
    let bobs = lan.address(bob);
    lan.start(alice);
    lan.add_static_peer(alice, bobs);
    lan.run_for(100_000);
    let dials = lan.network.dial_count;
    assert!((5..=12).contains(&dials), "{dials} dials in 100 s");
    lan.start(bob);
    lan.run_until_linked(alice, bob, 64_000);
    lan.run_for(10_000);
    lan.kill(bob);
    lan.run_for(100);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 3_000);
}

/// A static name is resolved again when none of its addresses answers. The user is told once that
/// it does not answer. Names that answer are left alone.
#[test]
fn a_static_name_is_resolved_again_when_it_does_not_answer() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    for who in [alice, bob] {
        lan.peers[who].beacons_enabled = false;
    }
    let nobody = SocketAddr::from(([10, 0, 9, 9], 9999));
    let name = "bob.lan:9999".to_owned();
    lan.endpoints.insert(name.clone(), (vec![nobody], None));
    lan.start(alice);
    lan.start(bob);
    let resolved = lan.resolve(name.clone(), true);
    lan.feed(alice, resolved);
    lan.run_for(60_000);
    assert_eq!(lan.peers[alice].error_count("unreachable"), 1);
    let bobs = lan.address(bob);
    lan.endpoints.insert(name, (vec![bobs], None));
    lan.run_until_linked(alice, bob, 64_000 + 20_000);
    let dials = lan.network.dial_count;
    lan.run_for(300_000);
    assert_eq!(lan.network.dial_count, dials);
    assert_eq!(lan.peers[alice].error_count("unreachable"), 1);
}

/// A user who names an endpoint again has it dialed at once, not after its backoff. If it still does
/// not answer, the user is told so again.
#[test]
fn a_static_peer_named_again_is_dialed_at_once() {
    let mut lan = Lan::new(6);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    for who in [alice, bob] {
        lan.peers[who].beacons_enabled = false;
    }
    lan.start(alice);
    let bobs = lan.address(bob);
    for named in 1..=2 {
        lan.add_candidate(alice, bobs, None);
        lan.run_for(120_000);
        assert_eq!(lan.peers[alice].error_count("unreachable"), named);
    }
    lan.start(bob);
    lan.add_candidate(alice, bobs, None);
    lan.run_until_linked(alice, bob, 500);
}

/// A name that stands for another address each time is dialed with one backoff.
#[test]
fn a_name_with_changing_addresses_is_dialed_with_backoff() {
    let mut lan = Lan::new(7);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    let name = "many.lan:9999".to_owned();
    // Nothing listens on these ports of alice's own host, so each dial is refused at once.
    let host = lan.address(alice).ip();
    let address = |n: u16| SocketAddr::new(host, 20_000 + n);
    lan.endpoints.insert(name.clone(), (vec![address(0)], None));
    let resolved = lan.resolve(name.clone(), true);
    lan.feed(alice, resolved);
    for n in 1..=200 {
        lan.endpoints.insert(name.clone(), (vec![address(n)], None));
        lan.run_for(500);
    }
    let dials = lan.network.dial_count;
    assert!((4..=12).contains(&dials), "{dials} dials in 100 s");
}

/// Two names that trade their addresses lead to both peers again.
#[test]
fn names_that_trade_their_addresses_are_followed() {
    let mut lan = Lan::new(8);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    let [alice, bob, carol] = peers;
    for who in peers {
        lan.peers[who].beacons_enabled = false;
    }
    let names = ["bob.lan:1", "carol.lan:1"].map(str::to_owned);
    let (bobs, carols) = (lan.address(bob), lan.address(carol));
    let ids = [lan.id(bob), lan.id(carol)];
    // At first each name stands for the other's address.
    for (name, id, address) in [(&names[0], ids[0], carols), (&names[1], ids[1], bobs)] {
        lan.endpoints
            .insert(name.clone(), (vec![address], Some(id)));
    }
    lan.start_all(peers);
    for name in &names {
        let resolved = lan.resolve(name.clone(), true);
        lan.feed(alice, resolved);
    }
    lan.run_for(5_000);
    for (name, address) in names.iter().zip([bobs, carols]) {
        lan.endpoints.get_mut(name).expect("a name").0 = vec![address];
    }
    lan.run_until_linked(alice, bob, 64_000);
    lan.run_until_linked(alice, carol, 64_000);
}

/// A static peer that turns out to be ourselves is dialed once and never again.
#[test]
fn the_own_address_is_dialed_once() {
    let mut lan = Lan::new(4);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    let own = lan.address(alice);
    lan.add_static_peer(alice, own);
    lan.run_for(300_000);
    assert_eq!(lan.network.dial_count, 1);
    assert!(lan.linked_peers(alice).is_empty());
}

/// Programs that share a host and an address find each other by their ports, as those on other
/// hosts do.
#[test]
fn programs_on_one_host_link() {
    let mut lan = Lan::new(5);
    let alice = lan.add_peer("alice");
    let bob = lan.add_peer_on("bob", 0);
    let carol = lan.add_peer_on("carol", 0);
    lan.start_all([alice, bob, carol]);
    lan.run_until("all are linked", 100, |lan| {
        lan.are_linked(alice, bob) && lan.are_linked(alice, carol) && lan.are_linked(bob, carol)
    });
    lan.check_links();
}

/// Two hosts that hear each other on two networks end with one link, and announce each other
/// once.
#[test]
fn hosts_on_two_networks_keep_one_link() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.hosts[0].networks = vec![0, 1];
        lan.hosts[1].networks = vec![0, 1];
        lan.hosts[2].networks = vec![1];
        lan.start_all([alice, bob, carol]);
        lan.run_for(5_000);
        lan.check_links();
        assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 1);
    }
}

/// Beacons from a peer that refuses every connection do not defeat the backoff: 8 to 60 dials in
/// two minutes.
#[test]
fn refused_dials_back_off() {
    let mut lan = Lan::new(6);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.network.conditions.dial_refusal_per_mille = 1000;
    lan.start(alice);
    lan.start(bob);
    lan.run_for(120_000);
    let dials = lan.network.dial_count;
    assert!((8..=60).contains(&dials), "{dials} dials in two minutes");
    lan.network.conditions.dial_refusal_per_mille = 0;
    lan.run_until_linked(alice, bob, REDIAL_MS);
}

/// A peer that nobody reaches is dropped from the links, and found within 12 s of the path coming
/// back.
#[test]
fn an_isolated_peer_is_forgotten_and_found_again() {
    let mut lan = Lan::new(7);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(1_000);
    lan.isolate(carol);
    lan.run_for(90_000);
    assert_eq!(lan.linked_peers(alice), [lan.id(bob)]);
    lan.heal();
    lan.run_until("all are linked", 12_000, |lan| {
        lan.are_linked(alice, carol) && lan.are_linked(bob, carol)
    });
    lan.check_links();
}

/// Promise 1: two boxes see each other within milliseconds, in any start order, and report it
/// once.
#[test]
fn two_peers_link_within_12_ms() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.run_for(seed * 37);
        lan.start(bob);
        let took = lan.run_until_linked(alice, bob, 100);
        assert!(took <= 12, "it took {took} ms");
        lan.run_for(30_000);
        for (who, other) in [(alice, bob), (bob, alice)] {
            assert_eq!(lan.peers[who].joined_count(lan.id(other)), 1);
            assert_eq!(lan.peers[who].left_count(lan.id(other)), 0);
        }
        lan.check_links();
    }
}

/// Alice ends and starts again at once, on another port. Her beacon overtakes the end of her old
/// link, which says nothing of her new run: bob dials the new port when the old one has refused.
#[test]
fn a_beacon_that_overtakes_a_goodbye_is_not_forgotten() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.network.conditions.stream_delay_max_ms = 8;
        lan.start_all([alice, bob]);
        lan.run_for(4_000);
        // Her goodbye by beacon is lost. Only the one over the link arrives.
        lan.network.conditions.datagram_loss_per_mille = 1000;
        lan.stop(alice);
        lan.network.conditions.datagram_loss_per_mille = 0;
        lan.peers[alice].port += 1;
        lan.start(alice);
        lan.run_for(1);
        let took = lan.run_until_linked(alice, bob, 2_000);
        assert!(took <= 100, "seed {seed}: it took {took} ms");
    }
}

/// When both dial at once, both keep the same one of the two streams, and neither user sees a
/// join and leave for it.
#[test]
fn crossed_dials_end_in_one_link() {
    for seed in 0..40 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.network.conditions.stream_delay_max_ms = 6;
        lan.start(alice);
        lan.start(bob);
        let (to_alice, to_bob) = (lan.address(alice), lan.address(bob));
        lan.add_static_peer(alice, to_bob);
        lan.add_static_peer(bob, to_alice);
        lan.run_for(3_000);
        lan.check_links();
        assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 1);
        assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 0);
        assert_eq!(lan.peers[bob].left_count(lan.id(alice)), 0);
        assert_eq!(
            lan.peers[alice].notices_of_run().count(),
            1,
            "one notice for each peer"
        );
    }
}

/// A closed network admits only holders of its secret, also when every address is given as a
/// static peer.
#[test]
fn networks_with_different_secrets_do_not_link() {
    let mut lan = Lan::new(9);
    let [open, red, blue, other] = lan.add_peers(["open", "red", "blue", "other"]);
    lan.peers[red].psk = Some([1; 32]);
    lan.peers[other].psk = Some([1; 32]);
    lan.peers[blue].psk = Some([2; 32]);
    lan.start_all([open, red, blue, other]);
    let addresses: Vec<SocketAddr> = [open, red, blue, other].map(|w| lan.address(w)).to_vec();
    for who in [open, red, blue, other] {
        for address in &addresses {
            lan.add_static_peer(who, *address);
        }
    }
    lan.run_for(20_000);
    lan.check_links();
    assert!(lan.are_linked(red, other));
    assert!(lan.linked_peers(open).is_empty() && lan.linked_peers(blue).is_empty());
}

/// An interface that comes and goes causes no beacons on the others. Peers on its network are found
/// at once.
#[test]
fn a_new_interface_causes_no_beacons_elsewhere() {
    let mut lan = Lan::new(6);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    let (host, carols) = (lan.peers[alice].host, lan.peers[carol].host);
    lan.hosts[carols].networks = vec![1];
    lan.start_all([alice, bob, carol]);
    lan.run_for(30_000);
    let count = |lan: &Lan, network| lan.network.beacon_counts.get(&network).copied();
    let quiet = count(&lan, 0).expect("beacons");
    for networks in [vec![0, 1], vec![0]].into_iter().cycle().take(51) {
        lan.hosts[host].networks = networks;
        lan.set_plugged(alice, true);
        lan.run_for(600);
    }
    assert!(lan.are_linked(alice, carol));
    // Alice and bob send one each 10 s.
    let in_churn = count(&lan, 0).expect("beacons") - quiet;
    assert!((4..=8).contains(&in_churn), "{in_churn} beacons in 31 s");
}

/// A firewall lets beacons through and opens for TCP after minutes. The link stands within 15 s of
/// that, whatever the backoff has grown to.
#[test]
fn a_port_that_opens_late_is_dialed_soon() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.network.conditions.dial_refusal_per_mille = 1000;
        lan.start_all([alice, bob]);
        lan.run_for(100_000 + seed * 1_000);
        assert!(!lan.are_linked(alice, bob));
        lan.network.conditions.dial_refusal_per_mille = 0;
        lan.run_until_linked(alice, bob, 15_000);
    }
}

/// Beacons cross an interface that connections do not cross, or the routes name an interface that
/// leads nowhere. Of two dials, one is bound to the interface of the beacon.
#[test]
fn a_dial_over_the_wrong_interface_is_repeated_over_the_other() {
    let works: [fn(&Output) -> bool; 2] = [
        |output| {
            !matches!(
                output,
                Output::Dial {
                    interface: Some(_),
                    ..
                }
            )
        },
        |output| {
            !matches!(
                output,
                Output::Dial {
                    interface: None,
                    ..
                }
            )
        },
    ];
    for (works, within_ms) in works.into_iter().zip([10_000, 100]) {
        let mut lan = Lan::new(9);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        // Only alice can dial.
        lan.peers[alice].beacons_enabled = false;
        lan.peers[alice].executes = works;
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, within_ms);
    }
}

/// Beacons that arrive over a one-way path do not cause endless dials. In the end each of two
/// programs dials once in 24 s at most: a dial times out after 20 s, and a backoff of 8 s is
/// shortened to 4 s at most. The first dials follow sooner. Bob introduces the two to each other, and
/// who gets no beacon dials an introduced address 6 times.
#[test]
fn an_unreachable_peer_is_dialed_with_backoff() {
    let mut lan = Lan::new(30);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.remove_path(alice, carol);
    // Packets get from alice to carol only, so that every dial between them fails.
    let (a, c) = (lan.peers[alice].host, lan.peers[carol].host);
    lan.network.missing_paths.remove(&(a, c));
    lan.start_all([alice, bob, carol]);
    lan.run_for(600_000);
    lan.check_links();
    assert!(lan.are_linked(alice, bob) && lan.are_linked(bob, carol));
    let dials = lan.network.dial_count;
    assert!(
        (40..=2 * (600 / 24 + 5) + 6).contains(&dials),
        "{dials} dials in ten minutes"
    );
}

/// p2pchat in Go uses our group and port. Its beacons are counted, its first one is named to the
/// user, and it is never dialed. A beacon from outside the subnet counts as a foreign datagram only.
#[test]
fn a_program_of_another_protocol_is_named_once() {
    let beacon = br#"{"type":"announce","peer_id":"m_bob","username":"bob","address":"0.0.0.0:8091","port":8091,"timestamp":"2025-11-21T10:31:04+01:00","sequence":0}"#;
    let mut lan = Lan::new(1);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for source in ["10.0.77.1:5", "192.0.2.1:5", "10.0.77.1:5", "10.0.77.2:5"] {
        lan.inject_datagram(alice, 1, source.parse().unwrap(), beacon);
        lan.run_for(5_000);
    }
    let counters = lan.node(alice).counters();
    assert_eq!((counters.foreign_datagrams, counters.go_beacons), (4, 3));
    let named: Vec<String> = lan.peers[alice]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Error {
                code: ErrorCode::OtherProgram,
                content,
            } => Some(content.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(named.len(), 1, "{named:?}");
    assert!(named[0].starts_with("bob at 10.0.77.1 "), "{named:?}");
}
