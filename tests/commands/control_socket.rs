//! `control.sock` as any program of the user sees it: JSON lines in, JSON lines out.
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;

use serde_json::{Value, json};

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, run, wait_joined, wait_line, wait_messages};

/// A client of ten lines: it says a line and prints the next line of somebody else.
const PYTHON_CLIENT: &str = r##"
import json, socket, sys
sock = socket.socket(socket.AF_UNIX)
sock.connect(sys.argv[1])
events = sock.makefile("rw")
for request in {"type": "listen"}, {"type": "chat", "target": "#general", "content": "hi"}:
    print(json.dumps(request), file=events, flush=True)
for event in map(json.loads, events):
    if event["type"] == "chat" and not event["self"]:
        sys.exit(print(event["username"], event["content"]))
"##;

/// A client of the shell: it listens, says a line, and prints the text of the next line of bob. It
/// ends with its stdin.
const SHELL_CLIENT: &str = r##"
{ printf '%s\n' '{"type":"listen"}' '{"type":"chat","target":"#general","content":"hi"}'; cat; } |
socat - "UNIX-CONNECT:$0" | sed -un '/"username":"bob".*"content"/{s/.*"content":"\([^"]*\)".*/\1/p;q}'
"##;

fn socket_path(lo: &Loopback, user: &str) -> PathBuf {
    lo.host.folder(user).join("control.sock")
}

/// A connection to the program of a user.
pub struct Client {
    stream: UnixStream,
    events: BufReader<UnixStream>,
}

impl Client {
    fn open(lo: &Loopback, user: &str) -> Client {
        let stream = UnixStream::connect(socket_path(lo, user)).expect("a socket");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let events = BufReader::new(stream.try_clone().expect("a socket"));
        Client { stream, events }
    }

    /// Connects, and reads the first event.
    pub fn connect(lo: &Loopback, user: &str) -> Client {
        let mut client = Client::open(lo, user);
        assert_eq!(client.event()["type"], "ready");
        client
    }

    pub fn send(&mut self, request: &Value) {
        writeln!(self.stream, "{request}").expect("a server");
    }

    /// Where requests are written.
    pub fn writer(&self) -> UnixStream {
        self.stream.try_clone().expect("a socket")
    }

    /// The next event, as it came.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.events.read_line(&mut line).expect("an event");
        assert_ne!(read, 0, "the server has closed the connection");
        line
    }

    pub fn event(&mut self) -> Value {
        serde_json::from_str(&self.line()).expect("JSON")
    }

    /// The next event of this type.
    pub fn wait(&mut self, kind: &str) -> Value {
        loop {
            let event = self.event();
            if event["type"] == kind {
                return event;
            }
        }
    }
}

/// Asserts that the program still serves clients.
fn assert_serves(lo: &Loopback, user: &str) {
    let mut client = Client::connect(lo, user);
    client.send(&json!({"type": "command", "content": "/rooms", "id": 1}));
    assert_eq!(client.wait("done")["id"], 1);
}

/// /quit ends the session of a client, and with it the connection.
#[test]
fn a_client_that_quits_is_disconnected() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &[]);
    alice.wait_ready();
    let mut client = Client::connect(&lo, "alice");
    client.send(&json!({"type": "command", "content": "/quit", "id": 1}));
    assert_eq!(client.wait("done")["id"], 1);
    let mut rest = String::new();
    let read = client.events.read_line(&mut rest).expect("an end");
    assert_eq!(read, 0, "{rest}");
}

/// Starts a client in another language, and lets it talk with bob.
fn assert_chats(lo: &Loopback, command: &str, arguments: &[&str]) {
    let mut bob = lo.start("bob", &[]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&bob, "alice");
    let mut client = lo.host.command(command);
    client.args(arguments).arg(socket_path(lo, "alice"));
    let client = Program::spawn("client", client);
    wait_messages(&bob, &["hi"]);
    wait_messages(&alice, &["hi"]);
    bob.say("hello");
    client.out.wait_for(TIMEOUT, |line| line.ends_with("hello"));
}

/// Nothing but a socket and JSON is needed to chat.
#[test]
fn ten_lines_of_python_chat() {
    let Some(lo) = Loopback::new() else { return };
    assert_chats(&lo, "python3", &["-c", PYTHON_CLIENT]);
}

