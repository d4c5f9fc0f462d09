//! `listen`: what it prints, when it ends, and with which exit status.
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

/// `listen -n N` ends with 0 after exactly N chat lines.
#[test]
fn count_ends_listen_with_success() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-n", "2"]);
    finish(lo.spawn("alice", &["send"]), b"one\ntwo\nthree\n").assert_code(0);
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["one", "two"]);
}

/// `-n` counts and prints only lines said while it runs; earlier ones are left to the next run.
#[test]
fn count_takes_only_lines_said_during_the_run() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["listen", "-W", "0"]);
    run(&lo, "alice", &["send", "-W", "0.1", "before"]);
    let bob = lo.start("bob", &["listen", "-n", "1"]);
    run(&lo, "alice", &["send", "during"]).assert_code(0);
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["during"]);
    // The next run prints the line that the count excluded.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": before");
}

/// `-n` prints exactly N lines also to a reader that stalls while more arrive.
#[test]
fn count_is_exact_for_a_stalled_reader() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob", "listen", "-n", "9001"]);
    command.env("P2PCHAT_DIR", lo.host.folder("bob"));
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bob = command.spawn().expect("bob");
    let mut err = BufReader::new(bob.stderr.take().expect("piped"));
    err.read_line(&mut String::new()).expect("ready");
    // More than the pipe and the queue hold, so that most lines are read again from the
    // history.
    let line = "the quick brown fox ".repeat(6) + "\n";
    finish(lo.spawn("alice", &["send"]), line.repeat(20_000).as_bytes()).assert_code(0);
    let lines = BufReader::new(bob.stdout.take().expect("piped")).lines();
    assert_eq!(lines.count(), 9001);
    assert_eq!(bob.wait().expect("an end").code(), Some(0));
}

/// `-n` may end in the middle of the lines of one turn: the next run prints the rest.
#[test]
fn count_ends_within_one_turn_and_loses_nothing() {
    let Some(lo) = Loopback::new() else { return };
    // The first run sets the printed position, so that what follows is news.
    run(&lo, "bob", &["listen", "-W", "0"]);
    let bob = lo.start("bob", &["listen", "-n", "3"]);
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    // Each change between text and action begins a batch; all batches arrive in one turn.
    alice.write(b"one\n/me two\nthree\nfour\n/me five\n");
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    let chat = |line: &&String| !line.ends_with(" joined");
    assert_eq!(outcome.out.iter().filter(chat).count(), 3, "{outcome:?}");
    assert_eq!(messages(&outcome.out), ["one", "three"]);
    // The next run repeats a batch that was printed in part, and nothing else.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, " five");
    assert_eq!(messages(&bob.out.all()), ["three", "four"]);
}

/// The next `listen` does not repeat the lines that a `listen -n` printed.
#[test]
fn lines_printed_by_a_count_are_printed_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    // For a later run, own lines are no news.
    run(&lo, "bob", &["send", "own"]).assert_code(0);
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

/// `-n` prints only lines said during the run, also with `--backlog`.
#[test]
fn count_excludes_the_backlog() {
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

/// `listen -W` ends with 0, or with 124 if fewer than -n lines came.
#[test]
fn wait_ends_listen() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "bob", &["listen", "-W", "0.3"]);
    outcome.assert_code(0);
    assert!(
        outcome.duration >= Duration::from_millis(250),
        "{outcome:?}"
    );
    let outcome = run(&lo, "bob", &["listen", "-W", "0.5", "-n", "1"]);
    outcome.assert_code(124);
    assert!(outcome.out.is_empty(), "{outcome:?}");
}

/// SIGTERM (143) and SIGINT (130) end `listen` with a goodbye within 2 s; after SIGHUP without
/// a terminal it continues.
#[test]
fn signals_end_listen_with_a_goodbye() {
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
        assert!(outcome.duration < Duration::from_secs(2), "{outcome:?}");
        let is_leave =
            |line: &str| line.contains(&format!(" * {user}~")) && line.ends_with(" left");
        carol.out.wait_for(Duration::from_secs(2), is_leave);
    }
    // Without a terminal SIGHUP reloads and does not end the run.
    carol.signal(Signal::SIGHUP);
    run(&lo, "alice", &["send", "still there?"]);
    wait_line(&carol, ": still there?");
}

/// A closed stdout ends `listen` with 141 and nothing on stderr.
#[test]
fn a_closed_stdout_ends_listen_quietly() {
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
    let alice = lo.start("alice", &[]);
    let mut status = None;
    wait_until("the program ends", TIMEOUT, || {
        status = bob.try_wait().expect("a child");
        status.is_some()
    });
    assert_eq!(status.and_then(|status| status.code()), Some(141));
    let mut errors = String::new();
    std::io::Read::read_to_string(&mut bob.stderr.take().expect("piped"), &mut errors)
        .expect("text");
    assert_eq!(errors, "");
    drop(alice);
}

/// `--backlog N` prints the last N stored lines before any news; a newcomer stores older lines
/// and prints them only with it.
#[test]
fn backlog_is_printed_before_news() {
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

    // A newcomer receives earlier lines as backfill, and prints them only with --backlog.
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

/// A write error on stdout ends the run with 1 and one sentence, after a clean save of the
/// state.
#[test]
fn a_failed_stdout_is_reported_and_the_exit_is_clean() {
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
    let errors = String::from_utf8_lossy(&outcome.stderr);
    assert!(
        errors.starts_with("p2pchat: stdout cannot be written: ") && errors.lines().count() == 1,
        "{errors}"
    );
    assert!(lo.host.folder("bob").join("clean").exists());
    drop(alice);
}

/// `-d` prints the interfaces and the counters on stderr, and nothing on stdout.
#[test]
fn debug_prints_interfaces_and_counters() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "bob", &["-d", "listen", "-W", "0.1"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
    let debug = |what| format!("p2pchat: debug: {what}");
    for what in ["interfaces: ", "NodeCounters "] {
        let found = outcome
            .err
            .iter()
            .any(|line| line.starts_with(&debug(what)));
        assert!(found, "{what}: {outcome:?}");
    }
}
