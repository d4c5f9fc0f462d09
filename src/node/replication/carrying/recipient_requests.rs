//! Fetches direct messages for a recipient that is not linked with their author. A carrier that is
//! linked with both passes on what each says about the log, for lines that the carrier does not
//! store: delivered ones, which the recipient may have lost since.
//!
//! 1. The author learns that a neighbour is linked with the recipient, and offers its logs. Most
//!    offers name no line to carry, as all lines are delivered.
//! 2. The carrier offers all lines of such a log to the recipient, on behalf of the author.
//! 3. A recipient that lacks some requests them. The carrier requests them from the author, and
//!    carries them like other lines.
use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::node::context::Context;
use crate::node::link::{Link, LinkLog};
use crate::node::replication::carrying::carriers::{
    PlaceToCarry, claimant, destinations, is_for_us,
};
use crate::node::replication::carrying::relayed_offers::{UnprovenOffer, surplus_offer};
use crate::node::replication::engine::Replication;
use crate::node::replication::have::{correct_offer, send_have, unequal_digest};
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::progress_state::{
    BatchEnd, CursorState, GapSend, OfferKind, SendCursor, SendState,
};
use crate::node::replication::want::WantRange;
use crate::wire::message::{HaveEntry, format_incarnation};

/// Minimum milliseconds between two requests for lines of one log that a recipient lacks. Each may
/// bring all lines again that we carry for the recipient.
const LACKED_INTERVAL_MS: u64 = 2_000;
/// Milliseconds for which a recipient waits for lines that we request from their author. Then it
/// gets what we store. Less than the time after which it blames us for a gap that stays.
const FETCH_TIMEOUT_MS: u64 = 2_000;

impl Replication {
    /// Offers all our direct logs to this recipient over a link whose peer is linked with it. The
    /// recipient may have lost lines that it acknowledged. Does nothing if the recipient is linked.
    pub fn offer_to_neighbour_of(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        recipient: &PeerId,
    ) {
        let target = Target::Peer(*recipient);
        if !is_neighbour(ctx, stream, recipient) {
            return;
        }
        for range in logs.ranges_by(ctx.own_id(), target) {
            if destinations(ctx, &range.log).contains(&stream) {
                self.schedule_offer(stream, &range.log, OfferKind::Update);
            }
        }
    }

    /// Whether we answer this link's digests for direct messages to another peer, its neighbour.
    pub(in crate::node::replication) fn answers_for(
        &self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        recipient: &PeerId,
    ) -> bool {
        let target = Target::Peer(*recipient);
        is_neighbour(ctx, stream, recipient)
            && logs.ranges_by(ctx.own_id(), target).next().is_some()
    }

    /// Passes on the query of a recipient that has lost direct messages: to the linked peers that
    /// are not linked with it, as these may be their authors.
    pub(in crate::node::replication) fn relay_query(&self, ctx: &mut Context, recipient: &PeerId) {
        let others = ctx.links.iter().filter(|(_, link)| {
            link.peer.id != *recipient
                && !link.transient
                && !link.is_blocked
                && !says_linked(link, recipient)
        });
        let others: Vec<StreamId> = others.map(|(stream, _)| *stream).collect();
        for stream in others {
            let digest = Some(unequal_digest());
            send_have(ctx, stream, &Target::Peer(*recipient), Vec::new(), digest);
        }
    }

    /// The link to the author of a log that we carry, if we can request all lines there.
    pub(in crate::node::replication) fn source_of_carried(
        &self,
        ctx: &Context,
        log: &LogId,
    ) -> Option<StreamId> {
        let recipient = log.target.recipient()?;
        let stream = *ctx.stream_by_peer.get(&log.author)?;
        let request = self.progress.get(stream, log).request();
        request
            .filter(|_| recipient != ctx.own_id())
            .map(|_| stream)
    }

