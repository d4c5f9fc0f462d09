//! A kit for tests of the store without a program: folders that are gone after the test, and a core that lets everything go.
#![allow(dead_code, reason = "each test file uses its own part of the kit")]

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use p2pchat::base::batch::LogId;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name;
use p2pchat::base::range::LogRange;
use p2pchat::shell::store::replication_state::ReplicationState;

/// A folder that is gone after the test.
pub struct TempDir(pub PathBuf);

impl TempDir {
    pub fn new() -> TempDir {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("p2pchat-folder-{}-{n}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        TempDir(path)
    }

    /// Where this room of the open network is stored.
    pub fn room(&self, room: &str) -> PathBuf {
        self.0.join("open").join(room)
    }

    /// Its segments, oldest first.
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

/// A core that knows of nothing, and lets everything go.
pub struct EmptyReplicationState;

impl ReplicationState for EmptyReplicationState {
    fn frontier(&self, _: &name::FolderName) -> Vec<LogRange> {
        Vec::new()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        u64::MAX
    }
    fn is_acknowledged(&self, _: &name::FolderName) -> bool {
        true
    }
    fn is_known(&self, _: &PeerId) -> bool {
        true
    }
}
