//! The messages of a link, except batches. Messages are JSON objects. Receivers ignore unknown
//! fields and types, which later versions may send.
use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::base::batch::batch::{LogId, MAX_SAFE_INTEGER};
use crate::base::domain;
use crate::base::hex;
use crate::base::identity::{Hash, NetworkTag, PeerId};
use crate::base::name::{Room, Target};
use crate::base::presence::profile::HAS_PROFILE;
use crate::base::range::LogRange;
use crate::base::text::json_objects;
use crate::base::time::WallTime;
use crate::wire::profile::messages::{ProfileReply, ProfileRequest};

/// Maximum number of logs in one `have` or `want`. A sender that has more logs to list sends
/// several messages.
pub const LOGS_PER_MESSAGE_MAX: usize = 256;
/// Maximum number of rooms that one peer can join.
pub const ROOMS_MAX: usize = 64;
/// Number of links that stands for no route. Routes to a room member have fewer links, so more
/// distant members count as unreachable. The bound stops routes to a lost peer from growing forever
/// (count to infinity, RFC 1058, 2.2).
pub const HOPS_MAX: u8 = 12;
/// Maximum number of peers that one `peers` introduces: as many as a full mesh has.
pub const INTRODUCTIONS_PER_MESSAGE_MAX: usize = 64;
/// Length of a digest or a room's hash in a message, in hex digits. Longer hashes are truncated.
pub const DIGEST_CHARS: usize = 32;

/// A message of a link.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum Message {
    /// The first message that each side sends.
    Hello(Hello),
    /// The rooms that the sender is in now. This list replaces the sender's earlier list.
    Rooms {
        /// One [`room_hash`] for each room.
        rooms: Vec<String>,
    },
    /// Lists lines that the sender stores. Each [`HaveEntry`] is an offer or an acknowledgement.
    Have(Have),
    /// Changes to the set of room members that the sender can reach.
    Members(Members),
    /// Stands for a [`Members`] with all members that the sender is linked with. If the receiver is
    /// linked with the same members, it knows them all.
    #[serde(rename = "members_digest")]
    MembersDigest {
        /// The room `#name`.
        target: String,
        /// The [`members_digest`] of the sender, and of the members that it is linked with.
        digest: String,
    },
    /// Requests the members for which a digest stands.
    #[serde(rename = "members_request")]
    MembersRequest {
        /// The room `#name`.
        target: String,
    },
    /// The present clocks of an author's process, as far as the sender knows them. This message
    /// precedes the author's batches. The clocks tell the receiver when the lines were published.
    Clock {
        /// The author's key.
        peer: PeerId,
        /// A random number that identifies the author's process.
        #[serde(with = "hex")]
        run: u64,
        /// Milliseconds since the author's process started.
        age: u64,
        /// The author's wall clock.
        wall: WallTime,
    },
    /// Requests lines of several logs. A request without a last line includes lines that are
    /// published later.
    Want {
        /// The target of the logs: a room `#name` or a peer `@id`.
        target: String,
        /// At most [`LOGS_PER_MESSAGE_MAX`] logs.
        logs: Vec<WantEntry>,
    },
    /// Requests a [`Message::Pong`] with the same nonce.
    Ping {
        /// Any number up to [`MAX_SAFE_INTEGER`].
        nonce: u64,
    },
    /// Answers a [`Message::Ping`].
    Pong {
        /// The nonce of the ping.
        nonce: u64,
    },
    /// Requests a [`Message::HeardReply`].
    #[serde(rename = "heard_request")]
    HeardRequest,
    /// Says whether the sender hears the beacons of the receiver.
    #[serde(rename = "heard_reply")]
    HeardReply {
        /// How long ago the last one arrived, in milliseconds. Absent: none is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        age: Option<u64>,
    },
    /// The sender changed its name.
    Profile {
        /// The new name.
        username: String,
    },
    /// The sender's user went away, or came back.
    Presence {
        /// Why the user is away. Absent: the user is back.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        away: Option<String>,
    },
    /// Requests what the receiver's user says about itself.
    #[serde(skip)]
    ProfileRequest(ProfileRequest),
    /// What the sender's user says about itself.
    #[serde(skip)]
    ProfileReply(ProfileReply),
    /// The sender's user types a line.
    Typing {
        /// For whom the line will be: a room `#name` or the receiver `@id`.
        target: String,
    },
    /// Introduces peers with which the sender is linked, so that the receiver can dial them.
    Peers {
        /// A [`ConnectionCode`](crate::wire::code::ConnectionCode) for each peer, at most
        /// [`INTRODUCTIONS_PER_MESSAGE_MAX`].
        peers: Vec<String>,
    },
    /// The sender closes the link.
    Bye {
        /// Why the sender closes the link.
        reason: ByeReason,
    },
    /// A message type that this version does not know.
    Unknown,
}

