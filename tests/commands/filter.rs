//! `--match` and `--from`: which chat lines are printed.
use super::hosts::host::Loopback;
use super::{finish, messages, run, wait_joined, wait_line};

/// `listen` prints the lines that match, and nothing else. Only they count.
#[cfg(feature = "match")]
#[test]
fn listen_prints_and_counts_what_matches() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "bob", &["listen", "-W", "0"]);
    let bob = lo.start("bob", &["listen", "--match", "^ERR|(?i)disk", "-n", "2"]);
    let json = lo.start(
        "carol",
        &["listen", "--json", "--match", "second", "-n", "1"],
    );
    // A chat, whose coming and going would be printed without a filter.
    let mut alice = lo.start("alice", &[]);
    alice.write(b"fine\nERR first\nno ERR\nthe DISK is full\nERR second\n");
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    assert_eq!(messages(&outcome.out), ["ERR first", "the DISK is full"]);
    assert_eq!(outcome.out.len(), 2, "{outcome:?}");
    let outcome = finish(json, b"");
    outcome.assert_code(0);
    let chats: Vec<_> = outcome
        .out
        .iter()
        .filter(|line| line.contains("chat"))
        .collect();
    assert_eq!(chats.len(), 1, "{outcome:?}");
    assert!(chats[0].contains("\"sequence\":5,"), "{}", chats[0]);
    assert!(!outcome.out.iter().any(|line| line.contains("\"join\"")));
}

/// What a filter passes over counts as printed: it is no news for the next run.
#[cfg(feature = "match")]
#[test]
fn lines_that_do_not_match_are_passed_over() {
    let Some(lo) = Loopback::new() else { return };
    let mut bob = lo.start("bob", &["listen", "--match", "[0-9]"]);
    finish(lo.spawn("alice", &["send"]), b"one\n2\nthree\n").assert_code(0);
    wait_line(&bob, ": 2");
    bob.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(bob.wait_code(super::TIMEOUT), 143);
    run(&lo, "alice", &["send", "four"]).assert_code(69);
    let bob = lo.start("bob", &["listen", "--from", "alice"]);
    let _alice = lo.start("alice", &["listen"]);
    wait_line(&bob, ": four");
    assert_eq!(messages(&bob.out.all()), ["four"]);
}

/// An author is a name, a name with the beginning of an id, or an id.
#[test]
fn an_author_is_a_name_or_an_id() {
    let Some(lo) = Loopback::new() else { return };
    let mut bob = lo.start("bob", &[]);
    let mut alice = lo.start("alice", &[]);
    wait_joined(&bob, "alice");
    for n in 1..=3 {
        alice.say(&format!("alice {n}"));
        wait_line(&bob, &format!(": alice {n}"));
        bob.say(&format!("bob {n}"));
        wait_line(&alice, &format!(": bob {n}"));
    }
    let id = run(&lo, "bob", &["whoami"]).out[1].replace("id: ", "");
    for author in [
        "bob",
        "@BOB",
        &id,
        &format!("bob~{}", &id[..6]),
        &format!("@{id}"),
    ] {
        let outcome = run(&lo, "alice", &["history", "--from", author, "-n", "2"]);
        assert_eq!(messages(&outcome.out), ["bob 2", "bob 3"], "{author}");
    }
    let outcome = run(&lo, "alice", &["history", "--from", "carol"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 0), "{outcome:?}");
    #[cfg(feature = "match")]
    {
        let arguments = [
            "history",
            "--from=bob",
            "--match=[13]$",
            "--search=B",
            "-n1",
        ];
        let outcome = run(&lo, "alice", &arguments);
        assert_eq!(messages(&outcome.out), ["bob 3"], "{outcome:?}");
    }
    // A second bob has another key.
    let listener = lo.start("carol", &["listen", "--from", &id, "-n", "1"]);
    run(&lo, "dave", &["-u", "bob", "send", "I am bob"]).assert_code(0);
    bob.say("so am I");
    assert_eq!(messages(&finish(listener, b"").out), ["so am I"]);
}

/// What is no regular expression, or too large a one, or no name, is refused.
#[test]
fn a_bad_filter_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    for (arguments, sentence) in [
        (&["listen", "--from", "a b"][..], "it is name, name~abcd"),
        (
            &["listen", "--from", "guest/zed@10.0.0.7"],
            "has an address",
        ),
        (
            &["send", "--from", "bob", "x"],
            "--from does not go with send",
        ),
        #[cfg(feature = "match")]
        (
            &["history", "--match", "(a"],
            "`(a` is not a regular expression",
        ),
        #[cfg(feature = "match")]
        (&["--match", "(a{1000}){10}"], "size limit"),
    ] {
        let outcome = run(&lo, "alice", arguments);
        outcome.assert_code(2);
        assert!(outcome.err[0].contains(sentence), "{outcome:?}");
    }
}
