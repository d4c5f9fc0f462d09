//! Routes: which members of each room are reachable through other peers. Uses a distance-vector
//! protocol as in RFC 1058. Each peer sends changed routes to its neighbours. A route contains the
//! number of hops and the next hop. A peer ignores a route whose next hop is the peer itself, as it
//! would lead back (split horizon). The number of hops is bounded.
use crate::base::event::stream_id::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Route;
use crate::node::membership::linked_members;
use crate::node::membership::lost_members::{AWAIT_MS, Loss, LostMember, LostMembers};
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::{HOPS_MAX, LOGS_PER_MESSAGE_MAX, Member, Members, Message};

/// Minimum delay of an update, in milliseconds. One update sends all routes that changed during the
/// delay.
const UPDATE_DELAY_MS: u64 = 200;
/// Minimum delay of an update for each of our links, in milliseconds. An update costs more with
/// more links. With more than ten links, the total exceeds `UPDATE_DELAY_MS`.
const UPDATE_DELAY_PER_LINK_MS: u64 = 20;
/// Maximum number of new routes that a new link gets before the next update. If more routes are
/// new, many peers are starting. Each of them would then send all routes twice.
const EARLY_ROUTES_MAX: usize = 8;
/// Maximum number of routes accepted from one link, in all rooms together.
const ROUTES_PER_LINK_MAX: usize = 2048;

/// The routes that we advertise. The routes that we receive are in
/// [`Link::routes`](crate::node::link::Link::routes).
#[derive(Default)]
pub struct Routes {
    /// The routes last sent to the neighbours in each room.
    advertised: SortedMap<Room, SortedMap<PeerId, Member>>,
    /// Changed routes in each room that new links got already. The next update sends them to the
    /// other neighbours.
    advertised_early: SortedMap<Room, SortedMap<PeerId, Member>>,
    changed_rooms: SortedSet<Room>,
    lost: LostMembers,
    /// When the first and the last change came that wait for the next update.
    changed_at: Option<(Time, Time)>,
}

impl Routes {
    /// Sends our routes in a room on a link whose peer now shares the room. A peer that waits for
    /// the delivery of its lines must know all members when the first acknowledgement arrives.
    ///
    /// Leaves out changed routes if there are many, unless the peer is transient. The scheduled
    /// update sends those on all links. Includes the awaited members.
    pub fn room_shared(&mut self, ctx: &mut Context, stream: StreamId, room: &Room) {
        self.schedule_update(ctx, room);
        if let Some((_, last_link)) = &mut self.changed_at {
            *last_link = ctx.now.time;
        }
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let (peer, is_transient) = (link.peer.id, link.transient);
        let advertised = self.advertised.get_or_default(room.clone());
        let routes = best_routes(ctx, room).into_values();
        let (unchanged, changed): (Vec<Member>, Vec<Member>) = routes
            .filter(|member| member.peer != peer && member.via != Some(peer))
            .partition(|member| advertised.get(&member.peer) == Some(member));
        let mut here = unchanged;
        if is_transient || changed.len() <= EARLY_ROUTES_MAX {
            let early = self.advertised_early.get_or_default(room.clone());
            for member in changed {
                early.insert(member.peer, member.clone());
                here.push(member);
            }
        }
        let awaited = self.lost.awaited_in(room);
        let awaited = awaited.filter(|(peer, _)| !ctx.has_route(Some(room), peer));
        here.extend(awaited.map(|(peer, lost)| lost.entry(peer, ctx.now.time)));
        send_update(ctx, &[stream], room, &here, &[]);
    }

    /// The members of a room that should get its lines, but are not linked. Such a member has a
    /// route, or is awaited. A route in hold-down counts, as the relay on it may have restarted.
    pub fn unlinked_members(&self, ctx: &Context, room: &Room) -> SortedSet<PeerId> {
        let routes = ctx.known_routes_in_room(room);
        let reachable = routes.map(|(_, peer, _)| peer);
        let awaited = self.lost.awaited_in(room).map(|(peer, _)| peer);
        let members = reachable.chain(awaited).copied();
        members
            .filter(|peer| !ctx.stream_by_peer.contains_key(peer))
            .collect()
    }

    /// The name of an awaited member.
    pub fn awaited_nick(&self, peer: &PeerId) -> Option<Nick> {
        self.lost.nick(peer)
    }

    /// Ends the wait for a peer that is now linked.
    pub fn link_up(&mut self, peer: &PeerId) {
        self.lost.remove(peer);
    }

    /// Schedules an update of this room's routes to the neighbours, as these routes may have
    /// changed.
    pub fn schedule_update(&mut self, ctx: &Context, room: &Room) {
        self.changed_rooms.insert(room.clone());
        let now = ctx.now.time;
        self.changed_at.get_or_insert((now, now));
    }

