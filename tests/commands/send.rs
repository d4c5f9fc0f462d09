//! `send`: exit statuses, what is stored, and what is sent later.
use std::ffi::OsStr;
use std::io::Write as _;
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{
    TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages, without_timestamp,
};

const STORED: &str = "stored, and sent by the next run";

/// A delivered line ends `send` with 0 and no output; `send` itself is not announced to others.
#[test]
fn a_delivered_line_is_silent_success() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "Hey", "there!"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
    assert!(outcome.err.is_empty(), "{outcome:?}");
    let line = wait_line(&bob, ": Hey there!");
    let line = without_timestamp(&line);
    let name = line.strip_prefix("#general alice~").expect(line);
    assert_eq!(name.len(), "abcd: Hey there!".len(), "{line}");
    // `send` is not announced to others.
    assert_eq!(bob.out.all().len(), 1, "{:?}", bob.out.all());
}

/// At 75 the room is named, and who lacks the lines, also at the end of a piped chat.
#[test]
fn the_peers_that_lack_lines_are_named() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let carol = lo.start("carol", &["listen"]);
    let commands = [&["send"][..], &[], &["send", "-t", "@bob"]];
    for (n, command) in commands.into_iter().enumerate() {
        let is_direct = command.contains(&"-t");
        let mut alice = lo.spawn("alice", &[command, &["-W", "1"]].concat());
        let before = format!("before {n}");
        alice.say(&before);
        wait_line(&bob, &before);
        if !is_direct {
            wait_line(&carol, &before);
        }
        bob.signal(Signal::SIGSTOP);
        let outcome = finish(alice, b"after");
        bob.signal(Signal::SIGCONT);
        outcome.assert_code(75);
        let sentence = outcome.err.last().expect("a sentence");
        let is_named = match is_direct {
            true => sentence.starts_with("p2pchat: @bob~"),
            false => {
                sentence.starts_with("p2pchat: #general: bob~")
                    && sentence.contains(" lacks lines, 1 of 2 peers have received all: ")
            }
        };
        assert!(is_named && sentence.ends_with(STORED), "{outcome:?}");
    }
}

/// `send` ends although strangers open connections to it all the time, and send nothing.
#[test]
fn bare_connections_do_not_hold_up_a_send() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let arguments = ["send", "-p", "9123", "-W", "6", "hello"];
    let mut alice = lo.spawn("alice", &arguments);
    let is_over = AtomicBool::new(false);
    let flood = || {
        while !is_over.load(Ordering::Relaxed) {
            drop(TcpStream::connect(("127.0.0.1", 9123)));
            thread::sleep(Duration::from_millis(1));
        }
    };
    let code = thread::scope(|scope| {
        scope.spawn(|| lo.host.namespace.inside(flood));
        let code = alice.wait_code(TIMEOUT);
        is_over.store(true, Ordering::Relaxed);
        code
    });
    assert_eq!(code, 0, "{:?}", alice.err.all());
    wait_line(&bob, ": hello");
}

/// Without a peer `send` ends with 69 and says that the line is stored; the next run of any
/// kind sends it.
#[test]
fn an_undelivered_line_is_sent_by_the_next_run() {
    let Some(lo) = Loopback::new() else { return };
    // Bob enters the room first, so that lines said while he is away are news and not a
    // newcomer's backfill.
    run(&lo, "bob", &["listen", "-W", "0"]);
    let outcome = run(&lo, "alice", &["send", "-W", "0.3", "first"]);
    outcome.assert_code(69);
    assert!(
        outcome.err.len() == 1
            && outcome.err[0]
                .starts_with("p2pchat: #general: no peer is connected; none was heard: "),
        "{outcome:?}"
    );
    assert!(outcome.err[0].ends_with(STORED), "{outcome:?}");

    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "second"]).assert_code(0);
    wait_messages(&bob, &["first", "second"]);

    drop(bob);
    run(&lo, "alice", &["send", "-W", "0.3", "third"]).assert_code(69);
    let bob = lo.start("bob", &["listen"]);
    let _alice = lo.start("alice", &[]);
    wait_line(&bob, ": third");
}

