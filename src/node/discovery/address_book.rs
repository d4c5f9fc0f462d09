//! The address book: addresses of peers that linked peers introduced, or at which a peer was
//! linked in this run or an earlier one. An address is only dialed. The handshake must prove the
//! key of its peer.
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use crate::base::event::{Output, StreamId};
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::node::connection::liveness::{ClosedLink, HandshakeFailure, LinkEnd};
use crate::node::connection::pending_handshake::DialTarget;
use crate::node::context::Context;
use crate::node::discovery::backoff::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, Backoff};
use crate::node::discovery::exchange;
use crate::node::link::Link;
use crate::node::standing::source_of;
use crate::node::topology::FULL_MESH_RESUME_PEERS;
use crate::wire::code::{ConnectionCode, is_routable, parse_endpoints};
use crate::wire::message::INTRODUCTIONS_PER_MESSAGE_MAX;

/// Maximum number of unproven addresses that the peers of one source have introduced. A new one
/// replaces the oldest of the same source.
const INTRODUCED_PER_SOURCE_MAX: usize = 32;
/// Maximum number of unproven addresses in the book. A new one replaces the oldest of the source
/// with the most.
const INTRODUCED_MAX: usize = 256;
/// Maximum number of addresses in the book that a link has proven. Of the source with the most, the
/// address that was linked last gives way, except one of a link.
const PROVEN_ADDRESSES_MAX: usize = 64;
/// Maximum number of addresses of one peer. One whose last dial failed, or the second one of a
/// source, gives way to an introduced one, and the oldest to a proven one.
const ADDRESSES_PER_PEER_MAX: usize = 4;
/// Maximum number of unproven addresses of one peer that the peers of one source have introduced.
const ADDRESSES_PER_INTRODUCER_MAX: usize = 2;
/// Number of failed dials in succession after which an unproven address is forgotten.
const INTRODUCED_FAILURES_MAX: u32 = 6;
/// Longest backoff of a proven address, in milliseconds: 17 minutes.
const ABSENT_BACKOFF_MAX_MS: u64 = 1_024_000;
/// Maximum number of dials of the book that start within [`BOOK_DIALS_WINDOW_MS`].
const BOOK_DIALS_MAX: usize = 8;
/// See [`BOOK_DIALS_MAX`]: one dial a second, on average.
const BOOK_DIALS_WINDOW_MS: u64 = 8_000;
/// Maximum number of dials of the book to one source that start within
/// [`SOURCE_DIALS_WINDOW_MS`]. Whoever introduces addresses of a host, the host gets no more.
const SOURCE_DIALS_MAX: usize = 4;
/// See [`SOURCE_DIALS_MAX`].
const SOURCE_DIALS_WINDOW_MS: u64 = 60_000;
/// Longest random delay of the first dials at a start, in milliseconds. Beacons and static peers
/// find most peers earlier.
const REMEMBERED_DIAL_DELAY_MS: u64 = 2_000;
/// The same, of a transient program. It ends soon if it finds no peer.
const TRANSIENT_DIAL_DELAY_MS: u64 = 200;
/// Milliseconds from the first unsaved change of the proven addresses until they are saved.
const SAVE_ADDRESSES_DELAY_MS: u64 = 10_000;
/// Longest random delay of the first dial of an introduced address, in milliseconds. Both peers are
/// introduced to each other, so the one with the larger id waits as long in addition.
const INTRODUCED_DIAL_DELAY_MS: u64 = 200;

/// Why an address is in the book.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A linked peer of this source introduced the address. No link has proven it.
    Introduced(IpAddr),
    /// As [`Origin::Introduced`]. A link has proven the address since.
    Confirmed,
    /// The peer was linked at the address in an earlier run.
    Remembered,
    /// The peer was linked at the address, which was found in another way.
    Linked,
}

/// An address of a peer.
struct KnownAddress {
    peer: PeerId,
    address: SocketAddr,
    origin: Origin,
    backoff: Backoff,
    /// The dial under way.
    dialing: Option<StreamId>,
}

