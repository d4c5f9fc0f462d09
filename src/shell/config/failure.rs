//! A failure that ends the program.
use std::fmt;
use std::io;

use crate::shell::config::exit_status::ExitStatus;
use crate::ui::sanitize::sanitize;

/// One line for stderr, and the status to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The status to exit with.
    pub exit_status: ExitStatus,
    /// One sentence, without the prefix `p2pchat: ` and without an end of line.
    pub message: String,
}

impl Failure {
    /// Control characters in the sentence, line ends included, are replaced by visible ones.
    pub fn new(status: ExitStatus, sentence: impl AsRef<str>) -> Failure {
        Failure {
            exit_status: status,
            message: sanitize(sentence.as_ref()).into_owned(),
        }
    }

    /// An option is unknown or has a bad value. Exit status 2.
    pub fn usage(sentence: impl AsRef<str>) -> Failure {
        Failure::new(ExitStatus::UsageError, sentence)
    }

    /// A system call failed; `what` says what could not be done. Exit status 1.
    pub fn io(what: &str, error: &io::Error) -> Failure {
        Failure::new(ExitStatus::GeneralError, format!("{what}: {error}"))
    }

    /// A file or directory of the program cannot be used. Exit status 78.
    pub fn config(sentence: impl AsRef<str>) -> Failure {
        Failure::new(ExitStatus::ConfigError, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Quotes a text of the user for a sentence, cut to 60 characters.
pub fn quote_truncated(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
