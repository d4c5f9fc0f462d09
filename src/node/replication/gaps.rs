//! Requests the missing lines of gaps from any peer that offers them, or some of them. Requests one
//! gap at a time: gaps are rare, and no user waits for them.
use std::ops::RangeInclusive;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::stream_id::StreamId;
use crate::base::name::{Room, Target};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::replication::have::{send_have, unequal_digest};
use crate::node::replication::logs::table::Logs;
use crate::node::replication::progress::link_progress::LinkProgress;
use crate::node::replication::progress::progress_state::GapSource;
use crate::node::replication::progress::progress_table::ProgressTable;
use crate::node::replication::want::{WantRange, send_want};
use crate::wire::message::HaveEntry;

/// A gap request fails if it brings no batch for this many milliseconds.
const GAP_REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Minimum milliseconds between two queries. A query asks the peers for offers, and each peer
/// answers with offers of its logs.
const GAP_QUERY_INTERVAL_MS: u64 = 30_000;

/// The gap request under way, and the query for offers. Only one gap is requested at a time. The
/// offers are part of the progress records.
#[derive(Default)]
pub struct Gaps {
    request: Option<GapRequest>,
    /// Whether to ask peers for offers, as soon as [`GAP_QUERY_INTERVAL_MS`] allows it.
    is_query_pending: bool,
    /// Whether the query also concerns targets without gaps, because the head of a log was lost.
    is_query_full: bool,
    /// When the peers were last asked for offers.
    queried_at: Option<Time>,
}

/// A request for lines of one gap.
struct GapRequest {
    key: LinkLog,
    /// The requested lines that have not arrived yet.
    lines: RangeInclusive<u64>,
    /// When the request last brought a batch. Before its first batch: when the request was sent.
    progress_at: Time,
}

impl Gaps {
    /// Schedules a query that asks peers for offers. To be called when a gap appeared, or when an
    /// offer was ignored.
    pub fn schedule_query(&mut self) {
        self.is_query_pending = true;
    }

    /// Schedules a query that asks peers for offers of all logs. To be called when the store has
    /// lost the head of a log: there is no gap then, but peers have more lines.
    pub fn schedule_full_query(&mut self) {
        self.is_query_pending = true;
        self.is_query_full = true;
    }

    /// The link over which lines of a gap are requested.
    pub fn requested_over(&self) -> Option<StreamId> {
        self.request.as_ref().map(|request| request.key.stream)
    }

    /// Whether this batch answers the request for a gap of its log over this link.
    pub fn is_expected(&self, key: &LinkLog, batch: &Batch) -> bool {
        let request = self.request.as_ref();
        request.is_some_and(|request| {
            request.key == *key && batch.contains_line(*request.lines.start())
        })
    }

    /// Records a peer's entry as an offer, if we lack some of its lines in a gap. Replaces an
    /// earlier offer of the same log over the same link. A request under way goes on: its lines may
    /// have been sent before the entry.
    pub fn handle_offer(
        &mut self,
        logs: &Logs,
        progress: &mut ProgressTable,
        key: &LinkLog,
        entry: &HaveEntry,
    ) {
        let (stream, log) = (key.stream, &key.log);
        let offered = entry.low..=entry.high;
        let is_ready = |link: &LinkProgress| matches!(link.gap_source, GapSource::Ready { .. });
        if progress.get(stream, log).gap_lines().is_some()
            || first_missing(logs, log, &offered).is_some() && is_ready(progress.link_mut(stream))
        {
            progress.set_gap_lines(stream, log, offered);
        }
    }

    /// Marks a link as unable to fill gaps, because a batch for a gap was withheld or is a fork.
    /// Drops the offers that came over the link, and ignores all later offers from it.
    pub fn exclude_source(&mut self, progress: &mut ProgressTable, stream: StreamId) {
        self.end_source(progress, stream, GapSource::Excluded);
    }

    /// Ends the gap request, and drops the offers that came over its link. `after`: the link's new
    /// state.
    fn end_source(&mut self, progress: &mut ProgressTable, stream: StreamId, after: GapSource) {
        progress.link_mut(stream).gap_source = after;
        progress.forget_gap_offers(|key| key.stream == stream);
        self.request = None;
    }

