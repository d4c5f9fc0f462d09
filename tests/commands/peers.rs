//! `peers` and `--peer`: how programs on one host find each other, and how they are listed.
use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::name::Nick;
use p2pchat::base::time::WallTime;
use p2pchat::wire::beacon::{Beacon, BeaconKind};

use super::control_socket::Client;
use super::hosts::host::Loopback;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, run, wait_joined, wait_line};

/// `peers` prints name, id, address, found, state, round trip, rooms and last seen, separated by TAB,
/// and
/// is not announced to others.
#[test]
fn peers_prints_eight_tab_separated_columns() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "ops", "-r", "general"]);
    let carol = lo.start("carol", &["listen"]);
    wait_joined(&bob, "carol");
    let outcome = run(&lo, "alice", &["peers", "-W", "1"]);
    outcome.assert_code(0);
    assert!(outcome.err.is_empty(), "{outcome:?}");
    assert_eq!(outcome.out.len(), 2, "{outcome:?}");
    for (user, port) in [("bob", bob.wait_ready()), ("carol", carol.wait_ready())] {
        let row = outcome.out.iter().find(|row| row.starts_with(user));
        let row = row.unwrap_or_else(|| panic!("{user}: {outcome:?}"));
        let columns: Vec<&str> = row.split('\t').collect();
        let [name, id, address, found, state, round_trip, rooms, seen] = columns[..] else {
            panic!("{row}");
        };
        assert_eq!(id.len(), 52, "{row}");
        assert_eq!(name, format!("{user}~{}", &id[..4]), "{row}");
        assert_eq!(address, format!("127.0.0.1:{port}"), "{row}");
        assert_eq!((found, state), ("multicast", "linked"), "{row}");
        assert!(round_trip.parse::<f64>().is_ok_and(|ms| ms >= 0.0), "{row}");
        assert_eq!(rooms, "#general", "{row}");
        assert!(WallTime::parse(seen).is_some(), "{row}");
    }
    // `peers` is not announced to others.
    let printed = bob.out.all();
    assert!(
        !printed.iter().any(|line| line.contains("alice")),
        "{printed:?}"
    );
}

/// `peers --json` prints one object for each peer, with exactly these fields.
#[test]
fn peers_prints_json_objects() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["--json", "peers", "-W", "1"]);
    outcome.assert_code(0);
    assert_eq!(outcome.out.len(), 1, "{outcome:?}");
    let row: serde_json::Value = serde_json::from_str(&outcome.out[0]).expect("JSON");
    let id = row["sender"].as_str().expect("an id");
    let (short, trip, seen) = (&id[..4], &row["rtt_ms"], &row["last_seen"]);
    assert!(trip.as_f64().is_some_and(|ms| ms >= 0.0), "{row}");
    let expected = format!(
        r##"{{"type":"peer","sender":"{id}","username":"bob","name":"bob~{short}","address":"127.0.0.1:{}","found":"multicast","state":"linked","rtt_ms":{trip},"rooms":["#general"],"trust":"new","last_seen":{seen}}}"##,
        bob.wait_ready()
    );
    assert_eq!(outcome.out[0], expected);
}

/// Beside a running program, `peers` also lists who was linked with it and has gone, and when it was
/// last heard. Such a peer is nobody: the status is 69.
#[test]
fn who_has_gone_is_listed_as_gone() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let carol = lo.start("carol", &["--commands"]);
    wait_joined(&bob, "carol");
    let before = lo.start("dave", &["listen"]);
    wait_joined(&bob, "dave");
    for mut gone in [carol, before] {
        gone.signal(Signal::SIGTERM);
        gone.wait_exit(TIMEOUT);
    }
    wait_line(&bob, " left");
    wait_until("both have left", TIMEOUT, || {
        bob.out
            .all()
            .iter()
            .filter(|it| it.ends_with(" left"))
            .count()
            == 2
    });
    let outcome = run(&lo, "bob", &["peers", "-W", "0.1"]);
    outcome.assert_code(69);
    for (row, name) in outcome.out.iter().zip(["carol", "dave"]) {
        let columns: Vec<&str> = row.split('\t').collect();
        assert_eq!(
            (columns[4], columns[5], columns[6]),
            ("gone", "-", "-"),
            "{row}"
        );
        let is_named = outcome.out.iter().any(|row| row.starts_with(name));
        assert!(is_named && WallTime::parse(columns[7]).is_some(), "{row}");
    }
    assert_eq!(outcome.out.len(), 2, "{outcome:?}");
}

