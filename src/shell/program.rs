//! The program: command line in, exit status out; what stands between is put together here.
use std::fs::File;
use std::hint::black_box;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::Path;
use std::sync::Arc;

use mio::Poll;

use crate::base::event::{KnownPeer, Peer};
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::{FolderName, Nick, PeerSelector, Room};
use crate::base::time::WallTime;
use crate::node::context::NodeConfig;
use crate::node::membership::known_peers::{KnownPeers, ResolvedPeer, ambiguity_message};
use crate::node::node::Node;
use crate::shell::config::arguments::Subcommand;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::help::{USAGE_TEXT, VERSION_LINE};
use crate::shell::config::options;
use crate::shell::config::options::Options;
use crate::shell::config::values::Since;
use crate::shell::ipc::attach;
use crate::shell::ipc::attach::AttachOutcome;
use crate::shell::net::interfaces;
use crate::shell::net::resolver;
use crate::shell::net::resolver::{HostName, ResolvedQueue};
use crate::shell::net::tcp::TcpStreams;
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::{create_poll, wake};
use crate::shell::runtime::event_loop;
use crate::shell::runtime::event_loop::{EventLoop, OpenedFolders};
use crate::shell::session::builder;
use crate::shell::session::builder::SessionBuilder;
use crate::shell::session::exit_policy::SessionMode;
use crate::shell::session::history_query;
use crate::shell::session::history_query::HistoryQuery;
use crate::shell::session::renderer::Renderer;
use crate::shell::state::identity_file::{random_bytes, read_identity};
use crate::shell::state::state_dir::{OpenedStateDir, StateDir, load_own_identity, read_secret};
use crate::shell::stdio::stdin;
use crate::shell::store::quota::StoreLimits;
use crate::shell::store::scan::HistorySource;
use crate::shell::store::store::Store;
use crate::ui::{json, text};
use crate::wire::code::{ConnectionCode, DEFAULT_PORT};
use crate::wire::message::ROOMS_MAX;
use crate::wire::secret::{self, NetworkKeys};

/// Freed at the start, a block of this many bytes makes glibc keep twice as much of what is freed later (mallopt(3), "dynamic mmap
/// threshold"). Else it gives the batches of each turn back to the system, and their pages are faulted in anew in the next one.
const MALLOC_WARMUP_BYTES: usize = 512 * 1024;

/// Runs to the end. Gives the exit status.
pub fn main() -> ExitStatus {
    drop(black_box(Vec::<u8>::with_capacity(MALLOC_WARMUP_BYTES)));
    match options::from_process().and_then(run_subcommand) {
        Ok(status) => status,
        Err(failure) => {
            stdin::restore_terminal();
            // Nobody is left to hear that stderr is closed.
            let _ = writeln!(
                io::stderr(),
                "{}",
                text::format_diagnostic(&failure.message)
            );
            failure.exit_status
        }
    }
}

fn run_subcommand(options: Options) -> Result<ExitStatus, Failure> {
    match options.subcommand {
        Subcommand::Help => print_text(USAGE_TEXT),
        Subcommand::Version => print_text(VERSION_LINE),
        Subcommand::Keygen => {
            let mut random = random_bytes()?;
            let key = secret::generate_secret(&random);
            secret::zeroize(&mut random);
            print_text(&format!("{key}\n"))
        }
        Subcommand::Whoami => run_whoami(&options),
        Subcommand::Chat => attach_or_run(options, SessionMode::Chat),
        Subcommand::Send => attach_or_run(options, SessionMode::Send),
        Subcommand::Listen => attach_or_run(options, SessionMode::Listen),
        Subcommand::Peers => attach_or_run(options, SessionMode::Peers),
        Subcommand::History => run_history(&options),
    }
}

fn print_text(text: &str) -> Result<ExitStatus, Failure> {
    stdout_exit_status(write_stdout(text.as_bytes()))
}

fn write_stdout(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(bytes).and_then(|()| stdout.flush())
}

/// To stdout; a reader that went away before the end is no failure worth words.
fn stdout_exit_status(done: io::Result<()>) -> Result<ExitStatus, Failure> {
    match done {
        Ok(()) => Ok(ExitStatus::Success),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(ExitStatus::StdoutClosed),
        Err(error) => Err(Failure::io("stdout cannot be written", &error)),
    }
}

