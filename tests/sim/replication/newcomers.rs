//! Newcomers: what a visit costs a listener that stores the logs of many earlier visitors, and what
//! a send-only program does and does not.
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, WALL_START_MS, lines};

/// Most bytes that a listener sends to a send-only visitor, handshake included.
const VISIT_BYTES_MAX: u64 = 8 * 1024;

/// The one line that an earlier visitor said, under a key of its own.
fn old_line(n: u64) -> Arc<Batch> {
    let mut seed = [99; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    let author = Identity::from_seed(&seed);
    let unsigned = UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: author.id(),
            incarnation: n + 1,
        },
        username: Nick::new("cron").expect("a name"),
        sequence: 1,
        lamport: (WALL_START_MS as u64 - 1_000_000_000 + n) * 1000,
        timestamp: WallTime(WALL_START_MS - 1_000_000_000 + n as i64),
        run: n,
        uptime: 1,
        previous: None,
        form: LineForm::Text,
        republishes: None,
        lines: &lines(&[&format!("old line {n}")]),
        sealed: None,
        salt: n,
    };
    Arc::new(Batch::sign(&author, &NetworkTag::OPEN, unsigned))
}

/// Stores the lines of this many earlier visitors on the peer's disk.
fn store_old_lines(lan: &mut Lan, who: PeerIndex, count: u64) {
    for n in 0..count {
        let local = LocalFields {
            backfill: true,
            ..LocalFields::default()
        };
        assert!(lan.peers[who].disk.save(&old_line(n), local, 0));
    }
}

/// What a visit cost the listener.
#[derive(Debug)]
struct Cost {
    bytes_sent: u64,
    loads: u64,
    inputs: u64,
    /// Lines that the visitor stores afterwards, its own included.
    stored: usize,
}

/// Makes a peer's program behave as `send --ephemeral`.
fn make_send_only(lan: &mut Lan, who: PeerIndex) {
    let peer = &mut lan.peers[who];
    (peer.transient, peer.is_ephemeral) = (true, true);
}

/// A transient program visits bob, who stores the lines of this many earlier visitors, and says one
/// line.
fn visit(is_ephemeral: bool, earlier: u64) -> Cost {
    let mut lan = Lan::new(earlier);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    store_old_lines(&mut lan, bob, earlier);
    lan.start(bob);
    lan.run_for(20_000);
    let (bytes, loads, inputs) = {
        let bob = &lan.peers[bob];
        (bob.bytes_sent, bob.loads, bob.inputs)
    };
    lan.peers[alice].transient = true;
    lan.peers[alice].is_ephemeral = is_ephemeral;
    lan.start(alice);
    lan.say(alice, "new line");
    lan.finish(alice, None);
    lan.run_until("it is settled", 5_000, |lan| lan.peers[alice].is_settled());
    lan.stop(alice);
    lan.run_for(1_000);
    assert_eq!(lan.peers[bob].received(), ["new line"]);
    Cost {
        bytes_sent: lan.peers[bob].bytes_sent - bytes,
        loads: lan.peers[bob].loads - loads,
        inputs: lan.peers[bob].inputs - inputs,
        stored: lan.peers[alice].disk.entries().count(),
    }
}

/// A one-shot sender costs a listener as much after 1000 others as after 10: the listener sends it
/// nothing of them.
#[test]
fn a_send_only_visit_costs_the_same_however_many_came_before() {
    let [tenth, thousandth] = [10, 1000].map(|n| visit(true, n));
    for cost in [&tenth, &thousandth] {
        assert!(cost.bytes_sent <= VISIT_BYTES_MAX, "{cost:?}");
        assert_eq!((cost.loads, cost.stored), (0, 1), "{cost:?}");
    }
    assert!(
        thousandth.inputs <= 2 * tenth.inputs,
        "{tenth:?}, {thousandth:?}"
    );
    assert!(
        thousandth.bytes_sent <= tenth.bytes_sent + 64,
        "{tenth:?}, {thousandth:?}"
    );
}

/// A transient program with a directory stores the lines of others, since a later run may show
/// them.
#[test]
fn a_transient_visitor_with_a_directory_stores_what_others_said() {
    assert_eq!(visit(false, 10).stored, 11);
}

/// A send-only program gets no line of others, live or old, and nobody waits for it: bob's line is
/// delivered while the program runs.
#[test]
fn nobody_waits_for_a_send_only_peer() {
    let mut lan = Lan::new(1);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    make_send_only(&mut lan, alice);
    lan.start_all([alice, bob, carol]);
    for other in [bob, carol] {
        lan.run_until_linked(alice, other, 5_000);
    }
    for text in ["one", "two"] {
        lan.say(bob, text);
        lan.run_for(2_000);
    }
    lan.finish(bob, None);
    lan.run_until("it is settled", 1_000, |lan| lan.peers[bob].is_settled());
    assert_eq!(lan.peers[carol].received(), ["one", "two"]);
    assert_eq!(lan.peers[alice].disk.entries().count(), 0);
}

/// With only a send-only peer there, nobody holds the line.
#[test]
fn a_send_only_peer_does_not_count_as_a_recipient() {
    let mut lan = Lan::new(2);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    make_send_only(&mut lan, alice);
    lan.start_all([alice, bob]);
    lan.run_until_linked(alice, bob, 5_000);
    lan.say(bob, "hello");
    lan.run_for(2_000);
    let delivery = lan.node(bob).delivery(None);
    assert!(!delivery.is_settled);
    assert_eq!((delivery.linked_peers, delivery.acked_peers), (0, 0));
}

/// A send-only program forwards no lines, so it makes nobody reachable.
#[test]
fn a_send_only_peer_advertises_no_member() {
    let mut lan = Lan::new(3);
    let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
    lan.cut(alice, carol);
    make_send_only(&mut lan, bob);
    lan.start_all([alice, bob, carol]);
    lan.run_until_linked(alice, bob, 5_000);
    lan.run_until_linked(bob, carol, 5_000);
    lan.run_for(5_000);
    assert_eq!(lan.peers[alice].joined_count(lan.id(carol)), 0);
}

/// Relays carry what a send-only program says, and their receipts come back to it.
#[test]
fn a_send_only_sender_gets_forwarded_receipts() {
    for seed in 0..5 {
        let mut lan = Lan::new(seed);
        let [alice, bob, carol] = lan.add_peers(["alice", "bob", "carol"]);
        lan.cut(alice, carol);
        lan.start(bob);
        lan.start(carol);
        lan.run_for(3_000);
        make_send_only(&mut lan, alice);
        lan.start(alice);
        lan.say(alice, "hello");
        lan.finish(alice, Some(2));
        lan.run_until("it is settled", 3_000, |lan| lan.peers[alice].is_settled());
        assert_eq!(lan.peers[carol].received(), ["hello"]);
    }
}

/// A direct message reaches its recipient from a send-only program, as from any other.
#[test]
fn a_send_only_program_sends_direct_messages() {
    let mut lan = Lan::new(6);
    let [alice, bob] = lan.add_peers(["alice", "bob"]);
    lan.start(bob);
    make_send_only(&mut lan, alice);
    lan.start(alice);
    lan.send_direct_within(alice, "@bob", "for you", 5_000);
    lan.finish(alice, None);
    lan.run_until("it arrives", 5_000, |lan| {
        lan.peers[bob].received() == ["for you"]
    });
}
