//! What survives the end of a program: news, own lines, and the keys of known peers.
use std::fs;
use std::path::Path;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::hosts::wait::wait_until;
use super::{TIMEOUT, finish, messages, run, wait_joined, wait_line, wait_messages};

/// Says these numbered lines, and returns their texts.
fn say_all(alice: &mut Program, numbers: std::ops::Range<u32>) -> Vec<String> {
    let lines: Vec<String> = numbers.map(|n| format!("line {n}")).collect();
    for line in &lines {
        alice.say(line);
    }
    lines
}

/// The texts of several runs, in order.
fn transcript(runs: &[Vec<String>]) -> Vec<String> {
    runs.iter().flat_map(|run| messages(run)).collect()
}

/// The printed position in the file `reader` of this folder: segment and offset.
fn printed_position(room: &Path) -> Option<(u64, u64)> {
    let text = fs::read_to_string(room.join("reader")).ok()?;
    let mut numbers = text.split_ascii_whitespace().skip(3);
    let mut number = || numbers.next()?.parse().ok();
    Some((number()?, number()?))
}

/// Waits until the printed position of #general is at the end of the store. Lines printed after
/// the saved position are repeated after a kill.
fn wait_printed_position(lo: &Loopback, user: &str) {
    let room = lo.host.folder(user).join("history/open/#general");
    wait_until("the printed position is saved", TIMEOUT, || {
        let Some((segment, offset)) = printed_position(&room) else {
            return false;
        };
        let segment_file = fs::metadata(room.join(format!("{segment:06}.ndjson")));
        segment_file.is_ok_and(|segment_file| segment_file.len() == offset)
    });
}

/// News is printed exactly once across restarts: lines missed between two runs are printed by
/// the next.
#[test]
fn a_restarted_listener_prints_missed_lines_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    let mut expected = say_all(&mut alice, 0..3);
    wait_line(&bob, ": line 2");
    bob.signal(Signal::SIGTERM);
    let mut runs = vec![finish(bob, b"").out];
    alice.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
    expected.extend(say_all(&mut alice, 3..6));
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": line 5");
    expected.extend(say_all(&mut alice, 6..8));
    wait_line(&bob, ": line 7");
    bob.signal(Signal::SIGTERM);
    runs.push(finish(bob, b"").out);
    // A run that ends before it connects to anybody repeats nothing.
    runs.push(run(&lo, "bob", &["listen", "-W", "0"]).out);
    assert_eq!(transcript(&runs), expected);
    // A run of another command follows the listeners.
    run(&lo, "bob", &["send", "hello"]).assert_code(0);
}

/// `send` prints no news: the lines it receives are printed by the next `listen`. Own lines of
/// earlier runs are no news.
#[test]
fn lines_received_by_send_are_printed_by_the_next_listener() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    run(&lo, "bob", &["listen", "-W", "0.1"]);
    alice.say("while away");
    run(&lo, "bob", &["send", "hello"]).assert_code(0);
    wait_line(&alice, ": hello");
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": while away");
    // Own lines of earlier runs are no news.
    assert_eq!(messages(&bob.out.all()), ["while away"]);
}

/// A listener that is killed three times prints every line once over all its runs.
#[test]
fn a_killed_listener_prints_every_line_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut expected = Vec::new();
    let mut runs = Vec::new();
    for round in 0..3 {
        let mut bob = lo.start("bob", &["listen"]);
        bob.out.wait_for(TIMEOUT, |line| line.ends_with(" joined"));
        expected.extend(say_all(&mut alice, round * 10..round * 10 + 5));
        wait_line(&bob, &format!(": line {}", round * 10 + 4));
        wait_printed_position(&lo, "bob");
        bob.kill();
        runs.push(bob.out.wait_end(TIMEOUT));
        expected.extend(say_all(&mut alice, round * 10 + 5..round * 10 + 10));
    }
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": line 29");
    runs.push(bob.out.all());
    assert_eq!(transcript(&runs), expected);
    assert_eq!(messages(&runs[3]), expected[25..]);
}

/// An author that is killed and restarted keeps its identity and its sequence: every line
/// arrives once and in order.
#[test]
fn a_killed_author_keeps_its_identity() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    for round in 0..3 {
        let mut alice = lo.start("alice", &[]);
        wait_joined(&alice, "bob");
        let lines = say_all(&mut alice, round * 10..round * 10 + 5);
        wait_line(&bob, &format!(": {}", lines[4]));
        alice.kill();
    }
    let expected: Vec<String> = (0..3u32)
        .flat_map(|round| (round * 10..round * 10 + 5).map(|n| format!("line {n}")))
        .collect();
    assert_eq!(messages(&bob.out.all()), expected);
    // The identity is the same: bob reports no other key.
    assert_eq!(bob.err.all().len(), 1, "{:?}", bob.err.all());
}

/// Two `--ephemeral` programs on one host connect, and write nothing to the state directory.
#[test]
fn two_ephemeral_programs_on_one_host_connect() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["--ephemeral"]);
    let bob = lo.start("bob", &["--ephemeral", "listen"]);
    wait_joined(&alice, "bob");
    finish(alice, b"nothing is kept\n").assert_code(0);
    wait_messages(&bob, &["nothing is kept"]);
    let entries = std::fs::read_dir(lo.host.folder("")).expect("the folder");
    assert_eq!(entries.count(), 0);
}

