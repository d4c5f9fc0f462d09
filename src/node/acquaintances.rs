//! The peers with whom we were linked in this or an earlier run: since when, and whether the user
//! bound their names.
use crate::base::event::output::KnownPeer;
use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::WallTime;
use crate::base::trust::level::{Familiarity, TrustLevel};
use crate::node::standing::{Rank, Standing};

/// What is known of one peer.
#[derive(Clone, Copy)]
struct Acquaintance {
    /// When we were first linked with the peer.
    first_seen: WallTime,
    /// The highest level of trust in one of the peer's names.
    trust: TrustLevel,
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
            trust: known.trust,
        });
        entry.first_seen = entry.first_seen.min(known.first_seen);
        entry.trust = entry.trust.max(known.trust);
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
            Some(known) => {
                let is_bound = known.trust >= TrustLevel::Bound;
                Standing::of_linked(known.first_seen, is_bound, now)
            }
            None => Standing::of_rank(Rank::Unknown),
        }
    }

    /// How well the peer is known, as users see it.
    pub fn familiarity(&self, peer: &PeerId, now: WallTime) -> Familiarity {
        let is_verified = |it: &Acquaintance| it.trust == TrustLevel::Verified;
        match self.0.get(peer).is_some_and(is_verified) {
            true => Familiarity::Verified,
            false if self.standing(peer, now).rank >= Rank::Known => Familiarity::Known,
            false => Familiarity::New,
        }
    }
}
