//! `invite` and `join`: how a newcomer gets the secret of a closed network, and how nobody else does.
use std::fs;
use std::io::{Error, ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use p2pchat::Nick;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::Identity;
use p2pchat::wire::invite::{InviteMessage, InviteStream};
use p2pchat::wire::noise::Role;

use super::closed_network::secret;
use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, run, wait_joined};

/// Starts an invite, and returns its code.
fn invite(lo: &Loopback, user: &str, arguments: &[&str]) -> (Program, String) {
    let program = lo.spawn(user, &[&["invite"][..], arguments].concat());
    let line = program
        .out
        .wait_for(TIMEOUT, |line| line.starts_with("invite code: "));
    (program, line["invite code: ".len()..].to_owned())
}

/// The option that names a secret file of this user, which does not exist yet.
fn new_secret(lo: &Loopback, name: &str) -> String {
    format!("--secret-file={}", lo.host.folder(name).display())
}

fn id(lo: &Loopback, user: &str) -> String {
    let outcome = run(lo, user, &["whoami"]);
    let mut lines = outcome.out.iter();
    let line = lines.find_map(|line| line.strip_prefix("id: "));
    line.expect("an id").to_owned()
}

/// The newcomer gets the secret with the code alone, and both bind each other: also the program that
/// runs in the inviter's directory, at once.
#[test]
fn a_newcomer_joins_a_closed_network() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let alice = lo.start("alice", &[&ours, "listen"]);
    alice.wait_ready();
    let (mut invite, code) = invite(&lo, "alice", &[&ours]);
    let bobs = new_secret(&lo, "bobs");
    let outcome = run(&lo, "bob", &["join", &code, &bobs]);
    outcome.assert_code(0);
    assert_eq!(invite.wait_code(TIMEOUT), 0, "{:?}", invite.err.all());
    let (alices_id, bobs_id) = (id(&lo, "alice"), id(&lo, "bob"));
    let joined = format!("joined: bob~{} {bobs_id}", &bobs_id[..4]);
    assert_eq!(invite.out.all().last(), Some(&joined));
    let read = |name: &str| fs::read_to_string(lo.host.folder(name)).expect("a file");
    assert_eq!(read("ours"), read("bobs"));
    let mode = fs::metadata(lo.host.folder("bobs")).expect("a file");
    assert_eq!(mode.permissions().mode() & 0o777, 0o600);
    for (user, peer) in [
        ("alice", format!("bob {bobs_id}")),
        ("bob", format!("alice {alices_id}")),
    ] {
        let known = read(&format!("{user}/known_peers"));
        let mut lines = known.lines();
        let is_bound = |line: &str| line.starts_with(&peer) && line.ends_with(" bound");
        assert!(lines.any(is_bound), "{user}: {known}");
    }
    // The running program knows it as well.
    let mallory = lo.start("mallory", &["-u", "bob", &ours, "listen"]);
    wait_joined(&mallory, "alice");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("IS NOT the bob~"));
    let bob = lo.start("bob", &[&bobs, "listen"]);
    wait_joined(&bob, "alice");
}

/// The newcomer's name is that of the program that runs in its directory, which others see.
#[test]
fn a_running_newcomer_joins_under_its_name() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let _robert = lo.start("bob", &["-u", "robert", "listen"]);
    let (mut invite, code) = invite(&lo, "alice", &[&ours]);
    run(&lo, "bob", &["join", &code, &new_secret(&lo, "bobs")]).assert_code(0);
    assert_eq!(invite.wait_code(TIMEOUT), 0, "{:?}", invite.err.all());
    let joined = invite.out.all().pop().unwrap_or_default();
    assert!(joined.starts_with("joined: robert~"), "{joined}");
}

