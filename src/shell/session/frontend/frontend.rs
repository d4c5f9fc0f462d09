//! The user's side of a session: requests go out, events come in. The user is a person or a script.
//! The session is in this process, or in the program that runs in the same directory.
use std::collections::VecDeque;
use std::io::{self, IsTerminal};
use std::time::Instant;

use crate::base::event::command::Command;
use crate::base::identity::PeerId;
use crate::base::lines::Lines;
use crate::base::name::{FolderName, Nick, PeerSelector, Room};
use crate::base::presence::typing::TypingTarget;
use crate::base::table::SortedMap;
use crate::base::text::line_form::LineForm;
use crate::base::time::{Now, Time, WallTime};
use crate::node::backpressure::{Backpressure, LineHold};
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::options::Options;
use crate::shell::config::settings::Settings;
use crate::shell::config::values::{Seek, Verbosity};
use crate::shell::os::service_manager::ServiceManager;
use crate::shell::os::signals::Signal;
use crate::shell::session::frontend::command_queue::CommandQueue;
use crate::shell::session::frontend::drain::Drain;
use crate::shell::session::frontend::exit_policy::{ExitPolicy, Retention, SessionMode};
use crate::shell::session::frontend::expected_peers::ExpectedPeers;
use crate::shell::session::frontend::history_pages::HistoryPages;
use crate::shell::session::frontend::missed_lines::MissedLines;
use crate::shell::session::frontend::pending::PendingRequests;
use crate::shell::session::frontend::printed::Printed;
use crate::shell::session::frontend::renderer::Renderer;
use crate::shell::state::typed_lines_file::TypedLinesFile;
use crate::shell::stdio::line_splitter::LineBlock;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::stdio::progress_line::ProgressLine;
use crate::shell::stdio::stderr::Stderr;
use crate::shell::stdio::stdin::Stdin;
use crate::shell::stdio::terminal;
use crate::ui::command::UserCommand;
use crate::ui::editor::line_editor::HAS_EDITOR;
use crate::ui::editor::prompt::Prompt;
use crate::ui::guests::lsnp_commands::LsnpCommands;
use crate::ui::json;
use crate::ui::line_filter::LineFilter;
use crate::ui::request::{Listen, Request, RequestKind};
use crate::ui::session_event::{DeliveryReport, FolderCursor, Ready};

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

/// Lines of stdin that cannot be published yet.
pub(super) struct BlockedInput {
    pub(super) block: LineBlock,
    /// Until when backpressure holds them up, unless it ends before. `None`: they wait for the
    /// store alone.
    pub(super) held_until: Option<Time>,
}

impl BlockedInput {
    /// Whether backpressure still holds them up.
    pub(super) fn is_held(&self, backpressure: Backpressure) -> bool {
        self.held_until.is_some() && backpressure.holds(self.block.lines.len())
    }
}

