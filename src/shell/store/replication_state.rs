//! What the store must know about replication before it evicts lines or starts a segment.
use crate::base::batch::LogId;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;

/// Answers of the core at the end of a turn. By that time every save of the turn has succeeded,
/// or its failure was reported to the core.
pub trait ReplicationState {
    /// The range of each log stored in a folder.
    fn frontier(&self, folder: &FolderName) -> Vec<LogRange>;
    /// The first sequence of an own log that must be kept. A linked peer lacks the lines from
    /// this sequence on, or no peer has acknowledged them. `u64::MAX`: every line may be evicted.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Whether a peer has acknowledged our last line in this folder. True if the folder has no
    /// own lines.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// Whether we were ever linked with this peer. When the store exceeds its total limit,
    /// unknown authors lose lines first.
    fn is_known(&self, peer: &PeerId) -> bool;
}
