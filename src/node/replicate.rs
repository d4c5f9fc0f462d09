//! How lines travel: what is held is said, what is lacked comes in, and both are passed on. From whom a log comes is in `sources`, what has
//! been sent to whom in `cursors`.
use std::collections::VecDeque;
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;

use super::cursors::{AGAIN, Cursors, held, load_again, shared_room};
use super::hub::Hub;
use super::link::Link;
use super::logs::{Fit, Logs};
use super::receipts::Receipts;
use super::rooms::Rooms;
use super::sources::Sources;
use crate::base::batch::{Batch, Lines, Local, LogId, Range};
use crate::base::event::{Chat, Notice, Output, Peer, Position, StreamId};
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{Room, Target};
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::wire::message::{Have, Held, LOGS_MAX, Message, log, receipt};

/// Milliseconds after which a store that failed is tried again.
const RETRY: u64 = 5_000;
/// Milliseconds from one receipt on a link to the next: receipts are cumulative, and each costs both sides about what a line does.
const RECEIPTS_EVERY: u64 = 5;
/// Milliseconds from one offer of others' lines on a link to the next.
const OFFERS_EVERY: u64 = 1_000;

/// What became of foreign bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// The peer breaks the protocol: its link must end.
    Broken,
}

#[derive(Default)]
pub struct Replicate {
    cursors: Cursors,
    sources: Sources,
    receipts_due: Set<(StreamId, LogId)>,
    /// Others' logs to be offered; true: it was held when the room was first shared.
    offers_due: Table<(StreamId, LogId), bool>,
    /// Lines that the store refused, to be said when it takes them.
    unsaid: VecDeque<(Room, Lines, bool)>,
    /// The store failed; when to try again.
    stalled: Option<Time>,
    /// When it last failed.
    failed: Option<Time>,
}

impl Replicate {
    /// How far our logs have been sent.
    pub fn cursors(&mut self) -> &mut Cursors {
        &mut self.cursors
    }

    /// See [`Cursors::floor`].
    pub fn floor(&self, hub: &Hub, receipts: &Receipts, log: &LogId) -> Option<u64> {
        self.cursors.floor(hub, receipts, log)
    }

    /// More may be said. Otherwise what is said now waits in memory.
    pub fn accepting(&self) -> bool {
        self.stalled.is_none()
    }

    /// What the store read: for a link that lags, or to be said again.
    pub fn loaded(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        receipts: &mut Receipts,
        (key, from): ((StreamId, LogId), u64),
        batches: &[Batch],
        at: Option<Position>,
    ) {
        if key.0 != AGAIN {
            let key = (key, from);
            return self.cursors.loaded(hub, logs, receipts, key, batches, at);
        }
        let (Some(room), Some(last)) = (key.1.target.room().cloned(), batches.last()) else {
            return;
        };
        for batch in batches {
            self.say(hub, logs, &room, text(batch), batch.action);
        }
        load_again(hub, key.1, last.last() + 1, at);
    }

    pub fn say(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        room: &Room,
        mut lines: Lines,
        action: bool,
    ) {
        if self.stalled.is_some() {
            return self.unsaid.push_back((room.clone(), lines, action));
        }
        while !lines.is_empty() {
            let part = lines.take_batch();
            let batch = logs.append(hub, room, action, &part);
            let local = Local {
                received: hub.now.wall,
                ..Local::default()
            };
            hub.put(Output::Save {
                batch: batch.clone(),
                local,
            });
            hub.notice(Notice::Chat(Chat {
                batch: batch.clone(),
                local,
                own: true,
                during: true,
            }));
            self.cursors.live(hub, room, &batch, None);
            self.offer(hub, room, None, &batch.log);
        }
    }