    /// Does what is due at the end of a turn. Ends a request that timed out, sends the next
    /// request, and asks the peers for offers.
    pub fn end_turn(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        progress: &mut ProgressTable,
        rooms: &[Room],
    ) {
        let now = ctx.now.time;
        // A request ends with its link, and when its link no longer shares the room.
        self.request.take_if(|request| {
            let record = progress.get(request.key.stream, &request.key.log);
            record.gap_lines().is_none()
        });
        if self.request_expires_at().is_some_and(|at| at <= now)
            && let Some(GapRequest { key, lines, .. }) = &self.request
        {
            let stream = key.stream;
            // A carrier withdraws its offer if the author, who has the lines, does not send them.
            let offered = progress.get(stream, &key.log).gap_lines();
            let is_offered = offered.is_some_and(|it| it.contains(lines.start()));
            let source = &progress.link_mut(stream).gap_source;
            let after = match is_offered {
                true => source.timed_out(),
                false => source.paused(),
            };
            self.end_source(progress, stream, after);
            self.is_query_pending = true;
        }
        while self.request.is_none()
            && let Some((key, lines)) = progress.first_gap_offer()
        {
            let key = key.clone();
            let Some(lines) = first_missing(logs, &key.log, lines) else {
                progress.forget_gap_offers(|other| *other == key);
                continue;
            };
            let (from, to) = (*lines.start(), *lines.end());
            send_want(ctx, key.stream, &key.log, WantRange::Gap { from, to });
            self.request = Some(GapRequest {
                key,
                lines,
                progress_at: now,
            });
        }
        if self.next_query_at().is_some_and(|at| at <= now) {
            self.send_query(ctx, logs, progress, rooms);
        }
    }

    /// Records that this batch arrived for the gap request. The last requested line ends the
    /// request.
    pub fn record_progress(&mut self, progress: &mut ProgressTable, now: Time, batch: &Batch) {
        if let Some(request) = &mut self.request {
            request.progress_at = now;
            request.lines = batch.last_sequence() + 1..=*request.lines.end();
            progress.link_mut(request.key.stream).gap_source = GapSource::default();
        }
        self.request.take_if(|request| request.lines.is_empty());
    }

    /// Skips the lines of this batch, which arrived for the gap request and is unstorable. The rest
    /// of the gap is still expected. The offer no longer names the skipped lines, so they are not
    /// requested again before the next offer.
    pub fn pass_over(&mut self, progress: &mut ProgressTable, now: Time, batch: &Batch) {
        if let Some(GapRequest { key, .. }) = &self.request
            && let Some(offered) = progress.get(key.stream, &key.log).gap_lines()
        {
            let rest = batch.last_sequence() + 1..=*offered.end();
            progress.set_gap_lines(key.stream, &key.log, rest);
        }
        self.record_progress(progress, now, batch);
    }

    /// Allows new gap requests, and schedules a query. To be called when the store has recovered,
    /// because the store may have refused lines of a gap.
    pub fn resume(&mut self) {
        self.request = None;
        self.is_query_pending = true;
    }

    /// Asks peers for offers of logs that have gaps. Also asks each peer whose offers were ignored.
    /// Considers logs of the given rooms and direct logs to us.
    fn send_query(
        &mut self,
        ctx: &mut Context,
        logs: &Logs,
        progress: &mut ProgressTable,
        rooms: &[Room],
    ) {
        self.is_query_pending = false;
        let is_full = std::mem::take(&mut self.is_query_full);
        self.queried_at = Some(ctx.now.time);
        let rooms = rooms.iter().cloned().map(Target::Room);
        for target in rooms.chain([Target::Peer(ctx.own_id())]) {
            let has_gaps = is_full || logs.has_gaps(ctx, &target);
            let has_ignored = |stream| {
                let link = progress.link(stream);
                link.is_some_and(|link| link.has_ignored_offers)
            };
            let links = ctx.links.iter();
            // Any peer may carry direct messages to us.
            let queried = links.filter(|(stream, link)| {
                (has_gaps || has_ignored(**stream))
                    && (target.room().is_none() || link.is_recipient_of(&target))
            });
            let queried: Vec<StreamId> = queried.map(|(stream, _)| *stream).collect();
            for stream in queried {
                let digest = Some(unequal_digest());
                send_have(ctx, stream, &target, Vec::new(), digest);
            }
        }
        for link in progress.links_mut() {
            link.gap_source = link.gap_source.queried();
            link.has_ignored_offers = false;
        }
    }

    /// When to call [`Gaps::end_turn`] next.
    pub fn deadline(&self) -> Option<Time> {
        let deadlines = [self.request_expires_at(), self.next_query_at()];
        deadlines.into_iter().flatten().min()
    }

    fn request_expires_at(&self) -> Option<Time> {
        let request = self.request.as_ref();
        request.map(|request| request.progress_at + GAP_REQUEST_TIMEOUT_MS)
    }

    fn next_query_at(&self) -> Option<Time> {
        let earliest = self.queried_at.map(|at| at + GAP_QUERY_INTERVAL_MS);
        self.is_query_pending
            .then_some(earliest.unwrap_or_default())
    }
}

/// The first of the offered lines that our copy of this log lacks in one of its gaps. Skips lines
/// that would split a gap if there is no place for one more.
fn first_missing(
    logs: &Logs,
    log: &LogId,
    offered: &RangeInclusive<u64>,
) -> Option<RangeInclusive<u64>> {
    let range = logs.get(log)?;
    range.gaps.iter().find_map(|gap| {
        let from = gap.from.max(*offered.start());
        let to = gap.to.min(*offered.end());
        let has_place = from == gap.from || range.has_place_for_gap();
        (from <= to && has_place).then_some(from..=to)
    })
}
