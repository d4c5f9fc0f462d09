//! Handles incoming `have` messages. Each entry describes one log. An entry with a holder is a
//! forwarded receipt. Any other entry about a log that we wrote acknowledges our lines, and may
//! offer lines that we have lost. Any other entry about another author's log is an offer, and may
//! acknowledge lines that we forwarded.
use crate::base::batch::batch::{LogId, MAX_SAFE_INTEGER};
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Target;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::membership::rooms::Rooms;
use crate::node::replication::acks::next_answer_at;
use crate::node::replication::carrying::carriers::{
    PlaceToCarry, can_receive_over, claimant, is_for_us,
};
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::engine::Replication;
use crate::node::replication::fork_repair;
use crate::node::replication::have::{
    is_third_party, parse_shared_target, send_have, third_party_digest, unequal_digest,
};
use crate::node::replication::logs::eviction::LOGS_PER_AUTHOR_MAX;
use crate::node::replication::logs::peer_acks::Ack;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::progress_state::{FetchState, Offer, OfferKind};
use crate::node::replication::receipts::forwarded_receipts::is_signed_by;
use crate::node::replication::send::AckOutcome;
use crate::node::replication::want::{WantRange, send_want};
use crate::wire::message::{DIGEST_CHARS, Have, HaveEntry, LOGS_PER_MESSAGE_MAX, parse_log_id};

/// A `have` entry that a peer sent us.
struct ReceivedEntry<'a> {
    /// The log that the entry describes, and the link over which the entry came.
    key: LinkLog,
    /// The content of the entry.
    entry: &'a HaveEntry,
    /// The place to carry logs to the entry's target. The same for all entries of a message.
    place: PlaceToCarry,
}

impl Replication {
    /// Handles a `have` message that arrived over a link.
    pub fn handle_have(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        rooms: &Rooms,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        have: Have,
    ) {
        let Some(target) = parse_shared_target(ctx, stream, &have.target) else {
            return;
        };
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let link = ctx.links.get(&stream);
        let is_answered = match target.recipient() {
            Some(recipient) => recipient == peer || self.answers_for(ctx, logs, stream, &recipient),
            None => link.is_some_and(|link| link.receives(&target)),
        };
        let is_kept = |digest: &String| is_answered && digest.len() <= DIGEST_CHARS;
        if let Some(digest) = have.digest.filter(is_kept) {
            let digests = &mut self.progress.report_mut(stream).digests;
            digests.get_or_default(target.clone()).waiting = Some(digest);
            self.answer_digests(ctx, logs, stream);
        }
        // Only an author's own entries lead to carrying.
        let place = match have.logs.iter().any(|entry| entry.sender == peer) {
            true => PlaceToCarry::for_author(ctx, logs, &target, &claimant(ctx, stream, &peer)),
            false => PlaceToCarry::None,
        };
        self.waiting_receipts.begin_message();
        for entry in have.logs.iter().take(LOGS_PER_MESSAGE_MAX) {
            let log = parse_log_id(&target, entry.sender, &entry.incarnation);
            let Some(log) = log.filter(|_| is_sound(entry)) else {
                continue;
            };
            let received = ReceivedEntry {
                key: LinkLog { stream, log },
                entry,
                place,
            };
            self.handle_entry(ctx, logs, rooms, delivery, &peer, &received);
        }
        self.resume_paused(ctx, logs);
        self.select_sources(ctx, logs, rooms);
    }

    /// Answers the digests that are due on all links.
    pub(super) fn answer_due_digests(&mut self, ctx: &mut Context, logs: &Logs) {
        let reporting = self.progress.reporting();
        let due = reporting.filter(|(_, link)| {
            let mut times = link.digests.values().filter_map(next_answer_at);
            times.any(|at| at <= ctx.now.time)
        });
        let due: Vec<StreamId> = due.map(|(stream, _)| stream).collect();
        for stream in due {
            self.answer_digests(ctx, logs, stream);
        }
    }

    /// Answers the digests of a link's peer that are due. Later digests for a target wait, because
    /// a peer can invent digests.
    pub(super) fn answer_digests(&mut self, ctx: &mut Context, logs: &Logs, stream: StreamId) {
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        let digests = self.progress.link_mut(stream).digests.iter_mut();
        let due = digests.filter_map(|(target, received)| {
            let is_due = next_answer_at(received).is_some_and(|at| at <= ctx.now.time);
            let digest = received.waiting.take_if(|_| is_due)?;
            let kind = match received.answered_at.replace(ctx.now.time) {
                None => OfferKind::Initial,
                Some(_) => OfferKind::Answer,
            };
            Some((target.clone(), digest, kind))
        });
        let due: Vec<_> = due.collect();
        for (target, digest, kind) in due {
            self.answer_digest(ctx, logs, stream, &peer, &target, (&digest, kind));
        }
    }

