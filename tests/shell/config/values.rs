//! The values of options: numbers, rooms, durations, times and peers.

use std::path::Path;

use p2pchat::base::time::WallTime;
use p2pchat::shell::config::values::{Color, Since};

use super::support::{parsed, refusal, rooms};

/// Each option stores its value in its field.
#[test]
fn every_value_is_parsed() {
    assert_eq!(parsed("-p 0").port, Some(0));
    assert_eq!(parsed("-p 65535").port, Some(65535));
    assert_eq!(
        parsed("-m 239.1.2.3").multicast,
        Some("239.1.2.3:9999".parse().unwrap())
    );
    assert_eq!(
        parsed("-m 239.1.2.3:77").multicast,
        Some("239.1.2.3:77".parse().unwrap())
    );
    assert_eq!(parsed("-m none").multicast, None);
    assert_eq!(rooms(&parsed("-r ops -r #dev -r Ops")), ["#ops", "#dev"]);
    assert_eq!(rooms(&parsed("send -t #dev hi")), ["#dev"]);
    assert_eq!(
        rooms(&parsed("send -r ops -r dev -t #dev hi")),
        ["#dev", "#ops"]
    );
    assert_eq!(
        parsed("--interface eth0 --interface wlan0").interfaces,
        ["eth0", "wlan0"]
    );
    assert_eq!(
        parsed("--secret-file /s").secret_file.as_deref(),
        Some(Path::new("/s"))
    );
    assert_eq!(parsed("listen -n1").count, Some(1));
    assert_eq!(parsed("listen -W 0").wait_ms, Some(0));
    assert_eq!(parsed("send -W0.25").wait_ms, Some(250));
    assert_eq!(parsed("peers -W .0001").wait_ms, Some(1));
    assert_eq!(parsed("send --need 0").need, Some(0));
    assert_eq!(parsed("--backlog 20").backlog, 20);
    assert!(!parsed("--no-echo").echo);
    assert!(parsed("--commands").has_slash_commands);
    assert!(parsed("--json").json);
    assert!(parsed("whoami --qr").qr);
    assert_eq!(parsed("--color never").color, Color::Never);
    let peers = parsed("--peer 10.0.0.7 --peer box:77").static_peers;
    assert_eq!((peers[0].host.as_str(), peers[0].port), ("10.0.0.7", 9999));
    assert_eq!((peers[1].host.as_str(), peers[1].port), ("box", 77));
}

/// `history` filters by room, count, text and time.
#[test]
fn history_covers_all_rooms_unless_rooms_are_named() {
    assert!(rooms(&parsed("history")).is_empty());
    assert_eq!(rooms(&parsed("history -r ops -r Dev")), ["#ops", "#dev"]);
    assert_eq!(rooms(&parsed("history -t #ops")), ["#ops"]);
    assert_eq!(rooms(&parsed("history -t #ops -r dev")), ["#ops"]);
    let options = parsed("history -n 3 --search=Hello --since 2h");
    assert_eq!(options.count, Some(3));
    assert_eq!(options.search.as_deref(), Some("Hello"));
    let since = |text: &str| parsed(&format!("history --since {text}")).since;
    for (text, ms) in [("90s", 90), ("10m", 600), ("2h", 7200), ("3d", 259_200)] {
        assert_eq!(since(text), Some(Since::AgoMs(ms * 1000)), "{text}");
    }
    let at = |text: &str| Some(Since::At(WallTime::parse(text).unwrap()));
    assert_eq!(since("2026-11-21"), at("2026-11-21T00:00:00Z"));
    assert_eq!(
        since("2026-11-21T12:31:04+02:00"),
        at("2026-11-21T10:31:04Z")
    );
}

/// `-W` takes decimal seconds; a wait above zero never becomes zero.
#[test]
fn a_wait_is_rounded_up_to_milliseconds() {
    assert_eq!(parsed("peers -W 2.").wait_ms, Some(2_000));
    assert_eq!(parsed("peers -W 1.0020").wait_ms, Some(1_002));
    assert_eq!(parsed("peers -W 1.00201").wait_ms, Some(1_003));
    assert_eq!(
        parsed("peers -W 1000000000").wait_ms,
        Some(1_000_000_000_000)
    );
    for wait in [
        ".",
        "1e3",
        "-1",
        "+1",
        "1.2.3",
        "1.-2",
        "inf",
        "1000000000.0001",
        "99999999999999999999",
    ] {
        assert!(
            refusal(&format!("peers --wait={wait}"), None).contains("number of seconds"),
            "{wait}"
        );
    }
}
