//! The part of a session that reads stdin. Lines and keys become requests, and requests become
//! commands for the core.
use std::io::{self, IsTerminal};

use crossbeam_channel::TryRecvError;
use termion::event::Key;

use crate::base::error_code::ErrorCode;
use crate::base::event::Command;
use crate::base::name::{FolderName, Room};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::command_queue::QueuedCommand;
use crate::shell::session::exit_policy::SessionMode;
use crate::shell::session::history_query::HistoryQuery;
use crate::shell::session::session::{InputFormat, QueuedRequest, Session};
use crate::shell::stdio::line_splitter::LineBlock;
use crate::shell::stdio::stdin::StdinEvent;
use crate::shell::store::store::Store;
use crate::ui::command::{self, HELP, UserCommand};
use crate::ui::editor::EditOutcome;
use crate::ui::json;

/// Maximum length of the request queue if a person types the requests.
const QUEUED_REQUESTS_MAX: usize = 64;
/// /history shows the last lines, at most this many.
const HISTORY_LINES_MAX: u64 = 1000;
/// /search shows the last lines that match, at most this many.
const SEARCH_LINES_MAX: u64 = 100;

impl Session {
    /// Whether the next event of stdin may be handled. False after the end of the run, and while
    /// the request queue is full. Also false while commands wait for the core or replies wait for
    /// stdout.
    fn can_read_input(&self) -> bool {
        !self.exit_policy.has_ended()
            && self.commands.is_empty()
            && self.pending_output.is_empty()
            && !self.is_request_queue_full()
    }

    /// Whether the next turn can handle input or commands, so that the poll must not sleep.
    /// `can_accept`: whether the store accepts lines now.
    pub fn has_input(&self, can_accept: bool) -> bool {
        let is_input_waiting = match (&self.blocked_input, &self.stdin) {
            (Some(_), _) => can_accept,
            (None, Some(stdin)) => !stdin.events.is_empty(),
            (None, None) => self.is_text_exhausted(),
        };
        !self.commands.is_empty() || is_input_waiting && self.can_read_input()
    }

    /// Whether the queue of requests is full. While a history query runs, a person may type more
    /// requests, but a script must wait.
    fn is_request_queue_full(&self) -> bool {
        let limit = match self.renderer.has_editor() {
            true => QUEUED_REQUESTS_MAX,
            false => 1,
        };
        self.requests.len() >= limit
    }

