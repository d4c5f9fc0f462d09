//! `--backlog N`: the last N lines of the rooms in the one order, then the transcript.
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, PipeWriter, Read as _};
use std::os::fd::AsFd as _;
use std::process::{Child, Stdio};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use p2pchat::base::batch::batch::{Batch, LocalFields, LogId};
use p2pchat::base::batch::batch_signing::UnsignedBatch;
use p2pchat::base::identity::{Identity, NetworkTag};
use p2pchat::base::lines::Lines;
use p2pchat::base::name::{FolderName, Nick, Room, Target};
use p2pchat::base::text::line_form::LineForm;
use p2pchat::base::time::WallTime;
use p2pchat::shell::os::clock::Moment;
use p2pchat::shell::store::quota::StoreLimits;
use p2pchat::shell::store::store::Store;

use serde_json::{Value, json};

use super::control_socket::Client;
use super::folders::EmptyReplicationState;
use super::hosts::host::Loopback;
use super::hosts::program::{TIMEOUT, peak};
use super::hosts::wait::wait_until;
use super::{finish, messages, run, wait_line, wait_messages};

/// Limit of peak resident memory in kB.
const PEAK_RSS_MAX_KB: u64 = 16 * 1024;
/// More lines than a pipe, the queue of stdout and a connection hold.
const MANY_LINES: u64 = 8000;

/// A line of bob's history: its author's seed, its room and its Lamport number.
pub(super) type StoredLine = (u8, &'static str, u64);

/// Two authors in two rooms. What stands last came late, or between.
const LINES: [StoredLine; 9] = [
    (2, "#general", 50),
    (3, "#general", 60),
    (2, "#ops", 70),
    (3, "#general", 80),
    (3, "#ops", 81),
    (4, "#general", 10),
    (4, "#general", 65),
    (4, "#general", 75),
    (2, "#general", 90),
];

/// Creates bob's history. Each line says its place in the order of arrival. `has_reader`: whether
/// bob's reader began before, so that all lines are news.
pub(super) fn fill(lo: &Loopback, has_reader: bool, lines: impl IntoIterator<Item = StoredLine>) {
    let dir = lo.host.folder("bob").join("history");
    fs::create_dir_all(&dir).expect("a folder");
    fs::write(dir.join("format"), "2\n").expect("a file");
    let own_id = Identity::from_seed(&[1; 32]).id();
    let (network, limits) = (NetworkTag::OPEN, StoreLimits::default());
    let mut store = Store::open(&dir, network, own_id, limits).expect("a store");
    let mut heads: Vec<Batch> = Vec::new();
    let lines: Vec<StoredLine> = lines.into_iter().collect();
    let rooms: BTreeSet<&str> = lines.iter().map(|line| line.1).chain(["#ops"]).collect();
    for room in rooms {
        let folder = FolderName::parse(room).expect("a folder");
        store.open_folder(&folder).expect("a folder");
        if has_reader {
            store.begin_reader(&folder, None, &Moment::default());
        }
    }
    for (n, (seed, room, lamport)) in lines.into_iter().enumerate() {
        let identity = Identity::from_seed(&[seed; 32]);
        let log = LogId {
            target: Target::Room(Room::new(room).expect("a room")),
            author: identity.id(),
            incarnation: 1,
        };
        let at = heads.iter().position(|head| head.log == log);
        let head = at.map(|at| heads.swap_remove(at));
        let mut text = Lines::default();
        text.push(format!("line {n}").as_bytes()).expect("short");
        let draft = UnsignedBatch {
            log,
            username: Nick::new_or_placeholder("carol"),
            sequence: head.as_ref().map_or(1, |head| head.last_sequence() + 1),
            lamport,
            timestamp: WallTime(lamport as i64),
            run: 1,
            uptime: 0,
            republishes: None,
            salt: 9,
            previous: head.as_ref().map(|head| head.hash),
            form: LineForm::Text,
            lines: &text,
            sealed: None,
        };
        let batch = Batch::sign(&identity, &network, draft);
        let local = LocalFields {
            received: WallTime(1_000_000 + n as i64),
            late: n % 2 == 0,
            backfill: !has_reader,
            ..LocalFields::default()
        };
        store.save(&batch, local).expect("room");
        store.enforce_limits(&EmptyReplicationState).expect("room");
        heads.push(batch);
    }
}

pub(super) fn numbers(lines: &[String]) -> Vec<u64> {
    let texts = messages(lines).into_iter();
    texts
        .filter_map(|text| text.strip_prefix("line ")?.parse().ok())
        .collect()
}

/// `listen --backlog N` prints the bytes of `history -n N`, whatever the order of arrival.
#[test]
fn a_backlog_has_the_bytes_of_the_history() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, false, LINES);
    let rooms: [&[&str]; 3] = [
        &["-r", "general"],
        &["-r", "ops"],
        &["-r", "ops", "-r", "general"],
    ];
    for rooms in rooms {
        for lines in ["0", "1", "3", "5", "9", "99"] {
            let listen = ["listen", "-W0", "--backlog", lines];
            let printed = run(&lo, "bob", &[&listen, rooms].concat());
            let history = run(&lo, "bob", &[&["history", "-n", lines], rooms].concat());
            assert_eq!(printed.code, 0, "{printed:?}");
            assert_eq!(printed.out, history.out, "{lines} of {rooms:?}");
        }
    }
}

