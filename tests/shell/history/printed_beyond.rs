//! The lines that a run prints beyond others, which it leaves to the next run.
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::event::load::Position;
use p2pchat::base::line_key::LineKey;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::shell::session::transcript::printed_beyond::PrintedBeyond;

use super::support::Author;

fn position(offset: u64) -> Position {
    Position {
        segment: 1,
        offset,
        ..Position::default()
    }
}

/// The first keys of the ranges that are taken at this place.
fn taken(beyond: &mut PrintedBeyond, offset: u64) -> Vec<LineKey> {
    let folder = FolderName::from(&Room::general());
    let ranges = beyond.take(&folder, position(offset));
    ranges.into_iter().map(|range| range.first).collect()
}

/// Printed lines make one range, in which no line is that the next run must print.
#[test]
fn a_range_ends_at_a_passed_over_line() {
    let folder = FolderName::from(&Room::general());
    let mut bob = Author::new("bob", "general", 1);
    let batches: Vec<Batch> = (1..=6).map(|n| bob.say(n, &["line"])).collect();
    let keys: Vec<LineKey> = batches.iter().map(|it| LineKey::in_batch(it, 0)).collect();
    let mut beyond = PrintedBeyond::default();
    beyond.record(&folder, &batches[0], position(1));
    assert_eq!(taken(&mut beyond, 9), [], "nothing was passed over");
    beyond.pass_over(&folder, &batches[3]);
    for (at, printed) in [(1, 1), (2, 2), (3, 4), (4, 5)] {
        beyond.record(&folder, &batches[printed], position(at));
    }
    assert_eq!(taken(&mut beyond, 2), [keys[1]]);
    assert_eq!(taken(&mut beyond, 4), [keys[1], keys[4]]);
}

/// What a run remembers of printed lines is bounded, if it does not know what it has passed over.
#[test]
fn ranges_are_bounded() {
    let folder = FolderName::from(&Room::general());
    let mut bob = Author::new("bob", "general", 1);
    let mut beyond = PrintedBeyond::default();
    beyond.pass_over_unread(&folder);
    let mut last = Vec::new();
    for n in 1..=100 {
        let batch = bob.say(n, &["line"]);
        beyond.record(&folder, &batch, position(n));
        last.push(LineKey::in_batch(&batch, 0));
    }
    assert_eq!(taken(&mut beyond, 100), last[92..]);
}
