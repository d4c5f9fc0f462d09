//! Schedules acknowledgements and offers, and sends them in `have` messages at a limited rate per
//! link. An offer lists lines that a neighbour can request from us. EBT (epidemic broadcast trees)
//! calls such a message a note.
use data_encoding::BASE64URL_NOPAD;

use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::name::Target;
use crate::base::range::LogRange;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::{Link, LinkLog};
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::have::{have_entry, send_have};
use crate::node::replication::logs::Logs;
use crate::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX, receipt};

/// Minimum milliseconds between two acknowledgements on a link. An acknowledgement costs both sides
/// about as much as a line, and covers all earlier lines.
const ACK_INTERVAL_MS: u64 = 5;
/// Minimum milliseconds between two acknowledgements during a bulk transfer. No user then waits for
/// the acknowledgement of a single line.
const BULK_ACK_INTERVAL_MS: u64 = 20;
/// A transfer counts as bulk if at least this many batches of one log are unacknowledged.
const BULK_BATCHES_MIN: u32 = 8;
/// Minimum milliseconds between two sets of offers on a link. Initial offers do not wait.
const OFFER_INTERVAL_MS: u64 = 1_000;

/// Why a log is offered. The reason decides how soon the offer is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OfferKind {
    /// The log grew, or its author left. Offered at most once per [`OFFER_INTERVAL_MS`].
    Update,
    /// We stored the log before the link began, or before it shared the room. Offered at once.
    Initial,
}

/// The acknowledgements and offers that wait to be sent.
#[derive(Default)]
pub struct Acks {
    /// For each pending acknowledgement: the number of batches that it covers.
    pending_acks: SortedMap<LinkLog, u32>,
    pending_offers: SortedMap<LinkLog, OfferKind>,
    /// For each direct log whose recipient we are: the sequence of the last line that a terminal
    /// has shown.
    read_up_to: SortedMap<LogId, u64>,
}

impl Acks {
    /// Forgets the acknowledgements and offers for which `keeps` is false.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        let keeps = |key: &LinkLog| keeps(key.stream, &key.log);
        self.pending_offers.retain(|key, _| keeps(key));
        self.pending_acks.retain(|key, _| keeps(key));
    }

    /// Adds one batch to the pending acknowledgement of this log over this link.
    pub fn schedule_ack(&mut self, key: LinkLog) {
        let batches = self.pending_acks.get_or_default(key);
        *batches = batches.saturating_add(1);
    }

    /// Records that a terminal has shown line `sequence` of a direct log, and all earlier lines.
    /// Schedules an acknowledgement, which informs the log's author.
    pub fn mark_read(&mut self, ctx: &Context, log: LogId, sequence: u64) {
        if let Some(author) = ctx.stream_by_peer.get(&log.author) {
            self.pending_acks
                .get_or_default(LinkLog::new(*author, &log));
        }
        let read = self.read_up_to.get_or_default(log);
        *read = sequence.max(*read);
    }

    /// Schedules an offer of this log over this link. Such offers are sent at most once per
    /// `OFFER_INTERVAL_MS` over one link.
    pub fn schedule_offer(&mut self, key: LinkLog) {
        self.pending_offers
            .get_or_insert_with(key, || OfferKind::Update);
    }

    /// Schedules an offer of this log over this link for the end of this turn.
    pub fn schedule_immediate_offer(&mut self, key: LinkLog) {
        self.pending_offers.insert(key, OfferKind::Initial);
    }

    /// Sends the acknowledgements and offers that are due.
    pub fn send_due(&mut self, ctx: &mut Context, logs: &Logs, delivery: &DeliveryTracker) {
        self.send_due_acks(ctx, logs);
        self.send_due_offers(ctx, logs, delivery);
    }

    fn send_due_acks(&mut self, ctx: &mut Context, logs: &Logs) {
        let now = ctx.now.time;
        let mut due: SortedMap<(StreamId, Target), Vec<HaveEntry>> = SortedMap::new();
        self.pending_acks.retain(|key, batches| {
            let Some(link) = ctx.links.get(&key.stream) else {
                return false;
            };
            if link.is_blocked || next_ack_at(link, *batches).is_some_and(|at| now < at) {
                return true;
            }
            if let Some(range) = logs.get(&key.log) {
                let entries = due.get_or_default((key.stream, key.log.target.clone()));
                let read_up_to = self.read_up_to.get(&key.log).copied().unwrap_or(0);
                entries.push(ack_entry(ctx, link, range, read_up_to));
            }
            false
        });
        for (stream, _) in due.keys() {
            if let Some(link) = ctx.links.get_mut(stream) {
                link.last_receipt_sent = Some(now);
            }
        }
        for ((stream, target), entries) in due.iter() {
            send_entries(ctx, *stream, target, entries);
        }
    }

    /// Sends all initial offers at once, and other offers at most once per [`OFFER_INTERVAL_MS`]
    /// and link. Offers on one link with the same target share a message.
    fn send_due_offers(&mut self, ctx: &mut Context, logs: &Logs, delivery: &DeliveryTracker) {
        let now = ctx.now.time;
        let mut due: SortedMap<(StreamId, Target, OfferKind), Vec<HaveEntry>> = SortedMap::new();
        self.pending_offers.retain(|key, kind| {
            let Some(link) = ctx.links.get(&key.stream) else {
                return false;
            };
            if link.is_blocked || next_offer_at(link, *kind).is_some_and(|at| now < at) {
                return true;
            }
            let Some(range) = logs.get(&key.log) else {
                return false;
            };
            let entries = due.get_or_default((key.stream, key.log.target.clone(), *kind));
            if entries.len() >= LOGS_PER_MESSAGE_MAX {
                return true;
            }
            let mut entry = offer_entry(delivery, link, range);
            entry.read = self.read_up_to.get(&key.log).copied().unwrap_or(0);
            entries.push(entry);
            false
        });
        for ((stream, _, kind), _) in due.iter() {
            if let Some(link) = ctx.links.get_mut(stream)
                && *kind == OfferKind::Update
            {
                link.last_offer_sent = Some(now);
            }
        }
        for ((stream, target, _), entries) in due.iter() {
            send_entries(ctx, *stream, target, entries);
        }
    }

    /// When to send the next acknowledgement or offer. Ignores blocked links. When a blocked link
    /// accepts bytes again, [`Writable`](crate::base::event::Input::Writable) starts a turn that
    /// sends what is due.
    pub fn deadline(&self, ctx: &Context) -> Option<Time> {
        let now = ctx.now.time;
        let writable = |stream: &StreamId| ctx.links.get(stream).filter(|link| !link.is_blocked);
        let acks = self.pending_acks.iter().filter_map(|(key, batches)| {
            let link = writable(&key.stream)?;
            next_ack_at(link, *batches)
        });
        let offers = self.pending_offers.iter().filter_map(|(key, kind)| {
            let link = writable(&key.stream)?;
            Some(next_offer_at(link, *kind).unwrap_or(now))
        });
        acks.chain(offers).min()
    }
}

