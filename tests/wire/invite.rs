//! Invites: what a newcomer with the code gets, and what everybody else gets.
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::Identity;
use p2pchat::base::name::Nick;
use p2pchat::wire::invite::{InviteError, InviteMessage, InviteStream};
use p2pchat::wire::invite_code::{InviteBeacon, InviteCode};
use p2pchat::wire::noise::Role;

use super::vector_files::{Vector, vector};

const SECRET: &[u8] = b"correct horse battery staple";

fn code(text: &str) -> InviteCode {
    text.parse().expect("a code")
}

fn peer(seed: [u8; 32], nick: &str) -> Peer {
    Peer {
        id: Identity::from_seed(&seed).id(),
        nick: Nick::new_or_placeholder(nick),
    }
}

/// A newcomer and an inviter, and the bytes that each has sent and the other has not read.
struct Pair {
    newcomer: InviteStream,
    inviter: InviteStream,
    to_inviter: Vec<u8>,
    to_newcomer: Vec<u8>,
}

impl Pair {
    fn new(newcomers_code: &str, inviters_code: &str) -> Pair {
        let secret = |seed| Identity::from_seed(&[seed; 32]).noise_secret();
        let (mut to_inviter, mut none) = (Vec::new(), Vec::new());
        let (dialer, acceptor) = (Role::Initiator, Role::Responder);
        let newcomer = code(newcomers_code);
        let newcomer = InviteStream::new(dialer, &newcomer, secret(1), [0x11; 32], &mut to_inviter);
        let inviter = code(inviters_code);
        let inviter = InviteStream::new(acceptor, &inviter, secret(2), [0x22; 32], &mut none);
        assert!(none.is_empty(), "an acceptor speaks first");
        Pair {
            newcomer,
            inviter,
            to_inviter,
            to_newcomer: Vec::new(),
        }
    }

    /// Passes bytes to the inviter, in pieces, until all are read.
    fn feed_inviter(&mut self, piece: usize) -> Result<Vec<InviteMessage>, InviteError> {
        let mut messages = Vec::new();
        for bytes in std::mem::take(&mut self.to_inviter).chunks(piece) {
            self.inviter
                .feed(bytes, &mut self.to_newcomer, &mut messages)?;
        }
        Ok(messages)
    }

    fn feed_newcomer(&mut self, piece: usize) -> Result<Vec<InviteMessage>, InviteError> {
        let mut messages = Vec::new();
        for bytes in std::mem::take(&mut self.to_newcomer).chunks(piece) {
            self.newcomer
                .feed(bytes, &mut self.to_inviter, &mut messages)?;
        }
        Ok(messages)
    }

    /// Completes the handshake.
    fn connect(&mut self, piece: usize) {
        assert_eq!(self.feed_inviter(piece), Ok(Vec::new()));
        assert_eq!(self.feed_newcomer(piece), Ok(Vec::new()));
        assert_eq!(self.feed_inviter(piece), Ok(Vec::new()));
        assert_eq!(self.feed_newcomer(piece), Ok(Vec::new()));
        assert!(self.newcomer.is_open() && !self.inviter.is_open());
    }
}

/// Who knows the code gets the secret, however the bytes are cut.
#[test]
fn the_newcomer_gets_the_secret() {
    for piece in [1, 7, 4096] {
        let mut pair = Pair::new("7-lusab-babad", "7 LUSAB babad");
        pair.connect(piece);
        let (alice, bob) = (peer([1; 32], "alice"), peer([2; 32], "bob"));
        let join = InviteMessage::Join(alice);
        pair.newcomer.send(&join, &mut pair.to_inviter).unwrap();
        assert_eq!(pair.feed_inviter(piece), Ok(vec![join]));
        let secret = InviteMessage::Secret {
            inviter: bob,
            secret: SECRET.to_vec(),
        };
        pair.inviter.send(&secret, &mut pair.to_newcomer).unwrap();
        assert_eq!(pair.feed_newcomer(piece), Ok(vec![secret]));
        let joined = InviteMessage::Joined;
        pair.newcomer.send(&joined, &mut pair.to_inviter).unwrap();
        assert_eq!(pair.feed_inviter(piece), Ok(vec![joined]));
    }
}

/// Who guesses the code is noticed with the first message that the guess encrypts, and gets only the
/// inviter's half of the exchange, which is independent of the code.
#[test]
fn a_wrong_code_gets_nothing() {
    for wrong in ["7-lusab-babaf", "8-lusab-babad"] {
        let mut pair = Pair::new(wrong, "7-lusab-babad");
        assert_eq!(pair.feed_inviter(4096), Ok(Vec::new()));
        assert_eq!(pair.to_newcomer.len(), 33);
        assert_eq!(pair.feed_newcomer(4096), Ok(Vec::new()));
        assert_eq!(pair.feed_inviter(4096), Err(InviteError::WrongCode));
        assert_eq!(pair.to_newcomer, [0; 2]);
        assert_eq!(pair.feed_newcomer(1), Err(InviteError::WrongCode));
        assert!(!pair.newcomer.is_open() && !pair.inviter.is_open());
        // The stream is dead: there is no second guess on it.
        let again = pair
            .inviter
            .feed(&[0; 50], &mut Vec::new(), &mut Vec::new());
        assert_eq!(again, Err(InviteError::Malformed));
        let secret = InviteMessage::Joined;
        assert!(pair.inviter.send(&secret, &mut Vec::new()).is_err());
    }
}

