//! The fields of a JSON object, by name. One small parser serves all requests and events.
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::base::batch::batch::LogId;
use crate::base::batch::batch_content::for_each_json_line;
use crate::base::hex;
use crate::base::identity::PeerId;
use crate::base::name::{Nick, Target};
use crate::base::request_id::RequestId;
use crate::base::text::line_form::LineForm;
use crate::base::time::WallTime;
use crate::ui::request::InvalidRequest;
use crate::ui::session_event::FolderCursor;

/// What the name of the field ends with that tells what is wrong with a finder. The name begins
/// with that of the finder.
pub(in crate::ui) const TROUBLE_SUFFIX: &str = "_trouble";

/// One field of a JSON object.
pub(in crate::ui) struct Field<'a> {
    pub(in crate::ui) name: String,
    pub(in crate::ui) value: &'a RawValue,
    /// The decoded value, if it is a string.
    pub(super) text: Option<String>,
}

/// The fields of a JSON object, in the order of the line. One small parser serves all requests and
/// events. If a name occurs twice, the first field counts.
pub(in crate::ui) struct Fields<'a>(pub(in crate::ui) Vec<Field<'a>>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Fields<'de>, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Fields<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields<'de>, A::Error> {
                let mut fields = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    // The lines of a batch are long, and are parsed only once.
                    let text = match name == "content" {
                        true => None,
                        false => parse_string(value.get()),
                    };
                    fields.push(Field { name, value, text });
                }
                Ok(Fields(fields))
            }
        }
        source.deserialize_map(Entries)
    }
}

impl<'a> Fields<'a> {
    fn field(&self, name: &str) -> Option<&Field<'a>> {
        self.0.iter().find(|field| field.name == name)
    }

    pub(in crate::ui) fn raw(&self, name: &str) -> Option<&'a str> {
        Some(self.field(name)?.value.get())
    }

    pub(in crate::ui) fn text(&self, name: &str) -> Option<&str> {
        self.field(name)?.text.as_deref()
    }

    pub(in crate::ui) fn number(&self, name: &str) -> Option<u64> {
        self.raw(name)?.parse().ok()
    }

    pub(in crate::ui) fn flag(&self, name: &str) -> Option<bool> {
        self.raw(name)?.parse().ok()
    }

    pub(in crate::ui) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let raw = self.raw(name)?;
        let mut texts = Vec::new();
        for_each_json_line(raw, &mut |text| texts.push(text.to_owned())).ok()?;
        Some(texts)
    }

    pub(in crate::ui) fn id(&self, name: &str) -> Option<PeerId> {
        self.text(name)?.parse().ok()
    }

    pub(in crate::ui) fn time(&self, name: &str) -> Option<WallTime> {
        WallTime::parse(self.text(name)?)
    }

    pub(in crate::ui) fn nick(&self, name: &str) -> Option<Nick> {
        Some(Nick::new_or_placeholder(self.text(name)?))
    }

    pub(in crate::ui) fn cursor(&self, name: &str) -> Option<FolderCursor> {
        self.text(name)?.parse().ok()
    }

    /// The field `type`.
    pub(in crate::ui) fn kind(&self) -> &str {
        self.text("type").unwrap_or_default()
    }
}

/// Parses a JSON string.
pub(in crate::ui) fn parse_string(raw: &str) -> Option<String> {
    let mut parsed = None;
    if raw.starts_with('"') {
        for_each_json_line(raw, &mut |text| parsed = Some(text.to_owned())).ok()?;
    }
    parsed
}

/// Not inlined, because the generated parser is large.
#[inline(never)]
pub(in crate::ui) fn parse_fields(line: &str) -> serde_json::Result<Fields<'_>> {
    serde_json::from_str(line)
}

pub(super) fn parse_object(line: &str) -> Result<Fields<'_>, InvalidRequest> {
    let invalid = |message: String| InvalidRequest { id: None, message };
    // serde would also accept an array for a struct.
    if !line.trim_start().starts_with('{') {
        let sentence = r#"a line must be an object such as {"type":"chat","content":"text"}"#;
        return Err(invalid(sentence.to_owned()));
    }
    let fields = parse_fields(line).map_err(|error| {
        let what = error.to_string();
        // Drops the position that serde appends. serde always reports line 1, and the caller adds
        // the line number on stdin.
        let what = what.split(" at line ").next().unwrap_or_default();
        invalid(format!("not a JSON line that is understood here: {what}"))
    })?;
    match fields.text("type") {
        Some(_) => Ok(fields),
        None => Err(invalid("the JSON line has no \"type\"".to_owned())),
    }
}

pub(super) fn parse_id(fields: &Fields<'_>) -> Option<String> {
    let id = RequestId::parse(fields.raw("id")?)?;
    Some(id.as_str().to_owned())
}

/// Parses the sequence of the first of several lines. `last`: the sequence of the last line.
pub(super) fn parse_first_line(fields: &Fields<'_>, last: u64) -> u64 {
    let first = fields.number("from");
    first.map_or(last, |first| first.max(1).min(last))
}

pub(super) fn parse_text(fields: &Fields<'_>) -> Result<String, String> {
    let content = fields
        .raw("content")
        .ok_or("the JSON line has no \"content\"")?;
    parse_string(content).ok_or_else(|| "\"content\" must be a string".to_owned())
}

/// What the lines of a request or an event are.
pub(super) fn parse_form(fields: &Fields<'_>) -> LineForm {
    let flag = |name| fields.flag(name).unwrap_or(false);
    LineForm::from_flags(flag("action"), flag("block"))
}

/// Parses the fields that identify a log. `author` is the log's author.
pub(super) fn parse_log(fields: &Fields<'_>, author: Option<PeerId>) -> Option<LogId> {
    Some(LogId {
        target: Target::parse(fields.text("target")?)?,
        author: author?,
        incarnation: hex::parse(fields.text("incarnation")?)?,
    })
}
