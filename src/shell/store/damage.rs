//! Damaged lines of segments: what counts as damaged, where it is set aside, and how it is
//! reported.
use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::batch::{Batch, LocalFields};
use crate::base::identity::NetworkTag;
use crate::base::table::SortedMap;
use crate::shell::os::file::{append_private_file, if_exists};
use crate::shell::store::segment::frontier::{self, FRONTIER_PREFIX};
use crate::shell::store::segment::rewrite::rewrite_segment;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{FileLine, SegmentReader};
use crate::shell::store::store_io;

/// Maximum size of all files with damaged lines in one folder. At this bound, the oldest files are
/// removed.
const SET_ASIDE_MAX_BYTES: u64 = 4 * 1024 * 1024;
const DAMAGED_EXTENSION: &str = "damaged";
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
}

impl DamagedLines {
    /// Adds a line.
    pub fn add(&mut self, line: &FileLine<'_>) {
        if self.offsets.is_empty() {
            self.first_number = line.number;
        }
        self.offsets.push(line.offset);
    }

    /// Adds the line that `reader` could not read.
    pub fn add_unread(&mut self, reader: &SegmentReader) {
        if self.offsets.is_empty() {
            self.first_number = reader.file_line().number + 1;
        }
        self.offsets.push(reader.next_file_offset());
    }

    /// Moves these lines from the segment to a file beside it. Returns the segment's new size in
    /// bytes.
    ///
    /// # Errors
    /// The disk is full or broken. The segment is unchanged.
    pub fn set_aside(&self, dir: &Path, number: u64) -> io::Result<u64> {
        make_room(dir)?;
        self.copy_aside(dir, number)?;
        rewrite_segment(dir, number, &mut |reader| !self.has_line(reader))?;
        Ok(segment_file::path(dir, number).metadata()?.len())
    }

    /// Appends these lines to a file beside the segment. Blocks until its data is on disk.
    fn copy_aside(&self, dir: &Path, number: u64) -> io::Result<()> {
        let path = segment_file::path(dir, number).with_added_extension(DAMAGED_EXTENSION);
        let out = append_private_file(&path)?;
        let mut reader = SegmentReader::open(dir, number)?;
        while reader.advance()? {
            if self.has_line(&reader) {
                store_io::write_all(&out, &[reader.line(), b"\n"].concat())?;
            }
        }
        store_io::sync(&out)
    }

    /// Whether the current line of `reader` is one of these lines.
    fn has_line(&self, reader: &SegmentReader) -> bool {
        let offset = reader.file_line().offset;
        self.offsets.binary_search(&offset).is_ok()
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

/// Removes files with damaged lines, until a segment's lines have room.
fn make_room(dir: &Path) -> io::Result<()> {
    let mut files = SortedMap::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|it| it == DAMAGED_EXTENSION) {
            let bytes = if_exists(path.metadata())?.map_or(0, |meta| meta.len());
            files.insert(path, bytes);
        }
    }
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
