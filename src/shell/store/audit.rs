//! Reads a whole folder, and compares it with the lines that it should store. A start trusts
//! frontier lines and does not read older segments, and a disk may lose lines while a program runs.
use std::io;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::load::Position;
use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::{LogRange, LostLines};
use crate::base::table::{SortedMap, sorted_by_number};
use crate::shell::os::descriptors::is_shortage;
use crate::shell::store::damage::{DamageOutcome, DamageReport, DamagedLines, StoredLine};
use crate::shell::store::segment::segment_reader::SegmentReader;

/// What an audit reads, and what it compares with.
pub struct AuditRequest {
    /// The folder.
    pub folder: FolderName,
    /// The directory of the folder.
    pub dir: PathBuf,
    /// The network of the folder.
    pub network: NetworkTag,
    /// The segments of the folder, in ascending order.
    pub segment_numbers: Vec<u64>,
    /// The ranges that the folder should store, sorted by log.
    pub ranges: Vec<Arc<LogRange>>,
    /// The position after the lines that the reader has printed. `None`: it has printed nothing.
    pub printed: Option<Position>,
    /// The end of the folder.
    pub end: Position,
    /// The bytes that count as stored for each author.
    pub author_bytes: Arc<SortedMap<PeerId, u64>>,
    /// The reports of damage that is still in the segments. What the disk can't read is not found
    /// again.
    pub known_damage: Vec<DamageReport>,
    /// Batches whose signature is false. They count as damaged.
    pub false_batches: Vec<Position>,
}

/// The result of an audit.
pub struct Audit {
    /// The folder.
    pub folder: FolderName,
    /// The lines that the folder should store and does not.
    pub lost: Vec<LostLines>,
    /// The segments with damaged lines.
    pub damaged: Vec<DamagedSegment>,
    /// The bytes that counted as stored for each author before the audit.
    pub counted_bytes: Arc<SortedMap<PeerId, u64>>,
    /// The bytes of each author's undamaged batches.
    pub found_bytes: SortedMap<PeerId, u64>,
}

/// A segment with damaged lines.
pub struct DamagedSegment {
    /// Number of the segment.
    pub number: u64,
    /// Generation of the segment when it was read.
    pub generation: u64,
    /// The damaged lines.
    pub lines: DamagedLines,
    /// Why the rest of the segment can't be read. `None`: all of it was read.
    pub error: Option<io::Error>,
}

/// The undamaged batches of a folder.
struct FoundBatches {
    /// The runs of each log that the folder should store, in the order of
    /// [`AuditRequest::ranges`].
    runs: Vec<Vec<BatchRun>>,
    author_bytes: SortedMap<PeerId, u64>,
}

/// Consecutive undamaged batches of one log.
#[derive(Clone, Copy)]
struct BatchRun {
    first: u64,
    last: u64,
    /// What the first batch names as `previous`.
    previous: Option<Hash>,
    /// Hash of the last batch.
    hash: Hash,
    /// Where the first batch begins.
    position: Position,
}

impl AuditRequest {
    /// Reads the folder.
    ///
    /// # Errors
    /// File descriptors or memory ran out.
    pub fn run(self) -> io::Result<Audit> {
        let mut found = FoundBatches {
            runs: self.ranges.iter().map(|_| Vec::new()).collect(),
            author_bytes: SortedMap::new(),
        };
        let mut damaged = Vec::new();
        for number in &self.segment_numbers {
            let reader = match SegmentReader::open(&self.dir, *number) {
                Ok(reader) => reader,
                Err(error) if is_shortage(&error) => return Err(error),
                // The segment was evicted meanwhile, or its lines are lost.
                Err(_) => continue,
            };
            damaged.extend(self.read_segment(reader, *number, &mut found)?);
        }
        let mut lost = Vec::new();
        for (range, runs) in self.ranges.iter().zip(found.runs) {
            let runs = merge_runs(&runs);
            for wanted in range.stored_lines() {
                self.find_lost(&range.log, wanted, &runs, &mut lost);
            }
        }
        Ok(Audit {
            folder: self.folder,
            lost,
            damaged,
            counted_bytes: self.author_bytes,
            found_bytes: found.author_bytes,
        })
    }

