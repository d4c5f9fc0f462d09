//! Forged beacons: from outside the network, and goodbyes in the name of others.
use std::net::SocketAddr;

use p2pchat::wire::beacon::BeaconKind;

use super::bounds::{forged_beacon, forged_beacon_of_kind, made_up_peer, silent_source};
use crate::support::lan::Lan;

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
        let goodbye = forged_beacon_of_kind(BeaconKind::Leave, peer, run, 9999);
        lan.inject_datagram(alice, 1, source, &goodbye);
        lan.run_for(100);
        lan.node(alice).heard_peer_count()
    };
    assert_eq!(heard_after(peer, 1, silent_source(2)), 1, "another host");
    assert_eq!(heard_after(peer, 2, source), 1, "another run");
    assert_eq!(heard_after(made_up_peer(2), 1, source), 1, "another peer");
    assert_eq!(heard_after(peer, 1, source), 0);
}
