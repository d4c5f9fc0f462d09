//! Links: how they come to stand, stay, and end.
use std::net::SocketAddr;

use crate::support::lan::Lan;

fn met(lan: &mut Lan, a: usize, b: usize) {
    lan.run_until("they are linked", 2_000, |lan| lan.linked(a, b));
}

#[test]
fn two_meet_within_milliseconds() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(alice);
        lan.run_for(seed * 37);
        lan.start(bob);
        let took = lan.run_until("they are linked", 100, |lan| lan.linked(alice, bob));
        assert!(took <= 12, "it took {took} ms");
        lan.run_for(30_000);
        for (who, other) in [(alice, bob), (bob, alice)] {
            assert_eq!(lan.people[who].joined(lan.id(other)), 1);
            assert_eq!(lan.people[who].left(lan.id(other)), 0);
        }
        lan.check_links();
    }
}

#[test]
fn crossed_dials_end_in_one_link() {
    for seed in 0..40 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.air.weather.stream = 6;
        lan.start(alice);
        lan.start(bob);
        let (to_alice, to_bob) = (lan.address(alice), lan.address(bob));
        lan.point(alice, to_bob);
        lan.point(bob, to_alice);
        lan.run_for(3_000);
        lan.check_links();
        assert_eq!(lan.people[alice].joined(lan.id(bob)), 1);
        assert_eq!(lan.people[alice].left(lan.id(bob)), 0);
        assert_eq!(lan.people[bob].left(lan.id(alice)), 0);
        assert_eq!(lan.people[alice].shown().count(), 1, "a word for each peer");
    }
}

#[test]
fn a_silent_cut_is_noticed_and_heals() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    met(&mut lan, alice, bob);
    lan.run_for(20_000);
    lan.cut(alice, bob);
    lan.run_until("both see the other go", 15_000, |lan| {
        lan.people[alice].left(lan.id(bob)) == 1 && lan.people[bob].left(lan.id(alice)) == 1
    });
    lan.run_for(60_000);
    lan.heal();
    let beacons = lan.people[alice].beacons_sent + lan.people[bob].beacons_sent;
    lan.run_until("a beacon", 6_000, |lan| {
        lan.people[alice].beacons_sent + lan.people[bob].beacons_sent > beacons
    });
    lan.run_until("they are linked again", 1_000, |lan| lan.linked(alice, bob));
    assert_eq!(lan.people[alice].joined(lan.id(bob)), 2);
}

#[test]
fn a_short_cut_is_not_seen() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    met(&mut lan, alice, bob);
    lan.cut(alice, bob);
    lan.say(alice, "while you were cut off");
    lan.run_for(5_000);
    lan.heal();
    lan.run_for(5_000);
    assert_eq!(lan.people[bob].heard(), ["while you were cut off"]);
    assert_eq!(lan.people[alice].left(lan.id(bob)), 0);
}

#[test]
fn a_killed_process_is_gone_at_once() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    met(&mut lan, alice, bob);
    lan.kill(bob);
    lan.run_until("bob is gone", 50, |lan| {
        lan.people[alice].left(lan.id(bob)) == 1
    });
}

#[test]
fn a_dead_host_is_gone_within_15_s() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    met(&mut lan, alice, bob);
    lan.power_off(bob);
    lan.run_until("bob is gone", 15_000, |lan| {
        lan.people[alice].left(lan.id(bob)) == 1
    });
}

#[test]
fn a_frozen_process_is_gone_within_30_s() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.people[alice].beacons = seed % 2 == 0;
        lan.people[bob].beacons = seed % 2 == 0;
        lan.start(alice);
        lan.start(bob);
        let bobs = lan.address(bob);
        lan.point(alice, bobs);
        met(&mut lan, alice, bob);
        lan.run_for(seed * 3_000);
        lan.freeze(bob);
        lan.run_until("bob is gone", 30_000, |lan| {
            lan.people[alice].left(lan.id(bob)) == 1
        });
        lan.run_for(20_000);
        assert_eq!(
            lan.people[alice].joined(lan.id(bob)),
            1,
            "a frozen one is not back"
        );
        lan.thaw(bob);
        // Without a beacon it is alice's next dial that finds him.
        lan.run_until("they are linked again", 70_000, |lan| {
            lan.linked(alice, bob)
        });
    }
}

#[test]
fn a_restarted_program_is_back_within_a_second() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    met(&mut lan, alice, bob);
    lan.run_for(15_000);
    lan.stop(bob);
    lan.run_for(100);
    assert_eq!(lan.people[alice].left(lan.id(bob)), 1);
    lan.start(bob);
    lan.run_until("they are linked again", 1_000, |lan| lan.linked(alice, bob));
    assert_eq!(lan.people[alice].joined(lan.id(bob)), 2);
    assert_eq!(lan.people[alice].left(lan.id(bob)), 1);
}

#[test]
fn a_new_run_takes_the_place_of_a_dead_one() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.people(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        met(&mut lan, alice, bob);
        lan.run_for(4_000);
        lan.power_off(bob);
        lan.run_for(300);
        lan.start(bob);
        lan.run_until("they are linked again", 1_000, |lan| lan.linked(alice, bob));
        lan.say(alice, "welcome back");
        lan.run_for(60_000);
        assert_eq!(lan.people[bob].heard(), ["welcome back"]);
        assert_eq!(lan.people[alice].left(lan.id(bob)), 1);
        assert_eq!(lan.people[alice].joined(lan.id(bob)), 2);
        lan.check_links();
    }
}

