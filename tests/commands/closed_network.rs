//! Closed networks: peers that share a secret file.
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt as _;
use std::thread;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line};

/// A new secret from `keygen`.
fn keygen(lo: &Loopback) -> String {
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.arg("keygen");
    let outcome = finish(Program::spawn("keygen", command), b"");
    assert_eq!((outcome.code, outcome.out.len()), (0, 1), "{outcome:?}");
    outcome.out[0].clone()
}

/// Writes a new secret to a file with mode 0600, and returns the option that names the file.
pub fn secret(lo: &Loopback, name: &str) -> String {
    let key = keygen(lo);
    let path = lo.host.folder(name);
    fs::write(&path, format!("{key}\n")).expect("a file");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("set the mode");
    format!("--secret-file={}", path.display())
}

/// Peers connect only under the same secret, by beacon and by `--peer`; the open network is
/// another history.
#[test]
fn only_peers_with_the_same_secret_connect() {
    let Some(lo) = Loopback::new() else { return };
    let (ours, theirs) = (secret(&lo, "ours"), secret(&lo, "theirs"));
    let alice = lo.start("alice", &[&ours, "listen"]);
    let mallory = lo.start("mallory", &[&theirs, "listen"]);
    let oscar = lo.start("oscar", &["listen"]);
    let bob = lo.start("bob", &[&ours, "listen"]);
    wait_joined(&alice, "bob");
    wait_joined(&bob, "alice");
    run(&lo, "carol", &[&ours, "send", "among us"]).assert_code(0);
    wait_line(&alice, ": among us");
    wait_line(&bob, ": among us");
    // By then each outsider has exchanged a line with a peer of its own network, and with
    // nobody else.
    for (option, user, stranger) in [
        (theirs.as_str(), "mallory", &mallory),
        ("-q", "oscar", &oscar),
    ] {
        run(&lo, "dave", &[option, "send", user]).assert_code(0);
        wait_line(stranger, &format!(": {user}"));
        let all = stranger.out.all();
        assert_eq!(messages(&all), [user], "{all:?}");
        assert_eq!(all.len(), 1, "{all:?}");
    }
    // An explicit address does not connect them either.
    let address = format!("127.0.0.1:{}", alice.wait_ready());
    for option in [theirs.as_str(), "-q"] {
        let args = [
            option, "-m", "none", "--peer", &address, "peers", "-W", "0.5",
        ];
        let outcome = run(&lo, "eve", &args);
        assert_eq!(outcome.code, 69, "{option}: {outcome:?}");
    }
    // The open network has a history of its own.
    let args = ["-q", "listen", "--backlog", "9", "-W", "0.2"];
    let outcome = run(&lo, "carol", &args);
    assert_eq!(messages(&outcome.out), Vec::<String>::new());
}

/// Two runs of `keygen` print different secrets.
#[test]
fn keygen_prints_a_new_secret_each_time() {
    let Some(lo) = Loopback::new() else { return };
    assert_ne!(keygen(&lo), keygen(&lo));
}

/// A secret file that others can read causes a warning on stderr; the run continues.
#[test]
fn a_secret_file_readable_by_others_is_a_warning() {
    let Some(lo) = Loopback::new() else { return };
    let option = secret(&lo, "ours");
    let args = [&option, "listen", "-W", "0"];
    let outcome = run(&lo, "bob", &args);
    assert_eq!((outcome.code, outcome.err.len()), (0, 1), "{outcome:?}");
    let path = lo.host.folder("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("set the mode");
    let outcome = run(&lo, "bob", &args);
    assert_eq!((outcome.code, outcome.err.len()), (0, 2), "{outcome:?}");
    let warning = &outcome.err[0];
    assert!(
        warning.starts_with("p2pchat: secret file ") && warning.contains("readable by others"),
        "{outcome:?}"
    );
}

/// A missing or too short secret file is refused with 78.
#[test]
fn an_unusable_secret_file_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    fs::write(lo.host.folder("short"), "abc\n").expect("a file");
    fs::set_permissions(lo.host.folder("short"), fs::Permissions::from_mode(0o600)).expect("mode");
    for name in ["missing", "short"] {
        let option = format!("--secret-file={}", lo.host.folder(name).display());
        for command in ["listen", "whoami", "trust"] {
            let outcome = run(&lo, "bob", &[&option, command]);
            assert_eq!((outcome.code, outcome.err.len()), (78, 1), "{outcome:?}");
            let is_named = outcome.err[0].starts_with("p2pchat: secret file ");
            assert!(is_named, "{outcome:?}");
        }
    }
}

/// A beacon port taken by another program is reported on stderr; discovery works once the port
/// is free.
#[test]
fn a_taken_beacon_port_is_reported() {
    let Some(lo) = Loopback::new() else { return };
    let socket = lo.host.namespace.inside(|| UdpSocket::bind("0.0.0.0:9999"));
    let alice = lo.start("alice", &["listen"]);
    alice.err.wait_for(TIMEOUT, |line| {
        line.starts_with("p2pchat: not all beacons can be heard: ")
    });
    // Discovery resumes once the port is free.
    drop(socket);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&bob, "alice");
}

/// $P2PCHAT_SECRET_FILE counts as --secret-file: a secret other than that of the server is
/// refused with 2; no secret means that of the server.
#[test]
fn a_secret_other_than_that_of_the_server_is_refused() {
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
    // Without a secret option the secret of the server applies.
    let _alice = lo.start("alice", &[&option, "listen"]);
    for secret in [None, Some(path)] {
        send(secret).assert_code(0);
    }
}

/// `history` beside a running program reads that program's network, and refuses options that
/// conflict with it (2).
#[test]
fn history_reads_the_network_of_the_running_program() {
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
    // Without a running program the options of `history` apply.
    alice.signal(nix::sys::signal::Signal::SIGTERM);
    finish(alice, b"");
    let outcome = run(&lo, "alice", &["history"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
}

/// The secret may come from a pipe, which is read once: also by a program that attaches to another
/// one, and takes over from it.
#[test]
fn the_secret_may_come_from_a_pipe() {
    let Some(lo) = Loopback::new() else { return };
    let ours = secret(&lo, "ours");
    let key = fs::read(lo.host.folder("ours")).expect("a file");
    let piped = |name: &str| {
        let path = lo.host.folder(name);
        mkfifo(&path, Mode::S_IRWXU).expect("a pipe");
        let (option, key) = (format!("--secret-file={}", path.display()), key.clone());
        thread::spawn(move || fs::write(path, key));
        option
    };
    let mut alice = lo.start("alice", &[&ours, "listen"]);
    let attached = lo.start("alice", &[&piped("first"), "listen"]);
    run(&lo, "alice", &["whoami", &piped("second")]).assert_code(0);
    run(&lo, "alice", &["history", &piped("third")]).assert_code(0);
    alice.signal(Signal::SIGTERM);
    alice.wait_exit(TIMEOUT);
    let bob = lo.start("bob", &[&ours, "listen"]);
    wait_joined(&bob, "alice");
    wait_joined(&attached, "bob");
}