/// News among the last N lines are printed with them, others after them, and none by the next run.
#[test]
fn news_are_printed_once_in_the_backlog_or_after_it() {
    for (lines, later) in [
        ("1", vec![0, 1, 3, 5, 6, 7]),
        ("3", vec![0, 1, 5, 6]),
        ("99", vec![]),
    ] {
        let Some(lo) = Loopback::new() else { return };
        fill(&lo, true, LINES);
        let history = run(&lo, "bob", &["history", "-r", "general", "-n", lines]);
        let mut bob = lo.start("bob", &["listen", "--backlog", lines]);
        let count = history.out.len() + later.len();
        bob.out.wait_all(TIMEOUT, |printed| printed.len() >= count);
        let printed = bob.out.all();
        assert_eq!(printed[..history.out.len()], history.out[..]);
        assert_eq!(numbers(&printed[history.out.len()..]), later);
        // What was printed is recorded at once, not only at the end of the run.
        run(&lo, "alice", &["send", "now"]).assert_code(0);
        wait_line(&bob, ": now");
        bob.kill();
        let next = run(&lo, "bob", &["listen", "-W", "0"]);
        assert!(numbers(&next.out).is_empty(), "{next:?}");
    }
}

/// Without any line after the backlog, its news count as printed as well.
#[test]
fn a_killed_run_has_recorded_its_backlog_as_printed() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, true, LINES);
    let mut bob = lo.start("bob", &["listen", "--backlog", "99"]);
    bob.out.wait_all(TIMEOUT, |printed| printed.len() >= 7);
    let reader = lo.host.folder("bob").join("history/open/#general/reader");
    wait_until("the printed position", TIMEOUT, || {
        let text = fs::read_to_string(&reader).expect("a reader");
        text.split(' ').nth(4) != Some(&"0".repeat(20))
    });
    bob.kill();
    let next = run(&lo, "bob", &["listen", "-W", "0"]);
    assert!(next.out.is_empty(), "{next:?}");
}

/// The lines of a backlog are marked in JSON, and keep their fields.
#[test]
fn lines_of_a_backlog_are_marked_in_json() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, true, LINES);
    let outcome = run(&lo, "bob", &["listen", "--json", "-W0", "--backlog", "1"]);
    let chats = outcome.out.iter().filter(|line| line.contains("\"chat\""));
    let chats: Vec<Value> = chats
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(chats.len(), 7, "{outcome:?}");
    for (i, chat) in chats.iter().enumerate() {
        let is_marked = chat.get("backlog") == Some(&true.into());
        assert_eq!(is_marked, i == 0, "{chat}");
        assert!(chat["received"].is_string() && chat["self"] == false);
        assert!(chat["late"].is_boolean());
    }
}

