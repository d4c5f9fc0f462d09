//! How lines travel: what is held is said, what is lacked comes in, and both are passed on. From whom a log comes is in `sources`, what has
//! been sent to whom in `cursors`.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::{Batch, LocalFields, LogId, MAX_SAFE_INTEGER};
use crate::base::error_code::ErrorCode;
use crate::base::event::{Chat, LoadPurpose, LoadReply, LoadRequest, Notice, Output, StreamId};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{Room, Target};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::acks::{Acks, third_party_digest, third_party_ranges};
use crate::node::replication::carriers::{can_receive_over, needs_carriers, recipients};
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::fetch::Fetcher;
use crate::node::replication::fork_repair;
use crate::node::replication::fork_repair::ForkRepair;
use crate::node::replication::gaps::Gaps;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::{
    LOAD_BUDGET_BYTES, SendProgress, have_entry, parse_shared_target, renew_after_conflict,
    send_have,
};
use crate::wire::message::{Have, HaveEntry, LOGS_PER_MESSAGE_MAX, parse_log_id};

/// Milliseconds after which a store that failed is tried again.
const STORE_RETRY_MS: u64 = 5_000;

#[derive(Default)]
pub struct Replication {
    pub(super) progress: SendProgress,
    pub(super) fetcher: Fetcher,
    pub(super) acks: Acks,
    pub(super) fork_repair: ForkRepair,
    pub(super) gaps: Gaps,
    /// Lines that the store refused, to be said when it takes them.
    pub(super) unpublished: VecDeque<(Target, Lines, bool)>,
    /// The store failed; when to try again.
    pub(super) store_retry_at: Option<Time>,
    /// When it last failed.
    pub(super) store_failed_at: Option<Time>,
}

impl Replication {
    /// How far our logs have been sent.
    pub fn progress_mut(&mut self) -> &mut SendProgress {
        &mut self.progress
    }

    /// See [`Cursors::floor`].
    pub fn first_unacked(
        &self,
        ctx: &Context,
        receipts: &DeliveryTracker,
        log: &LogId,
    ) -> Option<u64> {
        self.progress.first_unacked(ctx, receipts, log)
    }

    /// More may be said. Otherwise what is said now waits in memory.
    pub fn can_accept(&self) -> bool {
        self.store_retry_at.is_none()
    }

    /// Hands batches that the store read to the part that requested them.
    pub fn handle_loaded(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        receipts: &mut DeliveryTracker,
        reply: LoadReply,
    ) {
        match reply.purpose {
            LoadPurpose::Send(stream) => {
                let forked = self
                    .progress
                    .handle_loaded(ctx, logs, receipts, stream, &reply);
                if let Some(last) = forked {
                    self.repair_fork(ctx, logs, &(stream, reply.log), (1, last));
                }
            }
            LoadPurpose::Compare => {
                let fork = self.fork_repair.handle_our_batch(ctx, &reply);
                if let Some(line) = fork {
                    fork_repair::start_republish(ctx, logs, receipts, &reply.log, line);
                }
            }
            LoadPurpose::Republish => self.republish(ctx, logs, reply),
        }
    }

    /// Publishes lines of a forked own log again, in the incarnation that belongs to the fork.
    fn republish(&mut self, ctx: &mut Context, logs: &mut Logs, reply: LoadReply) {
        let LoadReply { log, from, .. } = reply;
        let Some(last) = reply.batches.last().filter(|_| logs.get(&log).is_some()) else {
            return;
        };
        // Lines never wait in memory: when the store fails, they are read again after it recovers.
        let next = fork_repair::next_republish(logs, &log);
        let Some((again, _)) = next.filter(|next| next.1 == from && self.can_accept()) else {
            return;
        };
        let current = logs.replace_incarnation(again.incarnation);
        for batch in &reply.batches {
            let lines = remaining_lines(batch, from.saturating_sub(batch.sequence));
            self.publish(ctx, logs, &log.target, lines, batch.action);
        }
        logs.replace_incarnation(current);
        ctx.emit(Output::Load(LoadRequest {
            purpose: LoadPurpose::Republish,
            log,
            from: last.last_sequence() + 1,
            position: reply.next_position,
            budget_bytes: LOAD_BUDGET_BYTES,
        }));
    }

