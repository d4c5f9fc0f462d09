//! The store of one directory, in memory: keeps batches in order of arrival as the shell's store
//! does, parses them when read, and fails on command.
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::event::load::Position;
use p2pchat::base::identity::{NetworkTag, PeerId};
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::range::{LogRange, LostLines};
use p2pchat::base::time::{ReaderStart, WallTime};

/// Milliseconds between two fsyncs, as in the shell.
pub const FSYNC_INTERVAL_MS: u64 = 5_000;

/// A stored batch, its local fields, and when it was stored.
#[derive(Clone)]
pub struct Entry {
    pub batch: Arc<Batch>,
    pub local: LocalFields,
    pub stored_at_ms: u64,
}

/// When the reader of a room began, as the file `reader` keeps it.
#[derive(Clone, Copy)]
pub struct SavedReader {
    /// The right time, in milliseconds since the simulation began.
    began_at_ms: u64,
    /// The boot of the machine in which it began.
    boot: Boot,
    /// What the machine's wall clock would have shown, had it always gone as it does now.
    wall: WallTime,
}

/// Identifies one boot of one host: the host, and how often it was booted before.
pub type Boot = (usize, u64);

/// The store of one directory.
#[derive(Clone, Default)]
pub struct Disk {
    folders: BTreeMap<FolderName, Vec<Entry>>,
    /// The peer whose directory this is.
    owner: Option<PeerId>,
    /// All saves fail.
    pub full: bool,
    /// Saves that fail at random, in thousandths.
    pub failed_saves_per_mille: u64,
    /// Longest delay of a read, in milliseconds.
    pub read_delay_max_ms: u64,
    /// Broken on purpose: every n-th save reports success and stores nothing.
    pub forgets_every: Option<u64>,
    readers: BTreeMap<Room, SavedReader>,
    /// The ranges of logs from which lines were evicted, as frontier lines keep them.
    frontiers: BTreeMap<LogId, LogRange>,
    saves: u64,
    /// Counts the changes that move entries; positions of an older generation are void.
    generation: u64,
}

impl Disk {
    /// An empty store.
    pub fn new(own: PeerId) -> Disk {
        Disk {
            owner: Some(own),
            ..Disk::default()
        }
    }

    /// Begins a reader of this room, if none has begun.
    pub fn begin_reader(&mut self, room: &Room, now_ms: u64, boot: Boot, wall: WallTime) {
        self.readers.entry(room.clone()).or_insert(SavedReader {
            began_at_ms: now_ms,
            boot,
            wall,
        });
    }

    /// Corrects the wall-clock times of the readers that began in this boot, as the shell does when
    /// the wall clock was set.
    pub fn correct_readers(&mut self, now_ms: u64, boot: Boot, wall: WallTime) {
        for reader in self
            .readers
            .values_mut()
            .filter(|reader| reader.boot == boot)
        {
            reader.wall = WallTime(wall.0 - (now_ms - reader.began_at_ms) as i64);
        }
    }

    /// When the reader of this room began, for a program that was started at `started_at_ms`.
    pub fn reader_start(&self, room: &Room, started_at_ms: u64, boot: Boot) -> Option<ReaderStart> {
        let reader = self.readers.get(room)?;
        Some(match reader.boot == boot {
            true => ReaderStart::SameBoot {
                at_ms: reader.began_at_ms as i64 - started_at_ms as i64,
            },
            false => ReaderStart::EarlierBoot { wall: reader.wall },
        })
    }

    /// When the reader of this room began: the right time, in milliseconds since the simulation
    /// began.
    pub fn reader_began_at(&self, room: &Room) -> Option<u64> {
        self.readers.get(room).map(|reader| reader.began_at_ms)
    }

    /// Replaces the contents by a copy's; the disk keeps its faults.
    pub fn replace_contents(&mut self, copy: Disk) {
        *self = Disk {
            full: self.full,
            failed_saves_per_mille: self.failed_saves_per_mille,
            read_delay_max_ms: self.read_delay_max_ms,
            ..copy
        };
    }

