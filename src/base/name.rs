//! Names that people give: of themselves and of rooms. Validated where they are made, so that every `Nick` and `Room` is fit to show.
use std::fmt;
use std::sync::Arc;

use super::identity::{PEER_ID_CHARS, PeerId};

/// Longest name, in characters.
pub const NICK_MAX_CHARS: usize = 32;
/// Longest room name without its `#`, in characters.
pub const ROOM_MAX_CHARS: usize = 50;

/// What a name may be, as a sentence's end.
pub const NICK_RULE: &str =
    "a name has 1 to 32 characters, no white space, and none of ~ @ # : / *";
pub const ROOM_RULE: &str =
    "a room has 1 to 50 characters, no white space, and none of ~ @ # : / *";

/// Why a name is no name, as a sentence's end: "a name …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong,
    LeadingDash,
    InvalidCharacter(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "is empty"),
            NameError::TooLong => write!(f, "is too long"),
            NameError::LeadingDash => write!(f, "begins with -"),
            NameError::InvalidCharacter(c) => {
                // What cannot be seen is told by its number alone.
                let picture = match c {
                    ' ' => "a space, ".to_owned(),
                    _ if c.is_ascii_graphic() => format!("{c}, "),
                    _ => String::new(),
                };
                write!(
                    f,
                    "holds {picture}U+{:04X}, which a name may not",
                    *c as u32
                )
            }
        }
    }
}

/// Invisible or direction-changing characters: a name with one could pass for another name.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
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

/// What a peer calls itself: 1–32 characters, none of them white, control or invisible, none of `~ @ # : / *`, no leading `-`. A claim, not a proof.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Nick(Arc<str>);

impl Nick {
    /// # Errors
    /// What breaks the rule.
    pub fn new(text: &str) -> Result<Nick, NameError> {
        check_name(text, NICK_MAX_CHARS).map(|()| Nick(text.into()))
    }

    /// A name that came from outside: one that breaks the rule is `?`.
    pub fn new_or_placeholder(text: &str) -> Nick {
        Nick::new(text).unwrap_or_else(|_| Nick("?".into()))
    }

    /// A default, made to fit: what may not stand in a name is left out. `None` if nothing remains.
    pub fn sanitize(text: &str) -> Option<Nick> {
        let fit: String = text.chars().filter(|c| is_allowed(*c)).collect();
        let fit: String = fit
            .trim_start_matches('-')
            .chars()
            .take(NICK_MAX_CHARS)
            .collect();
        Nick::new(&fit).ok()
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Nick {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A room's name, `#` included, lower-cased: `#` and 1–50 characters by the rule of [`Nick`].
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// A missing `#` is added.
    ///
    /// # Errors
    /// What breaks the rule.
    pub fn new(text: &str) -> Result<Room, NameError> {
        let bare = text.strip_prefix('#').unwrap_or(text).to_lowercase();
        check_name(&bare, ROOM_MAX_CHARS).map(|()| Room(format!("#{bare}").into()))
    }

    /// The room that everybody starts in.
    pub fn general() -> Room {
        Room("#general".into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Room {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A peer as a person names it: `@name`, `@name~abcd`, `@~abcd` or `@id`; the `@` may be left out.
/// Kept as `name~abcd` in lower case, either of which may be empty: whatever its name, or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerSelector(String);

/// Fewest characters of an id that stand for it: those shown behind a name's `~`.
const ID_PREFIX_MIN_CHARS: usize = 4;

/// May an id begin so?
fn is_id_prefix(text: &str) -> bool {
    let digit = |b: u8| matches!(b, b'a'..=b'z' | b'2'..=b'7');
    (ID_PREFIX_MIN_CHARS..=PEER_ID_CHARS).contains(&text.len()) && text.bytes().all(digit)
}

impl PeerSelector {
    /// # Errors
    /// What breaks the rule of a name; of what stands behind a `~`, its first character that no id has.
    pub fn parse(text: &str) -> Result<PeerSelector, NameError> {
        let text = text.strip_prefix('@').unwrap_or(text).to_lowercase();
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

    /// The peer, if its whole id was given.
    pub fn full_id(&self) -> Option<PeerId> {
        self.parts().1.parse().ok()
    }

    pub fn matches(&self, nick: &Nick, id: &PeerId) -> bool {
        let (name, prefix) = self.parts();
        let named = name.is_empty() || nick.0.to_lowercase() == name;
        named && id.to_string().starts_with(prefix)
    }
}

/// By its whole id.
impl From<&PeerId> for PeerSelector {
    fn from(id: &PeerId) -> PeerSelector {
        PeerSelector(format!("~{id}"))
    }
}

/// `@name~abcd`
impl fmt::Display for PeerSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, prefix) = self.parts();
        let whole = !name.is_empty() && !prefix.is_empty();
        write!(f, "@{name}{}{prefix}", if whole { "~" } else { "" })
    }
}

/// Where a history keeps lines together: one for each room, one for the direct messages that we wrote or may read, one for those that
/// we carry for others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderName(Arc<str>);

impl FolderName {
    pub fn direct() -> FolderName {
        FolderName("@".into())
    }

    pub fn carried() -> FolderName {
        FolderName("@carried".into())
    }

    /// By its name on disk.
    pub fn parse(name: &str) -> Option<FolderName> {
        if name.starts_with('@') {
            let known = [FolderName::direct(), FolderName::carried()];
            return known.into_iter().find(|folder| folder.as_str() == name);
        }
        let room = Room::new(name).ok()?;
        (room.as_str() == name).then(|| FolderName::from(&room))
    }

    /// Of what `author` said to `target`, in the history of `own`.
    pub fn for_log(target: &Target, author: &PeerId, own: &PeerId) -> FolderName {
        match target {
            Target::Room(room) => room.into(),
            Target::Peer(recipient) if recipient == own || author == own => FolderName::direct(),
            Target::Peer(_) => FolderName::carried(),
        }
    }

    /// The room whose folder it is.
    pub fn room(&self) -> Option<Room> {
        self.0.starts_with('#').then(|| Room(self.0.clone()))
    }

    /// Its name on disk: no room's begins with `@`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&Room> for FolderName {
    fn from(room: &Room) -> FolderName {
        FolderName(room.0.clone())
    }
}

/// To whom a line is said.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    Room(Room),
    Peer(PeerId),
}

impl Target {
    /// As it stands in a batch: `#room` or `@id`. Only the canonical spelling is taken: one target, one spelling.
    pub fn parse(text: &str) -> Option<Target> {
        if let Some(id) = text.strip_prefix('@') {
            return id.parse().ok().map(Target::Peer);
        }
        let room = Room::new(text).ok()?;
        (room.as_str() == text).then_some(Target::Room(room))
    }

    pub fn room(&self) -> Option<&Room> {
        match self {
            Target::Room(room) => Some(room),
            Target::Peer(_) => None,
        }
    }

    /// The recipient of a direct message; `None` for a room.
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
