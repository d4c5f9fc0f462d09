//! Lines that a disk has lost under a running node: they become a gap and come back from peers.
use std::ops::RangeInclusive;
use std::sync::Arc;

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::batch::batch_layout::identifying_parts;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::name::Room;
use p2pchat::base::range::LogRange;

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, numbered_lines};

/// Alice has said nine lines, which bob and carol have.
fn nine_lines(seed: u64) -> (Lan, [PeerIndex; 3], LogId) {
    let mut lan = Lan::new(seed);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all(peers);
    lan.run_for(1_000);
    for text in numbered_lines("line", 1, 9) {
        lan.say(peers[0], &text);
        lan.run_for(50);
    }
    lan.run_for(1_000);
    let log = lan.first_log(peers[0]);
    (lan, peers, log)
}

fn lose(lan: &mut Lan, who: PeerIndex, log: &LogId, lines: RangeInclusive<u64>, printed: bool) {
    let lost = lan.peers[who].disk.lose(log, lines, printed);
    lan.feed(who, Input::LinesLost(lost));
}

fn range(lan: &Lan, who: PeerIndex, log: &LogId) -> Option<LogRange> {
    let ranges = lan.node(who).frontier(&(&Room::general()).into());
    let range = ranges.into_iter().find(|range| range.log == *log);
    range.map(Arc::unwrap_or_clone)
}

/// Waits until the node and its disk have all nine lines again.
fn run_until_whole(lan: &mut Lan, who: PeerIndex, log: &LogId) {
    lan.run_until("the log is whole", 40_000, |lan| {
        let range = range(lan, who, log);
        range.is_some_and(|range| (range.low, range.high, range.gaps.len()) == (1, 9, 0))
    });
    for line in 1..=9 {
        assert!(lan.peers[who].disk.find(log, line).is_some(), "line {line}");
    }
}

fn gaps_shown(lan: &Lan, who: PeerIndex) -> Vec<(u64, u64)> {
    let gaps = lan.peers[who].notices_of_run();
    let gaps = gaps.filter_map(|notice| match notice {
        Notice::Gap { from, to, .. } => Some((*from, *to)),
        _ => None,
    });
    gaps.collect()
}

/// Wherever the lines were, they come back: from their author, or from a third peer. They are shown
/// as a gap once, and not printed again.
#[test]
fn lost_lines_come_back_from_peers() {
    for (seed, lines) in [4..=6, 1..=2, 8..=9, 9..=9, 1..=9].into_iter().enumerate() {
        for has_author in [true, false] {
            let (mut lan, [alice, bob, _], log) = nine_lines(seed as u64);
            if !has_author {
                lan.stop(alice);
                lan.run_for(1_000);
            }
            let received = lan.peers[bob].received();
            lose(&mut lan, bob, &log, lines.clone(), true);
            run_until_whole(&mut lan, bob, &log);
            assert_eq!(gaps_shown(&lan, bob), [(*lines.start(), *lines.end())]);
            assert_eq!(lan.peers[bob].received(), received);
        }
    }
}

/// A start has found the last batch damaged, and does not count it as stored. It was printed, and
/// is not printed when it comes again, if its header or its signature was undamaged. Later lines
/// are.
#[test]
fn a_damaged_last_batch_that_was_printed_is_no_news() {
    for part in 0..2 {
        let (mut lan, [alice, bob, _], _) = nine_lines(9);
        lan.stop(bob);
        lan.say(alice, "again");
        let log = lan.first_log(alice);
        let batch = lan.peers[alice].disk.find(&log, 10).expect("the batch");
        let parts: Vec<&[u8]> = identifying_parts(batch.batch.as_bytes()).collect();
        let printed = Box::from(parts[part]);
        lan.start(bob);
        lan.feed(bob, Input::PrintedDamage(vec![printed]));
        lan.run_for(2_000);
        lan.say(alice, "new");
        lan.run_for(100);
        assert_eq!(lan.peers[bob].received(), ["new"]);
    }
}

/// Lines that were not printed before the disk lost them are printed when they come back.
#[test]
fn lost_lines_that_were_not_printed_are_news() {
    let (mut lan, [_, bob, _], log) = nine_lines(7);
    let before = lan.peers[bob].received().len();
    lose(&mut lan, bob, &log, 4..=6, false);
    run_until_whole(&mut lan, bob, &log);
    assert_eq!(lan.peers[bob].received().len(), before + 3);
}

/// Peers give an author its own lines back. The log goes on under its numbers, unless its head was
/// lost: then nobody knows which numbers are in use.
#[test]
fn an_author_gets_its_own_lines_back() {
    for lines in [2..=3, 1..=1, 8..=9, 1..=9] {
        let (mut lan, [alice, bob, _], log) = nine_lines(8);
        lose(&mut lan, alice, &log, lines.clone(), true);
        run_until_whole(&mut lan, alice, &log);
        lan.say(alice, "and on");
        lan.run_for(1_000);
        assert_eq!(
            lan.peers[bob].received().last().map(String::as_str),
            Some("and on")
        );
        let continues = range(&lan, bob, &log).is_some_and(|range| range.high == 10);
        assert_eq!(continues, *lines.end() < 9, "{lines:?}");
    }
}

