//! A failed save: which later outputs it drops, and what it reports to the core.
use std::collections::VecDeque;
use std::sync::Arc;

use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::notice::{Chat, Notice};
use p2pchat::base::event::output::Output;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::identity::{Hash, Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::node::save_barrier::SaveBarrier;

const BOB: StreamId = StreamId(1);
const CAROL: StreamId = StreamId(2);

fn batch(sequence: u64) -> Arc<Batch> {
    let alice = Identity::from_seed(&[1; 32]);
    let mut lines = Lines::default();
    lines.push(b"hello").expect("a fit line");
    let draft = UnsignedBatch {
        log: LogId {
            target: Target::Room(Room::general()),
            author: alice.id(),
            incarnation: 7,
        },
        username: Nick::new("alice").expect("a fit name"),
        sequence,
        lamport: sequence,
        timestamp: WallTime(1_700_000_000_000),
        run: 1,
        uptime: 0,
        republishes: None,
        salt: 9,
        previous: (sequence > 1).then_some(Hash([9; 32])),
        form: LineForm::Text,
        lines: &lines,
        sealed: None,
    };
    Arc::new(Batch::sign(&alice, &NetworkTag::OPEN, draft))
}

fn save(batch: &Arc<Batch>) -> Output {
    Output::Save {
        batch: Arc::clone(batch),
        local: LocalFields::default(),
    }
}

fn write(stream: StreamId) -> Output {
    Output::Write {
        stream,
        bytes: vec![0],
    }
}

fn chat(batch: &Arc<Batch>) -> Output {
    Output::Notice(Box::new(Notice::Chat(Chat {
        batch: Arc::clone(batch),
        local: LocalFields::default(),
        is_own: true,
    })))
}

/// Ends the queue of outputs: the pending inputs, by name, and the streams that were aborted.
fn finish(barrier: &mut SaveBarrier) -> (Vec<String>, Vec<StreamId>) {
    let mut inputs = VecDeque::from([Input::Blocked { stream: CAROL }]);
    let mut aborted = Vec::new();
    barrier.finish(&mut inputs, |stream| aborted.push(stream));
    let names = inputs.iter().map(|input| match input {
        Input::SaveFailed { batches } => {
            let numbers: Vec<u64> = batches.iter().map(|batch| batch.sequence).collect();
            format!("save failed {numbers:?}")
        }
        Input::Closed { stream } => format!("closed {}", stream.0),
        Input::Blocked { stream } => format!("blocked {}", stream.0),
        other => format!("{other:?}"),
    });
    (names.collect(), aborted)
}

/// Without a failed save every output passes.
#[test]
fn nothing_is_dropped_while_saves_succeed() {
    let mut barrier = SaveBarrier::default();
    let hello = batch(1);
    for output in [save(&hello), write(BOB), chat(&hello)] {
        assert!(barrier.admit(output).is_some());
    }
    assert_eq!(finish(&mut barrier), (vec!["blocked 2".into()], vec![]));
}

/// No peer and no user gets a line that is not stored.
#[test]
fn a_failed_save_drops_the_writes_behind_it() {
    let mut barrier = SaveBarrier::default();
    let (hello, bye) = (batch(1), batch(2));
    assert!(barrier.admit(write(CAROL)).is_some(), "before the save");
    assert!(barrier.admit(save(&hello)).is_some());
    barrier.record_failure(Arc::clone(&hello));
    assert!(barrier.admit(write(BOB)).is_none());
    assert!(barrier.admit(chat(&hello)).is_none());
    // A later save of the same log would leave a gap.
    assert!(barrier.admit(save(&bye)).is_none());
    assert!(barrier.admit(write(BOB)).is_none());
    assert!(barrier.admit(chat(&bye)).is_none());
    assert!(
        barrier.admit(chat(&batch(3))).is_some(),
        "another save's notice"
    );
    // The failure comes before all other inputs, so that the core relies on no line that is not
    // stored.
    assert_eq!(
        finish(&mut barrier),
        (
            vec![
                "save failed [1, 2]".into(),
                "closed 1".into(),
                "blocked 2".into()
            ],
            vec![BOB]
        )
    );
}

/// The next queue of outputs starts without the failure.
#[test]
fn a_failure_ends_with_its_queue() {
    let mut barrier = SaveBarrier::default();
    barrier.record_failure(batch(1));
    assert!(barrier.admit(write(BOB)).is_none());
    finish(&mut barrier);
    assert!(barrier.admit(write(BOB)).is_some());
    assert_eq!(finish(&mut barrier), (vec!["blocked 2".into()], vec![]));
}

/// The core gets no `Closed` for a stream that it closed.
#[test]
fn a_stream_that_the_core_closed_is_not_reported_closed() {
    let mut barrier = SaveBarrier::default();
    barrier.record_failure(batch(1));
    assert!(barrier.admit(write(BOB)).is_none());
    assert!(barrier.admit(Output::Close { stream: BOB }).is_some());
    let inputs = vec!["save failed [1]".into(), "blocked 2".into()];
    assert_eq!(finish(&mut barrier), (inputs, vec![]));
}
