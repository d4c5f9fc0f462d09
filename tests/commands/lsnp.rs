//! `--lsnp`: users of LSNP, played by a Python program, are guests of `#lsnp`.
use std::fs;
use std::path::Path;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, run, wait_error_line, wait_line, without_timestamp};

/// Starts a user of LSNP. `kind`: see `tests/foreign/lsnp_peer.py`.
fn start_foreigner(lo: &Loopback, name: &str, kind: &str) -> Program {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign/lsnp_peer.py");
    let mut command = lo.host.command("python3");
    command.arg(script).args([name, kind]);
    let foreigner = Program::spawn(name, command);
    wait_line_with(&foreigner, &["READY "]);
    foreigner
}

/// Waits for a line on stdout that contains all these parts.
fn wait_line_with(program: &Program, parts: &[&str]) -> String {
    let has_all = |line: &str| parts.iter().all(|part| line.contains(part));
    program.out.wait_for(TIMEOUT, has_all)
}

/// Waits until the gateway and the guest know each other.
fn wait_met(gateway: &Program, guest: &Program) {
    let nick = &guest.name;
    let joined = [&*format!("guest/{nick}"), "join"];
    wait_line_with(gateway, &joined);
    let user = format!("USER_ID={}@127.0.0.1", gateway.name);
    wait_line_with(guest, &["PEER_DISCOVERY", &user]);
}

/// Starts alice's gateway, which reads commands.
fn start_gateway(lo: &Loopback) -> Program {
    lo.start("alice", &["--lsnp", "-r", "lsnp", "--commands"])
}

/// Programs of all versions meet the gateway, in either order, and talk both ways.
#[test]
fn users_of_all_versions_are_guests() {
    let Some(lo) = Loopback::new() else { return };
    let mut early = start_foreigner(&lo, "early", "echoing");
    let mut alice = start_gateway(&lo);
    let mut deaf = start_foreigner(&lo, "deaf", "deaf");
    let mut zed = start_foreigner(&lo, "zed", "token");
    for guest in [&early, &deaf, &zed] {
        wait_met(&alice, guest);
        wait_line(&alice, &format!("#lsnp * guest/{} joined", guest.name));
    }
    alice.say("hello guests");
    for guest in [&mut early, &mut deaf, &mut zed] {
        let post = ["POST ", "CONTENT=hello guests", "TOKEN=alice@127.0.0.1|"];
        wait_line_with(guest, &post);
        guest.say(&format!("POST from {}", guest.name));
        let line = format!("#lsnp guest/{0}: from {0}", guest.name);
        let shown = wait_line(&alice, &line);
        assert_eq!(without_timestamp(&shown), line);
    }
    zed.say("DM alice@127.0.0.1 psst");
    let shown = wait_line(&alice, " guest/zed: psst");
    assert!(without_timestamp(&shown).starts_with("@alice~"), "{shown}");
    alice.say("/msg guest/zed psst yourself");
    wait_line_with(&zed, &["DM ", "TO=zed@127.0.0.1", "CONTENT=psst yourself"]);
    let echo = wait_line(&alice, ": psst yourself");
    assert!(
        without_timestamp(&echo).starts_with("@guest/zed alice~"),
        "{echo}"
    );
    zed.say("LIST");
    wait_line_with(&zed, &["PEER_LIST_RESPONSE", "early@127.0.0.1", "COUNT=2"]);
    zed.say("QUIT");
    wait_line(&alice, "#lsnp * guest/zed left");
    let outcome = finish(alice, b"");
    outcome.assert_code(0);
    wait_line_with(&early, &["REVOKE", "USER_ID=alice@127.0.0.1"]);
    // Guests' lines are not stored.
    let history = lo.host.history("alice", &[]);
    assert!(
        history.contains("hello guests") && !history.contains("guest/"),
        "{history}"
    );
}

/// An answer to an answer would never end: each side hears a bounded number of discoveries.
#[test]
fn a_program_that_answers_everything_starts_no_storm() {
    let Some(lo) = Loopback::new() else { return };
    let mut early = start_foreigner(&lo, "early", "echoing");
    let mut alice = start_gateway(&lo);
    wait_met(&alice, &early);
    for n in 0..10 {
        early.say("ANNOUNCE");
        early.say(&format!("POST {n}"));
        wait_line(&alice, &format!("guest/early: {n}"));
    }
    alice.say("the end");
    wait_line_with(&early, &["CONTENT=the end"]);
    let heard = early.out.all();
    let discoveries = heard
        .iter()
        .filter(|line| line.starts_with("PEER_DISCOVERY"));
    // At the start, a second later, and one answer.
    assert!((1..=3).contains(&discoveries.count()), "{heard:?}");
}

