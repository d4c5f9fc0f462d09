//! The rules of the house.
use std::collections::{BTreeMap, BTreeSet};

use super::source::{Named, Source, paths};

/// Most lines of a file; 600 again once four files are cut in two.
pub const LINES_MAX: usize = 660;
/// Who may see whom, beside himself. `lib` is prose; `main` may skip floors.
const ARROWS: [(&str, &[&str]); 7] = [
    ("lib", &[]),
    ("main", &["shell", "node", "ui", "wire", "base"]),
    ("shell", &["node", "ui", "wire", "base"]),
    ("node", &["wire", "base"]),
    ("ui", &["base"]),
    ("wire", &["base"]),
    ("base", &[]),
];
/// Floors without I/O. `base` is not asked for it by name, but a clock there would be one in the core.
const PURE: [&str; 3] = ["node", "wire", "base"];
/// Words that no pure floor may say.
const IMPURE_WORDS: &[&str] = &[
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixListener",
    "UnixDatagram",
    "ToSocketAddrs",
    "HashMap",
    "HashSet",
    "RandomState",
    "Instant",
    "SystemTime",
    "OsRng",
    "ThreadRng",
    "getrandom",
    "mio",
    "nix",
    "libc",
    "socket2",
    "termion",
    "crossbeam_channel",
    "signal_hook",
    "signal_hook_mio",
    "print",
    "println",
    "eprint",
    "eprintln",
    "dbg",
    "stdin",
    "stdout",
    "stderr",
    "thread_local",
];
/// Paths that no pure floor may take, nor anything below them.
const IMPURE_PATHS: &[&str] = &[
    "std::fs",
    "std::thread",
    "std::process",
    "std::env",
    "std::os",
    "std::time::UNIX_EPOCH",
    "std::sync::mpsc",
    "std::collections::hash_map",
    "std::collections::hash_set",
];
/// Folders of the standard library that hold both: only what is in them may be named, so that the words above tell.
const MIXED: &[&str] = &[
    "std",
    "std::net",
    "std::time",
    "std::collections",
    "std::io",
    "std::sync",
];

/// What breaks a rule, one sentence each. `files`: names below `src/`, and texts.
pub fn offences(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(file, text)| Source::new(file, text))
        .collect();
    let mut all = Vec::new();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let mut found = whole_file(source);
        let paths = paths(source);
        for named in &paths {
            let text = named.path.join("::");
            if named.path.iter().any(|word| word == "*") {
                found.push(format!("takes everything: {text}"));
            }
            if named.own {
                match target(&sources, &named.path) {
                    Some(to) if to.module == source.module => {}
                    Some(to) if !to.folder => {
                        if let Some(offence) = arrow(source, to) {
                            found.push(offence);
                        }
                        arrows.entry(source.name()).or_default().insert(to.name());
                    }
                    _ => found.push(format!("names no file: crate::{text}")),
                }
            }
        }
        if PURE.contains(&source.floor()) {
            found.extend(impurities(source, &paths));
        }
        all.extend(
            found
                .iter()
                .map(|offence| format!("{} {offence}", source.name())),
        );
    }
    all.extend(circle(&arrows).map(|circle| format!("{circle} is a circle")));
    all
}

fn whole_file(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !ARROWS.iter().any(|(floor, _)| *floor == source.floor()) {
        found.push("is on no floor".to_owned());
    }
    if source.module.len() == 1 && !source.folder && source.floor() != "main" {
        found.push("lies between the floors".to_owned());
    }
    if source.lines > LINES_MAX {
        found.push(format!("has {} lines", source.lines));
    }
    let tokens: Vec<&str> = source.tokens.iter().map(String::as_str).collect();
    if source.folder && !prose_and_modules(&tokens) {
        found.push("holds more than prose and `pub mod`".to_owned());
    }
    for (i, rest) in tokens.iter().enumerate().map(|(i, _)| (i, &tokens[i..])) {
        let offence = match rest {
            ["unsafe", ..] => "is unsafe",
            ["extern", "crate", ..] => "gives a crate another name",
            ["include", "!", ..] => "includes a file past the house's eyes",
            ["#", "[", "path", ..] => "bends a module's path",
            ["use", ..] if reexports(&tokens[..i]) => "exports again (`pub use`)",
            _ => continue,
        };
        found.push(offence.to_owned());
    }
    found
}

/// Do the words before a `use` end in `pub` or `pub(…)`?
fn reexports(before: &[&str]) -> bool {
    match before {
        [.., "pub"] => true,
        [.., ")"] => before
            .iter()
            .rposition(|t| *t == "(")
            .is_some_and(|open| open > 0 && before[open - 1] == "pub"),
        _ => false,
    }
}

fn prose_and_modules(mut tokens: &[&str]) -> bool {
    loop {
        tokens = match tokens {
            [] => return true,
            ["pub", "mod", _, ";", rest @ ..] => rest,
            ["#", "!", "[", rest @ ..] | ["#", "[", rest @ ..] => {
                match rest.iter().position(|t| *t == "]") {
                    Some(end) => &rest[end + 1..],
                    None => return false,
                }
            }
            _ => return false,
        };
    }
}

/// The file that a path of our own leads to: the longest one on its way.
fn target<'a>(sources: &'a [Source], path: &[String]) -> Option<&'a Source> {
    let on_the_way = sources.iter().filter(|s| !s.absolute().is_empty());
    on_the_way
        .filter(|source| path.starts_with(&source.module))
        .max_by_key(|source| source.module.len())
}

fn arrow(from: &Source, to: &Source) -> Option<String> {
    let allowed = ARROWS.iter().find(|(floor, _)| *floor == from.floor());
    let down = allowed.is_some_and(|(_, below)| below.contains(&to.floor()));
    let fine = down || from.floor() == to.floor();
    (!fine).then(|| format!("looks up to {}", to.name()))
}

fn impurities(source: &Source, paths: &[Named]) -> Vec<String> {
    let mut found = Vec::new();
    for word in &source.tokens {
        if IMPURE_WORDS.contains(&word.as_str()) {
            found.push(format!("says {word}"));
        }
    }
    for named in paths.iter().filter(|named| !named.own) {
        let text = named.path.join("::").replacen("core::", "std::", 1);
        let below = |path: &&&str| text == **path || text.starts_with(&format!("{path}::"));
        if let Some(path) = IMPURE_PATHS.iter().find(below) {
            found.push(format!("takes {path}"));
        }
        if named.in_use && MIXED.contains(&text.as_str()) {
            found.push(format!("takes all of {text}"));
        }
        if named.path.last().is_some_and(|last| last == "now") {
            found.push(format!("asks a clock: {text}"));
        }
    }
    found
}

/// Some circle, if there is one, as `a → b → a`.
fn circle(arrows: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    fn walk<'a>(
        at: &'a str,
        arrows: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        if let Some(begin) = way.iter().position(|seen| *seen == at) {
            return Some(format!("{} → {at}", way[begin..].join(" → ")));
        }
        if !done.contains(at) {
            way.push(at);
            for next in arrows.get(at).into_iter().flatten() {
                let found = walk(next, arrows, way, done);
                if found.is_some() {
                    return found;
                }
            }
            way.pop();
            done.insert(at);
        }
        None
    }
    let mut done = BTreeSet::new();
    arrows
        .keys()
        .find_map(|at| walk(at, arrows, &mut Vec::new(), &mut done))
}
