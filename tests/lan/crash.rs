//! Programs that are killed during a flood of lines: every peer still gets every line once.
use std::io::Write as _;
use std::thread;

use super::hosts::lan::Lan;
use super::hosts::program::{Program, TIMEOUT};
use super::{messages, wait_joined, wait_same_history};

const LINES: usize = 100_000;
const USERS: [(usize, &str); 3] = [(0, "alice"), (1, "bob"), (2, "carol")];
/// Most bytes of content that may be printed twice after a kill: those queued for stdout, where
/// they take 512 KiB with time and name, and those read at once, before the printed position is
/// saved.
const REPEATED_MAX_BYTES: usize = 512 * 1024;

/// Numbered lines of up to 66 bytes.
fn flood() -> Vec<String> {
    (0..LINES)
        .map(|n| format!("{n:06} {}", "x".repeat(n % 60)))
        .collect()
}

/// Writes the lines to the program's stdin from a thread. The program may be killed meanwhile.
fn feed(program: &mut Program, lines: &[String]) -> thread::JoinHandle<()> {
    let (mut stdin, bytes) = (program.take_stdin(), lines.join("\n") + "\n");
    thread::spawn(move || {
        let _ = stdin.write_all(bytes.as_bytes());
    })
}

/// An author that is killed while it sends 100 000 lines continues behind its last stored line;
/// all peers get each line once and in order.
#[test]
fn an_author_killed_during_a_flood_loses_no_stored_line() {
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
    // The lines in her directory were accepted; she continues behind them.
    let history = lan.hosts[0].history("alice", &[]);
    let history: Vec<String> = history.lines().map(str::to_owned).collect();
    let accepted = messages(&history, "alice");
    assert!(accepted.len() > 1_000 && accepted == lines[..accepted.len()]);
    let mut alice = lan.hosts[0].start("alice", &["--no-echo", "-W", "60"]);
    let feeding = feed(&mut alice, &lines[accepted.len()..]);
    assert_eq!(alice.wait_code(4 * TIMEOUT), 0, "{:?}", alice.err.all());
    feeding.join().expect("a feeder");
    for program in [&bob, &carol] {
        let complete = |printed: &[String]| messages(printed, "alice").len() >= LINES;
        program.out.wait_all(2 * TIMEOUT, complete);
        let printed = messages(&program.out.all(), "alice");
        assert!(printed == lines, "the lines printed by {}", program.name);
    }
    let history = wait_same_history(&lan, &USERS, LINES);
    assert!(messages(&history, "alice") == lines, "the common history");
}

/// A listener that is killed while it receives 100 000 lines prints the rest in its next run,
/// and repeats at most one turn of output.
#[test]
fn a_listener_killed_during_a_flood_prints_every_line() {
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
    // The kill may cut the last line short.
    let count = before.len();
    if before.last() != Some(&lines[count - 1]) {
        let cut = before.pop().expect("a line");
        assert!(lines[count - 1].starts_with(&cut), "{cut}");
    }
    assert!(before.len() < LINES && before == lines[..before.len()]);
    let after = messages(&bob.out.all(), "alice");
    let first = LINES - after.len();
    assert!(
        after == lines[first..],
        "the lines printed by bob after his restart"
    );
    assert!(first <= before.len(), "{first} {}", before.len());
    let repeated = before[first..].iter().map(|line| line.len() + 1);
    let repeated = repeated.sum::<usize>();
    assert!(
        repeated <= REPEATED_MAX_BYTES,
        "{repeated} bytes are repeated"
    );
    let history = wait_same_history(&lan, &USERS, LINES);
    assert!(messages(&history, "alice") == lines, "the common history");
}
