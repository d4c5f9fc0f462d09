//! A batch: consecutive lines of one log under one signature. Peers sign, send and store whole
//! batches.
//!
//! A batch is one line of JSON. The wire and the store use the same bytes. The signature covers the
//! exact bytes of the header, and a hash of the exact bytes of the content. The content may be
//! withheld: the batch then carries the hash of the content instead. Its signature and the hash
//! chain of its log stay valid. [`batch_layout`](super::batch_layout) describes the parts.
//!
//! The store is plain text, which users read at a terminal. So a batch from a peer is *unstorable*
//! if it contains unescaped control characters, or if its header is longer than
//! [`HEADER_MAX_BYTES`](super::batch_layout::HEADER_MAX_BYTES). Such a batch can be verified, but
//! no peer stores it.
//!
//! The store appends local fields (`received`, `late`, `before`, `backfill`, `request`, `plain`,
//! `check`) after the signature. Local fields are never sent. `check` is a checksum: a damaged line
//! of the store is not parsed as a batch.
//!
//! The content of a direct message is one string: the lines, sealed for the recipient. Author and
//! recipient store the readable lines in the local field `plain`.
use ed25519_dalek::VerifyingKey;

use super::batch_content::{Content, for_each_content_line, plain_lines, write_json_lines};
use super::batch_layout::{CHECK_FIELD, Proof, SIGNATURE_CHARS, SIGNATURE_END, stored_check};
use crate::base::identity::{Hash, PeerId, verify_signature};
use crate::base::lines::{Lines, SplitLines};
use crate::base::name::{Nick, Target};
use crate::base::republished_lines::RepublishedLines;
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;
use crate::base::text::rfc4648::BASE64URL_NOPAD;
use crate::base::time::WallTime;

/// Longest batch accepted from a peer, in bytes. The batches that we sign are shorter. Their text
/// has at most 60 KiB, and JSON escapes make it at most six times as long.
pub const BATCH_MAX_BYTES: usize = 512 * 1024;
/// Longest batch of direct messages accepted from a peer, in bytes. It is less than
/// [`BATCH_MAX_BYTES`], because the store adds the readable lines to each such batch.
pub const DIRECT_BATCH_MAX_BYTES: usize = 100 * 1024;
/// Largest sequence, Lamport number and duration: 2^53 − 1. JSON implementations agree on all
/// integers up to this value (RFC 8259, section 6).
pub const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Identifies a log: all lines of one author to one target in one incarnation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogId {
    /// The room or the recipient of the lines.
    pub target: Target,
    /// The peer that signs the lines.
    pub author: PeerId,
    /// A random number under which the author numbers its lines. The author draws a new number
    /// when it is unsure which sequences it has used. A new log then begins.
    pub incarnation: u64,
}

/// Fields that this peer stores with a batch but never sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LocalFields {
    /// When this peer received or published the batch, by its own wall clock.
    pub received: WallTime,
    /// Is the batch older than the link that delivered it?
    pub late: bool,
    /// Was the batch published before the start of the program that stored it?
    pub before_start: bool,
    /// Is the batch history, which is never printed as news? So are lines of a room from before its
    /// first reader began, and our own lines of an earlier run.
    pub backfill: bool,
    /// When it was published, by our wall clock, if it is history for one reader here, not for all.
    pub published: Option<WallTime>,
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
    /// What the lines are.
    pub form: LineForm,
    /// The lines of a forked log that this log publishes again.
    pub republishes: Option<RepublishedLines>,
    /// Number of lines, also if the content is withheld: 1 to
    /// [`BATCH_LINES_MAX`](crate::base::lines::BATCH_LINES_MAX).
    pub count: u64,
    /// The request of a client that published the lines. Stored as a local field, so never sent.
    /// `None` for batches of other authors, for lines without a client, and without an id.
    pub request: Option<RequestId>,
    /// The hash that the author signs. It covers the network tag, the header, and the hash of the
    /// content. The next batch of the log repeats it in its field `previous`.
    pub hash: Hash,
    /// How we know that the author made the batch.
    pub proof: Proof,
    pub(super) bytes: Vec<u8>,
    pub(super) content: Content,
    /// Whether the content came from a peer, and was found to be plain.
    pub(super) is_plain: bool,
    /// The readable lines of a direct message. `None` if this peer neither wrote nor opened the
    /// message.
    pub(super) plaintext: Option<Lines>,
}

impl LocalFields {
    /// The time to show with the batch. Returns the author's time `timestamp` if the batch is late
    /// or `received` is unknown. Otherwise returns `received`.
    pub fn shown_time(&self, timestamp: WallTime) -> WallTime {
        match self.late || self.received == WallTime::default() {
            true => timestamp,
            false => self.received,
        }
    }
}

impl Batch {
    /// Whether the batch may be sent to a peer. Whoever receives it without the batches behind it
    /// verifies its signature. So the signature of a batch that the chain proves is verified now.
    pub fn is_sendable(&self) -> bool {
        self.proof == Proof::Signature || self.is_signed()
    }

