//! Mutation tests: each breaks one rule on purpose, in the shell, the disk, the network or a
//! notice, and the named check must fail. A check that cannot fail shows nothing.
use std::sync::Arc;

use p2pchat::base::batch::batch::LocalFields;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::Output;
use p2pchat::base::identity::Identity;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;

use crate::support::disk::Disk;
use crate::support::lan::{Event, Lan, RunEvent};
use crate::support::peer::{PeerIndex, lines, numbered_lines};

/// Alice and bob, linked.
fn linked_pair(seed: u64) -> (Lan, PeerIndex, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    (lan, alice, bob)
}

/// Says 20 lines, 20 ms apart.
fn say_lines(lan: &mut Lan, who: PeerIndex) {
    for text in numbered_lines("line", 1, 20) {
        lan.say(who, &text);
        lan.run_for(20);
    }
}

/// Rule broken: every fifth save reports success and stores nothing.
#[test]
#[should_panic(expected = "shows what it did not store")]
fn a_store_that_drops_a_batch_is_caught() {
    let (mut lan, alice, bob) = linked_pair(1);
    lan.peers[bob].disk.forgets_every = Some(5);
    say_lines(&mut lan, alice);
}

/// Rule broken: TCP delivers bytes twice, so that every link ends.
#[test]
#[should_panic(expected = "between")]
fn repeated_stream_bytes_are_caught() {
    let (mut lan, alice, _) = linked_pair(2);
    lan.network.conditions.repeated_bytes_per_mille = 1000;
    say_lines(&mut lan, alice);
    lan.check_links();
}

/// Rule broken: bob's program stops reading its sockets.
#[test]
#[should_panic(expected = "bob stores no line")]
fn undelivered_lines_are_caught() {
    let (mut lan, alice, bob) = linked_pair(3);
    lan.peers[bob].stopped_reading = true;
    say_lines(&mut lan, alice);
    lan.check_lines();
}

/// Rule broken: alice's disk stays full.
#[test]
#[should_panic(expected = "did not store 20 lines")]
fn unstored_lines_are_caught() {
    let (mut lan, alice, _) = linked_pair(4);
    lan.peers[alice].disk.full = true;
    say_lines(&mut lan, alice);
    lan.run_for(60_000);
    lan.check_lines();
}

/// Rule broken: a line is shown a second time.
#[test]
#[should_panic(expected = "twice")]
fn a_line_shown_twice_is_caught() {
    let (mut lan, alice, bob) = linked_pair(5);
    say_lines(&mut lan, alice);
    let chat = lan.peers[bob]
        .notices_of_run()
        .find(|n| matches!(n, Notice::Chat(_)))
        .cloned();
    lan.check_notice(bob, &chat.expect("a line"));
}

/// Rule broken: bob no longer stores the lines that he acknowledged.
#[test]
#[should_panic(expected = "which the peer does not store")]
fn a_false_acknowledgement_is_caught() {
    let (mut lan, alice, bob) = linked_pair(6);
    say_lines(&mut lan, alice);
    let receipt = lan.peers[alice]
        .notices_of_run()
        .find(|n| matches!(n, Notice::Delivered { .. }))
        .cloned();
    let log = lan.first_log(alice);
    lan.peers[bob].disk.evict(&log, 100);
    lan.check_notice(alice, &receipt.expect("a receipt"));
}

/// Rule broken: a batch is saved a second time.
#[test]
#[should_panic(expected = "behind line 20")]
fn a_line_stored_twice_is_caught() {
    let (mut lan, alice, bob) = linked_pair(7);
    say_lines(&mut lan, alice);
    let batch = lan.peers[bob]
        .disk
        .entries()
        .next()
        .map(|e| Arc::clone(&e.batch));
    lan.check_save(bob, &batch.expect("a line"), LocalFields::default());
}

