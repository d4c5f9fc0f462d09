//! The file `printed` of a folder. It records the position after the printed lines of the folder.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::base::event::Position;
use crate::shell::os::file;
use crate::shell::store::fsync::{Fsync, SyncPending};

const PRINTED_FILE: &str = "printed";
/// Length of the file: three numbers of 20 digits, two blanks and one line end. The length is
/// fixed, so each write replaces the previous content in place.
const PRINTED_FILE_BYTES: usize = 63;

/// The position after the printed lines of one folder, and the file that records the position.
pub struct PrintedPosition {
    dir: PathBuf,
    position: Option<Position>,
    /// The file, open for writing. `None` before the first write.
    file: Option<File>,
    sync_pending: SyncPending,
}

impl PrintedPosition {
    /// Reads the position recorded for the folder in `dir`.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub fn load(dir: &Path) -> io::Result<PrintedPosition> {
        Ok(PrintedPosition::new(dir, read_printed_position(dir)?))
    }

    /// Creates a value with `position`, without reading the file.
    pub fn new(dir: &Path, position: Option<Position>) -> PrintedPosition {
        PrintedPosition {
            dir: dir.to_owned(),
            position,
            file: None,
            sync_pending: SyncPending::default(),
        }
    }

    /// The position. `None`: the folder was never printed.
    pub fn get(&self) -> Option<Position> {
        self.position
    }

    /// Replaces the position by `end` if `end` is lower. This is the case if a power cut lost lines
    /// that were already printed.
    pub fn limit_to(&mut self, end: Position) {
        if let Some(position) = &mut self.position
            && (position.segment, position.offset) > (end.segment, end.offset)
        {
            *position = end;
        }
    }

    /// Records `position` in the file, unless it is already recorded. Returns whether the file was
    /// written.
    ///
    /// # Errors
    /// The disk is full or broken. The position recorded before remains.
    pub fn set(&mut self, position: Position) -> io::Result<bool> {
        if self.position == Some(position) {
            return Ok(false);
        }
        if self.file.is_none() {
            self.file = Some(file::open_private_file(&self.dir.join(PRINTED_FILE))?);
        }
        if let Some(file) = &self.file {
            let text = format!(
                "{:020} {:020} {:020}\n",
                position.segment, position.offset, position.generation
            );
            debug_assert_eq!(text.len(), PRINTED_FILE_BYTES);
            file.write_all_at(text.as_bytes(), 0)?;
        }
        self.position = Some(position);
        Ok(true)
    }

    /// Asks the helper thread to sync the file.
    pub fn request_sync(&self, fsync: &mut Fsync) {
        if let Some(file) = &self.file {
            fsync.request_sync(file, &self.sync_pending);
        }
    }

    /// Syncs the file. Blocks until its data is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// Reads the position recorded for the folder in `dir`. If the file is damaged, returns the
/// beginning of the folder. `None`: the file is missing.
///
/// # Errors
/// The file exists and can't be read.
pub fn read_printed_position(dir: &Path) -> io::Result<Option<Position>> {
    let Some(text) = file::if_exists(fs::read(dir.join(PRINTED_FILE)))? else {
        return Ok(None);
    };
    let text = String::from_utf8(text).unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(|n| n.parse().ok());
    let mut next = || numbers.next().flatten();
    Ok(Some(match (next(), next(), next()) {
        (Some(segment), Some(offset), Some(generation)) => Position {
            segment,
            offset,
            generation,
        },
        _ => Position::default(),
    }))
}
