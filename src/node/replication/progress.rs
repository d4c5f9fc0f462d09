//! How far each log has been sent over each link.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::{LoadPurpose, LoadReply, LoadRequest, Notice, Output, Position, StreamId};
use crate::base::identity::Hash;
use crate::base::name::Target;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::carriers::recipients;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::logs::Logs;
use crate::wire::message::{
    Have, HaveEntry, LOGS_PER_MESSAGE_MAX, Message, WantEntry, format_incarnation, parse_log_id,
};

/// Batches that may be under way on one link of one log without a receipt.
const UNACKED_BATCHES_MAX: usize = 1024;
/// Most cursors over all links.
const PROGRESS_MAX: usize = 65_536;
/// What is read from the store at a time for a link that lags, in bytes.
pub const LOAD_BUDGET_BYTES: usize = 64 * 1024;
/// Milliseconds after which a peer that was offered a log of ours, and lives, is not about to ask for it any more.
const OFFER_TIMEOUT_MS: u64 = 5_000;

/// How far a log has been sent over one link.
#[derive(Default)]
struct Progress {
    /// The line asked for first.
    requested_from: u64,
    /// The line to be sent next.
    next: u64,
    position: Option<Position>,
    /// From which line on the store is reading; what it read for an earlier wish is no answer.
    loading_from: Option<u64>,
    /// What has been sent and not been receipted: each batch's last line and hash.
    unacked: VecDeque<(u64, Hash)>,
}

/// Lines that are missing elsewhere, from the cursor up to `to`.
struct GapSend {
    log: LogId,
    to: u64,
    progress: Progress,
}

#[derive(Default)]
pub struct SendProgress {
    table: SortedMap<(StreamId, LogId), Progress>,
    /// Logs of which something is still to be sent. Without a cursor: an own one that was offered then, of which the peer has yet to say what it lacks.
    /// Of one author's logs to one target each link gets the one that ends first, whole, before the next: a reader is shown them in this order.
    lagging: SortedMap<(StreamId, LogId), Option<Time>>,
    /// Missing lines that were asked for, of one log at a time over each link.
    gap_sends: SortedMap<StreamId, GapSend>,
    /// What a peer says to hold of an own log below our head: to be compared with what the store has there.
    claims: SortedMap<(StreamId, LogId), (u64, Hash)>,
}

impl SendProgress {
    pub fn retain(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.table.retain(|key, _| which(key));
        self.lagging.retain(|key, _| which(key));
        self.gap_sends
            .retain(|stream, fill| which(&(*stream, fill.log.clone())));
        self.claims.retain(|key, _| which(key));
    }

    /// A log is offered to a peer for whom it is. One of ours: what is said in a later one waits until the peer has asked for what it lacks of this one.
    pub fn mark_offered(&mut self, ctx: &Context, stream: StreamId, log: &LogId) {
        if log.author == ctx.own_id() && self.lagging.len() < PROGRESS_MAX {
            let now = Some(ctx.now.time);
            self.lagging.insert((stream, log.clone()), now);
        }
    }

    /// A log grew by this batch: it goes to all that stand at the head; the others find it in the store.
    /// One of our own that begins goes to every member, unasked. `from`: the link over which it came.
    /// Gives those that are to have it and have not asked for this log.
    pub fn send_live(
        &mut self,
        ctx: &mut Context,
        batch: &Batch,
        from: Option<StreamId>,
    ) -> Vec<StreamId> {
        let begins = from.is_none() && batch.sequence == 1;
        let mut streams = recipients(ctx, &batch.log);
        streams.retain(|stream| Some(*stream) != from);
        if let Some(from) = from {
            self.advance_acked(from, &batch.log, batch.last_sequence());
        }
        let mut strangers = Vec::new();
        for stream in streams {
            let key = (stream, batch.log.clone());
            let shares = |link: &Link| link.is_recipient_of(&batch.log.target);
            if begins && ctx.links.get(&stream).is_some_and(shares) {
                self.table.get_or_insert_with(key.clone(), || Progress {
                    next: 1,
                    ..Progress::default()
                });
            }
            // Without a cursor the peer has not said yet where to begin: it will, and finds this line in the store.
            let Some(cursor) = self.table.get_mut(&key) else {
                strangers.push(stream);
                continue;
            };
            let clogged = ctx.links.get(&stream).is_none_or(|link| link.is_blocked);
            if cursor.next == batch.sequence
                && cursor.loading_from.is_none()
                && !clogged
                && cursor.unacked.len() < UNACKED_BATCHES_MAX
                && !has_lagging_sibling(&self.lagging, &key)
            {
                send_and_track(ctx, stream, cursor, batch);
            } else {
                self.lagging.insert(key, None);
            }
        }
        strangers
    }

