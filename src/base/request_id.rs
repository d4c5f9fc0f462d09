//! The id that a client gives a request.
use serde_json::value::RawValue;

use super::text::control_chars::has_control;

/// Longest id, in bytes of JSON.
const ID_MAX_BYTES: usize = 64;

/// The id of a request: a JSON number or string, exactly as its client wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// `None`: `json` is neither a number nor a string, is longer than 64 bytes, or has unescaped
    /// control characters.
    pub fn parse(json: &str) -> Option<RequestId> {
        let is_id = json.starts_with(|c: char| c == '"' || c == '-' || c.is_ascii_digit());
        let is_valid = is_id && json.len() <= ID_MAX_BYTES && !has_control(json);
        let raw: &RawValue = is_valid.then(|| serde_json::from_str(json).ok())??;
        Some(RequestId(raw.get().into()))
    }

    /// The JSON of the id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
