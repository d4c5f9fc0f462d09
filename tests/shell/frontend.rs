//! The end of a run whose stdout fails or stalls.
use std::fs::File;
use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::{Now, Time, WallTime};
use p2pchat::node::backpressure::Backpressure;
use p2pchat::shell::config::exit_status::ExitStatus;
use p2pchat::shell::session::event_sink::EventSink as _;
use p2pchat::shell::session::frontend::exit_policy::{ExitPolicy, Retention, SessionMode};
use p2pchat::shell::session::frontend::frontend::{Frontend, FrontendParts, InputFormat};
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::shell::stdio::output_writer::OutputWriter;
use p2pchat::ui::session_event::{ChatLines, EventKind, SessionEvent};

use crate::config::support::parsed;
use crate::stdio::support::{counter, pipe, wait};

/// The value of `-W` in these tests.
const WAIT_MS: u64 = 1_000;

fn at(ms: u64) -> Now {
    Now {
        time: Time(ms),
        wall: WallTime(1_800_000_000_000),
    }
}

/// The frontend of a run with `-W 1`, the reader of its stdout, and the wakes by its stdout.
fn start(mode: SessionMode) -> (Frontend, File, Arc<AtomicUsize>) {
    let (reader, writer) = pipe();
    let (wakes, wake) = counter();
    let own = Peer {
        id: PeerId([1; 32]),
        nick: Nick::new("alice").unwrap(),
    };
    let retention = Retention::NextRun;
    let mut frontend = Frontend::new(FrontendParts {
        options: &parsed("listen --quiet"),
        exit_policy: ExitPolicy::new(mode, Some(WAIT_MS), None, retention, Time(0)),
        own_id: own.id,
        run: 1,
        renderer: Renderer::for_pipe(&own),
        stdout: Some(OutputWriter::with_file(writer, wake).unwrap()),
        stdin: None,
        input_format: InputFormat::Plain,
        text: None,
        to_peer: None,
        resolve_timeout_ms: 0,
        expected_peers: None,
        progress: None,
    });
    frontend.begin_turn(at(0));
    (frontend, reader, wakes)
}

/// An event with lines of bob, of more bytes than a pipe takes.
fn many_lines() -> SessionEvent {
    let log = LogId {
        target: Target::Room(Room::general()),
        author: PeerId([2; 32]),
        incarnation: 1,
    };
    let chat = ChatLines {
        log,
        username: Nick::new("bob").unwrap(),
        sequence: 1,
        lamport: 1,
        timestamp: WallTime(1_800_000_000_000),
        form: LineForm::Text,
        arrival: None,
        text: "a line of bob\n".repeat(20_000).into(),
    };
    SessionEvent::new(None, EventKind::Chat { chat, cursor: None })
}

/// A failure of stdout counts even if it comes between the last turn and the end of the run.
#[test]
fn a_late_failure_of_stdout_decides_the_status() {
    let (mut frontend, reader, wakes) = start(SessionMode::Listen);
    frontend.emit(many_lines());
    frontend.end_turn();
    drop(reader);
    wait("failure of stdout", || wakes.load(Ordering::SeqCst) > 0);
    let status = frontend.poll_exit_status(at(WAIT_MS));
    assert_eq!(status, Some(ExitStatus::StdoutClosed));
}

/// While stdout is stalled, no session answers what is delivered. After `-W` the run waits for
/// stdout until it takes nothing for 5 s.
#[test]
fn a_stalled_stdout_does_not_outlast_the_time_limit() {
    let (mut frontend, mut reader, _) = start(SessionMode::Drain);
    frontend.read_input(at(0), true, Backpressure::None);
    // The first lines fill the queue of stdout, and the next ones wait for it.
    for _ in 0..2 {
        frontend.emit(many_lines());
    }
    let mut status_at = |ms: u64| {
        frontend.begin_turn(at(ms));
        frontend.end_turn();
        let status = frontend.poll_exit_status(at(ms));
        (status, frontend.next_turn_at())
    };
    assert_eq!(status_at(0), (None, Some(Time(WAIT_MS))));
    assert_eq!(status_at(WAIT_MS), (None, Some(Time(6_000))));
    assert_eq!(status_at(5_999), (None, Some(Time(6_000))));
    // The reader goes on, and pauses again.
    reader.read_exact(&mut [0; 64 * 1024]).unwrap();
    wait("progress", || {
        status_at(5_999) == (None, Some(Time(10_999)))
    });
    assert_eq!(status_at(6_000).0, None);
    let (mut ms, mut ended) = (6_000, None);
    wait("end of the run", || {
        ms += 5_000;
        ended = status_at(ms).0;
        ended.is_some()
    });
    assert_eq!(ended, Some(ExitStatus::GeneralError));
}

/// After `-W` a run may wait for an answer of its session. The answer wakes it, not the time.
#[test]
fn a_time_limit_that_has_passed_wakes_no_turn() {
    let (mut frontend, _reader, _) = start(SessionMode::Drain);
    frontend.read_input(at(0), true, Backpressure::None);
    assert_eq!(frontend.poll_exit_status(at(0)), None);
    assert_eq!(frontend.next_turn_at(), Some(Time(WAIT_MS)));
    frontend.begin_turn(at(WAIT_MS));
    assert_eq!(frontend.poll_exit_status(at(WAIT_MS)), None);
    assert_eq!(frontend.next_turn_at(), None);
}