/// An author whose disk has lost a line sends all others to a newcomer, also those before it.
#[test]
fn an_author_sends_the_lines_around_lost_ones() {
    for lines in [2..=2, 4..=5] {
        let mut lan = Lan::new(3);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start_all([alice, bob]);
        lan.run_for(1_000);
        lan.stop(bob);
        for text in numbered_lines("line", 1, 9) {
            lan.say(alice, &text);
        }
        let log = lan.first_log(alice);
        lose(&mut lan, alice, &log, lines.clone(), true);
        lan.start(bob);
        lan.run_for(3_000);
        let kept: Vec<String> = numbered_lines("line", 1, 9)
            .into_iter()
            .zip(1..)
            .filter_map(|(text, n)| (!lines.contains(&n)).then_some(text))
            .collect();
        assert_eq!(lan.peers[bob].received(), kept);
        assert_eq!(gaps_shown(&lan, bob), [(*lines.start(), *lines.end())]);
    }
}

/// Lines of a log that a reader misses, too many to arrive at once.
const MISSED_LINES: u64 = 2_000;

/// Alice has said lines that bob has and carol, who does not run, has not. `is_newcomer`: carol has
/// never run.
fn missed_lines(is_newcomer: bool) -> (Lan, [PeerIndex; 3], LogId) {
    let mut lan = Lan::new(9);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    let [alice, bob, carol] = peers;
    lan.start_all([alice, bob]);
    if !is_newcomer {
        lan.start(carol);
        lan.run_for(2_000);
        lan.kill(carol);
    }
    for text in numbered_lines("line", 1, MISSED_LINES) {
        lan.say(alice, &text);
    }
    lan.run_for(2_000);
    let log = lan.first_log(alice);
    let has = range(&lan, bob, &log).map(|range| range.high);
    assert_eq!(has, Some(MISSED_LINES));
    (lan, peers, log)
}

fn evict_below(lan: &mut Lan, who: PeerIndex, log: &LogId, low: u64) {
    lan.peers[who].disk.evict(log, low);
    lan.invariants.observations[who].lost_lines = true;
    let log = log.clone();
    lan.feed(who, Input::Evicted { log, low });
}

/// What becomes of the neighbour that has replaced an author.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Neighbour {
    Stalls,
    EvictsItsLines,
    IsKilled,
}

/// A neighbour replaces an author that has stalled. If the neighbour stalls, too, evicts the lines
/// before it has sent them, or is killed, the author still sends them when it goes on.
#[test]
fn an_author_goes_on_if_its_replacement_sends_nothing() {
    use Neighbour::{EvictsItsLines, IsKilled, Stalls};
    let ends = [Stalls, EvictsItsLines, IsKilled].into_iter();
    for (end, is_newcomer) in ends.flat_map(|end| [(end, false), (end, true)]) {
        let (mut lan, [alice, bob, carol], log) = missed_lines(is_newcomer);
        let high = |lan: &Lan| range(lan, carol, &log).map_or(0, |range| range.high);
        lan.start(carol);
        lan.run_until("carol has lines", 1_000, |lan| high(lan) > 0);
        lan.freeze_for(alice, 2_000);
        lan.freeze(bob);
        // Bob is the source by then, and the author is not yet requested again.
        lan.run_for(450);
        assert!(high(&lan) < MISSED_LINES);
        match end {
            Stalls => {}
            EvictsItsLines => {
                evict_below(&mut lan, bob, &log, MISSED_LINES + 1);
                lan.thaw(bob);
            }
            IsKilled => lan.kill(bob),
        }
        let has_all = |lan: &mut Lan| high(lan) == MISSED_LINES;
        lan.run_until("carol has all lines", 5_000, has_all);
        assert_eq!(gaps_shown(&lan, carol), []);
    }
}

/// The same if the author is replaced before it has sent a line: its offer is all that shows that
/// it has the log. The neighbour stalls or is killed.
#[test]
fn an_author_that_has_sent_no_line_goes_on_if_its_replacement_sends_nothing() {
    for is_killed in [true, false] {
        let (mut lan, [alice, bob, carol], log) = missed_lines(true);
        lan.start(carol);
        for other in [alice, bob] {
            lan.run_until_linked(carol, other, 1_000);
        }
        lan.freeze_for(alice, 2_000);
        lan.freeze(bob);
        lan.run_for(450);
        assert!(range(&lan, carol, &log).is_none(), "no line yet");
        if is_killed {
            lan.kill(bob);
        }
        lan.run_until("carol has all lines", 10_000, |lan| {
            range(lan, carol, &log).is_some_and(|range| range.high == MISSED_LINES)
        });
        assert_eq!(gaps_shown(&lan, carol), []);
    }
}

/// An author that has evicted lines, and is replaced by a neighbour that has them, does not leave a
/// gap when it goes on before the neighbour.
#[test]
fn a_replaced_author_leaves_no_gap() {
    let (mut lan, [alice, bob, carol], log) = missed_lines(false);
    evict_below(&mut lan, alice, &log, 801);
    lan.start(carol);
    for other in [alice, bob] {
        lan.run_until_linked(carol, other, 1_000);
    }
    lan.freeze_for(alice, 1_000);
    lan.freeze_for(bob, 2_000);
    lan.run_for(3_000);
    let range = range(&lan, carol, &log).expect("carol has the log");
    assert_eq!(gaps_shown(&lan, carol), []);
    assert_eq!((range.low, range.high), (1, MISSED_LINES));
}
