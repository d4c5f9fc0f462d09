//! Batches: signed consecutive lines of one log, the unit of signing, sending and storing.
//!
//! A batch is one line of JSON, the same bytes on the wire and in the store. The signature covers
//! all bytes before `,"signature":`. In the store, local fields (`received`, `late`, `before`,
//! `backfill`, `plain`) follow the signature; they are never sent.
//!
//! The content of a direct message is one string: its lines, sealed for the recipient. Author and
//! recipient store the readable lines beside it as `plain`.
use std::io::Write as _;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;

use super::batch_content::{
    count_lines, for_each_json_line, parse_plaintext, write_json_lines, write_json_string,
};
use super::batch_fields::BatchFields;
use super::identity::{Hash, Identity, NetworkTag, PeerId, verify_signature};
use super::lines::{BATCH_LINES_MAX, Lines};
use super::name::{Nick, Target};
use super::time::WallTime;

/// Longest batch accepted from a peer, in bytes. Own batches stay below it even if JSON escapes
/// each byte of 48 KiB of text as six.
pub const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Digits of an incarnation, in hexadecimal.
pub const INCARNATION_DIGITS: usize = 16;
/// Longest batch of direct messages accepted from a peer, in bytes. With its readable lines
/// beside it, it still is a line that the store can read.
pub const DIRECT_BATCH_MAX_BYTES: usize = 100 * 1024;
/// Largest sequence and Lamport number: 2^53 − 1, the largest integer that every JSON parser
/// represents exactly (RFC 8259, section 6).
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

const HASH_DOMAIN: &[u8] = b"p2pchat batch 1\0";
const SIGNATURE_FIELD: &str = ",\"signature\":\"";
const SIGNATURE_CHARS: usize = 86;
/// Bytes of `,"signature":"…"}`.
const SIGNATURE_FIELD_BYTES: usize = SIGNATURE_FIELD.len() + SIGNATURE_CHARS + 2;

/// A log: all lines of one author to one target in one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// Where the lines are sent.
    pub target: Target,
    /// The peer that signs the lines.
    pub author: PeerId,
    /// Random number that the author draws anew whenever it cannot continue its sequences safely.
    pub incarnation: u64,
}

/// The fields of a batch to be signed.
pub struct UnsignedBatch<'a> {
    /// The log that the batch continues.
    pub log: LogId,
    /// The author's present name.
    pub username: Nick,
    /// Sequence of the first line.
    pub sequence: u64,
    /// Lamport number of the first line.
    pub lamport: u64,
    /// The author's wall clock.
    pub timestamp: WallTime,
    /// Hash of the previous batch of the log; `None` if the first line is line 1.
    pub previous: Option<Hash>,
    /// Are the lines actions, as by `/me`?
    pub action: bool,
    /// The lines, at least one.
    pub lines: &'a Lines,
    /// For a direct message: the lines sealed for the recipient, in base64.
    pub sealed: Option<&'a str>,
}

/// The bytes are not the JSON of a batch, or a field is outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedBatch;

/// What a peer stores beside a batch for itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalFields {
    /// When this peer received the batch, by its own wall clock.
    pub received: WallTime,
    /// The batch was published before the link that brought it was established.
    pub late: bool,
    /// The batch was published before this program started.
    pub before_start: bool,
    /// The batch was published before this directory first joined the room: stored, but not news.
    pub backfill: bool,
}

/// One or more consecutive lines of one log under one signature. Line i, counted from 0, has
/// sequence `sequence + i` and Lamport number `lamport + i`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The log that the batch belongs to.
    pub log: LogId,
    /// The name that the author claimed.
    pub username: Nick,
    /// Sequence of the first line, from 1.
    pub sequence: u64,
    /// Lamport number of the first line, from 1.
    pub lamport: u64,
    /// The author's wall clock when it signed.
    pub timestamp: WallTime,
    /// Hash of the previous batch of the log; `None` exactly if `sequence` is 1.
    pub previous: Option<Hash>,
    /// Are the lines actions, as by `/me`?
    pub action: bool,
    /// Number of lines, 1 to [`BATCH_LINES_MAX`].
    pub count: u64,
    /// Hash of the network tag and the signed bytes; the next batch of the log names it as
    /// `previous`.
    pub hash: Hash,
    bytes: Vec<u8>,
    /// Where the JSON of the content stands in `bytes`.
    content: std::ops::Range<usize>,
    /// The lines of a direct message that this peer wrote or has opened.
    plaintext: Option<Lines>,
}

