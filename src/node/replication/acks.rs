//! Schedules acknowledgements and offers. Sends them in `have` messages, at a limited rate per
//! link. An offer lists lines that a neighbour can request from us. EBT (epidemic broadcast trees)
//! calls a `have` message a note.
use std::collections::VecDeque;

use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Room, Target};
use crate::base::range::LogRange;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::text::rfc4648::BASE64URL_NOPAD;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::replication::engine::Replication;
use crate::node::replication::have::{have_entry, own_entry, send_have};
use crate::node::replication::logs::ack_times::AckTimes;
use crate::node::replication::logs::log_state::LogState;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::link_progress::{LinkProgress, ReceivedDigest};
use crate::node::replication::progress::progress_state::OfferKind;
use crate::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX, receipt};

/// Minimum milliseconds between two sets of offers on a link. Initial offers do not wait.
const OFFER_INTERVAL_MS: u64 = 1_000;
/// Minimum milliseconds between two answers to digests for one target on a link. An answer reads
/// all logs to the target.
const DIGEST_INTERVAL_MS: u64 = 5_000;
/// Milliseconds after its arrival for which a line is acknowledged again when another way leads to
/// its author. Nobody waits much longer for a delivery.
const REPEAT_RECEIPTS_MS: u64 = 30_000;

impl Replication {
    /// Schedules an acknowledgement of this log over this link. `batches`: the number of batches to
    /// acknowledge. This number is added to that of a pending acknowledgement.
    pub(super) fn schedule_ack(&mut self, stream: StreamId, log: &LogId, batches: u32) {
        let pending = &mut self.progress.get_or_create(stream, log).due_ack;
        *pending = Some(pending.unwrap_or(0).saturating_add(batches));
        self.progress
            .report_mut(stream)
            .due_acks
            .insert(log.clone());
    }

    /// Schedules the acknowledgements of a batch that filled a gap of this log. The link's peer
    /// gets an acknowledgement, because the peer sent the batch. The author gets one too, or a
    /// receipt that the sources of the log forward.
    pub(super) fn schedule_gap_acks(&mut self, ctx: &Context, stream: StreamId, log: &LogId) {
        self.schedule_ack(stream, log, 1);
        for next_hop in self.ways_to_author(ctx, log).iter() {
            if *next_hop != stream {
                self.schedule_ack(*next_hop, log, 1);
            }
        }
    }

    /// The links over which acknowledgements reach the author of a log: the author's own link, and
    /// the links over which the log is requested. If lines come from another peer although the
    /// author is linked, the author's link may be dead without having ended. Without such links,
    /// the one with the shortest route to the author.
    pub(super) fn ways_to_author(&self, ctx: &Context, log: &LogId) -> SortedSet<StreamId> {
        let records = self.progress.of_log(log);
        let sources = records.filter(|(stream, record)| {
            record.request().is_some() && ctx.links.contains_key(stream)
        });
        let author = ctx.stream_by_peer.get(&log.author).copied();
        let mut ways: SortedSet<StreamId> =
            sources.map(|(stream, _)| stream).chain(author).collect();
        if let Some(room) = log.target.room().filter(|_| ways.is_empty()) {
            let routes = ctx.known_routes_in_room(room);
            let routes = routes.filter(|(_, peer, _)| **peer == log.author);
            let shortest = routes.min_by_key(|(_, _, route)| route.hops);
            ways.extend(shortest.map(|(stream, _, _)| stream));
        }
        ways
    }

    /// Acknowledges the newest lines of an author again, because the neighbour of this link has
    /// another route to the author. Receipts on the way before it may be lost: no relay keeps them.
    pub fn repeat_receipts(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        stream: StreamId,
        author: &PeerId,
        rooms: &[Room],
    ) {
        let routes = ctx.links.get(&stream).map(|link| &link.routes);
        let Some(routes) = routes.filter(|_| !ctx.stream_by_peer.contains_key(author)) else {
            return;
        };
        let leads_to = |room: &&Room| routes.get(*room).is_some_and(|it| it.contains_key(author));
        for room in rooms.iter().filter(leads_to) {
            for range in logs.ranges_by(*author, Target::Room(room.clone())) {
                let received_at = logs.state(&range.log).received_at;
                if received_at.is_some_and(|at| at + REPEAT_RECEIPTS_MS > ctx.now.time) {
                    self.schedule_ack(stream, &range.log, 0);
                }
            }
        }
    }

    /// Schedules an offer of this log over this link. See [`OfferKind`] for when it is sent.
    pub(super) fn schedule_offer(&mut self, stream: StreamId, log: &LogId, kind: OfferKind) {
        let pending = &mut self.progress.get_or_create(stream, log).due_offer;
        if *pending >= Some(kind) {
            return;
        }
        *pending = Some(kind);
        let link = self.progress.report_mut(stream);
        link.offers_mut(kind).push_back(log.clone());
    }

