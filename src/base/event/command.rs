//! Requests from a user or a script to the core.
use crate::base::batch::batch::LogId;
use crate::base::guests::guest::GuestLines;
use crate::base::guests::lsnp::LsnpRequest;
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{Nick, PeerSelector, Room, Target};
use crate::base::presence::away::AwayText;
use crate::base::presence::profile::ProfileCommand;
use crate::base::presence::typing::TypingTarget;
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;

/// A request from a user or a script to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish lines.
    Publish {
        /// A joined room, or the recipient.
        target: Target,
        /// The lines.
        lines: Lines,
        /// What the lines are.
        form: LineForm,
        /// The id of the client's request. It is stored with the lines, so that the client finds
        /// them again.
        request: Option<RequestId>,
    },
    /// Send lines to one guest, in the clear. Answered by `Notice::SentToGuest`.
    SendToGuest(GuestLines),
    /// Do what a user of LSNP requests.
    Lsnp(LsnpRequest),
    /// Find the peer to which a user wants to send, and bind its name to its key. Answered by
    /// `Notice::Resolved`.
    Resolve {
        /// An arbitrary number. The answer contains the same number.
        request_id: u64,
        /// The peer to find.
        selector: PeerSelector,
        /// Milliseconds to wait for a matching peer. With 0, the peer must be known already.
        timeout_ms: u64,
    },
    /// Make a room the current room. The shell opens the room's folder before this command, and the
    /// core then joins the room: see `Input::FolderOpened`.
    Join(Room),
    /// Leave a room. `None`: the current room.
    Part(Option<Room>),
    /// Change our name.
    Nick(Nick),
    /// Say that the user is away, and why; or, with `None`, that the user is back.
    Away(Option<AwayText>),
    /// Show what our user says about itself, or change it. Answered by `Notice::OwnProfile`.
    Profile(ProfileCommand),
    /// Request what a linked peer says about itself.
    /// [`Node::is_fetching_profile`](crate::node::node::Node::is_fetching_profile) says until when.
    FetchProfile {
        /// The peer.
        peer: PeerId,
        /// Whether its whole picture is requested, too.
        wants_avatar: bool,
    },
    /// Say that our user types a line.
    Type(TypingTarget),
    /// List the linked, discovered and reachable peers. Answered by `Notice::Peers`, and
    /// `Notice::Guests`.
    Peers,
    /// List the counters. Answered by `Notice::Stats`.
    Stats,
    /// Ask each linked peer whether it hears our beacons.
    /// [`Node::links`](crate::node::node::Node::links) has the answers.
    AskHeard,
    /// Find out what each linked peer holds and requests now, so that
    /// [`Node::sync_state`](crate::node::node::Node::sync_state) takes it into account.
    Sync,
    /// Treat lines that this identity published in an earlier run as lines of this run. The store
    /// then keeps them until a peer has acknowledged them.
    AwaitDelivery {
        /// The log of these lines.
        log: LogId,
        /// Sequence of the first of these lines.
        first: u64,
        /// Sequence of the last of these lines.
        sequence: u64,
    },
    /// A terminal has shown direct messages that are addressed to this identity.
    MarkRead {
        /// The log of the shown messages.
        log: LogId,
        /// Sequence of the last shown line.
        sequence: u64,
    },
    /// Close every link with `bye` and withdraw the beacon.
    Leave,
}
