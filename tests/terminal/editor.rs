//! The line editor: what is typed, redrawn and sent.
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::hosts::host::Loopback;
use crate::hosts::program::TIMEOUT;
use crate::hosts::wait::wait_until;
use crate::pty::AtTerminal;
use crate::pty::command;
use crate::{alice_and_bob, wait_message};

/// The half-typed line stays the last line of the screen, whole, while 50 lines scroll above
/// it.
#[test]
fn a_half_typed_line_survives_incoming_lines() {
    let Some((_lo, alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    // Longer than bob's lines, so that a missing erase leaves a visible rest.
    let half = "#general> no more than half a thou";
    alice.pty.type_keys("no more than half a thou");
    alice.pty.wait_last_row(half, 34);
    for n in 1..=50 {
        bob.say(&format!("line {n} of fifty"));
    }
    alice.pty.wait_row("bob: line 50 of fifty");
    alice.pty.wait_last_row(half, 34);
    let lines = alice.pty.with_screen(|screen| screen.lines());
    let printed: Vec<&str> = lines
        .iter()
        .filter_map(|l| l.split_once("bob: "))
        .map(|(_, text)| text)
        .collect();
    let expected: Vec<String> = (1..=50).map(|n| format!("line {n} of fifty")).collect();
    assert_eq!(printed, expected);
    let leftover = lines
        .iter()
        .rev()
        .skip(1)
        .find(|line| line.contains("half"));
    assert_eq!(leftover, None, "a rest of the half-typed line");

    alice.pty.type_keys("ght\r");
    alice.pty.wait_row("alice: no more than half a thought");
    alice.pty.wait_last_row("#general>", 10);
    wait_message(&bob, "no more than half a thought");
}

/// Backspace, arrows, Home and Delete edit the line, with wide characters and lines longer than
/// the screen; what stands there is sent.
#[test]
fn the_line_is_sent_as_edited() {
    let Some((_lo, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let (pty, home, left, right, delete) = (&alice.pty, "\x1b[H", "\x1b[D", "\x1b[C", "\x1b[3~");
    pty.type_keys("wörlds");
    pty.wait_last_row("#general> wörlds", 16);
    pty.type_keys("\x7f");
    pty.wait_last_row("#general> wörld", 15);
    pty.type_keys([home, "hello  "].concat());
    pty.wait_last_row("#general> hello  wörld", 17);
    pty.type_keys([left, "\x7f", right].concat());
    pty.wait_last_row("#general> hello wörld", 16);
    pty.type_keys([left, left, delete, "O"].concat());
    pty.wait_last_row("#general> hellO wörld", 15);
    pty.type_keys("\r");
    wait_message(&bob, "hellO wörld");

    // Each of these characters is two columns wide.
    pty.type_keys("漢字🎉");
    pty.wait_last_row("#general> 漢字🎉", 16);
    pty.type_keys([left, left].concat());
    pty.wait_last_row("#general> 漢字🎉", 12);
    pty.type_keys("\x7fx");
    pty.wait_last_row("#general> x字🎉", 11);
    pty.type_keys("\r");
    wait_message(&bob, "x字🎉");

    // A line longer than the screen scrolls sideways, on one row.
    let long: String = ('a'..='z').cycle().take(130).collect();
    pty.type_keys(&long);
    pty.wait_screen("the end of a long line", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("#general 2> <") && last.ends_with(&long[110..]) && last.len() < 60
    });
    pty.type_keys(home);
    pty.wait_screen("its beginning", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("#general 2> abcdef") && screen.cursor() == 12
    });
    pty.type_keys("\r");
    wait_message(&bob, &long);

    // Marks show where the line is cut; a joined emoji is one character; C-l clears the screen.
    pty.type_keys([&long, "\x01", &"\x06".repeat(30)].concat());
    pty.wait_screen("a mark", |screen| {
        let last = screen.last().unwrap_or_default();
        last.ends_with('>') && !last.contains('<') && screen.cursor() == 42
    });
    pty.type_keys("\x0c");
    pty.wait_screen("an empty screen", |screen| {
        let (lines, last) = (screen.lines(), screen.last().unwrap_or_default());
        let visible = &lines[lines.len().saturating_sub(12)..];
        last.starts_with("#general 2> abc") && !visible.concat().contains("bob joined")
    });
    pty.type_keys("\x01\x0b/help\r");
    pty.wait_screen("help", |screen| {
        screen.lines().concat().contains("earlier lines; C-l")
    });
    pty.type_keys("/CLEAR\r");
    pty.wait_screen("an empty screen", |screen| {
        let lines = screen.lines();
        let visible = &lines[lines.len().saturating_sub(12)..];
        !visible.concat().contains("earlier lines; C-l")
    });
    pty.type_keys("\x0b\x15a👩\u{200d}👧\x02\x02\x04👍\u{1f3fd}\x1bb\x1bd\x19!\r");
    wait_message(&bob, "👍\u{1f3fd}👩\u{200d}👧!");
    pty.type_keys("\x0b");

    // Arrow up recalls earlier lines.
    pty.type_keys("\x1b[A\x1b[A\x1b[A\x1b[A\x10");
    pty.wait_last_row("#general> x字🎉", 15);
    pty.type_keys("\x03\x04");
    alice.assert_exit(0);
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" * alice~") && line.ends_with(" left")
    });
    let lines = bob.out.all();
    let chat = lines
        .iter()
        .filter(|line| line.contains(" #general alice~"));
    assert_eq!(chat.count(), 4, "{lines:#?}");
}

