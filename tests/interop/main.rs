//! The program works with a second implementation of its protocol. That one is in Python, written
//! from `src/wire/PROTOCOL.md` alone: `peer.py`, `stream.py`, `wire.py`.

use std::process::{Command, Stdio};

#[test]
fn a_peer_in_python_works_with_the_program() {
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/run"))
        .arg(env!("CARGO_BIN_EXE_p2pchat"))
        .arg("--verbose")
        .stdin(Stdio::null())
        .output()
        .expect("tests/interop/run starts");
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{report}");
    println!("{report}");
}
