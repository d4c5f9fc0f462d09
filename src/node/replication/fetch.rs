//! Selects the source of each log: the neighbour from which we request the log. A linked author is
//! the source of its own logs. Otherwise, the source is a neighbour that is ahead of us. If the
//! source stalls, another neighbour replaces it. If no neighbour brings lines, a linked author is
//! requested again.
//!
//! This is the receiving half of EBT (epidemic broadcast trees; Plumtree, Leitão et al., 2007).
//! One source per log sends lines. All other neighbours only offer them.
use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::stream_id::StreamId;
use crate::base::range::BACKFILL_LINES;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::carrying::carriers::can_receive_over;
use crate::node::replication::engine::Replication;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::progress::Progress;
use crate::node::replication::progress::progress_state::{Backfill, FetchState, LogRequest, Offer};
use crate::node::replication::want::{WantRange, send_wants};

/// Milliseconds without a batch after which another neighbour replaces the source of a log.
const SOURCE_SWITCH_MS: u64 = 300;
/// Maximum of [`Offer::tries`]. The wait after the first try is [`SOURCE_SWITCH_MS`]. Each further
/// try doubles the wait, up to 38 seconds.
const BACKOFF_DOUBLINGS_MAX: u32 = 8;
/// Maximum number of offered logs that are considered per millisecond.
const OFFERS_PER_MS_MAX: u64 = 32;

impl Replication {
    /// Handles an offer that the log's author sent. Makes the author the only source. A newcomer's
    /// request stays as it is while its first lines are on the way: a later request would skip the
    /// lines between both.
    pub(super) fn handle_author_offer(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        key: LinkLog,
        low: u64,
        high: u64,
    ) {
        self.cancel_requests(&key.log, Some(key.stream));
        self.progress.set_offer(key.stream, &key.log, None);
        let request = self.progress.get(key.stream, &key.log).request();
        let is_expected = request.is_some_and(|it| (low..=high).contains(&it.from));
        if logs.get(&key.log).is_none() && is_expected {
            if let Some(request) = self.progress.request_mut(key.stream, &key.log) {
                request.announced = high;
            }
            return;
        }
        self.start_request(ctx, logs, rooms, key, low, high);
    }

    /// Ends the wait for a line that the link's peer no longer stores. The peer will not answer our
    /// present request. If another neighbour offers our next line, requests the log from that
    /// neighbour at once, or else from the author. Otherwise requests the log from the line `low`
    /// on. `low`: the first line that the link's peer stores.
    pub(super) fn pass_lost_lines(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        key: &LinkLog,
        low: u64,
    ) {
        let LinkLog { stream, log } = key;
        let next = logs.high(log) + 1;
        let Some(request) = self.progress.request_mut(*stream, log) else {
            return;
        };
        if low <= request.from.max(next) {
            return;
        }
        // A newcomer requests no line before those of its first request.
        let needed = logs.get(log).map_or(request.from, |_| next);
        let others = self.progress.of_log(log).filter_map(|(other, record)| {
            let offer = record.offer().filter(|_| other != *stream)?;
            (offer.low..=offer.high)
                .contains(&needed)
                .then_some((other, offer))
        });
        let best = others.min_by_key(|(_, offer)| offer.tries);
        if let Some(other) = best.map(|(other, _)| other) {
            return self.take_up_offer(ctx, logs, rooms, LinkLog::new(other, log));
        }
        if let Some(author) = self.idle_author(ctx, logs, log) {
            self.request_author(ctx, logs, author, log);
            return self.cancel_requests(log, Some(author));
        }
        if let Some(request) = self.progress.request_mut(*stream, log) {
            request.skip_to(low);
            self.queued_wants.push((key.clone(), WantRange::From(low)));
        }
    }

    /// Removes the offer of this log over this link.
    pub(super) fn remove_offer(&mut self, key: &LinkLog) {
        if self.progress.get(key.stream, &key.log).offer().is_some() {
            self.progress.set_offer(key.stream, &key.log, None);
            self.changed_offers.logs.insert(key.log.clone());
        }
    }

