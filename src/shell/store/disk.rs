//! History on disk: all open folders of one network, and the limits on their space.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::event::load::Position;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Nick, Room};
use crate::base::range::LogRanges;
use crate::base::table::SortedMap;
use crate::shell::os::clock::Moment;
use crate::shell::os::file;
use crate::shell::store::audit::{Audit, AuditRequest};
use crate::shell::store::damage::DamageReport;
use crate::shell::store::eviction::{EvictedLog, Rotation};
use crate::shell::store::folder::Folder;
use crate::shell::store::fsync::Fsync;
use crate::shell::store::quota::{AuthorUsage, BytesToEvict, StoreLimits, bytes_over_quota};
use crate::shell::store::reader::PrintedBacklog;
use crate::shell::store::replication_state::ReplicationState;
use crate::shell::store::segment::segment_file;

/// Capacity to which [`DiskStore::scratch`] shrinks after a save, in bytes.
const SCRATCH_MAX_BYTES: usize = 128 * 1024;
/// After a save failed for lack of space, the disk counts as full until this many bytes are free.
const FREE_SPACE_MIN_BYTES: u64 = 2 * 1024 * 1024;

/// The store of one network on disk.
pub struct DiskStore {
    /// Directory of the network.
    pub dir: PathBuf,
    /// The network.
    pub network: NetworkTag,
    own_id: PeerId,
    limits: StoreLimits,
    /// Limit on the bytes of all folders together.
    total_max_bytes: u64,
    /// Bytes of all folders that are not open.
    closed_folders_bytes: u64,
    folders: SortedMap<FolderName, Folder>,
    fsync: Fsync,
    /// Buffer for the stored form of a batch. Every save uses it again.
    scratch: Vec<u8>,
    /// Whether the disk counts as full, because a save failed for lack of space.
    is_out_of_space: bool,
    /// Whether a history query found damage. Queries run in helper threads.
    pub found_damage: Arc<AtomicBool>,
}

impl DiskStore {
    /// Opens the store of `network` in the history directory `dir`. Opens no folder.
    ///
    /// # Errors
    /// The size of a folder can't be read.
    pub fn open(
        dir: &Path,
        network: NetworkTag,
        own_id: PeerId,
        limits: StoreLimits,
    ) -> io::Result<DiskStore> {
        let mut disk = DiskStore {
            dir: dir.join(network.dir_name()),
            network,
            own_id,
            total_max_bytes: u64::MAX,
            closed_folders_bytes: 0,
            folders: SortedMap::new(),
            fsync: Fsync::default(),
            scratch: Vec::new(),
            is_out_of_space: false,
            found_damage: Arc::default(),
            limits,
        };
        disk.measure_usage()?;
        Ok(disk)
    }

    /// Measures all folders, then sets the limit on their total size.
    fn measure_usage(&mut self) -> io::Result<()> {
        let entries = file::if_exists(fs::read_dir(&self.dir))?;
        let mut used_bytes = 0;
        for entry in entries.into_iter().flatten() {
            let path = entry?.path();
            if path.is_dir() {
                used_bytes += segment_file::folder_bytes(&path)?;
            }
        }
        self.closed_folders_bytes = used_bytes;
        self.total_max_bytes = match self.limits.total_bytes {
            Some(total_bytes) => total_bytes,
            // The bytes of our folders count as free. The limit is then the same at every start.
            None => available_bytes(&self.dir)
                .map_or(u64::MAX, |free_bytes| (free_bytes + used_bytes) / 2),
        };
        Ok(())
    }

    fn open_folders_bytes(&self) -> u64 {
        self.folders.values().map(|folder| folder.total_bytes).sum()
    }

    fn folder_name(&self, log: &LogId) -> FolderName {
        FolderName::for_log(&log.target, &log.author, &self.own_id)
    }

    /// Opens a folder and returns its stored ranges. If the folder is already open, reads it again.
    ///
    /// # Errors
    /// The folder or a file in it can't be created, read, cut or removed. Damaged content is not
    /// an error.
    pub fn open_folder(&mut self, name: &FolderName) -> io::Result<LogRanges> {
        let dir = self.dir.join(name.as_str());
        let reopened = self.folders.remove(name);
        let closed_bytes = match reopened {
            Some(_) => 0,
            None => segment_file::folder_bytes(&dir)?,
        };
        let segment_bytes = self.limits.segment_bytes;
        let (mut folder, ranges) = Folder::open(dir, name, self.network, segment_bytes)?;
        if let Some(reopened) = reopened {
            folder.existed_before = reopened.existed_before;
            // This run may have created files already.
            folder.opened_segment = None;
        }
        self.closed_folders_bytes = self.closed_folders_bytes.saturating_sub(closed_bytes);
        self.folders.insert(name.clone(), folder);
        Ok(ranges)
    }

