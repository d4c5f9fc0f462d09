//! The store: what is saved comes back, whatever ended the run, and what is over a quota goes, and nothing else.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Instant;

use p2pchat::base::batch::{Batch, LocalFields, LogId, UnsignedBatch};
use p2pchat::base::event::{Position, StoredBatch};
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{FolderName as Part, Nick, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::base::time::WallTime;
use p2pchat::shell::store::eviction::EvictedLog;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::read_only::ReadOnlyStore;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::segment::segment_file;
use p2pchat::shell::store::store::Store;

use crate::folders::TempDir;

const NET: NetworkTag = NetworkTag::OPEN;
const GENERAL: &str = "#general";

/// An author and its log, in #general if nothing else is said.
struct Author {
    identity: Identity,
    incarnation: u64,
    target: Target,
    head: Option<Batch>,
}

impl Author {
    fn new(seed: u8) -> Author {
        Author {
            identity: Identity::from_seed(&[seed; 32]),
            incarnation: u64::from(seed),
            target: Target::Room(Room::general()),
            head: None,
        }
    }

    fn id(&self) -> PeerId {
        self.identity.id()
    }

    fn log(&self) -> LogId {
        LogId {
            target: self.target.clone(),
            author: self.id(),
            incarnation: self.incarnation,
        }
    }

    fn say(&mut self, lines: &[&str]) -> Batch {
        let mut text = Lines::default();
        for line in lines {
            text.push(line.as_bytes()).unwrap();
        }
        let sequence = self
            .head
            .as_ref()
            .map_or(1, |head| head.last_sequence() + 1);
        let draft = UnsignedBatch {
            log: self.log(),
            username: Nick::new("alice").unwrap(),
            sequence,
            lamport: sequence + 100,
            timestamp: WallTime(1_000),
            previous: self.head.as_ref().map(|head| head.hash),
            action: false,
            lines: &text,
            sealed: self.target.recipient().map(|_| "AAAA"),
        };
        let batch = Batch::sign(&self.identity, &NET, draft);
        self.head = Some(batch.clone());
        batch
    }

    fn range(&self, low: u64) -> LogRange {
        let head = self.head.as_ref().unwrap();
        LogRange {
            log: self.log(),
            low,
            high: head.last_sequence(),
            hash: head.hash,
            lamport: head.lamport + head.count - 1,
            gaps: Vec::new(),
        }
    }
}

fn general() -> Part {
    Part::from(&Room::general())
}

/// A core that knows what it was told.
#[derive(Default)]
struct Told {
    ranges: RefCell<BTreeMap<LogId, LogRange>>,
    floors: BTreeMap<LogId, u64>,
    known: Vec<PeerId>,
}

impl ReplicationState for Told {
    fn frontier(&self, part: &Part) -> Vec<LogRange> {
        let ranges = self.ranges.borrow();
        let own = Author::new(1).id();
        let here = |r: &&LogRange| Part::for_log(&r.log.target, &r.log.author, &own) == *part;
        ranges.values().filter(here).cloned().collect()
    }
    fn retention_floor(&self, log: &LogId) -> u64 {
        self.floors.get(log).copied().unwrap_or(u64::MAX)
    }
    fn is_acknowledged(&self, _: &Part) -> bool {
        true
    }
    fn is_known(&self, peer: &PeerId) -> bool {
        self.known.contains(peer)
    }
}

impl Told {
    /// Saves, tells, and ends the turn.
    fn save(&self, store: &mut Store, batch: &Batch) -> Vec<EvictedLog> {
        store.save(batch, LocalFields::default()).unwrap();
        self.note(batch);
        let dropped = store.enforce_limits(self).unwrap();
        for EvictedLog { log, first_kept } in &dropped {
            if let Some(range) = self.ranges.borrow_mut().get_mut(log) {
                range.evict_below(*first_kept);
            }
        }
        dropped
    }

    fn note(&self, batch: &Batch) {
        let mut ranges = self.ranges.borrow_mut();
        let range = ranges.entry(batch.log.clone()).or_insert(LogRange {
            log: batch.log.clone(),
            low: batch.sequence,
            high: 0,
            hash: batch.hash,
            lamport: 0,
            gaps: Vec::new(),
        });
        if batch.last_sequence() <= range.high {
            range.fill_gap(batch);
            return;
        }
        if batch.sequence > range.high + 1 {
            range.skip_to(batch);
        }
        range.high = batch.last_sequence();
        range.hash = batch.hash;
        range.lamport = batch.lamport + batch.count - 1;
    }

    fn sorted(&self) -> Vec<LogRange> {
        self.ranges.borrow().values().cloned().collect()
    }
}

fn open_with(folder: &TempDir, clean: bool, limits: StoreLimits) -> (Store, Vec<LogRange>) {
    let own = Author::new(1).id();
    let mut store = Store::open(&folder.0, NET, own, clean, limits).unwrap();
    let ranges = store.open_folder(&general()).unwrap();
    (store, ranges)
}

fn open(folder: &TempDir) -> (Store, Vec<LogRange>) {
    open_with(folder, false, small())
}

/// Segments of 4 KiB: about nine lines.
fn small() -> StoreLimits {
    StoreLimits {
        segment_bytes: 4096,
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    }
}

/// All of a log from `from`, read in pieces.
fn load(store: &Store, log: &LogId, mut from: u64, budget: usize) -> Vec<u64> {
    let (mut sequences, mut at) = (Vec::new(), None);
    loop {
        let batches = store.load(log, from, &mut at, budget).unwrap();
        let Some(last) = batches.last() else {
            return sequences;
        };
        from = last.last_sequence() + 1;
        sequences.extend(batches.iter().map(|batch| batch.sequence));
    }
}

fn read_all(store: &Store, at: &mut Position) -> Vec<(Batch, LocalFields)> {
    let mut all = Vec::new();
    loop {
        let some = store.read_from(&general(), at, 700).unwrap();
        if some.is_empty() {
            return all;
        }
        all.extend(some.into_iter().map(|stored| (stored.batch, stored.local)));
    }
}

fn numbers(batches: &[(Batch, LocalFields)]) -> Vec<(PeerId, u64)> {
    let name = |(batch, _): &(Batch, LocalFields)| (batch.log.author, batch.sequence);
    batches.iter().map(name).collect()
}

/// `count` batches of a line each of both, in turn.
fn fill(store: &mut Store, told: &Told, authors: &mut [Author], count: usize) {
    for i in 0..count {
        for author in authors.iter_mut() {
            let text = format!("line {i} {}", "x".repeat(100));
            told.save(store, &author.say(&[&text]));
        }
    }
}

#[test]
fn what_is_saved_comes_back_with_its_local_fields() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, ranges) = open(&folder);
    assert!(ranges.is_empty() && !store.existed_before(&general()));
    let local = LocalFields {
        received: WallTime(5_000),
        late: true,
        before_start: true,
        backfill: false,
    };
    let batch = bob.say(&["one", "two \"quoted\" ☃"]);
    store.save(&batch, local).unwrap();
    let all = read_all(&store, &mut Position::default());
    assert_eq!((all[0].0.as_bytes(), all[0].1), (batch.as_bytes(), local));
    drop(store);
    let (store, ranges) = open(&folder);
    assert_eq!(ranges, [bob.range(1)]);
    assert!(store.existed_before(&general()));
    let batches = store.load(&bob.log(), 2, &mut None, 1).unwrap();
    assert_eq!(batches[0].as_bytes(), batch.as_bytes());
}

