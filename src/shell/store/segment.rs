//! One file of a room's history: its name, its lines, and the frontier line that it begins with.
//!
//! Offsets that leave this file are *logical*: they count the bytes that were there when the segment was written. A segment that lost
//! lines to a quota has a `dropped` line in their place, which says how many bytes they were; so a position once taken stays true.
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead as _, Write as _};
use std::ops::Range as Span;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::base::batch::{BATCH_MAX_BYTES, LogId};
use crate::base::event::Position;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{FolderName, Target};
use crate::base::range::{Gap, LogRange};
use crate::base::table::SortedMap;

/// How a frontier line begins.
pub const FRONTIER_PREFIX: &[u8] = b"{\"type\":\"frontier\",";
/// Longest frontier line that is read, in bytes: some 80 000 logs and holes.
const FRONTIER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Longest line of any other kind: a batch and its local fields.
const LINE_MAX_BYTES: usize = BATCH_MAX_BYTES + 1024;
const BUFFER_BYTES: usize = 64 * 1024;

const BATCH_PREFIX: &[u8] = b"{\"type\":\"chat\",\"sender\":\"";
const DROPPED_PREFIX: &[u8] = b"{\"type\":\"dropped\",\"bytes\":";
const GENERATION_PREFIX: &[u8] = b"{\"type\":\"frontier\",\"generation\":\"";
const GENERATION_DIGITS: usize = 8;
const CHECKSUM_PREFIX: &[u8] = b",\"check\":\"";
const CHECKSUM_DIGITS: usize = 16;
const ID_CHARS: usize = 52;

/// What a frontier line says: all that the room held when it was written.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    pub ranges: Vec<LogRange>,
    /// Bytes stored of each author, all incarnations together.
    pub author_bytes: SortedMap<PeerId, u64>,
}

#[derive(Deserialize)]
struct FrontierFields<'a> {
    #[serde(borrow)]
    logs: Vec<LogFields<'a>>,
    authors: SortedMap<PeerId, u64>,
}

#[derive(Deserialize)]
struct LogFields<'a> {
    sender: PeerId,
    incarnation: &'a str,
    /// The reader; left out where all logs are of one room.
    target: Option<&'a str>,
    low: u64,
    high: u64,
    hash: Hash,
    lamport: u64,
    /// Of what is held below a hole: what its last batch is called by the one behind it.
    #[serde(default)]
    after: Option<Hash>,
}

impl Frontier {
    /// As a line, end of line included.
    pub fn write(&self, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(GENERATION_PREFIX);
        out.extend_from_slice(b"00000000\",\"logs\":[");
        for range in &self.ranges {
            let mut entry = |low, high, hash: &Hash, after: Option<&Hash>| {
                // Writing to a `Vec` cannot fail.
                let _ = write!(
                    out,
                    "{{{}\"low\":{low},\"high\":{high},\"hash\":\"{hash}\",\"lamport\":{}",
                    log_entry_prefix(&range.log),
                    range.lamport
                );
                if let Some(after) = after {
                    let _ = write!(out, ",\"after\":\"{after}\"");
                }
                out.extend_from_slice(b"},");
            };
            entry(range.low, range.high, &range.hash, None);
            // What is held below holes, downwards.
            for hole in range.gaps.iter().rev() {
                entry(
                    hole.stored_from,
                    hole.from - 1,
                    &hole.previous_hash,
                    Some(&hole.last_hash),
                );
            }
        }
        // The last comma.
        out.pop_if(|last| *last == b',');
        out.extend_from_slice(b"],\"authors\":{");
        for (i, (author, bytes)) in self.author_bytes.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{author}\":{bytes}");
        }
        out.push(b'}');
        let check = checksum(&out[start..]);
        out.extend_from_slice(CHECKSUM_PREFIX);
        out.extend_from_slice(&check);
        out.extend_from_slice(b"\"}\n");
    }

    /// A line without its end. `None` unless every byte is as it was written.
    pub fn parse(line: &[u8], folder: &FolderName) -> Option<Frontier> {
        has_valid_checksum(line).then_some(())?;
        let room = folder.room().map(Target::Room);
        let fields: FrontierFields = serde_json::from_slice(line).ok()?;
        let mut ranges: Vec<LogRange> = Vec::new();
        for fields in &fields.logs {
            let log = LogId {
                target: match &room {
                    Some(room) => room.clone(),
                    None => Target::parse(fields.target?)?,
                },
                author: fields.sender,
                incarnation: u64::from_str_radix(fields.incarnation, 16).ok()?,
            };
            if let Some(after) = fields.after {
                let range = ranges.last_mut().filter(|range| range.log == log)?;
                let above = range
                    .gaps
                    .first()
                    .map_or(range.low, |hole| hole.stored_from);
                let hole = Gap {
                    stored_from: fields.low,
                    from: fields.high.saturating_add(1),
                    to: above.saturating_sub(1),
                    previous_hash: fields.hash,
                    last_hash: after,
                };
                range.gaps.insert(0, hole);
                continue;
            }
            ranges.push(LogRange {
                log,
                low: fields.low,
                high: fields.high,
                hash: fields.hash,
                lamport: fields.lamport,
                gaps: Vec::new(),
            });
        }
        Some(Frontier {
            ranges,
            author_bytes: fields.authors,
        })
    }

    /// The last line of a log that a frontier line names, 0 if it doesn't name the log; without reading all of it as JSON.
    /// `None` unless every byte is as it was written.
    pub fn find_log_head(line: &[u8], log: &LogId) -> Option<u64> {
        has_valid_checksum(line).then_some(())?;
        let entry = log_entry_prefix(log);
        let mut rest = line;
        while rest.skip_until(b'{').is_ok_and(|n| n > 0) {
            if rest.starts_with(entry.as_bytes()) {
                let end = rest.iter().position(|b| *b == b'}')?;
                let fields = std::str::from_utf8(&rest[..end]).ok()?;
                let (_, high) = fields.split_once("\"high\":")?;
                return high.split(',').next()?.parse().ok();
            }
        }
        Some(0)
    }
}

