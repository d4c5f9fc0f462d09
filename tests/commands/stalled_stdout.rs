//! A stalled reader of stdout: peers stay fast, memory stays bounded, and the reader gets every
//! line in the end.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::Stdio;
use std::time::Duration;

use crate::hosts::host::Loopback;
use crate::hosts::program::{TIMEOUT, peak};
use crate::hosts::wait::wait_until;

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
