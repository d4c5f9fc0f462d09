//! Direct messages with the real program.
use std::fs;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::hosts::program::Program;
use super::hosts::{Loopback, wait_until};
use super::{TIMEOUT, finish, run, wait_joined, wait_line, without_timestamp};

#[test]
fn a_direct_message_reaches_its_reader_alone() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let carol = lo.start("carol", &["listen"]);
    let mut dave = lo.start("dave", &["--commands"]);
    wait_joined(&carol, "bob");
    wait_joined(&dave, "bob");
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "psst"]);
    outcome.assert_code(0);
    assert!(
        outcome.err.is_empty() && outcome.out.is_empty(),
        "{outcome:?}"
    );
    let line = wait_line(&bob, ": psst");
    let line = without_timestamp(&line);
    assert!(
        line.starts_with("@bob~") && line.contains(" alice~"),
        "{line}"
    );
    dave.say("/msg bob from dave");
    let line = wait_line(&bob, ": from dave");
    assert!(without_timestamp(&line).contains(" dave~"), "{line}");
    let echo = wait_line(&dave, ": from dave");
    assert!(without_timestamp(&echo).starts_with("@bob~"), "{echo}");
    dave.say("to all");
    wait_line(&carol, ": to all");
    let others = carol.out.all();
    assert!(
        !others.iter().any(|line| line.contains(": psst")),
        "{others:?}"
    );
    assert!(
        !others.iter().any(|line| line.contains("from dave")),
        "{others:?}"
    );

    // It is in the history of author and reader, and in nobody else's.
    drop((bob, carol));
    for (who, lines) in [("alice", 1), ("bob", 2), ("carol", 0)] {
        let outcome = run(&lo, who, &["history"]);
        let direct = outcome.out.iter().filter(|line| line.contains(" @bob~"));
        assert_eq!(direct.count(), lines, "{who}: {outcome:?}");
    }
    let outcome = run(&lo, "bob", &["history", "-t", "@alice"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 1), "{outcome:?}");
    let own = run(&lo, "alice", &["history", "-t", "@bob"]);
    assert_eq!(own.out, outcome.out, "author and reader print the same");
    let outcome = run(&lo, "alice", &["history", "-t", "@nobody"]);
    outcome.assert_code(1);
    // By one's own name all that one wrote and read.
    let line = without_timestamp(&own.out[0]);
    let prefix = line.split([' ', '~']).nth(1).expect("@bob~abcd");
    for name in [
        "@bob".to_owned(),
        format!("@BOB~{prefix}"),
        format!("@~{prefix}"),
    ] {
        let outcome = run(&lo, "bob", &["history", "-t", &name]);
        assert_eq!((outcome.code, outcome.out.len()), (0, 2), "{outcome:?}");
    }
}

#[test]
fn a_reader_who_is_away_gets_it_from_the_next_run() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "one"]);
    outcome.assert_code(0);
    wait_line(&bob, ": one");
    drop(bob);
    let args = ["send", "-t", "@bob", "-W", "0.5", "two"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(69);
    assert_eq!(outcome.err.len(), 1, "{outcome:?}");
    assert!(
        outcome.err[0].ends_with("stored, and sent by the next run"),
        "{outcome:?}"
    );
    let bob = lo.start("bob", &["listen"]);
    let _alice = lo.start("alice", &[]);
    wait_line(&bob, ": two");
}

#[test]
fn a_carrier_is_no_reader_and_hands_it_on() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "one"]);
    outcome.assert_code(0);
    wait_line(&bob, ": one");
    drop(bob);
    let carol = lo.start("carol", &["listen"]);
    let args = ["send", "-t", "@bob", "-W", "1.5", "two"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(75);
    // Alice is gone.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": two");
    assert!(carol.out.all().iter().all(|line| !line.contains(": ")));
}