    /// A room is shared with this link from now on: say what there is.
    pub fn shared(&mut self, hub: &mut Hub, logs: &Logs, stream: StreamId, room: &Room) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let both = logs
            .of_room(room)
            .filter(|range| range.log.author == hub.id() || range.log.author == peer);
        let held: Vec<Held> = both
            .map(|range| held(range, logs.start(&range.log).unwrap_or(0)))
            .collect();
        let digest = Some(digest(hub, logs, room, &peer));
        let mut have = Have {
            target: room.to_string(),
            digest,
            before: true,
            ..Have::default()
        };
        let mut parts = held.chunks(LOGS_MAX);
        have.logs = parts.next().unwrap_or_default().to_vec();
        hub.send(stream, &Message::Have(have.clone()));
        for part in parts {
            (have.logs, have.digest) = (part.to_vec(), None);
            hub.send(stream, &Message::Have(have.clone()));
        }
    }

    pub fn unshared(&mut self, stream: StreamId, room: &Room) {
        let other = |key: &(StreamId, LogId)| key.0 != stream || key.1.target.room() != Some(room);
        self.keep(other);
    }

    /// What the store refused, and was to be said here, cannot be said any more.
    pub fn parted(&mut self, hub: &mut Hub, room: &Room) {
        let before = self.unsaid.len();
        self.unsaid.retain(|(other, ..)| other != room);
        if self.unsaid.len() < before {
            let content = format!("left {room}: lines that could not be stored are lost");
            hub.notice(Notice::Error {
                code: "store",
                content,
            });
        }
    }

    pub fn down(&mut self, stream: StreamId) {
        self.keep(|key| key.0 != stream);
    }

    fn keep(&mut self, which: impl Fn(&(StreamId, LogId)) -> bool) {
        self.cursors.keep(&which);
        self.sources.keep(&which);
        self.offers_due.retain(|key, _| which(key));
        self.receipts_due.retain(|key| which(key));
    }

    /// What the peer holds: of our logs it is a receipt, of others' an offer.
    pub fn have(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        rooms: &Rooms,
        receipts: &mut Receipts,
        stream: StreamId,
        have: Have,
    ) {
        let Some(room) = shared_room(hub, stream, &have.target) else {
            return;
        };
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        if have
            .digest
            .is_some_and(|theirs| theirs != digest(hub, logs, &room, &peer))
        {
            for range in thirds(hub, logs, &room, &peer) {
                self.offers_due.insert((stream, range.log.clone()), true);
            }
        }
        self.sources.meet(&room, peer, stream);
        for entry in have.logs.iter().take(LOGS_MAX) {
            let Some(log) = log(&room, entry.sender, &entry.incarnation) else {
                continue;
            };
            let own = entry.sender == hub.id();
            if let Some(holder) = entry.holder {
                match own {
                    true => receipts.passed_on(hub, logs, holder, &log, entry),
                    false => self.pass_on(hub, logs, stream, log, entry),
                }
                continue;
            }
            if own && (logs.is_current(hub, &log) || holds(logs, &log, entry)) {
                self.cursors
                    .receipt(hub, logs, receipts, stream, &log, entry);
            } else if entry.sender == peer {
                self.sources
                    .authors(hub, logs, rooms, stream, log, entry, have.before);
                continue;
            } else {
                self.cursors.acknowledged(stream, &log, entry.high);
                if entry.signature.is_some() {
                    let holder = Some(peer);
                    let entry = Held {
                        holder,
                        ..entry.clone()
                    };
                    self.pass_on(hub, logs, stream, log.clone(), &entry);
                }
            }
            // What others hold of our own lines and we do not, the disk has lost: it comes back.
            if !logs.is_current(hub, &log) {
                self.sources
                    .offered(hub, logs, stream, log, entry, have.before);
            }
        }
        self.choose(hub, logs, rooms);
    }

    /// A receipt goes on to its author, or towards it; only the last of many, when the holder has what we have.
    fn pass_on(&self, hub: &mut Hub, logs: &Logs, from: StreamId, log: LogId, entry: &Held) {
        let author = hub.linked.get(&log.author).copied();
        let towards = author.or_else(|| self.sources.upstream(hub, &log));
        if let Some(towards) = towards.filter(|towards| *towards != from)
            && logs.hash_at(&log, entry.high) == Some(entry.hash)
        {
            let have = Have {
                target: log.target.to_string(),
                logs: vec![entry.clone()],
                ..Have::default()
            };
            hub.send(towards, &Message::Have(have));
        }
    }

    /// Asks others for what a link that ended was to bring.
    pub fn choose(&mut self, hub: &mut Hub, logs: &Logs, rooms: &Rooms) {
        self.sources
            .choose(hub, logs, rooms, self.stalled.is_some());
    }

    /// Its author is not linked any more: who was linked with it may lack what came last.
    pub fn author_gone(&mut self, hub: &Hub, logs: &Logs, author: &PeerId, rooms: &[Room]) {
        for room in rooms {
            for range in logs
                .of_room(room)
                .filter(|range| range.log.author == *author)
            {
                for (stream, _) in hub.in_room(room).filter(|(_, link)| !link.passing) {
                    let key = (stream, range.log.clone());
                    self.offers_due.get_or_insert_with(key, || false);
                }
            }
        }
    }

    /// An author tells whom it reaches: one that it does not reach by itself, and we do, may lack what it said.
    pub fn apart(
        &mut self,
        hub: &Hub,
        logs: &Logs,
        author: &PeerId,
        other: &PeerId,
        rooms: &[Room],
    ) {
        let near = hub.link_to(author).map(|link| &link.reach);
        let Some((&stream, near)) = hub.linked.get(other).zip(near) else {
            return;
        };
        for room in rooms {
            let reach = near.get(room).and_then(|near| near.get(other));
            let shared = hub.in_room(room).any(|(member, _)| member == stream);
            if !shared || reach.is_some_and(|reach| reach.hops == 1) {
                continue;
            }
            for range in logs.of_room(room).filter(|r| r.log.author == *author) {
                let key = (stream, range.log.clone());
                self.offers_due.get_or_insert_with(key, || false);
            }
        }
    }

    /// A batch came in: verified before anything else is done with it.
    pub fn receive(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        stream: StreamId,
        bytes: Vec<u8>,
    ) -> Verdict {
        let Some(link) = hub.links.get(&stream) else {
            return Verdict::Fine;
        };
        hub.counters.batches += 1;
        let Ok(batch) = Batch::parse(bytes, &hub.network) else {
            return Verdict::Broken;
        };
        let Some(room) = batch.log.target.room().cloned() else {
            return Verdict::Fine;
        };
        let by_peer = batch.log.author == link.peer.id;
        let author = Peer {
            id: batch.log.author,
            nick: batch.username.clone(),
        };
        let key = (stream, batch.log.clone());
        let verifying = if by_peer { Some(link.key) } else { None };
        let shared = link.rooms.contains(&room);
        let standing = self.sources.standing(hub.now.time, &key, &batch);
        if !shared || logs.is_current(hub, &batch.log) || (standing.is_none() && !by_peer) {
            hub.counters.unwanted_batches += 1;
            return Verdict::Fine;
        }
        let fit = logs.fit(&batch, standing.map(|standing| standing.from));
        if self.stalled.is_some() {
            self.sources.want_later(hub, logs, stream, &batch);
            return Verdict::Fine;
        }
        match fit {
            Fit::Stray => {
                hub.counters.unwanted_batches += 1;
                return Verdict::Fine;
            }
            Fit::Held => {
                hub.counters.duplicate_batches += 1;
                self.receipts_due.insert(key);
                return Verdict::Fine;
            }
            Fit::Next | Fit::After { .. } | Fit::Fork => {}
        }
        let verifying = verifying.or_else(|| self.sources.key(&author.id));
        if !verifying.is_some_and(|key| batch.verify(&key)) {
            return Verdict::Broken;
        }
        if fit == Fit::Fork {
            self.sources.fork(hub, &batch.log, batch.sequence);
            return Verdict::Fine;
        }
        if let Fit::After { from, to } = fit {
            let (target, incarnation, at) = (
                batch.log.target.clone(),
                batch.log.incarnation,
                hub.now.wall,
            );
            hub.notice(Notice::Gap {
                target,
                author,
                incarnation,
                from,
                to,
                at,
            });
        }
        if standing.is_none() && batch.sequence == 1 {
            let lead = hub.links.get(&stream).map_or(0, |link| link.lead);
            self.sources.starts(&batch.log, 1, lead);
        }
        let own = batch.log.author == hub.id();
        let backfill = own || self.sources.is_backfill(&batch);
        logs.advance(&batch);
        let (batch, local) = (
            Arc::new(batch),
            Local {
                received: hub.now.wall,
                late: standing.is_some_and(|standing| standing.late),
                backfill,
            },
        );
        hub.put(Output::Save {
            batch: batch.clone(),
            local,
        });
        self.cursors.live(hub, &room, &batch, Some(stream));
        self.receipts_due.insert(key);
        self.offer(hub, &room, Some(stream), &batch.log);
        if !backfill {
            hub.notice(Notice::Chat(Chat {
                batch,
                local,
                own: false,
                during: standing.is_none_or(|standing| standing.during),
            }));
        }
        Verdict::Fine
    }

    /// A log grew: its author gets a receipt, and who does not get it from here, nor from the author, an offer.
    fn offer(&mut self, hub: &Hub, room: &Room, from: Option<StreamId>, log: &LogId) {
        let author = hub.link_to(&log.author);
        let near = author.and_then(|link| link.reach.get(room));
        for (stream, link) in hub
            .in_room(room)
            .filter(|(stream, _)| Some(*stream) != from)
        {
            let key = (stream, log.clone());
            if link.peer.id == log.author {
                self.receipts_due.insert(key);
                continue;
            }
            let by_author = near
                .and_then(|near| near.get(&link.peer.id))
                .is_some_and(|reach| reach.hops == 1);
            if !by_author && !link.passing && !self.cursors.follows(stream, log) {
                self.offers_due.get_or_insert_with(key, || false);
            }
        }
    }

    /// At a turn's end: receipts go out, each link's no more often than [`RECEIPTS_EVERY`], and links that lag get more.
    pub fn end_turn(&mut self, hub: &mut Hub, logs: &Logs) {
        let now = hub.now.time;
        let mut due: Table<(StreamId, Target), Vec<Held>> = Table::new();
        self.receipts_due.retain(|(stream, log)| {
            let waits = |link: &Link| {
                link.clogged || link.receipted.is_some_and(|at| now < at + RECEIPTS_EVERY)
            };
            let Some(link) = hub.links.get(stream) else {
                return false;
            };
            if waits(link) {
                return true;
            }
            if let Some(range) = logs.get(log) {
                let far = link.peer.id != log.author && !hub.linked.contains_key(&log.author);
                let mut held = held(range, 0);
                if far && hub.reaches(log) {
                    let signed = receipt(&hub.network, log, range.high, &range.hash);
                    held.signature = Some(BASE64URL_NOPAD.encode(&hub.identity.sign(&signed.0)));
                }
                due.get_or_default((*stream, log.target.clone())).push(held);
            }
            false
        });
        for (stream, _) in due.keys() {
            if let Some(link) = hub.links.get_mut(stream) {
                link.receipted = Some(now);
            }
        }
        for ((stream, target), held) in due.iter() {
            say_held(hub, *stream, target, held, false);
        }
        self.say_offers(hub, logs);
        self.sources.say(hub, self.stalled.is_some());
        self.cursors.pump(hub, logs);
    }

    /// What was held before is answered at once, as much as goes out in one turn; the rest at most once a second.
    fn say_offers(&mut self, hub: &mut Hub, logs: &Logs) {
        let now = hub.now.time;
        let mut due: Table<(StreamId, Target, bool), Vec<Held>> = Table::new();
        self.offers_due.retain(|(stream, log), before| {
            let Some(link) = hub.links.get(stream) else {
                return false;
            };
            if link.clogged || !*before && link.offered.is_some_and(|at| now < at + OFFERS_EVERY) {
                return true;
            }
            let Some(range) = logs.get(log) else {
                return false;
            };
            let part = due.get_or_default((*stream, log.target.clone(), *before));
            if part.len() >= LOGS_MAX {
                return true;
            }
            let (start, age) = match logs.start(log) {
                Some(start) => (start, 0),
                None => self.sources.start(hub, log),
            };
            part.push(Held {
                start,
                age,
                ..held(range, 0)
            });
            false
        });
        for ((stream, _, before), _) in due.iter() {
            if let Some(link) = hub.links.get_mut(stream)
                && !before
            {
                link.offered = Some(now);
            }
        }
        for ((stream, target, before), held) in due.iter() {
            say_held(hub, *stream, target, held, *before);
        }
    }

    /// The store refused these: they are taken back, newest first, and own lines are kept to be said again.
    pub fn save_failed(&mut self, hub: &mut Hub, logs: &mut Logs, batches: &[Arc<Batch>]) {
        // One that failed at the first try after a failure is the same trouble, and said already.
        let since = hub.now.time.since(self.failed.unwrap_or_default());
        if self.failed.is_none() || since > 2 * RETRY {
            let content = "the history cannot be written: nothing more is taken in until it can; make room on its disk".to_owned();
            hub.notice(Notice::Error {
                code: "store",
                content,
            });
        }
        self.failed = Some(hub.now.time);
        self.stalled = Some(hub.now.time + RETRY);
        for batch in batches.iter().rev() {
            logs.take_back(batch);
            let source = self.sources.upstream(hub, &batch.log);
            let author = hub.linked.get(&batch.log.author).copied();
            if let Some(stream) = source.or(author) {
                self.sources.want_later(hub, logs, stream, batch);
            }
            // An own line that came from others was said before.
            if batch.log.author == hub.id()
                && source.is_none()
                && let Target::Room(room) = &batch.log.target
            {
                let unsaid = (room.clone(), text(batch), batch.action);
                self.unsaid.push_front(unsaid);
            }
        }
    }

    pub fn wake(&mut self, hub: &mut Hub, logs: &mut Logs, rooms: &Rooms) {
        if self.stalled.is_some_and(|at| at <= hub.now.time) {
            self.stalled = None;
            for (room, lines, action) in std::mem::take(&mut self.unsaid) {
                self.say(hub, logs, &room, lines, action);
            }
            self.sources.resume(logs);
        }
        if self.stalled.is_none()
            && self
                .sources
                .deadline(hub)
                .is_some_and(|at| at <= hub.now.time)
        {
            self.sources.choose(hub, logs, rooms, false);
        }
    }

    pub fn deadline(&self, hub: &Hub) -> Option<Time> {
        let open = |stream: &StreamId| hub.links.get(stream).filter(|link| !link.clogged);
        let receipts = self.receipts_due.iter().filter_map(|(stream, _)| {
            let link = open(stream)?;
            link.receipted.map(|at| at + RECEIPTS_EVERY)
        });
        let offers = self.offers_due.iter().filter_map(|((stream, _), before)| {
            let link = open(stream)?;
            Some(match before {
                true => hub.now.time,
                false => link.offered.map_or(hub.now.time, |at| at + OFFERS_EVERY),
            })
        });
        let asks = self.stalled.or_else(|| self.sources.deadline(hub));
        receipts.chain(offers).chain(asks).min()
    }
}

