//! Gaps in a history: shown where lines are missing, and gone when they arrive.
use std::fs;

use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::identity::Identity;
use p2pchat::base::line_key::LineKey;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::time::WallTime;
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::shell::session::history_query::HistoryQuery;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, NET, append, contents, disk_source, last_lines, pipe, query_lines, save, store_on_disk,
    whole_history,
};
use crate::batches;
use crate::folders::TempDir;
use crate::store::support::{RecordedState, load_log};

/// A gap stands before the line that reveals it, and every query agrees on it.
#[test]
fn a_gap_is_shown_until_its_lines_arrive() {
    let mut bob = Author::new("bob", "general", 1);
    let mut carol = Author::new("carol", "general", 1);
    // Older lines than the first stored one are no gap.
    bob.say(1, &["never stored"]);
    let mut batches = vec![bob.say(2, &["one"]), carol.say(3, &["two"])];
    let missing = [bob.say(4, &["three", "four"]), bob.say(6, &["five"])];
    batches.push(bob.say(7, &["six"]));
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let (bob, bob_id) = (bob.short(), bob.log.author);
    let gap = format!("1970-01-01T00:00:07.000Z #general - 3 lines of {bob} are missing");
    let lines = whole_history(&folder);
    assert_eq!(lines.len(), 4, "{lines:#?}");
    assert_eq!(lines[2], gap);
    assert!(lines[3].ends_with(": six"));
    // A count applies to chat lines; a gap before the first of them is left out.
    assert_eq!(last_lines(&folder, 1), lines[3..]);
    assert_eq!(last_lines(&folder, 2), lines[1..]);
    let since = |ms| HistoryQuery {
        since: Some(WallTime(ms)),
        ..HistoryQuery::default()
    };
    let source = disk_source(&folder);
    assert_eq!(query_lines(&source, &since(6_500), pipe()), lines[2..]);
    assert!(query_lines(&source, &since(7_001), pipe()).is_empty());
    let json = query_lines(&source, &HistoryQuery::default(), Renderer::json());
    let form = r##"{"type":"gap","target":"#general","sender":"ID","incarnation":"0000000000000001","from":3,"to":5,"timestamp":"1970-01-01T00:00:07.000Z","username":"bob","name":"NAME"}"##;
    let id = batches[0].log.author.to_string();
    let form = form.replace("ID", &id).replace("NAME", &bob);
    assert_eq!(json[2], form);

    // First some of the missing lines arrive, then the rest, each after later lines.
    store_on_disk(&folder, &missing[1..]);
    let lines = whole_history(&folder);
    let gap = format!("1970-01-01T00:00:06.000Z #general - 2 lines of {bob} are missing");
    assert_eq!(lines[2], gap, "{lines:#?}");
    store_on_disk(&folder, &missing[..1]);
    // A start sets aside what recovery rejects; it accepts these.
    let (room, limits) = (FolderName::from(&Room::general()), StoreLimits::default());
    for _ in 0..2 {
        let mut store = Store::open(&folder.0, NET, bob_id, limits).unwrap();
        let ranges = store.open_folder(&room).unwrap();
        assert!(ranges.iter().any(|range| range.high == 6));
    }
    let lines = whole_history(&folder);
    assert_eq!(
        contents(&lines),
        ["one", "two", "three", "four", "five", "six"]
    );
    assert_eq!(lines.len(), 6);

    // A batch stored twice is shown once.
    let mut again = Vec::new();
    for batch in batches.iter().chain(&missing) {
        batch.write_stored(LocalFields::default(), &mut again);
    }
    append(&folder.segments("#general")[0], &again);
    assert_eq!(whole_history(&folder), lines);
    for count in 1..9 {
        let from = lines.len().saturating_sub(count);
        assert_eq!(last_lines(&folder, count as u64), lines[from..], "{count}");
    }
}

/// A gap of one line has a sentence of its own.
#[test]
fn a_gap_of_one_line_is_in_the_singular() {
    let mut bob = Author::new("bob", "general", 1);
    let batches = [1, 2, 3].map(|n| bob.say(n, &["x"]));
    let folder = TempDir::new();
    store_on_disk(&folder, [&batches[0], &batches[2]]);
    assert!(
        whole_history(&folder)[1].ends_with(&format!(" - 1 line of {} is missing", bob.short()))
    );
}

