//! The people of p2pchat in Go, and hostile ones.
use std::net::SocketAddr;

use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::guests::lsnp::LsnpConfig;
use p2pchat::base::time::WallTime;
use p2pchat::wire::go_p2pchat::{GoBeacon, GoMessage, GoMessageKind, gateway_id};
use p2pchat::wire::lsnp::LsnpContent;
use p2pchat::{Nick, Room};

use super::support::{Foreigner, GATEWAY_PORT, guest_count, shown};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::open_stream_from;

/// Alice, who speaks to the people of p2pchat in Go.
fn gateway(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].speaks_go = true;
    lan.start(alice);
    lan.join(alice, "#p2pchat-go");
    lan.run_for(100);
    (lan, alice)
}

fn host(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 9, n], 40_000))
}

/// A beacon of the program with this id, whose user is zed, from this host.
fn announce(lan: &mut Lan, who: PeerIndex, id: &str, source: SocketAddr, is_leaving: bool) {
    announce_port(lan, who, id, source, 8_091, is_leaving);
}

/// The same of a program that listens at this port.
fn announce_port(
    lan: &mut Lan,
    who: PeerIndex,
    id: &str,
    source: SocketAddr,
    port: u16,
    is_leaving: bool,
) {
    let beacon = GoBeacon {
        id: id.to_owned(),
        nick: Nick::new("zed").expect("a name"),
        port,
        is_leaving,
    };
    let bytes = beacon.encode(WallTime(0), 0);
    lan.inject_datagram(who, 1, source, &bytes);
    lan.run_for(10);
}

/// A message as a line.
fn message(id: &str, kind: GoMessageKind, content: &str) -> Vec<u8> {
    let message = GoMessage {
        kind,
        id: id.to_owned(),
        nick: Nick::new("zed").expect("a name"),
        content: content.to_owned(),
    };
    let mut line = Vec::new();
    message.write(WallTime(0), 1, &mut line);
    line
}

fn write(lan: &mut Lan, who: PeerIndex, stream: StreamId, bytes: &[u8]) {
    lan.feed(who, Input::Bytes { stream, bytes });
}

/// An accepted stream whose guest has named itself.
fn named_stream(lan: &mut Lan, who: PeerIndex, n: u8, id: &str) -> StreamId {
    let stream = open_stream_from(lan, who, u64::from(n), host(n));
    write(lan, who, stream, &message(id, GoMessageKind::Join, ""));
    stream
}

/// The program with the smaller id dials. A dead address is dialed less and less often.
#[test]
fn the_smaller_id_dials() {
    let (mut lan, alice) = gateway(1);
    announce(&mut lan, alice, "a_zed", host(1), false);
    assert_eq!(lan.network.dial_count, 0);
    for _ in 0..120 {
        announce(&mut lan, alice, "z_zed", host(2), false);
        lan.run_for(990);
    }
    let dials = lan.network.dial_count;
    assert!((3..=6).contains(&dials), "{dials} dials");
    assert_eq!(guest_count(&mut lan, alice), 2);
}

/// A guest comes with its beacon or its stream, speaks, and leaves; a line of several is one.
#[test]
fn a_guest_speaks_and_leaves() {
    let (mut lan, alice) = gateway(2);
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    let line = message("a_zed", GoMessageKind::Chat, "one\ntwo");
    for byte in line {
        write(&mut lan, alice, stream, &[byte]);
    }
    lan.say_in(alice, "#p2pchat-go", "hi zed");
    let sent = lan.take_external_writes(alice, stream);
    let sent = GoMessage::parse(&sent).expect("one message");
    assert_eq!((sent.kind, &*sent.content), (GoMessageKind::Chat, "hi zed"));
    write(
        &mut lan,
        alice,
        stream,
        &message("a_zed", GoMessageKind::Leave, ""),
    );
    assert!(lan.has_closed(alice, stream));
    assert_eq!(
        shown(&lan, alice),
        [
            "#p2pchat-go zed joined",
            "#p2pchat-go zed: one two",
            "#p2pchat-go zed left"
        ]
    );
}

