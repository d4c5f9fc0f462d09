//! Scripted peers: a test speaks the protocol itself to one node, well or badly.
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::event::input::Input;
use p2pchat::base::event::stream_id::StreamId;
use p2pchat::base::identity::{Hash, Identity, NetworkTag, PeerId};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::range::LogRange;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::wire::frame::{self, Frame, FrameDecoder, FrameKind};
use p2pchat::wire::message::{Have, HaveEntry, Hello, Message, format_incarnation, room_hash};
use p2pchat::wire::noise::{Handshake, HandshakeStatus, Role, StaticKey, Transport};

use crate::support::lan::Lan;
use crate::support::peer::{PeerIndex, lines};

/// Where scripted peers seem to come from.
pub fn source_address() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 200], 5000))
}

/// A peer whose every message the test chooses. Its stream leads out of the LAN; the handshake
/// and cipher are real.
pub struct ScriptedPeer {
    pub identity: Identity,
    target: PeerIndex,
    pub stream: StreamId,
    transport: Box<Transport>,
    decoder: FrameDecoder,
}

/// Opens a stream to the node, without any bytes.
pub fn open_stream(lan: &mut Lan, victim: PeerIndex, n: u64) -> StreamId {
    open_stream_from(lan, victim, n, source_address())
}

/// Opens a stream from this address, without any bytes.
pub fn open_stream_from(lan: &mut Lan, victim: PeerIndex, n: u64, address: SocketAddr) -> StreamId {
    let stream = StreamId::accepted(10_000 + n);
    lan.external_writes.insert((victim, stream), Vec::new());
    lan.feed(victim, Input::Accepted { stream, address });
    stream
}

impl ScriptedPeer {
    /// The identity of the scripted peer with this number.
    pub fn identity(n: u64) -> Identity {
        let seed = [[n as u8; 16], [1 + (n >> 8) as u8; 16]].concat();
        Identity::from_seed(&seed.try_into().unwrap_or([0; 32]))
    }

    /// Completes the Noise handshake with the node `target`, and sends no hello. `n` determines
    /// key and stream.
    pub fn handshake(lan: &mut Lan, victim: PeerIndex, n: u64) -> ScriptedPeer {
        let identity = ScriptedPeer::identity(n);
        ScriptedPeer::handshake_from(lan, victim, n, identity, source_address())
    }

    /// The same with this key, from this address.
    pub fn handshake_from(
        lan: &mut Lan,
        victim: PeerIndex,
        n: u64,
        identity: Identity,
        address: SocketAddr,
    ) -> ScriptedPeer {
        let stranger = ScriptedPeer::try_handshake_from(lan, victim, n, identity, address);
        stranger.expect("a handshake")
    }

    /// The same. `None`: the node refuses the handshake.
    pub fn try_handshake_from(
        lan: &mut Lan,
        victim: PeerIndex,
        n: u64,
        identity: Identity,
        address: SocketAddr,
    ) -> Option<ScriptedPeer> {
        lan.invariants.external_links += 1;
        let stream = open_stream_from(lan, victim, n, address);
        let mut out = Vec::new();
        let secret = identity.noise_secret();
        let mut handshake = Handshake::new(
            Role::Initiator,
            &StaticKey::new(&secret),
            None,
            [n as u8; 32],
            &mut out,
        )
        .expect("a handshake");
        lan.feed(
            victim,
            Input::Bytes {
                stream,
                bytes: &out,
            },
        );
        let answer = lan.take_external_writes(victim, stream);
        let mut out = Vec::new();
        let Ok(HandshakeStatus::Complete {
            transport: session, ..
        }) = handshake.feed(&answer, &mut out)
        else {
            return None;
        };
        lan.feed(
            victim,
            Input::Bytes {
                stream,
                bytes: &out,
            },
        );
        Some(ScriptedPeer {
            identity,
            target: victim,
            stream,
            transport: session,
            decoder: FrameDecoder::default(),
        })
    }

    /// Completes the handshake and sends a valid hello.
    pub fn connect(lan: &mut Lan, victim: PeerIndex, n: u64) -> ScriptedPeer {
        let mut stranger = ScriptedPeer::handshake(lan, victim, n);
        let hello = stranger.hello();
        stranger.send(lan, &hello);
        stranger
    }

