//! Starts a run that has a session. If a program already runs in the directory, the run attaches to
//! it. Otherwise the run has its own core and event loop.
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use mio::Poll;

use crate::base::event::output::KnownPeer;
use crate::base::event::peer::Peer;
use crate::base::guests::guest::HAS_GUESTS;
use crate::base::guests::lsnp::LsnpConfig;
use crate::base::identity::{NetworkTag, PeerId};
use crate::base::name::FolderName;
use crate::node::config::NodeConfig;
use crate::node::node::Node;
use crate::shell::config::exit_status::ExitStatus;
use crate::shell::config::failure::Failure;
use crate::shell::config::options::Options;
use crate::shell::config::subcommand::Subcommand;
use crate::shell::config::values::Verbosity;
use crate::shell::ipc::attach;
use crate::shell::ipc::attach::AttachOutcome;
use crate::shell::net::interfaces;
use crate::shell::net::lsnp::LsnpSockets;
use crate::shell::net::resolver::Resolver;
use crate::shell::net::tcp::TcpStreams;
use crate::shell::os::clock::Clock;
use crate::shell::os::poll::create_poll;
use crate::shell::runtime::event_loop::event_loop::{EventLoop, EventLoopParts, OpenedFolders};
use crate::shell::runtime::finder_setup::{SelectedFinders, create_finders};
use crate::shell::runtime::ignored::load_ignored;
use crate::shell::runtime::poll_sources;
use crate::shell::runtime::port_mapping::PortMapping;
use crate::shell::session::frontend::builder::{ActiveFrontend, FrontendBuilder};
use crate::shell::session::frontend::exit_policy::SessionMode;
use crate::shell::session::frontend::renderer::Renderer;
use crate::shell::session::session::Session;
use crate::shell::state::core_files::CoreFile;
use crate::shell::state::identity_file::random_bytes;
use crate::shell::state::network_keys::{load_network_keys, network_tag};
use crate::shell::state::state_dir::{OpenedStateDir, StateDir, history_dir};
use crate::shell::stdio::stderr::print_warnings;
use crate::shell::store::quota::StoreLimits;
use crate::shell::store::store::Store;
use crate::wire::code::Endpoint;
use crate::wire::lsnp::LSNP_DISCOVERY_PORT;
use crate::wire::message::ROOMS_MAX;

/// Runs a command that has a session. Returns the exit status at the end of the run.
///
/// # Errors
/// The directory, the network or a file cannot be used. The failure contains the exit status.
pub fn run_session(options: Options, mode: SessionMode) -> Result<ExitStatus, Failure> {
    warn_of_backlog(&options);
    let mut warnings = Vec::new();
    let keys = load_network_keys(&options, &mut warnings)?;
    let clock = Clock::start();
    let (poll, waker) =
        create_poll().map_err(|error| Failure::io("the event loop cannot be created", &error))?;
    let directory = options.directory.clone();
    let mut builder = FrontendBuilder::new(options, mode, poll, waker, clock, keys);
    let lock = match directory {
        Some(directory) => match attach::attach_or_lock(&mut builder, &directory)? {
            AttachOutcome::Exited(status) => return Ok(status),
            AttachOutcome::Locked(lock) => Some(lock),
        },
        None => None,
    };
    run_standalone(builder, lock, warnings)
}

