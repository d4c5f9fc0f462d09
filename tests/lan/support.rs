//! Tests of the test helpers: cables, programs and their exit.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::path::Path;
use std::time::Duration;

use crate::hosts::host::Loopback;
use crate::hosts::lan::Lan;
use crate::hosts::program::{Program, TIMEOUT};

/// `Program` passes lines in both directions, reports the exit status, and kills the child when
/// dropped.
#[test]
fn a_program_is_read_and_killed_on_drop() {
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

/// `Lines::wait_for` panics when the line does not come.
#[test]
#[should_panic(expected = "not as wanted")]
fn a_line_that_never_comes_panics() {
    let Some(lo) = Loopback::new() else {
        panic!("not as wanted, and not run");
    };
    let cat = Program::spawn("cat", lo.host.command("cat"));
    cat.out
        .wait_for(Duration::from_millis(50), |line| line == "one");
}

/// `Lan::mute` drops frames while the carrier stays; `Lan::cut` takes the carrier away.
#[test]
fn mute_keeps_the_carrier_and_cut_loses_it() {
    let Some(lan) = Lan::new(2) else { return };
    let [a, b] = [0, 1].map(|host| {
        let open = || UdpSocket::bind((Lan::address(host, 0), 5000)).expect("a socket");
        lan.hosts[host].namespace.inside(open)
    });
    b.set_read_timeout(Some(TIMEOUT)).expect("a limit");
    let send = |text: &str| a.send_to(text.as_bytes(), (Lan::address(1, 0), 5000));
    let receive = || {
        let mut buffer = [0; 16];
        let length = b.recv(&mut buffer)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    send("one").expect("a route");
    assert_eq!(receive().expect("a datagram"), "one");
    lan.mute(1, 0);
    lan.wait_up(1, 0);
    send("lost").expect("the sender gets no error");
    lan.unmute(1, 0);
    send("two").expect("a route");
    assert_eq!(receive().expect("a datagram"), "two");
    lan.cut(1, 0);
    let link = lan.hosts[1].namespace.ip("-o link show eth0");
    assert!(link.contains("NO-CARRIER"), "{link}");
    send("lost").expect("the sender gets no error");
    lan.heal(1, 0);
    send("three").expect("a route");
    assert_eq!(receive().expect("a datagram"), "three");
    b.set_nonblocking(true).expect("a socket");
    assert_eq!(receive().map_err(|e| e.kind()), Err(ErrorKind::WouldBlock));
}
