//! For whom a line is that somebody types.
use crate::base::name::{PeerSelector, Room};

/// For whom a line is that our user types.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypingTarget {
    /// The members of a room.
    Room(Room),
    /// One peer.
    Peer(PeerSelector),
}
