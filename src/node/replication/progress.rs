//! How far each log has been sent over each link.
use std::collections::VecDeque;

use crate::base::batch::{Batch, LogId};
use crate::base::event::{Notice, Output, Position, StreamId};
use crate::base::identity::Hash;
use crate::base::name::Target;
use crate::base::range::Range;
use crate::base::table::Table;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::link::Link;
use crate::node::replication::carriers::takers;
use crate::node::replication::delivery::Receipts;
use crate::node::replication::logs::Logs;
use crate::wire::message::{Have, Held, LOGS_MAX, Message, Want, incarnation, log};

/// Batches that may be under way on one link of one log without a receipt.
const WINDOW: usize = 1024;
/// Most cursors over all links.
const TABLE_MAX: usize = 65_536;
/// What is read from the store at a time for a link that lags, in bytes.
pub const LOAD_BYTES: usize = 64 * 1024;
/// Milliseconds after which a peer that was offered a log of ours, and lives, is not about to ask for it any more.
const ASKS_WITHIN: u64 = 5_000;

/// How far a log has been sent over one link.
#[derive(Default)]
struct Cursor {
    /// The line asked for first.
    from: u64,
    /// The line to be sent next.
    next: u64,
    at: Option<Position>,
    /// From which line on the store is reading; what it read for an earlier wish is no answer.
    loading: Option<u64>,
    /// What has been sent and not been receipted: each batch's last line and hash.
    sent: VecDeque<(u64, Hash)>,
}

/// Lines that are missing elsewhere, from the cursor up to `to`.
struct Fill {
    log: LogId,
    to: u64,
    cursor: Cursor,
}

#[derive(Default)]
pub struct Cursors {
    table: Table<(StreamId, LogId), Cursor>,
    /// Logs of which something is still to be sent. Without a cursor: an own one that was offered then, of which the peer has yet to say what it lacks.
    /// Of one author's logs to one target each link gets the one that ends first, whole, before the next: a reader is shown them in this order.
    lagging: Table<(StreamId, LogId), Option<Time>>,
    /// Missing lines that were asked for, of one log at a time over each link.
    fills: Table<StreamId, Fill>,
    /// What a peer says to hold of an own log below our head: to be compared with what the store has there.
    claims: Table<(StreamId, LogId), (u64, Hash)>,
}

impl Cursors {
    pub fn keep(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.table.retain(|key, _| which(key));
        self.lagging.retain(|key, _| which(key));
        self.fills
            .retain(|stream, fill| which(&(*stream, fill.log.clone())));
        self.claims.retain(|key, _| which(key));
    }

    /// A log is offered to a peer for whom it is. One of ours: what is said in a later one waits until the peer has asked for what it lacks of this one.
    pub fn offered(&mut self, hub: &Hub, stream: StreamId, log: &LogId) {
        if log.author == hub.id() && self.lagging.len() < TABLE_MAX {
            let now = Some(hub.now.time);
            self.lagging.insert((stream, log.clone()), now);
        }
    }

    /// A log grew by this batch: it goes to all that stand at the head; the others find it in the store.
    /// One of our own that begins goes to every member, unasked. `from`: the link over which it came.
    /// Gives those that are to have it and have not asked for this log.
    pub fn live(&mut self, hub: &mut Hub, batch: &Batch, from: Option<StreamId>) -> Vec<StreamId> {
        let begins = from.is_none() && batch.sequence == 1;
        let mut streams = takers(hub, &batch.log);
        streams.retain(|stream| Some(*stream) != from);
        if let Some(from) = from {
            self.acknowledged(from, &batch.log, batch.last());
        }
        let mut strangers = Vec::new();
        for stream in streams {
            let key = (stream, batch.log.clone());
            let shares = |link: &Link| link.shares(&batch.log.target);
            if begins && hub.links.get(&stream).is_some_and(shares) {
                self.table.get_or_insert_with(key.clone(), || Cursor {
                    next: 1,
                    ..Cursor::default()
                });
            }
            // Without a cursor the peer has not said yet where to begin: it will, and finds this line in the store.
            let Some(cursor) = self.table.get_mut(&key) else {
                strangers.push(stream);
                continue;
            };
            let clogged = hub.links.get(&stream).is_none_or(|link| link.clogged);
            if cursor.next == batch.sequence
                && cursor.loading.is_none()
                && !clogged
                && cursor.sent.len() < WINDOW
                && !waits(&self.lagging, &key)
            {
                send(hub, stream, cursor, batch);
            } else {
                self.lagging.insert(key, None);
            }
        }
        strangers
    }

