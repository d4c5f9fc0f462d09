//! The segment files of a folder: names, listing, and what the first bytes of a line tell.
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::base::identity::PeerId;
use crate::shell::os::file;

/// How a batch's line begins up to its author's id.
const BATCH_PREFIX: &[u8] = b"{\"type\":\"chat\",\"sender\":\"";
/// How a line begins that stands for evicted lines.
pub const DROPPED_PREFIX: &[u8] = b"{\"type\":\"dropped\",\"bytes\":";
/// The fields before the content end within this many bytes: type, id, names, numbers, hash.
const HEADER_MAX_BYTES: usize = 700;
const SEGMENT_EXTENSION: &str = ".ndjson";
/// Fewest digits of a segment's number in its file name.
const NUMBER_DIGITS: usize = 6;

/// A segment found in a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SegmentFile {
    /// Its number.
    pub number: u64,
    /// Its length in bytes.
    pub bytes: u64,
}

/// The line that replaces evicted lines of `bytes` in all, line ends included.
pub fn dropped_line(bytes: u64) -> String {
    format!("{{\"type\":\"dropped\",\"bytes\":{bytes}}}\n")
}

/// The author's id by the first bytes of a batch, which nearly always have the order of
/// [`crate::base::batch::Batch::sign`]. `None`: another order, or no batch; only parsing tells.
pub fn peek_author(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BATCH_PREFIX)?.get(..PeerId::TEXT_BYTES)
}

/// The sequence of a batch of one line, by its first bytes: much quicker than parsing, for scans
/// that skip thousands of lines. `None`: only parsing tells.
pub fn peek_single_sequence(line: &[u8]) -> Option<u64> {
    peek_author(line)?;
    let header = &line[..line.len().min(HEADER_MAX_BYTES)];
    let value_of = |field: &[u8]| {
        let at = header.windows(field.len()).position(|w| w == field)?;
        header.get(at + field.len()..)
    };
    // A batch of several lines has an array as its content.
    value_of(b",\"content\":")?
        .starts_with(b"\"")
        .then_some(())?;
    let digits = value_of(b",\"sequence\":")?.split(|b| *b == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// The path of a segment.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!(
        "{number:0width$}{SEGMENT_EXTENSION}",
        width = NUMBER_DIGITS
    ))
}

/// Where a segment is written before a rename to [`path`] publishes it whole.
pub fn temporary_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:0width$}.tmp", width = NUMBER_DIGITS))
}

/// The segments of a folder, numbers upwards; none if the folder is missing.
///
/// # Errors
/// The folder can't be read.
pub fn list(dir: &Path) -> io::Result<Vec<SegmentFile>> {
    let mut segments = Vec::new();
    for entry in file::if_exists(fs::read_dir(dir))?.into_iter().flatten() {
        let entry = entry?;
        let Some(number) = entry.file_name().to_str().and_then(parse_number) else {
            continue;
        };
        // Missing: the program that writes has evicted the segment since the directory was read.
        if let Some(meta) = file::if_exists(entry.metadata())? {
            let bytes = meta.len();
            segments.push(SegmentFile { number, bytes });
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// The numbers of [`list`].
///
/// # Errors
/// The folder can't be read.
pub fn list_numbers(dir: &Path) -> io::Result<Vec<u64>> {
    Ok(list(dir)?.iter().map(|segment| segment.number).collect())
}

/// Bytes of all segments of a folder.
///
/// # Errors
/// The folder can't be read.
pub fn folder_bytes(dir: &Path) -> io::Result<u64> {
    Ok(list(dir)?.iter().map(|segment| segment.bytes).sum())
}

fn parse_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SEGMENT_EXTENSION)?;
    let is_number = digits.len() >= NUMBER_DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}
