//! A line of stdin with `--json`.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::ui::json_parser::requests::parse_input;

fuzz_target!(|line: &str| {
    if let Err(invalid) = parse_input(line) {
        assert!(!invalid.message.is_empty());
    }
});
