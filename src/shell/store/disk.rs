//! The history of all joined rooms on disk, and what it may take there.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::batch::{Batch, Local, LogId};
use crate::base::event::Position;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{Folder, Room};
use crate::base::range::Range;
use crate::base::table::Table;
use crate::shell::store::folder;
use crate::shell::store::folder::Shelf;
use crate::shell::store::fsync::Fsync;
use crate::shell::store::quota;
use crate::shell::store::quota::{Core, Limits};
use crate::shell::store::segment;

/// The buffer for a line is given back beyond this size, in bytes.
const SCRATCH_MAX: usize = 128 * 1024;
/// A full disk is taken for one again that has room when this much is free, in bytes.
const ROOM_AGAIN: u64 = 2 * 1024 * 1024;

pub struct Disk {
    /// The network's folder.
    pub dir: PathBuf,
    pub network: NetworkTag,
    own: PeerId,
    /// The last run ended well.
    clean: bool,
    limits: Limits,
    /// Bytes that all rooms together may take.
    total_max: u64,
    /// Bytes of folders that are not open.
    elsewhere: u64,
    shelves: Table<Folder, Shelf>,
    fsync: Fsync,
    scratch: Vec<u8>,
    /// The last write found no room.
    no_space: bool,
}

impl Disk {
    /// # Errors
    /// A folder cannot be read.
    pub fn open(
        dir: &Path,
        network: NetworkTag,
        own: PeerId,
        clean: bool,
        limits: Limits,
    ) -> io::Result<Disk> {
        let mut disk = Disk {
            dir: dir.join(network.folder()),
            network,
            own,
            clean,
            total_max: u64::MAX,
            elsewhere: 0,
            shelves: Table::new(),
            fsync: Fsync::default(),
            scratch: Vec::new(),
            no_space: false,
            limits,
        };
        disk.measure()?;
        Ok(disk)
    }

