//! The content of a batch in JSON: one line is a string, several lines are an array of strings.
use std::fmt;
use std::io::Write as _;
use std::ops::Range;

use serde::de::{DeserializeSeed, Deserializer, Error as _, SeqAccess, Visitor};

use crate::base::lines::{BATCH_LINES_MAX, LINE_MAX_BYTES, Lines, SplitLines};
use crate::base::name::Target;
use crate::base::text::control_chars::{is_control, is_plain_json, is_plain_json_in_lines};

/// Longest Noise message, in bytes (Noise specification, revision 34, section 3).
pub const NOISE_MESSAGE_MAX_BYTES: usize = 65_535;
/// Longest sealed content, in bytes: one Noise message in unpadded base64.
pub const SEALED_MAX_BYTES: usize = NOISE_MESSAGE_MAX_BYTES * 4 / 3 + 1;

/// Where the content of a batch is.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// The JSON of the field `content` is here in the bytes of the batch.
    At(Range<usize>),
    /// The batch carries the hash of its content instead.
    Withheld,
    /// The batch is unstorable, so its content is not used.
    Unstorable,
}

/// Checks that `raw`, the JSON of the field `content`, has `count` lines within the bounds. The
/// lines of a direct message are sealed as one string, so they are not counted here. Returns
/// whether the content is plain: see [`plain_lines`]. `None`: it is not valid.
pub(super) fn check_content(raw: &str, target: &Target, count: u64) -> Option<bool> {
    let plain = measure_plain(raw);
    let (mut strings, mut longest) = plain.unwrap_or_default();
    let mut fits = true;
    if plain.is_none() {
        let each = &mut |line: &str| {
            strings += 1;
            longest = longest.max(line.len());
            fits &= !line.contains('\n');
        };
        for_each_json_line(raw, each).ok()?;
    }
    let (strings_expected, longest_max) = match target {
        Target::Room(_) => (count, LINE_MAX_BYTES),
        // The recipient checks the number of lines after opening them.
        Target::Peer(_) => (1, SEALED_MAX_BYTES),
    };
    let is_valid = fits && strings == strings_expected && longest <= longest_max;
    is_valid.then_some(plain.is_some())
}

/// The number of lines of a plain content, and the length of the longest one in bytes. `None`: the
/// content is not plain.
fn measure_plain(content: &str) -> Option<(u64, usize)> {
    let mut rest = content.strip_prefix("[\"")?;
    if memchr::memchr2(b'\\', b'\t', content.as_bytes()).is_some() {
        return None;
    }
    let (mut count, mut longest) = (0, 0);
    // Without escapes, the next quote ends the string.
    while let Some(end) = memchr::memchr(b'"', rest.as_bytes()) {
        count += 1;
        longest = longest.max(end);
        let after = rest.get(end + 1..)?;
        match after.strip_prefix(",\"") {
            Some(next) => rest = next,
            None => return (after == "]").then_some((count, longest)),
        }
    }
    None
}

/// The lines of a plain content, which is an array of strings without escapes, TAB and white space
/// between them.
pub(super) fn plain_lines(content: &str) -> SplitLines<'_> {
    let strings = content.strip_prefix("[\"").unwrap_or_default();
    SplitLines::new(strings, b'"', "\",\"".len())
}

/// Parses the readable lines of a direct message from the field `plain`. Returns `None` unless
/// there are exactly `count` valid lines.
pub(super) fn parse_plaintext(raw: &str, count: u64) -> Option<Lines> {
    let (mut lines, mut fits) = (Lines::default(), true);
    let is_json =
        for_each_content_line(raw, &mut |line| fits &= lines.push(line.as_bytes()).is_ok());
    (is_json && fits && lines.count() as u64 == count).then_some(lines)
}

/// Appends the lines as JSON: one line as a string, several lines as an array of strings.
pub(super) fn write_json_lines(out: &mut Vec<u8>, lines: &Lines) {
    let many = lines.count() > 1;
    if many && is_plain_json_in_lines(lines.as_str()) {
        // What a pipe brings, mostly: nothing to escape.
        out.extend_from_slice(b"[\"");
        for line in lines.iter() {
            out.extend_from_slice(line.as_bytes());
            out.extend_from_slice(b"\",\"");
        }
        out.truncate(out.len() - b",\"".len());
        out.push(b']');
        return;
    }
    for (i, line) in lines.iter().enumerate() {
        if many {
            out.push(if i == 0 { b'[' } else { b',' });
        }
        write_json_string(out, line);
    }
    if many {
        out.push(b']');
    }
}

/// Appends the text as a JSON string. Escapes more than JSON requires: also DEL and everything else
/// for which [`is_control`] is true. The JSON can then be shown at a terminal.
pub fn write_json_string(out: &mut Vec<u8>, text: &str) {
    let needs_escape = |c: char| matches!(c, '\t' | '"' | '\\') || is_control(c);
    let mut rest = text;
    out.push(b'"');
    if !is_plain_json(text) {
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| needs_escape(*c)) {
            out.extend_from_slice(&rest.as_bytes()[..at]);
            rest = &rest[at + c.len_utf8()..];
            // Writing to a `Vec` cannot fail.
            let _ = match c {
                '\t' => write!(out, "\\t"),
                '\n' => write!(out, "\\n"),
                '"' | '\\' => write!(out, "\\{c}"),
                _ => write!(out, "\\u{:04x}", c as u32),
            };
        }
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// As [`for_each_json_line`], for a content that was parsed as JSON before, or that has no control
/// characters but perhaps TAB. Most contents are plain, see [`plain_lines`], and need no parser.
/// Returns whether all of it was parsed.
pub(super) fn for_each_content_line(content: &str, each: &mut dyn FnMut(&str)) -> bool {
    if measure_plain(content).is_none() {
        return for_each_json_line(content, each).is_ok();
    }
    plain_lines(content).for_each(each);
    true
}

/// Parses `raw`, a JSON string or an array of JSON strings. Calls the function `each` for every
/// string. Not inlined, because the generated parser is large.
///
/// # Errors
/// `raw` is something else, or contains more than [`BATCH_LINES_MAX`] strings.
#[inline(never)]
pub fn for_each_json_line(raw: &str, each: &mut dyn FnMut(&str)) -> serde_json::Result<()> {
    struct Content<'f>(&'f mut dyn FnMut(&str));
    struct Line<'f>(&'f mut dyn FnMut(&str));
    impl<'de> DeserializeSeed<'de> for Line<'_> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_str(self)
        }
    }
    impl Visitor<'_> for Line<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a line")
        }
        fn visit_str<E>(self, line: &str) -> Result<(), E> {
            (self.0)(line);
            Ok(())
        }
    }
    impl<'de> Visitor<'de> for Content<'_> {
        type Value = ();
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a line or lines")
        }
        fn visit_str<E>(self, line: &str) -> Result<(), E> {
            (self.0)(line);
            Ok(())
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
            let mut count = 0;
            while seq.next_element_seed(Line(&mut *self.0))?.is_some() {
                count += 1;
                if count > BATCH_LINES_MAX {
                    return Err(A::Error::custom("too many lines"));
                }
            }
            Ok(())
        }
    }
    let mut json = serde_json::Deserializer::from_str(raw);
    json.deserialize_any(Content(each))?;
    json.end()
}
