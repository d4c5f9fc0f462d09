//! Detects forks: two different batches of one author under the same numbers. Only a signed batch
//! proves a fork; a `have` that merely claims one makes us request ("probe") that batch.
use crate::base::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::{Notice, StreamId};
use crate::base::table::{SortedMap, SortedSet};
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::replication::want::{WantRange, send_want};

/// Most probes under way.
const PROBES_MAX: usize = 256;
/// Most logs reported as forked, and most rejected sources.
const TRACKED_LOGS_MAX: usize = 16_384;

/// Forks that were reported or are being proved, and the sources that served them.
#[derive(Default)]
pub struct ForkDetector {
    /// Forked logs; each is reported to the user once.
    reported: SortedSet<LogId>,
    /// The line requested as proof, by the log and the link whose `have` claims another batch
    /// there.
    probes: SortedMap<LinkLog, u64>,
    /// Links that served a fork of this log; never asked for it again.
    rejected: SortedSet<LinkLog>,
}

impl ForkDetector {
    /// Forgets the probes and rejections for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        self.rejected.retain(|key| keeps(key.stream, &key.log));
        self.probes.retain(|key, _| keeps(key.stream, &key.log));
    }

    /// Never requests this log over this link again.
    pub fn reject(&mut self, key: &LinkLog) {
        if self.rejected.len() < TRACKED_LOGS_MAX {
            self.rejected.insert(key.clone());
        }
    }

    /// Whether this link served a fork of this log.
    pub fn is_rejected(&self, key: &LinkLog) -> bool {
        self.rejected.contains(key)
    }

    /// Requests the batch at `line`, which the peer claims to differ from ours.
    pub fn probe(&mut self, ctx: &mut Context, key: &LinkLog, line: u64) {
        let is_known = self.reported.contains(&key.log) || self.probes.contains_key(key);
        if !is_known && self.probes.len() < PROBES_MAX {
            send_want(ctx, key, WantRange::From(line));
            self.probes.insert(key.clone(), line);
        }
    }

    /// Whether this batch answers a probe. If so, ends the probe and cancels the request.
    pub fn take_probe(&mut self, ctx: &mut Context, key: &LinkLog, batch: &Batch) -> bool {
        let line = self.probes.get(key);
        let is_answer = line.is_some_and(|line| batch.contains_line(*line));
        if is_answer {
            self.probes.remove(key);
            send_want(ctx, key, WantRange::Cancel);
        }
        is_answer
    }

    /// Reports a proved fork of this log at `line`, once for each log.
    pub fn report(&mut self, ctx: &mut Context, log: &LogId, line: u64) {
        if self.reported.len() >= TRACKED_LOGS_MAX || !self.reported.insert(log.clone()) {
            return;
        }
        let author = ctx.display_peer(&log.author);
        let content = format!(
            "{author} published two different lines {line} in {}: the second is ignored",
            log.target
        );
        ctx.notify(Notice::Error {
            code: ErrorCode::Fork,
            content,
        });
    }
}