/// The last n lines are exactly the end of the whole history, gaps included.
#[test]
fn the_last_lines_have_the_gaps_of_the_whole_history() {
    // The line before the gap lies in a segment that a query of the last lines need not read.
    let mut bob = Author::new("bob", "general", 1);
    let mut carol = Author::new("carol", "general", 1);
    let first = bob.say(1, &["first"]);
    bob.say(2, &["lost"]);
    let mut batches = vec![first];
    for n in 0..60 {
        batches.push(carol.say(10 + n, &[&format!("{n} {}", "x".repeat(100))]));
    }
    batches.push(bob.say(100, &["back"]));
    batches.push(carol.say(101, &["welcome"]));
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    let lines = whole_history(&folder);
    assert!(folder.segments("#general").len() > 4);
    assert!(lines[lines.len() - 3].contains(" - 1 line of bob~"));
    for count in 3..40 {
        let from = lines.len() - 1 - count;
        assert_eq!(last_lines(&folder, count as u64), lines[from..], "{count}");
    }
}

/// The batch without its content.
fn withheld(batch: &Batch) -> Batch {
    Batch::parse(batches::withheld(batch), &NET).unwrap()
}

/// Lines whose content is withheld are missing like those of a gap, wherever they stand in their
/// log. Other lines keep their place.
#[test]
fn withheld_lines_are_shown_as_a_gap() {
    let (mut alice, mut bob) = (
        Author::new("alice", "general", 1),
        Author::new("bob", "general", 2),
    );
    let first = alice.say(10, &["a1", "a2"]);
    let others = bob.say(11, &["b1", "b2", "b3"]);
    let second = alice.say(20, &["a3", "a4", "a5"]);
    let third = alice.say(30, &["a6"]);
    let last = alice.say(40, &["a7"]);
    let stored = [
        withheld(&first),
        others,
        withheld(&second),
        third,
        withheld(&last),
    ];
    let gap = |time: &str, lines: &str| {
        let name = alice.short();
        format!("1970-01-01T00:00:{time}.000Z #general - {lines} of {name} are missing")
    };
    let one = gap("40", "1 line").replace(" are ", " is ");
    for source in ["disk", "memory"] {
        let folder = TempDir::new();
        let mut memory = Store::in_memory(alice.identity.id(), NET, StoreLimits::default());
        let lines = match source {
            "disk" => {
                store_on_disk(&folder, &stored);
                whole_history(&folder)
            }
            _ => {
                save(&mut memory, &stored);
                let (source, _) = memory.history_source();
                query_lines(&source, &HistoryQuery::default(), pipe())
            }
        };
        assert_eq!(contents(&lines), ["b1", "b2", "b3", "a6"], "{source}");
        let gaps: Vec<&String> = lines.iter().filter(|line| line.contains(" - ")).collect();
        assert_eq!(
            gaps,
            [&gap("10", "2 lines"), &gap("20", "3 lines"), &one],
            "{source}"
        );
        assert_eq!(lines[0], *gaps[0], "{source}");
        assert_eq!(lines[lines.len() - 1], one, "{source}");
    }
    let folder = TempDir::new();
    store_on_disk(&folder, &stored);
    // The last lines are those that can be shown.
    assert_eq!(contents(&last_lines(&folder, 2)), ["b3", "a6"]);
    assert_eq!(contents(&last_lines(&folder, 9)), ["b1", "b2", "b3", "a6"]);
    let json = query_lines(
        &disk_source(&folder),
        &HistoryQuery::default(),
        Renderer::json(),
    );
    let gap = format!(
        r##"{{"type":"gap","target":"#general","sender":"{}","incarnation":"0000000000000001","from":3,"to":5,"##,
        alice.log.author
    );
    assert!(json.iter().any(|line| line.starts_with(&gap)), "{json:?}");
}

/// A gap before withheld lines and the lines themselves are one gap.
#[test]
fn a_gap_and_withheld_lines_after_it_are_one_gap() {
    let mut alice = Author::new("alice", "general", 1);
    let first = alice.say(10, &["one"]);
    alice.say(20, &["two"]);
    let third = alice.say(30, &["three"]);
    let folder = TempDir::new();
    store_on_disk(&folder, [&first, &withheld(&third)]);
    let lines = whole_history(&folder);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[1].contains("- 2 lines of alice"), "{lines:?}");
}