/// `socat` is enough for a client of the shell.
#[test]
fn a_shell_with_socat_chats() {
    let Some(lo) = Loopback::new() else { return };
    assert_chats(&lo, "sh", &["-c", SHELL_CLIENT]);
}

/// The events of a session, with the parts replaced that differ from run to run.
fn normalize(line: &str) -> String {
    let mut value: Value = serde_json::from_str(line).expect("JSON");
    let fields = value.as_object_mut().expect("an object");
    let mut text = line.trim_end().to_owned();
    for (name, placeholder) in [
        ("sender", "ID"),
        ("name", "alice~abcd"),
        ("timestamp", "T"),
        ("received", "T"),
        ("incarnation", "I"),
        ("position", "P"),
    ] {
        if let Some(Value::String(field)) = fields.get(name) {
            let (from, to) = (format!(":\"{field}\""), format!(":\"{placeholder}\""));
            text = text.replace(&from, &to);
        }
    }
    for name in ["port", "uptime_ms", "lamport"] {
        if let Some(Value::Number(field)) = fields.get(name) {
            text = text.replace(&format!("\"{name}\":{field}"), &format!("\"{name}\":0"));
        }
    }
    text
}

/// Requests and events are pinned, and stand in the protocol's document.
#[test]
fn the_session_of_the_document_is_the_session_of_the_program() {
    let Some(lo) = Loopback::new() else { return };
    let vector = include_str!("../vectors/control_session");
    let document = include_str!("../../src/shell/ipc/PROTOCOL.md");
    assert!(document.contains(vector), "PROTOCOL.md has another session");
    let _alice = lo.start("alice", &["listen", "--no-echo"]);
    let mut client = Client::open(&lo, "alice");
    let mut session = String::new();
    for line in vector.lines() {
        if let Some(request) = line.strip_prefix("> ") {
            writeln!(client.stream, "{request}").expect("a server");
            session += &format!("{line}\n");
        } else {
            session += &format!("< {}\n", normalize(&client.line()));
        }
    }
    assert_eq!(session, vector);
}

/// Malformed, unknown and endless lines are answered and skipped. They end neither the server nor
/// another client.
#[test]
fn nothing_that_a_client_sends_ends_the_server() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let mut other = Client::connect(&lo, "alice");
    other.send(&json!({"type": "listen"}));
    let mut hostile = Client::connect(&lo, "alice");
    let long = "x".repeat(700_000);
    let nested = format!("{{\"type\":\"chat\",\"content\":{}", "[".repeat(100_000));
    let lines: [&[u8]; 10] = [
        b"",
        b"[]",
        b"\xff\xfe",
        b"{\"type\":\"nonsense\",\"id\":7}",
        b"{\"type\":\"chat\",\"content\":5}",
        b"{\"type\":\"chat\",\"content\":[]}",
        b"{\"type\":\"listen\",\"target\":\"#elsewhere\"}",
        b"{\"type\":\"printed\",\"target\":\"@carried\",\"position\":\"1\"}",
        long.as_bytes(),
        nested.as_bytes(),
    ];
    for line in lines {
        hostile.stream.write_all(line).expect("a server");
        hostile.stream.write_all(b"\n").expect("a server");
        let error = hostile.wait("error");
        let content = error["content"].as_str().expect("a sentence");
        let is_too_long = content == "the line is longer than 512 KiB";
        assert_eq!(is_too_long, line.len() > 512 * 1024, "{error}");
        assert_eq!(error["id"] == 7, line.ends_with(b"7}"), "{error}");
    }
    // A client that ends within a line.
    hostile.stream.write_all(b"{\"type\":").expect("a server");
    drop(hostile);
    assert_serves(&lo, "alice");
    run(&lo, "alice", &["send", "--need", "0", "still here"]).assert_code(0);
    assert_eq!(other.wait("chat")["content"], "still here");
    wait_messages(&alice, &["still here"]);
}