/// Rule broken: two programs run with one key where the story has none.
#[test]
#[should_panic(expected = "sees a duplicate identity")]
fn an_unexpected_duplicate_identity_is_caught() {
    let (mut lan, alice, bob) = linked_pair(8);
    lan.peers[bob].identity_seed = lan.peers[alice].identity_seed;
    lan.kill(bob);
    lan.start(bob);
    lan.run_for(1_000);
}

/// Rule broken: the shell writes to the network and skips every save.
#[test]
#[should_panic(expected = "that their author did not store")]
fn a_write_before_its_save_is_caught() {
    let (mut lan, alice, _) = linked_pair(9);
    // This shell executes writes and skips saves.
    lan.peers[alice].executes = |o| match o {
        Output::Save { .. } => false,
        Output::Notice(notice) => !matches!(**notice, Notice::Chat(_)),
        _ => true,
    };
    say_lines(&mut lan, alice);
}

/// Rule broken: the notice of a changed key is swallowed.
#[test]
#[should_panic(expected = "takes another key for bob without a notice")]
fn a_changed_key_without_a_notice_is_caught() {
    let (mut lan, alice, bob) = linked_pair(10);
    lan.peers[alice].executes =
        |o| !matches!(o, Output::Notice(it) if matches!(**it, Notice::KeyMismatch { .. }));
    lan.kill(bob);
    // Bob's box was set up anew, or somebody else uses his name.
    lan.peers[bob].identity_seed = [9; 32];
    lan.peers[bob].id = Identity::from_seed(&[9; 32]).id();
    lan.start(bob);
    lan.run_for(1_000);
}

/// Rule broken: the store forgets how far the room's logical clock had gone.
#[test]
#[should_panic(expected = "before what it had seen")]
fn a_line_dated_before_its_cause_is_caught() {
    let (mut lan, alice, bob) = linked_pair(11);
    say_lines(&mut lan, alice);
    // An empty store has forgotten the room's logical clock.
    lan.kill(bob);
    lan.peers[bob].disk = Disk::new(lan.id(bob));
    // Its wall clock does not make up for that.
    lan.peers[bob].wall_skew_ms = -3_600_000;
    lan.start(bob);
    lan.cut(alice, bob);
    lan.say(bob, "an answer");
}

/// Rule broken: the core publishes a line that the story did not say.
#[test]
#[should_panic(expected = "stored what was not said")]
fn a_line_that_nobody_said_is_caught() {
    let (mut lan, alice, _) = linked_pair(12);
    let say = Command::Publish {
        target: Target::Room(Room::general()),
        lines: lines(&["not mine"]),
        form: LineForm::Text,
        request: None,
    };
    lan.feed(alice, Input::Command(say));
}

/// Rule broken: leaving a room drops unsaved lines and the error is swallowed.
#[test]
#[should_panic(expected = "lost without a notice")]
fn lines_dropped_with_a_room_without_a_notice_are_caught() {
    let (mut lan, alice, _) = linked_pair(13);
    lan.peers[alice].executes =
        |o| !matches!(o, Output::Notice(it) if matches!(**it, Notice::Error { .. }));
    lan.peers[alice].disk.full = true;
    say_lines(&mut lan, alice);
    lan.part(alice, "general");
}

/// Rule broken: bob's program shows no line.
#[test]
#[should_panic(expected = "never showed line")]
fn a_line_that_is_not_shown_is_caught() {
    let (mut lan, alice, bob) = linked_pair(14);
    lan.peers[bob].executes =
        |o| !matches!(o, Output::Notice(it) if matches!(**it, Notice::Chat(_)));
    say_lines(&mut lan, alice);
    lan.check_lines();
}

/// Rule broken: bob's disk loses three batches behind the program's back.
#[test]
#[should_panic(expected = "has another history")]
fn a_different_history_is_caught() {
    let (mut lan, alice, bob) = linked_pair(15);
    say_lines(&mut lan, alice);
    lan.peers[bob].disk.cut_tail(3);
    lan.check_histories();
}

