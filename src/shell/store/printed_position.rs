//! The file `printed` of a folder: up to which position this directory printed the folder's lines.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::base::event::Position;
use crate::shell::os::file;
use crate::shell::store::fsync::{Fsync, SyncPending};

const PRINTED_FILE: &str = "printed";
/// Three numbers of 20 digits, two blanks, one end of line: a fixed length, so that each write
/// replaces the one before it in place.
const PRINTED_FILE_BYTES: usize = 63;

/// The printed position of one folder and its file.
pub struct PrintedPosition {
    dir: PathBuf,
    position: Option<Position>,
    /// Opened by the first write.
    file: Option<File>,
    sync_pending: SyncPending,
}

impl PrintedPosition {
    /// Reads the position in `dir`.
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub fn load(dir: &Path) -> io::Result<PrintedPosition> {
        Ok(PrintedPosition::new(dir, read_printed_position(dir)?))
    }

    /// A position that replaces the one in the file at the next [`PrintedPosition::set`].
    pub fn new(dir: &Path, position: Option<Position>) -> PrintedPosition {
        PrintedPosition {
            dir: dir.to_owned(),
            position,
            file: None,
            sync_pending: SyncPending::default(),
        }
    }

    /// The position; `None` if this directory never printed the folder.
    pub fn get(&self) -> Option<Position> {
        self.position
    }

    /// Moves a position beyond `end` to `end`: a power cut took the lines between them.
    pub fn limit_to(&mut self, end: Position) {
        if let Some(position) = &mut self.position
            && (position.segment, position.offset) > (end.segment, end.offset)
        {
            *position = end;
        }
    }

    /// Writes the position, unless it is unchanged. True: the file was written.
    ///
    /// # Errors
    /// The disk is full or broken; the next run prints again from the position written last.
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

    /// Lets the helper thread sync the file.
    pub fn request_sync(&self, fsync: &mut Fsync) {
        if let Some(file) = &self.file {
            fsync.request_sync(file, &self.sync_pending);
        }
    }

    /// Syncs the file and waits for the disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// The position in the file; `None` if the file is missing. A damaged file counts as a position at
/// the beginning.
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
