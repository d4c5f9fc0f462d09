//! The stored lines of one log: a range with at most [`GAPS_MAX`] gaps.
use super::batch::{Batch, LogId};
use super::identity::Hash;

/// Most gaps tracked in one log. Lines below an older gap are forgotten.
pub const GAPS_MAX: usize = 4;

/// The stored lines of one log: the segment `low` to `high`, and below each gap one more segment.
/// Segments and gaps consist of whole batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    /// The log.
    pub log: LogId,
    /// Sequence of the first line of the uppermost segment.
    pub low: u64,
    /// The head: the highest stored sequence; 0 if no line is stored.
    pub high: u64,
    /// Hash of the batch that ends at `high`.
    pub hash: Hash,
    /// Lamport number of the line `high`.
    pub lamport: u64,
    /// The gaps below `low`, in ascending order: at most [`GAPS_MAX`].
    pub gaps: Vec<Gap>,
}

/// The missing lines `from` to `to` between stored ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Sequence of the first line of the stored segment below the gap.
    pub stored_from: u64,
    /// Sequence of the first missing line.
    pub from: u64,
    /// Sequence of the last missing line.
    pub to: u64,
    /// Hash of the batch before the gap.
    pub previous_hash: Hash,
    /// Hash of the last missing batch, which the batch above the gap names as its previous one.
    pub last_hash: Hash,
}

impl Gap {
    /// Does the batch fit the hash chain at both ends of the gap?
    fn accepts(&self, batch: &Batch) -> bool {
        batch.previous == Some(self.previous_hash)
            && batch.last_sequence() <= self.to
            && (batch.last_sequence() < self.to || batch.hash == self.last_hash)
    }
}

impl LogRange {
    /// An empty range of the log of this batch, which is the first to be stored.
    pub fn empty_before(batch: &Batch) -> LogRange {
        LogRange {
            log: batch.log.clone(),
            low: batch.sequence,
            high: batch.sequence.saturating_sub(1),
            hash: batch.hash,
            lamport: 0,
            gaps: Vec::new(),
        }
    }

    /// Adds a stored batch: it fills a gap, follows the head, or leaves a new gap below it.
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

    /// Begins a new uppermost segment with a batch beyond the head; the lines between become a
    /// gap if any line is stored. The caller sets `high`, `hash` and `lamport`.
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

    /// Narrows the gap that begins with this batch. `Some(true)` if the gap is closed now. `None`
    /// if no gap begins there, or the batch does not fit the hash chain.
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

    /// Reverts [`LogRange::fill_gap`] for a batch that could not be stored. Batches that filled
    /// the same gap later must be reverted first.
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

    /// Forgets all lines below `low`.
    pub fn evict_below(&mut self, low: u64) {
        self.low = self.low.max(low);
        self.gaps.retain_mut(|gap| {
            gap.stored_from = gap.stored_from.max(low);
            gap.stored_from < gap.from
        });
    }

    /// The first sequence of the stored segment that ends below gap `at`; `low` for the uppermost
    /// one.
    fn stored_from_above(&mut self, at: usize) -> &mut u64 {
        match self.gaps.get_mut(at) {
            Some(gap) => &mut gap.stored_from,
            None => &mut self.low,
        }
    }
}
