//! How lines travel: what is held is said, what is lacked comes in, and both are passed on. From whom a log comes is in `sources`, what has
//! been sent to whom in `cursors`.
use std::collections::VecDeque;
use std::sync::Arc;

use crate::base::batch::{Batch, Local, LogId, NUMBER_MAX};
use crate::base::event::{Chat, Notice, Output, Position, StreamId};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{Room, Target};
use crate::base::table::Table;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::acks::{Haves, digest, thirds};
use crate::node::replication::carriers::{may_bring, takers, waits};
use crate::node::replication::delivery::Receipts;
use crate::node::replication::fetch::Sources;
use crate::node::replication::fork_repair;
use crate::node::replication::fork_repair::{AGAIN, Again, COMPARE};
use crate::node::replication::gaps::Holes;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::{
    Cursors, LOAD_BYTES, doubt, held, load, shared_target, tell,
};
use crate::wire::message::{Have, Held, LOGS_MAX, log};

/// Milliseconds after which a store that failed is tried again.
const RETRY: u64 = 5_000;

#[derive(Default)]
pub struct Replicate {
    pub(super) cursors: Cursors,
    pub(super) sources: Sources,
    pub(super) haves: Haves,
    pub(super) again: Again,
    pub(super) holes: Holes,
    /// Lines that the store refused, to be said when it takes them.
    pub(super) unsaid: VecDeque<(Target, Lines, bool)>,
    /// The store failed; when to try again.
    pub(super) stalled: Option<Time>,
    /// When it last failed.
    pub(super) failed: Option<Time>,
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

    /// What the store read: for a link that lags, to be compared, or to be said again.
    pub fn loaded(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        receipts: &mut Receipts,
        (key, from): ((StreamId, LogId), u64),
        batches: &[Batch],
        at: Option<Position>,
    ) {
        if key.0 == COMPARE {
            if let Some(line) = self.again.read(hub, &key.1, from, batches.first()) {
                fork_repair::begin(hub, logs, receipts, &key.1, line);
            }
            return;
        }
        if key.0 != AGAIN {
            let read = (key.clone(), from);
            let other = self.cursors.loaded(hub, logs, receipts, read, batches, at);
            if let Some(last) = other {
                self.forked(hub, logs, &key, (1, last));
            }
            return;
        }
        let Some(last) = batches.last().filter(|_| logs.get(&key.1).is_some()) else {
            return;
        };
        // Nothing may wait in memory: it is read again when the store takes lines.
        let next = fork_repair::next(logs, &key.1);
        let Some((log, _)) = next.filter(|next| next.1 == from && self.accepting()) else {
            return;
        };
        let current = logs.speak_in(log.incarnation);
        for batch in batches {
            let lines = text(batch, from.saturating_sub(batch.sequence));
            self.say(hub, logs, &key.1.target, lines, batch.action);
        }
        logs.speak_in(current);
        load(hub, AGAIN, key.1, last.last() + 1, at, LOAD_BYTES);
    }

    /// A peer holds something else than we do under numbers of ours, from `low` to `high`: go on under new ones, and find where it begins.
    fn forked(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        key: &(StreamId, LogId),
        held: (u64, u64),
    ) {
        if logs.is_current(hub, &key.1) {
            doubt(hub, logs);
        }
        self.again.compare(hub, logs, key, held);
    }

    pub fn say(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        target: &Target,
        mut lines: Lines,
        action: bool,
    ) {
        if self.stalled.is_some() {
            return self.unsaid.push_back((target.clone(), lines, action));
        }
        while !lines.is_empty() {
            let part = lines.take_batch();
            let Some(batch) = logs.append(hub, target, action, &part) else {
                let content = format!("{target} is no key that a message could be sealed for");
                let code = "target";
                return hub.notice(Notice::Error { code, content });
            };
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
            let strangers = self.cursors.live(hub, &batch, None);
            self.offer(hub, &strangers, &batch.log);
        }
    }

