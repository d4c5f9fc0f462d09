//! What is shown of guests.
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::time::WallTime;

/// Something that concerns one guest. Nobody signed it, so it is shown and not stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestNotice {
    /// The name that the guest claims.
    pub nick: Nick,
    /// When this program noticed it.
    pub at: WallTime,
    /// What happened.
    pub event: GuestEvent,
}

/// What a guest did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GuestEvent {
    /// The guest came to the room.
    Joined(Room),
    /// The guest left the room, or was silent for too long.
    Left(Room),
    /// The guest said a line in the room.
    Posted {
        /// The room.
        room: Room,
        /// The line.
        content: String,
    },
    /// The guest sent our user a direct message.
    Wrote {
        /// Our user.
        recipient: PeerId,
        /// The line.
        content: String,
    },
    /// Our user sent the guest a direct message. It may not have arrived.
    Received {
        /// Our user.
        author: PeerId,
        /// The name of our user.
        username: Nick,
        /// The line.
        content: String,
    },
    /// A sentence about the guest, for a person.
    Remark {
        /// The room.
        room: Room,
        /// The end of a sentence that begins with the guest's name.
        content: String,
    },
}

impl GuestEvent {
    /// The room in which it happened. `None`: it concerns direct messages.
    pub fn room(&self) -> Option<&Room> {
        match self {
            GuestEvent::Joined(room) | GuestEvent::Left(room) => Some(room),
            GuestEvent::Posted { room, .. } | GuestEvent::Remark { room, .. } => Some(room),
            GuestEvent::Wrote { .. } | GuestEvent::Received { .. } => None,
        }
    }

    /// Whether a person of the other network said something to us.
    pub fn is_line(&self) -> bool {
        matches!(self, GuestEvent::Posted { .. } | GuestEvent::Wrote { .. })
    }
}
