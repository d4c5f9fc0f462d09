//! The bytes of beacons, messages, frames, handshakes and sealed lines, pinned by the files in
//! `tests/vectors`.
use data_encoding::BASE64URL_NOPAD;
use p2pchat::base::batch::batch::{Batch, LogId};
use p2pchat::base::identity::Hash;
use p2pchat::base::name::{Nick, Room, Target};
#[cfg(feature = "profile")]
use p2pchat::base::presence::profile::{Avatar, Profile};
use p2pchat::base::range::LogRange;
use p2pchat::base::time::WallTime;
use p2pchat::wire::beacon::{self, Beacon, BeaconKind};
use p2pchat::wire::channel::Channel;
use p2pchat::wire::code::{ConnectionCode, DEFAULT_PORT};
use p2pchat::wire::frame::{Frame, FrameDecoder, FrameKind, write_frame};
use p2pchat::wire::message::{
    ByeReason, Have, HaveEntry, Hello, Member, Members, Message, WantEntry, heads_digest,
    members_digest, receipt, room_hash,
};
use p2pchat::wire::noise::{Handshake, HandshakeStatus, KeyPair, Role, StaticKey};
#[cfg(feature = "profile")]
use p2pchat::wire::profile::file::{format_file, parse_file};
#[cfg(feature = "profile")]
use p2pchat::wire::profile::messages::{ProfileReply, ProfileRequest};
use p2pchat::wire::sealed;
use p2pchat::wire::secret::NetworkKeys;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore as _, SeedableRng as _};

use crate::vector_files::{Vector, shown_lines, vector, vectors};

fn room(name: &str) -> Room {
    Room::new(name).expect("a room")
}

/// The program encodes the message to exactly the JSON in the field `name`, and parses it back.
fn assert_message(vector: &Vector, name: &str, message: Message) {
    vector.check(name, std::str::from_utf8(&message.encode()).expect("JSON"));
    assert_eq!(Message::parse(vector.text(name).as_bytes()), Some(message));
}

/// The hashes on a link of the vector's rooms.
fn room_hashes(vector: &Vector) -> Vec<String> {
    let rooms = vector.texts("room").into_iter();
    let handshake = vector.key("handshake_hash");
    rooms
        .map(|name| room_hash(&handshake, &room(name)))
        .collect()
}

#[test]
fn network_keys() {
    let vector = vector("network_keys.txt");
    for line_end in ["", "\n", "\r\n"] {
        let content = vector.text("secret").to_owned() + line_end;
        let keys = NetworkKeys::derive(content.as_bytes()).expect("keys");
        vector.check_bytes("network", &keys.network().0);
        vector.check_bytes("handshake_key", keys.psk());
        vector.check_bytes("beacon_key", keys.beacon_key());
    }
}

#[test]
fn a_connection_code() {
    let vector = vector("connection_code.txt");
    vector.check("default_port", &DEFAULT_PORT.to_string());
    let addresses = vector.texts("address").into_iter();
    let code = ConnectionCode {
        id: vector.id("id"),
        addresses: addresses.map(|a| a.parse().expect("an address")).collect(),
    };
    vector.check("code", &code.to_string());
    assert_eq!(vector.text("code").parse(), Ok(code));
}

/// Checks the datagram of a beacon, sealed with the keys of a closed network if there are any.
fn assert_beacon(vector: &Vector, keys: Option<&NetworkKeys>, random: [u8; 24]) {
    let network = keys.map_or_else(|| vector.network(), NetworkKeys::network);
    let key = keys.map(NetworkKeys::beacon_key);
    let run = vector.hex64("run");
    let rooms = vector.texts("room").into_iter();
    let beacon = Beacon {
        kind: match vector.text("type") {
            "discover" => BeaconKind::Discover,
            _ => BeaconKind::Leave,
        },
        peer: vector.id("peer_id"),
        nick: Nick::new(vector.text("username")).expect("a name"),
        port: vector.number("port"),
        run,
        counter: vector.number("counter"),
        interval_ms: vector.number("interval"),
        transient: vector.flag("passing"),
        room_hashes: rooms
            .map(|name| beacon::room_hash(&network, run, &room(name)))
            .collect(),
        has_more_rooms: vector.flag("more"),
    };
    let datagram = beacon.encode(&network, key, &random);
    vector.check("datagram", std::str::from_utf8(&datagram).expect("JSON"));
    let datagram = vector.text("datagram").as_bytes();
    assert_eq!(Beacon::parse(datagram, &network, key), Some(beacon));
}

