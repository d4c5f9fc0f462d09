//! All that one peer says to another inside the cipher, but for batches. JSON; unknown fields and types are ignored, so that the protocol can grow.
use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::base::batch::LogId;
use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::{Room, Target};

/// Most logs in one `have` or `want`; more go in several.
pub const LOGS_PER_MESSAGE_MAX: usize = 256;
/// Most rooms one peer may be in.
pub const ROOMS_MAX: usize = 64;
/// Most links on the way to a member of a room: who is farther away is taken for gone, so that a lost one's fame dies out.
pub const HOPS_MAX: u8 = 12;

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    Hello(Hello),
    /// The rooms one is in now, instead of those of the hello.
    Rooms {
        rooms: Vec<String>,
    },
    Have(Have),
    /// Whom the sender can reach in a room, beside the reader.
    Members(Members),
    /// Send these logs, from these lines on, and go on as they grow; from 0: no more.
    Want {
        target: String,
        logs: Vec<WantEntry>,
    },
    Ping {
        nonce: u64,
    },
    Pong {
        nonce: u64,
    },
    /// A new name.
    Profile {
        username: String,
    },
    /// The sender closes the link.
    Bye {
        reason: ByeReason,
    },
    Unknown,
}

/// Why a link is closed: the `reason` of a `bye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// `leave`: the sender's program ends.
    Leave,
    /// `duplicate`: another link to the same peer stays.
    Duplicate,
    /// `twin`: another program with the receiver's key is linked.
    DuplicateIdentity,
    /// `full`: the sender has as many links as it may have.
    Full,
    /// `other`: the sender dialed the address to reach another peer.
    UnexpectedPeer,
    /// `broken`: a frame or message was invalid.
    InvalidMessage,
    /// `silent`: the receiver did not answer pings in time.
    Silent,
    /// A word that this version does not know; written as `unknown`.
    Unknown,
}

impl ByeReason {
    fn as_str(self) -> &'static str {
        match self {
            ByeReason::Leave => "leave",
            ByeReason::Duplicate => "duplicate",
            ByeReason::DuplicateIdentity => "twin",
            ByeReason::Full => "full",
            ByeReason::UnexpectedPeer => "other",
            ByeReason::InvalidMessage => "broken",
            ByeReason::Silent => "silent",
            ByeReason::Unknown => "unknown",
        }
    }

    fn parse(word: &str) -> ByeReason {
        use ByeReason::{
            Duplicate, DuplicateIdentity, Full, InvalidMessage, Leave, Silent, UnexpectedPeer,
        };
        [
            Leave,
            Duplicate,
            DuplicateIdentity,
            Full,
            UnexpectedPeer,
            InvalidMessage,
            Silent,
        ]
        .into_iter()
        .find(|reason| reason.as_str() == word)
        .unwrap_or(ByeReason::Unknown)
    }
}

impl Serialize for ByeReason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// The first message of either side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub sender: PeerId,
    pub username: String,
    /// Random, one for each process.
    pub run: u64,
    /// Milliseconds since the process started.
    pub age: u64,
    /// See [`room_mark`].
    pub rooms: Vec<String>,
    /// Where the sender listens.
    pub port: u16,
    /// A program that comes and goes unannounced, such as `send`.
    #[serde(default, skip_serializing_if = "is_false")]
    pub passing: bool,
}

/// What the sender holds in a room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Have {
    pub target: String,
    pub logs: Vec<HaveEntry>,
    /// Of all that the sender holds here of authors other than these two: who has another answers with what he holds of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// It was held when the room was first shared over this link.
    #[serde(default, skip_serializing_if = "is_false")]
    pub before: bool,
}

/// What changed in whom the sender can reach in a room; all of it at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Members {
    pub target: String,
    pub here: Vec<Member>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<PeerId>,
}

