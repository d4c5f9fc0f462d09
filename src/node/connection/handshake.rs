//! Streams that are not links yet: dials, accepted streams, the Noise handshake and the exchange
//! of hellos.
use std::net::SocketAddr;

use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::Room;
use crate::base::time::Time;
use crate::node::author_clocks::AuthorClock;
use crate::node::connection::admission;
use crate::node::connection::admission::Conflict;
use crate::node::connection::deferred_handshakes;
use crate::node::connection::duplicate_identity::{
    DeferredHandshake, DuplicateIdentity, PROBE_TIMEOUT_MS, ProbeOutcome,
};
use crate::node::connection::handshake_limits;
use crate::node::connection::handshake_limits::{LinkedAddresses, PendingHandshakes};
use crate::node::connection::hello;
use crate::node::connection::liveness;
use crate::node::connection::liveness::{HandshakeFailure, LinkEnd, LinkEvent};
use crate::node::connection::pending_handshake::{
    DialTarget, HANDSHAKE_TIMEOUT_MS, HandshakeStage, LINK_EXPECTED_MS, PendingHandshake,
};
use crate::node::context::Context;
use crate::node::peer_clock::PeerClock;
use crate::node::timer::{Deadlines, Timer};
use crate::wire::channel::Channel;
use crate::wire::frame::Frame;
use crate::wire::message::{ByeReason, Hello, Message};
use crate::wire::noise::{Handshake, HandshakeStatus, NoiseError, Role};

/// The dials and handshakes under way. [`Context::links`] holds the established links.
#[derive(Default)]
pub struct Handshakes {
    pending: PendingHandshakes,
    linked_addresses: LinkedAddresses,
}

impl Handshakes {
    /// Number of dials and handshakes under way.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// Whether a dial or handshake of the last [`LINK_EXPECTED_MS`] is likely to become a link.
    pub fn is_expecting_link(&self, now: Time) -> bool {
        let mut pending = self.pending.values();
        pending.any(|pending| pending.is_expected(now))
    }

    /// When the newest handshake began that may become a link.
    pub fn newest_started_at(&self) -> Option<Time> {
        let begun = self.pending.values().filter(|it| it.has_begun());
        begun.map(|pending| pending.started_at).max()
    }

    /// Whether one more handshake may start: on a dialed stream if `is_dialed` is true, otherwise
    /// on an accepted stream.
    pub fn can_accept(&self, is_dialed: bool) -> bool {
        handshake_limits::can_start(&self.pending, is_dialed)
    }

    fn insert(
        &mut self,
        ctx: &Context,
        stream: StreamId,
        stage: HandshakeStage,
        target: DialTarget,
    ) {
        let started_at = ctx.now.time;
        let pending = PendingHandshake {
            stage,
            target,
            started_at,
            deadline: started_at + HANDSHAKE_TIMEOUT_MS,
        };
        self.pending.insert(stream, pending);
    }

    /// Dials the target: emits [`Output::Dial`].
    pub fn dial(&mut self, ctx: &mut Context, stream: StreamId, target: DialTarget) {
        self.insert(ctx, stream, HandshakeStage::Dialing, target);
        ctx.emit(Output::Dial {
            stream,
            address: target.address,
            interface: target.interface,
        });
    }

    /// Starts the handshake on an accepted stream. If too many such handshakes are unfinished,
    /// first ends one of them.
    pub fn handle_accepted(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        address: SocketAddr,
        events: &mut Vec<LinkEvent>,
    ) {
        if !self.can_accept(false)
            && let Some(evicted) =
                handshake_limits::select_evicted(&self.pending, &self.linked_addresses)
        {
            self.fail(ctx, evicted, events);
        }
        let target = DialTarget {
            address,
            interface: None,
            expected_peer: None,
            is_expected: true,
        };
        self.start(ctx, stream, target, events);
    }

    /// Starts the handshake on a dialed stream that is now connected.
    pub fn handle_connected(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        events: &mut Vec<LinkEvent>,
    ) {
        if let Some(dial) = self.pending.remove(&stream) {
            self.start(ctx, stream, dial.target, events);
        }
    }

    /// Gives up an accepted stream that speaks another protocol. Returns the remote address.
    pub fn release(&mut self, stream: StreamId) -> Option<SocketAddr> {
        let pending = self.pending.get(&stream).filter(|it| it.is_at_start())?;
        let address = pending.target.address;
        self.pending.remove(&stream);
        Some(address)
    }

