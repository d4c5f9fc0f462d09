//! The rules of the architecture, each as a function from the sources to sentences about violations.
use std::collections::{BTreeMap, BTreeSet};

use super::source::{NamedPath, Source, ends_in_pub, paths};

/// Most lines of a file.
pub const FILE_LINES_MAX: usize = 600;
/// Last column of a comment, as rustfmt sets it for code.
pub const COMMENT_COLUMNS_MAX: usize = 100;
/// Most files of a folder, its `mod.rs` included.
pub const FOLDER_FILES_MAX: usize = 20;

/// The file that re-exports the types which a host of the core needs. No other file re-exports, so
/// every type has one path inside the crate.
const FRONT: &str = "lib";

/// Layers, and the layers that each may import beside itself. `lib` holds only prose and the front.
const LAYERS: [(&str, &[&str]); 7] = [
    ("lib", &["node", "wire", "base"]),
    ("main", &["shell", "node", "ui", "wire", "base"]),
    ("shell", &["node", "ui", "wire", "base"]),
    ("node", &["wire", "base"]),
    ("ui", &["base"]),
    ("wire", &["base"]),
    ("base", &[]),
];

/// Ranks of the folders and files directly in a layer, from the top. A rank imports those below it; members of
/// one rank do not import each other.
const FOLDER_RANKS: [(&str, &[&[&str]]); 2] = [
    (
        "shell",
        &[
            &["program"],
            &["commands"],
            &["runtime"],
            &["ipc"],
            &["session"],
            &["state", "store", "net", "stdio"],
            &["config", "os"],
        ],
    ),
    (
        "node",
        &[
            &["backpressure", "link_events", "query"],
            &["node"],
            &["replication"],
            &["guests", "membership"],
            &["discovery"],
            &["connection"],
            &["context"],
            &["link"],
            &["topology"],
            &[
                "acquaintances",
                "author_clocks",
                "guest_table",
                "misbehaviour",
                "profile_state",
            ],
            &[
                "config",
                "counters",
                "hybrid_clock",
                "peer_clock",
                "save_barrier",
                "standing",
                "timer",
            ],
        ],
    ),
];

/// Layers without I/O. A clock in `base` would be a clock in the core.
const PURE_LAYERS: [&str; 3] = ["node", "wire", "base"];
/// Words that no file of a pure layer may contain.
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
/// Paths that a pure layer may not name, nor anything below them.
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
/// Modules of the standard library that hold pure and impure items. A pure layer imports their items one by one,
/// so that [`IMPURE_WORDS`] sees them.
const MIXED_MODULES: &[&str] = &[
    "std",
    "std::net",
    "std::time",
    "std::collections",
    "std::io",
    "std::sync",
];

/// All violations, one sentence each. `files` are paths relative to `src/`, with their texts.
pub fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> = files
        .iter()
        .map(|(file, text)| Source::new(file, text))
        .collect();
    let mut all = Vec::new();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in &sources {
        let paths = paths(source);
        let mut found = file_violations(source);
        found.extend(import_violations(source, &sources, &paths, &mut imports));
        if PURE_LAYERS.contains(&source.layer()) {
            found.extend(impurities(source, &paths));
        }
        all.extend(found.iter().map(|text| format!("{} {text}", source.name())));
    }
    all.extend(cycle(&imports).map(|cycle| format!("{cycle} is a cycle")));
    all.extend(crowded_folders(&sources));
    all.extend(ambiguous_types(&sources));
    all.extend(scattered_impls(&sources));
    all
}