/// With `-` the code is the first line of stdin: words of the command line are seen by all users.
#[test]
fn the_code_may_come_on_stdin() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let (mut invite, code) = invite(&lo, "alice", &[&ours]);
    let file = new_secret(&lo, "bobs");
    let mut join = lo.spawn("bob", &["join", "-", &file]);
    join.say(&code);
    assert_eq!(join.wait_code(TIMEOUT), 0, "{:?}", join.err.all());
    assert_eq!(invite.wait_code(TIMEOUT), 0, "{:?}", invite.err.all());
    for text in [&b""[..], b"\n", b"7-babab\n", &[b'7'; 10_000]] {
        let mut join = lo.spawn("bob", &["join", "-", &new_secret(&lo, "none")]);
        join.write(text);
        join.close_stdin();
        assert_eq!(join.wait_code(TIMEOUT), 2, "{:?}", join.err.all());
    }
}

/// Three wrong codes, and the right one is void as well.
#[test]
fn a_guessed_code_is_void() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let (mut invite, code) = invite(&lo, "alice", &[&ours]);
    let (nameplate, _) = code.split_once('-').expect("a nameplate");
    let file = new_secret(&lo, "mallorys");
    for _ in 0..3 {
        let guess = format!("{nameplate}-babab-babab");
        run(&lo, "mallory", &["join", &guess, &file]).assert_code(77);
    }
    assert_eq!(invite.wait_code(TIMEOUT), 1, "{:?}", invite.err.all());
    let said = invite.err.all();
    assert!(
        said.iter().any(|line| line.contains("the code is void")),
        "{said:?}"
    );
    run(&lo, "bob", &["join", "-W", "1", &code, &file]).assert_code(69);
    assert!(!lo.host.folder("mallorys").exists());
}

/// The addresses of a long code are those of one inviter: a mistyped one is one guess of three.
#[test]
fn a_mistyped_long_code_is_one_guess() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let (mut invite, code) = invite(&lo, "alice", &["-p", "7654", &ours]);
    let bobs = new_secret(&lo, "bobs");
    let addresses = "127.0.0.1:7654,[::1]:7654";
    let mistyped = format!("7-babab-babab@{addresses}");
    run(&lo, "bob", &["join", &mistyped, &bobs]).assert_code(77);
    let code = format!("{code}@{addresses}");
    run(&lo, "bob", &["join", &code, &bobs]).assert_code(0);
    assert_eq!(invite.wait_code(TIMEOUT), 0);
    let said = invite.err.all();
    let guesses = said.iter().filter(|line| line.contains("a wrong code"));
    assert_eq!(guesses.count(), 1, "{said:?}");
}

/// A code serves one newcomer, and only for its time.
#[test]
fn a_used_or_expired_code_is_void() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let (mut used, code) = invite(&lo, "alice", &[&ours]);
    let [bobs, carols] = ["bobs", "carols"].map(|name| new_secret(&lo, name));
    run(&lo, "bob", &["join", &code, &bobs]).assert_code(0);
    assert_eq!(used.wait_code(TIMEOUT), 0);
    run(&lo, "carol", &["join", "-W", "0.5", &code, &carols]).assert_code(69);

    let (mut expired, code) = invite(&lo, "alice", &["-W", "0.3", &ours]);
    assert_eq!(expired.wait_code(TIMEOUT), 69);
    run(&lo, "carol", &["join", "-W", "0.5", &code, &carols]).assert_code(69);
    assert!(!lo.host.folder("carols").exists());

    // Long before the end, it is said that nobody has the code any more.
    let long = format!("{code}@127.0.0.1:9");
    for (code, why) in [
        (&code, "nobody on this LAN announces the code: "),
        (&long, "no inviter answers at the addresses of the code: "),
    ] {
        let mut joining = lo.spawn("carol", &["join", "-W", "60", code, &carols]);
        let sentence = format!("p2pchat: {why}it may be used or void; trying for ");
        joining
            .err
            .wait_for(TIMEOUT, |line| line.starts_with(&sentence));
        joining.signal(Signal::SIGINT);
        joining.wait_exit(TIMEOUT);
    }
}

