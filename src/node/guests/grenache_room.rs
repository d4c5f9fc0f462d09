//! Speaks Grenache's requests over WebSocket with the guests of `#grenache`. A request to a service
//! of ours is a line there, and is answered at once. What our user says there is a request to each
//! service of the room, and to those of the guests who name themselves.
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::event::output::Output;
use crate::base::event::stream_id::StreamId;
use crate::base::guests::guest::{GuestId, GuestLines, GuestNetwork, LineTarget};
use crate::base::guests::guest_event::GuestEvent;
use crate::base::hex;
use crate::base::lines::LINE_MAX_BYTES;
use crate::base::name::{NICK_MAX_CHARS, Nick};
use crate::base::table::SortedMap;
use crate::node::context::Context;
use crate::node::guest_table::{GUESTS_PER_SOURCE_MAX, GuestClaim};
use crate::node::guests::own_lines::{OwnLine, OwnLines, queue_direct};
use crate::node::guests::rpc_destinations::RpcDestinations;
use crate::node::guests::rpc_stream::{AwaitedAnswer, DialedService, RpcStream};
use crate::node::guests::source_limits::SourceLimits;
use crate::node::guests::visits::{end_visit, observe, refuse_direct, report_direct};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::grenache::grape::room_service;
use crate::wire::grenache::rpc::{RpcRequest, parse_answer, write_answer, write_request};
use crate::wire::grenache::websocket::{WebSocket, WebSocketEnd};

/// Milliseconds for which a stream may be dialed, or upgraded.
const RPC_STREAM_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds for which a stream that others dialed may be silent. A client of Grenache closes
/// its own after 120 s.
const RPC_IDLE_MS: u64 = 150_000;
/// Maximum number of streams that others dialed. Further ones are closed.
const RPC_ACCEPTED_MAX: usize = 64;
/// Maximum number of refused requests of a stream since the last one that was not. Each costs us an
/// answer, so the stream is closed then.
const RPC_REFUSALS_MAX: u32 = 64;
/// Milliseconds after which an answer is not awaited any more.
const RPC_ANSWER_TIMEOUT_MS: u64 = 10_000;
/// Milliseconds after its last request at which a guest counts as gone, unless we have a stream to
/// its service.
const RPC_GUEST_TIMEOUT_MS: u64 = 300_000;
/// Milliseconds for which our lines wait for a first guest, from the start. A Grape that has just
/// lost another one needs 2.5 s. They also wait while a service is dialed that is new.
const RPC_WAIT_MS: u64 = 3_000;
/// Maximum number of guests whose services are looked up.
const RPC_NAMES_MAX: usize = 32;

/// This program as a service of Grenache.
pub struct GrenacheRoom {
    streams: SortedMap<StreamId, RpcStream>,
    destinations: RpcDestinations,
    lines: OwnLines,
    limits: SourceLimits,
    /// Whether a line in the room was lost since one was taken: then the user knows already.
    has_reported_loss: bool,
}

impl GrenacheRoom {
    /// A program that nobody has found yet.
    pub fn new(ctx: &mut Context) -> GrenacheRoom {
        ctx.guests.open_network(GuestNetwork::Grenache);
        ctx.guests.expect_until(ctx.now.time + RPC_WAIT_MS);
        GrenacheRoom {
            streams: SortedMap::new(),
            destinations: RpcDestinations::default(),
            lines: OwnLines::default(),
            limits: SourceLimits::default(),
            has_reported_loss: false,
        }
    }

    /// Whether this is a stream of Grenache.
    pub fn owns(&self, stream: StreamId) -> bool {
        self.streams.contains_key(&stream)
    }

