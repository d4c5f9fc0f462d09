//! The part of a frontend that reads stdin. Lines and keys become commands, and commands become
//! requests for the session.
use std::io::{self, IsTerminal};

use crate::base::error_code::ErrorCode;
use crate::base::event::command::Command;
use crate::base::presence::profile::{AVATAR_MAX_BYTES, HAS_PROFILE, ProfileCommand};
use crate::base::time::{Now, Time};
use crate::node::backpressure::Backpressure;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::frontend::command_queue::sends_lines;
use crate::shell::session::frontend::exit_policy::SessionMode;
use crate::shell::session::frontend::frontend::{BlockedInput, Frontend, InputFormat};
use crate::shell::session::frontend::picture::read_picture;
use crate::shell::stdio::line_splitter::LineBlock;
use crate::shell::stdio::stdin_event::StdinEvent;
use crate::ui::command::UserCommand;
use crate::ui::editor::line_editor::HAS_EDITOR;
use crate::ui::json_parser::requests::parse_input;
use crate::ui::request::{Request, RequestKind};

/// How many commands may be queued with an editor, so that a person can type ahead. Without an
/// editor, stdin is read only while no command is queued.
const TYPED_COMMANDS_MAX: usize = 64;

impl Frontend {
    /// Whether the next event of stdin may be handled. False after the end of the run, and while
    /// commands wait for the session or replies wait for stdout.
    fn can_read_input(&self) -> bool {
        let limit = match self.renderer.has_editor() {
            true => TYPED_COMMANDS_MAX,
            false => 1,
        };
        !self.exit_policy.has_ended()
            && self.commands.len() < limit
            && self.pending_output.is_empty()
            && self.pending.can_accept()
    }

    /// Whether the next turn can handle input or pass on requests, so that the poll must not sleep.
    /// `can_accept`: whether the store accepts lines now.
    pub fn has_input(&self, can_accept: bool, backpressure: Backpressure) -> bool {
        let is_input_waiting = match (&self.blocked_input, &self.stdin) {
            (Some(input), _) => can_accept && !input.is_held(backpressure),
            (None, Some(stdin)) => stdin.has_event(),
            (None, None) => self.is_text_exhausted(),
        };
        self.has_requests() || is_input_waiting && self.can_read_input()
    }

    /// Whether a request can be passed to the session.
    fn has_requests(&self) -> bool {
        !self.outgoing.is_empty() || !self.commands.is_empty() && self.can_pass_on()
    }

    /// Handles a poll event of stdin.
    pub fn handle_stdin_event(&mut self) {
        if let Some(stdin) = &mut self.stdin {
            stdin.handle_event();
        }
    }

    /// Handles the next event of stdin. `can_accept`: whether the store accepts lines now. Keeps
    /// lines for a later turn if the store accepts none, or if backpressure holds them up. Requests
    /// the list of peers once the command `peers` has waited long enough.
    pub fn read_input(&mut self, now: Now, can_accept: bool, backpressure: Backpressure) {
        if let Some(input) = &mut self.blocked_input {
            let is_held = input.is_held(backpressure);
            input.held_until = input
                .held_until
                .filter(|until| is_held && *until > now.time);
        }
        if self.exit_policy.has_ended() {
            return;
        }
        if self.exit_policy.mode == SessionMode::Peers
            && !self.has_listed_peers
            && self.exit_policy.deadline().is_none_or(|at| at <= now.time)
        {
            self.has_listed_peers = true;
            self.commands
                .push(UserCommand::Core(Command::Peers), None, None);
        }
        if !self.can_read_input() {
            return;
        }
        let is_due = |input: &mut BlockedInput| can_accept && input.held_until.is_none();
        if let Some(input) = self.blocked_input.take_if(is_due) {
            return self.handle_lines(input.block);
        }
        if self.blocked_input.is_some() {
            return;
        }
        let event = match &mut self.stdin {
            Some(stdin) => stdin.next_event(),
            // `send` with TEXT has no stdin: its input ends with TEXT. Other commands without stdin
            // have no input.
            None => self.is_text_exhausted().then_some(StdinEvent::End),
        };
        let Some(event) = event else {
            return;
        };
        match event {
            StdinEvent::Lines(block) => {
                let bytes = block.lines.len();
                let held_until = self.line_hold.begin(bytes, backpressure, now.time);
                if can_accept && held_until.is_none() {
                    return self.handle_lines(block);
                }
                self.blocked_input = Some(BlockedInput { block, held_until });
            }
            StdinEvent::Typed(input) => {
                if HAS_EDITOR {
                    self.handle_typed(input);
                }
            }
            // A terminal fails when it hangs up. The end of input follows, and is handled below.
            StdinEvent::Failed(_) if self.is_stdin_terminal => {}
            StdinEvent::Failed(error) => {
                self.warn(&format!("stdin cannot be read: {error}"));
                self.exit_policy.record_refusal();
            }
            // After a hangup the system no longer reports stdin as a terminal.
            StdinEvent::End if self.is_stdin_terminal && !io::stdin().is_terminal() => {
                self.stdin = None;
                self.exit_policy.abort(ExitStatus::Hangup);
            }
            StdinEvent::End => {
                self.stdin = None;
                self.exit_policy.record_input_end(now.time);
                self.is_finish_due = true;
            }
        }
    }

    /// Whether this command must still record the end of its input without reading stdin. The input
    /// of `send` is TEXT, so it has already ended, and `sync` has none.
    fn is_text_exhausted(&self) -> bool {
        let mode = self.exit_policy.mode;
        (mode == SessionMode::Send || mode.is_sync())
            && self.stdin.is_none()
            && !self.exit_policy.has_input_ended()
    }