    /// A peer holds something else than we do under numbers of ours, from `low` to `high`: go on under new ones, and find where it begins.
    fn repair_fork(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        key: &(StreamId, LogId),
        held: (u64, u64),
    ) {
        if logs.is_current(ctx, &key.1) {
            renew_after_conflict(ctx, logs);
        }
        self.fork_repair.bisect(ctx, logs, key, held);
    }

    pub fn publish(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        target: &Target,
        mut lines: Lines,
        action: bool,
    ) {
        if self.store_retry_at.is_some() {
            return self.unpublished.push_back((target.clone(), lines, action));
        }
        while !lines.is_empty() {
            let part = lines.take_batch();
            let Some(batch) = logs.append(ctx, target, action, &part) else {
                let content = format!("{target} is no key that a message could be sealed for");
                let code = ErrorCode::Target;
                return ctx.notify(Notice::Error { code, content });
            };
            let local = LocalFields {
                received: ctx.now.wall,
                ..LocalFields::default()
            };
            ctx.emit(Output::Save {
                batch: batch.clone(),
                local,
            });
            ctx.notify(Notice::Chat(Chat {
                batch: batch.clone(),
                local,
                is_own: true,
                since_start: true,
            }));
            let strangers = self.progress.send_live(ctx, &batch, None);
            self.offer_to_unrequested(ctx, &strangers, &batch.log);
        }
    }

    /// A link stands: its peer is told what there is for it alone, and what is held of what it said to us alone.
    pub fn link_up(&mut self, ctx: &Context, logs: &Logs, stream: StreamId) {
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let ours = logs.ranges_to(Target::Peer(ctx.own_id()));
        let ours = ours.filter(|range| range.log.author == peer);
        for range in logs.ranges_to(Target::Peer(peer)).chain(ours) {
            self.acks.schedule_immediate_offer(stream, &range.log);
            self.progress.mark_offered(ctx, stream, &range.log);
        }
    }

    /// Links came or went: what readers who are not linked lack of our own is offered to those who are to carry it now.
    pub fn offer_to_carriers(&mut self, ctx: &Context, logs: &Logs, receipts: &DeliveryTracker) {
        let own = logs
            .direct_ranges()
            .filter(|range| range.log.author == ctx.own_id());
        for range in own.filter(|range| needs_carriers(ctx, receipts, range)) {
            for stream in recipients(ctx, &range.log) {
                let key = (stream, range.log.clone());
                if !self.progress.is_requested(&key) {
                    self.acks.schedule_immediate_offer(stream, &range.log);
                }
            }
        }
    }

    /// What was said to us alone was shown.
    pub fn mark_read(&mut self, ctx: &Context, logs: &Logs, log: LogId, sequence: u64) {
        let ours = log.target.recipient() == Some(ctx.own_id());
        if ours && logs.get(&log).is_some_and(|range| sequence <= range.high) {
            self.acks.mark_read(ctx, log, sequence);
        }
    }

    /// A room is shared with this link from now on: say what there is.
    pub fn room_shared(&mut self, ctx: &mut Context, logs: &Logs, stream: StreamId, room: &Room) {
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let both = logs
            .ranges_of_room(room)
            .filter(|range| range.log.author == ctx.own_id() || range.log.author == peer)
            .filter(|range| logs.last_served(range) >= range.low);
        let held: Vec<HaveEntry> = both
            .inspect(|range| self.progress.mark_offered(ctx, stream, &range.log))
            .map(|range| HaveEntry {
                high: logs.last_served(range),
                ..have_entry(range, logs.run_start(&range.log).unwrap_or(0))
            })
            .collect();
        let target = Target::Room(room.clone());
        // One that is nobody's brings to light who holds what is missing here.
        let digest = Some(match logs.has_gaps(&target) {
            true => String::new(),
            false => third_party_digest(ctx, logs, room, &peer),
        });
        let mut parts = held.chunks(LOGS_PER_MESSAGE_MAX);
        let first = parts.next().unwrap_or_default().to_vec();
        send_have(ctx, stream, &target, first, digest, true);
        for part in parts {
            send_have(ctx, stream, &target, part.to_vec(), None, true);
        }
    }

    pub fn room_unshared(&mut self, stream: StreamId, room: &Room) {
        let other = |key: &(StreamId, LogId)| key.0 != stream || key.1.target.room() != Some(room);
        self.retain(&other);
    }

