//! From whom each log comes: its author, if that is linked, else one neighbour that is ahead of us; another when that one stays behind.
use ed25519_dalek::VerifyingKey;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Notice, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::logs::Logs;
use crate::node::replication::news::{AGE_SLACK, Met};
use crate::wire::message::{Held, LOGS_MAX, Message, Want, incarnation};

/// Lines of each log that one new to a room asks for.
pub const BACKFILL: u64 = 1000;
/// Milliseconds for which another must have been ahead before the log is asked of it, while the present source brings nothing.
const AHEAD_FOR: u64 = 300;
/// How often that time is doubled for one that was asked in vain.
const DOUBLED_MAX: u32 = 8;
/// Most logs asked for over one link.
const WANTED_MAX: usize = 4_096;
/// Most logs offered over one link: no liar takes the places of others.
const OFFERS_SHARE: usize = 2_048;
/// Most logs of which it is kept where the backfill ends, and the like.
const OFFERED_MAX: usize = 16_384;
/// Most batches that were asked for only to see whether their author said two things.
const SUSPECTS_MAX: usize = 256;
/// Most runs of an author that are kept for each log.
const RUNS_MAX: usize = 8;
/// Most authors without a link of whom the key is kept ready.
const KEYS_MAX: usize = 256;

/// What we asked for, or mean to ask for when the store takes lines again.
struct Wanted {
    from: u64,
    /// Lines up to this one were said before the link stood.
    late: u64,
    /// Lines from this one on were said while our program ran.
    news: u64,
    said: bool,
    /// When it last brought something.
    progress: Time,
}

/// What a neighbour says to hold beyond what we do.
struct Offer {
    held: Held,
    /// Milliseconds by which the author's program is older than ours.
    lead: i64,
    before: bool,
    since: Time,
    /// How often it was asked in vain.
    tries: u32,
}

/// How a batch that comes in stands to what was asked for.
#[derive(Clone, Copy)]
pub struct Standing {
    pub from: u64,
    pub late: bool,
    pub during: bool,
}

#[derive(Default)]
pub struct Sources {
    wanted: Table<(LogId, StreamId), Wanted>,
    offers: Table<LogId, Table<StreamId, Offer>>,
    /// How many of them came over each link.
    shares: Table<StreamId, usize>,
    /// When another neighbour is to be asked, at the earliest, as it was at the end of the last turn in which that changed.
    next: Option<Time>,
    /// It may have changed.
    stirred: bool,
    /// Lines below this were said before we first came into the room.
    backfill: Table<LogId, u64>,
    met: Met,
    /// The first lines of the author's last runs, and the milliseconds by which each program is older than ours.
    starts: Table<LogId, Vec<(u64, i64)>>,
    keys: Table<PeerId, VerifyingKey>,
    /// Logs of which others hold something else than we do: each is reported once.
    forked: Set<LogId>,
    /// Lines that others say to hold otherwise than we do: what they hold is asked for, for only what its author signed accuses him.
    suspects: Table<(StreamId, LogId), u64>,
    /// Logs that are asked of their author beside another.
    both: Set<LogId>,
    /// Who holds something else than we do is not asked for it again.
    refused: Set<(StreamId, LogId)>,
    asks: Vec<(StreamId, LogId, u64)>,
}

impl Sources {
    pub fn keep(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.wanted
            .retain(|(log, stream), _| which(&(*stream, log.clone())));
        self.refused.retain(|key| which(key));
        self.suspects.retain(|key, _| which(key));
        self.keep_offers(|stream, log, _| which(&(stream, log.clone())));
    }