/// Rule broken: after a restore of alice's directory, bob's disk loses her newest line.
#[test]
#[should_panic(expected = "nobody but alice holds")]
fn lines_lost_after_a_restore_are_caught() {
    let (mut lan, alice, bob) = linked_pair(16);
    say_lines(&mut lan, alice);
    lan.stop(alice);
    lan.back_up(alice);
    lan.restore(alice);
    lan.start(alice);
    lan.run_for(1_000);
    lan.say(alice, "one more");
    lan.run_for(100);
    lan.peers[bob].disk.cut_tail(1);
    lan.check_copied_lines();
}

/// Rule broken: alice changes her name ten times a second, for ever.
#[test]
#[should_panic(expected = "in an idle minute")]
fn endless_traffic_is_caught() {
    let (mut lan, alice, bob) = linked_pair(17);
    for number in 1..=500 {
        let nick = Nick::new(&format!("alice{number}")).expect("a name");
        let input = Input::Command(Command::Nick(nick));
        lan.schedule_for_run(alice, number * 100, RunEvent::Input(input));
    }
    lan.run_for(100);
    assert!(lan.are_linked(alice, bob));
    lan.check_idle_traffic();
}

/// Rule broken: a timer fires a thousand times in one instant.
#[test]
#[should_panic(expected = "spins")]
fn a_program_that_never_sleeps_is_caught() {
    let (mut lan, alice, _) = linked_pair(18);
    for _ in 0..1_000 {
        lan.peers[alice].wake_at_ms = Some(lan.now_ms);
        let (who, run) = (alice, lan.peers[alice].run);
        let event = RunEvent::Wake;
        lan.dispatch(Event::ForRun { who, run, event });
    }
}

/// Rule broken: the shell never reports that a socket is blocked.
#[test]
#[should_panic(expected = "bytes for one link")]
fn memory_that_grows_with_a_slow_reader_is_caught() {
    let (mut lan, alice, bob) = linked_pair(19);
    lan.peers[bob].stopped_reading = true;
    // This shell never reports [`Input::Blocked`].
    lan.network.conditions.hides_back_pressure = true;
    for _ in 0..300 {
        let texts: Vec<String> = (0..10).map(|_| "x".repeat(1_000)).collect();
        lan.say_all(alice, None, &texts);
        lan.run_for(10);
    }
}

/// Rule broken: a gap is reported that has no lines.
#[test]
#[should_panic(expected = "reports an empty gap")]
fn an_empty_gap_is_caught() {
    let (mut lan, alice, bob) = linked_pair(20);
    let gap = Notice::Gap {
        target: Target::Room(Room::general()),
        author: lan.node(bob).own_peer(),
        incarnation: 1,
        from: 7,
        to: 6,
        at: WallTime(0),
    };
    lan.check_notice(alice, &gap);
}

/// Rule broken: a node reports its own peer as joined.
#[test]
#[should_panic(expected = "met itself")]
fn a_peer_that_meets_itself_is_caught() {
    let (mut lan, alice, _) = linked_pair(21);
    let joined = Notice::Joined {
        room: Room::general(),
        peer: lan.node(alice).own_peer(),
        at: WallTime(0),
    };
    lan.check_notice(alice, &joined);
}

/// Rule broken: bob's disk loses the last three lines.
#[test]
#[should_panic(expected = "bob stores 17 of 20 lines")]
fn lines_lost_at_the_reader_are_caught() {
    let (mut lan, alice, bob) = linked_pair(22);
    say_lines(&mut lan, alice);
    lan.peers[bob].disk.cut_tail(3);
    lan.check_lines();
}

/// Rule broken: bob's program does not mark a line that is older than itself.
#[test]
#[should_panic(expected = "for newer than its start")]
fn a_line_dated_after_the_start_is_caught() {
    let (mut lan, alice, bob) = linked_pair(23);
    lan.clocks_are_right = true;
    say_lines(&mut lan, alice);
    let batch = lan.peers[bob].disk.entries().next();
    let batch = batch.map(|entry| Arc::clone(&entry.batch)).expect("a line");
    lan.stop(bob);
    lan.run_for(60_000);
    lan.start(bob);
    lan.check_save(bob, &batch, LocalFields::default());
}