#[test]
fn who_is_not_known_or_is_two_gets_nothing() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["send", "-t", "@bob", "-W", "0.3", "psst"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(1);
    let why = "nobody known by that name; `p2pchat peers` lists who is there";
    assert_eq!(outcome.err, [format!("p2pchat: not sent to @bob: {why}")]);
    let args = ["send", "-t", "@alice", "-W", "0.3", "psst"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(1);
    assert_eq!(outcome.err, ["p2pchat: not sent to @alice: that is you"]);
    let one = lo.start("bob", &["listen"]);
    let two = lo.start("zoe", &["listen", "-u", "bob"]);
    wait_joined(&one, "bob");
    wait_joined(&two, "bob");
    let args = ["send", "-t", "@bob", "-W", "5", "psst"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(1);
    let told = outcome
        .err
        .iter()
        .find(|line| line.contains("could be @bob~"));
    assert!(
        told.is_some_and(|line| line.matches("@bob~").count() == 2),
        "{outcome:?}"
    );
    let outcome = run(&lo, "alice", &["history"]);
    assert!(outcome.out.is_empty(), "nothing is stored: {outcome:?}");
}

#[test]
fn another_key_under_a_bound_name_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "one"]);
    outcome.assert_code(0);
    drop(bob);
    let mallory = lo.start("mallory", &["listen", "-u", "bob"]);
    let args = ["send", "-t", "@bob", "-W", "5", "secret"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(77);
    assert!(
        outcome.err.iter().any(|line| line.contains("WARNING")),
        "{outcome:?}"
    );
    assert!(
        mallory
            .out
            .all()
            .iter()
            .all(|line| !line.contains("secret"))
    );
    let outcome = run(&lo, "alice", &["history"]);
    assert_eq!(outcome.out.len(), 1, "{outcome:?}");
}

