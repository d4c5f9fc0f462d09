//! The form of the transcript for people: days, direct messages, mentions, colours.

use jiff::tz::{Offset, TimeZone};
use p2pchat::base::event::notice::Notice;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::ui::session_event::ChatLines;
use p2pchat::ui::terminal_text::mention::find_mention;
use p2pchat::ui::terminal_text::palette::{INDEXED_DIRECT, INDEXED_NAMES, Palette};
use p2pchat::ui::text::TextRenderer;

use super::support::{
    ChatFields, bob_says, chat, general, identity, joined_and_left, peer, rendered, wall_time,
};

fn for_alice(palette: Palette) -> TextRenderer {
    let zone = TimeZone::fixed(Offset::constant(2));
    let mut screen = TextRenderer::for_terminal(&peer(1, "alice"), zone, palette);
    screen.set_current_room(Some(Room::general()));
    screen
}

/// What a terminal shows of a line of bob that arrived at this time.
fn said_at(screen: &mut TextRenderer, received: &str, today: &str) -> String {
    let Notice::Chat(mut chat) = chat(bob_says(&["hi"])) else {
        unreachable!("a chat");
    };
    chat.local.received = wall_time(received);
    let (mut out, today) = (Vec::new(), wall_time(today));
    screen.append_chat(&ChatLines::from(&chat), today, &mut out);
    String::from_utf8(out).unwrap()
}

