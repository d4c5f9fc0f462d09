//! How undelivered lines are described.
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::PeerId;
use p2pchat::base::missing_lines::Undelivered;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::ui::undelivered::{Connectivity, describe};

fn peers(nicks: &[&str]) -> Vec<Peer> {
    let peer = |nick: &&str| Peer {
        id: PeerId([0; 32]),
        nick: Nick::new(nick).expect("a name"),
    };
    nicks.iter().map(peer).collect()
}

fn in_room(room: &str, (acked_peers, required_peers): (u64, u64), nicks: &[&str]) -> Undelivered {
    Undelivered {
        target: Target::Room(Room::new(room).expect("a room")),
        acked_peers,
        required_peers,
        lacking: peers(nicks),
        lacking_peers: nicks.len() as u64,
        is_recipient_absent: false,
        is_lacked_by_guests: false,
        is_lost_to_guests: false,
    }
}

/// Guests are named only if they alone lack lines. No peer is missed then.
#[test]
fn guests_are_named() {
    let of_guests = Undelivered {
        is_lacked_by_guests: true,
        ..in_room("#lsnp", (0, 1), &[])
    };
    let alone = Connectivity::Unlinked { heard_peers: 0 };
    let text = "#lsnp: not all lines were sent to the guests";
    assert_eq!(describe(std::slice::from_ref(&of_guests), alone), text);
    let text = "#lsnp: bob~aaaa lacks lines, 0 of 1 peers have received all";
    let with_bob = Undelivered {
        lacking: peers(&["bob"]),
        lacking_peers: 1,
        ..of_guests
    };
    assert_eq!(describe(&[with_bob], Connectivity::Linked), text);
    let lost = Undelivered {
        is_lost_to_guests: true,
        ..in_room("#grenache", (0, 1), &[])
    };
    let text = "#grenache: no guest took all lines: each service refused one, or gave no answer";
    assert_eq!(describe(&[lost], alone), text);
}

/// Each sentence names the room, and the first few peers that lack lines.
#[test]
fn rooms_and_peers_are_named() {
    let many = Undelivered {
        lacking_peers: 9,
        ..in_room("#ops", (1, 10), &["bob", "carol", "dave"])
    };
    for (undelivered, text) in [
        (
            in_room("#ops", (1, 2), &["bob"]),
            "#ops: bob~aaaa lacks lines, 1 of 2 peers have received all",
        ),
        (
            in_room("#ops", (0, 2), &["bob", "eve"]),
            "#ops: bob~aaaa and eve~aaaa lack lines, 0 of 2 peers have received all",
        ),
        (
            many,
            "#ops: bob~aaaa, carol~aaaa, dave~aaaa and 6 more lack lines, 1 of 10 peers have received all",
        ),
        (
            in_room("#ops", (0, 1), &[]),
            "#ops: nobody in the room is connected",
        ),
        (
            in_room("#ops", (1, 3), &[]),
            "#ops: 1 of 3 peers have received all lines",
        ),
        (
            in_room("#ops", (1, 1), &[]),
            "#ops: 1 of 2 peers have received all lines",
        ),
        (
            Undelivered {
                target: Target::Peer(PeerId([0; 32])),
                ..in_room("#ops", (0, 1), &["bob"])
            },
            "@bob~aaaa: the lines have not arrived",
        ),
        (
            Undelivered {
                target: Target::Peer(PeerId([0; 32])),
                is_recipient_absent: true,
                ..in_room("#ops", (0, 1), &["bob"])
            },
            "@bob~aaaa: this peer is not here",
        ),
    ] {
        assert_eq!(describe(&[undelivered], Connectivity::Linked), text);
    }
}

/// Without any link the rooms are named. Many rooms are counted. The sentence tells apart that
/// nobody is heard, and that nobody who is heard can be linked.
#[test]
fn the_first_rooms_are_named() {
    let rooms = ["#a", "#b", "#c", "#d", "#e"];
    let rooms: Vec<Undelivered> = rooms
        .iter()
        .map(|room| in_room(room, (0, 1), &[]))
        .collect();
    let text = "#a: no peer is connected; #b: no peer is connected";
    let describe_unlinked = |undelivered: &[Undelivered], heard_peers| {
        describe(undelivered, Connectivity::Unlinked { heard_peers })
    };
    let silent = format!("{text}; none was heard");
    assert_eq!(describe_unlinked(&rooms[..2], 0), silent);
    let one = format!("{text}; 1 was heard, but it does not answer on TCP (a firewall?)");
    assert_eq!(describe_unlinked(&rooms[..2], 1), one);
    let text = format!("{text}; #c: no peer is connected; and 2 more");
    let many = format!("{text}; 7 were heard, but none answers on TCP (a firewall?)");
    assert_eq!(describe_unlinked(&rooms, 7), many);
}
