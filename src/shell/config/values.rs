//! Parses the values of options.
//!
//! Each function takes a value as typed. Its error is a sentence about the value. The caller puts
//! the option's name before that sentence.
use std::ffi::OsStr;
use std::net::SocketAddrV4;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use crate::base::name::{NICK_RULE, NameError, Nick, PeerSelector, ROOM_RULE, Room};
use crate::base::time::WallTime;
use crate::shell::config::failure::quote_truncated;
use crate::ui::line_filter::LinePattern;
use crate::ui::line_format::LineFormat;
use crate::wire::code::{DEFAULT_PORT, Endpoint, EndpointError, parse_endpoints, parse_peer};

/// Longest accepted wait in seconds, about 30 years. With this limit, a wait in milliseconds cannot
/// overflow.
const WAIT_MAX_SECONDS: u64 = 1_000_000_000;
/// Longest host and port of the URL of a Grape, in bytes.
const GRAPE_MAX_BYTES: usize = 256;
/// Longest interface name, in bytes (IFNAMSIZ − 1).
const INTERFACE_NAME_MAX_BYTES: usize = 15;

/// Longest user input, in bytes, that an error message repeats in its example command.
const EXAMPLE_MAX_BYTES: usize = 40;

/// When the transcript is coloured: `--color`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    /// Colour on a terminal only.
    Auto,
    /// Colour everywhere. A pipe then gets the same output as a terminal.
    Always,
    /// Never colour.
    Never,
}

impl Color {
    /// The value of --color.
    pub fn as_str(self) -> &'static str {
        match self {
            Color::Auto => "auto",
            Color::Always => "always",
            Color::Never => "never",
        }
    }
}

/// How much goes to stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verbosity {
    /// Failures only: `--quiet`.
    Quiet,
    /// Failures, warnings, and the line that says that the program is ready.
    Normal,
    /// Everything that [`Verbosity::Normal`] prints, and more: connections, interfaces, errors that
    /// are retried, and counters at the end. Chosen by `--debug`.
    Debug,
}

/// The time of the oldest line to print: `--since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// A point in time.
    At(WallTime),
    /// This many milliseconds before the command started.
    AgoMs(i64),
}

fn require_utf8(value: &OsStr) -> Result<&str, String> {
    let lossy = || format!("{} is not UTF-8", quote_truncated(&value.to_string_lossy()));
    value.to_str().ok_or_else(lossy)
}

/// Accepts any path.
///
/// # Errors
/// None. The function returns a `Result` only because all value parsers do.
pub fn parse_path(value: &OsStr) -> Result<PathBuf, String> {
    Ok(PathBuf::from(value))
}

/// Parses a nick.
///
/// # Errors
/// The value breaks a rule for nicks. The sentence states the rule.
pub fn parse_nick(value: &OsStr) -> Result<Nick, String> {
    let text = require_utf8(value)?;
    Nick::new(text)
        .map_err(|error| format!("the name {} {error}; {NICK_RULE}", quote_truncated(text)))
}

/// Parses a room name, with or without its `#`.
///
/// # Errors
/// The value breaks a rule for room names. The sentence states the rule.
pub fn parse_room(value: &OsStr) -> Result<Room, String> {
    let text = require_utf8(value)?;
    Room::new(text).map_err(|error| match error {
        NameError::Empty => "the name of the room is empty: quote '#ops', or write ops".into(),
        error => format!("the room {} {error}; {ROOM_RULE}", quote_truncated(text)),
    })
}

/// The value of `--to`: a room or peer that `send` sends to, or that `history` is limited to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recipient {
    /// A room.
    Room(Room),
    /// A peer, by name or id.
    Peer(PeerSelector),
}

