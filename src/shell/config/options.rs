//! Options of a run. The command line takes precedence over the environment, and the environment
//! over the options file.
use std::ffi::{OsStr, OsString};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::guests::guest::GuestNetwork;
use crate::base::name::{Nick, PeerSelector, Room};
use crate::base::timing::Timing;
use crate::shell::config::arguments::{
    OPTION_REPEATS_MAX, ParsedArguments, parse_arguments, parse_options_file, too_many_repeats,
};
use crate::shell::config::environment::{EnvLookup, absolute_path_variable, non_empty_variable};
use crate::shell::config::failure::Failure;
use crate::shell::config::option_sources::{OptionSources, ValueParser, is_given};
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::options_file::OptionsFile;
use crate::shell::config::reading::Reading;
use crate::shell::config::scan_target::ScanTarget;
use crate::shell::config::subcommand::Subcommand;
use crate::shell::config::values;
use crate::shell::config::values::{Color, Recipient, Since, Verbosity};
use crate::ui::line_filter::LineFilter;
use crate::ui::line_format::LineFormat;
use crate::wire::code::{DEFAULT_PORT, Endpoint};

/// The beacon's multicast group if `--multicast` is not given.
pub const DEFAULT_MULTICAST_GROUP: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), DEFAULT_PORT);
/// Options that take effect only when a program starts. A command that uses a running program
/// cannot change them.
const START_ONLY_OPTIONS: [OptionId; 16] = [
    OptionId::Username,
    OptionId::Port,
    OptionId::Multicast,
    OptionId::Interface,
    OptionId::SecretFile,
    OptionId::Nat,
    OptionId::NoMdns,
    OptionId::Scan,
    OptionId::Lsnp,
    OptionId::LsnpRoom,
    OptionId::GoRoom,
    OptionId::Grape,
    OptionId::Dht,
    OptionId::DhtBootstrap,
    OptionId::Interval,
    OptionId::Patience,
];

/// The options of [`Options::typed_settings`].
const SETTING_OPTIONS: [OptionId; 6] = [
    OptionId::Username,
    OptionId::Dir,
    OptionId::Color,
    OptionId::NoBell,
    OptionId::NoTyping,
    OptionId::HistoryDirect,
];

/// Maximum number of Grapes. Each has a thread.
const GRAPES_MAX: usize = 8;
/// Maximum number of nodes of the DHT to begin with. Each is asked in each query.
const DHT_NODES_MAX: usize = 8;

