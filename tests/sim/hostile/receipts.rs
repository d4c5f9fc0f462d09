//! Receipts that a relay forwards to an author whose link accepts no bytes.
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::Identity;
use p2pchat::base::range::LogRange;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{HaveEntry, Message};

use super::made_up::made_up_identity;
use super::messages::{forward_receipt, signed_receipt};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry, range_of_one_line};

/// The only node: the relay.
const CAROL: PeerIndex = 0;

/// Carol stores a line of an author, who reads nothing from now on. Two others are linked with her.
struct SlowAuthor {
    lan: Lan,
    author: ScriptedPeer,
    dave: ScriptedPeer,
    mallory: ScriptedPeer,
    line: LogRange,
}

impl SlowAuthor {
    fn new(seed: u64) -> SlowAuthor {
        let mut lan = Lan::new(seed);
        let carol = lan.add_peer("carol");
        lan.start(carol);
        let [mut author, dave, mallory] =
            [1, 2, 3].map(|n| ScriptedPeer::connect(&mut lan, carol, n));
        let batch = author.batch(1, None, "hello");
        author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        lan.run_for(1_000);
        author.receive(&mut lan);
        let stream = author.stream;
        lan.feed(CAROL, Input::Blocked { stream });
        let line = range_of_one_line(author.log(), batch.hash, 1);
        SlowAuthor {
            lan,
            author,
            dave,
            mallory,
            line,
        }
    }

    /// The author says a second line.
    fn say_another(&mut self) {
        let batch = self.author.batch(2, Some(self.line.hash), "again");
        self.author
            .send_frame(&mut self.lan, FrameKind::Batch, batch.as_bytes());
        (self.line.high, self.line.hash) = (2, batch.hash);
    }

    fn dave_acknowledges(&mut self) {
        let holder = ScriptedPeer::identity(2);
        forward_receipt(&mut self.lan, &mut self.dave, &self.line, &holder);
    }

    fn mallory_forwards(&mut self, holder: &Identity) {
        forward_receipt(&mut self.lan, &mut self.mallory, &self.line, holder);
    }

    /// The receipts that the author gets as soon as it reads again.
    fn receipts(&mut self) -> Vec<HaveEntry> {
        let stream = self.author.stream;
        assert_eq!(
            self.lan.peers[CAROL].left_count(self.author.identity.id()),
            0
        );
        self.lan.feed(CAROL, Input::Writable { stream });
        let messages = self.author.receive_messages(&mut self.lan).into_iter();
        let entries = messages.filter_map(|message| match message {
            Message::Have(have) => Some(have.logs),
            _ => None,
        });
        entries.flatten().filter(|it| it.holder.is_some()).collect()
    }
}

/// Receipts that the author gets of 1100 invented keys. The receipt of dave, who has the line, came
/// first, and over another link.
pub fn receipts_for_a_slow_author(seed: u64) -> u64 {
    let mut all = SlowAuthor::new(seed);
    all.dave_acknowledges();
    for holder in (0..1_100).map(made_up_identity) {
        all.mallory_forwards(&holder);
    }
    let receipts = all.receipts();
    let dave = all.dave.identity.id();
    assert!(receipts.iter().any(|it| it.holder == Some(dave)));
    receipts.len() as u64
}

/// A receipt of dave with a false signature.
fn false_receipt(line: &LogRange) -> HaveEntry {
    HaveEntry {
        holder: Some(ScriptedPeer::identity(2).id()),
        signature: Some("A".repeat(86)),
        ..have_entry(line.log.author, line.log.incarnation, 1..=1, line.hash)
    }
}

/// Signatures that are checked of a message with false receipts for a slow author: the number of
/// false ones after which a true one does not wait.
pub fn false_receipts_of_a_message(seed: u64) -> u64 {
    let is_kept = |count: &usize| {
        let mut all = SlowAuthor::new(seed);
        let mut entries = vec![false_receipt(&all.line); *count];
        entries.push(signed_receipt(&all.line, &ScriptedPeer::identity(2)));
        let message = Message::Have(general_have(entries));
        all.mallory.send(&mut all.lan, &message);
        !all.receipts().is_empty()
    };
    (0..=8).filter(is_kept).count() as u64
}

/// Of a holder's receipts, only the newest waits.
#[test]
fn a_newer_receipt_replaces_one_that_waits() {
    let mut all = SlowAuthor::new(1);
    all.dave_acknowledges();
    all.say_another();
    all.dave_acknowledges();
    let receipts = all.receipts();
    assert_eq!(receipts.iter().map(|it| it.high).collect::<Vec<_>>(), [2]);
}

/// A relay that forwards true and false receipts does not replace the true ones, nor do they fill
/// the table.
#[test]
fn a_receipt_with_a_false_signature_does_not_wait() {
    let mut all = SlowAuthor::new(2);
    let dave = ScriptedPeer::identity(2);
    all.mallory_forwards(&dave);
    let false_receipt = Message::Have(general_have(vec![false_receipt(&all.line)]));
    all.mallory.send(&mut all.lan, &false_receipt);
    let receipts = all.receipts();
    assert_eq!(receipts.len(), 1);
    assert_ne!(receipts[0].signature, Some("A".repeat(86)));
}

/// What one neighbour forwards does not replace what another one has.
#[test]
fn one_receipt_of_each_neighbour_waits_and_is_forwarded_once() {
    let mut all = SlowAuthor::new(3);
    all.dave_acknowledges();
    all.mallory_forwards(&ScriptedPeer::identity(2));
    assert_eq!(all.receipts().len(), 1);
}
