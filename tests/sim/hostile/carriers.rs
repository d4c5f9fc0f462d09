//! Floods of an author at a carrier, for the table of bounds.
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::{Hash, NetworkTag, PeerId};
use p2pchat::base::name::{FolderName, Target};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Have, HaveEntry, Message, WantEntry, format_incarnation};

use crate::batches;
use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines};
use crate::support::relay::members_with;
use crate::support::scripted_peer::{ScriptedPeer, have_entry};

/// Number of an author's logs in these floods.
const LOGS: u64 = 400;
/// The only node of [`carol_between`].
pub const CAROL: PeerIndex = 0;

/// Carol, linked with an author and a recipient.
pub fn carol_between(seed: u64) -> (Lan, ScriptedPeer, ScriptedPeer) {
    let mut lan = Lan::new(seed);
    let carol = lan.add_peer("carol");
    lan.start(carol);
    let author = ScriptedPeer::connect(&mut lan, carol, 1);
    let recipient = ScriptedPeer::connect(&mut lan, carol, 2);
    (lan, author, recipient)
}

/// Sends `have` entries about direct logs to `to`.
pub fn send_have(lan: &mut Lan, from: &mut ScriptedPeer, to: PeerId, entries: &[HaveEntry]) {
    for logs in entries.chunks(256) {
        let have = Have {
            target: format!("@{to}"),
            logs: logs.to_vec(),
            ..Have::default()
        };
        from.send(lan, &Message::Have(have));
    }
}

/// Logs that are offered to the recipient on behalf of an author, who offers 400 delivered ones.
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
    let count = passed_on(&mut lan, &mut recipient);
    lan.run_for(1_000);
    send_have(&mut lan, &mut author, to, &offers[..10]);
    assert_eq!(passed_on(&mut lan, &mut recipient), 10, "a second later");
    send_have(&mut lan, &mut author, to, &offers[..10]);
    assert_eq!(passed_on(&mut lan, &mut recipient), 0, "at once");
    lan.run_for(60_000);
    send_have(&mut lan, &mut author, to, &offers[300..]);
    count + passed_on(&mut lan, &mut recipient)
}

/// Logs that are offered to the recipient on behalf of 17 authors, of whom each offers 64.
pub fn offers_of_many_authors(seed: u64) -> u64 {
    let (mut lan, _, mut recipient) = carol_between(seed);
    let to = recipient.identity.id();
    recipient.receive(&mut lan);
    for n in 10..27 {
        let mut author = ScriptedPeer::connect(&mut lan, CAROL, n);
        let from = author.identity.id();
        #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
        let offers = (1..=64).map(|log| have_entry(from, log, 2..=1, Hash([1; 32])));
        send_have(&mut lan, &mut author, to, &offers.collect::<Vec<_>>());
    }
    corrections(&mut lan, &mut recipient).len() as u64
}

/// Offers that a carrier keeps open for a second: 17 authors, of whom each offers 64, and the last
/// one to another recipient. Both recipients request all lines.
pub fn awaited_offers(seed: u64) -> u64 {
    let (mut lan, _, first) = carol_between(seed);
    let second = ScriptedPeer::connect(&mut lan, CAROL, 3);
    let mut recipients = [first, second];
    for n in 10..27 {
        let mut author = ScriptedPeer::connect(&mut lan, CAROL, n);
        let from = author.identity.id();
        let recipient = &mut recipients[usize::from(n == 26)];
        let to = recipient.identity.id();
        #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
        let offers = (1..=64).map(|log| have_entry(from, log, 2..=1, Hash([1; 32])));
        send_have(&mut lan, &mut author, to, &offers.collect::<Vec<_>>());
        let wants = (1..=64).map(|log| WantEntry {
            sender: from,
            incarnation: format_incarnation(log),
            from: 1,
            to: 0,
        });
        let (target, logs) = (format!("@{to}"), wants.collect());
        recipient.send(&mut lan, &Message::Want { target, logs });
    }
    lan.run_for(1_000);
    let withdrawn = recipients.map(|mut recipient| {
        let lows = corrections(&mut lan, &mut recipient).into_iter();
        lows.filter(|low| *low == 2).count() as u64
    });
    assert_eq!(withdrawn[1], 0, "the one with few keeps them");
    17 * 64 - withdrawn[0]
}

