//! The stream of an invite: a newcomer who knows a short code gets the secret of a closed network.
//!
//! SPAKE2 (RFC 9382 describes the family) turns the code into a key. The key is the psk of a Noise
//! handshake, in which both prove their identities. Who does not know the code can try one for each
//! stream, and learns only that it was wrong. The newcomer dials, and is the initiator.
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};
use serde::{Deserialize, Serialize};
use spake2::{Ed25519Group, Identity as Side, Password, Spake2};

use crate::base::domain;
use crate::base::event::peer::Peer;
use crate::base::identity::{Hash, PeerId};
use crate::base::name::Nick;
use crate::base::text::rfc4648::BASE64URL_NOPAD;
use crate::wire::channel::Channel;
use crate::wire::frame::{Frame, FrameKind, write_frame};
use crate::wire::invite_code::InviteCode;
use crate::wire::message::parse_json;
use crate::wire::noise::{Handshake, HandshakeStatus, Role, preface};
use crate::wire::secret::{SECRET_MAX_BYTES, SECRET_MIN_BYTES};

/// The mode of an invite in the preface of a stream.
const INVITE_MODE: u8 = 2;
/// Bytes of a message of SPAKE2: its side, and a point of the curve.
const EXCHANGE_BYTES: usize = 33;
/// What the inviter answers to a wrong code: an empty handshake message.
const REFUSAL: [u8; 2] = [0; 2];
/// Bytes that may wait for the rest of a message. The longest secret needs 5.5 KB.
const INVITE_BUFFER_MAX_BYTES: usize = 16 * 1024;

/// Why an invite's stream must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InviteError {
    /// The bytes are no stream of an invite, or break its rules.
    Malformed,
    /// The peer knows another code. The inviter has appended a refusal to the bytes to send. The
    /// newcomer learns it from the refusal, or from an answer that does not prove the code.
    WrongCode,
}

/// What follows the handshake of an invite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InviteMessage {
    /// The newcomer names itself.
    Join(Peer),
    /// The inviter names itself, and gives the secret of its network.
    Secret {
        /// The inviter.
        inviter: Peer,
        /// The secret, without a line end.
        secret: Vec<u8>,
    },
    /// The newcomer has stored the secret.
    Joined,
}

#[derive(Serialize, Deserialize)]
struct InviteFields {
    #[serde(rename = "type")]
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<PeerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl InviteMessage {
    /// Parses the payload of a frame. `None`: it is malformed or of an unknown type.
    pub fn parse(bytes: &[u8]) -> Option<InviteMessage> {
        let fields: InviteFields = parse_json(bytes)?;
        let peer = |fields: InviteFields| {
            Some(Peer {
                id: fields.sender?,
                nick: Nick::new_or_placeholder(&fields.username?),
            })
        };
        Some(match fields.kind.as_str() {
            "join" => InviteMessage::Join(peer(fields)?),
            "secret" => {
                let secret = fields.secret.as_deref()?.as_bytes();
                let secret = BASE64URL_NOPAD.decode(secret)?;
                let range = SECRET_MIN_BYTES..=SECRET_MAX_BYTES;
                range.contains(&secret.len()).then_some(())?;
                let inviter = peer(fields)?;
                InviteMessage::Secret { inviter, secret }
            }
            "joined" => InviteMessage::Joined,
            _ => return None,
        })
    }

    /// Encodes the message as JSON.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, peer, secret) = match self {
            InviteMessage::Join(peer) => ("join", Some(peer), None),
            InviteMessage::Secret { inviter, secret } => ("secret", Some(inviter), Some(secret)),
            InviteMessage::Joined => ("joined", None, None),
        };
        let fields = InviteFields {
            kind: kind.to_owned(),
            sender: peer.map(|peer| peer.id),
            username: peer.map(|peer| peer.nick.to_string()),
            secret: secret.map(|secret| BASE64URL_NOPAD.encode(secret)),
        };
        serde_json::to_vec(&fields).unwrap_or_default()
    }

    fn sender(&self) -> Option<&PeerId> {
        match self {
            InviteMessage::Join(peer) | InviteMessage::Secret { inviter: peer, .. } => {
                Some(&peer.id)
            }
            InviteMessage::Joined => None,
        }
    }
}

