//! The program at a terminal: keys go to a pseudo-terminal, and a screen model interprets the
//! output.
#[path = "../support/hosts/mod.rs"]
mod hosts;

mod editor;
mod exit;
mod living;
mod pty;
mod screen;
mod screens;
mod streams;
#[cfg(feature = "presence")]
mod typing;

use std::io::Write as _;

use hosts::host::Loopback;
use hosts::program::{Program, TIMEOUT};
use pty::{AtTerminal, command, command_detached};
use screen::Screen;

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

/// What one says about oneself is typed, and what others say is read, above the line.
#[cfg(feature = "profile")]
#[test]
fn profiles_are_typed_and_read() {
    let Some((lo, mut alice, _bob)) = alice_and_bob(&[]) else {
        return;
    };
    let mut carol = lo.start("carol", &["--commands"]);
    carol.say("/profile status at \x1b[2Jlunch");
    carol
        .err
        .wait_for(TIMEOUT, |line| line.starts_with("  status: "));
    let pty = &alice.pty;
    pty.wait_row("* carol joined");
    pty.type_keys("/profile name Alice A\r");
    pty.wait_row("profile of yours:");
    pty.wait_row("  name: Alice A");
    pty.type_keys("/whois ca\t\r");
    pty.wait_row("profile of carol~");
    pty.wait_row("  status: at \u{241b}[2Jlunch");
    pty.type_keys("/quit\r");
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
    alice.pty.wait_row("bob → you: psst");
    let line = bob.out.wait_for(TIMEOUT, |line| line.contains("\"read\""));
    assert!(line.starts_with(r#"{"type":"read","target":"@"#), "{line}");
    drop(send);
    // Printed on a pipe is not read: only a terminal causes `read`.
    alice.pty.type_keys("/msg bob seen?\r");
    bob.out.wait_for(TIMEOUT, |line| line.contains("seen?"));
    drop(bob);
    let bob = AtTerminal::chat(&lo, "bob", &[]);
    alice.pty.type_keys("/msg bob and now?\r");
    bob.pty.wait_row("alice → you: and now?");
    alice.pty.wait_row("* bob has read it");
}

/// A long `send` says at the terminal how many lines are sent and delivered, on any terminal, and
/// leaves nothing of it behind.
#[test]
fn a_long_send_says_how_far_it_is() {
    let Some(lo) = Loopback::new() else { return };
    // Alone, and through a running program.
    for terminal in ["dumb", "xterm"] {
        let _alice = (terminal == "xterm").then(|| lo.start("alice", &["listen", "-r", "ops"]));
        let (stdin, mut lines) = std::io::pipe().expect("a pipe");
        let send = ["send", "-r", "ops", "-W", "60"];
        let send = command_detached(&lo.host, "alice", &send);
        let mut alice = AtTerminal::run(send, |command| {
            command.stdin(stdin).env("TERM", terminal);
        });
        lines.write_all(&b"text\n".repeat(1000)).expect("written");
        let progress = "p2pchat: 1000 lines sent";
        let says = |text: String| move |screen: &Screen| screen.last().as_ref() == Some(&text);
        alice
            .pty
            .wait_screen("lines sent", says(progress.to_owned()));
        drop(lines);
        let progress = format!("{progress}, 0 delivered");
        alice.pty.wait_screen("lines delivered", says(progress));
        let bob = lo.start("bob", &["listen", "-r", "ops"]);
        assert_eq!(alice.wait_code(), Some(0));
        let rows = alice.pty.with_screen(|screen| screen.lines());
        assert!(!rows.concat().contains("lines sent"), "{rows:?}");
        drop(bob);
    }
}

/// A `send` at a terminal that waits says for whom, and how long.
#[test]
fn a_send_that_waits_says_so() {
    let Some(lo) = Loopback::new() else { return };
    let send = command(
        &lo.host,
        "alice",
        &["send", "-r", "ops", "-W", "4", "hello"],
    );
    let mut alice = AtTerminal::run(send, |_| {});
    alice.pty.wait_row("p2pchat: #ops: no peer is connected");
    alice.pty.wait_row("for 2 s more; Ctrl-C ends it");
    assert_eq!(alice.wait_code(), Some(69));
}
