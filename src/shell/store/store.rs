//! The history behind one interface: on disk or in memory. The core decides which lines are stored,
//! and the store saves them.
//!
//! The event loop is the only writer. When a save returns, its data is in the page cache and
//! survives a crash of the process. A helper thread syncs within five seconds. [`Store::close`]
//! syncs at the end.
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::batch::batch::{Batch, LocalFields};
use crate::base::event::load::{LogCursor, Position, StoredBatch};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Nick, Room};
use crate::base::range::LogRanges;
use crate::base::table::SortedSet;
use crate::base::time::{ReaderStart, WallTime};
use crate::shell::os::clock::Moment;
use crate::shell::store::audit::{Audit, AuditRequest};
use crate::shell::store::damage::DamageReport;
use crate::shell::store::disk::DiskStore;
use crate::shell::store::eviction::EvictedLog;
use crate::shell::store::folder::Folder;
use crate::shell::store::fsync::Fsync;
use crate::shell::store::memory::MemoryStore;
use crate::shell::store::quota::StoreLimits;
use crate::shell::store::reader::{PrintedBacklog, Reader, ReaderState};
use crate::shell::store::replication_state::ReplicationState;
use crate::shell::store::scan::HistorySource;
use crate::shell::store::unacknowledged_marker::UnacknowledgedMarker;

/// Number of bytes to read from the store at a time. Without this bound, a lagging reader would
/// hold up the event loop.
pub const READ_BYTES: usize = 64 * 1024;

/// The history of all open folders: rooms, direct messages, and messages carried for others.
pub struct Store {
    backend: Backend,
    /// The authors whose lines the user does not want to see. Their lines are stored as others'.
    ignored: SortedSet<PeerId>,
}

enum Backend {
    Disk(Box<DiskStore>),
    Memory(MemoryStore),
}

impl Store {
    /// Opens the store of `network` in the history directory `dir`. Opens no folder.
    ///
    /// # Errors
    /// The size of a folder can't be read.
    pub fn open(
        dir: &Path,
        network: NetworkTag,
        own_id: PeerId,
        limits: StoreLimits,
    ) -> io::Result<Store> {
        let disk = DiskStore::open(dir, network, own_id, limits)?;
        Ok(Store {
            backend: Backend::Disk(Box::new(disk)),
            ignored: SortedSet::new(),
        })
    }

    /// Creates a store in memory, which is lost when the process ends. Of `limits`, only
    /// `memory_bytes` applies.
    pub fn in_memory(own_id: PeerId, network: NetworkTag, limits: StoreLimits) -> Store {
        let memory = MemoryStore::new(own_id, network, limits.memory_bytes);
        Store {
            backend: Backend::Memory(memory),
            ignored: SortedSet::new(),
        }
    }

    /// Sets the authors whose lines no transcript shows.
    pub fn set_ignored(&mut self, ignored: SortedSet<PeerId>) {
        self.ignored = ignored;
    }

    /// Whether no transcript shows lines of this author.
    pub fn is_ignored(&self, author: &PeerId) -> bool {
        self.ignored.contains(author)
    }

