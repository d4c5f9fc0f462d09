//! The options file.
#![no_main]
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;
use p2pchat::shell::config::arguments::parse_options_file;
use p2pchat::shell::config::options_file::OptionsFile;

fuzz_target!(|text: &str| {
    let file = OptionsFile {
        path: PathBuf::from("options"),
        text: text.to_owned(),
    };
    if let Err(failure) = parse_options_file(&file) {
        assert!(failure.message.starts_with("options file options, line "));
    }
});
