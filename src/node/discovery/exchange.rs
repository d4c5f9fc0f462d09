//! Peer exchange: introduces linked peers to each other, so that each can dial the others. One
//! `--peer` is then enough to join a whole mesh.
use std::net::{IpAddr, SocketAddr};

use crate::base::event::stream_id::StreamId;
use crate::base::interface::FoundVia;
use crate::base::name::Room;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::discovery::discovered_peers::DiscoveredPeers;
use crate::node::link::Link;
use crate::node::timer::{Deadlines, Timer};
use crate::node::topology::Rings;
use crate::wire::code::{ConnectionCode, is_dialable, is_routable};
use crate::wire::message::{INTRODUCTIONS_PER_MESSAGE_MAX, Message};

/// Milliseconds from the first link that is not introduced yet to the introductions. By then, peers
/// that find each other by beacons are linked, and their `members` say so.
const INTRODUCTION_DELAY_MS: u64 = 1_000;
/// Milliseconds that each link adds to this delay. With many links, `members` are sent later.
const INTRODUCTION_DELAY_PER_LINK_MS: u64 = 40;
/// Lowest port of a service of multicast DNS that is dialed. Lower ones are those of the system.
const MDNS_FOUND_PORT_MIN: u16 = 1024;

/// Schedules the introductions. A link gets those peers that were linked since the introductions
/// before, and that its peer does not advertise as linked.
#[derive(Default)]
pub struct PeerExchange {
    /// Since when newly linked peers wait to be introduced.
    waiting_since: Option<Time>,
    /// The address that a gateway maps to us, with another port than ours.
    mapped: Option<SocketAddr>,
}

impl PeerExchange {
    /// Schedules introductions, as the peer of this stream is newly linked.
    pub fn link_up(&mut self, ctx: &mut Context, stream: StreamId) {
        let is_transient = ctx.links.get(&stream).is_none_or(|link| link.transient);
        if !is_transient && !ctx.transient {
            self.schedule(ctx);
            self.send_mapped(ctx, stream);
        }
    }

    fn schedule(&mut self, ctx: &Context) {
        self.waiting_since.get_or_insert(ctx.now.time);
    }

    /// When to send the introductions. While many peers start, each new link postpones them, as it
    /// postpones the `members` that make them needless.
    fn due_at(&self, ctx: &Context) -> Option<Time> {
        let per_link_ms = INTRODUCTION_DELAY_PER_LINK_MS * ctx.links.len() as u64;
        self.waiting_since
            .map(|since| since + INTRODUCTION_DELAY_MS + per_link_ms)
    }

    /// Tells the linked peers the address that a gateway maps to us. With our own port, it is the
    /// address that they expect. `None`: peers that are linked from now on are told none.
    pub fn handle_mapping(&mut self, ctx: &mut Context, address: Option<SocketAddr>) {
        self.mapped = address.filter(|mapped| mapped.port() != ctx.port);
        for stream in ctx.streams() {
            self.send_mapped(ctx, stream);
        }
    }

    fn send_mapped(&self, ctx: &mut Context, stream: StreamId) {
        if let Some(mapped) = self.mapped {
            let code = ConnectionCode::new(ctx.own_id(), &[mapped]);
            let peers = vec![code.to_string()];
            ctx.send(stream, &Message::Peers { peers });
        }
    }

    /// Records the address that a gateway maps to the peer of this link, as the peer says. Its host
    /// must be the one from which the peer dialed us: only the port is believed, and only dialed.
    pub fn handle_peers(&mut self, ctx: &mut Context, stream: StreamId, codes: &[String]) {
        let now = ctx.now.time;
        let Some(link) = ctx.links.get_mut(&stream) else {
            return;
        };
        let mut codes = codes.iter().flat_map(|code| code.parse());
        let own: Option<ConnectionCode> =
            codes.find(|code: &ConnectionCode| code.id == link.peer.id);
        let mut addresses = own.into_iter().flat_map(|code| code.addresses);
        let Some(mapped) = addresses.find(|mapped| mapped.ip() == link.address.ip()) else {
            return;
        };
        let is_first = link.mapped.is_none();
        let since = link.mapped.map_or(now, |(_, since)| since);
        link.mapped = Some((mapped, since));
        if is_first {
            self.schedule(ctx);
        }
    }

