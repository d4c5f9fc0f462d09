//! Floods of an author at a carrier, for the table of bounds.
use p2pchat::base::batch::{Batch, LogId, UnsignedBatch};
use p2pchat::base::identity::{Hash, NetworkTag, PeerId};
use p2pchat::base::name::Target;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Have, HaveEntry, Message, WantEntry, format_incarnation};

use crate::support::lan::Lan;
use crate::support::peer::lines;
use crate::support::scripted_peer::{ScriptedPeer, have_entry};

/// Number of an author's logs in these floods.
const LOGS: u64 = 400;

/// Carol, linked with an author and a recipient.
fn carol_between(seed: u64) -> (Lan, ScriptedPeer, ScriptedPeer) {
    let mut lan = Lan::new(seed);
    let carol = lan.add_peer("carol");
    lan.start(carol);
    let author = ScriptedPeer::connect(&mut lan, carol, 1);
    let recipient = ScriptedPeer::connect(&mut lan, carol, 2);
    (lan, author, recipient)
}

/// Sends `have` entries about direct logs to `to`.
fn send_have(lan: &mut Lan, from: &mut ScriptedPeer, to: PeerId, entries: &[HaveEntry]) {
    for logs in entries.chunks(256) {
        let have = Have {
            target: format!("@{to}"),
            logs: logs.to_vec(),
            ..Have::default()
        };
        from.send(lan, &Message::Have(have));
    }
}

/// Offers of delivered logs that reach the recipient at once. The author makes 400.
pub fn offers_passed_on(seed: u64) -> u64 {
    let (mut lan, mut author, mut recipient) = carol_between(seed);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
    let offers = (1..=LOGS).map(|n| have_entry(from, n, 2..=1, Hash([1; 32])));
    let offers: Vec<HaveEntry> = offers.collect();
    send_have(&mut lan, &mut author, to, &offers);
    let passed_on = |lan: &mut Lan, recipient: &mut ScriptedPeer| {
        let messages = recipient.receive_messages(lan).into_iter();
        let entries = messages.map(|message| match message {
            Message::Have(have) => have.logs.len() as u64,
            _ => 0,
        });
        entries.sum::<u64>()
    };
    let at_once = passed_on(&mut lan, &mut recipient);
    lan.run_for(1_000);
    send_have(&mut lan, &mut author, to, &offers[300..]);
    assert_eq!(passed_on(&mut lan, &mut recipient), 100, "a second later");
    at_once
}

/// A batch of `count` lines to `to`, in the author's log with this incarnation.
fn letters(author: &ScriptedPeer, to: PeerId, log: u64, after: Option<&Batch>, n: usize) -> Batch {
    let text = lines(&vec!["x"; n]);
    let sequence = after.map_or(1, |batch| batch.last_sequence() + 1);
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Peer(to),
            author: author.identity.id(),
            incarnation: log,
        },
        sealed: Some("AAAA"),
        ..author.unsigned_batch(sequence, after.map(|batch| batch.hash), &text)
    };
    Batch::sign(&author.identity, &NetworkTag::OPEN, draft)
}

/// The entries of the requests that carol sent to the author.
fn wants(lan: &mut Lan, author: &mut ScriptedPeer) -> Vec<WantEntry> {
    let messages = author.receive_messages(lan).into_iter();
    let wants = messages.filter_map(|message| match message {
        Message::Want { logs, .. } => Some(logs),
        _ => None,
    });
    wants.flatten().collect()
}

/// The author offers 400 logs. The first one takes all places for the recipient, so carol refuses
/// the batches of the others. The last batch of the first log, and the requests that she ended.
fn refused_logs(lan: &mut Lan, author: &mut ScriptedPeer, to: PeerId) -> (Batch, u64) {
    let from = author.identity.id();
    let offers = (1..=LOGS).map(|log| have_entry(from, log, 1..=1, Hash([1; 32])));
    send_have(lan, author, to, &offers.collect::<Vec<_>>());
    let mut last: Option<Batch> = None;
    for _ in 0..4 {
        let batch = letters(author, to, 1, last.as_ref(), 250);
        author.send_frame(lan, FrameKind::Batch, batch.as_bytes());
        last = Some(batch);
    }
    wants(lan, author);
    for log in 2..=LOGS {
        let batch = letters(author, to, log, None, 1);
        author.send_frame(lan, FrameKind::Batch, batch.as_bytes());
    }
    let ended = wants(lan, author)
        .iter()
        .filter(|want| want.from == 0)
        .count();
    (last.expect("a batch"), ended as u64)
}

/// Requests for logs that carol remembers to make again, of 399 that she ended.
pub fn paused_requests(seed: u64) -> u64 {
    let (mut lan, mut author, recipient) = carol_between(seed);
    refused_logs(&mut lan, &mut author, recipient.identity.id()).1
}

/// Requests that one acknowledgement of the recipient makes carol repeat.
pub fn requests_resumed_at_once(seed: u64) -> u64 {
    let (mut lan, mut author, mut recipient) = carol_between(seed);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let (last, _) = refused_logs(&mut lan, &mut author, to);
    let ack = have_entry(from, 1, 1..=1_000, last.hash);
    send_have(&mut lan, &mut recipient, to, &[ack]);
    let resumed = wants(&mut lan, &mut author);
    assert!(resumed.iter().all(|want| want.from == 1));
    assert!(!resumed.is_empty());
    resumed.len() as u64
}

/// Requests to the author that a recipient causes, which requests 100 times lines of a log that
/// carol does not store.
pub fn requests_for_a_recipient(seed: u64) -> u64 {
    let (mut lan, mut author, mut recipient) = carol_between(seed);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let offer = have_entry(from, 1, 1_000..=1_000, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[offer]);
    assert_eq!(wants(&mut lan, &mut author).len(), 1);
    for line in 1..=100 {
        let want = WantEntry {
            sender: from,
            incarnation: format_incarnation(1),
            from: line,
            to: 0,
        };
        let (target, logs) = (format!("@{to}"), vec![want]);
        recipient.send(&mut lan, &Message::Want { target, logs });
    }
    wants(&mut lan, &mut author).len() as u64
}