#[test]
fn beacons_of_the_open_network() {
    for vector in vectors("beacon_open.txt") {
        assert_beacon(&vector, None, [0; 24]);
    }
}

#[test]
fn a_beacon_of_a_closed_network() {
    let vector = vector("beacon_closed.txt");
    let keys = NetworkKeys::derive(vector.text("secret").as_bytes()).expect("keys");
    let random = vector.bytes("random").try_into().expect("24 bytes");
    assert_beacon(&vector, Some(&keys), random);
}

#[test]
fn hello() {
    for vector in vectors("hello.txt") {
        let hello = Hello {
            sender: vector.id("sender"),
            username: vector.text("username").to_owned(),
            run: vector.hex64("run"),
            age: vector.number("age"),
            wall: WallTime(vector.number("wall")),
            rooms: room_hashes(&vector),
            port: vector.number("port"),
            passing: vector.flag("passing"),
            ephemeral: vector.flag("ephemeral"),
            members_digests: vector.flag("members_digests"),
        };
        assert_message(&vector, "json", Message::Hello(hello));
    }
}

#[test]
fn rooms() {
    let vector = vector("rooms.txt");
    let rooms = room_hashes(&vector);
    assert_message(&vector, "json", Message::Rooms { rooms });
}

/// The log of an entry, whose author is its field `sender`.
fn entry_log(vector: &Vector) -> LogId {
    LogId {
        target: Target::parse(vector.text("target")).expect("a target"),
        author: vector.id("sender"),
        incarnation: vector.hex64("incarnation"),
    }
}

/// An optional line. Absent: 1.
fn complete_from(vector: &Vector) -> u64 {
    let line = vector.get("complete_from");
    line.map_or(1, |_| vector.number("complete_from"))
}

fn have_entry(vector: &Vector) -> HaveEntry {
    let (log, high) = (entry_log(vector), vector.number("high"));
    let hash = vector.hash("hash");
    let complete_from = complete_from(vector);
    let signature = vector.get("signer_seed").map(|_| {
        let receipt = receipt(&vector.network(), &log, complete_from, high, &hash);
        BASE64URL_NOPAD.encode(&vector.identity("signer_seed").sign(&receipt.0))
    });
    HaveEntry {
        sender: log.author,
        incarnation: vector.text("incarnation").to_owned(),
        low: vector.number("low"),
        high,
        hash,
        complete_from,
        read: vector.get("read").map_or(0, |_| vector.number("read")),
        holder: vector.get("holder").map(|_| vector.id("holder")),
        signature,
    }
}

#[test]
fn have() {
    for vector in vectors("have.txt") {
        let entry = vector.get("sender").map(|_| have_entry(&vector));
        let have = Have {
            target: vector.text("target").to_owned(),
            logs: entry.into_iter().collect(),
            digest: vector.get("digest").map(str::to_owned),
        };
        assert_message(&vector, "json", Message::Have(have));
    }
}

#[test]
fn want() {
    for vector in vectors("want.txt") {
        let entry = WantEntry {
            sender: vector.id("sender"),
            incarnation: vector.text("incarnation").to_owned(),
            from: vector.number("from"),
            to: vector.number("to"),
        };
        let target = vector.text("target").to_owned();
        let logs = vec![entry];
        assert_message(&vector, "json", Message::Want { target, logs });
    }
}

