//! Options of a run. The command line takes precedence over the environment, and the environment
//! over the options file.
use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use pico_args::Arguments;

use crate::base::name::{Nick, PeerSelector, Room};
use crate::shell::config::arguments::{
    ParsedArguments, ParsedOption, parse_arguments, parse_options_file,
};
use crate::shell::config::failure::Failure;
use crate::shell::config::option_specs::OptionId;
use crate::shell::config::subcommand::Subcommand;
use crate::shell::config::values;
use crate::shell::config::values::{Color, Recipient, Since, Verbosity};
use crate::wire::code::{DEFAULT_PORT, Endpoint};

/// The beacon's multicast group if `--multicast` is not given.
pub const DEFAULT_MULTICAST_GROUP: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), DEFAULT_PORT);
/// Maximum number of rooms that a run may join. The same bound holds for interfaces and static
/// peers.
pub const OPTION_REPEATS_MAX: usize = 64;
/// Options that take effect only when a program starts. A command that uses a running program
/// cannot change them.
const START_ONLY_OPTIONS: [OptionId; 5] = [
    OptionId::Username,
    OptionId::Port,
    OptionId::Multicast,
    OptionId::Interface,
    OptionId::SecretFile,
];
/// Longest accepted options file, in bytes.
const OPTIONS_FILE_MAX_BYTES: u64 = 64 * 1024;

/// All options of a run, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The command.
    pub subcommand: Subcommand,
    /// The name of this program's user.
    pub username: Nick,
    /// The options given on the command line that take effect only when a program starts. A command
    /// that uses a running program fails if one of these values differs from the program's value.
    pub explicit: Vec<OptionId>,
    /// The TCP port. `None`: port 9999, or any free port if 9999 is taken. `Some(0)`: any free
    /// port.
    pub port: Option<u16>,
    /// The beacon's multicast group. `None`: no beacon is sent or received.
    pub multicast: Option<SocketAddrV4>,
    /// The rooms to join: at least one, without duplicates. Lines that the user types go to the
    /// first room. `send --to ROOM` puts ROOM first.
    ///
    /// For `history`, these are the rooms to print. Empty: all rooms.
    pub rooms: Vec<Room>,
    /// The peer that `--to` names. `None`: `--to` names a room or is missing.
    pub to_peer: Option<PeerSelector>,
    /// The peers to dial.
    pub static_peers: Vec<Endpoint>,
    /// Names of the interfaces to use. Empty: all interfaces.
    pub interfaces: Vec<String>,
    /// The file with the network secret. `None`: the open network.
    pub secret_file: Option<PathBuf>,
    /// The state directory. `None` with `--ephemeral`.
    pub directory: Option<PathBuf>,
    /// Whether input and output are JSON lines.
    pub json: bool,
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
    /// Whether the lines that this program sends are printed.
    pub echo: bool,
    /// Whether piped lines that begin with `/` are commands.
    pub has_slash_commands: bool,
    /// When the transcript is coloured.
    pub color: Color,
    /// How much goes to stderr. `--debug` takes precedence over `--quiet`.
    pub verbosity: Verbosity,
    /// `whoami`: whether to print a QR code of the connection code as well.
    pub qr: bool,
    /// `send`: the words of TEXT, joined by spaces. `None`: the lines come from stdin. The bytes
    /// are not checked yet: a line may be too long, or not UTF-8.
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

/// Looks up an environment variable by name.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Reads the options of this process from its arguments, its environment and the options file.
///
/// # Errors
/// The errors of [`parse`] and [`read_options_file`]. With -h or -V a bad options file is
/// ignored.
pub fn from_process() -> Result<Options, Failure> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let env: EnvLookup<'_> = &|name| std::env::var_os(name);
    match read_options_file(env) {
        Ok(file) => parse(args, env, file),
        Err(failure) => match parse(args, env, None)? {
            options if matches!(options.subcommand, Subcommand::Help | Subcommand::Version) => {
                Ok(options)
            }
            _ => Err(failure),
        },
    }
}

