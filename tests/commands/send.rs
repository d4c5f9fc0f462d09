//! `send`: it tells the truth.
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::Loopback;
use super::{SOON, finish, said, unstamped, wait_joined, wait_line, wait_said};

const STORED: &str = "stored, and sent by the next run";

#[test]
fn a_line_that_arrived_is_success_without_a_word() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let ended = finish(lo.spawn("alice", &["send", "Hey", "there!"]), b"");
    assert_eq!((ended.code, ended.out.len()), (0, 0), "{ended:?}");
    assert!(ended.err.is_empty(), "{ended:?}");
    let line = wait_line(&bob, ": Hey there!");
    let line = unstamped(&line);
    let name = line.strip_prefix("#general alice~").expect(line);
    assert_eq!(name.len(), "abcd: Hey there!".len(), "{line}");
    // `send` comes and goes unannounced.
    assert_eq!(bob.out.all().len(), 1, "{:?}", bob.out.all());
}

#[test]
fn what_nobody_took_goes_out_with_the_next_run_of_any_kind() {
    let Some(lo) = Loopback::new() else { return };
    // Bob was in the room before: nothing that is said while he is away is a newcomer's backfill to him.
    finish(lo.spawn("bob", &["listen", "-W", "0"]), b"");
    let ended = finish(lo.spawn("alice", &["send", "-W", "0.3", "first"]), b"");
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(
        ended.err.len() == 1 && ended.err[0].starts_with("p2pchat: no peer is connected: "),
        "{ended:?}"
    );
    assert!(ended.err[0].ends_with(STORED), "{ended:?}");

    let bob = lo.start("bob", &["listen"]);
    let ended = finish(lo.spawn("alice", &["send", "second"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_said(&bob, &["first", "second"]);

    drop(bob);
    let ended = finish(lo.spawn("alice", &["send", "-W", "0.3", "third"]), b"");
    assert_eq!(ended.code, 69, "{ended:?}");
    let bob = lo.start("bob", &["listen"]);
    let _alice = lo.start("alice", &[]);
    wait_line(&bob, ": third");
}

#[test]
fn what_waits_in_another_room_goes_out_with_any_run_too() {
    let Some(lo) = Loopback::new() else { return };
    finish(lo.spawn("bob", &["listen", "-r", "ops", "-W", "0"]), b"");
    let args = ["send", "-r", "ops", "-W", "0.3", "for ops"];
    let ended = finish(lo.spawn("alice", &args), b"");
    assert_eq!(ended.code, 69, "{ended:?}");
    let note = lo.host.folder("alice").join("history/open/#ops/waiting");
    assert!(note.exists());

    let bob = lo.start("bob", &["listen", "-r", "ops"]);
    let alice = lo.start("alice", &["listen"]);
    wait_line(&bob, ": for ops");
    // She is in the room for what she brings, and shows nothing of it.
    let args = ["send", "-r", "ops", "not for alice"];
    let ended = finish(lo.spawn("carol", &args), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    alice.signal(Signal::SIGTERM);
    let ended = finish(alice, b"");
    assert!(!ended.out.iter().any(|l| l.contains("#ops")), "{ended:?}");
    assert!(!note.exists(), "others hold it");
    let args = ["listen", "-r", "ops", "-W", "0.1"];
    let ended = finish(lo.spawn("alice", &args), b"");
    assert_eq!(said(&ended.out), ["not for alice"]);
    let ended = finish(lo.spawn("alice", &["listen", "-W", "0.5"]), b"");
    assert!(!note.exists(), "{ended:?}");
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
    let ended = finish(lo.spawn("alice", &args), b"");
    assert_eq!(ended.code, 69, "{ended:?}");
    assert!(
        ended.err.iter().any(|line| line.contains("are lost")),
        "{ended:?}"
    );
}

#[test]
fn need_says_how_many_must_hold_it() {
    let Some(lo) = Loopback::new() else { return };
    let ended = finish(lo.spawn("alice", &["send", "--need", "0", "zero"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.err.is_empty(), "{ended:?}");
    assert!(ended.took < Duration::from_secs(5), "{ended:?}");

    let bob = lo.start("bob", &["listen"]);
    let args = ["send", "--need", "2", "-W", "0.5", "two"];
    let ended = finish(lo.spawn("alice", &args), b"");
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(
        ended.err.len() == 1 && ended.err[0].ends_with(STORED),
        "{ended:?}"
    );
    wait_line(&bob, ": two");

    let carol = lo.start("carol", &["listen"]);
    let ended = finish(lo.spawn("alice", &["send", "--need", "2", "both"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_line(&bob, ": both");
    wait_line(&carol, ": both");
}

#[test]
fn nothing_to_say_is_done_at_once() {
    let Some(lo) = Loopback::new() else { return };
    for args in [&["send"][..], &["send", ""]] {
        let ended = finish(lo.spawn("alice", args), b"");
        assert_eq!(ended.code, 0, "{args:?}: {ended:?}");
        assert!(ended.err.is_empty() && ended.out.is_empty(), "{ended:?}");
        assert!(ended.took < Duration::from_secs(5), "{ended:?}");
    }
}

#[test]
fn bad_lines_are_named_and_the_others_are_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut input = b"one\n".to_vec();
    input.extend(vec![b'x'; 16 * 1024 + 1]);
    input.extend(b"\nnot \xff UTF-8\nfour\n");
    let ended = finish(lo.spawn("alice", &["send"]), &input);
    assert_eq!(ended.code, 1, "{ended:?}");
    let err = &ended.err;
    assert!(
        err.len() == 2
            && err[0].starts_with("p2pchat: line 2: ")
            && err[1].starts_with("p2pchat: line 3: "),
        "{ended:?}"
    );
    wait_said(&bob, &["one", "four"]);

    // Lines refused weigh more than a delivery that failed.
    drop(bob);
    let ended = finish(lo.spawn("alice", &["send", "-W", "0.2"]), b"\xff\nfine\n");
    assert_eq!(ended.code, 1, "{ended:?}");

    // The longest line that is allowed.
    let bob = lo.start("bob", &["listen"]);
    let longest = "y".repeat(16 * 1024);
    let ended = finish(lo.spawn("alice", &["send"]), longest.as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_line(&bob, &format!(": {longest}"));
}

#[test]
fn each_line_is_a_message_and_an_empty_one_too() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let ended = finish(lo.spawn("alice", &["send"]), b"a\r\n\n\tb: c \nd");
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_said(&bob, &["a", "", "\tb: c ", "d"]);
    let ended = finish(lo.spawn("alice", &["send", "e\n\nf", "g"]), b"ignored");
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_said(&bob, &["a", "", "\tb: c ", "d", "e", "", "f g"]);
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
    let ended = finish(alice, b"end");
    assert_eq!(ended.code, 0, "{ended:?}");
    wait_line(&bob, ": end");
    bob.out
        .wait_for(super::SOON, |line| line.ends_with(" left"));
}

#[test]
fn a_room_is_a_target() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "Ops"]);
    let ended = finish(lo.spawn("alice", &["send", "-t", "ops", "hi"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    let line = wait_line(&bob, ": hi");
    assert!(unstamped(&line).starts_with("#ops alice~"), "{line}");
    let ended = finish(lo.spawn("alice", &["send", "-t", "@b b", "hi"]), b"");
    assert_eq!(ended.code, 2, "{ended:?}");
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
    let ended = finish(alice, &input(12_000));
    assert_eq!((ended.code, ended.err.len()), (69, 2), "{ended:?}");
    assert_eq!(ended.err[0], waits);
    let rest = "lost with this program, and the rest of stdin was not read";
    assert!(ended.err[1].ends_with(rest), "{ended:?}");

    // One who was there before wants all, however long it took until he came.
    finish(lo.spawn("bob", &["listen", "-W", "0.1"]), b"");
    let mut alice = lo.spawn("alice", &["send", "--ephemeral", "-W", "20"]);
    let mut stdin = alice.take_stdin();
    let writer = thread::spawn(move || stdin.write_all(&input(12_000)));
    alice.err.wait_for(SOON, |line| line == waits);
    let bob = lo.start("bob", &["listen"]);
    assert_eq!(alice.wait_code(SOON * 2), 0, "{:?}", alice.err.all());
    writer.join().expect("a writer").expect("all is taken");
    bob.out.wait_all(SOON, |lines| lines.len() >= 12_000);
    let said = said(&bob.out.all());
    let number = |line: &String| line.split(' ').next().and_then(|n| n.parse().ok());
    let numbers: Vec<usize> = said.iter().filter_map(number).collect();
    assert!(numbers.into_iter().eq(1..=12_000));
}
