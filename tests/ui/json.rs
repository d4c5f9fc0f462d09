//! Notices as JSON lines, byte for byte, and JSON lines as commands.

use p2pchat::base::batch::batch::LogId;
use p2pchat::base::error_code::ErrorCode;
use p2pchat::base::event::command::Command;
use p2pchat::base::event::notice::{FlapKind, Notice};
use p2pchat::base::lines::LINE_MAX_BYTES;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::control_chars::is_control;
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::base::trust::fingerprint::Fingerprint;
use p2pchat::ui::command::UserCommand;
use p2pchat::ui::request::{Request, RequestKind};
use p2pchat::ui::session_event::EventKind;
use p2pchat::ui::{json, json_parser, tables};

use super::support::{
    ChatFields, bob_info, bob_says, chat, event, flapped, general, identity, joined_and_left, peer,
    presence, say, short,
};

/// The JSON line of a notice.
fn as_json(notice: &Notice) -> String {
    let mut out = Vec::new();
    json::append_event(&event(notice), false, &mut out);
    String::from_utf8(out).unwrap()
}

/// `/stats` has a number for each counter. A finder that has a trouble adds a sentence, in which
/// nothing can control a terminal.
#[test]
fn stats_have_counters_and_troubles() {
    let counters = vec![("links".into(), 3), ("mdns_found".into(), 7)];
    let troubles = vec![("mdns".into(), "no\u{1b}[31m network".to_owned())];
    let stats = Notice::Stats { counters, troubles };
    let line = as_json(&stats);
    let expected = "{\"type\":\"stats\",\"links\":3,\"mdns_found\":7,\
        \"mdns_trouble\":\"no\\u001b[31m network\"}\n";
    assert_eq!(line, expected);
    let parsed = json_parser::events::parse_event(line.as_bytes(), None).expect("an event");
    let EventKind::Notice(notice) = *parsed.kind else {
        panic!("no notice: {line}");
    };
    assert_eq!(as_json(&notice), expected);
    let Notice::Stats { counters, troubles } = &*notice else {
        panic!("no stats: {line}");
    };
    let text = tables::format_stats(counters, troubles);
    assert_eq!(
        text,
        "        3  links\n        7  mdns found\nmdns: no\u{241b}[31m network\n"
    );
}

/// A request to await lines names the first one, unless the last one is meant alone. A first line
/// that is none becomes the nearest one.
#[test]
fn await_names_the_first_and_the_last_line() {
    let log = LogId {
        target: general(),
        author: identity(2).id(),
        incarnation: 7,
    };
    let parse =
        |json: &[u8]| json_parser::requests::parse_request(json).map(|request| request.kind);
    let request = |first, sequence| {
        let log = log.clone();
        let command = Command::AwaitDelivery {
            log,
            first,
            sequence,
        };
        Request::new(None, UserCommand::Core(command))
    };
    for (first, sequence) in [(2, 5), (5, 5)] {
        let mut out = Vec::new();
        json::append_request(&request(first, sequence), &mut out);
        let text = String::from_utf8(out.clone()).expect("UTF-8");
        assert_eq!(text.contains("\"from\":2"), first == 2, "{text}");
        assert_eq!(parse(&out).ok(), Some(request(first, sequence).kind));
        for (stated, expected) in [(0, 1), (9, 5)] {
            let foreign = text.replace("\"from\":2", &format!("\"from\":{stated}"));
            let expected = request(if first == 2 { expected } else { 5 }, sequence);
            assert_eq!(parse(foreign.as_bytes()).ok(), Some(expected.kind));
        }
    }
}