    /// Whether this is the command `peers`, and the list of peers has not come yet.
    pub(super) fn is_waiting_for_peers(&self) -> bool {
        let has_list =
            self.has_listed_peers && self.commands.is_empty() && !self.pending.has_other();
        self.exit_policy.mode == SessionMode::Peers && !has_list
    }

    /// Removes and returns the next request that goes before all queued commands. Does not remove
    /// commands.
    pub fn next_outgoing(&mut self) -> Option<Request> {
        self.outgoing.pop_front()
    }

    /// Removes and returns the next request for the session. If the request searches for a
    /// recipient, limits the search to the time until the run's deadline.
    pub fn next_request(&mut self, now: Time) -> Option<Request> {
        if let Some(mut request) = self.outgoing.pop_front() {
            if let RequestKind::Resend { command, .. } = &mut *request.kind {
                self.limit_wait(command, now);
            }
            return Some(request);
        }
        while self.can_pass_on() {
            let is_attached = self.is_attached();
            let queued = match is_attached {
                // After a change of the program, a request counts as stored if one batch of it is.
                true => self.commands.pop_batch()?,
                false => self.commands.pop()?,
            };
            let mut command = queued.command;
            match &mut command {
                UserCommand::Help => {
                    self.show_help(queued.user_id);
                    continue;
                }
                UserCommand::Set { .. } | UserCommand::Clear | UserCommand::Verbose => {
                    self.execute_here(command, &queued.line_numbers, queued.user_id);
                    continue;
                }
                UserCommand::AvatarFile(path) if HAS_PROFILE => {
                    match read_picture(path, AVATAR_MAX_BYTES) {
                        Ok(avatar) => {
                            let change = ProfileCommand::SetAvatar(Some(avatar));
                            command = UserCommand::Core(Command::Profile(change));
                        }
                        Err(sentence) => {
                            let (code, lines) = (ErrorCode::Failed, &queued.line_numbers);
                            self.show_line_error(code, &sentence, lines, queued.user_id);
                            continue;
                        }
                    }
                }
                UserCommand::Core(Command::Nick(nick)) if HAS_EDITOR => {
                    self.keep_typed_nick(&nick.clone());
                }
                UserCommand::Quit => {
                    self.quit();
                    return None;
                }
                UserCommand::SendToRoom { room, .. } if is_attached => {
                    // The next program may have another current room.
                    *room = room.take().or_else(|| self.rooms.first().cloned());
                }
                UserCommand::History {
                    before,
                    lines: None,
                } if self.renderer.has_editor() => {
                    *before = self.history_pages.before(self.rooms.first());
                }
                _ => self.limit_wait(&mut command, now),
            }
            let request = self.pending.push(command.into(), false, is_attached);
            self.pending.set_origin(queued.line_numbers, queued.user_id);
            return Some(request);
        }
        None
    }

    /// Limits the search for a recipient to the time until the run's deadline.
    fn limit_wait(&self, command: &mut UserCommand, now: Time) {
        if let UserCommand::SendToPeer { timeout_ms, .. } = command
            && let Some(deadline) = self.exit_policy.deadline()
        {
            *timeout_ms = deadline.ms_since(now).min(*timeout_ms);
        }
    }

    /// Whether the oldest command can be passed to the session.
    fn can_pass_on(&self) -> bool {
        let Some(next) = self.commands.front() else {
            return false;
        };
        match &next.command {
            _ if self.has_quit => false,
            // The replies to earlier commands are printed before the end.
            UserCommand::Quit => !self.pending.has_other(),
            command if sends_lines(command) => {
                !self.is_attached() || !self.pending.is_changing_rooms()
            }
            _ => true,
        }
    }

    fn quit(&mut self) {
        self.has_quit = true;
        match self.is_stdin_terminal {
            true => self.exit_policy.end(ExitStatus::Success),
            false => self.exit_policy.quit(),
        }
    }

    /// Queues commands that do not come from stdin.
    pub fn queue_commands(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.commands.push(UserCommand::Core(command), None, None);
        }
    }

    fn handle_lines(&mut self, block: LineBlock) {
        let rejected = block.rejected.iter();
        let rejected = rejected.map(|(number, error)| (*number, error.to_string()));
        self.report_line_errors(ErrorCode::InvalidLine, rejected, None);
        if self.input_format == InputFormat::Plain {
            if !block.lines.is_empty() {
                self.commands.push_lines(block.lines);
            }
            return;
        }
        let mut errors = Vec::new();
        for (number, line) in block.numbered_lines() {
            if self.input_format == InputFormat::Commands {
                match self.parse_command(line) {
                    Ok(Some(command)) => self.commands.push(command, Some(number), None),
                    Ok(None) => {}
                    Err(message) => errors.push((number, message)),
                }
                continue;
            }
            match self.parse_line(line) {
                Ok((command, id)) => self.commands.push(command, Some(number), id),
                Err((message, None)) => errors.push((number, message)),
                Err((message, id)) => {
                    let error = [(number, message)].into_iter();
                    self.report_line_errors(ErrorCode::InvalidLine, error, id.as_deref());
                }
            }
        }
        self.report_line_errors(ErrorCode::InvalidLine, errors.into_iter(), None);
    }

    /// Parses a line of stdin. Returns the command, and the id that the user gave it.
    fn parse_line(&self, line: &str) -> Result<(UserCommand, Option<String>), LineRefusal> {
        match parse_input(line) {
            Ok(Request { id, kind }) => match *kind {
                RequestKind::Command(command) => Ok((command, id)),
                _ => Err(("this is for control.sock only".to_owned(), id)),
            },
            Err(invalid) => Err((invalid.message, invalid.id)),
        }
    }
}

/// Why a line of stdin is refused, and the id that the user gave it.
type LineRefusal = (String, Option<String>);
