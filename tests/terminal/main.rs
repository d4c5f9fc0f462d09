//! The program at a terminal, as a person has it: keys go in at a pseudo-terminal, and what comes out is drawn on a screen.
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

/// Alice at a terminal, and bob on pipes, who see each other.
fn alice_and_bob(arguments: &[&str]) -> Option<(Loopback, AtTerminal, Program)> {
    let place = Loopback::new()?;
    let alice = AtTerminal::chat(&place, "alice", arguments);
    let bob = place.start("bob", &[]);
    alice.pty.see_line("* bob joined");
    bob.out.wait_for(TIMEOUT, |line| line.contains(" * alice~"));
    Some((place, alice, bob))
}

/// Bob's transcript holds this, said by alice.
fn hears(bob: &Program, text: &str) {
    let end = format!(": {text}");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" alice~") && line.ends_with(&end)
    });
}

#[test]
fn a_half_typed_line_stays_whole_while_lines_scroll_above_it() {
    let Some((_place, alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    // Longer than bob's lines, which must leave no rest of it.
    let half = "#general> no more than half a thou";
    alice.pty.keys("no more than half a thou");
    alice.pty.see_last(half, 34);
    for n in 1..=50 {
        bob.say(&format!("line {n} of fifty"));
    }
    alice.pty.see_line("bob: line 50 of fifty");
    alice.pty.see_last(half, 34);
    let lines = alice.pty.look(|screen| screen.lines());
    let said: Vec<&str> = lines
        .iter()
        .filter_map(|l| l.split_once("bob: "))
        .map(|(_, text)| text)
        .collect();
    let wanted: Vec<String> = (1..=50).map(|n| format!("line {n} of fifty")).collect();
    assert_eq!(said, wanted);
    let torn = lines
        .iter()
        .rev()
        .skip(1)
        .find(|line| line.contains("half"));
    assert_eq!(torn, None, "a rest of the half-typed line");

    alice.pty.keys("ght\r");
    alice.pty.see_line("alice: no more than half a thought");
    alice.pty.see_last("#general>", 10);
    hears(&bob, "no more than half a thought");
}

#[test]
fn the_line_is_edited_and_sent_exactly_as_it_stands() {
    let Some((_place, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let (pty, home, left, right, delete) = (&alice.pty, "\x1b[H", "\x1b[D", "\x1b[C", "\x1b[3~");
    pty.keys("wörlds");
    pty.see_last("#general> wörlds", 16);
    pty.keys("\x7f");
    pty.see_last("#general> wörld", 15);
    pty.keys([home, "hello  "].concat());
    pty.see_last("#general> hello  wörld", 17);
    pty.keys([left, "\x7f", right].concat());
    pty.see_last("#general> hello wörld", 16);
    pty.keys([left, left, delete, "O"].concat());
    pty.see_last("#general> hellO wörld", 15);
    pty.keys("\r");
    hears(&bob, "hellO wörld");

    // Each of these takes two columns, and the cursor steps over both.
    pty.keys("漢字🎉");
    pty.see_last("#general> 漢字🎉", 16);
    pty.keys([left, left].concat());
    pty.see_last("#general> 漢字🎉", 12);
    pty.keys("\x7fx");
    pty.see_last("#general> x字🎉", 11);
    pty.keys("\r");
    hears(&bob, "x字🎉");

    // Longer than the screen is wide: the part at the cursor is seen, on one line.
    let long: String = ('a'..='z').cycle().take(130).collect();
    pty.keys(&long);
    pty.see("the end of a long line", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("#general> ") && last.ends_with(&long[110..]) && last.len() < 60
    });
    pty.keys(home);
    pty.see("its beginning", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("#general> abcdef") && screen.cursor() == 10
    });
    pty.keys("\r");
    hears(&bob, &long);

    // What was said comes back with the arrow upwards.
    pty.keys("\x1b[A\x1b[A");
    pty.see_last("#general> x字🎉", 15);
    pty.keys("\x03\x04");
    alice.assert_left(0);
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" * alice~") && line.ends_with(" left")
    });
    let lines = bob.out.all();
    let chat = lines
        .iter()
        .filter(|line| line.contains(" #general alice~"));
    assert_eq!(chat.count(), 3, "{lines:#?}");
}

