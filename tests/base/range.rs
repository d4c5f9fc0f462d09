//! Ranges: which lines of a log are stored, which are missing, and which were never wanted.
use std::ops::RangeInclusive;

use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Hash, Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::range::{BACKFILL_LINES, GAPS_MAX, LogRange, LostLines, Removal};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;

/// The first batches of a log. Each has one line.
fn log(count: u64) -> Vec<Batch> {
    let alice = Identity::from_seed(&[1; 32]);
    let mut lines = Lines::default();
    lines.push(b"line").expect("a fit line");
    let mut batches = Vec::new();
    for sequence in 1..=count {
        let draft = UnsignedBatch {
            log: LogId {
                target: Target::Room(Room::general()),
                author: alice.id(),
                incarnation: 7,
            },
            username: Nick::new("alice").expect("a fit name"),
            sequence,
            lamport: sequence,
            timestamp: WallTime(0),
            run: 1,
            uptime: 0,
            previous: batches.last().map(|last: &Batch| last.hash),
            form: LineForm::Text,
            lines: &lines,
            sealed: None,
            republishes: None,
            salt: 9,
        };
        batches.push(Batch::sign(&alice, &NetworkTag::OPEN, draft));
    }
    batches
}

/// A range of these lines, the first of which is news or not.
fn range(log: &[Batch], is_news: bool, sequences: impl IntoIterator<Item = u64>) -> LogRange {
    let mut sequences = sequences.into_iter().map(|n| n as usize - 1);
    let first = sequences.next().expect("a line");
    let mut range = LogRange::begin(&log[first], is_news);
    sequences.for_each(|n| range.extend(&log[n]));
    range
}

fn gaps(range: &LogRange) -> Vec<(u64, u64)> {
    range.gaps.iter().map(|gap| (gap.from, gap.to)).collect()
}

/// A missing beginning is filled from line 1 on, like any gap.
#[test]
fn a_missing_beginning_is_a_gap() {
    let log = log(5);
    let mut lines = range(&log, true, [4, 5]);
    assert_eq!((gaps(&lines), lines.complete_from()), (vec![(1, 3)], 4));
    let mut states = vec![lines.clone()];
    for batch in &log[..3] {
        assert!(lines.fill_gap(batch));
        states.push(lines.clone());
    }
    assert_eq!((lines.low, gaps(&lines)), (1, vec![]));
    assert_eq!(lines.complete_from(), 1);
    // The lines that are not stored are missing again.
    for batch in log[..3].iter().rev() {
        states.pop();
        lines.reopen_gap(batch);
        let expected = states.last().expect("a state");
        assert_eq!(gaps(&lines), gaps(expected));
        assert_eq!(lines.complete_from(), expected.complete_from());
        assert_eq!(lines.gaps[0].previous_hash, expected.gaps[0].previous_hash);
    }
    // A missing beginning is still requested when nothing above it is evicted.
    lines.evict_below(4);
    assert_eq!(gaps(&lines), [(1, 3)]);
    lines.evict_below(5);
    assert_eq!((gaps(&lines), lines.complete_from()), (vec![], 4));
}

/// The missing lines that a range tells, if the range has these gaps and nothing was evicted.
fn missing(range: &LogRange) -> Vec<u64> {
    let mut missing = Vec::new();
    gaps(range)
        .iter()
        .for_each(|(from, to)| missing.extend(*from..=*to));
    missing
}

/// Lines fill a gap in any order, and leave gaps around them. Each of them can be undone. Every
/// gap lies between two stored lines, or begins with line 1.
#[test]
fn a_gap_is_filled_in_any_order() {
    let log = log(9);
    for order in [
        [1, 2, 3, 4, 5, 6],
        [6, 5, 4, 3, 2, 1],
        [3, 4, 1, 6, 2, 5],
        [2, 5, 1, 3, 6, 4],
        [4, 3, 6, 5, 1, 2],
    ] {
        for (first, is_news) in [(1, false), (7, true)] {
            // Lines 2 to 7 are missing, or lines 1 to 6.
            let stored = [first, 8, 9];
            let mut lines = range(&log, is_news, stored);
            let of_gap = |n: u64| log[(n - u64::from(is_news)) as usize].clone();
            let mut states = vec![lines.clone()];
            for n in order {
                let batch = of_gap(n);
                assert!(lines.fill_gap(&batch), "{order:?}: {n}");
                assert!(!lines.fill_gap(&batch), "{order:?}: {n} again");
                let expected = missing(states.last().expect("a state"));
                let expected = expected.into_iter().filter(|m| *m != batch.sequence);
                assert_eq!(missing(&lines), expected.collect::<Vec<_>>());
                let mut above = 1;
                for gap in &lines.gaps {
                    assert!(above <= gap.stored_from && gap.stored_from <= gap.from);
                    assert!(gap.stored_from < gap.from || gap.from == 1, "{order:?}");
                    let below = gap.from.checked_sub(2).map(|at| log[at as usize].hash);
                    assert_eq!(gap.previous_hash, below);
                    assert_eq!(gap.last_hash, log[gap.to as usize - 1].hash);
                    above = gap.to + 1;
                }
                assert!(above <= lines.low);
                states.push(lines.clone());
            }
            assert_eq!((lines.low, lines.gaps.len()), (1, 0));
            for n in order.into_iter().rev() {
                assert_eq!(Some(&lines), states.pop().as_ref());
                lines.reopen_gap(&of_gap(n));
            }
            assert_eq!(states, [lines]);
        }
    }
}

