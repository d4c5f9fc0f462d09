//! Builds the frontend on stdin, stdout and stderr. If the server of an attached run ends, the
//! builder keeps the frontend. The run then attaches to another server, or continues alone.
use std::io::{self, IsTerminal};
use std::sync::Arc;

use mio::{Poll, Waker};

use crate::base::event::peer::Peer;
use crate::base::lines::{LineRules, Lines};
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::values::Color;
use crate::shell::config::values::Verbosity;
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::{SIGNALS_TOKEN, wake, watch_stdout};
use crate::shell::os::signals::Signals;
use crate::shell::os::time_zone::local_time_zone;
use crate::shell::session::frontend::exit_policy::{
    DEFAULT_DELIVERY_WAIT_MS, DEFAULT_PEERS_WAIT_MS, ExitPolicy, Retention, SessionMode,
};
use crate::shell::session::frontend::expected_peers::ExpectedPeers;
use crate::shell::session::frontend::frontend::{Frontend, FrontendParts, InputFormat};
use crate::shell::session::frontend::renderer::Renderer;
use crate::shell::state::identity_file::random_u64;
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::stdio::progress_line::ProgressLine;
use crate::shell::stdio::stderr::print_sentence;
use crate::shell::stdio::stdin::Stdin;
use crate::shell::stdio::terminal;
use crate::shell::stdio::terminal::RawMode;
use crate::ui::editor::line_editor::HAS_EDITOR;
use crate::wire::code::{DEFAULT_PORT, Endpoint};
use crate::wire::secret::NetworkKeys;

/// A frontend and the signals that it handles.
pub struct ActiveFrontend {
    /// The frontend.
    pub frontend: Frontend,
    /// The signals, registered with the builder's poll.
    pub signals: Signals,
}

/// Builds a frontend from the options of a run. Keeps the frontend while the run looks for another
/// server.
pub struct FrontendBuilder {
    /// The options of this run.
    pub options: Options,
    /// The command of this run.
    pub mode: SessionMode,
    /// The poll of the main thread.
    pub poll: Poll,
    /// Ends the sleep of the poll from another thread.
    pub waker: Arc<Waker>,
    /// The clock of this run.
    pub clock: Clock,
    /// The frontend of an attached run whose server has ended. `None`: the frontend is in use or
    /// not built yet.
    pub existing: Option<ActiveFrontend>,
    /// The endpoints that the user of an attached run gave with /connect. They outlast the server.
    pub connected_endpoints: Vec<Endpoint>,
    /// The keys of a closed network. They are read once: the secret file may be a pipe.
    pub keys: Option<NetworkKeys>,
    /// The TCP port to listen on, if it is free and the user has not chosen one.
    pub preferred_port: u16,
}

impl FrontendBuilder {
    /// A builder without a frontend.
    pub fn new(
        options: Options,
        mode: SessionMode,
        poll: Poll,
        waker: Arc<Waker>,
        clock: Clock,
        keys: Option<NetworkKeys>,
    ) -> FrontendBuilder {
        FrontendBuilder {
            options,
            mode,
            poll,
            waker,
            clock,
            existing: None,
            connected_endpoints: Vec::new(),
            keys,
            preferred_port: DEFAULT_PORT,
        }
    }

    /// The endpoints that this run dials. Those of /connect come last, so that their ids count.
    pub fn endpoints(&self) -> impl Iterator<Item = &Endpoint> {
        let given = self.options.static_peers.iter();
        given.chain(&self.connected_endpoints)
    }

