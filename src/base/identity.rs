//! Keys, peer ids, hashes and signatures.
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::de::{Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::base::text::rfc4648::{BASE32_NOPAD, HEXLOWER};

/// An Ed25519 public key (RFC 8032), which identifies a peer. The text form of the key is unpadded
/// lower-case base32 (RFC 4648) of [`PeerId::TEXT_BYTES`] characters.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PeerId(pub [u8; 32]);

impl PeerId {
    /// Length of an id as text, in bytes: 32 bytes in unpadded base32.
    pub const TEXT_BYTES: usize = 52;

    /// The first four characters of the id as text. They tell peers with the same name apart. They
    /// prove nothing, because anyone can generate a key with the same four characters.
    pub fn short(&self) -> String {
        // Five bytes become eight characters.
        let mut text = BASE32_NOPAD.encode(&self.0[..5]);
        text.truncate(4);
        text
    }

    /// The X25519 form of this key (birational map, RFC 7748, 4.1). Noise handshakes use this
    /// form as the peer's static key. `None` if the bytes encode no curve point or a point of
    /// small order.
    pub fn noise_key(&self) -> Option<[u8; 32]> {
        self.verifying_key()
            .map(|key| key.to_montgomery().to_bytes())
    }

    /// The decompressed key, which verifies signatures. `None` if the bytes encode no curve point
    /// or a point of small order. Callers should cache it: decompression costs about a tenth of a
    /// verification.
    pub fn verifying_key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.0)
            .ok()
            .filter(|key| !key.is_weak())
    }

    /// The first eight bytes, as a number that orders as they do.
    #[inline]
    fn prefix(&self) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl Ord for PeerId {
    /// In the order of the bytes. Compares the first eight as one number, which almost always
    /// decides. Each turn searches tables of peers dozens of times.
    #[inline]
    fn cmp(&self, other: &PeerId) -> Ordering {
        match self.prefix().cmp(&other.prefix()) {
            Ordering::Equal => self.0.cmp(&other.0),
            order => order,
        }
    }
}

impl PartialOrd for PeerId {
    fn partial_cmp(&self, other: &PeerId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; PeerId::TEXT_BYTES];
        BASE32_NOPAD.encode_mut(&self.0, &mut text);
        f.write_str(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}", self.short())
    }
}

/// The text is not [`PeerId::TEXT_BYTES`] characters of lower-case base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsePeerIdError;

impl FromStr for PeerId {
    type Err = ParsePeerIdError;
    fn from_str(text: &str) -> Result<PeerId, ParsePeerIdError> {
        let mut id = PeerId([0; 32]);
        let is_id = BASE32_NOPAD.decode_mut(text.as_bytes(), &mut id.0);
        is_id.then_some(id).ok_or(ParsePeerIdError)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        deserializer.deserialize_str(TextVisitor {
            expected: "an id",
            parse: |text| text.parse().ok(),
        })
    }
}

/// A SHA-256 hash (FIPS 180-4). Most processors have instructions for SHA-256, so large batches
/// are hashed fast.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Hashes the concatenation of the parts. The first part must be a prefix of
    /// [`domain`](super::domain).
    pub fn of(parts: &[&[u8]]) -> Hash {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }

    /// Parses 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Hash> {
        let mut hash = Hash([0; 32]);
        let is_hash = HEXLOWER.decode_mut(text.as_bytes(), &mut hash.0);
        is_hash.then_some(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hash, D::Error> {
        deserializer.deserialize_str(TextVisitor {
            expected: "a hash",
            parse: Hash::parse,
        })
    }
}

/// Parses a JSON string where it stands. An owned copy of each id and hash would slow down a start.
struct TextVisitor<T> {
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

/// The public tag of a network. It is derived from the network secret. The tag of the open network
/// is all zeros. Every batch signature covers the tag.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkTag(pub [u8; 32]);

impl NetworkTag {
    /// The tag of the open network, which has no secret.
    pub const OPEN: NetworkTag = NetworkTag([0; 32]);

    /// The directory name of this network's history: `open`, or the first 16 hex digits of the
    /// tag.
    pub fn dir_name(&self) -> String {
        if *self == NetworkTag::OPEN {
            "open".into()
        } else {
            self.short()
        }
    }

    /// The first 16 hex digits of the tag.
    pub fn short(&self) -> String {
        HEXLOWER.encode(&self.0[..8])
    }

    /// Parses 64 hex digits in lower case.
    pub fn parse(text: &str) -> Option<NetworkTag> {
        let mut tag = NetworkTag([0; 32]);
        let is_tag = HEXLOWER.decode_mut(text.as_bytes(), &mut tag.0);
        is_tag.then_some(tag)
    }
}

impl fmt::Display for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The Ed25519 key pair of this peer. Dropping the value overwrites the secret key in memory.
#[derive(Clone)]
pub struct Identity {
    signing_key: SigningKey,
    id: PeerId,
}

impl Identity {
    /// Derives the key pair from 32 secret bytes (the private key of RFC 8032, 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Identity {
        let key = SigningKey::from_bytes(seed);
        let id = PeerId(key.verifying_key().to_bytes());
        Identity {
            signing_key: key,
            id,
        }
    }

    /// The public key, which is this peer's id.
    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The X25519 secret key that belongs to [`PeerId::noise_key`].
    pub fn noise_secret(&self) -> [u8; 32] {
        self.signing_key.to_scalar_bytes()
    }

    /// Signs a message with Ed25519.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing_key.sign(message).to_bytes()
    }
}

/// Verifies an Ed25519 signature with the cofactorless equation (RFC 8032, 5.1.7). All peers accept
/// the same signatures: `S` and `R` must be canonical, and [`PeerId::verifying_key`] excludes weak
/// keys. `R` may have small order, because only the owner of the key can make such a signature.
pub fn verify_signature(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify(message, &Signature::from_bytes(signature))
        .is_ok()
}
