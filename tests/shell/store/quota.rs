//! Quotas on disk: which lines each limit evicts first, and which it never evicts.

use std::fs;

use p2pchat::base::event::load::{Position, StoredBatch};
use p2pchat::base::identity::PeerId;
use p2pchat::base::time::WallTime;
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::store::eviction::EvictedLog;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

use super::support::{
    Author, GENERAL, NET, RecordedState, author_sequences, general, load, open_with, read_all,
    small_segments, with_small_disk,
};
use crate::folders::TempDir;

/// Eviction rewrites segments, and positions of readers inside them stay exact.
#[test]
fn the_author_quota_evicts_only_the_oldest_lines_of_the_flooder() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        author_bytes: 16 * 1024,
        ..small_segments()
    };
    let (mut store, _) = open_with(&folder, limits);
    let core = RecordedState::default();
    let (mut bob, mut flooder) = (Author::new(2), Author::new(3));
    let (mut low, mut cursors) = (1, Vec::new());
    for i in 0..300 {
        if i % 10 == 0 {
            core.save(&mut store, &bob.say(&["quiet"]));
        }
        if i == 100 {
            // Readers stop at every batch of segments that eviction rewrites, some more than once.
            let mut at = Position::default();
            while let [StoredBatch { batch, .. }] =
                &store.read_from(&general(), &mut at, 1).unwrap()[..]
            {
                cursors.push((at, (batch.log.author, batch.sequence)));
            }
            assert!(cursors.len() > 40);
        }
        for EvictedLog { log, first_kept } in
            core.save(&mut store, &flooder.say(&["x".repeat(100).as_str()]))
        {
            assert_eq!(log, flooder.log());
            assert!(first_kept > low);
            low = first_kept;
        }
    }
    assert!(low > 200, "{low}");
    assert_eq!(load(&store, &bob.log(), 1, 5000).len(), 30);
    let expected: Vec<u64> = (low..=300).collect();
    assert_eq!(load(&store, &flooder.log(), 1, 5000), expected);
    let stored: u64 = folder
        .segments(GENERAL)
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    assert!(stored < 16 * 1024 + 30 * 500 + 40 * 1024, "{stored}");
    // Each reader continues exactly behind its batch, without the evicted ones.
    let mut rest = author_sequences(&read_all(&store, &mut Position::default()));
    assert_eq!(rest.len(), 30 + expected.len());
    for (mut at, read) in cursors {
        rest.retain(|n| *n != read);
        assert_eq!(
            author_sequences(&read_all(&store, &mut at)),
            rest,
            "behind {read:?}"
        );
    }
    assert_eq!(rest[0], (bob.id(), 12));
    drop(store);
    assert_eq!(open_with(&folder, limits).1, core.sorted());
}

/// Two authors exceed their quota at once, one by little and one by much. The next eviction of the
/// first one begins where its last eviction ended, and leaves none of its evicted lines on disk.
#[test]
fn an_author_loses_the_oldest_lines_also_after_an_eviction_with_another() {
    let folder = TempDir::new();
    let (mut store, _) = open_with(&folder, small_segments());
    let core = RecordedState::default();
    let (mut bob, mut flooder) = (Author::new(2), Author::new(3));
    let text = "x".repeat(100);
    for _ in 0..40 {
        core.save(&mut store, &bob.say(&[&text]));
        for _ in 0..3 {
            core.save(&mut store, &flooder.say(&[&text]));
        }
    }
    drop(store);
    let limits = StoreLimits {
        author_bytes: 16 * 1024,
        ..small_segments()
    };
    let (mut store, _) = open_with(&folder, limits);
    let mut first_kept = 0;
    for _ in 0..12 {
        for evicted in core.save(&mut store, &bob.say(&[&text])) {
            if evicted.log == bob.log() {
                first_kept = evicted.first_kept;
            }
        }
    }
    let bobs: Vec<u64> = author_sequences(&read_all(&store, &mut Position::default()))
        .into_iter()
        .filter(|(author, _)| *author == bob.id())
        .map(|(_, sequence)| sequence)
        .collect();
    let expected: Vec<u64> = (first_kept..=52).collect();
    assert_eq!(bobs, expected);
}

