//! How links come to stand: dials, accepted streams, the cipher's handshake, the hello, and one link for each peer.
use std::net::SocketAddr;

use crate::base::event::{Notice, Output, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::connection::liveness;
use crate::node::connection::liveness::LinkEvent;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::node::topology::{LINKS_MAX, TRANSIENT_LINKS_MAX};
use crate::wire::frame::{Frame, FrameDecoder, FrameKind, write_frame};
use crate::wire::message::{ByeReason, Hello, Message, ROOMS_MAX, room_hash};
use crate::wire::noise::{Handshake, HandshakeStatus, Transport};

/// Most unfinished handshakes of those who dialed us, and as many dials of our own: the first must not be in the way of the second.
const HANDSHAKES_MAX: usize = 64;
/// Milliseconds that a dial and its handshake may take.
pub const HANDSHAKE_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds for which one that is unfinished is waited for: most take a few, and who means harm must not keep us.
const LINK_EXPECTED_MS: u64 = 2_000;
/// Time for a link's answer when another run of the same peer has come.
const DUPLICATE_PROBE_TIMEOUT_MS: u64 = 500;
const DUPLICATES_REPORTED_MAX: usize = 64;
/// Bytes that a parked link may say before its time.
const DEFERRED_MAX_BYTES: usize = 256 * 1024;

enum HandshakeStage {
    /// Our dial has not been taken yet.
    Dialing,
    Noise(Handshake),
    /// Keys are known; the other's hello is awaited.
    AwaitingHello(Box<Transport>, FrameDecoder),
    /// The peer is linked by another run of it; that one is being asked. What this one says meanwhile is kept.
    Deferred(Box<Transport>, FrameDecoder, Box<Hello>, Vec<Frame>),
}

struct PendingHandshake {
    stage: HandshakeStage,
    address: SocketAddr,
    started_at: Time,
    deadline: Time,
    /// It is a dial of ours, or the other side began a handshake as it should.
    has_valid_start: bool,
    /// Our hello went out.
    is_hello_sent: bool,
    /// Parked, and the run that is linked answered.
    is_probe_answered: bool,
    /// Nobody else will do.
    expected_peer: Option<PeerId>,
}

impl PendingHandshake {
    /// Who dials us and says nothing is nobody.
    fn is_expected(&self, now: Time) -> bool {
        self.has_valid_start && self.started_at + LINK_EXPECTED_MS > now
    }
}

/// Links that do not stand yet; those that do are in [`Hub::links`].
#[derive(Default)]
pub struct Handshakes {
    pending: SortedMap<StreamId, PendingHandshake>,
    /// Runs that were reported as using our key; `None`: one that only another peer saw.
    reported_duplicates: SortedSet<Option<u64>>,
    /// One was reported just now.
    pub has_new_duplicate: bool,
}

impl Handshakes {
    /// Dials and handshakes under way.
    pub fn pending_count(&self) -> usize {
        self.pending.len()
    }

    /// One of them may become a link in a moment.
    pub fn is_expecting_link(&self, now: Time) -> bool {
        self.pending.values().any(|u| u.is_expected(now))
    }

    /// Is there a place for one more of our dials, or of those who dialed us?
    pub fn can_accept(&self, dialed: bool) -> bool {
        let same = self.pending.keys().filter(|s| s.is_dialed() == dialed);
        same.count() < HANDSHAKES_MAX
    }

    fn insert(
        &mut self,
        ctx: &Context,
        stream: StreamId,
        stage: HandshakeStage,
        (address, meant): (SocketAddr, Option<PeerId>),
    ) {
        let begun = ctx.now.time;
        let unfinished = PendingHandshake {
            stage,
            address,
            started_at: begun,
            deadline: begun + HANDSHAKE_TIMEOUT_MS,
            has_valid_start: stream.is_dialed(),
            is_hello_sent: false,
            is_probe_answered: false,
            expected_peer: meant,
        };
        self.pending.insert(stream, unfinished);
    }

    /// A dial was put out. `meant`: who must answer it.
    pub fn dial(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        address: SocketAddr,
        meant: Option<PeerId>,
    ) {
        self.insert(ctx, stream, HandshakeStage::Dialing, (address, meant));
        ctx.emit(Output::Dial { stream, address });
    }

    pub fn handle_accepted(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        address: SocketAddr,
        events: &mut Vec<LinkEvent>,
    ) {
        if !self.can_accept(false) {
            self.evict(ctx, events);
        }
        self.start(ctx, stream, (address, None), events);
    }

    pub fn handle_connected(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        events: &mut Vec<LinkEvent>,
    ) {
        if let Some(dial) = self.pending.remove(&stream) {
            self.start(ctx, stream, (dial.address, dial.expected_peer), events);
        }
    }

    /// Makes room: of the source with the most unfinished handshakes the oldest goes, so that one host cannot keep out the others.
    fn evict(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        let mut sources: SortedMap<std::net::IpAddr, (usize, StreamId)> = SortedMap::new();
        for (stream, u) in self.pending.iter().filter(|(s, _)| !s.is_dialed()).rev() {
            let entry = sources.get_or_insert_with(u.address.ip(), || (0, *stream));
            *entry = (entry.0 + 1, *stream);
        }
        if let Some((_, stream)) = sources.into_values().max() {
            self.fail(ctx, stream, events);
        }
    }

    fn start(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        place: (SocketAddr, Option<PeerId>),
        events: &mut Vec<LinkEvent>,
    ) {
        let dialer = stream.is_dialed();
        let (secret, psk, seed) = (ctx.identity.noise_secret(), ctx.psk, ctx.random_bytes());
        let mut bytes = Vec::new();
        match Handshake::new(dialer, &secret, psk.as_ref(), seed, &mut bytes) {
            Ok(handshake) => {
                self.insert(ctx, stream, HandshakeStage::Noise(handshake), place);
                ctx.last_peer_event = ctx.now.time;
                if !bytes.is_empty() {
                    ctx.emit(Output::Write { stream, bytes });
                }
            }
            Err(_) => {
                ctx.emit(Output::Close { stream });
                events.push(LinkEvent::Failed {
                    stream,
                    is_self: false,
                });
            }
        }
    }

    fn fail(&mut self, ctx: &mut Context, stream: StreamId, events: &mut Vec<LinkEvent>) {
        if self.pending.remove(&stream).is_some() {
            ctx.counters.failed_handshakes += 1;
            ctx.emit(Output::Close { stream });
            events.push(LinkEvent::Failed {
                stream,
                is_self: false,
            });
        }
    }

    /// Bytes of an unfinished link. `rooms`: those we are in, for the hello.
    pub fn handle_bytes(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        bytes: &[u8],
        rooms: &[Room],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(unfinished) = self.pending.get_mut(&stream) else {
            return;
        };
        match &mut unfinished.stage {
            HandshakeStage::Dialing => {}
            HandshakeStage::Noise(handshake) => {
                let mut out = Vec::new();
                match handshake.feed(bytes, &mut out) {
                    Err(_) => self.fail(ctx, stream, events),
                    Ok(HandshakeStatus::Incomplete) => {
                        if !out.is_empty() {
                            unfinished.has_valid_start = true;
                            ctx.emit(Output::Write { stream, bytes: out });
                        }
                    }
                    Ok(HandshakeStatus::Complete {
                        transport: mut session,
                        consumed_bytes: used,
                    }) => {
                        // Who is full says so instead, when the other has greeted: nobody is to be shown as come and gone.
                        let other =
                            |meant: PeerId| meant.noise_key() != Some(session.remote_static_key);
                        unfinished.is_hello_sent = match stream.is_dialed() {
                            true => !unfinished.expected_peer.is_some_and(other),
                            false => !is_full(ctx),
                        };
                        if unfinished.is_hello_sent {
                            let hello = encode_hello(ctx, &session.handshake_hash, rooms);
                            if session.seal(&hello, &mut out).is_err() {
                                return self.fail(ctx, stream, events);
                            }
                        }
                        if !out.is_empty() {
                            ctx.emit(Output::Write { stream, bytes: out });
                        }
                        unfinished.stage =
                            HandshakeStage::AwaitingHello(session, FrameDecoder::default());
                        if used < bytes.len() {
                            self.handle_bytes(ctx, stream, &bytes[used..], rooms, events);
                        }
                    }
                }
            }
            HandshakeStage::AwaitingHello(session, reader)
            | HandshakeStage::Deferred(session, reader, ..) => {
                let mut frames = Vec::new();
                let mut fits = true;
                let opened = session.open(bytes, &mut ctx.decrypt_buffer, |plain| {
                    fits &= reader.feed(plain, &mut frames).is_ok()
                });
                if opened.is_err() || !fits {
                    return self.fail(ctx, stream, events);
                }
                if !frames.is_empty() {
                    self.handle_hello(ctx, stream, frames, rooms, events);
                }
            }
        }
    }

    /// The first frame of a link must be the hello of the one whose key the handshake proved.
    fn handle_hello(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        mut frames: Vec<Frame>,
        rooms: &[Room],
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(unfinished) = self.pending.get_mut(&stream) else {
            return;
        };
        if let HandshakeStage::Deferred(_, _, _, kept) = &mut unfinished.stage {
            kept.append(&mut frames);
            if kept.iter().map(|f| f.payload.len()).sum::<usize>() > DEFERRED_MAX_BYTES {
                self.fail(ctx, stream, events);
            }
            return;
        }
        let rest = frames.split_off(1);
        let hello = frames
            .pop()
            .filter(|f| f.kind == FrameKind::Message)
            .and_then(|f| Message::parse(&f.payload));
        let HandshakeStage::AwaitingHello(session, _) = &mut unfinished.stage else {
            return;
        };
        let Some(Message::Hello(hello)) = hello else {
            return self.fail(ctx, stream, events);
        };
        let peer = hello.sender;
        if peer.noise_key() != Some(session.remote_static_key) || hello.rooms.len() > ROOMS_MAX {
            return self.fail(ctx, stream, events);
        }
        if peer != ctx.own_id() && unfinished.expected_peer.is_some_and(|meant| meant != peer) {
            let nick = Nick::new_or_placeholder(&hello.username);
            events.push(LinkEvent::UnexpectedPeer(stream, Peer { id: peer, nick }));
            return self.reject(ctx, stream, ByeReason::UnexpectedPeer, events);
        }
        let more = peer != ctx.own_id() && !ctx.stream_by_peer.contains_key(&peer);
        if more && !reserve_link_slot(ctx, &peer, hello.passing, events) {
            return self.reject(ctx, stream, ByeReason::Full, events);
        }
        if !std::mem::replace(&mut unfinished.is_hello_sent, true) {
            let (hello, mut bytes) = (
                encode_hello(ctx, &session.handshake_hash, rooms),
                Vec::new(),
            );
            if session.seal(&hello, &mut bytes).is_err() {
                return self.fail(ctx, stream, events);
            }
            ctx.emit(Output::Write { stream, bytes });
        }
        if hello.sender == ctx.own_id() {
            let address = unfinished.address;
            return self.handle_own_key(ctx, stream, hello.run, address, events);
        }
        if let Some(&old) = ctx.stream_by_peer.get(&peer) {
            let same_run = ctx
                .links
                .get(&old)
                .is_some_and(|link| link.run == hello.run);
            if !same_run {
                return self.defer(ctx, stream, old, hello, rest);
            }
            let smaller_dialed = |s: StreamId| s.is_dialed() == (ctx.own_id() < peer);
            if smaller_dialed(old) && !smaller_dialed(stream) {
                self.reject(ctx, stream, ByeReason::Duplicate, events);
                return;
            }
            liveness::disconnect(ctx, old, ByeReason::Duplicate, true, events);
        }
        self.establish(ctx, stream, hello, rest, events);
    }

    fn handle_own_key(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        run: u64,
        address: SocketAddr,
        events: &mut Vec<LinkEvent>,
    ) {
        if run != ctx.run {
            self.report_duplicate(ctx, Some(run), Some(address), None);
        }
        // Not yet ours to close when the other program has not had our hello: it went out before this.
        self.pending.remove(&stream);
        ctx.emit(Output::Close { stream });
        events.push(LinkEvent::Failed {
            stream,
            is_self: run == ctx.run,
        });
    }

    /// Another program uses our key. Each is reported once. `by`: the peer that says so, which may lie.
    pub fn report_duplicate(
        &mut self,
        ctx: &mut Context,
        run: Option<u64>,
        address: Option<SocketAddr>,
        by: Option<Peer>,
    ) {
        if self.reported_duplicates.len() < DUPLICATES_REPORTED_MAX
            && self.reported_duplicates.insert(run)
        {
            self.has_new_duplicate = true;
            ctx.notify(Notice::DuplicateIdentity {
                address,
                reported_by: by,
            });
        }
    }

    fn defer(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        old: StreamId,
        hello: Hello,
        rest: Vec<Frame>,
    ) {
        liveness::restart_ping(ctx, old);
        let until = ctx.now.time + DUPLICATE_PROBE_TIMEOUT_MS;
        let Some(unfinished) = self.pending.remove(&stream) else {
            return;
        };
        if let HandshakeStage::AwaitingHello(session, reader) = unfinished.stage {
            let stage = HandshakeStage::Deferred(session, reader, Box::new(hello), rest);
            let parked = PendingHandshake {
                stage,
                deadline: until,
                ..unfinished
            };
            self.pending.insert(stream, parked);
        }
    }

    /// Ends an unfinished link with a word of why.
    fn reject(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        reason: ByeReason,
        events: &mut Vec<LinkEvent>,
    ) {
        if let Some(unfinished) = self.pending.remove(&stream) {
            if let HandshakeStage::AwaitingHello(mut session, _)
            | HandshakeStage::Deferred(mut session, ..) = unfinished.stage
            {
                let (mut plain, mut bytes) = (Vec::new(), Vec::new());
                write_frame(
                    FrameKind::Message,
                    &Message::Bye { reason }.encode(),
                    &mut plain,
                );
                if session.seal(&plain, &mut bytes).is_ok() {
                    ctx.emit(Output::Write { stream, bytes });
                }
            }
            ctx.emit(Output::Close { stream });
            events.push(LinkEvent::Failed {
                stream,
                is_self: false,
            });
        }
    }

    fn establish(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        hello: Hello,
        said: Vec<Frame>,
        events: &mut Vec<LinkEvent>,
    ) {
        let Some(unfinished) = self.pending.remove(&stream) else {
            return;
        };
        let (HandshakeStage::AwaitingHello(session, frames)
        | HandshakeStage::Deferred(session, frames, ..)) = unfinished.stage
        else {
            return;
        };
        let Some(key) = hello.sender.verifying_key() else {
            return ctx.emit(Output::Close { stream });
        };
        let now = ctx.now.time;
        let mut address = unfinished.address;
        if !stream.is_dialed() {
            address.set_port(hello.port);
        }
        let link = Link {
            peer: Peer {
                id: hello.sender,
                nick: Nick::new_or_placeholder(&hello.username),
            },
            verifying_key: key,
            run: hello.run,
            start_offset_ms: i64::try_from(hello.age).unwrap_or(i64::MAX / 2) - now.0 as i64,
            transient: hello.passing,
            address,
            handshake_started_at: unfinished.started_at,
            established_at: now,
            last_activity: now,
            last_receipt_sent: None,
            pending_ping: None,
            rtt_ms: None,
            room_hashes: hello.rooms.into_iter().collect(),
            shared_rooms: SortedSet::new(),
            routes: SortedMap::new(),
            last_offer_sent: None,
            is_blocked: false,
            digest_answered: SortedSet::new(),
            transport: session,
            frame_decoder: frames,
            send_buffer: Vec::new(),
        };
        ctx.stream_by_peer.insert(hello.sender, stream);
        ctx.links.insert(stream, link);
        ctx.last_peer_event = now;
        // So that its round trip is known to who asks.
        liveness::ping(ctx, stream);
        events.push(LinkEvent::Up(stream));
        liveness::push_frames(stream, said, events);
    }

    /// A stream was closed from outside, or a dial failed.
    pub fn handle_closed(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        events: &mut Vec<LinkEvent>,
    ) {
        if self.pending.remove(&stream).is_some() {
            ctx.counters.failed_handshakes += 1;
            events.push(LinkEvent::Failed {
                stream,
                is_self: false,
            });
        }
    }

    /// The old run's link is gone: the new run, if it waits, takes its place.
    pub fn promote_deferred(
        &mut self,
        ctx: &mut Context,
        peer: PeerId,
        events: &mut Vec<LinkEvent>,
    ) {
        let waiting = self
            .pending
            .iter_mut()
            .find_map(|(stream, u)| match &mut u.stage {
                HandshakeStage::Deferred(_, _, hello, said) if hello.sender == peer => {
                    Some((*stream, (**hello).clone(), std::mem::take(said)))
                }
                _ => None,
            });
        if let Some((stream, hello, said)) = waiting
            && !ctx.stream_by_peer.contains_key(&peer)
        {
            self.establish(ctx, stream, hello, said, events);
        }
    }

    /// A link answered its ping: runs of the same peer that wait for its place are twins of it, unless they turn out to be gone meanwhile: what a dead
    /// one said may arrive late.
    pub fn handle_pong(&mut self, ctx: &Context, stream: StreamId) {
        let Some(link) = ctx
            .links
            .get(&stream)
            .filter(|link| link.pending_ping.is_none())
        else {
            return;
        };
        for unfinished in self.pending.values_mut() {
            if let HandshakeStage::Deferred(_, _, hello, _) = &unfinished.stage {
                unfinished.is_probe_answered |= hello.sender == link.peer.id;
            }
        }
    }

    /// Ends what took too long.
    pub fn handle_timeout(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        let now = ctx.now.time;
        let late: Vec<StreamId> = self
            .pending
            .iter()
            .filter(|(_, u)| u.deadline <= now)
            .map(|(s, _)| *s)
            .collect();
        for stream in late {
            let unfinished = self.pending.get(&stream);
            let answered = unfinished.is_some_and(|u| u.is_probe_answered);
            let parked = match unfinished.map(|u| &u.stage) {
                Some(HandshakeStage::Deferred(_, _, hello, _)) => Some((hello.sender, hello.run)),
                _ => None,
            };
            let other_run = |(peer, run)| {
                let link = ctx.link_to(&peer).filter(|link| link.run != run);
                link.and_then(|_| ctx.stream_by_peer.get(&peer).copied())
            };
            match parked.and_then(other_run) {
                Some(old) if answered => {
                    let reason = ByeReason::DuplicateIdentity;
                    ctx.send(old, &Message::Bye { reason });
                    self.reject(ctx, stream, ByeReason::DuplicateIdentity, events);
                }
                // The old run did not answer: its end puts the new one in its place.
                Some(old) => liveness::disconnect(ctx, old, ByeReason::Duplicate, false, events),
                None => self.fail(ctx, stream, events),
            }
        }
    }

    /// When to end an unfinished link, or to wait for it no more.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        let next = self.pending.values().map(|u| match u.is_expected(now) {
            true => u.deadline.min(u.started_at + LINK_EXPECTED_MS),
            false => u.deadline,
        });
        next.min()
    }

    /// Ends all that is unfinished.
    pub fn close_all(&mut self, ctx: &mut Context, events: &mut Vec<LinkEvent>) {
        for stream in self.pending.keys().copied().collect::<Vec<_>>() {
            self.fail(ctx, stream, events);
        }
    }
}