    /// A peer says how far it holds somebody else's log, which it gets from us.
    pub fn advance_acked(&mut self, stream: StreamId, log: &LogId, high: u64) {
        if let Some(cursor) = self.table.get_mut(&(stream, log.clone())) {
            while cursor
                .unacked
                .front()
                .is_some_and(|(last, _)| *last <= high)
            {
                cursor.unacked.pop_front();
            }
            cursor.next = cursor.next.max(high + 1);
        }
    }

    /// A peer says how far it holds one of our logs: a receipt, if what it holds is ours. `true`: it is not.
    #[allow(clippy::too_many_arguments)]
    pub fn handle_ack(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        receipts: &mut DeliveryTracker,
        stream: StreamId,
        log: &LogId,
        entry: &HaveEntry,
    ) -> bool {
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return false;
        };
        let current = logs.is_current(ctx, log);
        let head = logs.get(log).map_or(0, |range| range.high);
        let mut ours = logs.head_hash_at(log, entry.high);
        let mut sent = false;
        if let Some(cursor) = self.table.get_mut(&(stream, log.clone())) {
            sent = (cursor.requested_from..cursor.next).contains(&entry.high);
            while let Some((last, hash)) = cursor.unacked.front().copied()
                && last <= entry.high
            {
                cursor.unacked.pop_front();
                if last == entry.high {
                    ours = Some(hash);
                }
            }
        }
        match ours {
            Some(hash) if hash == entry.hash => receipts.confirm(ctx, logs, peer, log, entry.high),
            Some(_) => return true,
            // What was sent is known until it is receipted: within it, no batch of ours ends there.
            None if sent && entry.high > receipts.acked_up_to(&peer, log) => return true,
            // Above our head: this directory is an old copy, or has a twin. What was said there tells whether ours is something else.
            None if entry.high > head && current => renew_after_conflict(ctx, logs),
            None if entry.high < head => {
                let claim = (entry.high, entry.hash);
                self.claims.insert((stream, log.clone()), claim);
            }
            None => {}
        }
        false
    }

    /// The peer asked for this log.
    pub fn is_requested(&self, key: &(StreamId, LogId)) -> bool {
        self.table.contains_key(key)
    }

    /// The first line of an own log that some linked peer for whom it is may still lack; `None`: nobody lacks any.
    /// What a peer did not ask for it does not lack.
    pub fn first_unacked(
        &self,
        ctx: &Context,
        receipts: &DeliveryTracker,
        log: &LogId,
    ) -> Option<u64> {
        if log.author != ctx.own_id() {
            return None;
        }
        let links = ctx.links.iter();
        let members = links.filter(|(_, link)| link.is_recipient_of(&log.target));
        let lacked = members.map(|(stream, link)| {
            let cursor = self.table.get(&(*stream, log.clone()));
            let held = receipts.acked_up_to(&link.peer.id, log) + 1;
            held.max(cursor.map_or(0, |cursor| cursor.requested_from))
        });
        lacked.min()
    }

    /// The peer asks for a log, from a line on; what comes later follows by itself. From 0: it asks no more.
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
            if target.recipient().is_some() && !recipients(ctx, &log).contains(&stream) {
                continue;
            }
            let key = (stream, log);
            let Some(range) = logs.get(&key.1).filter(|_| want.from > 0) else {
                self.table.remove(&key);
                self.lagging.remove(&key);
                continue;
            };
            if want.to > 0 {
                let lines = want.from..=want.to;
                let held = range.low..=logs.last_served(range);
                if lines.is_empty() || !held.contains(&want.from) || !held.contains(&want.to) {
                    correct_offer(ctx, logs, stream, range, range.low);
                } else {
                    let fill = GapSend {
                        log: key.1,
                        to: want.to,
                        progress: Progress {
                            next: want.from,
                            ..Progress::default()
                        },
                    };
                    self.gap_sends.insert(stream, fill);
                }
                continue;
            }
            if want.from < range.low {
                correct_offer(ctx, logs, stream, range, range.low);
                continue;
            }
            let high = logs.last_served(range);
            let next = want.from.min(high + 1);
            if self.table.len() >= PROGRESS_MAX && !self.table.contains_key(&key) {
                continue;
            }
            if next <= high {
                self.lagging.insert(key.clone(), None);
            }
            self.table.insert(
                key,
                Progress {
                    requested_from: next,
                    next,
                    ..Progress::default()
                },
            );
        }
    }

    /// What the store read for a link that lags. Gives the last line that the peer holds, if that is another than ours.
    pub fn handle_loaded(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        receipts: &mut DeliveryTracker,
        stream: StreamId,
        reply: &LoadReply,
    ) -> Option<u64> {
        if self.handle_gap_loaded(ctx, logs, stream, reply) {
            return None;
        }
        let key = (stream, reply.log.clone());
        let batches = &reply.batches;
        let cursor = self.table.get_mut(&key)?;
        if cursor.loading_from != Some(reply.from) {
            return None;
        }
        cursor.loading_from = None;
        // Batches do not wait in memory: what a clogged link cannot take is read again.
        let link = ctx.links.get(&key.0).filter(|link| !link.is_blocked);
        let peer = link?.peer.id;
        let Some(first) = batches.first() else {
            self.lagging.remove(&key);
            return None;
        };
        if first.sequence > cursor.next {
            self.table.remove(&key);
            if let Some(range) = logs.get(&key.1) {
                correct_offer(ctx, logs, key.0, range, first.sequence);
                self.mark_offered(ctx, key.0, &key.1);
            }
            return None;
        }
        if let Some((last, hash)) = self.claims.remove(&key)
            && cursor.next == last + 1
        {
            // The line that follows it may not be the first that was read: others brought some meanwhile.
            let next = batches.iter().find(|batch| batch.last_sequence() > last);
            if next.is_some_and(|next| next.sequence <= last || next.previous != Some(hash)) {
                self.table.remove(&key);
                return Some(last);
            }
            if next.is_some() {
                receipts.confirm(ctx, logs, peer, &key.1, last);
            }
        }
        cursor.position = reply.next_position;
        let high = logs.get(&key.1).map_or(0, |range| logs.last_served(range));
        for batch in batches {
            if batch.last_sequence() >= cursor.next && batch.last_sequence() <= high {
                send_and_track(ctx, key.0, cursor, batch);
            }
        }
        None
    }

    /// What the store read for missing lines that were asked for, if it is that.
    fn handle_gap_loaded(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        reply: &LoadReply,
    ) -> bool {
        let LoadReply { log, from, .. } = reply;
        let fill = self.gap_sends.get_mut(&stream);
        let read =
            |fill: &&mut GapSend| fill.log == *log && fill.progress.loading_from == Some(*from);
        let Some(GapSend {
            to,
            progress: cursor,
            ..
        }) = fill.filter(read)
        else {
            return false;
        };
        cursor.loading_from = None;
        if ctx.links.get(&stream).is_none_or(|link| link.is_blocked) {
            return true;
        }
        cursor.position = reply.next_position;
        let last = logs
            .get(log)
            .map_or(0, |range| logs.last_served(range))
            .min(*to);
        for batch in &reply.batches {
            if batch.sequence <= cursor.next && batch.last_sequence() <= last {
                ctx.send_batch(stream, batch);
                cursor.next = batch.last_sequence() + 1;
            }
        }
        // That was all, or the store has no more of it.
        if cursor.next > last || cursor.next == *from {
            self.gap_sends.remove(&stream);
        }
        true
    }

    /// Links that lag and can take more get more, of each author and target from the log that ends first.
    pub fn load_lagging(&mut self, ctx: &mut Context, logs: &Logs) {
        self.lagging.retain(|key, offered| {
            let Some(range) = logs.get(&key.1) else {
                return false;
            };
            if let Some(cursor) = self.table.get(key) {
                return cursor.next <= logs.last_served(range);
            }
            let link = ctx.links.get(&key.0).zip(*offered);
            link.is_some_and(|(link, offered)| link.last_activity < offered + OFFER_TIMEOUT_MS)
        });
        let mut firsts: Vec<(StreamId, &LogRange)> = Vec::new();
        for ((stream, log), _) in self.lagging.iter() {
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
        for (stream, LogRange { log, .. }) in firsts {
            let Some(cursor) = self.table.get_mut(&(stream, log.clone())) else {
                continue;
            };
            let clogged = ctx.links.get(&stream).is_none_or(|link| link.is_blocked);
            if !clogged
                && cursor.loading_from.is_none()
                && cursor.unacked.len() < UNACKED_BATCHES_MAX
            {
                load_next(ctx, stream, log, cursor);
            }
        }
        for (stream, fill) in self.gap_sends.iter_mut() {
            let clogged = ctx.links.get(stream).is_none_or(|link| link.is_blocked);
            if !clogged && fill.progress.loading_from.is_none() {
                load_next(ctx, *stream, &fill.log, &mut fill.progress);
            }
        }
    }
}