    /// A peer says how far it holds somebody else's log, which it gets from us.
    pub fn acknowledged(&mut self, stream: StreamId, log: &LogId, high: u64) {
        if let Some(cursor) = self.table.get_mut(&(stream, log.clone())) {
            while cursor.sent.front().is_some_and(|(last, _)| *last <= high) {
                cursor.sent.pop_front();
            }
            cursor.next = cursor.next.max(high + 1);
        }
    }

    /// A peer says how far it holds one of our logs: a receipt, if what it holds is ours. `true`: it is not.
    #[allow(clippy::too_many_arguments)]
    pub fn receipt(
        &mut self,
        hub: &mut Hub,
        logs: &mut Logs,
        receipts: &mut Receipts,
        stream: StreamId,
        log: &LogId,
        entry: &Held,
    ) -> bool {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return false;
        };
        let current = logs.is_current(hub, log);
        let head = logs.get(log).map_or(0, |range| range.high);
        let mut ours = logs.hash_at(log, entry.high);
        let mut sent = false;
        if let Some(cursor) = self.table.get_mut(&(stream, log.clone())) {
            sent = (cursor.from..cursor.next).contains(&entry.high);
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
            Some(hash) if hash == entry.hash => receipts.confirm(hub, logs, peer, log, entry.high),
            Some(_) => return true,
            // What was sent is known until it is receipted: within it, no batch of ours ends there.
            None if sent && entry.high > receipts.holds(&peer, log) => return true,
            // Above our head: this directory is an old copy, or has a twin. What was said there tells whether ours is something else.
            None if entry.high > head && current => doubt(hub, logs),
            None if entry.high < head => {
                let claim = (entry.high, entry.hash);
                self.claims.insert((stream, log.clone()), claim);
            }
            None => {}
        }
        false
    }

    /// The peer asked for this log.
    pub fn knows(&self, key: &(StreamId, LogId)) -> bool {
        self.table.contains_key(key)
    }

    /// The first line of an own log that some linked peer for whom it is may still lack; `None`: nobody lacks any.
    /// What a peer did not ask for it does not lack.
    pub fn floor(&self, hub: &Hub, receipts: &Receipts, log: &LogId) -> Option<u64> {
        if log.author != hub.id() {
            return None;
        }
        let links = hub.links.iter();
        let members = links.filter(|(_, link)| link.shares(&log.target));
        let lacked = members.map(|(stream, link)| {
            let cursor = self.table.get(&(*stream, log.clone()));
            let held = receipts.holds(&link.peer.id, log) + 1;
            held.max(cursor.map_or(0, |cursor| cursor.from))
        });
        lacked.min()
    }

    /// The peer asks for a log, from a line on; what comes later follows by itself. From 0: it asks no more.
    pub fn want(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        stream: StreamId,
        target: &str,
        wants: &[Want],
    ) {
        let Some(target) = shared_target(hub, stream, target) else {
            return;
        };
        for want in wants.iter().take(LOGS_MAX) {
            let Some(log) = log(&target, want.sender, &want.incarnation) else {
                continue;
            };
            if target.reader().is_some() && !takers(hub, &log).contains(&stream) {
                continue;
            }
            let key = (stream, log);
            let Some(range) = logs.get(&key.1).filter(|_| want.from > 0) else {
                self.table.remove(&key);
                self.lagging.remove(&key);
                continue;
            };
            if want.to > 0 {
                let lines = want.from..=want.to;
                let held = range.low..=logs.given(range);
                if lines.is_empty() || !held.contains(&want.from) || !held.contains(&want.to) {
                    offer_again(hub, logs, stream, range, range.low);
                } else {
                    let fill = Fill {
                        log: key.1,
                        to: want.to,
                        cursor: Cursor {
                            next: want.from,
                            ..Cursor::default()
                        },
                    };
                    self.fills.insert(stream, fill);
                }
                continue;
            }
            if want.from < range.low {
                offer_again(hub, logs, stream, range, range.low);
                continue;
            }
            let high = logs.given(range);
            let next = want.from.min(high + 1);
            if self.table.len() >= TABLE_MAX && !self.table.contains_key(&key) {
                continue;
            }
            if next <= high {
                self.lagging.insert(key.clone(), None);
            }
            self.table.insert(
                key,
                Cursor {
                    from: next,
                    next,
                    ..Cursor::default()
                },
            );
        }
    }

    /// What the store read for a link that lags. Gives the last line that the peer holds, if that is another than ours.
    pub fn loaded(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        receipts: &mut Receipts,
        (key, from): ((StreamId, LogId), u64),
        batches: &[Batch],
        at: Option<Position>,
    ) -> Option<u64> {
        if self.filled(hub, logs, &key, from, batches, at) {
            return None;
        }
        let cursor = self.table.get_mut(&key)?;
        if cursor.loading != Some(from) {
            return None;
        }
        cursor.loading = None;
        // Batches do not wait in memory: what a clogged link cannot take is read again.
        let link = hub.links.get(&key.0).filter(|link| !link.clogged);
        let peer = link?.peer.id;
        let Some(first) = batches.first() else {
            self.lagging.remove(&key);
            return None;
        };
        if first.sequence > cursor.next {
            self.table.remove(&key);
            if let Some(range) = logs.get(&key.1) {
                offer_again(hub, logs, key.0, range, first.sequence);
                self.offered(hub, key.0, &key.1);
            }
            return None;
        }
        if let Some((last, hash)) = self.claims.remove(&key)
            && cursor.next == last + 1
        {
            // The line that follows it may not be the first that was read: others brought some meanwhile.
            let next = batches.iter().find(|batch| batch.last() > last);
            if next.is_some_and(|next| next.sequence <= last || next.previous != Some(hash)) {
                self.table.remove(&key);
                return Some(last);
            }
            if next.is_some() {
                receipts.confirm(hub, logs, peer, &key.1, last);
            }
        }
        cursor.at = at;
        let high = logs.get(&key.1).map_or(0, |range| logs.given(range));
        for batch in batches {
            if batch.last() >= cursor.next && batch.last() <= high {
                send(hub, key.0, cursor, batch);
            }
        }
        None
    }

    /// What the store read for missing lines that were asked for, if it is that.
    fn filled(
        &mut self,
        hub: &mut Hub,
        logs: &Logs,
        (stream, log): &(StreamId, LogId),
        from: u64,
        batches: &[Batch],
        at: Option<Position>,
    ) -> bool {
        let fill = self.fills.get_mut(stream);
        let read = |fill: &&mut Fill| fill.log == *log && fill.cursor.loading == Some(from);
        let Some(Fill { to, cursor, .. }) = fill.filter(read) else {
            return false;
        };
        cursor.loading = None;
        if hub.links.get(stream).is_none_or(|link| link.clogged) {
            return true;
        }
        cursor.at = at;
        let last = logs.get(log).map_or(0, |range| logs.given(range)).min(*to);
        for batch in batches {
            if batch.sequence <= cursor.next && batch.last() <= last {
                hub.send_batch(*stream, batch);
                cursor.next = batch.last() + 1;
            }
        }
        // That was all, or the store has no more of it.
        if cursor.next > last || cursor.next == from {
            self.fills.remove(stream);
        }
        true
    }

    /// Links that lag and can take more get more, of each author and target from the log that ends first.
    pub fn pump(&mut self, hub: &mut Hub, logs: &Logs) {
        self.lagging.retain(|key, offered| {
            let Some(range) = logs.get(&key.1) else {
                return false;
            };
            if let Some(cursor) = self.table.get(key) {
                return cursor.next <= logs.given(range);
            }
            let link = hub.links.get(&key.0).zip(*offered);
            link.is_some_and(|(link, offered)| link.heard < offered + ASKS_WITHIN)
        });
        let mut firsts: Vec<(StreamId, &Range)> = Vec::new();
        for ((stream, log), _) in self.lagging.iter() {
            let Some(range) = logs.get(log) else {
                continue;
            };
            match firsts.last_mut() {
                Some((of, first)) if of == stream && alike(&first.log, log) => {
                    if range.lamport < first.lamport {
                        *first = range;
                    }
                }
                _ => firsts.push((*stream, range)),
            }
        }
        for (stream, Range { log, .. }) in firsts {
            let Some(cursor) = self.table.get_mut(&(stream, log.clone())) else {
                continue;
            };
            let clogged = hub.links.get(&stream).is_none_or(|link| link.clogged);
            if !clogged && cursor.loading.is_none() && cursor.sent.len() < WINDOW {
                read(hub, stream, log, cursor);
            }
        }
        for (stream, fill) in self.fills.iter_mut() {
            let clogged = hub.links.get(stream).is_none_or(|link| link.clogged);
            if !clogged && fill.cursor.loading.is_none() {
                read(hub, *stream, &fill.log, &mut fill.cursor);
            }
        }
    }
}

