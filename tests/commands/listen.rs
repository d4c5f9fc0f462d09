//! `listen`: when it ends, and with which status.
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::{Loopback, wait_until};
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

#[test]
fn a_count_of_lines_ends_it() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-n", "2"]);
    let outcome = finish(lo.spawn("alice", &["send"]), b"one\ntwo\nthree\n");
    outcome.assert_code(0);
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["one", "two"]);
}

#[test]
fn a_count_takes_only_what_is_said_while_it_runs() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["listen", "-W", "0"]);
    run(&lo, "alice", &["send", "-W", "0.1", "before"]);
    let bob = lo.start("bob", &["listen", "-n", "1"]);
    let outcome = run(&lo, "alice", &["send", "during"]);
    outcome.assert_code(0);
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["during"]);
    // What it left unprinted is the next run's.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": before");
}

#[test]
fn a_count_holds_for_a_reader_that_stalled() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob", "listen", "-n", "9001"]);
    command.env("P2PCHAT_DIR", lo.host.folder("bob"));
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bob = command.spawn().expect("bob");
    let mut err = BufReader::new(bob.stderr.take().expect("piped"));
    err.read_line(&mut String::new()).expect("ready");
    // More than pipe and queue hold, so that most of it is read from the history again.
    let line = "the quick brown fox ".repeat(6) + "\n";
    let outcome = finish(lo.spawn("alice", &["send"]), line.repeat(20_000).as_bytes());
    outcome.assert_code(0);
    let lines = BufReader::new(bob.stdout.take().expect("piped")).lines();
    assert_eq!(lines.count(), 9001);
    assert_eq!(bob.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_count_ends_within_a_turn_and_loses_nothing() {
    let Some(lo) = Loopback::new() else { return };
    // It printed before, so that what follows is noted.
    run(&lo, "bob", &["listen", "-W", "0"]);
    let bob = lo.start("bob", &["listen", "-n", "3"]);
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    // A batch at each change between the two kinds of lines, and all in one turn.
    alice.write(b"one\n/me two\nthree\nfour\n/me five\n");
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    let chat = |line: &&String| !line.ends_with(" joined");
    assert_eq!(outcome.out.iter().filter(chat).count(), 3, "{outcome:?}");
    assert_eq!(messages(&outcome.out), ["one", "three"]);
    // A batch that was printed in part is printed whole by the next run, and nothing else again.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, " five");
    assert_eq!(messages(&bob.out.all()), ["three", "four"]);
}

#[test]
fn what_a_count_printed_is_not_printed_again() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    // Own lines that were never printed are none that a later run would print.
    let outcome = run(&lo, "bob", &["send", "own"]);
    outcome.assert_code(0);
    let bob = lo.start("bob", &["listen", "-n", "1"]);
    alice.say("once");
    let outcome = finish(bob, b"");
    assert_eq!(
        (outcome.code, messages(&outcome.out)),
        (0, vec!["once".to_owned()])
    );
    let outcome = run(&lo, "bob", &["listen", "-W", "0.2"]);
    assert_eq!(messages(&outcome.out), [""; 0], "{outcome:?}");
}

#[test]
fn a_count_takes_no_backlog() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    finish(lo.spawn("alice", &["send"]), b"one\ntwo\n");
    wait_messages(&bob, &["one", "two"]);
    bob.signal(Signal::SIGTERM);
    finish(bob, b"");
    let bob = lo.start("bob", &["listen", "-n", "1", "--backlog", "2"]);
    run(&lo, "alice", &["send", "three"]);
    let outcome = finish(bob, b"");
    assert_eq!(messages(&outcome.out), ["three"]);
}

#[test]
fn its_wait_ends_it() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "bob", &["listen", "-W", "0.3"]);
    outcome.assert_code(0);
    assert!(outcome.took >= Duration::from_millis(250), "{outcome:?}");
    let outcome = run(&lo, "bob", &["listen", "-W", "0.5", "-n", "1"]);
    outcome.assert_code(124);
    assert!(outcome.out.is_empty(), "{outcome:?}");
}

