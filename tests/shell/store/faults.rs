//! The store on a disk with faults: short writes, full and broken disks, failed syncs, lost tails.
use std::cell::{Cell, RefCell};
use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Once};

use nix::errno::Errno;
use p2pchat::base::batch::batch::LocalFields;
use p2pchat::base::event::load::{LogCursor, Position};
use p2pchat::base::event::notice::Chat;
use p2pchat::base::identity::Identity;
use p2pchat::shell::session::event_sink::EventSink;
use p2pchat::shell::session::transcript::transcript::Transcript;
use p2pchat::shell::store::damage::DamageOutcome;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;
use p2pchat::shell::store::store_io::{StoreIo, install};
use p2pchat::ui::request::Listen;
use p2pchat::ui::session_event::{EventKind, SessionEvent};

use super::support::{Author, GENERAL, NET, RecordedState, general, load, open, open_with};
use crate::folders::TempDir;

/// What is wrong with the disk of this thread's test.
#[derive(Clone, Copy, Default)]
struct Faults {
    /// Longest write.
    write_max_bytes: Option<usize>,
    /// The disk is full after so many bytes.
    left_bytes: Option<usize>,
    /// A file can't be cut.
    is_stuck: bool,
    is_unsynced: bool,
    /// No byte of a file can be read from this offset on.
    unreadable_from: Option<u64>,
    /// A read that begins behind this offset fails with this error.
    short_from: Option<(u64, Errno)>,
}

thread_local! {
    static FAULTS: RefCell<Faults> = RefCell::default();
    /// Bytes read from segments since last taken.
    static READ_BYTES: Cell<u64> = Cell::default();
}

/// The disk of all tests of this process: each thread has its own faults.
struct FaultyDisk;

impl StoreIo for FaultyDisk {
    fn write(&self, mut file: &File, bytes: &[u8]) -> io::Result<usize> {
        FAULTS.with_borrow_mut(|faults| {
            let mut length = bytes
                .len()
                .min(faults.write_max_bytes.unwrap_or(usize::MAX));
            if let Some(left) = &mut faults.left_bytes {
                length = length.min(*left);
                *left -= length;
                if length == 0 {
                    return Err(ErrorKind::StorageFull.into());
                }
            }
            file.write(&bytes[..length])
        })
    }

    fn read_at(&self, file: &File, bytes: &mut [u8], offset: u64) -> io::Result<usize> {
        let short_from = FAULTS.with_borrow(|faults| faults.short_from);
        if let Some((_, error)) = short_from.filter(|(from, _)| offset >= *from) {
            return Err(error.into());
        }
        let Some(end) = FAULTS.with_borrow(|faults| faults.unreadable_from) else {
            let read = file.read_at(bytes, offset)?;
            READ_BYTES.set(READ_BYTES.get() + read as u64);
            return Ok(read);
        };
        if offset >= end {
            return Err(io::Error::from_raw_os_error(Errno::EIO as i32));
        }
        let length = bytes.len().min((end - offset) as usize);
        file.read_at(&mut bytes[..length], offset)
    }

    fn set_len(&self, file: &File, bytes: u64) -> io::Result<()> {
        match FAULTS.with_borrow(|faults| faults.is_stuck) {
            true => Err(io::Error::from_raw_os_error(Errno::EIO as i32)),
            false => file.set_len(bytes),
        }
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match FAULTS.with_borrow(|faults| faults.is_unsynced) {
            true => Err(io::Error::from_raw_os_error(Errno::EIO as i32)),
            false => file.sync_data(),
        }
    }
}

fn set_faults(faults: Faults) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| install(Box::new(FaultyDisk)));
    FAULTS.set(faults);
}

/// One author for each seed, in the order of their logs.
fn many_authors(count: u64) -> Vec<Author> {
    let mut authors: Vec<Author> = (0..count)
        .map(|n| {
            let mut seed = [200; 32];
            seed[..8].copy_from_slice(&n.to_be_bytes());
            Author {
                identity: Identity::from_seed(&seed),
                ..Author::new(200)
            }
        })
        .collect();
    authors.sort_by_key(Author::log);
    authors
}

