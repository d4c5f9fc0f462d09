//! Routes: peers that are reachable only through others, and the lines that cross them.
use p2pchat::base::event::{Command, Input, Notice, PeerState};

use crate::support::lan::{Lan, chain};
use crate::support::peer::PeerIndex;

/// Lines cross a chain of four peers in both directions, live after the first, with no batch sent
/// twice.
#[test]
fn lines_cross_a_chain_of_peers() {
    for seed in 0..5 {
        let (mut lan, [alice, bob, carol, dave]) = chain(seed, ["alice", "bob", "carol", "dave"]);
        assert!(!lan.are_linked(alice, carol) && !lan.are_linked(bob, dave));
        lan.say(alice, "one");
        lan.run_until("dave has it", 3_500, |lan| {
            lan.peers[dave].received() == ["one"]
        });
        // From now on lines travel live.
        for text in ["two", "three"] {
            lan.say(alice, text);
            lan.run_for(20);
        }
        assert_eq!(lan.peers[dave].received(), ["one", "two", "three"]);
        lan.say(dave, "yes");
        lan.run_until("alice has it", 3_500, |lan| {
            lan.peers[alice].received() == ["yes"]
        });
        assert_eq!(lan.peers[carol].received().len(), 4);
        lan.run_for(5_000);
        lan.check_lines();
        for who in [alice, bob, carol, dave] {
            let node = lan.node(who);
            assert_eq!(node.counters().duplicate_batches, 0);
        }
    }
}

/// A peer reachable through others is shown as known via its route, and leaves when it stops or
/// when the neighbour on the route dies.
#[test]
fn presence_of_routed_peers_follows_their_route() {
    let (mut lan, [alice, bob, carol, dave]) = chain(7, ["alice", "bob", "carol", "dave"]);
    for other in [bob, carol, dave] {
        assert_eq!(lan.peers[alice].joined_count(lan.id(other)), 1);
    }
    lan.feed(alice, Input::Command(Command::Peers));
    let views = lan.peers[alice].notices_of_run().find_map(|n| match n {
        Notice::Peers(views) => Some(views.clone()),
        _ => None,
    });
    let views = views.expect("a view");
    let of = |who: PeerIndex| {
        views
            .iter()
            .find(|v| v.peer.id == lan.id(who))
            .expect("a row")
    };
    assert_eq!(of(bob).state, PeerState::Linked);
    assert_eq!(of(dave).state, PeerState::Known);
    let via = of(dave).via.as_ref().map(|peer| peer.id);
    assert_eq!(via, Some(lan.id(bob)));
    // Dave leaves, and returns with a new run.
    lan.stop(dave);
    lan.run_until("dave is gone", 3_000, |lan| {
        lan.peers[alice].left_count(lan.id(dave)) == 1
    });
    lan.start(dave);
    lan.run_until("dave is back", 5_000, |lan| {
        lan.peers[alice].joined_count(lan.id(dave)) == 2
    });
    // Bob dies, and with him the route to both peers behind him; their gossip about each other
    // does not keep the route alive.
    lan.kill(bob);
    lan.run_until("all are gone", 8_000, |lan| {
        [bob, carol]
            .iter()
            .all(|who| lan.peers[alice].left_count(lan.id(*who)) == 1)
            && lan.peers[alice].left_count(lan.id(dave)) == 2
    });
    assert_eq!(lan.peers[carol].left_count(lan.id(alice)), 1);
    assert_eq!(lan.peers[carol].left_count(lan.id(dave)), 1);
}

/// No count to infinity (RFC 1058): in a ring, the routes to a dead peer do not keep each other
/// alive.
#[test]
fn a_ring_forgets_a_dead_peer() {
    let mut lan = Lan::new(8);
    let peers = lan.add_peers(["ann", "bob", "cid", "dan", "eve"]);
    // A ring of four, and a fifth peer linked to one of them.
    for (i, j) in [(0, 2), (1, 3), (4, 1), (4, 2), (4, 3)] {
        lan.cut(peers[i], peers[j]);
    }
    lan.start_all(peers);
    lan.run_for(5_000);
    assert_eq!(lan.peers[peers[2]].joined_count(lan.id(peers[4])), 1);
    lan.kill(peers[4]);
    for who in &peers[..4] {
        lan.run_until("eve is gone", 8_000, |lan| {
            lan.peers[*who].left_count(lan.id(peers[4])) == 1
        });
    }
    lan.run_for(10_000);
    for who in &peers[..4] {
        assert_eq!(
            lan.peers[*who].joined_count(lan.id(peers[4])),
            1,
            "eve stays gone"
        );
    }
}
