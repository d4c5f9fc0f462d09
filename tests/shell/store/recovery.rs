//! What the store accepts when it opens a folder after a crash, damage or a clean end.

use std::fs;
use std::sync::Arc;
use std::time::Instant;

use p2pchat::base::event::load::Position;
use p2pchat::base::range::LogRange;
use p2pchat::base::republished_lines::RepublishedLines;
use p2pchat::base::table::SortedMap;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::segment::frontier::{self, Frontier, WantedLines};
use p2pchat::shell::store::segment::segment_file::dropped_line;
use p2pchat::shell::store::segment::segment_reader::LINE_MAX_BYTES;

use super::support::{
    Author, GENERAL, RecordedState, fill, general, load, load_log, open, open_with, read_all, save,
    small_segments,
};
use crate::folders::TempDir;

/// A power cut may tear the last write anywhere and leave zeros behind it: the whole batches stay.
#[test]
fn a_torn_batch_is_truncated_at_any_byte() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    save(&mut store, &bob.say(&["first"]));
    let before = bob.range(1);
    let path = folder.segments(GENERAL)[0].clone();
    let whole = fs::metadata(&path).unwrap().len();
    save(&mut store, &bob.say(&["second"]));
    drop(store);
    let bytes = fs::read(&path).unwrap();
    for end in whole as usize..bytes.len() {
        for zeros in [0, 300] {
            let mut torn = bytes[..end].to_vec();
            torn.resize(end + zeros, 0);
            fs::write(&path, torn).unwrap();
            let (mut store, ranges) = open_with(&folder, small_segments());
            assert_eq!(
                ranges.as_slice(),
                std::slice::from_ref(&before),
                "cut at {end}"
            );
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
            // The next batch is appended behind the last whole one.
            let mut next = Author::new(2);
            next.say(&["first"]);
            save(&mut store, &next.say(&["again"]));
            assert_eq!(load(&store, &next.log(), 1, 1), [1, 2]);
        }
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&folder).1, [bob.range(1)]);
}

/// A tail without a line end is cut off even if it is longer than any line, as zeros after a power
/// cut may be. The next batch is a line of its own.
#[test]
fn a_torn_tail_longer_than_any_line_is_truncated() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    save(&mut store, &bob.say(&["first"]));
    drop(store);
    let path = folder.segments(GENERAL)[0].clone();
    let whole = fs::read(&path).unwrap();
    for tail_bytes in [LINE_MAX_BYTES - 1, LINE_MAX_BYTES + 1, 3 * LINE_MAX_BYTES] {
        let mut torn = whole.clone();
        torn.resize(whole.len() + tail_bytes, 0);
        fs::write(&path, torn).unwrap();
        let (mut store, ranges) = open(&folder);
        assert_eq!(ranges, [bob.range(1)]);
        assert_eq!(fs::read(&path).unwrap(), whole);
        let mut next = Author::new(2);
        next.say(&["first"]);
        save(&mut store, &next.say(&["second"]));
        drop(store);
        assert_eq!(open(&folder).1, [next.range(1)]);
    }
}

/// A segment whose `dropped` lines claim more bytes than an offset can count is read to its end.
#[test]
fn dropped_lines_cannot_overflow_an_offset() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    save(&mut store, &bob.say(&["first"]));
    let path = folder.segments(GENERAL)[0].clone();
    let text = fs::read_to_string(&path).unwrap();
    let frontier = text.lines().next().unwrap();
    let dropped = dropped_line(u64::MAX);
    fs::write(
        &path,
        text.replace(
            frontier,
            format!("{frontier}\n{dropped}{dropped}").trim_end(),
        ),
    )
    .unwrap();
    let batches = load_log(&store, &bob.log(), 1, &mut None, 1 << 20).unwrap();
    assert_eq!(batches.len(), 1);
}

/// A crash during a rotation leaves a segment without a frontier; the next start deletes it.
#[test]
fn a_segment_without_a_whole_frontier_is_deleted() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    save(&mut store, &bob.say(&["one"]));
    drop(store);
    let next = folder.room(GENERAL).join("000002.ndjson");
    for half in [&b""[..], b"{\"type\":\"frontier\",\"gen", &[0; 500]] {
        fs::write(&next, half).unwrap();
        assert_eq!(open(&folder).1, [bob.range(1)]);
        assert!(!next.exists());
    }
}

