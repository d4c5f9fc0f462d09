//! `--json`: the objects on stdin and stdout, byte for byte.
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;

use p2pchat::ui::command::command_rows;
use serde_json::json;

use super::control_socket::Client;
use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{Outcome, TIMEOUT, finish, wait_asleep, wait_joined, wait_line, wait_messages};

/// Waits for the first object of this type, and compares it with `form`, in which each `{}`
/// stands for the value of the next of `fields`.
fn wait_object(program: &Program, object_type: &str, form: &str, fields: &[&str]) {
    let prefix = format!(r#"{{"type":"{object_type}""#);
    let line = program
        .out
        .wait_for(TIMEOUT, |line| line.starts_with(&prefix));
    let value: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let mut expected = String::new();
    let mut fields = fields.iter();
    for (i, part) in form.split("{}").enumerate() {
        if i > 0 {
            let field = fields.next().expect("a field");
            match &value[field] {
                serde_json::Value::String(text) => expected += text,
                serde_json::Value::Number(number) => expected += &number.to_string(),
                _ => panic!("{field}: {line}"),
            }
        }
        expected += part;
    }
    assert_eq!(line, expected);
}

/// With `--json` each event is one object a line, with exactly these fields in this order.
#[test]
fn each_event_is_one_object() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["--json", "listen"]);
    let port = bob.wait_ready();
    wait_object(
        &bob,
        "ready",
        &format!(
            r#"{{"type":"ready","sender":"{{}}","username":"bob","name":"{{}}","port":{port}}}"#
        ),
        &["sender", "name"],
    );
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    wait_object(
        &bob,
        "join",
        r##"{"type":"join","timestamp":"{}","target":"#general","sender":"{}","username":"alice","name":"{}"}"##,
        &["timestamp", "sender", "name"],
    );
    alice.say("say \"hi\"\t\u{1b}[31m\u{202e}é\\");
    wait_object(
        &bob,
        "chat",
        r##"{"type":"chat","timestamp":"{}","received":"{}","target":"#general","sender":"{}","username":"alice","name":"{}","incarnation":"{}","sequence":1,"lamport":{},"content":"say \"hi\"\t\u001b[31m\u202eé\\","self":false,"late":false}"##,
        &[
            "timestamp",
            "received",
            "sender",
            "name",
            "incarnation",
            "lamport",
        ],
    );
    alice.say("/me waves");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(r#""sequence":2,"lamport":"#)
            && line.ends_with(r#","content":"waves","self":false,"late":false,"action":true}"#)
    });
    alice.say("/nick alicia");
    wait_object(
        &bob,
        "nick",
        r##"{"type":"nick","timestamp":"{}","target":"#general","sender":"{}","username":"alicia","name":"{}","old":"alice"}"##,
        &["timestamp", "sender", "name"],
    );
    alice.say("/quit");
    assert_eq!(finish(alice, b"").code, 0);
    wait_object(
        &bob,
        "leave",
        r##"{"type":"leave","timestamp":"{}","target":"#general","sender":"{}","username":"alicia","name":"{}"}"##,
        &["timestamp", "sender", "name"],
    );
}

