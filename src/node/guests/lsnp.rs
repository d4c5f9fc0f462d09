//! Speaks LSNP with the guests of `#lsnp`: tells them that we are here, sends them our user's
//! lines, and shows theirs.
//!
//! Some programs answer every discovery with a discovery. Two that do so never stop. Therefore we
//! answer only a discovery that was sent to everybody, of a guest that does not know us yet.
use std::net::{IpAddr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::event::output::Output;
use crate::base::guests::guest::{
    GuestId, GuestLines, GuestNetwork, LineTarget, PICTURE_MAX_BYTES,
};
use crate::base::guests::guest_event::GuestEvent;
use crate::base::guests::lsnp::{LsnpConfig, LsnpInput, LsnpOutput, LsnpRequest};
use crate::base::hex;
use crate::base::interface::Interface;
use crate::base::lines::LINE_MAX_BYTES;
use crate::base::name::{Nick, Room};
use crate::base::presence::profile::{Avatar, DISPLAY_NAME_FIELD, Profile, STATUS_FIELD};
use crate::base::rate_limiter::RateLimiter;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::guest_table::{GUEST_PORT_MIN, GUEST_WAIT_MS, Guest, GuestClaim};
use crate::node::guests::own_lines::{OwnLine, OwnLines, queue_direct};
use crate::node::guests::source_limits::SourceLimits;
use crate::node::guests::visits::{end_visit, remark, report_direct};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::lsnp::{LSNP_LISTED_MAX, LsnpContent, LsnpMessage, user_name};

/// Milliseconds between two of our discoveries.
const LSNP_DISCOVERY_INTERVAL_MS: u64 = 30_000;
/// Milliseconds from the first discovery to the second one. The first may have been too early for a
/// network that just came up.
const LSNP_SECOND_DISCOVERY_MS: u64 = 1_000;
/// Milliseconds without a message after which a guest counts as gone.
const LSNP_TIMEOUT_MS: u64 = 300_000;
/// Milliseconds after which a guest is told again that we are here. Some programs never hear the
/// discovery that is sent to everybody.
const LSNP_REMIND_INTERVAL_MS: u64 = 120_000;
/// Milliseconds for which an answer to a request for a list is awaited.
const LSNP_LIST_TIMEOUT_MS: u64 = 10_000;
/// Least time between two lists that we send to a guest, in milliseconds. A request is much smaller
/// than its answer, and may be forged.
const LSNP_LIST_INTERVAL_MS: u64 = 10_000;
/// Least time between two profiles with which we answer a guest, in milliseconds.
const LSNP_PROFILE_INTERVAL_MS: u64 = 120_000;
/// Number of lines of guests that are repeated in a room at once. Further ones are not repeated.
const LSNP_REPEAT_BURST: u64 = 30;
/// Milliseconds after which one more line of guests is repeated.
const LSNP_REPEAT_INTERVAL_MS: u64 = 1_000;
/// How much of a message `VERBOSE` shows, in bytes.
const LSNP_SHOWN_MAX_BYTES: usize = 512;

/// This program as a user of LSNP.
pub struct LsnpGateway {
    config: LsnpConfig,
    /// When to broadcast our next discovery. `None`: no interface is known yet.
    next_discovery_at: Option<Time>,
    has_discovered: bool,
    /// Our name in the last discovery.
    announced: Nick,
    /// The version of our profile that the guests know.
    announced_profile: u64,
    lines: OwnLines,
    limits: SourceLimits,
    is_verbose: bool,
    repeated: RateLimiter,
}

impl LsnpGateway {
    /// A gateway that has not spoken yet.
    pub fn new(ctx: &mut Context, config: LsnpConfig) -> LsnpGateway {
        ctx.guests.open_network(GuestNetwork::Lsnp);
        LsnpGateway {
            config,
            next_discovery_at: None,
            has_discovered: false,
            announced: ctx.nick.clone(),
            announced_profile: ctx.own_profile.version(),
            lines: OwnLines::default(),
            limits: SourceLimits::default(),
            is_verbose: false,
            repeated: RateLimiter::new(LSNP_REPEAT_INTERVAL_MS),
        }
    }

    /// The room in which lines of guests are repeated.
    pub fn repeat_room(&self) -> Option<&Room> {
        self.config.repeat_room.as_ref()
    }

    /// Broadcasts our discovery at once, as the interfaces have changed.
    pub fn handle_interfaces(&mut self, ctx: &Context) {
        self.next_discovery_at = Some(ctx.now.time);
    }

    /// Handles a datagram. Returns the line to repeat in a room, if it contains one.
    pub fn handle_datagram(&mut self, ctx: &mut Context, input: &LsnpInput<'_>) -> Option<String> {
        let source = IpAddr::from(*input.source.ip());
        let is_ours = ctx.is_own_address(source);
        if is_ours && input.source.port() == self.config.port {
            return None;
        }
        let is_near = is_ours || ctx.is_on_link(input.interface, source);
        // We may answer there.
        let is_acceptable = is_near && input.source.port() >= GUEST_PORT_MIN;
        let message = is_acceptable.then(|| LsnpMessage::parse(input.bytes));
        let message = message.flatten();
        let Some(message) = message else {
            ctx.counters.guest_messages_ignored += 1;
            return None;
        };
        let is_of_our_network = message
            .gateway
            .is_some_and(|tag| tag == ctx.network.short());
        if is_of_our_network || !self.limits.admit(ctx.now.time, source) {
            return None;
        }
        let Some(id) = self.observe(ctx, input, &message) else {
            ctx.counters.guest_messages_ignored += 1;
            return None;
        };
        if self.is_verbose {
            let text = String::from_utf8_lossy(input.bytes);
            let text = text.trim_end().replace('\n', " | ");
            let shown = &text[..text.floor_char_boundary(LSNP_SHOWN_MAX_BYTES)];
            remark(ctx, id, format!("sent {shown}"));
        }
        let line = self.handle_content(ctx, id, input, message);
        let line = line.filter(|_| self.config.repeat_room.is_some());
        self.repeated.drain(ctx.now.time);
        if line.is_some() && self.repeated.level() >= LSNP_REPEAT_BURST {
            self.limits.record_drop(ctx.now.time, source);
            return None;
        }
        if line.is_some() {
            self.repeated.add();
        }
        line
    }

    /// Finds the guest that sent a message, or adds it. Returns `None` if the guest is unknown and
    /// there is no place for it, or nothing to learn of it.
    fn observe(
        &mut self,
        ctx: &mut Context,
        input: &LsnpInput<'_>,
        message: &LsnpMessage<'_>,
    ) -> Option<GuestId> {
        let (now, source) = (ctx.now, IpAddr::from(*input.source.ip()));
        let network = GuestNetwork::Lsnp;
        let listens_at = match message.content {
            LsnpContent::Discovery { port } => SocketAddr::new(source, port),
            _ => input.source.into(),
        };
        let known = ctx.guests.find(network, source, message.user);
        let id = match known.map(|guest| guest.id) {
            Some(id) => id,
            None if message.content == LsnpContent::Revoke => return None,
            None => {
                let claim = GuestClaim {
                    network,
                    source,
                    user: message.user,
                    nick: message.nick(),
                    address: listens_at,
                    interface: input.interface,
                };
                let id = ctx.guests.insert(claim, now.time)?;
                let joined = ctx
                    .guests
                    .get(id)?
                    .notice(now.wall, GuestEvent::Joined(network.room()));
                ctx.notify(joined);
                id
            }
        };
        let guest = ctx.guests.get_mut(id)?;
        let is_new = guest.is_new_message(message.message_id);
        if !is_new {
            return None;
        }
        (guest.last_heard, guest.interface) = (now.time, input.interface);
        let is_discovery = matches!(message.content, LsnpContent::Discovery { .. });
        let has_moved = is_discovery && guest.address != listens_at;
        let is_back = guest.is_gone && message.content != LsnpContent::Revoke;
        if has_moved || is_back {
            guest.address = listens_at;
            (guest.is_answered, guest.has_our_profile) = (false, false);
        }
        if is_back {
            guest.is_gone = false;
            let joined = guest.notice(now.wall, GuestEvent::Joined(network.room()));
            ctx.notify(joined);
        }
        Some(id)
    }

    fn handle_content(
        &mut self,
        ctx: &mut Context,
        id: GuestId,
        input: &LsnpInput<'_>,
        message: LsnpMessage<'_>,
    ) -> Option<String> {
        let now = ctx.now;
        let (own_id, own_nick) = (ctx.own_id(), ctx.nick.clone());
        let guest = ctx.guests.get_mut(id)?;
        match message.content {
            LsnpContent::Discovery { .. } => {
                let is_answer_due = input.is_to_all && !guest.is_answered;
                // Who sends to our own port knows it already.
                guest.is_answered = true;
                if is_answer_due {
                    let port = self.config.port;
                    self.send(ctx, id, &LsnpContent::Discovery { port });
                }
            }
            LsnpContent::ListRequest => self.answer_list_request(ctx, id),
            LsnpContent::ListResponse(users) => {
                let awaited = guest.list_awaited_until.take();
                if awaited.is_some_and(|until| until >= now.time) {
                    remark(ctx, id, describe_list(ctx, users));
                }
            }
            LsnpContent::Post(line) => {
                let line = line.to_owned();
                let (room, content) = (GuestNetwork::Lsnp.room(), line.clone());
                let notice = guest.notice(now.wall, GuestEvent::Posted { room, content });
                let mut repeated = format!("{}: {line}", guest.name());
                repeated.truncate(repeated.floor_char_boundary(LINE_MAX_BYTES));
                ctx.notify(notice);
                return Some(repeated);
            }
            LsnpContent::Direct { to, line } => {
                if user_name(to) == own_nick.as_str() {
                    let (recipient, content) = (own_id, line.to_owned());
                    let event = GuestEvent::Wrote { recipient, content };
                    let notice = guest.notice(now.wall, event);
                    ctx.notify(notice);
                }
            }
            LsnpContent::Profile {
                display_name,
                status,
                avatar,
            } => {
                let avatar = avatar.and_then(|(kind, data)| Avatar::new(kind, data));
                let profile = Profile::new(display_name, status, avatar);
                let is_answer_due = !guest.has_our_profile && guest.next_profile_at <= now.time;
                if is_answer_due {
                    guest.has_our_profile = true;
                    guest.next_profile_at = now.time + LSNP_PROFILE_INTERVAL_MS;
                }
                let is_changed = guest.profile != profile;
                ctx.guests.set_profile(id, profile);
                if is_changed {
                    remark(ctx, id, format!("is {display_name}, {status}"));
                }
                if is_answer_due {
                    self.send_profile(ctx, id);
                }
            }
            LsnpContent::Revoke => end_visit(ctx, id),
        }
        self.send_waiting(ctx);
        None
    }

    fn answer_list_request(&self, ctx: &mut Context, id: GuestId) {
        let now = ctx.now.time;
        match ctx.guests.get_mut(id) {
            Some(guest) if guest.next_list_at <= now => {
                guest.next_list_at = now + LSNP_LIST_INTERVAL_MS;
            }
            _ => return,
        }
        let users = ctx.guests.present(GuestNetwork::Lsnp);
        let users = users.filter(|guest| guest.id != id);
        let users = users.map(|guest| guest.user.clone());
        let users = users.take(LSNP_LISTED_MAX).collect();
        self.send(ctx, id, &LsnpContent::ListResponse(users));
    }

    /// Queues lines for one guest, and shows them as sent.
    pub fn send_direct(&mut self, ctx: &mut Context, direct: &GuestLines) {
        queue_direct(ctx, &mut self.lines, direct);
        self.send_waiting(ctx);
    }

    /// Does what a user of LSNP requests.
    pub fn handle_request(&mut self, ctx: &mut Context, request: LsnpRequest) {
        match request {
            LsnpRequest::Profile(profile) => {
                ctx.change_profile(|own| {
                    for field in [DISPLAY_NAME_FIELD, STATUS_FIELD] {
                        own.set(field, profile.get(field));
                    }
                    own.avatar = profile.avatar;
                });
                // Also if nothing has changed: a datagram may have been lost.
                self.announce_profile(ctx);
            }
            LsnpRequest::List => {
                let until = ctx.now.time + LSNP_LIST_TIMEOUT_MS;
                for id in present(ctx) {
                    if let Some(guest) = ctx.guests.get_mut(id) {
                        guest.list_awaited_until = Some(until);
                    }
                    self.send(ctx, id, &LsnpContent::ListRequest);
                }
            }
            LsnpRequest::Verbose => self.is_verbose = !self.is_verbose,
        }
    }

    /// Forgets waiting lines that the store refused.
    pub fn forget_lines(&mut self, refused: &[Arc<Batch>]) {
        self.lines.forget(refused);
    }

    /// Takes the lines that our user said in the room of guests, and sends what may leave now.
    pub fn end_turn(&mut self, ctx: &mut Context) {
        for batch in ctx.guests.take_published(GuestNetwork::Lsnp) {
            self.lines.push_batch(&batch);
        }
        if self.announced_profile != ctx.own_profile.version() {
            self.announce_profile(ctx);
        }
        if self.announced != ctx.nick && self.next_discovery_at.is_some() {
            self.next_discovery_at = Some(ctx.now.time);
        }
        self.send_waiting(ctx);
        self.lines.report_dropped(ctx, GuestNetwork::Lsnp);
    }

    /// Tells all guests that we leave.
    pub fn leave(&mut self, ctx: &mut Context) {
        for id in present(ctx) {
            self.send(ctx, id, &LsnpContent::Revoke);
        }
    }

    /// Adds the times at which to announce us, to send waiting lines, or to show a guest as gone.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        self.limits.state_deadlines(deadlines);
        deadlines.add_some(Timer::Guests, self.next_discovery_at);
        let mut has_guests = false;
        for guest in ctx.guests.present(GuestNetwork::Lsnp) {
            has_guests = true;
            deadlines.add(Timer::Guests, guest.last_heard + LSNP_TIMEOUT_MS);
        }
        deadlines.add_some(Timer::Guests, self.lines.next_at(has_guests));
    }

    /// Announces us, and shows silent guests as gone, if that is due.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        self.limits.handle_timeout(ctx, GuestNetwork::Lsnp);
        let now = ctx.now.time;
        for id in present(ctx) {
            let silent = ctx.guests.get(id);
            if silent.is_some_and(|guest| guest.last_heard + LSNP_TIMEOUT_MS <= now) {
                end_visit(ctx, id);
            }
        }
        if self.next_discovery_at.is_some_and(|at| at <= now) {
            let is_first = !std::mem::replace(&mut self.has_discovered, true);
            if is_first {
                ctx.guests.expect_until(now + GUEST_WAIT_MS);
            }
            self.next_discovery_at = Some(match is_first {
                true => now + LSNP_SECOND_DISCOVERY_MS,
                false => now + LSNP_DISCOVERY_INTERVAL_MS,
            });
            self.announce(ctx);
        }
    }

    /// Broadcasts our discovery on every interface. Also sends it to the guests that may not hear
    /// it so.
    fn announce(&mut self, ctx: &mut Context) {
        self.announced = ctx.nick.clone();
        let port = self.config.port;
        let usable: Vec<u32> = ctx.interfaces.iter().map(|i| i.index).collect();
        for interface in usable {
            let discovery = LsnpContent::Discovery { port };
            self.emit(ctx, Some(interface), None, &discovery, None);
        }
        for id in present(ctx) {
            let now = ctx.now.time;
            if let Some(guest) = ctx.guests.get_mut(id)
                && guest.reminded_at + LSNP_REMIND_INTERVAL_MS <= now
            {
                guest.reminded_at = now;
                self.send(ctx, id, &LsnpContent::Discovery { port });
            }
        }
    }

    /// Sends the waiting lines that may leave now.
    fn send_waiting(&mut self, ctx: &mut Context) {
        if self.lines.is_empty() {
            return;
        }
        let guests = present(ctx);
        while let Some(OwnLine { target, text }) = self.lines.pop(ctx.now.time, guests.len()) {
            match target {
                LineTarget::Room(..) => {
                    for id in &guests {
                        let content = LsnpContent::Post(&text);
                        self.send_line(ctx, *id, &content, Some(target.clone()));
                    }
                }
                LineTarget::Guest { id, request_id } => {
                    let user = ctx.guests.get(id).map(|guest| guest.user.clone());
                    let (to, line) = (&*user.unwrap_or_default(), &*text);
                    let content = LsnpContent::Direct { to, line };
                    if !self.send_line(ctx, id, &content, Some(target)) {
                        report_direct(ctx, id, request_id, Err("cannot be reached"));
                    }
                }
            }
        }
    }

    /// Tells all guests our profile.
    fn announce_profile(&mut self, ctx: &mut Context) {
        self.announced_profile = ctx.own_profile.version();
        for id in present(ctx) {
            if let Some(guest) = ctx.guests.get_mut(id) {
                guest.has_our_profile = true;
            }
            self.send_profile(ctx, id);
        }
    }

    fn send_profile(&self, ctx: &mut Context, id: GuestId) {
        let (own_nick, own) = (ctx.nick.clone(), ctx.own_profile.profile().clone());
        let display_name = match own.get(DISPLAY_NAME_FIELD) {
            "" => own_nick.as_str(),
            name => name,
        };
        let avatar = own.avatar.as_ref();
        let avatar = avatar.filter(|avatar| avatar.data().len() <= PICTURE_MAX_BYTES);
        let profile = LsnpContent::Profile {
            display_name,
            status: own.get(STATUS_FIELD),
            avatar: avatar.map(|avatar| (avatar.kind(), avatar.data())),
        };
        self.send(ctx, id, &profile);
    }

    fn send(&self, ctx: &mut Context, id: GuestId, content: &LsnpContent<'_>) {
        self.send_line(ctx, id, content, None);
    }

    /// Sends a message to a guest. `line`: the line of our user's in it. Returns false if there is
    /// no way to the guest.
    fn send_line(
        &self,
        ctx: &mut Context,
        id: GuestId,
        content: &LsnpContent<'_>,
        line: Option<LineTarget>,
    ) -> bool {
        let Some(guest) = ctx.guests.get(id) else {
            return false;
        };
        let SocketAddr::V4(to) = guest.address else {
            return false;
        };
        let interface = Some(guest.interface).filter(|_| !ctx.is_own_address(guest.source));
        self.emit(ctx, interface, Some(to), content, line)
    }

    /// Sends a message. Returns false if we have no address there.
    fn emit(
        &self,
        ctx: &mut Context,
        interface: Option<u32>,
        to: Option<SocketAddrV4>,
        content: &LsnpContent<'_>,
        line: Option<LineTarget>,
    ) -> bool {
        let Some(ip) = own_ip(ctx, interface, to) else {
            return false;
        };
        let message = LsnpMessage {
            user: &format!("{}@{ip}", ctx.nick),
            timestamp_s: ctx.now.wall.0 / 1_000,
            message_id: &hex::format(ctx.random_u64()),
            gateway: Some(&ctx.network.short()),
            content: content.clone(),
        };
        let bytes = message.encode();
        ctx.emit(Output::Lsnp(Box::new(LsnpOutput {
            interface,
            to,
            bytes,
            line,
        })));
        true
    }
}