/// Recovery rebuilds a damaged frontier from the segment before, and writes it down.
#[test]
fn a_damaged_frontier_is_rebuilt_from_the_segment_before() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &core, &mut authors, 20);
    drop(store);
    for damaged in 1..=folder.segments(GENERAL).len() {
        let segments = folder.segments(GENERAL);
        let path = &segments[segments.len() - damaged];
        let mut bytes = fs::read(path).unwrap();
        bytes[60] ^= 1;
        fs::write(path, bytes).unwrap();
        let (mut store, ranges) = open(&folder);
        assert_eq!(ranges, core.sorted());
        assert_eq!(load(&store, &authors[0].log(), 1, 1).len(), 20);
        // The rebuilt frontier is valid at the next start.
        let (reopened, same) = open(&folder);
        assert_eq!(
            (same, reopened.printed_position(&general(), None)),
            (ranges, None)
        );
        let mut unknown = authors[0].log();
        unknown.incarnation = 9;
        assert!(
            load_log(&store, &unknown, 1, &mut None, 1)
                .unwrap()
                .is_empty()
        );
        assert!(store.enforce_limits(&core).unwrap().is_empty());
    }
}

/// A folder without one valid batch opens as an empty one.
#[test]
fn a_folder_of_garbage_opens_empty_and_accepts_batches() {
    let folder = TempDir::new();
    fs::create_dir_all(folder.room(GENERAL)).unwrap();
    let garbage = [
        "\n\n\n",
        "{}\n{}\n",
        "\u{0}\n",
        "{\"type\":\"frontier\"}\nnonsense\n",
    ];
    for text in garbage {
        fs::write(folder.room(GENERAL).join("000007.ndjson"), text).unwrap();
        fs::write(folder.room(GENERAL).join("reader"), text).unwrap();
        let (mut store, ranges) = open(&folder);
        assert!(ranges.is_empty());
        let mut bob = Author::new(2);
        save(&mut store, &bob.say(&["on"]));
        assert_eq!(load(&store, &bob.log(), 1, 1), [1]);
        // Its reader begins anew.
        assert_eq!(store.printed_position(&general(), None), None);
        assert_eq!(read_all(&store, &mut Position::default()).len(), 1);
        fs::remove_dir_all(folder.room(GENERAL)).unwrap();
        fs::create_dir_all(folder.room(GENERAL)).unwrap();
    }
}

/// A clean end writes a frontier at the segment's end, and the next start reads from there.
#[test]
fn after_a_clean_end_only_the_last_frontier_is_read() {
    let folder = TempDir::new();
    let limits = StoreLimits::default();
    let (mut store, _) = open_with(&folder, limits);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let text = "x".repeat(8000);
    for _ in 0..120 {
        core.save(&mut store, &bob.say(&[&text]));
    }
    store.close(&core).unwrap();
    let path = folder.segments(GENERAL)[0].clone();
    assert_eq!(folder.segments(GENERAL).len(), 1);
    // Damage before the last frontier goes unnoticed: those bytes are not read.
    let mut bytes = fs::read(&path).unwrap();
    let damaged = bytes.len() / 2;
    bytes[damaged] ^= 1;
    fs::write(&path, bytes).unwrap();
    let start = Instant::now();
    let (store, ranges) = open_with(&folder, limits);
    eprintln!("opened in {:?}", start.elapsed());
    assert_eq!(ranges, [bob.range(1)]);
    // A run that saves nothing writes no further frontier.
    let size = fs::metadata(&path).unwrap().len();
    store.close(&core).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), size);
}

/// The frontier keeps which lines of a forked log a log publishes again, so a start that reads only
/// the last segment finds an unfinished repair. A frontier of another format is none.
#[test]
fn a_frontier_keeps_the_link_to_a_forked_log() {
    let mut bob = Author::new(2);
    let batch = bob.say(&["again"]);
    let mut ranges = [LogRange::begin(&batch, true)];
    for republishes in [
        None,
        Some(RepublishedLines {
            incarnation: 7,
            sequence: 12,
            hash: batch.hash,
        }),
    ] {
        ranges[0].republishes = republishes.map(Box::new);
        let mut line = Vec::new();
        let shared: Vec<Arc<LogRange>> = ranges.iter().cloned().map(Arc::new).collect();
        frontier::write(&shared, &SortedMap::new(), 0, &mut line);
        let line = line.strip_suffix(b"\n").unwrap();
        let parsed = Frontier::parse(line, &general()).unwrap();
        assert_eq!(parsed.ranges.as_slice(), shared);
        let log = bob.log();
        let are_after = |from| {
            let mut wanted = WantedLines::default();
            wanted.add(&log, from);
            wanted.are_after(line)
        };
        assert_eq!([1, 2].map(are_after), [Some(false), Some(true)]);
        let text = String::from_utf8(line.to_vec()).unwrap();
        assert!(text.starts_with(r#"{"type":"frontier","format":2,"#));
        let other = text.replacen("\"format\":2", "\"format\":1", 1);
        assert!(Frontier::parse(other.as_bytes(), &general()).is_none());
    }
}