    /// Sends the introductions if they are due.
    pub fn handle_timeout(&mut self, ctx: &mut Context, discovered: &DiscoveredPeers) {
        let now = ctx.now.time;
        if self.due_at(ctx).is_none_or(|at| at > now) {
            return;
        }
        self.waiting_since = None;
        for stream in ctx.streams() {
            let Some(link) = ctx.links.get(&stream) else {
                continue;
            };
            let peers = introductions(ctx, discovered, link);
            if !peers.is_empty() {
                ctx.send(stream, &Message::Peers { peers });
            }
            if let Some(link) = ctx.links.get_mut(&stream) {
                link.introduced_until = now;
            }
        }
    }

    /// Adds the time at which to send introductions.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::IntroducePeers, self.due_at(ctx));
    }
}

/// The connection codes of the peers to introduce to the peer of this link.
fn introductions(ctx: &Context, discovered: &DiscoveredPeers, receiver: &Link) -> Vec<String> {
    if receiver.transient {
        return Vec::new();
    }
    let rings = neighbour_rings(ctx, receiver);
    let is_wanted = |link: &Link| {
        rings.as_ref().is_none_or(|rings| {
            rings.iter().any(|(room, rings)| {
                link.shared_rooms.contains(*room)
                    && rings.is_neighbour(&receiver.peer.id, &link.peer.id)
            })
        })
    };
    let new = ctx.links.values().filter(|link| {
        !link.transient
            && link.peer.id != receiver.peer.id
            && introducible_since(link) >= receiver.introduced_until
            && !advertises_link(receiver, link)
            && is_wanted(link)
    });
    let codes = new.filter_map(|link| code_for(ctx, discovered, receiver, link));
    codes.take(INTRODUCTIONS_PER_MESSAGE_MAX).collect()
}

/// Since when the addresses of the peer are as they are.
fn introducible_since(link: &Link) -> Time {
    let mapped_at = link.mapped.map_or(Time(0), |(_, since)| since);
    link.established_at.max(mapped_at)
}

/// Whether the peer of `receiver` advertises that it is linked with the peer of `link`.
fn advertises_link(receiver: &Link, link: &Link) -> bool {
    let mut rooms = receiver.routes.values();
    rooms.any(|routes| {
        routes
            .get(&link.peer.id)
            .is_some_and(|route| route.hops == 1)
    })
}

/// The rings of a receiver over the members that we are linked with, one for each shared room. Its
/// neighbours there are nearer than those that it has, or the same. By such introductions, rings
/// form from any connected graph in a few rounds (T-Man; Jelasity and Babaoglu, 2005). `None` in a
/// full mesh.
fn neighbour_rings<'a>(ctx: &Context, receiver: &'a Link) -> Option<Vec<(&'a Room, Rings)>> {
    let rooms = receiver.shared_rooms.iter();
    let rings = rooms.map(|room| {
        let mut rings = Rings::default();
        for (_, member) in ctx.links_in_room(room) {
            rings.add(&receiver.peer.id, &member.peer.id);
        }
        (room, rings)
    });
    ctx.topology.is_partial_mesh().then(|| rings.collect())
}