#[test]
fn two_programs_with_one_key_are_told_so() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        lan.checks.twins = true;
        let [alice, bob, clone] = lan.people(["alice", "bob", "clone"]);
        lan.people[clone].seed = lan.people[bob].seed;
        lan.people[clone].id = lan.people[bob].id;
        // They do not hear each other: alice alone sees both.
        lan.cut(bob, clone);
        lan.start(alice);
        lan.start(bob);
        let beacon = lan.last_beacon.clone();
        met(&mut lan, alice, bob);
        lan.run_for(5_000);
        lan.start(clone);
        // A beacon must not pass for the answer by which a twin is known.
        lan.air.weather.stream = 20;
        for _ in 0..600 {
            let source = SocketAddr::from(([10, 0, 0, 2], 40_000));
            lan.datagram(alice, 1, source, &beacon);
            lan.run_for(1);
        }
        lan.air.weather.stream = 1;
        lan.run_until("both are told", 3_000, |lan| {
            lan.people[bob].twins() == 1 && lan.people[clone].twins() == 1
        });
        lan.run_for(120_000);
        assert_eq!(lan.people[bob].twins(), 1, "told once");
        assert_eq!(lan.people[clone].twins(), 1, "told once");
        assert_eq!(lan.people[alice].left(lan.id(bob)), 0, "bob stays linked");
        assert!(lan.linked(alice, bob));
        let joined = lan.people[clone].joined(lan.id(alice));
        assert!(joined <= 80, "the clone came {joined} times");
    }
}

#[test]
fn twins_that_hear_each_other_are_told_so() {
    let mut lan = Lan::new(6);
    lan.checks.twins = true;
    let [bob, clone] = lan.people(["bob", "clone"]);
    lan.people[clone].seed = lan.people[bob].seed;
    lan.people[clone].id = lan.people[bob].id;
    lan.start(bob);
    lan.run_for(700);
    lan.start(clone);
    lan.run_for(100_000);
    for who in [bob, clone] {
        assert_eq!(lan.people[who].twins(), 1);
        assert!(lan.links(who).is_empty());
    }
}

#[test]
fn idle_links_are_silent() {
    let mut lan = Lan::new(7);
    let all: Vec<usize> = (0..10).map(|n| lan.person(&format!("p{n}"))).collect();
    for who in &all {
        lan.start(*who);
    }
    lan.run_for(30_000);
    lan.check_links();
    let before: Vec<(u64, u64)> = all
        .iter()
        .map(|w| (lan.people[*w].beacons_sent, lan.people[*w].bytes_sent))
        .collect();
    lan.run_for(60_000);
    for who in all {
        let beacons = lan.people[who].beacons_sent - before[who].0;
        assert!((4..=7).contains(&beacons), "{beacons} beacons");
        assert_eq!(
            lan.people[who].bytes_sent, before[who].1,
            "an idle link is silent"
        );
    }
}

#[test]
fn a_goodbye_is_not_answered_by_goodbyes() {
    let mut lan = Lan::new(8);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    met(&mut lan, alice, bob);
    lan.stop(alice);
    assert_eq!(
        lan.people[alice].left(lan.id(bob)),
        0,
        "who leaves does not see the others leave"
    );
    lan.run_for(100);
    assert_eq!(lan.people[bob].left(lan.id(alice)), 1);
    let dials = lan.air.made;
    lan.run_for(100_000);
    assert_eq!(lan.air.made, dials, "who said goodbye is not dialed");
}

#[test]
fn networks_do_not_mix() {
    let mut lan = Lan::new(9);
    let [open, red, blue, other] = lan.people(["open", "red", "blue", "other"]);
    lan.people[red].psk = Some([1; 32]);
    lan.people[other].psk = Some([1; 32]);
    lan.people[blue].psk = Some([2; 32]);
    for who in [open, red, blue, other] {
        lan.start(who);
    }
    let addresses: Vec<SocketAddr> = [open, red, blue, other].map(|w| lan.address(w)).to_vec();
    for who in [open, red, blue, other] {
        for address in &addresses {
            lan.point(who, *address);
        }
    }
    lan.run_for(20_000);
    lan.check_links();
    assert!(lan.linked(red, other));
    assert!(lan.links(open).is_empty() && lan.links(blue).is_empty());
}

#[test]
fn who_cannot_be_reached_is_not_dialed_without_end() {
    let mut lan = Lan::new(30);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    lan.wall(alice, carol);
    // Carol hears alice, and her dials come to nothing.
    let (a, c) = (lan.people[alice].host, lan.people[carol].host);
    lan.air.walls.remove(&(a, c));
    for who in [alice, bob, carol] {
        lan.start(who);
    }
    lan.run_for(600_000);
    lan.check_links();
    assert!(lan.linked(alice, bob) && lan.linked(bob, carol));
    assert!(lan.air.made < 40, "{} dials in ten minutes", lan.air.made);
}
