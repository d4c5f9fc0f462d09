//! News over several hosts: behind a relay, and after a partition.
use super::hosts::lan::Lan;
use super::hosts::program::TIMEOUT;
use super::{PEER_TIMEOUT, wait_event, wait_joined, wait_messages};

/// Three hosts, of which alice (0) and carol (2) reach each other only through bob (1).
fn chain() -> Option<Lan> {
    let lan = Lan::unplugged(3)?;
    for (host, segment) in [(0, 0), (1, 0), (1, 1), (2, 1)] {
        lan.attach(host, segment);
        lan.wait_up(host, segment);
    }
    Some(lan)
}

/// Behind a relay, a reader that is younger than the author shows the author's first line, and
/// what a `send` says; what was said before it came is history.
#[test]
fn a_reader_behind_a_relay_shows_every_line_since_it_began() {
    let Some(lan) = chain() else { return };
    let mut alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    wait_joined(&bob, "alice");
    let old = lan.hosts[0].spawn("dan", &["send", "old"]);
    wait_messages(&bob, "dan", &["old"], TIMEOUT);
    drop(old);
    let carol = lan.hosts[2].start("carol", &["listen"]);
    wait_joined(&carol, "alice");
    alice.say("one");
    wait_messages(&carol, "alice", &["one"], TIMEOUT);
    let mut erin = lan.hosts[0].spawn("erin", &["send", "two"]);
    assert_eq!(erin.wait_code(TIMEOUT), 0);
    wait_messages(&carol, "erin", &["two"], TIMEOUT);
    wait_messages(&carol, "dan", &[], TIMEOUT);
    let stored = lan.hosts[2].history("carol", &[]);
    assert!(stored.contains(": old"), "{stored}");
}

/// Lines of a run that ended during a partition are printed by a reader that ran all along.
#[test]
fn lines_of_a_run_that_ended_during_a_partition_are_news() {
    let Some(lan) = chain() else { return };
    let alice = lan.hosts[0].start("alice", &[]);
    let bob = lan.hosts[1].start("bob", &[]);
    let carol = lan.hosts[2].start("carol", &["listen"]);
    wait_joined(&carol, "alice");
    super::finish(alice);
    lan.mute(2, 1);
    wait_event(&bob, "carol", "left", 1, PEER_TIMEOUT);
    let mut alice = lan.hosts[0].start("alice", &["-W", "1"]);
    wait_event(&bob, "alice", "joined", 2, TIMEOUT);
    alice.say("in the partition");
    wait_messages(&bob, "alice", &["in the partition"], TIMEOUT);
    super::finish(alice);
    lan.unmute(2, 1);
    wait_messages(&carol, "alice", &["in the partition"], 3 * TIMEOUT);
}