fn direct(by: (u8, &'static str), recipient: u8) -> Notice {
    chat(ChatFields {
        by,
        target: Target::Peer(identity(recipient).id()),
        ..bob_says(&["psst"])
    })
}

/// A day line comes when the day of the local time changes, whatever the line is, and before a
/// first line that is not of today.
#[test]
fn each_day_begins_with_a_line() {
    let mut screen = for_alice(Palette::None);
    let friday = "2026-11-27T12:00:00Z";
    assert_eq!(said_at(&mut screen, friday, friday), "[14:00] bob: hi\n");
    let late = "2026-11-27T21:59:59Z";
    assert_eq!(said_at(&mut screen, late, late), "[23:59] bob: hi\n");
    let [joined, left] = joined_and_left(&peer(2, "bob"), wall_time("2026-11-27T22:00:00Z"));
    assert_eq!(
        rendered(&mut screen, &joined),
        "--- Saturday, 28 November 2026\n[00:00] * bob joined\n"
    );
    assert_eq!(rendered(&mut screen, &left), "[00:00] * bob left\n");
    // A first line of another day.
    let mut screen = for_alice(Palette::Basic);
    let shown = said_at(&mut screen, "2026-03-01T12:00:00Z", friday);
    assert!(
        shown.starts_with("\u{1b}[2m--- Sunday, 1 March 2026\u{1b}[0m\n\u{1b}[2m[14:00]"),
        "{shown:?}"
    );
    // Scripts get a date with each line.
    let mut pipe = TextRenderer::for_pipe(&peer(1, "alice"));
    let shown = said_at(&mut pipe, "2026-03-01T12:00:00Z", friday);
    assert!(
        shown.starts_with("2026-03-01T12:00:00.000Z #general bob~"),
        "{shown}"
    );
}

/// Further lines of a block are indented. Our name is highlighted in them, too. A style spans all.
#[test]
fn a_block_is_indented() {
    let block = |late| {
        let form = LineForm::Block;
        chat(ChatFields {
            form,
            late,
            ..bob_says(&["one\u{b}for alice\u{b}\u{1b}[2J"])
        })
    };
    let mut screen = for_alice(Palette::None);
    let shown = rendered(&mut screen, &block(false));
    assert_eq!(shown, "[12:31] bob: one\n    for alice\n    \u{241b}[2J\n");
    let mut screen = for_alice(Palette::Basic);
    let shown = rendered(&mut screen, &block(false));
    assert!(
        shown.contains("\n    for \u{1b}[7malice\u{1b}[27m\n    "),
        "{shown:?}"
    );
    let shown = rendered(&mut screen, &block(true));
    assert!(shown.ends_with("\u{241b}[2J\u{1b}[0m\n"), "{shown:?}");
}

/// A line that was missed is dim, and has its author's time, below its author's day.
#[test]
fn a_late_line_is_dim_with_its_own_time() {
    let mut screen = for_alice(Palette::Basic);
    let late = chat(ChatFields {
        late: true,
        ..bob_says(&["one", "two"])
    });
    let shown = rendered(&mut screen, &late);
    let line = |text| format!("\u{1b}[2m[10:00]\u{1b}[0m \u{1b}[2mbob: {text}\u{1b}[0m\n");
    assert_eq!(shown, [line("one"), line("two")].concat());
    let day = rendered(&mut screen, &chat(bob_says(&["now"])));
    assert!(day.contains("--- Saturday, 21 November 2026"), "{day:?}");
    assert!(day.contains("m[12:31]"), "{day:?}");
}

/// A direct message says in which direction it goes, and has a colour of its own.
#[test]
fn direct_messages_have_a_direction_and_a_colour() {
    let mut screen = for_alice(Palette::None);
    let psst = |who: &str| format!("[12:31] {who}: psst\n");
    assert_eq!(
        rendered(&mut screen, &direct((2, "bob"), 1)),
        psst("bob → you")
    );
    assert_eq!(
        rendered(&mut screen, &direct((1, "alice"), 2)),
        psst("you → bob")
    );
    assert_eq!(
        rendered(&mut screen, &direct((1, "alice"), 1)),
        psst("you → you")
    );
    let waves = chat(ChatFields {
        target: Target::Peer(identity(1).id()),
        form: LineForm::Action,
        ..bob_says(&["waves"])
    });
    assert_eq!(
        rendered(&mut screen, &waves),
        "[12:31] ** bob → you waves\n"
    );
    let mut screen = for_alice(Palette::Basic);
    let shown = rendered(&mut screen, &direct((2, "bob"), 1));
    assert!(
        shown.ends_with("\u{1b}[35mbob → you: psst\u{1b}[0m\n"),
        "{shown:?}"
    );
    let mut screen = for_alice(Palette::Indexed);
    screen.record_known_name(identity(2).id(), &Nick::new("bob").unwrap());
    let shown = rendered(&mut screen, &direct((1, "alice"), 2));
    let styled = format!("\u{1b}[{INDEXED_DIRECT}myou → bob: psst\u{1b}[0m\n");
    assert!(shown.ends_with(&styled), "{shown:?}");
    // A name that two peers bear stays apart.
    let mut screen = for_alice(Palette::None);
    screen.record_known_name(identity(3).id(), &Nick::new("bob").unwrap());
    let shown = rendered(&mut screen, &direct((2, "bob"), 1));
    assert!(
        shown.contains(&format!("{} → you", peer(2, "bob"))),
        "{shown}"
    );
}

/// The own name is highlighted where others say it, as a whole word, in either case of letters.
#[test]
fn the_own_name_is_highlighted() {
    let mut screen = for_alice(Palette::Basic);
    let line = "ALICE, see malice and alice_: (alice) ali\u{1b}ce alice";
    let shown = rendered(&mut screen, &chat(bob_says(&[line])));
    let (on, off) = ("\u{1b}[7m", "\u{1b}[27m");
    let wanted = format!(
        ": {on}ALICE{off}, see malice and alice_: ({on}alice{off}) ali␛ce {on}alice{off}\n"
    );
    assert!(shown.ends_with(&wanted), "{shown:?}");
    // Neither in own lines, nor an earlier name.
    let own = chat(ChatFields {
        by: (1, "alice"),
        ..bob_says(&["I am alice"])
    });
    assert!(!rendered(&mut screen, &own).contains("\u{1b}[7m"));
    let (room, at) = (Room::general(), WallTime::default());
    let (peer, old) = (peer(1, "ally"), Nick::new("alice").unwrap());
    rendered(
        &mut screen,
        &Notice::Renamed {
            room,
            peer,
            old,
            at,
        },
    );
    let shown = rendered(&mut screen, &chat(bob_says(&["alice is Ally now"])));
    assert!(
        shown.contains("alice is \u{1b}[7mAlly\u{1b}[27m now"),
        "{shown:?}"
    );
    let place = |text, name| find_mention(text, name, 0);
    assert_eq!(place("étienne, Étienne", "ÉTIENNE"), Some(0..8));
    assert_eq!(place("日本bob", "bob"), None);
    assert_eq!(place("a.b", "b"), Some(2..3));
    assert_eq!(place("", "bob"), None);
}

/// What is for the user rings: a direct message, and a line with the user's name. What is stored,
/// or own, does not.
#[test]
fn lines_for_the_user_alert() {
    let mut screen = for_alice(Palette::None);
    let mut alerts = |notice: &Notice| {
        rendered(&mut screen, notice);
        screen.take_alert()
    };
    assert!(!alerts(&chat(bob_says(&["hello, malice"]))));
    assert!(alerts(&chat(bob_says(&["hello, Alice"]))));
    assert!(!alerts(&chat(bob_says(&["hello"]))), "once");
    assert!(alerts(&direct((2, "bob"), 1)));
    assert!(!alerts(&direct((1, "alice"), 2)));
    assert!(!alerts(&direct((1, "alice"), 1)));
    let own = ChatFields {
        by: (1, "alice"),
        target: general(),
        ..bob_says(&["alice is here"])
    };
    assert!(!alerts(&chat(own)));
    let Notice::Chat(chat) = direct((2, "bob"), 1) else {
        unreachable!("a chat");
    };
    let stored = ChatLines::signed(&chat.batch, 0, "psst, alice\n".to_owned().into());
    screen.append_chat(&stored, WallTime::default(), &mut Vec::new());
    assert!(!screen.take_alert(), "an answer to /history");
    // Such as a direct message that nobody can open.
    let unreadable = ChatLines {
        text: String::new().into(),
        ..ChatLines::from(&chat)
    };
    screen.append_chat(&unreadable, WallTime::default(), &mut Vec::new());
    assert!(!screen.take_alert(), "no line");
}

/// A name keeps its colour, which is readable on black and on white.
#[test]
fn colours_of_names_are_stable_and_readable() {
    let key = |byte| PeerId([byte; 32]);
    for palette in [Palette::Basic, Palette::Indexed] {
        let style = palette.name_style(&key(77));
        assert_eq!(style, palette.name_style(&key(77)));
        assert_ne!(style, palette.name_style(&key(78)));
    }
    for style in INDEXED_NAMES.iter().chain([&INDEXED_DIRECT]) {
        let index: u8 = style.strip_prefix("38;5;").unwrap().parse().unwrap();
        let luminance = luminance(index);
        let (on_black, on_white) = ((luminance + 0.05) / 0.05, 1.05 / (luminance + 0.05));
        assert!(
            on_black.min(on_white) >= 4.0,
            "{style}: {on_black} {on_white}"
        );
    }
    assert!(!INDEXED_NAMES.contains(&INDEXED_DIRECT));
}

/// The relative luminance (WCAG 2.1) of a colour of xterm's cube.
fn luminance(index: u8) -> f64 {
    let levels = [0.0, 95.0, 135.0, 175.0, 215.0, 255.0];
    let cell = usize::from(index - 16);
    let linear = |level: usize| {
        let value: f64 = levels[level % 6] / 255.0;
        match value <= 0.03928 {
            true => value / 12.92,
            false => ((value + 0.055) / 1.055).powf(2.4),
        }
    };
    0.2126 * linear(cell / 36) + 0.7152 * linear(cell / 6) + 0.0722 * linear(cell)
}