/// Own lines that a peer lacks stay, and make the store full, until the peer acknowledges them.
#[test]
fn own_lines_above_the_retention_floor_are_never_evicted() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        own_bytes: 8 * 1024,
        ..small_segments()
    };
    let (mut store, _) = open_with(&folder, limits);
    let mut core = RecordedState::default();
    let mut own = Author::new(1);
    core.retention_floors.insert(own.log(), 5);
    let mut saved = 0;
    while !store.is_full() {
        for EvictedLog {
            first_kept: low, ..
        } in core.save(&mut store, &own.say(&["x".repeat(100).as_str()]))
        {
            assert!(low <= 5);
        }
        saved += 1;
        assert!(saved < 100);
    }
    assert!(saved > 8 * 1024 / 600);
    let expected: Vec<u64> = (5..=saved).collect();
    assert_eq!(load(&store, &own.log(), 5, 1000), expected);
    assert!(store.enforce_limits(&core).unwrap().is_empty() && store.is_full());
    // The peer has acknowledged all: own lines may be evicted.
    core.retention_floors.insert(own.log(), saved + 1);
    let evicted = store.enforce_limits(&core).unwrap();
    assert!(evicted[0].first_kept > 5 && !store.is_full());
}

/// Own lines of an earlier run that perhaps no peer stores stay, also on a disk that has shrunk
/// since, until a peer acknowledges them.
#[test]
fn unacknowledged_lines_of_an_earlier_run_are_not_evicted() {
    let folder = TempDir::new();
    let mut core = RecordedState {
        has_unacknowledged: true,
        ..RecordedState::default()
    };
    let mut own = Author::new(1);
    let (mut store, _) = open_with(&folder, small_segments());
    for _ in 0..40 {
        core.save(&mut store, &own.say(&["x".repeat(100).as_str()]));
    }
    store.close(&core).unwrap();
    let shrunk = StoreLimits {
        own_bytes: 8 * 1024,
        ..small_segments()
    };
    let (mut store, _) = open_with(&folder, shrunk);
    // The core of the new run knows nothing of the earlier run's acknowledgements.
    let mut bob = Author::new(2);
    for _ in 0..20 {
        core.save(&mut store, &bob.say(&["x".repeat(100).as_str()]));
    }
    assert!(store.is_full());
    let all: Vec<u64> = (1..=40).collect();
    assert_eq!(load(&store, &own.log(), 1, 1000), all);
    core.has_unacknowledged = false;
    let evicted = store.enforce_limits(&core).unwrap();
    assert_eq!(evicted[0].log, own.log());
    assert!(!store.is_full());
}

/// A damaged sequence above the head neither evicts the rest of the log, nor blocks the quota until
/// a line with this number is acknowledged. The damage is found.
#[test]
fn a_damaged_sequence_evicts_and_blocks_nothing() {
    for seed in [1, 2] {
        let folder = TempDir::new();
        let limits = StoreLimits {
            author_bytes: 16 * 1024,
            own_bytes: 16 * 1024,
            ..small_segments()
        };
        let (mut store, _) = open_with(&folder, limits);
        let mut core = RecordedState::default();
        let mut author = Author::new(seed);
        let mut first_kept = 1;
        for sequence in 1..=60 {
            // All peers have acknowledged all but the newest line.
            core.retention_floors.insert(author.log(), sequence);
            for evicted in core.save(&mut store, &author.say(&["x".repeat(100).as_str()])) {
                first_kept = evicted.first_kept;
                assert!(first_kept <= sequence, "{first_kept} of {sequence}");
            }
            if sequence == 20 {
                store.take_suspects();
                let path = &folder.segments(GENERAL)[1];
                let text = fs::read_to_string(path).unwrap();
                assert!(text.contains("\"sequence\":12,"));
                let damaged = text.replace("\"sequence\":12,", "\"sequence\":92,");
                fs::write(path, damaged).unwrap();
            }
            assert!(!store.is_full());
        }
        assert!(first_kept > 12);
        assert_eq!(store.take_suspects(), [general()]);
        let rest: Vec<u64> = (first_kept..=60).collect();
        assert_eq!(load(&store, &author.log(), first_kept, 5000), rest);
    }
}

/// A folder in which an author that may store 16 KiB has said a text so many times.
fn with_lines(folder: &TempDir, text: &str, count: usize) -> (Store, RecordedState, Author) {
    let limits = StoreLimits {
        author_bytes: 16 * 1024,
        ..small_segments()
    };
    let (mut store, _) = open_with(folder, limits);
    let (core, mut bob) = (RecordedState::default(), Author::new(2));
    for _ in 0..count {
        core.save(&mut store, &bob.say(&[text]));
    }
    store.take_suspects();
    (store, core, bob)
}

