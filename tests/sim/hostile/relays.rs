//! Hostile relays: they stand between an author and a reader, and withhold the content of lines.
use p2pchat::base::name::Room;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::Message;

use crate::batches;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::relay::{Relay, author_and_reader, delivered_count};

/// The heads of the reader's logs, and the number of stored batches without content.
fn stored_lines(lan: &Lan, who: PeerIndex) -> (Vec<(u64, u64)>, usize) {
    let ranges = lan.peers[who].disk.ranges(&Room::general());
    let ranges = ranges.iter().map(|range| (range.low, range.high)).collect();
    let entries = lan.peers[who].disk.entries();
    (
        ranges,
        entries.filter(|entry| entry.batch.is_withheld()).count(),
    )
}

/// A reader behind a hostile relay acknowledges no line that it lacks.
#[test]
fn a_withheld_line_is_not_acknowledged() {
    let (mut lan, [alice, bob, _]) = author_and_reader(1);
    let mut relay = Relay::connect(&mut lan, 1, alice, bob);
    let one = relay.take_line(&mut lan, "one");
    relay.forward(&mut lan, &one, one.as_bytes());
    relay.forward_receipts(&mut lan);
    assert_eq!(delivered_count(&lan, alice, bob), 1);
    let two = relay.take_line(&mut lan, "two");
    lan.finish(alice, Some(1));
    for _ in 0..4 {
        relay.forward(&mut lan, &two, &batches::withheld(&two));
        relay.forward_receipts(&mut lan);
    }
    assert_eq!(delivered_count(&lan, alice, bob), 1, "bob lacks the line");
    assert!(!lan.peers[alice].is_settled());
    assert_eq!(stored_lines(&lan, bob), (vec![(1, 1)], 0));
    relay.forward(&mut lan, &two, two.as_bytes());
    relay.forward_receipts(&mut lan);
    assert_eq!(stored_lines(&lan, bob), (vec![(1, 2)], 0));
    assert_eq!(delivered_count(&lan, alice, bob), 2);
    assert!(lan.peers[alice].is_settled(), "bob has the line");
}

/// A withheld line is shown as a gap when a later line arrives, and not before.
#[test]
fn a_withheld_line_is_shown_as_a_gap_before_a_later_line() {
    let (mut lan, [alice, bob, _]) = author_and_reader(5);
    let mut relay = Relay::connect(&mut lan, 1, alice, bob);
    let one = relay.take_line(&mut lan, "one");
    relay.forward(&mut lan, &one, one.as_bytes());
    let two = relay.take_line(&mut lan, "two");
    relay.forward(&mut lan, &two, &batches::withheld(&two));
    assert_eq!(lan.peers[bob].gap_count(), 0);
    let three = relay.take_line(&mut lan, "three");
    relay.forward(&mut lan, &three, three.as_bytes());
    assert_eq!(lan.peers[bob].gap_count(), 1);
    assert_eq!(lan.peers[bob].received(), ["one", "three"]);
    assert_eq!(stored_lines(&lan, bob), (vec![(3, 3)], 0));
}

/// A withheld line arrives over any other path, whether the relay withholds the head or sends
/// later lines.
#[test]
fn a_withheld_line_arrives_over_another_path() {
    for sends_later_line in [false, true] {
        let (mut lan, [alice, bob, carol]) = author_and_reader(2);
        let mut relay = Relay::connect(&mut lan, 1, alice, bob);
        let one = relay.take_line(&mut lan, "one");
        relay.forward(&mut lan, &one, one.as_bytes());
        let two = relay.take_line(&mut lan, "two");
        relay.forward(&mut lan, &two, &batches::withheld(&two));
        if sends_later_line {
            let three = relay.take_line(&mut lan, "three");
            relay.forward(&mut lan, &three, three.as_bytes());
            assert_eq!(lan.peers[bob].gap_count(), 1);
        }
        lan.start(carol);
        lan.run_until("the line arrives", 35_000, |lan| {
            // The relay goes on, which does not count as progress.
            relay
                .to_reader
                .send_frame(lan, FrameKind::Batch, &batches::withheld(&two));
            lan.peers[bob].received().contains(&"two".to_owned())
        });
        lan.run_for(1_000);
        let (ranges, withheld) = stored_lines(&lan, bob);
        assert_eq!((ranges[0].0, withheld), (1, 0));
        // Live lines too.
        let four = relay.take_line(&mut lan, "four");
        relay.forward(&mut lan, &four, &batches::withheld(&four));
        lan.run_until("the line arrives", 5_000, |lan| {
            lan.peers[bob].received().contains(&"four".to_owned())
        });
    }
}

