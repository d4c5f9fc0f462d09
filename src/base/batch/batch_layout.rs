//! Where the parts of a batch lie in its JSON: the header, then the content or its hash, then the
//! signature, and in the store a checksum.
//!
//! ```text
//! {"type":"chat",…,"content":"good day","salt":"0123456789abcdef","signature":"…"}
//! {"type":"chat",…,"content_hash":"…","signature":"…"}
//! ```
//!
//! The header is everything before `,"content":` or `,"content_hash":`. In valid JSON no string
//! contains these bytes, as its quotes would be escaped, so similar text inside a string is never
//! mistaken for them. Between the header and the signature, only the fields shown above are
//! allowed, without white space.
use std::ops::Range;

use super::batch_fields::{BatchFields, BatchJson, CONTENT_FIELD, SALT_FIELD};
use crate::base::domain;
use crate::base::hex;
use crate::base::identity::{Hash, NetworkTag};

/// Longest header of a batch that is stored, in bytes. The headers that we sign have less than a
/// quarter of this. The rest is for the fields of later versions.
pub const HEADER_MAX_BYTES: usize = 4096;

const CONTENT_HASH_FIELD: &str = ",\"content_hash\":\"";
/// The JSON directly before a signature. Its first byte closes the string value of the previous
/// field.
pub(super) const SIGNATURE_FIELD: &str = "\",\"signature\":\"";
/// Number of characters of a signature: 64 bytes in unpadded base64.
pub(super) const SIGNATURE_CHARS: usize = 86;
/// The bytes after the signature.
pub(super) const SIGNATURE_END: &str = "\"}";
/// The JSON before the checksum of a stored batch. The bytes of `SIGNATURE_END` follow it.
pub(super) const CHECK_FIELD: &str = ",\"check\":\"";
/// Number of hex digits in that checksum. It is the beginning of a hash, and detects damage. A
/// damaged line passes for undamaged with a probability of 2^-32.
const CHECK_DIGITS: usize = 8;
/// The beginning of [`CONTENT_FIELD`] and of [`CONTENT_HASH_FIELD`].
const CONTENT_PREFIX: &[u8] = b",\"content";

/// How we know that the author made a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// We do not know yet.
    None,
    /// The signature is valid.
    Signature,
    /// A later batch of the log has a valid signature, and the chain of hashes leads from it to
    /// this batch. Nobody has verified the signature of this batch, and the chain does not cover
    /// it: see [`Batch::is_sendable`](super::batch::Batch::is_sendable).
    Chain,
}

/// The parts of a batch, as offsets in its JSON.
pub(super) struct BatchLayout {
    /// The length of the header in bytes.
    pub(super) header_end: usize,
    /// The JSON of the content. `None`: the content is withheld.
    pub(super) content: Option<Range<usize>>,
    /// The hash of the content and its salt.
    pub(super) content_hash: Hash,
    /// Offset of the first character of the signature.
    pub(super) signature: usize,
}

impl BatchLayout {
    /// Locates the parts in the JSON of a batch, from which `fields` was parsed. Hashes the
    /// content. Returns `None` if the parts are incomplete, out of order, or not adjacent. Does not
    /// look at the bytes after the signature.
    pub(super) fn locate(json: &BatchJson<'_>, fields: &BatchFields<'_>) -> Option<BatchLayout> {
        let text = json.text;
        let signature = json.offset_of(fields.signature);
        match (fields.content, fields.salt, fields.content_hash) {
            (Some(raw), Some(salt), None) => {
                let start = json.offset_of(raw);
                let content = start..start + raw.len();
                let between = text.get(content.end..signature)?;
                let between = between.strip_prefix(SALT_FIELD)?;
                (between.strip_suffix(SIGNATURE_FIELD)? == salt).then_some(())?;
                Some(BatchLayout {
                    header_end: text.get(..start)?.strip_suffix(CONTENT_FIELD)?.len(),
                    content: Some(content),
                    content_hash: content_hash(hex::parse(salt)?, raw.as_bytes()),
                    signature,
                })
            }
            (None, None, Some(hash)) => {
                let start = json.offset_of(hash);
                let between = text.get(start + hash.len()..signature)?;
                (between == SIGNATURE_FIELD).then_some(())?;
                Some(BatchLayout {
                    header_end: text.get(..start)?.strip_suffix(CONTENT_HASH_FIELD)?.len(),
                    content: None,
                    content_hash: Hash::parse(hash)?,
                    signature,
                })
            }
            _ => None,
        }
    }
}

/// The parts of a batch's JSON of which each alone identifies the batch: the header, and the text
/// of the signature. Most damaged lines have one of them intact. Finds the parts by their names, so
/// that the JSON may be damaged.
pub fn identifying_parts(json: &[u8]) -> impl Iterator<Item = &[u8]> {
    let find = |name: &[u8]| json.windows(name.len()).position(|part| part == name);
    let header = find(CONTENT_PREFIX).filter(|end| *end <= HEADER_MAX_BYTES);
    let signature = find(SIGNATURE_FIELD.as_bytes()).map(|at| at + SIGNATURE_FIELD.len());
    let signature = signature.and_then(|at| json.get(at..at + SIGNATURE_CHARS));
    header.map(|end| &json[..end]).into_iter().chain(signature)
}

/// The hash of a batch's content and salt. A withheld batch carries this hash instead of both. The
/// unknown salt prevents others from confirming a guess of the content.
pub(super) fn content_hash(salt: u64, content: &[u8]) -> Hash {
    Hash::of(&[domain::CONTENT, &salt.to_be_bytes(), content])
}

/// The checksum of a stored batch. `hash` covers the line up to the signature. `rest`: the bytes
/// from the signature on, up to the checksum's own field. The checksum also tells the proof.
pub(super) fn stored_check(hash: &Hash, rest: &[u8], proof: Proof) -> [u8; CHECK_DIGITS] {
    let domain = match proof {
        Proof::Signature => domain::LINE,
        Proof::Chain | Proof::None => domain::CHAINED_LINE,
    };
    let mut digits = [0; CHECK_DIGITS];
    let check = Hash::of(&[domain, &hash.0, rest]).to_string();
    digits.copy_from_slice(&check.as_bytes()[..CHECK_DIGITS]);
    digits
}

/// The proof of a stored batch, as its checksum says. `None`: it has no valid checksum. `rest`: the
/// line from the signature on.
pub(super) fn checked_proof(hash: &Hash, rest: &str, fields: &BatchFields) -> Option<Proof> {
    let check = fields.check?;
    let rest = rest.strip_suffix(SIGNATURE_END)?;
    let covered = rest.strip_suffix(check)?.strip_suffix(CHECK_FIELD)?;
    [Proof::Signature, Proof::Chain]
        .into_iter()
        .find(|proof| stored_check(hash, covered.as_bytes(), *proof) == check.as_bytes())
}

/// The hash that the author signs. All parts but the header have a fixed length, so two different
/// batches never hash the same bytes.
pub(super) fn batch_hash(network: &NetworkTag, header: &[u8], content_hash: &Hash) -> Hash {
    Hash::of(&[domain::BATCH, &network.0, header, &content_hash.0])
}