/// How an entry begins, and no other log's.
fn log_entry_prefix(log: &LogId) -> String {
    let (author, incarnation) = (log.author, log.incarnation);
    let entry = format!("\"sender\":\"{author}\",\"incarnation\":\"{incarnation:016x}\",");
    match &log.target {
        Target::Room(_) => entry,
        reader => format!("{entry}\"target\":\"{reader}\","),
    }
}

/// What the check covers: all before it.
fn checksummed_part(line: &[u8]) -> Option<&[u8]> {
    let end = line
        .len()
        .checked_sub(CHECKSUM_PREFIX.len() + CHECKSUM_DIGITS + b"\"}".len())?;
    let whole = line.starts_with(GENERATION_PREFIX) && line[end..].starts_with(CHECKSUM_PREFIX);
    whole.then(|| &line[..end])
}

fn has_valid_checksum(line: &[u8]) -> bool {
    checksummed_part(line)
        .is_some_and(|body| line[body.len() + CHECKSUM_PREFIX.len()..].starts_with(&checksum(body)))
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_DIGITS] {
    let mut digits = [0; CHECKSUM_DIGITS];
    let hash = Hash::of(&[b"p2pchat frontier 1\0", body]).to_string();
    digits.copy_from_slice(&hash.as_bytes()[..CHECKSUM_DIGITS]);
    digits
}

/// The same frontier line, of the next generation: the mark that offsets in the file are no longer those of its bytes.
/// `None`: this is no frontier line.
pub fn with_next_generation(line: &[u8]) -> Option<Vec<u8>> {
    let body = checksummed_part(line)?.len();
    let next = parse_generation(line).wrapping_add(1).clamp(1, 99_999_999);
    let mut line = line.to_vec();
    let digits = format!("{next:0width$}", width = GENERATION_DIGITS);
    line[GENERATION_PREFIX.len()..][..GENERATION_DIGITS].copy_from_slice(digits.as_bytes());
    let check = checksum(&line[..body]);
    line[body + CHECKSUM_PREFIX.len()..][..CHECKSUM_DIGITS].copy_from_slice(&check);
    Some(line)
}

fn parse_generation(head: &[u8]) -> u64 {
    let digits = head
        .strip_prefix(GENERATION_PREFIX)
        .and_then(|rest| rest.get(..GENERATION_DIGITS));
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .unwrap_or(0)
}

/// What stands for lines that were dropped, `bytes` of them, end of line included.
pub fn dropped_line(bytes: u64) -> String {
    format!("{{\"type\":\"dropped\",\"bytes\":{bytes}}}\n")
}

/// The author of a batch by its first bytes, which are nearly always in the order of [`crate::base::batch::Batch::sign`].
/// `None`: they are in another order, or this is no batch; only parsing it tells.
pub fn peek_author(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(BATCH_PREFIX)?.get(..ID_CHARS)
}

/// The number of the last line of a batch that holds only one, by its first bytes: thousands of them are passed over to find a place.
/// `None`: only parsing tells.
pub fn peek_single_sequence(line: &[u8]) -> Option<u64> {
    peek_author(line)?;
    let head = &line[..line.len().min(700)];
    let behind = |field: &[u8]| {
        let at = head.windows(field.len()).position(|w| w == field)?;
        head.get(at + field.len()..)
    };
    behind(b",\"content\":")?.starts_with(b"\"").then_some(())?;
    let digits = behind(b",\"sequence\":")?.split(|b| *b == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.ndjson"))
}

/// Where a file is made ready, before a rename puts it in its place whole.
pub fn temporary_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.tmp"))
}

/// A new file, for this user alone.
pub fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
}

