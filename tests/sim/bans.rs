//! Banned keys: not linked, not stored, not carried.
use std::collections::BTreeSet;

use p2pchat::base::batch::batch::Batch;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::output::KnownPeer;
use p2pchat::base::identity::{NetworkTag, PeerId};
use p2pchat::base::name::{FolderName, Nick, Room};
use p2pchat::base::time::WallTime;
use p2pchat::base::trust::level::TrustLevel;
use p2pchat::wire::frame::FrameKind;
use p2pchat::wire::message::{Have, Message, WantEntry, format_incarnation};

use crate::hostile::made_up::made_up_peer;
use crate::hostile::messages::send_letters;
use crate::liveness::list_peers;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::{ScriptedPeer, general_have};

/// Writes the ban into the file of `who`, which its program may read again.
fn write_ban(lan: &mut Lan, who: PeerIndex, banned: PeerIndex) {
    let id = lan.id(banned);
    write_ban_of(lan, who, id);
}

fn write_ban_of(lan: &mut Lan, who: PeerIndex, id: PeerId) {
    let ban = KnownPeer {
        nick: Nick::new_or_placeholder(""),
        id,
        first_seen: WallTime(0),
        trust: TrustLevel::Banned,
    };
    lan.peers[who].known_peers.push(ban);
}

fn reload(lan: &mut Lan, who: PeerIndex) {
    let known = lan.peers[who].known_peers.clone();
    lan.feed(who, Input::KnownPeers(known));
}

/// How many batches of `author` are stored by `who`.
fn stored(lan: &Lan, who: PeerIndex, author: PeerIndex) -> usize {
    let author = lan.id(author);
    let entries = lan.peers[who].disk.entries();
    entries
        .filter(|entry| entry.batch.log.author == author)
        .count()
}

/// The incarnation of the log of `author` that `who` stores.
fn incarnation_of(lan: &Lan, who: PeerIndex, author: PeerIndex) -> String {
    let mut entries = lan.peers[who].disk.entries();
    let entry = entries.find(|it| it.batch.log.author == lan.id(author));
    format_incarnation(entry.expect("a line").batch.log.incarnation)
}

/// Alice, bob and carol are linked, and bob has said a line. Then alice bans him.
fn alice_bans_bob(seed: u64) -> (Lan, [PeerIndex; 3]) {
    let mut lan = Lan::new(seed);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(1_000);
    lan.say(bob, "before");
    lan.run_for(1_000);
    write_ban(&mut lan, alice, bob);
    reload(&mut lan, alice);
    (lan, [alice, bob, carol])
}

/// The link ends at once, and none replaces it. The banned peer's lines do not come through others,
/// and nobody lists it; the others' lines come as before.
#[test]
fn nothing_comes_of_a_banned_peer() {
    let (mut lan, [alice, bob, carol]) = alice_bans_bob(1);
    assert_eq!(lan.peers[alice].left_count(lan.id(bob)), 1);
    lan.say(bob, "after");
    lan.run_for(200_000);
    lan.say(bob, "much later");
    lan.say(carol, "from carol");
    lan.run_for(5_000);
    assert!(!lan.are_linked(alice, bob));
    assert_eq!(lan.peers[alice].received(), ["before", "from carol"]);
    assert_eq!(
        lan.peers[carol].received(),
        ["before", "after", "much later"]
    );
    assert_eq!(stored(&lan, alice, bob), 1, "what was stored stays");
    let rows = list_peers(&mut lan, alice);
    assert!(rows.iter().all(|row| row.peer.id != lan.id(bob)));
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 1);
}

/// A program that starts with a ban never shows itself to the banned peer, which does not learn
/// that it is there but by others.
#[test]
fn a_ban_counts_from_the_start() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    write_ban(&mut lan, alice, bob);
    lan.start_all([alice, bob]);
    lan.run_for(200_000);
    assert!(!lan.are_linked(alice, bob));
    assert_eq!(lan.peers[bob].joined_count(lan.id(alice)), 0);
    assert!(list_peers(&mut lan, alice).is_empty());
    let carol = lan.add_peer("carol");
    lan.start(carol);
    lan.run_for(10_000);
    assert!(lan.are_linked(alice, carol) && lan.are_linked(bob, carol));
    assert_eq!(lan.peers[alice].joined_count(lan.id(bob)), 0);
    assert_eq!(list_peers(&mut lan, alice).len(), 1);
}

