//! The digest that stands for the routes to all linked members.
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::Room;
use p2pchat::base::table::{SortedMap, SortedSet};
use p2pchat::wire::message::{Hello, Members, Message};

use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

const GENERAL: &str = "#general";

/// Alice, who has advertised the links of nine scripted neighbours. All but the first understand
/// digests, and the first if `all_understand`.
fn alice_and_nine_neighbours(all_understand: bool) -> (Lan, PeerIndex, Vec<ScriptedPeer>) {
    let mut lan = Lan::new(9);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let neighbours = (1..=9).map(|n| {
        let mut neighbour = ScriptedPeer::handshake(&mut lan, alice, n);
        if let Message::Hello(hello) = neighbour.hello() {
            let members_digests = n > 1 || all_understand;
            let hello = Hello {
                members_digests,
                ..hello
            };
            neighbour.send(&mut lan, &Message::Hello(hello));
        }
        neighbour
    });
    let neighbours = neighbours.collect();
    lan.run_for(1_000);
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
    let (mut lan, alice, mut neighbours) = alice_and_nine_neighbours(true);
    let ids: Vec<PeerId> = neighbours.iter().map(|it| it.identity.id()).collect();
    let bob = &mut neighbours[0];
    let received = bob.receive_messages(&mut lan);
    assert_eq!(received.iter().filter(|it| is_digest(it)).count(), 1);
    for expected in [&ids[1..], &[]] {
        let target = GENERAL.to_owned();
        bob.send(&mut lan, &Message::MembersRequest { target });
        let routes = received_routes(&mut lan, bob);
        assert!(expected.iter().all(|id| routes.contains(id)));
        assert_eq!(routes.is_empty(), expected.is_empty());
    }
    // Bob's own digest is none of alice's links, as he is not linked with them.
    assert_eq!(requests_after_digest(&mut lan, bob, "0123456789abcdef"), 1);
    assert_eq!(lan.node(alice).link_count(), 9);
}

/// How often the node requests the members of a scripted neighbour that sends this digest.
fn requests_after_digest(lan: &mut Lan, neighbour: &mut ScriptedPeer, digest: &str) -> usize {
    let (target, digest) = (GENERAL.to_owned(), digest.to_owned());
    neighbour.send(lan, &Message::MembersDigest { target, digest });
    let received = neighbour.receive_messages(lan);
    let is_request = |it: &&Message| matches!(it, Message::MembersRequest { .. });
    received.iter().filter(is_request).count()
}

/// Earlier versions ignore digests.
#[test]
fn who_does_not_understand_digests_gets_the_members() {
    let (mut lan, _, mut neighbours) = alice_and_nine_neighbours(false);
    let ids: Vec<PeerId> = neighbours.iter().map(|it| it.identity.id()).collect();
    for (i, neighbour) in neighbours.iter_mut().enumerate() {
        let received = neighbour.receive_messages(&mut lan);
        let digests = received.iter().filter(|it| is_digest(it)).count();
        if i > 0 {
            assert_eq!(digests, 1, "{i}");
            continue;
        }
        let listed = received.into_iter().filter_map(|message| match message {
            Message::Members(members) => Some(members.here),
            _ => None,
        });
        let listed: SortedSet<PeerId> = listed.flatten().map(|member| member.peer).collect();
        assert_eq!(digests, 0);
        assert!(ids[1..].iter().all(|id| listed.contains(id)));
    }
}

/// A digest contains its sender, so an echo of alice's own shows no knowledge of her links.
#[test]
fn an_echoed_digest_tells_no_routes() {
    let (mut lan, alice, mut neighbours) = alice_and_nine_neighbours(true);
    let mallory = &mut neighbours[0];
    let received = mallory.receive_messages(&mut lan);
    let echo = received.into_iter().find_map(|message| match message {
        Message::MembersDigest { digest, .. } => Some(digest),
        _ => None,
    });
    let echo = echo.expect("a digest");
    assert_eq!(requests_after_digest(&mut lan, mallory, &echo), 1);
    let mallory = mallory.identity.id();
    let links = lan.node(alice).links();
    let mut of_mallory = links.filter(|(link, _)| link.peer.id == mallory);
    assert!(of_mallory.all(|(link, _)| link.routes.values().all(SortedMap::is_empty)));
}

/// The answer to a request is newer than all digests that come before it.
#[test]
fn digests_before_the_answer_cause_no_further_request() {
    let (mut lan, _, mut neighbours) = alice_and_nine_neighbours(true);
    let mallory = &mut neighbours[0];
    mallory.receive_messages(&mut lan);
    let flood = |lan: &mut Lan, mallory: &mut ScriptedPeer| -> usize {
        let digests = (0..100).map(|n| format!("{n:032}"));
        digests
            .map(|digest| requests_after_digest(lan, mallory, &digest))
            .sum()
    };
    assert_eq!(flood(&mut lan, mallory), 1);
    // No answer comes.
    lan.run_for(1_000);
    assert_eq!(flood(&mut lan, mallory), 1);
    let answer = Members {
        target: GENERAL.to_owned(),
        here: Vec::new(),
        gone: Vec::new(),
    };
    mallory.send(&mut lan, &Message::Members(answer));
    assert_eq!(flood(&mut lan, mallory), 1);
}

/// In a full mesh, the digest of each neighbour tells as much as its list: routes to all others.
#[test]
fn a_digest_of_the_same_links_tells_all_routes() {
    let mut lan = Lan::new(10);
    let peers: Vec<PeerIndex> = (0..10).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    lan.start_all(peers.iter().copied());
    lan.run_for(2_000);
    let general = Room::general();
    for peer in peers {
        for (link, _) in lan.node(peer).links() {
            assert!(link.members_digests_sent.contains(&general));
            let routes = link.routes.values().map(SortedMap::len);
            assert_eq!(routes.sum::<usize>(), 8);
        }
    }
}
