//! Reads segments: the lines of one segment, or the batches of a folder in order of arrival.
//!
//! Offsets are *logical*: they count the bytes originally written to the segment. In a rewritten
//! segment, a `dropped` line replaces evicted lines and gives their number of bytes. Positions
//! therefore stay valid.
use std::cell::Cell;
use std::fs::File;
use std::io;
use std::ops::Range as Span;
use std::path::Path;

use nix::errno::Errno;

use crate::base::batch::batch::{BATCH_MAX_BYTES, Batch};
use crate::base::event::load::{Position, StoredBatch};
use crate::base::identity::NetworkTag;
use crate::shell::os::file::{self, Access};
use crate::shell::store::segment::frontier::{FRONTIER_PREFIX, GENERATION_END, parse_generation};
use crate::shell::store::segment::segment_file;
use crate::shell::store::store_io;

/// Longest frontier line that is read, in bytes. Such a line has room for about 80 000 logs and
/// gaps.
const FRONTIER_MAX_BYTES: usize = 32 * 1024 * 1024;
/// Limit on the bytes that the `LocalFields` add to a batch.
const LOCAL_FIELDS_MAX_BYTES: usize = 1024;
/// Longest line that is read, in bytes. Does not apply to frontier lines.
pub const LINE_MAX_BYTES: usize = BATCH_MAX_BYTES + LOCAL_FIELDS_MAX_BYTES;
const BUFFER_BYTES: usize = 64 * 1024;

/// Reads the whole lines of one segment. The buffer has 64 KiB and grows only for a longer line.
pub struct SegmentReader {
    file: File,
    segment_number: u64,
    generation: u64,
    buffer: Vec<u8>,
    /// The current line, as a span of `buffer`.
    line: Span<usize>,
    /// Physical offset where the current line begins.
    line_file_offset: u64,
    /// Number of the current line. The first line of the file has the number 1.
    line_number: u64,
    /// Offset in `buffer` where the next line begins.
    next_line: usize,
    /// Offset in `buffer` after the last byte read from the file.
    buffered_end: usize,
    /// Physical offset of the buffer's first byte in the file.
    buffer_offset: u64,
    /// Logical offset minus physical offset, after the lines read so far. Each `dropped` line adds
    /// the bytes of its evicted lines, and subtracts its own bytes.
    dropped_bytes: u64,
}

impl SegmentReader {
    /// Opens a segment. The first [`SegmentReader::advance`] moves to the first line.
    ///
    /// # Errors
    /// The file can't be opened. If it can't be read, the first `advance` reports the error.
    pub fn open(dir: &Path, number: u64) -> io::Result<SegmentReader> {
        let file = file::open_regular(&segment_file::path(dir, number), Access::Read)?;
        let mut head = [0; GENERATION_END];
        let n = store_io::read_at(&file, &mut head, 0).unwrap_or(0);
        Ok(SegmentReader {
            file,
            segment_number: number,
            generation: parse_generation(&head[..n]),
            buffer: vec![0; BUFFER_BYTES],
            line: 0..0,
            line_file_offset: 0,
            line_number: 0,
            next_line: 0,
            buffered_end: 0,
            buffer_offset: 0,
            dropped_bytes: 0,
        })
    }

    /// Opens a segment. The first [`SegmentReader::advance`] moves to the first line that begins at
    /// the logical offset `offset` or after it.
    ///
    /// # Errors
    /// The file can't be opened or read.
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

