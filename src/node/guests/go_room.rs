//! Speaks the protocol of p2pchat in Go with the guests of `#p2pchat-go`. Each two programs have
//! one TCP stream, which the one with the smaller id dials. The dialer names itself first.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::guests::guest::{GuestId, GuestNetwork, LineTarget};
use crate::base::guests::guest_event::GuestEvent;
use crate::base::hex;
use crate::base::name::Nick;
use crate::base::table::SortedMap;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::guest_table::{GUEST_PORT_MIN, GUEST_WAIT_MS, GUESTS_PER_SOURCE_MAX, GuestClaim};
use crate::node::guests::own_lines::{OwnLine, OwnLines};
use crate::node::guests::source_limits::SourceLimits;
use crate::node::guests::visits::{end_visit, observe};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::go_p2pchat::{GoBeacon, GoMessage, GoMessageKind, gateway_id};

/// Milliseconds between two of our beacons.
const GO_BEACON_INTERVAL_MS: u64 = 5_000;
/// Milliseconds without a beacon after which a guest without a stream counts as gone.
const GO_TIMEOUT_MS: u64 = 30_000;
/// Milliseconds for which a stream may be dialed, or may not name its guest.
const GO_STREAM_TIMEOUT_MS: u64 = 5_000;
/// Least time between two dials of a guest, in milliseconds. Each failure doubles it.
const GO_DIAL_INTERVAL_MS: u64 = 5_000;
/// Maximum number of doublings of [`GO_DIAL_INTERVAL_MS`].
const GO_DIAL_DOUBLINGS_MAX: u32 = 4;
/// Maximum number of streams. Further ones are closed.
const GO_STREAMS_MAX: usize = 64;
/// Longest message, in bytes. A stream with a longer one is closed.
const GO_MESSAGE_MAX_BYTES: usize = 32 * 1024;
/// Maximum size of the messages that wait while a guest reads nothing, in bytes. Beyond, its stream
/// is closed.
const GO_UNSENT_MAX_BYTES: usize = 64 * 1024;

/// A stream of a guest.
struct GoStream {
    address: SocketAddr,
    /// `None`: the dialer has not named itself yet.
    guest: Option<GuestId>,
    /// When to close the stream, unless it is established by then. `None`: it is.
    deadline: Option<Time>,
    /// The beginning of a message.
    received: Vec<u8>,
    is_blocked: bool,
    /// Messages that wait while the stream is blocked.
    unsent: Vec<u8>,
}

impl GoStream {
    /// Whether the stream is established.
    fn is_ready(&self) -> bool {
        self.guest.is_some() && self.deadline.is_none()
    }
}

/// When a guest may be dialed.
#[derive(Default)]
struct Dialing {
    next_at: Time,
    failures: u32,
}

/// This program as a p2pchat in Go.
pub struct GoRoom {
    /// Our id.
    id: String,
    next_beacon_at: Option<Time>,
    sent_beacons: u64,
    sent_messages: u64,
    streams: SortedMap<StreamId, GoStream>,
    dialing: SortedMap<GuestId, Dialing>,
    lines: OwnLines,
    limits: SourceLimits,
}

impl GoRoom {
    /// A program that has not spoken yet.
    pub fn new(ctx: &mut Context) -> GoRoom {
        ctx.guests.open_network(GuestNetwork::GoP2pchat);
        let unique = hex::format(ctx.random_u64());
        GoRoom {
            id: gateway_id(&ctx.network.short(), &unique),
            next_beacon_at: None,
            sent_beacons: 0,
            sent_messages: 0,
            streams: SortedMap::new(),
            dialing: SortedMap::new(),
            lines: OwnLines::default(),
            limits: SourceLimits::default(),
        }
    }

    /// Sends a beacon at once, as the interfaces have changed.
    pub fn handle_interfaces(&mut self, ctx: &Context) {
        self.next_beacon_at = Some(ctx.now.time);
    }

