//! What a hostile host can do with messages that nobody signs.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::guests::lsnp::LsnpRequest;
use p2pchat::node::guest_table::GUESTS_PER_SOURCE_MAX;
use p2pchat::wire::lsnp::LsnpContent;

use super::support::{
    Foreigner, GATEWAY_PORT, deliver_bytes, expect_repeated, gateway, guest_count, shown, take_sent,
};
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

const MALLORY: Foreigner = Foreigner::new("mallory", 66);
const EMPTY_PROFILE: LsnpContent = LsnpContent::Profile {
    display_name: "",
    status: "",
    avatar: None,
};

/// Mallory's host announces so many users.
fn make_up_users(lan: &mut Lan, who: PeerIndex, count: usize) {
    for n in 0..count {
        let text = format!("TYPE:PEER_DISCOVERY\nUSER_ID:m{n}@10.0.9.66\nPORT:9000\n\n");
        deliver_bytes(lan, who, 1, MALLORY.address(), true, text.as_bytes());
    }
}

/// A host invents a hundred users: eight find a place, each is answered once, and the user is told
/// that the rest was dropped.
#[test]
fn a_hundred_forged_users_of_one_host() {
    let (mut lan, alice) = gateway(1, None);
    make_up_users(&mut lan, alice, 100);
    assert_eq!(guest_count(&mut lan, alice), 8);
    assert_eq!(take_sent(&mut lan, alice).len(), 8);
    // Another host has its own places.
    Foreigner::new("zed", 1).discover(&mut lan, alice);
    assert_eq!(guest_count(&mut lan, alice), 9);
    lan.run_for(61_000);
    assert_eq!(lan.peers[alice].error_count("guests"), 1);
    assert!(lan.node(alice).counters().guest_messages_ignored >= 22);
}

/// The places are for those who are here: a gone guest makes place.
#[test]
fn gone_guests_make_place() {
    let (mut lan, alice) = gateway(2, None);
    make_up_users(&mut lan, alice, 8);
    lan.run_for(301_000);
    MALLORY.discover(&mut lan, alice);
    assert_eq!(guest_count(&mut lan, alice), 8);
    assert_eq!(shown(&lan, alice).last().unwrap(), "#lsnp mallory joined");
}

/// All hosts of a network together have 256 guests at most.
#[test]
fn the_number_of_guests_is_bounded() {
    let (mut lan, alice) = gateway(3, None);
    for host in 0..=255 {
        for name in ["a", "b"] {
            Foreigner::new(name, host).discover(&mut lan, alice);
        }
    }
    assert_eq!(guest_count(&mut lan, alice), 256);
    assert_eq!(take_sent(&mut lan, alice).len(), 256);
}

/// A flood of lines is cut to 30 at once and two a second, and summed up.
#[test]
fn a_flood_of_lines_is_cut_and_summed_up() {
    let (mut lan, alice) = gateway(4, None);
    for n in 0..1_000 {
        MALLORY.send(&mut lan, alice, LsnpContent::Post(&format!("spam {n}")));
    }
    assert_eq!(shown(&lan, alice).len(), 31);
    let zed = Foreigner::new("zed", 1);
    zed.send(&mut lan, alice, LsnpContent::Post("I am heard"));
    assert_eq!(shown(&lan, alice).last().unwrap(), "#lsnp zed: I am heard");
    lan.run_for(61_000);
    let summaries = lan.peers[alice].notices_of_run().filter_map(|n| match n {
        Notice::Error { code, content } if code.as_str() == "guests" => Some(content.as_str()),
        _ => None,
    });
    let summaries: Vec<&str> = summaries.collect();
    assert_eq!(summaries.len(), 1);
    assert!(
        summaries[0].starts_with("970 messages of guests"),
        "{summaries:?}"
    );
    MALLORY.send(&mut lan, alice, LsnpContent::Post("later"));
    assert_eq!(shown(&lan, alice).last().unwrap(), "#lsnp mallory: later");
}

/// The hosts that are watched are bounded, and one that is silent makes place.
#[test]
fn forged_hosts_cannot_lock_out_everybody_for_long() {
    let (mut lan, alice) = gateway(5, None);
    for n in 0..512_u16 {
        let [high, low] = n.to_be_bytes();
        let forged = Foreigner {
            name: "m",
            ip: [10, 0, 100 + high, low],
            port: 9_000,
        };
        forged.send(&mut lan, alice, LsnpContent::Revoke);
    }
    let zed = Foreigner::new("zed", 1);
    zed.send(&mut lan, alice, LsnpContent::Post("hello"));
    assert_eq!(shown(&lan, alice), [""; 0]);
    lan.run_for(1_000);
    zed.send(&mut lan, alice, LsnpContent::Post("hello"));
    assert_eq!(shown(&lan, alice), ["#lsnp zed joined", "#lsnp zed: hello"]);
}

