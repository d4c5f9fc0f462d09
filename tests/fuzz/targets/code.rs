//! A connection code, and the other values of `--peer`.
#![no_main]
use libfuzzer_sys::fuzz_target;
use p2pchat::wire::code::{ConnectionCode, parse_endpoints, parse_peer};

fuzz_target!(|text: &str| {
    if let Ok(code) = text.parse::<ConnectionCode>() {
        assert_eq!(code.to_string().parse(), Ok(code));
        assert!(parse_endpoints(text).is_ok());
    }
    for endpoint in parse_peer(text).unwrap_or_default() {
        if endpoint.peer_without_host().is_some() {
            assert_eq!(parse_peer(&endpoint.to_string()), Ok(vec![endpoint]));
        }
    }
    for endpoint in parse_endpoints(text).unwrap_or_default() {
        let again = parse_endpoints(&endpoint.to_string()).expect("host and port");
        let [again] = &again[..] else {
            panic!("one endpoint")
        };
        assert_eq!((&again.host, again.port), (&endpoint.host, endpoint.port));
    }
});
