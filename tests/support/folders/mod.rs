//! Helpers for tests of the store without a program: temporary directories, and a replication
//! state that retains nothing.
#![allow(dead_code, reason = "each test program uses some of the helpers")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name;
use p2pchat::base::range::LogRange;
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::store::replication_state::ReplicationState;

/// A directory that is deleted when this is dropped.
pub struct TempDir(pub PathBuf);

impl TempDir {
    /// Creates a directory below the system's temporary directory.
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("p2pchat-test-dir-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    /// The room's folder in the open network.
    pub fn room(&self, room: &str) -> PathBuf {
        self.0.join("open").join(room)
    }

    /// The paths of the room's segments, oldest first.
    pub fn segments(&self, room: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.room(room)).unwrap();
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|e| e == "ndjson"))
            .collect();
        paths.sort();
        paths
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A replication state without logs: every segment may be evicted.
pub struct EmptyReplicationState;

impl ReplicationState for EmptyReplicationState {
    fn frontier(&self, _: &name::FolderName) -> Vec<Arc<LogRange>> {
        Vec::new()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        u64::MAX
    }
    fn is_acknowledged(&self, _: &name::FolderName) -> bool {
        true
    }
    fn standing(&self, _: &name::FolderName, _: &PeerId) -> Standing {
        Standing::of_rank(Rank::Known)
    }
}