    /// Opens a folder and returns its stored ranges. If the folder is already open, reads it again.
    /// Lines that a crash left incomplete are cut off, and damaged lines are set aside. See
    /// [`Store::take_damage`].
    ///
    /// # Errors
    /// The folder or a file in it can't be created, read, cut or removed. Damaged content is not
    /// an error.
    pub fn open_folder(&mut self, folder: &FolderName) -> io::Result<LogRanges> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.open_folder(folder),
            Backend::Memory(memory) => Ok(memory.open_folder(folder)),
        }
    }

    /// The rooms with lines of ours that perhaps no other peer stores yet. Includes rooms that are
    /// not open, and lines of earlier runs.
    pub fn rooms_with_unacknowledged(&self) -> Vec<Room> {
        match &self.backend {
            Backend::Disk(disk) => disk.stored_rooms(&UnacknowledgedMarker::is_set_in),
            Backend::Memory(_) => Vec::new(),
        }
    }

    /// The rooms of which this directory has a folder, in the network of the store.
    pub fn stored_rooms(&self) -> Vec<Room> {
        match &self.backend {
            Backend::Disk(disk) => disk.stored_rooms(&|_| true),
            Backend::Memory(_) => Vec::new(),
        }
    }

    /// Whether the folder existed before this run. For a store in memory: whether this run opened
    /// the folder more than once.
    pub fn existed_before(&self, folder: &FolderName) -> bool {
        match &self.backend {
            Backend::Disk(disk) => disk
                .folder(folder)
                .is_some_and(|folder| folder.existed_before),
            Backend::Memory(memory) => memory.existed_before(folder),
        }
    }

    /// Appends a batch to its folder, completely or not at all.
    ///
    /// # Errors
    /// The folder is not open (`NotFound`), or the disk is full or broken.
    pub fn save(&mut self, batch: &Batch, local: LocalFields) -> io::Result<()> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.save(batch, local),
            Backend::Memory(memory) => memory.save(batch, local),
        }
    }

    /// Starts a new segment in each folder whose active segment is full, and evicts lines above the
    /// limits. Returns the logs that lost lines, which the caller must report to the core. Must be
    /// called at the end of a turn, when the core knows which saves have failed.
    ///
    /// # Errors
    /// The disk is full or broken. No line was evicted, and a later turn retries.
    pub fn enforce_limits(&mut self, core: &dyn ReplicationState) -> io::Result<Vec<EvictedLog>> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.enforce_limits(core),
            Backend::Memory(memory) => Ok(memory.enforce_limits(core)),
        }
    }

    /// Whether no more of our lines can be stored. Either the disk is full, or too many of our
    /// lines must be kept for peers that lack them. While this is true, stdin must not be read. The
    /// caller must ask again every second, because space may become free.
    pub fn is_full(&mut self) -> bool {
        match &mut self.backend {
            Backend::Disk(disk) => disk.is_full(),
            Backend::Memory(memory) => memory.is_full(),
        }
    }

    /// Reads batches of some logs of one folder in one pass. Of each log, reads batches in
    /// ascending order. The first one contains the cursor's line. If that line is missing, the
    /// first one is the next stored batch. Reads about `budget_bytes` in all, but at least one
    /// batch. Sets the position of each cursor to where the next call continues.
    ///
    /// The result has one item for each cursor: see [`batches`].
    ///
    /// [`batches`]: crate::base::event::load::LoadedLog::batches
    ///
    /// # Errors
    /// A segment can't be read. If file descriptors or memory ran out, the next call tries the
    /// segment again. After any other error, the positions are set so that the next call skips the
    /// segment.
    pub fn load(
        &self,
        cursors: &mut [LogCursor],
        budget_bytes: usize,
    ) -> io::Result<Vec<Option<Vec<Batch>>>> {
        let Some(first) = cursors.first() else {
            return Ok(Vec::new());
        };
        match &self.backend {
            Backend::Disk(disk) => match disk.folder_of_log(&first.log) {
                Some(folder) => folder.load(cursors, budget_bytes),
                None => Ok(cursors.iter().map(|_| Some(Vec::new())).collect()),
            },
            Backend::Memory(memory) => Ok(memory.load(cursors, budget_bytes)),
        }
    }

    /// Reads the batches of a folder at position `at` and after it, in order of arrival.
    /// [`Position::default`] is the beginning of the folder. Reads about `budget_bytes`, but at
    /// least one batch. Sets `at` to the position after the last batch read. An empty result: no
    /// further batch is stored yet.
    ///
    /// # Errors
    /// A segment can't be read. If file descriptors or memory ran out, the next call tries the
    /// segment again. After any other error, `at` is set so that the next call skips the segment.
    pub fn read_from(
        &self,
        folder: &FolderName,
        at: &mut Position,
        budget_bytes: usize,
    ) -> io::Result<Vec<StoredBatch>> {
        match &self.backend {
            Backend::Disk(disk) => match disk.folder(folder) {
                Some(folder) => folder.read_from(at, budget_bytes),
                None => Ok(Vec::new()),
            },
            Backend::Memory(memory) => Ok(memory.read_from(folder, at, budget_bytes)),
        }
    }

    /// The numbers of a folder's segments, in ascending order. Empty if the folder can't be read.
    pub fn segment_numbers(&self, folder: &FolderName) -> Vec<u64> {
        match &self.backend {
            Backend::Disk(disk) => disk
                .folder(folder)
                .map(|folder| folder.segment_numbers.clone())
                .unwrap_or_default(),
            Backend::Memory(_) => vec![Position::default().segment],
        }
    }

    /// The position after the last batch stored in a folder.
    pub fn end(&self, folder: &FolderName) -> Position {
        match &self.backend {
            Backend::Disk(disk) => disk
                .folder(folder)
                .map(|folder| folder.end())
                .unwrap_or_default(),
            Backend::Memory(memory) => memory.end(),
        }
    }

    /// The position after the lines of a folder that a reader has printed. `None`: it has not
    /// begun there. Without a name, `reader` is the directory's own.
    pub fn printed_position(&self, folder: &FolderName, reader: Option<&Nick>) -> Option<Position> {
        Some(self.reader(folder, reader)?.printed)
    }

    /// The backlogs with printed lines beyond [`Store::printed_position`].
    pub fn printed_backlogs(
        &self,
        folder: &FolderName,
        reader: Option<&Nick>,
    ) -> &[PrintedBacklog] {
        let reader = self.reader(folder, reader);
        reader.map_or(&[], |reader| &reader.backlogs)
    }

    /// What is recorded of a reader of a folder. `None`: it has not begun.
    fn reader(&self, folder: &FolderName, reader: Option<&Nick>) -> Option<&ReaderState> {
        match (&self.backend, reader) {
            (Backend::Disk(disk), _) => disk.folder(folder)?.readers.get(reader)?.state(),
            (Backend::Memory(memory), None) => memory.reader(folder),
            (Backend::Memory(_), Some(_)) => None,
        }
    }

    /// Begins a reader of an open folder, unless it has begun. The new reader does not print the
    /// lines that are already stored. Returns false if there are too many readers, or the store in
    /// memory was to have one with a name.
    pub fn begin_reader(
        &mut self,
        folder: &FolderName,
        reader: Option<&Nick>,
        now: &Moment,
    ) -> bool {
        match (&mut self.backend, reader) {
            (Backend::Disk(disk), _) => {
                let open = disk.folder_mut(folder);
                open.is_some_and(|open| {
                    let end = open.end();
                    open.readers.begin(&open.dir, reader, now, end)
                })
            }
            (Backend::Memory(memory), None) => {
                memory.begin_reader(folder, now);
                true
            }
            (Backend::Memory(_), Some(_)) => false,
        }
    }

    /// When the readers of a folder began, all that have. `started` is when this program started. A
    /// time in the same boot is relative to `started`.
    pub fn reader_starts(&self, folder: &FolderName, started: &Moment) -> Vec<ReaderStart> {
        let states: Vec<&ReaderState> = match &self.backend {
            Backend::Disk(disk) => {
                let folder = disk.folder(folder).into_iter();
                let readers = folder.flat_map(|folder| folder.readers.iter());
                readers.filter_map(Reader::state).collect()
            }
            Backend::Memory(memory) => memory.reader(folder).into_iter().collect(),
        };
        states.iter().map(|state| state.start(started)).collect()
    }

    /// Whether a line of a folder, published at this time by our wall clock, is older than a
    /// reader.
    pub fn is_before_reader(
        &self,
        folder: &FolderName,
        reader: Option<&Nick>,
        published: WallTime,
    ) -> bool {
        let reader = self.reader(folder, reader);
        reader.is_some_and(|reader| published < reader.began.wall)
    }

    /// Corrects the recorded start times of readers after the wall clock was set. Corrects only
    /// readers that began in this boot. A later boot can compare only wall-clock times, and so
    /// needs correct ones.
    pub fn correct_readers(&mut self, now: &Moment) {
        match &mut self.backend {
            Backend::Disk(disk) => disk.correct_readers(now),
            Backend::Memory(memory) => memory.correct_readers(now),
        }
    }

    /// Records that the lines before `printed` in a folder and those of `backlog` are printed.
    ///
    /// # Errors
    /// The disk is full or broken, or the folder is not open.
    pub fn record_printed(
        &mut self,
        folder: &FolderName,
        reader: Option<&Nick>,
        printed: Position,
        backlog: Option<PrintedBacklog>,
    ) -> io::Result<()> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.record_printed(folder, reader, printed, backlog),
            Backend::Memory(memory) => {
                if reader.is_none() {
                    memory.record_printed(folder, printed, backlog);
                }
                Ok(())
            }
        }
    }

    /// All stored lines for a history query, and their network. Includes folders that are not
    /// open.
    pub fn history_source(&self) -> (HistorySource<'_>, NetworkTag) {
        match &self.backend {
            Backend::Disk(disk) => (HistorySource::Disk(disk.dir.clone()), disk.network),
            Backend::Memory(memory) => (HistorySource::Memory(memory), memory.network),
        }
    }

    /// Syncs what this run has written. Blocks until the data is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&mut self) -> io::Result<()> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.sync(),
            Backend::Memory(_) => Ok(()),
        }
    }

    /// Closes the store at a clean end. Writes frontier lines, which make the next start quick.
    /// Blocks until all data is on disk.
    ///
    /// # Errors
    /// The disk is full or broken. The caller must not record a clean end.
    pub fn close(mut self, core: &dyn ReplicationState) -> io::Result<()> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.close(core),
            Backend::Memory(_) => Ok(()),
        }
    }

    /// Takes the open folders in which a read found damage since the previous call. They should be
    /// audited.
    pub fn take_suspects(&mut self) -> Vec<FolderName> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.take_suspects(),
            Backend::Memory(_) => Vec::new(),
        }
    }

    /// The audit of an open folder, which may run in another thread. `None`: the folder is not
    /// open, or the store is in memory.
    pub fn audit_request(
        &self,
        folder: &FolderName,
        core: &dyn ReplicationState,
    ) -> Option<AuditRequest> {
        match &self.backend {
            Backend::Disk(disk) => disk.audit_request(folder, core),
            Backend::Memory(_) => None,
        }
    }

    /// Moves the damaged lines that an audit found to files beside their segments. To be called
    /// when the core knows which lines are lost.
    pub fn set_damage_aside(&mut self, audit: Audit, core: &dyn ReplicationState) {
        if let Backend::Disk(disk) = &mut self.backend {
            disk.set_damage_aside(audit, core);
        }
    }

    /// Reports that a reader found damage in some folder. All open folders should be audited.
    pub fn report_damage(&self) {
        self.damage_flag().store(true, Ordering::Relaxed);
    }

    /// Lets a history query in another thread report that it found damage.
    pub fn damage_flag(&self) -> Arc<AtomicBool> {
        match &self.backend {
            Backend::Disk(disk) => Arc::clone(&disk.found_damage),
            Backend::Memory(_) => Arc::default(),
        }
    }

    /// Takes the parts of damaged lines of an opened folder that the reader has printed.
    pub fn take_printed_parts(&mut self, folder: &FolderName) -> Vec<Box<[u8]>> {
        match &mut self.backend {
            Backend::Disk(disk) => disk
                .folder_mut(folder)
                .map_or(Vec::new(), Folder::take_printed_parts),
            Backend::Memory(_) => Vec::new(),
        }
    }

    /// Takes the reports of damage that was found since the previous call.
    pub fn take_damage(&mut self) -> Vec<DamageReport> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.take_damage(),
            Backend::Memory(_) => Vec::new(),
        }
    }

    /// The background sync. `None`: the store is in memory.
    pub fn fsync(&mut self) -> Option<&mut Fsync> {
        match &mut self.backend {
            Backend::Disk(disk) => Some(disk.fsync()),
            Backend::Memory(_) => None,
        }
    }
}
