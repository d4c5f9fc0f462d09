//! Names that people give: of themselves and of rooms. Validated where they are made, so that every `Nick` and `Room` is fit to show.
use std::fmt;
use std::sync::Arc;

use super::identity::PeerId;

/// Longest name, in characters.
pub const NICK_MAX: usize = 32;
/// Longest room name without its `#`, in characters.
pub const ROOM_MAX: usize = 50;

/// Why a name is no name, as a sentence's end: "a name …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    Empty,
    TooLong,
    LeadingDash,
    Character(char),
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NameError::Empty => write!(f, "is empty"),
            NameError::TooLong => write!(f, "is too long"),
            NameError::LeadingDash => write!(f, "begins with -"),
            NameError::Character(c) => {
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
fn invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn allowed(c: char) -> bool {
    !(c.is_whitespace()
        || c.is_control()
        || invisible(c)
        || matches!(c, '~' | '@' | '#' | ':' | '/' | '*'))
}

fn check(text: &str, max: usize) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.starts_with('-') {
        return Err(NameError::LeadingDash);
    }
    if let Some(c) = text.chars().find(|c| !allowed(*c)) {
        return Err(NameError::Character(c));
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
        check(text, NICK_MAX).map(|()| Nick(text.into()))
    }

    /// A name that came from outside: one that breaks the rule is `?`.
    pub fn foreign(text: &str) -> Nick {
        Nick::new(text).unwrap_or_else(|_| Nick("?".into()))
    }

    /// A default, made to fit: what may not stand in a name is left out. `None` if nothing remains.
    pub fn cleaned(text: &str) -> Option<Nick> {
        let fit: String = text.chars().filter(|c| allowed(*c)).collect();
        let fit: String = fit.trim_start_matches('-').chars().take(NICK_MAX).collect();
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
        check(&bare, ROOM_MAX).map(|()| Room(format!("#{bare}").into()))
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
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Room(room) => write!(f, "{room}"),
            Target::Peer(id) => write!(f, "@{id}"),
        }
    }
}
