//! What the example prints, and the rules of a host: each test fails if the host breaks one.
use p2pchat::base::text::line_form::LineForm;
use p2pchat::{Command, FolderName, Lines, Notice, Room, Target};

use super::in_memory::host::HISTORY_MAX_BYTES;
use super::in_memory::lan::Lan;
use super::in_memory::network::{HostIndex, SOCKET_BUFFER_BYTES};
use super::{run, say};

/// Longer than any retry of the core over a working network.
const SETTLE_MS: u64 = 5_000;

/// More than the core writes in one turn to a stream that is not blocked: 32 KiB of lines, or what
/// one load of the store returns.
const WRITE_MAX_BYTES: usize = 128 * 1024;

/// Alice and bob run and are linked.
fn linked_pair() -> (Lan, HostIndex, HostIndex) {
    let mut lan = Lan::default();
    let pair = (lan.start("alice"), lan.start("bob"));
    lan.run_for(1_000);
    let links = lan.hosts.iter().map(|host| host.node().link_count());
    assert_eq!(links.collect::<Vec<usize>>(), [1, 1]);
    lan.take_notices();
    (lan, pair.0, pair.1)
}

/// The news that a user saw since the last call: lines of others, without history.
fn received(lan: &mut Lan, user: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for (name, notice) in lan.take_notices() {
        if let Notice::Chat(chat) = notice
            && name == user
            && !chat.is_own
            && !chat.local.backfill
        {
            chat.batch.for_each_line(|line| lines.push(line.to_owned()));
        }
    }
    lines
}

/// First and last sequence of each log of a room that a host stores.
fn stored(lan: &Lan, host: HostIndex, room: &Room) -> Vec<(u64, u64)> {
    let folder = FolderName::from(room);
    let ranges = lan.hosts[host].node().frontier(&folder);
    ranges.iter().map(|range| (range.low, range.high)).collect()
}

/// Says lines of 1 KiB in pieces of 32 KiB, twice as many as fit into a history. Returns them.
fn fill_history(lan: &mut Lan, host: HostIndex) -> Vec<String> {
    let count = HISTORY_MAX_BYTES * 2 / 1024;
    let texts: Vec<String> = (0..count).map(|n| format!("{n:01024}")).collect();
    for piece in texts.chunks(32) {
        lan.command(host, publish(Target::Room(Room::general()), piece));
    }
    texts
}

fn publish(target: Target, texts: &[impl AsRef<str>]) -> Command {
    Command::Publish {
        target,
        lines: lines(texts),
        form: LineForm::Text,
        request: None,
    }
}

fn lines(texts: &[impl AsRef<str>]) -> Lines {
    let mut lines = Lines::default();
    for text in texts {
        lines.push(text.as_ref().as_bytes()).expect("a short line");
    }
    lines
}

#[test]
fn the_example_shows_a_line_and_its_delivery() {
    let expected = [
        "bob sees: alice joined #general",
        "alice sees: bob joined #general",
        "alice sees: alice: hello, bob",
        "bob sees: alice: hello, bob",
        "alice sees: line 1 is stored by bob",
    ];
    assert_eq!(run(), expected);
}

/// A blocked stream gets no more bytes. When it is writable, the rest comes from the store.
#[test]
fn a_blocked_stream_goes_on_when_it_is_writable() {
    let (mut lan, alice, _) = linked_pair();
    let texts = fill_history(&mut lan, alice);
    lan.run_for(SETTLE_MS);
    let waiting = lan.network.max_unread_bytes;
    let most = SOCKET_BUFFER_BYTES + WRITE_MAX_BYTES;
    assert!(waiting > SOCKET_BUFFER_BYTES, "nothing was blocked");
    assert!(waiting <= most, "{waiting} bytes wait on a stream");
    assert!(received(&mut lan, "bob") == texts, "bob lacks lines");
}

/// A history that is too large loses its oldest lines, and the core learns it: it offers no line
/// that is gone.
#[test]
fn evicted_lines_are_reported_to_the_core() {
    let (mut lan, alice, bob) = linked_pair();
    let head = fill_history(&mut lan, alice).len() as u64;
    lan.run_for(SETTLE_MS);
    for host in [alice, bob] {
        let [(low, high)] = stored(&lan, host, &Room::general())[..] else {
            panic!("not one log: {:?}", stored(&lan, host, &Room::general()));
        };
        assert!(low > 1, "host {host} evicted nothing");
        assert_eq!(high, head);
    }
}

