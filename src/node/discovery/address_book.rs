//! The address book: addresses of peers that linked peers introduced or finders found, or at which
//! a peer was linked in this run or an earlier one. An address is only dialed. The handshake must
//! prove the key of its peer.
use std::cmp::Reverse;
use std::net::{IpAddr, SocketAddr};

use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::interface::FoundVia;
use crate::base::time::Time;
use crate::node::connection::liveness::{ClosedLink, HandshakeFailure, LinkEnd};
use crate::node::connection::pending_handshake::DialTarget;
use crate::node::context::Context;
use crate::node::discovery::address_table::{
    ADDRESSES_PER_PEER_MAX, AddressTable, PROVEN_ADDRESSES_MAX,
};
use crate::node::discovery::backoff;
use crate::node::discovery::backoff::{BACKOFF_MIN_MS, Backoff};
use crate::node::discovery::exchange;
use crate::node::discovery::known_address::{ABSENT_BACKOFF_MAX_MS, KnownAddress, Origin};
use crate::node::discovery::recent_dials::RecentDials;
use crate::node::link::Link;
use crate::node::standing::source_of;
use crate::node::topology::FULL_MESH_RESUME_PEERS;
use crate::wire::code::{ConnectionCode, is_routable, parse_endpoints};
use crate::wire::message::INTRODUCTIONS_PER_MESSAGE_MAX;

/// Longest random delay of the first dials at a start, in milliseconds. Beacons and static peers
/// find most peers earlier.
const REMEMBERED_DIAL_DELAY_MS: u64 = 2_000;
/// The same, of a transient program. It ends soon if it finds no peer.
const TRANSIENT_DIAL_DELAY_MS: u64 = 200;
/// Milliseconds from the first unsaved change of the proven addresses until they are saved.
const SAVE_ADDRESSES_DELAY_MS: u64 = 10_000;
/// Longest random delay of the first dial of an introduced or found address, in milliseconds. Both
/// peers learn of each other, so the one with the larger id waits as long in addition.
const INTRODUCED_DIAL_DELAY_MS: u64 = 200;
/// Maximum number of unproven addresses that the peers of one source have introduced. A new one
/// replaces the oldest of the same source.
const INTRODUCED_PER_SOURCE_MAX: usize = 32;

