//! Programs that die amid a flood of lines: none is lost, none comes twice.
use std::io::Write as _;
use std::thread;

use super::hosts::Lan;
use super::hosts::program::{Program, TIMEOUT};
use super::{messages, wait_joined, wait_same_history};

const LINES: usize = 100_000;
const USERS: [(usize, &str); 3] = [(0, "alice"), (1, "bob"), (2, "carol")];
/// The most that can be on its way from the history to the note of what was printed, in bytes of content: what waits in front
/// of stdout, and what is read at once.
const TURN: usize = 256 * 1024;

fn flood() -> Vec<String> {
    (0..LINES)
        .map(|n| format!("{n:06} {}", "x".repeat(n % 60)))
        .collect()
}

/// Feeds the lines to the program's stdin from a thread; it may die of them.
fn feed(program: &mut Program, lines: &[String]) -> thread::JoinHandle<()> {
    let (mut stdin, bytes) = (program.take_stdin(), lines.join("\n") + "\n");
    thread::spawn(move || {
        let _ = stdin.write_all(bytes.as_bytes());
    })
}

#[test]
fn an_author_that_dies_amid_a_flood() {
    let Some(lan) = Lan::new(3) else { return };
    let bob = lan.hosts[1].start("bob", &["listen"]);
    let carol = lan.hosts[2].start("carol", &["listen"]);
    let mut alice = lan.hosts[0].start("alice", &["--no-echo"]);
    wait_joined(&alice, "bob");
    wait_joined(&alice, "carol");
    let lines = flood();
    let feeding = feed(&mut alice, &lines[..LINES / 2]);
    bob.out.wait_all(TIMEOUT, |lines| lines.len() > 2_000);
    alice.kill();
    feeding.join().expect("a feeder");
    // What her directory holds was accepted; she goes on behind it.
    let history = lan.hosts[0].history("alice", &[]);
    let history: Vec<String> = history.lines().map(str::to_owned).collect();
    let accepted = messages(&history, "alice");
    assert!(accepted.len() > 1_000 && accepted == lines[..accepted.len()]);
    let mut alice = lan.hosts[0].start("alice", &["--no-echo", "-W", "60"]);
    let feeding = feed(&mut alice, &lines[accepted.len()..]);
    assert_eq!(alice.wait_code(4 * TIMEOUT), 0, "{:?}", alice.err.all());
    feeding.join().expect("a feeder");
    for program in [&bob, &carol] {
        let complete = |shown: &[String]| messages(shown, "alice").len() >= LINES;
        program.out.wait_all(2 * TIMEOUT, complete);
        let shown = messages(&program.out.all(), "alice");
        assert!(shown == lines, "what {} shows", program.name);
    }
    let history = wait_same_history(&lan, &USERS, LINES);
    assert!(messages(&history, "alice") == lines, "what all hold");
}

#[test]
fn a_reader_that_dies_amid_a_flood() {
    let Some(lan) = Lan::new(3) else { return };
    let mut bob = lan.hosts[1].start("bob", &["listen"]);
    let carol = lan.hosts[2].start("carol", &["listen"]);
    let mut alice = lan.hosts[0].start("alice", &["--no-echo", "-W", "60"]);
    wait_joined(&alice, "bob");
    wait_joined(&alice, "carol");
    let lines = flood();
    let feeding = feed(&mut alice, &lines);
    bob.out.wait_all(TIMEOUT, |lines| lines.len() > 2_000);
    bob.kill();
    let mut before = messages(&bob.out.wait_end(TIMEOUT), "alice");
    let bob = lan.hosts[1].start("bob", &["listen"]);
    feeding.join().expect("a feeder");
    let last = |line: &str| line.ends_with(lines[LINES - 1].as_str());
    for program in [&bob, &carol] {
        program.out.wait_for(4 * TIMEOUT, last);
    }
    assert!(messages(&carol.out.all(), "alice") == lines, "at carol");
    // The kill may have cut a line short.
    let count = before.len();
    if before.last() != Some(&lines[count - 1]) {
        let cut = before.pop().expect("a line");
        assert!(lines[count - 1].starts_with(&cut), "{cut}");
    }
    assert!(before.len() < LINES && before == lines[..before.len()]);
    let after = messages(&bob.out.all(), "alice");
    let from = LINES - after.len();
    assert!(after == lines[from..], "what bob shows when he is back");
    assert!(from <= before.len(), "{from} {}", before.len());
    let twice = before[from..].iter().map(|line| line.len() + 1);
    let twice = twice.sum::<usize>();
    assert!(twice <= TURN, "{twice} bytes come twice");
    let history = wait_same_history(&lan, &USERS, LINES);
    assert!(messages(&history, "alice") == lines, "what all hold");
}
