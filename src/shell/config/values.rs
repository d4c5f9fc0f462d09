//! What the values of options mean. Each function takes a value as it was typed; its error is a sentence that helps.
use std::ffi::OsStr;
use std::net::SocketAddrV4;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::name::{NICK_RULE, NameError, Nick, PeerSelector, ROOM_RULE, Room};
use crate::base::time::WallTime;
use crate::shell::config::failure::quote_truncated;
use crate::wire::code::{DEFAULT_PORT, Endpoint, parse_endpoints};

/// Longest wait, in seconds: some thirty years.
const WAIT_MAX_SECONDS: u64 = 1_000_000_000;
/// Longest name of an interface, in bytes (IFNAMSIZ − 1).
const INTERFACE_NAME_MAX_BYTES: usize = 15;

/// When the transcript is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Auto,
    Always,
    Never,
}

/// How much goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures only: `--quiet`.
    Quiet,
    /// Failures, warnings and readiness.
    Normal,
    /// Connections, interfaces and errors that are retried, too, and counters at the end: `--debug`.
    Debug,
}

/// From when on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    At(WallTime),
    /// Milliseconds before now.
    AgoMs(i64),
}

fn require_utf8(value: &OsStr) -> Result<&str, String> {
    let lossy = || format!("{} is not UTF-8", quote_truncated(&value.to_string_lossy()));
    value.to_str().ok_or_else(lossy)
}

pub fn parse_path(value: &OsStr) -> Result<PathBuf, String> {
    Ok(PathBuf::from(value))
}

pub fn parse_nick(value: &OsStr) -> Result<Nick, String> {
    let text = require_utf8(value)?;
    Nick::new(text).map_err(|error| {
        format!(
            "--username: the name {} {error}; {NICK_RULE}",
            quote_truncated(text)
        )
    })
}

pub fn parse_room(value: &OsStr) -> Result<Room, String> {
    let text = require_utf8(value)?;
    Room::new(text).map_err(|error| match error {
        NameError::Empty => "--room needs a ROOM: quote '#ops', or write ops".into(),
        error => format!(
            "--room: the room {} {error}; {ROOM_RULE}",
            quote_truncated(text)
        ),
    })
}

/// Where `send` says its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    Room(Room),
    Peer(PeerSelector),
}

pub fn parse_recipient(value: &OsStr) -> Result<Recipient, String> {
    if value.as_bytes().starts_with(b"@") {
        let text = require_utf8(value)?;
        let whom = PeerSelector::parse(text);
        return whom.map(Recipient::Peer).map_err(|error| {
            let shown = quote_truncated(text);
            let why = match error {
                // So long is an id, and nothing else.
                NameError::TooLong if text.len() == 53 => "is no id".to_owned(),
                error => error.to_string(),
            };
            format!("--to: the peer {shown} {why}; it is @name, @name~abcd, or @ and an id")
        });
    }
    let room = parse_room(value).map_err(|sentence| sentence.replacen("--room", "--to", 1));
    room.map(Recipient::Room)
}

pub fn parse_port(value: &OsStr) -> Result<u16, String> {
    let text = require_utf8(value)?;
    let no = |_| {
        format!(
            "--port takes a number from 0 to 65535, not {}",
            quote_truncated(text)
        )
    };
    text.parse().map_err(no)
}

pub fn parse_multicast_group(value: &OsStr) -> Result<Option<SocketAddrV4>, String> {
    let text = require_utf8(value)?;
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
            quote_truncated(text)
        )),
        Err(_) => Err(format!(
            "--multicast takes an IPv4 multicast address or none, not {0}; to say {0}: p2pchat send {1}",
            quote_truncated(text),
            example_text(text)
        )),
    }
}

/// As it would have to be typed.
fn example_text(text: &str) -> &str {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | ',' | '_');
    if text.len() <= 40 && text.chars().all(plain) {
        text
    } else {
        "TEXT"
    }
}

pub fn parse_static_peer(value: &OsStr) -> Result<Vec<Endpoint>, String> {
    let text = require_utf8(value)?;
    parse_endpoints(text)
        .map_err(|error| format!("--peer: the address {} {error}", quote_truncated(text)))
}

pub fn parse_interface_name(value: &OsStr) -> Result<String, String> {
    let text = require_utf8(value)?;
    let odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if text.len() > INTERFACE_NAME_MAX_BYTES || text.contains(odd) {
        return Err(format!(
            "--interface takes a name such as eth0, not {}",
            quote_truncated(text)
        ));
    }
    Ok(text.to_owned())
}

fn parse_number(value: &OsStr, long: &str, least: u64) -> Result<u64, String> {
    let text = require_utf8(value)?;
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!(
            "{long} takes a whole number from {least} up, not {}",
            quote_truncated(text)
        )),
    }
}

pub fn parse_count(value: &OsStr) -> Result<u64, String> {
    parse_number(value, "--count", 1)
}

pub fn parse_need(value: &OsStr) -> Result<u64, String> {
    parse_number(value, "--need", 0)
}

pub fn parse_backlog(value: &OsStr) -> Result<u64, String> {
    parse_number(value, "--backlog", 0)
}

pub fn parse_wait_ms(value: &OsStr) -> Result<u64, String> {
    let text = require_utf8(value)?;
    parse_seconds_as_ms(text)
        .filter(|ms| *ms <= WAIT_MAX_SECONDS * 1000)
        .ok_or_else(|| {
            format!(
                "--wait takes seconds from 0 up, such as 2 or 0.5, not {}",
                quote_truncated(text)
            )
        })
}

/// Seconds with or without a fraction, in milliseconds. Rounded up: a wait that was asked for is never none.
fn parse_seconds_as_ms(text: &str) -> Option<u64> {
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
            Some(Since::AgoMs(i64::from(number) * seconds * 1000))
        };
        WallTime::parse(text)
            .or_else(|| WallTime::parse(&format!("{text}T00:00:00Z")))
            .map(Since::At)
            .or_else(ago)
    }
}

/// As it was typed: [`Since::parse`] understands it.
pub fn check_since(value: &OsStr) -> Result<String, String> {
    let text = require_utf8(value)?;
    match Since::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "--since takes 2026-11-21T10:31:04Z, 2026-11-21, or how long ago, as 90s, 10m, 2h, 3d, not {}",
            quote_truncated(text)
        )),
    }
}

pub fn parse_search(value: &OsStr) -> Result<String, String> {
    require_utf8(value).map(str::to_owned)
}

pub fn parse_color(value: &OsStr) -> Result<Color, String> {
    match require_utf8(value)? {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        other => Err(format!(
            "--color takes auto, always or never, not {}",
            quote_truncated(other)
        )),
    }
}
