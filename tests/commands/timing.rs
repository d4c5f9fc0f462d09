//! `--interval` and `--patience`: how often a program is heard, and how long it waits for others.
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use p2pchat::base::identity::NetworkTag;
use p2pchat::wire::beacon::Beacon;
use socket2::{Domain, Protocol, Socket, Type};

use super::hosts::host::Loopback;
use super::{TIMEOUT, run, wait_joined};

/// A socket that receives all beacons on loopback.
fn open_receiver() -> UdpSocket {
    let group = Ipv4Addr::new(224, 0, 0, 1);
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.set_reuse_address(true).expect("an option");
    socket
        .bind(&SocketAddrV4::new(group, 9999).into())
        .expect("the port");
    socket
        .join_multicast_v4(&group, &Ipv4Addr::LOCALHOST)
        .expect("a group");
    socket.set_read_timeout(Some(TIMEOUT)).expect("an option");
    socket.into()
}

/// No beacon names a longer interval than the user's.
#[test]
fn beacons_come_within_the_interval() {
    let Some(lo) = Loopback::new() else { return };
    let receiver = lo.host.namespace.inside(open_receiver);
    let _alice = lo.start("alice", &["listen", "--interval", "1"]);
    let mut intervals = Vec::new();
    let mut bytes = [0; 2048];
    // Without the option, the later ones name up to 5 s.
    while intervals.len() < 9 {
        let length = match receiver.recv(&mut bytes) {
            // By the end of a child.
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received.expect("a beacon"),
        };
        let beacon = Beacon::parse(&bytes[..length], &NetworkTag::OPEN, None);
        intervals.push(beacon.expect("a beacon").interval_ms);
    }
    assert!(
        intervals.iter().all(|ms| (1..=1000).contains(ms)),
        "{intervals:?}"
    );
}

/// A frozen peer is gone after the user's patience, instead of 28 s.
#[test]
fn a_silent_peer_is_gone_after_the_patience() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen", "--patience", "3"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    bob.signal(Signal::SIGSTOP);
    let begin = Instant::now();
    alice
        .out
        .wait_for(Duration::from_secs(60), |line| line.ends_with(" left"));
    let elapsed = begin.elapsed();
    bob.signal(Signal::SIGCONT);
    assert!(elapsed < Duration::from_secs(20), "{elapsed:?}");
}

/// Both have bounds, and a program that runs keeps its own.
#[test]
fn other_values_are_refused() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen", "--interval=20", "--patience=60.5"]);
    for (arguments, sentence) in [
        (["--interval", "0.9"], "from 1 to 180"),
        (["--interval", "181"], "from 1 to 180"),
        (["--patience", "2"], "from 3 to 3600"),
        (["--patience", "3601"], "from 3 to 3600"),
        (
            ["--interval", "30"],
            "a p2pchat with another --interval runs",
        ),
        (
            ["--patience", "61"],
            "a p2pchat with another --patience runs",
        ),
    ] {
        let outcome = run(&lo, "alice", &[&["peers", "-W0"], &arguments[..]].concat());
        outcome.assert_code(2);
        assert!(outcome.err[0].contains(sentence), "{outcome:?}");
    }
    let same = ["peers", "-W0", "--interval=20.0", "--patience=60.5"];
    run(&lo, "alice", &same).assert_code(69);
}
