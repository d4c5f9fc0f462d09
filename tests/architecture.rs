//! The house stands: reads `src/` and fails on an arrow that runs up, on a circle, and on a clock, file, socket, thread or random
//! source where none may be. Each rule is shown an offender too.
mod architecture {
    pub mod rules;
    pub mod source;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use architecture::rules::{LINES_MAX, offences};

fn read(folder: &Path, below: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a folder of src/") {
        let entry = entry.expect("a file of src/");
        let name = format!("{below}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            read(&entry.path(), &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            let text = fs::read_to_string(entry.path()).expect("UTF-8");
            files.push((name, text));
        }
    }
}

#[test]
fn the_house_stands() {
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&src, "", &mut files);
    files.sort();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    for floor in ["base", "wire", "node", "ui", "shell"] {
        let prefix = format!("{floor}/");
        assert!(
            files.iter().any(|(n, _)| n.starts_with(&prefix)),
            "{floor} is there"
        );
    }
    let lib = files
        .iter()
        .find(|(name, _)| *name == "lib.rs")
        .expect("lib.rs");
    assert!(lib.1.contains("#![forbid(unsafe_code)]"));
    let offences = offences(&files);
    assert!(
        offences.is_empty(),
        "the house is bent:\n  {}",
        offences.join("\n  ")
    );
}

/// A small house that is right, with this file beside the others (or instead of one).
fn with(file: &str, text: &str) -> Vec<String> {
    let mut files = BTreeMap::from([
        ("lib.rs", "//! p\n#![forbid(unsafe_code)]\npub mod base;"),
        ("main.rs", "fn main() { p2pchat::shell::run::go() }"),
        ("base/mod.rs", "//! Nouns\npub mod noun;"),
        ("base/noun.rs", "pub struct Noun;"),
        ("wire/mod.rs", "pub mod frame;"),
        ("wire/frame.rs", "use crate::base::noun::Noun;"),
        (
            "node/mod.rs",
            "#[allow(clippy::x)]\npub mod node;\npub mod ctx;",
        ),
        (
            "node/node.rs",
            "use super::ctx::Hub; use crate::wire::frame::Frame;",
        ),
        (
            "node/ctx.rs",
            "use std::{collections::BTreeMap, net::{IpAddr, SocketAddr}}; mod tests { use super::Hub; }",
        ),
        ("ui/mod.rs", "pub mod text;"),
        ("ui/text.rs", "use crate::base::noun;"),
        ("shell/mod.rs", "pub mod run;\npub mod finders;"),
        (
            "shell/run.rs",
            "use std::time::Instant; use super::finders::scan; use crate::{node::node, ui::text::{self, Face}};",
        ),
        ("shell/finders/mod.rs", "pub mod scan;"),
        (
            "shell/finders/scan.rs",
            "fn f() { crate::base::noun::f(); std::thread::sleep(x) }",
        ),
    ]);
    files.insert(file, text);
    let files: Vec<(&str, &str)> = files.into_iter().collect();
    offences(&files)
}

/// The file breaks this one rule, and the house says so. An arrow that runs up may close a circle too.
#[track_caller]
fn caught(file: &str, text: &str, offence: &str) {
    let mut found = with(file, text);
    found.retain(|found| found.contains(offence) || !found.ends_with("is a circle"));
    assert!(!found.is_empty(), "{file} passes: {text}");
    let all = found.iter().all(|found| found.contains(offence));
    assert!(all, "{file}: {text}: {found:?}");
}

#[test]
fn a_house_that_is_right_passes() {
    assert_eq!(with("base/noun.rs", "pub struct Noun;"), [""; 0]);
    let quoted = r##"
        // crate::shell::run, unsafe, HashMap /* println! */
        /* use crate::shell::run; /* unsafe */ Instant */
        /// [`crate::shell::run`]
        const A: &str = "use crate::shell::run; \" unsafe"; const B: &str = r#"HashMap " mio"#; const C: u8 = b'"';
        const D: char = '\''; const E: char = '"'; fn f<'a>(x: &'a str) -> impl Iterator<Item = u8> + use<'a> { g::<u8>(x) }
        pub(in crate::node) struct S { now: u8 } use crate::base::noun::Noun as N; fn h(s: S) { s.now(); super::ctx::h(); }
    "##;
    assert_eq!(with("node/links.rs", quoted), [""; 0]);
}

