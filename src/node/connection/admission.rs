//! Decides which peers get a link. Bounds the number of links, and keeps one link for each peer.
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::base::time::Time;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::connection::pending_handshake::HANDSHAKE_TIMEOUT_MS;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::topology::{LINKS_MAX, TRANSIENT_LINKS_MAX};
use crate::wire::message::{ByeReason, Hello};

/// What to do with a finished handshake. Depends on the existing link to the same peer.
pub enum Conflict {
    /// The peer has no link yet. Establish the new link.
    None,
    /// The peer has a link on this stream. Close that link and establish the new one.
    Replace(StreamId),
    /// The peer has a link on this stream, which stays. Reject the new handshake.
    KeepExisting(StreamId),
    /// The link on this stream leads to another run of the peer. Ping that run to learn whether it
    /// is alive.
    Probe(StreamId),
}

/// Returns the reason to refuse the sender of this hello, or `None` to admit the sender. To make
/// room, may close a link that the topology does not want.
pub fn refuse(
    ctx: &mut Context,
    stream: StreamId,
    hello: &Hello,
    expected_peer: Option<PeerId>,
    events: &mut Vec<LinkEvent>,
) -> Option<ByeReason> {
    let peer = hello.sender;
    if peer == ctx.own_id() {
        // Our own key never gets a link. The handshake reports the duplicate identity later.
        return None;
    }
    if expected_peer.is_some_and(|expected| expected != peer) {
        let nick = Nick::new_or_placeholder(&hello.username);
        events.push(LinkEvent::UnexpectedPeer(stream, Peer { id: peer, nick }));
        return Some(ByeReason::UnexpectedPeer);
    }
    if ctx.acquaintances.is_banned(&peer) {
        return Some(ByeReason::Banned);
    }
    let is_linked = ctx.stream_by_peer.contains_key(&peer);
    if !is_linked && !reserve_link_slot(ctx, &peer, hello.passing, events) {
        return Some(ByeReason::Full);
    }
    None
}

/// Whether our hello must wait for the hello of the peer with this Noise key, because the peer may
/// be refused. It may be banned. On an accepted stream, a bound may be reached. On a dialed stream,
/// the user may have named another peer, or the peer may be linked already.
pub fn must_wait_for_hello(
    ctx: &Context,
    stream: StreamId,
    key: [u8; 32],
    expected_peer: Option<PeerId>,
) -> bool {
    if ctx.acquaintances.is_banned_noise_key(&key) {
        return true;
    }
    let mut links = ctx.links.values();
    let is_linked = links.any(|link| link.channel.remote_static_key() == key);
    match stream.is_dialed() {
        true => is_linked || expected_peer.is_some_and(|peer| peer.noise_key() != Some(key)),
        false => !is_linked && is_full(ctx),
    }
}

/// Decides between this handshake and an existing link to the same peer. If the link leads to
/// another run of the peer, that run must be pinged first.
///
/// Otherwise both streams lead to the same run. While a dialer's hello is not sent, the dialer can
/// close its stream unnoticed, and keeps the link. If each side dialed one stream, the stream
/// dialed by the side with the smaller id stays. If one side dialed both, the newer stream stays.
///
/// A stream that was accepted `HANDSHAKE_TIMEOUT_MS` after the link was established replaces the
/// link. By then the link is established at the peer, too, which would have sent no hello as a
/// dialer if it had not lost the link. `started_at`: when the stream was accepted or dialed.
pub fn resolve_conflict(
    ctx: &Context,
    stream: StreamId,
    hello: &Hello,
    is_hello_sent: bool,
    started_at: Time,
) -> Conflict {
    let Some(&existing) = ctx.stream_by_peer.get(&hello.sender) else {
        return Conflict::None;
    };
    let link = ctx.links.get(&existing);
    let Some(link) = link.filter(|link| link.run == hello.run) else {
        return Conflict::Probe(existing);
    };
    if !stream.is_dialed() && link.established_at + HANDSHAKE_TIMEOUT_MS < started_at {
        return Conflict::Replace(existing);
    }
    let is_redundant_dial = stream.is_dialed() && !is_hello_sent;
    let smaller_id_dialed = |s: StreamId| s.is_dialed() == (ctx.own_id() < hello.sender);
    match is_redundant_dial || smaller_id_dialed(existing) && !smaller_id_dialed(stream) {
        true => Conflict::KeepExisting(existing),
        false => Conflict::Replace(existing),
    }
}

/// Whether one more link to a peer that is not transient would exceed a bound. [`LINKS_MAX`] bounds
/// the links to such peers. `LINKS_MAX + TRANSIENT_LINKS_MAX` bounds all links.
pub fn is_full(ctx: &Context) -> bool {
    let staying = ctx.links.values().filter(|link| !link.transient);
    staying.count() >= LINKS_MAX || ctx.links.len() >= LINKS_MAX + TRANSIENT_LINKS_MAX
}

/// Returns whether this peer may get a link. To make room for a peer that the topology wants,
/// closes the link of an unwanted peer. A transient peer neither gains nor loses a link that way.
fn reserve_link_slot(
    ctx: &mut Context,
    peer: &PeerId,
    is_transient: bool,
    events: &mut Vec<LinkEvent>,
) -> bool {
    if is_transient {
        return ctx.links.len() < LINKS_MAX + TRANSIENT_LINKS_MAX;
    }
    if !is_full(ctx) {
        return true;
    }
    let is_unwanted = |link: &Link| !link.transient && !ctx.topology.is_wanted(&link.peer.id);
    let unwanted = ctx.links.iter().filter(|(_, link)| is_unwanted(link));
    // Prefers a link that we dialed. If the other side dialed a link, that side may still want it.
    let unwanted = unwanted.map(|(stream, _)| (!stream.is_dialed(), *stream));
    match unwanted.min() {
        Some((_, stream)) if ctx.topology.is_wanted(peer) => {
            liveness::close(ctx, stream, ByeReason::Full, events);
            true
        }
        _ => false,
    }
}
