//! The state directory, and the conditions under which a program refuses to start.
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, lchown, symlink};

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{Outcome, TIMEOUT, finish, run};

/// The only line of stderr; stdout is empty.
fn only_sentence(outcome: &Outcome) -> &str {
    assert_eq!(
        (outcome.out.len(), outcome.err.len()),
        (0, 1),
        "{outcome:?}"
    );
    assert!(outcome.err[0].starts_with("p2pchat: "), "{outcome:?}");
    &outcome.err[0]
}

/// An empty, invalid or cut identity file is refused with 78, and the file stays as it is.
#[test]
fn a_damaged_identity_is_refused_and_kept() {
    let Some(lo) = Loopback::new() else { return };
    let path = lo.host.folder("bob").join("identity");
    run(&lo, "bob", &["whoami"]);
    let identity = fs::read(&path).expect("an identity");
    for damaged in [&b""[..], b"garbage\n", &identity[..identity.len() / 2]] {
        fs::write(&path, damaged).expect("a file");
        for verb in ["listen", "whoami"] {
            let outcome = run(&lo, "bob", &[verb]);
            outcome.assert_code(78);
            assert!(only_sentence(&outcome).contains("identity"), "{outcome:?}");
            assert_eq!(fs::read(&path).expect("the file"), damaged);
        }
    }
}

/// A state directory that cannot be created is refused with 78; the sentence names --dir.
#[test]
fn a_directory_that_cannot_be_created_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    fs::write(lo.host.folder("file"), "").expect("a file");
    let path = lo.host.folder("file").join("below");
    let dir = format!("--dir={}", path.display());
    for verb in ["listen", "whoami", "send"] {
        let outcome = run(&lo, "bob", &[verb, &dir]);
        outcome.assert_code(78);
        assert!(only_sentence(&outcome).contains("--dir"), "{outcome:?}");
    }
}

/// A directory that belongs to somebody else, or that everyone may write, is refused with 78, also
/// for root, and nothing is created in it. The sentence names the owner.
#[test]
fn a_directory_that_others_control_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let refused = |what: &str| {
        for verb in ["listen", "whoami", "send", "history", "peers"] {
            let outcome = run(&lo, "bob", &[verb]);
            outcome.assert_code(78);
            let sentence = only_sentence(&outcome);
            assert!(
                sentence.contains(what) && sentence.contains("--dir"),
                "{outcome:?}"
            );
        }
        let folder = fs::read_dir(lo.host.folder("bob")).expect("a folder");
        assert_eq!(folder.count(), 0);
    };
    let path = lo.host.folder("bob");
    fs::create_dir(&path).expect("a folder");
    chown(&path, Some(1), None).expect("the right to give it away");
    refused(" belongs to daemon: make a directory in it, or run as daemon, or give another");
    chown(&path, Some(4_000_000), None).expect("the right to give it away");
    refused(" belongs to user 4000000: ");
    chown(&path, Some(0), None).expect("the right to take it back");
    for mode in [0o777, 0o1777, 0o702] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
        refused(" can be written by everyone, and belongs to root: chmod o-w it");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    // A link is followed if its owner is this user.
    let elsewhere = lo.host.folder("elsewhere");
    fs::rename(&path, &elsewhere).expect("a folder");
    symlink(&elsewhere, &path).expect("a link");
    lchown(&path, Some(1), None).expect("the right to give it away");
    refused(" is a link that daemon made: give another with --dir");
    lchown(&path, Some(0), None).expect("the right to take it back");
    run(&lo, "bob", &["whoami"]).assert_code(0);
    // Root may make a link for another user.
    let daemons = lo.host.folder("daemons");
    fs::create_dir(&daemons).expect("a folder");
    chown(&daemons, Some(1), Some(1)).expect("the right to give it away");
    fs::remove_file(&path).expect("a link");
    symlink(&daemons, &path).expect("a link");
    let mut command = lo.host.command("setpriv");
    command.args(["--reuid=1", "--regid=1", "--clear-groups"]);
    command.args([env!("CARGO_BIN_EXE_p2pchat"), "whoami"]);
    command.env("P2PCHAT_DIR", &path);
    finish(Program::spawn("bob", command), b"").assert_code(0);
}