/// Runs with its own core and event loop, not attached to another program. `lock` is the
/// directory's lock. It is `None` with --ephemeral. `warnings`: those of the start until now.
fn run_standalone(
    mut builder: FrontendBuilder,
    lock: Option<File>,
    mut warnings: Vec<String>,
) -> Result<ExitStatus, Failure> {
    let options = &builder.options;
    let OpenedStateDir {
        state_dir: mut state,
        identity,
        known_peers,
        warnings: of_state,
    } = StateDir::open_locked(options, lock)?;
    warnings.extend(of_state);
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(builder.wake_callback());
    let ipc_server = poll_sources::open_ipc_server(
        options.directory.as_deref(),
        &builder.poll,
        identity.id(),
        Arc::clone(&wake),
    )?;
    report_warnings(options, warnings);
    let preferred_port = builder.preferred_port;
    let mut streams = poll_sources::open_listener(options.port, preferred_port, &builder.poll)?;
    streams.set_patience(options.timing.patience_ms);
    let own = Peer {
        id: identity.id(),
        nick: options.username.clone(),
    };
    // If the marker cannot be read or removed, the end of the last run counts as unclean. The logs
    // then begin a new incarnation.
    let resume = state.take_clean_marker().unwrap_or_default();
    let keys = builder.keys.take();
    let network = network_tag(keys.as_ref());
    let (mut store, opened_folders) = open_store(&state, network, own.id, options)?;
    if let Err(warning) = load_ignored(&state, &mut store) {
        report_warnings(options, vec![warning]);
    }
    let ActiveFrontend {
        mut frontend,
        signals,
    } = builder.take_or_build(&own, 0)?;
    record_known_names(&mut frontend.renderer, &known_peers);
    let session = Session::new(own.id, true, Arc::clone(&wake));
    let endpoints: Vec<Endpoint> = builder.endpoints().cloned().collect();
    let options = builder.options;
    let lsnp = open_lsnp(&options, &builder.poll)?;
    let node_config = NodeConfig {
        lsnp: lsnp.as_ref().map(|sockets| LsnpConfig {
            port: sockets.own_port(),
            repeat_room: options.lsnp_room.clone(),
        }),
        speaks_go: options.go_room,
        timing: options.timing,
        uses_grapes: !options.grapes.is_empty(),
        network,
        psk: keys.as_ref().map(|keys| *keys.psk()),
        beacon_key: keys.as_ref().map(|keys| *keys.beacon_key()),
        nick: own.nick,
        port: listening_port(&streams)?,
        seed: random_bytes()?,
        transient: builder.mode.is_transient(),
        is_ephemeral: options.is_ephemeral(),
        beacons_enabled: options.multicast.is_some(),
        known_peers,
        receipts: state.read_core_file(CoreFile::Receipts),
        profile: state.read_core_file(CoreFile::Profile),
        addresses: state.read_core_file(CoreFile::Addresses(network)),
        resume,
        identity,
    };
    let port_mapping = PortMapping::start(&options, listening_port(&streams)?, &wake)?;
    let random = random_bytes()?;
    let SelectedFinders { finders, id_lookup } = create_finders(
        &options,
        &node_config,
        &port_mapping,
        &random,
        Arc::clone(&wake),
    );
    let mut resolver = Resolver::new(builder.waker, id_lookup);
    let refused = endpoints.iter().filter_map(|it| resolver.add(it).err());
    if let Some(why) = refused.last() {
        frontend.warn(&why);
    }
    run_event_loop(EventLoopParts {
        node: Node::new(node_config, builder.clock.now()),
        poll: builder.poll,
        wake,
        clock: builder.clock,
        store,
        opened_folders,
        streams,
        multicast: poll_sources::create_multicast(options.multicast),
        lsnp,
        resolver,
        finders,
        port_mapping,
        options,
        session,
        frontend,
        signals,
        ipc_server,
        state,
        network,
    })
}

fn run_event_loop(parts: EventLoopParts) -> Result<ExitStatus, Failure> {
    let event_loop = EventLoop::new(parts)
        .map_err(|error| Failure::io("the event loop cannot be started", &error))?;
    event_loop
        .run()
        .map_err(|error| Failure::io("the run ended early", &error))
}

/// Prints the warnings of the start to stderr, unless -q was given. Adds a warning for each
/// interface of --interface that does not exist yet.
fn report_warnings(options: &Options, mut warnings: Vec<String>) {
    for name in interfaces::missing_names(&options.interfaces) {
        warnings.push(format!(
            "there is no interface {name} now; it is used when it appears"
        ));
    }
    if options.verbosity > Verbosity::Quiet {
        print_warnings(&warnings);
    }
}

