//! What the store must know of replication before it evicts lines or starts a segment.
use crate::base::batch::LogId;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;

/// The core's answers at the end of a turn, when every save of the turn has succeeded or was
/// reported to the core as failed.
pub trait ReplicationState {
    /// The ranges stored in a folder, one for each log.
    fn frontier(&self, folder: &FolderName) -> Vec<LogRange>;
    /// Lines of an own log from this sequence on must be kept: a linked peer lacks them, or no peer
    /// has acknowledged them. `u64::MAX`: every line may be evicted.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Whether a peer has acknowledged our last line in this folder; true if we have none there.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// Whether this peer was ever linked. Over the total quota, unknown authors lose lines first.
    fn is_known(&self, peer: &PeerId) -> bool;
}