    /// Requests offered logs from the best neighbour that is ready. `ready_at` says when a
    /// neighbour is ready. Replaces each source that is no longer linked. While the store fails,
    /// takes up no offer.
    ///
    /// Considers the logs whose offers have changed since the last call, and at `next_switch_at`
    /// all. A small message thus costs the same, however many logs are offered.
    ///
    /// If a source is no longer linked, requests the log from its author as well.
    pub fn select_sources(&mut self, ctx: &Context, logs: &Logs, rooms: &Rooms) {
        let mut changed = std::mem::take(&mut self.changed_offers);
        let is_due = self.next_switch_at.is_some_and(|at| at <= ctx.now.time);
        changed.includes_all |= is_due && !self.considered_offers.includes_all;
        let considered = match changed.includes_all {
            true => {
                self.progress
                    .forget_offers(&|log, offer| offer.high <= logs.high(log));
                self.progress.offered()
            }
            false => {
                for log in changed.logs.iter() {
                    self.progress.forget_offers_up_to(log, logs.high(log));
                }
                &changed.logs
            }
        };
        let mut due = self.due_sources(ctx, logs, considered);
        for log in &std::mem::take(&mut self.sourceless) {
            if let Some(author) = self.idle_author(ctx, logs, log) {
                due.push((LinkLog::new(author, log), true));
            }
        }
        for (key, is_author) in due {
            if is_author {
                self.request_author(ctx, logs, key.stream, &key.log);
            } else if self.can_accept() {
                self.take_up_offer(ctx, logs, rooms, key);
            }
        }
        self.considered_offers.extend(changed);
    }

    /// For each of these logs: the best neighbour from which it may be requested now, see
    /// [`ready_at`], or with `true` its author, which is requested beside a silent source.
    fn due_sources(
        &self,
        ctx: &Context,
        logs: &Logs,
        offered: &SortedSet<LogId>,
    ) -> Vec<(LinkLog, bool)> {
        let mut due = Vec::new();
        for log in offered.iter() {
            let ready = self.waiting_offers(ctx, log).into_iter();
            let ready = ready.filter(|(_, _, ready_at)| *ready_at <= ctx.now.time);
            // An offer of our next line leaves no gap: it comes first. Who misbehaved comes last of
            // those who are alike in this. Then most lines first. Among equals, fewest tries.
            let next = logs.get(log).map_or(u64::MAX, |range| range.high + 1);
            let best = ready.max_by_key(|(stream, offer, _)| {
                let peer = ctx.links.get(stream).map(|link| link.peer.id);
                let is_sound = peer.is_none_or(|it| ctx.misbehaviour.of(&it).total() == 0);
                let tries_left = u32::MAX - offer.tries;
                (offer.low <= next, is_sound, offer.high, tries_left)
            });
            if let Some((stream, ..)) = best {
                due.push((LinkLog::new(stream, log), false));
            } else if let Some((author, at)) = self.author_due(ctx, logs, log)
                && at <= ctx.now.time
            {
                due.push((LinkLog::new(author, log), true));
            }
        }
        due
    }

    /// The offers of a log from all neighbours except its source. The [`Time`] of an offer says
    /// when the log may be requested from that neighbour.
    ///
    /// Includes the source of a direct log if it has offered the log since it last brought a batch:
    /// a carrier forgets our request with the lines that we have acknowledged.
    fn waiting_offers(&self, ctx: &Context, log: &LogId) -> Vec<(StreamId, Offer, Time)> {
        let source = self.source(ctx, log);
        let records = self.progress.of_log(log);
        let is_direct = log.target.recipient().is_some();
        let is_waiting = |stream, offer: &Offer| {
            source.is_none_or(|(source, request)| {
                source != stream || is_direct && offer.offered_at > request.progress_at
            })
        };
        let progress_at = source.map(|(_, request)| request.progress_at);
        let waiting = records.filter_map(|(stream, record)| {
            let offer = record.offer().filter(|offer| is_waiting(stream, offer))?;
            let ready_at = ready_at(ctx, log, stream, offer, progress_at);
            Some((stream, *offer, ready_at))
        });
        waiting.collect()
    }

    /// Requests a log from a neighbour that offers it. Cancels the requests for this log on all
    /// other links.
    fn take_up_offer(&mut self, ctx: &Context, logs: &Logs, rooms: &Rooms, key: LinkLog) {
        let Some(offer) = self.progress.get(key.stream, &key.log).offer().copied() else {
            return self.cancel_requests(&key.log, None);
        };
        self.keep_author_offer(ctx, logs, &key.log, offer.low);
        self.cancel_requests(&key.log, None);
        let tried = Offer {
            offered_at: ctx.now.time,
            tries: (offer.tries + 1).min(BACKOFF_DOUBLINGS_MAX),
            ..offer
        };
        self.progress.set_offer(key.stream, &key.log, Some(tried));
        self.start_request(ctx, logs, rooms, key, offer.low, offer.high);
    }

