//! The interface between the core and the shell: inputs, outputs, commands and notices.
use std::borrow::Cow;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use super::batch::{Batch, LocalFields, LogId};
use super::error_code::{ErrorCode, Refusal};
use super::guests::guest::{GuestId, GuestInfo, GuestLines};
use super::guests::guest_event::GuestNotice;
use super::guests::lsnp::{LsnpInput, LsnpOutput, LsnpRequest};
use super::identity::PeerId;
use super::interface::{FoundVia, Interface};
use super::lines::Lines;
use super::name::{FolderName, Nick, PeerSelector, Room, Target};
use super::range::{LogRanges, LostLines};
use super::request_id::RequestId;
use super::time::{ReaderStart, TenthsMs, WallTime};

/// The number of a TCP stream. No number is used twice in a run. The shell gives even numbers to
/// accepted streams. The core gives odd numbers to dialed streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

impl StreamId {
    /// The id of the `n`th accepted stream.
    pub fn accepted(n: u64) -> StreamId {
        StreamId(n * 2)
    }

    /// The id of the `n`th dialed stream.
    pub fn dialed(n: u64) -> StreamId {
        StreamId(n * 2 + 1)
    }

    /// Did this program dial the stream?
    pub fn is_dialed(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Why the core reads batches from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPurpose {
    /// To send the batches over the link with this id. The linked peer lacks them.
    Send(StreamId),
    /// To send the batches over the link with this id. They fill a gap of the linked peer.
    SendGap(StreamId),
    /// To compare one of our batches with a peer's.
    Compare,
    /// To publish lines of our forked log again in a new incarnation.
    Republish,
}

/// The next line to read of a log, and where the store finds it.
#[derive(Clone, Debug)]
pub struct LogCursor {
    /// The log.
    pub log: LogId,
    /// Sequence of the line.
    pub from: u64,
    /// Where the store starts to read, as an earlier reply says. `None`: it searches for the line.
    pub position: Option<Position>,
}

/// Requests batches of some logs from the store. The store reads all of them in one pass.
#[derive(Debug)]
pub struct LoadRequest {
    /// Why the batches are read.
    pub purpose: LoadPurpose,
    /// The logs, sorted, and the first line requested of each. All belong to one folder.
    pub cursors: Vec<LogCursor>,
    /// About the size in bytes of all batches to read. The store reads at least one batch.
    pub budget_bytes: usize,
}

/// The store's answer to a [`LoadRequest`].
#[derive(Debug)]
pub struct LoadReply {
    /// The purpose of the request.
    pub purpose: LoadPurpose,
    /// The logs of the request.
    pub logs: Vec<LoadedLog>,
}

/// The batches that the store read of one log.
#[derive(Debug)]
pub struct LoadedLog {
    /// The cursor of the request, with the position for the next request.
    pub cursor: LogCursor,
    /// Batches in ascending order. Empty: none is stored. `None`: the budget was used up before.
    pub batches: Option<Vec<Batch>>,
}

/// A position in a folder of the history. Only the store interprets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Offset in bytes, in the segment as it was before any eviction rewrote it.
    pub offset: u64,
    /// How often the segment had been rewritten when the store created the position.
    pub generation: u64,
}

/// A batch read from the history.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Where the batch begins.
    pub position: Position,
    /// The batch.
    pub batch: Batch,
    /// The local fields stored with the batch.
    pub local: LocalFields,
}