/// /history and /search print stored lines, in order with later input, and keep the half-typed
/// line.
#[test]
fn history_and_search_keep_the_typed_line() {
    let Some((_lo, mut alice, mut bob)) = alice_and_bob(&["-r", "general"]) else {
        return;
    };
    let pty = &alice.pty;
    let wait_rows = |text: &str, wanted: usize| {
        pty.wait_screen(text, |screen| {
            let lines = screen.lines();
            lines.iter().filter(|line| line.ends_with(text)).count() == wanted
        });
    };
    bob.say("the first");
    bob.say("the second");
    pty.wait_row("] bob: the second");
    // Later keys are read meanwhile; their line comes after the answers.
    pty.type_keys("/history 1\r/search FIRST\r/search nowhere\rmine\rhalf");
    wait_message(&bob, "mine");
    pty.wait_last_row("#general> half", 14);
    wait_rows("] bob: the second", 2);
    wait_rows("] bob: the first", 2);
    wait_rows("nothing was found", 1);
    pty.wait_row("alice: mine");
    let lines = pty.with_screen(|screen| screen.lines());
    let row_of = |text: &str| lines.iter().rposition(|line| line.ends_with(text));
    assert!(row_of("the second") < row_of("the first"), "{lines:#?}");
    assert!(
        row_of("nothing was found") < row_of("alice: mine"),
        "{lines:#?}"
    );
    pty.type_keys("\x03/history 0\r");
    pty.wait_row("p2pchat: /history takes a number of lines: /history 50");
    pty.type_keys("/quit\r");
    alice.assert_exit(0);
}

/// Control characters of others are shown as symbols and never reach the terminal; pasted ones
/// are not sent.
#[test]
fn control_characters_of_others_are_shown_as_symbols() {
    let Some((_lo, mut alice, mut bob)) = alice_and_bob(&["--color", "never"]) else {
        return;
    };
    alice.pty.type_keys("here");
    bob.write("\x1b[2J\x1b[31mred \x07\x08\x7f\u{9b}5A\u{202e}abc\u{2066}\n".as_bytes());
    bob.say("and after");
    alice.pty.wait_row("bob: and after");
    alice
        .pty
        .wait_row("bob: ␛[2J␛[31mred ␇␈\u{fffd}\u{fffd}5A\u{fffd}abc\u{fffd}");
    alice.pty.wait_last_row("#general> here", 14);
    // Pasted codes are keys: the editor takes them, and the line that is sent has none.
    alice.pty.type_keys("\x03\x1b[2J\x1b]0;title\x07pasted\r");
    bob.out.wait_for(TIMEOUT, |line| {
        line.ends_with("pasted") && !line.contains('\x1b')
    });
    alice.pty.type_keys("\x04");
    alice.assert_exit(0);
    // The terminal got none of bob's codes as a colour.
    let styles = alice.pty.with_screen(|screen| screen.styles.clone());
    assert!(styles.is_empty(), "{styles:?}");
}