    /// Offers the logs to a target to a peer whose digest of them differs from ours. Only logs that
    /// neither we nor this peer wrote are offered, unless the peer has gaps and queries all logs. A
    /// digest for direct messages to the peer is always such a query.
    fn answer_digest(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        peer: &PeerId,
        target: &Target,
        (digest, kind): (&str, OfferKind),
    ) {
        match target.recipient() {
            Some(recipient) if recipient != *peer => {
                return self.offer_to_neighbour_of(ctx, logs, stream, &recipient);
            }
            Some(recipient) => self.relay_query(ctx, &recipient),
            None => {}
        }
        let is_query = target.room().is_none() || digest == unequal_digest();
        if let Some(room) = target.room()
            && !is_query
            && digest == third_party_digest(ctx, logs, room, peer)
        {
            return;
        }
        for range in logs.ranges_to(target.clone()) {
            if is_query || is_third_party(ctx, range, peer) {
                self.schedule_offer(stream, &range.log, kind);
            }
        }
    }

    fn handle_entry(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        rooms: &Rooms,
        delivery: &mut DeliveryTracker,
        peer: &PeerId,
        received: &ReceivedEntry,
    ) {
        let ReceivedEntry { key, entry, .. } = received;
        let log = &key.log;
        let is_own = log.author == ctx.own_id();
        if is_own && log.target.recipient() == Some(*peer) && entry.read > 0 {
            mark_read_by(ctx, logs, *peer, log, entry.read);
        }
        if let Some(holder) = entry.holder {
            match is_own {
                true => delivery.handle_forwarded_receipt(ctx, logs, holder, log, entry),
                false => self.forward_receipt(ctx, logs, key, entry),
            }
            return;
        }
        if ctx.acquaintances.is_banned(&log.author) {
            return;
        }
        // Nobody will read the lines of others here.
        if ctx.is_send_only() && !is_own && log.target.room().is_some() {
            return;
        }
        if is_for_us(ctx, &log.target) {
            self.gaps.handle_offer(logs, &mut self.progress, key, entry);
        }
        if is_own && (logs.is_current(ctx, log) || stores_entry(logs, log, entry)) {
            let outcome = self.handle_ack(ctx, logs, delivery, key.stream, log, entry);
            match outcome {
                AckOutcome::Consistent => {}
                AckOutcome::Conflict => {
                    let (stream, low, high) = (key.stream, entry.low, entry.high);
                    fork_repair::bisect(ctx, logs, &mut self.progress, stream, log, low, high);
                }
                AckOutcome::Ahead => {
                    let line = entry.low.max(logs.high(log) + 1);
                    self.request_evidence(ctx, logs, key, line);
                }
            }
        } else if log.author == *peer {
            return self.handle_author_entry(ctx, logs, rooms, received);
        } else {
            self.handle_third_party_entry(ctx, logs, delivery, peer, received);
        }
        if is_own && self.progress.get(key.stream, log).is_comparing() {
            let (low, high) = (entry.low, entry.high);
            fork_repair::bisect(ctx, logs, &mut self.progress, key.stream, log, low, high);
        }
        // Own logs of earlier incarnations may be fetched: our disk may have lost their lines.
        if can_fetch(ctx, logs, log) {
            self.handle_offer(ctx, logs, rooms, received);
        }
    }

    /// Handles an entry that the log's author sent.
    fn handle_author_entry(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        rooms: &Rooms,
        received: &ReceivedEntry,
    ) {
        let key = &received.key;
        let link = ctx.links.get(&key.stream);
        if link.is_some_and(|link| can_receive_over(ctx, link, &key.log))
            && received.place.allows(logs, &key.log)
        {
            let (low, high) = (received.entry.low, received.entry.high);
            // Lines that the recipient has lost are on the way, and no line to carry follows them.
            if low <= high || !self.is_fetching(ctx, logs, &key.log, high) {
                self.handle_author_offer(ctx, logs, rooms, key.clone(), low, high);
            }
            self.end_fetching(ctx, logs, &key.log);
            // An offer of what we store would replace the author's.
            if !self.relay_offer(ctx, logs, key, received.entry) {
                self.request_recipient_ack(ctx, &key.log);
            }
        }
    }

