//! The part of a frontend that writes: lines to stdout, diagnostics to stderr.
use std::io::{self, ErrorKind, IsTerminal};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::event::Event;

use crate::base::error_code::ErrorCode;
use crate::base::event::notice::Notice;
use crate::base::guests::guest_event::{GuestEvent, GuestNotice};
use crate::base::text::line_form::LineForm;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::values::Verbosity;
use crate::shell::os::descriptors::lacks_descriptors;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::missed_lines::MissedLines;
use crate::ui::diagnostic;
use crate::ui::editor::line_editor::HAS_EDITOR;
use crate::ui::request::{Request, RequestKind};
use crate::ui::session_event::{EventKind, SessionEvent};

impl Frontend {
    /// Prints lines that do not belong to the transcript. If stdout has no room, the lines are
    /// printed later.
    pub(super) fn print_lines(&mut self, lines: Vec<u8>) {
        let Some(stdout) = &self.stdout else {
            return;
        };
        if !self.pending_output.is_empty() || !stdout.can_accept() {
            self.pending_output.extend_from_slice(&lines);
            self.is_redraw_due = true;
        } else {
            self.send_to_stdout(lines);
        }
    }

    /// Passes lines to stdout. The caller has checked that stdout has room. After a failure of
    /// stdout the lines are dropped.
    fn send_to_stdout(&mut self, lines: Vec<u8>) {
        if let Some(stdout) = &self.stdout {
            let output = self.renderer.compose_output(lines);
            self.printed.record_sent(&output);
            let _ = stdout.try_send(output);
        }
    }

    /// Prints an event of the transcript.
    pub(super) fn print_event(&mut self, kind: EventKind) {
        let Some(stdout) = &self.stdout else {
            return;
        };
        let mut out = stdout.take_buffer();
        let event = SessionEvent::new(None, kind);
        self.renderer.append_event(&event, self.today, &mut out);
        if out.is_empty() {
            return;
        }
        if self.pending_output.is_empty() && stdout.can_accept() {
            self.send_to_stdout(out);
        } else {
            self.pending_output.extend_from_slice(&out);
        }
    }

    /// Prints a line of a guest, unless `listen --count` has no more left.
    pub(super) fn print_guest_line(&mut self, notice: Arc<Notice>) {
        let has_room = self.exit_policy.remaining_lines() != Some(0) && !self.is_drained();
        if has_room && self.filter.has_notice(&notice) {
            if matches!(
                &*notice,
                Notice::Guest(GuestNotice {
                    event: GuestEvent::Wrote { .. },
                    ..
                })
            ) {
                self.change_prompt(|prompt| prompt.unread = prompt.unread.saturating_add(1));
            }
            self.print_event(EventKind::Notice(notice));
            self.exit_policy.record_printed_lines(1);
        }
    }

    /// Redraws the editor's line, if there is an editor.
    pub(super) fn redraw_editor(&mut self) {
        if self.renderer.has_editor() {
            self.print_lines(Vec::new());
        }
    }

    /// Prints one sentence to stderr, with the program's name before it.
    pub fn warn(&mut self, sentence: &str) {
        self.print_diagnostic(&diagnostic::format_diagnostic(sentence));
    }

    /// Reports a detail, if --debug or /verbose asks for such. Calls `sentence` only then. Details
    /// are dropped, and counted, while a terminal with an editor takes no output.
    pub fn debug(&mut self, sentence: impl FnOnce() -> String) {
        if !self.stderr.is_enabled(Verbosity::Debug) {
            return;
        }
        if self.warns_above_editor() && !self.pending_output.is_empty() {
            self.dropped_details = self.dropped_details.saturating_add(1);
            return;
        }
        match std::mem::take(&mut self.dropped_details) {
            0 => {}
            count => self.warn(&format!("debug: {count} details were dropped")),
        }
        self.warn(&format!("debug: {}", sentence()));
    }

    fn warns_above_editor(&self) -> bool {
        self.renderer.has_editor() && io::stderr().is_terminal()
    }

    /// Prints formatted lines to stderr. If stderr is a terminal with an editor, prints them above
    /// the editor's line.
    pub(super) fn print_diagnostic(&mut self, line: &str) {
        if self.warns_above_editor() {
            self.print_lines(format!("{line}\n").into_bytes());
        } else {
            self.stderr.write_line(line);
        }
    }