impl KnownAddress {
    fn is_proven(&self) -> bool {
        !matches!(self.origin, Origin::Introduced(_))
    }

    /// The host at which the address is dialed.
    fn source(&self) -> IpAddr {
        source_of(self.address.ip())
    }

    /// Counts a failed dial, or a link that ended soon.
    fn record_failure(&mut self, ctx: &mut Context) {
        let longest_ms = match self.is_proven() {
            true => ABSENT_BACKOFF_MAX_MS,
            false => BACKOFF_MAX_MS,
        };
        self.backoff.record_failure(ctx, longest_ms);
    }

    /// Whether the address was introduced, never linked, and too many dials have failed.
    fn is_refuted(&self) -> bool {
        !self.is_proven() && self.backoff.failures() >= INTRODUCED_FAILURES_MAX
    }
}

/// The addresses of introduced and formerly linked peers.
#[derive(Default)]
pub struct AddressBook {
    /// The addresses. Of the proven ones, the one that was linked last is the last.
    addresses: Vec<KnownAddress>,
    /// The dials of the last [`SOURCE_DIALS_WINDOW_MS`], the latest last. The rate of dials bounds
    /// their number.
    recent_dials: Vec<(Time, IpAddr)>,
    /// When to save the proven addresses, as a new one was linked. `None`: nothing is due.
    save_at: Option<Time>,
    /// Whether the proven addresses or their order have changed in this run.
    is_changed: bool,
}

impl AddressBook {
    /// A book with the addresses of an earlier run: the text of [`Output::SaveAddresses`]. Ignores
    /// lines that are no connection code.
    pub fn restore(ctx: &mut Context, text: &str) -> AddressBook {
        let mut book = AddressBook::default();
        if text.is_empty() {
            return book;
        }
        let longest_ms = match ctx.transient {
            true => TRANSIENT_DIAL_DELAY_MS,
            false => REMEMBERED_DIAL_DELAY_MS,
        };
        let next_attempt = ctx.now.time + ctx.jitter(longest_ms);
        let lines = text.lines().take(PROVEN_ADDRESSES_MAX);
        for (id, address) in lines.flat_map(parse_code) {
            if can_remember(&address) && id != ctx.own_id() && book.position(&id, address).is_none()
            {
                book.push(id, address, Origin::Remembered, next_attempt);
            }
        }
        // The text begins with the address that was linked last, which is dialed first.
        book.addresses.reverse();
        book
    }

    /// When to save the proven addresses.
    pub fn deadline(&self) -> Option<Time> {
        self.save_at
    }

