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

use crate::base::batch::{BATCH_MAX, LogId};
use crate::base::event::Position;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{Folder, Target};
use crate::base::range::{Hole, Range};
use crate::base::table::Table;

/// How a frontier line begins.
pub const FRONTIER: &[u8] = b"{\"type\":\"frontier\",";
/// Longest frontier line that is read, in bytes: some 80 000 logs and holes.
const FRONTIER_MAX: usize = 32 * 1024 * 1024;
/// Longest line of any other kind: a batch and its local fields.
const LINE_BOUND: usize = BATCH_MAX + 1024;
const BUFFER: usize = 64 * 1024;

const CHAT: &[u8] = b"{\"type\":\"chat\",\"sender\":\"";
const DROPPED: &[u8] = b"{\"type\":\"dropped\",\"bytes\":";
const GENERATION: &[u8] = b"{\"type\":\"frontier\",\"generation\":\"";
const GENERATION_DIGITS: usize = 8;
const CHECK: &[u8] = b",\"check\":\"";
const CHECK_DIGITS: usize = 16;
const ID_CHARS: usize = 52;

/// What a frontier line says: all that the room held when it was written.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    pub ranges: Vec<Range>,
    /// Bytes stored of each author, all incarnations together.
    pub authors: Table<PeerId, u64>,
}

#[derive(Deserialize)]
struct FrontierFields<'a> {
    #[serde(borrow)]
    logs: Vec<LogFields<'a>>,
    authors: Table<PeerId, u64>,
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
        out.extend_from_slice(GENERATION);
        out.extend_from_slice(b"00000000\",\"logs\":[");
        for range in &self.ranges {
            let mut entry = |low, high, hash: &Hash, after: Option<&Hash>| {
                // Writing to a `Vec` cannot fail.
                let _ = write!(
                    out,
                    "{{{}\"low\":{low},\"high\":{high},\"hash\":\"{hash}\",\"lamport\":{}",
                    of_log(&range.log),
                    range.lamport
                );
                if let Some(after) = after {
                    let _ = write!(out, ",\"after\":\"{after}\"");
                }
                out.extend_from_slice(b"},");
            };
            entry(range.low, range.high, &range.hash, None);
            // What is held below holes, downwards.
            for hole in range.holes.iter().rev() {
                entry(hole.low, hole.from - 1, &hole.before, Some(&hole.after));
            }
        }
        // The last comma.
        out.pop_if(|last| *last == b',');
        out.extend_from_slice(b"],\"authors\":{");
        for (i, (author, bytes)) in self.authors.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{author}\":{bytes}");
        }
        out.push(b'}');
        let check = check(&out[start..]);
        out.extend_from_slice(CHECK);
        out.extend_from_slice(&check);
        out.extend_from_slice(b"\"}\n");
    }

    /// A line without its end. `None` unless every byte is as it was written.
    pub fn parse(line: &[u8], folder: &Folder) -> Option<Frontier> {
        holds(line).then_some(())?;
        let room = folder.room().map(Target::Room);
        let fields: FrontierFields = serde_json::from_slice(line).ok()?;
        let mut ranges: Vec<Range> = Vec::new();
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
                let above = range.holes.first().map_or(range.low, |hole| hole.low);
                let hole = Hole {
                    low: fields.low,
                    from: fields.high.saturating_add(1),
                    to: above.saturating_sub(1),
                    before: fields.hash,
                    after,
                };
                range.holes.insert(0, hole);
                continue;
            }
            ranges.push(Range {
                log,
                low: fields.low,
                high: fields.high,
                hash: fields.hash,
                lamport: fields.lamport,
                holes: Vec::new(),
            });
        }
        Some(Frontier {
            ranges,
            authors: fields.authors,
        })
    }

    /// The last line of a log that a frontier line names, 0 if it doesn't name the log; without reading all of it as JSON.
    /// `None` unless every byte is as it was written.
    pub fn high(line: &[u8], log: &LogId) -> Option<u64> {
        holds(line).then_some(())?;
        let entry = of_log(log);
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
fn of_log(log: &LogId) -> String {
    let (author, incarnation) = (log.author, log.incarnation);
    let entry = format!("\"sender\":\"{author}\",\"incarnation\":\"{incarnation:016x}\",");
    match &log.target {
        Target::Room(_) => entry,
        reader => format!("{entry}\"target\":\"{reader}\","),
    }
}

/// What the check covers: all before it.
fn checked(line: &[u8]) -> Option<&[u8]> {
    let end = line
        .len()
        .checked_sub(CHECK.len() + CHECK_DIGITS + b"\"}".len())?;
    let whole = line.starts_with(GENERATION) && line[end..].starts_with(CHECK);
    whole.then(|| &line[..end])
}

fn holds(line: &[u8]) -> bool {
    checked(line).is_some_and(|body| line[body.len() + CHECK.len()..].starts_with(&check(body)))
}

fn check(body: &[u8]) -> [u8; CHECK_DIGITS] {
    let mut digits = [0; CHECK_DIGITS];
    let hash = Hash::of(&[b"p2pchat frontier 1\0", body]).to_string();
    digits.copy_from_slice(&hash.as_bytes()[..CHECK_DIGITS]);
    digits
}

/// The same frontier line, of the next generation: the mark that offsets in the file are no longer those of its bytes.
/// `None`: this is no frontier line.
pub fn next_generation(line: &[u8]) -> Option<Vec<u8>> {
    let body = checked(line)?.len();
    let next = generation(line).wrapping_add(1).clamp(1, 99_999_999);
    let mut line = line.to_vec();
    let digits = format!("{next:0width$}", width = GENERATION_DIGITS);
    line[GENERATION.len()..][..GENERATION_DIGITS].copy_from_slice(digits.as_bytes());
    let check = check(&line[..body]);
    line[body + CHECK.len()..][..CHECK_DIGITS].copy_from_slice(&check);
    Some(line)
}

fn generation(head: &[u8]) -> u64 {
    let digits = head
        .strip_prefix(GENERATION)
        .and_then(|rest| rest.get(..GENERATION_DIGITS));
    digits
        .and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok())
        .unwrap_or(0)
}

