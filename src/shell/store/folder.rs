//! One folder of the history on disk: the segment that is written, and where to read in all of them.
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use nix::errno::Errno;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Position, StoredBatch};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::shell::store::fsync::Fsync;
use crate::shell::store::recovery;
use crate::shell::store::segment;
use crate::shell::store::segment::{Frontier, SegmentReader};

/// Bytes behind the last frontier line that are worth a new one at a clean end: reading them takes longer than reading it.
const CHECKPOINT_MIN_BYTES: u64 = 64 * 1024;
/// The note that lines of our own wait in the folder.
const UNACKNOWLEDGED_FILE: &str = "waiting";
/// `printed`: three numbers of 20 digits, two blanks, an end of line.
const PRINTED_FILE_BYTES: usize = 63;

/// A room's folder, or one of direct messages.
pub struct Folder {
    pub dir: PathBuf,
    network: NetworkTag,
    /// The folder was there before.
    pub existed_before: bool,
    /// Numbers, upwards.
    pub segment_numbers: Vec<u64>,
    /// The last segment, opened to append; `None` until something is saved.
    file: Option<File>,
    /// Bytes of the last segment, all whole lines.
    last_segment_bytes: u64,
    /// Bytes in it behind its last frontier line.
    bytes_after_frontier: u64,
    /// From this size on a new segment is due.
    pub rotate_at_bytes: u64,
    /// More was written than could be cut off again: to be tried before the next write.
    has_torn_tail: bool,
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// Bytes of each author's batches.
    pub author_bytes: SortedMap<PeerId, u64>,
    /// For each author that was over quota, the first segment that may hold a batch of it.
    pub first_segments: SortedMap<PeerId, u64>,
    /// An own log over quota, of which nothing may be dropped until its floor rises above this.
    pub quota_blocked_by: Option<(LogId, u64)>,
    printed_position: Option<Position>,
    printed_file: Option<File>,
    /// There is a note that lines of our own may be held by nobody else yet.
    is_marked_unacknowledged: bool,
    segment_sync_pending: Arc<AtomicBool>,
    printed_sync_pending: Arc<AtomicBool>,
    dir_sync_pending: Arc<AtomicBool>,
}

impl Folder {
    /// Opens the folder; a room's is made. `segment`: bytes after which a segment is full.
    ///
    /// # Errors
    /// The folder or a file of it cannot be made, read, cut or removed; never for what a file holds.
    pub fn open(
        dir: PathBuf,
        folder: &FolderName,
        network: NetworkTag,
        clean: bool,
        segment: u64,
    ) -> io::Result<(Folder, Vec<LogRange>)> {
        let before = dir.is_dir();
        // A room's folder tells that this directory was in it; one of direct messages is made when there are any.
        if folder.room().is_some() {
            create_dir(&dir)?;
        }
        let found = recovery::recover_folder(&dir, folder, &network, clean)?;
        let mut shelf = Folder {
            printed_position: None,
            printed_file: None,
            is_marked_unacknowledged: is_marked_unacknowledged(&dir),
            network,
            existed_before: before,
            file: None,
            last_segment_bytes: found.last_segment_bytes,
            bytes_after_frontier: found.bytes_after_frontier,
            rotate_at_bytes: 0,
            has_torn_tail: false,
            total_bytes: found.total_bytes,
            author_bytes: found.author_bytes,
            first_segments: SortedMap::new(),
            quota_blocked_by: None,
            segment_sync_pending: Arc::default(),
            printed_sync_pending: Arc::default(),
            dir_sync_pending: Arc::default(),
            segment_numbers: found.segment_numbers,
            dir,
        };
        let ranges: Vec<LogRange> = found.ranges.into_values().collect();
        if let Some(last) = shelf.segment_numbers.last() {
            if found.is_appendable {
                let path = segment::path(&shelf.dir, *last);
                shelf.file = Some(OpenOptions::new().append(true).open(path)?);
                shelf.rotate_at_bytes =
                    segment.max(shelf.last_segment_bytes - shelf.bytes_after_frontier);
            } else {
                shelf.start_segment(&ranges, segment)?;
            }
        }
        shelf.printed_position = shelf.load_printed_position()?;
        Ok((shelf, ranges))
    }

    /// Appends lines of one author. All or nothing: what a failed write left is cut off.
    ///
    /// # Errors
    /// The disk is full or broken; nothing was stored.
    pub fn append(
        &mut self,
        lines: &[u8],
        author: PeerId,
        segment: u64,
        fsync: &mut Fsync,
    ) -> io::Result<()> {
        if self.file.is_none() {
            self.start_segment(&[], segment)?;
        }
        self.write_lines(lines)?;
        *self.author_bytes.get_or_default(author) += lines.len() as u64;
        if let Some(file) = &self.file {
            fsync.request_sync(file, &self.segment_sync_pending);
        }
        Ok(())
    }

