//! The part of a frontend that a person at the editor uses: keys, typed lines, and their history.
use termion::event::Key;

use crate::base::guests::guest::HAS_GUESTS;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::picture::read_picture;
use crate::ui::command::{self, UserCommand};
use crate::ui::editor::line_editor::EditOutcome;
use crate::ui::guests::lsnp_commands::LsnpLine;

impl Frontend {
    /// Recalls the lines that were typed in earlier runs.
    pub(super) fn load_typed_lines(&mut self) {
        let lines = self.typed_lines.as_ref().map(|file| file.load());
        match lines.unwrap_or_else(|| Ok(Vec::new())) {
            Ok(lines) => self.renderer.load_history(&lines),
            Err(error) => {
                self.typed_lines = None;
                self.warn(&format!("earlier typed lines cannot be read: {error}"));
            }
        }
    }

    /// Parses a typed line. `None`: the line was a part of a command, and the user was asked for
    /// the rest.
    pub(super) fn parse_command(&mut self, line: &str) -> Result<Option<UserCommand>, String> {
        let commands = self.lsnp_commands.as_mut().filter(|_| HAS_GUESTS);
        let typed = commands.map(|it| it.handle_line(line));
        match typed {
            None | Some(LsnpLine::Other) => command::parse(line).map(Some),
            Some(LsnpLine::Command(command)) => command.map(Some),
            Some(LsnpLine::Picture { request, file }) => {
                let url = read_picture(&file)?;
                command::parse(&format!("{request}|{url}")).map(Some)
            }
            Some(LsnpLine::Question(question)) => {
                self.warn(question);
                Ok(None)
            }
        }
    }

    pub(super) fn handle_key(&mut self, key: Key) {
        match self.renderer.handle_key(key) {
            EditOutcome::Edited | EditOutcome::Rejected => self.redraw_editor(),
            EditOutcome::ClearScreen => {
                self.renderer.clear_screen();
                self.redraw_editor();
            }
            EditOutcome::Interrupt => self.exit_policy.abort(ExitStatus::Interrupted),
            EditOutcome::EndOfInput => self.exit_policy.end(ExitStatus::Success),
            EditOutcome::Line(line) => {
                self.redraw_editor();
                self.handle_typed_line(&line);
            }
        }
    }

    fn handle_typed_line(&mut self, line: &str) {
        match self.parse_command(line) {
            Ok(Some(command)) => {
                self.keep_typed_line(line, &command);
                self.commands.push(command, None, None);
            }
            Ok(None) => {}
            Err(message) => self.warn(&message),
        }
    }

    /// Appends a typed line to the file of such lines. A direct message is kept only if the user
    /// wants so. A mistyped command is never kept, because it may be a direct message.
    fn keep_typed_line(&mut self, line: &str, command: &UserCommand) {
        let is_direct = matches!(command, UserCommand::SendToPeer { .. });
        if is_direct && !self.keeps_typed_direct {
            return;
        }
        let kept = self.typed_lines.as_ref().map(|file| file.append(line));
        if let Some(Err(error)) = kept {
            self.typed_lines = None;
            self.warn(&format!("typed lines are not kept: {error}"));
        }
    }
}
