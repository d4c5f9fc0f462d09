//! LSNP with well-behaved programs of all versions.
use p2pchat::base::event::command::Command;
use p2pchat::base::event::input::Input;
use p2pchat::base::guests::lsnp::{LsnpConfig, LsnpRequest};
use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::base::name::Room;
use p2pchat::base::presence::profile::Profile;
use p2pchat::wire::lsnp::LsnpContent;

use super::support::{
    Foreigner, GATEWAY_PORT, deliver_bytes, expect_repeated, gateway, last_error, shown, take_sent,
};
use crate::support::lan::{Lan, REDIAL_MS};

const ZED: Foreigner = Foreigner::new("zed", 1);

/// A program that starts is known to everybody: it says so at once, a second later, and then every
/// 30 s.
#[test]
fn a_gateway_announces_itself() {
    let (mut lan, alice) = gateway(1, None);
    lan.run_for(90_000);
    assert_eq!(take_sent(&mut lan, alice), ["all PEER_DISCOVERY 8500"; 3]);
    lan.stop(alice);
    lan.start(alice);
    lan.run_for(1_500);
    assert_eq!(take_sent(&mut lan, alice), ["all PEER_DISCOVERY 8500"; 2]);
}

/// Whoever is not known yet is told where we are, once. Programs that answer every discovery,
/// answers too, would never stop otherwise.
#[test]
fn a_discovery_is_answered_once_and_an_answer_never() {
    let (mut lan, alice) = gateway(2, None);
    ZED.discover(&mut lan, alice);
    assert_eq!(
        take_sent(&mut lan, alice),
        ["10.0.9.1:9000 PEER_DISCOVERY 8500"]
    );
    for _ in 0..5 {
        // Zed answers our answer, and calls again.
        let port = ZED.port;
        ZED.send(&mut lan, alice, LsnpContent::Discovery { port });
        ZED.discover(&mut lan, alice);
        lan.run_for(1_000);
    }
    assert_eq!(take_sent(&mut lan, alice), [""; 0]);
    // Carol answers our broadcast. She knows us, so nothing is due.
    let carol = Foreigner::new("carol", 2);
    let port = carol.port;
    carol.send(&mut lan, alice, LsnpContent::Discovery { port });
    assert_eq!(take_sent(&mut lan, alice), [""; 0]);
    // A program that has started again, at another port, does not know us.
    let restarted = Foreigner { port: 9_500, ..ZED };
    restarted.discover(&mut lan, alice);
    assert_eq!(
        take_sent(&mut lan, alice),
        ["10.0.9.1:9500 PEER_DISCOVERY 8500"]
    );
    assert_eq!(
        shown(&lan, alice),
        ["#lsnp zed joined", "#lsnp carol joined"]
    );
}

/// The first version hears no broadcast, and forgets us after five minutes of silence.
#[test]
fn a_guest_is_reminded_of_us() {
    let (mut lan, alice) = gateway(3, None);
    ZED.discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    for _ in 0..9 {
        lan.run_for(30_000);
        ZED.discover(&mut lan, alice);
    }
    let sent = take_sent(&mut lan, alice);
    let reminders = sent.iter().filter(|sent| sent.starts_with("10.0.9.1"));
    assert_eq!(reminders.count(), 2, "{sent:?}");
}

/// What our user says in the room goes to the guests that are here, or to the first one who comes.
/// What other peers say there does not: each gateway speaks for its own user.
#[test]
fn our_lines_go_to_guests_and_those_of_others_do_not() {
    let (mut lan, alice) = gateway(4, None);
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.join(bob, "#lsnp");
    lan.run_until_linked(alice, bob, 5_000);
    lan.say_in(alice, "#lsnp", "anybody here?");
    lan.run_for(1_000);
    assert_eq!(take_sent(&mut lan, alice), [""; 0]);
    ZED.discover(&mut lan, alice);
    Foreigner::new("carol", 2).discover(&mut lan, alice);
    take_sent(&mut lan, alice).sort();
    lan.say_in(bob, "#lsnp", "bob says");
    lan.say_in(alice, "#lsnp", "to both");
    lan.say_in(alice, "#general", "not for guests");
    lan.run_for(1_000);
    assert_eq!(
        take_sent(&mut lan, alice),
        ["10.0.9.1:9000 POST to both", "10.0.9.2:9000 POST to both"]
    );
    assert!(lan.peers[alice].received().contains(&"bob says".to_owned()));
}

