//! The tables of peers and rooms, for scripts and for people.

use p2pchat::base::event::peer::{Peer, PeerInfo, PeerState};
use p2pchat::base::name::Nick;
use p2pchat::base::presence::away::AwayText;
use p2pchat::ui::tables;

use super::support::{bob_info, identity, short};

/// When [`bob_info`] was last heard.
const SEEN: &str = "2026-11-21T10:31:04.123Z";

/// `trust list` prints what a key has done wrong, and JSON and a person read it, too.
#[cfg(feature = "trust")]
#[test]
fn misbehaviour_is_listed() {
    use p2pchat::base::event::output::KnownPeer;
    use p2pchat::base::time::WallTime;
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
    assert!(matches!(event.kind, EventKind::Trust(parsed) if parsed == entry));
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
        tables::format_peer_table(&[bob_info(), wide], &[]),
        format!(
            "NAME       ID        ADDRESS        FOUND      STATE   MS   ROOMS          LAST SEEN                 KEY\n\
             bob~{b}   {prefix}  10.0.0.7:9999  multicast  linked  0.3  #general,#ops  {SEEN}  known\n\
             日本~{b}  {prefix}  -              multicast  linked  0.3  #general,#ops  {SEEN}  known\n"
        )
    );
    assert_eq!(tables::format_peer_table(&[], &[]), "");
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
