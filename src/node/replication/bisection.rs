//! The search for the first line at which two copies of a log differ.
use crate::base::batch::batch::Batch;
use crate::base::identity::Hash;
use crate::base::time::Time;

/// Milliseconds until the same line is requested again. The peer may repeat its claim at any rate.
const REPEATED_PROBE_MS: u64 = 1_000;

/// The search for the first line at which a peer's copy of our log differs from our own copy.
pub struct Bisection {
    /// The undecided lines begin after this sequence. All lines up to this sequence are the same in
    /// both copies, or cannot be compared.
    same_up_to: u64,
    /// The undecided lines end before this sequence. All lines from this sequence on differ, or
    /// cannot be compared.
    differs_from: u64,
    /// Initial value of `differs_from`. The search lowers `differs_from` below `end` when it finds
    /// a line that differs.
    end: u64,
    /// The line that was last requested, and when.
    requested: Option<(u64, Time)>,
    /// The peer's batch, which waits until the store has read our batch.
    pub their_batch: Option<TheirBatch>,
}

/// A peer's batch of a log that we wrote.
#[derive(Clone, Copy)]
pub struct TheirBatch {
    /// Sequence of the first line.
    pub first: u64,
    /// Hash of the batch.
    pub hash: Hash,
}

impl Bisection {
    /// A search that has compared nothing yet. `low`: sequence of the first line that we store.
    /// `end`: sequence after the last line that both copies may contain.
    pub fn new(low: u64, end: u64) -> Bisection {
        Bisection {
            same_up_to: low.saturating_sub(1),
            differs_from: end,
            end,
            requested: None,
            their_batch: None,
        }
    }

    /// Excludes the lines before the line `low` from the search. The peer has evicted these lines,
    /// so they cannot be compared.
    pub fn skip_evicted(&mut self, low: u64) {
        let evicted = low.saturating_sub(1);
        let last_undecided = self.differs_from.saturating_sub(1);
        self.same_up_to = self.same_up_to.max(evicted.min(last_undecided));
    }

    /// Sequence of the line to compare next: the middle of the undecided lines. `None`: no line is
    /// undecided.
    pub fn next_probe(&self) -> Option<u64> {
        let undecided = self.differs_from.saturating_sub(self.same_up_to + 1);
        (undecided > 0).then(|| self.same_up_to + 1 + undecided / 2)
    }

    /// The line to request now. `None` also if the same line was requested less than 1 s ago.
    pub fn take_probe(&mut self, now: Time) -> Option<u64> {
        let line = self.next_probe()?;
        let is_repeated =
            |(requested, at): (u64, Time)| requested == line && now < at + REPEATED_PROBE_MS;
        if self.requested.is_some_and(is_repeated) {
            return None;
        }
        self.requested = Some((line, now));
        Some(line)
    }

    /// Compares the peer's batch with our batch at the same line, and narrows the search.
    pub fn compare(&mut self, theirs: TheirBatch, ours: &Batch) {
        let last_undecided = self.differs_from.saturating_sub(1);
        if ours.hash == theirs.hash {
            self.same_up_to = ours.last_sequence().min(last_undecided);
        } else if ours.sequence <= theirs.first {
            self.differs_from = ours.sequence.max(self.same_up_to + 1);
        } else {
            // Our store has evicted the lines before this batch. They cannot be compared.
            let evicted = ours.sequence - 1;
            self.same_up_to = self.same_up_to.max(evicted).min(last_undecided);
        }
    }

    /// Whether this batch contains the line to compare next.
    pub fn is_answered_by(&self, batch: &Batch) -> bool {
        let line = self.next_probe();
        line.is_some_and(|line| batch.contains_line(line))
    }

    /// Sequence of the first line that differs. `None` if the search is not finished, or has found
    /// no difference.
    pub fn result(&self) -> Option<u64> {
        let is_found = self.next_probe().is_none() && self.differs_from < self.end;
        is_found.then_some(self.differs_from)
    }
}
