//! Wrong clocks, jumping clocks and suspended boxes. Wall clocks decide neither order nor links.
//! What they decide about news is tested in `news_verdicts`.
use p2pchat::base::event::notice::Notice;
use p2pchat::base::name::Room;

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, WALL_START_MS, YEAR_2040_MS, numbered_lines};

const MINUTE_MS: u64 = 60_000;

fn start_and_link(lan: &mut Lan, peers: &[PeerIndex]) {
    for who in peers {
        lan.start(*who);
    }
    lan.run_for(500);
}

/// All lines that the present run showed, its own included.
fn conversation(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let mut lines = Vec::new();
    for notice in lan.peers[who].notices_of_run() {
        if let Notice::Chat(chat) = notice {
            chat.batch.for_each_line(|line| lines.push(line.to_owned()));
        }
    }
    lines
}

/// The lines of the room in the order of its history.
fn history(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let mut lines = Vec::new();
    for hash in lan
        .history(who, &Room::general())
        .iter()
        .map(|batch| batch.hash)
    {
        let mut entries = lan.peers[who].disk.entries();
        let entry = entries.find(|e| e.batch.hash == hash);
        let batch = &entry.expect("a batch of the history").batch;
        batch.for_each_line(|line| lines.push(line.to_owned()));
    }
    lines
}

/// History is ordered by the logical clock: boxes set to 1970 and 2040 show a conversation as it
/// went. Sorted by timestamps it would fall apart.
#[test]
fn wrong_wall_clocks_keep_a_conversation_in_order() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.peers[alice].wall_skew_ms = -WALL_START_MS;
    lan.peers[bob].wall_skew_ms = YEAR_2040_MS - WALL_START_MS;
    start_and_link(&mut lan, &[alice, bob, carol]);
    let mut said = Vec::new();
    for n in 1..=30 {
        let who = [alice, bob, carol][lan.random(3) as usize];
        said.push(format!("word {n}"));
        lan.say(who, &format!("word {n}"));
        lan.run_for(20);
    }
    for who in [alice, bob, carol] {
        assert_eq!(conversation(&lan, who), said);
        assert_eq!(history(&lan, who), said);
    }
    let stamps = lan.peers[carol].disk.entries();
    let stamps: Vec<i64> = stamps.map(|e| e.batch.timestamp.0).collect();
    assert!(stamps.iter().any(|at| *at < 1_000_000));
    assert!(stamps.iter().any(|at| *at >= YEAR_2040_MS));
    // A newcomer gets the same history.
    let dan = lan.add_peer("dan");
    lan.start(dan);
    lan.run_for(2_000);
    assert_eq!(history(&lan, dan), said);
}

/// A wall clock that jumps back and forth reorders no line, ends no link and opens no gap.
#[test]
fn a_jumping_wall_clock_changes_neither_order_nor_links() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    start_and_link(&mut lan, &[alice, bob]);
    let jumps = [
        -WALL_START_MS,
        YEAR_2040_MS - WALL_START_MS,
        -3_600_000,
        3_600_000,
        -1,
        0,
    ];
    for (n, jump) in jumps.into_iter().cycle().take(60).enumerate() {
        lan.peers[alice].wall_skew_ms = jump;
        let who = [alice, bob][n % 2];
        lan.say(who, &format!("line {}", n + 1));
        lan.run_for(3_000);
    }
    for (who, other) in [(alice, bob), (bob, alice)] {
        assert_eq!(conversation(&lan, who), numbered_lines("line", 1, 60));
        assert_eq!(history(&lan, who), numbered_lines("line", 1, 60));
        assert_eq!(lan.peers[who].joined_count(lan.id(other)), 1);
        assert_eq!(lan.peers[who].left_count(lan.id(other)), 0);
    }
    // The program restarts with a wall clock decades in the past.
    lan.stop(alice);
    lan.peers[alice].wall_skew_ms = -WALL_START_MS;
    lan.start(alice);
    lan.run_for(500);
    lan.say(alice, "line 61");
    lan.run_for(100);
    assert_eq!(history(&lan, bob), numbered_lines("line", 1, 61));
    assert_eq!(lan.peers[bob].gap_count(), 0);
}

