//! What becomes of a batch that comes in.
use std::sync::Arc;

use crate::base::batch::{Batch, LocalFields};
use crate::base::event::{Chat, Notice, Output, Peer, StreamId};
use crate::node::context::Context;
use crate::node::replication::carriers::can_receive_over;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::engine::Replication;
use crate::node::replication::logs::{BatchPlacement, Logs};
use crate::wire::sealed;

/// What became of foreign bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IngestOutcome {
    Handled,
    /// The peer breaks the protocol: its link must end.
    ProtocolViolation,
}

impl Replication {
    /// A batch came in: verified before anything else is done with it.
    pub fn handle_batch(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        receipts: &mut DeliveryTracker,
        stream: StreamId,
        bytes: Vec<u8>,
    ) -> IngestOutcome {
        let Some(link) = ctx.links.get(&stream) else {
            return IngestOutcome::Handled;
        };
        ctx.counters.batches_received += 1;
        let Ok(batch) = Batch::parse(bytes, &ctx.network) else {
            return IngestOutcome::ProtocolViolation;
        };
        let by_peer = batch.log.author == link.peer.id;
        let key = (stream, batch.log.clone());
        let verifying = if by_peer {
            Some(link.verifying_key)
        } else {
            None
        };
        let shared = can_receive_over(ctx, logs, receipts, link, &batch.log);
        let reader = batch.log.target.recipient();
        let ours = reader.is_none_or(|reader| reader == ctx.own_id());
        if self.fork_repair.is_expected(&key, &batch) {
            let own = batch.log.author.verifying_key();
            if !own.is_some_and(|key| batch.verify(&key)) {
                return IngestOutcome::ProtocolViolation;
            }
            self.fork_repair.handle_their_batch(ctx, &key, &batch);
            return IngestOutcome::Handled;
        }
        if self.fetcher.take_fork_probe(ctx, &key, &batch) {
            let author = self.fetcher.author_key(&batch.log.author);
            if !author.is_some_and(|author| batch.verify(&author)) {
                return IngestOutcome::ProtocolViolation;
            }
            if logs.classify(&batch, None) == BatchPlacement::Fork {
                self.fetcher.report_fork(ctx, &batch.log, batch.sequence);
            }
            return IngestOutcome::Handled;
        }
        let fills = shared && self.gaps.is_expected(&key);
        let mut standing = None;
        if shared {
            standing = self.fetcher.match_fetch(ctx.now.time, &key, &batch);
        }
        let asked = standing.is_some() || by_peer;
        if !shared || logs.is_current(ctx, &batch.log) || !(asked || fills) {
            ctx.counters.unwanted_batches += 1;
            return IngestOutcome::Handled;
        }
        // Of whom only missing lines were asked nothing else is taken, and they of nobody else.
        let fit = match logs.classify(&batch, standing.map(|standing| standing.from)) {
            BatchPlacement::FillsGap if !fills => BatchPlacement::Duplicate,
            BatchPlacement::Next | BatchPlacement::AfterGap { .. } if !asked => {
                BatchPlacement::Unrequested
            }
            fit => fit,
        };
        if self.store_retry_at.is_some() {
            if fit != BatchPlacement::FillsGap {
                self.fetcher.postpone_fetch(ctx, logs, stream, &batch);
            }
            return IngestOutcome::Handled;
        }
        match fit {
            BatchPlacement::Unrequested => {
                ctx.counters.unwanted_batches += 1;
                return IngestOutcome::Handled;
            }
            BatchPlacement::Duplicate => {
                ctx.counters.duplicate_batches += 1;
                self.acks.schedule_ack(key);
                return IngestOutcome::Handled;
            }
            BatchPlacement::Next
            | BatchPlacement::AfterGap { .. }
            | BatchPlacement::FillsGap
            | BatchPlacement::Fork => {}
        }
        let verifying = verifying.or_else(|| self.fetcher.author_key(&batch.log.author));
        if !verifying.is_some_and(|key| batch.verify(&key)) {
            return IngestOutcome::ProtocolViolation;
        }
        if fit == BatchPlacement::FillsGap {
            self.fill_gap(ctx, logs, stream, batch);
            return IngestOutcome::Handled;
        }
        if fit == BatchPlacement::Fork {
            self.fetcher.report_fork(ctx, &batch.log, batch.sequence);
            self.fetcher.reject_source(ctx, &key);
            if batch.log.author == ctx.own_id() {
                self.fork_repair
                    .bisect(ctx, logs, &key, (1, batch.last_sequence()));
            }
            return IngestOutcome::Handled;
        }
        if !logs.admit(ctx, &batch) {
            self.fetcher.reject_source(ctx, &key);
            return IngestOutcome::Handled;
        }
        if let BatchPlacement::AfterGap { from, to } = fit
            && ours
        {
            self.gaps.schedule_query();
            notify_gap(ctx, &batch, from, to);
        }
        if standing.is_none() && batch.sequence == 1 {
            let lead = ctx
                .links
                .get(&stream)
                .map_or(0, |link| link.start_offset_ms);
            self.fetcher.record_run_start(&batch.log, 1, lead);
        }
        let own = batch.log.author == ctx.own_id();
        let backfill = own || self.fetcher.is_backfill(&batch);
        logs.advance(&batch);
        if !ours {
            receipts.start_carrying(ctx, &batch.log);
            // Carried before, and dropped when its reader had it.
            if reader.is_some_and(|reader| {
                receipts.acked_up_to(&reader, &batch.log) >= batch.last_sequence()
            }) {
                self.request_reader_ack(ctx, &batch.log);
            }
        }
        let during = standing.is_none_or(|standing| standing.is_during_run);
        let local = LocalFields {
            received: ctx.now.wall,
            late: standing.is_some_and(|standing| standing.is_late),
            before_start: !during,
            backfill,
        };
        let batch = store_batch(ctx, batch, local);
        let strangers = self.progress.send_live(ctx, &batch, Some(stream));
        self.acks.schedule_ack(key);
        if by_peer {
            self.fetcher.prefer_author(ctx, stream, &batch.log);
        } else if let Some(author) = ctx.stream_by_peer.get(&batch.log.author) {
            self.acks.schedule_ack((*author, batch.log.clone()));
            self.fetcher
                .add_author_source(logs, stream, *author, &batch.log);
        }
        self.offer_to_unrequested(ctx, &strangers, &batch.log);
        if ours && !backfill {
            ctx.notify(Notice::Chat(Chat {
                batch,
                local,
                is_own: false,
                since_start: during,
            }));
        }
        IngestOutcome::Handled
    }

