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

use crate::base::name::{Nick, Room, Whom};
use crate::shell::config::arguments::{Given, SPECS, Scanned, Verb, scan, scan_file};
use crate::shell::config::failure::Failure;
use crate::shell::config::values;
use crate::shell::config::values::{Color, Since, To};
use crate::wire::code::Place;

/// The beacon's group if nothing else is said.
pub const DEFAULT_GROUP: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(224, 0, 0, 1), 9999);
/// Most rooms, interfaces and places to dial that may be given.
pub const REPEATS_MAX: usize = 64;
/// What a program is started with, and cannot change for those who act through it.
pub const OF_PROGRAM: [&str; 5] = [
    "--username",
    "--port",
    "--multicast",
    "--interface",
    "--secret-file",
];
/// Longest options file, in bytes.
const FILE_MAX: u64 = 64 * 1024;

/// All that can be chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    pub command: Verb,
    pub username: Nick,
    /// Of [`OF_PROGRAM`], those that stand on the command line.
    pub by_hand: Vec<&'static str>,
    /// `None`: 9999, or any free one if that is taken. `Some(0)`: any free one.
    pub port: Option<u16>,
    /// `None`: no beacon of any kind.
    pub multicast: Option<SocketAddrV4>,
    /// At least one, each once; the first is spoken in. For `send --to` that is the target. For `history` only these are shown, and
    /// none stands for all.
    pub rooms: Vec<Room>,
    /// `send --to`, if that is a peer.
    pub to: Option<Whom>,
    /// To be dialed.
    pub peers: Vec<Place>,
    /// Only these; empty: all.
    pub interfaces: Vec<String>,
    pub secret_file: Option<PathBuf>,
    /// The state directory; `None`: --ephemeral.
    pub directory: Option<PathBuf>,
    pub json: bool,
    /// `listen`: chat lines after which to stop, at least 1. `history`: only the last so many.
    pub count: Option<u64>,
    /// Milliseconds; `None`: what the command does by default.
    pub wait: Option<u64>,
    /// `send`: how many peers must hold it; `None`: everyone known to be in the room.
    pub need: Option<u64>,
    /// Stored lines to be printed first.
    pub backlog: u64,
    /// Own lines are printed.
    pub echo: bool,
    /// Piped lines that begin with / are commands.
    pub commands: bool,
    pub color: Color,
    pub quiet: bool,
    pub debug: bool,
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
    pub fn ephemeral(&self) -> bool {
        self.directory.is_none()
    }

    /// The lines of TEXT, without their ends: each is one message. Empty TEXT has none.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let text = self.text.as_deref().unwrap_or_default();
        text.split_inclusive(|b| *b == b'\n')
            .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
    }
}

/// The environment, by name.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Of this process: its arguments, its environment, its options file.
///
/// # Errors
/// As of [`parse`] and [`read_file`]; a bad options file keeps nobody from -h and -V.
pub fn of_process() -> Result<Options, Failure> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    let env: Env<'_> = &|name| std::env::var_os(name);
    match read_file(env) {
        Ok(file) => parse(args, env, file),
        Err(failure) => match parse(args, env, None)? {
            options if matches!(options.command, Verb::Help | Verb::Version) => Ok(options),
            _ => Err(failure),
        },
    }
}

