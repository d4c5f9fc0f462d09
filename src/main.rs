//! `p2pchat`: ends with the status of the run.
#![forbid(unsafe_code)]
use std::process::ExitCode;

use p2pchat::shell::program;

fn main() -> ExitCode {
    ExitCode::from(program::main().code())
}
