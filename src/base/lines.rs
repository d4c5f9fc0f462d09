//! Unsigned lines of text and their bounds.
use std::borrow::Cow;
use std::fmt;

#[cfg(doc)]
use super::text::line_form::BLOCK_SEPARATOR;
use super::text::line_form::LineForm;

/// Longest line, in bytes of UTF-8, without the end of line.
pub const LINE_MAX_BYTES: usize = 16 * 1024;
/// Longest line of JSON on stdin, in bytes. Its content is a line with up to six bytes of JSON for
/// each byte of text, as in `\u0001`; the rest is for the other fields.
pub const JSON_LINE_MAX_BYTES: usize = 6 * LINE_MAX_BYTES + 8 * 1024;
/// Maximum number of lines in one batch.
pub const BATCH_LINES_MAX: usize = 4096;
/// Maximum size of the text in a batch that we sign, in bytes. A longer text becomes several
/// batches. It fits one Noise message (65 487 bytes of plaintext), and is 15 of the 16 pages of a
/// pipe, so that a read of a full one is one batch.
pub const BATCH_TEXT_MAX_BYTES: usize = 60 * 1024;

/// Which lines [`Lines::push_by`] accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LineRules {
    /// Longest line, in bytes.
    pub max_bytes: usize,
    /// Whether bytes that are not UTF-8 become U+FFFD. Otherwise such a line is refused.
    pub is_lossy: bool,
    /// Whether all input is one line: a block of several lines.
    pub is_block: bool,
}

impl LineRules {
    /// Most bytes of a line as it is read, without its `\n`. A block may lose a `\r` for each of
    /// its line ends.
    pub fn read_max_bytes(&self) -> usize {
        match self.is_block {
            true => 2 * self.max_bytes + 1,
            false => self.max_bytes,
        }
    }

    /// The rules for a line of text, which is sent as it is.
    pub const TEXT: LineRules = LineRules {
        max_bytes: LINE_MAX_BYTES,
        is_lossy: false,
        is_block: false,
    };
    /// The rules for a line of JSON, whose `content` is a line of text. The content is checked when
    /// the JSON is parsed.
    pub const JSON: LineRules = LineRules {
        max_bytes: JSON_LINE_MAX_BYTES,
        is_lossy: false,
        is_block: false,
    };
}

/// Lines of text in one string, each followed by `\n`. Each line has at most [`LINE_MAX_BYTES`]
/// bytes, unless it came with other [`LineRules`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    text: String,
    /// Number of lines.
    count: usize,
}

/// Why a line is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line is longer than [`LineRules::max_bytes`], which this is.
    TooLong(usize),
    /// The line is not UTF-8.
    NotUtf8,
    /// The line is a block that contains [`BLOCK_SEPARATOR`].
    HasSeparator,
}

impl fmt::Display for LineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LineError::TooLong(max) => write!(f, "longer than {} KiB, not sent", max / 1024),
            LineError::NotUtf8 => write!(f, "not UTF-8, not sent"),
            LineError::HasSeparator => {
                write!(
                    f,
                    "has the character U+000B, which no block can hold, not sent"
                )
            }
        }
    }
}

impl Lines {
    /// Appends one line of text, passed without its `\n`. A final `\r` is dropped.
    ///
    /// # Errors
    /// The line is too long or not UTF-8. It is not appended.
    pub fn push(&mut self, line: &[u8]) -> Result<(), LineError> {
        self.push_by(line, LineRules::TEXT)
    }

    /// Like [`Lines::push`], with other rules. A block is passed without its last `\n`.
    ///
    /// # Errors
    /// The line breaks a rule. It is not appended.
    pub fn push_by(&mut self, line: &[u8], rules: LineRules) -> Result<(), LineError> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let mut text = match std::str::from_utf8(line) {
            _ if line.len() > rules.read_max_bytes() => {
                return Err(LineError::TooLong(rules.max_bytes));
            }
            Ok(text) => Cow::Borrowed(text),
            // U+FFFD has three bytes, so the text may be longer than the line.
            Err(_) if rules.is_lossy => String::from_utf8_lossy(line),
            Err(_) => return Err(LineError::NotUtf8),
        };
        if rules.is_block {
            if LineForm::Block.is_ambiguous(&text) {
                return Err(LineError::HasSeparator);
            }
            text = Cow::Owned(LineForm::Block.without_line_ends(&text).into_owned());
        }
        if text.len() > rules.max_bytes {
            return Err(LineError::TooLong(rules.max_bytes));
        }
        self.count += count_line_ends(text.as_bytes()) as usize + 1;
        self.text.push_str(&text);
        self.text.push('\n');
        Ok(())
    }

    /// Parses text in the format of [`Lines::as_str`]. Returns `None` if the text is not UTF-8, a
    /// line is too long, or the last line has no `\n`.
    pub fn parse(text: &[u8]) -> Option<Lines> {
        let text = std::str::from_utf8(text).ok()?;
        let fits =
            text.ends_with('\n') && text.split('\n').all(|line| line.len() <= LINE_MAX_BYTES);
        fits.then(|| Lines {
            text: text.to_owned(),
            count: count_line_ends(text.as_bytes()) as usize,
        })
    }

    /// All lines as one string. Each line ends with `\n`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Are there no lines?
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Size of the text in bytes, including every `\n`.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// All lines in order, without `\n`.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        split_lines(&self.text)
    }

    /// Number of lines.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Appends all lines of `other`.
    pub fn append(&mut self, other: &Lines) {
        self.text.push_str(&other.text);
        self.count += other.count;
    }

    /// Removes lines from the front and returns them. Takes as many lines as fit into one batch.
    /// Takes at least one line, unless `self` is empty.
    pub fn take_batch(&mut self) -> Lines {
        // A read of stdin is one batch, unless its lines are short.
        if self.len() <= BATCH_TEXT_MAX_BYTES && self.count <= BATCH_LINES_MAX {
            return std::mem::take(self);
        }
        let (mut end, mut taken) = (0, 0);
        for line_end in memchr::memchr_iter(b'\n', self.text.as_bytes()) {
            if taken > 0 && line_end >= BATCH_TEXT_MAX_BYTES || taken == BATCH_LINES_MAX {
                break;
            }
            end = line_end + 1;
            taken += 1;
        }
        let rest = Lines {
            text: self.text.split_off(end),
            count: self.count - taken,
        };
        self.count = taken;
        std::mem::replace(self, rest)
    }
}

/// The lines of a text, each before an ASCII character.
#[derive(Debug)]
pub struct SplitLines<'a> {
    rest: &'a str,
    end: u8,
    /// How many bytes behind a line the next one begins.
    gap: usize,
}

impl<'a> SplitLines<'a> {
    /// The lines of `text`, each before the ASCII character `end`. The next line begins `gap` bytes
    /// behind it.
    pub(super) fn new(text: &'a str, end: u8, gap: usize) -> SplitLines<'a> {
        let rest = text;
        SplitLines { rest, end, gap }
    }
}

impl<'a> Iterator for SplitLines<'a> {
    type Item = &'a str;
    fn next(&mut self) -> Option<&'a str> {
        let rest = self.rest;
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(self.end, rest.as_bytes()).unwrap_or(rest.len());
        self.rest = rest.get(end + self.gap..).unwrap_or_default();
        rest.get(..end)
    }
}

/// The lines of a text, without `\n`. As [`str::split_terminator`], but finds the ends of short
/// lines in a fifth of the instructions.
pub fn split_lines(text: &str) -> SplitLines<'_> {
    SplitLines::new(text, b'\n', 1)
}

/// Number of line ends in `bytes`.
pub fn count_line_ends(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
