//! The requests that a session takes. Every request is one JSON line; many can also be typed.
use crate::base::identity::PeerId;
use crate::base::name::{FolderName, Nick};
use crate::ui::command::UserCommand;
use crate::ui::session_event::FolderCursor;

/// A request to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A JSON number or string, which the answer repeats. Without an id, only errors are answered.
    pub id: Option<String>,
    /// What is requested. In a box, because a request is passed on many times.
    pub kind: Box<RequestKind>,
}

impl Request {
    /// A request of this kind.
    pub fn new(id: Option<String>, kind: impl Into<RequestKind>) -> Request {
        let kind = Box::new(kind.into());
        Request { id, kind }
    }
}

/// What a client or a user requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// A typed command, or a command of the core that has no typed form.
    Command(UserCommand),
    /// Repeat a request that was sent to an earlier program. That program may have executed it
    /// already.
    Resend {
        /// The repeated command. It publishes the lines of one batch, or joins a room.
        command: UserCommand,
        /// If the command publishes lines, the search for an already stored copy begins here. If
        /// the command joins a room, the listener continues here.
        after: FolderCursor,
    },
    /// Emit the lines and changes of a folder.
    Listen(Listen),
    /// Report from now on how far the session's lines are delivered. Answered by the first report.
    Finish {
        /// Number of peers that must store the lines to each room. `None`: every reachable member
        /// must store them. At least one peer that stores them must not be transient.
        ///
        /// Each recipient must also store its direct messages. With 0, nobody must store any line.
        required_peers: Option<u64>,
        /// Whether to report instead whether those who are here hold all lines of ours, and we all
        /// of theirs. Not settled while nobody is linked.
        is_sync: bool,
    },
    /// Answer with the end of a folder.
    FindEnd(FolderName),
    /// Record that the lines of a folder before `cursor` are printed. Only the directory's reader
    /// can record this.
    Printed {
        /// The folder.
        folder: FolderName,
        /// The cursor after the printed lines.
        cursor: FolderCursor,
    },
    /// Compare the stored lines with the files of the history. The client found damage in them.
    Audit,
    /// Read `known_peers` again. The client has bound a peer there.
    ReloadKnownPeers,
    /// Dial a static peer.
    Dial {
        /// A host name or an IP address.
        host: String,
        /// The TCP port.
        port: u16,
        /// The key expected at the host, if the user gave one.
        peer: Option<PeerId>,
    },
}

/// Which lines a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The folder to listen to. `None`: the rooms of the session and direct messages.
    pub folder: Option<FolderName>,
    /// Where to begin. `None`: the directory's reader begins after the printed lines. Any other
    /// listener begins at the end of the folder.
    pub after: Option<FolderCursor>,
    /// Whether to act as the directory's reader. The reader begins after the printed lines, and
    /// reports further printed lines with [`RequestKind::Printed`].
    pub is_reader: bool,
    /// The name of the reader. `None`: the directory's own.
    pub reader_name: Option<Nick>,
    /// Whether to get the lines of a batch as one JSON line. Its `content` is then an array of
    /// lines.
    pub is_batch: bool,
    /// Whether to get our own lines of this run.
    pub has_echo: bool,
    /// Whether to get only new lines. Skips lines that are already stored, and lines that were
    /// published before the program started.
    pub only_new: bool,
    /// Whether the reader first goes behind all stored lines.
    pub seeks_end: bool,
    /// How many stored lines to get first.
    pub backlog: u64,
}

impl Default for Listen {
    fn default() -> Listen {
        Listen {
            folder: None,
            after: None,
            is_reader: false,
            reader_name: None,
            is_batch: false,
            has_echo: true,
            only_new: false,
            seeks_end: false,
            backlog: 0,
        }
    }
}

impl From<UserCommand> for RequestKind {
    fn from(command: UserCommand) -> RequestKind {
        RequestKind::Command(command)
    }
}

/// A request that cannot be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidRequest {
    /// The id of the request, if it has one.
    pub id: Option<String>,
    /// What is wrong: one sentence.
    pub message: String,
}
