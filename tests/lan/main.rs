//! The real program on several hosts of a LAN: how they find each other, and what they do when cables, boxes and programs fail.

#[path = "../hosts/mod.rs"]
mod hosts;

mod death;
mod discovery;
mod faults;
mod partition;
mod stopped;

use std::time::{Duration, Instant};

use hosts::Lan;
use hosts::program::{Program, SOON};

/// A peer whose path or process is gone is shown as left by then: kernel timers of 9 to 14 s decide, not the machine.
pub const GONE: Duration = Duration::from_secs(15);

fn stands(line: &str, nick: &str, what: &str) -> bool {
    line.contains(&format!(" * {nick}~")) && line.ends_with(what)
}

/// How often this program showed somebody of this name as joined, or as left.
pub fn shown(lines: &[String], nick: &str, what: &str) -> usize {
    let shown = lines.iter().filter(|line| stands(line, nick, what));
    shown.count()
}

/// Waits until somebody of this name was shown so, for the `times`th time.
pub fn wait_shown(program: &Program, nick: &str, what: &str, times: usize, limit: Duration) {
    program
        .out
        .wait_all(limit, |lines| shown(lines, nick, what) >= times);
}

pub fn wait_joined(program: &Program, nick: &str) {
    wait_shown(program, nick, "joined", 1, SOON);
}

/// Everybody sees everybody else.
pub fn wait_mesh(programs: &[&Program]) {
    for program in programs {
        for other in programs {
            if other.name != program.name {
                wait_joined(program, &other.name);
            }
        }
    }
}

/// The content of the chat lines of this author, in order.
pub fn said(lines: &[String], nick: &str) -> Vec<String> {
    lines
        .iter()
        .filter_map(|line| line.split_once(' ')?.1.split_once(": "))
        .filter(|(who, _)| who.contains(&format!(" {nick}~")))
        .map(|(_, content)| content.to_owned())
        .collect()
}

/// Waits until `history` prints the same on all hosts, byte for byte, as text and as JSON, where host h is asked as the h-th of
/// these names; and it must hold these lines of these authors, each once and in order, and nothing else.
pub fn wait_one_history(lan: &Lan, names: &[&str], expected: &[(&str, &[String])]) {
    let printed = |host: usize, options: &[&str]| lan.hosts[host].history(names[host], options);
    let all = |options: &[&str]| {
        (0..names.len())
            .map(|host| printed(host, options))
            .collect()
    };
    let total = expected.iter().map(|(_, lines)| lines.len()).sum::<usize>();
    let end = Instant::now() + 2 * SOON;
    loop {
        let json: Vec<String> = all(&["--json"]);
        let differs = json.iter().position(|other| *other != json[0]);
        if differs.is_none() && json[0].lines().count() >= total {
            break;
        }
        let late = Instant::now() >= end;
        let other = differs.unwrap_or(0);
        let mut pairs = json[0].lines().zip(json[other].lines());
        assert!(
            !late,
            "{} and {} hold {} and {} of {total} lines, and differ first in {:?}",
            names[0],
            names[other],
            json[0].lines().count(),
            json[other].lines().count(),
            pairs.find(|(one, two)| one != two),
        );
    }
    let text: Vec<String> = all(&[]);
    for (text_there, name) in text.iter().zip(names) {
        assert!(*text_there == text[0], "what {name} prints");
    }
    let lines: Vec<String> = text[0].lines().map(str::to_owned).collect();
    for (author, of_author) in expected {
        let held = said(&lines, author);
        assert!(held == *of_author, "what is held of {author}");
    }
    assert_eq!(lines.len(), total, "lines in all");
}

/// Waits until this program has shown just these lines of that author, in order.
pub fn wait_said(program: &Program, nick: &str, expected: &[&str], limit: Duration) {
    program
        .out
        .wait_all(limit, |lines| said(lines, nick).len() >= expected.len());
    assert_eq!(
        said(&program.out.all(), nick),
        expected,
        "at {}",
        program.name
    );
}

/// Says a line, and waits until all these have shown it.
pub fn say_to(from: &mut Program, text: &str, to: &[&Program]) {
    from.say(text);
    let end = format!(": {text}");
    for program in to {
        program.out.wait_for(SOON, |line| line.ends_with(&end));
    }
}

/// Waits for the program's end, and gives all that it printed.
pub fn finish(mut program: Program) -> Vec<String> {
    program.close_stdin();
    program.wait_exit(SOON);
    program.out.wait_end(SOON)
}
