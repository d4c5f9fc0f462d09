//! Cut cables, silent paths, and killed or stopped programs: detected within a limit, and no
//! line is lost.
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::lan::Lan;
use super::{
    PEER_TIMEOUT, TIMEOUT, count_events, messages, say_and_wait, wait_event, wait_mesh,
    wait_messages,
};

/// `part` isolates alice until all have printed her as left; after `heal` everybody gets the
/// lines said meanwhile.
fn isolate_and_heal(isolate: impl Fn(&Lan), heal: impl Fn(&Lan)) {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "one", &[&bob, &carol]);
    isolate(&lan);
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

/// A cut cable: the peers are printed as left within the limit; once it heals, every line
/// arrives.
#[test]
fn a_cut_cable_is_detected_and_healed() {
    isolate_and_heal(|lan| lan.cut(0, 0), |lan| lan.heal(0, 0));
}

/// The same for a path that drops all packets without an error.
#[test]
fn a_path_that_drops_every_packet_is_detected_and_healed() {
    let drop_all = "add table inet mute
        add chain inet mute in { type filter hook input priority 0; policy drop; }
        add chain inet mute out { type filter hook output priority 0; policy drop; }";
    isolate_and_heal(
        |lan| lan.hosts[0].namespace.nft(drop_all),
        |lan| lan.hosts[0].namespace.nft("delete table inet mute"),
    );
}

/// A link whose local address is removed ends at once, as no packet can come back to it.
#[test]
fn a_link_without_its_address_ends_at_once() {
    let Some(lan) = Lan::new(2) else { return };
    let alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    // A link that has answered no ping yet may have been none for the peer, and ends later.
    say_and_wait(&mut bob, "uno", &[&alice]);
    lan.hosts[0].namespace.ip("address flush dev eth0");
    wait_event(&alice, "bob", "left", 1, Duration::from_secs(3));
}

/// A path that loses large packets without an error: a long line arrives with small segments after
/// two links have failed, and the user is told once for each address.
#[test]
fn a_path_that_loses_large_packets_is_found() {
    let Some(lan) = Lan::new(2) else { return };
    for host in &lan.hosts {
        // The filter sees the packets of the wire.
        host.namespace.ip("link set dev eth0 gso_max_segs 1");
    }
    lan.lose_large(1, 0, 1400);
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    say_and_wait(&mut alice, "short", &[&bob]);
    let long = "long".repeat(2000);
    alice.say(&long);
    bob.out
        .wait_for(3 * PEER_TIMEOUT, |line| line.ends_with(&long));
    say_and_wait(&mut bob, &long, &[&alice]);
    let mut warnings = alice.err.all();
    warnings.retain(|line| line.contains("large packets to"));
    let count = warnings.len();
    warnings.dedup();
    assert!(count > 0 && warnings.len() == count, "{warnings:?}");
}

/// A killed program is printed as left within 3 s, and as joined within 2 s after its restart;
/// it misses no line.
#[test]
fn a_killed_program_leaves_at_once_and_rejoins_at_once() {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let mut carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "one", &[&bob, &carol]);
    // A link that has answered no ping yet may have been none for the peer, and ends later.
    say_and_wait(&mut carol, "eins", &[&alice, &bob]);
    carol.kill();
    for program in [&alice, &bob] {
        wait_event(program, "carol", "left", 1, Duration::from_secs(3));
    }
    alice.say("two");
    let carol = lan.hosts[2].start("carol", &["listen"]);
    let restart = Instant::now();
    for program in [&alice, &bob] {
        wait_event(program, "carol", "joined", 2, TIMEOUT);
    }
    assert!(
        restart.elapsed() < Duration::from_secs(2),
        "{:?}",
        restart.elapsed()
    );
    carol.out.wait_for(TIMEOUT, |line| line.ends_with(": two"));
    say_and_wait(&mut alice, "three", &[&bob, &carol]);
    assert_eq!(messages(&bob.out.all(), "alice"), ["one", "two", "three"]);
    let missed = messages(&carol.out.all(), "alice");
    assert!(
        missed.ends_with(&["two".into(), "three".into()]),
        "{missed:?}"
    );
}

/// A program stopped by SIGSTOP is printed as left within 30 s; after SIGCONT it rejoins and
/// gets every line.
#[test]
fn a_stopped_program_leaves_and_rejoins() {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "one", &[&bob, &carol]);
    carol.signal(Signal::SIGSTOP);
    let stop = Instant::now();
    say_and_wait(&mut alice, "two", &[&bob]);
    for program in [&alice, &bob] {
        let limit = Duration::from_secs(30).saturating_sub(stop.elapsed());
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
