//! Recovers at startup which lines a folder stores. Trusts the last valid frontier line, and reads
//! the batches after it. Cuts off a line that a crash left incomplete. Sets damaged lines aside.
use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields};
use crate::base::event::load::Position;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::{BACKFILL_LINES, LogRange, LogRanges};
use crate::base::table::SortedMap;
use crate::shell::os::descriptors::is_shortage;
use crate::shell::os::file::{self, Access};
use crate::shell::store::damage::{self, DamageOutcome, DamageReport, DamagedLines, StoredLine};
use crate::shell::store::segment::frontier::{FRONTIER_PREFIX, Frontier};
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_file::SegmentFile;
use crate::shell::store::segment::segment_reader::{LINE_MAX_BYTES, SegmentReader};
use crate::shell::store::store_io;

/// The result of a recovery: what the folder stores.
#[derive(Default)]
pub struct Recovered {
    /// The numbers of the segments, in ascending order.
    pub segment_numbers: Vec<u64>,
    /// No file has the name of a segment with a higher number.
    pub highest_number: u64,
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// Bytes of the last segment.
    pub last_segment_bytes: u64,
    /// The stored range of each log.
    pub ranges: LogRanges,
    /// Bytes of each author's batches.
    pub author_bytes: SortedMap<PeerId, u64>,
    /// No batch in the segments has a line with a higher Lamport number.
    pub max_lamport: u64,
    /// Whether new batches may be appended to the last segment. The segment must be readable and
    /// begin with a valid frontier line. The segment must never have been rewritten, because its
    /// physical offsets must equal its logical offsets.
    pub is_appendable: bool,
    /// Bytes of the last segment after its last frontier line.
    pub bytes_after_frontier: u64,
    /// Bytes of the frontier line with which the last segment begins. 0 if it is not appendable.
    pub first_line_bytes: u64,
    /// The damage that was found, one report for each damaged segment.
    pub damage: Vec<DamageReport>,
    /// Parts of damaged lines that the reader has printed: see [`damage::read_printed_parts`].
    pub printed_parts: Vec<Box<[u8]>>,
}

/// Finds out which lines a folder stores. Cuts an incomplete line off the last segment, and sets
/// damaged lines aside. Reads older segments only if the last segment has no valid frontier line.
/// `printed`: the position after the lines that the reader has printed.
///
/// # Errors
/// The folder or a file in it can't be read, cut or removed. Damaged content is not an error.
pub fn recover_folder(
    dir: &Path,
    folder: &FolderName,
    network: &NetworkTag,
    printed: Option<Position>,
) -> io::Result<Recovered> {
    let list = segment_file::list_all(dir)?;
    let mut files = list.segments;
    let mut reports: Vec<DamageReport> = list.odd.into_iter().map(DamageReport::odd).collect();
    remove_drafts(dir, &files)?;
    if let Some(last) = files.last()
        && !ends_with_line_end(dir, last)?
    {
        restore_line_end(dir, last, network)?;
        remove_empty_segments(dir, &mut files)?;
    }
    let Some(last_index) = files.len().checked_sub(1) else {
        return Ok(Recovered {
            highest_number: list.highest_number,
            damage: reports,
            printed_parts: damage::read_printed_parts(dir, network)?,
            ..Recovered::default()
        });
    };
    let Base {
        index: base,
        frontier,
        mut reader,
        frontier_end,
        first_line_bytes,
    } = find_base(dir, &files, folder)?.unwrap_or_default();
    let mut state = RecoveryState::new(frontier, folder, network, printed);
    let mut is_readable = true;
    let mut generation = 0;
    for (index, file) in files.iter_mut().enumerate().skip(base) {
        let mut reader = match reader.take() {
            Some(reader) => reader,
            None => SegmentReader::open(dir, file.number)?,
        };
        let scan = state.scan_segment(&mut reader)?;
        generation = reader.generation();
        // Closes the segment before it is cut, and frees the buffer, which may be large.
        drop(reader);
        is_readable = scan.error.is_none();
        if index == last_index && is_readable {
            file.bytes = cut_torn_tail(dir, file, scan.end)?;
        }
        if let Some(report) = set_aside(dir, file, scan) {
            generation = SegmentReader::open(dir, file.number)?.generation();
            reports.push(report);
        }
    }
    let last = files[last_index];
    Ok(Recovered {
        is_appendable: is_readable && base == last_index && generation == 0 && first_line_bytes > 0,
        first_line_bytes,
        highest_number: list.highest_number,
        segment_numbers: files.iter().map(|file| file.number).collect(),
        total_bytes: files.iter().map(|file| file.bytes).sum(),
        last_segment_bytes: last.bytes,
        bytes_after_frontier: last.bytes.saturating_sub(frontier_end),
        ranges: state.ranges,
        author_bytes: state.author_bytes,
        max_lamport: state.max_lamport,
        damage: reports,
        printed_parts: damage::read_printed_parts(dir, network)?,
    })
}