    /// Handles the next event of stdin. `can_accept`: whether the store accepts lines now. If
    /// false, a block of lines is kept for a later turn. For the command `peers`, requests the list
    /// of peers when the wait is over.
    pub fn read_input(&mut self, now: Now, can_accept: bool) {
        if self.exit_policy.has_ended() {
            return;
        }
        if self.is_waiting_for_peers()
            && self.exit_policy.deadline().is_none_or(|at| at <= now.time)
        {
            self.has_listed_peers = true;
            self.commands.push(Command::Peers);
        }
        if !self.can_read_input() {
            return;
        }
        if let Some(block) = self.blocked_input.take_if(|_| can_accept) {
            return self.handle_lines(block);
        }
        if self.blocked_input.is_some() {
            return;
        }
        let event = match self.stdin.as_ref().map(|stdin| stdin.events.try_recv()) {
            Some(Ok(event)) => event,
            Some(Err(TryRecvError::Disconnected)) => StdinEvent::End,
            Some(Err(TryRecvError::Empty)) => return,
            // `send` with TEXT has no stdin: its input ends with TEXT. `listen` and `peers` have
            // no input.
            None if self.is_text_exhausted() => StdinEvent::End,
            None => return,
        };
        match event {
            StdinEvent::Lines(block) if can_accept => self.handle_lines(block),
            StdinEvent::Lines(block) => self.blocked_input = Some(block),
            StdinEvent::Key(key) => self.handle_key(key),
            // A terminal fails when it hangs up. The end of input follows, and is handled below.
            StdinEvent::Failed(_) if self.is_stdin_terminal => {}
            StdinEvent::Failed(kind) => {
                self.warn(&format!("stdin cannot be read: {kind}"));
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

    /// Whether this is `send` with TEXT, and the end of its input is not recorded yet. Such a run
    /// does not read stdin: its input ends with TEXT.
    fn is_text_exhausted(&self) -> bool {
        self.exit_policy.mode == SessionMode::Send
            && self.stdin.is_none()
            && !self.exit_policy.has_input_ended()
    }

    /// Whether this is the command `peers`, and the list of peers was not requested yet.
    pub(super) fn is_waiting_for_peers(&self) -> bool {
        self.exit_policy.mode == SessionMode::Peers && !self.has_listed_peers
    }

    /// Whether a queued command sends lines. The core does not have these lines yet.
    pub fn has_unsent_lines(&self) -> bool {
        self.commands.has_lines()
    }

    /// Removes and returns the next command for the core. If the command searches for a recipient,
    /// limits the search to the time until the run's deadline.
    pub fn next_command(&mut self, now: Time) -> Option<Command> {
        self.lines_in_progress.clear();
        let QueuedCommand {
            mut command,
            line_numbers,
        } = self.commands.pop()?;
        self.lines_in_progress = line_numbers;
        if let Command::SendToPeer { timeout_ms, .. } = &mut command
            && let Some(deadline) = self.exit_policy.deadline()
        {
            *timeout_ms = deadline.ms_since(now).min(*timeout_ms);
        }
        Some(command)
    }

    /// Queues commands that do not come from stdin.
    pub fn queue_commands(&mut self, commands: Vec<Command>) {
        for command in commands {
            self.commands.push(command);
        }
    }

    /// Queues commands before all others. These are commands that the former server did not
    /// execute. If the input has ended, the core is asked again to await delivery.
    pub fn queue_commands_first(&mut self, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            self.commands.push_front(command);
        }
        self.is_finish_due |= self.exit_policy.has_input_ended();
    }

    fn handle_lines(&mut self, block: LineBlock) {
        let rejected = block.rejected.iter();
        let rejected = rejected.map(|(number, error)| (*number, error.to_string()));
        self.report_line_errors(ErrorCode::InvalidLine, rejected);
        if self.input_format == InputFormat::Plain {
            if !block.lines.is_empty() {
                self.commands.push_lines(block.lines);
            }
            return;
        }
        let mut errors = Vec::new();
        for (number, line) in block.numbered_lines() {
            let parsed = match self.input_format {
                InputFormat::Json => json::parse(line),
                _ => command::parse(line),
            };
            match parsed {
                Ok(command) => self.requests.push_back(QueuedRequest {
                    line_number: Some(number),
                    command,
                }),
                Err(message) => errors.push((number, message)),
            }
        }
        self.report_line_errors(ErrorCode::InvalidLine, errors.into_iter());
        self.start_requests();
    }

    fn handle_key(&mut self, key: Key) {
        match self.renderer.handle_key(key) {
            EditOutcome::Edited | EditOutcome::Rejected => self.redraw_editor(),
            EditOutcome::Interrupt => self.exit_policy.abort(ExitStatus::Interrupted),
            EditOutcome::EndOfInput => self.exit_policy.end(ExitStatus::Success),
            EditOutcome::Line(line) => {
                self.redraw_editor();
                if line.is_empty() {
                    return;
                }
                match command::parse(&line) {
                    Ok(command) => {
                        self.requests.push_back(QueuedRequest {
                            line_number: None,
                            command,
                        });
                        self.start_requests();
                    }
                    Err(message) => self.warn(&message),
                }
            }
        }
    }

    /// Starts the queued requests in order, and stops before the first history query. A query runs
    /// alone, so that replies are printed in the order of the requests.
    fn start_requests(&mut self) {
        let is_query = |command: &UserCommand| {
            matches!(command, UserCommand::History(_) | UserCommand::Search(_))
        };
        while !self.exit_policy.has_ended()
            && let Some(request) = self
                .requests
                .pop_front_if(|request| !is_query(&request.command))
        {
            self.start_request(request);
        }
    }

    fn start_request(&mut self, request: QueuedRequest) {
        match request.command {
            UserCommand::Core(command) => {
                self.commands.push_from_line(command, request.line_number);
            }
            UserCommand::Help if self.renderer.is_json() => self.warn(&HELP.replace('\n', "; ")),
            UserCommand::Help => self.show_message(HELP.as_bytes().to_vec()),
            UserCommand::Quit if self.is_stdin_terminal => {
                self.exit_policy.end(ExitStatus::Success);
            }
            UserCommand::Quit => self.exit_policy.quit(),
            // `poll_history_query` starts these.
            UserCommand::History(_) | UserCommand::Search(_) => {}
        }
    }

    /// Starts the first queued request, if that is a history query and no command waits for the
    /// core. Prints the result of a completed query.
    pub fn poll_history_query(&mut self, now: Now, store: &Store, current_room: Option<&Room>) {
        match self.history_worker.take_result() {
            Some(result) => {
                self.requests.pop_front();
                match result {
                    Ok(lines) => self.show_reply(lines),
                    Err(error) => self.warn(&format!("the history cannot be read: {error}")),
                }
                self.start_requests();
            }
            None if self.history_worker.is_busy() => return,
            None => {}
        }
        if !self.commands.is_empty() {
            return;
        }
        let query = match self.requests.front().map(|request| &request.command) {
            Some(UserCommand::History(lines)) => HistoryQuery {
                // Without a current room: the history of all folders.
                folders: current_room.into_iter().map(FolderName::from).collect(),
                limit: Some(*lines.min(&HISTORY_LINES_MAX)),
                ..HistoryQuery::default()
            },
            Some(UserCommand::Search(text)) => HistoryQuery {
                search: Some(text.clone()),
                limit: Some(SEARCH_LINES_MAX),
                ..HistoryQuery::default()
            },
            _ => return,
        };
        self.history_worker
            .submit(store, query, self.renderer.clone_without_editor(), now.wall);
    }
}
