//! A program that may open few files works, or says what it lacks.
use std::fs;
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::Command;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Socket, Type};

use super::backlog::{StoredLine, fill};
use super::hosts;
use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};
use super::hosts::wait::wait_until;
use super::{finish, run, wait_line};

/// `p2pchat` as this user, which may have `limit` open files.
fn limited(lo: &Loopback, user: &str, limit: usize, arguments: &[&str]) -> Command {
    let mut command = lo.host.command("sh");
    let script = format!("ulimit -n {limit}; exec \"$0\" --interface lo \"$@\"");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_p2pchat")]);
    command.args(arguments).env("P2PCHAT_USERNAME", user);
    command.env("P2PCHAT_DIR", lo.host.folder(user));
    command
}

/// With any limit a command either does its work, or ends with 1 and a sentence that says what to
/// do. No program seems to run and serves nobody.
#[test]
fn few_descriptors_are_enough_or_are_reported() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "before"]).assert_code(0);
    for limit in [
        4, 5, 6, 7, 8, 9, 10, 11, 12, 14, 16, 18, 20, 24, 28, 32, 34, 36, 40, 64,
    ] {
        let spawn =
            |arguments: &[&str]| Program::spawn("alice", limited(&lo, "alice", limit, arguments));
        let text = format!("with {limit}");
        let outcomes = [
            finish(spawn(&["send", "--need", "1", &text]), b""),
            finish(spawn(&["peers", "-W", "1"]), b""),
            finish(spawn(&["listen", "--backlog", "1", "-W", "1"]), b""),
            finish(spawn(&["history", "-n", "1"]), b""),
            finish(spawn(&["whoami"]), b""),
        ];
        for outcome in &outcomes {
            let is_refused = outcome.code == 1
                && outcome.err.len() == 1
                && outcome.err[0].ends_with(": raise it, as in `ulimit -n 256`");
            assert!(outcome.code == 0 || is_refused, "{limit}: {outcome:?}");
            assert!(limit < 40 || outcome.code == 0, "{limit}: {outcome:?}");
        }
        let [send, peers, listen, history, whoami] = &outcomes;
        if send.code == 0 {
            wait_line(&bob, &format!(": {text}"));
        }
        assert_eq!(peers.out.len(), usize::from(peers.code == 0), "{limit}");
        assert_eq!(listen.out.is_empty(), listen.code != 0, "{limit}");
        assert_eq!(history.out.len(), usize::from(history.code == 0), "{limit}");
        assert_eq!(
            whoami.out.len(),
            4 * usize::from(whoami.code == 0),
            "{limit}"
        );
    }
}

/// Opens more connections to a port than a program with few descriptors has room for.
fn flood(lo: &Loopback, port: u16) -> Vec<Socket> {
    // From many addresses: each may have only a few handshakes.
    let connect = |host: u8| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let own = SocketAddr::from(([127, 0, 0, host], 0));
        socket.bind(&own.into()).expect("an address of loopback");
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        socket.connect(&target.into()).expect("a listener");
        socket
    };
    let namespace = &lo.host.namespace;
    namespace.inside(|| (10..60).map(connect).collect())
}

/// Connections for which no descriptor is left are refused and reported once. When some have
/// ended, the program serves others again.
#[test]
fn connections_beyond_the_limit_are_refused_and_reported() {
    let Some(lo) = Loopback::new() else { return };
    let bob = Program::spawn("bob", limited(&lo, "bob", 40, &["listen"]));
    let port = bob.wait_ready();
    let flood = flood(&lo, port);
    let reason = "p2pchat: a connection was refused, because no more files may be open";
    bob.err.wait_for(TIMEOUT, |line| line.starts_with(reason));
    drop(flood);
    run(&lo, "alice", &["send", "--need", "1", "hi"]).assert_code(0);
    wait_line(&bob, ": hi");
    let reports = bob.err.all();
    let is_report = |line: &&String| line.starts_with(reason);
    assert_eq!(reports.iter().filter(is_report).count(), 1, "{reports:?}");
}

/// A connection that could not even be refused is accepted once descriptors are free, even if no
/// further one comes.
#[test]
fn a_connection_without_a_descriptor_is_accepted_later() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["-p", "9999", "listen"]);
    let pid = bob.pid();
    let open_files = || {
        fs::read_dir(format!("/proc/{pid}/fd"))
            .expect("a process")
            .count()
    };
    prlimit(pid, 3);
    let before = open_files();
    let connect = || TcpStream::connect("127.0.0.1:9999").expect("a listener");
    let mut stranger = lo.host.namespace.inside(connect);
    wait_until("the reserve is given up", TIMEOUT, || open_files() < before);
    prlimit(pid, 256);
    // Once accepted, a stream without a handshake ends with its input.
    stranger.set_read_timeout(Some(TIMEOUT)).expect("a socket");
    stranger.shutdown(Shutdown::Write).expect("a connection");
    let ended = stranger.read(&mut [0; 1]);
    let is_ended = ended.as_ref().map_or_else(
        |error| error.kind() == ErrorKind::ConnectionReset,
        |read| *read == 0,
    );
    assert!(is_ended, "{ended:?}");
}

