//! What the core asks the shell to do.
use std::net::SocketAddr;
use std::sync::Arc;

use crate::base::batch::batch::{Batch, LocalFields};
use crate::base::event::load::LoadRequest;
use crate::base::event::notice::Notice;
use crate::base::event::stream_id::StreamId;
use crate::base::guests::lsnp::LsnpOutput;
use crate::base::guests::service::Service;
use crate::base::identity::PeerId;
use crate::base::name::Nick;
use crate::base::time::WallTime;
use crate::base::trust::level::TrustLevel;

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
    Lsnp(Box<LsnpOutput>),
    /// Announce services at the Grapes and look them up, in place of those of the last time.
    /// Answered by `Input::ServiceFound`.
    SetServices(Vec<Service>),
    /// Connect to an address. Answered by `Input::Connected` or `Input::Closed`.
    Dial {
        /// The new stream.
        stream: StreamId,
        /// The address.
        address: SocketAddr,
        /// The index of the interface to connect over. `None`: the routes of the host decide.
        interface: Option<u32>,
    },
    /// Resolve an unreachable static endpoint again. Answered by `Input::EndpointResolved`.
    Resolve {
        /// The endpoint, as `Input::EndpointResolved` named it.
        endpoint: String,
    },
    /// Write bytes to a stream. If the socket does not accept all of them, `Input::Blocked`
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
    /// Append a batch to its folder. If this fails, `Input::SaveFailed` follows.
    Save {
        /// The batch.
        batch: Arc<Batch>,
        /// The local fields to store with the batch.
        local: LocalFields,
    },
    /// Read batches from the store. Answered by `Input::Loaded`.
    Load(LoadRequest),
    /// Write an entry to the file `known_peers`.
    SaveKnownPeer(Box<KnownPeer>),
    /// Save the receipts of direct messages. This text replaces the previously saved text. The
    /// shell passes it to the core when the next run starts. Only the core interprets it.
    SaveReceipts(String),
    /// Save the addresses at which peers were linked. This text replaces the previously saved text.
    /// The shell passes it to the core when the next run starts. Only the core interprets it.
    SaveAddresses(String),
    /// Save what our user says about itself. This text replaces the previously saved text. The
    /// shell passes it to the core when the next run starts. Only the core interprets it.
    SaveProfile(String),
    /// Report an event to the sessions.
    Notice(Box<Notice>),
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
    /// How far the user trusts that the name belongs to this key.
    pub trust: TrustLevel,
}

impl KnownPeer {
    /// Whether the user has bound the name to this key.
    pub fn is_bound(&self) -> bool {
        self.trust >= TrustLevel::Bound
    }
}
