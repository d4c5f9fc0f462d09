//! Uses Grapes, the phonebooks of Grenache: they map names of services to addresses.
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::batch::batch::Batch;
use crate::base::event::input::Input;
use crate::base::event::output::Output;
use crate::base::guests::guest::{GuestLines, GuestNetwork};
use crate::base::guests::service::Service;
use crate::base::interface::FoundVia;
use crate::base::name::{Nick, Room};
use crate::node::connection::handshake::Handshakes;
use crate::node::context::Context;
use crate::node::discovery::dialer::Dialer;
use crate::node::guests::grenache_room::GrenacheRoom;
use crate::node::timer::Deadlines;
use crate::wire::grenache::grape::room_service;
use crate::wire::stream_protocol::StreamProtocol;

/// The services that this program offers and seeks: one for each of its rooms. In the open network
/// it also offers one with the name of its user, as each program of Grenache does, and talks to the
/// guests of `#grenache`. In a closed network nothing is said in the clear.
pub struct Grenache {
    /// `None`: in a closed network.
    room: Option<GrenacheRoom>,
    /// For what the services were last set: our name, our rooms, and names of guests.
    nick: Option<Nick>,
    rooms: Vec<Room>,
    sought: Vec<String>,
}

impl Grenache {
    /// A program that has set no services yet.
    pub fn new(ctx: &mut Context) -> Grenache {
        Grenache {
            room: ctx.beacon_key.is_none().then(|| GrenacheRoom::new(ctx)),
            nick: None,
            rooms: Vec::new(),
            sought: Vec::new(),
        }
    }

    /// Handles addresses of a service.
    pub fn handle_found(
        &mut self,
        ctx: &mut Context,
        dialer: &mut Dialer,
        service: &str,
        addresses: &[SocketAddr],
    ) {
        let key = ctx.beacon_key;
        let mut rooms = self.rooms.iter();
        let room = rooms.find(|room| room_service(room, key.as_ref()) == service);
        if room.is_some() {
            for address in addresses {
                dialer.handle_found(ctx, FoundVia::Grenache, None, &[*address]);
            }
        }
        let is_of_guests = room.is_some_and(|room| ctx.guests.network_of(room).is_some());
        let is_sought = self.sought.iter().any(|name| name == service);
        if let Some(room) = self.room.as_mut().filter(|_| is_of_guests || is_sought) {
            room.handle_found(ctx, service, addresses);
        }
    }

    /// Handles an input of a stream that speaks WebSocket. Returns false if it is none.
    pub fn handle_stream(
        &mut self,
        ctx: &mut Context,
        handshakes: &mut Handshakes,
        input: &Input<'_>,
    ) -> bool {
        let Some(room) = &mut self.room else {
            return false;
        };
        if let Input::Bytes { stream, bytes } = *input
            && !room.owns(stream)
            && StreamProtocol::detect(bytes) == StreamProtocol::Http
            && let Some(address) = handshakes.release(stream)
        {
            room.accept(ctx, stream, address);
            if !room.owns(stream) {
                return true;
            }
        }
        match *input {
            Input::Bytes { stream, bytes } if room.owns(stream) => {
                let services = match serves_guests(ctx, &self.rooms) {
                    true => {
                        let rooms = self.rooms.iter().map(|room| room_service(room, None));
                        rooms.chain([ctx.nick.as_str().to_owned()]).collect()
                    }
                    false => Vec::new(),
                };
                room.handle_bytes(ctx, &services, stream, bytes);
            }
            Input::Connected { stream } if room.owns(stream) => {
                room.set_blocked(ctx, stream, false);
            }
            Input::Blocked { stream } if room.owns(stream) => room.set_blocked(ctx, stream, true),
            Input::Writable { stream } if room.owns(stream) => {
                room.set_blocked(ctx, stream, false);
            }
            Input::Closed { stream } if room.owns(stream) => {
                room.handle_closed(ctx, stream, false);
            }
            _ => return false,
        }
        true
    }

    /// Sends lines to one guest. There are none in a closed network.
    pub fn send_direct(&mut self, ctx: &mut Context, lines: &GuestLines) {
        if let Some(room) = &mut self.room {
            room.send_direct(ctx, lines);
        }
    }

    /// Forgets waiting lines that the store refused.
    pub fn forget_lines(&mut self, refused: &[Arc<Batch>]) {
        if let Some(room) = &mut self.room {
            room.forget_lines(refused);
        }
    }

    /// Sends the lines that our user said in this turn. Sets the services if our name, our rooms or
    /// the guests have changed.
    pub fn end_turn(&mut self, ctx: &mut Context, rooms: &[Room]) {
        if let Some(room) = &mut self.room {
            room.end_turn(ctx);
        }
        let sought = self.room.as_ref().map(|room| room.sought(ctx));
        let sought = sought.unwrap_or_default();
        let is_same = self.nick.as_ref() == Some(&ctx.nick) && self.rooms == rooms;
        if is_same && self.sought == sought {
            return;
        }
        self.nick = Some(ctx.nick.clone());
        self.rooms = rooms.to_vec();
        self.sought = sought;
        ctx.emit(Output::SetServices(self.services(ctx)));
    }

    fn services(&self, ctx: &Context) -> Vec<Service> {
        let (key, is_offered) = (ctx.beacon_key, !ctx.transient);
        let of_rooms = self.rooms.iter().map(|room| Service {
            name: room_service(room, key.as_ref()),
            is_offered,
            is_sought: true,
        });
        let of_guests = self.sought.iter().map(|name| Service {
            name: name.clone(),
            is_offered: false,
            is_sought: true,
        });
        let own = self.room.is_some().then(|| Service {
            name: ctx.nick.as_str().to_owned(),
            is_offered: serves_guests(ctx, &self.rooms),
            is_sought: false,
        });
        of_rooms.chain(own).chain(of_guests).collect()
    }

    /// Says goodbye to the guests.
    pub fn leave(&mut self, ctx: &mut Context) {
        if let Some(room) = &mut self.room {
            room.leave(ctx);
        }
    }

    /// Adds the deadlines of the guests.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        if let Some(room) = &self.room {
            room.state_deadlines(ctx, deadlines);
        }
    }

    /// Acts on the deadlines that are due.
    pub fn handle_timeout(&mut self, ctx: &mut Context) {
        if let Some(room) = &mut self.room {
            room.handle_timeout(ctx);
        }
    }
}

/// Whether anybody sees what guests say: a transient program leaves soon, and outside `#grenache`
/// their lines are not shown.
fn serves_guests(ctx: &Context, rooms: &[Room]) -> bool {
    !ctx.transient && rooms.contains(&GuestNetwork::Grenache.room())
}