/// Without multicast, the long code leads to the inviter. Who cannot store the secret is refused
/// before anything is used up.
#[test]
fn the_long_code_needs_no_multicast() {
    let Some(lo) = Loopback::new() else { return };
    lo.host.add_card("10.1.2.3/24");
    let ours = secret(&lo, "ours");
    let quiet = ["-m", "none", "--interface", "d0", &ours];
    let (mut invite, code) = invite(&lo, "alice", &quiet);
    let prefix = "beyond this LAN: ";
    let line = invite
        .out
        .wait_for(TIMEOUT, |line| line.starts_with(prefix));
    let long = &line[prefix.len()..];
    assert!(long.starts_with(&format!("{code}@10.1.2.3:")), "{long}");
    for (arguments, status) in [
        (&["join", long, "-m", "none", &ours][..], 78),
        (&["join", &code, "-m", "none", &new_secret(&lo, "bobs")], 2),
        (&["join", long, "-m", "none"], 2),
        (&["join", "7-babab", &new_secret(&lo, "bobs")], 2),
        (&["join", &new_secret(&lo, "bobs")], 2),
        (&["invite"], 2),
        (
            &["join", long, "-m", "none", &new_secret(&lo, "none/bobs")],
            78,
        ),
    ] {
        let outcome = run(&lo, "bob", arguments);
        assert_eq!(
            (outcome.code, outcome.err.len()),
            (status, 1),
            "{outcome:?}"
        );
    }
    let bobs = new_secret(&lo, "bobs");
    run(&lo, "bob", &["join", long, "-m", "none", &bobs]).assert_code(0);
    assert_eq!(invite.wait_code(TIMEOUT), 0, "{:?}", invite.err.all());
    assert_eq!(invite.err.all(), [""; 0]);
}

/// Strangers that connect and say nothing keep nobody out: the oldest of them are closed.
#[test]
fn silent_strangers_do_not_keep_the_newcomer_out() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let (mut invite, code) = invite(&lo, "alice", &["-p", "10777", &ours]);
    let connect = |_| TcpStream::connect((Ipv4Addr::LOCALHOST, 10_777)).expect("an inviter");
    let strangers: Vec<TcpStream> = lo.host.namespace.inside(|| (0..20).map(connect).collect());
    let assert_closed_within = |mut stream: &TcpStream, limit| {
        stream.set_read_timeout(Some(limit)).expect("a socket");
        let read = stream.read_to_end(&mut Vec::new());
        // The inviter may end the stream in either way.
        let is_reset = |error: &Error| error.kind() == ErrorKind::ConnectionReset;
        let is_closed = matches!(&read, Ok(0)) || read.as_ref().is_err_and(is_reset);
        assert!(is_closed, "{read:?} {:?}", invite.err.all());
    };
    // The first ones give way to the last ones. These have 10 s.
    let (first, others) = strangers.split_at(4);
    for stranger in first {
        assert_closed_within(stranger, Duration::from_secs(5));
    }
    assert_closed_within(&others[0], 2 * TIMEOUT);
    let bobs = new_secret(&lo, "bobs");
    run(&lo, "bob", &["join", &code, &bobs]).assert_code(0);
    assert_eq!(invite.wait_code(TIMEOUT), 0);
}

/// Bob, whose steps a test takes one by one.
struct SlowNewcomer {
    stream: InviteStream,
    socket: TcpStream,
}

impl SlowNewcomer {
    /// Connects to the inviter at this port.
    fn connect(lo: &Loopback, code: &str, port: u16) -> SlowNewcomer {
        let bob = Identity::from_seed(&[7; 32]);
        let code = code.parse().expect("a code");
        let (role, mut out) = (Role::Initiator, Vec::new());
        let stream = InviteStream::new(role, &code, bob.noise_secret(), [8; 32], &mut out);
        let connect = || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("an inviter");
        let socket = lo.host.namespace.inside(connect);
        let mut newcomer = SlowNewcomer { stream, socket };
        newcomer.write(&out);
        newcomer
    }

    fn get_secret(&mut self) {
        while !self.stream.is_open() {
            assert_eq!(self.read(), []);
        }
        self.say(&InviteMessage::Join(Peer {
            id: Identity::from_seed(&[7; 32]).id(),
            nick: Nick::new("bob").expect("a name"),
        }));
        let messages = self.read();
        assert!(matches!(messages[..], [InviteMessage::Secret { .. }]));
    }

    fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("an inviter that reads");
    }

    fn say(&mut self, message: &InviteMessage) {
        let mut out = Vec::new();
        self.stream.send(message, &mut out).expect("an open stream");
        self.write(&out);
    }

    fn read(&mut self) -> Vec<InviteMessage> {
        let mut buffer = [0; 4096];
        let (mut out, mut messages) = (Vec::new(), Vec::new());
        self.socket
            .set_read_timeout(Some(TIMEOUT))
            .expect("a socket");
        let n = self.socket.read(&mut buffer).expect("bytes");
        assert_ne!(n, 0, "the inviter ended the stream");
        let fed = self.stream.feed(&buffer[..n], &mut out, &mut messages);
        fed.expect("the messages of an inviter");
        self.write(&out);
        messages
    }
}

/// Who guesses after the newcomer got the secret changes nothing: the code is used up.
#[test]
fn guesses_after_the_newcomer_do_not_void_its_code() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let (mut invite, code) = invite(&lo, "alice", &["-p", "10778", &ours]);
    let mut bob = SlowNewcomer::connect(&lo, &code, 10_778);
    bob.get_secret();
    let file = new_secret(&lo, "mallorys");
    for _ in 0..3 {
        let guess = "7-babab-babab@127.0.0.1:10778";
        run(&lo, "mallory", &["join", "-m", "none", guess, &file]).assert_code(77);
    }
    bob.say(&InviteMessage::Joined);
    assert_eq!(invite.wait_code(TIMEOUT), 0, "{:?}", invite.err.all());
}

/// A host has as many IPv6 addresses as it likes. Those of one network count as one stranger.
#[test]
fn one_network_does_not_keep_the_newcomer_out() {
    let Some(lo) = Loopback::new() else { return };
    for n in 1..=20 {
        let address = format!("addr add fd00:77::{n:x}/128 dev lo");
        lo.host.namespace.ip(&address);
    }
    let ours = secret(&lo, "ours");
    let (mut invite, code) = invite(&lo, "alice", &["-p", "10779", &ours]);
    let mut bob = SlowNewcomer::connect(&lo, &code, 10_779);
    let strangers: Vec<Program> = (1..=20)
        .map(|n| {
            let script = format!(
                "import socket, sys; s = socket.create_connection(('fd00:77::1', 10779), 5, \
                 ('fd00:77::{n:x}', 0)); print('READY', flush=True); sys.stdin.read()"
            );
            let mut command = lo.host.command("python3");
            command.args(["-c", &script]);
            Program::spawn("stranger", command)
        })
        .collect();
    for stranger in &strangers {
        stranger.out.wait_for(TIMEOUT, |line| line == "READY");
    }
    bob.get_secret();
    bob.say(&InviteMessage::Joined);
    assert_eq!(invite.wait_code(TIMEOUT), 0, "{:?}", invite.err.all());
}

/// A newcomer tells its code to three programs that do not know it, and to no further one: each has
/// one guess.
#[test]
fn a_newcomer_tries_its_code_with_three_programs() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    lo.host.namespace.ip("route add 224.0.0.1 dev lo");
    let users = ["alice", "carol", "dave", "erin"];
    let invites = [0, 1, 2, 3].map(|nth: u16| {
        let port = (10_771 + nth).to_string();
        invite(
            &lo,
            users[usize::from(nth)],
            &["-m", "none", "-p", &port, &ours],
        )
        .0
    });
    let bind = || UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    let socket = lo.host.namespace.inside(bind);
    let secret_file = new_secret(&lo, "bobs");
    let mut join = lo.spawn("bob", &["join", "7-babab-babab", &secret_file]);
    let guesses_of = |invite: &Program| {
        let said = invite.err.all();
        let guesses = said.iter().filter(|line| line.contains("a wrong code"));
        guesses.count()
    };
    // A newcomer that listens late misses announcements.
    wait_until("three guesses", TIMEOUT, || {
        for port in 10_771..10_775 {
            // As of earlier versions: each address is a program of its own.
            let beacon = format!(r#"{{"type":"invite","nameplate":7,"port":{port}}}"#);
            let sent = socket.send_to(beacon.as_bytes(), "224.0.0.1:9999");
            sent.expect("a group");
        }
        invites.iter().map(guesses_of).sum::<usize>() >= 3
    });
    assert_eq!(join.wait_code(TIMEOUT), 77, "{:?}", join.err.all());
    let mut guesses = invites.map(|mut invite| {
        invite.signal(Signal::SIGTERM);
        invite.wait_exit(TIMEOUT);
        guesses_of(&invite)
    });
    guesses.sort_unstable();
    assert_eq!(guesses, [0, 1, 1, 1]);
}