/// Says that stored lines are asked for in vain. Only lines that are said while it runs count for
/// -n, and only such are printed.
fn warn_of_backlog(options: &Options) {
    if options.contradicts_backlog && options.verbosity > Verbosity::Quiet {
        print_warnings(&[
            "--backlog: with -n no stored lines are printed; p2pchat history prints them"
                .to_owned(),
        ]);
    }
}

/// Opens the sockets of LSNP, if this run speaks it.
fn open_lsnp(options: &Options, poll: &Poll) -> Result<Option<LsnpSockets>, Failure> {
    if !options.lsnp || !HAS_GUESTS {
        return Ok(None);
    }
    let [low, high, ..] = random_bytes()?;
    let seed = u16::from_le_bytes([low, high]);
    let sockets = poll_sources::open_lsnp(poll, seed)
        .map_err(|error| Failure::io("no UDP port for --lsnp can be opened", &error))?;
    if !sockets.hears_discoveries() && options.verbosity > Verbosity::Quiet {
        print_warnings(&[format!(
            "--lsnp: another program holds UDP port {LSNP_DISCOVERY_PORT}: only guests that answer \
             are found"
        )]);
    }
    Ok(Some(sockets))
}

fn listening_port(streams: &TcpStreams) -> Result<u16, Failure> {
    streams
        .port()
        .map_err(|error| Failure::io("the listening port is unknown", &error))
}

fn record_known_names(renderer: &mut Renderer, known_peers: &[KnownPeer]) {
    for known in known_peers {
        renderer.record_known_name(known.id, &known.nick);
    }
}

/// Opens the store, and the folders of the rooms of the options, of direct messages and of carried
/// lines. Then opens other rooms with unacknowledged lines of ours; for `sync` without rooms, all
/// stored rooms. Opens at most [`ROOMS_MAX`] rooms in total.
///
/// # Errors
/// Exit status 78: the history cannot be opened. 2: too many rooms are stored for `sync`.
fn open_store(
    state: &StateDir,
    network: NetworkTag,
    own: PeerId,
    options: &Options,
) -> Result<(Store, OpenedFolders), Failure> {
    let rooms = &options.rooms;
    let syncs_all = options.subcommand == Subcommand::Sync && rooms.is_empty();
    let dir = state.directory().map(history_dir);
    let open = || {
        let mut store = match &dir {
            Some(dir) => Store::open(dir, network, own, StoreLimits::default())?,
            None => Store::in_memory(own, network, StoreLimits::default()),
        };
        let folders = rooms.iter().map(FolderName::from);
        let folders = folders.chain([FolderName::direct(), FolderName::carried()]);
        let opened = folders.map(|folder| Ok((folder.clone(), store.open_folder(&folder)?)));
        let mut opened = opened.collect::<io::Result<OpenedFolders>>()?;
        let mut others = match syncs_all {
            true => store.stored_rooms(),
            false => store.rooms_with_unacknowledged(),
        };
        others.retain(|room| !rooms.contains(room));
        let room_slots = ROOMS_MAX.saturating_sub(rooms.len());
        for room in others.iter().take(room_slots) {
            let folder = FolderName::from(room);
            match store.open_folder(&folder) {
                Ok(ranges) => opened.push((folder, ranges)),
                Err(error) if syncs_all => return Err(error),
                Err(_) => {}
            }
        }
        Ok((store, opened, others.len()))
    };
    let opened = open().map_err(|error: io::Error| {
        let dir = dir.as_deref().unwrap_or(Path::new("memory")).display();
        let sentence = format!("the history in {dir} cannot be opened: {error}");
        Failure::new(ExitStatus::ConfigError, sentence)
    });
    match opened? {
        (.., rooms) if syncs_all && rooms > ROOMS_MAX => Err(Failure::usage(format!(
            "sync: {rooms} rooms are stored, and at most {ROOMS_MAX} can be exchanged at a time: \
             name them with --room"
        ))),
        (store, opened, _) => Ok((store, opened)),
    }
}
