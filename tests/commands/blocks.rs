//! `send --block`: several lines as one message.
use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, run, wait_joined, without_timestamp};

/// The longest message, in bytes.
const MESSAGE_MAX_BYTES: usize = 16 * 1024;

/// Gives `input` to `send --block` of alice, which must succeed.
#[track_caller]
fn send(lo: &Loopback, arguments: &[&str], input: &[u8]) {
    let arguments = [&["send", "--block"], arguments].concat();
    let outcome = finish(lo.spawn("alice", &arguments), input);
    outcome.assert_code(0);
    assert!(outcome.err.is_empty(), "{outcome:?}");
}

/// What was said, of all that the program has printed, the first line of each message without its time and author.
fn shown(lines: &[String]) -> Vec<String> {
    let first = |line: &str| {
        without_timestamp(line)
            .split_once(": ")
            .map(|it| it.1.to_owned())
    };
    let line = |line: &String| match line.strip_prefix('\t') {
        Some(_) => line.clone(),
        None => first(line).unwrap_or_else(|| panic!("no message: {lines:?}")),
    };
    let is_presence = |line: &str| line.ends_with(" joined") || line.ends_with(" left");
    let said = lines.iter().filter(|line| !is_presence(line));
    said.map(line).collect()
}

/// In text, further lines begin with TAB, so none can pass as another message. In JSON, it is one
/// string. It counts as one message.
#[test]
fn a_block_is_one_message() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen", "-n", "2"]);
    let carol = lo.start("carol", &["listen", "--json", "-n", "2"]);
    let text = "2026-11-21T10:31:04.123Z #general eve~abcd: hi\r\n\n\x1b[31mthree\n\u{2028}\n";
    send(&lo, &[], text.as_bytes());
    send(&lo, &["a b\nc\n"], b"");
    let expected = [
        "2026-11-21T10:31:04.123Z #general eve~abcd: hi",
        "\t",
        "\t\u{241b}[31mthree",
        "\t\u{fffd}",
        "a b",
        "\tc",
    ];
    let bob = finish(bob, b"");
    bob.assert_code(0);
    assert_eq!(shown(&bob.out), expected);
    let carol = finish(carol, b"");
    carol.assert_code(0);
    let last = carol.out.last().expect("a message");
    assert!(
        last.contains(r#","content":"a b\nc","self":false,"#),
        "{last}"
    );
    assert!(last.contains(r#""sequence":2,"#), "{last}");
    assert!(last.ends_with(r#","block":true}"#), "{last}");
    assert!(
        carol
            .out
            .iter()
            .any(|line| line.contains(r#"hi\n\n\u001b[31mthree\n\u2028","#))
    );
    for user in ["alice", "bob"] {
        let stored = run(&lo, user, &["history"]);
        assert_eq!(shown(&stored.out), expected, "{user}");
        let last = run(&lo, user, &["history", "-n", "1", "-F", "%s <%m>\\n"]);
        assert_eq!(last.out, ["2 <a b", "\tc>"]);
        let json = run(&lo, user, &["history", "--json", "-n", "1"])
            .out
            .remove(0);
        assert!(
            json.ends_with(r#","content":"a b\nc","block":true}"#),
            "{json}"
        );
    }
    let found = run(&lo, "bob", &["history", "--search", "THREE"]);
    assert_eq!(shown(&found.out), expected[..4]);
}

/// A direct message can be a block. So can a line through a running program, and one of JSON.
#[test]
fn blocks_go_every_way() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["--json"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&bob, "alice");
    send(&lo, &[], b"by\na running program\n");
    send(&lo, &["-t", "@bob"], b"for\nbob alone\n");
    alice.say(r#"{"type":"chat","content":"in\nJSON","block":true}"#);
    alice.say(r#"{"type":"chat","content":"not\nhere"}"#);
    let wait = |program: &Program, end: &str| {
        program.out.wait_for(TIMEOUT, |line| line.ends_with(end));
    };
    wait(&bob, ": here");
    let rows = bob.out.all();
    assert_eq!(
        shown(&rows),
        [
            "by",
            "\ta running program",
            "for",
            "\tbob alone",
            "in",
            "\tJSON",
            "not",
            "here"
        ]
    );
    let direct = rows
        .iter()
        .find(|line| line.ends_with(": for"))
        .expect("a line");
    assert!(without_timestamp(direct).starts_with("@bob~"), "{direct}");
    wait(
        &alice,
        r#","content":"by\na running program","self":true,"late":false,"block":true}"#,
    );
    alice
        .out
        .wait_for(TIMEOUT, |line| line.contains(r#""content":"in\nJSON","#));
    // A second reader beside bob's program gets them over its socket.
    let again = lo.start("bob", &["listen", "--backlog", "3"]);
    wait(&again, ": here");
    assert_eq!(shown(&again.out.all()), ["in", "\tJSON", "not", "here"]);
}

/// A regular expression sees the line ends.
#[cfg(feature = "match")]
#[test]
fn a_match_sees_the_whole_block() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start(
        "bob",
        &["listen", "-n", "1", "--match", r"(?m)^two\nthree$"],
    );
    send(&lo, &[], b"two three\n");
    send(&lo, &[], b"one\ntwo\nthree\n");
    let outcome = finish(bob, b"");
    assert_eq!(shown(&outcome.out), ["one", "\ttwo", "\tthree"]);
    let found = run(&lo, "bob", &["history", "--match", r"^one\n"]);
    assert_eq!(shown(&found.out), ["one", "\ttwo", "\tthree"]);
}

/// 16 KiB go, with every line end, and not a byte more. The last line end does not count.
#[test]
fn the_limits_of_a_block() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    // The most line ends that a message can have: each line begins with TAB all the same.
    let ends = vec![b'\n'; MESSAGE_MAX_BYTES + 1];
    send(&lo, &[], &ends);
    bob.out
        .wait_all(TIMEOUT, |lines| lines.len() == MESSAGE_MAX_BYTES + 1);
    assert!(bob.out.all()[1..].iter().all(|line| line == "\t"));
    let longest = "x\r\n".repeat(MESSAGE_MAX_BYTES / 2) + "y";
    let longest = &longest[..longest.len() - 3];
    send(&lo, &[], longest.as_bytes());
    bob.out.wait_all(TIMEOUT, |lines| {
        lines.last().is_some_and(|line| line == "\tx")
    });
    let too_long = [&ends[..], b"\n"].concat();
    let words = "x\n".repeat(8193);
    let separator =
        "p2pchat: the block: has the character U+000B, which no block can hold, not sent";
    let rows: [(&[&str], &[u8], &str); 6] = [
        (&[], b"a\x0bb\nc", separator),
        (&["a\nb\x0b"], b"", separator),
        (
            &[][..],
            &too_long[..],
            "p2pchat: the block: longer than 16 KiB, not sent",
        ),
        (
            &[],
            &vec![b'x'; 200_000],
            "p2pchat: the block: longer than 16 KiB, not sent",
        ),
        (&[], b"a\n\xff", "p2pchat: the block: not UTF-8, not sent"),
        (
            &[&words],
            b"",
            "p2pchat: the block: longer than 16 KiB, not sent",
        ),
    ];
    for (arguments, input, sentence) in rows {
        let arguments = [&["send", "--block"], arguments].concat();
        let outcome = finish(lo.spawn("alice", &arguments), input);
        outcome.assert_code(1);
        assert_eq!(outcome.err, [sentence]);
    }
    send(&lo, &["--lossy"], b"a\n\xff");
    send(&lo, &[], b"");
    send(&lo, &[""], b"");
    bob.out.wait_for(TIMEOUT, |line| line == "\t\u{fffd}");
    assert_eq!(run(&lo, "alice", &["history", "-F", "."]).out, ["..."]);
    let outcome = run(&lo, "alice", &["send", "--block", "--json"]);
    outcome.assert_code(2);
    assert!(outcome.err[0].contains(r#""block":true"#), "{outcome:?}");
}
