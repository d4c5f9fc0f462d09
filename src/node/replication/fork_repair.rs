//! Own logs of which a peer holds something else, for this directory is an old copy, or there is one: from which line on is found by comparing
//! batch with batch; and what is only ours from there on is said again, in a log of its own.
use crate::base::batch::{Batch, LogId};
use crate::base::event::{LoadPurpose, LoadReply, LoadRequest, Output, StreamId};
use crate::base::identity::Hash;
use crate::base::name::{FolderName, Target};
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::node::context::Context;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::fetch::send_want;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::LOAD_BUDGET_BYTES;

/// Most comparisons under way or done on the links that stand.
const BISECTIONS_MAX: usize = 1024;
/// The bits of an incarnation in which a line stands.
const LINE_BITS_MASK: u64 = (1 << 40) - 1;

/// How far a peer's lines of an own log are ours.
struct Bisection {
    /// Up to this one they are.
    same_up_to: u64,
    /// From this one on they are not, or one of both has none.
    differs_from: u64,
    /// What `other` was at first.
    end: u64,
    /// The batch of the peer's that is compared with the store's: its first line, and its hash.
    their_batch: Option<(u64, Hash)>,
}

impl Bisection {
    /// The line to be asked for next; `None`: it is found.
    fn next_probe(&self) -> Option<u64> {
        let open = self.differs_from.saturating_sub(self.same_up_to + 1);
        (open > 0).then(|| self.same_up_to + 1 + open / 2)
    }
}

#[derive(Default)]
pub struct ForkRepair {
    bisections: SortedMap<(StreamId, LogId), Bisection>,
}

impl ForkRepair {
    pub fn retain(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.bisections.retain(|key, _| which(key));
    }

    /// Is this log being compared with that of this peer, or was it?
    pub fn has_bisection(&self, key: &(StreamId, LogId)) -> bool {
        self.bisections.contains_key(key)
    }

    /// The peer holds something else somewhere in its lines of this own log: it is asked for them, one here and one there.
    pub fn bisect(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        key: &(StreamId, LogId),
        (low, high): (u64, u64),
    ) {
        let Some(range) = logs.get(&key.1) else {
            return;
        };
        if self.bisections.len() >= BISECTIONS_MAX && !self.has_bisection(key) {
            return;
        }
        let end = range.high.min(high).saturating_add(1);
        let compared = self
            .bisections
            .get_or_insert_with(key.clone(), || Bisection {
                same_up_to: range.low.saturating_sub(1),
                differs_from: end,
                end,
                their_batch: None,
            });
        // What it no longer has cannot be compared.
        let gone = low
            .saturating_sub(1)
            .min(compared.differs_from.saturating_sub(1));
        compared.same_up_to = compared.same_up_to.max(gone);
        if let Some(line) = compared.next_probe() {
            send_want(ctx, key, (line, 0));
        }
    }

    /// Is this what was asked for?
    pub fn is_expected(&self, key: &(StreamId, LogId), batch: &Batch) -> bool {
        let line = self.bisections.get(key).and_then(Bisection::next_probe);
        line.is_some_and(|line| batch.sequence <= line && line <= batch.last_sequence())
    }

    /// What was asked for has come: the store is asked what is ours there.
    pub fn handle_their_batch(
        &mut self,
        ctx: &mut Context,
        key: &(StreamId, LogId),
        batch: &Batch,
    ) {
        if let Some(compared) = self.bisections.get_mut(key) {
            compared.their_batch = Some((batch.sequence, batch.hash));
            send_want(ctx, key, (0, 0));
            ctx.emit(Output::Load(LoadRequest {
                purpose: LoadPurpose::Compare,
                log: key.1.clone(),
                from: batch.sequence,
                position: None,
                budget_bytes: 1,
            }));
        }
    }

    /// What is ours there. Gives the line from which on it is found to be ours alone.
    pub fn handle_our_batch(&mut self, ctx: &mut Context, reply: &LoadReply) -> Option<u64> {
        let ours = reply.batches.first()?;
        let from = reply.from;
        let mut found = None;
        let bisections = self.bisections.iter_mut();
        for (key, compared) in bisections.filter(|(key, _)| key.1 == reply.log) {
            let Some((_, hash)) = compared.their_batch.filter(|(first, _)| *first == from) else {
                continue;
            };
            compared.their_batch = None;
            let last = compared.differs_from.saturating_sub(1);
            if ours.hash == hash {
                compared.same_up_to = ours.last_sequence().min(last);
            } else if ours.sequence <= from {
                compared.differs_from = ours.sequence.max(compared.same_up_to + 1);
            } else {
                // The store gave up what lies before.
                compared.same_up_to = compared.same_up_to.max(ours.sequence - 1).min(last);
            }
            match compared.next_probe() {
                Some(line) => send_want(ctx, key, (line, 0)),
                None if compared.differs_from < compared.end => found = Some(compared.differs_from),
                None => {}
            }
        }
        found
    }
}