/// Somebody who can be reached through the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub peer: PeerId,
    pub username: String,
    pub run: u64,
    /// Links from the sender to it: 1 to [`HOPS_MAX`].
    pub hops: u8,
    /// The sender's next on the way, if it is not the peer itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<PeerId>,
}

/// What one holds of one log: of the reader's own it is the receipt, of one's own it is the offer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaveEntry {
    pub sender: PeerId,
    pub incarnation: String,
    #[serde(default)]
    pub low: u64,
    pub high: u64,
    pub hash: Hash,
    /// The first line of the author's present run; 0: none, or not known.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start: u64,
    /// With `start`, if the sender is not the author: milliseconds since the author's program started.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age: u64,
    /// The last line that was shown on a terminal, of what was said to the sender alone; 0: none in this run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub read: u64,
    /// Who holds it, if not the sender: a receipt on its way to the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PeerId>,
    /// The holder's, for an author that it has no link to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WantEntry {
    pub sender: PeerId,
    pub incarnation: String,
    pub from: u64,
    /// The last line asked for, of lines that are missing between others; 0: whatever comes.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub to: u64,
}

/// An incarnation in 16 hex digits.
pub fn format_incarnation(number: u64) -> String {
    format!("{number:016x}")
}

/// What a holder signs when its receipt goes to the author through others.
pub fn receipt(network: &NetworkTag, log: &LogId, high: u64, hash: &Hash) -> Hash {
    let target = log.target.to_string();
    let (incarnation, high) = (log.incarnation.to_be_bytes(), high.to_be_bytes());
    let parts: [&[u8]; 7] = [
        b"p2pchat receipt 1\0",
        &network.0,
        &log.author.0,
        &incarnation,
        &high,
        &hash.0,
        target.as_bytes(),
    ];
    Hash::of(&parts)
}

/// The log that a `have` or a `want` means; `None` if its incarnation is no number.
pub fn parse_log_id(target: &Target, author: PeerId, incarnation: &str) -> Option<LogId> {
    let incarnation = u64::from_str_radix(incarnation, 16).ok()?;
    Some(LogId {
        target: target.clone(),
        author,
        incarnation,
    })
}

#[derive(Deserialize)]
struct TypeTag<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
}

/// The fields of all the small messages: each takes its own.
#[derive(Deserialize)]
struct MessageFields {
    rooms: Option<Vec<String>>,
    target: Option<String>,
    logs: Option<Vec<WantEntry>>,
    nonce: Option<u64>,
    username: Option<String>,
    reason: Option<String>,
}

impl MessageFields {
    fn into_message(self, kind: &str) -> Option<Message> {
        Some(match kind {
            "rooms" => Message::Rooms { rooms: self.rooms? },
            "want" => Message::Want {
                target: self.target?,
                logs: self.logs?,
            },
            "ping" => Message::Ping { nonce: self.nonce? },
            "pong" => Message::Pong { nonce: self.nonce? },
            "profile" => Message::Profile {
                username: self.username?,
            },
            "bye" => Message::Bye {
                reason: ByeReason::parse(&self.reason?),
            },
            _ => Message::Unknown,
        })
    }
}

fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    serde_json::from_slice(bytes).ok()
}

impl Message {
    /// `None`: not a message.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let kind: TypeTag = parse_json(bytes)?;
        Some(match &*kind.name {
            "hello" => Message::Hello(parse_json(bytes)?),
            "have" => Message::Have(parse_json(bytes)?),
            "members" => Message::Members(parse_json(bytes)?),
            _ => parse_json::<MessageFields>(bytes)?.into_message(&kind.name)?,
        })
    }

    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// How a room is named in a hello: a hash keyed with the handshake's, so that only who knows the name sees it, and none can be replayed.
pub fn room_hash(handshake: &[u8; 32], room: &Room) -> String {
    let mut mark = Hash::of(&[b"p2pchat room\0", handshake, room.as_str().as_bytes()]).to_string();
    mark.truncate(32);
    mark
}
