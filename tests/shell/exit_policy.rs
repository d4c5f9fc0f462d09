//! When a run ends, and with which exit status.
use p2pchat::base::time::Time;
use p2pchat::shell::config::exit_status::ExitStatus;
use p2pchat::shell::session::frontend::exit_policy::{ExitPolicy, Retention, SessionMode};
use p2pchat::ui::session_event::DeliveryReport;

fn listen(line_limit: Option<u64>) -> ExitPolicy {
    let retention = Retention::NextRun;
    ExitPolicy::new(SessionMode::Listen, None, line_limit, retention, Time(0))
}

/// A reader that leaves ends a run with 141. If the run has ended, its status stays: the reader of
/// `listen -n 1 | head -1` leaves once it has its line.
#[test]
fn a_reader_that_leaves_ends_only_a_run_that_goes_on() {
    let mut running = listen(Some(2));
    running.record_printed_lines(1);
    running.record_reader_gone();
    assert_eq!(running.exit_status(), Some(ExitStatus::StdoutClosed));

    let mut done = listen(Some(1));
    done.record_printed_lines(1);
    done.record_reader_gone();
    assert_eq!(done.exit_status(), Some(ExitStatus::Success));

    let mut late = listen(Some(1));
    late.end(ExitStatus::TimedOut);
    late.record_reader_gone();
    assert_eq!(late.exit_status(), Some(ExitStatus::TimedOut));

    // A write that fails loses output, so it replaces the status.
    done.abort(ExitStatus::StdoutClosed);
    assert_eq!(done.exit_status(), Some(ExitStatus::StdoutClosed));
}

/// After two seconds `send` says once whom it waits for, if somebody can see it.
#[test]
fn who_is_waited_for_is_said_once() {
    let lacking = DeliveryReport {
        undelivered: "#ops: bob~k7mq lacks lines".into(),
        ..DeliveryReport::default()
    };
    for is_seen in [true, false] {
        let retention = Retention::NextRun;
        let mut send = ExitPolicy::new(SessionMode::Send, Some(10_000), None, retention, Time(0));
        if is_seen {
            send.announce_wait();
        }
        assert_eq!(send.wait_note_at(), None, "the input goes on");
        send.record_input_end(Time(5_000));
        assert_eq!(send.wait_note_at(), is_seen.then_some(Time(7_000)));
        assert_eq!(send.take_wait_note(Time(6_999), &lacking), None);
        // Nobody is known to lack lines yet: it looks again.
        let unknown = DeliveryReport::default();
        assert_eq!(send.take_wait_note(Time(7_000), &unknown), None);
        assert_eq!(send.wait_note_at(), is_seen.then_some(Time(9_000)));
        let note = "#ops: bob~k7mq lacks lines: waiting for 6 s more; Ctrl-C ends it";
        let said = send.take_wait_note(Time(9_000), &lacking);
        assert_eq!(said.as_deref(), is_seen.then_some(note));
        assert_eq!(send.wait_note_at(), None);
    }
}

/// Lines behind a recipient whose name is resolved get all of -W for their delivery, also if that
/// ends late. What was resolved before the input ended delays nothing.
#[test]
fn the_wait_for_delivery_begins_when_all_names_are_resolved() {
    let retention = Retention::NextRun;
    let new = || ExitPolicy::new(SessionMode::Send, Some(2_000), None, retention, Time(0));
    let mut send = new();
    send.record_input_end(Time(1_000));
    assert_eq!(send.deadline(), Some(Time(3_000)));
    send.update_resolution(Time(1_000), Some((7, 2_000)));
    assert_eq!(send.deadline(), Some(Time(4_000)), "the answer comes later");
    send.update_resolution(Time(2_500), Some((7, 2_000)));
    assert_eq!(send.deadline(), Some(Time(4_000)));
    // The next name gets its own time.
    send.update_resolution(Time(3_005), Some((8, 2_000)));
    assert_eq!(send.deadline(), Some(Time(6_005)));
    send.update_resolution(Time(5_010), None);
    assert_eq!(send.deadline(), Some(Time(7_010)));
    send.update_resolution(Time(6_000), None);
    assert_eq!(send.deadline(), Some(Time(7_010)));

    let mut later = new();
    later.update_resolution(Time(0), Some((7, 2_000)));
    later.update_resolution(Time(1_000), None);
    later.record_input_end(Time(9_000));
    assert_eq!(later.deadline(), Some(Time(11_000)));

    // The lines can be resolved, and not stored.
    let mut full = new();
    full.update_resolution(Time(0), Some((7, 2_000)));
    full.record_input_end(Time(9_000));
    assert_eq!(full.deadline(), Some(Time(11_000)));
}
