//! Binary entry point: runs the program and exits with its status.
#![forbid(unsafe_code)]
use std::process::ExitCode;

use no_unwind as _;
use p2pchat::shell::program;

fn main() -> ExitCode {
    ExitCode::from(program::main().code())
}