fn run_whoami(options: &Options) -> Result<ExitStatus, Failure> {
    let mut warnings = Vec::new();
    let identity = load_own_identity(options, &mut warnings)?;
    print_warnings(&warnings);
    let mut me = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    let mut port = options.port.unwrap_or(0);
    let mut interfaces = &options.interfaces;
    let directory = options.directory.as_deref();
    let running = directory.map(attach::probe_running).transpose()?.flatten();
    if let (Some(directory), Some(welcome)) = (directory, &running) {
        attach::check_compatible(options, directory, welcome)?;
        me.nick = welcome.me.nick.clone();
        port = welcome.port;
        interfaces = &welcome.interfaces;
    }
    if port == 0 {
        port = DEFAULT_PORT;
    }
    let usable = interfaces::list_usable(interfaces)
        .map_err(|error| Failure::io("the interfaces cannot be listed", &error))?;
    let addresses = usable
        .iter()
        .filter(|i| !i.is_loopback)
        .flat_map(|i| &i.addresses)
        .map(|(ip, _)| (*ip, port).into());
    let code = ConnectionCode::new(me.id, &addresses.collect::<Vec<_>>()).to_string();
    if options.json {
        let mut line = Vec::new();
        json::append_whoami(&me, Some(&code), &mut line);
        return print_text(&String::from_utf8_lossy(&line));
    }
    let mut out = format!(
        "name: {me}\nid: {}\nfingerprint: {}\ncode: {code}\n",
        me.id,
        me.id.fingerprint()
    );
    if options.qr {
        out.push_str(&render_qr_code(&code)?);
    }
    print_text(&out)
}