/// Any client of the socket gets a backlog of all its rooms together, after the answer that says
/// where it continues. With the last positions it gets no line twice.
#[test]
fn a_client_of_the_socket_gets_a_backlog() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, false, LINES);
    let _bob = lo.start("bob", &["listen", "-r", "general", "-r", "ops"]);
    let mut client = Client::connect(&lo, "bob");
    client.send(&json!({"type": "listen", "backlog": 3, "id": 1}));
    let mut events = || {
        let mut events = vec![client.event()];
        while events
            .last()
            .is_some_and(|event| event["content"] != "line 8")
        {
            events.push(client.event());
        }
        events
    };
    let events = events();
    let kinds: Vec<&Value> = events.iter().map(|event| &event["type"]).collect();
    let expected = [
        "position", "position", "position", "done", "chat", "chat", "chat",
    ];
    assert_eq!(kinds, expected, "{events:?}");
    let texts: Vec<&Value> = events[4..].iter().map(|event| &event["content"]).collect();
    assert_eq!(texts, ["line 3", "line 4", "line 8"]);
    let position = |target: &str| {
        let of_target = |event: &&Value| event["target"] == target;
        let last = events.iter().rev().find(of_target).expect("a position");
        last["position"].clone()
    };
    let mut next = Client::connect(&lo, "bob");
    for target in ["#general", "#ops", "@"] {
        next.send(&json!({"type": "listen", "target": target, "after": position(target)}));
    }
    run(&lo, "alice", &["send", "-r", "ops", "now"]).assert_code(0);
    let chat = loop {
        let event = next.event();
        if event["type"] == "chat" {
            break event;
        }
    };
    assert_eq!(chat["content"], "now");
}

/// A room that is joined later has a backlog of its own.
#[test]
fn a_room_that_is_joined_later_has_its_own_backlog() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, false, LINES);
    let mut bob = lo.start("bob", &["--commands", "--backlog", "1"]);
    wait_line(&bob, ": line 8");
    bob.say("/join ops");
    wait_line(&bob, ": line 4");
    bob.say("hi");
    wait_line(&bob, ": hi");
    assert_eq!(messages(&bob.out.all()), ["line 8", "line 4", "hi"]);
}

/// Direct messages are no lines of the rooms, as in `history -r`.
#[test]
fn a_backlog_has_no_direct_messages() {
    let Some(lo) = Loopback::new() else { return };
    let bob = lo.start("bob", &["listen"]);
    run(&lo, "alice", &["send", "in the room"]).assert_code(0);
    run(&lo, "alice", &["send", "-t", "@bob", "direct"]).assert_code(0);
    wait_messages(&bob, &["in the room", "direct"]);
    drop(finish_by_signal(bob));
    let outcome = run(&lo, "bob", &["listen", "-W0", "--backlog", "9"]);
    assert_eq!(messages(&outcome.out), ["in the room"]);
}

fn finish_by_signal(program: super::hosts::program::Program) -> super::Outcome {
    program.signal(Signal::SIGTERM);
    finish(program, b"")
}

/// Lines of two authors in turn. Every tenth came late.
fn many_lines() -> impl Iterator<Item = StoredLine> {
    (0..MANY_LINES).map(|n| match n % 10 {
        9 => (4, "#general", n * 10 + 1),
        n_of_ten => (
            2 + (n_of_ten % 2) as u8,
            "#general",
            n * 10 + MANY_LINES + 1,
        ),
    })
}

/// Starts bob with a stdout that nobody reads.
fn start_stalled(lo: &Loopback, arguments: &[&str]) -> Child {
    start_with(lo, arguments, Stdio::piped())
}

