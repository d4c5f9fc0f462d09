//! Handles incoming batches. Each one is classified, verified, stored, forwarded and shown. An
//! unverified batch changes no log.
//!
//! Any peer can withhold the content of a batch, and the batch still verifies. So a withheld batch
//! counts as lines that its sender lacks. It is not stored, acknowledged or forwarded. The same
//! applies to an unstorable batch, so that the lines after it arrive.
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::batch::batch_layout::Proof;
use crate::base::event::notice::{Chat, Notice};
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::missing_lines::gap_notice;
use crate::base::table::SortedSet;
use crate::node::context::Context;
use crate::node::link::{Link, LinkLog};
use crate::node::replication::carrying::carriers::{
    can_receive_over, claimant, destinations, find_place_to_carry, is_for_us, source_over,
};
use crate::node::replication::carrying::recipient_requests::begins_lacked_lines;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::engine::Replication;
use crate::node::replication::fork_repair;
use crate::node::replication::logs::eviction::admit;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::news::Verdict;
use crate::node::replication::progress::progress_state::{FetchState, OfferKind};
use crate::node::replication::want::{WantRange, send_want};
use crate::wire::sealed;

/// The peer broke the protocol, so its link must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProtocolViolation;

/// What became of the batches of one turn.
#[derive(Default)]
pub struct HandledBatches {
    /// Whose lines the valid batches claim to be.
    pub authors: SortedSet<PeerId>,
    /// A batch is invalid, so the link must end. The batches behind it are ignored.
    pub is_violation: bool,
}

/// How a batch fits into the stored range of its log.
#[derive(PartialEq, Eq)]
enum BatchPlacement {
    /// The batch follows the head of its log, or is the first batch that we store of the log. If
    /// the batch answers our request, lines before the batch may be missing. The source does not
    /// store these lines.
    Next,
    /// The first line of the batch is missing in a gap.
    FillsGap,
    /// The lines of the batch are stored already, or there is no place for the gaps around them.
    Duplicate,
    /// The batch contradicts the stored lines: its hash or its predecessor's hash differs from
    /// ours.
    Fork,
    /// The batch neither continues the log nor answers a request.
    Unrequested,
}

/// What to do with an incoming batch.
#[derive(PartialEq, Eq)]
enum BatchAction {
    /// Ignore the batch. We did not request it, or its log must not come over this link.
    Drop,
    /// Request the batch again after the store has recovered. `fills_gap`: whether the batch
    /// belongs to a gap. `Gaps` then makes the request.
    Postpone { fills_gap: bool },
    /// Forget what we carry of the log, and begin it again with this batch, if it can be stored.
    Restart,
    /// Acknowledge the batch again. Its lines are stored already.
    Acknowledge,
    /// Store the batch in a gap of its log.
    FillGap,
    /// Report a fork: the author signed two different batches with the same sequences.
    ReportFork,
    /// Make the batch the head of its log.
    Append,
}

impl Replication {
    /// Handles batches that arrived over a link in one turn, each with its bytes. Those before an
    /// invalid one count.
    pub fn handle_batches(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        batches: Vec<Vec<u8>>,
    ) -> HandledBatches {
        let mut handled = HandledBatches::default();
        if !ctx.links.contains_key(&stream) {
            return handled;
        }
        ctx.counters.batches_received += batches.len() as u64;
        let mut parsed: Vec<Batch> = Vec::with_capacity(batches.len());
        for bytes in batches {
            match Batch::parse(bytes, &ctx.network) {
                Ok(batch) => parsed.push(batch),
                Err(_) => {
                    handled.is_violation = true;
                    break;
                }
            }
        }
        for chain in parsed.chunk_by_mut(|a, b| a.is_before(b) && !b.is_withheld()) {
            self.verify_chain(ctx, stream, chain);
        }
        for batch in parsed {
            let author = batch.log.author;
            let outcome = self.handle_batch(ctx, logs, delivery, stream, batch);
            if outcome.is_err() {
                handled.is_violation = true;
                break;
            }
            handled.authors.insert(author);
        }
        handled
    }

