//! The program: command line in, exit status out; what stands between is put together here.
use std::fs::File;
use std::hint::black_box;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use mio::Poll;

use crate::base::event::{Known, Peer};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{Folder, Nick, Room, Whom};
use crate::base::time::Wall;
use crate::node::context::Setup;
use crate::node::membership::known_peers::{Meant, Trust, could_be};
use crate::node::node::Node;
use crate::shell::config::arguments::Verb;
use crate::shell::config::exit_status::{CLOSED_OUTPUT, CONFIG, DONE, FAILED};
use crate::shell::config::failure::Failure;
use crate::shell::config::help::{HELP, VERSION};
use crate::shell::config::options;
use crate::shell::config::options::Options;
use crate::shell::config::values::Since;
use crate::shell::ipc::attach;
use crate::shell::ipc::attach::Entry;
use crate::shell::net::interfaces;
use crate::shell::net::resolver;
use crate::shell::net::resolver::{Finds, Name};
use crate::shell::net::tcp::Streams;
use crate::shell::os::clock::Clock;
use crate::shell::runtime::event_loop;
use crate::shell::runtime::event_loop::{EventLoop, Held};
use crate::shell::session::builder;
use crate::shell::session::builder::{Desk, cannot, wake};
use crate::shell::session::exit_policy::Purpose;
use crate::shell::session::history_query;
use crate::shell::session::history_query::Query;
use crate::shell::session::renderer::Face;
use crate::shell::state::identity_file::{random, read_identity};
use crate::shell::state::state_dir::{Opened, State, own_identity, read_secret};
use crate::shell::stdio::stdin;
use crate::shell::store::quota::Limits;
use crate::shell::store::scan::Archive;
use crate::shell::store::store::Store;
use crate::ui::{json, text};
use crate::wire::code::{Code, DEFAULT_PORT};
use crate::wire::message::ROOMS_MAX;
use crate::wire::secret::{self, Secret};

/// Freed at the start, a block of this many bytes makes glibc keep twice as much of what is freed later (mallopt(3), "dynamic mmap
/// threshold"). Else it gives the batches of each turn back to the system, and their pages are faulted in anew in the next one.
const KEPT_FREE: usize = 512 * 1024;

