//! The store in memory (`--ephemeral`): its one limit, and what each turn costs at it.

use std::cell::Cell;

use p2pchat::base::batch::{LocalFields, LogId};
use p2pchat::base::event::Position;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::FolderName as Part;
use p2pchat::base::range::LogRange;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::replication_state::ReplicationState;
use p2pchat::shell::store::store::Store;

use super::support::{Author, NET, Told, general, load, read_all};

#[test]
fn in_memory_the_oldest_foreign_lines_go_first() {
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
    let mut told = Told::default();
    told.floors.insert(own.log(), 1);
    let mut low = 1;
    for i in 0..60 {
        if i % 3 == 0 {
            told.save(&mut store, &own.say(&["ours"]));
        }
        for evicted in told.save(&mut store, &bob.say(&["x".repeat(50).as_str()])) {
            assert_eq!(evicted.log, bob.log());
            low = evicted.first_kept;
        }
    }
    assert!(low > 10 && !store.is_full());
    let held: Vec<u64> = (low..=60).collect();
    assert_eq!(load(&store, &bob.log(), 1, 1), held);
    assert_eq!(load(&store, &own.log(), 1, 1).len(), 20);
    let mut at = Position::default();
    assert_eq!(read_all(&store, &mut at).len(), 20 + held.len());
    assert_eq!(at, store.end(&general()));
    assert!(!store.existed_before(&general()));
    assert_eq!(store.open_folder(&general()).unwrap(), told.sorted());
    assert!(store.existed_before(&general()));
    while !store.is_full() {
        told.save(&mut store, &own.say(&["x".repeat(100).as_str()]));
        assert!(own.head.as_ref().unwrap().sequence < 100);
    }
    told.floors.clear();
    assert!(!store.enforce_limits(&told).unwrap().is_empty());
    assert!(!store.is_full());
}

/// A core whose peers lack all, and that counts how often it is asked.
#[derive(Default)]
struct Asked(Cell<usize>);

impl ReplicationState for Asked {
    fn frontier(&self, _: &Part) -> Vec<LogRange> {
        Vec::new()
    }
    fn retention_floor(&self, _: &LogId) -> u64 {
        self.0.set(self.0.get() + 1);
        1
    }
    fn is_acknowledged(&self, _: &Part) -> bool {
        true
    }
    fn is_known(&self, _: &PeerId) -> bool {
        true
    }
}

#[test]
fn in_memory_at_the_bound_a_turn_asks_once_a_log() {
    let mut own = Author::new(1);
    let mut store = Store::in_memory(own.id(), NET, StoreLimits::default());
    store.open_folder(&general()).unwrap();
    let lines = vec!["x".repeat(60); 8];
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    while !store.is_full() {
        store
            .save(&own.say(&lines), LocalFields::default())
            .unwrap();
    }
    let core = Asked::default();
    assert!(store.enforce_limits(&core).unwrap().is_empty());
    assert_eq!(core.0.get(), 1);
}
