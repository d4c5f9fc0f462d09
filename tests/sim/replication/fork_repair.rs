//! Fork repair: a restored or cloned directory publishes lines under used sequences. The lines
//! that no peer holds are republished in a new incarnation, once.
use p2pchat::base::name::Room;

use crate::support::convergence::HistoryBatch;
use crate::support::lan::{Lan, REDIAL_MS};
use crate::support::peer::{PeerIndex, numbered_lines};

fn link_and_sync(lan: &mut Lan, a: PeerIndex, b: PeerIndex) {
    lan.run_until_linked(a, b, REDIAL_MS);
    lan.run_for(2_000);
}

/// The author's lines that this peer stores, in the order of the history.
fn lines_held(lan: &Lan, who: PeerIndex, author: PeerIndex) -> Vec<String> {
    let mut lines = Vec::new();
    for HistoryBatch { log, sequence, .. } in lan.history(who, &Room::general()) {
        if log.author == lan.id(author) {
            let entry = lan.peers[who].disk.find(&log, sequence);
            let batch = &entry.expect("a stored batch").batch;
            batch.for_each_line(|line| lines.push(line.to_owned()));
        }
    }
    lines
}

fn say_each(lan: &mut Lan, who: PeerIndex, texts: &[String]) {
    for text in texts {
        lan.say(who, text);
        lan.run_for(10);
    }
}

fn concatenated(first: &[String], then: &[String]) -> Vec<String> {
    [first, then].concat()
}

/// Alice's directory was restored: bob stores 5 "kept" and `lost` "lost" lines of hers, of which
/// the backup contains the kept ones only. Restored, she said `alone` lines while cut off, then
/// ended or was killed. The path is whole again.
fn restored_alice(seed: u64, lost: u64, alone: u64, killed: bool) -> (Lan, PeerIndex, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(bob);
    lan.start(alice);
    link_and_sync(&mut lan, alice, bob);
    say_each(&mut lan, alice, &numbered_lines("kept", 1, 5));
    lan.stop(alice);
    lan.back_up(alice);
    lan.start(alice);
    link_and_sync(&mut lan, alice, bob);
    say_each(&mut lan, alice, &numbered_lines("lost", 1, lost));
    lan.stop(alice);
    lan.restore(alice);
    lan.cut(alice, bob);
    lan.start(alice);
    say_each(&mut lan, alice, &numbered_lines("alone", 1, alone));
    match killed {
        true => lan.kill(alice),
        false => lan.stop(alice),
    }
    lan.heal();
    (lan, alice, bob)
}

/// Nothing is lost: lines that a restored directory stored under numbers already used are
/// republished, once, also over further runs.
#[test]
fn lines_under_reused_sequences_are_republished_once() {
    for (seed, lost, alone) in [(1, 5, 3), (2, 3, 3), (3, 3, 5), (4, 40, 30), (5, 1, 1)] {
        for killed in [false, true] {
            for talks in [false, true] {
                let (mut lan, alice, bob) = restored_alice(seed, lost, alone, killed);
                lan.start(alice);
                if talks {
                    lan.say(alice, "news");
                }
                link_and_sync(&mut lan, alice, bob);
                let mut said = concatenated(
                    &numbered_lines("kept", 1, 5),
                    &numbered_lines("lost", 1, lost),
                );
                let again = numbered_lines("alone", 1, alone);
                let mut received = lines_held(&lan, bob, alice);
                received.sort();
                said.extend(again);
                said.extend(talks.then(|| "news".to_owned()));
                said.sort();
                assert_eq!(
                    received, said,
                    "{lost} lost, {alone} alone, killed: {killed}"
                );
                assert!(lan.peers[alice].error_count("fork") <= 1);
                lan.check_copied_lines();
                // Later runs republish nothing again.
                for _ in 0..3 {
                    match killed {
                        true => lan.kill(alice),
                        false => lan.stop(alice),
                    }
                    lan.start(alice);
                    link_and_sync(&mut lan, alice, bob);
                    lan.run_for(100_000);
                }
                assert_eq!(lines_held(&lan, bob, alice).len(), said.len(), "once");
            }
        }
    }
}

