//! The program at a terminal: keys go to a pseudo-terminal, and a screen model interprets the
//! output.
#[path = "../support/hosts/mod.rs"]
mod hosts;
mod pty;
mod screen;

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};

use hosts::program::{Program, TIMEOUT};
use hosts::{Loopback, wait_until};
use nix::sys::signal::Signal;
use p2pchat::shell::stdio::terminal::RawMode;
use pty::{AtTerminal, command, command_detached};

/// Alice at a terminal and bob on pipes, linked with each other.
fn alice_and_bob(arguments: &[&str]) -> Option<(Loopback, AtTerminal, Program)> {
    let lo = Loopback::new()?;
    let alice = AtTerminal::chat(&lo, "alice", arguments);
    let bob = lo.start("bob", &[]);
    alice.pty.wait_row("* bob joined");
    bob.out.wait_for(TIMEOUT, |line| line.contains(" * alice~"));
    Some((lo, alice, bob))
}

/// Waits until bob has printed this text of alice.
fn wait_message(bob: &Program, text: &str) {
    let end = format!(": {text}");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" alice~") && line.ends_with(&end)
    });
}

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
        last.starts_with("#general> ") && last.ends_with(&long[110..]) && last.len() < 60
    });
    pty.type_keys(home);
    pty.wait_screen("its beginning", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("#general> abcdef") && screen.cursor() == 10
    });
    pty.type_keys("\r");
    wait_message(&bob, &long);

    // Arrow up recalls earlier lines.
    pty.type_keys("\x1b[A\x1b[A");
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
    assert_eq!(chat.count(), 3, "{lines:#?}");
}

/// /quit and Ctrl-D end with 0, Ctrl-C on an empty line with 130, signals with 128 + number;
/// each restores the terminal.
#[test]
fn each_exit_has_its_status_and_restores_the_terminal() {
    let Some(lo) = Loopback::new() else { return };
    let check = |leave: &dyn Fn(&AtTerminal), code: i32| {
        let mut alice = AtTerminal::chat(&lo, "alice", &[]);
        assert_ne!(alice.pty.stty(&["-g"]), alice.modes_before, "raw mode");
        leave(&alice);
        alice.assert_exit(code);
    };
    check(&|alice| alice.pty.type_keys("/quit\r"), 0);
    check(&|alice| alice.pty.type_keys("\x04"), 0);
    check(&|alice| alice.pty.type_keys("\x03"), 130);
    check(
        &|alice| {
            alice.pty.type_keys("half a line");
            alice.pty.wait_last_row("#general> half a line", 21);
            alice.pty.type_keys("\x03");
            alice.pty.wait_last_row("#general>", 10);
            alice.pty.type_keys("\x03");
        },
        130,
    );
    check(&|alice| alice.signal(Signal::SIGTERM), 143);
    check(&|alice| alice.signal(Signal::SIGINT), 130);
    check(&|alice| alice.signal(Signal::SIGHUP), 129);
    check(
        &|alice| {
            alice.pty.type_keys("half a line");
            alice.pty.wait_last_row("#general> half a line", 21);
            alice.signal(Signal::SIGTERM);
        },
        143,
    );
}

/// A hangup of the terminal ends the run with 129, with the editor and without it.
#[test]
fn a_terminal_hangup_ends_with_129() {
    let Some(lo) = Loopback::new() else { return };
    // SIGHUP, the end of stdin and the write error come in any order; the status is the same.
    for _ in 0..10 {
        let mut alice = AtTerminal::chat(&lo, "alice", &[]);
        alice.pty.hang_up();
        assert_eq!(alice.wait_code(), Some(129));
    }
    for name in ["alice", "bob"] {
        // Without the editor, which would read the end of input.
        let mut lone = AtTerminal::run(command(&lo.host, name, &[]), |command| {
            if name == "alice" {
                command.stdout(Stdio::null());
            } else {
                command.arg("listen");
            }
        });
        lone.pty.wait_screen("the ready line", |screen| {
            screen.lines().concat().contains("ready as")
        });
        lone.pty.hang_up();
        assert_eq!(lone.wait_code(), Some(129), "{name}");
    }
}

