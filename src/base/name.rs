//! Names of peers, rooms, folders and targets. Constructors validate, so every `Nick` and `Room`
//! can be shown without escaping.
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use unicode_width::UnicodeWidthChar as _;

use super::identity::PeerId;
use super::text::spelling::find_respellable;

/// Longest name of a peer, in characters.
pub const NICK_MAX_CHARS: usize = 32;
/// How the name of a guest begins. No peer can be called so, because a [`Nick`] has no `/`.
pub const GUEST_PREFIX: &str = "guest/";
/// How many characters of a login name are looked at.
const SANITIZED_MAX_CHARS: usize = 256;
/// Longest room name without its `#`, in characters.
pub const ROOM_MAX_CHARS: usize = 50;

/// The rule for names of peers, worded as the end of a sentence. The number 32 is
/// [`NICK_MAX_CHARS`].
pub const NICK_RULE: &str =
    "a name has 1 to 32 characters, no white space, and none of ~ @ # : / *";
/// The rule for room names, worded as the end of a sentence. The number 50 is [`ROOM_MAX_CHARS`].
pub const ROOM_RULE: &str =
    "a room has 1 to 50 characters, no white space, and none of ~ @ # : / *";

/// Why a name is invalid. The displayed text completes a sentence that begins with "the name …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// The name has no characters.
    Empty,
    /// The name is longer than [`NICK_MAX_CHARS`] or [`ROOM_MAX_CHARS`].
    TooLong,
    /// The name begins with `-`. On a command line it would be taken for an option.
    LeadingDash,
    /// The name contains a forbidden character. The value is the first such character.
    InvalidCharacter(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "is empty"),
            NameError::TooLong => write!(f, "is too long"),
            NameError::LeadingDash => write!(f, "begins with -"),
            NameError::InvalidCharacter(c) => {
                // An invisible or non-ASCII character is shown only by its code point.
                let visible = match c {
                    ' ' => "a space, ".to_owned(),
                    _ if c.is_ascii_graphic() => format!("{c}, "),
                    _ => String::new(),
                };
                write!(
                    f,
                    "contains {visible}U+{:04X}, which names may not",
                    *c as u32
                )
            }
        }
    }
}

/// Is the character invisible, or does it change the text direction? A name with such a character
/// could look like another name.
fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{13430}'..='\u{13440}'
            | '\u{16fe4}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d159}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

fn is_allowed(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || is_invisible(c)
        || matches!(c, '~' | '@' | '#' | ':' | '/' | '*'))
}

fn check_name(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.starts_with('-') {
        return Err(NameError::LeadingDash);
    }
    if let Some(c) = text.chars().find(|c| !is_allowed(*c)) {
        return Err(NameError::InvalidCharacter(c));
    }
    if text.chars().count() > max {
        Err(NameError::TooLong)
    } else {
        Ok(())
    }
}

/// Checks that the name begins with a visible character, and that no other spelling of it exists.
fn check_spelling(text: &str) -> Result<(), NameError> {
    let is_mark = |c: &char| c.width() == Some(0);
    let leading_mark = text.chars().next().filter(is_mark);
    match leading_mark.or_else(|| find_respellable(text)) {
        Some(c) => Err(NameError::InvalidCharacter(c)),
        None => Ok(()),
    }
}

/// A name that a peer claims, which does not prove who the peer is. The name has 1 to
/// [`NICK_MAX_CHARS`] characters and no leading `-`. It contains no white space, no control or
/// invisible character, and none of `~ @ # : / *`. It begins with no combining mark. No other
/// spelling of it exists: see [`find_respellable`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nick(Arc<str>);

