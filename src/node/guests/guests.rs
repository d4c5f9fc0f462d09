//! Passes what concerns guests to the networks that this program speaks to.
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::error_code::ErrorCode;
use crate::base::event::input::Input;
use crate::base::event::notice::Notice;
use crate::base::guests::guest::{GuestLines, GuestNetwork, HAS_GUESTS, LineTarget};
use crate::base::guests::lsnp::{LsnpConfig, LsnpInput, LsnpRequest};
use crate::base::guests::service::HAS_GRENACHE;
use crate::base::name::Room;
use crate::node::connection::handshake::Handshakes;
use crate::node::context::Context;
use crate::node::discovery::dialer::Dialer;
use crate::node::guests::go_room::GoRoom;
use crate::node::guests::grenache::Grenache;
use crate::node::guests::lsnp::LsnpGateway;
use crate::node::guests::visits::{refuse_direct, report_direct};
use crate::node::timer::Deadlines;
use crate::wire::stream_protocol::StreamProtocol;

/// The foreign networks to which this program shall speak.
pub struct GuestConfig {
    /// How to speak LSNP. `None`: not at all.
    pub lsnp: Option<LsnpConfig>,
    /// Whether to speak the protocol of p2pchat in Go.
    pub speaks_go: bool,
    /// Whether to use Grapes.
    pub uses_grapes: bool,
}

/// The foreign networks to which this program speaks. By default none.
#[derive(Default)]
pub struct Guests {
    lsnp: Option<LsnpGateway>,
    go: Option<GoRoom>,
    grenache: Option<Grenache>,
}

impl Guests {
    /// Speaks to the networks that are configured.
    pub fn new(ctx: &mut Context, config: GuestConfig) -> Guests {
        let GuestConfig {
            lsnp,
            speaks_go,
            uses_grapes,
        } = config;
        Guests {
            lsnp: lsnp
                .filter(|_| HAS_GUESTS)
                .map(|config| LsnpGateway::new(ctx, config)),
            go: (speaks_go && HAS_GUESTS).then(|| GoRoom::new(ctx)),
            grenache: (uses_grapes && HAS_GRENACHE).then(|| Grenache::new(ctx)),
        }
    }

    fn lsnp_mut(&mut self) -> Option<&mut LsnpGateway> {
        self.lsnp.as_mut().filter(|_| HAS_GUESTS)
    }

    fn go_mut(&mut self) -> Option<&mut GoRoom> {
        self.go.as_mut().filter(|_| HAS_GUESTS)
    }

    fn grenache_mut(&mut self) -> Option<&mut Grenache> {
        self.grenache.as_mut().filter(|_| HAS_GRENACHE)
    }

    /// Handles a change of the interfaces.
    pub fn handle_interfaces(&mut self, ctx: &Context) {
        if let Some(lsnp) = self.lsnp_mut() {
            lsnp.handle_interfaces(ctx);
        }
        if let Some(go) = self.go_mut() {
            go.handle_interfaces(ctx);
        }
    }

    /// Handles an input that concerns a foreign network. Returns false if it is none.
    pub fn handle_input(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        dialer: &mut Dialer,
        input: &Input<'_>,
    ) -> bool {
        if let Input::ServiceFound { service, addresses } = input {
            if let Some(grenache) = self.grenache_mut() {
                grenache.handle_found(ctx, dialer, service, addresses);
                dialer.handle_timeout(ctx, handshakes);
            }
            return true;
        }
        let grenache = self.grenache_mut();
        grenache.is_some_and(|grenache| grenache.handle_stream(ctx, handshakes, input))
            || self.handle_go(ctx, handshakes, input)
    }

    /// Handles an input that concerns p2pchat in Go: one of its beacons, or a stream that speaks
    /// its protocol. Returns false if it is none.
    fn handle_go(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        input: &Input<'_>,
    ) -> bool {
        let Some(go) = self.go.as_mut().filter(|_| HAS_GUESTS) else {
            return false;
        };
        match *input {
            Input::Datagram {
                interface,
                source,
                bytes,
            } => return go.handle_beacon(ctx, interface, source, bytes),
            Input::Bytes { stream, bytes } => {
                let begins = StreamProtocol::detect(bytes) == StreamProtocol::GoP2pchat;
                if !go.owns(stream)
                    && begins
                    && let Some(address) = handshakes.release(stream)
                {
                    go.accept(ctx, stream, address);
                    go.handle_bytes(ctx, stream, bytes);
                    return true;
                }
                let is_ours = go.owns(stream);
                go.handle_bytes(ctx, stream, bytes);
                return is_ours;
            }
            Input::Connected { stream } if go.owns(stream) => go.handle_connected(ctx, stream),
            Input::Blocked { stream } if go.owns(stream) => go.set_blocked(ctx, stream, true),
            Input::Writable { stream } if go.owns(stream) => go.set_blocked(ctx, stream, false),
            Input::Closed { stream } if go.owns(stream) => go.handle_closed(stream),
            _ => return false,
        }
        true
    }

