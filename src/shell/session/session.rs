//! The person or script at this program: what they say, what they are shown, and when they have had enough.
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
use crate::ui::{json, text};

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
    pub(super) is_stdin_terminal: bool,
    pub(super) is_stdout_terminal: bool,
    /// It was told that all is ready.
    pub(super) is_ready: bool,
    /// `peers`: the look round is over, and its result asked for.
    pub(super) has_listed_peers: bool,
    pub(super) commands: CommandQueue,
    /// What was asked for and not yet begun: one that looks back holds up the others until it is answered.
    pub(super) requests: VecDeque<(Option<u64>, UserCommand)>,
    /// The numbers of the lines that are being said.
    pub(super) lines_in_progress: Vec<u64>,
    pub(super) history_worker: HistoryWorker,
    /// Lines that stdin gave and the store does not take now: what else comes from a person is not behind them.
    pub(super) blocked_input: Option<LineBlock>,
    /// The end of input came, and the core is still to be told.
    pub(super) is_finish_due: bool,
    /// It was told that a part of the history cannot be read.
    pub(super) is_read_error_reported: bool,
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

    pub fn deadline(&self) -> Option<Time> {
        let drained = self.drain.map(|(_, until)| until);
        drained.or_else(|| self.exit_policy.deadline())
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
                code: ErrorCode::Room,
                content,
            } if !self.lines_in_progress.is_empty() => {
                let lines = std::mem::take(&mut self.lines_in_progress).into_iter();
                return self.report_line_errors(
                    ErrorCode::Room,
                    lines.map(|line| (line, content.clone())),
                );
            }
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
            // A person sees it, and a script counts on its status.
            Notice::Error {
                code: ErrorCode::Room,
                ..
            } if !self.renderer.has_editor() => self.exit_policy.record_refusal(),
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

    fn resize(&mut self) {
        self.renderer.resize(terminal::width_columns());
        if self.renderer.has_editor() {
            self.print_lines(Vec::new());
        }
    }

    /// The program was stopped and goes on: a shell that had the terminal meanwhile has changed its modes and its size.
    fn resume(&mut self) {
        terminal::reenter_raw_mode();
        self.resize();
    }
}
