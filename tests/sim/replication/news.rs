//! News: a line said after the reader first came is shown, whoever brings it and whenever; older
//! lines are history.
use p2pchat::base::event::input::Input;
use p2pchat::base::name::Room;
use p2pchat::base::time::WallTime;
use p2pchat::wire::message::Message;

use crate::support::disk::Entry;
use crate::support::lan::{Lan, REDIAL_MS, chain};
use crate::support::peer::{PeerIndex, numbered_lines};
use crate::support::scripted_peer::ScriptedPeer;

/// Lines said while the link to a peer already met was cut are shown once it is back, also to the
/// younger of the two programs.
#[test]
fn lines_said_during_a_cut_are_news() {
    let mut lan = Lan::new(20);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(bob);
    lan.run_for(2_000);
    // Bob's program is older than alice's, and has said nothing yet.
    lan.start(alice);
    lan.run_until_linked(alice, bob, REDIAL_MS);
    lan.run_for(500);
    lan.cut(alice, bob);
    for text in numbered_lines("during", 1, 3) {
        lan.say(bob, &text);
    }
    lan.run_for(20_000);
    lan.heal();
    lan.run_for(20_000);
    assert_eq!(lan.peers[alice].received(), numbered_lines("during", 1, 3));
}

/// The ranges of the author's logs in #general that this peer stores.
fn held_ranges(lan: &Lan, who: PeerIndex, author: PeerIndex) -> Vec<(u64, u64)> {
    let ranges = lan.peers[who].disk.ranges(&Room::general()).into_iter();
    let id = lan.id(author);
    let of = ranges.filter(|range| range.log.author == id);
    let mut ranges: Vec<_> = of.map(|range| (range.low, range.high)).collect();
    ranges.sort_unstable();
    ranges
}

/// Carol meets alice. Alice is killed, says `count` lines while isolated, in another incarnation,
/// and never reaches carol again: bob brings the lines. `meets_bob`: carol knows bob from the
/// start.
fn lines_said_while_isolated(seed: u64, count: u64, meets_bob: bool) {
    let mut lan = Lan::new(seed);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start(carol);
    if meets_bob {
        lan.start(bob);
    }
    lan.run_for(2_000);
    lan.start(alice);
    lan.run_for(3_000);
    lan.say(alice, "one");
    lan.run_for(1_000);
    lan.kill(alice);
    lan.isolate(alice);
    lan.start(alice);
    lan.say_all(alice, None, &numbered_lines("alone", 1, count));
    lan.run_for(1_000);
    lan.stop(alice);
    lan.heal();
    lan.cut(alice, carol);
    if !meets_bob {
        lan.cut(bob, carol);
        lan.start(bob);
    }
    lan.start(alice);
    lan.run_until("bob has them", 30_000, |lan| {
        held_ranges(lan, bob, alice).contains(&(1, count))
    });
    if !meets_bob {
        // Carol meets bob only now, and alice is gone.
        lan.stop(alice);
        lan.heal();
        lan.cut(alice, carol);
    }
    lan.run_for(70_000);
    let mut all = vec!["one".to_owned()];
    all.extend(numbered_lines("alone", 1, count));
    assert_eq!(lan.peers[carol].received().len(), all.len(), "seed {seed}");
    assert_eq!(lan.peers[carol].received(), all);
    assert_eq!(
        held_ranges(&lan, carol, alice),
        held_ranges(&lan, alice, alice)
    );
    let general = Room::general();
    assert_eq!(lan.history(carol, &general), lan.history(alice, &general));
    lan.heal();
    lan.run_for(70_000);
    assert_eq!(lan.peers[carol].received().len(), all.len(), "once");
    lan.check_lines();
}

/// Lines that a peer we met said while isolated, in another incarnation, are shown when a
/// neighbour brings them, each once.
#[test]
fn lines_of_a_met_peer_are_news_through_a_neighbour() {
    for seed in 0..4 {
        for count in [3, 3_000] {
            lines_said_while_isolated(seed, count, true);
            lines_said_while_isolated(seed, count, false);
        }
    }
}

