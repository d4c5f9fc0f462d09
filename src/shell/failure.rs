//! Why the program cannot go on, as its user is told.
use std::fmt;

/// I/O, or a directory in use.
pub const FAILED: u8 = 1;
/// The command line, or an option wherever it stands.
pub const USAGE: u8 = 2;
/// Configuration, identity, directory or secret file.
pub const CONFIG: u8 = 78;

/// One line for stderr, and the status to exit with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub status: u8,
    /// Without `p2pchat: ` before it and without an end of line.
    pub sentence: String,
}

impl Failure {
    /// What in the sentence would act on a terminal, or end the line, is shown as a picture of itself.
    pub fn new(status: u8, sentence: impl AsRef<str>) -> Failure {
        Failure {
            status,
            sentence: sentence.as_ref().chars().map(shown).collect(),
        }
    }

    pub fn usage(sentence: impl AsRef<str>) -> Failure {
        Failure::new(USAGE, sentence)
    }

    pub fn config(sentence: impl AsRef<str>) -> Failure {
        Failure::new(CONFIG, sentence)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

fn shown(c: char) -> char {
    match c {
        '\t' => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        '\u{7f}'..='\u{9f}'
        | '\u{2028}'
        | '\u{2029}'
        | '\u{202a}'..='\u{202e}'
        | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        _ => c,
    }
}

/// A text of the user's as part of a sentence: not too long.
pub fn quoted(text: &str) -> String {
    const MAX: usize = 60;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => format!("`{}…`", &text[..end]),
        None => format!("`{text}`"),
    }
}
