//! Fetching a log from a neighbour when its author is gone, slow or out of reach.
use crate::support::lan::Lan;
use crate::support::peer::numbered_lines;

/// Lines whose author died while a peer was away are fetched from another member of the room.
#[test]
fn lines_of_a_dead_author_come_from_a_neighbour() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(5_000);
        lan.say(alice, "before");
        lan.run_for(50);
        lan.stop(carol);
        lan.say_all(alice, None, &numbered_lines("line", 1, 30));
        lan.run_for(100);
        lan.kill(alice);
        lan.start(carol);
        lan.run_until("carol has all", 5_000, |lan| {
            lan.peers[carol].received().len() == 30
        });
        lan.run_for(1_000);
        lan.check_lines();
    }
}

/// A line that reached a single peer before its author died reaches all: peers compare what they
/// hold also about logs of absent authors.
#[test]
fn a_line_that_reached_one_peer_reaches_all() {
    let mut lan = Lan::new(3);
    let peers = lan.add_peers(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = peers;
    lan.start_all(peers);
    lan.run_for(5_000);
    // The last line reaches bob only.
    lan.peers[carol].stopped_reading = true;
    lan.peers[dave].stopped_reading = true;
    lan.say(alice, "last");
    lan.run_for(20);
    lan.kill(alice);
    lan.run_for(20);
    lan.thaw(carol);
    lan.thaw(dave);
    assert_eq!(lan.peers[bob].received(), ["last"]);
    lan.run_until("all have it", 70_000, |lan| {
        [carol, dave]
            .iter()
            .all(|who| lan.peers[*who].received() == ["last"])
    });
    lan.run_for(1_000);
    lan.check_lines();
}

/// When the neighbour that a log is fetched from stops getting it, another that is ahead takes
/// over within 4 s.
#[test]
fn a_stalled_source_is_replaced() {
    let mut lan = Lan::new(5);
    let peers = lan.add_peers(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = peers;
    lan.cut(alice, dave);
    lan.start_all(peers);
    lan.run_for(5_000);
    lan.say(alice, "one");
    lan.run_until("dave has it", 3_000, |lan| {
        lan.peers[dave].received().len() == 1
    });
    // Whichever neighbour brought the lines loses its path to alice; the other keeps it.
    for first in [bob, carol] {
        lan.heal();
        lan.run_for(70_000);
        lan.cut(alice, dave);
        lan.run_for(30_000);
        lan.cut(alice, first);
        let before = lan.peers[dave].received().len();
        lan.say(alice, "more");
        lan.run_until("dave has it", 4_000, |lan| {
            lan.peers[dave].received().len() == before + 1
        });
    }
    lan.heal();
    lan.run_for(70_000);
    lan.check_lines();
}

/// With all links direct, no batch arrives twice or unrequested: each log comes from its author
/// alone.
#[test]
fn a_full_mesh_fetches_nothing_twice() {
    let mut lan = Lan::new(6);
    let peers = lan.add_peers(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"]);
    lan.start_all(peers);
    lan.run_for(5_000);
    for round in 0..20 {
        for who in peers {
            lan.say_all(
                who,
                None,
                &numbered_lines("line", round * 10, round * 10 + 4),
            );
            lan.run_for(7);
        }
    }
    lan.run_for(5_000);
    lan.check_lines();
    let counters = peers.map(|who| lan.node(who).counters());
    let twice: u64 = counters
        .iter()
        .map(|c| c.duplicate_batches + c.unwanted_batches)
        .sum();
    assert_eq!(twice, 0);
}

/// A neighbour that helps out for a slow author and lacks the newest lines does not end the
/// fetch: the author brings the rest.
#[test]
fn the_author_completes_a_log_fetched_from_a_neighbour() {
    for seed in 0..8 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        lan.run_for(5_000);
        lan.stop(carol);
        lan.say_all(alice, None, &numbered_lines("both", 1, 50));
        lan.run_for(1_000);
        lan.remove_path(alice, bob);
        lan.run_for(20_000);
        lan.say_all(alice, None, &numbered_lines("alice alone", 1, 10));
        // Bob becomes the source, because alice's disk is slow.
        lan.peers[alice].disk.read_delay_max_ms = 20_000;
        lan.start(carol);
        lan.run_for(60_000);
        assert_eq!(lan.peers[carol].received().len(), 60, "seed {seed}");
        lan.check_lines();
    }
}
