//! Remembers with which line of a log each run of the log's author began. Our offers contain one
//! such line. From it, a neighbour knows which lines were published during its own run.
use crate::base::batch::LogId;
use crate::base::table::SortedMap;
use crate::base::time::Time;

/// Most logs whose run starts are remembered.
const TRACKED_LOGS_MAX: usize = 16_384;
/// Most runs remembered per log.
const RUNS_PER_LOG_MAX: usize = 8;

/// One run of an author's program, and where it begins in a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorRun {
    /// Sequence of the first line that the run published.
    pub first_line: u64,
    /// Milliseconds by which the author's program started before ours. Negative if the author's
    /// program started later.
    pub start_offset_ms: i64,
}

impl AuthorRun {
    /// Milliseconds since the author's program started.
    pub fn age_ms(&self, now: Time) -> u64 {
        let age = (now.0 as i64).saturating_add(self.start_offset_ms);
        u64::try_from(age).unwrap_or(0)
    }
}

/// For each log: the first run and the latest runs of its author, in ascending order of their first
/// lines.
#[derive(Default)]
pub struct AuthorRuns(SortedMap<LogId, Vec<AuthorRun>>);

impl AuthorRuns {
    /// Records a run of the log's author. Forgets recorded runs that begin at the same line or at a
    /// later line.
    pub fn record(&mut self, log: &LogId, run: AuthorRun) {
        if self.0.len() < TRACKED_LOGS_MAX || self.0.contains_key(log) {
            let runs = self.0.get_or_default(log.clone());
            runs.retain(|earlier| earlier.first_line < run.first_line);
            runs.push(run);
            // Keeps the first run, because the peers that have run longest need it.
            if runs.len() > RUNS_PER_LOG_MAX {
                runs.remove(1);
            }
        }
    }

    /// The author's first run that did not start before another peer's program. If there is no such
    /// run, the author's latest run. `None`: no run is known.
    ///
    /// `start_offset_ms`: milliseconds by which the other peer's program started before ours.
    pub fn first_during(&self, log: &LogId, start_offset_ms: i64) -> Option<&AuthorRun> {
        let runs = self.0.get(log)?;
        // No slack here: lines of a run that started just before that program are old to it.
        let during = runs
            .iter()
            .find(|run| run.start_offset_ms <= start_offset_ms);
        during.or(runs.last())
    }
}
