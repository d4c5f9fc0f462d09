//! The part of a session that writes: lines to stdout, diagnostics to stderr.
use std::io::{self, ErrorKind, IsTerminal};

use crate::base::error_code::ErrorCode;
use crate::base::event::Command;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::session::Session;
use crate::shell::store::store::Store;
use crate::ui::{diagnostic, json};

impl Session {
    /// Prints lines that do not belong to the transcript. If stdout has no room, the lines are
    /// printed later.
    pub(super) fn print_lines(&mut self, lines: Vec<u8>) {
        let Some(stdout) = &self.stdout else {
            return;
        };
        if !lines.is_empty() && (!self.pending_output.is_empty() || !stdout.can_accept()) {
            self.pending_output.extend_from_slice(&lines);
        } else {
            self.transcript
                .print_untracked(lines, &mut self.renderer, stdout);
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

    /// Prints formatted lines to stderr. If stderr is a terminal with an editor, prints them above
    /// the editor's line.
    pub(super) fn print_diagnostic(&mut self, line: &str) {
        if self.renderer.has_editor() && io::stderr().is_terminal() {
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
    ) {
        let (mut replies, mut diagnostics) = (Vec::new(), Vec::new());
        for (number, message) in errors {
            let message = format!("line {number}: {message}");
            if self.renderer.is_json() {
                json::append_error(code, &message, &mut replies);
            }
            diagnostics.push(diagnostic::format_diagnostic(&message));
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
            self.warn(&format!("a part of the history cannot be read: {error}"));
        }
    }

    /// Ends a turn: prints the waiting output, and saves in the store which lines stdout has taken.
    /// If writing to stdout has failed, aborts the run.
    pub fn end_turn(&mut self, store: &mut Store) {
        let Some(stdout) = &self.stdout else {
            return;
        };
        if !self.pending_output.is_empty() && stdout.can_accept() {
            let pending = std::mem::take(&mut self.pending_output);
            self.transcript
                .print_untracked(pending, &mut self.renderer, stdout);
        }
        let caught_up = self.transcript.catch_up(
            self.exit_policy.remaining_lines(),
            store,
            &mut self.renderer,
            stdout,
        );
        self.exit_policy
            .record_printed_lines(std::mem::take(&mut self.transcript.live_lines));
        self.transcript.save_printed_positions(store, stdout);
        let read_marks = std::mem::take(&mut self.transcript.read_marks);
        if self.is_stdout_terminal && !self.renderer.is_json() {
            for (log, sequence) in read_marks {
                self.commands.push(Command::MarkRead { log, sequence });
            }
        }
        let broken = stdout.error().filter(|_| !self.exit_policy.is_aborted());
        if let Err(error) = caught_up {
            self.report_read_error(&error);
        }
        match broken {
            Some(ErrorKind::BrokenPipe) => self.exit_policy.abort(ExitStatus::StdoutClosed),
            Some(_) if self.is_stdout_terminal => self.exit_policy.abort(ExitStatus::Hangup),
            Some(kind) => {
                self.warn(&format!("stdout cannot be written: {kind}"));
                self.exit_policy.abort(ExitStatus::GeneralError);
            }
            None => {}
        }
    }
}