/// Lines that come back from others together with their republished copies are recognised; a
/// second restore adds no third copy.
#[test]
fn restoring_a_backup_twice_republishes_nothing_twice() {
    for (lost, alone) in [(5, 3), (3, 5), (40, 2)] {
        let (mut lan, alice, bob) = restored_alice(1, lost, alone, false);
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        let said = 5 + lost as usize + alone as usize;
        assert_eq!(lines_held(&lan, bob, alice).len(), said);
        lan.stop(alice);
        lan.restore(alice);
        // Bob now returns both the lines under their old sequences and the republished ones.
        for _ in 0..2 {
            lan.start(alice);
            link_and_sync(&mut lan, alice, bob);
            assert_eq!(
                lines_held(&lan, alice, alice).len(),
                said,
                "all lines came back"
            );
            lan.run_for(100_000);
            lan.kill(alice);
        }
        assert_eq!(
            lines_held(&lan, bob, alice).len(),
            said,
            "{lost} lost, {alone} alone"
        );
    }
}

/// Republishing that is interrupted, by a kill or by failing saves, continues where it stopped:
/// each line once.
#[test]
fn republishing_survives_a_kill_and_failing_saves() {
    for (seed, full) in [(1, false), (2, false), (3, true)] {
        let (mut lan, alice, bob) = restored_alice(seed, 3, 600, true);
        lan.network.conditions.stream_delay_max_ms = 5;
        lan.start(alice);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        let stored = |lan: &Lan| lines_held(lan, alice, alice).len();
        let before = stored(&lan);
        let begun = |lan: &mut Lan| stored(lan) > before + 100;
        lan.peers[alice].dies_after_outputs = (!full).then_some(500);
        lan.peers[alice].disk.failed_saves_per_mille = if full { 200 } else { 0 };
        match full {
            true => lan.run_for(40_000),
            false => {
                lan.run_until("some lines are republished", 20_000, begun);
                lan.run_for(1_000);
                lan.peers[alice].dies_after_outputs = None;
                if lan.is_running(alice) {
                    lan.kill(alice);
                }
                assert!(
                    stored(&lan) < before + 600,
                    "some lines are not republished yet"
                );
                lan.start(alice);
            }
        }
        lan.peers[alice].disk.failed_saves_per_mille = 0;
        link_and_sync(&mut lan, alice, bob);
        lan.run_for(40_000);
        let mut again = lines_held(&lan, bob, alice);
        again.retain(|line| line.starts_with("alone"));
        assert_eq!(again, numbered_lines("alone", 1, 600), "seed {seed}");
    }
}

/// Only lines that no peer holds are republished: a third peer that got them keeps its history
/// unchanged.
#[test]
fn lines_that_a_peer_holds_are_not_republished() {
    let (mut lan, alice, bob) = restored_alice(6, 5, 3, false);
    let carol = lan.add_peer("carol");
    lan.cut(alice, bob);
    lan.cut(carol, bob);
    lan.start(carol);
    lan.start(alice);
    link_and_sync(&mut lan, alice, carol);
    lan.run_for(1_000);
    let before = lines_held(&lan, carol, alice);
    assert_eq!(before.len(), 8);
    lan.heal();
    link_and_sync(&mut lan, alice, bob);
    lan.run_for(10_000);
    assert_eq!(lines_held(&lan, carol, alice), before);
}

/// A restored directory that published nothing of its own fetches what it lost and republishes
/// nothing.
#[test]
fn a_restored_directory_without_own_lines_republishes_nothing() {
    for killed in [false, true] {
        let (mut lan, alice, bob) = restored_alice(7, 5, 0, killed);
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        let all = concatenated(&numbered_lines("kept", 1, 5), &numbered_lines("lost", 1, 5));
        assert_eq!(lines_held(&lan, bob, alice), all);
        assert_eq!(
            lines_held(&lan, alice, alice),
            all,
            "the lost lines are back"
        );
    }
}