    /// Moves to the next line, and skips `dropped` lines. Returns false if no whole line is left. A
    /// line that is too long is read as an empty line.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn advance(&mut self) -> io::Result<bool> {
        while self.advance_raw()? {
            let Some(rest) = self.line().strip_prefix(segment_file::DROPPED_PREFIX) else {
                return Ok(true);
            };
            let digits = rest.strip_suffix(b"}").unwrap_or_default();
            let evicted_bytes = std::str::from_utf8(digits)
                .ok()
                .and_then(|digits| digits.parse().ok());
            let own_bytes = (self.next_line - self.line.start) as u64;
            let added_bytes = evicted_bytes.unwrap_or(own_bytes).saturating_sub(own_bytes);
            self.dropped_bytes = self.dropped_bytes.saturating_add(added_bytes);
        }
        Ok(false)
    }

    /// Like [`SegmentReader::advance`], but also stops at `dropped` lines.
    fn advance_raw(&mut self) -> io::Result<bool> {
        let mut searched = self.next_line;
        let mut is_overlong = false;
        let line_file_offset = self.next_file_offset();
        loop {
            let unsearched = &self.buffer[searched..self.buffered_end];
            if let Some(at) = memchr::memchr(b'\n', unsearched) {
                self.line = self.next_line..searched + at;
                if is_overlong {
                    self.line.start = self.line.end;
                }
                self.next_line = searched + at + 1;
                self.line_file_offset = line_file_offset;
                self.line_number += 1;
                return Ok(true);
            }
            let begun = &self.buffer[self.next_line..self.buffered_end];
            let max_bytes = if begun.starts_with(FRONTIER_PREFIX) {
                FRONTIER_MAX_BYTES
            } else {
                LINE_MAX_BYTES
            };
            if is_overlong || begun.len() > max_bytes {
                is_overlong = true;
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
            let free = &mut self.buffer[self.buffered_end..];
            let read = store_io::read_at(&self.file, free, at);
            match read {
                Ok(n) if n > 0 => self.buffered_end += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                ended => {
                    if is_overlong {
                        // The line is not whole, so the reader stays before its beginning.
                        self.buffer_offset = line_file_offset;
                        self.buffered_end = 0;
                    }
                    return ended.map(|_| false);
                }
            }
        }
    }

    /// Marks the place after the current line.
    pub fn mark(&self) -> Mark {
        Mark {
            file_offset: self.next_file_offset(),
            line_number: self.line_number,
            dropped_bytes: self.dropped_bytes,
        }
    }

    /// Returns to a place that this reader has marked. The next [`SegmentReader::advance`] moves to
    /// the line there.
    pub fn rewind(&mut self, mark: &Mark) {
        self.line_number = mark.line_number;
        self.dropped_bytes = mark.dropped_bytes;
        self.line = 0..0;
        // Most segments that are read so are short: the place is in the buffer still.
        let in_buffer = mark.file_offset.checked_sub(self.buffer_offset);
        if let Some(at) = in_buffer.filter(|at| *at <= self.buffered_end as u64) {
            self.next_line = at as usize;
        } else {
            self.buffer_offset = mark.file_offset;
            (self.next_line, self.buffered_end) = (0, 0);
        }
    }

    /// The current line, without its line end.
    pub fn line(&self) -> &[u8] {
        &self.buffer[self.line.clone()]
    }

    /// The current line, with its place in the file.
    pub fn file_line(&self) -> FileLine<'_> {
        FileLine {
            number: self.line_number,
            offset: self.line_file_offset,
            end: self.next_file_offset(),
            bytes: self.line(),
        }
    }

    /// The logical offset where the current line begins.
    pub fn line_offset(&self) -> u64 {
        (self.buffer_offset + self.line.start as u64).saturating_add(self.dropped_bytes)
    }

    /// The position of the beginning of the current line.
    pub fn line_position(&self) -> Position {
        Position {
            offset: self.line_offset(),
            ..self.next_position()
        }
    }

    /// The position after the current line.
    pub fn next_position(&self) -> Position {
        Position {
            segment: self.segment_number,
            offset: self.next_file_offset().saturating_add(self.dropped_bytes),
            generation: self.generation,
        }
    }

    /// The physical offset after the current line. The file may be cut at this offset.
    pub fn next_file_offset(&self) -> u64 {
        self.buffer_offset + self.next_line as u64
    }

    /// How often the segment was rewritten.
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

/// A place between two lines, to which a [`SegmentReader`] can return.
#[derive(Clone, Copy)]
pub struct Mark {
    file_offset: u64,
    line_number: u64,
    dropped_bytes: u64,
}

/// One line of a segment, and its place in the file.
#[derive(Clone, Copy)]
pub struct FileLine<'a> {
    /// Number of the line in its file, counted from 1. Lines before the offset where the reader
    /// began do not count.
    pub number: u64,
    /// Physical offset where the line begins.
    pub offset: u64,
    /// Physical offset after the line end.
    pub end: u64,
    /// The line, without its line end. Empty if the line is too long.
    pub bytes: &'a [u8],
}

