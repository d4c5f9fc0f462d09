//! What is held of a log, and what is missing in its middle.
use super::batch::{Batch, LogId};
use super::identity::Hash;

/// Most holes of one log that may still be filled.
pub const GAPS_MAX: usize = 4;

/// What is held of a log: the lines `low` to `high`, in whole batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRange {
    pub log: LogId,
    pub low: u64,
    pub high: u64,
    /// Of the batch that ends at `high`.
    pub hash: Hash,
    /// Of the line `high`.
    pub lamport: u64,
    /// What is missing below `low`, upwards; older ones are forgotten beyond [`HOLES_MAX`].
    pub gaps: Vec<Gap>,
}

/// Lines that are missing between such as are held: `from` to `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The lines from here to the hole are held.
    pub stored_from: u64,
    pub from: u64,
    pub to: u64,
    /// Of the batch before it.
    pub previous_hash: Hash,
    /// Of the last batch in it, as the one behind it names it.
    pub last_hash: Hash,
}

impl Gap {
    /// This batch is what the lines around the hole say it to be.
    fn accepts(&self, batch: &Batch) -> bool {
        batch.previous == Some(self.previous_hash)
            && batch.last_sequence() <= self.to
            && (batch.last_sequence() < self.to || batch.hash == self.last_hash)
    }
}

impl LogRange {
    /// The empty range of a log whose first stored batch will be this one.
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

    /// Adds a stored batch: one that fills a gap, the next one, or one beyond a new gap.
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

    /// Takes a batch beyond the head as the new one: what lies between is missing, if anything is held.
    pub fn skip_to(&mut self, batch: &Batch) {
        if let Some(after) = batch.previous.filter(|_| self.high > 0) {
            if self.gaps.len() >= GAPS_MAX {
                self.gaps.remove(0);
            }
            self.gaps.push(Gap {
                stored_from: self.low,
                from: self.high + 1,
                to: batch.sequence - 1,
                previous_hash: self.hash,
                last_hash: after,
            });
        }
        self.low = batch.sequence;
    }

    /// Does a hole begin where this batch does?
    pub fn has_gap_at(&self, batch: &Batch) -> bool {
        self.gaps.iter().any(|hole| hole.from == batch.sequence)
    }

    /// Takes a batch with which a hole begins. True: that was all that it lacked. `None`: it is not what is missing there.
    pub fn fill_gap(&mut self, batch: &Batch) -> Option<bool> {
        let mut holes = self.gaps.iter();
        let at = holes.position(|hole| hole.from == batch.sequence && hole.accepts(batch))?;
        let hole = &mut self.gaps[at];
        (hole.from, hole.previous_hash) = (batch.last_sequence() + 1, batch.hash);
        let closed = hole.from > hole.to;
        if closed {
            let low = self.gaps.remove(at).stored_from;
            *self.stored_from_above(at) = low;
        }
        Some(closed)
    }

    /// A batch that filled a hole is not held after all; none that came after it is.
    pub fn reopen_gap(&mut self, batch: &Batch) {
        let lowest = self.gaps.first().map_or(self.low, |hole| hole.stored_from);
        let inside = lowest < batch.sequence && batch.last_sequence() < self.high;
        let Some(before) = batch.previous.filter(|_| inside) else {
            return;
        };
        let mut holes = self.gaps.iter_mut();
        if let Some(hole) = holes.find(|hole| hole.from == batch.last_sequence() + 1) {
            (hole.from, hole.previous_hash) = (batch.sequence, before);
            return;
        }
        let at = self.gaps.partition_point(|hole| hole.to < batch.sequence);
        let low = std::mem::replace(self.stored_from_above(at), batch.last_sequence() + 1);
        let hole = Gap {
            stored_from: low,
            from: batch.sequence,
            to: batch.last_sequence(),
            previous_hash: before,
            last_hash: batch.hash,
        };
        self.gaps.insert(at, hole);
    }

    /// What is below `low` is given up.
    pub fn evict_below(&mut self, low: u64) {
        self.low = self.low.max(low);
        self.gaps.retain_mut(|hole| {
            hole.stored_from = hole.stored_from.max(low);
            hole.stored_from < hole.from
        });
    }

    /// Where that begins which is held above the hole before this place.
    fn stored_from_above(&mut self, at: usize) -> &mut u64 {
        match self.gaps.get_mut(at) {
            Some(hole) => &mut hole.stored_from,
            None => &mut self.low,
        }
    }
}
