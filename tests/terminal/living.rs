//! What a person at the terminal sees of the talk of others, and how he sets that.
use std::fs;

use crate::alice_and_bob;
use crate::hosts::host::Loopback;
use crate::hosts::program::{Program, TIMEOUT};
use crate::hosts::wait::wait_until;
use crate::pty::{AtTerminal, command};
use crate::screen::Screen;
use nix::sys::signal::Signal;
use p2pchat::ui::editor::line_editor::LineEditor;
use p2pchat::ui::editor::terminal::Terminal;

/// The bell rings for a direct message and for the own name, and for nothing else; with
/// `--no-bell` it never does.
#[test]
fn the_bell_rings_for_direct_messages_and_mentions() {
    for (arguments, rings) in [(&[][..], true), (&["--no-bell"], false)] {
        let Some((lo, mut alice, mut bob)) = alice_and_bob(arguments) else {
            return;
        };
        let bells = || alice.pty.with_screen(|screen| screen.bells);
        bob.say("nothing for anyone, malice");
        alice.pty.wait_row("malice");
        assert_eq!(bells(), 0);
        bob.say("look, Alice!");
        alice.pty.wait_row("look, Alice!");
        assert_eq!(bells(), usize::from(rings));
        alice.pty.with_screen(|screen| {
            assert!(
                screen.styles.iter().any(|style| style == "7"),
                "{:?}",
                screen.styles
            );
            screen.bells = 0;
        });
        // Two rings are at least a second apart, also if nothing happens between them.
        alice.signal(Signal::SIGSTOP);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        let send = lo.spawn("bob", &["send", "-t", "@alice", "psst"]);
        bob.out.wait_for(TIMEOUT, |line| line.ends_with(": psst"));
        alice.signal(Signal::SIGCONT);
        alice.pty.wait_row("] bob → you: psst");
        assert_eq!(bells(), usize::from(rings));
        send.out.wait_end(TIMEOUT);
        alice.pty.type_keys("/msg bob hush\r");
        alice.pty.wait_row("] you → bob: hush");
        bob.out.wait_for(TIMEOUT, |line| line.ends_with(": hush"));
        assert_eq!(bells(), usize::from(rings));
        let rows = alice.pty.with_screen(|screen| screen.lines());
        let mut rows_below = rows.iter().skip_while(|row| !row.contains("malice"));
        assert!(rows_below.all(|row| !row.is_empty()), "{rows:#?}");
        alice.pty.type_keys("/quit\r");
        alice.assert_exit(0);
    }
}

/// Bob says `one 1` and so on, while nobody is there.
fn say_numbered(bob: &mut Program, word: &str, count: usize) {
    let lines: Vec<String> = (1..=count).map(|i| format!("{word} {i}\n")).collect();
    bob.write(lines.concat().as_bytes());
    let last = format!(": {word} {count}");
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(&last));
}

/// The numbers behind this word in the rows of bob's lines.
fn numbers(screen: &Screen, word: &str) -> Vec<u32> {
    let rows = screen.lines();
    let texts = rows.iter().filter_map(|row| row.split_once("] bob: "));
    let numbers = texts.filter_map(|(_, text)| text.strip_prefix(word)?.trim().parse().ok());
    numbers.collect()
}

/// After a time away, the last 40 lines are shown below their number. /history pages the others,
/// and no line is shown twice. A few lines are all shown.
#[test]
fn the_last_missed_lines_are_shown_and_the_others_paged() {
    let Some((lo, mut alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
    say_numbered(&mut bob, "one", 1204);

    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    let pty = &alice.pty;
    pty.wait_row("] bob: one 1204");
    let shown = || pty.with_screen(|screen| numbers(screen, "one"));
    let heading = "--- 1 204 lines while you were away; the last 40:";
    pty.wait_row(heading);
    assert_eq!(shown(), (1165..=1204).collect::<Vec<u32>>());
    // Each /history goes on where the last one began; one with a number begins at the end.
    let mut wanted = shown();
    for (command, page) in [
        ("/history", 1145..=1164),
        ("/history", 1125..=1144),
        ("/history 3", 1202..=1204),
        ("/history", 1182..=1201),
    ] {
        wanted.extend(page);
        pty.type_keys(format!("{command}\r"));
        pty.wait_screen(command, |screen| numbers(screen, "one") == wanted);
    }
    // What is said begins at the end again.
    pty.type_keys("hello\r");
    pty.wait_row("alice: hello");
    pty.type_keys("/history\r");
    wanted.extend(1186..=1204);
    pty.wait_screen("the newest page", |screen| numbers(screen, "one") == wanted);
    bob.say("welcome back");
    pty.wait_row("] bob: welcome back");
    pty.type_keys("/quit\r");
    alice.assert_exit(0);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));

    say_numbered(&mut bob, "two", 3);
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.wait_row("] bob: two 3");
    let rows = alice.pty.with_screen(|screen| screen.lines());
    let headings = rows.iter().filter(|row| row.starts_with("---"));
    assert_eq!(
        headings.collect::<Vec<_>>(),
        ["--- 3 lines while you were away:"]
    );
    assert!(!rows.concat().contains(": one"), "{rows:#?}");
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
}

