//! A batch: consecutive lines of one log under one signature. Peers sign, send and store whole
//! batches.
//!
//! A batch is one line of JSON. The wire and the store use the same bytes. The signature covers
//! all bytes before `,"signature":`. The store appends local fields (`received`, `late`, `before`,
//! `backfill`, `plain`) after the signature. Local fields are never sent.
//!
//! The content of a direct message is one string: the lines, sealed for the recipient. Author and
//! recipient store the readable lines in the local field `plain`.
use std::io::Write as _;

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::VerifyingKey;

use super::batch_content::{
    count_lines, for_each_json_line, parse_plaintext, write_json_lines, write_json_string,
};
use super::batch_fields::BatchFields;
use super::hex;
use super::identity::{Hash, Identity, NetworkTag, PeerId, verify_signature};
use super::lines::{BATCH_LINES_MAX, Lines};
use super::name::{Nick, Target};
use super::time::WallTime;

/// Longest batch accepted from a peer, in bytes. The batches that we sign are shorter. Their text
/// has at most 48 KiB, and JSON escapes make it at most six times as long.
pub const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Longest batch of direct messages accepted from a peer, in bytes. It is less than
/// [`BATCH_MAX_BYTES`], because the store adds the readable lines to each such batch.
pub const DIRECT_BATCH_MAX_BYTES: usize = 100 * 1024;
/// Largest sequence, Lamport number and duration: 2^53 − 1. JSON implementations agree on all
/// integers up to this value (RFC 8259, section 6).
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

const HASH_DOMAIN: &[u8] = b"p2pchat batch 1\0";
const SIGNATURE_FIELD: &str = ",\"signature\":\"";
const SIGNATURE_CHARS: usize = 86;
/// Length of `,"signature":"…"}` in bytes.
const SIGNATURE_FIELD_BYTES: usize = SIGNATURE_FIELD.len() + SIGNATURE_CHARS + 2;

/// Identifies a log: all lines of one author to one target in one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The room or the recipient of the lines.
    pub target: Target,
    /// The peer that signs the lines.
    pub author: PeerId,
    /// A random number under which the author numbers its lines. The author draws a new one at any
    /// doubt about used sequences. A new log then begins.
    pub incarnation: u64,
}

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
    /// Milliseconds since the author's process started. At most [`MAX_SAFE_INTEGER`].
    pub uptime: u64,
    /// Hash of the previous batch of the log. `None` if `sequence` is 1.
    pub previous: Option<Hash>,
    /// Are the lines actions (`/me`)?
    pub action: bool,
    /// The lines. At least one is required.
    pub lines: &'a Lines,
    /// The lines sealed for the recipient, in base64. `None` if the target is a room.
    pub sealed: Option<&'a str>,
}

/// The bytes are not the JSON of a batch, or a field is outside its bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedBatch;

/// Fields that this peer stores with a batch but never sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalFields {
    /// When this peer received or published the batch, by its own wall clock.
    pub received: WallTime,
    /// Was the batch published before the link that delivered it was established?
    pub late: bool,
    /// Was the batch published before the start of the program that stored it?
    pub before_start: bool,
    /// Was the batch published before this directory's reader first came into the room, or by this
    /// identity in an earlier run? Such a batch is history: stored, but never news.
    pub backfill: bool,
}

/// One or more consecutive lines of one log under one signature. Line `i`, counted from 0, has the
/// sequence `sequence + i` and the Lamport number `lamport + i`.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The log that the batch belongs to.
    pub log: LogId,
    /// The name that the author claimed.
    pub username: Nick,
    /// Sequence of the first line, at least 1.
    pub sequence: u64,
    /// Lamport number of the first line, at least 1.
    pub lamport: u64,
    /// The time of signing by the author's wall clock.
    pub timestamp: WallTime,
    /// The random number of the author's process.
    pub run: u64,
    /// Milliseconds from the start of the author's process to the time of signing, on the author's
    /// monotonic clock. At most [`MAX_SAFE_INTEGER`].
    pub uptime: u64,
    /// Hash of the previous batch of the log. `None` if and only if `sequence` is 1.
    pub previous: Option<Hash>,
    /// Are the lines actions (`/me`)?
    pub action: bool,
    /// Number of lines: 1 to [`BATCH_LINES_MAX`].
    pub count: u64,
    /// Hash of the network tag and the signed bytes. The next batch of the log repeats this hash in
    /// its field `previous`.
    pub hash: Hash,
    bytes: Vec<u8>,
    /// Where `bytes` contains the JSON of the field `content`.
    content: std::ops::Range<usize>,
    /// The readable lines of a direct message. `None` if this peer neither wrote nor opened the
    /// message.
    plaintext: Option<Lines>,
}

/// The log, the sequences and the Lamport number of a batch whose signature has not been verified.
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

/// The result of [`parse_values`].
struct BatchValues {
    log: LogId,
    timestamp: WallTime,
    run: u64,
    previous: Option<Hash>,
    /// Number of lines.
    count: u64,
}

