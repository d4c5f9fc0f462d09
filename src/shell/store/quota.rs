//! How much is kept, which batches go when an author has stored too much in a room, and how they are taken out of old segments.
use std::fs;
use std::io::{self, BufWriter, Write as _};
use std::path::Path;

use crate::base::batch::{Batch, LogId};
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::node::node::Node;
use crate::shell::store::segment;
use crate::shell::store::segment::SegmentReader;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct StoreLimits {
    /// Bytes after which a segment is full.
    pub segment_bytes: u64,
    /// Bytes of one author in one room.
    pub author_bytes: u64,
    /// Bytes of our own in one room.
    pub own_bytes: u64,
    /// Bytes of all rooms of the network. `None`: half of what would be free without them.
    pub total_bytes: Option<u64>,
    /// Bytes in all, in memory.
    pub memory_bytes: usize,
}

impl Default for StoreLimits {
    fn default() -> StoreLimits {
        StoreLimits {
            segment_bytes: 1024 * 1024,
            author_bytes: 64 * 1024 * 1024,
            own_bytes: 256 * 1024 * 1024,
            total_bytes: None,
            memory_bytes: 8 * 1024 * 1024,
        }
    }
}

/// What the store asks the core at the end of a turn.
pub trait ReplicationState {
    /// What is held in a folder: all of it saved, failed saves taken back.
    fn frontier(&self, folder: &FolderName) -> Vec<LogRange>;
    /// No line of an own log at or above this may be dropped, for a peer lacks it, or nobody has it yet. `u64::MAX`: all may.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Does somebody hold our last line in this folder? Also if we never said one.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// Has this peer been linked before? Others lose their lines first when there is too much in all.
    fn is_known(&self, peer: &PeerId) -> bool;
}

impl ReplicationState for Node {
    fn frontier(&self, folder: &FolderName) -> Vec<LogRange> {
        Node::frontier(self, folder)
    }
    fn retention_floor(&self, log: &LogId) -> u64 {
        Node::retention_floor(self, log)
    }
    fn is_acknowledged(&self, folder: &FolderName) -> bool {
        Node::is_acknowledged(self, folder)
    }
    fn is_known(&self, peer: &PeerId) -> bool {
        Node::is_known(self, peer)
    }
}

/// What is to go of a room.
#[derive(Debug, Default)]
pub struct EvictionPlan {
    /// The first line that stays of each log that loses some.
    pub first_kept: SortedMap<LogId, u64>,
    /// Bytes that each author loses.
    pub freed_bytes: SortedMap<PeerId, u64>,
    /// Segments that lose lines. `true`: all they have.
    pub affected_segments: Vec<(u64, bool)>,
    /// The last segment that was looked into.
    pub last_scanned_segment: u64,
    /// A log that may lose nothing from this number on although its author is over.
    pub blocked_by: Option<(LogId, u64)>,
}

/// Picks the oldest batches of the authors in `over` until each has lost as many bytes, and on to the end of that segment: of one that only
/// they wrote nothing has to be written anew. `floor`: nothing of a log at or above it goes.
///
/// # Errors
/// A segment cannot be read.
pub fn plan_eviction(
    dir: &Path,
    segments: &[u64],
    mut over: SortedMap<PeerId, u64>,
    floor: &dyn Fn(&LogId) -> u64,
) -> io::Result<EvictionPlan> {
    let mut plan = EvictionPlan::default();
    let mut closed: SortedMap<LogId, u64> = SortedMap::new();
    for number in segments {
        plan.last_scanned_segment = *number;
        let names: Vec<String> = over.keys().map(PeerId::to_string).collect();
        let mut reader = SegmentReader::open(dir, *number)?;
        let mut stays = false;
        while reader.advance()? {
            let Some((log, last)) = batch_outline(reader.line(), &names) else {
                stays |= !reader.line().starts_with(segment::FRONTIER_PREFIX);
                continue;
            };
            let open = over.contains_key(&log.author) && !closed.contains_key(&log);
            if !open || last >= floor(&log) {
                stays = true;
                if open {
                    closed.insert(log, last);
                }
                continue;
            }
            let rest = over.get_or_default(log.author);
            let bytes = reader.line().len() as u64 + 1;
            *plan.freed_bytes.get_or_default(log.author) += bytes;
            if plan
                .affected_segments
                .last()
                .is_none_or(|(last, _)| last != number)
            {
                plan.affected_segments.push((*number, false));
            }
            *rest = rest.saturating_sub(bytes);
            // What filled a hole comes behind what it lies before.
            let low = plan.first_kept.get_or_default(log);
            *low = (*low).max(last + 1);
        }
        if let Some((_, all)) = plan
            .affected_segments
            .last_mut()
            .filter(|(last, _)| last == number)
        {
            *all = !stays;
        }
        over.retain(|_, rest| *rest > 0);
        if over.is_empty() {
            break;
        }
    }
    plan.blocked_by = closed
        .into_iter()
        .find(|(log, _)| over.contains_key(&log.author));
    Ok(plan)
}

