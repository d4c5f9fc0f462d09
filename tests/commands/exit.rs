//! Exit statuses and the end of a run: every accepted line is delivered, stored or reported,
//! and every received line is printed.
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

const LINES: usize = 20_000;

/// Input larger than a pipe and the output queue hold together.
fn flood() -> Vec<u8> {
    let line = "the quick brown fox ".repeat(6) + "\n";
    line.repeat(LINES).into_bytes()
}

/// Starts a program whose stdout the test reads later.
fn spawn_unread(lo: &Loopback, user: &str, arguments: &[&str]) -> Child {
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-q", "-u", user]);
    command.args(arguments);
    command.env("P2PCHAT_DIR", lo.host.folder(user));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().expect("a program")
}

/// Waits for the end of the child, and returns its status code.
fn wait_code(child: &mut Child, limit: Duration) -> Option<i32> {
    let mut status = None;
    wait_until("the program ends", limit, || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    status.and_then(|status| status.code())
}

/// A reader that is slow at the end of input gets the whole transcript, from a program of its
/// own and through a server.
#[test]
fn a_slow_reader_of_stdout_gets_every_line() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    // Alone, and attached to a server.
    for user in ["alice", "carol"] {
        let _carol = (user == "carol").then(|| lo.start("carol", &["listen", "--no-echo"]));
        let mut child = spawn_unread(&lo, user, &["--json"]);
        let mut out = BufReader::new(child.stdout.take().expect("piped"));
        out.read_line(&mut String::new()).expect("ready");
        let mut stdin = child.stdin.take().expect("piped");
        let line = r#"{"type":"chat","content":"the quick brown fox jumps over the lazy dog"}"#;
        let input = format!("{line}\n").repeat(LINES);
        let writer = thread::spawn(move || stdin.write_all(input.as_bytes()));
        let (mut lines, mut text) = (0, String::new());
        while out.read_line(&mut text).expect("text") > 0 {
            lines += usize::from(text.starts_with(r#"{"type":"chat""#));
            text.clear();
            if lines % 250 == 0 {
                thread::sleep(Duration::from_millis(20));
            }
        }
        assert_eq!(lines, LINES, "{user}");
        assert_eq!(wait_code(&mut child, TIMEOUT), Some(0), "{user}");
        writer
            .join()
            .expect("a writer")
            .expect("the program reads stdin");
    }
    drop(bob);
}

/// A run whose stdout stalls at its end gives up with 1 and a sentence; SIGTERM ends it within
/// the limit. The next run prints the rest.
#[test]
fn a_stalled_reader_at_the_end_is_reported() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    for (user, signal) in [("alice", None), ("carol", Some(Signal::SIGTERM))] {
        let mut child = spawn_unread(&lo, user, &[]);
        let mut stdin = child.stdin.take().expect("piped");
        let mut input = flood();
        input.extend_from_slice(format!("the last of {user}\n").as_bytes());
        stdin.write_all(&input).expect("the program reads stdin");
        drop(stdin);
        wait_line(&bob, &format!(": the last of {user}"));
        let begin = Instant::now();
        if let Some(signal) = signal {
            let pid = i32::try_from(child.id()).expect("a process id");
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a program");
            assert_eq!(wait_code(&mut child, TIMEOUT), Some(143));
            assert!(begin.elapsed() < Duration::from_millis(2_500));
            continue;
        }
        assert_eq!(wait_code(&mut child, TIMEOUT), Some(1));
        let mut err = String::new();
        let mut stderr = child.stderr.take().expect("piped");
        stderr.read_to_string(&mut err).expect("text");
        assert!(err.contains("stdout was not read to the end"), "{err}");
    }
    // The next run prints the lines that stdout did not take.
    let carol = lo.start("carol", &["--backlog", "1"]);
    wait_line(&carol, ": the last of carol");
}

/// An attached `listen -n` counts a late line: one said before the link over which it arrived.
#[test]
fn an_attached_count_includes_late_lines() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let listen = lo.start("alice", &["listen", "-n", "1", "-W", "15"]);
    run(&lo, "bob", &["send", "hello"]).assert_code(0);
    wait_messages(&alice, &["hello"]);
    let outcome = finish(listen, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["hello"]);
}

