//! Implements [`ReplicationState`] for [`Node`]. Through this trait the store asks the core which
//! lines exist and which must be kept. It asks before it evicts lines, starts a segment or closes.
use crate::base::batch::batch::LogId;
use crate::base::identity::PeerId;
use crate::base::name::FolderName;
use crate::base::range::LogRange;
use crate::node::node::Node;
use crate::node::standing::Standing;
use crate::shell::store::replication_state::ReplicationState;
use std::sync::Arc;

impl ReplicationState for Node {
    fn frontier(&self, folder: &FolderName) -> Vec<Arc<LogRange>> {
        Node::frontier(self, folder)
    }
    fn retention_floor(&self, log: &LogId) -> u64 {
        Node::retention_floor(self, log)
    }
    fn is_acknowledged(&self, folder: &FolderName) -> bool {
        Node::is_acknowledged(self, folder)
    }
    fn standing(&self, folder: &FolderName, author: &PeerId) -> Standing {
        Node::standing(self, folder, author)
    }
}
