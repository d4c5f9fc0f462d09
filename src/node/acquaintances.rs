//! The peers with whom we were linked in this or an earlier run: since when, and whether the user
//! bound their names. And the keys that the user has banned.
use crate::base::event::output::KnownPeer;
use crate::base::identity::PeerId;
use crate::base::table::{SortedMap, SortedSet};
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
pub struct Acquaintances {
    known: SortedMap<PeerId, Acquaintance>,
    banned: SortedSet<PeerId>,
    /// The keys of the banned peers, as a handshake proves them.
    banned_noise_keys: SortedSet<[u8; 32]>,
}

impl Acquaintances {
    /// Records an entry of the known peers. A peer may have several names: it is known since the
    /// earliest entry, and bound if one of them is.
    pub fn record(&mut self, known: &KnownPeer) {
        if known.trust == TrustLevel::Banned {
            self.banned.insert(known.id);
            self.banned_noise_keys.extend(known.id.noise_key());
            return;
        }
        let entry = self.known.get_or_insert_with(known.id, || Acquaintance {
            first_seen: known.first_seen,
            trust: known.trust,
        });
        entry.first_seen = entry.first_seen.min(known.first_seen);
        entry.trust = entry.trust.max(known.trust);
    }

    /// Whether the user has banned this key.
    pub fn is_banned(&self, peer: &PeerId) -> bool {
        self.banned.contains(peer)
    }

    /// Whether the peer with this Noise key is banned.
    pub fn is_banned_noise_key(&self, key: &[u8; 32]) -> bool {
        self.banned_noise_keys.contains(key)
    }

    /// The banned keys.
    pub fn banned(&self) -> &SortedSet<PeerId> {
        &self.banned
    }

    /// Forgets a peer.
    pub fn forget(&mut self, peer: &PeerId) {
        self.known.remove(peer);
    }

    /// Whether we were ever linked with this peer.
    pub fn is_known(&self, peer: &PeerId) -> bool {
        self.known.contains_key(peer)
    }

    /// How much this peer counts, if its source is unknown.
    pub fn standing(&self, peer: &PeerId, now: WallTime) -> Standing {
        match self.known.get(peer) {
            Some(known) => {
                let is_bound = known.trust >= TrustLevel::Bound;
                Standing::of_linked(known.first_seen, is_bound, now)
            }
            None => Standing::of_rank(Rank::Unknown),
        }
    }

    /// How well the peer is known, as users see it.
    pub fn familiarity(&self, peer: &PeerId, now: WallTime) -> Familiarity {
        let known = self.known.get(peer);
        known.map_or(Familiarity::New, |it| {
            familiarity_of(it.trust, it.first_seen, now)
        })
    }
}

/// How well a key is known that was first linked at this time.
pub fn familiarity_of(trust: TrustLevel, first_seen: WallTime, now: WallTime) -> Familiarity {
    let standing = Standing::of_linked(first_seen, trust >= TrustLevel::Bound, now);
    match trust {
        TrustLevel::Verified => Familiarity::Verified,
        _ if standing.rank >= Rank::Known => Familiarity::Known,
        _ => Familiarity::New,
    }
}