/// The addresses of introduced, found and formerly linked peers.
#[derive(Default)]
pub struct AddressBook {
    table: AddressTable,
    recent_dials: RecentDials,
    /// When to save the proven addresses, as a new one was linked. `None`: nothing is due.
    save_at: Option<Time>,
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
            if can_remember(&address)
                && id != ctx.own_id()
                && !ctx.acquaintances.is_banned(&id)
                && book.table.position(Some(id), address).is_none()
            {
                book.table
                    .push(Some(id), address, Origin::Remembered, next_attempt);
            }
        }
        // The text begins with the address that was linked last, which is dialed first.
        book.table.addresses.reverse();
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
        if std::mem::take(&mut self.table.is_changed) {
            self.save(ctx);
        }
        *self = AddressBook::default();
    }

    /// Saves the proven addresses: one connection code a line. The address that was linked last
    /// comes first.
    fn save(&self, ctx: &mut Context) {
        let mut text = String::new();
        let proven = self.table.addresses.iter().rev();
        for known in proven.filter(|known| known.is_proven()) {
            let Some(peer) = known.peer else {
                continue;
            };
            let code = ConnectionCode::new(peer, &[known.address]);
            if !code.addresses.is_empty() {
                text += &code.to_string();
                text.push('\n');
            }
        }
        ctx.emit(Output::SaveAddresses(text));
    }

    /// Records the peers that a linked peer introduces. Ignores what is no address that this peer
    /// can know, and what exceeds a bound. Returns whether an address was added.
    pub fn introduce(&mut self, ctx: &mut Context, stream: StreamId, codes: &[String]) -> bool {
        let Some(link) = ctx.links.get(&stream) else {
            return false;
        };
        let introducer = link.address.ip();
        let count = self.table.addresses.len();
        for code in codes.iter().take(INTRODUCTIONS_PER_MESSAGE_MAX) {
            for (id, address) in parse_code(code) {
                if id != ctx.own_id()
                    && !ctx.stream_by_peer.contains_key(&id)
                    && exchange::can_introduce(ctx, introducer, &address)
                {
                    let origin = Origin::Introduced(source_of(introducer));
                    self.add_unproven(ctx, Some(id), address, origin);
                }
            }
        }
        self.table.addresses.len() > count
    }

    /// Records addresses that a finder found. Ignores addresses that no peer can have there, and
    /// what exceeds a bound. Returns whether an address was added.
    pub fn record_found(
        &mut self,
        ctx: &mut Context,
        via: FoundVia,
        peer: Option<PeerId>,
        addresses: &[SocketAddr],
    ) -> bool {
        if peer == Some(ctx.own_id()) {
            return false;
        }
        let mut is_added = false;
        for address in addresses.iter().take(ADDRESSES_PER_PEER_MAX) {
            if exchange::can_be_found(ctx, via, address) {
                is_added |= self.add_unproven(ctx, peer, *address, Origin::Found(via));
            }
        }
        is_added
    }

    /// Forgets the addresses of banned peers.
    pub fn forget_banned(&mut self, ctx: &Context) {
        let is_banned = |peer: PeerId| ctx.acquaintances.is_banned(&peer);
        let addresses = &mut self.table.addresses;
        addresses.retain(|known| !known.peer.is_some_and(is_banned));
    }

    fn add_unproven(
        &mut self,
        ctx: &mut Context,
        peer: Option<PeerId>,
        address: SocketAddr,
        origin: Origin,
    ) -> bool {
        let is_own = address.port() == ctx.port && exchange::is_own_host(ctx, address.ip());
        let table = &mut self.table;
        let is_banned = peer.is_some_and(|peer| ctx.acquaintances.is_banned(&peer));
        let is_useless = is_own || is_banned || table.is_known(peer, address, origin);
        if is_useless || !peer.is_none_or(|peer| table.make_room_of_peer(peer, origin)) {
            return false;
        }
        match origin {
            Origin::Found(via) if !table.make_room_of_finder(ctx, via) => return false,
            Origin::Found(_) => {}
            _ => table.drop_oldest(INTRODUCED_PER_SOURCE_MAX - 1, |known| {
                known.origin == origin
            }),
        }
        table.make_room_for_unproven();
        let mut delay_ms = ctx.jitter(INTRODUCED_DIAL_DELAY_MS);
        if peer.is_some_and(|peer| ctx.own_id() > peer) {
            delay_ms += INTRODUCED_DIAL_DELAY_MS;
        }
        table.push(peer, address, origin, ctx.now.time + delay_ms);
        true
    }

    /// The unlinked peers of which no dial has failed.
    pub fn dialable<'a>(&'a self, ctx: &'a Context) -> impl Iterator<Item = &'a PeerId> {
        let untried = self.table.addresses.iter();
        let untried = untried.filter(|known| !known.backoff.has_failed());
        let peers = untried.filter_map(|known| known.peer.as_ref());
        peers.filter(|peer| !ctx.stream_by_peer.contains_key(*peer))
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
        let addresses = self.table.addresses.iter();
        let is_dialing = |peer: &PeerId| {
            let mut dialed = addresses.clone().filter(|it| it.dialing.is_some());
            dialed.any(|known| known.peer == Some(*peer))
        };
        let is_free = |peer: &PeerId| {
            !ctx.stream_by_peer.contains_key(peer)
                && ctx.topology.is_wanted(peer)
                && !is_dialing(peer)
                && !is_excluded(peer)
        };
        let is_linked_at = |address| {
            let mut links = ctx.links.values();
            links.any(|link| link.dialed_address == Some(address))
        };
        let dials = addresses.clone().enumerate().filter(|(_, known)| {
            let is_free = known.peer.as_ref().map(is_free);
            known.dialing.is_none() && is_free.unwrap_or_else(|| !is_linked_at(known.address))
        });
        let earliest = self.recent_dials.allowed_at().max(ctx.now.time);
        // Of the dials that may start at the same time, those to proven addresses come first. Of
        // the others, the one that has waited longest does, so nobody can keep out an honest
        // introduction.
        let times = dials.map(|(index, known)| {
            let next_attempt = known.backoff.next_attempt();
            let allowed_at = self.recent_dials.source_allowed_at(ctx, known.address.ip());
            let at = next_attempt.max(allowed_at).max(earliest);
            (at, !known.is_proven(), next_attempt, Reverse(index))
        });
        let (at, _, _, Reverse(index)) = times.min()?;
        Some((index, at))
    }

    /// Records that the dial to the address with this index has started.
    pub fn start_dial(&mut self, index: usize, stream: StreamId, now: Time) {
        let known = &mut self.table.addresses[index];
        known.dialing = Some(stream);
        self.recent_dials.record(now, known.source());
    }

    /// The target of a dial to the address with this index. Only its peer may answer, if it is
    /// named.
    pub fn target(&self, index: usize) -> DialTarget {
        DialTarget {
            address: self.table.addresses[index].address,
            interface: None,
            expected_peer: self.table.addresses[index].peer,
            is_expected: false,
        }
    }

    /// Records that a peer is linked. The address that we dialed is proven then, unless the peer's
    /// key ends with its program. Where a peer that dialed us listens, is only its word.
    pub fn link_up(&mut self, ctx: &Context, stream: StreamId, link: &Link) {
        self.table.clear_dial(stream);
        let peer = link.peer.id;
        if let Some(address) = link.dialed_address {
            self.table.set_peer(address, peer);
        }
        let Some(address) = link.dialed_address.filter(can_remember) else {
            return;
        };
        if link.transient || link.is_ephemeral {
            return;
        }
        self.table.is_changed = true;
        let known = self.table.position(Some(peer), address);
        let known = known.map(|index| self.table.addresses.remove(index));
        if !known.as_ref().is_some_and(KnownAddress::is_proven) {
            let at = ctx.now.time + SAVE_ADDRESSES_DELAY_MS;
            self.save_at.get_or_insert(at);
        }
        let origin = match known.map(|known| known.origin) {
            Some(Origin::Introduced(_)) => Origin::Confirmed(FoundVia::Exchange),
            Some(Origin::Found(via)) => Origin::Confirmed(via),
            Some(origin) => origin,
            None => Origin::Linked,
        };
        // Makes room first, so that the new address stays.
        self.table
            .drop_oldest(ADDRESSES_PER_PEER_MAX - 1, |known| known.peer == Some(peer));
        self.table
            .make_room_for_proven(ctx, source_of(address.ip()));
        self.table.push(Some(peer), address, origin, Time(0));
    }

    /// Records that a dial became no link. An unproven address is forgotten after
    /// `INTRODUCED_FAILURES_MAX` such dials, and our own address at once.
    pub fn handle_dial_failed(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        failure: HandshakeFailure,
    ) {
        let Some(index) = self.table.clear_dial(stream) else {
            return;
        };
        let known = &mut self.table.addresses[index];
        if let (None, HandshakeFailure::AlreadyLinked(peer)) = (known.peer, failure) {
            let address = known.address;
            return self.table.set_peer(address, peer);
        }
        known.record_failure(ctx);
        if failure.is_ban_by(known.peer) {
            known.backoff.delay_until(backoff::after_ban(ctx));
        }
        if failure == HandshakeFailure::OwnProgram || known.is_refuted() {
            self.table.is_changed |= known.is_proven();
            self.table.addresses.remove(index);
        }
    }

    /// Records that a link ended. After a stable link, its peer is dialed again soon. A peer that
    /// said goodbye is dialed again late: its next run dials us.
    pub fn link_down(&mut self, ctx: &mut Context, link: &ClosedLink, was_stable: bool) {
        let of_peer = |known: &&mut KnownAddress| known.peer == Some(link.peer);
        for known in self.table.addresses.iter_mut().filter(of_peer) {
            match link.end {
                LinkEnd::Left => {
                    known.backoff = Backoff::new(ctx.now.time + ABSENT_BACKOFF_MAX_MS);
                }
                _ if was_stable => known.backoff.reset(ctx, BACKOFF_MIN_MS),
                _ => known.record_failure(ctx),
            }
        }
        self.table.addresses.retain(|known| !known.is_refuted());
    }

    /// How the address of this peer was found, if the book led to a link with the peer.
    pub fn found_via(&self, peer: &PeerId) -> Option<FoundVia> {
        let of_peer = self.table.addresses.iter();
        let mut of_peer = of_peer.filter(|known| known.peer == Some(*peer));
        of_peer.find_map(|known| match known.origin {
            Origin::Introduced(_) => Some(FoundVia::Exchange),
            Origin::Found(via) | Origin::Confirmed(via) => Some(via),
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
