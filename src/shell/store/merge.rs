//! The one order of all lines: (lamport, sender, incarnation, sequence), the sender as its id is written. It is the same wherever the
//! same lines are held, whenever they came.
//!
//! Segments are merged, and each is in memory, as the places of its batches, only while it overlaps others.
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use crate::base::batch::{Batch, LogId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::table::{SortedMap, SortedSet};
use crate::shell::store::scan::{HistoryIndex, HistorySource};
use crate::shell::store::verify::{ChainVerifier, VerifyingKeyCache};

/// Files that are open at a time.
const OPEN_FILES_MAX: usize = 32;

/// Where a line stands in the order, as bytes that compare so: lamport, sender, incarnation, sequence, room. The room comes last, for only
/// an author that breaks the rules has one number in two of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct SortKey([u8; KEY_BYTES]);

const SENDER_OFFSET: usize = 8;
const INCARNATION_OFFSET: usize = SENDER_OFFSET + PeerId::TEXT_BYTES;
const SEQUENCE_OFFSET: usize = INCARNATION_OFFSET + 8;
const ROOM_OFFSET: usize = SEQUENCE_OFFSET + 8;
const KEY_BYTES: usize = ROOM_OFFSET + 8;

impl SortKey {
    /// Of a batch's first line.
    fn new(batch: &Batch, room: usize) -> SortKey {
        let mut key = SortKey([0; KEY_BYTES]);
        key.write_u64(0, batch.lamport);
        let id = batch.log.author.to_string();
        for (to, from) in key.0.iter_mut().skip(SENDER_OFFSET).zip(id.bytes()) {
            *to = from;
        }
        key.write_u64(INCARNATION_OFFSET, batch.log.incarnation);
        key.write_u64(SEQUENCE_OFFSET, batch.sequence);
        key.write_u64(ROOM_OFFSET, room as u64);
        key
    }

    fn write_u64(&mut self, at: usize, number: u64) {
        self.0[at..at + 8].copy_from_slice(&number.to_be_bytes());
    }

    fn read_u64(&self, at: usize) -> u64 {
        let bytes = self.0[at..at + 8].iter();
        bytes.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn lamport(&self) -> u64 {
        self.read_u64(0)
    }

    /// Of the line so many further on in the batch.
    fn advanced_by(mut self, lines: u64) -> SortKey {
        self.write_u64(0, self.lamport().saturating_add(lines));
        self.write_u64(
            SEQUENCE_OFFSET,
            self.read_u64(SEQUENCE_OFFSET).saturating_add(lines),
        );
        self
    }

    /// How many lines from this one on, one after the other, stand before that one.
    fn lines_before(&self, other: &SortKey) -> u64 {
        let between = other.lamport().saturating_sub(self.lamport());
        between + u64::from(self.advanced_by(between) < *other)
    }
}

/// A stored batch that was not yet read for good.
struct BatchEntry {
    key: SortKey,
    offset: u64,
    length: usize,
}

/// A segment whose turn it is.
struct ActiveSegment {
    /// Its place in the index.
    segment_index: usize,
    /// From the last in the order to the first.
    entries: Vec<BatchEntry>,
}

/// A batch whose turn it is.
struct OpenBatch {
    /// Of the next line.
    key: SortKey,
    batch: Batch,
    /// All lines, each ended by `\n`.
    text: String,
    /// Where the next line begins in the text.
    text_offset: usize,
    missing_before: Option<(u64, u64)>,
}

/// Consecutive lines of one batch.
pub struct LineRun<'a> {
    pub batch: &'a Batch,
    /// Number of the first of them in the batch, from 0.
    pub first_index: u64,
    pub line_count: u64,
    /// Each ended by `\n`.
    pub text: &'a str,
    /// Lines of the log that are missing right before: from the first to the last.
    pub missing_before: Option<(u64, u64)>,
}

/// Goes over all lines in the one order.
pub struct Merge<'a> {
    source: &'a HistorySource<'a>,
    index: &'a HistoryIndex,
    network: NetworkTag,
    /// Segments whose turn is yet to come, by their least Lamport numbers.
    pending_segments: SortedSet<(u64, usize)>,
    active_segments: Vec<ActiveSegment>,
    open_batches: Vec<OpenBatch>,
    /// The last line of each log so far.
    log_heads: SortedMap<LogId, u64>,
    last_key: Option<SortKey>,
    /// Segments and their files, the least lately used first.
    open_files: Vec<(usize, File)>,
    keys: VerifyingKeyCache,
}

