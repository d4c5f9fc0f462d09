//! Notices as text: the pipe form of the contract, and the form for a terminal.
use std::sync::Arc;

use jiff::tz::{Offset, TimeZone};
use p2pchat::base::batch::batch::Batch;
use p2pchat::base::event::notice::{Chat, FlapKind, Notice};
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::NetworkTag;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::ui::display_names::DisplayNames;
use p2pchat::ui::json;
use p2pchat::ui::session_event::{ChatLines, EventKind, SessionEvent};
use p2pchat::ui::terminal_text::palette::Palette;
use p2pchat::ui::text::TextRenderer;

use super::support::{
    ChatFields, bob_says, chat, flapped, general, identity, joined_and_left, peer, presence,
    rendered, short, wall_time,
};

/// A line is `TIME TARGET NAME: TEXT`, with full timestamps and short ids.
#[test]
fn chat_on_a_pipe_has_the_form_of_the_contract() {
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let (a, b) = (short(1), short(2));
    let now = "2026-11-21T10:31:04.123Z";
    assert_eq!(
        rendered(&mut pipe, &chat(bob_says(&["Hey there!", "", "x: y"]))),
        format!(
            "{now} #general bob~{b}: Hey there!\n{now} #general bob~{b}: \n{now} #general bob~{b}: x: y\n"
        )
    );
    assert_eq!(
        rendered(
            &mut pipe,
            &chat(bob_says(&["Hey there!", "a\u{1b}b", "x: y"]))
        ),
        format!(
            "{now} #general bob~{b}: Hey there!\n{now} #general bob~{b}: a\u{241b}b\n{now} #general bob~{b}: x: y\n"
        ),
        "one line with a control character"
    );
    let direct = |recipient: u8| {
        chat(ChatFields {
            target: Target::Peer(identity(recipient).id()),
            ..bob_says(&["psst"])
        })
    };
    assert_eq!(
        rendered(&mut pipe, &direct(1)),
        format!("{now} @alice~{a} bob~{b}: psst\n")
    );
    assert_eq!(
        rendered(&mut pipe, &direct(7)),
        format!("{now} @?~{} bob~{b}: psst\n", short(7))
    );
    let waves = chat(ChatFields {
        form: LineForm::Action,
        late: true,
        ..bob_says(&["waves"])
    });
    assert_eq!(
        rendered(&mut pipe, &waves),
        format!("2026-11-20T08:00:00.000Z #general ** bob~{b} waves\n"),
        "a late line has the author's timestamp"
    );
}

/// Events begin with `*`, gaps with `-`.
#[test]
fn events_and_gaps_on_a_pipe_have_the_form_of_the_contract() {
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let (room, at, b) = (
        Room::general(),
        wall_time("2026-11-21T10:31:06.5Z"),
        short(2),
    );
    let bob = peer(2, "bob");
    let gap = |from, to| Notice::Gap {
        target: general(),
        author: bob.clone(),
        incarnation: 1,
        from,
        to,
        at,
    };
    let [joined, left] = joined_and_left(&bob, at);
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
        (
            flapped(&bob, FlapKind::Membership, at),
            format!("* bob~{b} joined or left 412 times in the last minute"),
        ),
        (
            flapped(&bob, FlapKind::Name, at),
            format!("* bob~{b} changed its name 412 times in the last minute"),
        ),
        (
            flapped(&bob, FlapKind::Away, at),
            format!("* bob~{b} went away or came back 412 times in the last minute"),
        ),
        (
            presence(&bob, Some("a\u{1b}[2J\nb"), at),
            format!("* bob~{b} is away: a\u{241b}[2J\u{240a}b"),
        ),
        (presence(&bob, Some(""), at), format!("* bob~{b} is away")),
        (presence(&bob, None, at), format!("* bob~{b} is back")),
        (gap(7, 9), format!("- 3 lines of bob~{b} are missing")),
        (gap(7, 7), format!("- 1 line of bob~{b} is missing")),
    ] {
        let stamp = "2026-11-21T10:31:06.500Z #general";
        assert_eq!(rendered(&mut pipe, &notice), format!("{stamp} {line}\n"));
    }
}

/// A terminal shows bare names, unless two peers share one or a name could be mistaken.
#[test]
fn the_terminal_form_adds_an_id_only_to_an_ambiguous_name() {
    let zone = TimeZone::fixed(Offset::constant(2));
    let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone.clone(), Palette::None);
    screen.set_current_room(Some(Room::general()));
    assert_eq!(
        rendered(&mut screen, &chat(bob_says(&["Hey there!"]))),
        "[12:31] bob: Hey there!\n"
    );
    let other = chat(ChatFields {
        by: (3, "BOB"),
        target: Target::Room(Room::new("ops").unwrap()),
        form: LineForm::Action,
        late: true,
        text: &["waves"],
    });
    assert_eq!(
        rendered(&mut screen, &other),
        format!(
            "--- Friday, 20 November 2026\n[10:00] #ops ** BOB~{} waves\n",
            short(3)
        )
    );
    assert_eq!(
        rendered(&mut screen, &chat(bob_says(&["it's me"]))),
        format!(
            "--- Saturday, 21 November 2026\n[12:31] bob~{}: it's me\n",
            short(2)
        ),
        "once two peers are called bob, each has its id"
    );
    let mut names = DisplayNames::default();
    let invalid_name = Peer {
        id: identity(5).id(),
        nick: Nick::new_or_placeholder("a b"),
    };
    names.record(&invalid_name);
    assert_eq!(names.display_name(&invalid_name), format!("?~{}", short(5)));
    // Our user is called so.
    for nick in ["you", "You"] {
        let stranger = peer(6, nick);
        names.record(&stranger);
        assert_eq!(
            names.display_name(&stranger),
            format!("{nick}~{}", short(6))
        );
    }
    let mut colours = TextRenderer::for_terminal(&peer(1, "alice"), zone, Palette::Basic);
    let line = rendered(&mut colours, &chat(bob_says(&["\u{1b}[2J"])));
    assert!(line.starts_with("\u{1b}[2m[12:31]\u{1b}[0m "), "{line:?}");
    assert!(line.ends_with("bob\u{1b}[0m: \u{241b}[2J\n"), "{line:?}");
}