/// Our address in the eyes of the recipient, or of everybody on the interface.
fn own_ip(ctx: &Context, interface: Option<u32>, to: Option<SocketAddrV4>) -> Option<IpAddr> {
    let own_host = to.map(|to| IpAddr::from(*to.ip()));
    if let Some(ip) = own_host.filter(|ip| ctx.is_own_address(*ip)) {
        return Some(ip);
    }
    let is_used = |i: &&Interface| interface.is_none_or(|index| i.index == index);
    let mut used = ctx.interfaces.iter().filter(is_used);
    let v4 = |i: &Interface| i.addresses.iter().map(|a| a.ip).find(IpAddr::is_ipv4);
    used.find_map(v4)
}

fn present(ctx: &Context) -> Vec<GuestId> {
    let guests = ctx.guests.present(GuestNetwork::Lsnp);
    guests.map(|guest| guest.id).collect()
}

/// The end of a sentence that says whom a guest knows and we do not.
fn describe_list(ctx: &Context, mut users: Vec<String>) -> String {
    let is_known = |user: &String| {
        let mut guests = ctx.guests.iter();
        user_name(user) == ctx.nick.as_str() || guests.any(|guest: &Guest| guest.user == *user)
    };
    users.retain(|user| !is_known(user));
    match users.is_empty() {
        true => "knows nobody else".to_owned(),
        false => format!("also knows {}", users.join(", ")),
    }
}
