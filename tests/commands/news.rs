//! News: what was said after the first chat or `listen` of a directory in a room is printed once,
//! whoever brings it and whenever; older lines are history.
use std::fs;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

/// Waits until this directory stores a line with this text.
fn wait_stored(lo: &Loopback, user: &str, text: &str) {
    let segment = lo
        .host
        .folder(user)
        .join("history/open/#general/000001.ndjson");
    wait_until("the line is stored", TIMEOUT, || {
        let lines = fs::read_to_string(&segment).unwrap_or_default();
        lines.contains(&format!("\"{text}\""))
    });
}

/// A fresh `listen` that met nobody leaves the history of the LAN unprinted at its second run,
/// from authors that run and from one that has ended.
#[test]
fn a_first_run_alone_makes_no_history_news() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let old: String = (1..=500).map(|n| format!("old {n}\n")).collect();
    finish(lo.spawn("carol", &["send"]), old.as_bytes()).assert_code(0);
    alice.say("old");
    wait_line(&alice, ": old");
    run(&lo, "bob", &["listen", "-m", "none", "-W", "0.2"]).assert_code(0);
    alice.say("between");
    wait_line(&alice, ": between");
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    alice.say("now");
    wait_line(&bob, ": now");
    wait_stored(&lo, "bob", "old 500");
    assert_eq!(messages(&bob.out.all()), ["between", "now"]);
    // The next run has nothing left to print, and the history has everything.
    finish_by_signal(bob);
    let again = run(&lo, "bob", &["listen", "-W", "0.3"]);
    assert_eq!(messages(&again.out), [""; 0]);
    assert_eq!(run(&lo, "bob", &["history"]).out.len(), 503);
}

fn finish_by_signal(program: Program) {
    program.signal(nix::sys::signal::Signal::SIGTERM);
    finish(program, b"");
}

/// A `listen` in its first run prints what a sensor had stored before the two met.
#[test]
fn lines_that_a_sensor_stored_are_news() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    for text in ["stored 1", "stored 2"] {
        run(&lo, "sensor", &["send", "-m", "none", "-W", "0.1", text]).assert_code(69);
    }
    run(&lo, "sensor", &["send", "sent"]).assert_code(0);
    wait_messages(&bob, &["stored 1", "stored 2", "sent"]);
}

/// The first lines of a sensor that stored them before the reader's first run are history.
#[test]
fn lines_stored_before_the_reader_began_are_history() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "sensor", &["send", "-m", "none", "-W", "0.1", "early"]).assert_code(69);
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "sensor", &["send", "sent"]).assert_code(0);
    wait_messages(&bob, &["sent"]);
    assert_eq!(run(&lo, "bob", &["history"]).out.len(), 2);
}

/// An author that talks while a reader appears: from the first line after the beginning on, none
/// is missing, though the link stands only later.
#[test]
fn lines_said_while_the_link_is_established_are_news() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut said = 0;
    let mut say = |alice: &mut Program| {
        said += 1;
        alice.say(&format!("line {said}"));
        std::thread::sleep(std::time::Duration::from_millis(1));
        said
    };
    for _ in 0..50 {
        say(&mut alice);
    }
    let bob = lo.spawn("bob", &["listen"]);
    // Bob's reader begins before bob says that it is ready.
    wait_until("bob is ready", TIMEOUT, || {
        say(&mut alice);
        !bob.err.all().is_empty()
    });
    let first_after = say(&mut alice);
    let mut last = 0;
    for _ in 0..50 {
        last = say(&mut alice);
    }
    wait_line(&bob, &format!(": line {last}"));
    let printed = messages(&bob.out.all());
    let number = |line: &String| line.rsplit(' ').next()?.parse::<u64>().ok();
    let numbers: Vec<u64> = printed.iter().filter_map(number).collect();
    let first = numbers[0];
    assert!(50 < first && first <= first_after, "{first}, {first_after}");
    assert_eq!(numbers, (first..=last).collect::<Vec<u64>>());
}

/// `send`, `peers` and `history` begin no reader: what comes before the first `listen` is history,
/// also what they have stored themselves.
#[test]
fn only_chat_and_listen_begin_a_reader() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    run(&lo, "bob", &["send", "hello"]).assert_code(0);
    let reader = lo.host.folder("bob").join("history/open/#general/reader");
    alice.say("unread");
    wait_line(&alice, ": unread");
    run(&lo, "bob", &["send", "again"]).assert_code(0);
    run(&lo, "bob", &["peers", "-W", "0.2"]).assert_code(0);
    run(&lo, "bob", &["history"]).assert_code(0);
    assert!(!reader.exists());
    let bob = lo.start("bob", &["listen"]);
    assert!(reader.exists());
    wait_joined(&alice, "bob");
    alice.say("read");
    wait_messages(&bob, &["read"]);
}

/// A `listen` that acts through a running `send` begins the reader as well, and the program that
/// takes over goes on with it.
#[test]
fn a_listen_through_a_running_send_begins_the_reader() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut send = lo.spawn("bob", &["send"]);
    send.say("first");
    wait_line(&alice, ": first");
    alice.say("unread");
    wait_stored(&lo, "bob", "unread");
    let bob = lo.start("bob", &["listen", "--no-echo"]);
    alice.say("read");
    wait_messages(&bob, &["read"]);
    send.close_stdin();
    send.wait_code(TIMEOUT);
    wait_joined(&alice, "bob");
    alice.say("read later");
    wait_messages(&bob, &["read", "read later"]);
    finish_by_signal(bob);
    let again = run(&lo, "bob", &["listen", "-W", "0.3"]);
    assert_eq!(messages(&again.out), [""; 0]);
}

/// A run with `-n` prints what is said while it runs, and leaves older news to the next run, which
/// does not print the same line again: alone, with a name, and attached.
#[test]
fn older_news_outlasts_a_run_of_a_number_of_lines() {
    let Some(lo) = Loopback::new() else { return };
    let alice = &mut lo.start("alice", &[]);
    for (user, reader) in [("bob", &[][..]), ("carol", &["--as", "one"][..])] {
        let listen = |options: &[&'static str]| [&["listen"], reader, options].concat();
        run(&lo, user, &listen(&["-W", "0.2"])).assert_code(0);
        let older = format!("older {user}");
        alice.say(&older);
        wait_line(alice, &format!(": {older}"));
        let mut said = Vec::new();
        for n in 1..=2 {
            let one = lo.start(user, &listen(&["-n", "1", "-W", "20"]));
            wait_stored(&lo, user, &older);
            said.push(format!("live {n} {user}"));
            alice.say(&said[n - 1]);
            let outcome = finish(one, b"");
            assert_eq!(messages(&outcome.out), said[n - 1..], "{user}");
            outcome.assert_code(0);
        }
        let next = run(&lo, user, &listen(&["-W", "1"]));
        assert_eq!(messages(&next.out), [older], "{user}");
        let again = run(&lo, user, &listen(&["-W", "0.3"]));
        assert_eq!(messages(&again.out), [""; 0], "{user}");
    }
}