/// The unverified place of a batch in its log.
#[derive(Clone, Debug)]
pub struct BatchHeader {
    /// The log that the batch belongs to.
    pub log: LogId,
    /// Sequence of the first line.
    pub sequence: u64,
    /// Sequence of the last line.
    pub last_sequence: u64,
    /// Lamport number of the first line.
    pub lamport: u64,
}

/// The parsed values of the fields that are text in JSON.
struct BatchValues {
    log: LogId,
    timestamp: WallTime,
    previous: Option<Hash>,
    /// Number of lines.
    count: u64,
}

impl Batch {
    /// Signs the next batch of an own log. `draft.lines` must hold at least one line.
    pub fn sign(identity: &Identity, network: &NetworkTag, draft: UnsignedBatch<'_>) -> Batch {
        // Writing to a `Vec` cannot fail.
        let mut json = Vec::with_capacity(512 + draft.lines.len() + draft.lines.len() / 16);
        let _ = write!(
            json,
            "{{\"type\":\"chat\",\"sender\":\"{}\",\"username\":",
            draft.log.author
        );
        write_json_string(&mut json, draft.username.as_str());
        json.extend_from_slice(b",\"target\":");
        write_json_string(&mut json, &draft.log.target.to_string());
        let _ = write!(
            json,
            ",\"incarnation\":\"{:016x}\",\"sequence\":{},\"lamport\":{},\"timestamp\":\"{}\"",
            draft.log.incarnation, draft.sequence, draft.lamport, draft.timestamp
        );
        if let Some(previous) = draft.previous {
            let _ = write!(json, ",\"previous\":\"{previous}\"");
        }
        if draft.action {
            json.extend_from_slice(b",\"action\":true");
        }
        let sealed = draft
            .sealed
            .map(|sealed| (sealed, draft.lines.iter().count() as u64));
        if let Some((_, count)) = sealed.filter(|(_, count)| *count > 1) {
            let _ = write!(json, ",\"count\":{count}");
        }
        json.extend_from_slice(b",\"content\":");
        let start = json.len();
        let count = match sealed {
            Some((sealed, count)) => {
                write_json_string(&mut json, sealed);
                count
            }
            None => write_json_lines(&mut json, draft.lines),
        };
        let content = start..json.len();
        let hash = Hash::of(&[HASH_DOMAIN, &network.0, &json]);
        json.extend_from_slice(SIGNATURE_FIELD.as_bytes());
        json.extend_from_slice(BASE64URL_NOPAD.encode(&identity.sign(&hash.0)).as_bytes());
        json.extend_from_slice(b"\"}");
        Batch {
            log: draft.log,
            username: draft.username,
            sequence: draft.sequence,
            lamport: draft.lamport,
            timestamp: draft.timestamp,
            previous: draft.previous,
            action: draft.action,
            count,
            hash,
            bytes: json,
            content,
            plaintext: draft.sealed.map(|_| draft.lines.clone()),
        }
    }

    /// Parses a batch from the wire: exactly one batch on one line, without local fields. The
    /// signature is not verified: see [`Batch::verify`].
    ///
    /// # Errors
    /// The bytes are malformed, or longer than [`BATCH_MAX_BYTES`] or [`DIRECT_BATCH_MAX_BYTES`].
    pub fn parse(bytes: Vec<u8>, network: &NetworkTag) -> Result<Batch, MalformedBatch> {
        let end = bytes
            .len()
            .checked_sub(SIGNATURE_FIELD_BYTES)
            .ok_or(MalformedBatch)?;
        let fits =
            bytes.len() <= BATCH_MAX_BYTES && bytes[end..].starts_with(SIGNATURE_FIELD.as_bytes());
        // JSON allows an end of line between tokens. In the store it would split the batch into
        // several lines, one of which could then pass as a batch of another author.
        if !fits || bytes.contains(&b'\n') {
            return Err(MalformedBatch);
        }
        Batch::decode(bytes, end, false, network).map(|(batch, _)| batch)
    }