    /// Reports errors in lines of stdin, each with the line's number. Prints all reports at once,
    /// because a block may have thousands of bad lines.
    pub(super) fn report_line_errors(
        &mut self,
        code: ErrorCode,
        errors: impl Iterator<Item = (u64, String)>,
        user_id: Option<&str>,
    ) {
        let (mut replies, mut diagnostics) = (Vec::new(), Vec::new());
        for (number, message) in errors {
            let content = match self.commands.form() {
                LineForm::Block => format!("the block: {message}"),
                _ if self.is_stdin_terminal => message,
                _ => format!("line {number}: {message}"),
            };
            diagnostics.push(diagnostic::format_diagnostic(&content));
            if self.renderer.is_json() {
                let id = user_id.map(str::to_owned);
                let event = SessionEvent::new(id, Notice::Error { code, content });
                self.renderer.append_event(&event, self.today, &mut replies);
            }
        }
        if diagnostics.is_empty() {
            return;
        }
        self.exit_policy.record_refusal();
        if !replies.is_empty() {
            self.print_lines(replies);
        }
        self.print_diagnostic(&diagnostics.join("\n"));
    }

    /// Warns that a part of the history cannot be read. Warns only once, because every turn reads
    /// that part again.
    pub fn report_read_error(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_read_error_reported, true) {
            let remedy = match lacks_descriptors(error) {
                true => ": raise the limit, as in `ulimit -n 256`",
                false => "",
            };
            let reason = "a part of the history cannot be read";
            self.warn(&format!("{reason}: {error}{remedy}"));
        }
    }

    /// Ends a turn: prints the waiting output, and tells the session which lines stdout has taken.
    /// If writing to stdout has failed, aborts the run.
    pub fn end_turn(&mut self) {
        let oldest = self.pending.oldest_resolution();
        self.exit_policy.update_resolution(self.now, oldest);
        let is_due = |missed: &MissedLines| missed.deadline().is_some_and(|at| at <= self.now);
        if HAS_EDITOR && self.missed.as_ref().is_some_and(is_due) {
            self.show_missed();
        }
        if let Some(progress) = self.progress.as_mut().filter(|_| HAS_EDITOR)
            && let Some(text) = progress.take_text(self.now)
        {
            self.stderr.show_progress(&text);
        }
        let Some(stdout) = &self.stdout else {
            return;
        };
        let is_output_due = !self.pending_output.is_empty() || self.is_redraw_due;
        if is_output_due && stdout.can_accept() {
            self.is_redraw_due = false;
            let pending = std::mem::take(&mut self.pending_output);
            self.send_to_stdout(pending);
        }
        self.report_printed();
        self.abort_if_stdout_failed();
    }

    /// If writing to stdout has failed, aborts the run.
    pub(super) fn abort_if_stdout_failed(&mut self) {
        let error = self.stdout.as_ref().and_then(|stdout| stdout.error());
        match error.filter(|_| !self.exit_policy.is_aborted()) {
            Some(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.exit_policy.abort(ExitStatus::StdoutClosed);
            }
            Some(_) if self.is_stdout_terminal => self.exit_policy.abort(ExitStatus::Hangup),
            Some(error) => {
                self.warn(&format!("stdout cannot be written: {error}"));
                self.exit_policy.abort(ExitStatus::GeneralError);
            }
            None => {}
        }
    }

    /// Handles a poll event of stdout. If the reader is gone, ends the run.
    pub fn handle_stdout_event(&mut self, event: &Event) {
        // An urgent byte in a socket is an event too (tcp(7)).
        if event.is_error() || event.is_write_closed() {
            self.exit_policy.record_reader_gone();
        }
    }

    /// Tells the session which lines are written to stdout. To be called every turn. After a kill,
    /// the next run then repeats only the lines of the last turn.
    pub(super) fn report_printed(&mut self) {
        let Some(stdout) = &self.stdout else {
            return;
        };
        for (folder, cursor) in self.printed.take_written(stdout) {
            let request = Request::new(None, RequestKind::Printed { folder, cursor });
            self.outgoing.push_back(request);
        }
    }

    /// Waits until stdout has taken all lines passed to it. Then passes the waiting output to
    /// stdout. Returns false after `deadline`, or if stdout fails.
    pub fn flush_stdout(&mut self, deadline: Instant) -> bool {
        let Some(stdout) = &self.stdout else {
            return true;
        };
        let remaining = deadline.saturating_duration_since(Instant::now());
        if remaining.is_zero() || !stdout.flush(remaining) {
            return false;
        }
        if !self.pending_output.is_empty() {
            let pending = std::mem::take(&mut self.pending_output);
            self.send_to_stdout(pending);
        }
        true
    }

    /// Removes the editor, and waits until all output is written. Gives up at `deadline`, but not
    /// before `at_least` has passed.
    pub(super) fn close_stdout(&mut self, deadline: Instant, at_least: Duration) {
        let clearing = self.renderer.close_editor();
        if !clearing.is_empty() {
            self.send_to_stdout(clearing);
        }
        if let Some(stdout) = &self.stdout {
            let remaining = deadline.saturating_duration_since(Instant::now());
            stdout.flush(remaining.max(at_least));
        }
        self.report_printed();
    }
}