/// Lets a running process open no file with a number of `files` or more.
fn prlimit(pid: u32, files: u32) {
    hosts::command::run(&format!("prlimit --pid {pid} --nofile={files}:"));
}

/// A client of `control.sock` for which no descriptor was left is served once another one has
/// ended, even if no further client comes.
#[test]
fn a_client_without_a_descriptor_is_served_later() {
    let Some(lo) = Loopback::new() else { return };
    let alice = Program::spawn("alice", limited(&lo, "alice", 40, &["listen"]));
    alice.wait_ready();
    let path = lo.host.folder("alice").join("control.sock");
    let connect = |_| UnixStream::connect(&path).expect("a server");
    let mut clients: Vec<UnixStream> = (0..32).map(connect).collect();
    // Clients are accepted before requests are executed.
    clients[0]
        .write_all(b"{\"type\":\"finish\",\"id\":1}\n")
        .expect("a server");
    let mut first = BufReader::new(&clients[0]).lines();
    while !first
        .next()
        .expect("a line")
        .expect("text")
        .contains("\"done\"")
    {}
    let is_waiting = |client: &UnixStream| {
        let mut fds = [PollFd::new(client.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds[..], PollTimeout::ZERO).expect("a socket") == 0
    };
    let accepted = clients.iter().skip(1).position(is_waiting);
    let waiting = clients.split_off(accepted.expect("too few descriptors") + 1);
    drop(clients);
    for client in waiting {
        client.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        let mut ready = String::new();
        BufReader::new(client)
            .read_line(&mut ready)
            .expect("a server");
        assert!(ready.contains("\"ready\""), "{ready}");
    }
}

/// A program of which all streams are taken by strangers still serves its clients.
#[test]
fn strangers_leave_descriptors_to_clients() {
    let Some(lo) = Loopback::new() else { return };
    let bob = Program::spawn("bob", limited(&lo, "bob", 40, &["listen"]));
    let flood = flood(&lo, bob.wait_ready());
    let reason = "p2pchat: a connection was refused, because no more files may be open";
    bob.err.wait_for(TIMEOUT, |line| line.starts_with(reason));
    run(&lo, "bob", &["send", "--need", "0", "hi"]).assert_code(0);
    wait_line(&bob, ": hi");
    drop(flood);
}

/// Rooms whose segments overlap. They are more than the files that a program may open below.
const ROOMS: [&str; 16] = [
    "#a", "#b", "#c", "#d", "#e", "#f", "#g", "#h", "#i", "#j", "#k", "#l", "#m", "#n", "#o", "#p",
];

/// A query of more segments than files may be open prints all lines.
#[test]
fn a_history_of_many_segments_needs_few_descriptors() {
    let Some(lo) = Loopback::new() else { return };
    let line = |n: u64| -> StoredLine { (2, ROOMS[n as usize % ROOMS.len()], n + 1) };
    fill(&lo, false, (0..160).map(line));
    let spawn = |limit, arguments: &[&str]| {
        finish(
            Program::spawn("bob", limited(&lo, "bob", limit, arguments)),
            b"",
        )
    };
    let history = run(&lo, "bob", &["history"]);
    assert_eq!(history.out.len(), 160);
    let limited_history = spawn(14, &["history"]);
    assert_eq!(limited_history.out, history.out, "{limited_history:?}");
    // Each room of a running program has files of its own.
    let mut listen = vec!["listen", "--backlog", "100000", "-W", "0"];
    for (rooms, is_enough) in [(&ROOMS[..4], true), (&ROOMS[..], false)] {
        listen.truncate(5);
        listen.extend(rooms.iter().flat_map(|room| ["-r", room]));
        let limited_listen = spawn(40, &listen);
        let is_reported = |line: &String| line.ends_with(" `ulimit -n 256`");
        match is_enough {
            true => assert_eq!(limited_listen.out.len(), 40, "{limited_listen:?}"),
            // The helper thread that reads may fail before the program says that it is ready.
            false => assert!(
                limited_listen.err.iter().any(is_reported),
                "{limited_listen:?}"
            ),
        }
    }
}