/// Cuts off what follows the last whole line of a segment: a write that a crash interrupted. `end`:
/// the physical offset after that line. Returns the segment's size.
fn cut_torn_tail(dir: &Path, segment: &SegmentFile, end: u64) -> io::Result<u64> {
    if end < segment.bytes {
        let path = segment_file::path(dir, segment.number);
        file::open_regular(&path, Access::Write)?.set_len(end)?;
    }
    Ok(end)
}

/// Whether the last byte of a segment is a line end. False if the byte can't be read.
fn ends_with_line_end(dir: &Path, segment: &SegmentFile) -> io::Result<bool> {
    let Some(at) = segment.bytes.checked_sub(1) else {
        return Ok(false);
    };
    let file = file::open_regular(&segment_file::path(dir, segment.number), Access::Read)?;
    let mut last = [0];
    let read = store_io::read_at(&file, &mut last, at);
    Ok(read.is_ok_and(|n| n == 1) && last == *b"\n")
}

/// Restores the last line end of a segment if it is damaged. Without a line end, the batch before
/// it would pass for an interrupted write.
fn restore_line_end(dir: &Path, segment: &SegmentFile, network: &NetworkTag) -> io::Result<()> {
    let file = file::open_regular(&segment_file::path(dir, segment.number), Access::Write)?;
    let mut tail = vec![0; segment.bytes.min(LINE_MAX_BYTES as u64) as usize];
    let tail_at = segment.bytes - tail.len() as u64;
    match store_io::read_at(&file, &mut tail, tail_at) {
        Ok(n) if n == tail.len() => {}
        Err(error) if is_shortage(&error) => return Err(error),
        // The scan of the segment finds and reports what can't be read.
        _ => return Ok(()),
    }
    let line = tail
        .rsplit(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    if let Some((_, batch)) = line.split_last()
        && Batch::parse_stored(batch, network).is_ok()
    {
        file.write_all_at(b"\n", segment.bytes - 1)?;
    }
    Ok(())
}

/// Sets the damaged lines of a segment aside. Updates the segment's size. Returns the report, if
/// the segment is damaged. On a full or broken disk, the lines stay in the segment.
fn set_aside(dir: &Path, segment: &mut SegmentFile, scan: SegmentScan) -> Option<DamageReport> {
    let SegmentScan { damaged, error, .. } = scan;
    if damaged.offsets.is_empty() {
        return None;
    }
    let outcome = if let Some(error) = error {
        DamageOutcome::Unreadable(error.to_string())
    } else if let Ok(bytes) = damaged.set_aside(dir, segment.number) {
        segment.bytes = bytes;
        DamageOutcome::SetAside
    } else {
        DamageOutcome::Left
    };
    damaged.report(dir, segment.number, outcome)
}

/// Removes the temporary files of these segments, which interrupted writes have left.
fn remove_drafts(dir: &Path, files: &[SegmentFile]) -> io::Result<()> {
    for file in files {
        let draft = segment_file::temporary_path(dir, file.number);
        if draft.symlink_metadata().is_ok_and(|meta| meta.is_file()) {
            fs::remove_file(draft)?;
        }
    }
    Ok(())
}

/// Removes the segments at the end of the folder that contain no whole line, as interrupted writes
/// leave them. `files` then lists only the remaining segments.
fn remove_empty_segments(dir: &Path, files: &mut Vec<SegmentFile>) -> io::Result<()> {
    while let Some(last) = files.last() {
        if ends_with_line_end(dir, last)? {
            break;
        }
        let mut reader = SegmentReader::open(dir, last.number)?;
        if !matches!(reader.advance(), Ok(false)) {
            break;
        }
        fs::remove_file(segment_file::path(dir, last.number))?;
        files.pop();
    }
    Ok(())
}

/// The last valid frontier line of a folder, where recovery begins to read. The default is the
/// beginning of a folder without such a line.
#[derive(Default)]
struct Base {
    /// The index of the line's segment.
    index: usize,
    /// The content of the line.
    frontier: Frontier,
    /// Reads the lines after the frontier line. `None`: all lines of the folder must be read.
    reader: Option<SegmentReader>,
    /// The physical offset after the line.
    frontier_end: u64,
    /// Bytes of the frontier line with which the segment begins. 0: it begins with another line.
    first_line_bytes: u64,
}

/// Finds the last valid frontier line of the folder. `None`: the folder has no such line.
fn find_base(dir: &Path, files: &[SegmentFile], folder: &FolderName) -> io::Result<Option<Base>> {
    for (index, file) in files.iter().enumerate().rev() {
        if let Some(base) = find_last_frontier(dir, file.number, folder)? {
            return Ok(Some(Base { index, ..base }));
        }
    }
    Ok(None)
}

/// Finds the last valid frontier line of a segment. `None`: the segment has no such line.
///
/// Only this line is parsed, since a parse takes long if there are many logs. The segment is read
/// with one buffer, which holds the line.
fn find_last_frontier(dir: &Path, number: u64, folder: &FolderName) -> io::Result<Option<Base>> {
    let mut reader = SegmentReader::open(dir, number)?;
    let mut marks = Vec::new();
    loop {
        let mark = reader.mark();
        if !advance_readable(&mut reader)? {
            break;
        }
        if reader.line().starts_with(FRONTIER_PREFIX) {
            marks.push(mark);
        }
    }
    while let Some(mark) = marks.pop() {
        reader.rewind(&mark);
        if !advance_readable(&mut reader)? {
            continue;
        }
        let Some(frontier) = Frontier::parse(reader.line(), folder) else {
            continue;
        };
        let first_line_bytes = match reader.file_line().offset {
            0 => reader.next_file_offset(),
            _ => first_frontier_bytes(dir, number)?,
        };
        return Ok(Some(Base {
            index: 0,
            frontier,
            frontier_end: reader.next_file_offset(),
            reader: Some(reader),
            first_line_bytes,
        }));
    }
    Ok(None)
}

/// Bytes of the frontier line with which a segment begins. 0: it begins with another line.
fn first_frontier_bytes(dir: &Path, number: u64) -> io::Result<u64> {
    let mut reader = SegmentReader::open(dir, number)?;
    let is_frontier = advance_readable(&mut reader)? && Frontier::is_valid(reader.line());
    Ok(if is_frontier {
        reader.next_file_offset()
    } else {
        0
    })
}

/// What a recovery has found so far: the range of each log, and the bytes of each author's batches.
struct RecoveryState<'a> {
    folder: &'a FolderName,
    /// The position after the lines that the reader has printed.
    printed: Option<Position>,
    /// Whether damage was found before the present line.
    is_damaged: bool,
    network: &'a NetworkTag,
    ranges: LogRanges,
    author_bytes: SortedMap<PeerId, u64>,
    max_lamport: u64,
}

