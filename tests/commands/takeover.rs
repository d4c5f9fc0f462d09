//! A server that ends or does not answer: its clients take over, and no line is lost or repeated.
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{
    TIMEOUT, finish, messages, run, wait_asleep, wait_client, wait_error_line, wait_joined,
    wait_line, wait_messages,
};

/// A `send` whose server is killed before or after it connects delivers its line once, as a
/// program of its own.
#[test]
fn send_delivers_alone_when_its_server_is_killed() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    for connects in [false, true] {
        let mut alice = lo.start("alice", &["listen"]);
        alice.signal(Signal::SIGSTOP);
        let text = format!("line {connects}");
        let send = lo.spawn("alice", &["send", &text]);
        if connects {
            wait_client(&lo, &alice);
        }
        alice.kill();
        finish(send, b"").assert_code(0);
        wait_line(&bob, &format!(": {text}"));
    }
    assert_eq!(messages(&bob.out.all()), ["line false", "line true"]);
}

/// A `send` takes over the delivery of lines that the killed server had stored and not
/// delivered.
#[test]
fn send_delivers_lines_that_a_killed_server_had_stored() {
    let Some(lo) = Loopback::new() else { return };
    // Bob's reader begins before the line is said.
    run(&lo, "bob", &["listen", "-W", "0"]);
    let alice = lo.start("alice", &["listen"]);
    let mut send = lo.spawn("alice", &["send", "-W", "20", "late"]);
    wait_line(&alice, ": late");
    let mut alice = alice;
    alice.kill();
    let bob = lo.start("bob", &["listen"]);
    assert_eq!(send.wait_code(TIMEOUT), 0, "{:?}", send.err.all());
    wait_messages(&bob, &["late"]);
}

/// A `send` that takes over after -W has passed stores its lines and ends with 69.
#[test]
fn lines_taken_over_after_the_wait_are_stored_and_reported() {
    let Some(lo) = Loopback::new() else { return };
    let mut expected = vec!["before".to_owned()];
    // The killed server has received the line in the first round, and has not in the second.
    for received in [true, false] {
        let mut alice = lo.start("alice", &["listen", "--no-echo"]);
        let mut send = lo.spawn("alice", &["send", "-W", "1"]);
        send.say("before");
        wait_until("the line is stored", TIMEOUT, || {
            stored_messages(&lo) == expected
        });
        if !received {
            alice.signal(Signal::SIGSTOP);
        }
        let line = format!("received {received}");
        send.say(&line);
        expected.push(line);
        send.close_stdin();
        if received {
            wait_until("the line is stored", TIMEOUT, || {
                stored_messages(&lo) == expected
            });
        } else {
            // Then the client has read its whole input.
            wait_asleep(send.pid());
        }
        send.signal(Signal::SIGSTOP);
        alice.kill();
        thread::sleep(Duration::from_millis(1_100));
        send.signal(Signal::SIGCONT);
        assert_eq!(send.wait_code(TIMEOUT), 69, "{:?}", send.err.all());
        assert_eq!(stored_messages(&lo), expected);
        expected.push("before".to_owned());
    }
}

/// A signal ends a client that looks for a server, even if nobody stores its last line.
#[test]
fn a_signal_ends_a_client_without_a_server() {
    let Some(lo) = Loopback::new() else { return };
    let mut server = lo.start("alice", &["listen"]);
    let mut client = lo.start("alice", &[]);
    server.signal(Signal::SIGSTOP);
    client.say("unstored");
    // Then the client has read its line.
    wait_asleep(client.pid());
    client.signal(Signal::SIGSTOP);
    server.kill();
    let lock = File::open(lo.host.folder("alice").join("lock")).expect("a lock");
    lock.lock().expect("nobody else runs");
    client.signal(Signal::SIGTERM);
    client.signal(Signal::SIGCONT);
    assert_eq!(client.wait_code(TIMEOUT), 143, "{:?}", client.err.all());
    wait_error_line(&client, "whether it stored the last lines is unknown");
}

/// The texts in alice's history.
fn stored_messages(lo: &Loopback) -> Vec<String> {
    messages(&run(lo, "alice", &["history"]).out)
}