    /// Takes the folders in which damage was found since the previous call.
    pub fn take_suspects(&mut self) -> Vec<FolderName> {
        let is_any_suspect = self.found_damage.swap(false, Ordering::Relaxed);
        let folders = self.folders.iter_mut();
        let suspects = folders.filter_map(|(name, folder)| {
            (folder.take_suspicion() || is_any_suspect).then(|| name.clone())
        });
        suspects.collect()
    }

    /// The audit of an open folder. `None`: the folder is not open, or it neither stores lines nor
    /// should.
    pub fn audit_request(
        &self,
        name: &FolderName,
        core: &dyn ReplicationState,
    ) -> Option<AuditRequest> {
        let folder = self.folders.get(name)?;
        let ranges = core.frontier(name);
        if folder.segment_numbers.is_empty() && ranges.is_empty() {
            return None;
        }
        Some(AuditRequest {
            folder: name.clone(),
            dir: folder.dir.clone(),
            network: self.network,
            segment_numbers: folder.segment_numbers.clone(),
            ranges,
            printed: folder.readers.own().state().map(|state| state.printed),
            end: folder.end(),
            author_bytes: folder.author_bytes.clone(),
            known_damage: folder.lasting_damage.clone(),
            false_batches: folder.false_batches.take(),
        })
    }

    /// Moves the damaged lines that an audit found to files beside their segments.
    pub fn set_damage_aside(&mut self, audit: Audit, core: &dyn ReplicationState) {
        let segment_bytes = self.limits.segment_bytes;
        let ranges = core.frontier(&audit.folder);
        if let Some(folder) = self.folders.get_mut(&audit.folder) {
            folder.correct_author_bytes(&audit);
            folder.set_damage_aside(audit.damaged, &ranges, segment_bytes);
            folder.request_dir_sync(&mut self.fsync);
        }
    }

    /// Takes the reports of damage that was found since the previous call.
    pub fn take_damage(&mut self) -> Vec<DamageReport> {
        let folders = self.folders.values_mut();
        folders.flat_map(Folder::take_damage).collect()
    }

