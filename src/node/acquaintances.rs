//! The peers with whom we were linked in this or an earlier run: since when, and whether the user
//! bound their names.
use crate::base::event::output::KnownPeer;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::WallTime;
use crate::node::standing::{Rank, Standing};

/// What is known of one peer.
#[derive(Clone, Copy)]
struct Acquaintance {
    /// When we were first linked with the peer.
    first_seen: WallTime,
    /// Whether the user bound one of the peer's names to its key.
    is_bound: bool,
}

/// The known peers by key. An index of
/// [`KnownPeers`](crate::node::membership::known_peers::KnownPeers), which keeps it up to date.
#[derive(Default)]
pub struct Acquaintances(SortedMap<PeerId, Acquaintance>);

impl Acquaintances {
    /// Records an entry of the known peers. A peer may have several names: it is known since the
    /// earliest entry, and bound if one of them is.
    pub fn record(&mut self, known: &KnownPeer) {
        let entry = self.0.get_or_insert_with(known.id, || Acquaintance {
            first_seen: known.first_seen,
            is_bound: known.is_bound(),
        });
        entry.first_seen = entry.first_seen.min(known.first_seen);
        entry.is_bound |= known.is_bound();
    }

    /// Forgets a peer.
    pub fn forget(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    /// Whether we were ever linked with this peer.
    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.0.contains_key(peer)
    }

    /// How much this peer counts, if its source is unknown.
    pub fn standing(&self, peer: &PeerId, now: WallTime) -> Standing {
        match self.0.get(peer) {
            Some(known) => Standing::of_linked(known.first_seen, known.is_bound, now),
            None => Standing::of_rank(Rank::Unknown),
        }
    }
}