    fn write_lines(&mut self, lines: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.has_torn_tail {
            file.set_len(self.last_segment_bytes)?;
            self.has_torn_tail = false;
        }
        if let Err(e) = file.write_all(lines) {
            self.has_torn_tail = file.set_len(self.last_segment_bytes).is_err();
            return Err(e);
        }
        self.last_segment_bytes += lines.len() as u64;
        self.bytes_after_frontier += lines.len() as u64;
        self.total_bytes += lines.len() as u64;
        Ok(())
    }

    /// Begins the next segment with what is held. It gets its name once its first line is whole.
    ///
    /// # Errors
    /// The disk is full or broken; the last segment is still the one that is written.
    pub fn start_segment(&mut self, ranges: &[LogRange], segment: u64) -> io::Result<()> {
        let number = self.segment_numbers.last().map_or(1, |last| last + 1);
        let mut line = Vec::new();
        let frontier = Frontier {
            ranges: ranges.to_vec(),
            author_bytes: self.author_bytes.clone(),
        };
        frontier.write(&mut line);
        let draft = segment::temporary_path(&self.dir, number);
        let path = segment::path(&self.dir, number);
        let made = create_dir(&self.dir)
            .and_then(|()| segment::create_private_file(&draft))
            .and_then(|mut file| file.write_all(&line))
            .and_then(|()| fs::rename(&draft, &path))
            .and_then(|()| OpenOptions::new().append(true).open(&path));
        let file = match made {
            Ok(file) => file,
            Err(e) => {
                let _ = fs::remove_file(&draft);
                return Err(e);
            }
        };
        self.segment_numbers.push(number);
        self.file = Some(file);
        self.segment_sync_pending = Arc::default();
        self.has_torn_tail = false;
        self.last_segment_bytes = line.len() as u64;
        self.bytes_after_frontier = 0;
        self.total_bytes += self.last_segment_bytes;
        self.rotate_at_bytes = segment.max(self.last_segment_bytes) + self.last_segment_bytes;
        Ok(())
    }

    pub fn is_rotation_due(&self) -> bool {
        self.file.is_some() && self.last_segment_bytes >= self.rotate_at_bytes
    }

    /// A new segment could not be begun: time to try again once a little more has come.
    pub fn postpone_rotation(&mut self) {
        self.rotate_at_bytes = self.last_segment_bytes + 64 * 1024;
    }

    /// The folder has new or fewer files.
    pub fn request_dir_sync(&self, fsync: &mut Fsync) {
        if let Ok(folder) = File::open(&self.dir) {
            fsync.request_sync(&folder, &self.dir_sync_pending);
        }
    }

    /// Leaves a frontier line for a quick start, if reading on from the last one would take long.
    ///
    /// # Errors
    /// The disk is full or broken; the history is whole without it.
    pub fn write_checkpoint(&mut self, ranges: Vec<LogRange>) -> io::Result<()> {
        let mut line = Vec::new();
        let authors = self.author_bytes.clone();
        Frontier {
            ranges,
            author_bytes: authors,
        }
        .write(&mut line);
        if self.bytes_after_frontier <= CHECKPOINT_MIN_BYTES.max(line.len() as u64) {
            return Ok(());
        }
        self.write_lines(&line)?;
        self.bytes_after_frontier = 0;
        Ok(())
    }

    /// Waits until all is on the medium.
    ///
    /// # Errors
    /// The medium refuses.
    pub fn sync(&self) -> io::Result<()> {
        if self.file.is_none() {
            return Ok(());
        }
        for file in [&self.file, &self.printed_file].into_iter().flatten() {
            file.sync_data()?;
        }
        File::open(&self.dir)?.sync_all()
    }

