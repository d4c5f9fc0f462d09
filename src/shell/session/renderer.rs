//! Renders events as text or JSON. On a terminal with an editor, events appear above the editor's
//! line.
use jiff::tz::TimeZone;
use termion::event::Key;

use crate::base::batch::Batch;
use crate::base::event::{Chat, Notice, Peer, StoredBatch};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::time::WallTime;
use crate::ui::editor::{EditOutcome, LineEditor};
use crate::ui::terminal::Terminal;
use crate::ui::{json, tables, text};

#[derive(Clone)]
enum Format {
    /// Text. The renderer remembers names and the current room.
    Text(Box<text::TextRenderer>),
    Json,
}

/// The last line of the screen, on which the user types.
struct EditorLine {
    terminal: Terminal<Vec<u8>>,
    editor: LineEditor,
}

/// Renders events and history lines for one output.
pub struct Renderer {
    format: Format,
    editor_line: Option<Box<EditorLine>>,
}

impl Renderer {
    /// A renderer that writes each event as one line of JSON.
    pub fn json() -> Renderer {
        Renderer {
            format: Format::Json,
            editor_line: None,
        }
    }

    /// A renderer of text for scripts: UTC times, no colours.
    pub fn for_pipe(own: &Peer) -> Renderer {
        Renderer {
            format: Format::Text(Box::new(text::TextRenderer::for_pipe(own))),
            editor_line: None,
        }
    }

    /// A renderer of text for a person at a terminal, with local times. `color`: whether to use
    /// colours.
    pub fn for_terminal(own: &Peer, color: bool) -> Renderer {
        Renderer {
            format: Format::Text(Box::new(text::TextRenderer::for_terminal(
                own,
                TimeZone::system(),
                color,
            ))),
            editor_line: None,
        }
    }

    /// Adds an editor. The editor's line is shown below the transcript. `columns`: the width of the
    /// terminal.
    pub fn with_editor(mut self, columns: u16) -> Renderer {
        self.editor_line = Some(Box::new(EditorLine {
            terminal: Terminal::new(Vec::new(), columns),
            editor: LineEditor::default(),
        }));
        self
    }

    /// Whether there is an editor.
    pub fn has_editor(&self) -> bool {
        self.editor_line.is_some()
    }

    /// Whether this renders JSON.
    pub fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// Records the name of a peer that may appear in later lines. A name that two peers use is
    /// shown with `~` and a part of the peer's id.
    pub fn record_known_name(&mut self, id: PeerId, nick: &Nick) {
        if let Format::Text(renderer) = &mut self.format {
            renderer.record_known_name(id, nick);
        }
    }

    /// Appends the first `lines` lines of the batch of `chat`.
    pub fn append_chat(&mut self, chat: &Chat, lines: u64, out: &mut Vec<u8>) {
        let start = out.len();
        self.append_notice(&Notice::Chat(chat.clone()), out);
        if lines < chat.batch.shown_count() {
            out.truncate(start + prefix_len_bytes(&out[start..], lines));
        }
    }

    /// Appends at most `lines` lines of a stored batch, without the first `skip` lines of the
    /// batch.
    pub fn append_stored(
        &mut self,
        entry: StoredBatch,
        is_own: bool,
        skip: u64,
        lines: u64,
        out: &mut Vec<u8>,
    ) {
        let start = out.len();
        let skip = skip.min(entry.batch.shown_count());
        let chat = Chat {
            batch: entry.batch.into(),
            local: entry.local,
            is_own,
        };
        self.append_chat(&chat, skip.saturating_add(lines), out);
        if skip > 0 {
            let skipped_bytes = prefix_len_bytes(&out[start..], skip);
            out.drain(start..start + skipped_bytes);
        }
    }

    /// A renderer of the same format without an editor, for use in another thread.
    pub fn clone_without_editor(&self) -> Renderer {
        Renderer {
            format: self.format.clone(),
            editor_line: None,
        }
    }

    /// Appends lines of a history query, with the nick and time that the author signed. Each of the
    /// `lines` ends with `\n`. `first`: index of the first of these lines in the batch, from 0.
    /// `today`: see [`run_query`](crate::shell::session::history_query::run_query).
    pub fn append_history(
        &mut self,
        batch: &Batch,
        first: u64,
        lines: &str,
        today: WallTime,
        out: &mut Vec<u8>,
    ) {
        match &mut self.format {
            Format::Text(renderer) => renderer.append_history(batch, lines, today, out),
            Format::Json => json::append_history(batch, first, lines, out),
        }
    }

    /// Appends the lines that the transcript shows for a notice. For many kinds of notices, appends
    /// nothing.
    pub fn append_notice(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        match &mut self.format {
            Format::Text(renderer) => renderer.append_notice(notice, out),
            Format::Json => json::append_notice(notice, out),
        }
    }

    /// Appends the reply to /users, /rooms or /stats.
    pub fn append_reply(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        if self.is_json() {
            return json::append_notice(notice, out);
        }
        let table = match notice {
            Notice::Peers(views) => tables::format_users(views),
            Notice::Rooms(rooms) => tables::format_room_list(rooms),
            Notice::Stats(stats) => tables::format_stats(stats),
            _ => return,
        };
        out.extend_from_slice(table.as_bytes());
    }

    /// Sets the current room. The prompt shows this room. Lines of other rooms are shown with the
    /// name of their room.
    pub fn set_current_room(&mut self, room: Option<&Room>) {
        if let Format::Text(renderer) = &mut self.format {
            renderer.set_current_room(room.cloned());
        }
        if let Some(line) = &mut self.editor_line {
            let prompt = room.map_or("> ".to_owned(), |room| format!("{room}> "));
            line.terminal.set_prompt(&prompt);
        }
    }

    /// Sets the width of the terminal.
    pub fn resize(&mut self, columns: u16) {
        if let Some(line) = &mut self.editor_line {
            line.terminal.resize(columns);
        }
    }

    /// Passes a key to the editor. Rejects the key if there is no editor.
    pub fn handle_key(&mut self, key: Key) -> EditOutcome {
        self.editor_line
            .as_mut()
            .map_or(EditOutcome::Rejected, |line| line.editor.handle_key(key))
    }

    /// Returns the bytes that show `lines`. With an editor, the lines appear above the editor's
    /// line, which is redrawn.
    pub fn compose_output(&mut self, lines: Vec<u8>) -> Vec<u8> {
        let Some(line) = &mut self.editor_line else {
            return lines;
        };
        // Writing to a `Vec` cannot fail.
        let _ = line.terminal.redraw(&lines, &mut line.editor);
        std::mem::take(line.terminal.writer_mut())
    }

    /// Removes the editor. Returns the bytes that clear the editor's line.
    pub fn close_editor(&mut self) -> Vec<u8> {
        let Some(mut line) = self.editor_line.take() else {
            return Vec::new();
        };
        let _ = line.terminal.close(&[]);
        std::mem::take(line.terminal.writer_mut())
    }
}

/// Length in bytes of the first `count` lines, including their line ends.
fn prefix_len_bytes(text: &[u8], count: u64) -> usize {
    let lines = text.split_inclusive(|b| *b == b'\n');
    lines.take(count as usize).map(<[u8]>::len).sum()
}
