//! Replication of logs between linked peers. Publishes our lines, forwards other authors' lines,
//! and reacts to changes of links, rooms and the store.
//!
//! The protocol is EBT (epidemic broadcast trees). Peers advertise the lines that they store
//! (`have`) and request the lines that they lack (`want`). After that, they receive new lines
//! live.
//!
//! `impl Replication` continues in `ingest.rs` (incoming batches), `ingest_have.rs` (incoming
//! `have` messages), `send.rs` (outgoing batches) and `acks.rs` (outgoing `have` messages).
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::load::{LoadPurpose, LoadReply, LoadRequest, LoadedLog, LogCursor};
use crate::base::event::notice::{Chat, Notice};
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{FolderName, Room, Target};
use crate::base::range::{LogRange, LogRanges};
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::author_keys::AuthorKeys;
use crate::node::replication::carrying::carriers::{destinations, needs_carriers};
use crate::node::replication::carrying::paused_requests::PausedRequests;
use crate::node::replication::carrying::relayed_offers::{LaterQueries, UnprovenOffers};
use crate::node::replication::changed_offers::ChangedOffers;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::fork_repair;
use crate::node::replication::gaps::Gaps;
use crate::node::replication::have::{
    have_entry, own_entry, send_have, third_party_digest, unequal_digest,
};
use crate::node::replication::logs::log_state::RolledBack;
use crate::node::replication::logs::publication::Publication;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::news::News;
use crate::node::replication::progress::progress_state::{
    CursorState, FetchState, LOAD_BUDGET_BYTES, OfferKind, SendCursor,
};
use crate::node::replication::progress::progress_table::ProgressTable;
use crate::node::replication::receipts::forwarded_receipts::ForwardedReceipts;
use crate::node::replication::receipts::waiting_receipts::WaitingReceipts;
use crate::node::replication::store_health::{Retry, StoreHealth};
use crate::node::replication::want::{WantRange, send_want};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX};

/// The replication state of every link and log, and the state of the store.
#[derive(Default)]
pub struct Replication {
    pub(super) progress: ProgressTable,
    /// The earliest time at which a source may be replaced.
    pub(super) next_switch_at: Option<Time>,
    /// What has changed since sources were last selected.
    pub(super) changed_offers: ChangedOffers,
    /// What has changed in this turn, without `changed_offers`. At the end of the turn,
    /// `next_switch_at` is computed from both.
    pub(super) considered_offers: ChangedOffers,
    /// The logs that were requested over a link, or for a shared room, that has ended.
    pub(super) sourceless: Vec<LogId>,
    /// The `want` entries to be sent at the end of the turn.
    pub(super) queued_wants: Vec<(LinkLog, WantRange)>,
    pub(super) gaps: Gaps,
    pub(super) forwarded_receipts: ForwardedReceipts,
    pub(super) waiting_receipts: WaitingReceipts,
    pub(super) news: News,
    pub(super) author_keys: AuthorKeys,
    pub(super) paused: PausedRequests,
    /// The logs of which a recipient waits for lines that we have requested from their author, and
    /// until when. At most one for each request.
    pub(super) awaited: SortedMap<LogId, Time>,
    /// The offers that were passed on and are to be withdrawn, unless their lines come.
    pub(super) unproven_offers: UnprovenOffers,
    pub(super) later_queries: LaterQueries,
    /// Whether the store works, and what waits for it.
    pub(super) store: StoreHealth,
    /// The target of the batch that we published last.
    pub(super) last_target: Option<Target>,
}

impl Replication {
    /// The readers of this directory.
    pub fn news_mut(&mut self) -> &mut News {
        &mut self.news
    }

    /// Restores the logs of an opened folder. If the folder belongs to a room, joins the room. Does
    /// nothing if the room is joined already. `existed`: whether the folder existed before it was
    /// opened.
    ///
    /// Returns whether the room was joined.
    pub fn handle_folder_opened(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        rooms: &mut Rooms,
        folder: &FolderName,
        ranges: LogRanges,
        existed: bool,
    ) -> bool {
        let room = folder.room();
        if room.as_ref().is_some_and(|room| rooms.is_joined(room)) {
            return false;
        }
        // Restores the ranges before the join, because new lines in the room must continue them.
        logs.restore_ranges(ctx, folder, ranges);
        let joined = room.is_some_and(|room| rooms.join(ctx, &room, existed));
        fork_repair::resume_folder(ctx, logs, folder);
        joined
    }

