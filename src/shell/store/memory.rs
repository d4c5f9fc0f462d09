//! The history of a program that leaves no trace: in memory, and little of it.
use std::collections::BTreeMap;
use std::io;

use crate::base::batch::{Batch, LocalFields, LogId};
use crate::base::event::{Position, StoredBatch};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::shell::store::quota::ReplicationState;
use crate::shell::store::recovery::{empty_range_before, extend_range};

/// One batch as it would stand in a file.
struct Record {
    log: LogId,
    /// Its last line.
    last_sequence: u64,
    line: Box<[u8]>,
}

#[derive(Default)]
struct MemoryFolder {
    /// By number of arrival.
    records: BTreeMap<u64, Record>,
    ranges: SortedMap<LogId, LogRange>,
    /// It was joined before, in this run.
    existed_before: bool,
    printed_position: Option<Position>,
}

pub struct MemoryStore {
    pub network: NetworkTag,
    own_id: PeerId,
    limit_bytes: usize,
    total_bytes: usize,
    own_bytes: usize,
    /// Of all rooms together: the number of the next batch.
    next_number: u64,
    folders: SortedMap<FolderName, MemoryFolder>,
}

impl MemoryStore {
    /// `limit`: bytes kept of all rooms together.
    pub fn new(own: PeerId, network: NetworkTag, limit: usize) -> MemoryStore {
        MemoryStore {
            network,
            own_id: own,
            limit_bytes: limit,
            total_bytes: 0,
            own_bytes: 0,
            next_number: 0,
            folders: SortedMap::new(),
        }
    }

    pub fn open_folder(&mut self, folder: &FolderName) -> Vec<LogRange> {
        match self.folders.get_mut(folder) {
            Some(pile) => {
                pile.existed_before = true;
                pile.ranges.values().cloned().collect()
            }
            None => {
                self.folders.insert(folder.clone(), MemoryFolder::default());
                Vec::new()
            }
        }
    }

    pub fn existed_before(&self, folder: &FolderName) -> bool {
        self.folders
            .get(folder)
            .is_some_and(|pile| pile.existed_before)
    }

    pub fn save(
        &mut self,
        folder: &FolderName,
        batch: &Batch,
        local: LocalFields,
    ) -> io::Result<()> {
        let Some(pile) = self.folders.get_mut(folder) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut line = Vec::with_capacity(batch.as_bytes().len() + 128);
        batch.write_stored(local, &mut line);
        // What is kept is a line without its end.
        line.pop();
        self.total_bytes += line.len();
        if batch.log.author == self.own_id {
            self.own_bytes += line.len();
        }
        let log = batch.log.clone();
        let range = pile
            .ranges
            .get_or_insert_with(log, || empty_range_before(batch));
        extend_range(range, batch);
        let entry = Record {
            log: batch.log.clone(),
            last_sequence: batch.last_sequence(),
            line: line.into_boxed_slice(),
        };
        pile.records.insert(self.next_number, entry);
        self.next_number += 1;
        Ok(())
    }

    /// Over the limit the oldest foreign batches go, then the oldest own ones that nobody lacks, and an eighth more, so that it isn't done every turn.
    pub fn enforce_limits(&mut self, core: &dyn ReplicationState) -> Vec<(LogId, u64)> {
        let mut lows: SortedMap<LogId, u64> = SortedMap::new();
        if self.total_bytes > self.limit_bytes {
            let goal = self.limit_bytes - self.limit_bytes / 8;
            self.evict_down_to(goal, false, core, &mut lows);
            self.evict_down_to(goal, true, core, &mut lows);
        }
        lows.into_iter().collect()
    }

