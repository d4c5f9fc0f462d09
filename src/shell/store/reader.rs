//! The file `reader` of a folder. It records when the directory's reader first came into the room,
//! and which lines of the folder it has printed. `reader.NAME` records the same of the reader NAME.
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::base::event::load::Position;
use crate::base::line_key::LineKey;
use crate::base::name::{FolderName, Nick};
use crate::base::table::SortedMap;
use crate::base::text::decimal;
use crate::base::time::{ReaderStart, WallTime};
use crate::shell::os::clock::{CLOCK_STEP_MIN_MS, Moment};
use crate::shell::os::file::{self, Access};
use crate::shell::store::fsync::{Fsync, SyncPending};

const READER_FILE: &str = "reader";
/// Maximum number of readers with a name in a directory. Each has a file in each folder.
pub const NAMED_READERS_MAX: usize = 64;
/// Length of the first line: a time of 24 characters, a boot id of 36, four numbers of 20 digits,
/// five blanks and one line end. The length is fixed, so each write replaces the content in place.
const STATE_LINE_BYTES: usize = 146;
/// Length of each further line. Shorter text is filled up with blanks, so that a torn write leaves
/// only whole lines.
const BACKLOG_LINE_BYTES: usize = 300;
/// Maximum number of recorded backlogs. If there are more, the reader forgets the oldest one, and
/// prints the news of that backlog again.
pub const BACKLOGS_MAX: usize = 8;

/// The printed part of a backlog whose folder has unprinted lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintedBacklog {
    /// Where the folder ended when the backlog was requested. The backlog consists of lines before
    /// this position.
    pub folder_end: Position,
    /// The key of the first printed line.
    pub first: LineKey,
    /// Printed lines have lower keys.
    pub end: LineKey,
}

impl PrintedBacklog {
    /// Whether each line in `other` is also in `self`.
    fn contains(&self, other: &PrintedBacklog) -> bool {
        self.folder_end >= other.folder_end && self.first <= other.first && self.end >= other.end
    }

    fn parse(line: &str) -> Option<PrintedBacklog> {
        let mut words = line.split_ascii_whitespace();
        let mut number = || words.next()?.parse().ok();
        Some(PrintedBacklog {
            folder_end: Position {
                segment: number()?,
                offset: number()?,
                generation: number()?,
            },
            first: words.next()?.parse().ok()?,
            end: words.next()?.parse().ok()?,
        })
    }

    fn append_line(&self, text: &mut String) {
        let PrintedBacklog {
            folder_end,
            first,
            end,
        } = self;
        let words = format!(
            "{} {} {} {first} {end}",
            folder_end.segment, folder_end.offset, folder_end.generation
        );
        let _ = writeln!(text, "{words:width$}", width = BACKLOG_LINE_BYTES - 1);
    }
}

/// What the file `reader` records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReaderState {
    /// When the reader first came into the room.
    pub began: Moment,
    /// The position after the printed lines.
    pub printed: Position,
    /// Printed lines beyond `printed`, the most recent backlog last.
    pub backlogs: Vec<PrintedBacklog>,
}

impl ReaderState {
    /// The state of a reader that begins at `printed`.
    pub fn new(began: Moment, printed: Position) -> ReaderState {
        ReaderState {
            began,
            printed,
            backlogs: Vec::new(),
        }
    }

    /// Records that the lines before `printed` and those of `backlog` are printed.
    pub fn record_printed(&mut self, printed: Position, backlog: Option<PrintedBacklog>) {
        self.printed = printed;
        if let Some(backlog) = backlog.filter(|new| new.first < new.end)
            && !self.backlogs.iter().any(|old| old.contains(&backlog))
        {
            self.backlogs.retain(|old| !backlog.contains(old));
            self.backlogs.push(backlog);
        }
        self.backlogs.retain(|old| old.folder_end > printed);
        let surplus = self.backlogs.len().saturating_sub(BACKLOGS_MAX);
        self.backlogs.drain(..surplus);
    }

    /// The state of a reader without a file. `None` for a room, because its reader has not begun.
    /// In other folders, the reader has always begun.
    pub fn initial(name: &FolderName) -> Option<ReaderState> {
        let is_begun = name.room().is_none();
        is_begun.then(|| ReaderState::new(Moment::default(), Position::default()))
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
    path: PathBuf,
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
        let reader = Reader::new(dir, name);
        let recorded = read_state(&reader.path)?;
        Ok(Reader {
            state: recorded.or_else(|| ReaderState::initial(name)),
            ..reader
        })
    }

