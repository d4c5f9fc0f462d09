//! Text, JSON and commands, byte for byte: what the contract shows, and what hostile text must not do.
use std::sync::Arc;

use jiff::tz::{Offset, TimeZone};
use p2pchat::base::batch::{Batch, LocalFields, LogId, UnsignedBatch};
use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::{Chat, Command, FoundVia, Notice, Peer, PeerInfo, PeerState};
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::{LINE_MAX_BYTES, Lines};
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::time::{TenthsMs, WallTime};
use p2pchat::ui::command::{self, UserCommand};
use p2pchat::ui::diagnostic;
use p2pchat::ui::display_names::DisplayNames;
use p2pchat::ui::json;
use p2pchat::ui::sanitize;
use p2pchat::ui::tables;
use p2pchat::ui::text::TextRenderer;

fn identity(n: u8) -> Identity {
    Identity::from_seed(&[n; 32])
}

fn peer(n: u8, nick: &str) -> Peer {
    Peer {
        id: identity(n).id(),
        nick: Nick::new(nick).unwrap(),
    }
}

fn wall(stamp: &str) -> WallTime {
    WallTime::parse(stamp).unwrap()
}

fn lines(text: &[&str]) -> Lines {
    let mut lines = Lines::default();
    for line in text {
        lines.push(line.as_bytes()).unwrap();
    }
    lines
}

struct Said<'a> {
    by: (u8, &'a str),
    target: Target,
    action: bool,
    late: bool,
    text: &'a [&'a str],
}

fn chat(said: Said<'_>) -> Notice {
    let identity = identity(said.by.0);
    let sealed = said.target.recipient().map(|_| "AAAA");
    let draft = UnsignedBatch {
        log: LogId {
            target: said.target,
            author: identity.id(),
            incarnation: 0x9f,
        },
        username: Nick::new(said.by.1).unwrap(),
        sequence: 1,
        lamport: 99,
        timestamp: wall("2026-11-20T08:00:00Z"),
        previous: None,
        action: said.action,
        lines: &lines(said.text),
        sealed,
    };
    Notice::Chat(Chat {
        batch: Arc::new(Batch::sign(&identity, &NetworkTag::OPEN, draft)),
        local: LocalFields {
            received: wall("2026-11-21T10:31:04.123Z"),
            late: said.late,
            ..LocalFields::default()
        },
        is_own: said.by.0 == 1,
        since_start: true,
    })
}

fn general() -> Target {
    Target::Room(Room::general())
}

