//! The history as one reads it beside the program that writes it: whole lines, up to where that program says it goes.
use std::io;
use std::path::{Path, PathBuf};

use crate::base::event::{Position, StoredBatch};
use crate::base::identity::NetworkTag;
use crate::base::name::FolderName;
use crate::base::table::SortedMap;
use crate::shell::store::folder;
use crate::shell::store::segment;

/// One room's history.
struct ReadOnlyFolder {
    end: Position,
    printed_position: Option<Position>,
}

pub struct ReadOnlyStore {
    /// The network's folder.
    pub dir: PathBuf,
    pub network: NetworkTag,
    /// The program that writes prints nothing: how far it is printed is noted here.
    records_printed: bool,
    folders: SortedMap<FolderName, ReadOnlyFolder>,
}

impl ReadOnlyStore {
    pub fn new(dir: &Path, network: NetworkTag, notes: bool) -> ReadOnlyStore {
        ReadOnlyStore {
            dir: dir.join(network.dir_name()),
            network,
            records_printed: notes,
            folders: SortedMap::new(),
        }
    }

    fn folder_path(&self, part: &FolderName) -> PathBuf {
        self.dir.join(part.as_str())
    }

    /// The room's history goes as far as this now.
    pub fn set_end(&mut self, part: &FolderName, end: Position) {
        if let Some(seen) = self.folders.get_mut(part) {
            seen.end = end;
        }
    }

    /// The room stands open.
    pub fn open_folder(&mut self, part: &FolderName, end: Position) {
        // What the other program prints is not printed once more; a note that cannot be read is as if nothing was.
        let printed = match self.records_printed {
            true => folder::read_printed_position(&self.folder_path(part)).unwrap_or_default(),
            false => Some(end),
        };
        self.folders.insert(
            part.clone(),
            ReadOnlyFolder {
                end,
                printed_position: printed,
            },
        );
    }

    pub fn end(&self, part: &FolderName) -> Position {
        self.folders
            .get(part)
            .map_or_else(Position::default, |seen| seen.end)
    }

    pub fn printed_position(&self, part: &FolderName) -> Option<Position> {
        self.folders.get(part)?.printed_position
    }

    /// # Errors
    /// The disk is full or broken.
    pub fn set_printed_position(
        &mut self,
        part: &FolderName,
        position: Position,
    ) -> io::Result<()> {
        let folder = self.folder_path(part);
        match self.folders.get_mut(part) {
            Some(seen) if self.records_printed && seen.printed_position != Some(position) => {
                seen.printed_position = Some(position);
                folder::write_printed_position(&folder::open_printed_file(&folder)?, position)
            }
            _ => Ok(()),
        }
    }

    /// The numbers of a folder's segments, upwards.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn segment_numbers(&self, part: &FolderName) -> io::Result<Vec<u64>> {
        let files = segment::list(&self.folder_path(part))?;
        Ok(files.into_iter().map(|(number, _)| number).collect())
    }

    /// # Errors
    /// As `Store::read_on`.
    pub fn read_from(
        &self,
        part: &FolderName,
        at: &mut Position,
        budget: usize,
    ) -> io::Result<Vec<StoredBatch>> {
        let dir = self.folder_path(part);
        let segments = self.segment_numbers(part)?;
        let index = segments.partition_point(|n| *n < at.segment);
        let offset = match segments.get(index) {
            Some(number) if *number == at.segment => at.offset,
            _ => 0,
        };
        folder::read_segments(&dir, &self.network, &segments, (index, offset), at, budget)
    }
}
