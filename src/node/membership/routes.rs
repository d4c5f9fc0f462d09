//! Who can be reached in each room through others: told to neighbours as what changed, a distance for each member
//! (a distance vector, as in RFC 1058, with the next hop named so that nobody is told his own word, and a bound on hops).
use crate::base::event::StreamId;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::node::link::Reach;
use crate::wire::message::{HOPS_MAX, LOGS_MAX, Member, Members as Told, Message};

/// Milliseconds in which changes are gathered before they are told.
const GATHER: u64 = 200;
/// As much for each link, where there are many: what each says costs the more, the more listen.
const GATHER_LINK: u64 = 20;
/// Most members of all rooms that are taken from one link.
const REACHED_MAX: usize = 2048;
/// Milliseconds for which nobody is believed who still reaches one that was lost: such news goes in circles (the hold-down of RFC 1058's kin).
const HOLD: u64 = 4_000;
/// Most that are held down.
const HELD_MAX: usize = 4096;

#[derive(Default)]
pub struct Members {
    /// What all neighbours in a room were told.
    told: Table<Room, Table<PeerId, Member>>,
    changed: Set<Room>,
    /// Who was lost: its run, and until when.
    held: Table<(Room, PeerId), (u64, Time)>,
    due: Option<Time>,
}

impl Members {
    /// A room is shared with this link from now on: all there is.
    pub fn shared(&mut self, hub: &mut Hub, stream: StreamId, room: &Room) {
        self.touch(hub, room);
        // Whatever changed since it was last told goes to all, this one included.
        let now = reachable(hub, room);
        let here = self.told.get(room).into_iter().flat_map(Table::values);
        let here = here.filter(|member| now.get(&member.peer) == Some(member));
        let peer = hub.links.get(&stream).map(|link| link.peer.id);
        let here: Vec<Member> = here
            .filter(|member| Some(member.peer) != peer && member.via != peer)
            .cloned()
            .collect();
        tell(hub, stream, room, &here, &[]);
    }

    /// Who can be reached in this room may have changed.
    pub fn touch(&mut self, hub: &Hub, room: &Room) {
        self.changed.insert(room.clone());
        let wait = GATHER.max(GATHER_LINK * hub.links.len() as u64);
        self.due.get_or_insert(hub.now.time + wait);
    }

    /// The room was left.
    pub fn parted(&mut self, room: &Room) {
        self.told.remove(room);
        self.changed.remove(room);
    }

    /// A neighbour tells whom it can reach. Gives the peers that this concerns.
    pub fn hear(&mut self, hub: &mut Hub, stream: StreamId, told: Told) -> Vec<PeerId> {
        let mut concerned = Vec::new();
        let own = hub.id();
        let Ok(room) = Room::new(&told.target) else {
            return concerned;
        };
        let Some(link) = hub
            .links
            .get_mut(&stream)
            .filter(|link| link.rooms.contains(&room))
        else {
            return concerned;
        };
        let neighbour = link.peer.id;
        let now = hub.now.time;
        let known: usize = link.reach.values().map(Table::len).sum();
        let there = link.reach.get_or_default(room.clone());
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
                && others + there.len() < REACHED_MAX;
            if member.peer == own || member.peer == neighbour {
                continue;
            }
            concerned.push(member.peer);
            if usable {
                let held = self.held.get(&(room.clone(), member.peer));
                let held = held.filter(|(run, _)| *run == member.run);
                let reach = Reach {
                    nick: Nick::foreign(&member.username),
                    run: member.run,
                    hops: member.hops,
                    from: held.map_or(now, |(_, until)| *until),
                };
                there.insert(member.peer, reach);
            } else {
                there.remove(&member.peer);
            }
        }
        if !concerned.is_empty() {
            self.touch(hub, &room);
        }
        for peer in &concerned {
            self.lost(hub, peer);
        }
        concerned
    }

    /// A way to this peer is gone, perhaps the last one.
    pub fn lost(&mut self, hub: &Hub, peer: &PeerId) {
        if hub.linked.contains_key(peer) {
            return;
        }
        let until = hub.now.time + HOLD;
        for (room, told) in self.told.iter() {
            let Some(member) = told.get(peer) else {
                continue;
            };
            let key = (room.clone(), *peer);
            let fresh = !self.held.contains_key(&key) && self.held.len() < HELD_MAX;
            if fresh && !hub.is_reached(Some(room), peer) {
                self.held.insert(key, (member.run, until));
            }
        }
    }

    /// The peer's program said goodbye: whoever else names it has not heard yet.
    pub fn left(&mut self, hub: &mut Hub, peer: &PeerId, run: u64) {
        let mut rooms = Set::new();
        for link in hub.links.values_mut() {
            for (room, there) in link.reach.iter_mut() {
                if there.get(peer).is_some_and(|reach| reach.run == run) {
                    there.remove(peer);
                    rooms.insert(room.clone());
                }
            }
        }
        for room in rooms {
            self.touch(hub, &room);
        }
    }

    /// Gives those who are to be looked at again.
    pub fn wake(&mut self, hub: &mut Hub) -> Set<PeerId> {
        let now = hub.now.time;
        let mut again = Set::new();
        let mut rooms = Set::new();
        self.held.retain(|(room, peer), (_, until)| {
            let holds = *until > now;
            if !holds {
                again.insert(*peer);
                rooms.insert(room.clone());
            }
            holds
        });
        for room in rooms {
            self.touch(hub, &room);
        }
        self.tell_changes(hub);
        again
    }

    fn tell_changes(&mut self, hub: &mut Hub) {
        if self.due.is_none_or(|due| due > hub.now.time) {
            return;
        }
        self.due = None;
        for room in std::mem::take(&mut self.changed) {
            let now = reachable(hub, &room);
            let before = self.told.get_or_default(room.clone());
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
            let streams: Vec<StreamId> = hub.in_room(&room).map(|(stream, _)| stream).collect();
            for stream in streams {
                tell(hub, stream, &room, &here, &gone);
            }
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        let held = self.held.values().map(|(_, until)| *until);
        held.chain(self.due).min()
    }
}

/// The nearest way to each member, but for programs that come and go.
fn reachable(hub: &Hub, room: &Room) -> Table<PeerId, Member> {
    let mut all: Table<PeerId, Member> = Table::new();
    for (_, link) in hub.in_room(room).filter(|(_, link)| !link.passing) {
        let member = Member {
            peer: link.peer.id,
            username: link.peer.nick.to_string(),
            run: link.run,
            hops: 1,
            via: None,
        };
        all.insert(link.peer.id, member);
    }
    for (stream, peer, reach) in hub.reached(room) {
        let hops = reach.hops + 1;
        if *peer == hub.id() || all.get(peer).is_some_and(|known| known.hops <= hops) {
            continue;
        }
        let member = Member {
            peer: *peer,
            username: reach.nick.to_string(),
            run: reach.run,
            hops,
            via: hub.links.get(&stream).map(|link| link.peer.id),
        };
        all.insert(*peer, member);
    }
    all
}

fn tell(hub: &mut Hub, stream: StreamId, room: &Room, here: &[Member], gone: &[PeerId]) {
    let pieces = here.chunks(LOGS_MAX).map(|here| (here, &[][..]));
    for (here, gone) in pieces.chain(gone.chunks(LOGS_MAX).map(|gone| (&[][..], gone))) {
        let told = Told {
            target: room.to_string(),
            here: here.to_vec(),
            gone: gone.to_vec(),
        };
        hub.send(stream, &Message::Members(told));
    }
}