/// Gives the generator of this program to spake2, which knows the traits of rand_core 0.6.
struct ExchangeRng(ChaCha20Rng);

impl rand_core::RngCore for ExchangeRng {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }
    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }
    fn fill_bytes(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), rand_core::Error> {
        self.0.fill_bytes(out);
        Ok(())
    }
}

impl rand_core::CryptoRng for ExchangeRng {}

enum Stage {
    /// Waits for the peer's message of SPAKE2. `own` is ours.
    Exchange {
        state: Box<Spake2<Ed25519Group>>,
        own: Vec<u8>,
    },
    /// `has_answered`: we have answered a message of the peer, so it knows the code.
    Noise {
        handshake: Box<Handshake>,
        has_answered: bool,
    },
    Open(Box<Channel>),
    Broken,
}

/// One side of an invite's stream.
pub struct InviteStream {
    role: Role,
    noise_secret: [u8; 32],
    noise_seed: [u8; 32],
    stage: Stage,
    /// Received bytes of the preface and of the peer's message of SPAKE2.
    received: Vec<u8>,
}

impl InviteStream {
    /// Starts a stream. For the newcomer ([`Role::Initiator`]), appends the first bytes to send to
    /// `out`. `noise_secret` is our X25519 key. `seed` must be fresh random bytes.
    pub fn new(
        role: Role,
        code: &InviteCode,
        noise_secret: [u8; 32],
        seed: [u8; 32],
        out: &mut Vec<u8>,
    ) -> InviteStream {
        let mut random = ChaCha20Rng::from_seed(seed);
        let mut noise_seed = [0; 32];
        random.fill_bytes(&mut noise_seed);
        let password = Password::new(code.to_string());
        let sides = [&b"newcomer"[..], b"inviter"].map(Side::new);
        let random = ExchangeRng(random);
        let (state, own) = match role {
            Role::Initiator => Spake2::start_a_with_rng(&password, &sides[0], &sides[1], random),
            Role::Responder => Spake2::start_b_with_rng(&password, &sides[0], &sides[1], random),
        };
        if role == Role::Initiator {
            out.extend_from_slice(&preface(INVITE_MODE));
            out.extend_from_slice(&own);
        }
        InviteStream {
            role,
            noise_secret,
            noise_seed,
            stage: Stage::Exchange {
                state: Box::new(state),
                own,
            },
            received: Vec::new(),
        }
    }