/// What is not saved is not sent; it is sent once the disk works again.
#[test]
fn a_line_is_sent_after_the_disk_has_failed() {
    let (mut lan, alice, bob) = linked_pair();
    for full in [alice, bob] {
        lan.hosts[full].is_disk_full = true;
        lan.command(alice, say("on a full disk"));
        lan.run_for(SETTLE_MS);
        let notices = lan.take_notices();
        let is_chat =
            |(_, notice): &&(String, Notice)| matches!(notice, Notice::Chat(c) if !c.is_own);
        assert_eq!(notices.iter().filter(is_chat).count(), 0, "shown unsaved");
        let is_error = |(_, notice): &(String, Notice)| matches!(notice, Notice::Error { .. });
        assert!(notices.iter().any(is_error), "not reported");
        lan.hosts[full].is_disk_full = false;
        lan.run_for(SETTLE_MS);
        assert_eq!(received(&mut lan, "bob"), ["on a full disk"]);
    }
}

/// Carol comes later. What was said before reaches her from the store of others.
#[test]
fn a_load_is_answered() {
    let (mut lan, alice, _) = linked_pair();
    lan.command(alice, say("one"));
    lan.command(alice, say("two"));
    let carol = lan.start("carol");
    lan.run_for(SETTLE_MS);
    assert_eq!(stored(&lan, carol, &Room::general()), [(1, 2)]);
}

/// What was said before carol first came is history. What was said while she was away is news.
#[test]
fn the_beginning_of_a_reader_is_kept() {
    let (mut lan, alice, _) = linked_pair();
    lan.command(alice, say("before carol"));
    lan.run_for(SETTLE_MS);
    let carol = lan.start("carol");
    lan.run_for(SETTLE_MS);
    assert!(received(&mut lan, "carol").is_empty());
    lan.stop(carol);
    lan.command(alice, say("while carol is away"));
    lan.run_for(SETTLE_MS);
    lan.restart(carol);
    lan.run_for(SETTLE_MS);
    assert_eq!(received(&mut lan, "carol"), ["while carol is away"]);
    assert_eq!(stored(&lan, carol, &Room::general()), [(1, 2)]);
}

/// The folders and the resume state continue the log. The receipts still say that bob has his
/// direct message, and bob is known.
#[test]
fn the_next_run_continues_where_the_last_one_ended() {
    let (mut lan, alice, bob) = linked_pair();
    lan.command(alice, say("one"));
    let bob_id = lan.hosts[bob].node().own_peer().id;
    lan.command(alice, publish(Target::Peer(bob_id), &["psst"]));
    lan.run_for(SETTLE_MS);
    assert_eq!(received(&mut lan, "bob"), ["one", "psst"]);

    lan.stop(alice);
    lan.restart(alice);
    assert_eq!(stored(&lan, alice, &Room::general()), [(1, 1)]);
    let node = lan.hosts[alice].node();
    assert!(node.is_acknowledged(&FolderName::direct()));
    assert!(node.is_known(&bob_id));
    lan.command(alice, say("two"));
    lan.run_for(SETTLE_MS);
    assert_eq!(received(&mut lan, "bob"), ["two"]);
    assert_eq!(stored(&lan, alice, &Room::general()), [(1, 2)]);
}

/// Only the members of a room store its lines. Opening the folder of a room joins the room.
#[test]
fn a_room_is_joined_by_opening_its_folder() {
    let (mut lan, alice, bob) = linked_pair();
    let ops = Room::new("#ops").expect("a valid room");
    lan.join(alice, ops.clone());
    lan.command(
        alice,
        publish(Target::Room(ops.clone()), &["the disk is full"]),
    );
    lan.run_for(SETTLE_MS);
    assert_eq!(stored(&lan, alice, &ops), [(1, 1)]);
    assert_eq!(stored(&lan, bob, &ops), []);
    lan.join(bob, ops.clone());
    lan.run_for(SETTLE_MS);
    assert_eq!(stored(&lan, bob, &ops), [(1, 1)]);
}
