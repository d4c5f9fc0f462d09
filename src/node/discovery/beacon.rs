//! Our own beacon.
use crate::base::event::Output;
use crate::base::name::Room;
use crate::node::context::Hub;
use crate::wire::beacon::{Beacon, Kind, ROOMS_NAMED, room_mark};

/// Sends our beacon on every interface: we are there, in these rooms, and call again after `interval` milliseconds; or we leave.
pub fn call(hub: &mut Hub, joined: &[Room], kind: Kind, interval: u64) {
    let rooms = joined.iter();
    let rooms = rooms.map(|room| room_mark(&hub.network, hub.run, room));
    let beacon = Beacon {
        kind,
        peer: hub.id(),
        nick: hub.nick.clone(),
        port: hub.port,
        run: hub.run,
        interval,
        timestamp: hub.now.wall,
        passing: hub.passing,
        rooms: rooms.take(ROOMS_NAMED).collect(),
        more: joined.len() > ROOMS_NAMED,
    };
    let nonce = hub.random_bytes();
    let bytes = beacon.bytes(&hub.network, hub.beacon_key.as_ref(), &nonce);
    hub.put(Output::Beacon { bytes });
}
