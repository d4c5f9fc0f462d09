//! The history of all joined rooms on disk, and what it may take there.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::batch::{Batch, LocalFields, LogId};
use crate::base::event::Position;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::shell::store::folder;
use crate::shell::store::folder::Folder;
use crate::shell::store::fsync::Fsync;
use crate::shell::store::quota;
use crate::shell::store::quota::{ReplicationState, StoreLimits};
use crate::shell::store::segment;

/// The buffer for a line is given back beyond this size, in bytes.
const SCRATCH_MAX_BYTES: usize = 128 * 1024;
/// A full disk is taken for one again that has room when this much is free, in bytes.
const FREE_SPACE_MIN_BYTES: u64 = 2 * 1024 * 1024;

pub struct DiskStore {
    /// The network's folder.
    pub dir: PathBuf,
    pub network: NetworkTag,
    own_id: PeerId,
    /// The last run ended well.
    was_clean_shutdown: bool,
    limits: StoreLimits,
    /// Bytes that all rooms together may take.
    total_max_bytes: u64,
    /// Bytes of folders that are not open.
    closed_folders_bytes: u64,
    folders: SortedMap<FolderName, Folder>,
    fsync: Fsync,
    scratch: Vec<u8>,
    /// The last write found no room.
    is_out_of_space: bool,
}

impl DiskStore {
    /// # Errors
    /// A folder cannot be read.
    pub fn open(
        dir: &Path,
        network: NetworkTag,
        own: PeerId,
        clean: bool,
        limits: StoreLimits,
    ) -> io::Result<DiskStore> {
        let mut disk = DiskStore {
            dir: dir.join(network.dir_name()),
            network,
            own_id: own,
            was_clean_shutdown: clean,
            total_max_bytes: u64::MAX,
            closed_folders_bytes: 0,
            folders: SortedMap::new(),
            fsync: Fsync::default(),
            scratch: Vec::new(),
            is_out_of_space: false,
            limits,
        };
        disk.measure_usage()?;
        Ok(disk)
    }

