//! The reader of a folder: when it began, by which clock later runs learn it, and what it has
//! printed.
use p2pchat::base::event::load::Position;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::line_key::LineKey;
use p2pchat::base::name::FolderName;
use p2pchat::base::time::{ReaderStart, WallTime};
use p2pchat::shell::os::clock::Moment;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::reader::PrintedBacklog;
use p2pchat::shell::store::store::Store;

use super::support::{Author, general, open, save};
use crate::folders::TempDir;

const YEAR_2026_MS: i64 = 1_767_225_600_000;

/// A moment in the boot with this number, which has lasted `boot_ms` milliseconds.
fn moment(boot: u64, boot_ms: i64, wall_ms: i64) -> Moment {
    Moment {
        wall: WallTime(wall_ms),
        boot_id: format!("00000000-0000-4000-8000-{boot:012}"),
        boot_ms,
    }
}

/// A reader begins once, and what was stored before is no matter of it.
#[test]
fn a_reader_begins_once_at_the_end_of_the_folder() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let room = general();
    let mut bob = Author::new(2);
    save(&mut store, &bob.say(&["old"]));
    let start = moment(1, 5_000, YEAR_2026_MS);
    assert_eq!(store.reader_starts(&room, &start).first().copied(), None);
    let end = store.end(&room);
    store.begin_reader(&room, None, &start);
    save(&mut store, &bob.say(&["new"]));
    store.begin_reader(&room, None, &moment(1, 6_000, YEAR_2026_MS + 1_000));
    assert_eq!(store.printed_position(&room, None), Some(end));
    // The next run, and a run in the same boot that started before the reader began.
    drop(store);
    let (store, _) = open(&folder);
    assert_eq!(store.printed_position(&room, None), Some(end));
    for (started, at_ms) in [(9_000, -4_000), (4_000, 1_000)] {
        let started = moment(1, started, 0);
        let start = store.reader_starts(&room, &started).first().copied();
        assert_eq!(start, Some(ReaderStart::SameBoot { at_ms }));
    }
}

/// Another boot knows only the wall clock.
#[test]
fn a_later_boot_knows_when_a_reader_began_by_the_wall_clock() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let room = general();
    store.begin_reader(&room, None, &moment(1, 5_000, YEAR_2026_MS));
    drop(store);
    let (store, _) = open(&folder);
    let wall = WallTime(YEAR_2026_MS);
    let start = store
        .reader_starts(&room, &moment(2, 1_000, 0))
        .first()
        .copied();
    assert_eq!(start, Some(ReaderStart::EarlierBoot { wall }));
}

/// A box without a battery starts in 1970. When its clock is set, the reader's beginning is
/// corrected, but only in the boot of the beginning.
#[test]
fn setting_the_wall_clock_corrects_the_beginning() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let room = general();
    store.begin_reader(&room, None, &moment(1, 30_000, 30_000));
    let printed = store.printed_position(&room, None);
    store.correct_readers(&moment(1, 90_000, 90_000 + 500));
    store.correct_readers(&moment(1, 90_000, YEAR_2026_MS));
    store.correct_readers(&moment(2, 1_000, 0));
    drop(store);
    let (store, _) = open(&folder);
    let wall = WallTime(YEAR_2026_MS - 60_000);
    let start = store
        .reader_starts(&room, &moment(3, 0, 0))
        .first()
        .copied();
    assert_eq!(start, Some(ReaderStart::EarlierBoot { wall }));
    assert_eq!(store.printed_position(&room, None), printed);
}

/// Correcting the beginning keeps the printed position that another program recorded meanwhile.
#[test]
fn correcting_the_beginning_keeps_the_printed_position() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let room = general();
    store.begin_reader(&room, None, &moment(1, 30_000, 30_000));
    save(&mut store, &Author::new(2).say(&["one"]));
    let (mut other, _) = open(&folder);
    let end = other.end(&room);
    other.record_printed(&room, None, end, None).unwrap();
    store.correct_readers(&moment(1, 90_000, YEAR_2026_MS));
    let (reopened, _) = open(&folder);
    assert_eq!(reopened.printed_position(&room, None), Some(end));
}

/// A boot without an id equals no boot.
#[test]
fn without_a_boot_id_only_the_wall_clock_counts() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    store.begin_reader(&general(), None, &Moment::default());
    let start = store
        .reader_starts(&general(), &Moment::default())
        .first()
        .copied();
    let wall = WallTime(0);
    assert_eq!(start, Some(ReaderStart::EarlierBoot { wall }));
}

/// The reader of direct messages has always begun, and a store in memory keeps its readers while
/// the program runs.
#[test]
fn direct_messages_always_have_a_reader() {
    let folder = TempDir::new();
    let (mut disk, _) = open(&folder);
    let own = Identity::from_seed(&[1; 32]).id();
    let mut memory = Store::in_memory(own, NetworkTag::OPEN, StoreLimits::default());
    let direct = FolderName::direct();
    for store in [&mut disk, &mut memory] {
        store.open_folder(&direct).unwrap();
        let printed = store.printed_position(&direct, None);
        assert_eq!(printed, Some(Position::default()));
        store.open_folder(&general()).unwrap();
        assert_eq!(store.printed_position(&general(), None), None);
        store.begin_reader(&general(), None, &moment(1, 5_000, 0));
        store.open_folder(&general()).unwrap();
        let start = store
            .reader_starts(&general(), &moment(1, 7_000, 0))
            .first()
            .copied();
        assert_eq!(start, Some(ReaderStart::SameBoot { at_ms: -2_000 }));
    }
}

/// Printed parts of backlogs survive until the printed position reaches them. Their number is
/// limited, and a backlog within another one is no further one.
#[test]
fn printed_backlogs_survive_up_to_a_limit() {
    let folder = TempDir::new();
    let (mut store, _) = open(&folder);
    let room = general();
    store.begin_reader(&room, None, &Moment::default());
    let mut bob = Author::new(2);
    let start = store.end(&room);
    let mut backlogs = Vec::new();
    for round in 0..10 {
        save(&mut store, &bob.say(&["news"]));
        let key = |lamport| LineKey {
            lamport,
            ..LineKey::MAX
        };
        let backlog = PrintedBacklog {
            folder_end: store.end(&room),
            first: key(100 + round),
            end: key(200),
        };
        backlogs.push(backlog);
        let part = PrintedBacklog {
            end: key(150),
            ..backlog
        };
        for printed in [part, backlog, part] {
            store
                .record_printed(&room, None, start, Some(printed))
                .unwrap();
        }
        assert!(store.printed_backlogs(&room, None).len() <= 8, "{round}");
    }
    backlogs.drain(..2);
    drop(store);
    let (mut store, _) = open(&folder);
    assert_eq!(store.printed_backlogs(&room, None), backlogs);
    let reached = backlogs[6].folder_end;
    store.record_printed(&room, None, reached, None).unwrap();
    drop(store);
    let (mut store, _) = open(&folder);
    assert_eq!(store.printed_backlogs(&room, None), &backlogs[7..]);
    let end = store.end(&room);
    store.record_printed(&room, None, end, None).unwrap();
    let text = std::fs::read(folder.segments("#general")[0].with_file_name("reader")).unwrap();
    assert_eq!(text.len(), 146);
}
