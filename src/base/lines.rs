//! Unsigned lines of text and their bounds.
use std::fmt;

/// Longest line, in bytes of UTF-8, without the end of line.
pub const LINE_MAX_BYTES: usize = 16 * 1024;
/// Maximum number of lines in one batch.
pub const BATCH_LINES_MAX: usize = 4096;
/// Maximum size of the text in a batch that we sign, in bytes. A longer text becomes several
/// batches.
pub const BATCH_TEXT_MAX_BYTES: usize = 48 * 1024;

/// Lines of text in one string. Each line has at most [`LINE_MAX_BYTES`] bytes, followed by `\n`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(String);

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line is longer than [`LINE_MAX_BYTES`].
    TooLong,
    /// The line is not UTF-8.
    NotUtf8,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong => write!(f, "longer than {} KiB, not sent", LINE_MAX_BYTES / 1024),
            LineError::NotUtf8 => write!(f, "not UTF-8, not sent"),
        }
    }
}

impl Lines {
    /// Appends one line, passed without its `\n`. A final `\r` is dropped.
    ///
    /// # Errors
    /// The line is too long or not UTF-8. It is not appended.
    pub fn push(&mut self, line: &[u8]) -> Result<(), LineError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > LINE_MAX_BYTES {
            return Err(LineError::TooLong);
        }
        let text = std::str::from_utf8(line).map_err(|_| LineError::NotUtf8)?;
        self.0.push_str(text);
        self.0.push('\n');
        Ok(())
    }

    /// Parses text in the format of [`Lines::as_str`]. Returns `None` if the text is not UTF-8, a
    /// line is too long, or the last line has no `\n`.
    pub fn parse(text: &[u8]) -> Option<Lines> {
        let text = std::str::from_utf8(text).ok()?;
        let fits =
            text.ends_with('\n') && text.split('\n').all(|line| line.len() <= LINE_MAX_BYTES);
        fits.then(|| Lines(text.to_owned()))
    }

    /// All lines as one string. Each line ends with `\n`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Are there no lines?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Size of the text in bytes, including every `\n`.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// All lines in order, without `\n`.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\n')
    }

    /// Appends all lines of `other`.
    pub fn append(&mut self, other: &Lines) {
        self.0.push_str(&other.0);
    }

    /// Removes lines from the front and returns them. Takes as many lines as fit into one batch.
    /// Takes at least one line, unless `self` is empty.
    pub fn take_batch(&mut self) -> Lines {
        let (mut end, mut count) = (0, 0);
        for line in self.0.split_inclusive('\n') {
            if count > 0 && (end + line.len() > BATCH_TEXT_MAX_BYTES || count == BATCH_LINES_MAX) {
                break;
            }
            end += line.len();
            count += 1;
        }
        if end == self.0.len() {
            return std::mem::take(self);
        }
        let rest = self.0.split_off(end);
        Lines(std::mem::replace(&mut self.0, rest))
    }
}