    /// Handles batches that the store read. The purpose of the read decides whether they are sent,
    /// compared with a peer's batch, or published again.
    pub fn handle_loaded(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        reply: LoadReply,
    ) {
        for loaded in &reply.logs {
            let log = &loaded.cursor.log;
            match reply.purpose {
                LoadPurpose::Send(stream) => {
                    let forked = self.send_loaded(ctx, logs, delivery, stream, loaded);
                    if let Some(last) = forked {
                        let progress = &mut self.progress;
                        fork_repair::bisect(ctx, logs, progress, stream, log, 1, last);
                    }
                }
                LoadPurpose::SendGap(stream) => self.send_loaded_gap(ctx, logs, stream, loaded),
                LoadPurpose::Compare => {
                    let fork = fork_repair::compare_loaded(ctx, &mut self.progress, loaded);
                    if let Some(line) = fork {
                        if logs.is_current(ctx, log) {
                            logs.renew_after_conflict(ctx);
                        }
                        fork_repair::start_republish(ctx, logs, log, line);
                    }
                }
                LoadPurpose::Republish => self.republish(ctx, logs, loaded),
            }
        }
    }

    /// Republishes the lines of our forked log that the store has read. Then requests the next
    /// lines from the store. [`fork_repair`] chooses the new incarnation.
    fn republish(&mut self, ctx: &mut Context, logs: &mut Logs, loaded: &LoadedLog) {
        let LogCursor { log, from, .. } = &loaded.cursor;
        let batches = loaded.batches.as_deref().unwrap_or_default();
        let Some(last) = batches.last().filter(|_| logs.get(log).is_some()) else {
            return;
        };
        // If the store fails, these lines are dropped, so that none wait in memory. They are read
        // again after the store has recovered.
        let next = fork_repair::next_republish(logs, log);
        let Some((republication, _)) = next.filter(|next| next.1 == *from && self.can_accept())
        else {
            return;
        };
        let current = logs.replace_incarnation(republication.incarnation);
        for batch in batches {
            let skipped = from.saturating_sub(batch.sequence);
            self.publish(ctx, logs, Publication::of_batch(batch, skipped));
        }
        logs.replace_incarnation(current);
        ctx.emit(Output::Load(LoadRequest {
            purpose: LoadPurpose::Republish,
            cursors: vec![LogCursor {
                from: last.last_sequence() + 1,
                ..loaded.cursor.clone()
            }],
            budget_bytes: LOAD_BUDGET_BYTES,
        }));
    }

    /// Publishes our lines: signs them in batches, then stores, shows and sends each batch.
    pub fn publish(&mut self, ctx: &mut Context, logs: &mut Logs, publication: Publication) {
        if !self.can_accept() {
            return self.store.queue(ctx.now.time, publication);
        }
        for batch in self.save_lines(ctx, logs, publication) {
            self.send_published(ctx, logs, &batch);
        }
    }

    /// Sends a batch that we have published, to peers and guests.
    pub(super) fn send_published(&mut self, ctx: &mut Context, logs: &Logs, batch: &Arc<Batch>) {
        ctx.guests.record_published(batch);
        let unrequested = self.send_live(ctx, logs, batch, None);
        self.offer_to_unrequested(ctx, &unrequested, &batch.log);
    }

    /// Appends lines to our log, and saves and shows them. Returns their batches, which are not
    /// sent yet.
    pub(super) fn save_lines(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        mut publication: Publication,
    ) -> Vec<Arc<Batch>> {
        ctx.last_progress = ctx.now.time;
        let mut saved = Vec::new();
        while !publication.lines.is_empty() {
            let part = publication.lines.take_batch();
            let Publication {
                target,
                form,
                request,
                ..
            } = &publication;
            let Some(batch) = logs.append(ctx, target, *form, request.clone(), &part) else {
                let content = format!("{target} is not a usable key: the message was not sent");
                let code = ErrorCode::Target;
                ctx.notify(Notice::Error { code, content });
                break;
            };
            let local = LocalFields {
                received: ctx.now.wall,
                ..LocalFields::default()
            };
            if self.last_target.as_ref() != Some(target) {
                self.last_target = Some(target.clone());
            }
            ctx.emit(Output::Save {
                batch: batch.clone(),
                local,
            });
            ctx.notify(Notice::Chat(Chat {
                batch: batch.clone(),
                local,
                is_own: true,
            }));
            saved.push(batch);
        }
        saved
    }

    /// Handles a new link. Offers the direct logs whose recipient is the link's peer. Acknowledges
    /// the direct logs that the link's peer wrote to us.
    pub fn link_up(&mut self, ctx: &Context, logs: &Logs, stream: StreamId) {
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let to_us = logs.ranges_to(Target::Peer(ctx.own_id()));
        let from_peer = to_us.filter(|range| range.log.author == peer);
        for range in logs.ranges_to(Target::Peer(peer)).chain(from_peer) {
            self.schedule_offer(stream, &range.log, OfferKind::Initial);
            self.mark_offered(ctx, stream, &range.log);
        }
    }

