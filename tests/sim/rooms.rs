//! Rooms: membership, joins and leaves, and the names that members see.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::name::{Nick, Room};

use crate::support::lan::Lan;

fn room(name: &str) -> Room {
    Room::new(name).expect("a room")
}

/// A line reaches the members of its room and no other peer.
#[test]
fn lines_go_to_members_only() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.peers[alice].startup_rooms.push(room("#ops"));
    lan.peers[bob].startup_rooms.push(room("#ops"));
    lan.start_all([alice, bob, carol]);
    lan.run_for(500);
    lan.say_in(alice, "#ops", "for ops");
    lan.say_in(alice, "#general", "for all");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["for ops", "for all"]);
    assert_eq!(lan.peers[carol].received(), ["for all"]);
    lan.check_lines();
}

/// Joining shows lines said since, leaving stops them, joining again brings those missed; each is
/// announced to the other members, and not to the one who leaves.
#[test]
fn a_room_can_be_joined_and_left_during_a_run() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.peers[alice].startup_rooms.push(room("#ops"));
    lan.start(alice);
    lan.run_for(2_000);
    lan.start(bob);
    lan.run_for(500);
    lan.say_in(alice, "#ops", "before");
    lan.run_for(100);
    lan.join(bob, "ops");
    lan.run_for(100);
    lan.say_in(alice, "#ops", "while");
    lan.say_in(bob, "#ops", "me too");
    lan.run_for(100);
    assert_eq!(lan.peers[alice].received(), ["me too"]);
    lan.part(bob, "ops");
    lan.run_for(100);
    lan.say_in(alice, "#ops", "after");
    lan.run_for(100);
    assert_eq!(
        lan.peers[bob].received(),
        ["while"],
        "the first line is older than bob's reader"
    );
    lan.join(bob, "ops");
    lan.run_for(100);
    assert_eq!(lan.peers[bob].received(), ["while", "after"]);
    lan.check_lines();
    let of_ops = |n: &&Notice| matches!(n, Notice::Joined { room, .. } if room.as_str() == "#ops");
    assert_eq!(lan.peers[alice].notices_of_run().filter(of_ops).count(), 2);
    let left = |n: &&Notice| matches!(n, Notice::Left { .. });
    assert_eq!(lan.peers[alice].notices_of_run().filter(left).count(), 1);
    let seen = lan.peers[bob].notices_of_run().filter(left).count();
    assert_eq!(seen, 0, "the leaving member sees nobody leave");
}

/// Leaving and joining a room, and a clean restart, continue the same log.
#[test]
fn sequences_continue_after_part_and_join() {
    let mut lan = Lan::new(3);
    let [alice] = lan.add_peers(["alice"]);
    lan.start(alice);
    lan.say(alice, "one");
    lan.part(alice, "general");
    lan.join(alice, "general");
    lan.say(alice, "two");
    lan.part(alice, "general");
    lan.stop(alice);
    lan.start(alice);
    lan.say(alice, "three");
    let ranges = lan.peers[alice].disk.ranges(&Room::general());
    assert_eq!(ranges.len(), 1, "one incarnation");
    assert_eq!(ranges[0].high, 3);
}

/// A changed name is announced to linked peers and signed into the next line.
#[test]
fn a_rename_reaches_linked_peers() {
    let mut lan = Lan::new(4);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(alice);
    lan.start(bob);
    lan.run_for(500);
    let nick = Nick::new("alicia").expect("a name");
    lan.feed(alice, Input::Command(Command::Nick(nick)));
    lan.say(alice, "it is me");
    lan.run_for(100);
    let renamed = |n: &&Notice| match n {
        Notice::Renamed { peer, old, .. } => {
            peer.nick.as_str() == "alicia" && old.as_str() == "alice"
        }
        _ => false,
    };
    assert_eq!(lan.peers[bob].notices_of_run().filter(renamed).count(), 1);
    let signed = |n: &Notice| match n {
        Notice::Chat(chat) => Some(chat.batch.username.to_string()),
        _ => None,
    };
    assert_eq!(
        lan.peers[bob].notices_of_run().find_map(signed).as_deref(),
        Some("alicia")
    );
}

/// A name or room changed at any moment of the handshake is known to the peer afterwards: what
/// the hello already said is amended.
#[test]
fn a_rename_during_the_handshake_is_not_lost() {
    for wait in 0..40 {
        let mut lan = Lan::new(wait);
        lan.network.conditions.stream_delay_max_ms = 8;
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(alice);
        lan.start(bob);
        lan.run_for(wait);
        let nick = Nick::new("alicia").expect("a name");
        lan.feed(alice, Input::Command(Command::Nick(nick)));
        lan.join(alice, "ops");
        lan.join(bob, "ops");
        lan.run_for(1_000);
        lan.feed(bob, Input::Command(Command::Peers));
        let view = lan.peers[bob].notices.pop();
        let Some((_, _, Notice::Peers(rows))) = view else {
            panic!("no view");
        };
        assert_eq!(rows[0].peer.nick.as_str(), "alicia", "after {wait} ms");
        assert!(rows[0].rooms.contains(&room("ops")), "after {wait} ms");
    }
}
