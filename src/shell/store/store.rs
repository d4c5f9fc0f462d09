//! What was said, kept: on disk, or in memory for a program that leaves no trace. The core decides, the store keeps.
//!
//! One writer, the loop; everything is written in the turn, to the page cache, so that it survives the death of the process. A helper
//! thread brings it to the medium every five seconds, and [`Store::close`] at the end.
use std::io;
use std::path::Path;

use crate::base::batch::{Batch, Local, LogId};
use crate::base::event::{Position, Stored};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{Folder, Room};
use crate::base::range::Range;
use crate::shell::store::disk::Disk;
use crate::shell::store::memory::Memory;
use crate::shell::store::quota::{Core, Limits};
use crate::shell::store::read_only::View;
use crate::shell::store::scan::Archive;

/// The history of all joined rooms, and the direct messages.
pub struct Store {
    own: PeerId,
    kind: Kind,
}

enum Kind {
    Disk(Box<Disk>),
    Memory(Memory),
    View(Box<View>),
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
        limits: Limits,
    ) -> io::Result<Store> {
        let disk = Disk::open(dir, network, own, clean, limits)?;
        let kind = Kind::Disk(Box::new(disk));
        Ok(Store { own, kind })
    }

    /// A store that ends with the process. Of the limits only `memory` counts.
    pub fn in_memory(own: PeerId, network: NetworkTag, limits: Limits) -> Store {
        let kind = Kind::Memory(Memory::new(own, network, limits.memory));
        Store { own, kind }
    }

    /// Another program's store, to be read alone.
    pub fn view(view: View) -> Store {
        let kind = Kind::View(Box::new(view));
        Store {
            own: PeerId([0; 32]),
            kind,
        }
    }

    /// Of a [`Store::view`]: the folder stands open, and goes as far as this.
    pub fn open_view(&mut self, folder: &Folder, end: Position) {
        if let Kind::View(view) = &mut self.kind {
            view.open(folder, end);
        }
    }

    /// Of a [`Store::view`]: it goes as far as this now.
    pub fn reaches(&mut self, folder: &Folder, end: Position) {
        if let Kind::View(view) = &mut self.kind {
            view.reaches(folder, end);
        }
    }

    fn folder(&self, log: &LogId) -> Folder {
        Folder::of(&log.target, &log.author, &self.own)
    }

    /// Opens a folder, and gives back what it holds. One that is open is read anew. Lines that a crash left half-written are cut off.
    ///
    /// # Errors
    /// A folder or a file cannot be made, read, cut or removed; never for what a file holds.
    pub fn join(&mut self, folder: &Folder) -> io::Result<Vec<Range>> {
        match &mut self.kind {
            Kind::Disk(disk) => disk.join(folder),
            Kind::Memory(memory) => Ok(memory.join(folder)),
            Kind::View(_) => Ok(Vec::new()),
        }
    }

    /// Rooms in which lines of our own wait for somebody to hold them: of this or of earlier runs.
    pub fn waiting(&self) -> Vec<Room> {
        match &self.kind {
            Kind::Disk(disk) => disk.waiting(),
            Kind::Memory(_) | Kind::View(_) => Vec::new(),
        }
    }

    /// Was this directory in the folder in an earlier run, or, in memory, this run before?
    pub fn was_there(&self, folder: &Folder) -> bool {
        match &self.kind {
            Kind::Disk(disk) => disk.shelf(folder).is_some_and(|shelf| shelf.before),
            Kind::Memory(memory) => memory.was_there(folder),
            Kind::View(_) => false,
        }
    }

    /// Appends a batch to its folder. All or nothing.
    ///
    /// # Errors
    /// The folder is not open (`NotFound`), or the disk is full or broken.
    pub fn save(&mut self, batch: &Batch, local: Local) -> io::Result<()> {
        let folder = &self.folder(&batch.log);
        match &mut self.kind {
            Kind::Disk(disk) => disk.save(folder, batch, local),
            Kind::Memory(memory) => memory.save(folder, batch, local),
            Kind::View(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// To be called once the core's outputs are carried out, and failed saves were told to it. Begins new segments where the last is
    /// full, and drops what is over a quota: each log with the first line that stays, for the core to be told.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing is lost: the old segments go on, and a later turn tries again.
    pub fn end_turn(&mut self, core: &dyn Core) -> io::Result<Vec<(LogId, u64)>> {
        match &mut self.kind {
            Kind::Disk(disk) => disk.end_turn(core),
            Kind::Memory(memory) => Ok(memory.end_turn(core)),
            Kind::View(_) => Ok(Vec::new()),
        }
    }

    /// No more of our own can be kept, for the disk is full, or peers lack too much of it: stdin must wait. May become false without
    /// anything said to the store, so it is to be asked again, once a second is enough.
    pub fn full(&mut self) -> bool {
        match &mut self.kind {
            Kind::Disk(disk) => disk.full(),
            Kind::Memory(memory) => memory.full(),
            Kind::View(_) => false,
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
        match &self.kind {
            Kind::Disk(disk) => match disk.shelf(&self.folder(log)) {
                Some(shelf) => shelf.load(log, from, at, budget),
                None => Ok(Vec::new()),
            },
            Kind::Memory(memory) => Ok(memory.load(log, from, at, budget)),
            Kind::View(_) => Ok(Vec::new()),
        }
    }

    /// What came into a folder after `at`, in order of arrival, about `budget` bytes but at least one batch; `at` goes on behind it.
    /// Empty: that is all for now. [`Position::default`] is the beginning.
    ///
    /// # Errors
    /// A segment cannot be read: `at` is behind it, but stays if a later call may do better.
    pub fn read_on(
        &self,
        folder: &Folder,
        at: &mut Position,
        budget: usize,
    ) -> io::Result<Vec<Stored>> {
        match &self.kind {
            Kind::Disk(disk) => match disk.shelf(folder) {
                Some(shelf) => shelf.read_on(at, budget),
                None => Ok(Vec::new()),
            },
            Kind::Memory(memory) => Ok(memory.read_on(folder, at, budget)),
            Kind::View(view) => view.read_on(folder, at, budget),
        }
    }

    /// The numbers of a folder's segments, upwards. Those of a folder that cannot be read are none.
    pub fn segments(&self, folder: &Folder) -> Vec<u64> {
        match &self.kind {
            Kind::Disk(disk) => disk
                .shelf(folder)
                .map(|shelf| shelf.segments.clone())
                .unwrap_or_default(),
            Kind::Memory(_) => vec![Position::default().segment],
            Kind::View(view) => view.segments(folder).unwrap_or_default(),
        }
    }

    /// Behind all that is stored in a folder.
    pub fn end(&self, folder: &Folder) -> Position {
        match &self.kind {
            Kind::Disk(disk) => disk
                .shelf(folder)
                .map(|shelf| shelf.end())
                .unwrap_or_default(),
            Kind::Memory(memory) => memory.end(),
            Kind::View(view) => view.end(folder),
        }
    }

    /// Up to where this directory last printed a folder; `None`: it never did.
    pub fn printed(&self, folder: &Folder) -> Option<Position> {
        match &self.kind {
            Kind::Disk(disk) => disk.shelf(folder)?.printed(),
            Kind::Memory(memory) => memory.printed(folder),
            Kind::View(view) => view.printed(folder),
        }
    }

    /// # Errors
    /// The disk is full or broken, or the folder is not open.
    pub fn set_printed(&mut self, folder: &Folder, position: Position) -> io::Result<()> {
        match &mut self.kind {
            Kind::Disk(disk) => disk.set_printed(folder, position),
            Kind::Memory(memory) => {
                memory.set_printed(folder, position);
                Ok(())
            }
            Kind::View(view) => view.set_printed(folder, position),
        }
    }

    /// All that is stored, for one who looks back: rooms that are not joined, too.
    pub fn archive(&self) -> (Archive<'_>, NetworkTag) {
        match &self.kind {
            Kind::Disk(disk) => (Archive::Disk(disk.dir.clone()), disk.network),
            Kind::Memory(memory) => (Archive::Memory(memory), memory.network),
            Kind::View(view) => (Archive::Disk(view.dir.clone()), view.network),
        }
    }

    /// Waits until all is on the medium.
    ///
    /// # Errors
    /// The medium refuses.
    pub fn sync(&self) -> io::Result<()> {
        match &self.kind {
            Kind::Disk(disk) => disk.sync(),
            Kind::Memory(_) | Kind::View(_) => Ok(()),
        }
    }

    /// A clean end: notes what is held, so that the next start is quick, and waits until all is on the medium.
    ///
    /// # Errors
    /// The disk is full or broken: the end is not to be marked as clean.
    pub fn close(mut self, core: &dyn Core) -> io::Result<()> {
        match &mut self.kind {
            Kind::Disk(disk) => disk.close(core),
            Kind::Memory(_) | Kind::View(_) => Ok(()),
        }
    }

    /// Did the medium refuse something in the background since this was last asked?
    pub fn take_sync_failed(&self) -> bool {
        match &self.kind {
            Kind::Disk(disk) => disk.take_sync_failed(),
            Kind::Memory(_) | Kind::View(_) => false,
        }
    }
}
