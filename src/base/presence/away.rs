//! Whether somebody is away, and why.
use std::fmt;

/// Whether this program is built with presence: /away and /back. Where this is false, the code for
/// them is unused, and the compiler leaves it out.
pub const HAS_PRESENCE: bool = cfg!(feature = "presence");

/// Longest text of somebody who is away, in bytes of UTF-8. A longer text of a peer is cut.
pub const AWAY_TEXT_MAX_BYTES: usize = 400;

/// Why somebody is away, in its own words. May be empty, and is at most [`AWAY_TEXT_MAX_BYTES`]
/// long.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AwayText(Box<str>);

impl AwayText {
    /// The text, cut after the last character that fits.
    pub fn cut(text: &str) -> AwayText {
        AwayText(text[..text.floor_char_boundary(AWAY_TEXT_MAX_BYTES)].into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Formats what is said of somebody: `away`, or `away: lunch`. Control characters stay as they are.
impl fmt::Display for AwayText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let colon = if self.0.is_empty() { "" } else { ": " };
        write!(f, "away{colon}{}", self.0)
    }
}
