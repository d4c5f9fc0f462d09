//! When a run ends, and with which exit status.
use p2pchat::base::time::Time;
use p2pchat::shell::config::exit_status::ExitStatus;
use p2pchat::shell::session::frontend::exit_policy::{ExitPolicy, Retention, SessionMode};

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
