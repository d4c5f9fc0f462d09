//! stderr: short sentences, behind a queue like stdout's, so that a pipe that nobody reads holds up nobody.
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use crate::shell::stdio::stdout::Printer;
use crate::ui::text;

/// How long the last sentences may take to go out.
const PATIENCE: Duration = Duration::from_millis(500);

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Only what failed.
    Quiet,
    Normal,
    /// What comes, goes and fails on the way, too; counters at the end.
    Debug,
}

pub struct Diagnostics {
    verbosity: Verbosity,
    printer: Option<Printer>,
    said: u64,
}

impl Diagnostics {
    pub fn new(verbosity: Verbosity) -> Diagnostics {
        Diagnostics {
            verbosity,
            printer: None,
            said: 0,
        }
    }

    pub fn is(&self, verbosity: Verbosity) -> bool {
        self.verbosity >= verbosity
    }

    /// One line, already fit to show. What finds no room is lost: whoever does not read stderr does not miss it.
    pub fn say(&mut self, line: &str) {
        if self.printer.is_none() {
            let stderr = io::stderr().as_fd().try_clone_to_owned().map(File::from);
            self.printer = stderr.and_then(|file| Printer::to(file, || {})).ok();
        }
        if let Some(printer) = &self.printer {
            self.said += 1;
            let _ = printer.try_send(format!("{line}\n").into_bytes(), self.said);
        }
    }

    /// For --debug alone. `sentence` is not made for nothing.
    pub fn debug(&mut self, sentence: impl FnOnce() -> String) {
        if self.is(Verbosity::Debug) {
            self.say(&text::complaint(&format!("debug: {}", sentence())));
        }
    }

    pub fn finish(&self) {
        if let Some(printer) = &self.printer {
            printer.finish(PATIENCE);
        }
    }
}
