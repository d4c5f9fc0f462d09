//! How lines travel: offers, wants, cursors and receipts. A cursor tells, for each link and log, how far it has been sent.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::hub::Hub;
use super::logs::{Fit, Logs};
use super::receipts::Receipts;
use super::rooms::Rooms;
use crate::base::batch::{Batch, Lines, Local, LogId, Range};
use crate::base::event::{Chat, Notice, Output, Position, StreamId};
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{Room, Target};
use crate::base::time::Time;
use crate::wire::message::{Have, Held, LOGS_MAX, Message, Want, incarnation, log};

/// Batches that may be under way on one link of one log without a receipt.
const WINDOW: usize = 1024;
/// What is read from the store at a time for a link that lags, in bytes.
const LOAD_BYTES: usize = 64 * 1024;
/// Lines of each log that one new to a room asks for.
pub const BACKFILL: u64 = 1000;
/// Milliseconds after which a store that failed is tried again.
const RETRY: u64 = 5_000;
/// Logs that all links together may have asked for.
const WANTED_MAX: usize = 65_536;

/// How far one of our logs has been sent over one link.
#[derive(Default)]
struct Cursor {
    /// The line to be sent next.
    next: u64,
    at: Option<Position>,
    loading: bool,
    /// What has been sent and not been receipted: each batch's last line and hash.
    sent: VecDeque<(u64, Hash)>,
}

/// What we asked for, or mean to ask for when the store takes lines again.
struct Wanted {
    from: u64,
    /// Lines up to this one were said before the link stood.
    late: u64,
    /// Lines from this one on were said while our program ran.
    news: u64,
    said: bool,
}

/// What became of foreign bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// The peer breaks the protocol: its link must end.
    Broken,
}

#[derive(Default)]
pub struct Replicate {
    cursors: BTreeMap<(StreamId, LogId), Cursor>,
    lagging: BTreeSet<(StreamId, LogId)>,
    wanted: BTreeMap<(StreamId, LogId), Wanted>,
    /// Lines below this were said before we first came into the room.
    backfill: BTreeMap<LogId, u64>,
    receipts_due: BTreeSet<(StreamId, LogId)>,
    /// Lines that the store refused, to be said when it takes them.
    unsaid: VecDeque<(Room, Lines, bool)>,
    /// The store failed; when to try again.
    stalled: Option<Time>,
    /// When it last failed.
    failed: Option<Time>,
    /// What a peer says to hold of an own log below our head: to be compared with what the store has there.
    claims: BTreeMap<(StreamId, LogId), (u64, Hash)>,
}