    /// What is taken by others, and how much there may be in all.
    fn measure(&mut self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        let mut all = 0;
        for entry in entries.into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                all += folder::size_of(&path)?;
            }
        }
        self.elsewhere = all;
        self.total_max = match self.limits.total {
            Some(total) => total,
            // As if we were not there, so that it stays the same from start to start.
            None => free(&self.dir).map_or(u64::MAX, |free| (free + all) / 2),
        };
        Ok(())
    }

    fn joined(&self) -> u64 {
        self.shelves.values().map(|shelf| shelf.total).sum()
    }

    pub fn join(&mut self, folder: &Folder) -> io::Result<Vec<Range>> {
        let dir = self.dir.join(folder.as_str());
        let before = self.shelves.remove(folder).map(|shelf| shelf.before);
        let had = match before {
            Some(_) => 0,
            None => folder::size_of(&dir)?,
        };
        // This run leaves the mark of its end when it ends.
        let clean = self.clean && before.is_none();
        let (mut shelf, ranges) =
            Shelf::open(dir, folder, self.network, clean, self.limits.segment)?;
        shelf.before = before.unwrap_or(shelf.before);
        self.elsewhere = self.elsewhere.saturating_sub(had);
        self.shelves.insert(folder.clone(), shelf);
        Ok(ranges)
    }

    /// Rooms in which lines of our own wait for somebody to hold them.
    pub fn waiting(&self) -> Vec<Room> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let waiting = entries.filter(|entry| folder::is_waiting(&entry.path()));
        let room = |name: &str| Folder::named(name)?.room();
        waiting
            .filter_map(|entry| entry.file_name().to_str().and_then(room))
            .collect()
    }

    pub fn shelf(&self, folder: &Folder) -> Option<&Shelf> {
        self.shelves.get(folder)
    }

    pub fn save(&mut self, folder: &Folder, batch: &Batch, local: Local) -> io::Result<()> {
        let Some(shelf) = self.shelves.get_mut(folder) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        batch.stored(local, &mut self.scratch);
        let (author, segment) = (batch.log.author, self.limits.segment);
        let said = author == self.own && folder.room().is_some();
        let noted = if said { shelf.wait() } else { Ok(()) };
        let fsync = &mut self.fsync;
        let saved = noted.and_then(|()| shelf.append(&self.scratch, author, segment, fsync));
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_MAX);
        match &saved {
            Ok(()) => self.no_space = false,
            Err(e) => {
                self.no_space |= matches!(
                    e.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
            }
        }
        saved
    }

    pub fn set_printed(&mut self, folder: &Folder, position: Position) -> io::Result<()> {
        match self.shelves.get_mut(folder) {
            Some(shelf) => shelf.set_printed(position, &mut self.fsync),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn end_turn(&mut self, core: &dyn Core) -> io::Result<Vec<(LogId, u64)>> {
        let due = |shelf: &Shelf| {
            let moved = shelf.stuck.as_ref();
            shelf.is_due() || moved.is_some_and(|(log, last)| core.floor(log) > *last)
        };
        if !self.shelves.values().any(due) {
            return Ok(Vec::new());
        }
        let mut over = self.over(core);
        let mut dropped = Vec::new();
        let mut result = Ok(());
        for (folder, shelf) in self.shelves.iter_mut() {
            let due = due(shelf);
            let over = over.remove(folder).unwrap_or_default();
            if !due && over.is_empty() {
                continue;
            }
            let turn = Turn {
                folder,
                segment: self.limits.segment,
                core,
            };
            match turn.run(shelf, over) {
                Ok(mut lows) => {
                    shelf.folder_changed(&mut self.fsync);
                    dropped.append(&mut lows);
                }
                Err(e) => {
                    shelf.postpone();
                    result = Err(e);
                }
            }
        }
        // What was dropped must be known whatever else failed: a later turn fails again and says so then.
        if dropped.is_empty() {
            result?;
        }
        Ok(dropped)
    }

    /// Bytes that each author has to lose in each room: what is over its own quota, and of what is over the total the unknown authors'
    /// first, then the other authors', then our own; of the same kind the largest first.
    fn over(&self, core: &dyn Core) -> Table<Folder, Table<PeerId, u64>> {
        let mut over: Table<Folder, Table<PeerId, u64>> = Table::new();
        let mut rest = Vec::new();
        let mut excess = (self.joined() + self.elsewhere).saturating_sub(self.total_max);
        for (folder, shelf) in &self.shelves {
            for (author, bytes) in &shelf.authors {
                let own = *author == self.own;
                let quota = if own {
                    self.limits.own
                } else {
                    self.limits.author
                };
                let loses = bytes.saturating_sub(quota);
                if loses > 0 {
                    over.get_or_default(folder.clone()).insert(*author, loses);
                    excess = excess.saturating_sub(loses);
                }
                let rank = if own {
                    2
                } else {
                    u8::from(core.is_known(author))
                };
                rest.push((rank, u64::MAX - (bytes - loses), folder, *author));
            }
        }
        rest.sort_unstable();
        for (_, order, folder, author) in rest {
            let loses = excess.min(u64::MAX - order);
            if loses == 0 {
                break;
            }
            excess -= loses;
            let authors = over.get_or_default(folder.clone());
            *authors.get_or_default(author) += loses;
        }
        over
    }

    pub fn full(&mut self) -> bool {
        if self.no_space && free(&self.dir).is_ok_and(|free| free >= ROOM_AGAIN) {
            self.no_space = false;
        }
        self.no_space || self.shelves.values().any(|shelf| shelf.stuck.is_some())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.shelves.values().try_for_each(Shelf::sync)
    }

    pub fn close(&mut self, core: &dyn Core) -> io::Result<()> {
        for (folder, shelf) in self.shelves.iter_mut() {
            shelf.checkpoint(core.frontier(folder))?;
            if core.is_held(folder) {
                shelf.settle();
            }
        }
        self.sync()
    }

    pub fn take_sync_failed(&self) -> bool {
        self.fsync.take_failed()
    }
}

/// Bytes that this user may still write.
fn free(dir: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// One folder's change of segments.
struct Turn<'a> {
    folder: &'a Folder,
    segment: u64,
    core: &'a dyn Core,
}

impl Turn<'_> {
    /// First the new segment, which says what will be gone, then the old ones: a death between them leaves lines that nobody counts on.
    fn run(&self, shelf: &mut Shelf, over: Table<PeerId, u64>) -> io::Result<Vec<(LogId, u64)>> {
        let plan = self.plan(shelf, over)?;
        shelf.stuck = plan.stuck;
        if !shelf.is_due() && plan.lows.is_empty() {
            return Ok(Vec::new());
        }
        let mut ranges = self.core.frontier(self.folder);
        for range in &mut ranges {
            if let Some(low) = plan.lows.get(&range.log) {
                range.raise(*low);
            }
        }
        let authors = shelf.authors.clone();
        for (author, bytes) in &plan.freed {
            if let Some(size) = shelf.authors.get_mut(author) {
                *size = size.saturating_sub(*bytes);
            }
        }
        shelf.authors.retain(|_, bytes| *bytes > 0);
        if let Err(e) = shelf.begin_segment(&ranges, self.segment) {
            shelf.authors = authors;
            return Err(e);
        }
        for (number, all) in plan.segments {
            let path = segment::path(&shelf.dir, number);
            let old = path.metadata().map_or(0, |meta| meta.len());
            let left = if all {
                fs::remove_file(&path).map(|()| 0)
            } else {
                quota::rewrite(&shelf.dir, number, &plan.lows)
            };
            // One that cannot be rewritten keeps lines that are no longer counted as held; they do no harm but to the space they take.
            if let Ok(new) = left {
                shelf.total = (shelf.total + new).saturating_sub(old);
                if new == 0 {
                    shelf.segments.retain(|n| *n != number);
                }
            }
        }
        Ok(plan.lows.into_iter().collect())
    }

    fn plan(&self, shelf: &mut Shelf, over: Table<PeerId, u64>) -> io::Result<quota::Plan> {
        if over.is_empty() {
            return Ok(quota::Plan::default());
        }
        let oldest = |author| shelf.oldest.get(author).copied().unwrap_or(0);
        let first = over.keys().map(oldest).min().unwrap_or(0);
        let first = shelf.segments.partition_point(|number| *number < first);
        let authors: Vec<PeerId> = over.keys().copied().collect();
        let floor = |log: &LogId| self.core.floor(log);
        let plan = quota::plan(&shelf.dir, &shelf.segments[first..], over, &floor)?;
        if plan.stuck.is_none() {
            for author in authors {
                shelf.oldest.insert(author, plan.reached);
            }
        }
        Ok(plan)
    }
}
