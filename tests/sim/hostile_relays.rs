//! Hostile relays: they stand between an author and a reader, and withhold the content of lines.
use p2pchat::base::batch::Batch;
use p2pchat::base::event::Notice;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::name::Room;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{HaveEntry, Member, Members, Message};

use crate::batches;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// A scripted peer with one link to an author and one to a reader.
struct Relay {
    to_author: ScriptedPeer,
    to_reader: ScriptedPeer,
    author: PeerIndex,
    reader: PeerIndex,
}

impl Relay {
    /// Connects to both. Tells the author that the reader is in reach.
    fn connect(lan: &mut Lan, n: u64, author: PeerIndex, reader: PeerIndex) -> Relay {
        let mut relay = Relay {
            to_author: ScriptedPeer::connect(lan, author, n),
            to_reader: ScriptedPeer::connect(lan, reader, n),
            author,
            reader,
        };
        let member = Member {
            peer: lan.id(reader),
            username: "bob".into(),
            run: 8,
            hops: 1,
            via: None,
        };
        let members = Members {
            target: "#general".into(),
            here: vec![member],
            gone: Vec::new(),
        };
        relay.to_author.send(lan, &Message::Members(members));
        relay
    }

    /// The author says a line; the batch that the author sent to the relay.
    fn take_line(&mut self, lan: &mut Lan, text: &str) -> Batch {
        lan.say(self.author, text);
        let frames = self.to_author.receive(lan).into_iter();
        let mut batches = frames.filter(|frame| frame.kind == FrameKind::Batch);
        let bytes = batches.next().expect("a batch").payload.to_vec();
        Batch::parse(bytes, &NetworkTag::OPEN).expect("a batch")
    }

    /// Offers the log up to this batch to the reader, and sends these bytes for the batch.
    fn forward(&mut self, lan: &mut Lan, batch: &Batch, bytes: &[u8]) {
        let log = &batch.log;
        let lines = 1..=batch.last_sequence();
        let entry = have_entry(log.author, log.incarnation, lines, batch.hash);
        let have = Message::Have(general_have(vec![entry]));
        self.to_reader.send(lan, &have);
        self.to_reader.send_frame(lan, FrameKind::Batch, bytes);
        lan.run_for(1_000);
    }

    /// Forwards the reader's receipts to the author.
    fn forward_receipts(&mut self, lan: &mut Lan) {
        for message in self.to_reader.receive_messages(lan) {
            let Message::Have(mut have) = message else {
                continue;
            };
            have.digest = None;
            have.logs = have
                .logs
                .into_iter()
                .filter_map(|entry| {
                    entry.signature.is_some().then(|| HaveEntry {
                        holder: Some(lan.id(self.reader)),
                        ..entry
                    })
                })
                .collect();
            self.to_author.send(lan, &Message::Have(have));
        }
    }
}

/// How often the author reported that a peer stores its lines.
fn delivered_count(lan: &Lan, author: PeerIndex, holder: PeerIndex) -> usize {
    let id = lan.id(holder);
    let delivered = |n: &&Notice| matches!(n, Notice::Delivered { peer, .. } if peer.id == id);
    lan.peers[author].notices_of_run().filter(delivered).count()
}

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

/// An author and a reader who have no link to each other.
fn author_and_reader(seed: u64) -> (Lan, [PeerIndex; 3]) {
    let mut lan = Lan::new(seed);
    let peers = lan.add_peers(["alice", "bob", "carol"]);
    let [alice, bob, _] = peers;
    lan.cut(alice, bob);
    lan.start_all([alice, bob]);
    lan.run_for(500);
    (lan, peers)
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
