//! Established links: receives their frames, pings idle links, and closes dead ones.
use std::net::SocketAddr;

use crate::base::event::output::Output;
use crate::base::event::peer::Peer;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::base::timing::Timing;
use crate::node::connection::duplicate_identity::DuplicateIdentity;
use crate::node::context::Context;
use crate::node::link::{Link, PendingPing};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::frame::{Frame, FrameKind};
use crate::wire::message::{ByeReason, Message};

/// Milliseconds without activity after which a link is pinged.
pub const PING_AFTER_IDLE_MS: u64 = 18_000;
/// An idle link is closed this many milliseconds after it was due for a ping. A frozen peer must be
/// shown as gone within 30 s. Together with [`PING_AFTER_IDLE_MS`], this time must therefore stay
/// below 30 s.
pub const PONG_TIMEOUT_MS: u64 = 10_000;
/// How much earlier the dialing side pings an idle link than the accepting side, in milliseconds.
/// One ping shows both sides that the other is alive, so the accepting side seldom needs to ping.
pub const DIALED_PING_LEAD_MS: u64 = 1_000;
/// When one dialed link is pinged, so are those that are due within so many milliseconds. A
/// program with many links then seldom wakes to send a ping.
pub const PINGS_TOGETHER_MS: u64 = 3_000;
/// Number of pings that probe a link. A new link's first one precedes our digests. The peer handles
/// them before the second one, and may answer them at the end of its turn, after the second pong.
const PROBES: u8 = 3;
/// Bits of a ping's nonce. Messages are JSON, and many JSON readers keep numbers exact only up to
/// 53 bits.
const NONCE_BITS: u32 = 53;

/// Why a link ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// Another link to the same run replaces the link.
    Replaced,
    /// One side needs the room for another link. Both programs run on.
    Pruned,
    /// The peer said goodbye, because its program ends.
    Left,
    /// The path or the peer's program has failed, or one side broke the protocol.
    Lost,
    /// The stream failed before the first ping was answered. The link may have been none for the
    /// peer: on a busy machine, a handshake that we have finished times out there.
    Unconfirmed,
}

/// A link that ended.
pub struct ClosedLink {
    /// The stream of the link. Its number is never used again.
    pub stream: StreamId,
    /// The peer of the link.
    pub peer: PeerId,
    /// The name under which the peer was shown.
    pub nick: Nick,
    /// The address at which the peer can be dialed.
    pub address: SocketAddr,
    /// Whether the peer's program leaves by itself soon.
    pub is_transient: bool,
    /// When the peer was last heard.
    pub last_activity: Time,
    /// The peer's run.
    pub run: u64,
    /// When the link was established.
    pub established_at: Time,
    /// The peers that were reachable through the link.
    pub reachable: SortedSet<PeerId>,
    /// Why the link ended.
    pub end: LinkEnd,
}

/// What happened to a link or a handshake. Other features handle these events.
pub enum LinkEvent {
    /// A link was established.
    Up(StreamId),
    /// This peer answered a dial, but the user named another peer for the address.
    UnexpectedPeer(StreamId, Peer),
    /// Another program uses our key.
    DuplicateIdentity(DuplicateIdentity),
    /// A message arrived on a link.
    Message(StreamId, Message),
    /// Batches arrived on a link, one after another. The bytes of each are exactly those that the
    /// author signed and sent.
    Batches(StreamId, Vec<Vec<u8>>),
    /// A link ended.
    Down(ClosedLink),
    /// A dial or a handshake became no link. The number of its stream is never used again.
    Failed(StreamId, HandshakeFailure),
}

/// Why a dial or a handshake became no link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// Nobody answered, or one side broke off the handshake.
    Failed,
    /// We dialed our own program.
    OwnProgram,
    /// This peer answered, and its existing link stays.
    AlreadyLinked(PeerId),
    /// The peer with this Noise key has answered, and refused us for this reason. Or we have no
    /// link left for it ourselves: [`ByeReason::Full`].
    Refused([u8; 32], ByeReason),
}

impl HandshakeFailure {
    /// What our own refusal of this peer means for further dials.
    pub fn refusal_by_us(peer: &PeerId, reason: ByeReason) -> HandshakeFailure {
        match peer.noise_key() {
            Some(key) if reason == ByeReason::Full => HandshakeFailure::Refused(key, reason),
            _ => HandshakeFailure::Failed,
        }
    }

    /// Whether this peer has proved its key and refused us, because its user has banned us. `None`:
    /// whoever answered.
    pub fn is_ban_by(&self, peer: Option<PeerId>) -> bool {
        self.is_refusal(ByeReason::Banned, peer)
    }

    /// Whether this peer has proved its key and refused us for this reason. `None`: whoever
    /// answered.
    pub fn is_refusal(&self, reason: ByeReason, peer: Option<PeerId>) -> bool {
        match self {
            HandshakeFailure::Refused(key, why) => {
                *why == reason && peer.is_none_or(|it| it.noise_key() == Some(*key))
            }
            _ => false,
        }
    }
}

