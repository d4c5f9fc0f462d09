//! Duplicate identities: two programs that run with one key.
use std::net::SocketAddr;

use crate::support::lan::Lan;

/// Two programs with one key that do not see each other are both notified, once, by the neighbour
/// that sees both; the first keeps its link. A replayed beacon is no proof of life.
#[test]
fn a_common_neighbour_reveals_a_duplicate_identity() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        lan.invariants.allows_duplicate_identity = true;
        let [alice, bob, clone] = lan.add_peers(["alice", "bob", "clone"]);
        lan.peers[clone].identity_seed = lan.peers[bob].identity_seed;
        lan.peers[clone].id = lan.peers[bob].id;
        // Bob and his clone have no path to each other: alice alone sees both.
        lan.cut(bob, clone);
        lan.start(alice);
        lan.start(bob);
        let beacon = lan.last_beacon.clone();
        lan.run_until_linked(alice, bob, 2_000);
        lan.run_for(5_000);
        lan.start(clone);
        // A replayed beacon must not pass for the answer that proves a second program.
        lan.network.conditions.stream_delay_max_ms = 20;
        for _ in 0..600 {
            let source = SocketAddr::from(([10, 0, 0, 2], 40_000));
            lan.inject_datagram(alice, 1, source, &beacon);
            lan.run_for(1);
        }
        lan.network.conditions.stream_delay_max_ms = 1;
        lan.run_until("both are notified", 3_000, |lan| {
            lan.peers[bob].duplicate_identity_count() == 1
                && lan.peers[clone].duplicate_identity_count() == 1
        });
        lan.run_for(120_000);
        assert_eq!(
            lan.peers[bob].duplicate_identity_count(),
            1,
            "notified once"
        );
        assert_eq!(
            lan.peers[clone].duplicate_identity_count(),
            1,
            "notified once"
        );
        assert_eq!(
            lan.peers[alice].left_count(lan.id(bob)),
            0,
            "bob stays linked"
        );
        assert!(lan.are_linked(alice, bob));
        let joined = lan.peers[clone].joined_count(lan.id(alice));
        assert!((3..=80).contains(&joined), "the clone came {joined} times");
    }
}

/// Two programs with one key that receive each other's beacons are both notified once and form no
/// link.
#[test]
fn duplicate_identities_in_reach_notify_each_other() {
    let mut lan = Lan::new(6);
    lan.invariants.allows_duplicate_identity = true;
    let [bob, clone] = lan.add_peers(["bob", "clone"]);
    lan.peers[clone].identity_seed = lan.peers[bob].identity_seed;
    lan.peers[clone].id = lan.peers[bob].id;
    lan.start(bob);
    lan.run_for(700);
    lan.start(clone);
    lan.run_for(100_000);
    for who in [bob, clone] {
        assert_eq!(lan.peers[who].duplicate_identity_count(), 1);
        assert!(lan.linked_peers(who).is_empty());
    }
}
