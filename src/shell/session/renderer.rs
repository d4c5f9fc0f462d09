//! The face of this run: text or JSON, on a pipe or around the editor's line.
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
    Text(Box<text::TextRenderer>),
    Json,
}

/// The half-typed line below the transcript.
struct EditorLine {
    terminal: Terminal<Vec<u8>>,
    editor: LineEditor,
}

pub struct Renderer {
    format: Format,
    editor_line: Option<Box<EditorLine>>,
}

impl Renderer {
    pub fn json() -> Renderer {
        Renderer {
            format: Format::Json,
            editor_line: None,
        }
    }

    pub fn for_pipe(own: &Peer) -> Renderer {
        Renderer {
            format: Format::Text(Box::new(text::TextRenderer::for_pipe(own))),
            editor_line: None,
        }
    }

    /// For a person who reads at a terminal.
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

    /// The person types there, too: the editor's line stands below the transcript.
    pub fn with_editor(mut self, columns: u16) -> Renderer {
        self.editor_line = Some(Box::new(EditorLine {
            terminal: Terminal::new(Vec::new(), columns),
            editor: LineEditor::default(),
        }));
        self
    }

    pub fn has_editor(&self) -> bool {
        self.editor_line.is_some()
    }

    pub fn is_json(&self) -> bool {
        matches!(self.format, Format::Json)
    }

    /// A name by which a peer was met at some time.
    pub fn record_known_name(&mut self, id: PeerId, nick: &Nick) {
        if let Format::Text(transcript) = &mut self.format {
            transcript.record_known_name(id, nick);
        }
    }

    /// A batch as lines; only the first `lines` of it.
    pub fn append_chat(&mut self, chat: &Chat, lines: u64, out: &mut Vec<u8>) {
        let at = out.len();
        self.append_notice(&Notice::Chat(chat.clone()), out);
        if lines < chat.batch.count {
            out.truncate(at + prefix_len_bytes(&out[at..], lines));
        }
    }

    /// A batch as the history holds it, without its first `skip` lines; of the others only the first `lines`.
    pub fn append_stored(
        &mut self,
        entry: StoredBatch,
        own: bool,
        skip: u64,
        lines: u64,
        out: &mut Vec<u8>,
    ) {
        let at = out.len();
        let chat = Chat {
            batch: entry.batch.into(),
            local: entry.local,
            is_own: own,
            since_start: false,
        };
        self.append_chat(&chat, skip.saturating_add(lines), out);
        if skip > 0 {
            let gone = prefix_len_bytes(&out[at..], skip);
            out.drain(at..at + gone);
        }
    }

    /// The same form without the editor's line, for lines that are made elsewhere.
    pub fn clone_without_editor(&self) -> Renderer {
        Renderer {
            format: self.format.clone(),
            editor_line: None,
        }
    }

    /// Lines of the history, from the batch's line `first` on, each ended by `\n`: as their author signed them.
    pub fn append_history(
        &mut self,
        batch: &Batch,
        first: u64,
        lines: &str,
        today: WallTime,
        out: &mut Vec<u8>,
    ) {
        match &mut self.format {
            Format::Text(transcript) => transcript.append_history(batch, lines, today, out),
            Format::Json => json::append_history(batch, first, lines, out),
        }
    }

    /// Appends what the transcript shows of a notice, without the editor's line.
    pub fn append_notice(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        match &mut self.format {
            Format::Text(transcript) => transcript.append_notice(notice, out),
            Format::Json => json::append_notice(notice, out),
        }
    }

    /// The tables that answer /users and /rooms; on a pipe the rows of `peers`.
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

    /// The room spoken in is now this one.
    pub fn set_current_room(&mut self, room: Option<&Room>) {
        if let Format::Text(transcript) = &mut self.format {
            transcript.set_current_room(room.cloned());
        }
        if let Some(screen) = &mut self.editor_line {
            let prompt = room.map_or("> ".to_owned(), |room| format!("{room}> "));
            screen.terminal.set_prompt(&prompt);
        }
    }

    pub fn resize(&mut self, columns: u16) {
        if let Some(screen) = &mut self.editor_line {
            screen.terminal.resize(columns);
        }
    }

    pub fn handle_key(&mut self, key: Key) -> EditOutcome {
        self.editor_line
            .as_mut()
            .map_or(EditOutcome::Rejected, |screen| {
                screen.editor.handle_key(key)
            })
    }

    /// Lines as they go to the output: with an editor, above its line.
    pub fn compose_output(&mut self, lines: Vec<u8>) -> Vec<u8> {
        let Some(screen) = &mut self.editor_line else {
            return lines;
        };
        // Writing to a `Vec` cannot fail.
        let _ = screen.terminal.redraw(&lines, &mut screen.editor);
        std::mem::take(screen.terminal.writer_mut())
    }

    /// The editor's line goes.
    pub fn close_editor(&mut self) -> Vec<u8> {
        let Some(mut screen) = self.editor_line.take() else {
            return Vec::new();
        };
        let _ = screen.terminal.close(&[]);
        std::mem::take(screen.terminal.writer_mut())
    }
}

/// Bytes of the first `lines` lines, their ends included.
fn prefix_len_bytes(text: &[u8], lines: u64) -> usize {
    let all = text.split_inclusive(|b| *b == b'\n');
    all.take(lines as usize).map(<[u8]>::len).sum()
}
