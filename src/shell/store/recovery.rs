//! Recovers at startup which lines a folder stores. Trusts the last valid frontier line, and
//! verifies the batches after it. Cuts the last segment after the last valid batch.
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use crate::base::batch::{Batch, LocalFields, LogId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::shell::os::file;
use crate::shell::store::segment::frontier::{FRONTIER_PREFIX, Frontier};
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_file::SegmentFile;
use crate::shell::store::segment::segment_reader::SegmentReader;
use crate::shell::store::verify::{ChainVerifier, VerifyingKeyCache};

/// The result of a recovery: what the folder stores.
#[derive(Default)]
pub struct Recovered {
    /// The numbers of the segments, in ascending order.
    pub segment_numbers: Vec<u64>,
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// Bytes of the last segment.
    pub last_segment_bytes: u64,
    /// The stored range of each log.
    pub ranges: BTreeMap<LogId, LogRange>,
    /// Bytes of each author's batches.
    pub author_bytes: SortedMap<PeerId, u64>,
    /// No batch in the segments has a line with a higher Lamport number.
    pub max_lamport: u64,
    /// Whether new batches may be appended to the last segment. The segment must begin with a valid
    /// frontier line. The segment must never have been rewritten, because its physical offsets must
    /// equal its logical offsets.
    pub is_appendable: bool,
    /// Bytes of the last segment after its last frontier line.
    pub bytes_after_frontier: u64,
}

/// How the batches after the last valid frontier line are verified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VerifyMode {
    /// Only the hash chains. This is enough after a clean end.
    ChainOnly,
    /// The hash chains, and the signature at the end of each chain. That signature covers the
    /// whole chain.
    ChainAndHeads,
    /// The hash chains and every signature. This finds the damaged batch after another mode has
    /// detected damage.
    EveryBatch,
}

/// Finds out which lines a folder stores, and cuts invalid content off its last segment. Reads
/// older segments only if the last segment has no valid frontier line.
///
/// # Errors
/// The folder or a file in it can't be read, cut or removed. Damaged content is not an error.
pub fn recover_folder(
    dir: &Path,
    folder: &FolderName,
    network: &NetworkTag,
    mode: VerifyMode,
) -> io::Result<Recovered> {
    let mut files = segment_file::list(dir)?;
    remove_leftovers(dir, &mut files)?;
    let Some(last) = files.last().copied() else {
        return Ok(Recovered::default());
    };
    let (base, frontier, frontier_end) = find_base(dir, &files, folder)?.unwrap_or_default();
    let begin_of = |index: usize| if index == base { frontier_end } else { 0 };
    let mut state = RecoveryState::new(frontier, network);
    let last_index = files.len() - 1;
    for (index, file) in files.iter().enumerate().take(last_index).skip(base) {
        state.scan_older_segment(dir, file.number, begin_of(index))?;
    }
    let begin = begin_of(last_index);
    let end = state.verify_last_segment(dir, last.number, begin, mode)?;
    if end < last.bytes {
        let file = OpenOptions::new()
            .write(true)
            .open(segment_file::path(dir, last.number))?;
        file.set_len(end)?;
    }
    let older_bytes: u64 = files[..last_index].iter().map(|file| file.bytes).sum();
    Ok(Recovered {
        is_appendable: base == last_index
            && starts_with_frontier(dir, last.number, folder)?
            && SegmentReader::open(dir, last.number)?.generation() == 0,
        segment_numbers: files.iter().map(|file| file.number).collect(),
        total_bytes: older_bytes + end,
        last_segment_bytes: end,
        bytes_after_frontier: end - begin.min(end),
        ranges: state.ranges,
        author_bytes: state.author_bytes,
        max_lamport: state.max_lamport,
    })
}