/// A run also sends the stored lines of rooms it has not joined, and keeps those rooms out of
/// its transcript.
#[test]
fn undelivered_lines_of_other_rooms_are_sent_too() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["listen", "-r", "ops", "-W", "0"]);
    let args = ["send", "-r", "ops", "-W", "0.3", "for ops"];
    run(&lo, "alice", &args).assert_code(69);
    let note = lo.host.folder("alice").join("history/open/#ops/waiting");
    assert!(note.exists());

    let bob = lo.start("bob", &["listen", "-r", "ops"]);
    let alice = lo.start("alice", &["listen"]);
    wait_line(&bob, ": for ops");
    // She opens the room to send its stored lines, and prints nothing of it.
    let args = ["send", "-r", "ops", "not for alice"];
    run(&lo, "carol", &args).assert_code(0);
    alice.signal(Signal::SIGTERM);
    let outcome = finish(alice, b"");
    assert!(
        !outcome.out.iter().any(|l| l.contains("#ops")),
        "{outcome:?}"
    );
    assert!(!note.exists(), "others hold it");
    // Only now her reader comes into the room. What was said before is history.
    let args = ["listen", "-r", "ops", "-W", "0.1"];
    let outcome = run(&lo, "alice", &args);
    assert!(messages(&outcome.out).is_empty(), "{outcome:?}");
    let outcome = run(&lo, "alice", &["history", "-r", "ops"]);
    assert_eq!(messages(&outcome.out), ["for ops", "not for alice"]);
    let outcome = run(&lo, "alice", &["listen", "-W", "0.5"]);
    assert!(!note.exists(), "{outcome:?}");
}

/// Two concurrent `send` runs end with 75: a transient peer does not count as delivery.
#[test]
fn two_transient_peers_do_not_count_for_each_other() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.spawn("alice", &["send", "-W", "2", "from alice"]);
    let bob = lo.spawn("bob", &["send", "-W", "2", "from bob"]);
    let codes = [finish(alice, b"").code, finish(bob, b"").code];
    assert_eq!(codes, [75, 75], "each stores the other's line, and leaves");
}

/// An `--ephemeral` `send` that delivers nothing ends with 69 and says that its lines are lost.
#[test]
fn an_ephemeral_send_reports_lost_lines() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["send", "--ephemeral", "-W", "0.2", "hello"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(69);
    assert!(
        outcome.err.iter().any(|line| line.contains("are lost")),
        "{outcome:?}"
    );
}

/// `--need N` requires that N peers store the line: 0 succeeds alone, too few peers are 75.
#[test]
fn need_sets_how_many_peers_must_store_a_line() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "alice", &["send", "--need", "0", "zero"]);
    outcome.assert_code(0);
    assert!(outcome.err.is_empty(), "{outcome:?}");
    assert!(outcome.duration < Duration::from_secs(5), "{outcome:?}");

    let bob = lo.start("bob", &["listen"]);
    let args = ["send", "--need", "2", "-W", "0.5", "two"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(75);
    assert!(
        outcome.err.len() == 1 && outcome.err[0].ends_with(STORED),
        "{outcome:?}"
    );
    wait_line(&bob, ": two");

    let carol = lo.start("carol", &["listen"]);
    run(&lo, "alice", &["send", "--need", "2", "both"]).assert_code(0);
    wait_line(&bob, ": both");
    wait_line(&carol, ": both");
}

/// `send` without a line ends at once with 0.
#[test]
fn send_without_lines_succeeds_at_once() {
    let Some(lo) = Loopback::new() else { return };
    for args in [&["send"][..], &["send", ""]] {
        let outcome = run(&lo, "alice", args);
        assert_eq!(outcome.code, 0, "{args:?}: {outcome:?}");
        assert!(
            outcome.err.is_empty() && outcome.out.is_empty(),
            "{outcome:?}"
        );
        assert!(outcome.duration < Duration::from_secs(5), "{outcome:?}");
    }
}