    /// The names of the guests whose services are to be looked up.
    pub fn sought(&self, ctx: &Context) -> Vec<String> {
        let guests = ctx.guests.present(GuestNetwork::Grenache);
        // Only what can be the name of a user, so that no guest makes a Grape refuse us.
        let named = guests.filter(|guest| guest.user == guest.nick.as_str() && !guest.is_unnamed());
        let mut of_guests: Vec<&str> = named.map(|guest| guest.user.as_str()).collect();
        of_guests.sort_unstable();
        // No guest's name takes the place of one that our user looks for.
        let mut names: Vec<String> = Vec::new();
        for name in ctx.guests.sought(ctx.now.time).chain(of_guests) {
            let is_new = name != ctx.nick.as_str() && !names.iter().any(|it| it == name);
            if is_new && names.len() < RPC_NAMES_MAX {
                names.push(name.to_owned());
            }
        }
        names.sort_unstable();
        names
    }

    /// Handles addresses of the service of the room, or of one that is sought.
    pub fn handle_found(&mut self, ctx: &mut Context, service: &str, addresses: &[SocketAddr]) {
        let now = ctx.now.time;
        let is_room = service == room_service(&GuestNetwork::Grenache.room(), None);
        let is_sought = is_room || ctx.guests.sought(now).any(|name| name == service);
        // A guest may claim any name. Our lines go to a service of that name on the guest's host
        // only, unless our user looks for the name.
        let is_of_guest = |address: &&SocketAddr| {
            let mut guests = ctx.guests.present(GuestNetwork::Grenache);
            is_sought || guests.any(|it| it.user == service && it.source == address.ip())
        };
        for address in addresses.iter().filter(is_of_guest) {
            self.destinations.record(now, service, is_room, *address);
        }
        self.dial_due(ctx);
    }

    fn dial_due(&mut self, ctx: &mut Context) {
        for due in self.destinations.take_due(ctx.now.time) {
            let address = due.address;
            let stream = ctx.next_dialed_stream();
            let (websocket, request) = WebSocket::client(address, ctx.random_bytes());
            let deadline = ctx.now.time + RPC_STREAM_TIMEOUT_MS;
            let service = Some(DialedService::new(due.service, !due.has_failed));
            let mut state = RpcStream::new(address, websocket, service, deadline);
            // The request waits until the stream is connected.
            state.set_blocked(ctx, stream, true);
            state.write(ctx, stream, request);
            self.streams.insert(stream, state);
            ctx.emit(Output::Dial {
                stream,
                address,
                interface: None,
            });
        }
    }

    /// Takes over an accepted stream that may speak WebSocket.
    pub fn accept(&mut self, ctx: &mut Context, stream: StreamId, address: SocketAddr) {
        let (mut accepted, mut of_host) = (0, 0);
        for state in self.streams.values().filter(|it| it.service.is_none()) {
            accepted += 1;
            of_host += usize::from(state.address.ip() == address.ip());
        }
        if accepted >= RPC_ACCEPTED_MAX || of_host >= GUESTS_PER_SOURCE_MAX {
            return ctx.emit(Output::Close { stream });
        }
        let deadline = ctx.now.time + RPC_STREAM_TIMEOUT_MS;
        let state = RpcStream::new(address, WebSocket::server(), None, deadline);
        self.streams.insert(stream, state);
    }

    /// Records whether a stream accepts bytes.
    pub fn set_blocked(&mut self, ctx: &mut Context, stream: StreamId, is_blocked: bool) {
        if let Some(state) = self.streams.get_mut(&stream) {
            state.set_blocked(ctx, stream, is_blocked);
        }
    }

    /// Handles received bytes of a stream. `services`: the names of ours.
    pub fn handle_bytes(
        &mut self,
        ctx: &mut Context,
        services: &[String],
        stream: StreamId,
        bytes: &[u8],
    ) {
        let mask = ctx.random_bytes();
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        let mut received = state.websocket.receive(bytes, mask);
        let is_dialed = state.service.is_some();
        let mut reads = state.write(ctx, stream, std::mem::take(&mut received.reply));
        if received.is_opened {
            self.open(ctx, stream);
        }
        if is_dialed {
            for message in received.messages {
                self.handle_answer(ctx, stream, &message);
            }
        } else {
            let mut answers = Vec::new();
            for message in received.messages {
                reads = reads && self.answer(ctx, services, stream, &message, &mut answers);
            }
            // Nothing follows a goodbye.
            if let Some(state) = self.streams.get_mut(&stream)
                && received.end.is_none()
            {
                reads &= state.write(ctx, stream, answers);
            }
        }
        if received.end.is_some() || !reads {
            self.close(ctx, stream, received.end == Some(WebSocketEnd::Forbidden));
        }
        self.send_waiting(ctx);
    }

