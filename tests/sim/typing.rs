//! Who types a line: said to those who will get the line, and to nobody for long.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::KnownPeer;
use p2pchat::base::name::{Nick, PeerSelector, Room, Target};
use p2pchat::base::presence::typing::TypingTarget;
use p2pchat::base::time::WallTime;
use p2pchat::base::trust::level::TrustLevel;
use p2pchat::wire::message::Message;

use super::hostile::messages::alice_and_mallory;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

fn type_in_general(lan: &mut Lan, who: PeerIndex) {
    let target = TypingTarget::Room(Room::general());
    lan.feed(who, Input::Command(Command::Type(target)));
}

/// What a peer was told in this run: `bob #general` when he types, `bob -` when he ends.
fn shown(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let notices = lan.peers[who].notices_of_run();
    let shown = notices.filter_map(|notice| match notice {
        Notice::Typing {
            target,
            peer,
            is_typing,
        } => Some(match (is_typing, target) {
            (false, _) => format!("{} -", peer.nick),
            (true, Target::Room(room)) => format!("{} {room}", peer.nick),
            (true, Target::Peer(_)) => format!("{} to us", peer.nick),
        }),
        _ => None,
    });
    shown.collect()
}

/// Members are told once while it lasts, and once that it has ended: 6 s after the last key, or when
/// the line comes. Nothing is stored, and who is not in the room hears nothing.
#[test]
fn members_are_told_who_types() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(1_000);
    lan.part(carol, "general");
    lan.run_for(1_000);
    for _ in 0..100 {
        type_in_general(&mut lan, bob);
        lan.run_for(100);
    }
    assert_eq!(shown(&lan, alice), ["bob #general"]);
    lan.run_for(6_000);
    assert_eq!(shown(&lan, alice), ["bob #general", "bob -"]);
    type_in_general(&mut lan, bob);
    lan.run_for(1_000);
    lan.say(bob, "done");
    lan.run_for(100);
    assert_eq!(shown(&lan, alice).len(), 4);
    assert_eq!(shown(&lan, carol), Vec::<String>::new());
    assert_eq!(shown(&lan, bob), Vec::<String>::new());
    assert_eq!(lan.peers[alice].disk.entries().count(), 1, "the line");
}

/// Of a direct message, only its recipient is told, and only if the name means one linked peer.
#[test]
fn only_the_recipient_is_told_of_a_direct_message() {
    let mut lan = Lan::new(2);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    let other_bob = lan.add_peer("dave");
    lan.start_all([alice, bob, carol, other_bob]);
    lan.run_for(1_000);
    let type_to = |lan: &mut Lan, name: &str| {
        let selector = PeerSelector::parse(name).expect("a name");
        let target = TypingTarget::Peer(selector);
        lan.feed(alice, Input::Command(Command::Type(target)));
        lan.run_for(100);
    };
    type_to(&mut lan, "bob");
    assert_eq!(shown(&lan, bob), ["alice to us"]);
    assert_eq!(shown(&lan, carol), Vec::<String>::new());
    let name = Nick::new("carol").expect("a name");
    lan.feed(other_bob, Input::Command(Command::Nick(name)));
    lan.run_for(100);
    type_to(&mut lan, "carol");
    assert_eq!(shown(&lan, carol), Vec::<String>::new(), "two are carol");
}

/// A peer that says so again and again, for this target and that, is told once a second at most.
#[test]
fn a_flood_is_told_once_a_second() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(3);
    let own = format!("@{}", lan.id(alice));
    for _ in 0..1_000 {
        let target = if lan.random(2) == 0 { "#general" } else { &own };
        let target = target.to_owned();
        mallory.send(&mut lan, &Message::Typing { target });
        lan.run_for(9);
    }
    let started = |lan: &Lan| {
        let shown = shown(lan, alice).into_iter();
        shown.filter(|it| !it.ends_with('-')).count()
    };
    let before = started(&lan);
    assert!((3..=10).contains(&before), "{before}");
    // What is for others, or for nobody, is not told.
    let other = format!("@{}", mallory.identity.id());
    for target in ["#ops", "@", "", &other] {
        lan.run_for(2_000);
        let target = target.to_owned();
        mallory.send(&mut lan, &Message::Typing { target });
    }
    lan.run_for(10_000);
    assert_eq!(started(&lan), before);
    assert_eq!(
        shown(&lan, alice).last().map(String::as_str),
        Some("mallory -")
    );
}

/// Bob, whose name is bound, is away. Somebody else who bears his name is not told.
#[cfg(feature = "presence")]
#[test]
fn an_impostor_is_not_told_of_a_direct_message() {
    let mut lan = Lan::new(4);
    let [alice, bob, dave] = lan.add_peers(["alice", "bob", "dave"]);
    let bound = KnownPeer {
        nick: Nick::new("bob").expect("a name"),
        id: lan.id(bob),
        first_seen: WallTime(0),
        trust: TrustLevel::Bound,
    };
    lan.peers[alice].known_peers.push(bound);
    lan.start_all([alice, dave]);
    lan.run_for(1_000);
    let name = Nick::new("bob").expect("a name");
    lan.feed(dave, Input::Command(Command::Nick(name)));
    lan.run_for(100);
    let selector = PeerSelector::parse("bob").expect("a name");
    let target = TypingTarget::Peer(selector);
    lan.feed(alice, Input::Command(Command::Type(target)));
    lan.run_for(100);
    assert_eq!(shown(&lan, dave), Vec::<String>::new());
}
