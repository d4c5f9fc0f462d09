//! Delivery: a send is settled when enough peers hold its lines.
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::name::{Room, Target};

use crate::support::lan::{Lan, chain};
use crate::support::peer::{PeerIndex, numbered_lines};

/// The highest line that this author reported as delivered to some peer.
fn delivered_up_to(lan: &Lan, author: PeerIndex) -> Option<u64> {
    let delivered = lan.peers[author].notices_of_run();
    let delivered = delivered.filter_map(|notice| match notice {
        Notice::Delivered { sequence, .. } => Some(*sequence),
        _ => None,
    });
    delivered.max()
}

/// `send` settles when every known room member holds the line, also the one reached only through
/// a neighbour.
#[test]
fn a_send_waits_for_peers_reached_through_others() {
    let (mut lan, [alice, bob, carol]) = chain(9, ["alice", "bob", "carol"]);
    lan.say(alice, "hello");
    lan.finish(alice, None);
    assert!(!lan.peers[alice].is_settled());
    lan.run_until("it is settled", 3_000, |lan| lan.peers[alice].is_settled());
    assert_eq!(lan.peers[carol].received(), ["hello"]);
    let delivered: Vec<_> = lan.peers[alice]
        .notices_of_run()
        .filter_map(|n| match n {
            Notice::Delivered { peer, .. } => Some(peer.id),
            _ => None,
        })
        .collect();
    assert!(delivered.contains(&lan.id(bob)) && delivered.contains(&lan.id(carol)));
}

/// A transient sender linked to one neighbour settles once the receipt of the peer behind that
/// neighbour has come.
#[test]
fn a_transient_sender_gets_forwarded_receipts() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.cut(alice, carol);
        lan.start(bob);
        lan.start(carol);
        lan.run_for(3_000);
        lan.peers[alice].transient = true;
        lan.start(alice);
        lan.say(alice, "hello");
        lan.finish(alice, None);
        lan.run_until("it is settled", 3_000, |lan| lan.peers[alice].is_settled());
        assert_eq!(lan.peers[carol].received(), ["hello"]);
    }
}

/// Whether alice's run, which waits for the delivery of one line, ends within 3 s although carol
/// is frozen.
fn settles_without_carol(lan: &mut Lan, [alice, carol]: [PeerIndex; 2]) -> bool {
    lan.freeze(carol);
    lan.say(alice, "hello");
    lan.finish(alice, None);
    lan.run_for(3_000);
    lan.peers[alice].is_settled()
}

/// A relay has restarted, and another member is linked with it again. A sender that comes in that
/// instant waits for the member as well.
#[test]
fn a_new_link_learns_at_once_who_is_behind_it() {
    for (seed, transient) in [(0, true), (1, false)] {
        let (mut lan, [alice, bob, carol]) = chain(seed, ["alice", "bob", "carol"]);
        lan.stop(alice);
        lan.kill(bob);
        lan.start(bob);
        lan.run_until_linked(bob, carol, 3_000);
        lan.peers[alice].transient = transient;
        lan.start(alice);
        assert!(!settles_without_carol(&mut lan, [alice, carol]));
    }
}

/// As above, for a program that has run all the time. It does not believe the relay's word that
/// carol is back, and does not write her off either.
#[test]
fn a_member_in_hold_down_still_lacks_lines() {
    let (mut lan, [alice, bob, carol]) = chain(2, ["alice", "bob", "carol"]);
    lan.kill(bob);
    lan.start(bob);
    lan.run_until_linked(bob, carol, 3_000);
    lan.run_until_linked(alice, bob, 3_000);
    lan.run_for(300);
    assert_eq!(
        lan.peers[alice].joined_count(lan.id(carol)),
        1,
        "in hold-down"
    );
    assert!(!settles_without_carol(&mut lan, [alice, carol]));
    // The receipt of a member in hold-down counts.
    lan.thaw(carol);
    lan.run_until("it is settled", 500, |lan| lan.peers[alice].is_settled());
}

/// A relay has restarted, and the sender is linked with it before the members behind it are. The
/// sender waits for those as well: it knew them a moment ago, and they have not left.
#[test]
fn a_restarted_relay_leads_to_the_same_members() {
    let names = ["alice", "bob", "carol", "dave", "erin"];
    for (seed, relay) in [(8, 1), (9, 2), (10, 3)] {
        let (mut lan, chain) = chain(seed, names);
        let [alice, erin] = [chain[0], chain[4]];
        lan.run_for(2_000);
        lan.cut(chain[relay], chain[relay + 1]);
        lan.kill(chain[relay]);
        lan.start(chain[relay]);
        lan.run_until_linked(chain[relay - 1], chain[relay], 3_000);
        lan.run_for(400);
        assert!(
            !settles_without_carol(&mut lan, [alice, erin]),
            "relay {relay}"
        );
    }
}

