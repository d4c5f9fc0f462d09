//! Several programs in one directory: clients attach to the running program through control.sock.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
#[cfg(all(feature = "dht", feature = "grenache"))]
use super::hosts::wait::wait_until;
#[cfg(all(feature = "dht", feature = "grenache"))]
use super::wait_client;
use super::{
    TIMEOUT, finish, messages, run, wait_error_line, wait_joined, wait_line, wait_messages,
    without_timestamp,
};

/// How long a command may wait for an answer of a stopped program, before it reads the files.
const STOPPED_MAX: Duration = Duration::from_secs(6);

/// In one directory, `send` acts through the running program, which prints the lines as its
/// own; no peer sees a second program.
#[test]
fn send_attaches_to_the_running_program() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &[]);
    wait_joined(&bob, "alice");
    let outcome = run(&lo, "alice", &["send", "Hey", "there!"]);
    outcome.assert_code(0);
    assert!(
        outcome.out.is_empty() && outcome.err.is_empty(),
        "{outcome:?}"
    );
    wait_messages(&bob, &["Hey there!"]);
    // The server prints it as its own line.
    wait_messages(&alice, &["Hey there!"]);
    let line = without_timestamp(&alice.out.all().pop().expect("a line")).to_owned();
    assert!(line.starts_with("#general alice~"), "{line}");

    finish(lo.spawn("alice", &["send"]), b"one\ntwo\n\nfour\r\r\n").assert_code(0);
    // One CR belongs to the line end; the other is part of the text, shown as its control
    // picture.
    wait_messages(&bob, &["Hey there!", "one", "two", "", "four\u{240d}"]);
    let is_leave = |line: &String| line.ends_with(" left");
    assert!(!bob.out.all().iter().any(is_leave), "{:?}", bob.out.all());
}

/// An attached `send` ends with 69, 75, 0 or 1 under the same conditions as one that runs
/// alone.
#[test]
fn an_attached_send_has_the_exit_status_of_a_send_of_its_own() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "-W", "0.3", "alone"]);
    outcome.assert_code(69);
    assert!(
        outcome.err[0].ends_with("sent by the p2pchat that runs here"),
        "{outcome:?}"
    );
    run(&lo, "alice", &["send", "--need", "0", "zero"]).assert_code(0);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    let args = ["send", "--need", "2", "-W", "0.3", "two"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(75);
    assert!(
        outcome.err[0].contains("1 of 2 peers have received"),
        "{outcome:?}"
    );
    let outcome = finish(lo.spawn("alice", &["send"]), b"fine\n\xff\n");
    outcome.assert_code(1);
    assert!(
        outcome.err[0].starts_with("p2pchat: line 2: "),
        "{outcome:?}"
    );
    wait_line(&bob, ": fine");
}

/// `/part` takes effect after the lines said in the room are sent; parting from no room is an
/// error.
#[test]
fn lines_of_a_room_are_sent_before_it_is_left() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "general", "-r", "ops"]);
    let input = b"/join ops\nsaid in ops\n/part\nsaid in general\n";
    finish(lo.spawn("alice", &["--commands"]), input).assert_code(0);
    let line = wait_line(&bob, ": said in ops");
    assert!(line.contains(" #ops "), "{line}");
    let line = wait_line(&bob, ": said in general");
    assert!(line.contains(" #general "), "{line}");
    // A later /part leaves the room; bob prints one ` left` for each of both runs.
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    for line in ["/join ops", "once more", "/part"] {
        alice.say(line);
    }
    wait_line(&bob, ": once more");
    let is_leave = |line: &&String| line.contains(" #ops * alice~") && line.ends_with(" left");
    bob.out
        .wait_all(TIMEOUT, |lines| lines.iter().filter(is_leave).count() == 2);
    // The first /part leaves #general; there is no room for the second.
    alice.say("/part");
    alice.say("/part");
    wait_error_line(&alice, "in no room");
}

/// `send --json`, which prints no transcript, still executes /join, /rooms and /part.
#[test]
fn send_executes_room_commands_of_json_input() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-r", "general", "-r", "ops"]);
    let input = br#"{"type":"command","content":"/join ops"}
{"type":"command","content":"/rooms"}
{"type":"chat","content":"said in ops"}
{"type":"command","content":"/part"}
{"type":"chat","content":"said in general"}
"#;
    let outcome = finish(lo.spawn("alice", &["send", "--json", "-W", "1"]), input);
    let line = wait_line(&bob, ": said in general");
    assert!(line.contains(" #general "), "{line}");
    let is_mentioned = |room| {
        outcome
            .out
            .iter()
            .chain(&outcome.err)
            .any(|l| l.contains(room))
    };
    assert!(
        is_mentioned("#ops") && is_mentioned("#general"),
        "{outcome:?}"
    );
}

