//! `sync`: waits until all lines are exchanged with those who are here.
use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::{finish, run, wait_joined, wait_line};

/// Says lines that nobody else gets.
fn say_alone(lo: &Loopback, user: &str, room: &str, lines: usize) {
    let text: String = (1..=lines).map(|i| format!("{user} {i}\n")).collect();
    let send = lo.spawn(user, &["send", "-r", room, "--need", "0", "-W", "0"]);
    finish(send, text.as_bytes()).assert_code(0);
}

/// The number of lines of this room in the history of a user.
fn stored(lo: &Loopback, user: &str, room: &str) -> usize {
    lo.host.history(user, &["-r", room]).lines().count()
}

/// Both hold the same lines afterwards, in all their rooms.
#[test]
fn both_hold_all_lines_of_the_rooms() {
    let Some(lo) = Loopback::new() else { return };
    run(
        &lo,
        "bob",
        &["listen", "-r", "general", "-r", "ops", "-W", "0"],
    );
    say_alone(&lo, "alice", "general", 3_000);
    say_alone(&lo, "alice", "ops", 2);
    say_alone(&lo, "bob", "ops", 2_000);
    let bob = lo.start("bob", &["listen", "-r", "general", "-r", "ops"]);
    let alice = run(&lo, "alice", &["sync", "-W", "20"]);
    alice.assert_code(0);
    assert!(alice.out.is_empty() && alice.err.is_empty(), "{alice:?}");
    drop(bob);
    for user in ["alice", "bob"] {
        assert_eq!(stored(&lo, user, "general"), 3_000, "{user}");
        assert_eq!(stored(&lo, user, "ops"), 2_002, "{user}");
    }
}

/// Nobody there is 69, with and without a running program; somebody who comes late is waited for.
#[test]
fn a_late_peer_is_waited_for() {
    let Some(lo) = Loopback::new() else { return };
    say_alone(&lo, "alice", "general", 2);
    let alone = run(&lo, "alice", &["sync", "-W", "0.3"]);
    alone.assert_code(69);
    assert_eq!(alone.err, ["p2pchat: no peer is connected; none was heard"]);
    let sync = lo.spawn("alice", &["sync", "-W", "20"]);
    let bob = lo.start("bob", &["listen"]);
    finish(sync, b"").assert_code(0);
    assert_eq!(stored(&lo, "bob", "general"), 2);
    drop(bob);
    let alice = lo.start("alice", &["listen"]);
    run(&lo, "alice", &["sync", "-W", "0.3"]).assert_code(69);
    let sync = lo.spawn("alice", &["sync", "-W", "20"]);
    say_alone(&lo, "bob", "general", 1);
    let bob = lo.start("bob", &["listen"]);
    finish(sync, b"").assert_code(0);
    assert_eq!(stored(&lo, "alice", "general"), 3);
    wait_line(&alice, ": bob 1");
    drop(bob);
}

/// A peer that does not answer makes it 75, which names the peer, also beside a running program.
/// It comes and goes unannounced.
#[test]
fn a_slow_peer_is_named() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    run(&lo, "alice", &["sync"]).assert_code(0);
    bob.signal(Signal::SIGSTOP);
    let slow = run(&lo, "alice", &["sync", "-W", "0.5"]);
    slow.assert_code(75);
    let sentence = &slow.err[0];
    assert!(
        sentence.starts_with("p2pchat: bob~")
            && sentence.ends_with(": not all lines are exchanged"),
        "{sentence}"
    );
    bob.signal(Signal::SIGCONT);
    run(&lo, "alice", &["sync"]).assert_code(0);
    run(&lo, "carol", &["sync"]).assert_code(0);
    let is_carol = |line: &String| line.contains("carol");
    assert!(!bob.out.all().iter().any(is_carol), "{:?}", bob.out.all());
}

/// Two that meet only each other both end well: the first one that is done does not leave the other
/// one in doubt.
#[test]
fn two_at_once_both_end_well() {
    let Some(lo) = Loopback::new() else { return };
    for user in ["alice", "bob"] {
        run(&lo, user, &["listen", "-W", "0"]);
    }
    for round in 1..=8 {
        let users = ["alice", "bob"];
        for user in users {
            say_alone(&lo, user, "general", 30);
        }
        let syncs = users.map(|user| lo.spawn(user, &["sync", "-W", "10"]));
        for sync in syncs {
            let outcome = finish(sync, b"");
            outcome.assert_code(0);
            assert!(outcome.duration.as_secs() < 8, "{outcome:?}");
        }
        for user in users {
            assert_eq!(stored(&lo, user, "general"), 60 * round, "{user}");
        }
    }
}

/// There is nothing to exchange in memory.
#[test]
fn without_a_directory_it_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "alice", &["sync", "--ephemeral"]);
    outcome.assert_code(2);
    assert!(outcome.err[0].contains("--ephemeral does not go with sync"));
}