/// A relay that all are linked with has left. The others still name to each other the member that
/// only the relay could reach, until they notice that their routes lead back. A sender waits for
/// that member for a while.
#[test]
fn a_member_that_only_a_common_relay_reached_is_awaited() {
    for pause_ms in [0, 250, 500, 1_000, 1_500] {
        let names = ["alice", "bob", "carol", "dave"];
        let (mut lan, [alice, _, _, dave]) = chain(12, names);
        let hub = lan.add_peer("hub");
        lan.start(hub);
        lan.run_until_linked(hub, dave, 5_000);
        lan.run_for(2_000);
        for who in 0..3 {
            lan.cut(who, dave);
        }
        lan.run_for(20_000);
        lan.stop(hub);
        lan.run_for(pause_ms);
        lan.say(alice, "hello");
        lan.finish(alice, None);
        lan.run_for(2_000);
        assert!(!lan.peers[alice].is_settled(), "{pause_ms} ms");
        lan.run_until("dave is given up", 10_000, |lan| {
            lan.peers[alice].is_settled()
        });
    }
}

/// A relay that all are linked with is there for a moment, and with it the member at the end of the
/// chain. Then the missing peer of the chain comes, and leads to that member. A sender at the other
/// end waits for it all the time, although most peers have hardly heard of it.
#[test]
fn a_member_that_was_there_for_a_moment_is_awaited() {
    let mut forgotten = Vec::new();
    for hub_ms in [400, 600, 1_000] {
        for pause_ms in [100, 500, 1_000, 2_000, 3_000, 3_600, 4_000, 4_400, 5_000] {
            let names = ["alice", "bob", "carol", "dave", "erin", "frank"];
            let (mut lan, peers) = chain(14, names);
            let [alice, _, _, _, erin, frank] = peers;
            lan.stop(erin);
            let hub = lan.add_peer("hub");
            lan.cut(hub, erin);
            lan.run_for(20_000);
            lan.start(hub);
            lan.run_until_linked(hub, frank, 5_000);
            lan.run_until_linked(hub, alice, 5_000);
            lan.run_for(hub_ms);
            lan.stop(hub);
            lan.start(erin);
            lan.run_for(pause_ms);
            if settles_without_carol(&mut lan, [alice, frank]) {
                forgotten.push((hub_ms, pause_ms));
            }
        }
    }
    assert_eq!(forgotten, []);
}

/// The relay withdraws a member that it has named to a new neighbour only.
#[test]
fn a_member_that_leaves_at_once_is_withdrawn() {
    let (mut lan, [alice, bob, carol]) = chain(3, ["alice", "bob", "carol"]);
    lan.stop(alice);
    lan.kill(bob);
    lan.start(bob);
    lan.run_until_linked(bob, carol, 3_000);
    lan.start(alice);
    lan.run_until("alice knows carol", 100, |lan| {
        lan.peers[alice].joined_count(lan.id(carol)) == 1
    });
    lan.kill(carol);
    lan.run_until("carol is gone", 8_000, |lan| {
        lan.peers[alice].left_count(lan.id(carol)) == 1
    });
}

/// Somebody has just left, and sends a line with another run. The others still name the members
/// that the new run cannot reach.
#[test]
fn a_send_right_after_leaving_waits_for_everyone() {
    for (seed, pause_ms) in [(4, 0), (5, 20), (6, 100), (7, 300)] {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(6_000);
        lan.freeze(carol);
        lan.stop(alice);
        lan.run_for(pause_ms);
        lan.peers[alice].transient = true;
        lan.start(alice);
        assert!(
            !settles_without_carol(&mut lan, [alice, carol]),
            "{pause_ms} ms"
        );
    }
}

/// A forwarded receipt may overtake the announcement of its signer; it is kept and counted.
/// Dropped, the send would wait forever.
#[test]
fn a_receipt_from_a_peer_not_yet_known_counts() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.cut(alice, carol);
        lan.peers[alice].transient = true;
        lan.start(alice);
        lan.start(bob);
        lan.run_for(3_000);
        lan.say(alice, "hello");
        let need = Some(2);
        lan.finish(alice, need);
        lan.start(carol);
        lan.run_until("it is settled", 3_000, |lan| lan.peers[alice].is_settled());
        assert_eq!(lan.peers[carol].disk.entries().count(), 1);
    }
}

