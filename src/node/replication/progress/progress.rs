//! What is known of one log on one link: a single record, as raft's `Progress` (raft-rs).
//! [`progress_state`](crate::node::replication::progress::progress_state) lists its states.
use std::ops::RangeInclusive;

use crate::node::replication::bisection::Bisection;
use crate::node::replication::logs::peer_acks::Ack;
use crate::node::replication::progress::progress_state::{
    FetchState, LogRequest, Offer, OfferKind, SendCursor, SendState,
};
use crate::node::topology::{LINKS_MAX, TRANSIENT_LINKS_MAX};

/// Maximum number of [`SendCursor`]s, over all links. A link always has its share of them.
pub const CURSORS_MAX: usize = 65_536;
/// Maximum number of offers from one link. The bound keeps one peer from crowding out the offers of
/// others.
pub const OFFERS_PER_LINK_MAX: usize = 2_048;
/// Maximum number of logs requested over one link.
pub const REQUESTS_PER_LINK_MAX: usize = 4_096;
/// Maximum number of records in the state [`FetchState::EvidenceWanted`], over all links.
pub const EVIDENCE_MAX: usize = 256;
/// Maximum number of records in the state [`FetchState::EvidenceWanted`] on one link. A peer can
/// claim any number of forks. The bound leaves places for other peers.
pub const EVIDENCE_PER_LINK_MAX: usize = 16;
/// Maximum number of [`Bisection`]s, over all links. A completed one is kept until its link ends.
pub const BISECTIONS_MAX: usize = 1024;
/// Maximum number of records in the state [`FetchState::Refused`], over all links.
pub const REFUSALS_MAX: usize = 16_384;

/// What is known of one log on one link.
#[derive(Default)]
pub struct Progress {
    pub(super) send: SendState,
    pub(super) fetch: FetchState,
    /// A peer's acknowledgement of a log that we wrote, not checked yet. We do not know our hash at
    /// the acknowledged line. The batch after that line names this hash. We check the
    /// acknowledgement when the store has read that batch.
    pub claim: Option<Box<Ack>>,
    /// The number of batches that the pending acknowledgement covers. `None`: none is pending.
    pub due_ack: Option<u32>,
    /// The kind of our pending offer.
    pub due_offer: Option<OfferKind>,
    /// The lines that the peer offers to fill our gaps.
    pub(super) gap_lines: Option<Box<RangeInclusive<u64>>>,
}

/// The maximum number of records in a state. See [`Bound::has_place`].
pub(super) struct Bound {
    per_link: usize,
    total: usize,
}

/// The bounds of [`Progress::counted_states`].
pub(super) const BOUNDS: [Bound; 6] = [
    Bound::of_all_links(CURSORS_MAX),
    Bound::of_each_link(OFFERS_PER_LINK_MAX),
    Bound::of_each_link(REQUESTS_PER_LINK_MAX),
    Bound {
        per_link: EVIDENCE_PER_LINK_MAX,
        total: EVIDENCE_MAX,
    },
    Bound::of_all_links(BISECTIONS_MAX),
    Bound::of_all_links(REFUSALS_MAX),
];

impl Bound {
    const fn of_all_links(total: usize) -> Bound {
        let per_link = total;
        Bound { per_link, total }
    }

    const fn of_each_link(per_link: usize) -> Bound {
        let total = usize::MAX;
        Bound { per_link, total }
    }

    /// Whether a link with `own` records may have one more, while all links together have `all`. A
    /// link always has its share of the total, so that no other can crowd it out. In the worst case
    /// there are twice as many records as the total.
    pub(super) fn has_place(&self, own: usize, all: usize) -> bool {
        let share = self.total / (LINKS_MAX + TRANSIENT_LINKS_MAX);
        own < self.per_link && (own < share || all < self.total)
    }
}

impl Progress {
    /// How far the log was sent.
    pub fn send(&self) -> &SendState {
        &self.send
    }

    /// The position of the link in the log. `None`: the peer requested nothing.
    pub fn cursor(&self) -> Option<&SendCursor> {
        match &self.send {
            SendState::Requested(cursor) => Some(cursor),
            SendState::Idle | SendState::Offered(_) => None,
        }
    }

    /// Mutable access to [`Progress::cursor`].
    pub fn cursor_mut(&mut self) -> Option<&mut SendCursor> {
        match &mut self.send {
            SendState::Requested(cursor) => Some(cursor),
            SendState::Idle | SendState::Offered(_) => None,
        }
    }

    /// Whether the record says nothing.
    pub(super) fn is_empty(&self) -> bool {
        let Progress {
            send,
            fetch,
            claim,
            due_ack,
            due_offer,
            gap_lines,
        } = self;
        matches!(send, SendState::Idle)
            && matches!(fetch, FetchState::Idle)
            && claim.is_none()
            && due_ack.is_none()
            && due_offer.is_none()
            && gap_lines.is_none()
    }

    /// The lines that the peer offers to fill our gaps.
    pub fn gap_lines(&self) -> Option<&RangeInclusive<u64>> {
        self.gap_lines.as_deref()
    }

    /// Tells for each bounded state whether the record is in it, in the order of [`BOUNDS`].
    pub(super) fn counted_states(&self) -> [bool; BOUNDS.len()] {
        [
            matches!(self.send, SendState::Requested(_)),
            self.offer().is_some(),
            self.request().is_some(),
            matches!(self.fetch, FetchState::EvidenceWanted(_)),
            matches!(self.fetch, FetchState::Comparing(_)),
            matches!(self.fetch, FetchState::Refused),
        ]
    }

    /// The fetching half.
    pub fn fetch(&self) -> &FetchState {
        &self.fetch
    }

    /// The peer's offer of lines that we lack.
    pub fn offer(&self) -> Option<&Offer> {
        match &self.fetch {
            FetchState::Offered(offer) => Some(offer),
            FetchState::Requested(request) => request.offer.as_ref(),
            _ => None,
        }
    }

    /// The request for the log over this link.
    pub fn request(&self) -> Option<&LogRequest> {
        match &self.fetch {
            FetchState::Requested(request) => Some(request),
            _ => None,
        }
    }

    /// Whether the peer's copy of this log, which we wrote, is compared with ours.
    pub fn is_comparing(&self) -> bool {
        matches!(self.fetch, FetchState::Comparing(_))
    }

    pub(super) fn bisection_mut(&mut self) -> Option<&mut Bisection> {
        match &mut self.fetch {
            FetchState::Comparing(bisection) => Some(bisection),
            _ => None,
        }
    }
}
