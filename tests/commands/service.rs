//! What the program tells the service manager that started it.
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, wait_error_line};

/// Starts alice as a service whose manager listens at `name`.
fn start(lo: &Loopback, name: &str, watchdog_us: &str) -> Program {
    start_with(lo, &["listen"], name, watchdog_us)
}

/// [`start`], with these arguments.
fn start_with(lo: &Loopback, arguments: &[&str], name: &str, watchdog_us: &str) -> Program {
    let mut command = lo.host.program("alice", arguments);
    command.env("NOTIFY_SOCKET", name);
    command.env("WATCHDOG_USEC", watchdog_us);
    Program::spawn("alice", command)
}

fn receive(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 512];
    let n = manager.recv(&mut buffer).expect("a datagram in time");
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

/// Ready, alive and ending are told, to a socket in the file system and to an abstract one.
#[test]
fn systemd_learns_that_the_program_is_ready_and_alive() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("manager");
    let at_path = UnixDatagram::bind(&path).expect("a socket");
    let abstract_name = format!("p2pchat-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&abstract_name).expect("a name");
    let bind = || UnixDatagram::bind_addr(&address).expect("a socket");
    let abstract_one = lo.host.namespace.inside(bind);
    let path = path.to_string_lossy().into_owned();
    for (manager, name) in [(at_path, path), (abstract_one, format!("@{abstract_name}"))] {
        manager.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
        let mut alice = start(&lo, &name, "200000");
        let mut alive = 0;
        let begin = Instant::now();
        let ready = loop {
            match receive(&manager) {
                state if state == "WATCHDOG=1" => alive += 1,
                state => break state,
            }
        };
        assert!(
            ready.starts_with("READY=1\nSTATUS=ready as alice~"),
            "{ready}"
        );
        assert!(
            alive < 100,
            "a sign of life was sent {alive} times before the start"
        );
        for _ in 0..3 {
            assert_eq!(receive(&manager), "WATCHDOG=1");
        }
        // Half of the time-out is 100 ms.
        assert!(begin.elapsed() >= Duration::from_millis(200));
        alice.signal(Signal::SIGTERM);
        while receive(&manager) != "STOPPING=1" {}
        assert_eq!(alice.wait_code(TIMEOUT), 143);
    }
}

/// An attached service whose server does not answer is alive all the same.
#[test]
fn a_service_is_alive_while_its_server_does_not_answer() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("manager");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_read_timeout(Some(TIMEOUT)).expect("a time-out");
    let server = lo.start("alice", &["listen"]);
    let mut client = start_with(&lo, &[], &path.to_string_lossy(), "100000");
    while !receive(&manager).starts_with("READY=1") {}
    server.signal(Signal::SIGSTOP);
    client.say("does anybody answer?");
    // The client reads its line long before the last of these.
    for _ in 0..30 {
        assert_eq!(receive(&manager), "WATCHDOG=1");
    }
}

/// A manager that does not read delays nothing.
#[test]
fn a_service_manager_that_does_not_read_delays_nothing() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("manager");
    let _manager = UnixDatagram::bind(&path).expect("a socket");
    let other = UnixDatagram::unbound().expect("a socket");
    other.connect(&path).expect("a manager");
    other.set_nonblocking(true).expect("a socket");
    wait_until("the queue of the manager is full", TIMEOUT, || {
        other.send(b"full").is_err()
    });
    let alice = start(&lo, &path.to_string_lossy(), "2000");
    wait_error_line(&alice, " on 9999");
    finish(lo.spawn("bob", &["send"]), b"hello\n").assert_code(0);
    alice
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": hello"));
}

/// A command that ends by itself runs in another program's unit.
#[test]
fn a_short_command_tells_the_service_manager_nothing() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("manager");
    let manager = UnixDatagram::bind(&path).expect("a socket");
    manager.set_nonblocking(true).expect("nonblocking");
    for arguments in [
        &["send", "--need", "0", "hello"][..],
        &["peers", "-W", "0.1"],
    ] {
        let mut command = lo.host.program("alice", arguments);
        command.env("NOTIFY_SOCKET", &path);
        command.env("WATCHDOG_USEC", "20000");
        let _ = Program::spawn("alice", command).wait_code(TIMEOUT);
    }
    assert!(manager.recv(&mut [0; 64]).is_err());
}