/// What is stored of a banned peer is not passed on: neither lines of a room nor direct messages
/// that are carried.
#[test]
fn stored_lines_of_a_banned_peer_are_not_passed_on() {
    let mut lan = Lan::new(3);
    let [alice, bob, dave] = lan.add_peers(["alice", "bob", "dave"]);
    lan.start_all([alice, bob, dave]);
    lan.run_for(1_000);
    lan.stop(dave);
    lan.run_for(1_000);
    lan.say(bob, "to all");
    lan.say(alice, "from alice");
    lan.send_direct(bob, &format!("@{}", lan.id(dave)), "to dave");
    lan.run_for(5_000);
    assert_eq!(stored(&lan, alice, bob), 2, "a line, and a carried one");
    write_ban(&mut lan, alice, bob);
    reload(&mut lan, alice);
    lan.stop(bob);
    lan.start(dave);
    lan.run_for(60_000);
    assert!(lan.are_linked(alice, dave));
    assert_eq!(lan.peers[dave].received(), ["from alice"]);
    assert_eq!(stored(&lan, dave, bob), 0);
    let mut ranges = lan.peers[alice].disk.ranges(&Room::general()).into_iter();
    let mut is_by = |who| ranges.any(|range| range.log.author == lan.id(who));
    assert!(is_by(bob), "alice still has the line");
}

/// A peer that wants lines of a banned author is neither offered nor sent any.
#[test]
fn nobody_gets_lines_of_a_banned_author_by_request() {
    let (mut lan, [alice, bob, carol]) = alice_bans_bob(6);
    lan.say(carol, "from carol");
    lan.run_for(1_000);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    mallory.receive(&mut lan);
    let query = Have {
        digest: Some(String::new()),
        ..general_have(Vec::new())
    };
    mallory.send(&mut lan, &Message::Have(query));
    lan.run_for(5_000);
    let mut authors = BTreeSet::new();
    for message in mallory.receive_messages(&mut lan) {
        if let Message::Have(have) = message {
            authors.extend(have.logs.iter().map(|entry| entry.sender));
        }
    }
    assert_eq!(authors, BTreeSet::from([lan.id(carol)]));
    for author in [bob, carol] {
        let want = WantEntry {
            sender: lan.id(author),
            incarnation: incarnation_of(&lan, alice, author),
            from: 1,
            to: 0,
        };
        let (target, logs) = ("#general".to_owned(), vec![want]);
        mallory.send(&mut lan, &Message::Want { target, logs });
    }
    lan.run_for(1_000);
    let frames = mallory.receive(&mut lan).into_iter();
    let batches = frames.filter(|frame| frame.kind == FrameKind::Batch);
    let authors = batches.map(|frame| Batch::parse(frame.payload, &NetworkTag::OPEN));
    let authors: Vec<PeerId> = authors.map(|it| it.expect("a batch").log.author).collect();
    assert_eq!(authors, [lan.id(carol)]);
}

/// When the ban is lifted, they link again, and what was missed comes.
#[test]
fn a_lifted_ban_brings_what_was_missed() {
    let (mut lan, [alice, bob, _]) = alice_bans_bob(4);
    lan.say(bob, "after");
    lan.run_for(30_000);
    lan.peers[alice].known_peers.pop();
    reload(&mut lan, alice);
    lan.run_for(120_000);
    assert!(lan.are_linked(alice, bob));
    assert_eq!(lan.peers[alice].received(), ["before", "after"]);
    lan.check_lines();
}

/// A line to a room needs no acknowledgement of a banned peer, which others know.
#[test]
fn delivery_does_not_wait_for_a_banned_peer() {
    let (mut lan, [alice, ..]) = alice_bans_bob(5);
    lan.run_for(10_000);
    lan.say(alice, "hello");
    lan.finish(alice, None);
    lan.run_for(1_000);
    assert!(lan.peers[alice].is_settled());
}

