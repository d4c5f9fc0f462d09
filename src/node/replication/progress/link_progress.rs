//! What is known of one link: which of its records have something to say, and how many are in each
//! bounded state.
use std::collections::VecDeque;

use crate::base::batch::batch::LogId;
use crate::base::name::Target;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::replication::carrying::relayed_offers::RelayedOffers;
use crate::node::replication::logs::ack_times::AckTimes;
use crate::node::replication::progress::progress::BOUNDS;
use crate::node::replication::progress::progress_state::{GapSend, GapSource, OfferKind};

/// What is known of one link, and the indexes of its records.
#[derive(Default)]
pub struct LinkProgress {
    /// The logs that we offered and the peer has not requested yet, and those whose cursor is not
    /// at the head. May contain other logs until the end of the turn.
    ///
    /// One author's logs to one target are sent one after another. The log with the oldest head is
    /// sent first. Lines thus arrive, and are shown, in their order of publication.
    pub lagging: SortedSet<LogId>,
    /// The logs with a pending acknowledgement. May contain other logs.
    pub due_acks: SortedSet<LogId>,
    /// When logs were acknowledged over this link.
    pub ack_times: AckTimes,
    /// For each [`OfferKind`], the logs with a pending offer of this kind, in the order in which
    /// the offers became due. May contain other logs.
    pub(super) offers: [VecDeque<LogId>; OfferKind::ALL.len()],
    /// The last digests from the peer, by target.
    pub digests: SortedMap<Target, ReceivedDigest>,
    /// The gap whose lines are being sent. Each link has at most one.
    pub gap_send: Option<GapSend>,
    /// Whether gaps are requested over this link.
    pub gap_source: GapSource,
    /// Whether offers from this link were ignored because the link has too many. The next query
    /// asks for them again.
    pub has_ignored_offers: bool,
    /// The offers of authors that were passed on to the link's peer.
    pub relayed_offers: RelayedOffers,
    /// The number of records in each bounded state, in the order of [`BOUNDS`].
    pub(super) counts: [usize; BOUNDS.len()],
}

/// The digest that a link's peer last sent for a target.
#[derive(Default)]
pub struct ReceivedDigest {
    /// When a digest for this target was last answered.
    pub answered_at: Option<Time>,
    /// The digest, if it waits for an answer.
    pub waiting: Option<String>,
}

impl LinkProgress {
    /// The logs with a pending offer of this kind. May contain other logs.
    pub fn offers(&self, kind: OfferKind) -> &VecDeque<LogId> {
        &self.offers[kind as usize]
    }

    /// Mutable access to [`LinkProgress::offers`].
    pub fn offers_mut(&mut self, kind: OfferKind) -> &mut VecDeque<LogId> {
        &mut self.offers[kind as usize]
    }

    /// Whether an acknowledgement or offer is pending, or a digest waits for its answer.
    pub(super) fn has_reports(&self) -> bool {
        !self.due_acks.is_empty()
            || self.offers.iter().any(|offers| !offers.is_empty())
            || self.digests.values().any(|digest| digest.waiting.is_some())
    }

    /// Updates the counts after a record has changed. `before` and `after`: the states of
    /// [`BOUNDS`] in which it was and is.
    pub(super) fn recount(&mut self, before: [bool; BOUNDS.len()], after: [bool; BOUNDS.len()]) {
        for (count, (before, after)) in self.counts.iter_mut().zip(before.into_iter().zip(after)) {
            *count += usize::from(after);
            *count -= usize::from(before);
        }
    }
}