impl FileLine<'_> {
    /// Whether the line is too long, and therefore read as an empty line.
    pub fn is_overlong(&self) -> bool {
        self.bytes.is_empty() && self.offset + 1 < self.end
    }
}

/// How a scan of a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// The segment has no further whole line.
    EndOfSegment,
    /// `visit` returned false.
    Stopped,
}

/// Calls `visit` for each line of a segment, beginning at `start`, until `visit` returns false.
/// Sets `at` to the position after the last line visited.
///
/// # Errors
/// The segment can't be read. `at` is then the position of the first line that was not visited. A
/// missing segment is no error and has no lines.
pub fn scan_segment(
    dir: &Path,
    start: Position,
    at: &mut Position,
    visit: &mut dyn FnMut(&SegmentReader) -> bool,
) -> io::Result<ScanEnd> {
    *at = Position {
        generation: 0,
        ..start
    };
    let reader = SegmentReader::open_at(dir, start.segment, start.offset);
    // The file is missing if the writing program has evicted the segment in the meantime.
    let Some(mut reader) = file::if_exists(reader)? else {
        return Ok(ScanEnd::EndOfSegment);
    };
    let ended = loop {
        match reader.advance() {
            Ok(true) if visit(&reader) => {}
            Ok(true) => break Ok(ScanEnd::Stopped),
            Ok(false) => break Ok(ScanEnd::EndOfSegment),
            Err(error) => break Err(error),
        }
    };
    *at = reader.next_position();
    ended
}

/// Returns the position after segment `number`, where the caller continues after `error`. `None`:
/// file descriptors or memory ran out, so the caller should try the segment again.
pub fn skip_unreadable(error: &io::Error, number: u64) -> Option<Position> {
    let scarce = [Errno::EMFILE, Errno::ENFILE, Errno::ENOMEM].map(|errno| Some(errno as i32));
    (!scarce.contains(&error.raw_os_error())).then(|| Position {
        segment: number + 1,
        ..Position::default()
    })
}

/// The first position at or after `position` that lies in one of the segments. `segment_numbers`
/// must be in ascending order. `None`: `position` is beyond the last segment.
pub fn resolve_position(segment_numbers: &[u64], position: Position) -> Option<Position> {
    let index = segment_numbers.partition_point(|n| *n < position.segment);
    let number = *segment_numbers.get(index)?;
    Some(Position {
        segment: number,
        offset: if number == position.segment {
            position.offset
        } else {
            0
        },
        generation: 0,
    })
}

/// Reads batches in order of arrival, beginning at `start`. Reads about `budget_bytes`, but at
/// least one batch. Sets `at` to the position after the last batch read. `start` must come from
/// [`resolve_position`]. Passes over damaged lines, and sets `is_suspect` if it finds one.
///
/// # Errors
/// A segment can't be read. If file descriptors or memory ran out, the next call tries the segment
/// again. After any other error, `at` is set so that the next call skips the segment.
pub fn read_segments(
    dir: &Path,
    network: &NetworkTag,
    segment_numbers: &[u64],
    start: Position,
    at: &mut Position,
    budget_bytes: usize,
    is_suspect: &Cell<bool>,
) -> io::Result<Vec<StoredBatch>> {
    let mut batches = Vec::new();
    let mut offset = start.offset;
    let mut read_bytes = 0;
    let first = segment_numbers.partition_point(|n| *n < start.segment);
    for number in &segment_numbers[first..] {
        let start = Position {
            segment: *number,
            offset,
            generation: 0,
        };
        let ended = scan_segment(dir, start, at, &mut |reader| {
            if let Ok((batch, local)) = Batch::parse_stored(reader.line(), network) {
                read_bytes += reader.line().len();
                batches.push(StoredBatch {
                    position: reader.line_position(),
                    batch,
                    local,
                });
            } else if segment_file::peek_author(reader.line()).is_some() {
                is_suspect.set(true);
            }
            read_bytes < budget_bytes
        });
        match ended {
            Err(error) if batches.is_empty() => {
                *at = skip_unreadable(&error, *number).unwrap_or(*at);
                return Err(error);
            }
            Ok(ScanEnd::EndOfSegment) => offset = 0,
            _ => break,
        }
    }
    Ok(batches)
}