/// All lines of a program that only sends are shown to who is there, as live ones: a program that
/// sends enters them before it is linked.
#[test]
fn sent_lines_are_live_to_who_is_there() {
    let Some((lo, mut alice, bob)) = alice_and_bob(&[]) else {
        return;
    };
    let mut carol = lo.spawn("carol", &["send"]);
    let sent: Vec<String> = (1..=100).map(|i| format!("sent {i}\n")).collect();
    carol.write(sent.concat().as_bytes());
    carol.close_stdin();
    alice.pty.wait_row("] carol: sent 100");
    let rows = alice.pty.with_screen(|screen| screen.lines());
    let shown = rows.iter().filter(|row| row.contains("] carol: sent "));
    assert_eq!(shown.count(), 100, "{rows:#?}");
    assert!(!rows.concat().contains("away"), "{rows:#?}");
    let styles = alice.pty.with_screen(|screen| screen.styles.clone());
    // Names have their colours only in lines that are not dim.
    let names = styles.iter().filter(|style| style.starts_with('3'));
    assert!(names.count() >= 100, "{styles:?}");
    assert_eq!(carol.wait_code(TIMEOUT), 0);
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
    drop(bob);
}

/// The prompt says the room, how many are in it, and how many direct messages are unread; the
/// window's title says the same. At the end the shell has its title back.
#[test]
fn prompt_and_title_show_the_room_and_what_is_unread() {
    let Some((lo, mut alice, mut bob)) = alice_and_bob(&[]) else {
        return;
    };
    let wait_prompt = |wanted: &str| {
        alice.pty.wait_screen(wanted, |screen| {
            let title = format!("p2pchat {wanted}");
            screen.last().as_deref() == Some(&format!("{wanted}>")) && screen.title == title
        });
    };
    wait_prompt("#general 2");
    let carol = lo.start("carol", &[]);
    wait_prompt("#general 3");
    bob.say("for all");
    alice.pty.wait_row("] bob: for all");
    for unread in 1..=2 {
        let send = lo.spawn("bob", &["send", "-t", "@alice", "psst"]);
        wait_prompt(&format!("#general 3 ({unread} unread)"));
        send.out.wait_end(TIMEOUT);
    }
    // So does a program that acts through this one.
    let mut attached = AtTerminal::chat(&lo, "alice", &[]);
    attached.pty.wait_screen("its prompt", |screen| {
        screen.last().as_deref() == Some("#general 3>") && screen.title == "p2pchat #general 3"
    });
    attached.pty.type_keys("/quit\r");
    attached.assert_exit(0);
    // Another room has other people. Whoever enters a line has read what stands above it.
    alice.pty.type_keys("/join ops\r");
    wait_prompt("#ops");
    alice.pty.type_keys("/part\r");
    wait_prompt("#general 3");
    drop(carol);
    wait_prompt("#general 2");
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
    bob.out.wait_for(TIMEOUT, |line| line.ends_with(" left"));
    assert_eq!(alice.pty.with_screen(|screen| screen.saved_titles.len()), 0);
}