#[test]
fn a_room_that_is_not_open_takes_nothing() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let mut bob = Author::new(2);
    let mut batch = bob.say(&["hi"]);
    batch.log.target = Target::Room(Room::new("ops").unwrap());
    assert!(store.save(&batch, LocalFields::default()).is_err());
    assert!(
        store
            .open_folder(&Part::from(&Room::new("ops").unwrap()))
            .unwrap()
            .is_empty()
    );
    assert!(store.save(&batch, LocalFields::default()).is_ok());
}

#[test]
fn segments_rotate_and_only_the_last_is_read_at_start() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &told, &mut authors, 30);
    drop(store);
    let segments = folder.segments(GENERAL);
    assert!(segments.len() > 4, "{segments:?}");
    for path in &segments {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("{\"type\":\"frontier\","));
        assert!(text.len() < 4096 + 2 * 1024);
    }
    // What older segments hold plays no part.
    for path in &segments[..segments.len() - 1] {
        fs::write(path, "").unwrap();
    }
    let (_, ranges) = open(&folder);
    assert_eq!(ranges, told.sorted());
}

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    store
        .save(&bob.say(&["first"]), LocalFields::default())
        .unwrap();
    let before = bob.range(1);
    let path = folder.segments(GENERAL)[0].clone();
    let whole = fs::metadata(&path).unwrap().len();
    store
        .save(&bob.say(&["second"]), LocalFields::default())
        .unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    for end in whole as usize..bytes.len() {
        for zeros in [0, 300] {
            let mut torn = bytes[..end].to_vec();
            torn.resize(end + zeros, 0);
            fs::write(&path, torn).unwrap();
            let (mut store, ranges) = open_with(&folder, end % 2 == 0, small());
            assert_eq!(
                ranges.as_slice(),
                std::slice::from_ref(&before),
                "cut at {end}"
            );
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
            // The next line follows as if nothing had been.
            let mut next = Author::new(2);
            next.say(&["first"]);
            store
                .save(&next.say(&["again"]), LocalFields::default())
                .unwrap();
            assert_eq!(load(&store, &next.log(), 1, 1), [1, 2]);
        }
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&folder).1, [bob.range(1)]);
}

