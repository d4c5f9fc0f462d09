//! Direct messages across hosts: carried for a reader that is away by boxes that cannot read them, also when the author is gone by then,
//! and through a box between two that have no path.
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::hosts::program::{Program, TIMEOUT};
use super::hosts::{Host, Lan, wait_until};
use super::{finish, messages, wait_event, wait_joined, wait_mesh};

fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|n| format!("psst {n}")).collect()
}

fn json(reader: &str, text: &str) -> String {
    format!(r#"{{"type":"chat","target":"@{reader}","content":"{text}"}}"#)
}

/// A `send` of this user to one reader, which ends with this status.
fn send(from: (&Host, &str), reader: &str, wait: &str, text: &str, code: i32) {
    let target = format!("@{reader}");
    let args = ["send", "-t", &target, "-W", wait, text];
    let mut program = from.0.spawn(from.1, &args);
    let ended = program.wait_code(TIMEOUT);
    assert_eq!(ended, code, "{text}: {:?}", program.err.all());
}

/// Ends a program as its user does.
fn stop(program: Program) {
    program.signal(Signal::SIGTERM);
    finish(program);
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => all.extend(files(&path)),
            false if path.is_file() => all.push(path),
            false => {}
        }
    }
    all
}

/// How many lines this user's directory holds that others are to get.
fn carried(host: &Host, user: &str) -> u64 {
    let files = files(&host.folder(user)).into_iter();
    let segments = files.filter(|path| path.to_string_lossy().contains("/@carried/"));
    let mut count = 0;
    for path in segments {
        let text = fs::read_to_string(path).unwrap_or_default();
        let batches = text.lines().map(serde_json::from_str::<Value>);
        for batch in batches.flatten().filter(|batch| batch["type"] == "chat") {
            count += batch["count"].as_u64().unwrap_or(1);
        }
    }
    count
}

/// Who carries can neither read it nor show it.
fn knows_nothing(host: &Host, program: &Program) {
    let out = program.out.all();
    assert!(!out.iter().any(|line| line.contains("psst")), "{out:?}");
    let history = host.history(&program.name, &["--json"]);
    assert!(!history.contains("psst"), "{history}");
    for path in files(&host.folder(&program.name)) {
        let bytes = fs::read(&path).expect("a file");
        let readable = bytes.windows(4).any(|part| part == b"psst");
        assert!(!readable, "{} can be read", path.display());
    }
}

/// Waits until author and reader print the same of what one said to the other, byte for byte, and that it is this.
fn wait_alike(author: (&Host, &str), reader: (&Host, &str), expected: &[String]) {
    let printed = |(host, user): (&Host, &str), other: &str| {
        let target = format!("@{other}");
        ["--json", "--color=never"].map(|form| host.history(user, &["-t", &target, form]))
    };
    let mut both = [printed(author, reader.1), printed(reader, author.1)];
    wait_until("author and reader have one history", TIMEOUT, || {
        both = [printed(author, reader.1), printed(reader, author.1)];
        both[0] == both[1]
    });
    let lines: Vec<String> = both[0][1].lines().map(str::to_owned).collect();
    assert_eq!(messages(&lines, author.1), expected);
}

