//! How runs end: nothing that was taken in, or is still to be shown, goes without a word.
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::{Loopback, wait_until};
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

const LINES: usize = 20_000;

/// Much more than a pipe and the queue before it hold.
fn flood() -> Vec<u8> {
    let line = "the quick brown fox ".repeat(6) + "\n";
    line.repeat(LINES).into_bytes()
}

/// A program of which stdout is read by the test, when it likes.
fn unread(lo: &Loopback, user: &str, arguments: &[&str]) -> Child {
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-q", "-u", user]);
    command.args(arguments);
    command.env("P2PCHAT_DIR", lo.host.folder(user));
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    command.stderr(Stdio::piped()).spawn().expect("a program")
}

fn code(child: &mut Child, limit: Duration) -> Option<i32> {
    let mut status = None;
    wait_until("an end", limit, || {
        status = child.try_wait().expect("a child");
        status.is_some()
    });
    status.and_then(|status| status.code())
}

#[test]
fn a_slow_reader_gets_all_at_the_end_of_input() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    // By itself, and through another program.
    for user in ["alice", "carol"] {
        let _carol = (user == "carol").then(|| lo.start("carol", &["listen", "--no-echo"]));
        let mut child = unread(&lo, user, &["--json"]);
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
        assert_eq!(code(&mut child, TIMEOUT), Some(0), "{user}");
        writer.join().expect("a writer").expect("a reader");
    }
    drop(bob);
}

#[test]
fn a_reader_that_stalls_at_the_end_is_told_of_and_a_signal_ends_that() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    for (user, signal) in [("alice", None), ("carol", Some(Signal::SIGTERM))] {
        let mut child = unread(&lo, user, &[]);
        let mut stdin = child.stdin.take().expect("piped");
        let mut input = flood();
        input.extend_from_slice(format!("the last of {user}\n").as_bytes());
        stdin.write_all(&input).expect("a reader");
        drop(stdin);
        wait_line(&bob, &format!(": the last of {user}"));
        let begin = Instant::now();
        if let Some(signal) = signal {
            let pid = i32::try_from(child.id()).expect("a process id");
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("a program");
            assert_eq!(code(&mut child, TIMEOUT), Some(143));
            assert!(begin.elapsed() < Duration::from_millis(2_500));
            continue;
        }
        assert_eq!(code(&mut child, TIMEOUT), Some(1));
        let mut err = String::new();
        let mut stderr = child.stderr.take().expect("piped");
        stderr.read_to_string(&mut err).expect("text");
        assert!(err.contains("stdout was not read to the end"), "{err}");
    }
    // What stdout did not take is the next run's.
    let carol = lo.start("carol", &["--backlog", "1"]);
    wait_line(&carol, ": the last of carol");
}

#[test]
fn a_count_through_another_program_ends_with_a_line_that_was_said_before_its_link() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let listen = lo.start("alice", &["listen", "-n", "1", "-W", "15"]);
    let outcome = run(&lo, "bob", &["send", "hello"]);
    outcome.assert_code(0);
    wait_messages(&alice, &["hello"]);
    let outcome = finish(listen, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["hello"]);
}

#[test]
fn a_line_for_a_room_that_is_not_joined_counts_as_refused() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let input = "{\"type\":\"chat\",\"target\":\"#ops\",\"content\":\"x\"}\n{\"type\":\"chat\",\"content\":\"y\"}\n";
    for through in [false, true] {
        let _alice = through.then(|| lo.start("alice", &["listen"]));
        let outcome = finish(lo.spawn("alice", &["--json"]), input.as_bytes());
        assert_eq!(outcome.code, 1, "{through}: {outcome:?}");
        let form = r##"{"type":"error","code":"room","content":"line 1: not in #ops: "##;
        let error = |line: &String| line.starts_with(form);
        assert!(outcome.out.iter().any(error), "{through}: {outcome:?}");
    }
    // Each of them, also where several are said together.
    let input = "a\n/msg #ops b\n/msg #ops c\n".as_bytes();
    for through in [false, true] {
        let _alice = through.then(|| lo.start("alice", &["listen"]));
        let outcome = finish(lo.spawn("alice", &["--commands"]), input);
        assert_eq!(outcome.code, 1, "{through}: {outcome:?}");
        for number in [2, 3] {
            let form = format!("p2pchat: line {number}: not in #ops: ");
            let told = outcome.err.iter().filter(|line| line.starts_with(&form));
            assert_eq!(told.count(), 1, "{through}: {outcome:?}");
        }
    }
    wait_messages(&bob, &["y", "y", "a", "a"]);
}

#[test]
fn a_stdin_that_cannot_be_read_is_no_end_of_input() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "alice", "--ephemeral", "send"]);
    command.stdin(File::open("/").expect("a folder"));
    let outcome = command.output().expect("an end");
    let err = String::from_utf8_lossy(&outcome.stderr);
    assert_eq!(outcome.status.code(), Some(1), "{err}");
    assert!(err.starts_with("p2pchat: stdin cannot be read: "), "{err}");
}