#[test]
fn a_new_segment_without_its_first_line_does_not_count() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    store
        .save(&bob.say(&["one"]), LocalFields::default())
        .unwrap();
    drop(store);
    let next = folder.room(GENERAL).join("000002.ndjson");
    for half in [&b""[..], b"{\"type\":\"frontier\",\"gen", &[0; 500]] {
        fs::write(&next, half).unwrap();
        assert_eq!(open(&folder).1, [bob.range(1)]);
        assert!(!next.exists());
    }
}

#[test]
fn a_flipped_bit_ends_what_is_believed_before_it() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    let mut ranges = Vec::new();
    for text in ["one", "two", "three", "four"] {
        store
            .save(&bob.say(&[text]), LocalFields::default())
            .unwrap();
        ranges.push(bob.range(1));
    }
    drop(store);
    let path = folder.segments(GENERAL)[0].clone();
    let bytes = fs::read(&path).unwrap();
    for (i, text) in ["two", "three", "four"].iter().enumerate() {
        let needle = format!("\"content\":\"{text}\"");
        let at = String::from_utf8(bytes.clone())
            .unwrap()
            .find(&needle)
            .unwrap();
        let mut damaged = bytes.clone();
        damaged[at + needle.len() - 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(open(&folder).1, [ranges[i].clone()], "{text}");
        // A clean end spares the last signature; the chain is checked all the same.
        fs::write(&path, &damaged).unwrap();
        let clean = open_with(&folder, true, small()).1;
        assert_eq!(
            clean[0].high,
            if *text == "four" { 4 } else { i as u64 + 1 }
        );
    }
}

#[test]
fn each_folder_is_believed_once_after_a_clean_end() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let ops = Part::from(&Room::new("ops").unwrap());
    bob.target = Target::Room(Room::new("ops").unwrap());
    let (mut store, _) = open(&folder);
    store.open_folder(&ops).unwrap();
    store
        .save(&bob.say(&["one"]), LocalFields::default())
        .unwrap();
    drop(store);
    let path = folder.segments("#ops")[0].clone();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"one\"", "\"two\"")).unwrap();
    let (mut store, _) = open_with(&folder, true, small());
    assert_eq!(store.open_folder(&ops).unwrap()[0].high, 1);
    // This run has left no mark yet: nothing speaks for what it wrote but the signatures.
    assert!(store.open_folder(&ops).unwrap().is_empty());
}

#[test]
fn a_damaged_frontier_is_made_up_from_the_segment_before() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &told, &mut authors, 20);
    drop(store);
    for damaged in 1..=folder.segments(GENERAL).len() {
        let segments = folder.segments(GENERAL);
        let path = &segments[segments.len() - damaged];
        let mut bytes = fs::read(path).unwrap();
        bytes[60] ^= 1;
        fs::write(path, bytes).unwrap();
        let (mut store, ranges) = open(&folder);
        assert_eq!(ranges, told.sorted());
        assert_eq!(load(&store, &authors[0].log(), 1, 1).len(), 20);
        // The next start needs no such help.
        let (again, same) = open(&folder);
        assert_eq!((same, again.printed_position(&general())), (ranges, None));
        let mut reader = authors[0].log();
        reader.incarnation = 9;
        assert!(store.load(&reader, 1, &mut None, 1).unwrap().is_empty());
        assert!(store.enforce_limits(&told).unwrap().is_empty());
    }
}

