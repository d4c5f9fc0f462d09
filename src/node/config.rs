//! What a new node needs to know.
use crate::base::event::output::KnownPeer;
use crate::base::guests::lsnp::LsnpConfig;
use crate::base::identity::{Hash, Identity, NetworkTag};
use crate::base::name::{Nick, Target};
use crate::base::table::SortedMap;
use crate::base::timing::Timing;

/// The parameters of a new node.
pub struct NodeConfig {
    /// The key pair of this directory.
    pub identity: Identity,
    /// The tag of the network, derived from its secret. The signature of each batch covers the
    /// tag.
    pub network: NetworkTag,
    /// The pre-shared key of all handshakes, in a closed network.
    pub psk: Option<[u8; 32]>,
    /// The key that encrypts beacons, in a closed network.
    pub beacon_key: Option<[u8; 32]>,
    /// The name that we claim.
    pub nick: Nick,
    /// The TCP port on which we listen.
    pub port: u16,
    /// The seed of all randomness in the core: 32 random bytes.
    pub seed: [u8; 32],
    /// This program leaves by itself soon (`send`, `peers`). Other programs do not show it as
    /// joined or left.
    pub transient: bool,
    /// The key pair is stored nowhere (`--ephemeral`), so other programs need not remember it.
    pub is_ephemeral: bool,
    /// Whether to send beacons.
    pub beacons_enabled: bool,
    /// How often to send beacons, and how long to wait for silent peers.
    pub timing: Timing,
    /// How to speak LSNP. `None`: not at all.
    pub lsnp: Option<LsnpConfig>,
    /// Whether to speak the protocol of p2pchat in Go.
    pub speaks_go: bool,
    /// Whether to use Grapes, the phonebooks of Grenache.
    pub uses_grapes: bool,
    /// The contents of `known_peers`.
    pub known_peers: Vec<KnownPeer>,
    /// The receipts that were last saved with
    /// [`Output::SaveReceipts`](crate::Output::SaveReceipts). Empty if none were saved.
    pub receipts: String,
    /// The addresses that were last saved with
    /// [`Output::SaveAddresses`](crate::Output::SaveAddresses). Empty if none were saved.
    pub addresses: String,
    /// The profile that was last saved with [`Output::SaveProfile`](crate::Output::SaveProfile).
    /// Empty if none was saved.
    pub profile: String,
    /// The state in which the last run ended, if it ended cleanly.
    pub resume: Option<ResumeState>,
}

/// What the next run needs to continue with the same incarnation after a clean end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResumeState {
    /// The incarnation of the run that ended.
    pub incarnation: u64,
    /// For our log to each target: its head, and the hash of its last batch.
    pub heads: SortedMap<Target, (u64, Hash)>,
}
