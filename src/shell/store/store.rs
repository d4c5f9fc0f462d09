//! What was said, kept: on disk, or in memory for a program that leaves no trace. The core decides, the store keeps.
//!
//! One writer, the loop; everything is written in the turn, to the page cache, so that it survives the death of the process. A helper
//! thread brings it to the medium every five seconds, and [`Store::close`] at the end.
use std::io;
use std::path::Path;

use crate::base::batch::{Batch, LocalFields, LogId};
use crate::base::event::{Position, StoredBatch};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Room};
use crate::base::range::LogRange;
use crate::shell::store::disk::DiskStore;
use crate::shell::store::memory::MemoryStore;
use crate::shell::store::quota::{ReplicationState, StoreLimits};
use crate::shell::store::read_only::ReadOnlyStore;
use crate::shell::store::scan::HistorySource;

/// The history of all joined rooms, and the direct messages.
pub struct Store {
    own_id: PeerId,
    backend: Backend,
}

enum Backend {
    Disk(Box<DiskStore>),
    Memory(MemoryStore),
    ReadOnly(Box<ReadOnlyStore>),
}

impl Store {
    /// The history in `dir`; each folder of it is still to be joined. `clean`: the last run ended well, so signatures need not be checked.
    ///
    /// # Errors
    /// What is there cannot be measured.
    pub fn open(
        dir: &Path,
        network: NetworkTag,
        own: PeerId,
        clean: bool,
        limits: StoreLimits,
    ) -> io::Result<Store> {
        let disk = DiskStore::open(dir, network, own, clean, limits)?;
        let kind = Backend::Disk(Box::new(disk));
        Ok(Store {
            own_id: own,
            backend: kind,
        })
    }

    /// A store that ends with the process. Of the limits only `memory` counts.
    pub fn in_memory(own: PeerId, network: NetworkTag, limits: StoreLimits) -> Store {
        let kind = Backend::Memory(MemoryStore::new(own, network, limits.memory_bytes));
        Store {
            own_id: own,
            backend: kind,
        }
    }

    /// Another program's store, to be read alone.
    pub fn read_only(view: ReadOnlyStore) -> Store {
        let kind = Backend::ReadOnly(Box::new(view));
        Store {
            own_id: PeerId([0; 32]),
            backend: kind,
        }
    }

    /// Of a [`Store::view`]: the folder stands open, and goes as far as this.
    pub fn open_folder_read_only(&mut self, folder: &FolderName, end: Position) {
        if let Backend::ReadOnly(view) = &mut self.backend {
            view.open_folder(folder, end);
        }
    }

    /// Of a [`Store::view`]: it goes as far as this now.
    pub fn set_end(&mut self, folder: &FolderName, end: Position) {
        if let Backend::ReadOnly(view) = &mut self.backend {
            view.set_end(folder, end);
        }
    }

    fn folder_name(&self, log: &LogId) -> FolderName {
        FolderName::for_log(&log.target, &log.author, &self.own_id)
    }