    /// Shows the guest at the other end of a stream that is upgraded now, if we dialed it.
    fn open(&mut self, ctx: &mut Context, stream: StreamId) {
        let now = ctx.now.time;
        let Some(state) = self.streams.get_mut(&stream) else {
            return;
        };
        state.deadline = Some(now + RPC_IDLE_MS).filter(|_| state.service.is_none());
        if let Some(service) = &mut state.service {
            service.opened_at = Some(now);
            let is_room = service.name == room_service(&GuestNetwork::Grenache.room(), None);
            let name = Some(service.name.as_str()).filter(|_| !is_room);
            let guest = observe_guest(ctx, state.address, name);
            service.guest = guest;
            if guest.is_none() {
                self.close(ctx, stream, false);
            }
        }
    }

    /// Handles a request, and appends the answer. Returns false if the stream is to be closed: it
    /// was no request, or one of too many that were refused.
    fn answer(
        &mut self,
        ctx: &mut Context,
        services: &[String],
        stream: StreamId,
        message: &str,
        answers: &mut Vec<u8>,
    ) -> bool {
        let Some(request) = RpcRequest::parse(message) else {
            return false;
        };
        let id = request.id.clone();
        let refusal = self.handle_request(ctx, services, stream, request).err();
        let Some(state) = self.streams.get_mut(&stream) else {
            return false;
        };
        state.refusals = match refusal {
            Some(_) => state.refusals + 1,
            None => 0,
        };
        // A service masks nothing.
        let bytes = state.websocket.text(&write_answer(&id, refusal), [0; 4]);
        answers.extend_from_slice(&bytes);
        state.refusals < RPC_REFUSALS_MAX
    }

