//! Requests the missing lines of gaps from any peer that offers them. Requests one gap at a time:
//! gaps are rare, and no user waits for them.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::name::{Room, Target};
use crate::base::range::Gap;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::LinkLog;
use crate::node::replication::have::{send_have, unequal_digest};
use crate::node::replication::logs::Logs;
use crate::node::replication::want::{WantRange, send_want};
use crate::wire::message::HaveEntry;

/// A gap request fails if it brings no batch for this many milliseconds.
const GAP_REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Minimum milliseconds between two queries. A query asks the peers for offers, and each peer
/// answers with offers of its logs.
const GAP_QUERY_INTERVAL_MS: u64 = 30_000;
/// Most offers kept, over all gaps.
const GAP_OFFERS_MAX: usize = 1024;

/// A peer's offer of a log in which we have a gap. The peer stores the lines `low` to `high`.
struct GapOffer {
    key: LinkLog,
    low: u64,
    high: u64,
}

/// The offers that can fill our gaps, and the gap request under way.
#[derive(Default)]
pub struct Gaps {
    /// The offers in order of arrival. Only the oldest offer is used for requests.
    offers: Vec<GapOffer>,
    /// When the gap request under way last brought a batch. Before its first batch: when the
    /// request was sent. `None`: no request is under way.
    requested_at: Option<Time>,
    /// Links over which a gap request failed. No gap is requested over them again.
    failed_streams: SortedSet<StreamId>,
    /// Whether to ask the peers for offers, as soon as [`GAP_QUERY_INTERVAL_MS`] allows it.
    is_query_pending: bool,
    /// When the peers were last asked for offers.
    queried_at: Option<Time>,
}

impl Gaps {
    /// Forgets the offers for which `keeps` is false. A request that uses a forgotten offer ends.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        let keeps = |offer: &GapOffer| keeps(offer.key.stream, &offer.key.log);
        if self.offers.first().is_some_and(|offer| !keeps(offer)) {
            self.requested_at = None;
        }
        self.offers.retain(keeps);
    }

    /// Schedules a query that asks the peers for offers. To be called when a gap appeared.
    /// [`Gaps::end_turn`] sends the query.
    pub fn schedule_query(&mut self) {
        self.is_query_pending = true;
    }

    /// Records a peer's entry as an offer, if its lines cover one of our gaps completely. Always
    /// replaces an earlier offer of the same log over the same link.
    pub fn handle_offer(&mut self, logs: &Logs, key: &LinkLog, entry: &HaveEntry) {
        let known = self.offers.iter().position(|offer| offer.key == *key);
        let offer = GapOffer {
            key: key.clone(),
            low: entry.low,
            high: entry.high,
        };
        let covers_gap = offer.first_covered_gap(logs).is_some();
        if let Some(at) = known {
            self.offers[at] = offer;
            if at == 0 && !covers_gap {
                self.requested_at = None;
            }
        } else if covers_gap
            && self.offers.len() < GAP_OFFERS_MAX
            && !self.failed_streams.contains(&offer.key.stream)
        {
            self.offers.push(offer);
        }
    }

    /// Whether a gap of this log is requested over this link.
    pub fn is_expected(&self, key: &LinkLog) -> bool {
        self.requested_at.is_some() && self.offers.first().is_some_and(|offer| offer.key == *key)
    }

    /// Records that a batch arrived for the gap request. `closed`: the batch filled the rest of the
    /// gap.
    pub fn record_progress(&mut self, ctx: &Context, closed: bool) {
        self.requested_at = (!closed).then_some(ctx.now.time);
    }

    /// Marks a link as unable to fill gaps. Drops the offers that came over the link, and ignores
    /// all later offers from it.
    pub fn exclude_source(&mut self, ctx: &Context, stream: StreamId) {
        self.failed_streams
            .retain(|stream| ctx.links.contains_key(stream));
        self.failed_streams.insert(stream);
        self.offers.retain(|offer| offer.key.stream != stream);
        self.requested_at = None;
    }

    /// Allows new gap requests, and schedules a query. To be called when the store has recovered,
    /// because the store may have refused lines of a gap.
    pub fn resume(&mut self) {
        self.requested_at = None;
        self.is_query_pending = true;
    }

    /// Does what is due at the end of a turn. Ends a request that timed out, sends the next
    /// request, and asks the peers for offers.
    pub fn end_turn(&mut self, ctx: &mut Context, logs: &Logs, rooms: &[Room]) {
        let expires_at = self.request_expires_at();
        if expires_at.is_some_and(|at| at <= ctx.now.time)
            && let Some(stream) = self.offers.first().map(|offer| offer.key.stream)
        {
            self.exclude_source(ctx, stream);
        }
        while self.requested_at.is_none()
            && let Some(offer) = self.offers.first()
        {
            let Some(gap) = offer.first_covered_gap(logs) else {
                self.offers.remove(0);
                continue;
            };
            let (from, to) = (gap.from, gap.to);
            send_want(ctx, &offer.key, WantRange::Gap { from, to });
            self.requested_at = Some(ctx.now.time);
        }
        if self.next_query_at().is_some_and(|at| at <= ctx.now.time) {
            self.send_query(ctx, logs, rooms);
        }
    }

    /// Asks peers for offers of logs that have gaps. Considers logs of the given rooms and direct
    /// logs to us.
    fn send_query(&mut self, ctx: &mut Context, logs: &Logs, rooms: &[Room]) {
        self.is_query_pending = false;
        self.queried_at = Some(ctx.now.time);
        let rooms = rooms.iter().cloned().map(Target::Room);
        for target in rooms.chain([Target::Peer(ctx.own_id())]) {
            if !logs.has_gaps(&target) {
                continue;
            }
            let links = ctx.links.iter();
            // Any peer may carry direct messages to us.
            let queried =
                links.filter(|(_, link)| target.room().is_none() || link.is_recipient_of(&target));
            let queried: Vec<StreamId> = queried.map(|(stream, _)| *stream).collect();
            for stream in queried {
                let digest = Some(unequal_digest());
                send_have(ctx, stream, &target, Vec::new(), digest);
            }
        }
    }

    /// When to call [`Gaps::end_turn`] next.
    pub fn deadline(&self) -> Option<Time> {
        let deadlines = [self.request_expires_at(), self.next_query_at()];
        deadlines.into_iter().flatten().min()
    }

    fn request_expires_at(&self) -> Option<Time> {
        self.requested_at.map(|at| at + GAP_REQUEST_TIMEOUT_MS)
    }

    fn next_query_at(&self) -> Option<Time> {
        let earliest = self.queried_at.map(|at| at + GAP_QUERY_INTERVAL_MS);
        self.is_query_pending
            .then_some(earliest.unwrap_or_default())
    }
}

impl GapOffer {
    /// The first gap in our copy of this log that the offered lines cover completely.
    fn first_covered_gap<'a>(&self, logs: &'a Logs) -> Option<&'a Gap> {
        let mut gaps = logs.get(&self.key.log)?.gaps.iter();
        gaps.find(|gap| self.low <= gap.from && gap.to <= self.high)
    }
}