    fn start(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        target: DialTarget,
        events: &mut Vec<LinkEvent>,
    ) {
        let is_dialed = stream.is_dialed();
        let role = match is_dialed {
            true => Role::Initiator,
            false => Role::Responder,
        };
        let (psk, seed) = (ctx.psk, ctx.random_bytes());
        let mut bytes = Vec::new();
        match Handshake::new(role, &ctx.noise_key, psk.as_ref(), seed, &mut bytes) {
            Ok(handshake) => {
                let stage = HandshakeStage::Noise {
                    handshake,
                    has_valid_start: is_dialed,
                };
                self.insert(ctx, stream, stage, target);
                ctx.last_peer_event = ctx.now.time;
                if !bytes.is_empty() {
                    ctx.emit(Output::Write { stream, bytes });
                }
            }
            Err(_) => end(ctx, stream, HandshakeFailure::Failed, events),
        }
    }

    fn fail(&mut self, ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
        self.fail_for(ctx, stream, HandshakeFailure::Failed, events);
    }

    fn fail_for(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        failure: HandshakeFailure,
        events: &mut Vec<LinkEvent>,
    ) {
        if self.pending.remove(&stream).is_some() {
            ctx.counters.failed_handshakes += 1;
            end(ctx, stream, failure, events);
        }
    }

    /// Passes received bytes to an unfinished handshake. `joined` is the list of rooms for our
    /// hello.
    pub fn handle_bytes(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        bytes: &[u8],
        joined: &[Room],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.get_mut(&stream) else {
            return;
        };
        match &mut pending.stage {
            HandshakeStage::Dialing => {}
            HandshakeStage::Noise { .. } => {
                self.handle_noise_bytes(ctx, stream, bytes, joined, events)
            }
            HandshakeStage::AwaitingHello { channel, .. }
            | HandshakeStage::Deferred(DeferredHandshake { channel, .. }) => {
                let mut frames = Vec::new();
                let opened = channel.open(bytes, &mut ctx.decrypt_buffer, &mut frames);
                if opened.is_err() {
                    return self.fail(ctx, stream, events);
                }
                if !frames.is_empty() {
                    self.handle_frames(ctx, stream, frames, joined, events);
                }
                if handshake_limits::has_overflowed(&self.pending, stream) {
                    self.fail(ctx, stream, events);
                }
            }
        }
    }

    fn handle_noise_bytes(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        bytes: &[u8],
        joined: &[Room],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.get_mut(&stream) else {
            return;
        };
        let HandshakeStage::Noise {
            handshake,
            has_valid_start,
        } = &mut pending.stage
        else {
            return;
        };
        let mut out = Vec::new();
        let (transport, consumed_bytes) = match handshake.feed(bytes, &mut out) {
            Err(error) => {
                ctx.counters.other_versions += u64::from(error == NoiseError::VersionMismatch);
                return self.fail(ctx, stream, events);
            }
            Ok(HandshakeStatus::Incomplete) => {
                if !out.is_empty() {
                    *has_valid_start = true;
                    ctx.emit(Output::Write { stream, bytes: out });
                }
                return;
            }
            Ok(HandshakeStatus::Complete {
                transport,
                consumed_bytes,
            }) => (transport, consumed_bytes),
        };
        let mut channel = Channel::new(transport);
        // On receiving our hello, the peer shows us as joined. If we may still reject the link, we
        // send our hello only after the peer's.
        let (key, expected_peer) = (channel.remote_static_key(), pending.target.expected_peer);
        let is_hello_sent = !admission::must_wait_for_hello(ctx, stream, key, expected_peer);
        if is_hello_sent {
            let hello = hello::own(ctx, channel.handshake_hash(), joined);
            if channel.seal_message(&hello, &mut out).is_err() {
                return self.fail(ctx, stream, events);
            }
        }
        if !out.is_empty() {
            ctx.emit(Output::Write { stream, bytes: out });
        }
        pending.stage = HandshakeStage::AwaitingHello {
            channel,
            is_hello_sent,
        };
        if consumed_bytes < bytes.len() {
            self.handle_bytes(ctx, stream, &bytes[consumed_bytes..], joined, events);
        }
    }

    /// Handles frames of an unfinished handshake. The first frame must be the hello. Frames after
    /// the hello are kept while the handshake is deferred. `frames` must not be empty.
    fn handle_frames(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        mut frames: Vec<Frame>,
        joined: &[Room],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.get_mut(&stream) else {
            return;
        };
        match &mut pending.stage {
            HandshakeStage::AwaitingHello { channel, .. } => {
                let rest = frames.split_off(1);
                let first = frames.first();
                let key = channel.remote_static_key();
                match first.and_then(|first| hello::parse(first, key)) {
                    Some(hello) => self.handle_hello(ctx, stream, hello, rest, joined, events),
                    None => match first.and_then(hello::refusal) {
                        Some(reason) => {
                            let refused = HandshakeFailure::Refused(key, reason);
                            self.fail_for(ctx, stream, refused, events)
                        }
                        None => self.fail(ctx, stream, events),
                    },
                }
            }
            HandshakeStage::Deferred(deferred) => {
                deferred.frames.append(&mut frames);
            }
            _ => {}
        }
    }

