//! The digest that stands for the routes to all linked members.
use p2pchat::base::identity::PeerId;
use p2pchat::base::table::SortedMap;
use p2pchat::wire::message::{Hello, Message};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

/// Alice, who has advertised the links of so many scripted neighbours. They understand digests.
fn alice_and_digesting_neighbours(count: u64) -> (Lan, PeerIndex, Vec<ScriptedPeer>) {
    let mut lan = Lan::new(9);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let neighbours = (1..=count).map(|n| {
        let mut neighbour = ScriptedPeer::handshake(&mut lan, alice, n);
        if let Message::Hello(hello) = neighbour.hello() {
            let digests = true;
            neighbour.send(&mut lan, &Message::Hello(Hello { digests, ..hello }));
        }
        neighbour
    });
    let neighbours = neighbours.collect();
    (lan, alice, neighbours)
}

/// The members that the node has listed to a scripted neighbour since the last call.
fn received_routes(lan: &mut Lan, neighbour: &mut ScriptedPeer) -> Vec<PeerId> {
    let messages = neighbour.receive_messages(lan).into_iter();
    let members = messages.filter_map(|message| match message {
        Message::Members(members) => Some(members.here),
        _ => None,
    });
    members.flatten().map(|member| member.peer).collect()
}

fn is_digest(message: &Message) -> bool {
    matches!(message, Message::MembersDigest { .. })
}

/// A digest stands for many routes. Who is linked with others than the sender requests the routes,
/// and gets them once: a list costs much more than the request for it.
#[test]
fn members_are_listed_once_for_each_digest() {
    let (mut lan, alice, mut neighbours) = alice_and_digesting_neighbours(9);
    lan.run_for(1_000);
    let ids: Vec<PeerId> = neighbours.iter().map(|it| it.identity.id()).collect();
    let bob = &mut neighbours[0];
    let received = bob.receive_messages(&mut lan);
    assert_eq!(received.iter().filter(|it| is_digest(it)).count(), 1);
    let target = "#general".to_owned();
    for expected in [&ids[1..], &[]] {
        let target = target.clone();
        bob.send(&mut lan, &Message::MembersRequest { target });
        let routes = received_routes(&mut lan, bob);
        assert!(expected.iter().all(|id| routes.contains(id)));
        assert_eq!(routes.is_empty(), expected.is_empty());
    }
    // Bob's own digest is none of alice's links, as he is not linked with them.
    let digest = String::from("0123456789abcdef0123456789abcdef");
    bob.send(&mut lan, &Message::MembersDigest { target, digest });
    let received = bob.receive_messages(&mut lan);
    let is_request = |it: &Message| matches!(it, Message::MembersRequest { .. });
    assert_eq!(received.iter().filter(|it| is_request(it)).count(), 1);
    assert_eq!(lan.node(alice).link_count(), 9);
}

/// In a full mesh, the digest of each neighbour tells as much as its list: routes to all others.
#[test]
fn a_digest_of_the_same_links_tells_all_routes() {
    let mut lan = Lan::new(10);
    let peers: Vec<PeerIndex> = (0..10).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    lan.start_all(peers.iter().copied());
    lan.run_for(2_000);
    for peer in peers {
        for (link, _) in lan.node(peer).links() {
            let routes = link.routes.values().map(SortedMap::len);
            assert_eq!(routes.sum::<usize>(), 8);
        }
    }
}
