//! The recipes, as they stand in `scripts/recipes`, in the shell `sh` and in BusyBox.
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};
use super::hosts::wait::wait_until;
use super::{has_tools, output, root};

/// A shell, and where its commands are.
struct Shell<'a> {
    lo: &'a Loopback,
    /// The words that run a script.
    words: &'static [&'static str],
    path: String,
}

/// A recipe that runs. With it, all that it has started ends.
struct Recipe(Program);

impl Drop for Recipe {
    fn drop(&mut self) {
        let group = i32::try_from(self.0.pid()).expect("a process");
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

impl Shell<'_> {
    fn command(&self, recipe: &str, arguments: &[&str]) -> Command {
        // The host's own commands are found before.
        let mut command = self.lo.host.command("env");
        command.arg(format!("PATH={}", self.path)).args(self.words);
        command
            .arg(root().join("scripts/recipes").join(recipe))
            .args(arguments);
        command.env("P2PCHAT_DIR", self.lo.host.folder("alice"));
        command.env("P2PCHAT_USERNAME", "alice");
        command.process_group(0);
        command
    }

    /// Starts a recipe as alice.
    fn start(&self, recipe: &str, arguments: &[&str]) -> Recipe {
        Recipe(Program::spawn("alice", self.command(recipe, arguments)))
    }

    /// Runs a recipe as alice. Returns its exit status and all that it prints.
    fn run(&self, recipe: &str, arguments: &[&str]) -> (i32, Vec<String>) {
        let mut recipe = self.start(recipe, arguments);
        recipe.0.close_stdin();
        let code = recipe.0.wait_code(TIMEOUT);
        let printed = [
            recipe.0.out.wait_end(TIMEOUT),
            recipe.0.err.wait_end(TIMEOUT),
        ];
        (code, printed.concat())
    }
}

/// Runs `test` on a host of its own for each shell.
fn in_each_shell(test: impl Fn(&Shell<'_>)) {
    if !has_tools(&["busybox"]) {
        return;
    }
    let program = Path::new(env!("CARGO_BIN_EXE_p2pchat"));
    for words in [&["sh"][..], &["ash"]] {
        let Some(lo) = Loopback::new() else { return };
        let commands = lo.host.folder("commands");
        fs::create_dir(&commands).expect("a folder");
        if words == ["ash"] {
            output(
                Command::new("busybox")
                    .args(["--install", "-s"])
                    .arg(&commands),
            );
        }
        symlink(program, commands.join("p2pchat")).expect("a link");
        let system = match words {
            ["sh"] => ":/usr/sbin:/usr/bin:/sbin:/bin",
            // Nothing but BusyBox.
            _ => "",
        };
        let path = format!("{}{system}", commands.display());
        test(&Shell {
            lo: &lo,
            words,
            path,
        });
    }
}

fn wait_said(program: &Program, end: &str) {
    program.out.wait_for(TIMEOUT, |line| line.ends_with(end));
}

fn wait_joined(program: &Program) {
    program.out.wait_for(TIMEOUT, |line| {
        line.contains(" * alice~") && line.ends_with(" joined")
    });
}

/// Nothing is printed when all went well, and when the room got it. Else cron has something to mail.
#[test]
fn cron_mails_nothing_when_all_went_well() {
    in_each_shell(|shell| {
        assert_eq!(shell.run("cron-alert", &["ops", "true"]), (0, vec![]));
        let bob = shell.lo.start("bob", &["listen", "-r", "ops"]);
        let failing = ["ops", "sh", "-c", "echo one; echo two >&2; exit 3"];
        assert_eq!(shell.run("cron-alert", &failing), (0, vec![]));
        wait_said(&bob, "\ttwo");
        let said = bob.out.all().join("\n");
        let text = ": sh -c echo one; echo two >&2; exit 3: status 3\n\tone\n\ttwo";
        assert!(said.ends_with(text), "{said}");
        // Of a long output the end is said, however many bytes are no text.
        let loud = "head -c 40000 /dev/zero | tr '\\0' '\\377'; echo; echo end; exit 4";
        assert_eq!(
            shell.run("cron-alert", &["ops", "sh", "-c", loud]),
            (0, vec![])
        );
        wait_said(&bob, "\tend");
        assert!(bob.out.all().join("\n").contains("exit 4: status 4\n"));
    });
}

/// Without anybody, the output is mailed.
#[test]
fn cron_mails_what_nobody_got() {
    in_each_shell(|shell| {
        // The recipe waits for half a minute; an alert that is refused at once ends sooner.
        let (_, printed) = shell.run(
            "cron-alert",
            &["no room", "sh", "-c", "echo broken; exit 1"],
        );
        assert!(printed.contains(&"broken".to_owned()), "{printed:?}");
    });
}

#[test]
fn each_line_of_a_log_is_said() {
    in_each_shell(|shell| {
        let bob = shell.lo.start("bob", &["listen", "-r", "ops"]);
        let log = shell.lo.host.folder("log");
        fs::write(&log, "old\n").expect("a file");
        let path = log.to_string_lossy().into_owned();
        let recipe = shell.start("tail-log", &[&path, "ops"]);
        // `tail` has passed the old lines once it waits for new ones, which no one can see: so
        // lines are written until one arrives.
        let mut log = fs::OpenOptions::new()
            .append(true)
            .open(&log)
            .expect("a file");
        wait_until("a line arrives", TIMEOUT, || {
            log.write_all(b"line\n").expect("a writable file");
            bob.out.all().iter().any(|line| line.contains(": line"))
        });
        assert!(!bob.out.all().iter().any(|line| line.ends_with(": old")));
        drop(recipe);
    });
}

#[test]
fn a_room_is_two_files() {
    in_each_shell(|shell| {
        let mut bob = shell.lo.start("bob", &["-r", "ops"]);
        let dir = shell.lo.host.folder("room");
        let path = dir.to_string_lossy().into_owned();
        let recipe = shell.start("fifo", &[&path, "ops"]);
        wait_joined(&bob);
        for text in ["hello", "again"] {
            fs::write(dir.join("in"), format!("{text}\n")).expect("a reader");
            wait_said(&bob, &format!(": {text}"));
        }
        bob.say("welcome");
        wait_until("the answer is in the file", TIMEOUT, || {
            let out = fs::read_to_string(dir.join("out")).unwrap_or_default();
            out.contains(": hello\n") && out.ends_with(": welcome\n")
        });
        drop(recipe);
    });
}

/// It also answers what was said while it was away.
#[test]
fn a_bot_answers() {
    in_each_shell(|shell| {
        let mut bob = shell.lo.start("bob", &["-r", "ops"]);
        let recipe = shell.start("bot", &["ops"]);
        wait_joined(&bob);
        // Nobody asks in another's name, in a further line of a message.
        let mut forging = shell.lo.host.program("carol", &["send", "-r", "ops"]);
        forging.args(["--ephemeral", "--block", "hello\ndave~aaaa !date\n!date"]);
        output(&mut forging);
        bob.say("!date");
        bob.out.wait_for(TIMEOUT, |line| {
            line.contains(": bob~") && line.contains(" UTC")
        });
        assert!(!bob.out.all().join("\n").contains("dave~aaaa:"));
        drop(recipe);
        bob.out.wait_for(TIMEOUT, |line| {
            line.contains(" * alice~") && line.ends_with(" left")
        });
        bob.say("!uptime");
        let _recipe = shell.start("bot", &["ops"]);
        bob.out.wait_for(TIMEOUT, |line| {
            line.contains(": bob~") && line.contains("load average")
        });
        let all = bob.out.all();
        assert_eq!(
            all.iter().filter(|line| line.contains(": bob~")).count(),
            2,
            "{all:?}"
        );
    });
}

#[test]
fn a_transcript_has_each_line_once() {
    in_each_shell(|shell| {
        let dir = shell.lo.host.folder("transcript");
        let path = dir.to_string_lossy().into_owned();
        let mut bob = shell.lo.start("bob", &["-r", "ops"]);
        assert_eq!(
            shell.run("nightly-transcript", &["ops", &path]),
            (0, vec![])
        );
        for text in ["first night", "second night"] {
            bob.say(text);
            wait_said(&bob, text);
            assert_eq!(
                shell.run("nightly-transcript", &["ops", &path]),
                (0, vec![])
            );
        }
        let files: Vec<_> = fs::read_dir(&dir).expect("a folder").flatten().collect();
        let texts = files
            .iter()
            .map(|file| fs::read_to_string(file.path()).expect("UTF-8"));
        let text = texts.collect::<String>();
        let said: Vec<_> = text
            .lines()
            .filter_map(|line| line.rsplit(": ").next())
            .collect();
        assert_eq!(said, ["first night", "second night"], "{text}");
    });
}

#[cfg(feature = "match")]
#[test]
fn a_word_runs_a_command() {
    in_each_shell(|shell| {
        let mut bob = shell.lo.start("bob", &["-r", "ops"]);
        let mut recipe = shell.start("trigger", &["ops", "deploy", "echo", "it", "is", "done"]);
        wait_joined(&bob);
        bob.say("do not deploy");
        bob.say("deploy");
        assert_eq!(recipe.0.wait_code(TIMEOUT), 0);
        assert_eq!(recipe.0.out.wait_end(TIMEOUT), ["it is done"]);
    });
}

#[test]
fn who_is_missing_is_said() {
    in_each_shell(|shell| {
        let bob = shell.lo.start("bob", &["listen", "-r", "ops"]);
        let file = shell.lo.host.folder("expected");
        let path = file.to_string_lossy().into_owned();
        fs::write(&file, "bob\n").expect("a file");
        assert_eq!(shell.run("watchdog", &[&path, "ops"]), (0, vec![]));
        fs::write(&file, "bob\ncarol\n").expect("a file");
        assert_eq!(shell.run("watchdog", &[&path, "ops"]), (0, vec![]));
        let line = bob
            .out
            .wait_for(TIMEOUT, |line| line.contains(": p2pchat: "));
        assert!(line.contains("carol") && !line.contains("bob"), "{line}");
    });
}

/// The machine goes down only when somebody has its lines.
#[test]
fn a_machine_is_turned_off_after_its_lines_are_out() {
    in_each_shell(|shell| {
        shell
            .lo
            .spawn("alice", &["send", "--need", "0", "-W", "0", "last words"])
            .wait_code(TIMEOUT);
        let bob = shell.lo.start("bob", &["listen"]);
        let mut command = shell.command("sync-poweroff", &[]);
        command.env("POWEROFF", "echo off");
        let mut recipe = Recipe(Program::spawn("alice", command));
        assert_eq!(recipe.0.wait_code(TIMEOUT), 0);
        assert_eq!(recipe.0.out.wait_end(TIMEOUT), ["off"]);
        let held = shell.lo.host.history("bob", &[]);
        assert!(held.contains(": last words"), "{held}");
        drop(bob);
    });
}

#[test]
fn a_client_in_python_talks() {
    let Some(lo) = Loopback::new() else { return };
    let mut bob = lo.start("bob", &["-r", "ops"]);
    let _alice = lo.start("alice", &["listen"]);
    let mut command = lo.host.command("python3");
    command.arg(root().join("scripts/recipes/client.py"));
    command.args(["ops", "hello from Python"]);
    command.env("P2PCHAT_DIR", lo.host.folder("alice"));
    let client = Program::spawn("client", command);
    wait_said(&bob, ": hello from Python");
    bob.say("hello Python");
    let line = client
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": hello Python"));
    assert!(line.starts_with("bob~"), "{line}");
    bob.say("\u{1b}]2;title\u{7}");
    client
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": ?]2;title?"));
    bob.say("last");
    client
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": last"));
    drop(client);
    // Its next call does not print again what the client printed, but for a line during which it
    // was killed.
    let mut command = lo.host.command("python3");
    command.arg(root().join("scripts/recipes/client.py"));
    command.args(["ops", "again"]);
    command.env("P2PCHAT_DIR", lo.host.folder("alice"));
    let client = Program::spawn("client", command);
    wait_said(&bob, ": again");
    bob.say("more");
    client
        .out
        .wait_for(TIMEOUT, |line| line.ends_with(": more"));
    let again = |line: &String| line.ends_with("title?") || line.ends_with("hello Python");
    assert!(
        !client.out.all().iter().any(again),
        "{:?}",
        client.out.all()
    );
}

/// The page names each recipe, and each recipe says how it is called.
#[test]
fn the_page_names_each_recipe() {
    let folder = root().join("scripts/recipes");
    let page = fs::read_to_string(folder.join("README.md")).expect("a page");
    for file in fs::read_dir(&folder).expect("a folder").flatten() {
        let name = file.file_name().to_string_lossy().into_owned();
        if name != "README.md" {
            assert!(page.contains(&format!("({name})")), "{name}");
            let text = fs::read_to_string(file.path()).expect("UTF-8");
            assert!(
                text.contains(&format!("{name}\n"))
                    || text.contains(&format!("{name} "))
                    || name == "sync-poweroff"
            );
        }
    }
}
