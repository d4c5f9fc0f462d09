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
    /// The first sequence of a log that must be kept. In a log of ours, a line must be kept if no
    /// peer has acknowledged it, or if a linked recipient may lack it. `u64::MAX`: every line may
    /// be evicted. For a log of another author, the result is always `u64::MAX`.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Whether a peer has acknowledged our last line in this folder. Acknowledgements of earlier
    /// runs count only for direct messages. True if the folder has no line of ours. False for a
    /// room that we left.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// Whether we were ever linked with this peer.
    fn is_known(&self, peer: &PeerId) -> bool;
}
