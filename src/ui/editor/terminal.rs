//! Draws the screen: a scrolling transcript, and below it the prompt with the edited line.
//!
//! Uses neither the alternate screen nor a scroll region. The transcript therefore stays in the
//! terminal's scrollback, and simple terminals suffice.
use std::io::{self, Write};

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::ui::editor::line_editor::LineEditor;
use crate::ui::sanitize::sanitize;

/// Width in columns if the terminal does not report one.
const DEFAULT_COLUMNS: usize = 80;

/// What a terminal can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abilities {
    /// Whether its window has a title.
    pub has_title: bool,
    /// Whether it breaks rows that become too long when it gets narrower, as most do. The others
    /// cut such rows off.
    pub reflows: bool,
}

/// Draws on a terminal in raw mode.
pub struct Terminal<W> {
    writer: W,
    columns: usize,
    /// What may stand before the edited line, the longest first.
    prompts: Vec<String>,
    /// The title of the terminal. Empty: none is set.
    title: String,
    /// Whether the terminal has this title.
    has_title: bool,
    /// See [`Abilities::reflows`].
    reflows: bool,
    /// What stands before the cursor in its row, since the last redraw.
    before_cursor: String,
    /// How many rows of the edited line a reflow has put above the cursor.
    rows_above: usize,
    /// Whether the terminal was asked to mark what is pasted.
    marks_paste: bool,
}

/// Asks the terminal to mark the beginning and the end of what is pasted.
const PASTE_MARKS_ON: &[u8] = b"\x1b[?2004h";
/// Ends `PASTE_MARKS_ON`.
pub const PASTE_MARKS_OFF: &[u8] = b"\x1b[?2004l";

impl<W: Write> Terminal<W> {
    /// Creates a terminal. `columns` is its width, 0 if unknown.
    pub fn new(writer: W, columns: u16) -> Terminal<W> {
        Terminal {
            writer,
            columns: screen_columns(columns),
            prompts: Vec::new(),
            title: String::new(),
            has_title: false,
            reflows: false,
            before_cursor: String::new(),
            rows_above: 0,
            marks_paste: false,
        }
    }

    /// Sets the width in columns, 0 if unknown. The next [`Terminal::redraw`] uses the new width.
    pub fn resize(&mut self, columns: u16) {
        self.columns = screen_columns(columns);
        if self.reflows {
            self.rows_above = rows_above_cursor(&self.before_cursor, self.columns);
        }
    }

    /// Sets [`Abilities::reflows`].
    pub fn set_reflows(&mut self, reflows: bool) {
        self.reflows = reflows;
    }

    /// Sets the text before the edited line, such as `#ops> `: the first of these that takes at
    /// most half of the screen's width, else `> `.
    pub fn set_prompts(&mut self, prompts: &[String]) {
        let prompts = prompts.iter().map(|it| sanitize(it).into_owned());
        self.prompts = prompts.collect();
    }

    /// Sets the title of the terminal's window. Only for a terminal that knows titles.
    pub fn set_title(&mut self, title: &str) {
        let title = sanitize(title);
        self.has_title &= title == self.title;
        self.title = title.into_owned();
    }

    /// Lets the next [`Terminal::redraw`] set again what another program may have changed while
    /// this one was stopped: a shell's editor takes the marks of pasted text away.
    pub fn reenter(&mut self) {
        self.marks_paste = false;
        self.has_title = false;
    }