    /// Removes the routes of a link in rooms that we no longer share with its peer. Returns the
    /// peers to which these routes led.
    pub fn rooms_unshared(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        rooms: &[Room],
    ) -> SortedSet<PeerId> {
        for room in rooms {
            self.schedule_update(ctx, room);
        }
        let Some(link) = ctx.links.get_mut(&stream) else {
            return SortedSet::new();
        };
        let removed = link.routes.iter().filter(|(room, _)| rooms.contains(room));
        let removed = removed.flat_map(|(_, routes)| routes.keys());
        let removed: SortedSet<PeerId> = removed.copied().collect();
        link.routes.retain(|room, _| !rooms.contains(room));
        link.members_digests_sent
            .retain(|room| !rooms.contains(room));
        link.members_requested
            .retain(|room, _| !rooms.contains(room));
        for peer in &removed {
            self.record_loss(ctx, peer, Loss::Relay);
        }
        removed
    }

    /// Sends the routes for which our last digest stood. Once only, as they cost much more than the
    /// request.
    pub fn handle_request(&self, ctx: &mut Context, stream: StreamId, target: &str) {
        let room = Room::parse_canonical(target);
        let Some((room, link)) = room.zip(ctx.links.get_mut(&stream)) else {
            return;
        };
        if link.members_digests_sent.remove(&room) {
            let advertised = self.advertised.get(&room).into_iter();
            let advertised = advertised.flat_map(SortedMap::values);
            let linked = advertised.filter(|it| linked_members::is_direct(it));
            let linked: Vec<Member> = linked.cloned().collect();
            send_update(ctx, &[stream], &room, &linked, &[]);
        }
    }

    /// Forgets the advertised routes of a room that we left.
    pub fn room_left(&mut self, room: &Room) {
        self.advertised.remove(room);
        self.advertised_early.remove(room);
        self.changed_rooms.remove(room);
    }

    /// Applies the route changes that a neighbour sent. Returns the peers whose routes may have
    /// changed.
    pub fn handle_update(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        update: Members,
    ) -> Vec<PeerId> {
        let mut changed = Vec::new();
        let own = ctx.own_id();
        let Some(room) = Room::parse_canonical(&update.target) else {
            return changed;
        };
        let nicks: Vec<Nick> = update.here.iter().map(|m| shared_nick(ctx, m)).collect();
        let Some(link) = ctx
            .links
            .get_mut(&stream)
            .filter(|link| link.shared_rooms.contains(&room))
        else {
            return changed;
        };
        link.members_requested.remove(&room);
        let neighbour = link.peer.id;
        let now = ctx.now.time;
        let route_count: usize = link.routes.values().map(SortedMap::len).sum();
        let routes = link.routes.get_or_default(room.clone());
        let other_rooms_count = route_count - routes.len();
        let gone = update.gone.into_iter();
        let gone: Vec<PeerId> = gone.filter(|peer| routes.remove(peer).is_some()).collect();
        let mut awaited = Vec::new();
        for (member, nick) in update.here.into_iter().zip(nicks) {
            // Split horizon: a route whose next hop is this program leads nowhere. A route that
            // we can't advertise, as we are one link further away, is none either.
            let is_usable = (1..HOPS_MAX - 1).contains(&member.hops) && member.via != Some(own);
            let has_place = routes.contains_key(&member.peer)
                || other_rooms_count + routes.len() < ROUTES_PER_LINK_MAX;
            let is_banned = ctx.acquaintances.is_banned(&member.peer);
            if member.peer == own || member.peer == neighbour || is_banned || !has_place {
                continue;
            }
            if is_usable {
                let known = routes.get(&member.peer);
                let known = known.filter(|known| known.run == member.run);
                let lost = self.lost.get(&room, &member);
                let held_until = lost.and_then(LostMember::held_until).unwrap_or(now);
                let route = Route {
                    nick,
                    run: member.run,
                    hops: member.hops,
                    valid_from: known.map_or(held_until, |known| known.valid_from),
                };
                // A repeated entry changes nothing, and must not cause the work of a change.
                if known != Some(&route) || lost.is_some() {
                    changed.push(member.peer);
                    routes.insert(member.peer, route);
                }
            } else {
                routes.remove(&member.peer);
                awaited.push(member);
            }
        }
        routes.shrink_to_fit();
        // Nobody has said that these members are gone.
        for peer in &changed {
            self.record_loss(ctx, peer, Loss::Relay);
        }
        for peer in &gone {
            self.record_loss(ctx, peer, Loss::Member);
        }
        for member in &awaited {
            let await_ms = member.await_ms.unwrap_or(AWAIT_MS).min(AWAIT_MS);
            self.record_loss_for(ctx, &member.peer, Loss::Relay, await_ms);
            // Beside a route, too, which may end meanwhile.
            if !ctx.stream_by_peer.contains_key(&member.peer) {
                self.lost.add_awaited(&room, member, now);
            }
        }
        changed.extend(awaited.iter().map(|member| member.peer));
        changed.extend(gone);
        if changed
            .iter()
            .any(|peer| !ctx.is_linked_member(peer, &room))
        {
            self.schedule_update(ctx, &room);
        }
        changed
    }