#[test]
fn garbage_is_no_reason_to_fail() {
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
        fs::write(folder.room(GENERAL).join("printed"), text).unwrap();
        let (mut store, ranges) = open(&folder);
        assert!(ranges.is_empty());
        let mut bob = Author::new(2);
        store
            .save(&bob.say(&["on"]), LocalFields::default())
            .unwrap();
        assert_eq!(load(&store, &bob.log(), 1, 1), [1]);
        let mut at = store.printed_position(&general()).unwrap();
        assert_eq!(read_all(&store, &mut at).len(), 1);
        fs::remove_dir_all(folder.room(GENERAL)).unwrap();
        fs::create_dir_all(folder.room(GENERAL)).unwrap();
    }
}

#[test]
fn a_log_is_read_from_any_line_across_segments() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3), Author::new(4)];
    let mut starts = Vec::new();
    for i in 0..40 {
        for author in &mut authors {
            // Batches of one to three lines.
            let lines = &["a", "b", "c"][..i % 3 + 1];
            let batch = author.say(lines);
            starts.push(batch.sequence);
            told.save(&mut store, &batch);
        }
    }
    let starts: Vec<u64> = starts.into_iter().step_by(3).collect();
    let high = authors[1].head.as_ref().unwrap().last_sequence();
    for from in 1..=high + 1 {
        let first = starts.partition_point(|start| *start <= from) - 1;
        let expected = if from > high { &[] } else { &starts[first..] };
        for budget in [1, 3000, usize::MAX] {
            let got = load(&store, &authors[1].log(), from, budget);
            assert_eq!(got, expected, "from {from}");
        }
    }
}

#[test]
fn a_silent_log_is_found_without_reading_all_between() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut quiet = Author::new(5);
    told.save(&mut store, &quiet.say(&["first"]));
    fill(&mut store, &told, &mut [Author::new(2)], 100);
    told.save(&mut store, &quiet.say(&["second"]));
    // All that lies between is not looked at: a copy that lies there is not found.
    let mut copy = Vec::new();
    let second = quiet.head.as_ref().unwrap();
    second.write_stored(LocalFields::default(), &mut copy);
    let segments = folder.segments(GENERAL);
    for path in &segments[1..segments.len() - 3] {
        let mut text = fs::read(path).unwrap();
        text.extend_from_slice(&copy);
        fs::write(path, text).unwrap();
    }
    let mut at = None;
    store.load(&quiet.log(), 1, &mut at, 1).unwrap();
    for mut at in [None, at] {
        let batches = store.load(&quiet.log(), 2, &mut at, 1).unwrap();
        assert_eq!(batches[0].as_bytes(), second.as_bytes());
        assert_eq!(at.unwrap().segment, store.end(&general()).segment);
    }
    assert_eq!(load(&store, &quiet.log(), 1, 1), [1, 2]);
    assert_eq!(load(&store, &quiet.log(), 2, 1), [2]);
}

#[test]
fn a_position_sees_what_comes_later() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut bob = Author::new(2);
    let (mut at, mut printed) = (None, store.end(&general()));
    let none = store.load(&bob.log(), 1, &mut at, 1000).unwrap();
    assert!(none.is_empty());
    for i in 1..=50 {
        told.save(&mut store, &bob.say(&["x".repeat(200).as_str()]));
        let batches = store.load(&bob.log(), i, &mut at, 1000).unwrap();
        assert_eq!(batches[0].sequence, i);
        assert_eq!(batches.len(), 1);
        let none = store.load(&bob.log(), i + 1, &mut at, 1000).unwrap();
        assert!(none.is_empty());
        assert_eq!(numbers(&read_all(&store, &mut printed)), [(bob.id(), i)]);
        assert_eq!(printed, store.end(&general()));
    }
    assert!(folder.segments(GENERAL).len() > 3);
}

/// As a block of the medium that went bad: it is there, and cannot be read.
fn spoil(segment: &Path) {
    fs::remove_file(segment).unwrap();
    fs::create_dir(segment).unwrap();
}