    /// Records an offer of lines that we lack, from a neighbour that is not the log's author. The
    /// neighbour may be our source, and may no longer store the line that we need next. See
    /// [`Replication::pass_lost_lines`]. If `low` is above `high`, the neighbour stores no line.
    fn record_offer(
        &mut self,
        ctx: &Context,
        logs: &Logs,
        rooms: &Rooms,
        key: &LinkLog,
        low: u64,
        high: u64,
    ) {
        let now = ctx.now.time;
        let record = self.progress.get(key.stream, &key.log);
        let is_new = record.offer().is_none() && record.request().is_none();
        if is_new && self.has_many_offers(key) {
            return;
        }
        let known = record.offer();
        let known = known.filter(|known| known.high > logs.high(&key.log));
        let (offered_at, tries) = known.map_or((now, 0), |known| (known.offered_at, known.tries));
        let offer = Offer {
            low,
            high,
            offered_at,
            tries,
        };
        let offer = (low <= high).then_some(offer);
        let is_recorded = self.progress.set_offer(key.stream, &key.log, offer);
        let record = self.progress.get(key.stream, &key.log);
        if !is_recorded && matches!(record.fetch(), FetchState::Idle | FetchState::Requested(_)) {
            self.progress.link_mut(key.stream).has_ignored_offers = true;
            self.gaps.schedule_query();
        }
        self.changed_offers.logs.insert(key.log.clone());
        self.pass_lost_lines(ctx, logs, rooms, key, low);
    }

    /// Whether the link's peer offers as many direct logs of one author as the author may have.
    /// More are invented, or will be ousted.
    fn has_many_offers(&self, key: &LinkLog) -> bool {
        let LinkLog { stream, log } = key;
        let first = LogId {
            incarnation: 0,
            ..log.clone()
        };
        let of_author = self
            .progress
            .offered()
            .iter_from(&first)
            .take_while(|other| (&other.target, other.author) == (&log.target, log.author));
        let offered = of_author.filter(|log| self.progress.get(*stream, log).offer().is_some());
        log.target.recipient().is_some() && offered.count() >= LOGS_PER_AUTHOR_MAX
    }

    /// Handles an entry whose sender is not the log's author. The entry acknowledges lines that we
    /// sent, or a direct log that we carry. A signed entry is forwarded to the log's author as a
    /// receipt.
    fn handle_third_party_entry(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        peer: &PeerId,
        received: &ReceivedEntry,
    ) {
        let ReceivedEntry { key, entry, .. } = received;
        let log = &key.log;
        let our_hash = self.advance_acked(logs, key.stream, log, entry.high);
        if log.target.recipient().is_some() && stores_entry(logs, log, entry) {
            match is_for_us(ctx, &log.target) {
                true => self.schedule_ack(key.stream, log, 1),
                // Without our hash, the acknowledgement waits for one at a later line.
                false if our_hash == Some(entry.hash) => {
                    if delivery.confirm(ctx, logs, *peer, log, Ack::new(entry)) {
                        self.paused.record_delivery();
                    }
                }
                false => {}
            }
        }
        if entry.signature.is_some() {
            let receipt = HaveEntry {
                holder: Some(*peer),
                ..(*entry).clone()
            };
            self.forward_receipt(ctx, logs, key, &receipt);
        }
    }

    /// Handles an offer of another author's log, or of a log that we wrote in an earlier
    /// incarnation. If the offer names our head but another hash, requests the peer's batch, which
    /// may prove a fork.
    fn handle_offer(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        rooms: &Rooms,
        received: &ReceivedEntry,
    ) {
        let ReceivedEntry { key, entry, .. } = received;
        self.end_evicted_evidence(ctx, key, entry.low);
        // A carrier withdraws what it has announced for an author.
        if let Some(request) = self.progress.request_mut(key.stream, &key.log) {
            request.announced = request.announced.min(entry.high);
        }
        let Some(range) = logs.get(&key.log).filter(|range| range.high >= entry.high) else {
            return self.record_offer(ctx, logs, rooms, key, entry.low, entry.high);
        };
        self.remove_offer(key);
        let differs = range.high == entry.high && range.hash != entry.hash;
        let is_own = key.log.author == ctx.own_id();
        if differs && !is_own {
            self.request_evidence(ctx, logs, key, entry.high);
        }
    }

    /// Requests the peer's batch with the line `line`, because the peer claims that the batch
    /// differs from ours. Skips a log that was reported as forked.
    fn request_evidence(&mut self, ctx: &mut Context, logs: &Logs, key: &LinkLog, line: u64) {
        let LinkLog { stream, log } = key;
        let is_idle = matches!(self.progress.get(*stream, log).fetch(), FetchState::Idle);
        let wanted = FetchState::EvidenceWanted(line);
        if is_idle && !logs.state(log).is_forked && self.progress.set_fetch(*stream, log, wanted) {
            send_want(ctx, *stream, log, WantRange::From(line));
        }
    }

