//! What is due to be said of what is held: receipts, and offers of others' lines.
use data_encoding::BASE64URL_NOPAD;

use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::{Room, Target};
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::fetch::Fetcher;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::{have_entry, send_have};
use crate::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX, receipt};

/// Milliseconds from one receipt on a link to the next: receipts are cumulative, and each costs both sides about what a line does.
const ACK_INTERVAL_MS: u64 = 5;
/// As much within a stream: then nobody waits for the receipt of the line that came last.
const BULK_ACK_INTERVAL_MS: u64 = 20;
/// Batches of one log without a receipt that make a stream.
const BULK_BATCHES_MIN: u32 = 8;
/// Milliseconds from one offer of others' lines on a link to the next.
const OFFER_INTERVAL_MS: u64 = 1_000;

#[derive(Default)]
pub struct Acks {
    /// How many batches each receipt is for.
    pending_acks: SortedMap<(StreamId, LogId), u32>,
    /// Others' logs to be offered; true: it was held when the room was first shared.
    pending_offers: SortedMap<(StreamId, LogId), bool>,
    /// The last line that was shown of what was said to us alone.
    read_up_to: SortedMap<LogId, u64>,
}

impl Acks {
    pub fn retain(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        self.pending_offers.retain(|key, _| which(key));
        self.pending_acks.retain(|key, _| which(key));
    }

    /// How far this log is held is to be said to who waits for it.
    pub fn schedule_ack(&mut self, key: (StreamId, LogId)) {
        let batches = self.pending_acks.get_or_default(key);
        *batches = batches.saturating_add(1);
    }

    /// It was shown: its author is told.
    pub fn mark_read(&mut self, ctx: &Context, log: LogId, sequence: u64) {
        if let Some(author) = ctx.stream_by_peer.get(&log.author) {
            self.pending_acks.get_or_default((*author, log.clone()));
        }
        let read = self.read_up_to.get_or_default(log);
        *read = sequence.max(*read);
    }

    /// The log grew, or its author went.
    pub fn schedule_offer(&mut self, key: (StreamId, LogId)) {
        self.pending_offers.get_or_insert_with(key, || false);
    }

    /// The digests differ.
    pub fn schedule_immediate_offer(&mut self, stream: StreamId, log: &LogId) {
        self.pending_offers.insert((stream, log.clone()), true);
    }

    /// Receipts go out, each link's no more often than `RECEIPTS_EVERY`, and offers.
    pub fn send_due(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        sources: &Fetcher,
        receipts: &DeliveryTracker,
    ) {
        let now = ctx.now.time;
        let mut due: SortedMap<(StreamId, Target), Vec<HaveEntry>> = SortedMap::new();
        self.pending_acks.retain(|(stream, log), batches| {
            let waits = |link: &Link| {
                link.is_blocked || next_ack_at(link, *batches).is_some_and(|at| now < at)
            };
            let Some(link) = ctx.links.get(stream) else {
                return false;
            };
            if waits(link) {
                return true;
            }
            if let Some(range) = logs.get(log) {
                let far =
                    link.peer.id != log.author && !ctx.stream_by_peer.contains_key(&log.author);
                let mut held = have_entry(range, 0);
                held.read = self.read_up_to.get(log).copied().unwrap_or(0);
                // Its author may be one that nobody names, because it comes and goes.
                if far {
                    let signed = receipt(&ctx.network, log, range.high, &range.hash);
                    held.signature = Some(BASE64URL_NOPAD.encode(&ctx.identity.sign(&signed.0)));
                }
                due.get_or_default((*stream, log.target.clone())).push(held);
            }
            false
        });
        for (stream, _) in due.keys() {
            if let Some(link) = ctx.links.get_mut(stream) {
                link.last_receipt_sent = Some(now);
            }
        }
        for ((stream, target), held) in due.iter() {
            send_entries(ctx, *stream, target, held, false);
        }
        self.send_due_offers(ctx, logs, sources, receipts);
    }

