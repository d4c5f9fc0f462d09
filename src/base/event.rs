//! The vocabulary between the core and the world: what comes in, what is to be done, what a person may want to know.
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

/// One TCP stream of this run; never used twice. Even: accepted, numbered by the shell. Odd: dialed, numbered by the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamId(pub u64);

impl StreamId {
    pub fn accepted(n: u64) -> StreamId {
        StreamId(n * 2)
    }

    pub fn dialed(n: u64) -> StreamId {
        StreamId(n * 2 + 1)
    }

    pub fn is_dialed(self) -> bool {
        self.0 % 2 == 1
    }
}

/// Why the core reads batches from the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadPurpose {
    /// To send them over this link, whose peer lags.
    Send(StreamId),
    /// To compare one batch of an own log with a peer's copy, in search of the line where the log forks.
    Compare,
    /// To publish the remaining lines of a forked own log again, in a new incarnation.
    Republish,
}

/// Asks the store for batches of one log, in ascending order. Answered by a [`LoadReply`].
#[derive(Debug)]
pub struct LoadRequest {
    pub purpose: LoadPurpose,
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

/// Where in a folder of the history a reader stands. The core keeps it and hands it back; only the store knows what it means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub segment: u64,
    pub offset: u64,
    /// Changes whenever old segments are rewritten: a position of an older generation is looked for anew.
    pub generation: u64,
}

/// A batch as the history holds it.
#[derive(Clone, Debug)]
pub struct StoredBatch {
    /// Where it begins.
    pub position: Position,
    pub batch: Batch,
    pub local: LocalFields,
}

/// An address of an interface with its prefix length in bits: 0–32 for IPv4, 0–128 for IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterfaceAddress {
    pub ip: IpAddr,
    pub prefix_bits: u8,
}

/// A network interface that can be used: up, with at least one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    pub addresses: Vec<InterfaceAddress>,
    pub is_loopback: bool,
}

/// How a peer's address became known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FoundVia {
    /// By its beacon, multicast or broadcast.
    Multicast,
    /// Named by hand (`--peer`).
    Static,
    /// It dialed us.
    Incoming,
    /// A linked peer can reach it.
    Neighbour,
}

impl FoundVia {
    pub fn as_str(self) -> &'static str {
        match self {
            FoundVia::Multicast => "multicast",
            FoundVia::Static => "given",
            FoundVia::Incoming => "incoming",
            FoundVia::Neighbour => "neighbour",
        }
    }
}

/// What the world tells the core.
#[derive(Debug)]
pub enum Input<'a> {
    /// Time passed, nothing else.
    Timeout,
    /// A datagram came in on the interface of this index.
    Datagram {
        interface: u32,
        source: SocketAddr,
        bytes: &'a [u8],
    },
    /// All usable interfaces; said at start and whenever one of them changed.
    InterfacesChanged(Vec<Interface>),
    /// Somebody dialed us.
    Accepted {
        stream: StreamId,
        address: SocketAddr,
    },
    /// A dial of ours stands.
    Connected { stream: StreamId },
    /// Bytes of a stream, in order.
    Bytes { stream: StreamId, bytes: &'a [u8] },
    /// The stream's socket took less than it was given; the shell holds the rest.
    Blocked { stream: StreamId },
    /// The rest has gone out.
    Writable { stream: StreamId },
    /// The stream ended, or a dial failed. Not said of streams that the core closed.
    Closed { stream: StreamId },
    /// An address where perhaps a peer is.
    Candidate {
        address: SocketAddr,
        peer: Option<PeerId>,
        found_via: FoundVia,
    },
    /// A part of the history stands open: a room's, so join it, or that of direct messages, after the rooms' and before anything is said.
    /// `before`: this directory was in it in an earlier run.
    FolderOpened {
        folder: FolderName,
        ranges: Vec<LogRange>,
        existed: bool,
    },
    /// Known peers, read again.
    KnownPeers(Vec<KnownPeer>),
    /// What a person or a script wants.
    Command(Command),
    /// The answer to [`Output::Load`].
    Loaded(LoadReply),
    /// These could not be stored, in the order in which they were to be; every `Write` behind the first was dropped, and its stream closed.
    SaveFailed { batches: Vec<Arc<Batch>> },
    /// The store gave up what is below `low`.
    Evicted { log: LogId, low: u64 },
}

/// What the core wants done, in order.
#[derive(Debug)]
pub enum Output {
    /// Send to the group, and as directed broadcast, on every usable interface.
    SendBeacon {
        bytes: Vec<u8>,
    },
    /// Connect to the address; answered by `Connected` or `Closed`.
    Dial {
        stream: StreamId,
        address: SocketAddr,
    },
    Write {
        stream: StreamId,
        bytes: Vec<u8>,
    },
    /// End the stream once what was written has gone out.
    Close {
        stream: StreamId,
    },
    /// Store the batch at the end of its folder.
    Save {
        batch: Arc<Batch>,
        local: LocalFields,
    },
    /// Read batches from the store; answered by [`Input::Loaded`].
    Load(LoadRequest),
    /// Note a peer in `known_peers`.
    SaveKnownPeer(KnownPeer),
    /// Note this instead of the last: how far readers hold what was said to them alone, and what is carried. The next run is given it.
    SaveReceipts(String),
    Notice(Notice),
}

/// A peer as `known_peers` holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownPeer {
    pub nick: Nick,
    pub id: PeerId,
    /// When it was first linked.
    pub first_seen: WallTime,
    /// The user means this key by that name: it was written to, or dialed by its code.
    pub is_bound: bool,
}

