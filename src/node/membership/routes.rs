//! Who can be reached in each room through others: told to neighbours as what changed, a distance for each member
//! (a distance vector, as in RFC 1058, with the next hop named so that nobody is told his own word, and a bound on hops).
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Route;
use crate::node::timer::{Deadlines, Timer};
use crate::wire::message::{HOPS_MAX, LOGS_PER_MESSAGE_MAX, Member, Members as Told, Message};

/// Milliseconds in which changes are gathered before they are told.
const UPDATE_DELAY_MS: u64 = 200;
/// As much for each link, where there are many: what each says costs the more, the more listen.
const UPDATE_DELAY_PER_LINK_MS: u64 = 20;
/// Most members of all rooms that are taken from one link.
const ROUTES_PER_LINK_MAX: usize = 2048;
/// Milliseconds for which nobody is believed who still reaches one that was lost: such news goes in circles (the hold-down of RFC 1058's kin).
const HOLD_DOWN_MS: u64 = 4_000;
/// Most that are held down.
const HOLD_DOWNS_MAX: usize = 4096;

#[derive(Default)]
pub struct Routes {
    /// What all neighbours in a room were told.
    advertised: SortedMap<Room, SortedMap<PeerId, Member>>,
    changed_rooms: SortedSet<Room>,
    /// Who was lost: its run, and until when.
    hold_downs: SortedMap<(Room, PeerId), (u64, Time)>,
    next_update: Option<Time>,
}

impl Routes {
    /// A room is shared with this link from now on: all there is.
    pub fn room_shared(&mut self, ctx: &mut Context, stream: StreamId, room: &Room) {
        self.schedule_update(ctx, room);
        // Whatever changed since it was last told goes to all, this one included.
        let now = best_routes(ctx, room);
        let here = self
            .advertised
            .get(room)
            .into_iter()
            .flat_map(SortedMap::values);
        let here = here.filter(|member| now.get(&member.peer) == Some(member));
        let peer = ctx.links.get(&stream).map(|link| link.peer.id);
        let here: Vec<Member> = here
            .filter(|member| Some(member.peer) != peer && member.via != peer)
            .cloned()
            .collect();
        send_update(ctx, stream, room, &here, &[]);
    }

    /// Who can be reached in this room may have changed.
    pub fn schedule_update(&mut self, ctx: &Context, room: &Room) {
        self.changed_rooms.insert(room.clone());
        let wait = UPDATE_DELAY_MS.max(UPDATE_DELAY_PER_LINK_MS * ctx.links.len() as u64);
        self.next_update.get_or_insert(ctx.now.time + wait);
    }

