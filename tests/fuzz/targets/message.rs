//! The payload of a message frame. What is accepted is encoded and parsed again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::message::Message;

fuzz_target!(|bytes: &[u8]| {
    match Message::parse(bytes) {
        None | Some(Message::Unknown) => {}
        Some(message) => assert_eq!(Message::parse(&message.encode()), Some(message)),
    }
});
