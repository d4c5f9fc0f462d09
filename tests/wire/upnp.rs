//! UPnP: requests are pinned, and answers lead nowhere but to the gateway.
use std::net::{Ipv4Addr, SocketAddrV4};

use p2pchat::wire::upnp::{
    CONFLICT, GatewayUrl, MappingService, ONLY_PERMANENT, SEARCH, SSDP_ADDRESS, mapping_arguments,
    parse_error, parse_external_address, parse_search_answer,
};

use super::vector_files::vector;

const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);

fn lines(text: &str) -> String {
    text.replace('↵', "\r\n")
}

/// The search, the description, and an action have exactly these bytes.
#[test]
fn requests_and_answers_are_pinned() {
    let vector = vector("upnp.txt");
    vector.check("search_address", &SSDP_ADDRESS.to_string());
    assert_eq!(SEARCH, lines(vector.text("search")));
    let answer = lines(vector.text("search_answer"));
    let location = parse_search_answer(answer.as_bytes(), GATEWAY).expect("a location");
    vector.check("location", &location.to_text());
    let request = location.get_request();
    assert_eq!(request, lines(vector.text("description_request")));
    let service = MappingService::find(vector.text("description"), &location).expect("a service");
    vector.check("control", &service.control.to_text());
    let action = "AddPortMapping";
    vector.check("action_header", &service.action_header(action));
    let client = SocketAddrV4::new(Ipv4Addr::new(10, 0, 0, 7), 9999);
    let arguments = mapping_arguments(10_000, client, 7200);
    let body = service.body(action, &arguments);
    vector.check("add", &body);
    let request = lines(vector.text("add_head")) + &body;
    assert_eq!(service.request(action, &arguments), request);
    let external = parse_external_address(vector.text("address_answer"));
    assert_eq!(external, Some(Ipv4Addr::new(11, 0, 0, 1)));
    assert_eq!(parse_error(vector.text("address_answer")), None);
    assert_eq!(parse_error(vector.text("refusal")), Some(CONFLICT));
    assert_eq!(parse_external_address(vector.text("refusal")), None);
    let permanent = vector.text("permanent_only");
    assert_eq!(parse_error(permanent), Some(ONLY_PERMANENT));
}

/// Each service that maps ports is found, the newest version first.
#[test]
fn each_service_is_found() {
    let vector = vector("upnp.txt");
    let location = GatewayUrl::parse("http://10.0.0.1:5000/", GATEWAY).expect("a URL");
    let text = vector.text("description");
    let known = "WANIPConnection:1";
    for name in ["WANIPConnection:2", "WANPPPConnection:1"] {
        let service = MappingService::find(&text.replace(known, name), &location);
        let header = service.expect("a service").action_header("AddPortMapping");
        let expected = vector.text("action_header").replace(known, name);
        assert_eq!(header, expected);
    }
}

/// Whatever an answer names, requests go to the gateway only: it cannot make us post to others.
#[test]
fn no_answer_leads_to_another_host() {
    let vector = vector("upnp.txt");
    for url in [
        "http://10.0.0.2/x",
        "http://10.0.0.1@10.0.0.2/x",
        "http://gateway/x",
        "http://10.0.0.1:0/x",
        "http://10.0.0.1:99999/x",
        "https://10.0.0.1/x",
        "file:///etc/passwd",
        "http://10.0.0.1/a b",
        "http://10.0.0.1/a\r\nHost: x",
        "",
    ] {
        assert_eq!(GatewayUrl::parse(url, GATEWAY), None, "{url}");
        let answer = lines(vector.text("search_answer"));
        let answer = answer.replace("http://10.0.0.1:5000/rootDesc.xml", url);
        let parsed = parse_search_answer(answer.as_bytes(), GATEWAY);
        assert!(
            parsed.is_none_or(|url| url.to_text() == "http://10.0.0.1:80/a"),
            "{url}"
        );
    }
    let location = GatewayUrl::parse("http://10.0.0.1:5000/", GATEWAY).expect("a URL");
    let text = vector.text("description");
    for (url, control) in [
        ("http://10.0.0.2/ctl", None),
        ("http://10.0.0.1/ctl", Some("http://10.0.0.1:80/ctl")),
        ("ctl", Some("http://10.0.0.1:5000/ctl")),
        ("//10.0.0.2/ctl", Some("http://10.0.0.1:5000//10.0.0.2/ctl")),
        ("/a b", None),
    ] {
        let service = MappingService::find(&text.replace("/ctl/IPConn", url), &location);
        let found = service.map(|service| service.control.to_text());
        assert_eq!(found.as_deref(), control, "{url}");
    }
    let bare = GatewayUrl::parse("http://10.0.0.1:5000", GATEWAY);
    assert_eq!(bare, Some(location));
    let long = format!("http://10.0.0.1/{}", "x".repeat(256));
    assert_eq!(GatewayUrl::parse(&long, GATEWAY), None);
}

/// What is cut off or of another service is no answer.
#[test]
fn other_texts_are_ignored() {
    let vector = vector("upnp.txt");
    let answer = lines(vector.text("search_answer"));
    for other in [
        answer.replace("200", "404"),
        answer.replace("HTTP/1.1", "NOTIFY"),
    ] {
        assert_eq!(parse_search_answer(other.as_bytes(), GATEWAY), None);
    }
    assert_eq!(parse_search_answer(b"\xff", GATEWAY), None);
    let location = GatewayUrl::parse("http://10.0.0.1:5000/", GATEWAY).expect("a URL");
    let text = vector.text("description");
    for other in [
        text.replace("WANIP", "LANIP"),
        text.replace("controlURL>", "URL>"),
    ] {
        assert_eq!(MappingService::find(&other, &location), None);
    }
    let end = text.find("/ctl/IPConn").expect("a path") + 10;
    for length in 0..end {
        assert_eq!(MappingService::find(&text[..length], &location), None);
    }
}