/// The content of `$XDG_CONFIG_HOME/p2pchat/options`, else of `~/.config/p2pchat/options`; `None` if there is none.
///
/// # Errors
/// 78: it cannot be read, is not UTF-8, or is longer than 64 KiB.
pub fn read_file(env: Env<'_>) -> Result<Option<String>, Failure> {
    let config = absolute(env, "XDG_CONFIG_HOME")
        .or_else(|| absolute(env, "HOME").map(|home| home.join(".config")));
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
    file.take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(|error| bad(&error.to_string()))?;
    if text.len() as u64 > FILE_MAX {
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
    env: Env<'_>,
    options_file: Option<String>,
) -> Result<Options, Failure> {
    let Scanned { verb, given, text } = scan(args)?;
    let asked = !matches!(verb, Verb::Help | Verb::Version);
    let sources = Sources {
        verb,
        line: if asked { given } else { Vec::new() },
        file: match options_file {
            Some(text) if asked => scan_file(&text)?,
            _ => Vec::new(),
        },
    };
    let username = username(&sources, env)?;
    let (rooms, to) = rooms(&sources)?;
    let secret_file = sources.path("--secret-file", env, "P2PCHAT_SECRET_FILE")?;
    Ok(Options {
        command: verb,
        username,
        by_hand: OF_PROGRAM
            .into_iter()
            .filter(|long| has(&sources.line, long))
            .collect(),
        port: sources.last("--port", values::port)?,
        multicast: sources
            .last("--multicast", values::group)?
            .unwrap_or(Some(DEFAULT_GROUP)),
        rooms,
        to,
        peers: peers(&sources)?,
        interfaces: bounded(
            "--interface",
            sources.all("--interface", values::interface)?,
        )?,
        secret_file,
        directory: directory(&sources, env)?,
        json: sources.flag("--json"),
        count: sources.last("--count", values::count)?,
        wait: sources.last("--wait", values::wait)?,
        need: sources.last("--need", values::need)?,
        backlog: sources.last("--backlog", values::backlog)?.unwrap_or(0),
        echo: !sources.flag("--no-echo"),
        commands: sources.flag("--commands"),
        color: color(&sources, env)?,
        quiet: sources.flag("--quiet"),
        debug: sources.flag("--debug"),
        qr: sources.flag("--qr"),
        text: (!text.is_empty()).then(|| text.join(OsStr::new(" ")).as_bytes().to_vec()),
        since: sources
            .last("--since", values::since)?
            .and_then(|text| Since::parse(&text)),
        search: sources.last("--search", values::search)?,
    })
}

/// The same option from several places.
struct Sources {
    verb: Verb,
    line: Vec<Given>,
    file: Vec<Given>,
}

/// What a value means, or why it means nothing, as a sentence.
type Meaning<T> = fn(&OsStr) -> Result<T, String>;

impl Sources {
    /// From the command line, and from the file. What the file says of other commands' options is checked, and left out.
    fn both<T>(&self, long: &'static str, f: Meaning<T>) -> Result<(Vec<T>, Vec<T>), Failure> {
        let line = understood(&self.line, long, f)?;
        let mut file = understood(&self.file, long, f).map_err(|failure| {
            Failure::new(
                failure.status,
                format!("options file: {}", failure.sentence),
            )
        })?;
        if !self.belongs(long) {
            file.clear();
        }
        Ok((line, file))
    }

    fn belongs(&self, long: &str) -> bool {
        SPECS
            .iter()
            .any(|spec| spec.long == long && spec.verbs.contains(&self.verb))
    }

    fn all<T>(&self, long: &'static str, f: Meaning<T>) -> Result<Vec<T>, Failure> {
        let (line, file) = self.both(long, f)?;
        Ok(if line.is_empty() { file } else { line })
    }

    /// Of several the last counts.
    fn last<T>(&self, long: &'static str, f: Meaning<T>) -> Result<Option<T>, Failure> {
        Ok(self.all(long, f)?.pop())
    }

    fn path(
        &self,
        long: &'static str,
        env: Env<'_>,
        name: &str,
    ) -> Result<Option<PathBuf>, Failure> {
        let (mut line, mut file) = self.both(long, values::path)?;
        Ok(line
            .pop()
            .or_else(|| set(env, name).map(PathBuf::from))
            .or(file.pop()))
    }

    fn flag(&self, long: &str) -> bool {
        has(&self.line, long) || (has(&self.file, long) && self.belongs(long))
    }
}

fn has(given: &[Given], long: &str) -> bool {
    given.iter().any(|given| given.long == long)
}

fn understood<T>(given: &[Given], long: &'static str, f: Meaning<T>) -> Result<Vec<T>, Failure> {
    let values = values_of(given, long)?.into_iter();
    values.map(|v| f(&v).map_err(Failure::usage)).collect()
}

/// The option part was found by our own scan, as pico-args knows no end of options; the values are its own business. One copy for all
/// types of value: it is large.
fn values_of(given: &[Given], long: &'static str) -> Result<Vec<OsString>, Failure> {
    let mut words = Vec::new();
    for given in given.iter().filter(|given| given.long == long) {
        words.push(OsString::from(long));
        words.extend(given.value.clone());
    }
    let whole = |value: &OsStr| Ok::<_, Infallible>(value.to_owned());
    Arguments::from_vec(words)
        .values_from_os_str(long, whole)
        .map_err(|error| Failure::usage(error.to_string()))
}

/// An empty variable is as good as none.
fn set(env: Env<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}

/// A relative path in these variables means nothing (XDG Base Directory Specification).
fn absolute(env: Env<'_>, name: &str) -> Option<PathBuf> {
    set(env, name)
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
}

fn username(sources: &Sources, env: Env<'_>) -> Result<Nick, Failure> {
    let (mut line, mut file) = sources.both("--username", values::nick)?;
    if let Some(nick) = line.pop() {
        return Ok(nick);
    }
    let cleaned = |text: OsString| {
        let text = text.to_string_lossy().replace('\u{fffd}', "");
        Nick::cleaned(&text)
    };
    let user = || set(env, "USER").filter(|user| user != "root");
    let host = || nix::unistd::gethostname().ok();
    Ok(set(env, "P2PCHAT_USERNAME")
        .and_then(cleaned)
        .or(file.pop())
        .or_else(|| user().and_then(cleaned))
        .or_else(|| host().and_then(cleaned))
        .unwrap_or_else(|| Nick::foreign("anonymous")))
}

fn rooms(sources: &Sources) -> Result<(Vec<Room>, Option<Whom>), Failure> {
    let mut rooms: Vec<Room> = Vec::new();
    let (to, whom) = match sources.last("--to", values::target)? {
        Some(To::Room(room)) => (Some(room), None),
        Some(To::Peer(whom)) => (None, Some(whom)),
        None => (None, None),
    };
    if sources.verb == Verb::History {
        let only = sources.all("--room", values::room)?;
        return Ok((bounded("--room", to.map_or(only, |to| vec![to]))?, whom));
    }
    for room in to.into_iter().chain(sources.all("--room", values::room)?) {
        if !rooms.contains(&room) {
            rooms.push(room);
        }
    }
    if rooms.is_empty() {
        rooms.push(Room::general());
    }
    Ok((bounded("--room", rooms)?, whom))
}

fn peers(sources: &Sources) -> Result<Vec<Place>, Failure> {
    let codes = sources.all("--peer", values::peer)?;
    bounded("--peer", codes.into_iter().flatten().collect())
}

fn bounded<T>(long: &str, list: Vec<T>) -> Result<Vec<T>, Failure> {
    if list.len() > REPEATS_MAX {
        return Err(Failure::usage(format!(
            "{long} was given more than {REPEATS_MAX} times"
        )));
    }
    Ok(list)
}

/// `None`: in memory only.
fn directory(sources: &Sources, env: Env<'_>) -> Result<Option<PathBuf>, Failure> {
    let (mut line, mut file) = sources.both("--dir", values::path)?;
    let levels = [
        (line.pop(), has(&sources.line, "--ephemeral")),
        (set(env, "P2PCHAT_DIR").map(PathBuf::from), false),
        (file.pop(), has(&sources.file, "--ephemeral")),
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
    let state = absolute(env, "XDG_STATE_HOME")
        .or_else(|| absolute(env, "HOME").map(|home| home.join(".local/state")))
        .unwrap_or_else(|| PathBuf::from("/var/lib"));
    Ok(Some(state.join("p2pchat")))
}

fn color(sources: &Sources, env: Env<'_>) -> Result<Color, Failure> {
    let (mut line, mut file) = sources.both("--color", values::when)?;
    let env = set(env, "NO_COLOR").map(|_| Color::Never);
    Ok(line.pop().or(env).or(file.pop()).unwrap_or(Color::Auto))
}