/// Scripts rely on the fields and their order.
#[test]
fn chat_and_peers_as_json_have_the_form_of_the_contract() {
    let (id, b) = (identity(2).id(), short(2));
    let sender = format!("\"sender\":\"{id}\",\"username\":\"bob\",\"name\":\"bob~{b}\"");
    let line = |i: u64, content: &str| {
        format!(
            "{{\"type\":\"chat\",\"timestamp\":\"2026-11-20T08:00:00.000Z\",\"received\":\"2026-11-21T10:31:04.123Z\",\
             \"target\":\"#general\",{sender},\"incarnation\":\"000000000000009f\",\"sequence\":{},\"lamport\":{},\
             \"content\":\"{content}\",\"self\":false,\"late\":false}}\n",
            1 + i,
            99 + i
        )
    };
    assert_eq!(
        as_json(&chat(bob_says(&["Hey there!", "\"\\\t"]))),
        line(0, "Hey there!") + &line(1, "\\\"\\\\\\t")
    );
    let action = as_json(&chat(ChatFields {
        by: (1, "alice"),
        target: Target::Peer(id),
        form: LineForm::Action,
        late: true,
        text: &["waves"],
    }));
    assert!(action.contains(&format!("\"target\":\"@{id}\"")));
    assert!(action.ends_with("\"self\":true,\"late\":true,\"action\":true}\n"));
    assert_eq!(
        as_json(&Notice::Peers(vec![bob_info()])),
        format!(
            "{{\"type\":\"peer\",{sender},\"address\":\"10.0.0.7:9999\",\"found\":\"multicast\",\
             \"state\":\"linked\",\"rtt_ms\":0.3,\"rooms\":[\"#general\",\"#ops\"],\"trust\":\"known\",\"last_seen\":\"2026-11-21T10:31:04.123Z\"}}\n"
        )
    );
    let mut out = Vec::new();
    json::append_ready(&peer(2, "bob"), 9999, &mut out);
    json::append_error(ErrorCode::InvalidLine, "no \u{202e}", &mut out);
    json::append_own(&peer(2, "bob"), "abc", &mut out);
    assert_eq!(
        String::from_utf8(out).unwrap(),
        format!(
            "{{\"type\":\"ready\",{sender},\"port\":9999}}\n\
             {{\"type\":\"error\",\"code\":\"line\",\"content\":\"no \\u202e\"}}\n\
             {{\"type\":\"self\",{sender},\"fingerprint\":\"{}\",\"code\":\"abc\"}}\n",
            Fingerprint::of(&id)
        )
    );
}

/// Every event is one JSON line with its type, target and sender.
#[test]
fn events_as_json_have_the_form_of_the_contract() {
    let (id, b) = (identity(2).id(), short(2));
    let (room, at, bob) = (Room::general(), WallTime(0), peer(2, "bob"));
    let target_and_sender = format!("\"target\":\"#general\",\"sender\":\"{id}\"");
    let event = |kind: &str, more: &str| {
        format!(
            "{{\"type\":\"{kind}\",\"timestamp\":\"1970-01-01T00:00:00.000Z\",{target_and_sender},\"username\":\"bob\",\"name\":\"bob~{b}\"{more}}}\n"
        )
    };
    let [joined, left] = joined_and_left(&bob, at);
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
        author: bob.clone(),
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
            flapped(&bob, FlapKind::Membership, at),
            event("presence", ",\"change\":\"join\",\"count\":412"),
        ),
        (
            flapped(&bob, FlapKind::Name, at),
            event("presence", ",\"change\":\"nick\",\"count\":412"),
        ),
        (
            flapped(&bob, FlapKind::Away, at),
            event("presence", ",\"change\":\"away\",\"count\":412"),
        ),
        (
            presence(&bob, Some("\u{1b}[2J\tlunch"), at),
            event(
                "presence",
                ",\"change\":\"away\",\"content\":\"\\u001b[2J\\tlunch\"",
            ),
        ),
        (
            presence(&bob, None, at),
            event("presence", ",\"change\":\"back\""),
        ),
        (
            delivered,
            format!(
                "{{\"type\":\"delivered\",\"target\":\"#general\",\"incarnation\":\"000000000000009f\",\"sequence\":12,\"sender\":\"{id}\"}}\n"
            ),
        ),
        (
            gap,
            format!(
                "{{\"type\":\"gap\",{target_and_sender},\"incarnation\":\"000000000000009f\",\"from\":7,\"to\":9,\"timestamp\":\"1970-01-01T00:00:00.000Z\",\"username\":\"bob\",\"name\":\"bob~{b}\"}}\n"
            ),
        ),
    ] {
        assert_eq!(as_json(&notice), line);
        let own = Some(id);
        let parsed = json_parser::events::parse_event(line.as_bytes(), own).expect("an event");
        let EventKind::Notice(parsed) = *parsed.kind else {
            panic!("no notice: {line}");
        };
        assert_eq!(as_json(&parsed), line, "a client reads what it is told");
    }
}

