//! What depends on which of stdin and stdout is a terminal: the form, the colours and the commands.
use std::fs::{self, File};
use std::io::Write as _;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;

use crate::hosts::host::Loopback;
use crate::hosts::program::TIMEOUT;
use crate::hosts::wait::wait_until;
use crate::pty::{AtTerminal, command, command_detached};
use crate::screen::Screen;
use crate::wait_message;

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

/// `TZ` names a file of a zone, a path or a rule. All three give the same local time.
#[test]
fn the_time_zone_has_a_name_a_path_or_a_rule() {
    let Some(lo) = Loopback::new() else { return };
    let said = lo.spawn("bob", &["send", "-q", "--need", "0", "hello"]);
    said.out.wait_end(TIMEOUT);
    let zones = lo.host.folder("zones");
    fs::create_dir_all(zones.join("Asia")).expect("a folder");
    fs::write(zones.join("Asia/Kathmandu"), zone_file("<+0545>-5:45")).expect("a file");
    let time_in = |zone: &str| {
        let history = command(&lo.host, "bob", &["history", "--color", "never"]);
        let mut history = AtTerminal::run(history, |command| {
            command.env("TZ", zone).env("TZDIR", &zones);
        });
        assert_eq!(history.wait_code(), Some(0));
        let shown = |lines: &[String]| lines.concat().contains(" bob: hello");
        history
            .pty
            .wait_screen("the line", |screen| shown(&screen.lines()));
        history.pty.with_screen(|screen| screen.lines().concat())
    };
    let (utc, rule) = (time_in(""), time_in("<+0545>-5:45"));
    assert_ne!(utc, rule);
    assert_eq!(time_in("UTC0"), utc);
    let path = zones.join("Asia/Kathmandu").display().to_string();
    for zone in ["Asia/Kathmandu", ":Asia/Kathmandu", &path] {
        assert_eq!(time_in(zone), rule, "{zone}");
    }
    assert_eq!(time_in("No/Zone"), utc);
}

/// A file in the TZif format (RFC 9636) whose only content is a rule.
fn zone_file(rule: &str) -> Vec<u8> {
    let block = |version: u8| {
        let mut block = b"TZif".to_vec();
        block.push(version);
        block.extend([0; 15 + 4 * 4]);
        // One type of local time (UTC), and one byte of names.
        block.extend([0, 0, 0, 1, 0, 0, 0, 1]);
        block.extend([0; 7]);
        block
    };
    let mut file = [block(b'2'), block(b'2')].concat();
    file.extend(format!("\n{rule}\n").bytes());
    file
}

/// `send` typed at a terminal waits for its recipient like anywhere else. Only who chats there is
/// told at once that nobody has that name.
#[test]
fn send_typed_at_a_terminal_waits_for_its_recipient() {
    let Some(lo) = Loopback::new() else { return };
    let arguments = ["send", "-t", "@bob", "-W", "15", "psst"];
    let mut alice = AtTerminal::run(command(&lo.host, "alice", &arguments), |_| {});
    // Alice has her socket, so that she runs before bob starts.
    let socket = lo.host.folder("alice").join("control.sock");
    wait_until("alice runs", TIMEOUT, || socket.exists());
    let bob = lo.start("bob", &["listen"]);
    wait_message(&bob, "psst");
    assert_eq!(alice.wait_code(), Some(0));
}

/// `peers` at a terminal prints a row for each peer, and is not announced; nobody is 69.
#[test]
fn peers_prints_a_table_at_a_terminal() {
    let Some(lo) = Loopback::new() else { return };
    let run_peers = |seconds: &str| {
        let arguments = ["peers", "--ephemeral", "-W", seconds];
        AtTerminal::run(command(&lo.host, "eve", &[]), |command| {
            command.env_remove("P2PCHAT_DIR").args(arguments);
        })
    };
    let mut eve = run_peers("0");
    assert_eq!(eve.wait_code(), Some(69));
    let bob = lo.start("bob", &[]);
    let mut dave = run_peers("2");
    assert_eq!(dave.wait_code(), Some(0));
    // The screen is read by a thread, which may lag behind the end of the program.
    dave.pty.wait_screen("a row for bob", |screen| {
        let shown = screen.lines().concat();
        shown.starts_with("NAME") && shown.contains("bob~") && shown.contains("linked")
    });
    assert_eq!(eve.pty.with_screen(|screen| screen.lines().concat()), "");
    // `peers` is not announced.
    assert!(bob.out.all().is_empty(), "{:?}", bob.out.all());
}

/// At a terminal, `peers` prints aligned columns with a heading and short ids.
#[test]
fn peers_are_a_table_at_a_terminal() {
    let Some(lo) = Loopback::new() else { return };
    let _bob = lo.start("bob", &["listen"]);
    let mut alice = AtTerminal::run(command(&lo.host, "alice", &["peers", "-W", "1"]), |_| {});
    // Before the list is printed: the screen is too narrow for it.
    alice.pty.resize(120, 24);
    alice.assert_exit(0);
    alice.pty.wait_row("#general");
    let mut rows = alice.pty.with_screen(|screen| screen.lines());
    rows.retain(|row| !row.trim().is_empty());
    let [heading, bob] = &rows[..] else {
        panic!("{rows:?}");
    };
    assert!(heading.starts_with("NAME "), "{heading}");
    assert!(bob.starts_with("bob~"), "{bob}");
    for (title, cell) in [("STATE", "linked"), ("ROOMS", "#general")] {
        assert_eq!(heading.find(title), bob.find(cell), "{rows:?}");
    }
    let id = bob.split_whitespace().nth(1).expect("an id");
    assert_eq!(id.len(), 8, "{bob}");
}

/// The rest of a long line begins no row of the screen, where it could pass for another line.
#[test]
fn a_long_line_cannot_pass_for_two() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    let mut carol = AtTerminal::run(command(&lo.host, "carol", &["listen"]), |_| ());
    let mut bob = lo.start("bob", &[]);
    bob.out.wait_for(TIMEOUT, |line| line.contains(" * alice~"));
    bob.out.wait_for(TIMEOUT, |line| line.contains(" * carol~"));
    // The screens have 60 columns: "[10:31] bob: " leaves 47 in the first row.
    for filler in 40..50 {
        bob.say(&format!(
            "{filler} {}[10:31] dave: fake{filler}",
            "x".repeat(filler - 3)
        ));
    }
    let assert_indented = |screen: &Screen| {
        for row in screen.lines().iter().filter(|row| row.contains("dave")) {
            let begins = row.starts_with(' ') || row.contains("] bob: ");
            assert!(begins, "{row}");
        }
    };
    for terminal in [&alice, &carol] {
        terminal.pty.wait_row("fake49");
        terminal.pty.with_screen(|screen| assert_indented(screen));
    }
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
    carol.signal(Signal::SIGTERM);
    assert_eq!(carol.wait_code(), Some(143));
    let mut history = AtTerminal::run(command(&lo.host, "alice", &["history"]), |_| ());
    assert_eq!(history.wait_code(), Some(0));
    history.pty.wait_row("fake49");
    history.pty.with_screen(|screen| assert_indented(screen));
}