/// A batch of `count` lines to `to`, in the author's log with this incarnation.
pub fn letters(
    author: &ScriptedPeer,
    to: PeerId,
    log: u64,
    after: Option<&Batch>,
    n: usize,
) -> Batch {
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
pub fn wants(lan: &mut Lan, author: &mut ScriptedPeer) -> Vec<WantEntry> {
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
    send_have(&mut lan, &mut recipient, to, std::slice::from_ref(&ack));
    let resumed = wants(&mut lan, &mut author);
    assert!(resumed.iter().all(|want| want.from == 1));
    assert!(!resumed.is_empty());
    send_have(&mut lan, &mut recipient, to, &vec![ack; 100]);
    resumed.len() as u64 + wants(&mut lan, &mut author).len() as u64
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

/// Logs that alice requests from a carrier, which offers her 400 of one author's direct logs.
pub fn requests_for_one_authors_logs(seed: u64) -> u64 {
    let mut lan = Lan::new(seed);
    let alice = lan.add_peer("alice");
    lan.start(alice);
    let mut carrier = ScriptedPeer::connect(&mut lan, alice, 1);
    let author = ScriptedPeer::identity(2).id();
    let to = lan.id(alice);
    let offers = (1..=LOGS).map(|log| have_entry(author, log, 1..=1, Hash([1; 32])));
    send_have(&mut lan, &mut carrier, to, &offers.collect::<Vec<_>>());
    lan.run_for(10_000);
    let requested: std::collections::BTreeSet<String> = wants(&mut lan, &mut carrier)
        .into_iter()
        .map(|want| want.incarnation)
        .collect();
    requested.len() as u64
}

/// Requests log 1 of the author, from this line on, up to `to`; 0: with all later lines.
pub fn send_want(lan: &mut Lan, from: &mut ScriptedPeer, author: PeerId, lines: (u64, u64)) {
    let want = WantEntry {
        sender: author,
        incarnation: format_incarnation(1),
        from: lines.0,
        to: lines.1,
    };
    let (target, logs) = (format!("@{}", from.identity.id()), vec![want]);
    from.send(lan, &Message::Want { target, logs });
}

/// The author has three lines, of which carol carries the last one. The recipient requests `lines`,
/// which she requests from the author. The batch of the first two lines.
fn carol_awaits_the_author(
    seed: u64,
    lines: (u64, u64),
) -> (Lan, ScriptedPeer, ScriptedPeer, Batch) {
    let (mut lan, mut author, mut recipient) = carol_between(seed);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let first = letters(&author, to, 1, None, 2);
    let third = letters(&author, to, 1, Some(&first), 1);
    send_have(
        &mut lan,
        &mut author,
        to,
        &[have_entry(from, 1, 3..=3, third.hash)],
    );
    author.send_frame(&mut lan, FrameKind::Batch, third.as_bytes());
    lan.run_for(3_000);
    recipient.receive(&mut lan);
    wants(&mut lan, &mut author);
    send_want(&mut lan, &mut recipient, from, lines);
    assert_eq!(wants(&mut lan, &mut author).len(), 1);
    (lan, author, recipient, first)
}

/// The first lines that carol says she stores, in what the recipient received.
pub fn corrections(lan: &mut Lan, recipient: &mut ScriptedPeer) -> Vec<u64> {
    let messages = recipient.receive_messages(lan).into_iter();
    let entries = messages.filter_map(|message| match message {
        Message::Have(have) => Some(have.logs),
        _ => None,
    });
    entries.flatten().map(|entry| entry.low).collect()
}

/// The recipient gets what carol stores.
fn takes_the_third_line(lan: &mut Lan, author: PeerId, recipient: &mut ScriptedPeer) {
    send_want(lan, recipient, author, (3, 0));
    lan.run_for(10);
    let frames = recipient.receive(lan).into_iter();
    let batches = frames.filter(|frame| frame.kind == FrameKind::Batch);
    assert_eq!(batches.count(), 1);
}

/// The author does not send the lines. Carol then sends what she has.
#[test]
fn a_silent_author_does_not_hold_back_carried_lines() {
    let (mut lan, author, mut recipient, _) = carol_awaits_the_author(1, (1, 0));
    lan.run_for(1_900);
    assert!(corrections(&mut lan, &mut recipient).is_empty());
    lan.run_for(200);
    assert_eq!(corrections(&mut lan, &mut recipient), [3]);
    takes_the_third_line(&mut lan, author.identity.id(), &mut recipient);
}

/// Nor an author whose link has ended.
#[test]
fn an_author_that_is_gone_does_not_hold_back_carried_lines() {
    let (mut lan, author, mut recipient, _) = carol_awaits_the_author(2, (1, 0));

    lan.feed(
        CAROL,
        Input::Closed {
            stream: author.stream,
        },
    );
    lan.run_for(10);
    assert_eq!(corrections(&mut lan, &mut recipient), [3]);
    takes_the_third_line(&mut lan, author.identity.id(), &mut recipient);
}

/// A recipient that wants lines of a gap learns as soon that it must look elsewhere, and does not
/// blame carol.
#[test]
fn a_silent_author_does_not_hold_back_the_answer_about_a_gap() {
    let (mut lan, _, mut recipient, _) = carol_awaits_the_author(3, (1, 2));
    lan.run_for(2_100);
    assert_eq!(corrections(&mut lan, &mut recipient), [3]);
}

/// An author that withholds the earlier lines does not make carol forget the others.
#[test]
fn withheld_lines_do_not_replace_carried_ones() {
    let (mut lan, mut author, mut recipient, first) = carol_awaits_the_author(4, (1, 0));
    author.send_frame(&mut lan, FrameKind::Batch, &batches::withheld(&first));

    let ranges = lan.node(CAROL).frontier(&FolderName::carried());
    assert_eq!(ranges.len(), 1, "{ranges:?}");
    lan.run_for(2_100);
    corrections(&mut lan, &mut recipient);
    takes_the_third_line(&mut lan, author.identity.id(), &mut recipient);
}

/// A request that waits for a place is made when the recipient wants lines, and ended when there is
/// still none.
#[test]
fn a_request_for_a_recipient_ends_when_there_is_no_place() {
    let (mut lan, mut author, mut recipient) = carol_between(5);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    refused_logs(&mut lan, &mut author, to);
    let want = WantEntry {
        sender: from,
        incarnation: format_incarnation(2),
        from: 1,
        to: 0,
    };
    let (target, logs) = (format!("@{to}"), vec![want]);
    recipient.send(&mut lan, &Message::Want { target, logs });
    let starts = |wants: Vec<WantEntry>| wants.iter().map(|it| it.from).collect::<Vec<_>>();
    assert_eq!(starts(wants(&mut lan, &mut author)), [1]);
    let batch = letters(&author, to, 2, None, 1);
    author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    assert_eq!(starts(wants(&mut lan, &mut author)), [0]);
}

/// Bob, who does not know the author, linked with carol, who is linked with both. He begins to
/// `sync`.
pub fn bob_syncs_behind_carol(seed: u64) -> (Lan, PeerIndex, ScriptedPeer) {
    let mut lan = Lan::new(seed);
    let [carol, bob] = lan.add_peers(["carol", "bob"]);
    lan.start_all([carol, bob]);
    lan.run_until_linked(carol, bob, 3_000);
    let author = ScriptedPeer::connect(&mut lan, carol, 1);
    lan.run_for(3_000);
    lan.feed(bob, Input::Command(Command::Sync));
    lan.run_for(3_000);
    assert!(lan.node(bob).sync_state().is_complete);
    (lan, bob, author)
}

/// Offers that carol passes on and that nobody proves hold up a `sync` for two seconds. Then she
/// withdraws them, and passes on no others of that author for a minute.
#[test]
fn invented_offers_hold_up_no_sync() {
    let (mut lan, bob, mut author) = bob_syncs_behind_carol(7);
    let (from, to) = (author.identity.id(), lan.id(bob));
    #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
    let offer = |log| have_entry(from, log, 2..=1, Hash([1; 32]));
    for second in 0..60 {
        // One after another: the next one is offered before the last one is withdrawn.
        let offers = [offer(second), offer(second + 1)];
        send_have(&mut lan, &mut author, to, &offers);
        lan.run_for(1_000);
        let state = lan.node(bob).sync_state();
        assert!(second > 1 || !state.is_complete, "{second}: {state:?}");
        assert!(second < 4 || state.is_complete, "{second}: {state:?}");
    }
    lan.run_for(5_000);
    send_have(&mut lan, &mut author, to, &[offer(101)]);
    lan.run_for(10);
    assert!(!lan.node(bob).sync_state().is_complete, "a minute later");
}

/// The same where carol stores the first lines of what the author claims to have.
#[test]
fn an_invented_continuation_holds_up_no_sync() {
    let (mut lan, bob, mut author) = bob_syncs_behind_carol(8);
    let (from, to) = (author.identity.id(), lan.id(bob));
    let batch = letters(&author, to, 1, None, 3);
    send_have(
        &mut lan,
        &mut author,
        to,
        &[have_entry(from, 1, 1..=3, batch.hash)],
    );
    author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    lan.run_for(1_000);
    assert!(lan.node(bob).sync_state().is_complete);
    #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
    let claim = have_entry(from, 1, 10..=9, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[claim]);
    lan.run_for(1_000);
    assert!(!lan.node(bob).sync_state().is_complete);
    lan.run_for(1_500);
    assert!(lan.node(bob).sync_state().is_complete);
}

/// The same where the author claims more while what it claimed before is being proved.
#[test]
fn an_extended_claim_holds_up_no_sync() {
    let (mut lan, bob, mut author) = bob_syncs_behind_carol(10);
    let (from, to) = (author.identity.id(), lan.id(bob));
    let claim = |last| have_entry(from, 1, last + 1..=last, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[claim(5)]);
    lan.run_for(100);
    let first = letters(&author, to, 1, None, 4);
    author.send_frame(&mut lan, FrameKind::Batch, first.as_bytes());
    lan.run_for(600);
    send_have(&mut lan, &mut author, to, &[claim(1_000)]);
    lan.run_for(800);
    let fifth = letters(&author, to, 1, Some(&first), 1);
    author.send_frame(&mut lan, FrameKind::Batch, fifth.as_bytes());
    lan.run_for(1_000);
    assert!(!lan.node(bob).sync_state().is_complete);
    lan.run_for(2_000);
    assert!(lan.node(bob).sync_state().is_complete);
}

/// A recipient that has not received the proved lines yet makes no further request for what follows
/// them. The offer is withdrawn all the same.
#[test]
fn a_claim_beyond_lines_on_the_way_is_withdrawn() {
    let (mut lan, mut author, mut recipient) = carol_between(14);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let claim = |last| have_entry(from, 1, last + 1..=last, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[claim(1)]);
    send_want(&mut lan, &mut recipient, from, (1, 0));
    let first = letters(&author, to, 1, None, 1);
    author.send_frame(&mut lan, FrameKind::Batch, first.as_bytes());
    lan.run_for(2_500);
    recipient.receive(&mut lan);
    send_have(&mut lan, &mut author, to, &[claim(1_000)]);
    lan.run_for(1_900);
    assert_eq!(corrections(&mut lan, &mut recipient), [1]);
    lan.run_for(200);
    let mut messages = recipient.receive_messages(&mut lan).into_iter();
    let is_withdrawal =
        |it| matches!(it, Message::Have(have) if have.logs.iter().any(|it| it.high == 1));
    assert!(messages.any(is_withdrawal));
}

/// While the lines come one after another, the offer stands.
#[test]
fn an_offer_stands_while_its_lines_come() {
    let (mut lan, bob, mut author) = bob_syncs_behind_carol(9);
    let (from, to) = (author.identity.id(), lan.id(bob));
    #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
    let offer = have_entry(from, 1, 5..=4, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[offer]);
    lan.run_for(100);
    let mut last: Option<Batch> = None;
    for n in 1..=4 {
        assert!(!lan.node(bob).sync_state().is_complete, "line {n}");
        let batch = letters(&author, to, 1, last.as_ref(), 1);
        author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        last = Some(batch);
        lan.run_for(1_500);
    }
    assert!(lan.node(bob).sync_state().is_complete);
}

/// What carol passes on after one of both has said that the other is this many links away: an offer
/// of the author, and a query of the recipient.
fn passed_on(is_said_by_author: bool, hops: u8) -> (bool, bool) {
    let (mut lan, mut author, mut recipient) = carol_between(11);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    match is_said_by_author {
        true => author.send(&mut lan, &members_with(to, "bob", hops)),
        false => recipient.send(&mut lan, &members_with(from, "alice", hops)),
    }
    lan.run_for(1_000);
    author.receive(&mut lan);
    recipient.receive(&mut lan);
    #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
    let offer = have_entry(from, 1, 2..=1, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[offer]);
    let query = Have {
        target: format!("@{to}"),
        digest: Some(String::new()),
        ..Have::default()
    };
    recipient.send(&mut lan, &Message::Have(query));
    let mut queries = author.receive_messages(&mut lan).into_iter();
    let is_query = |it: Message| matches!(it, Message::Have(have) if have.digest.is_some());
    (
        !corrections(&mut lan, &mut recipient).is_empty(),
        queries.any(is_query),
    )
}

/// Carol leaves alone two who are linked with each other. The author's word is enough for a query.
#[test]
fn nothing_is_passed_on_between_linked_peers() {
    assert_eq!(passed_on(true, 1), (false, false));
    assert_eq!(passed_on(true, 2), (true, true));
    assert_eq!(passed_on(false, 1), (false, true));
    assert_eq!(passed_on(false, 2), (true, true));
}

/// However many logs a message delivers, it resumes as many requests as one.
#[test]
fn a_message_that_delivers_many_logs_resumes_few_requests() {
    let (mut lan, mut author, mut recipient) = carol_between(12);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let offers = (1..=50).map(|log| have_entry(from, log, 1..=1, Hash([1; 32])));
    send_have(&mut lan, &mut author, to, &offers.collect::<Vec<_>>());
    let mut acks = Vec::new();
    for log in 1..=50 {
        let batch = letters(&author, to, log, None, if log <= 4 { 250 } else { 1 });
        author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        if log <= 4 {
            acks.push(have_entry(from, log, 1..=250, batch.hash));
        }
    }
    wants(&mut lan, &mut author);
    send_have(&mut lan, &mut recipient, to, &acks);
    assert_eq!(wants(&mut lan, &mut author).len(), 4);
    send_have(&mut lan, &mut recipient, to, &acks);
    assert!(wants(&mut lan, &mut author).is_empty(), "nothing new");
}

/// Earlier lines for which there is no place do not make carol forget the later ones.
#[test]
fn lines_without_a_place_do_not_replace_carried_ones() {
    let (mut lan, mut author, mut recipient, first) = carol_awaits_the_author(13, (1, 0));
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let mut last: Option<Batch> = None;
    for n in [250; 4] {
        let batch = letters(&author, to, 2, last.as_ref(), n);
        author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
        last = Some(batch);
    }
    let carried = |lan: &Lan| lan.peers[CAROL].carried_line_count();
    assert_eq!(carried(&lan), 1_001);
    wants(&mut lan, &mut author);
    author.send_frame(&mut lan, FrameKind::Batch, first.as_bytes());
    assert_eq!(carried(&lan), 1_001);
    assert_eq!(
        wants(&mut lan, &mut author)[0].from,
        0,
        "she asks for no more"
    );
    lan.run_for(2_100);
    corrections(&mut lan, &mut recipient);
    takes_the_third_line(&mut lan, from, &mut recipient);
}
