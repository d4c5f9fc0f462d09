//! The part of a session that reads stdin: lines and keys become requests, and requests become commands of the core.
use std::io::{self, IsTerminal};

use crossbeam_channel::TryRecvError;
use termion::event::Key;

use crate::base::error_code::ErrorCode;
use crate::base::event::Command;
use crate::base::name::{FolderName, Room};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::session::exit_policy::SessionMode;
use crate::shell::session::history_query::HistoryQuery;
use crate::shell::session::session::{InputFormat, Session};
use crate::shell::stdio::line_splitter::LineBlock;
use crate::shell::stdio::stdin::{Stdin, StdinEvent};
use crate::shell::store::store::Store;
use crate::ui::command::{self, HELP, UserCommand};
use crate::ui::editor::EditOutcome;
use crate::ui::json;

/// Commands typed while an answer from the history is awaited, at most.
const QUEUED_REQUESTS_MAX: usize = 64;
/// Lines that /history and /search show, at most: the last ones.
const HISTORY_LINES_MAX: u64 = 1000;
const SEARCH_LINES_MAX: u64 = 100;

impl Session {
    /// There is something to be taken from stdin now.
    pub fn has_input(&self, takes: bool) -> bool {
        let came = |keyboard: &Stdin| !keyboard.events.is_empty();
        let waiting = match self.blocked_input {
            Some(_) => takes,
            None => self.stdin.as_ref().is_some_and(came) || self.is_text_exhausted(),
        };
        let waiting = waiting && !self.exit_policy.has_ended();
        !self.commands.is_empty()
            || waiting && self.pending_output.is_empty() && !self.is_request_queue_full()
    }

    /// Until it is answered, or begun, nothing more is taken from stdin. A person may go on typing.
    fn is_request_queue_full(&self) -> bool {
        let most = match self.renderer.has_editor() {
            true => QUEUED_REQUESTS_MAX,
            false => 1,
        };
        self.requests.len() >= most
    }