/// Reads `$XDG_CONFIG_HOME/p2pchat/options`. Without that variable, reads
/// `~/.config/p2pchat/options`. `None`: the file is missing.
///
/// # Errors
/// Exit status 78: the file cannot be read, is not UTF-8, or is longer than 64 KiB.
pub fn read_options_file(env: EnvLookup<'_>) -> Result<Option<String>, Failure> {
    let config = absolute_path_variable(env, "XDG_CONFIG_HOME")
        .or_else(|| absolute_path_variable(env, "HOME").map(|home| home.join(".config")));
    let Some(path) = config.map(|config| config.join("p2pchat/options")) else {
        return Ok(None);
    };
    let unusable = |why: &str| Failure::config(format!("options file {}: {why}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(unusable(&error.to_string())),
    };
    let mut text = String::new();
    file.take(OPTIONS_FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| unusable(&error.to_string()))?;
    if text.len() as u64 > OPTIONS_FILE_MAX_BYTES {
        return Err(unusable("longer than 64 KiB"));
    }
    Ok(Some(text))
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
    options_file: Option<String>,
) -> Result<Options, Failure> {
    let ParsedArguments {
        subcommand,
        options: parsed,
        text,
    } = parse_arguments(args)?;
    let uses_options = !matches!(subcommand, Subcommand::Help | Subcommand::Version);
    let sources = OptionSources {
        subcommand,
        command_line: if uses_options { parsed } else { Vec::new() },
        file: match options_file {
            Some(text) if uses_options => parse_options_file(&text)?,
            _ => Vec::new(),
        },
    };
    let username = choose_username(&sources, env)?;
    let (rooms, to_peer) = choose_rooms(&sources)?;
    let secret_file = sources.path_value(OptionId::SecretFile, env, "P2PCHAT_SECRET_FILE")?;
    Ok(Options {
        subcommand,
        username,
        explicit: START_ONLY_OPTIONS
            .into_iter()
            .filter(|id| is_given(&sources.command_line, *id))
            .collect(),
        port: sources.last_value(OptionId::Port, values::parse_port)?,
        multicast: sources
            .last_value(OptionId::Multicast, values::parse_multicast_group)?
            .unwrap_or(Some(DEFAULT_MULTICAST_GROUP)),
        rooms,
        to_peer,
        static_peers: choose_static_peers(&sources)?,
        interfaces: check_repeats(
            OptionId::Interface,
            sources.all_values(OptionId::Interface, values::parse_interface_name)?,
        )?,
        secret_file,
        directory: choose_directory(&sources, env)?,
        json: sources.has_flag(OptionId::Json),
        count: sources.last_value(OptionId::Count, values::parse_count)?,
        wait_ms: sources.last_value(OptionId::Wait, values::parse_wait_ms)?,
        need: sources.last_value(OptionId::Need, values::parse_need)?,
        backlog: sources
            .last_value(OptionId::Backlog, values::parse_backlog)?
            .unwrap_or(0),
        echo: !sources.has_flag(OptionId::NoEcho),
        has_slash_commands: sources.has_flag(OptionId::Commands),
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

/// The unparsed options of a run, separated by source.
struct OptionSources {
    subcommand: Subcommand,
    command_line: Vec<ParsedOption>,
    file: Vec<ParsedOption>,
}

/// Parses a value. The error is a sentence about the value.
type ValueParser<T> = fn(&OsStr) -> Result<T, String>;

impl OptionSources {
    /// Parses the values of an option. Returns the values on the command line, and then the values
    /// in the options file.
    ///
    /// The file serves all commands. If this run's command does not accept the option, the file's
    /// values are checked but not returned.
    fn values_by_source<T>(
        &self,
        id: OptionId,
        parse: ValueParser<T>,
    ) -> Result<(Vec<T>, Vec<T>), Failure> {
        let line = parse_values(&self.command_line, id, parse)?;
        let mut file = parse_values(&self.file, id, parse)
            .map_err(|failure| options_file_failure(&failure))?;
        if !self.is_applicable(id) {
            file.clear();
        }
        Ok((line, file))
    }

    fn is_applicable(&self, id: OptionId) -> bool {
        id.spec().subcommands.contains(&self.subcommand)
    }

    fn all_values<T>(&self, id: OptionId, parse: ValueParser<T>) -> Result<Vec<T>, Failure> {
        let (line, file) = self.values_by_source(id, parse)?;
        Ok(if line.is_empty() { file } else { line })
    }

    /// The last value of the option on the command line. If the command line has none, the last
    /// value in the options file.
    fn last_value<T>(&self, id: OptionId, parse: ValueParser<T>) -> Result<Option<T>, Failure> {
        Ok(self.all_values(id, parse)?.pop())
    }

    fn path_value(
        &self,
        id: OptionId,
        env: EnvLookup<'_>,
        name: &str,
    ) -> Result<Option<PathBuf>, Failure> {
        let (mut line, mut file) = self.values_by_source(id, values::parse_path)?;
        Ok(line
            .pop()
            .or_else(|| non_empty_variable(env, name).map(PathBuf::from))
            .or(file.pop()))
    }

    fn has_flag(&self, id: OptionId) -> bool {
        is_given(&self.command_line, id) || (is_given(&self.file, id) && self.is_applicable(id))
    }
}

fn is_given(options: &[ParsedOption], id: OptionId) -> bool {
    options.iter().any(|option| option.id == id)
}

fn parse_values<T>(
    options: &[ParsedOption],
    id: OptionId,
    parse: ValueParser<T>,
) -> Result<Vec<T>, Failure> {
    let values = raw_values(options, id)?.into_iter();
    values
        .map(|value| parse(&value).map_err(|sentence| value_failure(id, &sentence)))
        .collect()
}

/// Creates the failure for a bad value. Its message is the option's name, then the sentence about
/// the value. Not generic, so that it is compiled only once.
fn value_failure(id: OptionId, sentence: &str) -> Failure {
    Failure::usage(format!("{}: {sentence}", id.long()))
}

/// Inserts `options file: ` at the beginning of a failure's message. Not generic, so that it is
/// compiled only once.
fn options_file_failure(failure: &Failure) -> Failure {
    Failure::new(
        failure.exit_status,
        format!("options file: {}", failure.message),
    )
}

/// Extracts the unparsed values of the option `id` with pico-args. pico-args does not treat `--` as
/// the end of options, so [`arguments`](crate::shell::config::arguments) splits the command line
/// first. This function is not generic, so that it is compiled only once.
fn raw_values(options: &[ParsedOption], id: OptionId) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    for option in options.iter().filter(|option| option.id == id) {
        words.push(OsString::from(id.long()));
        words.extend(option.value.clone());
    }
    let unparsed = |value: &OsStr| Ok::<_, Infallible>(value.to_owned());
    Arguments::from_vec(words)
        .values_from_os_str(id.long(), unparsed)
        .map_err(|error| Failure::usage(error.to_string()))
}

/// The value of an environment variable. An empty value counts as missing.
fn non_empty_variable(env: EnvLookup<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

/// A path from an environment variable. A relative path counts as missing (XDG Base Directory
/// Specification).
fn absolute_path_variable(env: EnvLookup<'_>, name: &str) -> Option<PathBuf> {
    non_empty_variable(env, name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
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
    let user = || non_empty_variable(env, "USER").filter(|user| user != "root");
    let host = || nix::unistd::gethostname().ok();
    Ok(non_empty_variable(env, "P2PCHAT_USERNAME")
        .and_then(sanitize)
        .or(file.pop())
        .or_else(|| user().and_then(sanitize))
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
    if sources.subcommand == Subcommand::History {
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

fn choose_static_peers(sources: &OptionSources) -> Result<Vec<Endpoint>, Failure> {
    let endpoints = sources.all_values(OptionId::Peer, values::parse_static_peer)?;
    check_repeats(OptionId::Peer, endpoints.into_iter().flatten().collect())
}

fn check_repeats<T>(id: OptionId, list: Vec<T>) -> Result<Vec<T>, Failure> {
    if list.len() > OPTION_REPEATS_MAX {
        return Err(Failure::usage(format!(
            "{} was given more than {OPTION_REPEATS_MAX} times",
            id.long()
        )));
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
            (Some(_), true) => {
                return Err(Failure::usage(
                    "--dir keeps everything in a directory, --ephemeral keeps nothing: give one \
                     of them",
                ));
            }
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
