//! The interface of the core: inputs, outputs, commands and notices.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::batch::{Batch, LocalFields, LogId};
use super::error_code::{ErrorCode, Refusal};
use super::identity::PeerId;
use super::lines::Lines;
use super::name::{FolderName, Nick, PeerSelector, Room, Target};
use super::range::LogRange;
use super::time::{TenthsMs, Time, WallTime};

/// A TCP stream, by a number that is used once in a run. The shell numbers accepted streams
/// (even), the core dialed ones (odd).
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
    /// To send them over this link, whose peer lags.
    Send(StreamId),
    /// To compare one batch of an own log with a peer's copy, in search of the line where the log
    /// forks.
    Compare,
    /// To publish the remaining lines of a forked own log again, in a new incarnation.
    Republish,
}

/// Asks the store for batches of one log, in ascending order. Answered by a [`LoadReply`].
#[derive(Debug)]
pub struct LoadRequest {
    /// Why the batches are read.
    pub purpose: LoadPurpose,
    /// The log to read.
    pub log: LogId,
    /// The first line wanted: the reply begins with the batch that contains it.
    pub from: u64,
    /// Where to begin to read, from the last reply; `None`: the store searches for `from`.
    pub position: Option<Position>,
    /// About how many bytes of batches to read at most; at least one batch is read.
    pub budget_bytes: usize,
}

/// The store's answer to a [`LoadRequest`]: whole batches in ascending order, from the batch that
/// contains `from`, or else from the next one stored.
#[derive(Debug)]
pub struct LoadReply {
    /// As requested.
    pub purpose: LoadPurpose,
    /// As requested.
    pub log: LogId,
    /// As requested.
    pub from: u64,
    /// Empty: the store has nothing of this log from line `from` on.
    pub batches: Vec<Batch>,
    /// Where to read on.
    pub next_position: Option<Position>,
}

/// A place in a folder of the history. The core keeps it and hands it back; only the store
/// interprets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// Number of the segment.
    pub segment: u64,
    /// Byte offset in the segment.
    pub offset: u64,
    /// Changes whenever segments are rewritten. The store searches anew for a position of an
    /// older generation.
    pub generation: u64,
}

/// A batch read from the history.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Where the batch begins.
    pub position: Position,
    /// The batch.
    pub batch: Batch,
    /// What was stored beside it.
    pub local: LocalFields,
}

/// An address of an interface with its prefix length in bits: 0–32 for IPv4, 0–128 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    /// The address.
    pub ip: IpAddr,
    /// Length of the network prefix.
    pub prefix_bits: u8,
}

/// A usable network interface: up, with at least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// The index that the kernel assigns.
    pub index: u32,
    /// The name, such as `eth0`.
    pub name: String,
    /// At least one address.
    pub addresses: Vec<InterfaceAddress>,
    /// Is this the loopback interface?
    pub is_loopback: bool,
}

/// How the address of a peer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundVia {
    /// The peer's beacon arrived, by multicast or broadcast.
    Multicast,
    /// The user gave the address with `--peer`.
    Static,
    /// The peer dialed this program.
    Incoming,
    /// A linked peer advertised a route to the peer.
    Neighbour,
}

impl FoundVia {
    /// The word in the output of `peers`.
    pub fn as_str(self) -> &'static str {
        match self {
            FoundVia::Multicast => "multicast",
            FoundVia::Static => "given",
            FoundVia::Incoming => "incoming",
            FoundVia::Neighbour => "neighbour",
        }
    }
}

/// What happened outside the core.
#[derive(Debug)]
pub enum Input<'a> {
    /// Only time has passed.
    Timeout,
    /// A datagram arrived.
    Datagram {
        /// Index of the interface that received it.
        interface: u32,
        /// The sender's address.
        source: SocketAddr,
        /// The payload.
        bytes: &'a [u8],
    },
    /// The usable interfaces, all of them: at the start and after each change.
    InterfacesChanged(Vec<Interface>),
    /// The listener accepted a stream.
    Accepted {
        /// The new stream.
        stream: StreamId,
        /// The remote address.
        address: SocketAddr,
    },
    /// A stream of [`Output::Dial`] is connected.
    Connected {
        /// The dialed stream.
        stream: StreamId,
    },
    /// Bytes arrived on a stream.
    Bytes {
        /// The stream.
        stream: StreamId,
        /// The bytes that follow those of the last input of this kind.
        bytes: &'a [u8],
    },
    /// The socket accepted only a part of an [`Output::Write`]; the shell buffers the rest. The
    /// core writes no more before [`Input::Writable`].
    Blocked {
        /// The stream.
        stream: StreamId,
    },
    /// The buffered bytes of a blocked stream are written.
    Writable {
        /// The stream.
        stream: StreamId,
    },
    /// The stream ended, or an [`Output::Dial`] failed. Streams that the core closed are not
    /// reported.
    Closed {
        /// The stream.
        stream: StreamId,
    },
    /// An address where a peer may listen.
    Candidate {
        /// The address to dial.
        address: SocketAddr,
        /// The key that is expected there, if known.
        peer: Option<PeerId>,
        /// How the address was found.
        found_via: FoundVia,
    },
    /// The store opened a folder. The core joins the room of a room's folder. The folders of
    /// direct messages are opened after those of the rooms and before the first command.
    FolderOpened {
        /// The folder.
        folder: FolderName,
        /// The stored lines of each log in it.
        ranges: Vec<LogRange>,
        /// Did an earlier run of this directory create the folder?
        existed: bool,
    },
    /// The file `known_peers` was read again; all its entries.
    KnownPeers(Vec<KnownPeer>),
    /// A command of a user or a script.
    Command(Command),
    /// The answer to [`Output::Load`].
    Loaded(LoadReply),
    /// Some batches of [`Output::Save`] could not be stored. The shell dropped every
    /// [`Output::Write`] after the first of them and closed the streams concerned.
    SaveFailed {
        /// The batches, in the order of their outputs.
        batches: Vec<Arc<Batch>>,
    },
    /// The store evicted the lines of a log below `low`.
    Evicted {
        /// The log.
        log: LogId,
        /// Sequence of the first line that is still stored.
        low: u64,
    },
}

