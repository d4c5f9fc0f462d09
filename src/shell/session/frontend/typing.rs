//! The part of a frontend that a person at the editor uses: keys, typed lines, and their history.
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::base::event::command::Command;
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::lines::Lines;
use crate::base::presence::away::HAS_PRESENCE;
use crate::base::presence::typing::TypingTarget;
use crate::base::text::line_form::{BLOCK_SEPARATOR, LineForm};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::frontend::command_queue::sends_lines;
use crate::shell::session::frontend::frontend::Frontend;
use crate::shell::session::frontend::picture::{PICTURE_FILE_MAX_BYTES, read_picture};
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::stdio::terminal;
use crate::ui::command::{self, UserCommand};
use crate::ui::editor::keys::TerminalInput;
use crate::ui::editor::line_editor::EditOutcome;
use crate::ui::guests::lsnp_commands::{LsnpCommands, LsnpLine};
use crate::ui::profile::profile_command::format_picture;
use crate::ui::request::Request;

/// How long the program waits before it stops until the terminal has taken all output.
const SUSPEND_FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// How often the session is told that the user types. It tells the others less often.
const TYPING_INTERVAL: Duration = Duration::from_secs(3);

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
                let avatar = read_picture(&file, PICTURE_FILE_MAX_BYTES)?;
                let url = format_picture(&avatar);
                command::parse(&format!("{request}|{url}")).map(Some)
            }
            Some(LsnpLine::Question(question)) => {
                self.warn(question);
                Ok(None)
            }
        }
    }

    /// Handles a key or a paste.
    pub(super) fn handle_typed(&mut self, input: TerminalInput) {
        match self.renderer.handle_input(input) {
            EditOutcome::Edited => {
                self.redraw_editor();
                self.say_typing();
            }
            EditOutcome::Rejected => self.redraw_editor(),
            EditOutcome::ClearScreen => {
                self.renderer.clear_screen();
                self.redraw_editor();
            }
            EditOutcome::Complete => match self.renderer.complete(&self.rooms) {
                Some(list) => self.print_lines(format!("{list}\n").into_bytes()),
                None => self.redraw_editor(),
            },
            EditOutcome::Suspend => self.suspend(),
            EditOutcome::PastedLines(lines, form) => {
                self.redraw_editor();
                self.change_prompt(|prompt| prompt.unread = 0);
                self.history_pages.clear();
                self.say_pasted(lines, form);
            }
            EditOutcome::Interrupt => self.exit_policy.abort(ExitStatus::Interrupted),
            EditOutcome::EndOfInput => self.exit_policy.end(ExitStatus::Success),
            EditOutcome::Line(line) => {
                self.redraw_editor();
                self.change_prompt(|prompt| prompt.unread = 0);
                self.handle_typed_line(&line);
            }
        }
    }

    /// Says to others that the user types a line for them, now and then, unless they are not told.
    fn say_typing(&mut self) {
        let tells_typing = HAS_PRESENCE && self.settings.tells_typing;
        let line = self.renderer.typed_line().filter(|_| tells_typing);
        let target = line.and_then(|line| command::typing_target(&line, self.rooms.first()));
        let Some(target) = target else {
            return;
        };
        let is_said = |(said, at): &(TypingTarget, Instant)| {
            *said == target && at.elapsed() < TYPING_INTERVAL
        };
        if self.typing_said.as_ref().is_some_and(is_said) {
            return;
        }
        self.typing_said = Some((target.clone(), Instant::now()));
        let command = UserCommand::Core(Command::Type(target));
        self.outgoing.push_back(Request::new(None, command));
    }

    /// Says the pasted lines as text, or as one block.
    fn say_pasted(&mut self, mut pasted: VecDeque<String>, form: LineForm) {
        if self
            .lsnp_commands
            .as_ref()
            .is_some_and(LsnpCommands::is_asking)
        {
            return self.warn("nothing was said: the question above takes one line as its answer");
        }
        if form == LineForm::Block {
            let block = pasted
                .make_contiguous()
                .join(BLOCK_SEPARATOR.encode_utf8(&mut [0; 4]));
            pasted = [block].into();
        }
        let mut lines = Lines::default();
        for (i, line) in pasted.iter().enumerate() {
            if let Err(error) = lines.push(line.as_bytes()) {
                self.warn(&match form {
                    LineForm::Block => format!("the pasted block: {error}"),
                    _ => format!("pasted line {}: {error}", i + 1),
                });
            }
        }
        if !lines.is_empty() {
            let room = None;
            let command = UserCommand::SendToRoom { room, lines, form };
            self.commands.push(command, None, None);
        }
    }

    /// Stops the program until the user continues it (`fg`). The shell finds the terminal as it
    /// was.
    fn suspend(&mut self) {
        let deadline = Instant::now() + SUSPEND_FLUSH_TIMEOUT;
        self.flush_stdout(deadline);
        let clearing = self.renderer.hide_editor();
        // Bytes that stdout refuses, or that precede waiting output, must not count for its lines.
        let is_free = |it: &&OutputWriter| self.pending_output.is_empty() && it.can_accept();
        if let Some(stdout) = self.stdout.as_ref().filter(is_free) {
            self.printed.record_sent(&clearing);
            let _ = stdout.try_send(clearing);
        }
        self.flush_stdout(deadline);
        terminal::suspend();
        // Where no shell could continue the program, the system does not stop it.
        self.resume();
    }

    fn handle_typed_line(&mut self, line: &str) {
        match self.parse_command(line) {
            Ok(Some(command)) => {
                self.keep_typed_line(line, &command);
                if sends_lines(&command) {
                    self.history_pages.clear();
                }
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