/// Why a link is closed: the `reason` of a `bye`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByeReason {
    /// `leave`: the sender's program ends.
    Leave,
    /// `duplicate`: the link is not needed, because the two peers keep another one.
    Duplicate,
    /// `twin`: another program uses the key of the peer that receives the `bye`. On an established
    /// link, this `bye` is only a warning. The link stays open.
    DuplicateIdentity,
    /// `full`: the sender has reached its maximum number of links.
    Full,
    /// `other`: the sender dialed the receiver's address, but expected another key there.
    UnexpectedPeer,
    /// `broken`: the sender of the `bye` received an invalid frame or message.
    InvalidMessage,
    /// `silent`: the receiver of the `bye` did not answer a ping in time.
    Silent,
    /// `banned`: the sender's user wants no link with the receiver.
    Banned,
    /// A reason that this version does not know. Encoded as `unknown`.
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
            ByeReason::Banned => "banned",
            ByeReason::Unknown => "unknown",
        }
    }

    fn parse(word: &str) -> ByeReason {
        use ByeReason::{
            Banned, Duplicate, DuplicateIdentity, Full, InvalidMessage, Leave, Silent,
            UnexpectedPeer,
        };
        [
            Leave,
            Duplicate,
            DuplicateIdentity,
            Full,
            UnexpectedPeer,
            InvalidMessage,
            Silent,
            Banned,
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

/// The first message that each side of a link sends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's key.
    pub sender: PeerId,
    /// The sender's name.
    pub username: String,
    /// A random number that identifies the sender's process.
    #[serde(with = "hex")]
    pub run: u64,
    /// Milliseconds since the sender's process started, at the time of sending.
    #[serde(deserialize_with = "safe_integer")]
    pub age: u64,
    /// The sender's wall clock at the time of sending.
    pub wall: WallTime,
    /// One [`room_hash`] for each room that the sender is in. At most [`ROOMS_MAX`].
    pub rooms: Vec<String>,
    /// The TCP port on which the sender listens.
    pub port: u16,
    /// Is the sender a transient peer, such as `send`?
    #[serde(default, skip_serializing_if = "is_false")]
    pub passing: bool,
    /// Does the sender's key exist only as long as its program runs?
    #[serde(default, skip_serializing_if = "is_false")]
    pub ephemeral: bool,
    /// Does the sender understand [`Message::MembersDigest`]?
    #[serde(default, skip_serializing_if = "is_false")]
    pub members_digests: bool,
}

/// Lists the lines that the sender stores, in several logs to one target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Have {
    /// The target of the logs: a room `#name` or a peer `@id`.
    pub target: String,
    /// At most [`LOGS_PER_MESSAGE_MAX`] logs.
    pub logs: Vec<HaveEntry>,
    /// For a room, the hash of the heads of all logs that neither the sender nor the receiver
    /// wrote. If the receiver computes a different hash, it offers these logs.
    ///
    /// If the target is the sender, this field requests offers of all logs to the sender. Its value
    /// is then ignored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Changes to the set of room members that the sender can reach. When a link begins to share a
/// room, the first message lists the members known so far. The list omits the receiver, and
/// members that the sender reaches through the receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Members {
    /// The room `#name`.
    pub target: String,
    /// New reachable members, and members whose entry changed.
    pub here: Vec<Member>,
    /// Members that are no longer reachable through the sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<PeerId>,
}

/// A room member that the sender can reach.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member's key.
    pub peer: PeerId,
    /// The member's name.
    pub username: String,
    /// A random number that identifies the member's process.
    #[serde(with = "hex")]
    pub run: u64,
    /// Number of links from the sender to the member. [`HOPS_MAX`]: the sender has no route.
    pub hops: u8,
    /// The next peer after the sender on the route to the member. Absent if the sender is linked
    /// with the member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<PeerId>,
    /// Milliseconds for which the sender still awaits the member. Absent if the sender has a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub await_ms: Option<u64>,
}

