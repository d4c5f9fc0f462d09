//! A store in memory that does what the shell's does: keeps batches in order of arrival, reads them back, fails when it is full.
use std::collections::BTreeMap;
use std::sync::Arc;

use p2pchat::base::batch::{Batch, LocalFields, LogId};
use p2pchat::base::event::Position;
use p2pchat::base::identity::{NetworkTag, PeerId};
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::range::LogRange;

/// Milliseconds between two fsyncs.
pub const FSYNC_INTERVAL_MS: u64 = 5_000;

#[derive(Clone)]
pub struct Entry {
    pub batch: Arc<Batch>,
    pub local: LocalFields,
    pub stored_at_ms: u64,
}

#[derive(Clone, Default)]
pub struct Disk {
    folders: BTreeMap<FolderName, Vec<Entry>>,
    /// Whose it is.
    owner: Option<PeerId>,
    /// Saves fail.
    pub full: bool,
    /// So many saves of a thousand fail.
    pub failed_saves_per_mille: u64,
    /// Longest time until what was asked for is read, in milliseconds.
    pub read_delay_max_ms: u64,
    /// Mutation: every so many batches, one is said to be stored and is not.
    pub forgets_every: Option<u64>,
    saves: u64,
    /// Counts the changes after which entries lie elsewhere.
    generation: u64,
}

impl Disk {
    pub fn new(own: PeerId) -> Disk {
        Disk {
            owner: Some(own),
            ..Disk::default()
        }
    }

    /// `false`: the disk is full.
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

    fn folder(&self, log: &LogId) -> FolderName {
        let own = self.owner.expect("it is somebody's");
        FolderName::for_log(&log.target, &log.author, &own)
    }

    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.folders.values().flatten()
    }

    /// The batch that holds this line.
    pub fn find(&self, log: &LogId, sequence: u64) -> Option<&Entry> {
        let room = self.folders.get(&self.folder(log));
        let mut entries = room
            .into_iter()
            .flatten()
            .rev()
            .filter(|e| e.batch.log == *log);
        entries.find(|e| e.batch.sequence <= sequence && sequence <= e.batch.last_sequence())
    }

    /// Batches upwards from the one that holds `from`, through the bytes in which they would lie on a real disk.
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
        // Lines that filled a hole stand behind what they come before; then there is no place to go on from.
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

    /// What a start finds of a room.
    pub fn ranges(&self, room: &Room) -> Vec<LogRange> {
        self.ranges_in(&room.into())
    }

    pub fn ranges_in(&self, folder: &FolderName) -> Vec<LogRange> {
        let mut ranges: BTreeMap<LogId, LogRange> = BTreeMap::new();
        // The frontier line of a real one says where each log begins, and what filled a hole stands behind what it comes before.
        let entries = self.folders.get(folder).into_iter().flatten();
        let mut entries: Vec<&Entry> = entries.collect();
        entries.sort_by_key(|entry| entry.batch.sequence);
        for Entry { batch, .. } in entries {
            let range = ranges.entry(batch.log.clone()).or_insert_with(|| LogRange {
                log: batch.log.clone(),
                low: batch.sequence,
                high: batch.sequence - 1,
                hash: batch.hash,
                lamport: 0,
                gaps: Vec::new(),
            });
            if batch.sequence > range.high + 1 {
                range.skip_to(batch);
            }
            range.high = batch.last_sequence();
            range.hash = batch.hash;
            range.lamport = batch.lamport + batch.count - 1;
        }
        ranges.into_values().collect()
    }

    /// Drops what is below this line.
    pub fn evict(&mut self, log: &LogId, low: u64) {
        self.generation += 1;
        for entries in self.folders.values_mut() {
            entries.retain(|e| e.batch.log != *log || e.batch.last_sequence() >= low);
        }
    }

    /// The newest batches are gone.
    pub fn cut_tail(&mut self, count: usize) {
        self.generation += 1;
        for entries in self.folders.values_mut() {
            entries.truncate(entries.len().saturating_sub(count));
        }
    }

    pub fn has_folder(&self, room: &Room) -> bool {
        self.folders.contains_key(&room.into())
    }

    pub fn create_folder(&mut self, room: &Room) {
        self.folders.entry(room.into()).or_default();
    }

    /// A power cut: what came after the last fsync is gone, or a part of it.
    pub fn lose_unsynced(&mut self, now: u64, mut random: impl FnMut(u64) -> u64) {
        let synced = now - now % FSYNC_INTERVAL_MS;
        for entries in self.folders.values_mut() {
            let safe = entries.iter().filter(|e| e.stored_at_ms < synced).count();
            let kept = safe + random((entries.len() - safe) as u64 + 1) as usize;
            entries.truncate(kept);
        }
    }
}