    /// Shows the line of a request.
    ///
    /// # Errors
    /// Why the request is refused.
    fn handle_request(
        &mut self,
        ctx: &mut Context,
        services: &[String],
        stream: StreamId,
        request: RpcRequest,
    ) -> Result<(), &'static str> {
        const TOO_MANY: &str = "ERR_P2PCHAT_TOO_MANY";
        let state = self.streams.get_mut(&stream).ok_or(TOO_MANY)?;
        let source = state.address.ip();
        state.deadline = Some(ctx.now.time + RPC_IDLE_MS);
        if !self.limits.admit(ctx.now.time, source) {
            return Err(TOO_MANY);
        }
        if !services.contains(&request.service) {
            return Err("ERR_P2PCHAT_NO_SERVICE");
        }
        if request.text.len() > LINE_MAX_BYTES {
            return Err("ERR_P2PCHAT_TOO_LONG");
        }
        let from = SocketAddr::new(source, 0);
        let id = observe_guest(ctx, from, request.name.as_deref()).ok_or(TOO_MANY)?;
        if let Some(guest) = ctx.guests.get(id) {
            let room = guest.network.room();
            let content = request.text;
            let notice = guest.notice(ctx.now.wall, GuestEvent::Posted { room, content });
            ctx.notify(notice);
        }
        Ok(())
    }

    /// Handles an answer: the line has arrived, unless the service refused it.
    fn handle_answer(&mut self, ctx: &mut Context, stream: StreamId, message: &str) {
        let state = self.streams.get_mut(&stream);
        let Some(service) = state.and_then(|state| state.service.as_mut()) else {
            return;
        };
        let Some((id, is_taken)) = parse_answer(message) else {
            return;
        };
        let Some(at) = service.awaited.iter().position(|it| it.id == id) else {
            return;
        };
        let Some(AwaitedAnswer { target, .. }) = service.awaited.remove(at) else {
            return;
        };
        if let Some(guest) = service.guest.and_then(|id| ctx.guests.get_mut(id)) {
            guest.last_heard = ctx.now.time;
        }
        let result = match is_taken {
            true => Ok(()),
            false => Err("refused it"),
        };
        self.report(ctx, target, result);
    }

    /// Records whether a service took a line. A line in the room is lost once no service can take
    /// it any more. The user hears of one loss until a line is taken; a program that leaves soon
    /// says it with its delivery.
    fn report(&mut self, ctx: &mut Context, target: LineTarget, result: Result<(), &'static str>) {
        match (&target, result) {
            (LineTarget::Guest { id, request_id }, _) => {
                report_direct(ctx, *id, *request_id, result);
            }
            (LineTarget::Room(log, sequence), Ok(())) => {
                self.has_reported_loss = false;
                ctx.guests.record_sent(log, *sequence);
            }
            (LineTarget::Room(log, sequence), Err(_)) => {
                let is_settled = ctx.guests.is_settled(log, &(*sequence..=*sequence));
                if is_settled || self.is_awaited(&target) {
                    return;
                }
                ctx.guests.record_lost(log, *sequence);
                let is_said = std::mem::replace(&mut self.has_reported_loss, true);
                if !is_said && !ctx.transient {
                    ctx.notify(Notice::Error {
                        code: ErrorCode::Guests,
                        content: format!(
                            "no guest of {} took a line: none of their services answers, or all \
                             refuse",
                            GuestNetwork::Grenache.room()
                        ),
                    });
                }
            }
        }
    }

    /// Whether a service may still take this line.
    fn is_awaited(&self, target: &LineTarget) -> bool {
        let mut services = self.streams.values().filter_map(|it| it.service.as_ref());
        services.any(|service| service.awaited.iter().any(|it| it.target == *target))
    }

    fn close(&mut self, ctx: &mut Context, stream: StreamId, is_peer: bool) {
        if self.owns(stream) {
            self.handle_closed(ctx, stream, is_peer);
            ctx.emit(Output::Close { stream });
        }
    }

    /// Handles the end of a stream. `is_peer`: it was one of a p2pchat.
    pub fn handle_closed(&mut self, ctx: &mut Context, stream: StreamId, is_peer: bool) {
        let Some(RpcStream {
            address, service, ..
        }) = self.streams.remove(&stream)
        else {
            return;
        };
        let Some(service) = service else {
            return;
        };
        self.destinations
            .record_end(ctx.now.time, &address, service.opened_at, is_peer);
        for AwaitedAnswer { target, .. } in service.awaited {
            self.report(ctx, target, Err("has gone"));
        }
        let guest = service.guest.filter(|id| !self.has_stream(*id));
        if let Some(id) = guest {
            end_visit(ctx, id);
        }
    }

    fn has_stream(&self, id: GuestId) -> bool {
        self.streams_of(id).next().is_some()
    }

    fn streams_of(&self, id: GuestId) -> impl Iterator<Item = (StreamId, SocketAddr)> {
        let is_its = move |state: &RpcStream| {
            let service = state.service.as_ref();
            service.is_some_and(|service| service.guest == Some(id))
        };
        let streams = self.streams.iter();
        let its = streams.filter(move |(_, state)| is_its(state));
        its.map(|(stream, state)| (*stream, state.address))
    }

    /// The stream for lines to one guest. Several services on a host may have its name: the one
    /// at the address that is shown is meant.
    fn stream_of(&self, ctx: &Context, id: GuestId) -> Option<StreamId> {
        let shown = ctx.guests.get(id).map(|guest| guest.address);
        let of_shown = self.streams_of(id).find(|(_, at)| Some(*at) == shown);
        let (stream, _) = of_shown.or_else(|| self.streams_of(id).next())?;
        Some(stream)
    }

    /// Queues lines for one guest, and shows them as sent.
    pub fn send_direct(&mut self, ctx: &mut Context, direct: &GuestLines) {
        if !self.has_stream(direct.guest) {
            let name = ctx.guests.get(direct.guest).map(|guest| guest.name());
            let why = format!("no Grape knows a service of {}", name.unwrap_or_default());
            let count = direct.lines.count() as u64;
            return refuse_direct(ctx, direct.request_id, count, &why);
        }
        queue_direct(ctx, &mut self.lines, direct);
        self.send_waiting(ctx);
    }

    /// Forgets waiting lines that the store refused.
    pub fn forget_lines(&mut self, refused: &[Arc<Batch>]) {
        self.lines.forget(refused);
    }

    /// Takes the lines that our user said in the room of guests, and sends what may leave now.
    pub fn end_turn(&mut self, ctx: &mut Context) {
        for batch in ctx.guests.take_published(GuestNetwork::Grenache) {
            self.lines.push_batch(&batch);
        }
        self.send_waiting(ctx);
        self.lines.report_dropped(ctx, GuestNetwork::Grenache);
        let expected = self.streams.values().filter(|it| it.is_expected());
        let until = expected.filter_map(|it| it.deadline).max();
        ctx.guests.set_dialed_until(until);
    }

    /// Number of services that take our lines now. Without one, they wait.
    fn reader_count(&self) -> usize {
        self.streams.values().filter(|it| it.is_reading()).count()
    }

    fn send_waiting(&mut self, ctx: &mut Context) {
        while !self.lines.is_empty()
            && let Some(OwnLine { target, text }) =
                self.lines.pop(ctx.now.time, self.reader_count())
        {
            let streams: Vec<StreamId> = match &target {
                LineTarget::Room(..) => {
                    let ready = self.streams.iter().filter(|(_, state)| state.is_ready());
                    ready.map(|(stream, _)| *stream).collect()
                }
                LineTarget::Guest { id, .. } => self.stream_of(ctx, *id).into_iter().collect(),
            };
            self.request(ctx, &streams, target, &text);
        }
    }

    /// Sends a line to the services at the other ends of these streams.
    fn request(&mut self, ctx: &mut Context, streams: &[StreamId], target: LineTarget, text: &str) {
        let until = ctx.now.time + RPC_ANSWER_TIMEOUT_MS;
        let (mut written, mut late) = (Vec::new(), Vec::new());
        // All answers are awaited before the first stream may fail.
        for stream in streams {
            let (mask, id) = (ctx.random_bytes(), request_id(ctx));
            if let Some(state) = self.streams.get_mut(stream)
                && let Some(service) = &mut state.service
            {
                let message = write_request(&id, &service.name, ctx.nick.as_str(), text);
                let target = target.clone();
                late.extend(service.push_awaited(AwaitedAnswer { id, target, until }));
                written.push((*stream, state.websocket.text(&message, mask)));
            }
        }
        for AwaitedAnswer { target, .. } in late {
            self.report(ctx, target, Err("does not answer"));
        }
        if written.is_empty() {
            self.report(ctx, target, Err("has gone"));
        }
        for (stream, bytes) in written {
            let state = self.streams.get_mut(&stream);
            if state.is_some_and(|state| !state.write(ctx, stream, bytes)) {
                self.close(ctx, stream, false);
            }
        }
    }

    /// Says goodbye on every stream. A Grape knows no goodbye.
    pub fn leave(&mut self, ctx: &mut Context) {
        let streams: Vec<StreamId> = self.streams.keys().copied().collect();
        for stream in streams {
            let mask = ctx.random_bytes();
            if let Some(state) = self.streams.get_mut(&stream)
                && state.is_ready()
            {
                let bytes = state.websocket.goodbye(mask);
                state.write(ctx, stream, bytes);
            }
            self.streams.remove(&stream);
            ctx.emit(Output::Close { stream });
        }
    }

    /// Adds the times of dials and waiting lines, and at which guests, streams or answers expire.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        let next_line_at = self.lines.next_at(self.reader_count() > 0);
        deadlines.add_some(Timer::Guests, next_line_at);
        deadlines.add_some(Timer::Guests, self.destinations.next_dial_at());
        deadlines.add_some(Timer::Guests, ctx.guests.sought_until(ctx.now.time));
        for state in self.streams.values() {
            deadlines.add_some(Timer::Guests, state.deadline);
            let service = state.service.as_ref();
            let oldest = service.and_then(|service| service.awaited.front());
            deadlines.add_some(Timer::Guests, oldest.map(|it| it.until));
        }
        for guest in ctx.guests.present(GuestNetwork::Grenache) {
            if !self.has_stream(guest.id) {
                deadlines.add(Timer::Guests, guest.last_heard + RPC_GUEST_TIMEOUT_MS);
            }
        }
        self.limits.state_deadlines(deadlines);
    }

    /// Dials services, closes streams that were not upgraded, and shows silent guests as gone, if
    /// that is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        let now = ctx.now.time;
        let late = self.streams.iter();
        let late = late.filter(|(_, state)| state.deadline.is_some_and(|at| at <= now));
        for stream in late.map(|(stream, _)| *stream).collect::<Vec<_>>() {
            self.close(ctx, stream, false);
        }
        let mut late = Vec::new();
        let services = self.streams.values_mut();
        for service in services.filter_map(|state| state.service.as_mut()) {
            while let Some(answer) = service.awaited.pop_front_if(|it| it.until <= now) {
                late.push(answer.target);
            }
        }
        for target in late {
            self.report(ctx, target, Err("does not answer"));
        }
        let silent = ctx.guests.present(GuestNetwork::Grenache);
        let silent = silent.filter(|guest| guest.last_heard + RPC_GUEST_TIMEOUT_MS <= now);
        let silent = silent.map(|guest| guest.id);
        let silent: Vec<GuestId> = silent.filter(|id| !self.has_stream(*id)).collect();
        for id in silent {
            end_visit(ctx, id);
        }
        self.dial_due(ctx);
        self.limits.handle_timeout(ctx, GuestNetwork::Grenache);
    }
}