/// A line that was said before anybody came reaches the first guest.
#[test]
fn a_line_waits_for_the_first_guest() {
    let (mut lan, alice) = gateway(5, None);
    lan.say_in(alice, "#lsnp", "anybody here?");
    lan.run_for(60_000);
    take_sent(&mut lan, alice);
    ZED.discover(&mut lan, alice);
    assert_eq!(
        take_sent(&mut lan, alice),
        [
            "10.0.9.1:9000 PEER_DISCOVERY 8500",
            "10.0.9.1:9000 POST anybody here?"
        ]
    );
}

/// Guests acknowledge nothing, so lines count as delivered when a guest was sent them. With neither
/// a guest nor a peer they do not.
#[test]
fn lines_in_the_room_are_delivered_with_a_guest() {
    let (mut lan, alice) = gateway(6, None);
    lan.say_in(alice, "#lsnp", "hello");
    lan.finish(alice, None);
    lan.run_for(10_000);
    assert!(!lan.peers[alice].is_settled());
    ZED.discover(&mut lan, alice);
    lan.run_for(100);
    assert!(lan.peers[alice].is_settled());
}

/// Lines that wait for their turn are delivered to nobody, though a peer stores them already.
#[test]
fn lines_in_the_room_are_sent_before_the_run_ends() {
    let (mut lan, alice) = gateway(16, None);
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.join(bob, "#lsnp");
    lan.run_until_linked(alice, bob, 5_000);
    ZED.discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    let texts: Vec<String> = (0..200).map(|n| format!("line {n}")).collect();
    lan.say_all(alice, p2pchat::Room::new("#lsnp").ok(), &texts);
    lan.finish(alice, None);
    lan.run_for(2_000);
    assert_eq!(lan.peers[bob].received().len(), 200);
    assert!(take_sent(&mut lan, alice).len() < 200);
    assert!(!lan.peers[alice].is_settled());
    lan.run_for(2_000);
    assert!(lan.peers[alice].is_settled());
}

/// What the system refuses to send does not count as sent.
#[test]
fn lines_that_cannot_leave_are_not_delivered() {
    let (mut lan, alice) = gateway(19, None);
    ZED.discover(&mut lan, alice);
    lan.peers[alice].lsnp_fails = true;
    lan.say_in(alice, "#lsnp", "hello");
    lan.finish(alice, None);
    lan.run_for(10_000);
    assert!(!lan.peers[alice].is_settled());
    lan.send_direct_within(alice, "@guest/zed", "psst", 0);
    assert_eq!(last_error(&lan, alice), "guest/zed cannot be reached");
}

/// A post is shown once, though a program may send it to everybody and to us.
#[test]
fn a_message_that_comes_twice_is_shown_once() {
    let (mut lan, alice) = gateway(7, None);
    let post = "TYPE:POST\nUSER_ID:zed@10.0.9.1\nCONTENT:hi\nMESSAGE_ID:1f\n\n";
    for is_to_all in [true, false] {
        deliver_bytes(
            &mut lan,
            alice,
            1,
            ZED.address(),
            is_to_all,
            post.as_bytes(),
        );
    }
    assert_eq!(shown(&lan, alice), ["#lsnp zed joined", "#lsnp zed: hi"]);
}

/// Direct messages go both ways. A message for somebody else is none for us.
#[test]
fn direct_messages_go_both_ways() {
    let (mut lan, alice) = gateway(8, None);
    ZED.discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    for (to, line) in [("alice@10.0.0.1", "hey"), ("carol@10.0.9.2", "not for us")] {
        ZED.send(&mut lan, alice, LsnpContent::Direct { to, line });
    }
    lan.send_direct_within(alice, "@guest/ZED", "psst", 0);
    assert_eq!(
        take_sent(&mut lan, alice),
        ["10.0.9.1:9000 DM zed@10.0.9.1 psst"]
    );
    assert_eq!(
        shown(&lan, alice),
        ["#lsnp zed joined", "zed -> us: hey", "us -> zed: psst"]
    );
}