#[test]
fn json_takes_and_shows_a_direct_message() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "--json"]);
    let mut alice = lo.start("alice", &["--json"]);
    bob.out.wait_for(TIMEOUT, |line| line.contains(r#""join""#));
    alice.say(r#"{"type":"chat","target":"@bob","content":"psst"}"#);
    let line = bob
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""content":"psst""#));
    assert!(
        line.contains(r#""target":"@"#) && line.contains(r#""self":false"#),
        "{line}"
    );
    let line = alice
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""type":"delivered""#));
    assert!(line.contains(r#""target":"@"#), "{line}");
    alice.say(r#"{"type":"chat","target":"@nobody","content":"psst"}"#);
    let outcome = finish(alice, b"");
    outcome.assert_code(1);
    assert!(
        outcome
            .out
            .iter()
            .any(|line| line.starts_with(r#"{"type":"error","code":"target""#))
    );
}

#[test]
fn through_a_running_program_they_are_said_and_shown() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "one"]);
    outcome.assert_code(0);
    assert!(
        outcome.err.is_empty() && outcome.out.is_empty(),
        "{outcome:?}"
    );
    let line = wait_line(&bob, ": one");
    assert!(without_timestamp(&line).contains(" alice~"), "{line}");
    let own = wait_line(&alice, ": one");
    assert_eq!(without_timestamp(&own), without_timestamp(&line));

    // One that speaks and one that listens beside it.
    let second = lo.start("alice", &["listen"]);
    let mut third = lo.start("alice", &["--json"]);
    third.say(r#"{"type":"chat","target":"@bob","content":"two"}"#);
    for program in [&bob, &alice, &second] {
        wait_line(program, ": two");
    }
    let delivered = |line: &str| line.contains(r#""delivered""#) && line.contains(r#""target":"@"#);
    third.out.wait_for(TIMEOUT, delivered);
    let back = run(&lo, "bob", &["send", "-t", "@alice", "three"]);
    assert_eq!(back.code, 0, "{back:?}");
    for program in [&bob, &alice, &second] {
        wait_line(program, ": three");
    }
    let lines = |program: &Program| {
        let said = |line: &String| line.contains(" @");
        program.out.all().into_iter().filter(said).count()
    };
    assert_eq!((lines(&alice), lines(&second)), (3, 2));
}

#[test]
fn through_a_running_program_nobody_is_told_at_once() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let args = ["send", "-t", "@nobody", "-W", "0.2", "psst"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(1);
    let why = "p2pchat: not sent to @nobody: nobody known by that name; ";
    assert!(
        outcome.err.len() == 1 && outcome.err[0].starts_with(why),
        "{outcome:?}"
    );
    // Who waits for a reader holds up nobody else.
    let args = ["send", "-t", "@carol", "-W", "60", "psst"];
    let waiting = lo.spawn("alice", &args);
    let outcome = run(&lo, "alice", &["send", "to all"]);
    outcome.assert_code(0);
    wait_line(&bob, ": to all");
    let carol = lo.start("carol", &["listen"]);
    wait_line(&carol, ": psst");
    assert_eq!(finish(waiting, b"").code, 0);
}

#[test]
fn a_reader_is_looked_for_also_when_the_program_dies() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "one"]);
    outcome.assert_code(0);
    drop(bob);
    let args = ["send", "-t", "@bob", "-W", "0.3", "two"];
    let outcome = run(&lo, "alice", &args);
    assert!([69, 75].contains(&outcome.code), "{outcome:?}");
    let goes_on = "sent by the p2pchat that runs here";
    assert!(outcome.err[0].ends_with(goes_on), "{outcome:?}");
    let waiting = lo.spawn("alice", &["send", "-t", "@carol", "-W", "60", "three"]);
    let folder = lo.host.folder("alice").to_string_lossy().into_owned();
    wait_until("it has come in", TIMEOUT, || {
        let sockets = fs::read_to_string(format!("/proc/{}/net/unix", alice.pid()));
        let all = sockets.expect("the sockets of a box");
        all.lines().filter(|line| line.contains(&folder)).count() > 1
    });
    alice.kill();
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": two");
    let carol = lo.start("carol", &["listen"]);
    wait_line(&carol, ": three");
    assert_eq!(finish(waiting, b"").code, 0);
}

#[test]
fn a_reader_that_is_found_in_the_last_moment_is_spoken_to() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    drop(bob);
    wait_line(&alice, " left");
    let folder = lo.host.folder("alice").to_string_lossy().into_owned();
    for (text, dies) in [("psst", false), ("hush", true)] {
        let args = ["send", "-t", "@bob", "-W", "0.5", text];
        let mut waiting = lo.spawn("alice", &args);
        wait_until("it has come in", TIMEOUT, || {
            let sockets = fs::read_to_string(format!("/proc/{}/net/unix", alice.pid()));
            let all = sockets.expect("the sockets of a box");
            all.lines().filter(|line| line.contains(&folder)).count() > 1
        });
        // It has asked by then; a run that is slower is one of its own after the death, and ends so too.
        std::thread::sleep(Duration::from_millis(100));
        // The program through which it is said answers, or dies, when its time is over.
        alice.signal(Signal::SIGSTOP);
        let since = Instant::now();
        wait_until("its time is over", TIMEOUT, || {
            since.elapsed() > Duration::from_secs(1)
        });
        let fate = if dies {
            alice.kill();
            "stored, and sent by the next run"
        } else {
            alice.signal(Signal::SIGCONT);
            "sent by the p2pchat that runs here"
        };
        let code = waiting.wait_code(TIMEOUT);
        let err = waiting.err.wait_end(TIMEOUT);
        assert_eq!(code, 69, "{err:?}");
        assert!(err[0].ends_with(fate), "{err:?}");
        let held = run(&lo, "alice", &["history"]).out;
        let line = format!(": {text}");
        assert!(held.iter().any(|held| held.ends_with(&line)), "{held:?}");
    }
}

#[test]
fn a_script_that_quits_through_a_running_program_knows_what_was_not_said() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let quits = |script: &[u8]| finish(lo.spawn("alice", &["--commands"]), script);
    // Who is there is found at once.
    let outcome = quits(b"/msg bob quick\n/msg bob again\nto all\n/quit\n");
    outcome.assert_code(0);
    for end in [": quick", ": again", ": to all"] {
        wait_line(&bob, end);
    }
    let outcome = quits(b"/msg nobody x\n/quit\n");
    outcome.assert_code(1);
    let sentence = "p2pchat: not sent to @nobody: not found yet".to_owned();
    assert!(outcome.err.contains(&sentence), "{outcome:?}");
}

#[test]
fn through_a_running_program_a_reader_bears_its_name() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let early = lo.start("alice", &["listen"]);
    let zoe = lo.start("zoe", &["listen", "-r", "elsewhere"]);
    let outcome = run(&lo, "alice", &["send", "-t", "@zoe", "one"]);
    outcome.assert_code(0);
    let line = wait_line(&alice, ": one");
    assert!(without_timestamp(&line).starts_with("@zoe~"), "{line}");
    wait_line(&zoe, ": one");
    // Also one that was there before its reader, and one that came later.
    let shown = wait_line(&early, ": one");
    assert_eq!(without_timestamp(&shown), without_timestamp(&line));
    let late = lo.start("alice", &["listen", "--backlog", "1"]);
    let shown = wait_line(&late, ": one");
    assert_eq!(without_timestamp(&shown), without_timestamp(&line));
    let outcome = finish(lo.spawn("alice", &["--commands"]), b"/search one\n");
    let found = |line: &String| line.contains(" @zoe~") && line.ends_with(": one");
    assert!(outcome.err.iter().any(found), "{outcome:?}");
}