    /// Passes on an author's offer to the recipient, if it names no line to carry, and we store
    /// fewer lines. Neither must say that it is linked with the other: the author then offers the
    /// log itself. Returns whether the offer was passed on.
    pub(in crate::node::replication) fn relay_offer(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        key: &LinkLog,
        entry: &HaveEntry,
    ) -> bool {
        let log = &key.log;
        let recipient = log.target.recipient();
        let Some(to) = recipient.and_then(|it| ctx.stream_by_peer.get(&it).copied()) else {
            return false;
        };
        let is_new = entry.low > entry.high && logs.high(log) < entry.high;
        let links = ctx.links.get(&to).zip(ctx.links.get(&key.stream));
        let is_needed = links.is_some_and(|(recipient, author)| {
            !recipient.is_blocked
                && self.source_of_carried(ctx, log).is_some()
                && !says_linked(author, &recipient.peer.id)
                && !says_linked(recipient, &author.peer.id)
        });
        let relayed = &mut self.progress.link_mut(to).relayed_offers;
        let (last, hash) = (entry.high, entry.hash);
        let end = BatchEnd { last, hash };
        let is_relayed = is_new && is_needed && relayed.admit(log, end, ctx.now.time);
        if is_relayed {
            let offer = HaveEntry {
                low: 1,
                complete_from: 1,
                read: 0,
                signature: None,
                ..entry.clone()
            };
            send_have(ctx, to, &log.target, vec![offer], None);
            self.extend_proof(ctx, logs, to, log);
        }
        is_relayed
    }

    /// Awaits the proof of an offer that extends one whose lines are on the way: the recipient
    /// requests a log once, however often its offer is extended.
    fn extend_proof(&mut self, ctx: &Context, logs: &Logs, to: StreamId, log: &LogId) {
        let recipient = ctx.links.get(&to).map(|link| link.peer.id);
        let acked = recipient.map_or(0, |id| logs.state(log).acked_by(&id));
        let is_behind = self.is_requested(to, log) && acked < logs.high(log);
        let is_awaited = self.unproven_offers.contains_key(&(to, log.clone()));
        if is_behind || is_awaited {
            self.await_proof(ctx, logs, to, log);
        }
    }

    /// Begins to wait for the lines of an offer that was passed on, as the recipient has requested
    /// them. If they are awaited, waits for those of the newest offer.
    fn await_proof(&mut self, ctx: &Context, logs: &Logs, to: StreamId, log: &LogId) {
        let stored = logs.high(log);
        let Some(end) = self.progress.link_mut(to).relayed_offers.end_of(log) else {
            return;
        };
        let key = (to, log.clone());
        let is_asked = self.is_author_asked(ctx, log, end.last);
        if let Some(awaited) = self.unproven_offers.get_mut(&key) {
            awaited.end = end;
            awaited.is_asked |= is_asked;
        } else if end.last > stored {
            let offer = UnprovenOffer {
                end,
                stored,
                until: ctx.now.time + FETCH_TIMEOUT_MS,
                is_asked,
            };
            self.unproven_offers.insert(key, offer);
        }
    }

    /// Whether we have requested lines up to `last` of a log from its author.
    fn is_author_asked(&self, ctx: &Context, log: &LogId, last: u64) -> bool {
        let author = self.source_of_carried(ctx, log);
        let request = author.and_then(|stream| self.progress.get(stream, log).request());
        request.is_some_and(|request| request.is_sent && request.from <= last)
    }

    /// Asks authors again for what they have for recipients, after an offer was withdrawn.
    pub(in crate::node::replication) fn send_later_queries(&mut self, ctx: &mut Context) {
        while let Some((to, author)) = self.later_queries.take_due(ctx.now.time) {
            let recipient = ctx.links.get(&to).map(|link| link.peer.id);
            let author = ctx.stream_by_peer.get(&author).copied();
            if let Some((recipient, stream)) = recipient.zip(author) {
                let (target, digest) = (Target::Peer(recipient), Some(unequal_digest()));
                send_have(ctx, stream, &target, Vec::new(), digest);
            }
        }
    }

    /// Withdraws the offers that were passed on and whose lines do not come, one after another.
    /// Their recipients would wait for lines that an author may have invented.
    pub(in crate::node::replication) fn withdraw_unproven_offers(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
    ) {
        let now = ctx.now.time;
        let mut withdrawn = Vec::new();
        while let Some(key) = surplus_offer(&self.unproven_offers)
            && let Some(offer) = self.unproven_offers.remove(&key)
        {
            withdrawn.push((key, offer.end, offer.is_asked));
        }
        self.unproven_offers.retain(|key, offer| {
            let (to, log) = key;
            let is_due = offer.until <= now;
            let stored = logs.high(log);
            if is_due && stored > offer.stored {
                (offer.stored, offer.until) = (stored, now + FETCH_TIMEOUT_MS);
                return stored < offer.end.last;
            }
            let is_open = stored < offer.end.last && ctx.links.contains_key(to);
            if is_open && is_due {
                withdrawn.push((key.clone(), offer.end, offer.is_asked));
            }
            is_open && !is_due
        });
        for ((to, log), end, is_asked) in withdrawn {
            let is_asked = is_asked || self.is_author_asked(ctx, &log, end.last);
            let relayed = &mut self.progress.link_mut(to).relayed_offers;
            relayed.withdraw(&log, is_asked, now);
            self.later_queries.add(to, log.author, now);
            match logs.get(&log) {
                Some(range) => correct_offer(ctx, to, range, range.low),
                None => send_have(ctx, to, &log.target, vec![no_lines_entry(&log, end)], None),
            }
        }
    }

