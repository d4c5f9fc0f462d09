//! Requests missing lines in the middle of logs from any peer that offers them, one gap at a
//! time: gaps are rare, and nobody waits for them.
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

/// Milliseconds without a batch after which a requested peer counts as unable to fill the gap.
const GAP_REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds between two queries for offers. Each answer lists everything that a peer stores.
const GAP_QUERY_INTERVAL_MS: u64 = 30_000;
/// Most offers kept.
const GAP_OFFERS_MAX: usize = 1024;

/// A peer stores lines of a log in which we have a gap: `low` to `high`.
struct GapOffer {
    key: LinkLog,
    low: u64,
    high: u64,
}

/// The offers that can fill our gaps, and the request under way.
#[derive(Default)]
pub struct Gaps {
    /// Taken up one after the other, from the first.
    offers: Vec<GapOffer>,
    /// When the first offer was requested, or last brought a batch; `None`: no request is under
    /// way.
    requested_at: Option<Time>,
    /// Links over which a request failed; never asked again.
    failed_streams: SortedSet<StreamId>,
    /// A query for offers is to be sent.
    is_query_pending: bool,
    /// When the last query was sent.
    queried_at: Option<Time>,
}

impl Gaps {
    /// Forgets the offers for which `keeps` is false, and a request to one of them.
    pub fn retain(&mut self, keeps: &dyn Fn(StreamId, &LogId) -> bool) {
        let keeps = |offer: &GapOffer| keeps(offer.key.stream, &offer.key.log);
        if self.offers.first().is_some_and(|offer| !keeps(offer)) {
            self.requested_at = None;
        }
        self.offers.retain(keeps);
    }

    /// A gap appeared: asks all linked peers at the end of a turn what they store.
    pub fn schedule_query(&mut self) {
        self.is_query_pending = true;
    }

    /// Records the entry if it covers a gap of ours, or updates an earlier offer.
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

    /// Whether missing lines of this log are requested over this link.
    pub fn is_expected(&self, key: &LinkLog) -> bool {
        self.requested_at.is_some() && self.offers.first().is_some_and(|offer| offer.key == *key)
    }

    /// A requested batch arrived. `closed`: it was the last of its gap.
    pub fn record_progress(&mut self, ctx: &Context, closed: bool) {
        self.requested_at = (!closed).then_some(ctx.now.time);
    }

    /// The peer of this link failed to fill a gap: drops its offers, also future ones.
    pub fn exclude_source(&mut self, ctx: &Context, stream: StreamId) {
        self.failed_streams
            .retain(|stream| ctx.links.contains_key(stream));
        self.failed_streams.insert(stream);
        self.offers.retain(|offer| offer.key.stream != stream);
        self.requested_at = None;
    }

    /// The store takes lines again: requests again what it refused.
    pub fn resume(&mut self) {
        self.requested_at = None;
        self.is_query_pending = true;
    }

    /// At the end of a turn: gives up a request that timed out, sends the next one, and queries
    /// all peers if a query is due.
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

    /// Asks every peer for its entries, of each room and of direct messages to us if they have
    /// gaps.
    fn send_query(&mut self, ctx: &mut Context, logs: &Logs, rooms: &[Room]) {
        self.is_query_pending = false;
        self.queried_at = Some(ctx.now.time);
        let rooms = rooms.iter().cloned().map(Target::Room);
        for target in rooms.chain([Target::Peer(ctx.own_id())]) {
            if !logs.has_gaps(&target) {
                continue;
            }
            let links = ctx.links.iter();
            // Anybody may carry direct messages to us.
            let queried =
                links.filter(|(_, link)| target.room().is_none() || link.is_recipient_of(&target));
            let queried: Vec<StreamId> = queried.map(|(stream, _)| *stream).collect();
            for stream in queried {
                let digest = Some(unequal_digest());
                send_have(ctx, stream, &target, Vec::new(), digest, false);
            }
        }
    }

    /// When [`Gaps::end_turn`] has to be called next.
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
    /// The first of our gaps in this log that the offer covers whole.
    fn first_covered_gap<'a>(&self, logs: &'a Logs) -> Option<&'a Gap> {
        let mut gaps = logs.get(&self.key.log)?.gaps.iter();
        gaps.find(|gap| self.low <= gap.from && gap.to <= self.high)
    }
}