/// A folder with one line each of many authors, in segments of the usual size.
fn folder_of_many(count: u64) -> (TempDir, Vec<Author>, RecordedState) {
    set_faults(Faults::default());
    let folder = TempDir::new();
    let (mut store, _) = open_with(&folder, StoreLimits::default());
    let core = RecordedState::default();
    let mut authors = many_authors(count);
    for author in &mut authors {
        core.save(&mut store, &author.say(&["one line"]));
    }
    store.close(&core).unwrap();
    (folder, authors, core)
}

/// A start with many logs reads a folder's last segment a few times, and no other one.
#[test]
fn a_start_with_many_logs_reads_only_the_last_segment() {
    let (folder, authors, core) = folder_of_many(5_000);
    let segments = folder.segments(GENERAL);
    let last_bytes = fs::metadata(segments.last().unwrap()).unwrap().len();
    READ_BYTES.take();
    let (mut store, ranges) = open_with(&folder, StoreLimits::default());
    assert_eq!(ranges.len(), authors.len());
    let read = READ_BYTES.take();
    // The frontier line is longer than a segment, and yet starts no segment.
    store.enforce_limits(&core).unwrap();
    assert_eq!(folder.segments(GENERAL), segments);
    assert!(read <= 4 * last_bytes, "{read} bytes of {last_bytes}");
}

/// The lines of many logs are read in one pass over the folder.
#[test]
fn one_pass_reads_the_lines_of_many_logs() {
    let (folder, authors, _) = folder_of_many(2_000);
    let (store, _) = open_with(&folder, StoreLimits::default());
    let segments = folder.segments(GENERAL);
    let folder_bytes: u64 = segments
        .iter()
        .map(|it| fs::metadata(it).unwrap().len())
        .sum();
    let cursor = |author: &Author| LogCursor {
        log: author.log(),
        from: 1,
        position: None,
    };
    let mut cursors: Vec<LogCursor> = authors.iter().map(cursor).collect();
    let mut read_logs = Vec::new();
    READ_BYTES.take();
    while !cursors.is_empty() {
        let loaded = store.load(&mut cursors, 64 * 1024).unwrap();
        let mut batches = loaded.iter();
        cursors.retain(|cursor| match batches.next().unwrap() {
            Some(batches) => {
                assert_eq!(batches.len(), 1);
                assert_eq!(batches[0].log, cursor.log);
                read_logs.push(cursor.log.clone());
                false
            }
            None => true,
        });
    }
    read_logs.sort();
    assert!(
        read_logs
            .iter()
            .eq(authors.iter().map(Author::log).collect::<Vec<_>>().iter())
    );
    let read = READ_BYTES.take();
    assert!(read <= 6 * folder_bytes, "{read} bytes of {folder_bytes}");
}

/// Writes of one byte at a time store the same bytes.
#[test]
fn short_writes_store_whole_lines() {
    set_faults(Faults {
        write_max_bytes: Some(1),
        ..Faults::default()
    });
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    for n in 0..30 {
        core.save(&mut store, &bob.say(&[&format!("line {n}")]));
    }
    drop(store);
    assert_eq!(open(&folder).1, core.sorted());
}

/// Wherever the disk is full or broken in the midst of a write, the batch is not stored, nothing of
/// it is left, and the next one follows the last whole one.
#[test]
fn a_write_that_fails_anywhere_leaves_nothing() {
    for is_stuck in [false, true] {
        for left in (0..600).step_by(23) {
            set_faults(Faults::default());
            let folder = TempDir::new();
            let (mut store, _) = open(&folder);
            let core = RecordedState::default();
            let mut bob = Author::new(2);
            core.save(&mut store, &bob.say(&["first"]));
            let mut carol = Author::new(3);
            set_faults(Faults {
                left_bytes: Some(left),
                is_stuck,
                ..Faults::default()
            });
            let failed = bob.say(&["failed"]);
            let error = store.save(&failed, LocalFields::default());
            if error.is_ok() {
                continue;
            }
            set_faults(Faults::default());
            core.save(&mut store, &carol.say(&["next"]));
            assert_eq!(load(&store, &bob.log(), 1, 1 << 20), [1]);
            assert_eq!(load(&store, &carol.log(), 1, 1 << 20), [1]);
            drop(store);
            let (mut store, ranges) = open(&folder);
            assert_eq!(ranges, core.sorted(), "{left} bytes, {is_stuck}");
            assert_eq!(store.take_damage(), []);
        }
    }
}