/// Each line for a room that is not joined is an error with its line number, and makes the
/// status 1.
#[test]
fn a_line_for_a_room_not_joined_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let input = "{\"type\":\"chat\",\"target\":\"#ops\",\"content\":\"x\"}\n{\"type\":\"chat\",\"content\":\"y\"}\n";
    for attached in [false, true] {
        let _alice = attached.then(|| lo.start("alice", &["listen"]));
        let outcome = finish(lo.spawn("alice", &["--json"]), input.as_bytes());
        assert_eq!(outcome.code, 1, "{attached}: {outcome:?}");
        let prefix = r##"{"type":"error","code":"room","content":"line 1: not in #ops: "##;
        let is_error = |line: &String| line.starts_with(prefix);
        assert!(outcome.out.iter().any(is_error), "{attached}: {outcome:?}");
    }
    // Each line has its own error, also when several are sent in one batch.
    let input = "a\n/msg #ops b\n/msg #ops c\n".as_bytes();
    for attached in [false, true] {
        let _alice = attached.then(|| lo.start("alice", &["listen"]));
        let outcome = finish(lo.spawn("alice", &["--commands"]), input);
        assert_eq!(outcome.code, 1, "{attached}: {outcome:?}");
        for number in [2, 3] {
            let prefix = format!("p2pchat: line {number}: not in #ops: ");
            let errors = outcome.err.iter().filter(|line| line.starts_with(&prefix));
            assert_eq!(errors.count(), 1, "{attached}: {outcome:?}");
        }
    }
    wait_messages(&bob, &["y", "y", "a", "a"]);
}

/// A stdin that cannot be read ends `send` with 1 and a sentence, unlike the end of input.
#[test]
fn an_unreadable_stdin_is_an_error() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "alice", "--ephemeral", "send"]);
    command.stdin(File::open("/").expect("a folder"));
    let outcome = command.output().expect("an end");
    let err = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(1), "{err}");
    assert!(err.starts_with("p2pchat: stdin cannot be read: "), "{err}");
}

/// /quit in piped input ends the run; lines behind it are reported, and errors before it keep
/// their status.
#[test]
fn quit_on_a_pipe_reports_unread_lines() {
    let Some(lo) = Loopback::new() else { return };
    let is_report = |line: &String| line.contains("before all lines");
    // By itself, and attached another program.
    for attached in [false, true] {
        let _alice = attached.then(|| lo.start("alice", &["listen"]));
        let run = |input: &[u8]| finish(lo.spawn("alice", &["--commands"]), input);
        let outcome = run(b"a\n/nonsense\n/quit\nb\n");
        outcome.assert_code(1);
        assert_eq!(messages(&outcome.out), ["a"]);
        assert!(outcome.err.iter().any(is_report), "{outcome:?}");
        // Lines behind /quit are reported, and are no failure.
        let outcome = run(b"c\n/quit\nb\n");
        assert_eq!(
            (outcome.code, &messages(&outcome.out)[..]),
            (0, &["c".to_owned()][..])
        );
        assert!(outcome.err.iter().any(is_report), "{outcome:?}");
        // Without lines behind /quit nothing is reported.
        let outcome = run(b"c\n/quit\n");
        outcome.assert_code(0);
        assert!(!outcome.err.iter().any(is_report), "{outcome:?}");
    }
    // An unresolved recipient at /quit is a failure: 1.
    finish(lo.spawn("alice", &["--commands"]), b"/msg dave x\n/quit\n").assert_code(1);
}

/// A signal while the program waits for storage reports that lines of stdin were not sent.
#[test]
fn a_signal_reports_lines_read_and_not_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["--ephemeral", "--no-echo"]);
    wait_joined(&alice, "bob");
    let mut stdin = alice.take_stdin();
    // Bob receives nothing now. Alice's memory fills up, and she stops reading stdin.
    bob.signal(Signal::SIGSTOP);
    let writer = thread::spawn(move || while stdin.write_all(&flood()).is_ok() {});
    let io_path = format!("/proc/{}/io", alice.pid());
    let bytes_read = || {
        let io = std::fs::read_to_string(&io_path).expect("a process");
        io.lines().next().map(str::to_owned)
    };
    let (mut before, mut last_change) = (bytes_read(), Instant::now());
    wait_until("stdin is no longer read", TIMEOUT, || {
        let now = bytes_read();
        if now != before {
            (before, last_change) = (now, Instant::now());
        }
        last_change.elapsed() > Duration::from_millis(500)
    });
    alice.signal(Signal::SIGTERM);
    assert_eq!(alice.wait_code(TIMEOUT), 143);
    let err = alice.err.wait_end(TIMEOUT);
    assert!(
        err.iter().any(|line| line.contains("before all lines")),
        "{err:?}"
    );
    writer.join().expect("a writer");
    bob.signal(Signal::SIGCONT);
}

