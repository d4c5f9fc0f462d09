//! Discovery: who is heard, who is dialed, and when.
use crate::support::lan::Lan;

#[test]
fn lost_beacons_delay_and_do_not_prevent() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.network.conditions.datagram_loss_per_mille = 700;
        lan.start(alice);
        lan.start(bob);
        lan.run_until_linked(alice, bob, 60_000);
    }
}

#[test]
fn a_start_without_a_network_heals() {
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

#[test]
fn an_unplugged_cable_is_noticed_and_heals_at_once() {
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

#[test]
fn a_given_address_needs_no_beacon() {
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

#[test]
fn several_programs_of_one_host_meet() {
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

#[test]
fn two_networks_between_two_hosts_make_one_link() {
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

#[test]
fn a_dial_that_nobody_answers_backs_off() {
    let mut lan = Lan::new(6);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.network.conditions.dial_refusal_per_mille = 1000;
    lan.start(alice);
    lan.start(bob);
    lan.run_for(120_000);
    let dials = lan.network.dial_count;
    assert!((8..=60).contains(&dials), "{dials} dials in two minutes");
    lan.network.conditions.dial_refusal_per_mille = 0;
    lan.run_until_linked(alice, bob, 70_000);
}

#[test]
fn who_left_is_not_known_any_more() {
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
