//! The secret of a closed network and the keys derived from it.
use std::fmt;
use std::hint::black_box;

use crate::base::domain;
use crate::base::identity::{Hash, NetworkTag};
use crate::base::text::rfc4648::BASE32_NOPAD;

/// Minimum length of a secret in bytes, without its end of line. An attacker who has received a
/// beacon can test guesses offline, and would find a shorter secret too easily.
pub const SECRET_MIN_BYTES: usize = 16;
/// Maximum length of a secret in bytes, without its end of line.
pub const SECRET_MAX_BYTES: usize = 4096;

/// The keys of a closed network. Dropping this value overwrites the keys in memory. The secret
/// itself is not stored.
pub struct NetworkKeys {
    network: NetworkTag,
    psk: [u8; 32],
    beacon_key: [u8; 32],
}

/// Why the content of a secret file is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkSecretError {
    /// The secret is shorter than [`SECRET_MIN_BYTES`].
    TooShort,
    /// The secret is longer than [`SECRET_MAX_BYTES`].
    TooLong,
}

impl fmt::Display for NetworkSecretError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NetworkSecretError::TooShort => write!(
                f,
                "a network secret has at least {SECRET_MIN_BYTES} bytes: `p2pchat keygen` makes one"
            ),
            NetworkSecretError::TooLong => {
                write!(f, "a network secret has at most {SECRET_MAX_BYTES} bytes")
            }
        }
    }
}

impl NetworkKeys {
    /// Derives the keys from the content of a secret file. The secret is the content without one
    /// final line end.
    ///
    /// # Errors
    /// The secret is too short or too long.
    pub fn derive(content: &[u8]) -> Result<NetworkKeys, NetworkSecretError> {
        let secret = content.strip_suffix(b"\n").unwrap_or(content);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        if secret.len() < SECRET_MIN_BYTES {
            return Err(NetworkSecretError::TooShort);
        }
        if secret.len() > SECRET_MAX_BYTES {
            return Err(NetworkSecretError::TooLong);
        }
        Ok(NetworkKeys {
            network: NetworkTag(Hash::of(&[domain::NETWORK_TAG, secret]).0),
            psk: Hash::of(&[domain::HANDSHAKE_KEY, secret]).0,
            beacon_key: Hash::of(&[domain::BEACON_KEY, secret]).0,
        })
    }

    /// The public tag of the network.
    pub fn network(&self) -> NetworkTag {
        self.network
    }

    /// The pre-shared key for handshakes.
    pub fn psk(&self) -> &[u8; 32] {
        &self.psk
    }

    /// The key that encrypts beacons.
    pub fn beacon_key(&self) -> &[u8; 32] {
        &self.beacon_key
    }
}

impl Drop for NetworkKeys {
    fn drop(&mut self) {
        zeroize(&mut self.psk);
        zeroize(&mut self.beacon_key);
    }
}

/// Shows only the public tag, so that no key appears in a log.
impl fmt::Debug for NetworkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NetworkKeys({})", self.network.dir_name())
    }
}

/// Overwrites secret bytes with zeros.
pub fn zeroize(bytes: &mut [u8]) {
    bytes.fill(0);
    // Without `black_box` the compiler may remove the writes, because nothing reads the zeros.
    black_box(bytes);
}

/// Encodes 32 random bytes as a new secret: 52 characters of lower-case base32.
pub fn generate_secret(random: &[u8; 32]) -> String {
    BASE32_NOPAD.encode(random)
}