#[test]
fn a_quit_on_a_pipe_ends_the_run_and_hides_nothing() {
    let Some(lo) = Loopback::new() else { return };
    let told = |line: &String| line.contains("before all lines");
    // By itself, and through another program.
    for through in [false, true] {
        let _alice = through.then(|| lo.start("alice", &["listen"]));
        let run = |input: &[u8]| finish(lo.spawn("alice", &["--commands"]), input);
        let outcome = run(b"a\n/nonsense\n/quit\nb\n");
        outcome.assert_code(1);
        assert_eq!(messages(&outcome.out), ["a"]);
        assert!(outcome.err.iter().any(told), "{outcome:?}");
        // What a script says after it is told of, and no failure.
        let outcome = run(b"c\n/quit\nb\n");
        assert_eq!(
            (outcome.code, &messages(&outcome.out)[..]),
            (0, &["c".to_owned()][..])
        );
        assert!(outcome.err.iter().any(told), "{outcome:?}");
        // Nothing is left over: nothing is told.
        let outcome = run(b"c\n/quit\n");
        outcome.assert_code(0);
        assert!(!outcome.err.iter().any(told), "{outcome:?}");
    }
    // Nobody is told who is not found in time.
    let outcome = finish(lo.spawn("alice", &["--commands"]), b"/msg dave x\n/quit\n");
    outcome.assert_code(1);
}

#[test]
fn a_signal_tells_of_lines_that_stdin_gave_and_nobody_said() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["--ephemeral", "--no-echo"]);
    wait_joined(&alice, "bob");
    let mut stdin = alice.take_stdin();
    // He takes nothing now: her memory is full at some time, and then she reads on no more.
    bob.signal(Signal::SIGSTOP);
    let writer = thread::spawn(move || while stdin.write_all(&flood()).is_ok() {});
    let fd = format!("/proc/{}/io", alice.pid());
    let taken = || {
        let io = std::fs::read_to_string(&fd).expect("a process");
        io.lines().next().map(str::to_owned)
    };
    let (mut before, mut since) = (taken(), Instant::now());
    wait_until("an input that waits", TIMEOUT, || {
        let now = taken();
        if now != before {
            (before, since) = (now, Instant::now());
        }
        since.elapsed() > Duration::from_millis(500)
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

#[test]
fn lines_that_memory_gave_up_before_they_were_read_are_a_gap() {
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
    let outcome = finish(lo.spawn("bob", &["send", "-W", "30"]), &input);
    outcome.assert_code(0);
    let outcome = run(&lo, "bob", &["send", "the last"]);
    outcome.assert_code(0);
    let (mut lines, mut missing) = (0, 0);
    let out = BufReader::new(alice.stdout.take().expect("piped"));
    for line in out.lines().map(|line| line.expect("text")) {
        if line.ends_with(": the last") {
            break;
        }
        lines += usize::from(line.ends_with("brown fox "));
        if let Some((_, rest)) = line.split_once(" - ") {
            let (number, _) = rest.split_once(" lines of bob~").expect("a gap");
            missing += number.parse::<usize>().expect("a number");
        }
    }
    alice.kill().and_then(|()| alice.wait()).expect("an end");
    assert!(missing > 0, "{lines}");
    assert_eq!(lines + missing, LINES * 6);
}

#[test]
fn what_is_gone_with_an_ephemeral_program_is_told() {
    let Some(lo) = Loopback::new() else { return };
    let gone = |lines: &[String]| {
        let told = |line: &&String| line.ends_with("lost with this program");
        lines.iter().filter(told).count()
    };
    let args = ["--ephemeral", "--commands"];
    let outcome = finish(lo.spawn("alice", &args), b"lost\n/quit\n");
    assert_eq!((outcome.code, gone(&outcome.err)), (0, 1), "{outcome:?}");
    // Who said nothing loses nothing.
    let outcome = finish(lo.spawn("alice", &args), b"/quit\n");
    assert_eq!((outcome.code, gone(&outcome.err)), (0, 0), "{outcome:?}");
    let mut alice = lo.start("alice", &args);
    alice.say("lost");
    wait_messages(&alice, &["lost"]);
    alice.signal(Signal::SIGTERM);
    let outcome = finish(alice, b"");
    assert_eq!((outcome.code, gone(&outcome.err)), (143, 1), "{outcome:?}");

    // What another holds is not lost; what it does not hold is.
    let mut bob = lo.start("bob", &["listen"]);
    for lost in [0, 1] {
        let mut alice = lo.start("alice", &["--ephemeral", "--json"]);
        alice
            .out
            .wait_for(TIMEOUT, |line| line.contains(r#""join""#));
        alice.say(r#"{"type":"chat","content":"kept"}"#);
        let delivered = |line: &str| line.contains(r#""delivered""#);
        alice.out.wait_for(TIMEOUT, delivered);
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
            (outcome.code, gone(&outcome.err)),
            (130, lost),
            "{outcome:?}"
        );
    }
}
