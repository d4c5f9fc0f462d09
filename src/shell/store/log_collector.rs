//! Collects consecutive batches of some logs. A scan of a folder supplies them in order of arrival.
use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::load::{LogCursor, Position};
use crate::base::table::SortedMap;
use crate::shell::store::segment::frontier::WantedLines;

/// Collects batches of some logs. Of each log, collects batches in ascending order without gaps. A
/// folder is in order of arrival, so a higher batch can come before a lower one. The collector
/// skips a batch if it has not collected the lines below it. The next scan begins at the batch that
/// was skipped first.
pub struct LogCollector {
    logs: SortedMap<LogId, CollectedLog>,
    /// The number of collected bytes at which the scan ends.
    budget_bytes: usize,
    collected_bytes: usize,
    /// Number of logs of which the scan can supply more batches.
    open_count: usize,
}

/// What is collected of one log.
pub struct CollectedLog {
    /// The next sequence to collect.
    next_sequence: u64,
    /// The lowest sequence in all skipped batches. `u64::MAX`: no batch was skipped.
    lowest_skipped: u64,
    /// The position where the next scan must begin, so that it finds the skipped batches. `None`:
    /// no batch was skipped.
    pub resume_at: Option<Position>,
    /// The collected batches, in ascending order without gaps.
    pub batches: Vec<Batch>,
}

impl CollectedLog {
    /// Whether this scan can supply more batches. If not, it has passed the next one.
    fn is_open(&self) -> bool {
        self.next_sequence < self.lowest_skipped
    }

    /// The first sequence above a gap, if the scan found only batches above the gap. The caller
    /// must then scan again for this sequence, from [`CollectedLog::resume_at`]. `None`: no such
    /// scan is needed.
    pub fn sequence_above_gap(&self) -> Option<u64> {
        (self.batches.is_empty() && self.resume_at.is_some()).then_some(self.lowest_skipped)
    }
}

impl LogCollector {
    /// Creates a collector of batches of the cursors' logs. The first batch collected of a log is
    /// the one that contains the cursor's line. The scan ends after about `budget_bytes`.
    pub fn new(cursors: &[LogCursor], budget_bytes: usize) -> LogCollector {
        let log = |cursor: &LogCursor| CollectedLog {
            next_sequence: cursor.from,
            lowest_skipped: u64::MAX,
            resume_at: None,
            batches: Vec::new(),
        };
        let logs = cursors.iter();
        LogCollector {
            logs: logs.map(|it| (it.log.clone(), log(it))).collect(),
            budget_bytes,
            collected_bytes: 0,
            open_count: cursors.len(),
        }
    }

    /// The next lines of the logs of which the scan can supply more batches.
    pub fn missing_lines(&self) -> WantedLines {
        let mut missing = WantedLines::default();
        for (log, collected) in &self.logs {
            if collected.is_open() {
                missing.add(log, collected.next_sequence);
            }
        }
        missing
    }

    /// Whether a batch of `log` must be passed to [`LogCollector::add`]. `last_sequence` is the
    /// sequence of the batch's last line.
    pub fn is_wanted(&self, log: &LogId, last_sequence: u64) -> bool {
        let collected = self.logs.get(log);
        collected.is_some_and(|it| it.is_open() && last_sequence >= it.next_sequence)
    }

    /// Whether [`LogCollector::add`] would collect this batch, and not skip it. To be asked only if
    /// [`LogCollector::is_wanted`] is true.
    pub fn is_next(&self, batch: &Batch) -> bool {
        let collected = self.logs.get(&batch.log);
        collected.is_some_and(|it| batch.sequence <= it.next_sequence)
    }

    /// Passes over the next batch of a log, which cannot be sent. It ends what is collected of the
    /// log, or lies in the gap below it. It counts as collected bytes, because to find it out took
    /// as long. Returns false if the scan must end.
    pub fn pass_over(&mut self, batch: &Batch, position: Position) -> bool {
        let Some(collected) = self.logs.get_mut(&batch.log) else {
            return true;
        };
        self.collected_bytes += batch.as_bytes().len();
        if collected.batches.is_empty() {
            collected.next_sequence = batch.last_sequence() + 1;
        } else {
            collected.lowest_skipped = collected.next_sequence;
            collected.resume_at.get_or_insert(position);
        }
        self.open_count -= usize::from(!collected.is_open());
        self.collected_bytes < self.budget_bytes && self.open_count > 0
    }

    /// Collects or skips a batch for which [`LogCollector::is_wanted`] is true. `position` is where
    /// the batch begins. Returns false if the scan must end.
    pub fn add(&mut self, batch: Batch, position: Position) -> bool {
        let Some(collected) = self.logs.get_mut(&batch.log) else {
            return true;
        };
        if batch.sequence > collected.next_sequence {
            collected.lowest_skipped = collected.lowest_skipped.min(batch.sequence);
            collected.resume_at.get_or_insert(position);
            return true;
        }
        collected.next_sequence = batch.last_sequence() + 1;
        self.collected_bytes += batch.as_bytes().len();
        collected.batches.push(batch);
        self.open_count -= usize::from(!collected.is_open());
        self.collected_bytes < self.budget_bytes && self.open_count > 0
    }

    /// Whether no batch was collected or skipped.
    pub fn has_found_nothing(&self) -> bool {
        let mut logs = self.logs.values();
        logs.all(|log| log.batches.is_empty() && log.resume_at.is_none())
    }

    /// Takes what is collected of a log.
    pub fn take(&mut self, log: &LogId) -> Option<CollectedLog> {
        self.logs.remove(log)
    }
}