fn say_held(hub: &mut Hub, stream: StreamId, target: &Target, held: &[Held], before: bool) {
    for part in held.chunks(LOGS_MAX) {
        let have = Have {
            target: target.to_string(),
            logs: part.to_vec(),
            before,
            ..Have::default()
        };
        hub.send(stream, &Message::Have(have));
    }
}

/// What is held of authors other than us and `peer`.
fn thirds<'a>(
    hub: &'a Hub,
    logs: &'a Logs,
    room: &'a Room,
    peer: &'a PeerId,
) -> impl Iterator<Item = &'a Range> {
    let of_room = logs.of_room(room);
    of_room.filter(move |range| range.log.author != hub.id() && range.log.author != *peer)
}

fn digest(hub: &Hub, logs: &Logs, room: &Room, peer: &PeerId) -> String {
    let mut all = Vec::new();
    for range in thirds(hub, logs, room, peer) {
        all.extend_from_slice(&range.log.author.0);
        all.extend_from_slice(&range.log.incarnation.to_be_bytes());
        all.extend_from_slice(&range.high.to_be_bytes());
        all.extend_from_slice(&range.hash.0);
    }
    let mut digest = Hash::of(&[b"p2pchat heads\0", &all]).to_string();
    digest.truncate(32);
    digest
}

fn holds(logs: &Logs, log: &LogId, held: &Held) -> bool {
    logs.get(log).is_some_and(|range| range.high >= held.high)
}

fn text(batch: &Batch) -> Lines {
    let mut lines = Lines::default();
    batch.each_line(|line| {
        let _ = lines.push(line.as_bytes());
    });
    lines
}
