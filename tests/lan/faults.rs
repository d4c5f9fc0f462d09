//! Cables cut, boxes that vanish, programs that freeze: shown in time, and nothing is lost.
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::Lan;
use super::{GONE, SOON, said, say_to, shown, wait_mesh, wait_said, wait_shown};

/// Alice is alone for so long that she is shown as left; then she is back, and everybody has all that was said meanwhile.
fn part_and_heal(part: impl Fn(&Lan), heal: impl Fn(&Lan)) {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_to(&mut alice, "one", &[&bob, &carol]);
    part(&lan);
    let cut = Instant::now();
    alice.say("two");
    alice.say("three");
    bob.say("uno");
    carol.out.wait_for(SOON, |line| line.ends_with(": uno"));
    for (at, gone) in [
        (&bob, "alice"),
        (&carol, "alice"),
        (&alice, "bob"),
        (&alice, "carol"),
    ] {
        wait_shown(at, gone, "left", 1, GONE.saturating_sub(cut.elapsed()));
    }
    alice.say("four");
    heal(&lan);
    for program in [&bob, &carol] {
        wait_shown(program, "alice", "joined", 2, SOON);
        wait_said(program, "alice", &["one", "two", "three", "four"], SOON);
    }
    wait_said(&alice, "bob", &["uno"], SOON);
    say_to(&mut alice, "five", &[&bob, &carol]);
    say_to(&mut bob, "dos", &[&alice, &carol]);
    let expected = ["one", "two", "three", "four", "five"];
    for program in [&bob, &carol] {
        assert_eq!(said(&program.out.all(), "alice"), expected);
        assert_eq!(shown(&program.out.all(), "alice", "joined"), 2);
    }
    assert_eq!(said(&carol.out.all(), "bob"), ["uno", "dos"]);
    assert_eq!(shown(&carol.out.all(), "bob", "left"), 0);
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
    say_to(&mut alice, "one", &[&bob, &carol]);
    carol.kill();
    for program in [&alice, &bob] {
        wait_shown(program, "carol", "left", 1, Duration::from_secs(3));
    }
    alice.say("two");
    let carol = lan.hosts[2].start("carol", &["listen"]);
    let ready = Instant::now();
    for program in [&alice, &bob] {
        wait_shown(program, "carol", "joined", 2, SOON);
    }
    assert!(
        ready.elapsed() < Duration::from_secs(2),
        "{:?}",
        ready.elapsed()
    );
    carol.out.wait_for(SOON, |line| line.ends_with(": two"));
    say_to(&mut alice, "three", &[&bob, &carol]);
    assert_eq!(said(&bob.out.all(), "alice"), ["one", "two", "three"]);
    let again = said(&carol.out.all(), "alice");
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
    say_to(&mut alice, "one", &[&bob, &carol]);
    carol.signal(Signal::SIGSTOP);
    let frozen = Instant::now();
    say_to(&mut alice, "two", &[&bob]);
    for program in [&alice, &bob] {
        let limit = Duration::from_secs(30).saturating_sub(frozen.elapsed());
        wait_shown(program, "carol", "left", 1, limit);
    }
    say_to(&mut bob, "uno", &[&alice]);
    carol.signal(Signal::SIGCONT);
    wait_said(&carol, "alice", &["one", "two"], SOON);
    wait_said(&carol, "bob", &["uno"], SOON);
    for program in [&alice, &bob] {
        wait_shown(program, "carol", "joined", 2, SOON);
    }
    say_to(&mut alice, "three", &[&bob, &carol]);
}
