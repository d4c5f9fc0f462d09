//! What a room's history holds, at start: the last frontier line is believed, what follows it is checked, and what does not hold is cut off.
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::Path;

use ed25519_dalek::VerifyingKey;

use crate::base::batch::{Batch, LogId};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Folder;
use crate::base::range::Range;
use crate::base::table::Table;
use crate::shell::store::segment;
use crate::shell::store::segment::{Frontier, Reader};

/// What a room was found to hold.
#[derive(Default)]
pub struct Found {
    /// Numbers, upwards.
    pub segments: Vec<u64>,
    /// Bytes of all segments.
    pub total: u64,
    /// Bytes of the last segment.
    pub size: u64,
    pub ranges: BTreeMap<LogId, Range>,
    pub authors: Table<PeerId, u64>,
    /// The last segment begins with a frontier that holds, and was never rewritten: it can be appended to.
    pub sound: bool,
    /// Bytes behind the last frontier line.
    pub behind: u64,
}

/// How the batches behind a frontier are checked.
#[derive(Clone, Copy, PartialEq)]
enum Check {
    /// Each against the batch before it, and the last of each log against its signature, which so covers all.
    Chain { signatures: bool },
    /// Each against its signature: finds where the damage is.
    All,
}

/// Reads the last segment, and an older one only if the last has lost its frontier line. After a clean end no signature is checked.
///
/// # Errors
/// A file or the folder cannot be read, cut or removed; never for what a file holds.
pub fn recover(
    dir: &Path,
    folder: &Folder,
    network: &NetworkTag,
    clean: bool,
) -> io::Result<Found> {
    let mut files = segment::list(dir)?;
    for (number, _) in &files {
        match fs::remove_file(segment::draft(dir, *number)) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
    }
    // A power cut can leave a new segment's name without its first line.
    while let Some((number, _)) = files.last() {
        if Reader::open(dir, *number)?.advance()? {
            break;
        }
        fs::remove_file(segment::path(dir, *number))?;
        files.pop();
    }
    let Some(&(last, size)) = files.last() else {
        return Ok(Found::default());
    };
    let mut base = None;
    for (i, (number, _)) in files.iter().enumerate().rev() {
        if let Some((frontier, end)) = latest_frontier(dir, *number, folder)? {
            base = Some((i, frontier, end));
            break;
        }
    }
    let (first, frontier, begin) = base.unwrap_or_default();
    let mut state = State::new(frontier, network);
    for (number, _) in &files[first..files.len() - 1] {
        let begin = if *number == files[first].0 { begin } else { 0 };
        state.pass_over(dir, *number, begin)?;
    }
    let begin = if first + 1 == files.len() { begin } else { 0 };
    let end = state.check_last(dir, last, begin, clean)?;
    if end < size {
        let file = OpenOptions::new()
            .write(true)
            .open(segment::path(dir, last))?;
        file.set_len(end)?;
    }
    let others: u64 = files[..files.len() - 1].iter().map(|(_, size)| size).sum();
    Ok(Found {
        sound: first + 1 == files.len()
            && has_frontier(dir, last, folder)?
            && Reader::open(dir, last)?.generation() == 0,
        segments: files.iter().map(|(number, _)| *number).collect(),
        total: others + end,
        size: end,
        behind: end - begin.min(end),
        ranges: state.ranges,
        authors: state.authors,
    })
}

fn has_frontier(dir: &Path, number: u64, folder: &Folder) -> io::Result<bool> {
    let mut reader = Reader::open(dir, number)?;
    Ok(reader.advance()? && Frontier::parse(reader.line(), folder).is_some())
}

/// The last frontier line of a segment that holds, and where it ends in the file. There may be more than one: a clean end leaves one, too.
fn latest_frontier(
    dir: &Path,
    number: u64,
    folder: &Folder,
) -> io::Result<Option<(Frontier, u64)>> {
    let mut reader = Reader::open(dir, number)?;
    let mut latest = None;
    while reader.advance()? {
        if reader.line().starts_with(segment::FRONTIER)
            && let Some(frontier) = Frontier::parse(reader.line(), folder)
        {
            latest = Some((frontier, reader.end_of_line()));
        }
    }
    Ok(latest)
}

#[derive(Clone)]
struct State<'a> {
    network: &'a NetworkTag,
    ranges: BTreeMap<LogId, Range>,
    authors: Table<PeerId, u64>,
}