/// Removes what interrupted writes left in the folder. Temporary files of the segments in `files`
/// are removed. Segments at the end of the folder are removed if they contain no whole line.
/// `files` then lists only the remaining segments.
fn remove_leftovers(dir: &Path, files: &mut Vec<SegmentFile>) -> io::Result<()> {
    for file in &*files {
        let draft = segment_file::temporary_path(dir, file.number);
        file::if_exists(fs::remove_file(draft))?;
    }
    while let Some(last) = files.last() {
        if SegmentReader::open(dir, last.number)?.advance()? {
            break;
        }
        fs::remove_file(segment_file::path(dir, last.number))?;
        files.pop();
    }
    Ok(())
}

/// Finds the last valid frontier line of the folder. Returns the index of the segment in `files`,
/// the content of the line, and the physical offset after the line. `None`: the folder has no valid
/// frontier line.
fn find_base(
    dir: &Path,
    files: &[SegmentFile],
    folder: &FolderName,
) -> io::Result<Option<(usize, Frontier, u64)>> {
    for (index, file) in files.iter().enumerate().rev() {
        if let Some((frontier, end)) = find_last_frontier(dir, file.number, folder)? {
            return Ok(Some((index, frontier, end)));
        }
    }
    Ok(None)
}

fn starts_with_frontier(dir: &Path, number: u64, folder: &FolderName) -> io::Result<bool> {
    let mut reader = SegmentReader::open(dir, number)?;
    Ok(reader.advance()? && Frontier::parse(reader.line(), folder).is_some())
}

/// Finds the last valid frontier line of a segment. Returns the content of the line and the
/// physical offset after the line. `None`: the segment has no valid frontier line.
fn find_last_frontier(
    dir: &Path,
    number: u64,
    folder: &FolderName,
) -> io::Result<Option<(Frontier, u64)>> {
    let mut reader = SegmentReader::open(dir, number)?;
    let mut last = None;
    while reader.advance()? {
        if reader.line().starts_with(FRONTIER_PREFIX)
            && let Some(frontier) = Frontier::parse(reader.line(), folder)
        {
            last = Some((frontier, reader.next_file_offset()));
        }
    }
    Ok(last)
}

/// What a recovery has found so far: the range of each log, and the bytes of each author's batches.
#[derive(Clone)]
struct RecoveryState<'a> {
    network: &'a NetworkTag,
    ranges: BTreeMap<LogId, LogRange>,
    author_bytes: SortedMap<PeerId, u64>,
    max_lamport: u64,
}