    /// Handles a datagram of LSNP. Returns a line of a guest to repeat, and the room.
    pub fn handle_lsnp(
        &mut self,
        ctx: &mut Context,
        input: &LsnpInput<'_>,
    ) -> Option<(Room, String)> {
        let lsnp = self.lsnp.as_mut().filter(|_| HAS_GUESTS)?;
        let line = lsnp.handle_datagram(ctx, input)?;
        Some((lsnp.repeat_room()?.clone(), line))
    }

    /// Handles the report whether a line left this host.
    pub fn handle_lsnp_line(&mut self, ctx: &mut Context, line: &LineTarget, is_sent: bool) {
        match line {
            LineTarget::Room(log, sequence) if is_sent => ctx.guests.record_sent(log, *sequence),
            LineTarget::Room(..) => {}
            LineTarget::Guest { id, request_id } => {
                let result = match is_sent {
                    true => Ok(()),
                    false => Err("cannot be reached"),
                };
                report_direct(ctx, *id, *request_id, result);
            }
        }
    }

    /// Forgets lines of our user's that the store refused. They are published again.
    pub fn handle_save_failed(&mut self, ctx: &mut Context, refused: &[Arc<Batch>]) {
        ctx.guests.forget_published(refused);
        if let Some(lsnp) = self.lsnp_mut() {
            lsnp.forget_lines(refused);
        }
        if let Some(go) = self.go_mut() {
            go.forget_lines(refused);
        }
        if let Some(grenache) = self.grenache_mut() {
            grenache.forget_lines(refused);
        }
    }

    /// Sends lines to one guest, or reports why they are not sent.
    pub fn send_direct(&mut self, ctx: &mut Context, lines: &GuestLines) {
        let network = ctx.guests.get(lines.guest).map(|guest| guest.network);
        let why = match network {
            Some(GuestNetwork::Lsnp) if let Some(lsnp) = self.lsnp_mut() => {
                return lsnp.send_direct(ctx, lines);
            }
            Some(GuestNetwork::Grenache) if let Some(grenache) = self.grenache_mut() => {
                return grenache.send_direct(ctx, lines);
            }
            Some(GuestNetwork::GoP2pchat) => "the p2pchat in Go knows no direct messages",
            _ => "the guest has left",
        };
        let count = lines.lines.count() as u64;
        refuse_direct(ctx, lines.request_id, count, why);
    }

    /// Does what a user of LSNP requests. Returns false if this program does not speak LSNP.
    pub fn handle_request(&mut self, ctx: &mut Context, request: LsnpRequest) -> bool {
        match self.lsnp_mut() {
            Some(lsnp) => lsnp.handle_request(ctx, request),
            None => refuse(ctx, "LSNP is off here: start the program with --lsnp"),
        }
        self.lsnp.is_some()
    }

    /// Sends the lines that our user said to guests in this turn. `rooms`: the joined ones.
    pub fn end_turn(&mut self, ctx: &mut Context, rooms: &[Room]) {
        if let Some(grenache) = self.grenache_mut() {
            grenache.end_turn(ctx, rooms);
        }
        if let Some(lsnp) = self.lsnp_mut() {
            lsnp.end_turn(ctx);
        }
        if let Some(go) = self.go_mut() {
            go.end_turn(ctx);
        }
    }

    /// Says goodbye to all guests.
    pub fn leave(&mut self, ctx: &mut Context) {
        if let Some(lsnp) = self.lsnp_mut() {
            lsnp.leave(ctx);
        }
        if let Some(go) = self.go_mut() {
            go.leave(ctx);
        }
        if let Some(grenache) = self.grenache_mut() {
            grenache.leave(ctx);
        }
    }

    /// Adds the deadlines of all networks.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        if let Some(lsnp) = self.lsnp.as_ref().filter(|_| HAS_GUESTS) {
            lsnp.state_deadlines(ctx, deadlines);
        }
        if let Some(go) = self.go.as_ref().filter(|_| HAS_GUESTS) {
            go.state_deadlines(ctx, deadlines);
        }
        if let Some(grenache) = self.grenache.as_ref().filter(|_| HAS_GRENACHE) {
            grenache.state_deadlines(ctx, deadlines);
        }
    }

    /// Acts on the deadlines that are due.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        if let Some(lsnp) = self.lsnp_mut() {
            lsnp.handle_timeout(ctx);
        }
        if let Some(go) = self.go_mut() {
            go.handle_timeout(ctx);
        }
        if let Some(grenache) = self.grenache_mut() {
            grenache.handle_timeout(ctx);
        }
    }
}

fn refuse(ctx: &mut Context, content: &str) {
    ctx.notify(Notice::Error {
        code: ErrorCode::Target,
        content: content.to_owned(),
    });
}