    /// Whole batches of one log upwards: see `Store::load`.
    ///
    /// # Errors
    /// As `Store::load`.
    pub fn load(
        &self,
        log: &LogId,
        mut from: u64,
        at: &mut Option<Position>,
        budget: usize,
    ) -> io::Result<Vec<Batch>> {
        let mut batches = Vec::new();
        if self.segment_numbers.is_empty() {
            return Ok(batches);
        }
        let (mut index, mut offset) = match *at {
            Some(position) => self.resolve_position(position),
            None => (self.find_segment(log, from, 0), 0),
        };
        let author = log.author.to_string();
        let mut taken = 0;
        // What stands before lines that filled a hole later: its least line, and where it begins. Holes are few, so
        // that what is passed over for all lines of a log is no more than a few times the whole.
        let (mut beyond, mut back) = (u64::MAX, None);
        loop {
            let (place, last) = (
                (self.segment_numbers[index], offset),
                index + 1 >= self.segment_numbers.len(),
            );
            let mut reached = Position::default();
            let walked = scan_segment(&self.dir, place, &mut reached, &mut |reader| {
                if segment::peek_author(reader.line()).is_some_and(|id| id != author.as_bytes())
                    || segment::peek_single_sequence(reader.line()).is_some_and(|last| last < from)
                {
                    return true;
                }
                let Ok((batch, _)) = Batch::parse_stored(reader.line(), &self.network) else {
                    return true;
                };
                if batch.log != *log || batch.last_sequence() < from {
                    return true;
                }
                if batch.sequence > from {
                    beyond = beyond.min(batch.sequence);
                    back = back.or(Some(Position {
                        offset: reader.line_offset(),
                        ..reader.next_position()
                    }));
                    return true;
                }
                from = batch.last_sequence() + 1;
                taken += batch.as_bytes().len();
                batches.push(batch);
                taken < budget && from < beyond
            });
            *at = back.or(Some(reached));
            match walked {
                Ok(false) if !last => {}
                // The line is nowhere.
                _ if batches.is_empty() && back.is_some() => {
                    return self.load(log, beyond, at, budget);
                }
                Err(e) if batches.is_empty() => {
                    *at = skip_unreadable(&e, place.0).or(*at);
                    return Err(e);
                }
                _ => return Ok(batches),
            }
            index = self.find_segment(log, from, index + 1);
            offset = 0;
        }
    }

    /// Of the segments from `first` on (there is one), the last before which all lines of the log are below `from`.
    fn find_segment(&self, log: &LogId, from: u64, first: usize) -> usize {
        let (mut low, mut high) = (first, self.segment_numbers.len());
        // Next door first: a log that is being caught up with goes on there.
        let mut middle = first + 1;
        while low + 1 < high {
            // Of a segment without its frontier nothing is known: then an older one is right, too.
            let head = self
                .head_before_segment(self.segment_numbers[middle], log)
                .ok()
                .flatten();
            if head.is_some_and(|head| head < from) {
                low = middle;
            } else {
                high = middle;
            }
            middle = low + (high - low) / 2;
        }
        low
    }

    /// The last line of a log before a segment, as that says.
    fn head_before_segment(&self, number: u64, log: &LogId) -> io::Result<Option<u64>> {
        let mut reader = SegmentReader::open(&self.dir, number)?;
        let begun = reader.advance()?;
        Ok(begun
            .then(|| Frontier::find_log_head(reader.line(), log))
            .flatten())
    }

    /// Index of the segment and logical offset in it. There must be a segment.
    fn resolve_position(&self, position: Position) -> (usize, u64) {
        let index = self
            .segment_numbers
            .partition_point(|n| *n < position.segment);
        match self.segment_numbers.get(index) {
            Some(number) if *number == position.segment => (index, position.offset),
            Some(_) => (index, 0),
            None => (self.segment_numbers.len() - 1, self.end().offset),
        }
    }

    /// What came after `at`, in order of arrival; `at` goes on behind it. Empty: that is all.
    ///
    /// # Errors
    /// As `Store::read_on`.
    pub fn read_from(&self, at: &mut Position, budget: usize) -> io::Result<Vec<StoredBatch>> {
        if self.segment_numbers.is_empty() {
            return Ok(Vec::new());
        }
        let from = self.resolve_position(*at);
        read_segments(
            &self.dir,
            &self.network,
            &self.segment_numbers,
            from,
            at,
            budget,
        )
    }

    /// Behind all that is stored.
    pub fn end(&self) -> Position {
        // The last segment is never a rewritten one: its logical offsets are its bytes.
        self.segment_numbers
            .last()
            .map_or_else(Position::default, |last| Position {
                segment: *last,
                offset: self.last_segment_bytes,
                generation: 0,
            })
    }

    /// Up to where this directory last printed; `None`: it never did.
    pub fn printed_position(&self) -> Option<Position> {
        self.printed_position
    }

    /// Lines of our own are to come: until others hold them, every run brings them, whatever rooms it is in.
    ///
    /// # Errors
    /// The disk is full or broken.
    pub fn mark_unacknowledged(&mut self) -> io::Result<()> {
        if !self.is_marked_unacknowledged {
            segment::create_private_file(&self.dir.join(UNACKNOWLEDGED_FILE))?;
            self.is_marked_unacknowledged = true;
        }
        Ok(())
    }

    /// Somebody holds them.
    pub fn clear_unacknowledged(&mut self) {
        if self.is_marked_unacknowledged {
            // A note too many costs the next run that it is in the room, too.
            self.is_marked_unacknowledged =
                fs::remove_file(self.dir.join(UNACKNOWLEDGED_FILE)).is_err();
        }
    }