    /// Handles a recipient's request for lines of a log. If the author is linked, requests the
    /// lines that we lack from the author: those from the first requested line on, or those above
    /// our head that were delivered without us.
    ///
    /// Returns whether the recipient waits for these lines. If not, the request is to be answered
    /// from the store.
    pub(in crate::node::replication) fn fetch_for_recipient(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        log: &LogId,
        range: WantRange,
    ) -> bool {
        let (WantRange::From(from) | WantRange::Gap { from, .. }) = range else {
            return false;
        };
        let recipient = ctx.links.get(&stream).map(|link| link.peer.id);
        self.await_proof(ctx, logs, stream, log);
        let source = self.source_of_carried(ctx, log);
        let Some(author) = source.filter(|_| log.target.recipient() == recipient) else {
            return false;
        };
        let is_lacked = lacks_line(logs, log, from);
        let first = if is_lacked { from } else { logs.high(log) + 1 };
        if let Some(request) = self.progress.request_mut(author, log)
            && (is_lacked && (request.from != first || !request.is_sent) || request.from > first)
        {
            let last = request.lacked_at.map(|at| at + LACKED_INTERVAL_MS);
            if last.is_some_and(|next| next > ctx.now.time) {
                return false;
            }
            request.skip_to(first);
            request.is_sent = true;
            request.progress_at = ctx.now.time;
            request.lacked_at = Some(ctx.now.time);
            let key = LinkLog::new(author, log);
            self.queued_wants.push((key, WantRange::From(first)));
        }
        if !is_lacked {
            return false;
        }
        if !self.awaited.contains_key(log) {
            let until = ctx.now.time + FETCH_TIMEOUT_MS;
            self.awaited.insert(log.clone(), until);
        }
        let cursor = SendCursor::new(from, from);
        match range {
            WantRange::Gap { to, .. } => {
                let (log, state) = (log.clone(), CursorState::Lagging);
                let cursor = SendCursor { state, ..cursor };
                self.progress.link_mut(stream).gap_send = Some(GapSend { log, to, cursor });
            }
            _ => {
                let send = SendState::Requested(Box::new(cursor));
                self.progress.set_send(stream, log, send);
            }
        }
        true
    }

    /// Whether the line `line` of a log that we carry, or an earlier one, was requested from the
    /// author, and has not come yet.
    pub(in crate::node::replication) fn is_fetching(
        &self,
        ctx: &Context,
        logs: &Logs,
        log: &LogId,
        line: u64,
    ) -> bool {
        let source = self.source_of_carried(ctx, log);
        let request = source.and_then(|stream| self.progress.get(stream, log).request());
        let from = request.map(|request| request.from);
        from.is_some_and(|from| from <= line && !is_stored(logs, log, from))
    }

    /// Whether the next lines to send to a recipient are missing here, and the author is to send
    /// them. If the author was asked for them already, and lacks them too, the answer is `false`.
    pub(in crate::node::replication) fn awaits_lacked_lines(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        log: &LogId,
    ) -> bool {
        let Some(cursor) = self.progress.cursor_mut(stream, log) else {
            return false;
        };
        cursor.state = CursorState::AtHead;
        let (next, was_asked) = (cursor.next, cursor.requested_from == cursor.next);
        self.is_fetching(ctx, logs, log, next)
            || !was_asked && self.fetch_for_recipient(ctx, logs, stream, log, WantRange::From(next))
    }

    /// Ends the fetching of lines that an author has not sent in time, or whose author is not
    /// linked any more. The recipients then get what we store.
    pub(in crate::node::replication) fn end_due_fetching(&mut self, ctx: &Context, logs: &Logs) {
        let awaited = std::mem::take(&mut self.awaited).into_iter();
        let (due, awaited): (Vec<_>, Vec<_>) = awaited.partition(|(log, until)| {
            *until <= ctx.now.time || !ctx.stream_by_peer.contains_key(&log.author)
        });
        self.awaited = awaited.into_iter().collect();
        for (log, _) in due {
            let high = logs.high(&log);
            if self.is_fetching(ctx, logs, &log, high)
                && let Some(author) = self.source_of_carried(ctx, &log)
                && let Some(request) = self.progress.request_mut(author, &log)
            {
                request.skip_to(high + 1);
            }
            self.end_fetching(ctx, logs, &log);
        }
    }

