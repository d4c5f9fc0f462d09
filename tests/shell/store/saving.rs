//! What a save stores, in which folder and segment, and what a full disk leaves of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

use p2pchat::base::batch::LocalFields;
use p2pchat::base::event::Position;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName as Part, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::base::time::WallTime;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;

use super::support::{Author, GENERAL, NET, Told, fill, general, open, open_with, read_all};
use crate::folders::TempDir;

#[test]
fn what_is_saved_comes_back_with_its_local_fields() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, ranges) = open(&folder);
    assert!(ranges.is_empty() && !store.existed_before(&general()));
    let local = LocalFields {
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
    let batches = store.load(&bob.log(), 2, &mut None, 1).unwrap();
    assert_eq!(batches[0].as_bytes(), batch.as_bytes());
}

#[test]
fn a_room_that_is_not_open_takes_nothing() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let mut bob = Author::new(2);
    let mut batch = bob.say(&["hi"]);
    batch.log.target = Target::Room(Room::new("ops").unwrap());
    assert!(store.save(&batch, LocalFields::default()).is_err());
    assert!(
        store
            .open_folder(&Part::from(&Room::new("ops").unwrap()))
            .unwrap()
            .is_empty()
    );
    assert!(store.save(&batch, LocalFields::default()).is_ok());
}

#[test]
fn segments_rotate_and_only_the_last_is_read_at_start() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &told, &mut authors, 30);
    drop(store);
    let segments = folder.segments(GENERAL);
    assert!(segments.len() > 4, "{segments:?}");
    for path in &segments {
        let text = fs::read_to_string(path).unwrap();
        assert!(text.starts_with("{\"type\":\"frontier\","));
        assert!(text.len() < 4096 + 2 * 1024);
    }
    // What older segments hold plays no part.
    for path in &segments[..segments.len() - 1] {
        fs::write(path, "").unwrap();
    }
    let (_, ranges) = open(&folder);
    assert_eq!(ranges, told.sorted());
}

#[test]
fn a_full_disk_takes_all_of_a_batch_or_nothing() {
    let folder = TempDir::new();
    // In a mount namespace of its own, this test runs again with a file system of 1 MiB.
    let Some(dir) = std::env::var_os("P2PCHAT_TEST_FULL_DISK") else {
        let script = "mount -t tmpfs -o size=1m tmpfs \"$P2PCHAT_TEST_FULL_DISK\" && exec \"$@\"";
        let child = Command::new("unshare")
            .args(["-r", "-m", "sh", "-c", script, "sh"])
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "store::saving::a_full_disk_takes_all_of_a_batch_or_nothing",
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
        let mut store = Store::open(dir, NET, own, false, StoreLimits::default()).unwrap();
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
    // What is small still fits, and follows on a whole line.
    store
        .save(&carol.say(&["hi"]), LocalFields::default())
        .unwrap();
    let all = read_all(&store, &mut Position::default());
    assert_eq!(all.len(), saved + 1);
    drop(store);
    let (_, ranges) = open();
    let highs: BTreeMap<PeerId, u64> = ranges.iter().map(|r| (r.log.author, r.high)).collect();
    assert_eq!(highs[&bob.id()], saved as u64 * 2);
    assert_eq!(highs[&carol.id()], 1);
}

/// Ours to bob, bob's to us, and bob's to carol: each is found again with its reader, also behind a new segment's frontier.
#[test]
fn direct_messages_have_folders_of_their_own() {
    let folder = TempDir::new();
    let to = |seed: u8, reader: u8| Author {
        target: Target::Peer(Author::new(reader).id()),
        ..Author::new(seed)
    };
    let (mut ours, mut his, mut passing) = (to(1, 2), to(2, 1), to(2, 3));
    let mut second = to(1, 3);
    let limits = StoreLimits {
        segment_bytes: 2_000,
        ..StoreLimits::default()
    };
    let core = Told::default();
    let (mut store, _) = open_with(&folder, false, limits);
    for part in [Part::direct(), Part::carried()] {
        assert!(store.open_folder(&part).unwrap().is_empty());
    }
    let text = "x".repeat(100);
    for line in 1..=20 {
        for author in [&mut ours, &mut his, &mut passing, &mut second] {
            let batch = author.say(&[&text]);
            // Each log has a hole.
            if line != 5 {
                core.save(&mut store, &batch);
            }
        }
    }
    assert!(folder.0.join("open/@/000003.ndjson").exists());
    assert!(folder.0.join("open/@carried/000002.ndjson").exists());
    drop(store);
    let (mut store, ranges) = open_with(&folder, false, limits);
    assert_eq!(ranges, []);
    for (part, logs) in [(Part::direct(), 3), (Part::carried(), 1)] {
        let mut found = store.open_folder(&part).unwrap();
        found.sort_by(|a, b| a.log.cmp(&b.log));
        assert_eq!(found, core.frontier(&part));
        let whole = |range: &&LogRange| (range.low, range.high, range.gaps.len()) == (6, 20, 1);
        assert_eq!(found.iter().filter(whole).count(), logs);
    }
    for author in [&ours, &his, &passing, &second] {
        let batches = store.load(&author.log(), 19, &mut None, 1 << 20).unwrap();
        let numbers: Vec<u64> = batches.iter().map(|batch| batch.sequence).collect();
        assert_eq!(numbers, [19, 20]);
    }
    let mut at = Position::default();
    let all = store.read_from(&Part::direct(), &mut at, 1 << 20).unwrap();
    assert_eq!(all.len(), 57);
    assert_eq!(at, store.end(&Part::direct()));
    let mut shown = Vec::new();
    all[0]
        .batch
        .for_each_line(|line| shown.push(line.to_owned()));
    assert_eq!(shown, [text]);
}