/// `peers` without a peer prints nothing and ends with 69.
#[test]
fn peers_without_a_peer_is_69() {
    let Some(lo) = Loopback::new() else { return };
    for args in [
        &["peers", "-W", "0.2"][..],
        &["peers", "-W", "0.2", "--json"],
    ] {
        let outcome = run(&lo, "alice", args);
        assert_eq!((outcome.code, outcome.out.len()), (69, 0), "{outcome:?}");
    }
}

/// `--peer HOST:PORT` connects without beacons, by IPv4, name and IPv6, and is dialed until it
/// answers.
#[test]
fn a_static_peer_needs_no_beacon() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["-m", "none", "listen"]);
    let port = bob.wait_ready();
    // Without --peer nobody is found.
    run(&lo, "alice", &["-m", "none", "peers", "-W", "0.3"]).assert_code(69);
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let address = format!("{host}:{port}");
        let text = format!("by {host}");
        let args = ["-m", "none", "--peer", &address, "send", &text];
        let outcome = run(&lo, "alice", &args);
        assert_eq!(outcome.code, 0, "{address}: {outcome:?}");
        wait_line(&bob, &format!(": {text}"));
    }
    let address = format!("localhost:{port}");
    let args = ["-m", "none", "--peer", &address, "peers", "-W", "1"];
    let outcome = run(&lo, "alice", &args);
    assert!(outcome.out[0].contains("\tgiven\tlinked\t"), "{outcome:?}");

    // A static peer that has not started yet is dialed until it has.
    let args = ["-m", "none", "--peer", "localhost:10888"];
    let alice = lo.start("carol", &args);
    let dave = lo.start("dave", &["-m", "none", "-p", "10888"]);
    wait_joined(&alice, "dave");
    wait_joined(&dave, "carol");
}

/// The file `hosts` of a namespace, deleted when this is dropped. `ip netns exec` puts it in the
/// place of `/etc/hosts`.
struct HostsFile(PathBuf);

impl HostsFile {
    fn new(lo: &Loopback, text: &str) -> HostsFile {
        let folder = Path::new("/etc/netns").join(lo.host.namespace.name());
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("hosts"), text).expect("a file");
        HostsFile(folder)
    }
}