/// An event from outside the core.
#[derive(Debug)]
pub enum Input<'a> {
    /// Only time has passed. Deadlines that are due take effect.
    Timeout,
    /// A datagram arrived.
    Datagram {
        /// Index of the interface that received the datagram.
        interface: u32,
        /// The sender's address.
        source: SocketAddr,
        /// The payload.
        bytes: &'a [u8],
    },
    /// A datagram of LSNP arrived.
    Lsnp(LsnpInput<'a>),
    /// All usable interfaces. Sent at the start and after each change.
    InterfacesChanged(Vec<Interface>),
    /// The listener accepted a stream.
    Accepted {
        /// The new stream.
        stream: StreamId,
        /// The remote address.
        address: SocketAddr,
    },
    /// A stream dialed by [`Output::Dial`] is connected.
    Connected {
        /// The dialed stream.
        stream: StreamId,
    },
    /// Bytes arrived on a stream.
    Bytes {
        /// The stream.
        stream: StreamId,
        /// The next bytes of the stream.
        bytes: &'a [u8],
    },
    /// The socket accepted only a part of an [`Output::Write`]. The shell buffers the rest. The
    /// core writes no more to this stream until [`Input::Writable`] arrives.
    Blocked {
        /// The stream.
        stream: StreamId,
    },
    /// The shell has written all buffered bytes of a blocked stream.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// The stream ended, or its [`Output::Dial`] failed. Not sent after [`Output::Close`].
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// A static endpoint was resolved, for the first time or anew.
    EndpointResolved {
        /// Host and port, as the user gave them. They name the endpoint.
        endpoint: String,
        /// The addresses, as many as the shell allows. They replace those of the last time.
        addresses: Vec<SocketAddr>,
        /// The key that the user expects there, if the user gave one.
        peer: Option<PeerId>,
        /// Has the user just named the endpoint? It is then dialed at once, whatever its backoff.
        is_requested: bool,
    },
    /// A finder found a peer, or an address where one may be. Nothing of it is believed: an
    /// address is only dialed.
    PeerFound {
        /// Which finder.
        via: FoundVia,
        /// The only peer that may answer there. `None`: any peer.
        peer: Option<PeerId>,
        /// Addresses, the best ones first.
        addresses: Vec<SocketAddr>,
    },
    /// A gateway maps our TCP port: hosts outside dial it at this address. `None`: no longer.
    PortMapped(Option<SocketAddr>),
    /// The store opened a folder, and the core joins its room if it has one. At the start, the
    /// folders of rooms come first. Those of direct messages follow, before any command.
    FolderOpened {
        /// The folder.
        folder: FolderName,
        /// Which lines the folder contains, for each log.
        ranges: LogRanges,
        /// Did an earlier run of this directory create the folder?
        existed: bool,
    },
    /// The reader of a room began, now or in an earlier run. The shell reports an existing reader
    /// before the room's [`Input::FolderOpened`]. Without a reader, all lines are history.
    ReaderOpened {
        /// The room.
        room: Room,
        /// When the reader began.
        start: ReaderStart,
    },
    /// All entries of the file `known_peers`. Sent when the shell has read the file again.
    KnownPeers(Vec<KnownPeer>),
    /// A command of a user or a script.
    Command(Command),
    /// The answer to [`Output::Load`].
    Loaded(LoadReply),
    /// The store could not save these batches. Lines must be stored before they are sent. The shell
    /// therefore dropped each [`Output::Write`] behind the first of them, and closed its stream.
    SaveFailed {
        /// The unsaved batches, in the order in which the core emitted them.
        batches: Vec<Arc<Batch>>,
    },
    /// The store has lost lines of a log, because the disk damaged them. Whole batches.
    LinesLost(LostLines),
    /// The identifying parts of printed batches that the disk has damaged: no news if they come.
    PrintedDamage(Vec<Box<[u8]>>),
    /// The store evicted the oldest lines of a log: all lines before the line `low`.
    Evicted {
        /// The log.
        log: LogId,
        /// Sequence of the first line that is still stored.
        low: u64,
    },
}

