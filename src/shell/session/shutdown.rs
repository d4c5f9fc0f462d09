//! How a run ends: when all is said, and what stdout still takes.
use std::time::{Duration, Instant};

use crate::base::event::{Command, Delivery};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::session::Session;
use crate::shell::stdio::terminal;
use crate::shell::store::store::Store;

/// Milliseconds for which the end of a run waits for a reader of stdout that takes nothing.
const STDOUT_STALL_TIMEOUT_MS: u64 = 5_000;
/// Milliseconds that the editor's line may take to go, whatever else took its time.
const EDITOR_CLOSE_TIMEOUT_MS: u64 = 100;

impl Session {
    /// The exit status, once the run is over. `met`: somebody is linked. `stored`: all that was said so far is.
    pub fn poll_exit_status(
        &mut self,
        now: Now,
        met: bool,
        stored: bool,
        delivery: impl Fn() -> Delivery,
    ) -> Option<ExitStatus> {
        if met {
            self.exit_policy.record_linked_peer();
        }
        if self.is_waiting_for_peers() && !self.exit_policy.has_ended() {
            return None;
        }
        self.queue_finish(stored);
        // What was taken over late is handed on late, and until then the core has nothing that it could wait for.
        if self.commands.has_delivery_commands() && !self.exit_policy.has_ended() {
            return None;
        }
        if self.exit_policy.has_ended() && self.drain.is_none() {
            self.report_unsent_input(stored);
            if let Some(sentence) = self.exit_policy.loss_warning(&delivery) {
                self.warn(&sentence);
            }
        }
        let (status, sentence) = self.exit_policy.decide(now.time, stored, delivery)?;
        if let Some(sentence) = sentence {
            self.warn(&sentence);
        }
        self.exit_policy.end(status);
        match self.poll_drain(now.time) {
            true => None,
            false => self.exit_policy.exit_status(),
        }
    }

    /// A run that ends before its input does says so, if it took lines that it does not say; one whose stdout is closed ends without a word.
    fn report_unsent_input(&mut self, stored: bool) {
        let read = self.stdin.take().is_some_and(|k| k.stop());
        let said = stored && !self.commands.has_lines();
        if !said {
            self.exit_policy.record_refusal();
        }
        let left = self.blocked_input.take().is_some() || !self.requests.is_empty();
        if (!said || left || read)
            && self.exit_policy.exit_status() != Some(ExitStatus::StdoutClosed)
        {
            self.warn("not all lines that came in before the end were said: the rest is not said, and gone");
        }
    }

    /// Stdout still takes what is left for it. An end that is cut short waits for nobody.
    fn poll_drain(&mut self, now: Time) -> bool {
        self.transcript.stop();
        let Some(printer) = &self.stdout else {
            return false;
        };
        let done =
            self.pending_output.is_empty() && !self.transcript.is_lagging() && printer.is_idle();
        if done || self.exit_policy.is_aborted() || printer.error().is_some() {
            return false;
        }
        let progress = printer.written_bytes();
        let until = match self.drain {
            Some((before, until)) if before == progress => until,
            _ => now + STDOUT_STALL_TIMEOUT_MS,
        };
        self.drain = Some((progress, until));
        if until <= now {
            self.warn("stdout was not read to the end: its last lines are missing");
            self.exit_policy.abort(ExitStatus::GeneralError);
        }
        until > now
    }

    /// What lines stdout takes within `patience` milliseconds go out, and the terminal is given back.
    pub fn close(&mut self, store: &mut Store, patience: u64) {
        if let Some(printer) = &self.stdout {
            let end = Instant::now() + Duration::from_millis(patience);
            let left = || end.saturating_duration_since(Instant::now());
            let most = self.exit_policy.remaining_lines();
            while (!self.pending_output.is_empty() || self.transcript.is_lagging())
                && !left().is_zero()
                && printer.flush(left())
            {
                let owed = std::mem::take(&mut self.pending_output);
                self.transcript
                    .print_untracked(owed, &mut self.renderer, printer);
                let caught_up = self
                    .transcript
                    .catch_up(most, store, &mut self.renderer, printer);
                if caught_up.is_err() {
                    break;
                }
            }
            let last = self.renderer.close_editor();
            if !last.is_empty() {
                self.transcript
                    .print_untracked(last, &mut self.renderer, printer);
            }
            printer.flush(left().max(Duration::from_millis(EDITOR_CLOSE_TIMEOUT_MS)));
            self.transcript.save_printed_positions(store, printer);
        }
        terminal::restore();
        self.stderr.flush();
    }

    /// Not before all is stored: what is not cannot be waited for.
    fn queue_finish(&mut self, stored: bool) {
        if self.is_finish_due && stored {
            self.is_finish_due = false;
            self.commands.push(Command::Finish {
                required_peers: self.required_peers,
            });
        }
    }
}