/// Two relays that withhold a line are asked in turn, less and less often.
#[test]
fn withholding_sources_are_asked_at_a_bounded_rate() {
    let (mut lan, [alice, bob, _]) = author_and_reader(3);
    let mut relays = [1, 2].map(|n| Relay::connect(&mut lan, n, alice, bob));
    let one = relays[0].take_line(&mut lan, "one");
    let mut wants = 0;
    for relay in &mut relays {
        relay.forward(&mut lan, &one, &batches::withheld(&one));
    }
    for _ in 0..80 {
        for relay in &mut relays {
            let messages = relay.to_reader.receive_messages(&mut lan).into_iter();
            let asked = messages.filter(|message| {
                matches!(message, Message::Want { logs, .. } if logs.iter().any(|it| it.from > 0))
            });
            let asked = asked.count();
            wants += asked;
            for _ in 0..asked {
                relay.forward(&mut lan, &one, &batches::withheld(&one));
            }
        }
        lan.run_for(100);
    }
    assert!((4..16).contains(&wants), "{wants} requests");
    assert_eq!(stored_lines(&lan, bob), (vec![], 0));
}

/// A source that withholds the lines of a gap cannot fill it, and another can.
#[test]
fn a_withheld_line_does_not_fill_a_gap() {
    let (mut lan, [alice, bob, carol]) = author_and_reader(4);
    let mut relay = Relay::connect(&mut lan, 1, alice, bob);
    let one = relay.take_line(&mut lan, "one");
    let two = relay.take_line(&mut lan, "two");
    let three = relay.take_line(&mut lan, "three");
    relay.forward(&mut lan, &one, one.as_bytes());
    relay.forward(&mut lan, &two, &batches::withheld(&two));
    relay.forward(&mut lan, &three, three.as_bytes());
    assert_eq!(lan.peers[bob].gap_count(), 1);
    let mut asked = 0;
    for _ in 0..4 {
        let messages = relay.to_reader.receive_messages(&mut lan).into_iter();
        let wants = messages.filter(|message| {
            matches!(message, Message::Want { logs, .. } if logs.iter().any(|it| it.to == 2))
        });
        asked += wants.count();
        // The relay offers the lines of the gap, and withholds them.
        relay.forward(&mut lan, &three, &batches::withheld(&two));
    }
    assert_eq!(asked, 1, "a gap is requested once");
    assert_eq!(stored_lines(&lan, bob), (vec![(3, 3)], 0));
    lan.start(carol);
    lan.run_until("the gap is filled", 35_000, |lan| {
        stored_lines(lan, bob) == (vec![(1, 3)], 0)
    });
    assert_eq!(lan.peers[bob].received(), ["one", "three", "two"]);
}

/// A neighbour that repeats a route over and over causes no signature for each repetition.
#[test]
fn a_repeated_route_repeats_no_receipts() {
    let (mut lan, [alice, bob, _]) = author_and_reader(7);
    let mut relay = Relay::connect(&mut lan, 1, alice, bob);
    let one = relay.take_line(&mut lan, "one");
    relay.forward(&mut lan, &one, one.as_bytes());
    relay.to_reader.receive(&mut lan);
    let mut receipts = 0;
    for _ in 0..50 {
        relay.advertise_author(&mut lan);
        lan.run_for(100);
        for message in relay.to_reader.receive_messages(&mut lan) {
            let Message::Have(have) = message else {
                continue;
            };
            receipts += have
                .logs
                .iter()
                .filter(|entry| entry.signature.is_some())
                .count();
        }
    }
    assert_eq!(receipts, 1, "one for the new route");
}
