//! Findings of peers that do not exist, at addresses of others.
use std::net::{IpAddr, SocketAddr};

use p2pchat::base::interface::FoundVia;

use super::introductions::silent_host;
use super::made_up::made_up_peer;
use crate::finders::{find, quiet_peers};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

const FINDERS: [FoundVia; 4] = [
    FoundVia::Mdns,
    FoundVia::Scan,
    FoundVia::Dht,
    FoundVia::Grenache,
];

/// Reports made-up peers, each at another host. Every second one has no id.
fn find_made_up(lan: &mut Lan, who: PeerIndex, via: FoundVia, numbers: std::ops::Range<u64>) {
    for n in numbers {
        let peer = (n % 2 == 0).then(|| made_up_peer(n));
        find(lan, who, via, peer, &[silent_host(n)]);
    }
}

/// Dials while a finder finds 1000 made-up peers a second.
pub fn dials_in_a_minute(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    for _ in 0..60 {
        find_made_up(&mut lan, alice, FoundVia::Mdns, 0..1_000);
        lan.run_for(1_000);
    }
    assert!(lan.network.dial_count > 30);
    lan.network.dial_count
}

/// Dials of a host whose ports a finder finds.
pub fn dials_of_a_victim(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    let victim = IpAddr::from([10, 0, 99, 1]);
    for port in 10_001..11_000 {
        let address = SocketAddr::new(victim, port);
        find(&mut lan, alice, FoundVia::Mdns, None, &[address]);
    }
    lan.run_for(59_000);
    lan.network.dials_of_host[&victim]
}

/// Hosts that are dialed because one finder found 1000 addresses at once.
pub fn hosts_of_a_finder(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    find_made_up(&mut lan, alice, FoundVia::Mdns, 0..1_000);
    lan.run_for(400_000);
    lan.network.dials_of_host.len() as u64
}

/// Hosts that are dialed because all finders found 250 addresses each, and 12 peers introduced
/// others.
pub fn hosts_of_all_finders(seed: u64) -> u64 {
    let (mut lan, alice, mut liars) = super::introductions::alice_and_liars(seed, 12);
    for (number, liar) in (0..).zip(&mut liars) {
        let made_up = (0..32).map(|n| number * 32 + n);
        let made_up = made_up.map(|n| (made_up_peer(n), silent_host(n)));
        super::introductions::introduce(&mut lan, liar, &made_up.collect::<Vec<_>>());
    }
    for (number, via) in (2..).zip(FINDERS) {
        find_made_up(&mut lan, alice, via, number * 250..(number + 1) * 250);
    }
    lan.run_for(500_000);
    lan.network.dials_of_host.len() as u64
}

/// Hosts that are dialed because a finder found bob at 1000 hosts.
pub fn hosts_of_a_peer(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    let bob = Some(made_up_peer(0));
    for n in 0..250 {
        let hosts: Vec<SocketAddr> = (0..4).map(|m| silent_host(4 * n + m)).collect();
        find(&mut lan, alice, FoundVia::Mdns, bob, &hosts);
    }
    lan.run_for(60_000);
    lan.network.dials_of_host.len() as u64
}

/// Hosts that are dialed because a finder found one peer with 1000 addresses, none of them named.
pub fn hosts_of_a_long_finding(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    let hosts: Vec<SocketAddr> = (0..1_000).map(silent_host).collect();
    find(&mut lan, alice, FoundVia::Mdns, None, &hosts);
    lan.run_for(60_000);
    lan.network.dials_of_host.len() as u64
}

/// Dials of an address that was found once.
pub fn dials_of_a_silent_address(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let [alice] = quiet_peers(&mut lan, ["alice"]);
    find_made_up(&mut lan, alice, FoundVia::Mdns, 1..2);
    lan.run_for(3_600_000);
    assert!(lan.network.dial_count > 1);
    lan.network.dial_count
}

/// A flood of one finder keeps no honest finding from its dial: neither an earlier one of the same
/// finder, nor a later one of another.
#[test]
fn honest_findings_get_their_turn() {
    for (via, is_first) in [(FoundVia::Mdns, true), (FoundVia::Scan, false)] {
        let mut lan = Lan::new(1);
        let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
        let address = lan.address(bob);
        if is_first {
            find_made_up(&mut lan, alice, FoundVia::Mdns, 0..30);
            find(&mut lan, alice, via, None, &[address]);
        }
        find_made_up(&mut lan, alice, FoundVia::Mdns, 30..1_000);
        if !is_first {
            find(&mut lan, alice, via, None, &[address]);
        }
        let since = lan.now_ms;
        while !lan.are_linked(alice, bob) {
            assert!(lan.now_ms - since < 90_000, "bob is not dialed");
            find_made_up(&mut lan, alice, FoundVia::Mdns, 0..1_000);
            lan.run_for(1_000);
        }
    }
}

/// Bob announces himself among 1000 false answers, again and again, and is dialed in the end.
#[test]
fn an_honest_finding_outlasts_a_flood() {
    let mut lan = Lan::new(1);
    let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
    let address = lan.address(bob);
    find_made_up(&mut lan, alice, FoundVia::Mdns, 0..1_000);
    let since = lan.now_ms;
    while !lan.are_linked(alice, bob) {
        assert!(lan.now_ms - since < 300_000, "bob is not dialed");
        find(&mut lan, alice, FoundVia::Mdns, None, &[address]);
        lan.run_for(1_000);
    }
}
