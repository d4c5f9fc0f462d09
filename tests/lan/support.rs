//! The kit itself: cables, programs and their ends are what the tests on hosts take them for.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use crate::hosts::program::{Program, TIMEOUT};
use crate::hosts::{Lan, Loopback};

#[test]
fn a_program_speaks_and_ends() {
    let Some(lo) = Loopback::new() else { return };
    let mut cat = Program::spawn("cat", lo.host.command("cat"));
    cat.say("one");
    assert_eq!(cat.out.wait_for(TIMEOUT, |line| line == "one"), "one");
    cat.say("two");
    cat.close_stdin();
    assert_eq!(cat.wait_code(TIMEOUT), 0);
    assert_eq!(cat.out.wait_end(TIMEOUT), ["one", "two"]);
    let killed = Program::spawn("cat", lo.host.command("cat"));
    let entry = format!("/proc/{}", killed.pid());
    assert!(Path::new(&entry).exists());
    drop(killed);
    assert!(!Path::new(&entry).exists(), "nothing outlives its test");
}

#[test]
#[should_panic(expected = "not as wanted")]
fn what_never_comes_fails() {
    let Some(lo) = Loopback::new() else {
        panic!("not as wanted, and not run");
    };
    let cat = Program::spawn("cat", lo.host.command("cat"));
    cat.out
        .wait_for(Duration::from_millis(50), |line| line == "one");
}

#[test]
fn a_muted_host_is_cut_without_being_told() {
    let Some(lan) = Lan::new(2) else { return };
    let [a, b] = [0, 1].map(|host| {
        let open = || UdpSocket::bind((Lan::address(host, 0), 5000)).expect("a socket");
        lan.hosts[host].namespace.inside(open)
    });
    b.set_read_timeout(Some(TIMEOUT)).expect("a limit");
    let say = |text: &str| a.send_to(text.as_bytes(), (Lan::address(1, 0), 5000));
    let hear = || {
        let mut buffer = [0; 16];
        let length = b.recv(&mut buffer)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    say("one").expect("a way");
    assert_eq!(hear().expect("a datagram"), "one");
    lan.mute(1, 0);
    lan.wait_up(1, 0);
    say("lost").expect("the speaker is not told");
    lan.unmute(1, 0);
    say("two").expect("a way");
    assert_eq!(hear().expect("a datagram"), "two");
    lan.cut(1, 0);
    let link = lan.hosts[1].namespace.ip("-o link show eth0");
    assert!(link.contains("NO-CARRIER"), "{link}");
    say("lost").expect("the speaker is not told");
    lan.heal(1, 0);
    say("three").expect("a way");
    assert_eq!(hear().expect("a datagram"), "three");
    b.set_nonblocking(true).expect("a socket");
    assert_eq!(hear().map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
}
