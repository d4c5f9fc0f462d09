//! The encryption of a link: Noise XX (Noise specification, revision 34) over a stream. Each Noise
//! message is preceded by its length as two bytes, big endian.
//!
//! The dialer first sends four unencrypted bytes: `P2`, the protocol version and the mode. The
//! mode is 1 in a closed network and 0 in the open one. These bytes are also the Noise prologue. A
//! closed network uses `XXpsk0`, so that a peer without the secret cannot read even the first
//! message.
use std::sync::Arc;

use blake2::digest::{Digest, FixedOutputReset};
use chacha_poly::{ChaChaPoly, TAG_BYTES};
use crrl::x25519::x25519;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifier, HandshakeModifierList,
    HandshakePattern, HashChoice, NoiseParams,
};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, HandshakeState, TransportState};

use crate::base::batch::batch_content::NOISE_MESSAGE_MAX_BYTES;

/// Bytes of an X25519 key.
pub(super) const KEY_BYTES: usize = 32;
/// Longest plaintext of one Noise message, in bytes.
pub const PLAINTEXT_MAX_BYTES: usize = NOISE_MESSAGE_MAX_BYTES - TAG_BYTES;
/// Longest handshake message accepted, in bytes. Peers send at most 96 bytes: two keys and two
/// tags, without payload.
const HANDSHAKE_MESSAGE_MAX_BYTES: usize = 256;
const PROTOCOL_VERSION: u8 = 2;
/// The base point of X25519 (RFC 7748, section 4.1).
#[cfg(not(feature = "precomputed-tables"))]
const BASE_POINT: [u8; KEY_BYTES] = {
    let mut u = [0; KEY_BYTES];
    u[0] = 9;
    u
};

/// Why a stream must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoiseError {
    /// The stream does not begin with `P2`.
    UnknownProtocol,
    /// The dialer speaks another version of the protocol.
    VersionMismatch,
    /// One peer is in a closed network, the other is not.
    NetworkMismatch,
    /// A message is too long, decryption failed, or snow refused a key. Decryption fails if the
    /// peer has another secret or if bytes were altered.
    Crypto,
}

/// The side of a Noise handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sends the first message: the dialer of a link, the author of a direct message.
    Initiator,
    /// Receives the first message.
    Responder,
}

struct SeededRng(ChaCha20Rng);

impl Random for SeededRng {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), snow::Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

/// BLAKE2s for snow.
struct Blake2s(blake2::Blake2s256);

impl Hash for Blake2s {
    fn name(&self) -> &'static str {
        "BLAKE2s"
    }
    fn block_len(&self) -> usize {
        64
    }
    fn hash_len(&self) -> usize {
        32
    }
    fn reset(&mut self) {
        self.0 = Digest::new();
    }
    fn input(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }
    fn result(&mut self, out: &mut [u8]) {
        let hash = self.0.finalize_fixed_reset();
        if let Some(out) = out.first_chunk_mut::<32>() {
            *out = hash.into();
        }
    }
}

/// An X25519 key pair (RFC 7748).
#[derive(Default)]
pub struct KeyPair {
    secret: [u8; KEY_BYTES],
    public: [u8; KEY_BYTES],
}

impl KeyPair {
    /// The key pair of this secret key.
    pub fn new(secret: &[u8; KEY_BYTES]) -> KeyPair {
        #[cfg(feature = "precomputed-tables")]
        let public = crrl::x25519::x25519_base(secret);
        #[cfg(not(feature = "precomputed-tables"))]
        let public = x25519(&BASE_POINT, secret);
        KeyPair {
            secret: *secret,
            public,
        }
    }

    /// The public key.
    pub fn public(&self) -> &[u8; KEY_BYTES] {
        &self.public
    }

    /// The secret that this pair shares with the owner of a public key.
    pub fn shared_secret(&self, public: &[u8; KEY_BYTES]) -> [u8; KEY_BYTES] {
        x25519(public, &self.secret)
    }
}

/// Our X25519 key pair. Its public key is computed once for all handshakes.
#[derive(Clone)]
pub struct StaticKey(Arc<KeyPair>);

impl StaticKey {
    /// The key pair of this secret key.
    pub fn new(secret: &[u8; KEY_BYTES]) -> StaticKey {
        StaticKey(Arc::new(KeyPair::new(secret)))
    }
}

/// X25519 for snow.
struct HandshakeKey {
    /// Our static key pair, if the handshake may use it.
    own: Option<StaticKey>,
    /// The pair that snow has set or generated.
    pair: Arc<KeyPair>,
}