    /// Whether `next` follows this batch in its log, and names its hash.
    pub fn is_before(&self, next: &Batch) -> bool {
        self.log == next.log
            && self.last_sequence() + 1 == next.sequence
            && next.previous == Some(self.hash)
    }

    /// Decodes the author's key, and verifies the signature.
    pub(super) fn is_signed(&self) -> bool {
        let key = self.log.author.verifying_key();
        key.is_some_and(|key| self.verify(&key))
    }

    /// Did the author sign the batch? `key` must be the verifying key of `log.author`.
    pub fn verify(&self, key: &VerifyingKey) -> bool {
        let at = self.signature_offset();
        let mut signature = [0; 64];
        BASE64URL_NOPAD.decode_mut(&self.bytes[at..at + SIGNATURE_CHARS], &mut signature)
            && verify_signature(key, &self.hash.0, &signature)
    }

    /// Where `bytes` contains the signature.
    fn signature_offset(&self) -> usize {
        self.bytes.len() - SIGNATURE_END.len() - SIGNATURE_CHARS
    }

    /// The JSON that is sent to peers, without local fields.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends the stored form of the batch to `out`: the JSON with the local fields after the
    /// signature, then `\n`.
    pub fn write_stored(&self, local: LocalFields, out: &mut Vec<u8>) {
        let signature = out.len() + self.signature_offset();
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
        if let Some(published) = local.published {
            tail.push_str(&format!(",\"published\":\"{published}\""));
        }
        if let Some(request) = &self.request {
            tail.push_str(",\"request\":");
            tail.push_str(request.as_str());
        }
        out.extend_from_slice(tail.as_bytes());
        if let Some(plain) = &self.plaintext {
            out.extend_from_slice(b",\"plain\":");
            write_json_lines(out, plain);
        }
        let check = stored_check(&self.hash, &out[signature..], self.proof);
        out.extend_from_slice(CHECK_FIELD.as_bytes());
        out.extend_from_slice(&check);
        out.extend_from_slice(SIGNATURE_END.as_bytes());
        out.push(b'\n');
    }

    /// Is the content withheld, or the batch unstorable? The lines of such a batch are missing. The
    /// core drops a withheld batch that arrives over a link, because any peer can withhold the
    /// content.
    pub fn is_withheld(&self) -> bool {
        !matches!(self.content, Content::At(_))
    }

    /// Must this batch not be stored? Only its author can have made it so. No peer has a copy that
    /// can be stored, so the lines are lost.
    pub fn is_unstorable(&self) -> bool {
        matches!(self.content, Content::Unstorable)
    }

    /// Number of lines whose content is not withheld: 0 or `count`.
    pub fn shown_count(&self) -> u64 {
        if self.is_withheld() { 0 } else { self.count }
    }

    /// The JSON of the content. Empty if the content is withheld.
    fn content(&self) -> &[u8] {
        match &self.content {
            Content::At(content) => self.bytes.get(content.clone()).unwrap_or_default(),
            Content::Withheld | Content::Unstorable => &[],
        }
    }

    fn content_str(&self) -> &str {
        std::str::from_utf8(self.content()).unwrap_or_default()
    }

    /// The sealed lines of a direct message, in base64. Empty if the content is withheld.
    /// Meaningless for a batch to a room.
    pub fn sealed_content(&self) -> &[u8] {
        let content = self.content();
        let content = content.strip_prefix(b"\"").unwrap_or(content);
        content.strip_suffix(b"\"").unwrap_or(content)
    }

    /// Attaches the opened lines of a direct message. If the number of lines is not `count`,
    /// attaches nothing and returns `false`.
    pub fn set_plaintext(&mut self, lines: Lines) -> bool {
        let matches = lines.count() as u64 == self.count;
        if matches {
            self.plaintext = Some(lines);
        }
        matches
    }

    /// Sequence of the last line.
    pub fn last_sequence(&self) -> u64 {
        self.sequence + self.count - 1
    }

    /// Lamport number of the last line.
    pub fn last_lamport(&self) -> u64 {
        self.lamport + self.count - 1
    }

    /// Does the batch contain the line whose sequence is `line`?
    pub fn contains_line(&self, line: u64) -> bool {
        self.sequence <= line && line <= self.last_sequence()
    }

    /// Has a peer sent these lines to a room, with nothing to parse and no control character?
    pub fn is_plain(&self) -> bool {
        self.is_plain && !self.is_withheld() && self.log.target.room().is_some()
    }

    /// The lines, if [`Batch::is_plain`]. Else meaningless.
    pub fn plain_lines(&self) -> SplitLines<'_> {
        plain_lines(self.content_str())
    }

    /// Calls the function `each` for every readable line, in order. A withheld batch has no
    /// readable lines. A direct message has some only if this peer wrote or opened it.
    pub fn for_each_line(&self, mut each: impl FnMut(&str)) {
        self.visit_lines(&mut each);
    }

    // Apart from `for_each_line`, so that it is not compiled once a closure.
    fn visit_lines(&self, each: &mut dyn FnMut(&str)) {
        if self.log.target.room().is_some() {
            for_each_content_line(self.content_str(), each);
        } else if let Some(lines) = &self.plaintext {
            lines.iter().for_each(each);
        }
    }
}