/// The highest line of which this program was told that its reader holds it.
fn receipted(lines: &[String]) -> u64 {
    let receipts = lines.iter().filter(|line| {
        line.starts_with(r#"{"type":"delivered""#) && line.contains(r#""target":"@"#)
    });
    let sequences = receipts.filter_map(|line| {
        let digits = line.split_once(r#""sequence":"#)?.1;
        digits.split(',').next()?.parse().ok()
    });
    sequences.max().unwrap_or(0)
}

/// `dies`: the author's program has no moment left, instead of an end.
fn carried_to_an_absent_reader(dies: bool) {
    let Some(lan) = Lan::new(4) else { return };
    let [of_alice, of_bob, of_carol, of_dave] = [0, 1, 2, 3].map(|host| &lan.hosts[host]);
    let bob = of_bob.start("bob", &[]);
    let carol = of_carol.start("carol", &["listen"]);
    let dave = of_dave.start("dave", &["listen"]);
    let mut alice = of_alice.start("alice", &["--json"]);
    let met = |line: &str| line.contains(r#""join""#) && line.contains(r#""bob""#);
    alice.out.wait_for(TIMEOUT, met);
    for others in [[&bob, &carol], [&bob, &dave], [&carol, &dave]] {
        wait_mesh(&others);
    }
    for program in [&bob, &carol, &dave] {
        wait_joined(program, "alice");
    }
    stop(bob);
    let left = |line: &str| line.contains(r#""leave""#) && line.contains(r#""bob""#);
    alice.out.wait_for(TIMEOUT, left);
    for program in [&carol, &dave] {
        wait_event(program, "bob", "left", 1, TIMEOUT);
    }
    // From a chat, through that chat, and by a program that comes and goes.
    numbered(1, 20)
        .iter()
        .for_each(|text| alice.say(&json("bob", text)));
    let taken = |line: &str| line.contains(r#""content":"psst 20""#);
    alice.out.wait_for(TIMEOUT, taken);
    send((of_alice, "alice"), "bob", "0.5", "psst 21", 75);
    wait_until("both carry them", TIMEOUT, || {
        [(of_carol, "carol"), (of_dave, "dave")]
            .iter()
            .all(|(host, user)| carried(host, user) == 21)
    });
    match dies {
        true => alice.kill(),
        false => stop(alice),
    }
    for program in [&carol, &dave] {
        wait_event(program, "alice", "left", 1, TIMEOUT);
    }
    send((of_alice, "alice"), "bob", "3", "psst 22", 75);
    lan.cut(0, 0);
    for (host, program) in [(of_carol, &carol), (of_dave, &dave)] {
        knows_nothing(host, program);
    }
    // The reader comes back, and the author is not there.
    let mut expected = numbered(1, 22);
    let mut bob = of_bob.start("bob", &[]);
    bob.out
        .wait_all(TIMEOUT, |lines| messages(lines, "alice").len() >= 22);
    let mut heard = messages(&bob.out.all(), "alice");
    if dies {
        // In a new incarnation, between which and the old one there is no order but that of `history`.
        heard.sort_by_key(|text| text == "psst 22");
    }
    assert_eq!(heard, expected);
    wait_alike((of_alice, "alice"), (of_bob, "bob"), &expected);
    send((of_bob, "bob"), "alice", "1", "an answer", 75);
    // The author comes back.
    lan.heal(0, 0);
    let mut alice = of_alice.start("alice", &["--json"]);
    let answer = |line: &str| line.contains(r#""content":"an answer""#);
    alice.out.wait_for(TIMEOUT, answer);
    // The receipt of what she said before, and that of what she says now.
    let before = if dies { 21 } else { 22 };
    alice.out.wait_all(TIMEOUT, |all| receipted(all) == before);
    alice.say(&json("bob", "psst 23"));
    expected.push("psst 23".to_owned());
    alice.close_stdin();
    assert_eq!(alice.wait_code(TIMEOUT), 0, "{:?}", alice.err.all());
    let answers = alice.out.wait_end(TIMEOUT);
    assert_eq!(answers.iter().filter(|line| answer(line)).count(), 1);
    send((of_alice, "alice"), "bob", "10", "psst 24", 0);
    expected.push("psst 24".to_owned());
    bob.say("to all");
    for (host, program) in [(of_carol, &carol), (of_dave, &dave)] {
        let said = |line: &str| line.ends_with(": to all");
        program.out.wait_for(TIMEOUT, said);
        knows_nothing(host, program);
    }
    let heard = messages(&bob.out.all(), "alice");
    assert_eq!(heard.len(), expected.len(), "once each: {heard:?}");
    assert_eq!(heard[22..], expected[22..]);
    let history = of_bob.history("bob", &["-t", "@alice"]);
    assert_eq!(history, of_alice.history("alice", &["-t", "@bob"]));
    let lines: Vec<String> = history.lines().map(str::to_owned).collect();
    assert_eq!(messages(&lines, "alice"), expected);
    assert_eq!(messages(&lines, "bob"), ["an answer"]);
}

#[test]
fn a_reader_that_is_away_while_its_author_leaves() {
    carried_to_an_absent_reader(false);
}

#[test]
fn a_reader_that_is_away_while_its_author_dies() {
    carried_to_an_absent_reader(true);
}

/// Alice and carol have no path to each other; bob is on both LANs.
#[test]
fn through_the_one_between_two_that_have_no_path() {
    let Some(lan) = Lan::unplugged(3) else { return };
    for (host, segment) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    let [of_alice, of_bob, of_carol] = [0, 1, 2].map(|host| &lan.hosts[host]);
    let bob = of_bob.start("bob", &["listen"]);
    let carol = of_carol.start("carol", &["listen"]);
    wait_mesh(&[&bob, &carol]);
    // She knows of carol through bob alone, and her receipt through him.
    send((of_alice, "alice"), "carol", "10", "psst 1", 0);
    carol
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": psst 1"));
    let mut alice = of_alice.start("alice", &["--json"]);
    alice.say(&json("carol", "psst 2"));
    alice.out.wait_all(TIMEOUT, |lines| receipted(lines) > 0);
    send((of_alice, "alice"), "carol", "10", "psst 3", 0);
    send((of_carol, "carol"), "alice", "10", "psst of carol", 0);
    let told = |line: &str| line.contains(r#""content":"psst of carol""#);
    alice.out.wait_for(TIMEOUT, told);
    // The one between dies, and what is said meanwhile goes out when it is there again.
    knows_nothing(of_bob, &bob);
    drop(bob);
    send((of_alice, "alice"), "carol", "0.5", "psst 4", 69);
    let bob = of_bob.start("bob", &["listen"]);
    carol
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": psst 4"));
    send((of_alice, "alice"), "carol", "10", "psst 5", 0);
    // The reader is away, and the author is gone when it comes back.
    stop(carol);
    wait_event(&bob, "carol", "left", 1, TIMEOUT);
    alice.close_stdin();
    assert_eq!(alice.wait_code(TIMEOUT), 0, "{:?}", alice.err.all());
    send((of_alice, "alice"), "carol", "2", "psst 6", 75);
    knows_nothing(of_bob, &bob);
    let carol = of_carol.start("carol", &["listen"]);
    carol
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": psst 6"));
    assert_eq!(
        messages(&carol.out.all(), "alice"),
        ["psst 6"],
        "in this run"
    );
    let expected = numbered(1, 6);
    wait_alike((of_alice, "alice"), (of_carol, "carol"), &expected);
    let mut alice = of_alice.start("alice", &["listen", "--json", "-W", "20"]);
    alice.out.wait_all(TIMEOUT, |lines| receipted(lines) == 6);
    alice.signal(Signal::SIGTERM);
    alice.wait_exit(TIMEOUT);
    send((of_alice, "alice"), "carol", "10", "psst 7", 0);
    knows_nothing(of_bob, &bob);
    let expected = numbered(1, 7);
    wait_alike((of_alice, "alice"), (of_carol, "carol"), &expected);
    assert_eq!(
        messages(&carol.out.all(), "alice"),
        expected[5..],
        "in this run"
    );
}