fn bob_says<'a>(text: &'a [&'a str]) -> Said<'a> {
    Said {
        by: (2, "bob"),
        target: general(),
        action: false,
        late: false,
        text,
    }
}

fn shown(transcript: &mut TextRenderer, notice: &Notice) -> String {
    let mut out = Vec::new();
    transcript.append_notice(notice, &mut out);
    String::from_utf8(out).unwrap()
}

fn short(n: u8) -> String {
    identity(n).id().short()
}

#[test]
fn the_pipe_form_is_the_contracts() {
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let (a, b) = (short(1), short(2));
    let now = "2026-11-21T10:31:04.123Z";
    assert_eq!(
        shown(&mut pipe, &chat(bob_says(&["Hey there!", "", "x: y"]))),
        format!(
            "{now} #general bob~{b}: Hey there!\n{now} #general bob~{b}: \n{now} #general bob~{b}: x: y\n"
        )
    );
    let direct = |reader: u8| {
        chat(Said {
            target: Target::Peer(identity(reader).id()),
            ..bob_says(&["psst"])
        })
    };
    assert_eq!(
        shown(&mut pipe, &direct(1)),
        format!("{now} @alice~{a} bob~{b}: psst\n")
    );
    assert_eq!(
        shown(&mut pipe, &direct(7)),
        format!("{now} @?~{} bob~{b}: psst\n", short(7))
    );
    let waves = chat(Said {
        action: true,
        late: true,
        ..bob_says(&["waves"])
    });
    assert_eq!(
        shown(&mut pipe, &waves),
        format!("2026-11-20T08:00:00.000Z #general ** bob~{b} waves\n"),
        "a late line bears the author's time"
    );
}

/// This peer comes into #general, and goes.
fn comes_and_goes(peer: &Peer, at: WallTime) -> [Notice; 2] {
    let (room, peer) = (Room::general(), peer.clone());
    let joined = Notice::Joined {
        room: room.clone(),
        peer: peer.clone(),
        at,
    };
    [joined, Notice::Left { room, peer, at }]
}

#[test]
fn events_and_gaps_on_a_pipe() {
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let (room, at, b) = (Room::general(), wall("2026-11-21T10:31:06.5Z"), short(2));
    let bob = peer(2, "bob");
    let gap = |from, to| Notice::Gap {
        target: general(),
        author: bob.clone(),
        incarnation: 1,
        from,
        to,
        at,
    };
    let [joined, left] = comes_and_goes(&bob, at);
    let renamed = Notice::Renamed {
        room,
        peer: peer(2, "robert"),
        old: bob.nick.clone(),
        at,
    };
    for (notice, line) in [
        (joined, format!("* bob~{b} joined")),
        (left, format!("* bob~{b} left")),
        (renamed, format!("* bob~{b} is now known as robert~{b}")),
        (gap(7, 9), format!("- 3 lines of bob~{b} are missing")),
        (gap(7, 7), format!("- 1 line of bob~{b} is missing")),
    ] {
        let stamp = "2026-11-21T10:31:06.500Z #general";
        assert_eq!(shown(&mut pipe, &notice), format!("{stamp} {line}\n"));
    }
    assert_eq!(shown(&mut pipe, &Notice::Settled), "");
}

#[test]
fn the_terminal_form_says_more_only_where_a_name_misleads() {
    let zone = TimeZone::fixed(Offset::constant(2));
    let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone.clone(), false);
    screen.set_current_room(Some(Room::general()));
    assert_eq!(
        shown(&mut screen, &chat(bob_says(&["Hey there!"]))),
        "[12:31] bob: Hey there!\n"
    );
    let other = chat(Said {
        by: (3, "BOB"),
        target: Target::Room(Room::new("ops").unwrap()),
        action: true,
        late: true,
        text: &["waves"],
    });
    assert_eq!(
        shown(&mut screen, &other),
        format!("[2026-11-20 10:00] #ops ** BOB~{} waves\n", short(3))
    );
    assert_eq!(
        shown(&mut screen, &chat(bob_says(&["it's me"]))),
        format!("[12:31] bob~{}: it's me\n", short(2)),
        "from now on neither bob is just bob"
    );
    let mut names = DisplayNames::default();
    let unruly = Peer {
        id: identity(5).id(),
        nick: Nick::new_or_placeholder("a b"),
    };
    names.record(&unruly);
    assert_eq!(names.display_name(&unruly), format!("?~{}", short(5)));
    let mut colours = TextRenderer::for_terminal(&peer(1, "alice"), zone, true);
    let line = shown(&mut colours, &chat(bob_says(&["\u{1b}[2J"])));
    assert!(line.starts_with("\u{1b}[2m[12:31]\u{1b}[0m "), "{line:?}");
    assert!(line.ends_with("bob\u{1b}[0m: \u{241b}[2J\n"), "{line:?}");
}

#[test]
fn the_past_bears_what_was_signed() {
    let Notice::Chat(chat) = chat(bob_says(&["one", "two\u{1b}"])) else {
        unreachable!("a chat");
    };
    let zone = jiff::tz::TimeZone::UTC;
    let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone, false);
    let mut past = |today: &str| {
        let mut out = Vec::new();
        let lines = "one\ntwo\u{1b}\n";
        screen.append_history(&chat.batch, lines, wall(today), &mut out);
        String::from_utf8(out).unwrap()
    };
    // The day is told if it is another one.
    assert_eq!(
        past("2026-11-20T23:00:00Z"),
        "[08:00] #general bob: one\n[08:00] #general bob: two␛\n"
    );
    let yesterday = past("2026-11-21T01:00:00Z");
    assert!(
        yesterday.starts_with("[2026-11-20 08:00] #general bob: one\n"),
        "{yesterday}"
    );
    let mut out = Vec::new();
    json::append_history(&chat.batch, 1, "two\u{1b}\n", &mut out);
    let line = String::from_utf8(out).unwrap();
    assert!(
        line.contains(r#""sequence":2,"lamport":100,"content":"two\u001b"}"#),
        "{line}"
    );
    assert!(line.starts_with(
        r##"{"type":"chat","timestamp":"2026-11-20T08:00:00.000Z","target":"#general","sender":""##
    ));
    assert!(!line.contains("received") && !line.contains("late"));
}