/// Attached listeners print the same lines as the server. When it is killed, one of them takes
/// over, and every line is printed once.
#[test]
fn an_attached_listen_takes_over_when_the_server_dies() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &[]);
    let mut alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    run(&lo, "bob", &["send", "before"]);
    wait_messages(&alice, &["before"]);

    let attached = lo.start("alice", &["listen"]);
    let json = lo.start("alice", &["listen", "--json", "--no-echo"]);
    let backlog = lo.start("alice", &["listen", "--backlog", "1"]);
    run(&lo, "bob", &["send", "one"]);
    run(&lo, "alice", &["send", "two"]);
    wait_messages(&attached, &["one", "two"]);
    wait_messages(&backlog, &["before", "one", "two"]);
    wait_messages(&alice, &["before", "one", "two"]);
    let line = json.out.wait_for(TIMEOUT, |line| line.contains("\"one\""));
    assert!(line.contains(r#""type":"chat""#), "{line}");
    let carol = lo.start("carol", &["listen"]);
    wait_joined(&attached, "carol");
    drop(carol);
    wait_line(&attached, " left");

    // One client becomes the server, the others attach to it; every line is printed once.
    alice.kill();
    run(&lo, "bob", &["send", "three"]).assert_code(0);
    run(&lo, "alice", &["send", "four"]).assert_code(0);
    wait_messages(&attached, &["one", "two", "three", "four"]);
    wait_messages(&backlog, &["before", "one", "two", "three", "four"]);
    json.out
        .wait_for(TIMEOUT, |line| line.contains("\"three\""));
    let is_own_line = |line: &String| line.contains("\"two\"") || line.contains("\"four\"");
    assert!(
        !json.out.all().iter().any(is_own_line),
        "{:?}",
        json.out.all()
    );
    wait_messages(&bob, &["before", "one", "two", "three", "four"]);
}

/// An attached chat has its own rooms and commands. When the server ends, the chat continues
/// alone, and each line is delivered once.
#[test]
fn an_attached_chat_takes_over_when_the_server_ends() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let mut chat = lo.start("alice", &["--commands", "-W", "3"]);
    chat.say("one");
    wait_messages(&chat, &["one"]);
    wait_messages(&alice, &["one"]);
    chat.say("/users");
    chat.err.wait_for(TIMEOUT, |line| line.contains("bob"));
    chat.say("/history 1");
    wait_error_line(&chat, ": one");
    chat.say("/join ops");
    chat.say("hidden");
    wait_line(&alice, ": hidden");
    chat.say("/part");
    chat.say("two");
    wait_messages(&bob, &["one", "two"]);
    alice.signal(Signal::SIGTERM);
    chat.say("three");
    run(&lo, "bob", &["send", "four"]);
    wait_line(&chat, ": four");
    wait_line(&bob, ": three");
    let outcome = finish(chat, b"five");
    assert_eq!(outcome.code, 75, "nobody was in #ops: {outcome:?}");
    wait_line(&bob, ": five");
    let mut all = messages(&bob.out.all());
    all.sort();
    assert_eq!(all, ["five", "four", "one", "three", "two"]);
    let mut all = messages(&outcome.out);
    all.sort();
    assert_eq!(all, ["five", "four", "hidden", "one", "three", "two"]);
    wait_until("alice is gone", TIMEOUT, || {
        alice.out.wait_end(TIMEOUT).len() > 1
    });
}

/// The segment of alice's #general.
fn segment(lo: &Loopback) -> PathBuf {
    let folder = lo.host.folder("alice");
    folder.join("history/open/#general/000001.ndjson")
}

/// Plays a server that ends after receiving the line "hello" and before answering, a moment no
/// signal can be timed for. It says that the history begins at `position`, and passes the id of the
/// line's request to `store`. Returns the stored batches with the line.
fn lose_answer(lo: &Loopback, position: &str, store: impl FnOnce(&Value)) -> Vec<String> {
    let folder = lo.host.folder("alice");
    let path = folder.join("control.sock");
    let whoami = run(lo, "alice", &["whoami"]);
    let id = whoami.out[1].strip_prefix("id: ").expect("an id");
    let listener = UnixListener::bind(&path).expect("a socket");
    let lock = File::create(folder.join("lock")).expect("a file");
    lock.lock().expect("a lock");
    let send = lo.spawn("alice", &["send", "--need", "0", "hello"]);
    let (mut stream, _) = listener.accept().expect("a client");
    let ready = json!({
        "type": "ready", "protocol": 2, "sender": id, "username": "alice", "port": 9999,
        "uptime_ms": 5, "linked": false, "network": "0".repeat(64),
        "multicast": "224.0.0.1:9999", "interfaces": ["lo"],
    });
    writeln!(stream, "{ready}").expect("a reader");
    let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
    loop {
        let mut line = String::new();
        assert_ne!(reader.read_line(&mut line).expect("a line"), 0);
        let request: Value = serde_json::from_str(&line).expect("JSON");
        if request["type"] == "chat" {
            store(&request["id"]);
            break;
        }
        let done = json!({
            "type": "done", "rooms": ["#general"], "position": format!("{position}-{position}"),
            "id": request["id"],
        });
        writeln!(stream, "{done}").expect("a reader");
    }
    drop((reader, stream, listener));
    drop(lock);
    finish(send, b"").assert_code(0);
    let lines = fs::read_to_string(segment(lo)).expect("a history");
    let batches = lines.lines().filter(|line| line.contains("\"hello\""));
    batches.map(str::to_owned).collect()
}

