//! Guards the architecture: reads `src/` and fails on an upward import, a cycle, I/O in the core, a long file, a
//! crowded folder, a public type name with two meanings, and an `impl` far from its type. Each rule is also shown a
//! violation that it must catch. The table of features is read as well.
mod architecture {
    pub mod features;
    pub mod rules;
    pub mod source;
}

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use architecture::features::feature_violations;
use architecture::rules::{FILE_LINES_MAX, FOLDER_FILES_MAX, violations};

fn read(folder: &Path, below: &str, files: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let entry = entry.expect("a readable file");
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
fn every_feature_names_a_test_or_a_reason() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let table = include_str!("FEATURES.md");
    let found = feature_violations(table, |file| fs::read_to_string(tests.join(file)).ok());
    assert!(found.is_empty(), "violations:\n  {}", found.join("\n  "));
}

#[test]
fn a_feature_without_its_test_is_caught() {
    let read = |file: &str| match file {
        "sim/rooms.rs" => Some("#[test]\n#[should_panic]\nfn it_works() {}\n\nfn helper() {}\n"),
        "lan/main.rs" => Some("#[test]\nfn it_works() {}\n#[test]\n#[ignore]\nfn slow() {}\n"),
        "sim/guests/mod.rs" => Some("#[test]\nfn it_works() {}\n"),
        _ => None,
    };
    let check = |row: &str| feature_violations(row, |file| read(file).map(str::to_owned));
    for row in [
        "| feature | p2pchat | test |",
        "|---|---|---|",
        "| rooms | `-r` | `sim rooms::it_works`, `lan it_works`, `sim guests::it_works` |",
        "| voice | no: a text program | |",
        "| away | not yet | |",
    ] {
        assert_eq!(check(row), [""; 0], "{row}");
    }
    for row in [
        "| rooms | `-r` | `sim rooms::it_worked` |",
        "| rooms | `-r` | `sim rooms::helper` |",
        "| rooms | `-r` | `sim other::it_works` |",
        "| rooms | `-r` | `sim rooms::it_works`, `lan slow` |",
        "| rooms | `-r` | `sim::it_works` |",
        "| rooms | `-r` | it works |",
        "| rooms | `-r` | |",
        "| voice | no | |",
        "| rooms | `-r` |",
    ] {
        assert_eq!(check(row).len(), 1, "{row}");
    }
}

#[test]
fn the_sources_keep_every_rule() {
    let mut files = Vec::new();
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    read(&src, "", &mut files);
    files.sort();
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(n, t)| (n.as_str(), t.as_str()))
        .collect();
    for layer in ["base", "wire", "node", "ui", "shell"] {
        let prefix = format!("{layer}/");
        assert!(
            files.iter().any(|(n, _)| n.starts_with(&prefix)),
            "src/{layer}/ exists"
        );
    }
    let lib = files
        .iter()
        .find(|(name, _)| *name == "lib.rs")
        .expect("lib.rs");
    assert!(lib.1.contains("#![forbid(unsafe_code)]"));
    let found = violations(&files);
    assert!(found.is_empty(), "violations:\n  {}", found.join("\n  "));
}

/// The violations of a small correct tree with `file` added to it, or in place of one of its files.
fn with(file: &str, text: &str) -> Vec<String> {
    let mut files = BTreeMap::from([
        ("lib.rs", "//! p\n#![forbid(unsafe_code)]\npub mod base;"),
        ("main.rs", "fn main() { p2pchat::shell::program::go() }"),
        ("base/mod.rs", "//! Nouns\npub mod noun;\npub mod verb;"),
        ("base/noun.rs", "pub struct Noun;"),
        ("base/verb.rs", "use super::noun::Noun;"),
        ("wire/mod.rs", "pub mod frame;"),
        ("wire/frame.rs", "use crate::base::noun::Noun;"),
        (
            "node/mod.rs",
            "#[allow(clippy::x)]\npub mod node;\npub mod context;",
        ),
        (
            "node/node.rs",
            "use super::context::Context; use crate::wire::frame::Frame;",
        ),
        (
            "node/context.rs",
            "use std::{collections::BTreeMap, net::{IpAddr, SocketAddr}}; mod tests { use super::Context; }",
        ),
        ("ui/mod.rs", "pub mod text;"),
        ("ui/text.rs", "use crate::base::noun;"),
        ("shell/mod.rs", "pub mod program;\npub mod net;"),
        (
            "shell/program.rs",
            "use std::time::Instant; use super::net::scan; use crate::{node::node, ui::text::{self, Text}};",
        ),
        ("shell/net/mod.rs", "pub mod scan;"),
        (
            "shell/net/scan.rs",
            "fn f() { crate::base::noun::f(); std::thread::sleep(x) }",
        ),
    ]);
    files.insert(file, text);
    let files: Vec<(&str, &str)> = files.into_iter().collect();
    violations(&files)
}