#[test]
fn each_way_out_has_its_status_and_gives_the_terminal_back() {
    let Some(place) = Loopback::new() else { return };
    let way = |leave: &dyn Fn(&AtTerminal), code: i32| {
        let mut alice = AtTerminal::chat(&place, "alice", &[]);
        assert_ne!(alice.pty.stty(&["-g"]), alice.before, "raw mode");
        leave(&alice);
        alice.assert_left(code);
    };
    way(&|alice| alice.pty.keys("/quit\r"), 0);
    way(&|alice| alice.pty.keys("\x04"), 0);
    way(&|alice| alice.pty.keys("\x03"), 130);
    way(
        &|alice| {
            alice.pty.keys("half a line");
            alice.pty.see_last("#general> half a line", 21);
            alice.pty.keys("\x03");
            alice.pty.see_last("#general>", 10);
            alice.pty.keys("\x03");
        },
        130,
    );
    way(&|alice| alice.signal(Signal::SIGTERM), 143);
    way(&|alice| alice.signal(Signal::SIGINT), 130);
    way(&|alice| alice.signal(Signal::SIGHUP), 129);
    way(
        &|alice| {
            alice.pty.keys("half a line");
            alice.pty.see_last("#general> half a line", 21);
            alice.signal(Signal::SIGTERM);
        },
        143,
    );
}

#[test]
fn a_terminal_that_hangs_up_ends_the_run() {
    let Some(place) = Loopback::new() else { return };
    // The signal, the end of stdin and the error of stdout come in any order; the status is one.
    for _ in 0..10 {
        let mut alice = AtTerminal::chat(&place, "alice", &[]);
        alice.pty.hang_up();
        assert_eq!(alice.code(), Some(129));
    }
    for name in ["alice", "bob"] {
        // Without the editor, which would see the end of its keys.
        let mut lone = AtTerminal::run(command(&place.host, name, &[]), |command| {
            if name == "alice" {
                command.stdout(Stdio::null());
            } else {
                command.arg("listen");
            }
        });
        lone.pty.see("it is there", |screen| {
            screen.lines().concat().contains("ready as")
        });
        lone.pty.hang_up();
        assert_eq!(lone.code(), Some(129), "{name}");
    }
}

#[test]
fn a_panic_gives_the_terminal_back() {
    // This test starts itself at a terminal, and there takes raw mode and panics.
    const THERE: &str = "P2PCHAT_PANIC_AT_TERMINAL";
    if env::var_os(THERE).is_some() {
        // As the program does it: nothing but the panic itself may restore.
        std::mem::forget(RawMode::enter().expect("a terminal"));
        println!("in raw mode");
        let mut word = String::new();
        let _ = std::io::stdin().read_line(&mut word);
        panic!("as wanted");
    }
    let mut itself = Command::new(env::current_exe().expect("a test"));
    itself.args(["a_panic_gives_the_terminal_back", "--exact", "--nocapture"]);
    itself.env(THERE, "1");
    let mut there = AtTerminal::run(itself, |_| {});
    there.pty.see("raw mode", |screen| {
        screen.lines().concat().contains("in raw mode")
    });
    assert_ne!(there.pty.stty(&["-g"]), there.before);
    there.pty.keys("\n");
    there.pty.see("the panic", |screen| {
        screen.lines().concat().contains("as wanted")
    });
    assert_eq!(there.code(), Some(101));
    assert_eq!(there.pty.stty(&["-g"]), there.before);
}

