//! What is held of a log, and what is missing in its middle.
use super::batch::{Batch, LogId};
use super::identity::Hash;

/// Most holes of one log that may still be filled.
pub const HOLES_MAX: usize = 4;

/// What is held of a log: the lines `low` to `high`, in whole batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Range {
    pub log: LogId,
    pub low: u64,
    pub high: u64,
    /// Of the batch that ends at `high`.
    pub hash: Hash,
    /// Of the line `high`.
    pub lamport: u64,
    /// What is missing below `low`, upwards; older ones are forgotten beyond [`HOLES_MAX`].
    pub holes: Vec<Hole>,
}

/// Lines that are missing between such as are held: `from` to `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The lines from here to the hole are held.
    pub low: u64,
    pub from: u64,
    pub to: u64,
    /// Of the batch before it.
    pub before: Hash,
    /// Of the last batch in it, as the one behind it names it.
    pub after: Hash,
}

impl Hole {
    /// This batch is what the lines around the hole say it to be.
    fn takes(&self, batch: &Batch) -> bool {
        batch.previous == Some(self.before)
            && batch.last() <= self.to
            && (batch.last() < self.to || batch.hash == self.after)
    }
}

impl Range {
    /// Takes a batch beyond the head as the new one: what lies between is missing, if anything is held.
    pub fn skip(&mut self, batch: &Batch) {
        if let Some(after) = batch.previous.filter(|_| self.high > 0) {
            if self.holes.len() >= HOLES_MAX {
                self.holes.remove(0);
            }
            self.holes.push(Hole {
                low: self.low,
                from: self.high + 1,
                to: batch.sequence - 1,
                before: self.hash,
                after,
            });
        }
        self.low = batch.sequence;
    }

    /// Does a hole begin where this batch does?
    pub fn lacks(&self, batch: &Batch) -> bool {
        self.holes.iter().any(|hole| hole.from == batch.sequence)
    }

    /// Takes a batch with which a hole begins. True: that was all that it lacked. `None`: it is not what is missing there.
    pub fn fill(&mut self, batch: &Batch) -> Option<bool> {
        let mut holes = self.holes.iter();
        let at = holes.position(|hole| hole.from == batch.sequence && hole.takes(batch))?;
        let hole = &mut self.holes[at];
        (hole.from, hole.before) = (batch.last() + 1, batch.hash);
        let closed = hole.from > hole.to;
        if closed {
            let low = self.holes.remove(at).low;
            *self.low_above(at) = low;
        }
        Some(closed)
    }

    /// A batch that filled a hole is not held after all; none that came after it is.
    pub fn unfill(&mut self, batch: &Batch) {
        let lowest = self.holes.first().map_or(self.low, |hole| hole.low);
        let inside = lowest < batch.sequence && batch.last() < self.high;
        let Some(before) = batch.previous.filter(|_| inside) else {
            return;
        };
        let mut holes = self.holes.iter_mut();
        if let Some(hole) = holes.find(|hole| hole.from == batch.last() + 1) {
            (hole.from, hole.before) = (batch.sequence, before);
            return;
        }
        let at = self.holes.partition_point(|hole| hole.to < batch.sequence);
        let low = std::mem::replace(self.low_above(at), batch.last() + 1);
        let hole = Hole {
            low,
            from: batch.sequence,
            to: batch.last(),
            before,
            after: batch.hash,
        };
        self.holes.insert(at, hole);
    }

    /// What is below `low` is given up.
    pub fn raise(&mut self, low: u64) {
        self.low = self.low.max(low);
        self.holes.retain_mut(|hole| {
            hole.low = hole.low.max(low);
            hole.low < hole.from
        });
    }

    /// Where that begins which is held above the hole before this place.
    fn low_above(&mut self, at: usize) -> &mut u64 {
        match self.holes.get_mut(at) {
            Some(hole) => &mut hole.low,
            None => &mut self.low,
        }
    }
}