/// A suspended box is reported as gone, and within 11 s of waking it is linked and has the lines
/// it missed; whether or not its monotonic clock counted the sleep.
#[test]
fn a_suspended_box_leaves_and_is_back_within_seconds() {
    for ran in [true, false] {
        let mut lan = Lan::new(3);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        start_and_link(&mut lan, &[alice, bob, carol]);
        lan.say(alice, "line 1");
        lan.run_for(100);
        lan.suspend(alice);
        lan.run_until("bob sees alice go", 30_000, |lan| {
            lan.peers[bob].left_count(lan.id(alice)) == 1
        });
        for text in numbered_lines("missed", 1, 20) {
            lan.say(bob, &text);
        }
        lan.run_for(10 * MINUTE_MS);
        lan.resume(alice, ran);
        lan.run_until("they are linked again", 11_000, |lan| {
            lan.are_linked(alice, bob) && lan.are_linked(alice, carol)
        });
        lan.run_for(1_000);
        assert_eq!(lan.peers[alice].received(), numbered_lines("missed", 1, 20));
        lan.say(alice, "line 2");
        lan.run_for(100);
        for who in [bob, carol] {
            assert_eq!(lan.peers[who].joined_count(lan.id(alice)), 2);
            assert_eq!(lan.peers[who].left_count(lan.id(alice)), 1);
        }
        lan.run_for(MINUTE_MS);
        lan.check_lines();
        lan.check_histories();
        lan.check_links();
    }
}

/// A suspend of 8 s, shorter than every timeout, ends no link and loses no line.
#[test]
fn an_eight_second_suspend_ends_no_link() {
    for ran in [true, false] {
        let mut lan = Lan::new(4);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        start_and_link(&mut lan, &[alice, bob]);
        lan.run_for(MINUTE_MS);
        lan.suspend(alice);
        lan.say(bob, "while you nap");
        lan.run_for(8_000);
        lan.resume(alice, ran);
        lan.run_for(MINUTE_MS);
        assert_eq!(lan.peers[alice].received(), ["while you nap"]);
        for (who, other) in [(alice, bob), (bob, alice)] {
            assert_eq!(lan.peers[who].joined_count(lan.id(other)), 1);
            assert_eq!(lan.peers[who].left_count(lan.id(other)), 0);
        }
    }
}

/// A monotonic clock that leaps an hour makes every timer due at once; a link whose peer still
/// answers stays.
#[test]
fn a_clock_leap_ends_no_live_link() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.peers[bob].beacons_enabled = seed % 2 == 0;
        start_and_link(&mut lan, &[alice, bob]);
        lan.run_for(seed * 1_700);
        lan.advance_clock(alice, 60 * MINUTE_MS);
        lan.say(alice, "line 1");
        lan.run_for(2_000);
        lan.say(bob, "line 2");
        lan.run_for(MINUTE_MS);
        for (who, other) in [(alice, bob), (bob, alice)] {
            assert_eq!(conversation(&lan, who), numbered_lines("line", 1, 2));
            assert_eq!(lan.peers[who].left_count(lan.id(other)), 0, "seed {seed}");
        }
        lan.check_links();
    }
}

/// When all boxes sleep and wake together, links go on, lines arrive, and the wake-up causes no
/// lasting traffic.
#[test]
fn peers_that_sleep_together_stay_linked() {
    let mut lan = Lan::new(5);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    start_and_link(&mut lan, &peers);
    for n in 1..=5 {
        for who in peers {
            lan.advance_clock(who, 8 * 60 * MINUTE_MS);
        }
        lan.say(peers[n % 3], &format!("line {n}"));
        lan.run_for(20_000);
    }
    for who in peers {
        assert_eq!(conversation(&lan, who), numbered_lines("line", 1, 5));
    }
    lan.check_links();
    lan.check_idle_traffic();
}
