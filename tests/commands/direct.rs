//! Direct messages: recipients, histories, carriers, and exit statuses.
use std::time::Duration;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{
    TIMEOUT, finish, run, wait_asleep, wait_client, wait_joined, wait_line, without_timestamp,
};

/// A direct message is printed and stored by its author and its recipient only, the same bytes
/// in both histories.
#[test]
fn a_direct_message_reaches_its_recipient_alone() {
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

    // It is in the histories of author and recipient only.
    drop((bob, carol));
    for (who, lines) in [("alice", 1), ("bob", 2), ("carol", 0)] {
        let outcome = run(&lo, who, &["history"]);
        let direct = outcome.out.iter().filter(|line| line.contains(" @bob~"));
        assert_eq!(direct.count(), lines, "{who}: {outcome:?}");
    }
    let outcome = run(&lo, "bob", &["history", "-t", "@alice"]);
    assert_eq!((outcome.code, outcome.out.len()), (0, 1), "{outcome:?}");
    let history = run(&lo, "alice", &["history", "-t", "@bob"]);
    assert_eq!(
        history.out, outcome.out,
        "author and recipient print the same"
    );
    run(&lo, "alice", &["history", "-t", "@nobody"]).assert_code(1);
    // One's own name selects all direct messages written and received.
    let line = without_timestamp(&history.out[0]);
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

/// A message to an absent recipient ends `send` with 69, is stored, and is sent by the next run
/// of any kind.
#[test]
fn an_absent_recipient_gets_the_message_from_the_next_run() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "-t", "@bob", "one"]).assert_code(0);
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

/// A carrier alone is no delivery (75): it prints only its own events, and forwards the message
/// after the author has left.
#[test]
fn a_carrier_stores_a_message_and_forwards_it() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "-t", "@bob", "one"]).assert_code(0);
    wait_line(&bob, ": one");
    drop(bob);
    let carol = lo.start("carol", &["listen"]);
    let args = ["send", "-t", "@bob", "-W", "1.5", "two"];
    run(&lo, "alice", &args).assert_code(75);
    // Alice has left by now.
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": two");
    assert!(carol.out.all().iter().all(|line| !line.contains(": ")));
}

/// A name that no peer or two peers bear is refused with 1, with the candidates on stderr;
/// nothing is stored.
#[test]
fn an_unknown_or_ambiguous_name_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let args = ["send", "-t", "@bob", "-W", "0.3", "psst"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(1);
    let reason = "nobody known by that name; `p2pchat peers` lists who is there";
    assert_eq!(
        outcome.err,
        [format!("p2pchat: not sent to @bob: {reason}")]
    );
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
    let sentence = outcome
        .err
        .iter()
        .find(|line| line.contains("could be @bob~"));
    assert!(
        sentence.is_some_and(|line| line.matches("@bob~").count() == 2),
        "{outcome:?}"
    );
    let outcome = run(&lo, "alice", &["history"]);
    assert!(outcome.out.is_empty(), "nothing is stored: {outcome:?}");
}

/// A peer with another key than the one bound to the name gets nothing: 77 and a warning.
#[test]
fn another_key_under_a_bound_name_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "-t", "@bob", "one"]).assert_code(0);
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
    // The beginning of the key tells apart, and proves nothing: the whole id does.
    let id = run(&lo, "mallory", &["whoami"]).out[1].replace("id: ", "");
    let short = format!("@bob~{}", &id[..4]);
    let outcome = run(&lo, "alice", &["send", "-t", &short, "-W", "5", "secret"]);
    outcome.assert_code(77);
    let way_out =
        format!("to write to it: @{id}; if the key has changed: p2pchat trust add bob {id}");
    assert!(outcome.err.concat().contains(&way_out), "{outcome:?}");
    let mut chat = lo.start("alice", &["--commands"]);
    wait_joined(&chat, "bob");
    chat.say(&format!("/msg bob~{} secret", &id[..4]));
    chat.err
        .wait_for(TIMEOUT, |line| line.contains("not sent to @bob~"));
    finish(chat, b"").assert_code(77);
    let outcome = run(&lo, "alice", &["history"]);
    assert_eq!(outcome.out.len(), 1, "{outcome:?}");
    let whole = format!("@{id}");
    run(&lo, "alice", &["send", "-t", &whole, "to this key"]).assert_code(0);
    wait_line(&mallory, ": to this key");
    run(&lo, "alice", &["send", "-t", "@bob", "-W", "5", "secret"]).assert_code(77);
}