/// Parses the value of `--to`. A peer begins with `@`, and a room begins with `#`. Any other value
/// is refused. Otherwise a forgotten `@` would send a direct message to a room.
///
/// # Errors
/// The value is a bare word, or breaks a rule for peers or rooms. The sentence states the rule.
pub fn parse_recipient(value: &OsStr) -> Result<Recipient, String> {
    if value.as_bytes().starts_with(b"@") {
        let text = require_utf8(value)?;
        let selector = PeerSelector::parse(text);
        return selector.map(Recipient::Peer).map_err(|error| {
            let shown = quote_truncated(text);
            let why = match error {
                NameError::TooLong if text.len() == 53 => "is not an id".to_owned(),
                error => error.to_string(),
            };
            format!("the peer {shown} {why}; it is @name, @name~abcd, or @ and an id")
        });
    }
    if value.as_bytes().starts_with(b"#") {
        return parse_room(value).map(Recipient::Room);
    }
    let text = require_utf8(value)?;
    let name = example_text(text, "NAME");
    Err(format!(
        "{} is neither a peer nor a room: for the peer write -t @{name}, for the room -r {name} or \
         -t '#{name}'",
        quote_truncated(text)
    ))
}

/// Parses a TCP port from 0 to 65535.
///
/// # Errors
/// The value is not such a number.
pub fn parse_port(value: &OsStr) -> Result<u16, String> {
    let text = require_utf8(value)?;
    text.parse().map_err(|_| {
        let shown = quote_truncated(text);
        format!("{shown} is not a number from 0 to 65535")
    })
}

/// Parses an IPv4 multicast address with an optional port. The default port is [`DEFAULT_PORT`].
/// The word `none` gives `None`.
///
/// # Errors
/// The value is neither a multicast address nor `none`. If the value is no address at all, the
/// sentence explains `p2pchat send`. A user who types `-m hello` may mean a message.
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
            "{} is not an IPv4 address from 224.0.0.0 to 239.255.255.255, with :PORT or without; \
             for no beacon: none",
            quote_truncated(text)
        )),
        Err(_) => Err(format!(
            "{} is neither an IPv4 multicast address nor none; to say it: p2pchat send {}",
            quote_truncated(text),
            example_text(text, "TEXT")
        )),
    }
}

/// The argument to show in an example command. This is `text` if it is short and needs no quotes in
/// a shell. Otherwise it is `placeholder`.
fn example_text<'a>(text: &'a str, placeholder: &'a str) -> &'a str {
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | ',' | '_');
    if text.len() <= EXAMPLE_MAX_BYTES && text.chars().all(is_plain) {
        text
    } else {
        placeholder
    }
}

/// Parses a host, an address or a connection code. A connection code may contain several
/// addresses.
///
/// # Errors
/// The value is not a valid address. The sentence says why.
pub fn parse_static_peer(value: &OsStr) -> Result<Vec<Endpoint>, String> {
    parse_endpoints_with(value, parse_endpoints)
}

/// Parses the same, or an id, with `@` or without. Something must then look up its addresses.
///
/// # Errors
/// As [`parse_static_peer`].
pub fn parse_static_peer_or_id(value: &OsStr) -> Result<Vec<Endpoint>, String> {
    parse_endpoints_with(value, parse_peer)
}

fn parse_endpoints_with(
    value: &OsStr,
    parse: fn(&str) -> Result<Vec<Endpoint>, EndpointError>,
) -> Result<Vec<Endpoint>, String> {
    let text = require_utf8(value)?;
    parse(text).map_err(|error| format!("the address {} {error}", quote_truncated(text)))
}

/// Parses the address of a node of the DHT, `HOST:PORT`.
///
/// # Errors
/// The value is no host with a port, or an IPv6 address.
pub fn parse_dht_node(value: &OsStr) -> Result<String, String> {
    let text = require_utf8(value)?;
    let endpoints = parse_endpoints(text).unwrap_or_default();
    // Without the port, the one of p2pchat would be added.
    match &endpoints[..] {
        // An IPv6 address, perhaps with a zone: no name of a host has a colon.
        [
            Endpoint {
                peer: None, host, ..
            },
        ] if host.contains(':') => Err(format!(
            "{} is an IPv6 address: the DHT is reached by IPv4 only",
            quote_truncated(text)
        )),
        [Endpoint { peer: None, .. }] if text.ends_with(&endpoints[0].to_string()) => {
            Ok(text.to_owned())
        }
        _ => Err(format!(
            "{} is no node of the DHT, as 10.0.0.7:6881 or router.example:6881",
            quote_truncated(text)
        )),
    }
}

