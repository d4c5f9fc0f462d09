//! The files that wait for a sync in the background.
use std::fs::{self, File};
use std::time::Duration;

use p2pchat::shell::store::fsync::{Fsync, SyncPending};

use crate::folders::TempDir;
use crate::hosts::wait::wait_until;

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

/// The first request starts the delay of 5 s, not a thread. When 64 files wait, nothing is due
/// later, as their sync has begun.
#[test]
fn a_sync_begins_later_or_when_many_files_wait() {
    let folder = TempDir::new();
    let mut fsync = Fsync::default();
    assert_eq!(fsync.due_in(), None);
    let mut request = |n: u32| {
        let file = File::create(folder.0.join(n.to_string())).expect("a file");
        fsync.request_sync(&file, &SyncPending::default());
        fsync.begin_due();
        fsync.due_in()
    };
    let due_in = request(0).expect("a sync is due");
    assert!(due_in.as_secs() <= 5, "{due_in:?}");
    for n in 1..63 {
        assert!(request(n).is_some());
    }
    assert_eq!(request(63), None);
}

/// At the end of a run, what waits is synced at once. A request that was withdrawn is not.
#[test]
fn what_waits_is_synced_at_the_end() {
    let folder = TempDir::new();
    let mut fsync = Fsync::default();
    let [first, second] = [SyncPending::default(), SyncPending::default()];
    for (name, pending) in [("first", &first), ("second", &second)] {
        let file = File::create(folder.0.join(name)).expect("a file");
        fsync.request_sync(&file, pending);
    }
    second.withdraw();
    fsync.sync_waiting().expect("a working disk");
    assert_eq!(descriptors(&folder), 0, "nothing waits");
}

/// A file that cannot be synced does not keep the others from it. The next write to each may request
/// a sync again.
#[test]
fn one_bad_file_leaves_the_others_to_be_synced() {
    let folder = TempDir::new();
    let mut fsync = Fsync::default();
    // The system syncs no pipe.
    let (_reader, writer) = std::io::pipe().expect("a pipe");
    let bad = File::from(std::os::fd::OwnedFd::from(writer));
    let good = File::create(folder.0.join("good")).expect("a file");
    let pending = SyncPending::default();
    fsync.request_sync(&bad, &SyncPending::default());
    fsync.request_sync(&good, &pending);
    fsync.sync_waiting().expect_err("a pipe");
    assert_eq!(descriptors(&folder), 1, "only ours");
    fsync.request_sync(&good, &pending);
    assert_eq!(descriptors(&folder), 2, "it waits again");
}

/// A sync begins also while a removed file waits to be closed.
#[test]
fn removed_files_do_not_displace_a_sync() {
    let folder = TempDir::new();
    for _ in 0..50 {
        let mut fsync = Fsync::default();
        let removed = File::create(folder.0.join("removed")).expect("a file");
        fsync.close_removed(removed);
        // The system syncs no pipe, which tells that the sync has run.
        let (_reader, writer) = std::io::pipe().expect("a pipe");
        let pipe = File::from(std::os::fd::OwnedFd::from(writer));
        fsync.request_sync(&pipe, &SyncPending::default());
        for _ in 1..64 {
            let file = File::create(folder.0.join("file")).expect("a file");
            fsync.request_sync(&file, &SyncPending::default());
        }
        assert_eq!(fsync.due_in(), None);
        let has_failed = || fsync.take_failed();
        wait_until("the sync has run", Duration::from_secs(10), has_failed);
    }
}

/// Removed files are closed, however many they are, and what else waits is still synced.
#[test]
fn removed_files_are_closed() {
    let folder = TempDir::new();
    let mut fsync = Fsync::default();
    let kept = SyncPending::default();
    for n in 0..60 {
        let path = folder.0.join(n.to_string());
        let file = File::create(&path).expect("a file");
        fsync.request_sync(&file, &SyncPending::default());
        fs::remove_file(&path).expect("the file");
        fsync.close_removed(file);
    }
    let file = File::create(folder.0.join("kept")).expect("a file");
    fsync.request_sync(&file, &kept);
    drop(file);
    fsync.drop_removed();
    let is_closed = || descriptors(&folder) == 1;
    wait_until("the files are closed", Duration::from_secs(10), is_closed);
    fsync.sync_waiting().expect("a working disk");
    assert_eq!(descriptors(&folder), 0, "nothing waits");
}
