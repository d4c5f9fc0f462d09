//! Detects forks: one author signed two different batches with the same sequences.
//!
//! A `have` entry may claim a different batch, but only the signed batch proves a fork. We
//! therefore request the claimed batch, which is called a probe.
use crate::base::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::{Notice, StreamId};
use crate::base::table::{SortedMap, SortedSet};
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::replication::want::{WantRange, send_want};

/// Most probes under way. A probe is a request for a batch that may prove a fork.
const PROBES_MAX: usize = 256;
/// Most logs reported as forked, and most rejected pairs of link and log.
const TRACKED_LOGS_MAX: usize = 16_384;

/// The reported forks, the probes under way, and the rejected sources.
#[derive(Default)]
pub struct ForkDetector {
    /// Forked logs that were reported to the user. Each log is reported only once.
    reported: SortedSet<LogId>,
    /// The probes under way, each with the sequence of the requested line. The link's peer claims
    /// that its batch with this line differs from ours.
    probes: SortedMap<LinkLog, u64>,
    /// Pairs of a link and a log. The log is never requested again over the link. The link's peer
    /// sent a batch that contradicts ours, or our tables had no place for the log.
    rejected: SortedSet<LinkLog>,
}

impl ForkDetector {
    /// Forgets the probes and rejections for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        self.rejected.retain(|key| keeps(key.stream, &key.log));
        self.probes.retain(|key, _| keeps(key.stream, &key.log));
    }

    /// Marks this log as never to be requested again over this link.
    pub fn reject(&mut self, key: &LinkLog) {
        if self.rejected.len() < TRACKED_LOGS_MAX {
            self.rejected.insert(key.clone());
        }
    }

    /// Whether this log must not be requested over this link.
    pub fn is_rejected(&self, key: &LinkLog) -> bool {
        self.rejected.contains(key)
    }

    /// Requests the peer's batch with the line `line`, because the peer claims that the batch
    /// differs from ours. Skips a log that was reported as forked, or that is already probed over
    /// this link.
    pub fn probe(&mut self, ctx: &mut Context, key: &LinkLog, line: u64) {
        let is_known = self.reported.contains(&key.log) || self.probes.contains_key(key);
        if !is_known && self.probes.len() < PROBES_MAX {
            send_want(ctx, key, WantRange::From(line));
            self.probes.insert(key.clone(), line);
        }
    }

    /// Whether this batch answers a probe. An answer ends the probe and cancels the probe's
    /// request.
    pub fn take_probe(&mut self, ctx: &mut Context, key: &LinkLog, batch: &Batch) -> bool {
        let line = self.probes.get(key);
        let is_answer = line.is_some_and(|line| batch.contains_line(*line));
        if is_answer {
            self.probes.remove(key);
            send_want(ctx, key, WantRange::Cancel);
        }
        is_answer
    }

    /// Reports to the user that this log is forked. `line`: the first sequence of the batch that
    /// differs. Each log is reported only once.
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