/// A batch of another branch fills no gap where it touches stored lines. Lines that touch none
/// fill a gap only if there is a place for one more.
#[test]
fn a_gap_is_split_within_the_bound() {
    let mut other = log(9);
    let log = log(40);
    // Another branch from line 3 on.
    for n in 2..9 {
        let mut batch = other[n].clone();
        batch.hash = Hash([n as u8; 32]);
        batch.previous = Some(other[n - 1].hash);
        other[n] = batch;
    }
    let mut lines = range(&log, false, [1, 7]);
    for n in [6, 7] {
        assert!(!lines.fill_gap(&other[n - 1]), "{n}");
    }
    assert!(lines.fill_gap(&log[1]) && lines.fill_gap(&other[2]));
    assert_eq!(gaps(&lines), [(4, 6)]);
    assert!(!lines.fill_gap(&log[3]));
    // At the bound, only lines at the beginning or the end of a gap.
    let mut lines = range(&log, false, [1, 12, 20, 30, 40]);
    assert_eq!(lines.gaps.len(), GAPS_MAX);
    assert!(!lines.has_place_for_gap() && !lines.fill_gap(&log[5]));
    assert!(lines.fill_gap(&log[1]) && lines.fill_gap(&log[10]));
    assert_eq!(gaps(&lines), [(3, 10), (13, 19), (21, 29), (31, 39)]);
}

/// A gap that is forgotten before it was filled counts as long as the log lasts. A gap that was
/// filled does not.
#[test]
fn forgotten_gaps_count() {
    let log = log(20);
    // Evicted lines below a gap take the gap along.
    let mut lines = range(&log, true, [1, 2, 4, 5, 7, 8]);
    assert_eq!(lines.complete_from(), 7);
    lines.extend(&log[5]);
    assert_eq!(lines.complete_from(), 4);
    lines.evict_below(5);
    assert_eq!((gaps(&lines), lines.complete_from()), (vec![], 4));
    lines.evict_below(8);
    assert_eq!((lines.low, lines.complete_from()), (8, 4));
    // More gaps than are kept.
    let mut lines = range(&log, true, (1..=10).map(|n| 2 * n));
    assert_eq!(lines.gaps.len(), GAPS_MAX);
    for (from, _) in gaps(&lines) {
        assert!(lines.fill_gap(&log[from as usize - 1]));
    }
    assert_eq!((lines.low, lines.complete_from()), (12, 12));
}

/// Lines that were received and evicted are not missing.
#[test]
fn evicted_lines_are_not_missing() {
    let log = log(5);
    let mut lines = range(&log, true, 1..=5);
    for low in 2..=6 {
        lines.evict_below(low);
        assert_eq!((lines.low, lines.complete_from()), (low, 1));
    }
}

/// Lines that a newcomer did not request are missing, however many lines it has. They are no gap.
#[test]
fn a_newcomer_misses_the_lines_that_it_did_not_request() {
    let mut lines = range(&log(10), false, [10]);
    for high in [10, BACKFILL_LINES + 8, BACKFILL_LINES + 9] {
        lines.high = high;
        assert_eq!((lines.gaps.len(), lines.complete_from()), (0, 10));
    }
    // Evicted lines count as received. The line after a forgotten gap may be a later one.
    lines.low = lines.high;
    assert_eq!(lines.complete_from(), 10);
    lines.lost_below = 15;
    assert_eq!(lines.complete_from(), 15);
    // A claim of an older program, or a damaged line, cannot overflow.
    (lines.begins_at, lines.hash) = (u64::MAX, Hash([0; 32]));
    assert_eq!(lines.complete_from(), u64::MAX);
}

/// A range without these lines, as a scan of the store finds it.
fn without(log: &[Batch], range: &LogRange, lost: RangeInclusive<u64>) -> LogRange {
    let (from, to) = (*lost.start(), *lost.end());
    let batch = |sequence: u64| log.get(sequence as usize - 1);
    let lost = LostLines {
        log: range.log.clone(),
        hash_below: from.checked_sub(2).map(|at| log[at as usize].hash),
        previous_above: batch(to + 1)
            .filter(|_| to < range.high)
            .and_then(|above| above.previous),
        lines: lost,
        was_printed: false,
    };
    let mut range = range.clone();
    assert_eq!(range.remove(&lost), Removal::Part, "{lost:?}");
    range
}

