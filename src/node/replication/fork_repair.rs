//! Repairs a forked log that we wrote. A log is forked if a peer stores different lines under our
//! sequences. This happens when this directory is a restored or cloned copy.
//!
//! The repair bisects to the first line that differs. It publishes this line and our later lines
//! again, in a new incarnation.
use crate::base::batch::{Batch, LogId};
use crate::base::event::{LoadPurpose, LoadReply, LoadRequest, Output, StreamId};
use crate::base::identity::Hash;
use crate::base::name::{FolderName, Target};
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::LOAD_BUDGET_BYTES;
use crate::node::replication::want::{WantRange, send_want};

/// Most bisections kept. A completed bisection is kept until its link ends.
const BISECTIONS_MAX: usize = 1024;
/// The low bits of a new incarnation, into which the first republished line is XORed. See
/// [`republish_incarnation`].
const LINE_BITS_MASK: u64 = (1 << 40) - 1;
/// Domain prefix of the hash that gives the new incarnation of a forked log.
const INCARNATION_PREFIX: &[u8] = b"p2pchat again\0";

/// The search for the first line at which a peer's copy of our log differs from our own copy.
struct Bisection {
    /// Sequence before the first undecided line. This line and all earlier lines are equal in both
    /// copies, or cannot be compared because a copy lacks them.
    same_up_to: u64,
    /// Sequence after the last undecided line. This line and all later lines differ, or are missing
    /// in one copy.
    differs_from: u64,
    /// Initial value of `differs_from`. If `differs_from` is lower than `end`, a differing line was
    /// found.
    end: u64,
    /// The peer's batch, which waits until the store has read our batch.
    their_batch: Option<TheirBatch>,
}

/// A peer's batch: the sequence of the batch's first line, and the batch's hash.
#[derive(Clone, Copy)]
struct TheirBatch {
    first: u64,
    hash: Hash,
}

impl Bisection {
    /// Sequence of the line to compare next: the middle of the undecided lines. `None`: no line is
    /// undecided.
    fn next_probe(&self) -> Option<u64> {
        let undecided = self.differs_from.saturating_sub(self.same_up_to + 1);
        (undecided > 0).then(|| self.same_up_to + 1 + undecided / 2)
    }

    /// Compares the peer's batch with our batch at the same line, and narrows the search.
    fn compare(&mut self, theirs: TheirBatch, ours: &Batch) {
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
}

/// The bisections of the logs that we wrote, one for each log and link.
#[derive(Default)]
pub struct ForkRepair {
    bisections: SortedMap<LinkLog, Bisection>,
}

impl ForkRepair {
    /// Forgets the bisections for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        self.bisections.retain(|key, _| keeps(key.stream, &key.log));
    }

    /// Whether this log has a bisection with this link's peer, under way or completed.
    pub fn has_bisection(&self, key: &LinkLog) -> bool {
        self.bisections.contains_key(key)
    }

    /// Starts or continues the bisection of a log that we wrote, with this link's peer. `low` and
    /// `high`: the sequences of the first and the last line in the peer's copy.
    pub fn bisect(&mut self, ctx: &mut Context, logs: &Logs, key: &LinkLog, low: u64, high: u64) {
        let Some(range) = logs.get(&key.log) else {
            return;
        };
        if self.bisections.len() >= BISECTIONS_MAX && !self.has_bisection(key) {
            return;
        }
        let end = range.high.min(high).saturating_add(1);
        let bisection = self
            .bisections
            .get_or_insert_with(key.clone(), || Bisection {
                same_up_to: range.low.saturating_sub(1),
                differs_from: end,
                end,
                their_batch: None,
            });
        // The peer has evicted the lines before `low`. They cannot be compared.
        let evicted = low.saturating_sub(1);
        let last_undecided = bisection.differs_from.saturating_sub(1);
        bisection.same_up_to = bisection.same_up_to.max(evicted.min(last_undecided));
        if let Some(line) = bisection.next_probe() {
            send_want(ctx, key, WantRange::From(line));
        }
    }

    /// Whether this batch contains the line that a bisection requested over this link.
    pub fn is_expected(&self, key: &LinkLog, batch: &Batch) -> bool {
        let line = self.bisections.get(key).and_then(Bisection::next_probe);
        line.is_some_and(|line| batch.contains_line(line))
    }

    /// Handles the batch that a bisection requested from the peer. Reads our batch at the same line
    /// from the store, to compare the two batches.
    pub fn handle_their_batch(&mut self, ctx: &mut Context, key: &LinkLog, batch: &Batch) {
        if let Some(bisection) = self.bisections.get_mut(key) {
            bisection.their_batch = Some(TheirBatch {
                first: batch.sequence,
                hash: batch.hash,
            });
            send_want(ctx, key, WantRange::Cancel);
            ctx.emit(Output::Load(LoadRequest {
                purpose: LoadPurpose::Compare,
                log: key.log.clone(),
                from: batch.sequence,
                position: None,
                budget_bytes: 1,
            }));
        }
    }

