//! Programs that die amid a flood of lines: none is lost, none comes twice.
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::thread;

use super::hosts::Lan;
use super::hosts::program::{Program, SOON};
use super::{said, wait_joined};

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

/// All lines of one author in the segments of a room, by incarnation, in order, each with its number.
fn history(room: &Path, nick: &str) -> BTreeMap<String, Vec<(u64, String)>> {
    let mut segments: Vec<_> = fs::read_dir(room)
        .expect("a room")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    segments.sort();
    let mut logs: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for segment in segments {
        let text = fs::read_to_string(segment).expect("a segment");
        for line in text.lines() {
            let batch: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if batch["username"].as_str() != Some(nick) {
                continue;
            }
            let incarnation = batch["incarnation"].as_str().expect("an incarnation");
            let log = logs.entry(incarnation.to_owned()).or_default();
            let sequence = batch["sequence"].as_u64().expect("a number");
            let content = match &batch["content"] {
                serde_json::Value::Array(all) => all.clone(),
                one => vec![one.clone()],
            };
            let texts = content
                .iter()
                .map(|text| text.as_str().expect("text").to_owned());
            log.extend((sequence..).zip(texts));
        }
    }
    logs
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
