//! Routes: peers that are reachable only through others, and the lines that cross them.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::peer::PeerState;
use p2pchat::base::identity::PeerId;
use p2pchat::wire::message::{ByeReason, HOPS_MAX, Member, Members, Message};

use crate::support::lan::{Lan, chain};
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

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

/// A peer reachable through others is shown as known via its route. It leaves some seconds after
/// it stops, or after the neighbour on the route dies.
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
    lan.run_until("dave is gone", 8_000, |lan| {
        lan.peers[alice].left_count(lan.id(dave)) == 1
    });
    lan.start(dave);
    lan.run_until("dave is back", 5_000, |lan| {
        lan.peers[alice].joined_count(lan.id(dave)) == 2
    });
    // Bob dies, and with him the route to both peers behind him; their gossip about each other
    // does not keep the route alive.
    lan.kill(bob);
    lan.run_until("all are gone", 14_000, |lan| {
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
        lan.run_until("eve is gone", 14_000, |lan| {
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

/// What a scripted neighbour says about the members behind it: the run of each one, or `None` if
/// the member is gone.
type RouteChanges<'a> = &'a [(PeerId, Option<u64>)];

/// Sends a change of routes in #general.
fn advertise(lan: &mut Lan, neighbour: &mut ScriptedPeer, changes: RouteChanges) {
    let here = changes.iter().filter_map(|(peer, run)| {
        Some(Member {
            peer: *peer,
            username: "dave".into(),
            run: (*run)?,
            hops: 1,
            via: None,
            await_ms: None,
        })
    });
    let gone = changes.iter().filter(|(_, run)| run.is_none());
    let members = Members {
        target: "#general".into(),
        here: here.collect(),
        gone: gone.map(|(peer, _)| *peer).collect(),
    };
    neighbour.send(lan, &Message::Members(members));
}

/// The changes of routes that the node sent to a scripted neighbour since the last call, in order.
fn received_routes(lan: &mut Lan, neighbour: &mut ScriptedPeer) -> Vec<(PeerId, Option<u64>)> {
    let mut changes = Vec::new();
    for message in neighbour.receive_messages(lan) {
        if let Message::Members(members) = message {
            changes.extend(members.here.iter().map(|it| (it.peer, Some(it.run))));
            changes.extend(members.gone.iter().map(|peer| (*peer, None)));
        }
    }
    changes
}

/// The ids of members that only exist in advertised routes.
fn distant_members(count: u64) -> Vec<PeerId> {
    let ids = (0..count).map(|n| ScriptedPeer::identity(1_000 + n).id());
    ids.collect()
}

/// Alice, and a neighbour of hers whose link she has advertised.
fn alice_and_neighbour(seed: u64) -> (Lan, PeerIndex, ScriptedPeer) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let bob = ScriptedPeer::connect(&mut lan, alice, 1);
    lan.run_for(1_000);
    (lan, alice, bob)
}

/// Alice, her neighbours bob and mallory, and a member behind mallory, whose route bob has.
fn alice_bob_and_mallory() -> (Lan, PeerIndex, [ScriptedPeer; 2], PeerId) {
    let (mut lan, alice, mut bob) = alice_and_neighbour(31);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 2);
    let dave = distant_members(1)[0];
    advertise(&mut lan, &mut mallory, &[(dave, Some(1))]);
    lan.run_for(1_000);
    let received = received_routes(&mut lan, &mut bob);
    assert!(received.contains(&(dave, Some(1))));
    (lan, alice, [bob, mallory], dave)
}

/// Only new links postpone an update: else a neighbour that changes its word every 50 ms would
/// double the time in which losses are told, and a hold-down would end before.
#[test]
fn what_a_neighbour_says_postpones_no_update() {
    let (mut lan, _, [mut bob, mut mallory], dave) = alice_bob_and_mallory();
    advertise(&mut lan, &mut mallory, &[(dave, None)]);
    let eve = distant_members(2)[1];
    for run in [Some(1), None, Some(1), None, Some(1)] {
        advertise(&mut lan, &mut mallory, &[(eve, run)]);
        lan.run_for(50);
    }
    let received = received_routes(&mut lan, &mut bob);
    assert!(received.contains(&(dave, None)), "{received:?}");
}

/// New links postpone an update until it is twice as late.
#[test]
fn new_links_postpone_an_update_only_for_so_long() {
    let (mut lan, alice, [mut bob, mut mallory], dave) = alice_bob_and_mallory();
    advertise(&mut lan, &mut mallory, &[(dave, None)]);
    for n in 0..20 {
        ScriptedPeer::connect(&mut lan, alice, 10 + n);
        lan.run_for(50);
    }
    let received = received_routes(&mut lan, &mut bob);
    assert!(received.contains(&(dave, None)), "{received:?}");
}

/// A new neighbour gets a few new routes at once. If there are many, many programs are starting,
/// and all get them with the next update.
#[test]
fn a_new_neighbour_gets_only_a_few_new_routes_at_once() {
    for (count, early) in [(8, 8), (9, 0), (200, 0)] {
        let (mut lan, alice, mut bob) = alice_and_neighbour(1);
        let members = distant_members(count);
        let here: Vec<_> = members.iter().map(|id| (*id, Some(1))).collect();
        advertise(&mut lan, &mut bob, &here);
        let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
        let at_once = received_routes(&mut lan, &mut carol);
        assert!(at_once.contains(&(bob.identity.id(), Some(5))), "{count}");
        assert_eq!(at_once.len(), 1 + early, "{count}");
        lan.run_for(500);
        let later = received_routes(&mut lan, &mut carol);
        assert!(here.iter().all(|it| later.contains(it)), "{count}");
    }
}

/// A route that a new neighbour got before the others, and that changes again before the update, is
/// corrected at that neighbour: to what it was, or to none.
#[test]
fn a_route_that_was_sent_early_is_corrected() {
    for first in [Some(1), None] {
        let (mut lan, alice, mut bob) = alice_and_neighbour(2);
        let dave = distant_members(1)[0];
        if first.is_some() {
            advertise(&mut lan, &mut bob, &[(dave, first)]);
            lan.run_for(1_000);
        }
        advertise(&mut lan, &mut bob, &[(dave, Some(2))]);
        let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
        let early = received_routes(&mut lan, &mut carol);
        assert!(early.contains(&(dave, Some(2))));
        advertise(&mut lan, &mut bob, &[(dave, first)]);
        lan.run_for(500);
        let updated = received_routes(&mut lan, &mut carol);
        let of_dave = updated.iter().rfind(|(peer, _)| *peer == dave);
        assert_eq!(of_dave, Some(&(dave, first)));
    }
}

/// The hold-down of a lost member concerns the run that was sent last, also if only a new neighbour
/// got it.
#[test]
fn a_hold_down_holds_the_run_that_was_sent_early() {
    let (mut lan, alice, mut bob) = alice_and_neighbour(3);
    let mut erin = ScriptedPeer::connect(&mut lan, alice, 3);
    let dave = distant_members(1)[0];
    advertise(&mut lan, &mut bob, &[(dave, Some(1))]);
    lan.run_for(1_000);
    advertise(&mut lan, &mut bob, &[(dave, Some(2))]);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    advertise(&mut lan, &mut bob, &[(dave, None)]);
    // Erin has not heard of the loss.
    advertise(&mut lan, &mut erin, &[(dave, Some(2))]);
    let of_dave = |lan: &mut Lan, carol: &mut ScriptedPeer| {
        let routes = received_routes(lan, carol);
        let of_dave = routes.into_iter().filter(|(peer, _)| *peer == dave);
        of_dave.map(|(_, run)| run).collect::<Vec<_>>()
    };
    lan.run_for(3_500);
    assert_eq!(of_dave(&mut lan, &mut carol), [Some(2), None]);
    lan.run_for(2_000);
    assert_eq!(of_dave(&mut lan, &mut carol), [Some(2)]);
}

/// Names members that the scripted neighbour awaits, all with one name.
fn await_members(lan: &mut Lan, neighbour: &mut ScriptedPeer, members: &[PeerId], name: &str) {
    for members in members.chunks(256) {
        let here = members.iter().map(|peer| Member {
            peer: *peer,
            username: name.into(),
            run: 1,
            hops: HOPS_MAX,
            via: None,
            await_ms: Some(8_000),
        });
        let members = Members {
            target: "#general".into(),
            here: here.collect(),
            gone: Vec::new(),
        };
        neighbour.send(lan, &Message::Members(members));
    }
}

/// The hops that the node named to a scripted neighbour for this member since the last call.
fn received_hops(lan: &mut Lan, neighbour: &mut ScriptedPeer, member: PeerId) -> Vec<u8> {
    let mut hops = Vec::new();
    for message in neighbour.receive_messages(lan) {
        if let Message::Members(members) = message {
            let of_member = members.here.iter().filter(|it| it.peer == member);
            hops.extend(of_member.map(|it| it.hops));
        }
    }
    hops
}

/// A relay is lost, and so are the members behind it. The neighbours, and peers that come now, are
/// told that these are awaited; the lost relay is not.
#[test]
fn members_behind_a_lost_relay_are_awaited() {
    let (mut lan, alice, mut bob) = alice_and_neighbour(4);
    let dave = distant_members(1)[0];
    advertise(&mut lan, &mut bob, &[(dave, Some(1))]);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    lan.run_for(1_000);
    assert_eq!(received_hops(&mut lan, &mut carol, dave).last(), Some(&2));
    lan.feed(alice, Input::Closed { stream: bob.stream });
    lan.run_for(1_000);
    let mut erin = ScriptedPeer::connect(&mut lan, alice, 3);
    for neighbour in [&mut carol, &mut erin] {
        assert_eq!(received_hops(&mut lan, neighbour, dave), [HOPS_MAX]);
    }
    let mut frank = ScriptedPeer::connect(&mut lan, alice, 4);
    assert_eq!(
        received_hops(&mut lan, &mut frank, bob.identity.id()),
        [0; 0]
    );
    lan.run_for(7_000);
    let mut gina = ScriptedPeer::connect(&mut lan, alice, 5);
    assert_eq!(received_hops(&mut lan, &mut gina, dave), [0; 0]);
}

/// A neighbour's word that members are awaited counts for 8 s, and for a bounded number of them.
#[test]
fn members_that_a_neighbour_awaits_lack_lines() {
    for (count, awaited) in [(1, 1), (3_000, 2_048)] {
        let (mut lan, alice, mut bob) = alice_and_neighbour(5);
        lan.say(alice, "hello");
        await_members(&mut lan, &mut bob, &distant_members(count), "dave");
        let lacking = |lan: &Lan| lan.node(alice).delivery(None).required_peers;
        assert_eq!(lacking(&lan), 1 + awaited);
        lan.run_for(7_500);
        assert_eq!(lacking(&lan), 1 + awaited);
        lan.run_for(1_000);
        assert_eq!(lacking(&lan), 1);
    }
}

/// One neighbour awaits dave, another says that dave is gone. That word may be old or a lie: dave
/// lacks the line, in whatever order both speak. Dave's own goodbye is certain.
#[test]
fn a_neighbour_that_awaits_a_member_outweighs_one_that_does_not() {
    for (is_awaited_first, has_left) in [(true, false), (false, false), (false, true)] {
        let (mut lan, alice, mut bob) = alice_and_neighbour(8);
        let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
        let mut dave = ScriptedPeer::connect(&mut lan, alice, 4);
        let dave_id = dave.identity.id();
        advertise(&mut lan, &mut bob, &[(dave_id, Some(5))]);
        lan.run_for(1_000);
        lan.say(alice, "hello");
        let lacking = |lan: &Lan| lan.node(alice).delivery(None).required_peers;
        match has_left {
            true => dave.send(
                &mut lan,
                &Message::Bye {
                    reason: ByeReason::Leave,
                },
            ),
            false => lan.feed(
                alice,
                Input::Closed {
                    stream: dave.stream,
                },
            ),
        }
        let awaits = |lan: &mut Lan, carol: &mut ScriptedPeer| {
            let here = vec![Member {
                peer: dave_id,
                username: "dave".into(),
                run: 5,
                hops: HOPS_MAX,
                via: None,
                await_ms: Some(8_000),
            }];
            carol.send(
                lan,
                &Message::Members(Members {
                    target: "#general".into(),
                    here,
                    gone: Vec::new(),
                }),
            );
        };
        if is_awaited_first {
            awaits(&mut lan, &mut carol);
        }
        advertise(&mut lan, &mut bob, &[(dave_id, None)]);
        if !is_awaited_first {
            awaits(&mut lan, &mut carol);
        }
        assert_eq!(
            lacking(&lan),
            2 + u64::from(!has_left),
            "{is_awaited_first} {has_left}"
        );
        lan.run_for(8_500);
        assert_eq!(lacking(&lan), 2);
    }
}

/// A member behind a link that its neighbour has no room for runs on, and so does the neighbour.
/// Both are shown as gone only when no other route comes in time. A goodbye is shown at once.
#[test]
fn peers_behind_a_pruned_link_are_awaited() {
    for reason in [ByeReason::Full, ByeReason::Duplicate, ByeReason::Leave] {
        let (mut lan, alice, mut bob) = alice_and_neighbour(6);
        let (bob_id, dave) = (bob.identity.id(), distant_members(1)[0]);
        advertise(&mut lan, &mut bob, &[(dave, Some(1))]);
        lan.run_for(6_000);
        assert_eq!(lan.peers[alice].joined_count(dave), 1);
        bob.send(&mut lan, &Message::Bye { reason });
        lan.run_for(4_000);
        let left = usize::from(reason == ByeReason::Leave);
        assert_eq!(lan.peers[alice].left_count(bob_id), left);
        // Another neighbour has a route to dave, loses it, and finds another one.
        let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
        advertise(&mut lan, &mut carol, &[(dave, Some(1))]);
        lan.run_for(6_000);
        advertise(&mut lan, &mut carol, &[(dave, None)]);
        lan.run_for(1_000);
        advertise(&mut lan, &mut carol, &[(dave, Some(1))]);
        lan.run_for(10_000);
        assert_eq!(lan.peers[alice].left_count(bob_id), 1);
        assert_eq!(lan.peers[alice].left_count(dave), 0);
        advertise(&mut lan, &mut carol, &[(dave, None)]);
        lan.run_for(5_000);
        assert_eq!(lan.peers[alice].left_count(dave), 0);
        lan.run_for(2_000);
        assert_eq!(lan.peers[alice].left_count(dave), 1);
        assert_eq!(lan.peers[alice].joined_count(dave), 1);
    }
}

/// A peer of ours is told of members that are awaited. Names are bounded, however long a neighbour
/// made them: the message would else break the links of all who get it.
#[test]
fn the_name_of_an_awaited_member_is_bounded() {
    let (mut lan, alice, mut bob) = alice_and_neighbour(6);
    let members = distant_members(2);
    let here: Vec<_> = members.iter().map(|id| (*id, Some(1))).collect();
    advertise(&mut lan, &mut bob, &here);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    lan.run_for(1_000);
    received_routes(&mut lan, &mut carol);
    for member in members {
        await_members(&mut lan, &mut bob, &[member], &"x".repeat(300_000));
    }
    lan.run_for(1_000);
    let longest = carol.receive_messages(&mut lan).into_iter();
    let longest = longest.map(|message| message.encode().len()).max();
    assert!(longest.is_some_and(|bytes| bytes < 1_000), "{longest:?}");
}

/// A member is awaited, and then linked. A peer that comes now gets the route, and nothing else.
#[test]
fn a_member_that_is_back_is_no_longer_awaited() {
    let (mut lan, alice, mut bob) = alice_and_neighbour(7);
    let dave = ScriptedPeer::identity(4).id();
    advertise(&mut lan, &mut bob, &[(dave, Some(5))]);
    lan.run_for(1_000);
    lan.feed(alice, Input::Closed { stream: bob.stream });
    lan.run_for(500);
    let _dave = ScriptedPeer::connect(&mut lan, alice, 4);
    lan.run_for(1_000);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    assert_eq!(received_hops(&mut lan, &mut carol, dave), [1]);
}

/// A member that a neighbour awaits is named to the others, and to peers that come later, with what
/// is left of the time. So peers that come one after the other can't keep telling each other.
#[test]
fn the_word_of_a_neighbour_is_passed_on_for_its_time() {
    let (mut lan, alice, mut bob) = alice_and_neighbour(8);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    let dave = distant_members(1)[0];
    await_members(&mut lan, &mut bob, &[dave], "dave");
    lan.run_for(1_000);
    let told = remaining_ms(&mut lan, &mut carol, dave);
    assert!(matches!(told[..], [7_500..=8_000]), "{told:?}");
    lan.run_for(2_000);
    let mut erin = ScriptedPeer::connect(&mut lan, alice, 3);
    let told = remaining_ms(&mut lan, &mut erin, dave);
    assert!(matches!(told[..], [4_500..=5_100]), "{told:?}");
    // What alice has told comes back, also with an invented run, and changes nothing.
    await_members(&mut lan, &mut carol, &[dave], "dave");
    let invented = Member {
        peer: dave,
        username: "dave".into(),
        run: 2,
        hops: HOPS_MAX,
        via: None,
        await_ms: Some(8_000),
    };
    let members = Members {
        target: "#general".into(),
        here: vec![invented],
        gone: Vec::new(),
    };
    carol.send(&mut lan, &Message::Members(members));
    lan.run_for(5_500);
    let mut frank = ScriptedPeer::connect(&mut lan, alice, 4);
    for neighbour in [&mut carol, &mut erin, &mut frank] {
        assert_eq!(remaining_ms(&mut lan, neighbour, dave), [0; 0]);
    }
}

/// The times for which the node told a scripted neighbour to await this member, since the last
/// call.
fn remaining_ms(lan: &mut Lan, neighbour: &mut ScriptedPeer, member: PeerId) -> Vec<u64> {
    let mut times = Vec::new();
    for message in neighbour.receive_messages(lan) {
        if let Message::Members(members) = message {
            let of_member = members.here.iter().filter(|it| it.peer == member);
            times.extend(of_member.filter_map(|it| it.await_ms));
        }
    }
    times
}

/// A relay leaves the room, and its link stays. The members behind it are awaited.
#[test]
fn members_behind_a_relay_that_left_the_room_are_awaited() {
    let (mut lan, alice, mut bob) = alice_and_neighbour(9);
    lan.join(alice, "#ops");
    let dave = distant_members(1)[0];
    advertise(&mut lan, &mut bob, &[(dave, Some(1))]);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    lan.run_for(1_000);
    received_hops(&mut lan, &mut carol, dave);
    bob.send(&mut lan, &Message::Rooms { rooms: Vec::new() });
    lan.run_for(1_000);
    assert_eq!(received_hops(&mut lan, &mut carol, dave), [HOPS_MAX]);
}

/// Sends what a scripted neighbour says about dave, to whom it led before. Returns the times for
/// which alice tells another neighbour to await him, and the seconds until she no longer does.
fn await_after(hops: u8, await_ms: Option<u64>) -> (Vec<u64>, u64) {
    let (mut lan, alice, mut bob) = alice_and_neighbour(10);
    let dave = distant_members(1)[0];
    advertise(&mut lan, &mut bob, &[(dave, Some(1))]);
    let mut carol = ScriptedPeer::connect(&mut lan, alice, 2);
    lan.run_for(1_000);
    lan.say(alice, "hello");
    let entry = Member {
        peer: dave,
        username: "dave".into(),
        run: 1,
        hops,
        via: None,
        await_ms,
    };
    let members = Members {
        target: "#general".into(),
        here: vec![entry],
        gone: Vec::new(),
    };
    bob.send(&mut lan, &Message::Members(members));
    let waits = (0..60).take_while(|_| {
        lan.run_for(1_000);
        lan.node(alice).delivery(None).required_peers == 3
    });
    let seconds = waits.count() as u64;
    (remaining_ms(&mut lan, &mut carol, dave), seconds)
}

/// The only neighbour that leads to a member awaits it, and so do we, for the rest of its time.
#[test]
fn a_wait_behind_a_route_is_passed_on_for_its_time() {
    let (told, seconds) = await_after(HOPS_MAX, Some(3_000));
    assert!(matches!(told[..], [2_500..=2_900]), "{told:?}");
    assert_eq!(seconds, 2);
}

/// A route that is too long to be advertised is no route. Its member is awaited for 8 s by us, and
/// for the rest of this time by the neighbours.
#[test]
fn a_member_behind_a_route_that_is_too_long_is_awaited() {
    let (told, seconds) = await_after(HOPS_MAX - 1, None);
    assert!(matches!(told[..], [7_500..=7_900]), "{told:?}");
    assert_eq!(seconds, 7);
}
