//! The JSON fields of a batch, before validation.
use std::borrow::Cow;

use serde::Deserialize;
use serde::de::Deserializer;
use serde_json::value::RawValue;

use super::republished_lines::RepublishedLines;
use super::text::json_objects;

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
    #[serde(borrow, default, deserialize_with = "required_value")]
    pub(super) content: Option<&'a RawValue>,
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

/// The field that says that lines are blocks.
#[derive(Deserialize)]
struct BlockField {
    block: bool,
}

/// Whether the batch has one field `block`, with the value `true`, before its content. The content
/// is not searched, which is most of the text.
fn is_block(text: &str) -> bool {
    let Some((header, _)) = text.split_once(CONTENT_FIELD) else {
        return false;
    };
    let parse = || {
        let field: Option<BlockField> = json_objects::parse(&format!("{header}}}"));
        field.is_some_and(|field| field.block)
    };
    header.contains("\"block\"") && parse()
}

fn one() -> u64 {
    1
}

/// Parses a field that may be absent but must not be `null`. By default serde treats `null` as
/// absent. [`BatchFields::has_local_fields`] would then miss a local field with the value `null`.
/// The store would append the same field again, and could not parse the stored batch.
fn required_value<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    json: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(json).map(Some)
}

impl<'a> BatchFields<'a> {
    /// Parses the JSON of a batch. Not inlined, because the generated parser is large.
    #[inline(never)]
    pub(super) fn parse(text: &'a str) -> Option<BatchFields<'a>> {
        let mut fields: BatchFields = json_objects::parse(text)?;
        fields.block = is_block(text);
        Some(fields)
    }

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