    /// A link stands: its peer is told what there is for it alone, and what is held of what it said to us alone.
    pub fn up(&mut self, hub: &Hub, logs: &Logs, stream: StreamId) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let ours = logs.to(Target::Peer(hub.id()));
        let ours = ours.filter(|range| range.log.author == peer);
        for range in logs.to(Target::Peer(peer)).chain(ours) {
            self.haves.answer(stream, &range.log);
            self.cursors.offered(hub, stream, &range.log);
        }
    }

    /// Links came or went: what readers who are not linked lack of our own is offered to those who are to carry it now.
    pub fn carry(&mut self, hub: &Hub, logs: &Logs, receipts: &Receipts) {
        let own = logs.direct().filter(|range| range.log.author == hub.id());
        for range in own.filter(|range| waits(hub, receipts, range)) {
            for stream in takers(hub, &range.log) {
                let key = (stream, range.log.clone());
                if !self.cursors.knows(&key) {
                    self.haves.answer(stream, &range.log);
                }
            }
        }
    }

    /// What was said to us alone was shown.
    pub fn shown(&mut self, hub: &Hub, logs: &Logs, log: LogId, sequence: u64) {
        let ours = log.target.reader() == Some(hub.id());
        if ours && logs.get(&log).is_some_and(|range| sequence <= range.high) {
            self.haves.shown(hub, log, sequence);
        }
    }

    /// A room is shared with this link from now on: say what there is.
    pub fn shared(&mut self, hub: &mut Hub, logs: &Logs, stream: StreamId, room: &Room) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let both = logs
            .of_room(room)
            .filter(|range| range.log.author == hub.id() || range.log.author == peer)
            .filter(|range| logs.given(range) >= range.low);
        let held: Vec<Held> = both
            .inspect(|range| self.cursors.offered(hub, stream, &range.log))
            .map(|range| Held {
                high: logs.given(range),
                ..held(range, logs.start(&range.log).unwrap_or(0))
            })
            .collect();
        let target = Target::Room(room.clone());
        // One that is nobody's brings to light who holds what is missing here.
        let digest = Some(match logs.has_holes(&target) {
            true => String::new(),
            false => digest(hub, logs, room, &peer),
        });
        let mut parts = held.chunks(LOGS_MAX);
        let first = parts.next().unwrap_or_default().to_vec();
        tell(hub, stream, &target, first, digest, true);
        for part in parts {
            tell(hub, stream, &target, part.to_vec(), None, true);
        }
    }

    pub fn unshared(&mut self, stream: StreamId, room: &Room) {
        let other = |key: &(StreamId, LogId)| key.0 != stream || key.1.target.room() != Some(room);
        self.keep(&other);
    }

    /// What the store refused, and was to be said here, cannot be said any more.
    pub fn parted(&mut self, hub: &mut Hub, room: &Room) {
        let before = self.unsaid.len();
        self.unsaid.retain(|(other, ..)| other.room() != Some(room));
        if self.unsaid.len() < before {
            let content = format!("left {room}: lines that could not be stored are lost");
            hub.notice(Notice::Error {
                code: "store",
                content,
            });
        }
    }

    pub fn down(&mut self, stream: StreamId) {
        self.keep(&|key| key.0 != stream);
    }

    fn keep(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.cursors.keep(which);
        self.sources.keep(which);
        self.haves.keep(which);
        self.again.keep(which);
        self.holes.keep(which);
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
        let Some(target) = shared_target(hub, stream, &have.target) else {
            return;
        };
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        if let Some(room) = target.room() {
            let theirs = have.digest.as_ref();
            if theirs.is_some_and(|theirs| *theirs != digest(hub, logs, room, &peer)) {
                // At once the first time; one that goes on asking is told no more often than others.
                let link = hub.links.get_mut(&stream);
                let first = link.is_some_and(|link| link.answered.insert(room.clone()));
                for range in thirds(hub, logs, room, &peer) {
                    match first {
                        true => self.haves.answer(stream, &range.log),
                        false => self.haves.offer((stream, range.log.clone())),
                    }
                }
            }
            self.sources
                .met()
                .meet(room, peer, Some(stream), hub.now.time);
        } else if have.digest.is_some() && target.reader() == Some(peer) {
            // It misses something that was said to it.
            for range in logs.to(target.clone()) {
                self.haves.offer((stream, range.log.clone()));
            }
        }
        // Of what others say to each other alone, we take only what its author gives us to carry.
        let ours = target.reader().is_none_or(|reader| reader == hub.id());
        let sound = |held: &&Held| {
            held.low <= held.high && held.high <= NUMBER_MAX && held.start <= NUMBER_MAX
        };
        for entry in have.logs.iter().take(LOGS_MAX).filter(sound) {
            let Some(log) = log(&target, entry.sender, &entry.incarnation) else {
                continue;
            };
            let own = entry.sender == hub.id();
            if ours && entry.holder.is_none() && !logs.is_current(hub, &log) {
                let key = (stream, log.clone());
                self.holes.offered(logs, key, entry);
            }
            if own && target.reader() == Some(peer) && entry.read > 0 {
                receipts.read(hub, logs, peer, &log, entry.read);
            }
            if let Some(holder) = entry.holder {
                match own {
                    true => receipts.passed_on(hub, logs, holder, &log, entry),
                    false => self.pass_on(hub, logs, stream, log, entry),
                }
                continue;
            }
            if own && (logs.is_current(hub, &log) || holds(logs, &log, entry)) {
                let key = (stream, log.clone());
                let theirs = self
                    .cursors
                    .receipt(hub, logs, receipts, stream, &log, entry);
                if theirs {
                    self.forked(hub, logs, &key, (entry.low, entry.high));
                }
            } else if entry.sender == peer {
                let link = hub.links.get(&stream);
                if link.is_some_and(|link| may_bring(hub, logs, receipts, link, &log)) {
                    self.ask_reader(hub, &log);
                    self.sources
                        .authors(hub, logs, rooms, stream, log, entry, have.before);
                }
                continue;
            } else {
                self.cursors.acknowledged(stream, &log, entry.high);
                if target.reader().is_some() && holds(logs, &log, entry) {
                    match ours {
                        true => self.haves.receipt((stream, log.clone())),
                        false => receipts.confirm(hub, logs, peer, &log, entry.high),
                    }
                }
                if entry.signature.is_some() {
                    let holder = Some(peer);
                    let entry = Held {
                        holder,
                        ..entry.clone()
                    };
                    self.pass_on(hub, logs, stream, log.clone(), &entry);
                }
            }
            let key = (stream, log);
            if own && self.again.knows(&key) {
                let held = (entry.low, entry.high);
                self.again.compare(hub, logs, &key, held);
            }
            let (_, log) = key;
            // What others hold of our own lines and we do not, the disk has lost: it comes back.
            if ours && !logs.is_current(hub, &log) {
                self.sources
                    .offered(hub, logs, stream, log, entry, have.before);
            }
        }
        self.choose(hub, logs, rooms);
    }

    /// The author of what we carry is there: its reader may have got it while it was away, and is to say so again.
    pub(super) fn ask_reader(&mut self, hub: &Hub, log: &LogId) {
        let reader = log.target.reader();
        if let Some(stream) = reader.and_then(|reader| hub.linked.get(&reader)) {
            self.haves.answer(*stream, log);
        }
    }

    /// A receipt goes on to its author, or towards it; only the last of many, when the holder has what we have.
    fn pass_on(&self, hub: &mut Hub, logs: &Logs, from: StreamId, log: LogId, entry: &Held) {
        let author = hub.linked.get(&log.author).copied();
        let towards = author.or_else(|| self.sources.upstream(hub, &log));
        if let Some(towards) = towards.filter(|towards| *towards != from)
            && logs.hash_at(&log, entry.high) == Some(entry.hash)
        {
            tell(hub, towards, &log.target, vec![entry.clone()], None, false);
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
                    self.haves.offer(key);
                }
            }
        }
    }

    /// A neighbour tells that it reaches another.
    pub fn reached(&mut self, hub: &Hub, stream: StreamId, other: &PeerId) {
        let near = hub.links.get(&stream).map(|link| &link.reach);
        for (room, there) in near.into_iter().flat_map(Table::iter) {
            if there.contains_key(other) {
                self.sources.met().meet(room, *other, None, hub.now.time);
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
                self.haves.offer(key);
            }
        }
    }

    /// A log grew, and these do not get it from here: who may not get it from its author either is offered it.
    pub(super) fn offer(&mut self, hub: &Hub, strangers: &[StreamId], log: &LogId) {
        let author = hub.link_to(&log.author).zip(log.target.room());
        let near = author.and_then(|(link, room)| link.reach.get(room));
        for stream in strangers {
            let Some(link) = hub.links.get(stream) else {
                continue;
            };
            let by_author = near
                .and_then(|near| near.get(&link.peer.id))
                .is_some_and(|reach| reach.hops == 1);
            if link.peer.id != log.author && !by_author && !link.passing {
                self.haves.offer((*stream, log.clone()));
            }
        }
    }

    /// At a turn's end: what is due to be said is said, and links that lag get more.
    pub fn end_turn(&mut self, hub: &mut Hub, logs: &Logs, receipts: &Receipts, rooms: &[Room]) {
        if self.stalled.is_none() {
            self.holes.end_turn(hub, logs, rooms);
        }
        self.haves.say(hub, logs, &self.sources, receipts);
        self.sources.say(hub, self.stalled.is_some());
        self.cursors.pump(hub, logs);
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
            // What was missing is asked for anew when the store takes lines.
            if !logs.take_back(batch) {
                continue;
            }
            let source = self.sources.upstream(hub, &batch.log);
            let author = hub.linked.get(&batch.log.author).copied();
            if let Some(stream) = source.or(author) {
                self.sources.want_later(hub, logs, stream, batch);
            }
            // An own line that came from others was said before.
            if batch.log.author == hub.id()
                && source.is_none()
                && !fork_repair::holds(logs, &batch.log)
            {
                let unsaid = (batch.log.target.clone(), text(batch, 0), batch.action);
                self.unsaid.push_front(unsaid);
            }
        }
    }

    pub fn wake(&mut self, hub: &mut Hub, logs: &mut Logs, rooms: &Rooms) {
        if self.stalled.is_some_and(|at| at <= hub.now.time) {
            self.stalled = None;
            for (target, lines, action) in std::mem::take(&mut self.unsaid) {
                self.say(hub, logs, &target, lines, action);
            }
            self.sources.resume(logs);
            self.holes.resume();
            fork_repair::resume(hub, logs);
        }
        let due = |at: Time| at <= hub.now.time;
        if self.stalled.is_none() && self.sources.deadline().is_some_and(due) {
            self.sources.choose(hub, logs, rooms, false);
        }
    }

    pub fn deadline(&self, hub: &Hub) -> Option<Time> {
        let asks = || {
            let asks = [self.sources.deadline(), self.holes.deadline()];
            asks.into_iter().flatten().min()
        };
        let asks = self.stalled.or_else(asks);
        self.haves.deadline(hub).into_iter().chain(asks).min()
    }
}

fn holds(logs: &Logs, log: &LogId, held: &Held) -> bool {
    logs.get(log).is_some_and(|range| range.high >= held.high)
}

/// The batch's lines but for the first ones.
fn text(batch: &Batch, mut skipped: u64) -> Lines {
    let mut lines = Lines::default();
    batch.each_line(|line| match skipped {
        0 => drop(lines.push(line.as_bytes())),
        _ => skipped -= 1,
    });
    lines
}
