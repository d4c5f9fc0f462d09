//! Helpers for tests of the configuration: command lines as text, and refused ones.

use std::collections::HashMap;
use std::ffi::OsString;

use p2pchat::base::name::Room;
use p2pchat::shell::config::failure::Failure;
use p2pchat::shell::config::options::{Options, parse};
use p2pchat::shell::config::options_file::OptionsFile;

use crate::sentences::assert_one_line;

/// Splits a command line at spaces. `·` stands for a space within a word, `∅` for an empty word,
/// `⏎` for a line feed.
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

/// The path of the options file in these tests.
pub const OPTIONS_FILE: &str = "/home/alice/.config/p2pchat/options";

/// Parses a command line with this environment and options file.
pub fn parse_line(
    line: &str,
    env: &[(&str, &str)],
    file: Option<&str>,
) -> Result<Options, Failure> {
    let env: HashMap<&str, &str> = env.iter().copied().collect();
    let env = |name: &str| env.get(name).map(OsString::from);
    let file = file.map(|text| OptionsFile {
        path: OPTIONS_FILE.into(),
        text: text.to_owned(),
    });
    parse(words(line), &env, file)
}

/// The environment of alice.
pub const ALICE_ENV: &[(&str, &str)] = &[("HOME", "/home/alice"), ("USER", "alice")];

/// The options of a valid command line.
pub fn parsed(line: &str) -> Options {
    parse_line(line, ALICE_ENV, None).unwrap_or_else(|failure| panic!("{line}: {failure}"))
}

/// The sentence that refuses a command line or options file, with status 2.
pub fn refusal(line: &str, file: Option<&str>) -> String {
    match parse_line(line, ALICE_ENV, file) {
        Ok(options) => panic!("{line}, {file:?}: accepted as {options:?}"),
        Err(failure) => {
            assert_eq!(failure.exit_status.code(), 2, "{line}: {failure}");
            assert_one_line(&failure.message);
            failure.message
        }
    }
}

/// The names of the rooms.
pub fn rooms(options: &Options) -> Vec<&str> {
    options.rooms.iter().map(Room::as_str).collect()
}
