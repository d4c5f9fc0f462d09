//! Manual, completions and help agree, and everything that they name is tested.
use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use p2pchat::shell::config::exit_status::EXIT_STATUS_SPECS;
use p2pchat::shell::config::help::help;
use p2pchat::shell::config::option_specs::OPTION_SPECS;
use p2pchat::shell::config::subcommand::{COMMAND_SPECS, CommandSpec, Subcommand};

use crate::{bash, fish, manual, markdown, zsh};

/// Gives a script to this program at stdin. `None`: it is not installed; `scripts/test` does that.
///
/// # Panics
/// The program fails, or writes to stderr.
fn run(program: &str, arguments: &[&str], script: &str) -> Option<String> {
    let child = Command::new(program)
        .args(arguments)
        .env("MANWIDTH", "1000")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("SKIPPED: no {program}");
        return None;
    };
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("a reader");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.is_empty(),
        "{program}: {stderr}"
    );
    Some(String::from_utf8(output.stdout).expect("UTF-8"))
}

/// The long options that the command accepts.
fn accepted(command: &CommandSpec) -> BTreeSet<&'static str> {
    let specs = OPTION_SPECS.iter();
    let accepted = specs.filter(|spec| spec.subcommands.contains(&command.subcommand));
    accepted.map(|spec| spec.long).collect()
}

/// The word of the command, or none for chat.
fn typed(command: &CommandSpec) -> &'static str {
    match command.subcommand {
        Subcommand::Chat => "",
        subcommand => subcommand.as_str(),
    }
}

fn typed_commands() -> BTreeSet<&'static str> {
    COMMAND_SPECS
        .iter()
        .map(typed)
        .filter(|name| !name.is_empty())
        .collect()
}

/// What a page says in the end, without its language.
fn formatted(page: &str, name: &str) -> Option<String> {
    let arguments = [
        "--warnings=w",
        "--no-hyphenation",
        "--encoding=utf8",
        "--local-file",
        "-",
    ];
    let text = run("man", &arguments, page)?;
    assert!(text.contains(name), "{text}");
    Some(text.split_whitespace().collect::<Vec<&str>>().join(" "))
}

/// The manual page has every command, option and status with the words of the help.
#[test]
fn the_manual_agrees_with_the_help() {
    let Some(text) = formatted(&manual::page(), "P2PCHAT(1)") else {
        return;
    };
    let squeezed = |about: &str| about.split_whitespace().collect::<Vec<&str>>().join(" ");
    for command in COMMAND_SPECS {
        let row = squeezed(&format!("{} {}", command.usage(), command.about));
        assert!(text.contains(&row), "{row}\n{text}");
        assert!(help(Subcommand::Chat).contains(command.about));
        for example in command.examples {
            assert!(text.contains(&squeezed(example)), "{example}");
        }
    }
    for spec in OPTION_SPECS {
        let row = squeezed(&format!("{} {}", spec.spelling(), spec.about));
        assert!(text.contains(&row), "{row}\n{text}");
    }
    for (status, about) in EXIT_STATUS_SPECS {
        let row = format!("{} {about}", status.code());
        assert!(text.contains(&row), "{row}\n{text}");
    }
}

/// The page on the protocol has all of its document.
#[test]
fn the_page_on_the_protocol_has_the_whole_document() {
    let Some(text) = formatted(&markdown::page(), "P2PCHAT(7)") else {
        return;
    };
    let document = include_str!("../../../src/shell/ipc/PROTOCOL.md");
    let plain = document
        .to_lowercase()
        .replace("\n- ", "\n")
        .replace("\n|", "\n");
    let plain = plain
        .replace(" request | meaning", "")
        .replace(" event | meaning", "");
    let words = plain.split_whitespace();
    let is_markup = |word: &str| word.starts_with("```") || ["|", "#", "---|---|"].contains(&word);
    let lower = text.to_lowercase();
    for word in words.filter(|word| !is_markup(word)) {
        let word = word.trim_matches('*').replace('`', "");
        assert!(lower.contains(word.trim_end_matches("*:")), "{word}");
    }
    assert!(!text.contains('`') || document.contains("``"), "{text}");
}