    /// Starts a hold-down in each room where this peer was lost. A peer is lost in a room if we
    /// advertised the peer and have no route left. Does nothing if the peer is linked, or if its
    /// run is in hold-down.
    pub fn record_loss(&mut self, ctx: &Context, peer: &PeerId, cause: Loss) {
        self.record_loss_for(ctx, peer, cause, AWAIT_MS);
    }

    /// As [`Routes::record_loss`]. The member is forgotten after `remaining_ms`: a neighbour that
    /// lost the member before us, and awaits it, has waited already.
    fn record_loss_for(&mut self, ctx: &Context, peer: &PeerId, cause: Loss, remaining_ms: u64) {
        if ctx.stream_by_peer.contains_key(peer) {
            return;
        }
        // A route that was sent early has the later run, and replaces the other.
        let advertised = self.advertised.iter().chain(self.advertised_early.iter());
        let entry = |(room, members): (&Room, &SortedMap<PeerId, Member>)| {
            Some((room.clone(), members.get(peer)?.clone()))
        };
        let entries: SortedMap<Room, Member> = advertised.filter_map(entry).collect();
        for (room, member) in entries {
            if !ctx.has_route(Some(&room), peer) {
                self.lost
                    .add(room, &member, cause, ctx.now.time, remaining_ms);
            }
        }
    }

    /// Removes all routes to a run that said goodbye. The neighbours that advertised these routes
    /// may not know of the goodbye yet.
    pub fn remove_peer(&mut self, ctx: &mut Context, peer: &PeerId, run: u64) {
        self.lost.record_goodbye(peer, run);
        let mut rooms = SortedSet::new();
        for link in ctx.links.values_mut() {
            for (room, routes) in link.routes.iter_mut() {
                if routes.get(peer).is_some_and(|route| route.run == run) {
                    routes.remove(peer);
                    rooms.insert(room.clone());
                }
            }
        }
        for room in rooms {
            self.schedule_update(ctx, &room);
        }
    }

    /// Removes all routes to banned peers. Returns these peers.
    pub fn remove_banned(&mut self, ctx: &mut Context) -> SortedSet<PeerId> {
        let banned = ctx.acquaintances.banned();
        self.lost.remove_all(banned);
        let (mut removed, mut rooms) = (SortedSet::new(), SortedSet::new());
        for link in ctx.links.values_mut() {
            for (room, routes) in link.routes.iter_mut() {
                routes.retain(|peer, _| {
                    let is_banned = banned.contains(peer);
                    if is_banned {
                        removed.insert(*peer);
                        rooms.insert(room.clone());
                    }
                    !is_banned
                });
            }
        }
        for room in rooms {
            self.schedule_update(ctx, &room);
        }
        removed
    }

    /// Ends the hold-downs whose time has passed, forgets lost members, and sends the scheduled
    /// update if it is due. Returns the peers whose hold-down ended, as routes to these peers may
    /// have become valid.
    pub fn handle_timeout(&mut self, ctx: &mut Context) -> SortedSet<PeerId> {
        let mut released = SortedSet::new();
        for (room, peer) in self.lost.expire(ctx.now.time) {
            self.schedule_update(ctx, &room);
            released.insert(peer);
        }
        self.advertise_changes(ctx);
        released
    }

    /// When to send the next update. While many peers start, each new link postpones it: then one
    /// update tells of all of them, also on a busy machine. The delay at most doubles. What peers
    /// say postpones nothing.
    fn next_update(&self, ctx: &Context) -> Option<Time> {
        let delay_ms = UPDATE_DELAY_MS.max(UPDATE_DELAY_PER_LINK_MS * ctx.links.len() as u64);
        self.changed_at.map(|(first, last_link)| {
            let settled_at = last_link + delay_ms / 2;
            settled_at.clamp(first + delay_ms, first + 2 * delay_ms)
        })
    }