/// Whether the second of several segments is still there after its log has lost these lines, if the
/// text of its first or last batch is damaged; and whether the damage was found.
fn survives_eviction(damages_last: bool) -> (bool, bool) {
    let folder = TempDir::new();
    let text = "x".repeat(100);
    let (mut store, core, mut bob) = with_lines(&folder, &text, 20);
    let path = folder.segments(GENERAL)[1].clone();
    let stored = fs::read_to_string(&path).unwrap();
    let of_batch = match damages_last {
        true => stored.rfind(&text),
        false => stored.find(&text),
    };
    let mut damaged = stored.clone();
    damaged.replace_range(of_batch.unwrap()..of_batch.unwrap() + 1, "X");
    fs::write(&path, damaged).unwrap();
    let mut first_kept = 1;
    for _ in 0..60 {
        for evicted in core.save(&mut store, &bob.say(&[&text])) {
            first_kept = evicted.first_kept;
        }
    }
    assert!(first_kept > 20, "{first_kept}");
    let was_found = !store.take_suspects().is_empty();
    let rest: Vec<u64> = (first_kept..=80).collect();
    assert_eq!(load(&store, &bob.log(), first_kept, 5000), rest);
    (path.exists(), was_found)
}

/// Only the last batch of a log is checked in a segment that is evicted whole: it tells what the
/// log keeps. If it is damaged, each batch is checked, and the damaged one is kept.
#[test]
fn an_evicted_segment_is_checked_at_the_last_batch_of_its_log() {
    assert_eq!(survives_eviction(false), (false, false));
    assert_eq!(survives_eviction(true), (true, true));
}

/// A damaged number can make a line that must be kept look like an old one: the batch is kept.
#[test]
fn a_line_that_must_be_kept_is_kept_with_a_damaged_sequence() {
    let folder = TempDir::new();
    let text = "x".repeat(100);
    let (mut store, mut core, mut bob) = with_lines(&folder, &text, 20);
    let path = folder.segments(GENERAL)[1].clone();
    let stored = fs::read_to_string(&path).unwrap();
    let (_, last) = stored.rsplit_once("\"sequence\":").unwrap();
    let (last, _) = last.split_once(',').unwrap();
    assert_eq!(last.len(), 2);
    core.retention_floors
        .insert(bob.log(), last.parse().unwrap());
    let whole = format!("\"sequence\":{last},");
    let damaged = format!("\"sequence\":{},", &last[1..]);
    fs::write(&path, stored.replace(&whole, &damaged)).unwrap();
    for _ in 0..40 {
        core.save(&mut store, &bob.say(&[&text]));
    }
    assert!(fs::read_to_string(&path).unwrap().contains(&damaged));
    assert_eq!(store.take_suspects(), [general()]);
}

/// Segments that vanished or can't be opened cost their own lines. Rotation and quota go on.
#[test]
fn a_bad_segment_does_not_end_rotation_and_quota() {
    let folder = TempDir::new();
    let text = "x".repeat(100);
    let (mut store, core, mut bob) = with_lines(&folder, &text, 25);
    let segments = folder.segments(GENERAL);
    fs::remove_file(&segments[0]).unwrap();
    fs::remove_file(&segments[1]).unwrap();
    fs::create_dir(&segments[1]).unwrap();
    let mut first_kept = 1;
    for _ in 0..60 {
        for evicted in core.save(&mut store, &bob.say(&[&text])) {
            first_kept = evicted.first_kept;
        }
    }
    assert!(first_kept > 20, "{first_kept}");
    assert_eq!(store.take_suspects(), [general()]);
    let rest: Vec<u64> = (first_kept..=85).collect();
    assert_eq!(load(&store, &bob.log(), first_kept, 5000), rest);
    let files = folder.segments(GENERAL);
    let files = files.iter().filter(|path| path.is_file());
    let largest = files.map(|path| path.metadata().unwrap().len()).max();
    assert!(largest.unwrap() < 3 * 4096, "{largest:?}");
}

/// The largest log of an unknown peer loses lines first, then known peers; own lines stay.
#[test]
fn the_total_quota_evicts_logs_of_unknown_peers_first() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        total_bytes: Some(64 * 1024),
        ..small_segments()
    };
    let (mut store, _) = open_with(&folder, limits);
    let (own, friend, small, large) = (1, 2, 3, 4);
    let core = RecordedState {
        standings: [(Author::new(friend).id(), Standing::of_rank(Rank::Known))].into(),
        ..RecordedState::default()
    };
    let mut authors: Vec<Author> = [own, friend, small, large].map(Author::new).into();
    let ids: Vec<PeerId> = authors.iter().map(Author::id).collect();
    let mut lost: Vec<PeerId> = Vec::new();
    for i in 0..60 {
        for n in 0..authors.len() {
            if n == 2 && i % 6 > 0 {
                continue;
            }
            let batch = authors[n].say(&["x".repeat(50).as_str()]);
            let evicted = core.save(&mut store, &batch);
            let losers: Vec<PeerId> = evicted.iter().map(|evicted| evicted.log.author).collect();
            if lost.is_empty() && !losers.is_empty() {
                assert_eq!(losers, [ids[3]], "the largest unknown log first");
            }
            if losers.contains(&ids[1]) {
                for unknown in &authors[2..] {
                    assert!(load(&store, &unknown.log(), 1, 1).is_empty());
                }
            }
            lost.extend(losers);
        }
    }
    assert!(lost.contains(&ids[1]) && !lost.contains(&ids[0]));
    assert_eq!(load(&store, &authors[0].log(), 1, 1).len(), 60);
}

