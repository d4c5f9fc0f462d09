//! Repairs a forked own log. When a peer stores different lines under our numbers (this directory
//! is a restored or cloned copy), bisects to the first line that differs, and republishes our
//! remaining lines in a new incarnation.
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

/// Most bisections under way, or completed over links that still stand.
const BISECTIONS_MAX: usize = 1024;
/// The bits of a republishing incarnation that hold the first republished line.
const LINE_BITS_MASK: u64 = (1 << 40) - 1;
/// Domain prefix of the hash from which a republishing incarnation is derived.
const INCARNATION_PREFIX: &[u8] = b"p2pchat again\0";

/// The search for the first line of an own log in which a peer's copy differs.
struct Bisection {
    /// Both copies agree up to this line.
    same_up_to: u64,
    /// From this line on the copies differ, or one of them ends.
    differs_from: u64,
    /// The first value of `differs_from`: while it stands, no differing line is known.
    end: u64,
    /// The peer's batch under comparison, until the store has read ours.
    their_batch: Option<TheirBatch>,
}

/// The first line and the hash of a peer's batch.
#[derive(Clone, Copy)]
struct TheirBatch {
    first: u64,
    hash: Hash,
}

impl Bisection {
    /// The line to compare next, in the middle of the undecided ones; `None`: the fork is found.
    fn next_probe(&self) -> Option<u64> {
        let undecided = self.differs_from.saturating_sub(self.same_up_to + 1);
        (undecided > 0).then(|| self.same_up_to + 1 + undecided / 2)
    }

    /// Narrows the search by our batch at the line where theirs begins.
    fn compare(&mut self, theirs: TheirBatch, ours: &Batch) {
        let last_undecided = self.differs_from.saturating_sub(1);
        if ours.hash == theirs.hash {
            self.same_up_to = ours.last_sequence().min(last_undecided);
        } else if ours.sequence <= theirs.first {
            self.differs_from = ours.sequence.max(self.same_up_to + 1);
        } else {
            // Our store evicted the lines before this batch.
            let evicted = ours.sequence - 1;
            self.same_up_to = self.same_up_to.max(evicted).min(last_undecided);
        }
    }
}

/// The bisections of all own logs, with all peers.
#[derive(Default)]
pub struct ForkRepair {
    bisections: SortedMap<LinkLog, Bisection>,
}

impl ForkRepair {
    /// Forgets the bisections for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        self.bisections.retain(|key, _| keeps(key.stream, &key.log));
    }

    /// Whether this log is, or was, compared with the peer's copy.
    pub fn has_bisection(&self, key: &LinkLog) -> bool {
        self.bisections.contains_key(key)
    }

    /// Starts or continues a bisection of an own log that differs from the peer's copy, which has
    /// the lines `low` to `high`.
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
        // Lines that the peer evicted cannot be compared.
        let evicted = low.saturating_sub(1);
        let last_undecided = bisection.differs_from.saturating_sub(1);
        bisection.same_up_to = bisection.same_up_to.max(evicted.min(last_undecided));
        if let Some(line) = bisection.next_probe() {
            send_want(ctx, key, WantRange::From(line));
        }
    }

    /// Whether this batch contains the line that a bisection requested.
    pub fn is_expected(&self, key: &LinkLog, batch: &Batch) -> bool {
        let line = self.bisections.get(key).and_then(Bisection::next_probe);
        line.is_some_and(|line| batch.contains_line(line))
    }

    /// Takes the peer's batch that was requested, and requests ours from the store.
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

    /// Compares our batch with the peers' ones. Returns the first line that differs, if a
    /// bisection has found it.
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

/// Republishes the lines of a forked own log that no peer has acknowledged, from `line` on.
///
/// Idempotent over runs: the republishing log's incarnation is derived from the forked log, and
/// its length tells how many lines were republished.
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

/// A folder was opened: continues the republications that an earlier run began in it.
pub fn resume_folder(ctx: &mut Context, logs: &mut Logs, folder: &FolderName) {
    let mut own = logs.ranges_in_folder(folder, &ctx.own_id());
    own.retain(|range| range.log.author == ctx.own_id());
    for range in &own {
        // Of a republishing incarnation the high bits are a hash of the forked log, and the low
        // bits its first line, both XORed: a binary search finds the candidates.
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

/// The log in which a forked log is republished, and the line of the forked log that comes next.
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

/// The store takes lines again: continues every republication.
pub fn resume_all(ctx: &mut Context, logs: &Logs) {
    for log in logs.republished_logs().keys() {
        load_next_republish(ctx, logs, log);
    }
}

/// Whether this log holds the republished lines of another log.
pub fn is_republication(logs: &Logs, log: &LogId) -> bool {
    let mut forked = logs.republished_logs().iter();
    forked.any(|(other, from)| {
        let range = logs.get(other);
        range.is_some_and(|range| republish_incarnation(range, *from) == log.incarnation)
    })
}

/// The log and number under which a line of a forked own log was republished.
pub fn republished_position(logs: &Logs, log: &LogId, line: u64) -> Option<(LogId, u64)> {
    let from = *logs.republished_logs().get(log)?;
    let (republication, _) = next_republish(logs, log)?;
    (line >= from).then(|| (republication, line - from + 1))
}

/// The incarnation in which a forked log is republished from line `from` on: a hash of the log
/// and its head, XORed with `from`. No other program draws it, and a later run can find it again
/// with the line in its low bits. A log with another head gives another incarnation: the
/// directory is an even older copy then, and the rest of that log came back from other peers.
fn republish_incarnation(range: &LogRange, from: u64) -> u64 {
    let incarnation = range.log.incarnation.to_be_bytes();
    let hash = Hash::of(&[INCARNATION_PREFIX, &incarnation, &range.hash.0]);
    let high_bytes = hash.0.iter().take(8);
    high_bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)) ^ from
}