/// From this line on the own log is not what a peer holds: what nobody holds of it is said again. Once: the log for it is the same in every run, and
/// tells how much of it was said.
pub fn start_republish(
    ctx: &mut Context,
    logs: &mut Logs,
    receipts: &DeliveryTracker,
    log: &LogId,
    line: u64,
) {
    let from = line.max(receipts.max_acked(log) + 1);
    let high = logs.get(log).map_or(0, |range| range.high);
    let before = logs.republished_logs().get(log);
    if from <= high && before.is_none_or(|before| from < *before) {
        logs.mark_republished(log, from);
        load_next_republish(ctx, logs, log);
    }
}

/// A part of the history was opened: what an earlier run began is gone on with.
pub fn resume_folder(ctx: &mut Context, logs: &mut Logs, folder: &FolderName) {
    let mut own = logs.ranges_in_folder(folder, &ctx.own_id());
    own.retain(|range| range.log.author == ctx.own_id());
    for range in &own {
        let zeroth = republish_incarnation(range, 0);
        let at = |number| (&range.log.target, number);
        let first =
            own.partition_point(|other| sort_key(&other.log) < at(zeroth & !LINE_BITS_MASK));
        let near = own.iter().skip(first);
        let lines = near
            .take_while(|other| sort_key(&other.log) <= at(zeroth | LINE_BITS_MASK))
            .map(|other| other.log.incarnation ^ zeroth);
        if let Some(from) = lines.filter(|line| (1..=range.high).contains(line)).min() {
            logs.mark_republished(&range.log, from);
            load_next_republish(ctx, logs, &range.log);
        }
    }
}

fn sort_key(log: &LogId) -> (&Target, u64) {
    (&log.target, log.incarnation)
}

/// The log in which this one is said again, and the line to be said next.
pub fn next_republish(logs: &Logs, log: &LogId) -> Option<(LogId, u64)> {
    let from = *logs.republished_logs().get(log)?;
    let again = LogId {
        incarnation: republish_incarnation(logs.get(log)?, from),
        ..log.clone()
    };
    let said = logs.get(&again).map_or(0, |range| range.high);
    Some((again, from + said))
}

fn load_next_republish(ctx: &mut Context, logs: &Logs, log: &LogId) {
    if let Some((_, next)) = next_republish(logs, log)
        && logs.get(log).is_some_and(|range| next <= range.high)
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

/// The store takes lines again.
pub fn resume_all(ctx: &mut Context, logs: &Logs) {
    for log in logs.republished_logs().keys() {
        load_next_republish(ctx, logs, log);
    }
}

/// Does this log hold what is said again of another?
pub fn is_republication(logs: &Logs, log: &LogId) -> bool {
    let mut all = logs.republished_logs().iter();
    all.any(|(other, from)| {
        let range = logs.get(other);
        range.is_some_and(|range| republish_incarnation(range, *from) == log.incarnation)
    })
}

/// Where an own line stands that was said again.
pub fn republished_position(logs: &Logs, log: &LogId, line: u64) -> Option<(LogId, u64)> {
    let from = *logs.republished_logs().get(log)?;
    let (again, _) = next_republish(logs, log)?;
    (line >= from).then(|| (again, line - from + 1))
}

/// A number that no other program draws for its own lines; a later run finds it again, and the line in its lowest bits. The log ends with what
/// is said again: where it ends otherwise, the directory is an older copy still, and what it holds came back from others.
fn republish_incarnation(range: &LogRange, from: u64) -> u64 {
    let incarnation = range.log.incarnation.to_be_bytes();
    let hash = Hash::of(&[b"p2pchat again\0", &incarnation, &range.hash.0]);
    let number = hash.0.iter().take(8);
    number.fold(0, |n, byte| n << 8 | u64::from(*byte)) ^ from
}
