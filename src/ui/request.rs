//! The requests that a session takes. Every request is one JSON line; many can also be typed.
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::ui::command::UserCommand;
use crate::ui::session_event::FolderCursor;

/// A request to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A JSON number or string, which the answer repeats. Without an id, only errors are answered.
    pub id: Option<String>,
    /// What is requested.
    pub kind: RequestKind,
}

/// What a client or a user requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// What a user can type, and the commands of the core that no user types.
    Command(UserCommand),
    /// Repeat a request that an earlier program may have executed already.
    Resend {
        /// Publish lines of one batch, or join a room.
        command: UserCommand,
        /// The lines can only be stored after this place of their folder. A listener continues in
        /// the room at this place.
        after: FolderCursor,
    },
    /// Emit the lines and changes of a folder.
    Listen(Listen),
    /// Answer with the end of a folder.
    FindEnd(FolderName),
    /// The lines of a folder before this place are printed.
    Printed {
        /// The folder.
        folder: FolderName,
        /// The place.
        cursor: FolderCursor,
    },
    /// Dial a static peer.
    Dial {
        /// A host name or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
        /// The key expected there, if known.
        peer: Option<PeerId>,
    },
}

/// Which lines a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The folder to listen to. `None`: the rooms of the session and direct messages.
    pub folder: Option<FolderName>,
    /// Where to begin; `None`: at the end, or where the directory's reader is.
    pub after: Option<FolderCursor>,
    /// Whether to act as the directory's reader: begin where it is, and move it.
    pub is_reader: bool,
    /// Whether to get batches: `content` is an array of lines.
    pub is_batch: bool,
    /// Whether to get the lines of this identity.
    pub has_echo: bool,
    /// Whether to pass over everything said before now, and lines said before the program started.
    pub only_new: bool,
    /// How many stored lines to get first.
    pub backlog: u64,
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            folder: None,
            after: None,
            is_reader: false,
            is_batch: false,
            has_echo: true,
            only_new: false,
            backlog: 0,
        }
    }
}

impl From<UserCommand> for RequestKind {
    fn from(command: UserCommand) -> RequestKind {
        RequestKind::Command(command)
    }
}
