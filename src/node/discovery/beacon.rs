//! Our own beacon.
use crate::base::event::Output;
use crate::base::name::Room;
use crate::node::context::Context;
use crate::wire::beacon::{BEACON_ROOMS_MAX, Beacon, BeaconKind, room_hash};

/// Sends our beacon on every interface: we are there, in these rooms, and call again after `interval` milliseconds; or we leave.
pub fn broadcast(ctx: &mut Context, joined: &[Room], kind: BeaconKind, interval: u64) {
    let rooms = joined.iter();
    let rooms = rooms.map(|room| room_hash(&ctx.network, ctx.run, room));
    let beacon = Beacon {
        kind,
        peer: ctx.own_id(),
        nick: ctx.nick.clone(),
        port: ctx.port,
        run: ctx.run,
        interval_ms: interval,
        timestamp: ctx.now.wall,
        transient: ctx.transient,
        room_hashes: rooms.take(BEACON_ROOMS_MAX).collect(),
        has_more_rooms: joined.len() > BEACON_ROOMS_MAX,
    };
    let nonce = ctx.random_bytes();
    let bytes = beacon.encode(&ctx.network, ctx.beacon_key.as_ref(), &nonce);
    ctx.emit(Output::SendBeacon { bytes });
}
