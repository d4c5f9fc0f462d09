//! Who hears that somebody types a line.
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;

use crate::hosts::host::Loopback;
use crate::hosts::program::TIMEOUT;
use crate::pty::AtTerminal;
use crate::screen::Screen;

/// The prompt says who is typing in the room, as long as it lasts; a pipe prints nothing of it, also
/// with --json.
#[test]
fn the_prompt_says_who_is_typing() {
    let Some(lo) = Loopback::new() else { return };
    let carol = lo.start("carol", &["--json", "listen"]);
    let alice = AtTerminal::chat(&lo, "alice", &[]);
    let bob = AtTerminal::chat(&lo, "bob", &[]);
    alice.pty.wait_row("bob joined");
    bob.pty.wait_row("alice joined");
    bob.pty.type_keys("half");
    let is_prompt = |wanted: &str| {
        let wanted = wanted.to_owned();
        move |screen: &Screen| screen.last().is_some_and(|last| last.starts_with(&wanted))
    };
    alice
        .pty
        .wait_screen("bob types", is_prompt("#general 3 (bob is typing)>"));
    bob.pty.type_keys("\x15/help me");
    alice
        .pty
        .wait_screen("bob has ended", is_prompt("#general 3>"));
    bob.pty.type_keys("\x15/msg alice ps");
    alice
        .pty
        .wait_screen("bob types", is_prompt("#general 3 (bob is typing)>"));
    bob.pty.type_keys("st\r");
    alice.pty.wait_row("psst");
    alice
        .pty
        .wait_screen("bob has said it", is_prompt("#general 3 (1 unread)>"));
    alice.pty.resize(100, 12);
    let mallory = AtTerminal::chat(&lo, "mallory", &["-u", "bob"]);
    mallory.pty.wait_row("alice joined");
    mallory.pty.type_keys("false");
    let two_bobs = is_prompt("#general 4 (1 unread, bob~");
    alice.pty.wait_screen("which bob types", two_bobs);
    let printed = carol.out.all().concat();
    assert!(!printed.contains("typing"), "{printed}");
}

/// With `/set typing off` and with `--no-typing` nobody hears that bob types.
#[test]
fn typing_may_stay_private() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    for (option, typed) in [(&[][..], "/set typing off\r"), (&["--no-typing"], "")] {
        let bob = AtTerminal::chat(&lo, "bob", option);
        bob.pty.wait_row("alice joined");
        if !typed.is_empty() {
            bob.pty.type_keys(typed);
            bob.pty.wait_row("typing is off");
        }
        let socket = lo.host.folder("alice").join("control.sock");
        let mut socket = UnixStream::connect(socket).expect("a socket");
        socket.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        socket.write_all(b"{\"type\":\"listen\"}\n").expect("sent");
        bob.pty.type_keys("secret");
        bob.pty.wait_screen("what bob types", |screen| {
            screen.last().is_some_and(|last| last.ends_with("> secret"))
        });
        // What bob's program sends later arrives behind.
        let mark = format!("mark {typed:?}");
        let mut send = lo.spawn("bob", &["send", &mark]);
        assert_eq!(send.wait_code(TIMEOUT), 0);
        let mut lines = BufReader::new(&socket).lines();
        let heard = lines
            .by_ref()
            .map(|line| line.expect("an event"))
            .take_while(|line| !line.contains("mark"));
        let heard: Vec<String> = heard.collect();
        assert!(!heard.concat().contains("typing"), "{heard:?}");
        drop(bob);
        alice.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
    }
}
