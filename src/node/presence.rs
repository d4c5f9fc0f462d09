//! Who is there: one `joined` for each program and shared room, one `left`.

use super::handshakes::HANDSHAKE_TIME;
use super::hub::Hub;
use crate::base::event::{Notice, Peer, StreamId};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{Set, Table};
use crate::base::time::Time;

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
    pub fn up(&mut self, hub: &mut Hub, stream: StreamId) {
        let Some(link) = hub.links.get(&stream) else {
            return;
        };
        if link.passing {
            return;
        }
        let (peer, run) = (link.peer.clone(), link.run);
        if self
            .0
            .get(&peer.id)
            .is_some_and(|present| present.run != run)
        {
            self.gone(hub, &peer.id);
        }
        let present = self.0.get_or_insert_with(peer.id, || Present {
            peer: peer.clone(),
            run,
            rooms: Set::new(),
            until: None,
        });
        present.until = None;
        self.renamed(hub, &peer.id, peer.nick);
    }

    pub fn shared(&mut self, hub: &mut Hub, stream: StreamId, room: &Room) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        if let Some(present) = self.0.get_mut(&peer)
            && present.rooms.insert(room.clone())
        {
            hub.notice(Notice::Joined {
                room: room.clone(),
                peer: present.peer.clone(),
                at: hub.now.wall,
            });
        }
    }

    /// The room is no longer shared. `ours`: because we left it; then nobody is shown as gone.
    pub fn unshared(&mut self, hub: &mut Hub, stream: StreamId, room: &Room, ours: bool) {
        let Some(peer) = hub.links.get(&stream).map(|link| link.peer.id) else {
            return;
        };
        if let Some(present) = self.0.get_mut(&peer)
            && present.rooms.remove(room)
            && !ours
        {
            hub.notice(Notice::Left {
                room: room.clone(),
                peer: present.peer.clone(),
                at: hub.now.wall,
            });
        }
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

    /// `replaced`: another link to the same run stands, or is about to.
    pub fn down(&mut self, hub: &mut Hub, peer: &PeerId, replaced: bool) {
        if !replaced {
            return self.gone(hub, peer);
        }
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

    pub fn wake(&mut self, hub: &mut Hub) {
        let now = hub.now.time;
        let gone: Vec<PeerId> = self
            .0
            .iter()
            .filter(|(_, p)| p.until.is_some_and(|until| until <= now))
            .map(|(id, _)| *id)
            .collect();
        for peer in gone {
            self.gone(hub, &peer);
        }
    }

    pub fn deadline(&self) -> Option<Time> {
        self.0.values().filter_map(|present| present.until).min()
    }
}