/// A terminal that knows no titles gets none, and no room can smuggle an escape into one.
#[test]
fn titles_are_for_terminals_that_know_them() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::run(command(&lo.host, "alice", &[]), |command| {
        command.env("TERM", "linux");
    });
    alice.pty.wait_last_row("#general>", 10);
    assert_eq!(
        alice.pty.with_screen(|screen| screen.title.clone()),
        "shell"
    );
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
    let mut terminal = Terminal::new(Vec::new(), 80);
    terminal.set_title("a\u{7}b\u{1b}]2;c\u{9c}");
    terminal
        .redraw(b"", &mut LineEditor::default())
        .expect("a vector");
    let shown = String::from_utf8_lossy(terminal.writer_mut()).into_owned();
    assert!(
        shown.contains("\u{1b}]2;a␇b␛]2;c\u{fffd}\u{7}"),
        "{shown:?}"
    );
}

/// Starts alice, whose name nothing but the login and the options file gives.
fn alice_of_login(lo: &Loopback) -> AtTerminal {
    let mut alice = command(&lo.host, "alice", &[]);
    alice.env_remove("P2PCHAT_USERNAME").env("USER", "alice");
    alice.env_remove("P2PCHAT_DIR");
    let alice = AtTerminal::run(alice, |_| {});
    alice.pty.wait_last_row("#general>", 10);
    alice
}

/// /set shows, changes and keeps settings, and /nick keeps the name; comments of the options file
/// stay. A name that the environment gives is not kept.
#[test]
fn settings_and_the_name_are_kept() {
    let Some(lo) = Loopback::new() else { return };
    let file = lo.host.folder(".config/p2pchat/options");
    fs::create_dir_all(file.parent().expect("a folder")).expect("a folder");
    fs::write(&file, "# quiet at night\n--color always\n").expect("a file");
    let options = || fs::read_to_string(&file).expect("a file");
    let mut alice = alice_of_login(&lo);
    alice.pty.type_keys("/set\r");
    for row in [
        "username        alice",
        "color           always",
        "bell            on",
    ] {
        alice.pty.wait_row(row);
    }
    alice.pty.type_keys("/set bell off\r");
    alice
        .pty
        .wait_row("p2pchat: bell is off, also in later runs:");
    alice.pty.type_keys("/set color never\r/set bell loud\r");
    alice.pty.wait_row("p2pchat: /set bell takes on or off");
    alice.pty.with_screen(|screen| screen.styles.clear());
    alice.pty.type_keys("/nick carol\rhello\r");
    alice.pty.wait_row("] carol: hello");
    let styles = alice.pty.with_screen(|screen| screen.styles.clone());
    assert!(styles.is_empty(), "{styles:?}");
    let kept = "# quiet at night\n--color never\n--no-bell\n--username carol\n";
    assert_eq!(options(), kept);
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);

    let mut alice = alice_of_login(&lo);
    alice.pty.wait_row("ready as carol~");
    alice.pty.type_keys("/set bell\r");
    alice.pty.wait_row("bell            off");
    // Nothing but the prompt is left on the screen.
    alice.pty.type_keys("/clear\r");
    alice.pty.wait_screen("an empty screen", |screen| {
        let rows = screen.lines();
        let visible = &rows[rows.len().saturating_sub(12)..];
        visible.iter().filter(|row| !row.is_empty()).count() == 1
    });
    alice.pty.type_keys("/q\r");
    alice.assert_exit(0);

    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.type_keys("/set nick dave\r");
    alice
        .pty
        .wait_row("username is dave, in this run: $P2PCHAT_USERNAME");
    alice.pty.wait_row("* alice is now known as dave");
    assert_eq!(options(), kept);
    alice.pty.type_keys("/exit\r");
    alice.assert_exit(0);
}

/// What comes before the options file is not kept there, and neither is a name for another
/// directory. `NO_COLOR` holds for `/set color auto`.
#[test]
fn settings_that_would_not_count_are_not_kept() {
    let Some(lo) = Loopback::new() else { return };
    let dir = format!("--dir={}", lo.host.folder("bot").display());
    let mut bot = command(&lo.host, "alice", &[&dir, "--no-bell"]);
    bot.env_remove("P2PCHAT_USERNAME").env("USER", "alice");
    let mut bot = AtTerminal::run(bot, |command| {
        command.env("NO_COLOR", "1");
    });
    bot.pty.wait_last_row("#general>", 10);
    bot.pty.type_keys("/nick bot\r");
    bot.pty
        .wait_row("username is bot, in this run: all directories");
    bot.pty.type_keys("/set color auto\r");
    bot.pty
        .wait_row("color is auto, in this run: $NO_COLOR comes");
    bot.pty.type_keys("/set bell on\r");
    bot.pty.wait_row("bell is on, in this run: --no-bell comes");
    bot.pty.with_screen(|screen| screen.styles.clear());
    bot.pty.type_keys("hello\r");
    bot.pty.wait_row("] bot: hello");
    let styles = bot.pty.with_screen(|screen| screen.styles.clone());
    assert!(styles.is_empty(), "{styles:?}");
    bot.pty.type_keys("/quit\r");
    bot.assert_exit(0);
    assert!(!lo.host.folder(".config/p2pchat/options").exists());
}