/// The state of a frontend. Its methods are in the files of this folder, by subject.
pub struct Frontend {
    /// Decides when the run ends.
    pub exit_policy: ExitPolicy,
    /// Renders events as text or JSON.
    pub renderer: Renderer,
    /// The writer of stderr.
    pub stderr: Stderr,
    /// Requests without an answer.
    pub pending: PendingRequests,
    /// Which lines of the transcript are printed.
    pub(super) filter: LineFilter,
    /// How far stdout has taken the lines of each folder.
    pub(super) printed: Printed,
    /// The writer of stdout; `None` for `send` without --json, which prints nothing to stdout.
    pub(super) stdout: Option<OutputWriter>,
    /// The reader of stdin; `None` if the command does not read stdin, and after the end of input.
    pub(super) stdin: Option<Stdin>,
    /// How lines of stdin are parsed.
    pub(super) input_format: InputFormat,
    /// Understands the commands of LSNP's users. `None`: the session does not speak LSNP.
    pub(super) lsnp_commands: Option<LsnpCommands>,
    /// The file of the lines that are typed. `None`: they are not kept.
    pub(super) typed_lines: Option<TypedLinesFile>,
    /// Whether typed direct messages are kept, too.
    pub(super) keeps_typed_direct: bool,
    /// Option --need: how many peers must acknowledge the lines.
    pub(super) required_peers: Option<u64>,
    /// The peers that must be here: `peers --expect`.
    pub(super) expected_peers: Option<ExpectedPeers>,
    /// How far the run is, for somebody at the terminal of stderr. `None`: nobody is there.
    pub(super) progress: Option<ProgressLine>,
    /// For whom the user was last said to type, and when.
    pub(super) typing_said: Option<(TypingTarget, Instant)>,
    /// The settings that /set shows and changes.
    pub(super) settings: Settings,
    /// Our name, as far as this frontend knows.
    pub(super) own_nick: Nick,
    /// What the prompt says.
    pub(super) prompt: Prompt,
    /// Lines that were said while the user was away. `None`: all lines are shown as they come.
    pub(super) missed: Option<MissedLines>,
    /// Which lines the next /history shows.
    pub(super) history_pages: HistoryPages,
    /// What the session is asked to emit.
    pub(super) listen: Listen,
    /// Whether stdin was a terminal at the start. Stays true after a hangup.
    pub(super) is_stdin_terminal: bool,
    /// Whether stdout was a terminal at the start.
    pub(super) is_stdout_terminal: bool,
    /// The sentences to print to stderr once the session is ready.
    pub(super) announcement: Vec<String>,
    /// What systemd shows once the session is ready.
    pub(super) service_status: String,
    pub(super) service_manager: ServiceManager,
    /// Whether the ready line was printed.
    pub(super) is_ready: bool,
    /// Whether the command `peers` has finished its wait and requested the list.
    pub(super) has_listed_peers: bool,
    /// Requests that the session must get before all commands.
    pub(super) outgoing: VecDeque<Request>,
    /// Commands that wait to be passed to the session.
    pub(super) commands: CommandQueue,
    /// Whether a script has given /quit. The commands after it are not executed.
    pub(super) has_quit: bool,
    /// The id of the session's identity.
    pub(super) own_id: PeerId,
    /// The rooms of the session, with the current one first.
    pub(super) rooms: Vec<Room>,
    /// Where the next session continues in each folder.
    pub(super) cursors: SortedMap<FolderName, FolderCursor>,
    /// Lines read from stdin that wait for the store, or a little for recipients.
    pub(super) blocked_input: Option<BlockedInput>,
    pub(super) line_hold: LineHold,
    /// Whether the input has ended, but the session was not asked to await delivery yet.
    pub(super) is_finish_due: bool,
    /// How far the lines are delivered, as the session reported last.
    pub(super) delivery: DeliveryReport,
    /// Whether lines must wait, because nobody is linked and the store is full.
    pub(super) is_blocked: bool,
    /// Whether the user was warned that a part of the history cannot be read.
    pub(super) is_read_error_reported: bool,
    /// Replies for which stdout had no room. While replies wait here, no further input is handled.
    pub(super) pending_output: Vec<u8>,
    /// How many details were not reported because replies wait.
    pub(super) dropped_details: u64,
    /// Whether the editor's line has changed while stdout had no room.
    pub(super) is_redraw_due: bool,
    /// The wait for stdout after the end of the run; `None` before this wait begins.
    pub(super) drain: Option<Drain>,
    /// The wait for stdout after the deadline of a run that must learn first what is delivered.
    /// `None`: no such wait goes on.
    pub(super) late_drain: Option<Drain>,
    /// The beginning of the turn.
    pub(super) now: Time,
    /// The wall clock at the beginning of the turn.
    pub(super) today: WallTime,
}

/// The arguments of [`Frontend::new`].
pub struct FrontendParts<'a> {
    /// The options of the run.
    pub options: &'a Options,
    /// See [`Frontend::exit_policy`].
    pub exit_policy: ExitPolicy,
    /// The id of this directory's identity.
    pub own_id: PeerId,
    /// A random number of this run.
    pub run: u64,
    /// See [`Frontend::renderer`].
    pub renderer: Renderer,
    /// The writer of stdout; `None` for `send` without --json.
    pub stdout: Option<OutputWriter>,
    /// The reader of stdin; `None` if the command does not read stdin.
    pub stdin: Option<Stdin>,
    /// How lines of stdin are parsed.
    pub input_format: InputFormat,
    /// The lines of TEXT; `None` if the command has no TEXT.
    pub text: Option<Lines>,
    /// Option --to of `send`: the recipient of all lines.
    pub to_peer: Option<PeerSelector>,
    /// Time limit for finding a recipient, in milliseconds.
    pub resolve_timeout_ms: u64,
    /// See `Frontend::expected_peers`.
    pub expected_peers: Option<ExpectedPeers>,
    /// See `Frontend::progress`.
    pub progress: Option<ProgressLine>,
}

