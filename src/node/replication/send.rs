//! The sending half of replication: sends each log over the links whose peers requested it.
//!
//! A link at the head of a log gets new batches at once. A link that lags gets lines from the
//! store whenever its socket is writable, so no lines queue in memory. [`SendCursor`] holds the
//! state.
use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::load::{LoadPurpose, LoadRequest, LoadedLog, LogCursor};
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::{Hash, PeerId};
use crate::base::range::LogRange;
use crate::base::table::SortedSet;
use crate::node::context::Context;
use crate::node::replication::carrying::carriers::destinations;
use crate::node::replication::delivery::DeliveryTracker;
use crate::node::replication::engine::Replication;
use crate::node::replication::have::{correct_offer, parse_shared_target};
use crate::node::replication::logs::peer_acks::Ack;
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::progress_state::{
    BatchEnd, CursorState, GapSend, LOAD_BUDGET_BYTES, SendCursor, SendState,
};
use crate::node::replication::want::WantRange;
use crate::wire::message::{HaveEntry, LOGS_PER_MESSAGE_MAX, WantEntry, parse_log_id};

/// Milliseconds to wait for a request after we offered one of our logs. Meanwhile, our later logs
/// to the same target are held back. Any message from the peer after this time ends the wait. If
/// the peer did not request the log, we assume that it lacks no line of the log.
const OFFER_TIMEOUT_MS: u64 = 5_000;

/// Maximum number of logs in one read from the store. The next read takes the others.
const LOADED_LOGS_MAX: usize = 1024;

/// What an acknowledgement of a log that we wrote says about the peer's copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckOutcome {
    /// The peer's copy agrees with ours, or cannot be compared yet.
    Consistent,
    /// The peer claims other lines under our sequences. Only a signed batch proves the claim.
    Conflict,
    /// The peer claims lines of our present incarnation that we do not have. Only a signed batch
    /// proves the claim.
    Ahead,
}

impl Replication {
    /// Records that one of our logs was offered to a recipient. Our later logs to the same target
    /// are held back until the peer has requested this log. Ignores other authors' logs.
    pub(super) fn mark_offered(&mut self, ctx: &Context, stream: StreamId, log: &LogId) {
        if log.author == ctx.own_id() && !self.is_requested(stream, log) {
            self.progress
                .set_send(stream, log, SendState::Offered(ctx.now.time));
            self.progress.link_mut(stream).lagging.insert(log.clone());
        }
    }

    /// Sends a new batch over each link on which all earlier lines of the log were sent. Over other
    /// links, the batch is sent later, from the store. The first batch of a log that we wrote is
    /// sent to its recipients without a request.
    ///
    /// `source`: the link over which the batch arrived. Returns the links whose peers have not
    /// requested this log.
    pub(super) fn send_live(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        batch: &Batch,
        source: Option<StreamId>,
    ) -> Vec<StreamId> {
        let log = &batch.log;
        let begins_own_log = source.is_none() && batch.sequence == 1;
        let mut streams = destinations(ctx, log);
        streams.retain(|stream| Some(*stream) != source);
        if let Some(source) = source {
            self.advance_acked(logs, source, log, batch.last_sequence());
        }
        streams.retain(|stream| {
            let link = ctx.links.get(stream);
            let is_recipient = link.is_some_and(|link| link.is_recipient_of(&log.target));
            if begins_own_log && is_recipient && !self.is_requested(*stream, log) {
                let cursor = Box::new(SendCursor::new(0, 1));
                self.progress
                    .set_send(*stream, log, SendState::Requested(cursor));
            }
            !self.send_or_defer(ctx, *stream, batch)
        });
        streams
    }

    /// Sends a new batch over one link, or leaves it to be read from the store later. Returns
    /// `false`, and sends nothing, if the peer has not requested the log. We do not know which
    /// lines such a peer lacks. The peer gets this batch when it requests the log.
    fn send_or_defer(&mut self, ctx: &mut Context, stream: StreamId, batch: &Batch) -> bool {
        let log = &batch.log;
        let is_held_back = has_sibling(&self.progress.link_mut(stream).lagging, log);
        let Some(cursor) = self.progress.cursor_mut(stream, log) else {
            return false;
        };
        if cursor.next == batch.sequence
            && cursor.can_send()
            && is_writable(ctx, stream)
            && !is_held_back
        {
            send_and_track(ctx, stream, cursor, batch);
        } else {
            if cursor.state == CursorState::AtHead {
                cursor.state = CursorState::Lagging;
            }
            self.progress.link_mut(stream).lagging.insert(log.clone());
        }
        true
    }