impl<'a> Merge<'a> {
    /// From the Lamport number `cut` on; some lines before it come, too, but not all.
    pub fn new(
        archive: &'a HistorySource<'a>,
        index: &'a HistoryIndex,
        network: NetworkTag,
        cut: u64,
    ) -> Merge<'a> {
        Merge {
            source: archive,
            index,
            network,
            pending_segments: index.segments_by_min_lamport(cut),
            active_segments: Vec::new(),
            open_batches: Vec::new(),
            log_heads: index.log_heads_below(cut),
            last_key: None,
            open_files: Vec::new(),
            keys: VerifyingKeyCache::default(),
        }
    }

    /// The next lines.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn next_run(&mut self) -> io::Result<Option<LineRun<'_>>> {
        self.open_batches
            .retain(|open| open.text_offset < open.text.len());
        self.active_segments
            .retain(|active| !active.entries.is_empty());
        loop {
            let batch = min_key(
                self.active_segments
                    .iter()
                    .map(|a| a.entries.last().map(|e| &e.key)),
            );
            let open = min_key(self.open_batches.iter().map(|open| Some(&open.key)));
            let least = batch.into_iter().chain(open).map(|(_, key)| key).min();
            if let Some(waiting) = self.pending_segments.iter().next().copied()
                && least.is_none_or(|key| waiting.0 <= key.lamport())
            {
                self.pending_segments.remove(&waiting);
                self.activate_segment(waiting.1)?;
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

    /// As many lines of an open batch, which is the first in the order, as stand before everything else.
    fn take_run(&mut self, open: usize) -> LineRun<'_> {
        let key = &self.open_batches[open].key;
        let others = self.open_batches.iter().enumerate();
        let others = others.filter(|(i, _)| *i != open).map(|(_, o)| &o.key);
        let entries = self.active_segments.iter().filter_map(|a| a.entries.last());
        let mut count = others
            .chain(entries.map(|entry| &entry.key))
            .map(|other| key.lines_before(other))
            .min()
            .unwrap_or(u64::MAX);
        if let Some((least, _)) = self.pending_segments.iter().next() {
            count = count.min(least.saturating_sub(key.lamport()));
        }
        let open = &mut self.open_batches[open];
        let first = open.key.read_u64(SEQUENCE_OFFSET) - open.batch.sequence;
        // Two logs with one key cannot be; if they were, each would wait for the other.
        let count = count.clamp(1, open.batch.count - first);
        let rest = &open.text[open.text_offset..];
        let length = if count == open.batch.count - first {
            rest.len()
        } else {
            let lines = rest.split_inclusive('\n').take(count as usize);
            lines.map(str::len).sum()
        };
        let lines = open.text_offset..open.text_offset + length;
        open.text_offset = lines.end;
        open.key = open.key.advanced_by(count);
        LineRun {
            batch: &open.batch,
            first_index: first,
            line_count: count,
            text: &open.text[lines],
            missing_before: open.missing_before.take(),
        }
    }

    fn open_batch(&mut self, active: usize) -> io::Result<()> {
        let Some(entry) = self.active_segments[active].entries.pop() else {
            return Ok(());
        };
        // What lay below a gap once may have been stored a second time.
        if self.last_key.as_ref() == Some(&entry.key) {
            return Ok(());
        }
        let segment = self.active_segments[active].segment_index;
        let Some(batch) = self.read_batch(segment, &entry)? else {
            // The file was replaced by one without its oldest lines.
            self.open_files.retain(|(of, _)| *of != segment);
            self.active_segments.remove(active);
            return self.activate_segment(segment);
        };
        let mut text = String::with_capacity(batch.as_bytes().len());
        batch.for_each_line(|line| {
            text.push_str(line);
            text.push('\n');
        });
        let seen = self.log_heads.get_or_default(batch.log.clone());
        let missing =
            (*seen > 0 && batch.sequence > *seen + 1).then(|| (*seen + 1, batch.sequence - 1));
        *seen = (*seen).max(batch.last_sequence());
        self.last_key = Some(entry.key);
        self.open_batches.push(OpenBatch {
            key: entry.key,
            batch,
            text,
            text_offset: 0,
            missing_before: missing,
        });
        Ok(())
    }

    /// Sorts what a segment holds and was not yet handed out.
    fn activate_segment(&mut self, segment: usize) -> io::Result<()> {
        let mut entries: Vec<BatchEntry> = Vec::new();
        let mut sound = true;
        let Some(summary) = self.index.segments.get(segment) else {
            return Ok(());
        };
        let Some(folder) = self.index.folders.get(summary.folder_index) else {
            return Ok(());
        };
        let of_room = folder.room();
        let doubtful = self.source.is_unverified();
        let mut chains = ChainVerifier::default();
        self.source
            .for_each_line(folder, summary.segment_number, &mut |at, line| {
                let Ok((batch, _)) = Batch::parse_stored(line, &self.network) else {
                    return;
                };
                if batch.log.target.room() != of_room.as_ref() {
                    return;
                }
                let key = SortKey::new(&batch, summary.folder_index);
                // Nearly always the last place: what comes is mostly newer than what came.
                let place = entries.partition_point(|entry| entry.key < key);
                let length = line.len();
                entries.insert(
                    place,
                    BatchEntry {
                        key,
                        offset: at,
                        length,
                    },
                );
                if doubtful {
                    sound &= chains.add(batch, &mut self.keys);
                }
            })?;
        if !(sound && chains.verify_ends(&mut self.keys)) {
            entries = self.retain_verified(segment, entries)?;
        }
        if let Some(last) = &self.last_key {
            entries.retain(|entry| entry.key > *last);
        }
        entries.reverse();
        self.active_segments.push(ActiveSegment {
            segment_index: segment,
            entries,
        });
        Ok(())
    }

    /// Those whose own signature holds: somewhere in the segment is damage.
    fn retain_verified(
        &mut self,
        segment: usize,
        entries: Vec<BatchEntry>,
    ) -> io::Result<Vec<BatchEntry>> {
        let mut sound = Vec::new();
        for entry in entries {
            if let Some(batch) = self.read_batch(segment, &entry)?
                && self.keys.verify(&batch)
            {
                sound.push(entry);
            }
        }
        Ok(sound)
    }

    /// `None`: it is no more where it was.
    fn read_batch(&mut self, segment: usize, entry: &BatchEntry) -> io::Result<Option<Batch>> {
        let summary = &self.index.segments[segment];
        let folder = &self.index.folders[summary.folder_index];
        let mut line = Vec::new();
        if let HistorySource::Memory(memory) = self.source {
            line.extend_from_slice(memory.record(folder, entry.offset).unwrap_or_default());
        } else {
            let file = match self.open_files.iter().position(|(of, _)| *of == segment) {
                Some(at) => self.open_files.remove(at).1,
                None => match self.source.open_segment(folder, summary.segment_number)? {
                    Some(file) => file,
                    None => return Ok(None),
                },
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
        let batch = Batch::parse_stored(&line, &self.network).ok();
        Ok(batch
            .map(|(batch, _)| batch)
            .filter(|batch| SortKey::new(batch, summary.folder_index) == entry.key))
    }
}

/// The least key, and which one has it.
fn min_key<'k>(keys: impl Iterator<Item = Option<&'k SortKey>>) -> Option<(usize, &'k SortKey)> {
    let keys = keys.enumerate();
    keys.filter_map(|(i, key)| Some((i, key?)))
        .min_by(|a, b| a.1.cmp(b.1))
}
