//! How lines travel: offers, wants and receipts. What has been sent to whom is in `cursors`.
use std::collections::VecDeque;
use std::sync::Arc;

use super::cursors::{AGAIN, Cursors, held, load_again, shared_room};
use super::hub::Hub;
use super::link::Link;
use super::logs::{Fit, Logs};
use super::receipts::Receipts;
use super::rooms::Rooms;
use crate::base::batch::{Batch, Lines, Local, LogId};
use crate::base::event::{Chat, Notice, Output, Position, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Room, Target};
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::wire::message::{Have, Held, LOGS_MAX, Message, Want, incarnation, log};

/// Lines of each log that one new to a room asks for.
pub const BACKFILL: u64 = 1000;
/// Milliseconds after which a store that failed is tried again.
const RETRY: u64 = 5_000;
/// Milliseconds from one receipt on a link to the next: receipts are cumulative, and each costs both sides about what a line does.
const RECEIPTS_EVERY: u64 = 5;
/// Most logs asked for over one link.
const WANTED_MAX: usize = 4_096;
/// Most logs of which it is kept where the backfill ends.
const BACKFILLS_MAX: usize = 16_384;

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
    cursors: Cursors,
    wanted: Table<(StreamId, LogId), Wanted>,
    /// Lines below this were said before we first came into the room.
    backfill: Table<LogId, u64>,
    receipts_due: Set<(StreamId, LogId)>,
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
        key: (StreamId, LogId),
        batches: &[Batch],
        at: Option<Position>,
    ) {
        if key.0 != AGAIN {
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
            self.cursors.live(hub, room, &batch);
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
        self.cursors.keep(&which);
        self.wanted.retain(|key, _| which(key));
        self.receipts_due.retain(|key| which(key));
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
        let mut free = WANTED_MAX.saturating_sub(self.wanted_over(stream));
        for entry in have.logs.iter().take(LOGS_MAX) {
            let Some(log) = log(&room, entry.sender, &entry.incarnation) else {
                continue;
            };
            if entry.sender == hub.id() {
                self.cursors
                    .receipt(hub, logs, receipts, stream, log, entry);
            } else if entry.sender == peer && free > 0 {
                free -= 1;
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
                // What was news when we first met is news still, if nothing of it has come yet.
                let news = self.backfill.get(&log).map_or(news, |old| news.min(*old));
                if self.backfill.len() < BACKFILLS_MAX {
                    self.backfill.insert(log.clone(), news);
                }
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

    fn wanted_over(&self, stream: StreamId) -> usize {
        self.wanted.keys().filter(|(s, _)| *s == stream).count()
    }

    /// The store takes nothing now: what was left out is asked for when it does.
    fn want_later(&mut self, logs: &Logs, stream: StreamId, batch: &Batch) {
        let key = (stream, batch.log.clone());
        let room = self.wanted_over(stream) < WANTED_MAX;
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

    /// At a turn's end: receipts go out, each link's no more often than [`RECEIPTS_EVERY`], and links that lag get more.
    pub fn end_turn(&mut self, hub: &mut Hub, logs: &Logs) {
        let mut due: Table<(StreamId, Target), Vec<Held>> = Table::new();
        let now = hub.now.time;
        self.receipts_due.retain(|(stream, log)| {
            let waits = |link: &Link| {
                link.clogged || link.receipted.is_some_and(|at| now < at + RECEIPTS_EVERY)
            };
            if hub.links.get(stream).is_some_and(waits) {
                return true;
            }
            if let Some(range) = logs.get(log) {
                due.get_or_default((*stream, log.target.clone()))
                    .push(held(range, 0));
            }
            false
        });
        for ((stream, target), held) in due {
            if let Some(link) = hub.links.get_mut(&stream) {
                link.receipted = Some(now);
            }
            for part in held.chunks(LOGS_MAX) {
                let have = Have {
                    target: target.to_string(),
                    logs: part.to_vec(),
                    members: Vec::new(),
                };
                hub.send(stream, &Message::Have(have));
            }
        }
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
            logs.take_back(batch);
            if let Some(&stream) = hub.linked.get(&batch.log.author) {
                self.want_later(logs, stream, batch);
            }
            if batch.log.author == hub.id()
                && let Target::Room(room) = &batch.log.target
            {
                let unsaid = (room.clone(), text(batch), batch.action);
                self.unsaid.push_front(unsaid);
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

    pub fn deadline(&self, hub: &Hub) -> Option<Time> {
        let due = self.receipts_due.iter().filter_map(|(stream, _)| {
            let link = hub.links.get(stream).filter(|link| !link.clogged)?;
            link.receipted.map(|at| at + RECEIPTS_EVERY)
        });
        due.chain(self.stalled).min()
    }
}

fn text(batch: &Batch) -> Lines {
    let mut lines = Lines::default();
    batch.each_line(|line| {
        let _ = lines.push(line.as_bytes());
    });
    lines
}
