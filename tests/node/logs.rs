//! The records of all logs: when they end.
use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::node::replication::logs::peer_acks::{Ack, PeerAcks};
use p2pchat::node::replication::logs::publication::Publication;
use p2pchat::node::replication::logs::table::Logs;

/// A batch of one line of alice.
fn batch(form: LineForm) -> Batch {
    let author = Identity::from_seed(&[2; 32]);
    let log = LogId {
        target: Target::Room(Room::general()),
        author: author.id(),
        incarnation: 1,
    };
    let mut lines = Lines::default();
    lines.push(b"hello").expect("a line");
    let unsigned = UnsignedBatch {
        log,
        username: Nick::new("alice").expect("a name"),
        sequence: 1,
        lamport: 1,
        timestamp: WallTime(0),
        run: 7,
        uptime: 1,
        previous: None,
        form,
        lines: &lines,
        sealed: None,
        republishes: None,
        salt: 9,
    };
    Batch::sign(&author, &NetworkTag::OPEN, unsigned)
}

/// A log of which no batch could be stored leaves no record, so a full disk costs no memory.
#[test]
fn a_log_without_a_stored_batch_leaves_no_record() {
    let batch = batch(LineForm::Text);
    let mut logs = Logs::default();
    logs.advance(&PeerId([7; 32]), &batch, LocalFields::default());
    assert!(logs.state_mut(&batch.log).is_some());
    logs.roll_back(&batch);
    assert!(logs.state_mut(&batch.log).is_none());
}

/// Lines of a forked log that are published again stay what they were.
#[test]
fn a_republished_block_is_a_block() {
    for form in [LineForm::Text, LineForm::Action, LineForm::Block] {
        let publication = Publication::of_batch(&batch(form), 0);
        assert_eq!(publication.form, form);
        assert_eq!(publication.lines.as_str(), "hello\n");
    }
}

/// Of the lines that a peer must store, only those count that it has without a gap from the first.
#[test]
fn acknowledged_lines_are_counted_from_the_first() {
    let acks = |from: u64, high: u64| PeerAcks {
        delivered_from: from,
        delivered_up_to: high,
        ..PeerAcks::default()
    };
    for (from, high, lines, count) in [
        (1, 8, 1..=10, 8),
        (1, 20, 5..=10, 6),
        (5, 8, 5..=10, 4),
        (6, 8, 5..=10, 0),
        (1, 4, 5..=10, 0),
        (0, 0, 1..=10, 0),
    ] {
        assert_eq!(
            acks(from, high).count(&lines),
            count,
            "{from} {high} {lines:?}"
        );
        let last = Some(Ack {
            complete_from: from,
            high,
            hash: Hash([0; 32]),
        });
        let only_acked = PeerAcks {
            last,
            ..PeerAcks::default()
        };
        assert_eq!(only_acked.count(&lines), count, "{from} {high} {lines:?}");
    }
}