/// The first run, which has no directory yet, takes half of the disk at most. So do later runs.
#[test]
fn a_new_store_is_limited_by_its_disk() {
    with_small_disk(8, |folder| {
        let (core, mut flooder) = (RecordedState::default(), Author::new(3));
        let text = "x".repeat(16_000);
        for _ in 0..2 {
            let dir = folder.0.join("state/history");
            let limits = StoreLimits {
                segment_bytes: 256 * 1024,
                ..StoreLimits::default()
            };
            let mut store = Store::open(&dir, NET, Author::new(1).id(), limits).unwrap();
            store.open_folder(&general()).unwrap();
            for _ in 0..1_000 {
                core.save(&mut store, &flooder.say(&[&text]));
            }
            let segments = fs::read_dir(dir.join("open").join(GENERAL)).unwrap();
            let stored: u64 = segments
                .map(|it| it.unwrap().metadata().unwrap().len())
                .sum();
            assert!(stored < 9 << 19, "{stored}");
            store.close(&core).unwrap();
        }
    });
}

/// How an author counts whom we first met at this time, over a link to this host.
fn newcomer(first_seen: i64, host: u8) -> Standing {
    Standing {
        first_seen: WallTime(first_seen),
        source: Some([10, 0, 0, host].into()),
        ..Standing::of_rank(Rank::Newcomer)
    }
}

/// Many invented keys of one host take the place of their own lines. Neither the lines of an
/// author that came earlier are lost, nor those of one that came later from another host.
#[test]
fn a_flood_of_invented_keys_evicts_itself() {
    for is_same_host in [false, true] {
        for in_memory in [false, true] {
            let folder = TempDir::new();
            let limits = StoreLimits {
                total_bytes: Some(512 * 1024),
                memory_bytes: 512 * 1024,
                ..small_segments()
            };
            let own = Author::new(1).id();
            let (mut store, _) = match in_memory {
                true => (Store::in_memory(own, NET, limits), Vec::new()),
                false => open_with(&folder, limits),
            };
            store.open_folder(&general()).unwrap();
            let mut core = RecordedState::default();
            let (mut bob, mut carol) = (Author::new(2), Author::new(3));
            let floods_from = if is_same_host { 2 } else { 9 };
            core.standings.insert(bob.id(), newcomer(1, 2));
            for _ in 0..200 {
                core.save(&mut store, &bob.say(&["a line of bob"]));
            }
            for n in 0..200u64 {
                let mut flooder = Author::numbered(n);
                core.standings
                    .insert(flooder.id(), newcomer(2 + n as i64, floods_from));
                for _ in 0..5 {
                    core.save(&mut store, &flooder.say(&["x".repeat(1_500).as_str()]));
                }
                if n == 180 && !is_same_host {
                    core.standings.insert(carol.id(), newcomer(5_000, 3));
                    for _ in 0..20 {
                        core.save(&mut store, &carol.say(&["a line of carol"]));
                    }
                }
            }
            assert_eq!(load(&store, &bob.log(), 1, 5000).len(), 200);
            if !is_same_host {
                assert_eq!(load(&store, &carol.log(), 1, 5000).len(), 20);
            }
        }
    }
}

/// A log whose lines are all evicted keeps its head, also when its segments are gone and the
/// program is killed: peers do not send its lines again, and no reader prints them twice.
#[test]
fn an_emptied_log_keeps_its_head() {
    for clean in [false, true] {
        let folder = TempDir::new();
        let limits = StoreLimits {
            total_bytes: Some(16 * 1024),
            ..small_segments()
        };
        let (mut store, _) = open_with(&folder, limits);
        let (mut bob, mut own) = (Author::new(2), Author::new(1));
        let mut core = RecordedState::default();
        core.retention_floors.insert(own.log(), 1);
        for _ in 0..10 {
            core.save(&mut store, &bob.say(&["old"]));
        }
        let head = bob.head.as_ref().unwrap().hash;
        for _ in 0..60 {
            core.save(&mut store, &own.say(&["x".repeat(100).as_str()]));
        }
        assert!(load(&store, &bob.log(), 1, 5000).is_empty());
        match clean {
            true => store.close(&core).unwrap(),
            false => drop(store),
        }
        for _ in 0..2 {
            let (_, ranges) = open_with(&folder, limits);
            let range = ranges.iter().find(|range| range.log == bob.log());
            let range = range.expect("the emptied log");
            assert_eq!((range.high, range.hash), (10, head));
            assert!(range.low > range.high);
        }
    }
}