#[test]
fn commands_do_what_they_say_and_an_unknown_one_is_never_said() {
    let Some((_place, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let pty = &alice.pty;
    let row = |text: &str| pty.see_line(text);
    pty.keys("/help\r");
    row("/quit             leave");
    pty.keys("/users\r");
    row("linked  #general  127.0.0.1:");
    pty.keys("/shout hey\r");
    row("p2pchat: /shout is not a command here");
    pty.keys("//shout hey\r");
    hears(&bob, "/shout hey");
    pty.keys("/me waves\r");
    row("** alice waves");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" ** alice~") && line.ends_with(" waves")
    });

    pty.keys("/join ops\r");
    pty.see_last("#ops>", 6);
    pty.keys("/rooms\r");
    row("#ops  (current)");
    row("#general");
    pty.keys("only here\r");
    row("] alice: only here");
    pty.keys("/part\r");
    pty.see_last("#general>", 10);
    pty.keys("/nick carol\r");
    row("* alice is now known as carol");
    bob.out
        .wait_for(TIMEOUT, |line| line.contains("is now known as carol~"));
    pty.keys("back\r");
    row("carol: back");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(": back"));
    pty.keys("/quit\r");
    alice.assert_left(0);

    let lines = bob.out.all();
    let said = |text: &str| lines.iter().any(|line| line.contains(text));
    assert!(!said(": /shout") || said(": /shout hey"), "{lines:#?}");
    let shouts = lines.iter().filter(|line| line.contains("shout"));
    assert_eq!(shouts.count(), 1, "{lines:#?}");
    assert!(!said("only here"), "{lines:#?}");
}

#[test]
fn what_was_said_is_looked_up_beside_the_line() {
    let Some((_place, mut alice, mut bob)) = alice_and_bob(&["-r", "general"]) else {
        return;
    };
    let pty = &alice.pty;
    let times = |text: &str, wanted: usize| {
        pty.see(text, |screen| {
            let lines = screen.lines();
            lines.iter().filter(|line| line.ends_with(text)).count() == wanted
        });
    };
    bob.say("the first");
    bob.say("the second");
    pty.see_line("] bob: the second");
    // Keys go on, and what they say comes after the answer.
    pty.keys("/history 1\r/search FIRST\r/search nowhere\rmine\rhalf");
    hears(&bob, "mine");
    pty.see_last("#general> half", 14);
    times("] bob: the second", 2);
    times("] bob: the first", 2);
    times("nothing was found", 1);
    pty.see_line("alice: mine");
    let lines = pty.look(|screen| screen.lines());
    let at = |text: &str| lines.iter().rposition(|line| line.ends_with(text));
    assert!(at("the second") < at("the first"), "{lines:#?}");
    assert!(at("nothing was found") < at("alice: mine"), "{lines:#?}");
    pty.keys("\x03/history 0\r");
    pty.see_line("p2pchat: /history takes a number of lines: /history 50");
    pty.keys("/quit\r");
    alice.assert_left(0);
}

#[test]
fn foreign_codes_arrive_harmless() {
    let Some((_place, mut alice, mut bob)) = alice_and_bob(&["--color", "never"]) else {
        return;
    };
    alice.pty.keys("here");
    bob.write("\x1b[2J\x1b[31mred \x07\x08\x7f\u{9b}5A\u{202e}abc\u{2066}\n".as_bytes());
    bob.say("and after");
    alice.pty.see_line("bob: and after");
    alice
        .pty
        .see_line("bob: ␛[2J␛[31mred ␇␈\u{fffd}\u{fffd}5A\u{fffd}abc\u{fffd}");
    alice.pty.see_last("#general> here", 14);
    // A paste is keys: its codes move no cursor but the editor's, and what is sent holds none.
    alice.pty.keys("\x03\x1b[2J\x1b]0;title\x07pasted\r");
    bob.out.wait_for(TIMEOUT, |line| {
        line.ends_with("pasted") && !line.contains('\x1b')
    });
    alice.pty.keys("\x04");
    alice.assert_left(0);
    // Not one code of bob's was taken for a colour.
    let styles = alice.pty.look(|screen| screen.styles.clone());
    assert!(styles.is_empty(), "{styles:?}");
}

