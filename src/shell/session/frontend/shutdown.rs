//! The end of a run: waits until the lines are delivered and the output is written to stdout.
use std::time::{Duration, Instant};

use crate::base::name::FolderName;
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::frontend::drain::Drain;
use crate::shell::session::frontend::exit_policy::{
    GUESTS_DO_NOT_ANSWER, Retention, UnansweredLines,
};
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::stdio::terminal;
use crate::ui::request::RequestKind;
use crate::ui::session_event::DeliveryReport;

/// How long an ended run waits until its last bytes are sent to peers or to its server, in
/// milliseconds. Together with [`CLOSE_TIMEOUT_MS`] this is below two seconds: a signal must end
/// the program within two seconds.
pub const GOODBYE_TIMEOUT_MS: u64 = 1_300;
/// How long the end of a session waits until its last lines are written to stdout, in
/// milliseconds.
pub const CLOSE_TIMEOUT_MS: u64 = 500;
/// Minimum time to write the bytes that clear the editor's line to stdout.
const EDITOR_CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

impl Frontend {
    /// The exit status; `None` until the run is over and the last output is written to stdout. An
    /// aborted run does not wait for stdout.
    pub fn poll_exit_status(&mut self, now: Now) -> Option<ExitStatus> {
        if let Some(warning) = self.exit_policy.update_blocked(now.time, self.is_blocked) {
            self.warn(warning);
        }
        if self.is_waiting_for_peers() && !self.exit_policy.has_ended() {
            return None;
        }
        self.queue_finish();
        if self.awaits_delivery(now.time) {
            return None;
        }
        let unanswered = self.pending.unanswered_lines();
        if self.exit_policy.has_ended() {
            self.show_missed();
        }
        if self.exit_policy.has_ended() && self.drain.is_none() {
            self.report_unsent_input(unanswered);
            if let Some(message) = self.exit_policy.loss_warning(&self.delivery) {
                self.warn(&message);
            }
        }
        if let Some(note) = self.exit_policy.take_wait_note(now.time, &self.delivery) {
            self.warn(&note);
        }
        let exit = self
            .exit_policy
            .decide(now.time, unanswered, &self.delivery)?;
        if let Some(message) = exit.message {
            self.warn(&message);
        }
        self.exit_policy.end(exit.status);
        let status = match self.is_draining(now.time) {
            true => None,
            false => self.exit_policy.exit_status(),
        };
        if status.is_some() {
            self.service_manager.notify_stopping();
        }
        status
    }

    /// Whether the run must learn first which lines are delivered. Either a command with lines
    /// still waits, or the request to await delivery is unanswered. While output waits for stdout,
    /// the session answers nothing: from the deadline of the run on, a stall of stdout aborts it.
    fn awaits_delivery(&mut self, now: Time) -> bool {
        let is_unknown = self.pending.is_finishing() || self.commands.has_lines();
        if !is_unknown || self.exit_policy.has_ended() {
            return false;
        }
        let is_over = self.exit_policy.deadline().is_some_and(|at| at <= now);
        let is_stalled = is_over && !self.pending_output.is_empty();
        let stdout = self.stdout.as_ref().filter(|_| is_stalled);
        self.late_drain = stdout.map(|it| Drain::update(self.late_drain, it, now));
        match self.late_drain {
            Some(drain) => self.waits_until(drain.deadline, now),
            None => true,
        }
    }

    /// Whether lines must wait in the session, because nobody is linked and the store is full.
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Whether lines of the user are not stored yet. After the run has ended or the user has quit,
    /// counts only lines passed to the session.
    pub fn has_unsent_lines(&self) -> bool {
        let gets_more = self.exit_policy.exit_status().is_none() && !self.has_quit;
        self.pending.has_lines() || gets_more && self.commands.has_lines()
    }

    /// Whether the run has ended. The session then emits its last lines. Lines that are stored
    /// after the end are for the next run.
    pub fn is_ending(&self) -> bool {
        self.exit_policy.exit_status().is_some()
    }

    /// Whether the run has ended, and all lines before the end are printed.
    pub(super) fn is_drained(&self) -> bool {
        self.drain.is_some() && !self.pending.has_other()
    }

    /// Sets how far the lines are delivered. An ephemeral run warns about lines that it loses at
    /// its end.
    pub fn set_delivery(&mut self, delivery: DeliveryReport) {
        self.delivery = delivery;
    }