    /// Saves the proven addresses if that is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        let now = ctx.now.time;
        if self.save_at.take_if(|at| *at <= now).is_some() {
            self.save(ctx);
        }
    }

    /// Saves and forgets all addresses, as this program leaves. Also saves a change that was saved
    /// before, in case the file could not be written then.
    pub fn finish(&mut self, ctx: &mut Context) {
        if std::mem::take(&mut self.is_changed) {
            self.save(ctx);
        }
        *self = AddressBook::default();
    }

    /// Saves the proven addresses: one connection code a line. The address that was linked last
    /// comes first.
    fn save(&self, ctx: &mut Context) {
        let mut text = String::new();
        for known in self
            .addresses
            .iter()
            .rev()
            .filter(|known| known.is_proven())
        {
            let code = ConnectionCode::new(known.peer, &[known.address]);
            if !code.addresses.is_empty() {
                text += &code.to_string();
                text.push('\n');
            }
        }
        ctx.emit(Output::SaveAddresses(text));
    }

    fn position(&self, peer: &PeerId, address: SocketAddr) -> Option<usize> {
        let mut addresses = self.addresses.iter();
        addresses.position(|known| known.peer == *peer && known.address == address)
    }

    fn push(&mut self, peer: PeerId, address: SocketAddr, origin: Origin, next_attempt: Time) {
        self.addresses.push(KnownAddress {
            peer,
            address,
            origin,
            backoff: Backoff::new(next_attempt),
            dialing: None,
        });
    }

    /// Records the peers that a linked peer introduces. Ignores what is no address that this peer
    /// can know, and what exceeds a bound. Returns whether an address was added.
    pub fn introduce(&mut self, ctx: &mut Context, stream: StreamId, codes: &[String]) -> bool {
        let Some(link) = ctx.links.get(&stream) else {
            return false;
        };
        let introducer = link.address.ip();
        let count = self.addresses.len();
        for code in codes.iter().take(INTRODUCTIONS_PER_MESSAGE_MAX) {
            for (id, address) in parse_code(code) {
                if id != ctx.own_id()
                    && !ctx.stream_by_peer.contains_key(&id)
                    && exchange::can_introduce(ctx, introducer, &address)
                {
                    self.add_introduced(ctx, id, address, source_of(introducer));
                }
            }
        }
        self.addresses.len() > count
    }

    fn add_introduced(
        &mut self,
        ctx: &mut Context,
        peer: PeerId,
        address: SocketAddr,
        source: IpAddr,
    ) {
        let is_own = address.port() == ctx.port && ctx.is_own_address(address.ip());
        if is_own
            || self.position(&peer, address).is_some()
            || !self.make_room_of_peer(&peer, source)
        {
            return;
        }
        let origin = Origin::Introduced(source);
        self.drop_oldest(INTRODUCED_PER_SOURCE_MAX - 1, |known| {
            known.origin == origin
        });
        self.make_room_for_unproven();
        let mut delay_ms = ctx.jitter(INTRODUCED_DIAL_DELAY_MS);
        if ctx.own_id() > peer {
            delay_ms += INTRODUCED_DIAL_DELAY_MS;
        }
        self.push(peer, address, origin, ctx.now.time + delay_ms);
    }

    /// Whether the peer may have one more address, introduced from this source. To make room,
    /// drops an address whose last dial failed, or the second one of another source.
    fn make_room_of_peer(&mut self, peer: &PeerId, source: IpAddr) -> bool {
        let of_peer = self.addresses.iter().filter(|known| known.peer == *peer);
        let count_from = |origin| of_peer.clone().filter(|it| it.origin == origin).count();
        let origin = Origin::Introduced(source);
        let from_source = count_from(origin);
        let is_source_full = from_source >= ADDRESSES_PER_INTRODUCER_MAX;
        if !is_source_full && of_peer.clone().count() < ADDRESSES_PER_PEER_MAX {
            return true;
        }
        // The peer may return to the address at which it was linked last.
        let mut addresses = self.addresses.iter();
        let linked_last = addresses.rposition(|known| known.peer == *peer && known.is_proven());
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
                (known.peer == *peer && !is_kept && may_go).then_some((
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

    /// Drops an unproven address if they are as many as allowed: the oldest of the source that has
    /// introduced most of them.
    fn make_room_for_unproven(&mut self) {
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

    /// The unlinked peers of which no dial has failed.
    pub fn dialable<'a>(&'a self, ctx: &'a Context) -> impl Iterator<Item = &'a PeerId> {
        let dialable = self.addresses.iter().filter(|known| {
            !known.backoff.has_failed() && !ctx.stream_by_peer.contains_key(&known.peer)
        });
        dialable.map(|known| &known.peer)
    }

    /// From when on the source of this address may be dialed. Dials of our own host reach no third
    /// party.
    fn source_allowed_at(&self, ctx: &Context, address: IpAddr) -> Time {
        if exchange::is_own_host(ctx, address) {
            return Time(0);
        }
        let source = source_of(address);
        let dials = self.recent_dials.iter();
        let of_source = dials.filter(|(_, dialed)| *dialed == source);
        next_start(of_source, SOURCE_DIALS_MAX, SOURCE_DIALS_WINDOW_MS)
    }

    /// The address whose dial is due first, by its index, and when. Leaves out peers that are
    /// linked, not wanted, or being dialed, and those for which `is_excluded` is true.
    pub fn next_dial(
        &self,
        ctx: &Context,
        is_excluded: impl Fn(&PeerId) -> bool,
    ) -> Option<(usize, Time)> {
        // In a full mesh, the last links are left to those who find us otherwise. Introductions
        // alone would fill them at all peers of a large network, and newcomers would be refused.
        if !ctx.topology.is_partial_mesh() && ctx.links.len() >= FULL_MESH_RESUME_PEERS {
            return None;
        }
        let is_dialing = |peer: &PeerId| {
            let mut dialed = self.addresses.iter().filter(|it| it.dialing.is_some());
            dialed.any(|known| known.peer == *peer)
        };
        let dials = self.addresses.iter().enumerate().filter(|(_, known)| {
            !ctx.stream_by_peer.contains_key(&known.peer)
                && ctx.topology.is_wanted(&known.peer)
                && !is_dialing(&known.peer)
                && !is_excluded(&known.peer)
        });
        let recent = self.recent_dials.iter();
        let allowed_at = next_start(recent, BOOK_DIALS_MAX, BOOK_DIALS_WINDOW_MS);
        let earliest = allowed_at.max(ctx.now.time);
        // Of the dials that may start at the same time, those to proven addresses come first. Of
        // the others, the one that has waited longest does, so nobody can keep out an honest
        // introduction.
        let times = dials.map(|(index, known)| {
            let next_attempt = known.backoff.next_attempt();
            let allowed_at = self.source_allowed_at(ctx, known.address.ip());
            let at = next_attempt.max(allowed_at).max(earliest);
            (at, !known.is_proven(), next_attempt, Reverse(index))
        });
        let (at, _, _, Reverse(index)) = times.min()?;
        Some((index, at))
    }

    /// The target of a dial to the address with this index. Only its peer may answer.
    pub fn target(&self, index: usize) -> DialTarget {
        DialTarget {
            address: self.addresses[index].address,
            interface: None,
            expected_peer: Some(self.addresses[index].peer),
            is_expected: false,
        }
    }

    /// Records that the dial to the address with this index has started.
    pub fn start_dial(&mut self, index: usize, stream: StreamId, now: Time) {
        let known = &mut self.addresses[index];
        known.dialing = Some(stream);
        let source = source_of(known.address.ip());
        self.recent_dials
            .retain(|(at, _)| *at + SOURCE_DIALS_WINDOW_MS > now);
        self.recent_dials.push((now, source));
    }

    /// Records that a peer is linked. The address that we dialed is proven then, unless the peer's
    /// key ends with its program. Where a peer that dialed us listens, is only its word.
    pub fn link_up(&mut self, ctx: &Context, stream: StreamId, link: &Link) {
        self.clear_dial(stream);
        let Some(address) = link.dialed_address.filter(can_remember) else {
            return;
        };
        if link.transient || link.is_ephemeral {
            return;
        }
        let peer = link.peer.id;
        self.is_changed = true;
        let known = self.position(&peer, address);
        let known = known.map(|index| self.addresses.remove(index));
        if !known.as_ref().is_some_and(KnownAddress::is_proven) {
            let at = ctx.now.time + SAVE_ADDRESSES_DELAY_MS;
            self.save_at.get_or_insert(at);
        }
        let origin = match known.map(|known| known.origin) {
            Some(Origin::Introduced(_)) => Origin::Confirmed,
            Some(origin) => origin,
            None => Origin::Linked,
        };
        // Makes room first, so that the new address stays.
        self.drop_oldest(ADDRESSES_PER_PEER_MAX - 1, |known| known.peer == peer);
        self.make_room_for_proven(ctx, source_of(address.ip()));
        self.push(peer, address, origin, Time(0));
    }

    /// Drops an address if the proven ones are as many as allowed. What has lasted outranks what is
    /// new, and a host that has many keys loses first.
    fn make_room_for_proven(&mut self, ctx: &Context, new_source: IpAddr) {
        let proven = self.addresses.iter().enumerate();
        let proven = proven.filter(|(_, known)| known.is_proven());
        if proven.clone().count() < PROVEN_ADDRESSES_MAX {
            return;
        }
        let is_of_link = |known: &KnownAddress| {
            let link = ctx.link_to(&known.peer);
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
    fn drop_oldest(&mut self, most: usize, is_counted: impl Fn(&KnownAddress) -> bool) {
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

    fn clear_dial(&mut self, stream: StreamId) -> Option<usize> {
        let mut addresses = self.addresses.iter();
        let index = addresses.position(|known| known.dialing == Some(stream))?;
        self.addresses[index].dialing = None;
        Some(index)
    }

    /// Records that a dial became no link. An introduced address is forgotten after
    /// [`INTRODUCED_FAILURES_MAX`] such dials, and our own address at once.
    pub fn handle_dial_failed(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        failure: HandshakeFailure,
    ) {
        let Some(index) = self.clear_dial(stream) else {
            return;
        };
        let known = &mut self.addresses[index];
        known.record_failure(ctx);
        if failure == HandshakeFailure::OwnProgram || known.is_refuted() {
            self.is_changed |= known.is_proven();
            self.addresses.remove(index);
        }
    }

    /// Records that a link ended. After a stable link, its peer is dialed again soon. A peer that
    /// said goodbye is dialed again late: its next run dials us.
    pub fn link_down(&mut self, ctx: &mut Context, link: &ClosedLink, was_stable: bool) {
        let of_peer = |known: &&mut KnownAddress| known.peer == link.peer;
        for known in self.addresses.iter_mut().filter(of_peer) {
            match link.end {
                LinkEnd::Left => {
                    known.backoff = Backoff::new(ctx.now.time + ABSENT_BACKOFF_MAX_MS);
                }
                _ if was_stable => known.backoff.reset(ctx, BACKOFF_MIN_MS),
                _ => known.record_failure(ctx),
            }
        }
        self.addresses.retain(|known| !known.is_refuted());
    }

    /// How the address of this peer was found, if the book led to a link with the peer.
    pub fn found_via(&self, peer: &PeerId) -> Option<FoundVia> {
        let mut of_peer = self.addresses.iter().filter(|known| known.peer == *peer);
        of_peer.find_map(|known| match known.origin {
            Origin::Introduced(_) | Origin::Confirmed => Some(FoundVia::Exchange),
            Origin::Remembered => Some(FoundVia::Remembered),
            Origin::Linked => None,
        })
    }
}

/// Whether an address means the same host in a later run.
fn can_remember(address: &SocketAddr) -> bool {
    is_routable(address) && !address.ip().is_loopback()
}

/// The id and the addresses of a connection code, at most [`ADDRESSES_PER_PEER_MAX`]. None, if the
/// text is malformed or has no id. Host names are left out: a peer cannot make us resolve a name.
fn parse_code(text: &str) -> Vec<(PeerId, SocketAddr)> {
    let endpoints = parse_endpoints(text).unwrap_or_default();
    let addresses = endpoints.into_iter().filter_map(|endpoint| {
        let ip: IpAddr = endpoint.host.parse().ok()?;
        // An IPv6 address that stands for an IPv4 address is that address.
        Some((
            endpoint.peer?,
            SocketAddr::new(ip.to_canonical(), endpoint.port),
        ))
    });
    addresses.take(ADDRESSES_PER_PEER_MAX).collect()
}

/// When one more dial may start, if at most `most` of these dials start within `window_ms`.
fn next_start<'a>(
    dials: impl DoubleEndedIterator<Item = &'a (Time, IpAddr)>,
    most: usize,
    window_ms: u64,
) -> Time {
    let oldest = dials.rev().nth(most - 1);
    oldest.map_or(Time(0), |(at, _)| *at + window_ms)
}
