//! The addresses of the [address book](crate::node::discovery::address_book), and their bounds:
//! which address gives way to a new one.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::backoff::Backoff;
use crate::node::discovery::known_address::{KnownAddress, Origin};

/// Maximum number of unproven addresses that one finder has found. A new one replaces the oldest
/// one that is of no use now. Without such a one, it is ignored: a flood keeps none from its dial.
const FOUND_PER_FINDER_MAX: usize = 64;
/// Maximum number of unproven addresses in the book. A new one replaces the oldest of the source
/// with the most.
const INTRODUCED_MAX: usize = 256;
/// Maximum number of addresses in the book that a link has proven. Of the source with the most, the
/// address that was linked last gives way, except one of a link.
pub const PROVEN_ADDRESSES_MAX: usize = 64;
/// Maximum number of addresses of one peer. One whose last dial failed, or the second one of a
/// source, gives way to an introduced one, and the oldest to a proven one.
pub const ADDRESSES_PER_PEER_MAX: usize = 4;
/// Maximum number of unproven addresses of one peer that the peers of one source have introduced,
/// or one finder has found.
const ADDRESSES_PER_INTRODUCER_MAX: usize = 2;

/// The addresses. Of the proven ones, the one that was linked last is the last.
#[derive(Default)]
pub struct AddressTable {
    /// The addresses.
    pub addresses: Vec<KnownAddress>,
    /// Whether the proven addresses or their order have changed in this run.
    pub is_changed: bool,
}

impl AddressTable {
    /// The index of this address of the peer. `None`: the address of a peer that nobody names.
    pub fn position(&self, peer: Option<PeerId>, address: SocketAddr) -> Option<usize> {
        let mut addresses = self.addresses.iter();
        addresses.position(|known| known.peer == peer && known.address == address)
    }

    /// Whether this address is in the table already, or is better known. An address of which nobody
    /// names the peer may be known with its peer, as long as that answers there.
    pub fn is_known(&self, peer: Option<PeerId>, address: SocketAddr, origin: Origin) -> bool {
        self.addresses.iter().any(|known| {
            let is_better_known = peer.is_none()
                && (known.is_proven() || known.origin == origin)
                && !known.backoff.has_failed();
            known.address == address && (known.peer == peer || is_better_known)
        })
    }

    /// Records that this peer answered our dial to the address, if nobody had named the peer there.
    pub fn set_peer(&mut self, address: SocketAddr, peer: PeerId) {
        if let Some(index) = self.position(None, address) {
            match self.position(Some(peer), address) {
                Some(_) => drop(self.addresses.remove(index)),
                None => self.addresses[index].peer = Some(peer),
            }
        }
    }

    /// Adds an address, whose first dial is due at `next_attempt`.
    pub fn push(
        &mut self,
        peer: Option<PeerId>,
        address: SocketAddr,
        origin: Origin,
        next_attempt: Time,
    ) {
        self.addresses.push(KnownAddress {
            peer,
            address,
            origin,
            backoff: Backoff::new(next_attempt),
            dialing: None,
        });
    }

    /// Records that the dial on this stream has ended. Returns the index of its address.
    pub fn clear_dial(&mut self, stream: StreamId) -> Option<usize> {
        let mut addresses = self.addresses.iter();
        let index = addresses.position(|known| known.dialing == Some(stream))?;
        self.addresses[index].dialing = None;
        Some(index)
    }

