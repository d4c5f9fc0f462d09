//! A check that cannot fail shows nothing: each of these worlds is broken in one way, and must be caught.
use std::sync::Arc;

use p2pchat::base::event::{Command, Input, Notice, Output};
use p2pchat::base::identity::Identity;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::time::WallTime;

use crate::support::disk::Disk;
use crate::support::lan::{Event, Lan};
use crate::support::peer::{Who, lines, numbered};

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

#[test]
#[should_panic(expected = "that their author did not store")]
fn a_write_before_its_save_is_caught() {
    let (mut lan, alice, _) = chatting(9);
    // A shell that carries writes out, and saves not at all.
    lan.people[alice].carries =
        |o| !matches!(o, Output::Save { .. } | Output::Notice(Notice::Chat(_)));
    talk(&mut lan, alice);
}

#[test]
#[should_panic(expected = "in silence")]
fn a_changed_key_without_a_word_is_caught() {
    let (mut lan, alice, bob) = chatting(10);
    lan.people[alice].carries = |o| !matches!(o, Output::Notice(Notice::KeyMismatch { .. }));
    lan.kill(bob);
    // Bob's box was set up anew, or it is not bob.
    lan.people[bob].seed = [9; 32];
    lan.people[bob].id = Identity::from_seed(&[9; 32]).id();
    lan.start(bob);
    lan.run_for(1_000);
}

#[test]
#[should_panic(expected = "before what it had seen")]
fn a_line_that_is_older_than_what_it_answers_is_caught() {
    let (mut lan, alice, bob) = chatting(11);
    talk(&mut lan, alice);
    // The store forgets how far the clock of the room had gone.
    lan.kill(bob);
    lan.people[bob].disk = Disk::new(lan.id(bob));
    lan.start(bob);
    lan.cut(alice, bob);
    lan.say(bob, "an answer");
}

#[test]
#[should_panic(expected = "stored what was not said")]
fn a_line_that_nobody_said_is_caught() {
    let (mut lan, alice, _) = chatting(12);
    let say = Command::SendToRoom {
        room: None,
        lines: lines(&["not mine"]),
        action: false,
    };
    lan.feed(alice, Input::Command(say));
}

#[test]
#[should_panic(expected = "lost in silence")]
fn lines_given_up_with_a_room_in_silence_are_caught() {
    let (mut lan, alice, _) = chatting(13);
    lan.people[alice].carries = |o| !matches!(o, Output::Notice(Notice::Error { .. }));
    lan.people[alice].disk.full = true;
    talk(&mut lan, alice);
    lan.part(alice, "general");
}

#[test]
#[should_panic(expected = "never showed line")]
fn a_line_that_is_not_shown_is_caught() {
    let (mut lan, alice, bob) = chatting(14);
    lan.people[bob].carries = |o| !matches!(o, Output::Notice(Notice::Chat(_)));
    talk(&mut lan, alice);
    lan.check_lines();
}

#[test]
#[should_panic(expected = "has another transcript")]
fn another_transcript_is_caught() {
    let (mut lan, alice, bob) = chatting(15);
    talk(&mut lan, alice);
    lan.people[bob].disk.cut_tail(3);
    lan.check_transcripts();
}

#[test]
#[should_panic(expected = "nobody but alice holds")]
fn lines_lost_with_an_old_copy_are_caught() {
    let (mut lan, alice, bob) = chatting(16);
    talk(&mut lan, alice);
    lan.stop(alice);
    lan.back_up(alice);
    lan.restore(alice);
    lan.start(alice);
    lan.run_for(1_000);
    lan.say(alice, "one more");
    lan.run_for(100);
    lan.people[bob].disk.cut_tail(1);
    lan.check_texts();
}

#[test]
#[should_panic(expected = "in a quiet minute")]
fn talk_that_never_ends_is_caught() {
    let (mut lan, alice, bob) = chatting(17);
    for number in 1..=500 {
        let nick = Nick::new(&format!("alice{number}")).expect("a name");
        let input = Input::Command(Command::Nick(nick));
        lan.after(
            number * 100,
            Event::Input(alice, lan.people[alice].run, input),
        );
    }
    lan.run_for(100);
    assert!(lan.linked(alice, bob));
    lan.check_traffic();
}

#[test]
#[should_panic(expected = "spins")]
fn a_program_that_never_sleeps_is_caught() {
    let (mut lan, alice, _) = chatting(18);
    for _ in 0..1_000 {
        lan.people[alice].wake_at = Some(lan.clock);
        lan.happen(Event::Wake(alice, lan.people[alice].run));
    }
}

#[test]
#[should_panic(expected = "bytes for one link")]
fn memory_that_grows_with_a_slow_reader_is_caught() {
    let (mut lan, alice, bob) = chatting(19);
    lan.people[bob].deaf = true;
    // A shell that never tells the core that a socket takes no more.
    lan.air.weather.silent_clogs = true;
    for _ in 0..300 {
        let texts: Vec<String> = (0..10).map(|_| "x".repeat(1_000)).collect();
        lan.say_all(alice, None, &texts);
        lan.run_for(10);
    }
}

#[test]
#[should_panic(expected = "names an empty gap")]
fn a_gap_of_nothing_is_caught() {
    let (mut lan, alice, bob) = chatting(20);
    let gap = Notice::Gap {
        target: Target::Room(Room::general()),
        author: lan.people[bob].node.as_ref().expect("bob").own_peer(),
        incarnation: 1,
        from: 7,
        to: 6,
        at: WallTime(0),
    };
    lan.check_notice(alice, &gap);
}

#[test]
#[should_panic(expected = "met itself")]
fn a_program_that_meets_itself_is_caught() {
    let (mut lan, alice, _) = chatting(21);
    let joined = Notice::Joined {
        room: Room::general(),
        peer: lan.people[alice].node.as_ref().expect("alice").own_peer(),
        at: WallTime(0),
    };
    lan.check_notice(alice, &joined);
}

#[test]
#[should_panic(expected = "17 of 20 held by bob")]
fn lines_that_went_lost_at_the_reader_are_caught() {
    let (mut lan, alice, bob) = chatting(22);
    talk(&mut lan, alice);
    lan.people[bob].disk.cut_tail(3);
    lan.check_lines();
}
