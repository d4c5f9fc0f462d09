//! Audits: which of the lines that a folder should store are lost, wherever the damage is.
use std::fs;

use p2pchat::base::batch::batch::Batch;
use p2pchat::base::batch::batch_layout::{Proof, identifying_parts};
use p2pchat::base::event::load::{LogCursor, Position};
use p2pchat::base::range::{LostLines, Removal};
use p2pchat::base::time::WallTime;
use p2pchat::shell::os::clock::Moment;
use p2pchat::shell::store::audit::Audit;
use p2pchat::shell::store::damage::DamageOutcome;
use p2pchat::shell::store::segment::frontier::Frontier;
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, GENERAL, RecordedState, fill, general, load, load_log, open, read_all,
};
use crate::batches::falsified;
use crate::folders::TempDir;

fn audit(store: &Store, core: &RecordedState) -> Audit {
    let request = store
        .audit_request(&general(), core)
        .expect("a folder on disk");
    request.run().expect("descriptors")
}

fn apply(store: &mut Store, core: &RecordedState, audit: Audit) {
    for lost in &audit.lost {
        let mut ranges = core.ranges.borrow_mut();
        let range = ranges.get_mut(&lost.log).expect("a range");
        assert_eq!(range.remove(lost), Removal::Part);
    }
    store.set_damage_aside(audit, core);
}

fn replace(path: &std::path::Path, text: &str, with: &str) {
    let all = fs::read_to_string(path).unwrap();
    assert!(all.contains(text), "{text} in {all}");
    fs::write(path, all.replace(text, with)).unwrap();
}

/// Damage before a frontier, and a segment that is gone: the audit names the lines, sets them
/// aside, and the next start knows the gaps.
#[test]
fn an_audit_finds_damage_in_older_segments() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &core, &mut authors, 30);
    let whole = audit(&store, &core);
    assert!(whole.lost.is_empty() && whole.damaged.is_empty());
    let segments = folder.segments(GENERAL);
    assert!(segments.len() > 4, "{segments:?}");
    replace(&segments[1], "line 5 ", "line X ");
    let sequences = |path| -> Vec<u64> {
        let text = fs::read_to_string(path).unwrap();
        let numbers = text.lines().filter_map(|line| {
            let (_, rest) = line.split_once("\"sequence\":")?;
            rest.split(',').next()?.parse().ok()
        });
        numbers.collect()
    };
    let removed = sequences(&segments[2]);
    fs::remove_file(&segments[2]).unwrap();
    let found = audit(&store, &core);
    let lost: Vec<_> = found
        .lost
        .iter()
        .map(|lost| (lost.log.clone(), lost.lines.clone()))
        .collect();
    for author in &authors {
        let of_author = |lines| (author.log(), lines);
        let (first, last) = (removed[0], removed[removed.len() - 1]);
        assert!(lost.contains(&of_author(6..=6)), "{lost:?}");
        assert!(lost.iter().any(|(log, lines)| {
            *log == author.log()
                && lines.start().abs_diff(first) <= 1
                && lines.end().abs_diff(last) <= 1
        }));
    }
    assert!(found.lost.iter().all(|lost| !lost.was_printed));
    apply(&mut store, &core, found);
    let reports = store.take_damage();
    assert_eq!(reports.len(), 1);
    assert_eq!((&reports[0].path, reports[0].count), (&segments[1], 2));
    assert_eq!(reports[0].outcome, DamageOutcome::SetAside);
    let after = audit(&store, &core);
    assert!(after.lost.is_empty() && after.damaged.is_empty());
    // The quota counts only what is left.
    let segments = folder.segments(GENERAL);
    let texts = segments
        .iter()
        .map(|path| fs::read_to_string(path).unwrap());
    let texts: Vec<String> = texts.collect();
    let newest = texts.last().unwrap().lines().next().unwrap();
    let frontier = Frontier::parse(newest.as_bytes(), &general()).unwrap();
    for author in &authors {
        let sender = format!("\"sender\":\"{}\"", author.id());
        let lines = texts.iter().flat_map(|text| text.split_inclusive('\n'));
        let left = lines.filter(|line| line.contains(&sender) && line.contains("\"signature\""));
        let left: usize = left.map(str::len).sum();
        assert_eq!(
            frontier.author_bytes.get(&author.id()),
            Some(&(left as u64))
        );
    }
    drop(store);
    let (store, ranges) = open(&folder);
    assert_eq!(ranges, core.sorted());
    let rest = load(&store, &authors[0].log(), 1, 700);
    assert!(rest.len() > 20 && !rest.contains(&6), "{rest:?}");
}

