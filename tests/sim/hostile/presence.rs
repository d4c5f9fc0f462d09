//! Floods of presence: what peers make the user read by joining, leaving and renaming themselves
//! again and again, and by advertising peers that do not exist.
use p2pchat::base::event::notice::{FlapKind, Notice};
use p2pchat::base::event::peer::PeerState;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::Room;
use p2pchat::wire::message::{ByeReason, Member, Members, Message};

use super::made_up::made_up_peer;
use super::messages::alice_and_mallory;
use crate::liveness::list_peers;
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;
use crate::support::scripted_peer::ScriptedPeer;

/// Length of a flood, in rounds of 10 ms.
const ROUNDS: u64 = 400;

/// Notices about the presence of peers.
fn notice_count(lan: &Lan, who: PeerIndex) -> u64 {
    let presence = lan.peers[who].notices_of_run().filter(|notice| {
        matches!(
            notice,
            Notice::Joined { .. }
                | Notice::Left { .. }
                | Notice::Renamed { .. }
                | Notice::Flapped { .. }
                | Notice::Presence { .. }
                | Notice::Error { .. }
        )
    });
    presence.count() as u64
}

/// The summaries about a peer: what changed, and how often.
fn summaries(lan: &Lan, who: PeerIndex, of: PeerId) -> Vec<(FlapKind, u64)> {
    let notices = lan.peers[who].notices_of_run();
    let summaries = notices.filter_map(|notice| match notice {
        Notice::Flapped {
            peer, kind, count, ..
        } if peer.id == of => Some((*kind, *count)),
        _ => None,
    });
    summaries.collect()
}

/// Runs until the summary is due. The peers send a message now and then, so their links last.
pub fn run_for_a_minute(lan: &mut Lan, peers: &mut [ScriptedPeer]) {
    for nonce in 0..12 {
        for peer in &mut *peers {
            peer.send(lan, &Message::Ping { nonce });
        }
        lan.run_for(5_000);
    }
}

fn leave_room(lan: &mut Lan, mallory: &mut ScriptedPeer) {
    mallory.send(lan, &Message::Rooms { rooms: Vec::new() });
}

fn enter_room(lan: &mut Lan, mallory: &mut ScriptedPeer) {
    let Message::Hello(hello) = mallory.hello() else {
        panic!("a hello");
    };
    mallory.send(lan, &Message::Rooms { rooms: hello.rooms });
}

fn rename(lan: &mut Lan, mallory: &mut ScriptedPeer, n: u64) {
    let username = format!("mallory{n}");
    mallory.send(lan, &Message::Profile { username });
}

/// Goes away, or each second time comes back.
fn go_away(lan: &mut Lan, mallory: &mut ScriptedPeer, n: u64) {
    let away = n.is_multiple_of(2).then(|| format!("reason {n}"));
    mallory.send(lan, &Message::Presence { away });
}

/// Advertises `count` made-up members, from number `first` on, or that they are gone.
pub fn advertise(lan: &mut Lan, mallory: &mut ScriptedPeer, first: u64, count: u64, is_here: bool) {
    let ids: Vec<PeerId> = (first..first + count).map(made_up_peer).collect();
    for ids in ids.chunks(100) {
        let here = ids.iter().filter(|_| is_here).map(|id| Member {
            peer: *id,
            username: "ghost".into(),
            run: first,
            hops: 1,
            via: None,
            await_ms: None,
        });
        let gone = ids.iter().filter(|_| !is_here);
        let members = Members {
            target: Room::general().to_string(),
            here: here.collect(),
            gone: gone.copied().collect(),
        };
        mallory.send(lan, &Message::Members(members));
    }
}

/// Notices about a peer that leaves and enters the room again and again. Its link ends for that,
/// and it connects again.
pub fn notices_about_a_flapping_peer(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for _ in 0..ROUNDS {
        if lan.node(alice).link_count() == 0 {
            mallory = ScriptedPeer::connect(&mut lan, alice, 1);
        }
        leave_room(&mut lan, &mut mallory);
        enter_room(&mut lan, &mut mallory);
        lan.run_for(10);
    }
    notice_count(&lan, alice)
}

/// Notices about a peer that changes its name again and again.
pub fn notices_about_names(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for n in 0..ROUNDS {
        rename(&mut lan, &mut mallory, n);
        lan.run_for(10);
    }
    notice_count(&lan, alice)
}

/// Notices about a peer that goes away and comes back again and again.
pub fn notices_about_away(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for n in 0..ROUNDS {
        go_away(&mut lan, &mut mallory, n);
        lan.run_for(10);
    }
    notice_count(&lan, alice)
}