/// Decrypts bytes that arrived on a link, and turns each frame into an event. Closes the link if
/// the bytes break the protocol.
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

/// Turns received frames of a link into events.
pub fn push_frames(stream: StreamId, frames: Vec<Frame>, events: &mut Vec<LinkEvent>) {
    for frame in frames {
        match frame.kind {
            FrameKind::Batch => match events.last_mut() {
                Some(LinkEvent::Batches(_, batches)) => batches.push(frame.payload),
                _ => events.push(LinkEvent::Batches(stream, vec![frame.payload])),
            },
            FrameKind::Message => events.push(LinkEvent::Message(
                stream,
                Message::parse(&frame.payload).unwrap_or(Message::Unknown),
            )),
        }
    }
}

/// Removes the link of a stream that the other side or the network closed.
pub fn handle_closed(ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
    let rtt_ms = ctx.links.get(&stream).and_then(|link| link.rtt_ms);
    let end = match rtt_ms {
        Some(_) => LinkEnd::Lost,
        None => LinkEnd::Unconfirmed,
    };
    remove_link(ctx, stream, end, events);
}

/// Handles a `bye` of the peer. Closes the link, unless the `bye` reports another program with our
/// key.
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
        // Our link stays, as it is the older one. The peer rejects the handshake of the newer
        // program.
        events.push(LinkEvent::DuplicateIdentity(DuplicateIdentity {
            run: None,
            address: None,
            reported_by: Some(link.peer.clone()),
        }));
        return;
    }
    let end = match reason {
        ByeReason::Leave => LinkEnd::Left,
        ByeReason::Duplicate => LinkEnd::Replaced,
        ByeReason::Full => LinkEnd::Pruned,
        _ => LinkEnd::Lost,
    };
    ctx.emit(Output::Close { stream });
    remove_link(ctx, stream, end, events);
}

/// Closes the link of a peer that broke the protocol.
pub fn close_violation(ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
    ctx.counters.broken_links += 1;
    if let Some(peer) = ctx.links.get(&stream).map(|link| link.peer.id) {
        ctx.misbehaviour
            .count(peer, |counts| &mut counts.violations);
    }
    close(ctx, stream, ByeReason::InvalidMessage, events);
}

/// Closes the link of a peer that causes too much work. Its next link begins anew.
pub fn close_overloading(ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
    ctx.counters.overflowed_links += 1;
    close(ctx, stream, ByeReason::InvalidMessage, events);
}

/// Closes a link. First sends a `bye` with the reason.
pub fn close(ctx: &mut Context, stream: StreamId, reason: ByeReason, events: &mut Vec<LinkEvent>) {
    let end = match reason {
        ByeReason::Full => LinkEnd::Pruned,
        _ => LinkEnd::Lost,
    };
    disconnect(ctx, stream, reason, end, events);
}

/// Closes a link. First sends a `bye` with the reason. `end` says what the end of the link means
/// for this side.
pub fn disconnect(
    ctx: &mut Context,
    stream: StreamId,
    reason: ByeReason,
    end: LinkEnd,
    events: &mut Vec<LinkEvent>,
) {
    if ctx.links.contains_key(&stream) {
        ctx.send(stream, &Message::Bye { reason });
        ctx.flush();
        ctx.emit(Output::Close { stream });
        remove_link(ctx, stream, end, events);
    }
}

fn remove_link(ctx: &mut Context, stream: StreamId, end: LinkEnd, events: &mut Vec<LinkEvent>) {
    let Some(link) = ctx.links.remove(&stream) else {
        return;
    };
    ctx.stream_by_peer.remove(&link.peer.id);
    events.push(LinkEvent::Down(ClosedLink {
        stream,
        peer: link.peer.id,
        nick: link.peer.nick,
        address: link.address,
        is_transient: link.transient,
        last_activity: link.last_activity,
        run: link.run,
        established_at: link.established_at,
        reachable: link
            .routes
            .values()
            .flat_map(SortedMap::keys)
            .copied()
            .collect(),
        end,
    }));
}

/// Pings a new link. The ping measures the round-trip time, which `peers` shows.
pub fn link_up(ctx: &mut Context, stream: StreamId) {
    if ctx.probes_links {
        probe(ctx, stream);
    } else {
        ping(ctx, stream);
    }
}

/// Probes all links, and from now on each new one. Once a peer has answered its `PROBES`, all
/// that it offers and requests because of what we sent before has arrived.
pub fn probe_all(ctx: &mut Context) {
    ctx.probes_links = true;
    for stream in ctx.streams() {
        probe(ctx, stream);
    }
}

fn probe(ctx: &mut Context, stream: StreamId) {
    if let Some(link) = ctx.links.get_mut(&stream) {
        link.probes_left = PROBES;
        restart_ping(ctx, stream);
    }
}

/// Pings a link, unless an earlier ping has no answer yet.
pub fn ping(ctx: &mut Context, stream: StreamId) {
    let is_pending = ctx
        .links
        .get(&stream)
        .is_some_and(|link| link.pending_ping.is_some());
    if !is_pending {
        restart_ping(ctx, stream);
    }
}