    /// Offers each of our direct logs to carriers if the log's recipient is not linked. To be
    /// called after a link began or ended, because the carriers may have changed.
    pub fn offer_to_carriers(&mut self, ctx: &Context, logs: &Logs) {
        self.offer_direct(ctx, logs, logs.direct_ranges());
    }

    /// As [`Replication::offer_to_carriers`], for the logs to one recipient. To be called after the
    /// routes to it have changed.
    pub fn offer_to_carriers_for(&mut self, ctx: &Context, logs: &Logs, recipient: &PeerId) {
        self.offer_direct(ctx, logs, logs.ranges_to(Target::Peer(*recipient)));
    }

    fn offer_direct<'a>(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        ranges: impl Iterator<Item = &'a LogRange>,
    ) {
        let own = ranges.filter(|range| range.log.author == ctx.own_id());
        for range in own.filter(|range| needs_carriers(ctx, logs, range)) {
            let high = logs.state(&range.log).last_served();
            for stream in destinations(ctx, &range.log) {
                // A carrier gets no lines while the recipient is linked, so its cursor stays.
                let cursor = self.progress.get(stream, &range.log).cursor();
                let is_served = |it: &SendCursor| it.state != CursorState::AtHead || it.next > high;
                if !cursor.is_some_and(is_served) {
                    self.schedule_offer(stream, &range.log, OfferKind::Initial);
                }
            }
        }
    }

    /// Records that a terminal has shown line `sequence` of a direct log to us, and all earlier
    /// lines. Informs the log's author.
    pub fn mark_read(&mut self, ctx: &Context, logs: &mut Logs, log: &LogId, sequence: u64) {
        if logs.mark_shown(log, sequence)
            && let Some(author) = ctx.stream_by_peer.get(&log.author)
        {
            self.schedule_ack(*author, log, 0);
        }
    }

    /// Advertises the logs of a room that this link now shares. The message lists our logs and the
    /// logs of the link's peer. A digest stands for the logs of all other authors. A send-only peer
    /// gets neither our logs nor a digest, and a send-only program sends no digest.
    pub fn room_shared(&mut self, ctx: &mut Context, logs: &Logs, stream: StreamId, room: &Room) {
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let target = Target::Room(room.clone());
        let (peer, is_receiver) = (link.peer.id, link.receives(&target));
        let own = logs.ranges_by(ctx.own_id(), target.clone());
        let own =
            own.filter(|range| is_receiver && logs.state(&range.log).last_served() >= range.low);
        let of_either = own.chain(logs.ranges_by(peer, target.clone()));
        let entries: Vec<HaveEntry> = of_either
            .inspect(|range| self.mark_offered(ctx, stream, &range.log))
            .map(|range| HaveEntry {
                high: logs.state(&range.log).last_served(),
                ..match range.log.author == peer {
                    true => have_entry(range),
                    false => own_entry(range),
                }
            })
            .collect();
        let exchanges_others = is_receiver && !ctx.is_send_only();
        // Equal digests would hide who can fill our gaps. An unequal one makes the peer list all
        // its ranges.
        let digest = exchanges_others.then(|| match logs.has_gaps(ctx, &target) {
            true => unequal_digest(),
            false => third_party_digest(ctx, logs, room, &peer),
        });
        let mut parts = entries.chunks(LOGS_PER_MESSAGE_MAX);
        let first = parts.next().unwrap_or_default().to_vec();
        send_have(ctx, stream, &target, first, digest);
        for part in parts {
            send_have(ctx, stream, &target, part.to_vec(), None);
        }
    }

    /// Forgets the state of a room's logs on a link that no longer shares the room.
    pub fn room_unshared(&mut self, stream: StreamId, room: &Room) {
        self.forget(stream, Some(room));
    }

    /// Drops lines that wait to be published to a room that was left. Reports the loss to the user.
    pub fn room_left(&mut self, ctx: &mut Context, room: &Room) {
        if self.store.drop_lines_to(room) {
            let content = format!("left {room}: lines that could not be stored are lost");
            ctx.notify(Notice::Error {
                code: ErrorCode::Store,
                content,
            });
        }
    }

    /// Forgets the state of all logs on a link that ended.
    pub fn link_down(&mut self, stream: StreamId) {
        self.forget(stream, None);
        self.paused.forget(stream);
        self.later_queries.forget(stream);
    }

    fn forget(&mut self, stream: StreamId, room: Option<&Room>) {
        self.progress.forget(stream, room, &mut self.sourceless);
        self.changed_offers.includes_all = true;
    }

    /// Cancels the request for a log over this link, and allows no new request. The link's peer
    /// sent a batch that contradicts ours, or our tables have no place for the log.
    pub(super) fn reject_source(&mut self, ctx: &mut Context, key: &LinkLog) {
        self.queued_wants.retain(|(queued, _)| queued != key);
        self.changed_offers.logs.insert(key.log.clone());
        // A bisection implies that the log is not requested otherwise.
        if !self.progress.get(key.stream, &key.log).is_comparing()
            && !self
                .progress
                .set_fetch(key.stream, &key.log, FetchState::Refused)
        {
            self.progress
                .set_fetch(key.stream, &key.log, FetchState::Idle);
        }
        send_want(ctx, key.stream, &key.log, WantRange::Cancel);
    }

    /// Stops requesting and passing on lines of banned authors. What is stored of them stays.
    pub fn drop_banned(&mut self, ctx: &mut Context) {
        let is_banned = |log: &LogId| ctx.acquaintances.is_banned(&log.author);
        let records = self.progress.records();
        let banned = records.filter(|(_, log, _)| is_banned(log));
        let banned: Vec<LinkLog> = banned
            .map(|(stream, log, _)| LinkLog::new(stream, log))
            .collect();
        self.queued_wants.retain(|(key, _)| !is_banned(&key.log));
        for key in banned {
            let (stream, log) = (key.stream, &key.log);
            self.progress.forget_log(log);
            self.progress.set_offer(stream, log, None);
            if self.progress.get(stream, log).request().is_some() {
                send_want(ctx, stream, log, WantRange::Cancel);
            }
            self.progress.set_fetch(stream, log, FetchState::Idle);
        }
    }

    /// Handles the end of the link to an author. Offers the author's logs to the linked members of
    /// `rooms`, because these members may lack the author's last lines.
    pub fn author_unlinked(&mut self, ctx: &Context, logs: &Logs, author: &PeerId, rooms: &[Room]) {
        for room in rooms {
            let logs_of_room = logs.ranges_of_room(room);
            for range in logs_of_room.filter(|range| range.log.author == *author) {
                for (stream, _) in ctx.links_in_room(room).filter(|(_, link)| !link.transient) {
                    self.schedule_offer(stream, &range.log, OfferKind::Update);
                }
            }
        }
    }

    /// Offers the logs of the peer `author` to the peer `other`. Does so only if we are linked with
    /// both peers, and they are not linked with each other. The author's advertised routes show
    /// whether the author is linked with `other`.
    pub fn offer_to_unreached(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        author: &PeerId,
        other: &PeerId,
        rooms: &[Room],
    ) {
        let routes = ctx.link_to(author).map(|link| &link.routes);
        let Some((&stream, routes)) = ctx.stream_by_peer.get(other).zip(routes) else {
            return;
        };
        for room in rooms {
            let route = routes.get(room).and_then(|peers| peers.get(other));
            let is_linked = route.is_some_and(|route| route.hops == 1);
            let link = ctx.links.get(&stream).filter(|_| !is_linked);
            if !link.is_some_and(|link| link.shared_rooms.contains(room)) {
                continue;
            }
            let logs_of_room = logs.ranges_of_room(room);
            for range in logs_of_room.filter(|range| range.log.author == *author) {
                self.schedule_offer(stream, &range.log, OfferKind::Update);
            }
        }
    }

    /// Offers a log with new lines over the links `unrequested`, whose peers have not requested the
    /// log from us. Skips transient peers, the log's author, and peers that are linked with the
    /// author.
    pub(super) fn offer_to_unrequested(
        &mut self,
        ctx: &Context,
        unrequested: &[StreamId],
        log: &LogId,
    ) {
        let author = ctx.link_to(&log.author).zip(log.target.room());
        let routes = author.and_then(|(link, room)| link.routes.get(room));
        for stream in unrequested {
            let Some(link) = ctx.links.get(stream) else {
                continue;
            };
            let route = routes.and_then(|peers| peers.get(&link.peer.id));
            let has_author = route.is_some_and(|route| route.hops == 1);
            if link.peer.id != log.author && !has_author && !link.transient {
                self.schedule_offer(*stream, log, OfferKind::Update);
            }
        }
    }

    /// Does what is due at the end of a turn. Sends requests, acknowledgements and offers, and
    /// reads stored lines that are still to be sent.
    pub fn end_turn(&mut self, ctx: &mut Context, logs: &mut Logs, rooms: &[Room]) {
        for log in logs.take_forgotten() {
            self.progress.forget_log(&log);
            // The next lines would be no continuation. The author offers its log again with them.
            self.cancel_requests(&log, None);
        }
        if self.store.is_tried() {
            return;
        }
        if self.can_accept() {
            self.gaps.end_turn(ctx, logs, &mut self.progress, rooms);
        }
        self.end_due_fetching(ctx, logs);
        self.withdraw_unproven_offers(ctx, logs);
        self.send_later_queries(ctx);
        self.answer_due_digests(ctx, logs);
        self.send_due(ctx, logs);
        self.send_waiting_receipts(ctx);
        self.progress.prune_reporting();
        self.update_next_switch(ctx, logs);
        self.send_queued_wants(ctx);
        self.load_lagging(ctx, logs);
    }

    /// Whether the store works. While the store fails, lines to be published wait in memory.
    pub fn can_accept(&self) -> bool {
        self.store.is_working()
    }

    /// Whether this turn sends nothing, because one of its saves tries the store.
    pub fn is_store_tried(&self) -> bool {
        self.store.is_tried()
    }

    /// Handles batches that the store refused. Removes the batches from their logs, newest first.
    /// When the store has recovered, our lines are published again, and other authors' lines are
    /// requested again.
    pub fn handle_save_failed(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        batches: &[Arc<Batch>],
    ) {
        if self.store.record_failure(ctx.now.time) {
            let content = "the history cannot be written: no new line is sent or \
                received until it can; free space on its disk"
                .to_owned();
            ctx.notify(Notice::Error {
                code: ErrorCode::Store,
                content,
            });
        }
        for batch in batches.iter().rev() {
            // `Gaps::resume` requests the lines of gaps again.
            if logs.roll_back(batch) == RolledBack::Gap {
                continue;
            }
            let source = self.source(ctx, &batch.log).map(|(stream, _)| stream);
            let author = ctx.stream_by_peer.get(&batch.log.author).copied();
            if let Some(stream) = source.or(author) {
                self.postpone_request(ctx, logs, stream, batch);
            }
            // If one of our batches has a source, an earlier run published it and our disk lost it.
            if batch.log.author == ctx.own_id() && source.is_none() && batch.republishes.is_none() {
                let publication = Publication::of_batch(batch, 0);
                self.store.queue_first(ctx.now.time, publication);
            }
        }
    }

    /// Tries a store that has failed, when it is due. If it works again, publishes the waiting
    /// lines, and resumes requests and fork repairs.
    pub(super) fn retry_store(&mut self, ctx: &mut Context, logs: &mut Logs) {
        let (saved, waiting) = match self.store.retry(ctx.now.time) {
            None => return,
            Some(Retry::Save(lines)) => {
                let saved = self.save_lines(ctx, logs, lines);
                return self.store.begin_trial(ctx.now.time, saved);
            }
            Some(Retry::Resume { saved, waiting }) => (saved, waiting),
        };
        for batch in saved {
            self.send_published(ctx, logs, &batch);
        }
        for publication in waiting {
            self.publish(ctx, logs, publication);
        }
        self.resume_requests(ctx, logs);
        self.gaps.resume();
        fork_repair::resume_all(ctx, logs);
    }

    /// Tries a store again that has failed. Selects the sources again at `next_switch_at`.
    pub fn handle_timeout(&mut self, ctx: &mut Context, logs: &mut Logs, rooms: &Rooms) {
        let now = ctx.now.time;
        let is_due = |at: Time| at <= now;
        self.retry_store(ctx, logs);
        if self.can_accept() && self.next_switch_at.is_some_and(is_due) {
            self.select_sources(ctx, logs, rooms);
        }
    }

    /// Adds the times at which to call [`Replication::handle_timeout`] or [`Replication::end_turn`]
    /// next.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::SendAcks, self.report_deadline(ctx));
        // While the store fails, nothing is requested.
        if let Some(at) = self.store.deadline() {
            return deadlines.add(Timer::RetryStore, at);
        }
        deadlines.add_some(Timer::SwitchSource, self.next_switch_at);
        deadlines.add_some(Timer::RequestGap, self.gaps.deadline());
        deadlines.add_some(Timer::EndFetching, self.awaited.values().min().copied());
        let unproven = self.unproven_offers.values().map(|offer| offer.until);
        deadlines.add_some(Timer::EndFetching, unproven.min());
        deadlines.add_some(Timer::EndFetching, self.later_queries.next_at());
    }
}