#[test]
fn control_characters_are_shown_not_obeyed() {
    let harmless = "a\tb é 日本 \u{2026}";
    assert_eq!(sanitize::sanitize(harmless), harmless);
    assert_eq!(
        sanitize::sanitize("\0\u{8}\u{a}\u{d}\u{1b}\u{1f}"),
        "\u{2400}\u{2408}\u{240a}\u{240d}\u{241b}\u{241f}"
    );
    for c in "\u{7f}\u{80}\u{9f}\u{2028}\u{2029}\u{202a}\u{202e}\u{2066}\u{2069}".chars() {
        assert_eq!(sanitize::sanitize(&format!("x{c}")), "x\u{fffd}", "{c:?}");
    }
    for c in "\u{a0}\u{2027}\u{202f}\u{2065}\u{206a}".chars() {
        assert_eq!(sanitize::sanitize(&c.to_string()), c.to_string(), "{c:?}");
    }
    // Lines are looked at by eight bytes: wherever it stands, what is beside it changes nothing.
    for c in ('\0'..'\u{2100}').filter(|c| sanitize::is_control(*c) || *c < '\u{100}') {
        for place in 0..18 {
            let (before, after) = ("~".repeat(place), " ".repeat(17 - place));
            let line = format!("{before}{}{after}", sanitize::replace_control(c));
            assert_eq!(
                sanitize::sanitize(&format!("{before}{c}{after}")),
                line,
                "{c:?}"
            );
        }
    }
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let line = shown(&mut pipe, &chat(bob_says(&["\u{1b}]0;owned\u{7}"])));
    assert!(line.ends_with(": \u{241b}]0;owned\u{2407}\n"));
    assert_eq!(
        diagnostic::format_diagnostic("no \u{1b}[2J"),
        "p2pchat: no \u{241b}[2J"
    );
}

#[test]
fn stderr_says_what_happened_to_a_name() {
    let notice = Notice::KeyMismatch {
        peer: peer(2, "bob"),
        known_id: identity(3).id(),
        first_seen: wall("2026-11-01T10:00:00Z"),
    };
    let (b, c) = (short(2), short(3));
    assert_eq!(
        diagnostic::notice_diagnostic(&notice).unwrap(),
        format!("p2pchat: bob~{b} is not the bob~{c} known since 2026-11-01: another key")
    );
    let (address, by) = (None, None);
    let twin = diagnostic::notice_diagnostic(&Notice::DuplicateIdentity {
        address,
        reported_by: by,
    })
    .unwrap();
    assert!(twin.contains("--dir") && twin.contains("--ephemeral"));
    let error = Notice::Error {
        code: ErrorCode::Store,
        content: "the disk is full".into(),
    };
    let sentence = diagnostic::notice_diagnostic(&error);
    assert_eq!(sentence.as_deref(), Some("p2pchat: the disk is full"));
    assert_eq!(
        diagnostic::notice_diagnostic(&chat(bob_says(&["hi"]))),
        None
    );
}

fn view() -> PeerInfo {
    PeerInfo {
        peer: peer(2, "bob"),
        address: Some("10.0.0.7:9999".parse().unwrap()),
        found_via: FoundVia::Multicast,
        via: None,
        state: PeerState::Linked,
        rtt: Some(TenthsMs(3)),
        rooms: vec![Room::general(), Room::new("ops").unwrap()],
    }
}

#[test]
fn tables() {
    let (id, b) = (identity(2).id(), short(2));
    let bare = PeerInfo {
        address: None,
        rtt: None,
        rooms: vec![],
        ..view()
    };
    assert_eq!(
        tables::format_peer_rows(&[view(), bare]),
        format!(
            "bob~{b}\t{id}\t10.0.0.7:9999\tmulticast\tlinked\t0.3\t#general,#ops\n\
             bob~{b}\t{id}\t-\tmulticast\tlinked\t-\t-\n"
        )
    );
    assert_eq!(
        tables::format_users(&[view()]),
        format!("bob~{b}  linked  #general,#ops  10.0.0.7:9999  0.3 ms\n")
    );
    let rooms = tables::format_room_list(&view().rooms);
    assert_eq!(rooms, "#general  (current)\n#ops\n");
}

