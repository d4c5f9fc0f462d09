//! Evicts the oldest batches of authors that exceed their quota. First plans which batches to
//! evict. Then starts a segment whose frontier line omits these batches. Last, removes or
//! rewrites the old segments.
use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::batch::batch_parsing::MalformedBatch;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::base::table::{SortedMap, SortedSet};
use crate::shell::os::descriptors::is_shortage;
use crate::shell::os::file::{self, Access};
use crate::shell::store::folder::{Folder, QuotaBlock};
use crate::shell::store::fsync::Fsync;
use crate::shell::store::replication_state::ReplicationState;
use crate::shell::store::segment::frontier::FRONTIER_PREFIX;
use crate::shell::store::segment::rewrite::rewrite_segment;
use crate::shell::store::segment::segment_file;
use crate::shell::store::segment::segment_reader::{Mark, SegmentReader};

/// A log that lost its oldest lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvictedLog {
    /// The log.
    pub log: LogId,
    /// All lines of the log below this sequence are evicted.
    pub first_kept: u64,
}

/// What an eviction does to a segment that contains evicted batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SegmentEviction {
    /// The file of the segment with this number is removed, because all its batches are evicted.
    Remove(u64),
    /// The segment with this number is rewritten without the evicted batches.
    Rewrite(u64),
}

/// Which lines of a folder an eviction removes.
#[derive(Default)]
struct EvictionPlan {
    /// For each log that loses lines, the lowest sequence that the log keeps.
    first_kept: SortedMap<LogId, u64>,
    /// Bytes of the evicted batches, by author.
    freed_bytes: SortedMap<PeerId, u64>,
    /// The segments that contain evicted batches, in ascending order of their numbers.
    segments: Vec<SegmentEviction>,
    /// For each author, the number of the last segment read for this author. Reading for an author
    /// ends when the author has lost enough bytes.
    last_segments: SortedMap<PeerId, u64>,
    /// A log with lines that must be kept. Because of these lines, its author loses too few bytes.
    /// `None`: there is no such log.
    block: Option<QuotaBlock>,
}

/// Starts new segments, and evicts lines from the older segments of their folders.
pub struct Rotation<'a> {
    /// Size at which a segment is full, in bytes.
    pub segment_bytes: u64,
    /// Our id.
    pub own_id: PeerId,
    /// The core. It knows which lines must be kept.
    pub core: &'a dyn ReplicationState,
}