/// A JSON line can be shown on a terminal, and parses to the very text.
#[test]
fn json_escapes_every_control_character_without_loss() {
    let all: String = (0..0x1400)
        .chain(0x2000..0x2100)
        .filter_map(char::from_u32)
        .filter(|c| *c != '\n')
        .collect();
    let line = as_json(&chat(bob_says(&[&all])));
    let body = line.strip_suffix('\n').unwrap();
    assert!(!body.chars().any(|c| c == '\t' || is_control(c)));
    let parsed: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!(parsed["content"].as_str().unwrap(), all);
    for escape in ["\\u0008", "\\u007f", "\\u0080", "\\u2028", "\\u2069"] {
        assert!(line.contains(escape), "{escape}");
    }
    // Each character alone, so that an overlooked one cannot hide behind another.
    for c in all.chars().filter(|c| is_control(*c)) {
        let line = as_json(&chat(bob_says(&[&format!("x{c}y")])));
        let escape = format!("\"content\":\"x\\u{:04x}y\"", c as u32);
        assert!(line.contains(&escape), "{line:?}");
    }
}

/// The command on a line of stdin.
fn parse(line: &str) -> Result<UserCommand, String> {
    match json_parser::requests::parse_input(line) {
        Ok(Request { kind, .. }) => match *kind {
            RequestKind::Command(command) => Ok(command),
            other => Err(format!("{other:?}")),
        },
        Err(invalid) => Err(invalid.message),
    }
}

/// Unknown fields are ignored; any other error gives a sentence without positions of the parser.
#[test]
fn json_lines_are_parsed_as_commands() {
    let join = Command::Join(Room::new("ops").unwrap());
    for (line, request) in [
        (
            r##"{"type":"chat","target":"#ops","content":"text"}"##,
            say(Some("ops"), &["text"], LineForm::Text),
        ),
        (
            r#"{"type":"chat","content":"/text\né","new":1}"#,
            say(None, &["/text", "é"], LineForm::Text),
        ),
        (
            r#"{"type":"chat","content":"waves","action":true}"#,
            say(None, &["waves"], LineForm::Action),
        ),
        (
            r##"{"type":"command","content":"/join #ops"}"##,
            UserCommand::Core(join),
        ),
        (r#"{"type":"command","content":"/quit"}"#, UserCommand::Quit),
        (
            r#"{"type":"chat","content":"one\u000bline"}"#,
            say(None, &["one\u{b}line"], LineForm::Text),
        ),
        (
            r#"{"type":"chat","content":"a\r\nblock","block":true}"#,
            say(None, &["a\u{b}block"], LineForm::Block),
        ),
    ] {
        assert_eq!(parse(line), Ok(request), "{line}");
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
        r#"{"type":"chat","content":"no\u000bblock","block":true}"#,
        r#"{"type":"chat","content":["no\u000bblock"],"block":true}"#,
    ] {
        let error = parse(line).unwrap_err();
        assert!(!error.is_empty() && !error.contains(" at line "), "{error}");
    }
    let long = "x".repeat(LINE_MAX_BYTES + 1);
    let long = format!("{{\"type\":\"chat\",\"content\":\"{long}\"}}");
    assert!(parse(&long).unwrap_err().contains("16 KiB"));
}

/// The first event of a session, with every field, is pinned and stands in the document. What is
/// written is read again.
#[test]
fn ready_is_written_and_read_with_every_field() {
    let vector = include_str!("../vectors/control_ready");
    let document = include_str!("../../src/shell/ipc/PROTOCOL.md");
    assert!(document.contains(vector), "PROTOCOL.md has another event");
    let alice = peer(1, "alice");
    let line = vector.replace("\"ID\"", &format!("\"{}\"", alice.id));
    let line = line.replace("NAME", &alice.to_string());
    let read =
        json_parser::events::parse_event(line.trim_end().as_bytes(), None).expect("an event");
    let EventKind::Ready(ready) = &*read.kind else {
        panic!("{line}");
    };
    assert!(ready.uses_dht && ready.grapes == ["http://10.0.0.7:30001"]);
    assert_eq!(ready.dht_bootstrap, ["10.0.0.7:6881"]);
    assert!(!ready.uses_mdns && ready.scan.as_deref() == Some("10.0.0.0/24:9999"));
    let mut written = Vec::new();
    json::append_event(&read, false, &mut written);
    assert_eq!(String::from_utf8(written).unwrap(), line);
}