/// All options of a run, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The command.
    pub subcommand: Subcommand,
    /// With [`Subcommand::Help`]: the command on which help is wanted. [`Subcommand::Chat`]: on the
    /// whole program.
    pub help_on: Subcommand,
    /// The name of this program's user.
    pub username: Nick,
    /// The options on the command line that take effect only when a program starts. If a program
    /// already runs, these options must have the same values there.
    pub explicit: Vec<OptionId>,
    /// The options on the command line that come before the settings of the options file.
    pub typed_settings: Vec<OptionId>,
    /// The TCP port. `None`: port 9999, or any free port if 9999 is taken. `Some(0)`: any free
    /// port.
    pub port: Option<u16>,
    /// The beacon's multicast group. `None`: no beacon is sent or received.
    pub multicast: Option<SocketAddrV4>,
    /// Whether to use multicast DNS. False without beacons.
    pub mdns: bool,
    /// The addresses to scan.
    pub scan: Option<ScanTarget>,
    /// The URLs of the Grapes, without a slash at the end. In the open network, `#grenache` is then
    /// one of the rooms.
    pub grapes: Vec<String>,
    /// Whether to publish and look up addresses in the DHT of BitTorrent.
    pub dht: bool,
    /// Where to find nodes of the DHT. Empty: the public one.
    pub dht_bootstrap: Vec<String>,
    /// The rooms to join: at least one, without duplicates. Lines that the user types go to the
    /// first room. `send --to ROOM` puts ROOM first.
    ///
    /// For `history` and `sync`, these are the only rooms. Empty: all rooms.
    pub rooms: Vec<Room>,
    /// The peer that `--to` names. `None`: `--to` names a room or is missing.
    pub to_peer: Option<PeerSelector>,
    /// Whether to speak LSNP. `#lsnp` is then one of the rooms.
    pub lsnp: bool,
    /// The room in which lines of LSNP's users are repeated. It is then one of the rooms.
    pub lsnp_room: Option<Room>,
    /// Whether to speak the protocol of p2pchat in Go. `#p2pchat-go` is then one of the rooms.
    pub go_room: bool,
    /// The peers to dial.
    pub static_peers: Vec<Endpoint>,
    /// Whether the default gateway shall map the TCP port, so that hosts of other networks can dial
    /// it.
    pub nat: bool,
    /// Names of the interfaces to use. Empty: all interfaces.
    pub interfaces: Vec<String>,
    /// The file with the network secret. `None`: the open network.
    pub secret_file: Option<PathBuf>,
    /// The state directory. `None` with `--ephemeral`.
    pub directory: Option<PathBuf>,
    /// Whether input and output are JSON lines.
    pub json: bool,
    /// The form in which chat lines are printed. `None` with `--json`.
    pub line_format: Option<LineFormat>,
    /// `peers`: the file of those who must be here.
    pub expect_file: Option<PathBuf>,
    /// How often to send beacons, and how long to wait for silent peers.
    pub timing: Timing,
    /// Which chat lines are printed.
    pub filter: LineFilter,
    /// `listen`: the number of chat lines after which the command ends. `history`: how many of the
    /// last lines to print. At least 1.
    pub count: Option<u64>,
    /// Time to wait, in milliseconds. `None`: the command's default.
    pub wait_ms: Option<u64>,
    /// `send`: how many peers must acknowledge the lines. `None`: all peers that are known as
    /// members of the room.
    pub need: Option<u64>,
    /// How many stored lines to print before the new lines.
    pub backlog: u64,
    /// Whether the command line asks for stored lines, and with -n for none.
    pub contradicts_backlog: bool,
    /// `listen`: what it reads.
    pub reading: Reading,
    /// Whether the lines that this program sends are printed.
    pub echo: bool,
    /// Whether the bell of the terminal rings for direct messages, and for lines that say our name.
    pub has_bell: bool,
    /// Whether others are told that the user types.
    pub tells_typing: bool,
    /// Whether piped lines that begin with `/` are commands.
    pub has_slash_commands: bool,
    /// Whether typed direct messages are kept in the file of typed lines, too.
    pub history_direct: bool,
    /// `send`: whether all input is one message of several lines.
    pub is_block: bool,
    /// Whether bytes of a line that are not UTF-8 are sent as U+FFFD. Otherwise such a line is
    /// refused.
    pub is_lossy: bool,
    /// When the transcript is coloured.
    pub color: Color,
    /// How much goes to stderr. `--debug` takes precedence over `--quiet`.
    pub verbosity: Verbosity,
    /// `whoami`: whether to print a QR code of the connection code as well.
    pub qr: bool,
    /// `send`, `join`, `trust`, `doctor`: the words of TEXT, joined by spaces. `None`, for `send`:
    /// the lines come from stdin; for `doctor`: no host. The bytes are not checked yet: a line may
    /// be too long, or not UTF-8.
    pub text: Option<Vec<u8>>,
    /// `history`: the time of the oldest line to print. A line's time is the one that its author's
    /// clock showed.
    pub since: Option<Since>,
    /// `history`: the text that printed lines must contain.
    pub search: Option<String>,
}

impl Options {
    /// Whether the program writes nothing to disk (`--ephemeral`).
    pub fn is_ephemeral(&self) -> bool {
        self.directory.is_none()
    }