    /// What the store refused, and was to be said here, cannot be said any more.
    pub fn room_left(&mut self, ctx: &mut Context, room: &Room) {
        let before = self.unpublished.len();
        self.unpublished
            .retain(|(other, ..)| other.room() != Some(room));
        if self.unpublished.len() < before {
            let content = format!("left {room}: lines that could not be stored are lost");
            ctx.notify(Notice::Error {
                code: ErrorCode::Store,
                content,
            });
        }
    }

    pub fn link_down(&mut self, stream: StreamId) {
        self.retain(&|key| key.0 != stream);
    }

    fn retain(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.progress.retain(which);
        self.fetcher.retain(which);
        self.acks.retain(which);
        self.fork_repair.retain(which);
        self.gaps.retain(which);
    }

    /// What the peer holds: of our logs it is a receipt, of others' an offer.
    pub fn handle_have(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        rooms: &Rooms,
        receipts: &mut DeliveryTracker,
        stream: StreamId,
        have: Have,
    ) {
        let Some(target) = parse_shared_target(ctx, stream, &have.target) else {
            return;
        };
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        if let Some(room) = target.room() {
            let theirs = have.digest.as_ref();
            if theirs.is_some_and(|theirs| *theirs != third_party_digest(ctx, logs, room, &peer)) {
                // At once the first time; one that goes on asking is told no more often than others.
                let link = ctx.links.get_mut(&stream);
                let first = link.is_some_and(|link| link.digest_answered.insert(room.clone()));
                for range in third_party_ranges(ctx, logs, room, &peer) {
                    match first {
                        true => self.acks.schedule_immediate_offer(stream, &range.log),
                        false => self.acks.schedule_offer((stream, range.log.clone())),
                    }
                }
            }
            self.fetcher
                .news_mut()
                .record_contact(room, peer, Some(stream), ctx.now.time);
        } else if have.digest.is_some() && target.recipient() == Some(peer) {
            // It misses something that was said to it.
            for range in logs.ranges_to(target.clone()) {
                self.acks.schedule_offer((stream, range.log.clone()));
            }
        }
        // Of what others say to each other alone, we take only what its author gives us to carry.
        let ours = target
            .recipient()
            .is_none_or(|reader| reader == ctx.own_id());
        let sound = |held: &&HaveEntry| {
            held.low <= held.high && held.high <= MAX_SAFE_INTEGER && held.start <= MAX_SAFE_INTEGER
        };
        for entry in have.logs.iter().take(LOGS_PER_MESSAGE_MAX).filter(sound) {
            let Some(log) = parse_log_id(&target, entry.sender, &entry.incarnation) else {
                continue;
            };
            let own = entry.sender == ctx.own_id();
            if ours && entry.holder.is_none() && !logs.is_current(ctx, &log) {
                let key = (stream, log.clone());
                self.gaps.handle_offer(logs, key, entry);
            }
            if own && target.recipient() == Some(peer) && entry.read > 0 {
                receipts.mark_read_by(ctx, logs, peer, &log, entry.read);
            }
            if let Some(holder) = entry.holder {
                match own {
                    true => receipts.handle_forwarded_receipt(ctx, logs, holder, &log, entry),
                    false => self.forward_receipt(ctx, logs, stream, log, entry),
                }
                continue;
            }
            if own && (logs.is_current(ctx, &log) || covers_entry(logs, &log, entry)) {
                let key = (stream, log.clone());
                let theirs = self
                    .progress
                    .handle_ack(ctx, logs, receipts, stream, &log, entry);
                if theirs {
                    self.repair_fork(ctx, logs, &key, (entry.low, entry.high));
                }
            } else if entry.sender == peer {
                let link = ctx.links.get(&stream);
                if link.is_some_and(|link| can_receive_over(ctx, logs, receipts, link, &log)) {
                    self.request_reader_ack(ctx, &log);
                    self.fetcher.handle_author_offer(
                        ctx,
                        logs,
                        rooms,
                        stream,
                        log,
                        entry,
                        have.before,
                    );
                }
                continue;
            } else {
                self.progress.advance_acked(stream, &log, entry.high);
                if target.recipient().is_some() && covers_entry(logs, &log, entry) {
                    match ours {
                        true => self.acks.schedule_ack((stream, log.clone())),
                        false => receipts.confirm(ctx, logs, peer, &log, entry.high),
                    }
                }
                if entry.signature.is_some() {
                    let holder = Some(peer);
                    let entry = HaveEntry {
                        holder,
                        ..entry.clone()
                    };
                    self.forward_receipt(ctx, logs, stream, log.clone(), &entry);
                }
            }
            let key = (stream, log);
            if own && self.fork_repair.has_bisection(&key) {
                let held = (entry.low, entry.high);
                self.fork_repair.bisect(ctx, logs, &key, held);
            }
            let (_, log) = key;
            // What others hold of our own lines and we do not, the disk has lost: it comes back.
            if ours && !logs.is_current(ctx, &log) {
                self.fetcher
                    .handle_offer(ctx, logs, stream, log, entry, have.before);
            }
        }
        self.select_sources(ctx, logs, rooms);
    }

