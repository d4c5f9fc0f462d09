//! Gaps in a stored log: they survive a restart, are filled in place, and keep within quotas.

use std::fs;

use p2pchat::base::batch::{Batch, LocalFields};
use p2pchat::base::range::LogRange;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

use super::support::{Author, GENERAL, NET, Told, general, load, open, open_with, small};
use crate::folders::TempDir;

/// Lines 1 to 60, of which 11 to 20 and 31 to 40 come last, and an order of arrival in which holes open, close and are left behind by segments.
#[test]
fn holes_survive_a_restart_and_what_fills_them_is_read_in_its_place() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let long = "x".repeat(100);
    let lines: Vec<Batch> = (0..60).map(|_| bob.say(&[&long])).collect();
    let part = |from: usize, to: usize| lines[from - 1..to].iter();
    let told = Told::default();
    let hole = |range: &LogRange| -> Vec<(u64, u64, u64)> {
        let holes = range.gaps.iter();
        holes.map(|h| (h.stored_from, h.from, h.to)).collect()
    };
    let mut store = open(&folder).0;
    let mut memory = Store::in_memory(Author::new(1).id(), NET, small());
    memory.open_folder(&general()).unwrap();
    let mut clean = false;
    for (from, to, low, holes) in [
        (1, 10, 1, vec![]),
        (21, 30, 21, vec![(1, 11, 20)]),
        (41, 60, 41, vec![(1, 11, 20), (21, 31, 40)]),
        (31, 35, 41, vec![(1, 11, 20), (21, 36, 40)]),
        (11, 20, 41, vec![(1, 36, 40)]),
        (36, 40, 1, vec![]),
    ] {
        for batch in part(from, to) {
            told.save(&mut store, batch);
            memory.save(batch, LocalFields::default()).unwrap();
        }
        match clean {
            true => store.close(&told).unwrap(),
            false => drop(store),
        }
        let (again, ranges) = open_with(&folder, clean, small());
        store = again;
        clean = !clean;
        assert_eq!(ranges, told.sorted());
        assert_eq!((ranges[0].low, hole(&ranges[0])), (low, holes));
    }
    for budget in [1, 500, 1_000_000] {
        for from in [1, 8, 20, 38] {
            let rest: Vec<u64> = (from..=60).collect();
            assert_eq!(load(&store, &bob.log(), from, budget), rest, "from {from}");
            assert_eq!(load(&memory, &bob.log(), from, budget), rest, "from {from}");
        }
    }
    // Without the frontiers that say what was filled it is found by going over the lines again.
    let segments = folder.segments(GENERAL);
    for path in segments.iter().skip(1).rev() {
        let text = fs::read_to_string(path).unwrap();
        fs::write(
            path,
            text.replace("\"generation\":\"0", "\"generation\":\"x"),
        )
        .unwrap();
        assert_eq!(open(&folder).1, told.sorted());
    }
}

#[test]
fn what_fills_a_hole_and_is_not_stored_leaves_it_as_it_was() {
    let mut bob = Author::new(2);
    let lines: Vec<Batch> = (0..9).map(|_| bob.say(&["line"])).collect();
    let told = Told::default();
    lines[..3].iter().for_each(|batch| told.note(batch));
    lines[6..].iter().for_each(|batch| told.note(batch));
    let mut range = told.sorted().remove(0);
    let mut states = vec![range.clone()];
    for batch in &lines[3..6] {
        assert_eq!(
            range.fill_gap(&lines[8]),
            None,
            "what is held is no filling"
        );
        range.fill_gap(batch);
        states.push(range.clone());
    }
    assert_eq!((range.low, range.gaps.len()), (1, 0));
    for batch in lines[3..6].iter().rev() {
        assert_eq!(Some(&range), states.pop().as_ref());
        range.reopen_gap(batch);
    }
    // That the closed hole ended with this batch is all that is known of what is behind it.
    let hole = (
        range.gaps[0].stored_from,
        range.gaps[0].from,
        range.gaps[0].to,
    );
    assert_eq!((range.low, hole), (7, (1, 4, 6)));
    assert_eq!(states, [range.clone()]);
    range.evict_below(2);
    assert_eq!((range.low, range.gaps[0].stored_from), (7, 2));
    range.evict_below(4);
    assert_eq!((range.low, range.gaps.len()), (7, 0));
}

#[test]
fn a_quota_leaves_no_hole_above_what_filled_one() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        author_bytes: 20 * 1024,
        memory_bytes: 20 * 1024,
        ..small()
    };
    let mut memory = Store::in_memory(Author::new(1).id(), NET, limits);
    memory.open_folder(&general()).unwrap();
    for (mut store, on_disk) in [(open_with(&folder, false, limits).0, true), (memory, false)] {
        let mut bob = Author::new(2);
        let long = "x".repeat(100);
        let lines: Vec<Batch> = (0..140).map(|_| bob.say(&[&long])).collect();
        let told = Told::default();
        for part in [0..5, 15..25, 5..15, 25..140] {
            for batch in &lines[part] {
                told.save(&mut store, batch);
                let range = told.sorted().remove(0);
                let held: Vec<u64> = (range.low..=range.high).collect();
                assert_eq!(load(&store, &bob.log(), range.low, 1_000_000), held);
            }
        }
        assert!(told.sorted()[0].low > 60);
        drop(store);
        if on_disk {
            assert_eq!(open(&folder).1, told.sorted());
        }
    }
}