/// The reader has printed a batch, and lags behind others, when an audit finds the batch damaged. It
/// is known again in this run.
#[test]
fn a_printed_batch_is_known_after_an_audit() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let [mut bob, mut carol] = [2, 3].map(Author::new);
    let printed = bob.say(&["printed"]);
    core.save(&mut store, &carol.say(&["one"]));
    core.save(&mut store, &carol.say(&["two"]));
    core.save(&mut store, &printed);
    let now = Moment {
        wall: WallTime(1_000),
        boot_id: "6f0c5a0e-3c1b-4d7e-9a55-2b1f0c9d8e7a".to_owned(),
        boot_ms: 1_000,
    };
    store.begin_reader(&general(), None, &now);
    let unprinted = carol.say(&["unprinted"]);
    core.save(&mut store, &unprinted);
    let path = &folder.segments(GENERAL)[0];
    replace(path, "\"printed\"", "\"prinTed\"");
    replace(path, "\"unprinted\"", "\"unprinTed\"");
    let found = audit(&store, &core);
    assert!(found.lost.iter().all(|lost| !lost.was_printed));
    store.set_damage_aside(found, &core);
    let parts = store.take_printed_parts(&general());
    let is_known = |batch: &Batch| {
        let mut known = identifying_parts(batch.as_bytes());
        known.any(|part| parts.iter().any(|it| **it == *part))
    };
    assert_eq!([&printed, &unprinted].map(is_known), [true, false]);
}

/// Marks a batch as one that only the chain of hashes proves.
fn chained(batch: &Batch) -> Batch {
    let mut batch = batch.clone();
    batch.proof = Proof::Chain;
    batch
}

/// Only a batch that would be sent now is verified: not one above a hole.
#[test]
fn no_signature_above_a_gap_is_verified() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let batches = ["one", "two", "three", "four"].map(|text| bob.say(&[text]));
    let four = chained(&falsified(&batches[3]));
    for batch in [&batches[0], &four, &batches[2], &batches[1]] {
        core.save(&mut store, batch);
    }
    store.take_suspects();
    // As much as two batches have.
    let budget = batches[0].as_bytes().len() + 1;
    let log = bob.log();
    let loaded = load_log(&store, &log, 1, &mut None, budget).unwrap();
    assert_eq!(loaded.len(), 2);
    assert!(store.take_suspects().is_empty());
}

/// Batches with a false signature count in what is read at once. However many there are, the ones
/// behind them are found.
#[test]
fn false_signatures_count_in_what_is_read_at_once() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let batches: Vec<Batch> = (0..60).map(|i| bob.say(&[&format!("line {i}")])).collect();
    for (i, batch) in batches.iter().enumerate() {
        let is_good = i == 0 || i == 59;
        let stored = if is_good {
            batch.clone()
        } else {
            chained(&falsified(batch))
        };
        core.save(&mut store, &stored);
    }
    let budget = 10 * batches[0].as_bytes().len();
    let (log, mut at, mut reads) = (bob.log(), None, 0);
    let first = load_log(&store, &log, 1, &mut at, budget).unwrap();
    assert_eq!(first.len(), 1);
    let mut cursors = [LogCursor {
        log: log.clone(),
        from: 2,
        position: at,
    }];
    let last = loop {
        reads += 1;
        assert!(reads < 100, "it reads on for ever");
        if let Some(batches) = store.load(&mut cursors, budget).unwrap().remove(0) {
            break batches;
        }
    };
    assert_eq!(last.iter().map(|it| it.sequence).collect::<Vec<_>>(), [60]);
    assert!(reads > 3, "all were verified at once");
}