impl Replicate {
    /// More may be said. Otherwise what is said now waits in memory.
    pub fn accepting(&self) -> bool {
        self.stalled.is_none()
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
            self.send_live(hub, room, &batch);
        }
    }

    fn send_live(&mut self, hub: &mut Hub, room: &Room, batch: &Batch) {
        let members: Vec<StreamId> = hub
            .links
            .iter()
            .filter(|(_, link)| link.rooms.contains(room))
            .map(|(s, _)| *s)
            .collect();
        for stream in members {
            let key = (stream, batch.log.clone());
            if batch.sequence == 1 {
                self.cursors.entry(key.clone()).or_insert_with(|| Cursor {
                    next: 1,
                    ..Cursor::default()
                });
            }
            // Without a cursor the peer has not said yet where to begin: it will, and finds this line in the store.
            let Some(cursor) = self.cursors.get_mut(&key) else {
                continue;
            };
            let clogged = hub.links.get(&stream).is_none_or(|link| link.clogged);
            if cursor.next == batch.sequence
                && !cursor.loading
                && !clogged
                && cursor.sent.len() < WINDOW
            {
                send(hub, stream, cursor, batch);
            } else {
                self.lagging.insert(key);
            }
        }
    }

    /// A room is shared with this link from now on: say what there is.
    pub fn shared(&mut self, hub: &mut Hub, logs: &Logs, stream: StreamId, room: &Room) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let mut held: Vec<Held> = logs
            .of_room(room)
            .filter(|range| range.log.author == hub.id() || range.log.author == peer)
            .map(|range| held(range, logs.start(&range.log).unwrap_or(0)))
            .collect();
        let members: Vec<PeerId> = hub
            .links
            .values()
            .filter(|link| link.rooms.contains(room) && !link.passing && link.peer.id != peer)
            .map(|link| link.peer.id)
            .collect();
        let rest = held.split_off(held.len().min(LOGS_MAX));
        let target = room.to_string();
        hub.send(
            stream,
            &Message::Have(Have {
                target: target.clone(),
                logs: held,
                members,
            }),
        );
        for part in rest.chunks(LOGS_MAX) {
            hub.send(
                stream,
                &Message::Have(Have {
                    target: target.clone(),
                    logs: part.to_vec(),
                    members: Vec::new(),
                }),
            );
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
        self.cursors.retain(|key, _| which(key));
        self.lagging.retain(|key| which(key));
        self.wanted.retain(|key, _| which(key));
        self.receipts_due.retain(|key| which(key));
        self.claims.retain(|key, _| which(key));
    }

    /// What the peer holds: of our logs it is a receipt, of its own an offer.
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
        if !have.members.is_empty()
            && let Some(link) = hub.links.get_mut(&stream)
        {
            let members = have.members.into_iter().take(LOGS_MAX).collect();
            link.members.insert(room.clone(), members);
        }
        let mut wants = Vec::new();
        for entry in have.logs.iter().take(LOGS_MAX) {
            let Some(log) = log(&room, entry.sender, &entry.incarnation) else {
                continue;
            };
            if entry.sender == hub.id() {
                self.receipt(hub, logs, receipts, stream, log, entry);
            } else if entry.sender == peer {
                self.offer(hub, logs, rooms, stream, log, entry, &mut wants);
            }
        }
        if !wants.is_empty() {
            hub.send(
                stream,
                &Message::Want {
                    target: have.target,
                    logs: wants,
                },
            );
        }
    }

    fn receipt(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        receipts: &mut Receipts,
        stream: StreamId,
        log: LogId,
        entry: &Held,
    ) {
        let current = logs.own_log(hub, log.target.room().unwrap_or(&Room::general())) == log;
        let head = logs.get(&log).map_or(0, |range| range.high);
        let mut ours = logs.hash_at(&log, entry.high);
        if let Some(cursor) = self.cursors.get_mut(&(stream, log.clone())) {
            while let Some((last, hash)) = cursor.sent.front().copied()
                && last <= entry.high
            {
                cursor.sent.pop_front();
                if last == entry.high {
                    ours = Some(hash);
                }
            }
        }
        match ours {
            Some(hash) if hash == entry.hash => {
                receipts.confirm(hub, logs, stream, &log, entry.high)
            }
            // Not ours, or above our head: this directory is an old copy, or has a twin.
            Some(_) if current => doubt(hub, logs),
            None if entry.high > head && current => doubt(hub, logs),
            None if entry.high < head && current => {
                let claim = (entry.high, entry.hash);
                self.claims.insert((stream, log), claim);
            }
            _ => {}
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn offer(
        &mut self,
        hub: &Hub,
        logs: &Logs,
        rooms: &Rooms,
        stream: StreamId,
        log: LogId,
        entry: &Held,
        wants: &mut Vec<Want>,
    ) {
        let Some(room) = log.target.room() else {
            return;
        };
        if self.wanted.len() >= WANTED_MAX {
            return;
        }
        let elder = hub.links.get(&stream).is_some_and(|link| link.elder);
        let low = entry.low.max(1);
        let news = match entry.start {
            start if elder && start > 0 => start,
            _ => entry.high + 1,
        };
        let from = match logs.get(&log) {
            Some(range) => low.max(range.high + 1),
            None if rooms.was_before(room) => low,
            None => {
                // One new to a room: the newest lines, as backfill; and as news what was said while this program ran.
                let newest = low.max((entry.high + 1).saturating_sub(BACKFILL));
                self.backfill.insert(log.clone(), news);
                newest.min(news).max(low)
            }
        };
        let said = self.stalled.is_none();
        if said {
            wants.push(Want {
                sender: log.author,
                incarnation: incarnation(log.incarnation),
                from,
            });
        }
        self.wanted.insert(
            (stream, log),
            Wanted {
                from,
                late: entry.high,
                news,
                said,
            },
        );
    }

    /// The peer asks for one of our logs, from a line on; what comes later follows by itself.
    pub fn want(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        stream: StreamId,
        target: &str,
        wants: &[Want],
    ) {
        let Some(room) = shared_room(hub, stream, target) else {
            return;
        };
        for want in wants.iter().take(LOGS_MAX) {
            let Some(log) = log(&room, want.sender, &want.incarnation) else {
                continue;
            };
            let Some(range) = logs.get(&log).filter(|_| want.sender == hub.id()) else {
                continue;
            };
            if want.from < range.low {
                offer_again(hub, stream, range, range.low);
                continue;
            }
            let next = want.from.min(range.high + 1);
            if next <= range.high {
                self.lagging.insert((stream, log.clone()));
            }
            self.cursors.insert(
                (stream, log),
                Cursor {
                    next,
                    ..Cursor::default()
                },
            );
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
        let Ok(batch) = Batch::parse(bytes, &hub.network) else {
            return Verdict::Broken;
        };
        let shared = batch
            .log
            .target
            .room()
            .is_some_and(|room| link.rooms.contains(room));
        if batch.log.author != link.peer.id || !shared {
            hub.counters.unwanted_batches += 1;
            return Verdict::Fine;
        }
        let key = (stream, batch.log.clone());
        let wanted = self.wanted.get(&key);
        let fit = logs.fit(&batch, wanted.map(|w| w.from));
        if self.stalled.is_some() {
            self.want_later(logs, stream, &batch);
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
        if !batch.verify(&link.key) {
            return Verdict::Broken;
        }
        let author = link.peer.clone();
        if fit == Fit::Fork {
            let content = format!(
                "{author} said two different things as line {} in {}: the second is left out",
                batch.sequence, batch.log.target
            );
            hub.notice(Notice::Error {
                code: "fork",
                content,
            });
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
        let late = wanted.is_some_and(|w| batch.last() <= w.late);
        let during = wanted.is_none_or(|w| batch.sequence >= w.news);
        let backfill = self
            .backfill
            .get(&batch.log)
            .is_some_and(|news| batch.sequence < *news);
        logs.advance(&batch);
        let (batch, local) = (
            Arc::new(batch),
            Local {
                received: hub.now.wall,
                late,
                backfill,
            },
        );
        hub.put(Output::Save {
            batch: batch.clone(),
            local,
        });
        if !backfill {
            hub.notice(Notice::Chat(Chat {
                batch,
                local,
                own: false,
                during,
            }));
        }
        self.receipts_due.insert(key);
        Verdict::Fine
    }

    /// The store takes nothing now: what was left out is asked for when it does.
    fn want_later(&mut self, logs: &Logs, stream: StreamId, batch: &Batch) {
        let key = (stream, batch.log.clone());
        let room = self.wanted.len() < WANTED_MAX;
        let held = logs.get(&batch.log).map(|range| range.high + 1);
        match self.wanted.get_mut(&key) {
            Some(wanted) => wanted.said = false,
            // It came unasked, as the next line of a log that began on this link.
            None if room && (held.is_some() || batch.sequence == 1) => {
                let wanted = Wanted {
                    from: held.unwrap_or(1),
                    late: 0,
                    news: 1,
                    said: false,
                };
                self.wanted.insert(key, wanted);
            }
            None => {}
        }
    }

    /// What the store read for a link that lags.
    pub fn loaded(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        receipts: &mut Receipts,
        key: (StreamId, LogId),
        batches: &[Batch],
        at: Option<Position>,
    ) {
        let Some(cursor) = self.cursors.get_mut(&key) else {
            return;
        };
        if !std::mem::take(&mut cursor.loading) {
            return;
        }
        // Batches do not wait in memory: what a clogged link cannot take is read again.
        if hub.links.get(&key.0).is_none_or(|link| link.clogged) {
            return;
        }
        let Some(first) = batches.first() else {
            self.lagging.remove(&key);
            return;
        };
        if first.sequence > cursor.next {
            self.cursors.remove(&key);
            if let Some(range) = logs.get(&key.1) {
                offer_again(hub, key.0, range, first.sequence);
            }
            return;
        }
        if let Some(claim) = self.claims.remove(&key)
            && cursor.next == claim.0 + 1
        {
            if first.previous != Some(claim.1) {
                self.cursors.remove(&key);
                return doubt(hub, logs);
            }
            receipts.confirm(hub, logs, key.0, &key.1, claim.0);
        }
        cursor.at = at;
        for batch in batches {
            if batch.last() >= cursor.next {
                send(hub, key.0, cursor, batch);
            }
        }
    }

    /// At a turn's end: receipts go out, and links that lag and can take more get more.
    pub fn end_turn(&mut self, hub: &mut Hub, logs: &Logs) {
        let mut due: BTreeMap<(StreamId, Target), Vec<Held>> = BTreeMap::new();
        self.receipts_due.retain(|(stream, log)| {
            if hub.links.get(stream).is_some_and(|link| link.clogged) {
                return true;
            }
            if let Some(range) = logs.get(log) {
                due.entry((*stream, log.target.clone()))
                    .or_default()
                    .push(held(range, 0));
            }
            false
        });
        for ((stream, target), held) in due {
            for part in held.chunks(LOGS_MAX) {
                let have = Have {
                    target: target.to_string(),
                    logs: part.to_vec(),
                    members: Vec::new(),
                };
                hub.send(stream, &Message::Have(have));
            }
        }
        self.lagging.retain(|(stream, log)| {
            let Some(cursor) = self.cursors.get_mut(&(*stream, log.clone())) else {
                return false;
            };
            if logs.get(log).is_none_or(|range| cursor.next > range.high) {
                return false;
            }
            let clogged = hub.links.get(stream).is_none_or(|link| link.clogged);
            if !clogged && !cursor.loading && cursor.sent.len() < WINDOW {
                cursor.loading = true;
                let (stream, log, from, at) = (*stream, log.clone(), cursor.next, cursor.at);
                hub.put(Output::Load {
                    stream,
                    log,
                    from,
                    at,
                    budget: LOAD_BYTES,
                });
            }
            true
        });
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
            if let Some(&stream) = hub.linked.get(&batch.log.author) {
                self.want_later(logs, stream, batch);
            }
            if batch.log.author == hub.id()
                && let Target::Room(room) = &batch.log.target
            {
                let mut lines = Lines::default();
                batch.each_line(|line| {
                    let _ = lines.push(line.as_bytes());
                });
                self.unsaid.push_front((room.clone(), lines, batch.action));
            }
        }
    }

    pub fn wake(&mut self, hub: &mut Hub, logs: &mut Logs) {
        if self.stalled.is_none_or(|at| at > hub.now.time) {
            return;
        }
        self.stalled = None;
        for (room, lines, action) in std::mem::take(&mut self.unsaid) {
            self.say(hub, logs, &room, lines, action);
        }
        for ((stream, log), wanted) in self.wanted.iter_mut().filter(|(_, wanted)| !wanted.said) {
            wanted.said = true;
            if let Some(range) = logs.get(log) {
                wanted.from = wanted.from.max(range.high + 1);
            }
            let want = Want {
                sender: log.author,
                incarnation: incarnation(log.incarnation),
                from: wanted.from,
            };
            hub.send(
                *stream,
                &Message::Want {
                    target: log.target.to_string(),
                    logs: vec![want],
                },
            );
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.stalled
    }
}

fn send(hub: &mut Hub, stream: StreamId, cursor: &mut Cursor, batch: &Batch) {
    hub.send_batch(stream, batch);
    cursor.next = batch.last() + 1;
    cursor.sent.push_back((batch.last(), batch.hash));
}

fn held(range: &Range, start: u64) -> Held {
    Held {
        sender: range.log.author,
        incarnation: incarnation(range.log.incarnation),
        low: range.low,
        high: range.high,
        hash: range.hash,
        start,
    }
}

/// The store has not all that was asked for: the peer is to ask for what there is, and knows what is missing.
fn offer_again(hub: &mut Hub, stream: StreamId, range: &Range, low: u64) {
    let held = Held {
        low,
        ..held(range, 0)
    };
    let have = Have {
        target: range.log.target.to_string(),
        logs: vec![held],
        members: Vec::new(),
    };
    hub.send(stream, &Message::Have(have));
}

fn shared_room(hub: &Hub, stream: StreamId, target: &str) -> Option<Room> {
    let room = Room::new(target).ok()?;
    hub.links
        .get(&stream)
        .filter(|link| link.rooms.contains(&room))
        .map(|_| room)
}

fn doubt(hub: &mut Hub, logs: &mut Logs) {
    logs.doubt(hub);
    let content = "a peer holds other lines under the own numbers: this directory is an old copy, or used twice; going on under new numbers".to_owned();
    hub.notice(Notice::Error {
        code: "incarnation",
        content,
    });
}