/// Pings a link even if an earlier ping has no answer yet. Only an answer to the new ping proves
/// that the peer is alive now. The peer may have answered the earlier ping and then died.
pub fn restart_ping(ctx: &mut Context, stream: StreamId) {
    let nonce = ctx.random_u64() >> (u64::BITS - NONCE_BITS);
    let sent_at = ctx.now.time;
    if let Some(link) = ctx.links.get_mut(&stream) {
        link.pending_ping = Some(PendingPing { nonce, sent_at });
        ctx.send(stream, &Message::Ping { nonce });
    }
}

/// Handles a pong. Records the round-trip time if the pong has the nonce of the latest ping.
pub fn handle_pong(ctx: &mut Context, stream: StreamId, nonce: u64) {
    let Some(link) = ctx.links.get_mut(&stream) else {
        return;
    };
    if let Some(ping) = link.pending_ping.take_if(|ping| ping.nonce == nonce) {
        link.rtt_ms = Some(ctx.now.time.ms_since(ping.sent_at));
        link.probes_left = link.probes_left.saturating_sub(1);
        if link.probes_left > 0 {
            restart_ping(ctx, stream);
        }
    }
}

/// Records that a linked peer is active, because its beacon arrived. Does nothing if the link leads
/// to another run of the peer, or if there is no link.
pub fn record_activity(ctx: &mut Context, peer: &PeerId, run: u64) {
    let now = ctx.now.time;
    if let Some(stream) = ctx.stream_by_peer.get(peer)
        && let Some(link) = ctx.links.get_mut(stream)
        && link.run == run
    {
        link.last_activity = now;
    }
}

/// When to ping the link, or to close it. The user's patience is divided between both waits as the
/// default is.
fn deadline(timing: &Timing, stream: StreamId, link: &Link) -> (Timer, Time) {
    let ping_after_ms = match stream.is_dialed() {
        true => scale(timing, PING_AFTER_IDLE_MS - DIALED_PING_LEAD_MS),
        false => scale(timing, PING_AFTER_IDLE_MS),
    };
    let pong_timeout_ms = scale(timing, PONG_TIMEOUT_MS);
    let ping_at = link.last_activity + ping_after_ms;
    match &link.pending_ping {
        // A new link is pinged before it is idle, and must not end sooner for that. The links of a
        // frozen peer thus all end at about the same time. If one ended earlier, the others would
        // go on to say that the peer is in reach, and their later word that it is gone would be no
        // evidence: the peer would be awaited.
        Some(ping) => (Timer::Pong, ping.sent_at.max(ping_at) + pong_timeout_ms),
        None => (Timer::Ping, ping_at),
    }
}

/// A part of the default patience as the same part of the user's patience.
fn scale(timing: &Timing, part_ms: u64) -> u64 {
    let default_ms = PING_AFTER_IDLE_MS + PONG_TIMEOUT_MS;
    timing.patience_ms.unwrap_or(default_ms) * part_ms / default_ms
}

/// Pings idle links. Closes a link whose ping has no answer in time.
pub fn handle_timeout(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    let now = ctx.now.time;
    let soon = now + scale(&ctx.timing, PINGS_TOGETHER_MS);
    let mut idle = Vec::new();
    let mut idle_soon = Vec::new();
    let mut dead = Vec::new();
    for (stream, link) in &ctx.links {
        match deadline(&ctx.timing, *stream, link) {
            (Timer::Ping, at) if at <= now => idle.push(*stream),
            (Timer::Ping, at) if at <= soon && stream.is_dialed() => idle_soon.push(*stream),
            (Timer::Pong, at) if at <= now => dead.push(*stream),
            _ => {}
        }
    }
    if idle.iter().any(|stream| stream.is_dialed()) {
        idle.append(&mut idle_soon);
    }
    for stream in idle {
        ping(ctx, stream);
    }
    for stream in dead {
        close(ctx, stream, ByeReason::Silent, events);
    }
}

/// Closes each link whose send buffer has overflowed.
pub fn close_overflowed(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    let links = ctx.links.iter();
    let overflowed = links.filter(|(_, link)| link.has_overflowed());
    let overflowed: Vec<StreamId> = overflowed.map(|(stream, _)| *stream).collect();
    for stream in overflowed {
        ctx.counters.overflowed_links += 1;
        // Without a `bye`, because the socket accepts nothing.
        ctx.emit(Output::Close { stream });
        remove_link(ctx, stream, LinkEnd::Lost, events);
    }
}

/// Adds the time at which each link is to be pinged or closed.
pub fn state_deadlines(ctx: &Context, deadlines: &mut Deadlines) {
    for (stream, link) in &ctx.links {
        let (timer, at) = deadline(&ctx.timing, *stream, link);
        deadlines.add(timer, at);
    }
}

/// Closes every link with a goodbye, because this program ends.
pub fn close_all(ctx: &mut Context, events: &mut Vec<LinkEvent>) {
    for stream in ctx.streams() {
        close(ctx, stream, ByeReason::Leave, events);
    }
}