/// In bash, each command completes the options that it accepts, and the first word a command.
#[test]
fn bash_completes_what_each_command_accepts() {
    let complete = |words: &[&str]| {
        let script = format!(
            "{}\nCOMP_WORDS=({}) COMP_CWORD={}\ncompopt() {{ :; }}\n_p2pchat\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            bash::completion(),
            words.join(" "),
            words.len() - 1
        );
        run("bash", &[], &script)
    };
    for command in COMMAND_SPECS {
        let mut words = vec!["p2pchat", "-r", "send", typed(command), "--"];
        words.retain(|word| !word.is_empty());
        let Some(found) = complete(&words) else {
            return;
        };
        assert_eq!(
            found.lines().collect::<BTreeSet<_>>(),
            accepted(command),
            "{words:?}"
        );
    }
    let found = complete(&["p2pchat", "''"]).expect("bash");
    let found = found.lines().filter(|word| !word.starts_with('-'));
    assert_eq!(found.collect::<BTreeSet<_>>(), typed_commands());
    let found = complete(&["p2pchat", "listen", "--seek", "e"]).expect("bash");
    assert_eq!(found, "end\n");
    let found = complete(&["p2pchat", "peers", "--expect", "/etc/host"]).expect("bash");
    assert!(found.lines().any(|line| line == "/etc/hosts"), "{found}");
    assert_eq!(complete(&["p2pchat", "-u", "se"]).expect("bash"), "\n");
}

/// The same in fish, with the words of the help.
#[test]
fn fish_completes_what_each_command_accepts() {
    let complete = |line: &str| {
        let script = format!("{}\ncomplete -C '{line}'\n", fish::completion());
        run("fish", &["--no-config"], &script)
    };
    for command in COMMAND_SPECS {
        let Some(found) = complete(&format!("p2pchat -r send {} --", typed(command))) else {
            return;
        };
        let rows: BTreeSet<&str> = found.lines().collect();
        let expected = OPTION_SPECS
            .iter()
            .filter(|spec| accepted(command).contains(spec.long));
        let expected: Vec<String> = expected
            .map(|it| format!("{}\t{}", it.long, it.about))
            .collect();
        assert_eq!(
            rows,
            expected.iter().map(String::as_str).collect(),
            "{found}"
        );
    }
    let found = complete("p2pchat ").expect("fish");
    let found = found.lines().filter_map(|line| line.split('\t').next());
    assert_eq!(found.collect::<BTreeSet<_>>(), typed_commands());
    let found = complete("p2pchat listen --seek e").expect("fish");
    assert!(found.starts_with("end\t"), "{found}");
}

/// The same in zsh, whose completion functions are replaced: they need a terminal.
#[test]
fn zsh_completes_what_each_command_accepts() {
    let mut script = format!(
        "_arguments() {{ print -rl -- \"$@\" }}\n_p2pchat() {{\n{}\n}}\n",
        zsh::completion()
    );
    for command in COMMAND_SPECS {
        let name = typed(command);
        let count = if name.is_empty() { 4 } else { 5 };
        script += &format!(
            "words=(p2pchat -r send {name} --)\nCURRENT={count}\n_p2pchat\nprint -- '=== end'\n"
        );
    }
    let Some(all) = run("zsh", &["-f", "-c", &script], "") else {
        return;
    };
    let parts: Vec<&str> = all.split("=== end\n").collect();
    assert_eq!(parts.len(), COMMAND_SPECS.len() + 1, "{all}");
    for (command, found) in COMMAND_SPECS.iter().zip(parts) {
        let words = found
            .lines()
            .filter_map(|line| line.find("--").map(|at| &line[at..]));
        let longs = words.filter_map(|word| word.split(['[', ' ', ')']).next());
        let longs: BTreeSet<&str> = longs.filter(|word| word.len() > 2).collect();
        assert_eq!(longs, accepted(command), "{found}");
    }
}

/// The texts of all tests that run the real program.
fn tests_from_outside() -> String {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut texts = String::new();
    for folder in ["commands", "lan", "terminal"] {
        for entry in fs::read_dir(tests.join(folder)).expect("a folder") {
            let path = entry.expect("a file").path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                texts += &fs::read_to_string(path).expect("UTF-8");
            }
        }
    }
    texts
}

/// Every option, command and status of the manual is in a test of the real program.
#[test]
fn everything_in_the_manual_has_a_test() {
    let tests = tests_from_outside();
    for name in typed_commands() {
        assert!(tests.contains(&format!("\"{name}\"")), "{name}");
    }
    for spec in OPTION_SPECS {
        let short = spec
            .short
            .map(|letter| format!("\"-{}\"", char::from(letter)));
        let is_named = |spelling: &str| {
            let ends = [" ", "\"", "="];
            ends.iter()
                .any(|end| tests.contains(&format!("{spelling}{end}")))
        };
        let is_tested = is_named(spec.long) || short.is_some_and(|it| tests.contains(&it));
        assert!(is_tested, "{}", spec.long);
    }
    for (status, _) in EXIT_STATUS_SPECS {
        let code = status.code();
        let forms = [
            format!("code({code})"),
            format!("Some({code})"),
            format!("TIMEOUT), {code}"),
        ];
        assert!(
            forms.iter().any(|form| tests.contains(form)),
            "status {code}"
        );
    }
}