    fn advertise_changes(&mut self, ctx: &mut Context) {
        if self.next_update(ctx).is_none_or(|at| at > ctx.now.time) {
            return;
        }
        self.changed_at = None;
        for room in std::mem::take(&mut self.changed_rooms) {
            let current = best_routes(ctx, &room);
            let advertised = self.advertised.get_or_default(room.clone());
            let early = self.advertised_early.remove(&room).unwrap_or_default();
            // A route may be again what it was, after a new link got another one.
            let is_changed = |peer: &PeerId, member: &Member| {
                advertised.get(peer) != Some(member)
                    || early.get(peer).is_some_and(|early| early != member)
            };
            let mut here: Vec<Member> = current
                .iter()
                .filter(|(peer, member)| is_changed(peer, member))
                .map(|(_, member)| member.clone())
                .collect();
            let before = advertised.keys().chain(early.keys());
            let ended = before.filter(|peer| !current.contains_key(peer));
            let ended: SortedSet<PeerId> = ended.copied().collect();
            let now = ctx.now.time;
            let awaited = self
                .lost
                .take_awaited(&room, &current, &ended, now, &mut here);
            let gone = ended.iter().filter(|peer| !awaited.contains(peer));
            let gone: Vec<PeerId> = gone.copied().collect();
            *advertised = current;
            if here.is_empty() && gone.is_empty() {
                continue;
            }
            send_changes(ctx, &room, &here, &gone);
        }
    }

    /// Adds the times at which to send an update, at which each hold-down ends, and at which a lost
    /// member is forgotten.
    pub fn state_deadlines(&self, ctx: &Context, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::AdvertiseRoutes, self.next_update(ctx));
        self.lost.state_deadlines(deadlines);
    }
}

/// The shortest route to each member of a room, as we advertise it. Linked transient peers are left
/// out. A send-only program advertises no route, because it forwards no lines.
fn best_routes(ctx: &Context, room: &Room) -> SortedMap<PeerId, Member> {
    let mut best: SortedMap<PeerId, Member> = SortedMap::new();
    if ctx.is_send_only() {
        return best;
    }
    for (_, link) in ctx.links_in_room(room).filter(|(_, link)| !link.transient) {
        let member = Member {
            peer: link.peer.id,
            username: link.peer.nick.to_string(),
            run: link.run,
            hops: 1,
            via: None,
            await_ms: None,
        };
        best.insert(link.peer.id, member);
    }
    for (stream, peer, route) in ctx.routes_in_room(room) {
        let hops = route.hops + 1;
        let is_shorter = best.get(peer).is_none_or(|known| hops < known.hops);
        if *peer == ctx.own_id() || !is_shorter {
            continue;
        }
        let member = Member {
            peer: *peer,
            username: route.nick.to_string(),
            run: route.run,
            hops,
            via: ctx.links.get(&stream).map(|link| link.peer.id),
            await_ms: None,
        };
        best.insert(*peer, member);
    }
    best
}

/// The name of a member. Each neighbour advertises the same members, so their routes share the
/// memory of one name: in a full mesh of 50 peers, there are 2400 routes to 49 members.
fn shared_nick(ctx: &Context, member: &Member) -> Nick {
    let known = ctx.display_peer(&member.peer).nick;
    match known.as_str() == member.username {
        true => known,
        false => Nick::new_or_placeholder(&member.username),
    }
}

/// Sends changed and removed routes on all links that share the room. On most of them, a digest may
/// stand for the routes to linked members.
fn send_changes(ctx: &mut Context, room: &Room, here: &[Member], gone: &[PeerId]) {
    let digest_links = linked_members::digest_links(ctx, room, here);
    let links = ctx.links_in_room(room).map(|(stream, _)| stream);
    let others = links.filter(|stream| !digest_links.contains(stream));
    send_update(ctx, &others.collect::<Vec<_>>(), room, here, gone);
    if !digest_links.is_empty() {
        linked_members::send_digest(ctx, &digest_links, room);
        let rest = here.iter().filter(|it| !linked_members::is_direct(it));
        let rest: Vec<Member> = rest.cloned().collect();
        send_update(ctx, &digest_links, room, &rest, gone);
    }
}

/// Sends changed and removed routes of a room on these links, in as many messages as needed.
fn send_update(
    ctx: &mut Context,
    streams: &[StreamId],
    room: &Room,
    here: &[Member],
    gone: &[PeerId],
) {
    let pieces = here
        .chunks(LOGS_PER_MESSAGE_MAX)
        .map(|here| (here, &[][..]));
    for (here, gone) in pieces.chain(
        gone.chunks(LOGS_PER_MESSAGE_MAX)
            .map(|gone| (&[][..], gone)),
    ) {
        let update = Members {
            target: room.to_string(),
            here: here.to_vec(),
            gone: gone.to_vec(),
        };
        ctx.send_to_all(streams, &Message::Members(update));
    }
}
