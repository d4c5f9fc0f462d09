//! How far back a query of the last lines reads.
use std::fs;

use p2pchat::base::batch::Batch;
use p2pchat::shell::session::history_query::{HistoryQuery, QueryOutput, run_query_to};

use super::support::{
    Author, NET, contents, disk_source, last_lines, store_on_disk, whole_history,
};
use crate::folders::TempDir;

/// A directory with many segments, in which `late` arrived last.
fn directory_with(late: &[Batch]) -> TempDir {
    let mut bob = Author::new("bob", "general", 1);
    let mut batches = Vec::new();
    for n in 0..300 {
        batches.push(bob.say(1000 + n, &[&format!("{n} {}", "x".repeat(100))]));
    }
    batches.extend_from_slice(late);
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    folder
}

/// Replaces the older half of the segments by something that can't be read.
fn make_older_half_unreadable(folder: &TempDir) {
    let segments = folder.segments("#general");
    assert!(segments.len() > 10);
    for segment in &segments[..segments.len() / 2] {
        fs::remove_file(segment).expect("a file");
        fs::create_dir(segment).expect("a folder");
    }
}

/// Whether a query of this many lines reads a segment of the older half.
fn reads_older_half(folder: &TempDir, lines: u64) -> bool {
    let query = HistoryQuery {
        limit: Some(lines),
        ..HistoryQuery::default()
    };
    let output = QueryOutput {
        emit: &mut |_| Ok(()),
        skip_unreadable: &mut Err,
        report_damage: &mut |_| {},
        backlog_of: None,
    };
    run_query_to(&disk_source(folder), NET, &query, output).is_err()
}

/// The last lines are found without reading old segments, even if old lines arrived late.
#[test]
fn old_segments_are_not_read_for_the_last_lines() {
    let mut carol = Author::new("carol", "general", 2);
    let late = [carol.say(5, &["late"]), carol.say(1200, &["later"])];
    for late in [&late[..0], &late] {
        let folder = directory_with(late);
        let expected = last_lines(&folder, 20);
        let whole = whole_history(&folder);
        assert_eq!(expected, whole[whole.len() - 20..]);
        make_older_half_unreadable(&folder);
        assert!(reads_older_half(&folder, 250));
        assert!(!reads_older_half(&folder, 20));
        assert_eq!(last_lines(&folder, 20), expected);
    }
}

/// One of the last lines may lie in an old segment, if its author's clock was ahead.
#[test]
fn old_segments_with_one_of_the_last_lines_are_read() {
    let mut carol = Author::new("carol", "general", 2);
    let ahead = carol.say(1_000_000, &["ahead"]);
    let mut bob = Author::new("bob", "general", 1);
    let mut batches = vec![ahead];
    batches.extend((0..300).map(|n| bob.say(1000 + n, &["x".repeat(100).as_str()])));
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let lines = last_lines(&folder, 2);
    assert_eq!(contents(&lines)[1], "ahead");
    // Also without a frontier line that says so.
    for segment in folder.segments("#general") {
        let text = fs::read_to_string(&segment).expect("text");
        let (frontier, rest) = text.split_once('\n').expect("a line");
        let damaged = frontier.replace("\"max_lamport\"", "\"max_lamp0rt\"");
        assert_ne!(damaged, frontier);
        fs::write(&segment, format!("{damaged}\n{rest}")).expect("written");
    }
    assert_eq!(last_lines(&folder, 2), lines);
    make_older_half_unreadable(&folder);
    assert!(reads_older_half(&folder, 2));
}