    /// Compares our batch, which the store has read, with each peer's batch that begins at the same
    /// line. If a bisection has found the first line that differs, returns the line's sequence.
    pub fn handle_our_batch(&mut self, ctx: &mut Context, reply: &LoadReply) -> Option<u64> {
        let ours = reply.batches.first()?;
        let mut found = None;
        let bisections = self.bisections.iter_mut();
        for (key, bisection) in bisections.filter(|(key, _)| key.log == reply.log) {
            let theirs = bisection.their_batch;
            let Some(theirs) = theirs.filter(|theirs| theirs.first == reply.from) else {
                continue;
            };
            bisection.their_batch = None;
            bisection.compare(theirs, ours);
            match bisection.next_probe() {
                Some(line) => send_want(ctx, key, WantRange::From(line)),
                None if bisection.differs_from < bisection.end => {
                    found = Some(bisection.differs_from);
                }
                None => {}
            }
        }
        found
    }
}

/// Starts to republish the lines of our forked log, in a new incarnation. Begins at the line
/// `line`, but skips lines that any peer has acknowledged.
///
/// A later run can continue this work, because it derives the same incarnation from the forked log.
/// The length of the new log shows how many lines were published again.
pub fn start_republish(
    ctx: &mut Context,
    logs: &mut Logs,
    delivery: &DeliveryTracker,
    log: &LogId,
    line: u64,
) {
    let from = line.max(delivery.max_acked(log) + 1);
    let earlier = logs.republished_logs().get(log);
    if from <= logs.high(log) && earlier.is_none_or(|earlier| from < *earlier) {
        logs.mark_republished(log, from);
        load_next_republish(ctx, logs, log);
    }
}

/// Continues the repairs that an earlier run began in this folder. Publishes the remaining lines of
/// forked logs again.
pub fn resume_folder(ctx: &mut Context, logs: &mut Logs, folder: &FolderName) {
    let mut own = logs.ranges_in_folder(folder, &ctx.own_id());
    own.retain(|range| range.log.author == ctx.own_id());
    for range in &own {
        // The incarnation of a republication is a hash of the forked log. The first republished
        // line is XORed into its low bits. A binary search therefore finds all candidates.
        let line_zero = republish_incarnation(range, 0);
        let at = |incarnation| (&range.log.target, incarnation);
        let lowest = at(line_zero & !LINE_BITS_MASK);
        let highest = at(line_zero | LINE_BITS_MASK);
        let first = own.partition_point(|other| sort_key(&other.log) < lowest);
        let lines = own
            .iter()
            .skip(first)
            .take_while(|other| sort_key(&other.log) <= highest)
            .map(|other| other.log.incarnation ^ line_zero);
        if let Some(from) = lines.filter(|line| (1..=range.high).contains(line)).min() {
            logs.mark_republished(&range.log, from);
            load_next_republish(ctx, logs, &range.log);
        }
    }
}

fn sort_key(log: &LogId) -> (&Target, u64) {
    (&log.target, log.incarnation)
}

/// The new log for the republished lines of a forked log, and the sequence of the next line to
/// republish. The sequence is the one in the forked log. `None`: the log is not being republished.
pub fn next_republish(logs: &Logs, log: &LogId) -> Option<(LogId, u64)> {
    let from = *logs.republished_logs().get(log)?;
    let republication = LogId {
        incarnation: republish_incarnation(logs.get(log)?, from),
        ..log.clone()
    };
    let republished = logs.high(&republication);
    Some((republication, from + republished))
}

fn load_next_republish(ctx: &mut Context, logs: &Logs, log: &LogId) {
    if let Some((_, next)) = next_republish(logs, log)
        && next <= logs.high(log)
    {
        ctx.emit(Output::Load(LoadRequest {
            purpose: LoadPurpose::Republish,
            log: log.clone(),
            from: next,
            position: None,
            budget_bytes: LOAD_BUDGET_BYTES,
        }));
    }
}

/// Continues to publish the lines of all forked logs again. To be called when the store has
/// recovered.
pub fn resume_all(ctx: &mut Context, logs: &Logs) {
    for log in logs.republished_logs().keys() {
        load_next_republish(ctx, logs, log);
    }
}

/// Whether this log contains lines of a forked log that were published again.
pub fn is_republication(logs: &Logs, log: &LogId) -> bool {
    let mut forked = logs.republished_logs().iter();
    forked.any(|(other, from)| {
        let range = logs.get(other);
        range.is_some_and(|range| republish_incarnation(range, *from) == log.incarnation)
    })
}

/// Where a line of a forked log is published again: the new log, and the line's sequence in the new
/// log. `None`: the line is not published again.
pub fn republished_position(logs: &Logs, log: &LogId, line: u64) -> Option<(LogId, u64)> {
    let from = *logs.republished_logs().get(log)?;
    let (republication, _) = next_republish(logs, log)?;
    (line >= from).then(|| (republication, line - from + 1))
}

/// The incarnation of the new log in which the lines of a forked log are published again. `from`:
/// sequence of the first such line in the forked log. The incarnation is a hash of the forked log
/// and its head, XORed with `from`.
///
/// A later run computes the hash again. The hash XORed with the incarnation gives `from`.
///
/// Another head gives another incarnation. The head changes if other peers return lines that this
/// directory has lost.
fn republish_incarnation(range: &LogRange, from: u64) -> u64 {
    let incarnation = range.log.incarnation.to_be_bytes();
    let hash = Hash::of(&[INCARNATION_PREFIX, &incarnation, &range.hash.0]);
    let high_bytes = hash.0.iter().take(8);
    high_bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)) ^ from
}
