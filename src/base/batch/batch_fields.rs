//! The JSON fields of a batch, before validation.
use std::borrow::Cow;
use std::ops::Range;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use crate::base::republished_lines::RepublishedLines;
use crate::base::text::control_chars::has_control;
use crate::base::text::json_objects;

/// The content of a batch from this size on, in bytes of JSON, is parsed apart from the other
/// fields. To find the content of a typed line takes longer than to parse it.
const LONG_BATCH_MIN_BYTES: usize = 1024;

/// The JSON of a batch. A long content is most of the text, and is left out of what is parsed for
/// the fields: it is parsed only for its lines.
pub(super) struct BatchJson<'a> {
    pub(super) text: &'a str,
    /// The text without the field `content`, or all of the text.
    fields: Cow<'a, str>,
    /// The field `content` with its comma, which `fields` leaves out. Empty: nothing is left out.
    left_out: Range<usize>,
}

/// The fields of a batch as found in its JSON. The last seven are local fields, which only stored
/// batches contain.
#[derive(Deserialize)]
pub(super) struct BatchFields<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    pub(super) sender: &'a str,
    #[serde(borrow)]
    pub(super) username: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) target: Cow<'a, str>,
    pub(super) incarnation: &'a str,
    pub(super) sequence: u64,
    pub(super) lamport: u64,
    pub(super) timestamp: &'a str,
    pub(super) run: &'a str,
    pub(super) uptime: u64,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) previous: Option<&'a str>,
    #[serde(default)]
    pub(super) action: bool,
    /// Parsed apart, because earlier versions took any JSON here, as in any unknown field.
    #[serde(skip)]
    pub(super) block: bool,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) republishes: Option<RepublishedLines>,
    /// Number of lines. 1 if the field is absent.
    #[serde(default = "one")]
    pub(super) count: u64,
    /// The JSON of the content.
    #[serde(borrow, default, deserialize_with = "required_json")]
    pub(super) content: Option<&'a str>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) salt: Option<&'a str>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) content_hash: Option<&'a str>,
    pub(super) signature: &'a str,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) received: Option<&'a str>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) late: Option<bool>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) before: Option<bool>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) backfill: Option<bool>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) published: Option<&'a str>,
    #[serde(borrow, default, deserialize_with = "required_value")]
    pub(super) request: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "required_value")]
    pub(super) plain: Option<&'a RawValue>,
    #[serde(default, deserialize_with = "required_value")]
    pub(super) check: Option<&'a str>,
}

/// The JSON directly before the content.
pub(super) const CONTENT_FIELD: &str = ",\"content\":";

/// The JSON between the content and the salt.
pub(super) const SALT_FIELD: &str = ",\"salt\":\"";

impl<'a> BatchJson<'a> {
    /// The JSON `text` of a batch.
    pub(super) fn new(text: &'a str) -> BatchJson<'a> {
        // The lines are parsed without a search for control characters, which JSON forbids.
        let is_plain = |content: &str| content.trim_ascii() == content && !has_control(content);
        let left_out = find_long_content(text.as_bytes()).filter(|left_out| {
            let content = text.get(left_out.start + CONTENT_FIELD.len()..left_out.end);
            content.is_some_and(is_plain)
        });
        let before_and_behind = left_out
            .as_ref()
            .and_then(|it| Some([text.get(..it.start)?, text.get(it.end..)?]));
        BatchJson {
            text,
            fields: match before_and_behind {
                Some(parts) => Cow::Owned(parts.concat()),
                None => Cow::Borrowed(text),
            },
            left_out: left_out.unwrap_or_default(),
        }
    }

    /// Parses the fields. Not inlined, because the generated parser is large.
    #[inline(never)]
    pub(super) fn parse(&self) -> Option<BatchFields<'_>> {
        let mut fields: BatchFields = json_objects::parse(&self.fields)?;
        if let Some(left_out) = self.text.get(self.left_out.clone())
            && let Some(content) = left_out.strip_prefix(CONTENT_FIELD)
            && fields.content.replace(content).is_some()
        {
            return None;
        }
        fields.block = self.is_block();
        Some(fields)
    }