/// A line that is too long or not UTF-8 is reported by number, and the others are sent; refused
/// lines (1) come before failed delivery (69).
#[test]
fn bad_lines_are_reported_by_number() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut input = b"one\n".to_vec();
    input.extend(vec![b'x'; 16 * 1024 + 1]);
    input.extend(b"\nnot \xff UTF-8\nfour\n");
    let outcome = finish(lo.spawn("alice", &["send"]), &input);
    outcome.assert_code(1);
    let err = &outcome.err;
    assert!(
        err.len() == 2
            && err[0].starts_with("p2pchat: line 2: ")
            && err[1].starts_with("p2pchat: line 3: "),
        "{outcome:?}"
    );
    wait_messages(&bob, &["one", "four"]);

    // Refused lines (1) come before failed delivery (69).
    drop(bob);
    finish(lo.spawn("alice", &["send", "-W", "0.2"]), b"\xff\nfine\n").assert_code(1);

    // The longest line that is accepted.
    let bob = lo.start("bob", &["listen"]);
    let longest = "y".repeat(16 * 1024);
    finish(lo.spawn("alice", &["send"]), longest.as_bytes()).assert_code(0);
    wait_line(&bob, &format!(": {longest}"));
}

/// Each line of stdin or TEXT is one message, an empty one too; CRLF is tolerated; with TEXT
/// stdin is ignored.
#[test]
fn each_line_is_one_message() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    finish(lo.spawn("alice", &["send"]), b"a\r\n\n\tb: c \nd").assert_code(0);
    wait_messages(&bob, &["a", "", "\tb: c ", "d"]);
    finish(lo.spawn("alice", &["send", "e\n\nf", "g"]), b"ignored").assert_code(0);
    wait_messages(&bob, &["a", "", "\tb: c ", "d", "e", "", "f g"]);
}

/// Each line is sent when it is read, not at the end of input.
#[test]
fn a_line_is_sent_before_the_input_ends() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &[]);
    wait_joined(&alice, "bob");
    alice.say("now");
    wait_line(&bob, ": now");
    alice.say("then");
    wait_line(&bob, ": then");
    finish(alice, b"end").assert_code(0);
    wait_line(&bob, ": end");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
}

/// `-t '#ROOM'` and `-r ROOM` send to this room. A bare word after -t is refused with 2 and sent to
/// nobody: it may be a peer whose `@` was forgotten. So is a name outside the rule.
#[test]
fn target_names_a_room() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "Ops"]);
    run(&lo, "alice", &["send", "-t", "#ops", "hi"]).assert_code(0);
    let line = wait_line(&bob, ": hi");
    assert!(
        without_timestamp(&line).starts_with("#ops alice~"),
        "{line}"
    );
    run(&lo, "alice", &["send", "-t", "@b b", "hi"]).assert_code(2);
    run(&lo, "alice", &["send", "-t", "@bob", "--need", "2", "hi"]).assert_code(2);
    let outcome = run(&lo, "alice", &["send", "-t", "ops", "secret"]);
    outcome.assert_code(2);
    let sentence = "p2pchat: --to: `ops` is neither a peer nor a room: for the peer write -t @ops, \
                    for the room -r ops or -t '#ops'";
    assert_eq!(outcome.err, [sentence]);
    run(&lo, "alice", &["send", "-r", "ops", "last"]).assert_code(0);
    wait_messages(&bob, &["hi", "last"]);
}

/// An `--ephemeral` `send` whose memory is full stops reading stdin and says so. Once a peer
/// connects, it delivers every line.
#[test]
fn an_ephemeral_run_stops_reading_stdin_when_full() {
    let Some(lo) = Loopback::new() else { return };
    // More than the 8 MiB of memory.
    let input = |count: usize| {
        let lines = (1..=count).map(|n| format!("{n} {}\n", "x".repeat(1000)));
        lines.collect::<String>().into_bytes()
    };
    let warning = "p2pchat: no peer is connected and the store is full: stdin waits";
    let alice = lo.spawn("alice", &["send", "--ephemeral", "-W", "0.5"]);
    let outcome = finish(alice, &input(12_000));
    assert_eq!((outcome.code, outcome.err.len()), (69, 2), "{outcome:?}");
    assert_eq!(outcome.err[0], warning);
    let hint = "lost with this program, and the rest of stdin was not read";
    assert!(outcome.err[1].ends_with(hint), "{outcome:?}");

    // A peer that was in the room before gets all lines, however late it connects.
    run(&lo, "bob", &["listen", "-W", "0.1"]);
    let mut alice = lo.spawn("alice", &["send", "--ephemeral", "-W", "20"]);
    let mut stdin = alice.take_stdin();
    let writer = thread::spawn(move || stdin.write_all(&input(12_000)));
    alice.err.wait_for(TIMEOUT, |line| line == warning);
    let bob = lo.start("bob", &["listen"]);
    assert_eq!(alice.wait_code(TIMEOUT * 2), 0, "{:?}", alice.err.all());
    writer.join().expect("a writer").expect("all is taken");
    bob.out.wait_all(TIMEOUT, |lines| lines.len() >= 12_000);
    let texts = messages(&bob.out.all());
    let number = |line: &String| line.split(' ').next().and_then(|n| n.parse().ok());
    let numbers: Vec<usize> = texts.iter().filter_map(number).collect();
    assert!(numbers.into_iter().eq(1..=12_000));
}