/// Another log of this author may have to go over this link before.
fn has_lagging_sibling(
    lagging: &SortedMap<(StreamId, LogId), Option<Time>>,
    key: &(StreamId, LogId),
) -> bool {
    if lagging.is_empty() {
        return false;
    }
    let (stream, log) = key;
    let first = LogId {
        incarnation: 0,
        ..log.clone()
    };
    let rest = lagging.iter_from(&(*stream, first));
    let mut same = rest.take_while(|((of, other), _)| of == stream && is_sibling(other, log));
    same.any(|((_, other), _)| other != log)
}

/// Of one author, to one target.
fn is_sibling(a: &LogId, b: &LogId) -> bool {
    a.author == b.author && a.target == b.target
}

fn send_and_track(ctx: &mut Context, stream: StreamId, cursor: &mut Progress, batch: &Batch) {
    ctx.send_batch(stream, batch);
    cursor.next = batch.last_sequence() + 1;
    cursor
        .unacked
        .push_back((batch.last_sequence(), batch.hash));
}

/// What is held of a log, as it is said to a peer. `start`: the first line of this run, of an own log.
pub fn have_entry(range: &LogRange, start: u64) -> HaveEntry {
    HaveEntry {
        sender: range.log.author,
        incarnation: format_incarnation(range.log.incarnation),
        low: range.low,
        high: range.high,
        hash: range.hash,
        start,
        age: 0,
        read: 0,
        holder: None,
        signature: None,
    }
}