/// Twenty clients say lines at once, and each gets the lines of all, once and in order.
#[test]
fn twenty_clients_at_once_get_every_line() {
    const CLIENTS: usize = 20;
    const LINES: usize = 50;
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let mut clients: Vec<Client> = (0..CLIENTS)
        .map(|_| Client::connect(&lo, "alice"))
        .collect();
    for client in &mut clients {
        client.send(&json!({"type": "listen", "id": "listening"}));
        assert_eq!(client.wait("done")["id"], "listening");
    }
    for n in 0..LINES {
        for (i, client) in clients.iter_mut().enumerate() {
            client.send(&json!({"type": "chat", "content": format!("{i} {n}")}));
        }
    }
    // A client that does not read is not served either, so all read at once.
    let mut transcripts = thread::scope(|scope| {
        let readers = clients.iter_mut().map(|client| {
            scope.spawn(|| {
                let lines = (0..CLIENTS * LINES).map(|_| {
                    let chat = client.wait("chat");
                    let content = chat["content"].as_str().expect("a text").to_owned();
                    (chat["sequence"].as_u64().expect("a number"), content)
                });
                lines.collect::<Vec<_>>()
            })
        });
        let readers: Vec<_> = readers.collect();
        let transcripts = readers.into_iter().map(|reader| reader.join());
        transcripts
            .map(|lines| lines.expect("a reader"))
            .collect::<Vec<_>>()
    })
    .into_iter();
    let first = transcripts.next().expect("a client");
    assert!(first.iter().map(|(sequence, _)| *sequence).eq(1..=1000));
    for i in 0..CLIENTS {
        let of_client = first.iter().filter_map(|(_, content)| {
            let (author, n) = content.split_once(' ')?;
            (author == i.to_string()).then(|| n.parse::<usize>().expect("a number"))
        });
        assert!(of_client.eq(0..LINES), "client {i}");
    }
    assert!(transcripts.all(|lines| lines == first));
}

/// A client that does not read is a cursor that lags: it costs no memory, delays nobody, and gets
/// every line in the end.
#[test]
fn a_stalled_client_costs_no_memory_and_loses_nothing() {
    const LINES: usize = 60_000;
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen", "--no-echo"]);
    let mut stalled = Client::connect(&lo, "alice");
    stalled.send(&json!({"type": "listen", "id": 1}));
    stalled.wait("done");
    let before = alice.peak();
    let text = "the quick brown fox jumps over the lazy dog";
    let input: String = (0..LINES).map(|n| format!("{n} {text}\n")).collect();
    finish(
        lo.spawn("alice", &["send", "--need", "0"]),
        input.as_bytes(),
    )
    .assert_code(0);
    for n in 0..LINES {
        let chat = stalled.wait("chat");
        assert_eq!(chat["content"], format!("{n} {text}"));
    }
    let grown = alice.peak() - before;
    assert!(grown < 8 * 1024, "{grown} KiB");
}

/// /part of a client that reads slowly is answered before the client has got the room's lines. They
/// come all the same, and no later ones.
#[test]
fn a_slow_client_gets_the_lines_of_a_room_that_it_has_left() {
    const LINES: usize = 40_000;
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen", "--no-echo"]);
    let mut slow = Client::connect(&lo, "alice");
    slow.send(&json!({"type": "listen", "id": 1}));
    slow.wait("done");
    let text = "the quick brown fox jumps over the lazy dog";
    let input: String = (0..LINES).map(|n| format!("{n} {text}\n")).collect();
    finish(
        lo.spawn("alice", &["send", "--need", "0"]),
        input.as_bytes(),
    )
    .assert_code(0);
    slow.send(&json!({"type": "command", "content": "/part", "id": 2}));
    let (mut count, mut before_answer) = (0, None);
    while count < LINES {
        let event = slow.event();
        if event["id"] == 2 {
            before_answer = Some(count);
            let late = run(&lo, "alice", &["send", "--need", "0", "later"]);
            late.assert_code(0);
        } else {
            assert_eq!(event["content"], format!("{count} {text}"), "{event}");
            count += 1;
        }
    }
    assert!(
        before_answer.is_some_and(|count| count < LINES),
        "{before_answer:?}"
    );
    slow.send(&json!({"type": "command", "content": "/rooms", "id": 3}));
    let next = slow.event();
    assert_eq!((&next["type"], &next["id"]), (&json!("rooms"), &json!(3)));
}

/// Each of two requests to report the delivery is answered, also if both come at once.
#[test]
fn every_request_to_finish_is_answered() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let mut client = Client::connect(&lo, "alice");
    let finish = |id: u64| json!({"type": "finish", "need": 0, "id": id});
    let both = format!("{}\n{}\n", finish(1), finish(2));
    client.stream.write_all(both.as_bytes()).expect("a server");
    assert_eq!(client.wait("done")["id"], 1);
    assert_eq!(client.wait("done")["id"], 2);
}