    /// The author of what we carry is there: its reader may have got it while it was away, and is to say so again.
    pub(super) fn request_reader_ack(&mut self, ctx: &Context, log: &LogId) {
        let reader = log.target.recipient();
        if let Some(stream) = reader.and_then(|reader| ctx.stream_by_peer.get(&reader)) {
            self.acks.schedule_immediate_offer(*stream, log);
        }
    }

    /// A receipt goes on to its author, or towards it; only the last of many, when the holder has what we have.
    fn forward_receipt(
        &self,
        ctx: &mut Context,
        logs: &Logs,
        from: StreamId,
        log: LogId,
        entry: &HaveEntry,
    ) {
        let author = ctx.stream_by_peer.get(&log.author).copied();
        let towards = author.or_else(|| self.fetcher.upstream(ctx, &log));
        if let Some(towards) = towards.filter(|towards| *towards != from)
            && logs.head_hash_at(&log, entry.high) == Some(entry.hash)
        {
            send_have(ctx, towards, &log.target, vec![entry.clone()], None, false);
        }
    }

    /// Asks others for what a link that ended was to bring.
    pub fn select_sources(&mut self, ctx: &mut Context, logs: &Logs, rooms: &Rooms) {
        self.fetcher
            .select_sources(ctx, logs, rooms, self.store_retry_at.is_some());
    }

    /// Its author is not linked any more: who was linked with it may lack what came last.
    pub fn author_unlinked(&mut self, ctx: &Context, logs: &Logs, author: &PeerId, rooms: &[Room]) {
        for room in rooms {
            for range in logs
                .ranges_of_room(room)
                .filter(|range| range.log.author == *author)
            {
                for (stream, _) in ctx.links_in_room(room).filter(|(_, link)| !link.transient) {
                    let key = (stream, range.log.clone());
                    self.acks.schedule_offer(key);
                }
            }
        }
    }

    /// A neighbour tells that it reaches another.
    pub fn peer_reachable(&mut self, ctx: &Context, stream: StreamId, other: &PeerId) {
        let near = ctx.links.get(&stream).map(|link| &link.routes);
        for (room, there) in near.into_iter().flat_map(SortedMap::iter) {
            if there.contains_key(other) {
                self.fetcher
                    .news_mut()
                    .record_contact(room, *other, None, ctx.now.time);
            }
        }
    }

    /// An author tells whom it reaches: one that it does not reach by itself, and we do, may lack what it said.
    pub fn offer_to_unreached(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        author: &PeerId,
        other: &PeerId,
        rooms: &[Room],
    ) {
        let near = ctx.link_to(author).map(|link| &link.routes);
        let Some((&stream, near)) = ctx.stream_by_peer.get(other).zip(near) else {
            return;
        };
        for room in rooms {
            let reach = near.get(room).and_then(|near| near.get(other));
            let shared = ctx.links_in_room(room).any(|(member, _)| member == stream);
            if !shared || reach.is_some_and(|reach| reach.hops == 1) {
                continue;
            }
            for range in logs
                .ranges_of_room(room)
                .filter(|r| r.log.author == *author)
            {
                let key = (stream, range.log.clone());
                self.acks.schedule_offer(key);
            }
        }
    }