fn start_with(lo: &Loopback, arguments: &[&str], stdout: Stdio) -> Child {
    let mut command = lo.host.command(env!("CARGO_BIN_EXE_p2pchat"));
    command.args(["--interface", "lo", "-u", "bob"]);
    command
        .args(arguments)
        .env("P2PCHAT_DIR", lo.host.folder("bob"));
    command.stdin(Stdio::null());
    command.stdout(stdout).stderr(Stdio::null());
    command.spawn().expect("bob")
}

/// Waits until a pipe takes no more bytes.
pub(super) fn wait_full(pipe: &PipeWriter) {
    wait_until("a full pipe", TIMEOUT, || {
        let mut fds = [PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)];
        poll(&mut fds, PollTimeout::ZERO).expect("a pipe") == 0
    });
}

fn end(mut child: Child) {
    child.kill().expect("a child");
    child.wait().expect("a child");
}

/// Reads lines until one ends with `last`.
pub(super) fn read_until(reader: &mut impl std::io::BufRead, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while !lines
        .last()
        .is_some_and(|line: &String| line.ends_with(last))
    {
        let mut line = String::new();
        assert!(
            reader.read_line(&mut line).expect("text") > 0,
            "no {last:?}"
        );
        lines.push(line.trim_end().to_owned());
    }
    lines
}

/// A reader that stalls in a backlog costs no memory, and gets lines that came meanwhile after it.
#[test]
fn a_stalled_reader_gets_the_backlog_and_then_the_news() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, true, many_lines());
    let history = run(&lo, "bob", &["history", "-r", "general", "-n", "1000000"]);
    let mut bob = start_stalled(&lo, &["listen", "--backlog", "1000000"]);
    run(&lo, "alice", &["send", "now"]).assert_code(0);
    assert!(peak(bob.id()) <= PEAK_RSS_MAX_KB, "{}", peak(bob.id()));
    let mut stdout = BufReader::new(bob.stdout.take().expect("piped"));
    let printed = read_until(&mut stdout, ": now");
    let printed: Vec<String> = printed
        .into_iter()
        .filter(|line| !line.ends_with(" joined") && !line.ends_with(" left"))
        .collect();
    assert_eq!(printed.len(), history.out.len() + 1);
    assert_eq!(printed[..history.out.len()], history.out[..]);
    end(bob);
}

/// The lines of a history that a stalled pipe takes from a run with a backlog. `end` ends it.
fn print_part_of_backlog(lo: &Loopback, options: &[&str], end: fn(&mut Child)) -> Vec<u64> {
    let (mut stdout, pipe) = std::io::pipe().expect("a pipe");
    let arguments = [&["listen"], options].concat();
    let mut bob = start_with(lo, &arguments, pipe.try_clone().expect("a pipe").into());
    let mut printed = vec![0; 32 * 1024];
    stdout.read_exact(&mut printed).expect("lines");
    wait_full(&pipe);
    drop(pipe);
    // Whatever happens lets bob record what he has written.
    run(lo, "alice", &["send", "now"]).assert_code(0);
    end(&mut bob);
    bob.wait().expect("a child");
    stdout.read_to_end(&mut printed).expect("lines");
    // The last line may be cut.
    let end_of_lines = printed.iter().rposition(|byte| *byte == b'\n');
    printed.truncate(end_of_lines.expect("lines"));
    let text = String::from_utf8(printed).expect("text");
    let lines = text.lines().filter(|line| !line.is_empty());
    numbers(&lines.map(str::to_owned).collect::<Vec<_>>())
}

fn signal(child: &Child, signal: Signal) {
    let id = i32::try_from(child.id()).expect("a process id");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(id), signal).expect("a child");
}

fn terminate(child: &mut Child) {
    signal(child, Signal::SIGTERM);
}

