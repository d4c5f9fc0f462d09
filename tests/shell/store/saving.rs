//! What a save stores, in which folder and segment, and what a full disk leaves of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::{fs, io};

use p2pchat::base::batch::batch::LocalFields;
use p2pchat::base::event::load::Position;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::base::time::WallTime;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, GENERAL, NET, RecordedState, fill, general, load_log, open, open_with, read_all, save,
};
use crate::folders::TempDir;

/// A batch is read back byte for byte, with its local fields, in this run and in the next.
#[test]
fn a_saved_batch_is_read_back_with_its_local_fields() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, ranges) = open(&folder);
    assert!(ranges.is_empty() && !store.existed_before(&general()));
    let local = LocalFields {
        published: None,
        received: WallTime(5_000),
        late: true,
        before_start: true,
        backfill: false,
    };
    let batch = bob.say(&["one", "two \"quoted\" ☃"]);
    store.save(&batch, local).unwrap();
    let all = read_all(&store, &mut Position::default());
    assert_eq!((all[0].0.as_bytes(), all[0].1), (batch.as_bytes(), local));
    drop(store);
    let (store, ranges) = open(&folder);
    assert_eq!(ranges, [bob.range(1)]);
    assert!(store.existed_before(&general()));
    let batches = load_log(&store, &bob.log(), 2, &mut None, 1).unwrap();
    assert_eq!(batches[0].as_bytes(), batch.as_bytes());
}

/// A batch is stored only in a folder that was opened.
#[test]
fn a_save_to_a_closed_folder_fails() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let mut bob = Author::new(2);
    let mut batch = bob.say(&["hi"]);
    batch.log.target = Target::Room(Room::new("ops").unwrap());
    assert!(store.save(&batch, LocalFields::default()).is_err());
    assert!(
        store
            .open_folder(&FolderName::from(&Room::new("ops").unwrap()))
            .unwrap()
            .is_empty()
    );
    assert!(store.save(&batch, LocalFields::default()).is_ok());
}

/// Each segment begins with a frontier, so that a start needs to read the last segment only.
#[test]
fn segments_rotate_and_only_the_last_is_read_at_start() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &core, &mut authors, 30);
    drop(store);
    let segments = folder.segments(GENERAL);
    assert!(segments.len() > 4, "{segments:?}");
    for path in &segments {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("{\"type\":\"frontier\","));
        assert!(text.len() < 4096 + 2 * 1024);
    }
    // The content of older segments plays no part.
    for path in &segments[..segments.len() - 1] {
        fs::write(path, "").unwrap();
    }
    let (_, ranges) = open(&folder);
    assert_eq!(ranges, core.sorted());
}

/// A save that fails for lack of space leaves no part of its batch, and smaller batches still fit.
#[test]
fn a_full_disk_stores_a_batch_whole_or_not_at_all() {
    let folder = TempDir::new();
    // The test runs itself again, in a mount namespace with a file system of 1 MiB.
    let Some(dir) = std::env::var_os("P2PCHAT_TEST_FULL_DISK") else {
        let script = "mount -t tmpfs -o size=1m tmpfs \"$P2PCHAT_TEST_FULL_DISK\" && exec \"$@\"";
        let child = Command::new("unshare")
            .args(["-r", "-m", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::saving::a_full_disk_stores_a_batch_whole_or_not_at_all",
            ])
            .env("P2PCHAT_TEST_FULL_DISK", &folder.0)
            .output()
            .expect("unshare of util-linux is needed");
        let printed = String::from_utf8_lossy(&child.stdout);
        assert!(
            child.status.success() && printed.contains("1 passed"),
            "needs the right to make a mount namespace: {printed}{}",
            String::from_utf8_lossy(&child.stderr)
        );
        return;
    };
    let dir = Path::new(&dir);
    let (mut bob, mut carol) = (Author::new(2), Author::new(3));
    let open = || {
        let own = Author::new(1).id();
        let mut store = Store::open(dir, NET, own, StoreLimits::default()).unwrap();
        let ranges = store.open_folder(&general()).unwrap();
        (store, ranges)
    };
    let (mut store, _) = open();
    let text = "x".repeat(15_000);
    let mut saved = 0;
    let error = loop {
        match store.save(&bob.say(&[&text, &text]), LocalFields::default()) {
            Ok(()) => saved += 1,
            Err(e) => break e,
        }
        assert!(saved < 100);
    };
    assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    assert!(store.is_full() && saved > 10);
    // A smaller batch still fits, and follows the last whole one.
    save(&mut store, &carol.say(&["hi"]));
    let all = read_all(&store, &mut Position::default());
    assert_eq!(all.len(), saved + 1);
    drop(store);
    let (_, ranges) = open();
    let highs: BTreeMap<PeerId, u64> = ranges.iter().map(|r| (r.log.author, r.high)).collect();
    assert_eq!(highs[&bob.id()], saved as u64 * 2);
    assert_eq!(highs[&carol.id()], 1);
}

/// Direct batches are stored in `@`, carried ones in `@carried`; a restart finds the recipient of
/// each log in batches and frontiers.
#[test]
fn direct_messages_have_folders_of_their_own() {
    let folder = TempDir::new();
    let direct = |seed: u8, recipient: u8| Author {
        target: Target::Peer(Author::new(recipient).id()),
        ..Author::new(seed)
    };
    let (mut to_bob, mut from_bob, mut carried) = (direct(1, 2), direct(2, 1), direct(2, 3));
    let mut to_carol = direct(1, 3);
    let limits = StoreLimits {
        segment_bytes: 2_000,
        ..StoreLimits::default()
    };
    let core = RecordedState::default();
    let (mut store, _) = open_with(&folder, limits);
    for name in [FolderName::direct(), FolderName::carried()] {
        assert!(store.open_folder(&name).unwrap().is_empty());
    }
    let text = "x".repeat(100);
    for line in 1..=20 {
        for author in [&mut to_bob, &mut from_bob, &mut carried, &mut to_carol] {
            let batch = author.say(&[&text]);
            // Each log has a gap.
            if line != 5 {
                core.save(&mut store, &batch);
            }
        }
    }
    assert!(folder.0.join("open/@/000003.ndjson").exists());
    assert!(folder.0.join("open/@carried/000002.ndjson").exists());
    drop(store);
    let (mut store, ranges) = open_with(&folder, limits);
    assert_eq!(ranges, []);
    for (name, logs) in [(FolderName::direct(), 3), (FolderName::carried(), 1)] {
        let found = store.open_folder(&name).unwrap();
        assert_eq!(found.as_slice(), core.frontier(&name));
        let has_one_gap =
            |range: &&Arc<LogRange>| (range.low, range.high, range.gaps.len()) == (6, 20, 1);
        assert_eq!(found.iter().filter(has_one_gap).count(), logs);
    }
    for author in [&to_bob, &from_bob, &carried, &to_carol] {
        let batches = load_log(&store, &author.log(), 19, &mut None, 1 << 20).unwrap();
        let sequences: Vec<u64> = batches.iter().map(|batch| batch.sequence).collect();
        assert_eq!(sequences, [19, 20]);
    }
    let mut at = Position::default();
    let all = store
        .read_from(&FolderName::direct(), &mut at, 1 << 20)
        .unwrap();
    assert_eq!(all.len(), 57);
    assert_eq!(at, store.end(&FolderName::direct()));
    let mut texts = Vec::new();
    all[0]
        .batch
        .for_each_line(|line| texts.push(line.to_owned()));
    assert_eq!(texts, [text]);
}