    /// Takes the existing frontend, or builds one. `uptime_ms`: the uptime of the server to which
    /// the run attaches, in milliseconds; 0 if the run attaches to none. The command `peers`
    /// shortens its wait by this time.
    ///
    /// # Errors
    /// stdin, stdout or the terminal cannot be used, or the system refuses signals or randomness.
    pub fn take_or_build(&mut self, own: &Peer, uptime_ms: u64) -> Result<ActiveFrontend, Failure> {
        if let Some(existing) = self.existing.take() {
            return Ok(existing);
        }
        let frontend = self.build(own, uptime_ms)?;
        let signals = Signals::register(self.poll.registry(), SIGNALS_TOKEN)
            .map_err(|error| Failure::io("signals cannot be registered", &error))?;
        Ok(ActiveFrontend { frontend, signals })
    }

    fn build(&mut self, own: &Peer, uptime_ms: u64) -> Result<Frontend, Failure> {
        let options = &self.options;
        let expected_peers = (options.expect_file.as_ref())
            .map(|path| ExpectedPeers::read(path, own))
            .transpose()?;
        let is_stdout_terminal = io::stdout().is_terminal();
        let has_editor = HAS_EDITOR
            && self.mode == SessionMode::Chat
            && io::stdin().is_terminal()
            && is_stdout_terminal
            && !terminal::is_dumb()
            && !options.json;
        let stdout = self.open_stdout()?;
        // A chat goes on without a reader, because it also sends.
        if matches!(self.mode, SessionMode::Listen | SessionMode::Drain) {
            watch_stdout(self.poll.registry());
        }
        let stdin = self.open_stdin(has_editor)?;
        let mut renderer = create_renderer(options, is_stdout_terminal, own);
        if has_editor {
            renderer = renderer.with_editor(terminal::width_columns(), terminal::abilities());
        }
        let mut exit_policy = ExitPolicy::new(
            self.mode,
            self.run_wait_ms(uptime_ms),
            options.count,
            match options.is_ephemeral() {
                true => Retention::Lost,
                false => Retention::NextRun,
            },
            self.clock.now().time,
        );
        let is_seen = io::stderr().is_terminal() && options.verbosity > Verbosity::Quiet;
        if self.mode == SessionMode::Send && is_seen {
            exit_policy.announce_wait();
        }
        let shows_progress =
            HAS_EDITOR && self.mode == SessionMode::Send && is_seen && !options.json;
        let progress = shows_progress.then(|| ProgressLine::new(self.clock.now().time));
        if expected_peers.is_some() {
            exit_policy.expect_peers(self.clock.now().time, options.wait_ms);
        }
        let text = text_lines(options, &mut exit_policy);
        Ok(Frontend::new(FrontendParts {
            options,
            exit_policy,
            own_id: own.id,
            run: random_u64()?,
            renderer,
            stdout,
            stdin,
            input_format: self.input_format(),
            text,
            to_peer: options.to_peer.clone(),
            resolve_timeout_ms: options.wait_ms.unwrap_or(DEFAULT_DELIVERY_WAIT_MS),
            expected_peers,
            progress,
        }))
    }

