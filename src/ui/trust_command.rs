//! Commands about known peers: `/trust` and `/verify` at the terminal, `p2pchat trust` in a shell.
use crate::base::event::output::KnownPeer;
use crate::base::name::{NICK_RULE, Nick, PeerSelector};
use crate::base::trust::fingerprint::Fingerprint;
use crate::base::trust::level::{Familiarity, TrustLevel};
use crate::base::trust::misbehaviour::Misbehaviour;

/// What a user requests about known peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrustCommand {
    /// List the known peers.
    List,
    /// Bind a name to a key.
    Add {
        /// The name.
        nick: Nick,
        /// The id or the connection code, as the user typed it.
        key: String,
    },
    /// Show what is known of a peer, where it is, and what it says about itself.
    Whois {
        /// The peer, or a guest.
        selector: PeerSelector,
        /// Whether its whole picture is requested, too.
        wants_avatar: bool,
    },
    /// Bind the name of a known or present peer to its key.
    Bind(PeerSelector),
    /// Forget a known peer, and end its ban.
    Forget(PeerSelector),
    /// End a ban. The peer is then known as one that was seen.
    Unban(PeerSelector),
    /// Ban a peer: no link to it, and no lines of it.
    Ban(PeerSelector),
    /// Print no lines of a peer from now on. `None`: list those of whom none are printed.
    Ignore(Option<PeerSelector>),
    /// Print the lines of a peer again.
    Unignore(PeerSelector),
    /// Compare a fingerprint that a person read out. If it is the same, bind the name to the key.
    Verify {
        /// The peer.
        selector: PeerSelector,
        /// What was read out. `None`: show the fingerprint to compare.
        fingerprint: Option<Fingerprint>,
    },
}

impl TrustCommand {
    /// Whether the command changes the known peers, or who is ignored.
    pub fn changes_known_peers(&self) -> bool {
        match self {
            TrustCommand::Add { .. }
            | TrustCommand::Bind(_)
            | TrustCommand::Forget(_)
            | TrustCommand::Ban(_)
            | TrustCommand::Unban(_)
            | TrustCommand::Ignore(Some(_))
            | TrustCommand::Unignore(_) => true,
            TrustCommand::Verify { fingerprint, .. } => fingerprint.is_some(),
            TrustCommand::List | TrustCommand::Whois { .. } | TrustCommand::Ignore(None) => false,
        }
    }
}

/// What has become of a known peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustState {
    /// The peer is known.
    Known(TrustLevel),
    /// The peer was forgotten.
    Forgotten,
    /// The peer's lines are not printed.
    Ignored,
    /// The peer's lines are printed again.
    Unignored,
}

impl TrustState {
    /// The word for this state.
    pub fn as_str(self) -> &'static str {
        match self {
            TrustState::Known(level) => level.as_str(),
            TrustState::Forgotten => "forgotten",
            TrustState::Ignored => "ignored",
            TrustState::Unignored => "unignored",
        }
    }

    /// Parses the word for a state.
    pub fn parse(word: &str) -> Option<TrustState> {
        match word {
            "forgotten" => Some(TrustState::Forgotten),
            "ignored" => Some(TrustState::Ignored),
            "unignored" => Some(TrustState::Unignored),
            word => word.parse().ok().map(TrustState::Known),
        }
    }
}

/// A row of the answer to a [`TrustCommand`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustEntry {
    /// The peer.
    pub known: KnownPeer,
    /// What has become of it.
    pub state: TrustState,
    /// How well its key is known.
    pub familiarity: Familiarity,
    /// What it has done wrong, as far as the running program knows.
    pub misbehaviour: Misbehaviour,
}

impl TrustEntry {
    /// What has become of a peer that has done nothing wrong, as far as known.
    pub fn new(known: KnownPeer, state: TrustState) -> TrustEntry {
        TrustEntry {
            known,
            state,
            familiarity: Familiarity::default(),
            misbehaviour: Misbehaviour::default(),
        }
    }

    /// What has become of it, in the words of a person.
    pub fn describe(&self) -> &'static str {
        match self.state {
            TrustState::Known(level) => level.describe(self.familiarity),
            state => state.as_str(),
        }
    }
}

impl From<KnownPeer> for TrustEntry {
    fn from(known: KnownPeer) -> TrustEntry {
        let state = TrustState::Known(known.trust);
        TrustEntry::new(known, state)
    }
}