#[test]
fn another_size_draws_the_line_anew() {
    let Some((_place, mut alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    alice.pty.keys("0123456789012345678901234567890123456789");
    alice
        .pty
        .see_last("#general> 0123456789012345678901234567890123456789", 50);
    alice.pty.resize(30, 8);
    alice.pty.see("a line that fits 30 columns", |screen| {
        let last = screen.last().unwrap_or_default();
        last.starts_with("#general> ") && last.ends_with("0123456789") && last.len() < 30
    });
    bob.say("hello");
    alice.pty.see_line("bob: hello");
    alice.pty.resize(60, 12);
    alice
        .pty
        .see_last("#general> 0123456789012345678901234567890123456789", 50);
    alice.pty.keys("\r");
    hears(&bob, "0123456789012345678901234567890123456789");
    alice.pty.keys("\x04");
    alice.assert_left(0);
}

#[test]
fn a_stopped_program_takes_the_terminal_again_when_it_goes_on() {
    let Some(place) = Loopback::new() else { return };
    let mut alice = AtTerminal::chat(&place, "alice", &[]);
    alice.pty.keys("half");
    alice.pty.see_last("#general> half", 14);
    let raw = alice.pty.stty(&["-g"]);
    alice.signal(Signal::SIGSTOP);
    alice.pty.stty(&[&alice.before]);
    alice.signal(Signal::SIGCONT);
    wait_until("raw mode again", TIMEOUT, || alice.pty.stty(&["-g"]) == raw);
    alice.pty.keys(" a line");
    alice.pty.see_last("#general> half a line", 21);
    alice.pty.keys("\x03\x04");
    alice.assert_left(0);
}

#[test]
fn colours_come_at_a_terminal_and_only_if_wanted() {
    let styles = |arguments: &[&str], no_color: Option<&str>| {
        let place = Loopback::new()?;
        let mut command = command(&place.host, "alice", arguments);
        if let Some(value) = no_color {
            command.env("NO_COLOR", value);
        }
        let streams = |command: &mut Command| {
            no_color.map(|value| command.env("NO_COLOR", value));
        };
        let mut alice = AtTerminal::run(command, streams);
        alice.pty.see_last("#general>", 10);
        alice.pty.keys("hello\r");
        alice.pty.see_line("alice: hello");
        alice.pty.keys("/quit\r");
        alice.assert_left(0);
        Some(alice.pty.look(|screen| screen.styles.clone()))
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

#[test]
fn a_terminal_that_only_types_has_commands_and_a_pipes_transcript() {
    let Some(place) = Loopback::new() else { return };
    let file = place.host.folder("out");
    let out = File::create(&file).expect("a file");
    let bob = place.start("bob", &[]);
    let mut alice = AtTerminal::run(command(&place.host, "alice", &[]), |command| {
        command.stdout(Stdio::from(out));
    });
    let written = |text: &str| fs::read_to_string(&file).is_ok_and(|all| all.contains(text));
    wait_until("bob in the file", TIMEOUT, || written(" * bob~"));
    alice.pty.keys("hello\n/shout\n/users\n");
    hears(&bob, "hello");
    wait_until("the own line in the file", TIMEOUT, || written(": hello\n"));
    alice.pty.see_line("/shout is not a command here");
    alice.pty.see_line("linked  #general  127.0.0.1:");
    alice.pty.keys("/quit\n");
    assert_eq!(alice.code(), Some(0));
    let all = fs::read_to_string(&file).expect("UTF-8");
    assert!(
        all.lines()
            .all(|line| line.as_bytes().get(10) == Some(&b'T') && line.contains("Z #general ")),
        "{all}"
    );
    assert!(!all.contains("shout") && !all.contains('\x1b'), "{all}");
}

#[test]
fn a_terminal_that_only_shows_has_the_form_for_people() {
    let Some(place) = Loopback::new() else { return };
    let bob = place.start("bob", &[]);
    let mut alice = AtTerminal::run(command_detached(&place.host, "alice", &[]), |command| {
        command.stdin(Stdio::piped());
    });
    alice.pty.see_line("* bob joined");
    let mut stdin = alice.child.stdin.take().expect("piped");
    stdin.write_all(b"/not a command\n").expect("a reader");
    hears(&bob, "/not a command");
    alice.pty.see_line("] alice: /not a command");
    drop(stdin);
    assert_eq!(alice.code(), Some(0));
    assert_eq!(alice.pty.stty(&["-g"]), alice.before);
}

#[test]
fn a_look_round_prints_who_is_there() {
    let Some(place) = Loopback::new() else { return };
    let look = |seconds: &str| {
        let arguments = ["peers", "--ephemeral", "-W", seconds];
        let mut eve = AtTerminal::run(command(&place.host, "eve", &[]), |command| {
            command.env_remove("P2PCHAT_DIR").args(arguments);
        });
        let code = eve.code();
        (code, eve.pty.look(|screen| screen.lines().concat()))
    };
    assert_eq!(look("0"), (Some(69), String::new()));
    let bob = place.start("bob", &[]);
    let (code, seen) = look("2");
    assert_eq!(code, Some(0), "{seen}");
    assert!(
        seen.starts_with("bob~") && seen.contains("linked"),
        "{seen}"
    );
    // Who only looks is not announced.
    assert!(bob.out.all().is_empty(), "{:?}", bob.out.all());
}

#[test]
fn a_text_that_nobody_hears_is_given_up_in_time() {
    let Some(place) = Loopback::new() else { return };
    // Not a beacon comes in that would turn the loop.
    let mut eve = place.spawn("eve", &["send", "-m", "none", "-W", "0.2", "hello"]);
    assert_eq!(eve.wait_code(TIMEOUT), 69);
    let said = eve.err.wait_end(TIMEOUT);
    assert!(
        said.concat()
            .starts_with("p2pchat: no peer is connected: the lines are stored"),
        "{said:?}"
    );
}

#[test]
fn a_person_who_came_through_another_program_goes_on_when_that_dies() {
    let Some(place) = Loopback::new() else { return };
    let mut first = place.start("alice", &["listen"]);
    let mut bob = place.start("bob", &[]);
    bob.out.wait_for(TIMEOUT, |line| line.contains(" * alice~"));
    let mut alice = AtTerminal::chat(&place, "alice", &[]);
    alice.pty.see_last("#general>", 10);
    alice.pty.keys("one\r");
    alice.pty.see_line("alice: one");
    hears(&bob, "one");
    alice.pty.keys("/users\r");
    alice.pty.see("the table of peers", |screen| {
        screen.lines().iter().any(|line| line.starts_with("bob"))
    });
    bob.say("two");
    alice.pty.see_line("bob: two");
    alice.pty.keys("/join ops\r");
    alice.pty.see_last("#ops>", 6);
    alice.pty.keys("/part\r");
    alice.pty.see_last("#general>", 10);
    alice.pty.keys("thr");
    first.kill();
    alice.pty.see_line("* bob joined");
    alice.pty.see_last("#general> thr", 13);
    alice.pty.keys("ee\r");
    alice.pty.see_line("alice: three");
    hears(&bob, "three");
    alice.pty.keys("\x04");
    alice.assert_left(0);
}

#[test]
fn who_reads_a_direct_message_on_a_terminal_tells_its_author() {
    let Some((place, alice, bob)) = alice_and_bob(&["--color", "never"]) else {
        return;
    };
    drop(bob);
    let bob = place.start("bob", &["listen", "--json"]);
    alice.pty.see_line("* bob joined");
    let send = place.spawn("bob", &["send", "-t", "@alice", "psst"]);
    alice.pty.see_line("bob: psst");
    let id = bob.out.wait_for(TIMEOUT, |line| line.contains("\"read\""));
    assert!(id.starts_with(r#"{"type":"read","target":"@"#), "{id}");
    drop(send);
    // On a pipe nobody reads it: the one at the terminal is told of what is read on another terminal alone.
    alice.pty.keys("/msg bob seen?\r");
    bob.out.wait_for(TIMEOUT, |line| line.contains("seen?"));
    drop(bob);
    let bob = AtTerminal::chat(&place, "bob", &[]);
    alice.pty.keys("/msg bob and now?\r");
    bob.pty.see_line("alice: and now?");
    alice.pty.see_line("* bob has read it");
}
