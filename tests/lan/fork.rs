//! Copied directories: two programs under one identity, and a backup that is put back. Nothing is lost, nothing comes twice.
use std::fs;

use nix::sys::signal::Signal;

use super::hosts::program::Program;
use super::hosts::{Host, Lan, run};
use super::{
    PEER_TIMEOUT, TIMEOUT, finish, messages, say_and_wait, wait_joined, wait_messages,
    wait_same_history,
};

/// Copies what this user keeps on one host to another, or beside it.
fn copy(from: (&Host, &str), to: (&Host, &str)) {
    let (from, to) = (from.0.folder(from.1), to.0.folder(to.1));
    run(&format!("cp -a {} {}", from.display(), to.display()));
}

fn stop(program: Program) {
    program.signal(Signal::SIGTERM);
    finish(program);
}

#[test]
fn two_programs_of_one_identity_are_told_so() {
    let Some(lan) = Lan::new(3) else { return };
    let [here, there] = [&lan.hosts[0], &lan.hosts[1]];
    stop(here.start("alice", &[]));
    copy((here, "alice"), (there, "alice"));
    let mut bob = lan.hosts[2].start("bob", &[]);
    let mut first = here.start("alice", &[]);
    wait_joined(&bob, "alice");
    let mut second = there.start("alice", &[]);
    for program in [&first, &second] {
        let told = |line: &str| line.contains("WARNING: two programs");
        program.err.wait_for(TIMEOUT, told);
    }
    // The one that was there first is heard, and after its end the other one, with all that it said meanwhile.
    say_and_wait(&mut first, "of the first", &[&bob]);
    let mut expected = vec!["of the first", "of the second, unheard"];
    second.say("of the second, unheard");
    let own = |line: &str| line.ends_with(": of the second, unheard");
    second.out.wait_for(TIMEOUT, own);
    first.kill();
    wait_messages(&bob, "alice", &expected, PEER_TIMEOUT + TIMEOUT);
    say_and_wait(&mut second, "of the second", &[&bob]);
    say_and_wait(&mut bob, "of bob", &[&second]);
    stop(second);
    // The first one gets what the other said in its name.
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
    // Each counted on by itself: the order between them is nobody's.
    let mut held = messages(&history, "alice");
    held.sort();
    expected.sort_unstable();
    assert_eq!(held, expected);
    drop(second);
}

/// `while_up`: the backup is made while the program runs.
fn put_back(while_up: bool) {
    let Some(lan) = Lan::new(3) else { return };
    let box_of_alice = &lan.hosts[0];
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    let all: Vec<String> = (0..25).map(|n| format!("alice {n}")).collect();
    let mut alice = box_of_alice.start("alice", &[]);
    all[..10].iter().for_each(|line| alice.say(line));
    let held: Vec<&str> = all.iter().map(String::as_str).collect();
    for program in [&bob, &carol] {
        wait_messages(program, "alice", &held[..10], TIMEOUT);
    }
    let back_up = || copy((box_of_alice, "alice"), (box_of_alice, "backup"));
    if while_up {
        back_up();
        stop(alice);
    } else {
        stop(alice);
        back_up();
    }
    let mut alice = box_of_alice.start("alice", &[]);
    all[10..20].iter().for_each(|line| alice.say(line));
    for program in [&bob, &carol] {
        wait_messages(program, "alice", &held[..20], TIMEOUT);
    }
    stop(alice);
    let folder = box_of_alice.folder("alice");
    fs::remove_dir_all(&folder).expect("a folder");
    fs::rename(box_of_alice.folder("backup"), &folder).expect("a backup");
    let mut alice = box_of_alice.spawn("alice", &[]);
    // She speaks before anybody can tell her that her numbers are used.
    all[20..].iter().for_each(|line| alice.say(line));
    for program in [&bob, &carol] {
        wait_messages(program, "alice", &held, TIMEOUT);
    }
    let users = [(1, "bob"), (2, "carol"), (0, "alice")];
    // What she has not got back yet, she does not speak behind.
    wait_same_history(&lan, &users, 25);
    say_and_wait(&mut alice, "goes on", &[&bob, &carol]);
    let history = wait_same_history(&lan, &users, 26);
    // What she said before she heard what she had lost stands beside it.
    let history = messages(&history, "alice");
    assert_eq!(history[..10], all[..10]);
    assert_eq!(history[25], "goes on");
    let (lost, new): (Vec<_>, Vec<_>) = history[10..25]
        .iter()
        .partition(|line| all[10..20].contains(line));
    assert!(lost.into_iter().eq(&all[10..20]) && new.into_iter().eq(&all[20..]));
}

#[test]
fn a_backup_that_is_put_back() {
    put_back(false);
}

#[test]
fn a_backup_of_a_program_that_ran() {
    put_back(true);
}