/// What the shell must do. Outputs are executed in order.
#[derive(Debug)]
pub enum Output {
    /// Send a beacon on every usable interface, by multicast and directed broadcast.
    SendBeacon {
        /// The datagram.
        bytes: Vec<u8>,
    },
    /// Connect to an address; answered by [`Input::Connected`] or [`Input::Closed`].
    Dial {
        /// The new stream.
        stream: StreamId,
        /// The address.
        address: SocketAddr,
    },
    /// Write to a stream. If the socket does not accept all bytes, [`Input::Blocked`] follows.
    Write {
        /// The stream.
        stream: StreamId,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// Close a stream once all bytes are written.
    Close {
        /// The stream.
        stream: StreamId,
    },
    /// Append a batch to its folder. On failure [`Input::SaveFailed`] follows.
    Save {
        /// The batch.
        batch: Arc<Batch>,
        /// What is stored beside it.
        local: LocalFields,
    },
    /// Read batches from the store; answered by [`Input::Loaded`].
    Load(LoadRequest),
    /// Write an entry of `known_peers`.
    SaveKnownPeer(KnownPeer),
    /// Replace the saved receipts of direct messages, in the core's own format. The next run gets
    /// them at its start.
    SaveReceipts(String),
    /// Report something to the sessions.
    Notice(Notice),
}

/// An entry of the file `known_peers`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    /// The name.
    pub nick: Nick,
    /// The key that claimed the name.
    pub id: PeerId,
    /// When the peer was first linked.
    pub first_seen: WallTime,
    /// Has the user bound the name to this key, by a direct message or a connection code?
    pub is_bound: bool,
}

/// A request of a user or a script to the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Publish lines in a room.
    SendToRoom {
        /// The room; `None` for the current one.
        room: Option<Room>,
        /// The lines.
        lines: Lines,
        /// Are the lines actions, as by `/me`?
        action: bool,
    },
    /// Publish direct messages.
    SendToPeer {
        /// The recipient.
        selector: PeerSelector,
        /// The lines.
        lines: Lines,
        /// Are the lines actions, as by `/me`?
        action: bool,
        /// How long to wait for a peer that matches, in milliseconds; 0 if it must be known
        /// already.
        timeout_ms: u64,
    },
    /// Resolve a selector as [`Command::SendToPeer`] does; answered by [`Notice::Resolved`].
    Resolve {
        /// The number that the answer repeats.
        request_id: u64,
        /// The peer to find.
        selector: PeerSelector,
        /// How long to wait for a peer that matches, in milliseconds.
        timeout_ms: u64,
    },
    /// Join a room and make it the current one. The shell opens its folder first: see
    /// [`Input::FolderOpened`].
    Join(Room),
    /// Leave a room; `None` for the current one.
    Part(Option<Room>),
    /// Change the own name.
    Nick(Nick),
    /// List the known peers; answered by [`Notice::Peers`].
    Peers,
    /// List the joined rooms; answered by [`Notice::Rooms`].
    Rooms,
    /// List the counters; answered by [`Notice::Stats`].
    Stats,
    /// Count the lines of an own log, stored by an earlier run, as published in this run.
    AwaitDelivery {
        /// The log.
        log: LogId,
        /// Sequence of the last of these lines.
        sequence: u64,
    },
    /// Lines of a direct log to this identity were shown on a terminal.
    MarkRead {
        /// The log.
        log: LogId,
        /// Sequence of the last line shown.
        sequence: u64,
    },
    /// No more lines follow. [`Notice::Settled`] reports that enough peers store all lines
    /// published in this run.
    Finish {
        /// How many peers are enough; `None`: every peer known to be in the rooms, at least one.
        required_peers: Option<u64>,
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

/// `bob~k7mq`
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}~{}", self.nick, self.id.short())
    }
}

