//! The joined rooms, the current room, and the rooms shared with each link.
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::name::Room;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::node::link::Link;
use crate::wire::message::{Message, ROOMS_MAX, room_hash};

/// The rooms that this program has joined, at most [`ROOMS_MAX`].
#[derive(Default)]
pub struct Rooms {
    /// The joined rooms, in the order of joining.
    joined: Vec<Room>,
    current: Option<Room>,
    /// Joined rooms that this directory also joined in an earlier run.
    joined_before: SortedSet<Room>,
    /// When a room was last joined or left.
    last_changed: Time,
}

/// How the rooms that we share with a peer have changed.
#[derive(Default)]
pub struct SharedRoomsChange {
    /// Rooms that became shared.
    pub added: Vec<Room>,
    /// Rooms that are no longer shared.
    pub removed: Vec<Room>,
}

impl Rooms {
    /// The joined rooms, in the order of joining.
    pub fn joined(&self) -> &[Room] {
        &self.joined
    }

    /// The room that receives lines without a target. `None` if no room is joined.
    pub fn current(&self) -> Option<&Room> {
        self.current.as_ref()
    }

    /// Makes a joined room the current one. Ignores a room that is not joined.
    pub fn set_current(&mut self, room: Room) {
        if self.is_joined(&room) {
            self.current = Some(room);
        }
    }

    /// Whether this directory joined the room in an earlier run.
    pub fn was_joined_before(&self, room: &Room) -> bool {
        self.joined_before.contains(room)
    }

    /// Whether this program has joined the room.
    pub fn is_joined(&self, room: &Room) -> bool {
        self.joined.contains(room)
    }

    /// Returns `room`, or the current room if `room` is `None`. If that room is not joined,
    /// notifies the user of an error and returns `None`.
    pub fn resolve(&self, ctx: &mut Context, room: Option<Room>) -> Option<Room> {
        let room = room.or_else(|| self.current.clone());
        match room {
            Some(room) if self.is_joined(&room) => Some(room),
            room => {
                let refusal = Refusal::not_in_room(room.as_ref(), true);
                notify_error(ctx, refusal.code, refusal.content);
                None
            }
        }
    }

    /// Joins a room and advertises it. `existed` means that this directory joined the room in an
    /// earlier run. Returns `false` if the room is joined already. At [`ROOMS_MAX`] joined rooms,
    /// notifies the user of an error and returns `false`.
    pub fn join(&mut self, ctx: &mut Context, room: &Room, existed: bool) -> bool {
        if self.is_joined(room) {
            return false;
        }
        if self.joined.len() >= ROOMS_MAX {
            let refusal =
                format!("not joined {room}: in {ROOMS_MAX} rooms already, /part one first");
            notify_error(ctx, ErrorCode::TooManyRooms, refusal);
            return false;
        }
        self.joined.push(room.clone());
        self.current.get_or_insert_with(|| room.clone());
        if existed {
            self.joined_before.insert(room.clone());
        }
        self.advertise(ctx);
        true
    }

    /// Leaves `room`, or the current room if `room` is `None`. If the current room is left, the
    /// first of [`Rooms::joined`] becomes current. Returns the room that was left. If that room is
    /// not joined, notifies the user of an error and returns `None`.
    pub fn part(&mut self, ctx: &mut Context, room: Option<Room>) -> Option<Room> {
        match room.or_else(|| self.current.clone()) {
            Some(room) if self.is_joined(&room) => {
                self.joined.retain(|joined| *joined != room);
                if self.current.as_ref() == Some(&room) {
                    self.current = self.joined.first().cloned();
                }
                self.advertise(ctx);
                Some(room)
            }
            room => {
                let refusal = Refusal::not_in_room(room.as_ref(), false);
                notify_error(ctx, refusal.code, refusal.content);
                None
            }
        }
    }

    fn advertise(&mut self, ctx: &mut Context) {
        self.last_changed = ctx.now.time;
        for stream in ctx.streams() {
            self.advertise_to(ctx, stream);
        }
    }

    fn advertise_to(&self, ctx: &mut Context, stream: StreamId) {
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let hash = |room| room_hash(link.channel.handshake_hash(), room);
        let rooms = self.joined.iter().map(hash).collect();
        ctx.send(stream, &Message::Rooms { rooms });
    }

    /// Advertises our rooms on a new link, if they may have changed after the hello was sent.
    pub fn link_up(&self, ctx: &mut Context, stream: StreamId) {
        let link = ctx.links.get(&stream);
        if link.is_some_and(|link| link.has_missed_change(self.last_changed)) {
            self.advertise_to(ctx, stream);
        }
    }

    /// Records the rooms that the peer advertised. The change takes effect with
    /// [`Rooms::update_shared`]. Returns `false`, without any effect, if the peer enters rooms
    /// again too often.
    pub fn handle_rooms(&self, ctx: &mut Context, stream: StreamId, hashes: Vec<String>) -> bool {
        let now = ctx.now.time;
        let link = ctx.links.get_mut(&stream);
        let Some(link) = link.filter(|_| hashes.len() <= ROOMS_MAX) else {
            return true;
        };
        let hashes: SortedSet<String> = hashes.into_iter().collect();
        let is_peer_in =
            |room: &Room| hashes.contains(&room_hash(link.channel.handshake_hash(), room));
        let known = link.left_rooms.iter().chain(link.shared_rooms.iter());
        let known = known.filter(|room| self.is_joined(room)).cloned();
        let (present, left) = known.partition(is_peer_in);
        let is_allowed = link.left_rooms.update(now, left, &present);
        if is_allowed {
            link.room_hashes = hashes;
        }
        is_allowed
    }

    /// Determines which joined rooms the peer of a link has also joined. Returns the changes since
    /// the last call.
    pub fn update_shared(&self, ctx: &mut Context, stream: StreamId) -> SharedRoomsChange {
        let mut change = SharedRoomsChange::default();
        let Some(link) = ctx.links.get_mut(&stream) else {
            return change;
        };
        let is_peer_in = |link: &Link, room: &Room| {
            link.room_hashes
                .contains(&room_hash(link.channel.handshake_hash(), room))
        };
        for room in &self.joined {
            if is_peer_in(link, room) && link.shared_rooms.insert(room.clone()) {
                change.added.push(room.clone());
            }
        }
        change.removed = link
            .shared_rooms
            .iter()
            .filter(|room| !self.is_joined(room) || !is_peer_in(link, room))
            .cloned()
            .collect();
        link.shared_rooms
            .retain(|room| !change.removed.contains(room));
        change
    }
}

fn notify_error(ctx: &mut Context, code: ErrorCode, content: String) {
    ctx.notify(Notice::Error { code, content });
}