    /// The rooms of which this directory has a folder that `is_selected` selects, by its path.
    /// Includes rooms that are not open.
    pub fn stored_rooms(&self, is_selected: &dyn Fn(&Path) -> bool) -> Vec<Room> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let selected = entries.filter(|entry| is_selected(&entry.path()));
        let room = |name: &str| FolderName::parse(name)?.room();
        selected
            .filter_map(|entry| entry.file_name().to_str().and_then(room))
            .collect()
    }

    /// The folder with this name. `None`: the folder is not open.
    pub fn folder(&self, name: &FolderName) -> Option<&Folder> {
        self.folders.get(name)
    }

    /// The folder that stores a log. `None`: the folder is not open.
    pub fn folder_of_log(&self, log: &LogId) -> Option<&Folder> {
        self.folders.get(&self.folder_name(log))
    }

    /// Appends a batch to its folder, completely or not at all.
    ///
    /// # Errors
    /// The folder is not open (`NotFound`), or the disk is full or broken.
    pub fn save(&mut self, batch: &Batch, local: LocalFields) -> io::Result<()> {
        let name = self.folder_name(&batch.log);
        let Some(folder) = self.folders.get_mut(&name) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        batch.write_stored(local, &mut self.scratch);
        let marked = if batch.log.author == self.own_id && name.room().is_some() {
            folder.unacknowledged.set()
        } else {
            Ok(())
        };
        let (segment_bytes, fsync) = (self.limits.segment_bytes, &mut self.fsync);
        let saved = marked.and_then(|()| folder.append(&self.scratch, batch, segment_bytes, fsync));
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

    /// Mutable access to an open folder.
    pub fn folder_mut(&mut self, name: &FolderName) -> Option<&mut Folder> {
        self.folders.get_mut(name)
    }

    /// Corrects the recorded times at which the readers began. See
    /// [`crate::shell::store::store::Store::correct_readers`].
    pub fn correct_readers(&mut self, now: &Moment) {
        for folder in self.folders.values_mut() {
            for reader in folder.readers.iter_mut() {
                reader.correct_wall(now);
            }
        }
    }

    /// Records that the lines before `printed` in a folder and those of `backlog` are printed.
    ///
    /// # Errors
    /// The folder is not open (`NotFound`), or the disk is full or broken.
    pub fn record_printed(
        &mut self,
        name: &FolderName,
        reader: Option<&Nick>,
        printed: Position,
        backlog: Option<PrintedBacklog>,
    ) -> io::Result<()> {
        match self.folders.get_mut(name) {
            Some(folder) => {
                let fsync = &mut self.fsync;
                folder
                    .readers
                    .record_printed(reader, printed, backlog, fsync)
            }
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Starts new segments and evicts lines. See
    /// [`crate::shell::store::store::Store::enforce_limits`].
    ///
    /// # Errors
    /// The disk is full or broken. No line was evicted.
    pub fn enforce_limits(&mut self, core: &dyn ReplicationState) -> io::Result<Vec<EvictedLog>> {
        let rotation = Rotation {
            segment_bytes: self.limits.segment_bytes,
            own_id: self.own_id,
            core,
        };
        let is_due = |name: &FolderName, folder: &Folder| {
            folder.is_rotation_due() || rotation.is_unblocked(name, folder)
        };
        if !self.folders.iter().any(|(name, it)| is_due(name, it)) {
            return Ok(Vec::new());
        }
        let mut over = self.bytes_over_quota(core);
        let mut evicted = Vec::new();
        let mut result = Ok(());
        for (name, folder) in self.folders.iter_mut() {
            let over = over.remove(name).unwrap_or_default();
            if !is_due(name, folder) && over.is_empty() {
                continue;
            }
            match rotation.apply(name, folder, over, &mut self.fsync) {
                Ok(mut logs) => {
                    self.fsync.drop_removed();
                    folder.request_dir_sync(&mut self.fsync);
                    evicted.append(&mut logs);
                }
                Err(e) => {
                    folder.postpone_rotation();
                    result = Err(e);
                }
            }
        }
        // The core must learn of evictions even if another folder failed. A later turn retries
        // that folder and reports its error.
        if evicted.is_empty() {
            result?;
        }
        Ok(evicted)
    }

    fn bytes_over_quota(&self, core: &dyn ReplicationState) -> BytesToEvict {
        let mut usages = Vec::new();
        for (name, folder) in &self.folders {
            for (author, bytes) in &*folder.author_bytes {
                usages.push(AuthorUsage {
                    folder: name,
                    author: *author,
                    standing: core.standing(name, author),
                    bytes: *bytes,
                });
            }
        }
        let used_bytes = self.open_folders_bytes() + self.closed_folders_bytes;
        let excess_bytes = used_bytes.saturating_sub(self.total_max_bytes);
        bytes_over_quota(usages, &self.limits, excess_bytes)
    }

    /// Whether no more of our lines can be stored. See
    /// [`crate::shell::store::store::Store::is_full`].
    pub fn is_full(&mut self) -> bool {
        if self.is_out_of_space
            && available_bytes(&self.dir).is_some_and(|free| free >= FREE_SPACE_MIN_BYTES)
        {
            self.is_out_of_space = false;
        }
        self.is_out_of_space
            || self
                .folders
                .values()
                .any(|folder| folder.quota_block.is_some())
    }

    /// Syncs what this run has written. Blocks until the data is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&mut self) -> io::Result<()> {
        self.folders.values().try_for_each(Folder::sync)?;
        // Segments that are full, and directories from which files were removed.
        self.fsync.sync_waiting()
    }

    /// Access to the background sync.
    pub fn fsync(&mut self) -> &mut Fsync {
        &mut self.fsync
    }

    /// Closes the store at a clean end. See [`crate::shell::store::store::Store::close`].
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn close(&mut self, core: &dyn ReplicationState) -> io::Result<()> {
        for (name, folder) in self.folders.iter_mut() {
            folder.write_checkpoint(&core.frontier(name))?;
            if core.is_acknowledged(name) {
                folder.unacknowledged.clear();
            }
        }
        self.sync()
    }
}

/// Free bytes, for this user, on the disk that contains `dir`. In the first run `dir` does not
/// exist yet, so its nearest existing ancestor is asked. `None`: the system does not tell.
fn available_bytes(dir: &Path) -> Option<u64> {
    // A relative path has no existing ancestor if its first directory is missing.
    let mut dirs = dir.ancestors().chain([Path::new(".")]);
    dirs.find_map(|dir| available_bytes_at(dir).ok())
}

/// Free bytes, for this user, on the disk that contains the existing directory `dir`.
fn available_bytes_at(dir: &Path) -> io::Result<u64> {
    let stat = nix::sys::statvfs::statvfs(dir)?;
    Ok(stat.blocks_available() as u64 * stat.fragment_size() as u64)
}