impl Frontend {
    /// A frontend that has printed nothing yet. Queues the lines of TEXT.
    pub fn new(parts: FrontendParts<'_>) -> Frontend {
        let options = parts.options;
        let is_stdin_terminal = io::stdin().is_terminal();
        // A script and `send` wait until the recipient is found. A person who chats gets an error
        // at once.
        let service_manager = match parts.exit_policy.mode.is_transient() {
            // The unit in which a short command runs is another program's.
            true => ServiceManager::default(),
            false => {
                ServiceManager::from_environment(|name| std::env::var_os(name), std::process::id())
            }
        };
        let is_typed = is_stdin_terminal && parts.exit_policy.mode == SessionMode::Chat;
        let resolve_timeout_ms = match is_typed {
            true => 0,
            false => parts.resolve_timeout_ms,
        };
        let form = match options.is_block {
            true => LineForm::Block,
            false => LineForm::Text,
        };
        let mut commands = CommandQueue::new(parts.to_peer, form, resolve_timeout_ms);
        if let Some(lines) = parts.text.filter(|lines| !lines.is_empty()) {
            commands.push_lines(lines);
        }
        let directory = options.directory.as_deref();
        let is_for_person = HAS_EDITOR
            && parts.renderer.has_screen()
            && parts.exit_policy.mode == SessionMode::Chat
            && options.filter.is_empty();
        let missed = is_for_person.then(MissedLines::default);
        let mut frontend = Frontend {
            typed_lines: directory
                .filter(|_| parts.renderer.has_editor())
                .map(TypedLinesFile::new),
            keeps_typed_direct: options.history_direct,
            exit_policy: parts.exit_policy,
            printed: Printed::default(),
            filter: options.filter.clone(),
            renderer: parts.renderer,
            stderr: Stderr::new(options.verbosity),
            pending: PendingRequests::new(parts.run),
            stdout: parts.stdout,
            stdin: parts.stdin,
            input_format: parts.input_format,
            lsnp_commands: options.lsnp.then(LsnpCommands::default),
            required_peers: options.need,
            expected_peers: parts.expected_peers,
            progress: parts.progress,
            typing_said: None,
            settings: Settings::new(options, &|name| std::env::var_os(name)),
            own_nick: options.username.clone(),
            prompt: Prompt::default(),
            missed,
            history_pages: HistoryPages::default(),
            listen: Listen {
                folder: None,
                after: None,
                is_reader: true,
                reader_name: options.reading.reader.clone(),
                is_batch: true,
                has_echo: options.echo,
                only_new: options.count.is_some(),
                seeks_end: options.reading.seek == Some(Seek::End),
                backlog: match options.reading.seek {
                    Some(Seek::Start) => u64::MAX,
                    _ => options.backlog,
                },
            },
            is_stdin_terminal,
            is_stdout_terminal: io::stdout().is_terminal(),
            announcement: Vec::new(),
            service_status: String::new(),
            service_manager,
            is_ready: false,
            has_listed_peers: false,
            outgoing: VecDeque::new(),
            commands,
            has_quit: false,
            own_id: parts.own_id,
            rooms: options.rooms.clone(),
            cursors: SortedMap::new(),
            blocked_input: None,
            line_hold: LineHold::default(),
            is_finish_due: false,
            delivery: DeliveryReport::default(),
            is_blocked: false,
            is_read_error_reported: false,
            pending_output: Vec::new(),
            dropped_details: 0,
            is_redraw_due: false,
            drain: None,
            late_drain: None,
            now: Time(0),
            today: WallTime::default(),
        };
        frontend.load_typed_lines();
        frontend
    }

    /// Begins a new session, in this process or attached. Enters the rooms, and continues to listen
    /// where the last session stopped. Repeats the requests that the last session did not answer.
    pub fn begin(&mut self, ready: &Ready) {
        self.show_missed();
        self.own_nick = ready.me.nick.clone();
        if ready.speaks_lsnp {
            self.lsnp_commands.get_or_insert_default();
        }
        self.outgoing.clear();
        self.pending.drop_setup();
        let requests = self.pending.resend();
        let direct = FolderName::direct();
        let after = self.cursors.get(&direct).cloned();
        let is_first = after.is_none();
        if is_first {
            // No session has said yet where listening begins.
            self.cursors = SortedMap::new();
        } else {
            // Before the rooms, so that they are listened to as soon as they are joined.
            self.push_setup(RequestKind::Listen(Listen {
                folder: Some(direct.clone()),
                after,
                ..self.listen.clone()
            }));
        }
        // The room that is entered last becomes the current one.
        for room in self.rooms.clone().into_iter().rev() {
            let after = self.cursors.get(&FolderName::from(&room)).cloned();
            let command = UserCommand::Core(Command::Join(room));
            self.push_setup(match after {
                Some(after) => RequestKind::Resend { command, after },
                None => command.into(),
            });
        }
        match self.is_printing_transcript() {
            // After the rooms, because they have one backlog together.
            true if is_first => self.push_setup(RequestKind::Listen(self.listen.clone())),
            // The answer to `Listen` tells where the folder ends.
            true => {}
            false => self.push_setup(RequestKind::FindEnd(direct)),
        }
        self.outgoing.extend(requests);
        if ready.has_linked_peer {
            self.exit_policy.record_linked_peer();
        }
        self.delivery.delivery.is_settled = false;
        self.is_finish_due |= self.exit_policy.has_input_ended();
        self.announce_ready(ready);
    }

