//! Helpers for tests of the store: authors who sign batches, and a core that records the ranges.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::{io, thread};

use nix::sched::{CloneFlags, unshare};

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::load::{LogCursor, Position};
use p2pchat::base::identity::{Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::store::eviction::EvictedLog;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;

use crate::folders::TempDir;
use crate::hosts::command::attempt;
use crate::hosts::namespace::print_not_run;

pub const NET: NetworkTag = NetworkTag::OPEN;

pub const GENERAL: &str = "#general";

/// Lamport number of an author's first line.
const FIRST_LAMPORT: u64 = 101;

/// An author of signed batches, with the log it writes: by default one in #general.
pub struct Author {
    pub identity: Identity,
    pub incarnation: u64,
    pub target: Target,
    pub head: Option<Batch>,
}

impl Author {
    pub fn new(seed: u8) -> Author {
        Author {
            identity: Identity::from_seed(&[seed; 32]),
            incarnation: u64::from(seed),
            target: Target::Room(Room::general()),
            head: None,
        }
    }

    /// One of many authors.
    pub fn numbered(number: u64) -> Author {
        let mut seed = [99; 32];
        seed[..8].copy_from_slice(&number.to_be_bytes());
        Author {
            identity: Identity::from_seed(&seed),
            incarnation: number,
            ..Author::new(0)
        }
    }

    pub fn id(&self) -> PeerId {
        self.identity.id()
    }

    pub fn log(&self) -> LogId {
        LogId {
            target: self.target.clone(),
            author: self.id(),
            incarnation: self.incarnation,
        }
    }

    /// Signs the next batch of the log.
    pub fn say(&mut self, lines: &[&str]) -> Batch {
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
            lamport: FIRST_LAMPORT + sequence - 1,
            timestamp: WallTime(1_000),
            run: 1,
            uptime: 0,
            republishes: None,
            salt: 9,
            previous: self.head.as_ref().map(|head| head.hash),
            form: LineForm::Text,
            lines: &text,
            sealed: self.target.recipient().map(|_| "AAAA"),
        };
        let batch = Batch::sign(&self.identity, &NET, draft);
        self.head = Some(batch.clone());
        batch
    }

    /// The range from `low` to the head, without gaps. All lines were news.
    pub fn range(&self, low: u64) -> LogRange {
        let head = self.head.as_ref().unwrap();
        LogRange {
            log: self.log(),
            low,
            high: head.last_sequence(),
            hash: head.hash,
            lamport: head.lamport + head.count - 1,
            republishes: None,
            begins_at: 1,
            lost_below: 1,
            news_from: Some(FIRST_LAMPORT),
            gaps: Vec::new(),
        }
    }
}

/// The folder of #general.
pub fn general() -> FolderName {
    FolderName::from(&Room::general())
}

/// A replication state that records the range of each saved log.
#[derive(Default)]
pub struct RecordedState {
    pub ranges: RefCell<BTreeMap<LogId, LogRange>>,
    pub retention_floors: BTreeMap<LogId, u64>,
    /// The standing of authors. The others are unknown.
    pub standings: BTreeMap<PeerId, Standing>,
    /// Whether no peer has acknowledged our last line.
    pub has_unacknowledged: bool,
}

impl ReplicationState for RecordedState {
    fn frontier(&self, folder: &FolderName) -> Vec<Arc<LogRange>> {
        let ranges = self.ranges.borrow();
        let own = Author::new(1).id();
        let in_folder =
            |r: &&LogRange| FolderName::for_log(&r.log.target, &r.log.author, &own) == *folder;
        let ranges = ranges.values().filter(in_folder);
        ranges.cloned().map(Arc::new).collect()
    }
    fn retention_floor(&self, log: &LogId) -> u64 {
        self.retention_floors.get(log).copied().unwrap_or(u64::MAX)
    }
    fn is_acknowledged(&self, _: &FolderName) -> bool {
        !self.has_unacknowledged
    }
    fn standing(&self, _: &FolderName, author: &PeerId) -> Standing {
        let rank = match *author == Author::new(1).id() {
            true => Rank::Own,
            false => Rank::Unknown,
        };
        let standing = self.standings.get(author).copied();
        standing.unwrap_or(Standing::of_rank(rank))
    }
}

impl RecordedState {
    /// Saves a batch, records it, and ends the turn; returns what the limits evicted.
    pub fn save(&self, store: &mut Store, batch: &Batch) -> Vec<EvictedLog> {
        store.save(batch, LocalFields::default()).unwrap();
        self.record(batch);
        let evicted = store.enforce_limits(self).unwrap();
        for EvictedLog { log, first_kept } in &evicted {
            if let Some(range) = self.ranges.borrow_mut().get_mut(log) {
                range.evict_below(*first_kept);
            }
        }
        evicted
    }

