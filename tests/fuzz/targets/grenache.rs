//! What a Grape answers. Whatever it names, the number of addresses is bounded.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::grenache::grape::{GRAPE_ADDRESSES_MAX, parse_announced, parse_found};

fuzz_target!(|bytes: &[u8]| {
    let _ = parse_announced(bytes);
    if let Ok(found) = parse_found(bytes) {
        assert!(found.len() <= GRAPE_ADDRESSES_MAX);
        assert!(found.iter().all(|it| it.port() != 0));
    }
});