/// A send that needs more peers than are present neither settles nor polls: the simulator fails a
/// program that wakes more than 200 times a second.
#[test]
fn a_send_short_of_peers_waits_without_waking() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(3_000);
    lan.say(alice, "hello");
    let need = Some(2);
    lan.finish(alice, need);
    // The simulator fails a program that wakes too often.
    lan.run_for(10_000);
    assert!(!lan.peers[alice].is_settled());
}

/// `send` settles within 40 ms of meeting the required number of peers, all of them by default,
/// only with the line stored there, and is never announced as joined.
#[test]
fn a_send_settles_once_the_required_peers_hold_it() {
    for (seed, need) in [(0, None), (1, Some(2)), (2, Some(1)), (3, Some(0))] {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.peers[alice].transient = true;
        lan.start(bob);
        lan.start(carol);
        lan.run_for(5_000);
        lan.start(alice);
        lan.say(alice, "hello");
        lan.finish(alice, need);
        let took = lan.run_until("it is settled", 1_000, |lan| lan.peers[alice].is_settled());
        assert!(took < 40, "{took} ms");
        let holders = [bob, carol]
            .iter()
            .filter(|w| !lan.peers[**w].received().is_empty())
            .count();
        assert!(
            holders as u64 >= need.unwrap_or(2),
            "{holders} hold it, {need:?} were asked for"
        );
        lan.stop(alice);
        lan.run_for(1_000);
        assert_eq!(
            lan.peers[bob].joined_count(lan.id(alice)),
            0,
            "a transient peer is not announced"
        );
    }
}

/// Exit status 0 needs a holder for each line: a room in which nobody else is keeps the send
/// unsettled, also after the room is left.
#[test]
fn a_send_settles_only_when_every_line_is_held() {
    let ops = Room::new("ops").expect("a room");
    for part in [false, true] {
        let mut lan = Lan::new(31);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_until_linked(alice, bob, 5_000);
        lan.join(alice, "#ops");
        lan.say_in(alice, "#general", "to all");
        lan.say_in(alice, "#ops", "to nobody yet");
        if part {
            lan.part(alice, "#ops");
        }
        lan.finish(alice, None);
        lan.run_for(10_000);
        let delivery = |lan: &Lan| {
            let node = lan.node(alice);
            let delivery = node.delivery(None);
            (delivery.acked_peers, delivery.is_settled)
        };
        assert_eq!(delivery(&lan), (0, false), "bob holds one of the two lines");
        if part {
            continue;
        }
        lan.peers[carol].startup_rooms.push(ops.clone());
        lan.start(carol);
        lan.run_until("carol holds all", 5_000, |lan| delivery(lan).1);
        lan.part(alice, "#ops");
        assert_eq!(delivery(&lan), (1, true), "carol still holds it");
    }
}

/// A reader leaves the room or the network in the instant in which it shows a line. It first
/// acknowledges the line, although the interval since its last acknowledgement has not passed.
#[test]
fn a_reader_acknowledges_its_lines_before_it_leaves() {
    let leave_room: fn(&mut Lan, PeerIndex) = |lan, bob| lan.part(bob, "general");
    let leave_network: fn(&mut Lan, PeerIndex) = |lan, bob| lan.stop(bob);
    for leave in [leave_room, leave_network] {
        let mut lan = Lan::new(11);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start_all([alice, bob]);
        lan.run_until_linked(alice, bob, 3_000);
        for (n, text) in numbered_lines("line", 1, 20).iter().enumerate() {
            lan.say(alice, text);
            lan.run_until("bob shows the line", 1_000, |lan| {
                lan.peers[bob].received().len() > n
            });
        }
        assert_ne!(delivered_up_to(&lan, alice), Some(20));
        leave(&mut lan, bob);
        lan.run_for(1_000);
        assert_eq!(delivered_up_to(&lan, alice), Some(20));
    }
}