/// Asserts that `file` breaks one rule and is reported for that alone. An upward import may also close a cycle.
#[track_caller]
fn caught(file: &str, text: &str, violation: &str) {
    let mut found = with(file, text);
    found.retain(|found| found.contains(violation) || !found.ends_with("is a cycle"));
    assert!(!found.is_empty(), "{file} passes: {text}");
    let all = found.iter().all(|found| found.contains(violation));
    assert!(all, "{file}: {text}: {found:?}");
}

#[test]
fn a_correct_tree_passes() {
    assert_eq!(with("base/noun.rs", "pub struct Noun;"), [""; 0]);
    let quoted = r##"
        // crate::shell::program, unsafe, HashMap /* println! */
        /* use crate::shell::program; /* unsafe */ Instant */
        /// [`crate::shell::program`]
        const A: &str = "use crate::shell::program; \" unsafe"; const B: &str = r#"HashMap " mio"#; const C: u8 = b'"';
        const D: char = '\''; const E: char = '"'; fn f<'a>(x: &'a str) -> impl Iterator<Item = u8> + use<'a> { g::<u8>(x) }
        pub(in crate::node) struct S { now: u8 } use crate::base::noun::Noun as N; fn h(s: S) { s.now(); super::context::h(); }
    "##;
    assert_eq!(with("node/query.rs", quoted), [""; 0]);
}

#[test]
fn an_upward_import_is_caught() {
    for (file, text) in [
        ("base/noun.rs", "use crate::wire::frame::Frame;"),
        (
            "wire/frame.rs",
            "use crate::{base::noun::{self, Noun}, node::{context::Context}};",
        ),
        ("wire/frame.rs", "use crate::ui::text::Text;"),
        ("node/context.rs", "use crate::ui::text::Text;"),
        ("node/context.rs", "fn f() { crate::shell::program::f() }"),
        (
            "node/context.rs",
            "fn f() -> Vec<p2pchat::shell::program::X> { super::super::shell::program::f::<u8>() }",
        ),
        (
            "node/context.rs",
            "mod tests { fn f() { super::super::super::shell::program::f() } }",
        ),
        (
            "node/context.rs",
            "macro_rules! m { () => { $crate::shell::program::f() } }",
        ),
        (
            "node/context.rs",
            "fn f() { r#crate::shell::program::f(); let c = '\"'; crate :: shell /* */ :: program::f() }",
        ),
        ("ui/text.rs", "use crate::wire::frame::Frame;"),
        ("ui/text.rs", "use crate::node::context::Context;"),
        ("ui/text.rs", "use crate::shell::net::scan::Scan;"),
    ] {
        caught(file, text, "imports upwards");
    }
}

#[test]
fn an_upward_import_between_folders_is_caught() {
    for (file, text) in [
        ("node/context.rs", "use super::node::Node;"),
        ("node/link.rs", "use crate::node::context::Context;"),
        (
            "node/connection/liveness.rs",
            "use crate::node::node::Node;",
        ),
        ("shell/net/scan.rs", "use super::super::program::Run;"),
        ("shell/store/disk.rs", "use crate::shell::net::scan::Scan;"),
        (
            "shell/config/help.rs",
            "fn f() { crate::shell::program::f() }",
        ),
    ] {
        caught(file, text, "imports upwards");
    }
    assert_eq!(
        with(
            "shell/session/session.rs",
            "use crate::shell::net::scan::f;"
        ),
        [""; 0]
    );
    caught("node/other.rs", "struct S;", "has no rank in node");
    caught("shell/other/x.rs", "struct S;", "has no rank in shell");
}

#[test]
fn a_cycle_is_caught() {
    caught(
        "base/noun.rs",
        "use super::verb::Verb;",
        "base::noun → base::verb → base::noun is a cycle",
    );
    caught(
        "base/noun.rs",
        "fn f() { crate::base::verb::f() }",
        "is a cycle",
    );
}

#[test]
fn a_crowded_folder_is_caught() {
    let names: Vec<String> = (1..=FOLDER_FILES_MAX + 1)
        .map(|i| format!("ui/f{i}.rs"))
        .collect();
    let mut files: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    assert_eq!(violations(&files), ["ui/ has 21 files"]);
    files.pop();
    assert_eq!(violations(&files), [""; 0]);
}

#[test]
fn a_type_name_with_two_meanings_is_caught() {
    for text in [
        "pub struct Noun;",
        "pub(super) enum Noun {}",
        "pub trait Noun {}",
    ] {
        let verdict = "Noun means two things: base::noun, shell::program";
        let found = with("shell/program.rs", text);
        assert!(
            found.iter().any(|found| found == verdict),
            "{text}: {found:?}"
        );
    }
    assert_eq!(
        with("shell/program.rs", "struct Noun; enum Other {}"),
        [""; 0]
    );
}