/// A `send` whose server ends between storing a line and replying finds the line in the history
/// and does not publish it again.
#[test]
fn a_line_stored_without_a_reply_is_not_published_twice() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "alice", &["send", "--need", "0", "hello"]);
    let batches = lose_answer(&lo, "0.0.0", |id| {
        // The server has stored the line for this request.
        let text = fs::read_to_string(segment(&lo)).expect("a history");
        let (before, last) = text.trim_end().rsplit_once('\n').expect("lines");
        let last = last.strip_suffix('}').expect("a batch");
        let text = format!("{before}\n{last},\"request\":{id}}}\n");
        fs::write(segment(&lo), text).expect("written");
    });
    assert_eq!(batches.len(), 1);
}

/// A `send` whose server ends before it stores the line publishes it, even if others said the same.
#[test]
fn a_line_of_another_client_is_not_taken_for_the_own() {
    let Some(lo) = Loopback::new() else { return };
    let server = lo.start("alice", &["listen"]);
    run(&lo, "alice", &["send", "--need", "0", "hello"]).assert_code(0);
    server.signal(Signal::SIGTERM);
    server.out.wait_end(TIMEOUT);
    let batches = lose_answer(&lo, "0.0.0", |_| {});
    assert_eq!(batches.len(), 2);
    assert!(batches[0].contains(",\"request\":\""), "{batches:?}");
}

/// Two clients say equal lines, and their server is killed: each line is delivered once for each
/// time that it was said. The ids of their requests stay in this directory.
#[test]
fn equal_lines_of_two_clients_are_delivered_once_each() {
    const ROUNDS: usize = 5;
    const LINES: usize = 40;
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut said = 0;
    for _ in 0..ROUNDS {
        let mut alice = lo.start("alice", &["listen", "--no-echo"]);
        wait_joined(&alice, "bob");
        let mut clients = [(); 2].map(|()| lo.spawn("alice", &["send"]));
        wait_client(&lo, &alice);
        for line in 0..LINES {
            for client in &mut clients {
                client.say("yes");
            }
            if line == LINES / 2 {
                alice.kill();
            }
        }
        for client in clients {
            finish(client, b"").assert_code(0);
        }
        said += 2 * LINES;
        wait_until("all lines are printed", TIMEOUT, || {
            messages(&bob.out.all()).len() >= said
        });
        let history = messages(&run(&lo, "bob", &["history"]).out);
        assert_eq!(history.len(), said);
    }
    let text = |user: &str| {
        let folder = lo.host.folder(user).join("history/open/#general");
        fs::read_to_string(folder.join("000001.ndjson")).expect("a history")
    };
    assert!(text("alice").contains("\"request\""));
    assert!(!text("bob").contains("\"request\""));
}

/// SIGTERM ends an attached `send` with 143; lines that a silent server did not confirm are
/// reported on stderr.
#[test]
fn a_terminated_send_reports_lines_without_a_reply() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let mut send = lo.spawn("alice", &["send"]);
    send.say("one");
    wait_messages(&alice, &["one"]);
    send.signal(Signal::SIGTERM);
    assert_eq!(send.wait_code(TIMEOUT), 143);
    // A server that does not answer delays the end by a limited time, and is reported.
    let mut send = lo.spawn("alice", &["send"]);
    send.say("two");
    wait_messages(&alice, &["one", "two"]);
    alice.signal(Signal::SIGSTOP);
    send.say("three");
    send.signal(Signal::SIGTERM);
    let code = send.wait_code(TIMEOUT);
    let err = send.err.wait_end(TIMEOUT);
    let is_report =
        |line: &String| line.contains("does not answer") || line.contains("before all lines");
    // The signal may also come before the line is read, or before it is sent to the server.
    assert!(code == 143 && err.iter().all(is_report), "{code} {err:?}");
    alice.signal(Signal::SIGCONT);
}