/// A new size of the terminal redraws the half-typed line within its width, and loses no text.
#[test]
fn a_resize_redraws_the_line() {
    let Some((_lo, mut alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    alice
        .pty
        .type_keys("0123456789012345678901234567890123456789");
    alice
        .pty
        .wait_last_row("#general> 0123456789012345678901234567890123456789", 50);
    alice.pty.resize(30, 8);
    alice
        .pty
        .wait_screen("a line that fits 30 columns", |screen| {
            let last = screen.last().unwrap_or_default();
            last.starts_with("#general 2> <") && last.ends_with("0123456789") && last.len() < 30
        });
    bob.say("hello");
    alice.pty.wait_row("bob: hello");
    alice.pty.resize(60, 12);
    alice
        .pty
        .wait_last_row("#general> 0123456789012345678901234567890123456789", 50);
    alice.pty.type_keys("\r");
    wait_message(&bob, "0123456789012345678901234567890123456789");
    alice.pty.type_keys("\x04");
    alice.assert_exit(0);
}

/// After SIGSTOP and SIGCONT the program sets raw mode again, lets the terminal mark what is pasted
/// again, and redraws the line.
#[test]
fn a_continued_program_takes_raw_mode_again() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.type_keys("half");
    alice.pty.wait_last_row("#general> half", 14);
    let raw = alice.pty.stty(&["-g"]);
    alice.signal(Signal::SIGSTOP);
    alice.pty.stty(&[&alice.modes_before]);
    // The shell's editor takes the marks away.
    alice.pty.with_screen(|screen| screen.marks_paste = false);
    alice.signal(Signal::SIGCONT);
    wait_until("raw mode again", TIMEOUT, || alice.pty.stty(&["-g"]) == raw);
    alice
        .pty
        .wait_screen("marks of pasted text", |screen| screen.marks_paste);
    alice.pty.type_keys(" a line");
    alice.pty.wait_last_row("#general> half a line", 21);
    alice.pty.type_keys("\x03\x04");
    alice.assert_exit(0);
}

/// Typed lines come back after a restart, by arrow and by C-r; direct messages only with
/// `--history-direct`, mistyped commands never, and nothing is kept with `--ephemeral`.
#[test]
fn typed_lines_outlast_the_program() {
    let Some((lo, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let file = lo.host.folder("alice").join("typed_lines");
    let kept = || std::fs::read_to_string(&file).unwrap_or_default();
    let pty = &alice.pty;
    pty.type_keys("the first line\r/msg bob psst\r/mgs bob secret\r/me waves\r/quit\r");
    alice.assert_exit(0);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(": psst"));
    assert_eq!(kept(), "the first line\n/me waves\n/quit\n");
    let mode = std::fs::metadata(&file).expect("the file").permissions();
    assert_eq!(mode.mode() & 0o777, 0o600);

    let mut alice = AtTerminal::chat(&lo, "alice", &["--history-direct"]);
    let pty = &alice.pty;
    pty.type_keys("\x1b[A\x1b[A");
    pty.wait_last_row("#general> /me waves", 19);
    pty.type_keys("\x03\x12rst");
    pty.wait_last_row("(search) rst: the first line", 20);
    pty.type_keys("\x05, again\r");
    wait_message(&bob, "the first line, again");
    pty.type_keys("/msg bob direct\r/quit\r");
    alice.assert_exit(0);
    let third = "the first line, again\n/msg bob direct\n/quit\n";
    assert_eq!(kept(), format!("the first line\n/me waves\n/quit\n{third}"));

    let mut ephemeral = command(&lo.host, "carol", &["--ephemeral"]);
    ephemeral.env_remove("P2PCHAT_DIR");
    let mut carol = AtTerminal::run(ephemeral, |_| {});
    carol.pty.wait_row("ready as");
    carol.pty.type_keys("unseen\r/quit\r");
    carol.assert_exit(0);
    assert!(!lo.host.folder("carol").exists());
}

/// Several pasted lines are said or edited after a question only, and a pasted command acts only
/// after Enter.
#[test]
fn pasted_lines_are_said_after_a_question() {
    let Some((_lo, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let pty = &alice.pty;
    let paste = |text: &str| pty.type_keys(["\x1b[200~", text, "\x1b[201~"].concat());
    assert!(pty.with_screen(|screen| screen.marks_paste));
    paste("/quit\r");
    pty.wait_last_row("#general> /quit", 15);
    pty.type_keys("\x03");
    paste("first\r/quit\r\rlast\r");
    pty.wait_last_row(
        "4 lines pasted: (s)ay all, in one (b)lock, (e)dit each, (c)",
        59,
    );
    pty.type_keys("\rs");
    wait_message(&bob, "/quit");
    wait_message(&bob, "last");
    pty.wait_last_row("#general>", 10);
    // A long line of a paste is refused by its number; the others are said.
    let long = "x".repeat(17_000);
    paste(&["short", &long, "end"].join("\r"));
    pty.wait_screen("the question", |screen| {
        screen
            .last()
            .unwrap_or_default()
            .starts_with("3 lines pasted")
    });
    pty.resize(20, 12);
    pty.wait_last_row("3 lines pasted: (s)", 19);
    pty.resize(60, 12);
    pty.wait_last_row(
        "3 lines pasted: (s)ay all, in one (b)lock, (e)dit each, (c)",
        59,
    );
    pty.type_keys("s");
    wait_message(&bob, "end");
    pty.wait_row("p2pchat: pasted line 2: ");
    paste("one\rmessage\r/of three");
    pty.wait_screen("the question", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("3 lines pasted")
    });
    pty.type_keys("b");
    bob.out.wait_for(TIMEOUT, |line| line == "\t/of three");
    pty.type_keys("/me ");
    paste("waves\r/me bows");
    pty.wait_last_row("2 lines pasted: (e)dit each, (c)ancel?", 39);
    pty.type_keys("e");
    pty.wait_last_row("#general> /me waves", 19);
    pty.type_keys("\r");
    pty.wait_last_row("#general> /me bows", 18);
    pty.type_keys("\x03\x04");
    alice.assert_exit(0);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with("left"));
    let lines = bob.out.all();
    let texts: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once(" alice~").map(|(_, rest)| rest))
        .filter_map(|rest| rest.split_once(": ").or_else(|| rest.split_once(' ')))
        .map(|(_, text)| text)
        .filter(|text| !["joined", "left"].contains(text))
        .collect();
    assert_eq!(
        texts,
        ["first", "/quit", "", "last", "short", "end", "one", "waves"]
    );
    let first = lines.iter().position(|line| line.ends_with(": one"));
    let block = &lines[first.expect("the block")..][1..3];
    assert_eq!(block, ["\tmessage", "\t/of three"]);
}

/// Ctrl-Z stops the program under a shell, which finds the terminal as it was; `fg` continues it
/// with its half-typed line.
#[test]
fn ctrl_z_stops_and_fg_continues() {
    let Some(lo) = Loopback::new() else { return };
    let mut shell = lo.host.command("setsid");
    shell.args([
        "--ctty",
        "bash",
        "--norc",
        "--noprofile",
        "--noediting",
        "-i",
    ]);
    shell.env("PS1", "shell$ ").env("P2PCHAT_USERNAME", "alice");
    shell.env("P2PCHAT_DIR", lo.host.folder("alice"));
    let mut shell = AtTerminal::run(shell, |_| {});
    let pty = &shell.pty;
    pty.wait_last_row("shell$", 7);
    pty.type_keys(format!(
        "{} --interface lo\n",
        env!("CARGO_BIN_EXE_p2pchat")
    ));
    pty.wait_last_row("#general>", 10);
    let raw = pty.stty(&["-g"]);
    pty.type_keys("half");
    pty.wait_last_row("#general> half", 14);
    for _ in 0..2 {
        pty.type_keys("\x1a");
        pty.wait_last_row("shell$", 7);
        assert!(!pty.with_screen(|screen| screen.marks_paste));
        assert_ne!(pty.stty(&["-g"]), raw);
        pty.type_keys("fg\n");
        pty.wait_last_row("#general> half", 14);
        wait_until("raw mode again", TIMEOUT, || pty.stty(&["-g"]) == raw);
        assert!(pty.with_screen(|screen| screen.marks_paste));
    }
    pty.type_keys(" a line\r");
    pty.wait_row("alice: half a line");
    pty.type_keys("\x04");
    pty.wait_last_row("shell$", 7);
    pty.type_keys("exit\n");
    assert_eq!(shell.wait_code(), Some(0));
}

/// Ctrl-Z where no shell could continue the program does nothing.
#[test]
fn ctrl_z_without_a_shell_goes_on() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.type_keys("half\x1a");
    alice.pty.type_keys(" a line");
    alice.pty.wait_last_row("#general> half a line", 21);
    assert_ne!(alice.pty.stty(&["-g"]), alice.modes_before);
    alice.pty.type_keys("\x03\x04");
    alice.assert_exit(0);
}