impl Drop for HostsFile {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Of the addresses of a name, four are dialed: whoever answers for the name can't have us dial any
/// number of hosts.
#[test]
fn four_addresses_of_a_name_are_dialed() {
    let Some(lo) = Loopback::new() else { return };
    let hosts: String = (1..=8).map(|n| format!("127.0.7.{n} many\n")).collect();
    let _hosts = HostsFile::new(&lo, &hosts);
    let listen = |n: u8| {
        let bound = lo
            .host
            .namespace
            .inside(|| TcpListener::bind((Ipv4Addr::new(127, 0, 7, n), 10_777)));
        let listener = bound.expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        listener
    };
    let listeners: Vec<TcpListener> = (1..=8).map(listen).collect();
    let _alice = lo.start("alice", &["-m", "none", "--peer", "many:10777", "listen"]);
    let mut dialed = BTreeSet::new();
    let mut accept_all = || {
        dialed.extend((0..8).filter(|n| listeners[*n].accept().is_ok()));
        dialed.len()
    };
    wait_until("four dials", TIMEOUT, || accept_all() >= 4);
    // All dials begin in one turn, and this answer comes from a later one.
    Client::connect(&lo, "alice");
    assert_eq!(accept_all(), 4);
}

/// `--peer ID@HOST:PORT` accepts only the peer with this key; another one is 77 and a sentence.
#[test]
fn a_static_peer_with_an_id_must_have_that_key() {
    let Some(lo) = Loopback::new() else { return };
    let id = |user: &str| {
        let outcome = run(&lo, user, &["whoami"]);
        let line = outcome
            .out
            .iter()
            .find_map(|line| line.strip_prefix("id: "));
        line.expect("an id").to_owned()
    };
    let (bobs, carols) = (id("bob"), id("carol"));
    let bob = lo.start("bob", &["-m", "none", "listen"]);
    let port = bob.wait_ready();
    for (id, command, code) in [
        (&bobs, &["send", "psst"][..], 0),
        (&carols, &["-W", "0.5", "send", "psst"], 77),
        (&carols, &["-W", "0.5", "peers"], 77),
        (&carols, &["-W", "0.5", "listen"], 77),
    ] {
        let peer = format!("{id}@localhost:{port}");
        let args = [&["-m", "none", "--peer", &peer][..], command].concat();
        let outcome = run(&lo, "alice", &args);
        outcome.assert_code(code);
        let warned = outcome.err.iter().any(|line| line.contains("IS NOT"));
        assert_eq!(warned, code == 77, "{outcome:?}");
    }
}

/// /code tells the own code; /connect links with the peer of a code, and with no other one.
#[test]
fn connect_links_with_the_peer_of_a_code() {
    let Some(lo) = Loopback::new() else { return };
    lo.host.add_card("10.1.2.3/24");
    let quiet = &["-m", "none", "--interface", "d0", "--commands"][..];
    let mut bob = lo.start("bob", quiet);
    let mut alice = lo.start("alice", quiet);
    let mut carol = lo.start("carol", quiet);
    bob.say("/code");
    let line = bob.err.wait_for(TIMEOUT, |line| line.starts_with("code: "));
    let code = &line["code: ".len()..];
    assert!(line.contains("@10.1.2.3:"), "{line}");
    let whoami = run(&lo, "bob", &["whoami", "--interface", "d0"]);
    assert!(whoami.out.contains(&line), "{whoami:?}");

    alice.say(&format!("/connect {code}"));
    wait_joined(&alice, "bob");
    // Carol's id, where Bob listens.
    carol.say("/code");
    let line = carol
        .err
        .wait_for(TIMEOUT, |line| line.starts_with("code: "));
    let (carols_id, _) = line["code: ".len()..].split_once('@').expect("an id");
    let (_, bobs_address) = code.split_once('@').expect("an address");
    let (bobs_address, _) = bobs_address.split_once(",=").expect("a check sum");
    carol.say(&format!("/connect {code}x"));
    carol
        .err
        .wait_for(TIMEOUT, |line| line.contains("typing error"));
    carol.say(&format!("/connect @{carols_id}"));
    carol
        .err
        .wait_for(TIMEOUT, |line| line.contains("is an id without an address"));
    alice.say(&format!("/connect {carols_id}@{bobs_address}"));
    alice.err.wait_for(TIMEOUT, |line| line.contains("IS NOT"));
    carol.say(&format!("/connect {bobs_address}"));
    wait_joined(&carol, "bob");
    // An endless list of addresses is refused. A repeated address is none of it.
    for port in 1..=70 {
        carol.say("/connect 10.1.2.4:1");
        carol.say(&format!("/connect 10.1.2.4:{port}"));
    }
    carol
        .err
        .wait_for(TIMEOUT, |line| line.contains("too many addresses"));
}

/// What was named with /connect outlasts the program through which it was said, and the pin of the
/// options file that it replaced does not come back with SIGHUP.
#[test]
fn connect_outlasts_the_server_and_a_reload() {
    let Some(lo) = Loopback::new() else { return };
    let id = |user: &str| {
        let outcome = run(&lo, user, &["whoami"]);
        let mut lines = outcome.out.iter();
        let line = lines.find_map(|line| line.strip_prefix("id: "));
        line.expect("an id").to_owned()
    };
    let quiet = &["-m", "none", "--commands"][..];
    let listen = ["-m", "none", "-p", "10888", "listen"];
    let mut bob = lo.start("bob", &listen);
    let server = lo.start("alice", quiet);
    let mut alice = lo.start("alice", quiet);
    let folder = lo.host.folder(".config/p2pchat");
    fs::create_dir_all(&folder).expect("a folder");
    let pin = format!("--peer {}@localhost:10888\n", id("carol"));
    fs::write(folder.join("options"), &pin).expect("a file");
    alice.say(&format!("/connect {}@localhost:10888", id("bob")));
    wait_joined(&alice, "bob");
    let mut server = server;
    server.kill();
    alice.out.wait_all(TIMEOUT, |lines| {
        lines
            .iter()
            .filter(|line| line.ends_with(" joined"))
            .count()
            == 2
    });

    // The file is read again: at first, its pin is new. Bob's then replaces it.
    alice.signal(Signal::SIGHUP);
    alice.err.wait_for(TIMEOUT, |line| line.contains("IS NOT"));
    alice.say(&format!("/connect {}@localhost:10888", id("bob")));
    alice.say("/code");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.starts_with("code: "));
    fs::write(folder.join("options"), format!("{pin}-r ops\n")).expect("a file");
    alice.signal(Signal::SIGHUP);
    alice.say("/join general");
    bob.signal(Signal::SIGTERM);
    bob.wait_code(TIMEOUT);
    let bob = lo.start("bob", &listen);
    wait_joined(&bob, "alice");
}

