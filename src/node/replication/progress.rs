//! The sending half of replication: how far each log was sent over each link.
//!
//! Each link and log has one record, as in raft's `Progress` (raft-rs). The record keeps the next
//! line to send and a bounded window of unacknowledged batches. A link at the head of a log gets
//! new batches at once. A link that lags gets lines from the store whenever its socket is
//! writable, so no lines queue in memory.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{LoadPurpose, LoadReply, LoadRequest, Output, Position, StreamId};
use crate::base::identity::Hash;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::{Link, LinkLog};
use crate::node::replication::carriers::destinations;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::have::{correct_offer, parse_shared_target};
use crate::node::replication::logs::Logs;
use crate::node::replication::want::WantRange;
use crate::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX, WantEntry, parse_log_id};

/// Most unacknowledged batches of one log on one link. At this bound, sending waits for an
/// acknowledgement.
const UNACKED_BATCHES_MAX: usize = 1024;
/// Most [`Progress`] records, over all links.
const PROGRESS_MAX: usize = 65_536;
/// Budget of one read from the store, in bytes.
pub const LOAD_BUDGET_BYTES: usize = 64 * 1024;
/// Milliseconds to wait for a request after we offered one of our logs. Meanwhile, our later logs
/// to the same target are held back. If the peer sends anything after this time without having
/// requested the log, we assume that it lacks no line of the log.
const OFFER_TIMEOUT_MS: u64 = 5_000;

/// How far a log was sent over one link.
#[derive(Default)]
struct Progress {
    /// Sequence of the first line that the peer requested; 0 if it requested none.
    requested_from: u64,
    /// Sequence of the next line to send.
    next: u64,
    /// Position in the store of the line whose sequence is `next`. `None` if unknown.
    position: Option<Position>,
    /// Sequence of the first line that is being read from the store. `None`: no read is under way.
    /// Replies to other reads are outdated and dropped.
    loading_from: Option<u64>,
    /// The batches that were sent and are not acknowledged yet, in ascending order.
    unacked: VecDeque<BatchEnd>,
}

/// The end of a batch: the sequence of its last line, and the batch's hash. An acknowledgement
/// names both.
#[derive(Clone, Copy)]
struct BatchEnd {
    last: u64,
    hash: Hash,
}

/// A gap that a peer requested. The next line to send is `progress.next`, and the last line is
/// `to`.
struct GapSend {
    log: LogId,
    to: u64,
    progress: Progress,
}

/// What an acknowledgement of a log that we wrote says about the peer's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// The peer's copy agrees with ours, or cannot be compared yet.
    Consistent,
    /// The peer stores other lines under our sequences.
    Conflict,
}

/// How far every log was sent over every link.
#[derive(Default)]
pub struct SendProgress {
    /// One record for each log that a peer requested. Also one for each of our logs that began
    /// while its recipient was linked.
    table: SortedMap<LinkLog, Progress>,
    /// Logs with lines that are still to be sent over a link. `Some(time)`: we wrote the log,
    /// offered it at this time, and wait for a request. Such a log has no record in `table`.
    ///
    /// Over each link, one author's logs to one target are sent one after another. The log with the
    /// oldest head is sent first. Lines thus arrive, and are shown, in their order of publication.
    lagging: SortedMap<LinkLog, Option<Time>>,
    /// For each link: the gap whose lines are being sent. Each link has at most one.
    gap_sends: SortedMap<StreamId, GapSend>,
    /// Acknowledgements of our logs that cannot be checked yet, because we do not know our hash at
    /// the acknowledged line. The batch after that line names the hash. The check is made when the
    /// store has read that batch.
    claims: SortedMap<LinkLog, BatchEnd>,
}