/// `send -W` ends in time with 69 also when no event wakes the event loop.
#[test]
fn send_without_beacons_ends_after_its_wait() {
    let Some(lo) = Loopback::new() else { return };
    // Without beacons no input wakes the event loop.
    let mut eve = lo.spawn("eve", &["send", "-m", "none", "-W", "0.2", "hello"]);
    assert_eq!(eve.wait_code(TIMEOUT), 69);
    let errors = eve.err.wait_end(TIMEOUT);
    assert!(
        errors
            .concat()
            .starts_with("p2pchat: #general: no peer is connected; none was heard: the lines"),
        "{errors:?}"
    );
}

/// With `--lossy`, bytes that are not UTF-8 are sent as U+FFFD, on stdin, in JSON and in TEXT. The
/// limit counts what is sent.
#[test]
fn lossy_sends_replacement_characters() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let send = lo.spawn("alice", &["send", "--lossy"]);
    finish(send, b"caf\xe9\nna\xc3\xafve\n\xff\xfe\r\nlast").assert_code(0);
    let json = lo.spawn("alice", &["send", "--lossy", "--json"]);
    finish(json, b"{\"type\":\"chat\",\"content\":\"\xe9t\xe9\"}\n").assert_code(0);
    let mut text = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    text.args([
        "--interface",
        "lo",
        "-u",
        "zoe",
        "--ephemeral",
        "send",
        "--lossy",
    ]);
    text.arg(OsStr::from_bytes(b"na\xefve"));
    finish(Program::spawn("zoe", text), b"").assert_code(0);
    let expected = [
        "caf\u{fffd}",
        "na\u{ef}ve",
        "\u{fffd}\u{fffd}",
        "last",
        "\u{fffd}t\u{fffd}",
        "na\u{fffd}ve",
    ];
    wait_messages(&bob, &expected);

    // 6000 bytes become 18 000, which no line may have.
    let long = [&[0xff; 6000][..], b"\nshort\n"].concat();
    let outcome = finish(lo.spawn("alice", &["send", "--lossy"]), &long);
    outcome.assert_code(1);
    assert_eq!(
        outcome.err,
        ["p2pchat: line 1: longer than 16 KiB, not sent"]
    );
    wait_line(&bob, ": short");
}

/// Who has stopped holds up no pipe: the lines are stored, and stdin is read to its end.
#[test]
fn a_stopped_peer_holds_up_no_pipe() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &[]);
    wait_joined(&alice, "bob");
    bob.signal(Signal::SIGSTOP);
    let mut stdin = alice.take_stdin();
    let lines = format!("{}\n", "x".repeat(1000)).repeat(1_500);
    let writer = thread::spawn(move || stdin.write_all(lines.as_bytes()).map(|()| stdin));
    let stored = |lo: &Loopback| run(lo, "alice", &["history", "-n", "1500"]).out.len();
    // The link to a stopped peer stays for longer.
    let deadline = Instant::now() + Duration::from_secs(6);
    while stored(&lo) < 1_500 {
        assert!(
            Instant::now() < deadline,
            "{} lines are stored",
            stored(&lo)
        );
        thread::sleep(Duration::from_millis(50));
    }
    drop(writer.join().expect("a writer").expect("all is taken"));
    bob.signal(Signal::SIGCONT);
    assert_eq!(alice.wait_code(TIMEOUT), 0, "{:?}", alice.err.all());
    bob.out
        .wait_all(TIMEOUT, |lines| messages(lines).len() >= 1_500);
}
