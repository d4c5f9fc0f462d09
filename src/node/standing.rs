//! How much a peer counts when room is short. Only time and the user raise it, no claim of the
//! peer.
use std::cmp::{Ordering, Reverse};
use std::net::{IpAddr, Ipv6Addr};

use crate::base::identity::PeerId;
use crate::base::table::SortedMap;
use crate::base::time::WallTime;

/// A peer is a newcomer for this many milliseconds after its first link.
const NEWCOMER_MS: i64 = 24 * 3_600_000;
/// The bits of an IPv6 address that name its network of 64 bits.
const IPV6_NETWORK_MASK: u128 = !0 << 64;

/// The rank of a peer. Peers of a lower rank lose lines and places first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// We were never linked with the peer.
    Unknown,
    /// We were first linked with the peer less than a day ago.
    Newcomer,
    /// We have known the peer for a day or longer.
    Known,
    /// The user bound the peer's name to its key, as by a direct message.
    Bound,
    /// The peer is this program's own identity.
    Own,
}

/// The rank of a peer, and what tells apart peers of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The rank.
    pub rank: Rank,
    /// Whether the peer is linked.
    pub is_linked: bool,
    /// When we were first linked with a newcomer; 1970 for a peer of another rank.
    pub first_seen: WallTime,
    /// The host over whose link the peer's first line came in this run: the peer's own, or a
    /// relay. `None`: unknown. Invented keys of one host have one source.
    pub source: Option<IpAddr>,
}

impl Standing {
    /// The standing of a peer with whom we were first linked at `first_seen`.
    pub fn of_linked(first_seen: WallTime, is_bound: bool, now: WallTime) -> Standing {
        let rank = match now.0.saturating_sub(first_seen.0) < NEWCOMER_MS {
            _ if is_bound => Rank::Bound,
            true => Rank::Newcomer,
            false => Rank::Known,
        };
        Standing {
            first_seen: match rank {
                Rank::Newcomer => first_seen,
                _ => WallTime(0),
            },
            ..Standing::of_rank(rank)
        }
    }

    /// The standing of a peer of which only the rank is known.
    pub fn of_rank(rank: Rank) -> Standing {
        Standing {
            rank,
            is_linked: false,
            first_seen: WallTime(0),
            source: None,
        }
    }

    /// How much the peer counts, whatever its source is. A peer of a lower level loses first.
    pub fn level(&self) -> Level {
        (self.rank, self.is_linked)
    }

    fn share(&self) -> Share {
        (self.level(), self.source)
    }
}

/// The source to which a host with this address belongs. A host may have any address of its IPv6
/// network. All neighbours share the link-local network, so a link-local address is a source.
pub fn source_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(ip) if !ip.is_unicast_link_local() => {
            Ipv6Addr::from_bits(ip.to_bits() & IPV6_NETWORK_MASK).into()
        }
        _ => address,
    }
}

/// The rank of a peer, and whether it is linked.
pub type Level = (Rank, bool);

/// Peers of one level and one source have one share.
type Share = (Level, Option<IpAddr>);

/// A place in the order of eviction: who has the lowest place loses first. The rank decides, then
/// whether the peer is linked. Then the source loses that takes most. So a flood of invented keys
/// costs its own host, and no newcomer from elsewhere. Of the source's peers the latest loses, and
/// then the one that takes most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EvictionPlace {
    level: Level,
    taken_by_share: Reverse<u64>,
    source: Option<IpAddr>,
    first_seen: Reverse<WallTime>,
    taken: Reverse<u64>,
}

/// What each peer takes of something bounded: lines, bytes or places.
#[derive(Default)]
pub struct UsageTable {
    by_peer: SortedMap<PeerId, u64>,
    by_share: SortedMap<Share, u64>,
}

impl UsageTable {
    /// Adds what a peer takes.
    pub fn add(&mut self, peer: PeerId, standing: &Standing, taken: u64) {
        *self.by_peer.get_or_default(peer) += taken;
        *self.by_share.get_or_default(standing.share()) += taken;
    }

    fn by_peer(&self, peer: &PeerId) -> u64 {
        self.by_peer.get(peer).copied().unwrap_or(0)
    }

    fn by_share(&self, standing: &Standing) -> u64 {
        let taken = self.by_share.get(&standing.share());
        taken.copied().unwrap_or(0)
    }

    /// Subtracts what a peer no longer takes.
    pub fn subtract(&mut self, peer: PeerId, standing: &Standing, taken: u64) {
        let by_peer = self.by_peer.get_mut(&peer);
        let by_share = self.by_share.get_mut(&standing.share());
        for total in by_peer.into_iter().chain(by_share) {
            *total = total.saturating_sub(taken);
        }
    }

    /// The place of a peer in the order of eviction.
    pub fn place(&self, peer: &PeerId, standing: &Standing) -> EvictionPlace {
        EvictionPlace {
            level: standing.level(),
            taken_by_share: Reverse(self.by_share(standing)),
            source: standing.source,
            first_seen: Reverse(standing.first_seen),
            taken: Reverse(self.by_peer(peer)),
        }
    }

    /// Whether `peer` gives up a place to `claimant`: it counts less, or as much and takes more. Of
    /// two peers of one source, each counts alone.
    pub fn gives_way(
        &self,
        (peer, standing): (&PeerId, &Standing),
        (claimant, of_claimant): (&PeerId, &Standing),
    ) -> bool {
        match standing.level().cmp(&of_claimant.level()) {
            Ordering::Less => true,
            Ordering::Greater => false,
            Ordering::Equal if standing.source == of_claimant.source => {
                self.by_peer(peer) > self.by_peer(claimant)
            }
            Ordering::Equal => self.by_share(standing) > self.by_share(of_claimant),
        }
    }
}