/// Another log of this author may have to go over this link before.
fn waits(lagging: &Table<(StreamId, LogId), Option<Time>>, key: &(StreamId, LogId)) -> bool {
    if lagging.is_empty() {
        return false;
    }
    let (stream, log) = key;
    let first = LogId {
        incarnation: 0,
        ..log.clone()
    };
    let rest = lagging.from(&(*stream, first));
    let mut same = rest.take_while(|((of, other), _)| of == stream && alike(other, log));
    same.any(|((_, other), _)| other != log)
}

/// Of one author, to one target.
fn alike(a: &LogId, b: &LogId) -> bool {
    a.author == b.author && a.target == b.target
}

fn send(hub: &mut Hub, stream: StreamId, cursor: &mut Cursor, batch: &Batch) {
    hub.send_batch(stream, batch);
    cursor.next = batch.last() + 1;
    cursor.sent.push_back((batch.last(), batch.hash));
}

/// What is held of a log, as it is said to a peer. `start`: the first line of this run, of an own log.
pub fn held(range: &Range, start: u64) -> Held {
    Held {
        sender: range.log.author,
        incarnation: incarnation(range.log.incarnation),
        low: range.low,
        high: range.high,
        hash: range.hash,
        start,
        age: 0,
        read: 0,
        holder: None,
        signature: None,
    }
}

