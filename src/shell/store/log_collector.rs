//! Collects consecutive batches of one log. A scan of a folder supplies them in order of arrival.
use crate::base::batch::{Batch, LogId};
use crate::base::event::Position;

/// Collects batches of one log in ascending order without gaps. A folder is in order of arrival, so
/// a higher batch can come before a lower one. The collector skips a batch if it has not collected
/// the lines below it. The next scan begins at the batch that was skipped first.
pub struct LogCollector<'a> {
    log: &'a LogId,
    /// The next sequence to collect.
    next_sequence: u64,
    /// The number of collected bytes at which the scan ends.
    budget_bytes: usize,
    collected_bytes: usize,
    /// The lowest sequence in all skipped batches. `u64::MAX`: no batch was skipped.
    lowest_skipped: u64,
    /// Position of the batch that was skipped first.
    resume_at: Option<Position>,
    batches: Vec<Batch>,
}

impl<'a> LogCollector<'a> {
    /// Creates a collector of batches of `log`. The first batch collected is the one that contains
    /// line `from`. The scan ends after about `budget_bytes`.
    pub fn new(log: &'a LogId, from: u64, budget_bytes: usize) -> LogCollector<'a> {
        LogCollector {
            log,
            next_sequence: from,
            budget_bytes,
            collected_bytes: 0,
            lowest_skipped: u64::MAX,
            resume_at: None,
            batches: Vec::new(),
        }
    }

    /// The next sequence to collect.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether a batch of `log` must be passed to [`LogCollector::add`]. `last_sequence` is the
    /// sequence of the batch's last line.
    pub fn is_wanted(&self, log: &LogId, last_sequence: u64) -> bool {
        log == self.log && last_sequence >= self.next_sequence
    }

    /// Collects or skips a batch for which [`LogCollector::is_wanted`] is true. `position` is where
    /// the batch begins. Returns false if the scan must end.
    pub fn add(&mut self, batch: Batch, position: Position) -> bool {
        if batch.sequence > self.next_sequence {
            self.lowest_skipped = self.lowest_skipped.min(batch.sequence);
            self.resume_at.get_or_insert(position);
            return true;
        }
        self.next_sequence = batch.last_sequence() + 1;
        self.collected_bytes += batch.as_bytes().len();
        self.batches.push(batch);
        self.collected_bytes < self.budget_bytes && self.next_sequence < self.lowest_skipped
    }

    /// The position where the next scan must begin, so that it finds the skipped batches. `None`:
    /// no batch was skipped.
    pub fn resume_at(&self) -> Option<Position> {
        self.resume_at
    }

    /// The first sequence above a gap, if the scan found only batches above the gap. The caller
    /// must then scan again for this sequence, from [`LogCollector::resume_at`]. `None`: no such
    /// scan is needed.
    pub fn sequence_above_gap(&self) -> Option<u64> {
        (self.batches.is_empty() && self.resume_at.is_some()).then_some(self.lowest_skipped)
    }

    /// Whether no batch was collected.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The collected batches, in ascending order without gaps.
    pub fn into_batches(self) -> Vec<Batch> {
        self.batches
    }
}
