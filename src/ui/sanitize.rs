//! Replaces control characters in shown text, so that the text cannot control the terminal.
use std::borrow::Cow;

use crate::base::text::control_chars::{has_control, is_control};

/// Returns the character to show instead of `c`. A character stays unchanged unless [`is_control`]
/// is true for it. A C0 control becomes its symbol at U+2400 + `c`. Any other control becomes
/// U+FFFD.
pub fn replace_control(c: char) -> char {
    match c {
        _ if !is_control(c) => c,
        '\0'..='\u{1f}' => char::from_u32(0x2400 + c as u32).unwrap_or('\u{fffd}'),
        _ => '\u{fffd}',
    }
}

/// Replaces every character for which [`is_control`] is true, as [`replace_control`] says.
pub fn sanitize(text: &str) -> Cow<'_, str> {
    match has_control(text) {
        false => Cow::Borrowed(text),
        true => Cow::Owned(text.chars().map(replace_control).collect()),
    }
}