/// Bob acknowledges alice's bulk once in 20 ms. A line in another room does not wait for that: its
/// acknowledgement comes at once, in each phase of the interval.
#[test]
fn a_line_is_acknowledged_at_once_beside_a_burst() {
    let mut lan = Lan::new(12);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.network.conditions.stream_delay_max_ms = 0;
    lan.start_all([alice, bob]);
    for who in [alice, bob] {
        lan.join(who, "#ops");
    }
    lan.run_until_linked(alice, bob, 100);
    let ops = Target::Room(Room::new("#ops").expect("a room"));
    let has_line = |lan: &Lan, n: u64| {
        lan.peers[alice].notices_of_run().any(|notice| {
            matches!(notice, Notice::Delivered { log, sequence, .. }
                if log.target == ops && *sequence == n)
        })
    };
    for n in 1..=25 {
        for _ in 0..n {
            for _ in 0..3 {
                lan.say_in(alice, "general", "bulk");
            }
            lan.run_for(1);
        }
        lan.say_in(alice, "#ops", "hello");
        lan.run_until("bob has acknowledged it", 3, |lan| has_line(lan, n));
    }
    let acks = lan.peers[alice].delivered_count();
    assert!(acks <= 60, "{acks} acknowledgements");
}

/// Ends alice's side of her link with bob. Bob still believes in the link, because nothing passes
/// between the two.
fn end_one_side(lan: &mut Lan, alice: PeerIndex, bob: PeerIndex) {
    lan.cut(alice, bob);
    let connections = lan.network.connections.values();
    let ends = connections.filter_map(|it| Some([it.open_end(0)?, it.open_end(1)?]));
    let of_both = ends.flat_map(|[a, b]| [(a, b), (b, a)]);
    let own = of_both.filter(|(own, other)| own.who == alice && other.who == bob);
    let streams: Vec<_> = own.map(|(own, _)| own.stream).collect();
    for stream in streams {
        lan.close_stream(alice, stream);
        lan.feed(alice, Input::Closed { stream });
    }
}

/// Alice's address has changed, which ends her side of her link with the relay bob at once, and
/// bob's side some seconds later. Zed leads from alice to bob, and the receipts come back that way:
/// bob's own, and that of carol, who is behind him.
#[test]
fn receipts_go_back_on_the_way_that_the_lines_came() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, zed, bob, carol] = lan.add_peers(["alice", "zed", "bob", "carol"]);
        lan.remove_path(carol, alice);
        lan.remove_path(carol, zed);
        lan.start_all([alice, zed, bob, carol]);
        lan.run_for(10_000);
        end_one_side(&mut lan, alice, bob);
        lan.run_for(1_000);
        lan.say(alice, "hello");
        lan.finish(alice, None);
        lan.run_until("it is settled", 3_000, |lan| lan.peers[alice].is_settled());
        assert_eq!(lan.peers[carol].received(), ["hello"]);
    }
}

/// A relay is killed with a receipt that it has not forwarded. The last member of the chain sends
/// the receipt again, once a way leads to the author again.
#[test]
fn a_receipt_that_was_lost_with_a_relay_is_sent_again() {
    for (seed, relay) in (0..8).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        let names = ["alice", "bob", "carol", "dave"];
        let (mut lan, chain) = chain(seed, names);
        let ([alice, dave], relay) = ([chain[0], chain[3]], chain[relay]);
        lan.run_for(5_000);
        lan.say(alice, "hello");
        lan.finish(alice, None);
        lan.run_until("dave has it", 3_000, |lan| {
            lan.peers[dave].received() == ["hello"]
        });
        lan.kill(relay);
        lan.start(relay);
        lan.run_until("it is settled", 5_000, |lan| lan.peers[alice].is_settled());
    }
}

/// Of the lines that not everyone has, those count as delivered that all have who need them.
#[test]
fn delivered_lines_are_counted() {
    let mut lan = Lan::new(90);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(5_000);
    lan.say_all(alice, None, &numbered_lines("all", 1, 10));
    lan.run_for(5_000);
    lan.freeze(carol);
    lan.say_all(alice, None, &numbered_lines("bob", 1, 5));
    lan.run_for(1_000);
    let log = lan.first_log(alice);
    let count = |lines, required| {
        let node = lan.node(alice);
        node.delivered_lines(&[(&log, lines)], required)
    };
    assert_eq!(count(1..=15, None), 10);
    assert_eq!(count(6..=15, None), 5);
    assert_eq!(count(11..=15, None), 0);
    assert_eq!(
        [0, 1, 2, 3].map(|n| count(1..=15, Some(n))),
        [15, 15, 10, 0]
    );
    lan.freeze(bob);
    lan.say_all(alice, None, &numbered_lines("nobody", 1, 3));
    lan.run_for(1_000);
    let count = |lan: &Lan, lines| lan.node(alice).delivered_lines(&[(&log, lines)], None);
    assert_eq!(count(&lan, 1..=18), 10, "carol lacks more than bob");
    for peer in [bob, carol] {
        lan.thaw(peer);
    }
    lan.run_for(15_000);
    assert_eq!(count(&lan, 1..=18), 18);
}