    /// What is taken by others, and how much there may be in all.
    fn measure_usage(&mut self) -> io::Result<()> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => None,
            entries => Some(entries?),
        };
        let mut all = 0;
        for entry in entries.into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                all += folder::folder_bytes(&path)?;
            }
        }
        self.closed_folders_bytes = all;
        self.total_max_bytes = match self.limits.total_bytes {
            Some(total) => total,
            // As if we were not there, so that it stays the same from start to start.
            None => available_bytes(&self.dir).map_or(u64::MAX, |free| (free + all) / 2),
        };
        Ok(())
    }

    fn open_folders_bytes(&self) -> u64 {
        self.folders.values().map(|shelf| shelf.total_bytes).sum()
    }

    pub fn open_folder(&mut self, folder: &FolderName) -> io::Result<Vec<LogRange>> {
        let dir = self.dir.join(folder.as_str());
        let before = self
            .folders
            .remove(folder)
            .map(|shelf| shelf.existed_before);
        let had = match before {
            Some(_) => 0,
            None => folder::folder_bytes(&dir)?,
        };
        // This run leaves the mark of its end when it ends.
        let clean = self.was_clean_shutdown && before.is_none();
        let (mut shelf, ranges) =
            Folder::open(dir, folder, self.network, clean, self.limits.segment_bytes)?;
        shelf.existed_before = before.unwrap_or(shelf.existed_before);
        self.closed_folders_bytes = self.closed_folders_bytes.saturating_sub(had);
        self.folders.insert(folder.clone(), shelf);
        Ok(ranges)
    }

    /// Rooms in which lines of our own wait for somebody to hold them.
    pub fn rooms_with_unacknowledged(&self) -> Vec<Room> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let waiting = entries.filter(|entry| folder::is_marked_unacknowledged(&entry.path()));
        let room = |name: &str| FolderName::parse(name)?.room();
        waiting
            .filter_map(|entry| entry.file_name().to_str().and_then(room))
            .collect()
    }

    pub fn folder(&self, folder: &FolderName) -> Option<&Folder> {
        self.folders.get(folder)
    }

    pub fn save(
        &mut self,
        folder: &FolderName,
        batch: &Batch,
        local: LocalFields,
    ) -> io::Result<()> {
        let Some(shelf) = self.folders.get_mut(folder) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        batch.write_stored(local, &mut self.scratch);
        let (author, segment) = (batch.log.author, self.limits.segment_bytes);
        let said = author == self.own_id && folder.room().is_some();
        let noted = if said {
            shelf.mark_unacknowledged()
        } else {
            Ok(())
        };
        let fsync = &mut self.fsync;
        let saved = noted.and_then(|()| shelf.append(&self.scratch, author, segment, fsync));
        self.scratch.clear();
        self.scratch.shrink_to(SCRATCH_MAX_BYTES);
        match &saved {
            Ok(()) => self.is_out_of_space = false,
            Err(e) => {
                self.is_out_of_space |= matches!(
                    e.kind(),
                    io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
                );
            }
        }
        saved
    }

    pub fn set_printed_position(
        &mut self,
        folder: &FolderName,
        position: Position,
    ) -> io::Result<()> {
        match self.folders.get_mut(folder) {
            Some(shelf) => shelf.set_printed_position(position, &mut self.fsync),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub fn enforce_limits(&mut self, core: &dyn ReplicationState) -> io::Result<Vec<(LogId, u64)>> {
        let due = |shelf: &Folder| {
            let moved = shelf.quota_blocked_by.as_ref();
            shelf.is_rotation_due()
                || moved.is_some_and(|(log, last)| core.retention_floor(log) > *last)
        };
        if !self.folders.values().any(due) {
            return Ok(Vec::new());
        }
        let mut over = self.bytes_over_quota(core);
        let mut dropped = Vec::new();
        let mut result = Ok(());
        for (folder, shelf) in self.folders.iter_mut() {
            let due = due(shelf);
            let over = over.remove(folder).unwrap_or_default();
            if !due && over.is_empty() {
                continue;
            }
            let turn = Rotation {
                folder,
                segment_bytes: self.limits.segment_bytes,
                core,
            };
            match turn.apply(shelf, over) {
                Ok(mut lows) => {
                    shelf.request_dir_sync(&mut self.fsync);
                    dropped.append(&mut lows);
                }
                Err(e) => {
                    shelf.postpone_rotation();
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
    fn bytes_over_quota(
        &self,
        core: &dyn ReplicationState,
    ) -> SortedMap<FolderName, SortedMap<PeerId, u64>> {
        let mut over: SortedMap<FolderName, SortedMap<PeerId, u64>> = SortedMap::new();
        let mut rest = Vec::new();
        let mut excess = (self.open_folders_bytes() + self.closed_folders_bytes)
            .saturating_sub(self.total_max_bytes);
        for (folder, shelf) in &self.folders {
            for (author, bytes) in &shelf.author_bytes {
                let own = *author == self.own_id;
                let quota = if own {
                    self.limits.own_bytes
                } else {
                    self.limits.author_bytes
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

    pub fn is_full(&mut self) -> bool {
        if self.is_out_of_space
            && available_bytes(&self.dir).is_ok_and(|free| free >= FREE_SPACE_MIN_BYTES)
        {
            self.is_out_of_space = false;
        }
        self.is_out_of_space
            || self
                .folders
                .values()
                .any(|shelf| shelf.quota_blocked_by.is_some())
    }

    pub fn sync(&self) -> io::Result<()> {
        self.folders.values().try_for_each(Folder::sync)
    }

    pub fn close(&mut self, core: &dyn ReplicationState) -> io::Result<()> {
        for (folder, shelf) in self.folders.iter_mut() {
            shelf.write_checkpoint(core.frontier(folder))?;
            if core.is_acknowledged(folder) {
                shelf.clear_unacknowledged();
            }
        }
        self.sync()
    }

    pub fn take_sync_failed(&self) -> bool {
        self.fsync.take_failed()
    }
}

/// Bytes that this user may still write.
fn available_bytes(dir: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}

/// One folder's change of segments.
struct Rotation<'a> {
    folder: &'a FolderName,
    segment_bytes: u64,
    core: &'a dyn ReplicationState,
}

impl Rotation<'_> {
    /// First the new segment, which says what will be gone, then the old ones: a death between them leaves lines that nobody counts on.
    fn apply(
        &self,
        shelf: &mut Folder,
        over: SortedMap<PeerId, u64>,
    ) -> io::Result<Vec<(LogId, u64)>> {
        let plan = self.plan_eviction(shelf, over)?;
        shelf.quota_blocked_by = plan.blocked_by;
        if !shelf.is_rotation_due() && plan.first_kept.is_empty() {
            return Ok(Vec::new());
        }
        let mut ranges = self.core.frontier(self.folder);
        for range in &mut ranges {
            if let Some(low) = plan.first_kept.get(&range.log) {
                range.evict_below(*low);
            }
        }
        let authors = shelf.author_bytes.clone();
        for (author, bytes) in &plan.freed_bytes {
            if let Some(size) = shelf.author_bytes.get_mut(author) {
                *size = size.saturating_sub(*bytes);
            }
        }
        shelf.author_bytes.retain(|_, bytes| *bytes > 0);
        if let Err(e) = shelf.start_segment(&ranges, self.segment_bytes) {
            shelf.author_bytes = authors;
            return Err(e);
        }
        for (number, all) in plan.affected_segments {
            let path = segment::path(&shelf.dir, number);
            let old = path.metadata().map_or(0, |meta| meta.len());
            let left = if all {
                fs::remove_file(&path).map(|()| 0)
            } else {
                quota::rewrite_segment(&shelf.dir, number, &plan.first_kept)
            };
            // One that cannot be rewritten keeps lines that are no longer counted as held; they do no harm but to the space they take.
            if let Ok(new) = left {
                shelf.total_bytes = (shelf.total_bytes + new).saturating_sub(old);
                if new == 0 {
                    shelf.segment_numbers.retain(|n| *n != number);
                }
            }
        }
        Ok(plan.first_kept.into_iter().collect())
    }

    fn plan_eviction(
        &self,
        shelf: &mut Folder,
        over: SortedMap<PeerId, u64>,
    ) -> io::Result<quota::EvictionPlan> {
        if over.is_empty() {
            return Ok(quota::EvictionPlan::default());
        }
        let oldest = |author| shelf.first_segments.get(author).copied().unwrap_or(0);
        let first = over.keys().map(oldest).min().unwrap_or(0);
        let first = shelf
            .segment_numbers
            .partition_point(|number| *number < first);
        let authors: Vec<PeerId> = over.keys().copied().collect();
        let floor = |log: &LogId| self.core.retention_floor(log);
        let plan = quota::plan_eviction(&shelf.dir, &shelf.segment_numbers[first..], over, &floor)?;
        if plan.blocked_by.is_none() {
            for author in authors {
                shelf
                    .first_segments
                    .insert(author, plan.last_scanned_segment);
            }
        }
        Ok(plan)
    }
}
