//! How a run at a terminal ends: exit statuses, and the modes it restores.
use std::env;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use p2pchat::shell::stdio::terminal::RawMode;

use crate::hosts::host::Loopback;
use crate::hosts::program::TIMEOUT;
use crate::pty::{AtTerminal, command};
use crate::wait_message;

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
    itself.args([
        "exit::a_panic_restores_the_terminal",
        "--exact",
        "--nocapture",
    ]);
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