/// The rows about gone peers, after 200 keys of one host have been linked. Bob, who was bound and
/// has gone first, is among them.
pub fn listed_gone_peers(seed: u64) -> u64 {
    let (mut lan, alice, _) = alice_and_mallory(seed);
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.run_until_linked(alice, bob, 2_000);
    lan.send_direct(alice, "@bob", "hello");
    lan.run_for(100);
    lan.stop(bob);
    for n in 10..210 {
        let mut guest = ScriptedPeer::connect(&mut lan, alice, n);
        let reason = ByeReason::Leave;
        guest.send(&mut lan, &Message::Bye { reason });
        lan.run_for(100);
    }
    let mut rows = list_peers(&mut lan, alice);
    rows.retain(|row| row.state == PeerState::Gone);
    assert!(rows.iter().any(|row| row.peer.id == lan.id(bob)));
    rows.len() as u64
}

/// Notices about made-up members, who come and go.
pub fn notices_about_made_up_members(seed: u64) -> u64 {
    let (mut lan, alice, mut mallory) = alice_and_mallory(seed);
    for n in 0..ROUNDS / 10 {
        advertise(&mut lan, &mut mallory, n * 100, 100, true);
        advertise(&mut lan, &mut mallory, n * 100, 100, false);
        lan.run_for(100);
    }
    notice_count(&lan, alice)
}

/// A member's moves are shown no more, for it moved 20 times. Its new name is shown all the same.
#[test]
fn a_new_name_after_the_last_shown_move_is_shown() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(1);
    let mut advertise = |lan: &mut Lan, run, username: &str| {
        let member = Member {
            peer: made_up_peer(1),
            username: username.into(),
            run,
            hops: 1,
            via: None,
            await_ms: None,
        };
        let members = Members {
            target: Room::general().to_string(),
            here: vec![member],
            gone: Vec::new(),
        };
        mallory.send(lan, &Message::Members(members));
    };
    let renames = |lan: &Lan| {
        let notices = lan.peers[alice].notices_of_run();
        notices
            .filter(|notice| matches!(notice, Notice::Renamed { .. }))
            .count()
    };
    for run in 1..=20 {
        advertise(&mut lan, run, "dave");
    }
    assert_eq!(lan.peers[alice].joined_count(made_up_peer(1)), 20);
    advertise(&mut lan, 20, "dan");
    assert_eq!(renames(&lan), 1);
    // What is shown after the next move is summarized.
    advertise(&mut lan, 21, "daniel");
    assert_eq!(renames(&lan), 1);
}

/// After a minute, one sentence says how often a peer joined or left, and its present state is
/// shown.
#[test]
fn a_flapping_peer_is_summarized() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(1);
    for _ in 0..15 {
        leave_room(&mut lan, &mut mallory);
        enter_room(&mut lan, &mut mallory);
    }
    leave_room(&mut lan, &mut mallory);
    let id = mallory.identity.id();
    let shown = |lan: &Lan| {
        let peer = &lan.peers[alice];
        (peer.joined_count(id), peer.left_count(id))
    };
    assert_eq!(shown(&lan), (10, 10));
    assert_eq!(summaries(&lan, alice, id), []);
    enter_room(&mut lan, &mut mallory);
    let mut peers = [mallory];
    run_for_a_minute(&mut lan, &mut peers);
    // It joined at the start, and left and joined 16 times.
    assert_eq!(summaries(&lan, alice, id), [(FlapKind::Membership, 33)]);
    assert_eq!(shown(&lan), (11, 10), "it is present");
    leave_room(&mut lan, &mut peers[0]);
    assert_eq!(shown(&lan), (11, 11), "a change of the next minute");
}

/// A peer that leaves for good while its changes are not shown is summarized, and shown as gone
/// once.
#[test]
fn a_peer_that_flaps_and_ends_is_shown_as_left() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(2);
    for _ in 0..20 {
        leave_room(&mut lan, &mut mallory);
        enter_room(&mut lan, &mut mallory);
    }
    run_for_a_minute(&mut lan, &mut []);
    let id = mallory.identity.id();
    let left = lan.peers[alice].left_count(id);
    assert_eq!(
        lan.peers[alice].joined_count(id),
        left,
        "its link has ended"
    );
    assert_eq!(summaries(&lan, alice, id).len(), 1);
}

