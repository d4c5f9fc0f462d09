//! The beacon of p2pchat in Go.

use p2pchat::base::identity::NetworkTag;
use p2pchat::wire::beacon::Beacon;
use p2pchat::wire::go_p2pchat::GoBeacon;

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
