//! The rooms joined, and which of them are shared with whom.

use crate::base::error_code::ErrorCode;
use crate::base::event::{Notice, StreamId};
use crate::base::name::Room;
use crate::base::table::SortedSet;
use crate::base::time::Time;
use crate::node::context::Context;
use crate::wire::message::{Message, ROOMS_MAX, room_hash};

#[derive(Default)]
pub struct Rooms {
    /// In the order of joining.
    joined: Vec<Room>,
    current: Option<Room>,
    /// Rooms in which this directory was in an earlier run.
    joined_before: SortedSet<Room>,
    /// When one was last joined or left.
    last_changed: Time,
}

/// How what is shared with a link changed.
#[derive(Default)]
pub struct SharedRoomsChange {
    pub added: Vec<Room>,
    pub removed: Vec<Room>,
}

impl Rooms {
    pub fn joined(&self) -> &[Room] {
        &self.joined
    }

    /// The one spoken in.
    pub fn current(&self) -> Option<&Room> {
        self.current.as_ref()
    }

    pub fn set_current(&mut self, room: &Room) {
        self.current = Some(room.clone());
    }

    pub fn was_joined_before(&self, room: &Room) -> bool {
        self.joined_before.contains(room)
    }

    pub fn is_joined(&self, room: &Room) -> bool {
        self.joined.contains(room)
    }

    /// `false`: already in it, or in too many.
    pub fn join(&mut self, ctx: &mut Context, room: &Room, before: bool) -> bool {
        if self.is_joined(room) {
            return false;
        }
        if self.joined.len() >= ROOMS_MAX {
            ctx.notify(Notice::Error {
                code: ErrorCode::TooManyRooms,
                content: format!("not joined {room}: {ROOMS_MAX} rooms are the most"),
            });
            return false;
        }
        self.joined.push(room.clone());
        self.current.get_or_insert_with(|| room.clone());
        if before {
            self.joined_before.insert(room.clone());
        }
        self.advertise(ctx);
        true
    }

    pub fn part(&mut self, ctx: &mut Context, room: &Room) -> bool {
        let was = self.is_joined(room);
        self.joined.retain(|r| r != room);
        if self.current.as_ref() == Some(room) {
            self.current = self.joined.first().cloned();
        }
        if was {
            self.advertise(ctx);
        }
        was
    }

    fn advertise(&mut self, ctx: &mut Context) {
        self.last_changed = ctx.now.time;
        for stream in ctx.links.keys().copied().collect::<Vec<_>>() {
            self.advertise_to(ctx, stream);
        }
    }

    fn advertise_to(&self, ctx: &mut Context, stream: StreamId) {
        let Some(link) = ctx.links.get(&stream) else {
            return;
        };
        let mark = |room| room_hash(&link.transport.handshake_hash, room);
        let rooms = self.joined.iter().map(mark).collect();
        ctx.send(stream, &Message::Rooms { rooms });
    }

    /// A link stands: what was joined or left during its handshake, the hello may not have said.
    pub fn link_up(&self, ctx: &mut Context, stream: StreamId) {
        let begun = ctx.links.get(&stream).map(|link| link.handshake_started_at);
        if begun.is_some_and(|begun| begun <= self.last_changed) {
            self.advertise_to(ctx, stream);
        }
    }

    /// The peer said which rooms it is in.
    pub fn handle_rooms(&self, ctx: &mut Context, stream: StreamId, marks: Vec<String>) {
        if let Some(link) = ctx.links.get_mut(&stream)
            && marks.len() <= ROOMS_MAX
        {
            link.room_hashes = marks.into_iter().collect();
        }
    }

    /// Compares what both are in now with what was shared so far.
    pub fn update_shared(&self, ctx: &mut Context, stream: StreamId) -> SharedRoomsChange {
        let mut change = SharedRoomsChange::default();
        let Some(link) = ctx.links.get_mut(&stream) else {
            return change;
        };
        for room in &self.joined {
            if link
                .room_hashes
                .contains(&room_hash(&link.transport.handshake_hash, room))
                && link.shared_rooms.insert(room.clone())
            {
                change.added.push(room.clone());
            }
        }
        let shared = |room: &Room| {
            self.is_joined(room)
                && link
                    .room_hashes
                    .contains(&room_hash(&link.transport.handshake_hash, room))
        };
        change.removed = link
            .shared_rooms
            .iter()
            .filter(|room| !shared(room))
            .cloned()
            .collect();
        link.shared_rooms
            .retain(|room| !change.removed.contains(room));
        change
    }

    pub fn list(&self) -> Vec<Room> {
        let spoken = self.current.iter().cloned();
        spoken
            .chain(
                self.joined
                    .iter()
                    .filter(|room| self.current.as_ref() != Some(room))
                    .cloned(),
            )
            .collect()
    }
}