/// What a gateway repeats is bounded for all guests together: it signs it.
#[test]
fn repeated_lines_are_bounded() {
    let (mut lan, alice) = gateway(6, Some("#general"));
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.run_until_linked(alice, bob, 5_000);
    let repeated = (0..30).map(|n| format!("guest/mallory: spam {}", n % 20));
    expect_repeated(&mut lan, alice, &repeated.collect::<Vec<_>>());
    for host in 1..=10 {
        for n in 0..20 {
            let mallory = Foreigner::new("mallory", host);
            mallory.send(&mut lan, alice, LsnpContent::Post(&format!("spam {n}")));
        }
    }
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received().len(), 30);
}

/// Messages count only from a neighbour, and never from ourselves.
#[test]
fn messages_from_elsewhere_are_ignored() {
    let (mut lan, alice) = gateway(7, None);
    let post = b"TYPE:POST\nUSER_ID:zed@10.0.9.1\nCONTENT:hi\n\n";
    let elsewhere = [
        (1, [192, 0, 2, 1], 9_000),
        (2, [10, 0, 9, 1], 9_000),
        (1, [10, 0, 0, 1], GATEWAY_PORT),
    ];
    for (interface, ip, port) in elsewhere {
        let source = std::net::SocketAddrV4::new(ip.into(), port);
        deliver_bytes(&mut lan, alice, interface, source, true, post);
    }
    assert_eq!(shown(&lan, alice), [""; 0]);
}

/// A name that breaks the rule is shown as `?`, and its line stays one line.
#[test]
fn a_hostile_name_is_made_harmless() {
    let (mut lan, alice) = gateway(8, Some("#general"));
    let post = "TYPE:POST\nUSER_ID:\u{1b}[2J alice@10.0.9.66\nCONTENT:a\rTYPE:DM\u{1b}[2J\n\n";
    let repeated = "guest/?: a\rTYPE:DM\u{1b}[2J".to_owned();
    expect_repeated(&mut lan, alice, &[repeated]);
    deliver_bytes(&mut lan, alice, 1, MALLORY.address(), true, post.as_bytes());
    assert_eq!(
        shown(&lan, alice),
        ["#lsnp ? joined", "#lsnp ?: a\rTYPE:DM\u{1b}[2J"]
    );
    lan.check_lines();
}

/// Pictures are kept of 16 guests at most.
#[test]
fn pictures_are_bounded() {
    let (mut lan, alice) = gateway(9, None);
    let data = "a".repeat(60_000);
    for host in 0..40 {
        let profile = LsnpContent::Profile {
            display_name: "",
            status: "",
            avatar: Some(("image/png", &data)),
        };
        Foreigner::new("mallory", host).send(&mut lan, alice, profile);
    }
    lan.feed(alice, Input::Command(Command::Peers));
    let with_picture = lan.peers[alice].notices_of_run().filter_map(|n| match n {
        Notice::Guests(guests) => {
            Some(guests.iter().filter(|g| g.profile.avatar.is_some()).count())
        }
        _ => None,
    });
    assert_eq!(with_picture.last(), Some(16));
}

/// Our own lines leave at a bounded rate, and all of them do.
#[test]
fn our_own_flood_is_paced() {
    let (mut lan, alice) = gateway(10, None);
    Foreigner::new("zed", 1).discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    let texts: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    lan.say_all(alice, p2pchat::Room::new("#lsnp").ok(), &texts);
    let at_once = take_sent(&mut lan, alice).len();
    assert_eq!(at_once, 32);
    lan.run_for(4_000);
    let later = take_sent(&mut lan, alice);
    assert_eq!(at_once + later.len(), 200);
    assert_eq!(later.last().unwrap(), "10.0.9.1:9000 POST line 199");
}

/// Lines for nobody are kept within bounds, and the user hears of those that are not.
#[test]
fn waiting_lines_are_bounded() {
    let (mut lan, alice) = gateway(11, None);
    let texts: Vec<String> = (0..5_000).map(|n| format!("line {n}")).collect();
    lan.say_all(alice, p2pchat::Room::new("#lsnp").ok(), &texts);
    assert_eq!(lan.peers[alice].error_count("guests"), 1);
    assert_eq!(lan.peers[alice].error_count("failed"), 0);
    lan.finish(alice, None);
    Foreigner::new("zed", 1).discover(&mut lan, alice);
    lan.run_for(200_000);
    let posts = take_sent(&mut lan, alice);
    assert_eq!(posts.iter().filter(|p| p.contains(" POST ")).count(), 4_096);
    assert!(
        !lan.peers[alice].is_settled(),
        "the last lines were dropped"
    );
}

/// Lines for one guest that find no place are lost, and each of them is reported.
#[test]
fn direct_lines_without_a_place_are_reported() {
    let (mut lan, alice) = gateway(16, None);
    Foreigner::new("zed", 1).discover(&mut lan, alice);
    for _ in 0..90 {
        lan.send_direct(alice, "@guest/zed", &"x".repeat(16_000));
    }
    let lost = lan.peers[alice].error_count("failed");
    assert_eq!(lost, 9, "16 left at once, and 65 wait");
    lan.finish(alice, Some(0));
    assert!(!lan.peers[alice].is_settled());
    lan.run_for(10_000);
    assert!(lan.peers[alice].is_settled());
    assert_eq!(lan.peers[alice].error_count("failed"), lost);
}

