//! From whom each log comes: its author, if that is linked, else one neighbour that is ahead of us; another when that one stays behind.
use ed25519_dalek::VerifyingKey;

use crate::base::batch::{Batch, LogId};
use crate::base::error_code::ErrorCode;
use crate::base::event::{Notice, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::logs::Logs;
use crate::node::replication::news::{News, START_OFFSET_SLACK_MS};
use crate::wire::message::{
    HaveEntry, LOGS_PER_MESSAGE_MAX, Message, WantEntry, format_incarnation,
};

/// Lines of each log that one new to a room asks for.
pub const BACKFILL_LINES: u64 = 1000;
/// Milliseconds for which another must have been ahead before the log is asked of it, while the present source brings nothing.
const SOURCE_SWITCH_MS: u64 = 300;
/// How often that time is doubled for one that was asked in vain.
const BACKOFF_DOUBLINGS_MAX: u32 = 8;
/// Most logs asked for over one link.
const FETCHES_PER_LINK_MAX: usize = 4_096;
/// Most logs offered over one link: no liar takes the places of others.
const OFFERS_PER_LINK_MAX: usize = 2_048;
/// Most logs of which it is kept where the backfill ends, and the like.
const TRACKED_LOGS_MAX: usize = 16_384;
/// Most batches that were asked for only to see whether their author said two things.
const FORK_PROBES_MAX: usize = 256;
/// Most runs of an author that are kept for each log.
const RUNS_PER_LOG_MAX: usize = 8;
/// Most authors without a link of whom the key is kept ready.
const CACHED_KEYS_MAX: usize = 256;

/// What we asked for, or mean to ask for when the store takes lines again.
struct Fetch {
    from: u64,
    /// Lines up to this one were said before the link stood.
    late_until: u64,
    /// Lines from this one on were said while our program ran.
    news_from: u64,
    is_sent: bool,
    /// When it last brought something.
    progress_at: Time,
}

/// What a neighbour says to hold beyond what we do.
struct Offer {
    entry: HaveEntry,
    /// Milliseconds by which the author's program is older than ours.
    start_offset_ms: i64,
    is_initial: bool,
    offered_at: Time,
    /// How often it was asked in vain.
    tries: u32,
}

/// How a batch that comes in stands to what was asked for.
#[derive(Clone, Copy)]
pub struct FetchMatch {
    pub from: u64,
    pub is_late: bool,
    pub is_during_run: bool,
}

#[derive(Default)]
pub struct Fetcher {
    fetches: SortedMap<(LogId, StreamId), Fetch>,
    offers: SortedMap<LogId, SortedMap<StreamId, Offer>>,
    /// How many of them came over each link.
    offer_counts: SortedMap<StreamId, usize>,
    /// When another neighbour is to be asked, at the earliest, as it was at the end of the last turn in which that changed.
    next_switch_at: Option<Time>,
    /// It may have changed.
    is_stale: bool,
    /// Lines below this were said before we first came into the room.
    backfill_ends: SortedMap<LogId, u64>,
    news: News,
    /// The first lines of the author's last runs, and the milliseconds by which each program is older than ours.
    run_starts: SortedMap<LogId, Vec<(u64, i64)>>,
    cached_keys: SortedMap<PeerId, VerifyingKey>,
    /// Logs of which others hold something else than we do: each is reported once.
    reported_forks: SortedSet<LogId>,
    /// Lines that others say to hold otherwise than we do: what they hold is asked for, for only what its author signed accuses him.
    fork_probes: SortedMap<(StreamId, LogId), u64>,
    /// Logs that are asked of their author beside another.
    dual_sourced: SortedSet<LogId>,
    /// Who holds something else than we do is not asked for it again.
    rejected: SortedSet<(StreamId, LogId)>,
    queued_wants: Vec<(StreamId, LogId, u64)>,
}

impl Fetcher {
    pub fn retain(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.fetches
            .retain(|(log, stream), _| which(&(*stream, log.clone())));
        self.rejected.retain(|key| which(key));
        self.fork_probes.retain(|key, _| which(key));
        self.retain_offers(|stream, log, _| which(&(stream, log.clone())));
    }

    fn retain_offers(&mut self, which: impl Fn(StreamId, &LogId, &Offer) -> bool) {
        self.is_stale = true;
        self.offer_counts.clear();
        let shares = &mut self.offer_counts;
        self.offers.retain(|log, offers| {
            offers.retain(|stream, offer| {
                let keeps = which(*stream, log, offer);
                if keeps {
                    *shares.get_or_default(*stream) += 1;
                }
                keeps
            });
            !offers.is_empty()
        });
    }

    fn remove_offer(&mut self, (stream, log): (StreamId, &LogId)) {
        let offers = self.offers.get_mut(log);
        if offers.and_then(|offers| offers.remove(&stream)).is_some() {
            *self.offer_counts.get_or_default(stream) -= 1;
            self.is_stale = true;
        }
    }

    pub fn news_mut(&mut self) -> &mut News {
        &mut self.news
    }

    /// What we lack of this log was said after we had met its author. An offer that a full disk kept us from taking stays what it was.
    fn is_news(
        &self,
        logs: &Logs,
        (stream, log): (StreamId, &LogId),
        (lead, first): (i64, bool),
    ) -> bool {
        let taken = logs.get(log).is_some() || !self.backfill_ends.contains_key(log);
        taken && self.news.is_news(stream, log, lead, first)
    }

    /// The author itself says what it holds: it is the source from now on.
    #[allow(clippy::too_many_arguments)]
    pub fn handle_author_offer(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        stream: StreamId,
        log: LogId,
        held: &HaveEntry,
        before: bool,
    ) {
        let lead = ctx
            .links
            .get(&stream)
            .map_or(0, |link| link.start_offset_ms);
        // What it has not said yet will be of this run.
        let start = if held.start > 0 {
            held.start
        } else {
            held.high + 1
        };
        self.record_run_start(&log, start, lead);
        self.cancel_fetches(ctx, &log, Some(stream));
        let news = self.is_news(logs, (stream, &log), (lead, false));
        let lead = (!news).then_some(lead);
        self.start_fetch(ctx, logs, rooms, (stream, log), held, (lead, before));
    }

    /// A neighbour says what it holds of somebody else's log, or of one of ours that we go on with no more.
    pub fn handle_offer(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        log: LogId,
        held: &HaveEntry,
        before: bool,
    ) {
        if let Some(range) = logs.get(&log)
            && range.high >= held.high
        {
            self.remove_offer((stream, &log));
            let own = held.sender == ctx.own_id();
            if range.high == held.high && range.hash != held.hash && !own {
                self.probe_fork(ctx, (stream, log), held.high);
            }
            return;
        }
        let offered = self.offers.get(&log);
        let known = offered.is_some_and(|offers| offers.contains_key(&stream));
        let share = self.offer_counts.get_or_default(stream);
        if !known && *share >= OFFERS_PER_LINK_MAX || self.rejected.contains(&(stream, log.clone()))
        {
            return;
        }
        *share += usize::from(!known);
        self.is_stale = true;
        let now = ctx.now.time;
        let offers = self.offers.get_or_default(log);
        let offer = offers.get_or_insert_with(stream, || Offer {
            entry: held.clone(),
            start_offset_ms: 0,
            is_initial: before,
            offered_at: now,
            tries: 0,
        });
        offer.entry = held.clone();
        offer.start_offset_ms = match held.start {
            0 => i64::MAX,
            _ => i64::try_from(held.age).unwrap_or(i64::MAX / 2) - now.0 as i64,
        };
    }

    /// What came over this link does not go on where we stand, and what follows it will not either.
    pub fn reject_source(&mut self, ctx: &mut Context, key: &(StreamId, LogId)) {
        self.remove_offer((key.0, &key.1));
        self.fetches.remove(&fetch_key(key));
        self.queued_wants
            .retain(|ask| ask.0 != key.0 || ask.1 != key.1);
        if self.rejected.len() < TRACKED_LOGS_MAX {
            self.rejected.insert(key.clone());
        }
        send_want(ctx, key, (0, 0));
    }

    fn probe_fork(&mut self, ctx: &mut Context, key: (StreamId, LogId), line: u64) {
        let known = self.reported_forks.contains(&key.1) || self.fork_probes.contains_key(&key);
        let asked = self.fetches.contains_key(&fetch_key(&key));
        if !known && !asked && self.fork_probes.len() < FORK_PROBES_MAX {
            send_want(ctx, &key, (line, 0));
            self.fork_probes.insert(key, line);
        }
    }

    /// Is this what was asked for to see what its author said? Nothing more of it is wanted.
    pub fn take_fork_probe(
        &mut self,
        ctx: &mut Context,
        key: &(StreamId, LogId),
        batch: &Batch,
    ) -> bool {
        let line = self.fork_probes.get(key);
        let is = line.is_some_and(|line| batch.sequence <= *line && *line <= batch.last_sequence());
        if is {
            self.fork_probes.remove(key);
            send_want(ctx, key, (0, 0));
        }
        is
    }

    /// Somebody's log has two ends. Said once for each log.
    pub fn report_fork(&mut self, ctx: &mut Context, log: &LogId, line: u64) {
        if self.reported_forks.len() >= TRACKED_LOGS_MAX || !self.reported_forks.insert(log.clone())
        {
            return;
        }
        let author = ctx.display_peer(&log.author);
        let content = format!(
            "{author} said two different things as line {line} in {}: the second is left out",
            log.target
        );
        ctx.notify(Notice::Error {
            code: ErrorCode::Fork,
            content,
        });
    }

    /// Asks for what is offered, of one neighbour for each log. `stalled`: the store takes nothing now.
    pub fn select_sources(&mut self, ctx: &mut Context, logs: &Logs, rooms: &Rooms, stalled: bool) {
        let now = ctx.now.time;
        if !self.is_stale && self.next_switch_at.is_none_or(|at| at > now) {
            return;
        }
        let held = |log: &LogId| logs.get(log).map_or(0, |range| range.high);
        self.retain_offers(|_, log, offer| offer.entry.high > held(log));
        if stalled {
            return;
        }
        let mut due = Vec::new();
        for (log, offers) in &self.offers {
            let source = self.source(ctx, log);
            let ready = offers.iter().filter(|(stream, offer)| {
                source.is_none_or(|(of, _)| of != **stream)
                    && ready_at(ctx, log, offer, source.map(|(_, at)| at)) <= now
            });
            // Who has most; of these the one that was asked least in vain.
            let best = ready.max_by_key(|(_, offer)| (offer.entry.high, u32::MAX - offer.tries));
            if let Some((stream, _)) = best {
                due.push((*stream, log.clone()));
            }
        }
        for (stream, log) in due {
            self.cancel_fetches(ctx, &log, None);
            let Some(offer) = self
                .offers
                .get_mut(&log)
                .and_then(|offers| offers.get_mut(&stream))
            else {
                continue;
            };
            offer.offered_at = now;
            offer.tries = (offer.tries + 1).min(BACKOFF_DOUBLINGS_MAX);
            let (held, lead, before) =
                (offer.entry.clone(), offer.start_offset_ms, offer.is_initial);
            if held.start > 0 {
                self.record_run_start(&log, held.start, lead);
            }
            let first = before && self.news.is_first_link(ctx, stream, &log);
            let news = self.is_news(logs, (stream, &log), (lead, first));
            // Who said something in our run was there then, though nobody who stays may have reached it.
            if let Some(room) = log.target.room().filter(|_| lead <= START_OFFSET_SLACK_MS) {
                self.news.record_contact(room, log.author, None, now);
            }
            let lead = (!news).then_some(lead);
            self.start_fetch(ctx, logs, rooms, (stream, log), &held, (lead, before));
        }
    }

    /// Another than the author brought a line. When that was the last one that is offered, the author is asked again beside it: the other may be
    /// behind, and nobody offers what the author can bring.
    pub fn add_author_source(
        &mut self,
        logs: &Logs,
        other: StreamId,
        author: StreamId,
        log: &LogId,
    ) {
        let held = logs.get(log).map_or(0, |range| range.high);
        let mut offers = self.offers.get(log).into_iter().flat_map(SortedMap::values);
        if self.dual_sourced.contains(log) || offers.any(|offer| offer.entry.high > held) {
            return;
        }
        let Some(wanted) = self.fetches.get(&(log.clone(), other)) else {
            return;
        };
        let wanted = Fetch {
            from: held + 1,
            ..*wanted
        };
        self.dual_sourced.insert(log.clone());
        self.queued_wants.push((author, log.clone(), held + 1));
        self.fetches.insert((log.clone(), author), wanted);
    }

    /// The author brought a line: it alone is the source again.
    pub fn prefer_author(&mut self, ctx: &Context, author: StreamId, log: &LogId) {
        if self.dual_sourced.contains(log) {
            self.cancel_fetches(ctx, log, Some(author));
        }
    }

    /// When another neighbour is to be asked, at the earliest.
    pub fn deadline(&self) -> Option<Time> {
        self.next_switch_at
    }

    fn next_ready_at(&self, ctx: &Context) -> Option<Time> {
        let waits = self.offers.iter().flat_map(|(log, offers)| {
            let source = self.source(ctx, log);
            offers
                .iter()
                .filter(move |(stream, _)| source.is_none_or(|(of, _)| of != **stream))
                .map(move |(_, offer)| ready_at(ctx, log, offer, source.map(|(_, at)| at)))
        });
        waits.min()
    }

    /// The link over which a log is to come, and when it last brought something.
    fn source(&self, ctx: &Context, log: &LogId) -> Option<(StreamId, Time)> {
        let of_log = self.fetches.iter_from(&(log.clone(), StreamId(0)));
        let mut of_log = of_log.take_while(|((other, _), _)| other == log);
        let linked = of_log.find(|((_, stream), _)| ctx.links.contains_key(stream));
        linked.map(|((_, stream), wanted)| (*stream, wanted.progress_at))
    }

    /// The log is asked of nobody any more, but for `keep`.
    fn cancel_fetches(&mut self, ctx: &Context, log: &LogId, keep: Option<StreamId>) {
        self.dual_sourced.remove(log);
        self.is_stale = true;
        for stream in ctx.links.keys().filter(|stream| Some(**stream) != keep) {
            if self.fetches.remove(&(log.clone(), *stream)).is_some() {
                self.queued_wants.push((*stream, log.clone(), 0));
            }
        }
    }

    /// `lead`: milliseconds by which the author's program is older than ours. `None`: all that we lack is news.
    fn start_fetch(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        key: (StreamId, LogId),
        held: &HaveEntry,
        (lead, before): (Option<i64>, bool),
    ) {
        if self.fetch_count(key.0) >= FETCHES_PER_LINK_MAX {
            return;
        }
        // A reader is in from the beginning.
        let was_there = |room| rooms.was_joined_before(room);
        let low = held.low.max(1);
        let news = match (lead, held.start) {
            (None, _) => logs.get(&key.1).map_or(low, |range| range.high + 1),
            (Some(lead), start) if lead <= START_OFFSET_SLACK_MS && start > 0 => start,
            _ => held.high + 1,
        };
        let from = match logs.get(&key.1) {
            Some(range) => low.max(range.high + 1),
            None if key.1.target.room().is_none_or(was_there) => low,
            None => {
                // One new to a room: the newest lines, as backfill; and as news what was said while this program ran.
                let newest = low.max((held.high + 1).saturating_sub(BACKFILL_LINES));
                // What was news when we first met is news still, if nothing of it has come yet.
                let news = self
                    .backfill_ends
                    .get(&key.1)
                    .map_or(news, |old| news.min(*old));
                if self.backfill_ends.len() < TRACKED_LOGS_MAX {
                    self.backfill_ends.insert(key.1.clone(), news);
                }
                newest.min(news).max(low)
            }
        };
        let late = self
            .fetches
            .get(&fetch_key(&key))
            .map_or(0, |wanted| wanted.late_until);
        let wanted = Fetch {
            from,
            late_until: if before { held.high } else { late },
            news_from: news,
            is_sent: true,
            progress_at: ctx.now.time,
        };
        self.queued_wants.push((key.0, key.1.clone(), from));
        self.fetches.insert(fetch_key(&key), wanted);
    }

    /// At a turn's end: what is to be asked for goes out.
    pub fn send_wants(&mut self, ctx: &mut Context, stalled: bool) {
        if std::mem::take(&mut self.is_stale) {
            self.next_switch_at = self.next_ready_at(ctx);
        }
        let mut messages: SortedMap<(StreamId, String), Vec<WantEntry>> = SortedMap::new();
        for (stream, log, from) in std::mem::take(&mut self.queued_wants) {
            if stalled && from > 0 {
                if let Some(wanted) = self.fetches.get_mut(&(log, stream)) {
                    wanted.is_sent = false;
                }
                continue;
            }
            let want = WantEntry {
                sender: log.author,
                incarnation: format_incarnation(log.incarnation),
                from,
                to: 0,
            };
            let key = (stream, log.target.to_string());
            messages.get_or_default(key).push(want);
        }
        for ((stream, target), wants) in messages.iter() {
            for part in wants.chunks(LOGS_PER_MESSAGE_MAX) {
                let (target, logs) = (target.clone(), part.to_vec());
                ctx.send(*stream, &Message::Want { target, logs });
            }
        }
    }

    /// How this batch stands to what was asked for of this link; `None`: it was not.
    pub fn match_fetch(
        &mut self,
        now: Time,
        key: &(StreamId, LogId),
        batch: &Batch,
    ) -> Option<FetchMatch> {
        let wanted = self.fetches.get_mut(&fetch_key(key))?;
        wanted.progress_at = now;
        Some(FetchMatch {
            from: wanted.from,
            is_late: batch.last_sequence() <= wanted.late_until,
            is_during_run: batch.sequence >= wanted.news_from,
        })
    }

    /// Said before we first came into the room.
    pub fn is_backfill(&self, batch: &Batch) -> bool {
        let news = self.backfill_ends.get(&batch.log);
        news.is_some_and(|news| batch.sequence < *news)
    }

    /// The first line of the author's first run that began no earlier than the program for which this is (older than ours by `lead` milliseconds),
    /// else of its last one; and how old that run is. To be passed on with an offer. (0, 0): not known.
    pub fn run_start(&self, ctx: &Context, log: &LogId, lead: i64) -> (u64, u64) {
        let runs = self.run_starts.get(log).map_or(&[][..], Vec::as_slice);
        // No slack: what an earlier run said a moment before is no news to one that has just come.
        let during = runs.iter().find(|(_, of)| *of <= lead);
        match during.or(runs.last()) {
            Some((start, of)) => {
                let age = (ctx.now.time.0 as i64).saturating_add(*of);
                (*start, u64::try_from(age).unwrap_or(0))
            }
            None => (0, 0),
        }
    }

    /// Where a run of the author's begins, as it said, or as we saw.
    pub fn record_run_start(&mut self, log: &LogId, start: u64, lead: i64) {
        if self.run_starts.len() < TRACKED_LOGS_MAX || self.run_starts.contains_key(log) {
            let runs = self.run_starts.get_or_default(log.clone());
            runs.retain(|(earlier, _)| *earlier < start);
            runs.push((start, lead));
            if runs.len() > RUNS_PER_LOG_MAX {
                runs.remove(1);
            }
        }
    }

    /// The link over which a log is to come.
    pub fn upstream(&self, ctx: &Context, log: &LogId) -> Option<StreamId> {
        self.source(ctx, log).map(|(stream, _)| stream)
    }

    /// The key of an author, ready to verify with. `None`: no key, or a weak one.
    pub fn author_key(&mut self, author: &PeerId) -> Option<VerifyingKey> {
        if let Some(key) = self.cached_keys.get(author) {
            return Some(*key);
        }
        let key = author.verifying_key()?;
        if self.cached_keys.len() >= CACHED_KEYS_MAX {
            self.cached_keys.clear();
        }
        self.cached_keys.insert(*author, key);
        Some(key)
    }

    fn fetch_count(&self, stream: StreamId) -> usize {
        // Counted only when there can be so many.
        let many = self.fetches.len() >= FETCHES_PER_LINK_MAX;
        let wanted = self.fetches.keys().filter(|_| many);
        wanted.filter(|(_, of)| *of == stream).count()
    }

    /// The store takes nothing now: what was left out is asked for when it does.
    pub fn postpone_fetch(&mut self, ctx: &Context, logs: &Logs, stream: StreamId, batch: &Batch) {
        let key = (stream, batch.log.clone());
        let room = self.fetch_count(stream) < FETCHES_PER_LINK_MAX;
        let held = logs.get(&batch.log).map(|range| range.high + 1);
        match self.fetches.get_mut(&fetch_key(&key)) {
            Some(wanted) => wanted.is_sent = false,
            // It came unasked, as the next line of a log that began on this link.
            None if room && (held.is_some() || batch.sequence == 1) => {
                let wanted = Fetch {
                    from: held.unwrap_or(1),
                    late_until: 0,
                    news_from: 1,
                    is_sent: false,
                    progress_at: ctx.now.time,
                };
                self.fetches.insert(fetch_key(&key), wanted);
            }
            None => {}
        }
    }

    /// The store takes lines again.
    pub fn resume(&mut self, logs: &Logs) {
        for ((log, stream), wanted) in self
            .fetches
            .iter_mut()
            .filter(|(_, wanted)| !wanted.is_sent)
        {
            wanted.is_sent = true;
            if let Some(range) = logs.get(log) {
                wanted.from = wanted.from.max(range.high + 1);
            }
            self.queued_wants.push((*stream, log.clone(), wanted.from));
        }
    }
}

/// When this neighbour may be asked. With a source: when it has been ahead for a while, and the source brought nothing meanwhile.
/// Without one: at once, unless the author may be about to be linked itself.
fn ready_at(ctx: &Context, log: &LogId, offer: &Offer, progress: Option<Time>) -> Time {
    let patience = SOURCE_SWITCH_MS << offer.tries.saturating_sub(1);
    match progress {
        Some(progress) => offer.offered_at.max(progress) + patience,
        None if offer.tries > 0 => offer.offered_at + patience,
        None if offer.is_initial && ctx.has_route_to_author(log) => {
            offer.offered_at + SOURCE_SWITCH_MS
        }
        None => offer.offered_at,
    }
}

/// As the links of one log stand together.
fn fetch_key((stream, log): &(StreamId, LogId)) -> (LogId, StreamId) {
    (log.clone(), *stream)
}

/// Asks for one log at once.
pub fn send_want(ctx: &mut Context, (stream, log): &(StreamId, LogId), (from, to): (u64, u64)) {
    let want = WantEntry {
        sender: log.author,
        incarnation: format_incarnation(log.incarnation),
        from,
        to,
    };
    let (target, logs) = (log.target.to_string(), vec![want]);
    ctx.send(*stream, &Message::Want { target, logs });
}