    /// Lines that were missing turned up: they are late, and news to whom they are missing, too.
    fn fill_gap(&mut self, ctx: &mut Context, logs: &mut Logs, stream: StreamId, batch: Batch) {
        let Some(closed) = logs.fill_gap(&batch) else {
            self.fetcher.report_fork(ctx, &batch.log, batch.sequence);
            return self.gaps.exclude_source(ctx, stream);
        };
        self.gaps.record_progress(ctx, closed);
        ctx.counters.healed_lines += batch.count;
        let author = batch.log.author;
        let local = LocalFields {
            received: ctx.now.wall,
            late: true,
            before_start: true,
            backfill: author == ctx.own_id() || self.fetcher.is_backfill(&batch),
        };
        let batch = store_batch(ctx, batch, local);
        if let Some(room) = batch.log.target.room().filter(|_| closed) {
            for (other, link) in ctx.links_in_room(room) {
                if other != stream && !link.transient && link.peer.id != author {
                    self.acks.schedule_offer((other, batch.log.clone()));
                }
            }
        }
        if !local.backfill {
            ctx.notify(Notice::Chat(Chat {
                batch,
                local,
                is_own: false,
                since_start: false,
            }));
        }
    }
}

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

fn notify_gap(ctx: &mut Context, batch: &Batch, from: u64, to: u64) {
    let author = Peer {
        id: batch.log.author,
        nick: batch.username.clone(),
    };
    ctx.notify(Notice::Gap {
        target: batch.log.target.clone(),
        author,
        incarnation: batch.log.incarnation,
        from,
        to,
        at: ctx.now.wall,
    });
}