impl Rotation<'_> {
    /// Evicts batches of each author in `over`. `over` tells how many bytes each author should
    /// lose. Batches that must be kept are not evicted, so an author may lose fewer bytes. Starts a
    /// new segment if batches are evicted, or if the active segment is full. Returns the logs that
    /// lost lines. After a crash, evicted lines may remain on disk.
    ///
    /// # Errors
    /// The disk is full or broken. Nothing was evicted.
    pub fn apply(
        &self,
        name: &FolderName,
        folder: &mut Folder,
        over: SortedMap<PeerId, u64>,
        fsync: &mut Fsync,
    ) -> io::Result<Vec<EvictedLog>> {
        let mut plan = self.plan_eviction(name, folder, over)?;
        folder.quota_block = plan.block;
        if !folder.is_rotation_due() && plan.first_kept.is_empty() {
            return Ok(Vec::new());
        }
        let mut ranges = self.core.frontier(name);
        for range in &mut ranges {
            if let Some(first_kept) = plan.first_kept.get_mut(&range.log) {
                // The numbers above the head belong to lines that do not exist yet.
                *first_kept = (*first_kept).min(range.high.saturating_add(1));
                Arc::make_mut(range).evict_below(*first_kept);
            }
        }
        let author_bytes_before = folder.author_bytes.clone();
        if !plan.freed_bytes.is_empty() {
            let author_bytes = Arc::make_mut(&mut folder.author_bytes);
            for (author, freed) in &plan.freed_bytes {
                if let Some(bytes) = author_bytes.get_mut(author) {
                    *bytes = bytes.saturating_sub(*freed);
                }
            }
            author_bytes.retain(|_, bytes| *bytes > 0);
        }
        if let Err(error) = folder.start_segment(&ranges, self.segment_bytes) {
            folder.author_bytes = author_bytes_before;
            return Err(error);
        }
        for eviction in plan.segments {
            evict_from_segment(folder, eviction, &plan.first_kept, fsync);
        }
        let evicted = plan.first_kept.into_iter();
        Ok(evicted
            .map(|(log, first_kept)| EvictedLog { log, first_kept })
            .collect())
    }

    /// Whether lines may be evicted now that limited the last eviction.
    pub fn is_unblocked(&self, name: &FolderName, folder: &Folder) -> bool {
        let floor = |log: &LogId| self.retention_floor(name, folder, log);
        let block = folder.quota_block.as_ref();
        block.is_some_and(|block| floor(&block.log) > block.last_sequence)
    }

    /// Sequence of the first line of a log that must be kept. `u64::MAX`: the whole log may be
    /// evicted. See [`ReplicationState::retention_floor`], which knows only of lines of this run.
    /// If an earlier run left lines that perhaps no peer stores, all our lines in the folder are
    /// kept until a peer has acknowledged the last one.
    fn retention_floor(&self, name: &FolderName, folder: &Folder, log: &LogId) -> u64 {
        let is_kept = log.author == self.own_id
            && folder.unacknowledged.was_set()
            && !self.core.is_acknowledged(name);
        match is_kept {
            true => 1,
            false => self.core.retention_floor(log),
        }
    }

    fn plan_eviction(
        &self,
        name: &FolderName,
        folder: &mut Folder,
        over: SortedMap<PeerId, u64>,
    ) -> io::Result<EvictionPlan> {
        if over.is_empty() {
            return Ok(EvictionPlan::default());
        }
        let first_segment = |author| folder.first_segments.get(author).copied().unwrap_or(0);
        let first_segment = over.keys().map(first_segment).min().unwrap_or(0);
        let first_index = folder
            .segment_numbers
            .partition_point(|number| *number < first_segment);
        let floor = |log: &LogId| self.retention_floor(name, folder, log);
        let mut planner = EvictionPlanner {
            folder,
            floor: &floor,
            over,
            blocked: SortedMap::new(),
            plan: EvictionPlan::default(),
        };
        for number in &folder.segment_numbers[first_index..] {
            match planner.read_segment(*number) {
                Ok(()) => {}
                Err(error) if is_shortage(&error) => return Err(error),
                // One bad segment must not end the rotation.
                Err(_) => folder.mark_suspect(),
            }
            if planner.over.is_empty() {
                break;
            }
        }
        let plan = planner.finish();
        if plan.block.is_none() {
            for (author, segment) in &plan.last_segments {
                folder.first_segments.insert(*author, *segment);
            }
        }
        Ok(plan)
    }
}

/// Plans which batches each author loses, oldest first.
///
/// Reads segments until every author loses enough bytes. In each of these segments, an author loses
/// all batches below the floor. This may be more than enough, but the whole segment can then often
/// be removed.
struct EvictionPlanner<'a> {
    folder: &'a Folder,
    /// Returns the first sequence of a log that must be kept.
    floor: &'a dyn Fn(&LogId) -> u64,
    /// How many bytes each author must still lose.
    over: SortedMap<PeerId, u64>,
    /// For each log that reached its floor, the last sequence of the first batch it keeps.
    blocked: SortedMap<LogId, u64>,
    plan: EvictionPlan,
}

/// A log whose batches are all that a segment contains.
struct SoleLog {
    log: LogId,
    /// The last sequence of its last batch in the segment.
    last_sequence: u64,
    /// The place before that batch.
    before_last: Mark,
    /// The bytes of the batches.
    bytes: u64,
}