/// The segments of a room, numbers upwards, with their sizes in bytes. A folder that is not there holds none.
///
/// # Errors
/// The folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<(u64, u64)>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".ndjson"))
            .filter(|digits| digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        let Some(number) = number else {
            continue;
        };
        match entry.metadata() {
            // The program that writes has dropped it meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            meta => segments.push((number, meta?.len())),
        }
    }
    segments.sort_unstable();
    Ok(segments)
}

/// Goes over the whole lines of one segment with a buffer of 64 KiB, which grows only for a line that is longer.
pub struct SegmentReader {
    file: File,
    segment_number: u64,
    generation: u64,
    buffer: Vec<u8>,
    line: Span<usize>,
    /// Where the line after `line` begins in the buffer.
    next_line: usize,
    buffered_end: usize,
    /// Where the buffer's first byte lies in the file.
    buffer_offset: u64,
    /// Bytes that dropped lines once took, less what stands in their place now.
    dropped_bytes: u64,
}

impl SegmentReader {
    /// Before the first line, which is the frontier.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(dir: &Path, number: u64) -> io::Result<SegmentReader> {
        let file = File::open(path(dir, number))?;
        let mut head = [0; GENERATION_PREFIX.len() + GENERATION_DIGITS];
        let n = file.read_at(&mut head, 0)?;
        Ok(SegmentReader {
            file,
            segment_number: number,
            generation: parse_generation(&head[..n]),
            buffer: vec![0; BUFFER_BYTES],
            line: 0..0,
            next_line: 0,
            buffered_end: 0,
            buffer_offset: 0,
            dropped_bytes: 0,
        })
    }

    /// Before the first line at or behind a logical offset.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open_at(dir: &Path, number: u64, offset: u64) -> io::Result<SegmentReader> {
        let mut reader = SegmentReader::open(dir, number)?;
        if reader.generation == 0 {
            reader.buffer_offset = offset;
            return Ok(reader);
        }
        while reader.next_position().offset < offset && reader.advance()? {
            if reader.line_offset() >= offset {
                reader.next_line = reader.line.start;
                break;
            }
        }
        Ok(reader)
    }

    /// Goes to the next line; false if there is none that is whole. A line beyond all bounds reads as an empty one.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn advance(&mut self) -> io::Result<bool> {
        while self.advance_raw()? {
            let Some(bytes) = self.line().strip_prefix(DROPPED_PREFIX) else {
                return Ok(true);
            };
            let digits = bytes.strip_suffix(b"}").unwrap_or_default();
            let bytes = std::str::from_utf8(digits)
                .ok()
                .and_then(|d| d.parse().ok());
            let own = (self.next_line - self.line.start) as u64;
            self.dropped_bytes += bytes.unwrap_or(own).saturating_sub(own);
        }
        Ok(false)
    }

    fn advance_raw(&mut self) -> io::Result<bool> {
        let mut searched = self.next_line;
        let mut overlong = false;
        loop {
            let mut rest = &self.buffer[searched..self.buffered_end];
            let n = rest.skip_until(b'\n')?;
            if n > 0 && self.buffer[searched + n - 1] == b'\n' {
                self.line = self.next_line..searched + n - 1;
                if overlong {
                    self.line.start = self.line.end;
                }
                self.next_line = searched + n;
                return Ok(true);
            }
            let begun = &self.buffer[self.next_line..self.buffered_end];
            let bound = if begun.starts_with(FRONTIER_PREFIX) {
                FRONTIER_MAX_BYTES
            } else {
                LINE_MAX_BYTES
            };
            if overlong || begun.len() > bound {
                overlong = true;
                self.next_line = self.buffered_end;
            }
            self.buffer
                .copy_within(self.next_line..self.buffered_end, 0);
            self.buffer_offset += self.next_line as u64;
            self.buffered_end -= self.next_line;
            self.next_line = 0;
            self.line = 0..0;
            searched = self.buffered_end;
            if self.buffered_end == self.buffer.len() {
                self.buffer.resize(self.buffered_end * 2, 0);
            }
            let at = self.buffer_offset + self.buffered_end as u64;
            match self.file.read_at(&mut self.buffer[self.buffered_end..], at) {
                Ok(0) => return Ok(false),
                Ok(n) => self.buffered_end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// The line, without its end.
    pub fn line(&self) -> &[u8] {
        &self.buffer[self.line.clone()]
    }

    /// The logical offset of the line.
    pub fn line_offset(&self) -> u64 {
        self.buffer_offset + self.line.start as u64 + self.dropped_bytes
    }

    /// Where to read on behind the line.
    pub fn next_position(&self) -> Position {
        Position {
            segment: self.segment_number,
            offset: self.next_file_offset() + self.dropped_bytes,
            generation: self.generation,
        }
    }

    /// Where the file could be cut behind the line.
    pub fn next_file_offset(&self) -> u64 {
        self.buffer_offset + self.next_line as u64
    }

    /// How often the segment was rewritten.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
