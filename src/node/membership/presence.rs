//! Who is there: one `joined` for each program and shared room, one `left`. Linked or reached through others, it is there.

use crate::base::event::{Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{Set, Table};
use crate::base::time::Time;
use crate::node::connection::handshake::HANDSHAKE_TIME;
use crate::node::context::Hub;

struct Present {
    peer: Peer,
    run: u64,
    rooms: Set<Room>,
    /// Its link was taken away in favour of another, which must come by then.
    until: Option<Time>,
}

#[derive(Default)]
pub struct Presence(Table<PeerId, Present>);

impl Presence {
    /// Compares where a peer can be found now with where it was.
    pub fn look(&mut self, hub: &mut Hub, joined: &[Room], id: &PeerId) {
        if *id == hub.id() {
            return;
        }
        let link = hub.link_to(id).filter(|link| !link.passing);
        let mut rooms: Set<Room> = Set::new();
        let (mut run, mut nick) = (None, None);
        if let Some(link) = link {
            rooms = link.rooms.clone();
            (run, nick) = (Some(link.run), Some(link.peer.nick.clone()));
        }
        let known = self.0.get(id).map(|present| present.run);
        for room in joined {
            let now = hub.now.time;
            for other in hub.links.values() {
                let there = other.reach.get(room).and_then(|there| there.get(id));
                let Some(reach) = there.filter(|reach| reach.from <= now) else {
                    continue;
                };
                if !rooms.contains(room) {
                    rooms.insert(room.clone());
                }
                // A neighbour that has not heard of the new run yet does not bring the old one back.
                if run.is_none() || link.is_none() && Some(reach.run) == known {
                    (run, nick) = (Some(reach.run), Some(reach.nick.clone()));
                }
                if link.is_some() || known.is_none() || run == known {
                    break;
                }
            }
        }
        let waits = self.0.get(id).is_some_and(|p| p.until.is_some());
        let (Some(run), Some(nick)) = (run, nick) else {
            if !waits {
                self.gone(hub, id);
            }
            return;
        };
        if known.is_some_and(|known| known != run) {
            self.gone(hub, id);
        }
        let fresh = Peer {
            id: *id,
            nick: nick.clone(),
        };
        let present = self.0.get_or_insert_with(*id, || Present {
            peer: fresh,
            run,
            rooms: Set::new(),
            until: None,
        });
        if hub.linked.contains_key(id) {
            present.until = None;
        }
        let peer = present.peer.clone();
        let at = hub.now.wall;
        let left: Vec<Room> = present
            .rooms
            .iter()
            .filter(|room| !rooms.contains(room))
            .cloned()
            .collect();
        if present.until.is_none() {
            for room in left {
                present.rooms.remove(&room);
                // Because we left it: then nobody is shown as gone.
                if joined.contains(&room) {
                    hub.notice(Notice::Left {
                        room,
                        peer: peer.clone(),
                        at,
                    });
                }
            }
        }
        for room in rooms {
            if present.rooms.insert(room.clone()) {
                hub.notice(Notice::Joined {
                    room,
                    peer: peer.clone(),
                    at,
                });
            }
        }
        self.renamed(hub, id, nick);
    }

    pub fn renamed(&mut self, hub: &mut Hub, peer: &PeerId, nick: Nick) {
        let Some(present) = self
            .0
            .get_mut(peer)
            .filter(|present| present.peer.nick != nick)
        else {
            return;
        };
        let old = std::mem::replace(&mut present.peer.nick, nick);
        for room in &present.rooms {
            hub.notice(Notice::Renamed {
                room: room.clone(),
                peer: present.peer.clone(),
                old: old.clone(),
                at: hub.now.wall,
            });
        }
    }

    /// Its link was taken away in favour of another, which must come soon.
    pub fn replaced(&mut self, hub: &Hub, peer: &PeerId) {
        if let Some(present) = self.0.get_mut(peer) {
            present.until = Some(hub.now.time + HANDSHAKE_TIME);
        }
    }

    fn gone(&mut self, hub: &mut Hub, peer: &PeerId) {
        if let Some(present) = self.0.remove(peer) {
            for room in present.rooms {
                hub.notice(Notice::Left {
                    room,
                    peer: present.peer.clone(),
                    at: hub.now.wall,
                });
            }
        }
    }

    /// Gives those whose other link did not come.
    pub fn wake(&mut self, hub: &Hub) -> Vec<PeerId> {
        let now = hub.now.time;
        let late = |p: &&mut Present| p.until.is_some_and(|until| until <= now);
        let mut waited = Vec::new();
        for present in self.0.values_mut().filter(late) {
            present.until = None;
            waited.push(present.peer.id);
        }
        waited
    }

    pub fn deadline(&self) -> Option<Time> {
        self.0.values().filter_map(|present| present.until).min()
    }
}
