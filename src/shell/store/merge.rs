//! Merges the segments of several folders into the total order of all lines. The order is by
//! Lamport number, sender (the bytes of its id), incarnation and sequence. Peers that store the
//! same lines get the same order, no matter when the lines arrived.
//!
//! Segments that overlap in the order are open at the same time. While a segment is open, memory
//! contains the keys and offsets of its batches. The number of open files is limited. A segment can
//! therefore be open while its file is closed.
use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt as _;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::identity::NetworkTag;
use crate::base::line_key::LineKey;
use crate::base::table::{SortedMap, SortedSet};
use crate::shell::os::descriptors::is_shortage;
use crate::shell::store::damage::{DamageOutcome, DamageReport, DamagedLines, StoredLine};
use crate::shell::store::scan::{HistoryIndex, HistorySource};

/// Maximum number of segment files that are open at a time. A closed file is opened again when a
/// batch is read from it. The other parts of the program need descriptors, too.
const OPEN_FILES_MAX: usize = 8;

/// The place of a line in a merge.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SortKey {
    line: LineKey,
    /// Index of the folder in [`HistoryIndex::folders`]. It matters only if a misbehaving author
    /// gave two lines in different folders the same key.
    folder_index: usize,
}

impl SortKey {
    /// The key of a batch's first line.
    fn new(batch: &Batch, folder_index: usize) -> SortKey {
        SortKey {
            line: LineKey::in_batch(batch, 0),
            folder_index,
        }
    }
}

/// A batch in an open segment. Its lines are not read yet.
struct BatchEntry {
    /// The key of the batch's first line.
    key: SortKey,
    /// Physical offset in the segment where the batch's line begins. For a store in memory, the
    /// number of the record.
    offset: u64,
    /// Length of the batch's line in bytes, without the line end.
    length: usize,
}

/// A segment whose batches are sorted.
struct OpenSegment {
    /// Index of the segment in [`HistoryIndex::segments`].
    segment_index: usize,
    /// The batches that are not opened yet, in descending order. The batch to open next is last.
    entries: Vec<BatchEntry>,
}

/// A batch whose lines are read. Some of the lines are not returned yet.
struct OpenBatch {
    /// The key of the next line to return.
    key: SortKey,
    batch: Batch,
    local: LocalFields,
    /// The text of all lines, each ended by `\n`.
    text: String,
    /// Offset in `text` where the next line begins.
    text_offset: usize,
    /// The value for the first [`LineRun`] of the batch. See [`LineRun::missing`].
    missing: Option<RangeInclusive<u64>>,
}

impl OpenBatch {
    /// How many lines of the batch were returned or passed over.
    fn returned_count(&self) -> u64 {
        self.key.line.sequence - self.batch.sequence
    }
}

/// Consecutive lines of one batch.
pub struct LineRun<'a> {
    /// Index of the folder in [`HistoryIndex::folders`].
    pub folder_index: usize,
    /// The batch that contains the lines.
    pub batch: &'a Batch,
    /// What this peer stored with the batch.
    pub local: LocalFields,
    /// Index of `text`'s first line in the batch. The batch's first line has index 0.
    pub first_index: u64,
    /// Number of these lines. 0 if and only if the content of the batch is withheld.
    pub line_count: u64,
    /// Text of the lines, each ended by `\n`.
    pub text: &'a str,
    /// Sequences of the log that are missing directly before the batch. Includes the batch's own
    /// sequences if its content is withheld. Every [`LineRun`] of a batch except the first has
    /// `None`.
    pub missing: Option<RangeInclusive<u64>>,
}

/// Returns the lines of several folders in the total order.
pub struct Merge<'a> {
    source: &'a HistorySource<'a>,
    index: &'a HistoryIndex,
    network: NetworkTag,
    /// Batches whose Lamport numbers are all lower are passed over.
    lamport_cutoff: u64,
    /// The segments not opened yet. Each item is the segment's lowest Lamport number, and its index
    /// in [`HistoryIndex::segments`].
    pending_segments: SortedSet<(u64, usize)>,
    open_segments: Vec<OpenSegment>,
    open_batches: Vec<OpenBatch>,
    /// For each log, the highest sequence of the batches opened so far.
    log_heads: SortedMap<LogId, u64>,
    /// The logs with evicted lines of which a batch was opened.
    begun_logs: SortedSet<LogId>,
    /// The key of the most recently opened batch.
    last_key: Option<SortKey>,
    /// Open files, each with the index of its segment. The least recently used file is first.
    open_files: Vec<(usize, File)>,
    /// The damage that was found, one report for each damaged segment.
    pub damage: Vec<DamageReport>,
}