    /// Keeps what the author has offered of a log of which we store no line yet, before a neighbour
    /// replaces it. Nothing else shows then that the author has the log. `low`: the first line that
    /// the neighbour offers.
    fn keep_author_offer(&mut self, ctx: &Context, logs: &Logs, log: &LogId, low: u64) {
        let Some(author) = ctx.stream_by_peer.get(&log.author) else {
            return;
        };
        let request = self.progress.get(*author, log).request();
        let request = request.filter(|it| it.offer.is_none() && it.from <= it.announced);
        if let (None, Some(request)) = (logs.get(log), request) {
            let first = request.backfill.map_or(request.from, |it| it.low);
            let offer = Offer {
                low: first,
                high: request.announced,
                offered_at: ctx.now.time,
                // The neighbour may be as busy as the author, and soon send its first line. We wait
                // still longer for it if the author has evicted lines that it offers.
                tries: if first <= low { 3 } else { 5 },
            };
            if !self.progress.set_offer(*author, log, Some(offer)) {
                self.progress.link_mut(*author).has_ignored_offers = true;
                self.gaps.schedule_query();
            }
        }
    }

    /// Requests a log from its author in addition to the present source. Does nothing if a
    /// neighbour offers more lines than we store.
    ///
    /// The author may store lines that no neighbour offers. If the present source stalls, this
    /// request still brings these lines.
    pub(super) fn add_author_source(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        author: StreamId,
        log: &LogId,
    ) {
        let high = logs.high(log);
        let is_ahead = |(stream, record): (StreamId, &Progress)| {
            stream != author && record.offer().is_some_and(|offer| offer.high > high)
        };
        let has_author = self.progress.get(author, log).request().is_some();
        if !has_author && !self.progress.of_log(log).any(is_ahead) {
            self.request_author(ctx, logs, author, log);
        }
    }

    /// Requests a log of which we store lines from its author, in addition to the present source.
    fn request_author(&mut self, ctx: &Context, logs: &Logs, author: StreamId, log: &LogId) {
        let source = self.source(ctx, log);
        let progress_at = source.map_or(ctx.now.time, |(_, request)| request.progress_at);
        let request = LogRequest::new(logs.high(log) + 1, progress_at);
        self.request(LinkLog::new(author, log), request);
    }

    /// The link to the author of a log of which we store lines, if the log may be requested over it
    /// and is not. An author that was replaced does not offer its lines again before it says more.
    fn idle_author(&self, ctx: &Context, logs: &Logs, log: &LogId) -> Option<StreamId> {
        // Anybody can offer a log that does not exist.
        logs.get(log)?;
        let author = *ctx.stream_by_peer.get(&log.author)?;
        let link = ctx.links.get(&author)?;
        let is_idle = matches!(self.progress.get(author, log).fetch(), FetchState::Idle);
        (is_idle && can_receive_over(ctx, link, log)).then_some(author)
    }

    /// The link to the author of a log, and when to request the log over it, too, as its source has
    /// brought nothing of what it offers.
    fn author_due(&self, ctx: &Context, logs: &Logs, log: &LogId) -> Option<(StreamId, Time)> {
        let author = self.idle_author(ctx, logs, log)?;
        let (_, request) = self.source(ctx, log)?;
        let patience = patience_ms(request.offer.as_ref()?);
        Some((author, request.progress_at + patience))
    }

    /// If a log has another source than its author, makes the author the only source. To be called
    /// when the author has sent a line.
    pub(super) fn prefer_author(&mut self, author: StreamId, log: &LogId) {
        let is_source = |record: &Progress| record.request().is_some();
        let mut others = self.progress.of_log(log);
        if is_source(self.progress.get(author, log))
            && others.any(|(stream, record)| stream != author && is_source(record))
        {
            drop(others);
            self.cancel_requests(log, Some(author));
        }
    }

    /// Computes when to call [`Replication::select_sources`] next. That call considers all offers,
    /// so it waits longer the more there are.
    pub(super) fn update_next_switch(&mut self, ctx: &Context, logs: &Logs) {
        let mut changed = std::mem::take(&mut self.considered_offers);
        changed.extend(std::mem::take(&mut self.changed_offers));
        let offered = self.progress.offered();
        let considered = match changed.includes_all {
            true => {
                self.next_switch_at = None;
                offered
            }
            false => &changed.logs,
        };
        let earliest = ctx.now.time + offered.len() as u64 / OFFERS_PER_MS_MAX;
        let mut switch_at = self.next_switch_at.unwrap_or(Time(u64::MAX));
        for log in considered.iter() {
            for (_, _, ready_at) in self.waiting_offers(ctx, log) {
                switch_at = switch_at.min(ready_at.max(earliest));
            }
            // An author that is due already was not requested: its link has too many requests.
            if let Some((_, at)) = self.author_due(ctx, logs, log)
                && at > ctx.now.time
            {
                switch_at = switch_at.min(at.max(earliest));
            }
        }
        self.next_switch_at = (switch_at < Time(u64::MAX)).then_some(switch_at);
    }

