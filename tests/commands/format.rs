//! `-F FORMAT`: chat lines in the user's own form.
use std::io::Read as _;

use super::backlog::wait_full;
use super::hosts::host::Loopback;
use super::hosts::program::Program;
use super::{TIMEOUT, finish, run, wait_joined};

/// Each field of the format, on a pipe and in the history. Comings and goings are not printed.
#[test]
fn a_format_prints_its_fields_and_nothing_else() {
    let Some(lo) = Loopback::new() else { return };
    let format = "%r|%n|%i|%m|%s|%%|\\t|\\\\\\n";
    let bob = lo.start("bob", &["listen", "-n", "3", "-F", format]);
    let alice = finish(
        lo.spawn("alice", &["send"]),
        b"one\n50% \\n\n\x1b[31mtwo\tx\n",
    );
    alice.assert_code(0);
    let id = run(&lo, "alice", &["whoami"]).out[1].replace("id: ", "");
    let name = format!("alice~{}", &id[..4]);
    let expected = [(1, "one"), (2, "50% \\n"), (3, "\u{241b}[31mtwo\tx")]
        .map(|(n, text)| format!("#general|{name}|{id}|{text}|{n}|%|\t|\\"));
    let outcome = finish(bob, b"");
    outcome.assert_code(0);
    assert_eq!(outcome.out, expected);
    let stored = run(&lo, "bob", &["history", &format!("--format={format}")]);
    assert_eq!(stored.out, expected);
    // The time is the one of the other forms.
    let times = run(&lo, "alice", &["history", "-F", "%T\\n", "-n", "1"]).out;
    let plain = run(&lo, "alice", &["history", "-n", "1"]).out;
    assert_eq!(times[0], plain[0].split(' ').next().unwrap_or_default());
}

/// A format has only the line ends that it says, and `\0` is no byte of any line.
#[test]
fn a_format_ends_lines_as_it_says() {
    let Some(lo) = Loopback::new() else { return };
    run(&lo, "alice", &["send", "--need", "0", "a\nb"]);
    finish(lo.spawn("alice", &["send", "--need", "0"]), b"c\0d\n");
    let outcome = run(&lo, "alice", &["history", "-F", "%m\\0"]);
    assert_eq!(outcome.out, ["a\0b\0c\u{2400}d\0"]);
    assert_eq!(run(&lo, "alice", &["history", "-F", "."]).out, ["..."]);
}

/// A chat on pipes prints its own lines and a direct message in the form.
#[test]
fn a_chat_prints_in_the_form() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = lo.start("alice", &["-F", "<%r %n> %m\\n"]);
    let bob = lo.start("bob", &["listen"]);
    wait_joined(&bob, "alice");
    alice.say("hello");
    run(&lo, "bob", &["send", "-t", "@alice", "psst"]).assert_code(0);
    let line = |end: &str| alice.out.wait_for(TIMEOUT, |line| line.ends_with(end));
    assert!(line("> hello").starts_with("<#general alice~"));
    let direct = line("> psst");
    let is_direct = direct.starts_with("<@alice~") && direct.contains(" bob~");
    assert!(is_direct, "{direct}");
    assert_eq!(alice.out.all().len(), 2, "{:?}", alice.out.all());
}

/// What has no meaning is refused, and so are two forms at once.
#[test]
fn a_bad_format_is_refused() {
    let Some(lo) = Loopback::new() else { return };
    for (arguments, sentence) in [
        (&["listen", "-F", "%x"][..], "%x has no meaning"),
        (&["history", "-F", "a%"], "% has no meaning"),
        (&["-F", "a\\q"], "\\q has no meaning"),
        (&["listen", "-F", "a\\"], "\\ has no meaning"),
        (&["history", "-F", "%m", "--json"], "give one of them"),
        (&["send", "-F", "%m", "x"], "--format does not go with send"),
        (&["listen", "-F"], "--format needs a FORMAT"),
    ] {
        let outcome = run(&lo, "alice", arguments);
        outcome.assert_code(2);
        assert!(outcome.err[0].contains(sentence), "{outcome:?}");
    }
}

/// Lines that a format prints without line ends count as printed once stdout has taken them: a run
/// that was killed before loses none.
#[test]
fn a_killed_run_loses_no_line_without_a_line_end() {
    const LINES: usize = 8_000;
    let Some(lo) = Loopback::new() else { return };
    let (mut reader, writer) = std::io::pipe().expect("a pipe");
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob", "listen", "-F", "%m;"]);
    command.env("P2PCHAT_DIR", lo.host.folder("bob"));
    let out = writer.try_clone().expect("a pipe").into();
    let mut bob = Program::spawn_into("bob", command, out);
    bob.wait_ready();
    let text: String = (0..LINES).map(|n| format!("{n:0>100}\n")).collect();
    finish(lo.spawn("alice", &["send"]), text.as_bytes()).assert_code(0);
    wait_full(&writer);
    bob.kill();
    drop(writer);
    let mut first = String::new();
    reader.read_to_string(&mut first).expect("text");
    let whole = first
        .split_inclusive(';')
        .filter(|line| line.ends_with(';'));
    let whole: Vec<usize> = whole.map(number).collect();
    assert!(!whole.is_empty() && whole.len() < LINES);
    let rest = run(&lo, "bob", &["listen", "-W", "3", "-F", "%m\\n"]);
    let rest: Vec<usize> = rest.out.iter().map(|line| number(line)).collect();
    assert!(rest[0] <= whole.len(), "{} of {}", rest[0], whole.len());
    assert!(rest[0] > 0, "all lines are repeated");
    assert_eq!(rest.last(), Some(&(LINES - 1)));
}

fn number(line: &str) -> usize {
    line.trim_end_matches(';').parse().expect("a number")
}
