//! Liveness: how soon a dead, frozen, restarted or leaving peer is noticed, and when a link must
//! survive.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::peer::{PeerInfo, PeerState};

use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::PeerIndex;

/// A dead path is closed within 15 s on both sides, and the first beacon after it heals leads to
/// a link.
#[test]
fn a_silent_cut_is_reported_within_15_s() {
    let mut lan = Lan::new(1);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.run_for(20_000);
    lan.cut(alice, bob);
    lan.run_until("both see the other go", 15_000, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
            && lan.peers[bob].left_count(lan.id(alice)) == 1
    });
    lan.run_for(60_000);
    lan.heal();
    let beacons = lan.peers[alice].beacons_sent + lan.peers[bob].beacons_sent;
    lan.run_until("a beacon", 6_000, |lan| {
        lan.peers[alice].beacons_sent + lan.peers[bob].beacons_sent > beacons
    });
    lan.run_until_linked(alice, bob, 1_000);
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 2);
}

/// The list of peers, as `peers` shows it.
pub fn list_peers(lan: &mut Lan, who: PeerIndex) -> Vec<PeerInfo> {
    lan.feed(who, Input::Command(Command::Peers));
    let Some(Notice::Peers(rows)) = lan.peers[who].notices_of_run().last() else {
        panic!("no list");
    };
    rows.clone()
}

/// The list says when each was last heard: of a linked peer, with its last bytes; of one that was
/// cut off, before the cut; of one that has left, at its end. When it is back, it is linked.
#[test]
fn the_list_says_when_each_was_last_heard() {
    let mut lan = Lan::new(6);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(30_000);
    let linked_at = |lan: &mut Lan, name| {
        let rows = list_peers(lan, alice).into_iter();
        let mut rows = rows.filter(|row| row.peer.nick.as_str() == name);
        let row = rows.next().expect("a row");
        assert!(rows.next().is_none(), "{name} is listed once");
        (row.state, row.last_seen.expect("a time").0)
    };
    let (state, at_start) = linked_at(&mut lan, "bob");
    assert_eq!(state, PeerState::Linked);
    lan.isolate(bob);
    lan.run_for(100_000);
    let (state, last) = linked_at(&mut lan, "bob");
    assert_eq!(state, PeerState::Gone);
    assert!((at_start..at_start + 1_000).contains(&last), "{last}");
    lan.stop(carol);
    lan.run_for(1_000);
    let (state, left) = linked_at(&mut lan, "carol");
    assert_eq!(state, PeerState::Gone);
    assert!((last + 99_000..last + 112_000).contains(&left), "{left}");
    lan.heal();
    lan.run_for(120_000);
    let (state, back) = linked_at(&mut lan, "bob");
    assert_eq!(state, PeerState::Linked);
    assert!(back > left);
}

/// A cut of 5 s, which TCP survives, ends no link; the line said meanwhile arrives.
#[test]
fn a_five_second_cut_is_not_reported() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.cut(alice, bob);
    lan.say(alice, "while you were cut off");
    lan.run_for(5_000);
    lan.heal();
    lan.run_for(5_000);
    assert_eq!(lan.peers[bob].received(), ["while you were cut off"]);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 0);
}

/// The kernel closes the streams of a killed process, and its peers report it within 50 ms.
#[test]
fn a_killed_process_is_gone_at_once() {
    let mut lan = Lan::new(3);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.run_for(100);
    lan.kill(bob);
    lan.run_until("bob is gone", 50, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
    });
}

/// A host that loses power is reported within 15 s, although nothing closes its streams.
#[test]
fn a_dead_host_is_gone_within_15_s() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.run_for(100);
    lan.power_off(bob);
    lan.run_until("bob is gone", 15_000, |lan| {
        lan.peers[alice].left_count(lan.id(bob)) == 1
    });
}

/// A process that handles nothing while its kernel acknowledges is reported within 30 s, does not
/// flap, and is linked again once it runs.
#[test]
fn a_frozen_process_is_gone_within_30_s() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.peers[alice].beacons_enabled = seed % 2 == 0;
        lan.peers[bob].beacons_enabled = seed % 2 == 0;
        lan.start(alice);
        lan.start(bob);
        let bobs = lan.address(bob);
        lan.add_static_peer(alice, bobs);
        lan.run_until_linked(alice, bob, 2_000);
        lan.run_for(seed * 3_000);
        lan.freeze(bob);
        lan.run_until("bob is gone", 30_000, |lan| {
            lan.peers[alice].left_count(lan.id(bob)) == 1
        });
        lan.run_for(20_000);
        assert_eq!(
            lan.peers[alice].joined_count(lan.id(bob)),
            1,
            "a frozen peer does not come back"
        );
        lan.thaw(bob);
        // Without beacons, alice's next dial finds him.
        lan.run_until_linked(alice, bob, REDIAL_MS);
    }
}

/// So is a process that stops just after it was linked, before it has answered the first ping of
/// one of two neighbours.
#[test]
fn a_process_that_freezes_at_once_is_gone_within_30_s() {
    for seed in 0..40 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        for neighbour in [alice, bob] {
            lan.run_until_linked(neighbour, carol, 2_000);
        }
        lan.run_for(seed / 4);
        lan.freeze(carol);
        lan.run_until("carol is gone", 30_000, |lan| {
            let mut neighbours = [alice, bob].into_iter();
            neighbours.all(|it| lan.peers[it].left_count(lan.id(carol)) == 1)
        });
    }
}