    /// Ends the request for a batch that may prove a fork, if the peer has evicted that batch.
    /// `low`: the first line that the peer stores.
    fn end_evicted_evidence(&mut self, ctx: &mut Context, key: &LinkLog, low: u64) {
        let LinkLog { stream, log } = key;
        if let FetchState::EvidenceWanted(line) = self.progress.get(*stream, log).fetch()
            && low > *line
        {
            self.progress.set_fetch(*stream, log, FetchState::Idle);
            send_want(ctx, *stream, log, WantRange::Cancel);
        }
    }

    /// Offers a direct log to its recipient, so that the recipient acknowledges the log again. The
    /// recipient may have received more lines over other links.
    pub(super) fn request_recipient_ack(&mut self, ctx: &Context, log: &LogId) {
        let recipient = log.target.recipient();
        if let Some(stream) = recipient.and_then(|peer| ctx.stream_by_peer.get(&peer)) {
            self.schedule_offer(*stream, log, OfferKind::Initial);
        }
    }

    /// Forwards a receipt to the log's author, and to the sources of the log. Forwards only
    /// receipts that name our head and its hash, and each only a few times over a link. A blocked
    /// link gets them once it accepts bytes again. Only valid ones wait for that: others could take
    /// their places.
    fn forward_receipt(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        key: &LinkLog,
        receipt: &HaveEntry,
    ) {
        let log = &key.log;
        if logs.head_hash_at(log, receipt.high) != Some(receipt.hash) {
            return;
        }
        let mut is_valid = None;
        for next_hop in self.ways_to_author(ctx, log).iter() {
            if *next_hop == key.stream {
                continue;
            }
            let is_blocked = ctx.links.get(next_hop).is_some_and(|link| link.is_blocked);
            if !is_blocked {
                self.send_receipt(ctx, *next_hop, log, receipt);
            } else if let Some(holder) = receipt.holder {
                let is_signed =
                    || *is_valid.get_or_insert_with(|| is_signed_by(ctx, holder, log, receipt));
                let waiting = &mut self.waiting_receipts;
                waiting.add(*next_hop, key.stream, log, holder, receipt, is_signed);
            }
        }
    }

    fn send_receipt(
        &mut self,
        ctx: &mut Context,
        next_hop: StreamId,
        log: &LogId,
        receipt: &HaveEntry,
    ) {
        let signature = receipt.signature.as_deref().unwrap_or_default();
        let forwarded = &mut self.forwarded_receipts;
        if forwarded.admit(next_hop, signature, ctx.now.time) {
            send_have(ctx, next_hop, &log.target, vec![receipt.clone()], None);
        }
    }

    /// Forwards the receipts that waited for links which accept bytes again.
    pub(super) fn send_waiting_receipts(&mut self, ctx: &mut Context) {
        for stream in self.waiting_receipts.links() {
            let link = ctx.links.get(&stream);
            if link.is_some_and(|link| link.is_blocked) {
                continue;
            }
            for (log, receipt) in self.waiting_receipts.take(stream) {
                self.send_receipt(ctx, stream, &log, &receipt);
            }
        }
    }
}

/// Whether the sequences in an entry are in order and within their bounds. `low` is `high` + 1 if
/// the sender has evicted all lines.
fn is_sound(entry: &HaveEntry) -> bool {
    let is_ordered = (1..=MAX_SAFE_INTEGER).contains(&entry.high) && entry.low <= entry.high + 1;
    is_ordered && (1..=entry.high + 1).contains(&entry.complete_from)
}

/// Whether this log may be requested from any peer that offers it. Direct logs to other recipients
/// are not requested. A log that we write in the present incarnation is not requested either.
fn can_fetch(ctx: &Context, logs: &Logs, log: &LogId) -> bool {
    is_for_us(ctx, &log.target) && !logs.is_current(ctx, log)
}

/// Whether we store this log, and our head is at the entry's last line or later.
fn stores_entry(logs: &Logs, log: &LogId, entry: &HaveEntry) -> bool {
    logs.get(log).is_some_and(|range| range.high >= entry.high)
}

/// Handles a recipient's report about a direct log that we wrote. The recipient's terminal has
/// shown the line `sequence` and all earlier lines.
fn mark_read_by(ctx: &mut Context, logs: &mut Logs, recipient: PeerId, log: &LogId, sequence: u64) {
    let Some(state) = logs.state_mut(log).filter(|state| state.range().is_some()) else {
        return;
    };
    let sequence = sequence.min(state.high());
    if let Some(own) = state.own_mut().filter(|own| own.read_up_to < sequence) {
        own.read_up_to = sequence;
        ctx.notify(Notice::Read {
            log: log.clone(),
            sequence,
            peer: ctx.display_peer(&recipient),
            at: ctx.now.wall,
        });
    }
}