    /// Whether this is a stream of a guest.
    pub fn owns(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// Handles a datagram. Returns false if it is no beacon of p2pchat in Go.
    pub fn handle_beacon(
        &mut self,
        ctx: &mut Context,
        interface: u32,
        source: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        let Some(beacon) = GoBeacon::parse(bytes) else {
            return false;
        };
        ctx.counters.go_beacons += 1;
        let ip = source.ip();
        if self.is_ours(ctx, &beacon.id) || !ctx.is_on_link(interface, ip) {
            return true;
        }
        if !self.limits.admit(ctx.now.time, ip) {
            return true;
        }
        if beacon.is_leaving {
            // A guest with a stream says goodbye there.
            let guest = self.find(ctx, ip, &beacon.id);
            if let Some(id) = guest.filter(|id| !self.has_stream(*id)) {
                end_visit(ctx, id);
            }
            return true;
        }
        let address = SocketAddr::new(ip, beacon.port);
        if let Some(id) = observe_guest(ctx, address, &beacon.id, &beacon.nick, interface) {
            self.dial(ctx, id);
        }
        true
    }

    /// Whether a program of our network has this id. Its lines come signed.
    fn is_ours(&self, ctx: &Context, id: &str) -> bool {
        id.starts_with(&gateway_id(&ctx.network.short(), ""))
    }

    fn find(&self, ctx: &Context, source: IpAddr, id: &str) -> Option<GuestId> {
        let guest = ctx.guests.find(GuestNetwork::GoP2pchat, source, id);
        guest.map(|guest| guest.id)
    }

    /// Dials a guest without a stream, if that is ours to do and its time has come.
    fn dial(&mut self, ctx: &mut Context, id: GuestId) {
        let has_stream = self.streams.values().any(|stream| stream.guest == Some(id));
        let Some(guest) = ctx.guests.get(id) else {
            return;
        };
        let address = guest.address;
        // Beacons are unsigned, so many forged ones may name the address of one victim.
        let is_busy = self.streams.values().any(|state| state.address == address);
        let is_ours_to_dial = self.id < guest.user && address.port() >= GUEST_PORT_MIN;
        let has_place = !is_busy && self.streams.len() < GO_STREAMS_MAX;
        if has_stream || !is_ours_to_dial || !has_place {
            return;
        }
        let now = ctx.now.time;
        let dialing = self.dialing.get_or_default(id);
        if dialing.next_at > now {
            return;
        }
        let doublings = dialing.failures.min(GO_DIAL_DOUBLINGS_MAX);
        dialing.next_at = now + (GO_DIAL_INTERVAL_MS << doublings);
        dialing.failures = dialing.failures.saturating_add(1);
        let stream = ctx.next_dialed_stream();
        self.insert(ctx, stream, address, Some(id));
        ctx.emit(Output::Dial {
            stream,
            address,
            interface: None,
        });
    }

    fn insert(
        &mut self,
        ctx: &Context,
        stream: StreamId,
        address: SocketAddr,
        guest: Option<GuestId>,
    ) {
        let state = GoStream {
            address,
            guest,
            deadline: Some(ctx.now.time + GO_STREAM_TIMEOUT_MS),
            received: Vec::new(),
            is_blocked: false,
            unsent: Vec::new(),
        };
        self.streams.insert(stream, state);
    }

    /// Takes over an accepted stream that speaks this protocol.
    pub fn accept(&mut self, ctx: &mut Context, stream: StreamId, address: SocketAddr) {
        let is_near = ctx.is_own_address(address.ip()) || is_near(ctx, address.ip());
        let of_source = self
            .streams
            .values()
            .filter(|s| s.address.ip() == address.ip());
        let has_place = of_source.count() < GUESTS_PER_SOURCE_MAX;
        match is_near && has_place && self.streams.len() < GO_STREAMS_MAX {
            true => self.insert(ctx, stream, address, None),
            false => ctx.emit(Output::Close { stream }),
        }
    }

    /// Names us on a stream that we dialed. The second message is the one that is shown there.
    pub fn handle_connected(&mut self, ctx: &mut Context, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.deadline = None;
        }
        for _ in 0..2 {
            self.write(ctx, stream, GoMessageKind::Join, "");
        }
    }

