//! The readers of a folder: the directory's own, and those with a name.
use std::io;
use std::path::Path;

use crate::base::event::load::Position;
use crate::base::name::{FolderName, Nick};
use crate::base::table::SortedMap;
use crate::shell::os::clock::Moment;
use crate::shell::os::file;
use crate::shell::store::fsync::Fsync;
use crate::shell::store::reader::{NAMED_READERS_MAX, PrintedBacklog, Reader};

/// The readers of a folder: the own one of the directory, and those with a name.
pub struct FolderReaders {
    own: Reader,
    /// The readers with a name that have begun.
    named: SortedMap<Nick, Reader>,
}

impl FolderReaders {
    /// Reads the readers of the folder `name` in `dir`.
    ///
    /// # Errors
    /// The file of a reader can't be read.
    pub fn load(dir: &Path, name: &FolderName) -> io::Result<FolderReaders> {
        Ok(FolderReaders {
            own: Reader::load(dir, name)?,
            named: Reader::load_named(dir)?,
        })
    }

    /// The directory's own reader.
    pub fn own(&self) -> &Reader {
        &self.own
    }

    /// All readers.
    pub fn iter(&self) -> impl Iterator<Item = &Reader> {
        [&self.own].into_iter().chain(self.named.values())
    }

    /// Mutable access to all readers.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Reader> {
        [&mut self.own].into_iter().chain(self.named.values_mut())
    }

    /// A reader by its name; without a name, the directory's own. `None`: it has not begun.
    pub fn get(&self, name: Option<&Nick>) -> Option<&Reader> {
        match name {
            Some(name) => self.named.get(name),
            None => Some(&self.own),
        }
    }

    /// Begins a reader, unless it has begun. The reader does not print the lines before `end`, the
    /// end of the folder in `dir`. Returns false if [`NAMED_READERS_MAX`] others have a name.
    pub fn begin(&mut self, dir: &Path, name: Option<&Nick>, now: &Moment, end: Position) -> bool {
        let Some(name) = name else {
            self.own.begin(now, end);
            return true;
        };
        let is_known = self.named.contains_key(name);
        if !is_known && self.named.len() < NAMED_READERS_MAX {
            // The folder of direct messages may not exist yet. Without it the next write creates
            // the file.
            let _ = file::create_private_dir(dir);
            let mut reader = Reader::named(dir, name);
            reader.begin(now, end);
            self.named.insert(name.clone(), reader);
            return true;
        }
        is_known
    }

    /// Records that a reader has printed the lines before `printed`, and those of `backlog`.
    ///
    /// # Errors
    /// The disk is full or broken. What was recorded before remains.
    pub fn record_printed(
        &mut self,
        name: Option<&Nick>,
        printed: Position,
        backlog: Option<PrintedBacklog>,
        fsync: &mut Fsync,
    ) -> io::Result<()> {
        let reader = match name {
            Some(name) => self.named.get_mut(name),
            None => Some(&mut self.own),
        };
        if let Some(reader) = reader
            && reader.record_printed(printed, backlog)?
        {
            reader.request_sync(fsync);
        }
        Ok(())
    }
}
