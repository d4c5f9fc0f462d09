//! The files that wait for a sync in the background.
use std::fs::{self, File};

use p2pchat::shell::store::fsync::{Fsync, SyncPending};

use crate::folders::TempDir;

/// The open descriptors of this process that lead into a folder.
fn descriptors(folder: &TempDir) -> usize {
    let entries = fs::read_dir("/proc/self/fd")
        .expect("descriptors")
        .flatten();
    let targets = entries.filter_map(|entry| fs::read_link(entry.path()).ok());
    targets
        .filter(|target| target.starts_with(&folder.0))
        .count()
}

/// Each file that waits keeps a descriptor. When 64 wait, their sync begins at once, and 64 more
/// may wait meanwhile. The sync of a further file is requested again after its next write.
#[test]
fn at_most_64_files_wait_for_a_sync() {
    let folder = TempDir::new();
    let mut fsync = Fsync::default();
    for n in 0..300 {
        let file = File::create(folder.0.join(n.to_string())).expect("a file");
        fsync.request_sync(&file, &SyncPending::default());
    }
    let open = descriptors(&folder);
    assert!(open <= 2 * 64, "{open} descriptors");
}
