//! The document of the protocol: its examples are valid, and it names every bound, timer and hash
//! input of the code.
use std::fs;
use std::path::Path;

use p2pchat::base::batch::batch::Batch;
use p2pchat::base::domain;
use p2pchat::base::identity::NetworkTag;
use p2pchat::wire::beacon::Beacon;
use p2pchat::wire::message::Message;

use crate::documents::examples;

const PROTOCOL: &str = include_str!("../../src/wire/PROTOCOL.md");

/// Lengths and numbers that follow from the formats, so the document states them without a name. And
/// numbers that no other peer notices.
const UNNAMED: [&str; 44] = [
    "BLOCK",
    "BLOCK_CHARS",
    "CHECK_CHARS",
    "CHECK_DIGITS",
    "CONTROL_MAX_BYTES",
    "DEFAULT_PORT",
    "EACH",
    "FINGERPRINT_BYTES",
    "GATEWAY_PORT",
    "GROUP_DIGITS",
    "HEADER_BYTES",
    "HOST_MAX_BYTES",
    "ID_MAX_BYTES",
    "ID_PREFIX_MIN_CHARS",
    "INVITE_MODE",
    "KEY_BYTES",
    "BEHIND_NAMED_MAX",
    "LACKING_NAMED_MAX",
    "LONG_BATCH_MIN_BYTES",
    "LAMPORTS_PER_MS",
    "MAP_BYTES",
    "NAT_PMP_VERSION",
    "NEIGHBOURS_PER_SIDE",
    "NONCE_BITS",
    "NO_VALUE",
    "POUR_MIN_BYTES",
    "NONCE_BYTES",
    "OP_ADDRESS",
    "OP_MAP",
    "OP_MAP_TCP",
    "OVERHEAD_BYTES",
    "ANSWER_MAX_BYTES",
    "HEAD_MAX_BYTES",
    "PATH_MAX_BYTES",
    "PCP_MAX_BYTES",
    "PROTOCOL_VERSION",
    "RESPONSE_BIT",
    "SANITIZED_MAX_CHARS",
    "SIGNATURE_CHARS",
    "TAG_BYTES",
    "TCP",
    "TEXT_BYTES",
    "UNSUPPORTED_VERSION",
    "VERSION",
];

/// An implementer copies the examples.
#[test]
fn the_examples_are_valid() {
    let (mut batches, mut messages) = (0, 0);
    for example in examples(PROTOCOL) {
        let bytes = example.clone().into_bytes();
        let is_left_out = !cfg!(feature = "profile") && example.contains(r#":"profile_re"#);
        if example.contains('…') || is_left_out {
            continue;
        } else if example.contains(r#""type":"chat""#) {
            let batch = Batch::parse(bytes, &NetworkTag::OPEN).expect(&example);
            let key = batch.log.author.verifying_key().expect("a key");
            assert!(batch.verify(&key), "{example}");
            batches += 1;
        } else if example.contains(r#""type":"discover""#) {
            Beacon::parse(&bytes, &NetworkTag::OPEN, None).expect(&example);
        } else {
            let message = Message::parse(&bytes);
            assert!(
                !matches!(message, None | Some(Message::Unknown)),
                "{example}"
            );
            messages += 1;
        }
    }
    assert!(
        batches >= 2 && messages >= 9,
        "{batches} batches, {messages} messages"
    );
}

/// A hash input that the document omits cannot be computed by another implementation.
#[test]
fn every_hash_input_is_documented() {
    let source = read(Path::new("src/base/domain.rs"));
    let prefixes = source.split("b\"").skip(1);
    let prefixes: Vec<&str> = prefixes.filter_map(|rest| rest.split('"').next()).collect();
    assert!(prefixes.contains(&r"p2pchat batch 2\0") && domain::BATCH.ends_with(b"2\0"));
    for prefix in prefixes {
        assert!(PROTOCOL.contains(&format!("`{prefix}`")), "{prefix}");
    }
}

/// A bound or a timer that the document omits surprises another implementation.
#[test]
fn every_bound_and_timer_is_documented() {
    let mut sources = String::new();
    for folder in ["src/base", "src/wire", "src/node"] {
        read_folder(Path::new(folder), &mut sources);
    }
    let mut constants = Vec::new();
    for line in sources.lines() {
        let Some((_, declaration)) = line.trim_start().split_once("const ") else {
            continue;
        };
        let Some((name, kind)) = declaration.split_once(": ") else {
            continue;
        };
        let is_name = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        let kinds = ["u8 ", "u32 ", "u64 ", "i64 ", "usize ", "[u64;"];
        if is_name && kinds.iter().any(|number| kind.starts_with(number)) {
            constants.push(name);
        }
    }
    assert!(constants.len() > 80, "{} constants", constants.len());
    let is_named = |name: &&str| PROTOCOL.contains(&format!("`{name}`")) || UNNAMED.contains(name);
    let missing: Vec<&str> = constants
        .into_iter()
        .filter(|name| !is_named(name))
        .collect();
    assert!(missing.is_empty(), "not in PROTOCOL.md: {missing:?}");
    // The first column of the tables has the names.
    read_folder(Path::new("src/shell"), &mut sources);
    let rows = PROTOCOL.lines().filter(|line| line.starts_with("| `"));
    let columns = rows.filter_map(|row| row.split('|').nth(1));
    for name in columns.flat_map(|column| column.split('`').skip(1).step_by(2)) {
        let is_constant = name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
        assert!(
            !is_constant || sources.contains(&format!("const {name}: ")),
            "{name} is no constant any more"
        );
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a source")
}

fn read_folder(folder: &Path, sources: &mut String) {
    let absolute = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    for entry in fs::read_dir(absolute).expect("a folder") {
        let entry = entry.expect("an entry");
        let path = folder.join(entry.file_name());
        if entry.path().is_dir() {
            read_folder(&path, sources);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push_str(&read(&path));
        }
    }
}