    /// Whether the batch has one field `block`, with the value `true`, before its content. The
    /// content is not searched, which is most of the text.
    fn is_block(&self) -> bool {
        let header_end = match self.left_out.is_empty() {
            true => self.text.find(CONTENT_FIELD),
            false => Some(self.left_out.start),
        };
        let header = header_end.and_then(|end| self.text.get(..end));
        let parse = |header: &str| {
            let field: Option<BlockField> = json_objects::parse(&format!("{header}}}"));
            field.is_some_and(|field| field.block)
        };
        header.is_some_and(|header| header.contains("\"block\"") && parse(header))
    }

    /// Whether the text contains control characters.
    pub(super) fn has_control(&self) -> bool {
        // A content that is left out contains none.
        has_control(&self.fields)
    }

    /// The offset in the text of a value of the fields.
    pub(super) fn offset_of(&self, value: &str) -> usize {
        let offset_in = |text: &str| (value.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        match offset_in(&self.fields) {
            before if before < self.left_out.start => before,
            behind if behind < self.fields.len() => behind + self.left_out.len(),
            _ => offset_in(self.text),
        }
    }
}

/// A stored batch without its content, if that is long. The content is not checked, and may be
/// damaged.
pub(super) fn without_long_content(line: &[u8]) -> Cow<'_, [u8]> {
    match find_long_content(line) {
        Some(left_out) => Cow::Owned([&line[..left_out.start], &line[left_out.end..]].concat()),
        None => Cow::Borrowed(line),
    }
}

/// Finds the field of the content in a long batch, from its comma on. `None`: the batch is short,
/// or another field may have the same name, or the line holds more than one batch.
///
/// The content is not checked. In valid JSON, [`CONTENT_FIELD`] and [`SALT_FIELD`] never lie inside
/// a string: their quotes would be escaped there, or would end the string in front of what may not
/// follow.
fn find_long_content(line: &[u8]) -> Option<Range<usize>> {
    if line.len() < LONG_BATCH_MIN_BYTES {
        return None;
    }
    let begins = |at: &usize, field: &str| line[*at..].starts_with(field.as_bytes());
    let start = memchr::memchr_iter(b',', line).find(|at| begins(at, CONTENT_FIELD))?;
    // From behind: a search from the front would pass through all of the content.
    let end = memchr::memrchr_iter(b',', line).find(|at| begins(at, SALT_FIELD))?;
    let content = line.get(start + CONTENT_FIELD.len()..end)?;
    // Another array or object could contain the field.
    let is_flat = !line
        .get(1..start)?
        .iter()
        .any(|byte| matches!(byte, b'{' | b'['));
    (is_flat && !contains_object(content)).then_some(start..end)
}

/// Whether an object begins in a content. A damaged line end joins two batches in one line: then
/// the salt that was found is that of the second one, which is an object. A valid content has none:
/// there, a quote behind a brace ends a string, and no letter follows.
fn contains_object(content: &[u8]) -> bool {
    memchr::memchr_iter(b'{', content).any(|at| {
        let behind = content.get(at + 1..at + 3);
        behind.is_some_and(|it| it[0] == b'"' && it[1].is_ascii_alphabetic())
    })
}

fn one() -> u64 {
    1
}

/// The field that says that lines are blocks.
#[derive(Deserialize)]
struct BlockField {
    block: bool,
}

/// Parses a field that may be absent but must not be `null`. By default serde treats `null` as
/// absent. [`BatchFields::has_local_fields`] would then miss a local field with the value `null`.
/// The store would append the same field again, and could not parse the stored batch.
fn required_value<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    json: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(json).map(Some)
}

/// As [`required_value`], for JSON of any kind.
fn required_json<'de, D: Deserializer<'de>>(json: D) -> Result<Option<&'de str>, D::Error> {
    <&RawValue>::deserialize(json).map(|value| Some(value.get()))
}

impl BatchFields<'_> {
    /// Is any local field present?
    pub(super) fn has_local_fields(&self) -> bool {
        self.received.is_some()
            || self.late.is_some()
            || self.before.is_some()
            || self.backfill.is_some()
            || self.published.is_some()
            || self.request.is_some()
            || self.plain.is_some()
            || self.check.is_some()
    }
}
