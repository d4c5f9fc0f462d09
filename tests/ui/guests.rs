//! Guests: as text, as JSON lines and back, and the words of LSNP's users.
use jiff::tz::TimeZone;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::guests::guest::GuestInfo;
use p2pchat::base::guests::guest_event::{GuestEvent, GuestNotice};
use p2pchat::base::interface::FoundVia;
use p2pchat::base::name::{Nick, PeerSelector, Room};
use p2pchat::base::presence::profile::{Avatar, Profile};
use p2pchat::base::time::WallTime;
use p2pchat::ui::guests::lsnp_commands::{LsnpCommands, LsnpLine};
use p2pchat::ui::line_filter::LineFilter;
use p2pchat::ui::line_format::LineFormat;
use p2pchat::ui::session_event::EventKind;
use p2pchat::ui::tables::{self, TableView};
use p2pchat::ui::text::TextRenderer;
use p2pchat::ui::{json, json_parser};

use super::support::{event, identity, peer, wall_time};

fn lsnp() -> Room {
    Room::new("lsnp").unwrap()
}

fn zed(event: GuestEvent) -> Notice {
    Notice::Guest(GuestNotice {
        nick: Nick::new("zed").unwrap(),
        at: wall_time("2026-11-21T10:31:04.123Z"),
        event,
    })
}

fn info() -> GuestInfo {
    GuestInfo {
        nick: Nick::new("zed").unwrap(),
        address: "10.0.0.7:9000".parse().unwrap(),
        found_via: FoundVia::Lsnp,
        is_gone: false,
        rooms: vec![lsnp()],
        profile: Profile::default(),
    }
}

