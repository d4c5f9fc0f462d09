//! Forks: two programs with one identity, and a restored backup. After fork repair every line
//! exists once.
use std::fs;

use nix::sys::signal::Signal;

use super::hosts::command::run;
use super::hosts::host::Host;
use super::hosts::lan::Lan;
use super::hosts::program::Program;
use super::{
    PEER_TIMEOUT, TIMEOUT, finish, messages, say_and_wait, wait_joined, wait_messages,
    wait_same_history,
};

/// Copies one user's directory to another host or user name.
fn copy(from: (&Host, &str), to: (&Host, &str)) {
    let (from, to) = (from.0.folder(from.1), to.0.folder(to.1));
    run(&format!("cp -a {} {}", from.display(), to.display()));
}

/// Ends a program by SIGTERM, with a goodbye.
fn stop(program: Program) {
    program.signal(Signal::SIGTERM);
    finish(program);
}

/// Two programs with one identity are both warned. Peers print the lines of both once, and the
/// histories become equal.
#[test]
fn a_duplicate_identity_is_reported_on_both_sides() {
    let Some(lan) = Lan::new(3) else { return };
    let [here, there] = [&lan.hosts[0], &lan.hosts[1]];
    stop(here.start("alice", &[]));
    copy((here, "alice"), (there, "alice"));
    let mut bob = lan.hosts[2].start("bob", &[]);
    let mut first = here.start("alice", &[]);
    wait_joined(&bob, "alice");
    let mut second = there.start("alice", &[]);
    for program in [&first, &second] {
        let is_warning = |line: &str| line.contains("WARNING: two programs");
        program.err.wait_for(TIMEOUT, is_warning);
    }
    // Bob stays linked with the first program. After its end he links with the second one, and
    // gets all its lines.
    say_and_wait(&mut first, "of the first", &[&bob]);
    let mut expected = vec!["of the first", "of the second, unheard"];
    second.say("of the second, unheard");
    let is_own_line = |line: &str| line.ends_with(": of the second, unheard");
    second.out.wait_for(TIMEOUT, is_own_line);
    first.kill();
    wait_messages(&bob, "alice", &expected, PEER_TIMEOUT + TIMEOUT);
    say_and_wait(&mut second, "of the second", &[&bob]);
    say_and_wait(&mut bob, "of bob", &[&second]);
    stop(second);
    // The first program gets the lines that the second one published under the same identity.
    let mut first = here.start("alice", &[]);
    first
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": of bob"));
    say_and_wait(&mut first, "of the first again", &[&bob]);
    expected.extend(["of the second", "of the first again"]);
    wait_messages(&bob, "alice", &expected, TIMEOUT);
    stop(first);
    let second = there.start("alice", &[]);
    wait_joined(&bob, "alice");
    let users = [(2, "bob"), (0, "alice"), (1, "alice")];
    let history = wait_same_history(&lan, &users, expected.len() + 1);
    // Both numbered their lines independently, so the order between them is free.
    let mut stored = messages(&history, "alice");
    stored.sort();
    expected.sort_unstable();
    assert_eq!(stored, expected);
    drop(second);
}

/// Backs up alice's directory, publishes more lines, restores the backup, and publishes again.
/// `while_up`: the backup is made while the program runs.
fn restore_backup(while_up: bool) {
    let Some(lan) = Lan::new(3) else { return };
    let host = &lan.hosts[0];
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    let all: Vec<String> = (0..25).map(|n| format!("alice {n}")).collect();
    let mut alice = host.start("alice", &[]);
    all[..10].iter().for_each(|line| alice.say(line));
    let texts: Vec<&str> = all.iter().map(String::as_str).collect();
    for program in [&bob, &carol] {
        wait_messages(program, "alice", &texts[..10], TIMEOUT);
    }
    let make_backup = || copy((host, "alice"), (host, "backup"));
    if while_up {
        make_backup();
        stop(alice);
    } else {
        stop(alice);
        make_backup();
    }
    let mut alice = host.start("alice", &[]);
    all[10..20].iter().for_each(|line| alice.say(line));
    for program in [&bob, &carol] {
        wait_messages(program, "alice", &texts[..20], TIMEOUT);
    }
    stop(alice);
    let folder = host.folder("alice");
    fs::remove_dir_all(&folder).expect("a folder");
    fs::rename(host.folder("backup"), &folder).expect("a backup");
    let mut alice = host.spawn("alice", &[]);
    // She publishes before a peer can report that her sequences are in use.
    all[20..].iter().for_each(|line| alice.say(line));
    for program in [&bob, &carol] {
        wait_messages(program, "alice", &texts, TIMEOUT);
    }
    let users = [(1, "bob"), (2, "carol"), (0, "alice")];
    // She has all lost lines again before the next line is said.
    wait_same_history(&lan, &users, 25);
    say_and_wait(&mut alice, "goes on", &[&bob, &carol]);
    let history = wait_same_history(&lan, &users, 26);
    // Lines published before the repair lie beside the lost ones, in any order.
    let history = messages(&history, "alice");
    assert_eq!(history[..10], all[..10]);
    assert_eq!(history[25], "goes on");
    let (lost, new): (Vec<_>, Vec<_>) = history[10..25]
        .iter()
        .partition(|line| all[10..20].contains(line));
    assert!(lost.into_iter().eq(&all[10..20]) && new.into_iter().eq(&all[20..]));
}

/// A restored backup: the lines lost with the old directory return, and new lines are
/// republished.
#[test]
fn a_restored_backup_is_repaired() {
    restore_backup(false);
}

/// The same for a backup made while the program ran.
#[test]
fn a_backup_of_a_running_program_is_repaired() {
    restore_backup(true);
}