/// The server prints only its own lines of a room that it opened for a client. Its reader of the
/// room begins when the user joins: lines said since are printed, once.
#[test]
fn a_room_opened_for_a_client_shows_only_its_lines() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--commands"]);
    let bob = lo.start("bob", &["listen", "-r", "ops"]);
    run(&lo, "alice", &["send", "-r", "ops", "through"]).assert_code(0);
    wait_line(&bob, ": through");
    wait_line(&alice, ": through");
    run(&lo, "carol", &["send", "-r", "ops", "foreign"]).assert_code(0);
    alice.say("/rooms");
    alice.say("in general");
    wait_line(&alice, ": in general");
    let out = alice.out.all();
    assert!(!out.iter().any(|l| l.contains("foreign")), "{out:?}");
    assert!(!out.iter().any(|l| l.contains("#ops *")), "{out:?}");
    alice.say("/join ops");
    alice.say("in ops");
    wait_line(&alice, ": in ops");
    run(&lo, "carol", &["send", "-r", "ops", "since"]).assert_code(0);
    wait_line(&alice, ": since");
    let out = alice.out.all();
    for (text, copies) in [("through", 1), ("foreign", 0), ("since", 1)] {
        let of_text = |line: &&String| line.ends_with(&format!(": {text}"));
        assert_eq!(out.iter().filter(of_text).count(), copies, "{out:?}");
    }
}

/// `send -t ROOM` through a server that is not in the room reaches the members of the room.
#[test]
fn the_server_joins_the_room_of_a_client() {
    let Some(lo) = Loopback::new() else { return };
    let carol = lo.start("carol", &["listen", "-r", "ops"]);
    let _alice = lo.start("alice", &["listen"]);
    run(&lo, "alice", &["send", "-t", "#ops", "psst"]).assert_code(0);
    wait_messages(&carol, &["psst"]);
}

/// A room folder that cannot be opened is an error of the `send` or /join; the server
/// continues.
#[test]
fn a_room_that_cannot_be_opened_does_not_end_the_server() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--commands"]);
    let folder = lo.host.folder("alice").join("history/open/#new");
    fs::write(folder, "no folder").expect("a file");
    let outcome = run(&lo, "alice", &["send", "-t", "#new", "psst"]);
    outcome.assert_code(1);
    let why = "#new cannot be opened: ";
    let of_send = format!("p2pchat: {why}");
    assert!(outcome.err[0].starts_with(&of_send), "{outcome:?}");
    alice.say("/join new");
    alice.err.wait_for(TIMEOUT, |line| line.contains(why));
    alice.say("still here");
    wait_messages(&alice, &["still here"]);
}

/// Lines piped through a server arrive once each, in order.
#[test]
fn thirty_thousand_lines_through_a_server_arrive_in_order() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen", "--no-echo"]);
    wait_joined(&alice, "bob");
    let lines: Vec<String> = (0..30_000).map(|n| format!("line {n}")).collect();
    let input = lines.join("\n");
    finish(lo.spawn("alice", &["send"]), input.as_bytes()).assert_code(0);
    bob.out.wait_all(TIMEOUT, |all| all.len() > lines.len());
    assert_eq!(messages(&bob.out.all()), lines);
}

/// control.sock has mode 0600, is deleted at a clean exit, and is replaced after a crash.
/// `--ephemeral` creates none.
#[test]
fn the_socket_is_private_and_removed_at_a_clean_exit() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("alice").join("control.sock");
    let mut alice = lo.start("alice", &["listen"]);
    let mode = fs::metadata(&path).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    alice.signal(Signal::SIGTERM);
    assert_eq!(alice.wait_code(TIMEOUT), 143);
    assert!(!path.exists());
    // The socket of a crashed program is replaced.
    let mut alice = lo.start("alice", &["listen"]);
    alice.kill();
    assert!(path.exists());
    run(&lo, "alice", &["send", "--need", "0", "x"]).assert_code(0);
    assert!(!path.exists());
    lo.start("alice", &["listen", "--ephemeral"]);
    assert!(!path.exists());
}

/// A directory may be deeper than the address of a socket is long: programs run in it, attach to
/// each other, and remove the socket at the end.
#[test]
fn a_directory_may_be_of_any_depth() {
    let Some(lo) = Loopback::new() else { return };
    let deep = lo
        .host
        .folder("deep")
        .join("d".repeat(100))
        .join("e".repeat(200));
    let dir = format!("--dir={}", deep.display());
    let mut alice = lo.start("alice", &["listen", &dir]);
    assert!(deep.join("control.sock").exists());
    run(&lo, "alice", &["send", &dir, "--need", "0", "hi"]).assert_code(0);
    wait_line(&alice, ": hi");
    let whoami = run(&lo, "zoe", &["whoami", &dir]);
    assert!(whoami.out[0].starts_with("name: alice~"), "{whoami:?}");
    let history = run(&lo, "alice", &["history", &dir]);
    assert_eq!(messages(&history.out), ["hi"]);
    alice.signal(Signal::SIGTERM);
    assert_eq!(alice.wait_code(TIMEOUT), 143);
    assert!(!deep.join("control.sock").exists());
}

