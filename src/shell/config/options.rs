//! What the user wants: command line, environment and options file, made one.
//!
//! Command line before environment before file; what stands in none of them has a default.
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
use crate::wire::code::Endpoint;

/// The beacon's group if nothing else is said.
pub const DEFAULT_MULTICAST_GROUP: SocketAddrV4 =
    SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 9999);
/// Most rooms, interfaces and places to dial that may be given.
pub const OPTION_REPEATS_MAX: usize = 64;
/// Options that a running program cannot change for those who act through it.
const START_ONLY_OPTIONS: [OptionId; 5] = [
    OptionId::Username,
    OptionId::Port,
    OptionId::Multicast,
    OptionId::Interface,
    OptionId::SecretFile,
];
/// Longest options file, in bytes.
const OPTIONS_FILE_MAX_BYTES: u64 = 64 * 1024;

/// All that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub subcommand: Subcommand,
    pub username: Nick,
    /// Options on the command line that a running program cannot change.
    pub explicit: Vec<OptionId>,
    /// `None`: 9999, or any free one if that is taken. `Some(0)`: any free one.
    pub port: Option<u16>,
    /// `None`: no beacon of any kind.
    pub multicast: Option<SocketAddrV4>,
    /// At least one, each once; the first is spoken in. For `send --to` that is the target. For `history` only these are shown, and
    /// none stands for all.
    pub rooms: Vec<Room>,
    /// `send --to`, if that is a peer.
    pub to_peer: Option<PeerSelector>,
    /// To be dialed.
    pub static_peers: Vec<Endpoint>,
    /// Only these; empty: all.
    pub interfaces: Vec<String>,
    pub secret_file: Option<PathBuf>,
    /// The state directory; `None`: --ephemeral.
    pub directory: Option<PathBuf>,
    pub json: bool,
    /// `listen`: chat lines after which to stop, at least 1. `history`: only the last so many.
    pub count: Option<u64>,
    /// Milliseconds; `None`: what the command does by default.
    pub wait_ms: Option<u64>,
    /// `send`: how many peers must hold it; `None`: everyone known to be in the room.
    pub need: Option<u64>,
    /// Stored lines to be printed first.
    pub backlog: u64,
    /// Own lines are printed.
    pub echo: bool,
    /// Piped lines that begin with / are commands.
    pub has_slash_commands: bool,
    pub color: Color,
    /// How much goes to stderr; --debug outweighs --quiet.
    pub verbosity: Verbosity,
    /// `whoami`: the connection code as a picture.
    pub qr: bool,
    /// `send`: TEXT, its words joined by one space; `None`: stdin. Not yet checked for UTF-8 and length: [`Options::lines`].
    pub text: Option<Vec<u8>>,
    /// `history`: by the author's time.
    pub since: Option<Since>,
    /// `history`: only lines with this text.
    pub search: Option<String>,
}

impl Options {
    /// Nothing goes to disk.
    pub fn is_ephemeral(&self) -> bool {
        self.directory.is_none()
    }

