//! What the store accepts when it opens a folder after a crash, damage or a clean end.

use std::fs;
use std::time::Instant;

use p2pchat::base::batch::LocalFields;
use p2pchat::base::name::{FolderName as Part, Room, Target};
use p2pchat::shell::store::quota::StoreLimits;

use super::support::{
    Author, GENERAL, Told, fill, general, load, open, open_with, read_all, small,
};
use crate::folders::TempDir;

#[test]
fn a_torn_tail_is_cut_at_every_byte() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    store
        .save(&bob.say(&["first"]), LocalFields::default())
        .unwrap();
    let before = bob.range(1);
    let path = folder.segments(GENERAL)[0].clone();
    let whole = fs::metadata(&path).unwrap().len();
    store
        .save(&bob.say(&["second"]), LocalFields::default())
        .unwrap();
    drop(store);
    let bytes = fs::read(&path).unwrap();
    for end in whole as usize..bytes.len() {
        for zeros in [0, 300] {
            let mut torn = bytes[..end].to_vec();
            torn.resize(end + zeros, 0);
            fs::write(&path, torn).unwrap();
            let (mut store, ranges) = open_with(&folder, end % 2 == 0, small());
            assert_eq!(
                ranges.as_slice(),
                std::slice::from_ref(&before),
                "cut at {end}"
            );
            assert_eq!(fs::metadata(&path).unwrap().len(), whole);
            // The next line follows as if nothing had been.
            let mut next = Author::new(2);
            next.say(&["first"]);
            store
                .save(&next.say(&["again"]), LocalFields::default())
                .unwrap();
            assert_eq!(load(&store, &next.log(), 1, 1), [1, 2]);
        }
    }
    fs::write(&path, &bytes).unwrap();
    assert_eq!(open(&folder).1, [bob.range(1)]);
}

#[test]
fn a_new_segment_without_its_first_line_does_not_count() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    store
        .save(&bob.say(&["one"]), LocalFields::default())
        .unwrap();
    drop(store);
    let next = folder.room(GENERAL).join("000002.ndjson");
    for half in [&b""[..], b"{\"type\":\"frontier\",\"gen", &[0; 500]] {
        fs::write(&next, half).unwrap();
        assert_eq!(open(&folder).1, [bob.range(1)]);
        assert!(!next.exists());
    }
}

#[test]
fn a_flipped_bit_ends_what_is_believed_before_it() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let (mut store, _) = open(&folder);
    let mut ranges = Vec::new();
    for text in ["one", "two", "three", "four"] {
        store
            .save(&bob.say(&[text]), LocalFields::default())
            .unwrap();
        ranges.push(bob.range(1));
    }
    drop(store);
    let path = folder.segments(GENERAL)[0].clone();
    let bytes = fs::read(&path).unwrap();
    for (i, text) in ["two", "three", "four"].iter().enumerate() {
        let needle = format!("\"content\":\"{text}\"");
        let at = String::from_utf8(bytes.clone())
            .unwrap()
            .find(&needle)
            .unwrap();
        let mut damaged = bytes.clone();
        damaged[at + needle.len() - 2] ^= 1;
        fs::write(&path, &damaged).unwrap();
        assert_eq!(open(&folder).1, [ranges[i].clone()], "{text}");
        // A clean end spares the last signature; the chain is checked all the same.
        fs::write(&path, &damaged).unwrap();
        let clean = open_with(&folder, true, small()).1;
        assert_eq!(
            clean[0].high,
            if *text == "four" { 4 } else { i as u64 + 1 }
        );
    }
}

#[test]
fn each_folder_is_believed_once_after_a_clean_end() {
    let folder = TempDir::new();
    let mut bob = Author::new(2);
    let ops = Part::from(&Room::new("ops").unwrap());
    bob.target = Target::Room(Room::new("ops").unwrap());
    let (mut store, _) = open(&folder);
    store.open_folder(&ops).unwrap();
    store
        .save(&bob.say(&["one"]), LocalFields::default())
        .unwrap();
    drop(store);
    let path = folder.segments("#ops")[0].clone();
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace("\"one\"", "\"two\"")).unwrap();
    let (mut store, _) = open_with(&folder, true, small());
    assert_eq!(store.open_folder(&ops).unwrap()[0].high, 1);
    // This run has left no mark yet: nothing speaks for what it wrote but the signatures.
    assert!(store.open_folder(&ops).unwrap().is_empty());
}

#[test]
fn a_damaged_frontier_is_made_up_from_the_segment_before() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &told, &mut authors, 20);
    drop(store);
    for damaged in 1..=folder.segments(GENERAL).len() {
        let segments = folder.segments(GENERAL);
        let path = &segments[segments.len() - damaged];
        let mut bytes = fs::read(path).unwrap();
        bytes[60] ^= 1;
        fs::write(path, bytes).unwrap();
        let (mut store, ranges) = open(&folder);
        assert_eq!(ranges, told.sorted());
        assert_eq!(load(&store, &authors[0].log(), 1, 1).len(), 20);
        // The next start needs no such help.
        let (again, same) = open(&folder);
        assert_eq!((same, again.printed_position(&general())), (ranges, None));
        let mut reader = authors[0].log();
        reader.incarnation = 9;
        assert!(store.load(&reader, 1, &mut None, 1).unwrap().is_empty());
        assert!(store.enforce_limits(&told).unwrap().is_empty());
    }
}

#[test]
fn garbage_is_no_reason_to_fail() {
    let folder = TempDir::new();
    fs::create_dir_all(folder.room(GENERAL)).unwrap();
    let garbage = [
        "\n\n\n",
        "{}\n{}\n",
        "\u{0}\n",
        "{\"type\":\"frontier\"}\nnonsense\n",
    ];
    for text in garbage {
        fs::write(folder.room(GENERAL).join("000007.ndjson"), text).unwrap();
        fs::write(folder.room(GENERAL).join("printed"), text).unwrap();
        let (mut store, ranges) = open(&folder);
        assert!(ranges.is_empty());
        let mut bob = Author::new(2);
        store
            .save(&bob.say(&["on"]), LocalFields::default())
            .unwrap();
        assert_eq!(load(&store, &bob.log(), 1, 1), [1]);
        let mut at = store.printed_position(&general()).unwrap();
        assert_eq!(read_all(&store, &mut at).len(), 1);
        fs::remove_dir_all(folder.room(GENERAL)).unwrap();
        fs::create_dir_all(folder.room(GENERAL)).unwrap();
    }
}

#[test]
fn a_clean_end_makes_the_next_start_quick() {
    let folder = TempDir::new();
    let limits = StoreLimits::default();
    let (mut store, _) = open_with(&folder, false, limits);
    let told = Told::default();
    let mut bob = Author::new(2);
    let text = "x".repeat(8000);
    for _ in 0..120 {
        told.save(&mut store, &bob.say(&[&text]));
    }
    store.close(&told).unwrap();
    let path = folder.segments(GENERAL)[0].clone();
    assert_eq!(folder.segments(GENERAL).len(), 1);
    // What stands before the last frontier is not read again.
    let mut bytes = fs::read(&path).unwrap();
    let damaged = bytes.len() / 2;
    bytes[damaged] ^= 1;
    fs::write(&path, bytes).unwrap();
    let begun = Instant::now();
    let (store, ranges) = open_with(&folder, true, limits);
    eprintln!("opened in {:?}", begun.elapsed());
    assert_eq!(ranges, [bob.range(1)]);
    // A short run leaves no further frontier.
    let size = fs::metadata(&path).unwrap().len();
    store.close(&told).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), size);
}