#[test]
fn signals_end_it_with_a_goodbye() {
    let Some(lo) = Loopback::new() else { return };
    let carol = lo.start("carol", &["listen"]);
    for (user, signal, code) in [
        ("alice", Signal::SIGTERM, 143),
        ("bob", Signal::SIGINT, 130),
    ] {
        let program = lo.start(user, &["listen"]);
        wait_joined(&carol, user);
        wait_joined(&program, "carol");
        program.signal(signal);
        let outcome = finish(program, b"");
        outcome.assert_code(code);
        assert!(outcome.took < Duration::from_secs(2), "{outcome:?}");
        let left = |line: &str| line.contains(&format!(" * {user}~")) && line.ends_with(" left");
        carol.out.wait_for(Duration::from_secs(2), left);
    }
    // Without a terminal a hang-up is none.
    carol.signal(Signal::SIGHUP);
    run(&lo, "alice", &["send", "still there?"]);
    wait_line(&carol, ": still there?");
}

#[test]
fn a_closed_stdout_ends_it_quietly() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args([
        "--interface",
        "lo",
        "-u",
        "bob",
        "--ephemeral",
        "-q",
        "listen",
    ]);
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bob = command.spawn().expect("bob");
    drop(bob.stdout.take());
    let sent = lo.start("alice", &[]);
    let mut status = None;
    wait_until("an end", TIMEOUT, || {
        status = bob.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(141));
    let mut said = String::new();
    std::io::Read::read_to_string(&mut bob.stderr.take().expect("piped"), &mut said).expect("text");
    assert_eq!(said, "");
    drop(sent);
}

#[test]
fn a_backlog_is_printed_first() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    finish(lo.spawn("alice", &["send"]), b"one\ntwo\nthree\nfour\n");
    wait_messages(&bob, &["one", "two", "three", "four"]);
    bob.signal(Signal::SIGTERM);
    finish(bob, b"");
    let bob = lo.start("bob", &["listen", "--backlog", "3"]);
    wait_messages(&bob, &["two", "three", "four"]);
    run(&lo, "alice", &["send", "five"]);
    wait_messages(&bob, &["two", "three", "four", "five"]);

    // A newcomer is sent what was said before he came, and prints it only if asked to.
    let _alice = lo.start("alice", &[]);
    let carol = lo.start("carol", &["listen"]);
    wait_joined(&carol, "alice");
    run(&lo, "dave", &["send", "six"]);
    wait_messages(&carol, &["six"]);
    carol.signal(Signal::SIGTERM);
    finish(carol, b"");
    let carol = lo.start("carol", &["listen", "--backlog", "99"]);
    wait_messages(&carol, &["one", "two", "three", "four", "five", "six"]);
}

#[test]
fn a_stdout_that_fails_is_told_of_and_the_end_is_clean() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob", "-q", "listen"]);
    command.env("P2PCHAT_DIR", lo.host.folder("bob"));
    let full = File::create("/dev/full").expect("a device");
    command.stdin(Stdio::null()).stdout(full);
    let bob = command.stderr(Stdio::piped()).spawn().expect("bob");
    let alice = lo.start("alice", &[]);
    let outcome = bob.wait_with_output().expect("an end");
    assert_eq!(outcome.status.code(), Some(1));
    let said = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        said.starts_with("p2pchat: stdout cannot be written: ") && said.lines().count() == 1,
        "{said}"
    );
    assert!(lo.host.folder("bob").join("clean").exists());
    drop(alice);
}

#[test]
fn debug_says_what_goes_on() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "bob", &["-d", "listen", "-W", "0.1"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
    let debug = |what| format!("p2pchat: debug: {what}");
    for what in ["interfaces: ", "NodeCounters "] {
        let said = outcome
            .err
            .iter()
            .any(|line| line.starts_with(&debug(what)));
        assert!(said, "{what}: {outcome:?}");
    }
}
