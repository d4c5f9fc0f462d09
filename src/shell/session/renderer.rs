//! The face of this run: text or JSON, on a pipe or around the editor's line.
use jiff::tz::TimeZone;
use termion::event::Key;

use crate::base::batch::Batch;
use crate::base::event::{Chat, Notice, Peer, Stored};
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::time::Wall;
use crate::ui::editor::{Editor, Outcome};
use crate::ui::terminal::Terminal;
use crate::ui::{json, text};

#[derive(Clone)]
enum Form {
    Text(Box<text::Transcript>),
    Json,
}

/// The half-typed line below the transcript.
struct Screen {
    terminal: Terminal<Vec<u8>>,
    editor: Editor,
}

pub struct Face {
    form: Form,
    screen: Option<Box<Screen>>,
}

impl Face {
    pub fn json() -> Face {
        Face {
            form: Form::Json,
            screen: None,
        }
    }

    pub fn pipe(own: &Peer) -> Face {
        Face {
            form: Form::Text(Box::new(text::Transcript::pipe(own))),
            screen: None,
        }
    }

    /// For a person who reads at a terminal.
    pub fn terminal(own: &Peer, color: bool) -> Face {
        Face {
            form: Form::Text(Box::new(text::Transcript::terminal(
                own,
                TimeZone::system(),
                color,
            ))),
            screen: None,
        }
    }

    /// The person types there, too: the editor's line stands below the transcript.
    pub fn with_editor(mut self, columns: u16) -> Face {
        self.screen = Some(Box::new(Screen {
            terminal: Terminal::new(Vec::new(), columns),
            editor: Editor::default(),
        }));
        self
    }

    pub fn has_editor(&self) -> bool {
        self.screen.is_some()
    }

    pub fn is_json(&self) -> bool {
        matches!(self.form, Form::Json)
    }

    /// A name by which a peer was met at some time.
    pub fn know(&mut self, id: PeerId, nick: &Nick) {
        if let Form::Text(transcript) = &mut self.form {
            transcript.know(id, nick);
        }
    }

    /// A batch as lines; only the first `lines` of it.
    pub fn chat(&mut self, chat: &Chat, lines: u64, out: &mut Vec<u8>) {
        let at = out.len();
        self.notice(&Notice::Chat(chat.clone()), out);
        if lines < chat.batch.count {
            out.truncate(at + length(&out[at..], lines));
        }
    }

    /// A batch as the history holds it, without its first `skip` lines; of the others only the first `lines`.
    pub fn stored(&mut self, entry: Stored, own: bool, skip: u64, lines: u64, out: &mut Vec<u8>) {
        let at = out.len();
        let chat = Chat {
            batch: entry.batch.into(),
            local: entry.local,
            own,
            during: false,
        };
        self.chat(&chat, skip.saturating_add(lines), out);
        if skip > 0 {
            let gone = length(&out[at..], skip);
            out.drain(at..at + gone);
        }
    }

    /// The same form without the editor's line, for lines that are made elsewhere.
    pub fn apart(&self) -> Face {
        Face {
            form: self.form.clone(),
            screen: None,
        }
    }

    /// Lines of the history, from the batch's line `first` on, each ended by `\n`: as their author signed them.
    pub fn past(&mut self, batch: &Batch, first: u64, lines: &str, today: Wall, out: &mut Vec<u8>) {
        match &mut self.form {
            Form::Text(transcript) => transcript.past(batch, lines, today, out),
            Form::Json => json::append_past(batch, first, lines, out),
        }
    }

    /// Appends what the transcript shows of a notice, without the editor's line.
    pub fn notice(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        match &mut self.form {
            Form::Text(transcript) => transcript.append(notice, out),
            Form::Json => json::append(notice, out),
        }
    }

    /// The tables that answer /users and /rooms; on a pipe the rows of `peers`.
    pub fn answer(&mut self, notice: &Notice, out: &mut Vec<u8>) {
        if self.is_json() {
            return json::append(notice, out);
        }
        let table = match notice {
            Notice::Peers(views) => text::users(views),
            Notice::Rooms(rooms) => text::room_list(rooms),
            Notice::Stats(stats) => text::stats(stats),
            _ => return,
        };
        out.extend_from_slice(table.as_bytes());
    }

    /// The room spoken in is now this one.
    pub fn speak_in(&mut self, room: Option<&Room>) {
        if let Form::Text(transcript) = &mut self.form {
            transcript.speak_in(room.cloned());
        }
        if let Some(screen) = &mut self.screen {
            let prompt = room.map_or("> ".to_owned(), |room| format!("{room}> "));
            screen.terminal.set_prompt(&prompt);
        }
    }

    pub fn resize(&mut self, columns: u16) {
        if let Some(screen) = &mut self.screen {
            screen.terminal.resize(columns);
        }
    }

    pub fn key(&mut self, key: Key) -> Outcome {
        self.screen
            .as_mut()
            .map_or(Outcome::Refused, |screen| screen.editor.key(key))
    }

    /// Lines as they go to the output: with an editor, above its line.
    pub fn dress(&mut self, lines: Vec<u8>) -> Vec<u8> {
        let Some(screen) = &mut self.screen else {
            return lines;
        };
        // Writing to a `Vec` cannot fail.
        let _ = screen.terminal.update(&lines, &mut screen.editor);
        std::mem::take(screen.terminal.writer_mut())
    }

    /// The editor's line goes.
    pub fn close(&mut self) -> Vec<u8> {
        let Some(mut screen) = self.screen.take() else {
            return Vec::new();
        };
        let _ = screen.terminal.close(&[]);
        std::mem::take(screen.terminal.writer_mut())
    }
}

/// Bytes of the first `lines` lines, their ends included.
fn length(text: &[u8], lines: u64) -> usize {
    let all = text.split_inclusive(|b| *b == b'\n');
    all.take(lines as usize).map(<[u8]>::len).sum()
}