/// While the terminal takes no output, details are not collected, but counted.
#[test]
fn details_are_dropped_while_the_terminal_stalls() {
    let Some((lo, mut alice, mut bob)) = alice_and_bob(&["--debug"]) else {
        return;
    };
    alice.pty.with_screen(|_| {
        // Nobody reads the terminal now.
        say_numbered(&mut bob, &"long ".repeat(100), 2000);
        wait_until("alice has all lines", TIMEOUT, || {
            let last = lo.host.history("alice", &["-n", "1"]);
            last.trim_end().ends_with("long  2000")
        });
        for name in ["carol", "dave", "erin"] {
            let guest = lo.start(name, &[]);
            let joined = format!("* {name}~");
            guest
                .out
                .wait_for(TIMEOUT, |line| line.contains("* alice~"));
            bob.out.wait_for(TIMEOUT, |line| line.contains(&joined));
        }
    });
    alice.pty.wait_row("long  2000");
    let _frank = lo.start("frank", &[]);
    alice.pty.wait_row(" details were dropped");
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
}

/// /verbose reports details above the edited line, until it is typed again.
#[test]
fn verbose_reports_details_above_the_line() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::chat(&lo, "alice", &[]);
    alice.pty.type_keys("/verbose\r");
    alice.pty.wait_row("what happens is printed from now on");
    alice.pty.type_keys("half");
    let bob = lo.start("bob", &[]);
    alice.pty.wait_row("* bob joined");
    alice.pty.wait_row("p2pchat: debug: ");
    alice.pty.wait_last_row("#general> half", 14);
    alice.pty.type_keys("\x03/verbose\r");
    alice.pty.wait_row("what happens is printed no more");
    let details = || {
        let rows = alice.pty.with_screen(|screen| screen.lines());
        rows.iter().filter(|row| row.contains("debug:")).count()
    };
    let before = details();
    drop(bob);
    alice.pty.wait_row("* bob left");
    assert_eq!(details(), before);
    alice.pty.type_keys("/quit\r");
    alice.assert_exit(0);
}

/// Where a narrower terminal breaks the edited line in several rows, none of them is left over, and
/// no row of the transcript is lost.
#[test]
fn a_reflow_leaves_no_row_of_the_line() {
    let Some(lo) = Loopback::new() else { return };
    let mut alice = AtTerminal::run(command(&lo.host, "alice", &[]), |command| {
        command
            .env("VTE_VERSION", "7600")
            .env_remove("XTERM_VERSION");
    });
    alice.pty.with_screen(|screen| screen.reflows = true);
    alice.pty.wait_last_row("#general>", 10);
    alice.pty.type_keys("/rooms\r");
    alice.pty.wait_row("#general  (current)");
    alice.pty.type_keys("0123456789 abcdefghij 0123456789 xyz");
    alice
        .pty
        .wait_last_row("#general> 0123456789 abcdefghij 0123456789 xyz", 46);
    alice.pty.resize(22, 12);
    alice.pty.wait_screen("one row of the line", |screen| {
        let rows = screen.lines();
        let prompts = rows.iter().filter(|row| row.starts_with("#general> "));
        prompts.count() == 1 && screen.last().is_some_and(|row| row.ends_with(" xyz"))
    });
    let rows = alice.pty.with_screen(|screen| screen.lines());
    let [.., above, _] = &rows[..] else {
        panic!("{rows:#?}");
    };
    assert_eq!(above, "#general  (current)", "{rows:#?}");
    alice.pty.type_keys("\x03\x04");
    alice.assert_exit(0);
}