/// A name that two guests bear is refused; the address tells them apart. A guest may come later.
#[test]
fn a_direct_message_finds_its_guest() {
    let (mut lan, alice) = gateway(9, None);
    ZED.discover(&mut lan, alice);
    Foreigner::new("zed", 2).discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    lan.send_direct_within(alice, "@guest/zed", "which?", 0);
    assert_eq!(lan.peers[alice].error_count("target"), 1);
    lan.send_direct_within(alice, "@guest/zed@10.0.9.2", "you", 0);
    assert_eq!(
        take_sent(&mut lan, alice),
        ["10.0.9.2:9000 DM zed@10.0.9.2 you"]
    );
    let twin = Foreigner { port: 9_001, ..ZED };
    let bytes = "TYPE:PEER_DISCOVERY\nUSER_ID:zed@elsewhere\nPORT:9001\n\n";
    deliver_bytes(&mut lan, alice, 1, twin.address(), true, bytes.as_bytes());
    take_sent(&mut lan, alice);
    lan.send_direct_within(alice, "@guest/zed@10.0.9.1", "which?", 0);
    let choices = "@guest/zed@10.0.9.1:9000 or @guest/zed@10.0.9.1:9001";
    let refusal = last_error(&lan, alice);
    assert!(refusal.ends_with(choices), "{refusal}");
    lan.send_direct_within(alice, "@guest/zed@10.0.9.1:9001", "you", 0);
    assert_eq!(
        take_sent(&mut lan, alice),
        ["10.0.9.1:9001 DM zed@elsewhere you"]
    );
    lan.send_direct_within(alice, "@guest/carol", "are you there?", 10_000);
    lan.run_for(5_000);
    let carol = Foreigner::new("carol", 3);
    carol.discover(&mut lan, alice);
    assert!(
        take_sent(&mut lan, alice)
            .contains(&"10.0.9.3:9000 DM carol@10.0.9.3 are you there?".to_owned())
    );
    lan.send_direct_within(alice, "@guest/dave", "nobody", 1_000);
    lan.run_for(2_000);
    assert_eq!(lan.peers[alice].error_count("target"), 3);
}

/// A run that just began gets answers from all guests of a name before it takes one of them.
#[test]
fn a_run_that_begins_does_not_take_the_first_bearer() {
    let (mut lan, alice) = gateway(17, None);
    lan.stop(alice);
    lan.start(alice);
    lan.run_for(50);
    lan.send_direct_within(alice, "@guest/zed", "which?", 10_000);
    lan.send_direct_within(alice, "@guest/carol", "hello", 10_000);
    take_sent(&mut lan, alice);
    for guest in [ZED, Foreigner::new("carol", 3), Foreigner::new("zed", 2)] {
        let port = guest.port;
        guest.send(&mut lan, alice, LsnpContent::Discovery { port });
        lan.run_for(300);
    }
    let refusal = last_error(&lan, alice);
    assert!(refusal.contains("could be @guest/zed@10.0.9."), "{refusal}");
    lan.run_for(1_000);
    let sent = take_sent(&mut lan, alice);
    let direct = sent.iter().filter(|sent| sent.contains(" DM "));
    let direct: Vec<&String> = direct.collect();
    assert_eq!(direct, ["10.0.9.3:9000 DM carol@10.0.9.3 hello"]);
}