    /// A valid hello for this link.
    pub fn hello(&self) -> Message {
        Message::Hello(Hello {
            sender: self.identity.id(),
            username: "mallory".into(),
            run: 5,
            age: 1,
            wall: WallTime(1_800_000_000_000),
            rooms: vec![room_hash(&self.transport.handshake_hash, &Room::general())],
            port: 9999,
            passing: false,
            ephemeral: false,
            members_digests: false,
        })
    }

    /// Encrypts these bytes and sends them, whether or not they are frames.
    pub fn send_plaintext(&mut self, lan: &mut Lan, plain: &[u8]) {
        let mut bytes = Vec::new();
        self.transport.seal(plain, &mut bytes).expect("sealed");
        let stream = self.stream;
        lan.feed(
            self.target,
            Input::Bytes {
                stream,
                bytes: &bytes,
            },
        );
    }

    /// Sends a frame of this kind.
    pub fn send_frame(&mut self, lan: &mut Lan, kind: FrameKind, payload: &[u8]) {
        let mut plain = Vec::new();
        frame::write_frame(kind, payload, &mut plain);
        self.send_plaintext(lan, &plain);
    }

    /// Sends frames with these batches, which arrive in one turn.
    pub fn send_batches(&mut self, lan: &mut Lan, batches: &[&Batch]) {
        let mut plain = Vec::new();
        for batch in batches {
            frame::write_frame(FrameKind::Batch, batch.as_bytes(), &mut plain);
        }
        self.send_plaintext(lan, &plain);
    }

    /// Sends a message.
    pub fn send(&mut self, lan: &mut Lan, message: &Message) {
        self.send_frame(lan, FrameKind::Message, &message.encode());
    }

    /// Its own log in #general.
    pub fn log(&self) -> LogId {
        LogId {
            target: Target::Room(Room::general()),
            author: self.identity.id(),
            incarnation: 7,
        }
    }

    /// A batch of its own log, to be signed.
    pub fn unsigned_batch<'a>(
        &self,
        sequence: u64,
        previous: Option<Hash>,
        lines: &'a Lines,
    ) -> UnsignedBatch<'a> {
        UnsignedBatch {
            log: self.log(),
            username: Nick::new_or_placeholder("mallory"),
            sequence,
            lamport: sequence,
            timestamp: WallTime(0),
            run: 5,
            uptime: 1,
            republishes: None,
            salt: 9,
            previous,
            form: LineForm::Text,
            lines,
            sealed: None,
        }
    }

    /// A signed batch of one line of its own log.
    pub fn batch(&self, sequence: u64, previous: Option<Hash>, text: &str) -> Batch {
        let lines = lines(&[text]);
        let draft = self.unsigned_batch(sequence, previous, &lines);
        Batch::sign(&self.identity, &NetworkTag::OPEN, draft)
    }

    /// The messages that the node sent since the last call.
    pub fn receive_messages(&mut self, lan: &mut Lan) -> Vec<Message> {
        let frames = self.receive(lan).into_iter();
        frames
            .filter_map(|frame| Message::parse(&frame.payload))
            .collect()
    }

    /// The frames that the node sent since the last call.
    pub fn receive(&mut self, lan: &mut Lan) -> Vec<Frame> {
        let bytes = lan.take_external_writes(self.target, self.stream);
        let (mut frames, mut scratch) = (Vec::new(), Vec::new());
        let reader = &mut self.decoder;
        let each = |plain: &[u8]| reader.feed(plain, &mut frames).expect("frames");
        self.transport
            .open(&bytes, &mut scratch, each)
            .expect("sealed");
        frames
    }
}

/// The range of a log of which one line is stored, its first.
pub fn range_of_one_line(log: LogId, hash: Hash, lamport: u64) -> LogRange {
    LogRange {
        log,
        low: 1,
        high: 1,
        hash,
        lamport,
        republishes: None,
        begins_at: 1,
        lost_below: 1,
        news_from: None,
        gaps: Vec::new(),
    }
}

/// A claim to hold this range of an author's log.
pub fn have_entry(
    author: PeerId,
    incarnation: u64,
    range: RangeInclusive<u64>,
    hash: Hash,
) -> HaveEntry {
    HaveEntry {
        sender: author,
        incarnation: format_incarnation(incarnation),
        low: *range.start(),
        high: *range.end(),
        hash,
        complete_from: 1,
        read: 0,
        holder: None,
        signature: None,
    }
}

/// Claims about logs of #general.
pub fn general_have(logs: Vec<HaveEntry>) -> Have {
    Have {
        target: "#general".into(),
        logs,
        ..Have::default()
    }
}
