//! Who is there: one `joined` for each program and shared room, one `left`. Linked or reached through others, it is there.

use crate::base::event::{Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::connection::handshake::HANDSHAKE_TIMEOUT_MS;
use crate::node::context::Context;

struct PresentPeer {
    peer: Peer,
    run: u64,
    rooms: SortedSet<Room>,
    /// Its link was taken away in favour of another, which must come by then.
    replacement_deadline: Option<Time>,
}

#[derive(Default)]
pub struct Presence(SortedMap<PeerId, PresentPeer>);

impl Presence {
    /// Compares where a peer can be found now with where it was.
    pub fn update(&mut self, ctx: &mut Context, joined: &[Room], id: &PeerId) {
        if *id == ctx.own_id() {
            return;
        }
        let link = ctx.link_to(id).filter(|link| !link.transient);
        let mut rooms: SortedSet<Room> = SortedSet::new();
        let (mut run, mut nick) = (None, None);
        if let Some(link) = link {
            rooms = link.shared_rooms.clone();
            (run, nick) = (Some(link.run), Some(link.peer.nick.clone()));
        }
        let known = self.0.get(id).map(|present| present.run);
        for room in joined {
            let now = ctx.now.time;
            for other in ctx.links.values() {
                let there = other.routes.get(room).and_then(|there| there.get(id));
                let Some(reach) = there.filter(|reach| reach.valid_from <= now) else {
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
        let waits = self
            .0
            .get(id)
            .is_some_and(|p| p.replacement_deadline.is_some());
        let (Some(run), Some(nick)) = (run, nick) else {
            if !waits {
                self.remove(ctx, id);
            }
            return;
        };
        if known.is_some_and(|known| known != run) {
            self.remove(ctx, id);
        }
        let fresh = Peer {
            id: *id,
            nick: nick.clone(),
        };
        let present = self.0.get_or_insert_with(*id, || PresentPeer {
            peer: fresh,
            run,
            rooms: SortedSet::new(),
            replacement_deadline: None,
        });
        if ctx.stream_by_peer.contains_key(id) {
            present.replacement_deadline = None;
        }
        let peer = present.peer.clone();
        let at = ctx.now.wall;
        let left: Vec<Room> = present
            .rooms
            .iter()
            .filter(|room| !rooms.contains(room))
            .cloned()
            .collect();
        if present.replacement_deadline.is_none() {
            for room in left {
                present.rooms.remove(&room);
                // Because we left it: then nobody is shown as gone.
                if joined.contains(&room) {
                    ctx.notify(Notice::Left {
                        room,
                        peer: peer.clone(),
                        at,
                    });
                }
            }
        }
        for room in rooms {
            if present.rooms.insert(room.clone()) {
                ctx.notify(Notice::Joined {
                    room,
                    peer: peer.clone(),
                    at,
                });
            }
        }
        self.rename(ctx, id, nick);
    }

    pub fn rename(&mut self, ctx: &mut Context, peer: &PeerId, nick: Nick) {
        let Some(present) = self
            .0
            .get_mut(peer)
            .filter(|present| present.peer.nick != nick)
        else {
            return;
        };
        let old = std::mem::replace(&mut present.peer.nick, nick);
        for room in &present.rooms {
            ctx.notify(Notice::Renamed {
                room: room.clone(),
                peer: present.peer.clone(),
                old: old.clone(),
                at: ctx.now.wall,
            });
        }
    }

    /// Its link was taken away in favour of another, which must come soon.
    pub fn expect_replacement(&mut self, ctx: &Context, peer: &PeerId) {
        if let Some(present) = self.0.get_mut(peer) {
            present.replacement_deadline = Some(ctx.now.time + HANDSHAKE_TIMEOUT_MS);
        }
    }

    fn remove(&mut self, ctx: &mut Context, peer: &PeerId) {
        if let Some(present) = self.0.remove(peer) {
            for room in present.rooms {
                ctx.notify(Notice::Left {
                    room,
                    peer: present.peer.clone(),
                    at: ctx.now.wall,
                });
            }
        }
    }

    /// Gives those whose other link did not come.
    pub fn handle_timeout(&mut self, ctx: &Context) -> Vec<PeerId> {
        let now = ctx.now.time;
        let late = |p: &&mut PresentPeer| p.replacement_deadline.is_some_and(|until| until <= now);
        let mut waited = Vec::new();
        for present in self.0.values_mut().filter(late) {
            present.replacement_deadline = None;
            waited.push(present.peer.id);
        }
        waited
    }

    pub fn deadline(&self) -> Option<Time> {
        self.0
            .values()
            .filter_map(|present| present.replacement_deadline)
            .min()
    }
}