/// A clean restart shows one leave and one join, and the link is back within 1 s.
#[test]
fn a_restarted_program_is_back_within_a_second() {
    let mut lan = Lan::new(5);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.run_for(15_000);
    lan.stop(bob);
    lan.run_for(100);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 1_000);
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 2);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
}

/// A restart after a power cut replaces the dead link, which its peer still believes in, within 1
/// s.
#[test]
fn a_new_run_replaces_the_link_of_a_dead_one() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_until_linked(alice, bob, 2_000);
        lan.run_for(4_000);
        lan.power_off(bob);
        lan.run_for(300);
        lan.start(bob);
        lan.run_until_linked(alice, bob, 1_000);
        lan.say(alice, "welcome back");
        lan.run_for(60_000);
        assert_eq!(lan.peers[bob].received(), ["welcome back"]);
        assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
        assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 2);
        lan.check_links();
    }
}

/// Bob's kernel has given up the link, and alice's has not noticed. Bob dials her: she takes his
/// stream at once, whoever dialed the dead one.
#[test]
fn a_link_that_one_side_has_lost_is_replaced() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let peers = lan.add_peers(["alice", "bob"]);
        lan.start_all(peers);
        let [alice, bob] = if seed < 10 {
            peers
        } else {
            [peers[1], peers[0]]
        };
        lan.run_until_linked(alice, bob, 2_000);
        lan.run_for(6_000);
        lan.lose_link_at(bob, alice);
        lan.run_until_linked(alice, bob, 1_000);
        lan.say(alice, "are you there?");
        lan.run_for(1_000);
        assert_eq!(lan.peers[bob].received(), ["are you there?"]);
        lan.run_for(60_000);
        lan.check_links();
    }
}

/// An idle box sleeps: in a minute without events ten linked peers write nothing to links and
/// send 4 to 7 beacons each.
#[test]
fn idle_links_are_silent() {
    let mut lan = Lan::new(7);
    let all: Vec<usize> = (0..10).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    for who in &all {
        lan.start(*who);
    }
    lan.run_for(30_000);
    lan.check_links();
    let before: Vec<(u64, u64)> = all
        .iter()
        .map(|w| (lan.peers[*w].beacons_sent, lan.peers[*w].bytes_sent))
        .collect();
    lan.run_for(60_000);
    for who in all {
        let beacons = lan.peers[who].beacons_sent - before[who].0;
        assert!((4..=7).contains(&beacons), "{beacons} beacons");
        assert_eq!(
            lan.peers[who].bytes_sent, before[who].1,
            "an idle link is silent"
        );
    }
}

/// A clean leave is reported once by those who stay, never by the one who leaves, and a peer that
/// left is not dialed.
#[test]
fn a_clean_leave_is_reported_once_and_not_redialed() {
    let mut lan = Lan::new(8);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.stop(alice);
    assert_eq!(
        lan.peers[alice].left_count(lan.id(bob)),
        0,
        "the leaving peer sees nobody leave"
    );
    lan.run_for(100);
    assert_eq!(lan.peers[bob].left_count(lan.id(alice)), 1);
    let dials = lan.network.dial_count;
    lan.run_for(100_000);
    assert_eq!(
        lan.network.dial_count, dials,
        "a peer that left is not dialed"
    );
}

/// On a busy machine, the other side may give up a handshake that this side has finished. Such a
/// link proves no end: the peer stays shown, and the next handshake follows.
#[test]
fn a_handshake_that_fails_on_the_other_side_is_not_shown() {
    let mut lan = Lan::new(9);
    lan.network.conditions.stream_delay_max_ms = 50;
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start_all([alice, bob]);
    lan.run_until("alice shows bob", 2_000, |lan| {
        lan.peers[alice].joined_count(lan.id(bob)) == 1
    });
    // Bob has not answered the first ping.
    let connections: Vec<u64> = lan.network.connections.keys().copied().collect();
    for connection in connections {
        lan.reset_connection(connection);
    }
    lan.run_until_linked(alice, bob, 5_000);
    lan.run_for(10_000);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 0);
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 1);
}

/// Where no beacons help, one ping shows both sides that the other is alive: the side that dialed
/// sends it, and pings all its links together.
#[test]
fn one_ping_is_enough_for_both_sides() {
    let mut lan = Lan::new(8);
    let peers: Vec<PeerIndex> = (0..8).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    for who in &peers {
        lan.peers[*who].beacons_enabled = false;
        lan.start(*who);
        let address = lan.address(peers[0]);
        lan.add_static_peer(*who, address);
    }
    lan.run_until("all are linked", 20_000, |lan| {
        peers.iter().all(|who| lan.node(*who).link_count() == 7)
    });
    lan.run_for(30_000);
    let turns = |lan: &Lan| lan.peers.iter().map(|p| p.turns).sum::<u64>();
    let before = turns(&lan);
    lan.run_for(90_000);
    let turns = turns(&lan) - before;
    // Each of 28 links is pinged five or six times.
    assert!(turns <= 580, "{turns} turns");
}