    fn push_setup(&mut self, kind: RequestKind) {
        let is_attached = self.is_attached();
        let request = self.pending.push(kind, true, is_attached);
        self.outgoing.push_back(request);
    }

    /// Whether the session is in another program.
    pub fn is_attached(&self) -> bool {
        self.exit_policy.retention == Retention::Server
    }

    /// Shows the current room in the prompt. The caller redraws the editor's line.
    pub(super) fn show_current_room(&mut self) {
        self.prompt.room = self.rooms.first().cloned();
        self.renderer.set_current_room(self.rooms.first());
        self.renderer.set_prompt(&self.prompt);
    }

    /// Redraws the prompt if it changes.
    pub(super) fn change_prompt(&mut self, change: impl FnOnce(&mut Prompt)) {
        let before = self.prompt.clone();
        change(&mut self.prompt);
        if self.prompt != before {
            self.renderer.set_prompt(&self.prompt);
            self.redraw_editor();
        }
    }

    /// Queues the report for stderr that the session is ready. With --json, the first call also
    /// prints the ready line to stdout. Later calls follow when a new session replaces the last
    /// one.
    fn announce_ready(&mut self, ready: &Ready) {
        // Nobody will say of those of an earlier session that they have ended.
        self.prompt.typing.clear();
        let is_first = !std::mem::replace(&mut self.is_ready, true);
        self.show_current_room();
        if !self.exit_policy.mode.prints_transcript() {
            return;
        }
        let (own, port) = (&ready.me, ready.port);
        self.service_status = format!("ready as {own} on {port}");
        if self.renderer.is_json() && is_first {
            let mut line = Vec::new();
            json::append_ready(own, port, &mut line);
            self.print_lines(line);
        }
        if self.stderr.is_enabled(Verbosity::Normal) {
            let mut sentences = vec![self.service_status.clone()];
            if self.renderer.has_editor() && is_first {
                let hint = "type a line to say it; /help lists the commands, Ctrl-D leaves";
                sentences.push(hint.to_owned());
            }
            self.announcement = sentences;
        }
    }

    /// Says that the session is ready, once it is in its rooms and listens there.
    pub(super) fn announce_if_ready(&mut self) {
        if self.is_ready && !self.pending.has_setup() {
            self.service_manager.notify_ready(&self.service_status);
        }
        if !self.announcement.is_empty() && !self.pending.has_setup() {
            for sentence in std::mem::take(&mut self.announcement) {
                self.warn(&sentence);
            }
        }
    }

    /// Whether this frontend prints the transcript to stdout.
    pub fn is_printing_transcript(&self) -> bool {
        self.stdout.is_some() && self.exit_policy.mode.prints_transcript()
    }

    /// The rooms of the session, with the current one first.
    pub fn rooms(&self) -> &[Room] {
        &self.rooms
    }

    /// The time at which this frontend needs a turn even without an event; `None`: it needs none.
    pub fn deadline(&self) -> Option<Time> {
        let drain = self.drain.or(self.late_drain);
        let drained = drain.map(|drain| drain.deadline);
        drained.or_else(|| self.exit_policy.deadline())
    }

    /// The time at which this frontend has something to do. At [`Frontend::deadline`], the run may
    /// have to end. A run that goes on then waits for an event.
    pub fn next_turn_at(&self) -> Option<Time> {
        let missed = self.missed.as_ref().filter(|_| HAS_EDITOR);
        let missed = missed.and_then(MissedLines::deadline);
        let ping = self.service_manager.deadline();
        let note = self.exit_policy.wait_note_at();
        let progress = self.progress.as_ref().filter(|_| HAS_EDITOR);
        let progress = progress.and_then(ProgressLine::deadline);
        let held = self.blocked_input.as_ref();
        let held = held.and_then(|input| input.held_until);
        let deadline = self.deadline().filter(|at| *at > self.now);
        let times = [deadline, missed, ping, note, progress, held];
        times.into_iter().flatten().min()
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

    /// Sets raw mode and the width again, after this program was stopped and continues. The shell
    /// has changed the modes, and the terminal may have another size.
    pub(super) fn resume(&mut self) {
        terminal::reenter_raw_mode();
        self.renderer.reenter();
        self.resize();
    }

    /// Begins a turn. Sends a sign of life first, whatever the turn then waits for.
    pub fn begin_turn(&mut self, now: Now) {
        (self.now, self.today) = (now.time, now.wall);
        self.service_manager.ping(now.time);
        if let Some(missed) = self.missed.as_mut().filter(|_| HAS_EDITOR) {
            missed.begin_turn(now);
        }
    }
}
