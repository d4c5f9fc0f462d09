//! What a room's history holds, at start: the last frontier line is believed, what follows it is checked, and what does not hold is cut off.
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use ed25519_dalek::VerifyingKey;

use crate::base::batch::{Batch, LogId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::shell::store::segment;
use crate::shell::store::segment::{Frontier, SegmentReader};

/// What a room was found to hold.
#[derive(Default)]
pub struct Recovered {
    /// Numbers, upwards.
    pub segment_numbers: Vec<u64>,
    /// Bytes of all segments.
    pub total_bytes: u64,
    /// Bytes of the last segment.
    pub last_segment_bytes: u64,
    pub ranges: BTreeMap<LogId, LogRange>,
    pub author_bytes: SortedMap<PeerId, u64>,
    /// The last segment begins with a frontier that holds, and was never rewritten: it can be appended to.
    pub is_appendable: bool,
    /// Bytes behind the last frontier line.
    pub bytes_after_frontier: u64,
}

/// How the batches behind a frontier are checked.
#[derive(Clone, Copy, PartialEq)]
enum VerifyMode {
    /// Each against the batch before it, and the last of each log against its signature, which so covers all.
    Chain { signatures: bool },
    /// Each against its signature: finds where the damage is.
    EveryBatch,
}

/// Reads the last segment, and an older one only if the last has lost its frontier line. After a clean end no signature is checked.
///
/// # Errors
/// A file or the folder cannot be read, cut or removed; never for what a file holds.
pub fn recover_folder(
    dir: &Path,
    folder: &FolderName,
    network: &NetworkTag,
    clean: bool,
) -> io::Result<Recovered> {
    let mut files = segment::list(dir)?;
    for (number, _) in &files {
        match fs::remove_file(segment::temporary_path(dir, *number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    // A power cut can leave a new segment's name without its first line.
    while let Some((number, _)) = files.last() {
        if SegmentReader::open(dir, *number)?.advance()? {
            break;
        }
        fs::remove_file(segment::path(dir, *number))?;
        files.pop();
    }
    let Some(&(last, size)) = files.last() else {
        return Ok(Recovered::default());
    };
    let mut base = None;
    for (i, (number, _)) in files.iter().enumerate().rev() {
        if let Some((frontier, end)) = find_last_frontier(dir, *number, folder)? {
            base = Some((i, frontier, end));
            break;
        }
    }
    let (first, frontier, begin) = base.unwrap_or_default();
    let mut state = RecoveryState::new(frontier, network);
    for (number, _) in &files[first..files.len() - 1] {
        let begin = if *number == files[first].0 { begin } else { 0 };
        state.scan_older_segment(dir, *number, begin)?;
    }
    let begin = if first + 1 == files.len() { begin } else { 0 };
    let end = state.verify_last_segment(dir, last, begin, clean)?;
    if end < size {
        let file = OpenOptions::new()
            .write(true)
            .open(segment::path(dir, last))?;
        file.set_len(end)?;
    }
    let others: u64 = files[..files.len() - 1].iter().map(|(_, size)| size).sum();
    Ok(Recovered {
        is_appendable: first + 1 == files.len()
            && starts_with_frontier(dir, last, folder)?
            && SegmentReader::open(dir, last)?.generation() == 0,
        segment_numbers: files.iter().map(|(number, _)| *number).collect(),
        total_bytes: others + end,
        last_segment_bytes: end,
        bytes_after_frontier: end - begin.min(end),
        ranges: state.ranges,
        author_bytes: state.author_bytes,
    })
}

fn starts_with_frontier(dir: &Path, number: u64, folder: &FolderName) -> io::Result<bool> {
    let mut reader = SegmentReader::open(dir, number)?;
    Ok(reader.advance()? && Frontier::parse(reader.line(), folder).is_some())
}

/// The last frontier line of a segment that holds, and where it ends in the file. There may be more than one: a clean end leaves one, too.
fn find_last_frontier(
    dir: &Path,
    number: u64,
    folder: &FolderName,
) -> io::Result<Option<(Frontier, u64)>> {
    let mut reader = SegmentReader::open(dir, number)?;
    let mut latest = None;
    while reader.advance()? {
        if reader.line().starts_with(segment::FRONTIER_PREFIX)
            && let Some(frontier) = Frontier::parse(reader.line(), folder)
        {
            latest = Some((frontier, reader.next_file_offset()));
        }
    }
    Ok(latest)
}

#[derive(Clone)]
struct RecoveryState<'a> {
    network: &'a NetworkTag,
    ranges: BTreeMap<LogId, LogRange>,
    author_bytes: SortedMap<PeerId, u64>,
}

impl<'a> RecoveryState<'a> {
    fn new(frontier: Frontier, network: &'a NetworkTag) -> RecoveryState<'a> {
        let ranges = frontier.ranges.into_iter();
        RecoveryState {
            network,
            ranges: ranges.map(|range| (range.log.clone(), range)).collect(),
            author_bytes: frontier.author_bytes,
        }
    }

    /// An older segment: what does not hold is passed over, for what follows may be good.
    fn scan_older_segment(&mut self, dir: &Path, number: u64, begin: u64) -> io::Result<()> {
        let mut keys = VerifyingKeyCache::default();
        let mut reader = SegmentReader::open(dir, number)?;
        while reader.advance()? {
            let bytes = reader.line().len() as u64 + 1;
            if reader.next_file_offset() > begin
                && let Ok((batch, _)) = Batch::parse_stored(reader.line(), self.network)
                && !self.try_fill_gap(&batch, bytes, &mut keys)
                && self.extends_chain(&batch)
            {
                self.add_batch(&batch, bytes);
            }
        }
        Ok(())
    }

    /// The last segment from `begin` on; gives back where to cut it.
    fn verify_last_segment(
        &mut self,
        dir: &Path,
        number: u64,
        begin: u64,
        clean: bool,
    ) -> io::Result<u64> {
        let mut state = self.clone();
        let mut check = VerifyMode::Chain { signatures: !clean };
        let mut checked = state.verify_segment(dir, number, begin, check)?;
        if checked.is_none() {
            state = self.clone();
            check = VerifyMode::EveryBatch;
            checked = state.verify_segment(dir, number, begin, check)?;
        }
        *self = state;
        Ok(checked.unwrap_or(begin))
    }

    /// The end of the last line that holds. `None`: a batch that was taken for good turned out not to be.
    fn verify_segment(
        &mut self,
        dir: &Path,
        number: u64,
        begin: u64,
        check: VerifyMode,
    ) -> io::Result<Option<u64>> {
        let mut keys = VerifyingKeyCache::default();
        let mut heads: SortedMap<LogId, Batch> = SortedMap::new();
        let mut good = begin;
        let mut reader = SegmentReader::open(dir, number)?;
        while reader.advance()? {
            let first = reader.line_offset() == 0;
            if reader.next_file_offset() <= begin {
                continue;
            }
            if first || reader.line().starts_with(segment::FRONTIER_PREFIX) {
                good = reader.next_file_offset();
                continue;
            }
            let Ok((batch, _)) = Batch::parse_stored(reader.line(), self.network) else {
                break;
            };
            let bytes = reader.line().len() as u64 + 1;
            if self.try_fill_gap(&batch, bytes, &mut keys) {
                good = reader.next_file_offset();
                continue;
            }
            if !self.extends_chain(&batch) {
                // Either of the two may be the damaged one.
                if check != VerifyMode::EveryBatch {
                    return Ok(None);
                }
                break;
            }
            if check == VerifyMode::EveryBatch && !keys.verify(&batch) {
                break;
            }
            self.add_batch(&batch, bytes);
            good = reader.next_file_offset();
            if check == (VerifyMode::Chain { signatures: true }) {
                let (sequence, log) = (batch.sequence, batch.log.clone());
                let before = heads.insert(log, batch);
                let skipped = before.filter(|before| before.last_sequence() + 1 != sequence);
                if skipped.is_some_and(|before| !keys.verify(&before)) {
                    return Ok(None);
                }
            }
        }
        let hold = heads.values().all(|batch| keys.verify(batch));
        Ok(hold.then_some(good))
    }

    /// Lines may be missing between two batches of a log, but what follows directly must name what it follows.
    fn extends_chain(&self, batch: &Batch) -> bool {
        self.ranges.get(&batch.log).is_none_or(|range| {
            batch.sequence > range.high + 1
                || (batch.sequence == range.high + 1 && batch.previous == Some(range.hash))
        })
    }

    /// What fills a gap stands behind what it lies before: no chain holds it, so its own signature must.
    fn try_fill_gap(&mut self, batch: &Batch, bytes: u64, keys: &mut VerifyingKeyCache) -> bool {
        let range = self.ranges.get_mut(&batch.log);
        let below = range.filter(|range| batch.last_sequence() <= range.high && keys.verify(batch));
        if let Some(range) = below {
            range.fill_gap(batch);
            *self.author_bytes.get_or_default(batch.log.author) += bytes;
            return true;
        }
        false
    }

    fn add_batch(&mut self, batch: &Batch, bytes: u64) {
        *self.author_bytes.get_or_default(batch.log.author) += bytes;
        let range = self.ranges.entry(batch.log.clone());
        extend_range(range.or_insert_with(|| empty_range_before(batch)), batch);
    }
}

/// What is held of a log when this batch is to be the first of it.
pub fn empty_range_before(batch: &Batch) -> LogRange {
    LogRange {
        log: batch.log.clone(),
        low: batch.sequence,
        high: batch.sequence.saturating_sub(1),
        hash: batch.hash,
        lamport: 0,
        gaps: Vec::new(),
    }
}

/// This batch is held, too: what comes next, or fills a hole.
pub fn extend_range(range: &mut LogRange, batch: &Batch) {
    if batch.last_sequence() <= range.high {
        range.fill_gap(batch);
        return;
    }
    if batch.sequence > range.high + 1 {
        range.skip_to(batch);
    }
    range.high = batch.last_sequence();
    range.hash = batch.hash;
    range.lamport = range.lamport.max(batch.lamport + batch.count - 1);
}

/// Keys ready to verify with.
#[derive(Default)]
pub struct VerifyingKeyCache(SortedMap<PeerId, Option<VerifyingKey>>);

impl VerifyingKeyCache {
    /// Is the batch's signature its author's?
    pub fn verify(&mut self, batch: &Batch) -> bool {
        let author = batch.log.author;
        let key = self.0.get_or_insert_with(author, || author.verifying_key());
        key.as_ref().is_some_and(|key| batch.verify(key))
    }
}