#[test]
fn what_cannot_be_read_is_passed_over_and_told_once() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &told, &mut authors, 30);
    let before = numbers(&read_all(&store, &mut Position::default()));
    let segments = folder.segments(GENERAL);
    spoil(&segments[2]);
    spoil(&segments[4]);
    let (mut seen, mut refused, mut at) = (Vec::new(), 0, Position::default());
    while at != store.end(&general()) {
        match store.read_from(&general(), &mut at, 700) {
            Ok(some) => seen.extend(some.iter().map(|s| (s.batch.log.author, s.batch.sequence))),
            Err(_) => refused += 1,
        }
    }
    assert_eq!(refused, 2);
    assert!(seen.len() > 30 && seen.len() < 60, "{}", seen.len());
    assert!(before.starts_with(&seen[..10]) && before.ends_with(&seen[seen.len() - 10..]));
    for author in &authors {
        let log = author.log();
        let (mut sequences, mut refused, mut at) = (Vec::new(), 0, None);
        loop {
            let from = sequences.last().map_or(1, |last| last + 1);
            match store.load(&log, from, &mut at, 700) {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => sequences.extend(batches.iter().map(|batch| batch.sequence)),
                Err(_) => refused += 1,
            }
        }
        let theirs = seen.iter().filter(|(id, _)| *id == log.author);
        assert!(
            sequences
                .iter()
                .copied()
                .eq(theirs.map(|(_, number)| *number))
        );
        assert_eq!(refused, 2);
    }
}

#[test]
fn a_segment_that_a_quota_takes_while_others_read_is_no_obstacle() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    fill(&mut store, &Told::default(), &mut [Author::new(2)], 30);
    let mut view = Store::read_only(ReadOnlyStore::new(&folder.0, NET, false));
    view.open_folder_read_only(&general(), store.end(&general()));
    fs::remove_file(&folder.segments(GENERAL)[1]).unwrap();
    let numbers = numbers(&read_all(&view, &mut Position::default()));
    assert!(numbers.len() < 30 && numbers.last() == Some(&(Author::new(2).id(), 30)));
    // It goes between being listed and being looked at.
    let room = folder.room(GENERAL);
    let taken = segment_file::path(&room, 99);
    let quota = thread::spawn(move || {
        for _ in 0..5_000 {
            fs::write(&taken, "").unwrap();
            fs::remove_file(&taken).unwrap();
        }
    });
    while !quota.is_finished() {
        segment_file::list(&room).unwrap();
    }
    quota.join().unwrap();
}

#[test]
fn over_quota_the_oldest_of_the_flooder_go_and_nothing_else() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        author_bytes: 16 * 1024,
        ..small()
    };
    let (mut store, _) = open_with(&folder, false, limits);
    let told = Told::default();
    let (mut bob, mut flooder) = (Author::new(2), Author::new(3));
    let (mut low, mut cursors) = (1, Vec::new());
    for i in 0..300 {
        if i % 10 == 0 {
            told.save(&mut store, &bob.say(&["quiet"]));
        }
        if i == 100 {
            // Readers stop everywhere in what will be rewritten, some of it more than once.
            let mut at = Position::default();
            while let [StoredBatch { batch, .. }] =
                &store.read_from(&general(), &mut at, 1).unwrap()[..]
            {
                cursors.push((at, (batch.log.author, batch.sequence)));
            }
            assert!(cursors.len() > 40);
        }
        for EvictedLog {
            log,
            first_kept: dropped,
        } in told.save(&mut store, &flooder.say(&["x".repeat(100).as_str()]))
        {
            assert_eq!(log, flooder.log());
            assert!(dropped > low);
            low = dropped;
        }
    }
    assert!(low > 200, "{low}");
    assert_eq!(load(&store, &bob.log(), 1, 5000).len(), 30);
    let held: Vec<u64> = (low..=300).collect();
    assert_eq!(load(&store, &flooder.log(), 1, 5000), held);
    let stored: u64 = folder
        .segments(GENERAL)
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    assert!(stored < 16 * 1024 + 30 * 500 + 40 * 1024, "{stored}");
    // Each reads on exactly where it stopped, without what is gone.
    let mut rest = numbers(&read_all(&store, &mut Position::default()));
    assert_eq!(rest.len(), 30 + held.len());
    for (mut at, read) in cursors {
        rest.retain(|n| *n != read);
        assert_eq!(numbers(&read_all(&store, &mut at)), rest, "behind {read:?}");
    }
    assert_eq!(rest[0], (bob.id(), 12));
    drop(store);
    assert_eq!(open_with(&folder, false, limits).1, told.sorted());
}

