//! The words of messages on the wire, which other versions rely on.
use p2pchat::base::identity::Identity;
use p2pchat::base::name::{Room, Target};
use p2pchat::base::time::WallTime;
use p2pchat::wire::message::{ByeReason, Hello, Message, parse_log_id};

/// Peers of other versions rely on the words.
#[test]
fn bye_reasons_keep_their_words() {
    for (reason, word) in [
        (ByeReason::Leave, "leave"),
        (ByeReason::Duplicate, "duplicate"),
        (ByeReason::DuplicateIdentity, "twin"),
        (ByeReason::Full, "full"),
        (ByeReason::UnexpectedPeer, "other"),
        (ByeReason::InvalidMessage, "broken"),
        (ByeReason::Silent, "silent"),
    ] {
        let bytes = format!(r#"{{"type":"bye","reason":"{word}"}}"#).into_bytes();
        let message = Message::Bye { reason };
        assert_eq!(Message::parse(&bytes), Some(message.clone()));
        assert_eq!(message.encode(), bytes);
    }
}

/// A later version may add reasons and fields.
#[test]
fn an_unknown_bye_reason_is_accepted() {
    let bye = Message::parse(br#"{"type":"bye","reason":"tired","since":3}"#);
    let reason = ByeReason::Unknown;
    assert_eq!(bye, Some(Message::Bye { reason }));
}

/// A hello, and the clock of the same process as a neighbour relays it.
fn hello_and_clock() -> [Message; 2] {
    let peer = Identity::from_seed(&[1; 32]).id();
    let (run, age, wall) = (0xabc, 1234, WallTime(1_700_000_000_000));
    let hello = Hello {
        sender: peer,
        username: "alice".into(),
        run,
        age,
        wall,
        rooms: Vec::new(),
        port: 9999,
        passing: false,
        ephemeral: false,
        members_digests: false,
    };
    let clock = Message::Clock {
        peer,
        run,
        age,
        wall,
    };
    [Message::Hello(hello), clock]
}

/// JSON numbers are exact only below 2^53, and one value has one form.
#[test]
fn runs_ages_and_clocks_are_bounded() {
    for message in hello_and_clock() {
        let json = String::from_utf8(message.encode()).expect("JSON");
        let clocks = r#""run":"0000000000000abc","age":1234,"wall":1700000000000"#;
        assert!(json.contains(clocks), "{json}");
        assert_eq!(Message::parse(json.as_bytes()), Some(message.clone()));
        let with = |from: &str, to: &str| {
            assert!(json.contains(from), "{json}");
            Message::parse(json.replace(from, to).as_bytes())
        };
        for run in ["abc", "+000000000000abc", "0000000000000ABC"] {
            assert_eq!(with("0000000000000abc", run), None, "{run}");
        }
        assert_eq!(with(r#""0000000000000abc""#, "2748"), None);
        assert!(with("1234", "9007199254740991").is_some());
        for age in ["9007199254740992", "-1", "1.5"] {
            assert_eq!(with("1234", age), None, "{age}");
        }
        for wall in ["-62167219200000", "0", "253402300799999"] {
            assert!(with("1700000000000", wall).is_some(), "{wall}");
        }
        for wall in ["-62167219200001", "253402300800000", "1e13"] {
            assert_eq!(with("1700000000000", wall), None, "{wall}");
        }
    }
}

/// A clock beyond all years is sent as the nearest time that receivers accept.
#[test]
fn a_clock_out_of_range_is_clamped() {
    let [Message::Hello(hello), _] = hello_and_clock() else {
        panic!("a hello");
    };
    for (wall, clamped) in [(i64::MIN, WallTime::MIN), (i64::MAX, WallTime::MAX)] {
        let hello = Hello {
            wall: WallTime(wall),
            ..hello.clone()
        };
        let Some(Message::Hello(received)) = Message::parse(&Message::Hello(hello).encode()) else {
            panic!("refused {wall}");
        };
        assert_eq!(received.wall, clamped);
    }
}

#[test]
fn nonces_are_bounded() {
    for kind in ["ping", "pong"] {
        let parse = |nonce: u64| {
            let json = format!(r#"{{"type":"{kind}","nonce":{nonce}}}"#);
            Message::parse(json.as_bytes())
        };
        assert!(parse((1 << 53) - 1).is_some());
        assert_eq!(parse(1 << 53), None);
    }
}

#[test]
fn an_incarnation_has_one_form() {
    let (room, author) = (
        Target::Room(Room::general()),
        Identity::from_seed(&[1; 32]).id(),
    );
    let parse = |text| parse_log_id(&room, author, text).map(|log| log.incarnation);
    assert_eq!(parse("000000000000009f"), Some(0x9f));
    for text in ["+1", "+00000000000009f", "9f", "000000000000009F"] {
        assert_eq!(parse(text), None, "{text}");
    }
}
