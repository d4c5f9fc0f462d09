//! Chat on pipes: rooms, commands, and the echo of own lines.
use super::hosts::host::Loopback;
use super::{
    TIMEOUT, finish, messages, run, wait_error_line, wait_joined, wait_line, wait_messages,
    without_timestamp,
};

/// Own lines are in the transcript unless `--no-echo` is given.
#[test]
fn no_echo_hides_own_lines() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &[]);
    wait_joined(&alice, "bob");
    let outcome = finish(alice, b"one\ntwo\n");
    assert_eq!(
        (outcome.code, messages(&outcome.out)),
        (0, vec!["one".into(), "two".into()])
    );
    let alice = lo.start("alice", &["--no-echo"]);
    wait_joined(&alice, "bob");
    let outcome = finish(alice, b"three\n");
    assert_eq!(
        (outcome.code, messages(&outcome.out)),
        (0, vec![]),
        "{outcome:?}"
    );
    wait_messages(&bob, &["one", "two", "three"]);
}

/// Lines of a room are printed by its members only; joining is printed once for each shared
/// room; the first `-r` is the room spoken in.
#[test]
fn lines_of_a_room_reach_its_members_only() {
    let Some(lo) = Loopback::new() else { return };
    let both = lo.start("both", &["-r", "ops", "-r", "general", "listen"]);
    let ops = lo.start("ops", &["-r", "#OPS", "listen"]);
    let general = lo.start("general", &["listen"]);
    for (room, text) in [("ops", "to ops"), ("general", "to general")] {
        run(&lo, "alice", &["-r", room, "send", text]).assert_code(0);
    }
    wait_line(&both, ": to ops");
    wait_line(&both, ": to general");
    wait_messages(&ops, &["to ops"]);
    wait_messages(&general, &["to general"]);
    // `joined` is printed once for each shared room.
    let joined_rooms = |lines: &[String], nick: &str| -> Vec<String> {
        let event = format!(" * {nick}~");
        let joins = lines.iter().filter(|line| line.contains(&event));
        let rooms = joins.filter_map(|line| without_timestamp(line).split(' ').next());
        rooms.map(str::to_owned).collect()
    };
    wait_joined(&ops, "both");
    assert_eq!(joined_rooms(&ops.out.all(), "both"), ["#ops"]);
    assert_eq!(
        joined_rooms(&general.out.all(), "ops"),
        Vec::<String>::new()
    );
    // A member of both rooms speaks in the first.
    let carol = lo.start("carol", &["-r", "ops", "-r", "general"]);
    wait_joined(&carol, "both");
    wait_joined(&carol, "ops");
    both.out
        .wait_all(TIMEOUT, |lines| joined_rooms(lines, "carol").len() == 2);
    finish(carol, b"first\n").assert_code(0);
    let line = wait_line(&ops, ": first");
    assert!(
        without_timestamp(&line).starts_with("#ops carol~"),
        "{line}"
    );
    wait_line(&both, ": first");
    assert_eq!(messages(&general.out.all()), ["to general"]);
}

/// With `--commands` piped lines that begin with / are commands; an unknown or incomplete one
/// is refused with 1 and never said.
#[test]
fn commands_executes_slash_lines_of_a_pipe() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["-r", "general", "-r", "ops", "listen"]);
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    alice.say("/join ops");
    alice.say("in ops");
    let line = wait_line(&bob, ": in ops");
    assert!(
        without_timestamp(&line).starts_with("#ops alice~"),
        "{line}"
    );
    alice.say("/part");
    alice.say("in general");
    let line = wait_line(&bob, ": in general");
    assert!(
        without_timestamp(&line).starts_with("#general alice~"),
        "{line}"
    );
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" #ops * alice~") && line.ends_with(" left")
    });
    alice.say("/me waves");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" #general ** alice~") && line.ends_with(" waves")
    });
    alice.say("/nick alicia");
    bob.out.wait_for(TIMEOUT, |line| {
        line.contains(" #general * alice~") && line.contains(" is now known as alicia~")
    });
    alice.say("//slash");
    let line = wait_line(&bob, ": /slash");
    assert!(
        without_timestamp(&line).starts_with("#general alicia~"),
        "{line}"
    );
    alice.say("/users");
    alice.err.wait_for(TIMEOUT, |line| line.contains("bob"));
    alice.say("/rooms");
    alice
        .err
        .wait_for(TIMEOUT, |line| line.contains("#general"));
    alice.say("/help");
    alice.err.wait_for(TIMEOUT, |line| line.contains("/join"));
    // An unknown or incomplete command is refused, and nothing of it is sent.
    let outcome = finish(alice, b"/fly away\n/join\nfine\n");
    outcome.assert_code(1);
    wait_line(&bob, ": fine");
    let all = bob.out.all();
    assert!(!all.iter().any(|line| line.contains("fly")), "{all:?}");
    let refusals = outcome
        .err
        .iter()
        .filter(|line| line.starts_with("p2pchat: line "));
    assert_eq!(refusals.count(), 2, "{outcome:?}");
}

