//! The tables of peers and rooms, for scripts and for people.

use jiff::tz::TimeZone;
use p2pchat::base::event::peer::{Peer, PeerInfo, PeerState};
use p2pchat::base::name::{Nick, Room};
use p2pchat::base::presence::away::AwayText;
use p2pchat::base::time::WallTime;
use p2pchat::base::trust::level::Familiarity;
use p2pchat::ui::tables::{self, TableView};
use unicode_width::UnicodeWidthStr as _;

use super::support::{bob_info, identity, short};

/// When [`bob_info`] was last heard.
const SEEN: &str = "2026-11-21T10:31:04.123Z";

/// `trust list` prints what a key has done wrong, and JSON and a person read it, too.
#[cfg(feature = "trust")]
#[test]
fn misbehaviour_is_listed() {
    use p2pchat::base::event::output::KnownPeer;
    use p2pchat::base::trust::level::TrustLevel;
    use p2pchat::base::trust::misbehaviour::Misbehaviour;
    use p2pchat::ui::session_event::EventKind;
    use p2pchat::ui::trust_command::TrustEntry;
    use p2pchat::ui::{json, json_parser};

    let known = KnownPeer {
        nick: Nick::new("bob").expect("a name"),
        id: identity(2).id(),
        first_seen: WallTime(0),
        trust: TrustLevel::Seen,
    };
    let entry = TrustEntry {
        misbehaviour: Misbehaviour {
            violations: 2,
            floods: 0,
            forks: 1,
        },
        ..TrustEntry::from(known)
    };
    let rows = tables::format_trust_rows(std::slice::from_ref(&entry));
    assert!(rows.ends_with("\t2 violations, 1 fork\n"), "{rows}");
    let line = tables::format_trust_entry(&entry);
    assert!(line.ends_with(", 2 violations, 1 fork\n"), "{line}");
    let mut json = Vec::new();
    json::append_trust(&entry, &mut json);
    let text = String::from_utf8(json.clone()).expect("UTF-8");
    assert!(
        text.ends_with(",\"violations\":2,\"floods\":0,\"forks\":1,\"trust\":\"new\"}\n"),
        "{text}"
    );
    let event = json_parser::events::parse_event(&json, None).expect("an event");
    assert!(matches!(*event.kind, EventKind::Trust(parsed) if parsed == entry));
}

/// A terminal of this width, on the day on which [`bob_info`] was last heard.
fn view(columns: u16) -> TableView {
    TableView {
        columns,
        zone: TimeZone::UTC,
        now: WallTime::parse("2026-11-21T23:00:00.000Z").expect("a time"),
    }
}

/// Usual rows fit 80 columns, also if the terminal does not say its width. What is longer is cut by
/// columns, as far as somebody can still read it, and a name keeps the beginning of its id.
#[test]
fn a_table_of_peers_fits_the_terminal() {
    let b = short(2);
    let usual = PeerInfo {
        address: Some("192.168.100.17:9999".parse().expect("an address")),
        rooms: vec![Room::general()],
        familiarity: Familiarity::Verified,
        ..bob_info()
    };
    for columns in [0, 80] {
        assert_eq!(
            tables::format_peer_table(std::slice::from_ref(&usual), &[], &view(columns)),
            format!(
                "NAME      ADDRESS              FOUND      STATE   MS   ROOMS     SEEN   KEY\n\
                 bob~{b}  192.168.100.17:9999  multicast  linked  0.3  #general  10:31  verified\n"
            )
        );
    }
    let long = PeerInfo {
        peer: Peer {
            nick: Nick::new(&"日本".repeat(16)).expect("a name"),
            ..bob_info().peer
        },
        address: Some(
            "[fe80::445:17ff:fed6:6766%2]:9999"
                .parse()
                .expect("an address"),
        ),
        last_seen: WallTime::parse("2026-11-20T10:31:04.123Z"),
        ..usual
    };
    for columns in [80, 120] {
        let table = tables::format_peer_table(std::slice::from_ref(&long), &[], &view(columns));
        for line in table.lines() {
            assert!(line.width() <= columns.into(), "{table}");
        }
        assert!(table.contains(&format!("…~{b}  ")), "{table}");
        assert!(table.contains("  11-20  "), "{table}");
    }
}

/// `peers` prints columns separated by tabs; `/users` and `/rooms` are for people.
#[test]
fn peer_and_room_tables_have_the_form_of_the_contract() {
    let (id, b) = (identity(2).id(), short(2));
    let bare = PeerInfo {
        address: None,
        rtt: None,
        rooms: vec![],
        last_seen: None,
        ..bob_info()
    };
    assert_eq!(
        tables::format_peer_rows(&[bob_info(), bare], &[]),
        format!(
            "bob~{b}\t{id}\t10.0.0.7:9999\tmulticast\tlinked\t0.3\t#general,#ops\t{SEEN}\n\
             bob~{b}\t{id}\t-\tmulticast\tlinked\t-\t-\t-\n"
        )
    );
    let wide = PeerInfo {
        peer: Peer {
            nick: Nick::new("日本").expect("a name"),
            ..bob_info().peer
        },
        address: None,
        ..bob_info()
    };
    let prefix = &id.to_string()[..8];
    assert_eq!(
        tables::format_peer_table(&[bob_info(), wide], &[], &view(120)),
        format!(
            "NAME       ID        ADDRESS        FOUND      STATE   MS   ROOMS          SEEN   KEY\n\
             bob~{b}   {prefix}  10.0.0.7:9999  multicast  linked  0.3  #general,#ops  10:31  known\n\
             日本~{b}  {prefix}  -              multicast  linked  0.3  #general,#ops  10:31  known\n"
        )
    );
    assert_eq!(tables::format_peer_table(&[], &[], &view(120)), "");
    assert_eq!(
        tables::format_users(&[bob_info()], &[]),
        format!("bob~{b}  linked  #general,#ops  10.0.0.7:9999  0.3 ms  (known)\n")
    );
    let away = PeerInfo {
        away: Some(AwayText::cut("out\u{1b}[2J")),
        ..bob_info()
    };
    let gone = PeerInfo {
        state: PeerState::Gone,
        rooms: vec![],
        rtt: None,
        ..bob_info()
    };
    assert_eq!(
        tables::format_users(&[away, gone], &[]),
        format!(
            "bob~{b}  linked  #general,#ops  10.0.0.7:9999  0.3 ms  (known)  (away: out\u{241b}[2J)\n\
             bob~{b}  gone    -  10.0.0.7:9999  last seen {SEEN}  (known)\n"
        )
    );
    let rooms = tables::format_room_list(&bob_info().rooms);
    assert_eq!(rooms, "#general  (current)\n#ops\n");
}