#[test]
fn what_a_peer_lacks_of_our_own_stays_and_stdin_waits() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        own_bytes: 8 * 1024,
        ..small()
    };
    let (mut store, _) = open_with(&folder, false, limits);
    let mut told = Told::default();
    let mut own = Author::new(1);
    told.floors.insert(own.log(), 5);
    let mut said = 0;
    while !store.is_full() {
        for EvictedLog {
            first_kept: low, ..
        } in told.save(&mut store, &own.say(&["x".repeat(100).as_str()]))
        {
            assert!(low <= 5);
        }
        said += 1;
        assert!(said < 100);
    }
    assert!(said > 8 * 1024 / 600);
    let held: Vec<u64> = (5..=said).collect();
    assert_eq!(load(&store, &own.log(), 5, 1000), held);
    assert!(store.enforce_limits(&told).unwrap().is_empty() && store.is_full());
    // The peer has caught up: there is room again.
    told.floors.insert(own.log(), said + 1);
    let dropped = store.enforce_limits(&told).unwrap();
    assert!(dropped[0].first_kept > 5 && !store.is_full());
}

#[test]
fn of_too_much_in_all_the_unknown_lose_first() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        total_bytes: Some(64 * 1024),
        ..small()
    };
    let (mut store, _) = open_with(&folder, false, limits);
    let (own, friend, small, large) = (1, 2, 3, 4);
    let told = Told {
        known: vec![Author::new(friend).id()],
        ..Told::default()
    };
    let mut authors: Vec<Author> = [own, friend, small, large].map(Author::new).into();
    let ids: Vec<PeerId> = authors.iter().map(Author::id).collect();
    let mut lost: Vec<PeerId> = Vec::new();
    for i in 0..60 {
        for n in 0..authors.len() {
            if n == 2 && i % 6 > 0 {
                continue;
            }
            let batch = authors[n].say(&["x".repeat(50).as_str()]);
            let dropped = told.save(&mut store, &batch);
            let now: Vec<PeerId> = dropped.iter().map(|evicted| evicted.log.author).collect();
            if lost.is_empty() && !now.is_empty() {
                assert_eq!(now, [ids[3]], "the largest unknown one loses first");
            }
            if now.contains(&ids[1]) {
                for unknown in &authors[2..] {
                    assert!(load(&store, &unknown.log(), 1, 1).is_empty());
                }
            }
            lost.extend(now);
        }
    }
    assert!(lost.contains(&ids[1]) && !lost.contains(&ids[0]));
    assert_eq!(load(&store, &authors[0].log(), 1, 1).len(), 60);
}

#[test]
fn printed_survives_and_stays_within_what_is_there() {
    let folder = TempDir::new();
    let room = general();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    assert_eq!(store.printed_position(&room), None);
    store
        .save(&bob.say(&["one"]), LocalFields::default())
        .unwrap();
    let after_one = store.end(&room);
    store.set_printed_position(&room, after_one).unwrap();
    store
        .save(&bob.say(&["two"]), LocalFields::default())
        .unwrap();
    let after_two = store.end(&room);
    drop(store);
    let (mut store, _) = open(&folder);
    let mut at = store.printed_position(&room).unwrap();
    assert_eq!(at, after_one);
    assert_eq!(numbers(&read_all(&store, &mut at)), [(bob.id(), 2)]);
    store.set_printed_position(&room, after_two).unwrap();
    drop(store);
    // A power cut took the second line, and it came again.
    let path = folder.segments(GENERAL)[0].clone();
    let cut = fs::OpenOptions::new().write(true).open(path).unwrap();
    cut.set_len(after_one.offset).unwrap();
    let (mut store, _) = open(&folder);
    let mut at = store.printed_position(&room).unwrap();
    assert_eq!(at, after_one);
    store
        .save(bob.head.as_ref().unwrap(), LocalFields::default())
        .unwrap();
    assert_eq!(numbers(&read_all(&store, &mut at)), [(bob.id(), 2)]);
}