/// Each event of a guest, as JSON and as text on a pipe.
fn events() -> Vec<(GuestEvent, String, &'static str)> {
    let (alice, content) = (peer(1, "alice"), "hi\u{1b}[2J".to_owned());
    let id = alice.id;
    vec![
        (
            GuestEvent::Joined(lsnp()),
            r##"{"type":"join","timestamp":"T","target":"#lsnp","username":"zed","name":"guest/zed","guest":true}"##.into(),
            "#lsnp * guest/zed joined",
        ),
        (
            GuestEvent::Left(lsnp()),
            r##"{"type":"leave","timestamp":"T","target":"#lsnp","username":"zed","name":"guest/zed","guest":true}"##.into(),
            "#lsnp * guest/zed left",
        ),
        (
            GuestEvent::Posted { room: lsnp(), content: content.clone() },
            r##"{"type":"chat","timestamp":"T","received":"T","target":"#lsnp","username":"zed","name":"guest/zed","content":"hi\u001b[2J","self":false,"late":false,"guest":true}"##.into(),
            "#lsnp guest/zed: hi␛[2J",
        ),
        (
            GuestEvent::Wrote { recipient: id, content: content.clone() },
            format!(r##"{{"type":"chat","timestamp":"T","received":"T","target":"@{id}","username":"zed","name":"guest/zed","content":"hi\u001b[2J","self":false,"late":false,"guest":true}}"##),
            "@alice~SHORT guest/zed: hi␛[2J",
        ),
        (
            GuestEvent::Received { author: id, username: alice.nick.clone(), content },
            format!(r##"{{"type":"chat","timestamp":"T","received":"T","target":"@guest/zed","sender":"{id}","username":"alice","name":"{alice}","content":"hi\u001b[2J","self":true,"late":false,"guest":true}}"##),
            "@guest/zed alice~SHORT: hi␛[2J",
        ),
        (
            GuestEvent::Remark { room: lsnp(), content: "is Zed, busy".to_owned() },
            r##"{"type":"remark","timestamp":"T","target":"#lsnp","username":"zed","name":"guest/zed","content":"is Zed, busy","guest":true}"##.into(),
            "#lsnp - guest/zed is Zed, busy",
        ),
    ]
}

/// Scripts rely on the fields and their order; clients of `control.sock` read them back.
#[test]
fn events_are_json_lines_and_text() {
    const TIME: &str = "2026-11-21T10:31:04.123Z";
    let mut text = TextRenderer::for_pipe(&peer(1, "alice"));
    for (what, as_json, as_text) in events() {
        let notice = zed(what.clone());
        let mut line = Vec::new();
        json::append_event(&event(&notice), false, &mut line);
        let expected = as_json.replace("\"T\"", &format!("\"{TIME}\"")) + "\n";
        assert_eq!(String::from_utf8_lossy(&line), expected);
        let parsed =
            json_parser::events::parse_event(&line, Some(identity(1).id())).expect("an event");
        let EventKind::Notice(parsed) = *parsed.kind else {
            panic!("{expected}");
        };
        let (Notice::Guest(parsed), Notice::Guest(notice)) = (&*parsed, &notice) else {
            panic!("{expected}");
        };
        assert_eq!(parsed, notice);
        let mut out = Vec::new();
        text.append_notice(&zed(what), &mut out);
        let as_text = as_text.replace("SHORT", &identity(1).id().short().to_string());
        assert_eq!(String::from_utf8_lossy(&out), format!("{TIME} {as_text}\n"));
    }
}

/// In the user's own form, guests have no id and no number, and only lines are printed.
#[test]
fn lines_have_the_form_of_the_user() {
    let format = LineFormat::parse("%T|%r|%n|%i|%m|%s").unwrap();
    let mut text = TextRenderer::for_pipe(&peer(1, "alice"));
    let mut lines = Vec::new();
    for (what, _, _) in events() {
        let mut out = Vec::new();
        text.append_formatted(&format, &zed(what).into(), &mut out);
        lines.push(String::from_utf8(out).unwrap());
    }
    let (time, alice) = ("2026-11-21T10:31:04.123Z", peer(1, "alice"));
    let expected = [
        String::new(),
        String::new(),
        format!("{time}|#lsnp|guest/zed||hi␛[2J|"),
        format!("{time}|@{alice}|guest/zed||hi␛[2J|"),
        format!("{time}|@guest/zed|{alice}|{}|hi␛[2J|", alice.id),
        String::new(),
    ];
    assert_eq!(lines, expected);
}

/// A filter by author selects the lines of a guest, or our own to guests, and nothing else.
#[test]
fn a_filter_selects_lines_of_guests() {
    let selected = |author| -> Vec<bool> {
        let filter = LineFilter {
            author: PeerSelector::parse(author).ok(),
            pattern: None,
            hides_presence: false,
        };
        let notices = events().into_iter().map(|(event, ..)| zed(event));
        notices.map(|notice| filter.has_notice(&notice)).collect()
    };
    assert_eq!(selected(""), [true; 6]);
    let (f, t) = (false, true);
    assert_eq!(selected("guest/ZED"), [f, f, t, t, f, f]);
    assert_eq!(selected("alice"), [f, f, f, f, t, f]);
    assert_eq!(selected("zed"), [f; 6]);
}

#[test]
fn guests_are_listed_behind_peers() {
    let row = "guest/zed\t-\t10.0.0.7:9000\tlsnp\tknown\t-\t#lsnp\t-\n";
    assert_eq!(tables::format_peer_rows(&[], &[info()]), row);
    let users = tables::format_users(&[], &[info()]);
    assert_eq!(users, "guest/zed  known   #lsnp  10.0.0.7:9000\n");
    let view = TableView {
        columns: 80,
        zone: TimeZone::UTC,
        now: WallTime::default(),
    };
    assert!(tables::format_peer_table(&[], &[info()], &view).contains("guest/zed"));
    let mut gone = info();
    gone.is_gone = true;
    gone.profile = Profile::new("Zed Z", "busy", Avatar::new("image/png", "YQ=="));
    let expected = r##"{"type":"peer","username":"zed","name":"guest/zed","address":"10.0.0.7:9000","found":"lsnp","state":"gone","rtt_ms":null,"rooms":["#lsnp"],"guest":true,"display_name":"Zed Z","status":"busy","avatar_type":"image/png","avatar":"YQ=="}"##;
    let mut line = Vec::new();
    json::append_event(
        &event(&Notice::Guests(vec![gone.clone()])),
        false,
        &mut line,
    );
    assert_eq!(String::from_utf8_lossy(&line).trim_end(), expected);
    let parsed = json_parser::events::parse_event(&line, None).expect("an event");
    let EventKind::Notice(parsed) = *parsed.kind else {
        panic!("{expected}");
    };
    assert!(matches!(&*parsed, Notice::Guests(guests) if *guests == [gone]));
}

/// What the commands send, in the form in which users type it.
fn typed(commands: &mut LsnpCommands, line: &str) -> String {
    match commands.handle_line(line) {
        LsnpLine::Other => "other".to_owned(),
        LsnpLine::Question(question) => question.to_owned(),
        LsnpLine::Picture { request, file } => format!("{request} with {file}"),
        LsnpLine::Command(Err(error)) => error,
        LsnpLine::Command(Ok(command)) => {
            let mut out = Vec::new();
            let request = p2pchat::ui::request::Request::new(None, command);
            json::append_request(&request, &mut out);
            let parsed = json_parser::requests::parse_request(&out).expect("a request");
            assert_eq!(parsed, request, "it survives control.sock");
            String::from_utf8(out).unwrap().trim_end().to_owned()
        }
    }
}

#[test]
fn the_words_of_lsnp_are_understood() {
    let url = "data:image/png;base64,YQ==";
    let typed_with_picture = format!("PROFILE Alice A|busy|{url}");
    let mut commands = LsnpCommands::default();
    let mut typed = |line| typed(&mut commands, line);
    assert_eq!(typed("hello"), "other");
    assert_eq!(typed("POSTAL service"), "other");
    assert_eq!(typed("post hello"), "other");
    assert_eq!(typed("QUIT now"), "other");
    let post = r##"{"type":"chat","target":"#lsnp","content":["hello all"]}"##;
    assert_eq!(typed("POST hello all"), post);
    assert_eq!(typed("POST"), "POST: what do you say to all?");
    assert_eq!(typed("hello all"), post);
    let direct = r##"{"type":"chat","target":"@guest/zed","content":["psst"],"wait_ms":0}"##;
    assert_eq!(typed("DM zed psst"), direct);
    assert_eq!(typed("DM guest/zed psst"), direct);
    assert_eq!(typed("DM"), "DM: to whom?");
    assert_eq!(typed("zed"), "DM: what do you say?");
    assert_eq!(typed("psst"), direct);
    assert!(typed("DM ze/d psst").contains("the name guest/ze/d contains /"));
    let profile = r##"{"type":"command","content":"/lsnp PROFILE Alice A|busy"}"##;
    assert_eq!(typed("PROFILE Alice A | busy"), profile);
    assert_eq!(typed("PROFILE"), "PROFILE: under which name are you shown?");
    assert_eq!(typed("Alice A"), "PROFILE: what is your status?");
    assert_eq!(
        typed("busy"),
        "PROFILE: which file has your picture? (none: -)"
    );
    assert_eq!(typed("-"), profile);
    let file = "/lsnp PROFILE Alice A|busy with a.png";
    assert_eq!(typed("PROFILE Alice A|busy|a.png"), file);
    for line in ["PROFILE", "Alice A", "busy"] {
        typed(line);
    }
    assert_eq!(typed(" a.png"), file);
    let with_picture =
        format!(r##"{{"type":"command","content":"/lsnp PROFILE Alice A|busy|{url}"}}"##);
    assert_eq!(typed(&typed_with_picture), with_picture);
    assert!(typed("PROFILE Alice A|busy|data:nonsense").contains("no data URL"));
    assert_eq!(
        typed("LIST"),
        r##"{"type":"command","content":"/lsnp LIST"}"##
    );
    assert_eq!(
        typed("VERBOSE"),
        r##"{"type":"command","content":"/lsnp VERBOSE"}"##
    );
    assert_eq!(typed("QUIT"), r##"{"type":"command","content":"/quit"}"##);
}

#[test]
fn a_selector_of_a_guest_is_none_of_a_peer() {
    for (text, shown) in [
        // A Grape knows services as they are spelled.
        ("@guest/Zed", "@guest/Zed"),
        ("guest/zed@10.0.0.7", "@guest/zed@10.0.0.7"),
        ("@GUEST/zed@::1", "@guest/zed@::1"),
    ] {
        let selector = PeerSelector::parse(text).unwrap();
        assert_eq!(selector.to_string(), shown);
        assert!(!selector.matches(&Nick::new("zed").unwrap(), &identity(1).id()));
        assert_eq!(selector.full_id(), None);
        assert_eq!(PeerSelector::parse(shown).unwrap(), selector);
    }
    for bad in [
        "@guest/",
        "@guest/a b",
        "@guest/zed@host",
        "@guest/zed~abcd",
    ] {
        assert!(PeerSelector::parse(bad).is_err(), "{bad}");
    }
}

/// A command and an empty line are no text to send. A sentence may begin like a command.
#[test]
fn questions_of_lsnp_are_cancelled() {
    let mut commands = LsnpCommands::default();
    for question in ["POST", "DM", "DM zed"] {
        for line in ["/quit", "", " "] {
            assert!(matches!(
                commands.handle_line(question),
                LsnpLine::Question(_)
            ));
            assert_eq!(commands.handle_line(line), LsnpLine::Other, "{question}");
            assert_eq!(commands.handle_line("hello"), LsnpLine::Other, "{question}");
        }
    }
    for line in ["PROFILE", "Alice A", "busy"] {
        assert!(matches!(commands.handle_line(line), LsnpLine::Question(_)));
    }
    let picture = commands.handle_line("/home/alice/a.png");
    assert!(matches!(picture, LsnpLine::Picture { .. }));
    for line in ["LIST of things", "VERBOSE as ever"] {
        assert_eq!(commands.handle_line(line), LsnpLine::Other);
    }
    assert!(matches!(
        commands.handle_line("LIST "),
        LsnpLine::Command(Ok(_))
    ));
}