impl<'a> RecoveryState<'a> {
    fn new(frontier: Frontier, network: &'a NetworkTag) -> RecoveryState<'a> {
        // A loop of insertions shares its code with `add_batch`; `collect` would cost 2 KB more.
        let mut ranges = BTreeMap::new();
        for range in frontier.ranges {
            ranges.insert(range.log.clone(), range);
        }
        RecoveryState {
            network,
            ranges,
            author_bytes: frontier.author_bytes,
            max_lamport: frontier.max_lamport,
        }
    }

    /// Adds the valid batches of a segment that is not the last one. Reading begins at the physical
    /// offset `begin`. Skips invalid batches, and leaves them in the file.
    fn scan_older_segment(&mut self, dir: &Path, number: u64, begin: u64) -> io::Result<()> {
        let mut keys = VerifyingKeyCache::default();
        let mut reader = SegmentReader::open(dir, number)?;
        while reader.advance()? {
            let bytes = reader.line().len() as u64 + 1;
            if reader.next_file_offset() > begin
                && let Ok((batch, local)) = Batch::parse_stored(reader.line(), self.network)
            {
                // A batch that is not added stays in the file, so its lines count here as well.
                self.max_lamport = self.max_lamport.max(batch.last_lamport());
                if !self.try_fill_gap(&batch, bytes, &mut keys) && self.extends_chain(&batch) {
                    self.add_batch(&batch, local, bytes);
                }
            }
        }
        Ok(())
    }

    /// Adds the batches of the last segment that come before the first invalid batch. Reading
    /// begins at the physical offset `begin`. Returns the physical offset at which the caller must
    /// cut the file.
    fn verify_last_segment(
        &mut self,
        dir: &Path,
        number: u64,
        begin: u64,
        mode: VerifyMode,
    ) -> io::Result<u64> {
        let mut state = self.clone();
        let mut end = state.verify_segment(dir, number, begin, mode)?;
        if end.is_none() {
            state = self.clone();
            end = state.verify_segment(dir, number, begin, VerifyMode::EveryBatch)?;
        }
        *self = state;
        Ok(end.unwrap_or(begin))
    }

    /// Adds batches until a batch is invalid. Reading begins at the physical offset `begin`.
    /// Returns the physical offset after the last valid line. `None`: an added batch may be
    /// invalid. The caller must then discard this state, and verify the segment again with
    /// [`VerifyMode::EveryBatch`].
    fn verify_segment(
        &mut self,
        dir: &Path,
        number: u64,
        begin: u64,
        mode: VerifyMode,
    ) -> io::Result<Option<u64>> {
        let mut keys = VerifyingKeyCache::default();
        let mut chains = ChainVerifier::default();
        let mut valid_end = begin;
        let mut reader = SegmentReader::open(dir, number)?;
        while reader.advance()? {
            if reader.next_file_offset() <= begin {
                continue;
            }
            if reader.line_offset() == 0 || reader.line().starts_with(FRONTIER_PREFIX) {
                valid_end = reader.next_file_offset();
                continue;
            }
            let Ok((batch, local)) = Batch::parse_stored(reader.line(), self.network) else {
                break;
            };
            let bytes = reader.line().len() as u64 + 1;
            if self.try_fill_gap(&batch, bytes, &mut keys) {
                valid_end = reader.next_file_offset();
                continue;
            }
            if !self.extends_chain(&batch) {
                // This batch or its predecessor may be the damaged one.
                if mode != VerifyMode::EveryBatch {
                    return Ok(None);
                }
                break;
            }
            if mode == VerifyMode::EveryBatch && !keys.verify(&batch) {
                break;
            }
            self.add_batch(&batch, local, bytes);
            valid_end = reader.next_file_offset();
            if mode == VerifyMode::ChainAndHeads && !chains.add(batch, &mut keys) {
                return Ok(None);
            }
        }
        Ok(chains.verify_ends(&mut keys).then_some(valid_end))
    }

    /// Whether the batch can be the next one of its log. A batch directly after the head must name
    /// the hash of the batch before it. A batch above a gap is always accepted.
    fn extends_chain(&self, batch: &Batch) -> bool {
        self.ranges.get(&batch.log).is_none_or(|range| {
            batch.sequence > range.high + 1
                || (batch.sequence == range.high + 1 && batch.previous == Some(range.hash))
        })
    }

    /// Adds the batch if it is below the head of its log and its signature is valid. Returns
    /// whether the batch was added.
    fn try_fill_gap(&mut self, batch: &Batch, bytes: u64, keys: &mut VerifyingKeyCache) -> bool {
        let range = self.ranges.get_mut(&batch.log);
        let below = range.filter(|range| batch.last_sequence() <= range.high && keys.verify(batch));
        if let Some(range) = below {
            range.fill_gap(batch);
            self.max_lamport = self.max_lamport.max(batch.last_lamport());
            *self.author_bytes.get_or_default(batch.log.author) += bytes;
            return true;
        }
        false
    }

    fn add_batch(&mut self, batch: &Batch, local: LocalFields, bytes: u64) {
        self.max_lamport = self.max_lamport.max(batch.last_lamport());
        *self.author_bytes.get_or_default(batch.log.author) += bytes;
        let range = self.ranges.entry(batch.log.clone());
        range
            .and_modify(|range| range.extend(batch))
            .or_insert_with(|| LogRange::begin(batch, !local.backfill));
    }
}