#[test]
fn in_memory_the_oldest_foreign_lines_go_first() {
    let (mut own, mut bob) = (Author::new(1), Author::new(2));
    let limits = StoreLimits {
        memory_bytes: 20_000,
        ..StoreLimits::default()
    };
    let mut store = Store::in_memory(own.id(), NET, limits);
    assert!(
        store
            .save(&bob.say(&["early"]), LocalFields::default())
            .is_err()
    );
    bob.head = None;
    store.open_folder(&general()).unwrap();
    let mut told = Told::default();
    told.floors.insert(own.log(), 1);
    let mut low = 1;
    for i in 0..60 {
        if i % 3 == 0 {
            told.save(&mut store, &own.say(&["ours"]));
        }
        for evicted in told.save(&mut store, &bob.say(&["x".repeat(50).as_str()])) {
            assert_eq!(evicted.log, bob.log());
            low = evicted.first_kept;
        }
    }
    assert!(low > 10 && !store.is_full());
    let held: Vec<u64> = (low..=60).collect();
    assert_eq!(load(&store, &bob.log(), 1, 1), held);
    assert_eq!(load(&store, &own.log(), 1, 1).len(), 20);
    let mut at = Position::default();
    assert_eq!(read_all(&store, &mut at).len(), 20 + held.len());
    assert_eq!(at, store.end(&general()));
    assert!(!store.existed_before(&general()));
    assert_eq!(store.open_folder(&general()).unwrap(), told.sorted());
    assert!(store.existed_before(&general()));
    while !store.is_full() {
        told.save(&mut store, &own.say(&["x".repeat(100).as_str()]));
        assert!(own.head.as_ref().unwrap().sequence < 100);
    }
    told.floors.clear();
    assert!(!store.enforce_limits(&told).unwrap().is_empty());
    assert!(!store.is_full());
}

/// A core whose peers lack all, and that counts how often it is asked.
#[derive(Default)]
struct Asked(Cell<usize>);

impl ReplicationState for Asked {
    fn frontier(&self, _: &Part) -> Vec<LogRange> {
        Vec::new()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        self.0.set(self.0.get() + 1);
        1
    }
    fn is_acknowledged(&self, _: &Part) -> bool {
        true
    }
    fn is_known(&self, _: &PeerId) -> bool {
        true
    }
}

#[test]
fn in_memory_at_the_bound_a_turn_asks_once_a_log() {
    let mut own = Author::new(1);
    let mut store = Store::in_memory(own.id(), NET, StoreLimits::default());
    store.open_folder(&general()).unwrap();
    let lines = vec!["x".repeat(60); 8];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    while !store.is_full() {
        store
            .save(&own.say(&lines), LocalFields::default())
            .unwrap();
    }
    let core = Asked::default();
    assert!(store.enforce_limits(&core).unwrap().is_empty());
    assert_eq!(core.0.get(), 1);
}

#[test]
fn a_clean_end_makes_the_next_start_quick() {
    let folder = TempDir::new();
    let limits = StoreLimits::default();
    let (mut store, _) = open_with(&folder, false, limits);
    let told = Told::default();
    let mut bob = Author::new(2);
    let text = "x".repeat(8000);
    for _ in 0..120 {
        told.save(&mut store, &bob.say(&[&text]));
    }
    store.close(&told).unwrap();
    let path = folder.segments(GENERAL)[0].clone();
    assert_eq!(folder.segments(GENERAL).len(), 1);
    // What stands before the last frontier is not read again.
    let mut bytes = fs::read(&path).unwrap();
    let damaged = bytes.len() / 2;
    bytes[damaged] ^= 1;
    fs::write(&path, bytes).unwrap();
    let begun = Instant::now();
    let (store, ranges) = open_with(&folder, true, limits);
    eprintln!("opened in {:?}", begun.elapsed());
    assert_eq!(ranges, [bob.range(1)]);
    // A short run leaves no further frontier.
    let size = fs::metadata(&path).unwrap().len();
    store.close(&told).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), size);
}