/// A guest is gone with its goodbye, or after 30 s without a beacon and without a stream.
#[test]
fn a_silent_guest_is_gone() {
    let (mut lan, alice) = gateway(3);
    announce(&mut lan, alice, "a_zed", host(1), false);
    announce(&mut lan, alice, "a_zed", host(1), true);
    announce(&mut lan, alice, "a_bob", host(2), false);
    let stream = named_stream(&mut lan, alice, 3, "a_carol");
    lan.run_for(31_000);
    assert_eq!(shown(&lan, alice).len(), 5, "{:?}", shown(&lan, alice));
    lan.feed(alice, Input::Closed { stream });
    lan.run_for(1_000);
    assert_eq!(shown(&lan, alice).len(), 6);
}

/// Lines wait for the first stream, and count as delivered when they are written to one.
#[test]
fn lines_wait_for_a_stream() {
    let (mut lan, alice) = gateway(4);
    lan.say_in(alice, "#p2pchat-go", "hello");
    announce(&mut lan, alice, "a_zed", host(1), false);
    lan.finish(alice, None);
    lan.run_for(10_000);
    assert!(!lan.peers[alice].is_settled());
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    lan.run_for(100);
    assert!(!lan.take_external_writes(alice, stream).is_empty());
    assert!(lan.peers[alice].is_settled());
}

/// Streams that break the rules are closed: another name, garbage, a message without an end, and
/// one that says nothing.
#[test]
fn streams_that_break_the_rules_are_closed() {
    let (mut lan, alice) = gateway(5);
    let renamed = named_stream(&mut lan, alice, 1, "a_zed");
    write(
        &mut lan,
        alice,
        renamed,
        &message("a_bob", GoMessageKind::Chat, "I am bob"),
    );
    let garbage = named_stream(&mut lan, alice, 2, "a_zed");
    write(&mut lan, alice, garbage, b"{]\n");
    let endless = named_stream(&mut lan, alice, 3, "a_zed");
    for kib in 1..=33 {
        assert!(!lan.has_closed(alice, endless), "{kib}");
        write(&mut lan, alice, endless, &[b' '; 1024]);
    }
    for stream in [renamed, garbage, endless] {
        assert!(lan.has_closed(alice, stream));
    }
    // The first byte decides, and a later one is no first byte.
    let split = open_stream_from(&mut lan, alice, 6, host(6));
    write(&mut lan, alice, split, b"P2");
    let join = message("a_dave", GoMessageKind::Join, "");
    write(&mut lan, alice, split, &join);
    assert!(lan.has_closed(alice, split));
    let silent = open_stream_from(&mut lan, alice, 4, host(4));
    write(&mut lan, alice, silent, b"{");
    let ours = open_stream_from(&mut lan, alice, 5, host(5));
    write(&mut lan, alice, ours, b"GET / HTTP/1.1\r\n\r\n");
    assert!(lan.has_closed(alice, ours));
    assert!(!lan.has_closed(alice, silent));
    lan.run_for(5_100);
    assert!(lan.has_closed(alice, silent));
    let joined = shown(&lan, alice);
    assert_eq!(
        joined, ["#p2pchat-go zed joined"; 3],
        "neither bob nor dave"
    );
}

/// A host has eight streams and eight guests at most, however many it invents.
#[test]
fn forged_programs_of_one_host_are_bounded() {
    let (mut lan, alice) = gateway(6);
    for n in 0..100 {
        announce(&mut lan, alice, &format!("z{n}"), host(66), false);
    }
    assert_eq!(guest_count(&mut lan, alice), 8);
    assert_eq!(lan.network.dial_count, 1, "all of them at one address");
    let mut open = 0;
    for n in 0..20 {
        let stream = open_stream_from(&mut lan, alice, n, host(67));
        write(&mut lan, alice, stream, b"{");
        open += usize::from(!lan.has_closed(alice, stream));
    }
    assert_eq!(open, 8);
}

