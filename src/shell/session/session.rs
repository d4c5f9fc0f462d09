//! One user's session: commands come in, events go out. The user is a person or a script.
use std::collections::VecDeque;
use std::io::{self, IsTerminal};

use crate::base::error_code::ErrorCode;
use crate::base::event::{Notice, Peer};
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, PeerSelector, Room, Target};
use crate::base::time::Time;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::values::Verbosity;
use crate::shell::os::signals::Signal;
use crate::shell::session::command_queue::CommandQueue;
use crate::shell::session::exit_policy::{ExitPolicy, SessionMode};
use crate::shell::session::history_worker::HistoryWorker;
use crate::shell::session::renderer::Renderer;
use crate::shell::session::transcript::Transcript;
use crate::shell::stdio::line_splitter::LineBlock;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::stdio::stderr::Stderr;
use crate::shell::stdio::stdin::Stdin;
use crate::shell::stdio::terminal;
use crate::shell::store::store::Store;
use crate::ui::command::UserCommand;
use crate::ui::{diagnostic, json};

/// How lines of stdin are parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputFormat {
    /// Every line is a message.
    Plain,
    /// Lines that begin with `/` are commands.
    Commands,
    /// Every line is a JSON request.
    Json,
}

/// A parsed request of the user that has not been started.
pub(super) struct QueuedRequest {
    /// The number of the stdin line that contains the request; `None` if the request was typed in
    /// the editor.
    pub(super) line_number: Option<u64>,
    /// What the user requests.
    pub(super) command: UserCommand,
}

/// The state of the wait for stdout after the run has ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// How many bytes stdout had taken at the last check.
    pub(super) written_bytes: u64,
    /// The time at which the wait ends. Set anew whenever stdout takes bytes.
    pub(super) deadline: Time,
}

/// The state of one session. Its methods are in the files of this folder, by subject.
pub struct Session {
    /// Decides when the run ends.
    pub exit_policy: ExitPolicy,
    /// Renders events as text or JSON.
    pub renderer: Renderer,
    /// Prints the lines of open folders to stdout, and records which lines are printed.
    pub transcript: Transcript,
    /// The writer of stdout; `None` for `send` without --json, which prints nothing to stdout.
    pub stdout: Option<OutputWriter>,
    /// The reader of stdin; `None` if the command does not read stdin, and after the end of input.
    pub stdin: Option<Stdin>,
    /// The writer of stderr.
    pub stderr: Stderr,
    /// How lines of stdin are parsed.
    pub input_format: InputFormat,
    /// Option --need: how many peers must acknowledge the lines.
    pub required_peers: Option<u64>,
    /// Option --backlog: how many stored lines of each folder to print first.
    pub backlog: u64,
    /// Whether stdin was a terminal at the start. Stays true after a hangup.
    pub(super) is_stdin_terminal: bool,
    /// Whether stdout was a terminal at the start.
    pub(super) is_stdout_terminal: bool,
    /// Whether the ready line was printed.
    pub(super) is_ready: bool,
    /// Whether the command `peers` has finished its wait and requested the list.
    pub(super) has_listed_peers: bool,
    /// Commands that wait to be passed to the core.
    pub(super) commands: CommandQueue,
    /// Requests that are not started yet. While a history query runs, later requests wait.
    pub(super) requests: VecDeque<QueuedRequest>,
    /// Numbers of the stdin lines in the command that was passed to the core last.
    pub(super) lines_in_progress: Vec<u64>,
    /// Answers history queries.
    pub(super) history_worker: HistoryWorker,
    /// Lines read from stdin that wait until the store can accept lines.
    pub(super) blocked_input: Option<LineBlock>,
    /// Whether the input has ended, but the core was not asked to await delivery yet.
    pub(super) is_finish_due: bool,
    /// Whether the user was warned that a part of the history cannot be read.
    pub(super) is_read_error_reported: bool,
    /// Replies for which stdout had no room. While replies wait here, no further input is handled.
    pub(super) pending_output: Vec<u8>,
    /// The wait for stdout after the end of the run; `None` before this wait begins.
    pub(super) drain: Option<Drain>,
}

