//! Screens of a day's chat, kept as text files in `screens/`. With `P2PCHAT_UPDATE_SCREENS=1` the
//! test writes them anew: then read what has changed.
use std::fs;
use std::path::Path;

use jiff::tz::{Offset, TimeZone};
use p2pchat::base::batch::batch::LogId;
use p2pchat::base::event::notice::Notice;
use p2pchat::base::event::peer::Peer;
use p2pchat::base::identity::PeerId;
use p2pchat::base::name::{Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::{Now, Time, WallTime};
use p2pchat::shell::session::frontend::missed_lines::MissedLines;
use p2pchat::shell::session::frontend::renderer::Renderer;
use p2pchat::ui::editor::keys::TerminalInput;
use p2pchat::ui::editor::prompt::Prompt;
use p2pchat::ui::editor::terminal::Abilities;
use p2pchat::ui::session_event::{Arrival, ChatLines, EventKind, SessionEvent};
use p2pchat::ui::terminal_text::palette::Palette;
use termion::event::Key;

use crate::screen::Screen;

const ALICE: u8 = 1;
const BOB: u8 = 2;
const CAROL: u8 = 3;
const COLUMNS: u16 = 80;

fn peer(n: u8) -> Peer {
    let names = ["alice", "bob", "carol"];
    Peer {
        id: PeerId([n; 32]),
        nick: Nick::new(names[usize::from(n) - 1]).expect("a name"),
    }
}

fn wall_time(text: &str) -> WallTime {
    WallTime::parse(text).expect("a time")
}

/// Alice's terminal, two hours east of Greenwich.
struct Terminal {
    renderer: Renderer,
    screen: Screen,
    /// What the program printed, with its styles.
    printed: Vec<u8>,
}

impl Terminal {
    fn new() -> Terminal {
        let zone = TimeZone::fixed(Offset::constant(2));
        let renderer = Renderer::for_terminal(&peer(ALICE), zone, Palette::Basic);
        let mut renderer = renderer
            .with_screen(COLUMNS)
            .with_editor(COLUMNS, Abilities::default());
        for known in [BOB, CAROL].map(peer) {
            renderer.record_known_name(known.id, &known.nick);
        }
        renderer.set_current_room(Some(&Room::general()));
        let mut terminal = Terminal {
            renderer,
            screen: Screen::new(COLUMNS.into(), 24),
            printed: Vec::new(),
        };
        terminal.prompt(0, 0);
        terminal
    }

    fn prompt(&mut self, others_here: u64, unread: u64) {
        self.renderer.set_prompt(&Prompt {
            room: Some(Room::general()),
            others_here,
            unread,
            ..Prompt::default()
        });
        self.print(Vec::new());
    }

    fn print(&mut self, lines: Vec<u8>) {
        self.printed.extend_from_slice(&lines);
        let output = self.renderer.compose_output(lines);
        self.screen.feed(&output);
    }

    fn show(&mut self, kind: EventKind) {
        let mut lines = Vec::new();
        let today = wall_time("2026-11-27T06:00:00Z");
        let event = SessionEvent::new(None, kind);
        self.renderer.append_event(&event, today, &mut lines);
        self.print(lines);
    }

    fn notice(&mut self, notice: Notice) {
        self.show(notice.into());
    }

    fn joined(&mut self, n: u8, at: &str) {
        let (room, peer, at) = (Room::general(), peer(n), wall_time(at));
        self.notice(Notice::Joined { room, peer, at });
    }

    fn say(&mut self, chat: ChatLines) {
        self.show(EventKind::Chat { chat, cursor: None });
    }

    /// Compares the screen, and the printed lines with their styles, with the kept files.
    fn assert_kept(&self, name: &str) {
        assert_eq!(self.screen.unknown, [""; 0]);
        compare(
            &format!("{name}.txt"),
            &(self.screen.lines().join("\n") + "\n"),
        );
        let printed = String::from_utf8_lossy(&self.printed);
        let mut styled = String::new();
        for (i, part) in printed.split("\x1b[").enumerate() {
            match part.split_once('m') {
                Some((style, rest)) if i > 0 => styled += &format!("<{style}>{rest}"),
                _ => styled += part,
            }
        }
        compare(&format!("{name}.styles.txt"), &styled);
    }
}

/// A line that is said and received at this time.
fn line(author: u8, at: &str, text: &str) -> ChatLines {
    ChatLines {
        log: LogId {
            target: Target::Room(Room::general()),
            author: PeerId([author; 32]),
            incarnation: 1,
        },
        username: peer(author).nick,
        sequence: 1,
        lamport: wall_time(at).0.cast_unsigned() * 1000,
        timestamp: wall_time(at),
        form: LineForm::Text,
        arrival: Some(Arrival {
            received: wall_time(at),
            is_own: author == ALICE,
            ..Arrival::default()
        }),
        text: format!("{text}\n").into(),
    }
}

fn direct(author: u8, recipient: u8, at: &str, text: &str) -> ChatLines {
    let mut chat = line(author, at, text);
    chat.log.target = Target::Peer(PeerId([recipient; 32]));
    chat
}

/// A line that was said before the link stood.
fn late(author: u8, at: &str, text: &str) -> ChatLines {
    let mut chat = line(author, at, text);
    chat.arrival = Some(Arrival {
        received: wall_time("2026-11-27T06:00:01Z"),
        late: true,
        ..Arrival::default()
    });
    chat
}

fn compare(name: &str, shown: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/terminal/screens");
    let path = path.join(name);
    if std::env::var_os("P2PCHAT_UPDATE_SCREENS").is_some() {
        fs::write(&path, shown).expect("a file");
    }
    let kept = fs::read_to_string(&path).expect("a kept screen");
    assert_eq!(kept, shown, "{name}");
}

/// A day with two others: joins, talk, a mention, an action, a pasted block, direct messages, a
/// long line, lines that are missing, and midnight.
#[test]
fn a_day_of_chat_looks_as_kept() {
    let mut terminal = Terminal::new();
    terminal.joined(BOB, "2026-11-27T06:58:03Z");
    terminal.prompt(1, 0);
    terminal.say(line(BOB, "2026-11-27T06:58:40Z", "good morning, Alice!"));
    terminal.say(line(ALICE, "2026-11-27T06:59:12Z", "good morning"));
    terminal.joined(CAROL, "2026-11-27T07:15:00Z");
    terminal.prompt(2, 0);
    let mut waves = line(CAROL, "2026-11-27T07:15:20Z", "waves");
    waves.form = LineForm::Action;
    terminal.say(waves);
    let mut block = line(
        CAROL,
        "2026-11-27T07:16:00Z",
        "df -h\u{b}/dev/sda1  98%\u{b}who?",
    );
    block.form = LineForm::Block;
    terminal.say(block);
    let mut elsewhere = line(BOB, "2026-11-27T09:30:00Z", "the door is open");
    elsewhere.log.target = Target::Room(Room::new("lab").expect("a room"));
    terminal.say(elsewhere);
    terminal.say(direct(CAROL, ALICE, "2026-11-27T11:00:00Z", "lunch?"));
    terminal.prompt(2, 1);
    terminal.say(direct(
        ALICE,
        CAROL,
        "2026-11-27T11:01:30Z",
        "in ten minutes",
    ));
    terminal.prompt(2, 0);
    let long = "the backup of last night took five hours, because the second disk is slow again, \
                and the switch in the cellar has dropped to 100 Mbit/s";
    terminal.say(line(BOB, "2026-11-27T14:05:00Z", long));
    terminal.say(line(
        BOB,
        "2026-11-27T14:06:00Z",
        "\u{1b}[2J is shown, and clears nothing",
    ));
    terminal.notice(Notice::Gap {
        target: Target::Room(Room::general()),
        author: peer(CAROL),
        incarnation: 1,
        from: 7,
        to: 9,
        at: wall_time("2026-11-27T15:00:00Z"),
    });
    let (room, at) = (Room::general(), wall_time("2026-11-27T21:59:00Z"));
    let peer = peer(CAROL);
    terminal.notice(Notice::Left { room, peer, at });
    terminal.prompt(1, 0);
    terminal.say(line(BOB, "2026-11-27T22:00:10Z", "good night"));
    for c in "good ni".chars() {
        terminal
            .renderer
            .handle_input(TerminalInput::Key(Key::Char(c)));
    }
    terminal.print(Vec::new());
    terminal.assert_kept("a_day");
}

/// The return after a night: the last missed lines of both others, in one order, below their
/// number; then the talk goes on.
#[test]
fn the_return_after_a_night_looks_as_kept() {
    let mut terminal = Terminal::new();
    let mut missed = MissedLines::default();
    let now = |ms, at: &str| Now {
        time: Time(ms),
        wall: wall_time(at),
    };
    missed.begin_turn(now(1, "2026-11-27T06:00:00Z"));
    terminal.joined(BOB, "2026-11-27T06:00:01Z");
    terminal.prompt(1, 0);
    let old: Vec<String> = (1..=1164).map(|i| format!("measurement {i}")).collect();
    let old = late(BOB, "2026-11-26T10:00:00Z", &old.join("\n"));
    let minute = |i: usize| {
        format!(
            "2026-11-2{}T{:02}:{:02}:00Z",
            6 + i / 30,
            20 - i / 30 * 18,
            i
        )
    };
    assert!(missed.is_missed(&old));
    missed.add(old, Time(100));
    for i in 0..40 {
        let author = [BOB, CAROL][i % 2];
        let text = format!("line {i} of the night");
        missed.add(late(author, &minute(i), &text), Time(200));
    }
    let shown = missed.take();
    let mut heading = Vec::new();
    let text = shown.heading.as_deref().expect("a heading");
    terminal.renderer.append_heading(text, &mut heading);
    terminal.print(heading);
    for chat in shown.lines {
        terminal.say(chat);
    }
    terminal.say(line(BOB, "2026-11-27T06:01:00Z", "there you are"));
    terminal.assert_kept("the_return");
}
