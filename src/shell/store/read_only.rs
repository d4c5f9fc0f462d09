//! History of another running program, read from its files. The running program reports where
//! each folder ends.
use std::io;
use std::path::{Path, PathBuf};

use crate::base::event::{Position, StoredBatch};
use crate::base::identity::NetworkTag;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::os::clock::Moment;
use crate::shell::store::reader::Reader;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{read_segments, resolve_position};

struct ReadOnlyFolder {
    /// The end of the folder, as the running program reported it last.
    end: Position,
    printer: Printer,
}

/// Who records which lines of a folder are printed.
enum Printer {
    /// This program, which is the directory's reader.
    Ourselves(Reader),
    /// The running program, which had printed everything before this position when this program
    /// opened the folder.
    RunningProgram(Position),
}

/// The history of another running program, which this program only reads.
pub struct ReadOnlyStore {
    /// The directory of the network.
    pub dir: PathBuf,
    /// The network.
    pub network: NetworkTag,
    /// Whether this store records printed positions. False if the running program prints lines and
    /// records the positions itself.
    records_printed: bool,
    folders: SortedMap<FolderName, ReadOnlyFolder>,
}

impl ReadOnlyStore {
    /// Creates a store for the history directory `dir`. No folder is open yet.
    pub fn new(dir: &Path, network: NetworkTag, records_printed: bool) -> ReadOnlyStore {
        ReadOnlyStore {
            dir: dir.join(network.dir_name()),
            network,
            records_printed,
            folders: SortedMap::new(),
        }
    }

    fn folder_path(&self, name: &FolderName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    /// Sets the end of a folder. Does nothing if the folder is not open.
    pub fn set_end(&mut self, name: &FolderName, end: Position) {
        if let Some(folder) = self.folders.get_mut(name) {
            folder.end = end;
        }
    }

    /// Opens a folder. `end` is the end that the running program reports.
    pub fn open_folder(&mut self, name: &FolderName, end: Position) {
        let dir = self.folder_path(name);
        let printer = match self.records_printed {
            // An unreadable file counts as a missing one.
            true => Printer::Ourselves(
                Reader::load(&dir, name).unwrap_or_else(|_| Reader::new(&dir, name)),
            ),
            false => Printer::RunningProgram(end),
        };
        let folder = ReadOnlyFolder { end, printer };
        self.folders.insert(name.clone(), folder);
    }

    /// The reported end of a folder. If the folder is not open, [`Position::default`].
    pub fn end(&self, name: &FolderName) -> Position {
        self.folders
            .get(name)
            .map_or_else(Position::default, |folder| folder.end)
    }

    /// The position after the printed lines of the folder. `None`: the folder was never printed.
    pub fn printed_position(&self, name: &FolderName) -> Option<Position> {
        match &self.folders.get(name)?.printer {
            Printer::Ourselves(reader) => Some(reader.state()?.printed),
            Printer::RunningProgram(printed) => Some(*printed),
        }
    }

    /// Records that the lines before `position` in the folder are printed. Does nothing if the
    /// running program records the positions itself.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn set_printed_position(
        &mut self,
        name: &FolderName,
        position: Position,
    ) -> io::Result<()> {
        match self.folders.get_mut(name).map(|folder| &mut folder.printer) {
            Some(Printer::Ourselves(reader)) => reader.set_printed(position).map(drop),
            _ => Ok(()),
        }
    }

    /// Corrects the beginnings of the readers. See
    /// [`crate::shell::store::store::Store::correct_readers`].
    pub fn correct_readers(&mut self, now: &Moment) {
        for folder in self.folders.values_mut() {
            if let Printer::Ourselves(reader) = &mut folder.printer {
                reader.correct_wall(now);
            }
        }
    }

    /// The numbers of a folder's segments, in ascending order.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn segment_numbers(&self, name: &FolderName) -> io::Result<Vec<u64>> {
        segment_file::list_numbers(&self.folder_path(name))
    }

    /// Reads the batches at position `at` and after it, and sets `at` to the position after the
    /// last batch read. Reads about `budget_bytes`, but at least one batch. An empty result: no
    /// further batch is stored.
    ///
    /// # Errors
    /// The folder or a segment can't be read. After a failed segment, `at` is set so that the next
    /// call skips this segment. If file descriptors or memory ran out, the next call tries the
    /// segment again.
    pub fn read_from(
        &self,
        name: &FolderName,
        at: &mut Position,
        budget_bytes: usize,
    ) -> io::Result<Vec<StoredBatch>> {
        let dir = self.folder_path(name);
        let numbers = self.segment_numbers(name)?;
        match resolve_position(&numbers, *at) {
            Some(start) => read_segments(&dir, &self.network, &numbers, start, at, budget_bytes),
            None => Ok(Vec::new()),
        }
    }
}
