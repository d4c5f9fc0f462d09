//! Floods of messages over a link, for the table of bounds: what one peer makes us remember,
//! request and answer.
use std::ops::RangeInclusive;

use data_encoding::BASE64URL_NOPAD;
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::Output;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::name::{PeerSelector, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{ByeReason, HaveEntry, Message, receipt};

use super::made_up::{made_up_identity, made_up_peer};
use super::peers::begin_log;
use super::presence::advertise;
use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines};
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// Alice, and Mallory who is linked with her.
pub fn alice_and_mallory(seed: u64) -> (Lan, PeerIndex, ScriptedPeer) {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    (lan, alice, mallory)
}

/// The entries of all have messages from the node since the last call.
fn received_entries(lan: &mut Lan, peer: &mut ScriptedPeer) -> Vec<Vec<HaveEntry>> {
    let messages = peer.receive_messages(lan).into_iter();
    let haves = messages.filter_map(|message| match message {
        Message::Have(have) if !have.logs.is_empty() => Some(have.logs),
        _ => None,
    });
    haves.collect()
}

/// The number of logs that the node has requested since the last call.
fn requested_logs(lan: &mut Lan, peer: &mut ScriptedPeer) -> u64 {
    let messages = peer.receive_messages(lan).into_iter();
    let wants = messages.map(|message| match message {
        Message::Want { logs, .. } => logs.iter().filter(|want| want.from > 0).count() as u64,
        _ => 0,
    });
    wants.sum()
}

/// Peers that alice knows through a neighbour, who advertises 4000 made-up members.
pub fn members_of_a_neighbour(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    advertise(&mut lan, &mut mallory, 0, 4_000, true);
    lan.feed(alice, Input::Command(Command::Peers));
    let rows = lan.peers[alice].notices_of_run().last();
    let Some(Notice::Peers(rows)) = rows else {
        panic!("{rows:?}");
    };
    // One row is the neighbour.
    rows.len() as u64 - 1
}

/// Offers of the first lines of these logs. Their author is `author`, or each has another one.
fn offers(logs: RangeInclusive<u64>, author: Option<PeerId>) -> Message {
    let entries = logs.map(|n| {
        let author = author.unwrap_or_else(|| made_up_peer(n));
        have_entry(author, n, 1..=1, Hash([3; 32]))
    });
    Message::Have(general_have(entries.collect()))
}

/// Logs that are requested because of one message.
pub fn requests_for_a_message(seed: u64) -> u64 {
    let (mut lan, _, mut mallory) = alice_and_mallory(seed);
    mallory.send(&mut lan, &offers(1..=1_000, None));
    lan.run_for(1_000);
    requested_logs(&mut lan, &mut mallory)
}

/// Logs that are requested of 8000 that mallory offers.
fn requests_for_8000_offers(seed: u64, of_himself: bool) -> u64 {
    let (mut lan, _, mut mallory) = alice_and_mallory(seed);
    let author = of_himself.then(|| mallory.identity.id());
    for part in 0..32 {
        let first = 1 + part * 250;
        mallory.send(&mut lan, &offers(first..=first + 249, author));
        lan.run_for(20);
    }
    requested_logs(&mut lan, &mut mallory)
}

/// Logs of others that are requested from mallory, who sends none.
pub fn requests_for_logs_of_others(seed: u64) -> u64 {
    requests_for_8000_offers(seed, false)
}

/// Logs of mallory that are requested, of which he sends none.
pub fn requests_for_logs_of_one_author(seed: u64) -> u64 {
    requests_for_8000_offers(seed, true)
}

/// Acknowledgements that mallory gets in 200 ms, in which he sends `per_ms` lines every ms.
fn acknowledgements(seed: u64, per_ms: u64) -> u64 {
    let (mut lan, _, mut mallory) = alice_and_mallory(seed);
    lan.run_for(1_000);
    received_entries(&mut lan, &mut mallory);
    let (mut previous, mut count) = (None, 0);
    for n in 1..=200 * per_ms {
        let batch = mallory.batch(n, previous, "line");
        previous = Some(batch.hash);
        mallory.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        if n % per_ms == 0 {
            lan.run_for(1);
            count += received_entries(&mut lan, &mut mallory).len() as u64;
        }
    }
    count
}

/// He sends a line every ms.
pub fn acknowledgements_of_lines(seed: u64) -> u64 {
    acknowledgements(seed, 1)
}

/// He sends 10 lines every ms.
pub fn acknowledgements_of_many_lines(seed: u64) -> u64 {
    acknowledgements(seed, 10)
}

/// Offers that mallory gets in 3 s, in which another peer says a line every 10 ms.
pub fn offers_of_a_busy_log(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    let mut author = ScriptedPeer::connect(&mut lan, alice, 2);
    lan.run_for(5_000);
    received_entries(&mut lan, &mut mallory);
    let mut previous = None;
    for n in 1..=300 {
        let batch = author.batch(n, previous, "line");
        previous = Some(batch.hash);
        author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        lan.run_for(10);
    }
    received_entries(&mut lan, &mut mallory).len() as u64
}

/// A receipt for the lines of this log, signed by their holder.
pub fn signed_receipt(log: &LogRange, holder: &Identity) -> HaveEntry {
    let signed = receipt(&NetworkTag::OPEN, &log.log, 1, log.high, &log.hash);
    HaveEntry {
        holder: Some(holder.id()),
        signature: Some(BASE64URL_NOPAD.encode(&holder.sign(&signed.0))),
        ..have_entry(log.log.author, log.log.incarnation, 1..=log.high, log.hash)
    }
}

