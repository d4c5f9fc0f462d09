//! `listen --drain` and `--seek`: what came since the last run, once, from where the reader stands.
use std::time::Duration;

use super::hosts::host::Loopback;
use super::{finish, messages, run, wait_joined, wait_line};

/// Each run prints what was said since the one before it, and ends with 0. It comes and goes
/// unannounced.
#[test]
fn each_run_prints_what_came_since() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    alice.say("before bob came");
    wait_line(&alice, ": before bob came");
    let drained = || {
        let outcome = run(&lo, "bob", &["listen", "--drain"]);
        outcome.assert_code(0);
        messages(&outcome.out)
    };
    assert_eq!(drained(), [""; 0], "what is older is history");
    for text in ["one", "two", "three"] {
        alice.say(text);
        wait_line(&alice, &format!(": {text}"));
        if text != "one" {
            let expected = if text == "two" {
                &["one", "two"][..]
            } else {
                &["three"]
            };
            assert_eq!(drained(), expected);
        }
    }
    assert_eq!(drained(), [""; 0]);
    let is_bob = |line: &String| line.contains("bob~");
    assert!(!alice.out.all().iter().any(is_bob), "{:?}", alice.out.all());
}

/// With nobody there, what is stored is printed, and that is all.
#[test]
fn alone_it_prints_what_is_stored() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["listen", "-W", "0"]).assert_code(0);
    let alice = lo.start("alice", &[]);
    run(&lo, "alice", &["send", "--need", "0", "hello"]).assert_code(0);
    run(&lo, "bob", &["sync"]).assert_code(0);
    finish(alice, b"").assert_code(0);
    let outcome = run(&lo, "bob", &["listen", "--drain", "-W", "0.2"]);
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["hello"]);
    let outcome = run(&lo, "bob", &["listen", "--drain"]);
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), [""; 0]);
    assert!(outcome.duration < Duration::from_secs(8), "{outcome:?}");
}

/// `--seek end` skips what is stored for good; `--seek start` prints it all, history and own lines
/// included, and goes on from there.
#[test]
fn seek_moves_the_reader() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    alice.say("old");
    wait_line(&alice, ": old");
    run(&lo, "bob", &["listen", "--drain"]).assert_code(0);
    alice.say("skipped");
    wait_line(&alice, ": skipped");
    run(&lo, "bob", &["sync"]).assert_code(0);
    let outcome = run(&lo, "bob", &["listen", "--drain", "--seek", "end"]);
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), [""; 0]);
    alice.say("new");
    wait_line(&alice, ": new");
    let outcome = run(&lo, "bob", &["listen", "--drain"]);
    assert_eq!(messages(&outcome.out), ["new"]);
    run(&lo, "bob", &["send", "mine"]).assert_code(0);
    let outcome = run(&lo, "bob", &["listen", "--drain", "--seek=start"]);
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["old", "skipped", "new", "mine"]);
    let bob = lo.start("bob", &["listen", "-n", "1", "--seek", "end"]);
    wait_joined(&alice, "bob");
    alice.say("next");
    assert_eq!(messages(&finish(bob, b"").out), ["next"]);
}

/// `-n` prints only what is said while it runs, so it goes with neither.
#[test]
fn contradictions_are_refused() {
    let Some(lo) = Loopback::new() else { return };
    for options in [["--drain", "--"], ["--seek", "start"]] {
        let outcome = run(&lo, "bob", &[&["listen", "-n", "1"], &options[..]].concat());
        outcome.assert_code(2);
        assert!(outcome.err[0].contains("--count"), "{outcome:?}");
    }
    let outcome = run(&lo, "bob", &["listen", "--seek", "middle"]);
    outcome.assert_code(2);
    assert!(
        outcome.err[0].contains("is not end or start"),
        "{outcome:?}"
    );
}
