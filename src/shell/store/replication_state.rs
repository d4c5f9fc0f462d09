//! What the store must know about replication before it evicts lines or starts a segment.
use crate::base::batch::batch::LogId;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::node::standing::Standing;
use std::sync::Arc;

/// What the store asks the core at the end of a turn. At that time, the core knows which saves of
/// the turn have failed.
pub trait ReplicationState {
    /// The stored range of each log in a folder.
    fn frontier(&self, folder: &FolderName) -> Vec<Arc<LogRange>>;
    /// The sequence of the first line of a log that the store must keep. The store must also keep
    /// all later lines. `u64::MAX`: the store may evict the whole log.
    ///
    /// Lines of other authors need not be kept. A line of ours must be kept while a linked
    /// recipient may lack the line. If this run published the line, the line must also be kept
    /// until a peer has acknowledged it.
    fn retention_floor(&self, log: &LogId) -> u64;
    /// Whether a peer has acknowledged our last line in this folder. True if the folder has no line
    /// of ours. False for a room that we left. Acknowledgements from earlier runs count only for
    /// direct messages.
    fn is_acknowledged(&self, folder: &FolderName) -> bool;
    /// How much an author of lines in this folder counts. Authors who count less lose lines first.
    fn standing(&self, folder: &FolderName, author: &PeerId) -> Standing;
}