impl<'a> RecoveryState<'a> {
    fn new(
        frontier: Frontier,
        folder: &'a FolderName,
        network: &'a NetworkTag,
        printed: Option<Position>,
    ) -> RecoveryState<'a> {
        RecoveryState {
            folder,
            network,
            printed,
            is_damaged: false,
            ranges: frontier.ranges,
            author_bytes: frontier.author_bytes,
            max_lamport: frontier.max_lamport,
        }
    }

    /// Adds the undamaged batches of the reader's remaining lines.
    ///
    /// # Errors
    /// File descriptors or memory ran out.
    fn scan_segment(&mut self, reader: &mut SegmentReader) -> io::Result<SegmentScan> {
        let mut damaged = DamagedLines::default();
        let error = loop {
            match reader.advance() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => break Some(error),
            }
            let is_good = match StoredLine::parse(&reader.file_line(), self.network) {
                // A batch of another folder is ignored.
                StoredLine::Batch(batch, _)
                    if batch.log.target.room() != self.folder.room().as_ref() =>
                {
                    true
                }
                StoredLine::Batch(batch, local) => {
                    let bytes = reader.line().len() as u64 + 1;
                    self.add(&batch, local, bytes, reader.line_position())
                }
                StoredLine::Other => true,
                StoredLine::Damaged => false,
            };
            if !is_good {
                self.is_damaged = true;
                let was_printed = self.was_printed(reader.line_position());
                damaged.add(&reader.file_line(), was_printed);
            }
        };
        if error.is_some() {
            damaged.add_unread(reader);
        }
        Ok(SegmentScan {
            end: reader.next_file_offset(),
            damaged,
            error,
        })
    }

    /// Whether the reader has printed the line at this position.
    fn was_printed(&self, at: Position) -> bool {
        self.printed.is_some_and(|printed| at < printed)
    }

    /// Adds a batch to its range. Returns false if the batch contradicts the batches before it: it
    /// follows the head of its log, but names another hash.
    fn add(&mut self, batch: &Batch, local: LocalFields, bytes: u64, at: Position) -> bool {
        let was_printed = self.was_printed(at);
        match self.ranges.get_mut(&batch.log).map(Arc::make_mut) {
            None => {
                // The damage may have been the lines before this one, also of a newcomer.
                // But it has not stored the earlier lines of a longer log.
                let may_be_lost = self.is_damaged && batch.sequence <= BACKFILL_LINES;
                let mut range = LogRange::begin(batch, !local.backfill || may_be_lost);
                if let Some(gap) = range.gaps.first_mut().filter(|_| self.is_damaged) {
                    gap.was_printed = was_printed;
                }
                self.ranges.insert(Arc::new(range));
            }
            // The batch fills a gap, or is a copy of a stored one.
            Some(range) if batch.last_sequence() <= range.high => {
                range.fill_gap(batch);
            }
            Some(range)
                if batch.sequence > range.high + 1
                    || batch.sequence == range.high + 1 && batch.previous == Some(range.hash) =>
            {
                match self.is_damaged {
                    true => range.extend_after_damage(batch, was_printed),
                    false => range.extend(batch),
                }
            }
            Some(_) => return false,
        }
        if let Some(range) = self.ranges.get_mut(&batch.log).map(Arc::make_mut) {
            range.record_news(batch, local);
        }
        self.max_lamport = self.max_lamport.max(batch.last_lamport());
        *self.author_bytes.get_or_default(batch.log.author) += bytes;
        true
    }
}

/// The result of [`RecoveryState::scan_segment`].
struct SegmentScan {
    /// The physical offset after the last whole line.
    end: u64,
    damaged: DamagedLines,
    /// Why the rest of the segment can't be read. `None`: all of it was read.
    error: Option<io::Error>,
}

/// As [`SegmentReader::advance`], but returns false at a part that the disk can't read.
fn advance_readable(reader: &mut SegmentReader) -> io::Result<bool> {
    match reader.advance() {
        Err(error) if !is_shortage(&error) => Ok(false),
        advanced => advanced,
    }
}