/// Log and last line of the batch in this line of the store, if it may be one of these authors.
fn batch_outline(line: &[u8], authors: &[String]) -> Option<(LogId, u64)> {
    let theirs = segment::peek_author(line).is_none_or(|id| {
        let mut names = authors.iter();
        names.any(|name| name.as_bytes() == id)
    });
    let outline = theirs.then(|| Batch::parse_header(line)).flatten()?;
    Some((outline.log, outline.last_sequence))
}

/// Takes what is below the lows out of a segment; one left without a batch is removed. Gives back its new size in bytes, 0 if it is gone.
///
/// # Errors
/// The segment cannot be read, or its successor not written; then it is as it was.
pub fn rewrite_segment(dir: &Path, number: u64, lows: &SortedMap<LogId, u64>) -> io::Result<u64> {
    let draft = segment::temporary_path(dir, number);
    let kept = write_kept_batches(dir, number, lows).inspect_err(|_| {
        let _ = fs::remove_file(&draft);
    })?;
    let path = segment::path(dir, number);
    if kept == 0 {
        let _ = fs::remove_file(&draft);
        fs::remove_file(&path)?;
        return Ok(0);
    }
    fs::rename(&draft, &path)?;
    Ok(path.metadata()?.len())
}

/// Number of batches kept.
fn write_kept_batches(dir: &Path, number: u64, lows: &SortedMap<LogId, u64>) -> io::Result<u64> {
    let authors: Vec<String> = lows.keys().map(|log| log.author.to_string()).collect();
    let mut out = BufWriter::new(segment::create_private_file(&segment::temporary_path(
        dir, number,
    ))?);
    let mut reader = SegmentReader::open(dir, number)?;
    let mut kept = 0;
    let mut reached = 0;
    while reader.advance()? {
        let line = reader.line();
        if reader.line_offset() == 0 {
            // Without a first line to carry the mark, offsets into the file could not be told from those of before.
            let first = segment::with_next_generation(line)
                .ok_or(io::Error::from(io::ErrorKind::InvalidData))?;
            out.write_all(&first)?;
            out.write_all(b"\n")?;
            reached = reader.next_position().offset;
            continue;
        }
        let gone = line.starts_with(segment::FRONTIER_PREFIX)
            || batch_outline(line, &authors)
                .is_some_and(|(log, last)| lows.get(&log).is_some_and(|low| last < *low));
        if gone {
            continue;
        }
        let hole = segment::dropped_line(reader.line_offset() - reached);
        if reader.line_offset() > reached {
            out.write_all(hole.as_bytes())?;
        }
        out.write_all(line)?;
        out.write_all(b"\n")?;
        reached = reader.next_position().offset;
        kept += 1;
    }
    let end = reader.next_position().offset;
    if end > reached {
        out.write_all(segment::dropped_line(end - reached).as_bytes())?;
    }
    out.flush()?;
    Ok(kept)
}
