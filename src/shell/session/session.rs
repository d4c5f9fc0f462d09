//! The person or script at this program: what they say, what they are shown, and when they have had enough.
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IsTerminal};

use crossbeam_channel::TryRecvError;
use termion::event::Key;

use crate::base::event::{Command, Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Room, Target};
use crate::base::time::{Now, Time};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::os::signals::Signal;
use crate::shell::session::command_queue::CommandQueue;
use crate::shell::session::exit_policy::{ExitPolicy, SessionMode};
use crate::shell::session::history_query::{HistoryQuery, HistoryWorker};
use crate::shell::session::renderer::Renderer;
use crate::shell::session::transcript::Transcript;
use crate::shell::stdio::stderr::{Stderr, Verbosity};
use crate::shell::stdio::stdin;
use crate::shell::stdio::stdin::{LineBlock, Stdin, StdinEvent};
use crate::shell::stdio::stdout::OutputWriter;
use crate::shell::store::store::Store;
use crate::ui::command::{self, HELP, UserCommand};
use crate::ui::editor::EditOutcome;
use crate::ui::{json, text};

/// Commands typed while an answer from the history is awaited, at most.
const QUEUED_REQUESTS_MAX: usize = 64;
/// Lines that /history and /search show, at most: the last ones.
const HISTORY_LINES_MAX: u64 = 1000;
const SEARCH_LINES_MAX: u64 = 100;

/// How lines of stdin are to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// Every line is said as it is.
    Plain,
    /// Lines that begin with `/` are commands.
    Commands,
    Json,
}

pub struct Session {
    pub exit_policy: ExitPolicy,
    pub renderer: Renderer,
    pub transcript: Transcript,
    /// Without one, nothing is shown: `send`, but for --json.
    pub stdout: Option<OutputWriter>,
    pub stdin: Option<Stdin>,
    pub stderr: Stderr,
    pub input_format: InputFormat,
    pub required_peers: Option<u64>,
    /// Stored lines to print first.
    pub backlog: u64,
    /// What stdin and stdout were at the start: one that hung up is a terminal no more.
    is_stdin_terminal: bool,
    is_stdout_terminal: bool,
    /// It was told that all is ready.
    is_ready: bool,
    /// `peers`: the look round is over, and its result asked for.
    has_listed_peers: bool,
    pub(super) commands: CommandQueue,
    /// What was asked for and not yet begun: one that looks back holds up the others until it is answered.
    pub(super) requests: VecDeque<(Option<u64>, UserCommand)>,
    /// The numbers of the lines that are being said.
    lines_in_progress: Vec<u64>,
    history_worker: HistoryWorker,
    /// Lines that stdin gave and the store does not take now: what else comes from a person is not behind them.
    pub(super) blocked_input: Option<LineBlock>,
    /// The end of input came, and the core is still to be told.
    pub(super) is_finish_due: bool,
    /// It was told that a part of the history cannot be read.
    is_read_error_reported: bool,
    /// Answers that stdout had no room for. While there are any, nothing is taken from stdin: so they are bounded by one block's.
    pub(super) pending_output: Vec<u8>,
    /// The run is over but for what stdout still takes: how far that was last seen to be, and for how long it is waited for.
    pub(super) drain: Option<(u64, Time)>,
}

/// What a session is made of.
pub struct SessionParts {
    pub exit_policy: ExitPolicy,
    pub own_id: PeerId,
    pub renderer: Renderer,
    pub echo: bool,
    pub stdout: Option<OutputWriter>,
    pub stdin: Option<Stdin>,
    pub verbosity: Verbosity,
    pub input_format: InputFormat,
    pub required_peers: Option<u64>,
    pub backlog: u64,
    /// Said at once: the TEXT of `send`.
    pub text: Option<Lines>,
    pub history_worker: HistoryWorker,
    /// `send`: the one peer to whom all is said.
    pub to_peer: Option<PeerSelector>,
    /// Milliseconds within which that peer must be found.
    pub wait_ms: u64,
}

impl Session {
    pub fn new(parts: SessionParts) -> Session {
        let typing = io::stdin().is_terminal();
        // A script is served as soon as the reader comes, a person is answered now.
        let mut pending = CommandQueue::new(parts.to_peer, if typing { 0 } else { parts.wait_ms });
        if let Some(lines) = parts.text.filter(|lines| !lines.is_empty()) {
            pending.push_lines(lines);
        }
        Session {
            exit_policy: parts.exit_policy,
            renderer: parts.renderer,
            transcript: Transcript::new(parts.own_id, parts.echo),
            stdout: parts.stdout,
            stdin: parts.stdin,
            stderr: Stderr::new(parts.verbosity),
            input_format: parts.input_format,
            required_peers: parts.required_peers,
            backlog: parts.backlog,
            is_stdin_terminal: typing,
            is_stdout_terminal: io::stdout().is_terminal(),
            is_ready: false,
            has_listed_peers: false,
            commands: pending,
            requests: VecDeque::new(),
            lines_in_progress: Vec::new(),
            history_worker: parts.history_worker,
            blocked_input: None,
            is_finish_due: false,
            is_read_error_reported: false,
            pending_output: Vec::new(),
            drain: None,
        }
    }

