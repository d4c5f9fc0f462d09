//! What kind of file stdin, stdout and stderr are, and what becomes of their readers.
use std::io::{BufRead as _, BufReader, Read as _, pipe};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};
use super::{finish, run};

/// More than a pipe and the buffers of a program hold together.
const LINES: usize = 4_000;

fn command(lo: &Loopback, user: &str, arguments: &[&str]) -> std::process::Command {
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command
        .args(["--interface", "lo", "-u", user])
        .args(arguments);
    command.env("P2PCHAT_DIR", lo.host.folder(user));
    command
}

/// `history` waits for a slow reader also where its parent has made the pipe non-blocking, as
/// node and bun do.
#[test]
fn history_waits_for_the_reader_of_a_nonblocking_pipe() {
    let Some(lo) = Loopback::new() else { return };
    let input = "a line of some length, to fill the pipe\n".repeat(LINES);
    let send = lo.spawn("bob", &["send", "-q", "--need", "0"]);
    finish(send, input.as_bytes()).assert_code(0);
    for arguments in [&["history"][..], &["history", "--json"]] {
        let (mut reader, writer) = pipe().expect("a pipe");
        fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("flags");
        let history = command(&lo, "bob", arguments);
        let mut history = Program::spawn_into("bob", history, Stdio::from(writer));
        let (mut lines, mut buffer) = (0, [0; 8192]);
        loop {
            thread::sleep(Duration::from_millis(1));
            let n = reader.read(&mut buffer).expect("bytes");
            lines += buffer[..n].iter().filter(|byte| **byte == b'\n').count();
            if n == 0 {
                break;
            }
        }
        assert_eq!(history.wait_code(TIMEOUT), 0, "{:?}", history.err.all());
        assert_eq!(lines, LINES);
    }
}

/// `listen` ends with 141 when its reader hangs up, and does not wait for a line: alone and
/// attached, with a pipe and with a socket.
#[test]
fn listen_ends_when_its_reader_hangs_up() {
    let Some(lo) = Loopback::new() else { return };
    let _carol = lo.start("carol", &["listen"]);
    for user in ["alice", "carol"] {
        let arguments = ["listen", "--json"];
        let (reader, writer) = pipe().expect("a pipe");
        let mut listen =
            Program::spawn_into(user, command(&lo, user, &arguments), Stdio::from(writer));
        let mut reader = BufReader::new(reader);
        reader.read_line(&mut String::new()).expect("ready");
        drop(reader);
        assert_eq!(listen.wait_code(TIMEOUT), 141, "{:?}", listen.err.all());

        let (reader, writer) = UnixStream::pair().expect("sockets");
        let writer = std::os::fd::OwnedFd::from(writer);
        let mut listen =
            Program::spawn_into(user, command(&lo, user, &arguments), Stdio::from(writer));
        let mut reader = BufReader::new(reader);
        reader.read_line(&mut String::new()).expect("ready");
        drop(reader);
        assert_eq!(listen.wait_code(TIMEOUT), 141, "{:?}", listen.err.all());
    }
}

/// `listen -n 1` ends with 0 when its reader takes the line and hangs up, as `head -1` does: alone
/// and attached, with a pipe and with a socket.
#[test]
fn a_reader_that_leaves_with_the_last_line_is_no_failure() {
    let Some(lo) = Loopback::new() else { return };
    let say = || run(&lo, "alice", &["send", "--need", "1", "hi"]).assert_code(0);
    let listen = |writer: Stdio, reader: Box<dyn std::io::Read + Send>| {
        let arguments = ["listen", "-n1", "-W9"];
        let mut listen = Program::spawn_into("bob", command(&lo, "bob", &arguments), writer);
        listen.wait_ready();
        let head = thread::spawn(|| {
            let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
            lines.find(|line| line.ends_with(": hi")).expect("a line");
        });
        say();
        head.join().expect("a reader");
        assert_eq!(listen.wait_code(TIMEOUT), 0, "{:?}", listen.err.all());
    };
    let listen_often = || {
        // The hang-up comes before or after the end of the turn that prints the line.
        for _ in 0..8 {
            let (reader, writer) = pipe().expect("a pipe");
            listen(writer.into(), Box::new(reader));
            let (reader, writer) = UnixStream::pair().expect("sockets");
            let writer = std::os::fd::OwnedFd::from(writer);
            listen(writer.into(), Box::new(reader));
        }
    };
    listen_often();
    let _bob = lo.start("bob", &["listen"]);
    listen_often();
}

/// An error of stdin or stdout has the text of its number, not that of a class of errors.
#[test]
fn an_error_of_a_stream_has_its_own_text() {
    let Some(lo) = Loopback::new() else { return };
    let full = std::fs::File::create("/dev/full").expect("a device");
    let chat = command(&lo, "alice", &["--json", "-q"]);
    let mut chat = Program::spawn_into("alice", chat, full.into());
    assert_eq!(chat.wait_code(TIMEOUT), 1);
    let sentence = "p2pchat: stdout cannot be written: No space left on device (os error 28)";
    assert_eq!(chat.err.wait_end(TIMEOUT), [sentence]);

    let mut shell = lo.host.command("sh");
    let script = "exec \"$0\" --interface lo -q --ephemeral -W 0 </";
    shell.args(["-c", script, env!("CARGO_BIN_EXE_p2pchat")]);
    let outcome = finish(Program::spawn("alice", shell), b"");
    outcome.assert_code(1);
    let sentence = "p2pchat: stdin cannot be read: Is a directory (os error 21)";
    assert!(
        outcome.err.iter().any(|line| line == sentence),
        "{outcome:?}"
    );
    run(&lo, "alice", &["whoami"]).assert_code(0);
}