/// After a minute, one sentence says how often a peer changed its name. Its last name is shown.
#[test]
fn names_that_change_too_often_are_summarized() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(3);
    for n in 0..100 {
        rename(&mut lan, &mut mallory, n);
    }
    let id = mallory.identity.id();
    run_for_a_minute(&mut lan, &mut [mallory]);
    assert_eq!(summaries(&lan, alice, id), [(FlapKind::Name, 100)]);
    let notices = lan.peers[alice].notices_of_run();
    let names = notices.filter_map(|notice| match notice {
        Notice::Renamed { peer, .. } => Some(peer.nick.to_string()),
        _ => None,
    });
    assert_eq!(names.last().as_deref(), Some("mallory99"));
}

/// After a minute, one sentence says how often a peer went away or came back. Whether it is there
/// now is shown.
#[cfg(feature = "presence")]
#[test]
fn who_goes_away_too_often_is_summarized() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(6);
    for n in 0..99 {
        go_away(&mut lan, &mut mallory, n);
    }
    let id = mallory.identity.id();
    run_for_a_minute(&mut lan, &mut [mallory]);
    assert_eq!(summaries(&lan, alice, id), [(FlapKind::Away, 99)]);
    let notices = lan.peers[alice].notices_of_run();
    let reasons = notices.filter_map(|notice| match notice {
        Notice::Presence { away, .. } => away.as_ref().map(ToString::to_string),
        _ => None,
    });
    assert_eq!(reasons.last().as_deref(), Some("away: reason 98"));
}

/// All programs of a large room restart at once, and each is shown as left and joined.
#[test]
fn a_restart_of_many_peers_is_shown() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(4);
    advertise(&mut lan, &mut mallory, 0, 200, true);
    lan.run_for(1_000);
    advertise(&mut lan, &mut mallory, 0, 200, false);
    lan.run_for(7_000);
    advertise(&mut lan, &mut mallory, 0, 200, true);
    lan.run_for(1_000);
    for id in (0..200).map(made_up_peer) {
        assert_eq!(lan.peers[alice].joined_count(id), 2);
        assert_eq!(lan.peers[alice].left_count(id), 1);
    }
}

/// A crowd of made-up peers hides no linked peer. When it has stopped, the others that came
/// meanwhile are shown.
#[test]
fn a_flood_of_made_up_peers_hides_others_for_a_minute() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(5);
    for n in 0..50 {
        advertise(&mut lan, &mut mallory, n * 100, 100, true);
        advertise(&mut lan, &mut mallory, n * 100, 100, false);
        lan.run_for(10);
    }
    assert_eq!(lan.peers[alice].error_count("presence"), 1);
    let bob = ScriptedPeer::connect(&mut lan, alice, 2);
    advertise(&mut lan, &mut mallory, 5_000, 1, true);
    lan.run_for(10);
    let [linked, routed] = [bob.identity.id(), made_up_peer(5_000)];
    let joined = |lan: &Lan| [linked, routed].map(|id| lan.peers[alice].joined_count(id));
    assert_eq!(joined(&lan), [1, 0]);
    run_for_a_minute(&mut lan, &mut [mallory, bob]);
    assert_eq!(joined(&lan), [1, 1]);
}

/// Notices about who is away take places of those about who joins.
#[cfg(feature = "presence")]
#[test]
fn who_is_away_counts_among_all_notices() {
    for (changes, is_shown) in [(2, true), (18, false)] {
        let (mut lan, alice, mut mallory) = alice_and_mallory(8);
        advertise(&mut lan, &mut mallory, 0, 2_040, true);
        advertise(&mut lan, &mut mallory, 0, 2_040, false);
        lan.run_for(7_000);
        for n in 0..changes {
            go_away(&mut lan, &mut mallory, n);
        }
        advertise(&mut lan, &mut mallory, 5_000, 1, true);
        let joined = lan.peers[alice].joined_count(made_up_peer(5_000));
        assert_eq!(joined > 0, is_shown, "{changes} changes");
    }
}

/// A neighbour with as many routes as it may have repeats them: they stay, and nobody is told of a
/// change. One more has no place.
#[test]
fn a_repeated_route_has_a_place() {
    let (mut lan, alice, mut mallory) = alice_and_mallory(1);
    let mut observer = ScriptedPeer::connect(&mut lan, alice, 2);
    for is_told in [true, false] {
        advertise(&mut lan, &mut mallory, 0, 2_048, true);
        advertise(&mut lan, &mut mallory, 5_000, 1, true);
        lan.run_for(1_000);
        let mut messages = observer.receive_messages(&mut lan).into_iter();
        assert_eq!(
            messages.any(|it| matches!(it, Message::Members(_))),
            is_told
        );
        let present = lan.node(alice).present_count(&Room::general());
        assert_eq!(present, 2 + 2_048);
    }
}
