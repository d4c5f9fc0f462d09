//! The code of an invite, which people read to each other, and the datagram by which the newcomer
//! finds the program that made it.
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::wire::beacon::BEACON_MAX_BYTES;
use crate::wire::code::{ADDRESSES_MAX, Endpoint, parse_endpoints};
use crate::wire::message::parse_json;

/// Largest nameplate. One digit or two are easily said.
pub const NAMEPLATE_MAX: u8 = 99;
/// The letters of proquints (Wilkerson, 2009): a consonant stands for 4 bits, a vowel for 2.
const CONSONANTS: &[u8; 16] = b"bdfghjklmnprstvz";
const VOWELS: &[u8; 4] = b"aiou";

/// The secret part of an invite, with the number by which it is found: `7-lusab-babad`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteCode {
    /// The public number of the invite on its LAN, from 1 to [`NAMEPLATE_MAX`]. (The term of Magic
    /// Wormhole.)
    nameplate: u8,
    /// The secret: 32 random bits. Of as many codes, three can be tried.
    secret: u32,
}

/// Why a text is no invite code. The displayed text completes "the code …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidInviteCode;

impl fmt::Display for InvalidInviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("is not of the form 7-lusab-babad, with @ADDRESSES or without")
    }
}

impl InviteCode {
    /// Makes a code of random bytes.
    pub fn new(random: &[u8; 32]) -> InviteCode {
        let [nameplate, a, b, c, d, ..] = *random;
        InviteCode {
            nameplate: nameplate % NAMEPLATE_MAX + 1,
            secret: u32::from_be_bytes([a, b, c, d]),
        }
    }

    /// The public number of the invite.
    pub fn nameplate(&self) -> u8 {
        self.nameplate
    }

    /// Parses a code, and the endpoints that may follow it after an `@`.
    ///
    /// # Errors
    /// [`InvalidInviteCode`]: also if an endpoint is malformed, or there are more than
    /// [`ADDRESSES_MAX`].
    pub fn parse_with_endpoints(
        text: &str,
    ) -> Result<(InviteCode, Vec<Endpoint>), InvalidInviteCode> {
        let Some((code, list)) = text.trim().split_once('@') else {
            return Ok((text.parse()?, Vec::new()));
        };
        let mut endpoints = Vec::new();
        for part in list.split(',') {
            let parsed = parse_endpoints(part).map_err(|_| InvalidInviteCode)?;
            endpoints.extend(parsed.into_iter().filter(|it| it.peer.is_none()));
        }
        match (1..=ADDRESSES_MAX).contains(&endpoints.len()) {
            true => Ok((code.parse()?, endpoints)),
            false => Err(InvalidInviteCode),
        }
    }
}

impl fmt::Display for InviteCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.nameplate)?;
        for word in [self.secret >> 16, self.secret & 0xffff] {
            f.write_str("-")?;
            for (shift, letters) in [(12, 4), (10, 2), (6, 4), (4, 2), (0, 4)] {
                let at = (word >> shift) as usize;
                let letter = match letters {
                    4 => CONSONANTS[at & 15],
                    _ => VOWELS[at & 3],
                };
                write!(f, "{}", char::from(letter))?;
            }
        }
        Ok(())
    }
}

impl FromStr for InviteCode {
    type Err = InvalidInviteCode;
    /// Takes capitals, and spaces instead of hyphens: codes are heard and typed.
    fn from_str(text: &str) -> Result<InviteCode, InvalidInviteCode> {
        let text = text.trim().to_ascii_lowercase();
        let mut parts = text
            .split(|c: char| c == '-' || c.is_whitespace())
            .filter(|part| !part.is_empty());
        let number = parts.next().unwrap_or_default();
        let nameplate = match number.parse() {
            Ok(n @ 1..=NAMEPLATE_MAX) if !number.starts_with('+') => n,
            _ => return Err(InvalidInviteCode),
        };
        let mut secret = 0;
        for _ in 0..2 {
            let word = parts.next().and_then(parse_word);
            secret = secret << 16 | word.ok_or(InvalidInviteCode)?;
        }
        match parts.next() {
            None => Ok(InviteCode { nameplate, secret }),
            Some(_) => Err(InvalidInviteCode),
        }
    }
}

fn parse_word(word: &str) -> Option<u32> {
    if word.len() != 5 {
        return None;
    }
    word.bytes().enumerate().try_fold(0, |bits, (at, letter)| {
        let (letters, width): (&[u8], _) = match at % 2 {
            0 => (CONSONANTS, 4),
            _ => (VOWELS, 2),
        };
        let value = letters.iter().position(|known| *known == letter)?;
        Some(bits << width | value as u32)
    })
}

/// The datagram that announces an invite on the LAN. It proves nothing: it only leads to a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InviteBeacon {
    /// The nameplate of the code.
    pub nameplate: u8,
    /// The TCP port at the source address of the datagram.
    pub port: u16,
    /// A random number of this invite, the same in all its datagrams. The newcomer tries its code
    /// once with each. `None`: earlier versions do not say it.
    pub nonce: Option<u32>,
}

#[derive(Serialize, Deserialize)]
struct InviteBeaconFields<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    nameplate: u8,
    port: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    nonce: Option<u32>,
}

impl InviteBeacon {
    /// Parses a datagram. `None`: it announces no invite.
    pub fn parse(bytes: &[u8]) -> Option<InviteBeacon> {
        let bytes = Some(bytes).filter(|bytes| bytes.len() <= BEACON_MAX_BYTES)?;
        let fields: InviteBeaconFields = parse_json(bytes)?;
        let is_invite = fields.kind == "invite" && fields.port != 0;
        is_invite.then_some(InviteBeacon {
            nameplate: fields.nameplate,
            port: fields.port,
            nonce: fields.nonce,
        })
    }

    /// Encodes the datagram.
    pub fn encode(&self) -> Vec<u8> {
        let fields = InviteBeaconFields {
            kind: "invite",
            nameplate: self.nameplate,
            port: self.port,
            nonce: self.nonce,
        };
        serde_json::to_vec(&fields).unwrap_or_default()
    }
}