/// A panic in raw mode restores the modes of the terminal.
#[test]
fn a_panic_restores_the_terminal() {
    // The test starts its own program at a terminal, which enters raw mode and panics.
    const AT_TERMINAL: &str = "P2PCHAT_PANIC_AT_TERMINAL";
    if env::var_os(AT_TERMINAL).is_some() {
        // Leaks the guard: a release build aborts without dropping it, so the panic hook must
        // restore the modes.
        std::mem::forget(RawMode::enter().expect("a terminal"));
        println!("in raw mode");
        let mut word = String::new();
        let _ = std::io::stdin().read_line(&mut word);
        panic!("as wanted");
    }
    let mut itself = Command::new(env::current_exe().expect("a test"));
    itself.args(["a_panic_restores_the_terminal", "--exact", "--nocapture"]);
    itself.env(AT_TERMINAL, "1");
    let mut child = AtTerminal::run(itself, |_| {});
    child.pty.wait_screen("raw mode", |screen| {
        screen.lines().concat().contains("in raw mode")
    });
    assert_ne!(child.pty.stty(&["-g"]), child.modes_before);
    child.pty.type_keys("\n");
    child.pty.wait_screen("the panic", |screen| {
        screen.lines().concat().contains("as wanted")
    });
    assert_eq!(child.wait_code(), Some(101));
    assert_eq!(child.pty.stty(&["-g"]), child.modes_before);
}

/// At a terminal /help, /users, /me, /join, /rooms, /part, /nick and /quit act, `//x` says
/// "/x", and an unknown command is never sent.
#[test]
fn commands_act_and_an_unknown_one_is_never_sent() {
    let Some((_lo, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let pty = &alice.pty;
    let wait_row = |text: &str| pty.wait_row(text);
    pty.type_keys("/help\r");
    wait_row("/quit             leave");
    pty.type_keys("/users\r");
    wait_row("linked  #general  127.0.0.1:");
    pty.type_keys("/shout hey\r");
    wait_row("p2pchat: /shout is not a command here");
    pty.type_keys("//shout hey\r");
    wait_message(&bob, "/shout hey");
    pty.type_keys("/me waves\r");
    wait_row("** alice waves");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" ** alice~") && line.ends_with(" waves")
    });

    pty.type_keys("/join ops\r");
    pty.wait_last_row("#ops>", 6);
    pty.type_keys("/rooms\r");
    wait_row("#ops  (current)");
    wait_row("#general");
    pty.type_keys("only here\r");
    wait_row("] alice: only here");
    pty.type_keys("/part\r");
    pty.wait_last_row("#general>", 10);
    pty.type_keys("/nick carol\r");
    wait_row("* alice is now known as carol");
    bob.out
        .wait_for(TIMEOUT, |line| line.contains("is now known as carol~"));
    pty.type_keys("back\r");
    wait_row("carol: back");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(": back"));
    pty.type_keys("/quit\r");
    alice.assert_exit(0);

    let lines = bob.out.all();
    let printed = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(
        !printed(": /shout") || printed(": /shout hey"),
        "{lines:#?}"
    );
    let shouts = lines.iter().filter(|line| line.contains("shout"));
    assert_eq!(shouts.count(), 1, "{lines:#?}");
    assert!(!printed("only here"), "{lines:#?}");
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
            last.starts_with("#general> ") && last.ends_with("0123456789") && last.len() < 30
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

/// After SIGSTOP and SIGCONT the program sets raw mode again and redraws the line.
#[test]
fn a_continued_program_takes_raw_mode_again() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.type_keys("half");
    alice.pty.wait_last_row("#general> half", 14);
    let raw = alice.pty.stty(&["-g"]);
    alice.signal(Signal::SIGSTOP);
    alice.pty.stty(&[&alice.modes_before]);
    alice.signal(Signal::SIGCONT);
    wait_until("raw mode again", TIMEOUT, || alice.pty.stty(&["-g"]) == raw);
    alice.pty.type_keys(" a line");
    alice.pty.wait_last_row("#general> half a line", 21);
    alice.pty.type_keys("\x03\x04");
    alice.assert_exit(0);
}

