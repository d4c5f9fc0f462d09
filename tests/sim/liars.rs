//! Liars: peers that keep the protocol, or nearly, and mean harm to others.
use std::net::SocketAddr;

use p2pchat::base::event::{Command, Input, Notice};

use crate::lan::Lan;
use crate::people::Who;
use crate::stranger::raw;

fn settled(lan: &Lan, who: Who) -> bool {
    lan.people[who]
        .shown()
        .any(|n| matches!(n, Notice::Settled))
}

#[test]
fn silent_streams_do_not_keep_us_from_dialing() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.people[bob].beacons = false;
    lan.start(alice);
    lan.start(bob);
    for n in 0..100 {
        raw(&mut lan, alice, n);
    }
    let bobs = lan.address(bob);
    lan.point(alice, bobs);
    lan.run_until("they are linked", 100, |lan| lan.linked(alice, bob));
}

#[test]
fn a_silent_stream_is_not_waited_for() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until("they are linked", 100, |lan| lan.linked(alice, bob));
    raw(&mut lan, alice, 1);
    lan.say(alice, "hello");
    lan.feed(alice, Input::Command(Command::Finish { need: None }));
    lan.run_until("it is settled", 100, |lan| settled(lan, alice));
}

#[test]
fn an_address_where_nobody_answers_is_not_waited_for_without_end() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until("they are linked", 100, |lan| lan.linked(alice, bob));
    lan.point(alice, SocketAddr::from(([10, 0, 9, 9], 9999)));
    lan.say(alice, "hello");
    lan.feed(alice, Input::Command(Command::Finish { need: None }));
    lan.run_for(1_000);
    assert!(!settled(&lan, alice), "it may yet be linked");
    lan.run_until("it is settled", 1_500, |lan| settled(lan, alice));
}

#[test]
fn who_answers_in_anothers_place_is_named_and_not_linked() {
    let mut lan = Lan::new(4);
    let [alice, bob, carol] = lan.people(["alice", "bob", "carol"]);
    for who in [alice, bob, carol] {
        lan.people[who].beacons = false;
        lan.start(who);
    }
    let (bobs, carols) = (lan.address(bob), lan.address(carol));
    // Of the addresses that a code holds, some may be anybody's.
    let id = lan.id(carol);
    lan.point_to(alice, bobs, Some(id));
    lan.point_to(alice, carols, Some(id));
    lan.run_until("they are linked", 100, |lan| lan.linked(alice, carol));
    let known = &lan.people[alice].known;
    assert!(known.iter().any(|known| known.id == id && known.bound));
    lan.run_for(10_000);
    assert_eq!(lan.people[alice].errors("key"), 0);
    lan.stop(carol);
    lan.run_for(200_000);
    assert_eq!(lan.people[alice].errors("key"), 1, "once");
    assert!(!lan.linked(alice, bob));
    assert!(lan.people[bob].shown().count() == 0, "nobody came");
    lan.start(carol);
    lan.run_until("they are linked", 70_000, |lan| lan.linked(alice, carol));
}
