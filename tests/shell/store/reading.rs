//! Reading of logs and folders: from any line, across segments, past unreadable ones.

use std::path::Path;
use std::{fs, thread};

use p2pchat::base::batch::batch::{Batch, LocalFields};
use p2pchat::base::event::load::Position;
use p2pchat::shell::store::segment::segment_file;

use super::support::{
    Author, GENERAL, NET, RecordedState, author_sequences, fill, general, load, load_log, open,
    read_all,
};
use crate::batches;
use crate::folders::TempDir;

/// A load begins with the batch that contains the line, whatever its budget of bytes.
#[test]
fn a_log_is_read_from_any_line_across_segments() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut authors = [Author::new(2), Author::new(3), Author::new(4)];
    let mut starts = Vec::new();
    for i in 0..40 {
        for author in &mut authors {
            // Batches of one to three lines.
            let lines = &["a", "b", "c"][..i % 3 + 1];
            let batch = author.say(lines);
            starts.push(batch.sequence);
            core.save(&mut store, &batch);
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

/// Frontiers tell which segments have batches of a log; a load skips the others.
#[test]
fn a_quiet_log_is_found_without_reading_the_segments_between() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut quiet = Author::new(5);
    core.save(&mut store, &quiet.say(&["first"]));
    fill(&mut store, &core, &mut [Author::new(2)], 100);
    core.save(&mut store, &quiet.say(&["second"]));
    // The load skips the segments between: it does not find the copies put there.
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
    load_log(&store, &quiet.log(), 1, &mut at, 1).unwrap();
    for mut at in [None, at] {
        let batches = load_log(&store, &quiet.log(), 2, &mut at, 1).unwrap();
        assert_eq!(batches[0].as_bytes(), second.as_bytes());
        assert_eq!(at.unwrap().segment, store.end(&general()).segment);
    }
    assert_eq!(load(&store, &quiet.log(), 1, 1), [1, 2]);
    assert_eq!(load(&store, &quiet.log(), 2, 1), [2]);
}

/// Makes reads of the segment fail, as a bad block of the medium does.
fn make_unreadable(segment: &Path) {
    fs::remove_file(segment).unwrap();
    fs::create_dir(segment).unwrap();
}

/// A read or a load reports an unreadable segment as one error, and goes on behind it.
#[test]
fn an_unreadable_segment_is_reported_once_and_skipped() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut authors = [Author::new(2), Author::new(3)];
    fill(&mut store, &core, &mut authors, 30);
    let before = author_sequences(&read_all(&store, &mut Position::default()));
    let segments = folder.segments(GENERAL);
    make_unreadable(&segments[2]);
    make_unreadable(&segments[4]);
    let (mut read, mut errors, mut at) = (Vec::new(), 0, Position::default());
    while at != store.end(&general()) {
        match store.read_from(&general(), &mut at, 700) {
            Ok(found) => read.extend(found.iter().map(|s| (s.batch.log.author, s.batch.sequence))),
            Err(_) => errors += 1,
        }
    }
    assert_eq!(errors, 2);
    assert!(read.len() > 30 && read.len() < 60, "{}", read.len());
    assert!(before.starts_with(&read[..10]) && before.ends_with(&read[read.len() - 10..]));
    for author in &authors {
        let log = author.log();
        let (mut sequences, mut errors, mut at) = (Vec::new(), 0, None);
        loop {
            let from = sequences.last().map_or(1, |last| last + 1);
            match load_log(&store, &log, from, &mut at, 700) {
                Ok(batches) if batches.is_empty() => break,
                Ok(batches) => sequences.extend(batches.iter().map(|batch| batch.sequence)),
                Err(_) => errors += 1,
            }
        }
        let expected = read.iter().filter(|(id, _)| *id == log.author);
        assert!(
            sequences
                .iter()
                .copied()
                .eq(expected.map(|(_, number)| *number))
        );
        assert_eq!(errors, 2);
    }
}

/// A program that reads the history of another one may see a segment vanish between the listing of
/// the directory and the look at the segment's size.
#[test]
fn a_segment_evicted_during_a_listing_is_skipped() {
    let folder = TempDir::new();
    let (_store, _) = open(&folder);
    let room = folder.room(GENERAL);
    let evicted = segment_file::path(&room, 99);
    let evictor = thread::spawn(move || {
        for _ in 0..5_000 {
            fs::write(&evicted, "").unwrap();
            fs::remove_file(&evicted).unwrap();
        }
    });
    while !evictor.is_finished() {
        segment_file::list(&room).unwrap();
    }
    evictor.join().unwrap();
}

/// Fields that a later version may add, in the header of a batch: objects and strings that look
/// like the fields of a batch.
const UNKNOWN_FIELDS: [&str; 5] = [
    r#","later":{"a":1,"sequence":1,"content":"x"}"#,
    r#","later":[{"a":1,"sequence":99,"incarnation":"00"}]"#,
    r#","later":{"a":{"a":{"sequence":1}}},"c\u006futer":1"#,
    r#","later":",\"sequence\":1,\"content\":\"x\"""#,
    r#", "other":1"#,
];

/// A batch with unknown fields is read like any other, wherever the fields stand.
#[test]
fn unknown_fields_do_not_hide_a_batch() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut author = Author::new(2);
    let mut expected = Vec::new();
    let places = [",\"target\"", ",\"sequence\"", ",\"lamport\"", ",\"run\""];
    let cases = UNKNOWN_FIELDS.into_iter();
    for (field, place) in cases.flat_map(|field| places.map(|place| (field, place))) {
        for lines in [&["one"][..], &["one", "two"]] {
            let batch = author.say(lines);
            let parts = batches::parts(&batch);
            let header = parts.header.replacen(place, &format!("{field}{place}"), 1);
            let json = batches::signed(&author.identity, &header, &parts.content, &parts.salt);
            let batch = Batch::parse(json.into_bytes(), &NET).expect("a batch");
            core.save(&mut store, &batch);
            expected.push(batch.sequence);
            author.head = Some(batch);
        }
    }
    // The number of lines stands behind the fields that a quick look finds.
    let batch = author.say(&["one", "two"]);
    let parts = batches::parts(&batch);
    for count in [",\"count\":2", ", \"count\":2", ",\"c\\u006funt\":2"] {
        let header = parts.header.replacen(",\"count\":2", "", 1);
        let header = format!("{header},\"contents\":1{count}");
        let json = batches::signed(&author.identity, &header, &parts.content, &parts.salt);
        let line = Batch::parse(json.into_bytes(), &NET).expect("a batch");
        assert_eq!(
            segment_file::peek_single_sequence(line.as_bytes()),
            None,
            "{count}"
        );
    }
    for (i, from) in expected.iter().enumerate() {
        assert_eq!(
            load(&store, &author.log(), *from, usize::MAX),
            expected[i..],
            "from {from}"
        );
    }
}
