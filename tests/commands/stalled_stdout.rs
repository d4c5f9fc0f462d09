//! A stalled reader of stdout: peers stay fast, memory stays bounded, commands are executed, and
//! the reader gets every line in the end.

use std::io::{BufRead as _, BufReader, PipeReader, PipeWriter, Write as _};
use std::process::Stdio;
use std::time::Duration;

use crate::backlog::{StoredLine, fill, numbers, read_until, wait_full};
use crate::hosts::host::Loopback;
use crate::hosts::program::{Program, TIMEOUT, peak};
use crate::hosts::wait::wait_until;
use crate::wait_line;

const LINES: usize = 100_000;
/// Limit of peak resident memory in kB.
const PEAK_RSS_MAX_KB: u64 = 16 * 1024;

fn line(number: usize) -> String {
    format!(
        "{number:06} {}",
        "the quick brown fox ".repeat(1 + number % 4)
    )
}

/// A listener whose stdout stalls still stores and acknowledges 100 000 lines within bounded
/// memory, and prints all of them once the reader continues.
#[test]
fn a_stalled_reader_delays_nobody_and_loses_nothing() {
    let Some(lo) = Loopback::new() else { return };
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob", "listen"]);
    command.env("P2PCHAT_DIR", lo.host.folder("bob"));
    command.stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut bob = command.spawn().expect("bob");
    let mut ready = String::new();
    let mut err = BufReader::new(bob.stderr.take().expect("piped"));
    err.read_line(&mut ready).expect("a line");
    assert!(ready.starts_with("p2pchat: ready as bob~"), "{ready}");

    // Nobody reads bob's stdout now. He still stores all lines and acknowledges them.
    let mut alice = lo.spawn("alice", &["send", "-W", "60"]);
    let mut stdin = alice.take_stdin();
    for number in 0..LINES {
        writeln!(stdin, "{}", line(number)).expect("a program that reads");
    }
    drop(stdin);
    assert_eq!(alice.wait_code(3 * TIMEOUT), 0, "{:?}", alice.err.all());
    // He still acknowledges new lines.
    let mut alice = lo.spawn("alice", &["send", "-W", "5", "still there?"]);
    assert_eq!(alice.wait_code(TIMEOUT), 0, "{:?}", alice.err.all());
    let peak = peak(bob.id());
    assert!(peak <= PEAK_RSS_MAX_KB, "{peak} kB");

    let mut transcript = BufReader::new(bob.stdout.take().expect("piped")).lines();
    for number in 0..LINES {
        let printed = transcript.next().expect("a line").expect("text");
        let content = printed.split_once(": ").map(|(_, content)| content);
        assert_eq!(content, Some(line(number).as_str()), "{printed}");
    }
    let last = transcript.next().expect("a line").expect("text");
    assert!(last.ends_with(": still there?"), "{last}");

    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(bob.id()).expect("a process id")),
        nix::sys::signal::Signal::SIGTERM,
    )
    .expect("a program that runs");
    wait_until("bob ends", Duration::from_secs(5), || {
        bob.try_wait().expect("a child").is_some()
    });
    assert!(transcript.next().is_none(), "a repeated line");
}

/// More lines than the pipe and the queue of stdout hold.
const STORED_LINES: u64 = 8_000;

/// Lines of #general, and two further ones.
fn stored_lines(further: [StoredLine; 2]) -> impl Iterator<Item = StoredLine> {
    let line = |n: u64| (2 + (n % 2) as u8, "#general", 100 + n);
    (0..STORED_LINES - 2).map(line).chain(further)
}

/// The rooms of the tests below.
const ROOMS: [&str; 6] = ["-r", "general", "-r", "ops", "-r", "tools"];

/// A chat of bob in #general with a backlog, and both ends of its stdout, which is full.
fn start_stalled_chat(lo: &Loopback) -> (Program, PipeReader, PipeWriter) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob"]);
    command.args(["--commands", "--backlog", "1000000"]);
    command.env("P2PCHAT_DIR", lo.host.folder("bob"));
    let out = writer.try_clone().expect("a pipe").into();
    let bob = Program::spawn_into("bob", command, out);
    wait_full(&writer);
    (bob, reader, writer)
}

/// While the reader of a backlog stalls, rooms are joined and left at once, and lines are sent. The
/// reader then gets the backlog of each room, and the lines said before /part.
#[test]
fn a_stalled_backlog_holds_up_no_commands() {
    let Some(lo) = Loopback::new() else { return };
    fill(
        &lo,
        false,
        stored_lines([(2, "#ops", 90), (3, "#tools", 80)]),
    );
    let alice = lo.start("alice", &[&["listen"], &ROOMS[..]].concat());
    let (mut bob, reader, writer) = start_stalled_chat(&lo);
    for (command, line) in [
        ("/join ops", "in ops"),
        ("/join tools", "in tools"),
        ("/part", "again in ops"),
        ("/part ops", "in general"),
    ] {
        bob.say(command);
        bob.say(line);
        wait_line(&alice, &format!(": {line}"));
    }
    alice.out.wait_for(TIMEOUT, |line| {
        line.contains(" #tools * bob~") && line.ends_with(" left")
    });
    drop(writer);
    // Room by room, because the lines wait in the store.
    let printed = read_until(&mut BufReader::new(reader), ": in tools");
    let of_bob: Vec<&str> = printed
        .iter()
        .filter_map(|line| line.split_once(": ").map(|(_, text)| text))
        .filter(|text| !text.starts_with("line "))
        .collect();
    assert_eq!(of_bob, ["in general", "in ops", "again in ops", "in tools"]);
    assert_eq!(
        sorted(numbers(&printed)),
        (0..STORED_LINES).collect::<Vec<_>>()
    );
}

/// A client that takes over prints the backlog of a room that it has joined meanwhile.
#[test]
fn a_backlog_that_waits_survives_a_takeover() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, false, stored_lines([(2, "#ops", 90), (3, "#ops", 80)]));
    let alice = lo.start("alice", &[&["listen"], &ROOMS[..]].concat());
    let mut server = lo.start("bob", &["listen", "-r", "tools"]);
    let (mut bob, reader, writer) = start_stalled_chat(&lo);
    bob.say("/join ops");
    bob.say("before");
    wait_line(&alice, ": before");
    server.kill();
    bob.say("after");
    wait_line(&alice, ": after");
    drop(writer);
    let printed = read_until(&mut BufReader::new(reader), ": after");
    assert_eq!(
        sorted(numbers(&printed)),
        (0..STORED_LINES).collect::<Vec<_>>()
    );
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}
