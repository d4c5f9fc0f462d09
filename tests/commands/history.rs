//! `history`, /history and /search: the stored transcript, beside a running program and without
//! one.
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;
use serde_json::json;

use super::control_socket::Client;
use super::folders::EmptyReplicationState;
use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, without_timestamp};

/// The stdout of `history`, which must succeed without a word on stderr.
fn history(lo: &Loopback, user: &str, arguments: &[&str]) -> Vec<String> {
    let outcome = run(lo, user, &[&["history"], arguments].concat());
    assert_eq!(
        (outcome.code, &outcome.err[..]),
        (0, &[][..]),
        "{outcome:?}"
    );
    outcome.out
}

/// Waits until the histories of alice and bob are equal and have this many lines, and returns
/// them.
fn wait_equal_histories(lo: &Loopback, lines: usize) -> Vec<String> {
    let mut same = Vec::new();
    wait_until("the same lines on both sides", TIMEOUT, || {
        same = history(lo, "alice", &[]);
        same.len() == lines && same == history(lo, "bob", &[])
    });
    same
}

/// `history` prints the same bytes wherever the same lines are stored, with every filter, as
/// text and as JSON, with and without a running program.
#[test]
fn peers_with_the_same_lines_print_the_same_history() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--room=general", "--room=ops"]);
    let mut bob = lo.start("bob", &["--commands", "--room=general", "--room=ops"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    for n in 0..20 {
        alice.say(&format!("alice {n}"));
        bob.say(&format!("bob {n}"));
    }
    // All lines arrive before the last ones are said, so that the order is certain.
    wait_equal_histories(&lo, 40);
    bob.say("/join ops");
    bob.say("in ops");
    bob.say("/me waves");
    let lines = wait_equal_histories(&lo, 42);
    assert_eq!(
        without_timestamp(&lines[41]).split('~').next(),
        Some("#ops ** bob")
    );
    let json: Vec<_> = [("alice", "bob"), ("bob", "alice")]
        .map(|(one, _)| history(&lo, one, &["--json"]))
        .into();
    assert_eq!(json[0], json[1]);
    let value: serde_json::Value = serde_json::from_str(&json[0][0]).expect("JSON");
    assert_eq!(value["type"], "chat");
    for own in ["received", "self", "late"] {
        assert!(value.get(own).is_none(), "{value}");
    }
    assert_eq!(history(&lo, "alice", &["-n", "5"]), lines[37..]);
    assert_eq!(history(&lo, "bob", &["-t", "#ops"]), lines[40..]);
    assert_eq!(history(&lo, "bob", &["-r", "ops", "-r", "general"]), lines);
    assert_eq!(history(&lo, "alice", &["-r", "nowhere"]).len(), 0);
    let found = history(&lo, "alice", &["--search", "ALICE 1", "-n2"]);
    assert_eq!(messages(&found), ["alice 18", "alice 19"]);
    assert_eq!(history(&lo, "alice", &["--since", "1h"]), lines);
    assert_eq!(history(&lo, "alice", &["--since", "2100-01-01"]).len(), 0);
    let time = &lines[41][..24];
    assert_eq!(history(&lo, "bob", &["--since", time]).last(), lines.last());
    // The same without running programs.
    assert_eq!(finish(alice, b"").code, 0);
    assert_eq!(finish(bob, b"").code, 0);
    assert_eq!(history(&lo, "alice", &[]), lines);
    assert_eq!(history(&lo, "bob", &[]), lines);
}

/// Lines exchanged later are ordered by when they were said, not by arrival.
#[test]
fn late_lines_are_ordered_by_their_clock() {
    let Some(lo) = Loopback::new() else { return };
    // Both are alone. Bob says much more, so that his logical clock alone would be ahead.
    let mut said = Vec::new();
    for n in 1..=6 {
        for user in ["bob", "bob", "bob", "alice"] {
            let text = format!("{n} of {user}");
            run(&lo, user, &["send", "--need", "0", &text]).assert_code(0);
            said.push(text);
        }
    }
    let _alice = lo.start("alice", &[]);
    let _bob = lo.start("bob", &[]);
    let lines = wait_equal_histories(&lo, said.len());
    let texts = |lines: &[String]| -> Vec<String> {
        let texts = lines.iter().filter_map(|line| line.split_once(": "));
        texts.map(|(_, text)| text.to_owned()).collect()
    };
    assert_eq!(texts(&lines), said);
    // A box that only sends has not heard what was said since its last run. Its line is the newest
    // all the same.
    run(&lo, "carol", &["send", "--need", "0", "alarm"]).assert_code(0);
    let _carol = lo.start("carol", &[]);
    wait_until("alice has the alarm", TIMEOUT, || {
        texts(&history(&lo, "alice", &["-n", "3"])) == ["6 of bob", "6 of alice", "alarm"]
    });
}

/// /history [N] and /search print stored lines on stderr, in order with the other input; in
/// JSON they are chat objects.
#[test]
fn history_and_search_commands_print_stored_lines() {
    let Some(lo) = Loopback::new() else { return };
    let send = run(&lo, "alice", &["-r", "ops", "send", "--need=0", "in ops"]);
    assert_eq!(send.code, 0, "{send:?}");
    let mut alice = lo.start("alice", &["--commands", "--no-echo"]);
    for n in 0..25 {
        alice.say(&format!("line {n}"));
    }
    alice.say("/history");
    alice.say("afterwards");
    alice.say("/history 2");
    alice.say("/search OPS");
    alice.say("/search nowhere");
    let err = finish(alice, b"").err;
    let answers: Vec<&str> = err[1..]
        .iter()
        .map(|line| line.split_once(": ").map_or(&line[..], |(_, send)| send))
        .collect();
    let mut expected: Vec<String> = (5..25).map(|n| format!("line {n}")).collect();
    expected.extend(["line 24", "afterwards", "in ops", "nothing was found"].map(str::to_owned));
    assert_eq!(answers[..24], expected, "{err:#?}");
    // The same for lines in memory, as JSON.
    let mut bob = lo.start("bob", &["--ephemeral", "--json"]);
    bob.say(r#"{"type":"chat","content":"kept for now"}"#);
    bob.say(r#"{"type":"command","content":"/history"}"#);
    let line = bob.out.wait_for(TIMEOUT, |line| {
        line.starts_with(r#"{"type":"chat""#) && !line.contains(r#""received""#)
    });
    assert!(line.ends_with(r#""content":"kept for now"}"#), "{line}");
}

/// However much a command asks for, its answer has at most 1000 lines of history, 100 found lines,
/// and 256 KiB of text.
#[test]
fn answers_of_history_and_search_are_bounded() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let mut client = Client::connect(&lo, "alice");
    let mut answer_after = |lines: u64, text: &str, command: &str| {
        let input: String = (0..lines).map(|n| format!("said {n} {text}\n")).collect();
        let send = lo.spawn("alice", &["send", "--need", "0"]);
        finish(send, input.as_bytes()).assert_code(0);
        client.send(&json!({"type": "command", "content": command, "id": 1}));
        let mut answer = Vec::new();
        loop {
            let event = client.event();
            match event["type"].as_str() {
                Some("done") => return answer,
                Some("chat") => answer.push(event["content"].to_string()),
                _ => {}
            }
        }
    };
    assert_eq!(answer_after(1_100, "", "/history 1000000").len(), 1_000);
    assert_eq!(answer_after(0, "", "/search said").len(), 100);
    let long = answer_after(40, &"x".repeat(16_000), "/history 40");
    let bytes = long.iter().map(String::len).sum::<usize>();
    assert!((200 * 1024..=256 * 1024).contains(&bytes), "{bytes} bytes");
    assert!(long.last().is_some_and(|line| line.contains("said 39 ")));
}

/// `history` of a missing directory prints nothing and leaves it missing; a closed stdout is
/// 141; an unreadable history is 78.
#[test]
fn a_closed_stdout_or_missing_directory_is_no_error() {
    let Some(lo) = Loopback::new() else { return };
    assert_eq!(history(&lo, "nobody", &[]).len(), 0);
    assert!(!lo.host.folder("nobody").exists());
    fill(&lo, 20_000);
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command
        .arg("history")
        .env("P2PCHAT_DIR", lo.host.folder("bob"));
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut reader = command.spawn().expect("a program that starts");
    let mut line = String::new();
    let out = reader.stdout.take().expect("piped");
    BufReader::new(out).read_line(&mut line).expect("a line");
    assert!(line.ends_with(": line 0\n"), "{line}");
    let output = reader.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    let broken = lo.host.folder("broken");
    fs::create_dir_all(broken.join("history")).expect("a folder");
    fs::write(broken.join("history/open"), "no folder").expect("a file");
    fs::write(broken.join("history/format"), "2\n").expect("a file");
    let outcome = run(&lo, "broken", &["history"]);
    outcome.assert_code(78);
    assert!(
        outcome.err[0].starts_with("p2pchat: the history in "),
        "{outcome:?}"
    );
}

/// `listen --backlog N` prints the last N stored lines of the one order, whether printed before
/// or not.
#[test]
fn backlog_prints_the_last_stored_lines() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut bob = lo.start("bob", &[]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    for n in 0..4 {
        alice.say(&format!("alice {n}"));
        wait_line(&bob, &format!(": alice {n}"));
        bob.say(&format!("bob {n}"));
        wait_line(&alice, &format!(": bob {n}"));
    }
    assert_eq!(finish(bob, b"").code, 0);
    let listen = |arguments: &[&str]| {
        let outcome = run(&lo, "bob", &[&["listen", "-W0"], arguments].concat());
        messages(&outcome.out)
    };
    assert_eq!(listen(&[]).len(), 0);
    assert_eq!(listen(&["--backlog=3"]), ["bob 2", "alice 3", "bob 3"]);
    let all = listen(&["--backlog=99"]);
    assert_eq!((all.len(), &all[0][..]), (8, "alice 0"));
    assert_eq!(listen(&[]).len(), 0);
}

/// Fills bob's store with this many lines of three authors, in the order of their clocks.
fn fill(lo: &Loopback, lines: u64) {
    let dir = lo.host.folder("bob").join("history");
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("format"), "2\n").expect("a file");
    let own_id = Identity::from_seed(&[1; 32]).id();
    let (network, limits) = (NetworkTag::OPEN, StoreLimits::default());
    let mut store = Store::open(&dir, network, own_id, limits).expect("a store");
    store
        .open_folder(&(&Room::general()).into())
        .expect("a folder");
    let mut publish = |seed: u8, n: u64, head: &mut Option<Batch>| {
        let identity = Identity::from_seed(&[seed; 32]);
        let mut text = Lines::default();
        for i in 0..LINES_PER_BATCH {
            text.push(format!("line {}", n + i).as_bytes())
                .expect("a short line");
        }
        let draft = UnsignedBatch {
            log: LogId {
                target: Target::Room(Room::general()),
                author: identity.id(),
                incarnation: 1,
            },
            username: Nick::new_or_placeholder("carol"),
            sequence: head.as_ref().map_or(1, |head| head.last_sequence() + 1),
            lamport: n + 1,
            timestamp: WallTime(n as i64),
            run: 1,
            uptime: 0,
            republishes: None,
            salt: 9,
            previous: head.as_ref().map(|head| head.hash),
            form: LineForm::Text,
            lines: &text,
            sealed: None,
        };
        let batch = Batch::sign(&identity, &network, draft);
        store.save(&batch, LocalFields::default()).expect("room");
        store.enforce_limits(&EmptyReplicationState).expect("room");
        *head = Some(batch);
    };
    // Two authors in turn; then a third whose lines lie between theirs and are stored last.
    let heads = &mut [None, None, None];
    for n in (0..lines)
        .step_by(LINES_PER_BATCH as usize)
        .filter(|n| n % 100 != 0)
    {
        let author = (n / LINES_PER_BATCH) as usize % 2;
        publish(2 + author as u8, n, &mut heads[author]);
    }
    for n in (0..lines).step_by(100) {
        publish(4, n, &mut heads[2]);
    }
}

/// Lines per batch.
const LINES_PER_BATCH: u64 = 5;

/// `history` reads 200 000 lines within a fixed address space: its memory does not grow with
/// the history.
#[test]
fn memory_does_not_grow_with_the_history() {
    let Some(lo) = Loopback::new() else { return };
    let limited = |arguments: &str| {
        let run = format!("ulimit -v {ADDRESS_SPACE_KIB}; exec \"$0\" history {arguments}");
        let mut command = lo.host.command("sh");
        command.args(["-c", &run, env!("CARGO_BIN_EXE_p2pchat")]);
        command.env("P2PCHAT_DIR", lo.host.folder("bob"));
        let outcome = finish(Program::spawn("bob", command), b"");
        assert_eq!(outcome.code, 0, "{:?}", outcome.err);
        outcome.out
    };
    fill(&lo, 200_000);
    let lines = limited("");
    assert_eq!(lines.len(), 200_000);
    for (n, line) in lines.iter().enumerate().step_by(999) {
        assert!(line.ends_with(&format!(": line {n}")), "{n}: {line}");
    }
    assert_eq!(limited("-n 70000"), lines[130_000..]);
    assert_eq!(limited("--search 'LINE 1999'").len(), 111);
}

/// Address space in KiB within which any history must be read; the program alone takes most of
/// it.
const ADDRESS_SPACE_KIB: u64 = 17_500;

/// What has the name of a segment and is none is named, and holds nothing up: a FIFO is not opened.
#[test]
fn odd_objects_in_a_folder_are_named() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["send", "--need", "0", "line"]).assert_code(0);
    let room = lo.host.folder("bob").join("history/open/#general");
    fs::create_dir(room.join("000002.ndjson")).expect("a folder");
    let mut mkfifo = lo.host.command("mkfifo");
    mkfifo.arg(room.join("000003.ndjson"));
    assert!(mkfifo.status().expect("mkfifo").success());
    let history = run(&lo, "bob", &["history"]);
    history.assert_code(0);
    assert_eq!(history.out.len(), 1, "{history:?}");
    let named = |lines: &[String], name: &str| lines.iter().any(|line| line.contains(name));
    for name in ["000002.ndjson", "000003.ndjson"] {
        assert!(named(&history.err, name), "{history:?}");
    }
    let listen = run(&lo, "bob", &["listen", "-W", "0.1"]);
    for name in ["000002.ndjson", "000003.ndjson"] {
        assert!(named(&listen.err, name), "{listen:?}");
    }
}