/// The connection code of a linked peer, with the addresses that the receiver may be able to dial.
/// A link over link-local IPv6 has none, so those in the peer's beacons follow.
fn code_for(
    ctx: &Context,
    discovered: &DiscoveredPeers,
    receiver: &Link,
    link: &Link,
) -> Option<String> {
    let mapped = link.mapped.map(|(address, _)| address);
    let of_link = [link.dialed_address, mapped, Some(link.address)];
    let of_beacons = discovered.get(&link.peer.id).into_iter();
    let of_beacons = of_beacons.flat_map(|peer| peer.candidates.iter().map(|it| it.address));
    let addresses = of_link.into_iter().flatten().chain(of_beacons);
    let useful = addresses.filter(|at| can_introduce(ctx, receiver.address.ip(), at));
    let code = ConnectionCode::new(link.peer.id, &useful.collect::<Vec<SocketAddr>>());
    (!code.addresses.is_empty()).then(|| code.to_string())
}

/// Whether a peer at `other` can know this address, or dial it: the rule for sending and for
/// receiving an introduction. Addresses that mean something on one host, one link or one site only
/// do not leave it.
pub fn can_introduce(ctx: &Context, other: IpAddr, address: &SocketAddr) -> bool {
    let ip = address.ip();
    if !is_routable(address) || is_reserved(ip) {
        return false;
    }
    let is_same_scope = match scope(ip) {
        Scope::Host => false,
        Scope::Link => is_same_link(ctx, ip, other),
        Scope::Site => scope(other) != Scope::Global,
        Scope::Global => true,
    };
    is_same_scope || is_own_host(ctx, other)
}

/// Whether a finder of this kind may be right that a peer listens at this address. Anybody on a
/// link can answer a query of mDNS. So an answer cannot make us dial hosts elsewhere, nor services
/// of the hosts that are there.
pub fn can_be_found(ctx: &Context, via: FoundVia, address: &SocketAddr) -> bool {
    let ip = address.ip();
    let is_near = || {
        let mut interfaces = ctx.interfaces.iter();
        is_own_host(ctx, ip) || interfaces.any(|it| ctx.is_on_link(it.index, ip))
    };
    let is_possible = is_dialable(address) && !is_reserved(ip);
    is_possible && (via != FoundVia::Mdns || address.port() >= MDNS_FOUND_PORT_MIN && is_near())
}

/// Whether this address is one of our own host.
pub fn is_own_host(ctx: &Context, address: IpAddr) -> bool {
    address.is_loopback() || ctx.is_own_address(address)
}

/// Whether these addresses lie on one link of ours. Another link may give the same link-local
/// address to another host.
fn is_same_link(ctx: &Context, a: IpAddr, b: IpAddr) -> bool {
    let mut interfaces = ctx.interfaces.iter().map(|interface| interface.index);
    scope(b) == Scope::Link && interfaces.any(|i| ctx.is_on_link(i, a) && ctx.is_on_link(i, b))
}

/// Whether no host has this address: 0.0.0.0/8, and 240.0.0.0/4 with the broadcast address.
fn is_reserved(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(ip) if matches!(ip.octets()[0], 0 | 240..))
}

/// Where an address means the same host.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Host,
    Link,
    /// Private addresses (RFC 1918, RFC 4193, and the deprecated fec0::/10), those of a provider's
    /// network (RFC 6598), and those of a test network (RFC 2544).
    Site,
    Global,
}

/// Whether the address means the same host everywhere.
pub fn is_global(address: IpAddr) -> bool {
    scope(address.to_canonical()) == Scope::Global
}

fn scope(address: IpAddr) -> Scope {
    let (is_link_local, is_private) = match address {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            let is_shared = (a == 100 && b & 0xc0 == 64) || (a == 198 && b & 0xfe == 18);
            (ip.is_link_local(), ip.is_private() || is_shared)
        }
        IpAddr::V6(ip) => {
            let is_site_local = ip.segments()[0] & 0xffc0 == 0xfec0;
            (
                ip.is_unicast_link_local(),
                ip.is_unique_local() || is_site_local,
            )
        }
    };
    match address.is_loopback() {
        true => Scope::Host,
        false if is_link_local => Scope::Link,
        false if is_private => Scope::Site,
        false => Scope::Global,
    }
}
