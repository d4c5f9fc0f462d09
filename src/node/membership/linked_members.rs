//! The digest that stands for the routes to all linked members. In a full mesh all members have the
//! same links, so that each would list all members to all others.
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::node::context::Context;
use crate::wire::message::{Member, Members, Message, members_digest};

/// Minimum number of new routes to linked members for which a digest is sent in their place.
const DIGESTED_ROUTES_MIN: usize = 8;
/// Least milliseconds between two requests for the members of a room on one link, unless the first
/// one is answered. Whoever understands requests answers: its list contains at least ourselves.
const MEMBERS_REQUEST_INTERVAL_MS: u64 = 1_000;

/// Routes to ourselves and to the members of a room that we are linked with, in the order of their
/// keys. Leaves out transient peers.
fn linked_members(ctx: &Context, room: &Room) -> Vec<Member> {
    let member = |peer: PeerId, run: u64, nick: &Nick| Member {
        peer,
        username: nick.to_string(),
        run,
        hops: 1,
        via: None,
        await_ms: None,
    };
    let mut members = Vec::new();
    for (peer, stream) in &ctx.stream_by_peer {
        if let Some(link) = ctx.links.get(stream)
            && link.shared_rooms.contains(room)
            && !link.transient
        {
            members.push(member(*peer, link.run, &link.peer.nick));
        }
    }
    if !ctx.transient {
        let own_id = ctx.own_id();
        let at = members.partition_point(|it| it.peer < own_id);
        members.insert(at, member(own_id, ctx.run, &ctx.nick));
    }
    members
}

/// Whether this route leads to a member that its sender is linked with.
pub fn is_direct(member: &Member) -> bool {
    member.hops == 1
}

/// The links of a room on which a digest may stand for these routes. None in a partial mesh, where
/// each member has other links.
pub fn digest_links(ctx: &Context, room: &Room, routes: &[Member]) -> Vec<StreamId> {
    let linked_count = routes.iter().filter(|route| is_direct(route)).count();
    if linked_count < DIGESTED_ROUTES_MIN || ctx.topology.is_partial_mesh() {
        return Vec::new();
    }
    let links = ctx.links_in_room(room);
    let links = links.filter(|(_, link)| link.understands_members_digests && !link.transient);
    links.map(|(stream, _)| stream).collect()
}

/// Sends the digest of our linked members on these links.
pub fn send_digest(ctx: &mut Context, streams: &[StreamId], room: &Room) {
    let digest = members_digest(&ctx.own_id(), &linked_members(ctx, room));
    for stream in streams {
        if let Some(link) = ctx.links.get_mut(stream) {
            link.members_digests_sent.insert(room.clone());
        }
    }
    let target = room.to_string();
    ctx.send_to_all(streams, &Message::MembersDigest { target, digest });
}

/// The routes for which the digest of a neighbour stands. If it does not stand for our own linked
/// members, requests the routes, unless a request is open: its answer is newer than this digest.
pub fn expand_digest(
    ctx: &mut Context,
    stream: StreamId,
    target: String,
    received: &str,
) -> Option<Members> {
    let room = Room::parse_canonical(&target)?;
    let now = ctx.now.time;
    let link = ctx.links.get(&stream);
    let link = link.filter(|link| link.shared_rooms.contains(&room))?;
    let requested = link.members_requested.get(&room);
    if requested.is_some_and(|at| now < *at + MEMBERS_REQUEST_INTERVAL_MS) {
        return None;
    }
    let sender = link.peer.id;
    let here = linked_members(ctx, &room);
    if members_digest(&sender, &here) != received {
        if let Some(link) = ctx.links.get_mut(&stream) {
            link.members_requested.insert(room, now);
        }
        ctx.send(stream, &Message::MembersRequest { target });
        return None;
    }
    Some(Members {
        target,
        here,
        gone: Vec::new(),
    })
}