    /// Sends the acknowledgements and offers that are due. On each link, acknowledgements are
    /// grouped into messages by target. Offers are grouped by target and kind.
    pub(super) fn send_due(&mut self, ctx: &mut Context, logs: &Logs) {
        let reporting = self.progress.reporting();
        let due = reporting.filter(|(stream, progress)| {
            let at = self.report_at(ctx, *stream, progress);
            at.is_some_and(|at| at <= ctx.now.time)
        });
        let due: Vec<StreamId> = due.map(|(stream, _)| stream).collect();
        for stream in due {
            let Some(link) = ctx.links.get(&stream) else {
                continue;
            };
            let mut reported = Vec::new();
            let acks = self.take_due_acks(ctx, logs, link, stream, &mut reported);
            let offers = self.take_due_offers(ctx, logs, link, stream, &mut reported);
            self.progress.remove_all_empty(stream, &reported);
            send_acks(ctx, stream, &acks);
            send_offers(ctx, stream, &offers);
        }
    }

    /// Sends all pending acknowledgements at once, without regard to the interval. Call this before
    /// leaving a room or the network. Afterwards no author would learn that we hold its last lines.
    pub fn send_pending_acks(&mut self, ctx: &mut Context, logs: &Logs) {
        for link in self.progress.links_mut() {
            link.ack_times = AckTimes::default();
        }
        self.send_due(ctx, logs);
    }

    /// Takes the acknowledgements that are due on a link. Groups their entries by target. Adds
    /// their logs to `reported`.
    fn take_due_acks(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        link: &Link,
        stream: StreamId,
        reported: &mut Vec<LogId>,
    ) -> SortedMap<Target, Vec<HaveEntry>> {
        let mut acks = SortedMap::new();
        let link_progress = self.progress.link_mut(stream);
        let mut due_acks = std::mem::take(&mut link_progress.due_acks);
        // One message names all that are due, so none is recorded before all are found.
        let mut ack_times = std::mem::take(&mut link_progress.ack_times);
        due_acks.retain(|log| {
            let record = self.progress.get_mut(stream, log);
            let Some(pending) = record.and_then(|record| record.due_ack.as_mut()) else {
                return false;
            };
            if ack_times.next_at(log, *pending) > ctx.now.time {
                return true;
            }
            if let Some(record) = self.progress.get_mut(stream, log) {
                record.due_ack = None;
            }
            if let Some(range) = logs.get(log) {
                let entries: &mut Vec<HaveEntry> = acks.get_or_default(log.target.clone());
                entries.push(ack_entry(ctx, link, range, logs.state(log).shown_up_to()));
            }
            reported.push(log.clone());
            false
        });
        for log in reported.iter() {
            ack_times.record(log, ctx.now.time);
        }
        let link_progress = self.progress.link_mut(stream);
        (link_progress.due_acks, link_progress.ack_times) = (due_acks, ack_times);
        acks
    }

    /// Takes the offers that are due on a link, at most [`LOGS_PER_MESSAGE_MAX`] of each kind: the
    /// initial offers in each turn, the others once per [`OFFER_INTERVAL_MS`]. Groups their entries
    /// by target and kind. Adds their logs to `reported`.
    fn take_due_offers(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        link: &Link,
        stream: StreamId,
        reported: &mut Vec<LogId>,
    ) -> SortedMap<(Target, OfferKind), Vec<HaveEntry>> {
        let mut offers: SortedMap<(Target, OfferKind), Vec<HaveEntry>> = SortedMap::new();
        for kind in OfferKind::ALL {
            if next_offer_at(link, kind) > ctx.now.time {
                continue;
            }
            for _ in 0..LOGS_PER_MESSAGE_MAX {
                let Some(log) = self.take_offer(stream, kind) else {
                    break;
                };
                // A log whose lines are all evicted has nothing to offer.
                // Lines of banned authors are not passed on.
                let is_offered = |range: &&LogRange| {
                    range.low <= range.high && !ctx.acquaintances.is_banned(&log.author)
                };
                if let Some(range) = logs.get(&log).filter(is_offered) {
                    let entries = offers.get_or_default((log.target.clone(), kind));
                    let mut entry = offer_entry(logs.state(&log), link, range);
                    // What we lack comes from the author, when the recipient requests it.
                    if self.source_of_carried(ctx, &log).is_some() {
                        entry.low = 1;
                    }
                    entries.push(entry);
                }
                reported.push(log);
            }
        }
        offers
    }

