//! `send`: it tells the truth.
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::Loopback;
use super::{
    TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages, without_timestamp,
};

const STORED: &str = "stored, and sent by the next run";

#[test]
fn a_line_that_arrived_is_success_without_a_word() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "Hey", "there!"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
    assert!(outcome.err.is_empty(), "{outcome:?}");
    let line = wait_line(&bob, ": Hey there!");
    let line = without_timestamp(&line);
    let name = line.strip_prefix("#general alice~").expect(line);
    assert_eq!(name.len(), "abcd: Hey there!".len(), "{line}");
    // `send` comes and goes unannounced.
    assert_eq!(bob.out.all().len(), 1, "{:?}", bob.out.all());
}

#[test]
fn what_nobody_took_goes_out_with_the_next_run_of_any_kind() {
    let Some(lo) = Loopback::new() else { return };
    // Bob was in the room before: nothing that is said while he is away is a newcomer's backfill to him.
    run(&lo, "bob", &["listen", "-W", "0"]);
    let outcome = run(&lo, "alice", &["send", "-W", "0.3", "first"]);
    outcome.assert_code(69);
    assert!(
        outcome.err.len() == 1 && outcome.err[0].starts_with("p2pchat: no peer is connected: "),
        "{outcome:?}"
    );
    assert!(outcome.err[0].ends_with(STORED), "{outcome:?}");

    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "second"]);
    outcome.assert_code(0);
    wait_messages(&bob, &["first", "second"]);

    drop(bob);
    let outcome = run(&lo, "alice", &["send", "-W", "0.3", "third"]);
    outcome.assert_code(69);
    let bob = lo.start("bob", &["listen"]);
    let _alice = lo.start("alice", &[]);
    wait_line(&bob, ": third");
}

#[test]
fn what_waits_in_another_room_goes_out_with_any_run_too() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["listen", "-r", "ops", "-W", "0"]);
    let args = ["send", "-r", "ops", "-W", "0.3", "for ops"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(69);
    let note = lo.host.folder("alice").join("history/open/#ops/waiting");
    assert!(note.exists());

    let bob = lo.start("bob", &["listen", "-r", "ops"]);
    let alice = lo.start("alice", &["listen"]);
    wait_line(&bob, ": for ops");
    // She is in the room for what she brings, and shows nothing of it.
    let args = ["send", "-r", "ops", "not for alice"];
    let outcome = run(&lo, "carol", &args);
    outcome.assert_code(0);
    alice.signal(Signal::SIGTERM);
    let outcome = finish(alice, b"");
    assert!(
        !outcome.out.iter().any(|l| l.contains("#ops")),
        "{outcome:?}"
    );
    assert!(!note.exists(), "others hold it");
    let args = ["listen", "-r", "ops", "-W", "0.1"];
    let outcome = run(&lo, "alice", &args);
    assert_eq!(messages(&outcome.out), ["not for alice"]);
    let outcome = run(&lo, "alice", &["listen", "-W", "0.5"]);
    assert!(!note.exists(), "{outcome:?}");
}

#[test]
fn two_that_only_pass_by_do_not_serve_each_other() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.spawn("alice", &["send", "-W", "2", "from alice"]);
    let bob = lo.spawn("bob", &["send", "-W", "2", "from bob"]);
    let codes = [finish(alice, b"").code, finish(bob, b"").code];
    assert_eq!(codes, [75, 75], "each holds the other's line, and leaves");
}

#[test]
fn what_an_ephemeral_run_could_not_deliver_is_said_to_be_gone() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["send", "--ephemeral", "-W", "0.2", "hello"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(69);
    assert!(
        outcome.err.iter().any(|line| line.contains("are lost")),
        "{outcome:?}"
    );
}

#[test]
fn need_says_how_many_must_hold_it() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "alice", &["send", "--need", "0", "zero"]);
    outcome.assert_code(0);
    assert!(outcome.err.is_empty(), "{outcome:?}");
    assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");

    let bob = lo.start("bob", &["listen"]);
    let args = ["send", "--need", "2", "-W", "0.5", "two"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(75);
    assert!(
        outcome.err.len() == 1 && outcome.err[0].ends_with(STORED),
        "{outcome:?}"
    );
    wait_line(&bob, ": two");

    let carol = lo.start("carol", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "--need", "2", "both"]);
    outcome.assert_code(0);
    wait_line(&bob, ": both");
    wait_line(&carol, ": both");
}

