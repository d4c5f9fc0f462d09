//! Clients and services of Grenache, and hostile ones.
use std::net::SocketAddr;

use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::wire::grenache::rpc::{RpcRequest, write_answer, write_request};
use p2pchat::wire::grenache::websocket::WebSocket;
use p2pchat::wire::grenache::websocket_frame::{Opcode, write_frame};

use super::support::{guest_count, shown};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::open_stream_from;

const MASK: [u8; 4] = [1, 2, 3, 4];
const ACK: &str = r#"["1",null,{"ack":true}]"#;

/// Alice, who uses Grapes and is in `#grenache`.
fn service_of_alice(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].uses_grapes = true;
    lan.start(alice);
    lan.join(alice, "#grenache");
    lan.run_for(100);
    (lan, alice)
}

fn host(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 9, n], 40_000))
}

fn write(lan: &mut Lan, who: PeerIndex, stream: StreamId, bytes: &[u8]) {
    lan.feed(who, Input::Bytes { stream, bytes });
}

/// The request of a client that is no p2pchat.
fn upgrade() -> Vec<u8> {
    let (_, request) = WebSocket::client(host(1), [7; 16]);
    let request = String::from_utf8(request).expect("ASCII");
    request.replace("p2pchat", "ws").into_bytes()
}

/// Opens a stream from this host, and upgrades it.
fn client(lan: &mut Lan, who: PeerIndex, n: u64, source: SocketAddr) -> StreamId {
    let stream = open_stream_from(lan, who, n, source);
    write(lan, who, stream, &upgrade());
    let answer = lan.take_external_writes(who, stream);
    assert!(answer.starts_with(b"HTTP/1.1 101 "), "{answer:?}");
    stream
}

/// A text as a client sends it.
fn masked(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(Opcode::Text, text.as_bytes(), Some(MASK), &mut bytes);
    bytes
}

/// Sends a request over a stream, and returns the answer.
fn request(
    lan: &mut Lan,
    who: PeerIndex,
    stream: StreamId,
    service: &str,
    from: &str,
    text: &str,
) -> String {
    let bytes = masked(&write_request("1", service, from, text));
    write(lan, who, stream, &bytes);
    let answer = lan.take_external_writes(who, stream);
    String::from_utf8(answer.get(2..).unwrap_or_default().to_vec()).expect("UTF-8")
}

/// A Grape names addresses of a service.
fn find(lan: &mut Lan, who: PeerIndex, service: &str, addresses: &[SocketAddr]) {
    let input = Input::ServiceFound {
        service: service.to_owned(),
        addresses: addresses.to_vec(),
    };
    lan.feed(who, input);
    lan.run_for(10);
}

/// A service that alice dials: her stream, and its end of the WebSocket.
struct Service {
    stream: StreamId,
    websocket: WebSocket,
}

impl Service {
    /// Listens at an address that a Grape names, and accepts the upgrade.
    fn start(lan: &mut Lan, who: PeerIndex, name: &str, address: SocketAddr) -> Service {
        lan.external_listeners.insert(address, Vec::new());
        find(lan, who, name, &[address]);
        Service::accept(lan, who, address)
    }

    /// Accepts the upgrade of the last stream that was dialed there.
    fn accept(lan: &mut Lan, who: PeerIndex, address: SocketAddr) -> Service {
        let stream = *lan.external_listeners[&address].last().expect("a dial");
        let head = lan.take_external_writes(who, stream);
        let head = String::from_utf8(head)
            .expect("ASCII")
            .replace("p2pchat", "ws");
        let mut websocket = WebSocket::server();
        let received = websocket.receive(head.as_bytes(), MASK);
        assert!(received.is_opened);
        write(lan, who, stream, &received.reply);
        Service { stream, websocket }
    }

    /// The requests that came since the last call.
    fn requests(&mut self, lan: &mut Lan, who: PeerIndex) -> Vec<RpcRequest> {
        let bytes = lan.take_external_writes(who, self.stream);
        let received = self.websocket.receive(&bytes, MASK);
        let messages = received.messages.iter();
        messages
            .map(|it| RpcRequest::parse(it).expect("a request"))
            .collect()
    }

    fn answer(&self, lan: &mut Lan, who: PeerIndex, id: &str, error: Option<&str>) {
        let bytes = self.websocket.text(&write_answer(id, error), MASK);
        write(lan, who, self.stream, &bytes);
    }
}

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