/// A connection that breaks says nothing about the code. After three of them the newcomer ends, for
/// each could have guessed it.
#[test]
fn a_broken_connection_is_no_wrong_code() {
    let Some(lo) = Loopback::new() else { return };
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let listener = lo.host.namespace.inside(listen);
    listener.set_nonblocking(true).expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    let code = format!("7-lusab-babad@127.0.0.1:{port}");
    let bobs = new_secret(&lo, "bobs");
    let mut join = lo.spawn("bob", &["join", "-m", "none", &code, &bobs]);
    for _ in 0..3 {
        let mut accepted = None;
        wait_until("a newcomer connects", TIMEOUT, || {
            accepted = listener.accept().ok();
            accepted.is_some()
        });
        let (mut socket, _) = accepted.expect("a newcomer");
        socket.set_nonblocking(false).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a socket");
        let (role, code) = (Role::Responder, "7-lusab-babad".parse().expect("a code"));
        let mut out = Vec::new();
        let mut stream = InviteStream::new(role, &code, [1; 32], [8; 32], &mut out);
        let mut start = [0; 37];
        socket.read_exact(&mut start).expect("the exchange");
        let fed = stream.feed(&start, &mut out, &mut Vec::new());
        fed.expect("a newcomer");
        socket.write_all(&out).expect("a newcomer that reads");
        socket.read_exact(&mut [0; 50]).expect("the first message");
    }
    assert_eq!(join.wait_code(TIMEOUT), 69, "{:?}", join.err.all());
}

/// Name servers that do not answer do not hold up the newcomer beyond `-W`.
#[test]
fn a_silent_name_server_does_not_outlast_the_wait() {
    let Some(lo) = Loopback::new() else { return };
    let servers = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = servers.lines().filter_map(|line| {
        let server = line.strip_prefix("nameserver ")?;
        server.trim().parse::<Ipv4Addr>().ok()
    });
    let servers: Vec<Ipv4Addr> = servers.chain([Ipv4Addr::LOCALHOST]).collect();
    for server in &servers {
        let address = format!("addr replace {server}/32 dev lo");
        lo.host.namespace.ip(&address);
    }
    let bind = |server: &Ipv4Addr| UdpSocket::bind((*server, 53)).expect("a socket");
    let open = || servers.iter().map(bind).collect::<Vec<_>>();
    let _silent = lo.host.namespace.inside(open);
    let begun = Instant::now();
    let code = "7-lusab-babad@inviter.example:9999";
    let bobs = new_secret(&lo, "bobs");
    run(&lo, "bob", &["join", "-W", "1", "-m", "none", code, &bobs]).assert_code(69);
    assert!(
        begun.elapsed() < Duration::from_secs(4),
        "{:?}",
        begun.elapsed()
    );
}

/// A program that accepts and says nothing does not hold up the newcomer beyond `-W`.
#[test]
fn a_silent_inviter_does_not_outlast_the_wait() {
    let Some(lo) = Loopback::new() else { return };
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let silent = lo.host.namespace.inside(listen);
    let port = silent.local_addr().expect("an address").port();
    let code = format!("7-lusab-babad@127.0.0.1:{port}");
    let bobs = new_secret(&lo, "bobs");
    let begun = Instant::now();
    let outcome = run(&lo, "bob", &["join", "-W", "1", "-m", "none", &code, &bobs]);
    outcome.assert_code(69);
    assert!(
        begun.elapsed() < Duration::from_secs(6),
        "{:?}",
        begun.elapsed()
    );
}