    /// Verifies consecutive batches of a log by the signature of the last one. If it is false, each
    /// batch is verified by its own when its place in the log is known.
    ///
    /// Only the author of a log can send a chain: a relay could falsify signatures of lines that
    /// the author then believes to be stored here. A log that others get from us live is verified
    /// batch by batch, since each batch is passed on at once. So is a log to a peer, because we may
    /// have room for a part of the batches only. A store in memory keeps no batch that may have to
    /// be removed.
    fn verify_chain(&mut self, ctx: &Context, stream: StreamId, chain: &mut [Batch]) {
        let [before @ .., last] = chain else {
            return;
        };
        let is_author = |link: &Link| link.peer.id == last.log.author;
        if before.is_empty()
            || !ctx.links.get(&stream).is_some_and(is_author)
            || last.log.target.room().is_none()
            || ctx.is_ephemeral
            || self.is_forwarded(ctx, stream, &last.log)
            || self.verify(ctx, stream, last).is_err()
        {
            return;
        }
        for batch in before {
            batch.proof = Proof::Chain;
        }
    }

    fn handle_batch(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        mut batch: Batch,
    ) -> Result<(), ProtocolViolation> {
        match self.progress.get(stream, &batch.log).fetch() {
            FetchState::Comparing(bisection) if bisection.is_answered_by(&batch) => {
                self.verify(ctx, stream, &mut batch)?;
                fork_repair::load_for_comparison(ctx, &mut self.progress, stream, &batch);
                Ok(())
            }
            FetchState::EvidenceWanted(line) if batch.contains_line(*line) => {
                let line = *line;
                match batch.log.author == ctx.own_id() {
                    true => self.take_own_batch(ctx, logs, delivery, stream, batch, line),
                    false => self.take_evidence(ctx, logs, stream, &mut batch),
                }
            }
            FetchState::Requested(request) => {
                let from = request.from;
                self.receive(ctx, logs, delivery, stream, batch, Some(from))
            }
            // The author may begin a log without our request, and any link may fill a gap.
            FetchState::Idle
            | FetchState::Offered(_)
            | FetchState::EvidenceWanted(_)
            | FetchState::Comparing(_)
            | FetchState::Refused => self.receive(ctx, logs, delivery, stream, batch, None),
        }
    }

    /// Handles a batch that was not requested for a comparison. `requested_from`: sequence of the
    /// first line that we requested over this link. `None`: the log is not requested over it.
    fn receive(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        mut batch: Batch,
        requested_from: Option<u64>,
    ) -> Result<(), ProtocolViolation> {
        let key = LinkLog::new(stream, &batch.log);
        let is_receivable = can_receive(ctx, &key);
        match self.choose_action(ctx, logs, &key, &batch, is_receivable, requested_from) {
            BatchAction::Drop => ctx.counters.unwanted_batches += 1,
            BatchAction::Postpone { fills_gap: true } => {}
            BatchAction::Postpone { fills_gap: false } => {
                self.postpone_request(ctx, logs, stream, &batch);
            }
            BatchAction::Acknowledge => {
                ctx.counters.duplicate_batches += 1;
                self.schedule_ack(stream, &batch.log, 1);
            }
            BatchAction::FillGap => {
                self.verify(ctx, stream, &mut batch)?;
                if batch.is_unstorable() {
                    let now = ctx.now.time;
                    self.gaps.pass_over(&mut self.progress, now, &batch);
                } else if batch.is_withheld() {
                    self.gaps.exclude_source(&mut self.progress, stream);
                } else {
                    self.fill_gap(ctx, logs, stream, batch);
                }
            }
            BatchAction::ReportFork => {
                self.verify(ctx, stream, &mut batch)?;
                self.handle_fork(ctx, logs, &key, &batch);
            }
            action @ (BatchAction::Append | BatchAction::Restart) => {
                if batch.proof == Proof::None {
                    self.verify(ctx, stream, &mut batch)?;
                }
                let is_restart = action == BatchAction::Restart;
                let mut verdict = self.judge(ctx, logs, stream, &batch);
                if verdict.is_news && self.move_back(ctx, logs, stream, &batch) {
                    return Ok(());
                }
                if batch.is_withheld() {
                    self.pass_over(ctx, stream, &batch);
                    return Ok(());
                }
                let claimant = claimant(ctx, stream, &batch.log.author);
                let replaced = is_restart.then(|| batch.log.clone());
                let place = find_place_to_carry(ctx, logs, &batch, &claimant, replaced);
                let Some(displaced) = place else {
                    ctx.counters.unwanted_batches += 1;
                    self.pause_request(&key);
                    return Ok(());
                };
                if is_restart {
                    logs.restart(&batch.log);
                } else if !admit(ctx, logs, &batch, claimant.standing) {
                    self.reject_source(ctx, &key);
                    return Ok(());
                }
                for log in &displaced {
                    logs.forget_lines(log);
                }
                let printed_up_to = logs.state(&batch.log).printed_up_to;
                verdict.is_news &= batch.last_sequence() > printed_up_to;
                self.append(ctx, logs, delivery, stream, batch, verdict);
            }
        }
        Ok(())
    }