/// Whoever writes to somebody who is away is told so, once. At the end `send` says it.
#[test]
fn writing_to_an_absent_peer_says_so() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "-t", "@bob", "one"]).assert_code(0);
    drop(bob);
    let carol = lo.start("carol", &["listen"]);
    let mut alice = lo.start("alice", &["--commands", "-W", "0.5"]);
    wait_joined(&alice, "carol");
    alice.say("/msg @bob two");
    alice.say("/msg @bob three");
    let outcome = finish(alice, b"");
    outcome.assert_code(75);
    let is_told = |line: &&String| line.ends_with(" is not here: it gets the lines when it comes");
    assert_eq!(outcome.err.iter().filter(is_told).count(), 1, "{outcome:?}");
    let outcome = run(&lo, "alice", &["send", "-t", "@bob", "-W", "0.5", "four"]);
    outcome.assert_code(75);
    assert_eq!(outcome.err.len(), 1, "{outcome:?}");
    let sentence = &outcome.err[0];
    assert!(sentence.starts_with("p2pchat: @bob~"), "{sentence}");
    assert!(sentence.contains(": this peer is not here"), "{sentence}");
    drop(carol);
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "-t", "@bob", "five"]).assert_code(0);
    for text in [": two", ": three", ": four", ": five"] {
        wait_line(&bob, text);
    }
}

/// In JSON a direct message has the target `@ID`, in input and output and in `delivered`; an
/// unknown target is an error object.
#[test]
fn json_has_direct_messages_in_input_and_output() {
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

/// Direct messages sent through a server are printed by the server and by every attached chat
/// and `listen`.
#[test]
fn attached_programs_send_and_print_direct_messages() {
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
    let echo = wait_line(&alice, ": one");
    assert_eq!(without_timestamp(&echo), without_timestamp(&line));

    // Two clients: a chat that sends and a `listen`.
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
        let is_direct = |line: &String| line.contains(" @");
        program.out.all().into_iter().filter(is_direct).count()
    };
    assert_eq!((lines(&alice), lines(&second)), (3, 2));
}

/// Lines behind recipients whom nobody knows are sent, and get all of -W for their delivery.
#[test]
fn lines_behind_unknown_recipients_are_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let _server = lo.start("dave", &["listen"]);
    let targets = ["@bob", "@nobody", "@noone", "#general"];
    let line = |target| {
        format!("{{\"type\":\"chat\",\"target\":\"{target}\",\"content\":\"to {target}\"}}\n")
    };
    let lines = targets.map(line).concat();
    let sends = ["carol", "dave"].map(|user| {
        let mut send = lo.spawn(user, &["send", "--json", "-W", "2"]);
        send.write(lines.as_bytes());
        (user, send)
    });
    for (user, send) in sends {
        let outcome = finish(send, b"");
        outcome.assert_code(1);
        let is_refusal = |line: &&String| line.contains("nobody known by that name");
        assert_eq!(
            outcome.out.iter().filter(is_refusal).count(),
            2,
            "{outcome:?}"
        );
        let is_loss = |line: &String| line.contains("lost") || line.contains("lack");
        assert!(!outcome.err.iter().any(is_loss), "{outcome:?}");
        for target in ["@bob", "#general"] {
            let end = format!(": to {target}");
            let is_line = |line: &str| line.contains(user) && line.ends_with(&end);
            bob.out.wait_for(TIMEOUT, is_line);
        }
    }
}

/// An attached `send` to an unknown name fails after -W; another one that waits does not delay
/// other clients.
#[test]
fn an_attached_send_waits_for_an_unknown_recipient() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let args = ["send", "-t", "@nobody", "-W", "0.2", "psst"];
    let outcome = run(&lo, "alice", &args);
    outcome.assert_code(1);
    let reason = "p2pchat: not sent to @nobody: nobody known by that name; ";
    assert!(
        outcome.err.len() == 1 && outcome.err[0].starts_with(reason),
        "{outcome:?}"
    );
    // A client that waits for its recipient does not delay others.
    let args = ["send", "-t", "@carol", "-W", "60", "psst"];
    let send = lo.spawn("alice", &args);
    run(&lo, "alice", &["send", "to all"]).assert_code(0);
    wait_line(&bob, ": to all");
    let carol = lo.start("carol", &["listen"]);
    wait_line(&carol, ": psst");
    assert_eq!(finish(send, b"").code, 0);
}

