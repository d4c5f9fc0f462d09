//! Positions in a folder: they reach lines appended later, and survive a restart.

use std::fs;

use p2pchat::base::name::Nick;
use p2pchat::shell::os::clock::Moment;

use super::support::{
    Author, GENERAL, RecordedState, author_sequences, general, load_log, open, read_all, save,
};
use crate::folders::TempDir;

/// A position at the end of a folder stays valid while batches and segments are added.
#[test]
fn a_position_at_the_end_reaches_later_batches() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let (mut at, mut printed) = (None, store.end(&general()));
    let none = load_log(&store, &bob.log(), 1, &mut at, 1000).unwrap();
    assert!(none.is_empty());
    for i in 1..=50 {
        core.save(&mut store, &bob.say(&["x".repeat(200).as_str()]));
        let batches = load_log(&store, &bob.log(), i, &mut at, 1000).unwrap();
        assert_eq!(batches[0].sequence, i);
        assert_eq!(batches.len(), 1);
        let none = load_log(&store, &bob.log(), i + 1, &mut at, 1000).unwrap();
        assert!(none.is_empty());
        assert_eq!(
            author_sequences(&read_all(&store, &mut printed)),
            [(bob.id(), i)]
        );
        assert_eq!(printed, store.end(&general()));
    }
    assert!(folder.segments(GENERAL).len() > 3);
}

/// The printed position is durable, and within the folder also after a power cut shortened it.
#[test]
fn the_printed_position_survives_within_the_folder() {
    let folder = TempDir::new();
    let room = general();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    assert_eq!(store.printed_position(&room, None), None);
    store.begin_reader(&room, None, &Moment::default());
    save(&mut store, &bob.say(&["one"]));
    let after_one = store.end(&room);
    store.record_printed(&room, None, after_one, None).unwrap();
    save(&mut store, &bob.say(&["two"]));
    let after_two = store.end(&room);
    drop(store);
    let (mut store, _) = open(&folder);
    let mut at = store.printed_position(&room, None).unwrap();
    assert_eq!(at, after_one);
    assert_eq!(
        author_sequences(&read_all(&store, &mut at)),
        [(bob.id(), 2)]
    );
    store.record_printed(&room, None, after_two, None).unwrap();
    drop(store);
    // A power cut loses the second line, and a peer sends it again.
    let path = folder.segments(GENERAL)[0].clone();
    let cut = fs::OpenOptions::new().write(true).open(path).unwrap();
    cut.set_len(after_one.offset).unwrap();
    let (mut store, _) = open(&folder);
    let mut at = store.printed_position(&room, None).unwrap();
    assert_eq!(at, after_one);
    save(&mut store, bob.head.as_ref().unwrap());
    assert_eq!(
        author_sequences(&read_all(&store, &mut at)),
        [(bob.id(), 2)]
    );
}

/// A power cut loses lines that were printed. A run that prints for no reader stores others in their
/// place: the next run prints these to each reader.
#[test]
fn lines_in_the_place_of_lost_ones_are_not_printed_yet() {
    let folder = TempDir::new();
    let room = general();
    let backup = Nick::new("backup").unwrap();
    let readers = [None, Some(&backup)];
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    save(&mut store, &bob.say(&["one"]));
    let after_one = store.end(&room);
    save(&mut store, &bob.say(&["two"]));
    let after_two = store.end(&room);
    for reader in readers {
        store.begin_reader(&room, reader, &Moment::default());
        store
            .record_printed(&room, reader, after_two, None)
            .unwrap();
    }
    drop(store);
    let path = folder.segments(GENERAL)[0].clone();
    let cut = fs::OpenOptions::new().write(true).open(path).unwrap();
    cut.set_len(after_one.offset).unwrap();
    let (mut store, _) = open(&folder);
    let mut carol = Author::new(3);
    save(
        &mut store,
        &carol.say(&[&"longer than the lost line".repeat(30)]),
    );
    assert!(store.end(&room).offset > after_two.offset);
    drop(store);
    let (store, _) = open(&folder);
    for reader in readers {
        let mut at = store.printed_position(&room, reader).unwrap();
        let unprinted = author_sequences(&read_all(&store, &mut at));
        assert_eq!(unprinted, [(carol.id(), 1)], "{reader:?}");
    }
}
