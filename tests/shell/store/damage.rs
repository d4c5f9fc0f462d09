//! What a start keeps of a damaged folder, what it sets aside, and what it says.
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::batch::batch_layout::identifying_parts;
use p2pchat::base::event::load::Position;
use p2pchat::base::range::LogRange;
use p2pchat::shell::store::damage::{DamageOutcome, DamageReport};
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, GENERAL, RecordedState, general, load, load_log, open, read_all, save,
};
use crate::folders::TempDir;

/// A reader that has printed all segments up to the ninth.
const READER_AT_THE_END: &str = "2026-11-21T10:31:04.123Z 6f0c5a0e-3c1b-4d7e-9a55-2b1f0c9d8e7a \
    00000000000000086400 00000000000000000009 00000000000000000000 00000000000000000000\n";

/// A folder with one segment: the given batches of bob.
fn stored(bob: &mut Author, texts: &[&str]) -> (TempDir, Vec<Batch>, PathBuf) {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let batches: Vec<Batch> = texts.iter().map(|text| bob.say(&[text])).collect();
    batches.iter().for_each(|batch| save(&mut store, batch));
    let path = folder.segments(GENERAL)[0].clone();
    (folder, batches, path)
}

/// Flips one bit of the byte `after` bytes behind the first place of `text`.
fn flip(path: &Path, text: &str, after: usize) {
    let mut bytes = fs::read(path).unwrap();
    let mut places = bytes.windows(text.len());
    let at = places.position(|part| part == text.as_bytes()).unwrap();
    bytes[at + after] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn sequences(store: &Store) -> Vec<u64> {
    let all = read_all(store, &mut Position::default());
    all.iter().map(|(batch, _)| batch.sequence).collect()
}

fn range_of(batches: &[Batch]) -> LogRange {
    let core = RecordedState::default();
    batches.iter().for_each(|batch| core.record(batch));
    core.sorted().remove(0)
}

fn set_aside_path(segment: &Path) -> PathBuf {
    segment.with_added_extension("damaged")
}

/// Wherever the bit flips in a line, that line alone is lost: its neighbours are kept, the next
/// start has nothing more to say, and new batches follow.
#[test]
fn one_flipped_bit_costs_one_batch() {
    let lines = ["one", "two", "three", "four"];
    let length = {
        let (_folder, _, path) = stored(&mut Author::new(2), &lines);
        let text = fs::read_to_string(path).unwrap();
        text.lines().nth(2).unwrap().len()
    };
    for at in (0..length).step_by(7).chain([length - 1]) {
        let mut bob = Author::new(2);
        let (folder, mut batches, path) = stored(&mut bob, &lines);
        let line = fs::read_to_string(&path).unwrap();
        let line = line.lines().nth(2).unwrap().to_owned();
        flip(&path, &line, at);
        let (mut store, ranges) = open(&folder);
        batches.remove(1);
        if ranges[0].gaps.is_empty() {
            // The signature proves the batch if only a local field is damaged.
            assert!(line[..at].contains("\"signature\":\""), "at {at}");
            assert_eq!(
                (store.take_damage(), sequences(&store)),
                (vec![], vec![1, 2, 3, 4])
            );
            continue;
        }
        assert_eq!(ranges, [range_of(&batches)], "at {at}");
        let report = DamageReport {
            path: path.clone(),
            first_number: 3,
            count: 1,
            outcome: DamageOutcome::SetAside,
        };
        assert_eq!(store.take_damage(), [report]);
        assert_eq!(sequences(&store), [1, 3, 4]);
        let mut damaged = line.into_bytes();
        damaged[at] ^= 1;
        damaged.push(b'\n');
        assert_eq!(fs::read(set_aside_path(&path)).unwrap(), damaged);
        save(&mut store, &bob.say(&["five"]));
        drop(store);
        let (mut store, ranges) = open(&folder);
        assert_eq!((ranges[0].high, ranges[0].gaps.len()), (5, 1));
        assert_eq!(store.take_damage(), []);
        assert_eq!(load(&store, &bob.log(), 1, 1 << 20), [1, 3, 4, 5]);
    }
}

/// A damaged last line, and one whose line end is damaged, are no torn tails.
#[test]
fn the_last_line_is_not_cut_off_in_silence() {
    let mut bob = Author::new(2);
    let (folder, batches, path) = stored(&mut bob, &["one", "two", "three"]);
    let bytes = fs::read(&path).unwrap();
    let last = bytes.len() - 1;
    // Only the line end: it is restored.
    let mut damaged = bytes.clone();
    damaged[last] ^= 1;
    fs::write(&path, &damaged).unwrap();
    let (mut store, ranges) = open(&folder);
    assert_eq!(
        (ranges, store.take_damage()),
        (vec![range_of(&batches)], vec![])
    );
    assert_eq!(fs::read(&path).unwrap(), bytes);
    // The text: the line is set aside.
    flip(&path, "\"three\"", 1);
    let (mut store, ranges) = open(&folder);
    assert_eq!(ranges, [range_of(&batches[..2])]);
    assert_eq!(store.take_damage().len(), 1);
    assert!(
        fs::read_to_string(set_aside_path(&path))
            .unwrap()
            .contains("\"uhree\"")
    );
}

/// A damaged line end joins two lines; both are set aside.
#[test]
fn two_joined_lines_are_one_gap() {
    let mut bob = Author::new(2);
    let (folder, batches, path) = stored(&mut bob, &["one", "two", "three", "four"]);
    let text = fs::read_to_string(&path).unwrap();
    let two = text.lines().nth(2).unwrap();
    flip(&path, two, two.len());
    let (mut store, ranges) = open(&folder);
    let kept = [batches[0].clone(), batches[3].clone()];
    assert_eq!(ranges, [range_of(&kept)]);
    assert_eq!(store.take_damage()[0].first_number, 3);
}

/// A line that cannot be a batch of its log is damage as well; lines of later versions are not.
#[test]
fn garbage_is_set_aside_and_unknown_types_stay() {
    let mut bob = Author::new(2);
    let (folder, batches, path) = stored(&mut bob, &["one", "two"]);
    let text = fs::read_to_string(&path).unwrap();
    let unknown = "{\"type\":\"note\",\"text\":\"from a later version\"}\n";
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.insert(2, "nonsense\n");
    lines.insert(3, unknown);
    lines.insert(4, "\n");
    lines.push("{\"type\":\"frontier\",\"format\":2,\"generation\":\"00000000\",\"logs\":[}\n");
    fs::write(&path, lines.concat()).unwrap();
    let (mut store, ranges) = open(&folder);
    assert_eq!(ranges, [range_of(&batches)]);
    let reports = store.take_damage();
    assert_eq!((reports[0].first_number, reports[0].count), (3, 2));
    assert!(
        reports[0]
            .to_string()
            .contains("000001.ndjson is damaged in line 3 and 1 more"),
        "{}",
        reports[0]
    );
    assert!(fs::read_to_string(&path).unwrap().contains(unknown));
    assert_eq!(sequences(&store), [1, 2]);
    // Nothing is left to say, even if all segments are read again.
    drop(store);
    for path in folder.segments(GENERAL).iter().skip(1) {
        fs::remove_file(path).unwrap();
    }
    assert_eq!(open(&folder).0.take_damage(), []);
}

/// Positions of readers stay valid when damaged lines are moved out of a segment.
#[test]
fn positions_survive_the_removal_of_damaged_lines() {
    let mut bob = Author::new(2);
    let (folder, _, path) = stored(&mut bob, &["one", "two", "three", "four"]);
    let (store, _) = open(&folder);
    let mut at = Position::default();
    let first = store.read_from(&general(), &mut at, 1).unwrap();
    let mut after_two = at;
    store.read_from(&general(), &mut after_two, 1).unwrap();
    drop(store);
    assert_eq!(first.len(), 1);
    flip(&path, "\"two\"", 1);
    for mut position in [at, after_two] {
        let (store, _) = open(&folder);
        let rest = read_all(&store, &mut position);
        let rest: Vec<u64> = rest.iter().map(|(batch, _)| batch.sequence).collect();
        assert_eq!(rest, [3, 4]);
    }
}

/// Whether a damaged copy of the batch is recognized as printed by these parts.
fn is_recognized(parts: &[Box<[u8]>], batch: &Batch) -> bool {
    identifying_parts(batch.as_bytes()).any(|part| parts.iter().any(|it| **it == *part))
}

/// Wherever the bit flips in the last line of a log, or in the line end before it, this start and
/// later ones know the batch again if the reader has printed it.
#[test]
fn a_printed_batch_is_known_after_damage_of_any_byte() {
    for at in (0..).step_by(5) {
        let mut bob = Author::new(2);
        let (folder, _, path) = stored(&mut bob, &["one"]);
        let (mut store, _) = open(&folder);
        let last = bob.say(&["two", "three"]);
        save(&mut store, &last);
        drop(store);
        let text = fs::read_to_string(&path).unwrap();
        let line = format!("\n{}", text.lines().last().unwrap());
        if at >= line.len() {
            break;
        }
        flip(&path, &line, at);
        let unprinted = TempDir::new();
        let room = unprinted.room(GENERAL);
        fs::create_dir_all(&room).unwrap();
        fs::copy(&path, room.join("000001.ndjson")).unwrap();
        fs::write(folder.room(GENERAL).join("reader"), READER_AT_THE_END).unwrap();
        for start in 0..2 {
            let (mut store, ranges) = open(&folder);
            let parts = store.take_printed_parts(&general());
            let is_damaged = ranges.first().is_none_or(|range| range.high < 3);
            assert_eq!(is_recognized(&parts, &last), is_damaged, "{at}, {start}");
            let (mut store, _) = open(&unprinted);
            assert!(store.take_printed_parts(&general()).is_empty());
        }
    }
}

/// The first line of a log is destroyed as a whole. If the reader has printed the line after it,
/// it has printed the lost one, too: it does not print that again when a peer sends it.
#[test]
fn a_lost_first_line_below_a_printed_one_was_printed() {
    for is_printed in [false, true] {
        let mut bob = Author::new(2);
        let (folder, _, path) = stored(&mut bob, &["one", "two"]);
        let text = fs::read_to_string(&path).unwrap();
        let first = text.lines().nth(1).unwrap();
        let destroyed = text.replace(first, &"\0".repeat(first.len()));
        fs::write(&path, destroyed).unwrap();
        if is_printed {
            fs::write(folder.room(GENERAL).join("reader"), READER_AT_THE_END).unwrap();
        }
        let (_, ranges) = open(&folder);
        let [gap] = ranges[0].gaps[..] else {
            panic!("{ranges:?}");
        };
        assert_eq!((gap.from, gap.to, gap.was_printed), (1, 1, is_printed));
    }
}

/// A newcomer has stored the newest lines of a log as history, and its disk loses the first of
/// them. They become a gap, and are fetched again, unless the log is longer than what a newcomer
/// requests: the lines before may never have been stored.
#[test]
fn lost_first_lines_of_history_become_a_gap() {
    for (first, is_damaged, is_gap) in [
        (1, true, true),
        (600, true, true),
        (600, false, false),
        (1_100, true, false),
    ] {
        let mut bob = Author::new(2);
        let folder = TempDir::new();
        let (mut store, _) = open(&folder);
        let batches: Vec<Batch> = (0..first + 2)
            .map(|n| bob.say(&[&format!("{n}")]))
            .collect();
        for batch in &batches[first - 1..] {
            let backfill = true;
            let local = LocalFields {
                backfill,
                ..LocalFields::default()
            };
            store.save(batch, local).unwrap();
        }
        drop(store);
        if is_damaged {
            let text = format!("\"{}\"", first - 1);
            flip(&folder.segments(GENERAL)[0], &text, 1);
        }
        let (_, ranges) = open(&folder);
        let gaps: Vec<(u64, u64)> = ranges[0]
            .gaps
            .iter()
            .map(|gap| (gap.from, gap.to))
            .collect();
        let expected = is_gap.then_some((1, first as u64));
        assert_eq!(gaps, Vec::from_iter(expected), "{first} {is_damaged}");
    }
}

/// The parts of the last lines are known, however many are damaged.
#[test]
fn the_parts_of_printed_batches_are_bounded() {
    let mut bob = Author::new(2);
    let (folder, _, path) = stored(&mut bob, &["one"]);
    let batches: Vec<Batch> = (0..300).map(|_| bob.say(&["more"])).collect();
    let lines: Vec<&[u8]> = batches.iter().map(Batch::as_bytes).collect();
    fs::write(
        path.with_added_extension("printed.damaged"),
        lines.join(&b'\n'),
    )
    .unwrap();
    let parts = open(&folder).0.take_printed_parts(&general());
    assert_eq!(parts.len(), 512);
    assert!(is_recognized(&parts, &batches[299]) && !is_recognized(&parts, &batches[0]));
}

/// The files with damaged lines are bounded: the oldest goes first.
#[test]
fn files_with_damaged_lines_are_bounded() {
    let mut bob = Author::new(2);
    let (folder, _, path) = stored(&mut bob, &["one", "two", "three"]);
    let room = folder.room(GENERAL);
    fs::write(room.join("000000.ndjson.damaged"), vec![0; 3 << 20]).unwrap();
    fs::write(room.join("000007.ndjson.damaged"), vec![0; 3 << 20]).unwrap();
    flip(&path, "\"two\"", 1);
    open(&folder);
    assert!(!room.join("000000.ndjson.damaged").exists());
    assert!(room.join("000007.ndjson.damaged").exists());
    assert!(set_aside_path(&path).exists());
}

/// What has the name of a segment and is none is named once at each start, never opened, and never
/// in the way of new segments.
#[test]
fn odd_objects_are_named_and_passed_over() {
    let mut bob = Author::new(2);
    let (folder, batches, path) = stored(&mut bob, &["one", "two"]);
    let room = folder.room(GENERAL);
    let odd = |name: &str| room.join(name);
    fs::create_dir(odd("000002.ndjson")).unwrap();
    fs::create_dir(odd("000001.tmp")).unwrap();
    mkfifo(&odd("000003.ndjson"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    mkfifo(&odd("000004.tmp"), Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    symlink("nowhere", odd("000005.ndjson")).unwrap();
    symlink(&path, odd("000006.ndjson")).unwrap();
    for name in [
        "0000001.ndjson",
        "1.ndjson",
        "000000.ndjson",
        "99999999999999.ndjson",
        "18446744073709551615.ndjson",
        "99999999999999999999999.ndjson",
    ] {
        fs::copy(&path, odd(name)).unwrap();
    }
    let (mut store, ranges) = open(&folder);
    assert_eq!(ranges, [range_of(&batches)]);
    let reports = store.take_damage();
    assert_eq!(reports.len(), 12, "{reports:#?}");
    for report in &reports {
        let sentence = report.to_string();
        assert!(
            sentence.ends_with("is passed over: move it away"),
            "{sentence}"
        );
    }
    // New segments get numbers behind all of them.
    let core = RecordedState::default();
    core.record(&batches[0]);
    core.record(&batches[1]);
    for n in 0..30 {
        core.save(&mut store, &bob.say(&[&format!("{n} {}", "x".repeat(100))]));
    }
    assert_eq!(sequences(&store), (1..=32).collect::<Vec<u64>>());
    assert!(odd("000007.ndjson").is_file() && odd("000008.ndjson").is_file());
    let request = store.audit_request(&general(), &core).unwrap();
    assert!(request.run().unwrap().lost.is_empty());
    drop(store);
    assert_eq!(open(&folder).1, core.sorted());
    // A segment that is replaced under the running store does not block it either.
    let (store, _) = open(&folder);
    fs::remove_file(&path).unwrap();
    mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
    assert!(load_log(&store, &bob.log(), 1, &mut None, 1).is_err());
    let request = store.audit_request(&general(), &core).unwrap();
    assert!(!request.run().unwrap().lost.is_empty());
}