#[test]
fn a_full_disk_takes_all_of_a_batch_or_nothing() {
    let folder = TempDir::new();
    // In a mount namespace of its own, this test runs again with a file system of 1 MiB.
    let Some(dir) = std::env::var_os("P2PCHAT_TEST_FULL_DISK") else {
        let script = "mount -t tmpfs -o size=1m tmpfs \"$P2PCHAT_TEST_FULL_DISK\" && exec \"$@\"";
        let child = Command::new("unshare")
            .args(["-r", "-m", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::a_full_disk_takes_all_of_a_batch_or_nothing",
            ])
            .env("P2PCHAT_TEST_FULL_DISK", &folder.0)
            .output()
            .expect("unshare of util-linux is needed");
        let printed = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && printed.contains("1 passed"),
            "needs the right to make a mount namespace: {printed}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        return;
    };
    let dir = Path::new(&dir);
    let (mut bob, mut carol) = (Author::new(2), Author::new(3));
    let open = || {
        let own = Author::new(1).id();
        let mut store = Store::open(dir, NET, own, false, StoreLimits::default()).unwrap();
        let ranges = store.open_folder(&general()).unwrap();
        (store, ranges)
    };
    let (mut store, _) = open();
    let text = "x".repeat(15_000);
    let mut saved = 0;
    let error = loop {
        match store.save(&bob.say(&[&text, &text]), LocalFields::default()) {
            Ok(()) => saved += 1,
            Err(e) => break e,
        }
        assert!(saved < 100);
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(store.is_full() && saved > 10);
    // What is small still fits, and follows on a whole line.
    store
        .save(&carol.say(&["hi"]), LocalFields::default())
        .unwrap();
    let all = read_all(&store, &mut Position::default());
    assert_eq!(all.len(), saved + 1);
    drop(store);
    let (_, ranges) = open();
    let highs: BTreeMap<PeerId, u64> = ranges.iter().map(|r| (r.log.author, r.high)).collect();
    assert_eq!(highs[&bob.id()], saved as u64 * 2);
    assert_eq!(highs[&carol.id()], 1);
}

/// Ours to bob, bob's to us, and bob's to carol: each is found again with its reader, also behind a new segment's frontier.
#[test]
fn direct_messages_have_folders_of_their_own() {
    let folder = TempDir::new();
    let to = |seed: u8, reader: u8| Author {
        target: Target::Peer(Author::new(reader).id()),
        ..Author::new(seed)
    };
    let (mut ours, mut his, mut passing) = (to(1, 2), to(2, 1), to(2, 3));
    let mut second = to(1, 3);
    let limits = StoreLimits {
        segment_bytes: 2_000,
        ..StoreLimits::default()
    };
    let core = Told::default();
    let (mut store, _) = open_with(&folder, false, limits);
    for part in [Part::direct(), Part::carried()] {
        assert!(store.open_folder(&part).unwrap().is_empty());
    }
    let text = "x".repeat(100);
    for line in 1..=20 {
        for author in [&mut ours, &mut his, &mut passing, &mut second] {
            let batch = author.say(&[&text]);
            // Each log has a hole.
            if line != 5 {
                core.save(&mut store, &batch);
            }
        }
    }
    assert!(folder.0.join("open/@/000003.ndjson").exists());
    assert!(folder.0.join("open/@carried/000002.ndjson").exists());
    drop(store);
    let (mut store, ranges) = open_with(&folder, false, limits);
    assert_eq!(ranges, []);
    for (part, logs) in [(Part::direct(), 3), (Part::carried(), 1)] {
        let mut found = store.open_folder(&part).unwrap();
        found.sort_by(|a, b| a.log.cmp(&b.log));
        assert_eq!(found, core.frontier(&part));
        let whole = |range: &&LogRange| (range.low, range.high, range.gaps.len()) == (6, 20, 1);
        assert_eq!(found.iter().filter(whole).count(), logs);
    }
    for author in [&ours, &his, &passing, &second] {
        let batches = store.load(&author.log(), 19, &mut None, 1 << 20).unwrap();
        let numbers: Vec<u64> = batches.iter().map(|batch| batch.sequence).collect();
        assert_eq!(numbers, [19, 20]);
    }
    let mut at = Position::default();
    let all = store.read_from(&Part::direct(), &mut at, 1 << 20).unwrap();
    assert_eq!(all.len(), 57);
    assert_eq!(at, store.end(&Part::direct()));
    let mut shown = Vec::new();
    all[0]
        .batch
        .for_each_line(|line| shown.push(line.to_owned()));
    assert_eq!(shown, [text]);
}

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
