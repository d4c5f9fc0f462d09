//! The file `known_peers`, which users may edit. What is read is appended to a new file and read
//! again.
#![no_main]
use std::fs;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use p2pchat::shell::state::known_peers_file::{append_known_peer, read_known_peers};

fn directory(name: &str) -> PathBuf {
    let name = format!("p2pchat-fuzz-{}-{name}", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = fs::create_dir(&path);
    path
}

fuzz_target!(|bytes: &[u8]| {
    let (given, copy) = (directory("given"), directory("copy"));
    fs::write(given.join("known_peers"), bytes).expect("a file");
    let read = |path| read_known_peers(path, &mut Vec::new()).expect("a readable file");
    let _ = fs::remove_file(copy.join("known_peers"));
    let peers = read(&given);
    for peer in &peers {
        append_known_peer(&copy, peer).expect("a file");
    }
    assert_eq!(read(&copy), peers);
});