/// A dumb terminal, and one without a name, get plain lines without escape sequences, and their
/// own editing of lines.
#[test]
fn a_dumb_terminal_gets_plain_lines() {
    let Some(lo) = Loopback::new() else { return };
    let mut bob = lo.start("bob", &[]);
    for term in ["dumb", ""] {
        let mut command = command(&lo.host, "alice", &[]);
        command.env("TERM", term);
        let mut alice = AtTerminal::run(command, |command| {
            command.env("TERM", term);
        });
        alice.pty.wait_row("* bob joined");
        assert_eq!(alice.pty.stty(&["-g"]), alice.modes_before);
        bob.say("hello");
        alice.pty.wait_row("bob: hello");
        alice.pty.type_keys("typed\n");
        wait_message(&bob, "typed");
        alice.pty.type_keys("/quit\n");
        assert_eq!(alice.wait_code(), Some(0));
        let (styles, unknown) = alice
            .pty
            .with_screen(|screen| (screen.styles.clone(), screen.unknown.clone()));
        assert!(
            styles.is_empty() && unknown.is_empty(),
            "{styles:?} {unknown:?}"
        );
        assert!(!alice.pty.with_screen(|screen| screen.marks_paste));
    }
}

/// Tab completes commands, rooms and the names of peers; a second Tab lists several candidates
/// above the line.
#[test]
fn tab_completes_names_rooms_and_commands() {
    let Some((lo, mut alice, bob)) = alice_and_bob(&["-r", "general", "-r", "games"]) else {
        return;
    };
    let bobby = lo.start("bobby", &[]);
    let pty = &alice.pty;
    pty.wait_row("* bobby joined");
    pty.type_keys("bo\t");
    pty.wait_last_row("#general> bob", 13);
    pty.type_keys("\t\t");
    pty.wait_row("bob  bobby");
    pty.type_keys("b\thi\r");
    bobby
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": bobby: hi"));
    pty.type_keys("/ms\tbobb\tpsst\r");
    bobby.out.wait_for(TIMEOUT, |line| line.ends_with(": psst"));
    pty.type_keys("/part #ga\t");
    pty.wait_last_row("#general> /part #games", 23);
    pty.type_keys("\x03\x04");
    alice.assert_exit(0);
    drop(bob);
}