/// Parses an interface name. The interface need not exist.
///
/// # Errors
/// The name is too long, or contains white space, a control character or `/`.
pub fn parse_interface_name(value: &OsStr) -> Result<String, String> {
    let text = require_utf8(value)?;
    let is_odd = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if text.len() > INTERFACE_NAME_MAX_BYTES || text.contains(is_odd) {
        return Err(format!(
            "{} is not the name of an interface, such as eth0",
            quote_truncated(text)
        ));
    }
    Ok(text.to_owned())
}

/// Parses the URL of a Grape. Returns it without a slash at the end.
///
/// # Errors
/// The value is no URL of HTTP with nothing but a host and a port.
pub fn parse_grape(value: &OsStr) -> Result<String, String> {
    let text = require_utf8(value)?.trim_end_matches('/');
    let authority = text.strip_prefix("http://").unwrap_or_default();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    let port = authority.rsplit_once(':').map(|(_, port)| port.parse());
    let has_port = matches!(port, Some(Ok(1..=u16::MAX)));
    if has_port && authority.len() <= GRAPE_MAX_BYTES && authority.chars().all(is_plain) {
        return Ok(text.to_owned());
    }
    Err(format!(
        "{} is not the URL of a Grape, as http://10.0.0.7:30001",
        quote_truncated(text)
    ))
}

fn parse_number(value: &OsStr, least: u64) -> Result<u64, String> {
    let text = require_utf8(value)?;
    match text.parse() {
        Ok(number) if number >= least => Ok(number),
        _ => Err(format!(
            "{} is not a whole number from {least} up",
            quote_truncated(text)
        )),
    }
}

/// Parses a number of lines, at least 1.
///
/// # Errors
/// The value is not such a number.
pub fn parse_count(value: &OsStr) -> Result<u64, String> {
    parse_number(value, 1)
}

/// Parses a number of peers. 0 is valid.
///
/// # Errors
/// The value is not such a number.
pub fn parse_need(value: &OsStr) -> Result<u64, String> {
    parse_number(value, 0)
}

/// Parses a number of lines. 0 is valid.
///
/// # Errors
/// The value is not such a number.
pub fn parse_backlog(value: &OsStr) -> Result<u64, String> {
    parse_number(value, 0)
}

/// Parses a number of seconds from 0 to 10^9, which may have a fraction. Returns the time in
/// milliseconds.
///
/// # Errors
/// The value is not such a number.
pub fn parse_wait_ms(value: &OsStr) -> Result<u64, String> {
    let text = require_utf8(value)?;
    parse_seconds_as_ms(text)
        .filter(|ms| *ms <= WAIT_MAX_SECONDS * 1000)
        .ok_or_else(|| {
            format!(
                "{} is not a number of seconds from 0 up, such as 2 or 0.5",
                quote_truncated(text)
            )
        })
}

/// Parses the longest time between two beacons, from 1 to 180 seconds: others expect the next one
/// within that. Returns milliseconds.
///
/// # Errors
/// The value is not such a number.
pub fn parse_interval_ms(value: &OsStr) -> Result<u64, String> {
    parse_ms_within(value, 1, 180)
}

/// Parses how long a silent peer counts as here, from 3 seconds to an hour. Returns milliseconds.
///
/// # Errors
/// The value is not such a number.
pub fn parse_patience_ms(value: &OsStr) -> Result<u64, String> {
    parse_ms_within(value, 3, 3600)
}

fn parse_ms_within(value: &OsStr, least: u64, most: u64) -> Result<u64, String> {
    let text = require_utf8(value)?;
    let ms = parse_seconds_as_ms(text);
    ms.filter(|ms| (least * 1000..=most * 1000).contains(ms))
        .ok_or_else(|| {
            let shown = quote_truncated(text);
            format!("{shown} is not a number of seconds from {least} to {most}")
        })
}