impl Dh for HandshakeKey {
    fn name(&self) -> &'static str {
        "25519"
    }
    fn pub_len(&self) -> usize {
        KEY_BYTES
    }
    fn priv_len(&self) -> usize {
        KEY_BYTES
    }
    fn set(&mut self, secret: &[u8]) {
        if let Some(secret) = secret.first_chunk() {
            let own = self.own.as_ref().filter(|own| own.0.secret == *secret);
            self.pair = match own {
                Some(own) => Arc::clone(&own.0),
                None => Arc::new(KeyPair::new(secret)),
            };
        }
    }
    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut secret = [0; KEY_BYTES];
        rng.try_fill_bytes(&mut secret)?;
        self.pair = Arc::new(KeyPair::new(&secret));
        Ok(())
    }
    fn pubkey(&self) -> &[u8] {
        &self.pair.public
    }
    fn privkey(&self) -> &[u8] {
        &self.pair.secret
    }
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        let public = public.first_chunk().ok_or(snow::Error::Dh)?;
        let out = out.first_chunk_mut().ok_or(snow::Error::Dh)?;
        *out = self.pair.shared_secret(public);
        Ok(())
    }
}

/// Provides snow with curve, hash, cipher and random numbers.
struct SeededResolver {
    /// The seed of all random numbers.
    seed: [u8; 32],
    key: Option<StaticKey>,
}

impl CryptoResolver for SeededResolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(SeededRng(ChaCha20Rng::from_seed(self.seed))))
    }
    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        let key = HandshakeKey {
            own: self.key.clone(),
            pair: Arc::default(),
        };
        matches!(choice, DHChoice::Curve25519).then(|| Box::new(key) as Box<dyn Dh>)
    }
    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::Blake2s => Some(Box::new(Blake2s(Digest::new()))),
            _ => None,
        }
    }
    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::ChaChaPoly => Some(Box::<ChaChaPoly>::default()),
            _ => None,
        }
    }
}

/// Splits a stream into Noise messages. Buffers at most one incomplete message.
#[derive(Default)]
struct MessageDecoder(Vec<u8>);

impl MessageDecoder {
    /// Calls the function `each` for every complete message, until `each` returns `false`. Buffers
    /// an incomplete message. Returns the number of bytes consumed, including buffered bytes.
    ///
    /// # Errors
    /// A message is longer than `longest` bytes, or `each` returned an error.
    fn feed(
        &mut self,
        mut bytes: &[u8],
        longest: usize,
        mut each: impl FnMut(&[u8]) -> Result<bool, NoiseError>,
    ) -> Result<usize, NoiseError> {
        let all = bytes.len();
        loop {
            if self.0.is_empty() {
                let Some(length) = read_length(bytes) else {
                    break;
                };
                if length > longest {
                    return Err(NoiseError::Crypto);
                }
                let Some(message) = bytes.get(2..2 + length) else {
                    break;
                };
                bytes = &bytes[2 + length..];
                if !each(message)? {
                    return Ok(all - bytes.len());
                }
                continue;
            }
            if self.0.len() < 2 {
                let Some((first, rest)) = bytes.split_first() else {
                    return Ok(all);
                };
                self.0.push(*first);
                bytes = rest;
            }
            let length = read_length(&self.0).unwrap_or(0);
            if length > longest {
                return Err(NoiseError::Crypto);
            }
            let take = (2 + length).saturating_sub(self.0.len()).min(bytes.len());
            self.0.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.0.len() < 2 + length {
                return Ok(all);
            }
            let message = std::mem::take(&mut self.0);
            if !each(&message[2..])? {
                return Ok(all - bytes.len());
            }
        }
        self.0.extend_from_slice(bytes);
        Ok(all)
    }
}

fn read_length(bytes: &[u8]) -> Option<usize> {
    match bytes {
        [high, low, ..] => Some(u16::from_be_bytes([*high, *low]) as usize),
        _ => None,
    }
}

/// A handshake in progress.
pub struct Handshake {
    /// `None` once the handshake is complete.
    state: Option<Box<HandshakeState>>,
    decoder: MessageDecoder,
    /// The preface: four unencrypted bytes that the dialer sends first. The dialer fills this
    /// buffer at the start. The accepting side fills it with the first received bytes.
    preamble: Vec<u8>,
    /// The preface that must come. Empty if the handshake has none.
    expected: Vec<u8>,
}

/// The four clear bytes with which a dialer begins a stream of this mode.
pub fn preface(mode: u8) -> [u8; 4] {
    [b'P', b'2', PROTOCOL_VERSION, mode]
}

/// The result of [`Handshake::feed`].
pub enum HandshakeStatus {
    /// More bytes are needed.
    Incomplete,
    /// The peer has proved its key. The caller must pass any received bytes after `consumed_bytes`
    /// to [`Transport::open`].
    Complete {
        /// The ciphers of the link.
        transport: Box<Transport>,
        /// How many of the received bytes belong to the handshake.
        consumed_bytes: usize,
    },
}

