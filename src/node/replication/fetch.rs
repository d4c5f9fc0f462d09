//! Selects the source of each log: the neighbour from which we request the log. A linked author is
//! the source of its own logs. Otherwise, the source is a neighbour that is ahead of us. If the
//! source stalls, another neighbour replaces it.
//!
//! This is the receiving half of EBT (epidemic broadcast trees; Plumtree, Leitão et al., 2007).
//! One source per log sends lines. All other neighbours only offer them.
use crate::base::batch::{Batch, LogId};
use crate::base::event::StreamId;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::logs::Logs;
use crate::node::replication::offers::{Offer, Offers, ReceivedEntry};
use crate::node::replication::want::{WantRange, want_entry};
use crate::wire::message::{LOGS_PER_MESSAGE_MAX, Message, WantEntry};

/// A peer that is new to a room requests this many of the newest lines of each log.
pub const BACKFILL_LINES: u64 = 1000;
/// Milliseconds without a batch after which another neighbour replaces the source of a log.
const SOURCE_SWITCH_MS: u64 = 300;
/// Upper bound of [`Offer::tries`]. After the first try, the next one waits [`SOURCE_SWITCH_MS`].
/// Each further try doubles the wait, up to 38 seconds.
const BACKOFF_DOUBLINGS_MAX: u32 = 8;
/// Most logs requested over one link.
const FETCHES_PER_LINK_MAX: usize = 4_096;

/// A request for one log over one link.
struct Fetch {
    /// Sequence of the first line that was requested.
    from: u64,
    /// For a log of which we store nothing yet: how far the request may still move back.
    backfill: Option<Backfill>,
    /// Whether the request was sent. If not, it waits until the store has recovered.
    is_sent: bool,
    /// When the request last brought a batch. Before its first batch: when the request was made.
    progress_at: Time,
}

/// A request of a newcomer to a room. It asks for the newest [`BACKFILL_LINES`] lines. If the first
/// of them is news, it moves back, because older lines may be news as well.
#[derive(Clone, Copy)]
struct Backfill {
    /// Sequence of the first line that the source stores.
    low: u64,
    /// Number of lines requested so far. Doubles with each move.
    lines: u64,
}

/// A `want` entry to be sent at the end of the turn.
struct QueuedWant {
    key: LinkLog,
    range: WantRange,
}

/// Our requests for logs, and the offers from which we choose the sources.
#[derive(Default)]
pub struct Fetcher {
    /// Our requests, sorted by log and then by link. All requests for one log are thus adjacent.
    fetches: SortedMap<(LogId, StreamId), Fetch>,
    offers: Offers,
    /// The earliest time at which a source may be replaced. If `is_stale`, [`Fetcher::send_wants`]
    /// computes it again.
    next_switch_at: Option<Time>,
    /// Whether `next_switch_at` may be wrong, because offers or requests have changed.
    is_stale: bool,
    /// Logs that are requested both from their author and from another neighbour.
    dual_sourced: SortedSet<LogId>,
    queued_wants: Vec<QueuedWant>,
}

