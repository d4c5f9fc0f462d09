//! Which lines of a host should wait: all while nobody takes more, and pours while a peer comes.
use std::net::SocketAddr;

use p2pchat::base::event::input::Input;
use p2pchat::base::name::Room;
use p2pchat::base::time::Time;
use p2pchat::node::backpressure::{Backpressure, LineHold};
use p2pchat::wire::message::Message;

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, open_stream};

fn backpressure(lan: &Lan, who: PeerIndex) -> Backpressure {
    let now = lan.peers[who].now(lan.now_ms);
    lan.node(who).backpressure(now.time)
}

fn waits_pour(lan: &Lan, who: PeerIndex) -> bool {
    matches!(backpressure(lan, who), Backpressure::Pours(_))
}

/// All lines wait while all linked recipients of what a node says take no more, and only then.
#[test]
fn lines_wait_while_no_recipient_takes_more() {
    let mut lan = Lan::new(5);
    let [alice, bob, carol, dave] = lan.add_peers(["alice", "bob", "carol", "dave"]);
    lan.start_all([alice, bob, carol, dave]);
    let bulk = Room::new("bulk").expect("a room");
    for who in [alice, bob, carol] {
        lan.join(who, "bulk");
    }
    lan.run_for(2_000);
    let none = Backpressure::None;
    assert_eq!(backpressure(&lan, alice), none, "nothing was said");
    lan.peers[bob].stopped_reading = true;
    pour(&mut lan, alice, &bulk);
    assert_eq!(backpressure(&lan, alice), none, "carol reads");
    lan.peers[carol].stopped_reading = true;
    pour(&mut lan, alice, &bulk);
    assert_eq!(
        backpressure(&lan, alice),
        Backpressure::All,
        "dave is no recipient"
    );
    lan.say_all(alice, Some(Room::general()), &["to dave, too".to_owned()]);
    assert_eq!(backpressure(&lan, alice), none, "dave takes more");
    lan.thaw(bob);
    lan.thaw(carol);
    lan.run_for(5_000);
    assert_eq!(backpressure(&lan, alice), none);
    for who in [bob, carol] {
        assert_eq!(lan.peers[who].received().len(), 401);
    }
    lan.check_lines();
}

/// Only much that arrives together is a pour: what is typed does not wait for a peer that comes.
#[test]
fn typed_lines_are_no_pour() {
    let pours = Backpressure::Pours(Time(120));
    let held = [
        (Backpressure::None, [None, None]),
        (pours, [None, Some(Time(120))]),
        (Backpressure::All, [Some(Time(120)), Some(Time(120))]),
    ];
    for (backpressure, expected) in held {
        let begin = |bytes| LineHold::default().begin(bytes, backpressure, Time(100));
        assert_eq!([16 * 1024 - 1, 16 * 1024].map(begin), expected);
    }
}

/// Peers that come again and again hold up a pour for half of the time at most. Recipients that
/// take no more do so every time.
#[test]
fn a_pour_goes_on_between_newcomers() {
    let mut hold = LineHold::default();
    let mut begin = |pressure, now| hold.begin(1 << 16, pressure, Time(now));
    let newcomer = |until| Backpressure::Pours(Time(until));
    assert_eq!(begin(newcomer(115), 100), Some(Time(115)));
    assert_eq!(begin(newcomer(130), 115), None);
    assert_eq!(begin(Backpressure::All, 120), Some(Time(140)));
    assert_eq!(begin(newcomer(150), 134), None);
    assert_eq!(begin(newcomer(150), 135), Some(Time(150)));
}

/// Says more than a socket holds, within a few milliseconds.
fn pour(lan: &mut Lan, who: PeerIndex, room: &Room) {
    let part = vec!["x".repeat(1000); 40];
    for _ in 0..5 {
        lan.say_all(who, Some(room.clone()), &part);
        lan.run_for(1);
    }
}

/// Pours wait during the handshake of a peer, but for 20 ms of it at most. Who only connects does
/// not hold them up.
#[test]
fn pours_wait_for_a_handshake() {
    let mut lan = Lan::new(6);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    lan.run_for(5_000);
    open_stream(&mut lan, alice, 1);
    assert_eq!(backpressure(&lan, alice), Backpressure::None);
    let mut bob = ScriptedPeer::handshake(&mut lan, alice, 2);
    assert!(waits_pour(&lan, alice));
    lan.run_for(19);
    assert!(waits_pour(&lan, alice));
    lan.run_for(1);
    assert_eq!(backpressure(&lan, alice), Backpressure::None, "it dawdles");
    let hello = bob.hello();
    bob.send(&mut lan, &hello);
    ScriptedPeer::connect(&mut lan, alice, 3);
    assert_eq!(backpressure(&lan, alice), Backpressure::None, "both stay");
}

/// A dial that nobody has accepted holds up nothing, and a `send` itself never waits for others.
#[test]
fn pours_wait_for_no_dial() {
    for transient in [false, true] {
        let mut lan = Lan::new(8);
        let alice = lan.add_peer("alice");
        lan.peers[alice].transient = transient;
        lan.start(alice);
        let nobody = SocketAddr::from(([10, 0, 0, 99], 9999));
        lan.external_listeners.insert(nobody, Vec::new());
        lan.add_static_peer(alice, nobody);
        let dialed = lan.external_listeners[&nobody].len();
        assert_eq!(dialed, 1);
        assert!(!waits_pour(&lan, alice), "it is only dialed");
        lan.run_for(1);
        assert_eq!(waits_pour(&lan, alice), !transient);
    }
}

/// A `send` that has just come goes before pours, until 20 ms after the beginning of its handshake
/// or until it leaves.
#[test]
fn pours_wait_for_a_send() {
    for leaves in [true, false] {
        let mut lan = Lan::new(7);
        let alice = lan.add_peer("alice");
        lan.start(alice);
        lan.run_for(5_000);
        let mut bob = ScriptedPeer::handshake(&mut lan, alice, 1);
        lan.run_for(5);
        let mut hello = bob.hello();
        if let Message::Hello(hello) = &mut hello {
            hello.passing = true;
        }
        bob.send(&mut lan, &hello);
        lan.run_for(14);
        assert!(waits_pour(&lan, alice));
        match leaves {
            true => lan.feed(alice, Input::Closed { stream: bob.stream }),
            false => lan.run_for(1),
        }
        assert_eq!(backpressure(&lan, alice), Backpressure::None);
    }
}
