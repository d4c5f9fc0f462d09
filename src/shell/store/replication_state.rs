//! What the store must know about replication before it evicts lines or starts a segment.
use crate::base::batch::LogId;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;

/// What the store asks the core at the end of a turn. By then, every save of the turn has
/// succeeded, or the core knows of its failure.
pub trait ReplicationState {
    /// The range of each log stored in a folder.
    fn frontier(&self, folder: &FolderName) -> Vec<LogRange>;
    /// The first sequence of a log that must be kept. In an own log, a linked recipient may lack
    /// the lines from there on, or no peer has acknowledged them. `u64::MAX`: every line may be
    /// evicted. This is always so for a log of another author.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Whether a peer has acknowledged our last line in this folder during this run. True if the
    /// folder has no own lines. False for a room that we left.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// Whether we were ever linked with this peer. When the store exceeds its total limit,
    /// unknown authors lose lines first.
    fn is_known(&self, peer: &PeerId) -> bool;
}
