//! Clients of Grenache, and hostile ones.
use std::net::SocketAddr;

use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::wire::grenache::rpc::write_request;
use p2pchat::wire::grenache::websocket_frame::{Opcode, write_frame};

use super::grenache_support::{
    ACK, MASK, Service, client, find, host, masked, request, service_of_alice, upgrade, write,
};
use super::support::{guest_count, shown};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::open_stream_from;

/// A request to a service of ours is a line of the guest that it names, or of its host. It is
/// answered, whatever it is.
#[test]
fn a_request_is_a_line_and_is_answered() {
    let (mut lan, alice) = service_of_alice(1);
    let stream = client(&mut lan, alice, 1, host(1));
    for service in ["alice", "p2pchat:grenache", "p2pchat:general"] {
        assert_eq!(request(&mut lan, alice, stream, service, "bob", "hi"), ACK);
    }
    for service in ["bob", "p2pchat:ops", "p2pchat:", ""] {
        let answer = request(&mut lan, alice, stream, service, "bob", "not for us");
        assert_eq!(
            answer, r#"["1","ERR_P2PCHAT_NO_SERVICE",null]"#,
            "{service}"
        );
    }
    write(
        &mut lan,
        alice,
        stream,
        &masked(r#"["2","alice",{"text":"who am I"}]"#),
    );
    assert_eq!(
        shown(&lan, alice),
        [
            "#grenache bob joined",
            "#grenache bob: hi",
            "#grenache bob: hi",
            "#grenache bob: hi",
            "#grenache 10.0.9.1 joined",
            "#grenache 10.0.9.1: who am I",
        ]
    );
    write(&mut lan, alice, stream, &masked("no JSON"));
    assert!(lan.has_closed(alice, stream));
}

/// A text that is longer than a line is refused: none is cut and acknowledged.
#[test]
fn a_text_that_is_too_long_is_refused() {
    let (mut lan, alice) = service_of_alice(28);
    let stream = client(&mut lan, alice, 1, host(1));
    for (bytes, answer) in [
        (16 * 1024, ACK),
        (16 * 1024 + 1, r#"["1","ERR_P2PCHAT_TOO_LONG",null]"#),
    ] {
        let text = "x".repeat(bytes);
        assert_eq!(
            request(&mut lan, alice, stream, "alice", "bob", &text),
            answer
        );
    }
    let lines = shown(&lan, alice);
    let lengths: Vec<usize> = lines.iter().map(String::len).collect();
    assert_eq!(lengths[1..], ["#grenache bob: ".len() + 16 * 1024]);
}

/// A program that shows no line of guests acknowledges none, and offers no service of its user: one
/// that only sends, and one that has left the room.
#[test]
fn unseen_lines_are_refused() {
    const REFUSED: &str = r#"["1","ERR_P2PCHAT_NO_SERVICE",null]"#;
    let offers = |lan: &Lan, who: PeerIndex| {
        let set = lan.peers[who].services.last().expect("services");
        set.iter().any(|it| it.name == "alice" && it.is_offered)
    };
    let (mut lan, alice) = service_of_alice(19);
    assert!(offers(&lan, alice));
    let part = Command::Part(p2pchat::Room::new("#grenache").ok());
    lan.feed(alice, Input::Command(part));
    lan.run_for(10);
    assert!(!offers(&lan, alice));
    let stream = client(&mut lan, alice, 1, host(1));
    for service in ["alice", "p2pchat:grenache", "p2pchat:general"] {
        let answer = request(&mut lan, alice, stream, service, "bob", "hi");
        assert_eq!(answer, REFUSED, "{service}");
    }

    let mut lan = Lan::new(20);
    let alice = lan.add_peer("alice");
    lan.peers[alice].uses_grapes = true;
    lan.peers[alice].transient = true;
    lan.start(alice);
    lan.join(alice, "#grenache");
    let stream = client(&mut lan, alice, 1, host(1));
    assert_eq!(
        request(&mut lan, alice, stream, "alice", "bob", "hi"),
        REFUSED
    );
    assert_eq!(shown(&lan, alice), [""; 0]);
}

/// A guest cannot pass for one of another host, and only what can be a name is looked up.
#[test]
fn odd_names_are_shown_and_not_looked_up() {
    let (mut lan, alice) = service_of_alice(13);
    let stream = client(&mut lan, alice, 1, host(1));
    let long = "x".repeat(40);
    for name in [
        "10.0.9.2",
        "two words",
        "p2pchat:ops",
        "\u{1b}[2J",
        &long,
        "alice",
        "bob",
    ] {
        assert_eq!(
            request(&mut lan, alice, stream, "alice", name, "hi"),
            ACK,
            "{name}"
        );
    }
    let joined = shown(&lan, alice);
    let joined = joined.iter().filter(|line| line.ends_with("joined"));
    let names: Vec<&str> = joined.filter_map(|line| line.split(' ').nth(1)).collect();
    assert_eq!(names, ["10.0.9.1", "?", "?", "?", "?", "alice", "bob"]);
    let set = lan.peers[alice].services.last().expect("services");
    let sought = set.iter().filter(|it| it.is_sought && !it.is_offered);
    let sought: Vec<&str> = sought.map(|it| &*it.name).collect();
    assert_eq!(sought, ["bob"]);
}

/// Streams that do not upgrade in time are closed, however slowly they speak; so is one that rests.
#[test]
fn slow_streams_are_closed() {
    let (mut lan, alice) = service_of_alice(4);
    let slow = open_stream_from(&mut lan, alice, 1, host(1));
    for byte in upgrade().iter().take(5) {
        assert!(!lan.has_closed(alice, slow));
        write(&mut lan, alice, slow, &[*byte]);
        lan.run_for(1_000);
    }
    assert!(lan.has_closed(alice, slow));
    let resting = client(&mut lan, alice, 2, host(2));
    request(&mut lan, alice, resting, "alice", "bob", "hi");
    lan.run_for(149_000);
    request(&mut lan, alice, resting, "alice", "bob", "hi again");
    lan.run_for(149_000);
    assert!(!lan.has_closed(alice, resting));
    lan.run_for(2_000);
    assert!(lan.has_closed(alice, resting));
    let guests = shown(&lan, alice);
    assert!(
        !guests.iter().any(|line| line.ends_with("left")),
        "{guests:?}"
    );
    lan.run_for(150_000);
    assert_eq!(
        shown(&lan, alice).last().expect("a line"),
        "#grenache bob left"
    );
}

/// Of a thousand streams, 8 of a host and 64 in all stay.
#[test]
fn the_number_of_streams_is_bounded() {
    let (mut lan, alice) = service_of_alice(5);
    let open = |lan: &mut Lan, numbers: std::ops::Range<u64>, host_of: fn(u64) -> u8| {
        let streams = numbers.map(|n| {
            let stream = open_stream_from(lan, alice, n, host(host_of(n)));
            write(lan, alice, stream, b"GET ");
            !lan.has_closed(alice, stream)
        });
        streams.filter(|is_open| *is_open).count()
    };
    assert_eq!(open(&mut lan, 0..500, |_| 1), 8);
    assert_eq!(open(&mut lan, 500..1_000, |n| (n % 200) as u8 + 2), 56);
    lan.run_for(5_100);
    assert_eq!(
        open(&mut lan, 1_000..1_010, |_| 1),
        8,
        "the first ones are gone"
    );
}

/// A flood of requests is answered, and cut to 30 at once. It is no more than eight guests, whose
/// names are looked up.
#[test]
fn a_flood_of_requests_is_cut() {
    let (mut lan, alice) = service_of_alice(6);
    let stream = client(&mut lan, alice, 1, host(1));
    for n in 0..1_000 {
        let name = format!("z{n}");
        let answer = request(&mut lan, alice, stream, "alice", &name, "spam");
        assert_eq!(answer == ACK, n < 8, "{n}: {answer}");
    }
    assert_eq!(guest_count(&mut lan, alice), 8);
    let stream = client(&mut lan, alice, 2, host(2));
    let flood = masked(&write_request("1", "alice", "bob", "spam")).repeat(1_000);
    write(&mut lan, alice, stream, &flood);
    let lines = shown(&lan, alice);
    assert_eq!(
        lines
            .iter()
            .filter(|line| line.ends_with("bob: spam"))
            .count(),
        30
    );
    let answers = lan.take_external_writes(alice, stream);
    assert!(answers.len() < flood.len(), "{}", answers.len());
    for n in 3..=12 {
        let stream = client(&mut lan, alice, n, host(n as u8));
        for name in ["a", "b", "c", "d", "e", "f", "g"] {
            request(
                &mut lan,
                alice,
                stream,
                "alice",
                &format!("{name}{n}"),
                "hi",
            );
        }
    }
    lan.run_for(1);
    let set = lan.peers[alice].services.last().expect("services");
    assert_eq!(
        set.iter()
            .filter(|it| it.is_sought && !it.is_offered)
            .count(),
        32
    );
}

/// Requests that are refused cost one write for all that came together. After 64 of them, or after
/// something that is no request, the stream is closed.
#[test]
fn refused_requests_cost_little() {
    let (mut lan, alice) = service_of_alice(21);
    let refused = masked(r#"["1","",0]"#);
    let admitted = masked(&write_request("1", "alice", "bob", "hi"));
    let stream = client(&mut lan, alice, 1, host(1));
    for _ in 0..3 {
        let requests = [refused.repeat(9), admitted.clone()].concat();
        write(&mut lan, alice, stream, &requests);
        assert!(!lan.has_closed(alice, stream));
    }
    write(&mut lan, alice, stream, &refused.repeat(4_000));
    assert!(lan.has_closed(alice, stream));
    let answers = lan.take_external_writes(alice, stream);
    let answers = String::from_utf8_lossy(&answers).matches("ERR_").count();
    assert_eq!(answers, 3 * 9 + 64);
    let stream = client(&mut lan, alice, 2, host(2));
    let requests = [masked("no JSON"), admitted].concat();
    write(&mut lan, alice, stream, &requests);
    assert!(lan.has_closed(alice, stream));
    assert!(lan.take_external_writes(alice, stream).is_empty());
    let lines = shown(&lan, alice);
    assert_eq!(lines.iter().filter(|it| it.ends_with("bob: hi")).count(), 3);
}

/// A client that reads no answers loses its stream before it costs much; so does a service that
/// reads no requests.
#[test]
fn streams_that_read_nothing_are_closed() {
    let (mut lan, alice) = service_of_alice(7);
    let stream = client(&mut lan, alice, 1, host(1));
    lan.feed(alice, Input::Blocked { stream });
    let mut bytes = Vec::new();
    write_frame(Opcode::Ping, &[b'x'; 60], Some(MASK), &mut bytes);
    let mut count = 0;
    while !lan.has_closed(alice, stream) {
        count += 1;
        assert!(count < 2_000);
        write(&mut lan, alice, stream, &bytes);
    }
    assert!(count > 1_000, "{count}");
    let mut addresses = (2..4).map(|n| SocketAddr::from(([10, 0, 9, n], 5_001)));
    let mut next = |lan: &mut Lan, name: &str| {
        let found = addresses.next().expect("an address");
        let stream = client(
            lan,
            alice,
            u64::from(found.port()) + name.len() as u64,
            found,
        );
        request(lan, alice, stream, "alice", name, "hi");
        Service::start(lan, alice, name, found)
    };
    let deaf = next(&mut lan, "deaf");
    next(&mut lan, "zed");
    lan.feed(
        alice,
        Input::Blocked {
            stream: deaf.stream,
        },
    );
    let room = p2pchat::Room::new("#grenache").ok();
    lan.say_all(alice, room, &vec!["x".repeat(10_000); 8]);
    assert!(lan.has_closed(alice, deaf.stream));
}

/// Two p2pchats refuse each other's requests, and do not dial so again: they talk over their link.
#[test]
fn p2pchats_are_no_guests_of_each_other() {
    let (mut lan, alice) = service_of_alice(8);
    let bob = lan.add_peer("bob");
    lan.peers[bob].uses_grapes = true;
    lan.start(bob);
    lan.join(bob, "#grenache");
    lan.run_for(1_000);
    let dials = lan.network.dial_count;
    let address = lan.address(bob);
    for _ in 0..20 {
        find(&mut lan, alice, "p2pchat:grenache", &[address]);
        lan.run_for(60_000);
    }
    assert_eq!(lan.network.dial_count, dials + 1);
    lan.say_in(alice, "#grenache", "by the link");
    lan.run_for(1_000);
    for who in [alice, bob] {
        assert_eq!(shown(&lan, who), [""; 0]);
    }
}

/// In a closed network nothing is served, and nobody is dialed so.
#[test]
fn a_closed_network_serves_nothing() {
    let mut lan = Lan::new(11);
    let alice = lan.add_peer("alice");
    lan.peers[alice].uses_grapes = true;
    lan.peers[alice].psk = Some([7; 32]);
    lan.start(alice);
    lan.join(alice, "#grenache");
    let stream = open_stream_from(&mut lan, alice, 1, host(1));
    write(&mut lan, alice, stream, &upgrade());
    assert!(lan.has_closed(alice, stream));
    assert!(lan.take_external_writes(alice, stream).is_empty());
    find(&mut lan, alice, "p2pchat:grenache", &[host(2)]);
    find(&mut lan, alice, "bob", &[host(2)]);
    assert_eq!(lan.network.dial_count, 0);
}
