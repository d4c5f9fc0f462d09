//! Gaps in a stored log: they survive a restart, are filled in place, and keep within quotas.

use std::fs;
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::range::LogRange;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, GENERAL, NET, RecordedState, general, load, open, open_with, small_segments,
};
use crate::folders::TempDir;

/// Lines 11 to 20 and 31 to 40 of 60 arrive late: gaps open, shrink, split, close, and lie in
/// segments long rotated. Every start finds the same ranges, and a load returns all lines in order.
#[test]
fn gaps_survive_a_restart_and_are_read_in_sequence_order() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let long = "x".repeat(100);
    let lines: Vec<Batch> = (0..60).map(|_| bob.say(&[&long])).collect();
    let lines_from = |from: usize, to: usize| lines[from - 1..to].iter();
    let core = RecordedState::default();
    let gap_bounds = |range: &LogRange| -> Vec<(u64, u64, u64)> {
        let gaps = range.gaps.iter();
        gaps.map(|gap| (gap.stored_from, gap.from, gap.to))
            .collect()
    };
    let mut store = open(&folder).0;
    let mut memory = Store::in_memory(Author::new(1).id(), NET, small_segments());
    memory.open_folder(&general()).unwrap();
    let mut clean = false;
    for (from, to, low, gaps) in [
        (1, 10, 1, vec![]),
        (21, 30, 21, vec![(1, 11, 20)]),
        (41, 60, 41, vec![(1, 11, 20), (21, 31, 40)]),
        (31, 35, 41, vec![(1, 11, 20), (21, 36, 40)]),
        (15, 16, 41, vec![(1, 11, 14), (15, 17, 20), (21, 36, 40)]),
        (11, 14, 41, vec![(1, 17, 20), (21, 36, 40)]),
        (17, 20, 41, vec![(1, 36, 40)]),
        (36, 40, 1, vec![]),
    ] {
        for batch in lines_from(from, to) {
            core.save(&mut store, batch);
            memory.save(batch, LocalFields::default()).unwrap();
        }
        match clean {
            true => store.close(&core).unwrap(),
            false => drop(store),
        }
        let (reopened, ranges) = open_with(&folder, small_segments());
        store = reopened;
        clean = !clean;
        assert_eq!(ranges, core.sorted());
        assert_eq!((ranges[0].low, gap_bounds(&ranges[0])), (low, gaps));
    }
    for budget in [1, 500, 1_000_000] {
        for from in [1, 8, 20, 38] {
            let rest: Vec<u64> = (from..=60).collect();
            assert_eq!(load(&store, &bob.log(), from, budget), rest, "from {from}");
            assert_eq!(load(&memory, &bob.log(), from, budget), rest, "from {from}");
        }
    }
    // Without valid frontiers, recovery finds the filled gaps by reading all batches.
    let segments = folder.segments(GENERAL);
    for path in segments.iter().skip(1).rev() {
        let text = fs::read_to_string(path).unwrap();
        fs::write(
            path,
            text.replace("\"generation\":\"0", "\"generation\":\"x"),
        )
        .unwrap();
        assert_eq!(open(&folder).1, core.sorted());
    }
}