impl<'a> State<'a> {
    fn new(frontier: Frontier, network: &'a NetworkTag) -> State<'a> {
        let ranges = frontier.ranges.into_iter();
        State {
            network,
            ranges: ranges.map(|range| (range.log.clone(), range)).collect(),
            authors: frontier.authors,
        }
    }

    /// An older segment: what does not hold is passed over, for what follows may be good.
    fn pass_over(&mut self, dir: &Path, number: u64, begin: u64) -> io::Result<()> {
        let mut keys = Keys::default();
        let mut reader = Reader::open(dir, number)?;
        while reader.advance()? {
            let bytes = reader.line().len() as u64 + 1;
            if reader.end_of_line() > begin
                && let Ok((batch, _)) = Batch::from_stored(reader.line(), self.network)
                && !self.fill(&batch, bytes, &mut keys)
                && self.fits(&batch)
            {
                self.take(&batch, bytes);
            }
        }
        Ok(())
    }

    /// The last segment from `begin` on; gives back where to cut it.
    fn check_last(&mut self, dir: &Path, number: u64, begin: u64, clean: bool) -> io::Result<u64> {
        let mut state = self.clone();
        let mut check = Check::Chain { signatures: !clean };
        let mut checked = state.walk(dir, number, begin, check)?;
        if checked.is_none() {
            state = self.clone();
            check = Check::All;
            checked = state.walk(dir, number, begin, check)?;
        }
        *self = state;
        Ok(checked.unwrap_or(begin))
    }

    /// The end of the last line that holds. `None`: a batch that was taken for good turned out not to be.
    fn walk(
        &mut self,
        dir: &Path,
        number: u64,
        begin: u64,
        check: Check,
    ) -> io::Result<Option<u64>> {
        let mut keys = Keys::default();
        let mut heads: Table<LogId, Batch> = Table::new();
        let mut good = begin;
        let mut reader = Reader::open(dir, number)?;
        while reader.advance()? {
            let first = reader.at() == 0;
            if reader.end_of_line() <= begin {
                continue;
            }
            if first || reader.line().starts_with(segment::FRONTIER) {
                good = reader.end_of_line();
                continue;
            }
            let Ok((batch, _)) = Batch::from_stored(reader.line(), self.network) else {
                break;
            };
            let bytes = reader.line().len() as u64 + 1;
            if self.fill(&batch, bytes, &mut keys) {
                good = reader.end_of_line();
                continue;
            }
            if !self.fits(&batch) {
                // Either of the two may be the damaged one.
                if check != Check::All {
                    return Ok(None);
                }
                break;
            }
            if check == Check::All && !keys.verify(&batch) {
                break;
            }
            self.take(&batch, bytes);
            good = reader.end_of_line();
            if check == (Check::Chain { signatures: true }) {
                let (sequence, log) = (batch.sequence, batch.log.clone());
                let before = heads.insert(log, batch);
                let skipped = before.filter(|before| before.last() + 1 != sequence);
                if skipped.is_some_and(|before| !keys.verify(&before)) {
                    return Ok(None);
                }
            }
        }
        let hold = heads.values().all(|batch| keys.verify(batch));
        Ok(hold.then_some(good))
    }

    /// Lines may be missing between two batches of a log, but what follows directly must name what it follows.
    fn fits(&self, batch: &Batch) -> bool {
        self.ranges.get(&batch.log).is_none_or(|range| {
            batch.sequence > range.high + 1
                || (batch.sequence == range.high + 1 && batch.previous == Some(range.hash))
        })
    }

    /// What fills a gap stands behind what it lies before: no chain holds it, so its own signature must.
    fn fill(&mut self, batch: &Batch, bytes: u64, keys: &mut Keys) -> bool {
        let range = self.ranges.get_mut(&batch.log);
        let below = range.filter(|range| batch.last() <= range.high && keys.verify(batch));
        if let Some(range) = below {
            range.fill(batch);
            *self.authors.get_or_default(batch.log.author) += bytes;
            return true;
        }
        false
    }

    fn take(&mut self, batch: &Batch, bytes: u64) {
        *self.authors.get_or_default(batch.log.author) += bytes;
        let range = self.ranges.entry(batch.log.clone());
        extend(range.or_insert_with(|| before(batch)), batch);
    }
}

/// What is held of a log when this batch is to be the first of it.
pub fn before(batch: &Batch) -> Range {
    Range {
        log: batch.log.clone(),
        low: batch.sequence,
        high: batch.sequence.saturating_sub(1),
        hash: batch.hash,
        lamport: 0,
        holes: Vec::new(),
    }
}

/// This batch is held, too: what comes next, or fills a hole.
pub fn extend(range: &mut Range, batch: &Batch) {
    if batch.last() <= range.high {
        range.fill(batch);
        return;
    }
    if batch.sequence > range.high + 1 {
        range.skip(batch);
    }
    range.high = batch.last();
    range.hash = batch.hash;
    range.lamport = range.lamport.max(batch.lamport + batch.count - 1);
}

/// Keys ready to verify with.
#[derive(Default)]
pub struct Keys(Table<PeerId, Option<VerifyingKey>>);

impl Keys {
    /// Is the batch's signature its author's?
    pub fn verify(&mut self, batch: &Batch) -> bool {
        let author = batch.log.author;
        let key = self.0.get_or_insert_with(author, || author.key());
        key.as_ref().is_some_and(|key| batch.verify(key))
    }
}
