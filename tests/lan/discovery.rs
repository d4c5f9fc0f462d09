//! Zero set-up: whatever interfaces there are, and in any order.
use super::hosts::Lan;
use super::{
    PEER_TIMEOUT, TIMEOUT, say_and_wait, wait_event, wait_joined, wait_mesh, wait_messages,
};

#[test]
fn all_see_each_other_in_whatever_order_they_start() {
    let Some(lan) = Lan::new(3) else { return };
    let names = ["alice", "bob", "carol"];
    for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
        let mut programs: Vec<_> = order
            .iter()
            .map(|&host| lan.hosts[host].spawn(names[host], &[]))
            .collect();
        let all: Vec<_> = programs.iter().collect();
        wait_mesh(&all);
        for from in 0..3 {
            let mut program = programs.remove(from);
            let text = format!("of {}", program.name);
            say_and_wait(&mut program, &text, &programs.iter().collect::<Vec<_>>());
            programs.insert(from, program);
        }
    }
}

#[test]
fn a_box_between_two_lans_talks_to_both() {
    let Some(lan) = Lan::unplugged(3) else { return };
    for (host, segment) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let mut bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob]);
    wait_mesh(&[&carol, &bob]);
    say_and_wait(&mut bob, "to both", &[&alice, &carol]);
    say_and_wait(&mut alice, "to the middle", &[&bob]);
}

#[test]
fn link_local_addresses_are_enough() {
    let Some(lan) = Lan::new(3) else { return };
    for (number, host) in lan.hosts.iter().enumerate() {
        let address = Lan::address(number, 0);
        host.namespace
            .ip(&format!("address delete {address}/24 dev eth0"));
    }
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "over IPv6", &[&bob, &carol]);
}

#[test]
fn a_program_that_was_there_before_the_network_finds_it() {
    let Some(lan) = Lan::unplugged(3) else { return };
    lan.attach(1, 0);
    lan.attach(2, 0);
    let mut alice = lan.hosts[0].start("alice", &[]);
    alice.say("said alone");
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&bob, &carol]);
    lan.attach(0, 0);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "said to all", &[&bob, &carol]);
    // Both programs hear of each other now, so what was said in this run is no backfill if theirs is at least as old.
    let shown = super::messages(&bob.out.all(), "alice");
    assert!(shown.ends_with(&["said to all".to_owned()]), "{shown:?}");
}

#[test]
fn an_address_that_changes_is_followed() {
    let Some(lan) = Lan::new(3) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &[]);
    wait_mesh(&[&alice, &bob, &carol]);
    say_and_wait(&mut alice, "before", &[&bob, &carol]);
    let ip = |command: &str| lan.hosts[0].namespace.ip(command);
    ip("address flush dev eth0");
    ip("address add 10.77.0.99/24 brd + dev eth0");
    alice.say("meanwhile");
    for program in [&bob, &carol] {
        wait_messages(
            program,
            "alice",
            &["before", "meanwhile"],
            PEER_TIMEOUT + TIMEOUT,
        );
    }
    say_and_wait(&mut alice, "after", &[&bob, &carol]);
}

#[test]
fn a_second_interface_that_comes_is_used() {
    let Some(lan) = Lan::new(2) else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    wait_mesh(&[&alice, &bob]);
    for host in 0..2 {
        lan.attach(host, 1);
        lan.wait_up(host, 1);
    }
    // The first cable goes for good: the other one carries on.
    lan.detach(0, 0);
    alice.say("over the other cable");
    wait_messages(
        &bob,
        "alice",
        &["over the other cable"],
        PEER_TIMEOUT + TIMEOUT,
    );
    wait_event(&bob, "alice", "joined", 1, TIMEOUT);
    wait_joined(&alice, "bob");
}