/// The store keeps a batch without content like any other: a start finds the same range, and reads
/// the same bytes.
#[test]
fn a_withheld_batch_survives_a_restart() {
    let mut alice = Author::new("alice", "general", 1);
    let batches = [
        alice.say(10, &["one"]),
        withheld(&alice.say(20, &["two", "three"])),
        alice.say(30, &["four"]),
    ];
    let folder = TempDir::new();
    store_on_disk(&folder, &batches);
    for _ in 0..2 {
        let own = Identity::from_seed(&[1; 32]).id();
        let limits = StoreLimits::default();
        let mut store = Store::open(&folder.0, NET, own, limits).unwrap();
        let ranges = store
            .open_folder(&FolderName::from(&Room::general()))
            .unwrap();
        let range = ranges.get(&alice.log).unwrap();
        assert_eq!((range.low, range.high), (1, 4));
        assert_eq!(range.hash, batches[2].hash);
        let read = load_log(&store, &alice.log, 1, &mut None, usize::MAX).unwrap();
        let bytes = |batch: &Batch| batch.as_bytes().to_vec();
        let (read, stored): (Vec<_>, Vec<_>) = (
            read.iter().map(bytes).collect(),
            batches.iter().map(bytes).collect(),
        );
        assert_eq!(read, stored);
        // A request may begin in the middle of a batch, whose content is no array.
        let read = load_log(&store, &alice.log, 3, &mut None, 1).unwrap();
        assert_eq!(read.first().map(|batch| batch.sequence), Some(2));
    }
}

/// Lines that the limits of the store have evicted are shown as a gap: before the lines that are
/// left of the log, or in the place of its last line. Every query agrees on it.
#[test]
fn evicted_lines_are_shown_as_a_gap() {
    for in_memory in [false, true] {
        let folder = TempDir::new();
        let limits = StoreLimits {
            segment_bytes: 4096,
            total_bytes: Some(24 * 1024),
            memory_bytes: 24 * 1024,
            ..StoreLimits::default()
        };
        let own = Identity::from_seed(&[1; 32]).id();
        let mut store = match in_memory {
            true => Store::in_memory(own, NET, limits),
            false => Store::open(&folder.0, NET, own, limits).unwrap(),
        };
        let room = FolderName::from(&Room::general());
        store.open_folder(&room).unwrap();
        let (mut bob, mut carol) = (
            Author::new("bob", "general", 1),
            Author::new("carol", "general", 2),
        );
        let mut core = RecordedState::default();
        let known = Standing::of_rank(Rank::Known);
        core.standings.insert(bob.log.author, known);
        let text = "x".repeat(100);
        for n in 1..=10 {
            core.save(&mut store, &carol.say(n, &[&text]));
        }
        for n in 11..=150 {
            core.save(&mut store, &bob.say(n, &[&text]));
        }
        let first_kept = core.ranges.borrow()[&bob.log].low;
        assert!(first_kept > 50, "{first_kept}");
        let query = |count| {
            let query = HistoryQuery {
                limit: count,
                ..HistoryQuery::default()
            };
            query_lines(&store.history_source().0, &query, pipe())
        };
        let lines = query(None);
        let short = carol.log.author.short();
        let emptied = format!("#general - 10 lines of ?~{short} are missing");
        let evicted = format!(
            "#general - {} lines of {} are missing",
            first_kept - 1,
            bob.short()
        );
        assert!(lines[0].ends_with(&emptied), "{}", lines[0]);
        assert!(lines[1].ends_with(&evicted), "{}", lines[1]);
        assert_eq!(lines.len() as u64, 2 + 140 - (first_kept - 1));
        for count in 1..lines.len() - 2 {
            let from = lines.len() - count;
            assert_eq!(query(Some(count as u64)), lines[from..], "{count}");
        }
        if !in_memory {
            drop(store);
            let mut store = Store::open(&folder.0, NET, own, limits).unwrap();
            store.open_folder(&room).unwrap();
            assert_eq!(whole_history(&folder), lines);
        }
    }
}

