//! The place of the person or script: the same, whether the program runs by itself or acts through another.
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;

use mio::{Poll, Waker};

use crate::base::event::Peer;
use crate::base::lines::Lines;
use crate::shell::config::exit_status::FAILED;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::values::Color;
use crate::shell::os::clock::Clock;
use crate::shell::os::signals::Signals;
use crate::shell::runtime::event_loop::SIGNALS;
use crate::shell::session::exit_policy::{Goal, LOOK, Purpose, WAIT};
use crate::shell::session::history_query::Lookback;
use crate::shell::session::renderer::Face;
use crate::shell::session::session;
use crate::shell::session::session::{Language, Session};
use crate::shell::stdio::stderr::Verbosity;
use crate::shell::stdio::stdin;
use crate::shell::stdio::stdin::{Keyboard, RawMode};
use crate::shell::stdio::stdout::Printer;
use crate::ui::text;

pub struct Desk {
    pub options: Options,
    pub purpose: Purpose,
    pub poll: Poll,
    pub waker: Arc<Waker>,
    pub clock: Clock,
    /// Whoever sits here since an earlier program.
    pub seat: Option<(Session, Signals)>,
}

impl Desk {
    pub fn new(
        options: Options,
        purpose: Purpose,
        poll: Poll,
        waker: Arc<Waker>,
        clock: Clock,
    ) -> Desk {
        Desk {
            options,
            purpose,
            poll,
            waker,
            clock,
            seat: None,
        }
    }

    /// The session, a new one unless it goes on from an earlier program. `age`: milliseconds for which the program it meets others by has run.
    ///
    /// # Errors
    /// stdin, stdout or the terminal cannot be used, or the system refuses signals.
    pub fn sit(&mut self, me: &Peer, age: u64) -> Result<(Session, Signals), Failure> {
        if let Some(seat) = self.seat.take() {
            return Ok(seat);
        }
        let session = session(self, me, age)?;
        let signals = Signals::register(self.poll.registry(), SIGNALS)
            .map_err(|error| cannot("signals cannot be had", &error))?;
        Ok((session, signals))
    }
}

/// Ends the poll's sleep.
pub fn wake(waker: &Waker) {
    // It fails only when the poll is gone, and the program with it.
    let _ = waker.wake();
}

/// What cannot be had or done.
pub fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(FAILED, format!("{what}: {error}"))
}

fn session(desk: &Desk, me: &Peer, age: u64) -> Result<Session, Failure> {
    let (options, purpose) = (&desk.options, desk.purpose);
    let waking = || {
        let waker = Arc::clone(&desk.waker);
        move || wake(&waker)
    };
    let (typing, reading) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let editing = purpose == Purpose::Chat && typing && reading && !options.json;
    let printer = match purpose {
        // Its stdout has nothing but what is wrong with a script's lines.
        Purpose::Send if !options.json => None,
        _ => Some(
            Printer::stdout(waking()).map_err(|error| cannot("stdout cannot be used", &error))?,
        ),
    };
    let reads = purpose == Purpose::Chat || purpose == Purpose::Send && options.text.is_none();
    let keyboard: Option<Keyboard> = if editing {
        RawMode::enter()
            .map(std::mem::forget)
            .map_err(|error| cannot("the terminal cannot be set up", &error))?;
        Some(stdin::keys(waking()).map_err(|error| cannot("stdin cannot be read", &error))?)
    } else if reads {
        Some(stdin::lines(waking()).map_err(|error| cannot("stdin cannot be read", &error))?)
    } else {
        None
    };
    let face = face(options, reading, me);
    let face = if editing {
        face.with_editor(session::columns())
    } else {
        face
    };
    let language = if options.json {
        Language::Json
    } else if options.commands || typing && purpose == Purpose::Chat {
        Language::Commands
    } else {
        Language::Plain
    };
    let verbosity = match (options.quiet, options.debug) {
        (_, true) => Verbosity::Debug,
        (true, false) => Verbosity::Quiet,
        (false, false) => Verbosity::Normal,
    };
    let wait = match purpose {
        // Who has looked round for that long knows.
        Purpose::Peers => Some(options.wait.unwrap_or(LOOK).saturating_sub(age)),
        _ => options.wait,
    };
    let mut goal = Goal::new(
        purpose,
        wait,
        options.count,
        options.ephemeral(),
        desk.clock.now().time,
    );
    let text = text_lines(options, &mut goal)?;
    Ok(Session::new(session::Parts {
        goal,
        own: me.id,
        face,
        echo: options.echo,
        printer,
        keyboard,
        verbosity,
        language,
        need: options.need,
        backlog: options.backlog,
        text,
        lookback: Lookback::new(Arc::new(waking())),
        to: options.to.clone(),
        wait: options.wait.unwrap_or(WAIT),
    }))
}

/// As what is shown on stdout, which is a terminal if somebody is `reading`.
pub fn face(options: &Options, reading: bool, me: &Peer) -> Face {
    match (options.json, reading) {
        (true, _) => Face::json(),
        (false, true) => Face::terminal(me, options.color != Color::Never),
        (false, false) if options.color == Color::Always => Face::terminal(me, true),
        (false, false) => Face::pipe(me),
    }
}

/// The lines of TEXT. One that cannot be said is told of and left out, as of stdin.
fn text_lines(options: &Options, goal: &mut Goal) -> Result<Option<Lines>, Failure> {
    let mut lines = Lines::default();
    for (i, line) in options.lines().enumerate() {
        if let Err(error) = lines.push(line) {
            goal.refuse();
            let _ = writeln!(
                io::stderr(),
                "{}",
                text::complaint(&format!("line {}: {error}", i + 1))
            );
        }
    }
    Ok(options.text.is_some().then_some(lines))
}