    /// Adds the batches of a segment to `found`. Returns the damage, if there is any that the user
    /// does not know of.
    fn read_segment(
        &self,
        mut reader: SegmentReader,
        number: u64,
        found: &mut FoundBatches,
    ) -> io::Result<Option<DamagedSegment>> {
        let mut lines = DamagedLines::default();
        let error = loop {
            match reader.advance() {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) if is_shortage(&error) => return Err(error),
                Err(error) => break Some(error),
            }
            let position = reader.line_position();
            match StoredLine::parse(&reader.file_line(), &self.network) {
                StoredLine::Batch(batch, _) if !self.is_false(position) => {
                    let bytes = reader.line().len() as u64 + 1;
                    // Batches that were appended since are not in the counted bytes.
                    if position < self.end && batch.log.target.room() == self.folder.room().as_ref()
                    {
                        *found.author_bytes.get_or_default(batch.log.author) += bytes;
                    }
                    let of_log = self
                        .ranges
                        .binary_search_by(|range| range.log.cmp(&batch.log));
                    if let Ok(at) = of_log {
                        add_batch(&mut found.runs[at], &batch, position);
                    }
                }
                StoredLine::Other => {}
                StoredLine::Damaged | StoredLine::Batch(..) => {
                    let was_printed = self.printed.is_some_and(|printed| position < printed);
                    lines.add(&reader.file_line(), was_printed);
                }
            }
        };
        if error.is_some() {
            lines.add_unread(&reader);
        }
        let is_known = error.as_ref().is_some_and(|error| {
            let outcome = DamageOutcome::Unreadable(error.to_string());
            let report = lines.report(&self.dir, number, outcome);
            report.is_some_and(|report| self.known_damage.contains(&report))
        });
        let is_new = !lines.offsets.is_empty() && !is_known;
        Ok(is_new.then(|| DamagedSegment {
            number,
            generation: reader.generation(),
            lines,
            error,
        }))
    }

    fn is_false(&self, at: Position) -> bool {
        let mut found = self.false_batches.iter();
        found.any(|it| (it.segment, it.offset) == (at.segment, at.offset))
    }

    /// Adds the lines of `wanted` that are in none of the runs to `lost`.
    fn find_lost(
        &self,
        log: &LogId,
        wanted: RangeInclusive<u64>,
        runs: &[BatchRun],
        lost: &mut Vec<LostLines>,
    ) {
        let mut next = *wanted.start();
        let mut hash_below = None;
        for run in runs.iter().filter(|run| run.last >= *wanted.start()) {
            if run.first > *wanted.end() {
                break;
            }
            if run.first > next {
                lost.push(LostLines {
                    log: log.clone(),
                    lines: next..=run.first - 1,
                    hash_below,
                    previous_above: run.previous,
                    was_printed: self.printed.is_some_and(|printed| run.position < printed),
                });
            }
            (next, hash_below) = (run.last + 1, Some(run.hash));
        }
        if next <= *wanted.end() {
            lost.push(LostLines {
                log: log.clone(),
                lines: next..=*wanted.end(),
                hash_below,
                previous_above: None,
                was_printed: self.printed.is_some_and(|printed| printed >= self.end),
            });
        }
    }
}

/// Adds a batch to the runs of its log.
fn add_batch(runs: &mut Vec<BatchRun>, batch: &Batch, position: Position) {
    match runs.last_mut() {
        Some(run) if run.last + 1 == batch.sequence => {
            (run.last, run.hash) = (batch.last_sequence(), batch.hash);
        }
        _ => {
            // Most logs have a single run.
            if runs.is_empty() {
                runs.reserve_exact(1);
            }
            runs.push(BatchRun {
                first: batch.sequence,
                last: batch.last_sequence(),
                previous: batch.previous,
                hash: batch.hash,
                position,
            });
        }
    }
}

/// Sorts the runs of a log by sequence, and joins those that touch or overlap.
fn merge_runs(runs: &[BatchRun]) -> Vec<BatchRun> {
    let mut merged: Vec<BatchRun> = Vec::new();
    for run in sorted_by_number(runs, |run| run.first) {
        match merged.last_mut() {
            Some(last) if run.first <= last.last + 1 => {
                if run.last > last.last {
                    (last.last, last.hash) = (run.last, run.hash);
                }
            }
            _ => merged.push(run),
        }
    }
    merged
}
