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
    assert_eq!(lines.fill_gap(&log[1]), None);
    let mut states = vec![lines.clone()];
    for (batch, closed) in log.iter().zip([false, false, true]) {
        assert_eq!(lines.fill_gap(batch), Some(closed));
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
        assert_eq!(lines.fill_gap(&log[from as usize - 1]), Some(true));
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