impl SendProgress {
    /// Forgets the records for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        self.table.retain(|key, _| keeps(key.stream, &key.log));
        self.lagging.retain(|key, _| keeps(key.stream, &key.log));
        self.gap_sends
            .retain(|stream, gap| keeps(*stream, &gap.log));
        self.claims.retain(|key, _| keeps(key.stream, &key.log));
    }

    /// Records that one of our logs was offered to a recipient. Our later logs to the same target
    /// are held back until the peer has requested this log. Ignores other authors' logs.
    pub fn mark_offered(&mut self, ctx: &Context, stream: StreamId, log: &LogId) {
        if log.author == ctx.own_id() && self.lagging.len() < PROGRESS_MAX {
            let now = Some(ctx.now.time);
            self.lagging.insert(LinkLog::new(stream, log), now);
        }
    }

    /// Sends a new batch over each link on which all earlier lines of the log were sent. Over other
    /// links, the batch is sent later, from the store. The first batch of a log that we wrote is
    /// sent to its recipients without a request.
    ///
    /// `source`: the link over which the batch arrived. Returns the links whose peers have not
    /// requested this log.
    pub fn send_live(
        &mut self,
        ctx: &mut Context,
        batch: &Batch,
        source: Option<StreamId>,
    ) -> Vec<StreamId> {
        let begins_own_log = source.is_none() && batch.sequence == 1;
        let mut streams = destinations(ctx, &batch.log);
        streams.retain(|stream| Some(*stream) != source);
        if let Some(source) = source {
            self.advance_acked(&LinkLog::new(source, &batch.log), batch.last_sequence());
        }
        let mut unrequested = Vec::new();
        for stream in streams {
            let key = LinkLog::new(stream, &batch.log);
            let is_recipient = |link: &Link| link.is_recipient_of(&batch.log.target);
            if begins_own_log && ctx.links.get(&stream).is_some_and(is_recipient) {
                self.table.get_or_insert_with(key.clone(), || Progress {
                    next: 1,
                    ..Progress::default()
                });
            }
            // We do not know which lines of this log the peer lacks. Its request will name the
            // first one, and then bring this batch too.
            let Some(progress) = self.table.get_mut(&key) else {
                unrequested.push(stream);
                continue;
            };
            if progress.next == batch.sequence
                && progress.can_send()
                && is_writable(ctx, stream)
                && !has_lagging_sibling(&self.lagging, &key)
            {
                send_and_track(ctx, stream, progress, batch);
            } else {
                self.lagging.insert(key, None);
            }
        }
        unrequested
    }

    /// Records that a peer stores another author's log up to the sequence `high`. Lines up to
    /// `high` are not sent to the peer any more.
    pub fn advance_acked(&mut self, key: &LinkLog, high: u64) {
        if let Some(progress) = self.table.get_mut(key) {
            while progress.unacked.front().is_some_and(|end| end.last <= high) {
                progress.unacked.pop_front();
            }
            progress.next = progress.next.max(high + 1);
        }
    }

    /// Handles a peer's acknowledgement of a log that we wrote. The acknowledgement counts only if
    /// it names the hash of our batch. If we do not know our hash, the acknowledgement waits in
    /// `claims`.
    pub fn handle_ack(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        key: &LinkLog,
        entry: &HaveEntry,
    ) -> AckOutcome {
        let log = &key.log;
        let Some(peer) = ctx.links.get(&key.stream).map(|link| link.peer.id) else {
            return AckOutcome::Consistent;
        };
        let mut our_hash = logs.head_hash_at(log, entry.high);
        let mut was_sent = false;
        if let Some(progress) = self.table.get_mut(key) {
            was_sent = (progress.requested_from..progress.next).contains(&entry.high);
            while let Some(end) = progress.unacked.front().copied()
                && end.last <= entry.high
            {
                progress.unacked.pop_front();
                if end.last == entry.high {
                    our_hash = Some(end.hash);
                }
            }
        }
        match our_hash {
            Some(hash) if hash == entry.hash => {
                delivery.confirm(ctx, logs, peer, log, entry.high);
            }
            Some(_) => return AckOutcome::Conflict,
            // All unacknowledged batches are known, and none of them ends at this line.
            None if was_sent && entry.high > delivery.acked_up_to(&peer, log) => {
                return AckOutcome::Conflict;
            }
            // The peer stores more of our log than we do: this directory is an old copy or has a
            // clone. We fetch the peer's lines next, which shows whether ours differ.
            None if entry.high > logs.high(log) && logs.is_current(ctx, log) => {
                logs.renew_after_conflict(ctx);
            }
            None if entry.high < logs.high(log) => {
                let claim = BatchEnd {
                    last: entry.high,
                    hash: entry.hash,
                };
                self.claims.insert(key.clone(), claim);
            }
            None => {}
        }
        AckOutcome::Consistent
    }

    /// Whether this log is being sent over this link. True if the peer requested the log, or if the
    /// log began while the peer was linked.
    pub fn is_requested(&self, key: &LinkLog) -> bool {
        self.table.contains_key(key)
    }

    /// In a log that we wrote: the sequence of the first line that a linked recipient may lack. A
    /// recipient that requested the log counts as storing all lines before its request. `None`: no
    /// recipient is linked, or another author wrote the log.
    pub fn first_unacked(
        &self,
        ctx: &Context,
        delivery: &DeliveryTracker,
        log: &LogId,
    ) -> Option<u64> {
        if log.author != ctx.own_id() {
            return None;
        }
        let links = ctx.links.iter();
        let recipients = links.filter(|(_, link)| link.is_recipient_of(&log.target));
        let first_lacked = recipients.map(|(stream, link)| {
            let progress = self.table.get(&LinkLog::new(*stream, log));
            let next = delivery.acked_up_to(&link.peer.id, log) + 1;
            next.max(progress.map_or(0, |progress| progress.requested_from))
        });
        first_lacked.min()
    }

    /// Handles a `want` message. Starts or cancels the sending of logs to one target.
    pub fn handle_want(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        target: &str,
        wants: &[WantEntry],
    ) {
        let Some(target) = parse_shared_target(ctx, stream, target) else {
            return;
        };
        for want in wants.iter().take(LOGS_PER_MESSAGE_MAX) {
            let Some(log) = parse_log_id(&target, want.sender, &want.incarnation) else {
                continue;
            };
            if target.recipient().is_some() && !destinations(ctx, &log).contains(&stream) {
                continue;
            }
            let key = LinkLog { stream, log };
            match (WantRange::from_entry(want), logs.get(&key.log)) {
                (WantRange::Cancel, _) | (_, None) => {
                    self.table.remove(&key);
                    self.lagging.remove(&key);
                }
                (WantRange::Gap { from, to }, Some(range)) => {
                    self.start_gap_send(ctx, logs, stream, range, from, to);
                }
                (WantRange::From(from), Some(range)) if from < range.low => {
                    correct_offer(ctx, stream, range, range.low);
                }
                (WantRange::From(from), Some(range)) => {
                    self.start_send(key, from, logs.last_served(range));
                }
            }
        }
    }

    /// Starts sending a log over a link. `from`: sequence of the first line to send. `high`:
    /// sequence of the last line that may be sent now. Later lines follow when they are published.
    fn start_send(&mut self, key: LinkLog, from: u64, high: u64) {
        if self.table.len() >= PROGRESS_MAX && !self.table.contains_key(&key) {
            return;
        }
        let next = from.min(high + 1);
        if next <= high {
            self.lagging.insert(key.clone(), None);
        }
        let progress = Progress {
            requested_from: next,
            next,
            ..Progress::default()
        };
        self.table.insert(key, progress);
    }

    fn start_gap_send(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        range: &LogRange,
        from: u64,
        to: u64,
    ) {
        let stored = range.low..=logs.last_served(range);
        if from > to || !stored.contains(&from) || !stored.contains(&to) {
            return correct_offer(ctx, stream, range, range.low);
        }
        let gap = GapSend {
            log: range.log.clone(),
            to,
            progress: Progress {
                next: from,
                ..Progress::default()
            },
        };
        self.gap_sends.insert(stream, gap);
    }

    /// Sends batches that the store read for a link. First checks the acknowledgement that waits in
    /// `claims`, if any. If it conflicts with our lines, returns the acknowledged sequence.
    pub fn handle_loaded(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        reply: &LoadReply,
    ) -> Option<u64> {
        if self.send_loaded_gap(ctx, logs, stream, reply) {
            return None;
        }
        let key = LinkLog::new(stream, &reply.log);
        let progress = self.table.get_mut(&key)?;
        if progress.loading_from != Some(reply.from) {
            return None;
        }
        progress.loading_from = None;
        // A blocked link takes no batches now. They are dropped and read again later, so that
        // none wait in memory.
        let link = ctx.links.get(&stream).filter(|link| !link.is_blocked);
        let peer = link?.peer.id;
        let Some(first) = reply.batches.first() else {
            self.lagging.remove(&key);
            return None;
        };
        if first.sequence > progress.next {
            self.table.remove(&key);
            if let Some(range) = logs.get(&key.log) {
                correct_offer(ctx, stream, range, first.sequence);
                self.mark_offered(ctx, stream, &key.log);
            }
            return None;
        }
        if let Some(claim) = self.claims.remove(&key)
            && progress.next == claim.last + 1
        {
            // The batch after the claimed line may not be the first one read, because the peer
            // may have received lines from others meanwhile.
            let mut batches = reply.batches.iter();
            let behind = batches.find(|batch| batch.last_sequence() > claim.last);
            if let Some(behind) = behind {
                if behind.sequence <= claim.last || behind.previous != Some(claim.hash) {
                    self.table.remove(&key);
                    return Some(claim.last);
                }
                delivery.confirm(ctx, logs, peer, &key.log, claim.last);
            }
        }
        progress.position = reply.next_position;
        let high = logs
            .get(&key.log)
            .map_or(0, |range| logs.last_served(range));
        for batch in &reply.batches {
            if batch.last_sequence() >= progress.next && batch.last_sequence() <= high {
                send_and_track(ctx, stream, progress, batch);
            }
        }
        None
    }

    /// Sends batches that the store read for a gap. Returns `false` if they were not read for this
    /// link's gap.
    fn send_loaded_gap(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        reply: &LoadReply,
    ) -> bool {
        let LoadReply { log, from, .. } = reply;
        let gap = self.gap_sends.get_mut(&stream);
        let Some(gap) =
            gap.filter(|gap| gap.log == *log && gap.progress.loading_from == Some(*from))
        else {
            return false;
        };
        let progress = &mut gap.progress;
        progress.loading_from = None;
        if !is_writable(ctx, stream) {
            return true;
        }
        progress.position = reply.next_position;
        let high = logs.get(log).map_or(0, |range| logs.last_served(range));
        let last = high.min(gap.to);
        for batch in &reply.batches {
            if batch.sequence <= progress.next && batch.last_sequence() <= last {
                ctx.send_batch(stream, batch);
                progress.next = batch.last_sequence() + 1;
            }
        }
        let has_progressed = progress.next > *from;
        if progress.next > last || !has_progressed {
            self.gap_sends.remove(&stream);
        }
        true
    }

    /// Reads the next lines to send from the store, for each link that accepts more. Of one
    /// author's logs to one target, reads only the log with the oldest head.
    pub fn load_lagging(&mut self, ctx: &mut Context, logs: &Logs) {
        self.remove_caught_up(ctx, logs);
        for (stream, log) in self.first_lagging_logs(logs) {
            let Some(progress) = self.table.get_mut(&LinkLog::new(stream, log)) else {
                continue;
            };
            if is_writable(ctx, stream) && progress.can_send() {
                load_next(ctx, stream, log, progress);
            }
        }
        for (stream, gap) in self.gap_sends.iter_mut() {
            if is_writable(ctx, *stream) && gap.progress.loading_from.is_none() {
                load_next(ctx, *stream, &gap.log, &mut gap.progress);
            }
        }
    }

    /// Removes from `lagging` the logs that were sent completely. Also removes the offered logs
    /// that the peer did not request in time.
    fn remove_caught_up(&mut self, ctx: &Context, logs: &Logs) {
        self.lagging.retain(|key, offered_at| {
            let Some(range) = logs.get(&key.log) else {
                return false;
            };
            if let Some(progress) = self.table.get(key) {
                return progress.next <= logs.last_served(range);
            }
            let link = ctx.links.get(&key.stream).zip(*offered_at);
            link.is_some_and(|(link, at)| link.last_activity < at + OFFER_TIMEOUT_MS)
        });
    }

    /// For each link, author and target: the log with the oldest head among those in `lagging`.
    fn first_lagging_logs<'a>(&self, logs: &'a Logs) -> Vec<(StreamId, &'a LogId)> {
        let mut firsts: Vec<(StreamId, &LogRange)> = Vec::new();
        for LinkLog { stream, log } in self.lagging.keys() {
            let Some(range) = logs.get(log) else {
                continue;
            };
            match firsts.last_mut() {
                Some((of, first)) if of == stream && is_sibling(&first.log, log) => {
                    if range.lamport < first.lamport {
                        *first = range;
                    }
                }
                _ => firsts.push((*stream, range)),
            }
        }
        let firsts = firsts.into_iter();
        firsts.map(|(stream, range)| (stream, &range.log)).collect()
    }
}