/// A terminal gets colours, reset at the end; `--color never` and a non-empty NO_COLOR switch
/// them off.
#[test]
fn colour_follows_the_terminal_and_no_color() {
    let styles = |arguments: &[&str], no_color: Option<&str>| {
        let lo = Loopback::new()?;
        let mut command = command(&lo.host, "alice", arguments);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let streams = |command: &mut Command| {
            no_color.map(|value| command.env("NO_COLOR", value));
        };
        let mut alice = AtTerminal::run(command, streams);
        alice.pty.wait_last_row("#general>", 10);
        alice.pty.type_keys("hello\r");
        alice.pty.wait_row("alice: hello");
        alice.pty.type_keys("/quit\r");
        alice.assert_exit(0);
        Some(alice.pty.with_screen(|screen| screen.styles.clone()))
    };
    let Some(default) = styles(&[], None) else {
        return;
    };
    assert!(
        default.iter().any(|style| style.starts_with('3')),
        "{default:?}"
    );
    assert_eq!(default.last().map(String::as_str), Some("0"));
    let none: Option<Vec<String>> = Some(Vec::new());
    assert_eq!(styles(&["--color", "never"], None), none);
    assert_eq!(styles(&[], Some("1")), none);
    assert_ne!(
        styles(&[], Some("")),
        none,
        "an empty NO_COLOR says nothing"
    );
}

/// With only stdin at a terminal, commands work and stdout has the form for pipes.
#[test]
fn stdin_alone_at_a_terminal_has_commands() {
    let Some(lo) = Loopback::new() else { return };
    let file = lo.host.folder("out");
    let out = File::create(&file).expect("a file");
    let bob = lo.start("bob", &[]);
    let mut alice = AtTerminal::run(command(&lo.host, "alice", &[]), |command| {
        command.stdout(Stdio::from(out));
    });
    let written = |text: &str| fs::read_to_string(&file).is_ok_and(|all| all.contains(text));
    wait_until("bob's join in the file", TIMEOUT, || written(" * bob~"));
    alice.pty.type_keys("hello\n/shout\n/users\n");
    wait_message(&bob, "hello");
    wait_until("the own line in the file", TIMEOUT, || written(": hello\n"));
    alice.pty.wait_row("/shout is not a command here");
    alice.pty.wait_row("linked  #general  127.0.0.1:");
    alice.pty.type_keys("/quit\n");
    assert_eq!(alice.wait_code(), Some(0));
    let all = fs::read_to_string(&file).expect("UTF-8");
    assert!(
        all.lines()
            .all(|line| line.as_bytes().get(10) == Some(&b'T') && line.contains("Z #general ")),
        "{all}"
    );
    assert!(!all.contains("shout") && !all.contains('\x1b'), "{all}");
}

/// With only stdout at a terminal, the transcript has the form for people and piped lines are
/// text.
#[test]
fn stdout_alone_at_a_terminal_has_the_short_form() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &[]);
    let mut alice = AtTerminal::run(command_detached(&lo.host, "alice", &[]), |command| {
        command.stdin(Stdio::piped());
    });
    alice.pty.wait_row("* bob joined");
    let mut stdin = alice.child.stdin.take().expect("piped");
    stdin.write_all(b"/not a command\n").expect("a reader");
    wait_message(&bob, "/not a command");
    alice.pty.wait_row("] alice: /not a command");
    drop(stdin);
    assert_eq!(alice.wait_code(), Some(0));
    assert_eq!(alice.pty.stty(&["-g"]), alice.modes_before);
}