/// A batch that only the chain of hashes proves is printed. When a peer needs it, its signature is
/// verified. A false one is set aside, and the line is known when it comes again with its true
/// signature. Another line with the same signature is not known.
#[test]
fn a_batch_with_a_false_signature_is_set_aside_when_a_peer_needs_it() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let batches = ["one", "two", "three", "four"].map(|text| bob.say(&[text]));
    let now = Moment {
        wall: WallTime(1_000),
        boot_id: "6f0c5a0e-3c1b-4d7e-9a55-2b1f0c9d8e7a".to_owned(),
        boot_ms: 1_000,
    };
    let two = chained(&falsified(&batches[1]));
    for batch in [&chained(&batches[0]), &two, &batches[2], &batches[3]] {
        core.save(&mut store, batch);
    }
    store.begin_reader(&general(), None, &now);
    store.take_suspects();
    assert_eq!(read_all(&store, &mut Position::default()).len(), 4);
    assert!(store.take_suspects().is_empty());
    assert!(audit(&store, &core).lost.is_empty());
    assert_eq!(load(&store, &bob.log(), 1, 1 << 20), [1, 3, 4]);
    assert_eq!(store.take_suspects(), [general()]);
    let found = audit(&store, &core);
    assert_eq!(found.lost.len(), 1);
    assert_eq!(found.lost[0].lines, 2..=2);
    apply(&mut store, &core, found);
    assert_eq!(read_all(&store, &mut Position::default()).len(), 3);
    let parts = store.take_printed_parts(&general());
    let is_known = |part: &[u8]| parts.iter().any(|it| **it == *part);
    assert!(identifying_parts(batches[1].as_bytes()).any(is_known));
    let mut of_false = identifying_parts(two.as_bytes());
    assert!(!of_false.by_ref().skip(1).any(is_known), "the signature");
    drop(store);
    let (store, ranges) = open(&folder);
    assert_eq!(ranges, core.sorted());
    assert_eq!(load(&store, &bob.log(), 1, 1 << 20), [1, 3, 4]);
}

/// A file that was cut under the running program: offsets stay valid, and what follows is stored.
#[test]
fn lines_cut_off_under_the_store_are_lost_and_later_ones_are_stored() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    for text in ["one", "two", "three"] {
        core.save(&mut store, &bob.say(&[text]));
    }
    let mut at = Position::default();
    assert_eq!(read_all(&store, &mut at).len(), 3);
    let path = folder.segments(GENERAL)[0].clone();
    let bytes = fs::read(&path).unwrap();
    let second = bytes
        .windows(5)
        .position(|part| part == b"\"two\"")
        .unwrap();
    for cut in [second, 0] {
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(cut as u64)
            .unwrap();
        core.save(&mut store, &bob.say(&["next"]));
        // A reader that had read everything gets the new line alone.
        let new = read_all(&store, &mut at);
        assert_eq!(new.len(), 1);
        assert_eq!(new[0].0.sequence, bob.head.as_ref().unwrap().sequence);
        assert_eq!(at, store.end(&general()));
    }
    let found = audit(&store, &core);
    let lost = LostLines {
        log: bob.log(),
        lines: 1..=4,
        hash_below: None,
        previous_above: bob.head.as_ref().unwrap().previous,
        was_printed: false,
    };
    assert_eq!(found.lost, [lost]);
    apply(&mut store, &core, found);
    drop(store);
    assert_eq!(open(&folder).1, core.sorted());
}

/// Reads notice damage, so that an audit follows.
#[test]
fn a_read_that_finds_damage_makes_the_folder_suspect() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    for text in ["one", "two", "three"] {
        core.save(&mut store, &bob.say(&[text]));
    }
    assert_eq!(load(&store, &bob.log(), 1, 1 << 20), [1, 2, 3]);
    store.take_suspects();
    read_all(&store, &mut Position::default());
    assert!(store.take_suspects().is_empty());
    replace(&folder.segments(GENERAL)[0], "\"two\"", "\"owt\"");
    assert_eq!(load(&store, &bob.log(), 1, 1 << 20), [1, 3]);
    assert_eq!(store.take_suspects(), [general()]);
    assert_eq!(read_all(&store, &mut Position::default()).len(), 2);
    assert_eq!(store.take_suspects(), [general()]);
    store.report_damage();
    assert_eq!(store.take_suspects(), [general()]);
}