/// Runs that are cut short within different backlogs have recorded what they have printed. The next
/// run prints all other news.
#[test]
fn a_run_that_ends_within_a_backlog_leaves_the_rest() {
    let ends: [fn(&mut Child); 2] = [terminate, |bob| bob.kill().expect("a child")];
    for end in ends {
        let Some(lo) = Loopback::new() else { return };
        fill(&lo, true, many_lines());
        let mut printed = print_part_of_backlog(&lo, &["--backlog", "3000"], end);
        printed.extend(print_part_of_backlog(&lo, &["--backlog", "1500"], end));
        assert!(printed.len() > 1000, "{}", printed.len());
        assert_rest_is_printed_once(&lo, &printed, MANY_LINES);
    }
}

/// The next run prints each of `count` lines that is not among the printed ones, and no other.
fn assert_rest_is_printed_once(lo: &Loopback, printed: &[u64], count: u64) {
    let printed: BTreeSet<u64> = printed.iter().copied().collect();
    let next = numbers(&run(lo, "bob", &["listen", "-W", "0"]).out);
    let again: Vec<&u64> = next.iter().filter(|n| printed.contains(n)).collect();
    assert!(again.is_empty(), "{} from {}", again.len(), again[0]);
    let missing = (0..count).find(|n| !printed.contains(n) && !next.contains(n));
    assert_eq!(missing, None, "{} and {}", printed.len(), next.len());
}

/// Bob has stored lines that carol wrote in large batches, and printed none.
fn store_large_batches(lo: &Loopback) {
    // Bob comes into the room before carol writes.
    finish_by_signal(lo.start("bob", &["listen"]));
    let text: String = (0..MANY_LINES).map(|n| format!("line {n}\n")).collect();
    let carol = finish(lo.spawn("carol", &["send", "-W", "0"]), text.as_bytes());
    assert_eq!(carol.code, 69, "{carol:?}");
    // A run with a limit stores the lines and leaves them to the next run.
    let mut bob = lo.start("bob", &["listen", "-n", "1"]);
    run(lo, "carol", &["send", "--need", "1", "now"]).assert_code(0);
    bob.wait_code(TIMEOUT);
}

/// A pipe that takes a large batch of a backlog in part has taken the lines before. Only the others
/// come again.
#[test]
fn a_batch_that_is_printed_in_part_is_continued() {
    let ends: [fn(&mut Child); 2] = [terminate, |bob| bob.kill().expect("a child")];
    for end in ends {
        let Some(lo) = Loopback::new() else { return };
        store_large_batches(&lo);
        let printed = print_part_of_backlog(&lo, &["--backlog", "1000000"], end);
        assert!(printed.len() > 1000, "{}", printed.len());
        assert_rest_is_printed_once(&lo, &printed, MANY_LINES);
    }
}

/// Where a line end is not the end of a line, or lines are left out, the whole batch comes again:
/// no line is lost.
#[test]
fn a_batch_that_is_printed_in_part_in_another_form_comes_again() {
    let cases = [
        (&["-F", "\\n%T %r %n: %m"][..], 9),
        (&["--match", "[0-8]$"], 8),
    ];
    for (options, last_digit) in cases {
        let Some(lo) = Loopback::new() else { return };
        store_large_batches(&lo);
        let kill = |bob: &mut Child| bob.kill().expect("a child");
        let options = [&["--backlog", "1000000"], options].concat();
        let printed = print_part_of_backlog(&lo, &options, kill);
        assert!(printed.len() > 100, "{}", printed.len());
        let next = numbers(&run(&lo, "bob", &["listen", "-W", "0"]).out);
        let missing = (0..MANY_LINES)
            .filter(|n| n % 10 <= last_digit)
            .find(|n| !printed.contains(n) && !next.contains(n));
        assert_eq!(missing, None, "{options:?}");
    }
}

/// The lines of `many_lines`, in two rooms.
fn lines_of_two_rooms() -> impl Iterator<Item = StoredLine> {
    many_lines().enumerate().map(|(n, (seed, _, lamport))| {
        let room = if n % 3 == 0 { "#ops" } else { "#general" };
        (seed, room, lamport)
    })
}

