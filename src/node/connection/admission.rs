//! Decides which peers get a link: bounds the number of links, and keeps one for each peer.
use crate::base::event::{Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::topology::{LINKS_MAX, TRANSIENT_LINKS_MAX};
use crate::wire::message::{ByeReason, Hello};

/// What to do with a handshake whose peer may be linked already.
pub enum Conflict {
    /// The peer has no link: establish this one.
    None,
    /// The link on this stream has lost against the new one: replace it.
    Replace(StreamId),
    /// The existing link stays: reject the new one.
    KeepExisting,
    /// The link on this stream leads to another run of the peer: ask it whether it is alive.
    Probe(StreamId),
}

/// Why the peer of this hello gets no link; `None`: it is admitted. May end an unwanted link to
/// make room.
pub fn refuse(
    ctx: &mut Context,
    stream: StreamId,
    hello: &Hello,
    expected_peer: Option<PeerId>,
    events: &mut Vec<LinkEvent>,
) -> Option<ByeReason> {
    let peer = hello.sender;
    if peer == ctx.own_id() {
        // Not a link in any case: the handshake reports the duplicate identity.
        return None;
    }
    if expected_peer.is_some_and(|expected| expected != peer) {
        let nick = Nick::new_or_placeholder(&hello.username);
        events.push(LinkEvent::UnexpectedPeer(stream, Peer { id: peer, nick }));
        return Some(ByeReason::UnexpectedPeer);
    }
    let is_linked = ctx.stream_by_peer.contains_key(&peer);
    if !is_linked && !reserve_link_slot(ctx, &peer, hello.passing, events) {
        return Some(ByeReason::Full);
    }
    None
}

/// Which of two links to one peer stays. Between the same two runs it is the one that the peer with
/// the smaller id dialed; both sides decide alike.
pub fn resolve_conflict(ctx: &Context, stream: StreamId, hello: &Hello) -> Conflict {
    let Some(&existing) = ctx.stream_by_peer.get(&hello.sender) else {
        return Conflict::None;
    };
    let link = ctx.links.get(&existing);
    if link.is_none_or(|link| link.run != hello.run) {
        return Conflict::Probe(existing);
    }
    let smaller_id_dialed = |s: StreamId| s.is_dialed() == (ctx.own_id() < hello.sender);
    match smaller_id_dialed(existing) && !smaller_id_dialed(stream) {
        true => Conflict::KeepExisting,
        false => Conflict::Replace(existing),
    }
}

/// Whether the links to staying peers, or all links, have reached their bound.
pub fn is_full(ctx: &Context) -> bool {
    let staying = ctx.links.values().filter(|link| !link.transient);
    staying.count() >= LINKS_MAX || ctx.links.len() >= LINKS_MAX + TRANSIENT_LINKS_MAX
}

/// Whether one more link has a place. For a wanted peer the link to an unwanted one is ended.
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
    // Prefer a link that we dialed: the other side may want those that it dialed.
    let unwanted = unwanted.map(|(stream, _)| (!stream.is_dialed(), *stream));
    match unwanted.min() {
        Some((_, stream)) if ctx.topology.is_wanted(peer) => {
            liveness::close(ctx, stream, ByeReason::Full, events);
            true
        }
        _ => false,
    }
}
