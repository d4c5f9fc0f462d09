//! Fingerprints of keys: what two people read to each other to compare a key.
use std::fmt;

use crate::base::domain;
use crate::base::identity::{Hash, PeerId};
use crate::base::text::rfc4648::HEXLOWER;

/// Length of a fingerprint, in bytes.
const FINGERPRINT_BYTES: usize = 20;
/// Number of hex digits in a group, without its check digit.
const GROUP_DIGITS: usize = 4;

/// The fingerprint of a key: 160 bits of the key's hash. As text it has ten groups. Each group has
/// four hex digits and a check digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint([u8; FINGERPRINT_BYTES]);

/// Why a text is no fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FingerprintError {
    /// The text does not have ten groups of hex digits.
    Form,
    /// The check digit of this group, counted from 1, does not fit its other digits.
    Misread(usize),
}

impl fmt::Display for FingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FingerprintError::Form => f.write_str("is not ten groups of five hex digits"),
            FingerprintError::Misread(group) => {
                write!(f, "was misread: group {group} does not fit its check digit")
            }
        }
    }
}

impl Fingerprint {
    /// The fingerprint of a key.
    pub fn of(id: &PeerId) -> Fingerprint {
        let hash = Hash::of(&[domain::FINGERPRINT, &id.0]);
        let mut bytes = [0; FINGERPRINT_BYTES];
        bytes.copy_from_slice(&hash.0[..FINGERPRINT_BYTES]);
        Fingerprint(bytes)
    }

    /// Parses a fingerprint as a person types it: in either case of letters, with or without white
    /// space and dashes. The check digits may all be left out.
    ///
    /// # Errors
    /// The text has another form, or a group does not fit its check digit.
    pub fn parse(text: &str) -> Result<Fingerprint, FingerprintError> {
        let typed = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
        let digits: Option<Vec<u8>> = typed.map(|c| c.to_digit(16).map(|d| d as u8)).collect();
        let digits = digits.ok_or(FingerprintError::Form)?;
        let group_len = match digits.len() / (FINGERPRINT_BYTES / 2) {
            len if digits.len() == len * (FINGERPRINT_BYTES / 2) => len,
            _ => return Err(FingerprintError::Form),
        };
        if group_len != GROUP_DIGITS && group_len != GROUP_DIGITS + 1 {
            return Err(FingerprintError::Form);
        }
        let mut bytes = [0; FINGERPRINT_BYTES];
        for (i, group) in digits.chunks(group_len).enumerate() {
            let (group, check) = group.split_at(GROUP_DIGITS);
            if check.first().is_some_and(|it| *it != check_digit(group)) {
                return Err(FingerprintError::Misread(i + 1));
            }
            bytes[2 * i] = group[0] << 4 | group[1];
            bytes[2 * i + 1] = group[2] << 4 | group[3];
        }
        Ok(Fingerprint(bytes))
    }
}

/// Formats ten groups, separated by blanks.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, pair) in self.0.chunks(2).enumerate() {
            let blank = if i > 0 { " " } else { "" };
            let digits: Vec<u8> = pair.iter().flat_map(|b| [b >> 4, b & 15]).collect();
            let check = check_digit(&digits);
            write!(f, "{blank}{}{check:x}", HEXLOWER.encode(pair))?;
        }
        Ok(())
    }
}

/// The check digit of hex digits, by the algorithm of Luhn in base 16. It reveals each wrong digit,
/// and two digits in the wrong order, except for 0 and f.
fn check_digit(digits: &[u8]) -> u8 {
    let sum = digits.iter().rev().enumerate().map(|(i, digit)| {
        let doubled = if i % 2 == 0 { digit * 2 } else { *digit };
        doubled / 16 + doubled % 16
    });
    (16 - sum.sum::<u8>() % 16) % 16
}
