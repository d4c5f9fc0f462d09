//! A check that cannot fail shows nothing: each of these worlds is broken in one way, and must be caught.
use std::sync::Arc;

use p2pchat::base::event::Notice;
use p2pchat::base::name::Room;

use crate::lan::Lan;
use crate::people::{Who, numbered};

fn chatting(seed: u64) -> (Lan, Who, Who) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.people(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    (lan, alice, bob)
}

fn talk(lan: &mut Lan, who: Who) {
    for text in numbered("line", 1, 20) {
        lan.say(who, &text);
        lan.run_for(20);
    }
}

#[test]
#[should_panic(expected = "shows what it did not store")]
fn a_disk_that_forgets_is_caught() {
    let (mut lan, alice, bob) = chatting(1);
    lan.people[bob].disk.forgets = Some(5);
    talk(&mut lan, alice);
}

#[test]
#[should_panic(expected = "between")]
fn an_air_that_stutters_is_caught() {
    let (mut lan, alice, _) = chatting(2);
    lan.air.weather.stutter = 1000;
    talk(&mut lan, alice);
    lan.check_links();
}

#[test]
#[should_panic(expected = "nothing is held by bob")]
fn lines_that_never_arrive_are_caught() {
    let (mut lan, alice, bob) = chatting(3);
    lan.people[bob].deaf = true;
    talk(&mut lan, alice);
    lan.check_lines();
}

#[test]
#[should_panic(expected = "did not store 20 lines")]
fn lines_that_are_never_stored_are_caught() {
    let (mut lan, alice, _) = chatting(4);
    lan.people[alice].disk.full = true;
    talk(&mut lan, alice);
    lan.run_for(60_000);
    lan.check_lines();
}

#[test]
#[should_panic(expected = "twice")]
fn a_line_shown_twice_is_caught() {
    let (mut lan, alice, bob) = chatting(5);
    talk(&mut lan, alice);
    let chat = lan.people[bob]
        .shown()
        .find(|n| matches!(n, Notice::Chat(_)))
        .cloned();
    lan.check_notice(bob, &chat.expect("a line"));
}

#[test]
#[should_panic(expected = "is held, and it is not")]
fn a_false_receipt_is_caught() {
    let (mut lan, alice, bob) = chatting(6);
    talk(&mut lan, alice);
    let receipt = lan.people[alice]
        .shown()
        .find(|n| matches!(n, Notice::Delivered { .. }))
        .cloned();
    let log = lan.people[alice].disk.ranges(&Room::general())[0]
        .log
        .clone();
    lan.people[bob].disk.give_up(&log, 100);
    lan.check_notice(alice, &receipt.expect("a receipt"));
}

#[test]
#[should_panic(expected = "behind line 20")]
fn a_line_stored_twice_is_caught() {
    let (mut lan, alice, bob) = chatting(7);
    talk(&mut lan, alice);
    let batch = lan.people[bob]
        .disk
        .entries()
        .next()
        .map(|e| Arc::clone(&e.batch));
    lan.check_save(bob, &batch.expect("a line"), false);
}

#[test]
#[should_panic(expected = "sees a twin")]
fn an_unexpected_twin_is_caught() {
    let (mut lan, alice, bob) = chatting(8);
    lan.people[bob].seed = lan.people[alice].seed;
    lan.kill(bob);
    lan.start(bob);
    lan.run_for(1_000);
}