    /// Opens a folder, and gives back what it holds. One that is open is read anew. Lines that a crash left half-written are cut off.
    ///
    /// # Errors
    /// A folder or a file cannot be made, read, cut or removed; never for what a file holds.
    pub fn open_folder(&mut self, folder: &FolderName) -> io::Result<Vec<LogRange>> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.open_folder(folder),
            Backend::Memory(memory) => Ok(memory.open_folder(folder)),
            Backend::ReadOnly(_) => Ok(Vec::new()),
        }
    }

    /// Rooms in which lines of our own wait for somebody to hold them: of this or of earlier runs.
    pub fn rooms_with_unacknowledged(&self) -> Vec<Room> {
        match &self.backend {
            Backend::Disk(disk) => disk.rooms_with_unacknowledged(),
            Backend::Memory(_) | Backend::ReadOnly(_) => Vec::new(),
        }
    }

    /// Was this directory in the folder in an earlier run, or, in memory, this run before?
    pub fn existed_before(&self, folder: &FolderName) -> bool {
        match &self.backend {
            Backend::Disk(disk) => disk
                .folder(folder)
                .is_some_and(|shelf| shelf.existed_before),
            Backend::Memory(memory) => memory.existed_before(folder),
            Backend::ReadOnly(_) => false,
        }
    }

    /// Appends a batch to its folder. All or nothing.
    ///
    /// # Errors
    /// The folder is not open (`NotFound`), or the disk is full or broken.
    pub fn save(&mut self, batch: &Batch, local: LocalFields) -> io::Result<()> {
        let folder = &self.folder_name(&batch.log);
        match &mut self.backend {
            Backend::Disk(disk) => disk.save(folder, batch, local),
            Backend::Memory(memory) => memory.save(folder, batch, local),
            Backend::ReadOnly(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// To be called once the core's outputs are carried out, and failed saves were told to it. Begins new segments where the last is
    /// full, and drops what is over a quota: each log with the first line that stays, for the core to be told.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing is lost: the old segments go on, and a later turn tries again.
    pub fn enforce_limits(&mut self, core: &dyn ReplicationState) -> io::Result<Vec<(LogId, u64)>> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.enforce_limits(core),
            Backend::Memory(memory) => Ok(memory.enforce_limits(core)),
            Backend::ReadOnly(_) => Ok(Vec::new()),
        }
    }

    /// No more of our own can be kept, for the disk is full, or peers lack too much of it: stdin must wait. May become false without
    /// anything said to the store, so it is to be asked again, once a second is enough.
    pub fn is_full(&mut self) -> bool {
        match &mut self.backend {
            Backend::Disk(disk) => disk.is_full(),
            Backend::Memory(memory) => memory.is_full(),
            Backend::ReadOnly(_) => false,
        }
    }

    /// Whole batches of one log upwards: first the one that holds `from`, or the next that is there. About `budget` bytes, but at least
    /// one batch; none: that is all for now. Behind `at` a later call goes on, also with what is stored after this one.
    ///
    /// # Errors
    /// A segment cannot be read: `at` is behind it, but stays if a later call may do better.
    pub fn load(
        &self,
        log: &LogId,
        from: u64,
        at: &mut Option<Position>,
        budget: usize,
    ) -> io::Result<Vec<Batch>> {
        match &self.backend {
            Backend::Disk(disk) => match disk.folder(&self.folder_name(log)) {
                Some(shelf) => shelf.load(log, from, at, budget),
                None => Ok(Vec::new()),
            },
            Backend::Memory(memory) => Ok(memory.load(log, from, at, budget)),
            Backend::ReadOnly(_) => Ok(Vec::new()),
        }
    }

    /// What came into a folder after `at`, in order of arrival, about `budget` bytes but at least one batch; `at` goes on behind it.
    /// Empty: that is all for now. [`Position::default`] is the beginning.
    ///
    /// # Errors
    /// A segment cannot be read: `at` is behind it, but stays if a later call may do better.
    pub fn read_from(
        &self,
        folder: &FolderName,
        at: &mut Position,
        budget: usize,
    ) -> io::Result<Vec<StoredBatch>> {
        match &self.backend {
            Backend::Disk(disk) => match disk.folder(folder) {
                Some(shelf) => shelf.read_from(at, budget),
                None => Ok(Vec::new()),
            },
            Backend::Memory(memory) => Ok(memory.read_from(folder, at, budget)),
            Backend::ReadOnly(view) => view.read_from(folder, at, budget),
        }
    }

    /// The numbers of a folder's segments, upwards. Those of a folder that cannot be read are none.
    pub fn segment_numbers(&self, folder: &FolderName) -> Vec<u64> {
        match &self.backend {
            Backend::Disk(disk) => disk
                .folder(folder)
                .map(|shelf| shelf.segment_numbers.clone())
                .unwrap_or_default(),
            Backend::Memory(_) => vec![Position::default().segment],
            Backend::ReadOnly(view) => view.segment_numbers(folder).unwrap_or_default(),
        }
    }

    /// Behind all that is stored in a folder.
    pub fn end(&self, folder: &FolderName) -> Position {
        match &self.backend {
            Backend::Disk(disk) => disk
                .folder(folder)
                .map(|shelf| shelf.end())
                .unwrap_or_default(),
            Backend::Memory(memory) => memory.end(),
            Backend::ReadOnly(view) => view.end(folder),
        }
    }

    /// Up to where this directory last printed a folder; `None`: it never did.
    pub fn printed_position(&self, folder: &FolderName) -> Option<Position> {
        match &self.backend {
            Backend::Disk(disk) => disk.folder(folder)?.printed_position(),
            Backend::Memory(memory) => memory.printed_position(folder),
            Backend::ReadOnly(view) => view.printed_position(folder),
        }
    }

    /// # Errors
    /// The disk is full or broken, or the folder is not open.
    pub fn set_printed_position(
        &mut self,
        folder: &FolderName,
        position: Position,
    ) -> io::Result<()> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.set_printed_position(folder, position),
            Backend::Memory(memory) => {
                memory.set_printed_position(folder, position);
                Ok(())
            }
            Backend::ReadOnly(view) => view.set_printed_position(folder, position),
        }
    }

    /// All that is stored, for one who looks back: rooms that are not joined, too.
    pub fn history_source(&self) -> (HistorySource<'_>, NetworkTag) {
        match &self.backend {
            Backend::Disk(disk) => (HistorySource::Disk(disk.dir.clone()), disk.network),
            Backend::Memory(memory) => (HistorySource::Memory(memory), memory.network),
            Backend::ReadOnly(view) => (HistorySource::Disk(view.dir.clone()), view.network),
        }
    }

    /// Waits until all is on the medium.
    ///
    /// # Errors
    /// The medium refuses.
    pub fn sync(&self) -> io::Result<()> {
        match &self.backend {
            Backend::Disk(disk) => disk.sync(),
            Backend::Memory(_) | Backend::ReadOnly(_) => Ok(()),
        }
    }

    /// A clean end: notes what is held, so that the next start is quick, and waits until all is on the medium.
    ///
    /// # Errors
    /// The disk is full or broken: the end is not to be marked as clean.
    pub fn close(mut self, core: &dyn ReplicationState) -> io::Result<()> {
        match &mut self.backend {
            Backend::Disk(disk) => disk.close(core),
            Backend::Memory(_) | Backend::ReadOnly(_) => Ok(()),
        }
    }

    /// Did the medium refuse something in the background since this was last asked?
    pub fn take_sync_failed(&self) -> bool {
        match &self.backend {
            Backend::Disk(disk) => disk.take_sync_failed(),
            Backend::Memory(_) | Backend::ReadOnly(_) => false,
        }
    }
}