/// Forwards a receipt for the lines of this log, signed by their holder.
pub fn forward_receipt(
    lan: &mut Lan,
    mallory: &mut ScriptedPeer,
    own: &LogRange,
    holder: &Identity,
) {
    let entry = signed_receipt(own, holder);
    mallory.send(lan, &Message::Have(general_have(vec![entry])));
}

/// Peers that count as holding a line, because 1000 invented keys signed receipts for it and are
/// advertised as members afterwards.
pub fn receipts_of_invented_keys(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    // The LAN checks each notice, and these holders store nothing.
    lan.peers[alice].executes =
        |o| !matches!(o, Output::Notice(it) if matches!(**it, Notice::Delivered { .. }));
    lan.say(alice, "hello");
    let own = lan.peers[alice].disk.ranges(&Room::general()).remove(0);
    for holder in (0..1_000).map(made_up_identity) {
        forward_receipt(&mut lan, &mut mallory, &own, &holder);
    }
    advertise(&mut lan, &mut mallory, 0, 1_000, true);
    lan.node(alice).delivery(None).acked_peers
}

/// Searches for a recipient that wait at one time, of 1000 for a name that nobody bears.
pub fn waiting_searches(seed: u64) -> u64 {
    let (mut lan, alice, _) = alice_and_mallory(seed);
    for request_id in 0..1_000 {
        let search = Command::Resolve {
            request_id,
            selector: PeerSelector::parse("@nobody").expect("a name"),
            timeout_ms: 1_000,
        };
        lan.feed(alice, Input::Command(search));
    }
    // Each one that waited is refused in the end.
    lan.run_for(2_000);
    lan.peers[alice].error_count("target") as u64
}

/// Keys that are recorded for a name that 100 peers take in turn.
pub fn keys_of_a_name(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    for n in 0..100 {
        let mut peer = ScriptedPeer::connect(&mut lan, alice, n);
        let username = "bob".into();
        peer.send(&mut lan, &Message::Profile { username });
        let reason = ByeReason::Leave;
        peer.send(&mut lan, &Message::Bye { reason });
    }
    let known = lan.peers[alice].known_peers.iter();
    known.filter(|known| known.nick.as_str() == "bob").count() as u64
}

/// Members that alice does not believe in within a second after they are advertised again.
pub fn members_in_hold_down(seed: u64) -> u64 {
    const MEMBERS: u64 = 2_048;
    let (mut lan, alice, first) = alice_and_mallory(seed);
    let mut neighbours = vec![first];
    neighbours.extend((2..4).map(|n| ScriptedPeer::connect(&mut lan, alice, n)));
    let mut observer = ScriptedPeer::connect(&mut lan, alice, 4);
    for is_here in [true, false, true] {
        observer.receive_messages(&mut lan);
        for (first, neighbour) in (0..).step_by(MEMBERS as usize).zip(&mut neighbours) {
            advertise(&mut lan, neighbour, first, MEMBERS, is_here);
        }
        lan.run_for(1_000);
    }
    let messages = observer.receive_messages(&mut lan).into_iter();
    let believed = messages.map(|message| match message {
        Message::Members(members) => members.here.len() as u64,
        _ => 0,
    });
    (3 * MEMBERS).saturating_sub(believed.sum())
}

/// Gaps that are shown because a peer begins 400 logs, of which 64 are kept.
pub fn gaps_of_forgotten_logs(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for n in 1..=400 {
        begin_log(&mut lan, &mut mallory, n, n);
    }
    lan.peers[alice].gap_count() as u64
}

/// Sends `count` lines to an absent peer, in batches of up to 250 lines.
pub fn send_letters(lan: &mut Lan, mallory: &mut ScriptedPeer, recipient: PeerId, count: u64) {
    let log = LogId {
        target: Target::Peer(recipient),
        ..mallory.log()
    };
    let (mut previous, mut sequence) = (None, 1);
    while sequence <= count {
        let length = (count + 1 - sequence).min(250);
        let text = lines(&["x"].repeat(length as usize));
        let draft = UnsignedBatch {
            log: log.clone(),
            sealed: Some("AAAA"),
            ..mallory.unsigned_batch(sequence, previous, &text)
        };
        let batch = Batch::sign(&mallory.identity, &NetworkTag::OPEN, draft);
        mallory.send_frame(lan, FrameKind::Batch, batch.as_bytes());
        (previous, sequence) = (Some(batch.hash), sequence + length);
    }
}

/// Lines that alice carries for 30 recipients.
pub fn carried_lines(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for n in 0..30 {
        send_letters(&mut lan, &mut mallory, made_up_peer(n), 1_000);
    }
    lan.peers[alice].carried_line_count()
}

/// Logs that alice carries, each for another recipient.
pub fn carried_logs(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for n in 0..1_100 {
        send_letters(&mut lan, &mut mallory, made_up_peer(n), 1);
    }
    lan.peers[alice].carried_line_count()
}

/// Requests for a line that we do not store, which a peer claims for a log of ours.
pub fn requests_for_a_claim(seed: u64, high: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    lan.say(alice, "one");
    let log = lan.first_log(alice);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let entry = have_entry(log.author, log.incarnation, 1..=high, Hash([3; 32]));
    let claim = Message::Have(general_have(vec![entry]));
    let mut requests = 0;
    for _ in 0..200 {
        mallory.send(&mut lan, &claim);
        lan.run_for(10);
        let messages = mallory.receive_messages(&mut lan).into_iter();
        let wants = messages.filter(|message| matches!(message, Message::Want { .. }));
        requests += wants.count() as u64;
    }
    requests
}