/// A burst of 10 000 lines neither garbles nor delays what is typed meanwhile.
#[test]
fn a_burst_of_lines_does_not_delay_typing() {
    const LINES: usize = 10_000;
    /// The longest time that a key may take to its place on the screen.
    const ECHO_MAX: Duration = Duration::from_secs(2);
    let Some((_lo, mut alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    let pty = &alice.pty;
    let burst: String = (1..=LINES).map(|n| format!("burst {n}\n")).collect();
    let mut longest = Duration::ZERO;
    std::thread::scope(|scope| {
        scope.spawn(|| bob.write(burst.as_bytes()));
        pty.wait_row("bob: burst 1");
        let typed = "typed while 10 000 lines come in";
        for (i, key) in typed.char_indices() {
            let start = Instant::now();
            pty.type_keys(key.to_string());
            let shown = format!("#general> {}", &typed[..=i]);
            pty.wait_last_row(shown.trim_end(), 11 + i);
            longest = longest.max(start.elapsed());
        }
    });
    eprintln!("a key took at most {} ms", longest.as_millis());
    assert!(longest < ECHO_MAX, "a key took {} ms", longest.as_millis());
    pty.wait_row(&format!("bob: burst {LINES}"));
    let lines = pty.with_screen(|screen| screen.lines());
    let burst = lines
        .iter()
        .filter_map(|line| line.split_once("bob: burst "));
    let numbers: Vec<String> = burst.map(|(_, number)| number.to_owned()).collect();
    let expected: Vec<String> = (1..=LINES).map(|n| n.to_string()).collect();
    assert_eq!(numbers, expected);
    let leftovers = lines.iter().filter(|line| line.contains("typed"));
    assert_eq!(leftovers.count(), 1);
    pty.type_keys("\r");
    wait_message(&bob, "typed while 10 000 lines come in");
    pty.type_keys("\x04");
    alice.assert_exit(0);
}
