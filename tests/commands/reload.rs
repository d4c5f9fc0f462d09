//! SIGHUP without a terminal: the options file and known_peers are read again.
use std::fs;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::{TIMEOUT, wait_line};

/// The id of a peer that never connects.
const STRANGER: &str = "k7mqaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

/// SIGHUP without a terminal reads the options file and known_peers again; a bad options file
/// is reported and changes nothing.
#[test]
fn sighup_reloads_options_and_known_peers() {
    let Some(lo) = Loopback::new() else { return };
    let folder = lo.host.folder(".config/p2pchat");
    fs::create_dir_all(&folder).expect("a folder");
    let options = folder.join("options");
    fs::write(&options, "-r first\n").expect("a file");
    let mut alice = lo.start("alice", &[]);

    fs::write(&options, "-r second\n").expect("a file");
    let known = lo.host.folder("alice").join("known_peers");
    fs::write(known, format!("bob {STRANGER} 2026-01-02T03:04:05Z\n")).expect("a file");
    alice.signal(Signal::SIGHUP);
    let bob = lo.start("bob", &["listen", "-r", "first", "-r", "second"]);
    let line = wait_line(&bob, " joined");
    assert!(line.contains(" #second * alice~"), "{line}");
    alice.err.wait_for(TIMEOUT, |line| {
        line.contains(" is not the bob~k7mq known since 2026-01-02: another key; to write to it: ")
    });
    alice.say("here");
    let line = wait_line(&bob, ": here");
    assert!(line.contains(" #second alice~"), "{line}");

    // A bad options file is reported, and changes nothing.
    fs::write(&options, "--nonsense\n").expect("a file");
    alice.signal(Signal::SIGHUP);
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("/p2pchat/options, line 1: "));
    alice.say("still here");
    wait_line(&bob, ": still here");
    assert!(!bob.out.all().iter().any(|line| line.contains(" left")));
}
