//! Positions in a folder: they reach lines appended later, and survive a restart.

use std::fs;

use p2pchat::base::batch::LocalFields;

use super::support::{Author, GENERAL, Told, general, numbers, open, read_all};
use crate::folders::TempDir;

#[test]
fn a_position_sees_what_comes_later() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut bob = Author::new(2);
    let (mut at, mut printed) = (None, store.end(&general()));
    let none = store.load(&bob.log(), 1, &mut at, 1000).unwrap();
    assert!(none.is_empty());
    for i in 1..=50 {
        told.save(&mut store, &bob.say(&["x".repeat(200).as_str()]));
        let batches = store.load(&bob.log(), i, &mut at, 1000).unwrap();
        assert_eq!(batches[0].sequence, i);
        assert_eq!(batches.len(), 1);
        let none = store.load(&bob.log(), i + 1, &mut at, 1000).unwrap();
        assert!(none.is_empty());
        assert_eq!(numbers(&read_all(&store, &mut printed)), [(bob.id(), i)]);
        assert_eq!(printed, store.end(&general()));
    }
    assert!(folder.segments(GENERAL).len() > 3);
}

#[test]
fn printed_survives_and_stays_within_what_is_there() {
    let folder = TempDir::new();
    let room = general();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    assert_eq!(store.printed_position(&room), None);
    store
        .save(&bob.say(&["one"]), LocalFields::default())
        .unwrap();
    let after_one = store.end(&room);
    store.set_printed_position(&room, after_one).unwrap();
    store
        .save(&bob.say(&["two"]), LocalFields::default())
        .unwrap();
    let after_two = store.end(&room);
    drop(store);
    let (mut store, _) = open(&folder);
    let mut at = store.printed_position(&room).unwrap();
    assert_eq!(at, after_one);
    assert_eq!(numbers(&read_all(&store, &mut at)), [(bob.id(), 2)]);
    store.set_printed_position(&room, after_two).unwrap();
    drop(store);
    // A power cut took the second line, and it came again.
    let path = folder.segments(GENERAL)[0].clone();
    let cut = fs::OpenOptions::new().write(true).open(path).unwrap();
    cut.set_len(after_one.offset).unwrap();
    let (mut store, _) = open(&folder);
    let mut at = store.printed_position(&room).unwrap();
    assert_eq!(at, after_one);
    store
        .save(bob.head.as_ref().unwrap(), LocalFields::default())
        .unwrap();
    assert_eq!(numbers(&read_all(&store, &mut at)), [(bob.id(), 2)]);
}