    /// Parses a line of the store, given without `\n`. The signature is not verified.
    ///
    /// # Errors
    /// The line is malformed.
    pub fn parse_stored(
        line: &[u8],
        network: &NetworkTag,
    ) -> Result<(Batch, LocalFields), MalformedBatch> {
        // Searched from the end, as local fields are short. No string can contain the field name
        // unescaped.
        let at = line
            .windows(SIGNATURE_FIELD.len())
            .rposition(|w| w == SIGNATURE_FIELD.as_bytes())
            .ok_or(MalformedBatch)?;
        let (mut batch, local) = Batch::decode(line.to_vec(), at, true, network)?;
        batch.bytes.truncate(at + SIGNATURE_FIELD_BYTES - 1);
        batch.bytes.push(b'}');
        Ok((batch, local))
    }

    /// Parses the place of a stored batch and verifies neither signature nor bounds, so it is
    /// cheap.
    pub fn parse_header(line: &[u8]) -> Option<BatchHeader> {
        let fields = BatchFields::parse(std::str::from_utf8(line).ok()?)?;
        let log = parse_log_id(&fields)?;
        let count = count_lines(fields.content.get(), &log.target, fields.count)?;
        Some(BatchHeader {
            log,
            sequence: fields.sequence,
            last_sequence: fields.sequence.checked_add(count)?.checked_sub(1)?,
            lamport: fields.lamport,
        })
    }

    /// `end`: where the signature field begins. `stored`: whether local fields may follow it.
    fn decode(
        bytes: Vec<u8>,
        end: usize,
        stored: bool,
        network: &NetworkTag,
    ) -> Result<(Batch, LocalFields), MalformedBatch> {
        let text = std::str::from_utf8(&bytes).map_err(|_| MalformedBatch)?;
        let fields = BatchFields::parse(text).ok_or(MalformedBatch)?;
        let values = parse_values(&fields).ok_or(MalformedBatch)?;
        let direct_fits =
            values.log.target.room().is_some() || bytes.len() <= DIRECT_BATCH_MAX_BYTES;
        // A signed field with the name of a local one would stand twice in the stored line and
        // make it unreadable.
        let foreign_fits = !fields.has_local_fields() && direct_fits;
        if !has_valid_fields(&fields) || !(stored || foreign_fits) {
            return Err(MalformedBatch);
        }
        let signature = end + SIGNATURE_FIELD.len();
        if bytes.get(signature..signature + SIGNATURE_CHARS) != Some(fields.signature.as_bytes()) {
            return Err(MalformedBatch);
        }
        let raw = fields.content.get();
        let at = raw.as_ptr() as usize - text.as_ptr() as usize;
        let content = at..at + raw.len();
        let plaintext = fields
            .plain
            .and_then(|raw| parse_plaintext(raw.get(), values.count));
        let local = local_fields(&fields);
        let batch = Batch {
            log: values.log,
            username: Nick::new_or_placeholder(&fields.username),
            sequence: fields.sequence,
            lamport: fields.lamport,
            timestamp: values.timestamp,
            previous: values.previous,
            action: fields.action,
            count: values.count,
            hash: Hash::of(&[HASH_DOMAIN, &network.0, &bytes[..end]]),
            content,
            plaintext,
            bytes,
        };
        Ok((batch, local))
    }

    /// Did the author sign the batch? `key` must be the verifying key of `log.author`.
    pub fn verify(&self, key: &VerifyingKey) -> bool {
        let at = self.bytes.len() - 2 - SIGNATURE_CHARS;
        let mut signature = [0; 64];
        match BASE64URL_NOPAD.decode_mut(&self.bytes[at..at + SIGNATURE_CHARS], &mut signature) {
            Ok(64) => verify_signature(key, &self.hash.0, &signature),
            _ => false,
        }
    }

