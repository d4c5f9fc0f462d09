//! What a gateway answers in UPnP. Whatever it names, no URL leads to another host.
#![no_main]
use std::net::Ipv4Addr;

use libfuzzer_sys::fuzz_target;
use p2pchat::wire::http::HttpAnswer;
use p2pchat::wire::upnp::{
    GatewayUrl, MappingService, parse_error, parse_external_address,
    parse_search_answer,
};

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn assert_at_gateway(url: &GatewayUrl) {
    let text = url.to_text();
    assert!(text.starts_with("http://10.0.0.1:"), "{text}");
    assert_eq!(GatewayUrl::parse(&text, GATEWAY).as_ref(), Some(url));
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(location) = parse_search_answer(bytes, GATEWAY) {
        assert_at_gateway(&location);
    }
    let text = String::from_utf8_lossy(bytes);
    let location = GatewayUrl::parse("http://10.0.0.1:5000/", GATEWAY).expect("a URL");
    if let Some(service) = MappingService::find(&text, &location) {
        assert_at_gateway(&service.control);
    }
    let _ = HttpAnswer::parse(bytes);
    let _ = (parse_error(&text), parse_external_address(&text));
});
