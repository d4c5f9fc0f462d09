//! The history of another running program, read from its files up to the end that it reports.
use std::io;
use std::path::{Path, PathBuf};

use crate::base::event::{Position, StoredBatch};
use crate::base::identity::NetworkTag;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::store::printed_position::PrintedPosition;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{read_segments, resolve_position};

struct ReadOnlyFolder {
    /// The end of the folder, as the writing program reported it last.
    end: Position,
    printed_position: PrintedPosition,
}

/// The folders that an IPC client reads.
pub struct ReadOnlyStore {
    /// The network's directory.
    pub dir: PathBuf,
    /// The network.
    pub network: NetworkTag,
    /// Whether the printed position is written here, since the running program prints nothing.
    records_printed: bool,
    folders: SortedMap<FolderName, ReadOnlyFolder>,
}

impl ReadOnlyStore {
    /// The history in `dir`, without an open folder.
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

    /// Moves the end of an open folder.
    pub fn set_end(&mut self, name: &FolderName, end: Position) {
        if let Some(folder) = self.folders.get_mut(name) {
            folder.end = end;
        }
    }

    /// Opens a folder that goes up to `end`.
    pub fn open_folder(&mut self, name: &FolderName, end: Position) {
        let dir = self.folder_path(name);
        let printed_position = if self.records_printed {
            // An unreadable file counts as a folder that was never printed.
            PrintedPosition::load(&dir).unwrap_or_else(|_| PrintedPosition::new(&dir, None))
        } else {
            // The running program printed everything so far.
            PrintedPosition::new(&dir, Some(end))
        };
        let folder = ReadOnlyFolder {
            end,
            printed_position,
        };
        self.folders.insert(name.clone(), folder);
    }

    /// The end of a folder; the beginning if the folder is not open.
    pub fn end(&self, name: &FolderName) -> Position {
        self.folders
            .get(name)
            .map_or_else(Position::default, |folder| folder.end)
    }

    /// Up to where the folder was printed; `None` if it never was.
    pub fn printed_position(&self, name: &FolderName) -> Option<Position> {
        self.folders.get(name)?.printed_position.get()
    }

    /// Records up to where the folder was printed, unless the running program does.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn set_printed_position(
        &mut self,
        name: &FolderName,
        position: Position,
    ) -> io::Result<()> {
        match self.folders.get_mut(name) {
            Some(folder) if self.records_printed => folder.printed_position.set(position).map(drop),
            _ => Ok(()),
        }
    }

    /// The numbers of a folder's segments, upwards.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn segment_numbers(&self, name: &FolderName) -> io::Result<Vec<u64>> {
        segment_file::list_numbers(&self.folder_path(name))
    }

    /// Reads the batches that arrived at `at` or later; `at` follows. None: there are no more.
    ///
    /// # Errors
    /// A segment can't be read: `at` is after it, but stays if a later attempt may succeed.
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
