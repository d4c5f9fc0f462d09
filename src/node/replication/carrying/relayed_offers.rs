//! The offers of authors that a carrier passes on to recipients. An author may have invented what
//! it offers. Once the recipient has requested the lines, the offer holds for two seconds, or while
//! they come. Then it is withdrawn.
use std::collections::VecDeque;

use crate::base::batch::batch::LogId;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::replication::logs::eviction::LOGS_PER_AUTHOR_MAX;
use crate::node::replication::progress::progress_state::BatchEnd;

/// Maximum number of logs that we offer to one recipient on behalf of their authors, while its link
/// lasts. Of one author, at most [`LOGS_PER_AUTHOR_MAX`]. Offers name logs that their authors may
/// have invented: half of the recipient's places for offers are left for our own ones.
const RELAYED_LOGS_MAX: usize = 1_024;
/// Minimum milliseconds between two offers of one log that we pass on. Authors offer a log at most
/// once a second.
const RELAY_INTERVAL_MS: u64 = 500;
/// Milliseconds for which no offer of an author is passed on after one was withdrawn.
const WITHDRAWN_PAUSE_MS: u64 = 60_000;

/// Maximum number of offers whose lines are awaited, for all recipients together. One that is too
/// many is withdrawn at once.
const UNPROVEN_OFFERS_MAX: usize = 1_024;

/// Maximum number of queries that wait for the end of a pause. Further authors are not asked again.
const LATER_QUERIES_MAX: usize = 1_024;

/// The logs whose offers were passed on to a link's peer.
#[derive(Default)]
pub struct RelayedOffers(SortedMap<LogId, RelayedOffer>);

/// An offer that was passed on.
struct RelayedOffer {
    /// When the offer was last passed on.
    at: Time,
    /// The last offered line and its hash. `None`: the offer was withdrawn.
    end: Option<BatchEnd>,
    /// When the offer was withdrawn, as its author did not send the lines.
    withdrawn_at: Option<Time>,
}

/// The offers that were passed on, whose lines the recipients have requested, and which are still
/// to come. Each with the link to its recipient.
pub type UnprovenOffers = SortedMap<(StreamId, LogId), UnprovenOffer>;

/// An offer that was passed on and is not proved.
pub struct UnprovenOffer {
    /// The last offered line and its hash.
    pub end: BatchEnd,
    /// Sequence of the last line that we stored when the time began.
    pub stored: u64,
    /// Until when the next line may come.
    pub until: Time,
    /// Whether we have requested the lines from the author.
    pub is_asked: bool,
}

/// The authors to be asked again for what they have for a recipient, an offer to whom was
/// withdrawn: an author that is only slow offers its log no more by itself. In the order of time.
#[derive(Default)]
pub struct LaterQueries(VecDeque<(Time, StreamId, PeerId)>);

impl LaterQueries {
    /// Adds a query to this author about the recipient of the link `to`, unless one waits already.
    pub fn add(&mut self, to: StreamId, author: PeerId, now: Time) {
        let mut waiting = self.0.iter();
        let is_known = waiting.any(|(_, stream, other)| (*stream, *other) == (to, author));
        if !is_known && self.0.len() < LATER_QUERIES_MAX {
            self.0.push_back((now + WITHDRAWN_PAUSE_MS, to, author));
        }
    }

    /// Takes a query that is due: the link to the recipient, and the author.
    pub fn take_due(&mut self, now: Time) -> Option<(StreamId, PeerId)> {
        let due = self.0.pop_front_if(|(at, _, _)| *at <= now);
        due.map(|(_, to, author)| (to, author))
    }

    /// Forgets the queries about the recipient of a link that ended.
    pub fn forget(&mut self, to: StreamId) {
        self.0.retain(|(_, stream, _)| *stream != to);
    }

    /// When the next query is due.
    pub fn next_at(&self) -> Option<Time> {
        self.0.front().map(|(at, _, _)| *at)
    }
}

impl RelayedOffers {
    /// Whether an offer of this log to the link's peer may be passed on now. Records it then.
    /// `end`: the last offered line and its hash.
    pub fn admit(&mut self, log: &LogId, end: BatchEnd, now: Time) -> bool {
        let of_author = self
            .0
            .iter()
            .filter(|(other, _)| other.author == log.author);
        let is_paused = |offer: &RelayedOffer| {
            let withdrawn_at = offer.withdrawn_at;
            withdrawn_at.is_some_and(|at| at + WITHDRAWN_PAUSE_MS > now)
        };
        if of_author.clone().any(|(_, offer)| is_paused(offer)) {
            return false;
        }
        let may_have_more = of_author.count() < LOGS_PER_AUTHOR_MAX;
        let has_place = self.0.len() < RELAYED_LOGS_MAX && may_have_more;
        let is_due = match self.0.get(log) {
            Some(offer) => now.ms_since(offer.at) >= RELAY_INTERVAL_MS,
            None => has_place,
        };
        if is_due {
            let offer = RelayedOffer {
                at: now,
                end: Some(end),
                withdrawn_at: None,
            };
            self.0.insert(log.clone(), offer);
        }
        is_due
    }

    /// Records that the offer of this log was withdrawn. `is_asked`: whether its author was to send
    /// the lines, so that a pause begins.
    pub fn withdraw(&mut self, log: &LogId, is_asked: bool, now: Time) {
        if let Some(offer) = self.0.get_mut(log) {
            (offer.end, offer.withdrawn_at) = (None, is_asked.then_some(now));
        }
    }

    /// The last line of the offer of this log that was passed on, and not withdrawn since.
    pub fn end_of(&self, log: &LogId) -> Option<BatchEnd> {
        self.0.get(log)?.end
    }
}

/// Of too many unproven offers, the one that is to be withdrawn: the oldest of the recipient with
/// most of them.
pub fn surplus_offer(offers: &UnprovenOffers) -> Option<(StreamId, LogId)> {
    if offers.len() <= UNPROVEN_OFFERS_MAX {
        return None;
    }
    let mut counts: SortedMap<StreamId, usize> = SortedMap::new();
    for (to, _) in offers.keys() {
        *counts.get_or_default(*to) += 1;
    }
    let (most, _) = counts.iter().max_by_key(|(_, count)| **count)?;
    let of_recipient = offers.iter().filter(|((to, _), _)| to == most);
    let oldest = of_recipient.min_by_key(|(_, offer)| offer.until);
    oldest.map(|(key, _)| key.clone())
}
