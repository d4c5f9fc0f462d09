//! Peers that are asked whether they hear our beacons.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::node::link::HearsUs;
use p2pchat::wire::message::Message;

use super::hostile::messages::alice_and_mallory;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// What alice knows of her only peer.
fn hears_us(lan: &Lan, alice: PeerIndex) -> HearsUs {
    let node = lan.peers[alice].node.as_ref().expect("a running node");
    let mut links = node.links();
    links.next().expect("a link").0.hears_us
}

/// A peer that receives our beacons says when the last one came.
#[test]
fn a_peer_says_that_it_hears_us() {
    let mut lan = Lan::new(1);
    let (alice, bob) = (lan.add_peer("alice"), lan.add_peer("bob"));
    lan.start(alice);
    lan.start(bob);
    lan.run_for(3_000);
    lan.feed(alice, Input::Command(Command::AskHeard));
    lan.run_for(100);
    let HearsUs::Yes(age_ms) = hears_us(&lan, alice) else {
        panic!("{:?}", hears_us(&lan, alice));
    };
    assert!(age_ms < 11_000, "{age_ms}");
}

/// Nobody who was not asked can say so, and nobody twice.
#[test]
fn answers_without_a_question_are_ignored() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(1);
    let reply = |age| Message::HeardReply { age };
    mallory.send(&mut lan, &reply(Some(5)));
    assert_eq!(hears_us(&lan, alice), HearsUs::NotAsked);
    lan.feed(alice, Input::Command(Command::AskHeard));
    let received = mallory.receive_messages(&mut lan);
    assert!(received.contains(&Message::HeardRequest), "{received:?}");
    mallory.send(&mut lan, &reply(None));
    mallory.send(&mut lan, &reply(Some(5)));
    assert_eq!(hears_us(&lan, alice), HearsUs::No);
    // Mallory has sent no beacon.
    mallory.send(&mut lan, &Message::HeardRequest);
    let received = mallory.receive_messages(&mut lan);
    assert!(received.contains(&reply(None)), "{received:?}");
}