    fn keep_offers(&mut self, which: impl Fn(StreamId, &LogId, &Offer) -> bool) {
        self.stirred = true;
        self.shares.clear();
        let shares = &mut self.shares;
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

    fn withdraw(&mut self, (stream, log): (StreamId, &LogId)) {
        let offers = self.offers.get_mut(log);
        if offers.and_then(|offers| offers.remove(&stream)).is_some() {
            *self.shares.get_or_default(stream) -= 1;
            self.stirred = true;
        }
    }

    pub fn met(&mut self) -> &mut Met {
        &mut self.met
    }

    /// What we lack of this log was said after we had met its author. An offer that a full disk kept us from taking stays what it was.
    fn is_news(
        &self,
        logs: &Logs,
        (stream, log): (StreamId, &LogId),
        (lead, first): (i64, bool),
    ) -> bool {
        let taken = logs.get(log).is_some() || !self.backfill.contains_key(log);
        taken && self.met.is_news(stream, log, lead, first)
    }

    /// The author itself says what it holds: it is the source from now on.
    #[allow(clippy::too_many_arguments)]
    pub fn authors(
        &mut self,
        hub: &Hub,
        logs: &Logs,
        rooms: &Rooms,
        stream: StreamId,
        log: LogId,
        held: &Held,
        before: bool,
    ) {
        let lead = hub.links.get(&stream).map_or(0, |link| link.lead);
        // What it has not said yet will be of this run.
        let start = if held.start > 0 {
            held.start
        } else {
            held.high + 1
        };
        self.starts(&log, start, lead);
        self.dismiss(hub, &log, Some(stream));
        let news = self.is_news(logs, (stream, &log), (lead, false));
        let lead = (!news).then_some(lead);
        self.ask(hub, logs, rooms, (stream, log), held, (lead, before));
    }

    /// A neighbour says what it holds of somebody else's log, or of one of ours that we go on with no more.
    pub fn offered(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        stream: StreamId,
        log: LogId,
        held: &Held,
        before: bool,
    ) {
        if let Some(range) = logs.get(&log)
            && range.high >= held.high
        {
            self.withdraw((stream, &log));
            let own = held.sender == hub.id();
            if range.high == held.high && range.hash != held.hash && !own {
                self.suspect(hub, (stream, log), held.high);
            }
            return;
        }
        let offered = self.offers.get(&log);
        let known = offered.is_some_and(|offers| offers.contains_key(&stream));
        let share = self.shares.get_or_default(stream);
        if !known && *share >= OFFERS_SHARE || self.refused.contains(&(stream, log.clone())) {
            return;
        }
        *share += usize::from(!known);
        self.stirred = true;
        let now = hub.now.time;
        let offers = self.offers.get_or_default(log);
        let offer = offers.get_or_insert_with(stream, || Offer {
            held: held.clone(),
            lead: 0,
            before,
            since: now,
            tries: 0,
        });
        offer.held = held.clone();
        offer.lead = match held.start {
            0 => i64::MAX,
            _ => i64::try_from(held.age).unwrap_or(i64::MAX / 2) - now.0 as i64,
        };
    }

    /// What came over this link does not go on where we stand, and what follows it will not either.
    pub fn refuse(&mut self, hub: &mut Hub, key: &(StreamId, LogId)) {
        self.withdraw((key.0, &key.1));
        self.wanted.remove(&by_log(key));
        self.asks.retain(|ask| ask.0 != key.0 || ask.1 != key.1);
        if self.refused.len() < OFFERED_MAX {
            self.refused.insert(key.clone());
        }
        want(hub, key, (0, 0));
    }

    fn suspect(&mut self, hub: &mut Hub, key: (StreamId, LogId), line: u64) {
        let known = self.forked.contains(&key.1) || self.suspects.contains_key(&key);
        let asked = self.wanted.contains_key(&by_log(&key));
        if !known && !asked && self.suspects.len() < SUSPECTS_MAX {
            want(hub, &key, (line, 0));
            self.suspects.insert(key, line);
        }
    }

    /// Is this what was asked for to see what its author said? Nothing more of it is wanted.
    pub fn is_evidence(&mut self, hub: &mut Hub, key: &(StreamId, LogId), batch: &Batch) -> bool {
        let line = self.suspects.get(key);
        let is = line.is_some_and(|line| batch.sequence <= *line && *line <= batch.last());
        if is {
            self.suspects.remove(key);
            want(hub, key, (0, 0));
        }
        is
    }

    /// Somebody's log has two ends. Said once for each log.
    pub fn fork(&mut self, hub: &mut Hub, log: &LogId, line: u64) {
        if self.forked.len() >= OFFERED_MAX || !self.forked.insert(log.clone()) {
            return;
        }
        let author = hub.name_of(&log.author);
        let content = format!(
            "{author} said two different things as line {line} in {}: the second is left out",
            log.target
        );
        hub.notice(Notice::Error {
            code: "fork",
            content,
        });
    }

    /// Asks for what is offered, of one neighbour for each log. `stalled`: the store takes nothing now.
    pub fn choose(&mut self, hub: &mut Hub, logs: &Logs, rooms: &Rooms, stalled: bool) {
        let now = hub.now.time;
        if !self.stirred && self.next.is_none_or(|at| at > now) {
            return;
        }
        let held = |log: &LogId| logs.get(log).map_or(0, |range| range.high);
        self.keep_offers(|_, log, offer| offer.held.high > held(log));
        if stalled {
            return;
        }
        let mut due = Vec::new();
        for (log, offers) in &self.offers {
            let source = self.source(hub, log);
            let ready = offers.iter().filter(|(stream, offer)| {
                source.is_none_or(|(of, _)| of != **stream)
                    && ready_at(hub, log, offer, source.map(|(_, at)| at)) <= now
            });
            // Who has most; of these the one that was asked least in vain.
            let best = ready.max_by_key(|(_, offer)| (offer.held.high, u32::MAX - offer.tries));
            if let Some((stream, _)) = best {
                due.push((*stream, log.clone()));
            }
        }
        for (stream, log) in due {
            self.dismiss(hub, &log, None);
            let Some(offer) = self
                .offers
                .get_mut(&log)
                .and_then(|offers| offers.get_mut(&stream))
            else {
                continue;
            };
            offer.since = now;
            offer.tries = (offer.tries + 1).min(DOUBLED_MAX);
            let (held, lead, before) = (offer.held.clone(), offer.lead, offer.before);
            if held.start > 0 {
                self.starts(&log, held.start, lead);
            }
            let first = before && self.met.is_first(hub, stream, &log);
            let news = self.is_news(logs, (stream, &log), (lead, first));
            // Who said something in our run was there then, though nobody who stays may have reached it.
            if let Some(room) = log.target.room().filter(|_| lead <= AGE_SLACK) {
                self.met.meet(room, log.author, None, now);
            }
            let lead = (!news).then_some(lead);
            self.ask(hub, logs, rooms, (stream, log), &held, (lead, before));
        }
    }

    /// Another than the author brought a line. When that was the last one that is offered, the author is asked again beside it: the other may be
    /// behind, and nobody offers what the author can bring.
    pub fn caught_up(&mut self, logs: &Logs, other: StreamId, author: StreamId, log: &LogId) {
        let held = logs.get(log).map_or(0, |range| range.high);
        let mut offers = self.offers.get(log).into_iter().flat_map(Table::values);
        if self.both.contains(log) || offers.any(|offer| offer.held.high > held) {
            return;
        }
        let Some(wanted) = self.wanted.get(&(log.clone(), other)) else {
            return;
        };
        let wanted = Wanted {
            from: held + 1,
            ..*wanted
        };
        self.both.insert(log.clone());
        self.asks.push((author, log.clone(), held + 1));
        self.wanted.insert((log.clone(), author), wanted);
    }

    /// The author brought a line: it alone is the source again.
    pub fn by_author(&mut self, hub: &Hub, author: StreamId, log: &LogId) {
        if self.both.contains(log) {
            self.dismiss(hub, log, Some(author));
        }
    }

    /// When another neighbour is to be asked, at the earliest.
    pub fn deadline(&self) -> Option<Time> {
        self.next
    }

    fn look_ahead(&self, hub: &Hub) -> Option<Time> {
        let waits = self.offers.iter().flat_map(|(log, offers)| {
            let source = self.source(hub, log);
            offers
                .iter()
                .filter(move |(stream, _)| source.is_none_or(|(of, _)| of != **stream))
                .map(move |(_, offer)| ready_at(hub, log, offer, source.map(|(_, at)| at)))
        });
        waits.min()
    }

    /// The link over which a log is to come, and when it last brought something.
    fn source(&self, hub: &Hub, log: &LogId) -> Option<(StreamId, Time)> {
        let of_log = self.wanted.from(&(log.clone(), StreamId(0)));
        let mut of_log = of_log.take_while(|((other, _), _)| other == log);
        let linked = of_log.find(|((_, stream), _)| hub.links.contains_key(stream));
        linked.map(|((_, stream), wanted)| (*stream, wanted.progress))
    }

    /// The log is asked of nobody any more, but for `keep`.
    fn dismiss(&mut self, hub: &Hub, log: &LogId, keep: Option<StreamId>) {
        self.both.remove(log);
        self.stirred = true;
        for stream in hub.links.keys().filter(|stream| Some(**stream) != keep) {
            if self.wanted.remove(&(log.clone(), *stream)).is_some() {
                self.asks.push((*stream, log.clone(), 0));
            }
        }
    }

    /// `lead`: milliseconds by which the author's program is older than ours. `None`: all that we lack is news.
    fn ask(
        &mut self,
        hub: &Hub,
        logs: &Logs,
        rooms: &Rooms,
        key: (StreamId, LogId),
        held: &Held,
        (lead, before): (Option<i64>, bool),
    ) {
        if self.over(key.0) >= WANTED_MAX {
            return;
        }
        // A reader is in from the beginning.
        let was_there = |room| rooms.was_before(room);
        let low = held.low.max(1);
        let news = match (lead, held.start) {
            (None, _) => logs.get(&key.1).map_or(low, |range| range.high + 1),
            (Some(lead), start) if lead <= AGE_SLACK && start > 0 => start,
            _ => held.high + 1,
        };
        let from = match logs.get(&key.1) {
            Some(range) => low.max(range.high + 1),
            None if key.1.target.room().is_none_or(was_there) => low,
            None => {
                // One new to a room: the newest lines, as backfill; and as news what was said while this program ran.
                let newest = low.max((held.high + 1).saturating_sub(BACKFILL));
                // What was news when we first met is news still, if nothing of it has come yet.
                let news = self.backfill.get(&key.1).map_or(news, |old| news.min(*old));
                if self.backfill.len() < OFFERED_MAX {
                    self.backfill.insert(key.1.clone(), news);
                }
                newest.min(news).max(low)
            }
        };
        let late = self
            .wanted
            .get(&by_log(&key))
            .map_or(0, |wanted| wanted.late);
        let wanted = Wanted {
            from,
            late: if before { held.high } else { late },
            news,
            said: true,
            progress: hub.now.time,
        };
        self.asks.push((key.0, key.1.clone(), from));
        self.wanted.insert(by_log(&key), wanted);
    }

    /// At a turn's end: what is to be asked for goes out.
    pub fn say(&mut self, hub: &mut Hub, stalled: bool) {
        if std::mem::take(&mut self.stirred) {
            self.next = self.look_ahead(hub);
        }
        let mut messages: Table<(StreamId, String), Vec<Want>> = Table::new();
        for (stream, log, from) in std::mem::take(&mut self.asks) {
            if stalled && from > 0 {
                if let Some(wanted) = self.wanted.get_mut(&(log, stream)) {
                    wanted.said = false;
                }
                continue;
            }
            let want = Want {
                sender: log.author,
                incarnation: incarnation(log.incarnation),
                from,
                to: 0,
            };
            let key = (stream, log.target.to_string());
            messages.get_or_default(key).push(want);
        }
        for ((stream, target), wants) in messages.iter() {
            for part in wants.chunks(LOGS_MAX) {
                let (target, logs) = (target.clone(), part.to_vec());
                hub.send(*stream, &Message::Want { target, logs });
            }
        }
    }

    /// How this batch stands to what was asked for of this link; `None`: it was not.
    pub fn standing(
        &mut self,
        now: Time,
        key: &(StreamId, LogId),
        batch: &Batch,
    ) -> Option<Standing> {
        let wanted = self.wanted.get_mut(&by_log(key))?;
        wanted.progress = now;
        Some(Standing {
            from: wanted.from,
            late: batch.last() <= wanted.late,
            during: batch.sequence >= wanted.news,
        })
    }

    /// Said before we first came into the room.
    pub fn is_backfill(&self, batch: &Batch) -> bool {
        let news = self.backfill.get(&batch.log);
        news.is_some_and(|news| batch.sequence < *news)
    }

    /// The first line of the author's first run that began no earlier than the program for which this is (older than ours by `lead` milliseconds),
    /// else of its last one; and how old that run is. To be passed on with an offer. (0, 0): not known.
    pub fn start(&self, hub: &Hub, log: &LogId, lead: i64) -> (u64, u64) {
        let runs = self.starts.get(log).map_or(&[][..], Vec::as_slice);
        // No slack: what an earlier run said a moment before is no news to one that has just come.
        let during = runs.iter().find(|(_, of)| *of <= lead);
        match during.or(runs.last()) {
            Some((start, of)) => {
                let age = (hub.now.time.0 as i64).saturating_add(*of);
                (*start, u64::try_from(age).unwrap_or(0))
            }
            None => (0, 0),
        }
    }

    /// Where a run of the author's begins, as it said, or as we saw.
    pub fn starts(&mut self, log: &LogId, start: u64, lead: i64) {
        if self.starts.len() < OFFERED_MAX || self.starts.contains_key(log) {
            let runs = self.starts.get_or_default(log.clone());
            runs.retain(|(earlier, _)| *earlier < start);
            runs.push((start, lead));
            if runs.len() > RUNS_MAX {
                runs.remove(1);
            }
        }
    }

    /// The link over which a log is to come.
    pub fn upstream(&self, hub: &Hub, log: &LogId) -> Option<StreamId> {
        self.source(hub, log).map(|(stream, _)| stream)
    }

    /// The key of an author, ready to verify with. `None`: no key, or a weak one.
    pub fn key(&mut self, author: &PeerId) -> Option<VerifyingKey> {
        if let Some(key) = self.keys.get(author) {
            return Some(*key);
        }
        let key = author.key()?;
        if self.keys.len() >= KEYS_MAX {
            self.keys.clear();
        }
        self.keys.insert(*author, key);
        Some(key)
    }

    fn over(&self, stream: StreamId) -> usize {
        // Counted only when there can be so many.
        let many = self.wanted.len() >= WANTED_MAX;
        let wanted = self.wanted.keys().filter(|_| many);
        wanted.filter(|(_, of)| *of == stream).count()
    }

    /// The store takes nothing now: what was left out is asked for when it does.
    pub fn want_later(&mut self, hub: &Hub, logs: &Logs, stream: StreamId, batch: &Batch) {
        let key = (stream, batch.log.clone());
        let room = self.over(stream) < WANTED_MAX;
        let held = logs.get(&batch.log).map(|range| range.high + 1);
        match self.wanted.get_mut(&by_log(&key)) {
            Some(wanted) => wanted.said = false,
            // It came unasked, as the next line of a log that began on this link.
            None if room && (held.is_some() || batch.sequence == 1) => {
                let wanted = Wanted {
                    from: held.unwrap_or(1),
                    late: 0,
                    news: 1,
                    said: false,
                    progress: hub.now.time,
                };
                self.wanted.insert(by_log(&key), wanted);
            }
            None => {}
        }
    }

    /// The store takes lines again.
    pub fn resume(&mut self, logs: &Logs) {
        for ((log, stream), wanted) in self.wanted.iter_mut().filter(|(_, wanted)| !wanted.said) {
            wanted.said = true;
            if let Some(range) = logs.get(log) {
                wanted.from = wanted.from.max(range.high + 1);
            }
            self.asks.push((*stream, log.clone(), wanted.from));
        }
    }
}

/// When this neighbour may be asked. With a source: when it has been ahead for a while, and the source brought nothing meanwhile.
/// Without one: at once, unless the author may be about to be linked itself.
fn ready_at(hub: &Hub, log: &LogId, offer: &Offer, progress: Option<Time>) -> Time {
    let patience = AHEAD_FOR << offer.tries.saturating_sub(1);
    match progress {
        Some(progress) => offer.since.max(progress) + patience,
        None if offer.tries > 0 => offer.since + patience,
        None if offer.before && hub.reaches(log) => offer.since + AHEAD_FOR,
        None => offer.since,
    }
}

/// As the links of one log stand together.
fn by_log((stream, log): &(StreamId, LogId)) -> (LogId, StreamId) {
    (log.clone(), *stream)
}

/// Asks for one log at once.
pub fn want(hub: &mut Hub, (stream, log): &(StreamId, LogId), (from, to): (u64, u64)) {
    let want = Want {
        sender: log.author,
        incarnation: incarnation(log.incarnation),
        from,
        to,
    };
    let (target, logs) = (log.target.to_string(), vec![want]);
    hub.send(*stream, &Message::Want { target, logs });
}