    /// The bytes that are sent, without local fields.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the stored form: the local fields follow the signature, and `\n` ends the line.
    pub fn write_stored(&self, local: LocalFields, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes[..self.bytes.len() - 1]);
        let mut tail = format!(",\"received\":\"{}\"", local.received);
        if local.late {
            tail.push_str(",\"late\":true");
        }
        if local.before_start {
            tail.push_str(",\"before\":true");
        }
        if local.backfill {
            tail.push_str(",\"backfill\":true");
        }
        out.extend_from_slice(tail.as_bytes());
        if let Some(plain) = &self.plaintext {
            out.extend_from_slice(b",\"plain\":");
            write_json_lines(out, plain);
        }
        out.extend_from_slice(b"}\n");
    }

    /// The sealed lines of a direct message, in base64. For a room: the JSON of the content.
    pub fn sealed_content(&self) -> &[u8] {
        let content = self.bytes.get(self.content.clone()).unwrap_or_default();
        let content = content.strip_prefix(b"\"").unwrap_or(content);
        content.strip_suffix(b"\"").unwrap_or(content)
    }

    /// Attaches the opened lines of a direct message. `false`, and nothing is attached, if their
    /// number is not `count`.
    pub fn set_plaintext(&mut self, lines: Lines) -> bool {
        let matches = lines.iter().count() as u64 == self.count;
        if matches {
            self.plaintext = Some(lines);
        }
        matches
    }

    /// Sequence of the last line.
    pub fn last_sequence(&self) -> u64 {
        self.sequence + self.count - 1
    }

    /// Does the batch contain the line of this sequence?
    pub fn contains_line(&self, line: u64) -> bool {
        self.sequence <= line && line <= self.last_sequence()
    }

    /// Calls `each` with the lines in order, copying only lines that JSON escapes. A direct
    /// message that is still sealed has no lines.
    pub fn for_each_line(&self, mut each: impl FnMut(&str)) {
        if self.log.target.room().is_none() {
            self.plaintext.iter().flat_map(Lines::iter).for_each(each);
        } else if let Ok(raw) = std::str::from_utf8(&self.bytes[self.content.clone()]) {
            let _ = for_each_json_line(raw, &mut each);
        }
    }
}

fn parse_log_id(fields: &BatchFields) -> Option<LogId> {
    let is_digit = |b: u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    if fields.incarnation.len() != INCARNATION_DIGITS || !fields.incarnation.bytes().all(is_digit) {
        return None;
    }
    Some(LogId {
        author: fields.sender.parse().ok()?,
        incarnation: u64::from_str_radix(fields.incarnation, 16).ok()?,
        target: Target::parse(&fields.target)?,
    })
}

/// Parses the fields that are text; `None` if one of them is malformed.
fn parse_values(fields: &BatchFields) -> Option<BatchValues> {
    let log = parse_log_id(fields)?;
    Some(BatchValues {
        count: count_lines(fields.content.get(), &log.target, fields.count)?,
        log,
        timestamp: WallTime::parse(fields.timestamp)?,
        previous: match fields.previous {
            Some(hash) => Some(Hash::parse(hash)?),
            None => None,
        },
    })
}

/// Are the fields that need no parsing within their bounds?
fn has_valid_fields(fields: &BatchFields) -> bool {
    let is_number = |n: u64| (1..=MAX_SAFE_INTEGER - BATCH_LINES_MAX as u64).contains(&n);
    fields.kind == "chat"
        && is_number(fields.sequence)
        && is_number(fields.lamport)
        && fields.previous.is_some() == (fields.sequence > 1)
        && fields.signature.len() == SIGNATURE_CHARS
}

fn local_fields(fields: &BatchFields) -> LocalFields {
    LocalFields {
        received: fields
            .received
            .and_then(WallTime::parse)
            .unwrap_or_default(),
        late: fields.late.unwrap_or(false),
        before_start: fields.before.unwrap_or(false),
        backfill: fields.backfill.unwrap_or(false),
    }
}
