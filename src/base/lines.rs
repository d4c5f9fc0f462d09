//! Lines of text: what is said, before it is signed.
use std::fmt;

/// Longest line, in bytes of UTF-8 without its end of line.
pub const LINE_MAX_BYTES: usize = 16 * 1024;
/// Most lines of one batch.
pub const BATCH_LINES_MAX: usize = 4096;
/// Text after which an own batch is closed, in bytes.
pub const BATCH_TEXT_MAX_BYTES: usize = 48 * 1024;

/// Lines of text, each ended by `\n`, none longer than [`LINE_MAX`]: one block instead of a string a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(String);

/// Why a piped line is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    TooLong,
    NotUtf8,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong => write!(f, "longer than 16 KiB, not sent"),
            LineError::NotUtf8 => write!(f, "not UTF-8, not sent"),
        }
    }
}

impl Lines {
    /// One line, without its end; a `\r` at its end belongs to the line's end.
    ///
    /// # Errors
    /// The line is too long or not UTF-8; nothing was added.
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

    /// As [`Lines::as_str`] gave it. `None`: not lines that may be said.
    pub fn parse(text: &[u8]) -> Option<Lines> {
        let text = std::str::from_utf8(text).ok()?;
        let fits =
            text.ends_with('\n') && text.split('\n').all(|line| line.len() <= LINE_MAX_BYTES);
        fits.then(|| Lines(text.to_owned()))
    }

    /// Each line ended by `\n`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of text, ends of line included.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.split_terminator('\n')
    }

    pub fn append(&mut self, other: &Lines) {
        self.0.push_str(&other.0);
    }

    /// Takes as many lines from the front as one batch may hold; at least one, if there is one.
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
