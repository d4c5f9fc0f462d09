//! What a person sees: a screen that knows what the program may send, and no more.
use unicode_width::UnicodeWidthChar;

/// Rows of cells, the cursor, and what scrolled away.
#[derive(Debug)]
pub struct Screen {
    columns: usize,
    rows: usize,
    /// From the first line ever; the last `rows` of them are on the glass. A wide character is followed by an empty cell.
    lines: Vec<Vec<Option<char>>>,
    row: usize,
    column: usize,
    /// A sequence or character that is not complete yet.
    pending: Vec<u8>,
    /// Every sequence that sets a colour or the like.
    pub styles: Vec<String>,
    /// What a screen should never be sent by this program.
    pub strange: Vec<String>,
}

impl Screen {
    pub fn new(columns: usize, rows: usize) -> Screen {
        Screen {
            columns,
            rows,
            lines: vec![Vec::new()],
            row: 0,
            column: 0,
            pending: Vec::new(),
            styles: Vec::new(),
            strange: Vec::new(),
        }
    }

    /// As the plainest of terminals does it: what no longer fits is cut off.
    pub fn resize(&mut self, columns: usize, rows: usize) {
        (self.columns, self.rows) = (columns, rows);
        self.column = self.column.min(columns - 1);
        for line in &mut self.lines {
            line.truncate(columns);
        }
    }

    /// All lines ever shown, without blanks at their ends.
    pub fn lines(&self) -> Vec<String> {
        let text = |line: &Vec<Option<char>>| line.iter().flatten().collect::<String>();
        let text = |line| text(line).trim_end().to_owned();
        self.lines.iter().map(text).collect()
    }

    /// The line that the cursor is in, if nothing stands below it.
    pub fn last(&self) -> Option<String> {
        let lines = self.lines();
        let below = lines.iter().skip(self.row + 1).all(String::is_empty);
        lines.get(self.row).filter(|_| below).cloned()
    }

    /// Columns left of the cursor.
    pub fn cursor(&self) -> usize {
        self.column
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.pending.push(*byte);
            if self.take() {
                self.pending.clear();
            }
        }
    }

    /// Acts on what is pending, if it is complete.
    fn take(&mut self) -> bool {
        match self.pending.as_slice() {
            b"\r" => self.column = 0,
            b"\n" => self.down(),
            b"\x07" => {}
            b"\t" => {
                let next = (self.column / 8 + 1) * 8;
                self.column = next.min(self.columns - 1);
            }
            [0x1b] | [0x1b, b'['] => return false,
            [0x1b, b'[', numbers @ .., last] => {
                if matches!(last, b' '..=b'?') {
                    return false;
                }
                let numbers = String::from_utf8_lossy(numbers).into_owned();
                self.sequence(*last, &numbers);
            }
            bytes => match std::str::from_utf8(bytes) {
                Ok(text) => text
                    .chars()
                    .collect::<Vec<_>>()
                    .into_iter()
                    .for_each(|c| self.put(c)),
                Err(error) if error.error_len().is_none() => return false,
                Err(_) => self.strange.push(format!("{:?}", self.pending)),
            },
        }
        true
    }

    fn sequence(&mut self, last: u8, numbers: &str) {
        let count = numbers.parse::<usize>().unwrap_or(1);
        match (last, numbers) {
            (b'm', _) => self.styles.push(numbers.to_owned()),
            (b'C', _) => self.column = (self.column + count).min(self.columns - 1),
            (b'J', "" | "0") => {
                self.lines.truncate(self.row + 1);
                self.lines[self.row].truncate(self.column);
            }
            (b'K', "" | "0") => self.lines[self.row].truncate(self.column),
            _ => self
                .strange
                .push(format!("CSI {numbers}{}", char::from(last))),
        }
    }

    fn put(&mut self, c: char) {
        if c.is_control() {
            return self.strange.push(format!("{c:?}"));
        }
        let width = c.width().unwrap_or(0);
        if self.column + width > self.columns {
            self.column = 0;
            self.down();
        }
        let line = &mut self.lines[self.row];
        line.resize(line.len().max(self.column + width), Some(' '));
        if let Some(cell) = line.get_mut(self.column).filter(|_| width > 0) {
            *cell = Some(c);
        }
        if width == 2 {
            line[self.column + 1] = None;
        }
        self.column += width;
    }

    fn down(&mut self) {
        self.row += 1;
        self.lines
            .resize(self.lines.len().max(self.row + 1), Vec::new());
    }
}