    /// The link over which a log is requested, with the request. If there are two, the one that has
    /// last brought a batch, or the neighbour.
    pub(super) fn source(&self, ctx: &Context, log: &LogId) -> Option<(StreamId, &LogRequest)> {
        let records = self.progress.of_log(log);
        let linked = records.filter(|(stream, _)| ctx.links.contains_key(stream));
        let requested = linked.filter_map(|(stream, record)| Some((stream, record.request()?)));
        let author = ctx.stream_by_peer.get(&log.author);
        requested.max_by_key(|(stream, it)| (it.progress_at, Some(stream) != author))
    }

    /// Cancels the requests for a log on all links except `keep`.
    pub(super) fn cancel_requests(&mut self, log: &LogId, keep: Option<StreamId>) {
        self.changed_offers.logs.insert(log.clone());
        let records = self.progress.of_log(log);
        let requested = records.filter_map(|(stream, record)| Some((stream, *record.request()?)));
        let cancelled: Vec<_> = requested
            .filter(|(stream, _)| Some(*stream) != keep)
            .collect();
        for (stream, request) in cancelled {
            let fetch = match request.offer {
                Some(offer) => FetchState::Offered(Box::new(offer)),
                None => FetchState::Idle,
            };
            self.progress.set_fetch(stream, log, fetch);
            self.queued_wants
                .push((LinkLog::new(stream, log), WantRange::Cancel));
        }
    }

    /// Requests a log over a link whose peer stores the lines `low` to `high`.
    fn start_request(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        key: LinkLog,
        low: u64,
        high: u64,
    ) {
        let low = low.max(1);
        let was_member = |room| rooms.was_joined_before(room);
        let (from, backfill) = match logs.get(&key.log) {
            Some(range) => (low.max(range.high + 1), None),
            // The recipient of a direct log is entitled to all its lines, so it has no backfill.
            None if key.log.target.room().is_none_or(was_member) => (low, None),
            None => {
                let lines = BACKFILL_LINES;
                let from = low.max((high + 1).saturating_sub(lines));
                (from, Some(Backfill { low, lines }))
            }
        };
        let known = self.progress.get(key.stream, &key.log);
        let request = LogRequest {
            announced: high,
            backfill,
            offer: known.offer().copied(),
            lacked_at: known.request().and_then(|request| request.lacked_at),
            ..LogRequest::new(from, ctx.now.time)
        };
        self.request(key, request);
    }

    /// Makes a link a source of a log that was requested over it as evidence, from the line `from`
    /// on. The peer goes on to send the lines after it.
    pub(super) fn continue_request(
        &mut self,
        ctx: &Context,
        stream: StreamId,
        log: &LogId,
        from: u64,
    ) {
        let request = LogRequest::new(from, ctx.now.time);
        let fetch = FetchState::Requested(Box::new(request));
        self.progress.set_fetch(stream, log, fetch);
    }

    /// Makes a link a source of a log, unless too many logs are requested over it.
    fn request(&mut self, key: LinkLog, request: LogRequest) {
        let fetch = FetchState::Requested(Box::new(request));
        if self.progress.set_fetch(key.stream, &key.log, fetch) {
            self.queued_wants.push((key, WantRange::From(request.from)));
        }
    }

    /// Extends a newcomer's request to earlier lines, if we store no line of the log yet. To be
    /// called for a batch that is news, because earlier lines may be news too.
    ///
    /// Returns whether the request changed. If so, the caller must drop the batch. The source sends
    /// it again after the earlier lines.
    pub(super) fn move_back(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        batch: &Batch,
    ) -> bool {
        let request = self.progress.request_mut(stream, &batch.log);
        let Some(request) = request.filter(|_| logs.get(&batch.log).is_none()) else {
            return false;
        };
        let Some(Backfill { low, lines }) = request.backfill.filter(|it| it.low < batch.sequence)
        else {
            return false;
        };
        request.progress_at = ctx.now.time;
        let first = batch.sequence.min(request.from);
        request.from = first.saturating_sub(lines).max(low);
        request.backfill = Some(Backfill {
            low,
            lines: lines.saturating_mul(2),
        });
        let range = WantRange::From(request.from);
        self.queued_wants
            .push((LinkLog::new(stream, &batch.log), range));
        true
    }

