//! Parsing: which bytes of a peer or of the store are a batch.
use crate::base::hex;
use crate::base::identity::{Hash, NetworkTag};
use crate::base::lines::BATCH_LINES_MAX;
use crate::base::name::{Nick, Target};
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;
use crate::base::time::WallTime;

use super::batch::{
    BATCH_MAX_BYTES, Batch, DIRECT_BATCH_MAX_BYTES, LocalFields, LogId, MAX_SAFE_INTEGER,
};
use super::batch_content::{Content, check_content, parse_plaintext};
use super::batch_fields::{BatchFields, BatchJson, without_long_content};
use super::batch_layout::{
    BatchLayout, HEADER_MAX_BYTES, Proof, SIGNATURE_CHARS, SIGNATURE_END, batch_hash, checked_proof,
};

/// The bytes are not the JSON of a batch, a field is outside its bounds, or the bytes of a stored
/// batch are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedBatch;

/// The log and the numbers of a batch whose signature has not been verified.
#[derive(Clone, Debug)]
pub struct BatchHeader {
    /// The log that the batch belongs to.
    pub log: LogId,
    /// Sequence of the last line.
    pub last_sequence: u64,
    /// Lamport number of the first line.
    pub lamport: u64,
    /// Number of lines, at most [`BATCH_LINES_MAX`].
    pub count: u64,
}

/// The result of [`parse_values`].
struct BatchValues {
    log: LogId,
    timestamp: WallTime,
    run: u64,
    previous: Option<Hash>,
}

impl Batch {
    /// Parses a batch from the wire. The bytes must be exactly one batch, without line breaks and
    /// without local fields. Does not verify the signature: see [`Batch::verify`]. An
    /// unstorable batch is no error: [`Batch::is_unstorable`] tells.
    ///
    /// # Errors
    /// The bytes are malformed or too long. The bound is [`BATCH_MAX_BYTES`] for a room and
    /// [`DIRECT_BATCH_MAX_BYTES`] for a direct message.
    pub fn parse(bytes: Vec<u8>, network: &NetworkTag) -> Result<Batch, MalformedBatch> {
        // JSON allows line breaks between tokens. A line break would split the batch into several
        // lines of the store. One of these lines could pass as a batch of another author.
        if bytes.len() > BATCH_MAX_BYTES || memchr::memchr(b'\n', &bytes).is_some() {
            return Err(MalformedBatch);
        }
        Batch::decode(bytes, false, network)
            .map(|(batch, _)| batch)
            .ok_or(MalformedBatch)
    }

    /// Parses one stored batch with its local fields. `line` is the text from the store, without
    /// the `\n` at its end. A parsed batch is the batch that was stored: its checksum proves that
    /// the line is undamaged. Without a valid checksum, the signature must be valid. A line that an
    /// earlier version stored has no checksum.
    ///
    /// # Errors
    /// The text is malformed or damaged.
    pub fn parse_stored(
        line: &[u8],
        network: &NetworkTag,
    ) -> Result<(Batch, LocalFields), MalformedBatch> {
        Batch::decode(line.to_vec(), true, network).ok_or(MalformedBatch)
    }

    /// Parses only the header of a stored batch. To save time, skips the signature, most bounds
    /// checks, and a long content, which may be damaged. Returns `None` if a parsed field is
    /// malformed.
    pub fn parse_header(line: &[u8]) -> Option<BatchHeader> {
        let line = without_long_content(line);
        let json = BatchJson::new(std::str::from_utf8(&line).ok()?);
        let fields = json.parse()?;
        Some(BatchHeader {
            log: parse_log_id(&fields)?,
            last_sequence: fields.sequence.checked_add(fields.count)?.checked_sub(1)?,
            lamport: fields.lamport,
            count: fields.count.min(BATCH_LINES_MAX as u64),
        })
    }

