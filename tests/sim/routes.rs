//! Lines that come through others: who has no link to the author, or comes when it is gone.
use p2pchat::base::event::{Command, Input, Notice, PeerState};
use p2pchat::base::name::Room;

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, numbered_lines};

/// Each is linked with the next, and with nobody else.
fn chain<const N: usize>(seed: u64, names: [&str; N]) -> (Lan, [PeerIndex; N]) {
    let mut lan = Lan::new(seed);
    let people = lan.add_peers(names);
    for (i, a) in people.iter().enumerate() {
        for b in people.iter().skip(i + 2) {
            lan.cut(*a, *b);
        }
    }
    lan.start_all(people);
    for pair in people.windows(2) {
        lan.run_until("neighbours are linked", 5_000, |lan| {
            lan.are_linked(pair[0], pair[1])
        });
    }
    lan.run_for(1_000);
    (lan, people)
}

#[test]
fn a_chain_talks_both_ways() {
    for seed in 0..5 {
        let (mut lan, [alice, bob, carol, dave]) = chain(seed, ["alice", "bob", "carol", "dave"]);
        assert!(!lan.are_linked(alice, carol) && !lan.are_linked(bob, dave));
        lan.say(alice, "one");
        lan.run_until("dave has it", 3_500, |lan| {
            lan.peers[dave].received() == ["one"]
        });
        // From then on they travel live.
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

#[test]
fn who_is_reached_through_others_is_there_and_goes() {
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
    // It leaves, and comes again as another program.
    lan.stop(dave);
    lan.run_until("dave is gone", 3_000, |lan| {
        lan.peers[alice].left_count(lan.id(dave)) == 1
    });
    lan.start(dave);
    lan.run_until("dave is back", 5_000, |lan| {
        lan.peers[alice].joined_count(lan.id(dave)) == 2
    });
    // The one between dies: both behind it are gone, and no talk between the others keeps them alive.
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

#[test]
fn a_ring_forgets_who_is_gone() {
    let mut lan = Lan::new(8);
    let people = lan.add_peers(["ann", "bob", "cid", "dan", "eve"]);
    // A ring of four, and one more who hangs on it.
    for (i, j) in [(0, 2), (1, 3), (4, 1), (4, 2), (4, 3)] {
        lan.cut(people[i], people[j]);
    }
    lan.start_all(people);
    lan.run_for(5_000);
    assert_eq!(lan.peers[people[2]].joined_count(lan.id(people[4])), 1);
    lan.kill(people[4]);
    for who in &people[..4] {
        lan.run_until("she is gone", 8_000, |lan| {
            lan.peers[*who].left_count(lan.id(people[4])) == 1
        });
    }
    lan.run_for(10_000);
    for who in &people[..4] {
        assert_eq!(
            lan.peers[*who].joined_count(lan.id(people[4])),
            1,
            "and stays gone"
        );
    }
}

#[test]
fn a_send_waits_for_who_is_reached_through_others() {
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

#[test]
fn one_that_comes_and_goes_hears_of_all_who_hold_its_line() {
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

#[test]
fn a_receipt_that_comes_before_its_holder_is_known_counts() {
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

#[test]
fn the_last_words_of_who_is_gone_come_from_others() {
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

#[test]
fn what_only_one_got_before_the_author_died_comes_to_all() {
    let mut lan = Lan::new(3);
    let people = lan.add_peers(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = people;
    lan.start_all(people);
    lan.run_for(5_000);
    // To all but one the last line gets lost on the way.
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

#[test]
fn another_neighbour_helps_when_the_first_falls_behind() {
    let mut lan = Lan::new(5);
    let people = lan.add_peers(["alice", "bob", "carol", "dave"]);
    let [alice, bob, carol, dave] = people;
    lan.cut(alice, dave);
    lan.start_all(people);
    lan.run_for(5_000);
    lan.say(alice, "one");
    lan.run_until("dave has it", 3_000, |lan| {
        lan.peers[dave].received().len() == 1
    });
    // Whoever brought it hears alice no more; the other still does.
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

#[test]
fn a_full_mesh_sends_nothing_twice() {
    let mut lan = Lan::new(6);
    let people = lan.add_peers(["ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal"]);
    lan.start_all(people);
    lan.run_for(5_000);
    for round in 0..20 {
        for who in people {
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
    let counters = people.map(|who| lan.node(who).counters());
    let twice: u64 = counters
        .iter()
        .map(|c| c.duplicate_batches + c.unwanted_batches)
        .sum();
    assert_eq!(twice, 0);
}

#[test]
fn own_lines_come_back_to_a_restored_directory() {
    let mut lan = Lan::new(10);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(5_000);
    lan.say(alice, "kept");
    lan.run_for(50);
    lan.stop(alice);
    let copy = (
        lan.peers[alice].disk.clone(),
        lan.peers[alice].resume_state.clone(),
    );
    lan.start(alice);
    lan.run_for(2_000);
    lan.say_all(alice, None, &numbered_lines("lost", 1, 5));
    lan.run_for(50);
    lan.stop(alice);
    (lan.peers[alice].disk, lan.peers[alice].resume_state) = copy;
    lan.invariants.record_restore(alice, &lan.peers[alice].disk);
    lan.start(alice);
    lan.run_for(5_000);
    lan.say(alice, "new");
    lan.run_for(5_000);
    lan.check_lines();
    assert_eq!(lan.peers[alice].disk.entries().count(), 3);
    assert_eq!(lan.peers[bob].received().len(), 7);
}

#[test]
fn the_author_brings_what_the_one_that_helped_lacks() {
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
        // Bob is asked, as alice's disk takes its time.
        lan.peers[alice].disk.read_delay_max_ms = 20_000;
        lan.start(carol);
        lan.run_for(60_000);
        assert_eq!(lan.peers[carol].received().len(), 60, "seed {seed}");
        lan.check_lines();
    }
}

/// What this one holds of another's lines in general.
fn held_ranges(lan: &Lan, who: PeerIndex, author: PeerIndex) -> Vec<(u64, u64)> {
    let ranges = lan.peers[who].disk.ranges(&Room::general()).into_iter();
    let id = lan.id(author);
    let of = ranges.filter(|range| range.log.author == id);
    let mut held: Vec<_> = of.map(|range| (range.low, range.high)).collect();
    held.sort_unstable();
    held
}

/// Lines that somebody whom we met says alone, in another incarnation, and that only a neighbour brings.
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
        // Who brings them is met only now, and their author is gone.
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

#[test]
fn what_one_that_we_met_said_alone_is_news_through_others() {
    for seed in 0..4 {
        for count in [3, 3_000] {
            lines_said_while_isolated(seed, count, true);
            lines_said_while_isolated(seed, count, false);
        }
    }
}

#[test]
fn what_one_whom_others_reach_said_alone_is_news() {
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
            let heard = lan.peers[carol].received();
            assert_eq!(heard.len() as u64, count, "seed {seed}");
            assert_eq!(heard, numbered_lines("alone", 1, count));
            lan.check_lines();
        }
    }
}

#[test]
fn what_was_said_before_one_came_is_no_news_through_others() {
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
        // Her first log is too old for her own disk, and not for bob's.
        let general = Room::general();
        let first = lan.history(alice, &general)[0].1.clone();
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

#[test]
fn what_an_earlier_run_said_a_moment_before_one_came_is_no_news() {
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
        // She has no link to alice, and takes bob's word.
        lan.remove_path(alice, carol);
        lan.start(carol);
        lan.run_for(10_000);
        lan.say(alice, "news");
        lan.run_for(5_000);
        assert_eq!(lan.peers[carol].received(), ["news"], "seed {seed}");
    }
}

#[test]
fn what_several_runs_said_during_ours_is_news_through_others() {
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
        let heard = ["one", "two", "three", "four", "five"];
        assert_eq!(lan.peers[carol].received(), heard[..4], "seed {seed}");
        // It dies, says more while nobody hears it, and none of those who stay saw it.
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
        assert_eq!(lan.peers[carol].received(), heard, "seed {seed}");
    }
}