/// When the server is killed while a client stalls in a backlog of two rooms, the client takes over
/// and prints the rest once, and what was said meanwhile.
#[test]
fn a_client_that_takes_over_prints_the_rest_of_its_backlog() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, false, lines_of_two_rooms());
    let rooms = ["-r", "general", "-r", "ops"];
    let history = run(&lo, "bob", &[&["history"], &rooms[..]].concat());
    let mut server = lo.start("bob", &[&["listen"], &rooms[..]].concat());
    let mut client = start_stalled(
        &lo,
        &[&["listen", "--backlog", "1000000"], &rooms[..]].concat(),
    );
    let mut stdout = BufReader::new(client.stdout.take().expect("piped"));
    let mut printed = read_until(&mut stdout, &history.out[99]["2026".len()..]);
    run(&lo, "alice", &["send", "before"]).assert_code(0);
    wait_line(&server, ": before");
    server.kill();
    printed.extend(read_until(&mut stdout, ": before"));
    run(&lo, "alice", &["send", "after"]).assert_code(0);
    printed.extend(read_until(&mut stdout, ": after"));
    printed.retain(|line| !line.ends_with(" joined") && !line.ends_with(" left"));
    assert_eq!(printed.len(), history.out.len() + 2);
    assert_eq!(printed[..history.out.len()], history.out[..]);
    end(client);
}

/// When another client takes over, it serves the rest of the backlog. The lines of both rooms still
/// come in the one order.
#[test]
fn another_server_serves_the_rest_of_a_backlog() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, false, lines_of_two_rooms());
    let rooms = ["-r", "general", "-r", "ops"];
    let history = run(&lo, "bob", &[&["history"], &rooms[..]].concat());
    let mut server = lo.start("bob", &["listen", "-r", "tools"]);
    let next = lo.start("bob", &["listen", "-r", "tools"]);
    let mut client = start_stalled(
        &lo,
        &[&["listen", "--backlog", "1000000"], &rooms[..]].concat(),
    );
    let mut stdout = BufReader::new(client.stdout.take().expect("piped"));
    let mut printed = read_until(&mut stdout, &history.out[99]["2026".len()..]);
    signal(&client, Signal::SIGSTOP);
    server.kill();
    next.err.wait_all(TIMEOUT, |lines| {
        lines
            .iter()
            .filter(|line| line.contains(": ready as "))
            .count()
            > 1
    });
    signal(&client, Signal::SIGCONT);
    run(&lo, "alice", &["send", "-r", "ops", "after"]).assert_code(0);
    printed.extend(read_until(&mut stdout, ": after"));
    printed.retain(|line| !line.ends_with(" joined") && !line.ends_with(" left"));
    assert_eq!(printed.len(), history.out.len() + 1);
    assert_eq!(printed[..history.out.len()], history.out[..]);
    end(client);
}

/// With -n only lines that are said while it runs are printed, so a backlog on the same command line
/// is in vain: it is said, and is no failure. One of the options file is for the other runs.
#[test]
fn a_backlog_with_a_count_is_in_vain() {
    let Some(lo) = Loopback::new() else { return };
    fill(&lo, true, LINES);
    let vain = ["listen", "-n", "1", "-W", "0.1", "--backlog", "3"];
    let sentence = "p2pchat: --backlog: with -n no stored lines are printed; p2pchat history prints \
                    them";
    let outcome = run(&lo, "bob", &vain);
    outcome.assert_code(124);
    assert!(outcome.err.contains(&sentence.to_owned()), "{outcome:?}");
    assert!(outcome.out.is_empty(), "{outcome:?}");
    let folder = lo.host.folder(".config/p2pchat");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("options"), "--backlog 3\n").expect("a file");
    for arguments in [&[&vain[..], &["-q"]].concat(), &vain[..5]] {
        let outcome = run(&lo, "bob", arguments);
        outcome.assert_code(124);
        assert!(!outcome.err.concat().contains("--backlog"), "{outcome:?}");
    }
}
