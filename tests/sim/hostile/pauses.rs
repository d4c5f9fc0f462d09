//! What a carrier does about an author whose offers it has withdrawn.
use p2pchat::base::event::input::Input;
use p2pchat::base::identity::Hash;
use p2pchat::base::name::FolderName;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::Message;

use super::carriers::{
    CAROL, bob_syncs_behind_carol, carol_between, corrections, letters, send_have, send_want, wants,
};
use crate::support::lan::Lan;
use crate::support::scripted_peer::{ScriptedPeer, have_entry};

/// Queries to 30 authors that offered a log to each of 30 recipients, and sent no line. 30 others
/// did the same before, and left.
pub fn later_queries(seed: u64) -> u64 {
    let (mut lan, _, _) = carol_between(seed);
    let link = |lan: &mut Lan, first: u64| {
        let peers = (first..first + 30).map(|n| ScriptedPeer::connect(lan, CAROL, n));
        peers.collect::<Vec<_>>()
    };
    let mut recipients = link(&mut lan, 10);
    let mut authors: Vec<ScriptedPeer> = Vec::new();
    for first in [50, 90] {
        for ScriptedPeer { stream, .. } in std::mem::take(&mut authors) {
            lan.feed(CAROL, Input::Closed { stream });
        }
        authors = link(&mut lan, first);
        for author in &mut authors {
            let from = author.identity.id();
            for recipient in &mut recipients {
                let to = recipient.identity.id();
                #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
                let offer = have_entry(from, 1, 2..=1, Hash([1; 32]));
                send_have(&mut lan, author, to, &[offer]);
                send_want(&mut lan, recipient, from, (1, 0));
            }
            author.receive(&mut lan);
        }
        lan.run_for(3_000);
    }
    for nonce in 0..14 {
        for peer in authors.iter_mut().chain(&mut recipients) {
            peer.send(&mut lan, &Message::Ping { nonce });
        }
        lan.run_for(5_000);
    }
    let is_query = |it: &Message| matches!(it, Message::Have(have) if have.digest.is_some());
    let queries = authors.iter_mut().map(|author| {
        let messages = author.receive_messages(&mut lan);
        messages.iter().filter(|it| is_query(it)).count() as u64
    });
    queries.sum()
}

/// Carol asks an author that was silent for a while once more, when the pause ends. What it offered
/// in between arrives then, over the links that are there.
#[test]
fn an_author_that_stalls_is_asked_again() {
    let (mut lan, bob, mut author) = bob_syncs_behind_carol(15);
    let (from, to) = (author.identity.id(), lan.id(bob));
    #[expect(clippy::reversed_empty_ranges, reason = "no line is to be carried")]
    let offers = [1, 2].map(|log| have_entry(from, log, 2..=1, Hash([1; 32])));
    send_have(&mut lan, &mut author, to, &offers[..1]);
    lan.run_for(3_000);
    send_have(&mut lan, &mut author, to, &offers);
    assert_eq!(seconds_until_query(&mut lan, &mut author), Some(60));
    send_have(&mut lan, &mut author, to, &offers);
    lan.run_for(1_000);
    for log in [1, 2] {
        let batch = letters(&author, to, log, None, 1);
        author.send_frame(&mut lan, FrameKind::Batch, batch.as_bytes());
    }
    lan.run_for(1_000);
    let received = lan.node(bob).frontier(&FolderName::direct());
    assert_eq!(received.len(), 2, "{received:?}");
    assert_eq!(seconds_until_query(&mut lan, &mut author), None);
}

/// When carol asks the author for all that it has for a recipient, within 70 seconds.
fn seconds_until_query(lan: &mut Lan, author: &mut ScriptedPeer) -> Option<u64> {
    author.receive(lan);
    let is_query = |it| matches!(it, Message::Have(have) if have.digest.is_some());
    let mut times = (5..=70).step_by(5);
    times.find(|nonce| {
        author.send(lan, &Message::Ping { nonce: *nonce });
        lan.run_for(5_000);
        author.receive_messages(lan).into_iter().any(is_query)
    })
}

/// An author that carol has not asked for the lines, as she asked for others just before, is not
/// blamed for them: its next offer is passed on.
#[test]
fn an_author_that_was_not_asked_is_not_paused() {
    let (mut lan, mut author, mut recipient) = carol_between(16);
    let (from, to) = (author.identity.id(), recipient.identity.id());
    let claim = |log, last| have_entry(from, log, last + 1..=last, Hash([1; 32]));
    send_have(&mut lan, &mut author, to, &[claim(1, 1)]);
    send_want(&mut lan, &mut recipient, from, (1, 0));
    let first = letters(&author, to, 1, None, 1);
    author.send_frame(&mut lan, FrameKind::Batch, first.as_bytes());
    lan.run_for(600);
    let ack = have_entry(from, 1, 1..=1, first.hash);
    send_have(&mut lan, &mut recipient, to, &[ack]);
    lan.run_for(400);
    send_have(&mut lan, &mut author, to, &[claim(1, 5)]);
    wants(&mut lan, &mut author);
    send_want(&mut lan, &mut recipient, from, (2, 0));
    assert!(wants(&mut lan, &mut author).is_empty(), "not asked");
    recipient.receive(&mut lan);
    lan.run_for(2_500);
    assert_eq!(corrections(&mut lan, &mut recipient), [1], "withdrawn");
    send_have(&mut lan, &mut author, to, &[claim(2, 1)]);
    assert_eq!(corrections(&mut lan, &mut recipient), [1], "passed on");
}
