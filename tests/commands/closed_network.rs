//! Closed networks: a secret in a file makes one.
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;

use super::hosts::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line};

fn keygen(lo: &Loopback) -> String {
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.arg("keygen");
    let outcome = finish(Program::spawn("keygen", command), b"");
    assert_eq!((outcome.code, outcome.out.len()), (0, 1), "{outcome:?}");
    outcome.out[0].clone()
}

/// A fresh secret in a file that its owner alone can read; gives the option that names it.
fn secret(lo: &Loopback, name: &str) -> String {
    let key = keygen(lo);
    let path = lo.host.folder(name);
    fs::write(&path, format!("{key}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("its mode");
    format!("--secret-file={}", path.display())
}

#[test]
fn those_who_know_the_secret_meet_and_no_others() {
    let Some(lo) = Loopback::new() else { return };
    let (ours, theirs) = (secret(&lo, "ours"), secret(&lo, "theirs"));
    let alice = lo.start("alice", &[&ours, "listen"]);
    let mallory = lo.start("mallory", &[&theirs, "listen"]);
    let oscar = lo.start("oscar", &["listen"]);
    let bob = lo.start("bob", &[&ours, "listen"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    let outcome = run(&lo, "carol", &[&ours, "send", "among us"]);
    outcome.assert_code(0);
    wait_line(&alice, ": among us");
    wait_line(&bob, ": among us");
    // Those outside have met one of their own by then, and nobody else.
    for (option, user, stranger) in [
        (theirs.as_str(), "mallory", &mallory),
        ("-q", "oscar", &oscar),
    ] {
        let outcome = run(&lo, "dave", &[option, "send", user]);
        outcome.assert_code(0);
        wait_line(stranger, &format!(": {user}"));
        let all = stranger.out.all();
        assert_eq!(messages(&all), [user], "{all:?}");
        assert_eq!(all.len(), 1, "{all:?}");
    }
    // Nor by naming an address.
    let place = format!("127.0.0.1:{}", alice.wait_ready());
    for option in [theirs.as_str(), "-q"] {
        let args = [option, "-m", "none", "--peer", &place, "peers", "-W", "0.5"];
        let outcome = run(&lo, "eve", &args);
        assert_eq!(outcome.code, 69, "{option}: {outcome:?}");
    }
    // The same lines of the open network are another history.
    let args = ["-q", "listen", "--backlog", "9", "-W", "0.2"];
    let outcome = run(&lo, "carol", &args);
    assert_eq!(messages(&outcome.out), Vec::<String>::new());
}

#[test]
fn each_secret_is_another() {
    let Some(lo) = Loopback::new() else { return };
    assert_ne!(keygen(&lo), keygen(&lo));
}

#[test]
fn a_secret_that_others_can_read_is_a_warning() {
    let Some(lo) = Loopback::new() else { return };
    let option = secret(&lo, "ours");
    let args = [&option, "listen", "-W", "0"];
    let outcome = run(&lo, "bob", &args);
    assert_eq!((outcome.code, outcome.err.len()), (0, 1), "{outcome:?}");
    let path = lo.host.folder("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("its mode");
    let outcome = run(&lo, "bob", &args);
    assert_eq!((outcome.code, outcome.err.len()), (0, 2), "{outcome:?}");
    let warning = &outcome.err[0];
    assert!(
        warning.starts_with("p2pchat: secret file ") && warning.contains("readable by others"),
        "{outcome:?}"
    );
}

#[test]
fn a_secret_that_cannot_be_used_is_an_error() {
    let Some(lo) = Loopback::new() else { return };
    fs::write(lo.host.folder("short"), "abc\n").expect("a file");
    fs::set_permissions(lo.host.folder("short"), fs::Permissions::from_mode(0o600)).expect("mode");
    for name in ["missing", "short"] {
        let option = format!("--secret-file={}", lo.host.folder(name).display());
        let outcome = run(&lo, "bob", &[&option, "listen"]);
        assert_eq!((outcome.code, outcome.err.len()), (78, 1), "{outcome:?}");
        assert!(
            outcome.err[0].starts_with("p2pchat: secret file "),
            "{outcome:?}"
        );
    }
}

#[test]
fn who_cannot_hear_beacons_is_told_why() {
    let Some(lo) = Loopback::new() else { return };
    let taken = lo.host.namespace.inside(|| UdpSocket::bind("0.0.0.0:9999"));
    let alice = lo.start("alice", &["listen"]);
    alice.err.wait_for(TIMEOUT, |line| {
        line.starts_with("p2pchat: not all beacons can be heard: ")
    });
    // Once the port is free, all goes by itself.
    drop(taken);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&bob, "alice");
}

#[test]
fn a_secret_named_anywhere_is_not_that_of_the_program_that_runs() {
    let Some(lo) = Loopback::new() else { return };
    let option = secret(&lo, "ours");
    let path = option.strip_prefix("--secret-file=").expect("an option");
    let send = |secret: Option<&str>| {
        let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
        command.args(["--interface", "lo", "send", "--need", "0", "hush"]);
        command.env("P2PCHAT_USERNAME", "alice");
        command.env("P2PCHAT_DIR", lo.host.folder("alice"));
        if let Some(path) = secret {
            command.env("P2PCHAT_SECRET_FILE", path);
        }
        finish(Program::spawn("alice", command), b"")
    };
    let alice = lo.start("alice", &["listen"]);
    let outcome = send(Some(path));
    outcome.assert_code(2);
    assert!(outcome.err[0].contains("--dir"), "{outcome:?}");
    alice.signal(nix::sys::signal::Signal::SIGTERM);
    finish(alice, b"");
    // None named at all is the one of the program that runs.
    let _alice = lo.start("alice", &[&option, "listen"]);
    for secret in [None, Some(path)] {
        let outcome = send(secret);
        outcome.assert_code(0);
    }
}

#[test]
fn history_is_that_of_the_program_that_runs() {
    let Some(lo) = Loopback::new() else { return };
    let option = secret(&lo, "ours");
    let alice = lo.start("alice", &[&option, "listen"]);
    run(&lo, "alice", &["send", "--need", "0", "hush"]);
    let outcome = run(&lo, "alice", &["history"]);
    assert_eq!(
        (outcome.code, messages(&outcome.out)),
        (0, vec!["hush".to_owned()])
    );
    for other in ["-ucarol", "-mnone"] {
        let outcome = run(&lo, "alice", &["history", other]);
        assert_eq!((outcome.code, outcome.out.len()), (2, 0), "{outcome:?}");
        assert!(outcome.err[0].contains("--dir"), "{outcome:?}");
    }
    // Once nobody runs there, it goes by its own options.
    alice.signal(nix::sys::signal::Signal::SIGTERM);
    finish(alice, b"");
    let outcome = run(&lo, "alice", &["history"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
}