    /// A log grew, and these do not get it from here: who may not get it from its author either is offered it.
    pub(super) fn offer_to_unrequested(
        &mut self,
        ctx: &Context,
        strangers: &[StreamId],
        log: &LogId,
    ) {
        let author = ctx.link_to(&log.author).zip(log.target.room());
        let near = author.and_then(|(link, room)| link.routes.get(room));
        for stream in strangers {
            let Some(link) = ctx.links.get(stream) else {
                continue;
            };
            let by_author = near
                .and_then(|near| near.get(&link.peer.id))
                .is_some_and(|reach| reach.hops == 1);
            if link.peer.id != log.author && !by_author && !link.transient {
                self.acks.schedule_offer((*stream, log.clone()));
            }
        }
    }

    /// At a turn's end: what is due to be said is said, and links that lag get more.
    pub fn end_turn(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        receipts: &DeliveryTracker,
        rooms: &[Room],
    ) {
        if self.store_retry_at.is_none() {
            self.gaps.end_turn(ctx, logs, rooms);
        }
        self.acks.send_due(ctx, logs, &self.fetcher, receipts);
        self.fetcher.send_wants(ctx, self.store_retry_at.is_some());
        self.progress.load_lagging(ctx, logs);
    }

    /// The store refused these: they are taken back, newest first, and own lines are kept to be said again.
    pub fn handle_save_failed(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        batches: &[Arc<Batch>],
    ) {
        // One that failed at the first try after a failure is the same trouble, and said already.
        let since = ctx
            .now
            .time
            .ms_since(self.store_failed_at.unwrap_or_default());
        if self.store_failed_at.is_none() || since > 2 * STORE_RETRY_MS {
            let content = "the history cannot be written: nothing more is taken in until it can; make room on its disk".to_owned();
            ctx.notify(Notice::Error {
                code: ErrorCode::Store,
                content,
            });
        }
        self.store_failed_at = Some(ctx.now.time);
        self.store_retry_at = Some(ctx.now.time + STORE_RETRY_MS);
        for batch in batches.iter().rev() {
            // What was missing is asked for anew when the store takes lines.
            if !logs.roll_back(batch) {
                continue;
            }
            let source = self.fetcher.upstream(ctx, &batch.log);
            let author = ctx.stream_by_peer.get(&batch.log.author).copied();
            if let Some(stream) = source.or(author) {
                self.fetcher.postpone_fetch(ctx, logs, stream, batch);
            }
            // An own line that came from others was said before.
            if batch.log.author == ctx.own_id()
                && source.is_none()
                && !fork_repair::is_republication(logs, &batch.log)
            {
                let unsaid = (
                    batch.log.target.clone(),
                    remaining_lines(batch, 0),
                    batch.action,
                );
                self.unpublished.push_front(unsaid);
            }
        }
    }

    pub fn wake(&mut self, ctx: &mut Context, logs: &mut Logs, rooms: &Rooms) {
        if self.store_retry_at.is_some_and(|at| at <= ctx.now.time) {
            self.store_retry_at = None;
            for (target, lines, action) in std::mem::take(&mut self.unpublished) {
                self.publish(ctx, logs, &target, lines, action);
            }
            self.fetcher.resume(logs);
            self.gaps.resume();
            fork_repair::resume_all(ctx, logs);
        }
        let due = |at: Time| at <= ctx.now.time;
        if self.store_retry_at.is_none() && self.fetcher.deadline().is_some_and(due) {
            self.fetcher.select_sources(ctx, logs, rooms, false);
        }
    }

    pub fn deadline(&self, ctx: &Context) -> Option<Time> {
        let asks = || {
            let asks = [self.fetcher.deadline(), self.gaps.deadline()];
            asks.into_iter().flatten().min()
        };
        let asks = self.store_retry_at.or_else(asks);
        self.acks.deadline(ctx).into_iter().chain(asks).min()
    }
}

fn covers_entry(logs: &Logs, log: &LogId, held: &HaveEntry) -> bool {
    logs.get(log).is_some_and(|range| range.high >= held.high)
}

/// The batch's lines but for the first ones.
fn remaining_lines(batch: &Batch, mut skipped: u64) -> Lines {
    let mut lines = Lines::default();
    batch.for_each_line(|line| match skipped {
        0 => drop(lines.push(line.as_bytes())),
        _ => skipped -= 1,
    });
    lines
}