fn as_json(notice: &Notice) -> String {
    let mut out = Vec::new();
    json::append_notice(notice, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn json_lines_are_the_contracts() {
    let (id, b) = (identity(2).id(), short(2));
    let who = format!("\"sender\":\"{id}\",\"username\":\"bob\",\"name\":\"bob~{b}\"");
    let line = |i: u64, content: &str| {
        format!(
            "{{\"type\":\"chat\",\"timestamp\":\"2026-11-20T08:00:00.000Z\",\"received\":\"2026-11-21T10:31:04.123Z\",\
             \"target\":\"#general\",{who},\"incarnation\":\"000000000000009f\",\"sequence\":{},\"lamport\":{},\
             \"content\":\"{content}\",\"self\":false,\"late\":false}}\n",
            1 + i,
            99 + i
        )
    };
    assert_eq!(
        as_json(&chat(bob_says(&["Hey there!", "\"\\\t"]))),
        line(0, "Hey there!") + &line(1, "\\\"\\\\\\t")
    );
    let action = as_json(&chat(Said {
        by: (1, "alice"),
        target: Target::Peer(id),
        action: true,
        late: true,
        text: &["waves"],
    }));
    assert!(action.contains(&format!("\"target\":\"@{id}\"")));
    assert!(action.ends_with("\"self\":true,\"late\":true,\"action\":true}\n"));
    assert_eq!(
        as_json(&Notice::Peers(vec![view()])),
        format!(
            "{{\"type\":\"peer\",{who},\"address\":\"10.0.0.7:9999\",\"found\":\"multicast\",\
             \"state\":\"linked\",\"rtt_ms\":0.3,\"rooms\":[\"#general\",\"#ops\"]}}\n"
        )
    );
    let mut out = Vec::new();
    json::append_ready(&peer(2, "bob"), 9999, &mut out);
    json::append_error(ErrorCode::InvalidLine, "no \u{202e}", &mut out);
    json::append_whoami(&peer(2, "bob"), Some("abc"), &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            "{{\"type\":\"ready\",{who},\"port\":9999}}\n\
             {{\"type\":\"error\",\"code\":\"line\",\"content\":\"no \\u202e\"}}\n\
             {{\"type\":\"self\",{who},\"fingerprint\":\"{}\",\"code\":\"abc\"}}\n",
            id.fingerprint()
        )
    );
}

#[test]
fn json_of_events() {
    let (id, b) = (identity(2).id(), short(2));
    let (room, at, bob) = (Room::general(), WallTime(0), peer(2, "bob"));
    let place = format!("\"target\":\"#general\",\"sender\":\"{id}\"");
    let event = |kind: &str, more: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"timestamp\":\"1970-01-01T00:00:00.000Z\",{place},\"username\":\"bob\",\"name\":\"bob~{b}\"{more}}}\n"
        )
    };
    let [joined, left] = comes_and_goes(&bob, at);
    let renamed = Notice::Renamed {
        room,
        peer: bob.clone(),
        old: Nick::new("rob").unwrap(),
        at,
    };
    let delivered = Notice::Delivered {
        log: LogId {
            target: general(),
            author: identity(1).id(),
            incarnation: 0x9f,
        },
        sequence: 12,
        peer: bob.clone(),
    };
    let gap = Notice::Gap {
        target: general(),
        author: bob,
        incarnation: 0x9f,
        from: 7,
        to: 9,
        at,
    };
    for (notice, line) in [
        (joined, event("join", "")),
        (left, event("leave", "")),
        (renamed, event("nick", ",\"old\":\"rob\"")),
        (
            delivered,
            format!(
                "{{\"type\":\"delivered\",\"target\":\"#general\",\"incarnation\":\"000000000000009f\",\"sequence\":12,\"sender\":\"{id}\"}}\n"
            ),
        ),
        (
            gap,
            format!(
                "{{\"type\":\"gap\",{place},\"incarnation\":\"000000000000009f\",\"from\":7,\"to\":9}}\n"
            ),
        ),
        (Notice::Settled, String::new()),
    ] {
        assert_eq!(as_json(&notice), line);
    }
}