/// The words that LSNP's users know, whole or asked for.
#[test]
fn the_words_of_lsnp_work() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = start_gateway(&lo);
    let mut zed = start_foreigner(&lo, "zed", "token");
    wait_met(&alice, &zed);
    alice.say("POST hello all");
    wait_line_with(&zed, &["POST ", "CONTENT=hello all"]);
    alice.say("POST");
    wait_error_line(&alice, "POST: what do you say to all?");
    alice.say("DM is only a text here");
    wait_line_with(&zed, &["POST ", "CONTENT=DM is only a text here"]);
    alice.say("DM zed psst");
    wait_line_with(&zed, &["DM ", "CONTENT=psst"]);
    for line in ["DM", "zed@127.0.0.1", "psst again"] {
        alice.say(line);
    }
    wait_line_with(&zed, &["DM ", "CONTENT=psst again"]);
    let picture = lo.host.folder("alice.png");
    fs::write(&picture, b"\x89PNG").expect("a file");
    for line in ["PROFILE", "Alice A", "busy", &picture.to_string_lossy()] {
        alice.say(line);
    }
    let profile = [
        "PROFILE",
        "DISPLAY_NAME=Alice A",
        "STATUS=busy",
        "AVATAR_TYPE=image/png",
    ];
    wait_line_with(&zed, &profile);
    wait_line_with(&zed, &["AVATAR_ENCODING=base64", "AVATAR_DATA=iVBORw=="]);
    alice.say("PROFILE Alice A|busy|/dev/zero");
    wait_error_line(&alice, "/dev/zero: this is no file");
    fs::write(&picture, [0; 46 * 1024]).expect("a file");
    alice.say(&format!("PROFILE A|b|{}", picture.display()));
    wait_error_line(&alice, "is larger than 45 KiB: choose a smaller picture");
    zed.say("PROFILE Zed away");
    wait_line(&alice, "#lsnp - guest/zed is Zed, away");
    alice.say("LIST");
    wait_line(&alice, "#lsnp - guest/zed also knows bob@10.0.0.3");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.starts_with("guest/zed  known   #lsnp"));
    alice.say("VERBOSE");
    alice.say("/lsnp nonsense");
    wait_error_line(&alice, "LIST or VERBOSE");
    zed.say("POST raw");
    wait_line_with(
        &alice,
        &["#lsnp - guest/zed sent TYPE:POST | USER_ID:zed@127.0.0.1"],
    );
    alice.say("QUIT");
    // A line was refused.
    assert_eq!(alice.wait_code(TIMEOUT), 1);
}

/// The words work in a run that acts through the gateway, too.
#[test]
fn the_words_of_lsnp_work_through_a_running_gateway() {
    let Some(lo) = Loopback::new() else { return };
    let alice = start_gateway(&lo);
    let zed = start_foreigner(&lo, "zed", "token");
    wait_met(&alice, &zed);
    let mut attached = lo.start("alice", &["-r", "lsnp", "--commands"]);
    attached.say("DM zed psst");
    wait_line_with(&zed, &["DM ", "CONTENT=psst"]);
    attached.say("POST hello all");
    wait_line_with(&zed, &["POST ", "CONTENT=hello all"]);
    attached.say("QUIT");
    assert_eq!(attached.wait_code(TIMEOUT), 0);
    let mut elsewhere = lo.start("alice", &["-r", "ops", "--commands"]);
    elsewhere.say("POST hello all");
    wait_error_line(&elsewhere, "not in #lsnp: /join #lsnp first");
}

/// Guests are listed, as rows and as JSON, and marked everywhere.
#[test]
fn guests_are_listed_and_marked() {
    let Some(lo) = Loopback::new() else { return };
    let alice = start_gateway(&lo);
    let json = lo.start("carol", &["--lsnp", "--json", "listen"]);
    let mut zed = start_foreigner(&lo, "zed", "token");
    for gateway in [&alice, &json] {
        wait_met(gateway, &zed);
    }
    zed.say("PROFILE Zed busy");
    wait_line(&alice, "#lsnp - guest/zed is Zed, busy");
    let outcome = run(&lo, "alice", &["peers"]);
    let row = outcome.out.iter().find(|row| row.starts_with("guest/zed"));
    let row = row.unwrap_or_else(|| panic!("{outcome:?}"));
    let columns: Vec<&str> = row.split('\t').collect();
    assert_eq!(columns[1], "-");
    assert_eq!(columns[3..], ["lsnp", "known", "-", "#lsnp", "-"]);
    let outcome = run(&lo, "alice", &["peers", "--json"]);
    let row = outcome.out.iter().find(|row| row.contains("guest/zed"));
    let row: serde_json::Value = serde_json::from_str(row.expect("a row")).expect("JSON");
    assert_eq!(row["guest"], true);
    assert_eq!(
        (&row["display_name"], &row["status"]),
        (&"Zed".into(), &"busy".into())
    );
    assert_eq!(row["avatar"], "YSBwaWN0dXJl");
    assert!(row.get("sender").is_none());
    let mut alice = alice;
    alice.say("/whois guest/zed");
    for end in [
        "  name: Zed",
        "  status: busy",
        "  avatar: image/png, 9 bytes",
    ] {
        wait_error_line(&alice, end);
    }
    // What alice says about herself goes to guests, too.
    alice.say("/profile status in a meeting");
    wait_line_with(&zed, &["PROFILE ", "STATUS=in a meeting"]);
    zed.say("POST hello");
    let post = wait_line_with(&json, &["\"content\":\"hello\""]);
    let (_, rest) = post.split_once("\"target\"").expect("a target");
    assert_eq!(
        rest,
        r##":"#lsnp","username":"zed","name":"guest/zed","content":"hello","self":false,"late":false,"guest":true}"##
    );
}