/// Whatever refuses a line of a pipe, it is named by its number: the parser, this program, or the
/// session, also that of another program.
#[test]
fn each_refused_line_of_a_pipe_is_named_by_its_number() {
    let Some(lo) = Loopback::new() else { return };
    let input = b"/bogus\n/set bell off\n/clear\nsaid\n/whois nobody\n/avatar nobody x.png\n\
                  /profile avatar none.png\n/msg nobody psst\n/history -1\n";
    for is_attached in [false, true] {
        let server = is_attached.then(|| lo.start("alice", &["listen"]));
        if let Some(server) = &server {
            server.wait_ready();
        }
        let alice = lo.spawn("alice", &["--commands", "-W", "0.1"]);
        let outcome = finish(alice, input);
        outcome.assert_code(1);
        for number in [1, 2, 3, 5, 6, 7, 8, 9] {
            let prefix = format!("p2pchat: line {number}: ");
            let mut lines = outcome.err.iter();
            assert!(
                lines.any(|line| line.starts_with(&prefix)),
                "{number}: {outcome:#?}"
            );
        }
    }
}

/// Without `--commands` a piped line is one message as it is, also with a leading /.
#[test]
fn slash_lines_of_a_pipe_are_text_by_default() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let alice = lo.start("alice", &[]);
    wait_joined(&alice, "bob");
    finish(alice, b"/quit\n//x\n").assert_code(0);
    wait_messages(&bob, &["/quit", "//x"]);
}

/// C0 codes other than TAB are shown as U+2400 + n; DEL, C1 and bidi controls as U+FFFD.
#[test]
fn control_characters_are_printed_as_visible_symbols() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(
        &lo,
        "alice",
        &["send", "a\tb\u{1b}[2J\u{7f}\u{9b}\u{202e}c"],
    )
    .assert_code(0);
    wait_line(&bob, ": a\tb␛[2J\u{fffd}\u{fffd}\u{fffd}c");
}

/// After /part and /join, with and without stored state, each line is printed once, the missed
/// ones too.
#[test]
fn rejoining_a_room_prints_missed_lines_once() {
    let Some(lo) = Loopback::new() else { return };
    for flags in [&["--commands", "--ephemeral"][..], &["--commands"]] {
        let mut alice = lo.start("alice", &["--no-echo"]);
        let mut bob = lo.start("bob", flags);
        wait_joined(&alice, "bob");
        alice.say("one");
        wait_line(&bob, ": one");
        bob.say("of bob");
        wait_line(&alice, ": of bob");
        bob.say("/part");
        alice.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
        alice.say("missed");
        bob.say("/join general");
        wait_line(&bob, ": missed");
        bob.say("again");
        wait_line(&alice, ": again");
        alice.say("two");
        wait_line(&bob, ": two");
        let printed = finish(bob, b"").out;
        let all = ["one", "of bob", "missed", "again", "two"];
        assert_eq!(messages(&printed), all, "{flags:?}");
        assert_eq!(messages(&finish(alice, b"").out), ["of bob", "again"]);
    }
}

/// /verbose prints what happens on stderr, until it is typed again. /post says a line, and /exit
/// ends.
#[test]
fn what_happens_is_printed_while_verbose() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    alice.say("/verbose");
    alice.say("/connect 127.0.0.1:1");
    wait_error_line(
        &alice,
        "what happens is printed from now on; /verbose ends it",
    );
    let is_dial = |line: &str| line.starts_with("p2pchat: debug: dial 127.0.0.1:1");
    alice.err.wait_for(TIMEOUT, is_dial);
    alice.say("/VERBOSE");
    wait_error_line(&alice, "what happens is printed no more");
    alice.say("/post good bye");
    alice.say("/exit");
    alice.wait_exit(TIMEOUT);
    wait_messages(&bob, &["good bye"]);
    let lines = alice.err.wait_end(TIMEOUT);
    let end = lines.iter().position(|line| line.ends_with("no more"));
    let rest = &lines[end.expect("a line")..];
    assert!(rest.iter().all(|line| !line.contains("debug")), "{rest:?}");
}

/// Members of the room read who is away, who comes later, too, and nothing of it is stored. JSON has
/// the text, and `peers` and /users say it.
#[cfg(feature = "presence")]
#[test]
fn who_is_away_is_told_to_the_members_of_the_room() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    let mut alice = lo.start("alice", &["--commands"]);
    wait_joined(&alice, "bob");
    alice.say("/away out for lunch");
    let line = wait_line(&bob, " is away: out for lunch");
    assert!(
        without_timestamp(&line).starts_with("#general * alice~"),
        "{line}"
    );
    wait_line(&alice, " is away: out for lunch");
    let carol = lo.start("carol", &["--json", "listen"]);
    let line = wait_line(&carol, "\"change\":\"away\",\"content\":\"out for lunch\"}");
    assert!(line.starts_with("{\"type\":\"presence\","), "{line}");
    let listed = run(&lo, "bob", &["peers", "--json"]);
    let is_away = |line: &&String| line.contains("\"away\":\"out for lunch\"");
    assert_eq!(listed.out.iter().filter(is_away).count(), 1, "{listed:?}");
    alice.say("/back");
    wait_line(&bob, " is back");
    wait_line(&carol, "\"change\":\"back\"}");
    run(&lo, "bob", &["history"]).assert_code(0);
    assert_eq!(run(&lo, "bob", &["history"]).out, Vec::<String>::new());
}