#[test]
fn json_loses_nothing_and_holds_no_control_character() {
    let all: String = (0..0x1400)
        .chain(0x2000..0x2100)
        .filter_map(char::from_u32)
        .filter(|c| *c != '\n')
        .collect();
    let line = as_json(&chat(bob_says(&[&all])));
    let body = line.strip_suffix('\n').unwrap();
    assert!(!body.chars().any(|c| c == '\t' || sanitize::is_control(c)));
    let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(parsed["content"].as_str().unwrap(), all);
    for escape in ["\\u0008", "\\u007f", "\\u0080", "\\u2028", "\\u2069"] {
        assert!(line.contains(escape), "{escape}");
    }
    // Each alone, too: one that is overlooked must not hide behind another.
    for c in all.chars().filter(|c| sanitize::is_control(*c)) {
        let line = as_json(&chat(bob_says(&[&format!("x{c}y")])));
        let escape = format!("\"content\":\"x\\u{:04x}y\"", c as u32);
        assert!(line.contains(&escape), "{line:?}");
    }
}

fn say(room: Option<&str>, text: &[&str], action: bool) -> UserCommand {
    UserCommand::Core(Command::SendToRoom {
        room: room.map(|r| Room::new(r).unwrap()),
        lines: lines(text),
        action,
    })
}

#[test]
fn json_in() {
    let join = Command::Join(Room::new("ops").unwrap());
    for (line, request) in [
        (
            r##"{"type":"chat","target":"#ops","content":"text"}"##,
            say(Some("ops"), &["text"], false),
        ),
        (
            r#"{"type":"chat","content":"/text\né","new":1}"#,
            say(None, &["/text", "é"], false),
        ),
        (
            r#"{"type":"chat","content":"waves","action":true}"#,
            say(None, &["waves"], true),
        ),
        (
            r##"{"type":"command","content":"/join #ops"}"##,
            UserCommand::Core(join),
        ),
        (r#"{"type":"command","content":"/quit"}"#, UserCommand::Quit),
    ] {
        assert_eq!(json::parse(line), Ok(request), "{line}");
    }
    for line in [
        "",
        "hello",
        "[]",
        "{}",
        r#"{"type":"chat"}"#,
        r#"{"type":"nonsense","content":"x"}"#,
        r#"{"type":"chat","target":"@b b","content":"x"}"#,
        r##"{"type":"chat","target":"#a b","content":"x"}"##,
        r#"{"type":"command","content":"join"}"#,
        r#"{"type":"command","content":"/nonsense"}"#,
        r#"{"type":"chat","content":"x"} trailing"#,
    ] {
        let error = json::parse(line).unwrap_err();
        assert!(!error.is_empty() && !error.contains(" at line "), "{error}");
    }
    let long = "x".repeat(LINE_MAX_BYTES + 1);
    let long = format!("{{\"type\":\"chat\",\"content\":\"{long}\"}}");
    assert!(json::parse(&long).unwrap_err().contains("16 KiB"));
}

#[test]
fn typed_commands() {
    use UserCommand::{Core, Help, History, Quit, Search};
    let ops = Room::new("ops").unwrap();
    for (line, request) in [
        ("hello", say(None, &["hello"], false)),
        ("", say(None, &[""], false)),
        (" /quit", say(None, &[" /quit"], false)),
        ("//etc/passwd", say(None, &["/etc/passwd"], false)),
        ("///x", say(None, &["//x"], false)),
        ("/me  waves", say(None, &["waves"], true)),
        ("/ME waves", say(None, &["waves"], true)),
        ("/help", Help),
        ("/Quit", Quit),
        ("/users", Core(Command::Peers)),
        ("/WHO", Core(Command::Peers)),
        ("/names", Core(Command::Peers)),
        ("/list", Core(Command::Peers)),
        ("/rooms", Core(Command::Rooms)),
        ("/join #OPS ", Core(Command::Join(ops.clone()))),
        ("/join ops", Core(Command::Join(ops.clone()))),
        ("/part", Core(Command::Part(None))),
        ("/part ops", Core(Command::Part(Some(ops)))),
        ("/nick bob", Core(Command::Nick(Nick::new("bob").unwrap()))),
        ("/history", History(20)),
        ("/History 3", History(3)),
        ("/search  two words ", Search("two words".into())),
    ] {
        assert_eq!(command::parse(line), Ok(request), "{line}");
    }
    for line in [
        "/",
        "/msg bob",
        "/history 0",
        "/history all",
        "/search",
        "/nonsense",
        "/join",
        "/join a b",
        "/nick",
        "/nick a:b",
        "/me",
        "/me  ",
        "/part a@b",
    ] {
        assert!(command::parse(line).is_err(), "{line}");
    }
    assert!(command::parse("/nonsense").unwrap_err().contains("/help"));
}
