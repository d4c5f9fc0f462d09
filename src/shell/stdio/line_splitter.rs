//! Splits the bytes of stdin into numbered lines. Rejects lines that cannot be sent.
use crate::base::lines::{BATCH_TEXT_MAX_BYTES, LineError, LineRules, Lines};

/// The lines that one read of stdin completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LineBlock {
    /// Number of the first line of this block, whether it is valid or rejected. The first line of
    /// stdin has number 1.
    pub first_number: u64,
    /// The valid lines.
    pub lines: Lines,
    /// Numbers and errors of the rejected lines, in ascending order of the numbers.
    pub rejected: Vec<(u64, LineError)>,
}

impl LineBlock {
    /// The valid lines with their numbers.
    pub fn numbered_lines(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut rejected = self.rejected.iter().map(|(number, _)| *number).peekable();
        let mut next = self.first_number;
        self.lines.iter().map(move |line| {
            while rejected.next_if_eq(&next).is_some() {
                next += 1;
            }
            next += 1;
            (next - 1, line)
        })
    }
}

/// Room for one read, at least, behind the beginning of the longest line.
const READ_MIN_BYTES: usize = 16 * 1024;

/// A buffer for the reads of stdin. Keeps the beginning of an incomplete line until its end is
/// read.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// How many bytes at the front belong to an incomplete line.
    partial_len: usize,
    splitter: LineSplitter,
}

impl LineBuffer {
    /// A buffer at the beginning of stdin. `rules`: which lines are accepted.
    pub fn new(rules: LineRules) -> LineBuffer {
        LineBuffer {
            bytes: vec![0; BATCH_TEXT_MAX_BYTES.max(rules.read_max_bytes() + READ_MIN_BYTES)],
            partial_len: 0,
            splitter: LineSplitter::new(rules),
        }
    }

    /// Where the next read puts its bytes. Never empty. A full buffer is the text of one batch, so
    /// that a pipe which is never empty needs the fewest signatures.
    pub fn space(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.partial_len..).unwrap_or_default()
    }

    /// Returns the lines that a read of `n` bytes has completed. 0 bytes are the end of stdin,
    /// where the last line needs no `\n`.
    pub fn complete(&mut self, n: usize) -> Option<LineBlock> {
        let filled = self.partial_len + n;
        let bytes = self.bytes.get(..filled).unwrap_or_default();
        let (block, consumed) = self.splitter.split(bytes, n == 0);
        self.bytes.copy_within(consumed..filled, 0);
        self.partial_len = filled - consumed;
        block
    }

    /// Whether the buffer contains the beginning of a line.
    pub fn has_partial_line(&self) -> bool {
        self.partial_len > 0
    }
}

/// Splits a stream of bytes at `\n`.
#[derive(Debug)]
pub struct LineSplitter {
    rules: LineRules,
    /// How many lines are completed or rejected so far.
    line_count: u64,
    /// Whether the current line is already rejected. Its remaining bytes are dropped.
    is_skipping: bool,
}

impl LineSplitter {
    /// A splitter at the beginning of a stream.
    pub fn new(rules: LineRules) -> LineSplitter {
        LineSplitter {
            rules,
            line_count: 0,
            is_skipping: false,
        }
    }

    /// Returns the complete lines of `bytes`, and the number of consumed bytes.
    ///
    /// The unconsumed bytes are the beginning of an incomplete line. There are at most
    /// [`LineRules::read_max_bytes`] + 1 of them. The caller must pass them again, at the
    /// beginning of the next `bytes`. If `is_last` is true, no bytes follow, and the last line
    /// needs no `\n`.
    pub fn split(&mut self, bytes: &[u8], is_last: bool) -> (Option<LineBlock>, usize) {
        let mut block = LineBlock {
            first_number: self.line_count + 1,
            ..LineBlock::default()
        };
        let mut rest = bytes;
        // Nothing ends a block but the end of the input.
        let is_end = |b: &u8| *b == b'\n' && !self.rules.is_block;
        if self.is_skipping {
            match rest.iter().position(is_end) {
                None => return (None, bytes.len()),
                Some(end) => {
                    rest = rest.get(end + 1..).unwrap_or_default();
                    self.is_skipping = false;
                }
            }
        }
        let complete = rest.iter().rposition(is_end).map_or(0, |i| i + 1);
        let (lines, mut rest) = rest.split_at(complete);
        self.push_lines(lines, &mut block);
        if is_last && !rest.is_empty() {
            self.push_line(rest, &mut block);
            rest = &[];
        } else if rest.len() > self.rules.read_max_bytes() + 1 {
            // The rest is longer than the longest line and its `\r`. Whatever follows, the line is
            // too long.
            self.line_count += 1;
            let error = LineError::TooLong(self.rules.max_bytes);
            block.rejected.push((self.line_count, error));
            self.is_skipping = true;
            rest = &[];
        }
        let consumed = bytes.len() - rest.len();
        let is_empty = block.lines.is_empty() && block.rejected.is_empty();
        ((!is_empty).then_some(block), consumed)
    }

    /// Adds complete lines. Checks and copies many lines at once, as one piece. If a piece contains
    /// an invalid line or a `\r`, adds its lines one by one.
    fn push_lines(&mut self, mut lines: &[u8], block: &mut LineBlock) {
        while !lines.is_empty() {
            let window = lines.get(..self.rules.max_bytes + 1).unwrap_or(lines);
            let piece_len = match window.iter().rposition(|b| *b == b'\n') {
                Some(end) => end + 1,
                None => lines
                    .iter()
                    .position(|b| *b == b'\n')
                    .map_or(lines.len(), |i| i + 1),
            };
            let (piece, after) = lines.split_at(piece_len);
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            // `Lines` accepts several lines at once if together they are no longer than one
            // line may be.
            let before = block.lines.count();
            if memchr::memchr(b'\r', piece).is_none()
                && text.len() <= self.rules.max_bytes
                && block.lines.push_by(text, self.rules).is_ok()
            {
                self.line_count += (block.lines.count() - before) as u64;
            } else {
                for line in text.split(|b| *b == b'\n') {
                    self.push_line(line, block);
                }
            }
            lines = after;
        }
    }

    fn push_line(&mut self, line: &[u8], block: &mut LineBlock) {
        self.line_count += 1;
        let line = match self.rules.is_block {
            true => line.strip_suffix(b"\n").unwrap_or(line),
            false => line,
        };
        if let Err(error) = block.lines.push_by(line, self.rules) {
            block.rejected.push((self.line_count, error));
        }
    }
}