/// Trust on first use: another key under a known name is reported once, with both short ids and
/// the date.
#[test]
fn another_key_under_a_known_name_is_reported_once() {
    let Some(lo) = Loopback::new() else { return };
    let key_reports = |program: &Program| -> Vec<String> {
        let all = program.err.all().into_iter();
        all.filter(|line| line.contains("another key")).collect()
    };
    let alice = lo.start("alice", &["listen"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    drop(bob);
    // A second bob with another key runs twice.
    for _ in 0..2 {
        let dir = format!("--dir={}", lo.host.folder("bob-the-second").display());
        let bob = lo.start("bob", &[&dir]);
        wait_joined(&bob, "alice");
        finish(bob, b"it is me\n").assert_code(0);
    }
    alice
        .out
        .wait_all(TIMEOUT, |lines| messages(lines).len() == 2);
    let sentences = key_reports(&alice);
    assert_eq!(sentences.len(), 1, "{sentences:?}");
    let words: Vec<&str> = sentences[0].split(' ').collect();
    let first = run(&lo, "bob", &["whoami"]).out[0].clone();
    let dir = format!("--dir={}", lo.host.folder("bob-the-second").display());
    let second = run(&lo, "bob", &[&dir, "whoami"]).out[0].clone();
    assert_eq!(words[0], "p2pchat:");
    assert_eq!(format!("name: {}", words[1]), second);
    assert_eq!(words[2..5], ["is", "not", "the"]);
    assert_eq!(format!("name: {}", words[5]), first);
    assert_eq!(words[6..8], ["known", "since"]);
    assert!(
        words[8].len() >= 10 && words[8].starts_with("20"),
        "{words:?}"
    );
    let way_out = format!(": another key; to write to it: @{}", words[1]);
    assert!(sentences[0].ends_with(&way_out), "{sentences:?}");

    alice.signal(Signal::SIGTERM);
    finish(alice, b"");
    let alice = lo.start("alice", &["listen"]);
    let bob = lo.start("bob", &[&dir]);
    wait_joined(&alice, "bob");
    finish(bob, b"it is still me\n").assert_code(0);
    wait_line(&alice, ": it is still me");
    assert_eq!(key_reports(&alice), Vec::<String>::new());
}

/// A history segment that cannot be read is reported once, and its lines are skipped; the run
/// continues.
#[test]
fn an_unreadable_segment_is_reported_and_skipped() {
    let Some(lo) = Loopback::new() else { return };
    // Both directories exist before: bob requests all lines since his first run, and not a
    // newcomer's backfill.
    run(&lo, "bob", &["listen", "-W", "0.1"]);
    let mut alice = lo.start("alice", &["--no-echo"]);
    let room = lo.host.folder("alice").join("history/open/#general");
    let second = room.join("000002.ndjson");
    for n in 1..=1500 {
        alice.say(&format!("{n} {}", "x".repeat(1000)));
    }
    wait_until("the second segment", TIMEOUT, || {
        fs::metadata(&second).is_ok_and(|file| file.len() > 100_000)
    });
    let first = room.join("000001.ndjson");
    fs::remove_file(&first).expect("a file");
    fs::create_dir(&first).expect("a folder");
    let mut bob = lo.start("bob", &["listen"]);
    wait_joined(&alice, "bob");
    alice.say("still here");
    wait_line(&bob, ": still here");
    let report = "p2pchat: a part of the history cannot be read: ";
    alice.err.wait_for(TIMEOUT, |line| line.starts_with(report));
    let lines = bob.out.all();
    let printed = messages(&lines);
    assert!((100..1500).contains(&printed.len()), "{}", printed.len());
    let is_last = |line: &&String| line.split(' ').next() == Some("1500");
    assert!(printed.iter().any(|line| is_last(&line)));
    let outcome = finish(alice, b"");
    let reports = outcome
        .err
        .iter()
        .filter(|line| line.starts_with(report))
        .count();
    // bob lacks the lines of the first segment, which this run has said.
    assert_eq!((outcome.code, reports), (75, 1), "{outcome:?}");
    // bob would request the missing lines from alice's next runs, and they would read for him.
    bob.signal(Signal::SIGTERM);
    bob.wait_exit(TIMEOUT);
    // With an early printed position, as after a kill, the next run reads the whole history.
    let text = fs::read_to_string(room.join("reader")).expect("a reader");
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    let start = "0".repeat(20);
    words[3..].fill(&start);
    fs::write(room.join("reader"), words.join(" ") + "\n").expect("a file");
    // A backlog reads from the end, only as far back as needed. The first run also reads the
    // lines after the printed position.
    let print_backlog = |lines: &str, expected_reports: usize| {
        let outcome = run(&lo, "alice", &["listen", "--backlog", lines, "-W", "0.1"]);
        let reports = outcome
            .err
            .iter()
            .filter(|line| line.starts_with(report))
            .count();
        assert_eq!(
            (outcome.code, reports),
            (0, expected_reports),
            "{:?}",
            outcome.err
        );
        messages(&outcome.out)
    };
    let backlog = print_backlog("2000", 1);
    assert_eq!(backlog.last(), printed.last());
    assert_eq!(print_backlog("100", 0), backlog[backlog.len() - 100..]);
    assert_eq!(print_backlog("9999", 1), backlog);
}

/// With `--no-echo` the printed position passes own lines, so that a later run skips them.
#[test]
fn the_printed_position_passes_hidden_own_lines() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["--no-echo", "-W", "0"];
    let outcome = finish(lo.spawn("alice", &args), b"one\ntwo\n");
    assert_eq!((outcome.code, outcome.out.len()), (69, 0), "{outcome:?}");
    // Otherwise every run would read all own lines again.
    let room = lo.host.folder("alice").join("history/open/#general");
    let printed = printed_position(&room).expect("a printed position");
    let end = fs::metadata(room.join("000001.ndjson")).expect("a segment");
    assert_eq!(printed, (1, end.len()));
}