/// Parses what follows /trust: `list`, `add NAME KEY`, `forget NAME`, `verify NAME [FINGERPRINT]`,
/// `ban NAME`, `unban NAME`, `ignore [NAME]`, `unignore NAME`, `whois NAME` or a name. A peer whose
/// name is one of these words is meant by `@list`.
///
/// # Errors
/// It is none of these. The error is a sentence for the user.
pub fn parse_trust(text: &str) -> Result<TrustCommand, String> {
    let (word, argument) = split_word(text);
    match word {
        "" | "list" if argument.is_empty() => Ok(TrustCommand::List),
        "add" => match split_word(argument) {
            (name, key) if !key.is_empty() => Ok(TrustCommand::Add {
                nick: Nick::new(name)
                    .map_err(|error| format!("the name {name} {error}; {NICK_RULE}"))?,
                key: key.to_owned(),
            }),
            _ => Err("trust add needs a name, and the id or the code of its key".to_owned()),
        },
        "ignore" => parse_ignore(argument),
        "unignore" => parse_unignore(argument),
        "forget" | "unban" | "ban" if argument.is_empty() => {
            Err(format!("trust {word} needs a name or an id"))
        }
        "ban" => Ok(TrustCommand::Ban(parse_selector(argument)?)),
        "unban" => Ok(TrustCommand::Unban(parse_selector(argument)?)),
        "forget" => Ok(TrustCommand::Forget(parse_selector(argument)?)),
        "verify" => parse_verify(argument),
        "whois" => parse_whois(argument),
        _ => Ok(TrustCommand::Bind(parse_selector(text)?)),
    }
}

/// Parses what follows /ignore: nothing, or a name.
///
/// # Errors
/// The name is invalid. The error is a sentence for the user.
pub fn parse_ignore(text: &str) -> Result<TrustCommand, String> {
    let selector = match text {
        "" => None,
        name => Some(parse_selector(name)?),
    };
    Ok(TrustCommand::Ignore(selector))
}

/// Parses what follows /unignore: a name.
///
/// # Errors
/// The name is missing or invalid. The error is a sentence for the user.
pub fn parse_unignore(text: &str) -> Result<TrustCommand, String> {
    match text {
        "" => Err("unignore needs a name".to_owned()),
        name => Ok(TrustCommand::Unignore(parse_selector(name)?)),
    }
}

/// Parses what follows /verify: a name, and perhaps a fingerprint.
///
/// # Errors
/// The name is invalid, or the fingerprint is none. The error is a sentence for the user.
pub fn parse_verify(text: &str) -> Result<TrustCommand, String> {
    let (name, fingerprint) = split_word(text);
    if name.is_empty() {
        return Err("verify needs a name, and the fingerprint that was read out".to_owned());
    }
    let fingerprint = match fingerprint {
        "" => None,
        typed => {
            Some(Fingerprint::parse(typed).map_err(|error| format!("the fingerprint {error}"))?)
        }
    };
    Ok(TrustCommand::Verify {
        selector: parse_selector(name)?,
        fingerprint,
    })
}

/// Parses what follows /whois: a name.
///
/// # Errors
/// The name is missing or invalid. The error is a sentence for the user.
pub fn parse_whois(text: &str) -> Result<TrustCommand, String> {
    match text {
        "" => Err("whois needs a name".to_owned()),
        name => Ok(TrustCommand::Whois {
            selector: PeerSelector::parse(name)
                .map_err(|error| format!("the name {name} {error}"))?,
            wants_avatar: false,
        }),
    }
}

/// Formats the command as [`parse_trust`] reads it, after `/trust `.
pub fn format_trust(command: &TrustCommand) -> String {
    match command {
        TrustCommand::List => "list".to_owned(),
        TrustCommand::Add { nick, key } => format!("add {nick} {key}"),
        TrustCommand::Whois { selector, .. } => format!("whois {selector}"),
        TrustCommand::Bind(selector) => selector.to_string(),
        TrustCommand::Forget(selector) => format!("forget {selector}"),
        TrustCommand::Ban(selector) => format!("ban {selector}"),
        TrustCommand::Unban(selector) => format!("unban {selector}"),
        TrustCommand::Ignore(None) => "ignore".to_owned(),
        TrustCommand::Ignore(Some(selector)) => format!("ignore {selector}"),
        TrustCommand::Unignore(selector) => format!("unignore {selector}"),
        TrustCommand::Verify {
            selector,
            fingerprint: Some(fingerprint),
        } => format!("verify {selector} {fingerprint}"),
        TrustCommand::Verify { selector, .. } => format!("verify {selector}"),
    }
}

fn split_word(text: &str) -> (&str, &str) {
    let text = text.trim();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim_start())
}

fn parse_selector(text: &str) -> Result<PeerSelector, String> {
    let selector = PeerSelector::parse(text).map_err(|error| format!("the name {text} {error}"))?;
    match selector.guest_name() {
        None => Ok(selector),
        Some(_) => Err(format!("{selector} is a guest, and guests have no keys")),
    }
}