    /// Reads the files `reader.NAME` in `dir`. Ignores malformed ones, and files beyond
    /// [`NAMED_READERS_MAX`].
    ///
    /// # Errors
    /// Such a file can't be read.
    pub fn load_named(dir: &Path) -> io::Result<SortedMap<Nick, Reader>> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| {
            let file = entry.file_name();
            let name = file
                .to_str()?
                .strip_prefix(READER_FILE)?
                .strip_prefix('.')?;
            Nick::new(name).ok()
        });
        let mut readers = SortedMap::new();
        for name in names.take(NAMED_READERS_MAX) {
            let reader = Reader::named(dir, &name);
            if let Some(state) = read_state(&reader.path)? {
                let state = Some(state);
                readers.insert(name, Reader { state, ..reader });
            }
        }
        Ok(readers)
    }

    /// The reader NAME, which has not begun. Does not look for the file.
    pub fn named(dir: &Path, name: &Nick) -> Reader {
        Reader {
            path: dir.join(format!("{READER_FILE}.{name}")),
            state: None,
            file: None,
            sync_pending: SyncPending::default(),
        }
    }

    /// The reader of a folder without a file. Does not look for the file.
    pub fn new(dir: &Path, name: &FolderName) -> Reader {
        Reader {
            path: dir.join(READER_FILE),
            state: ReaderState::initial(name),
            file: None,
            sync_pending: SyncPending::default(),
        }
    }

    /// The recorded state. `None`: no reader has begun.
    pub fn state(&self) -> Option<&ReaderState> {
        self.state.as_ref()
    }

    /// Replaces each recorded position after `end` by `end`, in the file, too. A power cut may have
    /// lost lines that were already printed. Lines that are stored in their place later are not.
    pub fn limit_to(&mut self, end: Position) {
        let Some(mut state) = self.state.clone() else {
            return;
        };
        let ends = state.backlogs.iter_mut().map(|it| &mut it.folder_end);
        for position in ends.chain([&mut state.printed]) {
            if (position.segment, position.offset) > (end.segment, end.offset) {
                *position = end;
            }
        }
        if self.state.as_ref() != Some(&state) {
            // On a full or broken disk, the next write also records this.
            let _ = self.write(&state).and_then(|()| self.sync());
            self.state = Some(state);
        }
    }

    /// Begins the reader, unless it has begun. The reader prints the lines stored after `printed`.
    /// If the file can't be written, the next write also records when the reader began.
    pub fn begin(&mut self, now: &Moment, printed: Position) {
        if self.state.is_none() {
            let state = ReaderState::new(now.clone(), printed);
            let _ = self.write(&state);
            self.state = Some(state);
        }
    }

    /// Records printed lines in the file, as [`ReaderState::record_printed`] does. Returns whether
    /// the file was written. Does nothing if no reader has begun.
    ///
    /// # Errors
    /// The disk is full or broken. What was recorded before remains.
    pub fn record_printed(
        &mut self,
        printed: Position,
        backlog: Option<PrintedBacklog>,
    ) -> io::Result<bool> {
        let Some(mut state) = self.state.clone() else {
            return Ok(false);
        };
        state.record_printed(printed, backlog);
        if self.state.as_ref() == Some(&state) {
            return Ok(false);
        }
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
            self.file = Some(file::open_private_file(&self.path)?);
        }
        Ok(())
    }

    fn write(&mut self, state: &ReaderState) -> io::Result<()> {
        self.open_file()?;
        let ReaderState { began, printed, .. } = state;
        let mut text = format!("{} {}", began.wall, began.boot_id);
        let position = [printed.segment, printed.offset, printed.generation];
        let boot_ms = u64::try_from(began.boot_ms).unwrap_or(0);
        for number in [boot_ms].into_iter().chain(position) {
            let mut word = *b" 00000000000000000000";
            decimal::fill(&mut word[1..], number);
            text += std::str::from_utf8(&word).unwrap_or_default();
        }
        text.push('\n');
        debug_assert_eq!(text.len(), STATE_LINE_BYTES);
        for backlog in &state.backlogs {
            backlog.append_line(&mut text);
        }
        let Some(file) = &self.file else {
            return Ok(());
        };
        file.write_all_at(text.as_bytes(), 0)?;
        // A kill before this leaves lines of backlogs. What they say remains true.
        let had_backlogs = self
            .state
            .as_ref()
            .is_none_or(|old| !old.backlogs.is_empty());
        match had_backlogs {
            true => file.set_len(text.len() as u64),
            false => Ok(()),
        }
    }

    /// Asks the helper thread to sync the file.
    pub fn request_sync(&self, fsync: &mut Fsync) {
        if let Some(file) = &self.file {
            fsync.request_sync(file, &self.sync_pending);
        }
    }

    /// Whether this run has opened the file, which it then may have created.
    pub fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Syncs the file. Blocks until its data is on disk.
    ///
    /// # Errors
    /// The disk reports an error.
    pub fn sync(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), File::sync_data)
    }
}

/// Reads the state from the file. `None`: the file is missing or malformed.
fn read_state(path: &Path) -> io::Result<Option<ReaderState>> {
    let mut text = Vec::new();
    match file::open_regular(path, Access::Read) {
        Ok(mut file) => drop(file.read_to_end(&mut text)?),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::InvalidInput) => {}
        Err(error) => return Err(error),
    }
    Ok(std::str::from_utf8(&text).ok().and_then(parse_state))
}

fn parse_state(text: &str) -> Option<ReaderState> {
    let mut lines = text.lines();
    let mut words = lines.next()?.split_ascii_whitespace();
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
        backlogs: lines
            .take(BACKLOGS_MAX)
            .filter_map(PrintedBacklog::parse)
            .collect(),
    })
}
