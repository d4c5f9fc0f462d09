//! The program: command line in, exit status out; what stands between is put together here.
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::Arc;

use crossbeam_channel::{Receiver, unbounded};
use mio::{Poll, Waker};

use super::archive::Archive;
use super::arguments::Verb;
use super::clock::Clock;
use super::diagnostics::Verbosity;
use super::event_loop::{self, EventLoop};
use super::face::Face;
use super::failure::Failure;
use super::goal::{Goal, Purpose};
use super::help::{HELP, VERSION};
use super::history::{self, Lookback, Query};
use super::identity_file::random;
use super::interfaces;
use super::keyboard::{self, RawMode, Typed};
use super::options::{self, Options};
use super::printer::Printer;
use super::quota::Limits;
use super::resolver::{self, Name};
use super::session::{self, Language, Session};
use super::state::{Opened, State, own_identity, read_secret};
use super::status::{CLOSED_OUTPUT, CONFIG, DONE, FAILED};
use super::store::Store;
use super::streams::Streams;
use super::values::{Color, Since};
use crate::base::batch::Lines;
use crate::base::event::Peer;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::Nick;
use crate::base::time::Wall;
use crate::node::hub::Setup;
use crate::node::node::Node;
use crate::ui::{json, text};
use crate::wire::code::{Code, DEFAULT_PORT};
use crate::wire::secret::{self, Secret};

/// Runs to the end. Gives the exit status.
pub fn main() -> u8 {
    match options::of_process().and_then(run) {
        Ok(status) => status,
        Err(failure) => {
            keyboard::restore();
            // Nobody is left to hear that stderr is closed.
            let _ = writeln!(io::stderr(), "{}", text::complaint(&failure.sentence));
            failure.status
        }
    }
}

fn run(options: Options) -> Result<u8, Failure> {
    match options.command {
        Verb::Help => print(HELP),
        Verb::Version => print(VERSION),
        Verb::Keygen => {
            let mut random = random()?;
            let key = secret::keygen(&random);
            secret::wipe(&mut random);
            print(&format!("{key}\n"))
        }
        Verb::Whoami => whoami(&options),
        Verb::Chat => converse(&options, Purpose::Chat),
        Verb::Send => converse(&options, Purpose::Send),
        Verb::Listen => converse(&options, Purpose::Listen),
        Verb::Peers => converse(&options, Purpose::Peers),
        Verb::History => history(&options),
    }
}

fn print(text: &str) -> Result<u8, Failure> {
    printed(write(text.as_bytes()))
}

