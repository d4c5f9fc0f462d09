//! What survives the end of a program, and the names that keys bear.
use std::fs;

use nix::sys::signal::Signal;
use p2pchat::shell::store::printed_position::read_printed_position;

use super::hosts::program::Program;
use super::hosts::{Loopback, wait_until};
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

fn say_all(alice: &mut Program, numbers: std::ops::Range<u32>) -> Vec<String> {
    let lines: Vec<String> = numbers.map(|n| format!("line {n}")).collect();
    for line in &lines {
        alice.say(line);
    }
    lines
}

/// All chat lines of several runs, one after the other.
fn transcript(runs: &[Vec<String>]) -> Vec<String> {
    runs.iter().flat_map(|run| messages(run)).collect()
}

/// Waits until all that this user holds of #general is noted as printed: what is shown between a death and its note comes again.
fn wait_noted(lo: &Loopback, user: &str) {
    let room = lo.host.folder(user).join("history/open/#general");
    wait_until("the note of what was printed", TIMEOUT, || {
        let note = fs::read_to_string(room.join("printed")).unwrap_or_default();
        let mut numbers = note.split_ascii_whitespace().map(|n| n.parse::<u64>());
        let (Some(Ok(segment)), Some(Ok(offset))) = (numbers.next(), numbers.next()) else {
            return false;
        };
        let held = fs::metadata(room.join(format!("{segment:06}.ndjson")));
        held.is_ok_and(|held| held.len() == offset)
    });
}

#[test]
fn a_restarted_listener_prints_what_it_missed_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    let mut expected = say_all(&mut alice, 0..3);
    wait_line(&bob, ": line 2");
    bob.signal(Signal::SIGTERM);
    let mut runs = vec![finish(bob, b"").out];
    alice.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
    expected.extend(say_all(&mut alice, 3..6));
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": line 5");
    expected.extend(say_all(&mut alice, 6..8));
    wait_line(&bob, ": line 7");
    bob.signal(Signal::SIGTERM);
    runs.push(finish(bob, b"").out);
    // A run that is over before it could meet anybody prints nothing twice.
    runs.push(run(&lo, "bob", &["listen", "-W", "0"]).out);
    assert_eq!(transcript(&runs), expected);
    // What came while nothing was printed is the next listener's.
    let outcome = run(&lo, "bob", &["send", "hello"]);
    outcome.assert_code(0);
}

#[test]
fn what_another_command_received_is_printed_by_the_next_listener() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    run(&lo, "bob", &["listen", "-W", "0.1"]);
    alice.say("while away");
    let outcome = run(&lo, "bob", &["send", "hello"]);
    outcome.assert_code(0);
    wait_line(&alice, ": hello");
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": while away");
    // Own lines of earlier runs are no news.
    assert_eq!(messages(&bob.out.all()), ["while away"]);
}

#[test]
fn a_killed_listener_loses_nothing() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut expected = Vec::new();
    let mut runs = Vec::new();
    for round in 0..3 {
        let mut bob = lo.start("bob", &["listen"]);
        bob.out.wait_for(TIMEOUT, |line| line.ends_with(" joined"));
        expected.extend(say_all(&mut alice, round * 10..round * 10 + 5));
        wait_line(&bob, &format!(": line {}", round * 10 + 4));
        wait_noted(&lo, "bob");
        bob.kill();
        runs.push(bob.out.wait_end(TIMEOUT));
        expected.extend(say_all(&mut alice, round * 10 + 5..round * 10 + 10));
    }
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": line 29");
    runs.push(bob.out.all());
    assert_eq!(transcript(&runs), expected);
    assert_eq!(messages(&runs[3]), expected[25..]);
}

#[test]
fn a_killed_author_goes_on_in_the_same_voice() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    for round in 0..3 {
        let mut alice = lo.start("alice", &[]);
        wait_joined(&alice, "bob");
        let lines = say_all(&mut alice, round * 10..round * 10 + 5);
        wait_line(&bob, &format!(": {}", lines[4]));
        alice.kill();
    }
    let expected: Vec<String> = (0..3u32)
        .flat_map(|round| (round * 10..round * 10 + 5).map(|n| format!("line {n}")))
        .collect();
    assert_eq!(messages(&bob.out.all()), expected);
    // As the same identity: nobody is told of another key.
    assert_eq!(bob.err.all().len(), 1, "{:?}", bob.err.all());
}

#[test]
fn two_ephemeral_programs_of_one_box_meet() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["--ephemeral"]);
    let bob = lo.start("bob", &["--ephemeral", "listen"]);
    wait_joined(&alice, "bob");
    let outcome = finish(alice, b"nothing is kept\n");
    outcome.assert_code(0);
    wait_messages(&bob, &["nothing is kept"]);
    let kept = std::fs::read_dir(lo.host.folder("")).expect("the folder");
    assert_eq!(kept.count(), 0);
}