/// Beside a program that is stopped (SIGSTOP), `history` and `whoami` read the files after a short
/// time, and say why.
#[test]
fn a_stopped_program_does_not_hold_up_readers_of_its_files() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "alice", &["send", "--need", "0", "hi"]).assert_code(0);
    let identity = run(&lo, "alice", &["whoami"]).out;
    let mut alice = lo.start("alice", &["listen"]);
    alice.signal(Signal::SIGSTOP);
    let reason = "does not answer: its files are read";
    let history = run(&lo, "alice", &["history"]);
    history.assert_code(0);
    assert_eq!(messages(&history.out), ["hi"]);
    let whoami = run(&lo, "alice", &["whoami"]);
    whoami.assert_code(0);
    assert_eq!(whoami.out, identity);
    for outcome in [&history, &whoami] {
        assert!(outcome.duration < STOPPED_MAX, "{outcome:?}");
        assert!(
            outcome.err.len() == 1 && outcome.err[0].contains(reason),
            "{outcome:?}"
        );
    }
    assert!(
        history.err[0].ends_with("its network may be another"),
        "{history:?}"
    );
    assert!(
        whoami.err[0].ends_with("its name and port may differ"),
        "{whoami:?}"
    );
    // Without the sentence, the answer could be taken for that of the program's network.
    let quiet = run(&lo, "alice", &["history", "-q"]);
    quiet.assert_code(0);
    assert_eq!(quiet.err, history.err);
    alice.signal(Signal::SIGCONT);
    alice.signal(Signal::SIGTERM);
    assert_eq!(alice.wait_code(TIMEOUT), 143);
}

/// An attached command with another -u, -p, -m, --interface or --secret-file is refused with 2.
/// The sentence names --dir and --ephemeral; equal options are accepted.
#[test]
fn an_attached_command_refuses_conflicting_options() {
    let Some(lo) = Loopback::new() else { return };
    let _alice = lo.start("alice", &["listen"]);
    let secret = lo.host.folder("secret");
    fs::write(&secret, "a secret that is long enough").expect("a file");
    let secret = format!("--secret-file={}", secret.display());
    for option in [
        "-ucarol",
        "-p4711",
        "-m239.1.1.1:5",
        "--interface=eth7",
        &secret,
    ] {
        for verb in ["listen", "send", "peers"] {
            let outcome = run(&lo, "alice", &[verb, option]);
            assert_eq!(outcome.code, 2, "{option}: {outcome:?}");
            let [sentence] = &outcome.err[..] else {
                panic!("{outcome:?}");
            };
            assert!(sentence.contains("--dir"), "{outcome:?}");
            assert!(sentence.contains("--ephemeral"), "{outcome:?}");
        }
    }
    // An option equal to that of the server is no conflict.
    run(&lo, "alice", &["send", "-ualice", "--need=0", "x"]).assert_code(0);
}

/// `peers` through a server lists its peers, as text and as JSON; none is 69.
#[test]
fn attached_peers_lists_the_peers_of_the_server() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let outcome = run(&lo, "alice", &["peers", "-W", "0.2"]);
    assert_eq!((outcome.code, outcome.out.len()), (69, 0), "{outcome:?}");
    let _bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    let outcome = run(&lo, "alice", &["peers", "-W", "0.1"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 1), "{outcome:?}");
    assert!(outcome.out[0].starts_with("bob~"), "{outcome:?}");
    let outcome = run(&lo, "alice", &["peers", "--json", "-W", "0.1"]);
    assert!(
        outcome.out[0].starts_with(r#"{"type":"peer","#),
        "{outcome:?}"
    );
}

/// An attached `listen` ends after -n lines (0), after -W (124), and by SIGINT (130); the
/// server continues.
#[test]
fn an_attached_listen_ends_by_count_wait_and_signal() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    run(&lo, "alice", &["send", "--need", "0", "before"]);
    let attached = lo.start("alice", &["listen", "-n", "2"]);
    finish(
        lo.spawn("alice", &["send", "--need", "0"]),
        b"one\ntwo\nthree\n",
    );
    let outcome = finish(attached, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["one", "two"]);
    let outcome = run(&lo, "alice", &["listen", "-n", "1", "-W", "0.1"]);
    assert_eq!((outcome.code, outcome.out.len()), (124, 0), "{outcome:?}");
    let attached = lo.start("alice", &["listen"]);
    attached.signal(Signal::SIGINT);
    assert_eq!(finish(attached, b"").code, 130);
    wait_messages(&alice, &["before", "one", "two", "three"]);
}