impl Nick {
    /// Validates a name.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn new(text: &str) -> Result<Nick, NameError> {
        check_name(text, NICK_MAX_CHARS)?;
        check_spelling(text).map(|()| Nick(text.into()))
    }

    /// Validates a name received from a peer. An invalid name becomes `?`.
    pub fn new_or_placeholder(text: &str) -> Nick {
        Nick::new(text).unwrap_or_else(|_| Nick("?".into()))
    }

    /// Makes a valid name from any text, such as a login name. Drops forbidden characters and
    /// leading dashes, and shortens the rest. Returns `None` if no characters remain.
    pub fn sanitize(text: &str) -> Option<Nick> {
        let mut fit = String::new();
        for c in text.chars().take(SANITIZED_MAX_CHARS) {
            let end = fit.len();
            fit.push(c);
            if Nick::new(&fit).is_err() {
                fit.truncate(end);
            }
        }
        Nick::new(&fit).ok()
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a room in lower case: `#`, followed by 1 to [`ROOM_MAX_CHARS`] characters. The same
/// characters are forbidden as in a [`Nick`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// Validates a room name. Adds a missing `#` and converts the name to lower case.
    ///
    /// # Errors
    /// The first rule that the name breaks.
    pub fn new(text: &str) -> Result<Room, NameError> {
        check_spelling(text.strip_prefix('#').unwrap_or(text))?;
        Room::with_any_spelling(text)
    }

    /// Like [`Room::new`], but the name may have another spelling: programs of an earlier version
    /// use and store such rooms.
    fn with_any_spelling(text: &str) -> Result<Room, NameError> {
        let bare = text.strip_prefix('#').unwrap_or(text).to_lowercase();
        check_name(&bare, ROOM_MAX_CHARS).map(|()| Room(format!("#{bare}").into()))
    }

    /// Parses a name from a peer or from the store. Only the canonical form is accepted: `#` and
    /// lower case.
    pub fn parse_canonical(text: &str) -> Option<Room> {
        let room = Room::with_any_spelling(text).ok()?;
        (room.as_str() == text).then_some(room)
    }

    /// `#general`, the default room.
    pub fn general() -> Room {
        Room("#general".into())
    }

    /// The room of a foreign network. `name` is canonical.
    pub(super) fn of_guests(name: &str) -> Room {
        Room(name.into())
    }

    /// The name with its `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How a user names a peer: `@name`, `@name~abcd`, `@~abcd` or `@id`. Or a guest: `@guest/name`, or
/// `@guest/name@10.0.0.7` if two hosts have a guest of that name, or `@guest/name@10.0.0.7:9000` if
/// one host has two. The first `@` is optional.
///
/// The inner string has the form `name~prefix` in lower case. `prefix` is the beginning of an id.
/// An empty `name` matches every name. An empty `prefix` matches every id. For a guest the string
/// is `guest/name`, `guest/name@host` or `guest/name@host:port`, as the user has spelled it:
/// other networks tell upper from lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSelector(String);

/// Minimum length of an id prefix, in characters. [`PeerId::short`] has this length.
const ID_PREFIX_MIN_CHARS: usize = 4;

/// Can the text be the beginning of an id?
fn is_id_prefix(text: &str) -> bool {
    let digit = |b: u8| matches!(b, b'a'..=b'z' | b'2'..=b'7');
    (ID_PREFIX_MIN_CHARS..=PeerId::TEXT_BYTES).contains(&text.len()) && text.bytes().all(digit)
}

/// Parses an address with or without a port.
fn parse_host(text: &str) -> Option<(IpAddr, Option<u16>)> {
    match text.parse::<SocketAddr>() {
        Ok(address) => Some((address.ip(), Some(address.port()))),
        Err(_) => Some((text.parse().ok()?, None)),
    }
}

impl PeerSelector {
    /// Parses one of the four forms `@name`, `@name~abcd`, `@~abcd` and `@id`, or the name of a
    /// guest.
    ///
    /// # Errors
    /// The first rule that the name breaks. The error is `InvalidCharacter('~')` if the text after
    /// the `~` cannot be the beginning of an id.
    pub fn parse(text: &str) -> Result<PeerSelector, NameError> {
        let text = text.strip_prefix('@').unwrap_or(text);
        // The lower case of some letters has another spelling.
        check_spelling(text)?;
        let head = text.get(..GUEST_PREFIX.len());
        if head.is_some_and(|head| head.eq_ignore_ascii_case(GUEST_PREFIX)) {
            let guest = text.get(GUEST_PREFIX.len()..).unwrap_or_default();
            let (name, host) = guest.split_once('@').unwrap_or((guest, ""));
            check_name(name, NICK_MAX_CHARS)?;
            if guest.len() > name.len() && parse_host(host).is_none() {
                return Err(NameError::InvalidCharacter('@'));
            }
            return Ok(PeerSelector(format!("{GUEST_PREFIX}{guest}")));
        }
        let text = text.to_lowercase();
        let (name, prefix) = match text.split_once('~') {
            Some((name, prefix)) if is_id_prefix(prefix) => (name, prefix),
            Some(_) => return Err(NameError::InvalidCharacter('~')),
            None if text.parse::<PeerId>().is_ok() => ("", &*text),
            None => (&*text, ""),
        };
        if !name.is_empty() || prefix.is_empty() {
            check_name(name, NICK_MAX_CHARS)?;
        }
        Ok(PeerSelector(format!("{name}~{prefix}")))
    }

    fn parts(&self) -> (&str, &str) {
        self.0.split_once('~').unwrap_or_default()
    }

    /// The name of the guest that the selector means, as the user has spelled it. `None`: the
    /// selector means a peer.
    pub fn guest_name(&self) -> Option<&str> {
        let guest = self.0.strip_prefix(GUEST_PREFIX)?;
        Some(guest.split_once('@').map_or(guest, |(name, _)| name))
    }

    /// Does a guest with this name, who listens at this address, match the selector? Upper and
    /// lower case letters count as equal.
    pub fn matches_guest(&self, nick: &Nick, address: SocketAddr) -> bool {
        let name = self.guest_name().map(str::to_lowercase);
        if name != Some(nick.0.to_lowercase()) {
            return false;
        }
        let host = self.0.split_once('@').map(|(_, host)| parse_host(host));
        host.flatten().is_none_or(|(ip, port)| {
            ip == address.ip() && port.is_none_or(|port| port == address.port())
        })
    }

    /// The peer's id. `None` if the selector does not contain a whole id.
    pub fn full_id(&self) -> Option<PeerId> {
        self.parts().1.parse().ok()
    }

    /// Does a peer with this name and id match the selector? Upper and lower case letters count as
    /// equal.
    pub fn matches(&self, nick: &Nick, id: &PeerId) -> bool {
        if self.guest_name().is_some() {
            return false;
        }
        let (name, prefix) = self.parts();
        let named = name.is_empty() || nick.0.to_lowercase() == name;
        named && id.to_string().starts_with(prefix)
    }
}

/// Selects a peer by its whole id.
impl From<&PeerId> for PeerSelector {
    fn from(id: &PeerId) -> PeerSelector {
        PeerSelector(format!("~{id}"))
    }
}

/// Formats the selector in the form that [`PeerSelector::parse`] reads back.
impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.guest_name().is_some() {
            return write!(f, "@{}", self.0);
        }
        let (name, prefix) = self.parts();
        let is_full_id = name.is_empty() && prefix.len() == PeerId::TEXT_BYTES;
        let has_tilde = !prefix.is_empty() && !is_full_id;
        write!(f, "@{name}{}{prefix}", if has_tilde { "~" } else { "" })
    }
}

