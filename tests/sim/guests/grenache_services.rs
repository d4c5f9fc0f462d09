//! Services of Grenache to which our lines go, and lying Grapes.
use std::net::SocketAddr;

use p2pchat::base::event::input::Input;

use super::grenache_support::{
    Service, client, find, guest, host, request, service_address, service_of_alice,
};
use super::support::shown;
use crate::support::lan::Lan;

/// What alice says goes to the service of a guest that named itself and to those of the room, and is
/// delivered when one of them has answered.
#[test]
fn lines_go_to_services() {
    let (mut lan, alice) = service_of_alice(2);
    guest(&mut lan, alice, 1, "bob");
    let set = lan.peers[alice].services.last().expect("services");
    assert!(
        set.iter()
            .any(|it| it.name == "bob" && it.is_sought && !it.is_offered)
    );
    let address = service_address(1);
    let mut bob = Service::start(&mut lan, alice, "bob", address);
    let address = service_address(2);
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
    let address = service_address(2);
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
    let address = service_address(1);
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
    guest(&mut lan, alice, 1, "bob");
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
        guest(&mut lan, alice, 1, "dave");
        let address = service_address(1);
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
    guest(&mut lan, alice, 1, "dave");
    let address = service_address(1);
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
    guest(&mut lan, alice, 1, "payments");
    let payments = service_address(2);
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
    guest(&mut lan, alice, 1, "bob");
    find(&mut lan, alice, "bob", &[service_address(1)]);
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
    let address = service_address(1);
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
    guest(&mut lan, alice, 1, "bob");
    let address = service_address(1);
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

/// As alice leaves, she says goodbye to the services.
#[test]
fn a_goodbye_is_said() {
    let (mut lan, alice) = service_of_alice(12);
    lan.send_direct_within(alice, "guest/dave", "psst", 5_000);
    let address = service_address(1);
    let mut dave = Service::start(&mut lan, alice, "dave", address);
    dave.requests(&mut lan, alice);
    lan.stop(alice);
    let bytes = lan.take_external_writes(alice, dave.stream);
    assert_eq!(bytes.first(), Some(&0x88), "{bytes:?}");
    assert!(lan.has_closed(alice, dave.stream));
}

/// A line in the room that no service takes is said to be lost once, until another one is taken.
/// As long as one of them may still take it, nothing is lost.
#[test]
fn a_lost_line_is_said_once() {
    let (mut lan, alice) = service_of_alice(25);
    let addresses = [service_address(1), service_address(2)];
    let mut services = addresses.map(|at| Service::start(&mut lan, alice, "p2pchat:grenache", at));
    let mut say = |lan: &mut Lan, answers: [Option<&str>; 2]| {
        lan.say_in(alice, "#grenache", "hi");
        lan.run_for(100);
        for (service, error) in services.iter_mut().zip(answers) {
            let [request] = &service.requests(lan, alice)[..] else {
                panic!("no request");
            };
            service.answer(lan, alice, &request.id, error);
        }
        lan.peers[alice].error_count("guests")
    };
    let refused = Some("ERR_BUSY");
    assert_eq!(say(&mut lan, [refused, None]), 0);
    assert_eq!(say(&mut lan, [refused, refused]), 1);
    assert_eq!(say(&mut lan, [refused, refused]), 1);
    assert_eq!(say(&mut lan, [None, refused]), 1);
    lan.say_in(alice, "#grenache", "nobody answers");
    lan.run_for(9_900);
    assert_eq!(lan.peers[alice].error_count("guests"), 1);
    lan.run_for(200);
    assert_eq!(lan.peers[alice].error_count("guests"), 2);
    assert_eq!(lan.peers[alice].error_count("failed"), 0);
}

/// A service that reads nothing loses its stream with the line that does not fit any more. The line
/// is not lost: the other service may take it.
#[test]
fn a_stream_that_ends_loses_no_line_of_others() {
    let (mut lan, alice) = service_of_alice(26);
    let addresses = [service_address(1), service_address(2)];
    let mut services = addresses.map(|at| Service::start(&mut lan, alice, "p2pchat:grenache", at));
    let [deaf, bob] = &mut services;
    let stream = deaf.stream;
    lan.feed(alice, Input::Blocked { stream });
    let lines = vec!["x".repeat(16_000); 5];
    lan.say_all(alice, p2pchat::Room::new("#grenache").ok(), &lines);
    lan.run_for(100);
    assert!(lan.has_closed(alice, stream));
    assert_eq!(bob.requests(&mut lan, alice).len(), 5);
    assert_eq!(lan.peers[alice].error_count("guests"), 0);
}

/// A message to a guest who is here does not wait for others of that name only because a line in
/// the room has no answer yet, or an address is dialed that has failed before. It does while a new
/// one is dialed.
#[test]
fn a_guest_who_is_here_is_found_at_once() {
    let (mut lan, alice) = service_of_alice(27);
    lan.run_for(3_000);
    let mut bob = Service::start(&mut lan, alice, "p2pchat:grenache", service_address(1));
    lan.send_direct(alice, "guest/bob", "hi");
    find(&mut lan, alice, "bob", &[service_address(3)]);
    let mut zed = Service::start(&mut lan, alice, "bob", service_address(2));
    lan.run_for(5_000);
    bob.requests(&mut lan, alice);
    lan.say_in(alice, "#grenache", "hi all");
    lan.run_for(100);
    assert_eq!(zed.requests(&mut lan, alice).len(), 1);
    find(&mut lan, alice, "bob", &[service_address(3)]);
    lan.send_direct_within(alice, "guest/bob", "psst", 10_000);
    lan.run_for(100);
    assert_eq!(zed.requests(&mut lan, alice).len(), 1);
    find(&mut lan, alice, "bob", &[service_address(4)]);
    lan.send_direct_within(alice, "guest/bob", "psst again", 10_000);
    lan.run_for(100);
    assert_eq!(zed.requests(&mut lan, alice), []);
    lan.run_for(5_000);
    assert_eq!(zed.requests(&mut lan, alice).len(), 1);
}

/// Addresses that have failed and wait for their next dial keep their places: a Grape that names
/// others again and again causes no more dials.
#[test]
fn failed_addresses_keep_their_places() {
    let (mut lan, alice) = service_of_alice(29);
    lan.send_direct(alice, "guest/bob", "psst");
    let addresses = |network: u8| {
        let hosts = (0..64).map(|n| SocketAddr::from(([10, 0, network, n], 5_000)));
        hosts.collect::<Vec<_>>()
    };
    find(&mut lan, alice, "bob", &addresses(8));
    lan.run_for(11_000);
    assert_eq!(lan.network.dial_count, 128, "twice each");
    find(&mut lan, alice, "bob", &addresses(7));
    assert_eq!(lan.network.dial_count, 128);
    lan.run_for(5_000);
    assert_eq!(lan.network.dial_count, 192);
}

/// A service that is a room's and a guest's is asked by the guest's name.
#[test]
fn the_name_of_a_guest_is_more_exact() {
    let (mut lan, alice) = service_of_alice(30);
    guest(&mut lan, alice, 1, "bob");
    let address = service_address(1);
    find(&mut lan, alice, "p2pchat:grenache", &[address]);
    find(&mut lan, alice, "bob", &[address]);
    lan.external_listeners.insert(address, Vec::new());
    lan.run_for(6_000);
    let mut bob = Service::accept(&mut lan, alice, address);
    lan.say_in(alice, "#grenache", "hi");
    lan.run_for(100);
    let requests = bob.requests(&mut lan, alice);
    let services: Vec<&str> = requests.iter().map(|it| &*it.service).collect();
    assert_eq!(services, ["bob"]);
}

/// A guest that only sends, without a service, is owed no line: that a peer holds it is enough.
#[test]
fn who_only_sends_is_owed_no_line() {
    let (mut lan, alice) = service_of_alice(31);
    let carol = lan.add_peer("carol");
    lan.start(carol);
    lan.join(carol, "#grenache");
    guest(&mut lan, alice, 1, "bob");
    lan.run_for(3_000);
    lan.say_in(alice, "#grenache", "hi");
    lan.finish(alice, None);
    lan.run_for(1_000);
    assert!(lan.peers[alice].is_settled());
}

/// A line that every service refused is lost, and waits for no guest any more. It is still owed to
/// the peers in the room. What is lost stays so, in whichever order lines are lost and taken.
#[test]
fn a_refused_line_is_lost() {
    let (mut lan, alice) = service_of_alice(32);
    let mut service = Service::start(&mut lan, alice, "p2pchat:grenache", service_address(1));
    let mut say = |lan: &mut Lan, error: Option<&str>| {
        lan.say_in(alice, "#grenache", "hi");
        lan.run_for(100);
        for request in service.requests(lan, alice) {
            service.answer(lan, alice, &request.id, error);
        }
    };
    let room = p2pchat::Room::new("#grenache").expect("a room");
    say(&mut lan, Some("ERR_BUSY"));
    let log = lan.peers[alice].disk.ranges(&room)[0].log.clone();
    let delivery = |lan: &Lan, line: u64| lan.node(alice).delivery_of(&[(&log, line..=line)], None);
    let lost = delivery(&lan, 1);
    assert!(lost.is_lost_to_guests && lost.is_settled, "{lost:?}");
    assert!(lost.is_unsent_to_guests);
    let carol = lan.add_peer("carol");
    lan.start(carol);
    lan.join(carol, "#grenache");
    lan.run_until_linked(alice, carol, 5_000);
    lan.peers[carol].disk.full = true;
    say(&mut lan, None);
    let taken = delivery(&lan, 2);
    assert!(!taken.is_lost_to_guests && !taken.is_settled, "{taken:?}");
    // 64 pieces are remembered. Then the lines between the first two count as lost as well.
    for n in 2..=65 {
        assert!(!delivery(&lan, 2).is_lost_to_guests, "{n}");
        say(&mut lan, Some("ERR_BUSY"));
        say(&mut lan, None);
    }
    let is_lost = [1, 2, 3, 4, 129, 130].map(|line| delivery(&lan, line).is_lost_to_guests);
    assert_eq!(is_lost, [true, true, true, false, true, false]);
}