#[test]
fn another_key_under_a_known_name_is_said_once() {
    let Some(lo) = Loopback::new() else { return };
    let told = |program: &Program| -> Vec<String> {
        let all = program.err.all().into_iter();
        all.filter(|line| line.contains("another key")).collect()
    };
    let alice = lo.start("alice", &["listen"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    drop(bob);
    // Another bob comes, twice, and is two peers.
    for _ in 0..2 {
        let dir = format!("--dir={}", lo.host.folder("bob-the-second").display());
        let bob = lo.start("bob", &[&dir]);
        wait_joined(&bob, "alice");
        let outcome = finish(bob, b"it is me\n");
        outcome.assert_code(0);
    }
    alice
        .out
        .wait_all(TIMEOUT, |lines| messages(lines).len() == 2);
    let sentences = told(&alice);
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    let words: Vec<&str> = sentences[0].split(' ').collect();
    let first = run(&lo, "bob", &["whoami"]).out[0].clone();
    let dir = format!("--dir={}", lo.host.folder("bob-the-second").display());
    let second = run(&lo, "bob", &[&dir, "whoami"]).out[0].clone();
    assert_eq!(words[0], "p2pchat:");
    assert_eq!(format!("name: {}", words[1]), second);
    assert_eq!(words[2..5], ["is", "not", "the"]);
    assert_eq!(format!("name: {}", words[5]), first);
    assert_eq!(words[6..8], ["known", "since"]);
    assert!(
        words[8].len() >= 10 && words[8].starts_with("20"),
        "{words:?}"
    );
    assert!(sentences[0].ends_with(": another key"), "{sentences:?}");

    alice.signal(Signal::SIGTERM);
    finish(alice, b"");
    let alice = lo.start("alice", &["listen"]);
    let bob = lo.start("bob", &[&dir]);
    wait_joined(&alice, "bob");
    let outcome = finish(bob, b"it is still me\n");
    outcome.assert_code(0);
    wait_line(&alice, ": it is still me");
    assert_eq!(told(&alice), Vec::<String>::new());
}

#[test]
fn a_block_that_cannot_be_read_ends_nothing() {
    let Some(lo) = Loopback::new() else { return };
    // Both were there before: then all is wanted that was said since the other's start.
    run(&lo, "bob", &["listen", "-W", "0.1"]);
    let mut alice = lo.start("alice", &["--no-echo"]);
    let room = lo.host.folder("alice").join("history/open/#general");
    let second = room.join("000002.ndjson");
    for n in 1..=1500 {
        alice.say(&format!("{n} {}", "x".repeat(1000)));
    }
    wait_until("the second segment", TIMEOUT, || {
        fs::metadata(&second).is_ok_and(|file| file.len() > 100_000)
    });
    let first = room.join("000001.ndjson");
    fs::remove_file(&first).expect("a file");
    fs::create_dir(&first).expect("a folder");
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    alice.say("still here");
    wait_line(&bob, ": still here");
    let why = "p2pchat: a part of the history cannot be read: ";
    alice.err.wait_for(TIMEOUT, |line| line.starts_with(why));
    let lines = bob.out.all();
    let got = messages(&lines);
    assert!((100..1500).contains(&got.len()), "{}", got.len());
    let whole = |line: &&String| line.split(' ').next() == Some("1500");
    assert!(got.iter().any(|line| whole(&line)));
    let outcome = finish(alice, b"");
    let told = outcome
        .err
        .iter()
        .filter(|line| line.starts_with(why))
        .count();
    assert_eq!((outcome.code, told), (0, 1), "{outcome:?}");
    // As after a kill: what the run passed is not noted, and the next one goes over all of it.
    fs::remove_file(room.join("printed")).expect("a note");
    // A look back goes from the end towards the place, and no further. The first one goes over what was never printed.
    let last = |lines: &str, tells: usize| {
        let outcome = run(&lo, "alice", &["listen", "--backlog", lines, "-W", "0.1"]);
        let told = outcome
            .err
            .iter()
            .filter(|line| line.starts_with(why))
            .count();
        assert_eq!((outcome.code, told), (0, tells), "{:?}", outcome.err);
        messages(&outcome.out)
    };
    let held = last("2000", 1);
    assert_eq!(held.last(), got.last());
    assert_eq!(last("100", 0), held[held.len() - 100..]);
    assert_eq!(last("9999", 0), held);
}

#[test]
fn own_lines_that_are_not_shown_are_read_once() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["--no-echo", "-W", "0"];
    let outcome = finish(lo.spawn("alice", &args), b"one\ntwo\n");
    assert_eq!((outcome.code, outcome.out.len()), (69, 0), "{outcome:?}");
    // Else each run would go through all that was ever said here.
    let room = lo.host.folder("alice").join("history/open/#general");
    let printed = read_printed_position(&room)
        .expect("a folder")
        .expect("a note");
    let end = fs::metadata(room.join("000001.ndjson")).expect("a segment");
    assert_eq!((printed.segment, printed.offset), (1, end.len()));
}
