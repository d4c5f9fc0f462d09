//! Links that stand: what they say, how they stay alive, and how they end.

use crate::base::event::{Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{ByeReason, Message};

/// Silence after which a link is pinged, in milliseconds.
pub const PING_AFTER_IDLE_MS: u64 = 18_000;
/// Time for the answer. Both together stay below the 30 s after which a frozen peer must be shown gone.
pub const PONG_TIMEOUT_MS: u64 = 10_000;

/// What became of links, for the features.
pub enum LinkEvent {
    Up(StreamId),
    /// Another peer than the user named answered a dial.
    UnexpectedPeer(StreamId, Peer),
    Message(StreamId, Message),
    Batch(StreamId, Vec<u8>),
    /// A link ended. `replaced`: by another one to the same run.
    Down {
        stream: StreamId,
        peer: Peer,
        established_at: Time,
        /// Whom it reached.
        reachable: SortedSet<PeerId>,
        is_replaced: bool,
    },
    /// A dial or its handshake came to nothing. `own`: it reached ourselves.
    Failed {
        stream: StreamId,
        is_self: bool,
    },
}

/// Bytes of a link.
pub fn handle_bytes(
    ctx: &mut Context,
    stream: StreamId,
    bytes: &[u8],
    events: &mut Vec<LinkEvent>,
) {
    let now = ctx.now.time;
    let Some(link) = ctx.links.get_mut(&stream) else {
        return;
    };
    link.last_activity = now;
    let mut frames = Vec::new();
    let mut fits = true;
    let reader = &mut link.frame_decoder;
    let opened = link
        .transport
        .open(bytes, &mut ctx.decrypt_buffer, |plain| {
            fits &= reader.feed(plain, &mut frames).is_ok()
        });
    push_frames(stream, frames, events);
    if opened.is_err() || !fits {
        ctx.counters.broken_links += 1;
        close(ctx, stream, ByeReason::InvalidMessage, events);
    }
}

/// Frames of a link, as events.
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

/// The other side, or the network, ended a stream.
pub fn handle_closed(ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
    remove_link(ctx, stream, false, events);
}

/// The peer said that the link ends. `replaced`: because another one to it is to stay.
pub fn handle_bye(
    ctx: &mut Context,
    stream: StreamId,
    replaced: bool,
    events: &mut Vec<LinkEvent>,
) {
    if ctx.links.contains_key(&stream) {
        ctx.emit(Output::Close { stream });
        remove_link(ctx, stream, replaced, events);
    }
}

/// Ends a link with a word of why.
pub fn close(ctx: &mut Context, stream: StreamId, reason: ByeReason, events: &mut Vec<LinkEvent>) {
    disconnect(ctx, stream, reason, false, events);
}

/// Ends a link with a word of why. `replaced`: because another one to the same run is to stay.
pub fn disconnect(
    ctx: &mut Context,
    stream: StreamId,
    reason: ByeReason,
    replaced: bool,
    events: &mut Vec<LinkEvent>,
) {
    if ctx.links.contains_key(&stream) {
        ctx.send(stream, &Message::Bye { reason });
        ctx.flush();
        ctx.emit(Output::Close { stream });
        remove_link(ctx, stream, replaced, events);
    }
}

fn remove_link(ctx: &mut Context, stream: StreamId, replaced: bool, events: &mut Vec<LinkEvent>) {
    let Some(link) = ctx.links.remove(&stream) else {
        return;
    };
    ctx.stream_by_peer.remove(&link.peer.id);
    events.push(LinkEvent::Down {
        stream,
        peer: link.peer,
        established_at: link.established_at,
        reachable: link
            .routes
            .values()
            .flat_map(SortedMap::keys)
            .copied()
            .collect(),
        is_replaced: replaced,
    });
}

/// Asks for a sign of life, unless an answer is still awaited.
pub fn ping(ctx: &mut Context, stream: StreamId) {
    let awaited = ctx
        .links
        .get(&stream)
        .is_some_and(|l| l.pending_ping.is_some());
    if !awaited {
        restart_ping(ctx, stream);
    }
}

/// Asks for a sign of life from now on: the answer to an earlier ping may be that of one who has died since.
pub fn restart_ping(ctx: &mut Context, stream: StreamId) {
    let nonce = ctx.random_u64() >> 11;
    let now = ctx.now.time;
    if let Some(link) = ctx.links.get_mut(&stream) {
        link.pending_ping = Some((nonce, now));
        ctx.send(stream, &Message::Ping { nonce });
    }
}

/// The answer to a ping.
pub fn handle_pong(ctx: &mut Context, stream: StreamId, nonce: u64) {
    let now = ctx.now.time;
    let Some(link) = ctx.links.get_mut(&stream) else {
        return;
    };
    if let Some((sent, at)) = link.pending_ping
        && sent == nonce
    {
        link.pending_ping = None;
        link.rtt_ms = Some(now.ms_since(at));
    }
}

/// A sign of life that came past the link: a beacon of the same run.
pub fn record_activity(ctx: &mut Context, peer: &PeerId, run: u64) {
    let now = ctx.now.time;
    if let Some(stream) = ctx.stream_by_peer.get(peer)
        && let Some(link) = ctx.links.get_mut(stream)
        && link.run == run
    {
        link.last_activity = now;
    }
}

/// Pings those that have been silent, and ends those that still are.
pub fn handle_timeout(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    let now = ctx.now.time;
    let mut silent = Vec::new();
    let mut dead = Vec::new();
    for (stream, link) in &ctx.links {
        match link.pending_ping {
            Some((_, at)) if at.max(link.last_activity) + PONG_TIMEOUT_MS <= now => {
                dead.push(*stream)
            }
            None if link.last_activity + PING_AFTER_IDLE_MS <= now => silent.push(*stream),
            _ if link.has_overflowed() => dead.push(*stream),
            _ => {}
        }
    }
    for stream in silent {
        ping(ctx, stream);
    }
    for stream in dead {
        close(ctx, stream, ByeReason::Silent, events);
    }
}

/// When to ping or end a link.
pub fn deadline(ctx: &Context) -> Option<Time> {
    let deadlines = ctx.links.values().map(|link| match link.pending_ping {
        Some((_, at)) => at.max(link.last_activity) + PONG_TIMEOUT_MS,
        None => link.last_activity + PING_AFTER_IDLE_MS,
    });
    deadlines.min()
}

/// Goodbye to everybody.
pub fn close_all(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    for stream in ctx.links.keys().copied().collect::<Vec<_>>() {
        close(ctx, stream, ByeReason::Leave, events);
    }
}