/// Finds or adds the guest who claims this name, or has none, on the host with this address.
fn observe_guest(ctx: &mut Context, address: SocketAddr, name: Option<&str>) -> Option<GuestId> {
    let source: IpAddr = address.ip();
    let unnamed = source.to_string();
    // A name that is an address would pass for a guest of that host.
    let name = name.filter(|name| name.parse::<IpAddr>().is_err());
    let claim = GuestClaim {
        network: GuestNetwork::Grenache,
        source,
        user: name.unwrap_or(&unnamed),
        nick: match name {
            Some(name) => Nick::new_or_placeholder(name),
            None => name_of_address(source)?,
        },
        address,
        interface: 0,
    };
    observe(ctx, claim)
}

/// The name of a guest who has none. Of an IPv6 address too long for a name, the end remains: hosts
/// of one network differ there.
fn name_of_address(source: IpAddr) -> Option<Nick> {
    let text = source.to_string().replace(':', ".");
    let surplus = text.len().saturating_sub(NICK_MAX_CHARS);
    Nick::sanitize(text.get(surplus..)?)
}

/// A random UUID (RFC 9562, version 4), as Grenache numbers its requests.
fn request_id(ctx: &mut Context) -> String {
    let (high, low) = (ctx.random_u64(), ctx.random_u64());
    let high = hex::format(high & !0xf000 | 0x4000);
    let low = hex::format(low >> 2 | 1 << 63);
    let (a, rest) = high.split_at(8);
    let (b, c) = rest.split_at(4);
    let (d, e) = low.split_at(4);
    [a, b, c, d, e].join("-")
}

#[cfg(test)]
mod tests {
    use super::name_of_address;

    #[test]
    fn hosts_of_one_network_have_different_names() {
        let address = |host: u16| [0xfd00, 1, 2, 0x1003, 0x1004, 0x1005, 0x1006, host].into();
        let [one, other] = [0x1007, 0x1008].map(|host| name_of_address(address(host)));
        assert!(one.is_some() && other.is_some());
        assert_ne!(one, other);
    }
}
