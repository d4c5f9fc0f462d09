//! What a peer has acknowledged of one log. Acknowledgements are cumulative. A peer that lacks
//! earlier lines says so in its acknowledgement. See
//! [`LogState::record_ack`](crate::node::replication::logs::log_state::LogState::record_ack).
use crate::base::identity::Hash;
use crate::wire::message::HaveEntry;

/// A peer's acknowledgement of a log: the peer stores the lines `complete_from` to `high`, and may
/// lack earlier ones.
#[derive(Clone, Copy)]
pub struct Ack {
    /// Sequence from which on the peer misses no line up to `high`. Lines that the peer's quota
    /// evicted do not count as missing.
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
}

impl PeerAcks {
    /// Sequence of the last acknowledged line; 0 if none. The peer may lack earlier lines.
    pub fn acked_up_to(&self) -> u64 {
        let acked = self.last.map_or(0, |last| last.high);
        acked.max(self.delivered_up_to)
    }
}