    /// Parses and checks a batch, except its signature. If `stored` is true, local fields may
    /// follow the signature. They are removed from the bytes.
    fn decode(
        mut bytes: Vec<u8>,
        stored: bool,
        network: &NetworkTag,
    ) -> Option<(Batch, LocalFields)> {
        let text = std::str::from_utf8(&bytes).ok()?;
        let json = BatchJson::new(text);
        let fields = json.parse()?;
        let values = parse_values(&fields)?;
        let layout = BatchLayout::locate(&json, &fields)?;
        let end = layout.signature + SIGNATURE_CHARS;
        let direct_fits =
            values.log.target.room().is_some() || bytes.len() <= DIRECT_BATCH_MAX_BYTES;
        // The store appends the local fields. A received field with the same name would appear
        // twice in the stored line, and the store could not parse that line.
        let foreign_fits =
            !fields.has_local_fields() && direct_fits && text.get(end..)? == SIGNATURE_END;
        if !has_valid_fields(&fields) || !(stored || foreign_fits) {
            return None;
        }
        let plaintext = fields
            .plain
            .filter(|_| layout.content.is_some())
            .and_then(|raw| parse_plaintext(raw.get(), fields.count));
        let local = local_fields(&fields);
        // An earlier version may have stored such a batch. Its lines remain readable.
        let is_unstorable = !stored && (layout.header_end > HEADER_MAX_BYTES || json.has_control());
        let hash = batch_hash(network, &bytes[..layout.header_end], &layout.content_hash);
        let proof = match stored {
            true => checked_proof(&hash, &text[layout.signature..], &fields),
            false => Some(Proof::None),
        };
        // What has a valid checksum was checked when it was stored.
        let mut is_plain = false;
        if let (Some(content), None | Some(Proof::None)) = (fields.content, proof) {
            is_plain = check_content(content, &values.log.target, fields.count)? && !stored;
        }
        // No signature covers the readable lines of a direct message.
        if proof.is_none() && fields.check.is_some() && fields.plain.is_some() {
            return None;
        }
        let batch = Batch {
            log: values.log,
            username: Nick::new_or_placeholder(&fields.username),
            sequence: fields.sequence,
            lamport: fields.lamport,
            timestamp: values.timestamp,
            run: values.run,
            uptime: fields.uptime,
            previous: values.previous,
            form: LineForm::from_flags(fields.action, fields.block),
            republishes: fields.republishes,
            count: fields.count,
            request: fields.request.and_then(|raw| RequestId::parse(raw.get())),
            hash,
            proof: proof.unwrap_or(Proof::Signature),
            content: match layout.content {
                _ if is_unstorable => Content::Unstorable,
                Some(content) => Content::At(content),
                None => Content::Withheld,
            },
            is_plain,
            plaintext,
            bytes: {
                bytes.truncate(end);
                bytes.extend_from_slice(SIGNATURE_END.as_bytes());
                bytes
            },
        };
        (proof.is_some() || batch.is_signed()).then_some((batch, local))
    }
}

fn parse_log_id(fields: &BatchFields) -> Option<LogId> {
    Some(LogId {
        author: fields.sender.parse().ok()?,
        incarnation: hex::parse(fields.incarnation)?,
        target: Target::parse(&fields.target)?,
    })
}

/// Parses the log, the timestamp, the run and the previous hash. `None`: one of them is malformed.
fn parse_values(fields: &BatchFields) -> Option<BatchValues> {
    let log = parse_log_id(fields)?;
    Some(BatchValues {
        log,
        timestamp: WallTime::parse_exact(fields.timestamp)?,
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
        && (1..=BATCH_LINES_MAX as u64).contains(&fields.count)
        && fields
            .republishes
            .is_none_or(|lines| is_number(lines.sequence))
        && fields.uptime <= MAX_SAFE_INTEGER
        && fields.previous.is_some() == (fields.sequence > 1)
        && fields.signature.len() == SIGNATURE_CHARS
}

fn local_fields(fields: &BatchFields) -> LocalFields {
    LocalFields {
        received: fields
            .received
            .and_then(WallTime::parse_exact)
            .unwrap_or_default(),
        late: fields.late.unwrap_or(false),
        before_start: fields.before.unwrap_or(false),
        backfill: fields.backfill.unwrap_or(false),
        published: fields.published.and_then(WallTime::parse_exact),
    }
}