impl Progress {
    /// Whether no read is under way and the window of unacknowledged batches is not full.
    fn can_send(&self) -> bool {
        self.loading_from.is_none() && self.unacked.len() < UNACKED_BATCHES_MAX
    }
}

fn is_writable(ctx: &Context, stream: StreamId) -> bool {
    ctx.links.get(&stream).is_some_and(|link| !link.is_blocked)
}

/// Whether another log of the same author to the same target still has lines to send over this
/// link. That log may have to be sent first.
fn has_lagging_sibling(lagging: &SortedMap<LinkLog, Option<Time>>, key: &LinkLog) -> bool {
    if lagging.is_empty() {
        return false;
    }
    let first = LinkLog {
        stream: key.stream,
        log: LogId {
            incarnation: 0,
            ..key.log.clone()
        },
    };
    let rest = lagging.iter_from(&first).map(|(other, _)| other);
    let is_near = |other: &&LinkLog| other.stream == key.stream && is_sibling(&other.log, &key.log);
    rest.take_while(is_near).any(|other| other.log != key.log)
}

/// Whether both logs have the same author and target.
fn is_sibling(a: &LogId, b: &LogId) -> bool {
    a.author == b.author && a.target == b.target
}

fn send_and_track(ctx: &mut Context, stream: StreamId, progress: &mut Progress, batch: &Batch) {
    ctx.send_batch(stream, batch);
    progress.next = batch.last_sequence() + 1;
    progress.unacked.push_back(BatchEnd {
        last: batch.last_sequence(),
        hash: batch.hash,
    });
}

fn load_next(ctx: &mut Context, stream: StreamId, log: &LogId, progress: &mut Progress) {
    progress.loading_from = Some(progress.next);
    ctx.emit(Output::Load(LoadRequest {
        purpose: LoadPurpose::Send(stream),
        log: log.clone(),
        from: progress.next,
        position: progress.position,
        budget_bytes: LOAD_BUDGET_BYTES,
    }));
}