#[test]
fn an_impl_far_from_its_type_is_caught() {
    for text in [
        "impl Noun {}",
        "fn f() {} impl<'a, T: X<Y>> Noun<'a, T> where T: Z {}",
    ] {
        caught("base/verb.rs", text, "base::verb has an impl of Noun");
    }
    for (file, text) in [
        (
            "base/verb.rs",
            "impl Display for Noun {} impl<T> From<T> for Noun {}",
        ),
        (
            "base/verb.rs",
            "struct Own; impl Own {} fn f() -> impl Noun {}",
        ),
        ("base/noun/verb.rs", "impl Noun {}"),
        ("base/noun/part/verb.rs", "impl Noun {}"),
    ] {
        assert_eq!(with(file, text), [""; 0], "{file}: {text}");
    }
}

#[test]
fn an_import_that_hides_its_file_is_caught() {
    caught(
        "shell/program.rs",
        "pub use crate::base::noun::Noun;",
        "re-exports",
    );
    caught(
        "shell/program.rs",
        "pub(crate) use crate::base::noun::Noun;",
        "re-exports",
    );
    caught(
        "shell/program.rs",
        "pub(in crate::shell) use crate::base::noun;",
        "re-exports",
    );
    caught(
        "shell/program.rs",
        "use crate::base::noun::*;",
        "imports everything",
    );
    caught(
        "shell/program.rs",
        "use std::io::{self, prelude::*};",
        "imports everything",
    );
    caught(
        "shell/program.rs",
        "mod tests { use super::*; }",
        "imports everything",
    );
    caught(
        "shell/program.rs",
        "use crate::base; fn f() { base::noun::f() }",
        "names no file",
    );
    caught("shell/program.rs", "use crate as c;", "names no file");
    caught("shell/program.rs", "use super::{net};", "names no file");
    caught(
        "shell/program.rs",
        "extern crate p2pchat as other;",
        "renames a crate",
    );
    caught(
        "shell/program.rs",
        "#[path = \"../base/noun.rs\"] mod noun;",
        "redirects a module",
    );
    caught(
        "shell/program.rs",
        "include!(\"../base/noun.rs\");",
        "includes code",
    );
    caught("util.rs", "fn f() {}", "util");
    caught("tools/mod.rs", "pub mod x;", "belongs to no layer");
}

#[test]
fn an_index_with_more_than_prose_is_caught() {
    for file in ["node/mod.rs", "lib.rs", "shell/net/mod.rs"] {
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
fn the_front_re_exports_types_of_the_core_only() {
    let front = "pub mod base; pub use crate::node::context::Context; pub use crate::base::{noun::Noun, verb::Verb};";
    assert_eq!(with("lib.rs", front), [""; 0]);
    for (text, violation) in [
        ("pub use crate::shell::program::Run;", "imports upwards"),
        ("pub use crate::ui::text::Text;", "imports upwards"),
        ("pub use crate::base::noun::*;", "imports everything"),
        ("pub use crate::base;", "names no file"),
        (
            "pub use crate::base::noun::Noun as N;",
            "holds more than prose",
        ),
        ("pub use serde::Serialize;", "holds more than prose"),
        ("use crate::base::noun::Noun;", "holds more than prose"),
    ] {
        caught("lib.rs", text, violation);
    }
    for file in ["node/mod.rs", "shell/mod.rs", "main.rs"] {
        let found = with(file, "pub use crate::base::noun::Noun;");
        assert!(
            found.iter().any(|found| found.contains("re-exports")),
            "{file}: {found:?}"
        );
    }
    caught("node/context.rs", "use crate::Noun;", "names no file");
}

#[test]
fn io_in_the_core_is_caught() {
    for file in ["node/context.rs", "wire/frame.rs", "base/noun.rs"] {
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
            let reasons = ["contains", "names", "imports all of", "reads a clock"];
            let explains = |found: &String| reasons.iter().any(|reason| found.contains(reason));
            assert!(!found.is_empty(), "{file} passes: {text}");
            assert!(found.iter().all(explains), "{file}: {text}: {found:?}");
        }
    }
}

#[test]
fn unsafe_code_long_files_and_wide_comments_are_caught() {
    for file in [
        "node/context.rs",
        "shell/program.rs",
        "ui/text.rs",
        "main.rs",
    ] {
        caught(file, "fn f() { unsafe { g() } }", "is unsafe");
    }
    assert_eq!(
        with("shell/program.rs", &"\n".repeat(FILE_LINES_MAX)),
        [""; 0]
    );
    caught(
        "shell/program.rs",
        &"\n".repeat(FILE_LINES_MAX + 1),
        "has 601 lines",
    );
    let comment = |width: usize| format!("//! {}", "x".repeat(width - 4));
    assert_eq!(with("shell/program.rs", &comment(100)), [""; 0]);
    caught(
        "shell/program.rs",
        &comment(101),
        "has a wide comment in line 1",
    );
}