/// Lines for a banned peer are not carried, and those of a banned author take no place: carol
/// carries 1000 other lines to the same recipient.
#[test]
fn lines_of_and_to_banned_peers_take_no_place() {
    let mut lan = Lan::new(7);
    let [alice, bob, carol, dave] = lan.add_peers(["alice", "bob", "carol", "dave"]);
    lan.start_all([alice, bob, carol, dave]);
    lan.run_for(1_000);
    lan.stop(dave);
    lan.run_for(1_000);
    let to_dave = format!("@{}", lan.id(dave));
    lan.send_direct(bob, &to_dave, "from bob");
    lan.run_for(1_000);
    assert_eq!(stored(&lan, carol, bob), 1);
    write_ban(&mut lan, carol, dave);
    reload(&mut lan, carol);
    lan.send_direct(bob, &to_dave, "again");
    lan.send_direct(alice, &to_dave, "from alice");
    lan.run_for(5_000);
    assert_eq!(stored(&lan, carol, bob), 1);
    assert_eq!(stored(&lan, carol, alice), 0);
}

/// The same at the bounds: mallory has taken all places, of one recipient or of all, and erin
/// displaces nothing.
#[test]
fn places_of_banned_peers_are_free() {
    for (recipients, is_author_banned) in [(1, true), (20, false)] {
        let mut lan = Lan::new(14);
        let carol = lan.add_peer("carol");
        lan.start(carol);
        let [mut mallory, mut erin] = [1, 2].map(|n| ScriptedPeer::connect(&mut lan, carol, n));
        for n in 0..recipients {
            send_letters(&mut lan, &mut mallory, made_up_peer(n), 1_000);
        }
        let banned = match is_author_banned {
            true => mallory.identity.id(),
            false => made_up_peer(0),
        };
        write_ban_of(&mut lan, carol, banned);
        reload(&mut lan, carol);
        let logs = |lan: &Lan| lan.node(carol).frontier(&FolderName::carried()).len() as u64;
        assert_eq!(lan.peers[carol].carried_line_count(), 1_000 * recipients);
        assert_eq!(logs(&lan), recipients);
        // Her recipient is mallory's, or one for whom nothing is carried yet.
        let recipient = made_up_peer(if is_author_banned { 0 } else { 99 });
        send_letters(&mut lan, &mut erin, recipient, 10);
        assert_eq!(logs(&lan), recipients + 1);
    }
}

/// The sentences of the errors that this peer's user has got.
fn error_sentences(lan: &Lan, who: PeerIndex) -> Vec<String> {
    let errors = lan.peers[who]
        .notices_of_run()
        .filter_map(|notice| match notice {
            Notice::Error { content, .. } => Some(content.clone()),
            _ => None,
        });
    errors.collect()
}

/// A message to a banned key is refused, with a sentence.
#[test]
fn nothing_is_sent_to_a_banned_key() {
    let (mut lan, [alice, bob, _]) = alice_bans_bob(8);
    let to_bob = format!("@{}", lan.id(bob));
    lan.send_direct(alice, &to_bob, "psst");
    lan.run_for(1_000);
    let refusals = error_sentences(&lan, alice);
    assert_eq!(refusals.len(), 1);
    assert!(refusals[0].contains("you banned that key"), "{refusals:?}");
    assert_eq!(stored(&lan, alice, alice), 0);
}

