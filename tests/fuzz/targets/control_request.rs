//! A line that a client sends to `control.sock`, and the same line as an event for a client.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::base::identity::Identity;
use p2pchat::ui::json_parser::{events::parse_event, requests::parse_request};

fuzz_target!(|bytes: &[u8]| {
    if let Err(invalid) = parse_request(bytes) {
        assert!(!invalid.message.is_empty());
    }
    let _ = parse_event(bytes, None);
    let _ = parse_event(bytes, Some(Identity::from_seed(&[1; 32]).id()));
});
