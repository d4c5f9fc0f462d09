//! The records of what is known of each log on each link: their bounds, and when they end.
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{Room, Target};
use p2pchat::base::time::Time;
use p2pchat::node::replication::bisection::Bisection;
use p2pchat::node::replication::progress::progress::{
    BISECTIONS_MAX, CURSORS_MAX, EVIDENCE_MAX, EVIDENCE_PER_LINK_MAX, OFFERS_PER_LINK_MAX,
    REFUSALS_MAX, REQUESTS_PER_LINK_MAX,
};
use p2pchat::node::replication::progress::progress_state::{
    FetchState, LogRequest, Offer, SendCursor, SendState,
};
use p2pchat::node::replication::progress::progress_table::{GAP_OFFERS_MAX, ProgressTable};

const LINKS: usize = 64;

fn stream(number: usize) -> StreamId {
    StreamId::accepted(number as u64)
}

fn log_to(room: &Room, number: usize) -> LogId {
    LogId {
        target: Target::Room(room.clone()),
        author: PeerId([7; 32]),
        incarnation: number as u64,
    }
}

fn log(number: usize) -> LogId {
    log_to(&Room::general(), number)
}

/// Fills records over 64 links until `fill` refuses one. Returns the number of filled records.
fn fill_up(max: usize, mut fill: impl FnMut(StreamId, &LogId) -> bool) -> usize {
    let mut filled = 0..2 * max;
    let refused = filled.find(|number| !fill(stream(number % LINKS), &log(number / LINKS)));
    refused.expect("a bound")
}

fn requested() -> SendState {
    SendState::Requested(Box::new(SendCursor::new(1, 1)))
}

/// The peers of 64 links may request 65 536 logs together.
#[test]
fn cursors_are_bounded() {
    let mut table = ProgressTable::default();
    let filled = fill_up(CURSORS_MAX, |stream, log| {
        table.set_send(stream, log, requested())
    });
    assert_eq!(filled, CURSORS_MAX);
}

/// Links that take all cursors leave its share to another one, an 80th.
#[test]
fn a_link_always_has_its_share_of_the_cursors() {
    let mut table = ProgressTable::default();
    for number in 0..CURSORS_MAX {
        assert!(table.set_send(stream(number % 5), &log(number / 5), requested()));
    }
    assert!(!table.set_send(stream(0), &log(CURSORS_MAX), requested()));
    let mut numbers = 0..CURSORS_MAX;
    let refused = numbers.find(|number| !table.set_send(stream(5), &log(*number), requested()));
    assert_eq!(refused, Some(CURSORS_MAX / 80));
}

fn offer() -> Offer {
    Offer {
        low: 1,
        high: 9,
        offered_at: Time(0),
        tries: 0,
    }
}

fn request(offer: Option<Offer>) -> FetchState {
    FetchState::Requested(Box::new(LogRequest {
        offer,
        ..LogRequest::new(1, Time(0))
    }))
}

/// One link may offer 2048 logs, whether they are requested or not. Another link still has its own
/// places.
#[test]
fn offers_of_one_link_are_bounded() {
    let mut table = ProgressTable::default();
    for number in 0..OFFERS_PER_LINK_MAX {
        assert!(table.set_offer(stream(1), &log(number), Some(offer())));
    }
    assert!(table.set_fetch(stream(1), &log(0), request(Some(offer()))));
    let other = log(OFFERS_PER_LINK_MAX);
    assert!(!table.set_offer(stream(1), &other, Some(offer())));
    assert!(table.set_fetch(stream(1), &other, request(None)));
    assert!(!table.set_offer(stream(1), &other, Some(offer())));
    assert!(table.set_offer(stream(2), &other, Some(offer())));
    table.forget_offers(&|offered, _| *offered == log(0));
    assert!(table.set_offer(stream(1), &other, Some(offer())));
}

/// Over one link, 4096 logs are requested.
#[test]
fn requests_over_one_link_are_bounded() {
    let mut table = ProgressTable::default();
    for number in 0..REQUESTS_PER_LINK_MAX {
        assert!(table.set_fetch(stream(1), &log(number), request(None)));
    }
    let other = log(REQUESTS_PER_LINK_MAX);
    assert!(!table.set_fetch(stream(1), &other, request(None)));
    assert!(table.set_fetch(stream(2), &other, request(None)));
}

/// Who contradicts us is no source: offers in a state of distrust have no effect.
#[test]
fn a_distrusted_link_offers_nothing() {
    let states: [fn() -> FetchState; 3] = [
        || FetchState::EvidenceWanted(1),
        || FetchState::Comparing(Box::new(Bisection::new(1, 9))),
        || FetchState::Refused,
    ];
    for state in states {
        let mut table = ProgressTable::default();
        table.set_fetch(stream(1), &log(1), state());
        assert!(!table.set_offer(stream(1), &log(1), Some(offer())));
        assert!(table.get(stream(1), &log(1)).offer().is_none());
        assert!(table.offered().is_empty());
    }
}

/// Each kind of distrust is bounded, because a peer can claim anything.
#[test]
fn distrust_is_bounded() {
    let states: [(usize, fn() -> FetchState); 3] = [
        (EVIDENCE_MAX, || FetchState::EvidenceWanted(1)),
        (BISECTIONS_MAX, || {
            FetchState::Comparing(Box::new(Bisection::new(1, 9)))
        }),
        (REFUSALS_MAX, || FetchState::Refused),
    ];
    for (max, state) in states {
        let mut table = ProgressTable::default();
        let filled = fill_up(max, |stream, log| table.set_fetch(stream, log, state()));
        assert_eq!(filled, max);
    }
}