    /// Skips a batch whose content is withheld, because the source lacks the batch's lines. Our
    /// head stays before these lines, so another source can still bring them. If the source's next
    /// batch arrives first, the lines become a gap. A skipped batch does not count as progress of
    /// the source.
    pub(super) fn pass_over(&mut self, ctx: &Context, stream: StreamId, batch: &Batch) {
        let record = self.progress.get(stream, &batch.log);
        let mut request = match record.fetch() {
            FetchState::Requested(request) => **request,
            // The author began to send this log without a request.
            FetchState::Idle | FetchState::Offered(_) => LogRequest {
                offer: record.offer().copied(),
                ..LogRequest::new(0, ctx.now.time)
            },
            FetchState::EvidenceWanted(_) | FetchState::Comparing(_) | FetchState::Refused => {
                return;
            }
        };
        request.skip_to(batch.last_sequence() + 1);
        let fetch = FetchState::Requested(Box::new(request));
        self.progress.set_fetch(stream, &batch.log, fetch);
        self.changed_offers.logs.insert(batch.log.clone());
    }

    /// Sends the queued requests at the end of a turn. While the store fails, sends only
    /// cancellations. The other requests then wait for [`Replication::resume_requests`].
    pub(super) fn send_queued_wants(&mut self, ctx: &mut Context) {
        let mut wants = std::mem::take(&mut self.queued_wants);
        if !self.can_accept() {
            wants.retain(|(key, range)| {
                if let Some(request) = self.progress.request_mut(key.stream, &key.log)
                    && *range != WantRange::Cancel
                {
                    request.is_sent = false;
                }
                *range == WantRange::Cancel
            });
        }
        send_wants(ctx, wants);
    }

    /// Handles a batch that cannot be stored now. The log is requested again when the store has
    /// recovered.
    pub(super) fn postpone_request(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        batch: &Batch,
    ) {
        let log = &batch.log;
        if let Some(request) = self.progress.request_mut(stream, log) {
            request.is_sent = false;
            return;
        }
        let next = logs.get(log).map(|range| range.high + 1);
        let record = self.progress.get(stream, log);
        let can_request = matches!(record.fetch(), FetchState::Idle | FetchState::Offered(_));
        // The author began to send this log without a request.
        if can_request && (next.is_some() || batch.sequence == 1) {
            let request = LogRequest {
                is_sent: false,
                offer: record.offer().copied(),
                ..LogRequest::new(next.unwrap_or(1), ctx.now.time)
            };
            let fetch = FetchState::Requested(Box::new(request));
            self.progress.set_fetch(stream, log, fetch);
        }
    }

    /// Queues the postponed requests. To be called when the store has recovered. While it failed,
    /// no source could bring a batch, so none has stalled.
    pub(super) fn resume_requests(&mut self, ctx: &Context, logs: &Logs) {
        for key in self.progress.unsent_requests() {
            if let Some(request) = self.progress.request_mut(key.stream, &key.log) {
                request.is_sent = true;
                request.progress_at = ctx.now.time;
                request.from = request.from.max(logs.high(&key.log) + 1);
                let range = WantRange::From(request.from);
                self.queued_wants.push((key, range));
            }
        }
    }
}

/// How long a source may bring nothing, in milliseconds, before what `offer` says is tried instead.
fn patience_ms(offer: &Offer) -> u64 {
    SOURCE_SWITCH_MS << offer.tries.saturating_sub(1)
}

/// When a log may be requested from a neighbour that offers it. `progress_at`: when the present
/// source last brought a batch. `None`: there is no source.
fn ready_at(
    ctx: &Context,
    log: &LogId,
    stream: StreamId,
    offer: &Offer,
    progress_at: Option<Time>,
) -> Time {
    let patience = patience_ms(offer);
    match progress_at {
        Some(progress_at) => offer.offered_at.max(progress_at) + patience,
        None if offer.tries > 0 => offer.offered_at + patience,
        // Just after a link began, the author is reachable and may soon be linked too.
        None if ctx.has_route_to_author(log) => {
            let link = ctx.links.get(&stream);
            let linked_at = link.map_or(Time(0), |link| link.established_at);
            offer.offered_at.max(linked_at + SOURCE_SWITCH_MS)
        }
        None => offer.offered_at,
    }
}