/// A `send` to a stopped server ends with 1 and says that the server does not answer.
#[test]
fn a_server_that_does_not_answer_is_an_error() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    alice.signal(Signal::SIGSTOP);
    let outcome = run(&lo, "alice", &["send", "-W", "0.1", "hello"]);
    outcome.assert_code(1);
    assert!(outcome.err[0].contains("does not answer"), "{outcome:?}");
    alice.signal(Signal::SIGCONT);
}

/// -W bounds the delivery and not the reply of the server: a `send -W 0` still waits for it.
#[test]
fn a_late_reply_of_the_server_is_awaited_beyond_the_wait() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    for (need, status) in [("1", 69), ("0", 0)] {
        let mut send = lo.spawn("alice", &["send", "-W", "0", "--need", need]);
        send.say(&format!("before {need}"));
        wait_line(&alice, &format!(": before {need}"));
        alice.signal(Signal::SIGSTOP);
        send.say(&format!("late {need}"));
        send.close_stdin();
        // -W has passed, and the client waits for the server.
        wait_asleep(send.pid());
        alice.signal(Signal::SIGCONT);
        assert_eq!(send.wait_code(TIMEOUT), status, "{:?}", send.err.all());
        wait_line(&alice, &format!(": late {need}"));
    }
    wait_messages(&alice, &["before 1", "late 1", "before 0", "late 0"]);
}

/// A server that is killed or terminated in the middle of 50 000 piped lines: every line
/// arrives once and in order.
#[test]
fn a_server_that_ends_during_a_pipe_loses_and_repeats_nothing() {
    let Some(lo) = Loopback::new() else { return };
    for signal in [Signal::SIGKILL, Signal::SIGTERM] {
        let user = format!("alice-{signal}").to_lowercase();
        let bob = lo.start("bob", &["listen"]);
        let alice = lo.start(&user, &["listen", "--no-echo"]);
        wait_joined(&alice, "bob");
        let mut send = lo.spawn(&user, &["send"]);
        let lines: Vec<String> = (0..50_000).map(|n| format!("line {n} of many")).collect();
        let input = lines.join("\n");
        let mut stdin = send.take_stdin();
        let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
        wait_line(&bob, ": line 500 of many");
        alice.signal(signal);
        writer.join().expect("a writer").expect("a reader");
        assert_eq!(send.wait_code(TIMEOUT), 0, "{:?}", send.err.all());
        // Bob stores all lines by then; his transcript follows.
        wait_line(&bob, ": line 49999 of many");
        let name = format!(" {user}~");
        let all = bob.out.all();
        let all: Vec<String> = all
            .into_iter()
            .filter(|line| line.contains(&name))
            .collect();
        let all = messages(&all);
        let first = all
            .iter()
            .zip(&lines)
            .position(|(printed, line)| printed != line);
        assert_eq!((first, all.len()), (None, lines.len()), "{signal}");
    }
}

/// Who takes over listens where its peers and firewalls expect the program, if that port is free.
#[test]
fn who_takes_over_keeps_the_port() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["listen", "-p", "7777"]);
    let mut attached = lo.start("alice", &["listen"]);
    let late = lo.start("alice", &["listen"]);
    late.signal(Signal::SIGSTOP);
    alice.signal(Signal::SIGTERM);
    alice.wait_exit(TIMEOUT);
    let ready_lines = |program: &Program| {
        let lines = program.err.all().into_iter();
        let ready = lines.filter(|line| line.contains("ready as alice~"));
        ready.collect::<Vec<String>>()
    };
    wait_until("a takeover", TIMEOUT, || ready_lines(&attached).len() == 2);
    let second = ready_lines(&attached).pop().unwrap_or_default();
    assert!(second.ends_with(" on 7777"), "{second}");
    attached.signal(Signal::SIGTERM);
    attached.wait_exit(TIMEOUT);
    let _bob = lo.start("bob", &["listen", "-p", "7777"]);
    late.signal(Signal::SIGCONT);
    wait_until("another takeover", TIMEOUT, || {
        ready_lines(&late).len() == 2
    });
    wait_joined(&late, "bob");
}
