//! Whether linked peers hear our beacons, as they say when they are asked.
use crate::base::event::stream_id::StreamId;
use crate::node::context::Context;
use crate::node::discovery::discovered_peers::DiscoveredPeers;
use crate::node::link::HearsUs;
use crate::wire::message::Message;

/// Asks each linked peer.
pub fn ask(ctx: &mut Context) {
    for stream in ctx.streams() {
        ctx.send(stream, &Message::HeardRequest);
        if let Some(link) = ctx.links.get_mut(&stream) {
            link.hears_us = HearsUs::Asked;
        }
    }
}

/// Answers a linked peer that asks.
pub fn answer(ctx: &mut Context, discovered: &DiscoveredPeers, stream: StreamId) {
    let peer = ctx.links.get(&stream).map(|link| link.peer.id);
    let heard = peer.and_then(|peer| discovered.get(&peer));
    let age = heard.map(|heard| ctx.now.time.ms_since(heard.last_seen()));
    ctx.send(stream, &Message::HeardReply { age });
}

/// Records the answer of a linked peer, if it was asked.
pub fn handle_reply(ctx: &mut Context, stream: StreamId, age: Option<u64>) {
    let link = ctx.links.get_mut(&stream);
    if let Some(link) = link.filter(|link| link.hears_us == HearsUs::Asked) {
        link.hears_us = age.map_or(HearsUs::No, HearsUs::Yes);
    }
}