/// All hosts together have 64 streams at most.
#[test]
fn the_number_of_streams_is_bounded() {
    let (mut lan, alice) = gateway(7);
    let streams = (0..100).map(|n| {
        let stream = open_stream_from(&mut lan, alice, u64::from(n), host(n));
        write(&mut lan, alice, stream, b"{");
        !lan.has_closed(alice, stream)
    });
    assert_eq!(streams.filter(|is_open| *is_open).count(), 64);
}

/// A guest that reads nothing while another one reads loses its stream before it costs much.
#[test]
fn a_guest_that_reads_nothing_is_dropped() {
    let (mut lan, alice) = gateway(8);
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    named_stream(&mut lan, alice, 2, "a_bob");
    lan.feed(alice, Input::Blocked { stream });
    let room = Room::new("#p2pchat-go").ok();
    let long = vec!["x".repeat(10_000); 6];
    lan.say_all(alice, room.clone(), &long);
    assert!(!lan.has_closed(alice, stream));
    lan.feed(alice, Input::Writable { stream });
    let written = lan.take_external_writes(alice, stream);
    assert!(written.len() > 60_000, "{}", written.len());
    lan.feed(alice, Input::Blocked { stream });
    lan.say_all(alice, room, &vec!["x".repeat(10_000); 7]);
    assert!(lan.has_closed(alice, stream));
}

/// Lines that nobody reads do not count as sent: they wait until the guest reads again.
#[test]
fn lines_wait_while_nobody_reads() {
    let (mut lan, alice) = gateway(11);
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    lan.feed(alice, Input::Blocked { stream });
    let room = Room::new("#p2pchat-go").ok();
    lan.say_all(alice, room, &vec!["x".repeat(10_000); 20]);
    lan.finish(alice, None);
    lan.run_for(5_000);
    assert!(!lan.peers[alice].is_settled(), "zed has read nothing");
    assert!(!lan.has_closed(alice, stream));
    lan.feed(alice, Input::Writable { stream });
    lan.run_for(1_000);
    let written = lan.take_external_writes(alice, stream);
    assert!(written.len() > 200_000, "{}", written.len());
    assert!(lan.peers[alice].is_settled());
}

/// A flood of lines is cut to 30 at once.
#[test]
fn a_flood_of_lines_is_cut() {
    let (mut lan, alice) = gateway(9);
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    let flood = message("a_zed", GoMessageKind::Chat, "spam").repeat(1_000);
    write(&mut lan, alice, stream, &flood);
    assert_eq!(shown(&lan, alice).len(), 30);
    lan.run_for(61_000);
    assert_eq!(lan.peers[alice].error_count("guests"), 1);
}

/// A flood of LSNP shuts nobody of p2pchat in Go out: neither its host, nor another one.
#[test]
fn networks_have_places_of_their_own() {
    let mut lan = Lan::new(13);
    let alice = lan.add_peer("alice");
    lan.peers[alice].speaks_go = true;
    lan.peers[alice].lsnp = Some(LsnpConfig {
        port: GATEWAY_PORT,
        repeat_room: None,
    });
    lan.start(alice);
    for room in ["#lsnp", "#p2pchat-go"] {
        lan.join(alice, room);
    }
    for n in 0..=255 {
        Foreigner::new("m", n).discover(&mut lan, alice);
    }
    for n in 0..100 {
        let post = format!("spam {n}");
        Foreigner::new("m", 1).send(&mut lan, alice, LsnpContent::Post(&post));
    }
    assert_eq!(guest_count(&mut lan, alice), 256);
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    let line = message("a_zed", GoMessageKind::Chat, "I am heard");
    write(&mut lan, alice, stream, &line);
    assert_eq!(guest_count(&mut lan, alice), 257);
    let shown = shown(&lan, alice);
    assert_eq!(shown.last().unwrap(), "#p2pchat-go zed: I am heard");
}

