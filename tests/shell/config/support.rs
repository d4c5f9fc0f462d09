//! Helpers for tests of the configuration: command lines as text, and refused ones.

use std::collections::HashMap;
use std::ffi::OsString;

use p2pchat::base::name::Room;
use p2pchat::shell::config::failure::Failure;
use p2pchat::shell::config::options::{Options, parse};

use crate::sentences::one_line;

/// Words are separated by spaces; `·` stands for a space within a word, `∅` for an empty word, `⏎` for a line's end.
pub fn words(line: &str) -> Vec<OsString> {
    line.split_whitespace()
        .map(|word| {
            word.replace('·', " ")
                .replace('∅', "")
                .replace('⏎', "\n")
                .into()
        })
        .collect()
}

pub fn run(line: &str, env: &[(&str, &str)], file: Option<&str>) -> Result<Options, Failure> {
    let env: HashMap<&str, &str> = env.iter().copied().collect();
    let env = |name: &str| env.get(name).map(OsString::from);
    parse(words(line), &env, file.map(str::to_owned))
}

pub const HOME: &[(&str, &str)] = &[("HOME", "/home/alice"), ("USER", "alice")];

pub fn ok(line: &str) -> Options {
    run(line, HOME, None).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

pub fn refused(line: &str, file: Option<&str>) -> String {
    match run(line, HOME, file) {
        Ok(options) => panic!("{line}, {file:?}: taken as {options:?}"),
        Err(failure) => {
            assert_eq!(failure.exit_status.code(), 2, "{line}: {failure}");
            one_line(&failure.message);
            failure.message
        }
    }
}

pub fn rooms(options: &Options) -> Vec<&str> {
    options.rooms.iter().map(Room::as_str).collect()
}
