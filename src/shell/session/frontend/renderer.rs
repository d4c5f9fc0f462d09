//! Renders events as text or JSON. On a terminal with an editor, events appear above the editor's
//! line.
use jiff::tz::TimeZone;

use crate::base::event::notice::Notice;
use crate::base::event::peer::Peer;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Room};
use crate::base::presence::profile::HAS_PROFILE;
use crate::base::time::WallTime;
use crate::base::trust::level::HAS_TRUST;
use crate::ui::editor::completion::KnownWords;
use crate::ui::editor::keys::TerminalInput;
use crate::ui::editor::line_editor::{EditOutcome, HAS_EDITOR, LineEditor};
use crate::ui::editor::prompt::Prompt;
use crate::ui::editor::terminal::{Abilities, Terminal, screen_columns};
use crate::ui::line_format::LineFormat;
use crate::ui::profile::profile_text::format_own_profile;
use crate::ui::session_event::{EventKind, SessionEvent};
use crate::ui::terminal_text::palette::Palette;
use crate::ui::wrap::wrap_lines;
use crate::ui::{json, tables, text};

/// Least time between two rings of the bell, in milliseconds of the wall clock.
const BELL_INTERVAL_MS: u64 = 1000;
/// The character that rings the bell of a terminal.
const BELL: u8 = 0x07;

enum Format {
    /// Text. The renderer remembers names and the current room.
    Text(Box<text::TextRenderer>),
    Json,
}

/// The last line of the screen, on which the user types.
struct EditorLine {
    terminal: Terminal<Vec<u8>>,
    editor: LineEditor,
    /// Whether the terminal knows titles.
    has_title: bool,
}

/// Renders events and history lines for one output.
pub struct Renderer {
    format: Format,
    /// The user's own form of chat lines. Nothing else is then printed of the transcript.
    line_format: Option<LineFormat>,
    /// The width of the screen, at whose right edge lines are broken. `None`: the output is no
    /// screen, or has JSON.
    columns: Option<usize>,
    /// Whether the bell of a screen rings for direct messages, and for lines that say the user's
    /// name.
    has_bell: bool,
    /// Whether the bell rings with the next output.
    is_bell_due: bool,
    /// When the bell has rung last.
    last_bell: WallTime,
    editor_line: Option<Box<EditorLine>>,
}

impl Renderer {
    fn new(format: Format) -> Renderer {
        Renderer {
            format,
            line_format: None,
            columns: None,
            has_bell: false,
            is_bell_due: false,
            last_bell: WallTime::default(),
            editor_line: None,
        }
    }

    /// A renderer that writes each event as one line of JSON.
    pub fn json() -> Renderer {
        Renderer::new(Format::Json)
    }

    /// A renderer of text for scripts: UTC times, no colours.
    pub fn for_pipe(own: &Peer) -> Renderer {
        Renderer::new(Format::Text(Box::new(text::TextRenderer::for_pipe(own))))
    }

    /// A renderer of text for a person at a terminal, with times in `zone`.
    pub fn for_terminal(own: &Peer, zone: TimeZone, palette: Palette) -> Renderer {
        let renderer = text::TextRenderer::for_terminal(own, zone, palette);
        Renderer::new(Format::Text(Box::new(renderer)))
    }

    /// Whether the bell of a screen rings for direct messages, and for lines that say the user's
    /// name.
    pub fn set_bell(&mut self, has_bell: bool) {
        self.has_bell = has_bell;
    }

    /// Changes the colours.
    pub fn set_palette(&mut self, palette: Palette) {
        if let Format::Text(renderer) = &mut self.format {
            renderer.set_palette(palette);
        }
    }

    /// Breaks lines at the right edge of a screen, unless they are JSON. `columns`: the width of
    /// the terminal, 0 if unknown.
    pub fn with_screen(mut self, columns: u16) -> Renderer {
        self.columns = Some(screen_columns(columns)).filter(|_| !self.is_json());
        self
    }

    /// Prints chat lines in the user's own form, which is not broken at the edge of a screen.
    pub fn with_line_format(self, format: LineFormat) -> Renderer {
        Renderer {
            line_format: Some(format),
            columns: None,
            ..self
        }
    }