    /// Extends the range of the log by this batch, or fills a gap with it.
    pub fn record(&self, batch: &Batch) {
        let mut ranges = self.ranges.borrow_mut();
        let range = ranges.entry(batch.log.clone());
        range
            .and_modify(|range| range.extend(batch))
            .or_insert_with(|| LogRange::begin(batch, true))
            .record_news(batch, LocalFields::default());
    }

    /// The recorded ranges in the order of their logs.
    pub fn sorted(&self) -> Vec<LogRange> {
        self.ranges.borrow().values().cloned().collect()
    }
}

/// Opens the store with #general; returns the ranges that it found there.
pub fn open_with(folder: &TempDir, limits: StoreLimits) -> (Store, Vec<LogRange>) {
    let own = Author::new(1).id();
    let mut store = Store::open(&folder.0, NET, own, limits).unwrap();
    let ranges = store.open_folder(&general()).unwrap();
    let ranges = ranges.into_iter().map(Arc::unwrap_or_clone);
    (store, ranges.collect())
}

/// Opens the store as after a crash, with small segments.
pub fn open(folder: &TempDir) -> (Store, Vec<LogRange>) {
    open_with(folder, small_segments())
}

/// Saves a batch without local fields.
pub fn save(store: &mut Store, batch: &Batch) {
    store.save(batch, LocalFields::default()).unwrap();
}

/// Limits with segments of 4 KiB, about nine lines.
pub fn small_segments() -> StoreLimits {
    StoreLimits {
        segment_bytes: 4096,
        total_bytes: Some(u64::MAX),
        ..StoreLimits::default()
    }
}

/// Reads batches of one log. Sets `at` to the position of the next read.
pub fn load_log(
    store: &Store,
    log: &LogId,
    from: u64,
    at: &mut Option<Position>,
    budget: usize,
) -> io::Result<Vec<Batch>> {
    let mut cursors = [LogCursor {
        log: log.clone(),
        from,
        position: *at,
    }];
    let loaded = store.load(&mut cursors, budget);
    *at = cursors[0].position;
    Ok(loaded?.pop().flatten().unwrap_or_default())
}

/// The first sequences of all batches of a log from line `from` on, loaded `budget` bytes a time.
pub fn load(store: &Store, log: &LogId, mut from: u64, budget: usize) -> Vec<u64> {
    let (mut sequences, mut at) = (Vec::new(), None);
    loop {
        let batches = load_log(store, log, from, &mut at, budget).unwrap();
        let Some(last) = batches.last() else {
            return sequences;
        };
        from = last.last_sequence() + 1;
        sequences.extend(batches.iter().map(|batch| batch.sequence));
    }
}

/// Reads #general from a position to its end.
pub fn read_all(store: &Store, at: &mut Position) -> Vec<(Batch, LocalFields)> {
    let mut all = Vec::new();
    loop {
        let batches = store.read_from(&general(), at, 700).unwrap();
        if batches.is_empty() {
            return all;
        }
        all.extend(
            batches
                .into_iter()
                .map(|stored| (stored.batch, stored.local)),
        );
    }
}

/// Author and first sequence of each batch.
pub fn author_sequences(batches: &[(Batch, LocalFields)]) -> Vec<(PeerId, u64)> {
    let name = |(batch, _): &(Batch, LocalFields)| (batch.log.author, batch.sequence);
    batches.iter().map(name).collect()
}

/// Saves `count` batches of one line by each author, in turn.
pub fn fill(store: &mut Store, core: &RecordedState, authors: &mut [Author], count: usize) {
    for i in 0..count {
        for author in authors.iter_mut() {
            let text = format!("line {i} {}", "x".repeat(100));
            core.save(store, &author.say(&[&text]));
        }
    }
}

/// Runs the test with an empty disk of this size, mounted for its thread alone. Without the right
/// to mount one, says NOT RUN on stderr.
pub fn with_small_disk(mebibytes: u32, test: impl FnOnce(&TempDir) + Send + 'static) {
    let run = move || {
        let folder = TempDir::new();
        let dir = folder.0.display();
        let is_mounted = unshare(CloneFlags::CLONE_NEWNS).is_ok()
            && attempt("mount --make-rprivate /").0
            && attempt(&format!("mount -t tmpfs -o size={mebibytes}m none {dir}")).0;
        if !is_mounted {
            return print_not_run("NO RIGHT TO MOUNT A DISK (NEEDS ROOT)");
        }
        test(&folder);
        attempt(&format!("umount {dir}"));
    };
    let name = thread::current().name().map(str::to_owned);
    let thread = thread::Builder::new().name(name.unwrap_or_default());
    if let Err(panic) = thread.spawn(run).unwrap().join() {
        resume_unwind(panic);
    }
}