/// A disk that is full when a segment is due keeps the old one, and the store goes on when there is
/// space again.
#[test]
fn a_segment_that_cannot_be_started_is_started_later() {
    set_faults(Faults::default());
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let text = "x".repeat(1_000);
    let mut failures = 0;
    for _ in 0..20 {
        // The batch fits, and the frontier of a new segment does not.
        set_faults(Faults {
            left_bytes: Some(1_600),
            ..Faults::default()
        });
        let batch = bob.say(&[&text]);
        store.save(&batch, LocalFields::default()).unwrap();
        core.record(&batch);
        failures += usize::from(store.enforce_limits(&core).is_err());
    }
    assert!(failures > 0 && folder.segments(GENERAL).len() == 1);
    set_faults(Faults::default());
    for _ in 0..80 {
        core.save(&mut store, &bob.say(&[&text]));
    }
    assert!(folder.segments(GENERAL).len() > 2);
    drop(store);
    assert_eq!(open(&folder).1, core.sorted());
}

/// A failed sync prevents the marker of a clean end.
#[test]
fn a_failed_sync_is_an_error() {
    set_faults(Faults::default());
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    core.save(&mut store, &Author::new(2).say(&["line"]));
    assert!(store.sync().is_ok());
    set_faults(Faults {
        is_unsynced: true,
        ..Faults::default()
    });
    assert!(store.sync().is_err());
    assert!(store.close(&core).is_err());
}

/// A folder with one segment, and the segment: three batches of bob.
fn folder_of_three() -> (TempDir, PathBuf) {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let mut bob = Author::new(2);
    for text in ["one", "two", "three"] {
        RecordedState::default().save(&mut store, &bob.say(&[text]));
    }
    let path = folder.segments(GENERAL)[0].clone();
    (folder, path)
}

/// Wherever the disk can't read the active segment, the store opens with the lines before that
/// place, names the damage, changes nothing in the segment, and goes on in a new one.
#[test]
fn an_unreadable_part_does_not_prevent_the_start() {
    set_faults(Faults::default());
    let (folder, path) = folder_of_three();
    let text = fs::read_to_string(&path).unwrap();
    let second = text.find("\"two\"").unwrap();
    for (from, whole) in [(0, 0), (20, 0), (second, 1), (text.len() - 5, 2)] {
        set_faults(Faults {
            unreadable_from: Some(from as u64),
            ..Faults::default()
        });
        let (mut store, ranges) = open(&folder);
        assert_eq!(ranges.first().map_or(0, |range| range.high), whole);
        let reports = store.take_damage();
        assert!(matches!(reports[0].outcome, DamageOutcome::Unreadable(_)));
        assert_eq!(reports[0].path, path);
        let mut carol = Author::new(3);
        store
            .save(&carol.say(&["on"]), LocalFields::default())
            .unwrap();
        drop(store);
        set_faults(Faults::default());
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        let segments = folder.segments(GENERAL);
        assert_eq!(segments.len(), 2);
        assert_eq!(load(&open(&folder).0, &carol.log(), 1, 1 << 20), [1]);
        fs::remove_file(&segments[1]).unwrap();
    }
}