    /// Handles a batch that was requested because it may prove a fork. If the batch contradicts
    /// ours, the log is forked.
    fn take_evidence(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        stream: StreamId,
        batch: &mut Batch,
    ) -> Result<(), ProtocolViolation> {
        self.progress
            .set_fetch(stream, &batch.log, FetchState::Idle);
        send_want(ctx, stream, &batch.log, WantRange::Cancel);
        self.verify(ctx, stream, batch)?;
        if classify(logs, batch, None) == BatchPlacement::Fork {
            fork_repair::report_fork(ctx, logs, &batch.log, batch.sequence);
        }
        Ok(())
    }

    /// Handles a batch of our own log that was requested because the peer claims lines that we do
    /// not have. A batch beyond our head proves the claim: this directory is an old copy, or has a
    /// clone. Our next lines then get a new incarnation, and the peer's lines are fetched. `line`:
    /// the first line that was requested.
    fn take_own_batch(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        mut batch: Batch,
        line: u64,
    ) -> Result<(), ProtocolViolation> {
        self.verify(ctx, stream, &mut batch)?;
        let (log, last) = (&batch.log, batch.last_sequence());
        if logs.is_current(ctx, log) {
            if last <= logs.high(log) {
                // We have published these sequences since. The lines may be different.
                self.progress.set_fetch(stream, log, FetchState::Idle);
                send_want(ctx, stream, log, WantRange::Cancel);
                fork_repair::bisect(ctx, logs, &mut self.progress, stream, log, 1, last);
                return Ok(());
            }
            logs.renew_after_conflict(ctx);
        }
        self.continue_request(ctx, stream, log, line);
        self.receive(ctx, logs, delivery, stream, batch, Some(line))
    }

    /// Chooses what to do with a batch, before its signature is verified. `requested_from`: as in
    /// [`Replication::receive`].
    fn choose_action(
        &self,
        ctx: &Context,
        logs: &Logs,
        key: &LinkLog,
        batch: &Batch,
        is_receivable: bool,
        requested_from: Option<u64>,
    ) -> BatchAction {
        let fills_gap = is_receivable && self.gaps.is_expected(key, batch);
        // Only lines that our disk has lost are missing in our present log.
        let is_current = logs.is_current(ctx, &key.log) && !fills_gap;
        // An author sends a log that it begins without waiting for a request.
        let is_requested = requested_from.is_some() || is_by_peer(ctx, key);
        if !is_receivable || is_current || !(is_requested || fills_gap) {
            return BatchAction::Drop;
        }
        let placement = classify(logs, batch, requested_from);
        if !self.can_accept() {
            let fills_gap = fills_gap && placement == BatchPlacement::FillsGap;
            return BatchAction::Postpone { fills_gap };
        }
        // Only the link over which we requested a gap may fill it. Without another request, that
        // link may bring nothing else.
        match placement {
            BatchPlacement::FillsGap if fills_gap => BatchAction::FillGap,
            BatchPlacement::FillsGap | BatchPlacement::Duplicate
                if begins_lacked_lines(ctx, logs, batch, requested_from) =>
            {
                BatchAction::Restart
            }
            BatchPlacement::FillsGap | BatchPlacement::Duplicate => BatchAction::Acknowledge,
            BatchPlacement::Next if is_requested => BatchAction::Append,
            BatchPlacement::Next | BatchPlacement::Unrequested => BatchAction::Drop,
            BatchPlacement::Fork => BatchAction::ReportFork,
        }
    }

