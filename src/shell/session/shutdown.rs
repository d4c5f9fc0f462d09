//! The end of a session: waits until the lines are delivered and stdout has taken the last output.
use std::time::{Duration, Instant};

use crate::base::event::{Command, Delivery};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::session::{Drain, Session};
use crate::shell::stdio::terminal;
use crate::shell::store::store::Store;

/// How long an ended run waits until its last bytes are sent to peers or to its server, in
/// milliseconds. Together with [`CLOSE_TIMEOUT_MS`] this is below two seconds: a signal must end
/// the program within two seconds.
pub const GOODBYE_TIMEOUT_MS: u64 = 1_300;
/// How long the end of a session waits until stdout has taken the last lines, in milliseconds.
pub const CLOSE_TIMEOUT_MS: u64 = 500;
/// How long an ended run waits while the reader of stdout takes no bytes, in milliseconds.
const STDOUT_STALL_TIMEOUT_MS: u64 = 5_000;
/// Minimum time that stdout gets to take the bytes that clear the editor's line.
const EDITOR_CLOSE_TIMEOUT: Duration = Duration::from_millis(100);

impl Session {
    /// The exit status; `None` until the run is over and stdout has taken the last output. An
    /// aborted run does not wait for stdout.
    ///
    /// `has_linked_peer`: whether a peer is linked now. `is_all_stored`: whether every line passed
    /// to the core is stored.
    pub fn poll_exit_status(
        &mut self,
        now: Now,
        has_linked_peer: bool,
        is_all_stored: bool,
        delivery: impl Fn() -> Delivery,
    ) -> Option<ExitStatus> {
        if has_linked_peer {
            self.exit_policy.record_linked_peer();
        }
        if self.is_waiting_for_peers() && !self.exit_policy.has_ended() {
            return None;
        }
        self.queue_finish(is_all_stored);
        // The core does not know these commands yet, so it cannot tell whether their lines are
        // delivered.
        if self.commands.has_delivery_commands() && !self.exit_policy.has_ended() {
            return None;
        }
        if self.exit_policy.has_ended() && self.drain.is_none() {
            self.report_unsent_input(is_all_stored);
            if let Some(message) = self.exit_policy.loss_warning(&delivery) {
                self.warn(&message);
            }
        }
        let exit = self.exit_policy.decide(now.time, is_all_stored, delivery)?;
        if let Some(message) = exit.message {
            self.warn(&message);
        }
        self.exit_policy.end(exit.status);
        match self.is_draining(now.time) {
            true => None,
            false => self.exit_policy.exit_status(),
        }
    }

    /// Warns if the run ends before all lines of stdin are sent. If the reader of stdout is gone,
    /// does not warn.
    fn report_unsent_input(&mut self, is_all_stored: bool) {
        let was_reading = self.stdin.take().is_some_and(|stdin| stdin.stop());
        let is_all_sent = is_all_stored && !self.commands.has_lines();
        if !is_all_sent {
            self.exit_policy.record_refusal();
        }
        let has_blocked = self.blocked_input.take().is_some() || !self.requests.is_empty();
        if (!is_all_sent || has_blocked || was_reading)
            && self.exit_policy.exit_status() != Some(ExitStatus::StdoutClosed)
        {
            self.warn("the run ended before all lines of stdin were sent: the rest is lost");
        }
    }

    /// Whether the run still waits for stdout. An abort or an error of stdout ends the wait. If
    /// stdout takes no bytes for too long, aborts the run.
    fn is_draining(&mut self, now: Time) -> bool {
        self.transcript.stop();
        let Some(stdout) = &self.stdout else {
            return false;
        };
        let is_done =
            self.pending_output.is_empty() && !self.transcript.is_lagging() && stdout.is_idle();
        if is_done || self.exit_policy.is_aborted() || stdout.error().is_some() {
            return false;
        }
        let written_bytes = stdout.written_bytes();
        let deadline = match self.drain {
            Some(drain) if drain.written_bytes == written_bytes => drain.deadline,
            _ => now + STDOUT_STALL_TIMEOUT_MS,
        };
        self.drain = Some(Drain {
            written_bytes,
            deadline,
        });
        if deadline <= now {
            self.warn("stdout was not read to the end: its last lines are missing");
            self.exit_policy.abort(ExitStatus::GeneralError);
        }
        deadline > now
    }

    /// Writes as much output as stdout accepts within `timeout_ms`, then restores the terminal.
    pub fn close(&mut self, store: &mut Store, timeout_ms: u64) {
        if let Some(stdout) = &self.stdout {
            let deadline = Instant::now() + Duration::from_millis(timeout_ms);
            let remaining = || deadline.saturating_duration_since(Instant::now());
            let line_limit = self.exit_policy.remaining_lines();
            while (!self.pending_output.is_empty() || self.transcript.is_lagging())
                && !remaining().is_zero()
                && stdout.flush(remaining())
            {
                let pending = std::mem::take(&mut self.pending_output);
                self.transcript
                    .print_untracked(pending, &mut self.renderer, stdout);
                let caught_up =
                    self.transcript
                        .catch_up(line_limit, store, &mut self.renderer, stdout);
                if caught_up.is_err() {
                    break;
                }
            }
            let clearing = self.renderer.close_editor();
            if !clearing.is_empty() {
                self.transcript
                    .print_untracked(clearing, &mut self.renderer, stdout);
            }
            stdout.flush(remaining().max(EDITOR_CLOSE_TIMEOUT));
            self.transcript.save_printed_positions(store, stdout);
        }
        terminal::restore();
        self.stderr.flush();
    }

    /// Queues the command that awaits delivery, once the input has ended and all lines are stored.
    /// The core can await the delivery of stored lines only.
    fn queue_finish(&mut self, is_all_stored: bool) {
        if self.is_finish_due && is_all_stored {
            self.is_finish_due = false;
            self.commands.push(Command::Finish {
                required_peers: self.required_peers,
            });
        }
    }
}