fn write(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

/// To stdout; a reader that went away before the end is no failure worth words.
fn printed(done: io::Result<()>) -> Result<u8, Failure> {
    match done {
        Ok(()) => Ok(DONE),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(CLOSED_OUTPUT),
        Err(error) => Err(cannot("stdout cannot be written", &error)),
    }
}

fn cannot(what: &str, error: &io::Error) -> Failure {
    Failure::new(FAILED, format!("{what}: {error}"))
}

fn whoami(options: &Options) -> Result<u8, Failure> {
    let mut warnings = Vec::new();
    let identity = own_identity(options, &mut warnings)?;
    warn(&warnings);
    let me = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    let port = options
        .port
        .filter(|port| *port != 0)
        .unwrap_or(DEFAULT_PORT);
    let usable = interfaces::list(&options.interfaces)
        .map_err(|error| cannot("the interfaces cannot be listed", &error))?;
    let addresses = usable
        .iter()
        .filter(|i| !i.loopback)
        .flat_map(|i| &i.addresses)
        .map(|(ip, _)| (*ip, port).into());
    let code = Code::new(me.id, &addresses.collect::<Vec<_>>()).to_string();
    if options.json {
        let mut line = Vec::new();
        json::append_self(&me, Some(&code), &mut line);
        return print(&String::from_utf8_lossy(&line));
    }
    let mut out = format!(
        "name: {me}\nid: {}\nfingerprint: {}\ncode: {code}\n",
        me.id,
        me.id.fingerprint()
    );
    if options.qr {
        out.push_str(&picture(&code)?);
    }
    print(&out)
}

/// The stored lines, whether a program runs in the directory or not. Nothing is made, locked or mended.
fn history(options: &Options) -> Result<u8, Failure> {
    let mut warnings = Vec::new();
    let secret = secret(options, &mut warnings)?;
    if !options.quiet {
        warn(&warnings);
    }
    let Some(directory) = &options.directory else {
        return Ok(DONE);
    };
    let network = network(secret.as_ref());
    let now = Clock::start().now().wall;
    let query = Query {
        rooms: options.rooms.clone(),
        since: options.since.map(|since| match since {
            Since::At(at) => at,
            Since::Ago(ms) => Wall(now.0.saturating_sub(ms)),
        }),
        search: options.search.clone(),
        last: options.count,
    };
    // Who reads plays no part: no line shows it.
    let nobody = Peer {
        id: PeerId([0; 32]),
        nick: Nick::foreign(""),
    };
    let mut face = face(options, io::stdout().is_terminal(), &nobody);
    let archive = Archive::Disk(directory.join("history").join(network.folder()));
    let mut stdout = Ok(());
    let shown = history::show(&archive, network, &query, &mut face, now, &mut |out| {
        stdout = write(out);
        out.clear();
        match &stdout {
            Ok(()) => Ok(()),
            Err(error) => Err(error.kind().into()),
        }
    });
    match (stdout, shown) {
        (Ok(()), Err(error)) => Err(Failure::config(format!(
            "the history in {} cannot be read: {error}",
            directory.display()
        ))),
        (stdout, _) => printed(stdout),
    }
}

/// A QR code of half blocks, two modules high each, with the quiet border that scanners need; dark on light.
fn picture(text: &str) -> Result<String, Failure> {
    let code = qrcodegen::QrCode::encode_text(text, qrcodegen::QrCodeEcc::Low)
        .map_err(|_| Failure::new(FAILED, "the code is too long for a picture"))?;
    let (size, border) = (code.size(), 2);
    let mut out = String::new();
    for y in (-border..size + border).step_by(2) {
        for x in -border..size + border {
            out.push(match (code.get_module(x, y), code.get_module(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        out.push('\n');
    }
    Ok(out)
}

/// Every command that meets others.
fn converse(options: &Options, purpose: Purpose) -> Result<u8, Failure> {
    let clock = Clock::start();
    let Opened {
        mut state,
        identity,
        known,
        mut warnings,
    } = State::open(options)?;
    let secret = secret(options, &mut warnings)?;
    if !options.quiet {
        warn(&warnings);
    }
    let (poll, waker) = event_loop::poll().map_err(|error| cannot("no poll can be had", &error))?;
    let streams = listen(options, &poll)?;
    let port = streams
        .port()
        .map_err(|error| cannot("no port can be had", &error))?;
    let me = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    // What cannot be read or taken away is as if it were not there: the numbers begin anew.
    let resume = state.take_clean().unwrap_or_default();
    let network = network(secret.as_ref());
    let store = match state.directory().map(|dir| dir.join("history")) {
        Some(dir) => {
            Store::open(
                &dir,
                network,
                me.id,
                &options.rooms,
                resume.is_some(),
                Limits::default(),
            )
            .map_err(|error| {
                Failure::new(
                    CONFIG,
                    format!("the history in {} cannot be opened: {error}", dir.display()),
                )
            })?
            .0
        }
        None => Store::in_memory(me.id, network, Limits::default()),
    };
    let session = session(options, purpose, &me, &waker, &clock)?;
    let setup = Setup {
        network,
        psk: secret.as_ref().map(|secret| *secret.psk()),
        beacon_key: secret.as_ref().map(|secret| *secret.beacon_key()),
        nick: options.username.clone(),
        port,
        seed: random()?,
        passing: matches!(purpose, Purpose::Send | Purpose::Peers),
        beacons: options.multicast.is_some(),
        known,
        resume,
        identity,
    };
    let (sender, found) = unbounded();
    // Kept by the loop as long as that runs: with the last waker, a wake-up that was not yet seen would be lost.
    let look_up = move |names| {
        let waker = Arc::clone(&waker);
        resolver::start(names, sender.clone(), move || wake(&waker));
    };
    look_up(options.peers.iter().map(Name::of).collect());
    let node = Node::new(setup, clock.now());
    let parts = event_loop::Parts {
        poll,
        clock,
        node,
        store,
        streams,
        datagrams: event_loop::datagrams(options.multicast),
        found,
        look_up: Box::new(look_up),
        options: options.clone(),
        session,
        state,
    };
    let event_loop =
        EventLoop::new(parts).map_err(|error| cannot("the loop cannot be started", &error))?;
    event_loop
        .run()
        .map_err(|error| cannot("the run had to end", &error))
}

fn secret(options: &Options, warnings: &mut Vec<String>) -> Result<Option<Secret>, Failure> {
    let path = options.secret_file.as_deref();
    path.map(|path| read_secret(path, warnings)).transpose()
}

fn network(secret: Option<&Secret>) -> NetworkTag {
    secret.map_or(NetworkTag::OPEN, Secret::network)
}

fn warn(warnings: &[String]) {
    for warning in warnings {
        // Nobody is left to hear that stderr is closed.
        let _ = writeln!(io::stderr(), "{}", text::complaint(warning));
    }
}

fn wake(waker: &Waker) {
    // It fails only when the poll is gone, and the program with it.
    let _ = waker.wake();
}

fn listen(options: &Options, poll: &Poll) -> Result<Streams, Failure> {
    let taken = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
    let opened = match options.port {
        Some(port) => event_loop::listen(port, poll),
        None => match event_loop::listen(DEFAULT_PORT, poll) {
            Err(error) if taken(&error) => event_loop::listen(0, poll),
            done => done,
        },
    };
    opened.map_err(|error| match options.port {
        Some(port) if taken(&error) => Failure::new(
            FAILED,
            format!("port {port} is taken: choose another with -p, or -p 0 for any free one"),
        ),
        _ => cannot("nobody could dial us", &error),
    })
}

fn session(
    options: &Options,
    purpose: Purpose,
    me: &Peer,
    waker: &Arc<Waker>,
    clock: &Clock,
) -> Result<Session, Failure> {
    let waking = || {
        let waker = Arc::clone(waker);
        move || wake(&waker)
    };
    let (typing, reading) = (io::stdin().is_terminal(), io::stdout().is_terminal());
    let editing = purpose == Purpose::Chat && typing && reading && !options.json;
    let printer = match purpose {
        Purpose::Send => None,
        _ => Some(
            Printer::stdout(waking()).map_err(|error| cannot("stdout cannot be used", &error))?,
        ),
    };
    let reads = purpose == Purpose::Chat || purpose == Purpose::Send && options.text.is_none();
    let keyboard: Option<Receiver<Typed>> = if editing {
        RawMode::enter()
            .map(std::mem::forget)
            .map_err(|error| cannot("the terminal cannot be set up", &error))?;
        Some(keyboard::keys(waking()).map_err(|error| cannot("stdin cannot be read", &error))?)
    } else if reads {
        Some(keyboard::lines(waking()).map_err(|error| cannot("stdin cannot be read", &error))?)
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
    let mut goal = Goal::new(
        purpose,
        options.wait,
        options.count,
        options.ephemeral(),
        clock.now().time,
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
    }))
}

fn face(options: &Options, reading: bool, me: &Peer) -> Face {
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
