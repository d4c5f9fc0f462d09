//! The user's own form of a chat line: `-F FORMAT`.
use std::io::Write as _;

use super::sanitize::sanitize;
use crate::base::text::line_form::LineForm;
use crate::base::time::WallTime;

/// What stands between the lines of a block in text. No other line begins with TAB, so none of a
/// block can pass as another message.
pub const BLOCK_LINE_END: &str = "\n\t";

/// What stands for one part of the format in a line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// The text itself.
    Literal(String),
    /// `%T`: the time, as on a pipe.
    Time,
    /// `%r`: the room, or the recipient of a direct message.
    Target,
    /// `%n`: the author's name.
    Name,
    /// `%i`: the author's id. Empty for a guest, who has none.
    Id,
    /// `%m`: the text of the line.
    Text,
    /// `%s`: the line's number in its log. Empty for the line of a guest, which has none.
    Sequence,
}

/// How a chat line is printed. Nothing is printed between lines, not even a line end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LineFormat(Vec<Part>);

/// The fields of one chat line.
pub struct LineFields<'a> {
    /// The time to show.
    pub time: WallTime,
    /// The room, or the recipient of a direct message.
    pub target: &'a str,
    /// The author's name.
    pub name: &'a str,
    /// The author's id, or nothing.
    pub id: &'a str,
    /// The text. Its control characters are replaced when it is printed.
    pub text: &'a str,
    /// What the text is. Further lines of a block begin with TAB.
    pub form: LineForm,
    /// The line's number in its log.
    pub sequence: Option<u64>,
}

impl LineFormat {
    /// Parses a format.
    ///
    /// # Errors
    /// `%` or `\` is followed by a character without a meaning, or by none. The sentence lists
    /// those with a meaning.
    pub fn parse(text: &str) -> Result<LineFormat, String> {
        let (mut parts, mut literal) = (Vec::new(), String::new());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            let part = match (c, chars.as_str().chars().next()) {
                ('%', Some('T')) => Part::Time,
                ('%', Some('r')) => Part::Target,
                ('%', Some('n')) => Part::Name,
                ('%', Some('i')) => Part::Id,
                ('%', Some('m')) => Part::Text,
                ('%', Some('s')) => Part::Sequence,
                ('%', Some('%')) => Part::Literal("%".into()),
                ('\\', Some('n')) => Part::Literal("\n".into()),
                ('\\', Some('t')) => Part::Literal("\t".into()),
                ('\\', Some('0')) => Part::Literal("\0".into()),
                ('\\', Some('\\')) => Part::Literal("\\".into()),
                ('%' | '\\', next) => {
                    let next = next.map(String::from).unwrap_or_default();
                    return Err(format!(
                        "{} has no meaning; those with one are %T %r %n %i %m %s %% \\n \\t \\0 \\\\",
                        sanitize(&format!("{c}{next}"))
                    ));
                }
                _ => {
                    literal.push(c);
                    continue;
                }
            };
            chars.next();
            match part {
                Part::Literal(text) => literal.push_str(&text),
                field => {
                    if !literal.is_empty() {
                        parts.push(Part::Literal(std::mem::take(&mut literal)));
                    }
                    parts.push(field);
                }
            }
        }
        parts.push(Part::Literal(literal));
        Ok(LineFormat(parts))
    }

    /// Appends one line in this format.
    pub fn append(&self, fields: &LineFields<'_>, out: &mut Vec<u8>) {
        for part in &self.0 {
            // Writing to a `Vec` cannot fail.
            let _ = match part {
                Part::Literal(text) => out.write_all(text.as_bytes()),
                Part::Time => write!(out, "{}", fields.time),
                Part::Target => out.write_all(fields.target.as_bytes()),
                Part::Name => out.write_all(fields.name.as_bytes()),
                Part::Id => out.write_all(fields.id.as_bytes()),
                Part::Text => {
                    for (i, part) in fields.form.parts(fields.text).enumerate() {
                        let before = if i > 0 { BLOCK_LINE_END } else { "" };
                        out.extend_from_slice(before.as_bytes());
                        out.extend_from_slice(sanitize(part).as_bytes());
                    }
                    Ok(())
                }
                Part::Sequence => match fields.sequence {
                    Some(sequence) => write!(out, "{sequence}"),
                    None => Ok(()),
                },
            };
        }
    }
}