    /// The lines of TEXT without their line ends. Each line is one message. Empty TEXT has no
    /// lines.
    pub fn text_lines(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.text.as_deref().unwrap_or_default();
        text.split_inclusive(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// Reads the options of this process from its arguments, its environment and the options file.
///
/// # Errors
/// The errors of [`parse`] and [`OptionsFile::read`]. With -h or -V a bad options file is
/// ignored.
pub fn from_process() -> Result<Options, Failure> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let env: EnvLookup<'_> = &|name| std::env::var_os(name);
    match OptionsFile::read(env) {
        Ok(file) => parse(args, env, file),
        Err(failure) => match parse(args, env, None)? {
            options if matches!(options.subcommand, Subcommand::Help | Subcommand::Version) => {
                Ok(options)
            }
            _ => Err(failure),
        },
    }
}

/// Parses the arguments that follow the program's name, and the content of the options file. With
/// -h or -V all other options keep their defaults.
///
/// # Errors
/// Exit status 2: an option is unknown, misplaced or has a bad value. The message names the
/// option.
pub fn parse(
    args: Vec<OsString>,
    env: EnvLookup<'_>,
    options_file: Option<OptionsFile>,
) -> Result<Options, Failure> {
    let ParsedArguments {
        subcommand,
        options: parsed,
        text,
        help_on,
    } = parse_arguments(args)?;
    let uses_options = !matches!(subcommand, Subcommand::Help | Subcommand::Version);
    let options_file = options_file.filter(|_| uses_options);
    let mut sources = OptionSources {
        subcommand,
        command_line: if uses_options { parsed } else { Vec::new() },
        file: match &options_file {
            Some(file) => parse_options_file(file)?,
            None => Vec::new(),
        },
        options_file,
    };
    sources.check_features()?;
    sources.expand_home(env)?;
    let username = choose_username(&sources, env)?;
    let (mut rooms, to_peer) = choose_rooms(&sources)?;
    let need = choose_need(&sources, to_peer.is_some())?;
    let lsnp = sources.has_flag(OptionId::Lsnp);
    let lsnp_room = choose_lsnp_room(&sources, lsnp)?;
    let go_room = sources.has_flag(OptionId::GoRoom);
    let grapes = choose_grapes(&sources)?;
    let secret_file = sources.path_value(OptionId::SecretFile, env, "P2PCHAT_SECRET_FILE")?;
    // A closed network says nothing in the clear, unless its user asks for that.
    let speaks_grenache = !grapes.is_empty() && secret_file.is_none();
    let dht = sources.has_flag(OptionId::Dht);
    let of_guests = [
        lsnp.then(|| GuestNetwork::Lsnp.room()),
        go_room.then(|| GuestNetwork::GoP2pchat.room()),
        speaks_grenache.then(|| GuestNetwork::Grenache.room()),
    ];
    // Guests hold no lines.
    let of_guests = of_guests.iter().flatten().chain(&lsnp_room);
    for room in of_guests.filter(|_| sources.subcommand != Subcommand::Sync) {
        if !rooms.contains(room) {
            rooms.push(room.clone());
        }
    }
    let (json, line_format) = choose_output(&sources)?;
    let multicast = sources
        .last_value(OptionId::Multicast, values::parse_multicast_group)?
        .unwrap_or(Some(DEFAULT_MULTICAST_GROUP));
    Ok(Options {
        subcommand,
        help_on,
        username,
        explicit: START_ONLY_OPTIONS
            .into_iter()
            .filter(|id| is_given(&sources.command_line, *id))
            .collect(),
        typed_settings: SETTING_OPTIONS
            .into_iter()
            .filter(|id| is_given(&sources.command_line, *id))
            .collect(),
        port: sources.last_value(OptionId::Port, values::parse_port)?,
        multicast,
        scan: sources.last_value(OptionId::Scan, ScanTarget::parse)?,
        grapes,
        dht,
        dht_bootstrap: choose_dht_bootstrap(&sources, dht)?,
        mdns: multicast.is_some() && !sources.has_flag(OptionId::NoMdns),
        rooms,
        to_peer,
        lsnp,
        lsnp_room,
        go_room,
        static_peers: choose_static_peers(&sources, dht)?,
        nat: choose_nat(&sources)?,
        interfaces: check_repeats(
            OptionId::Interface,
            sources.all_values(OptionId::Interface, values::parse_interface_name)?,
        )?,
        secret_file,
        directory: choose_directory(&sources, env)?,
        json,
        line_format,
        expect_file: sources.last_value(OptionId::Expect, values::parse_path)?,
        timing: Timing {
            interval_ms: sources.last_value(OptionId::Interval, values::parse_interval_ms)?,
            patience_ms: sources.last_value(OptionId::Patience, values::parse_patience_ms)?,
        },
        filter: LineFilter {
            author: sources.last_value(OptionId::From, values::parse_author)?,
            pattern: sources.last_value(OptionId::Match, values::parse_line_pattern)?,
            hides_presence: sources.has_flag(OptionId::Drain),
        },
        count: sources.last_value(OptionId::Count, values::parse_count)?,
        wait_ms: sources.last_value(OptionId::Wait, values::parse_wait_ms)?,
        need,
        backlog: sources
            .last_value(OptionId::Backlog, values::parse_backlog)?
            .unwrap_or(0),
        contradicts_backlog: [OptionId::Backlog, OptionId::Count]
            .into_iter()
            .all(|id| is_given(&sources.command_line, id)),
        reading: Reading::choose(&sources)?,
        echo: !sources.has_flag(OptionId::NoEcho),
        has_bell: !sources.has_flag(OptionId::NoBell),
        tells_typing: !sources.has_flag(OptionId::NoTyping),
        has_slash_commands: sources.has_flag(OptionId::Commands),
        history_direct: sources.has_flag(OptionId::HistoryDirect),
        is_block: choose_block(&sources, json)?,
        is_lossy: sources.has_flag(OptionId::Lossy),
        color: choose_color(&sources, env)?,
        verbosity: choose_verbosity(&sources),
        qr: sources.has_flag(OptionId::Qr),
        text: (!text.is_empty()).then(|| text.join(OsStr::new(" ")).as_bytes().to_vec()),
        since: sources
            .last_value(OptionId::Since, values::check_since)?
            .and_then(|text| Since::parse(&text)),
        search: sources.last_value(OptionId::Search, values::parse_search)?,
    })
}

fn choose_username(sources: &OptionSources, env: EnvLookup<'_>) -> Result<Nick, Failure> {
    let (mut line, mut file) = sources.values_by_source(OptionId::Username, values::parse_nick)?;
    if let Some(nick) = line.pop() {
        return Ok(nick);
    }
    let sanitize = |text: OsString| {
        let text = text.to_string_lossy().replace('\u{fffd}', "");
        Nick::sanitize(&text)
    };
    let login = ["USER", "LOGNAME"].into_iter();
    let mut login = login.filter_map(|name| non_empty_variable(env, name).and_then(sanitize));
    let host = || nix::unistd::gethostname().ok();
    Ok(non_empty_variable(env, "P2PCHAT_USERNAME")
        .and_then(sanitize)
        .or(file.pop())
        .or_else(|| login.next().filter(|user| user.as_str() != "root"))
        .or_else(|| host().and_then(sanitize))
        .unwrap_or_else(|| Nick::new_or_placeholder("anonymous")))
}

fn choose_rooms(sources: &OptionSources) -> Result<(Vec<Room>, Option<PeerSelector>), Failure> {
    let mut rooms: Vec<Room> = Vec::new();
    let (to_room, to_peer) = match sources.last_value(OptionId::To, values::parse_recipient)? {
        Some(Recipient::Room(room)) => (Some(room), None),
        Some(Recipient::Peer(selector)) => (None, Some(selector)),
        None => (None, None),
    };
    if matches!(sources.subcommand, Subcommand::History | Subcommand::Sync) {
        let rooms = sources.all_values(OptionId::Room, values::parse_room)?;
        return Ok((
            check_repeats(OptionId::Room, to_room.map_or(rooms, |room| vec![room]))?,
            to_peer,
        ));
    }
    for room in to_room
        .into_iter()
        .chain(sources.all_values(OptionId::Room, values::parse_room)?)
    {
        if !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    if rooms.is_empty() {
        rooms.push(Room::general());
    }
    Ok((check_repeats(OptionId::Room, rooms)?, to_peer))
}

/// Chooses the room in which lines of guests are repeated.
///
/// # Errors
/// Exit status 2: it is the room of the guests, or this run does not speak LSNP.
fn choose_lsnp_room(sources: &OptionSources, lsnp: bool) -> Result<Option<Room>, Failure> {
    let room = sources.last_value(OptionId::LsnpRoom, values::parse_room)?;
    match &room {
        Some(_) if !lsnp => Err(Failure::usage("--lsnp-room needs --lsnp")),
        Some(room) if *room == GuestNetwork::Lsnp.room() => Err(Failure::usage(format!(
            "--lsnp-room: the guests are in {room} already; name another room"
        ))),
        _ => Ok(room),
    }
}

/// The endpoints of `--peer`. Only the DHT finds a peer by its id alone.
fn choose_static_peers(sources: &OptionSources, dht: bool) -> Result<Vec<Endpoint>, Failure> {
    let parse: ValueParser<Vec<Endpoint>> = match dht {
        true => values::parse_static_peer_or_id,
        false => values::parse_static_peer,
    };
    let endpoints = sources.all_values(OptionId::Peer, parse)?;
    check_repeats(OptionId::Peer, endpoints.into_iter().flatten().collect())
}

/// The URLs of Grapes. Without the feature, the option was refused.
fn choose_grapes(sources: &OptionSources) -> Result<Vec<String>, Failure> {
    if !cfg!(feature = "grenache") {
        return Ok(Vec::new());
    }
    let grapes = sources.all_values(OptionId::Grape, values::parse_grape)?;
    match grapes.len() {
        0..=GRAPES_MAX => Ok(grapes),
        _ => Err(Failure::usage(format!(
            "--grape was given more than {GRAPES_MAX} times"
        ))),
    }
}

/// The nodes of the DHT to begin with. Without the feature, the option was refused.
fn choose_dht_bootstrap(sources: &OptionSources, dht: bool) -> Result<Vec<String>, Failure> {
    if !cfg!(feature = "dht") {
        return Ok(Vec::new());
    }
    let nodes = sources.all_values(OptionId::DhtBootstrap, values::parse_dht_node)?;
    match nodes.len() {
        0 => Ok(nodes),
        _ if !dht => Err(Failure::usage("--dht-bootstrap needs --dht")),
        1..=DHT_NODES_MAX => Ok(nodes),
        _ => Err(Failure::usage(format!(
            "--dht-bootstrap was given more than {DHT_NODES_MAX} times"
        ))),
    }
}

fn choose_nat(sources: &OptionSources) -> Result<bool, Failure> {
    match sources.has_flag(OptionId::Nat) {
        true if !cfg!(feature = "nat") => Err(Failure::usage(
            "--nat is not part of this build: map the port by hand, or build with `--features nat`",
        )),
        is_given => Ok(is_given),
    }
}

fn check_repeats<T>(id: OptionId, list: Vec<T>) -> Result<Vec<T>, Failure> {
    if list.len() > OPTION_REPEATS_MAX {
        return Err(too_many_repeats(id));
    }
    Ok(list)
}

/// Chooses the state directory. `None` with `--ephemeral`.
fn choose_directory(
    sources: &OptionSources,
    env: EnvLookup<'_>,
) -> Result<Option<PathBuf>, Failure> {
    let (mut line, mut file) = sources.values_by_source(OptionId::Dir, values::parse_path)?;
    let sources_by_rank = [
        (
            line.pop(),
            is_given(&sources.command_line, OptionId::Ephemeral),
        ),
        (
            non_empty_variable(env, "P2PCHAT_DIR").map(PathBuf::from),
            false,
        ),
        (file.pop(), is_given(&sources.file, OptionId::Ephemeral)),
    ];
    for source in sources_by_rank {
        match source {
            (Some(_), true) => return Err(sources.directory_conflict()),
            (Some(path), false) => return Ok(Some(path)),
            (None, true) => return Ok(None),
            (None, false) => {}
        }
    }
    let state = absolute_path_variable(env, "XDG_STATE_HOME")
        .or_else(|| absolute_path_variable(env, "HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    Ok(Some(state.join("p2pchat")))
}

/// Chooses between JSON and the user's own form of lines. One on the command line comes before the
/// other in the options file.
///
/// # Errors
/// Exit status 2: both are in one source.
fn choose_output(sources: &OptionSources) -> Result<(bool, Option<LineFormat>), Failure> {
    let json = sources.has_flag(OptionId::Json);
    let format = sources.last_value(OptionId::Format, values::parse_line_format)?;
    if !json || format.is_none() {
        return Ok((json, format));
    }
    let is_typed = |id| is_given(&sources.command_line, id);
    match (is_typed(OptionId::Json), is_typed(OptionId::Format)) {
        (true, false) => Ok((true, None)),
        (false, true) => Ok((false, format)),
        _ => Err(Failure::usage(
            "--json prints JSON, --format a form of your own: give one of them",
        )),
    }
}

/// Whether all input is one message. A line of JSON says so itself.
fn choose_need(sources: &OptionSources, is_direct: bool) -> Result<Option<u64>, Failure> {
    let (mut line, mut file) = sources.values_by_source(OptionId::Need, values::parse_need)?;
    match line.pop() {
        Some(need) if is_direct && need > 1 => Err(Failure::usage(
            "--need counts the members of a room, and only its recipient can hold a direct \
             message: leave it out",
        )),
        line => Ok(line.or(file.pop())),
    }
}

fn choose_block(sources: &OptionSources, json: bool) -> Result<bool, Failure> {
    match sources.has_flag(OptionId::Block) {
        true if json => Err(Failure::usage(
            "--block does not go with --json: write {\"type\":\"chat\",\"block\":true,…}",
        )),
        is_given => Ok(is_given),
    }
}

fn choose_color(sources: &OptionSources, env: EnvLookup<'_>) -> Result<Color, Failure> {
    let (mut line, mut file) = sources.values_by_source(OptionId::Color, values::parse_color)?;
    let env = non_empty_variable(env, "NO_COLOR").map(|_| Color::Never);
    Ok(line.pop().or(env).or(file.pop()).unwrap_or(Color::Auto))
}

fn choose_verbosity(sources: &OptionSources) -> Verbosity {
    if sources.has_flag(OptionId::Debug) {
        Verbosity::Debug
    } else if sources.has_flag(OptionId::Quiet) {
        Verbosity::Quiet
    } else {
        Verbosity::Normal
    }
}
