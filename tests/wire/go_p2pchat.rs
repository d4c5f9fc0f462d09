//! The beacons and messages of p2pchat in Go.

use p2pchat::base::identity::NetworkTag;
use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::base::name::Nick;
use p2pchat::base::time::WallTime;
use p2pchat::wire::beacon::Beacon;
use p2pchat::wire::go_p2pchat::{GoBeacon, GoMessage, GoMessageKind, gateway_id};
use p2pchat::wire::stream_protocol::StreamProtocol;

/// A beacon as that program sends it.
const BEACON: &str = r#"{"type":"announce","peer_id":"m_alice","username":"alice","address":"0.0.0.0:8091","port":8091,"timestamp":"2025-11-21T10:31:04.123456789+01:00","sequence":0}"#;

/// The beacon is recognised, and is none of ours. A foreign name is made harmless.
#[test]
fn a_beacon_is_recognised() {
    let beacon = GoBeacon::parse(BEACON.as_bytes()).expect("a beacon");
    assert_eq!(beacon.nick.to_string(), "alice");
    assert_eq!(
        Beacon::parse(BEACON.as_bytes(), &NetworkTag::OPEN, None),
        None
    );
    let hostile = BEACON.replace(r#""alice""#, r#""\u001b[2J\nalice""#);
    let beacon = GoBeacon::parse(hostile.as_bytes()).expect("a beacon");
    assert_eq!(beacon.nick.to_string(), "?");
}

#[test]
fn other_datagrams_are_not_recognised() {
    let long = BEACON.replace("m_alice", &"m".repeat(1024));
    for other in ["", "{}", "[]", "null", "\u{7f}", &BEACON[1..], &long] {
        assert_eq!(GoBeacon::parse(other.as_bytes()), None, "{other}");
    }
    for field in ["peer_id", "username", "address", "timestamp"] {
        let other = BEACON.replace(field, "x");
        assert_eq!(GoBeacon::parse(other.as_bytes()), None, "{other}");
    }
    assert_eq!(GoBeacon::parse(b"\xff\xfe"), None);
}

/// What we send is what that program sends, field by field.
#[test]
fn beacons_and_messages_are_pinned() {
    let at = WallTime::parse("2026-11-21T10:31:04.123Z").expect("a time");
    let nick = Nick::new("alice").expect("a name");
    for (is_leaving, kind) in [(false, "announce"), (true, "leave")] {
        let beacon = GoBeacon {
            id: gateway_id("0000000000000000", "0123456789abcdef"),
            nick: nick.clone(),
            port: 8091,
            is_leaving,
        };
        let bytes = beacon.encode(at, 7);
        let expected = format!(
            r#"{{"type":"{kind}","peer_id":"p2pchat-0000000000000000-0123456789abcdef","username":"alice","address":"0.0.0.0:8091","port":8091,"timestamp":"2026-11-21T10:31:04.123Z","sequence":7}}"#
        );
        assert_eq!(String::from_utf8_lossy(&bytes), expected);
        assert_eq!(GoBeacon::parse(&bytes).as_ref(), Some(&beacon));
        assert!(beacon.is_ours());
        assert_eq!(Beacon::parse(&bytes, &NetworkTag::OPEN, None), None);
    }
    for (kind, name) in [
        (GoMessageKind::Join, "join"),
        (GoMessageKind::Chat, "chat"),
        (GoMessageKind::Leave, "leave"),
        (GoMessageKind::Other, "other"),
    ] {
        let message = GoMessage {
            kind,
            id: "m_alice".to_owned(),
            nick: nick.clone(),
            content: "\"hi\"\t\u{1b}".to_owned(),
        };
        let mut line = Vec::new();
        message.write(at, 3, &mut line);
        let expected = format!(
            r#"{{"id":"0000000000000003","type":"{name}","sender_id":"m_alice","username":"alice","content":"\"hi\"\t\u001b","timestamp":"2026-11-21T10:31:04.123Z","sequence":3,"room_id":"general"}}"#
        );
        assert_eq!(String::from_utf8_lossy(&line), format!("{expected}\n"));
        assert_eq!(GoMessage::parse(expected.as_bytes()), Some(message));
    }
}

/// A name and a text are made harmless, and ids and texts are bounded.
#[test]
fn messages_are_bounded() {
    let parse = |id: &str, name: &str, content: &str| {
        let line = format!(
            r#"{{"type":"typing","sender_id":"{id}","username":"{name}","content":"{content}"}}"#
        );
        GoMessage::parse(line.as_bytes())
    };
    let long = parse("m", r"\u001b[2J", &"é".repeat(20_000)).expect("a message");
    assert_eq!((long.kind, long.nick.as_str()), (GoMessageKind::Other, "?"));
    assert_eq!(long.content.len(), LINE_MAX_BYTES);
    assert_eq!(
        parse("m", "zed", r"a\r\nb").expect("a message").content,
        "a  b"
    );
    assert!(parse(&"m".repeat(128), "zed", "").is_some());
    assert_eq!(parse(&"m".repeat(129), "zed", ""), None);
    let beacon = BEACON.replace("m_alice", &"m".repeat(129));
    assert_eq!(GoBeacon::parse(beacon.as_bytes()), None);
    for other in [
        "",
        "{}",
        "[]",
        r#"{"type":"chat"}"#,
        r#"{"type":1,"sender_id":"m"}"#,
    ] {
        assert_eq!(GoMessage::parse(other.as_bytes()), None, "{other}");
    }
}

/// Both protocols begin on one port, and differ in their first byte.
#[test]
fn streams_are_told_apart() {
    for (bytes, protocol) in [
        (&b"{\"id\""[..], StreamProtocol::GoP2pchat),
        (b"P2\x02\x00", StreamProtocol::P2pchat),
        (b"GET /", StreamProtocol::Http),
        (b"", StreamProtocol::P2pchat),
    ] {
        assert_eq!(StreamProtocol::detect(bytes), protocol);
    }
}