/// Beacons and streams from elsewhere are ignored, and so is the program of a peer that does not
/// speak this protocol.
#[test]
fn only_neighbours_are_guests() {
    let (mut lan, alice) = gateway(10);
    let elsewhere = SocketAddr::from(([192, 0, 2, 1], 40_000));
    announce(&mut lan, alice, "a_zed", elsewhere, false);
    let stream = open_stream_from(&mut lan, alice, 1, elsewhere);
    write(
        &mut lan,
        alice,
        stream,
        &message("a_zed", GoMessageKind::Join, ""),
    );
    assert!(lan.has_closed(alice, stream));
    assert_eq!(shown(&lan, alice), [""; 0]);
    let bob = lan.add_peer("bob");
    lan.start(bob);
    announce(&mut lan, bob, "a_zed", host(1), false);
    let stream = open_stream_from(&mut lan, bob, 1, host(1));
    write(
        &mut lan,
        bob,
        stream,
        &message("a_zed", GoMessageKind::Join, ""),
    );
    assert!(lan.has_closed(bob, stream));
    assert_eq!(shown(&lan, bob), [""; 0]);
    assert_eq!(lan.peers[bob].error_count("other-program"), 1);
}

/// A forged beacon does not make us dial a service of the system.
#[test]
fn ports_of_services_are_not_dialed() {
    let (mut lan, alice) = gateway(12);
    for (port, dials) in [(0, 0), (25, 0), (1_023, 0), (1_024, 1)] {
        announce_port(&mut lan, alice, &format!("z{port}"), host(66), port, false);
        assert_eq!(lan.network.dial_count, dials, "{port}");
    }
}

/// However many hosts send beacons, at most 64 streams to them stand at once.
#[test]
fn the_number_of_dials_is_bounded() {
    let (mut lan, alice) = gateway(14);
    for source in (0..100).map(host) {
        let listener = SocketAddr::new(source.ip(), 8_091);
        lan.external_listeners.insert(listener, Vec::new());
        announce(&mut lan, alice, "z_zed", source, false);
    }
    assert_eq!(guest_count(&mut lan, alice), 100);
    let dialed = lan.external_listeners.values().map(Vec::len);
    assert_eq!(dialed.sum::<usize>(), 64);
}

/// A program of our own network is no guest on a stream either: its lines come signed.
#[test]
fn streams_of_our_own_network_are_closed() {
    let (mut lan, alice) = gateway(15);
    let own_network = lan.peers[alice].network_tag().short();
    let other_network = "0123456789abcdef";
    for (n, network, is_closed) in [(1, &*own_network, true), (2, other_network, false)] {
        let stream = named_stream(&mut lan, alice, n, &gateway_id(network, "bob"));
        assert_eq!(lan.has_closed(alice, stream), is_closed, "{network}");
    }
    assert_eq!(shown(&lan, alice), ["#p2pchat-go zed joined"]);
}

/// A host that comes and goes with each beacon is shown 30 times at once, and then summed up.
#[test]
fn a_flood_of_beacons_is_cut() {
    let (mut lan, alice) = gateway(16);
    for n in 0..200 {
        announce(&mut lan, alice, "a_zed", host(66), n % 2 == 1);
    }
    let count = shown(&lan, alice).len();
    assert!((30..=34).contains(&count), "{count}");
    announce(&mut lan, alice, "a_bob", host(1), false);
    assert_eq!(shown(&lan, alice).len(), count + 1, "another host is heard");
    lan.run_for(61_000);
    assert_eq!(lan.peers[alice].error_count("guests"), 1);
}

/// A line that the disk refused at first is said to a guest once.
#[test]
fn a_full_disk_repeats_no_line() {
    let (mut lan, alice) = gateway(17);
    lan.peers[alice].disk.full = true;
    lan.say_in(alice, "#p2pchat-go", "hello");
    lan.run_for(10_000);
    lan.peers[alice].disk.full = false;
    lan.run_for(3_000);
    let stream = named_stream(&mut lan, alice, 1, "a_zed");
    lan.run_for(1_000);
    let written = lan.take_external_writes(alice, stream);
    let lines = written.split_inclusive(|byte| *byte == b'\n');
    let messages = lines.map(|line| GoMessage::parse(line).expect("a message"));
    let texts = messages.filter(|it| it.kind == GoMessageKind::Chat);
    assert_eq!(texts.map(|it| it.content).collect::<Vec<_>>(), ["hello"]);
}