    /// Takes the next log with a pending offer of this kind.
    fn take_offer(&mut self, stream: StreamId, kind: OfferKind) -> Option<LogId> {
        loop {
            let queue = self.progress.link_mut(stream).offers_mut(kind);
            let Some(log) = queue.pop_front() else {
                // An emptied queue takes no memory: most links offer all their logs once.
                *queue = VecDeque::new();
                return None;
            };
            let record = self.progress.get_mut(stream, &log);
            let pending = record.and_then(|record| record.due_offer.take_if(|of| *of == kind));
            if pending.is_some() {
                return Some(log);
            }
        }
    }

    /// When to send the next acknowledgement or offer, or to answer the next digest. Ignores
    /// blocked links. When a blocked link accepts bytes again, `Input::Writable` starts a turn that
    /// sends what is due.
    pub(super) fn report_deadline(&self, ctx: &Context) -> Option<Time> {
        let deadlines = self.progress.reporting().filter_map(|(stream, progress)| {
            let digests = progress.digests.values().filter_map(next_answer_at);
            let report_at = self.report_at(ctx, stream, progress);
            digests.chain(report_at).min()
        });
        deadlines.min()
    }

    /// When to send the next acknowledgement or offer on a link. `None`: none is pending, or the
    /// link is blocked.
    fn report_at(&self, ctx: &Context, stream: StreamId, progress: &LinkProgress) -> Option<Time> {
        let link = ctx.links.get(&stream).filter(|link| !link.is_blocked)?;
        let acks = progress.due_acks.iter().filter_map(|log| {
            let due_ack = self.progress.get(stream, log).due_ack?;
            Some(progress.ack_times.next_at(log, due_ack))
        });
        let offers = OfferKind::ALL.into_iter();
        let offers = offers.filter(|kind| !progress.offers(*kind).is_empty());
        let offers = offers.map(|kind| next_offer_at(link, kind));
        acks.chain(offers).min()
    }
}

/// When to answer a digest that waits. `None`: none waits.
pub(super) fn next_answer_at(digest: &ReceivedDigest) -> Option<Time> {
    digest.waiting.as_ref()?;
    let answered_at = digest.answered_at;
    Some(answered_at.map_or(Time(0), |at| at + DIGEST_INTERVAL_MS))
}

/// When an offer of this kind may be sent.
fn next_offer_at(link: &Link, kind: OfferKind) -> Time {
    match (kind, link.last_offer_sent) {
        (OfferKind::Initial, _) | (_, None) => Time(0),
        (OfferKind::Answer | OfferKind::Update, Some(last)) => last + OFFER_INTERVAL_MS,
    }
}

/// The entry that acknowledges a log over this link. If the link's peer is not the log's author,
/// the entry is signed, and the peer forwards it to the author. We sign it even if we know no route
/// to the author, because routes omit transient peers.
fn ack_entry(ctx: &Context, link: &Link, range: &LogRange, shown_up_to: u64) -> HaveEntry {
    let log = &range.log;
    let mut entry = HaveEntry {
        read: shown_up_to,
        ..have_entry(range)
    };
    if link.peer.id != log.author {
        let from = entry.complete_from;
        let signed = receipt(&ctx.network, log, from, entry.high, &entry.hash);
        entry.signature = Some(BASE64URL_NOPAD.encode(&ctx.identity.sign(&signed.0)));
    }
    entry
}

/// The entry that offers a log over this link.
fn offer_entry(state: &LogState, link: &Link, range: &LogRange) -> HaveEntry {
    let log = &range.log;
    let mut entry = HaveEntry {
        read: state.shown_up_to(),
        ..match state.own() {
            Some(_) => own_entry(range),
            None => have_entry(range),
        }
    };
    // A carrier need not store lines that the recipient has acknowledged.
    if let Some(recipient) = log.target.recipient()
        && !link.is_recipient_of(&log.target)
    {
        entry.low = entry.low.max(state.delivered_to(&recipient) + 1);
    }
    entry
}

fn send_acks(ctx: &mut Context, stream: StreamId, acks: &SortedMap<Target, Vec<HaveEntry>>) {
    for (target, entries) in acks {
        send_entries(ctx, stream, target, entries);
    }
}

fn send_offers(
    ctx: &mut Context,
    stream: StreamId,
    offers: &SortedMap<(Target, OfferKind), Vec<HaveEntry>>,
) {
    let now = ctx.now.time;
    for ((target, kind), entries) in offers {
        if let Some(link) = ctx.links.get_mut(&stream)
            && *kind != OfferKind::Initial
        {
            link.last_offer_sent = Some(now);
        }
        send_entries(ctx, stream, target, entries);
    }
}

fn send_entries(ctx: &mut Context, stream: StreamId, target: &Target, entries: &[HaveEntry]) {
    for part in entries.chunks(LOGS_PER_MESSAGE_MAX) {
        send_have(ctx, stream, target, part.to_vec(), None);
    }
}