fn file_violations(source: &Source) -> Vec<String> {
    let mut found = Vec::new();
    if !LAYERS.iter().any(|(layer, _)| *layer == source.layer()) {
        found.push("belongs to no layer".to_owned());
    }
    if source.module.len() == 1 && !source.is_index && source.layer() != "main" {
        found.push("lies beside the layers".to_owned());
    }
    if let Some(ranks) = ranks(source.layer())
        && let Some(member) = source.module.get(1)
        && rank(ranks, member).is_none()
    {
        found.push(format!("has no rank in {}", source.layer()));
    }
    if source.lines > FILE_LINES_MAX {
        found.push(format!("has {} lines", source.lines));
    }
    for line in &source.wide_comments {
        found.push(format!("has a wide comment in line {line}"));
    }
    let tokens: Vec<&str> = source.tokens.iter().map(String::as_str).collect();
    let is_front = source.layer() == FRONT;
    if source.is_index && !is_prose_and_modules(&tokens, is_front) {
        found.push("holds more than prose and `pub mod`".to_owned());
    }
    for i in 0..tokens.len() {
        let violation = match &tokens[i..] {
            ["unsafe", ..] => "is unsafe",
            ["extern", "crate", ..] => "renames a crate",
            ["include", "!", ..] => "includes code that this test does not read",
            ["#", "[", "path", ..] => "redirects a module with #[path]",
            ["use", ..] if !is_front && ends_in_pub(&tokens[..i]) => "re-exports (`pub use`)",
            _ => continue,
        };
        found.push(violation.to_owned());
    }
    found
}

/// Are these tokens attributes and `pub mod`? The front may also re-export this crate's types, each
/// by its own name.
fn is_prose_and_modules(mut tokens: &[&str], is_front: bool) -> bool {
    loop {
        tokens = match tokens {
            [] => return true,
            ["pub", "mod", _, ";", rest @ ..] => rest,
            ["pub", "use", "crate", "::", rest @ ..] if is_front => {
                let end = rest.iter().position(|token| *token == ";");
                match end.filter(|end| !rest[..*end].contains(&"as")) {
                    Some(end) => &rest[end + 1..],
                    None => return false,
                }
            }
            ["#", "!", "[", rest @ ..] | ["#", "[", rest @ ..] => {
                match rest.iter().position(|token| *token == "]") {
                    Some(end) => &rest[end + 1..],
                    None => return false,
                }
            }
            _ => return false,
        };
    }
}

/// Checks where the paths of one file lead, and notes the files it imports.
fn import_violations(
    source: &Source,
    sources: &[Source],
    paths: &[NamedPath],
    imports: &mut BTreeMap<String, BTreeSet<String>>,
) -> Vec<String> {
    let mut found = Vec::new();
    for path in paths {
        let text = path.segments.join("::");
        if path.segments.iter().any(|segment| segment == "*") {
            found.push(format!("imports everything: {text}"));
        }
        if !path.is_own {
            continue;
        }
        match target(sources, &path.segments) {
            Some(to) if to.module == source.module => {}
            Some(to) if !to.is_index => {
                found.extend(upward_import(source, to));
                imports.entry(source.name()).or_default().insert(to.name());
            }
            _ => found.push(format!("names no file: crate::{text}")),
        }
    }
    found
}

/// The file that a path of this crate leads to: the longest module path that begins it.
fn target<'a>(sources: &'a [Source], path: &[String]) -> Option<&'a Source> {
    let modules = sources.iter().filter(|source| !source.path().is_empty());
    modules
        .filter(|source| path.starts_with(&source.module))
        .max_by_key(|source| source.module.len())
}

fn upward_import(from: &Source, to: &Source) -> Option<String> {
    let (layer, member) = (from.layer(), from.module.get(1));
    let is_allowed = if layer == to.layer() {
        match (ranks(layer), member, to.module.get(1)) {
            (Some(ranks), Some(own), Some(other)) => {
                own == other || rank(ranks, own) < rank(ranks, other)
            }
            _ => true,
        }
    } else {
        let below = LAYERS.iter().find(|(name, _)| *name == layer);
        below.is_some_and(|(_, below)| below.contains(&to.layer()))
    };
    (!is_allowed).then(|| format!("imports upwards: {}", to.name()))
}

