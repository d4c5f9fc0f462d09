//! The history as one reads it beside the program that writes it: whole lines, up to where that program says it goes.
use std::io;
use std::path::{Path, PathBuf};

use crate::base::event::{Position, Stored};
use crate::base::identity::NetworkTag;
use crate::base::name::Folder;
use crate::base::table::Table;
use crate::shell::store::folder;
use crate::shell::store::segment;

/// One room's history.
struct Seen {
    end: Position,
    printed: Option<Position>,
}

pub struct View {
    /// The network's folder.
    pub dir: PathBuf,
    pub network: NetworkTag,
    /// The program that writes prints nothing: how far it is printed is noted here.
    notes: bool,
    parts: Table<Folder, Seen>,
}

impl View {
    pub fn new(dir: &Path, network: NetworkTag, notes: bool) -> View {
        View {
            dir: dir.join(network.folder()),
            network,
            notes,
            parts: Table::new(),
        }
    }

    fn folder(&self, part: &Folder) -> PathBuf {
        self.dir.join(part.as_str())
    }

    /// The room's history goes as far as this now.
    pub fn reaches(&mut self, part: &Folder, end: Position) {
        if let Some(seen) = self.parts.get_mut(part) {
            seen.end = end;
        }
    }

    /// The room stands open.
    pub fn open(&mut self, part: &Folder, end: Position) {
        // What the other program prints is not printed once more; a note that cannot be read is as if nothing was.
        let printed = match self.notes {
            true => folder::printed(&self.folder(part)).unwrap_or_default(),
            false => Some(end),
        };
        self.parts.insert(part.clone(), Seen { end, printed });
    }

    pub fn end(&self, part: &Folder) -> Position {
        self.parts
            .get(part)
            .map_or_else(Position::default, |seen| seen.end)
    }

    pub fn printed(&self, part: &Folder) -> Option<Position> {
        self.parts.get(part)?.printed
    }

    /// # Errors
    /// The disk is full or broken.
    pub fn set_printed(&mut self, part: &Folder, position: Position) -> io::Result<()> {
        let folder = self.folder(part);
        match self.parts.get_mut(part) {
            Some(seen) if self.notes && seen.printed != Some(position) => {
                seen.printed = Some(position);
                folder::write_printed(&folder::open_printed(&folder)?, position)
            }
            _ => Ok(()),
        }
    }

    /// The numbers of a folder's segments, upwards.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn segments(&self, part: &Folder) -> io::Result<Vec<u64>> {
        let files = segment::list(&self.folder(part))?;
        Ok(files.into_iter().map(|(number, _)| number).collect())
    }

    /// # Errors
    /// As `Store::read_on`.
    pub fn read_on(
        &self,
        part: &Folder,
        at: &mut Position,
        budget: usize,
    ) -> io::Result<Vec<Stored>> {
        let dir = self.folder(part);
        let segments = self.segments(part)?;
        let index = segments.partition_point(|n| *n < at.segment);
        let offset = match segments.get(index) {
            Some(number) if *number == at.segment => at.offset,
            _ => 0,
        };
        folder::read_on(&dir, &self.network, &segments, (index, offset), at, budget)
    }
}
