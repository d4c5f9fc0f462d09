//! Established links: receives their frames, pings idle ones, and ends dead ones.
use crate::base::event::{Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::connection::duplicate_identity::DuplicateIdentity;
use crate::node::context::Context;
use crate::node::link::{Link, PendingPing};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{ByeReason, Message};

/// Idle time after which a link is pinged, in milliseconds.
pub const PING_AFTER_IDLE_MS: u64 = 18_000;
/// Time for the answer, in milliseconds. Both together stay below the 30 s after which a frozen
/// peer must be shown as gone.
pub const PONG_TIMEOUT_MS: u64 = 10_000;
/// A ping's nonce has 53 bits: JSON readers that know only doubles still read it exactly.
const NONCE_BITS: u32 = 53;

/// What remains of a link that ended.
pub struct ClosedLink {
    /// Its stream, never used again.
    pub stream: StreamId,
    /// The peer it led to.
    pub peer: PeerId,
    /// When it was established.
    pub established_at: Time,
    /// The peers that were reachable through it.
    pub reachable: SortedSet<PeerId>,
    /// Another link to the same run takes its place.
    pub is_replaced: bool,
}

/// What happened to links and handshakes, for the other features.
pub enum LinkEvent {
    /// A link was established.
    Up(StreamId),
    /// A dial was answered by this peer, not by the one that the user named.
    UnexpectedPeer(StreamId, Peer),
    /// Another program uses our key.
    DuplicateIdentity(DuplicateIdentity),
    /// A message arrived on a link.
    Message(StreamId, Message),
    /// A batch arrived on a link, as its author's exact bytes.
    Batch(StreamId, Vec<u8>),
    /// The peer's program ends and said goodbye; [`LinkEvent::Down`] follows.
    PeerLeft {
        /// The peer.
        peer: PeerId,
        /// The run that ends.
        run: u64,
    },
    /// A link ended.
    Down(ClosedLink),
    /// A dial or its handshake failed.
    Failed {
        /// Its stream, never used again.
        stream: StreamId,
        /// It reached this program itself.
        is_self: bool,
    },
}

/// Decrypts bytes of a link into events. Bytes that break the protocol end it.
pub fn handle_bytes(
    ctx: &mut Context,
    stream: StreamId,
    bytes: &[u8],
    events: &mut Vec<LinkEvent>,
) {
    let Some(link) = ctx.links.get_mut(&stream) else {
        return;
    };
    link.last_activity = ctx.now.time;
    let mut frames = Vec::new();
    let opened = link
        .channel
        .open(bytes, &mut ctx.decrypt_buffer, &mut frames);
    push_frames(stream, frames, events);
    if opened.is_err() {
        close_violation(ctx, stream, events);
    }
}

/// Turns frames of a link into events.
pub fn push_frames(stream: StreamId, frames: Vec<Frame>, events: &mut Vec<LinkEvent>) {
    for frame in frames {
        match frame.kind {
            FrameKind::Batch => events.push(LinkEvent::Batch(stream, frame.payload)),
            FrameKind::Message => events.push(LinkEvent::Message(
                stream,
                Message::parse(&frame.payload).unwrap_or(Message::Unknown),
            )),
        }
    }
}

/// The other side or the network ended the stream.
pub fn handle_closed(ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
    remove_link(ctx, stream, false, events);
}

/// The peer ends the link, or reports that another program uses our key.
pub fn handle_bye(
    ctx: &mut Context,
    stream: StreamId,
    reason: ByeReason,
    events: &mut Vec<LinkEvent>,
) {
    let Some(link) = ctx.links.get(&stream) else {
        return;
    };
    if reason == ByeReason::DuplicateIdentity {
        // This link, the older one, stays; the peer rejects the newer program's.
        events.push(LinkEvent::DuplicateIdentity(DuplicateIdentity {
            run: None,
            address: None,
            reported_by: Some(link.peer.clone()),
        }));
        return;
    }
    if reason == ByeReason::Leave {
        let (peer, run) = (link.peer.id, link.run);
        events.push(LinkEvent::PeerLeft { peer, run });
    }
    ctx.emit(Output::Close { stream });
    remove_link(ctx, stream, reason == ByeReason::Duplicate, events);
}

/// Ends the link of a peer that broke the protocol.
pub fn close_violation(ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
    ctx.counters.broken_links += 1;
    close(ctx, stream, ByeReason::InvalidMessage, events);
}

/// Ends a link with a `bye` that names the reason.
pub fn close(ctx: &mut Context, stream: StreamId, reason: ByeReason, events: &mut Vec<LinkEvent>) {
    disconnect(ctx, stream, reason, false, events);
}

/// Ends a link with a `bye` that names the reason. `is_replaced`: another link to the same run
/// takes its place.
pub fn disconnect(
    ctx: &mut Context,
    stream: StreamId,
    reason: ByeReason,
    is_replaced: bool,
    events: &mut Vec<LinkEvent>,
) {
    if ctx.links.contains_key(&stream) {
        ctx.send(stream, &Message::Bye { reason });
        ctx.flush();
        ctx.emit(Output::Close { stream });
        remove_link(ctx, stream, is_replaced, events);
    }
}

fn remove_link(
    ctx: &mut Context,
    stream: StreamId,
    is_replaced: bool,
    events: &mut Vec<LinkEvent>,
) {
    let Some(link) = ctx.links.remove(&stream) else {
        return;
    };
    ctx.stream_by_peer.remove(&link.peer.id);
    events.push(LinkEvent::Down(ClosedLink {
        stream,
        peer: link.peer.id,
        established_at: link.established_at,
        reachable: link
            .routes
            .values()
            .flat_map(SortedMap::keys)
            .copied()
            .collect(),
        is_replaced,
    }));
}

/// Pings a link, unless a ping is unanswered already.
pub fn ping(ctx: &mut Context, stream: StreamId) {
    let is_pending = ctx
        .links
        .get(&stream)
        .is_some_and(|link| link.pending_ping.is_some());
    if !is_pending {
        restart_ping(ctx, stream);
    }
}

/// Pings a link in any case. The answer to an earlier ping no longer counts: its sender may have
/// died since.
pub fn restart_ping(ctx: &mut Context, stream: StreamId) {
    let nonce = ctx.random_u64() >> (u64::BITS - NONCE_BITS);
    let sent_at = ctx.now.time;
    if let Some(link) = ctx.links.get_mut(&stream) {
        link.pending_ping = Some(PendingPing { nonce, sent_at });
        ctx.send(stream, &Message::Ping { nonce });
    }
}

/// The peer answered a ping: measures the round trip, if the nonce is that of the last ping.
pub fn handle_pong(ctx: &mut Context, stream: StreamId, nonce: u64) {
    let Some(link) = ctx.links.get_mut(&stream) else {
        return;
    };
    if let Some(ping) = link.pending_ping.take_if(|ping| ping.nonce == nonce) {
        link.rtt_ms = Some(ctx.now.time.ms_since(ping.sent_at));
    }
}

/// A beacon of a linked run counts as activity of its link.
pub fn record_activity(ctx: &mut Context, peer: &PeerId, run: u64) {
    let now = ctx.now.time;
    if let Some(stream) = ctx.stream_by_peer.get(peer)
        && let Some(link) = ctx.links.get_mut(stream)
        && link.run == run
    {
        link.last_activity = now;
    }
}

fn deadline(link: &Link) -> (Timer, Time) {
    match &link.pending_ping {
        Some(ping) => (
            Timer::Pong,
            ping.sent_at.max(link.last_activity) + PONG_TIMEOUT_MS,
        ),
        None => (Timer::Ping, link.last_activity + PING_AFTER_IDLE_MS),
    }
}

/// Pings idle links; ends those that did not answer, and those whose send buffer overflowed.
pub fn handle_timeout(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    let now = ctx.now.time;
    let mut idle = Vec::new();
    let mut dead = Vec::new();
    for (stream, link) in &ctx.links {
        match deadline(link) {
            (Timer::Ping, at) if at <= now => idle.push(*stream),
            (_, at) if at <= now => dead.push(*stream),
            _ if link.has_overflowed() => dead.push(*stream),
            _ => {}
        }
    }
    for stream in idle {
        ping(ctx, stream);
    }
    for stream in dead {
        close(ctx, stream, ByeReason::Silent, events);
    }
}

/// States when to ping or end each link.
pub fn state_deadlines(ctx: &Context, deadlines: &mut Deadlines) {
    for link in ctx.links.values() {
        let (timer, at) = deadline(link);
        deadlines.add(timer, at);
    }
}

/// Says goodbye on every link: this program ends.
pub fn close_all(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    for stream in ctx.streams() {
        close(ctx, stream, ByeReason::Leave, events);
    }
}