/// The arguments of [`Session::new`].
pub struct SessionParts {
    /// See [`Session::exit_policy`].
    pub exit_policy: ExitPolicy,
    /// The id of this directory's identity.
    pub own_id: PeerId,
    /// See [`Session::renderer`].
    pub renderer: Renderer,
    /// Whether lines that this identity sent are printed.
    pub echo: bool,
    /// See [`Session::stdout`].
    pub stdout: Option<OutputWriter>,
    /// See [`Session::stdin`].
    pub stdin: Option<Stdin>,
    /// Which diagnostics stderr reports.
    pub verbosity: Verbosity,
    /// See [`Session::input_format`].
    pub input_format: InputFormat,
    /// See [`Session::required_peers`].
    pub required_peers: Option<u64>,
    /// See [`Session::backlog`].
    pub backlog: u64,
    /// The lines of TEXT; `None` if the command has no TEXT.
    pub text: Option<Lines>,
    /// Answers history queries.
    pub history_worker: HistoryWorker,
    /// Option --to of `send`: the recipient of all lines.
    pub to_peer: Option<PeerSelector>,
    /// Time limit for finding a recipient, in milliseconds.
    pub resolve_timeout_ms: u64,
}

impl Session {
    /// A session that has printed nothing yet. Queues the lines of TEXT.
    pub fn new(parts: SessionParts) -> Session {
        let is_stdin_terminal = io::stdin().is_terminal();
        // A script waits until the recipient is found. A person gets an error at once.
        let resolve_timeout_ms = match is_stdin_terminal {
            true => 0,
            false => parts.resolve_timeout_ms,
        };
        let mut commands = CommandQueue::new(parts.to_peer, resolve_timeout_ms);
        if let Some(lines) = parts.text.filter(|lines| !lines.is_empty()) {
            commands.push_lines(lines);
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
            is_stdin_terminal,
            is_stdout_terminal: io::stdout().is_terminal(),
            is_ready: false,
            has_listed_peers: false,
            commands,
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

    /// Reports that the session is ready: on stderr, and with --json also on stdout. `port`: the
    /// TCP port of this program, or of its server. Later calls, after a change of server, report on
    /// stderr only.
    pub fn announce_ready(&mut self, port: u16, own: &Peer, current_room: Option<&Room>) {
        let is_first = !std::mem::replace(&mut self.is_ready, true);
        self.renderer.set_current_room(current_room);
        if !self.exit_policy.mode.prints_transcript() {
            return;
        }
        if self.renderer.is_json() && is_first {
            let mut line = Vec::new();
            json::append_ready(own, port, &mut line);
            self.print_lines(line);
        }
        if self.stderr.is_enabled(Verbosity::Normal) {
            self.warn(&format!("ready as {own} on {port}"));
            if self.renderer.has_editor() && is_first {
                self.warn("type a line to say it; /help lists the commands, Ctrl-D leaves");
            }
        }
    }

    /// Adds a folder of the store to the transcript, if this session prints a transcript.
    pub fn open_folder(&mut self, store: &Store, folder: &FolderName) {
        if self.is_printing_transcript() {
            let only_new = self.exit_policy.remaining_lines().is_some();
            self.transcript.open(store, folder, self.backlog, only_new);
        }
    }

    /// Whether the transcript prints the lines of this folder.
    pub fn is_shown(&self, folder: &FolderName) -> bool {
        self.transcript.is_open(folder)
    }

    /// Whether the notice concerns a room that this session does not show. A client of this server
    /// may have joined that room.
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

    /// Whether this session prints the transcript to stdout.
    pub fn is_printing_transcript(&self) -> bool {
        self.stdout.is_some() && self.exit_policy.mode.prints_transcript()
    }

    /// The time at which this session needs a turn even without an event; `None`: it needs none.
    pub fn deadline(&self) -> Option<Time> {
        let drained = self.drain.map(|drain| drain.deadline);
        drained.or_else(|| self.exit_policy.deadline())
    }

    /// Sets the current room, to which lines without a target go. The prompt shows it.
    pub fn set_current_room(&mut self, room: Option<&Room>) {
        self.renderer.set_current_room(room);
        self.redraw_editor();
    }

    /// Shows a notice of the core, and records the effect of the notice on the exit status.
    pub fn handle_notice(&mut self, mut notice: Notice, store: &Store) {
        if let Notice::Rooms(rooms) = &mut notice
            && self.is_printing_transcript()
        {
            rooms.retain(|room| self.transcript.is_open(&FolderName::from(room)));
        }
        if let Notice::Error {
            code: ErrorCode::Room,
            content,
        } = &notice
            && !self.lines_in_progress.is_empty()
        {
            let lines = std::mem::take(&mut self.lines_in_progress).into_iter();
            return self
                .report_line_errors(ErrorCode::Room, lines.map(|line| (line, content.clone())));
        }
        self.record_outcome(&notice);
        if let Some(warning) = diagnostic::notice_diagnostic(&notice) {
            self.print_diagnostic(&warning);
        }
        if let Notice::Peers(_) | Notice::Rooms(_) | Notice::Stats(_) = notice {
            return self.show_reply_notice(&notice);
        }
        let is_shown = match self.exit_policy.mode {
            SessionMode::Chat | SessionMode::Listen => !self.is_hidden(&notice),
            SessionMode::Send => matches!(notice, Notice::Error { .. }),
            SessionMode::Peers => false,
        };
        let Some(stdout) = self.stdout.as_ref().filter(|_| is_shown) else {
            return;
        };
        if let Notice::Chat(chat) = &notice {
            let line_limit = self.exit_policy.remaining_lines();
            self.transcript
                .print_chat(chat, line_limit, store, &mut self.renderer, stdout);
            self.exit_policy
                .record_printed_lines(std::mem::take(&mut self.transcript.live_lines));
        } else {
            self.transcript
                .print_event(&notice, &mut self.renderer, stdout);
        }
    }

    fn record_outcome(&mut self, notice: &Notice) {
        match notice {
            Notice::Settled => self.exit_policy.record_delivery_complete(),
            Notice::Joined { .. } => self.exit_policy.record_linked_peer(),
            Notice::Error {
                code: ErrorCode::Target,
                ..
            } => self.exit_policy.record_refusal(),
            Notice::Error {
                code: ErrorCode::WrongKey,
                ..
            } => self.exit_policy.record_key_mismatch(),
            // A person sees the error and can send the line again. A script has only the exit
            // status.
            Notice::Error {
                code: ErrorCode::Room,
                ..
            } if !self.renderer.has_editor() => {
                self.exit_policy.record_refusal();
            }
            _ => {}
        }
    }

    /// Handles a signal. Returns true if the options must be read again.
    pub fn handle_signal(&mut self, signal: Signal) -> bool {
        match signal {
            Signal::Interrupt => self.exit_policy.abort(ExitStatus::Interrupted),
            Signal::Terminate => self.exit_policy.abort(ExitStatus::Terminated),
            // At a terminal, SIGHUP means that the user is gone. Without a terminal it means
            // "reload".
            Signal::HangUp if self.is_stdin_terminal || self.is_stdout_terminal => {
                self.exit_policy.abort(ExitStatus::Hangup);
            }
            Signal::HangUp => return true,
            Signal::Resize => self.resize(),
            Signal::Resume => self.resume(),
        }
        false
    }

    fn resize(&mut self) {
        self.renderer.resize(terminal::width_columns());
        self.redraw_editor();
    }

    /// Sets raw mode and the width again, when the stopped program continues (SIGCONT). While the
    /// program was stopped, the user's command shell changed the modes of the terminal. The
    /// terminal may also have another size.
    fn resume(&mut self) {
        terminal::reenter_raw_mode();
        self.resize();
    }
}