impl Handshake {
    /// Starts a handshake. For the initiator, appends the first bytes to send to `out`. `key` is
    /// our key pair, which many handshakes share. `psk` is the pre-shared key of a closed network.
    /// `seed` must be fresh random bytes.
    ///
    /// # Errors
    /// [`NoiseError::Crypto`] if snow refuses these keys.
    pub fn new(
        role: Role,
        key: &StaticKey,
        psk: Option<&[u8; 32]>,
        seed: [u8; 32],
        out: &mut Vec<u8>,
    ) -> Result<Handshake, NoiseError> {
        let expected = preface(psk.is_some() as u8);
        if role == Role::Initiator {
            out.extend_from_slice(&expected);
        }
        let mut handshake = Handshake::start(role, key, psk, &expected, seed, out)?;
        if role == Role::Initiator {
            handshake.preamble.extend_from_slice(&expected);
        }
        handshake.expected.extend_from_slice(&expected);
        Ok(handshake)
    }

    /// As [`Handshake::new`], but sends and expects no preface. Both sides must have exchanged the
    /// bytes of `prologue` before.
    ///
    /// # Errors
    /// The errors of [`Handshake::new`].
    pub fn after_preface(
        role: Role,
        secret: &[u8; 32],
        psk: Option<&[u8; 32]>,
        prologue: &[u8],
        seed: [u8; 32],
        out: &mut Vec<u8>,
    ) -> Result<Handshake, NoiseError> {
        Handshake::start(role, &StaticKey::new(secret), psk, prologue, seed, out)
    }

    fn start(
        role: Role,
        key: &StaticKey,
        psk: Option<&[u8; 32]>,
        prologue: &[u8],
        seed: [u8; 32],
        out: &mut Vec<u8>,
    ) -> Result<Handshake, NoiseError> {
        let protocol_name = match psk {
            Some(_) => "Noise_XXpsk0_25519_ChaChaPoly_BLAKE2s",
            None => "Noise_XX_25519_ChaChaPoly_BLAKE2s",
        };
        let config = HandshakeConfig {
            protocol_name,
            pattern: HandshakePattern::XX,
            psk,
            local_key: Some(key),
            remote_public_key: None,
            prologue,
            role,
        };
        let mut state = Box::new(config.build(seed).ok_or(NoiseError::Crypto)?);
        if role == Role::Initiator {
            write_handshake_message(&mut state, out)?;
        }
        Ok(Handshake {
            state: Some(state),
            decoder: MessageDecoder::default(),
            preamble: Vec::new(),
            expected: Vec::new(),
        })
    }

    /// Whether the accepting side has received anything.
    pub fn has_begun(&self) -> bool {
        !self.preamble.is_empty()
    }

    /// Processes the received `bytes`. Appends the bytes that must be sent in answer to `out`.
    ///
    /// # Errors
    /// The handshake cannot succeed. The stream must be closed.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<HandshakeStatus, NoiseError> {
        let clear = (self.expected.len() - self.preamble.len()).min(bytes.len());
        self.preamble.extend_from_slice(&bytes[..clear]);
        if self.preamble[..] != self.expected[..self.preamble.len()] {
            let same = self.preamble.iter().zip(&self.expected);
            return Err(match same.take_while(|(a, b)| a == b).count() {
                0 | 1 => NoiseError::UnknownProtocol,
                2 => NoiseError::VersionMismatch,
                _ => NoiseError::NetworkMismatch,
            });
        }
        let state = self.state.as_mut().ok_or(NoiseError::Crypto)?;
        let mut done = false;
        let consumed =
            self.decoder
                .feed(&bytes[clear..], HANDSHAKE_MESSAGE_MAX_BYTES, |message| {
                    let mut payload = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
                    state
                        .read_message(message, &mut payload)
                        .map_err(|_| NoiseError::Crypto)?;
                    if !state.is_handshake_finished() {
                        write_handshake_message(state, out)?;
                    }
                    done = state.is_handshake_finished();
                    Ok(!done)
                })?;
        if !done {
            return Ok(HandshakeStatus::Incomplete);
        }
        let transport = self
            .state
            .take()
            .and_then(|state| Transport::new(*state))
            .ok_or(NoiseError::Crypto)?;
        Ok(HandshakeStatus::Complete {
            transport: Box::new(transport),
            consumed_bytes: clear + consumed,
        })
    }
}

/// The parameters of a Noise handshake.
pub struct HandshakeConfig<'a> {
    /// The full protocol name, such as `Noise_XX_25519_ChaChaPoly_BLAKE2s`.
    pub protocol_name: &'a str,
    /// The pattern named in `protocol_name`.
    pub pattern: HandshakePattern,
    /// The pre-shared key, if the protocol name contains `psk0`.
    pub psk: Option<&'a [u8; 32]>,
    /// Our X25519 key pair, if the pattern needs one.
    pub local_key: Option<&'a StaticKey>,
    /// The peer's X25519 public key, if the pattern needs that key in advance.
    pub remote_public_key: Option<&'a [u8; 32]>,
    /// Bytes that must be the same on both sides.
    pub prologue: &'a [u8],
    /// Our role in the handshake.
    pub role: Role,
}