/// With `--json` stdin takes chat and command objects, and acknowledged lines are reported as
/// `delivered`.
#[test]
fn stdin_takes_chat_and_command_objects() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["-r", "general", "-r", "ops", "listen"]);
    let mut alice = lo.start("alice", &["--json"]);
    let is_join = |line: &str| line.starts_with(r#"{"type":"join""#);
    alice.out.wait_for(TIMEOUT, is_join);
    alice.say(r#"{"type":"chat","content":"to all"}"#);
    wait_line(&bob, ": to all");
    wait_object(
        &alice,
        "delivered",
        r##"{"type":"delivered","target":"#general","incarnation":"{}","sequence":1,"sender":"{}"}"##,
        &["incarnation", "sender"],
    );
    alice.out.wait_for(TIMEOUT, |line| {
        line.ends_with(r#""content":"to all","self":true,"late":false}"#)
    });
    alice.say(r#"{"type":"command","content":"/join #ops"}"#);
    alice.say(r##"{"type":"chat","target":"#general","content":"named"}"##);
    alice.say(r#"{"type":"chat","content":"spoken here"}"#);
    let in_current_room = wait_line(&bob, ": spoken here");
    assert!(
        in_current_room.contains(" #ops alice~"),
        "{in_current_room}"
    );
    let in_named_room = wait_line(&bob, ": named");
    assert!(
        in_named_room.contains(" #general alice~"),
        "{in_named_room}"
    );
    finish(alice, b"").assert_code(0);
}

/// A bad input line is answered by an error object with its line number, makes the status 1,
/// and is skipped.
#[test]
fn a_bad_line_is_reported_counted_and_skipped() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let input = concat!(
        r#"{"type":"chat","content":"good"}"#,
        "\nplain\n",
        r#"{"type":"chat","target":"@b b","content":"no"}"#,
        "\n",
        r#"{"type":"command","content":"/fly"}"#,
        "\n",
        r#"{"type":"chat","content":"two\nlines"}"#,
        "\n",
    );
    let alice = lo.start("alice", &["--json"]);
    alice
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""join""#));
    let outcome = finish(alice, input.as_bytes());
    outcome.assert_code(1);
    let errors: Vec<&String> = outcome
        .out
        .iter()
        .filter(|line| line.starts_with(r#"{"type":"error","code":""#))
        .collect();
    assert_eq!(errors.len(), 3, "{outcome:?}");
    for (error, number) in errors.iter().zip(2..) {
        assert!(
            error.contains(&format!(r#""content":"line {number}: "#)),
            "{error}"
        );
    }
    wait_messages(&bob, &["good", "two", "lines"]);
}

/// A reader of stdout that stalls gets an error object for each of 60 000 bad lines.
#[test]
fn a_stalled_reader_gets_every_error_object() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "alice", "--ephemeral", "--json"]);
    command.stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut alice = command.spawn().expect("alice");
    let mut stdin = alice.stdin.take().expect("piped");
    // The program reads stdin only as fast as stdout takes the answers, so another thread
    // writes.
    let writer = std::thread::spawn(move || stdin.write_all(&b"bad\n".repeat(60_000)));
    let out = BufReader::new(alice.stdout.take().expect("piped"));
    // The test reads stdout only when the program sleeps: it has done all it can without a
    // reader.
    wait_asleep(alice.id());
    let errors = out.lines().map(|line| line.expect("text"));
    let errors: Vec<String> = errors
        .filter(|line| line.starts_with("{\"type\":\"error\""))
        .collect();
    for (i, line) in errors.iter().enumerate() {
        assert!(line.contains(&format!("\"line {}: ", i + 1)), "{i}: {line}");
    }
    assert_eq!(errors.len(), 60_000);
    writer.join().expect("a writer").expect("a reader");
    assert_eq!(alice.wait().expect("an end").code(), Some(1));
}

/// Answers to commands are JSON objects; nothing else is on stdout.
#[test]
fn answers_to_commands_are_objects() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--json"]);
    alice.wait_ready();
    for command in ["/rooms", "/stats", "/users"] {
        alice.say(&format!(r#"{{"type":"command","content":"{command}"}}"#));
    }
    let line = alice
        .out
        .wait_for(TIMEOUT, |line| line.starts_with(r#"{"type":"stats""#));
    for name in ["links", "duplicate_batches", "multicast_refused"] {
        assert!(line.contains(&format!("\"{name}\":0")), "{line}");
    }
    for name in ["multicast_sent", "multicast_received"] {
        assert!(line.contains(&format!("\"{name}\":")), "{line}");
    }
    // No line was sent, so the status is 0 without a peer.
    let outcome = finish(alice, b"");
    outcome.assert_code(0);
    for line in outcome.out {
        serde_json::from_str::<serde_json::Value>(&line).expect(&line);
    }
}

/// `send --json` prints error objects only, alone and attached to a server.
#[test]
fn send_prints_only_errors_in_json() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let send = |input: &[u8]| finish(lo.spawn("alice", &["send", "--json"]), input);
    let input = b"{bad\n{\"type\":\"chat\",\"content\":\"good\"}\n";
    let assert_one_error = |outcome: &Outcome| {
        let prefix = r#"{"type":"error","code":"line","content":"line 1: "#;
        assert_eq!((outcome.code, outcome.out.len()), (1, 1), "{outcome:?}");
        assert!(outcome.out[0].starts_with(prefix), "{outcome:?}");
        assert_eq!(outcome.err.len(), 1, "{outcome:?}");
    };
    assert_one_error(&send(input));
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    assert_one_error(&send(input));
    wait_messages(&bob, &["good", "good"]);
    let outcome = send(b"{\"type\":\"chat\",\"content\":\"fine\"}\n");
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
}

/// JSON input that is no object, or has an empty target, is explained on stderr by line number
/// and example.
#[test]
fn input_that_is_no_object_is_explained() {
    let Some(lo) = Loopback::new() else { return };
    let input = b"[]\nnull\n5\n\"x\"\n[\"chat\",null,\"x\",false]\n{\"type\":\"chat\",\"target\":\"\",\"content\":\"x\"}\n";
    let outcome = finish(lo.spawn("alice", &["send", "--json"]), input);
    assert_eq!((outcome.code, outcome.err.len()), (1, 6), "{outcome:?}");
    for (i, line) in outcome.err[..5].iter().enumerate() {
        let prefix = format!("p2pchat: line {}: a line must be an object such as ", i + 1);
        assert!(line.starts_with(&prefix), "{line}");
    }
    let prefix = "p2pchat: line 6: the room name is empty; a room has 1 to 50 characters";
    assert!(outcome.err[5].starts_with(prefix), "{outcome:?}");
}

/// The limit of 16 KiB counts the content, however long its JSON is: what was printed can be said
/// again, in whatever way other programs escape it. One byte more is refused.
#[test]
fn the_limit_of_a_line_counts_its_content() {
    let Some(lo) = Loopback::new() else { return };
    let longest = 16 * 1024;
    let raw = "x".repeat(longest);
    let codes = "\\u4e2d".repeat(longest / 3);
    let controls = "\\u0001".repeat(longest);
    let other = "y".repeat(4096);
    let said = |content: &str| {
        format!(r#"{{"type":"chat","other":"{other}","content":"{content}"}}"#) + "\n"
    };
    let bob = lo.start("bob", &["listen", "--json"]);
    let input = [&raw, &codes, &controls]
        .map(|content| said(content))
        .concat();
    let alice = lo.spawn("alice", &["send", "--json", "-q"]);
    finish(alice, input.as_bytes()).assert_code(0);
    let contents = |program: &Program| {
        let lines = program.out.all();
        let chats = lines
            .iter()
            .filter(|line| line.starts_with(r#"{"type":"chat""#));
        let content = |line: &String| {
            let value: serde_json::Value = serde_json::from_str(line).expect("JSON");
            value["content"].as_str().expect("a string").to_owned()
        };
        chats.map(content).collect::<Vec<String>>()
    };
    wait_until("three lines", TIMEOUT, || contents(&bob).len() == 3);
    let expected = [
        raw.clone(),
        "中".repeat(longest / 3),
        "\u{1}".repeat(longest),
    ];
    assert!(contents(&bob) == expected, "other contents");

    // The printed lines, as they are, alone and through the running program of carol.
    let lines = bob.out.all();
    let printed = |line: &&String| line.starts_with(r#"{"type":"chat""#);
    let again: String = lines
        .iter()
        .filter(printed)
        .map(|l| l.clone() + "\n")
        .collect();
    let carol = lo.start("carol", &["listen", "--json"]);
    finish(
        lo.spawn("carol", &["send", "--json", "-q"]),
        again.as_bytes(),
    )
    .assert_code(0);
    wait_until("three lines again", TIMEOUT, || contents(&bob).len() == 6);
    assert!(contents(&bob)[3..] == expected, "other contents");
    drop(carol);

    for content in [raw + "x", controls + "x", "\\u4e2d".repeat(longest / 3 + 1)] {
        let outcome = finish(
            lo.spawn("alice", &["send", "--json", "-q"]),
            said(&content).as_bytes(),
        );
        outcome.assert_code(1);
        assert_eq!(
            outcome.err,
            ["p2pchat: line 1: longer than 16 KiB, not sent"]
        );
    }
}

/// /set and /clear are for a person at a terminal: a script gets an error, and the options file
/// stays.
#[test]
fn scripts_set_nothing_and_clear_no_screen() {
    let Some(lo) = Loopback::new() else { return };
    for command in ["/set bell off", "/clear"] {
        let mut alice = lo.start("alice", &["--json"]);
        alice.say(&format!(
            r#"{{"type":"command","id":"7","content":"{command}"}}"#
        ));
        let error = alice
            .out
            .wait_for(TIMEOUT, |line| line.starts_with(r#"{"type":"error""#));
        assert!(error.contains(r#""id":"7""#), "{error}");
        finish(alice, b"").assert_code(1);
        let mut alice = lo.start("alice", &["--commands"]);
        alice.say(command);
        finish(alice, b"").assert_code(1);
    }
    assert!(!lo.host.folder(".config/p2pchat/options").exists());
}

/// Everything that can be typed at the terminal can be requested on stdin, and is answered by
/// objects with its id. What concerns the terminal alone is refused.
#[test]
fn every_command_is_a_request() {
    let Some(lo) = Loopback::new() else { return };
    let _bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["--json"]);
    wait_object_of(&alice, "join");
    let rows = [
        ("/help", "help"),
        ("/join #ops", "done"),
        ("/rooms", "rooms"),
        ("/part #ops", "done"),
        ("/me waves", "done"),
        ("/post hello", "done"),
        ("/msg bob psst", "done"),
        ("/history 3", "chat"),
        ("/search waves", "chat"),
        ("/code", "self"),
        ("/users", "peer"),
        ("/connect 127.0.0.1:9", "done"),
        ("/stats", "stats"),
        ("/nick alicia", "done"),
        ("/verbose", "done"),
        ("/set", "error"),
        ("/clear", "error"),
        ("/lsnp LIST", "error"),
        ("/away lunch", "done"),
        ("/back", "done"),
        ("/trust", "trust"),
        ("/whois bob", "trust"),
        ("/avatar bob", "trust"),
        ("/verify bob", "trust"),
        ("/ignore bob", "trust"),
        ("/unignore bob", "trust"),
        ("/profile status busy", "profile"),
    ];
    for (row, typed) in command_rows() {
        let is_listed = rows
            .iter()
            .any(|(line, _)| line.split(' ').next() == Some(&row));
        let is_alias = ["/who", "/names", "/list", "/dm", "/w", "/exit", "/q"];
        assert!(
            is_listed || row == "/quit" || is_alias.contains(&&*row),
            "{row} {typed}"
        );
    }
    for (number, (line, kind)) in rows.into_iter().enumerate() {
        alice.say(&format!(
            r#"{{"type":"command","id":"{number}","content":"{line}"}}"#
        ));
        let id = format!(r#""id":"{number}"}}"#);
        let is_end = |it: &str| {
            let is_end = ["done", "error"].map(|kind| format!(r#"{{"type":"{kind}""#));
            it.ends_with(&id) && is_end.iter().any(|start| it.starts_with(start))
        };
        alice.out.wait_for(TIMEOUT, is_end);
        let answers = alice.out.all();
        let answers: Vec<&String> = answers.iter().filter(|it| it.ends_with(&id)).collect();
        let first = format!(r#"{{"type":"{kind}""#);
        assert!(answers[0].starts_with(&first), "{line}: {answers:?}");
    }
}

/// A program at stdin tells that its user types, and what the user has read, as a terminal does.
#[test]
fn stdin_takes_typing_and_read_objects() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--json"]);
    let mut bob = lo.start("bob", &["--json"]);
    wait_object_of(&alice, "join");
    wait_object_of(&bob, "join");
    let mut client = Client::connect(&lo, "bob");
    client.send(&json!({"type": "listen"}));
    alice.say(r##"{"type":"typing","id":1,"target":"#general"}"##);
    assert_eq!(client.wait("typing")["target"], "#general");
    bob.say(r#"{"type":"chat","target":"@alice","content":"psst"}"#);
    let direct = alice
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""psst""#));
    let direct: serde_json::Value = serde_json::from_str(&direct).expect("JSON");
    let field = |name: &str| direct[name].as_str().expect(name);
    alice.say(&format!(
        r#"{{"type":"read","target":"{}","sender":"{}","incarnation":"{}","sequence":1}}"#,
        field("target"),
        field("sender"),
        field("incarnation")
    ));
    wait_object_of(&bob, "read");
    alice.say(r#"{"type":"typing","id":2,"target":"no room"}"#);
    let error = wait_object_of(&alice, "error");
    assert!(error.ends_with(r#""id":2}"#), "{error}");
}

fn wait_object_of(program: &Program, object_type: &str) -> String {
    let start = format!(r#"{{"type":"{object_type}""#);
    program
        .out
        .wait_for(TIMEOUT, |line| line.starts_with(&start))
}