#[test]
fn an_arrow_that_runs_up_is_caught() {
    for (file, text) in [
        ("base/noun.rs", "use crate::wire::frame::Frame;"),
        (
            "wire/frame.rs",
            "use crate::{base::noun::{self, Noun}, node::{ctx::Hub}};",
        ),
        ("wire/frame.rs", "use crate::ui::text::Text;"),
        ("node/ctx.rs", "use crate::ui::text::Text;"),
        ("node/ctx.rs", "fn f() { crate::shell::run::f() }"),
        (
            "node/ctx.rs",
            "fn f() -> Vec<p2pchat::shell::run::X> { super::super::shell::run::f::<u8>() }",
        ),
        (
            "node/ctx.rs",
            "mod tests { fn f() { super::super::super::shell::run::f() } }",
        ),
        (
            "node/ctx.rs",
            "macro_rules! m { () => { $crate::shell::run::f() } }",
        ),
        (
            "node/ctx.rs",
            "fn f() { r#crate::shell::run::f(); let c = '\"'; crate :: shell /* */ :: run::f() }",
        ),
        ("ui/text.rs", "use crate::wire::frame::Frame;"),
        ("ui/text.rs", "use crate::node::ctx::Hub;"),
        ("ui/text.rs", "use crate::shell::finders::scan::Scan;"),
    ] {
        caught(file, text, "looks up to");
    }
}

#[test]
fn a_circle_is_caught() {
    caught(
        "node/ctx.rs",
        "use super::node::Node;",
        "node::node → node::ctx → node::node is a circle",
    );
    caught(
        "node/ctx.rs",
        "fn f() { crate::node::node::f() }",
        "is a circle",
    );
    caught(
        "shell/finders/scan.rs",
        "use super::super::run::Run;",
        "is a circle",
    );
}

#[test]
fn a_name_that_hides_its_file_is_caught() {
    caught(
        "shell/run.rs",
        "pub use crate::base::noun::Noun;",
        "exports again",
    );
    caught(
        "shell/run.rs",
        "pub(crate) use crate::base::noun::Noun;",
        "exports again",
    );
    caught(
        "shell/run.rs",
        "pub(in crate::shell) use crate::base::noun;",
        "exports again",
    );
    caught(
        "shell/run.rs",
        "use crate::base::noun::*;",
        "takes everything",
    );
    caught(
        "shell/run.rs",
        "use std::io::{self, prelude::*};",
        "takes everything",
    );
    caught(
        "shell/run.rs",
        "mod tests { use super::*; }",
        "takes everything",
    );
    caught(
        "shell/run.rs",
        "use crate::base; fn f() { base::noun::f() }",
        "names no file",
    );
    caught("shell/run.rs", "use crate as c;", "names no file");
    caught("shell/run.rs", "use super::{finders};", "names no file");
    caught(
        "shell/run.rs",
        "extern crate p2pchat as other;",
        "another name",
    );
    caught(
        "shell/run.rs",
        "#[path = \"../base/noun.rs\"] mod noun;",
        "bends",
    );
    caught("shell/run.rs", "include!(\"../base/noun.rs\");", "includes");
    caught("util.rs", "fn f() {}", "util");
    caught("tools/mod.rs", "pub mod x;", "is on no floor");
}

#[test]
fn a_folder_with_more_than_prose_is_caught() {
    for file in ["node/mod.rs", "lib.rs", "shell/finders/mod.rs"] {
        for text in [
            "pub mod a;\nfn f() {}",
            "mod a;",
            "pub const A: u8 = 1;",
            "#[cfg(test)]\nmod tests {}",
            "pub mod a {}",
        ] {
            caught(file, text, "holds more than prose");
        }
    }
}

#[test]
fn the_world_in_the_core_is_caught() {
    for file in ["node/ctx.rs", "wire/frame.rs", "base/noun.rs"] {
        for text in [
            "use std::fs;",
            "use std::{fmt, fs::File};",
            "use std::net::{IpAddr, TcpStream};",
            "use std::net; fn f() -> net::Socket {}",
            "fn f() { std::thread::sleep(x) }",
            "fn f() { ::std::env::var(x) }",
            "use std as s;",
            "use std::time::{Duration, Instant};",
            "use std::time::SystemTime;",
            "use std::time; fn f() -> time::X {}",
            "use std::collections::HashMap;",
            "use std::collections; fn f() -> collections::HashSet<u8> {}",
            "use getrandom::fill;",
            "fn f() { getrandom::fill(x) }",
            "use mio::Token;",
            "use nix::errno::Errno;",
            "fn f() { println!(\"\") }",
            "fn f() { eprintln!(\"\") }",
            "fn f() { jiff::Timestamp::now() }",
            "mod tests { fn f() { let x = std::net::UdpSocket::bind(a); } }",
        ] {
            let found = with(file, text);
            let tell = ["says", "takes", "asks a clock"];
            let told = found.iter().all(|f| tell.iter().any(|t| f.contains(t)));
            assert!(!found.is_empty() && told, "{file}: {text}: {found:?}");
        }
    }
}

#[test]
fn unsafe_and_long_files_are_caught() {
    for file in ["node/ctx.rs", "shell/run.rs", "ui/text.rs", "main.rs"] {
        caught(file, "fn f() { unsafe { g() } }", "is unsafe");
    }
    assert_eq!(with("shell/run.rs", &"\n".repeat(LINES_MAX)), [""; 0]);
    caught("shell/run.rs", &"\n".repeat(LINES_MAX + 1), "has 661 lines");
}