/// `whoami` creates the identity once (mode 0600) and prints the same four lines ever after,
/// also as JSON and with a QR code.
#[test]
fn whoami_creates_an_identity_and_keeps_it() {
    let Some(lo) = Loopback::new() else { return };
    let outcome = run(&lo, "bob", &["whoami"]);
    outcome.assert_code(0);
    assert!(outcome.err.is_empty(), "{outcome:?}");
    let values: Vec<&str> = ["name: ", "id: ", "fingerprint: ", "code: "]
        .iter()
        .zip(&outcome.out)
        .map(|(key, line)| line.strip_prefix(key).expect(line))
        .collect();
    assert_eq!(outcome.out.len(), 4);
    let [name, id, fingerprint, code] = values[..] else {
        panic!("{outcome:?}");
    };
    assert_eq!(id.len(), 52);
    assert_eq!(name, format!("bob~{}", &id[..4]));
    assert!(!fingerprint.is_empty() && !code.is_empty());

    let path = lo.host.folder("bob").join("identity");
    let mode = fs::metadata(path)
        .expect("an identity")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let second_run = run(&lo, "bob", &["whoami"]);
    assert_eq!(second_run.out, outcome.out);
    let json = run(&lo, "bob", &["whoami", "--json"]);
    let expected = format!(
        r#"{{"type":"self","sender":"{id}","username":"bob","name":"{name}","fingerprint":"{fingerprint}","code":"{code}"}}"#
    );
    assert_eq!(json.out, [expected]);
    let picture = run(&lo, "bob", &["whoami", "--qr"]);
    assert_eq!(picture.out[..4], outcome.out);
    assert!(picture.out.len() > 15, "{picture:?}");
    let widths: Vec<usize> = picture.out[4..].iter().map(|l| l.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{widths:?}");
    assert_eq!(read_qr_code(&picture.out[4..]), *code);

    // Without a network there is no address to dial, and --peer says so. With one it takes the code.
    let dialed = run(&lo, "alice", &["--peer", code, "peers", "-W", "0.1"]);
    dialed.assert_code(2);
    assert!(dialed.err[0].contains("without an address"), "{dialed:?}");
    let code = format!("{code}@127.0.0.1:1");
    let dialed = run(&lo, "alice", &["--peer", &code, "peers", "-W", "0.1"]);
    dialed.assert_code(69);
}

/// The text of a QR code in half blocks, as a scanner sees it on a dark terminal.
fn read_qr_code(rows: &[String]) -> String {
    const MODULE_PIXELS: usize = 4;
    // Each character shows two modules, one above the other.
    let shows = |character: char| match character {
        '█' => [255, 255],
        '▀' => [255, 0],
        '▄' => [0, 255],
        ' ' => [0, 0],
        other => panic!("{other}"),
    };
    let columns: Vec<Vec<[u8; 2]>> = rows
        .iter()
        .map(|r| r.chars().map(shows).collect())
        .collect();
    let (width, height) = (columns[0].len(), rows.len() * 2);
    let mut picture = rqrr::PreparedImage::prepare_from_greyscale(
        width * MODULE_PIXELS,
        height * MODULE_PIXELS,
        |x, y| {
            let (x, y) = (x / MODULE_PIXELS, y / MODULE_PIXELS);
            columns[y / 2][x][y % 2]
        },
    );
    let grids = picture.detect_grids();
    assert_eq!(grids.len(), 1, "{rows:#?}");
    grids[0].decode().expect("a QR code").1
}

/// Beside a running program `whoami` prints its name, its address and its port; conflicting
/// options are refused (2).
#[test]
fn whoami_describes_the_running_program() {
    let Some(lo) = Loopback::new() else { return };
    lo.host.add_card("10.1.2.3/24");
    let run = |user: &str, arguments: &[&str]| {
        let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
        command.args(arguments).env("P2PCHAT_USERNAME", user);
        command.env("P2PCHAT_DIR", lo.host.folder("bob"));
        Program::spawn(user, command)
    };
    let code = |outcome: &Outcome| outcome.out[3].split_once('@').map(|(_, at)| at.to_owned());
    let outcome = finish(run("carol", &["whoami"]), b"");
    assert!(outcome.out[0].starts_with("name: carol~"), "{outcome:?}");
    assert!(code(&outcome).is_some_and(|at| at.contains("10.1.2.3:9999")));
    let bob = run("bob", &["listen", "-p0", "--interface=d0"]);
    let port = bob.wait_ready();
    let outcome = finish(run("carol", &["whoami"]), b"");
    assert!(outcome.out[0].starts_with("name: bob~"), "{outcome:?}");
    let expected = format!("10.1.2.3:{port},=");
    assert!(code(&outcome).is_some_and(|at| at.starts_with(&expected)));
    assert_eq!(finish(run("bob", &["whoami", "-p9"]), b"").code, 2);
}

/// An explicit port that is taken ends with 1. Without -p the next run takes any free port, as
/// does -p 0.
#[test]
fn an_explicit_port_is_never_replaced() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    assert_eq!(bob.wait_ready(), 9999);
    let outcome = run(&lo, "alice", &["-p", "9999", "listen"]);
    outcome.assert_code(1);
    let sentence = only_sentence(&outcome);
    assert!(
        sentence.contains("9999") && sentence.contains("taken"),
        "{outcome:?}"
    );
    let alice = lo.start("alice", &["listen"]);
    assert_ne!(alice.wait_ready(), 9999);
    let carol = lo.start("carol", &["-p", "0", "listen"]);
    assert!(![9999, 0].contains(&carol.wait_ready()));
    let dave = lo.start("dave", &["-p", "10777", "listen"]);
    assert_eq!(dave.wait_ready(), 10777);
}