/// What stands for lines that were dropped, `bytes` of them, end of line included.
pub fn dropped(bytes: u64) -> String {
    format!("{{\"type\":\"dropped\",\"bytes\":{bytes}}}\n")
}

/// The author of a batch by its first bytes, which are nearly always in the order of [`crate::base::batch::Batch::sign`].
/// `None`: they are in another order, or this is no batch; only parsing it tells.
pub fn author(line: &[u8]) -> Option<&[u8]> {
    line.strip_prefix(CHAT)?.get(..ID_CHARS)
}

/// The number of the last line of a batch that holds only one, by its first bytes: thousands of them are passed over to find a place.
/// `None`: only parsing tells.
pub fn single(line: &[u8]) -> Option<u64> {
    author(line)?;
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
pub fn draft(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:06}.tmp"))
}

/// A new file, for this user alone.
pub fn create(path: &Path) -> io::Result<File> {
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
pub struct Reader {
    file: File,
    number: u64,
    generation: u64,
    buffer: Vec<u8>,
    line: Span<usize>,
    /// Where the line after `line` begins in the buffer.
    next: usize,
    end: usize,
    /// Where the buffer's first byte lies in the file.
    offset: u64,
    /// Bytes that dropped lines once took, less what stands in their place now.
    shift: u64,
}

impl Reader {
    /// Before the first line, which is the frontier.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open(dir: &Path, number: u64) -> io::Result<Reader> {
        let file = File::open(path(dir, number))?;
        let mut head = [0; GENERATION.len() + GENERATION_DIGITS];
        let n = file.read_at(&mut head, 0)?;
        Ok(Reader {
            file,
            number,
            generation: generation(&head[..n]),
            buffer: vec![0; BUFFER],
            line: 0..0,
            next: 0,
            end: 0,
            offset: 0,
            shift: 0,
        })
    }

    /// Before the first line at or behind a logical offset.
    ///
    /// # Errors
    /// The file cannot be opened or read.
    pub fn open_at(dir: &Path, number: u64, offset: u64) -> io::Result<Reader> {
        let mut reader = Reader::open(dir, number)?;
        if reader.generation == 0 {
            reader.offset = offset;
            return Ok(reader);
        }
        while reader.position().offset < offset && reader.advance()? {
            if reader.at() >= offset {
                reader.next = reader.line.start;
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
        while self.advance_any()? {
            let Some(bytes) = self.line().strip_prefix(DROPPED) else {
                return Ok(true);
            };
            let digits = bytes.strip_suffix(b"}").unwrap_or_default();
            let bytes = std::str::from_utf8(digits)
                .ok()
                .and_then(|d| d.parse().ok());
            let own = (self.next - self.line.start) as u64;
            self.shift += bytes.unwrap_or(own).saturating_sub(own);
        }
        Ok(false)
    }

    fn advance_any(&mut self) -> io::Result<bool> {
        let mut searched = self.next;
        let mut overlong = false;
        loop {
            let mut rest = &self.buffer[searched..self.end];
            let n = rest.skip_until(b'\n')?;
            if n > 0 && self.buffer[searched + n - 1] == b'\n' {
                self.line = self.next..searched + n - 1;
                if overlong {
                    self.line.start = self.line.end;
                }
                self.next = searched + n;
                return Ok(true);
            }
            let begun = &self.buffer[self.next..self.end];
            let bound = if begun.starts_with(FRONTIER) {
                FRONTIER_MAX
            } else {
                LINE_BOUND
            };
            if overlong || begun.len() > bound {
                overlong = true;
                self.next = self.end;
            }
            self.buffer.copy_within(self.next..self.end, 0);
            self.offset += self.next as u64;
            self.end -= self.next;
            self.next = 0;
            self.line = 0..0;
            searched = self.end;
            if self.end == self.buffer.len() {
                self.buffer.resize(self.end * 2, 0);
            }
            let at = self.offset + self.end as u64;
            match self.file.read_at(&mut self.buffer[self.end..], at) {
                Ok(0) => return Ok(false),
                Ok(n) => self.end += n,
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
    pub fn at(&self) -> u64 {
        self.offset + self.line.start as u64 + self.shift
    }

    /// Where to read on behind the line.
    pub fn position(&self) -> Position {
        Position {
            segment: self.number,
            offset: self.end_of_line() + self.shift,
            generation: self.generation,
        }
    }

    /// Where the file could be cut behind the line.
    pub fn end_of_line(&self) -> u64 {
        self.offset + self.next as u64
    }

    /// How often the segment was rewritten.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}