    /// Processes received bytes. Appends the bytes to send to `out`, and complete messages to
    /// `messages`. Their senders are proven. Ignores messages of unknown types.
    ///
    /// # Errors
    /// The stream must be closed.
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        out: &mut Vec<u8>,
        messages: &mut Vec<InviteMessage>,
    ) -> Result<(), InviteError> {
        if matches!(self.stage, Stage::Exchange { .. }) {
            bytes = self.exchange(bytes, out)?;
        }
        match &mut self.stage {
            Stage::Exchange { .. } => Ok(()),
            Stage::Noise { .. } => self.handshake(bytes, out, messages),
            Stage::Open(channel) => {
                let result = open(channel, bytes, messages);
                if result.is_err() {
                    self.stage = Stage::Broken;
                }
                result
            }
            Stage::Broken => Err(InviteError::Malformed),
        }
    }

    /// Completes the exchange of SPAKE2, once all bytes of the peer are there. Returns the bytes
    /// that follow.
    fn exchange<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut Vec<u8>,
    ) -> Result<&'a [u8], InviteError> {
        let prologue = preface(INVITE_MODE);
        // Only the dialer sends the preface.
        let expected = &prologue[..match self.role {
            Role::Initiator => 0,
            Role::Responder => prologue.len(),
        }];
        let wanted = expected.len() + EXCHANGE_BYTES;
        let taken = bytes.len().min(wanted - self.received.len());
        self.received.extend_from_slice(&bytes[..taken]);
        let start_bytes = expected.len().min(self.received.len());
        let (start, theirs) = self.received.split_at(start_bytes);
        if !expected.starts_with(start) {
            self.stage = Stage::Broken;
            return Err(InviteError::Malformed);
        }
        if theirs.len() == EXCHANGE_BYTES
            && let Stage::Exchange { state, own } =
                std::mem::replace(&mut self.stage, Stage::Broken)
        {
            let key = state.finish(theirs).map_err(|_| InviteError::Malformed)?;
            let Hash(psk) = Hash::of(&[domain::INVITE_KEY, &key]);
            let mut sent = Vec::new();
            if self.role == Role::Responder {
                sent.extend_from_slice(&own);
            }
            let handshake = Handshake::after_preface(
                self.role,
                &self.noise_secret,
                Some(&psk),
                &prologue,
                self.noise_seed,
                &mut sent,
            );
            self.stage = Stage::Noise {
                handshake: Box::new(handshake.map_err(|_| InviteError::Malformed)?),
                has_answered: false,
            };
            out.append(&mut sent);
        }
        Ok(&bytes[taken..])
    }

    fn handshake(
        &mut self,
        bytes: &[u8],
        out: &mut Vec<u8>,
        messages: &mut Vec<InviteMessage>,
    ) -> Result<(), InviteError> {
        let Stage::Noise {
            handshake,
            has_answered,
        } = &mut self.stage
        else {
            return Err(InviteError::Malformed);
        };
        let length = out.len();
        match handshake.feed(bytes, out) {
            Ok(HandshakeStatus::Incomplete) => {
                *has_answered |= out.len() > length;
                Ok(())
            }
            Ok(HandshakeStatus::Complete {
                transport,
                consumed_bytes,
            }) => {
                self.stage = Stage::Open(Box::new(Channel::new(transport)));
                self.feed(&bytes[consumed_bytes..], out, messages)
            }
            Err(_) => {
                let is_first = !*has_answered;
                self.stage = Stage::Broken;
                if is_first && self.role == Role::Responder {
                    out.extend_from_slice(&REFUSAL);
                }
                Err(match is_first {
                    true => InviteError::WrongCode,
                    false => InviteError::Malformed,
                })
            }
        }
    }

    /// Whether the handshake is complete: the peer knows the code, and has proved its key.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Encrypts a message, and appends it to `out`.
    ///
    /// # Errors
    /// The handshake is not complete.
    pub fn send(&mut self, message: &InviteMessage, out: &mut Vec<u8>) -> Result<(), InviteError> {
        let Stage::Open(channel) = &mut self.stage else {
            return Err(InviteError::Malformed);
        };
        let mut frame = Vec::new();
        write_frame(FrameKind::Message, &message.encode(), &mut frame);
        let sealed = channel.seal(&frame, out);
        sealed.map_err(|_| InviteError::Malformed)
    }
}

fn open(
    channel: &mut Channel,
    bytes: &[u8],
    messages: &mut Vec<InviteMessage>,
) -> Result<(), InviteError> {
    let (mut buffer, mut frames) = (Vec::new(), Vec::new());
    let opened = channel.open(bytes, &mut buffer, &mut frames);
    opened.map_err(|_| InviteError::Malformed)?;
    if channel.buffered_bytes() > INVITE_BUFFER_MAX_BYTES {
        return Err(InviteError::Malformed);
    }
    let key = channel.remote_static_key();
    let is_message = |frame: &Frame| frame.kind == FrameKind::Message;
    for frame in frames.iter().filter(|frame| is_message(frame)) {
        let Some(message) = InviteMessage::parse(&frame.payload) else {
            continue;
        };
        let is_proven = |id: &PeerId| id.noise_key() == Some(key);
        if !message.sender().is_none_or(is_proven) {
            return Err(InviteError::Malformed);
        }
        messages.push(message);
    }
    Ok(())
}
