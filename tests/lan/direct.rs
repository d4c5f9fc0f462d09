//! Direct messages across hosts: carriers store sealed lines for an absent recipient, also
//! after the author has left, and forward them between hosts without a path.
use std::fs;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use serde_json::Value;

use super::hosts::host::Host;
use super::hosts::lan::Lan;
use super::hosts::program::{Program, TIMEOUT};
use super::hosts::wait::wait_until;
use super::{finish, messages, wait_event, wait_joined, wait_mesh};

/// The texts `psst FROM` to `psst TO`.
fn numbered(from: usize, to: usize) -> Vec<String> {
    (from..=to).map(|n| format!("psst {n}")).collect()
}

/// A direct message as JSON input.
fn json(recipient: &str, text: &str) -> String {
    format!(r#"{{"type":"chat","target":"@{recipient}","content":"{text}"}}"#)
}

/// Runs `send` to one recipient with this -W, and asserts its exit status.
fn send(from: (&Host, &str), recipient: &str, wait_s: &str, text: &str, code: i32) {
    let target = format!("@{recipient}");
    let args = ["send", "-t", &target, "-W", wait_s, text];
    let mut program = from.0.spawn(from.1, &args);
    let status = program.wait_code(TIMEOUT);
    assert_eq!(status, code, "{text}: {:?}", program.err.all());
}

/// Ends a program by SIGTERM, with a goodbye.
fn stop(program: Program) {
    program.signal(Signal::SIGTERM);
    finish(program);
}

/// All files below this folder.
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

/// The number of lines that this user's directory carries for others.
fn carried_lines(host: &Host, user: &str) -> u64 {
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

/// Asserts that the plaintext is missing from the output, the history and the files of a
/// carrier.
fn assert_cannot_read(host: &Host, program: &Program) {
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

/// Waits until the histories of author and recipient with each other are equal byte for byte,
/// and asserts the author's texts.
fn wait_equal_histories(author: (&Host, &str), recipient: (&Host, &str), expected: &[String]) {
    let printed = |(host, user): (&Host, &str), other: &str| {
        let target = format!("@{other}");
        ["--json", "--color=never"].map(|form| host.history(user, &["-t", &target, form]))
    };
    let mut both = [printed(author, recipient.1), printed(recipient, author.1)];
    wait_until("author and recipient have one history", TIMEOUT, || {
        both = [printed(author, recipient.1), printed(recipient, author.1)];
        both[0] == both[1]
    });
    let lines: Vec<String> = both[0][1].lines().map(str::to_owned).collect();
    assert_eq!(messages(&lines, author.1), expected);
}

/// The highest sequence for which this program has printed a receipt of its recipient.
fn highest_receipt(lines: &[String]) -> u64 {
    let receipts = lines.iter().filter(|line| {
        line.starts_with(r#"{"type":"delivered""#) && line.contains(r#""target":"@"#)
    });
    let sequences = receipts.filter_map(|line| {
        let digits = line.split_once(r#""sequence":"#)?.1;
        digits.split(',').next()?.parse().ok()
    });
    sequences.max().unwrap_or(0)
}

/// The recipient is absent while the author sends and ends: by SIGKILL if `dies`, by SIGTERM
/// otherwise.
fn deliver_to_absent_recipient(dies: bool) {
    let Some(lan) = Lan::new(4) else { return };
    let [of_alice, of_bob, of_carol, of_dave] = [0, 1, 2, 3].map(|host| &lan.hosts[host]);
    let bob = of_bob.start("bob", &[]);
    let carol = of_carol.start("carol", &["listen"]);
    let dave = of_dave.start("dave", &["listen"]);
    let mut alice = of_alice.start("alice", &["--json"]);
    let is_join = |line: &str| line.contains(r#""join""#) && line.contains(r#""bob""#);
    alice.out.wait_for(TIMEOUT, is_join);
    for others in [[&bob, &carol], [&bob, &dave], [&carol, &dave]] {
        wait_mesh(&others);
    }
    for program in [&bob, &carol, &dave] {
        wait_joined(program, "alice");
    }
    stop(bob);
    let is_leave = |line: &str| line.contains(r#""leave""#) && line.contains(r#""bob""#);
    alice.out.wait_for(TIMEOUT, is_leave);
    for program in [&carol, &dave] {
        wait_event(program, "bob", "left", 1, TIMEOUT);
    }
    // From a chat, from a client of that chat, and from a transient peer.
    numbered(1, 20)
        .iter()
        .for_each(|text| alice.say(&json("bob", text)));
    let is_last = |line: &str| line.contains(r#""content":"psst 20""#);
    alice.out.wait_for(TIMEOUT, is_last);
    send((of_alice, "alice"), "bob", "0.5", "psst 21", 75);
    wait_until("both carry all lines", TIMEOUT, || {
        [(of_carol, "carol"), (of_dave, "dave")]
            .iter()
            .all(|(host, user)| carried_lines(host, user) == 21)
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
        assert_cannot_read(host, program);
    }
    // The recipient returns while the author is cut off.
    let mut expected = numbered(1, 22);
    let mut bob = of_bob.start("bob", &[]);
    bob.out
        .wait_all(TIMEOUT, |lines| messages(lines, "alice").len() >= 22);
    let mut printed = messages(&bob.out.all(), "alice");
    if dies {
        // A killed author continues in a new incarnation. The order between two incarnations is
        // that of `history`, not that of arrival.
        printed.sort_by_key(|text| text == "psst 22");
    }
    assert_eq!(printed, expected);
    wait_equal_histories((of_alice, "alice"), (of_bob, "bob"), &expected);
    send((of_bob, "bob"), "alice", "1", "an answer", 75);
    // The author returns.
    lan.heal(0, 0);
    let mut alice = of_alice.start("alice", &["--json"]);
    let is_answer = |line: &str| line.contains(r#""content":"an answer""#);
    alice.out.wait_for(TIMEOUT, is_answer);
    // She gets the receipt of the earlier lines, then that of a new one.
    let before = if dies { 21 } else { 22 };
    alice
        .out
        .wait_all(TIMEOUT, |all| highest_receipt(all) == before);
    alice.say(&json("bob", "psst 23"));
    expected.push("psst 23".to_owned());
    alice.close_stdin();
    assert_eq!(alice.wait_code(TIMEOUT), 0, "{:?}", alice.err.all());
    let answers = alice.out.wait_end(TIMEOUT);
    assert_eq!(answers.iter().filter(|line| is_answer(line)).count(), 1);
    send((of_alice, "alice"), "bob", "10", "psst 24", 0);
    expected.push("psst 24".to_owned());
    bob.say("to all");
    for (host, program) in [(of_carol, &carol), (of_dave, &dave)] {
        let is_last_line = |line: &str| line.ends_with(": to all");
        program.out.wait_for(TIMEOUT, is_last_line);
        assert_cannot_read(host, program);
    }
    let printed = messages(&bob.out.all(), "alice");
    assert_eq!(printed.len(), expected.len(), "once each: {printed:?}");
    assert_eq!(printed[22..], expected[22..]);
    let history = of_bob.history("bob", &["-t", "@alice"]);
    assert_eq!(history, of_alice.history("alice", &["-t", "@bob"]));
    let lines: Vec<String> = history.lines().map(str::to_owned).collect();
    assert_eq!(messages(&lines, "alice"), expected);
    assert_eq!(messages(&lines, "bob"), ["an answer"]);
}

/// Carriers deliver to a recipient that returns after the author has left.
#[test]
fn carriers_deliver_for_an_author_that_has_left() {
    deliver_to_absent_recipient(false);
}

/// Carriers deliver to a recipient that returns after the author was killed, and its receipts
/// reach the restarted author.
#[test]
fn carriers_deliver_for_an_author_that_was_killed() {
    deliver_to_absent_recipient(true);
}

/// Alice and carol have no path to each other. Bob, on both LANs, forwards their direct
/// messages and receipts, also when he restarts.
#[test]
fn a_peer_between_two_lans_forwards_direct_messages() {
    let Some(lan) = Lan::unplugged(3) else { return };
    for (host, segment) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    let [of_alice, of_bob, of_carol] = [0, 1, 2].map(|host| &lan.hosts[host]);
    let bob = of_bob.start("bob", &["listen"]);
    let carol = of_carol.start("carol", &["listen"]);
    wait_mesh(&[&bob, &carol]);
    // Alice reaches carol by the route through bob alone, and her receipts take the same route.
    send((of_alice, "alice"), "carol", "10", "psst 1", 0);
    carol
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": psst 1"));
    let mut alice = of_alice.start("alice", &["--json"]);
    alice.say(&json("carol", "psst 2"));
    alice
        .out
        .wait_all(TIMEOUT, |lines| highest_receipt(lines) > 0);
    send((of_alice, "alice"), "carol", "10", "psst 3", 0);
    send((of_carol, "carol"), "alice", "10", "psst of carol", 0);
    let is_answer = |line: &str| line.contains(r#""content":"psst of carol""#);
    alice.out.wait_for(TIMEOUT, is_answer);
    // Bob is killed; the line said meanwhile is delivered once he is back.
    assert_cannot_read(of_bob, &bob);
    drop(bob);
    send((of_alice, "alice"), "carol", "0.5", "psst 4", 69);
    let bob = of_bob.start("bob", &["listen"]);
    carol
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": psst 4"));
    send((of_alice, "alice"), "carol", "10", "psst 5", 0);
    // The recipient is away, and the author has left when it returns.
    stop(carol);
    wait_event(&bob, "carol", "left", 1, TIMEOUT);
    alice.close_stdin();
    assert_eq!(alice.wait_code(TIMEOUT), 0, "{:?}", alice.err.all());
    send((of_alice, "alice"), "carol", "2", "psst 6", 75);
    assert_cannot_read(of_bob, &bob);
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
    wait_equal_histories((of_alice, "alice"), (of_carol, "carol"), &expected);
    let mut alice = of_alice.start("alice", &["listen", "--json", "-W", "20"]);
    alice
        .out
        .wait_all(TIMEOUT, |lines| highest_receipt(lines) == 6);
    alice.signal(Signal::SIGTERM);
    alice.wait_exit(TIMEOUT);
    send((of_alice, "alice"), "carol", "10", "psst 7", 0);
    assert_cannot_read(of_bob, &bob);
    let expected = numbered(1, 7);
    wait_equal_histories((of_alice, "alice"), (of_carol, "carol"), &expected);
    assert_eq!(
        messages(&carol.out.all(), "alice"),
        expected[5..],
        "in this run"
    );
}