/// The stored lines, whether a program runs in the directory or not; if one does, those of its network. Nothing is made, locked or mended.
fn run_history(options: &Options) -> Result<ExitStatus, Failure> {
    let mut warnings = Vec::new();
    let secret = load_secret(options, &mut warnings)?;
    if !options.quiet {
        print_warnings(&warnings);
    }
    let Some(directory) = &options.directory else {
        return Ok(ExitStatus::Success);
    };
    let known = StateDir::open_unlocked(directory).read_known_peers(&mut warnings)?;
    let running = attach::probe_running(directory)?;
    if let Some(welcome) = &running {
        attach::check_compatible(options, directory, welcome)?;
    }
    let (network, nick) = match &running {
        Some(welcome) => (welcome.network, &welcome.me.nick),
        None => (network_tag(secret.as_ref()), &options.username),
    };
    let own = read_identity(&directory.join("identity"), &mut warnings);
    let own = own.ok().flatten().map(|identity| Peer {
        id: identity.id(),
        nick: nick.clone(),
    });
    let peer = options.to_peer.as_ref();
    let peer = peer.map(|whom| resolve_peer(whom, &known, own.as_ref()));
    let peer = peer.transpose()?;
    let now = Clock::start().now().wall;
    let query = HistoryQuery {
        folders: match peer {
            Some(_) => vec![FolderName::direct()],
            None => options.rooms.iter().map(FolderName::from).collect(),
        },
        peer,
        since: options.since.map(|since| match since {
            Since::At(at) => at,
            Since::AgoMs(ms) => WallTime(now.0.saturating_sub(ms)),
        }),
        search: options.search.clone(),
        limit: options.count,
    };
    // Who reads plays no part: no line shows it.
    let nobody = Peer {
        id: PeerId([0; 32]),
        nick: Nick::new_or_placeholder(""),
    };
    let mut face = builder::create_renderer(options, io::stdout().is_terminal(), &nobody);
    record_known_names(&mut face, &known);
    // As the reader of direct messages one is named.
    if let Some(own) = &own {
        face.record_known_name(own.id, &own.nick);
    }
    let archive = HistorySource::Disk(directory.join("history").join(network.dir_name()));
    let mut stdout = Ok(());
    let shown = history_query::run_query(&archive, network, &query, &mut face, now, &mut |out| {
        stdout = write_stdout(out);
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
        (stdout, _) => stdout_exit_status(stdout),
    }
}

fn record_known_names(face: &mut Renderer, known: &[KnownPeer]) {
    for known in known {
        face.record_known_name(known.id, &known.nick);
    }
}

/// Whose direct messages are asked for.
fn resolve_peer(
    whom: &PeerSelector,
    known: &[KnownPeer],
    own: Option<&Peer>,
) -> Result<PeerId, Failure> {
    let own = own.filter(|own| whom.matches(&own.nick, &own.id));
    match (KnownPeers::new(known.to_vec()).resolve(whom, &[]), own) {
        (ResolvedPeer::Unique(peer), _) => Ok(peer.id),
        (ResolvedPeer::Ambiguous(peers), _) => {
            let could = ambiguity_message(&peers);
            Err(Failure::new(
                ExitStatus::GeneralError,
                format!("{whom} {could}"),
            ))
        }
        (_, Some(own)) => Ok(own.id),
        _ => Err(Failure::new(
            ExitStatus::GeneralError,
            format!("{whom} is nobody known"),
        )),
    }
}

/// A QR code of half blocks, two modules high each, with the quiet border that scanners need; dark on light.
fn render_qr_code(text: &str) -> Result<String, Failure> {
    let code = qrcodegen::QrCode::encode_text(text, qrcodegen::QrCodeEcc::Low).map_err(|_| {
        Failure::new(
            ExitStatus::GeneralError,
            "the code is too long for a picture",
        )
    })?;
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
fn attach_or_run(options: Options, purpose: SessionMode) -> Result<ExitStatus, Failure> {
    let clock = Clock::start();
    let (poll, waker) = create_poll().map_err(|error| Failure::io("no poll can be had", &error))?;
    let directory = options.directory.clone();
    let mut desk = SessionBuilder::new(options, purpose, poll, waker, clock);
    let lock = match directory {
        Some(directory) => match attach::attach_or_lock(&mut desk, &directory)? {
            AttachOutcome::Exited(status) => return Ok(status),
            AttachOutcome::Locked(lock) => Some(lock),
        },
        None => None,
    };
    run_standalone(desk, lock)
}

/// As a program of its own: nobody else runs in the directory.
fn run_standalone(mut desk: SessionBuilder, lock: Option<File>) -> Result<ExitStatus, Failure> {
    let options = &desk.options;
    let control = event_loop::open_ipc_server(options.directory.as_deref(), &desk.poll)?;
    let OpenedStateDir {
        state_dir: mut state,
        identity,
        known_peers: known,
        mut warnings,
    } = StateDir::open_locked(options, lock)?;
    let secret = load_secret(options, &mut warnings)?;
    for name in interfaces::missing_names(&options.interfaces) {
        warnings.push(format!("no interface {name} now: it is used when it comes"));
    }
    if !options.quiet {
        print_warnings(&warnings);
    }
    let streams = open_listener(options, &desk.poll)?;
    let port = streams
        .port()
        .map_err(|error| Failure::io("no port can be had", &error))?;
    let me = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    // What cannot be read or taken away is as if it were not there: the numbers begin anew.
    let resume = state.take_clean_marker().unwrap_or_default();
    let network = network_tag(secret.as_ref());
    let (store, held) = open_store(&state, network, me.id, &options.rooms, resume.is_some())?;
    let (mut session, signals) = desk.take_or_build(&me, 0)?;
    record_known_names(&mut session.renderer, &known);
    let options = desk.options;
    let setup = NodeConfig {
        network,
        psk: secret.as_ref().map(|secret| *secret.psk()),
        beacon_key: secret.as_ref().map(|secret| *secret.beacon_key()),
        nick: options.username.clone(),
        port,
        seed: random_bytes()?,
        transient: matches!(desk.mode, SessionMode::Send | SessionMode::Peers),
        beacons_enabled: options.multicast.is_some(),
        known_peers: known,
        receipts: state.read_receipts(),
        resume,
        identity,
    };
    let found = ResolvedQueue::default();
    let finds = found.clone();
    // Kept by the loop as long as that runs: with the last waker, a wake-up that was not yet seen would be lost.
    let waker = Arc::clone(&desk.waker);
    let look_up = move |names| {
        let waker = Arc::clone(&waker);
        resolver::spawn_resolver(names, finds.clone(), move || wake(&waker));
    };
    look_up(
        options
            .static_peers
            .iter()
            .map(HostName::from_endpoint)
            .collect(),
    );
    let node = Node::new(setup, desk.clock.now());
    let parts = event_loop::EventLoopParts {
        poll: desk.poll,
        clock: desk.clock,
        node,
        store,
        opened_folders: held,
        streams,
        multicast: event_loop::create_multicast(options.multicast),
        resolved: found,
        resolve_hosts: Box::new(look_up),
        options,
        session,
        signals,
        ipc_server: control,
        state,
    };
    let event_loop =
        EventLoop::new(parts).map_err(|error| Failure::io("the loop cannot be started", &error))?;
    event_loop
        .run()
        .map_err(|error| Failure::io("the run had to end", &error))
}

/// The history, the folders that are open from the start, and what each holds.
fn open_store(
    state: &StateDir,
    network: NetworkTag,
    own: PeerId,
    rooms: &[Room],
    clean: bool,
) -> Result<(Store, OpenedFolders), Failure> {
    let dir = state.directory().map(|dir| dir.join("history"));
    let open = || {
        let mut store = match &dir {
            Some(dir) => Store::open(dir, network, own, clean, StoreLimits::default())?,
            None => Store::in_memory(own, network, StoreLimits::default()),
        };
        let folders = rooms.iter().map(FolderName::from);
        let folders = folders.chain([FolderName::direct(), FolderName::carried()]);
        let held = folders.map(|folder| Ok((folder.clone(), store.open_folder(&folder)?)));
        let mut held = held.collect::<io::Result<OpenedFolders>>()?;
        // What nobody holds yet goes out from rooms that this run is not in, too.
        let mut waiting = store.rooms_with_unacknowledged();
        waiting.retain(|room| !rooms.contains(room));
        for room in waiting.iter().take(ROOMS_MAX.saturating_sub(rooms.len())) {
            let folder = FolderName::from(room);
            if let Ok(ranges) = store.open_folder(&folder) {
                held.push((folder, ranges));
            }
        }
        Ok((store, held))
    };
    open().map_err(|error: io::Error| {
        let dir = dir.as_deref().unwrap_or(Path::new("memory")).display();
        let sentence = format!("the history in {dir} cannot be opened: {error}");
        Failure::new(ExitStatus::ConfigError, sentence)
    })
}

fn load_secret(
    options: &Options,
    warnings: &mut Vec<String>,
) -> Result<Option<NetworkKeys>, Failure> {
    let path = options.secret_file.as_deref();
    path.map(|path| read_secret(path, warnings)).transpose()
}

fn network_tag(secret: Option<&NetworkKeys>) -> NetworkTag {
    secret.map_or(NetworkTag::OPEN, NetworkKeys::network)
}

fn print_warnings(warnings: &[String]) {
    for warning in warnings {
        // Nobody is left to hear that stderr is closed.
        let _ = writeln!(io::stderr(), "{}", text::format_diagnostic(warning));
    }
}

fn open_listener(options: &Options, poll: &Poll) -> Result<TcpStreams, Failure> {
    let taken = |error: &io::Error| error.kind() == ErrorKind::AddrInUse;
    let opened = match options.port {
        Some(port) => event_loop::listen_tcp(port, poll),
        None => match event_loop::listen_tcp(DEFAULT_PORT, poll) {
            Err(error) if taken(&error) => event_loop::listen_tcp(0, poll),
            done => done,
        },
    };
    opened.map_err(|error| match options.port {
        Some(port) if taken(&error) => Failure::new(
            ExitStatus::GeneralError,
            format!("port {port} is taken: choose another with -p, or -p 0 for any free one"),
        ),
        Some(port) if error.kind() == ErrorKind::PermissionDenied => Failure::new(
            ExitStatus::GeneralError,
            format!(
                "port {port} is not for this user: choose another with -p, from 1024 up, or -p 0 for any free one"
            ),
        ),
        _ => Failure::io("nobody could dial us", &error),
    })
}
