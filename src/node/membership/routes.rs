//! Routes: which members of each room are reachable through other peers. Uses a distance-vector
//! protocol as in RFC 1058. Each peer sends changed routes to its neighbours. A route contains the
//! number of hops and the next hop. A peer ignores a route whose next hop is the peer itself, as it
//! would lead back (split horizon). The number of hops is bounded.
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Route;
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
/// Milliseconds for which new routes to a lost member are ignored (hold-down, as in Cisco's IGRP).
/// A neighbour may advertise such a route only because it has not learned of the loss.
const HOLD_DOWN_MS: u64 = 4_000;
/// Maximum number of hold-downs at one time. If this many exist, a lost member gets no hold-down.
const HOLD_DOWNS_MAX: usize = 4096;
/// Number of hold-downs from which on a member that only neighbours await gets none.
const HOLD_DOWNS_NAMED_MAX: usize = 2048;

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
    /// The hold-down of each lost member in a room.
    hold_downs: SortedMap<(Room, PeerId), HoldDown>,
    next_update: Option<Time>,
}

/// A member of a room to which the last route was lost. Until the end of the hold-down, new routes
/// to the same run are ignored.
struct HoldDown {
    /// The lost run of the member, and its name.
    run: u64,
    nick: Nick,
    until: Time,
    cause: Loss,
}

/// Why the last route to a member was lost.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Loss {
    /// The member said goodbye to us.
    Left,
    /// The member's own link ended, or a neighbour says that the member is gone. Another neighbour
    /// that awaits the member may know better.
    Member,
    /// Another peer on the way was lost, or the member's own link although its program runs on. The
    /// member should still get new lines.
    Relay,
    /// As [`Loss::Relay`], but we never had a route: a neighbour says so. Nobody is told of it, as
    /// peers could otherwise keep telling each other.
    RelayOfNeighbour,
}

impl Routes {
    /// Sends our routes in a room on a link whose peer now shares the room. A peer that waits for
    /// the delivery of its lines must know all members when the first acknowledgement arrives.
    ///
    /// Leaves out changed routes if there are many, unless the peer is transient. The scheduled
    /// update sends those on all links. Includes the awaited members.
    pub fn room_shared(&mut self, ctx: &mut Context, stream: StreamId, room: &Room) {
        self.schedule_update(ctx, room);
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
        here.extend(self.awaited_entries(ctx, room));
        send_update(ctx, stream, room, &here, &[]);
    }

    /// The members of a room that should get its lines, but are not linked. Such a member has a
    /// route, or is awaited. A route in hold-down counts, as the relay on it may have restarted.
    pub fn unlinked_members(&self, ctx: &Context, room: &Room) -> SortedSet<PeerId> {
        let routes = ctx.known_routes_in_room(room);
        let reachable = routes.map(|(_, peer, _)| peer);
        let awaited = self.hold_downs_in(room);
        let awaited = awaited.filter(|(_, hold_down)| {
            matches!(hold_down.cause, Loss::Relay | Loss::RelayOfNeighbour)
        });
        let members = reachable.chain(awaited.map(|(peer, _)| peer)).copied();
        members
            .filter(|peer| !ctx.stream_by_peer.contains_key(peer))
            .collect()
    }

