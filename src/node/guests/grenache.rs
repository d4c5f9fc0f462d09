//! Finds peers through Grapes, the phonebooks of Grenache: they map names of services to addresses.
use std::net::SocketAddr;

use crate::base::event::output::Output;
use crate::base::guests::service::Service;
use crate::base::interface::FoundVia;
use crate::base::name::{Nick, Room};
use crate::node::context::Context;
use crate::node::discovery::dialer::Dialer;
use crate::wire::grenache::grape::room_service;

/// The services that this program offers and seeks: one for each of its rooms. In the open network
/// it also offers one with the name of its user, as each program of Grenache does. In a closed
/// network nothing is announced that an outsider could read.
#[derive(Default)]
pub struct Grenache {
    /// The name and the rooms for which the services were last set.
    nick: Option<Nick>,
    rooms: Vec<Room>,
}

impl Grenache {
    /// Handles addresses of a service.
    pub fn handle_found(
        &mut self,
        ctx: &mut Context,
        dialer: &mut Dialer,
        service: &str,
        addresses: &[SocketAddr],
    ) {
        let key = ctx.beacon_key;
        let is_of_room = |room: &Room| room_service(room, key.as_ref()) == service;
        if self.rooms.iter().any(is_of_room) {
            for address in addresses {
                dialer.handle_found(ctx, FoundVia::Grenache, None, &[*address]);
            }
        }
    }

    /// Sets the services, if our name or our rooms have changed.
    pub fn end_turn(&mut self, ctx: &mut Context, rooms: &[Room]) {
        if self.nick.as_ref() == Some(&ctx.nick) && self.rooms == rooms {
            return;
        }
        self.nick = Some(ctx.nick.clone());
        self.rooms = rooms.to_vec();
        let is_offered = !ctx.transient;
        let mut services: Vec<Service> = Vec::new();
        for room in rooms {
            services.push(Service {
                name: room_service(room, ctx.beacon_key.as_ref()),
                is_offered,
                is_sought: true,
            });
        }
        if ctx.beacon_key.is_none() {
            services.push(Service {
                name: ctx.nick.as_str().to_owned(),
                is_offered,
                is_sought: false,
            });
        }
        ctx.emit(Output::SetServices(services));
    }
}