/// A client whose server is killed before the recipient is known resolves and delivers the
/// message itself.
#[test]
fn a_client_resolves_its_recipient_after_the_server_dies() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    run(&lo, "alice", &["send", "-t", "@bob", "one"]).assert_code(0);
    drop(bob);
    let args = ["send", "-t", "@bob", "-W", "0.3", "two"];
    let outcome = run(&lo, "alice", &args);
    assert!([69, 75].contains(&outcome.code), "{outcome:?}");
    let hint = "sent by the p2pchat that runs here";
    assert!(outcome.err[0].ends_with(hint), "{outcome:?}");
    let send = lo.spawn("alice", &["send", "-t", "@carol", "-W", "60", "three"]);
    wait_client(&lo, &alice);
    alice.kill();
    let bob = lo.start("bob", &["listen"]);
    wait_line(&bob, ": two");
    let carol = lo.start("carol", &["listen"]);
    wait_line(&carol, ": three");
    assert_eq!(finish(send, b"").code, 0);
}

/// A message to a known recipient is stored (69) although the server replies, or dies, after -W
/// has passed.
#[test]
fn a_known_recipient_is_resolved_although_the_wait_has_passed() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    drop(bob);
    wait_line(&alice, " left");
    for (text, dies) in [("psst", false), ("hush", true)] {
        let args = ["send", "-t", "@bob", "-W", "0.5", text];
        let mut send = lo.spawn("alice", &args);
        wait_client(&lo, &alice);
        // Then the client has sent its request.
        wait_asleep(send.pid());
        alice.signal(Signal::SIGSTOP);
        // -W began with the client. It has passed when the server replies, or dies.
        std::thread::sleep(Duration::from_secs(1));
        let hint = if dies {
            alice.kill();
            "stored, and sent by the next run"
        } else {
            alice.signal(Signal::SIGCONT);
            "sent by the p2pchat that runs here"
        };
        let code = send.wait_code(TIMEOUT);
        let err = send.err.wait_end(TIMEOUT);
        assert_eq!(code, 69, "{err:?}");
        assert!(err[0].ends_with(hint), "{err:?}");
        let history = run(&lo, "alice", &["history"]).out;
        let line = format!(": {text}");
        assert!(
            history.iter().any(|stored| stored.ends_with(&line)),
            "{history:?}"
        );
    }
}

/// /quit through a server sends to known recipients first, and ends with 1 and a sentence for
/// an unresolved one.
#[test]
fn quit_reports_direct_messages_that_were_not_sent() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &["listen"]);
    wait_joined(&alice, "bob");
    let run_script = |script: &[u8]| finish(lo.spawn("alice", &["--commands"]), script);
    // A known recipient is resolved at once.
    run_script(b"/msg bob quick\n/msg bob again\nto all\n/quit\n").assert_code(0);
    for end in [": quick", ": again", ": to all"] {
        wait_line(&bob, end);
    }
    let outcome = run_script(b"/msg nobody x\n/quit\n");
    outcome.assert_code(1);
    let sentence = "p2pchat: not sent to @nobody: not found yet".to_owned();
    assert!(outcome.err.contains(&sentence), "{outcome:?}");
}

/// The recipient is printed by name in the server, in earlier and later clients, and in /search.
#[test]
fn attached_programs_print_the_name_of_a_recipient() {
    let Some(lo) = Loopback::new() else { return };
    let alice = lo.start("alice", &["listen"]);
    let earlier = lo.start("alice", &["listen"]);
    let zoe = lo.start("zoe", &["listen", "-r", "elsewhere"]);
    run(&lo, "alice", &["send", "-t", "@zoe", "one"]).assert_code(0);
    let line = wait_line(&alice, ": one");
    assert!(without_timestamp(&line).starts_with("@zoe~"), "{line}");
    wait_line(&zoe, ": one");
    // Also in a client attached before the recipient was known, and in one attached later.
    let printed = wait_line(&earlier, ": one");
    assert_eq!(without_timestamp(&printed), without_timestamp(&line));
    let later = lo.start("alice", &["listen"]);
    run(&lo, "alice", &["send", "-t", "@zoe", "two"]).assert_code(0);
    let line = wait_line(&later, ": two");
    assert!(without_timestamp(&line).starts_with("@zoe~"), "{line}");
    let outcome = finish(lo.spawn("alice", &["--commands"]), b"/search one\n");
    let is_found = |line: &String| line.contains(" @zoe~") && line.ends_with(": one");
    assert!(outcome.err.iter().any(is_found), "{outcome:?}");
}
