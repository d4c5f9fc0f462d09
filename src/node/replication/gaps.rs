//! Missing lines in the middle of a log: they are asked for when somebody turns up who holds them.
use crate::base::batch::LogId;
use crate::base::event::StreamId;
use crate::base::name::{Room, Target};
use crate::base::range::Gap;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::replication::fetch::send_want;
use crate::node::replication::logs::Logs;
use crate::node::replication::progress::send_have;
use crate::wire::message::HaveEntry;

/// Milliseconds without a line after which one that was asked has none.
const GAP_REQUEST_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds from one time that all are asked what they hold to the next: each answer is as long as that is.
const GAP_QUERY_INTERVAL_MS: u64 = 30_000;
/// Most offers that wait.
const GAP_OFFERS_MAX: usize = 1024;

/// A peer says that it holds what is missing.
struct GapOffer {
    key: (StreamId, LogId),
    low: u64,
    high: u64,
}

#[derive(Default)]
pub struct Gaps {
    /// Taken one after the other: a hole is rare, and nobody waits for it.
    offers: Vec<GapOffer>,
    /// The first of them was asked for; when it last brought something.
    requested_at: Option<Time>,
    /// Links over which nothing came that was asked for: they are not asked again.
    failed_streams: SortedSet<StreamId>,
    /// Others are to be asked what they hold.
    is_query_pending: bool,
    /// When they last were.
    queried_at: Option<Time>,
}

impl Gaps {
    pub fn retain(&mut self, which: &dyn Fn(&(StreamId, LogId)) -> bool) {
        if self.offers.first().is_some_and(|offer| !which(&offer.key)) {
            self.requested_at = None;
        }
        self.offers.retain(|offer| which(&offer.key));
    }

    /// Lines are missing from now on: somebody who is linked may hold them.
    pub fn schedule_query(&mut self) {
        self.is_query_pending = true;
    }

    /// A peer says what it holds of a log.
    pub fn handle_offer(&mut self, logs: &Logs, key: (StreamId, LogId), held: &HaveEntry) {
        let known = self.offers.iter().position(|offer| offer.key == key);
        let (low, high) = (held.low, held.high);
        let offer = GapOffer { key, low, high };
        let covers = offer.first_covered_gap(logs).is_some();
        if let Some(at) = known {
            self.offers[at] = offer;
            if at == 0 && !covers {
                self.requested_at = None;
            }
        } else if covers
            && self.offers.len() < GAP_OFFERS_MAX
            && !self.failed_streams.contains(&offer.key.0)
        {
            self.offers.push(offer);
        }
    }

    /// Missing lines of this log are to come over this link.
    pub fn is_expected(&self, key: &(StreamId, LogId)) -> bool {
        self.requested_at.is_some() && self.offers.first().is_some_and(|offer| offer.key == *key)
    }

    /// What was asked for comes. `closed`: that was all.
    pub fn record_progress(&mut self, ctx: &Context, closed: bool) {
        self.requested_at = (!closed).then_some(ctx.now.time);
    }

    /// What was asked for does not come over this link.
    pub fn exclude_source(&mut self, ctx: &Context, stream: StreamId) {
        self.failed_streams
            .retain(|stream| ctx.links.contains_key(stream));
        self.failed_streams.insert(stream);
        self.offers.retain(|offer| offer.key.0 != stream);
        self.requested_at = None;
    }

    /// The store takes lines again: what it did not take is asked for once more.
    pub fn resume(&mut self) {
        self.requested_at = None;
        self.is_query_pending = true;
    }

    /// What is due to be asked for is.
    pub fn end_turn(&mut self, ctx: &mut Context, logs: &Logs, rooms: &[Room]) {
        if self
            .request_expires_at()
            .is_some_and(|at| at <= ctx.now.time)
            && let Some(stream) = self.offers.first().map(|offer| offer.key.0)
        {
            self.exclude_source(ctx, stream);
        }
        while self.requested_at.is_none()
            && let Some(offer) = self.offers.first()
        {
            let Some(hole) = offer.first_covered_gap(logs) else {
                self.offers.remove(0);
                continue;
            };
            send_want(ctx, &offer.key, (hole.from, hole.to));
            self.requested_at = Some(ctx.now.time);
        }
        if self.next_query_at().is_none_or(|at| ctx.now.time < at) {
            return;
        }
        (self.is_query_pending, self.queried_at) = (false, Some(ctx.now.time));
        let rooms = rooms.iter().cloned().map(Target::Room);
        for target in rooms.chain([Target::Peer(ctx.own_id())]) {
            if !logs.has_gaps(&target) {
                continue;
            }
            let links = ctx.links.iter();
            let asked =
                links.filter(|(_, link)| target.room().is_none() || link.is_recipient_of(&target));
            let asked: Vec<StreamId> = asked.map(|(stream, _)| *stream).collect();
            for stream in asked {
                send_have(ctx, stream, &target, Vec::new(), Some(String::new()), false);
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.request_expires_at()
            .into_iter()
            .chain(self.next_query_at())
            .min()
    }

    /// When nothing more is waited for that was asked for.
    fn request_expires_at(&self) -> Option<Time> {
        self.requested_at.map(|at| at + GAP_REQUEST_TIMEOUT_MS)
    }

    /// When others are to be asked what they hold, at the earliest.
    fn next_query_at(&self) -> Option<Time> {
        let next = self
            .queried_at
            .map_or(Time::default(), |at| at + GAP_QUERY_INTERVAL_MS);
        self.is_query_pending.then_some(next)
    }
}

impl GapOffer {
    /// The first hole of this log of which the peer holds all.
    fn first_covered_gap<'a>(&self, logs: &'a Logs) -> Option<&'a Gap> {
        let mut holes = logs.get(&self.key.1)?.gaps.iter();
        holes.find(|hole| self.low <= hole.from && hole.to <= self.high)
    }
}