/// A page of earlier lines does not repeat the gap of a log whose lines were later.
#[test]
fn a_gap_of_evicted_lines_is_on_its_own_page() {
    let limits = StoreLimits {
        memory_bytes: 24 * 1024,
        ..StoreLimits::default()
    };
    let own = Identity::from_seed(&[1; 32]).id();
    let mut store = Store::in_memory(own, NET, limits);
    let room = FolderName::from(&Room::general());
    store.open_folder(&room).unwrap();
    let mut bob = Author::new("bob", "general", 1);
    let mut carol = Author::new("carol", "general", 2);
    let mut core = RecordedState::default();
    let known = Standing::of_rank(Rank::Known);
    core.standings.insert(bob.log.author, known);
    let text = "x".repeat(100);
    core.save(&mut store, &carol.say(1000, &[&text]));
    let mut keys = Vec::new();
    for n in 1..=150 {
        let batch = bob.say(n, &[&text]);
        keys.push(LineKey::in_batch(&batch, 0));
        core.save(&mut store, &batch);
    }
    let page = |before| {
        let query = HistoryQuery {
            limit: Some(5),
            before,
            ..HistoryQuery::default()
        };
        query_lines(&store.history_source().0, &query, pipe())
    };
    let gaps = |lines: &[String]| lines.iter().filter(|it| it.contains(" missing")).count();
    let last = page(None);
    assert_eq!((last.len(), gaps(&last)), (6, 1), "{last:?}");
    let earlier = page(Some(keys[140]));
    assert_eq!((earlier.len(), gaps(&earlier)), (5, 0), "{earlier:?}");
}

/// A damaged number of a line that is not shown hides no gap behind it, but the next one.
#[test]
fn a_damaged_number_hides_one_gap() {
    let mut bob = Author::new("bob", "general", 1);
    let mut batches: Vec<Batch> = (1..=300).map(|n| bob.say(n, &["line"])).collect();
    batches.drain(294..296);
    let folder = TempDir::new();
    let own = Identity::from_seed(&[1; 32]).id();
    let mut store = Store::open(&folder.0, NET, own, StoreLimits::default()).unwrap();
    save(&mut store, &batches);
    drop(store);
    let expected = last_lines(&folder, 8);
    assert!(expected.iter().any(|line| line.contains(" - 2 lines of ")));
    let segments = folder.segments("#general");
    assert_eq!(segments.len(), 1);
    let lines = fs::read_to_string(&segments[0]).unwrap();
    let damaged = lines.replace("\"sequence\":100,", "\"sequence\":100000,");
    assert_ne!(damaged, lines);
    fs::write(&segments[0], damaged).unwrap();
    assert_eq!(last_lines(&folder, 8), expected);
}

/// A crash may leave evicted lines on the disk. They are shown, and the gap begins behind them.
#[test]
fn evicted_lines_that_are_still_on_disk_are_shown_once() {
    let folder = TempDir::new();
    let limits = |total_bytes| StoreLimits {
        segment_bytes: 4096,
        total_bytes: Some(total_bytes),
        ..StoreLimits::default()
    };
    let own = Identity::from_seed(&[1; 32]).id();
    let open = |total_bytes| {
        let mut store = Store::open(&folder.0, NET, own, limits(total_bytes)).unwrap();
        store
            .open_folder(&FolderName::from(&Room::general()))
            .unwrap();
        store
    };
    let mut bob = Author::new("bob", "general", 1);
    let core = RecordedState::default();
    let text = "x".repeat(100);
    let mut store = open(u64::MAX);
    for n in 1..=60 {
        core.save(&mut store, &bob.say(n, &[&text]));
    }
    drop(store);
    let first = folder.segments("#general")[0].clone();
    let left = fs::read(&first).unwrap();
    let count = left.iter().filter(|byte| **byte == b'\n').count() as u64 - 1;
    let mut store = open(12 * 1024);
    for n in 61..=90 {
        core.save(&mut store, &bob.say(n, &[&text]));
    }
    let first_kept = core.ranges.borrow()[&bob.log].low;
    assert!(first_kept > count + 1, "{first_kept}");
    fs::write(&first, left).unwrap();
    let lines = query_lines(&store.history_source().0, &HistoryQuery::default(), pipe());
    let gaps: Vec<&String> = lines
        .iter()
        .filter(|line| line.ends_with("are missing"))
        .collect();
    let missing = format!(
        "{} lines of {} are missing",
        first_kept - 1 - count,
        bob.short()
    );
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].ends_with(&missing), "{}", gaps[0]);
    assert_eq!(lines.len() as u64, 90 - (first_kept - 1 - count) + 1);
}
