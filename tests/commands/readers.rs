//! `listen --as NAME`: readers of one directory, each of which prints each line once.
use std::fs;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

/// What a reader of bob's directory prints of what came since its last run.
fn drain(lo: &Loopback, reader: &str) -> Vec<String> {
    let outcome = run(lo, "bob", &["listen", "--as", reader, "--drain"]);
    outcome.assert_code(0);
    let lines = messages(&outcome.out);
    assert_eq!(outcome.out.len(), lines.len(), "only messages: {outcome:?}");
    lines
}

/// Each reader begins with its first listen, beside the directory's own, and prints each line once,
/// over restarts and kills, alone and beside a running program.
#[test]
fn each_reader_prints_each_line_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut say = |text: &str| {
        alice.say(text);
        wait_line(&alice, &format!(": {text}"));
    };
    say("zero");
    assert_eq!(drain(&lo, "one"), [""; 0]);
    say("first");
    say("second");
    // Two clocks are compared as exactly as a round trip is short, so that a line that was said a
    // moment before a reader began may be news for it. A whole run lies between.
    assert_eq!(drain(&lo, "one"), ["first", "second"]);
    assert_eq!(drain(&lo, "two"), [""; 0], "it has just begun");
    // The directory's own reader begins now: all this is history for it.
    let bob = lo.start("bob", &[]);
    run(&lo, "bob", &["sync"]).assert_code(0);
    say("third");
    wait_messages(&bob, &["third"]);
    assert_eq!(drain(&lo, "two"), ["third"], "attached");
    let mut one = lo.start("bob", &["listen", "--as", "one"]);
    wait_messages(&one, &["third"]);
    say("fourth");
    wait_messages(&one, &["third", "fourth"]);
    wait_line(&bob, ": fourth");
    // What stdout has taken is recorded a moment later.
    let folder = lo.host.folder("bob").join("history/open/#general");
    let segment = fs::metadata(folder.join("000001.ndjson")).expect("a segment");
    let has_printed_all = |file: &str| {
        let state = fs::read_to_string(folder.join(file)).expect("a file of the reader");
        let mut words = state.split_whitespace();
        words.any(|word| word.parse() == Ok(segment.len()))
    };
    wait_until("it is recorded", TIMEOUT, || {
        has_printed_all("reader.one") && has_printed_all("reader")
    });
    one.kill();
    drop(one);
    say("fifth");
    wait_line(&bob, ": fifth");
    assert_eq!(drain(&lo, "one"), ["fifth"], "after a kill");
    drop(bob);
    say("sixth");
    assert_eq!(
        drain(&lo, "two"),
        ["fourth", "fifth", "sixth"],
        "alone again"
    );
    assert_eq!(drain(&lo, "one"), ["sixth"]);
    assert_eq!(drain(&lo, "one"), [""; 0]);
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": sixth");
    let own = messages(&bob.out.all());
    assert!(
        own.ends_with(&["sixth".to_owned()]) && !own.contains(&"second".to_owned()),
        "{own:?}"
    );
}

/// What another program of the directory said is news for a reader with a name, unless it wants no
/// own lines. It is none for the directory's own reader: its user has typed it.
#[test]
fn own_lines_of_earlier_runs_are_news_for_a_reader_with_a_name() {
    let Some(lo) = Loopback::new() else { return };
    let drain = |options: &[&str]| {
        let listen = [&["listen", "--drain", "-W", "0.1"], options].concat();
        messages(&run(&lo, "bob", &listen).out)
    };
    for reader in ["one", "two"] {
        assert_eq!(drain(&["--as", reader]), [""; 0]);
    }
    assert_eq!(drain(&[]), [""; 0]);
    run(&lo, "bob", &["send", "-W", "0", "own"]).assert_code(69);
    assert_eq!(drain(&["--as", "one"]), ["own"]);
    assert_eq!(drain(&["--as", "one"]), [""; 0], "once");
    assert_eq!(drain(&["--as", "two", "--no-echo"]), [""; 0]);
    assert_eq!(drain(&[]), [""; 0]);
}