/// The same for a peer known only through others: its lines said alone are shown.
#[test]
fn lines_of_a_routed_peer_are_news() {
    for seed in 0..4 {
        for count in [3, 3_000] {
            let (mut lan, [carol, _, alice]) = chain(seed, ["carol", "bob", "alice"]);
            lan.kill(alice);
            lan.isolate(alice);
            lan.start(alice);
            lan.say_all(alice, None, &numbered_lines("alone", 1, count));
            lan.run_for(1_000);
            lan.stop(alice);
            lan.heal();
            lan.cut(alice, carol);
            lan.start(alice);
            lan.run_for(30_000);
            let received = lan.peers[carol].received();
            assert_eq!(received.len() as u64, count, "seed {seed}");
            assert_eq!(received, numbered_lines("alone", 1, count));
            lan.check_lines();
        }
    }
}

/// Lines said before the reader first came are backfill, not news, whoever brings them; at most
/// 1000 of each log.
#[test]
fn lines_older_than_the_reader_are_no_news_through_a_neighbour() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        for run in 0..3 {
            lan.start(alice);
            if run == 0 {
                lan.start(bob);
            }
            lan.run_for(2_000);
            for text in numbered_lines(&format!("old {run}"), 1, 1_500) {
                lan.say(alice, &text);
            }
            lan.run_for(2_000);
            lan.kill(alice);
        }
        // Alice has evicted her first log; bob has all of it.
        let general = Room::general();
        let first = lan.history(alice, &general)[0].log.clone();
        lan.peers[alice].disk.evict(&first, 1_501);
        lan.invariants.record_restore(alice, &lan.peers[alice].disk);
        lan.remove_path(alice, bob);
        if seed % 2 == 0 {
            lan.cut(alice, carol);
        } else {
            lan.cut(bob, carol);
        }
        lan.start(carol);
        lan.start(alice);
        lan.run_for(5_000);
        lan.heal();
        lan.run_for(70_000);
        lan.say(alice, "news");
        lan.run_for(5_000);
        assert_eq!(lan.peers[carol].received().len(), 1, "seed {seed}");
        assert_eq!(lan.peers[carol].received(), ["news"]);
        let kept = held_ranges(&lan, carol, alice);
        assert_eq!(kept, [(1, 1), (501, 1_500), (501, 1_500), (501, 1_500)]);
    }
}

/// Lines of the author's previous run, a moment before the reader came, are backfill also through
/// a neighbour.
#[test]
fn lines_said_just_before_the_reader_came_are_no_news() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start(bob);
        lan.run_for(1_000);
        lan.start(alice);
        lan.run_until_linked(alice, bob, 2_000);
        lan.say(alice, "early");
        lan.run_for(50);
        lan.stop(alice);
        lan.start(alice);
        lan.run_for(20);
        // Carol has no path to alice, and learns the age of her lines from bob.
        lan.remove_path(alice, carol);
        lan.start(carol);
        lan.run_for(10_000);
        lan.say(alice, "news");
        lan.run_for(5_000);
        assert_eq!(lan.peers[carol].received(), ["news"], "seed {seed}");
    }
}

/// Lines of several runs of a transient peer, all during the reader's own run, are shown in
/// order, each once.
#[test]
fn lines_of_several_short_runs_are_news_through_a_neighbour() {
    for seed in 0..8 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.remove_path(alice, carol);
        lan.start(bob);
        lan.run_for(1_000);
        lan.start(carol);
        lan.run_for(2_000);
        lan.peers[alice].transient = true;
        lan.cut(bob, carol);
        for text in ["one", "two", "three", "four"] {
            lan.start(alice);
            lan.say(alice, text);
            lan.run_for(20_000);
            lan.run_for(3_000);
            lan.stop(alice);
        }
        lan.heal();
        lan.run_for(70_000);
        let said = ["one", "two", "three", "four", "five"];
        assert_eq!(lan.peers[carol].received(), said[..4], "seed {seed}");
        // Alice is killed and says a line while isolated; no peer saw that run.
        lan.start(alice);
        lan.kill(alice);
        lan.isolate(alice);
        lan.start(alice);
        lan.say(alice, "five");
        lan.stop(alice);
        lan.heal();
        lan.start(alice);
        lan.run_for(3_000);
        lan.stop(alice);
        lan.run_for(5_000);
        assert_eq!(lan.peers[carol].received(), said, "seed {seed}");
    }
}