/// What alice says goes to the service of a guest that named itself and to those of the room, and is
/// delivered when one of them has answered.
#[test]
fn lines_go_to_services() {
    let (mut lan, alice) = service_of_alice(2);
    let stream = client(&mut lan, alice, 1, host(1));
    request(&mut lan, alice, stream, "alice", "bob", "hi");
    let set = lan.peers[alice].services.last().expect("services");
    assert!(
        set.iter()
            .any(|it| it.name == "bob" && it.is_sought && !it.is_offered)
    );
    let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
    let mut bob = Service::start(&mut lan, alice, "bob", address);
    let address = SocketAddr::from(([10, 0, 9, 2], 5_001));
    lan.external_listeners.insert(address, Vec::new());
    let mut room = Service::start(&mut lan, alice, "p2pchat:grenache", address);
    lan.say_in(alice, "#grenache", "hi all");
    lan.finish(alice, None);
    let [of_bob] = &bob.requests(&mut lan, alice)[..] else {
        panic!("no request");
    };
    let [of_room] = &room.requests(&mut lan, alice)[..] else {
        panic!("no request");
    };
    for (request, service) in [(of_bob, "bob"), (of_room, "p2pchat:grenache")] {
        assert_eq!((&*request.service, &*request.text), (service, "hi all"));
        assert_eq!(request.name.as_deref(), Some("alice"));
    }
    assert_ne!(of_bob.id, of_room.id);
    let parts: Vec<usize> = of_bob.id.split('-').map(str::len).collect();
    assert_eq!(
        (parts, of_bob.id.as_bytes()[14]),
        (vec![8, 4, 4, 4, 12], b'4')
    );
    // A refusal, and an answer to something else, deliver nothing.
    bob.answer(&mut lan, alice, &of_bob.id, Some("ERR_BUSY"));
    room.answer(&mut lan, alice, &of_bob.id, None);
    lan.run_for(100);
    assert!(!lan.peers[alice].is_settled());
    room.answer(&mut lan, alice, &of_room.id, None);
    lan.run_for(100);
    assert!(lan.peers[alice].is_settled());
    lan.feed(alice, Input::Closed { stream: bob.stream });
    assert_eq!(
        shown(&lan, alice).last().expect("a line"),
        "#grenache bob left"
    );
}

/// While alice's disk is full, her line waits, and the attempts to store it end no stream. Guests
/// get it once.
#[test]
fn a_full_disk_repeats_no_line() {
    let (mut lan, alice) = service_of_alice(18);
    lan.peers[alice].disk.full = true;
    lan.say_in(alice, "#grenache", "one");
    lan.run_for(10_000);
    let address = SocketAddr::from(([10, 0, 9, 2], 5_001));
    let mut room = Service::start(&mut lan, alice, "p2pchat:grenache", address);
    lan.run_for(10_000);
    assert!(!lan.has_closed(alice, room.stream));
    assert_eq!(room.requests(&mut lan, alice), []);
    lan.peers[alice].disk.full = false;
    lan.run_for(3_000);
    let requests = room.requests(&mut lan, alice);
    let texts: Vec<&str> = requests.iter().map(|it| &*it.text).collect();
    assert_eq!(texts, ["one"]);
    // A service that cannot take a line yet gets it once, too.
    lan.feed(
        alice,
        Input::Closed {
            stream: room.stream,
        },
    );
    lan.peers[alice].disk.full = true;
    lan.say_in(alice, "#grenache", "two");
    lan.peers[alice].disk.full = false;
    lan.run_for(10_000);
    let mut room = Service::accept(&mut lan, alice, address);
    lan.run_for(3_000);
    assert_eq!(room.requests(&mut lan, alice).len(), 1);
}

/// A name that alice looks for is looked up, and a message reaches its service alone. One that is
/// not answered is reported.
#[test]
fn direct_messages_go_to_a_service() {
    let (mut lan, alice) = service_of_alice(3);
    lan.send_direct_within(alice, "guest/dave", "psst", 5_000);
    let set = lan.peers[alice].services.last().expect("services");
    assert!(set.iter().any(|it| it.name == "dave" && it.is_sought));
    let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
    let mut dave = Service::start(&mut lan, alice, "dave", address);
    lan.run_for(3_000);
    let requests = dave.requests(&mut lan, alice);
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert_eq!(requests[0].text, "psst");
    assert_eq!(lan.peers[alice].error_count("failed"), 0);
    lan.run_for(10_100);
    assert_eq!(lan.peers[alice].error_count("failed"), 1);
}