impl EvictionPlanner<'_> {
    /// Adds the evicted batches of a segment to the plan.
    ///
    /// # Errors
    /// The segment can't be read. Its file stays as it is.
    fn read_segment(&mut self, number: u64) -> io::Result<()> {
        for author in self.over.keys() {
            self.plan.last_segments.insert(*author, number);
        }
        let mut reader = SegmentReader::open(&self.folder.dir, number)?;
        let start = reader.mark();
        if let Some(sole) = self.skim_segment(&mut reader)? {
            self.evict(&sole.log, sole.last_sequence, sole.bytes);
            self.plan.segments.push(SegmentEviction::Remove(number));
        } else {
            reader.rewind(&start);
            let eviction = self.parse_segment(reader, number)?;
            self.plan.segments.extend(eviction);
        }
        self.over.retain(|_, bytes| *bytes > 0);
        Ok(())
    }

    /// Reads a segment of which all batches are evicted, and follow each other in one log. Checks
    /// only the last batch, which tells what the log keeps: to check each one takes five times as
    /// long. A damaged sequence is next to one that does not follow. `None`: the segment has other
    /// batches as well, or a damaged one, or none.
    fn skim_segment(&self, reader: &mut SegmentReader) -> io::Result<Option<SoleLog>> {
        let mut sole: Option<SoleLog> = None;
        let mut before_line = reader.mark();
        while reader.advance()? {
            let line = reader.line();
            if !line.starts_with(FRONTIER_PREFIX) {
                let Some(header) = Batch::parse_header(line) else {
                    return Ok(None);
                };
                let (bytes, last_sequence) = (line.len() as u64 + 1, header.last_sequence);
                let before_batch = last_sequence.saturating_sub(header.count);
                let known = sole.get_or_insert_with(|| SoleLog {
                    log: header.log.clone(),
                    last_sequence: before_batch,
                    before_last: before_line,
                    bytes: 0,
                });
                if known.log != header.log
                    || known.last_sequence != before_batch
                    || !self.may_lose(&known.log)
                    || last_sequence >= (self.floor)(&known.log)
                {
                    return Ok(None);
                }
                known.bytes += bytes;
                known.last_sequence = last_sequence;
                known.before_last = before_line;
            }
            before_line = reader.mark();
        }
        let Some(sole) = sole else {
            return Ok(None);
        };
        reader.rewind(&sole.before_last);
        reader.advance()?;
        let last = Batch::parse_stored(reader.line(), &self.folder.network);
        Ok(last.is_ok().then_some(sole))
    }

    /// Adds the evicted batches of a segment to the plan. Damaged batches are kept, because their
    /// numbers may be wrong. Returns what happens to the segment. `None`: nothing.
    fn parse_segment(
        &mut self,
        mut reader: SegmentReader,
        number: u64,
    ) -> io::Result<Option<SegmentEviction>> {
        let (mut loses_batches, mut keeps_batches) = (false, false);
        while reader.advance()? {
            let line = reader.line();
            let is_theirs = |author: &PeerId| self.over.contains_key(author);
            let is_evicted = match parse_batch(line, &is_theirs, &self.folder.network) {
                Some(Ok((batch, _))) => self.add_batch(&batch, line.len() as u64 + 1),
                Some(Err(_)) => {
                    self.folder.mark_unparsed(line);
                    false
                }
                None => false,
            };
            loses_batches |= is_evicted;
            keeps_batches |= !is_evicted && !line.starts_with(FRONTIER_PREFIX);
        }
        Ok(loses_batches.then_some(match keeps_batches {
            true => SegmentEviction::Rewrite(number),
            false => SegmentEviction::Remove(number),
        }))
    }

    /// Adds a batch of `bytes` to the plan, unless it must be kept. Returns whether it is evicted.
    fn add_batch(&mut self, batch: &Batch, bytes: u64) -> bool {
        let (log, last) = (&batch.log, batch.last_sequence());
        if !self.may_lose(log) {
            return false;
        }
        if last >= (self.floor)(log) {
            self.blocked.insert(log.clone(), last);
            return false;
        }
        self.evict(log, last, bytes);
        true
    }

    /// Whether a log may lose further batches, if they are below its floor.
    fn may_lose(&self, log: &LogId) -> bool {
        self.over.contains_key(&log.author) && !self.blocked.contains_key(log)
    }

    /// Adds batches of a log to the plan, of `bytes` together, of which `last` is the last line.
    fn evict(&mut self, log: &LogId, last: u64, bytes: u64) {
        if let Some(over_bytes) = self.over.get_mut(&log.author) {
            *over_bytes = over_bytes.saturating_sub(bytes);
        }
        *self.plan.freed_bytes.get_or_default(log.author) += bytes;
        // Batches that filled a gap are stored after batches with higher sequences.
        let first_kept = self.plan.first_kept.get_or_default(log.clone());
        *first_kept = (*first_kept).max(last.saturating_add(1));
    }

    fn finish(self) -> EvictionPlan {
        let mut blocked = self.blocked.into_iter();
        let block = blocked.find(|(log, _)| self.over.contains_key(&log.author));
        EvictionPlan {
            block: block.map(|(log, last_sequence)| QuotaBlock { log, last_sequence }),
            ..self.plan
        }
    }
}