/// A man in the middle, who must take part on both sides to read anything, has one guess on each, and
/// is noticed on both. Bytes that he only passes on tell him nothing, and none can be changed.
#[test]
fn a_man_in_the_middle_gets_nothing() {
    // He answers the newcomer as the inviter, with a guess.
    let mut pair = Pair::new("7-lusab-babad", "7-bobob-bobob");
    pair.feed_inviter(4096).unwrap();
    assert_eq!(pair.feed_newcomer(4096), Ok(Vec::new()));
    assert_eq!(pair.feed_inviter(4096), Err(InviteError::WrongCode));
    assert!(!pair.newcomer.is_open());
    // He passes the messages on, and changes one bit.
    for flipped in 0..4 + 33 + 2 + 48 {
        let mut pair = Pair::new("7-lusab-babad", "7-lusab-babad");
        let mut sent = 0;
        let mut opened = Vec::new();
        for _ in 0..3 {
            let range = sent..sent + pair.to_inviter.len();
            if range.contains(&flipped) {
                pair.to_inviter[flipped - sent] ^= 1;
            }
            sent = range.end;
            opened.push(pair.feed_inviter(4096).is_ok());
            let _ = pair.feed_newcomer(4096);
        }
        assert!(!pair.inviter.is_open(), "byte {flipped}: {opened:?}");
    }
}

/// The names of both sides are those of the keys that the handshake proved.
#[test]
fn a_message_in_another_name_ends_the_stream() {
    let mut pair = Pair::new("7-lusab-babad", "7-lusab-babad");
    pair.connect(4096);
    let carol = InviteMessage::Join(peer([3; 32], "carol"));
    pair.newcomer.send(&carol, &mut pair.to_inviter).unwrap();
    assert_eq!(pair.feed_inviter(4096), Err(InviteError::Malformed));
}

/// A stream of another mode, and one that floods, end at once.
#[test]
fn other_streams_are_refused() {
    for start in [&b"P2\x02\x01"[..], b"P2\x02\x00", b"P3", b"GET"] {
        let mut pair = Pair::new("7-lusab-babad", "7-lusab-babad");
        pair.to_inviter = start.to_vec();
        assert_eq!(pair.feed_inviter(1), Err(InviteError::Malformed));
    }
    // A frame that never ends, from somebody who knows the code.
    let mut pair = Pair::new("7-lusab-babad", "7-lusab-babad");
    pair.connect(4096);
    let secret = InviteMessage::Secret {
        inviter: peer([1; 32], "alice"),
        secret: vec![0; 40_000],
    };
    pair.newcomer.send(&secret, &mut pair.to_inviter).unwrap();
    let last = pair.to_inviter.len() - 1;
    pair.to_inviter.truncate(last);
    assert_eq!(pair.feed_inviter(4096), Err(InviteError::Malformed));
}