/// An action that the core requests from the shell. The shell executes outputs in order.
#[derive(Debug)]
pub enum Output {
    /// Send a beacon by multicast and directed broadcast.
    SendBeacon {
        /// The index of the only interface on which to send it. `None`: on every usable interface.
        interface: Option<u32>,
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Send a datagram of LSNP.
    Lsnp(LsnpOutput),
    /// Connect to an address. Answered by [`Input::Connected`] or [`Input::Closed`].
    Dial {
        /// The new stream.
        stream: StreamId,
        /// The address.
        address: SocketAddr,
        /// The index of the interface to connect over. `None`: the routes of the host decide.
        interface: Option<u32>,
    },
    /// Resolve an unreachable static endpoint again. Answered by [`Input::EndpointResolved`].
    Resolve {
        /// The endpoint, as [`Input::EndpointResolved`] named it.
        endpoint: String,
    },
    /// Write bytes to a stream. If the socket does not accept all of them, [`Input::Blocked`]
    /// follows.
    Write {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close a stream after all its bytes are written.
    Close {
        /// The stream.
        stream: StreamId,
    },
    /// Append a batch to its folder. If this fails, [`Input::SaveFailed`] follows.
    Save {
        /// The batch.
        batch: Arc<Batch>,
        /// The local fields to store with the batch.
        local: LocalFields,
    },
    /// Read batches from the store. Answered by [`Input::Loaded`].
    Load(LoadRequest),
    /// Write an entry to the file `known_peers`.
    SaveKnownPeer(KnownPeer),
    /// Save the receipts of direct messages. This text replaces the previously saved text. The
    /// shell passes it to the core when the next run starts. Only the core interprets it.
    SaveReceipts(String),
    /// Save the addresses at which peers were linked. This text replaces the previously saved text.
    /// The shell passes it to the core when the next run starts. Only the core interprets it.
    SaveAddresses(String),
    /// Report an event to the sessions.
    Notice(Notice),
}

/// An entry of the file `known_peers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// A name that the peer claimed.
    pub nick: Nick,
    /// The key of the peer.
    pub id: PeerId,
    /// When the peer first claimed the name, by our wall clock.
    pub first_seen: WallTime,
    /// Has the user bound the name to this key, by a direct message or a connection code?
    pub is_bound: bool,
}

/// A request from a user or a script to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish lines.
    Publish {
        /// A joined room, or the recipient.
        target: Target,
        /// The lines.
        lines: Lines,
        /// Are the lines actions (`/me`)?
        action: bool,
        /// The id of the client's request. It is stored with the lines, so that the client finds
        /// them again.
        request: Option<RequestId>,
    },
    /// Send lines to one guest, in the clear.
    SendToGuest(GuestLines),
    /// Do what a user of LSNP requests.
    Lsnp(LsnpRequest),
    /// Find the peer to which a user wants to send, and bind its name to its key. Answered by
    /// [`Notice::Resolved`].
    Resolve {
        /// An arbitrary number. The answer contains the same number.
        request_id: u64,
        /// The peer to find.
        selector: PeerSelector,
        /// Milliseconds to wait for a matching peer. With 0, the peer must be known already.
        timeout_ms: u64,
    },
    /// Make a room the current room. The shell opens the room's folder before this command, and the
    /// core then joins the room: see [`Input::FolderOpened`].
    Join(Room),
    /// Leave a room. `None`: the current room.
    Part(Option<Room>),
    /// Change our name.
    Nick(Nick),
    /// List the linked, discovered and reachable peers. Answered by [`Notice::Peers`], and
    /// [`Notice::Guests`].
    Peers,
    /// List the counters. Answered by [`Notice::Stats`].
    Stats,
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

/// A peer: its key and the name that it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The key.
    pub id: PeerId,
    /// The claimed name.
    pub nick: Nick,
}

/// Formats the peer as its name, `~`, and [`PeerId::short`]: `bob~k7mq`.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.nick, self.id.short())
    }
}

/// What `p2pchat peers` and `/users` show about one peer.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// The peer.
    pub peer: Peer,
    /// The address of the link. If there is no link, the last discovered address of the peer.
    /// `None` if the peer is reachable only through another peer.
    pub address: Option<SocketAddr>,
    /// How the peer was found.
    pub found_via: FoundVia,
    /// The linked peer through which this peer is reachable. `None` if this peer is linked, or
    /// known only by its beacon.
    pub via: Option<Peer>,
    /// Is the peer linked, known or gone?
    pub state: PeerState,
    /// Round-trip time of the link. `None` without a link, or before the first measurement.
    pub rtt: Option<TenthsMs>,
    /// Rooms that both this program and the peer have joined, as far as known.
    pub rooms: Vec<Room>,
}

/// Whether a peer can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// A link to the peer exists.
    Linked,
    /// The peer has no link. Its beacon is recent, or a linked peer has a route to the peer.
    Known,
    /// The peer has neither a link nor a route, and its beacon has expired.
    Gone,
}

impl PeerState {
    /// The state of a guest, which is never linked.
    pub fn of_guest(is_gone: bool) -> PeerState {
        match is_gone {
            true => PeerState::Gone,
            false => PeerState::Known,
        }
    }

    /// The word for this state in the output of `p2pchat peers`.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Linked => "linked",
            PeerState::Known => "known",
            PeerState::Gone => "gone",
        }
    }
}

/// What a flapping peer does again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlapKind {
    /// It joins and leaves the room.
    Membership,
    /// It changes its name.
    Name,
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
    /// The answer to [`Command::Peers`].
    Peers(Vec<PeerInfo>),
    /// A part of the answer to [`Command::Peers`], if there are guests.
    Guests(Vec<GuestInfo>),
    /// A guest did something.
    Guest(GuestNotice),
    /// The answer to [`Command::Resolve`].
    Resolved {
        /// The number from [`Command::Resolve`].
        request_id: u64,
        /// The recipient, or the reason why there is none.
        result: Result<ResolvedRecipient, Refusal>,
    },
    /// The joined rooms, with the current room first. Only a session reports them.
    Rooms(Vec<Room>),
    /// The answer to [`Command::Stats`].
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