/// Lists and profiles are answered, a profile once.
#[test]
fn lists_and_profiles_are_answered() {
    let (mut lan, alice) = gateway(10, None);
    let carol = Foreigner::new("carol", 2);
    ZED.discover(&mut lan, alice);
    carol.discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    ZED.send(&mut lan, alice, LsnpContent::ListRequest);
    let profile = || LsnpContent::Profile {
        display_name: "Zed Z",
        status: "busy",
        avatar: Some(("image/png", "YQ==")),
    };
    ZED.send(&mut lan, alice, profile());
    ZED.send(&mut lan, alice, profile());
    assert_eq!(
        take_sent(&mut lan, alice),
        [
            "10.0.9.1:9000 PEER_LIST_RESPONSE carol@10.0.9.2",
            "10.0.9.1:9000 PROFILE alice "
        ]
    );
    let ours = LsnpRequest::Profile(Profile::new("Alice A", "here", None));
    // Each request goes to all, for a datagram may get lost.
    for _ in 0..2 {
        lan.feed(alice, Input::Command(Command::Lsnp(ours.clone())));
        assert_eq!(
            take_sent(&mut lan, alice),
            [
                "10.0.9.1:9000 PROFILE Alice A here",
                "10.0.9.2:9000 PROFILE Alice A here",
            ]
        );
    }
    lan.feed(alice, Input::Command(Command::Lsnp(LsnpRequest::List)));
    assert_eq!(
        take_sent(&mut lan, alice),
        [
            "10.0.9.1:9000 PEER_LIST_REQUEST",
            "10.0.9.2:9000 PEER_LIST_REQUEST"
        ]
    );
    // Of two answers, the first one was awaited.
    let known = ["dave@10.0.9.4", "carol@10.0.9.2", "alice@10.0.0.1"].map(str::to_owned);
    for _ in 0..2 {
        ZED.send(&mut lan, alice, LsnpContent::ListResponse(known.to_vec()));
    }
    let all = shown(&lan, alice);
    assert_eq!(
        all[2..],
        [
            "#lsnp zed is Zed Z, busy",
            "#lsnp zed also knows dave@10.0.9.4"
        ]
    );
}

/// A guest leaves with a goodbye, or after five minutes of silence, and may come back.
#[test]
fn a_guest_leaves_and_comes_back() {
    let (mut lan, alice) = gateway(11, None);
    ZED.discover(&mut lan, alice);
    ZED.send(&mut lan, alice, LsnpContent::Revoke);
    ZED.send(&mut lan, alice, LsnpContent::Revoke);
    ZED.discover(&mut lan, alice);
    lan.run_for(299_000);
    assert_eq!(shown(&lan, alice).len(), 3);
    lan.run_for(2_000);
    assert_eq!(
        shown(&lan, alice),
        [
            "#lsnp zed joined",
            "#lsnp zed left",
            "#lsnp zed joined",
            "#lsnp zed left"
        ]
    );
}

/// Who leaves says so to every guest.
#[test]
fn we_say_goodbye() {
    let (mut lan, alice) = gateway(12, None);
    ZED.discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    lan.stop(alice);
    assert_eq!(take_sent(&mut lan, alice), ["10.0.9.1:9000 REVOKE"]);
}

/// With a room to repeat in, what guests say there is said by the gateway, which signs it.
#[test]
fn a_gateway_repeats_what_guests_say() {
    let (mut lan, alice) = gateway(13, Some("#general"));
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.run_until_linked(alice, bob, 5_000);
    expect_repeated(&mut lan, alice, &["guest/zed: hi all".to_owned()]);
    ZED.send(&mut lan, alice, LsnpContent::Post("hi all"));
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["guest/zed: hi all"]);
    assert_eq!(take_sent(&mut lan, alice), [""; 0]);
}

/// The longest post is repeated as far as it fits beside the guest's name.
#[test]
fn a_long_post_is_repeated_as_far_as_it_fits() {
    let (mut lan, alice) = gateway(18, Some("#general"));
    let bob = lan.add_peer("bob");
    lan.start(bob);
    lan.run_until_linked(alice, bob, 5_000);
    let post = "é".repeat(LINE_MAX_BYTES / 2);
    let repeated = format!("guest/zed: {}", "é".repeat((LINE_MAX_BYTES - 11) / 2));
    expect_repeated(&mut lan, alice, std::slice::from_ref(&repeated));
    ZED.send(&mut lan, alice, LsnpContent::Post(&post));
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), [repeated]);
}

/// Two gateways of one network get each other's lines signed. So they are no guests of each other.
#[test]
fn gateways_are_no_guests_of_each_other() {
    let (mut lan, alice) = gateway(14, None);
    let announced = "TYPE:PEER_DISCOVERY\nUSER_ID:bob@10.0.9.1\nPORT:9000\nP2PCHAT:";
    for (tag, guests) in [("0000000000000000", 0), ("65a74151c13e175b", 1)] {
        let bytes = format!("{announced}{tag}\n\n");
        deliver_bytes(&mut lan, alice, 1, ZED.address(), true, bytes.as_bytes());
        assert_eq!(shown(&lan, alice).len(), guests, "{tag}");
    }
}