/// The name of a folder of the history. Each room has a folder. One folder holds the direct
/// messages that this identity wrote or received. One folder holds direct messages carried for
/// others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderName(Arc<str>);

impl FolderName {
    /// `@`, the folder of direct messages that this identity wrote or received.
    pub fn direct() -> FolderName {
        FolderName("@".into())
    }

    /// `@carried`, the folder of sealed direct messages carried for absent recipients.
    pub fn carried() -> FolderName {
        FolderName("@carried".into())
    }

    /// Parses the name of a directory on disk. Only the canonical spelling is accepted.
    pub fn parse(name: &str) -> Option<FolderName> {
        if name.starts_with('@') {
            let known = [FolderName::direct(), FolderName::carried()];
            return known.into_iter().find(|folder| folder.as_str() == name);
        }
        Room::parse_canonical(name).map(|room| FolderName::from(&room))
    }

    /// The folder for the lines that `author` writes to `target`. The parameter `own` is our id.
    pub fn for_log(target: &Target, author: &PeerId, own: &PeerId) -> FolderName {
        match target {
            Target::Room(room) => room.into(),
            Target::Peer(recipient) if recipient == own || author == own => FolderName::direct(),
            Target::Peer(_) => FolderName::carried(),
        }
    }

    /// The room, if the folder belongs to one.
    pub fn room(&self) -> Option<Room> {
        self.0.starts_with('#').then(|| Room(self.0.clone()))
    }

    /// The name of the directory on disk. Folders of rooms begin with `#`, the other folders with
    /// `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Room> for FolderName {
    fn from(room: &Room) -> FolderName {
        FolderName(room.0.clone())
    }
}

/// The destination of a line: a room or one peer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// The line goes to every member of the room.
    Room(Room),
    /// The line is a direct message to this recipient.
    Peer(PeerId),
}

impl Target {
    /// Parses `#room` or `@id`. Only the canonical spelling is accepted, so that a target has a
    /// single spelling in batches.
    pub fn parse(text: &str) -> Option<Target> {
        if let Some(id) = text.strip_prefix('@') {
            return id.parse().ok().map(Target::Peer);
        }
        Room::parse_canonical(text).map(Target::Room)
    }

    /// The room. `None` for a direct message.
    pub fn room(&self) -> Option<&Room> {
        match self {
            Target::Room(room) => Some(room),
            Target::Peer(_) => None,
        }
    }

    /// The recipient of a direct message. `None` for a room.
    pub fn recipient(&self) -> Option<PeerId> {
        match self {
            Target::Room(_) => None,
            Target::Peer(recipient) => Some(*recipient),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Room(room) => write!(f, "{room}"),
            Target::Peer(id) => write!(f, "@{id}"),
        }
    }
}
