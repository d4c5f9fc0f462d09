//! What was said, kept: on disk, or in memory for a program that leaves no trace. The core decides, the store keeps.
//!
//! One writer, the loop; everything is written in the turn, to the page cache, so that it survives the death of the process. A helper
//! thread brings it to the medium every five seconds, and [`Store::close`] at the end.
use std::io;
use std::path::Path;

use super::archive::Archive;
use super::disk::Disk;
use super::memory::Memory;
use super::quota::{Core, Limits};
use super::view::View;
use crate::base::batch::{Batch, Local, LogId, Range};
use crate::base::event::{Position, Stored};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Room;

/// The history of all joined rooms.
pub struct Store(Kind);

enum Kind {
    Disk(Box<Disk>),
    Memory(Memory),
    View(Box<View>),
}

impl Store {
    /// Opens the history in `dir` and the rooms in it; gives back what they hold. `clean`: the last run ended well, so signatures need
    /// not be checked. Lines that a crash left half-written are cut off.
    ///
    /// # Errors
    /// A folder or a file cannot be made, read, cut or removed; never for what a file holds.
    pub fn open(
        dir: &Path,
        network: NetworkTag,
        own: PeerId,
        rooms: &[Room],
        clean: bool,
        limits: Limits,
    ) -> io::Result<(Store, Vec<Range>)> {
        let (disk, ranges) = Disk::open(dir, network, own, rooms, clean, limits)?;
        Ok((Store(Kind::Disk(Box::new(disk))), ranges))
    }

    /// A store that ends with the process. Of the limits only `memory` counts.
    pub fn in_memory(own: PeerId, network: NetworkTag, limits: Limits) -> Store {
        Store(Kind::Memory(Memory::new(own, network, limits.memory)))
    }

    /// Another program's store, to be read alone.
    pub fn view(view: View) -> Store {
        Store(Kind::View(Box::new(view)))
    }

    /// Of a [`Store::view`]: the room stands open, and goes as far as this.
    pub fn open_view(&mut self, room: &Room, end: Position) {
        if let Kind::View(view) = &mut self.0 {
            view.open(room, end);
        }
    }

    /// Of a [`Store::view`]: the room's history goes as far as this now.
    pub fn reaches(&mut self, room: &Room, end: Position) {
        if let Kind::View(view) = &mut self.0 {
            view.reaches(room, end);
        }
    }

