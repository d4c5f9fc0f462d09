//! Batches that no peer may store: with unescaped control characters, or a header that is too long.
//! Their author signs them, and a peer of an earlier version may store and relay them.
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::batch::batch_layout::HEADER_MAX_BYTES;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::Message;

use crate::batches;
use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines};
use crate::support::relay::author_and_reader;
use crate::support::scripted_peer::{ScriptedPeer, general_have, have_entry};

/// Signs the batch again, after `change` of the JSON of its header and its content.
fn signed_as(author: &Identity, batch: &Batch, change: impl Fn(&str) -> String) -> Batch {
    let parts = batches::parts(batch);
    let (header, content) = (change(&parts.header), change(&parts.content));
    let json = batches::signed(author, &header, &content, &parts.salt);
    Batch::parse(json.into_bytes(), &NetworkTag::OPEN).expect("a batch")
}

/// Changes of the JSON of a batch with the text `two`, after which it must not be stored: what is
/// replaced, and by what.
fn unstorable_forms() -> Vec<(&'static str, String)> {
    let next = ",\"target\"";
    let mut forms = Vec::new();
    for c in "\u{7f}\u{80}\u{9b}\u{9f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
        forms.push(("two", format!("two{c}31m")));
        forms.push((next, format!(",\"x\":\"{c}\"{next}")));
    }
    forms.push((next, ",\r\"target\"".to_owned()));
    let value = "x".repeat(HEADER_MAX_BYTES);
    forms.push((next, format!(",\"x\":\"{value}\"{next}")));
    forms
}

/// The stored sequences of an author.
fn stored(lan: &Lan, who: PeerIndex, author: &Identity) -> Vec<u64> {
    let entries = lan.peers[who].disk.entries();
    let own = entries.filter(|entry| entry.batch.log.author == author.id());
    own.map(|entry| entry.batch.sequence).collect()
}

/// Such a batch costs its own lines, which are a gap: neither its link nor what follows.
#[test]
fn an_unstorable_batch_is_passed_over() {
    for (from, to) in unstorable_forms() {
        let mut lan = Lan::new(1);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start_all([alice, bob]);
        lan.run_for(500);
        let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
        let one = mallory.batch(1, None, "one");
        let two = mallory.batch(2, Some(one.hash), "two");
        let two = signed_as(&mallory.identity, &two, |json| json.replace(from, &to));
        let json = String::from_utf8_lossy(two.as_bytes()).into_owned();
        assert!(two.is_unstorable(), "{json:?}");
        let three = mallory.batch(3, Some(two.hash), "three");
        for batch in [&one, &two, &three] {
            mallory.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
            lan.run_for(1_000);
        }
        assert!(!lan.has_closed(alice, mallory.stream), "{json:?}");
        for who in [alice, bob] {
            assert_eq!(lan.peers[who].received(), ["one", "three"], "{json:?}");
            assert_eq!(stored(&lan, who, &mallory.identity), [1, 3]);
            assert_eq!(lan.peers[who].gap_count(), 1);
        }
    }
}

/// A batch like these that is not signed by its author still ends the link.
#[test]
fn a_forged_unstorable_batch_ends_the_link() {
    let mut lan = Lan::new(2);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    let batch = mallory.batch(1, None, "one");
    let json = String::from_utf8_lossy(batch.as_bytes()).replace("one", "one\u{9b}");
    mallory.send_frame(&mut lan, FrameKind::Batch, json.as_bytes());
    assert!(lan.has_closed(alice, mallory.stream));
}

/// A relay that stores such a batch can fill the rest of a gap around it, and other gaps. It is
/// not asked for the batch over and over.
#[test]
fn an_unstorable_batch_in_a_gap_costs_only_its_lines() {
    let (mut lan, [_, bob, _]) = author_and_reader(3);
    let mut relay = ScriptedPeer::connect(&mut lan, bob, 1);
    let author = ScriptedPeer::identity(2);
    let mut logs = Vec::new();
    for incarnation in [7, 8] {
        let mut log: Vec<Batch> = Vec::new();
        for n in 1..=5 {
            let text = lines(&[&format!("{incarnation}.{n}")]);
            let previous = log.last().map(|batch| batch.hash);
            let mut draft = relay.unsigned_batch(n, previous, &text);
            (draft.log.author, draft.log.incarnation) = (author.id(), incarnation);
            let batch = Batch::sign(&author, &NetworkTag::OPEN, draft);
            log.push(match (incarnation, n) {
                (7, 2 | 3) => signed_as(&author, &batch, |json| json.replace("7.", "7\u{9b}.")),
                _ => batch,
            });
        }
        logs.push(log);
    }
    let offer = |lan: &mut Lan, relay: &mut ScriptedPeer, log: &[Batch], low: u64| {
        let last = log.last().expect("a batch");
        let (author, incarnation) = (last.log.author, last.log.incarnation);
        let entry = have_entry(author, incarnation, low..=last.sequence, last.hash);
        relay.send(lan, &Message::Have(general_have(vec![entry])));
        lan.run_for(500);
    };
    for log in &logs {
        offer(&mut lan, &mut relay, &log[..1], 1);
        relay.send_frame(&mut lan, FrameKind::Batch, log[0].as_bytes());
        offer(&mut lan, &mut relay, log, 5);
        relay.send_frame(&mut lan, FrameKind::Batch, log[4].as_bytes());
        lan.run_for(500);
    }
    assert_eq!(stored(&lan, bob, &author), [1, 5, 1, 5]);
    assert_eq!(lan.peers[bob].gap_count(), 2);
    logs.iter()
        .for_each(|log| offer(&mut lan, &mut relay, log, 1));
    let mut requests = 0;
    for _ in 0..40 {
        for message in relay.receive_messages(&mut lan) {
            let Message::Want { logs: wants, .. } = message else {
                continue;
            };
            for want in wants.iter().filter(|want| want.to > 0) {
                requests += 1;
                let log = &logs[usize::from(want.incarnation.ends_with('8'))];
                for batch in &log[want.from as usize - 1..want.to as usize] {
                    relay.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
                }
            }
        }
        lan.run_for(1_000);
    }
    let mut sequences = stored(&lan, bob, &author).split_off(4);
    sequences.sort_unstable();
    assert_eq!(sequences, [2, 3, 4, 4]);
    assert!((2..=4).contains(&requests), "{requests} requests");
}