    /// Sends a recipient what we store of a carried log, if it waits for earlier lines. To be
    /// called when the author has said from which line on it stores the log.
    pub(in crate::node::replication) fn end_fetching(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        log: &LogId,
    ) {
        let recipient = log.target.recipient();
        let Some(stream) = recipient.and_then(|it| ctx.stream_by_peer.get(&it).copied()) else {
            return;
        };
        if let Some(cursor) = self.progress.cursor_mut(stream, log)
            && cursor.state == CursorState::AtHead
            && cursor.next <= logs.high(log)
        {
            cursor.state = CursorState::Lagging;
            self.progress.link_mut(stream).lagging.insert(log.clone());
        }
    }

    /// Ends the request for a log to carry, as there is no place for its next batch. The log is
    /// requested again when a recipient has acknowledged lines.
    pub(in crate::node::replication) fn pause_request(&mut self, key: &LinkLog) {
        let request = self.progress.request_mut(key.stream, &key.log);
        if let Some(request) = request.filter(|request| request.is_sent)
            && self.paused.add(key.clone())
        {
            request.is_sent = false;
            self.queued_wants.push((key.clone(), WantRange::Cancel));
        }
    }

    /// Resumes paused requests, if a recipient has acknowledged carried lines since: these take no
    /// place any more. To be called once for each message, because each call costs a look at all
    /// carried logs.
    pub(in crate::node::replication) fn resume_paused(&mut self, ctx: &Context, logs: &Logs) {
        for key in self.paused.take_next() {
            let LinkLog { stream, log } = &key;
            let claimant = claimant(ctx, *stream, &log.author);
            let place = PlaceToCarry::for_author(ctx, logs, &log.target, &claimant);
            let request = self.progress.request_mut(*stream, log);
            let Some(request) = request.filter(|request| !request.is_sent) else {
                continue;
            };
            if !place.allows(logs, log) {
                self.paused.add(key);
                continue;
            }
            request.is_sent = true;
            request.from = request.from.max(logs.high(log) + 1);
            let range = WantRange::From(request.from);
            self.queued_wants.push((key, range));
        }
    }
}

/// The entry that says that we store no line of this log, which we have offered up to `end`.
fn no_lines_entry(log: &LogId, end: BatchEnd) -> HaveEntry {
    HaveEntry {
        sender: log.author,
        incarnation: format_incarnation(log.incarnation),
        low: end.last + 1,
        high: end.last,
        hash: end.hash,
        complete_from: 1,
        read: 0,
        holder: None,
        signature: None,
    }
}

/// Whether this batch of a log that we carry begins the lines that we requested because we lack
/// them. `requested_from`: the first of these lines. What we store of the log does not follow them.
pub fn begins_lacked_lines(
    ctx: &Context,
    logs: &Logs,
    batch: &Batch,
    requested_from: Option<u64>,
) -> bool {
    let is_lacked = |from| batch.contains_line(from) && lacks_line(logs, &batch.log, from);
    !is_for_us(ctx, &batch.log.target) && requested_from.is_some_and(is_lacked)
}

/// Whether we do not store this line, although it is not above our head.
fn lacks_line(logs: &Logs, log: &LogId, line: u64) -> bool {
    let range = logs.get(log);
    range.is_none_or(|range| line <= range.high) && !is_stored(logs, log, line)
}

fn is_stored(logs: &Logs, log: &LogId, line: u64) -> bool {
    let stored = logs.get(log).and_then(|range| range.stored_from(line));
    stored.is_some_and(|lines| *lines.start() == line)
}

/// Whether this link's peer says that it is linked with the recipient, which is not linked with us.
fn is_neighbour(ctx: &Context, stream: StreamId, recipient: &PeerId) -> bool {
    let link = ctx.links.get(&stream);
    !ctx.stream_by_peer.contains_key(recipient)
        && link.is_some_and(|link| says_linked(link, recipient))
}

/// Whether this link's peer says that it is linked with another peer.
fn says_linked(link: &Link, other: &PeerId) -> bool {
    let mut routes = link.routes.values().filter_map(|peers| peers.get(other));
    routes.any(|route| route.hops == 1)
}