    /// Opens a room, and gives back what it holds. One that is open is read anew.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn join(&mut self, room: &Room) -> io::Result<Vec<Range>> {
        match &mut self.0 {
            Kind::Disk(disk) => disk.join(room, false),
            Kind::Memory(memory) => {
                memory.join(room);
                Ok(Vec::new())
            }
            Kind::View(_) => Ok(Vec::new()),
        }
    }

    /// Was this directory in the room in an earlier run?
    pub fn was_there(&self, room: &Room) -> bool {
        match &self.0 {
            Kind::Disk(disk) => disk.shelf(room).is_some_and(|shelf| shelf.before),
            Kind::Memory(_) | Kind::View(_) => false,
        }
    }

    /// Appends a batch to its room's history. All or nothing.
    ///
    /// # Errors
    /// The room is not open (`NotFound`), or the disk is full or broken.
    pub fn save(&mut self, batch: &Batch, local: Local) -> io::Result<()> {
        let Some(room) = batch.log.target.room() else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        match &mut self.0 {
            Kind::Disk(disk) => disk.save(room, batch, local),
            Kind::Memory(memory) => memory.save(room, batch, local),
            Kind::View(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// To be called once the core's outputs are carried out, and failed saves were told to it. Begins new segments where the last is
    /// full, and drops what is over a quota: each log with the first line that stays, for the core to be told.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing is lost: the old segments go on, and a later turn tries again.
    pub fn end_turn(&mut self, core: &dyn Core) -> io::Result<Vec<(LogId, u64)>> {
        match &mut self.0 {
            Kind::Disk(disk) => disk.end_turn(core),
            Kind::Memory(memory) => Ok(memory.end_turn(core)),
            Kind::View(_) => Ok(Vec::new()),
        }
    }

    /// No more of our own can be kept, for the disk is full, or peers lack too much of it: stdin must wait. May become false without
    /// anything said to the store, so it is to be asked again, once a second is enough.
    pub fn full(&mut self) -> bool {
        match &mut self.0 {
            Kind::Disk(disk) => disk.full(),
            Kind::Memory(memory) => memory.full(),
            Kind::View(_) => false,
        }
    }

    /// Whole batches of one log upwards: first the one that holds `from`, or the next that is there. About `budget` bytes, but at least
    /// one batch; none: that is all for now. With the position that it gives back a later call goes on, also with what is stored after this one.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn load(
        &self,
        log: &LogId,
        from: u64,
        at: Option<Position>,
        budget: usize,
    ) -> io::Result<(Vec<Batch>, Option<Position>)> {
        match &self.0 {
            Kind::Disk(disk) => match log.target.room().and_then(|room| disk.shelf(room)) {
                Some(shelf) => shelf.load(log, from, at, budget),
                None => Ok((Vec::new(), at)),
            },
            Kind::Memory(memory) => Ok(memory.load(log, from, at, budget)),
            Kind::View(_) => Ok((Vec::new(), at)),
        }
    }

    /// What came into a room after `at`, in order of arrival, about `budget` bytes but at least one batch; `at` goes on behind it.
    /// Empty: that is all for now. [`Position::default`] is the beginning.
    ///
    /// # Errors
    /// A file cannot be read; `at` stays.
    pub fn read_on(
        &self,
        room: &Room,
        at: &mut Position,
        budget: usize,
    ) -> io::Result<Vec<Stored>> {
        match &self.0 {
            Kind::Disk(disk) => match disk.shelf(room) {
                Some(shelf) => shelf.read_on(at, budget),
                None => Ok(Vec::new()),
            },
            Kind::Memory(memory) => Ok(memory.read_on(room, at, budget)),
            Kind::View(view) => view.read_on(room, at, budget),
        }
    }

    /// Behind all that is stored of a room.
    pub fn end(&self, room: &Room) -> Position {
        match &self.0 {
            Kind::Disk(disk) => disk
                .shelf(room)
                .map(|shelf| shelf.end())
                .unwrap_or_default(),
            Kind::Memory(memory) => memory.end(),
            Kind::View(view) => view.end(room),
        }
    }

    /// Up to where this directory last printed a room; `None`: it never did.
    pub fn printed(&self, room: &Room) -> Option<Position> {
        match &self.0 {
            Kind::Disk(disk) => disk.shelf(room)?.printed(),
            Kind::Memory(memory) => memory.printed(room),
            Kind::View(view) => view.printed(room),
        }
    }

    /// # Errors
    /// The disk is full or broken, or the room is not open.
    pub fn set_printed(&mut self, room: &Room, position: Position) -> io::Result<()> {
        match &mut self.0 {
            Kind::Disk(disk) => disk.set_printed(room, position),
            Kind::Memory(memory) => {
                memory.set_printed(room, position);
                Ok(())
            }
            Kind::View(view) => view.set_printed(room, position),
        }
    }

    /// All that is stored, for one who looks back: rooms that are not joined, too.
    pub fn archive(&self) -> (Archive<'_>, NetworkTag) {
        match &self.0 {
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
        match &self.0 {
            Kind::Disk(disk) => disk.sync(),
            Kind::Memory(_) | Kind::View(_) => Ok(()),
        }
    }

    /// A clean end: notes what is held, so that the next start is quick, and waits until all is on the medium.
    ///
    /// # Errors
    /// The disk is full or broken: the end is not to be marked as clean.
    pub fn close(mut self, core: &dyn Core) -> io::Result<()> {
        match &mut self.0 {
            Kind::Disk(disk) => disk.close(core),
            Kind::Memory(_) | Kind::View(_) => Ok(()),
        }
    }

    /// Did the medium refuse something in the background since this was last asked?
    pub fn take_sync_failed(&self) -> bool {
        match &self.0 {
            Kind::Disk(disk) => disk.take_sync_failed(),
            Kind::Memory(_) | Kind::View(_) => false,
        }
    }
}
