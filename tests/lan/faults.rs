//! Cables cut, boxes that vanish, programs that freeze: shown in time, and nothing is lost.
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::Lan;
use super::{
    PEER_TIMEOUT, TIMEOUT, count_events, messages, say_and_wait, wait_event, wait_mesh,
    wait_messages,
};

/// Alice is alone for so long that she is shown as left; then she is back, and everybody has all that was said meanwhile.
fn part_and_heal(part: impl Fn(&Lan), heal: impl Fn(&Lan)) {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "one", &[&bob, &carol]);
    part(&lan);
    let cut = Instant::now();
    alice.say("two");
    alice.say("three");
    bob.say("uno");
    carol.out.wait_for(TIMEOUT, |line| line.ends_with(": uno"));
    for (at, gone) in [
        (&bob, "alice"),
        (&carol, "alice"),
        (&alice, "bob"),
        (&alice, "carol"),
    ] {
        wait_event(
            at,
            gone,
            "left",
            1,
            PEER_TIMEOUT.saturating_sub(cut.elapsed()),
        );
    }
    alice.say("four");
    heal(&lan);
    for program in [&bob, &carol] {
        wait_event(program, "alice", "joined", 2, TIMEOUT);
        wait_messages(program, "alice", &["one", "two", "three", "four"], TIMEOUT);
    }
    wait_messages(&alice, "bob", &["uno"], TIMEOUT);
    say_and_wait(&mut alice, "five", &[&bob, &carol]);
    say_and_wait(&mut bob, "dos", &[&alice, &carol]);
    let expected = ["one", "two", "three", "four", "five"];
    for program in [&bob, &carol] {
        assert_eq!(messages(&program.out.all(), "alice"), expected);
        assert_eq!(count_events(&program.out.all(), "alice", "joined"), 2);
    }
    assert_eq!(messages(&carol.out.all(), "bob"), ["uno", "dos"]);
    assert_eq!(count_events(&carol.out.all(), "bob", "left"), 0);
}

#[test]
fn a_cable_that_is_cut_and_plugged_in_again() {
    part_and_heal(|lan| lan.cut(0, 0), |lan| lan.heal(0, 0));
}

#[test]
fn a_path_that_swallows_everything_without_a_word() {
    let drop_all = "add table inet mute
        add chain inet mute in { type filter hook input priority 0; policy drop; }
        add chain inet mute out { type filter hook output priority 0; policy drop; }";
    part_and_heal(
        |lan| lan.hosts[0].namespace.nft(drop_all),
        |lan| lan.hosts[0].namespace.nft("delete table inet mute"),
    );
}

#[test]
fn a_killed_program_is_gone_at_once_and_back_at_once() {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let mut carol = lan.hosts[2].start("carol", &["listen"]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "one", &[&bob, &carol]);
    carol.kill();
    for program in [&alice, &bob] {
        wait_event(program, "carol", "left", 1, Duration::from_secs(3));
    }
    alice.say("two");
    let carol = lan.hosts[2].start("carol", &["listen"]);
    let ready = Instant::now();
    for program in [&alice, &bob] {
        wait_event(program, "carol", "joined", 2, TIMEOUT);
    }
    assert!(
        ready.elapsed() < Duration::from_secs(2),
        "{:?}",
        ready.elapsed()
    );
    carol.out.wait_for(TIMEOUT, |line| line.ends_with(": two"));
    say_and_wait(&mut alice, "three", &[&bob, &carol]);
    assert_eq!(messages(&bob.out.all(), "alice"), ["one", "two", "three"]);
    let again = messages(&carol.out.all(), "alice");
    assert!(
        again.ends_with(&["two".into(), "three".into()]),
        "{again:?}"
    );
}

#[test]
fn a_frozen_program_is_gone_until_it_thaws() {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "one", &[&bob, &carol]);
    carol.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    say_and_wait(&mut alice, "two", &[&bob]);
    for program in [&alice, &bob] {
        let limit = Duration::from_secs(30).saturating_sub(frozen.elapsed());
        wait_event(program, "carol", "left", 1, limit);
    }
    say_and_wait(&mut bob, "uno", &[&alice]);
    carol.signal(Signal::SIGCONT);
    wait_messages(&carol, "alice", &["one", "two"], TIMEOUT);
    wait_messages(&carol, "bob", &["uno"], TIMEOUT);
    for program in [&alice, &bob] {
        wait_event(program, "carol", "joined", 2, TIMEOUT);
    }
    say_and_wait(&mut alice, "three", &[&bob, &carol]);
}
