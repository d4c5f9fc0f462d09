//! What the core reports to users and scripts.
use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields, LogId};
use crate::base::error_code::{ErrorCode, Refusal};
use crate::base::event::peer::{Peer, PeerInfo};
use crate::base::guests::guest::{GuestId, GuestInfo, GuestLinesResult};
use crate::base::guests::guest_event::GuestNotice;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room, Target};
use crate::base::presence::away::AwayText;
use crate::base::presence::profile::Profile;
use crate::base::time::WallTime;

/// What a flapping peer does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlapKind {
    /// It joins and leaves the room.
    Membership,
    /// It changes its name.
    Name,
    /// It goes away and comes back.
    Away,
}

/// An event that the core reports to the sessions.
#[derive(Clone, Debug)]
pub enum Notice {
    /// A batch was published or received.
    Chat(Chat),
    /// A peer became reachable in a room.
    Joined {
        /// The room.
        room: Room,
        /// The peer.
        peer: Peer,
        /// When this program noticed the peer.
        at: WallTime,
    },
    /// A peer left a room, or can no longer be reached in it.
    Left {
        /// The room.
        room: Room,
        /// The peer.
        peer: Peer,
        /// When this program noticed the loss of the peer.
        at: WallTime,
    },
    /// A peer changed its name. Reported once for each shared room.
    Renamed {
        /// The room.
        room: Room,
        /// The peer, with its new name.
        peer: Peer,
        /// The previous name.
        old: Nick,
        /// When this program learned the new name.
        at: WallTime,
    },
    /// A peer went away or came back. Reported once for each shared room.
    Presence {
        /// The room.
        room: Room,
        /// The peer.
        peer: Peer,
        /// Why it is away. `None`: it is back.
        away: Option<AwayText>,
        /// When this program learned it.
        at: WallTime,
    },
    /// A peer types a line, or no longer does. Belongs to no transcript.
    Typing {
        /// For whom the line will be.
        target: Target,
        /// The peer.
        peer: Peer,
        /// Whether it types.
        is_typing: bool,
    },
    /// A peer changed so often that not every change was shown. The present state follows, unless
    /// it is the one shown last.
    Flapped {
        /// The room.
        room: Room,
        /// The peer.
        peer: Peer,
        /// What changed.
        kind: FlapKind,
        /// Number of all changes in the last minute.
        count: u64,
        /// When the minute ended.
        at: WallTime,
    },
    /// Lines of one of our logs are delivered to a peer. The peer stores all lines of this run, up
    /// to the given one.
    Delivered {
        /// The log.
        log: LogId,
        /// Sequence of the last delivered line.
        sequence: u64,
        /// The peer.
        peer: Peer,
    },
    /// The recipient's terminal has shown direct messages that this identity wrote.
    Read {
        /// The log of the shown messages.
        log: LogId,
        /// Sequence of the last shown line.
        sequence: u64,
        /// The recipient.
        peer: Peer,
        /// When the recipient's report arrived.
        at: WallTime,
    },
    /// Lines of a log are missing and cannot be fetched now.
    Gap {
        /// The room or the recipient of the lines.
        target: Target,
        /// The author of the lines.
        author: Peer,
        /// The incarnation of the log.
        incarnation: u64,
        /// Sequence of the first missing line.
        from: u64,
        /// Sequence of the last missing line.
        to: u64,
        /// When the gap was noticed.
        at: WallTime,
    },
    /// The answer to `Command::Peers`.
    Peers(Vec<PeerInfo>),
    /// A part of the answer to `Command::Peers`, if there are guests.
    Guests(Vec<GuestInfo>),
    /// A guest did something.
    Guest(GuestNotice),
    /// A part of the answer to `Command::SendToGuest`.
    SentToGuest(GuestLinesResult),
    /// The answer to `Command::Profile`.
    OwnProfile(Profile),
    /// The answer to `Command::Resolve`.
    Resolved {
        /// The number from `Command::Resolve`.
        request_id: u64,
        /// The recipient, or the reason why there is none.
        result: Result<ResolvedRecipient, Refusal>,
    },
    /// The joined rooms, with the current room first. Only a session reports them.
    Rooms(Vec<Room>),
    /// The answer to `Command::Stats`.
    Stats {
        /// Names and values of the counters.
        counters: Vec<(Cow<'static, str>, u64)>,
        /// The finders that have a trouble, each with a sentence about it. Only the shell has any.
        troubles: Vec<(Cow<'static, str>, String)>,
    },
    /// A peer claims a name that is known for another key. Reported once for each key and name.
    KeyMismatch {
        /// The peer that claims the name.
        peer: Peer,
        /// The key that the user has bound to the name. Without one, the key that claimed the name
        /// first.
        known_id: PeerId,
        /// When that key first claimed the name.
        first_seen: WallTime,
        /// Whether the user has bound the name to that key.
        is_bound: bool,
    },
    /// Another running program uses our key.
    DuplicateIdentity {
        /// The other program's address. `None` if a linked peer reported the program.
        address: Option<SocketAddr>,
        /// The linked peer that reported the other program. `None` if the two programs connected
        /// directly.
        reported_by: Option<Peer>,
    },
    /// An operation failed, or a command was refused.
    Error {
        /// The kind of the error, for scripts.
        code: ErrorCode,
        /// One sentence for the user.
        content: String,
    },
}

/// The recipient that a selector means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ResolvedRecipient {
    /// A peer, and whether it is neither linked nor reachable through others.
    Peer(Peer, bool),
    /// A guest.
    Guest(GuestId),
}

/// A published or received batch, to be shown.
#[derive(Clone, Debug)]
pub struct Chat {
    /// The batch.
    pub batch: Arc<Batch>,
    /// The local fields of the batch.
    pub local: LocalFields,
    /// Is this identity the author?
    pub is_own: bool,
}
