//! Segment files of a folder: their names and sizes, and fields read from the first bytes of a
//! line.
use std::collections::BinaryHeap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::identity::PeerId;
use crate::base::table::SortedSet;
use crate::shell::os::file;
use crate::shell::store::segment::frontier::FRONTIER_PREFIX;

/// Prefix of a batch's line, before the author's id.
const BATCH_PREFIX: &[u8] = b"{\"type\":\"chat\",\"sender\":\"";
/// Prefix of a line that replaces evicted lines.
pub const DROPPED_PREFIX: &[u8] = b"{\"type\":\"dropped\",\"bytes\":";
/// The header of a batch is searched for in this many bytes of its line.
const PEEK_MAX_BYTES: usize = 1000;
const SEGMENT_EXTENSION: &str = ".ndjson";
const TEMPORARY_EXTENSION: &str = ".tmp";
/// Highest number of a segment. A history with so many segments can't exist.
pub const NUMBER_MAX: u64 = 999_999_999_999;
/// In a file name, the segment's number is padded with zeros to this many digits.
const NUMBER_DIGITS: usize = 6;

/// A segment found in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// The segment's number.
    pub number: u64,
    /// The segment's length in bytes.
    pub bytes: u64,
}

/// The line that replaces evicted lines, with its line end. `bytes` is the total length of the
/// evicted lines, including their line ends.
pub fn dropped_line(bytes: u64) -> String {
    format!("{{\"type\":\"dropped\",\"bytes\":{bytes}}}\n")
}

/// Whether a line begins as a batch, a frontier or a `dropped` line does.
pub fn has_known_type(line: &[u8]) -> bool {
    [BATCH_PREFIX, FRONTIER_PREFIX, DROPPED_PREFIX]
        .iter()
        .any(|prefix| line.starts_with(prefix))
}

/// Reads the author's id from the first bytes of a batch's line. `None`: the line is no batch, or
/// its fields are not in the order of [`Batch::sign`](crate::base::batch::batch::Batch::sign). The
/// caller must then parse the line.
pub fn peek_author(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BATCH_PREFIX)?.get(..PeerId::TEXT_BYTES)
}

/// What follows from the next beginning of a batch on, if `line` has one behind its first byte.
pub fn next_batch(line: &[u8]) -> Option<&[u8]> {
    let rest = line.get(1..)?;
    let mut parts = rest.windows(BATCH_PREFIX.len());
    let at = parts.position(|part| part == BATCH_PREFIX)?;
    Some(&rest[at..])
}

/// Reads the sequence of a batch with a single line, without parsing the batch. `line` is the
/// stored form of the batch. `None`: the batch may have several lines, or its header has nested
/// objects or escapes. The caller must then parse it.
pub fn peek_single_sequence(line: &[u8]) -> Option<u64> {
    peek_author(line)?;
    let find = |bytes: &[u8], part: &[u8]| bytes.windows(part.len()).position(|w| w == part);
    let start = &line[..line.len().min(PEEK_MAX_BYTES)];
    let content: [&[u8]; 2] = [b",\"content\":", b",\"content_hash\":"];
    let end = content.iter().find_map(|field| find(start, field))?;
    // An unknown field of another author may contain an object that has a field of the same name.
    let is_nested = |byte: &u8| matches!(byte, b'{' | b'\\');
    let header = start.get(1..end).filter(|it| !it.iter().any(is_nested))?;
    if find(header, b"\"count\"").is_some() {
        return None;
    }
    let field = b",\"sequence\":";
    let digits = &header[find(header, field)? + field.len()..];
    let digits = digits.split(|b| *b == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The path of the segment with this number.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!(
        "{number:0width$}{SEGMENT_EXTENSION}",
        width = NUMBER_DIGITS
    ))
}

/// The path under which a segment is written. The finished file is then renamed to [`path`].
pub fn temporary_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!(
        "{number:0width$}{TEMPORARY_EXTENSION}",
        width = NUMBER_DIGITS
    ))
}

/// What lies in a folder under names of segments.
#[derive(Default)]
pub struct SegmentList {
    /// The segments, in ascending order of their numbers.
    pub segments: Vec<SegmentFile>,
    /// What has the name of a segment, or of its temporary file, and is none: a directory, a FIFO,
    /// a link, or a file whose number is not written as the store writes it.
    pub odd: SortedSet<PathBuf>,
    /// No name has a higher number.
    pub highest_number: u64,
}

/// Lists a folder. The result is empty if the folder is missing. Opens no file.
///
/// # Errors
/// The folder can't be read.
pub fn list_all(dir: &Path) -> io::Result<SegmentList> {
    let mut list = SegmentList::default();
    for entry in file::if_exists(fs::read_dir(dir))?.into_iter().flatten() {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(parse_number) else {
            continue;
        };
        // The file is missing if the writing program has evicted the segment since the directory
        // was read.
        let Some(meta) = file::if_exists(entry.metadata())? else {
            continue;
        };
        let is_canonical = (1..=NUMBER_MAX).contains(&number);
        let is_segment = is_canonical && path(dir, number).file_name() == Some(&*name);
        let is_draft = is_canonical && temporary_path(dir, number).file_name() == Some(&*name);
        if meta.is_file() && is_draft {
            continue;
        }
        if meta.is_file() && is_segment {
            let bytes = meta.len();
            list.segments.push(SegmentFile { number, bytes });
        } else {
            list.odd.insert(entry.path());
        }
        if is_canonical {
            list.highest_number = list.highest_number.max(number);
        }
    }
    // A heap sorts with 2 KB less code than a slice does.
    list.segments = BinaryHeap::from(list.segments).into_sorted_vec();
    Ok(list)
}

/// The segments of a folder, in ascending order of their numbers. Empty if the folder is missing.
///
/// # Errors
/// The folder can't be read.
pub fn list(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    Ok(list_all(dir)?.segments)
}

/// The numbers under which segments may be read, in ascending order. Includes those of objects that
/// are no regular files: to open them is an error, which tells the user.
///
/// # Errors
/// The folder can't be read.
pub fn list_numbers(dir: &Path) -> io::Result<Vec<u64>> {
    let list = list_all(dir)?;
    let segments = list.segments.iter().map(|segment| segment.number);
    let odd = list
        .odd
        .iter()
        .filter_map(|path| path.file_name()?.to_str());
    let odd = odd.filter(|name| name.ends_with(SEGMENT_EXTENSION));
    let odd = odd.filter_map(parse_number).filter(|n| *n <= NUMBER_MAX);
    let numbers: SortedSet<u64> = segments.chain(odd).collect();
    Ok(numbers.into_iter().collect())
}

/// Bytes of all segments of a folder.
///
/// # Errors
/// The folder can't be read.
pub fn folder_bytes(dir: &Path) -> io::Result<u64> {
    Ok(list(dir)?.iter().map(|segment| segment.bytes).sum())
}

/// The number in the name of a segment or of its temporary file. `u64::MAX`: it has too many
/// digits.
fn parse_number(name: &str) -> Option<u64> {
    let extensions = [SEGMENT_EXTENSION, TEMPORARY_EXTENSION];
    let digits = extensions.iter().find_map(|it| name.strip_suffix(*it))?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}