fn ranks(layer: &str) -> Option<&'static [&'static [&'static str]]> {
    let found = FOLDER_RANKS.iter().find(|(name, _)| *name == layer);
    found.map(|(_, ranks)| *ranks)
}

fn rank(ranks: &[&[&str]], member: &str) -> Option<usize> {
    ranks.iter().position(|rank| rank.contains(&member))
}

fn impurities(source: &Source, paths: &[NamedPath]) -> Vec<String> {
    let mut found = Vec::new();
    for word in &source.tokens {
        if IMPURE_WORDS.contains(&word.as_str()) {
            found.push(format!("contains {word}"));
        }
    }
    for path in paths.iter().filter(|path| !path.is_own) {
        let text = path.segments.join("::").replacen("core::", "std::", 1);
        let is_below =
            |impure: &&&str| text == **impure || text.starts_with(&format!("{impure}::"));
        if let Some(impure) = IMPURE_PATHS.iter().find(is_below) {
            found.push(format!("names {impure}"));
        }
        if path.is_import && MIXED_MODULES.contains(&text.as_str()) {
            found.push(format!("imports all of {text}"));
        }
        if path.segments.last().is_some_and(|last| last == "now") {
            found.push(format!("reads a clock: {text}"));
        }
    }
    found
}

/// A cycle of imports, if there is one, as `a → b → a`.
fn cycle(imports: &BTreeMap<String, BTreeSet<String>>) -> Option<String> {
    fn walk<'a>(
        at: &'a str,
        imports: &'a BTreeMap<String, BTreeSet<String>>,
        stack: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<String> {
        if let Some(begin) = stack.iter().position(|seen| *seen == at) {
            return Some(format!("{} → {at}", stack[begin..].join(" → ")));
        }
        if !done.contains(at) {
            stack.push(at);
            for next in imports.get(at).into_iter().flatten() {
                let found = walk(next, imports, stack, done);
                if found.is_some() {
                    return found;
                }
            }
            stack.pop();
            done.insert(at);
        }
        None
    }
    let mut done = BTreeSet::new();
    imports
        .keys()
        .find_map(|at| walk(at, imports, &mut Vec::new(), &mut done))
}

fn crowded_folders(sources: &[Source]) -> Vec<String> {
    let mut files: BTreeMap<&str, usize> = BTreeMap::new();
    for source in sources {
        *files.entry(source.folder()).or_default() += 1;
    }
    files.retain(|_, count| *count > FOLDER_FILES_MAX);
    let crowded = files.iter();
    crowded
        .map(|(folder, count)| format!("{folder}/ has {count} files"))
        .collect()
}

/// Public type names that are defined twice.
fn ambiguous_types(sources: &[Source]) -> Vec<String> {
    let mut definitions: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources {
        for (name, _) in source.types().iter().filter(|(_, is_public)| *is_public) {
            definitions.entry(name).or_default().push(source.name());
        }
    }
    definitions.retain(|_, places| places.len() > 1);
    let ambiguous = definitions.iter();
    ambiguous
        .map(|(name, places)| format!("{name} means two things: {}", places.join(", ")))
        .collect()
}

/// Inherent `impl` blocks that lie neither beside their type nor below a folder named after it.
fn scattered_impls(sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for source in sources {
        let types = source.types();
        for name in source.inherent_impls() {
            let is_beside_type = types.iter().any(|(defined, _)| *defined == name);
            let mut folders = source.folder().split('/');
            if !is_beside_type && !folders.any(|folder| folder == snake_case(name)) {
                found.push(format!("{} has an impl of {name}", source.name()));
            }
        }
    }
    found
}

fn snake_case(name: &str) -> String {
    let mut out = String::new();
    for (i, c) in name.char_indices() {
        if c.is_uppercase() && i > 0 {
            out.push('_');
        }
        out.extend(c.to_lowercase());
    }
    out
}