    /// Whether the peer may have one more address of this origin. To make room, drops an address
    /// whose last dial failed, or the second one of another origin.
    pub fn make_room_of_peer(&mut self, peer: PeerId, origin: Origin) -> bool {
        let peer = Some(peer);
        let of_peer = self.addresses.iter().filter(|known| known.peer == peer);
        let count_from = |origin| of_peer.clone().filter(|it| it.origin == origin).count();
        let from_source = count_from(origin);
        let is_source_full = from_source >= ADDRESSES_PER_INTRODUCER_MAX;
        if !is_source_full && of_peer.clone().count() < ADDRESSES_PER_PEER_MAX {
            return true;
        }
        // The peer may return to the address at which it was linked last.
        let mut addresses = self.addresses.iter();
        let linked_last = addresses.rposition(|known| known.peer == peer && known.is_proven());
        let ranked = self
            .addresses
            .iter()
            .enumerate()
            .filter_map(|(index, known)| {
                let has_failed = known.backoff.has_failed();
                let may_go = match is_source_full {
                    true => known.origin == origin && has_failed,
                    false => {
                        let is_second = !known.is_proven() && count_from(known.origin) > 1;
                        has_failed || is_second && from_source == 0
                    }
                };
                let is_kept = known.dialing.is_some() || Some(index) == linked_last;
                (known.peer == peer && !is_kept && may_go).then_some((
                    !has_failed,
                    known.is_proven(),
                    index,
                ))
            });
        let dropped = ranked.min();
        if let Some((_, is_proven, index)) = dropped {
            self.is_changed |= is_proven;
            self.addresses.remove(index);
        }
        dropped.is_some()
    }

    /// Whether one more address of this finder may be added. To make room, drops its oldest address
    /// that is of no use now.
    pub fn make_room_of_finder(&mut self, ctx: &Context, via: FoundVia) -> bool {
        let origin = Origin::Found(via);
        let of_finder = self.addresses.iter().filter(|known| known.origin == origin);
        if of_finder.count() < FOUND_PER_FINDER_MAX {
            return true;
        }
        let mut addresses = self.addresses.iter();
        let idle = addresses.position(|known| known.origin == origin && known.is_idle(ctx));
        idle.map(|index| self.addresses.remove(index)).is_some()
    }

    /// Drops an unproven address if they are as many as allowed: the oldest of the source that has
    /// introduced most of them.
    pub fn make_room_for_unproven(&mut self) {
        let mut counts: Vec<(Origin, usize)> = Vec::new();
        let unproven = self.addresses.iter().filter(|known| !known.is_proven());
        for known in unproven.clone() {
            match counts
                .iter_mut()
                .find(|(origin, _)| *origin == known.origin)
            {
                Some((_, count)) => *count += 1,
                None => counts.push((known.origin, 1)),
            }
        }
        if unproven.count() >= INTRODUCED_MAX
            && let Some((origin, count)) = counts.iter().max_by_key(|(_, count)| *count)
        {
            self.drop_oldest(count - 1, |known| known.origin == *origin);
        }
    }

    /// Drops an address if the proven ones are as many as allowed. What has lasted outranks what is
    /// new, and a host that has many keys loses first.
    pub fn make_room_for_proven(&mut self, ctx: &Context, new_source: IpAddr) {
        let proven = self.addresses.iter().enumerate();
        let proven = proven.filter(|(_, known)| known.is_proven());
        if proven.clone().count() < PROVEN_ADDRESSES_MAX {
            return;
        }
        let is_of_link = |known: &KnownAddress| {
            let link = known.peer.and_then(|peer| ctx.link_to(&peer));
            link.is_some_and(|link| link.address == known.address)
        };
        let sources = proven.clone().map(|(_, known)| known.source());
        let unlinked = proven.filter(|(_, known)| !is_of_link(known));
        let ranked = unlinked.map(|(index, known)| {
            let of_source = sources.clone().filter(|source| *source == known.source());
            let is_of_new = known.source() == new_source;
            (of_source.count() + usize::from(is_of_new), index)
        });
        if let Some((_, index)) = ranked.max() {
            self.addresses.remove(index);
        }
    }

    /// Keeps at most `most` of the addresses for which `is_counted` is true.
    pub fn drop_oldest(&mut self, most: usize, is_counted: impl Fn(&KnownAddress) -> bool) {
        let count = self
            .addresses
            .iter()
            .filter(|known| is_counted(known))
            .count();
        let mut surplus = count.saturating_sub(most);
        self.addresses.retain(|known| {
            let is_dropped = surplus > 0 && is_counted(known);
            surplus -= usize::from(is_dropped);
            !is_dropped
        });
    }
}