    /// One beyond the end (a power cut took lines) counts as one at the end.
    fn load_printed_position(&self) -> io::Result<Option<Position>> {
        let end = self.end();
        let beyond = |at: &Position| (at.segment, at.offset) > (end.segment, end.offset);
        Ok(read_printed_position(&self.dir)?.map(|at| if beyond(&at) { end } else { at }))
    }

    /// # Errors
    /// The disk is full or broken; the next run prints again from the last note on.
    pub fn set_printed_position(
        &mut self,
        position: Position,
        fsync: &mut Fsync,
    ) -> io::Result<()> {
        if self.printed_position == Some(position) {
            return Ok(());
        }
        if self.printed_file.is_none() {
            self.printed_file = Some(open_printed_file(&self.dir)?);
        }
        if let Some(file) = &self.printed_file {
            write_printed_position(file, position)?;
            fsync.request_sync(file, &self.printed_sync_pending);
        }
        self.printed_position = Some(position);
        Ok(())
    }
}

/// What came into a room after a place (`from`: index of the segment and logical offset in it), in order of arrival; `at` goes on behind it.
///
/// # Errors
/// As `Store::read_on`.
pub fn read_segments(
    dir: &Path,
    network: &NetworkTag,
    segments: &[u64],
    from: (usize, u64),
    at: &mut Position,
    budget: usize,
) -> io::Result<Vec<StoredBatch>> {
    let mut batches = Vec::new();
    let (mut index, mut offset) = from;
    let mut taken = 0;
    while let Some(number) = segments.get(index) {
        let walked = scan_segment(dir, (*number, offset), at, &mut |reader| {
            if let Ok((batch, local)) = Batch::parse_stored(reader.line(), network) {
                taken += reader.line().len();
                let at = Position {
                    offset: reader.line_offset(),
                    ..reader.next_position()
                };
                batches.push(StoredBatch {
                    position: at,
                    batch,
                    local,
                });
            }
            taken < budget
        });
        match walked {
            Err(e) if batches.is_empty() => {
                *at = skip_unreadable(&e, *number).unwrap_or(*at);
                return Err(e);
            }
            Ok(false) => (index, offset) = (index + 1, 0),
            _ => break,
        }
    }
    Ok(batches)
}

/// Goes over a segment from a logical offset on, and takes `at` along. True: `each` line asked for more, up to this one.
///
/// # Errors
/// It cannot be read from `at` on. One that is gone holds nothing.
fn scan_segment(
    dir: &Path,
    (number, offset): (u64, u64),
    at: &mut Position,
    each: &mut dyn FnMut(&SegmentReader) -> bool,
) -> io::Result<bool> {
    *at = Position {
        segment: number,
        offset,
        generation: 0,
    };
    let mut reader = match SegmentReader::open_at(dir, number, offset) {
        // The program that writes has dropped it meanwhile.
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let walked = loop {
        match reader.advance() {
            Ok(true) if each(&reader) => {}
            ended => break ended,
        }
    };
    *at = reader.next_position();
    walked
}

/// Behind a segment that cannot be read, unless it perhaps can another time, when there are files or memory again.
fn skip_unreadable(error: &io::Error, number: u64) -> Option<Position> {
    let scarce = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].map(|errno| Some(errno as i32));
    (!scarce.contains(&error.raw_os_error())).then(|| Position {
        segment: number + 1,
        ..Position::default()
    })
}

/// Up to where a room was last printed; `None`: it never was. A damaged note counts as one at the beginning.
///
/// # Errors
/// The note cannot be read.
pub fn read_printed_position(dir: &Path) -> io::Result<Option<Position>> {
    let text = match fs::read(dir.join("printed")) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => String::from_utf8(read?).unwrap_or_default(),
    };
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

/// The file that holds how far a room was printed.
///
/// # Errors
/// It cannot be made.
pub fn open_printed_file(dir: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    options.open(dir.join("printed"))
}

/// # Errors
/// The disk is full or broken.
pub fn write_printed_position(file: &File, position: Position) -> io::Result<()> {
    let text = format!(
        "{:020} {:020} {:020}\n",
        position.segment, position.offset, position.generation
    );
    debug_assert_eq!(text.len(), PRINTED_FILE_BYTES);
    file.write_all_at(text.as_bytes(), 0)
}

fn create_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Does a folder hold lines of our own that perhaps nobody else does?
pub fn is_marked_unacknowledged(dir: &Path) -> bool {
    dir.join(UNACKNOWLEDGED_FILE).exists()
}

/// Bytes of all files in a folder that are segments.
///
/// # Errors
/// The folder cannot be read.
pub fn folder_bytes(dir: &Path) -> io::Result<u64> {
    Ok(segment::list(dir)?.iter().map(|(_, size)| size).sum())
}
