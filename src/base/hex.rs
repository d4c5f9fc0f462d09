//! 64-bit numbers as text: exactly 16 lower-case hexadecimal digits. Incarnations and process
//! numbers use this form, because JSON numbers are exact only below 2^53.
use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

use crate::base::text::rfc4648::HEXLOWER;

/// Formats a number as 16 digits.
pub fn format(number: u64) -> String {
    format!("{number:016x}")
}

/// Parses 16 lower-case hex digits. Returns `None` for any other text. Each number thus has exactly
/// one text form.
pub fn parse(text: &str) -> Option<u64> {
    let mut bytes = [0; 8];
    let is_number = HEXLOWER.decode_mut(text.as_bytes(), &mut bytes);
    is_number.then_some(u64::from_be_bytes(bytes))
}

/// Serializes a number as a string of 16 digits, for `#[serde(with = "hex")]`.
///
/// # Errors
/// The serializer fails.
pub fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format(*number))
}

/// Deserializes a string of 16 digits, for `#[serde(with = "hex")]`.
///
/// # Errors
/// The value is not a string of 16 lower-case hex digits.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = Cow::<str>::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| D::Error::custom("not 16 hex digits"))
}