    /// Verifies the signature of a batch, unless that was done. If the author is linked over
    /// `stream`, uses the key that the link has decoded already.
    fn verify(
        &mut self,
        ctx: &Context,
        stream: StreamId,
        batch: &mut Batch,
    ) -> Result<(), ProtocolViolation> {
        if batch.proof == Proof::Signature {
            return Ok(());
        }
        let link = ctx.links.get(&stream);
        let is_signed = match link.filter(|link| link.peer.id == batch.log.author) {
            Some(link) => link.has_signed(batch),
            None => self.author_keys.verify(batch),
        };
        if !is_signed {
            return Err(ProtocolViolation);
        }
        batch.proof = Proof::Signature;
        Ok(())
    }

    /// Whether another link than `stream` gets new batches of this log.
    fn is_forwarded(&self, ctx: &Context, stream: StreamId, log: &LogId) -> bool {
        let others = destinations(ctx, log).into_iter();
        others
            .filter(|other| *other != stream)
            .any(|other| self.is_requested(other, log))
    }

    /// Handles a verified batch that contradicts ours. Keeps our batch, and never requests the log
    /// over this link again. If we wrote the log, starts to repair it.
    fn handle_fork(&mut self, ctx: &mut Context, logs: &mut Logs, key: &LinkLog, batch: &Batch) {
        fork_repair::report_fork(ctx, logs, &batch.log, batch.sequence);
        self.reject_source(ctx, key);
        if batch.log.author == ctx.own_id() {
            let last = batch.last_sequence();
            fork_repair::bisect(ctx, logs, &mut self.progress, key.stream, &key.log, 1, last);
        }
    }

    /// Stores a verified batch as the head of its log, then forwards, acknowledges and shows it.
    fn append(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        batch: Batch,
        verdict: Verdict,
    ) {
        let key = LinkLog::new(stream, &batch.log);
        if let Some(request) = self.progress.request_mut(stream, &batch.log) {
            request.progress_at = ctx.now.time;
        }
        let is_by_peer = is_by_peer(ctx, &key);
        let is_for_us = is_for_us(ctx, &batch.log.target);
        let local = local_fields(ctx, verdict);
        let gap = logs.advance(&ctx.own_id(), &batch, local);
        logs.record_arrival(&batch.log, source_over(ctx, stream), ctx.now.time);
        if let Some(gap) = gap.filter(|_| is_for_us) {
            self.gaps.schedule_query();
            ctx.notify(gap_notice(&batch, gap, ctx.now.wall));
        }
        if !is_for_us {
            self.carry(ctx, logs, delivery, &batch);
        }
        let batch = store_batch(ctx, batch, local);
        let unrequested = self.send_live(ctx, logs, &batch, Some(stream));
        self.schedule_ack(stream, &batch.log, 1);
        if is_by_peer {
            self.prefer_author(stream, &batch.log);
        } else if let Some(author) = ctx.stream_by_peer.get(&batch.log.author) {
            self.schedule_ack(*author, &batch.log, 1);
            self.add_author_source(ctx, logs, *author, &batch.log);
        }
        self.offer_to_unrequested(ctx, &unrequested, &batch.log);
        if is_for_us && verdict.is_news {
            ctx.notify(Notice::Chat(Chat {
                batch,
                local,
                is_own: false,
            }));
        }
    }

    /// Judges how old a batch is that arrived over this link.
    fn judge(&self, ctx: &Context, logs: &Logs, stream: StreamId, batch: &Batch) -> Verdict {
        let link = ctx.links.get(&stream);
        let established_at = link.map_or(ctx.now.time, |link| link.established_at);
        self.news.judge(ctx, logs, batch, established_at)
    }

    /// Starts to carry the log of this batch. If the recipient has acknowledged the batch's lines
    /// already, asks the recipient for another acknowledgement.
    fn carry(
        &mut self,
        ctx: &Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        batch: &Batch,
    ) {
        delivery.start_carrying(ctx, logs, &batch.log);
        if logs.state(&batch.log).max_delivered() >= batch.last_sequence() {
            self.request_recipient_ack(ctx, &batch.log);
        }
    }

