//! p2pchat in Go, another program with the same name, group and port. It speaks JSON in the clear:
//! beacons by multicast, and lines over TCP. Nothing is signed, so everything in them is a claim.
use serde::Deserialize;

use crate::base::batch::batch_content::write_json_string;
use crate::base::lines::LINE_MAX_BYTES;
use crate::base::name::Nick;
use crate::base::time::WallTime;
use crate::wire::message::parse_json;

/// Longest beacon of p2pchat in Go, in bytes.
const GO_BEACON_MAX_BYTES: usize = 1024;
/// Longest id of a program, in bytes. A beacon or a message of a longer one is ignored.
const GO_ID_MAX_BYTES: usize = 128;
/// How the ids of our own programs begin, so that they know each other.
const GO_GATEWAY_PREFIX: &str = "p2pchat-";

/// A beacon of p2pchat in Go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoBeacon {
    /// The id of the sender.
    pub id: String,
    /// The name that the sender claims.
    pub nick: Nick,
    /// The TCP port where the sender listens. 0: unknown.
    pub port: u16,
    /// Whether the sender leaves.
    pub is_leaving: bool,
}

/// The fields without which a datagram is none of these beacons. Our own ones have neither an
/// address nor a time.
#[derive(Deserialize)]
struct GoBeaconFields {
    #[serde(rename = "type")]
    kind: String,
    username: String,
    peer_id: String,
    #[serde(rename = "address")]
    _address: String,
    #[serde(rename = "timestamp")]
    _timestamp: String,
    #[serde(default)]
    port: u16,
}

impl GoBeacon {
    /// Parses a datagram. Returns `None` if it is no beacon of p2pchat in Go.
    pub fn parse(bytes: &[u8]) -> Option<GoBeacon> {
        if bytes.len() > GO_BEACON_MAX_BYTES {
            return None;
        }
        let fields: GoBeaconFields = parse_json(bytes)?;
        Some(GoBeacon {
            id: Some(fields.peer_id).filter(|id| id.len() <= GO_ID_MAX_BYTES)?,
            nick: Nick::new_or_placeholder(&fields.username),
            port: fields.port,
            is_leaving: fields.kind == "leave",
        })
    }

    /// The bytes of the beacon. `count`: how many beacons came before it.
    pub fn encode(&self, at: WallTime, count: u64) -> Vec<u8> {
        let port = self.port;
        let mut out = Vec::new();
        let kind = if self.is_leaving { "leave" } else { "announce" };
        push(&mut out, "{\"type\":", kind);
        push(&mut out, ",\"peer_id\":", &self.id);
        push(&mut out, ",\"username\":", self.nick.as_str());
        push(&mut out, ",\"address\":", &format!("0.0.0.0:{port}"));
        out.extend_from_slice(format!(",\"port\":{port}").as_bytes());
        push(&mut out, ",\"timestamp\":", &at.to_string());
        out.extend_from_slice(format!(",\"sequence\":{count}}}").as_bytes());
        out
    }

    /// Whether a program of ours sent the beacon.
    pub fn is_ours(&self) -> bool {
        is_gateway_id(&self.id)
    }
}

/// The id of one of our programs. `network`: what it writes about its network. `unique`: what tells
/// it apart from others.
pub fn gateway_id(network: &str, unique: &str) -> String {
    format!("{GO_GATEWAY_PREFIX}{network}-{unique}")
}

/// Whether this is the id of one of our programs.
fn is_gateway_id(id: &str) -> bool {
    id.starts_with(GO_GATEWAY_PREFIX)
}

/// What a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GoMessageKind {
    /// The sender names itself.
    Join,
    /// A line for everybody.
    Chat,
    /// The sender leaves.
    Leave,
    /// Anything else.
    Other,
}

impl GoMessageKind {
    fn as_str(self) -> &'static str {
        match self {
            GoMessageKind::Join => "join",
            GoMessageKind::Chat => "chat",
            GoMessageKind::Leave => "leave",
            GoMessageKind::Other => "other",
        }
    }
}

/// A message: one line of JSON on a TCP stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoMessage {
    /// What it says.
    pub kind: GoMessageKind,
    /// The id of the sender.
    pub id: String,
    /// The name that the sender claims.
    pub nick: Nick,
    /// The text of a line.
    pub content: String,
}

#[derive(Deserialize)]
struct GoMessageFields {
    #[serde(rename = "type")]
    kind: String,
    sender_id: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    content: String,
}

impl GoMessage {
    /// Parses a line without its end. Returns `None` if it is no message. A text of several lines
    /// becomes one line.
    pub fn parse(line: &[u8]) -> Option<GoMessage> {
        let fields: GoMessageFields = parse_json(line)?;
        let kinds = [
            GoMessageKind::Join,
            GoMessageKind::Chat,
            GoMessageKind::Leave,
        ];
        let kind = kinds.into_iter().find(|kind| kind.as_str() == fields.kind);
        let mut content = fields.content.replace(['\n', '\r'], " ");
        content.truncate(content.floor_char_boundary(LINE_MAX_BYTES));
        Some(GoMessage {
            kind: kind.unwrap_or(GoMessageKind::Other),
            id: Some(fields.sender_id).filter(|id| id.len() <= GO_ID_MAX_BYTES)?,
            nick: Nick::new_or_placeholder(&fields.username),
            content,
        })
    }

    /// Appends the message as a line. `number` names the message, and is its place among ours.
    pub fn write(&self, at: WallTime, number: u64, out: &mut Vec<u8>) {
        push(out, "{\"id\":", &format!("{number:016x}"));
        push(out, ",\"type\":", self.kind.as_str());
        push(out, ",\"sender_id\":", &self.id);
        push(out, ",\"username\":", self.nick.as_str());
        push(out, ",\"content\":", &self.content);
        push(out, ",\"timestamp\":", &at.to_string());
        out.extend_from_slice(format!(",\"sequence\":{number}").as_bytes());
        push(out, ",\"room_id\":", "general");
        out.extend_from_slice(b"}\n");
    }
}

/// Appends the text `head` and a JSON string.
fn push(out: &mut Vec<u8>, head: &str, value: &str) {
    out.extend_from_slice(head.as_bytes());
    write_json_string(out, value);
}