/// Lost lines are a gap like any other, wherever they were, and are filled like any other.
#[test]
fn lost_lines_become_a_gap() {
    let log = log(12);
    let whole = range(&log, true, 1..=12);
    for (lost, expected) in [
        (5..=6, range(&log, true, [1, 2, 3, 4, 7, 8, 9, 10, 11, 12])),
        (1..=3, range(&log, true, 4..=12)),
        (10..=12, range(&log, true, 1..=9)),
    ] {
        let lamport = whole.lamport;
        let mut expected = expected;
        expected.lamport = lamport;
        assert_eq!(without(&log, &whole, lost), expected);
    }
    // Next to a gap, across one, and a whole interval between two.
    let gapped = range(&log, true, [1, 2, 5, 6, 9, 10, 11, 12]);
    let lose = |lost| gaps(&without(&log, &gapped, lost));
    assert_eq!(lose(2..=2), [(2, 4), (7, 8)]);
    assert_eq!(lose(1..=1), [(1, 1), (3, 4), (7, 8)]);
    assert_eq!(lose(1..=2), [(1, 4), (7, 8)]);
    assert_eq!(lose(5..=6), [(3, 8)]);
    assert_eq!(lose(6..=9), [(3, 4), (6, 9)]);
    assert_eq!(lose(9..=10), [(3, 4), (7, 10)]);
    let headless = without(&log, &gapped, 9..=12);
    assert_eq!(
        (headless.low, headless.high, gaps(&headless)),
        (5, 6, vec![(3, 4)])
    );
    let mut healed = without(&log, &gapped, 5..=6);
    for n in 3..=8 {
        assert!(healed.fill_gap(&log[n - 1]));
    }
    assert_eq!(healed, whole);
}

/// Lines that were stored next to the lost ones after the loss was found are not lost with them:
/// nothing changes until the hashes between them are known.
#[test]
fn lines_stored_after_the_loss_was_found_stay() {
    let log = log(12);
    let before = range(&log, true, 1..=10);
    let head = LostLines {
        log: before.log.clone(),
        lines: 10..=10,
        hash_below: Some(log[8].hash),
        previous_above: None,
        was_printed: false,
    };
    assert!(!before.has_grown_around(&head));
    let mut grown = range(&log, true, 1..=11);
    assert!(grown.has_grown_around(&head));
    assert_eq!(grown.remove(&head), Removal::Nothing);
    assert_eq!(grown, range(&log, true, 1..=11));
    // The lower end of an interval, when the gap below it was filled.
    let first = LostLines {
        lines: 7..=7,
        hash_below: None,
        previous_above: log[7].previous,
        ..head
    };
    let mut gapped = range(&log, true, [1, 2, 3, 7, 8, 9]);
    assert!(!gapped.has_grown_around(&first));
    for n in 4..=6 {
        assert!(gapped.fill_gap(&log[n - 1]));
    }
    assert_eq!(gapped.remove(&first), Removal::Nothing);
    assert_eq!(gapped, range(&log, true, 1..=9));
}

/// A newcomer's first lines are a gap that begins where its lines begin. If all lines are lost, the
/// range stays as it is.
#[test]
fn the_first_lines_of_a_newcomer_can_be_lost() {
    let log = log(9);
    let newcomer = range(&log, false, 4..=9);
    let mut lines = without(&log, &newcomer, 4..=5);
    assert_eq!((gaps(&lines), lines.begins_at), (vec![(4, 5)], 4));
    assert!(lines.fill_gap(&log[3]));
    assert!(lines.fill_gap(&log[4]));
    assert_eq!(lines, newcomer);
    let all = LostLines {
        log: newcomer.log.clone(),
        lines: 4..=9,
        hash_below: None,
        previous_above: None,
        was_printed: false,
    };
    assert_eq!(lines.remove(&all), Removal::All);
    assert_eq!(lines, newcomer);
}

/// At the bound, the lowest gaps are joined. The lines between them are requested again.
#[test]
fn too_many_gaps_are_joined() {
    let log = log(20);
    let mut lines = range(&log, true, 1..=20);
    for lost in (2..=12).step_by(2) {
        lines = without(&log, &lines, lost..=lost);
    }
    assert_eq!(gaps(&lines), [(2, 6), (8, 8), (10, 10), (12, 12)]);
    let mut found = range(&log, true, [1]);
    for n in (3..=13).step_by(2) {
        found.extend_after_damage(&log[n - 1], true);
    }
    assert_eq!(gaps(&found), gaps(&lines));
    assert_eq!((found.gaps[0].stored_from, found.lost_below), (1, 1));
    assert!(found.gaps.iter().all(|gap| gap.was_printed));
}
