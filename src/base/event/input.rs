//! What the shell passes to the core.
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LogId};
use crate::base::event::command::Command;
use crate::base::event::load::LoadReply;
use crate::base::event::output::KnownPeer;
use crate::base::event::stream_id::StreamId;
use crate::base::guests::guest::LineTarget;
use crate::base::guests::lsnp::LsnpInput;
use crate::base::identity::PeerId;
use crate::base::interface::{FoundVia, Interface};
use crate::base::name::{FolderName, Room};
use crate::base::range::{LogRanges, LostLines};
use crate::base::time::ReaderStart;

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
    /// Whether the system took a datagram with a line of our user's ([`LsnpOutput::line`]).
    ///
    /// [`LsnpOutput::line`]: crate::base::guests::lsnp::LsnpOutput::line
    LsnpLine {
        /// For whom the line is.
        line: LineTarget,
        /// Whether the datagram left this host.
        is_sent: bool,
    },
    /// All usable interfaces. Sent at the start and after each change.
    InterfacesChanged(Vec<Interface>),
    /// The listener accepted a stream.
    Accepted {
        /// The new stream.
        stream: StreamId,
        /// The remote address.
        address: SocketAddr,
    },
    /// A stream dialed by `Output::Dial` is connected.
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
    /// The socket accepted only a part of an `Output::Write`. The shell buffers the rest. The
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
    /// The stream ended, or its `Output::Dial` failed. Not sent after `Output::Close`.
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
    /// A Grape named addresses of a service. Nothing of it is believed: they are only dialed.
    ServiceFound {
        /// The name of the service.
        service: String,
        /// The addresses.
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
    /// The answer to `Output::Load`.
    Loaded(LoadReply),
    /// The store could not save these batches. Lines must be stored before they are sent. The shell
    /// therefore dropped each `Output::Write` behind the first of them, and closed its stream.
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