    /// Records that a peer stores another author's log up to the sequence `high`. Lines up to
    /// `high` are not sent to the peer any more. Returns the hash of our batch that ends there.
    /// `None`: the hash is not known.
    pub(super) fn advance_acked(
        &mut self,
        logs: &Logs,
        stream: StreamId,
        log: &LogId,
        high: u64,
    ) -> Option<Hash> {
        let mut our_hash = logs.head_hash_at(log, high);
        if let Some(cursor) = self.progress.cursor_mut(stream, log) {
            our_hash = cursor.take_acked(high).or(our_hash);
            cursor.next = cursor.next.max(high + 1);
        }
        our_hash
    }

    /// Handles a peer's acknowledgement of a log that we wrote. The acknowledgement counts only if
    /// it names the hash of our batch. If we do not know our hash, the acknowledgement waits in
    /// `claim`.
    pub(super) fn handle_ack(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        log: &LogId,
        entry: &HaveEntry,
    ) -> AckOutcome {
        let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) else {
            return AckOutcome::Consistent;
        };
        let acked_hash = logs.state(log).acked_hash_at(&peer, entry.high);
        let mut our_hash = logs.head_hash_at(log, entry.high).or(acked_hash);
        let mut was_sent = false;
        if let Some(cursor) = self.progress.cursor_mut(stream, log) {
            was_sent = (cursor.requested_from..cursor.next).contains(&entry.high);
            our_hash = cursor.take_acked(entry.high).or(our_hash);
        }
        match our_hash {
            Some(hash) if hash == entry.hash => {
                delivery.confirm(ctx, logs, peer, log, Ack::new(entry));
            }
            Some(_) => return AckOutcome::Conflict,
            // All unacknowledged batches are known, and none of them ends at this line.
            None if was_sent && entry.high > logs.state(log).acked_by(&peer) => {
                return AckOutcome::Conflict;
            }
            // If this is true, this directory is an old copy or has a clone.
            None if entry.high > logs.high(log) && logs.is_current(ctx, log) => {
                return AckOutcome::Ahead;
            }
            None if entry.high < logs.high(log) => {
                let claim = Box::new(Ack::new(entry));
                self.progress.get_or_create(stream, log).claim = Some(claim);
            }
            None => {}
        }
        AckOutcome::Consistent
    }

    /// Whether this log is being sent over this link. True if the peer requested the log, or if the
    /// log began while the peer was linked.
    pub(super) fn is_requested(&self, stream: StreamId, log: &LogId) -> bool {
        self.progress.get(stream, log).cursor().is_some()
    }

    /// In a log that we wrote: the sequence of the first line that a linked recipient may lack. A
    /// recipient that requested the log counts as storing all lines before its request. `None`: no
    /// recipient is linked, or another author wrote the log.
    pub fn first_unacked(&self, ctx: &Context, logs: &Logs, log: &LogId) -> Option<u64> {
        if log.author != ctx.own_id() {
            return None;
        }
        let links = ctx.links.iter();
        let recipients = links.filter(|(_, link)| link.receives(&log.target));
        let first_lacked = recipients.map(|(stream, link)| {
            let cursor = self.progress.get(*stream, log).cursor();
            let next = logs.state(log).acked_by(&link.peer.id) + 1;
            let next = next.max(cursor.map_or(0, |cursor| cursor.requested_from));
            let gap_send = self
                .progress
                .link(*stream)
                .and_then(|link| link.gap_send.as_ref());
            let gap_send = gap_send.filter(|gap| gap.log == *log);
            gap_send.map_or(next, |gap| next.min(gap.cursor.requested_from))
        });
        first_lacked.min()
    }

    /// Handles a `want` message. Starts or cancels the sending of logs to one target.
    pub fn handle_want(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        target: &str,
        wants: &[WantEntry],
    ) {
        let Some(target) = parse_shared_target(ctx, stream, target) else {
            return;
        };
        let link = ctx.links.get(&stream);
        let is_receiver = link.is_some_and(|link| link.receives(&target));
        for want in wants.iter().take(LOGS_PER_MESSAGE_MAX) {
            let Some(log) = parse_log_id(&target, want.sender, &want.incarnation) else {
                continue;
            };
            // A carrier is a destination of direct logs to another recipient.
            if ctx.acquaintances.is_banned(&log.author)
                || !is_receiver && !destinations(ctx, &log).contains(&stream)
            {
                continue;
            }
            let range = WantRange::from_entry(want);
            if self.fetch_for_recipient(ctx, logs, stream, &log, range) {
                continue;
            }
            match (range, logs.get(&log)) {
                (WantRange::Cancel, _) | (_, None) => {
                    self.progress.set_send(stream, &log, SendState::Idle);
                }
                (WantRange::Gap { from, to }, Some(range)) => {
                    self.start_gap_send(ctx, logs, stream, range, from, to);
                }
                (WantRange::From(from), Some(range)) => {
                    let next = range.stored_from(from).map(|lines| *lines.start());
                    let next = next.unwrap_or(range.low);
                    if from < next {
                        correct_offer(ctx, stream, range, next);
                        continue;
                    }
                    self.start_send(stream, &log, from, logs.state(&range.log).last_served());
                }
            }
        }
    }

    /// Starts sending a log over a link. `from`: sequence of the first line to send. `high`:
    /// sequence of the last line that may be sent now. Later lines follow when they are published.
    fn start_send(&mut self, stream: StreamId, log: &LogId, from: u64, high: u64) {
        let next = from.min(high + 1);
        let mut cursor = Box::new(SendCursor::new(next, next));
        if next <= high {
            cursor.state = CursorState::Lagging;
            self.progress.link_mut(stream).lagging.insert(log.clone());
        }
        self.progress
            .set_send(stream, log, SendState::Requested(cursor));
    }

    fn start_gap_send(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        range: &LogRange,
        from: u64,
        to: u64,
    ) {
        let stored = range.stored_from(from);
        let next = stored.as_ref().map_or(range.low, |lines| *lines.start());
        let last = stored.map_or(0, |lines| *lines.end());
        let to = to.min(last).min(logs.state(&range.log).last_served());
        if from > to || from < next {
            return correct_offer(ctx, stream, range, next);
        }
        self.progress.link_mut(stream).gap_send = Some(GapSend {
            log: range.log.clone(),
            to,
            cursor: SendCursor {
                state: CursorState::Lagging,
                ..SendCursor::new(from, from)
            },
        });
    }

    /// Sends batches that the store read for a link. First checks the acknowledgement that waits in
    /// `claim`, if any. If it conflicts with our lines, returns the acknowledged sequence.
    pub(super) fn send_loaded(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        loaded: &LoadedLog,
    ) -> Option<u64> {
        let LogCursor {
            log,
            from,
            position,
        } = &loaded.cursor;
        let cursor = self.progress.cursor_mut(stream, log)?;
        if cursor.state != CursorState::Loading(*from) {
            return None;
        }
        cursor.state = CursorState::Lagging;
        // A blocked link takes no batches now. They are dropped and read again later, so that
        // none wait in memory.
        if !is_writable(ctx, stream) {
            return None;
        }
        let Some(batches) = &loaded.batches else {
            cursor.position = *position;
            return None;
        };
        let Some(first) = batches.first() else {
            // Reading again would return nothing again.
            cursor.state = CursorState::AtHead;
            return None;
        };
        if first.sequence > cursor.next {
            if self.awaits_lacked_lines(ctx, logs, stream, log) {
                return None;
            }
            self.progress.set_send(stream, log, SendState::Idle);
            if let Some(range) = logs.get(log) {
                correct_offer(ctx, stream, range, first.sequence);
                self.mark_offered(ctx, stream, log);
            }
            return None;
        }
        if let Some(conflict) = self.check_claim(ctx, logs, delivery, stream, log, batches) {
            self.progress.set_send(stream, log, SendState::Idle);
            return Some(conflict);
        }
        let high = logs.state(log).last_served();
        let cursor = self.progress.cursor_mut(stream, log)?;
        cursor.position = *position;
        for batch in batches {
            // The next read begins behind the missing lines, and corrects the offer.
            if batch.sequence > cursor.next {
                cursor.position = None;
                break;
            }
            if batch.last_sequence() >= cursor.next && batch.last_sequence() <= high {
                send_and_track(ctx, stream, cursor, batch);
            }
        }
        None
    }

    /// Checks the acknowledgement that waits in `claim`. The batch after the acknowledged line
    /// names our hash at that line. Returns the acknowledged sequence if our lines differ there.
    fn check_claim(
        &mut self,
        ctx: &mut Context,
        logs: &mut Logs,
        delivery: &mut DeliveryTracker,
        stream: StreamId,
        log: &LogId,
        batches: &[Batch],
    ) -> Option<u64> {
        let record = self.progress.get_mut(stream, log)?;
        let claim = record.claim.take()?;
        // The batch behind the claimed line may not be the first one read, because the peer may
        // have received lines from others meanwhile.
        let behind = batches
            .iter()
            .find(|batch| batch.last_sequence() > claim.high)?;
        if record.cursor()?.next != claim.high + 1 {
            return None;
        }
        if behind.sequence <= claim.high || behind.previous != Some(claim.hash) {
            return Some(claim.high);
        }
        let peer = ctx.links.get(&stream)?.peer.id;
        delivery.confirm(ctx, logs, peer, log, *claim);
        None
    }

    /// Sends batches that the store read for the gap of a link.
    pub(super) fn send_loaded_gap(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        stream: StreamId,
        loaded: &LoadedLog,
    ) {
        let LogCursor {
            log,
            from,
            position,
        } = &loaded.cursor;
        let link = self.progress.link_mut(stream);
        let Some(gap) = link
            .gap_send
            .as_mut()
            .filter(|gap| gap.log == *log && gap.cursor.state == CursorState::Loading(*from))
        else {
            return;
        };
        let cursor = &mut gap.cursor;
        cursor.state = CursorState::Lagging;
        if !is_writable(ctx, stream) {
            return;
        }
        cursor.position = *position;
        let high = logs.state(log).last_served();
        let last = high.min(gap.to);
        for batch in loaded.batches.iter().flatten() {
            if batch.sequence <= cursor.next && batch.last_sequence() <= last {
                ctx.send_batch(stream, batch);
                cursor.next = batch.last_sequence() + 1;
            }
        }
        let next = cursor.next;
        if next > last || next == *from {
            link.gap_send = None;
        }
        if next == *from
            && let Some(range) = logs.get(log)
        {
            let stored = range.stored_from(next);
            let next = stored.map_or(range.low, |lines| *lines.start());
            correct_offer(ctx, stream, range, next);
        }
    }

    /// Reads the next lines to send from the store, for each link that accepts more.
    pub(super) fn load_lagging(&mut self, ctx: &mut Context, logs: &Logs) {
        let links = self.progress.links();
        let busy = links.filter(|(stream, link)| {
            let has_lines = !link.lagging.is_empty() || link.gap_send.is_some();
            has_lines && is_writable(ctx, *stream)
        });
        let streams: Vec<StreamId> = busy.map(|(stream, _)| stream).collect();
        for stream in &streams {
            self.remove_caught_up(ctx, logs, *stream);
            self.load_logs(ctx, logs, *stream);
        }
        for stream in streams {
            let gap_send = self
                .progress
                .link(stream)
                .and_then(|it| it.gap_send.as_ref());
            let is_fetching =
                gap_send.is_some_and(|gap| self.is_fetching(ctx, logs, &gap.log, gap.cursor.next));
            if let Some(gap) = &mut self.progress.link_mut(stream).gap_send
                && gap.cursor.can_send()
                && !is_fetching
            {
                let cursors = vec![begin_load(&gap.log, &mut gap.cursor)];
                emit_load(ctx, LoadPurpose::SendGap(stream), cursors);
            }
        }
    }

    /// Reads the next lines of the logs that lag on a link, with one read for each folder. Of one
    /// author's logs to one target, reads only the log with the oldest head. While a folder is
    /// being read for this link, does not read it again.
    fn load_logs(&mut self, ctx: &mut Context, logs: &Logs, stream: StreamId) {
        let own = ctx.own_id();
        let firsts = self.first_lagging_logs(logs, stream);
        for of_folder in firsts.chunk_by(|a, b| is_same_folder(a, b, &own)) {
            let state = |log: &&LogId| {
                let cursor = self.progress.get(stream, log).cursor();
                cursor.map(|cursor| cursor.state)
            };
            let is_loading = |state| matches!(state, Some(CursorState::Loading(_)));
            if of_folder.iter().map(state).any(is_loading) {
                continue;
            }
            let mut cursors = Vec::new();
            for log in of_folder {
                if let Some(cursor) = self.progress.cursor_mut(stream, log)
                    && cursor.can_send()
                    && cursors.len() < LOADED_LOGS_MAX
                {
                    cursors.push(begin_load(log, cursor));
                }
            }
            if !cursors.is_empty() {
                emit_load(ctx, LoadPurpose::Send(stream), cursors);
            }
        }
    }

    /// Removes the completely sent logs from `lagging`. Also removes the offered logs that the peer
    /// did not request in time.
    fn remove_caught_up(&mut self, ctx: &Context, logs: &Logs, stream: StreamId) {
        let mut lagging = std::mem::take(&mut self.progress.link_mut(stream).lagging);
        let last_activity = ctx.links.get(&stream).map(|link| link.last_activity);
        lagging.retain(|log| {
            let range = logs.get(log);
            let last = logs.state(log).last_served();
            let Some(record) = self.progress.get_mut(stream, log) else {
                return false;
            };
            match record.send() {
                SendState::Idle => false,
                SendState::Offered(at) => {
                    let expires_at = *at + OFFER_TIMEOUT_MS;
                    let waits = range.is_some() && last_activity.is_some_and(|at| at < expires_at);
                    if !waits {
                        self.progress.set_send(stream, log, SendState::Idle);
                    }
                    waits
                }
                SendState::Requested(_) => {
                    let cursor = record.cursor_mut();
                    cursor.is_some_and(|cursor| cursor.update_state(last) != CursorState::AtHead)
                }
            }
        });
        self.progress.link_mut(stream).lagging = lagging;
    }

    /// For each author and target: the log with the oldest head among those that lag on a link.
    fn first_lagging_logs<'a>(&self, logs: &'a Logs, stream: StreamId) -> Vec<&'a LogId> {
        let mut firsts: Vec<&LogRange> = Vec::new();
        let lagging = self.progress.link(stream).map(|link| link.lagging.iter());
        for range in lagging
            .into_iter()
            .flatten()
            .filter_map(|log| logs.get(log))
        {
            match firsts.last_mut() {
                Some(first) if is_sibling(&first.log, &range.log) => {
                    if range.lamport < first.lamport {
                        *first = range;
                    }
                }
                _ => firsts.push(range),
            }
        }
        firsts.into_iter().map(|range| &range.log).collect()
    }
}

