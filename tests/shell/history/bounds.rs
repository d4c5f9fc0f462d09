//! How far back a query of the last lines reads.
use std::fs;

use p2pchat::base::batch::batch::Batch;
use p2pchat::base::time::WallTime;
use p2pchat::shell::session::history_query::{HistoryQuery, QueryOutput, run_query_to};

use super::support::{
    Author, NET, contents, disk_source, last_lines, pipe, query_lines, store_on_disk, whole_history,
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

/// A query of the last lines.
fn last(lines: u64) -> HistoryQuery {
    HistoryQuery {
        limit: Some(lines),
        ..HistoryQuery::default()
    }
}

/// Whether a query reads a segment of the older half.
fn reads_older_half(folder: &TempDir, query: &HistoryQuery) -> bool {
    let output = QueryOutput {
        emit: &mut |_| Ok(()),
        skip_unreadable: &mut Err,
        report_damage: &mut |_| {},
        backlog_of: None,
    };
    run_query_to(&disk_source(folder), NET, query, output).is_err()
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
        assert!(reads_older_half(&folder, &last(250)));
        assert!(!reads_older_half(&folder, &last(20)));
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
    assert!(reads_older_half(&folder, &last(2)));
}

/// A query of the last lines that contain a text reads only as far back as it must.
#[test]
fn old_segments_are_read_only_if_a_search_needs_them() {
    let mut bob = Author::new("bob", "general", 1);
    let batches = (0..300).map(|batch: u64| {
        let lines: Vec<String> = (0..50)
            .map(|line| format!("line {line} of batch {batch}"))
            .collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        bob.say(1000 + 50 * batch, &lines)
    });
    let batches: Vec<Batch> = batches.collect();
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let whole = whole_history(&folder);
    let search = |text: &str, lines| HistoryQuery {
        search: Some(text.into()),
        ..last(lines)
    };
    let found = |query: &HistoryQuery| query_lines(&disk_source(&folder), query, pipe());
    for text in [
        "line",
        "line 7 of",
        "batch 299",
        "batch 3",
        "batch 100",
        "no",
    ] {
        for lines in [0, 10, 20_000] {
            let mut expected = whole.clone();
            expected.retain(|line| line.contains(text));
            expected.drain(..expected.len().saturating_sub(lines as usize));
            assert_eq!(found(&search(text, lines)), expected, "{text} {lines}");
        }
    }
    make_older_half_unreadable(&folder);
    assert!(!reads_older_half(&folder, &search("line 7 of", 50)));
    assert!(!reads_older_half(&folder, &search("batch 299", 10)));
    assert!(reads_older_half(&folder, &search("line 7 of", 250)));
    assert!(reads_older_half(&folder, &search("batch 100", 10)));
}

/// A query that reads further and further back names an odd segment once.
#[test]
fn a_segment_that_is_passed_over_is_named_once() {
    let mut bob = Author::new("bob", "general", 1);
    let text: Vec<&str> = std::iter::repeat_n("line", 100).collect();
    let batches = (0..300).map(|batch: u64| bob.say(1000 + 100 * batch, &text));
    let batches: Vec<Batch> = batches.collect();
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let newest = folder.segments("#general").pop().expect("a segment");
    fs::remove_file(&newest).expect("a file");
    fs::create_dir(&newest).expect("a folder");
    let query = HistoryQuery {
        search: Some("nothing".into()),
        ..last(10)
    };
    let mut named = Vec::new();
    let output = QueryOutput {
        emit: &mut |_| Ok(()),
        skip_unreadable: &mut |error| {
            named.push(error.to_string());
            Ok(())
        },
        report_damage: &mut |_| {},
        backlog_of: None,
    };
    run_query_to(&disk_source(&folder), NET, &query, output).expect("a history");
    assert_eq!(named.len(), 1, "{named:?}");
}

/// A query of the lines since a time reads only the segments that can contain them.
#[test]
fn old_segments_are_not_read_for_lines_since_a_time() {
    const START: i64 = 1_800_000_000_000;
    let mut bob = Author::new("bob", "general", 1);
    let at = |ms| WallTime(START + ms);
    let long = "x".repeat(100);
    let batches = (0..300).map(|n| bob.say_at(at(n), (START + n) as u64 * 1000, &[&long]));
    let batches: Vec<Batch> = batches.collect();
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    make_older_half_unreadable(&folder);
    let since = |time| HistoryQuery {
        since: Some(time),
        ..HistoryQuery::default()
    };
    let recent = since(at(290));
    assert!(!reads_older_half(&folder, &recent));
    assert_eq!(
        query_lines(&disk_source(&folder), &recent, pipe()).len(),
        10
    );
    assert!(reads_older_half(&folder, &since(at(10))));
    // Without a plausible clock, a line may stand anywhere.
    assert!(reads_older_half(&folder, &since(WallTime(i64::MAX / 2))));
    let few = HistoryQuery {
        search: Some("y".into()),
        ..HistoryQuery {
            limit: Some(10),
            ..recent
        }
    };
    assert!(!reads_older_half(&folder, &few));
}
