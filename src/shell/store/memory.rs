//! The history of a program that leaves no trace: in memory, and little of it.
use std::collections::BTreeMap;
use std::io;

use crate::base::batch::{Batch, Local, LogId};
use crate::base::event::{Position, Stored};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Folder;
use crate::base::range::Range;
use crate::base::table::Table;
use crate::shell::store::quota::Core;
use crate::shell::store::recovery::{before, extend};

/// One batch as it would stand in a file.
struct Entry {
    log: LogId,
    /// Its last line.
    last: u64,
    line: Box<[u8]>,
}

#[derive(Default)]
struct Pile {
    /// By number of arrival.
    entries: BTreeMap<u64, Entry>,
    ranges: Table<LogId, Range>,
    /// It was joined before, in this run.
    before: bool,
    printed: Option<Position>,
}

pub struct Memory {
    pub network: NetworkTag,
    own: PeerId,
    limit: usize,
    bytes: usize,
    own_bytes: usize,
    /// Of all rooms together: the number of the next batch.
    next: u64,
    folders: Table<Folder, Pile>,
}

impl Memory {
    /// `limit`: bytes kept of all rooms together.
    pub fn new(own: PeerId, network: NetworkTag, limit: usize) -> Memory {
        Memory {
            network,
            own,
            limit,
            bytes: 0,
            own_bytes: 0,
            next: 0,
            folders: Table::new(),
        }
    }

    pub fn join(&mut self, folder: &Folder) -> Vec<Range> {
        match self.folders.get_mut(folder) {
            Some(pile) => {
                pile.before = true;
                pile.ranges.values().cloned().collect()
            }
            None => {
                self.folders.insert(folder.clone(), Pile::default());
                Vec::new()
            }
        }
    }

    pub fn was_there(&self, folder: &Folder) -> bool {
        self.folders.get(folder).is_some_and(|pile| pile.before)
    }

    pub fn save(&mut self, folder: &Folder, batch: &Batch, local: Local) -> io::Result<()> {
        let Some(pile) = self.folders.get_mut(folder) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let mut line = Vec::with_capacity(batch.bytes().len() + 128);
        batch.stored(local, &mut line);
        // What is kept is a line without its end.
        line.pop();
        self.bytes += line.len();
        if batch.log.author == self.own {
            self.own_bytes += line.len();
        }
        let log = batch.log.clone();
        let range = pile.ranges.get_or_insert_with(log, || before(batch));
        extend(range, batch);
        let entry = Entry {
            log: batch.log.clone(),
            last: batch.last(),
            line: line.into_boxed_slice(),
        };
        pile.entries.insert(self.next, entry);
        self.next += 1;
        Ok(())
    }

    /// Over the limit the oldest foreign batches go, then the oldest own ones that nobody lacks, and an eighth more, so that it isn't done every turn.
    pub fn end_turn(&mut self, core: &dyn Core) -> Vec<(LogId, u64)> {
        let mut lows: Table<LogId, u64> = Table::new();
        if self.bytes > self.limit {
            let goal = self.limit - self.limit / 8;
            self.drop_down_to(goal, false, core, &mut lows);
            self.drop_down_to(goal, true, core, &mut lows);
        }
        lows.into_iter().collect()
    }

    fn drop_down_to(
        &mut self,
        goal: usize,
        own: bool,
        core: &dyn Core,
        lows: &mut Table<LogId, u64>,
    ) {
        let mut candidates: Vec<(u64, &Folder, &Entry)> = Vec::new();
        for (folder, pile) in &self.folders {
            let entries = pile.entries.iter();
            let theirs = entries.filter(|(_, entry)| (entry.log.author == self.own) == own);
            candidates.extend(theirs.map(|(number, entry)| (*number, folder, entry)));
        }
        candidates.sort_unstable_by_key(|(number, _, _)| *number);
        let mut floors: Table<LogId, u64> = Table::new();
        let (mut over, mut gone) = (self.bytes.saturating_sub(goal), Vec::new());
        for (number, folder, entry) in candidates {
            if over == 0 {
                break;
            }
            let floor = || {
                if own {
                    core.floor(&entry.log)
                } else {
                    u64::MAX
                }
            };
            if entry.last >= *floors.get_or_insert_with(entry.log.clone(), floor) {
                continue;
            }
            let low = lows.get_or_default(entry.log.clone());
            *low = (*low).max(entry.last + 1);
            over = over.saturating_sub(entry.line.len());
            gone.push((number, folder.clone()));
        }
        for (number, folder) in gone {
            let Some(pile) = self.folders.get_mut(&folder) else {
                continue;
            };
            if let Some(entry) = pile.entries.remove(&number) {
                if let Some(range) = pile.ranges.get_mut(&entry.log) {
                    range.raise(entry.last + 1);
                }
                self.bytes -= entry.line.len();
                self.own_bytes -= if own { entry.line.len() } else { 0 };
            }
        }
    }

    pub fn full(&self) -> bool {
        self.own_bytes > self.limit
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
        let folder = Folder::of(&log.target, &log.author, &self.own);
        let pile = self.folders.get(&folder);
        let mut taken = 0;
        let first = next.offset;
        // As on disk: what stands before lines that filled a hole later.
        let (mut beyond, mut back) = (u64::MAX, None);
        for (number, entry) in pile.iter().flat_map(|p| p.entries.range(first..)) {
            next.offset = number + 1;
            if entry.log != *log || entry.last < from {
                continue;
            }
            let Ok((batch, _)) = Batch::from_stored(&entry.line, &self.network) else {
                continue;
            };
            if batch.sequence > from {
                beyond = beyond.min(batch.sequence);
                back = back.or(Some(*number));
                continue;
            }
            from = entry.last + 1;
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

    pub fn read_on(&self, folder: &Folder, at: &mut Position, budget: usize) -> Vec<Stored> {
        let mut batches = Vec::new();
        let mut taken = 0;
        let pile = self.folders.get(folder);
        let first = at.offset;
        for (number, entry) in pile.iter().flat_map(|p| p.entries.range(first..)) {
            if taken >= budget {
                break;
            }
            at.offset = number + 1;
            if let Ok((batch, local)) = Batch::from_stored(&entry.line, &self.network) {
                taken += entry.line.len();
                let at = Position {
                    offset: *number,
                    ..*at
                };
                batches.push(Stored { at, batch, local });
            }
        }
        batches
    }

    pub fn folders(&self) -> impl Iterator<Item = &Folder> {
        self.folders.keys()
    }

    /// What is kept in a folder, in order of arrival: lines without their ends.
    pub fn lines(&self, folder: &Folder) -> impl Iterator<Item = (u64, &[u8])> {
        let pile = self.folders.get(folder).into_iter();
        pile.flat_map(|pile| pile.entries.iter())
            .map(|(number, entry)| (*number, &*entry.line))
    }

    pub fn line(&self, folder: &Folder, number: u64) -> Option<&[u8]> {
        let entry = self.folders.get(folder)?.entries.get(&number)?;
        Some(&entry.line)
    }

    pub fn end(&self) -> Position {
        Position {
            offset: self.next,
            ..Position::default()
        }
    }

    pub fn printed(&self, folder: &Folder) -> Option<Position> {
        self.folders.get(folder)?.printed
    }

    pub fn set_printed(&mut self, folder: &Folder, position: Position) {
        if let Some(pile) = self.folders.get_mut(folder) {
            pile.printed = Some(position);
        }
    }
}