/// Messages are pinned by the vectors. What is malformed is none; a secret outside its bounds is
/// malformed.
#[test]
fn malformed_messages_are_ignored() {
    let id = Identity::from_seed(&[1; 32]).id();
    for text in [
        "{}".to_owned(),
        r#"{"type":"join"}"#.to_owned(),
        format!(r#"{{"type":"join","sender":"{id}"}}"#),
        format!(r#"{{"type":"secret","sender":"{id}","username":"a"}}"#),
        format!(r#"{{"type":"secret","sender":"{id}","username":"a","secret":"c2hvcnQ"}}"#),
        format!(r#"{{"type":"join","sender":"{id}","username":"a","username":"b"}}"#),
        r#"{"type":"later"}"#.to_owned(),
    ] {
        assert_eq!(InviteMessage::parse(text.as_bytes()), None, "{text}");
    }
    let text = format!(r#"{{"type":"join","sender":"{id}","username":"a b"}}"#);
    let parsed = InviteMessage::parse(text.as_bytes());
    assert_eq!(parsed, Some(InviteMessage::Join(peer([1; 32], "a b"))));
}

/// A code is read back however it was heard; nothing else is one.
#[test]
fn codes_are_read_back() {
    for random in [[0; 32], [255; 32], *b"proquints of 32 bits are spoken!"] {
        let made = InviteCode::new(&random);
        assert!((1..=99).contains(&made.nameplate()));
        assert_eq!(made.to_string().parse(), Ok(made));
        let heard = made.to_string().to_uppercase().replace('-', " ");
        assert_eq!(heard.parse(), Ok(made));
    }
    // The example of the proquints' author: 127.0.0.1.
    let mut random = [0; 32];
    random[..5].copy_from_slice(&[98, 127, 0, 0, 1]);
    assert_eq!(InviteCode::new(&random).to_string(), "99-lusab-babad");
    // Codes with each consonant and each vowel.
    for (bytes, text) in [
        ([0x01, 0x23, 0x45, 0x67], "1-bahog-hijol"),
        ([0x89, 0xab, 0xcd, 0xef], "1-mokor-suloz"),
        ([0x10, 0x89, 0xa3, 0x4e], "1-dafan-patav"),
    ] {
        random[0] = 0;
        random[1..5].copy_from_slice(&bytes);
        assert_eq!(InviteCode::new(&random).to_string(), text);
    }
    for text in [
        "",
        "7",
        "7-lusab",
        "0-lusab-babad",
        "100-lusab-babad",
        "7-lusab-babad-b",
        "7-lusab-babax",
        "+7-lusab-babad",
        "7-lusab-babade",
        "7-lüsab-babad",
    ] {
        assert!(text.parse::<InviteCode>().is_err(), "{text}");
    }
    let long = "7-lusab-babad@10.0.0.7:1,[fd00::7]:2";
    let (parsed, endpoints) = InviteCode::parse_with_endpoints(long).unwrap();
    assert_eq!((parsed, endpoints.len()), (code("7-lusab-babad"), 2));
    let many = format!("7-lusab-babad@{}", ["10.0.0.7"; 9].join(","));
    for text in [
        "7-lusab-babad@",
        "7-lusab-babad@:",
        "7-lusab-babad@a,,b",
        &many,
    ] {
        assert!(InviteCode::parse_with_endpoints(text).is_err(), "{text}");
    }
}

/// An announcement leads to a nameplate and a port, and other datagrams to nothing.
#[test]
fn announcements_are_read_back() {
    let beacon = InviteBeacon {
        nameplate: 7,
        port: 9999,
        nonce: Some(u32::MAX),
    };
    assert_eq!(InviteBeacon::parse(&beacon.encode()), Some(beacon));
    let earlier = InviteBeacon::parse(br#"{"type":"invite","nameplate":7,"port":9999}"#);
    let nonce = None;
    assert_eq!(earlier, Some(InviteBeacon { nonce, ..beacon }));
    for text in [
        r#"{"type":"invite","nameplate":7,"port":0}"#.to_owned(),
        r#"{"type":"invite","nameplate":700,"port":1}"#.to_owned(),
        r#"{"type":"discover","nameplate":7,"port":1}"#.to_owned(),
        r#"{"type":"invite","nameplate":7}"#.to_owned(),
        r#"{"type":"invite","nameplate":7,"port":1,"nonce":4294967296}"#.to_owned(),
        format!(
            r#"{{"type":"invite","nameplate":7,"port":1{}}}"#,
            " ".repeat(1200)
        ),
    ] {
        assert_eq!(InviteBeacon::parse(text.as_bytes()), None, "{text}");
    }
}

/// All bytes of an invite, with fixed keys.
#[test]
fn the_bytes_of_an_invite() {
    let vector = vector("invite.txt");
    let role = |side: &str| {
        let secret = Identity::from_seed(&vector.key(&format!("{side}_seed"))).noise_secret();
        (secret, vector.key(&format!("{side}_random")))
    };
    let invite_code = code(vector.text("code"));
    let beacon = InviteBeacon {
        nameplate: invite_code.nameplate(),
        port: 9999,
        nonce: Some(0x1234_5678),
    };
    vector.check("announcement", &String::from_utf8(beacon.encode()).unwrap());
    let (mut sent, mut messages) = (Vec::new(), Vec::new());
    let (secret, random) = role("newcomer");
    let mut newcomer = InviteStream::new(Role::Initiator, &invite_code, secret, random, &mut sent);
    let (secret, random) = role("inviter");
    let mut none = Vec::new();
    let mut inviter = InviteStream::new(Role::Responder, &invite_code, secret, random, &mut none);
    let mut pass = |name: &str, sent: &mut Vec<u8>, to: &mut InviteStream| {
        vector.check_bytes(name, sent);
        let mut answer = Vec::new();
        to.feed(sent, &mut answer, &mut messages).expect(name);
        *sent = answer;
    };
    pass("newcomer_sends_1", &mut sent, &mut inviter);
    pass("inviter_sends_2", &mut sent, &mut newcomer);
    pass("newcomer_sends_3", &mut sent, &mut inviter);
    pass("inviter_sends_4", &mut sent, &mut newcomer);
    let join = message(&vector, "newcomer_message_5");
    newcomer.send(&join, &mut sent).unwrap();
    pass("newcomer_sends_5", &mut sent, &mut inviter);
    let secret = message(&vector, "inviter_message_6");
    inviter.send(&secret, &mut sent).unwrap();
    pass("inviter_sends_6", &mut sent, &mut newcomer);
    let joined = message(&vector, "newcomer_message_7");
    newcomer.send(&joined, &mut sent).unwrap();
    pass("newcomer_sends_7", &mut sent, &mut inviter);
    assert_eq!(messages, [join, secret, joined]);
}

fn message(vector: &Vector, name: &str) -> InviteMessage {
    let text = vector.text(name);
    let parsed = InviteMessage::parse(text.as_bytes()).expect(name);
    vector.check(name, &String::from_utf8(parsed.encode()).unwrap());
    parsed
}
