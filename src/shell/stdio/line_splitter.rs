//! Cuts the bytes of stdin into lines, checks each, and counts them.
use crate::base::lines::{LINE_MAX_BYTES, LineError, Lines};

/// Lines that one read completed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct LineBlock {
    /// The number of the first of them, refused ones included; stdin's first line has number 1.
    pub first_number: u64,
    /// Those that can be said.
    pub lines: Lines,
    /// The others with their numbers, upwards.
    pub rejected: Vec<(u64, LineError)>,
}

impl LineBlock {
    /// The lines that can be said, with their numbers.
    pub fn numbered_lines(&self) -> impl Iterator<Item = (u64, &str)> {
        let mut refused = self.rejected.iter().map(|(number, _)| *number).peekable();
        let mut next = self.first_number;
        self.lines.iter().map(move |line| {
            while refused.next_if_eq(&next).is_some() {
                next += 1;
            }
            next += 1;
            (next - 1, line)
        })
    }
}

/// Cuts bytes into lines, and counts them.
#[derive(Debug, Default)]
pub struct LineSplitter {
    /// Lines begun so far, but for the one that is going on.
    lines_begun: u64,
    /// The line going on is refused already, and its bytes are let go.
    is_skipping: bool,
}

impl LineSplitter {
    /// The whole lines of `bytes`, and how many of the bytes need not be shown again. At most `LINE_MAX + 1` bytes remain.
    pub fn split(&mut self, bytes: &[u8], last: bool) -> (Option<LineBlock>, usize) {
        let mut block = LineBlock {
            first_number: self.lines_begun + 1,
            ..LineBlock::default()
        };
        let mut rest = bytes;
        if self.is_skipping {
            match rest.iter().position(|b| *b == b'\n') {
                None => return (None, bytes.len()),
                Some(end) => {
                    rest = rest.get(end + 1..).unwrap_or_default();
                    self.is_skipping = false;
                }
            }
        }
        let whole = rest.iter().rposition(|b| *b == b'\n').map_or(0, |i| i + 1);
        let (lines, mut rest) = rest.split_at(whole);
        self.push_lines(lines, &mut block);
        if last && !rest.is_empty() {
            self.push_line(rest, &mut block);
            rest = &[];
        } else if rest.len() > LINE_MAX_BYTES + 1 {
            // Too long whatever comes: one byte more than the longest line and its `\r`.
            self.lines_begun += 1;
            block.rejected.push((self.lines_begun, LineError::TooLong));
            self.is_skipping = true;
            rest = &[];
        }
        let used = bytes.len() - rest.len();
        let empty = block.lines.is_empty() && block.rejected.is_empty();
        ((!empty).then_some(block), used)
    }

    /// Lines, each with its end. Checked and copied by the piece; line by line only where a piece holds something odd.
    fn push_lines(&mut self, mut lines: &[u8], block: &mut LineBlock) {
        while !lines.is_empty() {
            let window = lines.get(..LINE_MAX_BYTES + 1).unwrap_or(lines);
            let piece = match window.iter().rposition(|b| *b == b'\n') {
                Some(end) => end + 1,
                None => lines
                    .iter()
                    .position(|b| *b == b'\n')
                    .map_or(lines.len(), |i| i + 1),
            };
            let (piece, after) = lines.split_at(piece);
            let text = piece.strip_suffix(b"\n").unwrap_or(piece);
            // `Lines` takes text of several lines if all together it is no longer than one may be.
            if !piece.contains(&b'\r')
                && text.len() <= LINE_MAX_BYTES
                && block.lines.push(text).is_ok()
            {
                self.lines_begun += piece.iter().filter(|b| **b == b'\n').count() as u64;
            } else {
                for line in text.split(|b| *b == b'\n') {
                    self.push_line(line, block);
                }
            }
            lines = after;
        }
    }

    fn push_line(&mut self, line: &[u8], block: &mut LineBlock) {
        self.lines_begun += 1;
        if let Err(error) = block.lines.push(line) {
            block.rejected.push((self.lines_begun, error));
        }
    }
}
