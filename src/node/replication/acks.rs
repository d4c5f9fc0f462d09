//! What is due to be said of what is held: receipts, and offers of others' lines.
use data_encoding::BASE64URL_NOPAD;

use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{Room, Target};
use crate::base::range::Range;
use crate::base::table::Table;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::link::Link;
use crate::node::replication::delivery::Receipts;
use crate::node::replication::fetch::Sources;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::{held, tell};
use crate::wire::message::{Held, LOGS_MAX, receipt};

/// Milliseconds from one receipt on a link to the next: receipts are cumulative, and each costs both sides about what a line does.
const RECEIPTS_EVERY: u64 = 5;
/// As much within a stream: then nobody waits for the receipt of the line that came last.
const STREAM_EVERY: u64 = 20;
/// Batches of one log without a receipt that make a stream.
const STREAM: u32 = 8;
/// Milliseconds from one offer of others' lines on a link to the next.
const OFFERS_EVERY: u64 = 1_000;

#[derive(Default)]
pub struct Haves {
    /// How many batches each receipt is for.
    receipts: Table<(StreamId, LogId), u32>,
    /// Others' logs to be offered; true: it was held when the room was first shared.
    offers: Table<(StreamId, LogId), bool>,
    /// The last line that was shown of what was said to us alone.
    read: Table<LogId, u64>,
}

impl Haves {
    pub fn keep(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.offers.retain(|key, _| which(key));
        self.receipts.retain(|key, _| which(key));
    }

    /// How far this log is held is to be said to who waits for it.
    pub fn receipt(&mut self, key: (StreamId, LogId)) {
        let batches = self.receipts.get_or_default(key);
        *batches = batches.saturating_add(1);
    }

    /// It was shown: its author is told.
    pub fn shown(&mut self, hub: &Hub, log: LogId, sequence: u64) {
        if let Some(author) = hub.linked.get(&log.author) {
            self.receipts.get_or_default((*author, log.clone()));
        }
        let read = self.read.get_or_default(log);
        *read = sequence.max(*read);
    }

    /// The log grew, or its author went.
    pub fn offer(&mut self, key: (StreamId, LogId)) {
        self.offers.get_or_insert_with(key, || false);
    }

    /// The digests differ.
    pub fn answer(&mut self, stream: StreamId, log: &LogId) {
        self.offers.insert((stream, log.clone()), true);
    }

    /// Receipts go out, each link's no more often than `RECEIPTS_EVERY`, and offers.
    pub fn say(&mut self, hub: &mut Hub, logs: &Logs, sources: &Sources, receipts: &Receipts) {
        let now = hub.now.time;
        let mut due: Table<(StreamId, Target), Vec<Held>> = Table::new();
        self.receipts.retain(|(stream, log), batches| {
            let waits = |link: &Link| {
                link.clogged || next_receipt(link, *batches).is_some_and(|at| now < at)
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
                held.read = self.read.get(log).copied().unwrap_or(0);
                // Its author may be one that nobody names, because it comes and goes.
                if far {
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
        self.say_offers(hub, logs, sources, receipts);
    }

    /// What was held before is answered at once, as much as goes out in one turn; the rest at most once a second.
    fn say_offers(&mut self, hub: &mut Hub, logs: &Logs, sources: &Sources, receipts: &Receipts) {
        let now = hub.now.time;
        let mut due: Table<(StreamId, Target, bool), Vec<Held>> = Table::new();
        self.offers.retain(|(stream, log), before| {
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
                None => sources.start(hub, log, link.lead),
            };
            let mut held = Held {
                start,
                age,
                read: self.read.get(log).copied().unwrap_or(0),
                ..held(range, 0)
            };
            // Who carries need not have what the reader has.
            if let Some(reader) = log.target.reader().filter(|_| !link.shares(&log.target)) {
                held.low = held.low.max(receipts.holds(&reader, log) + 1);
            }
            part.push(held);
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

    pub fn deadline(&self, hub: &Hub) -> Option<Time> {
        let open = |stream: &StreamId| hub.links.get(stream).filter(|link| !link.clogged);
        let receipts = self.receipts.iter().filter_map(|((stream, _), batches)| {
            let link = open(stream)?;
            next_receipt(link, *batches)
        });
        let offers = self.offers.iter().filter_map(|((stream, _), before)| {
            let link = open(stream)?;
            Some(match before {
                true => hub.now.time,
                false => link.offered.map_or(hub.now.time, |at| at + OFFERS_EVERY),
            })
        });
        receipts.chain(offers).min()
    }
}

/// `None`: at once.
fn next_receipt(link: &Link, batches: u32) -> Option<Time> {
    let every = match batches < STREAM {
        true => RECEIPTS_EVERY,
        false => STREAM_EVERY,
    };
    link.receipted.map(|last| last + every)
}

fn say_held(hub: &mut Hub, stream: StreamId, target: &Target, held: &[Held], before: bool) {
    for part in held.chunks(LOGS_MAX) {
        tell(hub, stream, target, part.to_vec(), None, before);
    }
}

/// What is held of authors other than us and `peer`.
pub fn thirds<'a>(
    hub: &'a Hub,
    logs: &'a Logs,
    room: &'a Room,
    peer: &'a PeerId,
) -> impl Iterator<Item = &'a Range> {
    let of_room = logs.of_room(room);
    of_room.filter(move |range| range.log.author != hub.id() && range.log.author != *peer)
}

/// Of all that is held here of authors other than us and `peer`.
pub fn digest(hub: &Hub, logs: &Logs, room: &Room, peer: &PeerId) -> String {
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
