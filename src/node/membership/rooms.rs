//! The rooms joined, and which of them are shared with whom.

use crate::base::event::{Notice, StreamId};
use crate::base::name::Room;
use crate::base::table::Set;
use crate::base::time::Time;
use crate::node::context::Hub;
use crate::wire::message::{Message, ROOMS_MAX, room_mark};

#[derive(Default)]
pub struct Rooms {
    /// In the order of joining.
    joined: Vec<Room>,
    spoken: Option<Room>,
    /// Rooms in which this directory was in an earlier run.
    before: Set<Room>,
    /// When one was last joined or left.
    changed: Time,
}

/// How what is shared with a link changed.
#[derive(Default)]
pub struct Change {
    pub shared: Vec<Room>,
    pub unshared: Vec<Room>,
}

impl Rooms {
    pub fn joined(&self) -> &[Room] {
        &self.joined
    }

    /// The one spoken in.
    pub fn spoken(&self) -> Option<&Room> {
        self.spoken.as_ref()
    }

    pub fn speak(&mut self, room: &Room) {
        self.spoken = Some(room.clone());
    }

    pub fn was_before(&self, room: &Room) -> bool {
        self.before.contains(room)
    }

    pub fn is_joined(&self, room: &Room) -> bool {
        self.joined.contains(room)
    }

    /// `false`: already in it, or in too many.
    pub fn join(&mut self, hub: &mut Hub, room: &Room, before: bool) -> bool {
        if self.is_joined(room) {
            return false;
        }
        if self.joined.len() >= ROOMS_MAX {
            hub.notice(Notice::Error {
                code: "rooms",
                content: format!("not joined {room}: {ROOMS_MAX} rooms are the most"),
            });
            return false;
        }
        self.joined.push(room.clone());
        self.spoken.get_or_insert_with(|| room.clone());
        if before {
            self.before.insert(room.clone());
        }
        self.tell(hub);
        true
    }

    pub fn part(&mut self, hub: &mut Hub, room: &Room) -> bool {
        let was = self.is_joined(room);
        self.joined.retain(|r| r != room);
        if self.spoken.as_ref() == Some(room) {
            self.spoken = self.joined.first().cloned();
        }
        if was {
            self.tell(hub);
        }
        was
    }

    fn tell(&mut self, hub: &mut Hub) {
        self.changed = hub.now.time;
        for stream in hub.links.keys().copied().collect::<Vec<_>>() {
            self.tell_one(hub, stream);
        }
    }

    fn tell_one(&self, hub: &mut Hub, stream: StreamId) {
        let Some(link) = hub.links.get(&stream) else {
            return;
        };
        let mark = |room| room_mark(&link.session.hash, room);
        let rooms = self.joined.iter().map(mark).collect();
        hub.send(stream, &Message::Rooms { rooms });
    }

    /// A link stands: what was joined or left during its handshake, the hello may not have said.
    pub fn up(&self, hub: &mut Hub, stream: StreamId) {
        let begun = hub.links.get(&stream).map(|link| link.begun);
        if begun.is_some_and(|begun| begun <= self.changed) {
            self.tell_one(hub, stream);
        }
    }

    /// The peer said which rooms it is in.
    pub fn told(&self, hub: &mut Hub, stream: StreamId, marks: Vec<String>) {
        if let Some(link) = hub.links.get_mut(&stream)
            && marks.len() <= ROOMS_MAX
        {
            link.marks = marks.into_iter().collect();
        }
    }

    /// Compares what both are in now with what was shared so far.
    pub fn compare(&self, hub: &mut Hub, stream: StreamId) -> Change {
        let mut change = Change::default();
        let Some(link) = hub.links.get_mut(&stream) else {
            return change;
        };
        for room in &self.joined {
            if link.marks.contains(&room_mark(&link.session.hash, room))
                && link.rooms.insert(room.clone())
            {
                change.shared.push(room.clone());
            }
        }
        let shared = |room: &Room| {
            self.is_joined(room) && link.marks.contains(&room_mark(&link.session.hash, room))
        };
        change.unshared = link
            .rooms
            .iter()
            .filter(|room| !shared(room))
            .cloned()
            .collect();
        link.rooms.retain(|room| !change.unshared.contains(room));
        change
    }

    pub fn list(&self) -> Vec<Room> {
        let spoken = self.spoken.iter().cloned();
        spoken
            .chain(
                self.joined
                    .iter()
                    .filter(|room| self.spoken.as_ref() != Some(room))
                    .cloned(),
            )
            .collect()
    }
}
