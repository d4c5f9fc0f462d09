//! What the store must know about replication before it evicts lines or starts a segment.
use crate::base::batch::LogId;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;

/// What the store asks the core at the end of a turn. At that time, the core knows which saves of
/// the turn have failed.
pub trait ReplicationState {
    /// The stored range of each log in a folder.
    fn frontier(&self, folder: &FolderName) -> Vec<LogRange>;
    /// The store must keep the lines of a log from this sequence on. `u64::MAX`: the store may
    /// evict every line. This is so for all logs of other authors. In a log of ours, a line must be
    /// kept while a linked recipient may lack it. A line of this run must also be kept until a peer
    /// has acknowledged it.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Whether a peer has acknowledged our last line in this folder. True if the folder has no line
    /// of ours. False for a room that we left. For a room, the acknowledgement must have arrived in
    /// this run. For direct messages, acknowledgements of earlier runs are remembered.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// Whether we were ever linked with this peer.
    fn is_known(&self, peer: &PeerId) -> bool;
}
