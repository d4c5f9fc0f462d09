//! Collects consecutive batches of one log from a scan of a folder in order of arrival.
use crate::base::batch::{Batch, LogId};
use crate::base::event::Position;

/// The batches of one log from a sequence upwards. Lines that filled a gap arrived after the lines
/// above it: those are skipped until the gap is collected, and a later scan resumes at the first
/// of them. Gaps are few, so all scans together read a small multiple of the log.
pub struct LogCollector<'a> {
    log: &'a LogId,
    /// The sequence looked for.
    next_sequence: u64,
    /// Bytes of batches after which the scan ends.
    budget_bytes: usize,
    collected_bytes: usize,
    /// The lowest sequence of the skipped batches.
    lowest_skipped: u64,
    /// Where the first skipped batch begins.
    resume_at: Option<Position>,
    batches: Vec<Batch>,
}

impl<'a> LogCollector<'a> {
    /// Collects from the batch that contains `from`, about `budget_bytes`, at least one batch.
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

    /// The first sequence that is not collected yet.
    pub fn next_sequence(&self) -> u64 {
        self.next_sequence
    }

    /// Whether [`LogCollector::add`] needs the batch of this log that ends at `last_sequence`.
    pub fn is_wanted(&self, log: &LogId, last_sequence: u64) -> bool {
        log == self.log && last_sequence >= self.next_sequence
    }

    /// Takes or skips a wanted batch that begins at `position`. False: the scan is to end.
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

    /// Where the next scan must begin so that it meets the skipped batches, if there are any.
    pub fn resume_at(&self) -> Option<Position> {
        self.resume_at
    }

    /// Nothing was collected, but batches above a gap were skipped: the gap is not in the store,
    /// and a scan from the returned sequence, beginning at [`LogCollector::resume_at`], finds them.
    pub fn sequence_above_gap(&self) -> Option<u64> {
        (self.batches.is_empty() && self.resume_at.is_some()).then_some(self.lowest_skipped)
    }

    /// Whether nothing was collected.
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// The collected batches, upwards without gaps.
    pub fn into_batches(self) -> Vec<Batch> {
        self.batches
    }
}
