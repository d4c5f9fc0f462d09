//! The contract with scripts, command by command: exit statuses, stdout and stderr of the real
//! program.
//!
//! Each test has a host of its own with loopback only.

#[path = "../support/folders/mod.rs"]
mod folders;
#[path = "../support/hosts/mod.rs"]
mod hosts;

mod attach;
mod backlog;
mod blocks;
mod chat;
mod closed_network;
mod control_socket;
mod descriptors;
mod direct;
mod directory;
#[cfg(feature = "doctor")]
mod doctor;
mod drain;
mod exit;
mod filter;
mod format;
#[cfg(feature = "guests")]
mod go_room;
#[cfg(feature = "grenache")]
mod grenache;
#[cfg(feature = "grenache")]
mod grenache_lines;
mod help;
mod history;
mod hostile;
#[cfg(feature = "invite")]
mod invites;
mod json;
mod listen;
#[cfg(feature = "guests")]
mod lsnp;
mod newcomers;
mod news;
mod peers;
#[cfg(feature = "profile")]
mod profile;
mod readers;
mod reload;
mod restart;
mod send;
#[cfg(feature = "systemd")]
mod service;
mod signals;
mod stalled_stdout;
mod streams;
mod sync;
mod takeover;
mod timing;
mod trust;
mod unbuilt;

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use hosts::host::Loopback;
use hosts::program::{Program, TIMEOUT};
use hosts::wait::wait_until;

/// The exit status, the output and the duration of one run.
#[derive(Debug)]
pub struct Outcome {
    /// The exit status.
    pub code: i32,
    /// The lines of stdout.
    pub out: Vec<String>,
    /// The lines of stderr.
    pub err: Vec<String>,
    /// From the first byte of input to the end of the run.
    pub duration: Duration,
}

/// Writes `input` to stdin, closes it, and waits for the end of the run.
pub fn finish(mut program: Program, input: &[u8]) -> Outcome {
    let begin = Instant::now();
    // A program that does not read stdin may have ended already.
    let _ = program.take_stdin().write_all(input);
    let code = program.wait_code(TIMEOUT);
    Outcome {
        code,
        out: program.out.wait_end(TIMEOUT),
        err: program.err.wait_end(TIMEOUT),
        duration: begin.elapsed(),
    }
}

impl Outcome {
    /// Asserts the exit status.
    ///
    /// # Panics
    /// The status differs; the message shows the whole outcome.
    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.code, code, "{self:?}");
    }
}

/// Runs the program without input, and waits for its end.
pub fn run(lo: &Loopback, user: &str, arguments: &[&str]) -> Outcome {
    finish(lo.spawn(user, arguments), b"")
}

/// A transcript line without its timestamp `2026-11-21T10:31:04.123Z `.
///
/// # Panics
/// The line does not begin with such a timestamp.
pub fn without_timestamp(line: &str) -> &str {
    let form: String = line
        .chars()
        .take(25)
        .map(|c| if c.is_ascii_digit() { '0' } else { c })
        .collect();
    assert_eq!(form, "0000-00-00T00:00:00.000Z ", "{line}");
    &line[25..]
}

/// The texts of the chat lines, in order.
pub fn messages(lines: &[String]) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| without_timestamp(line).split_once(": "))
        .map(|(_, content)| content.to_owned())
        .collect()
}

/// Waits for as many chat lines as expected.
///
/// # Panics
/// Their texts differ from the expected ones.
pub fn wait_messages(program: &Program, expected: &[&str]) {
    program
        .out
        .wait_all(TIMEOUT, |lines| messages(lines).len() >= expected.len());
    assert_eq!(
        messages(&program.out.all()),
        expected,
        "at {}",
        program.name
    );
}

/// Waits for a line on stdout that ends with `end`, and returns it.
pub fn wait_line(program: &Program, end: &str) -> String {
    program.out.wait_for(TIMEOUT, |line| line.ends_with(end))
}

/// Waits for a line on stderr that ends with `end`.
pub fn wait_error_line(program: &Program, end: &str) {
    program.err.wait_for(TIMEOUT, |line| line.ends_with(end));
}

/// Waits until a client has connected to this program, accepted or not: its directory then has a
/// second socket beside the listening one.
pub fn wait_client(lo: &Loopback, server: &Program) {
    let folder = lo.host.folder(&server.name).to_string_lossy().into_owned();
    wait_until("a client connects", TIMEOUT, || {
        let sockets = fs::read_to_string(format!("/proc/{}/net/unix", server.pid()));
        let sockets = sockets.expect("the sockets of the namespace");
        let lines = sockets.lines().filter(|line| line.contains(&folder));
        lines.count() > 1
    });
}

/// Waits until this program prints that a peer of this name joined.
pub fn wait_joined(program: &Program, nick: &str) {
    program.out.wait_for(TIMEOUT, |line| {
        line.contains(&format!(" * {nick}~")) && line.ends_with(" joined")
    });
}

/// Waits until this process sleeps: it has done all that it can without further input.
pub fn wait_asleep(pid: u32) {
    let stat = format!("/proc/{pid}/stat");
    let mut before = (String::new(), 0);
    wait_until("the program sleeps", TIMEOUT, || {
        let now = fs::read_to_string(&stat).expect("a process");
        let unchanged = if now == before.0 { before.1 + 1 } else { 0 };
        before = (now, unchanged);
        before.0.contains(" S ") && unchanged > 50
    });
}