/// The store has not all that was asked for: the peer is to ask for what there is, and knows what is missing.
fn offer_again(hub: &mut Hub, logs: &Logs, stream: StreamId, range: &Range, low: u64) {
    let held = Held {
        low,
        ..held(range, logs.start(&range.log).unwrap_or(0))
    };
    tell(hub, stream, &range.log.target, vec![held], None, false);
}

/// What is held of a room is said. `digest`, `before`: as in [`Have`].
pub fn tell(
    hub: &mut Hub,
    stream: StreamId,
    target: &Target,
    logs: Vec<Held>,
    digest: Option<String>,
    before: bool,
) {
    let have = Have {
        target: target.to_string(),
        logs,
        digest,
        before,
    };
    hub.send(stream, &Message::Have(have));
}

/// The target, if it is a reader, or a room that is shared with this link.
pub fn shared_target(hub: &Hub, stream: StreamId, target: &str) -> Option<Target> {
    let target = Target::parse(target)?;
    let link = hub.links.get(&stream)?;
    (target.reader().is_some() || link.shares(&target)).then_some(target)
}

/// Others hold something else under our numbers: go on under new ones.
pub fn doubt(hub: &mut Hub, logs: &mut Logs) {
    logs.doubt(hub);
    let content = "a peer holds other lines under the own numbers: this directory is an old copy, or used twice; going on under new numbers".to_owned();
    hub.notice(Notice::Error {
        code: "incarnation",
        content,
    });
}

fn read(hub: &mut Hub, stream: StreamId, log: &LogId, cursor: &mut Cursor) {
    cursor.loading = Some(cursor.next);
    let (from, at) = (cursor.next, cursor.at);
    load(hub, stream, log.clone(), from, at, LOAD_BYTES);
}

/// Asks the store for a log's batches, upwards from the one that holds `from`.
pub fn load(
    hub: &mut Hub,
    stream: StreamId,
    log: LogId,
    from: u64,
    at: Option<Position>,
    budget: usize,
) {
    hub.put(Output::Load {
        stream,
        log,
        from,
        at,
        budget,
    });
}