/// /join beyond 64 rooms is refused and creates no folder.
#[test]
fn a_room_beyond_the_limit_is_refused_without_a_folder() {
    let Some(lo) = Loopback::new() else { return };
    let joins: String = (1..=70).map(|n| format!("/join r{n}\n")).collect();
    let outcome = finish(lo.spawn("alice", &["--commands"]), joins.as_bytes());
    outcome.assert_code(0);
    let is_refusal = |line: &&String| line.ends_with(": in 64 rooms already, /part one first");
    assert_eq!(
        outcome.err.iter().filter(is_refusal).count(),
        7,
        "{outcome:?}"
    );
    let network = lo.host.folder("alice").join("history/open");
    assert_eq!(fs::read_dir(network).expect("a folder").count(), 64);
}

/// When the store cannot be written, `send` ends with 1, and stderr names the error and the
/// lost lines.
#[test]
fn a_full_disk_is_reported_with_the_lost_lines() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "alice", &["listen", "-W", "0"]);
    let mut command = lo.host.command("sh");
    // No file may grow, as on a full disk.
    let script = "trap '' XFSZ; ulimit -f 0; exec \"$0\" --interface lo send -W 0.3 hello";
    command.args(["-c", script, env!("CARGO_BIN_EXE_p2pchat")]);
    command.env("P2PCHAT_DIR", lo.host.folder("alice"));
    let outcome = finish(Program::spawn("alice", command), b"");
    outcome.assert_code(1);
    assert!(
        outcome.err.len() == 2
            && outcome.err[0].starts_with("p2pchat: the history cannot be written: ")
            && outcome.err[1].ends_with(" could not be stored, and are lost"),
        "{outcome:?}"
    );
}

/// Bad lines in known_peers, a missing interface and a privileged port are each reported in one
/// sentence.
#[test]
fn odd_start_conditions_are_reported_with_a_remedy() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["-W", "0", "listen", "-q"];
    assert!(run(&lo, "bob", &args).err.is_empty());
    let known = lo.host.folder("bob").join("known_peers");
    for (text, what) in [
        ("bad\n", "line 1 is not `name id since` and was skipped"),
        (
            "bad\n\nbad\n",
            "2 lines are not `name id since` and were skipped",
        ),
    ] {
        fs::write(&known, text).expect("a file");
        let outcome = run(&lo, "bob", &["listen", "-W", "0"]);
        let is_report = |line: &String| line.contains(&format!("known_peers: {what}"));
        assert!(
            outcome.code == 0 && outcome.err.iter().any(is_report),
            "{outcome:?}"
        );
    }
    let args = ["listen", "-W", "0", "--interface", "nope"];
    let outcome = run(&lo, "alice", &args);
    let sentence = "p2pchat: there is no interface nope now; it is used when it appears";
    assert_eq!(
        (outcome.code, outcome.err[0].as_str()),
        (0, sentence),
        "{outcome:?}"
    );
    assert!(!outcome.err[1].contains("no interface"), "{outcome:?}");

    let mut command = lo.host.command("setpriv");
    command.args(["--bounding-set", "-net_bind_service"]);
    command.args([env!("CARGO_BIN_EXE_p2pchat"), "--ephemeral", "-p80"]);
    let outcome = finish(Program::spawn("alice", command), b"");
    let sentence = "p2pchat: port 80 is only for root: choose one from 1024 up with -p";
    outcome.assert_code(1);
    assert!(only_sentence(&outcome).starts_with(sentence), "{outcome:?}");
}

