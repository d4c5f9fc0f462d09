//! Reading of logs and folders: from any line, across segments, past unreadable ones.

use std::path::Path;
use std::{fs, thread};

use p2pchat::base::batch::LocalFields;
use p2pchat::base::event::Position;
use p2pchat::shell::store::read_only::ReadOnlyStore;
use p2pchat::shell::store::segment::segment_file;
use p2pchat::shell::store::store::Store;

use super::support::{Author, GENERAL, NET, Told, fill, general, load, numbers, open, read_all};
use crate::folders::TempDir;

#[test]
fn a_log_is_read_from_any_line_across_segments() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3), Author::new(4)];
    let mut starts = Vec::new();
    for i in 0..40 {
        for author in &mut authors {
            // Batches of one to three lines.
            let lines = &["a", "b", "c"][..i % 3 + 1];
            let batch = author.say(lines);
            starts.push(batch.sequence);
            told.save(&mut store, &batch);
        }
    }
    let starts: Vec<u64> = starts.into_iter().step_by(3).collect();
    let high = authors[1].head.as_ref().unwrap().last_sequence();
    for from in 1..=high + 1 {
        let first = starts.partition_point(|start| *start <= from) - 1;
        let expected = if from > high { &[] } else { &starts[first..] };
        for budget in [1, 3000, usize::MAX] {
            let got = load(&store, &authors[1].log(), from, budget);
            assert_eq!(got, expected, "from {from}");
        }
    }
}

#[test]
fn a_silent_log_is_found_without_reading_all_between() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut quiet = Author::new(5);
    told.save(&mut store, &quiet.say(&["first"]));
    fill(&mut store, &told, &mut [Author::new(2)], 100);
    told.save(&mut store, &quiet.say(&["second"]));
    // All that lies between is not looked at: a copy that lies there is not found.
    let mut copy = Vec::new();
    let second = quiet.head.as_ref().unwrap();
    second.write_stored(LocalFields::default(), &mut copy);
    let segments = folder.segments(GENERAL);
    for path in &segments[1..segments.len() - 3] {
        let mut text = fs::read(path).unwrap();
        text.extend_from_slice(&copy);
        fs::write(path, text).unwrap();
    }
    let mut at = None;
    store.load(&quiet.log(), 1, &mut at, 1).unwrap();
    for mut at in [None, at] {
        let batches = store.load(&quiet.log(), 2, &mut at, 1).unwrap();
        assert_eq!(batches[0].as_bytes(), second.as_bytes());
        assert_eq!(at.unwrap().segment, store.end(&general()).segment);
    }
    assert_eq!(load(&store, &quiet.log(), 1, 1), [1, 2]);
    assert_eq!(load(&store, &quiet.log(), 2, 1), [2]);
}

/// As a block of the medium that went bad: it is there, and cannot be read.
fn spoil(segment: &Path) {
    fs::remove_file(segment).unwrap();
    fs::create_dir(segment).unwrap();
}

#[test]
fn what_cannot_be_read_is_passed_over_and_told_once() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let told = Told::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &told, &mut authors, 30);
    let before = numbers(&read_all(&store, &mut Position::default()));
    let segments = folder.segments(GENERAL);
    spoil(&segments[2]);
    spoil(&segments[4]);
    let (mut seen, mut refused, mut at) = (Vec::new(), 0, Position::default());
    while at != store.end(&general()) {
        match store.read_from(&general(), &mut at, 700) {
            Ok(some) => seen.extend(some.iter().map(|s| (s.batch.log.author, s.batch.sequence))),
            Err(_) => refused += 1,
        }
    }
    assert_eq!(refused, 2);
    assert!(seen.len() > 30 && seen.len() < 60, "{}", seen.len());
    assert!(before.starts_with(&seen[..10]) && before.ends_with(&seen[seen.len() - 10..]));
    for author in &authors {
        let log = author.log();
        let (mut sequences, mut refused, mut at) = (Vec::new(), 0, None);
        loop {
            let from = sequences.last().map_or(1, |last| last + 1);
            match store.load(&log, from, &mut at, 700) {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => sequences.extend(batches.iter().map(|batch| batch.sequence)),
                Err(_) => refused += 1,
            }
        }
        let theirs = seen.iter().filter(|(id, _)| *id == log.author);
        assert!(
            sequences
                .iter()
                .copied()
                .eq(theirs.map(|(_, number)| *number))
        );
        assert_eq!(refused, 2);
    }
}

#[test]
fn a_segment_that_a_quota_takes_while_others_read_is_no_obstacle() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    fill(&mut store, &Told::default(), &mut [Author::new(2)], 30);
    let mut view = Store::read_only(ReadOnlyStore::new(&folder.0, NET, false));
    view.open_folder_read_only(&general(), store.end(&general()));
    fs::remove_file(&folder.segments(GENERAL)[1]).unwrap();
    let numbers = numbers(&read_all(&view, &mut Position::default()));
    assert!(numbers.len() < 30 && numbers.last() == Some(&(Author::new(2).id(), 30)));
    // It goes between being listed and being looked at.
    let room = folder.room(GENERAL);
    let taken = segment_file::path(&room, 99);
    let quota = thread::spawn(move || {
        for _ in 0..5_000 {
            fs::write(&taken, "").unwrap();
            fs::remove_file(&taken).unwrap();
        }
    });
    while !quota.is_finished() {
        segment_file::list(&room).unwrap();
    }
    quota.join().unwrap();
}
