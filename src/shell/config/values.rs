//! What the values of options mean. Each function takes a value as it was typed; its error is a sentence that helps.
use std::ffi::OsStr;
use std::net::SocketAddrV4;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::name::{NICK_RULE, NameError, Nick, ROOM_RULE, Room, Whom};
use crate::base::time::Wall;
use crate::shell::config::failure::quoted;
use crate::wire::code::{DEFAULT_PORT, Place, places};

/// Longest wait, in seconds: some thirty years.
const WAIT_MAX: u64 = 1_000_000_000;
/// Longest name of an interface, in bytes (IFNAMSIZ − 1).
const INTERFACE_MAX: usize = 15;

/// When the transcript is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    At(Wall),
    /// Milliseconds before now.
    Ago(i64),
}

fn utf8(value: &OsStr) -> Result<&str, String> {
    let lossy = || format!("{} is not UTF-8", quoted(&value.to_string_lossy()));
    value.to_str().ok_or_else(lossy)
}

pub fn path(value: &OsStr) -> Result<PathBuf, String> {
    Ok(PathBuf::from(value))
}

pub fn nick(value: &OsStr) -> Result<Nick, String> {
    let text = utf8(value)?;
    Nick::new(text)
        .map_err(|error| format!("--username: the name {} {error}; {NICK_RULE}", quoted(text)))
}

pub fn room(value: &OsStr) -> Result<Room, String> {
    let text = utf8(value)?;
    Room::new(text).map_err(|error| match error {
        NameError::Empty => "--room needs a ROOM: quote '#ops', or write ops".into(),
        error => format!("--room: the room {} {error}; {ROOM_RULE}", quoted(text)),
    })
}

/// Where `send` says its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum To {
    Room(Room),
    Peer(Whom),
}

pub fn target(value: &OsStr) -> Result<To, String> {
    if value.as_bytes().starts_with(b"@") {
        let text = utf8(value)?;
        let whom = Whom::parse(text);
        return whom.map(To::Peer).map_err(|error| {
            let shown = quoted(text);
            let why = match error {
                // So long is an id, and nothing else.
                NameError::TooLong if text.len() == 53 => "is no id".to_owned(),
                error => error.to_string(),
            };
            format!("--to: the peer {shown} {why}; it is @name, @name~abcd, or @ and an id")
        });
    }
    let room = room(value).map_err(|sentence| sentence.replacen("--room", "--to", 1));
    room.map(To::Room)
}

pub fn port(value: &OsStr) -> Result<u16, String> {
    let text = utf8(value)?;
    let no = |_| {
        format!(
            "--port takes a number from 0 to 65535, not {}",
            quoted(text)
        )
    };
    text.parse().map_err(no)
}

pub fn group(value: &OsStr) -> Result<Option<SocketAddrV4>, String> {
    let text = utf8(value)?;
    if text == "none" {
        return Ok(None);
    }
    let address = text
        .parse()
        .or_else(|_| text.parse().map(|ip| SocketAddrV4::new(ip, DEFAULT_PORT)));
    match address {
        Ok(address) if address.ip().is_multicast() && address.port() != 0 => Ok(Some(address)),
        Ok(_) => Err(format!(
            "--multicast takes an IPv4 address from 224.0.0.0 to 239.255.255.255, with :PORT or without, or none, not {}",
            quoted(text)
        )),
        Err(_) => Err(format!(
            "--multicast takes an IPv4 multicast address or none, not {0}; to say {0}: p2pchat send {1}",
            quoted(text),
            spoken(text)
        )),
    }
}

/// As it would have to be typed.
fn spoken(text: &str) -> &str {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | ',' | '_');
    if text.len() <= 40 && text.chars().all(plain) {
        text
    } else {
        "TEXT"
    }
}

pub fn peer(value: &OsStr) -> Result<Vec<Place>, String> {
    let text = utf8(value)?;
    places(text).map_err(|error| format!("--peer: the address {} {error}", quoted(text)))
}

pub fn interface(value: &OsStr) -> Result<String, String> {
    let text = utf8(value)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if text.len() > INTERFACE_MAX || text.contains(odd) {
        return Err(format!(
            "--interface takes a name such as eth0, not {}",
            quoted(text)
        ));
    }
    Ok(text.to_owned())
}

fn number(value: &OsStr, long: &str, least: u64) -> Result<u64, String> {
    let text = utf8(value)?;
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!(
            "{long} takes a whole number from {least} up, not {}",
            quoted(text)
        )),
    }
}

pub fn count(value: &OsStr) -> Result<u64, String> {
    number(value, "--count", 1)
}

pub fn need(value: &OsStr) -> Result<u64, String> {
    number(value, "--need", 0)
}

pub fn backlog(value: &OsStr) -> Result<u64, String> {
    number(value, "--backlog", 0)
}

pub fn wait(value: &OsStr) -> Result<u64, String> {
    let text = utf8(value)?;
    milliseconds(text)
        .filter(|ms| *ms <= WAIT_MAX * 1000)
        .ok_or_else(|| {
            format!(
                "--wait takes seconds from 0 up, such as 2 or 0.5, not {}",
                quoted(text)
            )
        })
}

/// Seconds with or without a fraction, in milliseconds. Rounded up: a wait that was asked for is never none.
fn milliseconds(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = format!("0{whole}").parse().ok()?;
    let ms: u64 = format!("{fraction:0<3.3}").parse().ok()?;
    let finer = fraction.bytes().skip(3).any(|digit| digit != b'0');
    seconds
        .checked_mul(1000)?
        .checked_add(ms + u64::from(finer))
}

impl Since {
    /// A date begins at midnight UTC, as the times on a pipe are UTC.
    pub fn parse(text: &str) -> Option<Since> {
        let ago = || {
            let unit = text.chars().last()?;
            let number: u32 = text.strip_suffix(unit)?.parse().ok()?;
            let seconds = match unit {
                's' => 1,
                'm' => 60,
                'h' => 3600,
                'd' => 86_400,
                _ => return None,
            };
            Some(Since::Ago(i64::from(number) * seconds * 1000))
        };
        Wall::parse(text)
            .or_else(|| Wall::parse(&format!("{text}T00:00:00Z")))
            .map(Since::At)
            .or_else(ago)
    }
}

/// As it was typed: [`Since::parse`] understands it.
pub fn since(value: &OsStr) -> Result<String, String> {
    let text = utf8(value)?;
    match Since::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "--since takes 2026-11-21T10:31:04Z, 2026-11-21, or how long ago, as 90s, 10m, 2h, 3d, not {}",
            quoted(text)
        )),
    }
}

pub fn search(value: &OsStr) -> Result<String, String> {
    utf8(value).map(str::to_owned)
}

pub fn when(value: &OsStr) -> Result<Color, String> {
    match utf8(value)? {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        other => Err(format!(
            "--color takes auto, always or never, not {}",
            quoted(other)
        )),
    }
}
