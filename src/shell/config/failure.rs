//! A failure that ends the program.
use std::fmt;
use std::io;

use crate::shell::config::exit_status::ExitStatus;
use crate::ui::sanitize::sanitize;

/// Why a command failed: a message for stderr, and the exit status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status to exit with.
    pub exit_status: ExitStatus,
    /// One sentence, without the prefix `p2pchat: ` and without a line end.
    pub message: String,
}

impl Failure {
    /// Creates a failure. Control characters in the sentence, including line ends, are replaced
    /// by visible characters.
    pub fn new(status: ExitStatus, sentence: impl AsRef<str>) -> Failure {
        Failure {
            exit_status: status,
            message: sanitize(sentence.as_ref()).into_owned(),
        }
    }

    /// A failure with exit status 2: an option is unknown or has a bad value.
    pub fn usage(sentence: impl AsRef<str>) -> Failure {
        Failure::new(ExitStatus::UsageError, sentence)
    }

    /// A failure with exit status 1: a system call failed. `what` names the action that failed.
    pub fn io(what: &str, error: &io::Error) -> Failure {
        Failure::new(ExitStatus::GeneralError, format!("{what}: {error}"))
    }

    /// A failure with exit status 78: a file or directory of the program cannot be used.
    pub fn config(sentence: impl AsRef<str>) -> Failure {
        Failure::new(ExitStatus::ConfigError, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Quotes user input for a message. Input longer than 60 characters is cut.
pub fn quote_truncated(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
