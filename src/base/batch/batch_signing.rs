//! Signing: how the author of a log writes its next batch.
use std::io::Write as _;

use crate::base::hex;
use crate::base::identity::{Hash, Identity, NetworkTag};
use crate::base::lines::Lines;
use crate::base::name::Nick;
use crate::base::republished_lines::RepublishedLines;
use crate::base::text::line_form::LineForm;
use crate::base::text::rfc4648::BASE64URL_NOPAD;
use crate::base::time::WallTime;

use super::batch::{Batch, LogId};
use super::batch_content::{Content, write_json_lines, write_json_string};
use super::batch_fields::{CONTENT_FIELD, SALT_FIELD};
use super::batch_layout::{Proof, SIGNATURE_END, SIGNATURE_FIELD, batch_hash, content_hash};

/// The fields of a batch that is not signed yet.
pub struct UnsignedBatch<'a> {
    /// The log that the batch continues.
    pub log: LogId,
    /// The author's current name.
    pub username: Nick,
    /// Sequence of the first line.
    pub sequence: u64,
    /// Lamport number of the first line.
    pub lamport: u64,
    /// The time of signing by the author's wall clock.
    pub timestamp: WallTime,
    /// The random number of the author's process.
    pub run: u64,
    /// Milliseconds since the author's process started. At most
    /// [`MAX_SAFE_INTEGER`](super::batch::MAX_SAFE_INTEGER).
    pub uptime: u64,
    /// Hash of the previous batch of the log. `None` if `sequence` is 1.
    pub previous: Option<Hash>,
    /// What the lines are.
    pub form: LineForm,
    /// The lines of a forked log that this log publishes again. The same in all batches of the log.
    pub republishes: Option<RepublishedLines>,
    /// The lines. At least one is required.
    pub lines: &'a Lines,
    /// The lines sealed for the recipient, in base64. `None` if the target is a room.
    pub sealed: Option<&'a str>,
    /// Random bits that are hashed with the content.
    pub salt: u64,
}

impl Batch {
    /// Signs the next batch of one of our logs. `draft.lines` must contain at least one line.
    pub fn sign(identity: &Identity, network: &NetworkTag, draft: UnsignedBatch<'_>) -> Batch {
        let count = draft.lines.count() as u64;
        let mut json = Vec::with_capacity(512 + draft.lines.len() + draft.lines.len() / 16);
        write_header(&draft, count, &mut json);
        let header_end = json.len();
        json.extend_from_slice(CONTENT_FIELD.as_bytes());
        let start = json.len();
        match draft.sealed {
            Some(sealed) => write_json_string(&mut json, sealed),
            None => write_json_lines(&mut json, draft.lines),
        }
        let content = start..json.len();
        let content_hash = content_hash(draft.salt, &json[content.clone()]);
        let hash = batch_hash(network, &json[..header_end], &content_hash);
        json.extend_from_slice(SALT_FIELD.as_bytes());
        json.extend_from_slice(hex::format(draft.salt).as_bytes());
        json.extend_from_slice(SIGNATURE_FIELD.as_bytes());
        json.extend_from_slice(BASE64URL_NOPAD.encode(&identity.sign(&hash.0)).as_bytes());
        json.extend_from_slice(SIGNATURE_END.as_bytes());
        Batch {
            log: draft.log,
            username: draft.username,
            sequence: draft.sequence,
            lamport: draft.lamport,
            timestamp: draft.timestamp,
            run: draft.run,
            uptime: draft.uptime,
            previous: draft.previous,
            form: draft.form,
            republishes: draft.republishes,
            count,
            request: None,
            hash,
            proof: Proof::Signature,
            bytes: json,
            content: Content::At(content),
            is_plain: false,
            plaintext: draft.sealed.map(|_| draft.lines.clone()),
        }
    }
}

/// Appends the header of a batch with `count` lines: the JSON before the content.
fn write_header(draft: &UnsignedBatch<'_>, count: u64, json: &mut Vec<u8>) {
    // Writing to a `Vec` cannot fail.
    let _ = write!(
        json,
        "{{\"type\":\"chat\",\"sender\":\"{}\",\"username\":",
        draft.log.author
    );
    write_json_string(json, draft.username.as_str());
    json.extend_from_slice(b",\"target\":");
    write_json_string(json, &draft.log.target.to_string());
    let _ = write!(
        json,
        ",\"incarnation\":\"{:016x}\",\"sequence\":{}",
        draft.log.incarnation, draft.sequence
    );
    if count > 1 {
        let _ = write!(json, ",\"count\":{count}");
    }
    let _ = write!(
        json,
        ",\"lamport\":{},\"timestamp\":\"{}\",\"run\":\"{:016x}\",\"uptime\":{}",
        draft.lamport, draft.timestamp, draft.run, draft.uptime
    );
    if let Some(previous) = draft.previous {
        let _ = write!(json, ",\"previous\":\"{previous}\"");
    }
    if let Some(flag) = draft.form.flag() {
        let _ = write!(json, ",\"{flag}\":true");
    }
    if let Some(lines) = draft.republishes {
        let _ = write!(json, ",\"republishes\":{lines}");
    }
}
