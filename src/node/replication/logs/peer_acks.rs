//! What a peer has acknowledged of one log. Acknowledgements are cumulative. A peer that lacks
//! earlier lines says so in its acknowledgement. See
//! [`LogState::record_ack`](crate::node::replication::logs::log_state::LogState::record_ack).
use std::ops::RangeInclusive;

use crate::base::identity::Hash;
use crate::wire::message::HaveEntry;

/// A peer's acknowledgement of a log: the peer stores the lines `complete_from` to `high`, and may
/// lack earlier ones.
#[derive(Clone, Copy)]
pub struct Ack {
    /// Sequence from which on the peer received every line up to `high`.
    pub complete_from: u64,
    /// Sequence of the last line that the peer stores.
    pub high: u64,
    /// Hash of the batch that ends at `high`.
    pub hash: Hash,
}

impl Ack {
    /// The acknowledgement in an entry of a `have` message.
    pub fn new(entry: &HaveEntry) -> Ack {
        Ack {
            complete_from: entry.complete_from,
            high: entry.high,
            hash: entry.hash,
        }
    }
}

/// What a peer has acknowledged of one log.
#[derive(Clone, Copy, Default)]
pub struct PeerAcks {
    /// The last acknowledgement of this run. `None`: there is none.
    pub last: Option<Ack>,
    /// Sequence of the last line that is delivered to the peer; 0 if none. The peer stores this
    /// line and all earlier ones that it must store.
    pub delivered_up_to: u64,
    /// Sequence from which on the peer received every line up to `delivered_up_to`.
    pub delivered_from: u64,
    /// The peer acknowledged lines while it was linked as a transient peer. It may leave before it
    /// has passed on the lines that it stores.
    pub is_transient: bool,
}

impl PeerAcks {
    /// Has the peer received all these lines?
    pub fn covers(&self, lines: &RangeInclusive<u64>) -> bool {
        let is_within = |from, up_to| from <= *lines.start() && *lines.end() <= up_to;
        let is_acked = |last: Ack| is_within(last.complete_from, last.high);
        is_within(self.delivered_from, self.delivered_up_to) || self.last.is_some_and(is_acked)
    }

    /// How many of these lines the peer has received, from the first one on.
    pub fn count(&self, lines: &RangeInclusive<u64>) -> u64 {
        let count_within = |from, up_to: u64| match from <= *lines.start() {
            true => (up_to.min(*lines.end()) + 1).saturating_sub(*lines.start()),
            false => 0,
        };
        let delivered = count_within(self.delivered_from, self.delivered_up_to);
        let acked = self
            .last
            .map(|last| count_within(last.complete_from, last.high));
        delivered.max(acked.unwrap_or(0))
    }

    /// Sequence of the last line that need not be kept for this peer; 0 if none. If nothing is
    /// delivered, the peer may have begun above lines that it will never request.
    pub fn released_up_to(&self) -> u64 {
        match self.delivered_up_to {
            0 => self.acked_up_to(),
            delivered => delivered,
        }
    }

    /// Sequence of the last acknowledged line; 0 if none. The peer may lack earlier lines.
    pub fn acked_up_to(&self) -> u64 {
        let acked = self.last.map_or(0, |last| last.high);
        acked.max(self.delivered_up_to)
    }
}
