//! Quotas on disk: which lines each limit evicts first, and which it never evicts.

use p2pchat::base::event::{Position, StoredBatch};
use p2pchat::base::identity::PeerId;
use p2pchat::shell::store::eviction::EvictedLog;
use p2pchat::shell::store::quota::StoreLimits;

use super::support::{Author, GENERAL, Told, general, load, numbers, open_with, read_all, small};
use crate::folders::TempDir;

#[test]
fn over_quota_the_oldest_of_the_flooder_go_and_nothing_else() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        author_bytes: 16 * 1024,
        ..small()
    };
    let (mut store, _) = open_with(&folder, false, limits);
    let told = Told::default();
    let (mut bob, mut flooder) = (Author::new(2), Author::new(3));
    let (mut low, mut cursors) = (1, Vec::new());
    for i in 0..300 {
        if i % 10 == 0 {
            told.save(&mut store, &bob.say(&["quiet"]));
        }
        if i == 100 {
            // Readers stop everywhere in what will be rewritten, some of it more than once.
            let mut at = Position::default();
            while let [StoredBatch { batch, .. }] =
                &store.read_from(&general(), &mut at, 1).unwrap()[..]
            {
                cursors.push((at, (batch.log.author, batch.sequence)));
            }
            assert!(cursors.len() > 40);
        }
        for EvictedLog {
            log,
            first_kept: dropped,
        } in told.save(&mut store, &flooder.say(&["x".repeat(100).as_str()]))
        {
            assert_eq!(log, flooder.log());
            assert!(dropped > low);
            low = dropped;
        }
    }
    assert!(low > 200, "{low}");
    assert_eq!(load(&store, &bob.log(), 1, 5000).len(), 30);
    let held: Vec<u64> = (low..=300).collect();
    assert_eq!(load(&store, &flooder.log(), 1, 5000), held);
    let stored: u64 = folder
        .segments(GENERAL)
        .iter()
        .map(|p| p.metadata().unwrap().len())
        .sum();
    assert!(stored < 16 * 1024 + 30 * 500 + 40 * 1024, "{stored}");
    // Each reads on exactly where it stopped, without what is gone.
    let mut rest = numbers(&read_all(&store, &mut Position::default()));
    assert_eq!(rest.len(), 30 + held.len());
    for (mut at, read) in cursors {
        rest.retain(|n| *n != read);
        assert_eq!(numbers(&read_all(&store, &mut at)), rest, "behind {read:?}");
    }
    assert_eq!(rest[0], (bob.id(), 12));
    drop(store);
    assert_eq!(open_with(&folder, false, limits).1, told.sorted());
}

#[test]
fn what_a_peer_lacks_of_our_own_stays_and_stdin_waits() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        own_bytes: 8 * 1024,
        ..small()
    };
    let (mut store, _) = open_with(&folder, false, limits);
    let mut told = Told::default();
    let mut own = Author::new(1);
    told.floors.insert(own.log(), 5);
    let mut said = 0;
    while !store.is_full() {
        for EvictedLog {
            first_kept: low, ..
        } in told.save(&mut store, &own.say(&["x".repeat(100).as_str()]))
        {
            assert!(low <= 5);
        }
        said += 1;
        assert!(said < 100);
    }
    assert!(said > 8 * 1024 / 600);
    let held: Vec<u64> = (5..=said).collect();
    assert_eq!(load(&store, &own.log(), 5, 1000), held);
    assert!(store.enforce_limits(&told).unwrap().is_empty() && store.is_full());
    // The peer has caught up: there is room again.
    told.floors.insert(own.log(), said + 1);
    let dropped = store.enforce_limits(&told).unwrap();
    assert!(dropped[0].first_kept > 5 && !store.is_full());
}

#[test]
fn of_too_much_in_all_the_unknown_lose_first() {
    let folder = TempDir::new();
    let limits = StoreLimits {
        total_bytes: Some(64 * 1024),
        ..small()
    };
    let (mut store, _) = open_with(&folder, false, limits);
    let (own, friend, small, large) = (1, 2, 3, 4);
    let told = Told {
        known: vec![Author::new(friend).id()],
        ..Told::default()
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
            let dropped = told.save(&mut store, &batch);
            let now: Vec<PeerId> = dropped.iter().map(|evicted| evicted.log.author).collect();
            if lost.is_empty() && !now.is_empty() {
                assert_eq!(now, [ids[3]], "the largest unknown one loses first");
            }
            if now.contains(&ids[1]) {
                for unknown in &authors[2..] {
                    assert!(load(&store, &unknown.log(), 1, 1).is_empty());
                }
            }
            lost.extend(now);
        }
    }
    assert!(lost.contains(&ids[1]) && !lost.contains(&ids[0]));
    assert_eq!(load(&store, &authors[0].log(), 1, 1).len(), 60);
}
