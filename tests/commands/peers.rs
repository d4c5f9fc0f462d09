//! How programs find each other on one box, and what `peers` tells of it.
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::name::Nick;
use p2pchat::base::time::WallTime;
use p2pchat::wire::beacon::{Beacon, BeaconKind};

use super::hosts::{Loopback, wait_until};
use super::{TIMEOUT, finish, run, wait_joined, wait_line};

#[test]
fn peers_are_rows_of_seven_columns() {
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
        let [name, id, address, found, state, round_trip, rooms] = columns[..] else {
            panic!("{row}");
        };
        assert_eq!(id.len(), 52, "{row}");
        assert_eq!(name, format!("{user}~{}", &id[..4]), "{row}");
        assert_eq!(address, format!("127.0.0.1:{port}"), "{row}");
        assert_eq!((found, state), ("multicast", "linked"), "{row}");
        assert!(round_trip.parse::<f64>().is_ok_and(|ms| ms >= 0.0), "{row}");
        assert_eq!(rooms, "#general", "{row}");
    }
    // It comes and goes unannounced.
    let shown = bob.out.all();
    assert!(
        !shown.iter().any(|line| line.contains("alice")),
        "{shown:?}"
    );
}

#[test]
fn peers_in_json() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["--json", "peers", "-W", "1"]);
    outcome.assert_code(0);
    assert_eq!(outcome.out.len(), 1, "{outcome:?}");
    let row: serde_json::Value = serde_json::from_str(&outcome.out[0]).expect("JSON");
    let id = row["sender"].as_str().expect("an id");
    let (short, trip) = (&id[..4], &row["rtt_ms"]);
    assert!(trip.as_f64().is_some_and(|ms| ms >= 0.0), "{row}");
    let expected = format!(
        r##"{{"type":"peer","sender":"{id}","username":"bob","name":"bob~{short}","address":"127.0.0.1:{}","found":"multicast","state":"linked","rtt_ms":{trip},"rooms":["#general"]}}"##,
        bob.wait_ready()
    );
    assert_eq!(outcome.out[0], expected);
}

#[test]
fn nobody_there_is_a_status_of_its_own() {
    let Some(lo) = Loopback::new() else { return };
    for args in [
        &["peers", "-W", "0.2"][..],
        &["peers", "-W", "0.2", "--json"],
    ] {
        let outcome = run(&lo, "alice", args);
        assert_eq!((outcome.code, outcome.out.len()), (69, 0), "{outcome:?}");
    }
}

#[test]
fn a_peer_named_by_hand_needs_no_beacon() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["-m", "none", "listen"]);
    let port = bob.wait_ready();
    // Nobody is found without.
    let outcome = run(&lo, "alice", &["-m", "none", "peers", "-W", "0.3"]);
    outcome.assert_code(69);
    for host in ["127.0.0.1", "localhost", "[::1]"] {
        let place = format!("{host}:{port}");
        let text = format!("by {host}");
        let args = ["-m", "none", "--peer", &place, "send", &text];
        let outcome = run(&lo, "alice", &args);
        assert_eq!(outcome.code, 0, "{place}: {outcome:?}");
        wait_line(&bob, &format!(": {text}"));
    }
    let place = format!("localhost:{port}");
    let args = ["-m", "none", "--peer", &place, "peers", "-W", "1"];
    let outcome = run(&lo, "alice", &args);
    assert!(outcome.out[0].contains("\tgiven\tlinked\t"), "{outcome:?}");

    // Who is not there yet is dialed until he is.
    let args = ["-m", "none", "--peer", "localhost:10888"];
    let alice = lo.start("carol", &args);
    let dave = lo.start("dave", &["-m", "none", "-p", "10888"]);
    wait_joined(&alice, "dave");
    wait_joined(&dave, "carol");
}

#[test]
fn who_is_named_by_his_key_is_meant_and_nobody_else() {
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
    for (id, words, code) in [
        (&bobs, &["send", "psst"][..], 0),
        (&carols, &["-W", "0.5", "send", "psst"], 77),
        (&carols, &["-W", "0.5", "peers"], 77),
        (&carols, &["-W", "0.5", "listen"], 77),
    ] {
        let place = format!("{id}@localhost:{port}");
        let args = [&["-m", "none", "--peer", &place][..], words].concat();
        let outcome = run(&lo, "alice", &args);
        outcome.assert_code(code);
        let told = outcome.err.iter().any(|line| line.contains("IS NOT"));
        assert_eq!(told, code == 77, "{outcome:?}");
    }
}

#[test]
fn nobody_is_linked_to_himself() {
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
    // A link with another shows that there was time for one with himself.
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let joined = |line: &str| line.starts_with(r#"{"type":"join""#);
    bob.out.wait_for(TIMEOUT, joined);
    let outcome = run(&lo, "carol", &["send", "hello"]);
    outcome.assert_code(0);
    bob.out.wait_for(TIMEOUT, |line| line.contains("hello"));
    let joins: Vec<String> = bob.out.all().into_iter().filter(|l| joined(l)).collect();
    assert_eq!(joins.len(), 1, "{joins:?}");
    assert!(joins[0].contains("\"alice\""), "{joins:?}");
    assert_eq!(bob.err.all().len(), 1, "{:?}", bob.err.all());
}

#[test]
fn who_is_gone_is_listed_and_is_nobody() {
    let Some(lo) = Loopback::new() else { return };
    lo.host.namespace.ip("route add 224.0.0.1 dev lo");
    let socket = lo.host.namespace.inside(|| UdpSocket::bind("127.0.0.1:0"));
    let socket = socket.expect("a socket");
    let beacon = Beacon {
        kind: BeaconKind::Discover,
        peer: Identity::from_seed(&[7; 32]).id(),
        nick: Nick::new_or_placeholder("dave"),
        // Nobody listens there.
        port: 1,
        run: 1,
        interval_ms: 100,
        timestamp: WallTime(1_700_000_000_000),
        transient: false,
        room_hashes: Vec::new(),
        has_more_rooms: true,
    };
    let bytes = beacon.encode(&NetworkTag::OPEN, None, &[0; 24]);
    let call = || {
        socket.send_to(&bytes, "224.0.0.1:9999").expect("a group");
        thread::sleep(Duration::from_millis(50));
    };
    // By itself, and through another program.
    for through in [false, true] {
        let _alice = through.then(|| lo.start("alice", &["listen"]));
        let mut spoken = 10;
        wait_until("one who is gone", TIMEOUT, || {
            let early = (!through).then(|| lo.spawn("alice", &["peers", "-W1"]));
            (0..spoken).for_each(|_| call());
            let late = || lo.spawn("alice", &["peers", "-W0.1"]);
            let outcome = finish(early.unwrap_or_else(late), b"");
            let gone = outcome.out.iter().any(|row| row.contains("\tgone\t"));
            let known = outcome.out.iter().any(|row| row.contains("\tknown\t"));
            assert_eq!(outcome.code, if known { 0 } else { 69 }, "{outcome:?}");
            // Through another it is still known at first; it is asked again, until it is gone or forgotten.
            spoken = if through && known { 0 } else { 10 };
            gone
        });
    }
}
