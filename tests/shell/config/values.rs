//! The values of options: numbers, rooms, durations, times and peers.

use std::path::Path;

use p2pchat::base::time::WallTime;
use p2pchat::shell::config::values::{Color, Since};

use super::support::{ok, refused, rooms};

/// Each option stores its value in its field.
#[test]
fn every_value_is_parsed() {
    assert_eq!(ok("-p 0").port, Some(0));
    assert_eq!(ok("-p 65535").port, Some(65535));
    assert_eq!(
        ok("-m 239.1.2.3").multicast,
        Some("239.1.2.3:9999".parse().unwrap())
    );
    assert_eq!(
        ok("-m 239.1.2.3:77").multicast,
        Some("239.1.2.3:77".parse().unwrap())
    );
    assert_eq!(ok("-m none").multicast, None);
    assert_eq!(rooms(&ok("-r ops -r #dev -r Ops")), ["#ops", "#dev"]);
    assert_eq!(rooms(&ok("send -t dev hi")), ["#dev"]);
    assert_eq!(rooms(&ok("send -r ops -r dev -t dev hi")), ["#dev", "#ops"]);
    assert_eq!(
        ok("--interface eth0 --interface wlan0").interfaces,
        ["eth0", "wlan0"]
    );
    assert_eq!(
        ok("--secret-file /s").secret_file.as_deref(),
        Some(Path::new("/s"))
    );
    assert_eq!(ok("listen -n1").count, Some(1));
    assert_eq!(ok("listen -W 0").wait_ms, Some(0));
    assert_eq!(ok("send -W0.25").wait_ms, Some(250));
    assert_eq!(ok("peers -W .0001").wait_ms, Some(1));
    assert_eq!(ok("send --need 0").need, Some(0));
    assert_eq!(ok("--backlog 20").backlog, 20);
    assert!(!ok("--no-echo").echo);
    assert!(ok("--commands").has_slash_commands);
    assert!(ok("--json").json);
    assert!(ok("whoami --qr").qr);
    assert_eq!(ok("--color never").color, Color::Never);
    assert_eq!(ok("-u a -u b").username.as_str(), "b");
    let peers = ok("--peer 10.0.0.7 --peer box:77").static_peers;
    assert_eq!((peers[0].host.as_str(), peers[0].port), ("10.0.0.7", 9999));
    assert_eq!((peers[1].host.as_str(), peers[1].port), ("box", 77));
}

/// `history` filters by room, count, text and time.
#[test]
fn history_covers_all_rooms_unless_rooms_are_named() {
    assert!(rooms(&ok("history")).is_empty());
    assert_eq!(rooms(&ok("history -r ops -r Dev")), ["#ops", "#dev"]);
    assert_eq!(rooms(&ok("history -t ops")), ["#ops"]);
    assert_eq!(rooms(&ok("history -t ops -r dev")), ["#ops"]);
    let options = ok("history -n 3 --search=Hello --since 2h");
    assert_eq!(options.count, Some(3));
    assert_eq!(options.search.as_deref(), Some("Hello"));
    let since = |text: &str| ok(&format!("history --since {text}")).since;
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
    assert_eq!(ok("peers -W 2.").wait_ms, Some(2_000));
    assert_eq!(ok("peers -W 1.0020").wait_ms, Some(1_002));
    assert_eq!(ok("peers -W 1.00201").wait_ms, Some(1_003));
    assert_eq!(ok("peers -W 1000000000").wait_ms, Some(1_000_000_000_000));
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
            refused(&format!("peers --wait={wait}"), None).contains("number of seconds"),
            "{wait}"
        );
    }
}