/// `send` through a gateway, and alone; to everybody, and to one guest.
#[test]
fn send_reaches_guests_with_a_truthful_status() {
    let Some(lo) = Loopback::new() else { return };
    let alone = ["--lsnp", "send", "-r", "lsnp", "-W", "0.5", "anybody?"];
    let outcome = run(&lo, "bob", &alone);
    outcome.assert_code(69);
    let fate = "the next run sends them to peers, but not to guests";
    assert!(outcome.err[0].ends_with(fate), "{outcome:?}");
    let zed = start_foreigner(&lo, "zed", "token");
    run(&lo, "bob", &["--lsnp", "send", "-r", "lsnp", "hello"]).assert_code(0);
    wait_line_with(&zed, &["POST ", "CONTENT=hello"]);
    // The line of the first run was stored, and this run sent it to nobody: it was not its own.
    run(&lo, "bob", &["--lsnp", "send", "-t", "@guest/zed", "psst"]).assert_code(0);
    wait_line_with(&zed, &["DM ", "CONTENT=psst"]);
    let alice = start_gateway(&lo);
    wait_met(&alice, &zed);
    run(&lo, "alice", &["send", "-t", "@guest/ZED", "through"]).assert_code(0);
    wait_line_with(&zed, &["DM ", "CONTENT=through"]);
    wait_line(&alice, ": through");
    run(&lo, "alice", &["send", "-r", "lsnp", "to all"]).assert_code(0);
    wait_line_with(&zed, &["POST ", "CONTENT=to all"]);
    let nobody = ["send", "-t", "@guest/nobody", "-W", "0.5", "psst"];
    run(&lo, "alice", &nobody).assert_code(1);
}

/// Lines that find no place among those that wait for a first guest are said to be dropped. The
/// peers hold them all, so the run has not failed.
#[test]
fn lines_that_only_guests_miss_fail_no_run() {
    let Some(lo) = Loopback::new() else { return };
    let _carol = lo.start("carol", &["-r", "lsnp", "listen"]);
    let bob = lo.spawn("bob", &["--lsnp", "send", "-r", "lsnp"]);
    let outcome = finish(bob, "a line\n".repeat(5_000).as_bytes());
    outcome.assert_code(0);
    let dropped = |line: &&String| line.contains("lines were not sent to the guests of #lsnp");
    assert!(outcome.err.iter().any(|line| dropped(&line)), "{outcome:?}");
}

/// `listen -n 1` ends with a guest's line, and `--lsnp-room` repeats it in a room, signed.
#[test]
fn lines_of_guests_are_repeated_and_counted() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["--lsnp", "--lsnp-room", "ops"]);
    let carol = lo.start("carol", &["-r", "ops", "listen"]);
    super::wait_joined(&alice, "carol");
    let mut one = lo.start("dave", &["--lsnp", "-r", "lsnp", "listen", "-n", "1"]);
    let mut zed = start_foreigner(&lo, "zed", "token");
    for gateway in [&alice, &one] {
        wait_met(gateway, &zed);
    }
    zed.say("POST hi there");
    let shown = wait_line(&carol, ": guest/zed: hi there");
    assert!(
        without_timestamp(&shown).starts_with("#ops alice~"),
        "{shown}"
    );
    assert_eq!(one.wait_code(TIMEOUT), 0);
    wait_line(&one, "#lsnp guest/zed: hi there");
    wait_until("it is stored", TIMEOUT, || {
        lo.host
            .history("carol", &[])
            .contains("guest/zed: hi there")
    });
}

/// Options that contradict each other, or the running program, are refused.
#[test]
fn wrong_options_are_refused() {
    let Some(lo) = Loopback::new() else { return };
    for args in [
        &["--lsnp-room", "ops", "listen"][..],
        &["--lsnp", "--lsnp-room", "lsnp", "listen"],
        &["--lsnp", "history"],
    ] {
        run(&lo, "bob", args).assert_code(2);
    }
    let _alice = lo.start("alice", &["listen"]);
    let outcome = run(&lo, "alice", &["--lsnp", "send", "hello"]);
    outcome.assert_code(2);
    assert!(outcome.err[0].contains("another --lsnp"), "{outcome:?}");
    let outcome = run(
        &lo,
        "alice",
        &["send", "-t", "@guest/zed", "-W", "0", "psst"],
    );
    outcome.assert_code(1);
}
