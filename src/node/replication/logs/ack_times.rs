//! When the logs of a link may be acknowledged again.
use crate::base::batch::batch::LogId;
use crate::base::table::SortedMap;
use crate::base::time::Time;

/// Minimum milliseconds between two acknowledgements of a log on a link. An acknowledgement costs
/// both sides about as much as a line, and covers all earlier lines.
const ACK_INTERVAL_MS: u64 = 5;
/// The same during a bulk transfer. The interval is longer because no user waits for the
/// acknowledgement of a single line.
const BULK_ACK_INTERVAL_MS: u64 = 20;
/// A transfer counts as bulk if at least this many batches of one log are unacknowledged.
const BULK_BATCHES_MIN: u32 = 8;
/// An acknowledgement of this many batches does not wait: half of the batches that a sender leaves
/// unacknowledged. So it never waits for us.
const PROMPT_ACK_BATCHES: u32 = 512;
/// Number of logs on a link that have an interval of their own. While more are acknowledged, the
/// others share one.
pub const ACKED_LOGS_MAX: usize = 16;

/// When logs were acknowledged over a link. Each log has its own interval, so that a single line
/// does not wait because a bulk transfer in another room was acknowledged.
#[derive(Default)]
pub struct AckTimes {
    /// The last acknowledgement of each log that was acknowledged lately.
    by_log: SortedMap<LogId, Time>,
    /// The last acknowledgement of a log that found no place there.
    others: Option<Time>,
}

impl AckTimes {
    /// When an acknowledgement of this log that covers so many batches may be sent.
    pub fn next_at(&self, log: &LogId, batches: u32) -> Time {
        let interval = match batches {
            PROMPT_ACK_BATCHES.. => 0,
            BULK_BATCHES_MIN.. => BULK_ACK_INTERVAL_MS,
            _ => ACK_INTERVAL_MS,
        };
        let last = self.by_log.get(log).copied().or(self.others);
        last.map_or(Time(0), |last| last + interval)
    }

    /// Records that this log was acknowledged.
    pub fn record(&mut self, log: &LogId, now: Time) {
        let is_recent = |at: Time| at + BULK_ACK_INTERVAL_MS > now;
        self.by_log.retain(|_, at| is_recent(*at));
        self.others = self.others.filter(|at| is_recent(*at));
        if self.by_log.len() < ACKED_LOGS_MAX || self.by_log.contains_key(log) {
            self.by_log.insert(log.clone(), now);
        } else {
            self.others = Some(now);
        }
    }
}