/// States which lines of one log the sender stores. If the receiver is the author, the entry is an
/// acknowledgement. For any other author it is an offer.
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
    /// Hash of the batch that ends at `high`. An acknowledgement counts only if the receiver
    /// stores a batch with this hash.
    pub hash: Hash,
    /// Sequence from which on the sender received every line up to `high`: see
    /// [`LogRange::complete_from`]. 1 if the field is absent.
    #[serde(default = "first_line", skip_serializing_if = "is_first_line")]
    pub complete_from: u64,
    /// Sequence of the last line of this direct log that the sender has shown on a terminal. 0 if
    /// the sender has shown none in its current run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub read: u64,
    /// The peer whose receipt this entry forwards. Absent if the entry describes what the
    /// sender stores.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<PeerId>,
    /// Signature of [`receipt`] in base64. A peer without a link to the author signs its
    /// acknowledgement. Other peers then forward the signed entry to the author.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Parses a number up to [`MAX_SAFE_INTEGER`].
fn safe_integer<'de, D: Deserializer<'de>>(json: D) -> Result<u64, D::Error> {
    let number = Some(u64::deserialize(json)?);
    number
        .filter(is_safe)
        .ok_or_else(|| D::Error::custom("too large"))
}

fn is_safe(number: &u64) -> bool {
    *number <= MAX_SAFE_INTEGER
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn first_line() -> u64 {
    1
}

fn is_first_line(n: &u64) -> bool {
    *n == 1
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// A request for lines of one log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WantEntry {
    /// The author of the log.
    pub sender: PeerId,
    /// The incarnation: see [`format_incarnation`].
    pub incarnation: String,
    /// Sequence of the first requested line. 0 cancels an earlier request.
    pub from: u64,
    /// Sequence of the last requested line, if the request fills a gap. 0: the request has no last
    /// line, and includes lines that are published later.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub to: u64,
}

/// Formats an incarnation as 16 hex digits.
pub fn format_incarnation(number: u64) -> String {
    hex::format(number)
}

/// The hash that a peer signs as a receipt. The signature proves to the author that the peer stores
/// the log from the sequence `complete_from` up to the sequence `high`. `hash` is the hash of the
/// batch that ends at `high`.
pub fn receipt(
    network: &NetworkTag,
    log: &LogId,
    complete_from: u64,
    high: u64,
    hash: &Hash,
) -> Hash {
    let target = log.target.to_string();
    let parts: [&[u8]; 8] = [
        domain::RECEIPT,
        &network.0,
        &log.author.0,
        &log.incarnation.to_be_bytes(),
        &complete_from.to_be_bytes(),
        &high.to_be_bytes(),
        &hash.0,
        target.as_bytes(),
    ];
    Hash::of(&parts)
}

/// The [`LogId`] of an entry in a `have` or `want`. Returns `None` if the incarnation is not
/// 16 hex digits.
pub fn parse_log_id(target: &Target, author: PeerId, incarnation: &str) -> Option<LogId> {
    Some(LogId {
        target: target.clone(),
        author,
        incarnation: hex::parse(incarnation)?,
    })
}

#[derive(Deserialize)]
struct TypeTag<'a> {
    #[serde(rename = "type", borrow)]
    name: Cow<'a, str>,
}

/// The fields of all messages except `hello`, `have` and `members`. A single struct for them keeps
/// the generated code small.
#[derive(Deserialize)]
struct MessageFields {
    rooms: Option<Vec<String>>,
    peers: Option<Vec<String>>,
    target: Option<String>,
    logs: Option<Vec<WantEntry>>,
    digest: Option<String>,
    nonce: Option<u64>,
    peer: Option<PeerId>,
    run: Option<String>,
    age: Option<u64>,
    wall: Option<WallTime>,
    username: Option<String>,
    away: Option<String>,
    reason: Option<String>,
}

