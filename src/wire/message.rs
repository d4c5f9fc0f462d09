//! The messages of a link except batches: JSON objects. Unknown fields and types are ignored, so
//! that the protocol can grow.
use std::borrow::Cow;

use serde::{Deserialize, Serialize, Serializer};

use crate::base::batch::LogId;
use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::{Room, Target};

/// Most logs in one `have` or `want`. A peer with more sends several messages.
pub const LOGS_PER_MESSAGE_MAX: usize = 256;
/// Most rooms that one peer can join.
pub const ROOMS_MAX: usize = 64;
/// Most links on a route to a member of a room. Farther members count as unreachable, so that
/// routes to a lost peer cannot grow without end (count to infinity, RFC 1058, 2.2).
pub const HOPS_MAX: u8 = 12;

/// A message of a link.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    /// The first message of either side.
    Hello(Hello),
    /// The rooms that the sender is in now; they replace those of its hello.
    Rooms {
        /// One hash for each room: see [`room_hash`].
        rooms: Vec<String>,
    },
    /// Logs that the sender stores: offers and acknowledgements.
    Have(Have),
    /// Changes in the members of a room that the sender can reach.
    Members(Members),
    /// Requests logs from the given sequences on, and everything that is appended to them later.
    Want {
        /// The room `#name` or the peer `@id` to which the logs belong.
        target: String,
        /// At most [`LOGS_PER_MESSAGE_MAX`] logs.
        logs: Vec<WantEntry>,
    },
    /// Asks for a [`Message::Pong`] with the same nonce.
    Ping {
        /// Any number.
        nonce: u64,
    },
    /// Answers a [`Message::Ping`].
    Pong {
        /// The nonce of the ping.
        nonce: u64,
    },
    /// The sender changed its name.
    Profile {
        /// The new name.
        username: String,
    },
    /// The sender closes the link.
    Bye {
        /// Why it does so.
        reason: ByeReason,
    },
    /// A type that this version does not know.
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
    /// The sender's key.
    pub sender: PeerId,
    /// The sender's name.
    pub username: String,
    /// A random number that identifies the sender's process.
    pub run: u64,
    /// Milliseconds since the sender's process started.
    pub age: u64,
    /// One hash for each room that the sender is in, at most [`ROOMS_MAX`]: see [`room_hash`].
    pub rooms: Vec<String>,
    /// The TCP port on which the sender listens.
    pub port: u16,
    /// Is the sender a transient peer, such as `send`?
    #[serde(default, skip_serializing_if = "is_false")]
    pub passing: bool,
}

/// Logs of one target that the sender stores.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Have {
    /// The room `#name` or the peer `@id` to which the logs belong.
    pub target: String,
    /// At most [`LOGS_PER_MESSAGE_MAX`] logs.
    pub logs: Vec<HaveEntry>,
    /// Digest of the heads that the sender stores of authors other than the two linked peers. A
    /// receiver with another digest answers with its heads of those authors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Was all this stored when the room was first shared over this link?
    #[serde(default, skip_serializing_if = "is_false")]
    pub before: bool,
}

/// Changes in the members of a room that the sender can reach; the first message lists all of
/// them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// The room `#name`.
    pub target: String,
    /// Members that became reachable, or whose entry changed.
    pub here: Vec<Member>,
    /// Members that are no longer reachable through the sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<PeerId>,
}

/// A member of a room that is reachable through the sender.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member's key.
    pub peer: PeerId,
    /// The member's name.
    pub username: String,
    /// The random number of the member's process.
    pub run: u64,
    /// Number of links from the sender to the member: 1 to [`HOPS_MAX`].
    pub hops: u8,
    /// The sender's next hop, unless that is the member itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<PeerId>,
}

/// What a peer stores of one log. It acknowledges lines of the receiver and offers all others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HaveEntry {
    /// The author of the log.
    pub sender: PeerId,
    /// The incarnation: see [`format_incarnation`].
    pub incarnation: String,
    /// Sequence of the first stored line.
    #[serde(default)]
    pub low: u64,
    /// Sequence of the last stored line.
    pub high: u64,
    /// Hash of the batch that ends at `high`. The entry counts only if the receiver stores it,
    /// too.
    pub hash: Hash,
    /// Sequence of the first line of the author's present run; 0 if none or unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub start: u64,
    /// Milliseconds since the author's program started. Present with `start` if the sender is not
    /// the author.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub age: u64,
    /// Sequence of the last line of a direct log that the sender showed on a terminal; 0 if none
    /// in this run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub read: u64,
    /// The peer that stores the lines, if this entry forwards its receipt to the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PeerId>,
    /// The holder's signature of [`receipt`], in base64, for an author that it has no link to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The lines requested of one log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WantEntry {
    /// The author of the log.
    pub sender: PeerId,
    /// The incarnation: see [`format_incarnation`].
    pub incarnation: String,
    /// Sequence of the first line; 0 ends the request.
    pub from: u64,
    /// Sequence of the last line, if the request fills a gap; 0 for an open end.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub to: u64,
}

/// An incarnation as 16 hex digits.
pub fn format_incarnation(number: u64) -> String {
    format!("{number:016x}")
}

/// The hash that a holder signs when other peers forward its receipt to the author.
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

/// The log of an entry of a `have` or `want`; `None` if the incarnation is not hexadecimal.
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

/// The fields of all small messages. One struct parses them, which saves code.
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
    /// Parses a payload; `None` if it is no JSON object with a type and the fields of that type.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let kind: TypeTag = parse_json(bytes)?;
        Some(match &*kind.name {
            "hello" => Message::Hello(parse_json(bytes)?),
            "have" => Message::Have(parse_json(bytes)?),
            "members" => Message::Members(parse_json(bytes)?),
            _ => parse_json::<MessageFields>(bytes)?.into_message(&kind.name)?,
        })
    }

    /// The message as JSON.
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// The hash that stands for a room in `hello` and `rooms`: 128 bits in hex, keyed with the hash
/// of the link's handshake. Only a peer that knows the name recognises it, and no other link can
/// replay it.
pub fn room_hash(handshake: &[u8; 32], room: &Room) -> String {
    let mut hash = Hash::of(&[b"p2pchat room\0", handshake, room.as_str().as_bytes()]).to_string();
    hash.truncate(32);
    hash
}