/// A part of the disk stays unreadable. Each audit finds it, and the user is told once, also if the
/// start has found it. The place may grow, which is told again.
#[test]
fn a_lasting_disk_error_is_told_once() {
    set_faults(Faults::default());
    let (folder, path) = folder_of_three();
    let core = RecordedState::default();
    let text = fs::read_to_string(&path).unwrap();
    let mut store = open(&folder).0;
    for (word, told) in [
        ("\"three\"", 1),
        ("\"three\"", 0),
        ("\"two\"", 1),
        ("\"two\"", 0),
    ] {
        let from = text.find(word).unwrap() as u64;
        set_faults(Faults {
            unreadable_from: Some(from),
            ..Faults::default()
        });
        let request = store.audit_request(&general(), &core).expect("a folder");
        let audit = request.run().expect("descriptors");
        store.set_damage_aside(audit, &core);
        assert_eq!(store.take_damage().len(), told, "{word}");
    }
    let faults = FAULTS.take();
    let folder = folder_of_three().0;
    set_faults(faults);
    let mut store = open(&folder).0;
    assert_eq!(store.take_damage().len(), 1);
    let request = store.audit_request(&general(), &core).expect("a folder");
    assert!(request.run().expect("descriptors").damaged.is_empty());
}

/// Damaged lines leave their segment only when both files are on disk. If one of them can't be
/// synced, or the damaged lines have no room, the lines stay where they are.
#[test]
fn damaged_lines_stay_unless_their_copy_is_on_disk() {
    let unsynced = Faults {
        is_unsynced: true,
        ..Faults::default()
    };
    let full = Faults {
        left_bytes: Some(0),
        ..Faults::default()
    };
    for faults in [unsynced, full] {
        set_faults(Faults::default());
        let (folder, path) = folder_of_three();
        let damaged = fs::read_to_string(&path)
            .unwrap()
            .replace("\"two\"", "\"owt\"");
        fs::write(&path, &damaged).unwrap();
        set_faults(faults);
        let (mut store, ranges) = open(&folder);
        assert_eq!((ranges[0].high, ranges[0].gaps.len()), (3, 1));
        assert_eq!(store.take_damage()[0].outcome, DamageOutcome::Left);
        assert_eq!(fs::read_to_string(&path).unwrap(), damaged);
        set_faults(Faults::default());
        assert_eq!(
            open(&folder).0.take_damage()[0].outcome,
            DamageOutcome::SetAside
        );
    }
}

/// The lines that a link lacks lie above a gap, and no descriptor is left to read them. The second
/// attempt reports it, so that the loop pauses.
#[test]
fn a_shortage_above_a_gap_is_reported() {
    set_faults(Faults::default());
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let mut bob = Author::new(2);
    for n in 1..=3 {
        let batch = bob.say(&[&n.to_string()]);
        if n != 2 {
            store.save(&batch, LocalFields::default()).unwrap();
        }
    }
    set_faults(Faults {
        short_from: Some((1, Errno::EMFILE)),
        ..Faults::default()
    });
    let mut cursors = [LogCursor {
        log: bob.log(),
        from: 2,
        position: None,
    }];
    let first = store.load(&mut cursors, 1);
    assert!(first.unwrap()[0].is_none());
    assert!(store.load(&mut cursors, 1).is_err());
    set_faults(Faults::default());
    let loaded = store.load(&mut cursors, 1).unwrap().remove(0).unwrap();
    assert_eq!(loaded[0].sequence, 3);
}