/// A fresh reader whose first run met nobody still takes what was said before it began as
/// history, from authors that run and from authors that have ended.
#[test]
fn history_is_no_news_after_a_first_run_alone() {
    let mut lan = Lan::new(30);
    let [alice, carol, dan, bob] = lan.add_peers(["alice", "carol", "dan", "bob"]);
    lan.start_all([alice, carol, dan]);
    lan.run_for(2_000);
    lan.say_all(alice, None, &numbered_lines("old", 1, 300));
    lan.say_all(carol, None, &numbered_lines("older", 1, 300));
    lan.run_for(2_000);
    lan.stop(carol);
    lan.isolate(bob);
    lan.start(bob);
    lan.run_for(5_000);
    lan.stop(bob);
    lan.say(alice, "meanwhile");
    lan.run_for(1_000);
    lan.heal();
    lan.start(bob);
    lan.run_for(REDIAL_MS);
    assert_eq!(lan.peers[bob].received(), ["meanwhile"]);
    assert_eq!(held_ranges(&lan, bob, carol), [(1, 300)]);
    lan.check_lines();
}

/// What a sensor stored after the reader began, before the two met, is news for the reader.
#[test]
fn lines_stored_before_the_first_meeting_are_news() {
    let mut lan = Lan::new(31);
    let [sensor, bob] = lan.add_peers(["sensor", "bob"]);
    lan.peers[sensor].transient = true;
    lan.start(bob);
    lan.run_for(2_000);
    lan.isolate(sensor);
    for n in 1..=3 {
        lan.start(sensor);
        lan.say(sensor, &format!("stored {n}"));
        lan.run_for(1_000);
        lan.stop(sensor);
    }
    lan.heal();
    lan.start(sensor);
    lan.say(sensor, "stored 4");
    lan.run_for(5_000);
    lan.stop(sensor);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("stored", 1, 4));
}

/// A line said while the two heard each other, but before their link stood, is news; one said
/// before the reader began is not.
#[test]
fn a_line_said_while_the_link_is_established_is_news() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.network.conditions.dial_delay_max_ms = 3_000;
        lan.start(alice);
        lan.run_for(2_000);
        lan.say(alice, "before");
        lan.run_for(100);
        lan.start(bob);
        lan.run_for(5);
        assert!(!lan.are_linked(alice, bob));
        lan.say(alice, "while dialing");
        lan.run_for(20_000);
        assert_eq!(lan.peers[bob].received(), ["while dialing"], "seed {seed}");
        lan.check_lines();
    }
}

/// Behind a relay, a reader that is younger than the author's program shows the author's first
/// line.
#[test]
fn the_first_line_of_an_older_author_is_news_behind_a_relay() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.remove_path(alice, carol);
        lan.start_all([alice, bob]);
        lan.run_for(5_000);
        lan.start(carol);
        lan.run_until("carol sees alice", 5_000, |lan| {
            lan.peers[carol].joined_count(lan.id(alice)) == 1
        });
        lan.say(alice, "one");
        lan.run_for(50);
        lan.say(alice, "two");
        lan.run_for(5_000);
        assert_eq!(lan.peers[carol].received(), ["one", "two"], "seed {seed}");
        lan.check_lines();
    }
}

/// Lines of a run that ended during a partition are news for a reader that ran all along.
#[test]
fn lines_of_a_run_that_ended_during_a_partition_are_news() {
    for seed in 0..4 {
        let (mut lan, [carol, bob, alice]) = chain(seed, ["carol", "bob", "alice"]);
        lan.stop(alice);
        lan.run_for(5_000);
        lan.cut(bob, carol);
        lan.run_for(20_000);
        lan.start(alice);
        lan.run_for(2_000);
        lan.say(alice, "in the partition");
        lan.run_for(2_000);
        lan.stop(alice);
        lan.run_for(2_000);
        lan.heal();
        lan.cut(alice, carol);
        lan.run_for(REDIAL_MS);
        let received = lan.peers[carol].received();
        assert_eq!(received, ["in the partition"], "seed {seed}");
        lan.check_lines();
    }
}

/// Among 72 programs, of which not all are linked with each other, everyone shows what is said
/// after everyone has begun, whoever is younger.
#[test]
fn all_of_72_programs_show_all_news() {
    let mut lan = Lan::new(32);
    let crowd: Vec<PeerIndex> = (0..72).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    for who in &crowd {
        lan.start(*who);
        lan.run_for(50);
    }
    lan.run_for(60_000);
    for who in &crowd {
        lan.say(*who, &format!("news of {who}"));
    }
    let shown = |lan: &Lan, who: &PeerIndex| lan.peers[*who].received().len();
    lan.run_until("all news are shown", 60_000, |lan| {
        crowd.iter().all(|who| shown(lan, who) >= crowd.len() - 1)
    });
    lan.run_for(1_000);
    for who in &crowd {
        let shown = shown(&lan, who);
        assert_eq!(shown, crowd.len() - 1, "lines shown by {who}");
    }
}