#[test]
fn clock() {
    let vector = vector("clock.txt");
    let clock = Message::Clock {
        peer: vector.id("peer"),
        run: vector.hex64("run"),
        age: vector.number("age"),
        wall: WallTime(vector.number("wall")),
    };
    assert_message(&vector, "json", clock);
}

#[test]
fn members() {
    for vector in vectors("members.txt") {
        let member = Member {
            peer: vector.id("peer"),
            username: vector.text("username").to_owned(),
            run: vector.hex64("run"),
            hops: vector.number("hops"),
            via: vector.get("via").map(|_| vector.id("via")),
            await_ms: vector.get("await_ms").map(|_| vector.number("await_ms")),
        };
        let members = Members {
            target: vector.text("target").to_owned(),
            here: vec![member],
            gone: vector
                .get("gone")
                .map(|_| vector.id("gone"))
                .into_iter()
                .collect(),
        };
        assert_message(&vector, "json", Message::Members(members));
    }
}

#[test]
fn members_digest_and_request() {
    let vector = vector("members_digest.txt");
    let target = vector.text("target").to_owned();
    let members: Vec<Member> = vector.texts("member").into_iter().map(member).collect();
    let sender = vector.text("sender").parse().expect("an id");
    let digest = members_digest(&sender, &members);
    let request = Message::MembersRequest {
        target: target.clone(),
    };
    assert_message(&vector, "digest", Message::MembersDigest { target, digest });
    assert_message(&vector, "request", request);
}

/// A member as its key, its run and its name.
fn member(text: &str) -> Member {
    let [peer, run, name] = text.split(' ').collect::<Vec<_>>()[..] else {
        panic!("three words");
    };
    Member {
        peer: peer.parse().expect("an id"),
        username: name.to_owned(),
        run: u64::from_str_radix(run, 16).expect("hex"),
        hops: 1,
        via: None,
        await_ms: None,
    }
}

#[test]
fn ping_and_pong() {
    let vector = vector("ping_pong.txt");
    let nonce = vector.number("nonce");
    assert_message(&vector, "ping", Message::Ping { nonce });
    assert_message(&vector, "pong", Message::Pong { nonce });
}

#[test]
fn heard_beacons() {
    let vector = vector("heard.txt");
    let age = Some(vector.number("age"));
    assert_message(&vector, "request", Message::HeardRequest);
    assert_message(&vector, "reply", Message::HeardReply { age });
    assert_message(&vector, "none", Message::HeardReply { age: None });
}

#[test]
fn profile() {
    let vector = vector("profile.txt");
    let username = vector.text("username").to_owned();
    assert_message(&vector, "json", Message::Profile { username });
}

#[cfg(feature = "profile")]
#[test]
fn profiles_on_request() {
    let vectors = vectors("profile_reply.txt");
    for (vector, avatar_from) in vectors.iter().zip([None, None, Some(0)]) {
        let version = match avatar_from {
            None if vector.text("json").len() < 30 => 0,
            _ => vector.number("version"),
        };
        let request = ProfileRequest {
            version,
            avatar_from,
        };
        assert_message(vector, "json", Message::ProfileRequest(request));
    }
    let version = vectors[3].number("version");
    let mut profile = Profile::new(vectors[3].text("name"), vectors[3].text("status"), None);
    let size = vectors[3].number("avatar_bytes");
    profile.avatar = Avatar::without_data(vectors[3].text("avatar_type"), size);
    let whole = ProfileReply::new(version, &profile);
    assert_eq!(whole.profile(), Some(profile));
    assert_message(&vectors[3], "json", Message::ProfileReply(whole));
    let short = ProfileReply {
        version,
        ..ProfileReply::default()
    };
    assert_message(&vectors[4], "json", Message::ProfileReply(short.clone()));
    let part = ProfileReply {
        avatar_from: Some(0),
        avatar: Some(vectors[5].text("avatar").to_owned()),
        ..short
    };
    assert_message(&vectors[5], "json", Message::ProfileReply(part));
}

