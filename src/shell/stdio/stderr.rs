//! Writes diagnostics to stderr, through a bounded queue and a thread. If nobody reads stderr, the
//! program does not block.
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::shell::config::values::Verbosity;
use crate::shell::stdio::output_writer;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::ui::diagnostic;

/// How long to wait for the last diagnostics to be written when the run ends.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

/// The writer of diagnostics. Its thread starts when the first line is written.
pub struct Stderr {
    verbosity: Verbosity,
    /// What `verbosity` was before /verbose. `None`: it is not in effect.
    before: Option<Verbosity>,
    writer: Option<OutputWriter>,
    /// Width of the progress that stands in the last row of the terminal, in columns.
    progress_columns: usize,
}

impl Stderr {
    /// A writer for diagnostics. `verbosity`: the highest level that is reported.
    pub fn new(verbosity: Verbosity) -> Stderr {
        Stderr {
            verbosity,
            before: None,
            writer: None,
            progress_columns: 0,
        }
    }

    /// Whether diagnostics of this level are reported.
    pub fn is_enabled(&self, verbosity: Verbosity) -> bool {
        self.verbosity >= verbosity
    }

    /// Begins to report what is for --debug, or ends it. Returns a sentence that says which.
    pub fn toggle_debug(&mut self) -> &'static str {
        let before = self.before.take();
        if before.is_none() {
            self.before = Some(self.verbosity);
        }
        self.verbosity = before.unwrap_or(Verbosity::Debug);
        match self.before {
            Some(_) => "what happens is printed from now on; /verbose ends it",
            None => "what happens is printed no more",
        }
    }

    /// Writes one line. The line must be safe for a terminal. If stderr is not read and the queue
    /// is full, the line is dropped. Without a descriptor for the thread, writes the line directly:
    /// the shortage itself must be reported.
    pub fn write_line(&mut self, line: &str) {
        self.clear_progress();
        self.write(format!("{line}\n"));
    }

    /// Writes a text over the last row of the terminal, until the next line. It needs no escape
    /// sequences, so any terminal shows it.
    pub fn show_progress(&mut self, text: &str) {
        let columns = text.chars().count();
        let shown = std::mem::replace(&mut self.progress_columns, columns);
        let rest = " ".repeat(shown.saturating_sub(columns));
        self.write(format!("\r{text}{rest}"));
    }

    /// Clears what [`Stderr::show_progress`] has written.
    pub fn clear_progress(&mut self) {
        if self.progress_columns > 0 {
            self.show_progress("");
            self.write("\r".to_owned());
        }
    }

    fn write(&mut self, text: String) {
        if self.writer.is_none() {
            let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
            self.writer = stderr
                .and_then(|file| OutputWriter::with_file(file, || {}))
                .ok();
        }
        let bytes = text.into_bytes();
        match &self.writer {
            Some(writer) => drop(writer.try_send(bytes)),
            None => drop(output_writer::write_all(io::stderr().as_fd(), &bytes)),
        }
    }

    /// Clears the progress, and waits up to 500 ms until all lines are written.
    pub fn flush(&mut self) {
        self.clear_progress();
        if let Some(writer) = &self.writer {
            writer.flush(FLUSH_TIMEOUT);
        }
    }
}

/// Writes warnings to stderr, without a writer thread. For a program that has no session yet.
pub fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        print_sentence(warning);
    }
}

/// Writes a sentence to stderr, without a writer thread.
pub fn print_sentence(sentence: &str) {
    let line = diagnostic::format_diagnostic(sentence) + "\n";
    // Ignore an error: if stderr is closed, nobody can read about it.
    let _ = output_writer::write_all(io::stderr().as_fd(), line.as_bytes());
}