    /// Everything stands: say so. Scripts are told once, whoever has the port later.
    pub fn announce_ready(&mut self, port: u16, me: &Peer, spoken: Option<&Room>) {
        let again = std::mem::replace(&mut self.is_ready, true);
        self.renderer.set_current_room(spoken);
        if !matches!(
            self.exit_policy.mode,
            SessionMode::Chat | SessionMode::Listen
        ) {
            return;
        }
        if self.renderer.is_json() && !again {
            let mut line = Vec::new();
            json::append_ready(me, port, &mut line);
            self.print_lines(line);
        }
        if self.stderr.is_enabled(Verbosity::Normal) {
            self.warn(&format!("ready as {me} on {port}"));
            if self.renderer.has_editor() && !again {
                self.warn("type a line to say it; /help lists the commands, Ctrl-D leaves");
            }
        }
    }

    /// A part of the history stands open.
    pub fn open_folder(&mut self, store: &Store, folder: &FolderName) {
        if self.is_printing_transcript() {
            let only_new = self.exit_policy.remaining_lines().is_some();
            self.transcript.open(store, folder, self.backlog, only_new);
        }
    }

    /// Does it print what is said there?
    pub fn is_shown(&self, folder: &FolderName) -> bool {
        self.transcript.is_open(folder)
    }

    /// Of rooms that are there for others no more is printed than what is said by this identity.
    fn is_hidden(&self, notice: &Notice) -> bool {
        let room = match notice {
            Notice::Joined { room, .. } | Notice::Left { room, .. } => room,
            Notice::Renamed { room, .. } => room,
            Notice::Gap {
                target: Target::Room(room),
                ..
            } => room,
            _ => return false,
        };
        !self.is_shown(&FolderName::from(room))
    }

    /// The transcript is on stdout.
    pub fn is_printing_transcript(&self) -> bool {
        self.stdout.is_some()
            && matches!(
                self.exit_policy.mode,
                SessionMode::Chat | SessionMode::Listen
            )
    }

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

    pub fn deadline(&self) -> Option<Time> {
        let drained = self.drain.map(|(_, until)| until);
        drained.or_else(|| self.exit_policy.deadline())
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
        self.report_line_errors("line", refused);
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
        self.report_line_errors("line", bad.into_iter());
        self.requests.extend(requests);
        self.start_requests();
    }