/// After the quota has evicted all lines of a log, its lines are neither requested again nor shown
/// again, by the run that evicted them and by the next one; later lines are news.
#[test]
fn evicted_lines_do_not_come_back_as_news() {
    let mut lan = Lan::new(33);
    let [alice, carol, bob] = lan.add_peers(["alice", "carol", "bob"]);
    lan.start_all([alice, carol, bob]);
    lan.run_for(2_000);
    lan.say_all(alice, None, &numbered_lines("line", 1, 20));
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].received(), numbered_lines("line", 1, 20));
    let log = lan.first_log(alice);
    lan.peers[bob].disk.evict(&log, 21);
    lan.invariants.observations[bob].lost_lines = true;
    lan.feed(bob, Input::Evicted { log, low: 21 });
    for next_run in [false, true] {
        if next_run {
            lan.kill(bob);
            lan.start(bob);
        } else {
            lan.cut(alice, bob);
            lan.run_for(20_000);
            lan.heal();
        }
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(5_000);
        let shown = lan.peers[bob].received().len();
        let is_batch = |entry: &&Entry| entry.batch.log.author == lan.id(alice);
        let stored = lan.peers[bob].disk.entries().filter(is_batch).count();
        assert_eq!((shown, stored), if next_run { (0, 0) } else { (20, 0) });
        // Bob had them, and says so.
        assert!(
            !lan.node(alice).delivery(None).has_undelivered,
            "{next_run}"
        );
    }
    lan.say(alice, "news");
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["news"]);
}

/// A newcomer requests the newest 1000 lines of a log; if more are news, it gets all news, and not
/// all history.
#[test]
fn a_newcomer_misses_no_news_among_many_lines() {
    for count in [1, 999, 1_001, 3_000, 20_000] {
        let mut lan = Lan::new(count);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        // Each turn is a batch.
        let say = |lan: &mut Lan, prefix: &str, count: u64| {
            for part in numbered_lines(prefix, 1, count).chunks(10) {
                lan.say_all(alice, None, part);
                lan.run_for(1);
            }
        };
        say(&mut lan, "old", 9_000);
        lan.run_for(1_000);
        lan.isolate(bob);
        lan.start(bob);
        lan.run_for(5_000);
        say(&mut lan, "new", count);
        lan.heal();
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(20_000);
        assert_eq!(lan.peers[bob].received(), numbered_lines("new", 1, count));
        let ranges = held_ranges(&lan, bob, alice);
        let [(low, high)] = ranges[..] else {
            panic!("{ranges:?}");
        };
        // At most the newest 1000 lines, or as much history as news.
        let stored = high + 1 - low;
        assert_eq!(high, 9_000 + count);
        assert!(
            stored <= 1_010.max(2 * count + 1_000),
            "{stored} of {count}"
        );
    }
}

/// What a relay claims about the clock of an author is no more than a claim: it changes nothing
/// about an author who is or was linked.
#[test]
fn a_relayed_clock_does_not_outrank_a_hello() {
    let mut lan = Lan::new(34);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.run_for(5_000);
    lan.say(alice, "old");
    lan.run_for(1_000);
    lan.start(bob);
    let mut mallory = ScriptedPeer::connect(&mut lan, bob, 1);
    let author = lan.id(alice);
    let (log, network) = (lan.first_log(alice), lan.peers[alice].network_tag());
    let (batches, _) = lan.peers[alice].disk.load(&log, 1, None, 1, &network);
    let run = batches[0].run;
    // Mallory takes all that alice says for older than bob's reader, or for younger than it.
    for age in [0, (1 << 53) - 1] {
        for wall in [WallTime::MIN, WallTime(0), WallTime::MAX] {
            let clock = Message::Clock {
                peer: author,
                run,
                age,
                wall,
            };
            mallory.send(&mut lan, &clock);
        }
    }
    lan.run_for(3_000);
    lan.say(alice, "new");
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["new"]);
    assert_eq!(held_ranges(&lan, bob, alice), [(1, 2)]);
}