impl MessageFields {
    fn into_message(self, kind: &str) -> Option<Message> {
        Some(match kind {
            "rooms" => Message::Rooms { rooms: self.rooms? },
            "peers" => Message::Peers { peers: self.peers? },
            "want" => Message::Want {
                target: self.target?,
                logs: self.logs?,
            },
            "members_digest" => Message::MembersDigest {
                target: self.target?,
                digest: self.digest?,
            },
            "members_request" => Message::MembersRequest {
                target: self.target?,
            },
            "ping" => Message::Ping {
                nonce: self.nonce.filter(is_safe)?,
            },
            "pong" => Message::Pong {
                nonce: self.nonce.filter(is_safe)?,
            },
            "heard_request" => Message::HeardRequest,
            "heard_reply" => Message::HeardReply {
                age: self.age.filter(is_safe),
            },
            "clock" => Message::Clock {
                peer: self.peer?,
                run: hex::parse(&self.run?)?,
                age: self.age.filter(is_safe)?,
                wall: self.wall?,
            },
            "profile" => Message::Profile {
                username: self.username?,
            },
            "presence" => Message::Presence { away: self.away },
            "typing" => Message::Typing {
                target: self.target?,
            },
            "bye" => Message::Bye {
                reason: ByeReason::parse(&self.reason?),
            },
            _ => Message::Unknown,
        })
    }
}

/// Parses JSON in UTF-8. Converts the bytes to a `str` first, because batches are parsed from a
/// `str` too. A second input type would double the generated code.
pub(super) fn parse_json<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    json_objects::parse(std::str::from_utf8(bytes).ok()?)
}

impl Message {
    /// Parses the payload of a frame. Returns `None` if the payload is no JSON object, has no type,
    /// or lacks a field that its type requires.
    pub fn parse(bytes: &[u8]) -> Option<Message> {
        let kind: TypeTag = parse_json(bytes)?;
        Some(match &*kind.name {
            "hello" => Message::Hello(parse_json(bytes)?),
            "have" => Message::Have(parse_json(bytes)?),
            "members" => Message::Members(parse_json(bytes)?),
            "profile_request" if HAS_PROFILE => Message::ProfileRequest(parse_json(bytes)?),
            "profile_reply" if HAS_PROFILE => Message::ProfileReply(parse_json(bytes)?),
            _ => parse_json::<MessageFields>(bytes)?.into_message(&kind.name)?,
        })
    }

    /// Encodes the message as JSON.
    pub fn encode(&self) -> Vec<u8> {
        // Not variants that serde knows, so that they cost nothing where they are not built.
        let json = match self {
            Message::ProfileRequest(request) if HAS_PROFILE => serde_json::to_vec(request),
            Message::ProfileReply(reply) if HAS_PROFILE => serde_json::to_vec(reply),
            message => serde_json::to_vec(message),
        };
        json.unwrap_or_default()
    }
}

/// The hash of a room for `hello` and `rooms`: 128 bits in hex. It covers the hash of the link's
/// handshake, so it differs on every link. Only peers that know the room's name can recognise it.
pub fn room_hash(handshake: &[u8; 32], room: &Room) -> String {
    short_text(&Hash::of(&[
        domain::ROOM,
        handshake,
        room.as_str().as_bytes(),
    ]))
}

/// The digest over the heads of these logs, in their order: see [`Have::digest`].
pub fn heads_digest<'a>(ranges: impl Iterator<Item = &'a LogRange>) -> String {
    let mut heads = Vec::new();
    for range in ranges {
        heads.extend_from_slice(&range.log.author.0);
        heads.extend_from_slice(&range.log.incarnation.to_be_bytes());
        heads.extend_from_slice(&range.high.to_be_bytes());
        heads.extend_from_slice(&range.hash.0);
    }
    short_text(&Hash::of(&[domain::HEADS, &heads]))
}

/// The digest that `sender` sends of these members, in their order: see [`Message::MembersDigest`].
/// Nobody else can send it: whoever echoes our own digest shows no knowledge of the members.
pub fn members_digest(sender: &PeerId, members: &[Member]) -> String {
    let mut entries = sender.0.to_vec();
    for member in members {
        entries.extend_from_slice(&member.peer.0);
        entries.extend_from_slice(&member.run.to_be_bytes());
        entries.extend_from_slice(&(member.username.len() as u32).to_be_bytes());
        entries.extend_from_slice(member.username.as_bytes());
    }
    short_text(&Hash::of(&[domain::MEMBERS, &entries]))
}

/// The first 128 bits of a hash in hex.
fn short_text(hash: &Hash) -> String {
    let mut text = hash.to_string();
    text.truncate(DIGEST_CHARS);
    text
}