/// Without descriptors or memory, nothing is known of a segment. The start fails, and calls nothing
/// damaged.
#[test]
fn a_shortage_at_the_start_is_no_damage() {
    for shortage in [Errno::EMFILE, Errno::ENOMEM] {
        set_faults(Faults::default());
        let (folder, path) = folder_of_three();
        let bytes = fs::read(&path).unwrap();
        set_faults(Faults {
            short_from: Some((0, shortage)),
            ..Faults::default()
        });
        let limits = StoreLimits::default();
        let own = Author::new(1).id();
        let mut store = Store::open(&folder.0, NET, own, limits).unwrap();
        assert!(store.open_folder(&general()).is_err(), "{shortage}");
        set_faults(Faults::default());
        let (_, ranges) = open(&folder);
        assert_eq!(ranges[0].high, 3);
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

/// Counts the lines that a transcript emits.
#[derive(Default)]
struct CountingSink(u64);

impl EventSink for CountingSink {
    fn can_answer(&self) -> bool {
        true
    }

    fn can_accept(&self) -> bool {
        true
    }

    fn emit(&mut self, event: SessionEvent) {
        if let EventKind::Chat { chat, .. } = *event.kind {
            self.0 += chat.count();
        }
    }
}

/// No descriptor or no memory is left to read the lines that a transcript has not printed. It keeps
/// them before the lines that come, and prints all of them later.
#[test]
fn a_transcript_short_of_resources_waits_and_passes_over_no_line() {
    [Errno::EMFILE, Errno::ENOMEM]
        .into_iter()
        .for_each(a_short_transcript_waits);
}

fn a_short_transcript_waits(shortage: Errno) {
    set_faults(Faults::default());
    let (folder, _) = folder_of_three();
    let (mut store, _) = open(&folder);
    let listen = Listen {
        is_reader: true,
        ..Listen::default()
    };
    let own = Author::new(1).id();
    let mut transcript = Transcript::new(own, &listen, false, Arc::new(|| {}));
    transcript.open(&store, &general(), Position::default());
    set_faults(Faults {
        short_from: Some((0, shortage)),
        ..Faults::default()
    });
    let mut sink = CountingSink::default();
    assert!(transcript.catch_up(&store, &mut sink).is_err());
    // The loop sleeps meanwhile.
    assert!(transcript.is_lagging() && !transcript.has_work());
    let mut carol = Author::new(3);
    let batch = Arc::new(carol.say(&["four"]));
    store.save(&batch, LocalFields::default()).unwrap();
    let chat = Chat {
        batch,
        local: LocalFields::default(),
        is_own: false,
    };
    transcript.handle_chat(&chat, &store, &mut sink);
    assert_eq!(sink.0, 0);
    set_faults(Faults::default());
    transcript.catch_up(&store, &mut sink).unwrap();
    assert_eq!((sink.0, transcript.is_lagging()), (4, false));
}

/// A power cut loses what was not synced: any tail of the active segment, or all of it.
#[test]
fn a_lost_tail_costs_the_lines_of_the_tail() {
    set_faults(Faults::default());
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let core = RecordedState::default();
    let mut bob = Author::new(2);
    let mut ends = Vec::new();
    let path = {
        core.save(&mut store, &bob.say(&["first"]));
        folder.segments(GENERAL)[0].clone()
    };
    for n in 0..5 {
        ends.push(fs::metadata(&path).unwrap().len());
        core.save(&mut store, &bob.say(&[&format!("line {n}")]));
    }
    drop(store);
    let bytes = fs::read(&path).unwrap();
    for length in (ends[0] as usize..bytes.len()).step_by(31) {
        fs::write(&path, &bytes[..length]).unwrap();
        let (mut store, ranges) = open(&folder);
        let whole = ends.iter().filter(|end| **end <= length as u64).count() as u64;
        assert_eq!((ranges[0].high, ranges[0].gaps.len()), (whole, 0));
        assert_eq!(store.take_damage(), []);
    }
    fs::write(&path, "").unwrap();
    assert_eq!(open(&folder).1, []);
}

/// A run that has written nothing syncs nothing at its end, as of the folders beside the one to
/// which it has written.
#[test]
fn what_was_not_written_is_not_synced() {
    set_faults(Faults::default());
    let folder = TempDir::new();
    let core = RecordedState::default();
    let (mut store, _) = open(&folder);
    core.save(&mut store, &Author::new(2).say(&["line"]));
    assert!(store.close(&core).is_ok());
    let (mut store, _) = open(&folder);
    set_faults(Faults {
        is_unsynced: true,
        ..Faults::default()
    });
    assert!(store.sync().is_ok(), "nothing was written");
}
