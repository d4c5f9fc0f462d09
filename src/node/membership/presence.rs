//! Shows which peers come and go. For each run of a peer, emits one `joined` and one `left` notice
//! in each shared room. A peer is present while it is linked or reachable through others.
use crate::base::event::{Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::table::{SortedMap, SortedSet};
use crate::base::time::Time;
use crate::node::connection::handshake::HANDSHAKE_TIMEOUT_MS;
use crate::node::context::Context;
use crate::node::timer::{Deadlines, Timer};

/// A peer as it was last shown to the user.
struct PresentPeer {
    peer: Peer,
    run: u64,
    rooms: SortedSet<Room>,
    /// The deadline for the new link that replaces a closed link. At the deadline, a peer that is
    /// not reachable is shown as gone. `None` while no new link is expected.
    replacement_deadline: Option<Time>,
}

/// The run, name and rooms with which a peer is reachable now.
struct Location {
    run: u64,
    nick: Nick,
    rooms: SortedSet<Room>,
}

/// The peers that are shown as present.
#[derive(Default)]
pub struct Presence(SortedMap<PeerId, PresentPeer>);

impl Presence {
    /// Determines in which rooms a peer is now. Notifies the user of each room that the peer joined
    /// or left, and of a new name.
    pub fn update(&mut self, ctx: &mut Context, joined: &[Room], id: &PeerId) {
        if *id == ctx.own_id() {
            return;
        }
        let shown = self.0.get(id);
        let shown_run = shown.map(|present| present.run);
        let is_awaited = shown.is_some_and(|present| present.replacement_deadline.is_some());
        let Some(Location { run, nick, rooms }) = locate(ctx, joined, id, shown_run) else {
            if !is_awaited {
                self.remove(ctx, id);
            }
            return;
        };
        if shown_run.is_some_and(|shown_run| shown_run != run) {
            self.remove(ctx, id);
        }
        let present = self.0.get_or_insert_with(*id, || PresentPeer {
            peer: Peer {
                id: *id,
                nick: nick.clone(),
            },
            run,
            rooms: SortedSet::new(),
            replacement_deadline: None,
        });
        if ctx.stream_by_peer.contains_key(id) {
            present.replacement_deadline = None;
        }
        if present.replacement_deadline.is_none() {
            notify_left(ctx, joined, present, &rooms);
        }
        notify_joined(ctx, present, rooms);
        self.rename(ctx, id, nick);
    }

    /// Notifies the user of a peer's new name, in each room where the peer is shown.
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

    /// Handles the end of a link that a new link to the same run replaces. The peer stays shown for
    /// the time that a handshake may take.
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

    /// Returns the peers whose new link is now overdue. The caller must call [`Presence::update`]
    /// for each of these peers.
    pub fn handle_timeout(&mut self, ctx: &Context) -> Vec<PeerId> {
        let now = ctx.now.time;
        let mut expired = Vec::new();
        for present in self.0.values_mut() {
            if present
                .replacement_deadline
                .take_if(|at| *at <= now)
                .is_some()
            {
                expired.push(present.peer.id);
            }
        }
        expired
    }

    /// Adds the time at which each expected new link is overdue.
    pub fn state_deadlines(&self, deadlines: &mut Deadlines) {
        for present in self.0.values() {
            deadlines.add_some(Timer::ReplaceLink, present.replacement_deadline);
        }
    }
}

/// Finds the rooms in which a peer is linked or reachable through others. Returns `None` if the
/// peer is neither. Ignores links to transient peers. If routes lead to several runs of the peer,
/// prefers `shown_run`, the run last shown.
fn locate(ctx: &Context, joined: &[Room], id: &PeerId, shown_run: Option<u64>) -> Option<Location> {
    let link = ctx.link_to(id).filter(|link| !link.transient);
    let mut location = link.map(|link| Location {
        run: link.run,
        nick: link.peer.nick.clone(),
        rooms: link.shared_rooms.clone(),
    });
    for room in joined {
        for neighbour in ctx.links.values() {
            let route = neighbour.routes.get(room).and_then(|routes| routes.get(id));
            let Some(route) = route.filter(|route| route.is_valid(ctx.now.time)) else {
                continue;
            };
            let location = location.get_or_insert_with(|| Location {
                run: route.run,
                nick: route.nick.clone(),
                rooms: SortedSet::new(),
            });
            if !location.rooms.contains(room) {
                location.rooms.insert(room.clone());
            }
            // Prefer the shown run while any neighbour advertises it. A neighbour that still knows
            // only an older run must not bring that run back.
            if link.is_none() && Some(route.run) == shown_run {
                location.run = route.run;
                location.nick = route.nick.clone();
            }
            if link.is_some() || shown_run.is_none() || Some(location.run) == shown_run {
                break;
            }
        }
    }
    location
}

/// Notifies the user that a peer left each shown room that is not in `rooms`. Rooms that we left
/// ourselves are dropped without a notice.
fn notify_left(
    ctx: &mut Context,
    joined: &[Room],
    present: &mut PresentPeer,
    rooms: &SortedSet<Room>,
) {
    let left = present.rooms.iter().filter(|room| !rooms.contains(room));
    for room in left.cloned().collect::<Vec<Room>>() {
        present.rooms.remove(&room);
        // If we left the room ourselves, the peer is still in it.
        if joined.contains(&room) {
            ctx.notify(Notice::Left {
                room,
                peer: present.peer.clone(),
                at: ctx.now.wall,
            });
        }
    }
}

/// Notifies the user that a peer joined each of `rooms` that is not shown yet.
fn notify_joined(ctx: &mut Context, present: &mut PresentPeer, rooms: SortedSet<Room>) {
    for room in rooms {
        if present.rooms.insert(room.clone()) {
            ctx.notify(Notice::Joined {
                room,
                peer: present.peer.clone(),
                at: ctx.now.wall,
            });
        }
    }
}
