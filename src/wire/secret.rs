//! A closed network's secret, and the keys that come of it.
use std::fmt;
use std::hint::black_box;

use data_encoding::BASE32_NOPAD;

use crate::base::identity::{Hash, NetworkTag};

/// Shortest secret, in bytes without its end of line: what is shorter can be guessed from a beacon.
pub const SECRET_MIN_BYTES: usize = 16;
/// Longest secret, in bytes without its end of line.
pub const SECRET_MAX_BYTES: usize = 4096;

/// What a network's secret opens; the secret itself is not kept. Overwritten when it is dropped.
pub struct NetworkKeys {
    network: NetworkTag,
    psk: [u8; 32],
    beacon_key: [u8; 32],
}

/// Why bytes are no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkSecretError {
    TooShort,
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
    /// Of the content of a secret file. One end of line at its end does not belong to the secret.
    ///
    /// # Errors
    /// Too short or too long.
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
            network: NetworkTag(Hash::of(&[b"p2pchat network tag 1\0", secret]).0),
            psk: Hash::of(&[b"p2pchat handshake key 1\0", secret]).0,
            beacon_key: Hash::of(&[b"p2pchat beacon key 1\0", secret]).0,
        })
    }

    /// The network's public mark.
    pub fn network(&self) -> NetworkTag {
        self.network
    }

    /// For the handshakes.
    pub fn psk(&self) -> &[u8; 32] {
        &self.psk
    }

    /// For the beacons.
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

/// Names the network, whose mark is public, and nothing of the secret.
impl fmt::Debug for NetworkKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(of network {})", self.network.dir_name())
    }
}

/// Overwrites secret bytes that are no longer needed.
pub fn zeroize(bytes: &mut [u8]) {
    bytes.fill(0);
    // Else the compiler may leave out writes that nobody reads.
    black_box(bytes);
}

/// A new secret as text, made of 32 random bytes: 52 characters of lower-case base32.
pub fn generate_secret(random: &[u8; 32]) -> String {
    let mut text = BASE32_NOPAD.encode(random);
    text.make_ascii_lowercase();
    text
}
