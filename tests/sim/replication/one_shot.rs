//! One-shot senders: `send` comes, has its line stored by all who are there, and leaves.
use crate::support::lan::Lan;
use crate::support::peer::PeerIndex;

/// Alice sends one line and leaves. Returns how many milliseconds after her first link she was done.
fn send_once(lan: &mut Lan, alice: PeerIndex) -> u64 {
    lan.peers[alice].transient = true;
    lan.start(alice);
    lan.say(alice, "hello");
    lan.finish(alice, None);
    lan.run_until("a link", 3_000, |lan| lan.node(alice).link_count() > 0);
    let took = lan.run_until("it is settled", 3_000, |lan| lan.peers[alice].is_settled());
    lan.stop(alice);
    took
}

/// The only listener of the network has named nobody else: the sender waits for nobody else.
#[test]
fn a_send_ends_with_the_receipt_of_one_who_knows_all() {
    for seed in 0..10 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.run_for(3_000);
        let took = send_once(&mut lan, alice);
        assert!(took <= 6, "seed {seed}: {took} ms after the link");
        assert_eq!(lan.peers[bob].received(), ["hello"]);
    }
}

/// A listener on the sender's own machine is on all of its networks.
#[test]
fn a_listener_on_this_machine_knows_all_of_its_networks() {
    let mut lan = Lan::new(3);
    let alice = lan.add_peer("alice");
    let bob = lan.add_peer_on("bob", alice);
    lan.hosts[alice].networks.push(1);
    lan.start(bob);
    lan.run_for(3_000);
    let took = send_once(&mut lan, alice);
    assert!(took <= 6, "{took} ms after the link");
    assert_eq!(lan.peers[bob].received(), ["hello"]);
}

/// Bob has just started and may not know everyone yet: the sender gives others time to answer. So
/// it does while one of its networks is silent, as somebody may answer there later.
#[test]
fn a_send_waits_for_answers_that_may_still_come() {
    for seed in 0..20 {
        let mut lan = Lan::new(seed);
        lan.network.conditions.dial_delay_max_ms = 5;
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        let has_two_networks = seed % 2 == 0;
        if has_two_networks {
            lan.hosts[alice].networks.push(1);
            lan.hosts[carol].networks = vec![1];
        } else {
            lan.remove_path(bob, carol);
        }
        lan.start_all([bob, carol]);
        lan.run_for(if has_two_networks { 5_000 } else { 300 });
        send_once(&mut lan, alice);
        for who in [bob, carol] {
            assert_eq!(lan.peers[who].received(), ["hello"], "seed {seed}, {who}");
        }
    }
}

/// Carol starts a moment before the line is sent, while bob has been there for long.
#[test]
fn a_send_reaches_one_who_has_just_come() {
    for seed in 0..40 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.start(bob);
        lan.run_for(5_000);
        lan.start(carol);
        lan.run_for(seed % 20);
        send_once(&mut lan, alice);
        for who in [bob, carol] {
            assert_eq!(lan.peers[who].received(), ["hello"], "seed {seed}, {who}");
        }
    }
}

/// Fifty listeners came one after another. Each of five senders ends when all of them store its
/// line.
#[test]
fn fifty_listeners_hold_a_line_when_its_send_ends() {
    let mut lan = Lan::new(50);
    let alice = lan.add_peer("alice");
    let listeners: Vec<PeerIndex> = (0..50).map(|n| lan.add_peer(&format!("p{n}"))).collect();
    for listener in &listeners {
        lan.start(*listener);
        lan.run_for(40);
    }
    lan.run_for(4_000);
    for sent in 1..=5 {
        send_once(&mut lan, alice);
        for listener in &listeners {
            assert_eq!(lan.peers[*listener].received().len(), sent, "{listener}");
        }
        lan.run_for(300);
    }
}

/// A script sends a hundred lines, each by a run of its own. Bob links with the last run as soon as
/// with the first: neither the limit of dials nor the delay in a burst of new peers is for it.
#[test]
fn a_hundred_sends_in_a_row_are_all_fast() {
    for seed in 0..4 {
        let mut lan = Lan::new(seed);
        let [alice, bob] = lan.add_peers(["alice", "bob"]);
        lan.start(bob);
        lan.run_for(4_000);
        for sent in 1..=100 {
            let started_at = lan.now_ms;
            send_once(&mut lan, alice);
            let took = lan.now_ms - started_at;
            assert!(took <= 25, "seed {seed}, send {sent}: {took} ms");
            assert_eq!(lan.peers[bob].received().len(), sent);
        }
    }
}
