//! `--scan`: finds peers where nothing but TCP gets through, slowly.
use std::time::{Duration, Instant};

use super::hosts::lan::Lan;
use super::routed::linked_peers;
use super::{TIMEOUT, finish, wait_joined};

/// The own subnet of 254 addresses is tried at 50 a second, and bob is found there. On a pipe one
/// line tells the result. Nobody else is asked a second time.
#[test]
fn a_scan_finds_a_peer_in_the_own_subnet() {
    let Some(lan) = Lan::new(2) else { return };
    let bob = lan.hosts[1].start("bob", &["-m", "none"]);
    let begin = Instant::now();
    let alice = lan.hosts[0].start("alice", &["-m", "none", "--scan", "own"]);
    wait_joined(&alice, "bob");
    assert_eq!(linked_peers(&lan.hosts[0], "alice"), ["scan"]);
    let line = alice.err.wait_for(TIMEOUT, |line| line.contains("scan: "));
    assert_eq!(line, "p2pchat: scan: tried 253 addresses, 1 answer");
    let least = 252 * Duration::from_millis(20);
    assert!(begin.elapsed() >= least, "{:?}", begin.elapsed());
    finish(alice);
    finish(bob);
}

/// With `--interface`, no probe leaves by another card, wherever the subnet is.
#[test]
fn a_scan_uses_the_named_interface_alone() {
    let Some(lan) = Lan::new(2) else { return };
    lan.attach(0, 1);
    lan.wait_up(0, 1);
    let bob = lan.hosts[1].start("bob", &["-m", "none"]);
    let target = format!("{}/29", Lan::address(1, 0));
    let options = ["-m", "none", "--scan", &target, "--interface"];
    for (interface, answers) in [("eth1", 0), ("eth0", 1)] {
        let options = [&options[..], &[interface]].concat();
        let alice = lan.hosts[0].start("alice", &options);
        let line = alice.err.wait_for(TIMEOUT, |line| line.contains("scan: "));
        assert!(line.ends_with(&format!(", {answers} answer")), "{line}");
        finish(alice);
    }
    finish(bob);
}

/// Another port, in a subnet that is named.
#[test]
fn a_scan_tries_a_named_subnet_and_port() {
    let Some(lan) = Lan::new(2) else { return };
    let bob = lan.hosts[1].start("bob", &["-m", "none", "-p", "7000"]);
    let target = format!("{}/29:7000", Lan::address(1, 0));
    let alice = lan.hosts[0].start("alice", &["-m", "none", "--scan", &target]);
    wait_joined(&alice, "bob");
    let line = alice.err.wait_for(TIMEOUT, |line| line.contains("scan: "));
    assert_eq!(line, "p2pchat: scan: tried 6 addresses, 1 answer");
    finish(alice);
    finish(bob);
}

/// A scan that begins before the network is up is repeated once it is.
#[test]
fn a_scan_waits_for_the_network() {
    let Some(lan) = Lan::new(2) else { return };
    let bob = lan.hosts[1].start("bob", &["-m", "none"]);
    let target = format!("{}/29", Lan::address(1, 0));
    lan.hosts[0].namespace.ip("link set eth0 down");
    let alice = lan.hosts[0].start("alice", &["-m", "none", "--scan", &target]);
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("scan: tried 6 addresses, "));
    lan.hosts[0].namespace.ip("link set eth0 up");
    wait_joined(&alice, "bob");
    finish(alice);
    finish(bob);
}
