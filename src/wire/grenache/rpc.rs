//! The requests of Grenache, and the answers: JSON in messages of WebSocket. Nothing is signed, so
//! everything in them is a claim.
use serde_json::Value;

use crate::base::batch::batch_content::write_json_string;
use crate::wire::message::parse_json;

/// Longest id of a request, in bytes. A request with a longer one is none.
const RPC_ID_MAX_BYTES: usize = 128;
/// Longest name in a request, in bytes. A longer one is left out.
pub const RPC_NAME_MAX_BYTES: usize = 64;
/// The fields of a payload that may contain the text, the first ones first.
const TEXT_FIELDS: [&str; 3] = ["message", "text", "content"];
/// The fields of a payload that may name the sender.
const NAME_FIELDS: [&str; 5] = ["from", "sender", "username", "name", "user"];

/// A request: `[ID,SERVICE,PAYLOAD]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcRequest {
    /// The number of the request, which the answer repeats.
    pub id: String,
    /// The service that it is for.
    pub service: String,
    /// The service that the sender claims to be. `None`: it claims nothing.
    pub name: Option<String>,
    /// What the sender says, as one line. It may be longer than a line may be.
    pub text: String,
}

impl RpcRequest {
    /// Parses a message. Returns `None` if it is no request. The text is that of the payload: of a
    /// field `message`, `text` or `content`, or else all of it.
    pub fn parse(message: &str) -> Option<RpcRequest> {
        let (id, service, payload): (String, String, Value) = parse_json(message.as_bytes())?;
        let field = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| payload.get(name)?.as_str());
            found.next()
        };
        let name = field(&NAME_FIELDS).filter(|name| name.len() <= RPC_NAME_MAX_BYTES);
        let text = match payload.as_str().or_else(|| field(&TEXT_FIELDS)) {
            Some(text) => text.to_owned(),
            None => payload.to_string(),
        };
        let text = text.replace(['\n', '\r'], " ");
        Some(RpcRequest {
            id: Some(id).filter(|id| id.len() <= RPC_ID_MAX_BYTES)?,
            service,
            name: name.map(str::to_owned),
            text,
        })
    }
}

/// The message that says a line to a service. `from`: our service.
pub fn write_request(id: &str, service: &str, from: &str, text: &str) -> String {
    let mut out = b"[".to_vec();
    write_json_string(&mut out, id);
    push(&mut out, ",", service);
    push(&mut out, ",{\"from\":", from);
    push(&mut out, ",\"message\":", text);
    out.extend_from_slice(b"}]");
    String::from_utf8(out).unwrap_or_default()
}

/// The message that answers a request: with an acknowledgement, or with an error.
pub fn write_answer(id: &str, error: Option<&str>) -> String {
    let mut out = b"[".to_vec();
    write_json_string(&mut out, id);
    match error {
        None => out.extend_from_slice(b",null,{\"ack\":true}]"),
        Some(error) => {
            push(&mut out, ",", error);
            out.extend_from_slice(b",null]");
        }
    }
    String::from_utf8(out).unwrap_or_default()
}

/// Parses an answer: the id of the request, and whether the service took it. Returns `None` if it
/// is none.
pub fn parse_answer(message: &str) -> Option<(String, bool)> {
    let (id, error, _): (String, Value, Value) = parse_json(message.as_bytes())?;
    let is_taken = matches!(error, Value::Null | Value::Bool(false));
    Some((id, is_taken))
}

/// Appends the text `head` and a JSON string.
fn push(out: &mut Vec<u8>, head: &str, value: &str) {
    out.extend_from_slice(head.as_bytes());
    write_json_string(out, value);
}
