//! stderr: short sentences, behind a queue like stdout's, so that a pipe that nobody reads holds up nobody.
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::time::Duration;

use crate::shell::config::values::Verbosity;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::ui::diagnostic;

/// How long the last sentences may take to go out.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(500);

pub struct Stderr {
    verbosity: Verbosity,
    writer: Option<OutputWriter>,
    last_token: u64,
}

impl Stderr {
    pub fn new(verbosity: Verbosity) -> Stderr {
        Stderr {
            verbosity,
            writer: None,
            last_token: 0,
        }
    }

    pub fn is_enabled(&self, verbosity: Verbosity) -> bool {
        self.verbosity >= verbosity
    }

    /// One line, already fit to show. What finds no room is lost: whoever does not read stderr does not miss it.
    pub fn write_line(&mut self, line: &str) {
        if self.writer.is_none() {
            let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
            self.writer = stderr
                .and_then(|file| OutputWriter::with_file(file, || {}))
                .ok();
        }
        if let Some(printer) = &self.writer {
            self.last_token += 1;
            let _ = printer.try_send(format!("{line}\n").into_bytes(), self.last_token);
        }
    }

    /// For --debug alone. `sentence` is not made for nothing.
    pub fn debug(&mut self, sentence: impl FnOnce() -> String) {
        if self.is_enabled(Verbosity::Debug) {
            self.write_line(&diagnostic::format_diagnostic(&format!(
                "debug: {}",
                sentence()
            )));
        }
    }

    pub fn flush(&self) {
        if let Some(printer) = &self.writer {
            printer.flush(FLUSH_TIMEOUT);
        }
    }
}

/// Writes warnings to stderr at once, for a program that has no session yet.
pub fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        // Nobody is left to be told that stderr is closed.
        let _ = writeln!(io::stderr(), "{}", diagnostic::format_diagnostic(warning));
    }
}