/// What a person or a script wants of the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Say lines in a room; without one, in the room spoken in. `action`: as of /me.
    SendToRoom {
        room: Option<Room>,
        lines: Lines,
        action: bool,
    },
    /// Say lines to one peer. `within`: milliseconds in which whoever is meant may yet come; 0: it must be known now.
    SendToPeer {
        selector: PeerSelector,
        lines: Lines,
        action: bool,
        timeout_ms: u64,
    },
    /// To whom a name leads, as for [`Command::Tell`]: answered by [`Notice::Found`], with the same `serial`.
    Resolve {
        request_id: u64,
        selector: PeerSelector,
        timeout_ms: u64,
    },
    /// Join the room, and speak there. The shell opens its history first: see [`Input::Opened`].
    Join(Room),
    /// Leave a room; without one, the room spoken in.
    Part(Option<Room>),
    Nick(Nick),
    /// Answered by [`Notice::Peers`].
    Peers,
    /// Answered by [`Notice::Rooms`].
    Rooms,
    /// Answered by [`Notice::Stats`].
    Stats,
    /// Lines that an earlier program of this directory stored, up to `sequence`, count as said in this run.
    AwaitDelivery {
        log: LogId,
        sequence: u64,
    },
    /// What was said to us alone in this log was shown on a terminal, up to `sequence`.
    MarkRead {
        log: LogId,
        sequence: u64,
    },
    /// No more will be said: [`Notice::Settled`] tells when `need` peers hold it all; `None`: everyone known to be in the rooms, at least one.
    Finish {
        required_peers: Option<u64>,
    },
    /// Say goodbye on every link and withdraw the beacon.
    Leave,
}

/// A peer by its key and the name it claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub id: PeerId,
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
    pub peer: Peer,
    pub address: Option<SocketAddr>,
    pub found_via: FoundVia,
    /// Of one that is not linked: the linked peer through which it is reached.
    pub via: Option<Peer>,
    pub state: PeerState,
    /// Round trip, once measured.
    pub rtt: Option<TenthsMs>,
    /// Shared with us.
    pub rooms: Vec<Room>,
}

/// How many of these are there: who is gone is nobody.
pub fn count_present(views: &[PeerInfo]) -> u64 {
    let there = |view: &&PeerInfo| view.state != PeerState::Gone;
    views.iter().filter(there).count() as u64
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    Linked,
    Known,
    Gone,
}

impl PeerState {
    pub fn as_str(self) -> &'static str {
        match self {
            PeerState::Linked => "linked",
            PeerState::Known => "known",
            PeerState::Gone => "gone",
        }
    }
}

/// What happened, for a face to show.
#[derive(Clone, Debug)]
pub enum Notice {
    /// Lines were said, here or elsewhere.
    Chat(Chat),
    /// A peer's program came within reach in a room.
    Joined {
        room: Room,
        peer: Peer,
        at: WallTime,
    },
    /// It said goodbye, its link ended, or it was silent too long.
    Left {
        room: Room,
        peer: Peer,
        at: WallTime,
    },
    /// `peer` bears the new name.
    Renamed {
        room: Room,
        peer: Peer,
        old: Nick,
        at: WallTime,
    },
    /// `peer` holds the own lines of this log up to `sequence`.
    Delivered {
        log: LogId,
        sequence: u64,
        peer: Peer,
    },
    /// `peer` was shown what was said to it alone in this log, up to `sequence`, on a terminal.
    Read {
        log: LogId,
        sequence: u64,
        peer: Peer,
        at: WallTime,
    },
    /// Lines that cannot be had.
    Gap {
        target: Target,
        author: Peer,
        incarnation: u64,
        from: u64,
        to: u64,
        at: WallTime,
    },
    Peers(Vec<PeerInfo>),
    /// The reader meant; else a code for scripts and why it is refused.
    Resolved {
        request_id: u64,
        result: Result<PeerId, Refusal>,
    },
    /// The rooms joined; the first is spoken in.
    Rooms(Vec<Room>),
    /// What was counted, each with its name.
    Stats(Vec<(&'static str, u64)>),
    /// Everything said is held by as many peers as [`Command::Finish`] asked for.
    Settled,
    /// A known name came with a key that it was not known with. Said once for each key.
    KeyMismatch {
        peer: Peer,
        known_id: PeerId,
        first_seen: WallTime,
    },
    /// Two programs use this identity: here and at that address, as was seen; or as a peer says.
    DuplicateIdentity {
        address: Option<SocketAddr>,
        reported_by: Option<Peer>,
    },
    /// Something failed, or was refused. `code` is for scripts.
    Error {
        code: ErrorCode,
        content: String,
    },
}

/// A batch, to be shown.
#[derive(Clone, Debug)]
pub struct Chat {
    pub batch: Arc<Batch>,
    pub local: LocalFields,
    /// Said by this identity.
    pub is_own: bool,
    /// Said while this program ran.
    pub since_start: bool,
}

/// How far what was said has come, for those who wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Peers linked in the rooms concerned.
    pub linked_peers: u64,
    /// Those of them that hold everything said in this run.
    pub acked_peers: u64,
    /// How many must: who was asked for, else everyone who is known to be there, at least one.
    pub required_peers: u64,
    /// Something is held by nobody, or not by one who is there.
    pub has_undelivered: bool,
    /// As many as are needed hold it.
    pub is_settled: bool,
    /// When to ask again although nothing happened.
    pub recheck_at: Option<Time>,
}
