//! A model of a terminal screen that knows the control sequences the program may send, and
//! collects all others.
use unicode_width::UnicodeWidthChar;

/// Rows of cells, the cursor, and the rows that have scrolled off.
#[derive(Debug)]
pub struct Screen {
    columns: usize,
    rows: usize,
    /// All rows since the start; the last `rows` of them are visible. A wide character is
    /// followed by an empty cell.
    lines: Vec<Vec<Option<char>>>,
    row: usize,
    column: usize,
    /// Bytes of a sequence or character that is incomplete.
    pending: Vec<u8>,
    /// Whether the terminal marks what is pasted (DECSET 2004).
    pub marks_paste: bool,
    /// Whether a resize breaks rows that are too long.
    pub reflows: bool,
    /// The title of the window.
    pub title: String,
    /// The titles that the terminal keeps.
    pub saved_titles: Vec<String>,
    /// How often the bell rang.
    pub bells: usize,
    /// The parameters of every SGR sequence (colour, bold).
    pub styles: Vec<String>,
    /// Every sequence and control character that the program should never send.
    pub unknown: Vec<String>,
}

impl Screen {
    /// An empty screen of this size.
    pub fn new(columns: usize, rows: usize) -> Screen {
        Screen {
            columns,
            rows,
            lines: vec![Vec::new()],
            row: 0,
            column: 0,
            pending: Vec::new(),
            marks_paste: false,
            reflows: false,
            title: "shell".to_owned(),
            saved_titles: Vec::new(),
            bells: 0,
            styles: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Changes the size. What exceeds the new width is cut off, or, with reflow, continued in rows
    /// of their own; the cursor stays behind its character. Rows are not joined again.
    pub fn resize(&mut self, columns: usize, rows: usize) {
        (self.columns, self.rows) = (columns, rows);
        if self.reflows {
            let mut broken = Vec::new();
            for (i, line) in std::mem::take(&mut self.lines).into_iter().enumerate() {
                if i == self.row {
                    let above = self.column.saturating_sub(1) / columns;
                    (self.row, self.column) = (broken.len() + above, self.column - above * columns);
                    broken.extend(line.chunks(columns.max(1)).map(<[_]>::to_vec));
                    if line.is_empty() {
                        broken.push(line);
                    }
                    break;
                }
                match line.is_empty() {
                    true => broken.push(line),
                    false => broken.extend(line.chunks(columns).map(<[_]>::to_vec)),
                }
            }
            self.lines = broken;
        }
        self.column = self.column.min(columns - 1);
        for line in &mut self.lines {
            line.truncate(columns);
        }
    }

    /// All rows since the start, without trailing blanks.
    pub fn lines(&self) -> Vec<String> {
        let text = |line: &Vec<Option<char>>| line.iter().flatten().collect::<String>();
        let text = |line| text(line).trim_end().to_owned();
        self.lines.iter().map(text).collect()
    }

    /// The row of the cursor, if all rows below it are empty.
    pub fn last(&self) -> Option<String> {
        let text = |line: &Vec<Option<char>>| line.iter().flatten().collect::<String>();
        let mut lines = self.lines.iter().skip(self.row).map(text);
        let last = lines.next()?;
        let is_last = lines.all(|line| line.trim_end().is_empty());
        is_last.then(|| last.trim_end().to_owned())
    }

    /// The column of the cursor, from 0.
    pub fn cursor(&self) -> usize {
        self.column
    }

    /// Interprets the output of a program.
    pub fn feed(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.pending.push(*byte);
            if self.execute_pending() {
                self.pending.clear();
            }
        }
    }

    /// Executes the pending bytes; false while they are incomplete.
    fn execute_pending(&mut self) -> bool {
        match self.pending.as_slice() {
            b"\r" => self.column = 0,
            b"\n" => self.down(),
            b"\x07" => self.bells += 1,
            b"\t" => {
                let next = (self.column / 8 + 1) * 8;
                self.column = next.min(self.columns - 1);
            }
            [0x1b] | [0x1b, b'[' | b']'] => return false,
            [0x1b, b']', b'2', b';', title @ .., 0x07] => {
                self.title = String::from_utf8_lossy(title).into_owned();
            }
            [0x1b, b']', .., last] if *last != 0x07 && self.pending.len() < 200 => return false,
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
                Err(_) => self.unknown.push(format!("{:?}", self.pending)),
            },
        }
        true
    }

    /// Executes the CSI sequence with this final byte.
    fn sequence(&mut self, last: u8, numbers: &str) {
        let count = numbers.parse::<usize>().unwrap_or(1);
        match (last, numbers) {
            (b't', "22;2") => self.saved_titles.push(self.title.clone()),
            (b't', "23;2") => self.title = self.saved_titles.pop().unwrap_or_default(),
            (b'h' | b'l', "?2004") => self.marks_paste = last == b'h',
            (b'm', _) => self.styles.push(numbers.to_owned()),
            (b'A', _) => self.row = self.row.saturating_sub(count),
            (b'C', _) => self.column = (self.column + count).min(self.columns - 1),
            (b'J', "" | "0") => {
                self.lines.truncate(self.row + 1);
                if let Some(line) = self.lines.get_mut(self.row) {
                    line.truncate(self.column);
                }
            }
            (b'H', "") => {
                self.row = self.lines.len().saturating_sub(self.rows);
                self.column = 0;
            }
            (b'J', "2") => self
                .lines
                .truncate(self.lines.len().saturating_sub(self.rows)),
            (b'K', "" | "0") => {
                if let Some(line) = self.lines.get_mut(self.row) {
                    line.truncate(self.column);
                }
            }
            _ => self
                .unknown
                .push(format!("CSI {numbers}{}", char::from(last))),
        }
    }

    /// Writes a character at the cursor.
    fn put(&mut self, c: char) {
        if c.is_control() {
            return self.unknown.push(format!("{c:?}"));
        }
        let width = c.width().unwrap_or(0);
        if self.column + width > self.columns {
            self.column = 0;
            self.down();
        }
        self.lines
            .resize(self.lines.len().max(self.row + 1), Vec::new());
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

    /// Moves the cursor to the next row.
    fn down(&mut self) {
        self.row += 1;
        self.lines
            .resize(self.lines.len().max(self.row + 1), Vec::new());
    }
}
