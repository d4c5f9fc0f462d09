//! Collects consecutive batches of one log. A scan of a folder supplies them in order of arrival.
use crate::base::batch::{Batch, LogId};
use crate::base::event::Position;

/// Collects the batches of one log from a sequence upwards. Batches that filled a gap are stored
/// after the batches above the gap. The collector skips the batches above a gap until the gap is
/// collected. The next scan resumes at the first skipped batch. Gaps are few, so all scans together
/// read a small multiple of the log.
pub struct LogCollector<'a> {
    log: &'a LogId,
    /// The first sequence that is not collected yet.
    next_sequence: u64,
    /// Collected bytes after which the scan ends.
    budget_bytes: usize,
    collected_bytes: usize,
    /// The lowest sequence of all skipped batches.
    lowest_skipped: u64,
    /// Position of the first skipped batch.
    resume_at: Option<Position>,
    batches: Vec<Batch>,
}

impl<'a> LogCollector<'a> {
    /// Creates a collector that begins at the batch with line `from`. The scan ends after about
    /// `budget_bytes`.
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

    /// Whether the batch of `log` that ends at `last_sequence` must be passed to
    /// [`LogCollector::add`].
    pub fn is_wanted(&self, log: &LogId, last_sequence: u64) -> bool {
        log == self.log && last_sequence >= self.next_sequence
    }

    /// Collects or skips a wanted batch that begins at `position`. Returns false when the scan
    /// must end.
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

    /// Where the next scan must begin to find the skipped batches. `None`: no batch was skipped.
    pub fn resume_at(&self) -> Option<Position> {
        self.resume_at
    }

    /// The lowest skipped sequence, if batches were skipped and none was collected. The scan then
    /// found none of the wanted lines below this sequence. A new scan for the sequence must begin
    /// at [`LogCollector::resume_at`].
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