/// Whatever holds the socket and sends a line without end is no p2pchat. It costs its client
/// neither time nor memory.
#[test]
fn a_first_line_without_end_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "alice", &["whoami"]).assert_code(0);
    let socket = lo.host.folder("alice").join("control.sock");
    let listener = UnixListener::bind(socket).expect("a socket");
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        while stream.write_all(&[b'x'; 4096]).is_ok() {}
    });
    let outcome = run(&lo, "alice", &["send", "line"]);
    outcome.assert_code(1);
    assert!(outcome.err[0].contains("another version"), "{outcome:?}");
    server.join().expect("no panic");
}

/// --no-mdns and --scan do, too. Whoever takes over a program without multicast DNS has none.
#[cfg(all(feature = "mdns", feature = "scan"))]
#[test]
fn the_searches_of_the_running_program_count() {
    let Some(lo) = Loopback::new() else { return };
    let send = |option: &str| run(&lo, "alice", &["send", "--need=0", option, "x"]);
    let assert_refused = |option: &str, name: &str| {
        let outcome = send(option);
        outcome.assert_code(2);
        let sentence = format!("a p2pchat with another {name} runs in ");
        assert!(outcome.err[0].contains(&sentence), "{outcome:?}");
    };
    let mut alice = lo.start("alice", &["listen"]);
    assert_refused("--no-mdns", "--no-mdns");
    assert_refused("--scan=10.0.0.0/30", "--scan");
    alice.kill();

    let mut alice = lo.start("alice", &["listen", "--no-mdns", "--scan=10.0.0.0/30"]);
    let assert_kept = || {
        send("--no-mdns").assert_code(0);
        send("--scan=10.0.0.3/30:9999").assert_code(0);
        assert_refused("--scan=own", "--scan");
        assert_refused("--scan=10.0.0.0/30:99", "--scan");
    };
    assert_kept();
    let attached = lo.start("alice", &["-r", "ops"]);
    wait_client(&lo, &alice);
    alice.kill();
    wait_until("it is taken over", TIMEOUT, || {
        attached
            .err
            .all()
            .iter()
            .filter(|it| it.contains("ready as"))
            .count()
            == 2
    });
    assert_kept();
}

/// --grape, --dht and --dht-bootstrap belong to the running program as well: an attached command
/// that gives another one is refused. Whoever takes over goes on with those of its server.
#[cfg(all(feature = "dht", feature = "grenache"))]
#[test]
fn the_finders_of_the_running_program_count() {
    const GRAPE: &str = "--grape=http://127.0.0.1:9";
    const NODE: &str = "--dht-bootstrap=127.0.0.1:9";
    let Some(lo) = Loopback::new() else { return };
    let assert_refused = |options: &[&str], name: &str| {
        let outcome = run(
            &lo,
            "alice",
            &[&["send", "--need=0"], options, &["x"]].concat(),
        );
        outcome.assert_code(2);
        let sentence = format!("a p2pchat with another {name} runs in ");
        let is_named = |line: &String| {
            line.contains(&sentence) && line.contains("--dir") && line.contains("--ephemeral")
        };
        assert!(outcome.err.iter().any(is_named), "{outcome:?}");
    };
    let mut alice = lo.start("alice", &["listen"]);
    assert_refused(&[GRAPE], "--grape");
    assert_refused(&["--dht"], "--dht");
    assert_refused(&["--dht", NODE], "--dht");
    alice.kill();

    let mut alice = lo.start("alice", &["listen", GRAPE, "--dht", NODE]);
    let assert_kept = || {
        assert_refused(&["--grape=http://127.0.0.1:8"], "--grape");
        assert_refused(&["--dht", "--dht-bootstrap=127.0.0.1:8"], "--dht-bootstrap");
        let same = ["send", "--need=0", GRAPE, "--dht", NODE, "x"];
        run(&lo, "alice", &same).assert_code(0);
    };
    assert_kept();
    let mut attached = lo.start("alice", &["--commands", "-r", "ops"]);
    wait_client(&lo, &alice);
    alice.kill();
    wait_until("the finders run", TIMEOUT, || {
        attached.say("/stats");
        let lines = attached.err.all();
        let has = |name: &str| lines.iter().any(|line| line.contains(name));
        has("grenache announced") && has("dht announced")
    });
    assert_kept();
}