    /// What stdin asks for next. At most one block of lines a turn is taken, and none unless the store `takes` lines.
    pub fn read_input(&mut self, now: Now, takes: bool) {
        if self.exit_policy.has_ended() {
            return;
        }
        if self.is_waiting_for_peers()
            && self.exit_policy.deadline().is_none_or(|at| at <= now.time)
        {
            self.has_listed_peers = true;
            self.commands.push(Command::Peers);
        }
        if !self.commands.is_empty()
            || !self.pending_output.is_empty()
            || self.is_request_queue_full()
        {
            return;
        }
        match self.blocked_input.take() {
            Some(block) if takes => return self.handle_lines(block),
            Some(block) => {
                self.blocked_input = Some(block);
                return;
            }
            None => {}
        }
        let typed = match self.stdin.as_ref().map(|k| k.events.try_recv()) {
            Some(Ok(typed)) => typed,
            Some(Err(TryRecvError::Disconnected)) => StdinEvent::End,
            Some(Err(TryRecvError::Empty)) => return,
            // `send` with TEXT, `listen` and `peers` read nothing.
            None if self.is_text_exhausted() => StdinEvent::End,
            None => return,
        };
        match typed {
            StdinEvent::Lines(block) if takes => self.handle_lines(block),
            StdinEvent::Lines(block) => self.blocked_input = Some(block),
            StdinEvent::Key(key) => self.handle_key(key),
            // A terminal that hung up is no more than that.
            StdinEvent::Failed(_) if self.is_stdin_terminal => {}
            StdinEvent::Failed(kind) => {
                self.warn(&format!("stdin cannot be read: {kind}"));
                self.exit_policy.record_refusal();
            }
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

    /// `send` with TEXT is at its end as soon as that is said: nothing comes from stdin to tell so.
    fn is_text_exhausted(&self) -> bool {
        self.exit_policy.mode == SessionMode::Send
            && self.stdin.is_none()
            && !self.exit_policy.has_input_ended()
    }

    pub(super) fn is_waiting_for_peers(&self) -> bool {
        self.exit_policy.mode == SessionMode::Peers && !self.has_listed_peers
    }

    /// Are lines waiting that have not been published yet?
    pub fn has_unsent_lines(&self) -> bool {
        self.commands.has_lines()
    }

    /// A reader is looked for no longer than this run lasts: then there is time to store the lines.
    pub fn next_command(&mut self, now: Time) -> Option<Command> {
        let (mut command, lines) = self.commands.pop().unzip();
        self.lines_in_progress = lines.unwrap_or_default();
        if let (
            Some(Command::SendToPeer {
                timeout_ms: within, ..
            }),
            Some(until),
        ) = (&mut command, self.exit_policy.deadline())
        {
            *within = until.ms_since(now).min(*within);
        }
        command
    }

    fn handle_lines(&mut self, block: LineBlock) {
        let refused = block.rejected.iter();
        let refused = refused.map(|(number, error)| (*number, error.to_string()));
        self.report_line_errors(ErrorCode::InvalidLine, refused);
        if self.input_format == InputFormat::Plain {
            if !block.lines.is_empty() {
                self.commands.push_lines(block.lines);
            }
            return;
        }
        let mut bad = Vec::new();
        let mut requests = Vec::new();
        for (number, line) in block.numbered_lines() {
            let request = if self.input_format == InputFormat::Json {
                json::parse(line)
            } else {
                command::parse(line)
            };
            match request {
                Ok(request) => requests.push((Some(number), request)),
                Err(sentence) => bad.push((number, sentence)),
            }
        }
        self.report_line_errors(ErrorCode::InvalidLine, bad.into_iter());
        self.requests.extend(requests);
        self.start_requests();
    }

    fn handle_key(&mut self, key: Key) {
        match self.renderer.handle_key(key) {
            EditOutcome::Edited | EditOutcome::Rejected => self.print_lines(Vec::new()),
            EditOutcome::Interrupt => self.exit_policy.abort(ExitStatus::Interrupted),
            EditOutcome::EndOfInput => self.exit_policy.end(ExitStatus::Success),
            EditOutcome::Line(line) => {
                self.print_lines(Vec::new());
                if line.is_empty() {
                    return;
                }
                match command::parse(&line) {
                    Ok(request) => {
                        self.requests.push_back((None, request));
                        self.start_requests();
                    }
                    Err(sentence) => self.warn(&sentence),
                }
            }
        }
    }

    /// Begins what was asked for, up to the next look into the history.
    pub(super) fn start_requests(&mut self) {
        while !self.exit_policy.has_ended()
            && let Some((line, request)) = self.requests.pop_front()
        {
            if matches!(request, UserCommand::History(_) | UserCommand::Search(_)) {
                self.requests.push_front((line, request));
                break;
            }
            self.start_request(request, line);
        }
    }

    fn start_request(&mut self, request: UserCommand, line: Option<u64>) {
        match request {
            UserCommand::Core(command) => self.commands.push_from_line(command, line),
            UserCommand::Help if self.renderer.is_json() => self.warn(&HELP.replace('\n', "; ")),
            UserCommand::Help => self.show_message(HELP.as_bytes().to_vec()),
            UserCommand::Quit if self.is_stdin_terminal => {
                self.exit_policy.end(ExitStatus::Success)
            }
            UserCommand::Quit => self.exit_policy.quit(),
            // They wait for their turn: see `go_on`.
            UserCommand::History(_) | UserCommand::Search(_) => {}
        }
    }

    /// What is asked for by other ways than stdin.
    pub fn queue_commands(&mut self, commands: Vec<Command>) {
        commands.into_iter().for_each(|c| self.commands.push(c));
    }

    /// What another program was asked for, and will not do any more, is to be done before all else.
    pub fn queue_commands_first(&mut self, commands: Vec<Command>) {
        for command in commands.into_iter().rev() {
            self.commands.push_front(command);
        }
        self.is_finish_due |= self.exit_policy.has_input_ended();
    }

    /// Looks into the history, once all that was asked for before is done.
    pub fn poll_history_query(&mut self, now: Now, store: &Store, spoken: Option<&Room>) {
        match self.history_worker.take_result() {
            Some(answer) => {
                self.requests.pop_front();
                match answer {
                    Ok(lines) if self.renderer.is_json() => self.print_lines(lines),
                    Ok(lines) => self.show_message(lines),
                    Err(error) => self.warn(&format!("the history cannot be read: {error}")),
                }
                self.start_requests();
            }
            None if self.history_worker.is_busy() || !self.commands.is_empty() => return,
            None => {}
        }
        let query = match self.requests.front().map(|(_, request)| request) {
            Some(UserCommand::History(lines)) => HistoryQuery {
                // In no room nothing is spoken in: then of all.
                folders: spoken.into_iter().map(FolderName::from).collect(),
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
        if self.commands.is_empty() {
            self.history_worker.submit(
                store,
                query,
                self.renderer.clone_without_editor(),
                now.wall,
            );
        }
    }
}