/// A program whose `--peer` is its own address stays unlinked from itself, and its output shows
/// only others.
#[test]
fn a_program_that_dials_itself_stays_unlinked() {
    let Some(lo) = Loopback::new() else { return };
    let args = [
        "-p",
        "10999",
        "--peer",
        "localhost:10999",
        "listen",
        "--json",
    ];
    let bob = lo.start("bob", &args);
    // Once a link with another peer stands, there was time for one with itself.
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let is_join = |line: &str| line.starts_with(r#"{"type":"join""#);
    bob.out.wait_for(TIMEOUT, is_join);
    run(&lo, "carol", &["send", "hello"]).assert_code(0);
    bob.out.wait_for(TIMEOUT, |line| line.contains("hello"));
    let joins: Vec<String> = bob.out.all().into_iter().filter(|l| is_join(l)).collect();
    assert_eq!(joins.len(), 1, "{joins:?}");
    assert!(joins[0].contains("\"alice\""), "{joins:?}");
    assert_eq!(bob.err.all().len(), 1, "{:?}", bob.err.all());
}

/// A peer that sends beacons and refuses connections is listed as gone. If only such peers are
/// found, the status is 69.
#[test]
fn a_peer_that_does_not_answer_is_listed_as_gone() {
    let Some(lo) = Loopback::new() else { return };
    lo.host.namespace.ip("route add 224.0.0.1 dev lo");
    let socket = lo.host.namespace.inside(|| UdpSocket::bind("127.0.0.1:0"));
    let socket = socket.expect("a socket");
    let beacon = Beacon {
        kind: BeaconKind::Discover,
        peer: Identity::from_seed(&[7; 32]).id(),
        nick: Nick::new_or_placeholder("dave"),
        // No program listens on this port.
        port: 1,
        run: 1,
        counter: 1,
        interval_ms: 100,
        transient: false,
        room_hashes: Vec::new(),
        has_more_rooms: true,
    };
    let bytes = beacon.encode(&NetworkTag::OPEN, None, &[0; 24]);
    let send_beacon = || {
        socket.send_to(&bytes, "224.0.0.1:9999").expect("a group");
        thread::sleep(Duration::from_millis(50));
    };
    // Alone, and attached to a server.
    for attached in [false, true] {
        let _alice = attached.then(|| lo.start("alice", &["listen"]));
        let mut beacons = 10;
        wait_until("a peer listed as gone", TIMEOUT, || {
            let alone = (!attached).then(|| lo.spawn("alice", &["peers", "-W1"]));
            (0..beacons).for_each(|_| send_beacon());
            let later = || lo.spawn("alice", &["peers", "-W0.1"]);
            let outcome = finish(alone.unwrap_or_else(later), b"");
            let gone = outcome.out.iter().any(|row| row.contains("\tgone\t"));
            let known = outcome.out.iter().any(|row| row.contains("\tknown\t"));
            assert_eq!(outcome.code, if known { 0 } else { 69 }, "{outcome:?}");
            // A server may still list the peer as known; it is queried again until it lists it
            // as gone.
            beacons = if attached && known { 0 } else { 10 };
            gone
        });
    }
}

/// `--expect` says who is missing: 75, and 0 if all are here, this program included.
#[test]
fn expected_peers_must_be_here() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let carol = lo.start("carol", &["listen"]);
    wait_joined(&bob, "carol");
    wait_joined(&carol, "bob");
    let id = run(&lo, "carol", &["whoami"]).out[1].replace("id: ", "");
    let file = lo.host.folder("expected");
    let path = file.to_str().expect("a path");
    let peers = |text: &str, more: &[&str]| {
        fs::write(&file, text).expect("a file");
        run(
            &lo,
            "alice",
            &[&["peers", "-W", "1", "--expect", path], more].concat(),
        )
    };
    let outcome = peers(&format!("# all\r\nbob\r\n\n@{id}\nalice\n"), &[]);
    outcome.assert_code(0);
    assert_eq!(
        (outcome.out.len(), outcome.err.len()),
        (2, 0),
        "{outcome:?}"
    );
    for more in [&["--json"][..], &["-q"]] {
        let outcome = peers("dave\nbob\nbob~aaaa\nguest/zed", more);
        outcome.assert_code(75);
        let missing =
            ["dave", "bob~aaaa", "guest/zed"].map(|name| format!("p2pchat: missing: @{name}"));
        assert_eq!(outcome.err, missing, "{outcome:?}");
        assert_eq!(outcome.out.len(), 2, "{outcome:?}");
    }
    // Nobody is here at all.
    let outcome = peers("bob\n", &["-m", "none"]);
    outcome.assert_code(69);
    assert_eq!(
        outcome.err.last().map(|line| &line[..]),
        Some("p2pchat: missing: @bob")
    );
    peers("alice\n", &["-m", "none"]).assert_code(0);
    // Beside a running program, which knows them.
    let _alice = lo.start("alice", &["listen"]);
    peers("dave\nbob\n", &[]).assert_code(75);
    peers("carol\nbob\nalice\n", &[]).assert_code(0);
}

