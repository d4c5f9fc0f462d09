//! Encrypts direct messages for their recipient. Uses the one-way pattern N (Noise specification,
//! revision 34, 7.4) and the X25519 form of the recipient's key.
//!
//! The prologue contains the network, author, incarnation, sequence and recipient of the batch.
//! Sealed lines therefore cannot be opened in any other batch. The signature of the batch proves
//! the author.
use chacha_poly::TAG_BYTES;
use snow::params::HandshakePattern;

use super::noise::{HandshakeConfig, KEY_BYTES, Role, StaticKey};
use crate::base::batch::batch::{Batch, LogId};
use crate::base::batch::batch_content::{NOISE_MESSAGE_MAX_BYTES, SEALED_MAX_BYTES};
use crate::base::domain;
use crate::base::identity::{Identity, NetworkTag, PeerId};
use crate::base::lines::{BATCH_LINES_MAX, Lines};
use crate::base::name::Target;
use crate::base::text::rfc4648::BASE64URL_NOPAD;

const PROTOCOL_NAME: &str = "Noise_N_25519_ChaChaPoly_BLAKE2s";
/// Bytes that sealing adds: an ephemeral key and a tag.
const OVERHEAD_BYTES: usize = KEY_BYTES + TAG_BYTES;

fn prologue(network: &NetworkTag, log: &LogId, sequence: u64, recipient: &PeerId) -> Vec<u8> {
    let mut bytes = domain::SEALED.to_vec();
    bytes.extend_from_slice(&network.0);
    bytes.extend_from_slice(&log.author.0);
    bytes.extend_from_slice(&log.incarnation.to_be_bytes());
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&recipient.0);
    bytes
}

/// The parameters to seal or open a message. To seal, the caller passes the recipient's key as
/// `remote`. To open, the caller passes our key pair as `key`.
fn handshake_config<'a>(
    prologue: &'a [u8],
    key: Option<&'a StaticKey>,
    remote: Option<&'a [u8; 32]>,
) -> HandshakeConfig<'a> {
    HandshakeConfig {
        protocol_name: PROTOCOL_NAME,
        pattern: HandshakePattern::N,
        psk: None,
        local_key: key,
        remote_public_key: remote,
        prologue,
        role: match remote {
            Some(_) => Role::Initiator,
            None => Role::Responder,
        },
    }
}

/// Seals lines for the recipient of `log` and returns them in base64. `sequence` is the sequence
/// of the first line. `seed` must be fresh random bytes, used for nothing else.
///
/// Returns `None` if the target is a room, or if the recipient's id is no valid key. Also returns
/// `None` if the text does not fit one Noise message (65 487 bytes). The text of a batch always
/// fits.
pub fn seal(
    seed: [u8; 32],
    network: &NetworkTag,
    log: &LogId,
    sequence: u64,
    lines: &Lines,
) -> Option<String> {
    let Target::Peer(recipient) = &log.target else {
        return None;
    };
    let prologue = prologue(network, log, sequence, recipient);
    let key = recipient.noise_key()?;
    let text = lines.as_str().as_bytes();
    let mut sealed = vec![0; text.len() + OVERHEAD_BYTES];
    let mut state = handshake_config(&prologue, None, Some(&key)).build(seed)?;
    state.write_message(text, &mut sealed).ok()?;
    Some(BASE64URL_NOPAD.encode(&sealed))
}

/// Opens a direct message to `identity`. Returns `None` if the message has another recipient, was
/// sealed for another batch or key, or contains invalid lines.
pub fn open(identity: &Identity, network: &NetworkTag, batch: &Batch) -> Option<Lines> {
    let own = identity.id();
    if batch.log.target != Target::Peer(own) || batch.sealed_content().len() > SEALED_MAX_BYTES {
        return None;
    }
    let sealed = BASE64URL_NOPAD.decode(batch.sealed_content())?;
    let length = sealed.len().checked_sub(OVERHEAD_BYTES)?;
    if sealed.len() > NOISE_MESSAGE_MAX_BYTES {
        return None;
    }
    let prologue = prologue(network, &batch.log, batch.sequence, &own);
    let key = StaticKey::new(&identity.noise_secret());
    let mut text = vec![0; length];
    // The responder of pattern N uses no randomness.
    let mut state = handshake_config(&prologue, Some(&key), None).build([0; 32])?;
    let n = state.read_message(&sealed, &mut text).ok()?;
    let lines = Lines::parse(text.get(..n)?)?;
    (lines.count() <= BATCH_LINES_MAX).then_some(lines)
}
