//! The file `reader` of a folder. It records when the directory's reader first came into the room,
//! and up to which position it has printed the folder.
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::base::event::Position;
use crate::base::name::FolderName;
use crate::base::time::{ReaderStart, WallTime};
use crate::shell::os::clock::{CLOCK_STEP_MIN_MS, Moment};
use crate::shell::os::file;
use crate::shell::store::fsync::{Fsync, SyncPending};

const READER_FILE: &str = "reader";
/// Length of the file: a time of 24 characters, a boot id of 36, four numbers of 20 digits, five
/// blanks and one line end. The length is fixed, so each write replaces the content in place.
const READER_FILE_BYTES: usize = 146;

/// What the file `reader` records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderState {
    /// When the reader first came into the room.
    pub began: Moment,
    /// The position after the printed lines.
    pub printed: Position,
}

impl ReaderState {
    /// The state of a reader without a file. `None` for a room, because its reader has not begun.
    /// In other folders, the reader has always begun.
    pub fn initial(name: &FolderName) -> Option<ReaderState> {
        name.room().is_none().then(|| ReaderState {
            began: Moment::default(),
            printed: Position::default(),
        })
    }

    /// When the reader began. `started` is when this program started. A time in the same boot is
    /// relative to `started`.
    pub fn start(&self, started: &Moment) -> ReaderStart {
        match self.began.is_same_boot(started) {
            true => ReaderStart::SameBoot {
                at_ms: self.began.boot_ms.saturating_sub(started.boot_ms),
            },
            false => ReaderStart::EarlierBoot {
                wall: self.began.wall,
            },
        }
    }

    /// Corrects the wall-clock time in `began` if the wall clock was set after that time. Does
    /// nothing if the reader began in an earlier boot. Returns whether the time was wrong.
    pub fn correct_wall(&mut self, now: &Moment) -> bool {
        let age_ms = now.boot_ms.saturating_sub(self.began.boot_ms);
        let wall = WallTime(now.wall.0.saturating_sub(age_ms));
        let is_wrong =
            self.began.is_same_boot(now) && wall.0.abs_diff(self.began.wall.0) > CLOCK_STEP_MIN_MS;
        if is_wrong {
            self.began.wall = wall;
        }
        is_wrong
    }
}

/// The reader of one folder, and its file.
pub struct Reader {
    dir: PathBuf,
    /// `None`: no reader has begun.
    state: Option<ReaderState>,
    /// The file, open for writing. `None` before the first write.
    file: Option<File>,
    sync_pending: SyncPending,
}

impl Reader {
    /// Reads the file `reader` in `dir`, the directory of the folder `name`. If the file is missing
    /// or damaged, the state is that of [`ReaderState::initial`].
    ///
    /// # Errors
    /// The file exists and can't be read.
    pub fn load(dir: &Path, name: &FolderName) -> io::Result<Reader> {
        let text = file::if_exists(fs::read(dir.join(READER_FILE)))?.unwrap_or_default();
        let recorded = std::str::from_utf8(&text).ok().and_then(parse_state);
        Ok(Reader {
            state: recorded.or_else(|| ReaderState::initial(name)),
            ..Reader::new(dir, name)
        })
    }

    /// The reader of a folder without a file. Does not look for the file.
    pub fn new(dir: &Path, name: &FolderName) -> Reader {
        Reader {
            dir: dir.to_owned(),
            state: ReaderState::initial(name),
            file: None,
            sync_pending: SyncPending::default(),
        }
    }

    /// The recorded state. `None`: no reader has begun.
    pub fn state(&self) -> Option<&ReaderState> {
        self.state.as_ref()
    }

    /// If the printed position is after `end`, replaces it by `end`. A power cut may have lost
    /// lines that were already printed.
    pub fn limit_to(&mut self, end: Position) {
        if let Some(ReaderState { printed, .. }) = &mut self.state
            && (printed.segment, printed.offset) > (end.segment, end.offset)
        {
            *printed = end;
        }
    }

    /// Begins the reader, unless it has begun. The reader prints the lines stored after `printed`.
    /// If the file can't be written, the next write also records when the reader began.
    pub fn begin(&mut self, now: &Moment, printed: Position) {
        if self.state.is_none() {
            let state = ReaderState {
                began: now.clone(),
                printed,
            };
            let _ = self.write(&state);
            self.state = Some(state);
        }
    }

    /// Records `printed` in the file, unless it is already recorded. Returns whether the file was
    /// written. Does nothing if no reader has begun.
    ///
    /// # Errors
    /// The disk is full or broken. The position recorded before remains.
    pub fn set_printed(&mut self, printed: Position) -> io::Result<bool> {
        let state = self.state.clone().filter(|state| state.printed != printed);
        let Some(state) = state else {
            return Ok(false);
        };
        let state = ReaderState { printed, ..state };
        self.write(&state)?;
        self.state = Some(state);
        Ok(true)
    }

    /// Corrects the wall-clock time in the file, as [`ReaderState::correct_wall`] does in memory.
    /// Writes only this time, because another program may record the printed position in the file.
    /// If the disk is full or broken, the time in the file stays wrong.
    pub fn correct_wall(&mut self, now: &Moment) {
        let state = self.state.as_mut();
        let corrected = state.is_some_and(|state| state.correct_wall(now));
        if let Some(state) = self.state.as_ref().filter(|_| corrected) {
            let wall = state.began.wall.to_string();
            if self.open_file().is_ok()
                && let Some(file) = &self.file
            {
                let _ = file.write_all_at(wall.as_bytes(), 0);
            }
        }
    }

    fn open_file(&mut self) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(file::open_private_file(&self.dir.join(READER_FILE))?);
        }
        Ok(())
    }

    fn write(&mut self, state: &ReaderState) -> io::Result<()> {
        self.open_file()?;
        let ReaderState { began, printed } = state;
        let text = format!(
            "{} {} {:020} {:020} {:020} {:020}\n",
            began.wall,
            began.boot_id,
            began.boot_ms,
            printed.segment,
            printed.offset,
            printed.generation
        );
        debug_assert_eq!(text.len(), READER_FILE_BYTES);
        match &self.file {
            Some(file) => file.write_all_at(text.as_bytes(), 0),
            None => Ok(()),
        }
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

fn parse_state(text: &str) -> Option<ReaderState> {
    let mut words = text.split_ascii_whitespace();
    let wall = WallTime::parse(words.next()?)?;
    let boot_id = words.next()?.to_owned();
    let boot_ms = words.next()?.parse().ok()?;
    let mut number = || words.next()?.parse().ok();
    Some(ReaderState {
        began: Moment {
            wall,
            boot_id,
            boot_ms,
        },
        printed: Position {
            segment: number()?,
            offset: number()?,
            generation: number()?,
        },
    })
}
