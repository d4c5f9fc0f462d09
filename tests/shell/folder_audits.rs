//! When an audit of a folder begins.
use std::cell::Cell;
use std::sync::Arc;

use p2pchat::base::event::load::Position;
use p2pchat::base::name::{FolderName, Room};
use p2pchat::base::time::Time;
use p2pchat::shell::runtime::folder_audits::FolderAudits;

fn general() -> FolderName {
    FolderName::from(&Room::general())
}

fn end(offset: u64) -> Position {
    Position {
        offset,
        ..Position::default()
    }
}

/// A folder that is opened at 1 s.
fn opened() -> FolderAudits {
    let mut audits = FolderAudits::new(Arc::new(|| {}));
    audits.schedule_first(general(), Time(1_000), end(100));
    audits
}

/// The first milliseconds at which an audit begins, while the folder's end is as `end_at` says.
fn begin(audits: &mut FolderAudits, end_at: impl Fn(u64) -> Position) -> u64 {
    for _ in 0..1_000 {
        let at = audits.deadline().expect("an audit is due");
        if audits.take_due(at, &|_| end_at(at.0)).is_some() {
            return at.0;
        }
    }
    panic!("no audit begins");
}

#[test]
fn a_first_audit_waits_until_the_folder_is_quiet() {
    assert_eq!(begin(&mut opened(), |_| end(100)), 3_000);
    assert_eq!(opened().take_due(Time(2_999), &|_| end(100)), None);
    // Grows until 6 s.
    let pour = |now: u64| end(now.min(6_000));
    assert_eq!(begin(&mut opened(), pour), 9_000);
}

#[test]
fn a_first_audit_of_a_busy_folder_begins_within_a_minute() {
    let looks = Cell::new(101);
    let growing = |_| end(looks.replace(looks.get() + 1));
    assert_eq!(begin(&mut opened(), growing), 61_000);
    assert_eq!(looks.get(), 131);
}

/// A read that found damage does not wait.
#[test]
fn an_audit_for_damage_begins_at_once() {
    let mut audits = opened();
    audits.schedule(general(), Time(1_500));
    assert_eq!(begin(&mut audits, end), 1_500);
    // The interval between two audits.
    audits.schedule(general(), Time(1_600));
    assert_eq!(begin(&mut audits, end), 11_500);
    audits.schedule(general(), Time(30_000));
    audits.schedule_first(general(), Time(30_000), end(0));
    assert_eq!(begin(&mut audits, end), 30_000);
}
