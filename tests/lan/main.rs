//! The real program on several hosts of a LAN: how they find each other, and what they do when cables, boxes and programs fail.

#[path = "../hosts/mod.rs"]
mod hosts;

mod death;
mod discovery;
mod faults;
mod partition;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

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

/// All lines of one author in the segments of a room, by incarnation, in order, each with its number.
pub fn history(room: &Path, nick: &str) -> BTreeMap<String, Vec<(u64, String)>> {
    let mut segments: Vec<_> = fs::read_dir(room)
        .expect("a room")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "ndjson"))
        .collect();
    segments.sort();
    let mut logs: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for segment in segments {
        let text = fs::read_to_string(segment).expect("a segment");
        for line in text.lines() {
            let batch: serde_json::Value = serde_json::from_str(line).expect("JSON");
            if batch["username"].as_str() != Some(nick) {
                continue;
            }
            let incarnation = batch["incarnation"].as_str().expect("an incarnation");
            let log = logs.entry(incarnation.to_owned()).or_default();
            let sequence = batch["sequence"].as_u64().expect("a number");
            let content = match &batch["content"] {
                serde_json::Value::Array(all) => all.clone(),
                one => vec![one.clone()],
            };
            let texts = content
                .iter()
                .map(|text| text.as_str().expect("text").to_owned());
            log.extend((sequence..).zip(texts));
        }
    }
    logs
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