    fn handle_hello(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        hello: Hello,
        rest: Vec<Frame>,
        joined: &[Room],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.get_mut(&stream) else {
            return;
        };
        let expected_peer = pending.target.expected_peer;
        if let Some(reason) = admission::refuse(ctx, stream, &hello, expected_peer, events) {
            let failure = HandshakeFailure::refusal_by_us(&hello.sender, reason);
            return self.reject(ctx, stream, reason, failure, events);
        }
        let HandshakeStage::AwaitingHello {
            channel,
            is_hello_sent,
        } = &mut pending.stage
        else {
            return;
        };
        let started_at = pending.started_at;
        let conflict = admission::resolve_conflict(ctx, stream, &hello, *is_hello_sent, started_at);
        if let Conflict::KeepExisting(existing) = conflict {
            let address = pending.target.address;
            return self.keep_existing(ctx, stream, existing, address, events);
        }
        if !std::mem::replace(is_hello_sent, true) {
            let own = hello::own(ctx, channel.handshake_hash(), joined);
            let mut bytes = Vec::new();
            if channel.seal_message(&own, &mut bytes).is_err() {
                return self.fail(ctx, stream, events);
            }
            ctx.emit(Output::Write { stream, bytes });
        }
        if hello.sender == ctx.own_id() {
            return self.handle_own_key(ctx, stream, hello.run, events);
        }
        match conflict {
            Conflict::None | Conflict::KeepExisting(_) => {}
            Conflict::Probe(existing) => return self.defer(ctx, stream, existing, hello, rest),
            Conflict::Replace(existing) => {
                let reason = ByeReason::Duplicate;
                liveness::disconnect(ctx, existing, reason, LinkEnd::Replaced, events)
            }
        }
        self.establish(ctx, stream, hello, rest, events);
    }

    /// Handles a hello with our own key. Either we dialed ourselves, or another program has our
    /// key. Our hello is already sent, so the other program notices as well.
    fn handle_own_key(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        run: u64,
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.remove(&stream) else {
            return;
        };
        let is_self = run == ctx.run;
        if !is_self {
            events.push(LinkEvent::DuplicateIdentity(DuplicateIdentity {
                run: Some(run),
                address: Some(pending.target.address),
                reported_by: None,
            }));
        }
        let failure = match is_self {
            true => HandshakeFailure::OwnProgram,
            false => HandshakeFailure::Failed,
        };
        end(ctx, stream, failure, events);
    }

    /// Rejects a handshake with a linked peer, whose existing link stays. If we dialed, the dialed
    /// address is one of that peer.
    fn keep_existing(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        existing: StreamId,
        address: SocketAddr,
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(link) = ctx.links.get_mut(&existing) else {
            return;
        };
        if stream.is_dialed() {
            link.dialed_address = Some(address);
        }
        let failure = HandshakeFailure::AlreadyLinked(link.peer.id);
        self.reject(ctx, stream, ByeReason::Duplicate, failure, events);
    }

    /// Defers the handshake of a second run of a linked peer. Pings the linked run, whose link is
    /// on the stream `existing`.
    fn defer(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        existing: StreamId,
        hello: Hello,
        frames: Vec<Frame>,
    ) {
        liveness::restart_ping(ctx, existing);
        let Some(pending) = self.pending.remove(&stream) else {
            return;
        };
        if let HandshakeStage::AwaitingHello { channel, .. } = pending.stage {
            let deferred = PendingHandshake {
                stage: HandshakeStage::Deferred(DeferredHandshake::new(
                    channel,
                    hello,
                    frames,
                    ctx.now.time,
                )),
                deadline: ctx.now.time + PROBE_TIMEOUT_MS,
                ..pending
            };
            self.pending.insert(stream, deferred);
        }
    }

    /// Rejects a handshake: sends a `bye` with the reason and closes the stream.
    fn reject(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        reason: ByeReason,
        failure: HandshakeFailure,
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.remove(&stream) else {
            return;
        };
        if let HandshakeStage::AwaitingHello { mut channel, .. }
        | HandshakeStage::Deferred(DeferredHandshake { mut channel, .. }) = pending.stage
        {
            let mut bytes = Vec::new();
            let sealed = channel.seal_message(&Message::Bye { reason }, &mut bytes);
            if sealed.is_ok() {
                ctx.emit(Output::Write { stream, bytes });
            }
        }
        end(ctx, stream, failure, events);
    }

