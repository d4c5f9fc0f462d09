//! The address book: addresses of peers that linked peers introduced, or at which a peer was
//! linked in this run or an earlier one. An address is only dialed. The handshake must prove the
//! key of its peer.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::{Output, StreamId};
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::node::connection::admission;
use crate::node::connection::liveness::{ClosedLink, HandshakeFailure, LinkEnd};
use crate::node::connection::pending_handshake::DialTarget;
use crate::node::context::Context;
use crate::node::discovery::backoff::{BACKOFF_MAX_MS, BACKOFF_MIN_MS, Backoff};
use crate::node::discovery::exchange;
use crate::node::link::Link;
use crate::node::standing::source_of;
use crate::wire::code::{ConnectionCode, is_routable, parse_endpoints};
use crate::wire::message::INTRODUCTIONS_PER_MESSAGE_MAX;

/// Maximum number of unproven addresses that the peers of one source have introduced. A new one
/// replaces the oldest of the same source.
const INTRODUCED_PER_SOURCE_MAX: usize = 32;
/// Maximum number of unproven addresses in the book. Further ones are ignored.
const INTRODUCED_MAX: usize = 256;
/// Maximum number of addresses in the book that a link has proven. The address whose last link is
/// the oldest gives way.
const PROVEN_ADDRESSES_MAX: usize = 64;
/// Maximum number of addresses of one peer. Of proven ones, the oldest gives way.
const ADDRESSES_PER_PEER_MAX: usize = 4;
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
    /// When to save the proven addresses. `None`: they are saved.
    save_at: Option<Time>,
}

impl AddressBook {
    /// A book with the addresses of an earlier run: the text of [`Output::SaveAddresses`]. Ignores
    /// lines that are no connection code.
    pub fn restore(ctx: &mut Context, text: &str) -> AddressBook {
        let mut book = AddressBook::default();
        let lines = text.lines().take(PROVEN_ADDRESSES_MAX);
        for (id, address) in lines.flat_map(parse_code) {
            if is_routable(&address) && id != ctx.own_id() && book.position(&id, address).is_none()
            {
                let delay_ms = ctx.jitter(REMEMBERED_DIAL_DELAY_MS);
                let next_attempt = ctx.now.time + delay_ms;
                book.push(id, address, Origin::Remembered, next_attempt);
            }
        }
        // The text begins with the address that was linked last.
        book.addresses.reverse();
        book
    }

    /// When to save the proven addresses.
    pub fn deadline(&self) -> Option<Time> {
        self.save_at
    }

    /// Saves the proven addresses if they have changed: one connection code a line. The address
    /// that was linked last comes first.
    pub fn save(&mut self, ctx: &mut Context) {
        if self.save_at.take().is_none() {
            return;
        }
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
        let of_peer = self.addresses.iter().filter(|known| known.peer == peer);
        let is_own = address.port() == ctx.port && ctx.is_own_address(address.ip());
        if is_own
            || self.position(&peer, address).is_some()
            || of_peer.count() >= ADDRESSES_PER_PEER_MAX
        {
            return;
        }
        let origin = Origin::Introduced(source);
        self.drop_oldest(INTRODUCED_PER_SOURCE_MAX - 1, |known| {
            known.origin == origin
        });
        let unproven = self.addresses.iter().filter(|known| !known.is_proven());
        if unproven.count() >= INTRODUCED_MAX {
            return;
        }
        let mut delay_ms = ctx.jitter(INTRODUCED_DIAL_DELAY_MS);
        if ctx.own_id() > peer {
            delay_ms += INTRODUCED_DIAL_DELAY_MS;
        }
        self.push(peer, address, origin, ctx.now.time + delay_ms);
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
        if admission::is_full(ctx) && !ctx.topology.is_partial_mesh() {
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
        let times = dials.map(|(index, known)| {
            let allowed_at = self.source_allowed_at(ctx, known.address.ip());
            (index, known.backoff.next_attempt().max(allowed_at))
        });
        // Who has waited longest comes first, so nobody can keep out an honest introduction.
        let (index, at) = times.min_by_key(|(_, at)| *at)?;
        let dials = self.recent_dials.iter();
        let allowed_at = next_start(dials, BOOK_DIALS_MAX, BOOK_DIALS_WINDOW_MS);
        Some((index, at.max(allowed_at)))
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

    /// Records that a peer is linked. Its address is proven then, unless its key ends with its
    /// program.
    pub fn link_up(&mut self, ctx: &Context, stream: StreamId, link: &Link) {
        self.clear_dial(stream);
        if link.transient || link.is_ephemeral || link.address.port() == 0 {
            return;
        }
        let (peer, address) = (link.peer.id, link.address);
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
        self.drop_oldest(PROVEN_ADDRESSES_MAX - 1, KnownAddress::is_proven);
        self.push(peer, address, origin, Time(0));
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

    /// Forgets all addresses.
    pub fn clear(&mut self) {
        self.addresses.clear();
    }
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