/// A batch from a peer is printed as one that was parsed.
#[test]
fn lines_from_a_peer_are_printed_where_they_are() {
    let texts = ["one", "", "\u{e9} \"three\"", "\u{1b}four"];
    for count in [1, 2, 3, 4] {
        let Notice::Chat(signed) = chat(bob_says(&texts[..count])) else {
            unreachable!("a chat");
        };
        let bytes = signed.batch.as_bytes().to_vec();
        let received = Batch::parse(bytes, &NetworkTag::OPEN).expect("a batch");
        assert_eq!(
            received.is_plain(),
            count == 2,
            "one string, or an array without escapes"
        );
        let received = Chat {
            batch: Arc::new(received),
            ..signed.clone()
        };
        let (signed, received) = (ChatLines::from(&signed), ChatLines::from(&received));
        assert_eq!(received, signed);
        assert_eq!(received.count(), count as u64);
        let printed = |lines: &ChatLines| {
            let mut out = Vec::new();
            TextRenderer::for_pipe(&peer(1, "alice")).append_chat(
                lines,
                wall_time("2026-11-21T10:32:00Z"),
                &mut out,
            );
            let event = SessionEvent::new(
                None,
                EventKind::Chat {
                    chat: lines.clone(),
                    cursor: None,
                },
            );
            json::append_event(&event, false, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(printed(&received), printed(&signed));
        let parts = |mut lines: ChatLines| {
            let mut first = lines.clone();
            first.truncate_lines(1);
            lines.skip_lines(1);
            (first, lines)
        };
        assert_eq!(parts(received), parts(signed));
    }
}

/// History renders the author's timestamp, and no local field such as the time of receipt.
#[test]
fn history_shows_the_signed_fields_only() {
    let Notice::Chat(chat) = chat(bob_says(&["one", "two\u{1b}"])) else {
        unreachable!("a chat");
    };
    let zone = jiff::tz::TimeZone::UTC;
    let history = |today: &str| {
        let zone = zone.clone();
        let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone, Palette::None);
        let mut out = Vec::new();
        let lines = ChatLines::signed(&chat.batch, 0, "one\ntwo\u{1b}\n".to_owned().into());
        screen.append_chat(&lines, wall_time(today), &mut out);
        String::from_utf8(out).unwrap()
    };
    // A line of another day comes below its day.
    assert_eq!(
        history("2026-11-20T23:00:00Z"),
        "[08:00] #general bob: one\n[08:00] #general bob: two␛\n"
    );
    let yesterday = history("2026-11-21T01:00:00Z");
    assert!(
        yesterday.starts_with("--- Friday, 20 November 2026\n[08:00] #general bob: one\n"),
        "{yesterday}"
    );
    let mut out = Vec::new();
    let chat = ChatLines::signed(&chat.batch, 1, "two\u{1b}\n".to_owned().into());
    let event = SessionEvent::new(None, EventKind::Chat { chat, cursor: None });
    json::append_event(&event, false, &mut out);
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

/// A name that an earlier run knew for another key could mislead, too.
#[test]
fn a_name_known_for_another_key_is_shown_with_an_id() {
    let zone = TimeZone::fixed(Offset::UTC);
    let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone, Palette::None);
    let shown = |screen: &mut TextRenderer| rendered(screen, &chat(bob_says(&["hi"])));
    screen.record_known_name(identity(2).id(), &Nick::new("Bob").unwrap());
    assert!(shown(&mut screen).ends_with(" bob: hi\n"), "his own name");
    screen.record_known_name(identity(3).id(), &Nick::new("BOB").unwrap());
    let line = shown(&mut screen);
    let named = format!(" bob~{}: hi\n", short(2));
    assert!(line.ends_with(&named), "{line}");
}

/// A block of very many lines does not fill a terminal; on a pipe it is whole.
#[test]
fn a_terminal_shows_the_first_lines_of_a_long_block() {
    let block = "x\u{b}".repeat(8191);
    let message = chat(ChatFields {
        form: LineForm::Block,
        ..bob_says(&[&block])
    });
    let zone = jiff::tz::TimeZone::UTC;
    let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone, Palette::None);
    let shown = rendered(&mut screen, &message);
    let rows: Vec<&str> = shown.lines().collect();
    assert_eq!(rows.len(), 101);
    assert_eq!(rows[99..], ["    x", "    (8092 more lines)"]);
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    assert_eq!(rendered(&mut pipe, &message).lines().count(), 8192);
}