    /// Turns a finished handshake into a link. `frames` were received after the hello.
    fn establish(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        hello: Hello,
        frames: Vec<Frame>,
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(pending) = self.pending.remove(&stream) else {
            return;
        };
        let peer = hello.sender;
        let clock = AuthorClock {
            run: hello.run,
            clock: PeerClock::new(ctx.now.time, hello.age, hello.wall),
        };
        let Some(link) = pending.into_link(stream, hello, ctx.now.time) else {
            return ctx.emit(Output::Close { stream });
        };
        self.linked_addresses.record(ctx, link.address.ip());
        let linked = &ctx.stream_by_peer;
        ctx.author_clocks
            .record_direct(peer, clock, &|author| linked.contains_key(author));
        ctx.stream_by_peer.insert(peer, stream);
        ctx.links.insert(stream, link);
        ctx.last_peer_event = ctx.now.time;
        liveness::link_up(ctx, stream);
        events.push(LinkEvent::Up(stream));
        liveness::push_frames(stream, frames, events);
    }

    /// Handles the end of a stream that is not a link yet. Forgets its dial or handshake and
    /// reports the failure.
    pub fn handle_closed(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        events: &mut Vec<LinkEvent>,
    ) {
        if self.pending.remove(&stream).is_some() {
            ctx.counters.failed_handshakes += 1;
            events.push(LinkEvent::Failed(stream, HandshakeFailure::Failed));
        }
    }

    /// Turns the deferred handshake of another run of this peer into a link, if there is one.
    /// Called after the link to the peer has ended.
    pub fn promote_deferred(
        &mut self,
        ctx: &mut Context,
        peer: PeerId,
        events: &mut Vec<LinkEvent>,
    ) {
        let deferred = deferred_handshakes::take_next(&mut self.pending, peer, ctx.now.time);
        if let Some((stream, hello, frames)) = deferred
            && !ctx.stream_by_peer.contains_key(&peer)
            && !ctx.acquaintances.is_banned(&peer)
        {
            self.establish(ctx, stream, hello, frames, events);
        }
    }

    /// Handles a pong on this link. If the pong answered the latest ping, records the answer in the
    /// deferred handshakes of the same peer.
    pub fn handle_pong(&mut self, ctx: &Context, stream: StreamId) {
        let link = ctx.links.get(&stream);
        if let Some(link) = link.filter(|link| link.pending_ping.is_none()) {
            deferred_handshakes::handle_pong(&mut self.pending, &link.peer.id);
        }
    }

    /// Ends the handshakes whose deadline has passed. For a deferred handshake, decides between the
    /// linked run and the second run.
    pub fn handle_timeout(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        let now = ctx.now.time;
        let due: Vec<StreamId> = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.deadline <= now)
            .map(|(stream, _)| *stream)
            .collect();
        for stream in due {
            let Some(pending) = self.pending.get(&stream) else {
                continue;
            };
            let HandshakeStage::Deferred(deferred) = &pending.stage else {
                self.fail(ctx, stream, events);
                continue;
            };
            match deferred.outcome(ctx) {
                ProbeOutcome::Duplicate(existing) => {
                    let reason = ByeReason::DuplicateIdentity;
                    ctx.send(existing, &Message::Bye { reason });
                    self.reject(ctx, stream, reason, HandshakeFailure::Failed, events);
                }
                // The old run is dead. When its link has ended, `promote_deferred` establishes the
                // new link.
                ProbeOutcome::Dead(existing) => {
                    let reason = ByeReason::Duplicate;
                    liveness::disconnect(ctx, existing, reason, LinkEnd::Lost, events)
                }
                ProbeOutcome::Obsolete => self.fail(ctx, stream, events),
            }
        }
    }

    /// Adds the deadlines of dials and handshakes, and the times when no link is expected of them.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        let (now, expected_until) = (ctx.now.time, ctx.links_expected_until());
        for pending in self.pending.values() {
            deadlines.add(Timer::Handshake, pending.deadline);
            if pending.is_expected(now) && now < expected_until {
                let at = pending.started_at + LINK_EXPECTED_MS;
                deadlines.add(Timer::ExpectLink, at.min(expected_until));
            }
        }
    }

    /// Ends all dials and handshakes under way.
    pub fn close_all(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        for stream in self.pending.keys().copied().collect::<Vec<_>>() {
            self.fail(ctx, stream, events);
        }
    }
}

/// Closes the stream of a failed handshake and reports the failure.
fn end(
    ctx: &mut Context,
    stream: StreamId,
    failure: HandshakeFailure,
    events: &mut Vec<LinkEvent>,
) {
    ctx.emit(Output::Close { stream });
    events.push(LinkEvent::Failed(stream, failure));
}