/// The lines of an earlier incarnation are awaited beside those of the present one, though both are
/// to the same room.
#[test]
fn lines_of_two_incarnations_are_awaited() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let _bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "--need", "1", "hi"]).assert_code(0);
    let mut client = Client::connect(&lo, "alice");
    client.send(&json!({"type": "listen", "backlog": 1}));
    let chat = client.wait("chat");
    let mut present = json!({"type": "await", "sequence": chat["sequence"]});
    for field in ["sender", "target", "incarnation"] {
        present[field] = chat[field].clone();
    }
    let mut earlier = present.clone();
    earlier["incarnation"] = json!("0000000000000001");
    // Nobody stores the earlier lines.
    for lines in [earlier, present] {
        client.send(&lines);
    }
    client.send(&json!({"type": "finish", "need": 1}));
    let report = client.wait("delivery");
    assert_eq!(
        (&report["settled"], &report["acked"]),
        (&json!(false), &json!(0))
    );
}

/// A client that is killed while it sends leaves the server and the accepted lines.
#[test]
fn a_killed_client_leaves_the_server() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let mut send = lo.spawn("alice", &["send"]);
    send.say("accepted");
    wait_messages(&alice, &["accepted"]);
    send.kill();
    let mut listen = lo.start("alice", &["listen"]);
    listen.kill();
    assert_serves(&lo, "alice");
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    run(&lo, "alice", &["send", "after"]).assert_code(0);
    wait_line(&bob, ": after");
}

/// /part leaves a room only once its lines are delivered, even if it is the only room.
#[test]
fn a_room_is_left_after_its_lines_are_delivered() {
    let Some(lo) = Loopback::new() else { return };
    // Bob has been in the room before.
    run(&lo, "bob", &["listen", "-W", "0"]);
    let mut alice = lo.start("alice", &["--commands"]);
    alice.say("not delivered yet");
    wait_messages(&alice, &["not delivered yet"]);
    alice.say("/part");
    alice.say("/rooms");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("in no room"));
    let mut bob = lo.start("bob", &[]);
    wait_line(&bob, ": not delivered yet");
    wait_line(&bob, " left");
    bob.say("alice is not here");
    wait_line(&bob, ": alice is not here");
}

/// A room that the user leaves stays joined for a client that listens to it.
#[test]
fn a_room_stays_joined_for_a_client() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "ops"]);
    let mut alice = lo.start("alice", &["--commands", "-r", "general", "-r", "ops"]);
    wait_joined(&bob, "alice");
    let mut client = Client::connect(&lo, "alice");
    client.send(&json!({"type": "listen", "id": 1}));
    client.wait("done");
    alice.say("/part ops");
    alice.say("/rooms");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("#general"));
    run(&lo, "carol", &["send", "-r", "ops", "for the client"]).assert_code(0);
    assert_eq!(client.wait("chat")["content"], "for the client");
    wait_line(&bob, ": for the client");
    let is_left = |line: &String| line.contains(" alice~") && line.ends_with(" left");
    assert!(!bob.out.all().iter().any(is_left), "{:?}", bob.out.all());
    assert!(
        !alice
            .out
            .all()
            .iter()
            .any(|line| line.ends_with("for the client"))
    );
}

/// A client that is no reader gets what is said in its rooms from its `listen` on, also where no
/// reader of the directory has begun.
#[test]
fn a_client_gets_the_lines_of_a_room_without_a_reader() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let mut bob = lo.start("bob", &["-r", "ops", "-r", "lab"]);
    let mut client = Client::connect(&lo, "alice");
    client.send(&json!({"type": "command", "content": "/join #ops", "id": 1}));
    client.wait("done");
    client.send(&json!({"type": "listen", "id": 2}));
    client.wait("done");
    client.send(&json!({"type": "command", "content": "/join #lab", "id": 3}));
    client.wait("done");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains("#lab * alice~") && line.ends_with(" joined")
    });
    bob.say("to ops");
    assert_eq!(client.wait("chat")["content"], "to ops");
    let mut carol = lo.start("carol", &["-r", "lab"]);
    carol.say("to lab");
    assert_eq!(client.wait("chat")["content"], "to lab");
}