    /// Stores a verified batch in a gap of its log, and acknowledges it. If we can now offer more
    /// lines, offers the log to other members of the room, who may have the same gap.
    fn fill_gap(&mut self, ctx: &mut Context, logs: &mut Logs, stream: StreamId, batch: Batch) {
        let offered_from = |logs: &Logs| logs.get(&batch.log).map(|range| range.low);
        let before = offered_from(logs);
        let range = logs.get(&batch.log);
        let gap = range.and_then(|range| Some(range.gaps[range.find_gap(&batch)?]));
        if !logs.fill_gap(&batch) {
            fork_repair::report_fork(ctx, logs, &batch.log, batch.sequence);
            return self.gaps.exclude_source(&mut self.progress, stream);
        }
        let offers_more = offered_from(logs) != before;
        self.gaps
            .record_progress(&mut self.progress, ctx.now.time, &batch);
        ctx.counters.healed_lines += batch.count;
        let author = batch.log.author;
        let mut verdict = self.judge(ctx, logs, stream, &batch);
        verdict.is_news &= !gap.is_some_and(|gap| gap.was_printed) && author != ctx.own_id();
        let local = local_fields(ctx, verdict);
        let batch = store_batch(ctx, batch, local);
        self.schedule_gap_acks(ctx, stream, &batch.log);
        if let Some(room) = batch.log.target.room().filter(|_| offers_more) {
            for (other, link) in ctx.links_in_room(room) {
                if other != stream && !link.transient && link.peer.id != author {
                    self.schedule_offer(other, &batch.log, OfferKind::Update);
                }
            }
        }
        if verdict.is_news {
            ctx.notify(Notice::Chat(Chat {
                batch,
                local,
                is_own: false,
            }));
        }
    }
}

/// Decides how a batch fits into its log. `requested`: sequence of the first line that we
/// requested over the batch's link.
fn classify(logs: &Logs, batch: &Batch, requested: Option<u64>) -> BatchPlacement {
    let answers_request = requested.is_some_and(|from| batch.contains_line(from));
    let Some(range) = logs.get(&batch.log) else {
        return match batch.sequence == 1 || answers_request {
            true => BatchPlacement::Next,
            false => BatchPlacement::Unrequested,
        };
    };
    let next = range.high + 1;
    if batch.sequence == next {
        return match batch.previous == Some(range.hash) {
            true => BatchPlacement::Next,
            false => BatchPlacement::Fork,
        };
    }
    if batch.sequence > next {
        // An unrequested batch was sent before our latest request arrived. It leaves no gap,
        // because the requested lines follow.
        return match answers_request {
            true => BatchPlacement::Next,
            false => BatchPlacement::Unrequested,
        };
    }
    if range.find_gap(batch).is_some() {
        return BatchPlacement::FillsGap;
    }
    let differs_at_head = batch.last_sequence() == range.high && batch.hash != range.hash;
    match batch.last_sequence() > range.high || differs_at_head {
        true => BatchPlacement::Fork,
        false => BatchPlacement::Duplicate,
    }
}

fn local_fields(ctx: &Context, verdict: Verdict) -> LocalFields {
    LocalFields {
        received: ctx.now.wall,
        late: verdict.is_late,
        before_start: verdict.is_before_start,
        backfill: !verdict.is_news,
        published: verdict.published.filter(|_| verdict.is_news),
    }
}

fn can_receive(ctx: &Context, key: &LinkLog) -> bool {
    let link = ctx.links.get(&key.stream);
    link.is_some_and(|link| can_receive_over(ctx, link, &key.log))
}

/// Whether the link's peer is the log's author.
fn is_by_peer(ctx: &Context, key: &LinkLog) -> bool {
    let link = ctx.links.get(&key.stream);
    link.is_some_and(|link| link.peer.id == key.log.author)
}

/// Stores a batch. If its lines are sealed for us, opens them first, so that the store keeps
/// readable lines.
fn store_batch(ctx: &mut Context, mut batch: Batch, local: LocalFields) -> Arc<Batch> {
    if let Some(lines) = sealed::open(&ctx.identity, &ctx.network, &batch) {
        batch.set_plaintext(lines);
    }
    let batch = Arc::new(batch);
    ctx.emit(Output::Save {
        batch: batch.clone(),
        local,
    });
    batch
}
