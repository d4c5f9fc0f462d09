//! Remembers with which line each run of an author's program began in each log. Offers pass this
//! on, so that a third peer can tell lines of its own run from older ones.
use crate::base::batch::LogId;
use crate::base::table::SortedMap;
use crate::base::time::Time;

/// Most logs whose run starts are remembered.
const TRACKED_LOGS_MAX: usize = 16_384;
/// Most runs remembered per log.
const RUNS_PER_LOG_MAX: usize = 8;

/// Where in a log a run of its author's program begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuthorRun {
    /// The first line of the run.
    pub first_line: u64,
    /// Milliseconds by which the author's program started earlier than ours.
    pub start_offset_ms: i64,
}

impl AuthorRun {
    /// Milliseconds since the author's program started.
    pub fn age_ms(&self, now: Time) -> u64 {
        let age = (now.0 as i64).saturating_add(self.start_offset_ms);
        u64::try_from(age).unwrap_or(0)
    }
}

/// The last runs of each log's author, in ascending order of lines.
#[derive(Default)]
pub struct AuthorRuns(SortedMap<LogId, Vec<AuthorRun>>);

impl AuthorRuns {
    /// Records a run, as its author advertised it or as we observed it.
    pub fn record(&mut self, log: &LogId, run: AuthorRun) {
        if self.0.len() < TRACKED_LOGS_MAX || self.0.contains_key(log) {
            let runs = self.0.get_or_default(log.clone());
            runs.retain(|earlier| earlier.first_line < run.first_line);
            runs.push(run);
            // The first run stays: the peers that have run longest need it.
            if runs.len() > RUNS_PER_LOG_MAX {
                runs.remove(1);
            }
        }
    }

    /// The author's first run that began no earlier than the program with this start offset;
    /// otherwise its last run. `None`: no run is known.
    pub fn first_during(&self, log: &LogId, start_offset_ms: i64) -> Option<&AuthorRun> {
        let runs = self.0.get(log)?;
        // No slack: lines of an earlier run are no news to a program that started a moment later.
        let during = runs
            .iter()
            .find(|run| run.start_offset_ms <= start_offset_ms);
        during.or(runs.last())
    }
}