/// The store has not all that was asked for: the peer is to ask for what there is, and knows what is missing.
fn correct_offer(ctx: &mut Context, logs: &Logs, stream: StreamId, range: &LogRange, low: u64) {
    let held = HaveEntry {
        low,
        ..have_entry(range, logs.run_start(&range.log).unwrap_or(0))
    };
    send_have(ctx, stream, &range.log.target, vec![held], None, false);
}

/// What is held of a room is said. `digest`, `before`: as in [`Have`].
pub fn send_have(
    ctx: &mut Context,
    stream: StreamId,
    target: &Target,
    logs: Vec<HaveEntry>,
    digest: Option<String>,
    before: bool,
) {
    let have = Have {
        target: target.to_string(),
        logs,
        digest,
        before,
    };
    ctx.send(stream, &Message::Have(have));
}

/// The target, if it is a reader, or a room that is shared with this link.
pub fn parse_shared_target(ctx: &Context, stream: StreamId, target: &str) -> Option<Target> {
    let target = Target::parse(target)?;
    let link = ctx.links.get(&stream)?;
    (target.recipient().is_some() || link.is_recipient_of(&target)).then_some(target)
}

/// Others hold something else under our numbers: go on under new ones.
pub fn renew_after_conflict(ctx: &mut Context, logs: &mut Logs) {
    logs.renew_incarnation(ctx);
    let content = "a peer holds other lines under the own numbers: this directory is an old copy, or used twice; going on under new numbers".to_owned();
    ctx.notify(Notice::Error {
        code: ErrorCode::Incarnation,
        content,
    });
}

fn load_next(ctx: &mut Context, stream: StreamId, log: &LogId, cursor: &mut Progress) {
    cursor.loading_from = Some(cursor.next);
    ctx.emit(Output::Load(LoadRequest {
        purpose: LoadPurpose::Send(stream),
        log: log.clone(),
        from: cursor.next,
        position: cursor.position,
        budget_bytes: LOAD_BUDGET_BYTES,
    }));
}