/// A gap in the lines of a banned author makes nobody ask for it.
#[test]
fn gaps_of_a_banned_author_are_not_asked_for() {
    let mut lan = Lan::new(9);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.start_all([alice, bob, carol]);
    lan.run_for(1_000);
    for text in ["one", "two", "three"] {
        lan.say(bob, text);
        lan.run_for(500);
    }
    write_ban(&mut lan, alice, bob);
    reload(&mut lan, alice);
    let log = {
        let mut entries = lan.peers[alice].disk.entries();
        let entry = entries.find(|it| it.batch.log.author == lan.id(bob));
        entry.expect("a line").batch.log.clone()
    };
    let lost = lan.peers[alice].disk.lose(&log, 2..=2, true);
    lan.feed(alice, Input::LinesLost(lost));
    lan.run_for(60_000);
    let mut mallory = ScriptedPeer::connect(&mut lan, alice, 1);
    lan.run_for(1_000);
    let digests = mallory.receive_messages(&mut lan).into_iter();
    let digests = digests.filter_map(|message| match message {
        Message::Have(have) => have.digest,
        _ => None,
    });
    let digests: Vec<String> = digests.collect();
    assert!(
        !digests.is_empty() && !digests.contains(&String::new()),
        "{digests:?}"
    );
}

/// Alice, who has banned bob, and bob. She does not hear his beacons, so only he dials.
fn only_bob_dials(seed: u64) -> (Lan, PeerIndex, PeerIndex) {
    let mut lan = Lan::new(seed);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    write_ban(&mut lan, alice, bob);
    lan.peers[bob].beacons_enabled = false;
    (lan, alice, bob)
}

/// Bob learns that he is refused, and leaves alice's program alone. He dials her next one at once,
/// which may know of no ban.
#[test]
fn a_banned_peer_dials_each_run_seldom() {
    let (mut lan, alice, bob) = only_bob_dials(10);
    lan.start_all([alice, bob]);
    lan.run_for(640_000);
    let dials = lan.network.dial_count;
    assert!((5..=11).contains(&dials), "{dials} dials in 640 s");
    lan.kill(alice);
    lan.peers[alice].known_peers.clear();
    lan.start(alice);
    lan.run_until_linked(alice, bob, 5_000);
}

/// The same where `--peer` leads to alice. Bob is told why.
#[test]
fn a_banned_peer_dials_a_given_address_seldom() {
    let (mut lan, alice, bob) = only_bob_dials(11);
    lan.peers[alice].beacons_enabled = false;
    lan.start_all([alice, bob]);
    lan.add_static_peer(bob, lan.address(alice));
    lan.run_for(640_000);
    let dials = lan.network.dial_count;
    assert!((5..=11).contains(&dials), "{dials} dials in 640 s");
    let errors = error_sentences(&lan, bob);
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].contains("wants no link with this key"),
        "{errors:?}"
    );
}

/// The same where bob only remembers alice's address: no beacon and no user names it.
#[test]
fn a_banned_peer_dials_a_remembered_address_seldom() {
    let (mut lan, alice, bob) = only_bob_dials(13);
    lan.peers[alice].known_peers.clear();
    lan.start_all([alice, bob]);
    lan.run_until_linked(alice, bob, 5_000);
    lan.run_for(10_000);
    lan.stop(alice);
    lan.stop(bob);
    write_ban(&mut lan, alice, bob);
    lan.peers[alice].beacons_enabled = false;
    let before = lan.network.dial_count;
    lan.start_all([alice, bob]);
    lan.run_for(60_000);
    assert_eq!(lan.network.dial_count - before, 1);
}

/// Mallory repeats alice's beacon and refuses whoever dials the address. That is not alice's word:
/// her key is not the one that the handshake proves.
#[test]
fn nobody_refuses_for_another() {
    let mut lan = Lan::new(12);
    let [alice, bob, mallory] = lan.add_peers(["alice", "bob", "mallory"]);
    write_ban(&mut lan, mallory, bob);
    lan.peers[bob].beacons_enabled = false;
    lan.peers[mallory].beacons_enabled = false;
    lan.start_all([alice, mallory]);
    lan.run_for(1_000);
    let beacon = lan.last_beacon.clone();
    // Alice's next beacon is still to come.
    let dials = lan.network.dial_count;
    lan.start(bob);
    lan.inject_datagram(bob, 1, lan.address(mallory), &beacon);
    lan.run_for(100);
    assert_eq!(lan.network.dial_count, dials + 1);
    assert!(!lan.are_linked(alice, bob));
    lan.run_until_linked(alice, bob, 15_000);
}
