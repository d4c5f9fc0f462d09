//! Damaged lines of segments: what counts as damaged, where it is set aside, and how it is
//! reported.
use std::cell::RefCell;
use std::fmt;
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use crate::base::batch::batch::{Batch, LocalFields};
use crate::base::batch::batch_layout::identifying_parts;
use crate::base::event::load::Position;
use crate::base::identity::NetworkTag;
use crate::base::table::SortedMap;
use crate::shell::os::descriptors::is_shortage;
use crate::shell::os::file::{Access, append_private_file, if_exists, open_regular};
use crate::shell::store::segment::frontier::{self, FRONTIER_PREFIX};
use crate::shell::store::segment::rewrite::rewrite_segment;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{FileLine, SegmentReader};
use crate::shell::store::store_io;

/// Maximum size of all files with damaged lines in one folder. At this bound, the oldest files are
/// removed.
const SET_ASIDE_MAX_BYTES: u64 = 4 * 1024 * 1024;
const DAMAGED_EXTENSION: &str = "damaged";
/// Added to the name of a segment for its damaged lines that the reader has printed.
const PRINTED_EXTENSION: &str = "printed.damaged";
/// Maximum number of parts by which damaged lines of one folder are recognized. A line has two.
const PRINTED_PARTS_MAX: usize = 512;
/// Maximum number of batches with a false signature that one audit sets aside. Each costs a new
/// segment and two syncs in the event loop, and only their author can send them.
const FALSE_BATCHES_MAX: usize = 4;
/// Prefix of every line that the store writes.
const TYPE_PREFIX: &[u8] = b"{\"type\":\"";
/// A line with this field is a batch, even if its type is damaged.
const SIGNATURE_FIELD: &[u8] = b"\"signature\":\"";

/// What a line of a segment is.
pub enum StoredLine {
    /// An undamaged batch, with its local fields.
    Batch(Box<Batch>, LocalFields),
    /// An undamaged line that is no batch: a frontier line, a blank line, or a line of a type that
    /// this version does not know.
    Other,
    /// A damaged line. What it was is unknown.
    Damaged,
}

impl StoredLine {
    /// Parses a line of a segment.
    pub fn parse(file_line: &FileLine<'_>, network: &NetworkTag) -> StoredLine {
        let line = file_line.bytes;
        if line.starts_with(FRONTIER_PREFIX) {
            return match frontier::is_undamaged(line) {
                true => StoredLine::Other,
                false => StoredLine::Damaged,
            };
        }
        if let Ok((batch, local)) = Batch::parse_stored(line, network) {
            return StoredLine::Batch(Box::new(batch), local);
        }
        let is_blank = line.iter().all(|byte| *byte == b' ') && !file_line.is_overlong();
        let has_signature = || {
            let mut parts = line.windows(SIGNATURE_FIELD.len());
            parts.any(|part| part == SIGNATURE_FIELD)
        };
        let is_unknown_type = || {
            line.starts_with(TYPE_PREFIX)
                && line.ends_with(b"}")
                && !segment_file::has_known_type(line)
                && !has_signature()
        };
        match file_line.number > 1 && (is_blank || is_unknown_type()) {
            true => StoredLine::Other,
            false => StoredLine::Damaged,
        }
    }
}

/// The damaged lines of one segment.
#[derive(Default)]
pub struct DamagedLines {
    /// Number of the first of these lines. The first line of a file has the number 1.
    pub first_number: u64,
    /// The physical offsets where the lines begin, in ascending order.
    pub offsets: Vec<u64>,
    /// Number of the first of these lines that the reader has printed.
    printed_count: usize,
}

impl DamagedLines {
    /// Adds a line. `was_printed`: whether the reader has printed it.
    pub fn add(&mut self, line: &FileLine<'_>, was_printed: bool) {
        if self.offsets.is_empty() {
            self.first_number = line.number;
        }
        self.offsets.push(line.offset);
        self.printed_count += usize::from(was_printed);
    }

    /// Adds the line that `reader` could not read.
    pub fn add_unread(&mut self, reader: &SegmentReader) {
        if self.offsets.is_empty() {
            self.first_number = reader.file_line().number + 1;
        }
        self.offsets.push(reader.next_file_offset());
    }

    /// Moves these lines from the segment to files beside it. Returns the segment's new size in
    /// bytes.
    ///
    /// # Errors
    /// The disk is full or broken. The segment is unchanged.
    pub fn set_aside(&self, dir: &Path, number: u64) -> io::Result<u64> {
        make_room(dir)?;
        let (printed, unprinted) = self.offsets.split_at(self.printed_count);
        copy_aside(dir, number, printed, PRINTED_EXTENSION)?;
        copy_aside(dir, number, unprinted, DAMAGED_EXTENSION)?;
        rewrite_segment(dir, number, &mut |reader| !has_line(&self.offsets, reader))?;
        Ok(segment_file::path(dir, number).metadata()?.len())
    }

    /// The report of these lines, for the user. `None`: no line is damaged.
    pub fn report(&self, dir: &Path, number: u64, outcome: DamageOutcome) -> Option<DamageReport> {
        (!self.offsets.is_empty()).then(|| DamageReport {
            path: segment_file::path(dir, number),
            first_number: self.first_number,
            count: self.offsets.len() as u64,
            outcome,
        })
    }
}

/// Batches that the chain of hashes proves, and whose signature is false. No peer would accept
/// them. So they count as damaged, and are requested from peers.
#[derive(Default)]
pub struct FalseBatches(RefCell<Vec<Position>>);