    /// These rooms are no longer shared with a link: removes its routes there. Returns the peers to
    /// which they led.
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
        let removed = removed.copied().collect();
        link.routes.retain(|room, _| !rooms.contains(room));
        removed
    }

    /// We left the room.
    pub fn room_left(&mut self, room: &Room) {
        self.advertised.remove(room);
        self.changed_rooms.remove(room);
    }

    /// A neighbour tells whom it can reach. Gives the peers that this concerns.
    pub fn handle_update(
        &mut self,
        ctx: &mut Context,
        stream: StreamId,
        told: Told,
    ) -> Vec<PeerId> {
        let mut concerned = Vec::new();
        let own = ctx.own_id();
        let Ok(room) = Room::new(&told.target) else {
            return concerned;
        };
        let Some(link) = ctx
            .links
            .get_mut(&stream)
            .filter(|link| link.shared_rooms.contains(&room))
        else {
            return concerned;
        };
        let neighbour = link.peer.id;
        let now = ctx.now.time;
        let known: usize = link.routes.values().map(SortedMap::len).sum();
        let there = link.routes.get_or_default(room.clone());
        let others = known - there.len();
        for peer in told.gone {
            if there.remove(&peer).is_some() {
                concerned.push(peer);
            }
        }
        for member in told.here {
            // What leads back to us leads nowhere.
            let usable = (1..HOPS_MAX).contains(&member.hops)
                && member.via != Some(own)
                && others + there.len() < ROUTES_PER_LINK_MAX;
            if member.peer == own || member.peer == neighbour {
                continue;
            }
            concerned.push(member.peer);
            if usable {
                let held = self.hold_downs.get(&(room.clone(), member.peer));
                let held = held.filter(|(run, _)| *run == member.run);
                let reach = Route {
                    nick: Nick::new_or_placeholder(&member.username),
                    run: member.run,
                    hops: member.hops,
                    valid_from: held.map_or(now, |(_, until)| *until),
                };
                there.insert(member.peer, reach);
            } else {
                there.remove(&member.peer);
            }
        }
        if !concerned.is_empty() {
            self.schedule_update(ctx, &room);
        }
        for peer in &concerned {
            self.start_hold_down(ctx, peer);
        }
        concerned
    }

    /// A way to this peer is gone, perhaps the last one.
    pub fn start_hold_down(&mut self, ctx: &Context, peer: &PeerId) {
        if ctx.stream_by_peer.contains_key(peer) {
            return;
        }
        let until = ctx.now.time + HOLD_DOWN_MS;
        for (room, told) in self.advertised.iter() {
            let Some(member) = told.get(peer) else {
                continue;
            };
            let key = (room.clone(), *peer);
            let fresh =
                !self.hold_downs.contains_key(&key) && self.hold_downs.len() < HOLD_DOWNS_MAX;
            if fresh && !ctx.has_route(Some(room), peer) {
                self.hold_downs.insert(key, (member.run, until));
            }
        }
    }

    /// The peer's program said goodbye: whoever else names it has not heard yet.
    pub fn remove_peer(&mut self, ctx: &mut Context, peer: &PeerId, run: u64) {
        let mut rooms = SortedSet::new();
        for link in ctx.links.values_mut() {
            for (room, there) in link.routes.iter_mut() {
                if there.get(peer).is_some_and(|reach| reach.run == run) {
                    there.remove(peer);
                    rooms.insert(room.clone());
                }
            }
        }
        for room in rooms {
            self.schedule_update(ctx, &room);
        }
    }

    /// Gives those who are to be looked at again.
    pub fn handle_timeout(&mut self, ctx: &mut Context) -> SortedSet<PeerId> {
        let now = ctx.now.time;
        let mut again = SortedSet::new();
        let mut rooms = SortedSet::new();
        self.hold_downs.retain(|(room, peer), (_, until)| {
            let holds = *until > now;
            if !holds {
                again.insert(*peer);
                rooms.insert(room.clone());
            }
            holds
        });
        for room in rooms {
            self.schedule_update(ctx, &room);
        }
        self.advertise_changes(ctx);
        again
    }

    fn advertise_changes(&mut self, ctx: &mut Context) {
        if self.next_update.is_none_or(|due| due > ctx.now.time) {
            return;
        }
        self.next_update = None;
        for room in std::mem::take(&mut self.changed_rooms) {
            let now = best_routes(ctx, &room);
            let before = self.advertised.get_or_default(room.clone());
            let here: Vec<Member> = now
                .iter()
                .filter(|(peer, member)| before.get(peer) != Some(member))
                .map(|(_, member)| member.clone())
                .collect();
            let gone: Vec<PeerId> = before
                .keys()
                .filter(|peer| !now.contains_key(*peer))
                .copied()
                .collect();
            *before = now;
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

    /// States when to send an update, and when each hold-down ends.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        deadlines.add_some(Timer::AdvertiseRoutes, self.next_update);
        for (_, until) in self.hold_downs.values() {
            deadlines.add(Timer::HoldDown, *until);
        }
    }
}

/// The nearest way to each member, but for programs that come and go.
fn best_routes(ctx: &Context, room: &Room) -> SortedMap<PeerId, Member> {
    let mut all: SortedMap<PeerId, Member> = SortedMap::new();
    for (_, link) in ctx.links_in_room(room).filter(|(_, link)| !link.transient) {
        let member = Member {
            peer: link.peer.id,
            username: link.peer.nick.to_string(),
            run: link.run,
            hops: 1,
            via: None,
        };
        all.insert(link.peer.id, member);
    }
    for (stream, peer, reach) in ctx.routes_in_room(room) {
        let hops = reach.hops + 1;
        if *peer == ctx.own_id() || all.get(peer).is_some_and(|known| known.hops <= hops) {
            continue;
        }
        let member = Member {
            peer: *peer,
            username: reach.nick.to_string(),
            run: reach.run,
            hops,
            via: ctx.links.get(&stream).map(|link| link.peer.id),
        };
        all.insert(*peer, member);
    }
    all
}

fn send_update(ctx: &mut Context, stream: StreamId, room: &Room, here: &[Member], gone: &[PeerId]) {
    let pieces = here
        .chunks(LOGS_PER_MESSAGE_MAX)
        .map(|here| (here, &[][..]));
    for (here, gone) in pieces.chain(
        gone.chunks(LOGS_PER_MESSAGE_MAX)
            .map(|gone| (&[][..], gone)),
    ) {
        let told = Told {
            target: room.to_string(),
            here: here.to_vec(),
            gone: gone.to_vec(),
        };
        ctx.send(stream, &Message::Members(told));
    }
}
