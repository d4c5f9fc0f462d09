//! The store in memory (`--ephemeral`): its one limit, and what each turn costs at it.

use std::cell::Cell;
use std::sync::Arc;

use p2pchat::base::batch::batch::{LocalFields, LogId};
use p2pchat::base::event::load::Position;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::FolderName;
use p2pchat::base::range::LogRange;
use p2pchat::node::standing::{Rank, Standing};
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;

use super::support::{Author, NET, RecordedState, general, load, read_all, save};

/// Own lines that peers lack stay, and make the store full.
#[test]
fn the_memory_limit_evicts_the_oldest_lines_of_others_first() {
    let (mut own, mut bob) = (Author::new(1), Author::new(2));
    let limits = StoreLimits {
        memory_bytes: 20_000,
        ..StoreLimits::default()
    };
    let mut store = Store::in_memory(own.id(), NET, limits);
    assert!(
        store
            .save(&bob.say(&["early"]), LocalFields::default())
            .is_err()
    );
    bob.head = None;
    store.open_folder(&general()).unwrap();
    let mut core = RecordedState::default();
    core.retention_floors.insert(own.log(), 1);
    let mut low = 1;
    for i in 0..60 {
        if i % 3 == 0 {
            core.save(&mut store, &own.say(&["ours"]));
        }
        for evicted in core.save(&mut store, &bob.say(&["x".repeat(50).as_str()])) {
            assert_eq!(evicted.log, bob.log());
            low = evicted.first_kept;
        }
    }
    assert!(low > 10 && !store.is_full());
    let expected: Vec<u64> = (low..=60).collect();
    assert_eq!(load(&store, &bob.log(), 1, 1), expected);
    assert_eq!(load(&store, &own.log(), 1, 1).len(), 20);
    let mut at = Position::default();
    assert_eq!(read_all(&store, &mut at).len(), 20 + expected.len());
    assert_eq!(at, store.end(&general()));
    assert!(!store.existed_before(&general()));
    let ranges = store.open_folder(&general()).unwrap();
    let ranges: Vec<LogRange> = ranges.into_iter().map(Arc::unwrap_or_clone).collect();
    assert_eq!(ranges, core.sorted());
    assert!(store.existed_before(&general()));
    while !store.is_full() {
        core.save(&mut store, &own.say(&["x".repeat(100).as_str()]));
        assert!(own.head.as_ref().unwrap().sequence < 100);
    }
    core.retention_floors.clear();
    assert!(!store.enforce_limits(&core).unwrap().is_empty());
    assert!(!store.is_full());
}

/// A replication state whose peers lack every line; counts the queries of retention floors.
#[derive(Default)]
struct QueryCounter(Cell<usize>);

impl ReplicationState for QueryCounter {
    fn frontier(&self, _: &FolderName) -> Vec<Arc<LogRange>> {
        Vec::new()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        self.0.set(self.0.get() + 1);
        1
    }
    fn is_acknowledged(&self, _: &FolderName) -> bool {
        true
    }
    fn standing(&self, _: &FolderName, _: &PeerId) -> Standing {
        Standing::of_rank(Rank::Known)
    }
}

/// A turn at the limit costs one query a log, although nothing can be evicted.
#[test]
fn a_full_memory_queries_the_retention_floor_once_a_log() {
    let mut own = Author::new(1);
    let mut store = Store::in_memory(own.id(), NET, StoreLimits::default());
    store.open_folder(&general()).unwrap();
    let lines = vec!["x".repeat(60); 8];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    while !store.is_full() {
        save(&mut store, &own.say(&lines));
    }
    let core = QueryCounter::default();
    assert!(store.enforce_limits(&core).unwrap().is_empty());
    assert_eq!(core.0.get(), 1);
}