/// When an acknowledgement that covers this many batches may be sent; `None`: at once.
fn next_ack_at(link: &Link, batches: u32) -> Option<Time> {
    let interval = match batches < BULK_BATCHES_MIN {
        true => ACK_INTERVAL_MS,
        false => BULK_ACK_INTERVAL_MS,
    };
    link.last_receipt_sent.map(|last| last + interval)
}

/// When an offer of this kind may be sent; `None`: at once.
fn next_offer_at(link: &Link, kind: OfferKind) -> Option<Time> {
    match kind {
        OfferKind::Initial => None,
        OfferKind::Update => link.last_offer_sent.map(|last| last + OFFER_INTERVAL_MS),
    }
}

/// The entry that acknowledges a log over this link. If the log's author is not linked, the entry
/// is signed, and other peers forward it to the author. We sign it even if we know no route to the
/// author, because routes omit transient peers.
fn ack_entry(ctx: &Context, link: &Link, range: &LogRange, read_up_to: u64) -> HaveEntry {
    let log = &range.log;
    let is_author_away =
        link.peer.id != log.author && !ctx.stream_by_peer.contains_key(&log.author);
    let signature = is_author_away.then(|| {
        let signed = receipt(&ctx.network, log, range.high, &range.hash);
        BASE64URL_NOPAD.encode(&ctx.identity.sign(&signed.0))
    });
    HaveEntry {
        read: read_up_to,
        signature,
        ..have_entry(range)
    }
}

/// The entry that offers a log over this link.
fn offer_entry(delivery: &DeliveryTracker, link: &Link, range: &LogRange) -> HaveEntry {
    let log = &range.log;
    let mut entry = have_entry(range);
    // A carrier need not store lines that the recipient has acknowledged.
    if let Some(recipient) = log.target.recipient()
        && !link.is_recipient_of(&log.target)
    {
        entry.low = entry.low.max(delivery.acked_up_to(&recipient, log) + 1);
    }
    entry
}

fn send_entries(ctx: &mut Context, stream: StreamId, target: &Target, entries: &[HaveEntry]) {
    for part in entries.chunks(LOGS_PER_MESSAGE_MAX) {
        send_have(ctx, stream, target, part.to_vec(), None);
    }
}
