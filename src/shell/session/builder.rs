//! The place of the person or script: the same, whether the program runs by itself or acts through another.
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use mio::{Poll, Waker};

use crate::base::event::Peer;
use crate::base::lines::Lines;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::values::Color;
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::{SIGNALS_TOKEN, wake};
use crate::shell::os::signals::Signals;
use crate::shell::session::exit_policy::{
    DEFAULT_DELIVERY_WAIT_MS, DEFAULT_PEERS_WAIT_MS, ExitPolicy, SessionMode,
};
use crate::shell::session::history_worker::HistoryWorker;
use crate::shell::session::renderer::Renderer;
use crate::shell::session::session;
use crate::shell::session::session::{InputFormat, Session};
use crate::shell::stdio::output_writer::OutputWriter;
use crate::shell::stdio::stdin;
use crate::shell::stdio::stdin::Stdin;
use crate::shell::stdio::terminal;
use crate::shell::stdio::terminal::RawMode;
use crate::ui::text;

pub struct SessionBuilder {
    pub options: Options,
    pub mode: SessionMode,
    pub poll: Poll,
    pub waker: Arc<Waker>,
    pub clock: Clock,
    /// Whoever sits here since an earlier program.
    pub existing_session: Option<(Session, Signals)>,
}

impl SessionBuilder {
    pub fn new(
        options: Options,
        purpose: SessionMode,
        poll: Poll,
        waker: Arc<Waker>,
        clock: Clock,
    ) -> SessionBuilder {
        SessionBuilder {
            options,
            mode: purpose,
            poll,
            waker,
            clock,
            existing_session: None,
        }
    }

    /// The session, a new one unless it goes on from an earlier program. `age`: milliseconds for which the program it meets others by has run.
    ///
    /// # Errors
    /// stdin, stdout or the terminal cannot be used, or the system refuses signals.
    pub fn take_or_build(&mut self, me: &Peer, age: u64) -> Result<(Session, Signals), Failure> {
        if let Some(seat) = self.existing_session.take() {
            return Ok(seat);
        }
        let session = build_session(self, me, age)?;
        let signals = Signals::register(self.poll.registry(), SIGNALS_TOKEN)
            .map_err(|error| Failure::io("signals cannot be had", &error))?;
        Ok((session, signals))
    }
}

fn build_session(desk: &SessionBuilder, me: &Peer, age: u64) -> Result<Session, Failure> {
    let (options, purpose) = (&desk.options, desk.mode);
    let waking = || {
        let waker = Arc::clone(&desk.waker);
        move || wake(&waker)
    };
    let (typing, reading) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let editing = purpose == SessionMode::Chat && typing && reading && !options.json;
    let printer = match purpose {
        // Its stdout has nothing but what is wrong with a script's lines.
        SessionMode::Send if !options.json => None,
        _ => Some(
            OutputWriter::open(waking())
                .map_err(|error| Failure::io("stdout cannot be used", &error))?,
        ),
    };
    let reads =
        purpose == SessionMode::Chat || purpose == SessionMode::Send && options.text.is_none();
    let keyboard: Option<Stdin> = if editing {
        RawMode::enter()
            .map(std::mem::forget)
            .map_err(|error| Failure::io("the terminal cannot be set up", &error))?;
        Some(
            stdin::spawn_key_reader(waking())
                .map_err(|error| Failure::io("stdin cannot be read", &error))?,
        )
    } else if reads {
        Some(
            stdin::spawn_line_reader(waking())
                .map_err(|error| Failure::io("stdin cannot be read", &error))?,
        )
    } else {
        None
    };
    let face = create_renderer(options, reading, me);
    let face = if editing {
        face.with_editor(terminal::width_columns())
    } else {
        face
    };
    let language = if options.json {
        InputFormat::Json
    } else if options.has_slash_commands || typing && purpose == SessionMode::Chat {
        InputFormat::Commands
    } else {
        InputFormat::Plain
    };
    let wait = match purpose {
        // Who has looked round for that long knows.
        SessionMode::Peers => Some(
            options
                .wait_ms
                .unwrap_or(DEFAULT_PEERS_WAIT_MS)
                .saturating_sub(age),
        ),
        _ => options.wait_ms,
    };
    let mut goal = ExitPolicy::new(
        purpose,
        wait,
        options.count,
        options.is_ephemeral(),
        desk.clock.now().time,
    );
    let text = text_lines(options, &mut goal)?;
    Ok(Session::new(session::SessionParts {
        exit_policy: goal,
        own_id: me.id,
        renderer: face,
        echo: options.echo,
        stdout: printer,
        stdin: keyboard,
        verbosity: options.verbosity,
        input_format: language,
        required_peers: options.need,
        backlog: options.backlog,
        text,
        history_worker: HistoryWorker::new(Arc::new(waking())),
        to_peer: options.to_peer.clone(),
        wait_ms: options.wait_ms.unwrap_or(DEFAULT_DELIVERY_WAIT_MS),
    }))
}

/// As what is shown on stdout, which is a terminal if somebody is `reading`.
pub fn create_renderer(options: &Options, reading: bool, me: &Peer) -> Renderer {
    match (options.json, reading) {
        (true, _) => Renderer::json(),
        (false, true) => Renderer::for_terminal(me, options.color != Color::Never),
        (false, false) if options.color == Color::Always => Renderer::for_terminal(me, true),
        (false, false) => Renderer::for_pipe(me),
    }
}

/// The lines of TEXT. One that cannot be said is told of and left out, as of stdin.
fn text_lines(options: &Options, goal: &mut ExitPolicy) -> Result<Option<Lines>, Failure> {
    let mut lines = Lines::default();
    for (i, line) in options.text_lines().enumerate() {
        if let Err(error) = lines.push(line) {
            goal.record_refusal();
            let _ = writeln!(
                io::stderr(),
                "{}",
                text::format_diagnostic(&format!("line {}: {error}", i + 1))
            );
        }
    }
    Ok(options.text.is_some().then_some(lines))
}