    /// The writer that the terminal draws on.
    pub fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Inserts transcript lines above the prompt and redraws the prompt, in a single write. Each
    /// line must be sanitized and end with `\n`.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn redraw(&mut self, transcript: &[u8], editor: &mut LineEditor) -> io::Result<()> {
        let mut out = Vec::with_capacity(transcript.len() + transcript.len() / 32 + 256);
        if !std::mem::replace(&mut self.marks_paste, true) {
            out.extend_from_slice(PASTE_MARKS_ON);
        }
        if !std::mem::replace(&mut self.has_title, true) && !self.title.is_empty() {
            let _ = write!(out, "\x1b]2;{}\x07", self.title);
        }
        self.go_to_first_row(&mut out);
        write_transcript(transcript, &mut out);
        let own_prompt = editor.prompt().map(|it| sanitize(&it).into_owned());
        let prompt = match &own_prompt {
            // A question has one column for each byte.
            Some(question) if editor.is_asking() => question
                .get(..self.columns.saturating_sub(1))
                .unwrap_or(question),
            Some(prompt) => self.fitting(std::slice::from_ref(prompt)),
            None => self.fitting(&self.prompts),
        };
        let prompt_width = prompt.width();
        // The last column stays empty. Terminals differ in where they put the cursor after a
        // character in it.
        let view = editor.visible_line(self.columns.saturating_sub(prompt_width + 1));
        out.extend_from_slice(prompt.as_bytes());
        out.extend_from_slice(view.text.as_bytes());
        let (before, after) = view.text.split_at(view.cursor_byte);
        if !after.is_empty() {
            // Prints the text before the cursor once more. The cursor is then in the right place
            // even if the terminal measures a character otherwise than we do.
            out.push(b'\r');
            out.extend_from_slice(prompt.as_bytes());
            out.extend_from_slice(before.as_bytes());
        }
        let before_cursor = format!("{prompt}{before}");
        self.before_cursor = before_cursor;
        self.writer.write_all(&out)?;
        self.writer.flush()
    }

    /// The first of these prompts that leaves room to type.
    fn fitting<'a>(&self, prompts: &'a [String]) -> &'a str {
        let mut prompts = prompts.iter();
        let prompt = prompts.find(|prompt| prompt.width() * 2 <= self.columns);
        prompt.map_or("> ", String::as_str)
    }

    /// Moves the cursor to the first row that a reflow has made of the edited line.
    fn go_to_first_row(&mut self, out: &mut Vec<u8>) {
        if let rows @ 1.. = std::mem::take(&mut self.rows_above) {
            // Writing to a `Vec` cannot fail.
            let _ = write!(out, "\x1b[{rows}A");
        }
    }

    /// Clears the screen. The next [`Terminal::redraw`] draws on its first row.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn clear_screen(&mut self) -> io::Result<()> {
        self.writer.write_all(b"\x1b[H\x1b[2J")
    }

    /// Removes the prompt and writes the transcript lines that are not yet shown. The next output
    /// then begins on a new line.
    ///
    /// # Errors
    /// The error of the writer.
    pub fn close(&mut self, transcript: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(transcript.len() + 64);
        self.go_to_first_row(&mut out);
        write_transcript(transcript, &mut out);
        self.has_title = false;
        self.before_cursor.clear();
        if std::mem::take(&mut self.marks_paste) {
            out.extend_from_slice(PASTE_MARKS_OFF);
        }
        self.writer.write_all(&out)?;
        self.writer.flush()
    }
}

/// How many rows above the cursor a text takes that a screen of this width breaks before its last
/// character. Where the row is just full, terminals differ; then the row is not counted.
fn rows_above_cursor(text: &str, columns: usize) -> usize {
    let (mut rows, mut column) = (0, 0);
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if column + width > columns {
            (rows, column) = (rows + 1, 0);
        }
        column += width;
    }
    rows
}

/// The width of the screen, if the terminal reports this width. 0: it reports none.
pub fn screen_columns(reported: u16) -> usize {
    match reported {
        0 => DEFAULT_COLUMNS,
        _ => reported.into(),
    }
}

/// Erases the row of the cursor and all rows below. Not from the first column on: on the first row,
/// tmux takes that for the end of a screen, and adds what is erased to its history.
const ERASE_ROWS: &[u8] = b"\r\x1b[K\x1b[C\x1b[J\r";

/// Appends to `out` the bytes that erase the prompt and write the transcript. Ends each line with
/// `\r\n`, which raw mode requires.
fn write_transcript(transcript: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(ERASE_ROWS);
    for line in transcript.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
}
