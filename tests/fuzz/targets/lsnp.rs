//! A datagram on a port of LSNP. What is accepted is encoded and parsed again.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::lsnp::LsnpMessage;

fuzz_target!(|bytes: &[u8]| {
    if let Some(message) = LsnpMessage::parse(bytes) {
        let _ = message.nick();
        let again = message.encode();
        if let Some(message) = LsnpMessage::parse(&again) {
            assert_eq!(message.encode(), again);
        }
    }
});
