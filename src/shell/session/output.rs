//! The part of a session that writes: lines for stdout and sentences for stderr.
use std::io::{self, ErrorKind, IsTerminal};

use crate::base::error_code::ErrorCode;
use crate::base::event::Command;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::session::Session;
use crate::shell::store::store::Store;
use crate::ui::{json, text};

impl Session {
    /// Lines for stdout that do not come from the history.
    pub(super) fn print_lines(&mut self, lines: Vec<u8>) {
        let Some(printer) = &self.stdout else {
            return;
        };
        if !lines.is_empty() && (!self.pending_output.is_empty() || !printer.can_accept()) {
            self.pending_output.extend_from_slice(&lines);
        } else {
            self.transcript
                .print_untracked(lines, &mut self.renderer, printer);
        }
    }

    /// A sentence for stderr.
    pub fn warn(&mut self, sentence: &str) {
        self.print_diagnostic(&text::format_diagnostic(sentence));
    }

    pub(super) fn print_diagnostic(&mut self, line: &str) {
        if self.renderer.has_editor() && io::stderr().is_terminal() {
            self.print_lines(format!("{line}\n").into_bytes());
        } else {
            self.stderr.write_line(line);
        }
    }

    /// Lines by their numbers, and what is wrong with each. One block may have thousands, so they are said in one piece.
    pub(super) fn report_line_errors(
        &mut self,
        code: ErrorCode,
        bad: impl Iterator<Item = (u64, String)>,
    ) {
        let (mut answers, mut sentences) = (Vec::new(), Vec::new());
        for (number, sentence) in bad {
            let sentence = format!("line {number}: {sentence}");
            if self.renderer.is_json() {
                json::append_error(code, &sentence, &mut answers);
            }
            sentences.push(text::format_diagnostic(&sentence));
        }
        if sentences.is_empty() {
            return;
        }
        self.exit_policy.record_refusal();
        if !answers.is_empty() {
            self.print_lines(answers);
        }
        self.print_diagnostic(&sentences.join("\n"));
    }

    /// Said once: a place that cannot be read is come to again and again.
    pub fn report_read_error(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_read_error_reported, true) {
            self.warn(&format!("a part of the history cannot be read: {error}"));
        }
    }

    /// Goes on with what stdout did not take before, and notes what it has taken.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn end_turn(&mut self, store: &mut Store) -> io::Result<()> {
        let Some(printer) = &self.stdout else {
            return Ok(());
        };
        if !self.pending_output.is_empty() && printer.can_accept() {
            let owed = std::mem::take(&mut self.pending_output);
            self.transcript
                .print_untracked(owed, &mut self.renderer, printer);
        }
        let read = self.transcript.catch_up(
            self.exit_policy.remaining_lines(),
            store,
            &mut self.renderer,
            printer,
        );
        self.exit_policy
            .record_printed_lines(std::mem::take(&mut self.transcript.live_lines));
        self.transcript.save_printed_positions(store, printer);
        let shown = std::mem::take(&mut self.transcript.read_marks);
        if self.is_stdout_terminal && !self.renderer.is_json() {
            for (log, sequence) in shown {
                self.commands.push(Command::MarkRead { log, sequence });
            }
        }
        let broken = printer.error().filter(|_| !self.exit_policy.is_aborted());
        if let Err(error) = read {
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
        Ok(())
    }
}