/// A peer that missed the whole fork ends with the lines of both branches, as the peer that saw
/// it does.
#[test]
fn a_peer_that_was_away_gets_the_lines_of_both_copies() {
    // Carol comes after alice restarted or not, and with bob present or absent at first.
    for (seed, again, without) in [(1, false, false), (2, true, false), (3, true, true)] {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start_all([alice, bob, carol]);
        link_and_sync(&mut lan, alice, carol);
        link_and_sync(&mut lan, alice, bob);
        say_each(&mut lan, alice, &numbered_lines("kept", 1, 5));
        lan.stop(carol);
        lan.stop(alice);
        lan.back_up(alice);
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        say_each(&mut lan, alice, &numbered_lines("lost", 1, 5));
        lan.stop(alice);
        lan.restore(alice);
        lan.cut(alice, bob);
        lan.start(alice);
        say_each(&mut lan, alice, &numbered_lines("alone", 1, 3));
        lan.stop(alice);
        lan.heal();
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        if again {
            lan.kill(alice);
            lan.start(alice);
            link_and_sync(&mut lan, alice, bob);
        }
        if without {
            lan.stop(bob);
            lan.kill(alice);
            lan.start(alice);
        }
        lan.start(carol);
        link_and_sync(&mut lan, alice, carol);
        if without {
            lan.start(bob);
        }
        lan.run_for(70_000);
        let mut all = numbered_lines("kept", 1, 5);
        all.extend(numbered_lines("lost", 1, 5));
        all.extend(numbered_lines("alone", 1, 3));
        all.sort();
        let mut received = lines_held(&lan, carol, alice);
        assert_eq!(received, lines_held(&lan, bob, alice), "seed {seed}");
        received.sort();
        assert_eq!(received, all, "seed {seed}");
        lan.check_copied_lines();
    }
}

/// Two running copies of one directory each take an incarnation of their own, and all lines of
/// both reach others once.
#[test]
fn duplicate_identities_continue_under_separate_incarnations() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        say_each(&mut lan, alice, &numbered_lines("kept", 1, 3));
        lan.stop(alice);
        let clone = lan.clone_peer(alice);
        lan.cut(alice, clone);
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        lan.start(clone);
        // Both continue the same log before they know of each other.
        say_each(&mut lan, alice, &numbered_lines("of one", 1, 3));
        say_each(&mut lan, clone, &numbered_lines("of the other", 1, 2));
        lan.run_until("both are notified", 60_000, |lan| {
            lan.peers[alice].duplicate_identity_count() == 1
                && lan.peers[clone].duplicate_identity_count() == 1
        });
        say_each(&mut lan, alice, &numbered_lines("one, then", 1, 3));
        say_each(&mut lan, clone, &numbered_lines("the other, then", 1, 3));
        let logs = |lan: &Lan, who: PeerIndex, text: &str| {
            let entries = lan.peers[who].disk.entries();
            let mut logs: Vec<u64> = entries
                .filter(|entry| {
                    let mut is = false;
                    entry
                        .batch
                        .for_each_line(|line| is |= line.starts_with(text));
                    is
                })
                .map(|entry| entry.batch.log.incarnation)
                .collect();
            logs.dedup();
            logs
        };
        let (one, other) = (
            logs(&lan, alice, "one, then"),
            logs(&lan, clone, "the other, then"),
        );
        assert_eq!((one.len(), other.len()), (1, 1));
        assert_ne!(
            one, other,
            "seed {seed}: each has an incarnation of its own"
        );
        // One ends, so that the lines of the other reach bob: each once.
        let goes = if seed % 2 == 0 { alice } else { clone };
        lan.stop(goes);
        lan.run_for(70_000);
        let (gone, stays) = match goes == alice {
            true => (["of one", "one, then"], ["of the other", "the other, then"]),
            false => (["of the other", "the other, then"], ["of one", "one, then"]),
        };
        lan.stop(if goes == alice { clone } else { alice });
        lan.start(goes);
        lan.run_for(70_000);
        let received = lines_held(&lan, bob, alice);
        for text in gone.iter().chain(&stays) {
            let count = received
                .iter()
                .filter(|line| line.starts_with(text))
                .count();
            let said = if *text == "of the other" { 2 } else { 3 };
            assert_eq!(count, said, "seed {seed}: {text}: {received:?}");
        }
    }
}

