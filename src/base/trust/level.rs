//! How far the user trusts that a name belongs to a key.
use std::str::FromStr;

/// Whether this program is built with commands about known peers. Where this is false, the code for
/// them is unused, and the compiler leaves it out.
pub const HAS_TRUST: bool = cfg!(feature = "trust");

/// How far the user trusts that a name belongs to a key. A later level contains the earlier ones,
/// except [`TrustLevel::Banned`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum TrustLevel {
    /// The user wants nothing of the key: no link to it, and no lines of it.
    Banned,
    /// The key has claimed the name, over an authenticated link.
    #[default]
    Seen,
    /// The user has bound the name to the key: by a direct message, a connection code, an invite or
    /// a command.
    Bound,
    /// The user has also compared the key's fingerprint.
    Verified,
}

impl TrustLevel {
    /// What two entries about one key say together: a ban counts, else the higher level.
    pub fn with(self, other: TrustLevel) -> TrustLevel {
        match self.min(other) {
            TrustLevel::Banned => TrustLevel::Banned,
            _ => self.max(other),
        }
    }

    /// The word for this level.
    pub fn as_str(self) -> &'static str {
        match self {
            TrustLevel::Banned => "banned",
            TrustLevel::Seen => "seen",
            TrustLevel::Bound => "bound",
            TrustLevel::Verified => "verified",
        }
    }

    /// The words of this level for a person: [`Familiarity`], and what the user has decided.
    pub fn describe(self, familiarity: Familiarity) -> &'static str {
        match self {
            TrustLevel::Seen => familiarity.as_str(),
            TrustLevel::Bound => "known (bound)",
            level => level.as_str(),
        }
    }
}

/// How well a peer is known. Names alone prove nothing, so users see this beside them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Familiarity {
    /// The peer was first linked less than a day ago, or never.
    #[default]
    New,
    /// The peer has been known for a day, or the user has bound its name.
    Known,
    /// The user has compared the fingerprint of its key.
    Verified,
}

impl Familiarity {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Familiarity::New => "new",
            Familiarity::Known => "known",
            Familiarity::Verified => "verified",
        }
    }

    /// Parses the word. An unknown one is [`Familiarity::New`].
    pub fn parse(word: &str) -> Familiarity {
        match word {
            "known" => Familiarity::Known,
            "verified" => Familiarity::Verified,
            _ => Familiarity::New,
        }
    }
}

/// The text is not the word of any [`TrustLevel`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseTrustLevelError;

impl FromStr for TrustLevel {
    type Err = ParseTrustLevelError;
    fn from_str(word: &str) -> Result<TrustLevel, ParseTrustLevelError> {
        use TrustLevel::{Banned, Bound, Seen, Verified};
        [Banned, Seen, Bound, Verified]
            .into_iter()
            .find(|level| level.as_str() == word)
            .ok_or(ParseTrustLevelError)
    }
}