impl FalseBatches {
    /// Adds the batch at this position, for the next audit. At most `FALSE_BATCHES_MAX` are kept.
    /// Later reads find the others again.
    pub fn add(&self, at: Position) {
        let mut found = self.0.borrow_mut();
        if found.len() < FALSE_BATCHES_MAX && !found.contains(&at) {
            found.push(at);
        }
    }

    /// Takes all positions.
    pub fn take(&self) -> Vec<Position> {
        self.0.take()
    }
}

/// Appends the lines of a segment that begin at these offsets to a file beside it. Blocks until its
/// data is on disk.
fn copy_aside(dir: &Path, number: u64, offsets: &[u64], extension: &str) -> io::Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let path = segment_file::path(dir, number).with_added_extension(extension);
    let out = append_private_file(&path)?;
    let mut reader = SegmentReader::open(dir, number)?;
    while reader.advance()? {
        if has_line(offsets, &reader) {
            store_io::write_all(&out, &[reader.line(), b"\n"].concat())?;
        }
    }
    store_io::sync(&out)
}

/// Whether the current line of `reader` begins at one of these offsets.
fn has_line(offsets: &[u64], reader: &SegmentReader) -> bool {
    offsets.binary_search(&reader.file_line().offset).is_ok()
}

/// Reads the [parts](identifying_parts) of the damaged lines that the reader has printed, at most
/// `PRINTED_PARTS_MAX` of the last ones. What can't be read has none. A false signature is no part:
/// its sender may have copied it from a line that we do not have yet.
///
/// # Errors
/// The folder can't be read, or file descriptors or memory ran out.
pub fn read_printed_parts(dir: &Path, network: &NetworkTag) -> io::Result<Vec<Box<[u8]>>> {
    let mut parts = Vec::new();
    for path in set_aside_files(dir)?.keys().rev() {
        let name = path.as_os_str().as_bytes();
        if !name.ends_with(PRINTED_EXTENSION.as_bytes()) {
            continue;
        }
        let mut text = Vec::new();
        let read = open_regular(path, Access::Read)
            .and_then(|file| file.take(2 * SET_ASIDE_MAX_BYTES).read_to_end(&mut text));
        if let Some(error) = read.err().filter(is_shortage) {
            return Err(error);
        }
        for line in text.rsplit(|byte| *byte == b'\n') {
            let mut rest = Some(line);
            if parts.len() >= PRINTED_PARTS_MAX {
                break;
            }
            // A damaged line end has joined two batches.
            while let Some(batch) = rest {
                let stored = Batch::parse_stored(batch, network);
                let is_false = stored.is_ok_and(|(batch, _)| !batch.is_sendable());
                let count = if is_false { 1 } else { 2 };
                parts.extend(identifying_parts(batch).take(count).map(Box::from));
                rest = segment_file::next_batch(batch);
            }
        }
        parts.truncate(PRINTED_PARTS_MAX);
    }
    Ok(parts)
}

/// The files with damaged lines in a folder, with their sizes in bytes.
fn set_aside_files(dir: &Path) -> io::Result<SortedMap<PathBuf, u64>> {
    let mut files = SortedMap::new();
    for entry in if_exists(fs::read_dir(dir))?.into_iter().flatten() {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == DAMAGED_EXTENSION) {
            let bytes = if_exists(path.metadata())?.map_or(0, |meta| meta.len());
            files.insert(path, bytes);
        }
    }
    Ok(files)
}

/// Removes files with damaged lines, until a segment's lines have room.
fn make_room(dir: &Path) -> io::Result<()> {
    let files = set_aside_files(dir)?;
    let mut total: u64 = files.values().sum();
    for (path, bytes) in files {
        if total < SET_ASIDE_MAX_BYTES {
            break;
        }
        if_exists(fs::remove_file(path))?;
        total -= bytes;
    }
    Ok(())
}

/// What the user is told of damage in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamageReport {
    /// The segment's file.
    pub path: PathBuf,
    /// Number of the first damaged line.
    pub first_number: u64,
    /// Number of the damaged lines.
    pub count: u64,
    /// What became of the damaged lines.
    pub outcome: DamageOutcome,
}

/// What became of damaged lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageOutcome {
    /// The file has the name of a segment, and is none. It is passed over.
    PassedOver,
    /// They were moved to the file with the added extension `damaged`.
    SetAside,
    /// They are still in the segment, and are passed over.
    Left,
    /// The disk can't read the segment from the first damaged line on.
    Unreadable(String),
}

impl DamageReport {
    /// The report of what has the name of a segment, and is none.
    pub fn odd(path: PathBuf) -> DamageReport {
        DamageReport {
            path,
            first_number: 0,
            count: 0,
            outcome: DamageOutcome::PassedOver,
        }
    }
}

impl fmt::Display for DamageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (path, number) = (self.path.display(), self.first_number);
        if self.outcome == DamageOutcome::PassedOver {
            return write!(
                f,
                "{path} is no file of the history and is passed over: move it away"
            );
        }
        if let DamageOutcome::Unreadable(error) = &self.outcome {
            return write!(
                f,
                "{path} cannot be read from line {number} on: {error}; its lines are requested \
                 from peers; check the disk"
            );
        }
        write!(f, "{path} is damaged in line {number}")?;
        if self.count > 1 {
            write!(f, " and {} more", self.count - 1)?;
        }
        f.write_str(match self.outcome {
            DamageOutcome::SetAside => {
                ": the rest is kept, what is damaged is moved to a file *.damaged beside it, and \
                 requested from peers; check the disk"
            }
            _ => ": the rest is kept; check the disk",
        })
    }
}
