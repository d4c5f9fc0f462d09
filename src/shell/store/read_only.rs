//! History of another running program, read from its files. Reads up to the end that the program
//! reports.
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
    /// The end of the folder, as last reported by the running program.
    end: Position,
    printed_position: PrintedPosition,
}

/// The folders that an IPC client reads.
pub struct ReadOnlyStore {
    /// The network's directory.
    pub dir: PathBuf,
    /// The network.
    pub network: NetworkTag,
    /// Whether this store records printed positions. False if the running program prints lines,
    /// because that program then records them.
    records_printed: bool,
    folders: SortedMap<FolderName, ReadOnlyFolder>,
}

impl ReadOnlyStore {
    /// Creates a store for the history in `dir`, without an open folder.
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

    /// Moves the end of an open folder to `end`.
    pub fn set_end(&mut self, name: &FolderName, end: Position) {
        if let Some(folder) = self.folders.get_mut(name) {
            folder.end = end;
        }
    }

    /// Opens a folder for reading up to `end`.
    pub fn open_folder(&mut self, name: &FolderName, end: Position) {
        let dir = self.folder_path(name);
        let printed_position = if self.records_printed {
            // An unreadable file counts as a folder that was never printed.
            PrintedPosition::load(&dir).unwrap_or_else(|_| PrintedPosition::new(&dir, None))
        } else {
            // The running program has printed everything so far.
            PrintedPosition::new(&dir, Some(end))
        };
        let folder = ReadOnlyFolder {
            end,
            printed_position,
        };
        self.folders.insert(name.clone(), folder);
    }

    /// The end of a folder. For a folder that is not open, the beginning.
    pub fn end(&self, name: &FolderName) -> Position {
        self.folders
            .get(name)
            .map_or_else(Position::default, |folder| folder.end)
    }

    /// How far the folder was printed. `None`: it was never printed.
    pub fn printed_position(&self, name: &FolderName) -> Option<Position> {
        self.folders.get(name)?.printed_position.get()
    }

    /// Records how far the folder was printed. Does nothing if the running program records it.
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

    /// The numbers of a folder's segments, in ascending order.
    ///
    /// # Errors
    /// The folder can't be read.
    pub fn segment_numbers(&self, name: &FolderName) -> io::Result<Vec<u64>> {
        segment_file::list_numbers(&self.folder_path(name))
    }

    /// Reads the batches that arrived at `at` or later, and moves `at` behind them. An empty
    /// result: there are no more.
    ///
    /// # Errors
    /// The folder or a segment can't be read. The next call with `at` skips the segment. If the
    /// system lacked file descriptors or memory, the next call retries instead.
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