/// The file in which our own profile is kept.
/// Numbers beyond any picture cost the picture, on each CPU.
#[cfg(feature = "profile")]
#[test]
fn a_profile_with_too_large_a_picture() {
    for number in [1 << 32, u64::MAX] {
        let text = format!(
            r#"{{"type":"profile_reply","version":3,"fields":[],"avatar_type":"image/png","avatar_bytes":{number},"avatar_from":{number}}}"#
        );
        let Some(Message::ProfileReply(reply)) = Message::parse(text.as_bytes()) else {
            panic!("{text}");
        };
        assert_eq!(reply.profile(), Some(Profile::default()));
        let text = format!(r#"{{"type":"profile_request","version":3,"avatar_from":{number}}}"#);
        let parsed = Message::parse(text.as_bytes());
        assert!(matches!(parsed, Some(Message::ProfileRequest(_))), "{text}");
    }
}

#[cfg(feature = "profile")]
#[test]
fn a_profile_in_a_file() {
    let text = format!("{}\n", vectors("profile_reply.txt")[6].text("file"));
    let profile = Profile::new("", "busy", Avatar::new("image/png", "iVBO"));
    assert_eq!(format_file(&profile), text);
    assert_eq!(parse_file(&text), profile);
    for damaged in ["", "{", "[]", &text[1..]] {
        assert_eq!(parse_file(damaged), Profile::default(), "{damaged}");
    }
}

#[test]
fn typing() {
    let vector = vector("typing.txt");
    let target = vector.text("target").to_owned();
    assert_message(&vector, "json", Message::Typing { target });
}

#[test]
fn presence() {
    let vectors = vectors("presence.txt");
    let away = Some(vectors[0].text("away").to_owned());
    assert_message(&vectors[0], "json", Message::Presence { away });
    assert_message(&vectors[1], "json", Message::Presence { away: None });
}

#[test]
fn peers() {
    let vector = vector("peers.txt");
    let codes = vector.texts("peer").into_iter();
    let peers = codes.map(str::to_owned).collect();
    assert_message(&vector, "json", Message::Peers { peers });
}

#[test]
fn bye() {
    let vectors = vectors("bye.txt");
    let reasons = [
        ByeReason::Leave,
        ByeReason::Duplicate,
        ByeReason::DuplicateIdentity,
        ByeReason::Full,
        ByeReason::UnexpectedPeer,
        ByeReason::InvalidMessage,
        ByeReason::Silent,
        ByeReason::Banned,
        ByeReason::Unknown,
    ];
    assert_eq!(vectors.len(), reasons.len());
    for (vector, reason) in vectors.iter().zip(reasons) {
        assert_eq!(format!("{reason:?}"), vector.text("name"));
        assert_message(vector, "json", Message::Bye { reason });
    }
}

#[test]
fn frames() {
    for vector in vectors("frames.txt") {
        let kind = match vector.text("kind") {
            "message" => FrameKind::Message,
            _ => FrameKind::Batch,
        };
        let payload = vector.text("payload").as_bytes().to_vec();
        let mut encoded = Vec::new();
        write_frame(kind, &payload, &mut encoded);
        vector.check_bytes("frame", &encoded);
        let mut frames = Vec::new();
        let decoded = FrameDecoder::default().feed(&vector.bytes("frame"), &mut frames);
        assert!(decoded.is_ok());
        assert_eq!(frames, [Frame { kind, payload }]);
    }
}

#[test]
fn receipts() {
    for vector in vectors("receipt.txt") {
        let (high, batch_hash) = (vector.number("high"), vector.hash("batch_hash"));
        let (network, log) = (vector.network(), vector.log());
        let hash = receipt(&network, &log, complete_from(&vector), high, &batch_hash);
        vector.check("hash", &hash.to_string());
        let signature = vector.identity("signer_seed").sign(&hash.0);
        vector.check("signature", &BASE64URL_NOPAD.encode(&signature));
    }
}

#[test]
fn hashes_of_rooms() {
    for vector in vectors("room_hashes.txt") {
        let room = room(vector.text("room"));
        let on_link = room_hash(&vector.key("handshake_hash"), &room);
        vector.check("on_link", &on_link);
        let in_beacon = beacon::room_hash(&vector.network(), vector.hex64("run"), &room);
        vector.check("in_beacon", &format!("{in_beacon:08x}"));
    }
}

/// The range of a log with this head: `author incarnation high hash`.
fn range(text: &str) -> LogRange {
    let words: Vec<&str> = text.split(' ').collect();
    let log = LogId {
        target: Target::Room(Room::general()),
        author: words[0].parse().expect("an id"),
        incarnation: u64::from_str_radix(words[1], 16).expect("hex"),
    };
    LogRange {
        log,
        low: 1,
        high: words[2].parse().expect("a sequence"),
        hash: Hash::parse(words[3]).expect("a hash"),
        lamport: 1,
        republishes: None,
        begins_at: 1,
        lost_below: 1,
        news_from: None,
        gaps: Vec::new(),
    }
}

#[test]
fn the_digest_of_heads() {
    for vector in vectors("heads_digest.txt") {
        let ranges: Vec<LogRange> = vector.texts("log").into_iter().map(range).collect();
        vector.check("digest", &heads_digest(ranges.iter()));
    }
}

#[test]
fn direct_batches() {
    for vector in vectors("batch_direct.txt") {
        assert_sealed_lines(&vector);
        let signed = vector.sign(Some(vector.text("sealed")));
        vector.check(
            "json",
            std::str::from_utf8(signed.as_bytes()).expect("JSON"),
        );
        vector.check("hash", &signed.hash.to_string());
        vector.check_content_hash(&signed);
        let network = vector.network();
        let json = vector.text("json").as_bytes().to_vec();
        let mut parsed = Batch::parse(json, &network).expect("a batch");
        vector.assert_fields(&parsed);
        assert!(shown_lines(&parsed).is_empty());
        let recipient = vector.identity("recipient_seed");
        let opened = sealed::open(&recipient, &network, &parsed).expect("the recipient opens it");
        assert!(parsed.set_plaintext(opened));
        assert_eq!(shown_lines(&parsed), vector.texts("line"));
    }
}

/// The program seals the lines of a direct batch to exactly the bytes of the vector.
fn assert_sealed_lines(vector: &Vector) {
    let lines = vector.lines();
    let seed = vector.key("seal_seed");
    vector.check_bytes("ephemeral_secret", &ephemeral_secret(seed));
    vector.check_bytes("plaintext", lines.as_str().as_bytes());
    let sequence = vector.number("sequence");
    let sealed = sealed::seal(seed, &vector.network(), &vector.log(), sequence, &lines);
    vector.check("sealed", &sealed.expect("a recipient"));
    let sealed = BASE64URL_NOPAD.decode(vector.text("sealed").as_bytes());
    let ephemeral = KeyPair::new(&vector.key("ephemeral_secret"));
    assert_eq!(sealed.expect("base64")[..32], *ephemeral.public());
}

/// The X25519 secret that the program draws from a generator with this seed.
fn ephemeral_secret(seed: [u8; 32]) -> [u8; 32] {
    let mut secret = [0; 32];
    ChaCha20Rng::from_seed(seed).fill_bytes(&mut secret);
    secret
}

/// One side of a stream, and the name that it has in the vectors.
struct Side {
    role: Role,
    name: &'static str,
}

const DIALER: Side = Side {
    role: Role::Initiator,
    name: "dialer",
};
const ACCEPTOR: Side = Side {
    role: Role::Responder,
    name: "acceptor",
};

impl Side {
    fn field(&self, rest: &str) -> String {
        format!("{}_{rest}", self.name)
    }

    /// Starts the handshake of this side, with its fixed keys.
    fn start(&self, vector: &Vector, psk: Option<&[u8; 32]>, out: &mut Vec<u8>) -> Handshake {
        let seed = vector.key(&self.field("ephemeral_seed"));
        let secret = vector.identity(&self.field("seed")).noise_secret();
        let ephemeral = ephemeral_secret(seed);
        vector.check_bytes(&self.field("ephemeral_secret"), &ephemeral);
        Handshake::new(self.role, &StaticKey::new(&secret), psk, seed, out).expect("a handshake")
    }

    /// Feeds what the other side sent in one step to this side's handshake.
    fn feed(
        &self,
        handshake: &mut Handshake,
        received: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Channel> {
        match handshake.feed(received, out).expect("a valid handshake") {
            HandshakeStatus::Incomplete => None,
            HandshakeStatus::Complete {
                transport,
                consumed_bytes,
            } => {
                assert_eq!(consumed_bytes, received.len());
                Some(Channel::new(transport))
            }
        }
    }
}

/// Checks one encrypted message from one side to the other.
fn assert_sealed(
    vector: &Vector,
    from: &Side,
    step: u8,
    sender: &mut Channel,
    receiver: &mut Channel,
) {
    let text = vector.text(&from.field("message"));
    let message = Message::parse(text.as_bytes()).expect("a message");
    let mut sent = Vec::new();
    sender.seal_message(&message, &mut sent).expect("sealed");
    let field = from.field(&format!("sends_{step}"));
    vector.check_bytes(&field, &sent);
    let mut frames = Vec::new();
    let opened = receiver.open(&vector.bytes(&field), &mut Vec::new(), &mut frames);
    assert!(opened.is_ok());
    let payload = text.as_bytes().to_vec();
    let kind = FrameKind::Message;
    assert_eq!(frames, [Frame { kind, payload }]);
}

/// Checks all bytes of a stream, in both directions.
fn assert_stream(vector: &Vector, psk: Option<&[u8; 32]>) {
    let mut sent = Vec::new();
    let mut dialer = DIALER.start(vector, psk, &mut sent);
    vector.check_bytes("dialer_sends_1", &sent);
    let first = vector.bytes("dialer_sends_1");
    let ephemeral = vector.key("dialer_ephemeral_secret");
    assert_eq!(first[6..38], *KeyPair::new(&ephemeral).public());

    let mut sent = Vec::new();
    let mut acceptor = ACCEPTOR.start(vector, psk, &mut sent);
    assert!(ACCEPTOR.feed(&mut acceptor, &first, &mut sent).is_none());
    vector.check_bytes("acceptor_sends_2", &sent);

    let mut sent = Vec::new();
    let second = vector.bytes("acceptor_sends_2");
    let dialer = DIALER.feed(&mut dialer, &second, &mut sent);
    let mut dialer = dialer.expect("the dialer is done");
    vector.check_bytes("dialer_sends_3", &sent);

    let third = vector.bytes("dialer_sends_3");
    let acceptor = ACCEPTOR.feed(&mut acceptor, &third, &mut Vec::new());
    let mut acceptor = acceptor.expect("the acceptor is done");
    for (side, other) in [(&dialer, &ACCEPTOR), (&acceptor, &DIALER)] {
        vector.check_bytes("handshake_hash", side.handshake_hash());
        let id = vector.identity(&other.field("seed")).id();
        assert_eq!(id.noise_key(), Some(side.remote_static_key()));
    }
    assert_sealed(vector, &DIALER, 4, &mut dialer, &mut acceptor);
    assert_sealed(vector, &ACCEPTOR, 5, &mut acceptor, &mut dialer);
}

#[test]
fn a_stream_of_the_open_network() {
    assert_stream(&vector("noise_xx.txt"), None);
}

#[test]
fn a_stream_of_a_closed_network() {
    let vector = vector("noise_xxpsk0.txt");
    let keys = NetworkKeys::derive(vector.text("secret").as_bytes()).expect("keys");
    assert_stream(&vector, Some(keys.psk()));
}