/// Converts seconds to milliseconds, rounded up. A positive wait never becomes 0.
fn parse_seconds_as_ms(text: &str) -> Option<u64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = || whole.bytes().chain(fraction.bytes());
    if digits().next().is_none() || !digits().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let seconds: u64 = format!("0{whole}").parse().ok()?;
    let ms: u64 = format!("{fraction:0<3.3}").parse().ok()?;
    let is_finer = fraction.bytes().skip(3).any(|digit| digit != b'0');
    seconds
        .checked_mul(1000)?
        .checked_add(ms + u64::from(is_finer))
}

impl Since {
    /// Parses an RFC 3339 time, a date, or an age such as `90s`. A date begins at midnight UTC,
    /// because times printed to a pipe are in UTC.
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

/// Checks that [`Since::parse`] accepts the value. Returns the value unchanged.
///
/// # Errors
/// [`Since::parse`] rejects the value.
pub fn check_since(value: &OsStr) -> Result<String, String> {
    let text = require_utf8(value)?;
    match Since::parse(text) {
        Some(_) => Ok(text.to_owned()),
        None => Err(format!(
            "{} is not a time: give 2026-11-21T10:31:04Z, 2026-11-21, or how long ago, as 90s, \
             10m, 2h, 3d",
            quote_truncated(text)
        )),
    }
}

/// Parses a search text. Any UTF-8 text is valid.
///
/// # Errors
/// The value is not UTF-8.
pub fn parse_search(value: &OsStr) -> Result<String, String> {
    require_utf8(value).map(str::to_owned)
}

/// Parses the form of chat lines.
///
/// # Errors
/// Those of [`LineFormat::parse`].
pub fn parse_line_format(value: &OsStr) -> Result<LineFormat, String> {
    LineFormat::parse(require_utf8(value)?)
}

/// Parses a regular expression.
///
/// # Errors
/// Those of [`LinePattern::parse`].
pub fn parse_line_pattern(value: &OsStr) -> Result<LinePattern, String> {
    let text = require_utf8(value)?;
    LinePattern::parse(text).map_err(|error| {
        let shown = quote_truncated(text);
        format!("{shown} is not a regular expression that can be used: {error}")
    })
}

/// Parses the author of lines: `name`, `name~abcd`, an id, or `guest/name`, with `@` or without.
///
/// # Errors
/// The value is none of these.
pub fn parse_author(value: &OsStr) -> Result<PeerSelector, String> {
    let text = require_utf8(value)?;
    let name = text.strip_prefix('@').unwrap_or(text);
    // What a guest says does not tell from which address it came.
    let selector = PeerSelector::parse(name).map_err(|error| error.to_string());
    let has_host = name.contains('@').then(|| "has an address".to_owned());
    match (selector, has_host) {
        (Ok(selector), None) => Ok(selector),
        (Err(why), _) | (Ok(_), Some(why)) => Err(format!(
            "the name {} {why}; it is name, name~abcd, an id, or guest/name",
            quote_truncated(text)
        )),
    }
}

/// Parses `auto`, `always` or `never`.
///
/// # Errors
/// The value is none of these words.
pub fn parse_color(value: &OsStr) -> Result<Color, String> {
    match require_utf8(value)? {
        "auto" => Ok(Color::Auto),
        "always" => Ok(Color::Always),
        "never" => Ok(Color::Never),
        other => Err(format!(
            "{} is not auto, always or never",
            quote_truncated(other)
        )),
    }
}

/// Where a reader goes before it prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seek {
    /// Behind all stored lines: none of them is news for it any more.
    End,
    /// Before all stored lines of the rooms: all of them are printed.
    Start,
}

/// Parses `end` or `start`.
///
/// # Errors
/// The value is none of these words.
pub fn parse_seek(value: &OsStr) -> Result<Seek, String> {
    match require_utf8(value)? {
        "end" => Ok(Seek::End),
        "start" => Ok(Seek::Start),
        other => Err(format!("{} is not end or start", quote_truncated(other))),
    }
}