    fn evict_down_to(
        &mut self,
        goal: usize,
        own: bool,
        core: &dyn ReplicationState,
        lows: &mut SortedMap<LogId, u64>,
    ) {
        let mut candidates: Vec<(u64, &FolderName, &Record)> = Vec::new();
        for (folder, pile) in &self.folders {
            let entries = pile.records.iter();
            let theirs = entries.filter(|(_, entry)| (entry.log.author == self.own_id) == own);
            candidates.extend(theirs.map(|(number, entry)| (*number, folder, entry)));
        }
        candidates.sort_unstable_by_key(|(number, _, _)| *number);
        let mut floors: SortedMap<LogId, u64> = SortedMap::new();
        let (mut over, mut gone) = (self.total_bytes.saturating_sub(goal), Vec::new());
        for (number, folder, entry) in candidates {
            if over == 0 {
                break;
            }
            let floor = || {
                if own {
                    core.retention_floor(&entry.log)
                } else {
                    u64::MAX
                }
            };
            if entry.last_sequence >= *floors.get_or_insert_with(entry.log.clone(), floor) {
                continue;
            }
            let low = lows.get_or_default(entry.log.clone());
            *low = (*low).max(entry.last_sequence + 1);
            over = over.saturating_sub(entry.line.len());
            gone.push((number, folder.clone()));
        }
        for (number, folder) in gone {
            let Some(pile) = self.folders.get_mut(&folder) else {
                continue;
            };
            if let Some(entry) = pile.records.remove(&number) {
                if let Some(range) = pile.ranges.get_mut(&entry.log) {
                    range.evict_below(entry.last_sequence + 1);
                }
                self.total_bytes -= entry.line.len();
                self.own_bytes -= if own { entry.line.len() } else { 0 };
            }
        }
    }

    pub fn is_full(&self) -> bool {
        self.own_bytes > self.limit_bytes
    }

    pub fn load(
        &self,
        log: &LogId,
        mut from: u64,
        at: &mut Option<Position>,
        budget: usize,
    ) -> Vec<Batch> {
        let mut batches = Vec::new();
        let next = at.get_or_insert_default();
        let folder = FolderName::for_log(&log.target, &log.author, &self.own_id);
        let pile = self.folders.get(&folder);
        let mut taken = 0;
        let first = next.offset;
        // As on disk: what stands before lines that filled a hole later.
        let (mut beyond, mut back) = (u64::MAX, None);
        for (number, entry) in pile.iter().flat_map(|p| p.records.range(first..)) {
            next.offset = number + 1;
            if entry.log != *log || entry.last_sequence < from {
                continue;
            }
            let Ok((batch, _)) = Batch::parse_stored(&entry.line, &self.network) else {
                continue;
            };
            if batch.sequence > from {
                beyond = beyond.min(batch.sequence);
                back = back.or(Some(*number));
                continue;
            }
            from = entry.last_sequence + 1;
            taken += entry.line.len();
            batches.push(batch);
            if taken >= budget || from >= beyond {
                break;
            }
        }
        if let Some(back) = back {
            next.offset = back;
            if batches.is_empty() {
                return self.load(log, beyond, at, budget);
            }
        }
        batches
    }

    pub fn read_from(
        &self,
        folder: &FolderName,
        at: &mut Position,
        budget: usize,
    ) -> Vec<StoredBatch> {
        let mut batches = Vec::new();
        let mut taken = 0;
        let pile = self.folders.get(folder);
        let first = at.offset;
        for (number, entry) in pile.iter().flat_map(|p| p.records.range(first..)) {
            if taken >= budget {
                break;
            }
            at.offset = number + 1;
            if let Ok((batch, local)) = Batch::parse_stored(&entry.line, &self.network) {
                taken += entry.line.len();
                let at = Position {
                    offset: *number,
                    ..*at
                };
                batches.push(StoredBatch {
                    position: at,
                    batch,
                    local,
                });
            }
        }
        batches
    }

    pub fn folders(&self) -> impl Iterator<Item = &FolderName> {
        self.folders.keys()
    }

    /// What is kept in a folder, in order of arrival: lines without their ends.
    pub fn records(&self, folder: &FolderName) -> impl Iterator<Item = (u64, &[u8])> {
        let pile = self.folders.get(folder).into_iter();
        pile.flat_map(|pile| pile.records.iter())
            .map(|(number, entry)| (*number, &*entry.line))
    }

    pub fn record(&self, folder: &FolderName, number: u64) -> Option<&[u8]> {
        let entry = self.folders.get(folder)?.records.get(&number)?;
        Some(&entry.line)
    }

    pub fn end(&self) -> Position {
        Position {
            offset: self.next_number,
            ..Position::default()
        }
    }

    pub fn printed_position(&self, folder: &FolderName) -> Option<Position> {
        self.folders.get(folder)?.printed_position
    }

    pub fn set_printed_position(&mut self, folder: &FolderName, position: Position) {
        if let Some(pile) = self.folders.get_mut(folder) {
            pile.printed_position = Some(position);
        }
    }
}