impl<'a> Merge<'a> {
    /// Creates a merge of all lines in the index whose Lamport number is at least
    /// `lamport_cutoff`. Returns whole batches, so some lines with lower numbers are returned too.
    pub fn new(
        source: &'a HistorySource<'a>,
        index: &'a HistoryIndex,
        network: NetworkTag,
        lamport_cutoff: u64,
    ) -> Merge<'a> {
        Merge {
            source,
            index,
            network,
            lamport_cutoff,
            pending_segments: index.segments_by_min_lamport(lamport_cutoff),
            open_segments: Vec::new(),
            open_batches: Vec::new(),
            log_heads: index.log_heads_below(lamport_cutoff),
            begun_logs: SortedSet::new(),
            last_key: None,
            open_files: Vec::new(),
            damage: Vec::new(),
        }
    }

    /// Returns the next lines. `None`: no line is left.
    ///
    /// # Errors
    /// A segment can't be read.
    pub fn next_run(&mut self) -> io::Result<Option<LineRun<'_>>> {
        self.open_batches
            .retain(|open| open.returned_count() < open.batch.count);
        self.open_segments
            .retain(|active| !active.entries.is_empty());
        loop {
            let batch = min_key(
                self.open_segments
                    .iter()
                    .map(|a| a.entries.last().map(|e| &e.key)),
            );
            let open = min_key(self.open_batches.iter().map(|open| Some(&open.key)));
            let least = batch.into_iter().chain(open).map(|(_, key)| key).min();
            if let Some(pending) = self.pending_segments.iter().next().copied()
                && least.is_none_or(|key| pending.0 <= key.line.lamport)
            {
                self.pending_segments.remove(&pending);
                self.open_segment(pending.1)?;
                continue;
            }
            match (batch, open) {
                (Some((active, key)), open) if open.is_none_or(|(_, other)| key < other) => {
                    self.open_batch(active)?;
                }
                (_, Some((open, _))) => return Ok(Some(self.take_run(open))),
                _ => return Ok(None),
            }
        }
    }

    /// Returns the next lines of an open batch. Stops where a line of another batch comes next in
    /// the total order. `open` is the index of the batch. The batch must have the lowest key of
    /// all.
    fn take_run(&mut self, open: usize) -> LineRun<'_> {
        let key = &self.open_batches[open].key;
        let others = self.open_batches.iter().enumerate();
        let others = others.filter(|(i, _)| *i != open).map(|(_, o)| &o.key);
        let entries = self.open_segments.iter().filter_map(|a| a.entries.last());
        let mut count = others
            .chain(entries.map(|entry| &entry.key))
            .map(|other| key.line.lines_before(&other.line))
            .min()
            .unwrap_or(u64::MAX);
        if let Some((least, _)) = self.pending_segments.iter().next() {
            count = count.min(least.saturating_sub(key.line.lamport));
        }
        let open = &mut self.open_batches[open];
        let first = open.returned_count();
        // At least one line, because two equal keys would block each other. Only a misbehaving
        // author creates equal keys. The lines of a batch without content are passed over at once.
        let count = match open.batch.is_withheld() {
            true => open.batch.count,
            false => count.clamp(1, open.batch.count - first),
        };
        let rest = &open.text[open.text_offset..];
        let length = if count == open.batch.count - first {
            rest.len()
        } else {
            let lines = rest.split_inclusive('\n').take(count as usize);
            lines.map(str::len).sum()
        };
        let lines = open.text_offset..open.text_offset + length;
        open.text_offset = lines.end;
        open.key.line = open.key.line.advanced_by(count);
        LineRun {
            folder_index: open.key.folder_index,
            batch: &open.batch,
            local: open.local,
            first_index: first,
            line_count: count.min(open.batch.shown_count()),
            text: &open.text[lines],
            missing: open.missing.take(),
        }
    }

    fn open_batch(&mut self, active: usize) -> io::Result<()> {
        let Some(entry) = self.open_segments[active].entries.pop() else {
            return Ok(());
        };
        // A batch that filled a gap may be stored twice. The copy is skipped.
        if self.last_key.as_ref() == Some(&entry.key) {
            return Ok(());
        }
        let segment = self.open_segments[active].segment_index;
        let Some((batch, local)) = self.read_batch(segment, &entry)? else {
            // An eviction has rewritten the file since it was opened.
            self.open_files.retain(|(of, _)| *of != segment);
            self.open_segments.remove(active);
            return self.open_segment(segment);
        };
        let mut text = String::with_capacity(batch.as_bytes().len());
        batch.for_each_line(|line| {
            text.push_str(line);
            text.push('\n');
        });
        let head = self.log_heads.get_or_default(batch.log.clone());
        // Only once: evicted lines may still be on disk.
        let evicted = self.index.evicted_of(&batch.log);
        let evicted = evicted.filter(|_| self.begun_logs.insert(batch.log.clone()));
        let first_missing = match (*head, evicted) {
            (head, Some(lines)) if head <= *lines.end() => batch.sequence.min(*lines.start()),
            (0, _) => batch.sequence,
            (head, _) => batch.sequence.min(head + 1),
        };
        // Lines without content are as missing as those of a gap before the batch.
        let end = batch.sequence + (batch.count - batch.shown_count());
        let missing = (first_missing < end).then(|| first_missing..=end - 1);
        // Not the maximum: a damaged number may have set it too high.
        *head = batch.last_sequence();
        self.last_key = Some(entry.key);
        self.open_batches.push(OpenBatch {
            key: entry.key,
            batch,
            local,
            text,
            text_offset: 0,
            missing,
        });
        Ok(())
    }

    /// Reads a segment and sorts its undamaged batches. `segment` is an index in
    /// [`HistoryIndex::segments`]. A segment is read again after an eviction has rewritten it. The
    /// batches that were already opened are then left out.
    fn open_segment(&mut self, segment: usize) -> io::Result<()> {
        self.retry_shortage(|merge| merge.read_segment(segment))
    }

    /// Executes `open`. While descriptors or memory are short, closes a file and executes it again.
    ///
    /// # Errors
    /// The error of `open`.
    fn retry_shortage<T>(
        &mut self,
        mut open: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        loop {
            match open(self) {
                Err(error) if is_shortage(&error) && !self.open_files.is_empty() => {
                    self.open_files.remove(0);
                }
                result => return result,
            }
        }
    }

    fn read_segment(&mut self, segment: usize) -> io::Result<()> {
        let mut entries: Vec<BatchEntry> = Vec::new();
        let Some(summary) = self.index.segments.get(segment) else {
            return Ok(());
        };
        let Some(folder) = self.index.folders.get(summary.folder_index) else {
            return Ok(());
        };
        let folder_room = folder.name.room();
        let mut damaged = DamagedLines::default();
        let (cutoff, log_heads) = (self.lamport_cutoff, &mut self.log_heads);
        self.source
            .for_each_line(folder, summary.segment_number, &mut |line| {
                if cutoff > 0
                    && let Some(header) = Batch::parse_header(line.bytes)
                    && header.lamport.saturating_add(header.count) <= cutoff
                    && header.log.target.room() == folder_room.as_ref()
                {
                    let head = log_heads.get_or_default(header.log);
                    *head = (*head).max(header.last_sequence);
                    return;
                }
                let batch = match StoredLine::parse(&line, &self.network) {
                    StoredLine::Batch(batch, _) => batch,
                    StoredLine::Other => return,
                    StoredLine::Damaged => return damaged.add(&line, false),
                };
                if batch.log.target.room() != folder_room.as_ref() {
                    return;
                }
                let key = SortKey::new(&batch, summary.folder_index);
                // Nearly always the last index, because most batches arrive in order.
                let index = entries.partition_point(|entry| entry.key < key);
                entries.insert(
                    index,
                    BatchEntry {
                        key,
                        offset: line.offset,
                        length: line.bytes.len(),
                    },
                );
            })?;
        let dir = self.source.folder_dir(&folder.name);
        let report = damaged.report(&dir, summary.segment_number, DamageOutcome::Left);
        self.damage.extend(report);
        if let Some(last) = &self.last_key {
            entries.retain(|entry| entry.key > *last);
        }
        entries.reverse();
        self.open_segments.push(OpenSegment {
            segment_index: segment,
            entries,
        });
        Ok(())
    }

    /// Reads a batch. `None`: the batch is no longer at its offset, because an eviction changed the
    /// segment.
    fn read_batch(
        &mut self,
        segment: usize,
        entry: &BatchEntry,
    ) -> io::Result<Option<(Batch, LocalFields)>> {
        let summary = &self.index.segments[segment];
        let folder = &self.index.folders[summary.folder_index].name;
        let mut line = Vec::new();
        if let HistorySource::Memory(memory) = self.source {
            line.extend_from_slice(memory.record(folder, entry.offset).unwrap_or_default());
        } else {
            let file = match self.open_files.iter().position(|(of, _)| *of == segment) {
                Some(at) => self.open_files.remove(at).1,
                None => {
                    let source = self.source;
                    let number = summary.segment_number;
                    let open = |_: &mut Self| source.open_segment(folder, number);
                    match self.retry_shortage(open)? {
                        Some(file) => file,
                        None => return Ok(None),
                    }
                }
            };
            line.resize(entry.length, 0);
            let read = file.read_exact_at(&mut line, entry.offset);
            if self.open_files.len() >= OPEN_FILES_MAX {
                self.open_files.remove(0);
            }
            self.open_files.push((segment, file));
            match read {
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                read => read?,
            }
        }
        let stored = Batch::parse_stored(&line, &self.network).ok();
        Ok(stored.filter(|(batch, _)| SortKey::new(batch, summary.folder_index) == entry.key))
    }
}

/// The lowest key and its index in `keys`. `None`: there is no key.
fn min_key<'k>(keys: impl Iterator<Item = Option<&'k SortKey>>) -> Option<(usize, &'k SortKey)> {
    let keys = keys.enumerate();
    keys.filter_map(|(i, key)| Some((i, key?)))
        .min_by(|a, b| a.1.cmp(b.1))
}