/// Direct lines leave before the run ends, however many peers must store the lines in rooms.
#[test]
fn direct_lines_are_waited_for_whatever_peers_are_needed() {
    let (mut lan, alice) = gateway(15, None);
    ZED.discover(&mut lan, alice);
    take_sent(&mut lan, alice);
    for n in 0..100 {
        lan.send_direct_within(alice, "@guest/zed", &format!("line {n}"), 0);
        lan.run_for(1);
    }
    for required_peers in [Some(1), Some(0), None] {
        lan.finish(alice, required_peers);
        assert!(!lan.peers[alice].is_settled(), "{required_peers:?}");
    }
    lan.finish(alice, Some(1));
    lan.run_for(2_000);
    let sent = take_sent(&mut lan, alice);
    assert_eq!(
        sent.iter().filter(|sent| sent.contains(" DM ")).count(),
        100
    );
    lan.run_for(2_000);
    assert!(lan.peers[alice].is_settled());
}

/// A line that the disk refused at first is said to a guest once.
#[test]
fn a_full_disk_repeats_no_line() {
    let (mut lan, alice) = gateway(22, None);
    lan.peers[alice].disk.full = true;
    lan.say_in(alice, "#lsnp", "hello");
    lan.run_for(10_000);
    lan.peers[alice].disk.full = false;
    lan.run_for(3_000);
    take_sent(&mut lan, alice);
    Foreigner::new("zed", 1).discover(&mut lan, alice);
    lan.run_for(1_000);
    let mut sent = take_sent(&mut lan, alice);
    sent.retain(|sent| sent.contains(" POST "));
    assert_eq!(sent, ["10.0.9.1:9000 POST hello"]);
}

/// Lines that replace those of a forked log go to peers alone: guests have them already.
#[test]
fn guests_get_no_line_again_after_a_fork() {
    for is_healed_later in [false, true] {
        let mut lan = Lan::new(100);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.peers[alice].lsnp = Some(LsnpConfig {
            port: GATEWAY_PORT,
            repeat_room: None,
        });
        let start = |lan: &mut Lan| {
            lan.start(alice);
            lan.join(alice, "#lsnp");
        };
        let say = |lan: &mut Lan, what: &str, count: u32| {
            for n in 0..count {
                lan.say_in(alice, "#lsnp", &format!("{what} {n}"));
                lan.run_for(50);
            }
        };
        lan.start(bob);
        lan.join(bob, "#lsnp");
        start(&mut lan);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        say(&mut lan, "kept", 3);
        lan.stop(alice);
        lan.back_up(alice);
        start(&mut lan);
        lan.run_until_linked(alice, bob, REDIAL_MS);
        say(&mut lan, "lost", 5);
        lan.stop(alice);
        lan.restore(alice);
        lan.cut(alice, bob);
        start(&mut lan);
        ZED.discover(&mut lan, alice);
        lan.run_for(100);
        take_sent(&mut lan, alice);
        say(&mut lan, "alone", 3);
        let is_post = |sent: &String| sent.contains(" POST ");
        let sent = take_sent(&mut lan, alice);
        assert_eq!(sent.iter().filter(|sent| is_post(sent)).count(), 3);
        if is_healed_later {
            lan.kill(alice);
        }
        lan.heal();
        if is_healed_later {
            start(&mut lan);
            ZED.discover(&mut lan, alice);
        }
        lan.run_until_linked(alice, bob, REDIAL_MS);
        lan.run_for(10_000);
        let room = Room::new("#lsnp").expect("a room");
        let mut lines = Vec::new();
        for batch in lan.history(bob, &room) {
            let entry = lan.peers[bob].disk.find(&batch.log, batch.sequence);
            let entry = entry.expect("a stored batch");
            entry
                .batch
                .for_each_line(|line| lines.push(line.to_owned()));
        }
        assert!(lines.contains(&"alone 2".to_owned()), "{lines:?}");
        let sent = take_sent(&mut lan, alice);
        assert!(!sent.iter().any(is_post), "{sent:?}");
    }
}
