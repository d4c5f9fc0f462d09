//! What is announced at Grapes and looked up there, and what the addresses lead to.
use p2pchat::Nick;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::guests::lsnp::LsnpConfig;
use p2pchat::wire::lsnp::LsnpContent;

use super::support::{Foreigner, GATEWAY_PORT};
use crate::finders::quiet_peers;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// The services that were set last: `offered sought NAME`.
fn services(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let set = lan.peers[who].services.last().expect("services");
    let shown = set.iter().map(|service| {
        let offered = if service.is_offered { "offered" } else { "" };
        let sought = if service.is_sought { "sought" } else { "" };
        [offered, sought, &service.name].join(" ")
    });
    shown.map(|it| it.trim_start().to_owned()).collect()
}

fn user_of_grapes(seed: u64) -> (Lan, PeerIndex) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.peers[alice].uses_grapes = true;
    (lan, alice)
}

/// Each room is announced and looked up, from when it is joined to when it is left; and the
/// name of the user while it is in the room of the guests.
#[test]
fn services_follow_rooms_and_the_name() {
    let (mut lan, alice) = user_of_grapes(1);
    lan.start(alice);
    let general = "offered sought p2pchat:general";
    assert_eq!(services(&lan, alice), [general, "alice"]);
    lan.join(alice, "#grenache");
    let guests = "offered sought p2pchat:grenache";
    assert_eq!(services(&lan, alice), [general, guests, "offered  alice"]);
    lan.part(alice, "#grenache");
    assert_eq!(services(&lan, alice), [general, "alice"]);
    let nick = Nick::new("alicia").expect("a name");
    lan.feed(alice, Input::Command(Command::Nick(nick)));
    assert_eq!(services(&lan, alice), [general, "alicia"]);
    let count = lan.peers[alice].services.len();
    lan.say(alice, "nothing changes");
    lan.run_for(200_000);
    assert_eq!(lan.peers[alice].services.len(), count);
}

/// A program that leaves soon only looks for others.
#[test]
fn a_transient_program_offers_nothing() {
    let (mut lan, alice) = user_of_grapes(2);
    lan.peers[alice].transient = true;
    lan.start(alice);
    let set = lan.peers[alice].services.last().expect("services");
    assert!(set.iter().all(|service| !service.is_offered));
    assert!(set.iter().any(|service| service.is_sought));
}

/// In a closed network nothing is announced that an outsider could read.
#[test]
fn a_closed_network_announces_hashes_only() {
    let (mut lan, alice) = user_of_grapes(3);
    lan.peers[alice].psk = Some([7; 32]);
    lan.start(alice);
    let services = services(&lan, alice);
    let [room] = &services[..] else {
        panic!("{services:?}");
    };
    let name = room
        .strip_prefix("offered sought p2pchat:")
        .expect("a room");
    assert!(name.len() == 64 && !name.contains("general"), "{name}");
}

/// The names of LSNP's users are not looked up at Grapes, be they here or gone. Other names are.
#[test]
fn guests_of_other_networks_are_not_looked_up() {
    let mut lan = Lan::new(5);
    let alice = lan.add_peer("alice");
    lan.peers[alice].uses_grapes = true;
    lan.peers[alice].lsnp = Some(LsnpConfig {
        port: GATEWAY_PORT,
        repeat_room: None,
    });
    lan.start(alice);
    let sought = |lan: &Lan| services(lan, alice)[2..].to_vec();
    let zed = Foreigner::new("zed", 1);
    zed.discover(&mut lan, alice);
    for is_gone in [false, true] {
        if is_gone {
            zed.send(&mut lan, alice, LsnpContent::Revoke);
        }
        lan.send_direct(alice, "guest/ZED", "psst");
        lan.send_direct(alice, "guest/zed@10.0.9.1", "psst");
        assert_eq!(sought(&lan), [""; 0], "{is_gone}");
    }
    lan.send_direct(alice, "guest/zed@10.0.9.2", "psst");
    lan.send_direct(alice, "guest/bob", "psst");
    assert_eq!(sought(&lan), ["sought bob", "sought zed"]);
}

/// Addresses of our rooms are dialed, at which Grape ever. Those of other services are not, and
/// without Grapes none are.
#[test]
fn addresses_of_rooms_are_dialed() {
    let mut lan = Lan::new(4);
    let [alice, bob] = quiet_peers(&mut lan, ["alice", "bob"]);
    lan.peers[alice].uses_grapes = true;
    lan.stop(alice);
    lan.run_for(1_000);
    lan.start(alice);
    let address = lan.address(bob);
    for who in [alice, bob] {
        let found = |service: &str| Input::ServiceFound {
            service: service.to_owned(),
            addresses: vec![lan.address(alice), address],
        };
        let inputs = ["p2pchat:general", "p2pchat:ops", "general", ""].map(found);
        let [of_room, others @ ..] = inputs;
        for other in others {
            lan.feed(who, other);
        }
        if who == bob {
            lan.feed(who, of_room);
        }
    }
    lan.run_for(5_000);
    assert_eq!(lan.network.dial_count, 0);
    let found = Input::ServiceFound {
        service: "p2pchat:general".to_owned(),
        addresses: vec![address],
    };
    lan.feed(alice, found);
    lan.run_until_linked(alice, bob, 1_000);
}