impl HandshakeConfig<'_> {
    /// Starts the handshake. All randomness is derived from `seed`. Returns `None` if the keys do
    /// not fit the pattern.
    #[inline(never)]
    pub fn build(&self, seed: [u8; 32]) -> Option<HandshakeState> {
        let psk = self.psk.map(|_| HandshakeModifier::Psk(0));
        let list = psk.into_iter().collect();
        let pattern = HandshakeChoice {
            pattern: self.pattern,
            modifiers: HandshakeModifierList { list },
        };
        let params = NoiseParams::new(
            self.protocol_name.to_owned(),
            BaseChoice::Noise,
            pattern,
            DHChoice::Curve25519,
            CipherChoice::ChaChaPoly,
            HashChoice::Blake2s,
        );
        let key = self.local_key.cloned();
        let builder = Builder::with_resolver(params, Box::new(SeededResolver { seed, key }));
        let mut builder = builder.prologue(self.prologue).ok()?;
        if let Some(key) = self.local_key {
            builder = builder.local_private_key(&key.0.secret).ok()?;
        }
        if let Some(remote) = self.remote_public_key {
            builder = builder.remote_public_key(remote).ok()?;
        }
        if let Some(psk) = self.psk {
            builder = builder.psk(0, psk).ok()?;
        }
        let state = match self.role {
            Role::Initiator => builder.build_initiator(),
            Role::Responder => builder.build_responder(),
        };
        state.ok()
    }
}

fn write_handshake_message(
    state: &mut HandshakeState,
    out: &mut Vec<u8>,
) -> Result<(), NoiseError> {
    let mut message = [0; HANDSHAKE_MESSAGE_MAX_BYTES];
    let n = state
        .write_message(&[], &mut message)
        .map_err(|_| NoiseError::Crypto)?;
    out.extend_from_slice(&(n as u16).to_be_bytes());
    out.extend_from_slice(&message[..n]);
    Ok(())
}

/// The ciphers of an established link, one for each direction.
pub struct Transport {
    state: TransportState,
    decoder: MessageDecoder,
    /// The peer's X25519 key, proved by the handshake.
    pub remote_static_key: [u8; 32],
    /// The hash of the handshake, for channel binding. It is the same on both sides, and different
    /// for every link.
    pub handshake_hash: [u8; 32],
}

impl Transport {
    fn new(state: HandshakeState) -> Option<Transport> {
        let remote = state.get_remote_static()?.try_into().ok()?;
        let hash = state.get_handshake_hash().try_into().ok()?;
        let state = state.into_transport_mode().ok()?;
        Some(Transport {
            state,
            decoder: MessageDecoder::default(),
            remote_static_key: remote,
            handshake_hash: hash,
        })
    }

    /// Encrypts `plain` and appends the Noise messages to `out`.
    ///
    /// # Errors
    /// [`NoiseError::Crypto`] after 2^64 − 1 messages, because no nonces are left.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), NoiseError> {
        for chunk in plain.chunks(PLAINTEXT_MAX_BYTES) {
            let at = out.len();
            // What is overwritten below is copied, as `resize` sets single bytes if the program is
            // optimised for size.
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(chunk);
            out.extend_from_slice(&[0; TAG_BYTES]);
            let n = self
                .state
                .write_message(chunk, &mut out[at + 2..])
                .map_err(|_| NoiseError::Crypto)?;
            out[at..at + 2].copy_from_slice(&(n as u16).to_be_bytes());
        }
        Ok(())
    }

    /// Number of bytes of the incomplete Noise message.
    pub fn buffered_bytes(&self) -> usize {
        self.decoder.0.len()
    }

    /// Decrypts received bytes. Calls the function `each` with the plaintext of every complete
    /// message. `scratch` buffers one plaintext and grows to at most 64 KiB.
    ///
    /// # Errors
    /// [`NoiseError::Crypto`] if a message was altered or was not encrypted by the peer. The stream
    /// must be closed.
    pub fn open(
        &mut self,
        bytes: &[u8],
        scratch: &mut Vec<u8>,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), NoiseError> {
        let state = &mut self.state;
        self.decoder
            .feed(bytes, NOISE_MESSAGE_MAX_BYTES, |message| {
                if scratch.len() < message.len() {
                    scratch.resize(message.len(), 0);
                }
                let n = state
                    .read_message(message, scratch)
                    .map_err(|_| NoiseError::Crypto)?;
                each(&scratch[..n]);
                Ok(true)
            })?;
        Ok(())
    }
}