    fn hold_downs_in<'a>(
        &'a self,
        room: &'a Room,
    ) -> impl Iterator<Item = (&'a PeerId, &'a HoldDown)> {
        let hold_downs = self.hold_downs.iter();
        let in_room = hold_downs.filter(move |((of, _), _)| of == room);
        in_room.map(|((_, peer), hold_down)| (peer, hold_down))
    }

    /// Entries that name to a new link the members to which we had a route, and that are awaited.
    fn awaited_entries(&self, ctx: &Context, room: &Room) -> Vec<Member> {
        let lost = self.hold_downs_in(room).filter(|(peer, hold_down)| {
            hold_down.cause == Loss::Relay && !ctx.has_route(Some(room), peer)
        });
        let entry = |(peer, hold_down): (&PeerId, &HoldDown)| Member {
            peer: *peer,
            username: hold_down.nick.to_string(),
            run: hold_down.run,
            hops: HOPS_MAX,
            via: None,
        };
        lost.map(entry).collect()
    }

    /// The name of an awaited member.
    pub fn awaited_nick(&self, peer: &PeerId) -> Option<Nick> {
        let mut hold_downs = self.hold_downs.iter();
        let found = hold_downs.find(|((_, member), _)| member == peer);
        found.map(|(_, hold_down)| hold_down.nick.clone())
    }

    /// Ends the hold-downs of a peer that is now linked.
    pub fn link_up(&mut self, peer: &PeerId) {
        self.hold_downs.retain(|(_, member), _| member != peer);
    }

    /// Schedules an update of this room's routes to the neighbours, as these routes may have
    /// changed.
    pub fn schedule_update(&mut self, ctx: &Context, room: &Room) {
        self.changed_rooms.insert(room.clone());
        let delay_ms = UPDATE_DELAY_MS.max(UPDATE_DELAY_PER_LINK_MS * ctx.links.len() as u64);
        self.next_update.get_or_insert(ctx.now.time + delay_ms);
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
        for peer in &removed {
            self.start_hold_down(ctx, peer, Loss::Relay);
        }
        removed
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
        let Some(link) = ctx
            .links
            .get_mut(&stream)
            .filter(|link| link.shared_rooms.contains(&room))
        else {
            return changed;
        };
        let neighbour = link.peer.id;
        let now = ctx.now.time;
        let route_count: usize = link.routes.values().map(SortedMap::len).sum();
        let routes = link.routes.get_or_default(room.clone());
        let other_rooms_count = route_count - routes.len();
        let gone = update.gone.into_iter();
        let gone: Vec<PeerId> = gone.filter(|peer| routes.remove(peer).is_some()).collect();
        let mut awaited = Vec::new();
        for member in update.here {
            // Split horizon: a route whose next hop is this program leads nowhere.
            let is_usable = (1..HOPS_MAX).contains(&member.hops)
                && member.via != Some(own)
                && other_rooms_count + routes.len() < ROUTES_PER_LINK_MAX;
            if member.peer == own || member.peer == neighbour {
                continue;
            }
            changed.push(member.peer);
            if is_usable {
                let known = routes.get(&member.peer);
                let known = known.filter(|known| known.run == member.run);
                let hold_down = self.hold_downs.get(&(room.clone(), member.peer));
                let hold_down = hold_down.filter(|held| held.run == member.run);
                let held_until = hold_down.map_or(now, |hold_down| hold_down.until);
                let route = Route {
                    nick: Nick::new_or_placeholder(&member.username),
                    run: member.run,
                    hops: member.hops,
                    valid_from: known.map_or(held_until, |known| known.valid_from),
                };
                routes.insert(member.peer, route);
            } else {
                routes.remove(&member.peer);
                if member.hops >= HOPS_MAX {
                    awaited.push(member);
                }
            }
        }
        // Nobody has said that these members are gone.
        for peer in &changed {
            self.start_hold_down(ctx, peer, Loss::Relay);
        }
        for peer in &gone {
            self.start_hold_down(ctx, peer, Loss::Member);
        }
        for member in awaited {
            if self.hold_downs.len() < HOLD_DOWNS_NAMED_MAX {
                self.hold_down(ctx, &room, &member, Loss::RelayOfNeighbour);
            }
        }
        changed.extend(gone);
        if !changed.is_empty() {
            self.schedule_update(ctx, &room);
        }
        changed
    }

    /// Starts a hold-down in each room where this peer was lost. A peer is lost in a room if we
    /// advertised the peer and have no route left. Does nothing if the peer is linked.
    pub fn start_hold_down(&mut self, ctx: &Context, peer: &PeerId, cause: Loss) {
        if ctx.stream_by_peer.contains_key(peer) {
            return;
        }
        // A route that was sent early has the later run, and replaces the other.
        let advertised = self.advertised.iter().chain(self.advertised_early.iter());
        let entry = |(room, members): (&Room, &SortedMap<PeerId, Member>)| {
            Some((room.clone(), members.get(peer)?.clone()))
        };
        let entries: SortedMap<Room, Member> = advertised.filter_map(entry).collect();
        for (room, member) in entries.iter() {
            self.hold_down(ctx, room, member, cause);
        }
    }

    /// Starts a hold-down of 4 s, unless this run of the member has one, or the member is linked or
    /// has a route. What a neighbour awaits is kept beside a route, which may end in that time.
    fn hold_down(&mut self, ctx: &Context, room: &Room, member: &Member, cause: Loss) {
        let key = (room.clone(), member.peer);
        let is_named = cause == Loss::RelayOfNeighbour;
        let is_lost = !ctx.stream_by_peer.contains_key(&member.peer)
            && (is_named || !ctx.has_route(Some(room), &member.peer));
        let held = self.hold_downs.get(&key);
        let is_held = held.is_some_and(|it| {
            let is_outweighed = is_named && it.cause == Loss::Member;
            it.run == member.run && it.until > ctx.now.time && !is_outweighed
        });
        let has_place = held.is_some() || self.hold_downs.len() < HOLD_DOWNS_MAX;
        if is_lost && !is_held && has_place {
            let hold_down = HoldDown {
                run: member.run,
                nick: Nick::new_or_placeholder(&member.username),
                until: ctx.now.time + HOLD_DOWN_MS,
                cause,
            };
            self.hold_downs.insert(key, hold_down);
        }
    }

    /// Removes all routes to a run that said goodbye. The neighbours that advertised these routes
    /// may not know of the goodbye yet.
    pub fn remove_peer(&mut self, ctx: &mut Context, peer: &PeerId, run: u64) {
        for ((_, member), hold_down) in self.hold_downs.iter_mut() {
            if member == peer && hold_down.run == run {
                hold_down.cause = Loss::Left;
            }
        }
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

    /// Ends the hold-downs whose time has passed, and sends the scheduled update if it is due.
    /// Returns the peers whose hold-down ended, as routes to these peers may have become valid.
    pub fn handle_timeout(&mut self, ctx: &mut Context) -> SortedSet<PeerId> {
        let now = ctx.now.time;
        let mut released = SortedSet::new();
        let mut rooms = SortedSet::new();
        self.hold_downs.retain(|(room, peer), hold_down| {
            let is_held = hold_down.until > now;
            if !is_held {
                released.insert(*peer);
                rooms.insert(room.clone());
            }
            is_held
        });
        for room in rooms {
            self.schedule_update(ctx, &room);
        }
        self.advertise_changes(ctx);
        released
    }

    fn advertise_changes(&mut self, ctx: &mut Context) {
        if self.next_update.is_none_or(|at| at > ctx.now.time) {
            return;
        }
        self.next_update = None;
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
            let early = early.iter();
            let early = early.filter(|(peer, _)| !advertised.contains_key(peer));
            let lost = advertised.iter().chain(early);
            let mut gone = Vec::new();
            for (peer, member) in lost.filter(|(peer, _)| !current.contains_key(peer)) {
                let hold_down = self.hold_downs.get(&(room.clone(), *peer));
                // A route may have become too long to be advertised.
                let is_awaited = hold_down.is_some_and(|it| it.cause == Loss::Relay)
                    || ctx.has_route(Some(&room), peer);
                match is_awaited {
                    true => here.push(Member {
                        hops: HOPS_MAX,
                        via: None,
                        ..member.clone()
                    }),
                    false => gone.push(*peer),
                }
            }
            *advertised = current;
            if here.is_empty() && gone.is_empty() {
                continue;
            }
            let streams: Vec<StreamId> =
                ctx.links_in_room(&room).map(|(stream, _)| stream).collect();
            for stream in streams {
                send_update(ctx, stream, &room, &here, &gone);
            }
        }
    }

    /// Adds the times at which to send an update and at which each hold-down ends.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::AdvertiseRoutes, self.next_update);
        for hold_down in self.hold_downs.values() {
            deadlines.add(Timer::HoldDown, hold_down.until);
        }
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
        };
        best.insert(link.peer.id, member);
    }
    for (stream, peer, route) in ctx.routes_in_room(room) {
        let hops = route.hops + 1;
        let is_shorter = best.get(peer).is_none_or(|known| hops < known.hops);
        if *peer == ctx.own_id() || !is_shorter || hops >= HOPS_MAX {
            continue;
        }
        let member = Member {
            peer: *peer,
            username: route.nick.to_string(),
            run: route.run,
            hops,
            via: ctx.links.get(&stream).map(|link| link.peer.id),
        };
        best.insert(*peer, member);
    }
    best
}

/// Sends changed and removed routes of a room on a link, in as many messages as needed.
fn send_update(ctx: &mut Context, stream: StreamId, room: &Room, here: &[Member], gone: &[PeerId]) {
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
        ctx.send(stream, &Message::Members(update));
    }
}