impl Batch {
    /// Signs the next batch of one of our logs. `draft.lines` must contain at least one line.
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
        let _ = write!(
            json,
            ",\"run\":\"{:016x}\",\"uptime\":{}",
            draft.run, draft.uptime
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
            run: draft.run,
            uptime: draft.uptime,
            previous: draft.previous,
            action: draft.action,
            count,
            hash,
            bytes: json,
            content,
            plaintext: draft.sealed.map(|_| draft.lines.clone()),
        }
    }

    /// Parses a batch from the wire. The bytes must be exactly one batch, without line breaks and
    /// without local fields. Does not verify the signature: see [`Batch::verify`].
    ///
    /// # Errors
    /// The bytes are malformed or too long. The bound is [`BATCH_MAX_BYTES`] for a room and
    /// [`DIRECT_BATCH_MAX_BYTES`] for a direct message.
    pub fn parse(bytes: Vec<u8>, network: &NetworkTag) -> Result<Batch, MalformedBatch> {
        let end = bytes
            .len()
            .checked_sub(SIGNATURE_FIELD_BYTES)
            .ok_or(MalformedBatch)?;
        let fits =
            bytes.len() <= BATCH_MAX_BYTES && bytes[end..].starts_with(SIGNATURE_FIELD.as_bytes());
        // JSON allows line breaks between tokens. A line break would split the batch into several
        // lines of the store. One of these lines could pass as a batch of another author.
        if !fits || bytes.contains(&b'\n') {
            return Err(MalformedBatch);
        }
        Batch::decode(bytes, end, false, network).map(|(batch, _)| batch)
    }

    /// Parses one stored batch with its local fields. `line` is the text from the store, without
    /// the `\n` at its end. Does not verify the signature.
    ///
    /// # Errors
    /// The text is malformed.
    pub fn parse_stored(
        line: &[u8],
        network: &NetworkTag,
    ) -> Result<(Batch, LocalFields), MalformedBatch> {
        // The search starts at the end, because local fields are short. A string in the JSON
        // cannot contain this text, because JSON escapes its quotes.
        let at = line
            .windows(SIGNATURE_FIELD.len())
            .rposition(|w| w == SIGNATURE_FIELD.as_bytes())
            .ok_or(MalformedBatch)?;
        let (mut batch, local) = Batch::decode(line.to_vec(), at, true, network)?;
        batch.bytes.truncate(at + SIGNATURE_FIELD_BYTES - 1);
        batch.bytes.push(b'}');
        Ok((batch, local))
    }

    /// Parses only the header of a stored batch. Checks neither the signature nor most bounds, to
    /// save time.
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

    /// Parses and checks a batch, except its signature. `end` is the offset of the signature field.
    /// If `stored` is true, local fields may follow the signature.
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
        // The store appends the local fields. A received field with the same name would appear
        // twice in the stored line, and the store could not parse that line.
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
            run: values.run,
            uptime: fields.uptime,
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

    /// The JSON that is sent to peers, without local fields.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the stored form of the batch to `out`: the JSON with the local fields after the
    /// signature, then `\n`.
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

    /// The sealed lines of a direct message, in base64. Meaningless for a batch to a room.
    pub fn sealed_content(&self) -> &[u8] {
        let content = self.bytes.get(self.content.clone()).unwrap_or_default();
        let content = content.strip_prefix(b"\"").unwrap_or(content);
        content.strip_suffix(b"\"").unwrap_or(content)
    }

    /// Attaches the opened lines of a direct message. If the number of lines is not `count`,
    /// attaches nothing and returns `false`.
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

    /// Does the batch contain the line whose sequence is `line`?
    pub fn contains_line(&self, line: u64) -> bool {
        self.sequence <= line && line <= self.last_sequence()
    }

    /// Calls the function `each` for every line, in order. Does nothing for a direct message that
    /// this peer neither wrote nor opened.
    pub fn for_each_line(&self, mut each: impl FnMut(&str)) {
        if self.log.target.room().is_none() {
            self.plaintext.iter().flat_map(Lines::iter).for_each(each);
        } else if let Ok(raw) = std::str::from_utf8(&self.bytes[self.content.clone()]) {
            let _ = for_each_json_line(raw, &mut each);
        }
    }
}

fn parse_log_id(fields: &BatchFields) -> Option<LogId> {
    Some(LogId {
        author: fields.sender.parse().ok()?,
        incarnation: hex::parse(fields.incarnation)?,
        target: Target::parse(&fields.target)?,
    })
}

/// Parses the log, the line count, the timestamp, the run and the previous hash. Returns `None` if
/// one of these fields is malformed.
fn parse_values(fields: &BatchFields) -> Option<BatchValues> {
    let log = parse_log_id(fields)?;
    Some(BatchValues {
        count: count_lines(fields.content.get(), &log.target, fields.count)?,
        log,
        timestamp: WallTime::parse(fields.timestamp)?,
        run: hex::parse(fields.run)?,
        previous: match fields.previous {
            Some(hash) => Some(Hash::parse(hash)?),
            None => None,
        },
    })
}

/// Checks the fields that [`parse_values`] does not parse. Returns `true` if all are valid.
fn has_valid_fields(fields: &BatchFields) -> bool {
    let is_number = |n: u64| (1..=MAX_SAFE_INTEGER - BATCH_LINES_MAX as u64).contains(&n);
    fields.kind == "chat"
        && is_number(fields.sequence)
        && is_number(fields.lamport)
        && fields.uptime <= MAX_SAFE_INTEGER
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