#[test]
fn nothing_to_say_is_done_at_once() {
    let Some(lo) = Loopback::new() else { return };
    for args in [&["send"][..], &["send", ""]] {
        let outcome = run(&lo, "alice", args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
        assert!(
            outcome.err.is_empty() && outcome.out.is_empty(),
            "{outcome:?}"
        );
        assert!(outcome.took < Duration::from_secs(5), "{outcome:?}");
    }
}

#[test]
fn bad_lines_are_named_and_the_others_are_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut input = b"one\n".to_vec();
    input.extend(vec![b'x'; 16 * 1024 + 1]);
    input.extend(b"\nnot \xff UTF-8\nfour\n");
    let outcome = finish(lo.spawn("alice", &["send"]), &input);
    outcome.assert_code(1);
    let err = &outcome.err;
    assert!(
        err.len() == 2
            && err[0].starts_with("p2pchat: line 2: ")
            && err[1].starts_with("p2pchat: line 3: "),
        "{outcome:?}"
    );
    wait_messages(&bob, &["one", "four"]);

    // Lines refused weigh more than a delivery that failed.
    drop(bob);
    let outcome = finish(lo.spawn("alice", &["send", "-W", "0.2"]), b"\xff\nfine\n");
    outcome.assert_code(1);

    // The longest line that is allowed.
    let bob = lo.start("bob", &["listen"]);
    let longest = "y".repeat(16 * 1024);
    let outcome = finish(lo.spawn("alice", &["send"]), longest.as_bytes());
    outcome.assert_code(0);
    wait_line(&bob, &format!(": {longest}"));
}

#[test]
fn each_line_is_a_message_and_an_empty_one_too() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = finish(lo.spawn("alice", &["send"]), b"a\r\n\n\tb: c \nd");
    outcome.assert_code(0);
    wait_messages(&bob, &["a", "", "\tb: c ", "d"]);
    let outcome = finish(lo.spawn("alice", &["send", "e\n\nf", "g"]), b"ignored");
    outcome.assert_code(0);
    wait_messages(&bob, &["a", "", "\tb: c ", "d", "e", "", "f g"]);
}

#[test]
fn a_line_goes_out_before_the_input_ends() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &[]);
    wait_joined(&alice, "bob");
    alice.say("now");
    wait_line(&bob, ": now");
    alice.say("then");
    wait_line(&bob, ": then");
    let outcome = finish(alice, b"end");
    outcome.assert_code(0);
    wait_line(&bob, ": end");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
}

#[test]
fn a_room_is_a_target() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "Ops"]);
    let outcome = run(&lo, "alice", &["send", "-t", "ops", "hi"]);
    outcome.assert_code(0);
    let line = wait_line(&bob, ": hi");
    assert!(
        without_timestamp(&line).starts_with("#ops alice~"),
        "{line}"
    );
    let outcome = run(&lo, "alice", &["send", "-t", "@b b", "hi"]);
    outcome.assert_code(2);
}

#[test]
fn an_ephemeral_run_drops_nothing_that_nobody_has() {
    let Some(lo) = Loopback::new() else { return };
    // More than memory may take.
    let input = |count: usize| {
        let lines = (1..=count).map(|n| format!("{n} {}\n", "x".repeat(1000)));
        lines.collect::<String>().into_bytes()
    };
    let waits = "p2pchat: no peer is connected and the store is full: stdin waits";
    let alice = lo.spawn("alice", &["send", "--ephemeral", "-W", "0.5"]);
    let outcome = finish(alice, &input(12_000));
    assert_eq!((outcome.code, outcome.err.len()), (69, 2), "{outcome:?}");
    assert_eq!(outcome.err[0], waits);
    let rest = "lost with this program, and the rest of stdin was not read";
    assert!(outcome.err[1].ends_with(rest), "{outcome:?}");

    // One who was there before wants all, however long it took until he came.
    run(&lo, "bob", &["listen", "-W", "0.1"]);
    let mut alice = lo.spawn("alice", &["send", "--ephemeral", "-W", "20"]);
    let mut stdin = alice.take_stdin();
    let writer = thread::spawn(move || stdin.write_all(&input(12_000)));
    alice.err.wait_for(TIMEOUT, |line| line == waits);
    let bob = lo.start("bob", &["listen"]);
    assert_eq!(alice.wait_code(TIMEOUT * 2), 0, "{:?}", alice.err.all());
    writer.join().expect("a writer").expect("all is taken");
    bob.out.wait_all(TIMEOUT, |lines| lines.len() >= 12_000);
    let said = messages(&bob.out.all());
    let number = |line: &String| line.split(' ').next().and_then(|n| n.parse().ok());
    let numbers: Vec<usize> = said.iter().filter_map(number).collect();
    assert!(numbers.into_iter().eq(1..=12_000));
}