/// One link may take 16 places for evidence. Another link still has its own.
#[test]
fn evidence_over_one_link_is_bounded() {
    let mut table = ProgressTable::default();
    let mut want =
        |link, number| table.set_fetch(stream(link), &log(number), FetchState::EvidenceWanted(1));
    assert!((0..EVIDENCE_PER_LINK_MAX).all(|number| want(1, number)));
    assert!(!want(1, EVIDENCE_PER_LINK_MAX));
    assert!(want(2, EVIDENCE_PER_LINK_MAX));
}

/// Offers to fill gaps are bounded. A repeated offer takes no new place.
#[test]
fn gap_offers_are_bounded() {
    let mut table = ProgressTable::default();
    let filled = fill_up(GAP_OFFERS_MAX, |stream, log| {
        table.set_gap_lines(stream, log, 1..=9)
    });
    assert_eq!(filled, GAP_OFFERS_MAX);
    assert!(table.set_gap_lines(stream(0), &log(0), 1..=8));
}

/// A refused change has no effect, and a change of the same record needs no new place.
#[test]
fn a_full_table_keeps_its_records() {
    let mut table = ProgressTable::default();
    fill_up(EVIDENCE_MAX, |stream, log| {
        table.set_fetch(stream, log, FetchState::EvidenceWanted(1))
    });
    let other = log(EVIDENCE_MAX);
    assert!(!table.set_fetch(stream(0), &other, FetchState::EvidenceWanted(1)));
    assert!(matches!(
        table.get(stream(0), &other).fetch(),
        FetchState::Idle
    ));
    assert!(table.set_fetch(stream(0), &log(0), FetchState::EvidenceWanted(2)));
    // A record that leaves the state makes a place.
    assert!(table.set_fetch(stream(0), &log(0), FetchState::Refused));
    assert!(table.set_fetch(stream(0), &other, FetchState::EvidenceWanted(1)));
}

/// When a link ends or no longer shares a room, everything about it is forgotten, and its places
/// are free again.
#[test]
fn a_link_that_ends_leaves_nothing() {
    let ops = Room::new("#ops").expect("a room");
    let (ours, other) = (stream(1), stream(2));
    let mut table = ProgressTable::default();
    for room in [&Room::general(), &ops] {
        for stream in [ours, other] {
            let log = log_to(room, 1);
            table.set_send(stream, &log, requested());
            table.set_fetch(stream, &log, FetchState::Refused);
            table.set_gap_lines(stream, &log, 1..=9);
            table.link_mut(stream).lagging.insert(log);
        }
    }
    let is_known = |table: &ProgressTable, stream, room: &Room| {
        let record = table.get(stream, &log_to(room, 1));
        let is_known = record.cursor().is_some();
        assert_eq!(is_known, matches!(record.fetch(), FetchState::Refused));
        assert_eq!(is_known, record.gap_lines().is_some());
        is_known
    };
    let mut lost = Vec::new();
    table.forget(ours, Some(&ops), &mut lost);
    assert!(!is_known(&table, ours, &ops));
    assert!(is_known(&table, ours, &Room::general()));
    assert!(is_known(&table, other, &ops));
    table.forget(ours, None, &mut lost);
    assert!(!is_known(&table, ours, &Room::general()));
    let links: Vec<StreamId> = table.links().map(|(stream, _)| stream).collect();
    assert_eq!(links, [other]);
    let (key, _) = table
        .first_gap_offer()
        .expect("the offer of the other link");
    assert_eq!(key.stream, other);
    let requested_log = log_to(&ops, 2);
    table.set_fetch(other, &requested_log, request(None));
    table.forget(other, None, &mut lost);
    assert_eq!(lost, [requested_log]);
    assert!(table.first_gap_offer().is_none());
    // The counts have followed.
    let filled = fill_up(CURSORS_MAX, |stream, log| {
        table.set_send(stream, log, requested())
    });
    assert_eq!(filled, CURSORS_MAX);
}

/// When a log is no longer stored, nothing of it is sent any more, and its places are free again. It
/// may still be requested.
#[test]
fn a_forgotten_log_frees_its_places() {
    let mut table = ProgressTable::default();
    fill_up(CURSORS_MAX, |stream, log| {
        table.set_send(stream, log, requested())
    });
    table.set_fetch(stream(1), &log(0), request(None));
    table.set_gap_lines(stream(1), &log(0), 1..=9);
    let other = log(CURSORS_MAX);
    assert!(!table.set_send(stream(1), &other, requested()));
    table.forget_log(&log(0));
    assert!(table.get(stream(1), &log(0)).cursor().is_none());
    assert!(table.get(stream(1), &log(0)).request().is_some());
    assert!(table.first_gap_offer().is_none());
    for number in 0..LINKS {
        assert!(table.set_send(stream(number), &other, requested()));
    }
    assert!(!table.set_send(stream(1), &log(CURSORS_MAX + 1), requested()));
}

/// A record that says nothing takes no memory.
#[test]
fn an_idle_record_ends() {
    let mut table = ProgressTable::default();
    table.set_send(stream(1), &log(1), requested());
    table.set_send(stream(1), &log(1), SendState::Idle);
    assert!(table.get_mut(stream(1), &log(1)).is_none());
    assert!(std::mem::size_of_val(table.get(stream(1), &log(1))) <= 80);
}