/// Lines 1 to 20 of 60 are missing at first. If line 21 is news they are a gap, which every start
/// finds. Otherwise they are history, and every start knows with which line the log begins.
#[test]
fn a_missing_beginning_survives_a_restart() {
    for is_news in [true, false] {
        let folder = TempDir::new();
        let mut bob = Author::new(2);
        let long = "x".repeat(100);
        let lines: Vec<Batch> = (0..60).map(|_| bob.say(&[&long])).collect();
        let core = RecordedState::default();
        let local = LocalFields {
            backfill: !is_news,
            ..LocalFields::default()
        };
        let mut store = open(&folder).0;
        let mut memory = Store::in_memory(Author::new(1).id(), NET, small_segments());
        memory.open_folder(&general()).unwrap();
        let begin = LogRange::begin(&lines[20], is_news);
        core.ranges.borrow_mut().insert(bob.log(), begin);
        for indexes in [20..22, 22..60, 0..5, 5..20] {
            if !is_news && indexes.start < 20 {
                break;
            }
            for batch in &lines[indexes] {
                store.save(batch, local).unwrap();
                memory.save(batch, local).unwrap();
                core.record(batch);
                if !is_news {
                    let mut ranges = core.ranges.borrow_mut();
                    ranges.get_mut(&bob.log()).unwrap().news_from = None;
                }
                store.enforce_limits(&core).unwrap();
            }
            store = open_with(&folder, small_segments()).0;
            let read = open_with(&folder, small_segments()).1;
            assert_eq!(read, core.sorted());
            let ranges = memory.open_folder(&general()).unwrap();
            let ranges: Vec<LogRange> = ranges.into_iter().map(Arc::unwrap_or_clone).collect();
            assert_eq!(ranges, core.sorted());
        }
        let range = core.sorted().remove(0);
        let expected = if is_news { (1, 1) } else { (21, 21) };
        assert_eq!((range.low, range.complete_from()), expected);
        // Without valid frontiers, recovery finds the same by reading all batches.
        for path in folder.segments(GENERAL).iter().skip(1).rev() {
            let text = fs::read_to_string(path).unwrap();
            fs::write(
                path,
                text.replace("\"generation\":\"0", "\"generation\":\"x"),
            )
            .unwrap();
            assert_eq!(open(&folder).1, core.sorted());
        }
    }
}

/// A failed save reopens the gap that its batch filled, one batch at a time.
#[test]
fn reopening_a_gap_undoes_a_fill_that_was_not_stored() {
    let mut bob = Author::new(2);
    let lines: Vec<Batch> = (0..9).map(|_| bob.say(&["line"])).collect();
    let core = RecordedState::default();
    lines[..3].iter().for_each(|batch| core.record(batch));
    lines[6..].iter().for_each(|batch| core.record(batch));
    let mut range = core.sorted().remove(0);
    let mut states = vec![range.clone()];
    for batch in &lines[3..6] {
        assert!(!range.fill_gap(&lines[8]), "a stored batch fills no gap");
        range.fill_gap(batch);
        states.push(range.clone());
    }
    assert_eq!((range.low, range.gaps.len()), (1, 0));
    for batch in lines[3..6].iter().rev() {
        assert_eq!(Some(&range), states.pop().as_ref());
        range.reopen_gap(batch);
    }
    // A reopened gap ends with the batch: where the closed gap ended is no longer recorded.
    let gap_bounds = (
        range.gaps[0].stored_from,
        range.gaps[0].from,
        range.gaps[0].to,
    );
    assert_eq!((range.low, gap_bounds), (7, (1, 4, 6)));
    assert_eq!(states, [range.clone()]);
    range.evict_below(2);
    assert_eq!((range.low, range.gaps[0].stored_from), (7, 2));
    range.evict_below(4);
    assert_eq!((range.low, range.gaps.len()), (7, 0));
}

/// Lines that filled a gap stand late in the file; eviction takes them in sequence order.
#[test]
fn eviction_leaves_no_gap_above_a_filled_one() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        author_bytes: 20 * 1024,
        memory_bytes: 20 * 1024,
        ..small_segments()
    };
    let mut memory = Store::in_memory(Author::new(1).id(), NET, limits);
    memory.open_folder(&general()).unwrap();
    for (mut store, on_disk) in [(open_with(&folder, limits).0, true), (memory, false)] {
        let mut bob = Author::new(2);
        let long = "x".repeat(100);
        let lines: Vec<Batch> = (0..140).map(|_| bob.say(&[&long])).collect();
        let core = RecordedState::default();
        for indexes in [0..5, 15..25, 5..15, 25..140] {
            for batch in &lines[indexes] {
                core.save(&mut store, batch);
                let range = core.sorted().remove(0);
                let expected: Vec<u64> = (range.low..=range.high).collect();
                assert_eq!(load(&store, &bob.log(), range.low, 1_000_000), expected);
            }
        }
        assert!(core.sorted()[0].low > 60);
        drop(store);
        if on_disk {
            assert_eq!(open(&folder).1, core.sorted());
        }
    }
}