/// `peers` at a terminal prints a row for each peer, and is not announced; nobody is 69.
#[test]
fn peers_prints_a_table_at_a_terminal() {
    let Some(lo) = Loopback::new() else { return };
    let run_peers = |seconds: &str| {
        let arguments = ["peers", "--ephemeral", "-W", seconds];
        let mut eve = AtTerminal::run(command(&lo.host, "eve", &[]), |command| {
            command.env_remove("P2PCHAT_DIR").args(arguments);
        });
        let code = eve.wait_code();
        (code, eve.pty.with_screen(|screen| screen.lines().concat()))
    };
    assert_eq!(run_peers("0"), (Some(69), String::new()));
    let bob = lo.start("bob", &[]);
    let (code, shown) = run_peers("2");
    assert_eq!(code, Some(0), "{shown}");
    assert!(
        shown.starts_with("bob~") && shown.contains("linked"),
        "{shown}"
    );
    // `peers` is not announced.
    assert!(bob.out.all().is_empty(), "{:?}", bob.out.all());
}

/// `send -W` ends in time with 69 also when no event wakes the event loop.
#[test]
fn send_without_beacons_ends_after_its_wait() {
    let Some(lo) = Loopback::new() else { return };
    // Without beacons no input wakes the event loop.
    let mut eve = lo.spawn("eve", &["send", "-m", "none", "-W", "0.2", "hello"]);
    assert_eq!(eve.wait_code(TIMEOUT), 69);
    let errors = eve.err.wait_end(TIMEOUT);
    assert!(
        errors
            .concat()
            .starts_with("p2pchat: no peer is connected: the lines are stored"),
        "{errors:?}"
    );
}

/// A chat at a terminal that is attached to a server continues alone when the server is killed,
/// with its half-typed line.
#[test]
fn an_attached_terminal_takes_over_when_its_server_dies() {
    let Some(lo) = Loopback::new() else { return };
    let mut first = lo.start("alice", &["listen"]);
    let mut bob = lo.start("bob", &[]);
    bob.out.wait_for(TIMEOUT, |line| line.contains(" * alice~"));
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.wait_last_row("#general>", 10);
    alice.pty.type_keys("one\r");
    alice.pty.wait_row("alice: one");
    wait_message(&bob, "one");
    alice.pty.type_keys("/users\r");
    alice.pty.wait_screen("the table of peers", |screen| {
        screen.lines().iter().any(|line| line.starts_with("bob"))
    });
    bob.say("two");
    alice.pty.wait_row("bob: two");
    alice.pty.type_keys("/join ops\r");
    alice.pty.wait_last_row("#ops>", 6);
    alice.pty.type_keys("/part\r");
    alice.pty.wait_last_row("#general>", 10);
    alice.pty.type_keys("thr");
    first.kill();
    alice.pty.wait_row("* bob joined");
    alice.pty.wait_last_row("#general> thr", 13);
    alice.pty.type_keys("ee\r");
    alice.pty.wait_row("alice: three");
    wait_message(&bob, "three");
    alice.pty.type_keys("\x04");
    alice.assert_exit(0);
}

/// The author of a direct message gets `read` when it is printed at a terminal, and not when it
/// is printed on a pipe.
#[test]
fn a_direct_message_read_at_a_terminal_is_reported_to_its_author() {
    let Some((lo, alice, bob)) = alice_and_bob(&["--color", "never"]) else {
        return;
    };
    drop(bob);
    let bob = lo.start("bob", &["listen", "--json"]);
    alice.pty.wait_row("* bob joined");
    let send = lo.spawn("bob", &["send", "-t", "@alice", "psst"]);
    alice.pty.wait_row("bob: psst");
    let line = bob.out.wait_for(TIMEOUT, |line| line.contains("\"read\""));
    assert!(line.starts_with(r#"{"type":"read","target":"@"#), "{line}");
    drop(send);
    // Printed on a pipe is not read: only a terminal causes `read`.
    alice.pty.type_keys("/msg bob seen?\r");
    bob.out.wait_for(TIMEOUT, |line| line.contains("seen?"));
    drop(bob);
    let bob = AtTerminal::chat(&lo, "bob", &[]);
    alice.pty.type_keys("/msg bob and now?\r");
    bob.pty.wait_row("alice: and now?");
    alice.pty.wait_row("* bob has read it");
}
