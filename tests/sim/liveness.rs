//! Links: how they come to stand, stay, and end.
use std::net::SocketAddr;

use crate::support::lan::Lan;

fn link(lan: &mut Lan, a: usize, b: usize) {
    lan.run_until_linked(a, b, 2_000);
}

#[test]
fn two_meet_within_milliseconds() {
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
            "a word for each peer"
        );
    }
}

#[test]
fn a_silent_cut_is_noticed_and_heals() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    link(&mut lan, alice, bob);
    lan.run_for(20_000);
    lan.cut(alice, bob);
    lan.run_until("both see the other go", 15_000, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
            && lan.peers[bob].left_count(lan.id(alice)) == 1
    });
    lan.run_for(60_000);
    lan.heal();
    let beacons = lan.peers[alice].beacons_sent + lan.peers[bob].beacons_sent;
    lan.run_until("a beacon", 6_000, |lan| {
        lan.peers[alice].beacons_sent + lan.peers[bob].beacons_sent > beacons
    });
    lan.run_until_linked(alice, bob, 1_000);
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 2);
}

#[test]
fn a_short_cut_is_not_seen() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    link(&mut lan, alice, bob);
    lan.cut(alice, bob);
    lan.say(alice, "while you were cut off");
    lan.run_for(5_000);
    lan.heal();
    lan.run_for(5_000);
    assert_eq!(lan.peers[bob].received(), ["while you were cut off"]);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 0);
}

#[test]
fn a_killed_process_is_gone_at_once() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    link(&mut lan, alice, bob);
    lan.kill(bob);
    lan.run_until("bob is gone", 50, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
    });
}

#[test]
fn a_dead_host_is_gone_within_15_s() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    link(&mut lan, alice, bob);
    lan.power_off(bob);
    lan.run_until("bob is gone", 15_000, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
    });
}

#[test]
fn a_frozen_process_is_gone_within_30_s() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.peers[alice].beacons_enabled = seed % 2 == 0;
        lan.peers[bob].beacons_enabled = seed % 2 == 0;
        lan.start(alice);
        lan.start(bob);
        let bobs = lan.address(bob);
        lan.add_static_peer(alice, bobs);
        link(&mut lan, alice, bob);
        lan.run_for(seed * 3_000);
        lan.freeze(bob);
        lan.run_until("bob is gone", 30_000, |lan| {
            lan.peers[alice].left_count(lan.id(bob)) == 1
        });
        lan.run_for(20_000);
        assert_eq!(
            lan.peers[alice].joined_count(lan.id(bob)),
            1,
            "a frozen one is not back"
        );
        lan.thaw(bob);
        // Without a beacon it is alice's next dial that finds him.
        lan.run_until_linked(alice, bob, 70_000);
    }
}

#[test]
fn a_restarted_program_is_back_within_a_second() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    link(&mut lan, alice, bob);
    lan.run_for(15_000);
    lan.stop(bob);
    lan.run_for(100);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 1_000);
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 2);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
}

#[test]
fn a_new_run_takes_the_place_of_a_dead_one() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        link(&mut lan, alice, bob);
        lan.run_for(4_000);
        lan.power_off(bob);
        lan.run_for(300);
        lan.start(bob);
        lan.run_until_linked(alice, bob, 1_000);
        lan.say(alice, "welcome back");
        lan.run_for(60_000);
        assert_eq!(lan.peers[bob].received(), ["welcome back"]);
        assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
        assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 2);
        lan.check_links();
    }
}

#[test]
fn two_programs_with_one_key_are_told_so() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        lan.invariants.allows_duplicate_identity = true;
        let [alice, bob, clone] = lan.add_peers(["alice", "bob", "clone"]);
        lan.peers[clone].identity_seed = lan.peers[bob].identity_seed;
        lan.peers[clone].id = lan.peers[bob].id;
        // They do not hear each other: alice alone sees both.
        lan.cut(bob, clone);
        lan.start(alice);
        lan.start(bob);
        let beacon = lan.last_beacon.clone();
        link(&mut lan, alice, bob);
        lan.run_for(5_000);
        lan.start(clone);
        // A beacon must not pass for the answer by which a twin is known.
        lan.network.conditions.stream_delay_max_ms = 20;
        for _ in 0..600 {
            let source = SocketAddr::from(([10, 0, 0, 2], 40_000));
            lan.inject_datagram(alice, 1, source, &beacon);
            lan.run_for(1);
        }
        lan.network.conditions.stream_delay_max_ms = 1;
        lan.run_until("both are told", 3_000, |lan| {
            lan.peers[bob].duplicate_identity_count() == 1
                && lan.peers[clone].duplicate_identity_count() == 1
        });
        lan.run_for(120_000);
        assert_eq!(lan.peers[bob].duplicate_identity_count(), 1, "told once");
        assert_eq!(lan.peers[clone].duplicate_identity_count(), 1, "told once");
        assert_eq!(
            lan.peers[alice].left_count(lan.id(bob)),
            0,
            "bob stays linked"
        );
        assert!(lan.are_linked(alice, bob));
        let joined = lan.peers[clone].joined_count(lan.id(alice));
        assert!(joined <= 80, "the clone came {joined} times");
    }
}

#[test]
fn twins_that_hear_each_other_are_told_so() {
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

#[test]
fn idle_links_are_silent() {
    let mut lan = Lan::new(7);
    let all: Vec<usize> = (0..10).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    for who in &all {
        lan.start(*who);
    }
    lan.run_for(30_000);
    lan.check_links();
    let before: Vec<(u64, u64)> = all
        .iter()
        .map(|w| (lan.peers[*w].beacons_sent, lan.peers[*w].bytes_sent))
        .collect();
    lan.run_for(60_000);
    for who in all {
        let beacons = lan.peers[who].beacons_sent - before[who].0;
        assert!((4..=7).contains(&beacons), "{beacons} beacons");
        assert_eq!(
            lan.peers[who].bytes_sent, before[who].1,
            "an idle link is silent"
        );
    }
}

#[test]
fn a_goodbye_is_not_answered_by_goodbyes() {
    let mut lan = Lan::new(8);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    link(&mut lan, alice, bob);
    lan.stop(alice);
    assert_eq!(
        lan.peers[alice].left_count(lan.id(bob)),
        0,
        "who leaves does not see the others leave"
    );
    lan.run_for(100);
    assert_eq!(lan.peers[bob].left_count(lan.id(alice)), 1);
    let dials = lan.network.dial_count;
    lan.run_for(100_000);
    assert_eq!(
        lan.network.dial_count, dials,
        "who said goodbye is not dialed"
    );
}

#[test]
fn networks_do_not_mix() {
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

#[test]
fn who_cannot_be_reached_is_not_dialed_without_end() {
    let mut lan = Lan::new(30);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.remove_path(alice, carol);
    // Carol hears alice, and her dials come to nothing.
    let (a, c) = (lan.peers[alice].host, lan.peers[carol].host);
    lan.network.missing_paths.remove(&(a, c));
    lan.start_all([alice, bob, carol]);
    lan.run_for(600_000);
    lan.check_links();
    assert!(lan.are_linked(alice, bob) && lan.are_linked(bob, carol));
    assert!(
        lan.network.dial_count < 40,
        "{} dials in ten minutes",
        lan.network.dial_count
    );
}