/// The size of the waiting lines together is bounded as well.
#[test]
fn waiting_lines_are_bounded_in_size() {
    let (mut lan, alice) = gateway(12, None);
    let texts = vec!["x".repeat(16_000); 100];
    lan.say_all(alice, p2pchat::Room::new("#lsnp").ok(), &texts);
    Foreigner::new("zed", 1).discover(&mut lan, alice);
    lan.run_for(10_000);
    let posts = take_sent(&mut lan, alice);
    let posts = posts.iter().filter(|post| post.contains(" POST ")).count();
    assert_eq!(posts, 1024 * 1024 / 16_000);
}

/// The ids of the last eight messages of a guest are remembered.
#[test]
fn remembered_messages_are_bounded() {
    let (mut lan, alice) = gateway(13, None);
    let mut post = |id: u64| {
        let text = format!("TYPE:POST\nUSER_ID:m\nCONTENT:{id}\nMESSAGE_ID:{id}\n\n");
        deliver_bytes(
            &mut lan,
            alice,
            1,
            MALLORY.address(),
            false,
            text.as_bytes(),
        );
        shown(&lan, alice).len()
    };
    assert_eq!((0..9).map(&mut post).max(), Some(10));
    assert_eq!(post(8), 10, "remembered");
    assert_eq!(post(1), 10, "remembered");
    assert_eq!(post(0), 11, "forgotten");
}

/// What VERBOSE shows of a message is bounded, and a list that comes late was not awaited.
#[test]
fn shown_messages_are_bounded() {
    let (mut lan, alice) = gateway(14, None);
    MALLORY.discover(&mut lan, alice);
    lan.feed(alice, Input::Command(Command::Lsnp(LsnpRequest::List)));
    lan.run_for(10_100);
    MALLORY.send(&mut lan, alice, LsnpContent::ListResponse(Vec::new()));
    assert_eq!(shown(&lan, alice).len(), 1);
    lan.feed(alice, Input::Command(Command::Lsnp(LsnpRequest::Verbose)));
    MALLORY.send(&mut lan, alice, LsnpContent::Post(&"x".repeat(10_000)));
    let lines = shown(&lan, alice);
    assert_eq!(lines[1].len(), "#lsnp mallory sent ".len() + 512);
}

/// A forged message from the port of a service adds no guest, and brings the service no answer.
#[test]
fn ports_of_services_are_no_guests() {
    let (mut lan, alice) = gateway(15, None);
    for (port, guests) in [(53, 0), (1_023, 0), (1_024, 1)] {
        let forged = Foreigner { port, ..MALLORY };
        forged.send(&mut lan, alice, LsnpContent::ListRequest);
        assert_eq!(guest_count(&mut lan, alice), guests, "{port}");
        assert_eq!(take_sent(&mut lan, alice).len(), guests, "{port}");
    }
}

/// A small forged request brings its victim few large answers, though it moves and comes back.
#[test]
fn answers_to_a_guest_are_rare() {
    let (mut lan, alice) = gateway(16, None);
    for n in 0..60 {
        let mallory = Foreigner {
            port: 9_000 + n % 2,
            ..MALLORY
        };
        mallory.discover(&mut lan, alice);
        mallory.send(&mut lan, alice, EMPTY_PROFILE);
        mallory.send(&mut lan, alice, LsnpContent::ListRequest);
        mallory.send(&mut lan, alice, LsnpContent::Revoke);
        lan.run_for(2_000);
    }
    let sent = take_sent(&mut lan, alice);
    let count = |kind: &str| sent.iter().filter(|sent| sent.contains(kind)).count();
    assert_eq!(count(" PEER_LIST_RESPONSE "), 12);
    assert_eq!(count(" PROFILE "), 1);
}

/// New names of one host bring it no more large answers than it may have guests, though each leaves
/// at once.
#[test]
fn names_that_come_and_go_bring_few_answers() {
    let (mut lan, alice) = gateway(17, None);
    for n in 0..60 {
        let mallory = Foreigner {
            name: format!("mallory{n}").leak(),
            ..MALLORY
        };
        for content in [EMPTY_PROFILE, LsnpContent::ListRequest, LsnpContent::Revoke] {
            mallory.send(&mut lan, alice, content);
        }
        lan.run_for(2_000);
    }
    let sent = take_sent(&mut lan, alice);
    let count = |kind: &str| sent.iter().filter(|sent| sent.contains(kind)).count();
    assert_eq!(count(" PROFILE "), GUESTS_PER_SOURCE_MAX);
    assert_eq!(count(" PEER_LIST_RESPONSE "), GUESTS_PER_SOURCE_MAX);
    // Two minutes later there is place again.
    lan.run_for(120_000);
    MALLORY.send(&mut lan, alice, EMPTY_PROFILE);
    let sent = take_sent(&mut lan, alice);
    assert!(sent.iter().any(|sent| sent.contains(" PROFILE ")));
}
