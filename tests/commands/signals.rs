//! Signals: which ones end a program, and which ones stay ignored.
use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use super::hosts::host::Loopback;
use super::hosts::program::{Program, TIMEOUT};

/// Starts `listen` from a shell that has run `prefix`.
fn listen_after(lo: &Loopback, prefix: &str) -> Program {
    let mut command: Command = lo.host.command("sh");
    let script = format!("{prefix}; exec \"$0\" --interface lo listen --ephemeral");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_p2pchat")]);
    let program = Program::spawn("alice", command);
    program.wait_ready();
    program
}

/// The mask of a set of signals in /proc, such as `SigIgn`.
fn mask(program: &Program, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", program.pid()));
    let status = status.expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let mask = line.and_then(|line| line.strip_prefix(':'));
    u64::from_str_radix(mask.expect(name).trim(), 16).expect("a mask")
}

/// A signal that the parent ignores stays ignored: SIGHUP under nohup, SIGINT in a background job
/// of a script. Others are handled as ever.
#[test]
fn a_signal_that_is_ignored_at_the_start_stays_ignored() {
    let Some(lo) = Loopback::new() else { return };
    for (names, ignored, ending, code) in [
        ("HUP", vec![Signal::SIGHUP], Signal::SIGINT, 130),
        ("INT", vec![Signal::SIGINT], Signal::SIGTERM, 143),
        (
            "INT HUP",
            vec![Signal::SIGINT, Signal::SIGHUP],
            Signal::SIGTERM,
            143,
        ),
        ("TERM", vec![Signal::SIGTERM], Signal::SIGINT, 130),
    ] {
        let mut program = listen_after(&lo, &format!("trap '' {names}"));
        for signal in &ignored {
            let bit = 1 << (*signal as u64 - 1);
            assert_ne!(mask(&program, "SigIgn") & bit, 0, "{signal}");
            assert_eq!(mask(&program, "SigCgt") & bit, 0, "{signal}");
            program.signal(*signal);
        }
        program.signal(ending);
        assert_eq!(program.wait_code(TIMEOUT), code, "{names}");
    }
    let mut program = listen_after(&lo, "true");
    program.signal(Signal::SIGINT);
    assert_eq!(program.wait_code(TIMEOUT), 130);
}
