//! Ranges: which lines of a log are stored, which are missing, and which were never wanted.
use p2pchat::base::batch::{Batch, LogId, UnsignedBatch};
use p2pchat::base::identity::{Hash, Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::range::{BACKFILL_LINES, GAPS_MAX, LogRange};
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
            action: false,
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