/// Our hello, framed. `rooms`: those we are in; `handshake`: its hash.
fn encode_hello(ctx: &Context, handshake: &[u8; 32], rooms: &[Room]) -> Vec<u8> {
    let hello = Message::Hello(Hello {
        sender: ctx.own_id(),
        username: ctx.nick.to_string(),
        run: ctx.run,
        age: ctx.now.time.0,
        rooms: rooms
            .iter()
            .map(|room| room_hash(handshake, room))
            .collect(),
        port: ctx.port,
        passing: ctx.transient,
    });
    let mut plain = Vec::new();
    write_frame(FrameKind::Message, &hello.encode(), &mut plain);
    plain
}

/// There are as many links as may be to peers that stay.
fn is_full(ctx: &Context) -> bool {
    let staying = ctx.links.values().filter(|link| !link.transient);
    staying.count() >= LINKS_MAX || ctx.links.len() >= LINKS_MAX + TRANSIENT_LINKS_MAX
}

/// Is there a place for one more link? For one that is wanted, one that is not goes.
fn reserve_link_slot(
    ctx: &mut Context,
    peer: &PeerId,
    passing: bool,
    events: &mut Vec<LinkEvent>,
) -> bool {
    if passing {
        return ctx.links.len() < LINKS_MAX + TRANSIENT_LINKS_MAX;
    }
    if !is_full(ctx) {
        return true;
    }
    // First one that is ours to end: the other side made no use of it.
    let unwanted = |link: &Link| !link.transient && !ctx.topology.is_wanted(&link.peer.id);
    let unwanted = ctx.links.iter().filter(|(_, link)| unwanted(link));
    let spare = unwanted.map(|(stream, _)| (!stream.is_dialed(), *stream));
    match spare.min() {
        Some((_, stream)) if ctx.topology.is_wanted(peer) => {
            liveness::close(ctx, stream, ByeReason::Full, events);
            true
        }
        _ => false,
    }
}