    /// Stores a batch; false when the disk is full.
    pub fn save(&mut self, batch: &Arc<Batch>, local: LocalFields, at: u64) -> bool {
        if self.full {
            return false;
        }
        self.saves += 1;
        if self
            .forgets_every
            .is_some_and(|n| self.saves.is_multiple_of(n))
        {
            return true;
        }
        let batch = batch.clone();
        self.folders
            .entry(self.folder(&batch.log))
            .or_default()
            .push(Entry {
                batch,
                local,
                stored_at_ms: at,
            });
        true
    }

    /// The folder that a log belongs to.
    fn folder(&self, log: &LogId) -> FolderName {
        let own = self.owner.expect("an owner");
        FolderName::for_log(&log.target, &log.author, &own)
    }

    /// All stored batches, by folder in order of arrival.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.folders.values().flatten()
    }

    /// The newest stored batch that contains this line.
    pub fn find(&self, log: &LogId, sequence: u64) -> Option<&Entry> {
        let room = self.folders.get(&self.folder(log));
        let mut entries = room
            .into_iter()
            .flatten()
            .rev()
            .filter(|e| e.batch.log == *log);
        entries.find(|e| e.batch.sequence <= sequence && sequence <= e.batch.last_sequence())
    }

    /// Batches upwards from the one that contains `from`, until `budget` bytes are exceeded, and
    /// the position behind them. Each is parsed from the bytes that a real disk would store.
    pub fn load(
        &self,
        log: &LogId,
        from: u64,
        at: Option<Position>,
        budget: usize,
        network: &NetworkTag,
    ) -> (Vec<Batch>, Option<Position>) {
        let (mut out, mut size, mut next) = (Vec::new(), 0, None);
        let room = self.folders.get(&self.folder(log));
        let at = at.filter(|at| at.generation == self.generation);
        let skip = at.map_or(0, |at| at.offset as usize);
        let mut entries: Vec<(usize, &Entry)> = room
            .into_iter()
            .flatten()
            .enumerate()
            .skip(skip)
            .filter(|(_, entry)| entry.batch.log == *log && entry.batch.last_sequence() >= from)
            .collect();
        // Batches that filled a gap are stored behind later ones; such a log has no position to
        // continue from.
        let in_order = entries.is_sorted_by_key(|(_, entry)| entry.batch.sequence);
        entries.sort_by_key(|(_, entry)| entry.batch.sequence);
        for (i, entry) in entries {
            if size >= budget {
                break;
            }
            let mut line = Vec::new();
            entry.batch.write_stored(entry.local, &mut line);
            line.pop();
            let (batch, local) =
                Batch::parse_stored(&line, network).expect("what was stored reads");
            assert_eq!((batch.hash, local), (entry.batch.hash, entry.local));
            assert_eq!(batch.proof, entry.batch.proof);
            size += line.len();
            out.push(batch);
            next = in_order.then_some(Position {
                offset: i as u64 + 1,
                generation: self.generation,
                ..Position::default()
            });
        }
        (out, next)
    }

    /// The lines of the log from `from` on whose signature is false.
    pub fn false_batches(&self, log: &LogId, from: u64) -> Vec<RangeInclusive<u64>> {
        let entries = self.entries().map(|entry| &entry.batch);
        let of_log = entries.filter(|it| it.log == *log && it.last_sequence() >= from);
        let found = of_log.filter(|batch| !batch.is_sendable());
        found
            .map(|batch| batch.sequence..=batch.last_sequence())
            .collect()
    }

    /// The ranges that a start finds in a room's folder.
    pub fn ranges(&self, room: &Room) -> Vec<LogRange> {
        self.ranges_in(&room.into())
    }

    /// The ranges that a start finds in a folder.
    pub fn ranges_in(&self, folder: &FolderName) -> Vec<LogRange> {
        let mut ranges: BTreeMap<LogId, LogRange> = BTreeMap::new();
        let own = self.owner.expect("an owner");
        for (log, frontier) in &self.frontiers {
            let is_inside = FolderName::for_log(&log.target, &log.author, &own) == *folder;
            if is_inside && frontier.low > frontier.high {
                ranges.insert(log.clone(), frontier.clone());
            }
        }
        let entries = self.folders.get(folder).into_iter().flatten();
        let mut entries: Vec<&Entry> = entries.collect();
        // Batches that filled a gap are stored behind later ones. Where the lines below them were
        // evicted, only the order of sequences tells.
        entries.sort_by_key(
            |entry| match self.frontiers.contains_key(&entry.batch.log) {
                true => entry.batch.sequence,
                false => 0,
            },
        );
        for Entry { batch, local, .. } in entries {
            let range = ranges.entry(batch.log.clone());
            let range = range
                .and_modify(|range| range.extend(batch))
                .or_insert_with(|| match self.frontiers.get(&batch.log) {
                    Some(frontier) => LogRange {
                        begins_at: frontier.begins_at,
                        lost_below: frontier.lost_below,
                        news_from: frontier.news_from,
                        ..LogRange::begin(batch, false)
                    },
                    None => LogRange::begin(batch, !local.backfill),
                });
            range.record_news(batch, *local);
        }
        ranges.into_values().collect()
    }

    /// Drops the batches of a log that end below `low`. If none is left, the head stays known.
    pub fn evict(&mut self, log: &LogId, low: u64) {
        self.generation += 1;
        let ranges = self.ranges_in(&self.folder(log)).into_iter();
        let mut before = ranges.filter(|range| range.log == *log);
        let is_kept = |e: &Entry| e.batch.log != *log || e.batch.last_sequence() >= low;
        if let Some(mut range) = before.next()
            && !self.entries().all(is_kept)
        {
            range.evict_below(low.min(range.high + 1));
            self.frontiers.insert(log.clone(), range);
        }
        for entries in self.folders.values_mut() {
            entries.retain(is_kept);
        }
    }

    /// Damages the batches with these lines: they are gone. What a scan of the store reports.
    pub fn lose(
        &mut self,
        log: &LogId,
        lines: RangeInclusive<u64>,
        was_printed: bool,
    ) -> LostLines {
        self.generation += 1;
        let below = self.find(log, lines.start() - 1);
        let above = self.find(log, lines.end() + 1);
        let lost = LostLines {
            log: log.clone(),
            hash_below: below.map(|entry| entry.batch.hash),
            previous_above: above.and_then(|entry| entry.batch.previous),
            lines,
            was_printed,
        };
        let is_kept = |e: &Entry| e.batch.log != *log || !lost.lines.contains(&e.batch.sequence);
        for entries in self.folders.values_mut() {
            entries.retain(is_kept);
        }
        lost
    }

    /// Drops the newest batches of every folder.
    pub fn cut_tail(&mut self, count: usize) {
        self.generation += 1;
        for entries in self.folders.values_mut() {
            entries.truncate(entries.len().saturating_sub(count));
        }
    }

    /// Whether the room's folder exists.
    pub fn has_folder(&self, room: &Room) -> bool {
        self.folders.contains_key(&room.into())
    }

    /// Creates the room's folder if it is missing.
    pub fn create_folder(&mut self, room: &Room) {
        self.folders.entry(room.into()).or_default();
    }

    /// A power cut: drops a random number of the batches stored since the last fsync.
    pub fn lose_unsynced(&mut self, now: u64, mut random: impl FnMut(u64) -> u64) {
        let synced = now - now % FSYNC_INTERVAL_MS;
        for entries in self.folders.values_mut() {
            let safe = entries.iter().filter(|e| e.stored_at_ms < synced).count();
            let kept = safe + random((entries.len() - safe) as u64 + 1) as usize;
            entries.truncate(kept);
        }
    }
}