/// Lines evicted from the memory of an `--ephemeral` listener before they are printed are
/// printed as a gap with their number.
#[test]
fn lines_evicted_from_memory_before_printing_are_a_gap() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface=lo", "--ephemeral", "listen"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut alice = command.stderr(Stdio::piped()).spawn().expect("a program");
    let err = alice.stderr.take().expect("piped");
    BufReader::new(err)
        .read_line(&mut String::new())
        .expect("ready");
    let input = flood().repeat(6);
    finish(lo.spawn("bob", &["send", "-W", "30"]), &input).assert_code(0);
    run(&lo, "bob", &["send", "the last"]).assert_code(0);
    let (mut printed, mut missing) = (0, 0);
    let out = BufReader::new(alice.stdout.take().expect("piped"));
    for line in out.lines().map(|line| line.expect("text")) {
        if line.ends_with(": the last") {
            break;
        }
        printed += usize::from(line.ends_with("brown fox "));
        if let Some((_, rest)) = line.split_once(" - ") {
            let (number, _) = rest.split_once(" lines of bob~").expect("a gap");
            missing += number.parse::<usize>().expect("a number");
        }
    }
    alice.kill().and_then(|()| alice.wait()).expect("an end");
    assert!(missing > 0, "{printed}");
    assert_eq!(printed + missing, LINES * 6);
}

/// An `--ephemeral` program reports at its end the lines that no peer has stored, and only
/// those.
#[test]
fn an_ephemeral_program_reports_the_lines_it_loses() {
    let Some(lo) = Loopback::new() else { return };
    let count_reports = |lines: &[String]| {
        let is_report = |line: &&String| line.ends_with("lost with this program");
        lines.iter().filter(is_report).count()
    };
    let args = ["--ephemeral", "--commands"];
    let outcome = finish(lo.spawn("alice", &args), b"lost\n/quit\n");
    assert_eq!(
        (outcome.code, count_reports(&outcome.err)),
        (0, 1),
        "{outcome:?}"
    );
    // A run that sent only commands ends silently.
    let outcome = finish(lo.spawn("alice", &args), b"/quit\n");
    assert_eq!(
        (outcome.code, count_reports(&outcome.err)),
        (0, 0),
        "{outcome:?}"
    );
    let mut alice = lo.start("alice", &args);
    alice.say("lost");
    wait_messages(&alice, &["lost"]);
    alice.signal(Signal::SIGTERM);
    let outcome = finish(alice, b"");
    assert_eq!(
        (outcome.code, count_reports(&outcome.err)),
        (143, 1),
        "{outcome:?}"
    );

    // A line that bob has acknowledged is not lost; one that he has not is.
    let mut bob = lo.start("bob", &["listen"]);
    for lost in [0, 1] {
        let mut alice = lo.start("alice", &["--ephemeral", "--json"]);
        alice
            .out
            .wait_for(TIMEOUT, |line| line.contains(r#""join""#));
        alice.say(r#"{"type":"chat","content":"kept"}"#);
        let is_delivered = |line: &str| line.contains(r#""delivered""#);
        alice.out.wait_for(TIMEOUT, is_delivered);
        if lost == 1 {
            bob.signal(Signal::SIGTERM);
            bob.wait_code(TIMEOUT);
            alice.say(r#"{"type":"chat","content":"lost"}"#);
            alice
                .out
                .wait_for(TIMEOUT, |line| line.contains(r#""lost""#));
        }
        alice.signal(Signal::SIGINT);
        let outcome = finish(alice, b"");
        assert_eq!(
            (outcome.code, count_reports(&outcome.err)),
            (130, lost),
            "{outcome:?}"
        );
    }
}
