//! `listen`: when it ends, and with which status.
use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::{Loopback, wait_until};
use super::{SOON, finish, said, wait_joined, wait_line, wait_said};

#[test]
fn a_count_of_lines_ends_it() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-n", "2"]);
    let ended = finish(lo.spawn("alice", &["send"]), b"one\ntwo\nthree\n");
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = finish(bob, b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(said(&ended.out), ["one", "two"]);
}

#[test]
fn a_count_takes_only_what_is_said_while_it_runs() {
    let Some(lo) = Loopback::new() else { return };
    finish(lo.spawn("bob", &["listen", "-W", "0"]), b"");
    finish(lo.spawn("alice", &["send", "-W", "0.1", "before"]), b"");
    let bob = lo.start("bob", &["listen", "-n", "1"]);
    let ended = finish(lo.spawn("alice", &["send", "during"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    let ended = finish(bob, b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert_eq!(said(&ended.out), ["during"]);
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
    let ended = finish(lo.spawn("alice", &["send"]), line.repeat(20_000).as_bytes());
    assert_eq!(ended.code, 0, "{ended:?}");
    let lines = BufReader::new(bob.stdout.take().expect("piped")).lines();
    assert_eq!(lines.count(), 9001);
    assert_eq!(bob.wait().expect("an end").code(), Some(0));
}

#[test]
fn a_count_ends_within_a_turn_and_loses_nothing() {
    let Some(lo) = Loopback::new() else { return };
    // It printed before, so that what follows is noted.
    finish(lo.spawn("bob", &["listen", "-W", "0"]), b"");
    let bob = lo.start("bob", &["listen", "-n", "3"]);
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    // A batch at each change between the two kinds of lines, and all in one turn.
    alice.write(b"one\n/me two\nthree\nfour\n/me five\n");
    let ended = finish(bob, b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    let chat = |line: &&String| !line.ends_with(" joined");
    assert_eq!(ended.out.iter().filter(chat).count(), 3, "{ended:?}");
    assert_eq!(said(&ended.out), ["one", "three"]);
    // A batch that was printed in part is printed whole by the next run, and nothing else again.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, " five");
    assert_eq!(said(&bob.out.all()), ["three", "four"]);
}

#[test]
fn what_a_count_printed_is_not_printed_again() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    // Own lines that were never printed are none that a later run would print.
    let ended = finish(lo.spawn("bob", &["send", "own"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    let bob = lo.start("bob", &["listen", "-n", "1"]);
    alice.say("once");
    let ended = finish(bob, b"");
    assert_eq!((ended.code, said(&ended.out)), (0, vec!["once".to_owned()]));
    let ended = finish(lo.spawn("bob", &["listen", "-W", "0.2"]), b"");
    assert_eq!(said(&ended.out), [""; 0], "{ended:?}");
}

#[test]
fn a_count_takes_no_backlog() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    finish(lo.spawn("alice", &["send"]), b"one\ntwo\n");
    wait_said(&bob, &["one", "two"]);
    bob.signal(Signal::SIGTERM);
    finish(bob, b"");
    let bob = lo.start("bob", &["listen", "-n", "1", "--backlog", "2"]);
    finish(lo.spawn("alice", &["send", "three"]), b"");
    let ended = finish(bob, b"");
    assert_eq!(said(&ended.out), ["three"]);
}

#[test]
fn its_wait_ends_it() {
    let Some(lo) = Loopback::new() else { return };
    let ended = finish(lo.spawn("bob", &["listen", "-W", "0.3"]), b"");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.took >= Duration::from_millis(250), "{ended:?}");
    let ended = finish(lo.spawn("bob", &["listen", "-W", "0.5", "-n", "1"]), b"");
    assert_eq!(ended.code, 124, "{ended:?}");
    assert!(ended.out.is_empty(), "{ended:?}");
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
        let ended = finish(program, b"");
        assert_eq!(ended.code, code, "{ended:?}");
        assert!(ended.took < Duration::from_secs(2), "{ended:?}");
        let left = |line: &str| line.contains(&format!(" * {user}~")) && line.ends_with(" left");
        carol.out.wait_for(Duration::from_secs(2), left);
    }
    // Without a terminal a hang-up is none.
    carol.signal(Signal::SIGHUP);
    finish(lo.spawn("alice", &["send", "still there?"]), b"");
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
    wait_until("an end", SOON, || {
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
    wait_said(&bob, &["one", "two", "three", "four"]);
    bob.signal(Signal::SIGTERM);
    finish(bob, b"");
    let bob = lo.start("bob", &["listen", "--backlog", "3"]);
    wait_said(&bob, &["two", "three", "four"]);
    finish(lo.spawn("alice", &["send", "five"]), b"");
    wait_said(&bob, &["two", "three", "four", "five"]);

    // A newcomer is sent what was said before he came, and prints it only if asked to.
    let _alice = lo.start("alice", &[]);
    let carol = lo.start("carol", &["listen"]);
    wait_joined(&carol, "alice");
    finish(lo.spawn("dave", &["send", "six"]), b"");
    wait_said(&carol, &["six"]);
    carol.signal(Signal::SIGTERM);
    finish(carol, b"");
    let carol = lo.start("carol", &["listen", "--backlog", "99"]);
    wait_said(&carol, &["one", "two", "three", "four", "five", "six"]);
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
    let ended = bob.wait_with_output().expect("an end");
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8_lossy(&ended.stderr);
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
    let ended = finish(lo.spawn("bob", &["-d", "listen", "-W", "0.1"]), b"");
    assert_eq!((ended.code, ended.out.len()), (0, 0), "{ended:?}");
    let debug = |what| format!("p2pchat: debug: {what}");
    for what in ["interfaces: ", "NodeCounters "] {
        let said = ended.err.iter().any(|line| line.starts_with(&debug(what)));
        assert!(said, "{what}: {ended:?}");
    }
}