/// Runs to the end. Gives the exit status.
pub fn main() -> u8 {
    drop(black_box(Vec::<u8>::with_capacity(KEPT_FREE)));
    match options::of_process().and_then(run) {
        Ok(status) => status,
        Err(failure) => {
            stdin::restore();
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
        Verb::Chat => converse(options, Purpose::Chat),
        Verb::Send => converse(options, Purpose::Send),
        Verb::Listen => converse(options, Purpose::Listen),
        Verb::Peers => converse(options, Purpose::Peers),
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

fn whoami(options: &Options) -> Result<u8, Failure> {
    let mut warnings = Vec::new();
    let identity = own_identity(options, &mut warnings)?;
    warn(&warnings);
    let mut me = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    let mut port = options.port.unwrap_or(0);
    let mut interfaces = &options.interfaces;
    let directory = options.directory.as_deref();
    let running = directory.map(attach::running).transpose()?.flatten();
    if let (Some(directory), Some(welcome)) = (directory, &running) {
        attach::agree(options, directory, welcome)?;
        me.nick = welcome.me.nick.clone();
        port = welcome.port;
        interfaces = &welcome.interfaces;
    }
    if port == 0 {
        port = DEFAULT_PORT;
    }
    let usable = interfaces::list(interfaces)
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

/// The stored lines, whether a program runs in the directory or not; if one does, those of its network. Nothing is made, locked or mended.
fn history(options: &Options) -> Result<u8, Failure> {
    let mut warnings = Vec::new();
    let secret = secret(options, &mut warnings)?;
    if !options.quiet {
        warn(&warnings);
    }
    let Some(directory) = &options.directory else {
        return Ok(DONE);
    };
    let known = State::unlocked(directory).known_peers(&mut warnings)?;
    let running = attach::running(directory)?;
    if let Some(welcome) = &running {
        attach::agree(options, directory, welcome)?;
    }
    let (network, nick) = match &running {
        Some(welcome) => (welcome.network, &welcome.me.nick),
        None => (network(secret.as_ref()), &options.username),
    };
    let own = read_identity(&directory.join("identity"), &mut warnings);
    let own = own.ok().flatten().map(|identity| Peer {
        id: identity.id(),
        nick: nick.clone(),
    });
    let peer = options.to.as_ref();
    let peer = peer.map(|whom| meant(whom, &known, own.as_ref()));
    let peer = peer.transpose()?;
    let now = Clock::start().now().wall;
    let query = Query {
        folders: match peer {
            Some(_) => vec![Folder::direct()],
            None => options.rooms.iter().map(Folder::from).collect(),
        },
        peer,
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
    let mut face = builder::face(options, io::stdout().is_terminal(), &nobody);
    know(&mut face, &known);
    // As the reader of direct messages one is named.
    if let Some(own) = &own {
        face.know(own.id, &own.nick);
    }
    let archive = Archive::Disk(directory.join("history").join(network.folder()));
    let mut stdout = Ok(());
    let shown = history_query::show(&archive, network, &query, &mut face, now, &mut |out| {
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

fn know(face: &mut Face, known: &[Known]) {
    for known in known {
        face.know(known.id, &known.nick);
    }
}

/// Whose direct messages are asked for.
fn meant(whom: &Whom, known: &[Known], own: Option<&Peer>) -> Result<PeerId, Failure> {
    let own = own.filter(|own| whom.is(&own.nick, &own.id));
    match (Trust::new(known.to_vec()).find(whom, &[]), own) {
        (Meant::Peer(peer), _) => Ok(peer.id),
        (Meant::Several(peers), _) => {
            let could = could_be(&peers);
            Err(Failure::new(FAILED, format!("{whom} {could}")))
        }
        (_, Some(own)) => Ok(own.id),
        _ => Err(Failure::new(FAILED, format!("{whom} is nobody known"))),
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
fn converse(options: Options, purpose: Purpose) -> Result<u8, Failure> {
    let clock = Clock::start();
    let (poll, waker) = event_loop::poll().map_err(|error| cannot("no poll can be had", &error))?;
    let directory = options.directory.clone();
    let mut desk = Desk::new(options, purpose, poll, waker, clock);
    let lock = match directory {
        Some(directory) => match attach::enter(&mut desk, &directory)? {
            Entry::Over(status) => return Ok(status),
            Entry::Free(lock) => Some(lock),
        },
        None => None,
    };
    alone(desk, lock)
}

/// As a program of its own: nobody else runs in the directory.
fn alone(mut desk: Desk, lock: Option<File>) -> Result<u8, Failure> {
    let options = &desk.options;
    let control = event_loop::control(options.directory.as_deref(), &desk.poll)?;
    let Opened {
        mut state,
        identity,
        known,
        mut warnings,
    } = State::open_locked(options, lock)?;
    let secret = secret(options, &mut warnings)?;
    for name in interfaces::missing(&options.interfaces) {
        warnings.push(format!("no interface {name} now: it is used when it comes"));
    }
    if !options.quiet {
        warn(&warnings);
    }
    let streams = listen(options, &desk.poll)?;
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
    let (store, held) = history_of(&state, network, me.id, &options.rooms, resume.is_some())?;
    let (mut session, signals) = desk.sit(&me, 0)?;
    know(&mut session.face, &known);
    let options = desk.options;
    let setup = Setup {
        network,
        psk: secret.as_ref().map(|secret| *secret.psk()),
        beacon_key: secret.as_ref().map(|secret| *secret.beacon_key()),
        nick: options.username.clone(),
        port,
        seed: random()?,
        passing: matches!(desk.purpose, Purpose::Send | Purpose::Peers),
        beacons: options.multicast.is_some(),
        known,
        receipts: state.receipts(),
        resume,
        identity,
    };
    let found = Finds::default();
    let finds = found.clone();
    // Kept by the loop as long as that runs: with the last waker, a wake-up that was not yet seen would be lost.
    let waker = Arc::clone(&desk.waker);
    let look_up = move |names| {
        let waker = Arc::clone(&waker);
        resolver::start(names, finds.clone(), move || wake(&waker));
    };
    look_up(options.peers.iter().map(Name::of).collect());
    let node = Node::new(setup, desk.clock.now());
    let parts = event_loop::Parts {
        poll: desk.poll,
        clock: desk.clock,
        node,
        store,
        held,
        streams,
        datagrams: event_loop::datagrams(options.multicast),
        found,
        look_up: Box::new(look_up),
        options,
        session,
        signals,
        control,
        state,
    };
    let event_loop =
        EventLoop::new(parts).map_err(|error| cannot("the loop cannot be started", &error))?;
    event_loop
        .run()
        .map_err(|error| cannot("the run had to end", &error))
}

/// The history, the folders that are open from the start, and what each holds.
fn history_of(
    state: &State,
    network: NetworkTag,
    own: PeerId,
    rooms: &[Room],
    clean: bool,
) -> Result<(Store, Held), Failure> {
    let dir = state.directory().map(|dir| dir.join("history"));
    let open = || {
        let mut store = match &dir {
            Some(dir) => Store::open(dir, network, own, clean, Limits::default())?,
            None => Store::in_memory(own, network, Limits::default()),
        };
        let folders = rooms.iter().map(Folder::from);
        let folders = folders.chain([Folder::direct(), Folder::carried()]);
        let held = folders.map(|folder| Ok((folder.clone(), store.join(&folder)?)));
        let mut held = held.collect::<io::Result<Held>>()?;
        // What nobody holds yet goes out from rooms that this run is not in, too.
        let mut waiting = store.waiting();
        waiting.retain(|room| !rooms.contains(room));
        for room in waiting.iter().take(ROOMS_MAX.saturating_sub(rooms.len())) {
            let folder = Folder::from(room);
            if let Ok(ranges) = store.join(&folder) {
                held.push((folder, ranges));
            }
        }
        Ok((store, held))
    };
    open().map_err(|error: io::Error| {
        let dir = dir.as_deref().unwrap_or(Path::new("memory")).display();
        let sentence = format!("the history in {dir} cannot be opened: {error}");
        Failure::new(CONFIG, sentence)
    })
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
        Some(port) if error.kind() == ErrorKind::PermissionDenied => Failure::new(
            FAILED,
            format!(
                "port {port} is not for this user: choose another with -p, from 1024 up, or -p 0 for any free one"
            ),
        ),
        _ => cannot("nobody could dial us", &error),
    })
}