/// A restored directory that runs beside its peers fetches its lost lines before new ones take
/// their numbers.
#[test]
fn a_restored_directory_fetches_its_own_lost_lines() {
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

/// A restored directory that published while alone notices the fork once, and its next lines get
/// unused numbers, whether its log is shorter or longer than the other.
#[test]
fn a_restored_directory_continues_in_a_new_incarnation() {
    for (seed, more) in [(6, 1), (7, 10)] {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        lan.say(alice, "one");
        lan.run_for(1_000);
        lan.stop(alice);
        let (disk, resume) = (
            lan.peers[alice].disk.clone(),
            lan.peers[alice].resume_state.clone(),
        );
        lan.start(alice);
        for text in numbered_lines("lost", 1, 5) {
            lan.say(alice, &text);
        }
        lan.run_for(1_000);
        lan.stop(alice);
        // The directory is restored.
        (lan.peers[alice].disk, lan.peers[alice].resume_state) = (disk, resume);
        lan.invariants.record_restore(alice, &lan.peers[alice].disk);
        lan.cut(alice, bob);
        lan.start(alice);
        for text in numbered_lines("again", 1, more) {
            lan.say(alice, &text);
        }
        lan.run_for(1_000);
        lan.heal();
        lan.invariants
            .record_said(alice, &Room::general(), &numbered_lines("again", 1, more));
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(1_000);
        assert_eq!(
            lan.peers[alice].error_count("incarnation"),
            1,
            "noticed once"
        );
        lan.say(alice, "new numbers");
        lan.run_for(1_000);
        assert_eq!(
            lan.peers[bob].received().last().map(String::as_str),
            Some("new numbers")
        );
        assert_eq!(
            lan.peers[bob]
                .received()
                .iter()
                .filter(|l| l.starts_with("lost"))
                .count(),
            5
        );
    }
}

/// Lines published while the heads are still being compared are not lost: a `have` of older lines
/// is no acknowledgement of newer ones with the same numbers.
#[test]
fn lines_said_during_the_first_exchange_survive_a_restore() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.start(alice);
        lan.run_for(1_000);
        lan.stop(alice);
        lan.back_up(alice);
        lan.start(alice);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.say(alice, "lost");
        lan.run_for(1_000);
        lan.stop(alice);
        lan.restore(alice);
        lan.start(alice);
        let id = lan.id(bob);
        lan.run_until("alice sees bob", 70_000, |lan| {
            lan.peers[alice].joined_count(id) > 0
        });
        lan.say_all(alice, None, &numbered_lines("new", 1, 3));
        lan.run_for(10_000);
        let received = lan.peers[bob].received();
        assert_eq!(received, ["lost", "new 1", "new 2", "new 3"], "seed {seed}");
    }
}

/// Each batch of the new log names the forked log under its signature, so whoever has both can tell
/// that the lines are the same. The new incarnation is random.
#[test]
fn a_republication_names_the_lines_of_the_forked_log() {
    let mut incarnations = Vec::new();
    for _ in 0..2 {
        let seed = 40 + incarnations.len() as u64;
        let (mut lan, alice, bob) = restored_alice(seed, 3, 5, true);
        lan.start(alice);
        link_and_sync(&mut lan, alice, bob);
        let own = lan.id(alice);
        let batches: Vec<_> = lan.peers[bob]
            .disk
            .entries()
            .map(|entry| entry.batch.clone())
            .filter(|batch| batch.log.author == own)
            .collect();
        let again = batches.iter().filter(|batch| batch.republishes.is_some());
        let mut next = 1;
        for batch in again {
            let lines = batch.republishes.expect("a link");
            let forked = batches.iter().map(|batch| &batch.log);
            let mut forked = forked.filter(|log| log.incarnation == lines.incarnation);
            assert!(forked.next().is_some(), "bob has the forked log");
            assert_eq!((batch.sequence, lines.sequence), (next, 6));
            next = batch.last_sequence() + 1;
        }
        assert_eq!(next, 6, "all five lines");
        let last = batches.iter().rfind(|batch| batch.republishes.is_some());
        incarnations.push(last.expect("a republication").log.incarnation);
    }
    assert_ne!(incarnations[0], incarnations[1]);
}
