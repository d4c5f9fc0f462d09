//! Damaged files of the history: lines come back from peers, and nothing is printed twice.
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};
use super::hosts::wait::wait_until;

/// Peers are asked for missing lines at most every 30 s.
const HEAL_TIMEOUT: Duration = Duration::from_secs(50);

/// Flips one bit of the first place of `text` in the room's segments.
fn flip(room: &Path, text: &str) {
    let place = |path: &PathBuf| {
        let bytes = fs::read(path).expect("a segment");
        let at = bytes
            .windows(text.len())
            .position(|part| part == text.as_bytes());
        at.map(|at| (bytes, at))
    };
    let mut damaged = segments(room)
        .into_iter()
        .filter_map(|path| Some((place(&path)?, path)));
    let ((mut bytes, at), path) = damaged.next().expect("the text");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("written");
}

/// Flips one bit of the last byte of `text` in the only batch of the room's segments.
fn flip_in_batch(room: &Path, text: &str) {
    let find = |bytes: &[u8], text: &str| {
        let mut parts = bytes.windows(text.len());
        parts.position(|part| part == text.as_bytes())
    };
    for path in segments(room) {
        let mut bytes = fs::read(&path).expect("a segment");
        if let Some(line) = find(&bytes, "{\"type\":\"chat\"") {
            let at = line + find(&bytes[line..], text).expect("the text") + text.len() - 1;
            bytes[at] ^= 1;
            return fs::write(path, bytes).expect("written");
        }
    }
    panic!("no batch");
}

fn segments(room: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(room)
        .expect("a room")
        .map(|entry| entry.expect("an entry").path());
    entries
        .filter(|path| path.extension().is_some_and(|it| it == "ndjson"))
        .collect()
}

/// The history of this user. Damage is told on stderr, unless -q is given.
fn history(lo: &Loopback, user: &str) -> String {
    lo.host.history(user, &["-q"])
}

fn wait_same_history(lo: &Loopback) -> String {
    wait_until("the same history", HEAL_TIMEOUT, || {
        history(lo, "alice") == history(lo, "bob")
    });
    history(lo, "alice")
}

fn said(program: &Program) -> Vec<String> {
    let lines = program.out.all().into_iter();
    let texts = lines.filter_map(|line| Some(line.split_once(": ")?.1.to_owned()));
    texts.collect()
}

/// Lines of a peer and own lines, damaged while the program does not run, while it runs, and cut
/// off under it: all come back, and two healed boxes print the same bytes.
#[test]
fn damaged_lines_come_back_and_are_printed_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut bob = lo.start("bob", &[]);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" joined"));
    for n in 0..5 {
        alice.say(&format!("alice {n}"));
        bob.out
            .wait_for(TIMEOUT, |line| line.ends_with(&format!("alice {n}")));
        bob.say(&format!("bob {n}"));
        alice
            .out
            .wait_for(TIMEOUT, |line| line.ends_with(&format!("bob {n}")));
    }
    let whole = wait_same_history(&lo);
    let room = lo.host.folder("bob").join("history/open/#general");
    let printed = said(&bob);
    bob.signal(Signal::SIGTERM);
    bob.wait_code(TIMEOUT);
    flip(&room, "alice 1\"");
    flip(&room, "bob 3\"");
    // The last line of a log: nothing above it shows that it is missing.
    flip(&room, "alice 4\"");
    // The program finds this at the start.
    let bob = lo.start("bob", &[]);
    bob.err
        .wait_for(TIMEOUT, |line| line.contains("is damaged in line"));
    assert_eq!(wait_same_history(&lo), whole);
    assert_eq!(said(&bob), Vec::<String>::new(), "{printed:?}");
    // `history` finds this beside the running program.
    flip(&room, "alice 2\"");
    assert_ne!(history(&lo, "bob"), whole);
    bob.err
        .wait_for(TIMEOUT, |line| line.contains("is damaged in line"));
    assert_eq!(wait_same_history(&lo), whole);
    // The file is cut under the running program, which appends to it.
    for path in segments(&room) {
        fs::File::options()
            .write(true)
            .open(path)
            .expect("a segment")
            .set_len(30)
            .expect("cut");
    }
    alice.say("alice 5");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with("alice 5"));
    history(&lo, "bob");
    let whole = wait_same_history(&lo);
    assert!(whole.ends_with("alice 5\n"), "{whole}");
    assert_eq!(said(&bob), ["alice 5"]);
    bob.out.wait_for(TIMEOUT, |line| {
        line.ends_with("is missing") || line.ends_with("are missing")
    });
}

/// Whatever byte of a log's last batch is damaged, its lines come back and are printed once, also
/// if nobody who has them is there in the first run after the damage.
#[test]
fn a_damaged_last_batch_is_printed_once() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &[]);
    let mut bob = lo.start("bob", &[]);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" joined"));
    alice.say("one\ntwo\nthree");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with("three"));
    let whole = wait_same_history(&lo);
    let room = lo.host.folder("bob").join("history/open/#general");
    // The text; JSON that can't be parsed; the number of lines; the signature.
    let parts = ["two", "\"username\"", "\"count\":3", "\"signature\":\""];
    for part in parts {
        bob.signal(Signal::SIGTERM);
        bob.wait_code(TIMEOUT);
        flip_in_batch(&room, part);
        if part == "two" {
            alice.signal(Signal::SIGTERM);
            alice.wait_code(TIMEOUT);
            bob = lo.start("bob", &[]);
            wait_damage_said(&bob);
            bob.signal(Signal::SIGTERM);
            bob.wait_code(TIMEOUT);
            bob = lo.start("bob", &[]);
            alice = lo.start("alice", &[]);
        } else {
            bob = lo.start("bob", &[]);
            wait_damage_said(&bob);
        }
        assert_eq!(wait_same_history(&lo), whole);
        assert_eq!(said(&bob), Vec::<String>::new(), "{part}");
    }
    alice.say("four");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with("four"));
    assert_eq!(said(&bob), ["four"]);
}

fn wait_damage_said(program: &Program) {
    program
        .err
        .wait_for(TIMEOUT, |line| line.contains("is damaged in line"));
}