/// A line that was said before a reader began, and comes later, is history for it, and news for an
/// older one.
#[test]
fn a_late_line_is_news_for_the_older_reader_alone() {
    let Some(lo) = Loopback::new() else { return };
    let old = run(
        &lo,
        "bob",
        &["listen", "--as", "old", "--drain", "-W", "0.1"],
    );
    old.assert_code(0);
    run(&lo, "alice", &["send", "--need", "0", "-W", "0", "between"]).assert_code(0);
    let young = run(
        &lo,
        "bob",
        &["listen", "--as", "young", "--drain", "-W", "0.1"],
    );
    young.assert_code(0);
    let mut alice = lo.start("alice", &[]);
    alice.say("after");
    wait_line(&alice, ": after");
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&bob, "alice");
    run(&lo, "bob", &["sync"]).assert_code(0);
    assert_eq!(drain(&lo, "young"), ["after"]);
    assert_eq!(drain(&lo, "old"), ["between", "after"]);
    assert_eq!(
        messages(&bob.out.all()),
        [""; 0],
        "older than the own reader"
    );
    drop(bob);
    assert_eq!(drain(&lo, "old"), [""; 0]);
}

/// Two programs cannot be one reader at a time; the second one says so, and ends.
#[test]
fn a_reader_listens_once_at_a_time() {
    let Some(lo) = Loopback::new() else { return };
    let one = lo.start("bob", &["listen", "--as", "one"]);
    let two = lo.start("bob", &["listen", "--as", "two"]);
    for reader in ["one", "two"] {
        let outcome = run(&lo, "bob", &["listen", "--as", reader]);
        outcome.assert_code(1);
        let sentence = format!("the reader {reader} listens already");
        assert!(
            outcome.err.iter().any(|line| line.contains(&sentence)),
            "{outcome:?}"
        );
    }
    // When the program that runs ends, the other one takes over, as the same reader.
    let alice = lo.start("alice", &[]);
    wait_joined(&two, "alice");
    one.signal(Signal::SIGTERM);
    drop(one);
    finish(alice, b"hello\n").assert_code(0);
    wait_messages(&two, &["hello"]);
    two.signal(Signal::SIGTERM);
    drop(two);
    assert_eq!(drain(&lo, "two"), [""; 0]);
    assert_eq!(drain(&lo, "one"), ["hello"]);
}

/// A stopped peer makes `--drain` end with 75 once it was linked; what is stored is printed.
#[test]
fn a_slow_peer_ends_a_drain_with_75() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &[]);
    let bob = lo.start("bob", &[]);
    wait_joined(&bob, "alice");
    assert_eq!(drain(&lo, "one"), [""; 0]);
    finish(lo.spawn("alice", &["send"]), b"hello\n").assert_code(0);
    alice.signal(Signal::SIGSTOP);
    let outcome = run(
        &lo,
        "bob",
        &["listen", "--as", "one", "--drain", "-W", "0.3"],
    );
    outcome.assert_code(75);
    assert_eq!(messages(&outcome.out), ["hello"]);
    assert!(
        outcome.err.iter().any(|line| line.contains("alice~")),
        "{outcome:?}"
    );
    alice.signal(Signal::SIGCONT);
}

/// A name obeys the rule for names, and needs a directory. At most 64 readers have one.
#[test]
fn bad_names_and_too_many_readers_are_refused() {
    let Some(lo) = Loopback::new() else { return };
    for options in [["--as", "a/b"], ["--as", ".~"]] {
        let outcome = run(&lo, "bob", &[&["listen"], &options[..]].concat());
        outcome.assert_code(2);
    }
    let outcome = run(&lo, "bob", &["listen", "--as", "one", "--ephemeral"]);
    outcome.assert_code(2);
    assert!(outcome.err[0].contains("--ephemeral"), "{outcome:?}");
    run(&lo, "bob", &["send", "--as", "one", "hi"]).assert_code(2);
    run(&lo, "bob", &["listen", "--as", "n0", "--drain", "-W", "0"]).assert_code(0);
    let folder = lo.host.folder("bob").join("history/open/#general");
    let file = fs::read(folder.join("reader.n0")).expect("a file of the reader");
    for i in 1..64 {
        fs::write(folder.join(format!("reader.n{i}")), &file).expect("a file");
    }
    let refused = run(
        &lo,
        "bob",
        &["listen", "--as", "more", "--drain", "-W", "0"],
    );
    refused.assert_code(1);
    assert!(
        refused.err.iter().any(|line| line.contains("64 others")),
        "{refused:?}"
    );
    run(&lo, "bob", &["listen", "--as", "n63", "--drain", "-W", "0"]).assert_code(0);
}