    /// Begins what was asked for, up to the next look into the history.
    fn start_requests(&mut self) {
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

    /// Lines by their numbers, and what is wrong with each. One block may have thousands, so they are said in one piece.
    fn report_line_errors(&mut self, code: &str, bad: impl Iterator<Item = (u64, String)>) {
        let (mut answers, mut sentences) = (Vec::new(), Vec::new());
        for (number, sentence) in bad {
            let sentence = format!("line {number}: {sentence}");
            if self.renderer.is_json() {
                json::append_error(code, &sentence, &mut answers);
            }
            sentences.push(text::format_diagnostic(&sentence));
        }
        if sentences.is_empty() {
            return;
        }
        self.exit_policy.record_refusal();
        if !answers.is_empty() {
            self.print_lines(answers);
        }
        self.print_diagnostic(&sentences.join("\n"));
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

    pub fn set_current_room(&mut self, room: Option<&Room>) {
        self.renderer.set_current_room(room);
        if self.renderer.has_editor() {
            self.print_lines(Vec::new());
        }
    }

    /// Something happened in the core.
    pub fn handle_notice(&mut self, mut notice: Notice, store: &Store) {
        if let Notice::Rooms(rooms) = &mut notice
            && self.is_printing_transcript()
        {
            rooms.retain(|room| self.transcript.is_open(&FolderName::from(room)));
        }
        match &notice {
            Notice::Error {
                code: "room",
                content,
            } if !self.lines_in_progress.is_empty() => {
                let lines = std::mem::take(&mut self.lines_in_progress).into_iter();
                return self.report_line_errors("room", lines.map(|line| (line, content.clone())));
            }
            Notice::Settled => self.exit_policy.record_delivery_complete(),
            Notice::Joined { .. } => self.exit_policy.record_linked_peer(),
            Notice::Error { code: "target", .. } => self.exit_policy.record_refusal(),
            Notice::Error { code: "key", .. } => self.exit_policy.record_key_mismatch(),
            // A person sees it, and a script counts on its status.
            Notice::Error { code: "room", .. } if !self.renderer.has_editor() => {
                self.exit_policy.record_refusal()
            }
            _ => {}
        }
        if let Some(warning) = text::notice_diagnostic(&notice) {
            self.print_diagnostic(&warning);
        }
        let shown = match self.exit_policy.mode {
            SessionMode::Chat | SessionMode::Listen => !self.is_hidden(&notice),
            SessionMode::Send => matches!(notice, Notice::Error { .. }),
            SessionMode::Peers => false,
        };
        match (&notice, &self.stdout) {
            (Notice::Peers(_) | Notice::Rooms(_) | Notice::Stats(_), _) => {
                self.render_reply_notice(&notice)
            }
            (_, Some(_)) if !shown => {}
            (_, None) => {}
            (Notice::Chat(chat), Some(printer)) => {
                self.transcript.print_chat(
                    chat,
                    self.exit_policy.remaining_lines(),
                    store,
                    &mut self.renderer,
                    printer,
                );
                self.exit_policy
                    .record_printed_lines(std::mem::take(&mut self.transcript.live_lines));
            }
            (_, Some(printer)) => self
                .transcript
                .print_event(&notice, &mut self.renderer, printer),
        }
    }

    /// Said once: a place that cannot be read is come to again and again.
    pub fn report_read_error(&mut self, error: &io::Error) {
        if !std::mem::replace(&mut self.is_read_error_reported, true) {
            self.warn(&format!("a part of the history cannot be read: {error}"));
        }
    }

    /// A sentence for stderr.
    pub fn warn(&mut self, sentence: &str) {
        self.print_diagnostic(&text::format_diagnostic(sentence));
    }

    fn print_diagnostic(&mut self, line: &str) {
        if self.renderer.has_editor() && io::stderr().is_terminal() {
            self.print_lines(format!("{line}\n").into_bytes());
        } else {
            self.stderr.write_line(line);
        }
    }

    /// Lines for stdout that do not come from the history.
    pub(super) fn print_lines(&mut self, lines: Vec<u8>) {
        let Some(printer) = &self.stdout else {
            return;
        };
        if !lines.is_empty() && (!self.pending_output.is_empty() || !printer.can_accept()) {
            self.pending_output.extend_from_slice(&lines);
        } else {
            self.transcript
                .print_untracked(lines, &mut self.renderer, printer);
        }
    }

    /// Goes on with what stdout did not take before, and notes what it has taken.
    ///
    /// # Errors
    /// The history cannot be read.
    pub fn end_turn(&mut self, store: &mut Store) -> io::Result<()> {
        let Some(printer) = &self.stdout else {
            return Ok(());
        };
        if !self.pending_output.is_empty() && printer.can_accept() {
            let owed = std::mem::take(&mut self.pending_output);
            self.transcript
                .print_untracked(owed, &mut self.renderer, printer);
        }
        let read = self.transcript.catch_up(
            self.exit_policy.remaining_lines(),
            store,
            &mut self.renderer,
            printer,
        );
        self.exit_policy
            .record_printed_lines(std::mem::take(&mut self.transcript.live_lines));
        self.transcript.save_printed_positions(store, printer);
        let shown = std::mem::take(&mut self.transcript.read_marks);
        if self.is_stdout_terminal && !self.renderer.is_json() {
            for (log, sequence) in shown {
                self.commands.push(Command::MarkRead { log, sequence });
            }
        }
        let broken = printer.error().filter(|_| !self.exit_policy.is_aborted());
        if let Err(error) = read {
            self.report_read_error(&error);
        }
        match broken {
            Some(ErrorKind::BrokenPipe) => self.exit_policy.abort(ExitStatus::StdoutClosed),
            Some(_) if self.is_stdout_terminal => self.exit_policy.abort(ExitStatus::Hangup),
            Some(kind) => {
                self.warn(&format!("stdout cannot be written: {kind}"));
                self.exit_policy.abort(ExitStatus::GeneralError);
            }
            None => {}
        }
        Ok(())
    }

    /// True: options are to be read again.
    pub fn handle_signal(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt => self.exit_policy.abort(ExitStatus::Interrupted),
            Signal::Terminate => self.exit_policy.abort(ExitStatus::Terminated),
            // A person is, or was, at a terminal of ours.
            Signal::HangUp if self.is_stdin_terminal || self.is_stdout_terminal => {
                self.exit_policy.abort(ExitStatus::Hangup)
            }
            Signal::HangUp => return true,
            Signal::Resize => self.resize(),
            Signal::Resume => self.resume(),
        }
        false
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

    fn resize(&mut self) {
        self.renderer.resize(terminal_columns());
        if self.renderer.has_editor() {
            self.print_lines(Vec::new());
        }
    }

    /// The program was stopped and goes on: a shell that had the terminal meanwhile has changed its modes and its size.
    fn resume(&mut self) {
        stdin::reenter_raw_mode();
        self.resize();
    }
}

/// The terminal's width; 0 if there is none.
pub fn terminal_columns() -> u16 {
    termion::terminal_size().map_or(0, |(columns, _)| columns)
}
