//! The screen: the transcript scrolls, and its last line is the prompt with the half-typed line.
//!
//! No alternate screen and no scroll region: the transcript stays in the terminal's own scrollback, and what the terminal can't do is not asked of it.
use std::io::{self, Write};

use unicode_width::UnicodeWidthStr;

use super::editor::LineEditor;
use super::sanitize::sanitize;

/// Columns taken to be there when nobody knows.
const DEFAULT_COLUMNS: u16 = 80;

/// Draws on a terminal in raw mode.
pub struct Terminal<W> {
    writer: W,
    columns: usize,
    prompt: String,
}

impl<W: Write> Terminal<W> {
    /// `columns`: 0 if unknown.
    pub fn new(writer: W, columns: u16) -> Terminal<W> {
        let mut terminal = Terminal {
            writer,
            columns: 0,
            prompt: "> ".into(),
        };
        terminal.resize(columns);
        terminal
    }

    /// The screen has this width now; [`Terminal::update`] draws by it.
    pub fn resize(&mut self, columns: u16) {
        self.columns = usize::from(if columns == 0 {
            DEFAULT_COLUMNS
        } else {
            columns
        });
    }

    /// What stands before the half-typed line, such as `#ops> `.
    pub fn set_prompt(&mut self, prompt: &str) {
        self.prompt = sanitize(prompt).into_owned();
    }

    /// Where it draws.
    pub fn writer_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Puts transcript lines (each ended by `\n`, fit to show) above the prompt and draws the prompt anew: one write.
    ///
    /// # Errors
    /// The writer's.
    pub fn redraw(&mut self, transcript: &[u8], editor: &mut LineEditor) -> io::Result<()> {
        let mut out = Vec::with_capacity(transcript.len() + transcript.len() / 32 + 256);
        write_transcript(transcript, &mut out);
        // A long prompt on a narrow screen would leave no room to type.
        let prompt = if self.prompt.width() * 2 > self.columns {
            "> "
        } else {
            &self.prompt
        };
        let taken = prompt.width();
        // The last column stays free: a terminal that has written there may or may not be on the next line.
        let view = editor.visible_line(self.columns.saturating_sub(taken + 1));
        out.extend_from_slice(prompt.as_bytes());
        out.extend_from_slice(view.text.as_bytes());
        if view.cursor < view.width {
            out.extend_from_slice(format!("\r\x1b[{}C", taken + view.cursor).as_bytes());
        }
        self.writer.write_all(&out)?;
        self.writer.flush()
    }

    /// The last update of a run: the prompt goes, the transcript stays, and the shell's own prompt comes on a clean line.
    ///
    /// # Errors
    /// The writer's.
    pub fn close(&mut self, transcript: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(transcript.len() + 64);
        write_transcript(transcript, &mut out);
        self.writer.write_all(&out)?;
        self.writer.flush()
    }
}

/// Clears the prompt's line and writes the transcript from there. Raw mode makes no line ends of its own.
fn write_transcript(transcript: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"\r\x1b[J");
    for line in transcript.split_inclusive(|b| *b == b'\n') {
        out.extend_from_slice(line.strip_suffix(b"\n").unwrap_or(line));
        out.extend_from_slice(b"\r\n");
    }
}