/// A row of `peers` and `/users`.
#[derive(Clone, Debug, PartialEq)]
pub struct PeerInfo {
    /// The peer.
    pub peer: Peer,
    /// The address of its link, or where it was last found.
    pub address: Option<SocketAddr>,
    /// How that address was found.
    pub found_via: FoundVia,
    /// The linked peer through which an unlinked peer is reachable.
    pub via: Option<Peer>,
    /// Is it linked, reachable, or gone?
    pub state: PeerState,
    /// Round-trip time, once measured.
    pub rtt: Option<TenthsMs>,
    /// The rooms that this program is in, too.
    pub rooms: Vec<Room>,
}

/// Number of peers that are not gone.
pub fn count_present(peers: &[PeerInfo]) -> u64 {
    let is_present = |info: &&PeerInfo| info.state != PeerState::Gone;
    peers.iter().filter(is_present).count() as u64
}

/// Whether a peer can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// A link to the peer exists.
    Linked,
    /// Its beacon is recent, or a linked peer has a route to it.
    Known,
    /// Its beacon has expired, and there is no link or route to it.
    Gone,
}

impl PeerState {
    /// The word in the output of `peers`.
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Linked => "linked",
            PeerState::Known => "known",
            PeerState::Gone => "gone",
        }
    }
}

/// What happened in the core, for the sessions.
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
        /// When it happened.
        at: WallTime,
    },
    /// A peer left a room: it said so, its links ended, or it was silent for too long.
    Left {
        /// The room.
        room: Room,
        /// The peer.
        peer: Peer,
        /// When it happened.
        at: WallTime,
    },
    /// A peer changed its name. Reported once for each shared room.
    Renamed {
        /// The room.
        room: Room,
        /// The peer, with its new name.
        peer: Peer,
        /// The name before.
        old: Nick,
        /// When it happened.
        at: WallTime,
    },
    /// A peer stores lines of an own log.
    Delivered {
        /// The log.
        log: LogId,
        /// Sequence of the last of these lines.
        sequence: u64,
        /// The peer.
        peer: Peer,
    },
    /// The recipient of direct messages showed them on a terminal.
    Read {
        /// The log.
        log: LogId,
        /// Sequence of the last line shown.
        sequence: u64,
        /// The recipient.
        peer: Peer,
        /// When the acknowledgement arrived.
        at: WallTime,
    },
    /// Lines are missing and cannot be fetched now.
    Gap {
        /// Where the lines were sent.
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
    /// The answer to [`Command::Resolve`].
    Resolved {
        /// The number of the command.
        request_id: u64,
        /// The recipient, or why there is none.
        result: Result<PeerId, Refusal>,
    },
    /// The answer to [`Command::Rooms`]: the joined rooms, the current one first.
    Rooms(Vec<Room>),
    /// The answer to [`Command::Stats`]: names and values of the counters.
    Stats(Vec<(&'static str, u64)>),
    /// As many peers as [`Command::Finish`] requires store all lines published in this run.
    Settled,
    /// A peer claims a known name with another key. Reported once for each key and name.
    KeyMismatch {
        /// The peer that claims the name.
        peer: Peer,
        /// The key by which the name is known.
        known_id: PeerId,
        /// When that key was first seen.
        first_seen: WallTime,
    },
    /// Another program uses this identity.
    DuplicateIdentity {
        /// Its address, if it dialed this program or was dialed by it.
        address: Option<SocketAddr>,
        /// The peer that reported it, if another link revealed it.
        reported_by: Option<Peer>,
    },
    /// Something failed or was refused.
    Error {
        /// The kind of the error, for scripts.
        code: ErrorCode,
        /// One sentence for the user.
        content: String,
    },
}

/// A batch to be shown.
#[derive(Clone, Debug)]
pub struct Chat {
    /// The batch.
    pub batch: Arc<Batch>,
    /// What this peer notes of it.
    pub local: LocalFields,
    /// Is this identity the author?
    pub is_own: bool,
    /// Was the batch published after this program started?
    pub since_start: bool,
}

/// How far the lines published in this run are delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Number of peers linked in the rooms concerned.
    pub linked_peers: u64,
    /// How many of them store all lines published in this run.
    pub acked_peers: u64,
    /// How many must: the number given with [`Command::Finish`], else every peer known to be in
    /// the rooms, at least one.
    pub required_peers: u64,
    /// Is there a line that no peer stores, or that a present peer lacks?
    pub has_undelivered: bool,
    /// Do enough peers store all lines?
    pub is_settled: bool,
    /// When to compute this again although no input arrived.
    pub recheck_at: Option<Time>,
}
