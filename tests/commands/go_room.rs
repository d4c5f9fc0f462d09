//! `--go-room`: people of p2pchat in Go, played by a Python program, are guests of `#p2pchat-go`.
use std::path::Path;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, run, wait_error_line, wait_joined, wait_line, without_timestamp};

/// Starts a p2pchat in Go. Each two programs have one stream, which the smaller id dials.
fn start_go(lo: &Loopback, name: &str, id: &str) -> Program {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/go_peer.py");
    let mut command = lo.host.command("python3");
    command.arg(script).args([name, id]);
    let program = Program::spawn(name, command);
    wait_line_with(&program, &["READY "]);
    program
}

/// Waits for a line on stdout that contains all these parts.
fn wait_line_with(program: &Program, parts: &[&str]) -> String {
    let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
    program.out.wait_for(TIMEOUT, has_all)
}

/// Whoever dials, both sides talk; a p2pchat beside them is a peer as ever.
#[test]
fn people_of_the_go_program_are_guests() {
    let Some(lo) = Loopback::new() else { return };
    // An id before and one behind all of ours.
    let mut first = start_go(&lo, "first", "a_first");
    let mut alice = lo.start("alice", &["--go-room", "-r", "p2pchat-go", "--commands"]);
    let mut last = start_go(&lo, "last", "z_last");
    for guest in [&first, &last] {
        wait_line(
            &alice,
            &format!("#p2pchat-go * guest/{} joined", guest.name),
        );
        wait_line_with(
            guest,
            &["BEACON", "type=announce", "username=alice", "port="],
        );
    }
    wait_line_with(
        &last,
        &["MESSAGE", "type=join", "username=alice", "room_id=general"],
    );
    let carol = lo.start("carol", &["-r", "p2pchat-go", "listen"]);
    wait_joined(&alice, "carol");
    alice.say("hello guests");
    for guest in [&mut first, &mut last] {
        wait_line_with(guest, &["MESSAGE", "type=chat", "content=hello guests"]);
        guest.say(&format!("from {}", guest.name));
        let line = format!("#p2pchat-go guest/{0}: from {0}", guest.name);
        let shown = wait_line(&alice, &line);
        assert_eq!(without_timestamp(&shown), line);
    }
    wait_line(&carol, ": hello guests");
    last.say("/nick lasse");
    last.say("renamed");
    wait_line(&alice, "#p2pchat-go - guest/lasse was guest/last");
    wait_line(&alice, "#p2pchat-go guest/lasse: renamed");
    let outcome = run(&lo, "alice", &["peers"]);
    let row = outcome
        .out
        .iter()
        .find(|row| row.starts_with("guest/first"));
    let row = row.unwrap_or_else(|| panic!("{outcome:?}"));
    assert!(row.ends_with("\tgo\tknown\t-\t#p2pchat-go\t-"), "{row}");
    alice.say("/msg guest/first psst");
    wait_error_line(&alice, "knows no direct messages");
    first.close_stdin();
    wait_line(&alice, "#p2pchat-go * guest/first left");
    finish(alice, b"");
    wait_line_with(&last, &["MESSAGE", "type=leave"]);
    wait_line_with(&last, &["BEACON", "type=leave"]);
    // A guest's lines are shown and not stored, and not passed on.
    let carol_saw = carol.out.all();
    assert!(
        !carol_saw.iter().any(|line| line.contains("guest/")),
        "{carol_saw:?}"
    );
}

/// Without the option the Go program is named once, and its streams are refused. Two programs with
/// the option are peers, and not guests of each other.
#[test]
fn gateways_are_no_guests_of_each_other() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["--go-room", "listen"]);
    let bob = lo.start("bob", &["--go-room", "-r", "p2pchat-go"]);
    let carol = lo.start("carol", &["-r", "p2pchat-go", "listen"]);
    wait_joined(&alice, "bob");
    wait_joined(&carol, "bob");
    let _first = start_go(&lo, "first", "a_first");
    wait_line(&alice, "#p2pchat-go * guest/first joined");
    wait_error_line(&carol, "it is ignored; --go-room talks to it");
    finish(bob, b"once\n").assert_code(0);
    wait_line(&carol, ": once");
    wait_line(&alice, ": once");
    for program in [&alice, &carol] {
        let lines = program.out.all();
        let guests = lines.iter().filter(|line| line.contains("guest/"));
        assert!(guests.count() <= 1, "{lines:?}");
        let reports = program.err.all();
        assert!(
            !reports.iter().any(|line| line.contains("alice at")),
            "{reports:?}"
        );
    }
}

/// `send` to the room is delivered with a guest.
#[test]
fn send_reaches_the_go_program() {
    let Some(lo) = Loopback::new() else { return };
    let last = start_go(&lo, "last", "z_last");
    let args = ["--go-room", "send", "-r", "p2pchat-go", "hello"];
    run(&lo, "bob", &args).assert_code(0);
    wait_line_with(&last, &["MESSAGE", "type=chat", "content=hello"]);
}