    /// What was held before is answered at once, as much as goes out in one turn; the rest at most once a second.
    fn send_due_offers(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        sources: &Fetcher,
        receipts: &DeliveryTracker,
    ) {
        let now = ctx.now.time;
        let mut due: SortedMap<(StreamId, Target, bool), Vec<HaveEntry>> = SortedMap::new();
        self.pending_offers.retain(|(stream, log), before| {
            let Some(link) = ctx.links.get(stream) else {
                return false;
            };
            if link.is_blocked
                || !*before
                    && link
                        .last_offer_sent
                        .is_some_and(|at| now < at + OFFER_INTERVAL_MS)
            {
                return true;
            }
            let Some(range) = logs.get(log) else {
                return false;
            };
            let part = due.get_or_default((*stream, log.target.clone(), *before));
            if part.len() >= LOGS_PER_MESSAGE_MAX {
                return true;
            }
            let (start, age) = match logs.run_start(log) {
                Some(start) => (start, 0),
                None => sources.run_start(ctx, log, link.start_offset_ms),
            };
            let mut held = HaveEntry {
                start,
                age,
                read: self.read_up_to.get(log).copied().unwrap_or(0),
                ..have_entry(range, 0)
            };
            // Who carries need not have what the reader has.
            if let Some(reader) = log
                .target
                .recipient()
                .filter(|_| !link.is_recipient_of(&log.target))
            {
                held.low = held.low.max(receipts.acked_up_to(&reader, log) + 1);
            }
            part.push(held);
            false
        });
        for ((stream, _, before), _) in due.iter() {
            if let Some(link) = ctx.links.get_mut(stream)
                && !before
            {
                link.last_offer_sent = Some(now);
            }
        }
        for ((stream, target, before), held) in due.iter() {
            send_entries(ctx, *stream, target, held, *before);
        }
    }

    pub fn deadline(&self, ctx: &Context) -> Option<Time> {
        let open = |stream: &StreamId| ctx.links.get(stream).filter(|link| !link.is_blocked);
        let receipts = self
            .pending_acks
            .iter()
            .filter_map(|((stream, _), batches)| {
                let link = open(stream)?;
                next_ack_at(link, *batches)
            });
        let offers = self
            .pending_offers
            .iter()
            .filter_map(|((stream, _), before)| {
                let link = open(stream)?;
                Some(match before {
                    true => ctx.now.time,
                    false => link
                        .last_offer_sent
                        .map_or(ctx.now.time, |at| at + OFFER_INTERVAL_MS),
                })
            });
        receipts.chain(offers).min()
    }
}

/// `None`: at once.
fn next_ack_at(link: &Link, batches: u32) -> Option<Time> {
    let every = match batches < BULK_BATCHES_MIN {
        true => ACK_INTERVAL_MS,
        false => BULK_ACK_INTERVAL_MS,
    };
    link.last_receipt_sent.map(|last| last + every)
}

fn send_entries(
    ctx: &mut Context,
    stream: StreamId,
    target: &Target,
    held: &[HaveEntry],
    before: bool,
) {
    for part in held.chunks(LOGS_PER_MESSAGE_MAX) {
        send_have(ctx, stream, target, part.to_vec(), None, before);
    }
}

/// What is held of authors other than us and `peer`.
pub fn third_party_ranges<'a>(
    ctx: &'a Context,
    logs: &'a Logs,
    room: &'a Room,
    peer: &'a PeerId,
) -> impl Iterator<Item = &'a LogRange> {
    let of_room = logs.ranges_of_room(room);
    of_room.filter(move |range| range.log.author != ctx.own_id() && range.log.author != *peer)
}

/// Of all that is held here of authors other than us and `peer`.
pub fn third_party_digest(ctx: &Context, logs: &Logs, room: &Room, peer: &PeerId) -> String {
    let mut all = Vec::new();
    for range in third_party_ranges(ctx, logs, room, peer) {
        all.extend_from_slice(&range.log.author.0);
        all.extend_from_slice(&range.log.incarnation.to_be_bytes());
        all.extend_from_slice(&range.high.to_be_bytes());
        all.extend_from_slice(&range.hash.0);
    }
    let mut digest = Hash::of(&[b"p2pchat heads\0", &all]).to_string();
    digest.truncate(32);
    digest
}
