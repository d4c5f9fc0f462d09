//! Which lines of a log are stored: a range of sequences with at most [`GAPS_MAX`] gaps.
use super::batch::{Batch, LogId};
use super::identity::Hash;
use super::republished_lines::RepublishedLines;

/// Maximum number of gaps in one log. If a further gap appears, the log forgets its lowest gap and
/// the stored lines below that gap.
pub const GAPS_MAX: usize = 4;

/// The stored lines of one log: intervals of sequences, separated by gaps. The top interval is
/// `low` to `high`. Each other interval lies directly below a gap. Intervals and gaps consist of
/// whole batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The log.
    pub log: LogId,
    /// Sequence of the first line of the top interval.
    pub low: u64,
    /// The head: the highest stored sequence. 0 if no line is stored.
    pub high: u64,
    /// Hash of the batch that ends at `high`.
    pub hash: Hash,
    /// Lamport number of the line with the sequence `high`.
    pub lamport: u64,
    /// The lines of a forked log that this log publishes again.
    pub republishes: Option<RepublishedLines>,
    /// The gaps below `low`, in ascending order. At most [`GAPS_MAX`].
    pub gaps: Vec<Gap>,
}

/// Lines missing in a log: the sequences `from` to `to`. The neighbouring lines on both sides are
/// stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Sequence of the first line of the stored interval below the gap.
    pub stored_from: u64,
    /// Sequence of the first missing line.
    pub from: u64,
    /// Sequence of the last missing line.
    pub to: u64,
    /// Hash of the last stored batch below the gap.
    pub previous_hash: Hash,
    /// Hash of the last missing batch. The batch above the gap contains it as `previous`.
    pub last_hash: Hash,
}

impl Gap {
    /// Does the batch fit the hash chain at the beginning of the gap? Its `previous` must be the
    /// hash of the batch below the gap. If the batch closes the gap, its own hash must be
    /// `last_hash`.
    fn accepts(&self, batch: &Batch) -> bool {
        batch.previous == Some(self.previous_hash)
            && batch.last_sequence() <= self.to
            && (batch.last_sequence() < self.to || batch.hash == self.last_hash)
    }
}

impl LogRange {
    /// Creates an empty range with its head directly before `batch`. The caller must then add
    /// `batch` with [`LogRange::extend`].
    pub fn empty_before(batch: &Batch) -> LogRange {
        LogRange {
            log: batch.log.clone(),
            low: batch.sequence,
            high: batch.sequence.saturating_sub(1),
            hash: batch.hash,
            lamport: 0,
            republishes: batch.republishes,
            gaps: Vec::new(),
        }
    }

    /// Adds a stored batch. The batch fills a gap or follows the head. If the batch lies beyond
    /// the head, a new gap results.
    pub fn extend(&mut self, batch: &Batch) {
        if batch.last_sequence() <= self.high {
            self.fill_gap(batch);
            return;
        }
        if batch.sequence > self.high + 1 {
            self.skip_to(batch);
        }
        self.high = batch.last_sequence();
        self.hash = batch.hash;
        self.lamport = self.lamport.max(batch.lamport + batch.count - 1);
    }

    /// Begins a new top interval with a batch beyond the head. The lines between the head and the
    /// batch become a gap, unless the range has no lines. The caller must set `high`, `hash` and
    /// `lamport`.
    pub fn skip_to(&mut self, batch: &Batch) {
        if let Some(last_hash) = batch.previous.filter(|_| self.high > 0) {
            if self.gaps.len() >= GAPS_MAX {
                self.gaps.remove(0);
            }
            self.gaps.push(Gap {
                stored_from: self.low,
                from: self.high + 1,
                to: batch.sequence - 1,
                previous_hash: self.hash,
                last_hash,
            });
        }
        self.low = batch.sequence;
    }

    /// Does a gap begin at the first line of this batch?
    pub fn has_gap_at(&self, batch: &Batch) -> bool {
        self.gaps.iter().any(|gap| gap.from == batch.sequence)
    }

    /// Adds a batch at the beginning of a gap. Returns `Some(true)` if the batch closes the gap,
    /// and `Some(false)` if lines of the gap are still missing. Returns `None` if no gap begins at
    /// the batch's first line, or if the batch does not fit the hash chain.
    pub fn fill_gap(&mut self, batch: &Batch) -> Option<bool> {
        let mut gaps = self.gaps.iter();
        let at = gaps.position(|gap| gap.from == batch.sequence && gap.accepts(batch))?;
        let gap = &mut self.gaps[at];
        (gap.from, gap.previous_hash) = (batch.last_sequence() + 1, batch.hash);
        let closed = gap.from > gap.to;
        if closed {
            let stored_from = self.gaps.remove(at).stored_from;
            *self.stored_from_above(at) = stored_from;
        }
        Some(closed)
    }

    /// Undoes [`LogRange::fill_gap`] for a batch that could not be stored. For several batches of
    /// one gap, the caller must pass the batch with the highest sequence first.
    pub fn reopen_gap(&mut self, batch: &Batch) {
        let lowest = self.gaps.first().map_or(self.low, |gap| gap.stored_from);
        let inside = lowest < batch.sequence && batch.last_sequence() < self.high;
        let Some(previous_hash) = batch.previous.filter(|_| inside) else {
            return;
        };
        let mut gaps = self.gaps.iter_mut();
        if let Some(gap) = gaps.find(|gap| gap.from == batch.last_sequence() + 1) {
            (gap.from, gap.previous_hash) = (batch.sequence, previous_hash);
            return;
        }
        let at = self.gaps.partition_point(|gap| gap.to < batch.sequence);
        let stored_from = std::mem::replace(self.stored_from_above(at), batch.last_sequence() + 1);
        let gap = Gap {
            stored_from,
            from: batch.sequence,
            to: batch.last_sequence(),
            previous_hash,
            last_hash: batch.hash,
        };
        self.gaps.insert(at, gap);
    }

    /// Removes all lines whose sequence is less than `low` from the range.
    pub fn evict_below(&mut self, low: u64) {
        self.low = self.low.max(low);
        self.gaps.retain_mut(|gap| {
            gap.stored_from = gap.stored_from.max(low);
            gap.stored_from < gap.from
        });
    }

    /// Mutable access to the first sequence of a stored interval. Index `at` means the interval
    /// directly below `gaps[at]`. Index `gaps.len()` means the top interval, which begins at `low`.
    fn stored_from_above(&mut self, at: usize) -> &mut u64 {
        match self.gaps.get_mut(at) {
            Some(gap) => &mut gap.stored_from,
            None => &mut self.low,
        }
    }
}