    /// Whether the output is a screen, on which a line of the transcript may take several rows.
    pub fn has_screen(&self) -> bool {
        self.columns.is_some()
    }

    /// Whether chat lines are printed in the user's own form.
    pub fn has_line_format(&self) -> bool {
        self.line_format.is_some()
    }

    /// Adds an editor. The editor's line is shown below the transcript. `columns`: the width of the
    /// terminal, 0 if unknown.
    pub fn with_editor(mut self, columns: u16, abilities: Abilities) -> Renderer {
        let mut terminal = Terminal::new(Vec::new(), columns);
        terminal.set_reflows(abilities.reflows);
        self.editor_line = Some(Box::new(EditorLine {
            terminal,
            editor: LineEditor::default(),
            has_title: abilities.has_title,
        }));
        self
    }

    fn editor_line_mut(&mut self) -> Option<&mut EditorLine> {
        self.editor_line.as_deref_mut().filter(|_| HAS_EDITOR)
    }

    /// Whether there is an editor.
    pub fn has_editor(&self) -> bool {
        HAS_EDITOR && self.editor_line.is_some()
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

    /// Appends the lines that show an event. Many kinds of events have no text, only JSON. `today`:
    /// the current wall time, which decides whether a line shows its date.
    pub fn append_event(&mut self, event: &SessionEvent, today: WallTime, out: &mut Vec<u8>) {
        match (&mut self.format, &self.line_format) {
            (Format::Json, _) => json::append_event(event, false, out),
            (Format::Text(text), Some(format)) => text.append_formatted(format, &event.kind, out),
            (Format::Text(_), None) => {
                self.append_text(&event.kind, today, out);
                self.alert(today);
            }
        }
    }

    /// Lets the bell ring if a line for the user was rendered, and the bell has not just rung.
    fn alert(&mut self, now: WallTime) {
        let Format::Text(renderer) = &mut self.format else {
            return;
        };
        let is_for_user = renderer.take_alert() && self.has_bell && self.columns.is_some();
        if is_for_user && now.0.abs_diff(self.last_bell.0) >= BELL_INTERVAL_MS {
            self.last_bell = now;
            self.is_bell_due = true;
        }
    }

    fn append_text(&mut self, kind: &EventKind, today: WallTime, out: &mut Vec<u8>) {
        match (&mut self.format, kind) {
            (Format::Text(renderer), EventKind::Chat { chat, .. }) => {
                renderer.append_chat(chat, today, out);
            }
            (Format::Text(renderer), EventKind::Notice(notice)) => {
                renderer.append_notice(notice, out);
            }
            _ => {}
        }
    }

    /// Appends the line above lines that belong together.
    pub fn append_heading(&self, heading: &str, out: &mut Vec<u8>) {
        if let Format::Text(renderer) = &self.format {
            renderer.append_heading(heading, out);
        }
    }

    /// Appends the reply to a command as text.
    pub fn append_reply(&mut self, kind: &EventKind, today: WallTime, out: &mut Vec<u8>) {
        let table = match kind {
            EventKind::Notice(notice) => match &**notice {
                Notice::Rooms(rooms) => tables::format_room_list(rooms),
                Notice::OwnProfile(profile) if HAS_PROFILE => format_own_profile(profile),
                Notice::Stats { counters, troubles } => tables::format_stats(counters, troubles),
                _ => return self.append_text(kind, today, out),
            },
            EventKind::Help(text) => text.clone(),
            EventKind::Trust(entry) if HAS_TRUST => tables::format_trust_entry(entry),
            EventKind::Own { own, code } => tables::format_own(own, code),
            kind => return self.append_text(kind, today, out),
        };
        out.extend_from_slice(table.as_bytes());
    }

    /// Sets the current room. Lines of other rooms are shown with the name of their room.
    pub fn set_current_room(&mut self, room: Option<&Room>) {
        if let Format::Text(renderer) = &mut self.format {
            renderer.set_current_room(room.cloned());
        }
    }

    /// Sets what stands before the line that the user types, and the title of the terminal. Both
    /// are shown with the next [`Renderer::compose_output`].
    pub fn set_prompt(&mut self, prompt: &Prompt) {
        if let Some(line) = self.editor_line_mut() {
            line.terminal.set_prompts(&prompt.texts());
            if line.has_title {
                line.terminal.set_title(&prompt.title());
            }
        }
    }

    /// Sets the width of the terminal, 0 if unknown.
    pub fn resize(&mut self, columns: u16) {
        if let Some(screen) = &mut self.columns {
            *screen = screen_columns(columns);
        }
        if let Some(line) = self.editor_line_mut() {
            line.terminal.resize(columns);
        }
    }

    /// Sets the terminal's modes and title again with the next output, after this program was
    /// stopped and continues.
    pub fn reenter(&mut self) {
        if let Some(line) = self.editor_line_mut() {
            line.terminal.reenter();
        }
    }

    /// Adds lines of earlier runs to the history of the editor, the oldest first.
    pub fn load_history(&mut self, lines: &[String]) {
        if let Some(line) = self.editor_line_mut() {
            line.editor.load_history(lines);
        }
    }

    /// Passes input to the editor. Rejects the input if there is no editor.
    pub fn handle_input(&mut self, input: TerminalInput) -> EditOutcome {
        match self.editor_line_mut() {
            Some(line) => line.editor.handle_input(input),
            None => EditOutcome::Rejected,
        }
    }

    /// Completes the word before the cursor: see [`LineEditor::complete`]. `rooms`: those that the
    /// user is in.
    pub fn complete(&mut self, rooms: &[Room]) -> Option<String> {
        let line = self.editor_line.as_mut().filter(|_| HAS_EDITOR)?;
        let names = match &self.format {
            Format::Text(renderer) => renderer.names().names().collect(),
            Format::Json => Vec::new(),
        };
        line.editor.complete(&KnownWords {
            names,
            rooms: rooms.iter().map(Room::to_string).collect(),
        })
    }

    /// The peer's name, as a terminal shows it.
    pub fn display_name(&self, peer: &Peer) -> String {
        match &self.format {
            Format::Text(renderer) => renderer.names().display_name(peer),
            Format::Json => peer.to_string(),
        }
    }

    /// Returns the bytes that clear the editor's line until the next
    /// [`Renderer::compose_output`].
    pub fn hide_editor(&mut self) -> Vec<u8> {
        let Some(line) = self.editor_line_mut() else {
            return Vec::new();
        };
        let _ = line.terminal.close(&[]);
        std::mem::take(line.terminal.writer_mut())
    }

    /// Returns the bytes that show `lines`. On a screen, breaks lines that are too long. With an
    /// editor, the lines appear above the editor's line, which is redrawn.
    pub fn compose_output(&mut self, mut lines: Vec<u8>) -> Vec<u8> {
        if let Some(columns) = self.columns
            && let Ok(text) = std::str::from_utf8(&lines)
        {
            lines = wrap_lines(text, columns).into_bytes();
        }
        if std::mem::take(&mut self.is_bell_due) {
            // Behind the last line end it would begin a row.
            lines.insert(0, BELL);
        }
        let Some(line) = self.editor_line_mut() else {
            return lines;
        };
        // Writing to a `Vec` cannot fail.
        let _ = line.terminal.redraw(&lines, &mut line.editor);
        std::mem::take(line.terminal.writer_mut())
    }

    /// Clears the screen at the next [`Renderer::compose_output`], if there is an editor.
    pub fn clear_screen(&mut self) {
        if let Some(line) = self.editor_line_mut() {
            let _ = line.terminal.clear_screen();
        }
    }

    /// The line as typed so far. `None`: there is no editor, or no line is edited now.
    pub fn typed_line(&self) -> Option<String> {
        self.editor_line.as_ref()?.editor.edited_line()
    }

    /// Removes the editor. Returns the bytes that clear the editor's line.
    pub fn close_editor(&mut self) -> Vec<u8> {
        let clearing = self.hide_editor();
        self.editor_line = None;
        clearing
    }
}