    /// A function that ends the sleep of the poll from another thread.
    pub fn wake_callback(&self) -> impl Fn() + Send + Sync + 'static {
        let waker = Arc::clone(&self.waker);
        move || wake(&waker)
    }

    /// Opens stdout; `None` for `sync`, and `send` without --json, which print nothing to stdout.
    fn open_stdout(&self) -> Result<Option<OutputWriter>, Failure> {
        if matches!(self.mode, SessionMode::Send | SessionMode::Sync) && !self.options.json {
            return Ok(None);
        }
        OutputWriter::for_stdout(self.wake_callback())
            .map(Some)
            .map_err(|error| Failure::io("stdout cannot be used", &error))
    }

    /// Begins to read stdin: keys for the editor, or lines. `None` for `listen`, `peers`, `sync`
    /// and `send` with TEXT, which do not read stdin.
    fn open_stdin(&self, has_editor: bool) -> Result<Option<Stdin>, Failure> {
        let reads_lines = match self.mode {
            SessionMode::Chat => true,
            SessionMode::Send => self.options.text.is_none(),
            _ => false,
        };
        let stdin = if HAS_EDITOR && has_editor {
            // `forget` keeps the terminal in raw mode after this function. The end of the session
            // restores the modes.
            RawMode::enter()
                .map(std::mem::forget)
                .map_err(|error| Failure::io("the terminal cannot be set to raw mode", &error))?;
            Stdin::read_keys(self.wake_callback())
        } else if reads_lines {
            Stdin::read_lines(
                self.stdin_rules(),
                self.poll.registry(),
                self.wake_callback(),
            )
        } else {
            return Ok(None);
        };
        stdin
            .map(Some)
            .map_err(|error| Failure::io("stdin cannot be read", &error))
    }

    /// Which lines of stdin are accepted.
    fn stdin_rules(&self) -> LineRules {
        match self.input_format() {
            InputFormat::Json => LineRules {
                is_lossy: self.options.is_lossy,
                ..LineRules::JSON
            },
            InputFormat::Commands | InputFormat::Plain => text_rules(&self.options),
        }
    }

    fn input_format(&self) -> InputFormat {
        let is_typed = self.mode == SessionMode::Chat && io::stdin().is_terminal();
        if self.options.json {
            InputFormat::Json
        } else if self.options.has_slash_commands || is_typed {
            InputFormat::Commands
        } else {
            InputFormat::Plain
        }
    }

    /// The value of --wait for this run, in milliseconds. `peers` waits `uptime_ms` less, because
    /// the server has already looked for peers. Expected ones may already be here after the default
    /// time.
    fn run_wait_ms(&self, uptime_ms: u64) -> Option<u64> {
        let wait_ms = self.options.wait_ms;
        match self.mode {
            SessionMode::Peers => {
                let look_ms = wait_ms.unwrap_or(DEFAULT_PEERS_WAIT_MS);
                let look_ms = match self.options.expect_file {
                    Some(_) => look_ms.min(DEFAULT_PEERS_WAIT_MS),
                    None => look_ms,
                };
                Some(look_ms.saturating_sub(uptime_ms))
            }
            _ => wait_ms,
        }
    }
}

/// Creates the renderer for the events of a run. `is_terminal`: whether stdout is a terminal.
pub fn create_renderer(options: &Options, is_terminal: bool, own: &Peer) -> Renderer {
    let palette = terminal::palette(options.color);
    let text = || Renderer::for_terminal(own, local_time_zone(), palette);
    let mut renderer = match (options.json, is_terminal) {
        (true, _) => Renderer::json(),
        (false, true) => text().with_screen(terminal::width_columns()),
        (false, false) if options.color == Color::Always => text(),
        (false, false) => Renderer::for_pipe(own),
    };
    renderer.set_bell(options.has_bell);
    match &options.line_format {
        Some(format) => renderer.with_line_format(format.clone()),
        None => renderer,
    }
}

/// Which lines of text are accepted.
fn text_rules(options: &Options) -> LineRules {
    LineRules {
        is_lossy: options.is_lossy,
        is_block: options.is_block,
        ..LineRules::TEXT
    }
}

/// Splits TEXT into lines. Leaves out each line that cannot be sent, and reports the line on
/// stderr. `None` if no TEXT was given.
fn text_lines(options: &Options, exit_policy: &mut ExitPolicy) -> Option<Lines> {
    let (mut lines, rules) = (Lines::default(), text_rules(options));
    let mut push = |what: &str, line: &[u8]| {
        if let Err(error) = lines.push_by(line, rules) {
            exit_policy.record_refusal();
            print_sentence(&format!("{what}: {error}"));
        }
    };
    match (options.is_block, options.text.as_deref()) {
        (true, Some([])) => {}
        (true, Some(text)) => push("the block", text.strip_suffix(b"\n").unwrap_or(text)),
        (true, None) => {}
        (false, _) => {
            let lines = options.text_lines().enumerate();
            lines.for_each(|(i, line)| push(&format!("line {}", i + 1), line));
        }
    }
    options.text.is_some().then_some(lines)
}
