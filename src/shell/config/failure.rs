//! Why the program cannot go on, as its user is told.
use std::fmt;
use std::io;

use crate::shell::config::exit_status::ExitStatus;
use crate::ui::text::sanitize;

/// One line for stderr, and the status to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit_status: ExitStatus,
    /// Without `p2pchat: ` before it and without an end of line.
    pub message: String,
}

impl Failure {
    /// What in the sentence would act on a terminal, or end the line, is shown as a picture of itself.
    pub fn new(status: ExitStatus, sentence: impl AsRef<str>) -> Failure {
        Failure {
            exit_status: status,
            message: sanitize(sentence.as_ref()).into_owned(),
        }
    }

    pub fn usage(sentence: impl AsRef<str>) -> Failure {
        Failure::new(ExitStatus::UsageError, sentence)
    }

    /// A call of the system failed: `what` says which resource cannot be had. Exit status 1.
    pub fn io(what: &str, error: &io::Error) -> Failure {
        Failure::new(ExitStatus::GeneralError, format!("{what}: {error}"))
    }

    pub fn config(sentence: impl AsRef<str>) -> Failure {
        Failure::new(ExitStatus::ConfigError, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// A text of the user's as part of a sentence: not too long.
pub fn quote_truncated(text: &str) -> String {
    const MAX: usize = 60;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