impl Fetcher {
    /// Forgets the requests and offers for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        self.fetches.retain(|(log, stream), _| keeps(*stream, log));
        self.offers.retain(|stream, log, _| keeps(stream, log));
        self.is_stale = true;
    }

    /// Handles an offer that the log's author sent. Makes the author the only source.
    pub fn handle_author_offer(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        received: &ReceivedEntry,
    ) {
        let ReceivedEntry { key, .. } = received;
        self.cancel_fetches(ctx, &key.log, Some(key.stream));
        self.start_fetch(ctx, logs, rooms, received);
    }

    /// Handles an offer whose sender is not the log's author. The log may be one that we wrote in
    /// an earlier incarnation.
    pub fn handle_offer(&mut self, ctx: &Context, received: &ReceivedEntry) {
        if self.offers.record(ctx.now.time, received) {
            self.is_stale = true;
        }
    }

    /// Removes the offer of this log over this link.
    pub fn remove_offer(&mut self, key: &LinkLog) {
        if self.offers.remove(key) {
            self.is_stale = true;
        }
    }

    /// Whether this log is requested over this link.
    pub fn is_fetching(&self, key: &LinkLog) -> bool {
        self.fetches.contains_key(&fetch_key(key))
    }

    /// Forgets the request and the offer of this log on this link.
    pub fn drop_source(&mut self, key: &LinkLog) {
        self.remove_offer(key);
        self.fetches.remove(&fetch_key(key));
        self.queued_wants.retain(|want| want.key != *key);
    }

    /// Requests each offered log from the best neighbour, among those that may be requested now. If
    /// `store_failed`, requests nothing.
    pub fn select_sources(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        rooms: &Rooms,
        store_failed: bool,
    ) {
        let now = ctx.now.time;
        if !self.is_stale && self.next_switch_at.is_none_or(|at| at > now) {
            return;
        }
        let is_ahead = |log: &LogId, offer: &Offer| offer.entry.high > logs.high(log);
        self.offers.retain(|_, log, offer| is_ahead(log, offer));
        self.is_stale = true;
        if store_failed {
            return;
        }
        for key in self.due_sources(ctx) {
            self.take_up_offer(ctx, logs, rooms, key);
        }
    }

    /// For each log: the best neighbour from which it may be requested now. See [`ready_at`].
    fn due_sources(&self, ctx: &Context) -> Vec<LinkLog> {
        let mut due = Vec::new();
        for log in self.offers.logs() {
            let source = self.source(ctx, log);
            let ready = self.offers.of_log(log).filter(|(stream, offer)| {
                source.is_none_or(|(of, _)| of != *stream)
                    && ready_at(ctx, log, *stream, offer, source.map(|(_, at)| at)) <= ctx.now.time
            });
            // Most lines first. Among equals, fewest tries.
            let best = ready.max_by_key(|(_, offer)| (offer.entry.high, u32::MAX - offer.tries));
            if let Some((stream, _)) = best {
                due.push(LinkLog::new(stream, log));
            }
        }
        due
    }

    /// Requests a log from a neighbour that offers it. Cancels the requests for this log on all
    /// other links.
    fn take_up_offer(&mut self, ctx: &Context, logs: &Logs, rooms: &Rooms, key: LinkLog) {
        self.cancel_fetches(ctx, &key.log, None);
        let Some(offer) = self.offers.get_mut(&key) else {
            return;
        };
        offer.offered_at = ctx.now.time;
        offer.tries = (offer.tries + 1).min(BACKOFF_DOUBLINGS_MAX);
        let entry = offer.entry.clone();
        let received = ReceivedEntry { entry: &entry, key };
        self.start_fetch(ctx, logs, rooms, &received);
    }

    /// Requests a log from its author in addition to the present source. Does nothing if a
    /// neighbour offers more lines than we store. `other`: the link to the present source.
    ///
    /// The author may store lines that no neighbour offers. If the present source stalls, this
    /// request still brings these lines.
    pub fn add_author_source(
        &mut self,
        logs: &Logs,
        other: StreamId,
        author: StreamId,
        log: &LogId,
    ) {
        let high = logs.high(log);
        let is_ahead = |(_, offer): (StreamId, &Offer)| offer.entry.high > high;
        if self.dual_sourced.contains(log) || self.offers.of_log(log).any(is_ahead) {
            return;
        }
        let Some(fetch) = self.fetches.get(&(log.clone(), other)) else {
            return;
        };
        let fetch = Fetch {
            from: high + 1,
            ..*fetch
        };
        self.dual_sourced.insert(log.clone());
        self.queue_want(LinkLog::new(author, log), WantRange::From(high + 1));
        self.fetches.insert((log.clone(), author), fetch);
    }

    /// If a log has two sources, makes the author the only source. To be called when the author has
    /// sent a line.
    pub fn prefer_author(&mut self, ctx: &Context, author: StreamId, log: &LogId) {
        if self.dual_sourced.contains(log) {
            self.cancel_fetches(ctx, log, Some(author));
        }
    }

    /// When to call [`Fetcher::select_sources`] next.
    pub fn deadline(&self) -> Option<Time> {
        self.next_switch_at
    }

    fn next_ready_at(&self, ctx: &Context) -> Option<Time> {
        let waits = self.offers.logs().flat_map(|log| {
            let source = self.source(ctx, log);
            self.offers
                .of_log(log)
                .filter(move |(stream, _)| source.is_none_or(|(of, _)| of != *stream))
                .map(move |(stream, offer)| {
                    ready_at(ctx, log, stream, offer, source.map(|(_, at)| at))
                })
        });
        waits.min()
    }

    /// The link over which a log is requested, and [`Fetch::progress_at`] of the request.
    fn source(&self, ctx: &Context, log: &LogId) -> Option<(StreamId, Time)> {
        let of_log = self.fetches.iter_from(&(log.clone(), StreamId(0)));
        let mut of_log = of_log.take_while(|((other, _), _)| other == log);
        let linked = of_log.find(|((_, stream), _)| ctx.links.contains_key(stream));
        linked.map(|((_, stream), fetch)| (*stream, fetch.progress_at))
    }

    /// The link over which a log is requested. `None`: the log is not requested.
    pub fn upstream(&self, ctx: &Context, log: &LogId) -> Option<StreamId> {
        self.source(ctx, log).map(|(stream, _)| stream)
    }

    /// Cancels the requests for a log on all links except `keep`.
    fn cancel_fetches(&mut self, ctx: &Context, log: &LogId, keep: Option<StreamId>) {
        self.dual_sourced.remove(log);
        self.is_stale = true;
        for stream in ctx.links.keys().filter(|stream| Some(**stream) != keep) {
            if self.fetches.remove(&(log.clone(), *stream)).is_some() {
                self.queue_want(LinkLog::new(*stream, log), WantRange::Cancel);
            }
        }
    }

    fn start_fetch(&mut self, ctx: &Context, logs: &Logs, rooms: &Rooms, received: &ReceivedEntry) {
        let ReceivedEntry { key, entry } = received;
        if self.fetch_count(key.stream) >= FETCHES_PER_LINK_MAX {
            return;
        }
        let low = entry.low.max(1);
        let was_member = |room| rooms.was_joined_before(room);
        let (from, backfill) = match logs.get(&key.log) {
            Some(range) => (low.max(range.high + 1), None),
            // The recipient of a direct log is entitled to all its lines, so it has no backfill.
            None if key.log.target.room().is_none_or(was_member) => (low, None),
            None => {
                let lines = BACKFILL_LINES;
                let from = low.max((entry.high + 1).saturating_sub(lines));
                (from, Some(Backfill { low, lines }))
            }
        };
        let fetch = Fetch {
            from,
            backfill,
            is_sent: true,
            progress_at: ctx.now.time,
        };
        self.queue_want(key.clone(), WantRange::From(from));
        self.fetches.insert(fetch_key(key), fetch);
    }

    /// Moves a newcomer's request back, if this batch would be the first one that we store of its
    /// log. To be called for a batch that is news. Returns whether the request moved. The batch
    /// must then be dropped, because it comes again.
    pub fn move_back(&mut self, logs: &Logs, key: &LinkLog, batch: &Batch) -> bool {
        let fetch = self.fetches.get_mut(&fetch_key(key));
        let Some(fetch) = fetch.filter(|_| logs.get(&key.log).is_none()) else {
            return false;
        };
        let Some(Backfill { low, lines }) = fetch.backfill.filter(|it| it.low < batch.sequence)
        else {
            return false;
        };
        fetch.from = batch
            .sequence
            .min(fetch.from)
            .saturating_sub(lines)
            .max(low);
        fetch.backfill = Some(Backfill {
            low,
            lines: lines.saturating_mul(2),
        });
        let range = WantRange::From(fetch.from);
        self.queue_want(key.clone(), range);
        true
    }

    fn queue_want(&mut self, key: LinkLog, range: WantRange) {
        self.queued_wants.push(QueuedWant { key, range });
    }

    /// Sends the queued requests at the end of a turn. If `store_failed`, sends only cancellations.
    /// The other requests then wait for [`Fetcher::resume`].
    pub fn send_wants(&mut self, ctx: &mut Context, store_failed: bool) {
        if std::mem::take(&mut self.is_stale) {
            self.next_switch_at = self.next_ready_at(ctx);
        }
        let mut messages: SortedMap<(StreamId, String), Vec<WantEntry>> = SortedMap::new();
        for QueuedWant { key, range } in std::mem::take(&mut self.queued_wants) {
            if store_failed && range != WantRange::Cancel {
                if let Some(fetch) = self.fetches.get_mut(&fetch_key(&key)) {
                    fetch.is_sent = false;
                }
                continue;
            }
            let message = messages.get_or_default((key.stream, key.log.target.to_string()));
            message.push(want_entry(&key.log, range));
        }
        for ((stream, target), wants) in messages.iter() {
            for part in wants.chunks(LOGS_PER_MESSAGE_MAX) {
                let (target, logs) = (target.clone(), part.to_vec());
                ctx.send(*stream, &Message::Want { target, logs });
            }
        }
    }

    /// Finds the request that this batch answers, and records the request's progress. Returns the
    /// sequence of the first requested line. `None`: the batch answers no request.
    pub fn match_fetch(&mut self, now: Time, key: &LinkLog) -> Option<u64> {
        let fetch = self.fetches.get_mut(&fetch_key(key))?;
        fetch.progress_at = now;
        Some(fetch.from)
    }

    fn fetch_count(&self, stream: StreamId) -> usize {
        // Counts only if the table is large enough for one link to have reached the bound.
        let is_large = self.fetches.len() >= FETCHES_PER_LINK_MAX;
        let scanned = self.fetches.keys().filter(|_| is_large);
        scanned.filter(|(_, of)| *of == stream).count()
    }

    /// Handles a batch that cannot be stored now. The log is requested again when the store has
    /// recovered.
    pub fn postpone_fetch(&mut self, ctx: &Context, logs: &Logs, stream: StreamId, batch: &Batch) {
        let key = (batch.log.clone(), stream);
        let has_place = self.fetch_count(stream) < FETCHES_PER_LINK_MAX;
        let next = logs.get(&batch.log).map(|range| range.high + 1);
        match self.fetches.get_mut(&key) {
            Some(fetch) => fetch.is_sent = false,
            // The author began to send this log without a request.
            None if has_place && (next.is_some() || batch.sequence == 1) => {
                let fetch = Fetch {
                    from: next.unwrap_or(1),
                    backfill: None,
                    is_sent: false,
                    progress_at: ctx.now.time,
                };
                self.fetches.insert(key, fetch);
            }
            None => {}
        }
    }

    /// Queues the postponed requests. To be called when the store has recovered.
    pub fn resume(&mut self, logs: &Logs) {
        let fetches = self.fetches.iter_mut();
        for ((log, stream), fetch) in fetches.filter(|(_, fetch)| !fetch.is_sent) {
            fetch.is_sent = true;
            if let Some(range) = logs.get(log) {
                fetch.from = fetch.from.max(range.high + 1);
            }
            self.queued_wants.push(QueuedWant {
                key: LinkLog::new(*stream, log),
                range: WantRange::From(fetch.from),
            });
        }
    }
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
    let patience = SOURCE_SWITCH_MS << offer.tries.saturating_sub(1);
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

fn fetch_key(key: &LinkLog) -> (LogId, StreamId) {
    (key.log.clone(), key.stream)
}