fn is_writable(ctx: &Context, stream: StreamId) -> bool {
    ctx.links.get(&stream).is_some_and(|link| !link.is_blocked)
}

/// Whether the set contains another log of the same author to the same target. That log may have to
/// be sent first.
fn has_sibling(lagging: &SortedSet<LogId>, log: &LogId) -> bool {
    if lagging.is_empty() {
        return false;
    }
    let first = LogId {
        incarnation: 0,
        ..log.clone()
    };
    let mut siblings = lagging
        .iter_from(&first)
        .take_while(|other| is_sibling(other, log));
    siblings.any(|other| other != log)
}

/// Whether both logs have the same author and target.
fn is_sibling(a: &LogId, b: &LogId) -> bool {
    a.author == b.author && a.target == b.target
}

fn send_and_track(ctx: &mut Context, stream: StreamId, cursor: &mut SendCursor, batch: &Batch) {
    ctx.send_batch(stream, batch);
    cursor.next = batch.last_sequence() + 1;
    cursor.unacked.push_back(BatchEnd {
        last: batch.last_sequence(),
        hash: batch.hash,
    });
}

/// Whether the store keeps both logs in one folder. `own`: our id.
fn is_same_folder(a: &LogId, b: &LogId, own: &PeerId) -> bool {
    let is_own = |log: &LogId| log.author == *own;
    a.target == b.target && (a.target.room().is_some() || is_own(a) == is_own(b))
}

fn begin_load(log: &LogId, cursor: &mut SendCursor) -> LogCursor {
    cursor.state = CursorState::Loading(cursor.next);
    LogCursor {
        log: log.clone(),
        from: cursor.next,
        position: cursor.position,
    }
}

fn emit_load(ctx: &mut Context, purpose: LoadPurpose, cursors: Vec<LogCursor>) {
    ctx.emit(Output::Load(LoadRequest {
        purpose,
        cursors,
        budget_bytes: LOAD_BUDGET_BYTES,
    }));
}
