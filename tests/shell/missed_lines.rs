//! Lines that were said while the user was away: which they are, in which order they are shown, and
//! when they count as printed.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::load::Position;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::{Now, Time, WallTime};
use p2pchat::shell::session::frontend::missed_lines::{
    MISSED_LINES_SHOWN, MissedLines, ShownLines,
};
use p2pchat::ui::session_event::{Arrival, ChatLines, FolderCursor};

const STARTED: i64 = 1_800_000_000_000;

fn at(ms: u64) -> Time {
    Time(1000 + ms)
}

fn started() -> MissedLines {
    let mut missed = MissedLines::default();
    missed.begin_turn(Now {
        time: at(0),
        wall: WallTime(STARTED),
    });
    missed
}

/// Lines of an author, in one batch whose first line has this Lamport number.
fn lines(author: u8, lamport: u64, texts: &[String]) -> ChatLines {
    ChatLines {
        log: LogId {
            target: Target::Room(Room::general()),
            author: PeerId([author; 32]),
            incarnation: 1,
        },
        username: Nick::new("bob").unwrap(),
        sequence: 1,
        lamport,
        timestamp: WallTime(STARTED - 5000),
        form: LineForm::Text,
        arrival: Some(Arrival {
            received: WallTime(STARTED + 10),
            late: true,
            ..Arrival::default()
        }),
        text: (texts.join("\n") + "\n").into(),
    }
}

fn numbered(word: &str, count: usize) -> Vec<String> {
    (1..=count).map(|i| format!("{word} {i}")).collect()
}

fn texts(shown: &ShownLines) -> Vec<&str> {
    shown
        .lines
        .iter()
        .flat_map(|chat| chat.text.lines())
        .collect()
}

/// Late lines are missed, and lines that were stored before the start. Direct messages, own lines,
/// backlogs and live lines are none.
#[test]
fn late_and_stored_lines_are_missed() {
    let missed = started();
    let late = lines(2, 1, &numbered("a", 1));
    assert!(missed.is_missed(&late));
    let with = |received, late_line, is_own, is_backlog| ChatLines {
        arrival: Some(Arrival {
            received: WallTime(received),
            late: late_line,
            is_own,
            is_backlog,
        }),
        ..late.clone()
    };
    assert!(missed.is_missed(&with(STARTED - 1, false, false, false)));
    let mut sent = late.clone();
    sent.timestamp = WallTime(STARTED);
    assert!(!missed.is_missed(&sent), "said while the user was here");
    assert!(
        !missed.is_missed(&with(STARTED, false, false, false)),
        "live"
    );
    assert!(
        !missed.is_missed(&with(STARTED - 1, true, true, false)),
        "own"
    );
    assert!(
        !missed.is_missed(&with(STARTED - 1, true, false, true)),
        "backlog"
    );
    let mut direct = late.clone();
    direct.log.target = Target::Peer(PeerId([1; 32]));
    assert!(!missed.is_missed(&direct));
}

/// A line that was said during this run is late if it came a minute later, and not before.
#[test]
fn lines_that_were_just_said_are_live() {
    let missed = started();
    let is_late = |said, received| {
        let mut chat = lines(2, 1, &numbered("a", 1));
        chat.timestamp = WallTime(said);
        chat.arrival.as_mut().unwrap().received = WallTime(received);
        missed.mark_live(&mut chat);
        chat.arrival.unwrap().late
    };
    assert!(!is_late(STARTED, STARTED + 59_999));
    assert!(!is_late(STARTED + 99, STARTED), "by another clock");
    assert!(!is_late(i64::MAX, i64::MIN) && is_late(STARTED, i64::MAX));
    assert!(is_late(STARTED, STARTED + 60_000));
    assert!(is_late(STARTED - 1, STARTED + 1), "before this run");
    assert!(is_late(STARTED, 0), "nobody knows when it came");
}

/// The lines of all authors are shown in the total order, the newest 40 of them, however large
/// their batches are.
#[test]
fn the_newest_lines_are_shown_in_the_total_order() {
    let mut missed = started();
    missed.add(lines(2, 1000, &numbered("b", 1000)), at(1));
    missed.add(lines(3, 1960, &numbered("c", 2)), at(2));
    missed.add(lines(4, 5, &numbered("old", 500)), at(3));
    let shown = missed.take();
    let heading = "--- 1 502 lines while you were away; the last 40:";
    assert_eq!(shown.heading.as_deref(), Some(heading));
    assert_eq!(shown.lines.len(), MISSED_LINES_SHOWN);
    let texts = texts(&shown);
    assert_eq!((texts[1], texts[39]), ("c 2", "b 1000"), "{texts:?}");
    let first = shown.first_of(&Room::general()).unwrap();
    assert_eq!((first.lamport, first.sequence), (1961, 962));
    assert!(missed.is_empty() && missed.deadline().is_none());
}

/// They are shown when no more come, and not later than after 3 s.
#[test]
fn missed_lines_wait_for_others() {
    let mut missed = started();
    assert_eq!(missed.deadline(), None);
    for ms in [0, 200, 400] {
        missed.add(lines(2, ms + 1, &numbered("a", 1)), at(ms));
        assert_eq!(missed.deadline(), Some(at(ms + 300)));
    }
    for ms in (600..=2900).step_by(100) {
        missed.add(lines(2, ms + 1, &numbered("a", 1)), at(ms));
    }
    assert_eq!(missed.deadline(), Some(at(3000)));
}

/// Only the first lines after the start, and cut ones, have a heading.
#[test]
fn the_heading_is_for_who_was_away() {
    let mut missed = started();
    missed.add(lines(2, 1, &numbered("a", 1)), at(59_000));
    let heading = missed.take().heading;
    assert_eq!(heading.as_deref(), Some("--- 1 line while you were away:"));
    missed.add(lines(2, 2, &numbered("a", 7)), at(59_500));
    assert_eq!(missed.take().heading, None);
    missed.add(lines(2, 9, &numbered("a", 41)), at(100_000));
    let heading = missed.take().heading;
    let cut = "--- 41 lines while you were away; the last 40:";
    assert_eq!(heading.as_deref(), Some(cut));
    let mut missed = started();
    missed.add(lines(2, 1, &numbered("a", 1)), at(60_000));
    assert_eq!(missed.take().heading, None, "a link failed meanwhile");
}

/// A place counts as printed when the lines before it are shown; the last one of a folder counts.
#[test]
fn waiting_lines_are_not_printed_yet() {
    let mut missed = started();
    missed.add(lines(2, 1, &numbered("a", 1)), at(1));
    let cursor = |offset| {
        FolderCursor::at(Position {
            offset,
            ..Position::default()
        })
    };
    let general = FolderName::from(&Room::general());
    missed.record_printed(general.clone(), cursor(10));
    missed.record_printed(FolderName::direct(), cursor(5));
    missed.record_printed(general.clone(), cursor(20));
    let printed = missed.take().printed;
    assert_eq!(
        printed,
        [(general, cursor(20)), (FolderName::direct(), cursor(5))]
    );
    assert!(missed.take().printed.is_empty());
}
