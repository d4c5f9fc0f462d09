//! Keys: who speaks, and how that is checked.
use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use sha2::{Digest, Sha512_256};

/// Characters of a [`PeerId`] as text: 32 bytes in unpadded base32.
pub const PEER_ID_CHARS: usize = 52;

/// An Ed25519 public key: the one name that cannot be claimed by another. Shown in RFC 4648 base32, lower case, unpadded, 52 characters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId(pub [u8; 32]);

impl PeerId {
    /// Length of an id as text, in bytes.
    pub const TEXT_BYTES: usize = 52;

    /// The first four characters of the id: they tell two peers of one name apart, and prove nothing.
    pub fn short(&self) -> String {
        self.to_string()[..4].to_owned()
    }

    /// The X25519 form of this key (RFC 7748's map), which is its owner's static key on a link. `None` if the bytes are no point, or a weak one.
    pub fn noise_key(&self) -> Option<[u8; 32]> {
        self.verifying_key()
            .map(|key| key.to_montgomery().to_bytes())
    }

    /// Ready to verify with; worth keeping, as the decompression costs a tenth of a verification.
    pub fn verifying_key(&self) -> Option<VerifyingKey> {
        VerifyingKey::from_bytes(&self.0)
            .ok()
            .filter(|key| !key.is_weak())
    }

    /// For two people to compare: 160 bits of the key's hash, in ten groups of four hex digits.
    pub fn fingerprint(&self) -> String {
        let hash = Hash::of(&[b"p2pchat fingerprint\0", &self.0]);
        let hex = HEXLOWER.encode(&hash.0[..20]);
        let groups: Vec<&str> = (0..10).map(|i| &hex[i * 4..i * 4 + 4]).collect();
        groups.join(" ")
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = BASE32_NOPAD.encode(&self.0);
        text.make_ascii_lowercase();
        f.write_str(&text)
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "~{}", self.short())
    }
}

/// The text is not 52 characters of lower-case base32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParsePeerIdError;

impl FromStr for PeerId {
    type Err = ParsePeerIdError;
    fn from_str(text: &str) -> Result<PeerId, ParsePeerIdError> {
        if text.len() != PeerId::TEXT_BYTES || text.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(ParsePeerIdError);
        }
        let bytes = BASE32_NOPAD
            .decode(text.to_ascii_uppercase().as_bytes())
            .map_err(|_| ParsePeerIdError)?;
        bytes.try_into().map(PeerId).map_err(|_| ParsePeerIdError)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PeerId, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse()
            .map_err(|ParsePeerIdError| D::Error::custom("not an id"))
    }
}

/// SHA-512/256 (FIPS 180-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Of the parts, one after the other; callers put a domain with a final zero first.
    pub fn of(parts: &[&[u8]]) -> Hash {
        let mut hasher = Sha512_256::new();
        for part in parts {
            hasher.update(part);
        }
        Hash(hasher.finalize().into())
    }

    /// 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Hash> {
        HEXLOWER
            .decode(text.as_bytes())
            .ok()?
            .try_into()
            .ok()
            .map(Hash)
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
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Hash::parse(&text).ok_or_else(|| D::Error::custom("not a hash"))
    }
}

/// A network's public mark, derived from its secret; zeros for the open network. Signed with every batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NetworkTag(pub [u8; 32]);

impl NetworkTag {
    pub const OPEN: NetworkTag = NetworkTag([0; 32]);

    /// The folder of this network's history: `open`, or 16 hex digits of the tag.
    pub fn dir_name(&self) -> String {
        if *self == NetworkTag::OPEN {
            "open".into()
        } else {
            HEXLOWER.encode(&self.0[..8])
        }
    }
}

impl fmt::Display for NetworkTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

/// The own key pair. Its bytes are overwritten when it is dropped.
pub struct Identity {
    signing_key: SigningKey,
    id: PeerId,
}

impl Identity {
    /// `seed`: the 32 secret bytes of RFC 8032.
    pub fn from_seed(seed: &[u8; 32]) -> Identity {
        let key = SigningKey::from_bytes(seed);
        let id = PeerId(key.verifying_key().to_bytes());
        Identity {
            signing_key: key,
            id,
        }
    }

    pub fn id(&self) -> PeerId {
        self.id
    }

    /// The X25519 secret that belongs to [`PeerId::noise_key`].
    pub fn noise_secret(&self) -> [u8; 32] {
        self.signing_key.to_scalar_bytes()
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.signing_key.sign(message).to_bytes()
    }
}

/// Verification without cofactor (RFC 8032, 5.1.7), `S` and `R` in their canonical form. With no weak keys let in (see [`PeerId::key`]),
/// one message, one key and one signature have one verdict on every box; a small-order `R` could only be made by the key's owner.
pub fn verify_signature(key: &VerifyingKey, message: &[u8], signature: &[u8; 64]) -> bool {
    key.verify(message, &Signature::from_bytes(signature))
        .is_ok()
}