    /// The lines of TEXT, without their ends: each is one message. Empty TEXT has none.
    pub fn text_lines(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.text.as_deref().unwrap_or_default();
        text.split_inclusive(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// The environment, by name.
pub type EnvLookup<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Of this process: its arguments, its environment, its options file.
///
/// # Errors
/// As of [`parse`] and [`read_file`]; a bad options file keeps nobody from -h and -V.
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

/// The content of `$XDG_CONFIG_HOME/p2pchat/options`, else of `~/.config/p2pchat/options`; `None` if there is none.
///
/// # Errors
/// 78: it cannot be read, is not UTF-8, or is longer than 64 KiB.
pub fn read_options_file(env: EnvLookup<'_>) -> Result<Option<String>, Failure> {
    let config = absolute_path_variable(env, "XDG_CONFIG_HOME")
        .or_else(|| absolute_path_variable(env, "HOME").map(|home| home.join(".config")));
    let Some(path) = config.map(|config| config.join("p2pchat/options")) else {
        return Ok(None);
    };
    let bad = |why: &str| Failure::config(format!("options file {}: {why}", path.display()));
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(bad(&error.to_string())),
    };
    let mut text = String::new();
    file.take(OPTIONS_FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| bad(&error.to_string()))?;
    if text.len() as u64 > OPTIONS_FILE_MAX_BYTES {
        return Err(bad("longer than 64 KiB"));
    }
    Ok(Some(text))
}

/// `args`: without the program's own name. `options_file`: its content, if there is one.
/// With -h or -V the rest has its defaults, whatever else was given.
///
/// # Errors
/// 2, with one sentence that helps.
pub fn parse(
    args: Vec<OsString>,
    env: EnvLookup<'_>,
    options_file: Option<String>,
) -> Result<Options, Failure> {
    let ParsedArguments {
        subcommand: verb,
        options: given,
        text,
    } = parse_arguments(args)?;
    let asked = !matches!(verb, Subcommand::Help | Subcommand::Version);
    let sources = OptionSources {
        subcommand: verb,
        command_line: if asked { given } else { Vec::new() },
        file: match options_file {
            Some(text) if asked => parse_options_file(&text)?,
            _ => Vec::new(),
        },
    };
    let username = choose_username(&sources, env)?;
    let (rooms, to) = choose_rooms(&sources)?;
    let secret_file = sources.path_value(OptionId::SecretFile, env, "P2PCHAT_SECRET_FILE")?;
    Ok(Options {
        subcommand: verb,
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
        to_peer: to,
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

/// The same option from several places.
struct OptionSources {
    subcommand: Subcommand,
    command_line: Vec<ParsedOption>,
    file: Vec<ParsedOption>,
}

/// What a value means, or why it means nothing, as a sentence.
type ValueParser<T> = fn(&OsStr) -> Result<T, String>;

impl OptionSources {
    /// From the command line, and from the file. What the file says of other commands' options is checked, and left out.
    fn values_by_source<T>(
        &self,
        id: OptionId,
        f: ValueParser<T>,
    ) -> Result<(Vec<T>, Vec<T>), Failure> {
        let line = parse_values(&self.command_line, id, f)?;
        let mut file = parse_values(&self.file, id, f).map_err(|failure| {
            Failure::new(
                failure.exit_status,
                format!("options file: {}", failure.message),
            )
        })?;
        if !self.is_applicable(id) {
            file.clear();
        }
        Ok((line, file))
    }

    fn is_applicable(&self, id: OptionId) -> bool {
        id.spec().subcommands.contains(&self.subcommand)
    }

    fn all_values<T>(&self, id: OptionId, f: ValueParser<T>) -> Result<Vec<T>, Failure> {
        let (line, file) = self.values_by_source(id, f)?;
        Ok(if line.is_empty() { file } else { line })
    }

    /// Of several the last counts.
    fn last_value<T>(&self, id: OptionId, f: ValueParser<T>) -> Result<Option<T>, Failure> {
        Ok(self.all_values(id, f)?.pop())
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

fn is_given(given: &[ParsedOption], id: OptionId) -> bool {
    given.iter().any(|given| given.id == id)
}

fn parse_values<T>(
    given: &[ParsedOption],
    id: OptionId,
    f: ValueParser<T>,
) -> Result<Vec<T>, Failure> {
    let values = raw_values(given, id)?.into_iter();
    values.map(|v| f(&v).map_err(Failure::usage)).collect()
}

/// The option part was found by our own scan, as pico-args knows no end of options; the values are its own business. One copy for all
/// types of value: it is large.
fn raw_values(given: &[ParsedOption], id: OptionId) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    for given in given.iter().filter(|given| given.id == id) {
        words.push(OsString::from(id.long()));
        words.extend(given.value.clone());
    }
    let whole = |value: &OsStr| Ok::<_, Infallible>(value.to_owned());
    Arguments::from_vec(words)
        .values_from_os_str(id.long(), whole)
        .map_err(|error| Failure::usage(error.to_string()))
}

/// An empty variable is as good as none.
fn non_empty_variable(env: EnvLookup<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

/// A relative path in these variables means nothing (XDG Base Directory Specification).
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
    let cleaned = |text: OsString| {
        let text = text.to_string_lossy().replace('\u{fffd}', "");
        Nick::sanitize(&text)
    };
    let user = || non_empty_variable(env, "USER").filter(|user| user != "root");
    let host = || nix::unistd::gethostname().ok();
    Ok(non_empty_variable(env, "P2PCHAT_USERNAME")
        .and_then(cleaned)
        .or(file.pop())
        .or_else(|| user().and_then(cleaned))
        .or_else(|| host().and_then(cleaned))
        .unwrap_or_else(|| Nick::new_or_placeholder("anonymous")))
}

fn choose_rooms(sources: &OptionSources) -> Result<(Vec<Room>, Option<PeerSelector>), Failure> {
    let mut rooms: Vec<Room> = Vec::new();
    let (to, whom) = match sources.last_value(OptionId::To, values::parse_recipient)? {
        Some(Recipient::Room(room)) => (Some(room), None),
        Some(Recipient::Peer(whom)) => (None, Some(whom)),
        None => (None, None),
    };
    if sources.subcommand == Subcommand::History {
        let only = sources.all_values(OptionId::Room, values::parse_room)?;
        return Ok((
            check_repeats(OptionId::Room, to.map_or(only, |to| vec![to]))?,
            whom,
        ));
    }
    for room in to
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
    Ok((check_repeats(OptionId::Room, rooms)?, whom))
}

fn choose_static_peers(sources: &OptionSources) -> Result<Vec<Endpoint>, Failure> {
    let codes = sources.all_values(OptionId::Peer, values::parse_static_peer)?;
    check_repeats(OptionId::Peer, codes.into_iter().flatten().collect())
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

/// `None`: in memory only.
fn choose_directory(
    sources: &OptionSources,
    env: EnvLookup<'_>,
) -> Result<Option<PathBuf>, Failure> {
    let (mut line, mut file) = sources.values_by_source(OptionId::Dir, values::parse_path)?;
    let levels = [
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
    for level in levels {
        match level {
            (Some(_), true) => {
                return Err(Failure::usage(
                    "--dir keeps everything in a directory, --ephemeral keeps nothing: give one of them",
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