    /// Records whether a stream accepts bytes. Writes what has waited.
    pub fn set_blocked(&mut self, ctx: &mut Context, stream: StreamId, is_blocked: bool) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.is_blocked = is_blocked;
            let bytes = match is_blocked {
                true => Vec::new(),
                false => std::mem::take(&mut state.unsent),
            };
            if !bytes.is_empty() {
                ctx.emit(Output::Write { stream, bytes });
            }
        }
    }

    /// Handles received bytes of a stream.
    pub fn handle_bytes(&mut self, ctx: &mut Context, stream: StreamId, mut bytes: &[u8]) {
        while let Some(state) = self.streams.get_mut(&stream) {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let part = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
            if state.received.len() + part.len() > GO_MESSAGE_MAX_BYTES {
                return self.close(ctx, stream);
            }
            state.received.extend_from_slice(part);
            let Some(end) = end else {
                return;
            };
            let line = std::mem::take(&mut state.received);
            let source = state.address.ip();
            bytes = bytes.get(end + 1..).unwrap_or_default();
            if self.limits.admit(ctx.now.time, source) {
                match GoMessage::parse(&line) {
                    Some(message) => self.handle_message(ctx, stream, message),
                    None => self.close(ctx, stream),
                }
            }
        }
    }

    fn handle_message(&mut self, ctx: &mut Context, stream: StreamId, message: GoMessage) {
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        let (address, named) = (state.address, state.guest);
        let own_port_unknown = SocketAddr::new(address.ip(), 0);
        let is_named = named.is_some_and(|id| {
            let guest = ctx.guests.get(id);
            guest.is_some_and(|guest| guest.user == message.id)
        });
        // The first message names the guest. No later one may name another.
        if named.is_some() && !is_named || self.is_ours(ctx, &message.id) {
            return self.close(ctx, stream);
        }
        let known = self.find(ctx, address.ip(), &message.id);
        let interface = known
            .and_then(|id| ctx.guests.get(id))
            .map_or(0, |g| g.interface);
        let Some(id) = observe_guest(ctx, own_port_unknown, &message.id, &message.nick, interface)
        else {
            return self.close(ctx, stream);
        };
        if named.is_none() {
            self.adopt(ctx, stream, id);
        }
        // Only a program that speaks this protocol may be dialed often.
        if let Some(dialing) = self.dialing.get_mut(&id) {
            dialing.failures = 0;
        }
        match message.kind {
            GoMessageKind::Chat => {
                if let Some(guest) = ctx.guests.get(id) {
                    let event = GuestEvent::Posted {
                        room: guest.network.room(),
                        content: message.content,
                    };
                    let notice = guest.notice(ctx.now.wall, event);
                    ctx.notify(notice);
                }
            }
            GoMessageKind::Leave => {
                end_visit(ctx, id);
                self.close(ctx, stream);
            }
            GoMessageKind::Join | GoMessageKind::Other => {}
        }
        self.send_waiting(ctx);
    }

    /// Makes an accepted stream the only one of a guest.
    fn adopt(&mut self, ctx: &mut Context, stream: StreamId, id: GuestId) {
        let others = self
            .streams
            .iter()
            .filter(|(_, state)| state.guest == Some(id));
        let others: Vec<StreamId> = others.map(|(other, _)| *other).collect();
        for other in others {
            self.close(ctx, other);
        }
        if let Some(state) = self.streams.get_mut(&stream) {
            (state.guest, state.deadline) = (Some(id), None);
        }
    }

    fn close(&mut self, ctx: &mut Context, stream: StreamId) {
        if self.streams.remove(&stream).is_some() {
            ctx.emit(Output::Close { stream });
        }
    }

    /// Handles the end of a stream. The guest stays while its beacons come.
    pub fn handle_closed(&mut self, stream: StreamId) {
        self.streams.remove(&stream);
    }

    /// Forgets waiting lines that the store refused.
    pub fn forget_lines(&mut self, refused: &[Arc<Batch>]) {
        self.lines.forget(refused);
    }

    /// Takes the lines that our user said in the room of guests, and sends what may leave now.
    pub fn end_turn(&mut self, ctx: &mut Context) {
        for batch in ctx.guests.take_published(GuestNetwork::GoP2pchat) {
            self.lines.push_batch(&batch);
        }
        self.send_waiting(ctx);
        self.lines.report_dropped(ctx, GuestNetwork::GoP2pchat);
    }

    /// Number of established streams that take bytes now. Without one, our lines wait.
    fn reader_count(&self) -> usize {
        let states = self.streams.values();
        let readers = states.filter(|state| state.is_ready() && !state.is_blocked);
        readers.count()
    }

    /// The established streams.
    fn ready_streams(&self) -> Vec<StreamId> {
        let ready = self.streams.iter().filter(|(_, state)| state.is_ready());
        ready.map(|(stream, _)| *stream).collect()
    }

    fn send_waiting(&mut self, ctx: &mut Context) {
        if self.lines.is_empty() {
            return;
        }
        while let Some(OwnLine { target, text }) = self.lines.pop(ctx.now.time, self.reader_count())
        {
            if let LineTarget::Room(log, sequence) = target {
                let mut was_taken = false;
                for stream in self.ready_streams() {
                    was_taken |= self.write(ctx, stream, GoMessageKind::Chat, &text);
                }
                if was_taken {
                    ctx.guests.record_sent(&log, sequence);
                }
            }
        }
    }

    /// Writes a message, or keeps it while the stream is blocked. Returns whether it was written.
    fn write(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        kind: GoMessageKind,
        text: &str,
    ) -> bool {
        self.sent_messages += 1;
        let message = GoMessage {
            kind,
            id: self.id.clone(),
            nick: ctx.nick.clone(),
            content: text.to_owned(),
        };
        let mut bytes = Vec::new();
        message.write(ctx.now.wall, self.sent_messages, &mut bytes);
        let Some(state) = self.streams.get_mut(&stream) else {
            return false;
        };
        if !state.is_blocked {
            ctx.emit(Output::Write { stream, bytes });
            return true;
        }
        if state.unsent.len() + bytes.len() > GO_UNSENT_MAX_BYTES {
            self.close(ctx, stream);
        } else {
            state.unsent.extend_from_slice(&bytes);
        }
        false
    }

    /// Says goodbye on every stream, and by a beacon.
    pub fn leave(&mut self, ctx: &mut Context) {
        for stream in self.ready_streams() {
            self.write(ctx, stream, GoMessageKind::Leave, "");
        }
        for stream in self.streams.keys().copied().collect::<Vec<_>>() {
            self.close(ctx, stream);
        }
        self.send_beacon(ctx, true);
    }

    fn send_beacon(&mut self, ctx: &mut Context, is_leaving: bool) {
        let beacon = GoBeacon {
            id: self.id.clone(),
            nick: ctx.nick.clone(),
            port: ctx.port,
            is_leaving,
        };
        let bytes = beacon.encode(ctx.now.wall, self.sent_beacons);
        self.sent_beacons += 1;
        ctx.emit(Output::SendBeacon {
            interface: None,
            bytes,
        });
    }

    /// Adds the times of our next beacon, of waiting lines, and at which guests or streams end.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        self.limits.state_deadlines(deadlines);
        deadlines.add_some(Timer::Guests, self.next_beacon_at);
        let next_line_at = self.lines.next_at(self.reader_count() > 0);
        deadlines.add_some(Timer::Guests, next_line_at);
        for state in self.streams.values() {
            deadlines.add_some(Timer::Guests, state.deadline);
        }
        for guest in ctx.guests.present(GuestNetwork::GoP2pchat) {
            if !self.has_stream(guest.id) {
                deadlines.add(Timer::Guests, guest.last_heard + GO_TIMEOUT_MS);
            }
        }
    }

    fn has_stream(&self, id: GuestId) -> bool {
        let mut states = self.streams.values();
        states.any(|state| state.guest == Some(id) && state.deadline.is_none())
    }

    /// Sends our beacon, closes streams that were not established, and shows silent guests as gone,
    /// if that is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        self.limits.handle_timeout(ctx, GuestNetwork::GoP2pchat);
        let now = ctx.now.time;
        let late = self.streams.iter();
        let late = late.filter(|(_, state)| state.deadline.is_some_and(|at| at <= now));
        for stream in late.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.close(ctx, stream);
        }
        let silent = ctx.guests.present(GuestNetwork::GoP2pchat);
        let silent = silent.filter(|guest| guest.last_heard + GO_TIMEOUT_MS <= now);
        let silent = silent.map(|guest| guest.id);
        let silent: Vec<GuestId> = silent.filter(|id| !self.has_stream(*id)).collect();
        for id in silent {
            end_visit(ctx, id);
        }
        self.dialing.retain(|id, _| ctx.guests.get(*id).is_some());
        if self.next_beacon_at.is_some_and(|at| at <= now) {
            if self.sent_beacons == 0 {
                ctx.guests.expect_until(now + GUEST_WAIT_MS);
            }
            self.next_beacon_at = Some(now + GO_BEACON_INTERVAL_MS);
            self.send_beacon(ctx, false);
        }
    }
}

/// Finds or adds the guest with this id.
fn observe_guest(
    ctx: &mut Context,
    address: SocketAddr,
    user: &str,
    nick: &Nick,
    interface: u32,
) -> Option<GuestId> {
    let claim = GuestClaim {
        network: GuestNetwork::GoP2pchat,
        source: address.ip(),
        user,
        nick: nick.clone(),
        address,
        interface,
    };
    observe(ctx, claim)
}

/// Whether a neighbour on any of our interfaces may have this address.
fn is_near(ctx: &Context, ip: IpAddr) -> bool {
    let mut interfaces = ctx.interfaces.iter().map(|i| i.index);
    interfaces.any(|index| ctx.is_on_link(index, ip))
}