    /// Whether this run may soon warn about lost lines. The warning depends on the delivery.
    pub fn needs_delivery(&self) -> bool {
        self.exit_policy.has_ended()
            && self.drain.is_none()
            && self.exit_policy.retention == Retention::Lost
    }

    /// Warns if the run ends before all lines of stdin are sent. If the reader of stdout is gone,
    /// does not warn.
    fn report_unsent_input(&mut self, unanswered: UnansweredLines) {
        let was_reading = self.stdin.take().is_some_and(|stdin| stdin.stop());
        let is_all_stored = unanswered != UnansweredLines::ToBeStored;
        let is_all_sent = is_all_stored && (self.has_quit || !self.commands.has_lines());
        if unanswered == UnansweredLines::ToGuests {
            self.exit_policy.record_refusal();
            self.warn(GUESTS_DO_NOT_ANSWER);
        }
        if !is_all_sent {
            self.exit_policy.record_refusal();
        }
        let has_blocked = self.blocked_input.take().is_some() || !self.commands.is_empty();
        if (!is_all_sent || has_blocked || was_reading)
            && self.exit_policy.exit_status() != Some(ExitStatus::StdoutClosed)
        {
            self.warn("the run ended before all lines of stdin were sent: the rest is lost");
        }
    }

    /// Whether the run still waits for the last lines, or for stdout. An abort or an error of
    /// stdout ends the wait. If stdout takes no bytes for too long, aborts the run.
    fn is_draining(&mut self, now: Time) -> bool {
        if self.stdout.is_none() || self.exit_policy.is_aborted() {
            return false;
        }
        if self.drain.is_none() && self.awaits_last_lines() {
            let is_attached = self.is_attached();
            let kind = RequestKind::FindEnd(FolderName::direct());
            let request = self.pending.push(kind, false, is_attached);
            self.outgoing.push_back(request);
        }
        let Some(stdout) = &self.stdout else {
            return false;
        };
        let is_done = self.pending_output.is_empty()
            && (!self.awaits_last_lines() || !self.pending.has_other())
            && stdout.is_idle();
        if stdout.error().is_some() || is_done {
            // The writer thread may have failed after the end of the turn.
            self.abort_if_stdout_failed();
            return false;
        }
        let drain = Drain::update(self.drain, stdout, now);
        self.drain = Some(drain);
        self.waits_until(drain.deadline, now)
    }

    /// Whether the run still waits for stdout, at most until `deadline`. Then aborts the run.
    fn waits_until(&mut self, deadline: Time, now: Time) -> bool {
        if deadline <= now {
            self.warn("stdout was not read to the end: its last lines are missing");
            self.exit_policy.abort(ExitStatus::GeneralError);
        }
        deadline > now
    }

    /// Whether the session may still have lines to print. After the last line of `listen --count`,
    /// the reader of stdout may be gone.
    pub(super) fn awaits_last_lines(&self) -> bool {
        self.is_printing_transcript() && self.exit_policy.remaining_lines() != Some(0)
    }

    /// Writes as much output as stdout accepts until `deadline`, then restores the terminal.
    /// Returns whether all output is written.
    pub fn close(&mut self, deadline: Instant) -> bool {
        while !self.pending_output.is_empty() && self.flush_stdout(deadline) {}
        let at_least = match self.renderer.has_editor() {
            true => EDITOR_CLOSE_TIMEOUT,
            false => Duration::ZERO,
        };
        self.close_stdout(deadline, at_least);
        terminal::restore();
        self.stderr.flush();
        let stdout = self.stdout.as_ref();
        self.pending_output.is_empty() && stdout.is_none_or(OutputWriter::is_idle)
    }

    /// Queues the request to report the delivery, once the input has ended and all lines are
    /// stored. Only stored lines have a delivery.
    fn queue_finish(&mut self) {
        if self.is_finish_due && !self.pending.has_lines() && self.commands.is_empty() {
            self.is_finish_due = false;
            let required_peers = self.required_peers;
            let finish = RequestKind::Finish {
                required_peers,
                is_sync: self.exit_policy.mode.is_sync(),
            };
            let request = self.pending.push(finish, false, true);
            self.outgoing.push_back(request);
        }
    }
}