/// Of two services with one name on a host, a message reaches the one whose address is shown.
#[test]
fn two_services_of_a_host_are_told_apart() {
    let (mut lan, alice) = service_of_alice(23);
    let stream = client(&mut lan, alice, 1, host(1));
    request(&mut lan, alice, stream, "alice", "bob", "hi");
    let mut services = [5_001, 5_002].map(|port| {
        let address = SocketAddr::from(([10, 0, 9, 1], port));
        Service::start(&mut lan, alice, "bob", address)
    });
    lan.send_direct(alice, "guest/bob@10.0.9.1:5002", "psst");
    lan.run_for(100);
    let counts = services
        .each_mut()
        .map(|service| service.requests(&mut lan, alice).len());
    assert_eq!(counts, [0, 1]);
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

/// A lying Grape cannot make alice dial one host, or services of the system, again and again.
#[test]
fn lying_grapes_cause_few_dials() {
    let (mut lan, alice) = service_of_alice(9);
    let stream = client(&mut lan, alice, 1, host(66));
    request(&mut lan, alice, stream, "alice", "bob", "hi");
    let low: Vec<SocketAddr> = (1..1_024)
        .map(|port| SocketAddr::from(([10, 0, 9, 66], port)))
        .collect();
    find(&mut lan, alice, "bob", &low);
    find(
        &mut lan,
        alice,
        "carol",
        &[SocketAddr::from(([10, 0, 9, 66], 5_000))],
    );
    assert_eq!(lan.network.dial_count, 0);
    let victim: Vec<SocketAddr> = (2_000..3_000)
        .map(|port| SocketAddr::from(([10, 0, 9, 66], port)))
        .collect();
    for _ in 0..25 {
        find(&mut lan, alice, "bob", &victim);
        lan.run_for(10_000);
    }
    let dials = lan.network.dial_count;
    assert!((8..=48).contains(&dials), "{dials} dials in 4 minutes");
    let many: Vec<SocketAddr> = (0..200)
        .map(|n| SocketAddr::from(([10, 0, 8, n], 5_000)))
        .collect();
    lan.send_direct(alice, "guest/bob", "psst");
    find(&mut lan, alice, "bob", &many);
    let dials = lan.network.dial_count - dials;
    assert!((50..=64).contains(&dials), "{dials}");
}

/// Lines are delivered in whatever order they are acknowledged, but only all of them. Of 64 pieces
/// with gaps between them, the first one is forgotten.
#[test]
fn answers_come_in_any_order() {
    for (count, is_remembered) in [(126, true), (132, false)] {
        let (mut lan, alice) = service_of_alice(17);
        let stream = client(&mut lan, alice, 1, host(1));
        request(&mut lan, alice, stream, "alice", "dave", "hi");
        let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
        let mut dave = Service::start(&mut lan, alice, "dave", address);
        for n in 0..count {
            lan.say_in(alice, "#grenache", &format!("line {n}"));
            lan.run_for(25);
        }
        lan.finish(alice, None);
        let requests = dave.requests(&mut lan, alice);
        assert_eq!(requests.len(), count);
        let backwards = requests.iter().rev().step_by(2);
        let others = requests.iter().step_by(2).skip(1);
        for request in backwards.chain(others) {
            dave.answer(&mut lan, alice, &request.id, None);
        }
        lan.run_for(10);
        assert!(
            !lan.peers[alice].is_settled(),
            "the first line has no answer"
        );
        dave.answer(&mut lan, alice, &requests[0].id, None);
        lan.run_for(10);
        assert_eq!(lan.peers[alice].is_settled(), is_remembered, "{count}");
    }
}

/// Answers are awaited within a bound: a line whose answer is not awaited any more is reported.
#[test]
fn awaited_answers_are_bounded() {
    let (mut lan, alice) = service_of_alice(14);
    let stream = client(&mut lan, alice, 1, host(1));
    request(&mut lan, alice, stream, "alice", "dave", "hi");
    let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
    Service::start(&mut lan, alice, "dave", address);
    for _ in 0..300 {
        lan.send_direct(alice, "guest/dave", "psst");
    }
    lan.run_for(7_000);
    assert_eq!(lan.peers[alice].error_count("failed"), 44);
    lan.run_for(20_000);
    assert_eq!(lan.peers[alice].error_count("failed"), 300);
}

/// A guest who claims the name of a service makes alice's lines go to no other host than its own.
/// Nor do guests keep a name that alice looks for from being looked up.
#[test]
fn claimed_names_lead_to_no_other_host() {
    let (mut lan, alice) = service_of_alice(22);
    let stream = client(&mut lan, alice, 1, host(1));
    request(&mut lan, alice, stream, "alice", "payments", "hi");
    let payments = SocketAddr::from(([10, 0, 9, 2], 5_001));
    find(&mut lan, alice, "payments", &[payments]);
    assert_eq!(lan.network.dial_count, 0);
    for n in 2..=12 {
        let stream = client(&mut lan, alice, n, host(n as u8));
        for name in ["a", "b", "c", "d"] {
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
    lan.send_direct(alice, "guest/payments", "psst");
    lan.send_direct(alice, "guest/zoe", "psst");
    lan.run_for(1);
    let set = lan.peers[alice].services.last().expect("services");
    let sought = set.iter().filter(|it| it.is_sought && !it.is_offered);
    assert_eq!(sought.clone().count(), 32);
    for name in ["payments", "zoe"] {
        assert!(sought.clone().any(|it| it.name == name), "{name}");
    }
    find(&mut lan, alice, "payments", &[payments]);
    assert_eq!(lan.network.dial_count, 1);
}

/// A dead address is dialed less and less often, and no longer once no Grape names it.
#[test]
fn a_dead_address_is_forgotten() {
    let (mut lan, alice) = service_of_alice(15);
    let stream = client(&mut lan, alice, 1, host(1));
    request(&mut lan, alice, stream, "alice", "bob", "hi");
    find(
        &mut lan,
        alice,
        "bob",
        &[SocketAddr::from(([10, 0, 9, 1], 5_001))],
    );
    lan.run_for(200_000);
    let dials = lan.network.dial_count;
    assert!((5..=7).contains(&dials), "{dials}");
    lan.run_for(2_000_000);
    assert_eq!(lan.network.dial_count, dials);
}

/// A name is looked up as it is spelled, for services tell upper from lower case.
#[test]
fn names_are_looked_up_as_spelled() {
    let (mut lan, alice) = service_of_alice(24);
    lan.send_direct_within(alice, "Guest/Bob", "psst", 5_000);
    let set = lan.peers[alice].services.last().expect("services");
    assert!(set.iter().any(|it| it.name == "Bob" && it.is_sought));
    let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
    let mut bob = Service::start(&mut lan, alice, "Bob", address);
    lan.run_for(3_000);
    lan.send_direct(alice, "guest/bob", "psst again");
    lan.run_for(100);
    assert_eq!(bob.requests(&mut lan, alice).len(), 2);
}

/// Names that our user looks for are few, and forgotten after a minute.
#[test]
fn sought_names_are_bounded() {
    let (mut lan, alice) = service_of_alice(16);
    let sought = |lan: &Lan| {
        let set = lan.peers[alice].services.last().expect("services");
        let sought = set.iter().filter(|it| it.is_sought && !it.is_offered);
        sought.map(|it| it.name.clone()).collect::<Vec<_>>()
    };
    for n in 10..30 {
        lan.send_direct(alice, &format!("guest/z{n}"), "psst");
    }
    lan.send_direct(alice, "guest/z22", "psst");
    let last = ["z22", "z23", "z24", "z25", "z26", "z27", "z28", "z29"];
    assert_eq!(sought(&lan), last);
    lan.run_for(61_000);
    assert_eq!(sought(&lan), [""; 0]);
}

/// A service that hangs up at once is dialed and shown less and less often.
#[test]
fn a_service_that_hangs_up_is_dialed_seldom() {
    let (mut lan, alice) = service_of_alice(10);
    let stream = client(&mut lan, alice, 1, host(1));
    request(&mut lan, alice, stream, "alice", "bob", "hi");
    let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
    let mut last = Service::start(&mut lan, alice, "bob", address);
    let mut dials = 1;
    for _ in 0..600 {
        lan.feed(
            alice,
            Input::Closed {
                stream: last.stream,
            },
        );
        lan.run_for(1_000);
        find(&mut lan, alice, "bob", &[address]);
        if lan.external_listeners[&address].len() > dials {
            dials += 1;
            last = Service::accept(&mut lan, alice, address);
        }
    }
    assert!((5..=9).contains(&dials), "{dials} dials in 10 minutes");
    let joined = shown(&lan, alice);
    let joined = joined.iter().filter(|line| line.ends_with("joined"));
    assert_eq!(joined.count(), dials);
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

/// As alice leaves, she says goodbye to the services.
#[test]
fn a_goodbye_is_said() {
    let (mut lan, alice) = service_of_alice(12);
    lan.send_direct_within(alice, "guest/dave", "psst", 5_000);
    let address = SocketAddr::from(([10, 0, 9, 1], 5_001));
    let mut dave = Service::start(&mut lan, alice, "dave", address);
    dave.requests(&mut lan, alice);
    lan.stop(alice);
    let bytes = lan.take_external_writes(alice, dave.stream);
    assert_eq!(bytes.first(), Some(&0x88), "{bytes:?}");
    assert!(lan.has_closed(alice, dave.stream));
}