/// A history of another format is refused with 78 and left alone; the sentence says what to do. Once
/// it is moved away, the same identity begins a new history.
#[test]
fn a_history_of_another_format_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let said = |text: &str| run(&lo, "bob", &["send", "--need", "0", text]);
    said("old").assert_code(0);
    let identity = run(&lo, "bob", &["whoami"]).out;
    let history = lo.host.folder("bob").join("history");
    let format = history.join("format");
    assert_eq!(fs::read(&format).expect("a format"), b"2\n");
    // The first format had no such file.
    for (content, number) in [(None, 1), (Some("1\n"), 1), (Some("3\n"), 3)] {
        match content {
            None => fs::remove_file(&format).expect("removed"),
            Some(content) => fs::write(&format, content).expect("written"),
        }
        for arguments in [&["history"][..], &["send", "new"], &["listen"]] {
            let outcome = run(&lo, "bob", arguments);
            outcome.assert_code(78);
            let sentence = only_sentence(&outcome);
            let history = history.display();
            let has = format!("{history} has format {number}, and this program uses format 2");
            let remedy = format!("mv {history} {history}.{number}");
            assert!(sentence.contains(&has), "{sentence}");
            assert!(
                sentence.contains(&remedy) && sentence.contains("--dir"),
                "{sentence}"
            );
        }
        assert_eq!(fs::read_to_string(&format).ok().as_deref(), content);
    }
    let moved = history.with_file_name("history.1");
    fs::rename(&history, &moved).expect("moved away");
    said("new").assert_code(0);
    assert_eq!(run(&lo, "bob", &["whoami"]).out, identity);
    let lines = run(&lo, "bob", &["history"]).out;
    assert!(lines.len() == 1 && lines[0].ends_with(": new"), "{lines:?}");
    // A crash may leave an empty history, or a draft of the file.
    for name in [None, Some("format.new")] {
        fs::remove_dir_all(&history).expect("removed");
        fs::create_dir(&history).expect("created");
        if let Some(name) = name {
            fs::write(history.join(name), "").expect("written");
        }
        said("newer").assert_code(0);
    }
}

/// A power cut may empty the file that names the format, or fill it with zeros. The history is used
/// as before; this is said once.
#[test]
fn a_damaged_format_file_costs_no_line() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["send", "--need", "0", "hello"]).assert_code(0);
    let format = lo.host.folder("bob").join("history/format");
    for damaged in [&b""[..], b"\0\0", b"\xff\n"] {
        fs::write(&format, damaged).expect("written");
        let history = run(&lo, "bob", &["history"]);
        history.assert_code(0);
        assert!(history.out[0].ends_with(": hello"), "{:?}", history.out);
        let outcome = run(&lo, "bob", &["send", "--need", "0", "again"]);
        outcome.assert_code(0);
        assert!(
            only_sentence(&outcome).contains("history/format was damaged"),
            "{outcome:?}"
        );
        assert_eq!(fs::read(&format).expect("a format"), b"2\n");
    }
}

/// A history that cannot be kept within its limits is reported once, and loses no line.
#[test]
fn a_segment_that_cannot_be_started_is_reported() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen", "--no-echo"]);
    alice.wait_ready();
    let folder = lo.host.folder("alice").join("history/open/#general");
    // The next segment would be written to this path.
    fs::create_dir(folder.join("000002.tmp")).expect("a folder");
    let lines: Vec<String> = (0..1_500).map(|n| format!("{n} {:1000}", "")).collect();
    let send = lo.spawn("alice", &["send", "--need", "0"]);
    finish(send, lines.join("\n").as_bytes()).assert_code(0);
    let is_warning = |line: &str| line.contains("cannot be kept within its limits");
    alice.err.wait_for(TIMEOUT, is_warning);
    run(&lo, "alice", &["send", "--need", "0", "one more"]).assert_code(0);
    let err = alice.err.all();
    assert_eq!(err.iter().filter(|line| is_warning(line)).count(), 1);
    let history = run(&lo, "alice", &["history"]).out;
    assert_eq!(history.len(), lines.len() + 1);
}