/// Beside a running program `peers --expect` waits for who is missing, for all of `-W`, and ends as
/// soon as all are here.
#[test]
fn expected_peers_are_awaited() {
    let Some(lo) = Loopback::new() else { return };
    let file = lo.host.folder("expected");
    fs::write(&file, "bob\n").expect("a file");
    let path = file.to_str().expect("a path");
    let alice = lo.start("alice", &["listen"]);
    // It has looked round for longer than `-W` before.
    let outcome = run(&lo, "alice", &["peers", "-W", "0.5", "--expect", path]);
    outcome.assert_code(69);
    assert_eq!(outcome.err, ["p2pchat: missing: @bob"]);
    assert!(
        outcome.duration >= Duration::from_millis(500),
        "{outcome:?}"
    );
    let waiting = lo.spawn("alice", &["peers", "-W", "60", "--expect", path]);
    let _bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    let outcome = finish(waiting, b"");
    outcome.assert_code(0);
    assert!(outcome.err.is_empty(), "{outcome:?}");
    assert_eq!(outcome.out.len(), 1, "{outcome:?}");
    assert!(outcome.duration < Duration::from_secs(30), "{outcome:?}");
}

/// A beacon does not make an expected peer be here, and a bad file is refused.
#[test]
fn an_expected_peer_must_prove_its_key() {
    let Some(lo) = Loopback::new() else { return };
    let file = lo.host.folder("expected");
    let path = file.to_str().expect("a path");
    let arguments = ["peers", "-W", "1", "--expect", path];
    lo.host.namespace.ip("route add 224.0.0.1 dev lo");
    // Dave's host accepts connections, and his program never answers.
    let inside = || {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        (socket, TcpListener::bind("127.0.0.1:0").expect("a port"))
    };
    let (socket, listener) = lo.host.namespace.inside(inside);
    let beacon = Beacon {
        kind: BeaconKind::Discover,
        peer: Identity::from_seed(&[7; 32]).id(),
        nick: Nick::new_or_placeholder("dave"),
        port: listener.local_addr().expect("an address").port(),
        run: 1,
        counter: 1,
        interval_ms: 10_000,
        transient: false,
        room_hashes: Vec::new(),
        has_more_rooms: true,
    };
    let bytes = beacon.encode(&NetworkTag::OPEN, None, &[0; 24]);
    fs::write(&file, "dave\n").expect("a file");
    let alice = lo.spawn("alice", &arguments);
    for _ in 0..10 {
        socket.send_to(&bytes, "224.0.0.1:9999").expect("a group");
        thread::sleep(Duration::from_millis(50));
    }
    let outcome = finish(alice, b"");
    outcome.assert_code(75);
    assert!(outcome.out[0].contains("\tknown\t"), "{outcome:?}");
    assert_eq!(outcome.err, ["p2pchat: missing: @dave"]);
    let peers = |text: &[u8]| {
        fs::write(&file, text).expect("a file");
        run(&lo, "alice", &arguments)
    };
    for (text, sentence) in [
        (&b"bob\n\n # a comment\na b # two\n"[..], "line 4: `a b`"),
        (b"\xff\n", "expected: "),
        (&vec![b'\n'; 256 * 1024 + 1], "larger than 256 KiB"),
    ] {
        let outcome = peers(text);
        outcome.assert_code(78);
        assert!(outcome.err[0].contains(sentence), "{outcome:?}");
    }
    let outcome = run(&lo, "alice", &["peers", "--expect", "/nonexistent"]);
    outcome.assert_code(78);
}
