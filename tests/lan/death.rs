//! Programs that die amid a flood of lines: none is lost, none comes twice.
use std::thread;

use super::hosts::Lan;
use super::hosts::program::{Program, SOON};
use super::{history, said, wait_joined};

const LINES: usize = 20_000;

fn flood(name: &str) -> Vec<String> {
    (0..LINES)
        .map(|n| format!("{name} {n:06} {}", "x".repeat(n % 60)))
        .collect()
}

/// Feeds the lines to the program's stdin from a thread; it may die of them.
fn feed(program: &mut Program, lines: &[String]) -> thread::JoinHandle<()> {
    use std::io::Write as _;
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
    let (first, second) = (flood("first"), flood("second"));
    let feeding = feed(&mut alice, &first);
    bob.out.wait_all(SOON, |lines| lines.len() > 2_000);
    alice.kill();
    feeding.join().expect("a feeder");
    let mut alice = lan.hosts[0].start("alice", &["--no-echo", "-W", "30"]);
    let feeding = feed(&mut alice, &second);
    assert_eq!(alice.wait_code(3 * SOON), 0);
    feeding.join().expect("a feeder");
    let room = lan.hosts[0].folder("alice").join("history/open/#general");
    let stored: usize = history(&room, "alice").values().map(Vec::len).sum();
    assert!(stored > LINES + 1_000, "{stored} lines were said");
    for program in [&bob, &carol] {
        let all = |lines: &[String]| said(lines, "alice").len() >= stored;
        program.out.wait_all(SOON, all);
        let lines = said(&program.out.all(), "alice");
        let (before, after): (Vec<_>, Vec<_>) = lines
            .into_iter()
            .partition(|line| line.starts_with("first"));
        assert!(
            before == first[..stored - LINES],
            "the first at {}",
            program.name
        );
        assert!(after == second, "the second at {}", program.name);
    }
}

#[test]
fn a_reader_that_dies_amid_a_flood() {
    let Some(lan) = Lan::new(3) else { return };
    let mut bob = lan.hosts[1].start("bob", &["listen"]);
    let carol = lan.hosts[2].start("carol", &["listen"]);
    let mut alice = lan.hosts[0].start("alice", &["--no-echo", "-W", "30"]);
    wait_joined(&alice, "bob");
    wait_joined(&alice, "carol");
    let lines = flood("only");
    let feeding = feed(&mut alice, &lines);
    bob.out.wait_all(SOON, |lines| lines.len() > 2_000);
    bob.kill();
    let bob = lan.hosts[1].start("bob", &["listen"]);
    feeding.join().expect("a feeder");
    bob.out
        .wait_for(3 * SOON, |line| line.ends_with(lines[LINES - 1].as_str()));
    carol
        .out
        .wait_for(SOON, |line| line.ends_with(lines[LINES - 1].as_str()));
    assert!(said(&carol.out.all(), "alice") == lines, "at carol");
    let held = history(
        &lan.hosts[1].folder("bob").join("history/open/#general"),
        "alice",
    );
    assert_eq!(held.len(), 1, "{:?}", held.keys());
    for log in held.values() {
        let numbers: Vec<u64> = log.iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, (1..=LINES as u64).collect::<Vec<_>>());
        assert!(
            log.iter().map(|(_, text)| text).eq(&lines),
            "what bob holds"
        );
    }
}