/// Parses a stored batch of an author that `is_theirs` selects. `None`: the line is a batch of
/// another author. Most such batches are not parsed, to save time.
fn parse_batch(
    line: &[u8],
    is_theirs: &dyn Fn(&PeerId) -> bool,
    network: &NetworkTag,
) -> Option<Result<(Batch, LocalFields), MalformedBatch>> {
    let author = segment_file::peek_author(line).map(std::str::from_utf8);
    let author = author.and_then(|text| text.ok()?.parse().ok());
    let may_be_theirs = author.is_none_or(|author| is_theirs(&author));
    may_be_theirs.then(|| Batch::parse_stored(line, network))
}

/// Removes or rewrites a segment. If that fails, the evicted lines remain in the file. They only
/// waste space, because the newest frontier line omits them.
fn evict_from_segment(
    folder: &mut Folder,
    eviction: SegmentEviction,
    first_kept: &SortedMap<LogId, u64>,
    fsync: &mut Fsync,
) {
    let (SegmentEviction::Remove(number) | SegmentEviction::Rewrite(number)) = eviction;
    let path = segment_file::path(&folder.dir, number);
    let old_bytes = path.metadata().map_or(0, |meta| meta.len());
    let new_bytes = match eviction {
        SegmentEviction::Remove(_) => remove_segment(&path, fsync).map(|()| 0),
        SegmentEviction::Rewrite(_) => remove_batches(folder, number, first_kept),
    };
    if let Ok(new_bytes) = new_bytes {
        folder.total_bytes = (folder.total_bytes + new_bytes).saturating_sub(old_bytes);
        if new_bytes == 0 {
            folder.segment_numbers.retain(|n| *n != number);
        }
    }
}

fn remove_segment(path: &Path, fsync: &mut Fsync) -> io::Result<()> {
    let file = file::open_regular(path, Access::Read);
    fs::remove_file(path)?;
    if let Ok(file) = file {
        fsync.close_removed(file);
    }
    Ok(())
}

/// Rewrites a segment without the evicted batches. `first_kept` is the lowest sequence that each
/// log keeps. Removes the segment if no batch is left. Returns the new size in bytes, or 0 if the
/// segment was removed.
///
/// # Errors
/// The segment can't be read, replaced or removed. The segment is unchanged.
fn remove_batches(
    folder: &Folder,
    number: u64,
    first_kept: &SortedMap<LogId, u64>,
) -> io::Result<u64> {
    let authors: SortedSet<PeerId> = first_kept.keys().map(|log| log.author).collect();
    let is_theirs = |author: &PeerId| authors.contains(author);
    let is_evicted = |batch: &Batch| {
        let first_kept = first_kept.get(&batch.log);
        first_kept.is_some_and(|first_kept| batch.last_sequence() < *first_kept)
    };
    let kept_count = rewrite_segment(&folder.dir, number, &mut |reader| {
        !matches!(
            parse_batch(reader.line(), &is_theirs, &folder.network),
            Some(Ok((batch, _))) if is_evicted(&batch)
        )
    })?;
    let path = segment_file::path(&folder.dir, number);
    if kept_count == 0 {
        fs::remove_file(&path)?;
        return Ok(0);
    }
    Ok(path.metadata()?.len())
}
